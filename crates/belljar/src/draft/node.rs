//! `package.json`.

use serde_json::Value;

use super::survey::Look;
use super::{Body, Service, word};

const PORT: u16 = 3000;
/// Scripts that bring a database to where the program wants it.
const MIGRATIONS: &[&str] = &["migrate", "db:migrate", "migrate:deploy", "migrate:up", "prisma:migrate"];

pub(crate) fn look(look: &mut Look<'_>) {
    let Some(package) = look.text("package.json") else { return };
    let Ok(package) = serde_json::from_str::<Value>(&package) else { return };
    let manager = manager(look);
    let keys = |table: &str| -> Vec<String> {
        package[table].as_object().into_iter().flat_map(|one| one.keys().cloned()).collect()
    };
    let (libraries, scripts) = (keys("dependencies"), keys("scripts"));
    let drivers = look.backings(libraries.iter().map(String::as_str));
    let has = |name: &str| scripts.iter().any(|one| one == name);
    let script = ["start", "dev", "serve"].into_iter().find(|name| has(name));
    let main = package["main"].as_str().filter(|main| look.is_there(main));
    let run = match (script, main) {
        (Some("start"), _) => Some(format!("{manager} start")),
        (Some(script), _) => Some(format!("{manager} run {script}")),
        (None, Some(main)) => Some(format!("node {}", word(main))),
        (None, None) => None,
    };
    let mut seen: Vec<String> = run.iter().map(|run| format!("`{run}`")).collect();
    seen.extend(drivers);
    look.found(format!(
        "package.json: {}",
        if seen.is_empty() { "nothing that is started".to_owned() } else { seen.join(", ") }
    ));
    if let Some(name) = MIGRATIONS.iter().find(|name| has(name)) {
        look.task(
            "migrate",
            &format!("{manager} run {name}"),
            format!("The script `{name}` of package.json."),
        );
    }
    if let Some(run) = run {
        let name = package["name"].as_str().and_then(|name| name.rsplit('/').next()).unwrap_or("web");
        let name = if name.is_empty() { "web" } else { name };
        let comment = "From package.json. It is told its port; let it listen on 0.0.0.0.";
        let mut service = Service::web(name, Body::Run(run), PORT, comment);
        service.env.push(("PORT".to_owned(), "${self.port.http}".to_owned()));
        if !look.has_application && !look.is_there("node_modules") {
            look.draft.first.push(format!("{manager} install"));
        }
        look.application(service);
        look.has_application = true;
    }
}

fn manager(look: &Look<'_>) -> &'static str {
    let locks =
        [("pnpm-lock.yaml", "pnpm"), ("yarn.lock", "yarn"), ("bun.lock", "bun"), ("bun.lockb", "bun")];
    locks.iter().find(|(lock, _)| look.is_there(lock)).map_or("npm", |(_, manager)| manager)
}
