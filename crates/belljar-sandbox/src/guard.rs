//! A program's guard in shared isolation: the subreaper to which everything comes that the program leaves.
//!
//! The guard starts the program, reaps, tells the warden of the program's end, and ends when it has no child: then
//! nothing is left of the program. It decides nothing, but for one thing: when the warden is gone, it ends all.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitOptions};

use crate::error::{During as _, SandboxError, Step};
use crate::kin;
use crate::spawn::{self, Descriptors};
use crate::spec::{ExitStatus, ProcessSpec};
use crate::sys;

/// A guard, as its warden holds it.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) pid: i32,
    /// None when it has nothing more to say.
    news: Option<OwnedFd>,
}

/// What a guard tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// The number of the process that becomes the program.
    Started(i32),
    Ended(ExitStatus),
}

const STARTED: i32 = 0;
const EXITED: i32 = 1;
const KILLED: i32 = 2;

/// Starts a guard and below it the program. The second pipe ends without a word when the program runs; else it
/// carries a [`SandboxError`] as JSON.
pub(crate) fn start(
    spec: &ProcessSpec,
    fds: Vec<OwnedFd>,
    control: BorrowedFd<'_>,
    descriptors: u64,
) -> Result<(Guard, OwnedFd), SandboxError> {
    let passed = Descriptors::of(fds, spec)?;
    let (news, teller) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).during(Step::Spawn)?;
    let warden = rustix::process::getpid();
    let (told, failure) = spawn::word_pipe()?;
    let guard = sys::spawn(0, || {
        let life = take_place(warden).and_then(|signals| {
            // Its end is told by `wait`: of the descriptor nothing may be left to be closed twice.
            let program = sys::spawn(0, || spawn::run_shared(spec, &passed, &failure, descriptors))
                .map(|child| child.pid);
            let program = program.during(Step::Fork)?;
            sys::close_all_but(&[control, teller.as_fd(), signals.as_fd()]).during(Step::CloseDescriptors)?;
            tell(teller.as_fd(), STARTED, program);
            attend(signals.as_fd(), teller.as_fd(), program);
            Ok(())
        });
        // Without its warden there is nobody to tell.
        i32::from(life.is_err())
    })
    .during(Step::Fork)?;
    Ok((Guard { pid: guard.pid, news: Some(news) }, told))
}

/// The death of the warden is told to us as a signal, and does not end us.
fn take_place(warden: rustix::process::Pid) -> Result<OwnedFd, SandboxError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM)).during(Step::TieToParent)?;
    if rustix::process::getppid() != Some(warden) {
        return Err(SandboxError::Gone);
    }
    rustix::thread::set_name(c"belljar-guard").during(Step::NameProcess)?;
    kin::become_subreaper()?;
    kin::signals()
}

/// Reaps until there is nothing left to reap. The control socket stays open for as long: when the host sees its
/// end, nothing is left anywhere.
fn attend(signals: BorrowedFd<'_>, teller: BorrowedFd<'_>, program: i32) {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == program => {
                match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => tell(teller, EXITED, code),
                    (None, Some(signal)) => tell(teller, KILLED, signal),
                    (None, None) => {}
                }
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => {
                // An error would only make us look once more.
                let _ = poll(&mut [PollFd::from_borrowed_fd(signals, PollFlags::IN)], None);
                if kin::was_told_to_end(signals) {
                    return kin::end_all(signals, &[]);
                }
            }
            Err(_) => return,
        }
    }
}

fn tell(teller: BorrowedFd<'_>, what: i32, value: i32) {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&what.to_ne_bytes());
    bytes[4..].copy_from_slice(&value.to_ne_bytes());
    // The warden is gone where this fails: two words fit into any pipe.
    let _ = rustix::io::write(teller, &bytes);
}

impl Guard {
    /// Readable when it has something to say.
    pub(crate) fn news(&self) -> Option<BorrowedFd<'_>> {
        self.news.as_ref().map(OwnedFd::as_fd)
    }

    /// The next thing that it has said, if there is one.
    pub(crate) fn hear(&mut self) -> Option<News> {
        let mut bytes = [0; 8];
        match rustix::io::read(self.news.as_ref()?, &mut bytes) {
            Ok(8) => {
                let number = |bytes: &[u8]| bytes.try_into().map_or(0, i32::from_ne_bytes);
                let value = number(&bytes[4..]);
                match number(&bytes[..4]) {
                    STARTED => Some(News::Started(value)),
                    EXITED => Some(News::Ended(ExitStatus::Code(value))),
                    _ => Some(News::Ended(ExitStatus::Signal(value))),
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => None,
            _ => {
                self.news = None;
                None
            }
        }
    }
}
