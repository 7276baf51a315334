//! Changing a session that runs: replicas come and go, and what its stack says otherwise is started again, in the
//! order of the stack. What has not changed is not touched.
//!
//! A replica that was taken out keeps its place, its address, its volumes and its count of starts: when its name
//! comes back it is the same one again, and no name ever means two things in one timeline.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use belljar_client::wire::ErrorView;
use belljar_model::event::{Change, ChangeWhat};
use belljar_model::{Cause, ErrorCode, EventKind, ReplicaState, ServiceName, SessionState, TaskState};
use belljar_stack::plan::{Dependency, Plan, ServicePlan, UnitName};

use super::requests::{Answer, refusal};
use super::{Machine, Order, Replica, ReplicaIndex, Task};

/// Whether something is part of the stack as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Member,
    /// It is stopped, to be taken out.
    Leaving,
    Gone,
}

/// How far a change has got with a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// None is under way.
    Over,
    /// It waits for what it comes after.
    Due,
    /// It is stopped, to be started again.
    Stopping,
    Starting,
}

/// A change that is under way.
#[derive(Debug)]
pub(super) struct Changing {
    number: u64,
}

impl Replica {
    pub(super) fn is_member(&self) -> bool {
        self.part == Part::Member
    }

    /// It has become ready, as it is to be now.
    pub(super) fn is_up(&self) -> bool {
        self.booted && self.change == Turn::Over
    }

    /// It has been started, as it is to be now.
    pub(super) fn has_started(&self) -> bool {
        match self.change {
            Turn::Over => self.booted || self.pid.is_some(),
            Turn::Due | Turn::Stopping => false,
            Turn::Starting => self.pid.is_some(),
        }
    }
}

impl Machine {
    pub(super) fn members(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(|one| one.is_member())
    }

    pub(super) fn members_of(&self, service: &ServicePlan) -> impl Iterator<Item = &Replica> {
        self.members().filter(move |one| one.service.name == service.name)
    }

    /// Begins to make the session what a plan says. The number is that of the change.
    pub(super) fn apply(&mut self, plan: &Arc<Plan>, dry: bool) -> Result<(u64, Vec<Change>), ErrorView> {
        if self.state == SessionState::Starting {
            let message = format!("session {} is still starting", self.name);
            return Err(refusal(ErrorCode::SessionNotReady, message));
        }
        let changes = self.difference(plan)?;
        if dry {
            return Ok((0, changes));
        }
        self.overtake();
        self.changes += 1;
        let number = self.changes;
        if !changes.is_empty() {
            self.emit(EventKind::SessionChanging { changes: changes.clone() });
        }
        self.plan = Arc::clone(plan);
        for service in &plan.services {
            self.take_over(service, &changes);
        }
        for task in &plan.tasks {
            self.take_over_task(task, &changes);
        }
        for one in &mut self.replicas {
            let stays = plan
                .service(&one.service.name)
                .is_some_and(|service| service.replicas.iter().any(|replica| replica.name == one.plan.name));
            if !stays && one.part == Part::Member {
                one.part = Part::Leaving;
                one.change = Turn::Over;
                one.wanted = false;
                one.cool_down = None;
            }
        }
        for one in &mut self.tasks {
            if plan.task(&one.plan.name).is_none() && one.part == Part::Member {
                one.part = Part::Leaving;
                one.is_due = false;
            }
        }
        // Before anybody is stopped: nobody is to be led to one that goes.
        self.tell_names();
        self.changing = Some(Changing { number });
        if changes.is_empty() {
            self.finish_change(Ok(()));
        }
        Ok((number, changes))
    }

    /// A change that is still under way ends where it is: the new one begins from there.
    fn overtake(&mut self) {
        if self.changing.is_none() {
            return;
        }
        let message = "another change of the session came before this one was done";
        self.emit(EventKind::SessionChangeFailed { why: message.to_owned() });
        self.give_up_turns();
        self.finish_change(Err(refusal(ErrorCode::ChangeOvertaken, message.to_owned())));
    }

