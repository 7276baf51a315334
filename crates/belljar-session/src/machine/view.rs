//! The state as the control protocol shows it.

use std::collections::BTreeMap;

use belljar_client::wire::{ReplicaView, ServiceView, SessionView, TaskView};

use belljar_model::ReplicaState;

use super::change::Part;
use super::{Machine, Replica, Task};
use crate::ports::Standing;

impl Machine {
    /// The session as it is now; `seq` is the last event's number.
    pub fn view(&self, seq: u64) -> SessionView {
        let mut services = BTreeMap::new();
        // One that is being taken out is shown until it is gone.
        let leaving = self.replicas.iter().filter(|one| one.part == Part::Leaving).map(|one| &*one.service);
        for service in leaving.chain(&self.plan.services) {
            let replicas = self
                .replicas
                .iter()
                .filter(|one| one.service.name == service.name && one.part != Part::Gone)
                .map(|one| {
                    let only = service.replicas.len() == 1;
                    let published = self.openings.published_for(&service.name, Some(&one.plan.name), only);
                    one.view(published)
                })
                .collect();
            let published = self.openings.published_for(&service.name, None, false);
            let url = service.outputs.get("url").cloned();
            let urls = service.ports.iter().filter_map(|one| Some((one.name.clone(), service.url_of(one)?)));
            let view = ServiceView { replicas, published, urls: urls.collect(), url };
            services.insert(service.name.clone(), view);
        }
        let tasks = self.tasks.iter().filter(|one| one.part != Part::Gone);
        let tasks = tasks.map(|one| (one.plan.name.clone(), one.view())).collect();
        SessionView {
            id: self.id.clone(),
            name: self.name.clone(),
            stack: self.plan.stack.clone(),
            state: self.state,
            why: self.why.clone(),
            seq,
            services,
            tasks,
            metrics: self.openings.metrics.clone(),
        }
    }

    /// How each replica that there is stands; nothing, where nobody comes in to any of them.
    pub fn standings(&self) -> Vec<Standing> {
        let wanted = if self.openings.lead_anywhere() { self.replicas.as_slice() } else { &[] };
        wanted
            .iter()
            // A new one is led to when it has become ready, and one that is to go is not any more.
            .filter(|one| one.is_listed && one.is_member())
            .map(|one| Standing {
                service: one.service.name.clone(),
                replica: one.plan.name.clone(),
                address: one.plan.address,
                ports: one.plan.ports.clone(),
                state: one.state,
                restarting: one.state == ReplicaState::Starting
                    || one.restart.is_under_way()
                    || one.cool_down.is_some(),
            })
            .collect()
    }
}

impl Replica {
    fn view(&self, published: BTreeMap<String, u16>) -> ReplicaView {
        ReplicaView {
            name: self.plan.name.clone(),
            state: self.state,
            host: self.plan.address.to_string(),
            ports: self.plan.ports.iter().map(|port| (port.name.clone(), port.port)).collect(),
            url: self.plan.url.clone(),
            published,
            generation: self.generation,
            pid: self.pid,
            ready_ms: self.ready_ms,
            exit: self.exit.clone(),
            cool_down_ms: self.cool_down.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            last_lines: self.last_lines.clone(),
        }
    }
}

impl Task {
    fn view(&self) -> TaskView {
        TaskView { state: self.state, exit: self.exit.clone(), last_lines: self.last_lines.clone() }
    }
}
