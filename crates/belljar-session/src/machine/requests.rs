//! Requests: who asked for what, and when it has become true.

use std::collections::BTreeMap;
use std::time::Duration;

use belljar_client::wire::{Done, DoneReplica, ErrorView, Verb, WaitFor};
use belljar_model::event::Change;
use belljar_model::{
    Cause, ErrorCode, EventKind, ReplicaName, ReplicaState, ServiceName, SessionState, TaskState,
};

use super::change::{Part, Turn};
use super::{Ask, Effect, Machine, ReplicaIndex, RequestId, Timer};

/// What a request is answered with.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A verb has been carried out.
    Done(Done),
    /// What was waited for holds.
    Holds,
    /// A change of the stack is done, or was only looked at.
    Changed(Vec<Change>),
}

/// A request that has been taken in and is not answered yet.
#[derive(Debug)]
pub(super) struct Waiter {
    condition: Condition,
}

#[derive(Debug)]
enum Condition {
    Promises(Vec<Promise>),
    Replicas {
        replicas: Vec<ReplicaIndex>,
        wait_for: WaitFor,
    },
    /// The whole session.
    Session(WaitFor),
    Drained,
    /// The change of this number is done.
    Changed {
        number: u64,
        changes: Vec<Change>,
    },
    /// There is nothing to wait for.
    Holds,
}

/// What a verb on one replica has promised.
#[derive(Debug, Clone)]
pub(super) struct Promise {
    replica: ReplicaIndex,
    changed: bool,
    what: What,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Now,
    Ended { generation: u32 },
    Up { generation: u32 },
    Paused { generation: u32 },
    Resumed { generation: u32 },
    Restarted { cycle: u64 },
}

impl Promise {
    pub(super) fn unchanged(replica: ReplicaIndex) -> Self {
        Self { replica, changed: false, what: What::Now }
    }

    pub(super) fn done(replica: ReplicaIndex) -> Self {
        Self { replica, changed: true, what: What::Now }
    }

    pub(super) fn ended(replica: ReplicaIndex, generation: u32) -> Self {
        Self { replica, changed: true, what: What::Ended { generation } }
    }

    pub(super) fn up(replica: ReplicaIndex, generation: u32, changed: bool) -> Self {
        Self { replica, changed, what: What::Up { generation } }
    }

    pub(super) fn paused(replica: ReplicaIndex, generation: u32) -> Self {
        Self { replica, changed: true, what: What::Paused { generation } }
    }

    pub(super) fn resumed(replica: ReplicaIndex, generation: u32) -> Self {
        Self { replica, changed: true, what: What::Resumed { generation } }
    }

    pub(super) fn restarted(replica: ReplicaIndex, cycle: u64) -> Self {
        Self { replica, changed: true, what: What::Restarted { cycle } }
    }

    pub(super) fn is_pause_of(&self, replica: ReplicaIndex) -> bool {
        self.replica == replica && matches!(self.what, What::Paused { .. })
    }

    pub(super) fn is_resume_of(&self, replica: ReplicaIndex) -> bool {
        self.replica == replica && matches!(self.what, What::Resumed { .. })
    }
}

pub(super) fn refusal(code: ErrorCode, message: String) -> ErrorView {
    ErrorView { code, message, hints: Vec::new() }
}

impl Machine {
    pub(super) fn request(&mut self, id: RequestId, ask: Ask) {
        match self.take_in(ask) {
            Ok((condition, within)) => {
                self.waiters.insert(id, Waiter { condition });
                if let Some(after) = within {
                    self.effects.push(Effect::SetTimer { timer: Timer::WaitRanOut { id }, after });
                }
            }
            Err(error) => self.effects.push(Effect::Answer { id, answer: Err(error) }),
        }
    }

