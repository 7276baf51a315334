//! Starting: a unit starts the moment what it comes after holds, and a session is ready when all of it is.

use std::sync::Arc;
use std::time::Duration;

use belljar_model::event::Exit;
use belljar_model::{Cause, EventKind, ReplicaState, SessionState, TaskState};
use belljar_stack::plan::{Boot, Condition, Dependency, RestartPolicy, UnitName};

use super::change::Turn;
use super::{Effect, Machine, Order, Replica, ReplicaIndex, TaskIndex, Timer};

/// The first restart by policy waits this long, each further one twice as long.
const BACK_OFF_FIRST: Duration = Duration::from_millis(100);
const BACK_OFF_MOST: Duration = Duration::from_secs(10);
/// A replica that has been ready for this long has made good; its next death starts from the beginning.
const GOOD_LIFE: Duration = Duration::from_secs(10);

impl Machine {
    pub(super) fn begin(&mut self) {
        self.emit(EventKind::SessionStarting { stack: self.plan.stack.clone(), name: self.name.to_string() });
        for event in self.openings.events() {
            self.emit(event);
        }
    }

    /// Starts what can be started now, and says so when the session has become ready, degraded or whole again.
    pub(super) fn advance(&mut self) {
        match self.state {
            SessionState::Starting => {
                self.start_what_can_start();
                if self.is_up() {
                    self.state = SessionState::Ready;
                    self.emit(EventKind::SessionReady {});
                }
            }
            SessionState::Ready => {
                self.go_on_changing();
                if let Some(why) = self.lack() {
                    self.state = SessionState::Degraded;
                    self.why = Some(why.clone());
                    self.emit(EventKind::SessionDegraded { why });
                }
            }
            SessionState::Degraded => {
                self.go_on_changing();
                if self.lack().is_none() {
                    self.state = SessionState::Ready;
                    self.why = None;
                    self.emit(EventKind::SessionReady {});
                }
            }
            SessionState::Draining => self.go_on_draining(),
            SessionState::Stopping | SessionState::Ended | SessionState::Dead => {}
        }
    }

    fn start_what_can_start(&mut self) {
        for task in 0..self.tasks.len() {
            let waits = self.tasks[task].state == TaskState::Pending;
            if waits && self.tasks[task].plan.after.iter().all(|one| self.holds(one)) {
                self.start_task(task);
            }
        }
        for replica in 0..self.replicas.len() {
            if self.replicas[replica].generation == 0 && self.may_boot(replica) {
                self.start_replica(replica, Cause::Plan);
            }
        }
    }

    /// The replica of the same service with the number before this one's.
    fn one_before(&self, replica: ReplicaIndex) -> Option<&Replica> {
        let one = &self.replicas[replica];
        let before = one.plan.name.number() - 1;
        self.members()
            .find(|other| other.service.name == one.service.name && other.plan.name.number() == before)
    }

    pub(super) fn may_boot(&self, replica: ReplicaIndex) -> bool {
        let service = self.service_of(replica);
        let is_first_of_service = self.replicas[replica].plan.name.number() == 1;
        let its_turn = match service.boot {
            Boot::Parallel => true,
            Boot::Serial => is_first_of_service || self.one_before(replica).is_none_or(Replica::is_up),
        };
        its_turn && service.after.iter().all(|one| self.holds(one))
    }

    pub(super) fn holds(&self, dependency: &Dependency) -> bool {
        match &dependency.on {
            UnitName::Service(name) => {
                let mut replicas = self.members().filter(|one| one.service.name == *name);
                match dependency.condition {
                    Condition::Started => replicas.all(Replica::has_started),
                    Condition::Ready | Condition::Succeeded => replicas.all(Replica::is_up),
                }
            }
            UnitName::Task(name) => {
                self.tasks.iter().filter(|one| one.plan.name == *name).all(|one| match dependency.condition {
                    Condition::Started => one.state != TaskState::Pending && !one.is_due,
                    Condition::Ready | Condition::Succeeded => {
                        one.state == TaskState::Succeeded && !one.is_due
                    }
                })
            }
        }
    }

    fn is_up(&self) -> bool {
        self.replicas.iter().all(|one| one.booted)
            && self.tasks.iter().all(|one| one.state == TaskState::Succeeded)
    }

