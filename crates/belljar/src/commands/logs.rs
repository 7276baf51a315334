//! `logs`: what replicas and tasks say, of a live session or of one that is over.

use std::time::Duration;

use belljar_client::wire::LogLine;
use belljar_client::{ClientError, LogsQuery};
use belljar_model::{ErrorCode, ExitCode};
use belljar_session::logs::LogReader;

use super::stack_args::duration;
use crate::app::App;
use crate::error::{CliError, Result};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar logs api-2 -f --tail 20")]
pub(crate) struct Args {
    /// Replicas, services or tasks [default: all]
    #[arg(value_name = "REPLICA")]
    from: Vec<String>,
    /// Go on with what comes, until the session ends
    #[arg(short, long)]
    follow: bool,
    /// Only the last N lines
    #[arg(long, value_name = "N")]
    tail: Option<usize>,
    /// Only what was said in the last so long
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    since: Option<Duration>,
    /// Show when each line was said, in seconds since the session's start
    #[arg(long)]
    timestamps: bool,
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<ExitCode> {
    let found = app.find_even_over()?;
    check_names(app, args).await?;
    let mut query =
        LogsQuery { from: args.from.clone(), follow: args.follow, tail: args.tail, since_ms: None };
    if let Some(since) = args.since {
        query.since_ms = Some(since_start(&found, since).await);
    }
    match (found.client.logs(&query).await, &found.record) {
        (Ok(mut lines), _) => {
            while let Some(line) = lines.next().await? {
                print(app, args, &line)?;
            }
        }
        (Err(ClientError::NotThere { .. }), Some(record)) => {
            let mut reader = LogReader::new(record.dir.logs(), args.from.clone());
            let unreadable = |error: std::io::Error| CliError::of(ErrorCode::StateDirUnusable, &error);
            if let Some(count) = args.tail {
                reader.go_to_last(count).map_err(unreadable)?;
            }
            loop {
                let lines = reader.read_new().map_err(unreadable)?;
                for line in &lines {
                    print(app, args, line)?;
                }
                if lines.is_empty() {
                    break;
                }
            }
        }
        (Err(error), _) => return Err(error.into()),
    }
    Ok(ExitCode::OK)
}

/// A wrong name is an error, not an empty log.
async fn check_names(app: &App, args: &Args) -> Result<()> {
    if args.from.is_empty() {
        return Ok(());
    }
    let view = super::ps::view_of(app).await?;
    let mut names: Vec<String> = view.services.keys().map(ToString::to_string).collect();
    names.extend(view.services.values().flat_map(|one| &one.replicas).map(|one| one.name.to_string()));
    names.extend(view.tasks.keys().map(ToString::to_string));
    for asked in &args.from {
        if !names.contains(asked) {
            let message = format!("session {} has no replica, service or task `{asked}`", view.name);
            return Err(CliError::new(ErrorCode::ReplicaNotFound, message)
                .hint(format!("it has {}", names.join(", "))));
        }
    }
    Ok(())
}

/// Milliseconds of the session's own clock that lie `since` before now.
async fn since_start(found: &crate::app::Found, since: Duration) -> u64 {
    let Ok(mut events) = found.client.events(0, false).await else { return 0 };
    let Ok(Some(first)) = events.next().await else { return 0 };
    let Ok(start) = first.wall.parse::<jiff::Timestamp>() else { return 0 };
    let age = jiff::Timestamp::now().as_millisecond() - start.as_millisecond();
    let age = Duration::from_millis(u64::try_from(age).unwrap_or_default());
    u64::try_from(age.saturating_sub(since).as_millis()).unwrap_or(u64::MAX)
}

fn print(app: &App, args: &Args, line: &LogLine) -> Result<()> {
    if app.printer.json {
        return app.printer.line(line);
    }
    let time = if args.timestamps { format!("{:>10.3}s ", line.t) } else { String::new() };
    app.printer.out(&format!("{time}{:<10} | {}\n", line.from, line.line))
}
