//! What can go wrong with the state directory, and the stable code of each.

use std::io;
use std::path::{Path, PathBuf};

use belljar_model::{ErrorCode, SessionId, SessionName, StackName};

/// A failure of the state directory.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be created, read or written.
    #[error("state directory `{}` cannot be used: {reason}", path.display())]
    StateDirUnusable {
        /// The file or directory that refuses.
        path: PathBuf,
        /// What was tried.
        reason: &'static str,
        #[source]
        source: io::Error,
    },
    /// The registry cannot be read or written, though it is not damaged.
    #[error("registry `{}` cannot be used", path.display())]
    RegistryUnusable {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    /// A file is not what belljar wrote there.
    #[error("`{}` is damaged: {what}", path.display())]
    StoreCorrupt {
        path: PathBuf,
        /// What does not hold.
        what: String,
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The registry was written by a newer belljar.
    #[error("`{}` has schema version {found}, and this belljar knows versions up to {known}", path.display())]
    StoreTooNew { path: PathBuf, found: i64, known: i64 },
    /// A live session has the name already.
    #[error("session name `{name}` is taken by session {holder} of stack `{stack}` (process {pid})")]
    SessionNameTaken { name: SessionName, holder: SessionId, pid: u32, stack: StackName },
    /// The id has been used in this state directory before.
    #[error("session id {id} has been used already")]
    SessionIdTaken { id: SessionId },
    /// The registry has no such session.
    #[error("there is no session {id}")]
    SessionNotFound { id: SessionId },
    /// The session has ended and stays so.
    #[error("session {id} has ended")]
    SessionEnded { id: SessionId },
    /// The session's directory was removed while it was being made.
    #[error("the directory of session {id} was removed while the session was being created")]
    SessionRemoved { id: SessionId },
    /// The state is told by other means: `ended` by ending it, `dead` by its lock.
    #[error("state `{state}` cannot be set")]
    StateNotSettable { state: belljar_model::SessionState },
    /// The id is not one that a run can have, or has been used.
    #[error("`{id}` cannot be the id of a run: {reason}")]
    RunIdRefused { id: String, reason: &'static str },
    /// The run's directory was removed while it was being made.
    #[error("the directory of run `{id}` was removed while the run was being created")]
    RunRemoved { id: String },
    /// The registry has no such run that has not ended.
    #[error("there is no run `{id}` under way")]
    RunNotFound { id: String },
    /// Every port that could be leased is somebody's.
    #[error(
        "{} found, and {wanted} {} wanted: all others of the range are taken",
        ports(*found), if *wanted == 1 { "was" } else { "were" }
    )]
    NoPortLeft { wanted: usize, found: usize },
    /// A store opened for reading was asked to write.
    #[error("the state directory was opened for reading")]
    ReadOnly,
    /// None of the places for control sockets can be used.
    #[error("no directory for control sockets: {}", refusal_list(refusals))]
    NoRuntimeDir { refusals: Vec<RuntimeDirRefusal> },
    /// A path that came from a user leads, or may lead, out of where it belongs.
    #[error("path `{}` is refused: {reason}", path.display())]
    PathRefused { path: PathBuf, reason: &'static str },
    /// A file that an accepted path names cannot be reached.
    #[error("`{}` cannot be opened", path.display())]
    PathUnusable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Why one place was not taken for control sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeDirRefusal {
    pub path: PathBuf,
    pub reason: String,
}

impl StoreError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::StateDirUnusable { .. } | Self::RegistryUnusable { .. } | Self::NoRuntimeDir { .. } => {
                ErrorCode::StateDirUnusable
            }
            Self::StoreCorrupt { .. } => ErrorCode::StoreCorrupt,
            Self::StoreTooNew { .. } => ErrorCode::StoreTooNew,
            Self::SessionNameTaken { .. } => ErrorCode::SessionNameTaken,
            Self::SessionNotFound { .. } => ErrorCode::SessionNotFound,
            Self::SessionEnded { .. } => ErrorCode::SessionEnded,
            Self::NoPortLeft { .. } => ErrorCode::PortsExhausted,
            Self::PathRefused { .. } | Self::PathUnusable { .. } => ErrorCode::InvalidRequest,
            Self::SessionIdTaken { .. }
            | Self::SessionRemoved { .. }
            | Self::StateNotSettable { .. }
            | Self::RunIdRefused { .. }
            | Self::RunRemoved { .. }
            | Self::RunNotFound { .. }
            | Self::ReadOnly => ErrorCode::Internal,
        }
    }

    /// Whether creating something failed because a clean removed, or just claims, its directory.
    pub(crate) fn is_of_a_clean(&self) -> bool {
        match self {
            Self::SessionRemoved { .. } | Self::RunRemoved { .. } => true,
            Self::StateDirUnusable { source, .. } => {
                matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ResourceBusy)
            }
            _ => false,
        }
    }

    /// For `map_err`: what was tried on which path.
    pub(crate) fn unusable(path: &Path, reason: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::StateDirUnusable { path: path.to_owned(), reason, source }
    }

    /// Damage that no deeper error tells of.
    pub(crate) fn corrupt(path: &Path, what: impl Into<String>) -> Self {
        Self::StoreCorrupt { path: path.to_owned(), what: what.into(), source: None }
    }
}

/// `1 free port`, `2 free ports`.
fn ports(count: usize) -> String {
    if count == 1 { "1 free port was".to_owned() } else { format!("{count} free ports were") }
}

fn refusal_list(all: &[RuntimeDirRefusal]) -> String {
    let each: Vec<_> = all.iter().map(|one| format!("`{}` {}", one.path.display(), one.reason)).collect();
    if each.is_empty() { "there is no candidate".to_owned() } else { each.join("; ") }
}