    /// The replicas that should live and do not, as a sentence.
    fn lack(&self) -> Option<String> {
        let lacking: Vec<String> = self
            .members()
            // What a change is at is on its way.
            .filter(|one| one.change == Turn::Over)
            .filter(|one| one.wanted && !matches!(one.state, ReplicaState::Ready | ReplicaState::Paused))
            .map(|one| format!("{} is {}", one.plan.name, one.state))
            .collect();
        (!lacking.is_empty()).then(|| lacking.join(", "))
    }

    pub(super) fn start_replica(&mut self, replica: ReplicaIndex, by: Cause) {
        let one = &mut self.replicas[replica];
        one.generation += 1;
        one.state = ReplicaState::Starting;
        one.wanted = true;
        one.end_expected = false;
        one.cool_down = None;
        one.pid = None;
        one.exit = None;
        one.ready_ms = None;
        one.last_lines.clear();
        one.runs = Some(Arc::clone(&one.plan));
        if one.change != Turn::Over {
            one.change = Turn::Starting;
        }
        let (name, generation) = (one.plan.name.clone(), one.generation);
        let healed = std::mem::take(&mut one.faults);
        for fault in healed {
            self.emit(EventKind::FaultHealed { fault });
        }
        self.emit(EventKind::ReplicaStarting { replica: name, generation, by });
        self.order(Order::StartReplica { replica, generation });
    }

    pub(super) fn replica_started(&mut self, replica: ReplicaIndex, generation: u32, pid: i32) {
        if !self.is_current(replica, generation) {
            return;
        }
        let one = &mut self.replicas[replica];
        one.pid = Some(pid);
        let name = one.plan.name.clone();
        // Told to stop before it was there: its start is still told, so that the timeline has no gap, and the
        // stop follows it at once.
        let stopping = one.state == ReplicaState::Stopping;
        one.state = ReplicaState::Running;
        self.emit(EventKind::ReplicaStarted { replica: name, generation, pid });
        if stopping && self.replicas[replica].faults.is_empty() {
            self.stop_now(replica, Cause::Command);
        } else if stopping {
            // A fault killed it before it was there.
            self.order(Order::Kill { replica });
        } else {
            self.order(Order::WatchReadiness { replica, generation });
        }
    }

    pub(super) fn replica_ready(&mut self, replica: ReplicaIndex, generation: u32, ready_ms: f64) {
        if !self.is_current(replica, generation) {
            return;
        }
        let one = &mut self.replicas[replica];
        // While it is paused nothing is told; the watch starts again when it is resumed.
        if one.state != ReplicaState::Running {
            return;
        }
        one.state = ReplicaState::Ready;
        one.booted = true;
        one.ready_ms = Some(ready_ms);
        one.change = Turn::Over;
        let was_listed = std::mem::replace(&mut one.is_listed, true);
        let name = one.plan.name.clone();
        let made_good = one.policy_restarts > 0;
        self.emit(EventKind::ReplicaReady { replica: name, generation, ready_ms });
        self.watch_health(replica);
        if made_good {
            let timer = Timer::LivedOn { replica, generation };
            self.effects.push(Effect::SetTimer { timer, after: GOOD_LIFE });
        }
        if !was_listed {
            self.tell_names();
        }
        self.restart_cycle_came_up(replica);
    }

    pub(super) fn replica_not_ready(
        &mut self,
        replica: ReplicaIndex,
        generation: u32,
        why: String,
        last_lines: Vec<String>,
    ) {
        if !self.is_current(replica, generation) || self.replicas[replica].state != ReplicaState::Running {
            return;
        }
        let one = &mut self.replicas[replica];
        one.state = ReplicaState::Unhealthy;
        one.last_lines.clone_from(&last_lines);
        let name = one.plan.name.clone();
        self.emit(EventKind::ReplicaUnhealthy {
            replica: name.clone(),
            generation,
            why: why.clone(),
            last_lines,
        });
        if self.state == SessionState::Starting {
            self.end(format!("{name} did not become ready: {why}"));
        } else {
            self.turn_failed(replica, &why);
            self.restart_cycle_failed(replica, &why);
        }
    }

