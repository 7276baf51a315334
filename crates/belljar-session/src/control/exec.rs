//! `POST /v1/exec`: a command in the session, its standard streams (or its terminal) as frames both ways.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, UPGRADE};
use axum::response::Response;
use belljar_client::frame::{Frame, FrameReader, write_frame};
use belljar_client::wire::{EXEC_UPGRADE, ErrorView, ExecRequest, TerminalSize};
use belljar_model::ErrorCode;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Control, Refusal};
use crate::native::{Command, CommandSpec};
use crate::terminal::Terminal;

/// The longest request body: an environment and an argument list.
const LONGEST_BODY: usize = 8 << 20;
/// After the command has ended its output is read for this long at most; a child may keep it open.
const OUTPUT_ENDS_WITHIN: std::time::Duration = std::time::Duration::from_millis(300);
/// How many frames may wait for a slow reader before the command has to wait.
const FRAMES_WAITING: usize = 64;

pub(super) async fn start(control: Control, mut request: Request) -> Result<Response, Refusal> {
    let upgrade = hyper::upgrade::on(&mut request);
    let asked = request.headers().get(UPGRADE).and_then(|value| value.to_str().ok());
    if asked != Some(EXEC_UPGRADE) {
        return Err(Refusal::malformed(format!("`Upgrade: {EXEC_UPGRADE}` is missing")));
    }
    let body = axum::body::to_bytes(request.into_body(), LONGEST_BODY).await.map_err(Refusal::malformed)?;
    let asked: ExecRequest = serde_json::from_slice(&body).map_err(Refusal::malformed)?;
    let (command, streams) = spawn(&control, asked).await?;
    tokio::spawn(relay(upgrade, command, streams));
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, EXEC_UPGRADE)
        .body(Body::empty())
        .map_err(|error| Refusal::new(ErrorCode::Internal, error.to_string()))
}

/// Our ends of the command's streams.
enum Streams {
    Terminal(Terminal),
    Pipes { stdin: pipe::Sender, stdout: pipe::Receiver, stderr: pipe::Receiver },
}

async fn spawn(control: &Control, asked: ExecRequest) -> Result<(Command, Streams), Refusal> {
    if asked.argv.is_empty() {
        return Err(Refusal::malformed("`argv` is empty"));
    }
    let replica = match &asked.replica {
        None => None,
        Some(name) => {
            let index = control.shared.plan.replicas().position(|one| one.name == *name);
            let missing = || Refusal::new(ErrorCode::ReplicaNotFound, format!("there is no replica {name}"));
            Some(index.ok_or_else(missing)?)
        }
    };
    let failed = |error: std::io::Error| Refusal::new(ErrorCode::Internal, error.to_string());
    let (stdio, streams) = match asked.terminal {
        Some(size) => open_terminal(size).map_err(failed)?,
        None => open_pipes().map_err(failed)?,
    };
    let cwd = match replica {
        Some(replica) if asked.cwd.is_empty() => control.shared.replica_plan(replica).cwd.clone(),
        None if asked.cwd.is_empty() => control.shared.plan.dir.clone(),
        _ => PathBuf::from(asked.cwd),
    };
    let spec = CommandSpec {
        replica,
        argv: asked.argv,
        env: asked.env,
        cwd,
        busy: asked.busy,
        terminal: matches!(streams, Streams::Terminal(_)),
    };
    match Command::start(&control.shared, &control.handle, &control.env, spec, stdio).await {
        Ok(command) => Ok((command, streams)),
        Err(error) => Err(Refusal::new(error.code(), error.0.to_string())),
    }
}

fn open_terminal(size: TerminalSize) -> std::io::Result<([OwnedFd; 3], Streams)> {
    let (terminal, end) = Terminal::open(size)?;
    let stdio = [end.try_clone()?, end.try_clone()?, end];
    Ok((stdio, Streams::Terminal(terminal)))
}

fn open_pipes() -> std::io::Result<([OwnedFd; 3], Streams)> {
    let (stdin_reader, stdin) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stdout, stdout_writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, stderr_writer) = pipe_with(PipeFlags::CLOEXEC)?;
    for ours in [&stdin, &stdout, &stderr] {
        rustix::io::ioctl_fionbio(ours, true)?;
    }
    let streams = Streams::Pipes {
        stdin: pipe::Sender::from_owned_fd(stdin)?,
        stdout: pipe::Receiver::from_owned_fd(stdout)?,
        stderr: pipe::Receiver::from_owned_fd(stderr)?,
    };
    Ok(([stdin_reader, stdout_writer, stderr_writer], streams))
}

