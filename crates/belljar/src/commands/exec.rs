//! `exec`: a command in a session that is there, in its own place or in a replica's.

use std::collections::BTreeMap;

use belljar_client::wire::ExecRequest;
use belljar_model::{ExitCode, ReplicaName};

use super::relay;
use crate::app::{App, Found};
use crate::error::Result;
use crate::signals::Signals;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar exec db-1 -- psql -h localhost -U postgres")]
pub(crate) struct Args {
    /// In this replica's place, with its network, files and environment [default: the session's own]
    #[arg(value_name = "REPLICA")]
    replica: Option<ReplicaName>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    app.note_left_out();
    let found = app.find()?;
    let mut request = request(app, &found, args.command.clone());
    request.terminal = relay::terminal_size();
    if args.replica.is_some() {
        request.replica.clone_from(&args.replica);
        request.cwd = String::new();
        // What the replica has is what counts there; only the terminal is ours.
        let terminal = app.env.get("TERM").map(|term| ("TERM".to_owned(), term.to_owned()));
        request.env = terminal.into_iter().collect::<BTreeMap<_, _>>();
    }
    relay::run(&found.client, &request, &mut signals).await
}

/// A command in the session's own place: where we are, if that lies in the stack's directory, else there.
pub(crate) fn request(app: &App, found: &Found, argv: Vec<String>) -> ExecRequest {
    let cwd = match &found.record {
        Some(record) if !app.cwd.starts_with(&record.origin) => record.origin.clone(),
        _ => app.cwd.clone(),
    };
    ExecRequest {
        replica: None,
        argv,
        env: app.env.all().clone(),
        cwd: cwd.display().to_string(),
        busy: true,
        terminal: None,
    }
}
