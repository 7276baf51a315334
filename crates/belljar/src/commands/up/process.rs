//! The process that will carry the session, as `up` sees it.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use belljar_client::wire::SessionView;
use belljar_model::ErrorCode;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin};

use super::progress;
use crate::app::App;
use crate::commands::host::{Asked, KEEP, Told};
use crate::error::{CliError, Result, internal};
use crate::signals::Signals;

pub(super) struct Host {
    child: Child,
    input: Option<ChildStdin>,
}

impl Host {
    pub(super) async fn start(app: &App, asked: &Asked) -> Result<Self> {
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

    pub(super) async fn until_ready(&mut self, app: &App) -> Result<SessionView> {
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

    /// The session stays when we go.
    pub(super) async fn keep(&mut self) -> Result<()> {
        if let Some(mut input) = self.input.take() {
            input.write_all(format!("{KEEP}\n").as_bytes()).await.map_err(internal)?;
            input.flush().await.map_err(internal)?;
        }
        Ok(())
    }

    /// Ends the session by going away; the next signal does not wait for it.
    pub(super) async fn end(&mut self, signals: &mut Signals) {
        self.input.take();
        tokio::select! {
            _ = self.child.wait() => {}
            _ = signals.next() => drop(self.child.start_kill()),
        }
    }

    /// Waits until it has said in the registry that its session has ended.
    pub(super) async fn ended(&mut self) {
        // Nobody else reaps it, so there is a status to wait for.
        let _ = self.child.wait().await;
    }
}
