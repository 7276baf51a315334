//! What holds for every process of a session without being asked for, so that one that runs wild meets the end
//! of its own session and not the machine's.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::str::FromStr;

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, setrlimit};

use crate::error::{During as _, SandboxError, Step};
use crate::identity::Identity;
use crate::sys;
use crate::zygote::{map_own_ids, open_namespace, write};

/// How many processes and threads a session may have that does not say so itself.
pub(crate) const DEFAULT_PROCESSES: u32 = 4096;
/// Numbers below this are not given out again when the others are used up.
const RESERVED_PIDS: u32 = 300;
/// What is left for commands that look at what has gone wrong, where other limits stop its processes.
const SPARE_PIDS: u32 = 256;
/// The value in a new namespace of a kernel that knows one of its own.
const FRESH_PID_MAX: &str = "4194304";
/// When memory runs out, the kernel takes the processes of sessions before those of the machine.
const OOM_SCORE: i32 = 500;

/// The kernel gives each pid namespace a largest number of its own. An older one would take ours for all of the
/// machine.
pub(crate) fn has_own_pid_max() -> bool {
    kernel_version() >= (6, 14)
}

fn kernel_version() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// In the init, while /proc/sys is the host's and can be written: bounds the numbers of its namespace. This
/// holds for root as well, whom the kernel never counts.
pub(crate) fn bound_pids(processes: u32) -> Result<(), SandboxError> {
    const PATH: &str = "/proc/sys/kernel/pid_max";
    let is_fresh = || std::fs::read_to_string(PATH).is_ok_and(|text| text.trim() == FRESH_PID_MAX);
    if !has_own_pid_max() || rustix::process::getpid().as_raw_nonzero().get() != 1 || !is_fresh() {
        return Ok(());
    }
    let most = processes.saturating_add(RESERVED_PIDS + SPARE_PIDS).min(4_194_304);
    write(PATH, &most.to_string()).during_at(Step::BoundProcesses, PATH)
}

/// Makes a user namespace below ours with the same ids, a session's own: its tenants are counted by themselves.
/// Whoever is in there has no power over what is made here: mounts, networks, pid 1.
pub(crate) fn tenants_user_namespace(identity: Identity) -> Result<OwnedFd, SandboxError> {
    // The maps belong to whoever may look at the process, which is us for the moment that we are dumpable. There are
    // no tenants yet.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).during(Step::MapIds)?;
    let made = sys::detour(libc::CLONE_NEWUSER, || {
        map_own_ids(identity, identity.uid, identity.gid)
            .and_then(|()| bound_namespace())
            .and_then(|()| open_namespace("/proc/self/ns/user"))
    });
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).during(Step::MapIds)?;
    made.during(Step::NewUserNamespace)?
}

/// Bounds what is counted per user on the whole machine, in the user namespace that we are in and below it.
fn bound_namespace() -> Result<(), SandboxError> {
    // Through a namespace of control groups the host's could be mounted, whose files are their user's own to
    // write: freezing, killing and starving what is none of the session's.
    set_if_present("/proc/sys/user/max_cgroup_namespaces", 0)?;
    for (host, own) in [
        ("/proc/sys/fs/inotify/max_user_instances", "/proc/sys/user/max_inotify_instances"),
        ("/proc/sys/fs/inotify/max_user_watches", "/proc/sys/user/max_inotify_watches"),
        ("/proc/sys/fs/fanotify/max_user_groups", "/proc/sys/user/max_fanotify_groups"),
        ("/proc/sys/fs/fanotify/max_user_marks", "/proc/sys/user/max_fanotify_marks"),
    ] {
        if let Some(most) = read_if_present::<u32>(host).during_at(Step::BoundNamespace, host)? {
            set_if_present(own, most / 2)?;
        }
    }
    Ok(())
}

/// A number of the kernel's; none where it tells us none of this name. One that cannot be read for another reason
/// is not left unbounded.
fn read_if_present<T: FromStr>(path: &str) -> std::io::Result<Option<T>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => Ok(None),
        Err(error) => Err(error),
    }
}

fn set_if_present(path: &str, value: u32) -> Result<(), SandboxError> {
    match write(path, &value.to_string()) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.during_at(Step::BoundNamespace, path),
    }
}

/// In a process on its way to its program, as the tenant that it has become. The number of processes is looked
/// at when one is made, so a command can still be started in a session that has as many as it may.
pub(crate) fn bound_process(processes: u32, descriptors: u64) -> Result<(), SandboxError> {
    let half = |resource| getrlimit(resource).maximum.map(|most| most / 2);
    bound(Resource::Core, Some(0), None).during(Step::BoundProcess)?;
    // The kernel counts these per user, together with the user's own outside.
    bound(Resource::Sigpending, half(Resource::Sigpending), None).during(Step::BoundProcess)?;
    bound(Resource::Msgqueue, half(Resource::Msgqueue), None).during(Step::BoundProcess)?;
    // So it does with descriptors on their way through sockets. Whoever keeps the session has the larger limit.
    bound(Resource::Nofile, half(Resource::Nofile), Some(descriptors)).during(Step::BoundProcess)?;
    bound(Resource::Nproc, Some(processes.into()), None).during(Step::BoundProcess)
}

/// The same for a program of a session in shared isolation. The kernel counts its processes together with all others
/// of its user, so their number is not bounded here.
pub(crate) fn bound_shared_process(descriptors: u64) -> Result<(), SandboxError> {
    bound(Resource::Core, Some(0), None).during(Step::BoundProcess)?;
    bound(Resource::Nofile, None, Some(descriptors)).during(Step::BoundProcess)
}

/// Lowers a limit to `most`, and what holds at first to `first`. None is no limit.
fn bound(resource: Resource, most: Option<u64>, first: Option<u64>) -> Result<(), Errno> {
    let smaller = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
    let Rlimit { current, maximum } = getrlimit(resource);
    let maximum = smaller(maximum, most);
    setrlimit(resource, Rlimit { current: smaller(smaller(current, first), maximum), maximum })
}

/// Makes this process, and what comes of it, what the kernel ends first when memory runs out. For those on the
/// way to their program, as long as they have the power of the session's user namespace.
pub(crate) fn give_way_in_need_of_memory() -> Result<(), SandboxError> {
    const PATH: &str = "/proc/self/oom_score_adj";
    let score = read_if_present::<i32>(PATH).during_at(Step::BoundProcess, PATH)?;
    // A kernel that counts otherwise has no such file.
    if score.is_none_or(|score| score >= OOM_SCORE) {
        return Ok(());
    }
    // It is our own to write only for the moment that we are dumpable. Tenants cannot look at us all the same:
    // the namespace that we are still in is above theirs.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).during(Step::BoundProcess)?;
    let written = write(PATH, &OOM_SCORE.to_string()).during_at(Step::BoundProcess, PATH);
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).during(Step::BoundProcess)?;
    written
}

/// Takes as many descriptors as may be had, to be above what tenants get; how many there were to be.
pub(crate) fn take_all_descriptors() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // It is no more than was granted; where it fails there is less room.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_the_kernel_is_read() {
        let (major, minor) = kernel_version();
        assert!(major >= 5, "{major}.{minor}");
    }
}
