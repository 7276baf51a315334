//! The plan: a stack with everything decided. Addresses, argument lists, environments and the order of
//! starting are all here, so that a backend only has to do what it says.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use belljar_model::{ReplicaName, ServiceName, SessionId, SessionName, StackName, TaskName};

/// What a stack has to be told before it can be planned. Everything that differs between two sessions of one
/// stack is in here.
#[derive(Debug, Clone)]
pub struct Context {
    pub session_id: SessionId,
    pub session_name: SessionName,
    /// The session's own directory on the host; volumes lie in `volumes/REPLICA/VOLUME` below it.
    pub session_dir: PathBuf,
    pub seed: u64,
    /// The host's environment, for `${env.NAME}`, `inherit_env` and the few variables that always pass.
    pub host_env: BTreeMap<String, String>,
    /// The ports that were leased for a session in shared isolation; none for a sealed one.
    pub leased: Option<LeasedPorts>,
}

/// How tight a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Namespaces of its own: every replica has its own network and all of its usual ports.
    Sealed,
    /// Processes of the caller on the host's network, each at 127.0.0.1 with leased ports.
    Shared,
}

/// The port of the host that each port of each replica got. One that is not in here has its own number, as in a
/// plan that is only looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeasedPorts(BTreeMap<(ReplicaName, String), u16>);

impl LeasedPorts {
    pub fn insert(&mut self, replica: ReplicaName, port: String, number: u16) {
        self.0.insert((replica, port), number);
    }

    pub fn get(&self, replica: &ReplicaName, port: &str) -> Option<u16> {
        self.0.get(&(replica.clone(), port.to_owned())).copied()
    }
}

/// A port for which a session in shared isolation needs a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortWish {
    pub replica: ReplicaName,
    pub port: String,
    pub protocol: Protocol,
    pub listen: bool,
}

/// A stack, ready to be carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub stack: StackName,
    /// The directory of the (first) stack file; relative paths of the file start here.
    pub dir: PathBuf,
    pub isolation: Isolation,
    pub filesystem: Filesystem,
    pub home: Home,
    /// What everything in the session may use together.
    pub limits: Limits,
    /// In the order of the file.
    pub services: Vec<ServicePlan>,
    pub tasks: Vec<TaskPlan>,
    pub suites: Vec<SuitePlan>,
    /// The units in an order in which they can be started one after another.
    pub order: Vec<UnitName>,
    /// The session's own address: the bridge, where its name server listens and commands run.
    pub address: Ipv4Addr,
    /// Length of the network's prefix in bits.
    pub prefix: u8,
    /// `DB_HOST`, `DB_PORT`, `DB_URL`, `API_REPLICAS`, …: what `run`, `exec` and scenarios get on top of the
    /// caller's environment.
    pub command_env: BTreeMap<String, String>,
    /// Directories of programs that were found outside the usual places; they stay visible in the session.
    pub program_dirs: Vec<PathBuf>,
    /// What of the host's environment went into it, and with which values.
    pub host_env: BTreeMap<String, String>,
    /// What of the host can be reached from the session: the holes in its seal, each made on purpose.
    pub host_services: Vec<HostServicePlan>,
}

/// A port of the host, or of a machine that the host reaches, under a name in the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostServicePlan {
    pub name: ServiceName,
    /// Its address inside, where nothing but this one port answers. None in shared isolation, where everybody is
    /// on the host's network and goes straight to the target.
    pub address: Option<Ipv4Addr>,
    /// The port that the session's processes connect to.
    pub port: u16,
    /// Where it leads to, as the host sees it.
    pub target: HostPort,
}

/// A host's name or address and a port of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
}

/// A port of a service that is shown on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishPlan {
    pub port: PortPlan,
    /// The number on the host that was asked for; else any that is free.
    pub fixed: Option<u16>,
    pub on: Interfaces,
}

/// Where a published port is listened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interfaces {
    /// 127.0.0.1 and ::1.
    Loopback,
    /// Whoever reaches the machine.
    All,
}

/// What replicas and commands see of the host's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filesystem {
    /// As they are.
    Host,
    /// As they are, and nothing outside the session's own directories can be written.
    ReadOnly,
    /// As they are, and what is written outside the artifacts ends with the session.
    Overlay,
}

/// What replicas and commands see of the home directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    Host,
    /// An empty directory that ends with the session.
    Private,
}

/// What somebody may use of the machine at most. Nothing said is no limit of this kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Bytes of memory, files in memory (`/tmp`) among them.
    pub memory: Option<u64>,
    /// Thousandths of a processor's time.
    pub cpu: Option<u32>,
}

/// A part of a stack that others can come after.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnitName {
    Service(ServiceName),
    Task(TaskName),
}

