//! What has to be done for a session to be as another plan says: found by looking, changing nothing.

use std::collections::BTreeMap;

use belljar_client::wire::ErrorView;
use belljar_model::event::{Change, ChangeWhat};
use belljar_model::{ErrorCode, ReplicaName, TaskState};
use belljar_stack::plan::{Plan, PublishPlan, ReplicaPlan, ServicePlan, TaskPlan};

use super::change::Part;
use super::requests::refusal;
use super::{Machine, Replica, Task};

impl Machine {
    /// What another plan changes, in the order of the file; what is not part of it any more comes last.
    pub(super) fn difference(&self, plan: &Plan) -> Result<Vec<Change>, ErrorView> {
        self.refuse_what_is_fixed(plan)?;
        let mut changes = Vec::new();
        for service in &plan.services {
            changes.extend(self.of_service(service));
        }
        for task in &plan.tasks {
            changes.extend(self.of_task(task));
        }
        for one in self.plan.services.iter().filter(|one| plan.service(&one.name).is_none()) {
            changes.push(Change {
                unit: one.name.to_string(),
                what: ChangeWhat::Stop,
                replicas: self.members_of(one).map(|one| one.plan.name.clone()).collect(),
                why: Vec::new(),
            });
        }
        for one in self.plan.tasks.iter().filter(|one| plan.task(&one.name).is_none()) {
            changes.push(of_whole(&one.name, ChangeWhat::Stop, Vec::new()));
        }
        Ok(changes)
    }

    /// What a session stands on cannot be another while it runs.
    fn refuse_what_is_fixed(&self, plan: &Plan) -> Result<(), ErrorView> {
        let now = &self.plan;
        let fixed = [
            ("name", now.stack != plan.stack),
            ("the directory", now.dir != plan.dir),
            ("isolation", now.isolation != plan.isolation),
            ("filesystem", now.filesystem != plan.filesystem),
            ("home", now.home != plan.home),
            ("limits", now.limits != plan.limits),
            ("host_services", now.host_services != plan.host_services),
            ("publish", published(now) != published(plan)),
            ("the network", (now.address, now.prefix) != (plan.address, plan.prefix)),
        ];
        let changed: Vec<&str> =
            fixed.iter().filter(|(_, changed)| *changed).map(|(what, _)| *what).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let verb = if changed.len() == 1 { "has" } else { "have" };
        let message = format!(
            "{} of the stack {verb} changed, which session {} cannot take over while it runs",
            changed.join(" and "),
            self.name
        );
        let mut error = refusal(ErrorCode::ChangeNeedsDown, message);
        error.hints.push(format!(
            "`belljar down {}` ends it; `belljar up` then starts it as the file says",
            self.name
        ));
        Err(error)
    }

    fn of_service(&self, new: &ServicePlan) -> Vec<Change> {
        let old = self.plan.service(&new.name);
        let mut by_kind: BTreeMap<(ChangeWhat, Vec<String>), Vec<ReplicaName>> = BTreeMap::new();
        for plan in &new.replicas {
            let known = self.replicas.iter().find(|one| one.plan.name == plan.name);
            let (what, why) = match known.filter(|one| one.part == Part::Member) {
                Some(one) => match one.difference(plan) {
                    Some(change) => change,
                    None => continue,
                },
                None => (ChangeWhat::Start, Vec::new()),
            };
            by_kind.entry((what, why)).or_default().push(plan.name.clone());
        }
        let is_surplus = |one: &&Replica| !new.replicas.iter().any(|plan| plan.name == one.plan.name);
        let surplus: Vec<ReplicaName> =
            self.members_of(new).filter(is_surplus).map(|one| one.plan.name.clone()).collect();
        if !surplus.is_empty() {
            by_kind.insert((ChangeWhat::Stop, Vec::new()), surplus);
        }
        let mut changes: Vec<Change> = by_kind
            .into_iter()
            .map(|((what, why), replicas)| Change { unit: new.name.to_string(), what, replicas, why })
            .collect();
        let besides = old.map(|old| besides_replicas(old, new)).unwrap_or_default();
        if !besides.is_empty() && !changes.iter().any(|one| one.what == ChangeWhat::Restart) {
            changes.push(of_whole(&new.name, ChangeWhat::Update, besides));
        }
        changes
    }

