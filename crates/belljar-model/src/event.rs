//! The timeline: what happened, one event a line, in the order it happened. Version 1.
//!
//! Adding an event: add a variant to [`EventKind`] (kinds and fields are only ever added), give it its text in
//! the `rename`, teach [`crate::fold`] what it changes (its match is exhaustive), and describe it in
//! `docs/reference/events.md`. Readers skip kinds that they do not know, and say how many.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::{ReplicaName, ScenarioName, ServiceName, SessionId, StackName, TaskName};
use crate::outcome::AttemptOutcome;

/// The version that this program writes and reads.
pub const VERSION: u32 = 1;

/// One line of an `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    pub v: u32,
    /// Rises by one without gaps within one file, from 1.
    pub seq: u64,
    /// Seconds on the monotonic clock since the first event of the file.
    pub t: f64,
    /// The same moment for people, in UTC.
    pub wall: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Who made something happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The start plan.
    Plan,
    /// A command of the user or a scenario.
    Command,
    /// A fault, done on purpose.
    Fault,
    /// The service's `restart` policy.
    RestartPolicy,
    /// The stack was changed, or a service scaled.
    Change,
    /// A file of the service was changed, which is watched.
    Watch,
    /// The session is ending.
    End,
}

/// What a replica's process came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exit {
    /// Its exit code, where it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended it, where one did: `SIGKILL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
}

impl Exit {
    /// Whether it ended with code 0.
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code, &self.signal) {
            (_, Some(signal)) => write!(f, "killed by {signal}"),
            (Some(code), None) => write!(f, "exit code {code}"),
            (None, None) => f.write_str("could not be started"),
        }
    }
}

/// The replica, task or command that an attempt failed on, and what it said last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Culprit {
    pub name: String,
    pub last_lines: Vec<String>,
}

/// One thing that a change of the stack does to a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The service or task.
    pub unit: String,
    pub what: ChangeWhat,
    /// Which of the service's replicas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<ReplicaName>,
    /// What is different: `run`, `env LOG`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeWhat {
    /// It has not run yet.
    Start,
    /// It runs as it was, and is stopped and started again.
    Restart,
    /// It is not part of the stack any more.
    Stop,
    /// A task runs again.
    Run,
    /// It is taken over without a process noticing.
    Update,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
pub enum EventKind {
    #[serde(rename = "session.starting")]
    SessionStarting { stack: StackName, name: String },
    #[serde(rename = "session.ready")]
    SessionReady {},
    #[serde(rename = "session.degraded")]
    SessionDegraded { why: String },
    #[serde(rename = "session.draining")]
    SessionDraining {
        /// Why its replicas are stopped in order.
        #[serde(default)]
        why: String,
    },
    #[serde(rename = "session.stopping")]
    SessionStopping { why: String },
    #[serde(rename = "session.ended")]
    SessionEnded { why: String },

    /// It ends itself so long after this, unless it is told another time.
    #[serde(rename = "session.expires")]
    SessionExpires { within_ms: u64 },
    /// The stack has changed: this is done now.
    #[serde(rename = "session.changing")]
    SessionChanging { changes: Vec<Change> },
    /// All of the last change is done.
    #[serde(rename = "session.changed")]
    SessionChanged {},
    /// The last change is given up; what it had not reached stays as it was.
    #[serde(rename = "session.change-failed")]
    SessionChangeFailed { why: String },
    /// Files that are watched have changed, for which the service is started again.
    #[serde(rename = "files.changed")]
    FilesChanged { service: ServiceName, files: Vec<PathBuf> },

    #[serde(rename = "task.removed")]
    TaskRemoved { task: TaskName },
    #[serde(rename = "task.started")]
    TaskStarted { task: TaskName, pid: i32 },
    #[serde(rename = "task.succeeded")]
    TaskSucceeded { task: TaskName, duration_ms: u64 },
    #[serde(rename = "task.failed")]
    TaskFailed {
        task: TaskName,
        #[serde(flatten)]
        exit: Exit,
        duration_ms: u64,
        last_lines: Vec<String>,
        why: String,
    },

