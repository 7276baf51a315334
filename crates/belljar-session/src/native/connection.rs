//! The host's side of a session's init: questions with their answers, processes with their ends.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use belljar_sandbox::spec::{ExitStatus, Limits, Place, ProcessSpec, SocketSpec, Target};
use belljar_sandbox::{Answer, Ask, Groups, Init, LimitError, Message, Request, SandboxError};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use crate::ready_fd::register;

/// An answer, and the descriptors that came with it.
type Reply = (Result<Answer, SandboxError>, Vec<OwnedFd>);

/// A live connection to the init of one session. When the last one who holds it is gone, so is the session.
#[derive(Debug)]
pub(crate) struct Connection {
    init: AsyncFd<InitFd>,
    next: AtomicU64,
    waiting: Mutex<Waiting>,
    /// The control groups of the session. After the init, with which their processes end.
    groups: Groups,
}

#[derive(Debug, Default)]
struct Waiting {
    replies: HashMap<u64, oneshot::Sender<Reply>>,
    exits: HashMap<u64, oneshot::Sender<ExitStatus>>,
    gone: bool,
    /// Why the session has to end, where that is our own doing.
    failure: Option<String>,
}

#[derive(Debug)]
struct InitFd(Init);

impl AsRawFd for InitFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl AsFd for InitFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A process that was started, until it ends.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) unit: u64,
    pub(crate) pid: i32,
    /// How it ended; an error where the whole session ended before that was known.
    pub(crate) exit: oneshot::Receiver<ExitStatus>,
}

impl Connection {
    pub(crate) fn new(init: Init) -> std::io::Result<Self> {
        let init = register(InitFd(init), Interest::READABLE)?;
        Ok(Self { init, next: AtomicU64::new(1), waiting: Mutex::default(), groups: Groups::default() })
    }

    /// Processes that are started from now on belong to these.
    pub(crate) fn with_groups(self, groups: Groups) -> Self {
        Self { groups, ..self }
    }

    /// Takes in what init says until it is gone, and with it every process of the session. Why that is, where
    /// neither somebody asked for it nor init was killed.
    pub(crate) async fn serve(&self) -> Option<String> {
        loop {
            let heard = match self.init.readable().await {
                Ok(mut guard) => match self.init.get_ref().0.try_receive() {
                    Ok(None) => {
                        guard.clear_ready();
                        continue;
                    }
                    heard => heard,
                },
                Err(error) => {
                    self.fail(format!("its init cannot be heard any more: {error}"));
                    break;
                }
            };
            match heard {
                Ok(Some((message, fds))) => self.received(message, fds),
                Ok(None) | Err(SandboxError::Gone) => break,
                Err(error) => {
                    self.fail(format!("its init cannot be heard any more: {error}"));
                    break;
                }
            }
        }
        // It has closed its socket, or it cannot be heard any more, and then it must not live on unheard.
        self.kill();
        self.await_death().await;
        let mut waiting = self.waiting.lock().expect("no panic while it is held");
        let failure = waiting.failure.take();
        *waiting = Waiting { gone: true, ..Waiting::default() };
        failure
    }

    async fn await_death(&self) {
        let pidfd = self.init.get_ref().0.pidfd();
        // Its socket is closed; its death follows, and the kernel ends the others before it lets us know.
        let registered = pidfd.try_clone_to_owned().and_then(|pidfd| register(pidfd, Interest::READABLE));
        if let Ok(registered) = registered {
            let _ = registered.readable().await;
        } else {
            // Without a descriptor to spare, nothing else happens until then. It has been killed: that is soon.
            let mut pidfd = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
            while poll(&mut pidfd, None) == Err(Errno::INTR) {}
        }
        self.init.get_ref().0.reap();
    }

    /// Ends the session, and keeps the first reason for that.
    fn fail(&self, why: String) {
        self.waiting.lock().expect("no panic while it is held").failure.get_or_insert(why);
        self.kill();
    }

    fn received(&self, message: Message, fds: Vec<OwnedFd>) {
        let mut waiting = self.waiting.lock().expect("no panic while it is held");
        match message {
            Message::Reply { id, result } => {
                if let Some(asker) = waiting.replies.remove(&id) {
                    // Whoever asked may have given up.
                    let _ = asker.send((result, fds));
                }
            }
            Message::Exited { unit, status } => {
                if let Some(waiter) = waiting.exits.remove(&unit) {
                    let _ = waiter.send(status);
                }
            }
            // Its end follows.
            Message::Failed(error) => {
                waiting.failure.get_or_insert(format!("its init failed: {error}"));
            }
        }
    }

    /// Ends the session at once.
    pub(crate) fn kill(&self) {
        self.init.get_ref().0.end();
    }

