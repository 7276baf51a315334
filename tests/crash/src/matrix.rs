//! The matrix: SIGKILL of every kind of our processes, or the failure of one of their calls, at moments drawn
//! uniformly over what they do, and not over time, most of which they spend idle.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::calls;
use crate::moment::{Act, Chance, Counts, Kind, Moment, State};
use crate::say;
use crate::scene::{Carrier, Scene};

/// What is done at each moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum What {
    /// SIGKILL.
    Kill,
    /// One system call fails with ENOMEM, EMFILE, ENOSPC or EIO.
    Fail,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, value_enum, default_value = "kill")]
    what: What,
    /// How many moments
    #[arg(long, default_value_t = 300)]
    moments: u64,
    /// How many at once
    #[arg(long, default_value_t = 2)]
    jobs: u64,
    /// As many of them as there is time for
    #[arg(long)]
    seconds: Option<u64>,
    /// Where the numbers start; told in the output, to draw the same moments again
    #[arg(long)]
    seed: Option<u64>,
    /// Exactly this, as a failure was told: CARRIER and the act, both as JSON
    #[arg(long, num_args = 2)]
    only: Option<Vec<String>>,
}

/// The processes that are killed, each as often as the others, and what carries their session.
const VICTIMS: &[(&[Carrier], Kind)] = &[
    (&[Carrier::Up], Kind::Client),
    (&[Carrier::Up], Kind::Host),
    (&[Carrier::Run], Kind::Host),
    (&[Carrier::Test], Kind::Host),
    (Carrier::ALL, Kind::Zygote),
    (&[Carrier::Test], Kind::Keeper),
    (Carrier::ALL, Kind::Init),
    (Carrier::ALL, Kind::Starter),
];

#[derive(Debug, Default)]
struct Tally {
    done: u64,
    missed: u64,
    /// By the victims' place: moments that are done or under way, and drawn.
    begun: [u64; VICTIMS.len()],
    drawn: [u64; VICTIMS.len()],
    by_victim: BTreeMap<String, u64>,
    by_code: BTreeMap<i32, u64>,
    by_state: BTreeMap<(State, String), u64>,
    by_kind: BTreeMap<Kind, BTreeMap<State, u64>>,
    failures: Vec<String>,
}

pub(crate) fn run(args: &Args) -> bool {
    if let Some(only) = &args.only {
        let carrier = serde_json::from_str(&only[0]).expect("a carrier");
        let act = serde_json::from_str(&only[1]).expect("an act");
        for _ in 0..args.moments {
            match Scene::new().play(carrier, act) {
                Ok(played) => say(&format!("well: {:?}", played.struck)),
                Err(why) => {
                    say(&why);
                    return false;
                }
            }
        }
        return true;
    }
    let seed = args.seed.unwrap_or_else(crate::fresh_seed);
    let began = Instant::now();
    let mut profiles = BTreeMap::new();
    let scene = Scene::new();
    for &carrier in Carrier::ALL {
        match scene.play(carrier, Act::Watch) {
            Ok(played) => {
                say(&format!(
                    "{carrier:?}: {} events, system calls {:?}",
                    played.counts.events, played.counts.calls
                ));
                profiles.insert(carrier, played.counts);
            }
            Err(why) => {
                say(&format!("FAILED with nothing done to it: {carrier:?}: {why}"));
                return false;
            }
        }
    }
    drop(scene);
    say(&format!("{} moments, --seed {seed}", args.moments));
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..args.jobs {
            scope.spawn(|| worker(args, seed, began, &profiles, &tally));
        }
    });
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tell(&tally, began);
    tally.failures.is_empty() && (tally.done >= args.moments || args.seconds.is_some())
}

