//! The vocabulary of belljar: names, ids, states, events, outcomes and error codes.
//!
//! Nothing here touches a file, a clock or a process. Every other crate speaks in these words, so that a
//! session id can never be passed where a session name belongs and a state that does not exist can't be written.

pub mod duration;
pub mod error_code;
pub mod event;
pub mod exit;
pub mod fold;
pub mod name;
pub mod outcome;
mod remedy;
pub mod run;
pub mod signal;
pub mod state;

pub use error_code::ErrorCode;
pub use event::{Cause, Event, EventKind};
pub use exit::ExitCode;
pub use fold::{Folded, FoldedReplica, FoldedTask};
pub use name::{
    NameError, ReplicaName, ScenarioName, Selector, ServiceName, SessionId, SessionName, StackName, TaskName,
};
pub use outcome::{AttemptOutcome, Counts, ScenarioOutcome};
pub use run::{AttemptSummary, RunEvent, ScenarioSummary, Summary};
pub use state::{ReplicaState, SessionState, TaskState};