    fn take_in(&mut self, ask: Ask) -> Result<(Condition, Option<Duration>), ErrorView> {
        match ask {
            Ask::Act { verb, targets, by } => {
                self.refuse_when_over()?;
                let promises = self.act_on_all(verb, &targets, by)?;
                Ok((Condition::Promises(promises), None))
            }
            Ask::Wait { condition, target, within } => {
                let wait_for = condition;
                let condition = match target {
                    Some(target) => Condition::Replicas { replicas: self.targets(&[target])?, wait_for },
                    None => Condition::Session(wait_for),
                };
                Ok((condition, Some(within)))
            }
            Ask::Drain { within } => Ok((Condition::Drained, Some(within))),
            Ask::Apply { plan, dry } => {
                self.refuse_when_over()?;
                let (number, changes) = self.apply(&plan, dry)?;
                Ok((Condition::Changed { number, changes }, None))
            }
            Ask::Expire { within } => {
                self.refuse_when_over()?;
                let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
                self.emit(EventKind::SessionExpires { within_ms });
                self.effects.push(Effect::SetTimer { timer: Timer::LifeRanOut, after: within });
                Ok((Condition::Holds, None))
            }
            Ask::FilesChanged { service, files } => {
                self.refuse_when_over()?;
                self.files_changed(service, files);
                Ok((Condition::Holds, None))
            }
        }
    }

    /// All targets are looked up before anything is done to one of them: a wrong name leaves nothing half done.
    fn act_on_all(&mut self, verb: Verb, targets: &[String], by: Cause) -> Result<Vec<Promise>, ErrorView> {
        let replicas = self.targets(targets)?;
        if matches!(verb, Verb::Pause | Verb::Resume)
            && let Some(&dead) = replicas.iter().find(|&&one| !self.has_process(one))
        {
            return self.act(verb, dead, by).map(|promise| vec![promise]);
        }
        replicas.into_iter().map(|replica| self.act(verb, replica, by)).collect()
    }

    fn has_process(&self, replica: ReplicaIndex) -> bool {
        self.replicas[replica].pid.is_some() && self.replicas[replica].state != ReplicaState::Stopping
    }

    fn refuse_when_over(&self) -> Result<(), ErrorView> {
        match self.state {
            SessionState::Draining | SessionState::Stopping | SessionState::Ended | SessionState::Dead => {
                let message = format!("session {} is {}", self.name, self.state);
                Err(refusal(ErrorCode::SessionEnded, message))
            }
            _ => Ok(()),
        }
    }

    /// Replicas by name, or all of a service by its name, each once, in the order of the stack.
    fn targets(&self, targets: &[String]) -> Result<Vec<ReplicaIndex>, ErrorView> {
        let mut chosen = vec![false; self.replicas.len()];
        for target in targets {
            let mut found = false;
            for (index, one) in self.replicas.iter().enumerate().filter(|(_, one)| one.is_member()) {
                let meant = one.plan.name.as_str() == target || one.service.name.as_str() == target;
                chosen[index] |= meant;
                found |= meant;
            }
            if !found {
                return Err(self.no_such_replica(target));
            }
        }
        Ok(chosen.iter().enumerate().filter(|&(_, &yes)| yes).map(|(index, _)| index).collect())
    }

    fn no_such_replica(&self, target: &str) -> ErrorView {
        let message = if ReplicaName::new(target).is_ok() || ServiceName::new(target).is_ok() {
            format!("session {} has no replica or service `{target}`", self.name)
        } else {
            format!("`{target}` is not the name of a replica or service")
        };
        let names: Vec<&str> = self.members().map(|one| one.plan.name.as_str()).collect();
        let mut error = refusal(ErrorCode::ReplicaNotFound, message);
        error.hints.push(if names.is_empty() {
            "the stack has no services".to_owned()
        } else {
            format!("its replicas are {}", names.join(", "))
        });
        error
    }

    /// Answers every request whose condition holds now, or never will.
    pub(super) fn answer_what_holds(&mut self) {
        let waiters = std::mem::take(&mut self.waiters);
        let mut left = BTreeMap::new();
        for (id, waiter) in waiters {
            match self.judge(&waiter.condition) {
                Some(answer) => self.effects.push(Effect::Answer { id, answer }),
                None => {
                    left.insert(id, waiter);
                }
            }
        }
        self.waiters = left;
    }

