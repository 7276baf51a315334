//! Which stack a command is about.

use std::path::PathBuf;

use belljar_stack::{Edits, Stack};

use crate::app::App;
use crate::error::Result;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StackArgs {
    /// The stack file [default: belljar.toml here or in the nearest directory above]
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

impl StackArgs {
    /// The file and what it says; `positional` is the same thing given without `-f`.
    pub(crate) fn load(&self, app: &App, positional: Option<&PathBuf>) -> Result<(PathBuf, Stack)> {
        let file = app.stack_file(self.file.as_deref().or(positional.map(PathBuf::as_path)))?;
        let stack = App::stack(&file)?;
        Ok((file, stack))
    }
}

/// What is said of a stack besides its file.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct EditArgs {
    /// Give a key of the stack another value: its dotted path, and TOML or else a string
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Give a service this many replicas
    #[arg(long = "replicas", value_name = "SERVICE=N")]
    replicas: Vec<String>,
    /// Run another program in place of the first word of a service's `run`
    #[arg(long = "override", value_name = "SERVICE=PATH")]
    programs: Vec<String>,
    /// Start the services and tasks of this profile too
    #[arg(long = "profile", value_name = "NAME")]
    profiles: Vec<String>,
}

impl EditArgs {
    /// Paths are those of the caller.
    pub(crate) fn edits(&self, app: &App) -> Edits {
        let absolute = |text: &String| match text.split_once('=') {
            Some((service, path)) if !path.is_empty() => {
                format!("{service}={}", app.cwd.join(path).display())
            }
            _ => text.clone(),
        };
        Edits {
            set: self.set.clone(),
            replicas: self.replicas.clone(),
            programs: self.programs.iter().map(absolute).collect(),
            profiles: self.profiles.clone(),
        }
    }
}

/// A duration on the command line.
pub(crate) fn duration(text: &str) -> Result<std::time::Duration, belljar_model::duration::DurationError> {
    belljar_model::duration::parse(text)
}
