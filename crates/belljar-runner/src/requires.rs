//! `requires`: what a suite needs of the machine. Where it is missing, its scenarios are skipped with the reason.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use belljar_stack::plan::Requires;

use crate::config::Host;

/// Everything that is missing, as one sentence; `None` where nothing is.
pub(crate) fn missing(requires: &Requires, host: &Host, dir: &Path) -> Option<String> {
    let mut lacks = Vec::new();
    for name in &requires.env {
        if !host.env.contains_key(name) {
            lacks.push(format!("the environment variable {name}"));
        }
    }
    let path = host.env.get("PATH").map_or("", String::as_str);
    for command in &requires.commands {
        if !is_found(command, path, dir) {
            lacks.push(format!("the command `{command}`"));
        }
    }
    for capability in &requires.capabilities {
        if !host.capabilities.contains(capability) {
            lacks.push(format!("the capability `{capability}`"));
        }
    }
    (!lacks.is_empty()).then(|| format!("needs {}", lacks.join(", ")))
}

/// Whether a command is found as a shell finds it. With a `/` it is a file, from the stack's directory on.
fn is_found(command: &str, path: &str, dir: &Path) -> bool {
    if command.contains('/') {
        return is_executable(&dir.join(command));
    }
    path.split(':').filter(|one| !one.is_empty()).any(|one| is_executable(&Path::new(one).join(command)))
}

/// Whether it is a plain file, through any links, that can be executed.
pub(crate) fn is_executable(path: &Path) -> bool {
    fs_err::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
