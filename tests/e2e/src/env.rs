//! A test's own world.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};

use belljar_model::Event;
use belljar_model::fold::Recording;
use serde_json::Value;
use tempfile::TempDir;

use crate::command::Cmd;
use crate::host::{Footprint, Process};
use crate::output::{Ended, Output};
use crate::probe::append_line;
use crate::schema;
use crate::terminal::Terminal;
use crate::wait::{LONG, eventually, soon};

/// What every world finds its programs in.
pub const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long after its end anything of a test may still be there.
const GONE_WITHIN: Duration = Duration::from_secs(3);

/// A project directory, a state directory, a home and an environment that no other test has. At its end it
/// looks that nothing is left.
#[derive(Debug)]
pub struct TestEnv {
    root: TempDir,
    born: Instant,
}

impl Default for TestEnv {
    fn default() -> Self {
        Self::new()
    }
}

impl TestEnv {
    /// A world in /var/tmp, which every session sees as it is.
    pub fn new() -> Self {
        Self::below(Path::new("/var/tmp"))
    }

    /// A world below `dir`; in /tmp, sessions cover everything around the project.
    pub fn below(dir: &Path) -> Self {
        // Orphans of the tests come to us instead of to the machine's init, so their ancestry stays known.
        static ADOPT: Once = Once::new();
        ADOPT.call_once(|| {
            rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
                .expect("no privilege needed");
        });
        let root = tempfile::Builder::new().prefix("bj-").tempdir_in(dir).expect("makes a directory");
        let this = Self { root, born: Instant::now() };
        // The tests of root run replicas as another user: like any checkout's, its directories can be read.
        set_mode(this.root.path(), 0o755);
        for dir in [this.dir(), this.dir().join("bin"), this.home(), this.root.path().join("bin")] {
            fs_err::create_dir_all(dir).expect("makes a directory");
        }
        let run = this.root.path().join("run");
        fs_err::create_dir(&run).expect("makes a directory");
        set_mode(&run, 0o700);
        place(&built("BELLJAR_FIXTURE", "fixture"), &this.fixture());
        place(&built("BELLJAR_BIN", "belljar"), &this.program());
        this
    }

    /// The project: where the stack file lies and commands run.
    pub fn dir(&self) -> PathBuf {
        self.root.path().join("project")
    }

