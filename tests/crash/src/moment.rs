//! The words that the tracer and whoever drives it share: which process, which moment, what is done to it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a process of ours is to its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// `up`, as long as it waits.
    Client,
    /// The host process: `__host`, `run` or `test`.
    Host,
    Zygote,
    /// A short-lived child of the zygote.
    Helper,
    /// pid 1 of a session.
    Init,
    /// A child of an init on its way to its program.
    Starter,
}

/// When something is done: at a system call of a kind of process, or when an event has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Moment {
    /// Before this system call of all that processes of the kind make, counted from 1.
    Call(u64),
    /// When so many lines of timelines are on disk.
    Event(u64),
}

/// What the tracer does besides counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Act {
    Watch,
    /// SIGKILL.
    Kill {
        kind: Kind,
        moment: Moment,
    },
    /// The call is not made and fails with this number, counted over the calls of the kind that may fail so.
    Fail {
        kind: Kind,
        errno: i32,
        call: u64,
    },
}

/// All that the tracer is told, beside the command.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// What the command itself is.
    pub(crate) root: Kind,
    pub(crate) state_dir: PathBuf,
    /// The belljar program: whatever else is executed is let go.
    pub(crate) program: PathBuf,
    /// Where the command's output goes.
    pub(crate) stdout: PathBuf,
    pub(crate) stderr: PathBuf,
    pub(crate) act: Act,
}

/// What the tracer says, a line each.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Report {
    /// The act is done: told before its consequences can be seen.
    Struck(Struck),
    /// The command has ended, with the code that a shell would tell.
    Ended(i32),
    /// Nothing is left to trace.
    Counted(Counts),
}

/// Where an act struck.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Struck {
    pub(crate) pid: i32,
    /// Whether it is the command itself.
    pub(crate) is_command: bool,
    /// The number of the system call that was about to be made.
    pub(crate) call: Option<i64>,
    /// The session's state by its timeline, or how far it had come where there is none yet.
    pub(crate) state: String,
    /// The kind of the last event.
    pub(crate) step: String,
    /// Processes of the session below the victim in that moment.
    pub(crate) below: Vec<i32>,
}

/// How many moments there were.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) calls: BTreeMap<Kind, u64>,
    pub(crate) events: u64,
    /// By the errno, the calls that may fail so.
    pub(crate) failable: BTreeMap<Kind, BTreeMap<i32, u64>>,
}

/// Numbers as good as chance, from a seed (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of 0..`end`; 0 where that is empty.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next() % end }
    }

    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        let count = u64::try_from(all.len()).expect("a length");
        all[usize::try_from(self.below(count)).expect("below a length")]
    }
}

#[cfg(test)]
mod tests {
    use super::Chance;

    #[test]
    fn chance_reaches_everything_and_repeats_itself_from_its_seed() {
        let mut hit = [0; 7];
        let mut chance = Chance::new(1);
        for _ in 0..7000 {
            hit[usize::try_from(chance.below(7)).unwrap()] += 1;
        }
        assert!(hit.iter().all(|&count| (800..1200).contains(&count)), "{hit:?}");
        assert_eq!(Chance::new(5).next(), Chance::new(5).next());
    }
}
