//! Removing what sessions leave: trees that programs wrote which may be broken or hostile.
//!
//! Every step goes from an open directory to a name in it, and no link is ever followed, so that nothing
//! outside of the tree can be reached however it is rearranged meanwhile. Directories that their owner made
//! unwritable are made writable. Another filesystem that is mounted inside is never entered.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// A tree of which something is left.
#[derive(Debug)]
pub(crate) struct RemoveError {
    /// The first thing that could not be removed. The rest was tried all the same.
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

/// Removes a directory and all that is in it, and says how much space that was. What is gone already is fine.
pub(crate) fn tree(path: &Path) -> Result<u64, RemoveError> {
    let Some(dir) = open_root(path)? else {
        return Ok(0);
    };
    let bytes = contents(&dir, path, None)?;
    remove_empty(path)?;
    Ok(bytes)
}

/// Opens the directory that a tree hangs on; `None` where it is gone. A link in its place is an error.
pub(crate) fn open_root(path: &Path) -> Result<Option<OwnedFd>, RemoveError> {
    match open_dir(CWD, path) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(failed(path, errno)),
    }
}

/// Removes everything in `dir`, but not what is called `spared`. `path` only tells people where it is.
pub(crate) fn contents(dir: impl AsFd, path: &Path, spared: Option<&OsStr>) -> Result<u64, RemoveError> {
    let device = rustix::fs::fstat(&dir).map_err(|errno| failed(path, errno))?.st_dev;
    let mut removal = Removal { device, bytes: 0, first_failure: None };
    removal.empty(dir.as_fd(), path, spared);
    match removal.first_failure {
        None => Ok(removal.bytes),
        Some(failure) => Err(failure),
    }
}

/// Removes one file; it is fine where it is gone.
pub(crate) fn file(path: &Path) -> Result<(), RemoveError> {
    gone(rustix::fs::unlink(path)).map_err(|errno| failed(path, errno))
}

/// Removes a directory that is empty now; it is fine where it is gone.
pub(crate) fn remove_empty(path: &Path) -> Result<(), RemoveError> {
    gone(rustix::fs::rmdir(path)).map_err(|errno| failed(path, errno))
}

struct Removal {
    device: u64,
    bytes: u64,
    first_failure: Option<RemoveError>,
}

impl Removal {
    /// Removes everything in one directory. A failure is remembered, and the rest goes on.
    fn empty(&mut self, dir: BorrowedFd<'_>, path: &Path, spared: Option<&OsStr>) {
        let names = match names_in(dir) {
            Ok(names) => names,
            Err(errno) => return self.fail(path, errno),
        };
        for name in names {
            let called = OsStr::from_bytes(name.to_bytes());
            if Some(called) != spared {
                let path = path.join(called);
                if let Err(errno) = self.entry(dir, &name, &path) {
                    self.fail(&path, errno);
                }
            }
        }
    }

    fn entry(&mut self, dir: BorrowedFd<'_>, name: &CStr, path: &Path) -> Result<(), Errno> {
        let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let flags = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            if stat.st_dev != self.device {
                return Err(Errno::XDEV);
            }
            let below = match open_dir(dir, name) {
                Ok(below) => below,
                Err(Errno::NOENT) => return Ok(()),
                Err(errno) => return Err(errno),
            };
            let failed_before = self.first_failure.is_some();
            self.empty(below.as_fd(), path, None);
            if !failed_before && self.first_failure.is_some() {
                // It is not empty, and why has been told.
                return Ok(());
            }
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        gone(rustix::fs::unlinkat(dir, name, flags))?;
        self.bytes += u64::try_from(stat.st_blocks).unwrap_or_default() * 512;
        Ok(())
    }

    fn fail(&mut self, path: &Path, errno: Errno) {
        if self.first_failure.is_none() {
            self.first_failure = Some(failed(path, errno));
        }
    }
}

/// The names in a directory, all of them first: it changes while it is emptied.
fn names_in(dir: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Opens a directory, never through a link, and sees to it that its owner can read and empty it.
fn open_dir(at: impl AsFd, name: impl rustix::path::Arg + Copy) -> Result<OwnedFd, Errno> {
    const FLAGS: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
    let opened = rustix::fs::openat(&at, name, FLAGS.union(OFlags::RDONLY), Mode::empty());
    let dir = match opened {
        Err(Errno::ACCESS) => {
            // It may not be read. A handle that needs no permission names it, so that what is changed is
            // this directory and not what has taken its place.
            let handle = rustix::fs::openat(&at, name, FLAGS.union(OFlags::PATH), Mode::empty())?;
            let by_handle = format!("/proc/self/fd/{}", handle.as_raw_fd());
            rustix::fs::chmod(&by_handle, Mode::RWXU)?;
            rustix::fs::openat(&handle, c".", FLAGS.union(OFlags::RDONLY), Mode::empty())?
        }
        other => other?,
    };
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&dir)?.st_mode);
    if !mode.contains(Mode::RWXU) {
        // Where it is not ours to change, removing from it says so.
        let _ = rustix::fs::fchmod(&dir, Mode::RWXU);
    }
    Ok(dir)
}

fn gone(removed: Result<(), Errno>) -> Result<(), Errno> {
    match removed {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn failed(path: &Path, errno: Errno) -> RemoveError {
    RemoveError { path: path.to_owned(), source: errno.into() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    use super::{contents, open_root, tree};

    fn set_mode(path: &Path, mode: u32) {
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn unwritable_things_go_and_links_are_not_followed() {
        let base = tempfile::tempdir().unwrap();
        let outside = base.path().join("outside");
        fs_err::create_dir(&outside).unwrap();
        fs_err::write(outside.join("precious"), "x").unwrap();

        let root = base.path().join("root");
        let locked = root.join("a/b");
        fs_err::create_dir_all(&locked).unwrap();
        fs_err::write(locked.join("file"), vec![1; 10_000]).unwrap();
        symlink(&outside, locked.join("link")).unwrap();
        symlink(outside.join("precious"), root.join("link-to-file")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        set_mode(&locked.join("file"), 0o444);
        set_mode(&locked, 0o555);
        set_mode(&root.join("a"), 0o000);

        let bytes = tree(&root).unwrap();
        assert!(bytes >= 10_000, "{bytes}");
        assert!(!root.exists());
        assert_eq!(fs_err::read_to_string(outside.join("precious")).unwrap(), "x");
        assert_eq!(tree(&root).unwrap(), 0, "gone already");
    }

    #[test]
    fn a_link_in_the_place_of_the_root_is_an_error() {
        let base = tempfile::tempdir().unwrap();
        fs_err::create_dir(base.path().join("target")).unwrap();
        fs_err::write(base.path().join("target/precious"), "x").unwrap();
        symlink("target", base.path().join("root")).unwrap();
        tree(&base.path().join("root")).unwrap_err();
        assert!(base.path().join("target/precious").exists());
    }

    #[test]
    fn what_is_spared_stays() {
        let base = tempfile::tempdir().unwrap();
        fs_err::write(base.path().join("lock"), "").unwrap();
        fs_err::create_dir_all(base.path().join("d/lock")).unwrap();
        let root = open_root(base.path()).unwrap().unwrap();
        contents(&root, base.path(), Some("lock".as_ref())).unwrap();
        assert!(base.path().join("lock").exists());
        assert!(!base.path().join("d").exists(), "only the root's own is spared");
    }
}
