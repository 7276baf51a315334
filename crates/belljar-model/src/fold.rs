//! The state of a session as a fold of its events. `ps` of an ended session, reports and the tests that
//! compare the recorded timeline with the supervisor's own state all come from here.

use std::collections::BTreeMap;

use crate::event::{Event, EventKind, Exit};
use crate::name::{ReplicaName, SessionId, TaskName};
use crate::state::{ReplicaState, SessionState, TaskState};

/// What a session's events add up to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Folded {
    pub session: Option<SessionId>,
    pub name: Option<String>,
    pub state: Option<SessionState>,
    /// Why it is degraded, stopping or ended.
    pub why: Option<String>,
    pub replicas: BTreeMap<ReplicaName, FoldedReplica>,
    pub tasks: BTreeMap<TaskName, FoldedTask>,
    /// The last sequence number; the next event has one more.
    pub seq: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct FoldedReplica {
    pub state: ReplicaState,
    /// What it was before it was paused: it goes back to that.
    before_pause: ReplicaState,
    /// 1 for the first start; 0 before it.
    pub generation: u32,
    pub pid: Option<i32>,
    pub ready_ms: Option<f64>,
    pub exit: Option<Exit>,
    pub last_lines: Vec<String>,
}

impl FoldedReplica {
    fn new() -> Self {
        Self {
            state: ReplicaState::Pending,
            before_pause: ReplicaState::Pending,
            generation: 0,
            pid: None,
            ready_ms: None,
            exit: None,
            last_lines: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct FoldedTask {
    pub state: TaskState,
    pub exit: Option<Exit>,
    pub last_lines: Vec<String>,
}

impl Folded {
    /// The state after all of `events`.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut folded = Self::default();
        for event in events {
            folded.add(event);
        }
        folded
    }

    /// Takes one more event in.
    pub fn add(&mut self, event: &Event) {
        self.seq = event.seq;
        if self.session.is_none() {
            self.session.clone_from(&event.session);
        }
        self.apply(&event.kind);
    }

    /// Takes in what happened, without its envelope.
    pub fn apply(&mut self, kind: &EventKind) {
        match kind {
            EventKind::SessionStarting { name, .. } => {
                self.name = Some(name.clone());
                self.session_is(SessionState::Starting, None);
            }
            EventKind::SessionReady {} => self.session_is(SessionState::Ready, None),
            EventKind::SessionDegraded { why } => self.session_is(SessionState::Degraded, Some(why)),
            EventKind::SessionDraining { why } => self.session_is(SessionState::Draining, Some(why)),
            EventKind::SessionStopping { why } => self.session_is(SessionState::Stopping, Some(why)),
            EventKind::SessionEnded { why } => self.session_is(SessionState::Ended, Some(why)),

            EventKind::TaskStarted { task, .. } => {
                let running = FoldedTask { state: TaskState::Running, exit: None, last_lines: Vec::new() };
                self.tasks.insert(task.clone(), running);
            }
            EventKind::TaskSucceeded { task, .. } => {
                let exit = Some(Exit { code: Some(0), signal: None });
                let done = FoldedTask { state: TaskState::Succeeded, exit, last_lines: Vec::new() };
                self.tasks.insert(task.clone(), done);
            }
            EventKind::TaskFailed { task, exit, last_lines, .. } => {
                let failed = FoldedTask {
                    state: TaskState::Failed,
                    exit: Some(exit.clone()),
                    last_lines: last_lines.clone(),
                };
                self.tasks.insert(task.clone(), failed);
            }

            EventKind::ReplicaStarting { replica, generation, .. } => {
                let one = self.replica(replica);
                *one = FoldedReplica {
                    generation: *generation,
                    state: ReplicaState::Starting,
                    ..FoldedReplica::new()
                };
            }
            EventKind::ReplicaStarted { replica, pid, .. } => {
                let one = self.replica(replica);
                one.state = ReplicaState::Running;
                one.pid = Some(*pid);
            }
            EventKind::ReplicaReady { replica, ready_ms, .. } => {
                let one = self.replica(replica);
                one.state = ReplicaState::Ready;
                one.ready_ms = Some(*ready_ms);
            }
            EventKind::ReplicaUnhealthy { replica, last_lines, .. } => {
                let one = self.replica(replica);
                one.state = ReplicaState::Unhealthy;
                one.last_lines.clone_from(last_lines);
            }
            EventKind::ReplicaHealthy { replica, .. } => {
                let one = self.replica(replica);
                one.state = ReplicaState::Ready;
                one.last_lines.clear();
            }
            EventKind::ReplicaPaused { replica, .. } => {
                let one = self.replica(replica);
                one.before_pause = one.state;
                one.state = ReplicaState::Paused;
            }
            EventKind::ReplicaResumed { replica, .. } => {
                let one = self.replica(replica);
                one.state = one.before_pause;
            }
            EventKind::ReplicaStopping { replica, .. } => {
                self.replica(replica).state = ReplicaState::Stopping;
            }
            EventKind::ReplicaExited { replica, exit, expected, last_lines, .. } => {
                let one = self.replica(replica);
                let well = *expected || exit.is_success();
                one.state = if well { ReplicaState::Exited } else { ReplicaState::Failed };
                one.pid = None;
                one.exit = Some(exit.clone());
                one.last_lines.clone_from(last_lines);
            }

            EventKind::ReplicaRemoved { replica } => {
                self.replicas.remove(replica);
            }
            EventKind::TaskRemoved { task } => {
                self.tasks.remove(task);
            }

            EventKind::ReplicaPortChanged { .. }
            | EventKind::RestartRequested { .. }
            | EventKind::RestartServed { .. }
            | EventKind::FaultApplied { .. }
            | EventKind::FaultHealed { .. }
            | EventKind::PortPublished { .. }
            | EventKind::PortOverloaded { .. }
            | EventKind::HostServiceOpened { .. }
            | EventKind::MetricsServed { .. }
            | EventKind::SessionExpires { .. }
            | EventKind::SessionChanging { .. }
            | EventKind::SessionChanged {}
            | EventKind::SessionChangeFailed { .. }
            | EventKind::FilesChanged { .. }
            | EventKind::RunStarted { .. }
            | EventKind::ScenarioStarted { .. }
            | EventKind::ScenarioEnded { .. }
            | EventKind::AttemptStarted { .. }
            | EventKind::AttemptEnded { .. }
            | EventKind::RunEnded { .. } => {}
        }
    }

    fn session_is(&mut self, state: SessionState, why: Option<&String>) {
        self.state = Some(state);
        self.why = why.cloned();
    }

    fn replica(&mut self, name: &ReplicaName) -> &mut FoldedReplica {
        self.replicas.entry(name.clone()).or_insert_with(FoldedReplica::new)
    }
}

/// The events of one file, read strictly.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recording {
    pub events: Vec<Event>,
    /// Lines of kinds or versions that this program does not know.
    pub skipped: usize,
    /// Whether the last line was cut off, as it is when its writer was killed in the middle.
    pub torn: bool,
}

/// A file of events that is not what belljar writes.
#[derive(Debug, thiserror::Error)]
#[error("line {line} is not an event")]
pub struct RecordingError {
    pub line: usize,
    #[source]
    pub source: serde_json::Error,
}

impl Recording {
    /// Reads the text of an `events.jsonl`.
    pub fn read(text: &str) -> Result<Self, RecordingError> {
        let mut recording = Self::default();
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let Some(line) = line.strip_suffix('\n') else {
                recording.torn = true;
                break;
            };
            match serde_json::from_str::<Event>(line) {
                Ok(event) if event.v == crate::event::VERSION => recording.events.push(event),
                Ok(_) => recording.skipped += 1,
                // Well-formed JSON of an unknown kind is of a newer belljar; anything else is damage.
                Err(source) => match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(line)
                {
                    Ok(object) if object.contains_key("kind") && object.contains_key("seq") => {
                        recording.skipped += 1;
                    }
                    _ => return Err(RecordingError { line: index + 1, source }),
                },
            }
        }
        Ok(recording)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_line_is_dropped_and_told_and_damage_is_an_error() {
        let good = r#"{"v":1,"seq":1,"t":0.0,"wall":"","kind":"session.ready"}"#;
        let newer = r#"{"v":1,"seq":2,"t":0.1,"wall":"","kind":"moon.landed"}"#;
        let recording = Recording::read(&format!("{good}\n{newer}\n{{\"v\":1,\"se")).unwrap();
        assert_eq!((recording.events.len(), recording.skipped, recording.torn), (1, 1, true));
        let damaged = Recording::read(&format!("{good}\ngarbage\n{good}\n")).unwrap_err();
        assert_eq!(damaged.line, 2);
    }
}