    fn of_task(&self, new: &TaskPlan) -> Option<Change> {
        let known = self.tasks.iter().find(|one| one.plan.name == new.name && one.part == Part::Member);
        let (what, why) = match known {
            Some(one) => one.difference(new)?,
            None => (ChangeWhat::Run, Vec::new()),
        };
        Some(of_whole(&new.name, what, why))
    }
}

/// What is shown on the host: its listeners are made when the session is.
fn published(plan: &Plan) -> Vec<(&str, &[PublishPlan])> {
    let shown = plan.services.iter().filter(|one| !one.publish.is_empty());
    shown.map(|one| (one.name.as_str(), &one.publish[..])).collect()
}

fn of_whole(unit: &impl ToString, what: ChangeWhat, why: Vec<String>) -> Change {
    Change { unit: unit.to_string(), what, replicas: Vec::new(), why }
}

impl Replica {
    /// What has to be done to it to be as this plan says.
    pub(super) fn difference(&self, new: &ReplicaPlan) -> Option<(ChangeWhat, Vec<String>)> {
        let now = self.runs.as_deref().unwrap_or(&self.plan);
        let why = of_process(now, new);
        let never_came_up = !self.booted && !self.state.is_alive();
        if self.generation == 0 || (never_came_up && self.wanted) {
            return Some((ChangeWhat::Start, why));
        }
        if !why.is_empty() {
            // What somebody has stopped stays so; it will be as the stack says when it is started.
            let what = if self.wanted { ChangeWhat::Restart } else { ChangeWhat::Update };
            return (now != new).then_some((what, why)).filter(|_| self.wanted || *self.plan != *new);
        }
        (self.plan.ready != new.ready).then(|| (ChangeWhat::Update, vec!["ready".to_owned()]))
    }
}

impl Task {
    fn difference(&self, new: &TaskPlan) -> Option<(ChangeWhat, Vec<String>)> {
        let now = self.ran.as_deref().unwrap_or(&self.plan);
        let mut why = Vec::new();
        note(&mut why, "run", now.argv != new.argv);
        why.extend(of_env(&now.env, &new.env));
        note(&mut why, "cwd", now.cwd != new.cwd);
        note(&mut why, "limits", now.limits != new.limits);
        if !why.is_empty() || matches!(self.state, TaskState::Pending | TaskState::Failed) {
            return Some((ChangeWhat::Run, why));
        }
        note(&mut why, "after", self.plan.after != new.after);
        note(&mut why, "timeout", self.plan.timeout != new.timeout);
        (!why.is_empty()).then_some((ChangeWhat::Update, why))
    }
}

/// What makes another process of a replica.
fn of_process(now: &ReplicaPlan, new: &ReplicaPlan) -> Vec<String> {
    let mut why = Vec::new();
    note(&mut why, "run", now.argv != new.argv);
    why.extend(of_env(&now.env, &new.env));
    note(&mut why, "cwd", now.cwd != new.cwd);
    note(&mut why, "limits", now.limits != new.limits);
    note(&mut why, "volumes", now.volumes != new.volumes);
    note(&mut why, "files", now.files != new.files);
    note(&mut why, "init", now.init != new.init);
    why
}

/// What a service tells others or belljar, and no process of its own.
fn besides_replicas(now: &ServicePlan, new: &ServicePlan) -> Vec<String> {
    let mut why = Vec::new();
    note(&mut why, "after", now.after != new.after);
    note(&mut why, "boot", now.boot != new.boot);
    note(&mut why, "restart", now.restart != new.restart);
    note(&mut why, "stop", now.stop != new.stop);
    note(&mut why, "ports", now.ports != new.ports);
    note(&mut why, "outputs", now.outputs != new.outputs);
    note(&mut why, "watch", now.watch != new.watch);
    why
}

fn of_env(now: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = now.keys().chain(new.keys()).collect();
    names
        .into_iter()
        .filter(|&name| now.get(name) != new.get(name))
        .map(|name| format!("env {name}"))
        .collect()
}

fn note(why: &mut Vec<String>, what: &str, differs: bool) {
    if differs {
        why.push(what.to_owned());
    }
}
