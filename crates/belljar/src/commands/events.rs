//! `events`: the timeline of a session.

use std::fmt::Write as _;

use belljar_client::ClientError;
use belljar_model::{Event, ExitCode};

use super::ps::recording;
use crate::app::App;
use crate::error::Result;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar events -f")]
pub(crate) struct Args {
    /// Go on with what comes, until the session ends
    #[arg(short, long)]
    follow: bool,
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<ExitCode> {
    let found = app.find_even_over()?;
    match (found.client.events(0, args.follow).await, &found.record) {
        (Ok(mut events), _) => {
            while let Some(event) = events.next().await? {
                print(app, &event)?;
            }
        }
        (Err(ClientError::NotThere { .. }), Some(record)) => {
            let recording = recording(&record.dir.events())?;
            for event in &recording.events {
                print(app, event)?;
            }
            if recording.torn {
                app.printer.note("the last line is torn: its writer was killed in the middle of it");
            }
            if recording.skipped > 0 {
                app.printer.note(&format!("{} events of a newer belljar were skipped", recording.skipped));
            }
        }
        (Err(error), _) => return Err(error.into()),
    }
    Ok(ExitCode::OK)
}

fn print(app: &App, event: &Event) -> Result<()> {
    if app.printer.json {
        return app.printer.line(event);
    }
    app.printer.out(&format!("{}\n", sentence(event)))
}

/// One event as a line for people: its time, its kind, and its fields.
pub(crate) fn sentence(event: &Event) -> String {
    let mut line = format!("{:>10.3}s  ", event.t);
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(&event.kind) else { return line };
    let kind = fields.get("kind").and_then(|kind| kind.as_str()).unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = write!(line, "{kind:<20}");
    for (name, value) in &fields {
        if name == "kind" || value.as_array().is_some_and(Vec::is_empty) {
            continue;
        }
        let value = match value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Array(list) if !list.iter().all(serde_json::Value::is_string) => {
                value.to_string()
            }
            serde_json::Value::Array(lines) => {
                let lines: Vec<&str> = lines.iter().filter_map(|line| line.as_str()).collect();
                format!("\n              | {}", lines.join("\n              | "))
            }
            other => other.to_string(),
        };
        let _ = write!(line, " {name}={value}");
    }
    line
}
