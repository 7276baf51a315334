//! Asking the kernel who listens.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, IPPROTO_TCP, TCP_LISTEN};
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
    let request = InetRequest {
        family: AF_INET,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::LISTEN,
        socket_id,
    };
    let mut message = NetlinkMessage::new(
        NetlinkHeader::default(),
        NetlinkPayload::InnerMessage(SockDiagMessage::InetRequest(request)),
    );
    message.header.flags = NLM_F_REQUEST;
    message.header.sequence_number = u32::from(port);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    send(sock_diag, &bytes, SendFlags::empty()).during(Step::AskSockets)?;

    let mut buffer = [0; 4096];
    let received = loop {
        match recv(sock_diag, &mut buffer, RecvFlags::empty()) {
            Ok((_, received)) => break received,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::from_borrowed_fd(sock_diag, PollFlags::IN)], None)
                    .during(Step::AskSockets)?;
            }
            Err(errno) => return Err(errno).during(Step::AskSockets),
        }
    };
    let answer = NetlinkMessage::<SockDiagMessage>::deserialize(&buffer[..received.min(buffer.len())]);
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
