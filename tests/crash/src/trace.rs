//! The tracer: a process of its own that follows belljar from its first system call on, counts the calls of each
//! kind of process, and strikes at exactly one of them.
//!
//! It lets go of every program that is not belljar (replicas, commands), and of everything once it has struck:
//! what follows is the kernel's doing and not a debugger's. Being a process of its own, it takes nobody else's
//! children from him, and its death is the death of all that it follows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use belljar_model::fold::Recording;
use belljar_model::{Folded, SessionState};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::calls::{self, Call};
use crate::moment::{Act, Counts, Kind, Moment, Order, Report, State, Struck};
use crate::say;

/// The stop of a new or interrupted process, which nix has no name for in an i32.
const EVENT_STOP: i32 = 128;

/// Traces `command` as `order` says, until nothing of it is left to trace.
pub(crate) fn run(order: Order, command: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    // It waits until it is traced; what it does itself does not count.
    let mut child = Command::new("/bin/sh")
        .args(["-c", "read go && exec \"$@\" </dev/null", "sh"])
        .args(command)
        .stdin(Stdio::piped())
        .stdout(fs_err::File::create(&order.stdout)?.into_parts().0)
        .stderr(fs_err::File::create(&order.stderr)?.into_parts().0)
        .spawn()?;
    let root = Pid::from_raw(i32::try_from(child.id())?);
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(root, options)?;
    ptrace::interrupt(root)?;
    let mut tracer = Tracer {
        processes: HashMap::from([(root, order.root)]),
        threads: HashMap::new(),
        root,
        order,
        begun: false,
        struck: false,
        state: State::None,
        had_one: false,
        counts: Counts::default(),
    };
    child.stdin.take().expect("was asked for").write_all(b"go\n")?;
    tracer.follow();
    report(&Report::Counted(tracer.counts));
    Ok(())
}

struct Tracer {
    order: Order,
    root: Pid,
    processes: HashMap<Pid, Kind>,
    threads: HashMap<Pid, Thread>,
    /// The command has been executed: from here on it counts.
    begun: bool,
    struck: bool,
    /// Of the session, as of the last call that may have changed it.
    state: State,
    /// There has been a session.
    had_one: bool,
    counts: Counts,
}

#[derive(Debug, Clone, Copy)]
struct Thread {
    process: Pid,
    kind: Kind,
    in_call: bool,
    /// The call that it is in writes an event.
    writes_event: bool,
    /// It may change what there is on disk.
    makes: bool,
    /// The call that it is in was skipped and is to fail.
    fails: Option<i32>,
}

