//! Mounts, as values: a part of a file tree is held as a descriptor until its place is ready for it.

use std::ffi::{CString, OsString};
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, readlink};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_change,
    move_mount, open_tree, unmount,
};

use crate::error::{During as _, SandboxError, Step};
use crate::identity::Identity;
use crate::sys;

/// The source that the session's own mounts bear in the table of mounts: what is written there stays in the
/// session.
pub(crate) const OWN: &str = "belljar";

/// A part of a file tree, detached from any place, with every mount below it.
#[derive(Debug)]
pub(crate) struct Tree {
    mount: OwnedFd,
}

impl Tree {
    /// Takes a copy of what is visible at a path, following symbolic links.
    pub(crate) fn of(path: &Path) -> Result<Self, Errno> {
        let flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        open_tree(CWD, path, flags).map(|mount| Self { mount })
    }

    /// The same, if there is such a path.
    pub(crate) fn if_present(path: &Path) -> Result<Option<Self>, Errno> {
        match Self::of(path) {
            Ok(tree) => Ok(Some(tree)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    pub(crate) fn is_directory(&self) -> Result<bool, Errno> {
        let stat = rustix::fs::fstat(&self.mount)?;
        Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    pub(crate) fn set_read_only(&self) -> Result<(), Errno> {
        sys::set_read_only(self.mount.as_fd(), true)
    }

    /// Mounts it at a path.
    pub(crate) fn attach(self, target: &Path) -> Result<(), Errno> {
        move_mount(self.mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
    }
}

/// Nothing that is mounted from here on is seen elsewhere, nor the other way round.
pub(crate) fn make_private() -> Result<(), SandboxError> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).during(Step::MakePrivate)
}

/// Makes everything that is mounted read-only.
pub(crate) fn make_everything_read_only() -> Result<(), SandboxError> {
    let root = open_path(Path::new("/")).during(Step::MakeReadOnly)?;
    sys::set_read_only(root.as_fd(), true).during(Step::MakeReadOnly)
}

/// What one directory in memory may hold. The kernel's own default is half of the memory, and for files twice as
/// many as there is room for.
const TMPFS_BOUNDS: &str = "size=25%,nr_inodes=1m";

/// No device can be opened through what is mounted: a tenant of root's session owns root's device files,
/// wherever on the host they lie.
pub(crate) fn forbid_devices() -> Result<(), SandboxError> {
    let root = open_path(Path::new("/")).during(Step::ForbidDevices)?;
    sys::forbid_devices(root.as_fd()).during(Step::ForbidDevices)
}

/// An empty directory in memory.
pub(crate) fn tmpfs(target: &Path, mode: u32, identity: Identity) -> Result<(), Errno> {
    let Identity { uid, gid } = identity;
    let data = data(&format!("mode={mode:o},uid={uid},gid={gid},{TMPFS_BOUNDS}"))?;
    mount(OWN, target, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, data.as_c_str())
}

/// A directory that shows `lower` and keeps what is written in `upper`; `work` lies beside `upper`.
pub(crate) fn overlay(target: &Path, lower: &Path, upper: &Path, work: &Path) -> Result<(), Errno> {
    let [lower, upper, work] = [lower, upper, work].map(escaped);
    let mut options = b"userxattr,lowerdir=".to_vec();
    options.extend(lower);
    options.extend(b",upperdir=");
    options.extend(upper);
    options.extend(b",workdir=");
    options.extend(work);
    let data = CString::new(options).map_err(|_| Errno::INVAL)?;
    mount(OWN, target, "overlay", MountFlags::NODEV, data.as_c_str())
}

/// A path as an option of an overlay.
fn escaped(path: &Path) -> Vec<u8> {
    let mut escaped = Vec::new();
    for &byte in path.as_os_str().as_bytes() {
        if matches!(byte, b'\\' | b',' | b':') {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

/// A file system of the kernel's own. `NOSUID`, `NODEV` and `NOEXEC` as the host's are, which must not be
/// surpassed.
pub(crate) fn kernel(target: &Path, kind: &str, flags: MountFlags) -> Result<(), Errno> {
    mount(OWN, target, kind, MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | flags, None)
}

/// Terminals that nobody else has.
pub(crate) fn terminals(target: &Path) -> Result<(), Errno> {
    let data = data("newinstance,ptmxmode=0666,mode=0600")?;
    mount(OWN, target, "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, data.as_c_str())
}

fn data(options: &str) -> Result<CString, Errno> {
    CString::new(options).map_err(|_| Errno::INVAL)
}

/// Makes `root`, a mount, the root directory, and lets go of the old one.
pub(crate) fn pivot(root: &Path) -> Result<(), SandboxError> {
    rustix::process::chdir(root).during_at(Step::PivotRoot, root)?;
    // The old root lands on top of the new one, and is taken off it.
    rustix::process::pivot_root(".", ".").during_at(Step::PivotRoot, root)?;
    unmount(".", UnmountFlags::DETACH).during_at(Step::PivotRoot, root)?;
    rustix::process::chdir("/").during(Step::PivotRoot)
}

/// A descriptor of a path, for nothing but to name it.
pub(crate) fn open_path(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// A path without symbolic links, as the kernel tells it: three calls, however deep it lies.
pub(crate) fn real_path(path: &Path) -> Result<PathBuf, Errno> {
    let found = open_path(path)?;
    let link = readlink(format!("/proc/self/fd/{}", found.as_raw_fd()), Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(link.into_bytes())))
}

/// Makes a directory and those above it.
pub(crate) fn make_directories(path: &Path) -> Result<(), SandboxError> {
    DirBuilder::new().recursive(true).mode(0o755).create(path).during_at(Step::MakeTarget, path)
}

/// Makes what something can be mounted on, where it is not there: a directory or an empty file.
pub(crate) fn make_target(path: &Path, directory: bool) -> Result<(), SandboxError> {
    if directory {
        return make_directories(path);
    }
    if let Some(parent) = path.parent() {
        make_directories(parent)?;
    }
    match std::fs::File::options().write(true).create_new(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).during_at(Step::MakeTarget, path),
    }
}

/// A place to make files in that is seen nowhere: mounted over a directory, and taken away again when the
/// mounts that were made from it have been attached elsewhere.
#[derive(Debug)]
pub(crate) struct Staging {
    path: &'static Path,
    count: usize,
}

impl Staging {
    /// Everything that is needed of what `path` shows has been taken before.
    pub(crate) fn over(path: &'static str, identity: Identity) -> Result<Self, SandboxError> {
        tmpfs(Path::new(path), 0o755, identity).during_at(Step::StagePrivate, path)?;
        Ok(Self { path: Path::new(path), count: 0 })
    }

    /// A path that is not in use.
    pub(crate) fn fresh(&mut self) -> PathBuf {
        self.count += 1;
        self.path.join(self.count.to_string())
    }

    /// Makes a file and takes it as a tree.
    pub(crate) fn file(&mut self, text: &str) -> Result<Tree, SandboxError> {
        let path = self.fresh();
        let write = || -> std::io::Result<()> {
            std::fs::write(&path, text)?;
            // A generated script is meant to be run.
            let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode))
        };
        write().during_at(Step::WriteGenerated, &path)?;
        Tree::of(&path).during_at(Step::WriteGenerated, &path)
    }

    /// Takes the place away. What was taken from it stays alive.
    pub(crate) fn leave(self) -> Result<(), SandboxError> {
        unmount(self.path, UnmountFlags::DETACH).during_at(Step::StagePrivate, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_as_the_library_tells_it() {
        let dir = std::env::temp_dir().join(format!("belljar-real-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("a b")).unwrap();
        std::os::unix::fs::symlink("a b", dir.join("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.join("dangling")).unwrap();
        for name in ["a b/..", "link", "link/../link/.", "dangling", "not there", "link/x"] {
            let path = dir.join(name);
            let told = real_path(&path).map_err(std::io::Error::from);
            let (told, known) = (told.map_err(|error| error.kind()), path.canonicalize());
            assert_eq!(told, known.map_err(|error| error.kind()), "{name}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
