//! `Procfile`: a line for each kind of process, `web: command`.

use super::survey::Look;
use super::{Body, Service};

/// Where programs listen that are given no `$PORT` by a stack.
const PORT: u16 = 8080;

pub(crate) fn look(look: &mut Look<'_>) {
    let Some(text) = look.text("Procfile") else { return };
    let lines: Vec<(String, String)> = text.lines().filter_map(entry).collect();
    if lines.is_empty() {
        return;
    }
    let names: Vec<&str> = lines.iter().map(|(name, _)| name.as_str()).collect();
    look.found(format!("Procfile: {}", names.join(", ")));
    for (name, command) in &lines {
        let comment = format!("`{name}` of the Procfile.");
        if name == "release" {
            look.task(
                "release",
                &shell(command),
                "`release` of the Procfile runs before the others start.".to_owned(),
            );
            continue;
        }
        let wants_port = name == "web" || command.contains("$PORT") || command.contains("${PORT");
        let body = Body::Shell(format!("exec {}", shell(command)));
        let mut service = Service { name: name.clone(), comments: vec![comment], body, ..Service::default() };
        if wants_port {
            service.ports.push(("http".to_owned(), PORT));
            service.env.push(("PORT".to_owned(), "${self.port.http}".to_owned()));
        }
        // One that stands in compose.yaml too is this one: here is said how it is started.
        match look.draft.services.iter_mut().find(|one| one.name == service.name && !one.is_known()) {
            Some(known) => known.body = service.body,
            None => look.application(service),
        }
    }
    look.has_application = true;
}

fn entry(line: &str) -> Option<(String, String)> {
    let (name, command) = line.split_once(':')?;
    let is_name =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let command = command.trim();
    (is_name && !command.is_empty()).then(|| (name.to_owned(), command.to_owned()))
}

/// The command for `sh`, in which `${` is the shell's and not a reference of the stack file.
pub(crate) fn shell(command: &str) -> String {
    command.replace("${", "$${")
}
