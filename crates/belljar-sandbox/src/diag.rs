//! Asking the kernel who listens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::BorrowedFd;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, TCP_LISTEN};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::error::{During as _, SandboxError, Step};

/// Whether somebody accepts TCP connections to this address and port, in the place that the `SockDiag` socket
/// was made for. Listeners on every address, also those of IPv6 that take IPv4 connections, are found too.
///
/// The kernel answers while it is asked: this takes microseconds and does not wait.
pub fn is_listening(sock_diag: BorrowedFd<'_>, address: Ipv4Addr, port: u16) -> Result<bool, SandboxError> {
    listener(sock_diag, address, port).map(|found| found.is_some())
}

/// Who accepts TCP connections, as far as the kernel tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// The number of its socket, as processes that have it show it.
    pub inode: u32,
    /// Its owner.
    pub uid: u32,
}

/// The same as [`is_listening`], with whose it is.
pub fn listener(
    sock_diag: BorrowedFd<'_>,
    address: Ipv4Addr,
    port: u16,
) -> Result<Option<Listener>, SandboxError> {
    let mut socket_id = SocketId::new_v4();
    socket_id.source_address = IpAddr::V4(address);
    socket_id.source_port = port;
    socket_id.cookie = [0xff; 8];
    ask(sock_diag, AF_INET, socket_id, NLM_F_REQUEST)?;
    let mut buffer = [0; 4096];
    let received = answer(sock_diag, &mut buffer)?;
    let answer = NetlinkMessage::<SockDiagMessage>::deserialize(&buffer[..received]);
    match answer.map_err(|_| SandboxError::Protocol)?.payload {
        NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found)) => {
            let listener = Listener { inode: found.header.inode, uid: found.header.uid };
            Ok((found.header.state == TCP_LISTEN).then_some(listener))
        }
        NetlinkPayload::Error(error) => match error.code.map(|code| Errno::from_raw_os_error(-code.get())) {
            Some(Errno::NOENT) => Ok(None),
            Some(errno) => Err(errno).during(Step::AskSockets),
            None => Err(SandboxError::Protocol),
        },
        _ => Err(SandboxError::Protocol),
    }
}

/// Every address that accepts TCP connections in the place that the `SockDiag` socket was made for, in order.
pub fn listeners(sock_diag: BorrowedFd<'_>) -> Result<Vec<SocketAddr>, SandboxError> {
    let mut found = Vec::new();
    for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        ask(sock_diag, family, socket_id, NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let received = answer(sock_diag, &mut buffer)?;
            if read_dump(&buffer[..received], &mut found)? {
                break;
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Takes in one part of a dump, and says whether it was the last.
fn read_dump(mut part: &[u8], found: &mut Vec<SocketAddr>) -> Result<bool, SandboxError> {
    while !part.is_empty() {
        let message =
            NetlinkMessage::<SockDiagMessage>::deserialize(part).map_err(|_| SandboxError::Protocol)?;
        match message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(one)) => {
                let id = &one.header.socket_id;
                found.push(SocketAddr::new(id.source_address, id.source_port));
            }
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) => {
                let errno = error.code.map_or(Errno::IO, |code| Errno::from_raw_os_error(-code.get()));
                return Err(errno).during(Step::AskSockets);
            }
            _ => return Err(SandboxError::Protocol),
        }
        // Messages are aligned to four bytes.
        let length = usize::try_from(message.header.length).map_err(|_| SandboxError::Protocol)?;
        part = part.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn ask(sock_diag: BorrowedFd<'_>, family: u8, socket_id: SocketId, flags: u16) -> Result<(), SandboxError> {
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::LISTEN,
        socket_id,
    };
    let mut message = NetlinkMessage::new(
        NetlinkHeader::default(),
        NetlinkPayload::InnerMessage(SockDiagMessage::InetRequest(request)),
    );
    message.header.flags = flags;
    message.header.sequence_number = 1;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    send(sock_diag, &bytes, SendFlags::empty()).during(Step::AskSockets)?;
    Ok(())
}

/// One datagram of the kernel's answer; how long it is.
fn answer(sock_diag: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, SandboxError> {
    let room = buffer.len();
    loop {
        match recv(sock_diag, &mut *buffer, RecvFlags::empty()) {
            Ok((_, received)) => return Ok(received.min(room)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::from_borrowed_fd(sock_diag, PollFlags::IN)], None)
                    .during(Step::AskSockets)?;
            }
            Err(errno) => return Err(errno).during(Step::AskSockets),
        }
    }
}
