//! `up`: starts a session, waits until it is ready, and leaves it running or stays with it. Where one of this stack
//! runs here already, it is made what the stack says now.

mod again;
mod attach;
mod dry;
mod process;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use belljar_client::Client;
use belljar_client::wire::SessionView;
use belljar_model::{ErrorCode, EventKind, ExitCode, SessionName};
use belljar_store::{SessionKind, SessionRecord};

use super::host::Asked;
use super::stack_args::{EditArgs, StackArgs, duration};
use super::{isolation, ps};
use crate::app::App;
use crate::error::{CliError, Result};
use crate::signals::Signals;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  belljar up examples/pods --name pods\n  belljar up --ttl 2h --replicas api=5\n  \
                        belljar up --attach --watch --override api=target/debug/api\n  belljar up --plan"
)]
pub(crate) struct Args {
    /// The stack file or its directory
    #[arg(value_name = "STACK")]
    stack: Option<PathBuf>,
    #[command(flatten)]
    file: StackArgs,
    /// The session's name; taken is an error [default: the directory's name, with -2, -3 where taken]
    #[arg(long)]
    name: Option<SessionName>,
    /// Serve the metrics of all replicas (their ports called `metrics`) on this port of the host, or on a free one
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    metrics: Option<u16>,
    #[command(flatten)]
    isolation: isolation::IsolationArgs,
    /// Start another one although one of this stack runs here
    #[arg(long)]
    new: bool,
    /// Stay and show what happens; Ctrl-C ends the session in order, a second one at once, q leaves it running
    #[arg(long)]
    attach: bool,
    /// Start services again when their programs, or what their `watch` names, change
    #[arg(long)]
    watch: bool,
    /// End the session by itself after so long; said again, so long from then
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    ttl: Option<Duration>,
    #[command(flatten)]
    edits: EditArgs,
    /// Forget what earlier calls said by --set, --replicas, --override and --profile
    #[arg(long)]
    forget: bool,
    /// Show what would be changed in the session that runs, and change nothing
    #[arg(long)]
    plan: bool,
    /// Check and plan everything, and start nothing
    #[arg(long, conflicts_with_all = ["attach", "ttl"])]
    dry_run: bool,
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    if args.ttl.is_some_and(|ttl| ttl.is_zero()) {
        return Err(CliError::new(ErrorCode::Usage, "`--ttl 0s` leaves a session no time at all"));
    }
    let session = known(app, args)?;
    let file = match (&session, args.file.file.as_ref().or(args.stack.as_ref())) {
        // `-s` names the session, and it knows its file.
        (Some(session), None) if app.session.is_some() => session.stack_file.clone(),
        (_, given) => app.stack_file(given.map(PathBuf::as_path))?,
    };
    match session {
        Some(session) => again::run(app, args, &session, &file, &mut signals).await,
        None if args.dry_run || args.plan => dry::run(app, args, &file),
        None => start(app, args, &file, &mut signals).await,
    }
}

/// The session that is meant and runs already.
fn known(app: &App, args: &Args) -> Result<Option<SessionRecord>> {
    if let Some(selector) = &app.session {
        let record = app.record(Some(selector))?;
        crate::app::alive(&record)?;
        return Ok(Some(record));
    }
    if args.name.is_some() || args.new {
        return Ok(None);
    }
    let file = app.stack_file(args.file.file.as_ref().or(args.stack.as_ref()).map(PathBuf::as_path))?;
    running(app, &file)
}

/// The live session that an earlier `up` of this stack left running. Its directory says which checkout it is of:
/// two of one repository never meet.
fn running(app: &App, stack_file: &Path) -> Result<Option<SessionRecord>> {
    let Some(store) = app.store_to_read()? else { return Ok(None) };
    let mut live = store.live_of(stack_file.parent().unwrap_or(Path::new("/")))?;
    live.retain(|one| {
        one.kind == Some(SessionKind::Up) && one.stack_file == stack_file && one.owner_uid == App::uid()
    });
    Ok(live.pop())
}

async fn start(app: &App, args: &Args, file: &Path, signals: &mut Signals) -> Result<ExitCode> {
    let stack = App::stack_with(file, args.edits.edits(app))?;
    // What can be said before anything is made is said here.
    dry::planned(app, &stack, args.isolation.isolation.map(Into::into))?;
    let asked = Asked {
        given: stack.given().clone(),
        name: args.name.clone(),
        metrics: args.metrics,
        isolation: args.isolation.isolation,
        attach: args.attach,
        watch: args.watch,
        ttl_ms: args.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
    };
    let mut host = process::Host::start(app, &asked).await?;
    let view = tokio::select! {
        view = host.until_ready(app) => view?,
        asked = signals.next() => {
            // It ends when it sees that we are gone; a second Ctrl-C does not wait for that.
            host.end(signals).await;
            let error = CliError::new(ErrorCode::Interrupted, "interrupted; the session has ended");
            app.printer.error(&error);
            return Ok(asked.exit_code());
        }
    };
    if args.attach {
        let client = Client::new(host_socket(app, &view)?);
        return attach::run(app, client, view, Some(host), signals).await;
    }
    host.keep().await?;
    show(app, &view)?;
    Ok(ExitCode::OK)
}

fn host_socket(app: &App, view: &SessionView) -> Result<PathBuf> {
    let record = app.record(Some(&belljar_model::Selector::Id(view.id.clone())))?;
    Ok(record.control_socket.unwrap_or_default())
}

fn show(app: &App, view: &SessionView) -> Result<()> {
    if app.printer.json { app.printer.document(view) } else { app.printer.out(&ps::render(app, view)) }
}

/// What happens on the way, for whoever waits.
fn progress(app: &App, kind: &EventKind) {
    let text = match kind {
        EventKind::SessionStarting { stack, name } => format!("session {name} of stack {stack}"),
        EventKind::ReplicaReady { replica, ready_ms, .. } => format!("  {replica} ready in {ready_ms:.1} ms"),
        EventKind::ReplicaPortChanged { replica, from, to, .. } => {
            format!("  port {from} of {replica} was taken by another process; it gets {to}")
        }
        EventKind::TaskSucceeded { task, duration_ms } => format!("  {task} done in {duration_ms} ms"),
        EventKind::ReplicaExited { replica, exit, expected: false, .. } => {
            format!("  {replica} ended: {exit}")
        }
        _ => return,
    };
    app.printer.note(&text);
}
