//! Starting a process in a session: the way from a copy of its init to the program of a tenant.

use std::ffi::CString;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::thread::{CapabilitiesSecureBits, LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::cgroup;
use crate::error::{During as _, SandboxError, Step};
use crate::identity::{Identity, plain_identity};
use crate::limits;
use crate::mount::Tree;
use crate::slot::enter_network;
use crate::spec::{Place, ProcessSpec};
use crate::sys::{self, Child, Strings};
use crate::target;
use crate::tree;
use crate::zygote::{tie_to_parent, unshare};

/// Descriptors from here on are nobody's standard ones or listeners.
const FIRST_OUT_OF_THE_WAY: i32 = 200;

/// What every process of a session gets from its init.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) identity: Identity,
    pub(crate) umask: Mode,
    /// The user namespace without power.
    pub(crate) tenants: OwnedFd,
    /// How many processes the session may have.
    pub(crate) processes: u32,
    /// How many descriptors a process has that does not ask for more.
    pub(crate) descriptors: u64,
}

/// What is passed to a process from outside.
#[derive(Debug)]
pub(crate) struct Descriptors {
    standard: [OwnedFd; 3],
    listeners: Vec<OwnedFd>,
    /// Entrances of control groups.
    groups: Vec<OwnedFd>,
}

impl Descriptors {
    /// Tells them apart as they travel beside a process.
    pub(crate) fn of(fds: Vec<OwnedFd>, spec: &ProcessSpec) -> Result<Self, SandboxError> {
        let mut fds = fds.into_iter();
        let standard: Vec<OwnedFd> = fds.by_ref().take(3).collect();
        let standard = <[OwnedFd; 3]>::try_from(standard).map_err(|_| SandboxError::Protocol)?;
        let listeners: Vec<OwnedFd> = fds.by_ref().take(spec.listeners.len()).collect();
        if listeners.len() < spec.listeners.len() {
            return Err(SandboxError::Protocol);
        }
        Ok(Self { standard, listeners, groups: fds.collect() })
    }
}

/// A pipe for the word of a process that could not become its program. The reader does not wait.
pub(crate) fn word_pipe() -> Result<(OwnedFd, OwnedFd), SandboxError> {
    // Only the reading end: the child may take its time to write.
    let (told, teller) = pipe_with(PipeFlags::CLOEXEC).during(Step::Spawn)?;
    rustix::io::ioctl_fionbio(&told, true).during(Step::Spawn)?;
    // Out of the way of the numbers that listeners get.
    let teller = rustix::io::fcntl_dupfd_cloexec(&teller, FIRST_OUT_OF_THE_WAY).during(Step::Spawn)?;
    Ok((told, teller))
}

/// Forks a process on its way to its program. The pipe ends without a word when the program runs; else it
/// carries a [`SandboxError`] as JSON.
pub(crate) fn start(
    spec: &ProcessSpec,
    network: BorrowedFd<'_>,
    passed: &Descriptors,
    ground: &Ground,
) -> Result<(Child, OwnedFd), SandboxError> {
    let (told, teller) = word_pipe()?;
    let child = sys::spawn(0, || {
        let Err(error) = become_program(spec, network, passed, ground);
        // Without its init there is nobody to tell.
        let _ = serde_json::to_vec(&error).map(|text| File::from(teller).write_all(&text));
        libc::EXIT_FAILURE
    })
    .during(Step::Fork)?;
    Ok((child, told))
}

/// In the child: every step in the order that the kernel asks for. Networks and mounts need the power of the
/// session's user namespace, so they come before the tenants' is entered.
fn become_program(
    spec: &ProcessSpec,
    network: BorrowedFd<'_>,
    passed: &Descriptors,
    ground: &Ground,
) -> Result<std::convert::Infallible, SandboxError> {
    // First, so that everything after it is counted.
    cgroup::enter(&passed.groups).during(Step::EnterGroup)?;
    limits::give_way_in_need_of_memory()?;
    if spec.place != Place::Session {
        enter_network(network)?;
    }
    let is_replica = spec.place != Place::Session;
    if is_replica || rustix::system::uname().nodename().to_bytes() != spec.hostname.as_bytes() {
        unshare(UnshareFlags::NEWUTS).during(Step::SetHostName)?;
        rustix::system::sethostname(spec.hostname.as_bytes()).during(Step::SetHostName)?;
    }
    if is_replica || !spec.binds.is_empty() || !spec.files.is_empty() {
        unshare(UnshareFlags::NEWNS).during(Step::NewMountNamespace)?;
        arrange_files(spec, ground.identity)?;
    }
    become_tenant(ground)?;
    limits::bound_process(ground.processes, ground.descriptors)?;
    rustix::process::umask(ground.umask);
    become_itself(spec, passed)
}

