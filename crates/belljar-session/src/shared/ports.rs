//! Leased ports, each held by a bound socket of ours for as long as no replica has it.
//!
//! A port that its replica takes as a listener (`listen = true`) never is anybody else's: the same socket is bound
//! from the lease to the end, and listens while the replica lives. Any other port has to be let go of for the replica
//! to bind it. Whoever is quicker then gets it; that is found out, told, and answered with another lease.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use belljar_model::{ErrorCode, ReplicaName};
use belljar_stack::plan::{LeasedPorts, PortWish, Protocol};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, bind, listen, shutdown, socket_with, sockopt,
};

/// As many connections as the kernel lets wait.
const BACKLOG: i32 = 4096;
/// Below this are the usual ports of servers, which people start by hand.
const LOWEST: u16 = 10_000;
/// Fewer than this outside of the range of ephemeral ports are too few.
const ENOUGH: usize = 1_000;

/// Leases for one session, recorded where all of a user's sessions see them.
pub trait PortLeases: Send + Sync {
    /// Leases `count` of these candidates in one transaction. `take` binds one for the wish of that place, and says
    /// whether nobody else has it.
    fn lease(
        &self,
        count: usize,
        candidates: &[u16],
        take: &mut dyn FnMut(usize, u16) -> bool,
    ) -> Result<Vec<u16>, LeaseError>;

    /// Gives one back.
    fn release(&self, port: u16);
}

/// Why ports could not be leased.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct LeaseError {
    pub code: ErrorCode,
    pub message: String,
}

/// Which ports may be leased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRange(pub RangeInclusive<u16>);

impl std::str::FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = text.split_once('-').and_then(|(low, high)| Some(low.parse().ok()?..=high.parse().ok()?));
        match range {
            Some(range) if *range.start() > 0 && range.start() <= range.end() => Ok(Self(range)),
            _ => Err(format!("`{text}` is not a range of ports such as 20000-29999")),
        }
    }
}

/// The ports to try for a lease, from a random one on. Without a range that was asked for: those from which the
/// kernel does not take its own for outgoing connections. (Such a connection to a port that nobody listens on can
/// connect to *itself*, and then the port is taken.)
pub fn candidates(asked: Option<&PortRange>, random: u64) -> Vec<u16> {
    let ephemeral = fs_err::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ports = match asked {
        Some(PortRange(range)) => range.clone().collect(),
        None => outside(&ephemeral),
    };
    let start = usize::try_from(random % ports.len().max(1) as u64).unwrap_or_default();
    ports.rotate_left(start);
    ports
}

fn outside(ephemeral: &str) -> Vec<u16> {
    let mut bounds = ephemeral.split_whitespace().map(str::parse::<u16>);
    let all = LOWEST..=u16::MAX;
    let (Some(Ok(low)), Some(Ok(high))) = (bounds.next(), bounds.next()) else { return all.collect() };
    let outside: Vec<u16> = all.clone().filter(|port| !(low..=high).contains(port)).collect();
    if outside.len() < ENOUGH { all.collect() } else { outside }
}

/// The ports of one session.
pub(crate) struct Ports {
    leases: Arc<dyn PortLeases>,
    candidates: Vec<u16>,
    leased: Mutex<BTreeMap<(ReplicaName, String), Leased>>,
}

#[derive(Debug)]
struct Leased {
    number: u16,
    protocol: Protocol,
    listen: bool,
    /// Ours, unless the replica has it.
    held: Option<OwnedFd>,
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports").field("leased", &self.leased).finish_non_exhaustive()
    }
}

impl Ports {
    pub(crate) fn lease(
        wishes: Vec<PortWish>,
        leases: Arc<dyn PortLeases>,
        candidates: Vec<u16>,
    ) -> Result<Self, LeaseError> {
        let mut held = Vec::new();
        let numbers = leases.lease(wishes.len(), &candidates, &mut |wish, number| {
            let hold = wishes.get(wish).and_then(|wish| hold(wish.protocol, wish.listen, number).ok());
            let is_free = hold.is_some();
            held.extend(hold);
            is_free
        })?;
        let leased = wishes.into_iter().zip(numbers).zip(held).map(|((wish, number), held)| {
            let PortWish { replica, port, protocol, listen } = wish;
            ((replica, port), Leased { number, protocol, listen, held: Some(held) })
        });
        let leased = Mutex::new(leased.collect());
        Ok(Self { leases, candidates, leased })
    }

    pub(crate) fn leased(&self) -> LeasedPorts {
        let mut ports = LeasedPorts::default();
        for ((replica, port), one) in &*self.lock() {
            ports.insert(replica.clone(), port.clone(), one.number);
        }
        ports
    }

