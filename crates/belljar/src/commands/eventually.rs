//! `eventually`: a command again and again until it succeeds; what it said last is what is shown.

use std::time::Duration;

use belljar_client::frame::Frame;
use belljar_client::wire::ExecRequest;
use belljar_client::{Client, ClientError};
use belljar_model::event::Exit;
use belljar_model::{ErrorCode, ExitCode};
use tokio::time::{Instant, sleep, timeout_at};

use super::exec;
use super::stack_args::duration;
use crate::app::App;
use crate::error::{CliError, Result};

/// Between two attempts: short at first, so that what comes soon is noticed soon.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar eventually --within 5s -- curl -fsS http://api-3:8080/me")]
pub(crate) struct Args {
    /// How long at most
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    within: Duration,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<ExitCode> {
    let found = app.find()?;
    let request = exec::request(app, &found, args.command.clone());
    let until = Instant::now() + args.within;
    let mut pause = FIRST_PAUSE;
    let mut attempts = 0_u32;
    let mut last: Option<Attempt> = None;
    while Instant::now() < until {
        let Ok(attempt) = timeout_at(until, attempt(&found.client, &request)).await else { break };
        let attempt = attempt.map_err(CliError::of_check)?;
        attempts += 1;
        if attempt.exit.is_success() {
            attempt.show(app)?;
            return Ok(ExitCode::OK);
        }
        last = Some(attempt);
        sleep(pause.min(until.saturating_duration_since(Instant::now()))).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    let within = belljar_model::duration::short(args.within);
    let shown = args.command.join(" ");
    let error = if let Some(attempt) = &last {
        let message = format!(
            "`{shown}` did not succeed within {within}: {attempts} attempts, the last ended with {}",
            attempt.exit
        );
        attempt.explain(CliError::new(ErrorCode::WaitTimedOut, message))
    } else {
        let message = format!("`{shown}` did not succeed within {within}: its first attempt did not end");
        CliError::new(ErrorCode::WaitTimedOut, message)
    };
    Err(error)
}

/// One execution with what it said.
pub(super) struct Attempt {
    pub(super) exit: Exit,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Runs the command once. Dropping this in the middle ends the command.
pub(super) async fn attempt(client: &Client, request: &ExecRequest) -> Result<Attempt> {
    let mut channel = client.exec(request).await?;
    // A quick command has ended by now, and its answer is there to be read all the same.
    let _ = channel.send(&Frame::StdinEnd).await;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match channel.receive().await? {
            Some(Frame::Stdout(bytes)) => stdout.extend(bytes),
            Some(Frame::Stderr(bytes)) => stderr.extend(bytes),
            Some(Frame::Exit(exit)) => return Ok(Attempt { exit, stdout, stderr }),
            Some(Frame::Error(view)) => return Err(ClientError::Refused(view).into()),
            Some(_) => {}
            None => {
                let message = "the session ended before the command did";
                return Err(CliError::new(ErrorCode::SessionEnded, message));
            }
        }
    }
}

impl Attempt {
    pub(super) fn show(&self, app: &App) -> Result<()> {
        let stderr = String::from_utf8_lossy(&self.stderr);
        if !stderr.trim().is_empty() {
            app.printer.note(stderr.trim_end());
        }
        app.printer.out(&String::from_utf8_lossy(&self.stdout))
    }

    /// Adds what the command said to an error about it.
    pub(super) fn explain(&self, mut error: CliError) -> CliError {
        for (name, bytes) in [("it said", &self.stdout), ("it complained", &self.stderr)] {
            let text = String::from_utf8_lossy(bytes);
            let lines: Vec<&str> = text.trim_end().lines().rev().take(20).collect();
            if !lines.is_empty() {
                let lines: Vec<&str> = lines.into_iter().rev().collect();
                error = error.hint(format!("{name}:\n    {}", lines.join("\n    ")));
            }
        }
        error
    }
}
