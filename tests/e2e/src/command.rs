//! Running `belljar`, to its end or beside the test.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::output::{Ended, Output};
use crate::wait::eventually;

/// How long a command may take before the test is given up: far beyond what any does.
const DEADLINE: Duration = Duration::from_secs(90);

/// After a command's end its output must end too: whoever still holds the pipe hangs `$(belljar up)`.
const PIPE_DEADLINE: Duration = Duration::from_secs(5);

/// A command line in the making.
#[must_use = "run or spawn it"]
#[derive(Debug)]
pub struct Cmd {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: PathBuf,
    input: Input,
    first_line_only: bool,
    pub(crate) redactions: Vec<(String, &'static str)>,
}

#[derive(Debug)]
enum Input {
    Nothing,
    Bytes(Vec<u8>),
    Held,
}

impl Cmd {
    /// `program` with an environment of exactly `env`.
    pub(crate) fn new(program: &Path, env: Vec<(OsString, OsString)>, cwd: &Path) -> Self {
        Self {
            program: program.to_owned(),
            args: Vec::new(),
            env,
            cwd: cwd.to_owned(),
            input: Input::Nothing,
            first_line_only: false,
            redactions: Vec::new(),
        }
    }

    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub fn args<T: Into<OsString>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.retain(|(one, _)| one != name);
        self.env.push((name.into(), value.into()));
        self
    }

    pub fn env_remove(mut self, name: &str) -> Self {
        self.env.retain(|(one, _)| one != name);
        self
    }

    pub fn cwd(mut self, dir: impl AsRef<Path>) -> Self {
        dir.as_ref().clone_into(&mut self.cwd);
        self
    }

    /// What it reads on standard input, then the end of it. Without this there is nothing to read.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Standard input stays open until the test writes to it or ends it.
    pub fn stdin_held(mut self) -> Self {
        self.input = Input::Held;
        self
    }

    /// Closes its standard output after the first line, as `| head -1` does.
    pub fn first_line_only(mut self) -> Self {
        self.first_line_only = true;
        self
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Ended {
        self.spawn().finish()
    }

    /// Starts it beside the test.
    #[track_caller]
    pub fn spawn(self) -> Running {
        let shown = self.shown();
        let mut command = self.command();
        command.stdin(if matches!(self.input, Input::Nothing) { Stdio::null() } else { Stdio::piped() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = {
            let mut ours = children();
            let child = command.spawn().unwrap_or_else(|error| panic!("`{shown}`: {error}"));
            ours.insert(Pid::from_child(&child).as_raw_nonzero().get());
            child
        };
        let mut stdin = child.stdin.take();
        if let Input::Bytes(bytes) = self.input {
            let mut pipe = stdin.take().expect("was asked for");
            // A command that does not read to the end is not wrong.
            std::thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        let stdout = Stream::reading(child.stdout.take().expect("was asked for"), self.first_line_only);
        let stderr = Stream::reading(child.stderr.take().expect("was asked for"), false);
        Running { child, stdin, stdout, stderr, started, shown, redactions: self.redactions }
    }

    /// As the standard library has it, for what needs other descriptors.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear().current_dir(&self.cwd);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn shown(&self) -> String {
        let words = self.args.iter().map(|arg| arg.to_string_lossy().into_owned());
        let name = self.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ")
    }
}

/// A command under way. Dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Stream,
    stderr: Stream,
    started: Instant,
    shown: String,
    redactions: Vec<(String, &'static str)>,
}

impl Running {
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("process ids are small")
    }

    pub fn signal(&self, signal: Signal) {
        // It may have ended in this very moment; what it came to says whether that was right.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    pub fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("standard input is held");
        stdin.write_all(bytes).expect("writes to standard input");
        stdin.flush().expect("writes to standard input");
    }

    /// Ends its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits until it has printed `text`.
    #[track_caller]
    pub fn until_prints(&self, text: &str) {
        let what = format!("`{text}` on stdout of `{}`", self.shown);
        self.until(&what, || self.stdout().contains(text));
    }

    #[track_caller]
    pub fn until_complains(&self, text: &str) {
        let what = format!("`{text}` on stderr of `{}`", self.shown);
        self.until(&what, || self.stderr().contains(text));
    }

    #[track_caller]
    fn until(&self, what: &str, mut is_true: impl FnMut() -> bool) {
        eventually(what, DEADLINE, || {
            assert!(
                !self.has_ended() || is_true(),
                "{what}: it has ended\n--- stdout\n{}\n--- stderr\n{}",
                self.stdout(),
                self.stderr()
            );
            is_true().then_some(())
        });
    }

    pub fn has_ended(&self) -> bool {
        crate::host::is_over(self.pid())
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finish(mut self) -> Ended {
        self.stdin = None;
        let Some(status) = self.end_within(DEADLINE) else {
            // The output says how far it came, so it is ended first and shown then.
            self.signal(Signal::KILL);
            let _ = self.child.wait();
            panic!(
                "`{}` did not end within {DEADLINE:?}\n--- stdout\n{}\n--- stderr\n{}",
                self.shown,
                self.stdout(),
                self.stderr()
            );
        };
        let took = self.started.elapsed();
        for (stream, name) in [(&self.stdout, "stdout"), (&self.stderr, "stderr")] {
            assert!(
                stream.ends_within(PIPE_DEADLINE),
                "`{}` has ended, and something it started still holds its {name}",
                self.shown
            );
        }
        Ended(Output {
            command: self.shown.clone(),
            status,
            stdout: self.stdout(),
            stderr: self.stderr(),
            took,
            redactions: std::mem::take(&mut self.redactions),
        })
    }

    /// Waits until the kernel says that it has ended.
    fn end_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Some(status);
        }
        let pidfd = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).expect("our own child");
        let end = Instant::now() + limit;
        loop {
            let left = end.checked_duration_since(Instant::now())?;
            let left =
                Timespec { tv_sec: i64::try_from(left.as_secs()).expect("is small"), tv_nsec: 1_000_000 };
            let mut wanted = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
            if poll(&mut wanted, Some(&left)).is_ok_and(|ready| ready > 0) {
                return Some(self.child.wait().expect("our own child"));
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        children().remove(&self.pid());
    }
}

/// The commands that somebody here waits for.
pub(crate) fn children() -> MutexGuard<'static, BTreeSet<i32>> {
    static CHILDREN: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An output, read by a thread as it comes.
#[derive(Debug)]
struct Stream {
    text: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
}

impl Stream {
    /// Reads to the end, or until there is a first line where that is all that is wanted.
    fn reading(mut pipe: impl std::io::Read + Send + 'static, first_line_only: bool) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let (tell, ended) = channel();
        let sink = Arc::clone(&text);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
                sink.extend_from_slice(&buffer[..length]);
                if first_line_only && sink.contains(&b'\n') {
                    break;
                }
            }
            drop(pipe);
            drop(tell);
        });
        Self { text, ended }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    fn ends_within(&self, limit: Duration) -> bool {
        matches!(self.ended.recv_timeout(limit), Err(RecvTimeoutError::Disconnected))
    }
}
