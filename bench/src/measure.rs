//! Taking times: whole processes from outside, sessions from what their events say.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What a measurement can fail with.
#[derive(Debug)]
pub(crate) enum Error {
    Io { what: String, source: std::io::Error },
    NotBuilt(PathBuf),
    Failed { command: String, output: String },
    NoEvents(PathBuf),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io { what, source } => write!(f, "cannot {what}: {source}"),
            Self::NotBuilt(path) => write!(f, "{} is not built: `./x bench` builds it", path.display()),
            Self::Failed { command, output } => write!(f, "`{command}` failed:\n{output}"),
            Self::NoEvents(path) => write!(f, "{} does not tell of a session that was ready", path.display()),
        }
    }
}

/// A directory for everything that is measured; it goes with this value.
pub(crate) struct Bench {
    dir: PathBuf,
    belljar: PathBuf,
    pub(crate) fixture: PathBuf,
}

impl Bench {
    pub(crate) fn new() -> Result<Self, Error> {
        let dir = std::env::temp_dir().join(format!("belljar-bench-{}", std::process::id()));
        create_dir(&dir)?;
        Ok(Self { dir, belljar: crate::beside_us("belljar")?, fixture: crate::beside_us("fixture")? })
    }

    /// A directory with this stack file.
    pub(crate) fn stack(&self, name: &str, text: &str) -> Result<PathBuf, Error> {
        let dir = self.dir.join(name);
        create_dir(&dir)?;
        fs_err::write(dir.join("belljar.toml"), text)
            .map_err(|source| Error::Io { what: "write a stack file".to_owned(), source })?;
        Ok(dir)
    }

    /// One run of belljar, from its start to its end.
    pub(crate) fn belljar(&self, args: &[&str], cwd: &Path) -> Result<Duration, Error> {
        let state = self.dir.join("state");
        let mut all = vec!["--state-dir", state.to_str().unwrap_or_default()];
        all.extend(args);
        Self::time(self.belljar.to_str().unwrap_or_default(), &all, cwd)
    }

    /// One run of any program, from its start to its end.
    pub(crate) fn time(program: &str, args: &[&str], cwd: &Path) -> Result<Duration, Error> {
        let mut command = Command::new(program);
        command.args(args).current_dir(cwd).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let start = Instant::now();
        let output = command
            .spawn()
            .and_then(std::process::Child::wait_with_output)
            .map_err(|source| Error::Io { what: format!("run {program}"), source })?;
        let time = start.elapsed();
        if output.status.success() {
            return Ok(time);
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Error::Failed { command: format!("{program} {}", args.join(" ")), output: said })
    }

    /// What the newest session says of itself.
    pub(crate) fn last_session(&self) -> Result<Session, Error> {
        let path = self.dir.join("state/latest/events.jsonl");
        let text = fs_err::read_to_string(&path)
            .map_err(|source| Error::Io { what: "read the events".to_owned(), source })?;
        let events: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let seconds = |value: &Value| value.as_f64().map(Duration::from_secs_f64);
        let until_ready = events
            .iter()
            .find(|event| event["kind"] == "session.ready")
            .and_then(|event| seconds(&event["t"]))
            .ok_or_else(|| Error::NoEvents(path.clone()))?;
        let ready_ms = events
            .iter()
            .filter(|event| event["kind"] == "replica.ready")
            .filter_map(|event| event["ready_ms"].as_f64())
            .map(|ms| Duration::from_secs_f64(ms / 1e3))
            .collect();
        Ok(Session { until_ready, ready_ms })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A directory in /tmp that stays is untidy, and nothing else.
        let _ = fs_err::remove_dir_all(&self.dir);
    }
}

fn create_dir(dir: &Path) -> Result<(), Error> {
    fs_err::create_dir_all(dir).map_err(|source| Error::Io { what: "make a directory".to_owned(), source })
}

/// What a session's events say.
pub(crate) struct Session {
    pub(crate) until_ready: Duration,
    /// Of each replica.
    pub(crate) ready_ms: Vec<Duration>,
}

/// Times of one thing, in order.
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    /// Runs it this often, after one run that does not count.
    pub(crate) fn of(runs: usize, mut run: impl FnMut() -> Result<Duration, Error>) -> Result<Self, Error> {
        run()?;
        let times: Result<Vec<Duration>, Error> = (0..runs).map(|_| run()).collect();
        times.map(Self::from)
    }

    pub(crate) fn median(&self) -> Duration {
        self.at(50)
    }

    pub(crate) fn p95(&self) -> Duration {
        self.at(95)
    }

    fn at(&self, percent: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last * percent).div_ceil(100)).copied().unwrap_or_default()
    }
}

impl From<Vec<Duration>> for Samples {
    fn from(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }
}
