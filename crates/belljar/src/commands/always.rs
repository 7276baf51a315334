//! `always`: a command again and again for a time; its first failure is ours.

use std::time::Duration;

use belljar_model::{ErrorCode, ExitCode};
use tokio::time::{Instant, sleep, timeout_at};

use super::eventually::attempt;
use super::exec;
use super::stack_args::duration;
use crate::app::App;
use crate::error::{CliError, Result};

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar always --for 3s -- curl -fsS http://api-3:8080/health/ready")]
pub(crate) struct Args {
    /// For how long it has to succeed
    #[arg(long = "for", value_name = "DURATION", default_value = "3s", value_parser = duration)]
    time: Duration,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<ExitCode> {
    let found = app.find()?;
    let request = exec::request(app, &found, args.command.clone());
    let start = Instant::now();
    let mut attempts = 0_u32;
    loop {
        let Ok(attempt) = timeout_at(start + args.time, attempt(&found.client, &request)).await else {
            if attempts > 0 {
                // It held as often as it could be looked at.
                return Ok(ExitCode::OK);
            }
            let (shown, time) = (args.command.join(" "), belljar_model::duration::short(args.time));
            let message = format!("`{shown}` did not end within {time}, not once");
            return Err(CliError::new(ErrorCode::AlwaysViolated, message));
        };
        let attempt = attempt.map_err(CliError::of_check)?;
        attempts += 1;
        if !attempt.exit.is_success() {
            let after = belljar_model::duration::short(start.elapsed());
            let shown = args.command.join(" ");
            let message =
                format!("`{shown}` ended with {} after {after}, at attempt {attempts}", attempt.exit);
            return Err(attempt.explain(CliError::new(ErrorCode::AlwaysViolated, message)));
        }
        if start.elapsed() >= args.time {
            return attempt.show(app).map(|()| ExitCode::OK);
        }
        sleep(PAUSE).await;
    }
}
