//! The zygote: it owns the user namespaces, makes networks, and clones the sessions' inits.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, Signal};
use rustix::thread::UnshareFlags;

use crate::channel;
use crate::error::{During as _, SandboxError, Step};
use crate::host::Launched;
use crate::identity::{Identity, identity};
use crate::init;
use crate::slot::{self, Slot};
use crate::spec::SessionSpec;
use crate::sys::{self, Disposition};

/// Forks the zygote and returns the host's end of its control socket, and its pidfd.
pub(crate) fn fork() -> Result<(OwnedFd, OwnedFd), SandboxError> {
    let (host, control) = channel::pair()?;
    let parent = rustix::process::getpid();
    let child = sys::spawn(0, || {
        let detached = detach(parent, &control).and_then(|()| {
            let ground = Ground::prepare();
            serve(control.as_fd(), &ground)
        });
        // Without the host there is nobody to tell, and nothing to do.
        i32::from(detached.is_err())
    })
    .during(Step::Fork)?;
    Ok((host, child.pidfd))
}

/// Lets go of everything that belongs to the host process but the control socket.
fn detach(parent: rustix::process::Pid, control: &OwnedFd) -> Result<(), SandboxError> {
    tie_to_parent()?;
    if rustix::process::getppid() != Some(parent) {
        return Err(SandboxError::Gone);
    }
    // Ctrl-C at the terminal is for the host process, which ends its sessions in good order.
    rustix::process::setsid().during(Step::Daemonise)?;
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGTERM, libc::SIGPIPE, libc::SIGCHLD] {
        // Children are reaped by the kernel: the host watches them by pidfd.
        sys::set_disposition(signal, Disposition::Ignore).during(Step::Daemonise)?;
    }
    rustix::thread::set_name(c"belljar-zygote").during(Step::NameProcess)?;
    rustix::process::chdir("/").during(Step::Daemonise)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .during_at(Step::CloseDescriptors, "/dev/null")?;
    rustix::stdio::dup2_stdin(&null).during(Step::CloseDescriptors)?;
    rustix::stdio::dup2_stdout(&null).during(Step::CloseDescriptors)?;
    rustix::stdio::dup2_stderr(&null).during(Step::CloseDescriptors)?;
    drop(null);
    sys::close_all_but(&[control.as_fd()]).during(Step::CloseDescriptors)
}

/// The kernel kills this process when the one that made it ends. What that one did before is for the caller to
/// find out.
pub(crate) fn tie_to_parent() -> Result<(), SandboxError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).during(Step::TieToParent)
}

/// What all sessions of this host process stand on.
#[derive(Debug)]
struct Ground {
    identity: Identity,
    /// The caller's, for its commands.
    umask: Mode,
    /// Where tenants run, without a capability.
    tenants: OwnedFd,
    /// An empty network, to be in between launches: elsewhere the zygote would keep a session's alive.
    home: OwnedFd,
}

impl Ground {
    fn prepare() -> Result<Self, SandboxError> {
        let identity = identity();
        // Root's own numbers on the outside; these are what is mapped.
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let umask = rustix::process::umask(Mode::from_raw_mode(0o022));
        own_user_namespace(identity, uid, gid)?;
        let tenants = tenants_user_namespace(identity)?;
        let home = slot::new_network()?;
        Ok(Self { identity, umask, tenants, home })
    }

    fn launch(&self, spec: &SessionSpec) -> Result<(Launched, [OwnedFd; 2]), SandboxError> {
        let (host, control) = channel::pair()?;
        let (handover, waiting) = channel::pair()?;
        let namespaces = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        let child = sys::spawn(namespaces, || {
            let start = init::Start {
                spec,
                identity: self.identity,
                umask: self.umask,
                tenants: self.tenants.as_fd(),
                control: control.as_fd(),
                handover: waiting.as_fd(),
            };
            init::run(&start)
        })
        .during(Step::CloneInit)?;
        // The file tree and the network are made at the same time. Without its network, the init sees the end
        // of the handover and ends.
        let slot = Slot::build(&spec.network, self.home.as_fd())?;
        slot.hand_over(handover.as_fd())?;
        Ok((Launched { pid: child.pid }, [host, child.pidfd]))
    }
}

/// Enters a new user namespace that has one user and one group: the identity, which is the caller outside.
/// Mapping one's own ids, and nothing else, is open to everybody.
pub(crate) fn own_user_namespace(identity: Identity, uid: u32, gid: u32) -> Result<(), SandboxError> {
    // A program that its user cannot read is not dumpable, and then its id maps could not be written.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).during(Step::MapIds)?;
    unshare(UnshareFlags::NEWUSER).during(Step::NewUserNamespace)?;
    write("/proc/self/setgroups", "deny").during_at(Step::MapIds, "/proc/self/setgroups")?;
    write("/proc/self/uid_map", &format!("{} {uid} 1", identity.uid))
        .during_at(Step::MapIds, "/proc/self/uid_map")?;
    write("/proc/self/gid_map", &format!("{} {gid} 1", identity.gid))
        .during_at(Step::MapIds, "/proc/self/gid_map")
}

/// The user namespace below it, with the same ids. Whoever is in there has no power over what is made here:
/// mounts, networks, pid 1.
fn tenants_user_namespace(identity: Identity) -> Result<OwnedFd, SandboxError> {
    let (ours, theirs) = channel::pair()?;
    sys::spawn(0, || {
        let made = own_user_namespace(identity, identity.uid, identity.gid)
            .and_then(|()| open_namespace("/proc/self/ns/user"));
        let sent = match &made {
            Ok(namespace) => channel::send(theirs.as_fd(), &Ok::<(), SandboxError>(()), &[namespace.as_fd()]),
            Err(error) => channel::send(theirs.as_fd(), &Err::<(), _>(error), &[]),
        };
        i32::from(sent.is_err())
    })
    .during(Step::Fork)?;
    drop(theirs);
    let (made, mut fds) = channel::receive::<Result<(), SandboxError>>(ours.as_fd())?;
    made?;
    fds.pop().ok_or(SandboxError::Protocol)
}

pub(crate) fn open_namespace(path: &str) -> Result<OwnedFd, SandboxError> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .during_at(Step::OpenNamespace, path)
}

/// Moves the calling process into namespaces of its own.
pub(crate) fn unshare(flags: UnshareFlags) -> Result<(), rustix::io::Errno> {
    // SAFETY: `CLONE_FILES`, which is what makes this unsafe, is never among the flags.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Writes a parameter of the kernel, in one call as it wants it.
pub(crate) fn write(path: &str, value: &str) -> std::io::Result<()> {
    File::options().write(true).open(path)?.write_all(value.as_bytes())
}

/// Answers launches until the host process is gone.
fn serve(control: BorrowedFd<'_>, ground: &Result<Ground, SandboxError>) -> Result<(), SandboxError> {
    loop {
        let (spec, _) = channel::receive::<SessionSpec>(control)?;
        let launched = ground.as_ref().map_err(Clone::clone).and_then(|ground| ground.launch(&spec));
        match launched {
            Ok((launched, fds)) => {
                let fds = fds.each_ref().map(OwnedFd::as_fd);
                channel::send(control, &Ok::<_, SandboxError>(launched), &fds)?;
            }
            Err(error) => channel::send(control, &Err::<Launched, _>(error), &[])?,
        }
    }
}
