//! One session from its launch to its end, for whoever carries it in his process.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use belljar_client::wire::{ErrorView, SessionView};
use belljar_model::{ErrorCode, ReplicaState, SessionId, SessionName, SessionState, TaskState};
use belljar_sandbox::spec::{self, Place, SocketSpec};
use belljar_sandbox::{Init, LimitError, LimitPlan, SandboxError, Zygote};
use belljar_stack::plan::{Filesystem, Home, Isolation, Limits, Plan};
use futures_util::future::try_join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::control;
use crate::driver::{self, Driver, Handle};
use crate::edition::Edition;
use crate::editor::{Editor, Of};
use crate::logs::Logs;
use crate::machine::Machine;
use crate::metrics::Endpoint;
use crate::native::{
    self, Command, CommandError, CommandSpec, Connection, Definitions, Names, Native, Setting, Shared,
};
use crate::ports::{self, Door, Gates, HostService, Numbers, PortError};
use crate::shared::Ground;
use crate::timeline::{Timeline, WallClock};

/// After its end a session's last answers have this long to get out.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// Everything that a session needs to be told. Directories exist already, made by the store.
#[derive(Debug, Clone)]
pub struct Config {
    pub plan: Arc<Plan>,
    /// Where it stands, if it is in shared isolation.
    pub shared: Option<Ground>,
    pub id: SessionId,
    pub name: SessionName,
    /// Its own directory in the store: events, logs, volumes.
    pub dir: PathBuf,
    /// What is kept of it for people.
    pub artifacts: PathBuf,
    /// Where it listens for the control protocol; the directory is this session's alone.
    pub control_socket: PathBuf,
    /// The belljar program, for the PATH of commands.
    pub program: PathBuf,
    pub user: User,
    /// Host directories that stay visible wherever they lie: the caller's working directory and PATH.
    pub visible: Vec<PathBuf>,
    /// Host directories that other sessions have their own in too: of those only what is this session's is shown.
    pub concealed: Vec<PathBuf>,
    /// Where its control groups are written down, for whoever removes them if this process is killed.
    pub groups_file: PathBuf,
    /// Which numbers published ports get on the host.
    pub numbers: Numbers,
    /// Where the metrics of all replicas are served on the host: this port, or any where it is 0.
    pub metrics: Option<u16>,
    /// What the plan was made from, where the session can be changed while it runs. Whoever wants others to find it
    /// in the session's directory writes it there; every change does.
    pub edition: Option<Edition>,
    /// Where it says for others when it will end by itself: milliseconds since 1970.
    pub expiry_file: PathBuf,
    pub clock: WallClock,
    /// Whether this process carries no other session: then nobody waits while the launch keeps its thread.
    pub alone: bool,
}

/// Who processes of a session are, by name.
#[derive(Debug, Clone)]
pub struct User {
    pub name: String,
    pub home: PathBuf,
}

/// Why a session was not launched at all.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("cannot seal the session")]
    Sandbox(#[source] SandboxError),
    #[error("cannot limit the session")]
    Limits(#[source] LimitError),
    #[error("cannot prepare the session's files")]
    Files(#[source] std::io::Error),
    #[error(transparent)]
    Port(PortError),
    #[error("cannot reach `{name}` of the host from the session")]
    HostService {
        name: String,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot listen on the control socket {path}")]
    Control {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl LaunchError {
    /// Whether the kernel refused what a seal is made of.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Sandbox(SandboxError::Os { .. } | SandboxError::Gone | SandboxError::Protocol))
    }

    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Sandbox(error) => error.code(),
            Self::Limits(error) => error.code(),
            Self::Port(error) => error.code(),
            Self::HostService { .. } => ErrorCode::SandboxRefused,
            Self::Files(_) | Self::Control { .. } => ErrorCode::StateDirUnusable,
        }
    }
}

/// Why a session that was launched did not become ready, and what it looked like at its end.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct NotReady {
    pub why: String,
    /// The replica or task that it failed on, and the last lines of its log.
    pub culprit: Option<(String, Vec<String>)>,
    pub view: Arc<SessionView>,
}

/// A live session. It ends when it is told to, when its process dies, or when nobody holds it any more.
pub struct Session {
    config: Config,
    handle: Handle,
    shared: Arc<Shared>,
    editor: Arc<Editor>,
    servers: Vec<JoinHandle<()>>,
    /// Published ports, for as long as the session lives.
    _gates: Gates,
    /// Becomes `true` when the control protocol has given its last answer.
    answered: watch::Receiver<bool>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.config.id)
            .field("name", &self.config.name)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The session's directories that its processes may write to, whatever the file-system mode.
    pub(crate) fn own_dirs(&self) -> Vec<PathBuf> {
        let mut dirs = vec![self.dir.join("bin"), self.artifacts.clone()];
        if keeps_data(&self.plan) {
            dirs.push(self.dir.join("volumes"));
        }
        dirs.extend(self.control_socket.parent().map(PathBuf::from));
        dirs
    }

    /// The host's directories that stay visible wherever they lie.
    pub(crate) fn shown(&self) -> Vec<PathBuf> {
        let mut shown = self.visible.clone();
        shown.extend(self.plan.program_dirs.iter().cloned());
        shown.push(self.plan.dir.clone());
        // `${session.dir}`.
        shown.push(self.dir.clone());
        shown
    }

    /// How the limits of the plan will be carried out.
    fn limits(&self) -> Result<LimitPlan, LimitError> {
        limit_plan(&self.plan, self.id.as_str(), self.shared.is_none())
    }

    /// What every command of the session gets on top of the caller's environment, besides what the plan says.
    fn own_env(&self) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        if self.shared.is_some() {
            env.insert("TMPDIR".to_owned(), self.commands_tmp().display().to_string());
        }
        env.insert("BELLJAR_SESSION".to_owned(), self.id.to_string());
        env.insert("BELLJAR_CONTROL".to_owned(), self.control_socket.display().to_string());
        env.insert("BELLJAR_ARTIFACTS".to_owned(), self.artifacts.display().to_string());
        env.insert("PATH".to_owned(), self.dir.join("bin").display().to_string());
        env
    }
}

