//! The words that the tracer and whoever drives it share: which process, which moment, what is done to it.

use std::collections::{BTreeMap, BTreeSet};
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
    /// The first child of a host process, made before its first thread.
    Zygote,
    /// Any other child of a host process: it tries what the machine can do.
    Probe,
    /// The zygote's own child, which keeps networks for sessions to come.
    Keeper,
    /// pid 1 of a session.
    Init,
    /// A child of an init on its way to its program.
    Starter,
}

impl Kind {
    /// Whether one of the kind may be called so: by its own name, or still by that of the process which it is a
    /// copy of.
    pub(crate) fn may_be_called(self, name: &str) -> bool {
        match name {
            "belljar-zygote" => matches!(self, Self::Zygote | Self::Keeper | Self::Init),
            "belljar-slots" => self == Self::Keeper,
            "belljar-init" => matches!(self, Self::Init | Self::Starter),
            _ => !matches!(self, Self::Keeper | Self::Init),
        }
    }
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// There is none yet.
    None,
    /// It has a directory.
    Created,
    /// And a place for artifacts.
    Registered,
    /// Its timeline is there.
    Sealed,
    Starting,
    Ready,
    Degraded,
    Stopping,
    Ended,
    /// What was there has been removed.
    Removed,
}

/// When something is done: at a system call of a kind of process, or when an event has been written. All are
/// counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Moment {
    /// Before this system call of all that processes of the kind make.
    Call(u64),
    /// Before this one of those that they make while the session is in this state.
    CallIn { state: State, number: u64 },
    /// Before this call of the host process, of those that it makes in this state while there is one of the kind:
    /// whoever sleeps then makes no calls to count by.
    Beside { state: State, number: u64 },
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
    /// The call is not made and fails with this number, counted over the calls of the kind that may fail so, in
    /// one state or in all.
    Fail {
        kind: Kind,
        errno: i32,
        call: u64,
        #[serde(default)]
        state: Option<State>,
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
    /// What it calls itself.
    pub(crate) name: String,
    /// Whether it is the command itself.
    pub(crate) is_command: bool,
    /// The number of the system call that was about to be made.
    pub(crate) call: Option<i64>,
    /// The session's state by its timeline, or how far it had come where there is none.
    pub(crate) state: State,
    /// The kind of the last event.
    pub(crate) step: String,
    /// Processes of the session below the victim in that moment.
    pub(crate) below: Vec<i32>,
}

/// How many moments there were.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) calls: BTreeMap<Kind, u64>,
    pub(crate) calls_in: BTreeMap<Kind, BTreeMap<State, u64>>,
    /// The calls of the host process while there was one of the kind.
    pub(crate) beside: BTreeMap<Kind, BTreeMap<State, u64>>,
    pub(crate) events: u64,
    /// By the errno, the calls that may fail so.
    pub(crate) failable: BTreeMap<Kind, BTreeMap<i32, u64>>,
    pub(crate) failable_in: BTreeMap<Kind, BTreeMap<i32, BTreeMap<State, u64>>>,
}

impl Counts {
    /// A moment for a kind of process: half of them uniformly over its calls and the session's events, half
    /// uniformly over the session's states first, most of which are short.
    pub(crate) fn moment(&self, kind: Kind, chance: &mut Chance) -> Moment {
        match chance.below(4) {
            0 => Moment::Event(1 + chance.below(self.events)),
            1 => Moment::Call(1 + chance.below(self.calls.get(&kind).copied().unwrap_or(1))),
            _ => {
                let nothing = BTreeMap::new();
                let own = self.calls_in.get(&kind).unwrap_or(&nothing);
                let beside = self.beside.get(&kind).unwrap_or(&nothing);
                let states: BTreeSet<State> = own.keys().chain(beside.keys()).copied().collect();
                let states: Vec<State> = states.into_iter().collect();
                if states.is_empty() {
                    return Moment::Call(1);
                }
                let state = chance.one_of(&states);
                match (own.get(&state), beside.get(&state)) {
                    (Some(&calls), other) if other.is_none() || chance.below(2) == 0 => {
                        Moment::CallIn { state, number: 1 + chance.below(calls) }
                    }
                    (_, calls) => {
                        Moment::Beside { state, number: 1 + chance.below(calls.copied().unwrap_or(1)) }
                    }
                }
            }
        }
    }

    /// A call of a kind of process to fail with this, drawn in the same way.
    pub(crate) fn failing_call(&self, kind: Kind, errno: i32, chance: &mut Chance) -> Act {
        let by_state = self.failable_in.get(&kind).and_then(|by| by.get(&errno));
        if let Some(by_state) = by_state
            && chance.below(2) == 0
        {
            let states: Vec<State> = by_state.keys().copied().collect();
            let state = chance.one_of(&states);
            return Act::Fail { kind, errno, call: 1 + chance.below(by_state[&state]), state: Some(state) };
        }
        let calls = self.failable.get(&kind).and_then(|by| by.get(&errno)).copied().unwrap_or(1);
        Act::Fail { kind, errno, call: 1 + chance.below(calls), state: None }
    }
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
    use super::{Chance, Counts, Kind, Moment, State};

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

    #[test]
    fn moments_reach_short_states_and_those_who_sleep_in_them() {
        let mut counts = Counts { events: 10, ..Counts::default() };
        counts.calls.insert(Kind::Init, 100_000);
        counts.calls_in.entry(Kind::Init).or_default().insert(State::Ready, 100_000);
        counts.beside.entry(Kind::Init).or_default().insert(State::Stopping, 3);
        let mut chance = Chance::new(2);
        let mut stopping = 0;
        for _ in 0..1000 {
            match counts.moment(Kind::Init, &mut chance) {
                Moment::Event(number) => assert!((1..=10).contains(&number)),
                Moment::Call(number) => assert!((1..=100_000).contains(&number)),
                Moment::CallIn { state, .. } => assert_eq!(state, State::Ready),
                Moment::Beside { state, number } => {
                    assert!(state == State::Stopping && (1..=3).contains(&number));
                    stopping += 1;
                }
            }
        }
        assert!((200..300).contains(&stopping), "{stopping}");
    }
}
