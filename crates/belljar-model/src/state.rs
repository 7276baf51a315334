//! The closed lists of states.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Makes an enum whose variants have one stable text each, used in JSON and on the terminal alike.
macro_rules! closed_list {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::name::NameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|one| one.as_str() == text).ok_or_else(|| {
                    crate::name::NameError { what: stringify!($name), given: text.to_owned(), rule: "it is not in the closed list" }
                })
            }
        }
    };
}
pub(crate) use closed_list;

closed_list! {
    /// What a session is doing.
    SessionState {
        Starting = "starting",
        /// Every replica that should live is ready, every task has succeeded.
        Ready = "ready",
        /// A replica that should live does not.
        Degraded = "degraded",
        Draining = "draining",
        Stopping = "stopping",
        Ended = "ended",
        /// Its lock is free and it never ended: its host process was killed.
        Dead = "dead",
    }
}

closed_list! {
    /// What a replica is doing.
    ReplicaState {
        /// Not started yet: something it comes after is not there.
        Pending = "pending",
        /// Its process is being made.
        Starting = "starting",
        /// Its process lives; its readiness does not hold yet.
        Running = "running",
        Ready = "ready",
        Unhealthy = "unhealthy",
        /// Every one of its processes is stopped by a signal.
        Paused = "paused",
        /// Told to stop, still alive.
        Stopping = "stopping",
        /// It was ended on purpose, or ended well.
        Exited = "exited",
        /// It ended by itself with a failure, or could not be started.
        Failed = "failed",
    }
}

closed_list! {
    /// What a task is doing.
    TaskState { Pending = "pending", Running = "running", Succeeded = "succeeded", Failed = "failed" }
}

impl ReplicaState {
    /// Whether a process of it exists, as far as we know.
    pub fn is_alive(self) -> bool {
        matches!(
            self,
            Self::Starting | Self::Running | Self::Ready | Self::Unhealthy | Self::Paused | Self::Stopping
        )
    }
}

impl SessionState {
    /// Whether nothing more will happen to it.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Dead)
    }
}
