//! One session from its start over some faults to its end, followed by the tracer, and what must hold when that
//! was cut short.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use belljar_e2e::{Ended, Footprint, Running, TestEnv, soon};
use belljar_model::ExitCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::moment::{Act, Counts, Kind, Order, Report, Struck};

/// Nothing of a session is there so long after the death of what carries it.
const GONE_WITHIN: Duration = Duration::from_secs(1);
/// No command takes longer, whatever happened.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// Moves a command's clock past the minute in which `clean` touches nothing.
pub(crate) const LATER: (&str, &str) = ("__BELLJAR_TEST_CLOCK_OFFSET", "120");

const STACK: &str = r#"
    [task.seed]
    run = "sh -c 'echo seeded > /tmp/seed'"

    [service.web]
    run = "{fixture} http --port 80 --name ${self.name}"
    ports = { http = 80 }
    ready = { tcp = "http", within = "5s" }
    replicas = 2
    after = ["seed"]

    [service.daemon]
    run = "{fixture} daemonize --port 80 --daemon-port 81 --tag daemon"
    ports = { http = 80, daemon = 81 }
    ready = { tcp = "http", within = "5s" }
    restart = "always"
    volumes = { data = "/data" }

    [suite.s]
    scenarios = "scenarios/*"
    timeout = "10s"
"#;

/// What is done to the session between its start and its end.
const FAULTS: &[&str] =
    &["kill web-1", "start web-1", "pause web-2", "resume web-2", "restart daemon", "exec web-1 -- true"];

/// The command that a session is carried by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Carrier {
    Up,
    Run,
    Test,
}

impl Carrier {
    pub(crate) const ALL: &'static [Self] = &[Self::Up, Self::Run, Self::Test];

    fn root(self) -> Kind {
        match self {
            Self::Up => Kind::Client,
            Self::Run | Self::Test => Kind::Host,
        }
    }

    fn args(self) -> &'static [&'static str] {
        match self {
            Self::Up => &["up", "--name", "one"],
            Self::Run => &["run", "--name", "one", "--", "sh", "-e", "{dir}/scenarios/faults"],
            Self::Test => &["test", "-j", "2"],
        }
    }
}

/// A world in which sessions die, one after the other.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) env: TestEnv,
}

