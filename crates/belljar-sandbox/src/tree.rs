//! The file tree of a session, made by its init: the host's, with private places laid over it and what must
//! stay visible brought back.

use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::devices::Devices;
use crate::error::{During as _, SandboxError, Step};
use crate::identity::Identity;
use crate::mount::{self, Staging, Tree};
use crate::overlay;
use crate::spec::{Filesystem, SessionSpec};
use crate::target;

/// Makes everything but /sys, which belongs to a network: see [`mount_sys`].
pub(crate) fn make(spec: &SessionSpec, identity: Identity) -> Result<(), SandboxError> {
    mount::make_private()?;
    // The few that there are to be; everything else that is taken from here on has none.
    let devices = Devices::open()?;
    mount::forbid_devices()?;
    let covers = Cover::all(spec)?;
    // Taken before anything is covered or made read-only.
    let kept = Kept::all(spec, &covers)?;
    match spec.filesystem {
        Filesystem::Host => {}
        Filesystem::ReadOnly => mount::make_everything_read_only()?,
        Filesystem::Overlay => overlay::lay(identity)?,
    }
    for cover in &covers {
        cover.mount(identity)?;
    }
    devices.mount(identity)?;
    mount_proc()?;
    for kept in kept {
        kept.restore(identity)?;
    }
    conceal(spec, identity)?;
    generate(&spec.etc, identity)
}

/// Covers the directories that hold what other sessions have, and shows what is this session's in them again.
fn conceal(spec: &SessionSpec, identity: Identity) -> Result<(), SandboxError> {
    for path in &spec.concealed {
        // One that is covered already is not there.
        let Some(path) = reachable(path)? else { continue };
        let own = spec.writable.iter().chain(&spec.keep).chain(&spec.keep_if_present);
        let own: Vec<Option<PathBuf>> = own.map(|one| reachable(one)).collect::<Result<_, _>>()?;
        let mut own: Vec<PathBuf> = own.into_iter().flatten().collect();
        own.retain(|one| one.starts_with(&path) && *one != path);
        own.sort();
        let take = |one: PathBuf| Tree::of(&one).during_at(Step::Conceal, &one).map(|tree| (one, tree));
        let own: Vec<(PathBuf, Tree)> = own.into_iter().map(take).collect::<Result<_, _>>()?;
        mount::tmpfs(&path, 0o700, identity).during_at(Step::Conceal, &path)?;
        for (place, tree) in own {
            target::show(tree, &place, identity)?;
        }
    }
    Ok(())
}

/// The real path of what is there and within reach. Every other error is one: what cannot be looked for must not
/// count as not there, and be left uncovered.
fn reachable(path: &Path) -> Result<Option<PathBuf>, SandboxError> {
    match mount::real_path(path) {
        Ok(path) => Ok(Some(path)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno).during_at(Step::Conceal, path),
    }
}

/// Shows generated files at their paths.
pub(crate) fn generate(files: &[(PathBuf, String)], identity: Identity) -> Result<(), SandboxError> {
    if files.is_empty() {
        return Ok(());
    }
    let mut staging = Staging::over("/dev", identity)?;
    let trees: Result<Vec<Tree>, _> = files.iter().map(|(_, text)| staging.file(text)).collect();
    staging.leave()?;
    for ((path, _), tree) in files.iter().zip(trees?) {
        target::show(tree, path, identity)?;
    }
    Ok(())
}

/// A directory of the host that the session has its own of.
#[derive(Debug, PartialEq, Eq)]
struct Cover {
    step: Step,
    /// Without symbolic links.
    path: PathBuf,
    mode: u32,
}

impl Cover {
    /// Those above come before those below. One that the host does not have is not covered.
    fn all(spec: &SessionSpec) -> Result<Vec<Self>, SandboxError> {
        let mut wanted =
            vec![(Step::MountTmp, Path::new("/tmp"), 0o1777), (Step::MountRun, Path::new("/run"), 0o755)];
        if let Some(home) = &spec.private_home {
            wanted.push((Step::MountHome, home, 0o700));
        }
        let mut covers = Vec::new();
        for (step, path, mode) in wanted {
            match mount::real_path(path) {
                Ok(path) => covers.push(Self { step, path, mode }),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno).during_at(step, path),
            }
        }
        covers.sort_by_key(|cover| cover.path.components().count());
        Ok(covers)
    }

    fn mount(&self, identity: Identity) -> Result<(), SandboxError> {
        // A home below /tmp has just been covered with it.
        if !self.path.is_dir() {
            mount::make_directories(&self.path)?;
        }
        mount::tmpfs(&self.path, self.mode, identity).during_at(self.step, &self.path)
    }
}

/// A part of the host's files that is seen at its own place again.
#[derive(Debug)]
struct Kept {
    tree: Tree,
    places: Vec<PathBuf>,
    usage: Use,
}

/// What may be done with a part of the host's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    AsItIs,
    ReadOnly,
    /// What is written there ends with the session.
    Layered,
}

impl Kept {
    /// What would be lost otherwise, those above before those below.
    fn all(spec: &SessionSpec, covers: &[Cover]) -> Result<Vec<Self>, SandboxError> {
        let keep = spec.keep.iter().map(|path| (path, Wish::MUST_STAY));
        let writable = spec.writable.iter().map(|path| (path, Wish::MUST_BE_WRITABLE));
        let present = spec.keep_if_present.iter().map(|path| (path, Wish::MAY_STAY));
        let mut wishes: Vec<_> = keep.chain(writable).chain(present).collect();
        wishes.sort_by_key(|(path, wish)| (path.components().count(), !wish.writable));
        let mut all: Vec<Self> = Vec::new();
        for (path, wish) in wishes {
            if let Some(kept) = Self::one(path, wish, spec.filesystem, covers)? {
                // What lies in a part that is kept already comes with it, unless more is asked of it.
                let comes_with = |place: &PathBuf, other: &Self| {
                    (other.usage == kept.usage || other.usage == Use::AsItIs)
                        && other.places.iter().any(|above| place.starts_with(above))
                };
                let known = |place: &PathBuf| all.iter().any(|other| comes_with(place, other));
                if !kept.places.iter().all(known) {
                    all.push(kept);
                }
            }
        }
        Ok(all)
    }

