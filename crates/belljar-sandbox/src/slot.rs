//! A session's network: namespaces joined by a bridge, as a value of its own.
//!
//! Ending a bridge keeps the kernel's network lock from everybody for tens of milliseconds, so slots are made to be kept, leased and proved
//! clean; and the namespaces of replicas are open to further interfaces, for linked sessions.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use netlink_packet_route::link::State;
use rustix::event::poll;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use rustix::time::Timespec;

use crate::channel;
use crate::error::{During as _, SandboxError, Step};
use crate::netlink::{Batch, Configuration, LOOPBACK};
use crate::spec::{NetworkSpec, Place};
use crate::zygote::{open_namespace, unshare, write};

/// The network namespaces of one session.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "whose namespaces they are is what tells them apart")]
pub(crate) struct Slot {
    session_ns: OwnedFd,
    replica_ns: Vec<OwnedFd>,
    host_ns: Vec<OwnedFd>,
}

pub(crate) const BRIDGE: u32 = 2;
const BRIDGE_NAME: &str = "belljar";
/// A replica's interface.
const ETH0: u32 = 2;
/// The first port of the bridge. A pair with equal indexes at both ends would not count as urgent in the
/// kernel's watch over carriers, and come up a second late.
const FIRST_PORT: u32 = 100;
/// The first of those for services of the host, beyond any replica's.
const FIRST_HOST_PORT: u32 = 1 << 17;
/// As many namespaces as are handed over in one message.
const BUNDLE: usize = 200;
/// How many chains a namespace's connections are in: 16 KiB.
const CONNECTIONS: &str = "2048";
/// How many closed connections may wait for stragglers.
const WAITING: &str = "65536";
/// How long the kernel may take to see that the links are up. It takes well under a millisecond.
pub(crate) const SETTLE: Duration = Duration::from_secs(5);

impl Slot {
    /// Makes the namespaces, the bridge and the links, and comes back to `home`.
    pub(crate) fn build(network: &NetworkSpec, home: BorrowedFd<'_>) -> Result<Self, SandboxError> {
        let built = Self::build_away(network);
        enter_network(home)?;
        built
    }

    fn build_away(network: &NetworkSpec) -> Result<Self, SandboxError> {
        let mut replica_ns = Vec::with_capacity(network.replicas.len());
        let mut members = Vec::with_capacity(network.replicas.len() + network.host_services.len());
        for address in &network.replicas {
            replica_ns.push(new_network()?);
            members.push((Configuration::open()?, address));
        }
        let mut host_ns = Vec::with_capacity(network.host_services.len());
        for address in &network.host_services {
            host_ns.push(new_network()?);
            members.push((Configuration::open()?, address));
        }
        let session_ns = new_network()?;
        let session = Configuration::open()?;

        let mut batch = Batch::default();
        batch.raise(Step::RaiseLoopback, LOOPBACK);
        batch.make_bridge(BRIDGE, BRIDGE_NAME, network.address);
        batch.address(BRIDGE, network.address, network.prefix);
        for (port, (namespace, address)) in (FIRST_PORT..).zip(replica_ns.iter().zip(&network.replicas)) {
            let name = format!("r{}", port - FIRST_PORT);
            batch.make_link((port, &name), BRIDGE, (ETH0, "eth0", namespace.as_fd()), *address);
        }
        for (port, (namespace, address)) in
            (FIRST_HOST_PORT..).zip(host_ns.iter().zip(&network.host_services))
        {
            let name = format!("h{}", port - FIRST_HOST_PORT);
            batch.make_link((port, &name), BRIDGE, (ETH0, "eth0", namespace.as_fd()), *address);
        }
        session.apply(batch)?;
        for (member, address) in members {
            let mut batch = Batch::default();
            batch.raise(Step::RaiseLoopback, LOOPBACK);
            batch.address(ETH0, *address, network.prefix);
            batch.raise(Step::MakeLink, ETH0);
            batch.neighbour(ETH0, network.address);
            member.apply(batch)?;
        }
        // Last, so that it finds its ports with a carrier and does not wait for one.
        let mut batch = Batch::default();
        batch.raise(Step::MakeBridge, BRIDGE);
        for address in network.replicas.iter().chain(&network.host_services) {
            batch.neighbour(BRIDGE, *address);
        }
        session.apply(batch)?;
        settle(&session)?;
        Ok(Self { session_ns, replica_ns, host_ns })
    }

