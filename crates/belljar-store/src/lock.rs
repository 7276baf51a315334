//! Liveness: an exclusive lock that the host process holds on a file for as long as it lives.
//!
//! Whoever asks whether the holder lives tries the lock *shared*: two who ask at once then never take each
//! other for the holder, and the holder is never in the way of its own creation, which happens before anybody
//! can know of the file.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The name of the lock in a session's or a run's directory.
pub(crate) const FILE_NAME: &str = "lock";

/// A lock that this process holds, for as long as the value lives.
///
/// A child that is on its way from `fork` to `exec` shares the descriptor. So the lock is let go of, not only
/// closed: else it would be held for as long as that takes.
#[derive(Debug)]
pub(crate) struct Held(File);

impl Held {
    /// Takes the lock of an open file or directory; `None` where another has it.
    pub(crate) fn take(file: File) -> io::Result<Option<Self>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Makes the lock file, which must not exist yet, and takes its lock.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = fs_err::OpenOptions::new().write(true).create_new(true).open(path)?.into_parts().0;
        Self::take(file)?.ok_or_else(|| io::ErrorKind::ResourceBusy.into())
    }

    /// Takes the lock of a file that is there; `None` where it is held.
    pub(crate) fn take_existing(path: &Path) -> io::Result<Option<Self>> {
        Self::take(fs_err::File::open(path)?.into_parts().0)
    }

    /// What is locked.
    pub(crate) fn file(&self) -> &File {
        &self.0
    }

    /// Whether the file still has a name.
    pub(crate) fn is_linked(&self) -> io::Result<bool> {
        Ok(self.0.metadata()?.nlink() > 0)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Closing it, which comes next, lets go of it too where this cannot.
        drop(self.0.unlock());
    }
}

/// Whether a process holds the lock. A lock file that is gone has no holder.
pub(crate) fn is_held(path: &Path) -> io::Result<bool> {
    let file = match fs_err::File::open(path) {
        Ok(file) => file.into_parts().0,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => file.unlock().map(|()| false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::{Held, is_held};

    #[test]
    fn a_lock_is_held_until_its_holder_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert!(!is_held(&path).unwrap(), "nobody made it");
        let held = Held::create(&path).unwrap();
        assert!(is_held(&path).unwrap());
        assert!(Held::take_existing(&path).unwrap().is_none());
        drop(held);
        assert!(!is_held(&path).unwrap());
        assert!(Held::create(&path).is_err(), "it is there already");
    }

    #[test]
    fn two_who_ask_at_once_do_not_take_each_other_for_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        drop(Held::create(&path).unwrap());
        let asking = std::fs::File::open(&path).unwrap();
        asking.try_lock_shared().unwrap();
        assert!(!is_held(&path).unwrap());
    }
}
