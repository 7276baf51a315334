//! The crowd: dozens of processes that start, list, break, end, kill and clean sessions of one state directory at
//! once. Each of the crowd keeps a model of what it may be told; a session of its own is nobody else's to end,
//! and the few names that all of them want are held by one at a time.

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use belljar_e2e::{Ended, TestEnv, soon};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::moment::Chance;
use crate::say;
use crate::scene::{LATER, is_honest, stacks};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long
    #[arg(long, default_value_t = 45)]
    seconds: u64,
    /// How long, in minutes
    #[arg(long)]
    minutes: Option<u64>,
    /// How many at once
    #[arg(long, default_value_t = 32)]
    people: u64,
    #[arg(long)]
    seed: Option<u64>,
}

/// Names that everybody wants.
const WANTED: &[&str] = &["north", "south", "east"];

/// What may be said of a session that somebody else ends in the same moment.
const HONEST: &[&str] = &["session-name-taken", "session-ended", "session-dead", "session-not-found"];

const QUIET: &str =
    "[service.web]\nrun = \"{fixture} http --port 80 --name ${self.name}\"\nports = { http = 80 }\n";

/// Its second service dies again and again, a while after each start.
const CRASHING: &str = r#"
    [service.web]
    run = "{fixture} http --port 80 --name ${self.name}"
    ports = { http = 80 }

    [service.frail]
    run = "{fixture} exit 3 --after 4000"
    restart = "always"
    after = ["web"]
"#;

/// What all of the crowd know.
#[derive(Debug, Default)]
struct Board {
    done: BTreeMap<&'static str, u64>,
    honest: BTreeMap<String, u64>,
    wrong: Vec<String>,
    ids: HashSet<String>,
    wanted: BTreeMap<&'static str, Wanted>,
}

#[derive(Debug, Default)]
struct Wanted {
    /// Who is known to have it, as long as nobody has begun to end him.
    holder: Option<String>,
    /// Somebody may have it.
    held: bool,
    /// How often it has been asked for, and how many ask now.
    asked: u64,
    asking: u64,
    /// How often somebody has begun to end whoever has it, and how many are at it.
    downs: u64,
    downing: u64,
}

/// A session that one of the crowd has to itself.
#[derive(Debug)]
struct Own {
    id: String,
    killed: bool,
}

struct Person<'a> {
    env: &'a TestEnv,
    board: &'a Mutex<Board>,
    chance: Chance,
    own: Vec<Own>,
    /// Its sessions that have ended.
    former: Vec<String>,
}

pub(crate) fn run(args: &Args) -> bool {
    let seed = args.seed.unwrap_or_else(crate::fresh_seed);
    let time = args.minutes.map_or(Duration::from_secs(args.seconds), Duration::from_mins);
    let env = TestEnv::new();
    env.write("quiet/belljar.toml", QUIET);
    env.write("crashing/belljar.toml", CRASHING);
    let board = Mutex::new(Board::default());
    let began = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..args.people {
            let chance = Chance::new(seed ^ number.wrapping_mul(0x1234_5678_9abc_def1));
            let (env, board) = (&env, &board);
            scope.spawn(move || {
                let mut person = Person { env, board, chance, own: Vec::new(), former: Vec::new() };
                while began.elapsed() < time && person.board().wrong.len() < 10 {
                    let acted = catch_unwind(AssertUnwindSafe(|| person.act()));
                    let acted = acted.unwrap_or_else(|panic| Err(crate::panic_text(&*panic)));
                    if let Err(why) = acted {
                        say(&format!("WRONG after {:?}: {why}", began.elapsed()));
                        person.board().wrong.push(why);
                    }
                }
            });
        }
    });
    let took = began.elapsed();
    let mut board = board.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Err(why) = nothing_stays(&env) {
        say(&format!("WRONG at the end: {why}"));
        board.wrong.push(why);
    }
    say(&format!("a crowd of {}, --seed {seed}", args.people));
    for (what, count) in &board.done {
        say(&format!("{count:6}  {what}"));
    }
    for (code, count) in &board.honest {
        say(&format!("{count:6}  times `{code}`"));
    }
    let all: u64 = board.done.values().sum();
    say(&format!(
        "{all} commands in {:.0} s, {} sessions, {} wrong answers",
        took.as_secs_f64(),
        board.ids.len(),
        board.wrong.len()
    ));
    if !board.wrong.is_empty() {
        // What is left belongs to what went wrong.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(env)));
        return false;
    }
    true
}

