//! The program: reads the command line, hands over to one file per verb, and ends with a documented code.

mod app;
mod cli;
mod commands;
mod env_vars;
mod error;
mod hosting;
mod packages;
mod printer;
mod signals;

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode as ProcessExit;
use std::sync::Arc;

use belljar_model::ErrorCode;
use belljar_sandbox::Zygote;
use clap::Parser as _;

use crate::cli::Cli;
use crate::commands::Needs;
use crate::error::{CliError, Result, internal};

fn main() -> ProcessExit {
    tell_of_panics();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::usage_error(&error),
    };
    // Before anything starts a thread: sessions are cloned from this process, and cloning beside threads is
    // unsound.
    let zygote = match cli.command.needs() {
        Needs::Nobody { descriptors } => {
            let code = belljar_sandbox::warden::serve(descriptors);
            return ProcessExit::from(u8::try_from(code).unwrap_or(1));
        }
        Needs::Sessions => match Zygote::fork() {
            Ok(zygote) => Some(Arc::new(zygote)),
            Err(error) => return finish(&cli, Err(CliError::of(error.code(), &error))),
        },
        Needs::Nothing => None,
    };
    let result = run(&cli, zygote);
    finish(&cli, result)
}

fn run(cli: &Cli, zygote: Option<Arc<Zygote>>) -> Result<belljar_model::ExitCode> {
    let app = cli.app()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(internal)?;
    let command = AssertUnwindSafe(|| runtime.block_on(commands::run(&cli.command, app, zygote)));
    let result = catch_unwind(command).unwrap_or_else(|_| {
        let error = CliError::new(ErrorCode::Internal, "belljar itself failed");
        Err(error.hint("what it said of that belongs into a report"))
    });
    // What still runs belongs to nobody any more; waiting for it would only hold the caller.
    runtime.shutdown_background();
    result
}

/// A panic says where and why in one line, and ends with the documented code of a bug.
fn tell_of_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let why = panic.payload_as_str().unwrap_or("without a word");
        // Nobody can be told that nobody can be told.
        let _ = writeln!(std::io::stderr(), "belljar itself failed at {place}: {why}");
    }));
}

fn finish(cli: &Cli, result: Result<belljar_model::ExitCode>) -> ProcessExit {
    let code = match result {
        Ok(code) => code,
        Err(error) => {
            let error = if cli.command.is_run() { error.in_run() } else { error };
            cli.printer().error(&error);
            error.exit_code()
        }
    };
    ProcessExit::from(code.0)
}
