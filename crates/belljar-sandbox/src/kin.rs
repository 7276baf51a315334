//! Descendants in shared isolation: who they are, and the end of them all.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::WaitOptions;
use rustix::time::Timespec;

use crate::error::{During as _, SandboxError, Step};
use crate::processes::{self, Process};
use crate::sys;

/// How long to wait before what was killed is looked at again.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000 };

/// How long guards have for what is below them.
const GUARDS_END_WITHIN: Duration = Duration::from_millis(500);

/// From here on, what our descendants leave behind comes to us.
pub(crate) fn become_subreaper() -> Result<(), SandboxError> {
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own)).during(Step::TieToParent)
}

/// Signals that mean something to a warden or a guard, as messages: its children change, it is to end. Those of
/// a terminal are blocked too and never read.
pub(crate) fn signals() -> Result<OwnedFd, SandboxError> {
    let signals = [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP];
    sys::signals_as_messages(&signals).during(Step::BlockSignals)
}

/// Takes in the signals that have come; whether one of them was to end.
pub(crate) fn was_told_to_end(signals: BorrowedFd<'_>) -> bool {
    /// The kernel's structure for one signal; its number comes first.
    const SIZE: usize = 128;
    let mut bytes = [0; 8 * SIZE];
    let mut told = false;
    while let Ok(count) = rustix::io::read(signals, &mut bytes) {
        let numbers = bytes[..count].chunks(SIZE).filter_map(|one| one.get(..4)?.try_into().ok());
        told |= numbers.map(i32::from_ne_bytes).any(|number| number == libc::SIGTERM);
    }
    told
}

/// Everybody below a process, not itself.
pub(crate) fn descendants(all: &[Process], of: i32) -> Vec<i32> {
    let mut found = Vec::new();
    let mut above = vec![of];
    while let Some(parent) = above.pop() {
        for child in all.iter().filter(|one| one.parent == parent) {
            // The table is not of one moment: a number that was used again in between could close a circle.
            if child.pid != of && !found.contains(&child.pid) {
                found.push(child.pid);
                above.push(child.pid);
            }
        }
    }
    found
}

/// Kills all that is below us until nothing is: whoever has no child has no descendant, since orphans come to us.
///
/// Guards are told to end instead, and do so when there is nothing below them: should we be killed on the way, they
/// go on. One that does not end in time is killed too.
pub(crate) fn end_all(signals: BorrowedFd<'_>, guards: &[i32]) {
    let own = own_pid();
    let deadline = Instant::now() + GUARDS_END_WITHIN;
    loop {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        // A table that cannot be read now can be read in a moment.
        let all = processes::all().unwrap_or_default();
        for pid in descendants(&all, own) {
            let is_guard = guards.contains(&pid) && Instant::now() < deadline;
            // It may be gone already, which is what is wanted.
            let _ = sys::kill(pid, if is_guard { libc::SIGTERM } else { libc::SIGKILL });
        }
        let _ = poll(&mut [PollFd::from_borrowed_fd(signals, PollFlags::IN)], Some(&PAUSE));
        was_told_to_end(signals);
    }
}

pub(crate) fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

#[cfg(test)]
mod tests {
    use super::descendants;
    use crate::processes::Process;

    #[test]
    fn everybody_below_is_found_however_the_table_is_ordered() {
        let line = |pid: i32, parent: i32| {
            let stat = format!("{pid} (x) S {parent} 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 0 0");
            Process::parse(stat.as_bytes()).unwrap()
        };
        let all = [line(5, 4), line(4, 2), line(3, 2), line(9, 8), line(8, 1)];
        let mut found = descendants(&all, 2);
        found.sort_unstable();
        assert_eq!(found, [3, 4, 5]);
        assert!(descendants(&all, 9).is_empty());
    }
}
