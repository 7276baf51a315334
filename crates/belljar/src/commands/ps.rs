//! `ps`: the replicas and tasks of one session, alive or over.

use std::path::Path;

use belljar_client::ClientError;
use belljar_client::wire::{ReplicaView, SessionView};
use belljar_model::event::Exit;
use belljar_model::fold::Recording;
use belljar_model::{ErrorCode, ExitCode, Folded, ReplicaState, SessionState};
use belljar_store::{Liveness, SessionRecord};

use super::url;
use crate::app::App;
use crate::error::{CliError, Result};
use crate::printer::table;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar ps -s pods")]
pub(crate) struct Args {}

pub(crate) async fn run(app: &App, _: &Args) -> Result<ExitCode> {
    let view = view_of(app).await?;
    if app.printer.json {
        app.printer.document(&view)?;
    } else {
        app.printer.out(&render(app, &view))?;
    }
    Ok(ExitCode::OK)
}

/// The session as its supervisor tells it; of one that is over, what its events add up to.
pub(crate) async fn view_of(app: &App) -> Result<SessionView> {
    let found = app.find_even_over()?;
    match (found.client.session().await, &found.record) {
        (Ok(view), _) => Ok(view),
        (Err(ClientError::NotThere { .. }), Some(record)) => view_of_record(record),
        (Err(error), _) => Err(error.into()),
    }
}

/// What is left of a session says what it was.
pub(crate) fn view_of_record(record: &SessionRecord) -> Result<SessionView> {
    let folded = Folded::of(&recording(&record.dir.events())?.events);
    let state = match record.liveness()? {
        Liveness::Dead => SessionState::Dead,
        Liveness::Live(state) => folded.state.unwrap_or(state),
        Liveness::Ended => SessionState::Ended,
    };
    let mut services = std::collections::BTreeMap::new();
    for (name, mut replica) in folded.replicas {
        if state == SessionState::Dead && replica.state.is_alive() {
            // It went with its host process; nobody was left to write that down.
            replica.state = ReplicaState::Exited;
            replica.pid = None;
            replica.exit = Some(Exit { code: None, signal: Some("SIGKILL".to_owned()) });
        }
        let service: &mut belljar_client::wire::ServiceView =
            services.entry(name.service()).or_insert_with(|| belljar_client::wire::ServiceView {
                replicas: Vec::new(),
                published: std::collections::BTreeMap::new(),
                urls: std::collections::BTreeMap::new(),
                url: None,
            });
        service.replicas.push(ReplicaView {
            name,
            state: replica.state,
            host: String::new(),
            ports: std::collections::BTreeMap::new(),
            url: None,
            published: std::collections::BTreeMap::new(),
            generation: replica.generation,
            pid: replica.pid,
            ready_ms: replica.ready_ms,
            exit: replica.exit,
            cool_down_ms: None,
            last_lines: replica.last_lines,
        });
    }
    let tasks = folded.tasks.into_iter().map(|(name, task)| {
        let view = belljar_client::wire::TaskView {
            state: task.state,
            exit: task.exit,
            last_lines: task.last_lines,
        };
        (name, view)
    });
    Ok(SessionView {
        id: record.id.clone(),
        name: record.name.clone(),
        stack: record.stack.clone(),
        state,
        why: folded.why,
        seq: folded.seq,
        services,
        tasks: tasks.collect(),
        metrics: None,
    })
}

/// Reads an events file strictly; a torn last line is what a SIGKILL leaves.
pub(crate) fn recording(path: &Path) -> Result<Recording> {
    let text = match fs_err::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Recording::default()),
        Err(error) => return Err(CliError::of(ErrorCode::StateDirUnusable, &error)),
    };
    Recording::read(&text).map_err(|error| {
        CliError::of(ErrorCode::StoreCorrupt, &error).hint(format!("the file is {}", path.display()))
    })
}

pub(crate) fn render(app: &App, view: &SessionView) -> String {
    let mut text = format!("{} ({})  {}", view.name, view.id, app.printer.state(view.state.as_str()));
    if let Some(why) = &view.why {
        text.push_str(": ");
        text.push_str(why);
    }
    text.push_str("\n\n");
    let mut rows = Vec::new();
    for replica in view.services.values().flat_map(|service| &service.replicas) {
        let ports: Vec<String> = replica.ports.iter().map(|(name, port)| format!("{name}:{port}")).collect();
        let ready = replica.ready_ms.map_or_else(String::new, |ms| format!("{ms:.1} ms"));
        let exit = replica.exit.as_ref().map_or_else(String::new, ToString::to_string);
        rows.push(vec![
            replica.name.to_string(),
            app.printer.state(replica.state.as_str()),
            replica.host.clone(),
            ports.join(" "),
            replica.generation.to_string(),
            if exit.is_empty() { ready } else { exit },
        ]);
    }
    for (name, task) in &view.tasks {
        let exit = task.exit.as_ref().map_or_else(String::new, ToString::to_string);
        let state = app.printer.state(task.state.as_str());
        rows.push(vec![format!("{name} (task)"), state, String::new(), String::new(), String::new(), exit]);
    }
    text.push_str(&table(&["NAME", "STATE", "HOST", "PORTS", "STARTS", "READY IN / EXIT"], &rows));
    text.push_str(&render_published(view));
    text
}

/// What can be opened on the host.
fn render_published(view: &SessionView) -> String {
    let mut rows = Vec::new();
    for (name, service) in &view.services {
        let several = service.replicas.len() > 1;
        let own = std::iter::once((name.to_string(), &service.published));
        let each = service.replicas.iter().filter(|_| several);
        let each = each.map(|replica| (replica.name.to_string(), &replica.published));
        for (name, ports) in own.chain(each) {
            for port in ports.keys() {
                let url = url::on_the_host(service, &name, port).unwrap_or_default();
                rows.push(vec![format!("{name}:{port}"), url]);
            }
        }
    }
    rows.extend(view.metrics.iter().map(|url| vec!["metrics".to_owned(), url.clone()]));
    if rows.is_empty() { String::new() } else { format!("\n{}", table(&["PORT", "ON THE HOST"], &rows)) }
}
