//! What a machine does to belljar besides killing it: a host process that stands still, clocks that jump, disks and
//! inode tables that are full, and power cuts.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use belljar_e2e::{Ended, TestEnv, is_root, soon};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::moment::Chance;
use crate::say;
use crate::scene::{LATER, Scene, in_time, is_honest, succeeds};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many power cuts
    #[arg(long, default_value_t = 40)]
    cuts: u32,
    #[arg(long)]
    seed: Option<u64>,
    /// Only the checks with this in their name
    #[arg(long)]
    only: Option<String>,
}

type Check = Result<String, String>;

pub(crate) fn run(args: &Args) -> bool {
    let seed = args.seed.unwrap_or_else(crate::fresh_seed);
    say(&format!("--seed {seed}"));
    let checks: [(&str, &dyn Fn() -> Check); 5] = [
        ("the supervisor stands still for 5 s", &stands_still),
        ("clocks jump", &clocks_jump),
        ("the disk is full", &|| full("size=", 6 << 20, &|env, left| fill_bytes(env, left))),
        ("the inode table is full", &|| full("nr_inodes=", 400, &|env, left| fill_inodes(env, left))),
        ("power cuts", &|| power_cuts(args.cuts, seed)),
    ];
    let mut well = true;
    for (name, check) in checks {
        if args.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let began = Instant::now();
        let came = catch_unwind(AssertUnwindSafe(check));
        let came = came.unwrap_or_else(|panic| Err(crate::panic_text(&*panic)));
        let took = began.elapsed().as_secs_f64();
        match came {
            Ok(said) => say(&format!("well ({took:.1} s): {name}: {said}")),
            Err(why) => {
                well = false;
                say(&format!("FAILED ({took:.1} s): {name}: {why}"));
            }
        }
    }
    well
}