/// Carries frames until the command has ended or whoever asked for it is gone.
async fn relay(upgrade: OnUpgrade, mut command: Command, streams: Streams) {
    let Ok(upgraded) = upgrade.await else {
        command.kill().await;
        return;
    };
    let (reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
    let (frames, mut outgoing) = mpsc::channel::<Frame>(FRAMES_WAITING);
    let (input, resize, outputs) = match streams {
        Streams::Terminal(terminal) => {
            let (input, output, size) = terminal.split();
            (Input::Terminal(input), Some(size), vec![copy_out(output, Frame::Stdout, frames.clone())])
        }
        Streams::Pipes { stdin, stdout, stderr } => (
            Input::Pipe(stdin),
            None,
            vec![
                copy_out(stdout, Frame::Stdout, frames.clone()),
                copy_out(stderr, Frame::Stderr, frames.clone()),
            ],
        ),
    };
    let writing = tokio::spawn(async move {
        while let Some(frame) = outgoing.recv().await {
            if write_frame(&mut writer, &frame).await.is_err() {
                return;
            }
        }
        // The other side sees the end of the connection either way.
        let _ = writer.shutdown().await;
    });
    let (signals, mut asked) = mpsc::channel(8);
    let reading = tokio::spawn(copy_in(FrameReader::new(reader), input, resize, signals));
    let exit = loop {
        tokio::select! {
            exit = command.wait() => break exit,
            signal = asked.recv() => {
                let Some(signal) = signal else {
                    // Whoever asked is gone: nothing of theirs stays.
                    command.kill().await;
                    break None;
                };
                command.signal(signal).await;
            }
        }
    };
    let all_out = async {
        for output in outputs {
            // One that panicked has nothing more to say.
            let _ = output.await;
        }
    };
    let _ = timeout(OUTPUT_ENDS_WITHIN, all_out).await;
    let last = match exit {
        Some(exit) => Frame::Exit(exit),
        None => Frame::Error(ErrorView {
            code: ErrorCode::SessionEnded,
            message: "the session ended before the command did".to_owned(),
            hints: Vec::new(),
        }),
    };
    let _ = frames.send(last).await;
    drop(frames);
    drop(command);
    reading.abort();
    let _ = timeout(std::time::Duration::from_secs(5), writing).await;
}

enum Input {
    Terminal(crate::terminal::TerminalInput),
    Pipe(pipe::Sender),
}

async fn copy_in(
    mut reader: FrameReader<impl tokio::io::AsyncRead + Unpin>,
    input: Input,
    resize: Option<crate::terminal::TerminalSizer>,
    signals: mpsc::Sender<i32>,
) {
    let mut input = Some(input);
    while let Ok(Some(frame)) = reader.next().await {
        match frame {
            Frame::Stdin(bytes) => {
                let written = match &mut input {
                    Some(Input::Pipe(pipe)) => pipe.write_all(&bytes).await,
                    Some(Input::Terminal(terminal)) => terminal.write_all(&bytes).await,
                    None => Ok(()),
                };
                // The command does not read any more; it may go on all the same.
                if written.is_err() {
                    input = None;
                }
            }
            Frame::StdinEnd => input = None,
            Frame::Resize(size) => {
                if let Some(resize) = &resize {
                    resize.set(size);
                }
            }
            Frame::Signal(signal) => {
                if signals.send(signal).await.is_err() {
                    return;
                }
            }
            // Only we send these.
            Frame::Stdout(_) | Frame::Stderr(_) | Frame::Exit(_) | Frame::Error(_) => return,
        }
    }
}

fn copy_out(
    mut from: impl tokio::io::AsyncRead + Unpin + Send + 'static,
    frame: fn(Vec<u8>) -> Frame,
    frames: mpsc::Sender<Frame>,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut buffer = vec![0; 16 * 1024];
        // A terminal whose last user is gone answers with an error; that is its end of file.
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if frames.send(frame(buffer[..count].to_vec())).await.is_err() {
                return;
            }
        }
    })
}
