//! Something that plays the part of a session's init: whatever it is asked to start runs, until it is told to
//! end.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, Stdio};

use belljar_sandbox::spec::{ExitStatus, Place, Target};
use belljar_sandbox::{Answer, Ask, Init, Message, Request, SandboxError, fuzzing};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{PidfdFlags, pidfd_open};

/// An init. It ends when it is killed, or when nobody holds it any more.
pub(super) fn start() -> Init {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (host, control) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .expect("two descriptors are to be had");
    // A process whose death is this one's: what kills an init is a signal. It reads from us, so that it ends
    // with us whatever way we end, and keeps nothing of ours open.
    let body = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut body = body.expect("`cat` is everywhere");
    let pid = rustix::process::Pid::from_child(&body);
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("it was just started");
    let ours = pidfd.try_clone().expect("a descriptor is to be had");
    std::thread::spawn(move || {
        serve(&control, &ours);
        drop(control);
        // Both only fail where it is dead already.
        let _ = body.kill();
        let _ = body.wait();
    });
    fuzzing::init(host, pidfd)
}

fn serve(control: &OwnedFd, pidfd: &OwnedFd) {
    let mut units = BTreeMap::new();
    loop {
        let mut fds = [PollFd::new(control, PollFlags::IN), PollFd::new(pidfd, PollFlags::IN)];
        if poll(&mut fds, None).is_err() {
            continue;
        }
        if !fds[1].revents().is_empty() {
            return;
        }
        match fuzzing::try_receive::<Request>(control.as_fd()) {
            Ok(Some((request, fds))) => {
                drop(fds);
                for message in answer(&mut units, request) {
                    if fuzzing::send(control.as_fd(), &message, &[]).is_err() {
                        return;
                    }
                }
            }
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

fn answer(units: &mut BTreeMap<u64, (Place, bool)>, Request { id, ask }: Request) -> Vec<Message> {
    let mut ended = Vec::new();
    let result = match ask {
        Ask::Spawn(spec) if spec.argv.first().is_none_or(|program| program == "missing") => {
            Err(SandboxError::Protocol)
        }
        Ask::Spawn(spec) => {
            units.insert(spec.unit, (spec.place, spec.main));
            if !spec.main {
                // Commands have nothing to do here.
                ended.push((spec.unit, ExitStatus::Code(0)));
            }
            Ok(Answer::Spawned { pid: i32::try_from(spec.unit).unwrap_or(i32::MAX) })
        }
        Ask::Signal { target, signal } => {
            ended.extend(members(units, target).map(|unit| (unit, ExitStatus::Signal(signal))));
            Ok(Answer::Signalled { processes: 1 })
        }
        Ask::KillAll(target) => {
            ended.extend(members(units, target).map(|unit| (unit, ExitStatus::Signal(9))));
            Ok(Answer::Done)
        }
        Ask::Freeze(_) | Ask::Thaw(_) => Ok(Answer::Done),
        Ask::Check { .. } => Ok(Answer::Holds(true)),
        Ask::Processes => Ok(Answer::Processes(Vec::new())),
        // Nothing that a stack without readiness checks asks for.
        _ => Err(SandboxError::Protocol),
    };
    let mut messages = vec![Message::Reply { id, result }];
    for (unit, status) in ended {
        if units.remove(&unit).is_some() {
            messages.push(Message::Exited { unit, status });
        }
    }
    messages
}

fn members(units: &BTreeMap<u64, (Place, bool)>, target: Target) -> impl Iterator<Item = u64> {
    let is_meant = move |unit: u64, place: Place| match target {
        Target::Unit(one) | Target::UnitGroup(one) => unit == one,
        Target::Replica(replica) => place == Place::Replica(replica),
    };
    let all: Vec<u64> =
        units.iter().filter(|(unit, (place, _))| is_meant(**unit, *place)).map(|(&unit, _)| unit).collect();
    all.into_iter()
}
