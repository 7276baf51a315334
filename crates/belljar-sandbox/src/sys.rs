//! The system calls that rustix does not offer safely: forking, dropping privileges, attributes of mounts,
//! `execve`. Everything here is for single-threaded processes.

use std::ffi::{CStr, CString, c_int, c_long, c_uint, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::Errno;

/// A child that has just been made.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
}

/// Makes a child in new namespaces (`CLONE_NEW…`, or 0), which runs `body` and ends with its value.
///
/// The caller has a single thread, so the child may do whatever the caller may.
pub(crate) fn spawn(namespaces: c_int, body: impl FnOnce() -> i32) -> Result<Child, Errno> {
    let flags = c_long::from(namespaces | libc::CLONE_PIDFD | libc::SIGCHLD);
    let mut pidfd: RawFd = -1;
    // SAFETY: without CLONE_VM and with a null stack, clone(2) returns twice, as fork does; the first three
    // arguments are the same on every architecture that we build for, and the third points to a live integer
    // that CLONE_PIDFD fills in. The process has one thread, so no lock is held by another in the copy.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, &raw mut pidfd, 0_usize, 0_usize) };
    match pid {
        -1 => Err(last_error()),
        0 => end(body),
        pid => {
            // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Child { pid: i32::try_from(pid).map_err(|_| Errno::OVERFLOW)?, pidfd })
        }
    }
}

/// Runs `body` in a process of its own, in new namespaces (`CLONE_NEW…`), which ends with it. Nothing is copied
/// for it, as it would be for a child: it works in our memory and with our descriptors, while we stand still. What it
/// leaves is for us to reap.
pub(crate) fn detour<T, F: FnOnce() -> T>(namespaces: c_int, body: F) -> Result<T, Errno> {
    const STACK: usize = 128 * 1024;
    struct Way<T, F> {
        body: Option<F>,
        result: Option<T>,
    }
    extern "C" fn go<T, F: FnOnce() -> T>(way: *mut c_void) -> c_int {
        // SAFETY: it is the value below, whose owner stands still as long as we run.
        let way = unsafe { &mut *way.cast::<Way<T, F>>() };
        let body = way.body.take();
        // A panic ends here, at the bottom of this stack.
        way.result = catch_unwind(AssertUnwindSafe(|| body.map(|body| body()))).ok().flatten();
        0
    }
    let mut stack = vec![MaybeUninit::<u128>::uninit(); STACK / size_of::<u128>()];
    let mut way = Way { body: Some(body), result: None };
    let flags = namespaces | libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES | libc::SIGCHLD;
    let (top, argument) = (stack.as_mut_ptr_range().end.cast(), (&raw mut way).cast());
    // SAFETY: the stack grows downwards from its end, which is aligned. CLONE_VFORK has our only thread stand still
    // until the other process has ended, so stack and value outlive it, and nothing is used by both at once.
    if unsafe { libc::clone(go::<T, F>, top, flags, argument) } == -1 {
        return Err(last_error());
    }
    way.result.ok_or(Errno::IO)
}

/// Makes a child of a process that may have other threads, and gives its number.
///
/// The C library's own fork keeps memory allocation usable in the child. `body` must not use anything else that
/// another thread may have locked: the environment, standard streams.
pub(crate) fn fork_beside_threads(body: impl FnOnce() -> i32) -> Result<rustix::process::Pid, Errno> {
    // SAFETY: what the child may do is said above, and is for the caller to see to.
    match unsafe { libc::fork() } {
        -1 => Err(last_error()),
        0 => end(body),
        pid => rustix::process::Pid::from_raw(pid).ok_or(Errno::IO),
    }
}

/// Runs a child's whole life. A panic ends it too: it must never unwind into the frames of the caller that it
/// is a copy of.
fn end(body: impl FnOnce() -> i32) -> ! {
    let code = catch_unwind(AssertUnwindSafe(body)).unwrap_or(libc::EXIT_FAILURE);
    // SAFETY: _exit only ends the process, without the handlers and buffers that belong to its original.
    unsafe { libc::_exit(code) }
}

pub(crate) fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// The result of a system call that answers -1 where it failed.
fn check(result: c_long) -> Result<(), Errno> {
    if result == -1 { Err(last_error()) } else { Ok(()) }
}

/// Closes every descriptor but the standard three and these.
pub(crate) fn close_all_but(keep: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut keep: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).filter(|fd| *fd > 2).collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep {
        if first < fd {
            close_range(first, fd - 1, 0)?;
        }
        first = fd + 1;
    }
    close_range(first, RawFd::MAX, 0)
}

/// Every descriptor but the standard three is closed by the next `execve`.
pub(crate) fn close_all_on_exec() -> Result<(), Errno> {
    close_range(3, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: RawFd, last: RawFd, flags: c_uint) -> Result<(), Errno> {
    // SAFETY: the callers name descriptors of which no owner is used afterwards in this process.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) })
}

/// Makes a mount (and what is below it, if `recursive`) read-only.
pub(crate) fn set_read_only(mount: BorrowedFd<'_>, recursive: bool) -> Result<(), Errno> {
    set_attribute(mount, libc::MOUNT_ATTR_RDONLY, recursive)
}

/// Makes the devices of a mount, and of what is below it, unusable.
pub(crate) fn forbid_devices(mount: BorrowedFd<'_>) -> Result<(), Errno> {
    set_attribute(mount, libc::MOUNT_ATTR_NODEV, true)
}

fn set_attribute(mount: BorrowedFd<'_>, attribute: u64, recursive: bool) -> Result<(), Errno> {
    let attributes = libc::mount_attr { attr_set: attribute, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, the attributes are a live value of the size that is said.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })
}

