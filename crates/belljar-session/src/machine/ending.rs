//! Ending: everything goes at once, by the kernel, and the timeline says so for each replica.

use belljar_model::event::Exit;
use belljar_model::{Cause, EventKind, SessionState, TaskState};
use belljar_stack::plan::Isolation;

use super::{Machine, Order};

impl Machine {
    /// Ends the session. A second call changes nothing.
    pub(super) fn end(&mut self, why: String) {
        if matches!(self.state, SessionState::Stopping | SessionState::Ended) {
            return;
        }
        self.state = SessionState::Stopping;
        self.why = Some(why.clone());
        self.emit(EventKind::SessionStopping { why });
        self.order(Order::EndSession);
    }

    /// Ends the session when its replicas have been stopped, each before those that it comes after. A session
    /// that is ending already goes on as it does.
    pub(super) fn end_in_order(&mut self, why: String) {
        if matches!(self.state, SessionState::Draining | SessionState::Stopping | SessionState::Ended) {
            return;
        }
        self.state = SessionState::Draining;
        self.why = Some(why.clone());
        self.emit(EventKind::SessionDraining { why });
    }

    /// Stops what can be stopped now; the session ends when nothing is left.
    pub(super) fn go_on_draining(&mut self) {
        self.stop_in_order(|_| true, Cause::End);
        if self.replicas.iter().all(|one| !one.state.is_alive()) {
            let why = self.why.clone().unwrap_or_default();
            self.end(why);
        }
    }

    /// No process of the session is left.
    pub(super) fn gone(&mut self, why: Option<String>) {
        if self.state == SessionState::Ended {
            return;
        }
        if self.state != SessionState::Stopping {
            // Nobody asked, so without a reason of its own whoever keeps it was killed from outside.
            let keeper = match self.plan.isolation {
                Isolation::Sealed => "init",
                Isolation::Shared => "warden",
            };
            let why = why.unwrap_or_else(|| format!("the session's {keeper} was killed"));
            self.why = Some(why.clone());
            self.state = SessionState::Stopping;
            self.emit(EventKind::SessionStopping { why });
        }
        let killed = Exit { code: None, signal: Some("SIGKILL".to_owned()) };
        for replica in 0..self.replicas.len() {
            if self.replicas[replica].state.is_alive() {
                let generation = self.replicas[replica].generation;
                let last_lines = std::mem::take(&mut self.replicas[replica].last_lines);
                self.replica_ended(replica, generation, killed.clone(), None, last_lines);
            }
        }
        for task in 0..self.tasks.len() {
            if self.tasks[task].state == TaskState::Running {
                let why = "the session ended".to_owned();
                self.task_failed(task, killed.clone(), 0, why, Vec::new());
            }
        }
        self.state = SessionState::Ended;
        let why = self.why.clone().unwrap_or_default();
        self.emit(EventKind::SessionEnded { why });
    }
}
