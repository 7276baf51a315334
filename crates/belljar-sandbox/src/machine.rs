//! What a machine is like beside what it allows: settings that explain a refusal, and limits that come later.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ioctl_ficlone};

use crate::error::{During as _, SandboxError, Step};
use crate::identity::plain_identity;
use crate::probe::Capability;

/// As many network namespaces as a run of many sessions may want at once.
const NETWORKS: u64 = 256;

/// Settings of the machine that keep an ordinary user, or everybody, from making user namespaces.
pub(crate) fn userns_settings() -> Vec<String> {
    let setting = |path: &str, is_bad: fn(u64) -> bool, what: &str| {
        let value = number(path)?;
        is_bad(value).then(|| format!("{what} ({path} is {value})"))
    };
    let confined = || {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"))?.trim().to_owned();
        (mode == "2").then(|| "a seccomp filter is on this process, as in most containers".to_owned())
    };
    [
        setting(
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            |value| value != 0,
            "AppArmor keeps them from programs without a profile",
        ),
        setting("/proc/sys/kernel/unprivileged_userns_clone", |value| value == 0, "users may not make any"),
        setting("/proc/sys/user/max_user_namespaces", |value| value == 0, "there may be none"),
        confined(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What else a machine has or lacks. `state_dir` is where sessions will be, `docker` the socket of Docker's daemon.
pub fn surroundings(state_dir: &Path, docker: &Path) -> Vec<Capability> {
    let networks = number("/proc/sys/user/max_net_namespaces");
    let few = networks.filter(|most| *most < NETWORKS);
    let mut all = vec![
        capability(
            "room for network namespaces",
            few.map(|most| format!("/proc/sys/user/max_net_namespaces is {most}")),
            "a sealed session takes one and one per replica: fewer sessions run at once (`belljar test -j`)",
        ),
        capability(
            cgroup_version(),
            (cgroup_version() == "control groups").then(|| "none are mounted at /sys/fs/cgroup".to_owned()),
            "no `limits`, but for `pids` of a whole sealed session of an ordinary user",
        ),
        capability(
            "reflinks in the state directory",
            reflink(state_dir).err().map(|error| error.to_string()),
            "volumes that are copied are copied whole",
        ),
        capability(
            "Docker",
            UnixStream::connect(docker).err().map(|error| format!("{}: {error}", docker.display())),
            "nothing: this version runs services as programs of this machine",
        ),
    ];
    if rustix::process::geteuid().is_root() {
        all.push(capability(
            "a plain user for replicas in shared isolation",
            plain_identity().is_none().then(|| "root may not become `nobody` here".to_owned()),
            "in shared isolation replicas run as root, which some servers refuse (PostgreSQL)",
        ));
    }
    all
}

fn capability(name: &'static str, why: Option<String>, cost: &'static str) -> Capability {
    Capability { name, works: why.is_none(), why, cost }
}

fn cgroup_version() -> &'static str {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let has = |kind: &str| mounts.lines().any(|line| line.split(' ').nth(2) == Some(kind));
    match (has("cgroup"), has("cgroup2")) {
        (true, true) => "control groups, versions 1 and 2",
        (true, false) => "control groups, version 1",
        (false, true) => "control groups, version 2",
        (false, false) => "control groups",
    }
}

/// Tries it on two files that never have a name.
fn reflink(dir: &Path) -> Result<(), SandboxError> {
    let unnamed = || {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR).map(File::from).during_at(Step::CloneFile, dir)
    };
    let (source, target) = (unnamed()?, unnamed()?);
    std::io::Write::write_all(&mut &source, &[1; 4096]).during_at(Step::CloneFile, dir)?;
    ioctl_ficlone(&target, &source).during_at(Step::CloneFile, dir)
}

fn number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}
