//! A session as the registry knows it, and as its host process holds it.

use std::path::{Path, PathBuf};

use belljar_model::{SessionId, SessionName, SessionState, StackName};

use crate::error::StoreError;
use crate::groups;
use crate::lock::{self, Held};
use crate::name_wish::NameWish;

/// What a session is created from.
#[derive(Debug, Clone)]
pub struct NewSession {
    pub id: SessionId,
    pub name: NameWish,
    pub stack: StackName,
    pub stack_file: PathBuf,
    /// The directory it was started for: it finds "the only live one of this directory".
    pub origin: PathBuf,
    pub owner_uid: u32,
    /// The process that carries its supervisor; told to people, never used to find out whether it lives.
    pub host_pid: u32,
    pub created_ms: i64,
    pub kind: SessionKind,
    pub control_socket: PathBuf,
}

/// The command that a session came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// It stays until it is told to go down.
    Up,
    /// It is around one command.
    Run,
    /// It is around one attempt of a scenario.
    Test,
}

impl SessionKind {
    pub const ALL: &'static [Self] = &[Self::Up, Self::Run, Self::Test];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Run => "run",
            Self::Test => "test",
        }
    }
}

/// A session that this process owns: while the value lives, so does the session. Dropping it frees the lock
/// and nothing else.
#[derive(Debug)]
pub struct OwnedSession {
    pub(crate) id: SessionId,
    pub(crate) name: SessionName,
    pub(crate) dir: SessionDir,
    pub(crate) _lock: Held,
}

impl OwnedSession {
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// The name that it was given.
    pub fn name(&self) -> &SessionName {
        &self.name
    }

    pub fn dir(&self) -> &SessionDir {
        &self.dir
    }
}

/// Where a session's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionDir {
    root: PathBuf,
}

impl SessionDir {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn events(&self) -> PathBuf {
        self.root.join("events.jsonl")
    }

    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    pub fn artifacts(&self) -> PathBuf {
        self.root.join("artifacts")
    }

    /// Where the control groups of the session are written down, a path a line.
    pub fn control_groups(&self) -> PathBuf {
        self.root.join(groups::FILE_NAME)
    }

    /// Where it says when the session will end by itself.
    pub fn expiry(&self) -> PathBuf {
        self.root.join("ends-at")
    }

    /// What the session's stack is made of, as it was read last. It holds what the environment held, secrets too.
    pub fn edition(&self) -> PathBuf {
        self.root.join("edition.json")
    }

    /// What the session was started as, for people; without secrets.
    pub fn plan(&self) -> PathBuf {
        self.root.join("plan.json")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join(lock::FILE_NAME)
    }
}

/// A session as the registry knows it.
#[derive(Debug, Clone)]
pub struct SessionRecord {
    pub id: SessionId,
    pub name: SessionName,
    pub stack: StackName,
    pub stack_file: PathBuf,
    pub origin: PathBuf,
    pub owner_uid: u32,
    pub host_pid: u32,
    pub created_ms: i64,
    pub ended_ms: Option<i64>,
    /// Whether only `clean --all` removes it.
    pub kept: bool,
    /// `None` where a version of belljar wrote it that did not record it.
    pub kind: Option<SessionKind>,
    /// `None` where a version of belljar wrote it that did not record it.
    pub control_socket: Option<PathBuf>,
    pub dir: SessionDir,
    /// What was written last; [`SessionRecord::liveness`] says whether it still holds.
    pub(crate) recorded: SessionState,
}

/// Whether a session is there, from its lock and its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// Its host process lives; the session is in this state.
    Live(SessionState),
    /// It ended in order.
    Ended,
    /// Its host process is gone, and it never ended.
    Dead,
}

impl Liveness {
    pub fn is_live(self) -> bool {
        matches!(self, Self::Live(_))
    }

    /// As one of the states that people and programs are shown.
    pub fn state(self) -> SessionState {
        match self {
            Self::Live(state) => state,
            Self::Ended => SessionState::Ended,
            Self::Dead => SessionState::Dead,
        }
    }
}

impl SessionRecord {
    /// Whether it is there, by trying its lock. Nothing is changed by asking.
    pub fn liveness(&self) -> Result<Liveness, StoreError> {
        if self.recorded == SessionState::Ended {
            return Ok(Liveness::Ended);
        }
        let held = self.is_held()?;
        Ok(if held { Liveness::Live(self.recorded) } else { Liveness::Dead })
    }

    /// When it will end by itself, in milliseconds since 1970, where it was told to.
    pub fn expires_ms(&self) -> Result<Option<i64>, StoreError> {
        let path = self.dir.expiry();
        let text = match fs_err::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::unusable(&path, "it cannot be read")(error)),
        };
        let moment = text.strip_suffix('\n').and_then(|text| text.parse().ok());
        moment.map(Some).ok_or_else(|| StoreError::corrupt(&path, "it is not a moment"))
    }

    /// Whether its host process still holds it, ended or not.
    pub(crate) fn is_held(&self) -> Result<bool, StoreError> {
        let path = self.dir.lock();
        lock::is_held(&path).map_err(StoreError::unusable(&path, "its lock cannot be tried"))
    }
}
