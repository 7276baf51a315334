//! The command line: what stands before and after every verb.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode as ProcessExit;

use belljar_client::wire::{ErrorBody, ErrorView};
use belljar_model::{ErrorCode, ExitCode, Selector};
use clap::Parser;

use crate::app::App;
use crate::commands::Command;
use crate::env_vars::Environment;
use crate::error::{Result, internal};
use crate::printer::{ColorChoice, Printer};

/// Sealed, real, multi-service sessions for end-to-end tests
///
/// Declare a stack once in belljar.toml; every session of it has its own network, processes, /tmp and data,
/// with every service on its usual port, and leaves nothing behind.
#[derive(Debug, Parser)]
#[command(name = "belljar", version = VERSION, max_term_width = 100)]
#[command(after_help = "Example:\n  belljar run -- curl http://api-1:8080/health")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// The session that the command is about, by its name or id
    #[arg(short, long, global = true, value_name = "SESSION")]
    session: Option<Selector>,

    /// Where state is kept [default: $BELLJAR_STATE_DIR, else ~/.local/state/belljar]
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,

    /// Print JSON on standard output, and errors as JSON
    #[arg(long, global = true)]
    json: bool,

    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

pub(crate) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("BELLJAR_COMMIT"), ")");

impl Cli {
    pub(crate) fn printer(&self) -> Printer {
        let no_color = Environment::read().get("NO_COLOR").is_some();
        Printer::new(self.json, self.color, no_color)
    }

    pub(crate) fn app(&self) -> Result<App> {
        let env = Environment::read();
        let cwd = std::env::current_dir().map_err(internal)?;
        let state_dir = self.state_dir.clone().unwrap_or_else(|| env.default_state_dir());
        Ok(App {
            printer: self.printer(),
            state_dir: cwd.join(state_dir),
            session: self.session.clone(),
            cwd,
            env,
        })
    }
}

/// Help and version go to standard output and are no errors; the rest ends with the code for usage, and as JSON
/// where JSON was asked for.
pub(crate) fn usage_error(error: &clap::Error) -> ProcessExit {
    let wants_json = std::env::args().take_while(|word| word != "--").any(|word| word == "--json");
    if error.use_stderr() && wants_json {
        let view = ErrorView {
            code: ErrorCode::Usage,
            message: error.to_string().trim_end().to_owned(),
            hints: Vec::new(),
        };
        let text = serde_json::to_string(&ErrorBody { error: view }).unwrap_or_default();
        // Nobody can be told that nobody can be told.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    } else {
        let _ = error.print();
    }
    let code = if error.use_stderr() { ExitCode::USAGE } else { ExitCode::OK };
    ProcessExit::from(code.0)
}