/// Lets time pass: it is what is tried here.
fn pass(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

fn host_pid(env: &TestEnv, name: &str) -> Result<Pid, String> {
    let listed = env.run("ls --json").json();
    let all = listed["sessions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pid = all.iter().find(|one| one["name"] == name).and_then(|one| one["host_pid"].as_i64());
    let pid = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    pid.ok_or_else(|| format!("{name} is not listed: {listed:#}"))
}

/// Name, generation and state of every replica.
fn replicas(env: &TestEnv) -> Result<Vec<(String, u64, String)>, String> {
    let done = env.run("ps --json");
    let view: Value = serde_json::from_str(&done.stdout).map_err(|error| format!("{error}: {done}"))?;
    let services = view["services"].as_object().ok_or("no services")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = services.values().filter_map(|one| one["replicas"].as_array()).flatten();
    Ok(all
        .map(|one| (text(&one["name"]), one["generation"].as_u64().unwrap_or(0), text(&one["state"])))
        .collect())
}

fn stands_still() -> Check {
    let scene = Scene::new();
    let env = &scene.env;
    succeeds(env.run("up --name one"))?;
    let before = replicas(env)?;
    let host = host_pid(env, "one")?;
    kill_process(host, Signal::STOP).map_err(|error| error.to_string())?;
    let waiting = env.belljar(["ps", "--json"]).spawn();
    let executing = env.belljar(["exec", "--", "{fixture}", "get", "http://web-2/"]).spawn();
    let stopped = Instant::now();
    // Whoever only reads the registry is not held up.
    let states: Vec<String> = scene.sessions()?.into_iter().map(|(_, state)| state).collect();
    if states != ["ready"] {
        return Err(format!("it stands still and lives, and is told to be {states:?}"));
    }
    succeeds(env.belljar(["clean", "--all"]).env(LATER.0, LATER.1).run())?;
    pass(Duration::from_secs(5).saturating_sub(stopped.elapsed()));
    if waiting.has_ended() {
        return Err(format!("it was answered by one who stands still: {}", waiting.finish()));
    }
    kill_process(host, Signal::CONT).map_err(|error| error.to_string())?;
    succeeds(waiting.finish())?;
    succeeds(executing.finish())?;
    let after = replicas(env)?;
    if before != after || after.iter().any(|(_, _, state)| state != "ready") {
        return Err(format!("the replicas were {before:?} and are {after:?}"));
    }
    for words in
        ["kill web-1", "start web-1", "restart daemon", "exec -- {fixture} get http://web-1/", "down one"]
    {
        succeeds(env.run(words))?;
    }
    scene.next_commands_work()?;
    Ok(format!("{} replicas lived on", after.len()))
}

fn clocks_jump() -> Check {
    const DAY: i64 = 86_400;
    const YEAR: i64 = 365 * DAY;
    let scene = Scene::new();
    let env = &scene.env;
    let at = |offset: i64, words: &str| -> Ended {
        env.belljar(words.split_whitespace()).env(LATER.0, offset.to_string()).run()
    };
    let mut commands = 0;
    // Each session is started by one clock and looked at, cleaned around and ended by all the others.
    for (born, name) in [(0, "now"), (-DAY, "yesterday"), (YEAR, "next-year")] {
        succeeds(at(born, &format!("up --name {name}")))?;
        for offset in [0, -DAY, YEAR, -YEAR] {
            let listed = at(offset, "ls --json").json();
            let one = listed["sessions"]
                .as_array()
                .and_then(|all| all.iter().find(|one| one["name"] == name).cloned());
            let one = one.ok_or_else(|| format!("{name} is not listed: {listed:#}"))?;
            if one["state"] != "ready" || one["age_ms"].as_i64().is_none_or(|age| age < 0) {
                return Err(format!("at {offset}: {one:#}"));
            }
            for words in [
                "clean",
                "clean --all",
                &format!("exec -s {name} -- true"),
                &format!("ps -s {name}"),
                &format!("kill -s {name} web-1"),
                &format!("start -s {name} web-1"),
                "run -- true",
            ] {
                succeeds(at(offset, words))?;
                commands += 1;
            }
        }
        succeeds(at(YEAR - born, &format!("down {name}")))?;
    }
    succeeds(at(3 * YEAR, "clean --all"))?;
    scene.next_commands_work()?;
    Ok(format!("{commands} commands"))
}

/// A state directory on a file system of its own, as long as this lives.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: PathBuf, options: &str) -> Result<Self, String> {
        fs_err::create_dir_all(&path).map_err(|error| error.to_string())?;
        let options = std::ffi::CString::new(options).map_err(|error| error.to_string())?;
        mount("tmpfs", &path, "tmpfs", MountFlags::empty(), Some(options.as_c_str()))
            .map_err(|error| error.to_string())?;
        Ok(Self(path))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// Commands while a little less is free each time, down to nothing, so that each write is once the first to fail.
fn full(option: &str, size: u64, fill: &dyn Fn(&Path, u64) -> std::io::Result<()>) -> Check {
    if !is_root() {
        return Ok("left out: only root mounts".to_owned());
    }
    let scene = Scene::new();
    let env = &scene.env;
    let mounted = Mounted::new(env.state_dir(), &format!("{option}{size}"))?;
    let filler = env.state_dir().join("filler");
    let empty = || fs_err::remove_dir_all(&filler).map_err(|error| error.to_string());
    let (mut done, mut failed) = (0, 0);
    let mut rounds = || -> Result<(), String> {
        for left in (0..30_u64).chain([40, 60, 100]).rev() {
            // One session lives already when the space runs out.
            succeeds(env.run("up --name old"))?;
            fs_err::create_dir(&filler).map_err(|error| error.to_string())?;
            fill(&filler, left).map_err(|error| error.to_string())?;
            for words in [
                "run -- true",
                "up --name one",
                "ls --json",
                "ps -s old",
                "kill -s old web-1",
                "ls --all --json",
                "start -s old web-1",
                "exec -s old -- true",
                "down --all",
                "test",
                "clean",
                "ls",
            ] {
                let command = env.run(words);
                in_time(&command)?;
                is_honest(&command).map_err(|why| format!("{left} left: {why}"))?;
                done += 1;
                failed += i32::from(command.code() != 0);
                if words.starts_with("ls") && command.code() != 0 {
                    return Err(format!("{left} left, and nothing to write: {command}"));
                }
            }
            empty()?;
            scene.host_log_tells_no_panic()?;
            // One that could not write down that it goes on has ended; else it is ended now.
            succeeds(env.run("down --all"))?;
            if !soon(Duration::from_secs(5), || env.footprint().processes.is_empty()) {
                return Err(format!("{left} left: this is alive:\n{}", env.footprint()));
            }
            scene.clean_leaves_nothing().map_err(|why| format!("{left} left: {why}"))?;
        }
        Ok(())
    };
    let came = rounds();
    let came = came.and_then(|()| {
        succeeds(env.run("up --name next"))?;
        succeeds(env.run("run -- true"))?;
        succeeds(env.run("down next"))
    });
    if came.is_err() {
        let log = fs_err::read_to_string(env.state_dir().join("host.log")).unwrap_or_default();
        let _ = empty();
        let _ = env.run("down --all").code();
        drop(mounted);
        return came.map(|()| String::new()).map_err(|why| format!("{why}\n--- host.log\n{log}"));
    }
    drop(mounted);
    Ok(format!("{done} commands, {failed} of them with an honest error"))
}

/// Takes all space but so many pages.
fn fill_bytes(filler: &Path, pages: u64) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = fs_err::File::create(filler.join("rest"))?;
    let page = [1; 4096];
    let mut length = 0;
    while file.write_all(&page).is_ok() {
        length += 4096;
    }
    file.set_len(u64::saturating_sub(length, pages * 4096))
}

/// Takes all inodes but so many.
fn fill_inodes(filler: &Path, left: u64) -> std::io::Result<()> {
    let mut made = Vec::new();
    for number in 0_u64.. {
        let path = filler.join(number.to_string());
        if fs_err::File::create(&path).is_err() {
            break;
        }
        made.push(path);
    }
    for path in made.iter().rev().take(usize::try_from(left).unwrap_or(0)) {
        fs_err::remove_file(path)?;
    }
    Ok(())
}

/// What was on disk at a moment is a state directory that opens, lists and is cleaned.
fn power_cuts(cuts: u32, seed: u64) -> Check {
    let scene = Scene::new();
    let env = &scene.env;
    env.write(
        "quiet/belljar.toml",
        "[service.web]\nrun = \"{fixture} http --port 80\"\nports = { http = 80 }\n",
    );
    let over = AtomicBool::new(false);
    let copies = env.root().join("copies");
    let mut chance = Chance::new(seed);
    let mut lost = 0;
    let mut made = 0_u32;
    std::thread::scope(|scope| -> Result<(), String> {
        for writer in 0..8 {
            let over = &over;
            scope.spawn(move || {
                let name = format!("writer-{writer}");
                while !over.load(Ordering::Relaxed) {
                    // What they come to is not what is tried here.
                    let _ = env.run(&format!("up quiet --name {name}")).code();
                    let _ = env.run("run quiet -- true").code();
                    let _ = env.run(&format!("down {name}")).code();
                    if writer == 0 {
                        let _ = env.belljar(["clean", "--all"]).env(LATER.0, LATER.1).run().code();
                    }
                }
            });
        }
        let mut cut = || -> Result<(), String> {
            while made < cuts {
                pass(Duration::from_millis(20 + chance.below(200)));
                let stopped = freeze(env);
                let copy = copies.join(made.to_string());
                let copied =
                    copy_tree(&env.state_dir(), &copy).and_then(|()| lose_the_last(&copy, &mut chance));
                for pid in stopped {
                    let _ = kill_process(pid, Signal::CONT);
                }
                match copied {
                    Ok(true) => lost += 1,
                    Ok(false) => {}
                    Err(error) => return Err(format!("the copy cannot be made: {error}")),
                }
                made += 1;
            }
            Ok(())
        };
        let came = cut();
        over.store(true, Ordering::Relaxed);
        came
    })?;
    succeeds(env.run("down --all"))?;
    let mut sessions = 0;
    for number in 0..cuts {
        let copy = copies.join(number.to_string()).to_string_lossy().into_owned();
        let at =
            |words: &str| env.belljar(["--state-dir", &copy].into_iter().chain(words.split_whitespace()));
        let fails = |why: String| format!("copy {number}: {why}");
        let listed = at("ls --all --json").run();
        if listed.code() != 0 {
            // A cut before the first registry was there leaves a directory that is fresh.
            return Err(fails(listed.to_string()));
        }
        let listed = listed.json();
        let all = listed["sessions"].as_array().cloned().unwrap_or_default();
        sessions += all.len();
        if let Some(one) = all.iter().find(|one| one["state"] != "dead" && one["state"] != "ended") {
            return Err(fails(format!("a session of before the cut is told to live: {one:#}")));
        }
        succeeds(at("run quiet -- true").run()).map_err(fails)?;
        succeeds(at("clean --all").env(LATER.0, LATER.1).run()).map_err(fails)?;
        let left = at("ls --all --json").run().json();
        if left["sessions"].as_array().is_none_or(|all| !all.is_empty()) {
            return Err(fails(format!("`clean` left this: {left:#}")));
        }
        let dirs: Vec<_> =
            fs_err::read_dir(Path::new(&copy).join("sessions")).into_iter().flatten().flatten().collect();
        if !dirs.is_empty() {
            return Err(fails(format!("`clean` left this: {dirs:?}")));
        }
    }
    scene.clean_leaves_nothing()?;
    Ok(format!("{cuts} cuts, {lost} of them in the middle of a record, {sessions} sessions in them"))
}

/// Stops every belljar process of this world that could write, and answers which.
fn freeze(env: &TestEnv) -> Vec<Pid> {
    let program = env.program().to_string_lossy().into_owned();
    let mut stopped: Vec<Pid> = Vec::new();
    loop {
        let fresh: Vec<Pid> = env
            .footprint()
            .processes
            .iter()
            .filter(|one| one.command.starts_with(&program) && one.pids.len() == 1)
            .filter_map(|one| Pid::from_raw(one.pid))
            .filter(|pid| !stopped.contains(pid))
            .collect();
        if fresh.is_empty() {
            // Stopping takes effect when each of its threads has noticed; one that waits for a child of its own to
            // execute a program notices later, and writes nothing until then.
            soon(Duration::from_millis(100), || {
                let all = env.footprint().processes;
                let mut ours =
                    all.iter().filter(|one| stopped.iter().any(|pid| pid.as_raw_nonzero().get() == one.pid));
                ours.all(|one| one.thread_states().iter().all(|&state| state == 'T'))
            });
            return stopped;
        }
        for pid in fresh {
            let _ = kill_process(pid, Signal::STOP);
            stopped.push(pid);
        }
    }
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    fs_err::create_dir_all(to)?;
    for entry in fs_err::read_dir(from)? {
        let (path, target) = {
            let entry = entry?;
            (entry.path(), to.join(entry.file_name()))
        };
        let kind = fs_err::symlink_metadata(&path)?.file_type();
        if kind.is_dir() {
            copy_tree(&path, &target)?;
        } else if kind.is_symlink() {
            fs_err::os::unix::fs::symlink(fs_err::read_link(&path)?, &target)?;
        } else if kind.is_file() {
            fs_err::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// Memory is lost, the index of the log with it, and sometimes the end of the last write to the log.
fn lose_the_last(copy: &Path, chance: &mut Chance) -> std::io::Result<bool> {
    let _ = fs_err::remove_file(copy.join("registry.sqlite-shm"));
    let log = copy.join("registry.sqlite-wal");
    let Ok(length) = fs_err::metadata(&log).map(|one| one.len()) else { return Ok(false) };
    // Only what was written after the last checkpoint can be lost: SQLite syncs before it makes one, and the
    // first frames of a fresh log may follow one at once.
    if length < 40_000 || chance.below(2) == 0 {
        return Ok(false);
    }
    let file = fs_err::OpenOptions::new().write(true).open(&log)?;
    file.set_len(length - 1 - chance.below(4000))?;
    Ok(true)
}
