//! Messages with descriptors over a `SOCK_SEQPACKET` pair: one packet is one message, whole or not at all.
//! What does not fit into a packet travels in a memfd beside it (environments can be big).

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read as _, Seek as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{During as _, SandboxError, Step};

/// Above this a payload goes into a memfd: well below the smallest socket buffer in use.
const INLINE: usize = 60 * 1024;
/// As many descriptors as one message may carry: a session's namespaces are the most.
const DESCRIPTORS: usize = 250;

/// The first byte of a packet says where its payload is.
const IN_PACKET: u8 = 0;
const IN_MEMFD: u8 = 1;

/// A pair of connected, non-blocking ends.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), SandboxError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).during(Step::Send)
}

/// A message as it goes over the wire, so that it can wait in a queue.
#[derive(Debug)]
pub(crate) struct Packet {
    bytes: Vec<u8>,
    memfd: Option<OwnedFd>,
}

impl Packet {
    pub(crate) fn new(message: &impl Serialize) -> Result<Self, SandboxError> {
        let mut bytes = vec![IN_PACKET];
        serde_json::to_writer(&mut bytes, message).map_err(|_| SandboxError::Protocol)?;
        if bytes.len() <= INLINE {
            return Ok(Self { bytes, memfd: None });
        }
        let memfd = memfd_create("belljar-message", MemfdFlags::CLOEXEC).during(Step::Send)?;
        let mut file = File::from(memfd);
        file.write_all(&bytes[1..]).during(Step::Send)?;
        Ok(Self { bytes: vec![IN_MEMFD], memfd: Some(file.into()) })
    }

    /// Sends it with descriptors; `false` where the socket is full.
    pub(crate) fn try_send(
        &self,
        socket: BorrowedFd<'_>,
        fds: &[BorrowedFd<'_>],
    ) -> Result<bool, SandboxError> {
        let all: Vec<BorrowedFd<'_>> =
            self.memfd.iter().map(AsFd::as_fd).chain(fds.iter().copied()).collect();
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !all.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&all)) {
            return Err(SandboxError::Protocol);
        }
        match sendmsg(socket, &[IoSlice::new(&self.bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => Err(SandboxError::Gone),
            Err(errno) => Err(errno).during(Step::Send),
        }
    }
}

/// Sends a message, waiting while the socket is full. The other side always reads, so that is short.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    message: &impl Serialize,
    fds: &[BorrowedFd<'_>],
) -> Result<(), SandboxError> {
    let packet = Packet::new(message)?;
    while !packet.try_send(socket, fds)? {
        wait(socket, PollFlags::OUT)?;
    }
    Ok(())
}

/// Receives a message if one waits. The end of the connection is [`SandboxError::Gone`].
pub(crate) fn try_receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> Result<Option<(T, Vec<OwnedFd>)>, SandboxError> {
    let Some((message, fds)) = try_receive_apart(socket)? else { return Ok(None) };
    Ok(Some((message, fds?)))
}

/// A message, and its descriptors or why they have been lost.
pub(crate) type Apart<T> = (T, Result<Vec<OwnedFd>, SandboxError>);

/// The same for whoever has to answer a message even where its descriptors could not be taken in.
pub(crate) fn try_receive_apart<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> Result<Option<Apart<T>>, SandboxError> {
    let Some(length) = waiting(socket)? else { return Ok(None) };
    let mut bytes = vec![0; length];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC);
    let received = match received {
        Ok(received) => received,
        Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
        Err(Errno::CONNRESET | Errno::PIPE) => return Err(SandboxError::Gone),
        Err(errno) => return Err(errno).during(Step::Receive),
    };
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(SandboxError::Protocol);
    }
    // There is always room for as many as are ever sent: the kernel leaves some out where this process may not
    // have so many more.
    let lost = received.flags.contains(ReturnFlags::CTRUNC);
    let fds_or_why = |fds| if lost { Err(Errno::MFILE).during(Step::Receive) } else { Ok(fds) };
    let message = match bytes[..received.bytes].split_first() {
        None => return Err(SandboxError::Gone),
        Some((&IN_PACKET, payload)) => serde_json::from_slice(payload),
        Some((&IN_MEMFD, [])) if lost || !fds.is_empty() => {
            fds = fds_or_why(fds)?;
            let mut file = File::from(fds.remove(0));
            let mut payload = Vec::new();
            file.rewind().during(Step::Receive)?;
            file.read_to_end(&mut payload).during(Step::Receive)?;
            serde_json::from_slice(&payload)
        }
        Some(_) => return Err(SandboxError::Protocol),
    };
    message.map(|message| Some((message, fds_or_why(fds)))).map_err(|_| SandboxError::Protocol)
}

/// How long the next packet is, if one waits. Memory for the longest one would be cleared for each of the small ones
/// that messages are.
fn waiting(socket: BorrowedFd<'_>) -> Result<Option<usize>, SandboxError> {
    let nothing: &mut [u8] = &mut [];
    match recv(socket, nothing, RecvFlags::PEEK | RecvFlags::TRUNC) {
        Ok((_, length)) => Ok(Some(length.min(INLINE))),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(Errno::CONNRESET | Errno::PIPE) => Err(SandboxError::Gone),
        Err(errno) => Err(errno).during(Step::Receive),
    }
}

/// Receives a message, waiting for it.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> Result<(T, Vec<OwnedFd>), SandboxError> {
    loop {
        if let Some(received) = try_receive(socket)? {
            return Ok(received);
        }
        wait(socket, PollFlags::IN)?;
    }
}

fn wait(socket: BorrowedFd<'_>, events: PollFlags) -> Result<(), SandboxError> {
    match poll(&mut [PollFd::from_borrowed_fd(socket, events)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno).during(Step::Wait),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_any_size_come_whole_and_with_their_descriptors() {
        let (one, other) = pair().unwrap();
        for length in [0, 100, INLINE - 3, INLINE - 2, 5 * INLINE] {
            let sent = "x".repeat(length);
            send(one.as_fd(), &sent, &[other.as_fd(), one.as_fd()]).unwrap();
            let (received, fds) = try_receive::<String>(other.as_fd()).unwrap().unwrap();
            assert_eq!((received.len(), fds.len()), (length, 2));
        }
        assert!(try_receive::<String>(other.as_fd()).unwrap().is_none());
    }

    #[test]
    fn the_end_of_a_connection_is_told_after_what_was_said() {
        let (one, other) = pair().unwrap();
        send(one.as_fd(), &17, &[]).unwrap();
        drop(one);
        assert_eq!(receive::<i32>(other.as_fd()).unwrap().0, 17);
        assert_eq!(receive::<i32>(other.as_fd()).unwrap_err(), SandboxError::Gone);
        assert_eq!(send(other.as_fd(), &17, &[]), Err(SandboxError::Gone));
    }

    #[test]
    fn a_full_socket_is_no_error() {
        let (one, _other) = pair().unwrap();
        let packet = Packet::new(&"x".repeat(1000)).unwrap();
        while packet.try_send(one.as_fd(), &[]).unwrap() {}
    }

    #[test]
    fn nonsense_is_refused() {
        let (one, other) = pair().unwrap();
        send(one.as_fd(), &"text", &[]).unwrap();
        assert_eq!(receive::<i32>(other.as_fd()).unwrap_err(), SandboxError::Protocol);
    }
}