impl Tracer {
    fn follow(&mut self) {
        loop {
            match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Ok(status) => {
                    // A process that was killed in this moment cannot be spoken to; its end is told next.
                    let _ = self.handle(status);
                }
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    fn handle(&mut self, status: WaitStatus) -> nix::Result<()> {
        match status {
            WaitStatus::Exited(pid, code) => self.ended(pid, code),
            WaitStatus::Signaled(pid, signal, _) => self.ended(pid, 128 + signal as i32),
            WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC) => return self.executed(pid),
            WaitStatus::PtraceEvent(pid, _, event) => {
                if event == EVENT_STOP {
                    self.know(pid);
                }
                return self.go_on(pid, None);
            }
            WaitStatus::PtraceSyscall(pid) => {
                self.know(pid);
                if !self.struck {
                    self.call(pid)?;
                }
                return self.go_on(pid, None);
            }
            WaitStatus::Stopped(pid, signal) => return self.go_on(pid, Some(signal)),
            _ => {}
        }
        Ok(())
    }

    fn go_on(&mut self, pid: Pid, signal: Option<Signal>) -> nix::Result<()> {
        // A call that was refused has its answer still to get.
        let owed = self.threads.get(&pid).is_some_and(|thread| thread.fails.is_some());
        if self.struck && !owed {
            self.threads.remove(&pid);
            return ptrace::detach(pid, signal);
        }
        ptrace::syscall(pid, signal)
    }

    fn ended(&mut self, pid: Pid, code: i32) {
        self.threads.remove(&pid);
        self.processes.remove(&pid);
        if pid == self.root {
            report(&Report::Ended(code));
        }
    }

    /// A program was executed. Ours is followed where it carries a session, everybody else's is let go.
    fn executed(&mut self, pid: Pid) -> nix::Result<()> {
        self.know(pid);
        let exe = fs_err::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let kind = self.processes.get(&pid).copied().unwrap_or(Kind::Starter);
        if exe != self.order.program || kind == Kind::Starter {
            if pid == self.root {
                // The shell on its way.
                return self.go_on(pid, None);
            }
            self.threads.remove(&pid);
            self.processes.remove(&pid);
            return ptrace::detach(pid, None);
        }
        self.begun = true;
        self.go_on(pid, None)
    }

    /// Notes a process or thread that is seen for the first time, and what it is.
    fn know(&mut self, pid: Pid) {
        if self.threads.contains_key(&pid) {
            return;
        }
        let Some(status) = Status::read(pid) else { return };
        let kind = self.processes.get(&status.process).copied().unwrap_or_else(|| {
            let parent = self.processes.get(&status.parent).copied().unwrap_or(self.order.root);
            let kind = match parent {
                Kind::Client => Kind::Host,
                Kind::Host if self.processes.values().all(|&one| one != Kind::Zygote) => Kind::Zygote,
                Kind::Host | Kind::Probe => Kind::Probe,
                Kind::Zygote if status.depth > 1 => Kind::Init,
                Kind::Zygote | Kind::Keeper => Kind::Keeper,
                Kind::Init | Kind::Starter => Kind::Starter,
            };
            self.processes.insert(status.process, kind);
            kind
        });
        let process = status.process;
        let thread = Thread { process, kind, in_call: false, writes_event: false, makes: false, fails: None };
        self.threads.insert(pid, thread);
    }

    /// A thread is about to make a call, or has made it.
    fn call(&mut self, pid: Pid) -> nix::Result<()> {
        let Some(thread) = self.threads.get_mut(&pid) else { return Ok(()) };
        thread.in_call = !thread.in_call;
        let mut thread = *thread;
        if !self.begun {
            return Ok(());
        }
        if !thread.in_call {
            if let Some(errno) = thread.fails.take() {
                calls::answer(pid, errno)?;
                self.threads.insert(pid, thread);
                self.has_struck();
            } else if std::mem::take(&mut thread.makes) {
                self.threads.insert(pid, thread);
                self.look_at_state();
            } else if std::mem::take(&mut thread.writes_event) {
                self.threads.insert(pid, thread);
                self.look_at_state();
                self.counts.events += 1;
                if let Act::Kill { kind, moment: Moment::Event(event) } = self.order.act
                    && event == self.counts.events
                    && let Some(victim) = self.newest(kind)
                {
                    self.kill(victim, None);
                }
            }
            return Ok(());
        }
        let Thread { kind, process, .. } = thread;
        let call = calls::entered(pid).ok();
        if let Some(victim) = self.count(kind, process) {
            self.kill(victim, call.map(|call| call.number));
            return Ok(());
        }
        let Some(call) = call else { return Ok(()) };
        if kind == Kind::Host && call.number == libc::SYS_write {
            let target = fs_err::read_link(format!("/proc/{process}/fd/{}", call.first)).unwrap_or_default();
            if target.ends_with("events.jsonl") {
                thread.writes_event = true;
                self.threads.insert(pid, thread);
            }
        } else if kind == Kind::Host && calls::MAKES.contains(&call.number) {
            thread.makes = true;
            self.threads.insert(pid, thread);
        }
        let now = self.state;
        for &errno in calls::ERRORS {
            if calls::may_fail(call.number, errno)
                && (!calls::asks_a_disk(call.number, errno) || on_disk(process, call))
            {
                let all = self.counts.failable.entry(kind).or_default().entry(errno).or_default();
                let in_state = self.counts.failable_in.entry(kind).or_default().entry(errno).or_default();
                let in_state = in_state.entry(now).or_default();
                *all += 1;
                *in_state += 1;
                if self.order.act == (Act::Fail { kind, errno, call: *all, state: None })
                    || self.order.act == (Act::Fail { kind, errno, call: *in_state, state: Some(now) })
                {
                    self.tell(process, Some(call.number));
                    calls::skip(pid)?;
                    self.threads.insert(pid, Thread { fails: Some(errno), ..thread });
                }
            }
        }
        Ok(())
    }

    /// Counts a call; the process to be killed where its moment has come.
    fn count(&mut self, kind: Kind, process: Pid) -> Option<Pid> {
        let state = self.state;
        let all = add_one(self.counts.calls.entry(kind).or_default());
        let in_state = add_one(self.counts.calls_in.entry(kind).or_default().entry(state).or_default());
        if kind == Kind::Host {
            let others: BTreeSet<Kind> =
                self.processes.values().copied().filter(|&one| one != kind).collect();
            for other in others {
                let number = add_one(self.counts.beside.entry(other).or_default().entry(state).or_default());
                if self.order.act == (Act::Kill { kind: other, moment: Moment::Beside { state, number } }) {
                    return self.newest(other);
                }
            }
        }
        let moments = [Moment::Call(all), Moment::CallIn { state, number: in_state }];
        moments.into_iter().any(|moment| self.order.act == Act::Kill { kind, moment }).then_some(process)
    }

    fn look_at_state(&mut self) {
        (self.state, _) = state(&self.order.state_dir, self.had_one);
        self.had_one |= self.state != State::None;
    }

    fn newest(&self, kind: Kind) -> Option<Pid> {
        let of_kind = self.processes.iter().filter(|&(_, &one)| one == kind);
        of_kind.map(|(&pid, _)| pid).max()
    }

    fn kill(&mut self, victim: Pid, call: Option<i64>) {
        self.tell(victim, call);
        // It is stopped by us and cannot have gone.
        let _ = kill(victim, Signal::SIGKILL);
        self.has_struck();
    }

    /// Says where it strikes, before it does.
    fn tell(&self, victim: Pid, call: Option<i64>) {
        let (state, step) = state(&self.order.state_dir, self.had_one);
        let below = below(victim.as_raw());
        let (pid, is_command) = (victim.as_raw(), victim == self.root);
        let name = fs_err::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned();
        report(&Report::Struck(Struck { pid, name, is_command, call, state, step, below }));
    }

    /// Lets go of everything.
    fn has_struck(&mut self) {
        self.struck = true;
        for &pid in self.threads.keys() {
            // Whoever stops on his own in this moment is let go then.
            let _ = ptrace::interrupt(pid);
        }
    }
}

/// What the kernel says of a process or thread.
#[derive(Debug)]
struct Status {
    process: Pid,
    parent: Pid,
    /// In how many pid namespaces it is.
    depth: usize,
}

impl Status {
    fn read(pid: Pid) -> Option<Self> {
        let text = fs_err::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let number = |name: &str| field(name)?.parse().ok().map(Pid::from_raw);
        let depth = field("NSpid:")?.split_whitespace().count();
        Some(Self { process: number("Tgid:")?, parent: number("PPid:")?, depth })
    }
}

/// The processes that `pid` started, and theirs.
fn below(pid: i32) -> Vec<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for process in belljar_e2e::processes() {
        children.entry(process.parent).or_default().push(process.pid);
    }
    let mut all = Vec::new();
    let mut next = vec![pid];
    while let Some(one) = next.pop() {
        let own = children.remove(&one).unwrap_or_default();
        all.extend(&own);
        next.extend(own);
    }
    all
}

