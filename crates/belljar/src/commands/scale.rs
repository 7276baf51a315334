//! `scale`: other numbers of replicas for services of a session that runs.

use std::collections::BTreeMap;

use belljar_client::ClientError;
use belljar_model::{ErrorCode, ExitCode, ServiceName};

use super::changes::Verdict;
use crate::app::App;
use crate::error::{CliError, Result};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar scale api=5 worker=1")]
pub(crate) struct Args {
    /// Services with the numbers of their replicas
    #[arg(required = true, value_name = "SERVICE=N", value_parser = wish)]
    wishes: Vec<(ServiceName, u16)>,
}

/// Returns when those that came are ready, and those that went are gone.
pub(crate) async fn run(app: &App, args: &Args) -> Result<ExitCode> {
    let wishes: BTreeMap<ServiceName, u16> = args.wishes.iter().cloned().collect();
    let applied = app.find()?.client.scale(wishes.clone()).await.map_err(older)?;
    if app.printer.json {
        app.printer.document(&applied)?;
        return Ok(ExitCode::OK);
    }
    for change in &applied.changes {
        app.printer.note(&Verdict::Done.line(change));
    }
    for (service, count) in &wishes {
        if !applied.changes.iter().any(|change| change.unit == service.as_str()) {
            app.printer.note(&format!("{service} has {count} already"));
        }
    }
    Ok(ExitCode::OK)
}

/// A session of an older belljar does not know what is asked.
pub(crate) fn older(error: ClientError) -> CliError {
    match error {
        ClientError::Refused(view) if view.code == ErrorCode::InvalidRequest => CliError::from(view)
            .hint("the session was started by another version of belljar; `belljar down` ends it"),
        other => other.into(),
    }
}

fn wish(text: &str) -> std::result::Result<(ServiceName, u16), String> {
    let (service, count) = text.split_once('=').ok_or("expected SERVICE=N, as in `api=5`")?;
    let service = ServiceName::new(service).map_err(|error| error.to_string())?;
    let count = count.parse().ok().filter(|count| *count > 0);
    Ok((service, count.ok_or("expected a number of replicas, from 1 on")?))
}
