//! `pyproject.toml` and `manage.py`.

use toml::{Table, Value};

use super::survey::Look;
use super::{Body, Service, word};

const PORT: u16 = 8000;

pub(crate) fn look(look: &mut Look<'_>) {
    let Some(text) = look.text("pyproject.toml") else { return };
    let Ok(file) = text.parse::<Table>() else { return };
    let project = file.get("project").and_then(Value::as_table).cloned().unwrap_or_default();
    let poetry = file.get("tool").and_then(|tool| tool.get("poetry")).and_then(Value::as_table).cloned();
    let libraries = libraries(&project, poetry.as_ref());
    let drivers = look.backings(libraries.iter().map(String::as_str));
    let name = [Some(&project), poetry.as_ref()]
        .into_iter()
        .flatten()
        .find_map(|table| table.get("name")?.as_str())
        .unwrap_or("web")
        .to_owned();
    let run = run(look, &project, &libraries, &name);
    let mut seen: Vec<String> = run.iter().map(|run| format!("`{run}`")).collect();
    seen.extend(drivers);
    look.found(format!(
        "pyproject.toml: {}",
        if seen.is_empty() { "nothing that is started".to_owned() } else { seen.join(", ") }
    ));
    if look.is_there("manage.py") {
        look.task("migrate", "python3 manage.py migrate", "Django's migrations.".to_owned());
    } else if look.is_there("alembic.ini") {
        look.task("migrate", "alembic upgrade head", "Alembic's migrations.".to_owned());
    }
    if let Some(run) = run {
        if !look.has_application {
            look.draft.first.push("make the project's environment and put its `bin` on the PATH".to_owned());
        }
        look.application(Service::web(&name, Body::Run(run), PORT, "From pyproject.toml."));
        look.has_application = true;
    }
}

/// The names of what it depends on, without versions and extras.
fn libraries(project: &Table, poetry: Option<&Table>) -> Vec<String> {
    let plain = project.get("dependencies").and_then(Value::as_array).into_iter().flatten();
    let plain = plain.filter_map(Value::as_str).map(|one| {
        let end = one.find(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)).unwrap_or(one.len());
        one[..end].to_ascii_lowercase()
    });
    let poetry = poetry.and_then(|table| table.get("dependencies")).and_then(Value::as_table);
    let keys = poetry.into_iter().flat_map(|table| table.keys().map(|one| one.to_ascii_lowercase()));
    plain.chain(keys).collect()
}

fn run(look: &Look<'_>, project: &Table, libraries: &[String], name: &str) -> Option<String> {
    let has = |library: &str| libraries.iter().any(|one| one == library);
    let module = ["main", "app", "server"].into_iter().find(|one| look.is_there(&format!("{one}.py")));
    let package = name.replace('-', "_");
    let module = module.map_or_else(|| format!("{package}.main"), str::to_owned);
    if look.is_there("manage.py") {
        return Some("python3 manage.py runserver --noreload 0.0.0.0:${self.port.http}".to_owned());
    }
    if has("fastapi") || has("uvicorn") || has("starlette") {
        return Some(format!("uvicorn {module}:app --host 0.0.0.0 --port ${{self.port.http}}"));
    }
    if has("flask") {
        return Some(format!("flask --app {module} run --host 0.0.0.0 --port ${{self.port.http}}"));
    }
    let scripts = project.get("scripts").and_then(Value::as_table)?;
    scripts.keys().next().map(|one| word(one))
}
