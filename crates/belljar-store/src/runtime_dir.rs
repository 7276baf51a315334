//! Where control sockets live: short paths (a unix socket's ends at 107 bytes) that nobody else can reach.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use belljar_model::SessionId;

use crate::clean::as_store_error;
use crate::error::{RuntimeDirRefusal, StoreError};
use crate::remove::{self, RemoveError};

/// The longest path of a unix socket: the kernel has 108 bytes, the last of them for its end.
pub(crate) const LONGEST_SOCKET_PATH: usize = 107;

/// The socket in a session's subdirectory.
const SOCKET: &str = "control.sock";

/// As long as every session's id.
const ID_LENGTH: usize = 9;

/// The directory that control sockets live in, each in a subdirectory of its session.
///
/// Register a session with [`RuntimeDir::socket`] first and make its subdirectory after that: what a process
/// leaves that was killed in between is then always named by the registry, and `clean` finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeDir {
    path: PathBuf,
}

impl RuntimeDir {
    /// Takes the first candidate that can be used, and makes it where it is missing (not what is above it).
    ///
    /// It has to be a directory and no link, owned by `uid`, writable by nobody else, and short enough.
    pub fn choose(candidates: &[PathBuf], uid: u32) -> Result<Self, StoreError> {
        let mut refusals = Vec::new();
        for path in candidates {
            match usable(path, uid) {
                Ok(()) => return Ok(Self { path: path.clone() }),
                Err(reason) => refusals.push(RuntimeDirRefusal { path: path.clone(), reason }),
            }
        }
        Err(StoreError::NoRuntimeDir { refusals })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a session's control socket is.
    pub fn socket(&self, id: &SessionId) -> PathBuf {
        self.path.join(id.as_str()).join(SOCKET)
    }

    /// Makes a session's subdirectory, and says where its control socket goes.
    pub fn create_session(&self, id: &SessionId) -> Result<PathBuf, StoreError> {
        let dir = self.path.join(id.as_str());
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .map_err(StoreError::unusable(&dir, "it cannot be created"))?;
        Ok(self.socket(id))
    }

    /// Removes a session's subdirectory with all that is in it. It is fine where it is gone.
    pub fn remove_session(&self, id: &SessionId) -> Result<(), StoreError> {
        remove::tree(&self.path.join(id.as_str())).map(drop).map_err(as_store_error)
    }
}

/// Removes the subdirectory of a session whose control socket was registered as `socket`. Whatever else a
/// path in the registry says, only a directory that bears the session's id is removed.
pub(crate) fn remove_of(id: &SessionId, socket: &Path) -> Result<(), RemoveError> {
    let Some(dir) = socket.parent() else { return Ok(()) };
    let ours = socket.file_name().is_some_and(|name| name == SOCKET)
        && dir.file_name().is_some_and(|name| name == id.as_str());
    if ours { remove::tree(dir).map(drop) } else { Ok(()) }
}

/// Why a candidate cannot be used, in words that come after its path.
fn usable(path: &Path, uid: u32) -> Result<(), String> {
    let longest = path.as_os_str().len() + 1 + ID_LENGTH + 1 + SOCKET.len();
    if longest > LONGEST_SOCKET_PATH {
        return Err(format!(
            "makes sockets' paths of {longest} bytes, and {LONGEST_SOCKET_PATH} are possible"
        ));
    }
    if !path.is_absolute() {
        return Err("is not absolute".to_owned());
    }
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(format!("cannot be created: {error}"));
        }
        _ => {}
    }
    let metadata =
        std::fs::symlink_metadata(path).map_err(|error| format!("cannot be looked at: {error}"))?;
    if !metadata.is_dir() {
        return Err("is not a directory".to_owned());
    }
    if metadata.uid() != uid {
        return Err(format!("belongs to user {}", metadata.uid()));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err("can be written by others".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::PathBuf;

    use belljar_model::{ErrorCode, SessionId};

    use super::{LONGEST_SOCKET_PATH, RuntimeDir, remove_of};

    fn uid() -> u32 {
        rustix::process::getuid().as_raw()
    }

    fn id() -> SessionId {
        SessionId::new("k3f9-x2ab").unwrap()
    }

    #[test]
    fn the_first_candidate_that_can_be_used_is_taken_and_made() {
        let base = tempfile::tempdir().unwrap();
        let missing = base.path().join("missing/belljar");
        let long = base.path().join("x".repeat(LONGEST_SOCKET_PATH));
        let good = base.path().join("belljar");
        let dir = RuntimeDir::choose(&[missing, long, good.clone()], uid()).unwrap();
        assert_eq!(dir.path(), good);
        assert_eq!(fs_err::metadata(&good).unwrap().permissions().mode() & 0o777, 0o700);

        let socket = dir.create_session(&id()).unwrap();
        assert_eq!(socket, good.join("k3f9-x2ab/control.sock"));
        dir.create_session(&id()).unwrap_err();
        std::os::unix::net::UnixListener::bind(&socket).unwrap();
        dir.remove_session(&id()).unwrap();
        assert!(!good.join("k3f9-x2ab").exists());
        dir.remove_session(&id()).unwrap();
    }

    #[test]
    fn a_directory_of_others_or_open_to_others_or_a_link_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let (open, target, link) =
            (base.path().join("open"), base.path().join("target"), base.path().join("link"));
        for dir in [&open, &target] {
            fs_err::create_dir(dir).unwrap();
        }
        fs_err::set_permissions(&open, std::fs::Permissions::from_mode(0o770)).unwrap();
        symlink(&target, &link).unwrap();
        let error = RuntimeDir::choose(&[open, link, PathBuf::from("relative")], uid()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::StateDirUnusable);
        let text = error.to_string();
        for part in ["can be written by others", "is not a directory", "is not absolute"] {
            assert!(text.contains(part), "{text}");
        }
        let error = RuntimeDir::choose(&[target], uid() + 1).unwrap_err();
        assert!(error.to_string().contains("belongs to user"), "{error}");
    }

    #[test]
    fn only_a_directory_that_bears_the_id_is_removed() {
        let base = tempfile::tempdir().unwrap();
        for (dir, removed) in [("k3f9-x2ab", true), ("k3f9-x2ac", false)] {
            let dir = base.path().join(dir);
            fs_err::create_dir(&dir).unwrap();
            remove_of(&id(), &dir.join("other.sock")).unwrap();
            assert!(dir.exists());
            remove_of(&id(), &dir.join("control.sock")).unwrap();
            assert_eq!(!dir.exists(), removed);
        }
    }
}
