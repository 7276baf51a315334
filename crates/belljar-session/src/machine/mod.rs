//! The supervisor's mind: a state machine without processes, files or clocks.
//!
//! Everything that can happen to a session is one [`Input`]; everything that it wants done is one [`Effect`].
//! [`Machine::handle`] is the only way in and its list of effects the only way out, so each rule of starting,
//! stopping and restarting can be tested by itself. The driver carries the effects out in their order, which
//! is what makes "written before answered" true.

mod boot;
mod change;
mod difference;
mod ending;
mod health;
mod ports;
mod requests;
mod verbs;
mod view;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use belljar_client::wire::{ErrorView, Verb, WaitFor};
use belljar_model::event::Exit;
use belljar_model::{
    Cause, EventKind, ReplicaName, ReplicaState, ServiceName, SessionId, SessionName, SessionState, TaskState,
};
use belljar_stack::plan::{Plan, ReplicaPlan, ServicePlan, TaskPlan};

pub use requests::Answer;

use crate::ports::Openings;

/// A replica, as its place in [`Plan::replicas`].
pub type ReplicaIndex = usize;
/// A task, as its place in [`Plan::tasks`].
pub type TaskIndex = usize;
/// A request that waits for its answer; the driver's number for it.
pub type RequestId = u64;

/// What happens to a session.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Start what can be started. Given once, first.
    Begin,
    /// The backend's word on something it was ordered to do.
    Report(Report),
    /// A timer that was set has gone off.
    Timer(Timer),
    /// Somebody asks for something and waits for the answer.
    Request {
        id: RequestId,
        ask: Ask,
    },
    /// Whoever made this request is gone; nobody waits for the answer any more.
    Forget {
        id: RequestId,
    },
    /// A command that was started by `exec` or as a scenario lives (or has ended).
    CommandStarted,
    CommandEnded,
    /// A published port takes no more for the moment.
    PortOverloaded {
        service: ServiceName,
        replica: Option<ReplicaName>,
        port: String,
        why: String,
    },
    /// End the session at once.
    End {
        why: String,
    },
    /// End it when its replicas have been stopped by their signals, dependants first.
    EndInOrder {
        why: String,
    },
}

/// What a backend tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    ReplicaStarted {
        replica: ReplicaIndex,
        generation: u32,
        pid: i32,
    },
    ReplicaNotStarted {
        replica: ReplicaIndex,
        generation: u32,
        why: String,
        last_lines: Vec<String>,
    },
    ReplicaReady {
        replica: ReplicaIndex,
        generation: u32,
        ready_ms: f64,
    },
    /// Its readiness did not hold within its time.
    ReplicaNotReady {
        replica: ReplicaIndex,
        generation: u32,
        why: String,
        last_lines: Vec<String>,
    },
    /// What is watched of it does not hold any more, or holds again.
    ReplicaUnwell {
        replica: ReplicaIndex,
        generation: u32,
        why: String,
        last_lines: Vec<String>,
    },
    ReplicaWell {
        replica: ReplicaIndex,
        generation: u32,
    },
    ReplicaExited {
        replica: ReplicaIndex,
        generation: u32,
        exit: Exit,
        last_lines: Vec<String>,
    },
    /// Its process has ended, or never came to be, because another process has a port that it needs.
    PortTaken {
        replica: ReplicaIndex,
        generation: u32,
        port: String,
        exit: Exit,
        why: String,
        last_lines: Vec<String>,
    },
    /// What came of a new lease: the old and the new number, and the plan with it.
    PortChanged {
        replica: ReplicaIndex,
        generation: u32,
        port: String,
        result: Result<(u16, u16, Arc<Plan>), String>,
    },
    ReplicaFrozen {
        replica: ReplicaIndex,
        generation: u32,
        result: Result<(), String>,
    },
    ReplicaThawed {
        replica: ReplicaIndex,
        generation: u32,
        result: Result<(), String>,
    },
    TaskStarted {
        task: TaskIndex,
        pid: i32,
    },
    TaskNotStarted {
        task: TaskIndex,
        why: String,
        last_lines: Vec<String>,
    },
    TaskExited {
        task: TaskIndex,
        exit: Exit,
        duration_ms: u64,
        last_lines: Vec<String>,
    },
    /// Every process of the session is gone; `why`, where neither that was ordered nor its init was killed.
    Gone {
        why: Option<String>,
    },
}

