//! What can be done to a replica on purpose. Every verb is idempotent, says whether it changed anything, and is
//! answered when what it asks for is true.

use belljar_client::wire::Verb;
use belljar_model::{Cause, ErrorCode, EventKind, ReplicaState, SessionState};

use super::requests::{Promise, refusal};
use super::{Effect, ErrorView, Machine, Order, ReplicaIndex, Timer};

const SIGTERM: i32 = 15;

/// Restarts of one replica. However many are asked for while one is under way, at most one more follows.
#[derive(Debug, Default)]
pub(super) struct RestartCycle {
    /// The cycle under way serves these requests.
    serving: Vec<u64>,
    /// The cycle after it will serve these.
    waiting: Vec<u64>,
    /// Who asked last.
    by: Option<Cause>,
    /// How many cycles were completed, and why the last one failed if it did.
    completed: u64,
    failure: Option<String>,
}

impl RestartCycle {
    pub(super) fn is_under_way(&self) -> bool {
        !self.serving.is_empty()
    }

    fn cause(&self) -> Cause {
        self.by.unwrap_or(Cause::Command)
    }
}

impl Machine {
    /// Starts carrying out a verb on one replica. The promise says when it is true.
    pub(super) fn act(&mut self, verb: Verb, replica: ReplicaIndex, by: Cause) -> Result<Promise, ErrorView> {
        match verb {
            Verb::Kill => Ok(self.kill(replica, by)),
            Verb::Term => Ok(self.term(replica)),
            Verb::Stop => Ok(self.stop(replica, by)),
            Verb::Start => Ok(self.start(replica, by)),
            Verb::Restart => Ok(self.restart(replica, by)),
            Verb::Pause => self.pause(replica),
            Verb::Resume => self.resume(replica),
        }
    }

    fn kill(&mut self, replica: ReplicaIndex, by: Cause) -> Promise {
        self.give_up_policy_restart(replica);
        if !self.replicas[replica].state.is_alive() {
            return Promise::unchanged(replica);
        }
        let one = &mut self.replicas[replica];
        one.end_expected = true;
        let (generation, starting) = (one.generation, one.pid.is_none());
        if starting {
            one.state = ReplicaState::Stopping;
            let name = one.plan.name.clone();
            self.emit(EventKind::ReplicaStopping { replica: name, generation, by });
        }
        self.fault(replica, "kill", by);
        self.order(Order::Kill { replica });
        Promise::ended(replica, generation)
    }

    /// One SIGTERM to the main process; what it does with it is its own affair.
    fn term(&mut self, replica: ReplicaIndex) -> Promise {
        self.give_up_policy_restart(replica);
        let one = &mut self.replicas[replica];
        if !one.state.is_alive() || one.pid.is_none() {
            return Promise::unchanged(replica);
        }
        one.end_expected = true;
        self.order(Order::Signal { replica, signal: SIGTERM });
        Promise::done(replica)
    }

    fn stop(&mut self, replica: ReplicaIndex, by: Cause) -> Promise {
        self.give_up_policy_restart(replica);
        let one = &mut self.replicas[replica];
        one.wanted = false;
        let generation = one.generation;
        match one.state {
            ReplicaState::Pending | ReplicaState::Exited | ReplicaState::Failed => {
                Promise::unchanged(replica)
            }
            ReplicaState::Stopping => Promise::ended(replica, generation),
            _ => {
                self.stop_now(replica, by);
                Promise::ended(replica, generation)
            }
        }
    }

    /// Its stop signal now, SIGKILL when its time is over.
    pub(super) fn stop_now(&mut self, replica: ReplicaIndex, by: Cause) {
        let stop = self.service_of(replica).stop.clone();
        let one = &mut self.replicas[replica];
        let was = one.state;
        one.end_expected = true;
        one.state = ReplicaState::Stopping;
        let (name, generation, starting) = (one.plan.name.clone(), one.generation, one.pid.is_none());
        self.emit(EventKind::ReplicaStopping { replica: name, generation, by });
        if starting {
            // Not there yet: `replica_started` comes back here when it is.
            return;
        }
        self.order(Order::StopWatching { replica });
        self.order(Order::Signal { replica, signal: stop.signal });
        if was == ReplicaState::Paused {
            // A process that stands still never sees the signal.
            self.order(Order::Thaw { replica, generation });
        }
        let timer = Timer::StopRanOut { replica, generation };
        self.effects.push(Effect::SetTimer { timer, after: stop.within });
    }

