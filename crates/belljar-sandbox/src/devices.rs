//! A small private /dev: the few devices that programs need, and none through which the host could be reached.

use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::mount::MountFlags;
use rustix::pty::{OpenptFlags, openpt, unlockpt};

use crate::error::{During as _, SandboxError, Step};
use crate::identity::Identity;
use crate::mount::{self, Tree};

const DEV: &str = "/dev";
/// Devices that every program may use.
const ALWAYS: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];
/// Devices that are shown where their user may open them.
const WHERE_ALLOWED: &[&str] = &["fuse", "kvm", "net/tun"];
const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Makes a terminal of the session's own, and gives the side that belongs to whoever looks at it.
pub(crate) fn terminal() -> Result<OwnedFd, SandboxError> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).during(Step::OpenTerminal)?;
    unlockpt(&master).during(Step::OpenTerminal)?;
    Ok(master)
}

/// What is taken over from the host's /dev.
#[derive(Debug)]
pub(crate) struct Devices {
    trees: Vec<(PathBuf, Tree)>,
}

impl Devices {
    pub(crate) fn open() -> Result<Self, SandboxError> {
        let mut trees = Vec::new();
        let mut take = |name: &str| -> Result<(), SandboxError> {
            let path = Path::new(DEV).join(name);
            if let Some(tree) = Tree::if_present(&path).during_at(Step::MountDev, &path)? {
                trees.push((path, tree));
            }
            Ok(())
        };
        for name in ALWAYS {
            take(name)?;
        }
        let is_root = is_root();
        for name in WHERE_ALLOWED.iter().filter(|name| may_open(&Path::new(DEV).join(name), is_root)) {
            take(name)?;
        }
        Ok(Self { trees })
    }

    /// Covers /dev.
    pub(crate) fn mount(self, identity: Identity) -> Result<(), SandboxError> {
        let dev = Path::new(DEV);
        mount::tmpfs(dev, 0o755, identity).during_at(Step::MountDev, dev)?;
        for (path, tree) in self.trees {
            let directory = tree.is_directory().during_at(Step::MountDev, &path)?;
            mount::make_target(&path, directory)?;
            tree.attach(&path).during_at(Step::MountDev, &path)?;
        }
        for (name, target) in LINKS {
            symlink(target, dev.join(name)).during_at(Step::MountDev, dev.join(name))?;
        }
        // Terminals of the session's own. Those of the host are its user's, and so they could be read and
        // written by anybody in here.
        let terminals = dev.join("pts");
        mount::make_directories(&terminals)?;
        mount::terminals(&terminals).during_at(Step::MountTerminals, &terminals)?;
        let shm = dev.join("shm");
        mount::make_directories(&shm)?;
        mount::tmpfs(&shm, 0o1777, identity).during_at(Step::MountShm, &shm)?;
        let queues = dev.join("mqueue");
        mount::make_directories(&queues)?;
        match mount::kernel(&queues, "mqueue", MountFlags::empty()) {
            // A kernel without message queues has none to keep apart.
            Ok(()) | Err(rustix::io::Errno::NODEV) => Ok(()),
            Err(errno) => Err(errno).during_at(Step::MountMqueue, queues),
        }
    }
}

/// Whether an ordinary user may use a device: root's own rights do not count, as its tenants are to have none.
fn may_open(path: &Path, is_root: bool) -> bool {
    let open_to_all =
        || std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o006 == 0o006);
    open_to_all() || (!is_root && access(path, Access::READ_OK | Access::WRITE_OK).is_ok())
}

/// Whether the caller is the host's root, by the one thing that can be told from inside: pid 1 is its own.
fn is_root() -> bool {
    std::fs::metadata("/proc/1").is_ok_and(|init| init.uid() == rustix::process::geteuid().as_raw())
}
