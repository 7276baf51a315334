//! Which pods are alive: each writes its name to a bucket whose entries vanish after a second.
//!
//! The server sends no event when an entry vanishes by age, so that a watcher never learns of a pod that was
//! killed. Whoever wants to know has to look.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::kv::Operation;
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::bus::{Bus, BusError};
use crate::log::{chain, say};

const EVERY: Duration = Duration::from_millis(250);

/// One life of a pod: `api-1/5f3a`. A pod that comes back under its old name is not the one that died, and knows
/// nothing of the work that one had begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Incarnation(String);

impl Incarnation {
    pub(crate) fn new(pod: &str, born_micros: u128) -> Self {
        Self(format!("{pod}/{born_micros:x}"))
    }

    pub(crate) fn parse(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn pod(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(pod, _)| pod)
    }
}

/// Writes the heartbeat once. A pod does so before it takes any work, else the others would take it away at once.
pub(crate) async fn write(bus: &Bus, me: &Incarnation) -> Result<(), BusError> {
    let written = bus.heartbeats.put(me.pod(), me.as_str().to_owned().into()).await;
    written.map(drop).map_err(|error| failed("cannot write the heartbeat", error.into()))
}

/// Writes the heartbeat again and again, for as long as the task lives.
pub(crate) async fn keep_beating(bus: Arc<Bus>, me: Incarnation) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = write(&bus, &me).await {
            say!("{}", chain(&error));
        }
    }
}

/// Takes the heartbeat away, so that nobody has to wait until it is too old.
pub(crate) async fn erase(bus: &Bus, me: &Incarnation) -> Result<(), BusError> {
    let erased = bus.heartbeats.delete(me.pod()).await;
    erased.map_err(|error| failed("cannot take the heartbeat away", error.into()))
}

/// Whether exactly this life of the pod goes on.
pub(crate) async fn is_alive(bus: &Bus, one: &Incarnation) -> Result<bool, BusError> {
    let found = bus.heartbeats.get(one.pod()).await;
    let found =
        found.map_err(|error| BusError::Failed { what: "cannot read a heartbeat", source: error.into() })?;
    Ok(found.is_some_and(|value| value == one.as_str()))
}

/// What a watcher of the bucket believes. It is shown beside the truth, and nothing relies on it.
#[derive(Debug, Default)]
pub(crate) struct Watched(Mutex<BTreeSet<String>>);

impl Watched {
    pub(crate) fn pods(&self) -> BTreeSet<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Believes every event, for as long as the task lives.
    pub(crate) async fn watch(self: Arc<Self>, bus: Arc<Bus>) {
        loop {
            if let Err(error) = self.believe(&bus).await {
                say!("{}", chain(&error));
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn believe(&self, bus: &Bus) -> Result<(), BusError> {
        let entries = bus.heartbeats.watch_all().await;
        let mut entries = entries.map_err(|error| failed("cannot watch the heartbeats", error.into()))?;
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(|error| failed("cannot watch the heartbeats", error.into()))?;
            let mut pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match entry.operation {
                Operation::Put => pods.insert(entry.key),
                Operation::Delete | Operation::Purge => pods.remove(&entry.key),
            };
        }
        Ok(())
    }
}

/// The names of the pods that are alive, in order.
pub(crate) async fn pods(bus: &Bus) -> Result<Vec<String>, BusError> {
    let keys = bus.heartbeats.keys().await;
    let keys = keys.map_err(|error| failed("cannot list the heartbeats", error.into()))?;
    let names: Result<Vec<String>, _> = keys.try_collect().await;
    let mut names = names.map_err(|error| failed("cannot list the heartbeats", error.into()))?;
    names.sort();
    Ok(names)
}

fn failed(what: &'static str, source: async_nats::Error) -> BusError {
    BusError::Failed { what, source }
}
