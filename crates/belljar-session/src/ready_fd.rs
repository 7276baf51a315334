//! Descriptors that the runtime can wait on.

use std::os::fd::{AsFd, AsRawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor with the runtime. It owns what it registers (`AsFd`), so the descriptor cannot be
/// closed while the runtime waits on it; that is the whole condition of the constructor without a check, which
/// only `unsafe` code could call.
#[expect(deprecated, reason = "its successor is unsafe to call, and this crate forbids unsafe code")]
pub(crate) fn register<T: AsFd + AsRawFd>(fd: T, interest: Interest) -> std::io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(fd, interest)
}
