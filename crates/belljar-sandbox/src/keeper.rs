//! The keeper of slots: a child of the zygote that makes them ahead, proves them clean between two tenants, and
//! lets go of those that it cannot prove clean.
//!
//! The end of a bridged network keeps the kernel's network lock from everybody for tens of milliseconds, so what
//! is let go of waits until nothing else has been asked for a while.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;
use serde::{Deserialize, Serialize};

use crate::channel;
use crate::error::{During as _, SandboxError, Step};
use crate::proof::{Proof, ProofStep, Provable};
use crate::slot::Slot;
use crate::spec::NetworkSpec;
use crate::sys;
use crate::zygote::tie_to_parent;

/// What the zygote asks for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    Make {
        shelf: usize,
        network: NetworkSpec,
        count: usize,
        proof: Proof,
    },
    /// Every process of its last tenant is dead.
    Prove {
        shelf: usize,
        number: u64,
    },
}

/// What becomes of a slot that was asked for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) shelf: usize,
    /// The number of one that is clean; it is handed over behind this.
    pub(crate) clean: Option<u64>,
    /// One less is to be waited for.
    pub(crate) awaited: bool,
}

/// Descriptors that were passed out of a session may take this long to be closed: our own host process closes
/// its sockets when it has heard of the end.
const CLOSES_WITHIN: Duration = Duration::from_millis(250);
/// Nobody is to wait longer than this for it.
const AWAITED: Duration = Duration::from_millis(40);
/// How long to wait before the second look; then twice as long, and so on.
const PAUSE: Duration = Duration::from_micros(500);
/// Nothing has been asked for this long: nobody is waiting for the network lock.
const IDLE: Duration = Duration::from_secs(1);
/// More than this are not kept for an idle time to come.
const MOST_REFUSED: usize = 16;

/// Starts the keeper, and returns the way to it. It dies with us.
pub(crate) fn start(home: BorrowedFd<'_>) -> Result<OwnedFd, SandboxError> {
    let (ours, theirs) = channel::pair()?;
    sys::spawn(0, || {
        let ready = tie_to_parent()
            .and_then(|()| sys::close_all_but(&[theirs.as_fd(), home]).during(Step::CloseDescriptors))
            .and_then(|()| rustix::thread::set_name(c"belljar-slots").during(Step::NameProcess));
        let keeper = Keeper {
            zygote: theirs.as_fd(),
            home,
            shapes: Vec::new(),
            wanted: Vec::new(),
            slots: Vec::new(),
            soiled: Vec::new(),
            refused: Vec::new(),
            next: 0,
        };
        // Without the zygote there is nobody to tell.
        i32::from(ready.and_then(|()| keeper.serve()).is_err())
    })
    .during(Step::Fork)?;
    Ok(ours)
}

struct Keeper<'a> {
    zygote: BorrowedFd<'a>,
    /// Where to be in between: elsewhere we would keep a network alive.
    home: BorrowedFd<'a>,
    /// By shelf.
    shapes: Vec<(usize, NetworkSpec, Proof)>,
    /// Shelves that want a slot, and whether it is waited for.
    wanted: Vec<(usize, bool)>,
    slots: Vec<(u64, Provable)>,
    soiled: Vec<Soiled>,
    /// They could not be proved clean.
    refused: Vec<Provable>,
    next: u64,
}

/// A slot that has to be proved clean.
#[derive(Debug)]
struct Soiled {
    shelf: usize,
    number: u64,
    since: Instant,
    again: Instant,
    pause: Duration,
    awaited: bool,
}