/// What a backend is ordered to do. It answers with [`Report`]s, never by waiting.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    StartReplica {
        replica: ReplicaIndex,
        generation: u32,
    },
    /// Watch for its readiness and report it, or that its time ran out.
    WatchReadiness {
        replica: ReplicaIndex,
        generation: u32,
    },
    /// Watch its health, and report whenever that turns. `well`: what it is now.
    WatchHealth {
        replica: ReplicaIndex,
        generation: u32,
        well: bool,
    },
    StopWatching {
        replica: ReplicaIndex,
    },
    /// To its main process.
    Signal {
        replica: ReplicaIndex,
        signal: i32,
    },
    /// SIGKILL to every process of it.
    Kill {
        replica: ReplicaIndex,
    },
    Freeze {
        replica: ReplicaIndex,
        generation: u32,
    },
    Thaw {
        replica: ReplicaIndex,
        generation: u32,
    },
    /// Lease another port in the place of one that was taken, and plan the session with it.
    ChangePort {
        replica: ReplicaIndex,
        generation: u32,
        port: String,
    },
    StartTask {
        task: TaskIndex,
    },
    KillTask {
        task: TaskIndex,
    },
    /// From its next start on this is what the replica is. One that was not there gets its place.
    DefineReplica {
        replica: ReplicaIndex,
        plan: Arc<ReplicaPlan>,
    },
    DefineTask {
        task: TaskIndex,
        plan: Arc<TaskPlan>,
    },
    /// Who is called what from now on, and what commands are told.
    TellNames {
        names: BTreeMap<String, Vec<Ipv4Addr>>,
        command_env: BTreeMap<String, String>,
    },
    /// End everything.
    EndSession,
}

/// What the machine wants done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    Emit(EventKind),
    Order(Order),
    SetTimer { timer: Timer, after: Duration },
    Answer { id: RequestId, answer: Result<Answer, ErrorView> },
}

/// A timer by what it is for. A timer whose moment has passed by is ignored when it goes off.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Timer {
    /// The replica had its time to stop.
    StopRanOut {
        replica: ReplicaIndex,
        generation: u32,
    },
    /// The restart policy's back-off is over.
    RestartDue {
        replica: ReplicaIndex,
        generation: u32,
    },
    TaskRanOut {
        task: TaskIndex,
    },
    /// The replica has been well for so long that its next death is a new story.
    LivedOn {
        replica: ReplicaIndex,
        generation: u32,
    },
    WaitRanOut {
        id: RequestId,
    },
    /// The session has lived as long as it was to.
    LifeRanOut,
}

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    Act {
        verb: Verb,
        targets: Vec<String>,
        by: Cause,
    },
    Wait {
        condition: WaitFor,
        target: Option<String>,
        within: Duration,
    },
    /// Nothing is under way.
    Drain {
        within: Duration,
    },
    /// Makes the session what this plan says; `dry`: only says what that would do.
    Apply {
        plan: Arc<Plan>,
        dry: bool,
    },
    /// The session ends itself so long from now.
    Expire {
        within: Duration,
    },
    /// Files of a service that are watched have changed.
    FilesChanged {
        service: ServiceName,
        files: Vec<PathBuf>,
    },
}

/// The supervisor's state.
#[derive(Debug)]
pub struct Machine {
    plan: Arc<Plan>,
    id: SessionId,
    name: SessionName,
    state: SessionState,
    why: Option<String>,
    openings: Arc<Openings>,
    replicas: Vec<Replica>,
    tasks: Vec<Task>,
    /// Requests that wait for something to become true.
    waiters: BTreeMap<RequestId, requests::Waiter>,
    /// The change of the stack that is under way.
    changing: Option<change::Changing>,
    /// How many changes there were, and what came of the last one that is over.
    changes: u64,
    last_change: Option<(u64, Result<(), ErrorView>)>,
    commands: u32,
    next_fault: u64,
    next_restart_request: u64,
    effects: Vec<Effect>,
}

