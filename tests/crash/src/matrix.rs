//! The matrix: SIGKILL of every kind of our processes, or the failure of one of their calls, at moments drawn
//! uniformly over what they do, and not over time, most of which they spend idle.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::calls;
use crate::moment::{Act, Chance, Counts, Kind, Moment};
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
    (Carrier::ALL, Kind::Init),
    (Carrier::ALL, Kind::Starter),
];

#[derive(Debug, Default)]
struct Tally {
    done: u64,
    missed: u64,
    by_victim: BTreeMap<String, u64>,
    by_code: BTreeMap<i32, u64>,
    by_state: BTreeMap<(String, String), u64>,
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
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..args.jobs {
            scope.spawn(|| worker(args, seed, &profiles, &next, &tally));
        }
    });
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tell(&tally, began);
    tally.failures.is_empty() && tally.done >= args.moments
}

fn worker(
    args: &Args,
    seed: u64,
    profiles: &BTreeMap<Carrier, Counts>,
    next: &AtomicU64,
    tally: &Mutex<Tally>,
) {
    let mut scene = Scene::new();
    let locked = || tally.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        {
            let tally = locked();
            // A moment that did not come this time is replaced by another; it must not go on for ever.
            if tally.done >= args.moments || tally.failures.len() >= 10 || tally.missed > args.moments {
                return;
            }
        }
        let number = next.fetch_add(1, Ordering::Relaxed);
        let mut chance = Chance::new(seed.wrapping_add(number.wrapping_mul(0x5851_f42d_4c95_7f2d)));
        let (carrier, act) = draw(args.what, number, &mut chance, profiles);
        let played = catch_unwind(AssertUnwindSafe(|| scene.play(carrier, act)));
        let played = played.unwrap_or_else(|panic| Err(crate::panic_text(&*panic)));
        match played {
            Ok(played) => {
                let mut tally = locked();
                let Some(struck) = played.struck else {
                    tally.missed += 1;
                    continue;
                };
                tally.done += 1;
                let victim = match act {
                    Act::Kill { kind, moment } => {
                        let by = if matches!(moment, Moment::Call(_)) { "call" } else { "event" };
                        format!("{kind:?} of {carrier:?} at a {by}")
                    }
                    Act::Fail { kind, errno, .. } => {
                        format!("{kind:?} of {carrier:?}, {:?}", nix::errno::Errno::from_raw(errno))
                    }
                    Act::Watch => continue,
                };
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

/// A moment, uniformly over the kinds of victims and, for each, over what they do.
fn draw(
    what: What,
    number: u64,
    chance: &mut Chance,
    profiles: &BTreeMap<Carrier, Counts>,
) -> (Carrier, Act) {
    let place = usize::try_from(number).expect("is small") % VICTIMS.len();
    let (carriers, kind) = VICTIMS[place];
    let carrier = chance.one_of(carriers);
    let counts = &profiles[&carrier];
    match what {
        // One in four at an event: there are far fewer of them than of calls.
        What::Kill if chance.below(4) == 0 => {
            (carrier, Act::Kill { kind, moment: Moment::Event(1 + chance.below(counts.events)) })
        }
        What::Kill => {
            let calls = counts.calls.get(&kind).copied().unwrap_or(1);
            (carrier, Act::Kill { kind, moment: Moment::Call(1 + chance.below(calls)) })
        }
        What::Fail => {
            let errno = chance.one_of(calls::ERRORS);
            let calls = counts.failable.get(&kind).and_then(|by| by.get(&errno)).copied().unwrap_or(1);
            (carrier, Act::Fail { kind, errno, call: 1 + chance.below(calls) })
        }
    }
}

fn tell(tally: &Tally, began: Instant) {
    let took = began.elapsed().as_secs_f64();
    say("\nby victim");
    for (victim, count) in &tally.by_victim {
        say(&format!("{count:6}  {victim}"));
    }
    say(&format!("\nby the exit code of the command: {:?}", tally.by_code));
    say("\nby the session's state and last event at that moment");
    let most = tally.by_state.values().copied().max().unwrap_or(1);
    for ((state, step), count) in &tally.by_state {
        let bar = "#".repeat(usize::try_from((count * 40).div_ceil(most)).unwrap_or(0));
        say(&format!("{count:6}  {state:<10} {step:<20} {bar}"));
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
