//! `filesystem = "overlay"`: every directory of the host's is overlaid with a layer in memory.
//!
//! The kernel does not overlay a directory that has somebody else's mounts below it (what they hide would come
//! to light), and the root has many. So the tree is taken apart as far down as there are mounts, and each part
//! without any is overlaid as a whole.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::{During as _, SandboxError, Step};
use crate::identity::Identity;
use crate::mount::{self, Tree};
use crate::target::Mount;

/// Directories that the session has its own of anyway: layers are kept over the first that is there.
const PRIVATE: &[&str] = &["/tmp", "/run", "/dev"];
/// How deep below a directory of somebody else's its user's own is looked for.
const DEPTH: u32 = 2;
/// File systems that hold no files: they are shown as they are.
const KERNEL: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];

/// Lays the overlays and makes them the root directory.
pub(crate) fn lay(identity: Identity) -> Result<(), SandboxError> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").during(Step::ReadMounts)?;
    let mounts: Vec<(PathBuf, &str)> = Mount::table(&table).map(|mount| (mount.path(), mount.kind)).collect();
    let place = PRIVATE.iter().map(Path::new).find(|path| path.is_dir()).unwrap_or(Path::new("/dev"));
    let mut layers = Layers {
        points: mounts.iter().map(|(path, _)| path.clone()).collect(),
        kernel: mounts.into_iter().filter(|(_, kind)| KERNEL.contains(kind)).map(|(path, _)| path).collect(),
        place: place.to_owned(),
        identity,
        count: 0,
    };
    mount::tmpfs(place, 0o755, identity).during_at(Step::StagePrivate, place)?;
    let root = place.join("root");
    mount::make_directories(&root)?;
    mount::tmpfs(&root, 0o755, identity).during_at(Step::StagePrivate, &root)?;
    layers.take_apart(Path::new("/"), &root)?;
    mount::pivot(&root)
}

#[derive(Debug)]
struct Layers {
    /// Where something is mounted.
    points: BTreeSet<PathBuf>,
    /// Where something is mounted that holds no files.
    kernel: BTreeSet<PathBuf>,
    place: PathBuf,
    identity: Identity,
    count: usize,
}

impl Layers {
    /// Shows a directory's entries one by one.
    fn take_apart(&mut self, directory: &Path, target: &Path) -> Result<(), SandboxError> {
        let entries = std::fs::read_dir(directory).during_at(Step::Overlay, directory)?;
        for entry in entries {
            let entry = entry.during_at(Step::Overlay, directory)?;
            let (path, target) = (entry.path(), target.join(entry.file_name()));
            let kind = entry.file_type().during_at(Step::Overlay, &path)?;
            if kind.is_symlink() {
                let link = std::fs::read_link(&path).during_at(Step::Overlay, &path)?;
                std::os::unix::fs::symlink(link, &target).during_at(Step::Overlay, &target)?;
            } else if kind.is_dir() {
                self.directory(&path, &target)?;
            } else {
                mount::make_target(&target, false)?;
                show_read_only(&path, &target)?;
            }
        }
        Ok(())
    }

    fn directory(&mut self, path: &Path, target: &Path) -> Result<(), SandboxError> {
        mount::make_directories(target)?;
        if PRIVATE.iter().any(|private| path == Path::new(private)) {
            return Ok(());
        }
        if self.kernel.contains(path) {
            return show_read_only(path, target);
        }
        let below = self.points.range(path.to_owned()..).find(|point| *point != path);
        if below.is_none_or(|below| !below.starts_with(path)) {
            return self.overlay(path, target);
        }
        match self.take_apart(path, target) {
            // What its user may not list can be shown, but not taken apart.
            Err(SandboxError::Os { errno: libc::EACCES, path: Some(refused), .. }) if refused == path => {
                show_read_only(path, target)
            }
            result => result,
        }
    }

    fn overlay(&mut self, path: &Path, target: &Path) -> Result<(), SandboxError> {
        self.count += 1;
        let layer = |kind: &str| self.place.join(format!("{kind}{}", self.count));
        let (upper, work) = (layer("upper"), layer("work"));
        mount::make_directories(&upper)?;
        mount::make_directories(&work)?;
        let found = std::fs::metadata(path).during_at(Step::Overlay, path)?;
        // Where tenants could not write on the host, they cannot write here.
        let mask = if found.uid() == self.identity.uid { 0o7777 } else { 0o7555 };
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(found.mode() & mask);
        std::fs::set_permissions(&upper, permissions).during_at(Step::Overlay, path)?;
        if found.uid() != self.identity.uid {
            self.prepare(path, &upper, DEPTH);
        }
        mount::overlay(target, path, &upper, &work).during_at(Step::Overlay, path)
    }

    /// Makes the directories of a layer through which its user comes to something of their own: to write there,
    /// the kernel copies every directory above with its owner, which is not mapped. Whether there are any.
    fn prepare(&self, lower: &Path, upper: &Path, depth: u32) -> bool {
        // What cannot be read cannot be passed through either.
        let Ok(entries) = std::fs::read_dir(lower) else { return false };
        let mut any = false;
        for entry in entries.filter_map(Result::ok) {
            let Ok(found) = entry.file_type().and_then(|_| entry.metadata()) else { continue };
            if found.uid() == self.identity.uid && !found.is_symlink() {
                any = true;
                continue;
            }
            if !found.is_dir() || depth == 0 {
                continue;
            }
            let layer = upper.join(entry.file_name());
            // Made before it is known whether it is needed: most are not, and those are empty.
            let open_to_all = found.mode() & 0o002 != 0;
            if mount::make_directories(&layer).is_err() {
                continue;
            }
            if self.prepare(&entry.path(), &layer, depth - 1) || open_to_all {
                let mode = found.mode() & if open_to_all { 0o7777 } else { 0o7555 };
                let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
                any |= std::fs::set_permissions(&layer, permissions).is_ok();
            } else {
                // Only the layer's copy, which is empty.
                let _ = std::fs::remove_dir(&layer);
            }
        }
        any
    }
}

fn show_read_only(path: &Path, target: &Path) -> Result<(), SandboxError> {
    let tree = Tree::of(path).during_at(Step::Overlay, path)?;
    tree.set_read_only().during_at(Step::Overlay, path)?;
    tree.attach(target).during_at(Step::Overlay, path)
}