/// What came of one session.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) struck: Option<Struck>,
    pub(crate) counts: Counts,
    /// How the command ended.
    pub(crate) code: i32,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let env = TestEnv::new();
        env.stack(STACK);
        let script = format!("#!/bin/sh -e\nbelljar {}\n", FAULTS.join("\nbelljar "));
        for name in ["faults", "same"] {
            env.script(&format!("scenarios/{name}"), &script);
        }
        Self { env }
    }

    /// Starts a session, does the faults and ends it, while the tracer acts; then looks at what is left and
    /// that everything works. An error says what does not hold.
    pub(crate) fn play(&self, carrier: Carrier, act: Act) -> Result<Played, String> {
        let traced = Traced::start(&self.env, carrier, act);
        let faults = self.go_through(&traced, carrier, act);
        let (struck, counts, code) = (traced.struck(), traced.counts(), traced.code().unwrap_or(-1));
        // First what was seen first.
        let left = match faults {
            Ok(()) => self.look_after(&traced, act),
            Err(why) => Err(why),
        };
        let said = left.map_err(|why| format!("{why}\nit was done here: {struck:?}\n{}", self.said()));
        if said.is_err() {
            self.put_out(traced.running.pid());
        }
        said?;
        Ok(Played { struck, counts, code })
    }

    /// The command to its end, or to its death.
    fn go_through(&self, traced: &Traced<'_>, carrier: Carrier, act: Act) -> Result<(), String> {
        if carrier == Carrier::Up && traced.until_ended_or_struck()? && traced.code() == Some(0) {
            for words in FAULTS.iter().copied().chain(["down one"]) {
                let done = self.env.run(words);
                in_time(&done)?;
                let is_the_victims = words.starts_with("exec") && done.code() == 137;
                if !is_the_victims {
                    is_honest(&done)?;
                }
                // A call that fails may be one that the verb needs; nothing else may fail before the act.
                if traced.struck().is_some() {
                    break;
                }
                if done.code() != 0 {
                    // The report may be on its way.
                    soon(Duration::from_millis(500), || traced.struck().is_some());
                    if traced.struck().is_none() {
                        return Err(format!("nothing was done to it, and it failed: {done}"));
                    }
                    break;
                }
            }
        }
        let struck = || traced.struck().is_some();
        let ended = || traced.code().is_some();
        let hangs = || Err(format!("`{}` hangs:\n{}", carrier.args()[0], stacks(&self.env.footprint())));
        if carrier != Carrier::Up && !soon(DEADLINE, || struck() || ended()) {
            return hangs();
        }
        if let (Some(struck), Act::Kill { kind, .. }) = (traced.struck(), act) {
            if !kind.may_be_called(&struck.name) {
                return Err(format!("the tracer took `{}` for a {kind:?}", struck.name));
            }
            self.is_gone(&struck, kind, traced)?;
        }
        // The command itself.
        if !soon(DEADLINE, ended) {
            return hangs();
        }
        self.command_is_honest(traced, carrier, act)
    }

    /// Within a second, what must die with the victim is dead.
    fn is_gone(&self, struck: &Struck, kind: Kind, traced: &Traced<'_>) -> Result<(), String> {
        let left = |footprint: Footprint| -> Vec<String> {
            let tracer = traced.running.pid();
            footprint
                .processes
                .into_iter()
                .filter(|one| match kind {
                    Kind::Host => one.pid != tracer,
                    Kind::Zygote => struck.below.contains(&one.pid) || one.pids.len() > 1,
                    Kind::Init => struck.below.contains(&one.pid) && one.pids.len() > 1,
                    Kind::Client | Kind::Probe | Kind::Keeper | Kind::Starter => one.pid == struck.pid,
                })
                .map(|one| format!("process {} (parent {}): {}", one.pid, one.parent, one.command))
                .collect()
        };
        // The command of `up` that carried nothing ends by itself, and is looked at when it has.
        let client = traced.root_line();
        let found = || -> Vec<String> {
            let mut found = left(self.env.footprint());
            found.retain(|line| client.as_ref().is_none_or(|client| !line.starts_with(client)));
            found
        };
        if soon(GONE_WITHIN, || found().is_empty()) {
            return Ok(());
        }
        Err(format!("this is alive {GONE_WITHIN:?} after the death of the {kind:?}:\n{}", found().join("\n")))
    }

    fn command_is_honest(&self, traced: &Traced<'_>, carrier: Carrier, act: Act) -> Result<(), String> {
        let code = traced.code().unwrap_or(-1);
        let stderr = self.stderr();
        let killed = traced.struck().is_some_and(|struck| struck.is_command);
        let fine = match (traced.struck(), act) {
            // Nobody misses the keeper: sessions make their own networks.
            (None, _) | (Some(_), Act::Kill { kind: Kind::Keeper, .. }) => code == 0,
            (Some(_), Act::Kill { .. }) if killed => code == 137,
            // Rust's way to say that memory ran out is to abort.
            (Some(_), Act::Fail { errno: libc::ENOMEM, .. }) if code == 134 || code == 139 => true,
            // The victim was the command that `run` was given, or one that it waited for.
            (Some(_), Act::Kill { kind: Kind::Starter, .. }) if code == 137 => carrier == Carrier::Run,
            _ => is_documented(code),
        };
        if !fine {
            return Err(format!("`{}` ended with {code}\n{stderr}", carrier.args()[0]));
        }
        if matches!(act, Act::Kill { .. }) && stderr.contains("belljar itself failed") {
            return Err(format!("a bug:\n{stderr}"));
        }
        tells_no_panic(&stderr)
    }

    /// The registry is right, nothing answers, and the next commands work.
    fn look_after(&self, traced: &Traced<'_>, act: Act) -> Result<(), String> {
        let tracer = traced.running.pid();
        // Only the end of `up` before it was ready, or of one helper, leaves a host process, and that one
        // says soon what is to become of it.
        let hosts_live = [Kind::Client, Kind::Probe, Kind::Keeper, Kind::Starter];
        let may_live = matches!(act, Act::Kill { kind, .. } if hosts_live.contains(&kind))
            || matches!(act, Act::Fail { .. })
            || traced.struck().is_none();
        let is_quiet = || self.env.footprint().processes.iter().all(|one| one.pid == tracer);
        if may_live {
            // A session that has survived is ready; one that has not is about to be gone.
            let mut listed = self.sessions()?;
            let settles = soon(DEADLINE, || {
                listed = self.sessions().unwrap_or_default();
                listed.iter().all(|(_, state)| matches!(&**state, "ready" | "degraded" | "dead" | "ended"))
            });
            if !settles {
                return Err(format!("a session settles in no state: {listed:?}"));
            }
            for (name, state) in &listed {
                if matches!(&**state, "ready" | "degraded") {
                    let done = self.env.run(&format!("down {name}"));
                    in_time(&done)?;
                    if ![0, 6, 7].contains(&done.code()) {
                        return Err(format!("a session that lives cannot be ended: {done}"));
                    }
                }
            }
        }
        // Whoever carried the session sees its end and goes.
        if !soon(Duration::from_secs(5), is_quiet) {
            return Err(format!("this is left:\n{}", self.env.footprint()));
        }
        for (name, state) in self.sessions()? {
            if state != "dead" && state != "ended" {
                return Err(format!("{name} is told to be {state}, and nothing of it is there"));
            }
        }
        for socket in self.sockets() {
            if UnixStream::connect(&socket).is_ok() {
                return Err(format!("{} answers", socket.display()));
            }
        }
        let mounts = self.env.footprint().mounts;
        if !mounts.is_empty() {
            return Err(format!("these mounts are left: {mounts:?}"));
        }
        self.next_commands_work()?;
        self.host_log_tells_no_panic()
    }

    pub(crate) fn next_commands_work(&self) -> Result<(), String> {
        succeeds(self.env.run("clean"))?;
        succeeds(self.env.run("up --name next"))?;
        let names: Vec<String> =
            self.sessions()?.into_iter().filter(|one| one.1 == "ready").map(|one| one.0).collect();
        if names != ["next"] {
            return Err(format!("`next` alone lives, and these are told to: {names:?}"));
        }
        succeeds(self.env.run("run -- true"))?;
        succeeds(self.env.run("down next"))?;
        self.clean_leaves_nothing()
    }

    /// What is on disk is all removed by `clean`.
    pub(crate) fn clean_leaves_nothing(&self) -> Result<(), String> {
        succeeds(self.env.belljar(["clean", "--all"]).env(LATER.0, LATER.1).run())?;
        let left: Vec<PathBuf> = ["state/sessions", "state/runs", "run/belljar"]
            .iter()
            .flat_map(|dir| fs_err::read_dir(self.env.root().join(dir)).into_iter().flatten().flatten())
            .map(|entry| entry.path())
            .collect();
        if left.is_empty() { Ok(()) } else { Err(format!("`clean` left this: {left:?}")) }
    }

    /// Name and state of every session, as `ls` tells them.
    pub(crate) fn sessions(&self) -> Result<Vec<(String, String)>, String> {
        let done = self.env.run("ls --all --json");
        in_time(&done)?;
        let document: Value =
            serde_json::from_str(&done.stdout).map_err(|error| format!("{error}: {done}"))?;
        let sessions = document["sessions"].as_array().ok_or_else(|| format!("no sessions: {done}"))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(sessions.iter().map(|one| (text(&one["name"]), text(&one["state"]))).collect())
    }

    fn sockets(&self) -> Vec<PathBuf> {
        let dirs = fs_err::read_dir(self.env.root().join("run/belljar")).into_iter().flatten().flatten();
        dirs.map(|dir| dir.path().join("control.sock")).filter(|path| path.exists()).collect()
    }

    fn stderr(&self) -> String {
        fs_err::read_to_string(err_path(self.env.root())).unwrap_or_default()
    }

    fn said(&self) -> String {
        let log = fs_err::read_to_string(self.env.state_dir().join("host.log")).unwrap_or_default();
        format!("--- its stderr\n{}--- host.log\n{log}---", self.stderr())
    }

    pub(crate) fn host_log_tells_no_panic(&self) -> Result<(), String> {
        let path = self.env.state_dir().join("host.log");
        tells_no_panic(&fs_err::read_to_string(path).unwrap_or_default())
    }

    /// Ends everything of this world, so that it can be left without a word.
    fn put_out(&self, spared: i32) {
        for process in self.env.footprint().processes {
            if process.pid != spared {
                process.kill();
            }
        }
    }
}

