//! A session's init, pid 1 of its namespace: how it comes to be, and the loop that it lives in.
//!
//! The loop never waits for anything but its next event. What takes time (a program that is about to run,
//! processes that are about to end or to stand still) is kept as a value and looked at again.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _};
use std::net::Ipv4Addr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, WaitOptions};

use crate::channel::{self, Packet};
use crate::devices;
use crate::error::{During as _, SandboxError, Step};
use crate::identity::Identity;
use crate::limits;
use crate::outbox::Outbox;
use crate::processes::{self, Atlas, Process};
use crate::protocol::{Answer, Ask, Message, ProcessInfo, Request};
use crate::slot::{Slot, enter_network};
use crate::sockets;
use crate::spawn::{self, Descriptors, Ground};
use crate::spec::{ExitStatus, Place, ProcessSpec, SessionSpec, Target};
use crate::sys::{self, Disposition};
use crate::tree;
use crate::watch::{Goal, PAUSE, Then, Watch, send_signal};
use crate::zygote::tie_to_parent;

/// What the zygote gives to an init.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) spec: &'a SessionSpec,
    pub(crate) identity: Identity,
    pub(crate) umask: Mode,
    pub(crate) descriptors: u64,
    pub(crate) control: BorrowedFd<'a>,
    /// The session's network comes through this when it is built. One without replicas has only the namespace
    /// that its init was made in.
    pub(crate) handover: Option<BorrowedFd<'a>>,
}

/// The whole life of an init.
pub(crate) fn run(start: &Start<'_>) -> i32 {
    match seal(start) {
        Ok(session) => match session.serve() {
            Ok(()) | Err(SandboxError::Gone) => libc::EXIT_SUCCESS,
            Err(error) => {
                // A host that takes nothing in at this moment sees the end alone.
                let _ = Packet::new(&Message::Failed(error))
                    .and_then(|packet| packet.try_send(start.control, &[]));
                libc::EXIT_FAILURE
            }
        },
        Err(error) => {
            // Without the host there is nobody to tell.
            let _ = channel::send(start.control, &Err::<(), _>(error), &[]);
            libc::EXIT_FAILURE
        }
    }
}

fn seal<'a>(start: &Start<'a>) -> Result<Session<'a>, SandboxError> {
    // Should the zygote have died before this, the end of the handover says so.
    tie_to_parent()?;
    let kept: Vec<BorrowedFd<'_>> = start.handover.into_iter().chain([start.control]).collect();
    sys::close_all_but(&kept).during(Step::CloseDescriptors)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).during(Step::NameProcess)?;
    rustix::thread::set_name(c"belljar-init").during(Step::NameProcess)?;
    sys::set_disposition(libc::SIGCHLD, Disposition::Default).during(Step::BlockSignals)?;
    let children = sys::signals_as_messages(&[libc::SIGCHLD]).during(Step::BlockSignals)?;
    limits::bound_pids(start.spec.processes)?;
    let tenants = limits::tenants_user_namespace(start.identity)?;
    rustix::system::sethostname(start.spec.hostname.as_bytes()).during(Step::SetHostName)?;
    // While /proc is still the host's, through which networks are set.
    let alone = match start.handover {
        Some(_) => None,
        None => Some(Slot::alone(&start.spec.network)?),
    };
    tree::make(start.spec, start.identity)?;
    let slot = match (alone, start.handover) {
        (None, Some(handover)) => {
            let slot = Slot::receive(handover, &start.spec.network)?;
            enter_network(slot.namespace(Place::Session)?)?;
            slot
        }
        (Some(alone), _) => alone,
        (None, None) => return Err(SandboxError::Protocol),
    };
    tree::mount_sys()?;
    let atlas = Atlas::new(&slot)?;
    channel::send(start.control, &Ok::<(), SandboxError>(()), &[])?;
    Ok(Session {
        control: start.control,
        children,
        ground: Ground {
            identity: start.identity,
            umask: start.umask,
            tenants,
            processes: start.spec.processes,
            descriptors: start.descriptors,
        },
        slot,
        address: start.spec.network.address,
        generated: start.spec.etc.iter().map(|(path, _)| path.clone()).collect(),
        atlas,
        units: HashMap::new(),
        starting: Vec::new(),
        watches: Vec::new(),
        outbox: Outbox::new(start.control),
    })
}

#[derive(Debug)]
struct Session<'a> {
    control: BorrowedFd<'a>,
    children: OwnedFd,
    ground: Ground,
    slot: Slot,
    /// The session's own.
    address: Ipv4Addr,
    /// Files that stand in for the host's.
    generated: Vec<PathBuf>,
    atlas: Atlas,
    units: HashMap<u64, Unit>,
    /// Processes that are on their way to their program.
    starting: Vec<Starting>,
    watches: Vec<Watch>,
    outbox: Outbox<'a>,
}

