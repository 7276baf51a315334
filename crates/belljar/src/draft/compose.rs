//! `compose.yaml`: the one file here that tells of a whole stack. Images become recipes where one stands in for
//! them; what else is in the file is carried over as far as a process on this machine has it.

use std::collections::HashMap;

use yaml_serde::{Mapping, Value};

use super::procfile::shell;
use super::survey::Look;
use super::{Body, Service};

const NAMES: &[&str] = &["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];

/// Images by another name than the recipe that stands in for them.
const STAND_INS: &[(&str, &str)] =
    &[("postgis", "postgres"), ("valkey", "redis"), ("mysql", "mariadb"), ("eclipse-mosquitto", "mosquitto")];

/// Variables of images that recipes have as parameters.
const PARAMETERS: &[(&str, &str, &str)] = &[
    ("postgres", "POSTGRES_DB", "database"),
    ("postgres", "POSTGRES_USER", "user"),
    ("mariadb", "MYSQL_DATABASE", "database"),
    ("mariadb", "MARIADB_DATABASE", "database"),
];

pub(crate) fn look(look: &mut Look<'_>) {
    let Some((name, text)) = NAMES.iter().find_map(|name| Some((*name, look.text(name)?))) else { return };
    let Ok(mut document) = yaml_serde::from_str::<Value>(&text) else {
        look.found(format!("{name}: it cannot be read as YAML, and was left alone"));
        return;
    };
    // `<<` that leads nowhere is Compose's to complain about.
    let _ = document.apply_merge();
    let Some(services) = document.get("services").and_then(Value::as_mapping) else { return };
    // Compose's names, by the names that they have here.
    let mut names = HashMap::new();
    let mut seen = Vec::new();
    for (key, value) in services {
        let (Some(key), Some(value)) = (key.as_str(), value.as_mapping()) else { continue };
        let service = service(look, key, value);
        seen.push(key.to_owned());
        names.insert(key.to_owned(), service.name.clone());
        look.has_application |= service.is_known() && service.recipe().is_none();
        look.draft.services.push(service);
    }
    // What it comes after is known by name only when all have theirs.
    for (key, value) in services {
        let (Some(key), Some(value)) = (key.as_str(), value.as_mapping()) else { continue };
        let after: Vec<String> =
            depends_on(value).iter().filter_map(|other| names.get(other).cloned()).collect();
        let name = names.get(key);
        if let Some(service) = look.draft.services.iter_mut().find(|one| Some(&one.name) == name) {
            service.after = after;
            service.knows_its_order = true;
        }
    }
    look.found(format!("{name}: {}", seen.join(", ")));
}

fn service(look: &Look<'_>, key: &str, value: &Mapping) -> Service {
    let mut service = Service { name: look.draft.free_name(key), ..Service::default() };
    let variables = environment(value);
    let image = value.get("image").and_then(Value::as_str);
    let recipe = image.and_then(|image| stand_in(look, image));
    if let (Some(recipe), Some(image)) = (recipe, image) {
        service.comments = vec![format!("In place of the image {image}.")];
        service.body = Body::Recipe { with: parameters(&recipe, &variables), recipe };
        return service;
    }
    service.ports = ports(value);
    service.env = variables;
    let command = command(value);
    let is_built = value.get("build").is_some();
    match (command, image) {
        (Some(command), _) if is_built || image.is_none() => {
            service.comments =
                vec!["The command of compose.yaml; here it runs as a program of this machine.".to_owned()];
            service.body = Body::Shell(command);
        }
        (_, Some(image)) if !is_built => {
            service.comments = vec![
                format!(
                    "The image {image}: no recipe stands in for it. Services are programs of this machine,"
                ),
                "so say how it is started here, or write a recipe: `belljar recipes` lists those there are."
                    .to_owned(),
            ];
        }
        _ => {
            service.comments =
                vec!["Built from a Dockerfile: say how the program is started on this machine.".to_owned()];
        }
    }
    service
}

/// The recipe that stands in for an image: `postgres:16-alpine`, `docker.io/library/postgres`, `bitnami/redis`.
fn stand_in(look: &Look<'_>, image: &str) -> Option<String> {
    let name = image.split('@').next()?.rsplit('/').next()?.split(':').next()?.to_ascii_lowercase();
    let name = STAND_INS.iter().find(|(one, _)| *one == name).map_or(name.as_str(), |(_, recipe)| recipe);
    look.knows_recipe(name).then(|| name.to_owned())
}

fn parameters(recipe: &str, variables: &[(String, String)]) -> Vec<(String, String)> {
    let mut with: Vec<(String, String)> = Vec::new();
    for (of, variable, parameter) in PARAMETERS {
        let value = variables.iter().find(|(name, _)| name == variable).map(|(_, value)| value);
        // Parameters take no references, and only plain names.
        let plain = |value: &&String| {
            value.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
                && value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        if let Some(value) = value.filter(plain)
            && *of == recipe
            && !with.iter().any(|(name, _)| name == parameter)
        {
            with.push(((*parameter).to_owned(), value.clone()));
        }
    }
    with
}

/// `environment`, as a table or as a list.
fn environment(value: &Mapping) -> Vec<(String, String)> {
    let pair = |name: &str, value: &str| (name.to_owned(), interpolated(value));
    let is_name = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
    match value.get("environment") {
        Some(Value::Mapping(table)) => table
            .iter()
            .filter_map(|(name, value)| Some(pair(name.as_str()?, &scalar(value)?)))
            .filter(|(name, _)| is_name(name))
            .collect(),
        Some(Value::Sequence(list)) => list
            .iter()
            .filter_map(Value::as_str)
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| pair(name, value))
            .filter(|(name, _)| is_name(name))
            .collect(),
        _ => Vec::new(),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Compose's `${V}`, `${V:-default}` and `$$` as the stack file has them.
fn interpolated(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            // `$${` is a literal `${` in both.
            out.push_str(if after.starts_with('{') { "$$" } else { "$" });
            rest = after;
            continue;
        }
        let Some((inside, after)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
            out.push_str(if rest.starts_with('{') { "$$" } else { "$" });
            continue;
        };
        rest = after;
        let end = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
        let (name, modifier) = inside.split_at(end);
        match modifier.strip_prefix(":-").or_else(|| modifier.strip_prefix('-')) {
            Some(default) => out.push_str(&default.replace("${", "$${")),
            None if name.is_empty() => {}
            None => {
                out.push_str("${env.");
                out.push_str(name);
                out.push('}');
            }
        }
    }
    out.push_str(rest);
    out
}

/// `command` as a script for `sh`.
fn command(value: &Mapping) -> Option<String> {
    match value.get("command")? {
        Value::String(text) => Some(format!("exec {}", shell(&text.replace("$$", "$")))),
        Value::Sequence(words) => {
            let words: Vec<String> = words.iter().filter_map(scalar).map(|word| super::word(&word)).collect();
            (!words.is_empty()).then(|| format!("exec {}", words.join(" ")))
        }
        _ => None,
    }
    .filter(|text| !text.contains('\0'))
}

/// The ports inside: of `8080:80`, of `127.0.0.1:8080:80/tcp`, of `target:`, and of `expose`.
fn ports(value: &Mapping) -> Vec<(String, u16)> {
    let mut numbers: Vec<u16> = Vec::new();
    for key in ["ports", "expose"] {
        for one in value.get(key).and_then(Value::as_sequence).into_iter().flatten() {
            let text = match one {
                Value::Mapping(table) => table.get("target").and_then(scalar),
                other => scalar(other),
            };
            let Some(text) = text.filter(|text| !text.ends_with("/udp")) else { continue };
            let inside = text.split('/').next().unwrap_or_default().rsplit(':').next().unwrap_or_default();
            if let Ok(port @ 1..) = inside.parse::<u16>()
                && !numbers.contains(&port)
            {
                numbers.push(port);
            }
        }
    }
    let mut named: Vec<(String, u16)> = Vec::new();
    for port in numbers {
        let is_web = matches!(port, 80 | 3000..=3999 | 5000 | 8000..=8999);
        let name = if is_web && named.iter().all(|(name, _)| name != "http") {
            "http".to_owned()
        } else {
            format!("p{port}")
        };
        named.push((name, port));
    }
    named
}

fn depends_on(value: &Mapping) -> Vec<String> {
    match value.get("depends_on") {
        Some(Value::Sequence(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::Mapping(table)) => table.keys().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::interpolated;

    #[test]
    fn composes_variables_become_references() {
        for (compose, stack) in [
            ("plain", "plain"),
            ("${HOST}:5432", "${env.HOST}:5432"),
            ("${HOST:-db}:5432", "db:5432"),
            ("${HOST:?say it}", "${env.HOST}"),
            ("costs $$5", "costs $5"),
            ("$${NAME}", "$${NAME}"),
            ("${open", "$${open"),
            ("${}", ""),
            ("end$", "end$"),
        ] {
            assert_eq!(interpolated(compose), stack, "{compose}");
        }
    }
}
