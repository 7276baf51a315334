//! A draft as the text of a stack file.

use std::fmt::Write as _;

use super::{Body, Draft, Service, Task};

const HEAD: &str = "\
# A stack: the servers that a test needs, how they are started, and how one knows that they are ready.
# `belljar init` wrote this file from what it found here; it is yours now.
#
#   belljar check    shows every fault of this file, each at its place
#   belljar up       starts a session of it; `belljar ps` shows it, `belljar down` ends it
#   belljar test     runs every scenario below, each in a session of its own
#
# Every session has a network of its own, so services keep their usual ports, and no port has to be free.
";

const SUITE: &str = "
# Tests. Every executable file that the glob matches is one; exit code 0 means that it passed.
[suite.all]
scenarios = \"scenarios/*\"
timeout = \"60s\"
";

/// The whole file.
pub(crate) fn write(draft: &Draft) -> String {
    let mut text = HEAD.to_owned();
    let _ = writeln!(text, "name = {}", quoted(&draft.name));
    for one in draft.services.iter().filter(|one| one.recipe().is_some()) {
        service(&mut text, one);
    }
    for one in &draft.tasks {
        task(&mut text, one);
    }
    for one in draft.services.iter().filter(|one| one.recipe().is_none()) {
        service(&mut text, one);
    }
    text.push_str(SUITE);
    text
}

fn service(text: &mut String, one: &Service) {
    let mut block = String::new();
    for comment in &one.comments {
        let _ = writeln!(block, "# {comment}");
    }
    let mut body = format!("[service.{}]\n", one.name);
    match &one.body {
        Body::Unknown => body.push_str("run = \"…\"\n"),
        Body::Recipe { recipe, with } => {
            let _ = writeln!(body, "use = {}", quoted(recipe));
            if !with.is_empty() {
                let _ = writeln!(body, "with = {}", inline(with));
            }
        }
        Body::Run(words) => drop(writeln!(body, "run = {}", quoted(words))),
        Body::Shell(script) => drop(writeln!(body, "shell = {}", quoted(script))),
    }
    body.push_str(&after(&one.after));
    if !one.ports.is_empty() {
        let ports: Vec<String> = one.ports.iter().map(|(name, port)| format!("{name} = {port}")).collect();
        let _ = writeln!(body, "ports = {{ {} }}", ports.join(", "));
    }
    body.push_str(&env(&one.env));
    let table = env_table(&format!("service.{}", one.name), &one.env);
    if one.is_known() {
        block.push_str(&body);
        block.push_str(&suggestions(one));
        block.push_str(&table);
    } else {
        body.push_str(&table);
        for line in body.lines() {
            let _ = writeln!(block, "{}", format!("# {line}").trim_end());
        }
    }
    text.push('\n');
    text.push_str(&block);
}

/// What people change next, as comments in place.
fn suggestions(one: &Service) -> String {
    if one.recipe().is_some() {
        return String::new();
    }
    let mut text = String::new();
    if one.ports.iter().any(|(name, _)| name == "http") {
        text.push_str(
            "# ready = { http = \"/health\" }    # else it is ready when its ports take connections\n",
        );
    }
    text.push_str("# replicas = 3\n");
    text
}

fn task(text: &mut String, one: &Task) {
    text.push('\n');
    for comment in &one.comments {
        let _ = writeln!(text, "# {comment}");
    }
    let _ = writeln!(text, "[task.{}]\nshell = {}", one.name, quoted(&one.shell));
    text.push_str(&after(&one.after));
    text.push_str(&env(&one.env));
    text.push_str(&env_table(&format!("task.{}", one.name), &one.env));
}

fn after(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    format!("after = [{}]\n", names.join(", "))
}

/// Variables on the unit's own line.
fn env(variables: &[(String, String)]) -> String {
    if variables.is_empty() || is_long(variables) {
        String::new()
    } else {
        format!("env = {}\n", inline(variables))
    }
}

/// More variables than a line holds have a table of their own, which is the last of the unit.
fn env_table(unit: &str, variables: &[(String, String)]) -> String {
    if !is_long(variables) {
        return String::new();
    }
    let mut text = format!("\n[{unit}.env]\n");
    for (name, value) in variables {
        let _ = writeln!(text, "{} = {}", key(name), quoted(value));
    }
    text
}

fn is_long(variables: &[(String, String)]) -> bool {
    inline(variables).chars().count() > 100
}

fn inline(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{} = {}", key(name), quoted(value))).collect();
    format!("{{ {} }}", pairs.join(", "))
}

fn key(name: &str) -> String {
    let is_bare =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if is_bare { name.to_owned() } else { quoted(name) }
}

/// The text as TOML's string.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
