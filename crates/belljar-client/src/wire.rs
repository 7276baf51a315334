//! The bodies of the control protocol, version 1. What the CLI prints with `--json` is made of the same types.

use std::collections::BTreeMap;

use belljar_model::event::{Change, Exit};
use belljar_model::{
    ErrorCode, ReplicaName, ReplicaState, ServiceName, SessionId, SessionName, SessionState, StackName,
    TaskName, TaskState,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The header by which every answer says which protocol its session speaks: `1.1`.
pub const PROTOCOL_HEADER: &str = "belljar-protocol";

/// A version of the control protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProtocolVersion {
    /// Of another one nothing can be understood.
    pub major: u32,
    /// Grows with every route and field that is added.
    pub minor: u32,
}

impl ProtocolVersion {
    /// What this program speaks.
    pub const CURRENT: Self = Self { major: 1, minor: 1 };
    /// What sessions speak that do not say it.
    pub const FIRST: Self = Self { major: 1, minor: 0 };

    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl std::fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// `GET /v1/session`: the session as it is now. `up --json` and `ps --json` print this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionView {
    pub id: SessionId,
    pub name: SessionName,
    pub stack: StackName,
    pub state: SessionState,
    /// Why it is degraded, stopping or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The last event's number.
    pub seq: u64,
    pub services: BTreeMap<ServiceName, ServiceView>,
    pub tasks: BTreeMap<TaskName, TaskView>,
    /// Where Prometheus finds the metrics of all replicas, on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceView {
    pub replicas: Vec<ReplicaView>,
    /// Ports by name on the host that lead to any of the replicas, where they are published.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub published: BTreeMap<String, u16>,
    /// URLs inside by the port's name, where it is known what is spoken there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub urls: BTreeMap<String, String>,
    /// The service's URL, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReplicaView {
    pub name: ReplicaName,
    pub state: ReplicaState,
    /// Its address inside the session.
    pub host: String,
    /// Ports by name, inside the session; in shared isolation, the host's.
    pub ports: BTreeMap<String, u16>,
    /// Its own URL, where its service has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Ports by name on the host, where they are published.
    /// Ports by name on the host that lead to this replica alone, where they are published.
    pub published: BTreeMap<String, u16>,
    /// 1 for the first start, 0 before it.
    pub generation: u32,
    /// Its process inside the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// From its start to its readiness, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_ms: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Its restart policy starts it again so many milliseconds after its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cool_down_ms: Option<u64>,
    /// The last lines of its log, where it ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskView {
    pub state: TaskState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// The last lines of its log, where it failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
}

/// `GET /v1/probe?replica=…`: the readiness check, made once and now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbesView {
    pub probes: Vec<ProbeView>,
}

/// What one replica's readiness check came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeView {
    pub replica: ReplicaName,
    pub state: ReplicaState,
    /// The check in words.
    pub check: String,
    pub holds: bool,
    /// Why it does not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What helps to understand it: who listens where, the last lines, what is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// How long it took.
    pub took_ms: f64,
}

/// What can be done to replicas: `POST /v1/replicas/{verb}` with [`Targets`]. Each answer means that it is true now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// SIGKILL to every process of it, as a power cut.
    Kill,
    /// SIGTERM to its main process, nothing more is awaited.
    Term,
    /// Its stop signal, then SIGKILL after its time.
    Stop,
    Start,
    Restart,
    /// Every process of it stands still.
    Pause,
    Resume,
}

impl Verb {
    pub const ALL: &'static [Self] =
        &[Self::Kill, Self::Term, Self::Stop, Self::Start, Self::Restart, Self::Pause, Self::Resume];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Term => "term",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

/// Whom a verb is for: the body of `POST /v1/replicas/{verb}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Targets {
    /// Replicas, or services (all their replicas).
    pub targets: Vec<String>,
}

/// `POST /v1/down`: ends the session. It is answered when everything of it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DownRequest {
    pub why: String,
    /// Stop the replicas by their signals first, each before those that it comes after.
    #[serde(default)]
    pub in_order: bool,
}

/// `POST /v1/apply`: makes the session what another edition of its stack says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApplyRequest {
    /// The name of the edition's file in the session's directory, `edition-XXXX.json`. Whoever can write there from
    /// outside of the session may change it; a request alone cannot bring in anything of the host.
    pub edition: String,
    /// Only say what would be done.
    #[serde(default)]
    pub dry: bool,
}

/// `POST /v1/scale`: services with as many replicas as they are to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScaleRequest {
    pub replicas: BTreeMap<ServiceName, u16>,
}

/// What a change of the stack did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Applied {
    pub changes: Vec<Change>,
    pub session: SessionView,
}

/// `POST /v1/expire`: from now on the session has so long to live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExpireRequest {
    pub within_ms: u64,
}

/// What a verb did, for each replica of its target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    pub replicas: Vec<DoneReplica>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DoneReplica {
    pub name: ReplicaName,
    pub state: ReplicaState,
    pub generation: u32,
    /// Whether this request changed anything (an idempotent request may find its wish fulfilled).
    pub changed: bool,
}

/// What `GET /v1/wait?for=…&replica=…&within_ms=…` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WaitFor {
    Ready,
    Exited,
    /// What is watched of it after it was ready does not hold any more.
    Unhealthy,
    /// Nothing is under way: no restart, no task, no exec, no starting replica.
    Idle,
}

impl WaitFor {
    pub const ALL: &'static [Self] = &[Self::Ready, Self::Exited, Self::Unhealthy, Self::Idle];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Exited => "exited",
            Self::Unhealthy => "unhealthy",
            Self::Idle => "idle",
        }
    }
}

/// `POST /v1/exec` upgrades to a stream of [`crate::frame`] frames; this is its body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExecRequest {
    /// In this replica's place, else in the session's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<ReplicaName>,
    pub argv: Vec<String>,
    /// The caller's environment, which the session's variables go on top of; where a replica is named, what goes
    /// on top of the replica's.
    pub env: BTreeMap<String, String>,
    /// Empty: the replica's own, or the stack's directory.
    pub cwd: String,
    /// Whether the session is busy while it runs, for `drain` and `wait --for idle`.
    #[serde(default = "yes")]
    pub busy: bool,
    /// A terminal of this size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalSize>,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TerminalSize {
    pub rows: u16,
    pub columns: u16,
}

/// `GET /v1/env`: what commands of the session get on top of the caller's environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvView {
    pub env: BTreeMap<String, String>,
}

/// The value of `Upgrade` that turns `POST /v1/exec` into a channel of [`crate::frame`] frames.
pub const EXEC_UPGRADE: &str = "belljar-exec";

/// One line of a replica's log, as `GET /v1/logs` streams them (one JSON object a line).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// Replica or task.
    pub from: String,
    /// Seconds since the session's first event.
    pub t: f64,
    pub stream: Stream,
    pub line: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Stream {
    #[serde(rename = "out")]
    Out,
    #[serde(rename = "err")]
    Err,
}

/// Every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    pub error: ErrorView,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct ErrorView {
    pub code: ErrorCode,
    pub message: String,
    #[serde(default)]
    pub hints: Vec<String>,
}
