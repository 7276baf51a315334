//! Ports that another process was quicker to bind, in shared isolation.
//!
//! A replica whose port was taken gets another one and starts again, as long as nobody has been told of the port.
//! Once somebody has, a new number would be known to some and not to others: then the replica fails, and says why.

use std::sync::Arc;

use belljar_model::event::Exit;
use belljar_model::{Cause, EventKind, ReplicaState, SessionState, TaskState};
use belljar_stack::plan::Plan;

use super::{Machine, Order, ReplicaIndex};

impl Machine {
    pub(super) fn port_taken(
        &mut self,
        replica: ReplicaIndex,
        generation: u32,
        port: String,
        exit: Exit,
        why: String,
        last_lines: Vec<String>,
    ) {
        let one = &self.replicas[replica];
        let nobody_knows = self.state == SessionState::Starting && !one.booted && !one.end_expected;
        if !nobody_knows || !self.is_current(replica, generation) {
            return self.replica_ended(replica, generation, exit, Some(why), last_lines);
        }
        self.order(Order::StopWatching { replica });
        let one = &mut self.replicas[replica];
        one.state = ReplicaState::Failed;
        one.pid = None;
        one.exit = Some(exit.clone());
        one.last_lines.clone_from(&last_lines);
        one.changing_port = true;
        let name = one.plan.name.clone();
        let why = Some(why);
        self.emit(EventKind::ReplicaExited {
            replica: name,
            generation,
            exit,
            expected: false,
            why,
            last_lines,
        });
        self.order(Order::ChangePort { replica, generation, port });
    }

    pub(super) fn port_changed(
        &mut self,
        replica: ReplicaIndex,
        generation: u32,
        port: String,
        result: Result<(u16, u16, Arc<Plan>), String>,
    ) {
        let one = &mut self.replicas[replica];
        // Somebody may have taken the replica into their own hands meanwhile, or everything ends.
        let awaited = std::mem::take(&mut one.changing_port)
            && one.generation == generation
            && one.wanted
            && !one.state.is_alive()
            && self.state == SessionState::Starting;
        let name = one.plan.name.clone();
        match result {
            Ok((from, to, plan)) => {
                let knows = self.who_knows(replica, &plan);
                self.take_plan(plan);
                let changed = EventKind::ReplicaPortChanged {
                    replica: name.clone(),
                    generation,
                    port: port.clone(),
                    from,
                    to,
                };
                self.emit(changed);
                match knows {
                    _ if !awaited => {}
                    Some(other) => self.end(format!(
                        "{name} did not become ready: its port {from} (`{port}`) was taken by another process, and \
                         {other} has been told of it already"
                    )),
                    None => self.start_replica(replica, Cause::Plan),
                }
            }
            Err(_) if !awaited => {}
            Err(why) => self.end(format!(
                "{name} did not become ready: its port `{port}` was taken by another process, and no other could be \
                 leased: {why}"
            )),
        }
    }

    /// Somebody who was started with a number that is another one in this plan.
    fn who_knows(&self, replica: ReplicaIndex, plan: &Plan) -> Option<String> {
        let replicas = self.replicas.iter().enumerate().zip(plan.replicas());
        let replica = replicas
            // One that has lost its own port too is started anew, as this one is.
            .filter(|((index, one), _)| *index != replica && one.generation > 0 && !one.changing_port)
            .find(|((_, one), new)| *one.plan != **new)
            .map(|((_, one), _)| one.plan.name.to_string());
        let tasks = self.tasks.iter().zip(&plan.tasks);
        let mut tasks = tasks.filter(|(one, new)| one.state != TaskState::Pending && *one.plan != **new);
        replica.or_else(|| tasks.next().map(|(one, _)| one.plan.name.to_string()))
    }

    fn take_plan(&mut self, plan: Arc<Plan>) {
        for service in &plan.services {
            let shared = Arc::new(service.clone());
            for new in &service.replicas {
                if let Some(one) = self.replicas.iter_mut().find(|one| one.plan.name == new.name) {
                    one.service = Arc::clone(&shared);
                    one.plan = Arc::new(new.clone());
                }
            }
        }
        for new in &plan.tasks {
            if let Some(one) = self.tasks.iter_mut().find(|one| one.plan.name == new.name) {
                one.plan = Arc::new(new.clone());
            }
        }
        self.plan = plan;
    }
}
