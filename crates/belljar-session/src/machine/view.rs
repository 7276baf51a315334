//! The state as the control protocol shows it.

use std::collections::BTreeMap;

use belljar_client::wire::{ReplicaView, ServiceView, SessionView, TaskView};

use super::{Machine, Replica, Task};

impl Machine {
    /// The session as it is now; `seq` is the last event's number.
    pub fn view(&self, seq: u64) -> SessionView {
        let mut services = BTreeMap::new();
        for (index, service) in self.plan.services.iter().enumerate() {
            let replicas =
                self.replicas.iter().filter(|one| one.service == index).map(Replica::view).collect();
            let url = service.outputs.get("url").cloned();
            services.insert(service.name.clone(), ServiceView { replicas, url });
        }
        let tasks = self.tasks.iter().map(|one| (one.plan.name.clone(), one.view())).collect();
        SessionView {
            id: self.id.clone(),
            name: self.name.clone(),
            stack: self.plan.stack.clone(),
            state: self.state,
            why: self.why.clone(),
            seq,
            services,
            tasks,
        }
    }
}

impl Replica {
    fn view(&self) -> ReplicaView {
        ReplicaView {
            name: self.plan.name.clone(),
            state: self.state,
            host: self.plan.address.to_string(),
            ports: self.plan.ports.iter().map(|port| (port.name.clone(), port.port)).collect(),
            url: self.plan.url.clone(),
            published: BTreeMap::new(),
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
