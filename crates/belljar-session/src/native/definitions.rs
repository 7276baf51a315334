//! What replicas and tasks are, and who is called what. Both can change while a session runs; whatever is started
//! is started as it is defined in that moment.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use belljar_model::ReplicaName;
use belljar_stack::plan::{Plan, ReplicaPlan, TaskPlan};
use tokio::sync::watch;

use super::dns::Names;
use crate::machine::{ReplicaIndex, TaskIndex};

/// Names are written in well under a millisecond; nobody waits longer than this for it.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

/// The definitions of one session.
#[derive(Debug)]
pub(crate) struct Definitions {
    units: Mutex<Units>,
    /// How many replicas have their networks.
    places: tokio::sync::Mutex<usize>,
    address: Ipv4Addr,
    prefix: u8,
    session_name: String,
    names: Arc<RwLock<Names>>,
    /// How often names were told, and how many of those times /etc/hosts has them.
    told: watch::Sender<u64>,
    written: watch::Sender<u64>,
    /// What commands get besides what the plan says, and all of it.
    own_env: BTreeMap<String, String>,
    command_env: Mutex<Arc<BTreeMap<String, String>>>,
}

#[derive(Debug)]
struct Units {
    replicas: Vec<Arc<ReplicaPlan>>,
    /// They were defined after the session had started.
    is_new: Vec<bool>,
    tasks: Vec<Arc<TaskPlan>>,
}

impl Definitions {
    pub(crate) fn new(plan: &Plan, session: &str, names: Names, own_env: BTreeMap<String, String>) -> Self {
        let replicas: Vec<_> = plan.replicas().cloned().map(Arc::new).collect();
        let count = replicas.len();
        let units = Units {
            is_new: vec![false; count],
            replicas,
            tasks: plan.tasks.iter().cloned().map(Arc::new).collect(),
        };
        let command_env = Mutex::new(Arc::new(with_own(plan.command_env.clone(), &own_env)));
        Self {
            units: Mutex::new(units),
            places: tokio::sync::Mutex::new(count),
            address: plan.address,
            prefix: plan.prefix,
            session_name: session.to_owned(),
            names: Arc::new(RwLock::new(names)),
            told: watch::Sender::new(0),
            written: watch::Sender::new(0),
            own_env,
            command_env,
        }
    }

    fn units(&self) -> MutexGuard<'_, Units> {
        self.units.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The replica of this index. The machine defines it before it orders anything of it.
    pub(super) fn replica(&self, index: ReplicaIndex) -> Arc<ReplicaPlan> {
        Arc::clone(&self.units().replicas[index])
    }

    pub(super) fn task(&self, index: TaskIndex) -> Arc<TaskPlan> {
        Arc::clone(&self.units().tasks[index])
    }

    /// The replica of this name, where it is part of the session now.
    pub(crate) fn find(&self, name: &ReplicaName) -> Option<ReplicaIndex> {
        if !self.names.read().unwrap_or_else(PoisonError::into_inner).has(name.as_str()) {
            return None;
        }
        self.units().replicas.iter().position(|one| one.name == *name)
    }

    pub(super) fn is_new(&self, index: ReplicaIndex) -> bool {
        self.units().is_new[index]
    }

    pub(super) fn define(&self, index: ReplicaIndex, plan: Arc<ReplicaPlan>) {
        let mut units = self.units();
        if index < units.replicas.len() {
            units.replicas[index] = plan;
            units.is_new[index] = true;
        } else {
            units.replicas.push(plan);
            units.is_new.push(true);
        }
    }

    pub(super) fn define_task(&self, index: TaskIndex, plan: Arc<TaskPlan>) {
        let mut units = self.units();
        if index < units.tasks.len() {
            units.tasks[index] = plan;
        } else {
            units.tasks.push(plan);
        }
    }

    /// Takes over a plan with the same units, in which numbers of ports are others.
    pub(super) fn replan(&self, plan: &Plan) {
        let mut units = self.units();
        units.replicas = plan.replicas().cloned().map(Arc::new).collect();
        units.tasks = plan.tasks.iter().cloned().map(Arc::new).collect();
        drop(units);
        self.tell_commands(plan.command_env.clone());
    }

    pub(super) fn places(&self) -> &tokio::sync::Mutex<usize> {
        &self.places
    }

    pub(super) fn prefix(&self) -> u8 {
        self.prefix
    }

    /// What the name server answers from.
    pub(crate) fn names(&self) -> Arc<RwLock<Names>> {
        Arc::clone(&self.names)
    }

    pub(super) fn tell(&self, names: BTreeMap<String, Vec<Ipv4Addr>>, command_env: BTreeMap<String, String>) {
        *self.names.write().unwrap_or_else(PoisonError::into_inner) =
            Names::with(names, &self.session_name, self.address);
        self.tell_commands(command_env);
        self.told.send_modify(|count| *count += 1);
    }

    fn tell_commands(&self, command_env: BTreeMap<String, String>) {
        let env = Arc::new(with_own(command_env, &self.own_env));
        *self.command_env.lock().unwrap_or_else(PoisonError::into_inner) = env;
    }

    pub(super) fn hosts_file(&self) -> String {
        self.names.read().unwrap_or_else(PoisonError::into_inner).hosts_file()
    }

    pub(super) fn told(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }

    pub(super) fn names_told(&self) -> u64 {
        *self.told.borrow()
    }

    pub(super) fn wrote(&self, number: u64) {
        self.written.send_replace(number);
    }

    /// Waits until what was told by then stands in /etc/hosts.
    pub(super) async fn names_written(&self, number: u64) {
        let mut written = self.written.subscribe();
        // Whoever waits does what he is about to all the same.
        let _ = tokio::time::timeout(WRITTEN_WITHIN, written.wait_for(|count| *count >= number)).await;
    }

    /// What every command of the session gets on top of the caller's environment.
    pub(crate) fn command_env(&self) -> Arc<BTreeMap<String, String>> {
        Arc::clone(&self.command_env.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn with_own(mut env: BTreeMap<String, String>, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    env.extend(own.iter().map(|(name, value)| (name.clone(), value.clone())));
    env
}
