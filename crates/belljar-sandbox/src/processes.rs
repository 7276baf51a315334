//! Which processes there are in a session, and where each of them runs.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;

use crate::error::{During as _, SandboxError, Step};
use crate::slot::Slot;
use crate::spec::Place;

/// A line of the table of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    /// Its terminal session: for a unit and what it started, the unit's own number.
    pub(crate) session: i32,
    state: char,
    /// It is on its way out, and may have let go of its namespaces.
    pub(crate) is_ending: bool,
    threads: u32,
}

/// The kernel's mark of a task that is ending, among its flags.
const PF_EXITING: u64 = 4;

impl Process {
    /// Reads `/proc/PID/stat`. The command's name in it may contain anything, so it counts from its end.
    fn parse(stat: &str) -> Option<Self> {
        let pid = stat.split(' ').next()?.parse().ok()?;
        let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let session = fields.nth(1)?.parse().ok()?;
        let flags: u64 = fields.nth(2)?.parse().ok()?;
        let threads = fields.nth(10)?.parse().ok()?;
        let is_ending = flags & PF_EXITING != 0 && threads <= 1;
        Some(Self { pid, parent, session, state, is_ending, threads })
    }

    /// A first thread that has ended before the others is no end of the process.
    fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X') && self.threads <= 1
    }
}

/// Every live process of the session but pid 1.
pub(crate) fn all() -> Result<Vec<Process>, SandboxError> {
    let mut all = Vec::new();
    for pid in numbers("/proc").during(Step::ReadProcesses)? {
        // One that has ended since is no longer one of them.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        all.extend(stat.as_deref().and_then(Process::parse).filter(|one| one.pid != 1 && !one.is_dead()));
    }
    Ok(all)
}

fn numbers(directory: &str) -> std::io::Result<Vec<i32>> {
    let entries = std::fs::read_dir(directory)?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// The words of its command line.
pub(crate) fn command(pid: i32) -> Vec<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.strip_suffix(&[0]).unwrap_or(&line).split(|byte| *byte == 0);
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// Whether every thread of a process stands still, or is dead.
pub(crate) fn is_still(pid: i32) -> bool {
    // A process that has ended cannot move either.
    let Ok(threads) = numbers(&format!("/proc/{pid}/task")) else { return true };
    threads.into_iter().all(|thread| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/stat"));
        match stat.ok().as_deref().and_then(Process::parse) {
            // Stopped, traced, dead, or gone.
            Some(Process { state: 'T' | 't' | 'Z' | 'X', .. }) | None => true,
            // It waits for its child, which is stopped, to become another program: it cannot see a signal.
            Some(Process { state: 'D', .. }) => is_in_clone(pid, thread),
            Some(_) => false,
        }
    })
}

fn is_in_clone(pid: i32, thread: i32) -> bool {
    let call = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/syscall")).unwrap_or_default();
    let number = call.split(' ').next().and_then(|number| number.parse::<i64>().ok());
    number.is_some_and(|number| CLONES.contains(&number))
}

#[cfg(target_arch = "x86_64")]
const CLONES: &[i64] = &[libc::SYS_clone, libc::SYS_clone3, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const CLONES: &[i64] = &[libc::SYS_clone, libc::SYS_clone3];

/// Tells places apart by the namespaces that processes are in.
#[derive(Debug)]
pub(crate) struct Atlas {
    networks: HashMap<u64, Place>,
    /// The uts namespaces of units in replicas: they tell where a process belongs that has made itself a
    /// network of its own, as sandboxes do.
    hosts: HashMap<u64, Place>,
}

impl Atlas {
    pub(crate) fn new(slot: &Slot) -> Result<Self, SandboxError> {
        let inode = |fd| rustix::fs::fstat(fd).map(|stat| stat.st_ino).during(Step::OpenNamespace);
        let networks = slot.places().map(|(place, fd)| Ok((inode(fd)?, place)));
        Ok(Self { networks: networks.collect::<Result<_, SandboxError>>()?, hosts: HashMap::new() })
    }

    /// Notes where a process has been put that has just become what it was to be.
    pub(crate) fn settle(&mut self, pid: i32, place: Place) {
        if place != Place::Session {
            self.hosts.extend(namespace(pid, "uts").map(|inode| (inode, place)));
        }
    }

    /// Nothing is left in a place.
    pub(crate) fn forget(&mut self, place: Place) {
        self.hosts.retain(|_, other| *other != place);
    }

    /// Where a process runs, by its namespaces alone.
    fn own_place(&self, pid: i32) -> Option<Place> {
        let network = namespace(pid, "net").and_then(|inode| self.networks.get(&inode));
        let host = || namespace(pid, "uts").and_then(|inode| self.hosts.get(&inode));
        network.or_else(host).copied()
    }

    /// Where each of these processes runs; one that cannot be told from its namespaces is where its nearest
    /// ancestor is of which that can be told.
    pub(crate) fn places(&self, processes: &[Process]) -> HashMap<i32, Option<Place>> {
        let parents: HashMap<i32, i32> = processes.iter().map(|one| (one.pid, one.parent)).collect();
        let own: HashMap<i32, Option<Place>> =
            processes.iter().map(|one| (one.pid, self.own_place(one.pid))).collect();
        let place = |process: &Process| {
            let mut pid = process.pid;
            // The table is not of one moment: a number that was used again in between could close a circle.
            for _ in 0..=processes.len() {
                match own.get(&pid) {
                    Some(Some(place)) => return Some(*place),
                    Some(None) => pid = parents.get(&pid).copied().unwrap_or(1),
                    None => return None,
                }
            }
            None
        };
        processes.iter().map(|one| (one.pid, place(one))).collect()
    }
}

fn namespace(pid: i32, kind: &str) -> Option<u64> {
    let inode = |path: String| std::fs::metadata(path).ok().map(|found| found.ino());
    inode(format!("/proc/{pid}/ns/{kind}")).or_else(|| {
        // The first thread has ended; others may not have.
        let threads = numbers(&format!("/proc/{pid}/task")).unwrap_or_default();
        threads.into_iter().find_map(|thread| inode(format!("/proc/{pid}/task/{thread}/ns/{kind}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_may_be_called_anything() {
        let stat = "17 (a) S 1 (x) Z 5 17 16 0 -1 4194564 1 0 0 0 2 3 0 0 20 0 3 0 4711 0 0";
        let process = Process { pid: 17, parent: 5, session: 16, state: 'Z', is_ending: false, threads: 3 };
        assert_eq!(Process::parse(stat), Some(process));
        assert!(!process.is_dead());
        assert_eq!(Process::parse("17 (sh"), None);
    }
}
