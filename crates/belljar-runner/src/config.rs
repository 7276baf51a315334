//! What a run has to be told: what is asked of it, and everything of the world that a library may not look up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use belljar_session::shared::PortRange;
use belljar_session::{User, WallClock};
use belljar_stack::plan::Isolation;
use belljar_stack::{Programs, Stack};
use belljar_store::{RuntimeDir, Store};
use tokio::sync::watch;

use crate::select::Selection;

/// One run.
#[derive(Clone)]
pub struct RunConfig {
    pub stack: Arc<Stack>,
    /// The file that the stack was read from.
    pub stack_file: PathBuf,
    pub store: Arc<Store>,
    pub runtime_dir: RuntimeDir,
    pub host: Host,
    pub selection: Selection,
    pub options: Options,
    /// Becomes `true` when the run is to end early: what has not started is cancelled, what runs is ended in order.
    pub cancel: watch::Receiver<bool>,
}

/// The machine, the user and the caller's process.
#[derive(Clone)]
pub struct Host {
    /// The caller's environment. Scenarios inherit it; `requires` looks into it and at its PATH.
    pub env: BTreeMap<String, String>,
    /// The caller's working directory.
    pub cwd: PathBuf,
    pub user: User,
    pub uid: u32,
    /// This process, as people are told of it.
    pub pid: u32,
    /// The belljar program, for the PATH of scenarios.
    pub program: PathBuf,
    /// Finds the servers that recipes run.
    pub programs: Arc<dyn Programs + Send + Sync>,
    /// Host directories that stay visible in a session wherever they lie.
    pub visible: Vec<PathBuf>,
    pub capabilities: Arc<Capabilities>,
    pub clock: WallClock,
    pub random: Random,
    /// The ports that may be leased, where that was said.
    pub ports: Option<PortRange>,
}

/// The names of what this machine can do, for `requires`. Found out when a suite asks for the first time: trying it
/// makes namespaces and networks.
pub type Capabilities = LazyLock<BTreeSet<String>, Box<dyn FnOnce() -> BTreeSet<String> + Send>>;

/// Where ids and seeds come from. The program passes the kernel's randomness, tests pass theirs.
#[derive(Clone)]
pub struct Random(pub Arc<dyn Fn() -> u64 + Send + Sync>);

/// How a run goes about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How tight its sessions are.
    pub isolation: Isolation,
    /// How many attempts are under way at once at most.
    pub jobs: usize,
    /// Instead of the suites' own.
    pub timeout: Option<Duration>,
    /// Instead of the suites' own.
    pub retries: Option<u32>,
    /// How often each scenario is to be executed, whatever comes of it.
    pub count: u32,
    /// Start nothing more once a scenario has ended otherwise than green.
    pub fail_fast: bool,
    pub keep: Keep,
}

/// Which attempts' directories stay on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    Never,
    /// Those of attempts that did not pass.
    Failed,
    Always,
}

impl RunConfig {
    /// The time of now, in milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        (self.host.clock.0)().as_millisecond()
    }
}

impl std::fmt::Debug for RunConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunConfig")
            .field("stack", &self.stack.name())
            .field("selection", &self.selection)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("cwd", &self.cwd).field("user", &self.user).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random")
    }
}
