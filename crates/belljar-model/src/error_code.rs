//! Every error that a user can meet has a stable text code here, the exit code it ends with, and one line
//! that says what it means.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::exit::ExitCode;

macro_rules! error_codes {
    ($($variant:ident = $text:literal, $exit:ident, $meaning:literal;)+) => {
        /// What went wrong, as a program can tell it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum ErrorCode { $(#[doc = $meaning] #[serde(rename = $text)] $variant),+ }

        impl ErrorCode {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable text, as in `--json` errors and in the control protocol.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            pub fn exit_code(self) -> ExitCode {
                match self { $(Self::$variant => ExitCode::$exit),+ }
            }

            /// What it means, in one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }
        }
    };
}

error_codes! {
    Internal = "internal", INTERNAL, "belljar itself failed; please report it";
    Usage = "usage", USAGE, "The command line is wrong";
    StackNotFound = "stack-not-found", INVALID, "There is no belljar.toml here or in a directory above";
    StackInvalid = "stack-invalid", INVALID, "The stack file has faults; each is shown at its place";
    RecipeNotFound = "recipe-not-found", NOT_FOUND, "There is no recipe of this name";
    RecipeExists = "recipe-exists", CONFLICT, "There is a recipe of your own of this name already";
    ServerNotInstalled = "server-not-installed", UNSUPPORTED, "A server program that a recipe needs is not on this machine";
    Unsupported = "unsupported", UNSUPPORTED, "This machine or backend cannot do what was asked";
    SandboxRefused = "sandbox-refused", UNSUPPORTED, "The kernel refused a step of making the sealed session";
    StateDirUnusable = "state-dir-unusable", UNSUPPORTED, "The state directory cannot be created, read or written";
    StoreCorrupt = "store-corrupt", INTERNAL, "A file of the state directory is not what belljar wrote there";
    StoreTooNew = "store-too-new", UNSUPPORTED, "The state directory was written by a newer belljar";
    SessionNotFound = "session-not-found", NOT_FOUND, "There is no such session";
    SessionAmbiguous = "session-ambiguous", USAGE, "Several sessions could be meant; name one with `-s`";
    SessionNameTaken = "session-name-taken", CONFLICT, "A live session has this name";
    SessionEnded = "session-ended", CONFLICT, "The session has ended or is ending";
    SessionDead = "session-dead", NOT_FOUND, "The session's host process was killed";
    SessionNotOwned = "session-not-owned", CONFLICT, "The session belongs to another user";
    SessionOtherVersion = "session-other-version", UNSUPPORTED, "The session was started by a belljar that this one does not understand";
    ChangeNeedsDown = "change-needs-down", CONFLICT, "What has changed in the stack cannot change while its session runs";
    ChangeOvertaken = "change-overtaken", CONFLICT, "Another change of the session came before this one was done";
    SessionNotReady = "session-not-ready", NOT_READY, "The session did not become ready";
    ReplicaNotFound = "replica-not-found", NOT_FOUND, "The session has no such replica or service";
    ReplicaNotRunning = "replica-not-running", CONFLICT, "The replica has no live process";
    ReplicaNotListening = "replica-not-listening", CONFLICT, "The replica runs, and nothing takes connections on this port of it";
    PortsExhausted = "ports-exhausted", UNSUPPORTED, "A session in shared isolation needs more ports than are free to be leased";
    PortNotFound = "port-not-found", NOT_FOUND, "The service has no such port";
    PortNotPublished = "port-not-published", NOT_FOUND, "The port is not shown on the host; `publish` in the stack file does that";
    PortTaken = "port-taken", CONFLICT, "A port of the host that was asked for is in use";
    PortRefused = "port-refused", UNSUPPORTED, "This machine does not let us listen on a port of the host";
    CommandNotFound = "command-not-found", COMMAND_NOT_FOUND, "The command is not on the PATH";
    CommandNotExecutable = "command-not-executable", NOT_EXECUTABLE, "The command cannot be executed";
    WaitTimedOut = "wait-timed-out", TIMED_OUT, "The condition did not hold in time";
    AlwaysViolated = "always-violated", TIMED_OUT, "The command failed while it had to hold";
    NotDrained = "not-drained", TIMED_OUT, "Work was still under way when the wait ran out";
    NeverStarted = "never-started", TIMED_OUT, "The session never finished starting";
    NothingSelected = "nothing-selected", NOTHING_RAN, "No scenario was selected";
    SuiteNotFound = "suite-not-found", NOT_FOUND, "The stack has no such suite or scenario";
    InvalidRequest = "invalid-request", USAGE, "A request of the control protocol is not well formed";
    FileExists = "file-exists", CONFLICT, "A file that would be written is there already";
    OutputFailed = "output-failed", INTERNAL, "Standard output cannot be written to, a full disk for instance";
    Interrupted = "interrupted", INTERRUPTED, "Interrupted before it was done";
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_kebab_case() {
        let mut texts: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert!(texts.iter().all(|t| t.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
        let count = texts.len();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), count);
    }
}
