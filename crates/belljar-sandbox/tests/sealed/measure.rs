//! How long things take, against the budgets.

use std::time::{Duration, Instant};

use belljar_sandbox::Zygote;
use belljar_sandbox::spec::Place;
use rustix::event::{PollFd, PollFlags, poll};

use crate::world::{Session, process, spec};

const RUNS: usize = 30;

pub(crate) fn run(zygote: &Zygote) {
    leased(zygote);
    for replicas in [0, 1, 5] {
        let (mut launch, mut spawn, mut command, mut end) = (vec![], vec![], vec![], vec![]);
        for _ in 0..RUNS {
            let started = Instant::now();
            let session = Session::new(zygote, &spec(replicas));
            launch.push(started.elapsed());
            let sleep = ["sleep".to_owned(), "1000".to_owned()];
            for replica in 0..u16::from(replicas) {
                let one = Instant::now();
                session.replica(replica, &sleep);
                spawn.push(one.elapsed());
            }
            let one = Instant::now();
            session.run(process(Place::Session, &["true".to_owned()]));
            command.push(one.elapsed());
            let one = Instant::now();
            let pidfd = session.init.pidfd().try_clone_to_owned().unwrap();
            drop(session);
            poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap();
            end.push(one.elapsed());
            // What the kernel still has to do to the network of this one is not to slow the next one down.
            let pause = rustix::time::Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
            poll(&mut [], Some(&pause)).unwrap();
        }
        for (what, times) in
            [("launch", launch), ("spawn a replica", spawn), ("run `true`", command), ("end", end)]
        {
            crate::say(&format!("{replicas} replicas: {what}: {}", summary(times)));
        }
    }
}

/// One network, used again and again: the wait for its proof is part of each launch.
fn leased(zygote: &Zygote) {
    let spec = spec(6);
    let mut times = Vec::new();
    zygote.prepare(&spec.network, 1).unwrap();
    for _ in 0..RUNS {
        let started = Instant::now();
        let session = Session::new(zygote, &spec);
        times.push(started.elapsed());
        session.end();
    }
    // The first waited for its making.
    times.remove(0);
    if let Some(keeper) = keeper(zygote) {
        let before = cpu(keeper);
        for _ in 0..RUNS {
            Session::new(zygote, &spec).end();
        }
        // The last one's proof is part of the next launch.
        Session::new(zygote, &spec).end();
        let one = cpu(keeper).saturating_sub(before) / u32::try_from(RUNS).unwrap();
        crate::say(&format!("6 replicas: the proof of 7 namespaces: {one:?} of CPU"));
    }
    crate::say(&format!("6 replicas, leased at the end of the last: launch: {}", summary(times)));
    let mut times = Vec::new();
    zygote.prepare(&spec.network, 3).unwrap();
    for _ in 0..RUNS {
        let pause = rustix::time::Timespec { tv_sec: 0, tv_nsec: 60_000_000 };
        poll(&mut [], Some(&pause)).unwrap();
        let started = Instant::now();
        let session = Session::new(zygote, &spec);
        times.push(started.elapsed());
        session.end();
    }
    crate::say(&format!("6 replicas, leased: launch: {}", summary(times)));
}

/// The process that proves networks clean.
fn keeper(zygote: &Zygote) -> Option<i32> {
    let pid = zygote.pid();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    let name = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    children.into_iter().find(|pid| name(pid).trim() == "belljar-slots")
}

/// For how long a process has had a CPU.
fn cpu(pid: i32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn summary(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    format!("least {:?}, median {:?}, p95 {:?}", at(0), at(50), at(95))
}