fn add_one(count: &mut u64) -> u64 {
    *count += 1;
    *count
}

/// The state of the youngest session that has not ended, and its last event.
fn state(state_dir: &Path, had_one: bool) -> (State, String) {
    let nothing = (if had_one { State::Removed } else { State::None }, "-".to_owned());
    let Ok(dirs) = fs_err::read_dir(state_dir.join("sessions")) else { return nothing };
    let mut found = nothing;
    let mut of = None;
    for dir in dirs.flatten().map(|entry| entry.path()) {
        let Ok(text) = fs_err::read_to_string(dir.join("events.jsonl")) else {
            if of.is_none() {
                let is_registered = dir.join("artifacts").exists();
                let state = if is_registered { State::Registered } else { State::Created };
                found = (state, "-".to_owned());
            }
            continue;
        };
        let Ok(recording) = Recording::read(&text) else { continue };
        let Some(last) = recording.events.last() else {
            found = (State::Sealed, "-".to_owned());
            continue;
        };
        let state = match Folded::of(&recording.events).state {
            None => State::Sealed,
            Some(SessionState::Starting) => State::Starting,
            Some(SessionState::Ready) => State::Ready,
            Some(SessionState::Degraded) => State::Degraded,
            Some(SessionState::Draining | SessionState::Stopping) => State::Stopping,
            Some(SessionState::Ended | SessionState::Dead) => State::Ended,
        };
        let wall = last.wall.clone();
        let rank = (state != State::Ended, wall);
        if of.as_ref().is_none_or(|best| *best < rank) {
            let kind = serde_json::to_value(&last.kind).unwrap_or_default();
            found = (state, kind["kind"].as_str().unwrap_or("?").to_owned());
            of = Some(rank);
        }
    }
    found
}

/// Whether the call is about a file of a disk: no pipe, socket or event is ever full or broken.
fn on_disk(process: Pid, call: Call) -> bool {
    let target = fs_err::read_link(format!("/proc/{process}/fd/{}", call.first)).unwrap_or_default();
    target.is_absolute() && !["/proc", "/dev", "/sys"].iter().any(|dir| target.starts_with(dir))
}

fn report(report: &Report) {
    say(&serde_json::to_string(report).expect("it can be written"));
}
