//! Paths that users and scenarios give, below a directory of ours: checked on every component, for reading as
//! for writing.
//!
//! [`checked_path`] answers for the moment of the question. Where a scenario can change the directory meanwhile,
//! [`open`] and [`create`] do the check and the deed in one.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::StoreError;

/// The path of `relative` below `root`, where it stays below it: no `..`, nothing absolute, empty or with a NUL,
/// and no link that leads out or to nothing. It need not exist.
pub fn checked_path(root: &Path, relative: &Path) -> Result<PathBuf, StoreError> {
    let names = checked_names(relative)?;
    let unusable = |path: &Path, source| StoreError::PathUnusable { path: path.to_owned(), source };
    let real_root = fs_err::canonicalize(root).map_err(|error| unusable(root, error))?;
    let mut path = root.to_owned();
    for name in names {
        path.push(name);
        match fs_err::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_symlink() => match fs_err::canonicalize(&path) {
                Ok(real) if real.starts_with(&real_root) => {}
                Ok(_) => return Err(refused(relative, "a link leads out of its directory")),
                // Writing through it would make a file wherever it points.
                Err(_) => return Err(refused(relative, "a link leads to nothing")),
            },
            Ok(_) => {}
            // What is missing has no links, and neither has what would be below it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(refused(relative, "a file is in the place of a directory"));
            }
            Err(error) => return Err(unusable(&path, error)),
        }
    }
    Ok(path)
}

/// Opens a file below `root` for reading. Links that stay below it are followed, by the kernel, which lets none
/// lead out; what is not a plain file is refused, so that nothing planted there can make the reader wait.
pub fn open(root: &Path, relative: &Path) -> Result<File, StoreError> {
    checked_names(relative)?;
    let path = root.join(relative);
    let failed = |errno: Errno| match errno {
        Errno::XDEV | Errno::LOOP => refused(relative, "a link leads out of its directory"),
        other => StoreError::PathUnusable { path: path.clone(), source: other.into() },
    };
    let root = open_root(root)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    // The kernel asks to try again where a rename went on while it resolved the path.
    let file = loop {
        match rustix::fs::openat2(&root, relative, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => break File::from(other.map_err(failed)?),
        }
    };
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(refused(relative, "it is not a file"));
    }
    Ok(file)
}

/// Makes a file below `root`, or empties the one that is there, and makes the directories above it. No link is
/// followed at all.
pub fn create(root: &Path, relative: &Path) -> Result<File, StoreError> {
    let names = checked_names(relative)?;
    let path = root.join(relative);
    let failed = |errno: Errno| match errno {
        Errno::LOOP | Errno::NOTDIR => refused(relative, "a link or a file is in the place of a directory"),
        other => StoreError::PathUnusable { path: path.clone(), source: other.into() },
    };
    let (name, dirs) = names.split_last().expect("it was checked not to be empty");
    let mut dir = open_root(root)?;
    for &name in dirs {
        match rustix::fs::mkdirat(&dir, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        dir = rustix::fs::openat(&dir, name, flags, Mode::empty()).map_err(failed)?;
    }
    // Not emptied by the opening: first it has to be a plain file.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::fs::openat(&dir, *name, flags, Mode::RUSR | Mode::WUSR);
    let file = match opened {
        Err(Errno::NXIO | Errno::ISDIR) => return Err(refused(relative, "it is not a file")),
        other => File::from(other.map_err(failed)?),
    };
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(refused(relative, "it is not a file"));
    }
    file.set_len(0).map_err(|source| StoreError::PathUnusable { path: path.clone(), source })?;
    Ok(file)
}

/// The path's components, each of them a plain name.
fn checked_names(relative: &Path) -> Result<Vec<&Path>, StoreError> {
    let bytes = relative.as_os_str().as_bytes();
    if bytes.contains(&0) {
        return Err(refused(relative, "it contains a NUL"));
    }
    let mut names = Vec::new();
    for component in relative.components() {
        match component {
            Component::Normal(name) => names.push(Path::new(name)),
            Component::CurDir => {}
            Component::ParentDir => return Err(refused(relative, "it contains `..`")),
            Component::RootDir | Component::Prefix(_) => return Err(refused(relative, "it is absolute")),
        }
    }
    if names.is_empty() || bytes.ends_with(b"/") {
        return Err(refused(relative, "it names no file"));
    }
    Ok(names)
}

