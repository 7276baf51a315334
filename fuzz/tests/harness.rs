//! Every target on stable Rust: the inputs that are kept, then new ones near to them for a while. What it finds
//! is written down as a file that cargo-fuzz and the next run of this harness take.
//!
//! `BELLJAR_FUZZ_SECONDS`: how long each target gets (0: only what is kept). `BELLJAR_FUZZ_SEED`: where the
//! random numbers start, to see the same inputs again.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use belljar_fuzz::mutate::{Random, mutate};
use belljar_fuzz::{Target, kept, targets};

/// How long a target gets where nobody says otherwise.
const SECONDS: u64 = 20;
/// An input that takes longer is a finding: nothing that belljar reads takes a hundredth of it.
const HANGS: Duration = Duration::from_mins(1);
/// What of the new inputs serves as a base for others.
const POOL: usize = 256;

/// Panics of any thread: those of servers reach nobody else.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test] fn $name() { fuzz(stringify!($name)); })*

        #[test]
        fn no_target_is_forgotten() {
            let all: Vec<_> = targets::ALL.iter().map(|target| target.name).collect();
            assert_eq!(all, [$(stringify!($name)),*]);
            let manifest = include_str!("../Cargo.toml");
            for name in all {
                assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
                assert!(!inputs(&kept(name)).is_empty(), "{name} has no seeds");
            }
        }
    };
}

targets! { stack reference recipe control frames init_protocol events logs names registry words }

fn fuzz(name: &str) {
    let target = *targets::ALL.iter().find(|target| target.name == name).expect("the macro names them all");
    note_panics();
    let seed = number("BELLJAR_FUZZ_SEED").unwrap_or_else(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::from(since.subsec_nanos()) ^ since.as_secs())
    });
    let time = Duration::from_secs(number("BELLJAR_FUZZ_SECONDS").unwrap_or(SECONDS));
    // The input is told before it is run, so that one that never ends is known too.
    let current = Arc::new(Mutex::new(Vec::new()));
    let count = Arc::new(AtomicU64::new(0));
    let (done, outcome) = channel();
    let worker = Worker { target, current: Arc::clone(&current), count: Arc::clone(&count), done };
    std::thread::Builder::new()
        .name(format!("{name}: its inputs"))
        .spawn(move || worker.work(time, seed))
        .expect("threads are to be had");
    let mut before = 0;
    let fault = loop {
        match outcome.recv_timeout(HANGS) {
            Ok(fault) => break fault,
            Err(RecvTimeoutError::Timeout) => {
                let now = count.load(Ordering::SeqCst);
                if now == before {
                    break Some(format!("it takes longer than {} s", HANGS.as_secs()));
                }
                before = now;
            }
            Err(RecvTimeoutError::Disconnected) => break Some("its thread is gone".to_owned()),
        }
    };
    let Some(fault) = fault else {
        eprintln!("{name}: {} executions", count.load(Ordering::SeqCst));
        return;
    };
    let input = current.lock().expect("no panic while it is held").clone();
    let file = keep(name, &input);
    panic!(
        "{name}: {fault}\nseed {seed}, execution {}; the input is in {}; it becomes a test in fuzz/seeds/{name}\n{}",
        count.load(Ordering::SeqCst),
        file.display(),
        String::from_utf8_lossy(&input[..input.len().min(2000)]),
    );
}

struct Worker {
    target: Target,
    current: Arc<Mutex<Vec<u8>>>,
    count: Arc<AtomicU64>,
    done: Sender<Option<String>>,
}

impl Worker {
    fn work(self, time: Duration, seed: u64) {
        let fault = self.kept_and_new(time, seed);
        // The test that waits for it may have given up.
        let _ = self.done.send(fault);
    }

    fn kept_and_new(&self, time: Duration, seed: u64) -> Option<String> {
        let seeds: Vec<Vec<u8>> = inputs(&kept(self.target.name));
        for input in &seeds {
            if let Some(fault) = self.one(input) {
                return Some(fault);
            }
        }
        let mut random = Random::new(seed);
        let mut pool = seeds;
        let kept = pool.len();
        let start = Instant::now();
        while start.elapsed() < time {
            let base = random.below(pool.len() + 1);
            let empty = Vec::new();
            let input = mutate(&mut random, pool.get(base).unwrap_or(&empty), &pool, self.target.words);
            if let Some(fault) = self.one(&input) {
                return Some(fault);
            }
            // Some go on from where they are, for a while; what is kept stays.
            if random.below(8) == 0 {
                if pool.len() < kept + POOL {
                    pool.push(input);
                } else {
                    let place = kept + random.below(POOL);
                    pool[place] = input;
                }
            }
        }
        None
    }

    fn one(&self, input: &[u8]) -> Option<String> {
        input.clone_into(&mut self.current.lock().expect("no panic while it is held"));
        let run = std::panic::AssertUnwindSafe(|| (self.target.run)(input));
        let result = std::panic::catch_unwind(run);
        self.count.fetch_add(1, Ordering::SeqCst);
        let mut panics = PANICS.lock().expect("no panic while it is held");
        // Other targets run at the same time, each with threads that bear its name.
        let own = panics.iter().position(|panic| panic.starts_with(&format!("{}: ", self.target.name)));
        let told = own.map(|index| panics.swap_remove(index));
        match (result, told) {
            (Ok(()), None) => None,
            (_, told) => Some(told.unwrap_or_else(|| "it panicked".to_owned())),
        }
    }
}

/// Notes panics instead of printing them; each begins with the name of its thread.
fn note_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("a thread");
            let is_ours = targets::ALL.iter().any(|target| name.starts_with(&format!("{}: ", target.name)));
            if is_ours && let Ok(mut panics) = PANICS.lock() {
                panics.push(format!("{name}: {panic}"));
            } else {
                usual(panic);
            }
        }));
    });
}

fn keep(name: &str, input: &[u8]) -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts").join(name);
    fs_err::create_dir_all(&dir).expect("the checkout can be written to");
    let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let file = dir.join(format!("found-{hash:016x}"));
    fs_err::write(&file, input).expect("the checkout can be written to");
    file
}

fn inputs(dir: &Path) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> =
        fs_err::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.iter().map(|file| fs_err::read(file).expect("it was just listed")).collect()
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}
