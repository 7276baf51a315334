//! How processes, replicas and sessions end, and how they are frozen.

use std::io::{BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use belljar_sandbox::spec::{ExitStatus, Place, Target};
use belljar_sandbox::{Answer, Ask, SandboxError, Zygote};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::Case;
use crate::world::{Session, eventually, fixture, process, shell, spec, this};

pub(super) const CASES: &[(&str, Case)] = &[
    ("a replica takes its daemons along", daemons),
    ("a replica that ends by itself takes its daemons along", daemons_of_the_dead),
    ("a replica's end leaves others alone", others_stay),
    ("freezing stops every thread and thawing undoes it", freeze),
    ("freezing catches what makes children all the time", freeze_forks),
    ("what calls itself no text ends like the rest", nameless),
    ("an init without a descriptor to spare answers and goes on", without_descriptors),
    ("the end of the connection ends everything", end),
    ("the death of the host process ends everything", death_of_host),
    ("the death of the zygote ends everything", death_of_zygote),
    ("sessions start and end side by side", many),
    ("a host that does not listen holds nobody up", deaf_host),
];

/// Becomes a daemon in every way there is.
const DAEMONS: &str =
    "setsid sh -c 'sleep 1000 & sleep 1001' & (sleep 1002 &) ; nohup sleep 1003 & echo up; ";

fn alive(session: &Session, place: Place) -> usize {
    session.processes().iter().filter(|process| process.place == Some(place)).count()
}

fn daemons(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(2));
    let other = session.replica(1, &["sleep".to_owned(), "1000".to_owned()]);
    let mut replica = session.replica(0, &words(&format!("{DAEMONS} exec sleep 1004")));
    assert_eq!(replica.line(), "up");
    eventually("six processes", || alive(&session, Place::Replica(0)) == 6);
    session.ask(Ask::KillAll(Target::Replica(0))).unwrap();
    assert_eq!(alive(&session, Place::Replica(0)), 0);
    assert_eq!(session.exit(replica.unit), ExitStatus::Signal(libc::SIGKILL));
    assert_eq!(session.processes().iter().map(|one| one.pid).collect::<Vec<_>>(), [other.pid]);
}

fn words(script: &str) -> [String; 3] {
    ["sh", "-c", script].map(str::to_owned)
}

fn daemons_of_the_dead(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(1));
    let mut replica = session.replica(0, &words(&format!("{DAEMONS} exit 5")));
    assert_eq!(replica.line(), "up");
    assert_eq!(session.exit(replica.unit), ExitStatus::Code(5));
    assert_eq!(session.processes(), []);
    // The place is free for the next one.
    let mut next = session.replica(0, &fixture(&["serve", "80"]));
    assert_eq!(next.line(), "listening");
}

fn others_stay(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(1));
    let main = session.replica(0, &["sleep".to_owned(), "1000".to_owned()]);
    // A command in the replica's place is not the replica.
    session.sh_in(Place::Replica(0), "true");
    assert_eq!(session.signal(Target::Unit(main.unit), 0), 1);
    let guest = session.spawn(shell(Place::Replica(0), "sleep 1000")).unwrap();
    let here = session.spawn(shell(Place::Session, "exec sleep 1000")).unwrap();
    session.signal(Target::Unit(main.unit), libc::SIGTERM);
    assert_eq!(session.exit(main.unit), ExitStatus::Signal(libc::SIGTERM));
    assert_eq!(session.exit(guest.unit), ExitStatus::Signal(libc::SIGKILL));
    assert_eq!(session.signal(Target::Unit(here.unit), 0), 1);
}

/// The states of all threads of the replica, as seen from a command in the session.
fn states(session: &Session, name: &str) -> String {
    session.sh(&format!(
        "for p in /proc/[0-9]*; do if grep -q ^{name} $p/comm 2>/dev/null; then \
         for t in $p/task/*/stat; do sed 's/.*) \\(.\\).*/\\1/' $t; done; fi; done | sort -u | tr -d '\\n'"
    ))
}