    /// Lets go of the ports of a replica that is about to start. Those that it takes as listeners listen from here
    /// on, and are given out with their names. An error names a port that somebody else has.
    pub(crate) fn hand_over(&self, replica: &ReplicaName) -> Result<Vec<(String, OwnedFd)>, TakenPort> {
        self.hold(replica)?;
        let mut listeners = Vec::new();
        for ((_, port), one) in self.lock().iter_mut().filter(|((owner, _), _)| owner == replica) {
            if !one.listen {
                one.held = None;
                continue;
            }
            let taken = || TakenPort { port: port.clone(), number: one.number };
            let held = one.held.as_ref().ok_or_else(taken)?;
            // Connections of an earlier life may still be on their way out. A listener keeps others away all the same.
            let listens = sockopt::set_socket_reuseaddr(held, true).and_then(|()| listen(held, BACKLOG));
            listens.map_err(|_| taken())?;
            listeners.push((port.clone(), held.try_clone().map_err(|_| taken())?));
        }
        Ok(listeners)
    }

    /// Holds the ports of a replica that does not run. An error names one that somebody else has.
    pub(crate) fn hold(&self, replica: &ReplicaName) -> Result<(), TakenPort> {
        let mut taken = Ok(());
        for ((_, port), one) in self.lock().iter_mut().filter(|((owner, _), _)| owner == replica) {
            match &one.held {
                // Nobody is there to take connections any more: they are refused, and the port stays ours.
                Some(held) if one.listen => {
                    // It fails where it does not listen.
                    let _ = shutdown(held, Shutdown::Read);
                    let _ = sockopt::set_socket_reuseaddr(held, false);
                }
                Some(_) => {}
                None => match hold_again(one.protocol, one.listen, one.number) {
                    Ok(held) => one.held = Some(held),
                    Err(_) => taken = Err(TakenPort { port: port.clone(), number: one.number }),
                },
            }
        }
        taken
    }

    /// Another port in the place of this one.
    pub(crate) fn exchange(&self, replica: &ReplicaName, port: &str) -> Result<u16, LeaseError> {
        let mut leased = self.lock();
        let unknown =
            || LeaseError { code: ErrorCode::Internal, message: format!("{replica} has no port {port}") };
        let one = leased.get_mut(&(replica.clone(), port.to_owned())).ok_or_else(unknown)?;
        let mut held = None;
        let numbers = self.leases.lease(1, &self.candidates, &mut |_, number| {
            held = hold(one.protocol, one.listen, number).ok();
            held.is_some()
        })?;
        self.leases.release(one.number);
        one.number = numbers.first().copied().ok_or_else(unknown)?;
        one.held = held;
        Ok(one.number)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(ReplicaName, String), Leased>> {
        self.leased.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A leased port that somebody else has bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TakenPort {
    pub(crate) port: String,
    pub(crate) number: u16,
}

impl fmt::Display for TakenPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its port {} (`{}`) was taken by another process", self.number, self.port)
    }
}

/// Binds a port so that nobody else can. Listeners are bound where they will listen; other ports on every address, so
/// that nobody can take one of them.
fn hold(protocol: Protocol, listener: bool, number: u16) -> Result<OwnedFd, Errno> {
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, number));
    let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, number));
    let everywhere_4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, number));
    let first = if listener { local } else { everywhere };
    match bound(protocol, first, false) {
        // A machine without IPv6.
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => bound(protocol, everywhere_4, false),
        result => result,
    }
}

/// The same for a port that was ours before: connections of the replica that had it may still be on their way out.
/// Whoever listens on it is in the way all the same.
fn hold_again(protocol: Protocol, listener: bool, number: u16) -> Result<OwnedFd, Errno> {
    match hold(protocol, listener, number) {
        Err(Errno::ADDRINUSE) if protocol == Protocol::Tcp => {
            let local = SocketAddr::from((Ipv4Addr::LOCALHOST, number));
            let held = bound(protocol, local, true)?;
            // Nobody is to share it with us from here on.
            sockopt::set_socket_reuseaddr(&held, false)?;
            Ok(held)
        }
        result => result,
    }
}

