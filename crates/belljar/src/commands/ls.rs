//! `ls`: the sessions of this state directory. Reading changes nothing.

use std::path::Path;
use std::time::Duration;

use belljar_model::{ExitCode, SessionState};
use belljar_store::SessionRecord;
use serde_json::json;

use crate::app::{App, user_name};
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
            if args.all || state != SessionState::Ended {
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
                    "owner": user_name(record.owner_uid), "worktree": worktree(&record.origin),
                    "created_ms": record.created_ms, "ended_ms": record.ended_ms,
                    "expires_ms": record.expires_ms().ok().flatten(), "left_ms": left_ms(app, record, *state),
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
                left_ms(app, record, *state).map_or_else(String::new, |ms| coarse(Duration::from_millis(ms))),
                user_name(record.owner_uid).unwrap_or_else(|| record.owner_uid.to_string()),
                record.origin.display().to_string(),
            ]
        })
        .collect();
    app.printer.out(&table(&["NAME", "ID", "STATE", "STACK", "AGE", "LEFT", "OWNER", "DIRECTORY"], &rows))?;
    Ok(ExitCode::OK)
}

fn age_ms(app: &App, record: &SessionRecord) -> i64 {
    (app.now_ms() - record.created_ms).max(0)
}

/// How long a live session has to live, where it was told.
fn left_ms(app: &App, record: &SessionRecord, state: SessionState) -> Option<u64> {
    if matches!(state, SessionState::Ended | SessionState::Dead) {
        return None;
    }
    // What a session is does not hang on it: a damaged one shows none.
    let expires_ms = record.expires_ms().ok().flatten()?;
    Some(u64::try_from(expires_ms - app.now_ms()).unwrap_or_default())
}

/// The checkout that a directory belongs to: the nearest one upward that git knows.
fn worktree(dir: &Path) -> Option<&Path> {
    dir.ancestors().find(|dir| dir.join(".git").exists())
}

/// An age to the second is as fine as anybody reads it.
fn coarse(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        _ => belljar_model::duration::short(age),
    }
}
