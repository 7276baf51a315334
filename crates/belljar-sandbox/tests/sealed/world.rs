//! A host process for tests: sessions, and processes in them whose output is read.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use belljar_sandbox::spec::{
    ExitStatus, Filesystem, NetworkSpec, Place, ProcessSpec, SessionSpec, SocketSpec, Target,
};
use belljar_sandbox::{Answer, Ask, Init, Message, ProcessInfo, Request, SandboxError, Zygote};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn spec(replicas: u8) -> SessionSpec {
    SessionSpec {
        hostname: "jar".to_owned(),
        network: NetworkSpec {
            address: Ipv4Addr::new(10, 9, 0, 1),
            prefix: 24,
            replicas: (0..replicas).map(address).collect(),
            host_services: Vec::new(),
        },
        filesystem: Filesystem::Host,
        private_home: None,
        keep: Vec::new(),
        keep_if_present: vec![this().parent().unwrap().to_owned()],
        writable: Vec::new(),
        concealed: Vec::new(),
        processes: 4096,
        etc: vec![("/etc/hosts".into(), "127.0.0.1 localhost\n10.9.0.2 db\n".into())],
    }
}

/// The address of a replica.
pub(crate) fn address(replica: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 0, 2 + replica)
}

/// This binary, which has the fixtures in it.
pub(crate) fn this() -> PathBuf {
    std::env::current_exe().unwrap()
}

pub(crate) fn fixture(words: &[&str]) -> Vec<String> {
    let this = this().to_str().unwrap().to_owned();
    [&this, "fixture"].into_iter().chain(words.iter().copied()).map(str::to_owned).collect()
}

pub(crate) struct Session {
    pub init: Init,
    next: Cell<u64>,
    /// What was heard while something else was waited for.
    exits: RefCell<Vec<(u64, ExitStatus)>>,
}

pub(crate) struct Process {
    pub unit: u64,
    pub pid: i32,
    output: BufReader<File>,
}

impl Process {
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn rest(mut self) -> String {
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        text
    }
}

pub(crate) fn process(place: Place, argv: &[String]) -> ProcessSpec {
    ProcessSpec {
        unit: 0,
        place,
        main: false,
        argv: argv.to_vec(),
        env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".into())],
        cwd: "/".into(),
        hostname: "box".to_owned(),
        binds: Vec::new(),
        files: Vec::new(),
        terminal: false,
        listeners: Vec::new(),
    }
}

pub(crate) fn shell(place: Place, script: &str) -> ProcessSpec {
    process(place, &["sh".to_owned(), "-c".to_owned(), script.to_owned()])
}

impl Session {
    pub(crate) fn new(zygote: &Zygote, spec: &SessionSpec) -> Self {
        Self::try_new(zygote, spec).unwrap()
    }

    pub(crate) fn try_new(zygote: &Zygote, spec: &SessionSpec) -> Result<Self, SandboxError> {
        let init = zygote.launch(spec)?;
        Ok(Self { init, next: Cell::new(1), exits: RefCell::default() })
    }