fn bound(protocol: Protocol, address: SocketAddr, reuse: bool) -> Result<OwnedFd, Errno> {
    let (family, kind) = match (address, protocol) {
        (SocketAddr::V4(_), Protocol::Tcp) => (AddressFamily::INET, SocketType::STREAM),
        (SocketAddr::V6(_), Protocol::Tcp) => (AddressFamily::INET6, SocketType::STREAM),
        (SocketAddr::V4(_), Protocol::Udp) => (AddressFamily::INET, SocketType::DGRAM),
        (SocketAddr::V6(_), Protocol::Udp) => (AddressFamily::INET6, SocketType::DGRAM),
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    sockopt::set_socket_reuseaddr(&socket, reuse)?;
    bind(&socket, &address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leases that nobody else knows of.
    struct Any(Mutex<Vec<u16>>);

    impl PortLeases for Any {
        fn lease(
            &self,
            count: usize,
            candidates: &[u16],
            take: &mut dyn FnMut(usize, u16) -> bool,
        ) -> Result<Vec<u16>, LeaseError> {
            let mut all = self.0.lock().unwrap();
            let mut leased = Vec::new();
            for &port in candidates {
                if leased.len() < count && !all.contains(&port) && take(leased.len(), port) {
                    all.push(port);
                    leased.push(port);
                }
            }
            Ok(leased)
        }

        fn release(&self, port: u16) {
            self.0.lock().unwrap().retain(|one| *one != port);
        }
    }

    fn ports(listen: bool, protocol: Protocol) -> (Ports, ReplicaName) {
        let replica = ReplicaName::new("api-1").unwrap();
        let wish = PortWish { replica: replica.clone(), port: "http".to_owned(), protocol, listen };
        let random = u64::from(std::process::id()) * 977;
        let leases = Arc::new(Any(Mutex::default()));
        (Ports::lease(vec![wish], leases, candidates(None, random)).unwrap(), replica)
    }

    fn number(ports: &Ports, replica: &ReplicaName) -> u16 {
        ports.leased().get(replica, "http").unwrap()
    }

    #[test]
    fn ephemeral_ports_are_left_to_the_kernel() {
        let ports = outside("32768\t60999\n");
        assert!(ports.contains(&10_000) && ports.contains(&32_767) && ports.contains(&61_000));
        assert!(!ports.contains(&32_768) && !ports.contains(&60_999) && !ports.contains(&9_999));
        // Where nothing else is left, there is no choice.
        assert_eq!(outside("1024 65535").len(), 55_536);
        assert_eq!(outside("").len(), 55_536);
    }

    #[test]
    fn a_range_is_two_ports() {
        assert_eq!("20000-20003".parse(), Ok(PortRange(20000..=20003)));
        for wrong in ["", "20000", "20003-20000", "0-5", "1-70000", "a-b"] {
            assert!(wrong.parse::<PortRange>().is_err(), "{wrong}");
        }
        let ports = candidates(Some(&PortRange(20000..=20003)), 6);
        assert_eq!(ports, [20002, 20003, 20000, 20001]);
    }

    #[test]
    fn a_port_is_held_until_it_is_handed_over_and_after_its_end() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let (ports, replica) = ports(false, protocol);
            let number = number(&ports, &replica);
            let is_free = || bound(protocol, SocketAddr::from((Ipv4Addr::LOCALHOST, number)), true).is_ok();
            assert!(!is_free(), "{protocol:?}");
            assert!(ports.hand_over(&replica).unwrap().is_empty());
            assert!(is_free(), "{protocol:?}");
            ports.hold(&replica).unwrap();
            assert!(!is_free(), "{protocol:?}");
        }
    }

    #[test]
    fn a_listener_is_the_same_socket_for_every_start() {
        let (ports, replica) = ports(true, Protocol::Tcp);
        let number = number(&ports, &replica);
        let connects = || std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, number)).is_ok();
        assert!(!connects());
        for _ in 0..3 {
            let listeners = ports.hand_over(&replica).unwrap();
            assert_eq!(listeners.len(), 1);
            // Served and closed by us: what is left of it must not be in the way of the next start.
            let client = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, number)).unwrap();
            let server = std::net::TcpListener::from(listeners.into_iter().next().unwrap().1);
            drop(server.accept().unwrap());
            drop((client, server));
            ports.hold(&replica).unwrap();
            assert!(!connects());
            assert!(hold(Protocol::Tcp, false, number).is_err(), "it is bound all the time");
        }
    }

    #[test]
    fn a_port_that_was_taken_is_told_and_exchanged() {
        let (ports, replica) = ports(false, Protocol::Tcp);
        let before = number(&ports, &replica);
        ports.hand_over(&replica).unwrap();
        let thief = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, before)).unwrap();
        let taken = TakenPort { port: "http".to_owned(), number: before };
        assert_eq!(ports.hold(&replica), Err(taken.clone()));
        assert_eq!(ports.hand_over(&replica).unwrap_err(), taken);
        let after = ports.exchange(&replica, "http").unwrap();
        assert_ne!(after, before);
        assert_eq!(number(&ports, &replica), after);
        assert!(hold(Protocol::Tcp, false, after).is_err(), "it is held");
        drop(thief);
    }

    #[test]
    fn connections_on_their_way_out_do_not_keep_a_port_from_us() {
        let (ports, replica) = ports(false, Protocol::Tcp);
        let number = number(&ports, &replica);
        ports.hand_over(&replica).unwrap();
        let server = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, number)).unwrap();
        let client = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, number)).unwrap();
        // The side that closes first is the one that waits.
        drop(server.accept().unwrap());
        drop(server);
        drop(client);
        ports.hold(&replica).unwrap();
    }
}