    fn take_over(&mut self, service: &ServicePlan, changes: &[Change]) {
        let shared = Arc::new(service.clone());
        for plan in &service.replicas {
            let plan = Arc::new(plan.clone());
            let touched = changes.iter().any(|one| {
                matches!(one.what, ChangeWhat::Start | ChangeWhat::Restart)
                    && one.replicas.contains(&plan.name)
            });
            let known = self.replicas.iter().position(|one| one.plan.name == plan.name);
            let index = known.unwrap_or(self.replicas.len());
            if known.is_none() {
                self.replicas.push(Replica { is_listed: false, ..Replica::new(&shared, Arc::clone(&plan)) });
            }
            let one = &mut self.replicas[index];
            let is_other = known.is_none() || one.plan != plan;
            match one.part {
                Part::Member => {}
                // It comes back before it was gone: it is stopped first all the same.
                Part::Leaving => {
                    one.part = Part::Member;
                    one.is_listed = false;
                }
                Part::Gone => {
                    one.part = Part::Member;
                    one.state = ReplicaState::Pending;
                    one.is_listed = false;
                    one.booted = false;
                    one.exit = None;
                    one.last_lines.clear();
                }
            }
            one.service = Arc::clone(&shared);
            one.plan = Arc::clone(&plan);
            if touched && one.change == Turn::Over {
                one.change = Turn::Due;
            }
            if is_other {
                self.order(Order::DefineReplica { replica: index, plan });
            }
        }
    }

    fn take_over_task(&mut self, plan: &belljar_stack::plan::TaskPlan, changes: &[Change]) {
        let plan = Arc::new(plan.clone());
        let known = self.tasks.iter().position(|one| one.plan.name == plan.name);
        let index = known.unwrap_or(self.tasks.len());
        if known.is_none() {
            self.tasks.push(Task::new(Arc::clone(&plan)));
        }
        let one = &mut self.tasks[index];
        let is_other = known.is_none() || one.plan != plan;
        if one.part == Part::Gone {
            one.state = TaskState::Pending;
        }
        one.part = Part::Member;
        one.plan = Arc::clone(&plan);
        one.is_due = changes.iter().any(|one| one.what == ChangeWhat::Run && one.unit == plan.name.as_str());
        if is_other {
            self.order(Order::DefineTask { task: index, plan });
        }
    }

    /// Does what can be done now of the change that is under way.
    pub(super) fn go_on_changing(&mut self) {
        // A service that is gone is stopped last: those that are started again may still speak to it.
        let is_busy = self.replicas.iter().any(|one| one.change != Turn::Over)
            || self.tasks.iter().any(|one| one.is_due || one.state == TaskState::Running);
        let plan = Arc::clone(&self.plan);
        let may_go = |one: &Replica| {
            one.part == Part::Leaving && (!is_busy || plan.service(&one.service.name).is_some())
        };
        self.stop_in_order(may_go, Cause::Change);
        self.take_out();
        if self.changing.is_none() {
            return;
        }
        for task in 0..self.tasks.len() {
            let one = &self.tasks[task];
            let may_run = one.is_due
                && one.state != TaskState::Running
                && one.plan.after.iter().all(|one| self.holds(one))
                && self.is_settled_below(&one.plan.after);
            if may_run {
                self.start_task(task);
            }
        }
        for replica in 0..self.replicas.len() {
            let one = &self.replicas[replica];
            if one.change == Turn::Due && self.may_boot(replica) && self.is_settled_below(&one.service.after)
            {
                self.take_turn(replica);
            }
        }
        let is_done = self.replicas.iter().all(|one| one.change == Turn::Over && one.part != Part::Leaving)
            && self.tasks.iter().all(|one| !one.is_due && one.part != Part::Leaving)
            && !self.tasks.iter().any(|one| one.state == TaskState::Running);
        if is_done {
            self.emit(EventKind::SessionChanged {});
            self.finish_change(Ok(()));
        }
    }

