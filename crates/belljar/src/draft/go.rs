//! `go.mod`, and the programs below `cmd/`.

use super::survey::Look;
use super::{Body, Service, word};

const PORT: u16 = 8080;

pub(crate) fn look(look: &mut Look<'_>) {
    let Some(text) = look.text("go.mod") else { return };
    let module = text.lines().find_map(|line| line.strip_prefix("module ")).unwrap_or("app").trim();
    let libraries: Vec<&str> = text
        .lines()
        .map(|line| line.trim().trim_start_matches("require ").trim())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| word.contains('/'))
        .collect();
    let drivers = look.backings(libraries.into_iter());
    let programs = programs(look, module);
    let mut seen: Vec<String> = programs.iter().map(|one| format!("the program `{one}`")).collect();
    seen.extend(drivers);
    look.found(format!(
        "go.mod: {}",
        if seen.is_empty() { "no program".to_owned() } else { seen.join(", ") }
    ));
    if !programs.is_empty() && !look.has_application {
        look.draft.first.push("go build -o bin/ ./...".to_owned());
    }
    for name in &programs {
        let comment = "From go.mod. `go build -o bin/ ./...` comes first.";
        let mut service = Service::web(name, Body::Run(format!("bin/{}", word(name))), PORT, comment);
        service.env.push(("PORT".to_owned(), "${self.port.http}".to_owned()));
        look.application(service);
    }
    look.has_application |= !programs.is_empty();
}

/// The programs of the module: each directory below `cmd` with a `main.go`, or the module itself.
fn programs(look: &Look<'_>, module: &str) -> Vec<String> {
    let entries = fs_err::read_dir(look.dir.join("cmd")).into_iter().flatten().flatten();
    let mut programs: Vec<String> = entries
        .filter_map(|one| one.file_name().into_string().ok())
        .filter(|name| look.is_there(&format!("cmd/{name}/main.go")))
        .collect();
    programs.sort();
    if programs.is_empty() && look.is_there("main.go") {
        // A major version is no name: example.com/shop/v2.
        let is_version =
            |part: &&str| !(part.starts_with('v') && part[1..].bytes().all(|b| b.is_ascii_digit()));
        programs.extend(module.split('/').rfind(is_version).map(str::to_owned));
    }
    programs
}
