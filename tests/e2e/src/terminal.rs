//! A command on a terminal of its own.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::command::Cmd;
use crate::wait::{LONG, eventually};

/// The terminal's other side: what a person sees and types.
#[derive(Debug)]
pub struct Terminal {
    master: fs_err::File,
    child: Child,
    text: Arc<Mutex<Vec<u8>>>,
    /// Ends when nobody holds the terminal's other side any more and all of it has been read.
    shown: Receiver<()>,
}

impl Terminal {
    /// Starts the command; `fixture` makes the terminal its controlling one.
    #[track_caller]
    pub(crate) fn start(cmd: Cmd, fixture: &Path, rows: u16, columns: u16) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&master).expect("a terminal");
        unlockpt(&master).expect("a terminal");
        tcsetwinsize(master.as_fd(), size(rows, columns)).expect("sets the size");
        let slave =
            ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
                .expect("a terminal");
        let end = |fd: &rustix::fd::OwnedFd| Stdio::from(fd.try_clone().expect("a descriptor"));
        let plain = cmd.command();
        let mut command = std::process::Command::new(fixture);
        command.arg("with-terminal").arg("--").arg(plain.get_program()).args(plain.get_args());
        command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(plain.get_current_dir().expect("is always given"));
        command.stdin(end(&slave)).stdout(end(&slave)).stderr(end(&slave));
        let child = command.spawn().expect("starts the command");
        drop((slave, command));

        let text = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&text);
        let (tell, shown) = channel();
        let mut reader = std::fs::File::from(master.try_clone().expect("a descriptor"));
        std::thread::spawn(move || {
            let _ends_with_us: Sender<()> = tell;
            let mut buffer = [0; 4096];
            // A terminal that nobody holds any more answers with an error: that is its end.
            while let Ok(length @ 1..) = std::io::Read::read(&mut reader, &mut buffer) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..length]);
            }
        });
        let master = fs_err::File::from_parts(std::fs::File::from(master), "the terminal");
        Self { master, child, text, shown }
    }

    /// What has been shown so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    #[track_caller]
    pub fn until_shows(&self, text: &str) {
        eventually(&format!("`{text}` on the terminal"), LONG, || self.text().contains(text).then_some(()));
    }

    pub fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("writes to the terminal");
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(self.master.as_fd(), size(rows, columns)).expect("sets the size");
    }

    /// Waits for the command's end and answers all that was shown.
    #[track_caller]
    pub fn finish(mut self) -> (ExitStatus, String) {
        let status =
            eventually("the command on the terminal ends", LONG, || self.child.try_wait().ok().flatten());
        let end = self.shown.recv_timeout(LONG);
        assert_eq!(
            end,
            Err(RecvTimeoutError::Disconnected),
            "something still holds the terminal: {}",
            self.text()
        );
        (status, self.text())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
