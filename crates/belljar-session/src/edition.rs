//! What a session's plan was made from, as its directory keeps it: the texts of the stack, what was said besides,
//! and what of the host went into it. Another plan for the session is made from the same, where nothing is said.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use belljar_model::{ErrorCode, SessionId, SessionName};
use belljar_stack::plan::{Context, Plan};
use belljar_stack::{Faults, Given, HostPrograms, PlanError};
use serde::{Deserialize, Serialize};

/// The version that this program writes and reads.
const VERSION: u32 = 1;

/// One edition of a session's stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edition {
    v: u32,
    pub given: Given,
    pub seed: u64,
    /// Of the host's environment what went into the plan, with the values of then.
    pub host_env: BTreeMap<String, String>,
    /// Services are started again when their programs change.
    pub watch: bool,
}

/// Why there is no edition to be had, or no plan of it.
#[derive(Debug, thiserror::Error)]
pub enum EditionError {
    #[error("cannot use {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is not an edition of a stack", path.display())]
    Malformed {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{} was written by another version of belljar ({found})", path.display())]
    OtherVersion { path: PathBuf, found: u32 },
    #[error(transparent)]
    Faults(#[from] Faults),
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl EditionError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::File { .. } => ErrorCode::StateDirUnusable,
            Self::Malformed { .. } => ErrorCode::StoreCorrupt,
            Self::OtherVersion { .. } => ErrorCode::StoreTooNew,
            Self::Faults(faults) => faults.code(),
            Self::Plan(error) => error.code(),
        }
    }
}

impl Edition {
    pub fn new(given: Given, seed: u64, host_env: BTreeMap<String, String>, watch: bool) -> Self {
        Self { v: VERSION, given, seed, host_env, watch }
    }

    /// Reads one strictly. `None` where there is no such file.
    pub fn read(path: &Path) -> Result<Option<Self>, EditionError> {
        let bytes = match fs_err::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(EditionError::File { path: path.to_owned(), source }),
        };
        let malformed = |source| EditionError::Malformed { path: path.to_owned(), source };
        // What another version wrote may have another shape.
        let versioned: Versioned = serde_json::from_slice(&bytes).map_err(malformed)?;
        if versioned.v != VERSION {
            return Err(EditionError::OtherVersion { path: path.to_owned(), found: versioned.v });
        }
        serde_json::from_slice(&bytes).map(Some).map_err(malformed)
    }

    /// Writes it in one step: whoever reads finds the old one or the new one, whole.
    pub fn write(&self, path: &Path) -> Result<(), EditionError> {
        let write = || -> std::io::Result<()> {
            let mut fresh = path.as_os_str().to_owned();
            fresh.push(".new");
            let fresh = PathBuf::from(fresh);
            let mut file = fs_err::OpenOptions::new().write(true).create(true).truncate(true).open(&fresh)?;
            // It has variables of the host in it.
            fs_err::set_permissions(&fresh, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            file.write_all(&serde_json::to_vec(self)?)?;
            fs_err::rename(&fresh, path)
        };
        write().map_err(|source| EditionError::File { path: path.to_owned(), source })
    }

    /// The plan of this edition for a session.
    pub fn plan(&self, id: &SessionId, name: &SessionName, dir: &Path) -> Result<Plan, EditionError> {
        let context = Context {
            session_id: id.clone(),
            session_name: name.clone(),
            session_dir: dir.to_owned(),
            seed: self.seed,
            host_env: self.host_env.clone(),
            leased: None,
        };
        let programs = HostPrograms { path: self.host_env.get("PATH").cloned().unwrap_or_default() };
        Ok(self.given.parse()?.plan(&context, &programs)?)
    }
}

#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

#[cfg(test)]
mod tests {
    use belljar_stack::{Edits, SourceFile};

    use super::*;

    #[test]
    fn it_is_read_as_strictly_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("edition.json");
        assert!(Edition::read(&path).unwrap().is_none());
        let file =
            SourceFile { path: "/x/belljar.toml".into(), text: "[service.a]\nrun = \"a\"\n".to_owned() };
        let given = Given { file, recipes: Vec::new(), edits: Edits::default() };
        let edition = Edition::new(given, u64::MAX, [("PATH".to_owned(), "/bin".to_owned())].into(), true);
        edition.write(&path).unwrap();
        assert_eq!(Edition::read(&path).unwrap(), Some(edition));
        let text = fs_err::read_to_string(&path).unwrap();
        for (damaged, code) in [
            (text.replacen("\"v\":1", "\"v\":2", 1), ErrorCode::StoreTooNew),
            (text.replacen("\"seed\"", "\"sead\"", 1), ErrorCode::StoreCorrupt),
            (text[..text.len() / 2].to_owned(), ErrorCode::StoreCorrupt),
            (String::new(), ErrorCode::StoreCorrupt),
        ] {
            fs_err::write(&path, damaged).unwrap();
            assert_eq!(Edition::read(&path).unwrap_err().code(), code);
        }
    }
}
