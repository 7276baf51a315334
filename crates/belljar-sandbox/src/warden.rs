//! A session's warden: what an init is to a sealed session, the warden is to one in shared isolation.
//!
//! It speaks the same protocol, and ends everything when its host is gone. The kernel does not do that here, so
//! it has to be done: every program runs below a guard of its own, a subreaper to which its orphans come, and the
//! warden is the subreaper of the guards. Whoever has no living child has no living descendant either, so "none
//! is left" is what `wait` says, not what a table of processes looks like.
//!
//! Nobody has to die in order. Where the warden is killed, each guard ends what is below it; where a guard is
//! killed, its program dies with it (`PR_SET_PDEATHSIG`), and what that leaves comes to the warden, which ends it.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::WaitOptions;

use crate::channel::{self, Packet};
use crate::devices;
use crate::error::{During as _, SandboxError, Step};
use crate::guard::{self, Guard, News};
use crate::init::Starting;
use crate::kin;
use crate::outbox::Outbox;
use crate::processes::{self, Process};
use crate::protocol::{Answer, Ask, Message, ProcessInfo, Request};
use crate::sockets;
use crate::spec::{ExitStatus, Place, ProcessSpec, Target};
use crate::sys::{self, Disposition};
use crate::watch::{Goal, PAUSE, Then, Watch, send_signal};

/// The whole life of a warden, in a process of its own that has one thread and was just executed. Its control
/// socket is its standard input; `descriptors` is what programs may have that do not ask for more.
pub fn serve(descriptors: u64) -> i32 {
    let served = take_place().and_then(|(control, signals)| {
        let warden = Warden {
            control: control.as_fd(),
            signals,
            descriptors,
            units: HashMap::new(),
            starting: Vec::new(),
            watches: Vec::new(),
            has_strays: false,
            outbox: Outbox::new(control.as_fd()),
        };
        warden.serve()
    });
    match served {
        Ok(()) | Err(SandboxError::Gone) => libc::EXIT_SUCCESS,
        Err(_) => libc::EXIT_FAILURE,
    }
}

/// Lets go of everything but the control socket, and of the terminal.
fn take_place() -> Result<(OwnedFd, OwnedFd), SandboxError> {
    // Ctrl-C at the terminal is for the host process. It fails only where we lead a session already.
    let _ = rustix::process::setsid();
    rustix::thread::set_name(c"belljar-warden").during(Step::NameProcess)?;
    kin::become_subreaper()?;
    let control =
        rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).during(Step::CloseDescriptors)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .during_at(Step::CloseDescriptors, "/dev/null")?;
    rustix::stdio::dup2_stdin(&null).during(Step::CloseDescriptors)?;
    drop(null);
    sys::close_all_but(&[control.as_fd()]).during(Step::CloseDescriptors)?;
    rustix::process::chdir("/").during(Step::Daemonise)?;
    sys::set_disposition(libc::SIGCHLD, Disposition::Default).during(Step::BlockSignals)?;
    sys::set_disposition(libc::SIGPIPE, Disposition::Ignore).during(Step::BlockSignals)?;
    let signals = kin::signals()?;
    channel::send(control.as_fd(), &Ok::<(), SandboxError>(()), &[])?;
    Ok((control, signals))
}

#[derive(Debug)]
struct Warden<'a> {
    control: BorrowedFd<'a>,
    signals: OwnedFd,
    descriptors: u64,
    units: HashMap<u64, Unit>,
    /// Programs that do not run yet.
    starting: Vec<Starting>,
    watches: Vec<Watch>,
    /// A guard was killed, so that there may be children of ours that no guard has.
    has_strays: bool,
    outbox: Outbox<'a>,
}

/// A program that the host has asked for, and its guard, which stays as long as there is something below it.
#[derive(Debug)]
struct Unit {
    guard: Guard,
    place: Place,
    main: bool,
    /// The program, once it is known and until it has ended.
    pid: Option<i32>,
    /// Its number, also when it has ended: that of the terminal session of what it has left.
    session: Option<i32>,
    /// Its end has been told, or there is nothing to tell.
    told: bool,
}