    /// A replica's process has ended, or never came to be (then `why` says so).
    pub(super) fn replica_ended(
        &mut self,
        replica: ReplicaIndex,
        generation: u32,
        exit: Exit,
        why: Option<String>,
        last_lines: Vec<String>,
    ) {
        if !self.is_current(replica, generation) {
            return;
        }
        self.order(Order::StopWatching { replica });
        let one = &mut self.replicas[replica];
        let expected = one.end_expected || self.state == SessionState::Stopping;
        let well = expected || exit.is_success();
        one.state = if well { ReplicaState::Exited } else { ReplicaState::Failed };
        one.pid = None;
        one.exit = Some(exit.clone());
        one.last_lines.clone_from(&last_lines);
        let name = one.plan.name.clone();
        self.emit(EventKind::ReplicaExited {
            replica: name.clone(),
            generation,
            exit: exit.clone(),
            expected,
            why: why.clone(),
            last_lines,
        });
        if matches!(self.state, SessionState::Stopping | SessionState::Draining)
            || self.left(replica)
            || self.turn_stopped(replica)
            || self.restart_cycle_exited(replica)
        {
            return;
        }
        if self.policy_restarts(replica, &exit, expected) {
            self.set_back_off(replica);
            return;
        }
        let why_not = || why.clone().unwrap_or_else(|| format!("it ended with {exit}"));
        self.turn_failed(replica, &why_not());
        if self.state == SessionState::Starting && !expected {
            let why = why.unwrap_or_else(|| format!("it ended with {exit}"));
            let booted = self.replicas[replica].booted;
            let lost = if booted { "did not stay ready" } else { "did not become ready" };
            self.end(format!("{name} {lost}: {why}"));
        }
    }

    fn policy_restarts(&self, replica: ReplicaIndex, exit: &Exit, expected: bool) -> bool {
        !expected
            && match self.service_of(replica).restart {
                RestartPolicy::Never => false,
                RestartPolicy::OnFailure => !exit.is_success(),
                RestartPolicy::Always => true,
            }
    }

    fn set_back_off(&mut self, replica: ReplicaIndex) {
        let one = &mut self.replicas[replica];
        one.policy_restarts += 1;
        let doublings = one.policy_restarts.saturating_sub(1).min(16);
        let after = BACK_OFF_FIRST.saturating_mul(1 << doublings).min(BACK_OFF_MOST);
        one.cool_down = Some(after);
        let timer = Timer::RestartDue { replica, generation: one.generation };
        self.effects.push(Effect::SetTimer { timer, after });
    }

    pub(super) fn start_task(&mut self, task: TaskIndex) {
        let one = &mut self.tasks[task];
        one.is_due = false;
        one.timed_out = false;
        one.exit = None;
        one.last_lines.clear();
        one.ran = Some(Arc::clone(&one.plan));
        one.state = TaskState::Running;
        let after = one.plan.timeout;
        self.order(Order::StartTask { task });
        self.effects.push(Effect::SetTimer { timer: Timer::TaskRanOut { task }, after });
    }

    pub(super) fn task_exited(
        &mut self,
        task: TaskIndex,
        exit: Exit,
        duration_ms: u64,
        last_lines: Vec<String>,
    ) {
        if self.tasks[task].state != TaskState::Running {
            return;
        }
        if exit.is_success() {
            let one = &mut self.tasks[task];
            one.state = TaskState::Succeeded;
            one.exit = Some(exit);
            let name = one.plan.name.clone();
            self.emit(EventKind::TaskSucceeded { task: name, duration_ms });
            return;
        }
        let why = if self.tasks[task].timed_out {
            format!("it took longer than {}", belljar_model::duration::short(self.tasks[task].plan.timeout))
        } else {
            format!("it ended with {exit}")
        };
        self.task_failed(task, exit, duration_ms, why, last_lines);
    }

    pub(super) fn task_failed(
        &mut self,
        task: TaskIndex,
        exit: Exit,
        duration_ms: u64,
        why: String,
        last_lines: Vec<String>,
    ) {
        let one = &mut self.tasks[task];
        one.state = TaskState::Failed;
        one.exit = Some(exit.clone());
        one.last_lines.clone_from(&last_lines);
        let name = one.plan.name.clone();
        let last = one.last_lines.clone();
        let ended_by = format!("task {name} failed: {why}");
        self.emit(EventKind::TaskFailed { task: name, exit, duration_ms, last_lines, why });
        if self.state == SessionState::Starting {
            self.end(ended_by);
        } else {
            self.fail_change(ended_by, Some(last));
        }
    }
}
