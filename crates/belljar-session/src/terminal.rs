//! A pseudo-terminal whose master side the runtime can read and write.

use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use belljar_client::wire::TerminalSize;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// The master side.
#[derive(Debug)]
pub(crate) struct Terminal(Arc<AsyncFd<OwnedFd>>);

/// What is typed.
#[derive(Debug)]
pub(crate) struct TerminalInput(Arc<AsyncFd<OwnedFd>>);

/// What is shown.
#[derive(Debug)]
pub(crate) struct TerminalOutput(Arc<AsyncFd<OwnedFd>>);

/// Tells the terminal its size.
#[derive(Debug)]
pub(crate) struct TerminalSizer(Arc<AsyncFd<OwnedFd>>);

impl Terminal {
    /// Takes our side of a terminal, and opens the side that becomes a process's terminal.
    pub(crate) fn new(master: OwnedFd, size: TerminalSize) -> std::io::Result<(Self, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        // By the descriptor: its name has a meaning in the session only.
        let end = ioctl_tiocgptpeer(&master, flags)?;
        rustix::io::ioctl_fionbio(&master, true)?;
        let terminal =
            Self(Arc::new(crate::ready_fd::register(master, Interest::READABLE | Interest::WRITABLE)?));
        TerminalSizer(Arc::clone(&terminal.0)).set(size);
        Ok((terminal, end))
    }

    pub(crate) fn split(self) -> (TerminalInput, TerminalOutput, TerminalSizer) {
        (TerminalInput(Arc::clone(&self.0)), TerminalOutput(Arc::clone(&self.0)), TerminalSizer(self.0))
    }
}

impl TerminalSizer {
    pub(crate) fn set(&self, size: TerminalSize) {
        let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
        // A terminal without a size still works.
        let _ = tcsetwinsize(self.0.get_ref(), size);
    }
}

impl AsyncRead for TerminalOutput {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(context))?;
            let space = buffer.initialize_unfilled();
            let read = guard.try_io(|fd| rustix::io::read(fd.get_ref(), &mut *space).map_err(Into::into));
            if let Ok(result) = read {
                return Poll::Ready(result.map(|count| buffer.advance(count)));
            }
        }
    }
}

impl AsyncWrite for TerminalInput {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(context))?;
            let written = guard.try_io(|fd| rustix::io::write(fd.get_ref(), bytes).map_err(Into::into));
            if let Ok(result) = written {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