fn worker(
    args: &Args,
    seed: u64,
    began: Instant,
    profiles: &BTreeMap<Carrier, Counts>,
    tally: &Mutex<Tally>,
) {
    let mut scene = Scene::new();
    let locked = || tally.lock().unwrap_or_else(PoisonError::into_inner);
    while args.seconds.is_none_or(|seconds| began.elapsed() < Duration::from_secs(seconds)) {
        let (place, number) = {
            let mut tally = locked();
            let begun: u64 = tally.begun.iter().sum();
            // A moment that did not come this time is replaced by another; it must not go on for ever.
            if begun >= args.moments || tally.failures.len() >= 10 || tally.missed > args.moments {
                return;
            }
            // Whoever has had the fewest, so that each has as many in the end.
            let place =
                (0..VICTIMS.len()).min_by_key(|&place| tally.begun[place]).expect("there are victims");
            tally.begun[place] += 1;
            tally.drawn[place] += 1;
            (place, tally.drawn[place])
        };
        let which = number * 64 + u64::try_from(place).expect("is small");
        let mut chance = Chance::new(seed.wrapping_add(which.wrapping_mul(0x5851_f42d_4c95_7f2d)));
        let (carrier, act) = draw(args.what, place, &mut chance, profiles);
        belljar_e2e::bury_orphans();
        let played = catch_unwind(AssertUnwindSafe(|| scene.play(carrier, act)));
        let played = played.unwrap_or_else(|panic| Err(crate::panic_text(&*panic)));
        match played {
            Ok(played) => {
                let mut tally = locked();
                let Some(struck) = played.struck else {
                    tally.missed += 1;
                    tally.begun[place] -= 1;
                    continue;
                };
                tally.done += 1;
                let (kind, how) = match act {
                    Act::Kill { kind, moment: Moment::Event(_) } => (kind, "at an event".to_owned()),
                    Act::Kill { kind, moment: Moment::Beside { .. } } => {
                        (kind, "at a call of its host".to_owned())
                    }
                    Act::Kill { kind, .. } => (kind, "at a call".to_owned()),
                    Act::Fail { kind, errno, .. } => {
                        (kind, format!("{:?}", nix::errno::Errno::from_raw(errno)))
                    }
                    Act::Watch => continue,
                };
                let victim = format!("{kind:?} of {carrier:?}, {how}");
                *tally.by_kind.entry(kind).or_default().entry(struck.state).or_default() += 1;
                *tally.by_code.entry(played.code).or_default() += 1;
                *tally.by_victim.entry(victim).or_default() += 1;
                *tally.by_state.entry((struck.state, struck.step)).or_default() += 1;
                if tally.done % 50 == 0 {
                    say(&format!("{} done", tally.done));
                }
            }
            Err(why) => {
                let carrier = serde_json::to_string(&carrier).unwrap_or_default();
                let act = serde_json::to_string(&act).unwrap_or_default();
                let text = format!("FAILED: --only '{carrier}' '{act}'\n{why}");
                say(&text);
                locked().failures.push(text);
                // Whatever is wrong in the old one is not to be found again in the next moment.
                let old = std::mem::replace(&mut scene, Scene::new());
                let _ = catch_unwind(AssertUnwindSafe(move || drop(old)));
            }
        }
    }
}

/// A moment for one of the victims.
fn draw(
    what: What,
    place: usize,
    chance: &mut Chance,
    profiles: &BTreeMap<Carrier, Counts>,
) -> (Carrier, Act) {
    let (carriers, kind) = VICTIMS[place];
    let carrier = chance.one_of(carriers);
    let counts = &profiles[&carrier];
    let act = match what {
        What::Kill => Act::Kill { kind, moment: counts.moment(kind, chance) },
        What::Fail => {
            let errno = chance.one_of(calls::ERRORS);
            counts.failing_call(kind, errno, chance)
        }
    };
    (carrier, act)
}

fn tell(tally: &Tally, began: Instant) {
    let took = began.elapsed().as_secs_f64();
    say("\nby victim");
    for (victim, count) in &tally.by_victim {
        say(&format!("{count:6}  {victim}"));
    }
    say(&format!("\nby the exit code of the command: {:?}", tally.by_code));
    say("\nby the session's state at that moment");
    let states: BTreeSet<State> = tally.by_kind.values().flat_map(BTreeMap::keys).copied().collect();
    let row = |first: &str, rest: Vec<String>| {
        let rest: Vec<String> = rest.iter().map(|cell| format!("{cell:>11}")).collect();
        say(&format!("{first:>11}{}", rest.concat()));
    };
    row("", states.iter().map(|state| format!("{state:?}")).collect());
    for (kind, by_state) in &tally.by_kind {
        let counts = states.iter().map(|state| by_state.get(state).copied().unwrap_or(0).to_string());
        row(&format!("{kind:?}"), counts.collect());
    }
    say("\nby its last event, too");
    let most = tally.by_state.values().copied().max().unwrap_or(1);
    for ((state, step), count) in &tally.by_state {
        let bar = "#".repeat(usize::try_from((count * 40).div_ceil(most)).unwrap_or(0));
        say(&format!("{count:6}  {:<10} {step:<20} {bar}", format!("{state:?}")));
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = tally.done as f64 / took;
    say(&format!(
        "\n{} moments, {} drawn that did not come, {} failures, {took:.0} s, {rate:.1} moments a second",
        tally.done,
        tally.missed,
        tally.failures.len()
    ));
}
