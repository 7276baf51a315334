//! Which processes there are in a session, and where each of them runs.

use std::collections::HashMap;
use std::io::ErrorKind;
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
    pub(crate) fn parse(stat: &[u8]) -> Option<Self> {
        let stat = &*String::from_utf8_lossy(stat);
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
    for pid in numbers("/proc")? {
        let stat = there(std::fs::read(format!("/proc/{pid}/stat")))?;
        all.extend(stat.as_deref().and_then(Process::parse).filter(|one| one.pid != 1 && !one.is_dead()));
    }
    Ok(all)
}

/// Whether one of these processes has the socket with this number. A process that does not let us look is taken
/// at its word: it may have it.
pub(crate) fn have_socket(pids: &[i32], inode: u32) -> bool {
    let name = format!("socket:[{inode}]");
    let is_hidden = |error: &std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
    pids.iter().any(|pid| match std::fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(descriptors) => {
            descriptors.filter_map(Result::ok).any(|one| match std::fs::read_link(one.path()) {
                Ok(target) => target.as_os_str() == name.as_str(),
                Err(error) => is_hidden(&error),
            })
        }
        Err(error) => is_hidden(&error),
    })
}

/// What has been read of a process; none where it has ended since. Every other error is one: a process that cannot
/// be looked at is no dead one.
fn there<T>(read: std::io::Result<T>) -> Result<Option<T>, SandboxError> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
        Err(error) => Err(error).during(Step::ReadProcesses),
    }
}

/// The processes or threads that a directory of /proc lists; none where it has gone.
fn numbers(directory: &str) -> Result<Vec<i32>, SandboxError> {
    let mut numbers = Vec::new();
    for entry in there(std::fs::read_dir(directory))?.into_iter().flatten() {
        let name = there(entry.map(|entry| entry.file_name()))?;
        numbers.extend(name.and_then(|name| name.to_str()?.parse::<i32>().ok()));
    }
    Ok(numbers)
}

/// The words of its command line.
pub(crate) fn command(pid: i32) -> Vec<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.strip_suffix(&[0]).unwrap_or(&line).split(|byte| *byte == 0);
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// Whether every thread of a process stands still, or is dead.
pub(crate) fn is_still(pid: i32) -> Result<bool, SandboxError> {
    // A process that has ended cannot move either.
    for thread in numbers(&format!("/proc/{pid}/task"))? {
        let stat = there(std::fs::read(format!("/proc/{pid}/task/{thread}/stat")))?;
        let is_still = match stat.as_deref().and_then(Process::parse) {
            // Stopped, traced, dead, or gone.
            Some(Process { state: 'T' | 't' | 'Z' | 'X', .. }) | None => true,
            // It waits for its child, which is stopped, to become another program: it cannot see a signal.
            Some(Process { state: 'D', .. }) => is_in_clone(pid, thread),
            Some(_) => false,
        };
        if !is_still {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_in_clone(pid: i32, thread: i32) -> bool {
    // Where it cannot be read, it is not known to stand still, and looked at again.
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

    /// Takes in what places there are now.
    pub(crate) fn learn(&mut self, slot: &Slot) -> Result<(), SandboxError> {
        self.networks = Self::new(slot)?.networks;
        Ok(())
    }

    /// Notes where a process has been put that has just become what it was to be.
    pub(crate) fn settle(&mut self, pid: i32, place: Place) -> Result<(), SandboxError> {
        if place != Place::Session {
            self.hosts.extend(namespace(pid, "uts")?.map(|inode| (inode, place)));
        }
        Ok(())
    }

    /// Nothing is left in a place.
    pub(crate) fn forget(&mut self, place: Place) {
        self.hosts.retain(|_, other| *other != place);
    }

    /// Where a process runs, by its namespaces alone.
    fn own_place(&self, pid: i32) -> Result<Option<Place>, SandboxError> {
        if let Some(place) = namespace(pid, "net")?.and_then(|inode| self.networks.get(&inode)) {
            return Ok(Some(*place));
        }
        Ok(namespace(pid, "uts")?.and_then(|inode| self.hosts.get(&inode)).copied())
    }

    /// Where each of these processes runs; one that cannot be told from its namespaces is where its nearest
    /// ancestor is of which that can be told.
    pub(crate) fn places(&self, processes: &[Process]) -> Result<HashMap<i32, Option<Place>>, SandboxError> {
        let parents: HashMap<i32, i32> = processes.iter().map(|one| (one.pid, one.parent)).collect();
        let own = processes.iter().map(|one| Ok((one.pid, self.own_place(one.pid)?)));
        let own: HashMap<i32, Option<Place>> = own.collect::<Result<_, SandboxError>>()?;
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
        Ok(processes.iter().map(|one| (one.pid, place(one))).collect())
    }
}

fn namespace(pid: i32, kind: &str) -> Result<Option<u64>, SandboxError> {
    let inode = |path: String| match std::fs::metadata(path) {
        // One that is not for us to look at is where its parents are.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(None),
        found => there(found.map(|found| found.ino())),
    };
    if let Some(inode) = inode(format!("/proc/{pid}/ns/{kind}"))? {
        return Ok(Some(inode));
    }
    // The first thread has ended; others may not have.
    for thread in numbers(&format!("/proc/{pid}/task"))? {
        if let Some(inode) = inode(format!("/proc/{pid}/task/{thread}/ns/{kind}"))? {
            return Ok(Some(inode));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_may_be_called_anything() {
        let stat = b"17 (a) S 1 (\xff) Z 5 17 16 0 -1 4194564 1 0 0 0 2 3 0 0 20 0 3 0 4711 0 0";
        let process = Process { pid: 17, parent: 5, session: 16, state: 'Z', is_ending: false, threads: 3 };
        assert_eq!(Process::parse(stat), Some(process));
        assert!(!process.is_dead());
        assert_eq!(Process::parse(b"17 (sh"), None);
    }

    #[test]
    fn what_cannot_be_read_has_not_ended() {
        let read = |errno| there(Err::<(), _>(std::io::Error::from_raw_os_error(errno)));
        assert_eq!(read(libc::ENOENT), Ok(None));
        assert_eq!(read(libc::ESRCH), Ok(None));
        for errno in [libc::EMFILE, libc::ENOMEM, libc::EIO] {
            assert!(read(errno).is_err());
        }
    }
}