    /// Ends it, and waits until it is dead.
    pub(crate) fn end(self) {
        let pidfd = self.init.pidfd().try_clone_to_owned().unwrap();
        drop(self);
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&second())).unwrap();
    }

    pub(crate) fn number(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    pub(crate) fn send(&self, ask: Ask, fds: &[BorrowedFd<'_>]) -> u64 {
        let id = self.number();
        self.init.send(&Request { id, ask }, fds).unwrap();
        id
    }

    pub(crate) fn ask(&self, ask: Ask) -> Result<Answer, SandboxError> {
        let id = self.send(ask, &[]);
        self.answer(id).map(|(answer, _)| answer)
    }

    pub(crate) fn answer(&self, asked: u64) -> Result<(Answer, Vec<OwnedFd>), SandboxError> {
        loop {
            match self.receive() {
                (Message::Reply { id, result }, fds) => {
                    assert_eq!(id, asked, "{result:?}");
                    return result.map(|answer| (answer, fds));
                }
                (Message::Exited { unit, status }, _) => self.exits.borrow_mut().push((unit, status)),
                (Message::Failed(error), _) => panic!("{error}"),
            }
        }
    }

    fn receive(&self) -> (Message, Vec<OwnedFd>) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(received) = self.init.try_receive().unwrap() {
                return received;
            }
            assert!(Instant::now() < deadline, "no message came");
            poll(&mut [PollFd::new(&self.init.as_fd(), PollFlags::IN)], Some(&second())).unwrap();
        }
    }

    pub(crate) fn spawn(&self, spec: ProcessSpec) -> Result<Process, SandboxError> {
        let null = File::open("/dev/null").unwrap();
        self.try_spawn_with(spec, null.as_fd())
    }

    /// Starts something with this as its standard input.
    pub(crate) fn spawn_with(&self, spec: ProcessSpec, input: BorrowedFd<'_>) -> Process {
        self.try_spawn_with(spec, input).unwrap()
    }

    fn try_spawn_with(&self, spec: ProcessSpec, input: BorrowedFd<'_>) -> Result<Process, SandboxError> {
        let (output, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let unit = self.number();
        let ask = Ask::Spawn(ProcessSpec { unit, ..spec });
        let id = self.send(ask, &[input, writer.as_fd(), writer.as_fd()]);
        drop(writer);
        match self.answer(id)?.0 {
            Answer::Spawned { pid } => Ok(Process { unit, pid, output: BufReader::new(File::from(output)) }),
            other => panic!("{other:?}"),
        }
    }

    /// Starts a replica.
    pub(crate) fn replica(&self, index: u16, argv: &[String]) -> Process {
        let spec = process(Place::Replica(index), argv);
        self.spawn(ProcessSpec { main: true, ..spec }).unwrap()
    }

    pub(crate) fn exit(&self, unit: u64) -> ExitStatus {
        loop {
            let heard =
                self.exits.borrow().iter().find(|(other, _)| *other == unit).map(|(_, status)| *status);
            if let Some(status) = heard {
                return status;
            }
            match self.receive() {
                (Message::Exited { unit, status }, _) => self.exits.borrow_mut().push((unit, status)),
                (other, _) => panic!("{other:?}"),
            }
        }
    }

    /// Runs something to its end.
    pub(crate) fn run(&self, spec: ProcessSpec) -> (String, ExitStatus) {
        let process = self.spawn(spec).unwrap();
        let unit = process.unit;
        let output = process.rest();
        (output.trim_end().to_owned(), self.exit(unit))
    }

    /// Runs a script that succeeds, in the session's own place.
    pub(crate) fn sh(&self, script: &str) -> String {
        self.sh_in(Place::Session, script)
    }

    pub(crate) fn sh_in(&self, place: Place, script: &str) -> String {
        let (output, status) = self.run(shell(place, script));
        assert_eq!(status, ExitStatus::Code(0), "{script}: {output}");
        output
    }

    pub(crate) fn socket(&self, spec: SocketSpec) -> OwnedFd {
        let id = self.send(Ask::Socket(spec), &[]);
        let (answer, mut fds) = self.answer(id).unwrap();
        assert_eq!((answer, fds.len()), (Answer::Socket, 1));
        fds.remove(0)
    }

    pub(crate) fn processes(&self) -> Vec<ProcessInfo> {
        match self.ask(Ask::Processes) {
            Ok(Answer::Processes(processes)) => processes,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn signal(&self, target: Target, signal: i32) -> u32 {
        match self.ask(Ask::Signal { target, signal }) {
            Ok(Answer::Signalled { processes }) => processes,
            other => panic!("{other:?}"),
        }
    }
}

fn second() -> rustix::time::Timespec {
    rustix::time::Timespec { tv_sec: 1, tv_nsec: 0 }
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come to hold");
        let pause = rustix::time::Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        poll(&mut [], Some(&pause)).unwrap();
    }
}