/// Duplicates a descriptor to a number that is open beyond the next `execve`. Whatever had the number is closed.
pub(crate) fn place(fd: BorrowedFd<'_>, number: RawFd) -> Result<(), Errno> {
    // SAFETY: the caller says that nobody in this process uses what has the number.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }.into())
}

/// As many signals as there are.
const SIGNALS: c_int = 64;

/// What a signal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposition {
    Default,
    Ignore,
}

pub(crate) fn set_disposition(signal: c_int, disposition: Disposition) -> Result<(), Errno> {
    let handler = match disposition {
        Disposition::Default => libc::SIG_DFL,
        Disposition::Ignore => libc::SIG_IGN,
    };
    // SAFETY: neither value is a function that could be called.
    if unsafe { libc::signal(signal, handler) } == libc::SIG_ERR { Err(last_error()) } else { Ok(()) }
}

/// Every signal does what it does by default, and none is blocked: what a program expects at its start.
pub(crate) fn reset_signals() -> Result<(), Errno> {
    // The kernel's own structure for a signal's action, which is nowhere larger; all zero is the default action.
    let default = [0_u64; 8];
    // The call itself, because the C library keeps two of the signals from us, which may be ignored all the same.
    for signal in (1..=SIGNALS).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal)) {
        // SAFETY: the action is a live value, larger than what is read, and names no function; a null pointer
        // says that the old one is not wanted; a set of signals has 64 bits, which are 8 bytes.
        check(unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        })?;
    }
    mask_signals(&[])
}

/// Blocks exactly these signals.
fn mask_signals(signals: &[c_int]) -> Result<(), Errno> {
    let set = signal_set(signals);
    // SAFETY: the set is a live value, and a null pointer says that the old one is not wanted.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) }.into())
}

/// Blocks these signals and makes a (non-blocking) descriptor that is readable when one is pending.
pub(crate) fn signals_as_messages(signals: &[c_int]) -> Result<OwnedFd, Errno> {
    mask_signals(signals)?;
    let set = signal_set(signals);
    // SAFETY: the set is a live value; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd == -1 {
        return Err(last_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn signal_set(signals: &[c_int]) -> libc::sigset_t {
    // SAFETY: a signal set is plain data, for which all zero is a value.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is a live value. It cannot fail for a valid pointer.
    unsafe { libc::sigemptyset(&raw mut set) };
    for &signal in signals {
        // SAFETY: the set is a live, initialised value; an invalid number is refused without harm.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

/// Gives up every capability for good: none in any set, none to be had by an `execve`.
pub(crate) fn drop_capabilities() -> Result<(), Errno> {
    rustix::thread::set_no_new_privs(true)?;
    rustix::thread::clear_ambient_capability_set()?;
    for capability in 0..64 {
        // SAFETY: PR_CAPBSET_DROP takes a number and touches no memory.
        match check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }.into()) {
            Ok(()) => {}
            // The first number that the kernel does not know.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    let none = rustix::thread::CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none },
    )
}

/// Gives up every capability but those that let a plain user handle root's files; these pass on by `execve`.
pub(crate) fn keep_file_capabilities() -> Result<(), Errno> {
    use rustix::thread::CapabilitySet;
    let had = rustix::thread::capabilities(None)?.permitted;
    let wanted = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH | CapabilitySet::FOWNER;
    let kept = had & wanted;
    rustix::thread::set_capabilities(
        None,
        rustix::thread::CapabilitySets { effective: kept, permitted: kept, inheritable: kept },
    )?;
    for one in kept.iter() {
        rustix::thread::configure_capability_in_ambient_set(one, true)?;
    }
    Ok(())
}

/// A list of strings as `execve` wants it.
#[derive(Debug)]
pub(crate) struct Strings {
    owned: Vec<CString>,
}

impl Strings {
    /// None where one of them has a zero byte in it.
    pub(crate) fn new(strings: impl IntoIterator<Item = String>) -> Option<Self> {
        let owned = strings.into_iter().map(CString::new).collect::<Result<_, _>>().ok()?;
        Some(Self { owned })
    }

    fn pointers(&self) -> Vec<*const libc::c_char> {
        self.owned.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    }
}

/// Becomes another program. Returns only where that failed.
pub(crate) fn execve(program: &CStr, argv: &Strings, env: &Strings) -> Errno {
    let (argv, env) = (argv.pointers(), env.pointers());
    // SAFETY: the program is a C string; both lists are C strings that outlive the call, ended by a null.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    last_error()
}

/// Sends a signal to a process. The number is checked by the kernel: real-time signals pass too.
pub(crate) fn kill(pid: i32, signal: c_int) -> Result<(), Errno> {
    // SAFETY: kill touches no memory of ours.
    check(unsafe { libc::kill(pid, signal) }.into())
}