    fn judge(&self, condition: &Condition) -> Option<Result<Answer, ErrorView>> {
        match condition {
            Condition::Holds => Some(Ok(Answer::Holds)),
            Condition::Changed { number, changes } => self.judge_change(*number, changes),
            Condition::Promises(promises) => self.judge_promises(promises),
            Condition::Replicas { replicas, wait_for } => self.judge_wait(*wait_for, replicas),
            Condition::Session(WaitFor::Ready) => match self.state {
                SessionState::Ready => Some(Ok(Answer::Holds)),
                SessionState::Stopping | SessionState::Ended => Some(Err(self.not_ready())),
                _ => None,
            },
            Condition::Session(WaitFor::Unhealthy) => self
                .replicas
                .iter()
                .any(|one| one.state == ReplicaState::Unhealthy)
                .then_some(Ok(Answer::Holds)),
            Condition::Session(WaitFor::Exited) => {
                self.replicas.iter().all(|one| !one.state.is_alive()).then_some(Ok(Answer::Holds))
            }
            Condition::Session(WaitFor::Idle) | Condition::Drained => {
                self.under_way().is_empty().then_some(Ok(Answer::Holds))
            }
        }
    }

    fn judge_promises(&self, promises: &[Promise]) -> Option<Result<Answer, ErrorView>> {
        let mut done = Vec::with_capacity(promises.len());
        for promise in promises {
            let one = &self.replicas[promise.replica];
            let over = matches!(self.state, SessionState::Stopping | SessionState::Ended);
            let verdict = match promise.what {
                What::Now => Some(Ok(())),
                What::Ended { generation } => {
                    (one.generation != generation || !one.state.is_alive()).then_some(Ok(()))
                }
                What::Up { generation } => self.is_up_again(promise.replica, generation),
                What::Paused { generation } => match one.state {
                    ReplicaState::Paused if one.generation == generation => Some(Ok(())),
                    _ if one.generation != generation || !one.state.is_alive() => {
                        Some(Err("it ended before it stood still".to_owned()))
                    }
                    _ => None,
                },
                What::Resumed { generation } => {
                    (one.generation != generation || one.state != ReplicaState::Paused).then_some(Ok(()))
                }
                What::Restarted { cycle } => self.restart_cycle(promise.replica, cycle),
            };
            match verdict {
                Some(Ok(())) => done.push(DoneReplica {
                    name: one.plan.name.clone(),
                    state: one.state,
                    generation: one.generation,
                    changed: promise.changed,
                }),
                Some(Err(why)) => return Some(Err(self.did_not(promise.replica, &why))),
                None if over => {
                    let why = self.why.as_deref().unwrap_or("it ended");
                    let message = format!("session {} ended meanwhile: {why}", self.name);
                    return Some(Err(refusal(ErrorCode::SessionEnded, message)));
                }
                None => return None,
            }
        }
        Some(Ok(Answer::Done(Done { replicas: done })))
    }

    fn is_up_again(&self, replica: ReplicaIndex, generation: u32) -> Option<Result<(), String>> {
        let one = &self.replicas[replica];
        match one.state {
            ReplicaState::Ready | ReplicaState::Paused => Some(Ok(())),
            ReplicaState::Exited | ReplicaState::Failed
                if one.generation >= generation && one.cool_down.is_none() =>
            {
                let exit = one.exit.clone().unwrap_or_default();
                Some(Err(format!("it ended with {exit}")))
            }
            ReplicaState::Unhealthy if one.ready_ms.is_some() => Some(Err("it is unhealthy".to_owned())),
            ReplicaState::Unhealthy => Some(Err("it did not become ready in its time".to_owned())),
            _ => None,
        }
    }

    pub(super) fn did_not(&self, replica: ReplicaIndex, why: &str) -> ErrorView {
        let one = &self.replicas[replica];
        let mut error = refusal(ErrorCode::SessionNotReady, format!("{}: {why}", one.plan.name));
        if !one.last_lines.is_empty() {
            error.hints.push(format!("its last lines:\n{}", one.last_lines.join("\n")));
        }
        error
    }

    fn judge_wait(&self, wait_for: WaitFor, replicas: &[ReplicaIndex]) -> Option<Result<Answer, ErrorView>> {
        let mut chosen = replicas.iter().map(|&index| &self.replicas[index]);
        let over = matches!(self.state, SessionState::Stopping | SessionState::Ended);
        let holds = match wait_for {
            WaitFor::Ready => chosen.all(|one| one.state == ReplicaState::Ready),
            WaitFor::Unhealthy => chosen.all(|one| one.state == ReplicaState::Unhealthy),
            WaitFor::Exited => {
                chosen.all(|one| matches!(one.state, ReplicaState::Exited | ReplicaState::Failed))
            }
            WaitFor::Idle => chosen.all(|one| {
                !matches!(one.state, ReplicaState::Starting | ReplicaState::Running | ReplicaState::Stopping)
                    && !one.restart.is_under_way()
                    && one.cool_down.is_none()
            }),
        };
        match holds {
            true => Some(Ok(Answer::Holds)),
            false if over && wait_for == WaitFor::Ready => Some(Err(self.not_ready())),
            false => None,
        }
    }