    /// Everything of this world lies below this.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.root.path().join("state")
    }

    /// The fixture, in a place that is this test's own: its processes are known by it.
    pub fn fixture(&self) -> PathBuf {
        self.dir().join("bin/fixture")
    }

    /// The program, likewise.
    pub fn program(&self) -> PathBuf {
        self.root.path().join("bin/belljar")
    }

    /// Writes a file of the project, `{fixture}`, `{dir}` and `{root}` filled in.
    pub fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.dir().join(path);
        fs_err::create_dir_all(path.parent().expect("lies in the project")).expect("makes a directory");
        fs_err::write(&path, self.filled(text)).expect("writes the file");
        path
    }

    /// Writes `belljar.toml`.
    pub fn stack(&self, text: &str) -> &Self {
        self.write("belljar.toml", text);
        self
    }

    /// Writes an executable script of the project.
    pub fn script(&self, path: &str, text: &str) -> PathBuf {
        let path = self.write(path, text);
        set_mode(&path, 0o755);
        path
    }

    fn filled(&self, text: &str) -> String {
        text.replace("{fixture}", &self.fixture().to_string_lossy())
            .replace("{dir}", &self.dir().to_string_lossy())
            .replace("{root}", &self.root.path().to_string_lossy())
    }

    /// `belljar ARGS` in the project's directory, `{fixture}` and the like filled in.
    pub fn belljar<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Cmd {
        self.command(&self.program().to_string_lossy(), args)
    }

    /// Another program in the same environment.
    pub fn command<'a>(&self, program: &str, args: impl IntoIterator<Item = &'a str>) -> Cmd {
        let mut cmd = Cmd::new(Path::new(program), self.environment(), &self.dir());
        cmd.redactions = vec![
            (self.dir().to_string_lossy().into_owned(), "[DIR]"),
            (self.root.path().to_string_lossy().into_owned(), "[ROOT]"),
        ];
        cmd.args(args.into_iter().map(|arg| self.filled(arg)))
    }

    /// The command line split at spaces, run to its end.
    #[track_caller]
    pub fn run(&self, words: &str) -> Ended {
        self.belljar(words.split_whitespace()).run()
    }

    /// A session of the stack, started in the background and ready. A stack that can be started is one that its
    /// schema accepts.
    #[track_caller]
    pub fn up(&self) -> Output {
        let output = self.run("up").ok();
        schema::accepts(&self.dir().join("belljar.toml"));
        output
    }

    /// The whole environment of its commands. Nothing comes from the test's own.
    fn environment(&self) -> Vec<(OsString, OsString)> {
        let path = |dir: &str| self.root.path().join(dir).into_os_string();
        vec![
            ("PATH".into(), SYSTEM_PATH.into()),
            ("HOME".into(), path("home")),
            ("USER".into(), "tester".into()),
            ("LANG".into(), "C.UTF-8".into()),
            ("NO_COLOR".into(), "1".into()),
            ("BELLJAR_STATE_DIR".into(), path("state")),
            ("XDG_RUNTIME_DIR".into(), path("run")),
        ]
    }

    /// Runs the command on a terminal of this size.
    #[track_caller]
    pub fn on_terminal(&self, cmd: Cmd, rows: u16, columns: u16) -> Terminal {
        Terminal::start(cmd, &self.fixture(), rows, columns)
    }

    /// The session as `ps --json` tells it.
    #[track_caller]
    pub fn ps(&self) -> Value {
        self.run("ps --json").json()
    }

    /// One replica out of `ps --json`.
    #[track_caller]
    pub fn replica(&self, name: &str) -> Value {
        let session = self.ps();
        find_replica(&session, name)
            .unwrap_or_else(|| panic!("there is no replica {name} in {session:#}"))
            .clone()
    }

    /// Waits until a replica is in this state.
    #[track_caller]
    pub fn until_replica(&self, name: &str, state: &str) -> Value {
        eventually(&format!("{name} is {state}"), LONG, || {
            let replica = self.replica(name);
            (replica["state"] == state).then_some(replica)
        })
    }

    /// The recorded timeline of the only session there ever was here, read strictly.
    #[track_caller]
    pub fn recording(&self) -> Recording {
        let files = self.files_named("events.jsonl");
        let [file] = &files[..] else { panic!("one recorded session was expected: {files:?}") };
        let text = fs_err::read_to_string(file).expect("reads the timeline");
        Recording::read(&text).expect("the timeline is well formed")
    }

    #[track_caller]
    pub fn events(&self) -> Vec<Event> {
        self.recording().events
    }

    /// Every file of this name in the state directory, sorted.
    pub fn files_named(&self, name: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(&self.state_dir(), &mut |path| {
            if path.file_name().is_some_and(|one| one == name) {
                found.push(path.to_owned());
            }
        });
        found.sort();
        found
    }

    /// Every path of the state directory that has `text` in it.
    pub fn state_paths_with(&self, text: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(&self.state_dir(), &mut |path| {
            if path.strip_prefix(self.state_dir()).is_ok_and(|rest| rest.to_string_lossy().contains(text)) {
                found.push(path.to_owned());
            }
        });
        found
    }

    pub fn footprint(&self) -> Footprint {
        Footprint::of(self.root.path())
    }

    /// The host's process that runs the fixture with `text` in its command line.
    #[track_caller]
    pub fn process(&self, text: &str) -> Process {
        let found = self.processes(text);
        let [one] = &found[..] else {
            panic!("one process of the fixture with `{text}` was expected: {found:#?}\n{}", self.footprint())
        };
        one.clone()
    }

    /// Every process of the fixture with `text` in its command line.
    pub fn processes(&self, text: &str) -> Vec<Process> {
        let fixture = format!("{} ", self.fixture().to_string_lossy());
        let ours = |one: &Process| one.command.starts_with(&fixture) && one.command.contains(text);
        self.footprint().processes.into_iter().filter(ours).collect()
    }

    /// The processes above this one up to the test itself: init, zygote, host process.
    pub fn ancestors(&self, process: &Process) -> Vec<Process> {
        let all = crate::host::processes();
        let this = i32::try_from(std::process::id()).expect("process ids are small");
        let mut above = Vec::new();
        let mut next = process.parent;
        while next != this
            && next > 1
            && let Some(one) = all.iter().find(|one| one.pid == next)
        {
            next = one.parent;
            above.push(one.clone());
        }
        above
    }

    /// Nothing of this world is left on the host, within `limit` from now.
    #[track_caller]
    pub fn nothing_is_left_within(&self, limit: Duration) {
        let is_gone = soon(limit, || self.footprint().is_empty());
        assert!(is_gone, "this is left after {limit:?}:\n{}", self.footprint());
    }

    /// Ends the sessions that the test leaves running on purpose.
    fn down_all(&self) {
        if self.state_dir().is_dir() && !self.footprint().processes.is_empty() {
            // What it could not end is found by the look at the host that follows.
            let _ = self.run("down --all").code();
        }
    }
}

impl Drop for TestEnv {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.down_all();
        }
        // A test that has failed already says why by itself.
        let patience = if std::thread::panicking() { Duration::ZERO } else { GONE_WITHIN };
        let is_clean = soon(patience, || self.footprint().is_empty());
        let left = self.footprint();
        // Whatever is left is ended by its id, before the directory goes.
        for process in &left.processes {
            process.kill();
        }
        soon(GONE_WITHIN, || self.footprint().processes.is_empty());
        if let Some(path) = std::env::var_os("BELLJAR_TIMES_FILE") {
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            append_line(Path::new(&path), &format!("{:.2} {test}", self.born.elapsed().as_secs_f64()));
        }
        if !std::thread::panicking() {
            assert!(is_clean, "this was left on the machine:\n{left}");
        }
    }
}

/// A replica out of a session's JSON document.
fn find_replica<'a>(session: &'a Value, name: &str) -> Option<&'a Value> {
    let services = session["services"].as_object()?;
    services
        .values()
        .filter_map(|service| service["replicas"].as_array())
        .flatten()
        .find(|replica| replica["name"] == name)
}

/// The built program: where the environment says, else beside the test's own.
fn built(variable: &str, name: &str) -> PathBuf {
    let path = std::env::var_os(variable).map_or_else(
        || {
            let this = std::env::current_exe().expect("the test is a file");
            this.ancestors().nth(2).expect("lies in target/debug/deps").join(name)
        },
        PathBuf::from,
    );
    assert!(path.is_file(), "{} is not built; `./x test` does it", path.display());
    path
}

/// Puts a program at another path: as a link where that can be, since a program that is being copied cannot be
/// run by anyone who was forked in that moment.
fn place(program: &Path, target: &Path) {
    if fs_err::hard_link(program, target).is_err() {
        fs_err::copy(program, target).expect("copies the program");
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("sets the mode");
}

fn walk(dir: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs_err::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        visit(&path);
        // Links such as `latest` would show everything twice.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, visit);
        }
    }
}