    /// Whether the change is done with everything that these come after, over whatever is in between.
    fn is_settled_below(&self, after: &[Dependency]) -> bool {
        let mut seen: BTreeSet<UnitName> = BTreeSet::new();
        let mut next: Vec<UnitName> = after.iter().map(|one| one.on.clone()).collect();
        while let Some(unit) = next.pop() {
            if !seen.insert(unit.clone()) {
                continue;
            }
            match &unit {
                UnitName::Service(name) => {
                    for one in self.members().filter(|one| one.service.name == *name) {
                        if one.change != Turn::Over {
                            return false;
                        }
                        next.extend(one.service.after.iter().map(|one| one.on.clone()));
                    }
                }
                UnitName::Task(name) => {
                    for one in self.tasks.iter().filter(|one| one.plan.name == *name) {
                        if one.is_due || one.state == TaskState::Running {
                            return false;
                        }
                        next.extend(one.plan.after.iter().map(|one| one.on.clone()));
                    }
                }
            }
        }
        true
    }

    fn take_turn(&mut self, replica: ReplicaIndex) {
        self.give_up_policy_restart(replica);
        let one = &mut self.replicas[replica];
        one.booted = false;
        one.change = Turn::Stopping;
        match one.state {
            ReplicaState::Stopping => {}
            state if state.is_alive() => self.stop_now(replica, Cause::Change),
            _ => self.start_replica(replica, Cause::Change),
        }
    }

    /// A replica has ended that was stopped for its turn: whether it is started again for it.
    pub(super) fn turn_stopped(&mut self, replica: ReplicaIndex) -> bool {
        if self.replicas[replica].change != Turn::Stopping {
            return false;
        }
        self.start_replica(replica, Cause::Change);
        true
    }

    /// A replica has not come up, or did not stay up: with it fails the change, if it was the change's.
    pub(super) fn turn_failed(&mut self, replica: ReplicaIndex, why: &str) {
        let one = &mut self.replicas[replica];
        if one.change != Turn::Starting {
            return;
        }
        one.change = Turn::Over;
        let lines = Some(one.last_lines.clone());
        let why = format!("{} did not become ready: {why}", one.plan.name);
        self.fail_change(why, lines);
    }

    /// What the change has not reached stays as it was; what it has begun goes on.
    pub(super) fn fail_change(&mut self, why: String, last_lines: Option<Vec<String>>) {
        if self.changing.is_none() {
            return;
        }
        self.emit(EventKind::SessionChangeFailed { why: why.clone() });
        self.give_up_turns();
        let mut error = refusal(ErrorCode::SessionNotReady, why);
        if let Some(lines) = last_lines.filter(|lines| !lines.is_empty()) {
            error.hints.push(format!("its last lines:\n{}", lines.join("\n")));
        }
        self.finish_change(Err(error));
    }

    fn give_up_turns(&mut self) {
        for one in &mut self.replicas {
            if one.change == Turn::Due {
                one.change = Turn::Over;
            }
        }
        for one in &mut self.tasks {
            one.is_due = false;
        }
    }

    fn finish_change(&mut self, result: Result<(), ErrorView>) {
        if let Some(Changing { number }) = self.changing.take() {
            self.last_change = Some((number, result));
            self.answer_what_holds();
        }
    }

    pub(super) fn judge_change(&self, number: u64, changes: &[Change]) -> Option<Result<Answer, ErrorView>> {
        match &self.last_change {
            // It was only looked at.
            _ if number == 0 => Some(Ok(Answer::Changed(changes.to_vec()))),
            Some((last, result)) if *last == number => {
                Some(result.clone().map(|()| Answer::Changed(changes.to_vec())))
            }
            _ if matches!(self.state, SessionState::Stopping | SessionState::Ended) => {
                let why = self.why.as_deref().unwrap_or("it ended");
                let message = format!("session {} ended meanwhile: {why}", self.name);
                Some(Err(refusal(ErrorCode::SessionEnded, message)))
            }
            _ => None,
        }
    }

