//! The host process's side: its zygote, and its connection to each session's pid 1.

use std::borrow::Cow;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::channel;
use crate::error::{During as _, SandboxError, Step};
use crate::limits::take_all_descriptors;
use crate::proof::Proof;
use crate::protocol::{Message, Request};
use crate::spec::{NetworkSpec, SessionSpec};
use crate::zygote::{self, Order};

/// The host process's single-threaded helper, from which every session's init is cloned. (Cloning from a
/// threaded runtime is unsound, and a parent-death signal fires when the cloning *thread* ends.) Dropping it
/// ends it, and with it every session.
#[derive(Debug)]
pub struct Zygote {
    /// One launch at a time is said to the zygote; the answer follows at once.
    control: Mutex<Control>,
    pidfd: OwnedFd,
    pid: i32,
    /// How many descriptors our caller's programs may have.
    descriptors: u64,
}

impl Zygote {
    /// Forks the zygote. This must be the first thing in `main`, while the process has one thread and no
    /// descriptor that it would not want to share. This process may then have as many descriptors as it was
    /// granted at most; tenants get fewer, so that they cannot keep it from handing descriptors on.
    pub fn fork() -> Result<Self, SandboxError> {
        let forked = zygote::fork();
        let descriptors = take_all_descriptors();
        let (control, zygote) = forked?;
        let control = Control { socket: control, launches: 0 };
        Ok(Self { control: Mutex::new(control), pidfd: zygote.pidfd, pid: zygote.pid, descriptors })
    }

    /// Makes a sealed session. Blocks for the few milliseconds that it takes; callable from any thread.
    pub fn launch(&self, spec: &SessionSpec) -> Result<Init, SandboxError> {
        let init = {
            let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
            control.launches += 1;
            let order = Order::Launch { number: control.launches, spec: Cow::Borrowed(spec) };
            channel::send(control.socket.as_fd(), &order, &[])?;
            control.launched()?
        };
        // The file tree is made while the zygote is free for the next launch.
        let (sealed, _) = channel::receive::<Result<(), SandboxError>>(init.as_fd())?;
        sealed.map(|()| init)
    }

    /// Makes a network namespace for one more replica of a session that runs.
    pub fn network(&self) -> Result<OwnedFd, SandboxError> {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        control.launches += 1;
        channel::send(control.socket.as_fd(), &Order::Network { number: control.launches }, &[])?;
        let (_, mut fds) = control.answer()?;
        fds.pop().ok_or(SandboxError::Protocol)
    }

    /// Starts the warden of a session in shared isolation. The program that we are is executed again, as
    /// `__warden DESCRIPTORS`: a child of ours that is no copy of us has one thread and no user namespace, and may
    /// be made at any time.
    pub fn launch_shared(&self) -> Result<Init, SandboxError> {
        let (host, control) = channel::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("belljar").arg("__warden").arg(self.descriptors.to_string());
        command.stdin(control).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().during(Step::Fork)?;
        // It is not reaped before its end has been seen, so the number is its own.
        let pid = i32::try_from(child.id()).map_err(|_| SandboxError::Protocol)?;
        let number = Pid::from_raw(pid).ok_or(SandboxError::Protocol)?;
        let pidfd = pidfd_open(number, PidfdFlags::empty()).during(Step::Fork)?;
        // Its copy of the other end has to be the only one, or its death would not be heard.
        drop(command);
        let warden = Init { control: host, pidfd, pid, end: End::Told };
        let (ready, _) = channel::receive::<Result<(), SandboxError>>(warden.as_fd())?;
        ready.map(|()| warden)
    }

    /// Has networks of this shape made ahead, and keeps as many for the sessions to come: each is leased to one
    /// session at a time, and proved clean before the next. Returns at once; sessions of other shapes, and those
    /// that find none, make their own as ever.
    pub fn prepare(&self, network: &NetworkSpec, count: usize) -> Result<(), SandboxError> {
        self.prepare_with(network, count, Proof::WHOLE)
    }

    /// The same with a proof that leaves something out, for tests that look whether it is missed.
    #[doc(hidden)]
    pub fn prepare_with(
        &self,
        network: &NetworkSpec,
        count: usize,
        proof: Proof,
    ) -> Result<(), SandboxError> {
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let network = network.clone();
        channel::send(control.socket.as_fd(), &Order::Prepare { network, count, proof }, &[])
    }