impl Config {
    /// Temporary files of commands, where /tmp is everybody's.
    fn commands_tmp(&self) -> PathBuf {
        self.dir.join("tmp/_commands")
    }

    /// Where replicas find the sockets that they notify. A socket's path has to be short.
    pub(crate) fn notify_dir(&self) -> PathBuf {
        match (&self.shared, self.control_socket.parent()) {
            (Some(_), Some(dir)) => dir.to_owned(),
            _ => PathBuf::from("/run/belljar/notify"),
        }
    }

    fn setting(&self, zygote: &Arc<Zygote>, names: Names) -> Setting {
        Setting {
            defined: Definitions::new(&self.plan, self.name.as_str(), names, self.own_env()),
            zygote: Some(Arc::clone(zygote)),
            dir: self.plan.dir.clone(),
            ground: self.shared.clone(),
            notify_dir: self.notify_dir(),
            hostname: self.name.to_string(),
        }
    }

    /// Makes the session's place: a seal, or in shared isolation a warden.
    async fn ground(
        &self,
        zygote: &Arc<Zygote>,
        processes: u32,
    ) -> Result<(Init, Option<native::Sealed>), LaunchError> {
        let zygote = Arc::clone(zygote);
        let failed = |error| LaunchError::Files(std::io::Error::other(error));
        if self.shared.is_some() {
            fs_err::create_dir_all(self.commands_tmp()).map_err(LaunchError::Files)?;
            let warden = tokio::task::spawn_blocking(move || zygote.launch_shared()).await.map_err(failed)?;
            return Ok((warden.map_err(LaunchError::Sandbox)?, None));
        }
        let sealed = native::seal(self, processes).map_err(LaunchError::Files)?;
        let spec = sealed.spec.clone();
        let init = if self.alone {
            zygote.launch(&spec)
        } else {
            tokio::task::spawn_blocking(move || zygote.launch(&spec)).await.map_err(failed)?
        };
        Ok((init.map_err(LaunchError::Sandbox)?, Some(sealed)))
    }
}

