//! What an init or a warden says to its host, kept until the host takes it: neither ever waits for a host that does
//! not listen.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use crate::channel::Packet;
use crate::error::SandboxError;
use crate::protocol::{Answer, Message};

#[derive(Debug)]
pub(crate) struct Outbox<'a> {
    control: BorrowedFd<'a>,
    waiting: VecDeque<(Packet, Option<OwnedFd>)>,
}

impl<'a> Outbox<'a> {
    pub(crate) fn new(control: BorrowedFd<'a>) -> Self {
        Self { control, waiting: VecDeque::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Answers a request.
    pub(crate) fn reply(
        &mut self,
        id: u64,
        result: Result<Answer, SandboxError>,
        fd: Option<OwnedFd>,
    ) -> Result<(), SandboxError> {
        self.tell(&Message::Reply { id, result }, fd)
    }

    pub(crate) fn tell(&mut self, message: &Message, fd: Option<OwnedFd>) -> Result<(), SandboxError> {
        let packet = Packet::new(message).or_else(|error| match message {
            // An answer that is too big for what there is.
            Message::Reply { id, .. } => Packet::new(&Message::Reply { id: *id, result: Err(error) }),
            _ => Err(error),
        })?;
        self.waiting.push_back((packet, fd));
        self.flush()
    }

    /// Sends what the host takes now.
    pub(crate) fn flush(&mut self) -> Result<(), SandboxError> {
        while let Some((packet, fd)) = self.waiting.front() {
            let fds: Vec<BorrowedFd<'_>> = fd.iter().map(OwnedFd::as_fd).collect();
            if !packet.try_send(self.control, &fds)? {
                break;
            }
            self.waiting.pop_front();
        }
        Ok(())
    }
}