    /// Joins a new namespace as the next replica's. We are in the session's own, and come back to it. One that was
    /// without replicas gets its bridge now.
    pub(crate) fn add(
        &mut self,
        namespace: OwnedFd,
        own: Ipv4Addr,
        address: Ipv4Addr,
        prefix: u8,
    ) -> Result<(), SandboxError> {
        let session = Configuration::open()?;
        let is_first = self.replica_ns.is_empty() && self.host_ns.is_empty();
        let index = u32::try_from(self.replica_ns.len()).unwrap_or(u32::MAX);
        let port = FIRST_PORT + index;
        let mut batch = Batch::default();
        if is_first {
            batch.make_bridge(BRIDGE, BRIDGE_NAME, own);
            batch.address(BRIDGE, own, prefix);
        }
        let name = format!("r{index}");
        batch.make_link((port, &name), BRIDGE, (ETH0, "eth0", namespace.as_fd()), address);
        session.apply(batch)?;
        enter_network(namespace.as_fd())?;
        let replica = Configuration::open();
        enter_network(self.session_ns.as_fd())?;
        let mut batch = Batch::default();
        batch.raise(Step::RaiseLoopback, LOOPBACK);
        batch.address(ETH0, address, prefix);
        batch.raise(Step::MakeLink, ETH0);
        batch.neighbour(ETH0, own);
        replica?.apply(batch)?;
        let mut batch = Batch::default();
        if is_first {
            batch.raise(Step::MakeBridge, BRIDGE);
        }
        batch.neighbour(BRIDGE, address);
        session.apply(batch)?;
        settle(&session)?;
        self.replica_ns.push(namespace);
        Ok(())
    }

    /// Arranges the new network namespace that we are in for a session without replicas: there is nobody to be
    /// joined with, and nothing to wait for.
    pub(crate) fn alone(network: &NetworkSpec) -> Result<Self, SandboxError> {
        set_for_every_place()?;
        let mut batch = Batch::default();
        batch.raise(Step::RaiseLoopback, LOOPBACK);
        batch.address(LOOPBACK, network.address, 32);
        Configuration::open()?.apply(batch)?;
        Ok(Self {
            session_ns: open_namespace("/proc/self/ns/net")?,
            replica_ns: Vec::new(),
            host_ns: Vec::new(),
        })
    }

    /// Gives the namespaces to a session's init.
    pub(crate) fn hand_over(&self, socket: BorrowedFd<'_>) -> Result<(), SandboxError> {
        let all = std::iter::once(&self.session_ns).chain(&self.replica_ns).chain(&self.host_ns);
        let all: Vec<BorrowedFd<'_>> = all.map(OwnedFd::as_fd).collect();
        for bundle in all.chunks(BUNDLE) {
            channel::send(socket, &bundle.len(), bundle)?;
        }
        Ok(())
    }

    /// Takes what [`Self::hand_over`] gives.
    pub(crate) fn receive(socket: BorrowedFd<'_>, network: &NetworkSpec) -> Result<Self, SandboxError> {
        let (replicas, members) =
            (network.replicas.len(), network.replicas.len() + network.host_services.len());
        let mut all = Vec::with_capacity(members + 1);
        while all.len() <= members {
            let (count, fds) = channel::receive::<usize>(socket)?;
            if fds.len() != count {
                return Err(SandboxError::Protocol);
            }
            all.extend(fds);
        }
        let mut replica_ns = all.split_off(1);
        let host_ns = replica_ns.split_off(replicas);
        let session_ns = all.pop().ok_or(SandboxError::Protocol)?;
        Ok(Self { session_ns, replica_ns, host_ns })
    }

