//! Listening on the host. A port is bound and kept, never looked for and bound later: nobody can take it between.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use belljar_model::ErrorCode;
use belljar_stack::plan::{Interfaces, Protocol};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with, sockopt};

use super::holder::{self, Holder};

/// As many connections as the kernel lets wait.
const BACKLOG: i32 = 4096;
/// How many free ports of IPv4 are tried whose number is taken on IPv6.
const TRIES: usize = 64;

/// The sockets of one port of the host, one for each family.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) number: u16,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) sockets: Vec<OwnedFd>,
}

/// Why a port of the host is not ours.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    #[error("port {port} of the host, asked for by `{what}`, is taken{}", by(.holder.as_ref()))]
    Taken { what: String, port: u16, holder: Option<Holder> },
    #[error("cannot listen on the host for `{what}`{}", on(*.port))]
    Refused {
        what: String,
        /// Where one was asked for.
        port: Option<u16>,
        #[source]
        source: io::Error,
    },
}

impl PortError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Taken { .. } => ErrorCode::PortTaken,
            Self::Refused { .. } => ErrorCode::PortRefused,
        }
    }
}

fn by(holder: Option<&Holder>) -> String {
    holder.map_or_else(String::new, |holder| format!(": {holder} listens there"))
}

fn on(port: Option<u16>) -> String {
    port.map_or_else(String::new, |port| format!(" on port {port}"))
}

/// Takes a port of the host on both families; where there is no IPv6, on IPv4 alone. `what` it is for is told in
/// errors.
pub(crate) fn bind(
    protocol: Protocol,
    on: Interfaces,
    wish: Option<u16>,
    what: &str,
) -> Result<Bound, PortError> {
    let refused =
        |errno: Errno| PortError::Refused { what: what.to_owned(), port: wish, source: errno.into() };
    let (four, six) = match on {
        Interfaces::Loopback => (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
        Interfaces::All => (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
    };
    // Those whose number is taken on IPv6 are kept until the end, so that the kernel offers other ones.
    let mut unfit = Vec::new();
    loop {
        let (socket, address) = match open(protocol, four.into(), wish.unwrap_or(0)) {
            Ok(opened) => opened,
            Err(Errno::ADDRINUSE) if wish.is_some() => return Err(taken(protocol, wish, what)),
            Err(errno) => return Err(refused(errno)),
        };
        let number = address.port();
        match open(protocol, six.into(), number) {
            Ok((other, other_address)) => {
                let (addresses, sockets) = (vec![address, other_address], vec![socket, other]);
                return Ok(Bound { number, addresses, sockets });
            }
            // IPv6 is off, or has no such address.
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::PROTONOSUPPORT) => {
                return Ok(Bound { number, addresses: vec![address], sockets: vec![socket] });
            }
            Err(Errno::ADDRINUSE) if wish.is_some() => return Err(taken(protocol, wish, what)),
            Err(Errno::ADDRINUSE) if unfit.len() < TRIES => unfit.push(socket),
            Err(errno) => return Err(refused(errno)),
        }
    }
}

fn taken(protocol: Protocol, wish: Option<u16>, what: &str) -> PortError {
    let port = wish.unwrap_or_default();
    PortError::Taken { what: what.to_owned(), port, holder: holder::of(protocol, port) }
}

fn open(protocol: Protocol, address: IpAddr, port: u16) -> Result<(OwnedFd, SocketAddr), Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, Some(number))?;
    if address.is_ipv6() {
        // IPv4 has its own.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // Connections of an earlier session that still wait for stragglers are in nobody's way.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddr::new(address, port))?;
    if protocol == Protocol::Tcp {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    let bound = rustix::net::getsockname(&socket)?;
    let bound = SocketAddr::try_from(bound).map_err(|_| Errno::AFNOSUPPORT)?;
    Ok((socket, bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_has_one_number_on_both_families() {
        let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let bound = bind(protocol, Interfaces::Loopback, None, "a:b").unwrap();
            assert_ne!(bound.number, 0);
            assert!(bound.addresses.iter().all(|one| one.port() == bound.number && one.ip().is_loopback()));
            assert_eq!(bound.addresses.len(), if has_ipv6 { 2 } else { 1 });
        }
    }

    #[test]
    fn a_port_that_is_taken_is_said_with_who_has_it() {
        let first = bind(Protocol::Tcp, Interfaces::Loopback, None, "a:b").unwrap();
        let error = bind(Protocol::Tcp, Interfaces::Loopback, Some(first.number), "c:d").unwrap_err();
        assert_eq!(error.code(), ErrorCode::PortTaken);
        let text = error.to_string();
        assert!(text.contains(&format!("port {} ", first.number)), "{text}");
        assert!(
            text.contains("`c:d`") && text.contains(&format!("process {}", std::process::id())),
            "{text}"
        );
        // On one family alone it is taken as well.
        let first = bind(Protocol::Udp, Interfaces::Loopback, None, "a:b").unwrap();
        let number = first.number;
        let kept: Vec<_> = first.sockets.into_iter().skip(1).collect();
        if !kept.is_empty() {
            bind(Protocol::Udp, Interfaces::Loopback, Some(number), "c:d").unwrap_err();
        }
    }

    #[test]
    fn all_interfaces_are_taken_when_they_are_asked_for() {
        let bound = bind(Protocol::Tcp, Interfaces::All, None, "a:b").unwrap();
        assert!(bound.addresses.iter().all(|one| one.ip().is_unspecified()), "{bound:?}");
    }
}