impl Warden<'_> {
    /// Lives until the host is gone or tells it to end, and ends everything.
    fn serve(mut self) -> Result<(), SandboxError> {
        let served = self.attend();
        if let Err(error) = &served {
            // A host that takes nothing in at this moment, or is gone, sees the end alone.
            let _ = Packet::new(&Message::Failed(error.clone()))
                .and_then(|packet| packet.try_send(self.control, &[]));
        }
        // Whatever went wrong: nothing may be left.
        let guards: Vec<i32> = self.units.values().map(|unit| unit.guard.pid).collect();
        kin::end_all(self.signals.as_fd(), &guards);
        served
    }

    fn attend(&mut self) -> Result<(), SandboxError> {
        loop {
            self.wait()?;
            if kin::was_told_to_end(self.signals.as_fd()) {
                return Ok(());
            }
            while let Some((request, fds)) = channel::try_receive_apart::<Request>(self.control)? {
                match fds {
                    Ok(fds) => self.handle(request, fds)?,
                    Err(error) => self.outbox.reply(request.id, Err(error), None)?,
                }
            }
            self.hear_guards()?;
            self.hear_starting()?;
            self.reap()?;
            self.watch()?;
            self.end_strays()?;
            self.outbox.flush()?;
        }
    }

    fn wait(&self) -> Result<(), SandboxError> {
        let mut control = PollFlags::IN;
        control.set(PollFlags::OUT, !self.outbox.is_empty());
        let mut fds =
            vec![PollFd::from_borrowed_fd(self.control, control), PollFd::new(&self.signals, PollFlags::IN)];
        let told = self.starting.iter().filter_map(|starting| starting.told.as_ref());
        fds.extend(told.map(|told| PollFd::new(told, PollFlags::IN)));
        let news = self.units.values().filter_map(|unit| unit.guard.news());
        fds.extend(news.map(|news| PollFd::from_borrowed_fd(news, PollFlags::IN)));
        let pause = (self.has_strays || !self.watches.is_empty()).then_some(&PAUSE);
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
            Ask::Socket(spec) => match sockets::make_here(&spec) {
                Ok(socket) => return self.outbox.reply(id, Ok(Answer::Socket), Some(socket)),
                Err(error) => Err(error),
            },
            Ask::Terminal => match devices::terminal() {
                Ok(terminal) => return self.outbox.reply(id, Ok(Answer::Terminal), Some(terminal)),
                Err(error) => Err(error),
            },
            Ask::Check { unit, check } => match self.units.get(&unit) {
                Some(Unit { pid: Some(_), .. }) => sockets::check_here(&check).map(Answer::Holds),
                _ => Ok(Answer::Holds(false)),
            },
            Ask::HasSocket { target, inode } => processes::all()
                .map(|all| processes::have_socket(&self.members(target, &all), inode))
                .map(Answer::Holds),
            // There is nothing of its own to change: no networks, and no files in the place of the host's.
            Ask::AddReplica { .. } | Ask::Rewrite { .. } => Err(SandboxError::Protocol),
            Ask::Processes => processes::all().map(|all| Answer::Processes(self.processes(&all))),
        };
        self.outbox.reply(id, result, None)
    }

    // What starts and ends.

    fn spawn(&mut self, request: u64, spec: &ProcessSpec, fds: Vec<OwnedFd>) -> Result<(), SandboxError> {
        let (guard, told) = guard::start(spec, fds, self.control, self.descriptors)?;
        let ProcessSpec { unit, place, main, .. } = *spec;
        let pid = guard.pid;
        self.units.insert(unit, Unit { guard, place, main, pid: None, session: None, told: false });
        self.starting.push(Starting::new(request, unit, pid, told));
        Ok(())
    }

    /// Takes in what guards say of their programs.
    fn hear_guards(&mut self) -> Result<(), SandboxError> {
        let numbers: Vec<u64> = self.units.keys().copied().collect();
        for number in numbers {
            let mut ended = None;
            while let Some(news) = self.units.get_mut(&number).and_then(|unit| unit.guard.hear()) {
                match (news, self.units.get_mut(&number)) {
                    (News::Started(pid), Some(unit)) => {
                        unit.pid = Some(pid);
                        unit.session = Some(pid);
                    }
                    (News::Ended(status), _) => ended = Some(status),
                    (News::Started(_), None) => {}
                }
            }
            if let Some(status) = ended {
                self.ended(number, status)?;
            }
        }
        Ok(())
    }

    fn hear_starting(&mut self) -> Result<(), SandboxError> {
        for index in (0..self.starting.len()).rev() {
            let has_pid =
                self.units.get(&self.starting[index].unit).is_some_and(|unit| unit.session.is_some());
            if self.starting[index].runs() && has_pid {
                self.started(index)?;
            }
        }
        Ok(())
    }

    fn started(&mut self, index: usize) -> Result<(), SandboxError> {
        let Starting { request, unit, text, .. } = self.starting.swap_remove(index);
        let pid = self.units.get(&unit).and_then(|unit| unit.session);
        let result = match pid {
            Some(pid) if text.is_empty() => Ok(Answer::Spawned { pid }),
            _ => {
                // It never was; its exit is not told. Its guard ends by itself.
                if let Some(unit) = self.units.get_mut(&unit) {
                    unit.told = true;
                }
                Err(serde_json::from_slice(&text).unwrap_or(SandboxError::Protocol))
            }
        };
        self.outbox.reply(request, result, None)
    }

    /// A program has ended. What it has left lives on, unless the program was the replica itself.
    fn ended(&mut self, number: u64, status: ExitStatus) -> Result<(), SandboxError> {
        // It is dead, so what it had to say on its way has been said.
        if let Some(index) = self.starting.iter().position(|starting| starting.unit == number) {
            self.starting[index].runs();
            self.started(index)?;
        }
        let Some(unit) = self.units.get_mut(&number) else { return Ok(()) };
        unit.pid = None;
        if std::mem::replace(&mut unit.told, true) {
            return Ok(());
        }
        if unit.main
            && let Place::Replica(replica) = unit.place
        {
            return self.start_watch(Target::Replica(replica), Goal::Dead, Then::Tell(number, status));
        }
        self.outbox.tell(&Message::Exited { unit: number, status }, None)
    }

    /// Reaps guards, which have ended because there is nothing left below them, and strays.
    fn reap(&mut self) -> Result<(), SandboxError> {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    self.has_strays |= status.signaled();
                    self.guard_ended(pid.as_raw_nonzero().get())?;
                }
                Ok(None) | Err(Errno::CHILD) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).during(Step::Wait),
            }
        }
    }

    fn guard_ended(&mut self, pid: i32) -> Result<(), SandboxError> {
        let found = self.units.iter().find(|(_, unit)| unit.guard.pid == pid).map(|(number, _)| *number);
        // Else a stray, which is ours to reap and nobody's to hear of.
        let Some(number) = found else { return Ok(()) };
        // What it said last may not have been heard yet.
        self.hear_guards()?;
        // A guard that was killed has taken its program along.
        self.ended(number, ExitStatus::Signal(libc::SIGKILL))?;
        self.units.remove(&number);
        Ok(())
    }

    /// Ends what a guard that was killed has left to us.
    fn end_strays(&mut self) -> Result<(), SandboxError> {
        if !std::mem::take(&mut self.has_strays) {
            return Ok(());
        }
        let all = match processes::all() {
            Ok(all) => all,
            Err(error) if error.is_of_want() => {
                self.has_strays = true;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let guards: Vec<i32> = self.units.values().map(|unit| unit.guard.pid).collect();
        let own = kin::own_pid();
        for stray in all.iter().filter(|one| one.parent == own && !guards.contains(&one.pid)) {
            // What it has made meanwhile is looked for again.
            self.has_strays = true;
            for pid in kin::descendants(&all, stray.pid).into_iter().chain([stray.pid]) {
                send_signal(pid, libc::SIGKILL)?;
            }
        }
        Ok(())
    }

    // What is said to processes.

    fn signal(&self, target: Target, signal: i32) -> Result<u32, SandboxError> {
        let mut count = 0;
        for pid in self.members(target, &processes::all()?) {
            count += u32::from(send_signal(pid, signal)?);
        }
        Ok(count)
    }

    /// The live processes that a target means.
    fn members(&self, target: Target, all: &[Process]) -> Vec<i32> {
        let below = |unit: &Unit| kin::descendants(all, unit.guard.pid);
        match target {
            Target::Unit(number) => match self.units.get(&number) {
                Some(unit) => below(unit).into_iter().filter(|pid| Some(*pid) == unit.pid).collect(),
                None => Vec::new(),
            },
            Target::UnitGroup(number) => {
                let Some(unit) = self.units.get(&number) else { return Vec::new() };
                let mut pids = below(unit);
                pids.retain(|pid| all.iter().any(|one| one.pid == *pid && Some(one.session) == unit.session));
                pids
            }
            Target::Replica(replica) => {
                let place = Place::Replica(replica);
                self.units.values().filter(|unit| unit.place == place).flat_map(below).collect()
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

    /// A replica starts only after its end was told, and that is told when nothing of it is left. Whoever still waits
    /// for the same has it now, before his next look takes the new replica for what is left of the old one.
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
        let lagging = processes::all().and_then(|all| watch.goal.approach(&self.members(watch.target, &all)));
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
                if let Target::Replica(replica) = watch.target {
                    self.nothing_left(replica)?;
                }
                self.outbox.tell(&Message::Exited { unit, status }, None)?;
            }
        }
        Ok(None)
    }

    fn processes(&self, all: &[Process]) -> Vec<ProcessInfo> {
        let of_unit = |(number, unit): (&u64, &Unit)| -> Vec<ProcessInfo> {
            let members = kin::descendants(all, unit.guard.pid);
            let infos = all.iter().filter(|one| members.contains(&one.pid) && !one.is_ending);
            infos
                .map(|one| ProcessInfo {
                    pid: one.pid,
                    parent: one.parent,
                    place: Some(unit.place),
                    command: processes::command(one.pid),
                    unit: (Some(one.session) == unit.session).then_some(*number),
                })
                .collect()
        };
        self.units.iter().flat_map(of_unit).collect()
    }
}