/// A process that the host has asked for.
#[derive(Debug, Clone, Copy)]
struct Unit {
    pid: i32,
    place: Place,
    main: bool,
    /// Its process has not been reaped. A dead one is kept as long as there is something left of its terminal
    /// session, which keeps its number from being used again.
    alive: bool,
}

/// A process on its way to its program.
#[derive(Debug)]
pub(crate) struct Starting {
    pub(crate) request: u64,
    pub(crate) unit: u64,
    pid: i32,
    /// None where it has told that it failed: it ends then, and is heard of when it has.
    pub(crate) told: Option<std::fs::File>,
    pub(crate) text: Vec<u8>,
}

impl Session<'_> {
    /// Lives until the host is gone. The kernel then kills what is left.
    fn serve(mut self) -> Result<(), SandboxError> {
        loop {
            self.wait()?;
            while let Some((request, fds)) = channel::try_receive_apart::<Request>(self.control)? {
                match fds {
                    Ok(fds) => self.handle(request, fds)?,
                    Err(error) => self.outbox.reply(request.id, Err(error), None)?,
                }
            }
            self.hear_starting()?;
            self.reap()?;
            self.watch()?;
            self.outbox.flush()?;
        }
    }

    fn wait(&self) -> Result<(), SandboxError> {
        let mut control = PollFlags::IN;
        control.set(PollFlags::OUT, !self.outbox.is_empty());
        let mut fds =
            vec![PollFd::from_borrowed_fd(self.control, control), PollFd::new(&self.children, PollFlags::IN)];
        let told = self.starting.iter().filter_map(|starting| starting.told.as_ref());
        fds.extend(told.map(|told| PollFd::new(told, PollFlags::IN)));
        let pause = (!self.watches.is_empty()).then_some(&PAUSE);
        match poll(&mut fds, pause) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno).during(Step::Wait),
        }
    }

    fn handle(&mut self, request: Request, fds: Vec<OwnedFd>) -> Result<(), SandboxError> {
        let Request { id, ask } = request;
        let result = match ask {
            Ask::Spawn(spec) => match self.spawn(id, &spec, fds) {
                Ok(()) => return Ok(()),
                Err(error) => Err(error),
            },
            Ask::KillAll(target) => return self.start_watch(target, Goal::Dead, Then::Reply(id)),
            Ask::Freeze(target) => return self.start_watch(target, Goal::Still, Then::Reply(id)),
            Ask::Thaw(target) => self.signal(target, libc::SIGCONT).map(|_| Answer::Done),
            Ask::Signal { target, signal } => {
                self.signal(target, signal).map(|processes| Answer::Signalled { processes })
            }
            Ask::Socket(spec) => match sockets::make(&spec, &self.slot) {
                Ok(socket) => return self.outbox.reply(id, Ok(Answer::Socket), Some(socket)),
                Err(error) => Err(error),
            },
            Ask::Terminal => match devices::terminal() {
                Ok(terminal) => return self.outbox.reply(id, Ok(Answer::Terminal), Some(terminal)),
                Err(error) => Err(error),
            },
            Ask::Check { unit, check } => match self.units.get(&unit) {
                Some(unit) if unit.alive => sockets::check(unit.pid, &check).map(Answer::Holds),
                _ => Ok(Answer::Holds(false)),
            },
            Ask::HasSocket { target, inode } => processes::all()
                .and_then(|all| self.members(target, &all))
                .map(|members| Answer::Holds(processes::have_socket(&members, inode))),
            Ask::Processes => self.processes().map(Answer::Processes),
            Ask::AddReplica { address, prefix } => {
                self.add_replica(fds, address, prefix).map(|()| Answer::Done)
            }
            Ask::Rewrite { path, text } => self.rewrite(&path, &text).map(|()| Answer::Done),
        };
        self.outbox.reply(id, result, None)
    }

    /// Joins one more network to the session's.
    fn add_replica(
        &mut self,
        mut fds: Vec<OwnedFd>,
        address: Ipv4Addr,
        prefix: u8,
    ) -> Result<(), SandboxError> {
        let (Some(namespace), true) = (fds.pop(), fds.is_empty()) else { return Err(SandboxError::Protocol) };
        self.slot.add(namespace, self.address, address, prefix)?;
        self.atlas.learn(&self.slot)
    }

    /// Writes over a generated file. Every place shows the same file, so that each sees the new text; what
    /// is read in this moment is the old text or the new one, for a short one is copied at once.
    fn rewrite(&self, path: &Path, text: &str) -> Result<(), SandboxError> {
        if !self.generated.iter().any(|one| one == path) {
            return Err(SandboxError::Protocol);
        }
        let write = || -> std::io::Result<()> {
            let file = std::fs::File::options().write(true).open(path)?;
            let before = usize::try_from(file.metadata()?.len()).unwrap_or_default();
            // What is left of a longer text becomes empty lines before it is cut off.
            let mut whole = text.as_bytes().to_vec();
            whole.resize(whole.len().max(before), b'\n');
            file.write_all_at(&whole, 0)?;
            file.set_len(text.len() as u64)
        };
        write().during_at(Step::WriteGenerated, path)
    }

    // What starts and ends.

    fn spawn(&mut self, request: u64, spec: &ProcessSpec, fds: Vec<OwnedFd>) -> Result<(), SandboxError> {
        let passed = Descriptors::of(fds, spec)?;
        let network = self.slot.namespace(spec.place)?;
        let (child, told) = spawn::start(spec, network, &passed, &self.ground)?;
        let ProcessSpec { unit, place, main, .. } = *spec;
        if main && let Place::Replica(replica) = place {
            self.nothing_left(replica)?;
        }
        self.units.insert(unit, Unit { pid: child.pid, place, main, alive: true });
        self.starting.push(Starting::new(request, unit, child.pid, told));
        Ok(())
    }

    /// Finds out which of the programs that were to start do run by now.
    fn hear_starting(&mut self) -> Result<(), SandboxError> {
        for index in (0..self.starting.len()).rev() {
            if self.starting[index].runs() {
                self.started(index)?;
            }
        }
        Ok(())
    }

    fn started(&mut self, index: usize) -> Result<(), SandboxError> {
        let Starting { request, unit, pid, text, .. } = self.starting.swap_remove(index);
        let result = if text.is_empty() {
            if let Some(unit) = self.units.get(&unit) {
                self.atlas.settle(pid, unit.place)?;
            }
            Ok(Answer::Spawned { pid })
        } else {
            // It never was; its exit is not told.
            self.units.remove(&unit);
            Err(serde_json::from_slice(&text).unwrap_or(SandboxError::Protocol))
        };
        self.outbox.reply(request, result, None)
    }

    fn reap(&mut self) -> Result<(), SandboxError> {
        // The message only says that there is something to reap.
        let mut message = [0; 1024];
        while rustix::io::read(&self.children, &mut message).is_ok() {}
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    let status = match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => ExitStatus::Code(code),
                        (None, Some(signal)) => ExitStatus::Signal(signal),
                        (None, None) => continue,
                    };
                    self.ended(pid.as_raw_nonzero().get(), status)?;
                }
                Ok(None) | Err(Errno::CHILD) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).during(Step::Wait),
            }
        }
    }

    fn ended(&mut self, pid: i32, status: ExitStatus) -> Result<(), SandboxError> {
        // It is dead, so what it had to say has been said.
        if let Some(index) = self.starting.iter().position(|starting| starting.pid == pid) {
            self.starting[index].runs();
            self.started(index)?;
        }
        let found = self.units.iter_mut().find(|(_, unit)| unit.alive && unit.pid == pid);
        // Else an orphan, which is ours to reap and nobody's to hear of.
        let Some((&number, unit)) = found else { return Ok(()) };
        unit.alive = false;
        let unit = *unit;
        if unit.main
            && let Place::Replica(replica) = unit.place
        {
            return self.start_watch(Target::Replica(replica), Goal::Dead, Then::Tell(number, status));
        }
        // Where that cannot be told, something may be left.
        if processes::all().is_ok_and(|all| all.iter().all(|process| process.session != pid)) {
            self.units.remove(&number);
        }
        self.outbox.tell(&Message::Exited { unit: number, status }, None)
    }

    // What is said to processes.

    fn signal(&self, target: Target, signal: i32) -> Result<u32, SandboxError> {
        if let Target::Unit(number) = target {
            // Nothing has to be looked up for one that has not been reaped, so nothing can be short.
            let unit = self.units.get(&number).filter(|unit| unit.alive);
            return Ok(u32::from(unit.map_or(Ok(false), |unit| send_signal(unit.pid, signal))?));
        }
        let mut count = 0;
        for pid in self.members(target, &processes::all()?)? {
            count += u32::from(send_signal(pid, signal)?);
        }
        Ok(count)
    }

    /// The live processes that a target means.
    fn members(&self, target: Target, all: &[Process]) -> Result<Vec<i32>, SandboxError> {
        let unit = |number| self.units.get(&number);
        let pids = |keep: &dyn Fn(&Process) -> bool| -> Vec<i32> {
            all.iter().filter(|process| keep(process)).map(|process| process.pid).collect()
        };
        match target {
            Target::Unit(number) => Ok(match unit(number).filter(|unit| unit.alive) {
                Some(unit) => pids(&|process| process.pid == unit.pid),
                None => Vec::new(),
            }),
            Target::UnitGroup(number) => Ok(match unit(number) {
                Some(unit) => {
                    pids(&|process| process.session == unit.pid || (unit.alive && process.pid == unit.pid))
                }
                None => Vec::new(),
            }),
            Target::Replica(replica) => {
                let place = Place::Replica(replica);
                self.slot.namespace(place)?;
                let places = self.atlas.places(all)?;
                // On its way there, a process is still elsewhere.
                let on_its_way = |pid| {
                    self.starting.iter().any(|starting| {
                        starting.pid == pid && unit(starting.unit).is_some_and(|unit| unit.place == place)
                    })
                };
                Ok(pids(&|process| places.get(&process.pid) == Some(&Some(place)) || on_its_way(process.pid)))
            }
        }
    }

    fn start_watch(&mut self, target: Target, goal: Goal, then: Then) -> Result<(), SandboxError> {
        let watch = Watch::new(target, goal, then);
        if let Some(watch) = self.look(watch)? {
            self.watches.push(watch);
        }
        Ok(())
    }

    fn watch(&mut self) -> Result<(), SandboxError> {
        for watch in std::mem::take(&mut self.watches) {
            if let Some(watch) = self.look(watch)? {
                self.watches.push(watch);
            }
        }
        Ok(())
    }

    /// A replica starts only after its end was told, and that is told when nothing of it is left. Whoever still
    /// waits for the same, because it was looked for a moment earlier, has it now: his next look would take the
    /// new replica for what is left of the old one.
    fn nothing_left(&mut self, replica: u16) -> Result<(), SandboxError> {
        for watch in self.watches.extract_if(.., |watch| watch.is_for_the_end_of(replica)).collect::<Vec<_>>()
        {
            if let Then::Reply(id) = watch.then {
                self.outbox.reply(id, Ok(Answer::Done), None)?;
            }
        }
        Ok(())
    }

    /// Looks whether a watch has come to its end, and does what brings that nearer. Gives back one that has not.
    fn look(&mut self, watch: Watch) -> Result<Option<Watch>, SandboxError> {
        let members = processes::all().and_then(|all| self.members(watch.target, &all));
        let lagging = members.and_then(|members| watch.goal.approach(&members));
        let Some(result) = watch.outcome(lagging) else { return Ok(Some(watch)) };
        if result.is_err() && watch.goal == Goal::Still {
            // Half of it standing still is no state to be left in.
            let _ = self.signal(watch.target, libc::SIGCONT);
        }
        match watch.then {
            Then::Reply(id) => self.outbox.reply(id, result.map(|()| Answer::Done), None)?,
            Then::Tell(unit, status) => {
                // What cannot be seen cannot be said to have ended.
                result.or_else(|error| match error {
                    SandboxError::Stuck { .. } => Ok(()),
                    error => Err(error),
                })?;
                if let Some(unit) = self.units.remove(&unit) {
                    self.atlas.forget(unit.place);
                }
                self.outbox.tell(&Message::Exited { unit, status }, None)?;
            }
        }
        Ok(None)
    }

    fn processes(&self) -> Result<Vec<ProcessInfo>, SandboxError> {
        let all = processes::all()?;
        let places = self.atlas.places(&all)?;
        let units: HashMap<i32, u64> = self.units.iter().map(|(number, unit)| (unit.pid, *number)).collect();
        // What is on its way to its program is not one yet, and what is on its way out none any more.
        let runs = |process: &&Process| {
            !process.is_ending && self.starting.iter().all(|starting| starting.pid != process.pid)
        };
        let info = |process: &Process| ProcessInfo {
            pid: process.pid,
            parent: process.parent,
            place: places.get(&process.pid).copied().flatten(),
            command: processes::command(process.pid),
            unit: units.get(&process.session).copied(),
        };
        Ok(all.iter().filter(runs).map(info).collect())
    }
}

impl Starting {
    pub(crate) fn new(request: u64, unit: u64, pid: i32, told: OwnedFd) -> Self {
        Self { request, unit, pid, told: Some(told.into()), text: Vec::new() }
    }

    /// Takes in what the child has to say; whether its program runs.
    pub(crate) fn runs(&mut self) -> bool {
        let Some(told) = &mut self.told else { return false };
        match told.read_to_end(&mut self.text) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            // No other error happens to a pipe.
            _ if self.text.is_empty() => true,
            _ => {
                self.told = None;
                false
            }
        }
    }
}
