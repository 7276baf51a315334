//! The environments of replicas and tasks. They are whole: nothing of the caller's is inherited on top.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use belljar_model::ReplicaName;

use crate::declare::{Process, Variable};
use crate::fault::Fault;
use crate::plan::Isolation;
use crate::planner::Planner;
use crate::resolve::Own;
use crate::source::{Place, SourceFile, Text};

/// What passes from the host where it is set.
const ALWAYS: &[&str] = &["PATH", "HOME", "USER", "LANG"];
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

impl<'a> Planner<'a> {
    /// From the weakest to the strongest: the host's, `inherit_env`, the stack's `env`, `env_file`, its own `env`.
    pub(crate) fn environment(&mut self, process: &Process, own: Own<'a>) -> BTreeMap<String, String> {
        let stack = self.stack;
        let mut env = BTreeMap::from([
            ("PATH".to_owned(), DEFAULT_PATH.to_owned()),
            ("TMPDIR".to_owned(), self.tmp(own).to_string_lossy().into_owned()),
        ]);
        if let Some((context, _)) = self.given {
            let names = ALWAYS.iter().copied().chain(stack.inherit_env.iter().map(String::as_str));
            for name in names {
                if let Some(value) = context.host_env.get(name) {
                    self.host_env.insert(name.to_owned(), value.clone());
                    env.insert(name.to_owned(), value.clone());
                }
            }
        }
        self.add(&mut env, &stack.env, own);
        for file in &process.env_files {
            env.extend(self.env_file(file));
        }
        self.add(&mut env, &process.env, own);
        env
    }

    /// Where temporary files go: in a sealed session, /tmp is its own.
    fn tmp(&self, own: Own<'a>) -> PathBuf {
        let unit = match own {
            Own::Replica(service, number) => ReplicaName::of(&service.name, number).to_string(),
            Own::Task(task) => task.name.to_string(),
            Own::Service(_) | Own::Suite => String::new(),
        };
        match self.isolation() {
            Isolation::Sealed => PathBuf::from("/tmp"),
            Isolation::Shared => self.session_dir().join("tmp").join(unit),
        }
    }

    fn add(&mut self, env: &mut BTreeMap<String, String>, variables: &[Variable], own: Own<'a>) {
        for variable in variables {
            let value = self.text(&variable.value, own);
            env.insert(variable.name.clone(), value);
        }
    }

    /// Reads `NAME=value` lines. The file belongs to the session's start: it may be written after the check.
    fn env_file(&mut self, file: &Text) -> Vec<(String, String)> {
        if self.given.is_none() {
            return Vec::new();
        }
        let path = self.stack.dir.join(PathBuf::from(&file.value));
        let text = match fs_err::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("`{}` cannot be read", file.value);
                self.faults.push(Fault::new(&file.place, message, error.kind().to_string()));
                return Vec::new();
            }
        };
        let source = Arc::new(SourceFile { path, text });
        let mut variables = Vec::new();
        let mut start = 0;
        for line in source.text.split_inclusive('\n') {
            let place = Place::new(&source, start..start + line.trim_end().len());
            start += line.len();
            if let Ok(variable) = env_line(line.trim()) {
                variables.extend(variable);
            } else {
                let fault =
                    Fault::new(&place, "this is not the setting of a variable", "expected NAME=value");
                self.faults.push(fault.also(&file.place, "the file is named here"));
            }
        }
        variables
    }
}

/// One line of an environment file; an empty line and a comment set nothing.
fn env_line(line: &str) -> Result<Option<(String, String)>, ()> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=').ok_or(())?;
    let (name, value) = (name.trim_end(), value.trim_start());
    if name.is_empty() || name.contains(char::is_whitespace) || value.contains('\0') {
        return Err(());
    }
    let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    Ok(Some((name.to_owned(), quoted.unwrap_or(value).to_owned())))
}

#[cfg(test)]
mod tests {
    use super::env_line;

    #[test]
    fn lines_of_an_environment_file() {
        let set = |name: &str, value: &str| Ok(Some((name.to_owned(), value.to_owned())));
        assert_eq!(env_line(""), Ok(None));
        assert_eq!(env_line("# KEY=value"), Ok(None));
        assert_eq!(env_line("KEY=value"), set("KEY", "value"));
        assert_eq!(env_line("export KEY = a b=c"), set("KEY", "a b=c"));
        assert_eq!(env_line("KEY=\"a b\""), set("KEY", "a b"));
        assert_eq!(env_line("KEY='"), set("KEY", "'"));
        assert_eq!(env_line("KEY="), set("KEY", ""));
        assert_eq!(env_line("KEY"), Err(()));
        assert_eq!(env_line("=value"), Err(()));
    }
}
