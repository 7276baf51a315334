//! `clean`: removes what dead and old sessions left on disk, and never anything alive.

use belljar_model::{ErrorCode, ExitCode};
use belljar_store::{CleanOptions, DEFAULT_RETENTION, RemovedWhat, RuntimeDir};
use serde_json::json;

use crate::app::App;
use crate::error::{CliError, Result};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar clean --all")]
pub(crate) struct Args {
    /// Also ended sessions that are not due yet, and kept artifacts
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(app: &App, args: &Args) -> Result<ExitCode> {
    let Some(_) = app.store_to_read()? else {
        return report(app, &[], 0);
    };
    let store = app.store()?;
    let options = CleanOptions { all: args.all, now_ms: app.now_ms(), retention: DEFAULT_RETENTION };
    let cleaned = store.clean(&options)?;
    let removed: Vec<String> = cleaned.removed.iter().map(|one| one.id.clone()).collect();
    if let Ok(runtime) = RuntimeDir::choose(&app.env.runtime_dirs(App::uid()), App::uid()) {
        // What was never registered has no socket yet, and its creator may be at it again under the same id.
        let registered = cleaned.removed.iter().filter(|one| one.what != RemovedWhat::Unregistered);
        for id in registered.filter_map(|one| one.id.parse().ok()) {
            // The sockets of what was removed; most went with their session.
            let _ = runtime.remove_session(&id);
        }
    }
    report(app, &removed, cleaned.bytes())?;
    match cleaned.failures.first() {
        None => Ok(ExitCode::OK),
        Some(first) => {
            let message = format!("{} could not be removed whole", first.path.display());
            let mut error = CliError::new(ErrorCode::StateDirUnusable, message);
            for failure in &cleaned.failures {
                error = error.hint(format!("{}: {}", failure.path.display(), failure.source));
            }
            Err(error)
        }
    }
}

fn report(app: &App, removed: &[String], bytes: u64) -> Result<ExitCode> {
    if app.printer.json {
        app.printer.document(&json!({ "removed": removed, "bytes": bytes }))?;
    } else if removed.is_empty() {
        app.printer.out("nothing to remove\n")?;
    } else {
        let kilobytes = bytes.div_ceil(1024);
        app.printer.out(&format!("removed {} ({kilobytes} KiB): {}\n", removed.len(), removed.join(", ")))?;
    }
    Ok(ExitCode::OK)
}