    #[serde(rename = "replica.starting")]
    ReplicaStarting { replica: ReplicaName, generation: u32, by: Cause },
    #[serde(rename = "replica.started")]
    ReplicaStarted { replica: ReplicaName, generation: u32, pid: i32 },
    #[serde(rename = "replica.ready")]
    ReplicaReady { replica: ReplicaName, generation: u32, ready_ms: f64 },
    #[serde(rename = "replica.unhealthy")]
    ReplicaUnhealthy { replica: ReplicaName, generation: u32, why: String, last_lines: Vec<String> },
    /// What is watched of it holds again.
    #[serde(rename = "replica.healthy")]
    ReplicaHealthy { replica: ReplicaName, generation: u32 },
    #[serde(rename = "replica.paused")]
    ReplicaPaused { replica: ReplicaName, generation: u32, by: Cause },
    #[serde(rename = "replica.resumed")]
    ReplicaResumed { replica: ReplicaName, generation: u32, by: Cause },
    #[serde(rename = "replica.stopping")]
    ReplicaStopping { replica: ReplicaName, generation: u32, by: Cause },
    /// Its process has ended, or never came to be. `expected`: it was ended on purpose.
    #[serde(rename = "replica.exited")]
    ReplicaExited {
        replica: ReplicaName,
        generation: u32,
        #[serde(flatten)]
        exit: Exit,
        expected: bool,
        /// Why there never was a process, where that is so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        last_lines: Vec<String>,
    },

    /// It has been taken out of the session, after its end.
    #[serde(rename = "replica.removed")]
    ReplicaRemoved { replica: ReplicaName },
    /// In shared isolation another process was quicker to bind a port of the replica, which starts again with
    /// another one.
    #[serde(rename = "replica.port-changed")]
    ReplicaPortChanged { replica: ReplicaName, generation: u32, port: String, from: u16, to: u16 },

    #[serde(rename = "restart.requested")]
    RestartRequested {
        replica: ReplicaName,
        request: u64,
        /// The request that this one is served together with, where one was waiting already.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        merged_into: Option<u64>,
    },
    #[serde(rename = "restart.served")]
    RestartServed { replica: ReplicaName, request: u64, generation: u32 },

    #[serde(rename = "fault.applied")]
    FaultApplied { fault: u64, what: String, replica: ReplicaName, by: Cause },
    #[serde(rename = "fault.healed")]
    FaultHealed { fault: u64 },

    /// A port is shown on the host, from before the first replica starts until the session's end.
    #[serde(rename = "port.published")]
    PortPublished {
        service: ServiceName,
        /// Where it is one replica's alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replica: Option<ReplicaName>,
        port: String,
        protocol: String,
        /// Where it is listened on, as `127.0.0.1:40123` and `[::1]:40123`.
        addresses: Vec<String>,
    },
    /// It takes no more for the moment.
    #[serde(rename = "port.overloaded")]
    PortOverloaded {
        service: ServiceName,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replica: Option<ReplicaName>,
        port: String,
        why: String,
    },
    /// The seal has this hole: `address` inside leads to `target` outside.
    #[serde(rename = "host-service.opened")]
    HostServiceOpened { name: ServiceName, address: String, target: String },
    /// Where the session's metrics are to be had.
    #[serde(rename = "metrics.served")]
    MetricsServed { url: String },

    #[serde(rename = "run.started")]
    RunStarted {
        run: String,
        scenarios: u32,
        /// The scenarios in the order of their suites, in which results are listed.
        #[serde(default)]
        order: Vec<ScenarioName>,
    },
    #[serde(rename = "scenario.started")]
    ScenarioStarted { scenario: ScenarioName },
    #[serde(rename = "scenario.ended")]
    ScenarioEnded { scenario: ScenarioName, outcome: crate::ScenarioOutcome, duration_ms: u64 },
    #[serde(rename = "attempt.started")]
    AttemptStarted { scenario: ScenarioName, attempt: u32, deadline_ms: u64, session_dir: PathBuf },
    #[serde(rename = "attempt.ended")]
    AttemptEnded {
        scenario: ScenarioName,
        attempt: u32,
        outcome: AttemptOutcome,
        duration_ms: u64,
        /// Why it is not `passed`, where there is more to say than the outcome.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        /// The session's directory, where it was kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kept: Option<PathBuf>,
        /// The last lines of the scenario's own output, where it did not pass.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        last_lines: Vec<String>,
        /// What it failed on besides the scenario itself, where there is such a one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        culprit: Option<Culprit>,
    },
    #[serde(rename = "run.ended")]
    RunEnded {
        #[serde(flatten)]
        summary: serde_json::Map<String, serde_json::Value>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_object() {
        let event = Event {
            v: VERSION,
            seq: 17,
            t: 1.25,
            wall: "2026-11-20T13:44:05.123Z".to_owned(),
            session: Some(SessionId::new("k3f9-x2ab").unwrap()),
            kind: EventKind::ReplicaReady {
                replica: ReplicaName::new("api-2").unwrap(),
                generation: 1,
                ready_ms: 4.5,
            },
        };
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(
            line,
            r#"{"v":1,"seq":17,"t":1.25,"wall":"2026-11-20T13:44:05.123Z","session":"k3f9-x2ab","kind":"replica.ready","replica":"api-2","generation":1,"ready_ms":4.5}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }
}
