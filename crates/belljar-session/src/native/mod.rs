//! The native backend: replicas as processes of a sealed session on this machine.

mod command;
mod connection;
mod definitions;
mod dns;
mod etc;
mod ground;
mod health;
mod pace;
pub(crate) mod probing;
mod readiness;
mod seal;

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use belljar_client::wire::Stream;
use belljar_model::event::Exit;
use belljar_sandbox::spec::{Bind, ExitStatus, Place, ProcessSpec, SocketSpec, Target};
use belljar_sandbox::{SandboxError, Zygote};
use belljar_stack::plan::{Check, ReplicaPlan};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::driver::Message;
use crate::logs::{Log, Logs};
use crate::machine::{Input, Order, ReplicaIndex, Report, TaskIndex};
use crate::session;
use crate::shared::{self, Ground, TakenPort};

pub use command::{Command, CommandError, CommandSpec};
pub(crate) use connection::Connection;
pub(crate) use definitions::Definitions;
pub(crate) use dns::Names;
use ground::NoPort;
use readiness::NotReady;
pub use seal::network;
pub(crate) use seal::{Sealed, seal};

/// After a process has ended, its pipes are read for this long at most: something may have been handed a
/// writing end and keep it.
const PIPES_CLOSE_WITHIN: Duration = Duration::from_millis(500);

/// Carries out the orders of one session.
pub(crate) struct Native {
    shared: Arc<Shared>,
    watches: HashMap<ReplicaIndex, tokio::task::AbortHandle>,
}

/// What a session is given besides its connection and its logs.
pub(crate) struct Setting {
    pub(crate) defined: Definitions,
    /// Makes networks for replicas that come later.
    pub(crate) zygote: Option<Arc<Zygote>>,
    /// The stack's directory.
    pub(crate) dir: PathBuf,
    /// In shared isolation, where it stands.
    pub(crate) ground: Option<Ground>,
    /// Where replicas' notification sockets are, as they see them.
    pub(crate) notify_dir: PathBuf,
    /// The session's host name.
    pub(crate) hostname: String,
}

/// What the tasks of one session share.
pub(crate) struct Shared {
    pub(crate) connection: Arc<Connection>,
    /// What replicas and tasks are, from their next start on.
    pub(crate) defined: Definitions,
    /// Makes networks for replicas that come later.
    zygote: Option<Arc<Zygote>>,
    /// The stack's directory.
    pub(crate) dir: PathBuf,
    /// One port is changed at a time: each plan then has all changes before it, and is told after them.
    changing: std::sync::Mutex<()>,
    /// In shared isolation, its ports.
    ground: Option<Ground>,
    pub(crate) logs: Arc<Logs>,
    /// Where replicas' notification sockets are, as they see them.
    notify_dir: PathBuf,
    /// The session's host name.
    pub(crate) hostname: String,
    reports: mpsc::WeakUnboundedSender<Message>,
    replicas: std::sync::Mutex<HashMap<ReplicaIndex, LiveReplica>>,
    tasks: std::sync::Mutex<HashMap<TaskIndex, u64>>,
    /// How many pipes are being read into logs.
    pumps: watch::Sender<usize>,
}

/// What is known of the running process of a replica.
#[derive(Clone)]
struct LiveReplica {
    generation: u32,
    unit: u64,
    started: Instant,
    told: watch::Receiver<bool>,
    log: Arc<Log>,
    plan: Arc<ReplicaPlan>,
    /// It is ready, or was.
    was_ready: Arc<AtomicBool>,
    /// A port of its that somebody else listens on.
    taken: Arc<std::sync::Mutex<Option<TakenPort>>>,
}