    fn not_ready(&self) -> ErrorView {
        let why = self.why.as_deref().unwrap_or("it ended");
        refusal(ErrorCode::SessionNotReady, format!("session {} did not become ready: {why}", self.name))
    }

    /// What has to end before the session is idle, each as words.
    fn under_way(&self) -> Vec<String> {
        let mut list = Vec::new();
        for one in self.replicas.iter().filter(|one| one.part != Part::Gone) {
            let what = match one.state {
                _ if one.change != Turn::Over => "is changing",
                ReplicaState::Pending => "has not started",
                ReplicaState::Starting | ReplicaState::Running => "is starting",
                ReplicaState::Stopping => "is stopping",
                _ if one.restart.is_under_way() || one.cool_down.is_some() => "is restarting",
                _ => continue,
            };
            list.push(format!("{} {what}", one.plan.name));
        }
        for one in self.tasks.iter().filter(|one| one.part != Part::Gone) {
            match one.state {
                _ if one.is_due => list.push(format!("task {} is to run again", one.plan.name)),
                TaskState::Pending => list.push(format!("task {} has not started", one.plan.name)),
                TaskState::Running => list.push(format!("task {} is running", one.plan.name)),
                TaskState::Succeeded | TaskState::Failed => {}
            }
        }
        match self.commands {
            0 => {}
            1 => list.push("a command is running".to_owned()),
            count => list.push(format!("{count} commands are running")),
        }
        list
    }

    pub(super) fn wait_ran_out(&mut self, id: RequestId) {
        let Some(waiter) = self.waiters.remove(&id) else { return };
        let error = match waiter.condition {
            Condition::Drained if self.state == SessionState::Starting => refusal(
                ErrorCode::NeverStarted,
                format!("the session never finished starting: {}", self.under_way().join(", ")),
            ),
            Condition::Drained => {
                refusal(ErrorCode::NotDrained, format!("still under way: {}", self.under_way().join(", ")))
            }
            Condition::Replicas { replicas, wait_for } => {
                let states: Vec<String> = replicas
                    .iter()
                    .map(|&index| format!("{} is {}", self.name_of(index), self.replicas[index].state))
                    .collect();
                refusal(
                    ErrorCode::WaitTimedOut,
                    format!("waited for {} in vain: {}", wait_word(wait_for), states.join(", ")),
                )
            }
            Condition::Session(wait_for) => {
                let mut under_way = self.under_way();
                if under_way.is_empty() {
                    under_way.push(format!("the session is {}", self.state));
                }
                refusal(
                    ErrorCode::WaitTimedOut,
                    format!("waited for {} in vain: {}", wait_word(wait_for), under_way.join(", ")),
                )
            }
            Condition::Promises(_) | Condition::Changed { .. } | Condition::Holds => {
                refusal(ErrorCode::WaitTimedOut, "it took too long".to_owned())
            }
        };
        self.effects.push(Effect::Answer { id, answer: Err(error) });
    }

    /// Answers the requests that hold such a promise with an error.
    pub(super) fn fail_promises(&mut self, which: impl Fn(&Promise) -> bool, error: &ErrorView) {
        let failed: Vec<RequestId> = self
            .waiters
            .iter()
            .filter(|(_, waiter)| match &waiter.condition {
                Condition::Promises(promises) => promises.iter().any(&which),
                _ => false,
            })
            .map(|(&id, _)| id)
            .collect();
        for id in failed {
            self.waiters.remove(&id);
            self.effects.push(Effect::Answer { id, answer: Err(error.clone()) });
        }
    }
}

fn wait_word(wait_for: WaitFor) -> &'static str {
    match wait_for {
        WaitFor::Ready => "ready",
        WaitFor::Exited => "exited",
        WaitFor::Unhealthy => "unhealthy",
        WaitFor::Idle => "idle",
    }
}
