//! `wait`: until a replica, a service or the session is ready, exited or idle.

use std::time::Duration;

use belljar_client::wire::WaitFor;
use belljar_model::ExitCode;

use super::stack_args::duration;
use crate::app::App;
use crate::error::Result;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar wait api-2 --for exited --within 10s")]
pub(crate) struct Args {
    /// A replica or a service [default: the whole session]
    replica: Option<String>,
    /// What to wait for
    #[arg(long = "for", value_name = "STATE", default_value = "ready")]
    wait_for: State,
    /// How long at most
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    within: Duration,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum State {
    Ready,
    Exited,
    /// Its `health` does not hold any more; `ready` waits until it does again
    Unhealthy,
    /// Nothing is under way: no restart, no task, no command, no starting replica
    Idle,
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<ExitCode> {
    let wait_for = match args.wait_for {
        State::Ready => WaitFor::Ready,
        State::Exited => WaitFor::Exited,
        State::Unhealthy => WaitFor::Unhealthy,
        State::Idle => WaitFor::Idle,
    };
    let view = app.find()?.client.wait(wait_for, args.replica.as_deref(), args.within).await?;
    if app.printer.json {
        app.printer.document(&view)?;
    }
    Ok(ExitCode::OK)
}