/// `after`: what has to hold of another unit first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    pub on: UnitName,
    pub condition: Condition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Every replica has been started.
    Started,
    /// Every replica is ready.
    Ready,
    /// The task has ended with code 0.
    Succeeded,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ServicePlan {
    pub name: ServiceName,
    /// The recipe that it was made from.
    pub recipe: Option<String>,
    pub replicas: Vec<ReplicaPlan>,
    pub boot: Boot,
    pub after: Vec<Dependency>,
    pub restart: RestartPolicy,
    pub stop: StopPlan,
    /// Those of its first replica, in the order of the file; the first is `SERVICE_PORT`.
    pub ports: Vec<PortPlan>,
    /// Those of the ports that are shown on the host.
    pub publish: Vec<PublishPlan>,
    /// Outputs by name: `url` and what else the recipe gives.
    pub outputs: BTreeMap<String, String>,
    /// Globs below the stack's directory: what it is started again for when it changes, besides its program.
    pub watch: Vec<String>,
}

/// How the replicas of a service start for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    Parallel,
    /// Each after the one before it is ready.
    Serial,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    Never,
    /// When it ends with a failure that nobody asked for.
    OnFailure,
    /// Whenever it ends and nobody asked for it.
    Always,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopPlan {
    /// The signal's number.
    pub signal: i32,
    /// After this, SIGKILL.
    pub within: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortPlan {
    pub name: String,
    pub port: u16,
    pub protocol: Protocol,
    /// The listener is handed to the replica at its start, as systemd does.
    pub listen: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ReplicaPlan {
    pub name: ReplicaName,
    pub address: Ipv4Addr,
    /// In the order of the file. In shared isolation each replica has its own numbers.
    pub ports: Vec<PortPlan>,
    /// Its own, where its service has one.
    pub url: Option<String>,
    pub argv: Vec<String>,
    /// Runs once, before the first start, in the replica's own place: `initdb`.
    pub init: Option<Vec<String>>,
    /// Whole: nothing is inherited on top of it.
    pub env: BTreeMap<String, String>,
    pub cwd: PathBuf,
    /// What this replica may use.
    pub limits: Limits,
    pub volumes: Vec<VolumePlan>,
    pub files: Vec<FilePlan>,
    pub ready: ReadyPlan,
    /// What is watched after it is ready; nothing where none is said.
    pub health: Option<HealthPlan>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumePlan {
    pub name: String,
    /// Where it lies on the host, inside the session's directory.
    pub source: PathBuf,
    /// Where the replica sees it besides.
    pub target: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePlan {
    pub path: PathBuf,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ReadyPlan {
    pub check: Check,
    /// After this the session is given up.
    pub within: Duration,
    /// The check must hold this long.
    pub stable: Duration,
}

/// The watch of a replica that is ready.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthPlan {
    /// One that tells of now: not a log line, not a notification.
    pub check: Check,
    /// From the end of one look to the next.
    pub every: Duration,
    /// A check that fails is made again for so long before the replica counts as unhealthy.
    pub within: Duration,
    /// Whether it is restarted when it is unhealthy.
    pub restart: bool,
}

/// What makes a replica ready.
#[derive(Debug, Clone, PartialEq)]
pub enum Check {
    /// Nothing but that its process was started.
    Started,
    /// Every one of these TCP ports takes connections.
    Tcp { ports: Vec<u16> },
    /// GET answers with `status` (any 2xx where none is given) and a body that `body` matches.
    Http { port: u16, path: String, status: Option<u16>, body: Option<String> },
    /// The command ends with code 0. It runs in the replica's own place.
    Exec { argv: Vec<String> },
    /// A whole line of its output matches this regular expression.
    Log { pattern: String },
    /// It says `READY=1` as `sd_notify` does.
    Notify,
    /// The file exists, as the replica sees it.
    File { path: PathBuf },
    /// The unix socket takes connections, as the replica sees it.
    Socket { path: PathBuf },
}

#[derive(Debug, Clone, PartialEq)]
pub struct TaskPlan {
    pub name: TaskName,
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub cwd: PathBuf,
    pub limits: Limits,
    pub after: Vec<Dependency>,
    pub timeout: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SuitePlan {
    pub name: String,
    /// Glob below the stack's directory; every executable file that it matches is a scenario.
    pub scenarios: String,
    pub tags: Vec<String>,
    pub timeout: Duration,
    /// How many more attempts a scenario gets that did not pass.
    pub retries: u32,
    pub env: BTreeMap<String, String>,
    /// Nothing else runs beside its scenarios.
    pub exclusive: bool,
    /// How many of the `-j` places a scenario takes.
    pub weight: u32,
    pub requires: Requires,
    /// Runs once per session before the scenario; `NAME=value` lines that it writes to `$BELLJAR_EXPORTS`
    /// reach the scenario's environment.
    pub setup: Option<Vec<String>>,
    pub home: Option<Home>,
}

/// What a suite needs of the machine, else its scenarios are skipped with the reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requires {
    pub env: Vec<String>,
    pub commands: Vec<String>,
    pub capabilities: Vec<String>,
}

/// Which part of the session's addresses is whose. A service keeps its own for the session's life, also while
/// it is not part of the stack, whatever comes to stand before it in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(BTreeMap<ServiceName, u8>);

impl Places {
    /// The places of a plan that a session is started from.
    pub fn of(plan: &Plan) -> Self {
        let place = |service: &ServicePlan| Some((service.name.clone(), service.replicas.first()?.address));
        Self(plan.services.iter().filter_map(place).map(|(name, at)| (name, at.octets()[2])).collect())
    }

    /// Gives the services of another plan the addresses that they have in this session, and new ones free
    /// ones. The error is a service that there are no addresses left for.
    pub fn settle(&mut self, plan: &mut Plan) -> Result<(), ServiceName> {
        for service in &mut plan.services {
            let free = || (1..u8::MAX).find(|place| !self.0.values().any(|taken| taken == place));
            let place = match self.0.get(&service.name) {
                Some(place) => *place,
                None => free().ok_or_else(|| service.name.clone())?,
            };
            self.0.insert(service.name.clone(), place);
            for replica in &mut service.replicas {
                let [a, b, _, number] = replica.address.octets();
                replica.address = Ipv4Addr::new(a, b, place, number);
            }
        }
        Ok(())
    }
}

impl HostServicePlan {
    /// By what the session's processes reach it.
    pub fn host(&self) -> &str {
        if self.address.is_some() { self.name.as_str() } else { &self.target.host }
    }
}

impl Plan {
    pub fn service(&self, name: &ServiceName) -> Option<&ServicePlan> {
        self.services.iter().find(|one| one.name == *name)
    }

    pub fn task(&self, name: &TaskName) -> Option<&TaskPlan> {
        self.tasks.iter().find(|one| one.name == *name)
    }

    /// Ports that are shown to others than this machine.
    pub fn published_everywhere(&self) -> impl Iterator<Item = (&ServicePlan, &PublishPlan)> {
        let all = self.services.iter().flat_map(|one| one.publish.iter().map(move |publish| (one, publish)));
        all.filter(|(_, publish)| publish.on == Interfaces::All)
    }

    /// Every replica of every service, in the order of the file.
    pub fn replicas(&self) -> impl Iterator<Item = &ReplicaPlan> {
        self.services.iter().flat_map(|service| &service.replicas)
    }
}

impl ServicePlan {
    /// The URL of one of its ports inside, where it is known what is spoken there: by what the service gives of
    /// itself, by its own check, or by the port's name.
    pub fn url_of(&self, port: &PortPlan) -> Option<String> {
        let host = self.replicas.first().map(|one| one.address).filter(Ipv4Addr::is_loopback);
        let host = host.map_or_else(|| self.name.to_string(), |host| host.to_string());
        let address = format!("{host}:{}", port.port);
        let own = self.outputs.get("url").into_iter().chain(self.outputs.values());
        let mut given = own.filter(|url| authority(url) == Some(&address));
        if let Some(url) = given.next() {
            return Some(url.clone());
        }
        if port.protocol != Protocol::Tcp {
            return None;
        }
        let is_checked = self
            .replicas
            .iter()
            .any(|one| matches!(one.ready.check, Check::Http { port: number, .. } if number == port.port));
        let is_named = |scheme: &str| {
            port.name.strip_prefix(scheme).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
        };
        match port.name.as_str() {
            _ if is_named("https") => Some(format!("https://{address}")),
            "metrics" => Some(format!("http://{address}/metrics")),
            _ if is_named("http") || is_checked => Some(format!("http://{address}")),
            _ => None,
        }
    }
}

/// The host and the port that a URL names, without who is to log in.
fn authority(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    Some(authority.rsplit_once('@').map_or(authority, |(_, address)| address))
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl std::str::FromStr for HostPort {
    type Err = NotAHostPort;

    fn from_str(text: &str) -> Result<Self, NotAHostPort> {
        let (host, port) = text.rsplit_once(':').ok_or(NotAHostPort)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let fits = match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(is_name),
        };
        let port = port.parse().ok().filter(|&port| port != 0).ok_or(NotAHostPort)?;
        if fits { Ok(Self { host: bare.unwrap_or(host).to_owned(), port }) } else { Err(NotAHostPort) }
    }
}

/// A text that is not `host:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a host and a port, as in `127.0.0.1:5000`, `[::1]:5000` or `registry.example:443`")]
pub struct NotAHostPort;

impl std::fmt::Display for UnitName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Service(name) => name.fmt(f),
            Self::Task(name) => name.fmt(f),
        }
    }
}