/// belljar under the tracer.
struct Traced<'a> {
    running: Running,
    env: &'a TestEnv,
}

impl<'a> Traced<'a> {
    fn start(env: &'a TestEnv, carrier: Carrier, act: Act) -> Self {
        let order = Order {
            root: carrier.root(),
            state_dir: env.state_dir(),
            program: env.program(),
            stdout: env.root().join("out.txt"),
            stderr: err_path(env.root()),
            act,
        };
        let this = std::env::current_exe().expect("this is a file");
        let order = serde_json::to_string(&order).expect("it can be written");
        let program = env.program();
        let command = ["trace", &order, &program.to_string_lossy()].map(str::to_owned);
        let args = command.iter().map(String::as_str).chain(carrier.args().iter().copied());
        Self { running: env.command(&this.to_string_lossy(), args).spawn(), env }
    }

    fn reports(&self) -> Vec<Report> {
        let text = self.running.stdout();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn struck(&self) -> Option<Struck> {
        self.reports().into_iter().find_map(|report| match report {
            Report::Struck(struck) => Some(struck),
            _ => None,
        })
    }

    /// The exit code of the command, once it has ended.
    fn code(&self) -> Option<i32> {
        self.reports().into_iter().find_map(|report| match report {
            Report::Ended(code) => Some(code),
            _ => None,
        })
    }

    /// Waits for the tracer's own end, which comes when nothing is left to trace.
    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        soon(DEADLINE, || {
            let found = self.reports().into_iter().find_map(|report| match report {
                Report::Counted(counts) => Some(counts),
                _ => None,
            });
            found.map(|found| counts = found).is_some() || self.running.has_ended()
        });
        counts
    }

