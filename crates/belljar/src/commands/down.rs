//! `down`: ends sessions, and returns when nothing of them is left.

use std::time::Duration;

use belljar_client::{Client, ClientError};
use belljar_model::{ExitCode, Selector};
use belljar_store::SessionRecord;

use crate::app::{App, alive};
use crate::error::Result;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar down pods")]
pub(crate) struct Args {
    /// Sessions by name or id [default: the only live one of this directory]
    #[arg(value_name = "SESSION")]
    sessions: Vec<Selector>,
    /// Every live session of yours
    #[arg(long, conflicts_with = "sessions")]
    all: bool,
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<ExitCode> {
    let mut records = Vec::new();
    if args.all {
        if let Some(store) = app.store_to_read()? {
            for record in store.sessions()? {
                if record.owner_uid == App::uid() && record.liveness()?.is_live() {
                    records.push(record);
                }
            }
        }
    } else if args.sessions.is_empty() {
        let found = app.find()?;
        let Some(record) = found.record else {
            // We are inside of it.
            found.client.down("belljar down").await?;
            return Ok(ExitCode::OK);
        };
        records.push(record);
    } else {
        for selector in &args.sessions {
            records.push(app.record(Some(selector))?);
        }
    }
    let mut ended = Vec::new();
    for record in &records {
        end(record).await?;
        app.printer.note(&format!("{} ended", record.name));
        ended.push(record.id.to_string());
    }
    if app.printer.json {
        app.printer.document(&serde_json::json!({ "ended": ended }))?;
    }
    Ok(ExitCode::OK)
}

/// How long after a session was not there it is asked again to end.
const ASKED_AGAIN_AFTER: Duration = Duration::from_millis(5);

async fn end(record: &SessionRecord) -> Result<()> {
    alive(record)?;
    let client = Client::new(record.control_socket.clone().unwrap_or_default());
    loop {
        match client.down("belljar down").await {
            Ok(()) => break,
            // Not there any more, or not there yet: who holds the lock and does not listen is about to.
            Err(ClientError::NotThere { .. }) => {
                if !record.liveness()?.is_live() {
                    break;
                }
                tokio::time::sleep(ASKED_AGAIN_AFTER).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    // The host process settles the registry after its last answer; until then the session still looks alive.
    let lock = fs_err::OpenOptions::new().read(true).write(true).open(record.dir.root().join("lock"));
    if let Ok(lock) = lock {
        let file = lock.into_file();
        // Waiting for the lock is waiting for that process's end. A lock that fails is no lock to wait for.
        let _ = tokio::task::spawn_blocking(move || file.lock()).await;
    }
    Ok(())
}
