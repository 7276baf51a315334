//! Who the processes of a session are.

/// The one user and group that exist inside a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
}

/// What root becomes: servers that refuse root (PostgreSQL) run, and no namespace has a uid 0.
const PLAIN: u32 = 1000;

/// What everybody else's ids look like from inside. Who had it as their own (`nobody`) could not be told from
/// them, and all of the host's files would seem theirs.
const OVERFLOW: u32 = 65534;

/// The caller itself in the ownership of files, under its own numbers; where those are 0 or the overflow id,
/// under 1000.
pub fn identity() -> Identity {
    let plain = |id: u32| if matches!(id, 0 | OVERFLOW) { PLAIN } else { id };
    Identity {
        uid: plain(rustix::process::geteuid().as_raw()),
        gid: plain(rustix::process::getegid().as_raw()),
    }
}

/// Who replicas become in shared isolation where the caller is root: `nobody`, whom every system knows. A name is
/// needed, and without a file tree of its own the session cannot make one up. None where the caller is a plain
/// user already, may not become another one, or has no `nobody` on the system or in its user namespace.
pub fn plain_identity() -> Option<Identity> {
    use rustix::thread::CapabilitySet;
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::CHOWN | CapabilitySet::KILL;
    if !rustix::process::geteuid().is_root()
        || !rustix::thread::capabilities(None).ok()?.effective.contains(needed)
    {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.starts_with("nobody:"))?;
    let mut numbers = line.split(':').skip(2).map(str::parse);
    let identity = Identity { uid: numbers.next()?.ok()?, gid: numbers.next()?.ok()? };
    (is_mapped("/proc/self/uid_map", identity.uid) && is_mapped("/proc/self/gid_map", identity.gid))
        .then_some(identity)
}

/// Whether an id exists in our user namespace.
fn is_mapped(map: &str, id: u32) -> bool {
    let ranges = std::fs::read_to_string(map).unwrap_or_default();
    ranges.lines().any(|line| {
        let numbers: Vec<u32> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        matches!(numbers[..], [first, _, count] if id >= first && id - first < count)
    })
}