    /// How the living command itself is listed.
    fn root_line(&self) -> Option<String> {
        let ours = self.running.pid();
        let root = self.env.footprint().processes.into_iter().find(|one| one.parent == ours)?;
        Some(format!("process {} ", root.pid))
    }

    /// Whether it has ended; false where it was struck and not.
    fn until_ended_or_struck(&self) -> Result<bool, String> {
        if !soon(DEADLINE, || self.code().is_some() || self.struck().is_some()) {
            return Err(format!(
                "it neither ended nor was struck within {DEADLINE:?}: {}",
                self.running.stderr()
            ));
        }
        Ok(self.code().is_some())
    }
}

/// What each thread of what is left waits for, as far as we may know it.
pub(crate) fn stacks(footprint: &Footprint) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for process in &footprint.processes {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "process {} (parent {}): {}", process.pid, process.parent, process.command);
        let tasks = fs_err::read_dir(format!("/proc/{}/task", process.pid)).into_iter().flatten().flatten();
        for task in tasks {
            let read = |name: &str| fs_err::read_to_string(task.path().join(name)).unwrap_or_default();
            let (name, call) = (read("comm"), read("syscall"));
            let _ = writeln!(text, "    {} {} {}", name.trim(), read("wchan"), call.trim());
        }
    }
    text
}

fn err_path(root: &Path) -> PathBuf {
    root.join("err.txt")
}

pub(crate) fn is_documented(code: i32) -> bool {
    ExitCode::ALL.iter().any(|(known, _)| i32::from(known.0) == code)
}

pub(crate) fn in_time(done: &Ended) -> Result<(), String> {
    if done.took > DEADLINE { Err(format!("it took {:?}: {done}", done.took)) } else { Ok(()) }
}

pub(crate) fn is_honest(done: &Ended) -> Result<(), String> {
    if !is_documented(done.code()) {
        return Err(format!("its code is in no list: {done}"));
    }
    tells_no_panic(&done.stderr)
}

pub(crate) fn succeeds(done: Ended) -> Result<(), String> {
    in_time(&done)?;
    tells_no_panic(&done.stderr)?;
    if done.code() == 0 { Ok(()) } else { Err(format!("it failed: {done}")) }
}

fn tells_no_panic(text: &str) -> Result<(), String> {
    if text.contains("panicked") { Err(format!("a panic:\n{text}")) } else { Ok(()) }
}