fn freeze(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(1));
    let mut replica = session.replica(0, &fixture(&["spin", "4"]));
    assert_eq!(replica.line(), "spinning");
    let name = this().file_name().unwrap().to_str().unwrap()[..6].to_owned();
    assert!(states(&session, &name).contains('R'));
    assert_eq!(session.ask(Ask::Freeze(Target::Replica(0))), Ok(Answer::Done));
    assert_eq!(states(&session, &name), "T");
    // A second time is no different.
    assert_eq!(session.ask(Ask::Freeze(Target::Replica(0))), Ok(Answer::Done));
    assert_eq!(session.ask(Ask::Thaw(Target::Replica(0))), Ok(Answer::Done));
    eventually("threads run again", || states(&session, &name).contains('R'));
    assert!(!states(&session, &name).contains('T'));
    // What stands still can be ended.
    session.ask(Ask::Freeze(Target::Unit(replica.unit))).unwrap();
    session.ask(Ask::KillAll(Target::Unit(replica.unit))).unwrap();
    assert_eq!(session.exit(replica.unit), ExitStatus::Signal(libc::SIGKILL));
    let error = Err(SandboxError::NoSuchReplica(1));
    assert_eq!(session.ask(Ask::Freeze(Target::Replica(1))), error);
}

fn freeze_forks(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(1));
    let script = "echo up; while true; do sh -c 'true & true'; done";
    let mut shells = session.replica(0, &words(script));
    let _forks = session.spawn(process(Place::Replica(0), &fixture(&["fork"]))).unwrap();
    assert_eq!(shells.line(), "up");
    for _ in 0..10 {
        session.ask(Ask::Freeze(Target::Replica(0))).unwrap();
        let pids = || session.processes().iter().map(|one| one.pid).collect::<Vec<_>>();
        assert_eq!(pids(), pids());
        session.ask(Ask::Thaw(Target::Replica(0))).unwrap();
    }
    session.ask(Ask::KillAll(Target::Replica(0))).unwrap();
    assert_eq!(session.exit(shells.unit), ExitStatus::Signal(libc::SIGKILL));
    assert_eq!(session.processes(), []);
}

fn nameless(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(1));
    let script = "printf '\\377' >/proc/self/comm; echo up";
    let mut replica = session.replica(0, &words(&format!("{script}; while :; do sleep 1000; done")));
    assert_eq!(replica.line(), "up");
    session.ask(Ask::Freeze(Target::Replica(0))).unwrap();
    session.ask(Ask::KillAll(Target::Replica(0))).unwrap();
    assert_eq!(session.processes(), []);
    assert_eq!(session.exit(replica.unit), ExitStatus::Signal(libc::SIGKILL));
}

fn without_descriptors(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(1));
    let replica = session.replica(0, &["sleep".to_owned(), "1000".to_owned()]);
    let target = Target::Replica(0);
    let init = Pid::from_raw(session.init.pid());
    let limited = |current| prlimit(init, Resource::Nofile, current).unwrap();
    let hard = getrlimit(Resource::Nofile);
    let old = limited(Rlimit { current: Some(3), maximum: hard.maximum });
    let no_more = |result: Result<Answer, SandboxError>| match result {
        Err(SandboxError::Os { errno: libc::EMFILE, .. }) => {}
        other => panic!("{other:?}"),
    };
    // Its three descriptors cannot be taken in.
    match session.spawn(shell(Place::Session, "true")) {
        Err(SandboxError::Os { errno: libc::EMFILE, .. }) => {}
        _ => panic!("a process was started without its standard input"),
    }
    no_more(session.ask(Ask::Signal { target, signal: libc::SIGTERM }));
    assert_eq!(session.signal(Target::Unit(replica.unit), 0), 1);
    no_more(session.ask(Ask::Processes));
    no_more(session.ask(Ask::Terminal));
    // What takes its time is tried again, while other things are answered.
    let kill = session.send(Ask::KillAll(target), &[]);
    no_more(session.ask(Ask::Terminal));
    limited(old);
    assert_eq!(session.answer(kill).unwrap().0, Answer::Done);
    assert_eq!(session.exit(replica.unit), ExitStatus::Signal(libc::SIGKILL));
    assert_eq!(session.sh("echo well"), "well");
}

