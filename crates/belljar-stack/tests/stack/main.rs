//! The crate as others see it: text in; a plan, or faults as people read them, out.

mod arbitrary;
mod documents;
mod edits;
mod fault_parts;
mod fault_references;
mod fault_shapes;
mod plans;
mod ports;
mod recipes;
mod schema;
mod shared;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use belljar_model::{SessionId, SessionName};
use belljar_stack::{Context, Faults, PlanError, Programs, RecipeBook, SourceFile, Stack};

/// Every program is installed, in /opt/bin.
pub(crate) struct Everything;

impl Programs for Everything {
    fn find(&self, name: &str, _extra_dirs: &[String]) -> Option<PathBuf> {
        Some(Path::new("/opt/bin").join(name))
    }
}

pub(crate) fn parse(text: &str) -> Result<Stack, Faults> {
    // Indentation belongs to the test, not to the file.
    let text: Vec<_> = text.trim().lines().map(str::trim_start).collect();
    let source = SourceFile { path: PathBuf::from("/src/pods/belljar.toml"), text: text.join("\n") };
    let parsed = Stack::parse(&source, &RecipeBook::builtin());
    if parsed.is_ok() {
        schema::accepts(&source.text);
    }
    parsed
}

/// What a person is told about the faults of a stack file.
pub(crate) fn faults(text: &str) -> String {
    match parse(text) {
        Ok(_) => "nothing is wrong".to_owned(),
        Err(faults) => faults.to_string(),
    }
}

pub(crate) fn context() -> Context {
    let host_env =
        [("PATH", "/usr/bin:/bin"), ("HOME", "/home/ada"), ("TOKEN", "a b"), ("HTTP_PROXY", "http://proxy")];
    Context {
        session_id: SessionId::new("k3f9-x2ab").unwrap(),
        session_name: SessionName::new("pods").unwrap(),
        session_dir: PathBuf::from("/state/k3f9-x2ab"),
        seed: 7,
        host_env: host_env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        leased: None,
    }
}

pub(crate) fn plan(text: &str) -> Result<belljar_stack::Plan, PlanError> {
    parse(text).unwrap_or_else(|faults| panic!("{faults}")).plan(&context(), &Everything)
}
