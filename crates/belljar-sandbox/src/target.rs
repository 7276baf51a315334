//! Places for mounts that are not there yet, made without a trace on the host.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use crate::error::{During as _, SandboxError, Step};
use crate::identity::Identity;
use crate::mount::{self, OWN, Staging, Tree};

/// As many symbolic links as the kernel follows.
const LINKS: usize = 40;
/// Where a new place is mounted while the mounts that need it are made.
const STAGE: &str = "/dev";

/// A path with its symbolic links resolved as far as it exists.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// What exists of it.
    pub(crate) existing: PathBuf,
    /// What is missing below.
    pub(crate) missing: PathBuf,
}

impl Resolved {
    pub(crate) fn path(&self) -> PathBuf {
        if self.missing.as_os_str().is_empty() {
            self.existing.clone()
        } else {
            self.existing.join(&self.missing)
        }
    }
}

/// Resolves an absolute path; a link that leads nowhere is followed to where its target would be.
pub(crate) fn resolve(path: &Path) -> std::io::Result<Resolved> {
    let mut existing = PathBuf::from("/");
    let mut missing = PathBuf::new();
    let mut rest: VecDeque<OsString> = names(path);
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            if !missing.pop() {
                existing.pop();
            }
            continue;
        }
        if !missing.as_os_str().is_empty() {
            missing.push(name);
            continue;
        }
        let next = existing.join(&name);
        match std::fs::symlink_metadata(&next) {
            Ok(found) if found.is_symlink() => {
                links += 1;
                if links > LINKS {
                    return Err(std::io::Error::from_raw_os_error(libc::ELOOP));
                }
                let link = std::fs::read_link(&next)?;
                if link.is_absolute() {
                    existing = PathBuf::from("/");
                }
                for name in names(&link).into_iter().rev() {
                    rest.push_front(name);
                }
            }
            Ok(_) => existing = next,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => missing.push(name),
            Err(error) => return Err(error),
        }
    }
    Ok(Resolved { existing, missing })
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

/// Mounts a tree at a path, which is made where it is not there.
pub(crate) fn show(tree: Tree, path: &Path, identity: Identity) -> Result<(), SandboxError> {
    let directory = tree.is_directory().during_at(Step::Bind, path)?;
    let resolved = resolve(path).during_at(Step::Bind, path)?;
    if !resolved.missing.as_os_str().is_empty() {
        make(&resolved, directory, identity)?;
    }
    tree.attach(&resolved.path()).during_at(Step::Bind, path)
}

/// Lays a layer over a directory that keeps what is written there in the session.
pub(crate) fn layer(directory: &Path, identity: Identity) -> Result<(), SandboxError> {
    lay_over(&Resolved { existing: directory.to_owned(), missing: PathBuf::new() }, true, identity)
}

/// Makes what is missing of a path.
fn make(resolved: &Resolved, directory: bool, identity: Identity) -> Result<(), SandboxError> {
    if is_own(&resolved.existing)? {
        return mount::make_target(&resolved.path(), directory);
    }
    match lay_over(resolved, directory, identity) {
        // The root, and directories with mounts of the host's below them, cannot be overlaid.
        Err(SandboxError::Os { step: Step::Overlay, .. }) => {
            mirror(&resolved.existing, identity)?;
            mount::make_target(&resolved.path(), directory)
        }
        result => result,
    }
}

/// Whether what is written at a path stays in the session: it lies on a mount that we made.
fn is_own(path: &Path) -> Result<bool, SandboxError> {
    let stat = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).during_at(Step::ReadMounts, path)?;
    let id = stat.stx_mnt_id.to_string();
    let table = std::fs::read_to_string("/proc/self/mountinfo").during(Step::ReadMounts)?;
    Ok(Mount::table(&table).any(|mount| mount.id == id && mount.source == OWN))
}

/// One line of the table of mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mount<'a> {
    pub(crate) id: &'a str,
    /// With its blanks escaped.
    pub(crate) point: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) source: &'a str,
}

impl<'a> Mount<'a> {
    pub(crate) fn table(text: &'a str) -> impl Iterator<Item = Self> {
        text.lines().filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut before = before.split(' ');
            let mut after = after.split(' ');
            Some(Self {
                id: before.next()?,
                point: before.nth(3)?,
                kind: after.next()?,
                source: after.next()?,
            })
        })
    }

    pub(crate) fn path(&self) -> PathBuf {
        let mut bytes = Vec::with_capacity(self.point.len());
        let mut rest = self.point.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            let octal = (byte == b'\\').then(|| after.get(..3)).flatten();
            let code = octal.and_then(|octal| u8::from_str_radix(std::str::from_utf8(octal).ok()?, 8).ok());
            if let Some(code) = code {
                bytes.push(code);
                rest = &after[3..];
            } else {
                bytes.push(byte);
                rest = after;
            }
        }
        PathBuf::from(<OsString as std::os::unix::ffi::OsStringExt>::from_vec(bytes))
    }
}

