//! `completions`: the script that makes a shell complete belljar's command line.

use belljar_model::ExitCode;

use crate::app::App;
use crate::complete::Shell;
use crate::error::Result;

/// Print the script that makes a shell complete verbs, options, live sessions, services and replicas
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    source <(belljar completions bash)     # in ~/.bashrc\n  \
    source <(belljar completions zsh)      # in ~/.zshrc, after compinit\n  \
    belljar completions fish | source      # in ~/.config/fish/config.fish")]
pub(crate) struct Args {
    /// The shell that is to complete
    shell: Shell,
}

pub(crate) fn run(app: &App, args: &Args) -> Result<ExitCode> {
    app.printer.out(&args.shell.script()?)?;
    Ok(ExitCode::OK)
}
