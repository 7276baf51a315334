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
/// user already, or the system has no `nobody`.
pub fn plain_identity() -> Option<Identity> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.starts_with("nobody:"))?;
    let mut numbers = line.split(':').skip(2).map(str::parse);
    Some(Identity { uid: numbers.next()?.ok()?, gid: numbers.next()?.ok()? })
}
