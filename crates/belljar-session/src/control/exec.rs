//! `POST /v1/exec`: a command in the session, its standard streams (or its terminal) as frames both ways.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, UPGRADE};
use axum::response::Response;
use belljar_client::frame::{Frame, FrameReader, STDIN_WINDOW, write_frame};
use belljar_client::wire::{EXEC_UPGRADE, ErrorView, ExecRequest, TerminalSize};
use belljar_model::ErrorCode;
use belljar_sandbox::SandboxError;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Control, Refusal};
use crate::native::{Command, CommandSpec};
use crate::terminal::Terminal;

/// The longest request body: an environment and an argument list.
const LONGEST_BODY: usize = 8 << 20;
/// After the command has ended its output is read for this long at most; a child may keep it open.
const OUTPUT_ENDS_WITHIN: std::time::Duration = std::time::Duration::from_millis(300);
/// How many pieces of standard input may wait for the command: a full window of the smallest ones that a sensible
/// sender makes.
const PIECES_WAITING: usize = STDIN_WINDOW / 64;
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
            let index = control.shared.defined.find(name);
            let missing = || Refusal::new(ErrorCode::ReplicaNotFound, format!("there is no replica {name}"));
            Some(index.ok_or_else(missing)?)
        }
    };
    let failed = |error: std::io::Error| Refusal::new(ErrorCode::Internal, error.to_string());
    let (stdio, streams) = match asked.terminal {
        Some(size) => {
            let refused = |error: SandboxError| Refusal::new(error.code(), error.to_string());
            let master = control.shared.connection.terminal().await.map_err(refused)?;
            open_terminal(master, size).map_err(failed)?
        }
        None => open_pipes().map_err(failed)?,
    };
    let cwd = match replica {
        Some(replica) if asked.cwd.is_empty() => control.shared.replica_plan(replica).cwd.clone(),
        None if asked.cwd.is_empty() => control.shared.dir.clone(),
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
    match Command::start(&control.shared, &control.handle, spec, stdio).await {
        Ok(command) => Ok((command, streams)),
        Err(error) => Err(Refusal::new(error.code(), error.0.to_string())),
    }
}

fn open_terminal(master: OwnedFd, size: TerminalSize) -> std::io::Result<([OwnedFd; 3], Streams)> {
    let (terminal, end) = Terminal::new(master, size)?;
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
    let moved = Arc::new(AtomicU64::new(0));
    let (input, resize, outputs) = match streams {
        Streams::Terminal(terminal) => {
            let (input, output, size) = terminal.split();
            (
                Input::Terminal(input),
                Some(size),
                vec![copy_out(output, Frame::Stdout, frames.clone(), &moved)],
            )
        }
        Streams::Pipes { stdin, stdout, stderr } => (
            Input::Pipe(stdin),
            None,
            vec![
                copy_out(stdout, Frame::Stdout, frames.clone(), &moved),
                copy_out(stderr, Frame::Stderr, frames.clone(), &moved),
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
    let input = feed(input, frames.clone());
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
    output_ends(outputs, &moved, &frames).await;
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

/// Writes what is to be typed, by itself, so that a command that does not read holds up nothing else. Each piece is
/// told taken when it has been written, or when nobody reads any more.
fn feed(mut input: Input, frames: mpsc::Sender<Frame>) -> mpsc::Sender<Vec<u8>> {
    let (sender, mut pieces) = mpsc::channel::<Vec<u8>>(PIECES_WAITING);
    tokio::spawn(async move {
        let mut reads = true;
        while let Some(piece) = pieces.recv().await {
            if reads {
                reads = match &mut input {
                    Input::Pipe(pipe) => pipe.write_all(&piece).await.is_ok(),
                    Input::Terminal(terminal) => terminal.write_all(&piece).await.is_ok(),
                };
            }
            let taken = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            if frames.send(Frame::StdinTaken(taken)).await.is_err() {
                return;
            }
        }
    });
    sender
}

/// Reads what the other side sends until it is gone, or does what it may not.
async fn copy_in(
    mut reader: FrameReader<impl tokio::io::AsyncRead + Unpin>,
    input: mpsc::Sender<Vec<u8>>,
    resize: Option<crate::terminal::TerminalSizer>,
    signals: mpsc::Sender<i32>,
) {
    let mut input = Some(input);
    while let Ok(Some(frame)) = reader.next().await {
        match frame {
            Frame::Stdin(bytes) => {
                // Whoever sends more than the window allows would have us hold it all.
                let full = |input: &mpsc::Sender<Vec<u8>>| {
                    matches!(input.try_send(bytes), Err(mpsc::error::TrySendError::Full(_)))
                };
                if input.as_ref().is_some_and(full) {
                    return;
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
            Frame::Stdout(_) | Frame::Stderr(_) | Frame::Exit(_) | Frame::Error(_) | Frame::StdinTaken(_) => {
                return;
            }
        }
    }
}

/// Waits until all that the command said is out. Where something that it started keeps its output open, that is
/// when nothing has come for a while and nobody is waiting to read.
async fn output_ends(outputs: Vec<JoinHandle<()>>, moved: &AtomicU64, frames: &mpsc::Sender<Frame>) {
    let all_out = async {
        for output in outputs {
            // One that panicked has nothing more to say.
            let _ = output.await;
        }
    };
    tokio::pin!(all_out);
    loop {
        let before = moved.load(Ordering::Relaxed);
        let quiet = timeout(OUTPUT_ENDS_WITHIN, &mut all_out).await.is_err();
        let still = moved.load(Ordering::Relaxed) == before && frames.capacity() > 0;
        if !quiet || still {
            return;
        }
    }
}

fn copy_out(
    mut from: impl tokio::io::AsyncRead + Unpin + Send + 'static,
    frame: fn(Vec<u8>) -> Frame,
    frames: mpsc::Sender<Frame>,
    moved: &Arc<AtomicU64>,
) -> JoinHandle<()> {
    let moved = Arc::clone(moved);
    tokio::spawn(async move {
        let mut buffer = vec![0; 16 * 1024];
        // A terminal whose last user is gone answers with an error; that is its end of file.
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if frames.send(frame(buffer[..count].to_vec())).await.is_err() {
                return;
            }
            moved.fetch_add(1, Ordering::Relaxed);
        }
    })
}
