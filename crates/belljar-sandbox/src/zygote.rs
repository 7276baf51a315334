//! The zygote: it owns the user namespaces, makes networks, and clones the sessions' inits.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, Signal};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use crate::channel;
use crate::error::{During as _, SandboxError, Step};
use crate::host::Launched;
use crate::identity::{Identity, identity};
use crate::init;
use crate::limits::take_all_descriptors;
use crate::pool::Pool;
use crate::proof::Proof;
use crate::slot::{self, Slot};
use crate::spec::{NetworkSpec, SessionSpec};
use crate::sys::{self, Child, Disposition};

/// Forks the zygote and returns the host's end of its control socket.
pub(crate) fn fork() -> Result<(OwnedFd, Child), SandboxError> {
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
    Ok((host, child))
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
    /// How many descriptors the caller's commands may have.
    descriptors: u64,
    /// An empty network, to be in between launches: elsewhere the zygote would keep a session's alive. Made when
    /// the first session with replicas is.
    home: OnceCell<OwnedFd>,
}

impl Ground {
    fn prepare() -> Result<Self, SandboxError> {
        let identity = identity();
        // Root's own numbers on the outside; these are what is mapped.
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let umask = rustix::process::umask(Mode::from_raw_mode(0o022));
        let descriptors = take_all_descriptors();
        own_user_namespace(identity, uid, gid)?;
        Ok(Self { identity, umask, descriptors, home: OnceCell::new() })
    }

    /// A new init's number, the way to it, and its pidfd.
    fn launch(&self, spec: &SessionSpec, pool: &mut Pool) -> Result<(i32, [OwnedFd; 2]), SandboxError> {
        let (host, control) = channel::pair()?;
        let mut namespaces = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        let handover = if spec.network.is_alone() {
            namespaces |= libc::CLONE_NEWNET;
            None
        } else {
            self.home()?;
            Some(channel::pair()?)
        };
        let child = sys::spawn(namespaces, || {
            let start = init::Start {
                spec,
                identity: self.identity,
                umask: self.umask,
                descriptors: self.descriptors,
                control: control.as_fd(),
                handover: handover.as_ref().map(|(_, waiting)| waiting.as_fd()),
            };
            init::run(&start)
        })
        .during(Step::CloneInit)?;
        if let Some((handover, _)) = &handover {
            // The file tree and the network are made at the same time. Without its network, the init sees the
            // end of the handover and ends.
            self.give_network(spec, handover.as_fd(), &child, pool)?;
        }
        Ok((child.pid, [host, child.pidfd]))
    }
}

impl Ground {
    fn home(&self) -> Result<BorrowedFd<'_>, SandboxError> {
        if let Some(home) = self.home.get() {
            return Ok(home.as_fd());
        }
        let home = slot::home()?;
        Ok(self.home.get_or_init(|| home).as_fd())
    }

    fn network(&self) -> Result<OwnedFd, SandboxError> {
        let home = self.home()?;
        let made = slot::new_network();
        slot::enter_network(home)?;
        made
    }

    fn give_network(
        &self,
        spec: &SessionSpec,
        handover: BorrowedFd<'_>,
        init: &Child,
        pool: &mut Pool,
    ) -> Result<(), SandboxError> {
        let Some(kept) = pool.lease(&spec.network) else {
            return Slot::build(&spec.network, self.home()?)?.hand_over(handover);
        };
        let handed = kept.slot.hand_over(handover);
        pool.lend(kept, init.pidfd.try_clone().during(Step::Fork)?);
        handed
    }
}

/// Enters a new user namespace that has one user and one group: the identity, which is the caller outside.
/// Mapping one's own ids, and nothing else, is open to everybody.
pub(crate) fn own_user_namespace(identity: Identity, uid: u32, gid: u32) -> Result<(), SandboxError> {
    // A program that its user cannot read is not dumpable, and then its id maps could not be written.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).during(Step::MapIds)?;
    unshare(UnshareFlags::NEWUSER).during(Step::NewUserNamespace)?;
    map_own_ids(identity, uid, gid)
}

/// Gives the new user namespace that we are in, while we are dumpable, its one user and group.
pub(crate) fn map_own_ids(identity: Identity, uid: u32, gid: u32) -> Result<(), SandboxError> {
    write("/proc/self/setgroups", "deny").during_at(Step::MapIds, "/proc/self/setgroups")?;
    write("/proc/self/uid_map", &format!("{} {uid} 1", identity.uid))
        .during_at(Step::MapIds, "/proc/self/uid_map")?;
    write("/proc/self/gid_map", &format!("{} {gid} 1", identity.gid))
        .during_at(Step::MapIds, "/proc/self/gid_map")
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

/// What the host process asks for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order<'a> {
    Launch {
        /// Comes back in the answer.
        number: u64,
        spec: Cow<'a, SessionSpec>,
    },
    /// A network namespace that a session gets for one more replica.
    Network {
        /// Comes back in the answer.
        number: u64,
    },
    /// Not answered.
    Prepare { network: NetworkSpec, count: usize, proof: Proof },
}

/// Does what it is asked until the host process is gone.
fn serve(control: BorrowedFd<'_>, ground: &Result<Ground, SandboxError>) -> Result<(), SandboxError> {
    let mut pool = Pool::default();
    loop {
        pool.tend();
        match (channel::try_receive::<Order<'_>>(control)?, ground) {
            (None, _) => pool.wait(Some(control), None)?,
            (Some((Order::Launch { number, spec }, _)), ground) => {
                let launched =
                    ground.as_ref().map_err(Clone::clone).and_then(|ground| ground.launch(&spec, &mut pool));
                let sent = launched.and_then(|(pid, fds)| {
                    let fds = fds.each_ref().map(OwnedFd::as_fd);
                    channel::send(control, &Launched { number, result: Ok(pid) }, &fds)
                });
                // One that the host cannot be told of ends by itself, and the others go on.
                if let Err(error) = sent {
                    channel::send(control, &Launched { number, result: Err(error) }, &[])?;
                }
            }
            (Some((Order::Network { number }, _)), ground) => {
                let made = ground.as_ref().map_err(Clone::clone).and_then(Ground::network);
                let sent = made.and_then(|network| {
                    channel::send(control, &Launched { number, result: Ok(0) }, &[network.as_fd()])
                });
                if let Err(error) = sent {
                    channel::send(control, &Launched { number, result: Err(error) }, &[])?;
                }
            }
            (Some((Order::Prepare { network, count, proof }, _)), Ok(ground)) => {
                // Sessions make their own networks where this fails; then they tell why, too.
                let _ = ground.home().and_then(|home| pool.prepare(network, count, proof, home));
            }
            (Some((Order::Prepare { .. }, _)), Err(_)) => {}
        }
    }
}