impl Session {
    /// Makes a session's place and starts its plan. Returns as soon as it can be spoken to; [`Session::ready`] waits.
    pub async fn launch(zygote: &Arc<Zygote>, config: Config) -> Result<Self, LaunchError> {
        // First of all: what is asked for of the host and cannot be had is said before anything is there.
        let bind = |port: Option<u16>| port.map(Endpoint::bind).transpose().map_err(LaunchError::Port);
        let asked = bind(config.metrics.filter(|&port| port != 0))?;
        let gates = ports::bind_all(&config.plan, config.numbers).map_err(LaunchError::Port)?;
        let endpoint = asked.map_or_else(|| bind(config.metrics), |asked| Ok(Some(asked)))?;
        let openings = ports::openings(&config.plan, &gates, endpoint.as_ref().map(Endpoint::url));
        let limits = config.limits().map_err(LaunchError::Limits)?;
        for dir in config.own_dirs() {
            fs_err::create_dir_all(dir).map_err(LaunchError::Files)?;
        }
        let link = config.dir.join("bin/belljar");
        if !link.is_symlink() {
            fs_err::os::unix::fs::symlink(&config.program, link).map_err(LaunchError::Files)?;
        }
        let processes = limits.processes();
        let directories = limits.directories();
        if !directories.is_empty() {
            let lines: Vec<_> = directories.iter().map(|one| format!("{}\n", one.display())).collect();
            fs_err::write(&config.groups_file, lines.concat()).map_err(LaunchError::Files)?;
        }
        let groups = limits.make().map_err(LaunchError::Limits)?;
        let (init, sealed) = config.ground(zygote, processes).await?;
        let connection = Connection::new(init).map_err(LaunchError::Files)?;
        let connection = Arc::new(connection.with_groups(groups));

        let timeline = Timeline::create(&config.dir.join("events.jsonl"), config.clock.clone())
            .map_err(LaunchError::Files)?;
        let logs = Logs::new(config.dir.join("logs"), timeline.start()).map_err(LaunchError::Files)?;
        let logs = Arc::new(logs);
        let (sender, messages) = driver::channel();
        let (names, is_sealed) = match sealed {
            Some(sealed) => (sealed.names, true),
            None => (Names::of(&config.plan, config.name.as_str()), false),
        };
        let backend =
            Native::new(Arc::clone(&connection), Arc::clone(&logs), config.setting(zygote, names), &sender);
        let shared = backend.shared();
        let mut servers = Vec::new();
        if is_sealed {
            let server = name_server(&connection, &config.plan, shared.defined.names()).await;
            servers.push(server.map_err(LaunchError::Sandbox)?);
        }
        let host_services = open_host_services(&connection, &config.plan).await?;
        let door = Door::of(Arc::clone(&connection), config.plan.address);
        let events_written = timeline.written();
        let machine = Machine::new(Arc::clone(&config.plan), config.id.clone(), config.name.clone())
            .with_openings(openings);
        let handle = Driver::start(machine, backend, timeline, sender, messages);
        let gates = Gates::open(gates, &door, &handle);
        servers.extend(host_services.into_iter().map(|one| tokio::spawn(one.serve(handle.clone()))));
        servers.extend(endpoint.map(|one| tokio::spawn(one.serve(door, handle.clone()))));
        let of = Of {
            id: config.id.clone(),
            name: config.name.clone(),
            dir: config.dir.clone(),
            expiry_file: config.expiry_file.clone(),
            clock: config.clock.clone(),
            is_shared: config.shared.is_some(),
            shown: config.shown(),
            takes_volumes: keeps_data(&config.plan) || config.plan.filesystem == Filesystem::Host,
            private_home: (config.plan.home == Home::Private).then(|| config.user.home.clone()),
        };
        let plan = Arc::clone(&config.plan);
        let editor = Arc::new(Editor::new(of, plan, config.edition.clone(), handle.clone()));
        servers.push(tokio::spawn(Arc::clone(&editor).watch()));
        let control = control::Control {
            handle: handle.clone(),
            shared: Arc::clone(&shared),
            editor: Arc::clone(&editor),
            events: config.dir.join("events.jsonl"),
            events_written,
            logs,
        };
        let (last_answer, answered) = watch::channel(false);
        let served = control::serve(&config.control_socket, control, last_answer);
        servers.push(
            served.map_err(|source| LaunchError::Control { path: config.control_socket.clone(), source })?,
        );
        Ok(Self { config, handle, shared, editor, servers, _gates: gates, answered })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits until the session is ready. One that does not become ready has ended when this returns.
    pub async fn ready(&self) -> Result<SessionView, NotReady> {
        let mut state = self.handle.state();
        // The supervisor is gone only after it has ended the session.
        let _ = state
            .wait_for(|state| {
                matches!(
                    state,
                    SessionState::Ready
                        | SessionState::Degraded
                        | SessionState::Stopping
                        | SessionState::Ended
                )
            })
            .await;
        let view = self.handle.view().await;
        if matches!(view.state, SessionState::Ready | SessionState::Degraded) {
            return Ok(view);
        }
        let view = self.handle.ended().await;
        self.shared.logs_are_whole().await;
        Err(not_ready(view))
    }

    /// Starts a command in the session.
    pub async fn command(&self, spec: CommandSpec, stdio: [OwnedFd; 3]) -> Result<Command, CommandError> {
        Command::start(&self.shared, &self.handle, spec, stdio).await
    }

    /// Waits until whatever changes from now on of what it watches is noticed.
    pub async fn watches(&self) {
        self.editor.watches().await;
    }

    /// Gives it so long to live from now on.
    pub async fn expire(&self, within: Duration) -> Result<(), ErrorView> {
        self.editor.expire(within).await
    }

    /// Ends the session; returns when none of its processes is left and its logs are whole.
    pub async fn end(&self, why: &str) -> Arc<SessionView> {
        let view = self.handle.end(why).await;
        self.settled(view).await
    }

    /// The same, with the replicas stopped by their signals first, dependants before what they depend on.
    pub async fn end_in_order(&self, why: &str) -> Arc<SessionView> {
        let view = self.handle.end_in_order(why).await;
        self.settled(view).await
    }

    async fn settled(&self, view: Arc<SessionView>) -> Arc<SessionView> {
        self.shared.logs_are_whole().await;
        // Whoever asked for the end is told of it. One that does not read his answer is not waited for.
        let mut answered = self.answered.clone();
        let _ = tokio::time::timeout(ANSWERS_WITHIN, answered.wait_for(|&answered| answered)).await;
        view
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for server in &self.servers {
            server.abort();
        }
        self.shared.connection.end();
        // A socket that nobody serves would only puzzle; where it is gone already, so much the better.
        let _ = fs_err::remove_file(&self.config.control_socket);
    }
}

/// Whether any replica has volumes.
pub(crate) fn keeps_data(plan: &Plan) -> bool {
    plan.replicas().any(|one| !one.volumes.is_empty() || one.init.is_some())
}

fn limit_plan(plan: &Plan, id: &str, is_sealed: bool) -> Result<LimitPlan, LimitError> {
    let replicas = plan.replicas().map(|one| (one.name.to_string(), limits(one.limits)));
    let tasks = plan.tasks.iter().map(|one| (one.name.to_string(), limits(one.limits)));
    LimitPlan::new(id, limits(plan.limits), replicas.chain(tasks), is_sealed)
}

/// Whether this machine can carry out the limits of a plan. Nothing is made.
pub fn check_limits(plan: &Plan) -> Result<(), LimitError> {
    limit_plan(plan, "0000-0000", plan.isolation == Isolation::Sealed).map(drop)
}

pub(crate) fn limits(limits: Limits) -> spec::Limits {
    let Limits { pids, memory, cpu } = limits;
    spec::Limits { pids, memory, cpu }
}

/// Makes them reachable before anything starts that may want to reach them.
async fn open_host_services(
    connection: &Arc<Connection>,
    plan: &Plan,
) -> Result<Vec<HostService>, LaunchError> {
    // In shared isolation they have no address: everybody reaches the host as it is.
    let inside = plan.host_services.iter().filter_map(|one| Some((one, one.address?)));
    let opened = (0..=u16::MAX).zip(inside).map(|(index, (one, address))| async move {
        HostService::open(one.clone(), address, index, connection)
            .await
            .map_err(|source| LaunchError::HostService { name: one.name.to_string(), source })
    });
    try_join_all(opened).await
}

async fn name_server(
    connection: &Connection,
    plan: &Plan,
    names: Arc<RwLock<Names>>,
) -> Result<JoinHandle<()>, SandboxError> {
    let socket = connection.socket(SocketSpec::UdpBound(Place::Session, plan.address, 53)).await?;
    let socket = std::net::UdpSocket::from(socket);
    let socket = socket.set_nonblocking(true).and_then(|()| tokio::net::UdpSocket::from_std(socket));
    let socket = socket.map_err(|_| SandboxError::Protocol)?;
    Ok(tokio::spawn(native::serve_names(socket, names)))
}

fn not_ready(view: Arc<SessionView>) -> NotReady {
    let why = view.why.clone().unwrap_or_else(|| "it ended".to_owned());
    let task = view
        .tasks
        .iter()
        .find(|(_, task)| task.state == TaskState::Failed && !task.last_lines.is_empty())
        .map(|(name, task)| (name.to_string(), task.last_lines.clone()));
    let named = |name: &str| why.starts_with(&format!("{name} "));
    let replica = view
        .services
        .values()
        .flat_map(|service| &service.replicas)
        .filter(|one| {
            matches!(one.state, ReplicaState::Failed | ReplicaState::Unhealthy) || named(one.name.as_str())
        })
        .max_by_key(|one| named(one.name.as_str()))
        .map(|one| (one.name.to_string(), one.last_lines.clone()));
    NotReady { why, culprit: task.or(replica), view }
}