/// Everything ends, everything is removed.
fn nothing_stays(env: &TestEnv) -> Result<(), String> {
    let down = env.run("down --all");
    // One that is dead, or that ended in this moment, is no reason to leave the rest.
    if down.code() != 0 {
        return Err(format!("not everything could be ended: {down}"));
    }
    if !soon(Duration::from_secs(5), || env.footprint().is_empty()) {
        return Err(format!("this is left:\n{}", env.footprint()));
    }
    let clean = env.belljar(["clean", "--all"]).env(LATER.0, LATER.1).run();
    if clean.code() != 0 {
        return Err(format!("not everything could be removed: {clean}"));
    }
    let listed = env.run("ls --all --json").json();
    if listed["sessions"].as_array().is_none_or(|all| !all.is_empty()) {
        return Err(format!("these are still listed: {listed:#}"));
    }
    for dir in ["state/sessions", "run/belljar"] {
        let left: Vec<_> = fs_err::read_dir(env.root().join(dir)).into_iter().flatten().flatten().collect();
        if !left.is_empty() {
            return Err(format!("this is left in {dir}: {left:?}"));
        }
    }
    let log = fs_err::read_to_string(env.state_dir().join("host.log")).unwrap_or_default();
    if log.is_empty() { Ok(()) } else { Err(format!("a host process said:\n{log}")) }
}

