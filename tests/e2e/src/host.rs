//! What the host has of a test's world: processes, mounts, unix sockets. Read from /proc, never by name.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// A live process of the host. A zombie is dead.
#[derive(Debug, Clone)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    pub command: String,
    /// Its process ids from the outermost namespace to its own.
    pub pids: Vec<i32>,
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let status = fs_err::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if field("State:")?.starts_with(['Z', 'X']) {
            return None;
        }
        let parent = field("PPid:")?.parse().ok()?;
        let pids = field("NSpid:")?.split_whitespace().filter_map(|one| one.parse().ok()).collect();
        let command = fs_err::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ").trim_end().to_owned();
        Some(Self { pid, parent, command, pids })
    }

    /// The state letter of each of its threads: all `T` means that it stands still.
    pub fn thread_states(&self) -> Vec<char> {
        let tasks = fs_err::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten().flatten();
        tasks
            .filter_map(|task| {
                let stat = fs_err::read_to_string(task.path().join("stat")).ok()?;
                // The name before it stands in brackets and can hold anything.
                stat.rsplit_once(") ")?.1.chars().next()
            })
            .collect()
    }

    /// Whether this is pid 1 of a pid namespace of its own.
    pub fn is_init(&self) -> bool {
        self.pids.len() > 1 && self.pids.last() == Some(&1)
    }

    pub fn kill(&self) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            // It may be gone already, which is what is wanted.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Whether it has anything to do with `dir`: by its command line, its environment or its files.
    fn mentions(&self, dir: &str) -> bool {
        if self.command.contains(dir) {
            return true;
        }
        let environ = fs_err::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
        if environ.windows(dir.len()).any(|part| part == dir.as_bytes()) {
            return true;
        }
        ["cwd", "exe"].iter().any(|link| {
            fs_err::read_link(format!("/proc/{}/{link}", self.pid))
                .is_ok_and(|target| target.to_string_lossy().contains(dir))
        })
    }
}

/// Whether there is no such process any more, or only its zombie.
pub(crate) fn is_over(pid: i32) -> bool {
    Process::read(pid).is_none()
}

/// Every live process of the host that we can see.
pub fn processes() -> Vec<Process> {
    let entries = fs_err::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Process::read(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// Reaps the dead that nobody waits for: the orphans of the worlds come to us, and thousands of them make every
/// look at /proc slow. For programs that start all their children as [`crate::Cmd`]s.
pub fn bury_orphans() {
    let ours = crate::command::children();
    let this = i32::try_from(std::process::id()).expect("process ids are small");
    for entry in fs_err::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if ours.contains(&pid) {
            continue;
        }
        let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let mut fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
        if (fields.next(), fields.next().and_then(|parent| parent.parse().ok())) == (Some("Z"), Some(this))
            && let Some(pid) = Pid::from_raw(pid)
        {
            // Nobody else does it, so it cannot have been done.
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    }
}

/// What a test's world has on this host at a moment.
#[derive(Debug, Default)]
pub struct Footprint {
    pub processes: Vec<Process>,
    pub mounts: Vec<String>,
    pub sockets: Vec<String>,
}

impl Footprint {
    /// What belongs to `dir`: processes that mention it, their descendants, mounts below it and sockets in it.
    pub fn of(dir: &Path) -> Self {
        let text = dir.to_string_lossy();
        let all = processes();
        let this = i32::try_from(std::process::id()).expect("process ids are small");
        let by_pid: HashMap<i32, &Process> = all.iter().map(|one| (one.pid, one)).collect();
        let mut own: BTreeSet<i32> =
            all.iter().filter(|one| one.pid != this && one.mentions(&text)).map(|one| one.pid).collect();
        // What a process of ours started is ours, whatever it calls itself.
        for one in &all {
            let mut above = Some(one);
            while let Some(process) = above {
                if own.contains(&process.pid) {
                    own.insert(one.pid);
                    break;
                }
                above = by_pid.get(&process.parent).copied();
            }
        }
        let lines = |path: &str| -> Vec<String> {
            let text = fs_err::read_to_string(path).unwrap_or_default();
            text.lines().map(str::to_owned).collect()
        };
        let below = |line: &String| line.contains(text.as_ref());
        Self {
            processes: all.into_iter().filter(|one| own.contains(&one.pid)).collect(),
            mounts: lines("/proc/self/mountinfo").into_iter().filter(below).collect(),
            sockets: lines("/proc/net/unix").into_iter().filter(below).collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.mounts.is_empty() && self.sockets.is_empty()
    }
}

impl std::fmt::Display for Footprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for Process { pid, parent, command, .. } in &self.processes {
            writeln!(f, "process {pid} (parent {parent}): {command}")?;
        }
        for mount in &self.mounts {
            writeln!(f, "mount {mount}")?;
        }
        for socket in &self.sockets {
            writeln!(f, "socket {socket}")?;
        }
        Ok(())
    }
}
