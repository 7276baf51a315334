//! `Cargo.toml`, of one package or of a workspace.

use toml::{Table, Value};

use super::survey::Look;
use super::{Body, Service, word};

const PORT: u16 = 8080;
/// A stack of more programs than this was not meant.
const MOST: usize = 8;

pub(crate) fn look(look: &mut Look<'_>) {
    let Some(root) = manifest(look, "Cargo.toml") else { return };
    let mut programs = Vec::new();
    let mut libraries = Vec::new();
    read(look, "", &root, &mut programs, &mut libraries);
    for member in members(look, &root) {
        if let Some(file) = manifest(look, &format!("{member}/Cargo.toml")) {
            read(look, &format!("{member}/"), &file, &mut programs, &mut libraries);
        }
    }
    let drivers = look.backings(libraries.iter().map(String::as_str));
    programs.truncate(MOST);
    let mut seen: Vec<String> = programs.iter().map(|one| format!("the program `{one}`")).collect();
    seen.extend(drivers);
    look.found(format!(
        "Cargo.toml: {}",
        if seen.is_empty() { "no program".to_owned() } else { seen.join(", ") }
    ));
    if !programs.is_empty() && !look.has_application {
        look.draft.first.push("cargo build".to_owned());
    }
    for name in &programs {
        let comment = "From Cargo.toml. `cargo build` comes first: a session has no way out to crates.io.";
        let mut service =
            Service::web(name, Body::Run(format!("target/debug/{}", word(name))), PORT, comment);
        service.env.push(("PORT".to_owned(), "${self.port.http}".to_owned()));
        look.application(service);
    }
    look.has_application |= !programs.is_empty();
}

fn manifest(look: &Look<'_>, path: &str) -> Option<Table> {
    look.text(path)?.parse().ok()
}

/// The directories of a workspace's members; a glob is its last part alone, as nearly everywhere.
fn members(look: &Look<'_>, root: &Table) -> Vec<String> {
    let list = root.get("workspace").and_then(|one| one.get("members")).and_then(Value::as_array);
    let mut members = Vec::new();
    for member in list.into_iter().flatten().filter_map(Value::as_str) {
        let Some(parent) = member.strip_suffix("/*") else {
            members.push(member.to_owned());
            continue;
        };
        let entries = fs_err::read_dir(look.dir.join(parent)).into_iter().flatten().flatten();
        let mut below: Vec<String> =
            entries.filter_map(|one| Some(format!("{parent}/{}", one.file_name().to_str()?))).collect();
        below.sort();
        members.append(&mut below);
    }
    members
}

fn read(look: &Look<'_>, dir: &str, file: &Table, programs: &mut Vec<String>, libraries: &mut Vec<String>) {
    let dependencies = file.get("dependencies").and_then(Value::as_table);
    libraries.extend(dependencies.into_iter().flat_map(|table| table.keys().cloned()));
    let declared = file.get("bin").and_then(Value::as_array).into_iter().flatten();
    let declared: Vec<String> =
        declared.filter_map(|one| one.get("name")?.as_str().map(str::to_owned)).collect();
    let name = file.get("package").and_then(|one| one.get("name")).and_then(Value::as_str);
    if !declared.is_empty() {
        programs.extend(declared);
    } else if let Some(name) = name
        && look.is_there(&format!("{dir}src/main.rs"))
    {
        programs.push(name.to_owned());
    }
}