impl Person<'_> {
    fn board(&self) -> std::sync::MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn act(&mut self) -> Result<(), String> {
        match self.chance.below(20) {
            0..3 if self.own.len() < 2 => self.up(),
            0..5 => self.list(),
            5 | 6 => self.want(),
            7 => self.meddle(),
            8..10 => self.run_around(),
            10..12 => self.look(),
            12..14 => self.fetch(),
            14 | 15 => self.break_replica(),
            16 => self.kill_host(),
            17 | 18 => self.down(),
            _ => self.clean(),
        }
    }

    /// `belljar WORDS`, in time and honest.
    fn belljar(&self, what: &'static str, words: &str) -> Result<Ended, String> {
        let done = self.env.run(words);
        self.count(what, &done)?;
        Ok(done)
    }

    fn count(&self, what: &'static str, done: &Ended) -> Result<(), String> {
        *self.board().done.entry(what).or_default() += 1;
        // A crowd on few cores is slow; it may not stand still.
        if done.took > Duration::from_mins(1) {
            Err(format!("it took {:?}: {done}", done.took))
        } else {
            Ok(())
        }
    }

    fn stack(&mut self) -> &'static str {
        self.chance.one_of(&["quiet", "crashing"])
    }

    fn up(&mut self) -> Result<(), String> {
        let stack = self.stack();
        let done = self.belljar("up --new", &format!("up {stack} --new --json"))?;
        let id = id_of(&done)?;
        if !self.board().ids.insert(id.clone()) {
            return Err(format!("the id {id} was used before: {done}"));
        }
        self.own.push(Own { id, killed: false });
        Ok(())
    }

    /// A name that others want too.
    fn want(&mut self) -> Result<(), String> {
        let name = self.chance.one_of(WANTED);
        let stack = self.stack();
        let (asked, others, downs) = {
            let mut board = self.board();
            let wanted = board.wanted.entry(name).or_default();
            wanted.asked += 1;
            wanted.asking += 1;
            (wanted.asked, wanted.held || wanted.asking > 1, (wanted.downs, wanted.downing == 0))
        };
        let done = self.belljar("up --name, wanted by all", &format!("up {stack} --name {name} --json"));
        let mut board = self.board();
        let wanted = board.wanted.entry(name).or_default();
        wanted.asking -= 1;
        let done = done?;
        if done.code() == 0 {
            let id = id_of(&done)?;
            wanted.held = true;
            // It may have been ended as soon as it was there.
            let keeps_it = downs == (wanted.downs, true);
            // Who got it after that may have been heard of before us.
            if keeps_it && let Some(other) = wanted.holder.replace(id.clone()) {
                return Err(format!("{name} belongs to {other}, and {id} got it: {done}"));
            }
            if !board.ids.insert(id.clone()) {
                return Err(format!("the id {id} was used before: {done}"));
            }
            return Ok(());
        }
        match code_of(&done)?.as_str() {
            // Somebody may end it while it starts: then it has ended, or is not ready.
            "session-name-taken" if others || wanted.asked > asked => {}
            "session-not-ready" | "session-ended" => {}
            _ => return Err(format!("nobody had {name}: {done}")),
        }
        drop(board);
        self.honest(&done)
    }

    /// Something to a session that anybody may end in this moment.
    fn meddle(&mut self) -> Result<(), String> {
        let name = self.chance.one_of(WANTED);
        if self.chance.below(2) == 0 {
            let words = self.chance.one_of(&["kill web-1", "restart web", "ps", "exec -- true", "start web"]);
            let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
            let done =
                self.belljar("a verb to what others end", &format!("{verb} -s {name} --json {rest}"))?;
            return if done.code() == 0 { Ok(()) } else { self.honest(&done) };
        }
        let asked = {
            let mut board = self.board();
            let wanted = board.wanted.entry(name).or_default();
            wanted.holder = None;
            wanted.downs += 1;
            wanted.downing += 1;
            (wanted.asked, wanted.asking > 0)
        };
        let done = self.belljar("down of what others end", &format!("down {name} --json"));
        self.board().wanted.entry(name).or_default().downing -= 1;
        let done = done?;
        if done.code() != 0 {
            return self.honest(&done);
        }
        let mut board = self.board();
        let wanted = board.wanted.entry(name).or_default();
        // Whoever asked meanwhile may have it: another may have ended the one that we waited for.
        wanted.held = asked.1 || wanted.asked > asked.0;
        Ok(())
    }

    fn run_around(&mut self) -> Result<(), String> {
        let stack = self.stack();
        let (command, code) = self.chance.one_of(&[
            ("true", 0),
            ("exit 7", 7),
            ("belljar kill web-1 && belljar start web-1 && {fixture} get http://web/", 0),
        ]);
        let done = self.env.belljar(["run", stack, "--", "sh", "-c", command]).run();
        self.count("run", &done)?;
        is_honest(&done).or_else(|why| if code == done.code() { Ok(()) } else { Err(why) })?;
        if done.code() == code { Ok(()) } else { Err(format!("{code} was expected: {done}")) }
    }

    /// What is ours is told as it is.
    fn list(&self) -> Result<(), String> {
        let done = self.belljar("ls", "ls --all --json")?;
        let document: Value =
            serde_json::from_str(&done.stdout).map_err(|error| format!("{error}: {done}"))?;
        let state = |id: &str| {
            let all = document["sessions"].as_array()?;
            all.iter().find(|one| one["id"] == id)?["state"].as_str()
        };
        for own in &self.own {
            let told = state(&own.id);
            let right = match told {
                // It may have been cleaned.
                None | Some("dead") => own.killed,
                Some("ready" | "degraded") => !own.killed,
                _ => false,
            };
            if !right {
                let is = if own.killed { "dead" } else { "alive" };
                return Err(format!("{} is {is} and told to be {told:?}: {done}", own.id));
            }
        }
        for id in &self.former {
            if !matches!(state(id), None | Some("ended")) {
                return Err(format!("{id} has ended: {done}"));
            }
        }
        Ok(())
    }

    fn look(&mut self) -> Result<(), String> {
        let Some(own) = self.any_own() else { return self.list() };
        let (id, killed) = (own.id.clone(), own.killed);
        let done = self.belljar("ps", &format!("ps -s {id} --json"))?;
        if done.code() != 0 {
            return if killed { self.honest(&done) } else { Err(format!("{id} is alive: {done}")) };
        }
        let view: Value = serde_json::from_str(&done.stdout).map_err(|error| format!("{error}: {done}"))?;
        let state = view["state"].as_str().unwrap_or_default();
        let right = if killed { state == "dead" } else { matches!(state, "ready" | "degraded") };
        if view["id"] == *id && right { Ok(()) } else { Err(format!("{id}, killed: {killed}: {done}")) }
    }

    fn fetch(&mut self) -> Result<(), String> {
        let Some(own) = self.any_own() else { return self.list() };
        let (id, killed) = (own.id.clone(), own.killed);
        let done = self.belljar("exec", &format!("exec -s {id} -- {{fixture}} get http://web/"))?;
        match (killed, done.code()) {
            (false, 0) if done.stdout == "web-1\n" => Ok(()),
            (true, 125) => {
                let told =
                    ["(session-dead)", "(session-not-found)"].iter().any(|code| done.stderr.contains(code));
                if told { Ok(()) } else { Err(format!("{id} is dead: {done}")) }
            }
            _ => Err(format!("{id}, killed: {killed}: {done}")),
        }
    }

    fn break_replica(&mut self) -> Result<(), String> {
        let verbs = self.chance.one_of(&[&["kill", "start"][..], &["restart"], &["pause", "resume"]]);
        let Some(own) = self.any_own() else { return self.list() };
        let (id, killed) = (own.id.clone(), own.killed);
        for verb in verbs {
            let done = self.belljar("a verb", &format!("{verb} -s {id} --json web-1"))?;
            match (killed, done.code()) {
                (false, 0) => {}
                (true, 6 | 7) => return self.honest(&done),
                _ => return Err(format!("{id}, killed: {killed}: {done}")),
            }
        }
        Ok(())
    }

    /// The host process of one of ours dies.
    fn kill_host(&mut self) -> Result<(), String> {
        let Some(place) = self.own.iter().position(|one| !one.killed) else { return self.list() };
        let listed = self.belljar("ls", "ls --json")?;
        let document: Value =
            serde_json::from_str(&listed.stdout).map_err(|error| format!("{error}: {listed}"))?;
        let own = &mut self.own[place];
        let all = document["sessions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let host = all.iter().find(|one| one["id"] == *own.id).and_then(|one| one["host_pid"].as_i64());
        let Some(host) = host.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) else {
            return Err(format!("{} is alive and not listed: {listed}", own.id));
        };
        let footprint = self.env.footprint();
        if !footprint.processes.iter().any(|one| one.pid == host.as_raw_nonzero().get()) {
            return Err(format!("{} is alive, and its host process {host:?} is not", own.id));
        }
        kill_process(host, Signal::KILL).map_err(|error| error.to_string())?;
        let gone = soon(Duration::from_secs(20), || {
            !self.env.footprint().processes.iter().any(|one| one.pid == host.as_raw_nonzero().get())
        });
        self.own[place].killed = true;
        *self.board().done.entry("SIGKILL of a host process").or_default() += 1;
        if gone { Ok(()) } else { Err(format!("{host:?} does not die:\n{}", stacks(&self.env.footprint()))) }
    }

    fn down(&mut self) -> Result<(), String> {
        if self.own.is_empty() {
            return self.list();
        }
        let own = self.own.remove(0);
        if own.killed {
            let done = self.belljar("down of a dead one", &format!("down {} --json", own.id))?;
            return match code_of(&done)?.as_str() {
                "session-dead" | "session-not-found" => Ok(()),
                _ => Err(format!("{} is dead: {done}", own.id)),
            };
        }
        let done = self.belljar("down", &format!("down {} --json", own.id))?;
        if done.code() != 0 {
            return Err(format!("{} is alive: {done}", own.id));
        }
        self.former.push(own.id);
        Ok(())
    }

    fn clean(&mut self) -> Result<(), String> {
        let all = ["clean", "--all", "--json"];
        let words = if self.chance.below(2) == 0 { &all[..] } else { &["clean", "--json"] };
        let done = self.env.belljar(words.iter().copied()).env(LATER.0, LATER.1).run();
        self.count("clean", &done)?;
        if done.code() != 0 {
            return Err(format!("{done}"));
        }
        let removed: Value =
            serde_json::from_str(&done.stdout).map_err(|error| format!("{error}: {done}"))?;
        let removed = removed["removed"].as_array().cloned().unwrap_or_default();
        match self.own.iter().find(|own| !own.killed && removed.iter().any(|id| *id == own.id)) {
            Some(own) => Err(format!("{} is alive and was removed: {done}", own.id)),
            None => Ok(()),
        }
    }

    fn any_own(&mut self) -> Option<&Own> {
        let count = u64::try_from(self.own.len()).ok()?;
        let place = usize::try_from(self.chance.below(count)).ok()?;
        self.own.get(place)
    }

    /// The error is one of those that a crowd makes.
    fn honest(&self, done: &Ended) -> Result<(), String> {
        let code = code_of(done)?;
        let told = HONEST.contains(&&*code) || code == "session-not-ready" || code == "replica-not-ready";
        *self.board().honest.entry(code).or_default() += 1;
        if told { Ok(()) } else { Err(format!("that is no answer: {done}")) }
    }
}

fn id_of(done: &Ended) -> Result<String, String> {
    if done.code() != 0 {
        return Err(format!("it failed: {done}"));
    }
    let view: Value = serde_json::from_str(&done.stdout).map_err(|error| format!("{error}: {done}"))?;
    view["id"].as_str().map(str::to_owned).ok_or_else(|| format!("no id: {done}"))
}

fn code_of(done: &Ended) -> Result<String, String> {
    let document: Value = serde_json::from_str(&done.stderr).map_err(|error| format!("{error}: {done}"))?;
    let code = document["error"]["code"].as_str();
    code.map(str::to_owned).ok_or_else(|| format!("no code: {done}"))
}