/// The last steps, in either isolation: a terminal session of its own, its descriptors and directory.
fn become_itself(spec: &ProcessSpec, passed: &Descriptors) -> Result<std::convert::Infallible, SandboxError> {
    rustix::process::setsid().during(Step::NewTerminalSession)?;
    let [stdin, stdout, stderr] = &passed.standard;
    if spec.terminal {
        rustix::process::ioctl_tiocsctty(stdin).during(Step::TakeTerminal)?;
    }
    rustix::stdio::dup2_stdin(stdin).during(Step::PlaceDescriptors)?;
    rustix::stdio::dup2_stdout(stdout).during(Step::PlaceDescriptors)?;
    rustix::stdio::dup2_stderr(stderr).during(Step::PlaceDescriptors)?;
    sys::close_all_on_exec().during(Step::CloseDescriptors)?;
    place_listeners(&passed.listeners)?;
    match rustix::process::chdir(&spec.cwd) {
        Ok(()) => {}
        Err(Errno::NOENT | Errno::NOTDIR) => {
            return Err(SandboxError::NoSuchDirectory { path: spec.cwd.clone() });
        }
        Err(errno) => return Err(errno).during_at(Step::ChangeDirectory, &spec.cwd),
    }
    sys::reset_signals().during(Step::ResetSignals)?;
    execute(spec)
}

/// Listeners are at 3 and up, where `sd_listen_fds` looks for them, and pass to the program.
fn place_listeners(listeners: &[OwnedFd]) -> Result<(), SandboxError> {
    let mut aside = Vec::new();
    for listener in listeners {
        let fd = rustix::io::fcntl_dupfd_cloexec(listener, FIRST_OUT_OF_THE_WAY);
        aside.push(fd.during(Step::PlaceDescriptors)?);
    }
    for (number, fd) in (3..).zip(&aside) {
        sys::place(fd.as_fd(), number).during(Step::PlaceDescriptors)?;
    }
    Ok(())
}

/// In the child of a guard: becomes an ordinary program of the caller. Where the caller is root, replicas and tasks
/// become a plain user, with root's rights to files and nothing else of root's, because there are servers that
/// refuse root; commands stay who we are.
pub(crate) fn run_shared(
    spec: &ProcessSpec,
    passed: &Descriptors,
    teller: &OwnedFd,
    descriptors: u64,
) -> i32 {
    let guard = rustix::process::getppid();
    let become_program = || {
        cgroup::enter(&passed.groups).during(Step::EnterGroup)?;
        limits::give_way_in_need_of_memory()?;
        if spec.main || spec.place != Place::Session {
            become_plain()?;
        }
        rustix::thread::set_no_new_privs(true).during(Step::DropCapabilities)?;
        // After the change of the user, which would clear it. The guard may have died before.
        tie_to_parent()?;
        if rustix::process::getppid() != guard {
            return Err(SandboxError::Gone);
        }
        limits::bound_shared_process(descriptors)?;
        become_itself(spec, passed)
    };
    let Err::<std::convert::Infallible, _>(error) = become_program();
    // Without its warden there is nobody to tell.
    let _ = serde_json::to_vec(&error).map(|text| rustix::io::write(teller, &text));
    libc::EXIT_FAILURE
}

