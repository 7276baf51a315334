//! `up`: starts a session, waits until it is ready, and leaves it running.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use belljar_client::Client;
use belljar_client::wire::{SessionView, WaitFor};
use belljar_model::{ErrorCode, EventKind, ExitCode, SessionName, SessionState};
use belljar_store::{SessionKind, SessionRecord};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin};

use super::host::{Asked, KEEP, Told};
use super::stack_args::StackArgs;
use super::{isolation, ps};
use crate::app::App;
use crate::error::{CliError, Result, internal};
use crate::signals::Signals;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar up examples/pods --name pods")]
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
    /// Start another one although one of this stack runs here
    #[arg(long)]
    new: bool,
    #[command(flatten)]
    isolation: isolation::IsolationArgs,
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let (stack_file, stack) = args.file.load(app, args.stack.as_ref())?;
    if args.name.is_none()
        && !args.new
        && let Some(record) = running(app, &stack_file, stack.dir())?
    {
        return attach(app, &record, args).await;
    }
    let mut host = Host::start(
        app,
        &Asked {
            stack_file,
            name: args.name.clone(),
            metrics: args.metrics,
            isolation: args.isolation.isolation,
        },
    )
    .await?;
    let view = tokio::select! {
        view = host.until_ready(app) => view?,
        asked = signals.next() => {
            // It ends when it sees that we are gone; a second Ctrl-C does not wait for that.
            host.input.take();
            tokio::select! {
                _ = host.child.wait() => {}
                _ = signals.next() => drop(host.child.start_kill()),
            }
            let error = CliError::new(ErrorCode::Interrupted, "interrupted; the session has ended");
            app.printer.error(&error);
            return Ok(asked.exit_code());
        }
    };
    host.keep().await?;
    show(app, &view)?;
    Ok(ExitCode::OK)
}

/// The live session that an earlier `up` of this stack left running.
fn running(app: &App, stack_file: &Path, dir: &Path) -> Result<Option<SessionRecord>> {
    let Some(store) = app.store_to_read()? else { return Ok(None) };
    let mut live = store.live_of(dir)?;
    live.retain(|one| one.kind == Some(SessionKind::Up) && one.stack_file == stack_file);
    Ok(live.pop())
}

async fn attach(app: &App, record: &SessionRecord, args: &Args) -> Result<ExitCode> {
    let client = Client::new(record.control_socket.clone().unwrap_or_default());
    let mut view = client.session().await?;
    if view.state == SessionState::Starting {
        view = client.wait(WaitFor::Ready, None, std::time::Duration::from_hours(1)).await?;
    }
    app.printer.note(&format!("session {} ({}) is {} already", view.name, view.id, view.state));
    if args.metrics.is_some() && view.metrics.is_none() {
        app.printer
            .note("note: it was started without --metrics, and serves none; `--new` starts another one");
    }
    show(app, &view)?;
    Ok(ExitCode::OK)
}

fn show(app: &App, view: &SessionView) -> Result<()> {
    if app.printer.json { app.printer.document(view) } else { app.printer.out(&ps::render(app, view)) }
}

/// The process that will carry the session.
struct Host {
    child: Child,
    input: Option<ChildStdin>,
}

impl Host {
    async fn start(app: &App, asked: &Asked) -> Result<Self> {
        // Made here, so that what the state directory lacks is said here.
        app.store()?;
        let log = fs_err::OpenOptions::new().create(true).append(true).open(app.state_dir.join("host.log"));
        let log = log.map_err(|error| CliError::of(ErrorCode::StateDirUnusable, &error))?;
        let mut child = tokio::process::Command::new(App::program()?)
            .arg("--state-dir")
            .arg(&app.state_dir)
            .arg("__host")
            .current_dir(&app.cwd)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.into_file())
            .spawn()
            .map_err(internal)?;
        let mut input = child.stdin.take();
        if let Some(input) = &mut input {
            let mut line = serde_json::to_vec(asked).map_err(internal)?;
            line.push(b'\n');
            input.write_all(&line).await.map_err(internal)?;
        }
        Ok(Self { child, input })
    }

    async fn until_ready(&mut self, app: &App) -> Result<SessionView> {
        let output = self.child.stdout.take();
        let mut lines =
            BufReader::new(output.ok_or_else(|| internal(std::io::Error::other("no pipe")))?).lines();
        while let Some(line) = lines.next_line().await.map_err(internal)? {
            match serde_json::from_str(&line).map_err(internal)? {
                Told::Note(note) => app.printer.note(&note),
                Told::Event(event) => progress(app, &event.kind),
                Told::Ready(view) => return Ok(*view),
                Told::Failed(view) => {
                    // Its clean-up is part of our failing.
                    let _ = self.child.wait().await;
                    return Err(view.into());
                }
            }
        }
        let status = self.child.wait().await.map_err(internal)?;
        let log = app.state_dir.join("host.log");
        let message =
            format!("the host process of the session ended ({status}) before the session was ready");
        // Whoever killed it knows why; what ended by itself without a word is our fault.
        let killed = status.signal() == Some(rustix::process::Signal::KILL.as_raw());
        let code = if killed { ErrorCode::SessionDead } else { ErrorCode::Internal };
        Err(CliError::new(code, message).hint(format!("{} may say why", log.display())))
    }

    async fn keep(&mut self) -> Result<()> {
        if let Some(mut input) = self.input.take() {
            input.write_all(format!("{KEEP}\n").as_bytes()).await.map_err(internal)?;
            input.flush().await.map_err(internal)?;
        }
        Ok(())
    }
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