    /// Ends the session and removes its control groups.
    pub(crate) fn end(&self) {
        self.kill();
        self.groups.remove();
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    async fn ask(&self, ask: Ask, fds: &[BorrowedFd<'_>]) -> Result<(Answer, Vec<OwnedFd>), SandboxError> {
        let id = self.number();
        let (asker, reply) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock().expect("no panic while it is held");
            if waiting.gone {
                return Err(SandboxError::Gone);
            }
            waiting.replies.insert(id, asker);
        }
        if let Err(error) = self.init.get_ref().0.send(&Request { id, ask }, fds) {
            self.waiting.lock().expect("no panic while it is held").replies.remove(&id);
            return Err(error);
        }
        let (result, fds) = reply.await.map_err(|_| SandboxError::Gone)?;
        result.map(|answer| (answer, fds))
    }

    /// Starts a process; its unit number is given here.
    pub(crate) async fn spawn(
        &self,
        mut spec: ProcessSpec,
        stdio: [OwnedFd; 3],
        listeners: Vec<OwnedFd>,
    ) -> Result<Process, SandboxError> {
        let unit = self.number();
        spec.unit = unit;
        let (waiter, exit) = oneshot::channel();
        self.waiting.lock().expect("no panic while it is held").exits.insert(unit, waiter);
        // Replicas and tasks have their own name as that of their host. Commands have the session's, which may be
        // called as one of them is.
        let is_of_unit = spec.main || spec.place != Place::Session;
        let entrances = self.groups.entrances(is_of_unit.then_some(spec.hostname.as_str()));
        let entrances = entrances.iter().map(|entrance| entrance.as_fd());
        let fds: Vec<BorrowedFd<'_>> =
            stdio.iter().chain(&listeners).map(OwnedFd::as_fd).chain(entrances).collect();
        match self.ask(Ask::Spawn(spec), &fds).await {
            Ok((Answer::Spawned { pid }, _)) => Ok(Process { unit, pid, exit }),
            Ok(_) => Err(SandboxError::Protocol),
            Err(error) => {
                self.waiting.lock().expect("no panic while it is held").exits.remove(&unit);
                Err(error)
            }
        }
    }

    pub(crate) async fn signal(&self, target: Target, signal: i32) -> Result<(), SandboxError> {
        self.ask(Ask::Signal { target, signal }, &[]).await.map(drop)
    }

    /// Returns when none of them is left. What cannot be killed alone is killed with the whole session: whoever
    /// asked waits for its end.
    pub(crate) async fn kill_all(&self, target: Target) {
        match self.ask(Ask::KillAll(target), &[]).await {
            Ok(_) | Err(SandboxError::Gone) => {}
            Err(error) => self.fail(format!("not all that was to end could be killed: {error}")),
        }
    }

    /// Answered when all of them stand still.
    pub(crate) async fn freeze(&self, target: Target) -> Result<(), SandboxError> {
        self.ask(Ask::Freeze(target), &[]).await.map(drop)
    }

    pub(crate) async fn thaw(&self, target: Target) -> Result<(), SandboxError> {
        self.ask(Ask::Thaw(target), &[]).await.map(drop)
    }

    pub(crate) async fn socket(&self, spec: SocketSpec) -> Result<OwnedFd, SandboxError> {
        match self.ask(Ask::Socket(spec), &[]).await? {
            (Answer::Socket, mut fds) if fds.len() == 1 => Ok(fds.remove(0)),
            _ => Err(SandboxError::Protocol),
        }
    }

    /// Joins a new network to the session's, for the replica that comes after the last.
    pub(crate) async fn add_replica(
        &self,
        network: OwnedFd,
        address: Ipv4Addr,
        prefix: u8,
    ) -> Result<(), SandboxError> {
        self.ask(Ask::AddReplica { address, prefix }, &[network.as_fd()]).await.map(drop)
    }

    /// Gives a generated file another text, in every place of the session.
    pub(crate) async fn rewrite(&self, path: &Path, text: String) -> Result<(), SandboxError> {
        self.ask(Ask::Rewrite { path: path.to_owned(), text }, &[]).await.map(drop)
    }

    /// Limits what a unit may use from its next start on.
    pub(crate) fn limit(&self, unit: &str, limits: &Limits) -> Result<(), LimitError> {
        self.groups.set(unit, limits)
    }

    /// The outer side of a new terminal of the session's.
    pub(crate) async fn terminal(&self) -> Result<OwnedFd, SandboxError> {
        match self.ask(Ask::Terminal, &[]).await? {
            (Answer::Terminal, mut fds) if fds.len() == 1 => Ok(fds.remove(0)),
            _ => Err(SandboxError::Protocol),
        }
    }

    /// Whether one of these processes has the socket.
    pub(crate) async fn has_socket(&self, target: Target, inode: u32) -> Result<bool, SandboxError> {
        match self.ask(Ask::HasSocket { target, inode }, &[]).await? {
            (Answer::Holds(holds), _) => Ok(holds),
            _ => Err(SandboxError::Protocol),
        }
    }

    pub(crate) async fn check(
        &self,
        unit: u64,
        check: belljar_sandbox::spec::PathCheck,
    ) -> Result<bool, SandboxError> {
        match self.ask(Ask::Check { unit, check }, &[]).await? {
            (Answer::Holds(holds), _) => Ok(holds),
            _ => Err(SandboxError::Protocol),
        }
    }
}

/// The place of the replica with this index.
pub(crate) fn place(replica: usize) -> Place {
    Place::Replica(u16::try_from(replica).unwrap_or(u16::MAX))
}

/// All processes of the replica with this index.
pub(crate) fn all_of(replica: usize) -> Target {
    Target::Replica(u16::try_from(replica).unwrap_or(u16::MAX))
}
