//! What the host process and a session's init say to each other. Requests may be under way together; a reply
//! bears its request's number.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::SandboxError;
use crate::spec::{ExitStatus, PathCheck, Place, ProcessSpec, SocketSpec, Target};

/// From the host process to a session's init.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the asker; comes back in the reply.
    pub id: u64,
    pub ask: Ask,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Three descriptors travel beside it (standard input, output and error) and the entrances of its control
    /// groups. Answered with `Spawned` once the
    /// program runs, or with what kept it from running.
    Spawn(ProcessSpec),
    Signal {
        target: Target,
        signal: i32,
    },
    /// SIGKILL until none is left; answered when that is true.
    KillAll(Target),
    /// SIGSTOP until every thread of every process stands still, newcomers included; answered when that is
    /// true.
    Freeze(Target),
    Thaw(Target),
    Socket(SocketSpec),
    /// A pseudo-terminal of the session's own.
    Terminal,
    /// Whether it holds as the process of this unit sees it; `false` where that process is gone.
    Check {
        unit: u64,
        check: PathCheck,
    },
    /// Whether one of these processes has the socket with this number, as far as can be seen.
    HasSocket {
        target: Target,
        inode: u32,
    },
    Processes,
    /// One more replica, whose number follows the last one's. A new network namespace travels beside it.
    AddReplica {
        address: Ipv4Addr,
        prefix: u8,
    },
    /// Another text for a file that stands in for the host's, in every place at once.
    Rewrite {
        path: PathBuf,
        text: String,
    },
}

/// From a session's init to the host process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    Reply {
        id: u64,
        result: Result<Answer, SandboxError>,
    },
    /// A unit's process has ended; where it was a replica, everything in its place has ended too. Never before
    /// the reply to its `Spawn`.
    Exited {
        unit: u64,
        status: ExitStatus,
    },
    /// The last word of an init that cannot go on; the session ends with it.
    Failed(SandboxError),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The program runs, under this number inside the session.
    Spawned {
        pid: i32,
    },
    Done,
    /// The socket travels beside it.
    Socket,
    /// The terminal's outer side travels beside it.
    Terminal,
    Holds(bool),
    Signalled {
        processes: u32,
    },
    Processes(Vec<ProcessInfo>),
}

/// A live process of a session; neither pid 1 nor a zombie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessInfo {
    /// Its number inside the session, and its parent's.
    pub pid: i32,
    pub parent: i32,
    /// Where it runs; none where it has gone into a network namespace of its own and left its parents.
    pub place: Option<Place>,
    pub command: Vec<String>,
    /// The unit whose terminal session it is in.
    pub unit: Option<u64>,
}
