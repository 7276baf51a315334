//! Reading and refusing system calls of a stopped process, and which of them may fail with what.

use nix::errno::Errno;
use nix::unistd::Pid;

/// A call that is about to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) number: i64,
    /// The first argument; a descriptor where it is one.
    pub(crate) first: i32,
}

#[cfg(target_arch = "x86_64")]
pub(crate) fn entered(pid: Pid) -> nix::Result<Call> {
    let regs = nix::sys::ptrace::getregs(pid)?;
    Ok(Call { number: regs.orig_rax.cast_signed(), first: low(regs.rdi) })
}

/// Turns the call that is about to be made into none.
#[cfg(target_arch = "x86_64")]
pub(crate) fn skip(pid: Pid) -> nix::Result<()> {
    let mut regs = nix::sys::ptrace::getregs(pid)?;
    regs.orig_rax = u64::MAX;
    nix::sys::ptrace::setregs(pid, regs)
}

/// What the call that has been made, or skipped, answers.
#[cfg(target_arch = "x86_64")]
pub(crate) fn answer(pid: Pid, errno: i32) -> nix::Result<()> {
    let mut regs = nix::sys::ptrace::getregs(pid)?;
    regs.rax = i64::from(-errno).cast_unsigned();
    nix::sys::ptrace::setregs(pid, regs)
}

#[cfg(target_arch = "x86_64")]
#[expect(clippy::cast_possible_truncation, reason = "a descriptor is the lower half of its register")]
fn low(register: u64) -> i32 {
    (register as u32).cast_signed()
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn entered(_: Pid) -> nix::Result<Call> {
    Err(Errno::ENOTSUP)
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn skip(_: Pid) -> nix::Result<()> {
    Err(Errno::ENOTSUP)
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn answer(_: Pid, _: i32) -> nix::Result<()> {
    Err(Errno::ENOTSUP)
}

/// Calls that may bring a session further before it has a timeline, or remove what is left of it.
pub(crate) const MAKES: &[i64] = &[
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
];

/// What calls are made to fail with.
pub(crate) const ERRORS: &[i32] =
    &[Errno::ENOMEM as i32, Errno::EMFILE as i32, Errno::ENOSPC as i32, Errno::EIO as i32];

/// Whether the manual lists this error for this call.
pub(crate) fn may_fail(number: i64, errno: i32) -> bool {
    let calls: &[i64] = match Errno::from_raw(errno) {
        Errno::ENOMEM => &[
            libc::SYS_mmap,
            libc::SYS_brk,
            libc::SYS_mprotect,
            libc::SYS_mremap,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_execve,
            libc::SYS_socket,
            libc::SYS_socketpair,
            libc::SYS_sendmsg,
            libc::SYS_recvmsg,
            libc::SYS_sendto,
            libc::SYS_mount,
            libc::SYS_move_mount,
            libc::SYS_open_tree,
            libc::SYS_fsopen,
            libc::SYS_fsmount,
            libc::SYS_fsconfig,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_pivot_root,
            libc::SYS_openat,
            libc::SYS_mkdirat,
            libc::SYS_mkdir,
            libc::SYS_unlink,
            libc::SYS_unlinkat,
            libc::SYS_symlinkat,
            libc::SYS_rename,
            libc::SYS_statx,
            libc::SYS_readlink,
            libc::SYS_readlinkat,
            libc::SYS_epoll_create1,
            libc::SYS_epoll_ctl,
            libc::SYS_eventfd2,
            libc::SYS_poll,
            libc::SYS_ppoll,
            libc::SYS_pidfd_open,
            libc::SYS_accept4,
            libc::SYS_flock,
            libc::SYS_pipe2,
            libc::SYS_signalfd4,
            libc::SYS_memfd_create,
            libc::SYS_inotify_init1,
            libc::SYS_getdents64,
            libc::SYS_chdir,
        ],
        Errno::EMFILE => &[
            libc::SYS_openat,
            libc::SYS_open,
            libc::SYS_openat2,
            libc::SYS_socket,
            libc::SYS_socketpair,
            libc::SYS_dup,
            libc::SYS_dup3,
            libc::SYS_pipe2,
            libc::SYS_epoll_create1,
            libc::SYS_eventfd2,
            libc::SYS_accept4,
            libc::SYS_pidfd_open,
            libc::SYS_memfd_create,
            libc::SYS_signalfd4,
            libc::SYS_timerfd_create,
            libc::SYS_inotify_init1,
            libc::SYS_open_tree,
            libc::SYS_fsopen,
            libc::SYS_fsmount,
            libc::SYS_clone3,
        ],
        Errno::ENOSPC => &[
            libc::SYS_write,
            libc::SYS_pwrite64,
            libc::SYS_writev,
            libc::SYS_mkdir,
            libc::SYS_mkdirat,
            libc::SYS_symlink,
            libc::SYS_symlinkat,
            libc::SYS_rename,
            libc::SYS_renameat,
            libc::SYS_link,
            libc::SYS_linkat,
            libc::SYS_ftruncate,
            libc::SYS_fallocate,
            libc::SYS_fsync,
            libc::SYS_fdatasync,
            libc::SYS_mknodat,
            libc::SYS_bind,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_unshare,
            libc::SYS_epoll_ctl,
            libc::SYS_mount,
        ],
        Errno::EIO => &[
            libc::SYS_read,
            libc::SYS_pread64,
            libc::SYS_write,
            libc::SYS_pwrite64,
            libc::SYS_readv,
            libc::SYS_writev,
            libc::SYS_fsync,
            libc::SYS_fdatasync,
            libc::SYS_ftruncate,
            libc::SYS_getdents64,
            libc::SYS_readlink,
            libc::SYS_readlinkat,
            libc::SYS_unlink,
            libc::SYS_unlinkat,
            libc::SYS_rmdir,
            libc::SYS_execve,
            libc::SYS_fchmod,
            libc::SYS_fchmodat,
        ],
        _ => &[],
    };
    calls.contains(&number)
}

/// Whether only files of a disk make this call fail so; its first argument is the descriptor.
pub(crate) fn asks_a_disk(number: i64, errno: i32) -> bool {
    const OF_FILES: &[i64] = &[
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_pread64,
        libc::SYS_pwrite64,
    ];
    errno != Errno::ENOMEM as i32 && OF_FILES.contains(&number)
}
