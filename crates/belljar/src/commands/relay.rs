//! Our terminal (or our standard streams) and a command in a session, joined by the control protocol.

use std::io::IsTerminal as _;
use std::sync::Arc;

use belljar_client::frame::{Frame, STDIN_WINDOW};
use belljar_client::wire::{ExecRequest, TerminalSize};
use belljar_client::{Client, ClientError};
use belljar_model::ExitCode;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};

use super::run::exit_code;
use crate::error::{Result, internal};
use crate::signals::Signals;

/// Runs the command and shows everything that it says.
pub(crate) async fn run(client: &Client, request: &ExecRequest, signals: &mut Signals) -> Result<ExitCode> {
    let channel = tokio::select! {
        channel = client.exec(request) => channel?,
        // A session that does not answer must not keep us.
        asked = signals.next() => return Ok(asked.exit_code()),
    };
    let raw = request.terminal.and_then(|_| RawTerminal::enter());
    let (mut sender, mut receiver) = channel.split();
    let (outgoing, mut frames) = mpsc::channel::<Frame>(16);
    let typing = outgoing.clone();
    let window = Arc::new(Semaphore::new(STDIN_WINDOW));
    let taken = Arc::clone(&window);
    let reading = tokio::spawn(async move {
        let mut stdin = tokio::io::stdin();
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = stdin.read(&mut buffer).await {
            // The window is never closed; what was sent is given back when it has been taken.
            if let Ok(permits) = window.acquire_many(u32::try_from(count).unwrap_or(u32::MAX)).await {
                permits.forget();
            }
            if typing.send(Frame::Stdin(buffer[..count].to_vec())).await.is_err() {
                return;
            }
        }
        // The command has gone where this fails.
        let _ = typing.send(Frame::StdinEnd).await;
    });
    let sending = tokio::spawn(async move {
        while let Some(frame) = frames.recv().await {
            if sender.send(&frame).await.is_err() {
                return;
            }
        }
    });
    let mut resized = signal(SignalKind::window_change()).map_err(internal)?;
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    let result = loop {
        tokio::select! {
            frame = receiver.receive() => match frame {
                Ok(Some(Frame::Stdout(bytes))) => {
                    if stdout.write_all(&bytes).await.is_err() || stdout.flush().await.is_err() {
                        // Nobody reads any more; dropping the channel ends the command.
                        break Ok(ExitCode::OK);
                    }
                }
                Ok(Some(Frame::Stderr(bytes))) => {
                    // Nobody can be told that nobody can be told.
                    let _ = stderr.write_all(&bytes).await;
                    let _ = stderr.flush().await;
                }
                Ok(Some(Frame::StdinTaken(count))) => {
                    taken.add_permits(usize::try_from(count).unwrap_or_default());
                }
                Ok(Some(Frame::Exit(exit))) => break exit_code(Some(exit)),
                Ok(Some(Frame::Error(view))) => break Err(ClientError::Refused(view).into()),
                Ok(Some(_)) => {}
                Ok(None) => break exit_code(None),
                Err(error) => break Err(error.into()),
            },
            asked = signals.next() => {
                if outgoing.send(Frame::Signal(asked.number())).await.is_err() {
                    break Ok(asked.exit_code());
                }
            }
            _ = resized.recv() => {
                if let Some(size) = terminal_size() {
                    let _ = outgoing.send(Frame::Resize(size)).await;
                }
            }
        }
    };
    drop(raw);
    reading.abort();
    sending.abort();
    result
}

/// The size of our terminal, where we have one for both typing and showing.
pub(crate) fn terminal_size() -> Option<TerminalSize> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return None;
    }
    let size = tcgetwinsize(std::io::stdout()).ok()?;
    Some(TerminalSize { rows: size.ws_row, columns: size.ws_col })
}

/// Our terminal passes everything on as it is typed, until this is dropped.
struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    fn enter() -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}