    fn one(
        path: &Path,
        wish: Wish,
        filesystem: Filesystem,
        covers: &[Cover],
    ) -> Result<Option<Self>, SandboxError> {
        let real = match mount::real_path(path) {
            Ok(real) => real,
            Err(_) if !wish.must => return Ok(None),
            Err(error) => return Err(error).during_at(Step::OpenKept, path),
        };
        let dev = Path::new("/dev");
        let covered: Vec<&Path> = covers.iter().map(|cover| cover.path.as_path()).chain([dev]).collect();
        let above = |cover: &&&Path| cover.starts_with(&real);
        if let Some(covered) = covered.iter().find(above) {
            // An entry of PATH that is a private directory itself is simply empty in the session.
            let error = SandboxError::KeepsTooMuch { kept: path.to_owned(), covered: covered.to_path_buf() };
            return if wish.must { Err(error) } else { Ok(None) };
        }
        let is_covered = |place: &Path| covered.iter().any(|cover| place.starts_with(cover));
        let needs_own_mount = wish.writable && filesystem != Filesystem::Host;
        let mut places = Vec::new();
        if is_covered(&real) || needs_own_mount {
            places.push(real.clone());
        }
        // A link in a covered directory that leads out of it (or to elsewhere in it) is needed as well.
        if path != real && is_covered(path) {
            places.push(path.to_owned());
        }
        if places.is_empty() {
            return Ok(None);
        }
        let tree = Tree::of(&real).during_at(Step::OpenKept, path)?;
        let usage = match filesystem {
            _ if wish.writable => Use::AsItIs,
            Filesystem::Host => Use::AsItIs,
            Filesystem::Overlay if tree.is_directory().during_at(Step::OpenKept, path)? => Use::Layered,
            Filesystem::Overlay | Filesystem::ReadOnly => Use::ReadOnly,
        };
        if usage == Use::ReadOnly {
            tree.set_read_only().during_at(Step::OpenKept, path)?;
        }
        Ok(Some(Self { tree, places, usage }))
    }

    fn restore(self, identity: Identity) -> Result<(), SandboxError> {
        let mut places = self.places.into_iter();
        let Some(first) = places.next() else { return Ok(()) };
        target::show(self.tree, &first, identity)?;
        if self.usage == Use::Layered {
            target::layer(&first, identity)?;
        }
        for place in places {
            let again = Tree::of(&first).during_at(Step::RestoreKept, &first)?;
            target::show(again, &place, identity)?;
        }
        Ok(())
    }
}

/// What is asked of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wish {
    /// It is an error if it is not there or cannot be kept.
    must: bool,
    /// Also where the rest of the host's files is not.
    writable: bool,
}

impl Wish {
    const MUST_STAY: Self = Self { must: true, writable: false };
    const MUST_BE_WRITABLE: Self = Self { must: true, writable: true };
    const MAY_STAY: Self = Self { must: false, writable: false };
}

/// Parts of /proc through which root's own files could change the host: a tenant of root's session is root in
/// the ownership of files.
const READ_ONLY: &[&str] = &[
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/irq",
    "/proc/bus",
    "/proc/fs",
    "/proc/asound",
    "/proc/acpi",
    "/proc/scsi",
    "/proc/driver",
    "/proc/dynamic_debug",
    "/proc/mtrr",
    "/proc/pressure",
];
/// Parts of /proc that tell too much.
const HIDDEN: &[&str] = &[
    "/proc/kcore",
    "/proc/keys",
    "/proc/timer_list",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/kpagecgroup",
];

fn mount_proc() -> Result<(), SandboxError> {
    mount::kernel(Path::new("/proc"), "proc", MountFlags::empty()).during_at(Step::MountProc, "/proc")?;
    for path in READ_ONLY.iter().map(Path::new) {
        if let Some(tree) = Tree::if_present(path).during_at(Step::MaskPath, path)? {
            tree.set_read_only().during_at(Step::MaskPath, path)?;
            tree.attach(path).during_at(Step::MaskPath, path)?;
        }
    }
    for path in HIDDEN.iter().map(Path::new) {
        if path.try_exists().during_at(Step::MaskPath, path)? {
            let null = Tree::of(Path::new("/dev/null")).during_at(Step::MaskPath, path)?;
            null.attach(path).during_at(Step::MaskPath, path)?;
        }
    }
    Ok(())
}

/// Shows the network namespace that we are in at /sys. Where the kernel allows no fresh one (in some
/// containers), the host's is made read-only instead; it shows the host's interfaces then.
pub(crate) fn mount_sys() -> Result<(), SandboxError> {
    let path = Path::new("/sys");
    if !path.is_dir() {
        return Ok(());
    }
    let fresh = mount::kernel(path, "sysfs", MountFlags::RDONLY);
    if let Err(errno) = fresh {
        if [Errno::NOMEM, Errno::MFILE, Errno::NFILE, Errno::NOSPC].contains(&errno) {
            return Err(errno).during_at(Step::MountSys, path);
        }
        let tree = Tree::of(path).during_at(Step::MountSys, path)?;
        tree.set_read_only().during_at(Step::MountSys, path)?;
        tree.attach(path).during_at(Step::MountSys, path)?;
    }
    Ok(())
}