/// Overlays the existing part with a layer in memory that has the missing part in it. The layer is filled
/// before it is laid, because its own directory stands in for the host's, in which we might not write.
fn lay_over(resolved: &Resolved, directory: bool, identity: Identity) -> Result<(), SandboxError> {
    let existing = &resolved.existing;
    let found = std::fs::metadata(existing).during_at(Step::MakeTarget, existing)?;
    // Where tenants could not write on the host, they cannot write here.
    let mask = if found.uid() == identity.uid { 0o7777 } else { 0o7555 };
    let lower = Tree::of(existing).during_at(Step::Overlay, existing)?;
    // An overlay shows one file system, and nothing of what is mounted in it.
    let inner = mounted_below(existing)?;
    let mut staging = Staging::over(STAGE, identity)?;
    let [below, upper, work, merged] = [(); 4].map(|()| staging.fresh());
    for path in [&below, &upper, &work, &merged] {
        mount::make_directories(path)?;
    }
    let permissions = std::fs::Permissions::from_mode(found.mode() & mask);
    let lay = || -> Result<Tree, SandboxError> {
        mount::make_target(&upper.join(&resolved.missing), directory)?;
        std::fs::set_permissions(&upper, permissions).during_at(Step::MakeTarget, existing)?;
        // By its own path it could be hidden below the staging.
        lower.attach(&below).during_at(Step::Overlay, existing)?;
        mount::overlay(&merged, &below, &upper, &work).during_at(Step::Overlay, existing)?;
        Tree::of(&merged).during_at(Step::Overlay, existing)
    };
    let laid = lay();
    staging.leave()?;
    laid?.attach(existing).during_at(Step::Overlay, existing)?;
    for (path, tree) in inner {
        tree.attach(&path).during_at(Step::Overlay, path)?;
    }
    Ok(())
}

/// What is mounted in a directory, without what is mounted in that in turn.
fn mounted_below(directory: &Path) -> Result<Vec<(PathBuf, Tree)>, SandboxError> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").during(Step::ReadMounts)?;
    let paths: BTreeSet<PathBuf> = Mount::table(&table)
        .map(|mount| mount.path())
        .filter(|path| path.starts_with(directory) && path != directory)
        .collect();
    let mut below: Vec<(PathBuf, Tree)> = Vec::new();
    // In this order, what is above comes before what is below.
    for path in paths {
        if below.last().is_none_or(|(above, _)| !path.starts_with(above)) {
            // What another mount hides is not to be found by its path.
            let tree = Tree::if_present(&path).during_at(Step::Overlay, &path)?;
            below.extend(tree.map(|tree| (path, tree)));
        }
    }
    Ok(below)
}

/// Replaces a directory by one in memory with the same entries, each mounted from the host's.
fn mirror(directory: &Path, identity: Identity) -> Result<(), SandboxError> {
    let at = |path: &Path| path.to_owned();
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(directory).during_at(Step::MirrorDirectory, directory)? {
        let entry = entry.during_at(Step::MirrorDirectory, directory)?;
        let kind = entry.file_type().during_at(Step::MirrorDirectory, at(&entry.path()))?;
        let shown = if kind.is_symlink() {
            let link = std::fs::read_link(entry.path());
            Shown::Link(link.during_at(Step::MirrorDirectory, at(&entry.path()))?)
        } else {
            let tree = Tree::of(&entry.path()).during_at(Step::MirrorDirectory, at(&entry.path()))?;
            Shown::Tree(tree, kind.is_dir())
        };
        entries.push((entry.file_name(), shown));
    }
    let is_root = directory == Path::new("/");
    let place = if is_root { Path::new(STAGE) } else { directory };
    mount::tmpfs(place, 0o755, identity).during_at(Step::MirrorDirectory, directory)?;
    for (name, shown) in entries {
        let path = place.join(name);
        match shown {
            Shown::Link(link) => {
                std::os::unix::fs::symlink(link, &path).during_at(Step::MirrorDirectory, at(&path))?;
            }
            Shown::Tree(tree, directory) => {
                mount::make_target(&path, directory)?;
                tree.attach(&path).during_at(Step::MirrorDirectory, at(&path))?;
            }
        }
    }
    if is_root { mount::pivot(place) } else { Ok(()) }
}

#[derive(Debug)]
enum Shown {
    Link(PathBuf),
    Tree(Tree, bool),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_table_of_mounts() {
        let text =
            "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n";
        let mounts: Vec<_> = Mount::table(text).collect();
        let mount = Mount { id: "36", point: "/mnt\\0402", kind: "ext3", source: "/dev/root" };
        assert_eq!(mounts, [mount]);
        assert_eq!(mount.path(), Path::new("/mnt 2"));
    }

    #[test]
    fn resolves_as_far_as_it_exists() {
        let dir = std::env::temp_dir().join(format!("belljar-resolve-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("a")).unwrap();
        std::os::unix::fs::symlink("a", dir.join("link")).unwrap();
        std::os::unix::fs::symlink("../nowhere/x", dir.join("a/dangling")).unwrap();
        let dir = dir.canonicalize().unwrap();
        let missing = |existing: &str, missing: &str| Resolved {
            existing: dir.join(existing).components().collect(),
            missing: missing.into(),
        };
        assert_eq!(resolve(&dir.join("link/b/c")).unwrap(), missing("a", "b/c"));
        assert_eq!(resolve(&dir.join("link")).unwrap(), missing("a", ""));
        assert_eq!(resolve(&dir.join("link/dangling")).unwrap(), missing("", "nowhere/x"));
        assert_eq!(resolve(&dir.join("b/../a")).unwrap(), missing("a", ""));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