    /// Stops those of the chosen that none of the others needs any more.
    pub(super) fn stop_in_order(&mut self, is_chosen: impl Fn(&Replica) -> bool, by: Cause) {
        let alive = |one: &&Replica| is_chosen(one) && one.state.is_alive();
        let needed: Vec<ServiceName> = self
            .replicas
            .iter()
            .filter(alive)
            .flat_map(|one| &one.service.after)
            .filter_map(|dependency| match &dependency.on {
                UnitName::Service(name) => Some(name.clone()),
                UnitName::Task(_) => None,
            })
            .collect();
        for replica in 0..self.replicas.len() {
            let one = &self.replicas[replica];
            let may_stop =
                alive(&one) && one.state != ReplicaState::Stopping && !needed.contains(&one.service.name);
            if may_stop {
                self.give_up_policy_restart(replica);
                self.replicas[replica].wanted = false;
                self.stop_now(replica, by);
            }
        }
    }

    /// Says of everything that has left that it is gone.
    fn take_out(&mut self) {
        for replica in 0..self.replicas.len() {
            self.left(replica);
        }
        for task in 0..self.tasks.len() {
            let one = &mut self.tasks[task];
            if one.part != Part::Leaving {
                continue;
            }
            if one.state == TaskState::Running {
                if !std::mem::replace(&mut one.timed_out, true) {
                    self.order(Order::KillTask { task });
                }
                continue;
            }
            one.part = Part::Gone;
            one.ran = None;
            let name = one.plan.name.clone();
            self.emit(EventKind::TaskRemoved { task: name });
        }
    }

    /// Whether this replica was leaving and is gone now.
    pub(super) fn left(&mut self, replica: ReplicaIndex) -> bool {
        let one = &mut self.replicas[replica];
        if one.part != Part::Leaving || one.state.is_alive() {
            return false;
        }
        one.part = Part::Gone;
        one.change = Turn::Over;
        let was_started = one.generation > 0;
        let name = one.plan.name.clone();
        for fault in std::mem::take(&mut one.faults) {
            self.emit(EventKind::FaultHealed { fault });
        }
        if was_started {
            self.emit(EventKind::ReplicaRemoved { replica: name });
        }
        true
    }

    /// Who is called what: every replica that is or will be there by its own name, and a service by those of its
    /// replicas that have become ready once.
    pub(super) fn tell_names(&mut self) {
        let mut names: BTreeMap<String, Vec<Ipv4Addr>> = BTreeMap::new();
        for one in self.members() {
            names.entry(one.plan.name.to_string()).or_default().push(one.plan.address);
            let of_service = names.entry(one.service.name.to_string()).or_default();
            if one.is_listed {
                of_service.push(one.plan.address);
            }
        }
        for one in &self.plan.host_services {
            names.insert(one.name.to_string(), one.address.into_iter().collect());
        }
        let command_env = self.plan.command_env.clone();
        self.order(Order::TellNames { names, command_env });
    }

    /// Starts a service again for files of it that have changed.
    pub(super) fn files_changed(&mut self, service: ServiceName, files: Vec<PathBuf>) {
        let is_meant = |one: &Replica| one.is_member() && one.service.name == service && one.wanted;
        let replicas: Vec<ReplicaIndex> =
            (0..self.replicas.len()).filter(|&index| is_meant(&self.replicas[index])).collect();
        if replicas.is_empty() || self.state == SessionState::Starting {
            return;
        }
        self.emit(EventKind::FilesChanged { service, files });
        for replica in replicas {
            self.restart(replica, Cause::Watch);
        }
    }
}