impl Keeper<'_> {
    fn serve(mut self) -> Result<(), SandboxError> {
        loop {
            let mut heard = false;
            while let Some((order, _)) = channel::try_receive::<Order>(self.zygote)? {
                self.take(order);
                heard = true;
            }
            let proved = self.prove_soiled()?;
            if heard || proved {
                continue;
            }
            if let Some((shelf, awaited)) = self.wanted.pop() {
                self.make(shelf, awaited)?;
                continue;
            }
            if !self.wait()? && self.soiled.is_empty() {
                // One at a time: whoever comes meanwhile waits for one end at most.
                self.refused.pop();
            }
        }
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Make { shelf, network, count, proof } => {
                self.shapes.retain(|(other, ..)| *other != shelf);
                self.shapes.push((shelf, network, proof));
                self.wanted.extend(std::iter::repeat_n((shelf, true), count));
            }
            Order::Prove { shelf, number } => {
                let now = Instant::now();
                self.soiled.push(Soiled {
                    shelf,
                    number,
                    since: now,
                    again: now,
                    pause: PAUSE,
                    awaited: true,
                });
            }
        }
    }

    fn make(&mut self, shelf: usize, awaited: bool) -> Result<(), SandboxError> {
        let Some((_, network, _)) = self.shapes.iter().find(|(other, ..)| *other == shelf) else {
            return Err(SandboxError::Protocol);
        };
        let made = Slot::build(network, self.home).and_then(|slot| Provable::new(slot, self.home));
        match made {
            Ok(slot) => {
                self.next += 1;
                self.slots.push((self.next, slot));
                self.hand_over(shelf, self.next, awaited)
            }
            Err(_) => self.tell(Answer { shelf, clean: None, awaited }),
        }
    }

    /// Whether there was anything to prove.
    fn prove_soiled(&mut self) -> Result<bool, SandboxError> {
        let now = Instant::now();
        let due = self.soiled.iter().position(|one| one.again <= now);
        let Some(mut soiled) = due.map(|due| self.soiled.swap_remove(due)) else { return Ok(false) };
        let Some(at) = self.slots.iter().position(|(number, _)| *number == soiled.number) else {
            return Err(SandboxError::Protocol);
        };
        let shape = self.shapes.iter().find(|(other, ..)| *other == soiled.shelf);
        let proof = shape.map_or(Proof::WHOLE, |(_, _, proof)| *proof);
        match self.slots[at].1.prove(proof) {
            Ok(None) => self.hand_over(soiled.shelf, soiled.number, soiled.awaited)?,
            // The host process closes the sockets that it had made inside, of published ports and of services of
            // the host. One that closes in the middle of a proof waits for stragglers from then on.
            Ok(Some(ProofStep::Sockets | ProofStep::TimeWait)) if soiled.since.elapsed() < CLOSES_WITHIN => {
                soiled.again = Instant::now() + soiled.pause;
                soiled.pause *= 2;
                if soiled.awaited && soiled.since.elapsed() > AWAITED {
                    soiled.awaited = false;
                    self.tell(Answer { shelf: soiled.shelf, clean: None, awaited: true })?;
                }
                self.soiled.push(soiled);
            }
            Ok(Some(_)) | Err(_) => {
                let (_, slot) = self.slots.swap_remove(at);
                self.refused.push(slot);
                if self.refused.len() > MOST_REFUSED {
                    self.refused.remove(0);
                }
                // Another one takes its place.
                self.wanted.push((soiled.shelf, soiled.awaited));
            }
        }
        Ok(true)
    }

    fn hand_over(&self, shelf: usize, number: u64, awaited: bool) -> Result<(), SandboxError> {
        let slot = self.slots.iter().find(|(other, _)| *other == number);
        let (_, slot) = slot.ok_or(SandboxError::Protocol)?;
        self.tell(Answer { shelf, clean: Some(number), awaited })?;
        slot.slot().hand_over(self.zygote)
    }

    fn tell(&self, answer: Answer) -> Result<(), SandboxError> {
        channel::send(self.zygote, &answer, &[])
    }

    /// Waits for the zygote or for the next look at what is soiled. Whether the zygote has something to say.
    fn wait(&self) -> Result<bool, SandboxError> {
        let next = self.soiled.iter().map(|one| one.again.saturating_duration_since(Instant::now())).min();
        let at_most = next.or((!self.refused.is_empty()).then_some(IDLE));
        let timeout = at_most.and_then(|at_most| Timespec::try_from(at_most).ok());
        match poll(&mut [PollFd::from_borrowed_fd(self.zygote, PollFlags::IN)], timeout.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(true),
            Err(errno) => Err(errno).during(Step::Wait),
        }
    }
}
