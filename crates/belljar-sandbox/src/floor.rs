//! What this kernel asks at the least for the parts of a session: the floors that `bench/` measures sessions
//! against. They use nothing of what makes a session, so that a session that becomes slower does not take its
//! floor along.

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, WaitId, WaitIdOptions};
use rustix::thread::UnshareFlags;

use crate::error::{During as _, SandboxError, Step};
use crate::netlink::{Batch, Configuration, LOOPBACK};
use crate::sys::{self, Child};
use crate::zygote::{open_namespace, unshare};

/// Makes a process in namespaces of its own of every kind, and reaps it; it does nothing but end. The caller has
/// a single thread.
pub fn process_in_namespaces() -> Result<Duration, SandboxError> {
    let all = libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWNET;
    let start = Instant::now();
    let child = sys::spawn(all, || 0).during(Step::CloneInit)?;
    reap(&child)?;
    Ok(start.elapsed())
}

/// Makes this many network namespaces with an address each, joined to a bridge in one more, and nothing else.
/// Only the making counts; the kernel still has to end them when this returns. The caller has a single thread.
pub fn topology(replicas: u8) -> Result<Duration, SandboxError> {
    let (mut reader, mut writer) = std::io::pipe().map_err(|_| SandboxError::Protocol)?;
    let child = sys::spawn(libc::CLONE_NEWUSER | libc::CLONE_NEWNET, || {
        let start = Instant::now();
        let built = build(replicas).map(|()| u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let told = built.ok().is_some_and(|nanos| writer.write_all(&nanos.to_ne_bytes()).is_ok());
        i32::from(!told)
    })
    .during(Step::Fork)?;
    drop(writer);
    let mut nanos = [0; 8];
    let told = reader.read_exact(&mut nanos);
    reap(&child)?;
    told.map_err(|_| SandboxError::Gone)?;
    Ok(Duration::from_nanos(u64::from_ne_bytes(nanos)))
}

/// Kills the first process of a pid namespace with this many others in it, and waits until it can be reaped, when
/// none of them is left. The caller has a single thread.
pub fn end_of_processes(others: u32) -> Result<Duration, SandboxError> {
    let (mut reader, mut writer) = std::io::pipe().map_err(|_| SandboxError::Protocol)?;
    let first = sys::spawn(libc::CLONE_NEWUSER | libc::CLONE_NEWPID, || {
        let forked: Result<Vec<Child>, _> = (0..others).map(|_| sys::spawn(0, stay)).collect();
        if forked.is_err() || writer.write_all(b"!").is_err() { 1 } else { stay() }
    })
    .during(Step::Fork)?;
    drop(writer);
    reader.read_exact(&mut [0]).map_err(|_| SandboxError::Gone)?;
    let start = Instant::now();
    rustix::process::pidfd_send_signal(&first.pidfd, Signal::KILL).during(Step::Wait)?;
    reap(&first)?;
    Ok(start.elapsed())
}

fn stay() -> i32 {
    loop {
        // An interrupted wait is followed by the next one.
        let _ = poll(&mut [], None);
    }
}

fn reap(child: &Child) -> Result<(), SandboxError> {
    poll(&mut [PollFd::new(&child.pidfd, PollFlags::IN)], None).during(Step::Wait)?;
    rustix::process::waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED).during(Step::Wait)?;
    Ok(())
}

fn build(replicas: u8) -> Result<(), SandboxError> {
    const BRIDGE: u32 = 2;
    const ETH0: u32 = 2;
    let mut places = Vec::new();
    for _ in 0..replicas {
        unshare(UnshareFlags::NEWNET).during(Step::NewNetworkNamespace)?;
        places.push((open_namespace("/proc/thread-self/ns/net")?, Configuration::open()?));
    }
    unshare(UnshareFlags::NEWNET).during(Step::NewNetworkNamespace)?;
    let session = Configuration::open()?;
    let mut batch = Batch::default();
    batch.raise(Step::RaiseLoopback, LOOPBACK);
    let own = Ipv4Addr::new(10, 77, 0, 1);
    batch.make_bridge(BRIDGE, "bridge", own);
    batch.address(BRIDGE, own, 16);
    let address = |last: u8| Ipv4Addr::new(10, 77, 1, last);
    for ((port, last), (namespace, _)) in (100..).zip(1..).zip(&places) {
        let name = format!("r{port}");
        batch.make_link((port, &name), BRIDGE, (ETH0, "eth0", namespace.as_fd()), address(last));
    }
    session.apply(batch)?;
    for (last, (_, replica)) in (1..).zip(&places) {
        let mut batch = Batch::default();
        batch.raise(Step::RaiseLoopback, LOOPBACK);
        batch.address(ETH0, address(last), 16);
        batch.raise(Step::MakeLink, ETH0);
        replica.apply(batch)?;
    }
    let mut batch = Batch::default();
    batch.raise(Step::MakeBridge, BRIDGE);
    session.apply(batch)
}
