//! `ls`: the sessions of this state directory. Reading changes nothing.

use std::time::Duration;

use belljar_model::ExitCode;
use belljar_store::SessionRecord;
use serde_json::json;

use crate::app::App;
use crate::error::Result;
use crate::printer::table;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar ls --all --json")]
pub(crate) struct Args {
    /// Ended ones too
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(app: &App, args: &Args) -> Result<ExitCode> {
    let mut sessions = Vec::new();
    if let Some(store) = app.store_to_read()? {
        for record in store.sessions()? {
            let state = record.liveness()?.state();
            // A dead one is shown until it is cleaned: somebody should know.
            if args.all || state != belljar_model::SessionState::Ended {
                sessions.push((record, state));
            }
        }
    }
    if app.printer.json {
        let sessions: Vec<_> = sessions
            .iter()
            .map(|(record, state)| {
                json!({
                    "id": record.id, "name": record.name, "stack": record.stack, "state": state,
                    "directory": record.origin, "stack_file": record.stack_file,
                    "owner_uid": record.owner_uid, "host_pid": record.host_pid,
                    "created_ms": record.created_ms, "ended_ms": record.ended_ms,
                    "age_ms": age_ms(app, record), "session_dir": record.dir.root(),
                })
            })
            .collect();
        app.printer.document(&json!({ "sessions": sessions }))?;
        return Ok(ExitCode::OK);
    }
    let rows: Vec<Vec<String>> = sessions
        .iter()
        .map(|(record, state)| {
            let age = Duration::from_millis(u64::try_from(age_ms(app, record)).unwrap_or_default());
            vec![
                record.name.to_string(),
                record.id.to_string(),
                app.printer.state(state.as_str()),
                record.stack.to_string(),
                coarse(age),
                record.origin.display().to_string(),
            ]
        })
        .collect();
    app.printer.out(&table(&["NAME", "ID", "STATE", "STACK", "AGE", "DIRECTORY"], &rows))?;
    Ok(ExitCode::OK)
}

fn age_ms(app: &App, record: &SessionRecord) -> i64 {
    (app.now_ms() - record.created_ms).max(0)
}

/// An age to the second is as fine as anybody reads it.
fn coarse(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        _ => belljar_model::duration::short(age),
    }
}