    fn start(&mut self, replica: ReplicaIndex, by: Cause) -> Promise {
        let state = self.replicas[replica].state;
        if matches!(state, ReplicaState::Exited | ReplicaState::Failed) {
            self.give_up_policy_restart(replica);
            self.start_replica(replica, by);
            return Promise::up(replica, self.replicas[replica].generation, true);
        }
        Promise::up(replica, self.replicas[replica].generation, false)
    }

    pub(super) fn restart(&mut self, replica: ReplicaIndex, by: Cause) -> Promise {
        self.next_restart_request += 1;
        let request = self.next_restart_request;
        let cycle = &mut self.replicas[replica].restart;
        cycle.by = Some(by);
        let under_way = cycle.is_under_way();
        let merged_into = if under_way { cycle.waiting.first().copied() } else { None };
        let served_at = cycle.completed + if under_way { 2 } else { 1 };
        if under_way {
            cycle.waiting.push(request);
        } else {
            cycle.serving.push(request);
        }
        let name = self.replicas[replica].plan.name.clone();
        self.emit(EventKind::RestartRequested { replica: name, request, merged_into });
        if !under_way {
            self.begin_restart_cycle(replica);
        }
        Promise::restarted(replica, served_at)
    }

    fn begin_restart_cycle(&mut self, replica: ReplicaIndex) {
        self.give_up_policy_restart(replica);
        let by = self.replicas[replica].restart.cause();
        match self.replicas[replica].state {
            // The first start is the restart that was asked for; one that stops is started when it has.
            ReplicaState::Pending | ReplicaState::Stopping => {}
            ReplicaState::Exited | ReplicaState::Failed => self.start_replica(replica, by),
            _ => self.stop_now(replica, by),
        }
    }

    /// A replica with a restart under way has ended: whether the cycle takes care of it.
    pub(super) fn restart_cycle_exited(&mut self, replica: ReplicaIndex) -> bool {
        if !self.replicas[replica].restart.is_under_way() {
            return false;
        }
        if self.replicas[replica].end_expected {
            let by = self.replicas[replica].restart.cause();
            self.start_replica(replica, by);
        } else {
            let one = &self.replicas[replica];
            let exit = one.exit.clone().unwrap_or_default();
            self.restart_cycle_failed(replica, &format!("it ended with {exit} while it started again"));
        }
        true
    }

    pub(super) fn restart_cycle_came_up(&mut self, replica: ReplicaIndex) {
        self.complete_restart_cycle(replica, None);
    }

    /// A cycle that fails is told to those it served and to nobody else; the next one runs all the same.
    pub(super) fn restart_cycle_failed(&mut self, replica: ReplicaIndex, why: &str) {
        self.turn_failed(replica, why);
        self.complete_restart_cycle(replica, Some(why.to_owned()));
    }

    fn complete_restart_cycle(&mut self, replica: ReplicaIndex, failure: Option<String>) {
        let one = &mut self.replicas[replica];
        if !one.restart.is_under_way() {
            return;
        }
        one.restart.completed += 1;
        one.restart.failure = failure;
        let (name, generation) = (one.plan.name.clone(), one.generation);
        for request in std::mem::take(&mut one.restart.serving) {
            self.emit(EventKind::RestartServed { replica: name.clone(), request, generation });
        }
        self.answer_what_holds();
        let one = &mut self.replicas[replica];
        if !one.restart.waiting.is_empty() {
            one.restart.serving = std::mem::take(&mut one.restart.waiting);
            self.begin_restart_cycle(replica);
        }
    }

    /// Whether the cycle with this number is over, and how it went.
    pub(super) fn restart_cycle(&self, replica: ReplicaIndex, number: u64) -> Option<Result<(), String>> {
        let cycle = &self.replicas[replica].restart;
        (cycle.completed >= number).then(|| cycle.failure.clone().map_or(Ok(()), Err))
    }

