//! Floors: what the kernel and the servers take by themselves, without belljar.

use std::io::{BufRead as _, BufReader, PipeReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use belljar_sandbox::floor;

use crate::error::{Error, Result};
use crate::ground::{REPLICAS, time};
use crate::measure::{milliseconds, rest};

/// The kernel ends a network after whoever used it: the next measurement is not to pay for that.
pub(crate) const QUIET: Duration = Duration::from_millis(200);

/// One trivial process in namespaces of its own.
pub(crate) fn process() -> Result<f64> {
    Ok(milliseconds(floor::process_in_namespaces()?))
}

/// Network namespaces for all replicas on a bridge; and the rest after it.
pub(crate) fn topology() -> Result<f64> {
    let time = milliseconds(floor::topology(REPLICAS)?);
    rest(QUIET);
    Ok(time)
}

/// A killed process and as many as there are replicas, which the kernel ends with it.
pub(crate) fn end() -> Result<f64> {
    Ok(milliseconds(floor::end_of_processes(u32::from(REPLICAS))?))
}

/// The trivial service, as often as there are replicas, started at once by nobody but us: until all listen.
pub(crate) fn servers(server: &Path) -> Result<f64> {
    let begun = Instant::now();
    let mut all = (0..REPLICAS).map(|_| trivial(server)).collect::<Result<Vec<_>>>()?;
    for one in &mut all {
        one.wait_for("listening at ")?;
    }
    Ok(milliseconds(begun.elapsed()))
}

/// One of them, on whatever port is free.
pub(crate) fn trivial(server: &Path) -> Result<Server> {
    Server::start(Command::new(server).args(["serve", "0"]))
}

/// What everybody has: a program of Debian's that makes namespaces and runs `true` in them.
pub(crate) fn unshare() -> Result<f64> {
    time(Command::new("unshare").args(["-Urnpmif", "true"]))
}

/// A server that was started by us, and says when it is ready. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    says: BufReader<PipeReader>,
    name: String,
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().display().to_string();
        // One pipe for both streams: what is waited for may come on either.
        let (reader, writer) = std::io::pipe().map_err(Error::io("make a pipe"))?;
        let other = writer.try_clone().map_err(Error::io("make a pipe"))?;
        command.stdin(Stdio::null()).stdout(writer).stderr(other);
        let child = command.spawn().map_err(Error::io(format!("run {name}")))?;
        // Its ends of the pipe are in the command, and would keep it open.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { child, says: BufReader::new(reader), name })
    }

    /// Reads what it says until a line has this text in it, and returns that line.
    pub(crate) fn wait_for(&mut self, text: &str) -> Result<String> {
        let mut said = String::new();
        loop {
            let before = said.len();
            let read =
                self.says.read_line(&mut said).map_err(Error::io(format!("read from {}", self.name)))?;
            if read == 0 {
                return Err(Error::Failed { command: self.name.clone(), output: said });
            }
            if said[before..].contains(text) {
                return Ok(said.split_off(before));
            }
        }
    }

    /// Tells it to end, and waits until it has.
    pub(crate) fn end(mut self, signal: rustix::process::Signal) -> Result<()> {
        let told = rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal);
        told.map_err(std::io::Error::from).map_err(Error::io(format!("end {}", self.name)))?;
        self.child.wait().map_err(Error::io(format!("wait for {}", self.name)))?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