/// One replica, as the supervisor knows it.
#[derive(Debug)]
struct Replica {
    service: Arc<ServicePlan>,
    plan: Arc<ReplicaPlan>,
    /// What its process was started from.
    runs: Option<Arc<ReplicaPlan>>,
    part: change::Part,
    change: change::Turn,
    /// Whether it is one of those that its service's name stands for.
    is_listed: bool,
    state: ReplicaState,
    /// What it goes back to when it is resumed.
    before_pause: ReplicaState,
    generation: u32,
    pid: Option<i32>,
    ready_ms: Option<f64>,
    exit: Option<Exit>,
    last_lines: Vec<String>,
    /// It was started by the plan and became ready once.
    booted: bool,
    /// Its end was asked for, so it is not a failure and no policy restarts it.
    end_expected: bool,
    /// Another port is being leased for it: it ended for want of one, and starts again.
    changing_port: bool,
    /// It should be alive: true from its first start until somebody stops it.
    wanted: bool,
    /// A freeze or thaw is under way.
    freezing: bool,
    restart: verbs::RestartCycle,
    /// Restarts by policy in a row, for the back-off.
    policy_restarts: u32,
    /// A restart by policy waits for this long, counted from the end that caused it.
    cool_down: Option<Duration>,
    /// Faults on it that have not been healed: their numbers.
    faults: Vec<u64>,
}

#[derive(Debug)]
struct Task {
    plan: Arc<TaskPlan>,
    /// What its last process was started from.
    ran: Option<Arc<TaskPlan>>,
    part: change::Part,
    /// It is to run again when what it comes after holds.
    is_due: bool,
    state: TaskState,
    exit: Option<Exit>,
    timed_out: bool,
    last_lines: Vec<String>,
}

impl Machine {
    pub fn new(plan: Arc<Plan>, id: SessionId, name: SessionName) -> Self {
        let replicas = plan
            .services
            .iter()
            .flat_map(|one| {
                let service = Arc::new(one.clone());
                one.replicas.iter().map(move |plan| Replica::new(&service, Arc::new(plan.clone())))
            })
            .collect();
        let tasks = plan.tasks.iter().map(|plan| Task::new(Arc::new(plan.clone()))).collect();
        Self {
            plan,
            id,
            name,
            state: SessionState::Starting,
            why: None,
            openings: Arc::default(),
            replicas,
            tasks,
            waiters: BTreeMap::new(),
            changing: None,
            changes: 0,
            last_change: None,
            commands: 0,
            next_fault: 0,
            next_restart_request: 0,
            effects: Vec::new(),
        }
    }

    /// What of the session is to be reached from the host, and of the host from it.
    #[must_use]
    pub fn with_openings(self, openings: Arc<Openings>) -> Self {
        Self { openings, ..self }
    }

    /// Takes one input in and says what is to be done about it.
    #[must_use = "effects that are not carried out make the machine's state a lie"]
    pub fn handle(&mut self, input: Input) -> Vec<Effect> {
        match input {
            Input::Begin => self.begin(),
            Input::Report(report) => self.reported(report),
            Input::Timer(timer) => self.timer(timer),
            Input::Request { id, ask } => self.request(id, ask),
            Input::Forget { id } => {
                self.waiters.remove(&id);
            }
            Input::CommandStarted => self.commands += 1,
            Input::CommandEnded => self.commands = self.commands.saturating_sub(1),
            Input::PortOverloaded { service, replica, port, why } => {
                self.emit(EventKind::PortOverloaded { service, replica, port, why });
            }
            Input::End { why } => self.end(why),
            Input::EndInOrder { why } => self.end_in_order(why),
        }
        self.advance();
        self.answer_what_holds();
        std::mem::take(&mut self.effects)
    }