    /// The network namespace of a place.
    pub(crate) fn namespace(&self, place: Place) -> Result<BorrowedFd<'_>, SandboxError> {
        match place {
            Place::Session => Ok(self.session_ns.as_fd()),
            Place::Replica(index) => match self.replica_ns.get(usize::from(index)) {
                Some(namespace) => Ok(namespace.as_fd()),
                None => Err(SandboxError::NoSuchReplica(index)),
            },
            Place::HostService(index) => {
                let namespace = self.host_ns.get(usize::from(index)).ok_or(SandboxError::Protocol)?;
                Ok(namespace.as_fd())
            }
        }
    }

    /// Every place with its namespace.
    pub(crate) fn places(&self) -> impl Iterator<Item = (Place, BorrowedFd<'_>)> {
        let replicas = (0..=u16::MAX).zip(&self.replica_ns);
        let host_services = (0..=u16::MAX).zip(&self.host_ns);
        std::iter::once((Place::Session, self.session_ns.as_fd()))
            .chain(replicas.map(|(index, namespace)| (Place::Replica(index), namespace.as_fd())))
            .chain(host_services.map(|(index, namespace)| (Place::HostService(index), namespace.as_fd())))
    }
}

pub(crate) fn enter_network(namespace: BorrowedFd<'_>) -> Result<(), SandboxError> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network)).during(Step::EnterNetworkNamespace)
}

/// Moves into a new network namespace in which nothing is to happen but the making of others.
pub(crate) fn home() -> Result<OwnedFd, SandboxError> {
    unshare(UnshareFlags::NEWNET).during(Step::NewNetworkNamespace)?;
    set_if_present("/proc/sys/net/ipv4/tcp_child_ehash_entries", CONNECTIONS)?;
    open_namespace("/proc/self/ns/net")
}

/// Moves into a new network namespace for a place that has links, and sets what holds for each of a session's.
pub(crate) fn new_network() -> Result<OwnedFd, SandboxError> {
    unshare(UnshareFlags::NEWNET).during(Step::NewNetworkNamespace)?;
    set_for_every_place()?;
    // A table of connections of its own for each namespace that is made from here, so that a look at them need
    // not go through the whole machine's; with room for as many that wait as there would be otherwise.
    set_if_present("/proc/sys/net/ipv4/tcp_child_ehash_entries", CONNECTIONS)?;
    set_if_present("/proc/sys/net/ipv4/tcp_max_tw_buckets", WAITING)?;
    // No link-local addresses, and none of the talk that comes with them. A kernel without IPv6 has none.
    set_if_present("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "1")?;
    open_namespace("/proc/self/ns/net")
}

/// What holds in the network namespace of every place.
fn set_for_every_place() -> Result<(), SandboxError> {
    // Services keep their own ports, also the low ones.
    set("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")?;
    // What TCP learned of a peer must not reach the next tenant, nor the time after a fault.
    set("/proc/sys/net/ipv4/tcp_no_metrics_save", "1")
}

/// A kernel that does not have it does not need it.
pub(crate) fn set_if_present(path: &str, value: &str) -> Result<(), SandboxError> {
    match write(path, value) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).during_at(Step::NetworkSetting, path),
        _ => Ok(()),
    }
}

fn set(path: &str, value: &str) -> Result<(), SandboxError> {
    write(path, value).during_at(Step::NetworkSetting, path)
}

/// Waits until every port forwards. The end of a link that was raised first is switched on by a worker of the
/// kernel; what is sent before that is lost, and TCP would wait a second before it tries again.
fn settle(session: &Configuration) -> Result<(), SandboxError> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let states = session.states()?;
        if states.iter().all(|(index, state)| *index < FIRST_PORT || *state == State::Up) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(rustix::io::Errno::TIMEDOUT).during(Step::Settle);
        }
        let pause = Timespec { tv_sec: 0, tv_nsec: 50_000 };
        poll(&mut [], Some(&pause)).during(Step::Settle)?;
    }
}