fn open_root(root: &Path) -> Result<std::os::fd::OwnedFd, StoreError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, root, flags, Mode::empty())
        .map_err(|errno| StoreError::PathUnusable { path: root.to_owned(), source: errno.into() })
}

fn refused(path: &Path, reason: &'static str) -> StoreError {
    StoreError::PathRefused { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    use super::{checked_path, create, open};
    use crate::error::StoreError;

    struct Place {
        _base: tempfile::TempDir,
        root: PathBuf,
        outside: PathBuf,
    }

    fn place() -> Place {
        let base = tempfile::tempdir().unwrap();
        let (root, outside) = (base.path().join("root"), base.path().join("outside"));
        fs_err::create_dir_all(root.join("sub")).unwrap();
        fs_err::create_dir(&outside).unwrap();
        fs_err::write(outside.join("secret"), "secret").unwrap();
        fs_err::write(root.join("sub/file"), "inside").unwrap();
        Place { _base: base, root, outside }
    }

    #[track_caller]
    fn assert_refused<T: std::fmt::Debug>(result: Result<T, StoreError>) {
        assert!(matches!(result, Err(StoreError::PathRefused { .. })), "{result:?}");
    }

    #[test]
    fn what_leads_out_by_its_words_is_refused_for_reading_and_writing() {
        let Place { root, .. } = &place();
        for text in ["", "/", ".", "..", "../x", "sub/..", "sub/../../x", "/etc/passwd", "a\0b", "sub/"] {
            let text = Path::new(text);
            assert_refused(checked_path(root, text));
            assert_refused(open(root, text));
            assert_refused(create(root, text));
        }
        assert_eq!(checked_path(root, Path::new("sub/new/deep")).unwrap(), root.join("sub/new/deep"));
        assert_eq!(checked_path(root, Path::new("..x")).unwrap(), root.join("..x"));
    }

    #[test]
    fn what_leads_out_by_a_link_is_refused_for_reading_and_writing() {
        let Place { root, outside, .. } = &place();
        symlink(outside, root.join("dir")).unwrap();
        symlink("../outside/secret", root.join("file")).unwrap();
        symlink(outside.join("unborn"), root.join("dangling")).unwrap();
        for text in ["dir/secret", "dir/new", "file"] {
            assert_refused(checked_path(root, Path::new(text)));
            assert!(open(root, Path::new(text)).is_err());
            assert_refused(create(root, Path::new(text)));
        }
        assert_refused(checked_path(root, Path::new("dangling")));
        assert_refused(create(root, Path::new("dangling")));
        assert!(!outside.join("unborn").exists() && !outside.join("new").exists());
        assert_eq!(fs_err::read_to_string(outside.join("secret")).unwrap(), "secret");
    }

    #[test]
    fn a_link_that_stays_inside_can_be_read() {
        let Place { root, .. } = &place();
        symlink("sub/file", root.join("link")).unwrap();
        checked_path(root, Path::new("link")).unwrap();
        let mut text = String::new();
        open(root, Path::new("link")).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "inside");
    }

    #[test]
    fn a_file_is_made_with_its_directories_and_emptied_when_it_is_there() {
        let Place { root, .. } = &place();
        for text in ["longer text", "short"] {
            create(root, Path::new("a/b/c.txt")).unwrap().write_all(text.as_bytes()).unwrap();
            assert_eq!(fs_err::read_to_string(root.join("a/b/c.txt")).unwrap(), text);
        }
        assert_refused(create(root, Path::new("a/b/c.txt/d")));
        assert_refused(create(root, Path::new("a/b")));
    }

    #[test]
    fn a_pipe_makes_nobody_wait() {
        let Place { root, .. } = &place();
        let pipe = root.join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert_refused(open(root, Path::new("pipe")));
        assert_refused(create(root, Path::new("pipe")));
    }
}
