//! The zygote's slots: made ahead by the keeper, leased to sessions, given back to be proved clean.
//!
//! Nothing of a lease takes long: what does is the keeper's, a process of its own, so that launches never wait
//! behind the making, the proof or the end of a network.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::channel;
use crate::error::{During as _, SandboxError, Step};
use crate::keeper::{self, Answer, Order};
use crate::proof::Proof;
use crate::slot::Slot;
use crate::spec::NetworkSpec;

/// Slots that are under way are waited for this long, before a session makes its own network. What keeps the
/// keeper from its work for longer than a moment, the network lock, would keep us as well.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// The way to the keeper, where there is one.
    keeper: Option<OwnedFd>,
    shelves: Vec<Shelf>,
    leases: Vec<Lease>,
}

/// Slots of one shape.
#[derive(Debug)]
struct Shelf {
    network: NetworkSpec,
    ready: Vec<Kept>,
    /// How many are with the keeper, and worth waiting for: being made, or being proved clean.
    under_way: usize,
}

/// A slot that the keeper knows by its number.
#[derive(Debug)]
pub(crate) struct Kept {
    shelf: usize,
    number: u64,
    pub(crate) slot: Slot,
}

#[derive(Debug)]
struct Lease {
    kept: Kept,
    /// Of the session's init: when it is dead, so is every process of the session.
    init: OwnedFd,
}

impl Pool {
    /// Has slots made ahead, and kept. What is asked for the same shape later adds up.
    pub(crate) fn prepare(
        &mut self,
        network: NetworkSpec,
        count: usize,
        proof: Proof,
        home: BorrowedFd<'_>,
    ) -> Result<(), SandboxError> {
        if self.keeper.is_none() {
            self.keeper = Some(keeper::start(home)?);
            self.shelves.clear();
        }
        let shelf = self.shelf(&network).unwrap_or_else(|| {
            self.shelves.push(Shelf { network: network.clone(), ready: Vec::new(), under_way: 0 });
            self.shelves.len() - 1
        });
        self.shelves[shelf].under_way += count;
        self.tell(&Order::Make { shelf, network, count, proof });
        Ok(())
    }

    /// A clean slot of this shape, where such are kept.
    pub(crate) fn lease(&mut self, network: &NetworkSpec) -> Option<Kept> {
        let shelf = self.shelf(network)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.tend();
            // Everything is forgotten where the keeper has gone.
            if let Some(kept) = self.shelves.get_mut(shelf)?.ready.pop() {
                return Some(kept);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if self.shelves.get(shelf)?.under_way == 0
                || left.is_zero()
                || self.wait(None, Some(left)).is_err()
            {
                return None;
            }
        }
    }

    /// Takes a slot back as soon as this init is dead.
    pub(crate) fn lend(&mut self, kept: Kept, init: OwnedFd) {
        self.leases.push(Lease { kept, init });
    }

    /// Waits until there is something to do, here or at another descriptor.
    pub(crate) fn wait(
        &self,
        other: Option<BorrowedFd<'_>>,
        at_most: Option<Duration>,
    ) -> Result<(), SandboxError> {
        let inits = self.leases.iter().map(|lease| lease.init.as_fd());
        let fds = other.into_iter().chain(self.keeper.as_ref().map(OwnedFd::as_fd)).chain(inits);
        let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let timeout = at_most.and_then(|at_most| Timespec::try_from(at_most).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno).during(Step::Wait),
        }
    }

    /// Gives back what sessions have left, and takes what is ready.
    pub(crate) fn tend(&mut self) {
        for index in (0..self.leases.len()).rev() {
            if has_ended(&self.leases[index].init) {
                let Lease { kept, .. } = self.leases.swap_remove(index);
                if let Some(shelf) = self.shelves.get_mut(kept.shelf) {
                    shelf.under_way += 1;
                }
                self.tell(&Order::Prove { shelf: kept.shelf, number: kept.number });
            }
        }
        while let Some(keeper) = &self.keeper {
            match self.hear(keeper.as_fd()) {
                Ok(Some((answer, kept))) => {
                    if let Some(shelf) = self.shelves.get_mut(answer.shelf) {
                        shelf.under_way = shelf.under_way.saturating_sub(usize::from(answer.awaited));
                        shelf.ready.extend(kept);
                    }
                }
                Ok(None) => return,
                Err(_) => self.forget(),
            }
        }
    }

    /// What the keeper says, if it does, and the slot that comes with it.
    fn hear(&self, keeper: BorrowedFd<'_>) -> Result<Option<(Answer, Option<Kept>)>, SandboxError> {
        let Some((answer, _)) = channel::try_receive::<Answer>(keeper)? else { return Ok(None) };
        let Answer { shelf, clean: Some(number), .. } = answer else { return Ok(Some((answer, None))) };
        let network = &self.shelves.get(shelf).ok_or(SandboxError::Protocol)?.network;
        let slot = Slot::receive(keeper, network)?;
        Ok(Some((answer, Some(Kept { shelf, number, slot }))))
    }

    fn tell(&mut self, order: &Order) {
        let Some(keeper) = &self.keeper else { return };
        if channel::send(keeper.as_fd(), order, &[]).is_err() {
            self.forget();
        }
    }

    /// The keeper is gone: sessions make their own networks.
    fn forget(&mut self) {
        self.keeper = None;
        self.shelves.clear();
    }

    fn shelf(&self, network: &NetworkSpec) -> Option<usize> {
        self.shelves.iter().position(|shelf| shelf.network == *network)
    }
}

fn has_ended(init: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(init, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}
