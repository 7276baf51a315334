//! The watch after a replica is ready: it turns unhealthy and healthy again, and nobody restarts it for that who
//! was not told to.

use belljar_model::{Cause, EventKind, ReplicaState};

use super::{Machine, Order, ReplicaIndex};

impl Machine {
    /// Has a replica that was ready once watched, where its stack asks for that.
    pub(super) fn watch_health(&mut self, replica: ReplicaIndex) {
        let one = &self.replicas[replica];
        // One that never became ready is not watched for staying so.
        if one.plan.health.is_none() || one.ready_ms.is_none() {
            return;
        }
        let (generation, well) = (one.generation, one.state == ReplicaState::Ready);
        self.order(Order::WatchHealth { replica, generation, well });
    }

    pub(super) fn replica_unwell(
        &mut self,
        replica: ReplicaIndex,
        generation: u32,
        why: String,
        last_lines: Vec<String>,
    ) {
        // What is on its way to its end is not judged.
        if !self.is_current(replica, generation)
            || self.replicas[replica].state != ReplicaState::Ready
            || self.replicas[replica].end_expected
        {
            return;
        }
        let one = &mut self.replicas[replica];
        one.state = ReplicaState::Unhealthy;
        one.last_lines.clone_from(&last_lines);
        let (name, restarts) =
            (one.plan.name.clone(), one.plan.health.as_ref().is_some_and(|one| one.restart));
        self.emit(EventKind::ReplicaUnhealthy { replica: name, generation, why, last_lines });
        if restarts && !self.replicas[replica].restart.is_under_way() {
            // Nobody asked, so nobody is answered.
            let _ = self.restart(replica, Cause::RestartPolicy);
        }
    }

    pub(super) fn replica_well(&mut self, replica: ReplicaIndex, generation: u32) {
        if !self.is_current(replica, generation) || self.replicas[replica].state != ReplicaState::Unhealthy {
            return;
        }
        let one = &mut self.replicas[replica];
        one.state = ReplicaState::Ready;
        one.last_lines.clear();
        let name = one.plan.name.clone();
        self.emit(EventKind::ReplicaHealthy { replica: name, generation });
    }
}
