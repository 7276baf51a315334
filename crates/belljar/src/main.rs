//! The program: reads the command line, hands over to one file per verb, and ends with a documented code.

mod app;
mod cli;
mod commands;
mod env_vars;
mod error;
mod hosting;
mod printer;
mod signals;

use std::process::ExitCode as ProcessExit;
use std::sync::Arc;

use belljar_sandbox::Zygote;
use clap::Parser as _;

use crate::cli::Cli;
use crate::commands::Needs;
use crate::error::{CliError, Result, internal};

fn main() -> ProcessExit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::usage_error(&error),
    };
    // Before anything starts a thread: sessions are cloned from this process, and cloning beside threads is
    // unsound.
    let zygote = match cli.command.needs() {
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
    let result = runtime.block_on(commands::run(&cli.command, app, zygote));
    // What still runs belongs to nobody any more; waiting for it would only hold the caller.
    runtime.shutdown_background();
    result
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
