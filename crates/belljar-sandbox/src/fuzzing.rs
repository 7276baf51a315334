//! Doors for the fuzz targets to what reads messages and is private otherwise. No part of the interface.

use std::os::fd::{BorrowedFd, OwnedFd};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::channel;
use crate::error::SandboxError;
use crate::host::Init;

/// The next message of a socket and its descriptors, as a session's init and its host process read them.
pub fn try_receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> Result<Option<(T, Vec<OwnedFd>)>, SandboxError> {
    channel::try_receive(socket)
}

/// Sends a message as they send them.
pub fn send(
    socket: BorrowedFd<'_>,
    message: &impl Serialize,
    fds: &[BorrowedFd<'_>],
) -> Result<(), SandboxError> {
    channel::send(socket, message, fds)
}

/// A connection to something that plays a session's init at the other end of `control`. It is killed through
/// `pidfd` as the real one is.
pub fn init(control: OwnedFd, pidfd: OwnedFd) -> Init {
    Init::new(control, pidfd, 0)
}
