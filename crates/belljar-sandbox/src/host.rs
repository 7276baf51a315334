//! The host process's side: its zygote, and its connection to each session's pid 1.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Signal, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

use crate::channel;
use crate::error::SandboxError;
use crate::protocol::{Message, Request};
use crate::spec::SessionSpec;
use crate::zygote;

/// The host process's single-threaded helper, from which every session's init is cloned. (Cloning from a
/// threaded runtime is unsound, and a parent-death signal fires when the cloning *thread* ends.) Dropping it
/// ends it, and with it every session.
#[derive(Debug)]
pub struct Zygote {
    /// One launch at a time is said to the zygote; the answer follows at once.
    control: Mutex<OwnedFd>,
    pidfd: OwnedFd,
}

impl Zygote {
    /// Forks the zygote. This must be the first thing in `main`, while the process has one thread and no
    /// descriptor that it would not want to share.
    pub fn fork() -> Result<Self, SandboxError> {
        zygote::fork().map(|(control, pidfd)| Self { control: Mutex::new(control), pidfd })
    }

    /// Makes a sealed session. Blocks for the few milliseconds that it takes; callable from any thread.
    pub fn launch(&self, spec: &SessionSpec) -> Result<Init, SandboxError> {
        let init = {
            let control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
            channel::send(control.as_fd(), spec, &[])?;
            let (launched, fds) = channel::receive::<Result<Launched, SandboxError>>(control.as_fd())?;
            let Launched { pid } = launched?;
            let [control, pidfd] = <[OwnedFd; 2]>::try_from(fds).map_err(|_| SandboxError::Protocol)?;
            Init { control, pidfd, pid }
        };
        // The file tree is made while the zygote is free for the next launch.
        let (sealed, _) = channel::receive::<Result<(), SandboxError>>(init.as_fd())?;
        sealed.map(|()| init)
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        // The end of its socket would do too; this leaves no zombie. Both can only fail where it is gone already.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

/// The zygote's answer to a launch. The control socket and the pidfd of the new init travel beside it; the
/// first message on that socket says whether the session is sealed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Launched {
    pub(crate) pid: i32,
}

/// The host's connection to a session's pid 1. Dropping it ends the session: the kernel kills everything in
/// its pid namespace.
#[derive(Debug)]
pub struct Init {
    control: OwnedFd,
    pidfd: OwnedFd,
    pid: i32,
}

impl Init {
    /// Readable when a message waits (non-blocking).
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// Readable when pid 1, and so everything in the session, is gone.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The number of pid 1 in the host's pid namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends a request, with the descriptors that belong to it.
    pub fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<(), SandboxError> {
        channel::send(self.as_fd(), request, fds)
    }

    /// The next message and its descriptors; none where nothing waits, [`SandboxError::Gone`] where the
    /// session has ended.
    pub fn try_receive(&self) -> Result<Option<(Message, Vec<OwnedFd>)>, SandboxError> {
        channel::try_receive(self.as_fd())
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        // The end of the control socket ends it too; this does not wait until pid 1 gets to read it. It can
        // only fail where pid 1 has ended already.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}
