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

fn summary(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    format!("least {:?}, median {:?}, p95 {:?}", at(0), at(50), at(95))
}