fn become_plain() -> Result<(), SandboxError> {
    let Some(identity) = plain_identity() else { return Ok(()) };
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    rustix::thread::set_keep_capabilities(true).during(Step::BecomeTenant)?;
    // So that access(2) too sees a file as open(2) does. Where we may not say it, programs that ask before they open
    // believe less than is true.
    let bits = rustix::thread::capabilities_secure_bits().unwrap_or(CapabilitiesSecureBits::empty());
    let _ = rustix::thread::set_capabilities_secure_bits(bits | CapabilitiesSecureBits::NO_SETUID_FIXUP);
    rustix::thread::set_thread_groups(&[]).during(Step::BecomeTenant)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).during(Step::BecomeTenant)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).during(Step::BecomeTenant)?;
    sys::keep_file_capabilities().during(Step::DropCapabilities)
}

/// The process's own view: its network at /sys, what is bound for it, what was generated for it.
fn arrange_files(spec: &ProcessSpec, identity: Identity) -> Result<(), SandboxError> {
    // Taken first: making a place for one must not hide the source of another.
    let mut binds: Vec<(&Path, Tree)> = Vec::new();
    for bind in &spec.binds {
        let tree = Tree::of(&bind.source).during_at(Step::Bind, &bind.source)?;
        binds.push((&bind.target, tree));
    }
    if spec.place != Place::Session {
        tree::mount_sys()?;
    }
    // Those above come before those below, which they would hide.
    binds.sort_by_key(|(target, _)| target.components().count());
    for (target, tree) in binds {
        target::show(tree, target, identity)?;
    }
    tree::generate(&spec.files, identity)
}

fn become_tenant(ground: &Ground) -> Result<(), SandboxError> {
    move_into_link_name_space(ground.tenants.as_fd(), Some(LinkNameSpaceType::User))
        .during(Step::EnterUserNamespace)?;
    let (uid, gid) = (Uid::from_raw(ground.identity.uid), Gid::from_raw(ground.identity.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid).during(Step::BecomeTenant)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).during(Step::BecomeTenant)?;
    sys::drop_capabilities().during(Step::DropCapabilities)
}

/// Looks the program up, as a shell would, and becomes it.
fn execute(spec: &ProcessSpec) -> Result<std::convert::Infallible, SandboxError> {
    let argv0 = spec.argv.first().cloned().unwrap_or_default();
    let not_found = || SandboxError::CommandNotFound { argv0: argv0.clone() };
    let not_executable =
        |errno: Errno| Err(SandboxError::NotExecutable { argv0: argv0.clone(), errno: errno.raw_os_error() });
    let listeners = (!spec.listeners.is_empty()).then(|| {
        let pid = rustix::process::getpid().as_raw_nonzero();
        let (count, names) = (spec.listeners.len(), spec.listeners.join(":"));
        [format!("LISTEN_FDS={count}"), format!("LISTEN_PID={pid}"), format!("LISTEN_FDNAMES={names}")]
    });
    let variables = spec.env.iter().map(|(name, value)| format!("{name}={value}"));
    let variables = variables.chain(listeners.into_iter().flatten());
    let (Some(argv), Some(env)) = (Strings::new(spec.argv.iter().cloned()), Strings::new(variables)) else {
        return not_executable(Errno::INVAL);
    };
    if argv0.is_empty() {
        return Err(not_found());
    }
    let candidates: Vec<PathBuf> = if argv0.contains('/') {
        vec![PathBuf::from(&argv0)]
    } else {
        let path = spec.env.iter().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value.as_str());
        // An empty entry means the current directory: that is never meant.
        path.split(':').filter(|entry| !entry.is_empty()).map(|entry| Path::new(entry).join(&argv0)).collect()
    };
    let mut refused = None;
    for candidate in candidates {
        let Ok(program) = CString::new(candidate.as_os_str().as_bytes()) else { continue };
        match sys::execve(&program, &argv, &env) {
            // It is there: what is not there is its interpreter.
            Errno::NOENT if exists(&candidate) => return not_executable(Errno::NOENT),
            Errno::NOENT | Errno::NOTDIR => {}
            // A directory, or not for us; there may be another further down.
            Errno::ACCESS => refused = Some(Errno::ACCESS),
            errno => return not_executable(errno),
        }
    }
    match refused {
        Some(errno) => not_executable(errno),
        None => Err(not_found()),
    }
}

fn exists(path: &Path) -> bool {
    rustix::fs::statat(CWD, path, AtFlags::empty()).is_ok()
}