/// Whether a process has ended, waiting for a second.
fn ends(pidfd: &OwnedFd) -> bool {
    let second = rustix::time::Timespec { tv_sec: 1, tv_nsec: 0 };
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&second)).unwrap() == 1
}

/// Processes of the host that have this in their command line.
fn with(mark: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap();
    let lines = entries.filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(mark)).count()
}

fn mark(seconds: u32) -> String {
    format!("{}.{seconds:05}", 100_000 + std::process::id())
}

fn end(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(2));
    let mark = mark(1);
    let script = format!("setsid sleep {mark} & sleep {mark} & echo up; wait");
    for replica in [0, 1] {
        assert_eq!(session.replica(replica, &words(&script)).line(), "up");
    }
    eventually("the sleepers run", || with(&mark) >= 4);
    let pidfd = session.init.pidfd().try_clone_to_owned().unwrap();
    assert!(session.init.pid() > 1);
    drop(session);
    assert!(ends(&pidfd));
    assert_eq!(with(&mark), 0);
}

fn death_of_host(_: &Zygote) {
    death(2, |host| host);
}

fn death_of_zygote(_: &Zygote) {
    death(3, |host| {
        let children = std::fs::read_to_string(format!("/proc/{host}/task/{host}/children")).unwrap();
        let mut children = children.split_whitespace().map(|pid| pid.parse().unwrap());
        let is_zygote = |pid: &i32| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim() == "belljar-zygote"
        };
        children.find(is_zygote).unwrap()
    });
}

/// Starts another host process, kills one of its processes, and sees what is left.
fn death(number: u32, victim: impl Fn(i32) -> i32) {
    let mark = mark(number);
    let mut host = Command::new(this())
        .args(["host", &mark])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(host.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "up");
    let sleepers = format!("sleep\0{mark}");
    eventually("the sleepers run", || with(&sleepers) == 4);
    let victim = victim(i32::try_from(host.id()).unwrap());
    let died = Instant::now();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(victim).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    eventually("the sleepers are gone", || with(&sleepers) == 0);
    assert!(died.elapsed() < Duration::from_secs(1), "{:?}", died.elapsed());
    // The other host process ends when its input does, if it has not been killed.
    drop(host.stdin.take());
    host.wait().unwrap();
    eventually("nothing is left", || with(&mark) == 0);
    // Nobody else has its output open.
    assert!(lines.next().is_none());
}

fn many(zygote: &Zygote) {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let session = Session::new(zygote, &spec(2));
                    let mut server = session.replica(0, &fixture(&["serve", "80"]));
                    assert_eq!(server.line(), "listening");
                    let argv = fixture(&["fetch", "10.9.0.2", "80"]);
                    let (greeting, _) = session.run(process(Place::Replica(1), &argv));
                    assert_eq!(greeting, "hello 10.9.0.3");
                }
            });
        }
    });
}

fn deaf_host(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(0));
    let sleeper = session.spawn(shell(Place::Session, "exec sleep 1000")).unwrap();
    let asked: Vec<u64> = (0..3000).map(|_| session.send(Ask::Processes, &[])).collect();
    session.send(Ask::Signal { target: Target::Unit(sleeper.unit), signal: libc::SIGKILL }, &[]);
    for id in asked {
        assert!(matches!(session.answer(id), Ok((Answer::Processes(_), _))));
    }
}

/// The other host process of the case about its death.
pub(crate) fn host(zygote: &Zygote, mark: &str) {
    let sessions = [(), ()].map(|()| Session::new(zygote, &spec(1)));
    let script = format!("setsid sleep {mark} & exec sleep {mark}");
    let _replicas = sessions.each_ref().map(|session| session.replica(0, &words(&script)));
    crate::say("up");
    // Until it is killed.
    let _ = std::io::stdin().lines().next();
}