    fn pause(&mut self, replica: ReplicaIndex) -> Result<Promise, ErrorView> {
        let one = &mut self.replicas[replica];
        let generation = one.generation;
        match one.state {
            ReplicaState::Paused => Ok(Promise::unchanged(replica)),
            ReplicaState::Running | ReplicaState::Ready | ReplicaState::Unhealthy => {
                if !std::mem::replace(&mut one.freezing, true) {
                    self.order(Order::Freeze { replica, generation });
                }
                Ok(Promise::paused(replica, generation))
            }
            _ => Err(self.not_running(replica)),
        }
    }

    pub(super) fn replica_frozen(
        &mut self,
        replica: ReplicaIndex,
        generation: u32,
        result: Result<(), String>,
    ) {
        self.replicas[replica].freezing = false;
        if !self.is_current(replica, generation) || self.replicas[replica].state == ReplicaState::Stopping {
            return;
        }
        if let Err(why) = result {
            let error =
                refusal(ErrorCode::Internal, format!("cannot pause {}: {why}", self.name_of(replica)));
            self.fail_promises(|promise| promise.is_pause_of(replica), &error);
            return;
        }
        let one = &mut self.replicas[replica];
        one.before_pause = one.state;
        one.state = ReplicaState::Paused;
        let (name, was) = (one.plan.name.clone(), one.before_pause);
        if was == ReplicaState::Running || self.replicas[replica].plan.health.is_some() {
            // Its time to become ready does not run while it cannot do anything for it.
            self.order(Order::StopWatching { replica });
        }
        self.fault(replica, "pause", Cause::Command);
        self.emit(EventKind::ReplicaPaused { replica: name, generation, by: Cause::Command });
    }

    fn resume(&mut self, replica: ReplicaIndex) -> Result<Promise, ErrorView> {
        let one = &mut self.replicas[replica];
        let generation = one.generation;
        match one.state {
            ReplicaState::Paused => {
                if !std::mem::replace(&mut one.freezing, true) {
                    self.order(Order::Thaw { replica, generation });
                }
                Ok(Promise::resumed(replica, generation))
            }
            ReplicaState::Running | ReplicaState::Ready | ReplicaState::Unhealthy => {
                Ok(Promise::unchanged(replica))
            }
            _ => Err(self.not_running(replica)),
        }
    }

    pub(super) fn replica_thawed(
        &mut self,
        replica: ReplicaIndex,
        generation: u32,
        result: Result<(), String>,
    ) {
        self.replicas[replica].freezing = false;
        if self.replicas[replica].generation != generation
            || self.replicas[replica].state != ReplicaState::Paused
        {
            return;
        }
        if let Err(why) = result {
            let error =
                refusal(ErrorCode::Internal, format!("cannot resume {}: {why}", self.name_of(replica)));
            self.fail_promises(|promise| promise.is_resume_of(replica), &error);
            return;
        }
        let one = &mut self.replicas[replica];
        one.state = one.before_pause;
        let (name, state) = (one.plan.name.clone(), one.state);
        let healed = std::mem::take(&mut one.faults);
        self.emit(EventKind::ReplicaResumed { replica: name, generation, by: Cause::Command });
        for fault in healed {
            self.emit(EventKind::FaultHealed { fault });
        }
        if state == ReplicaState::Running {
            self.order(Order::WatchReadiness { replica, generation });
        } else {
            self.watch_health(replica);
        }
    }

    /// Somebody took the replica into their own hands: the restart policy stays out of it.
    pub(super) fn give_up_policy_restart(&mut self, replica: ReplicaIndex) {
        self.replicas[replica].cool_down = None;
        self.replicas[replica].policy_restarts = 0;
    }

    fn fault(&mut self, replica: ReplicaIndex, what: &str, by: Cause) {
        self.next_fault += 1;
        let fault = self.next_fault;
        self.replicas[replica].faults.push(fault);
        let name = self.replicas[replica].plan.name.clone();
        self.emit(EventKind::FaultApplied { fault, what: what.to_owned(), replica: name, by });
    }

    fn not_running(&self, replica: ReplicaIndex) -> ErrorView {
        let one = &self.replicas[replica];
        let mut error = refusal(
            ErrorCode::ReplicaNotRunning,
            format!("{} is {}: it has no process to do this to", one.plan.name, one.state),
        );
        if self.state != SessionState::Starting {
            error.hints.push(format!("`belljar start {}` starts it", one.plan.name));
        }
        error
    }

    pub(super) fn name_of(&self, replica: ReplicaIndex) -> String {
        self.replicas[replica].plan.name.to_string()
    }
}