    /// The session that it is the supervisor of.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    pub fn state(&self) -> SessionState {
        self.state
    }

    /// Why it is degraded, stopping or ended.
    pub fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    fn reported(&mut self, report: Report) {
        match report {
            Report::ReplicaStarted { replica, generation, pid } => {
                self.replica_started(replica, generation, pid);
            }
            Report::ReplicaNotStarted { replica, generation, why, last_lines } => {
                self.replica_ended(replica, generation, Exit::default(), Some(why), last_lines);
            }
            Report::ReplicaReady { replica, generation, ready_ms } => {
                self.replica_ready(replica, generation, ready_ms);
            }
            Report::ReplicaNotReady { replica, generation, why, last_lines } => {
                self.replica_not_ready(replica, generation, why, last_lines);
            }
            Report::ReplicaUnwell { replica, generation, why, last_lines } => {
                self.replica_unwell(replica, generation, why, last_lines);
            }
            Report::ReplicaWell { replica, generation } => self.replica_well(replica, generation),
            Report::ReplicaExited { replica, generation, exit, last_lines } => {
                self.replica_ended(replica, generation, exit, None, last_lines);
            }
            Report::PortTaken { replica, generation, port, exit, why, last_lines } => {
                self.port_taken(replica, generation, port, exit, why, last_lines);
            }
            Report::PortChanged { replica, generation, port, result } => {
                self.port_changed(replica, generation, port, result);
            }
            Report::ReplicaFrozen { replica, generation, result } => {
                self.replica_frozen(replica, generation, result);
            }
            Report::ReplicaThawed { replica, generation, result } => {
                self.replica_thawed(replica, generation, result);
            }
            Report::TaskStarted { task, pid } => {
                let name = self.tasks[task].plan.name.clone();
                self.emit(EventKind::TaskStarted { task: name, pid });
            }
            Report::TaskNotStarted { task, why, last_lines } => {
                self.task_failed(task, Exit::default(), 0, why, last_lines);
            }
            Report::TaskExited { task, exit, duration_ms, last_lines } => {
                self.task_exited(task, exit, duration_ms, last_lines);
            }
            Report::Gone { why } => self.gone(why),
        }
    }

    fn timer(&mut self, timer: Timer) {
        match timer {
            Timer::StopRanOut { replica, generation } => {
                let one = &self.replicas[replica];
                if one.generation == generation && one.state == ReplicaState::Stopping {
                    self.order(Order::Kill { replica });
                }
            }
            Timer::RestartDue { replica, generation } => {
                let one = &mut self.replicas[replica];
                if one.generation == generation && one.cool_down.take().is_some() && !one.state.is_alive() {
                    self.start_replica(replica, Cause::RestartPolicy);
                }
            }
            Timer::TaskRanOut { task } => {
                if self.tasks[task].state == TaskState::Running {
                    self.tasks[task].timed_out = true;
                    self.order(Order::KillTask { task });
                }
            }
            Timer::LivedOn { replica, generation } => {
                let one = &mut self.replicas[replica];
                if one.generation == generation && one.state.is_alive() {
                    one.policy_restarts = 0;
                }
            }
            Timer::WaitRanOut { id } => self.wait_ran_out(id),
            Timer::LifeRanOut => self.end_in_order("its time to live ran out".to_owned()),
        }
    }

    fn emit(&mut self, kind: EventKind) {
        self.effects.push(Effect::Emit(kind));
    }

    fn order(&mut self, order: Order) {
        self.effects.push(Effect::Order(order));
    }

    fn service_of(&self, replica: ReplicaIndex) -> &ServicePlan {
        &self.replicas[replica].service
    }

    /// Whether reports about this generation of a replica still concern us.
    fn is_current(&self, replica: ReplicaIndex, generation: u32) -> bool {
        self.replicas[replica].generation == generation && self.replicas[replica].state.is_alive()
    }
}

impl Replica {
    fn new(service: &Arc<ServicePlan>, plan: Arc<ReplicaPlan>) -> Self {
        Self {
            service: Arc::clone(service),
            plan,
            runs: None,
            part: change::Part::Member,
            change: change::Turn::Over,
            is_listed: true,
            state: ReplicaState::Pending,
            before_pause: ReplicaState::Pending,
            generation: 0,
            pid: None,
            ready_ms: None,
            exit: None,
            last_lines: Vec::new(),
            booted: false,
            end_expected: false,
            changing_port: false,
            wanted: false,
            freezing: false,
            restart: verbs::RestartCycle::default(),
            policy_restarts: 0,
            cool_down: None,
            faults: Vec::new(),
        }
    }
}

impl Task {
    fn new(plan: Arc<TaskPlan>) -> Self {
        Self {
            plan,
            ran: None,
            part: change::Part::Member,
            is_due: false,
            state: TaskState::Pending,
            exit: None,
            timed_out: false,
            last_lines: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