impl Native {
    pub(crate) fn new(
        connection: Arc<Connection>,
        logs: Arc<Logs>,
        setting: Setting,
        reports: &mpsc::UnboundedSender<Message>,
    ) -> Self {
        let Setting { defined, zygote, dir, ground, notify_dir, hostname } = setting;
        let shared = Arc::new(Shared {
            connection,
            defined,
            zygote,
            dir,
            changing: std::sync::Mutex::default(),
            ground,
            logs,
            notify_dir,
            hostname,
            reports: reports.downgrade(),
            replicas: std::sync::Mutex::default(),
            tasks: std::sync::Mutex::default(),
            pumps: watch::Sender::new(0),
        });
        if shared.is_sealed() {
            let hosts = Arc::clone(&shared);
            tokio::spawn(async move { hosts.keep_hosts_file().await });
        }
        let gone = Arc::clone(&shared);
        tokio::spawn(async move {
            let why = gone.connection.serve().await;
            gone.report(Report::Gone { why });
        });
        Self { shared, watches: HashMap::new() }
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

impl Backend for Native {
    fn carry_out(&mut self, order: Order) {
        let shared = Arc::clone(&self.shared);
        match order {
            Order::StartReplica { replica, generation } => {
                tokio::spawn(async move { shared.run_replica(replica, generation).await });
            }
            Order::WatchReadiness { replica, generation } => {
                let task = tokio::spawn(async move { shared.watch_readiness(replica, generation).await });
                if let Some(old) = self.watches.insert(replica, task.abort_handle()) {
                    old.abort();
                }
            }
            Order::WatchHealth { replica, generation, well } => {
                let task = tokio::spawn(async move { shared.watch_health(replica, generation, well).await });
                if let Some(old) = self.watches.insert(replica, task.abort_handle()) {
                    old.abort();
                }
            }
            Order::StopWatching { replica } => {
                if let Some(watch) = self.watches.remove(&replica) {
                    watch.abort();
                }
            }
            Order::Signal { replica, signal } => {
                let unit = self.shared.live(replica).map(|live| live.unit);
                if let Some(unit) = unit {
                    let names = self.shared.defined.names_told();
                    tokio::spawn(async move {
                        // Nobody is led any more to one that goes, when it hears of it.
                        shared.defined.names_written(names).await;
                        // It has ended where this fails, and that is reported by itself.
                        let _ = shared.connection.signal(Target::Unit(unit), signal).await;
                    });
                }
            }
            Order::Kill { replica } => {
                tokio::spawn(async move {
                    shared.connection.kill_all(connection::all_of(replica)).await;
                });
            }
            Order::Freeze { replica, generation } => {
                tokio::spawn(async move {
                    let result = shared.connection.freeze(connection::all_of(replica)).await;
                    let result = result.map_err(|error| error.to_string());
                    shared.report(Report::ReplicaFrozen { replica, generation, result });
                });
            }
            Order::Thaw { replica, generation } => {
                tokio::spawn(async move {
                    let result = shared.connection.thaw(connection::all_of(replica)).await;
                    let result = result.map_err(|error| error.to_string());
                    shared.report(Report::ReplicaThawed { replica, generation, result });
                });
            }
            Order::ChangePort { replica, generation, port } => {
                // Leasing waits for the disk and for other sessions.
                tokio::task::spawn_blocking(move || shared.change_port(replica, generation, port));
            }
            Order::StartTask { task } => {
                tokio::spawn(async move { shared.run_task(task).await });
            }
            Order::KillTask { task } => {
                let unit = self.shared.tasks.lock().expect("no panic while it is held").get(&task).copied();
                if let Some(unit) = unit {
                    tokio::spawn(async move {
                        shared.connection.kill_all(Target::UnitGroup(unit)).await;
                    });
                }
            }
            Order::DefineReplica { replica, plan } => shared.defined.define(replica, plan),
            Order::DefineTask { task, plan } => shared.defined.define_task(task, plan),
            Order::TellNames { names, command_env } => shared.defined.tell(names, command_env),
            Order::EndSession => self.shared.connection.kill(),
        }
    }
}

impl Shared {
    fn report(&self, report: Report) {
        if let Some(reports) = self.reports.upgrade() {
            // Nobody listens any more when the session has ended.
            let _ = reports.send(Message::Input(Input::Report(report)));
        }
    }

    /// Waits until what the processes said before their end is in the logs.
    pub(crate) async fn logs_are_whole(&self) {
        let mut pumps = self.pumps.subscribe();
        // Nobody waits for a pipe that somebody else keeps open.
        let _ = tokio::time::timeout(PIPES_CLOSE_WITHIN, pumps.wait_for(|&count| count == 0)).await;
    }

    fn live(&self, replica: ReplicaIndex) -> Option<LiveReplica> {
        self.replicas.lock().expect("no panic while it is held").get(&replica).cloned()
    }

    /// What a replica's process was started from, else what it will be.
    pub(crate) fn replica_plan(&self, replica: ReplicaIndex) -> Arc<ReplicaPlan> {
        self.live(replica).map_or_else(|| self.defined.replica(replica), |live| live.plan)
    }

    /// Writes the session's names into /etc/hosts whenever they change, the newest ones alone.
    async fn keep_hosts_file(self: Arc<Self>) {
        let mut told = self.defined.told();
        while told.changed().await.is_ok() {
            let number = *told.borrow_and_update();
            let text = self.defined.hosts_file();
            // The name server knows them already; without the session's init nobody looks them up.
            let _ = self.connection.rewrite(Path::new("/etc/hosts"), text).await;
            self.defined.wrote(number);
        }
    }

    /// Gives a replica its network and its limits, where it has come to a session that ran already.
    async fn prepare_place(&self, replica: ReplicaIndex, plan: &ReplicaPlan) -> Result<(), String> {
        let mut made = self.defined.places().lock().await;
        while *made <= replica {
            let zygote = self.zygote.clone().ok_or("there is nobody to make its network")?;
            let network = tokio::task::spawn_blocking(move || zygote.network()).await;
            let network = network.map_err(|error| error.to_string())?.map_err(explain)?;
            let address = self.defined.replica(*made).address;
            let joined = self.connection.add_replica(network, address, self.defined.prefix()).await;
            joined.map_err(explain)?;
            *made += 1;
        }
        if self.defined.is_new(replica) {
            let limits = session::limits(plan.limits);
            self.connection.limit(plan.name.as_str(), &limits).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Whether its names, files and ports are its own.
    pub(crate) fn is_sealed(&self) -> bool {
        self.ground.is_none()
    }

    /// The whole life of one generation of a replica.
    async fn run_replica(self: Arc<Self>, replica: ReplicaIndex, generation: u32) {
        let started = Instant::now();
        let plan = self.defined.replica(replica);
        let log = match self.logs.open(plan.name.as_str()) {
            Ok(log) => Arc::new(log),
            Err(error) => {
                let why = format!("cannot write its log: {error}");
                let last_lines = Vec::new();
                return self.report(Report::ReplicaNotStarted { replica, generation, why, last_lines });
            }
        };
        let refused = |why: String| Report::ReplicaNotStarted {
            replica,
            generation,
            why,
            last_lines: log.last_lines(),
        };
        if let Err(why) = self.prepare_place(replica, &plan).await {
            return self.report(refused(why));
        }
        if let Err(error) = self.prepare_files(&plan) {
            return self.report(refused(format!("cannot prepare its files: {error}")));
        }
        if let Err(why) = self.prepare_volumes(replica, &plan, &log).await {
            return self.report(refused(why));
        }
        let (tell, told) = watch::channel(false);
        let tell = Arc::new(tell);
        let mut env = plan.env.clone();
        if plan.ready.check == Check::Notify {
            match self.notify_socket(replica, Arc::clone(&tell)).await {
                Ok(path) => drop(env.insert("NOTIFY_SOCKET".to_owned(), path)),
                Err(why) => return self.report(refused(why)),
            }
        }
        let pattern = match &plan.ready.check {
            Check::Log { pattern } => match regex::Regex::new(pattern) {
                Ok(pattern) => Some(pattern),
                Err(error) => return self.report(refused(error.to_string())),
            },
            _ => None,
        };
        let mut spec = Self::replica_process(replica, &plan, plan.argv.clone(), &env, true);
        let listeners = match self.hand_over_ports(replica, &plan).await {
            Ok(listeners) => listeners,
            Err(NoPort::Refused(why)) => return self.report(refused(why)),
            Err(NoPort::Taken(taken)) => {
                let (why, last_lines) = (taken.to_string(), log.last_lines());
                let (port, exit) = (taken.port, Exit::default());
                return self.report(Report::PortTaken { replica, generation, port, exit, why, last_lines });
            }
        };
        let listeners = listeners.into_iter().map(|(name, listener)| {
            spec.listeners.push(name);
            listener
        });
        let listeners = listeners.collect();
        let matcher = pattern.map(|pattern| (pattern, tell));
        let (mut process, pumps) = match self.spawn_logged(spec, &log, matcher, listeners).await {
            Ok(spawned) => spawned,
            Err(why) => {
                self.take_ports_back(&plan);
                return self.report(refused(why));
            }
        };
        let live = LiveReplica {
            generation,
            unit: process.unit,
            started,
            told,
            log: Arc::clone(&log),
            plan: Arc::clone(&plan),
            was_ready: Arc::default(),
            taken: Arc::default(),
        };
        self.replicas.lock().expect("no panic while it is held").insert(replica, live.clone());
        self.report(Report::ReplicaStarted { replica, generation, pid: process.pid });
        let Ok(status) = (&mut process.exit).await else {
            // The whole session ended; `Gone` tells.
            return;
        };
        // At once, before anybody else can.
        let lost = self.take_ports_back(&plan);
        finish_pumps(pumps).await;
        let (last_lines, exit) = (log.last_lines(), exit_of(status));
        let seen = live.taken.lock().expect("no panic while it is held").take();
        // One that was ready had its ports, and has ended for another reason.
        let lost = lost.filter(|_| !live.was_ready.load(Ordering::Relaxed));
        self.report(match seen.or(lost) {
            Some(taken) => {
                let why = taken.to_string();
                Report::PortTaken { replica, generation, port: taken.port, exit, why, last_lines }
            }
            None => Report::ReplicaExited { replica, generation, exit, last_lines },
        });
    }

    fn replica_process(
        replica: ReplicaIndex,
        plan: &ReplicaPlan,
        argv: Vec<String>,
        env: &BTreeMap<String, String>,
        main: bool,
    ) -> ProcessSpec {
        let binds = plan.volumes.iter().filter_map(|volume| {
            Some(Bind { source: volume.source.clone(), target: volume.target.clone()? })
        });
        ProcessSpec {
            unit: 0,
            place: connection::place(replica),
            main,
            argv,
            env: env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            cwd: plan.cwd.clone(),
            hostname: plan.name.to_string(),
            binds: binds.collect(),
            files: plan.files.iter().map(|file| (file.path.clone(), file.text.clone())).collect(),
            terminal: false,
            listeners: Vec::new(),
        }
    }

    /// Makes the volumes, and runs the service's `init` in them if that has never been done.
    async fn prepare_volumes(
        self: &Arc<Self>,
        replica: ReplicaIndex,
        plan: &ReplicaPlan,
        log: &Arc<Log>,
    ) -> Result<(), String> {
        for volume in &plan.volumes {
            fs_err::create_dir_all(&volume.source).map_err(|error| error.to_string())?;
        }
        let Some(init) = &plan.init else { return Ok(()) };
        let stamp = self.logs.dir().with_file_name("volumes").join(format!("{}.initialised", plan.name));
        // Not knowing is no reason to do it again.
        if stamp.try_exists().map_err(|error| format!("cannot look for {}: {error}", stamp.display()))? {
            return Ok(());
        }
        let spec = Self::replica_process(replica, plan, init.clone(), &plan.env, false);
        let (process, pumps) = self.spawn_logged(spec, log, None, Vec::new()).await?;
        let Ok(status) = process.exit.await else {
            return Err("the session ended".to_owned());
        };
        finish_pumps(pumps).await;
        let exit = exit_of(status);
        if !exit.is_success() {
            return Err(format!("its preparation (`init`) ended with {exit}"));
        }
        if let Some(parent) = stamp.parent() {
            fs_err::create_dir_all(parent).map_err(|error| error.to_string())?;
        }
        fs_err::write(&stamp, "").map_err(|error| error.to_string())
    }

    /// Starts a process whose output goes to a log.
    async fn spawn_logged(
        &self,
        spec: ProcessSpec,
        log: &Arc<Log>,
        matcher: Option<(regex::Regex, Arc<watch::Sender<bool>>)>,
        listeners: Vec<OwnedFd>,
    ) -> Result<(connection::Process, [JoinHandle<()>; 2]), String> {
        let null = fs_err::File::open("/dev/null").map_err(|error| error.to_string())?;
        let (out_reader, out) = output_pipe().map_err(|error| error.to_string())?;
        let (err_reader, err) = output_pipe().map_err(|error| error.to_string())?;
        let stdin = OwnedFd::from(null.into_file());
        let process = self.connection.spawn(spec, [stdin, out, err], listeners).await.map_err(explain)?;
        let pumps = [(out_reader, Stream::Out), (err_reader, Stream::Err)].map(|(reader, stream)| {
            let (log, matcher) = (Arc::clone(log), matcher.clone());
            let running = Pump::new(&self.pumps);
            tokio::spawn(async move {
                let _running = running;
                let each_line = |line: &str| {
                    if let Some((pattern, tell)) = &matcher
                        && pattern.is_match(line)
                    {
                        tell.send_replace(true);
                    }
                };
                // A log that can't be written any more (a full disk) must not stop the replica: its pipe
                // breaks and it may say so itself.
                let _ = log.pump(stream, reader, each_line).await;
            })
        });
        Ok((process, pumps))
    }

    async fn notify_socket(
        &self,
        replica: ReplicaIndex,
        tell: Arc<watch::Sender<bool>>,
    ) -> Result<String, String> {
        // Short, as the path of the control socket is.
        let path = self.notify_dir.join(format!("notify.{replica}"));
        let spec = SocketSpec::UnixDatagram(path.clone());
        let socket = self.connection.socket(spec).await.map_err(|error| error.to_string())?;
        let socket = std::os::unix::net::UnixDatagram::from(socket);
        socket.set_nonblocking(true).map_err(|error| error.to_string())?;
        let socket = tokio::net::UnixDatagram::from_std(socket).map_err(|error| error.to_string())?;
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            // It is closed with the session, or when nobody wants to know any more.
            while let Ok(count) = socket.recv(&mut buffer).await {
                if buffer[..count].split(|&b| b == b'\n').any(|line| line == b"READY=1") {
                    tell.send_replace(true);
                    break;
                }
            }
        });
        Ok(path.to_string_lossy().into_owned())
    }

    async fn watch_readiness(self: Arc<Self>, replica: ReplicaIndex, generation: u32) {
        let Some(live) = self.live(replica).filter(|live| live.generation == generation) else { return };
        let plan = self.replica_plan(replica);
        let subject = self.subject(replica, &live);
        match readiness::watch(&subject, &plan.ready).await {
            Ok(()) => {
                live.was_ready.store(true, Ordering::Relaxed);
                let ready_ms = (live.started.elapsed().as_secs_f64() * 1e6).round() / 1e3;
                self.report(Report::ReplicaReady { replica, generation, ready_ms });
            }
            Err(NotReady::Foreign(number)) => {
                // It is told when the replica, which has no use any more, has ended.
                let port = plan.ports.iter().find(|one| one.port == number).map(|one| one.name.clone());
                let taken = TakenPort { port: port.unwrap_or_default(), number };
                *live.taken.lock().expect("no panic while it is held") = Some(taken);
                self.connection.kill_all(connection::all_of(replica)).await;
            }
            Err(NotReady::Broken(why)) => {
                let last_lines = live.log.last_lines();
                self.report(Report::ReplicaNotReady { replica, generation, why, last_lines });
            }
        }
    }

    /// A running replica as its checks see it.
    fn subject(self: &Arc<Self>, replica: ReplicaIndex, live: &LiveReplica) -> readiness::Subject {
        let execs = Arc::clone(self);
        let plan = self.replica_plan(replica);
        readiness::Subject {
            connection: Arc::clone(&self.connection),
            index: replica,
            address: plan.address,
            // Whoever has a network to himself is the only one who can listen there.
            alone: self.is_sealed(),
            handed: plan.ports.iter().filter(|one| one.listen).map(|one| one.port).collect(),
            uid: belljar_sandbox::plain_identity()
                .map_or_else(|| rustix::process::geteuid().as_raw(), |plain| plain.uid),
            unit: live.unit,
            told: live.told.clone(),
            exec: Box::new(move |argv| {
                let shared = Arc::clone(&execs);
                Box::pin(async move { shared.exec_check(replica, argv).await })
            }),
        }
    }

    /// Runs a readiness command in the replica's place; the error is why it did not hold.
    async fn exec_check(&self, replica: ReplicaIndex, argv: Vec<String>) -> Result<(), String> {
        let plan = self.replica_plan(replica);
        let shown = argv.join(" ");
        let spec = Self::replica_process(replica, &plan, argv, &plan.env, false);
        let null = || fs_err::OpenOptions::new().read(true).write(true).open("/dev/null");
        let null = || null().map(|file| OwnedFd::from(file.into_file())).map_err(|error| error.to_string());
        let process = self.connection.spawn(spec, [null()?, null()?, null()?], Vec::new()).await;
        let process = process.map_err(explain)?;
        match process.exit.await.map(exit_of) {
            Ok(exit) if exit.is_success() => Ok(()),
            Ok(exit) => Err(format!("`{shown}` ended with {exit}")),
            Err(_) => Err("the session ended".to_owned()),
        }
    }

    async fn run_task(self: Arc<Self>, task: TaskIndex) {
        let started = Instant::now();
        let plan = self.defined.task(task);
        let refused = |why: String, last_lines| Report::TaskNotStarted { task, why, last_lines };
        let log = match self.logs.open(plan.name.as_str()) {
            Ok(log) => Arc::new(log),
            Err(error) => return self.report(refused(format!("cannot write its log: {error}"), Vec::new())),
        };
        let spec = ProcessSpec {
            unit: 0,
            place: Place::Session,
            main: true,
            argv: plan.argv.clone(),
            env: plan.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            cwd: plan.cwd.clone(),
            hostname: plan.name.to_string(),
            binds: Vec::new(),
            files: Vec::new(),
            terminal: false,
            listeners: Vec::new(),
        };
        if let (false, Some(tmp)) = (self.is_sealed(), plan.env.get("TMPDIR"))
            && let Err(error) = shared::private_dir(Path::new(tmp))
        {
            let why = format!("cannot prepare its files: {error}");
            return self.report(refused(why, Vec::new()));
        }
        let (process, pumps) = match self.spawn_logged(spec, &log, None, Vec::new()).await {
            Ok(spawned) => spawned,
            Err(why) => return self.report(refused(why, log.last_lines())),
        };
        self.tasks.lock().expect("no panic while it is held").insert(task, process.unit);
        self.report(Report::TaskStarted { task, pid: process.pid });
        let Ok(status) = process.exit.await else { return };
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        finish_pumps(pumps).await;
        let exit = exit_of(status);
        self.report(Report::TaskExited { task, exit, duration_ms, last_lines: log.last_lines() });
    }
}

/// Answers the session's name queries until the session ends.
pub(crate) async fn serve_names(socket: tokio::net::UdpSocket, names: Arc<RwLock<Names>>) {
    dns::serve(socket, names).await;
}

/// Counts a pump for as long as it lives.
struct Pump(watch::Sender<usize>);

impl Pump {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// A pipe whose reading end the runtime can wait on.
fn output_pipe() -> std::io::Result<(pipe::Receiver, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    Ok((pipe::Receiver::from_owned_fd(reader)?, writer))
}

async fn finish_pumps(pumps: [JoinHandle<()>; 2]) {
    let aborts = [pumps[0].abort_handle(), pumps[1].abort_handle()];
    let [out, err] = pumps;
    let both = async {
        // A pump that panicked has nothing more to say.
        let _ = (out.await, err.await);
    };
    if tokio::time::timeout(PIPES_CLOSE_WITHIN, both).await.is_err() {
        for pump in aborts {
            pump.abort();
        }
    }
}

/// A refusal of the sandbox with what it stands on, in one line.
fn explain(error: SandboxError) -> String {
    error.to_string()
}

/// How a process ended, in the words of the timeline.
pub(crate) fn exit_of(status: ExitStatus) -> Exit {
    match status {
        ExitStatus::Code(code) => Exit { code: Some(code), signal: None },
        ExitStatus::Signal(number) => Exit { code: None, signal: Some(belljar_model::signal::name(number)) },
    }
}
