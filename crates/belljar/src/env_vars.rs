//! Every environment variable that belljar reads, as a constant with what it means. Nothing else in the
//! workspace reads the environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where state is kept, unless `--state-dir` says it.
pub(crate) const STATE_DIR: &str = "BELLJAR_STATE_DIR";
/// The session that commands are about, unless `-s` says it. Set inside a session.
pub(crate) const SESSION: &str = "BELLJAR_SESSION";
/// The control socket of that session. Set inside a session.
pub(crate) const CONTROL: &str = "BELLJAR_CONTROL";
/// Where Docker's daemon listens; `doctor` looks whether it is there.
pub(crate) const DOCKER_HOST: &str = "DOCKER_HOST";
/// The ports that sessions in shared isolation may lease: `20000-29999`.
pub(crate) const PORTS: &str = "BELLJAR_PORTS";
/// Seconds that are added to the time of day. For tests of what time does to state.
pub(crate) const TEST_CLOCK_OFFSET: &str = "__BELLJAR_TEST_CLOCK_OFFSET";

const XDG_STATE_HOME: &str = "XDG_STATE_HOME";
const XDG_RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";
const HOME: &str = "HOME";
const PATH: &str = "PATH";

/// The environment that belljar was started with.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    variables: BTreeMap<String, String>,
    left_out: Vec<String>,
}

impl Environment {
    /// Reads it once. Variables that are not UTF-8 cannot be passed on and are left out.
    pub(crate) fn read() -> Self {
        let mut read = Self { variables: BTreeMap::new(), left_out: Vec::new() };
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => drop(read.variables.insert(name, value)),
                (Ok(name), Err(_)) => read.left_out.push(name),
                (Err(name), _) => read.left_out.push(name.to_string_lossy().into_owned()),
            }
        }
        read
    }

    pub(crate) fn all(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// The names of those that could not be taken along.
    pub(crate) fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.get(HOME).map_or_else(|| PathBuf::from("/"), PathBuf::from)
    }

    pub(crate) fn path(&self) -> &str {
        self.get(PATH).unwrap_or("/usr/local/bin:/usr/bin:/bin")
    }

    pub(crate) fn default_state_dir(&self) -> PathBuf {
        let dir = self.get(STATE_DIR).map(PathBuf::from);
        let xdg = || self.get(XDG_STATE_HOME).map(|home| PathBuf::from(home).join("belljar"));
        dir.or_else(xdg).unwrap_or_else(|| self.home().join(".local/state/belljar"))
    }

    /// Where control sockets may lie, best first.
    pub(crate) fn runtime_dirs(&self, uid: u32) -> Vec<PathBuf> {
        let xdg = self.get(XDG_RUNTIME_DIR).map(|dir| PathBuf::from(dir).join("belljar"));
        xdg.into_iter().chain([PathBuf::from(format!("/tmp/belljar-{uid}"))]).collect()
    }

    pub(crate) fn clock_offset_ms(&self) -> i64 {
        let seconds: i64 = self.get(TEST_CLOCK_OFFSET).and_then(|text| text.parse().ok()).unwrap_or(0);
        seconds.saturating_mul(1000)
    }
}
