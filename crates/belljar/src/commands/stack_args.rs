//! Which stack a command is about.

use std::path::PathBuf;

use belljar_stack::Stack;

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

/// A duration on the command line.
pub(crate) fn duration(text: &str) -> Result<std::time::Duration, belljar_model::duration::DurationError> {
    belljar_model::duration::parse(text)
}