    /// Ends it, and with it every session, without waiting: nothing can be launched any more.
    pub fn end(&self) {
        // It can only fail where it is gone already.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// The zygote's number.
    #[doc(hidden)]
    pub fn pid(&self) -> i32 {
        self.pid
    }
}

/// The way to the zygote.
#[derive(Debug)]
struct Control {
    socket: OwnedFd,
    /// How many there have been, and other orders with an answer: the number of the last one.
    launches: u64,
}

impl Control {
    /// The answer to the last launch.
    fn launched(&self) -> Result<Init, SandboxError> {
        let (pid, fds) = self.answer()?;
        let [control, pidfd] = <[OwnedFd; 2]>::try_from(fds).map_err(|_| SandboxError::Protocol)?;
        Ok(Init::new(control, pidfd, pid))
    }

    /// The answer to the last order, and what came with it.
    fn answer(&self) -> Result<(i32, Vec<OwnedFd>), SandboxError> {
        loop {
            let (Launched { number, result }, fds) = channel::receive(self.socket.as_fd())?;
            // An earlier launch that was given up before its answer could be taken in: with its descriptors its
            // session ends.
            if number == self.launches {
                return result.map(|pid| (pid, fds));
            }
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        // The end of its socket would do too; this leaves no zombie, and can only fail where it is gone already.
        self.end();
        let _ = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

/// The zygote's answer to a launch, or to another order that brings descriptors. The control socket and the
/// pidfd of the new init travel beside it; the first message on that socket says whether the session is sealed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Launched {
    /// That of the launch.
    pub(crate) number: u64,
    /// The new init's number.
    pub(crate) result: Result<i32, SandboxError>,
}

/// The host's connection to a session's pid 1. Dropping it ends the session: the kernel kills everything in
/// its pid namespace.
#[derive(Debug)]
pub struct Init {
    control: OwnedFd,
    pidfd: OwnedFd,
    pid: i32,
    end: End,
}

/// How a session is ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Its pid 1 is killed, and the kernel kills the rest.
    Killed,
    /// Its warden is told to, and kills the rest.
    Told,
}

impl Init {
    pub(crate) fn new(control: OwnedFd, pidfd: OwnedFd, pid: i32) -> Self {
        Self { control, pidfd, pid, end: End::Killed }
    }

    /// Ends the session at once. Its processes are gone when the control socket and the pidfd say so.
    pub fn end(&self) {
        let signal = match self.end {
            End::Killed => Signal::KILL,
            End::Told => Signal::TERM,
        };
        // It can only fail where it has ended already.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
    }

    /// Takes note of its end, where it is a child of ours.
    pub fn reap(&self) {
        if self.end == End::Told {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            // What has not ended yet is reaped with us.
            let _ = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options);
        }
    }

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
    /// session has ended. A reply whose descriptors could not be taken in is a reply that says so.
    pub fn try_receive(&self) -> Result<Option<(Message, Vec<OwnedFd>)>, SandboxError> {
        Ok(match channel::try_receive_apart(self.as_fd())? {
            None => None,
            Some((message, Ok(fds))) => Some((message, fds)),
            Some((Message::Reply { id, .. }, Err(error))) => {
                Some((Message::Reply { id, result: Err(error) }, Vec::new()))
            }
            Some((_, Err(error))) => return Err(error),
        })
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        // The end of the control socket ends it too; this does not wait until pid 1 gets to read it.
        self.end();
        self.reap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_late_answer_to_another_launch_is_none_to_this_one() {
        let (socket, zygote) = channel::pair().unwrap();
        let answer = |number, result, fds: &[BorrowedFd<'_>]| {
            channel::send(zygote.as_fd(), &Launched { number, result }, fds).unwrap();
        };
        let (ours, _theirs) = channel::pair().unwrap();
        answer(1, Ok(17), &[ours.as_fd(), ours.as_fd()]);
        answer(2, Err(SandboxError::Protocol), &[]);
        let control = Control { socket, launches: 2 };
        assert_eq!(control.launched().unwrap_err(), SandboxError::Protocol);
    }
}
