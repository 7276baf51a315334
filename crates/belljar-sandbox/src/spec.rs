//! What the sandbox is asked to make: plain values that travel from the host process to the zygote and to a
//! session's init.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One sealed session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSpec {
    /// The session's host name, as its commands see it.
    pub hostname: String,
    pub network: NetworkSpec,
    pub filesystem: Filesystem,
    /// A home directory to cover with an empty one.
    pub private_home: Option<PathBuf>,
    /// Paths that stay visible and writable at their own place although a private directory (/tmp, /run,
    /// /dev/shm, the home) covers it. Directories or files; one that does not exist is an error.
    pub keep: Vec<PathBuf>,
    /// Paths that stay visible likewise where they exist, and are passed over where they do not (entries of
    /// PATH).
    pub keep_if_present: Vec<PathBuf>,
    /// Paths that are the host's own, writable, also in `ReadOnly` and `Overlay` (artifacts, volumes, the
    /// directory of the control socket). They are kept visible too.
    pub writable: Vec<PathBuf>,
    /// Directories of the host that hold what is other sessions' too: they are covered, and only what is kept or
    /// writable in them is shown. One that does not exist is passed over.
    pub concealed: Vec<PathBuf>,
    /// How many processes and threads there may be.
    pub processes: u32,
    /// Files that stand in for the host's in every place of the session: `/etc/hosts` and its text.
    pub etc: Vec<(PathBuf, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// The bridge's address in the session's own network namespace.
    pub address: Ipv4Addr,
    pub prefix: u8,
    /// One network namespace each, joined to the bridge. A replica is its index in this list.
    pub replicas: Vec<Ipv4Addr>,
    /// Likewise one each, in which nothing runs: only what listens there on behalf of the host answers.
    pub host_services: Vec<Ipv4Addr>,
}

impl NetworkSpec {
    /// Whether nobody is joined with the session's own place.
    pub(crate) fn is_alone(&self) -> bool {
        self.replicas.is_empty() && self.host_services.is_empty()
    }
}

/// What somebody may use of the machine at most. Nothing said is no limit of this kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Thousandths of a processor's time.
    pub cpu: Option<u32>,
}

impl Limits {
    /// The smaller of both, each.
    #[must_use]
    pub fn within(&self, other: &Self) -> Self {
        fn smaller<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
            match (one, other) {
                (Some(one), Some(other)) => Some(one.min(other)),
                // What is said of the whole alone need not be said again of a part.
                (one, _) => one,
            }
        }
        Self {
            pids: smaller(self.pids, other.pids),
            memory: smaller(self.memory, other.memory),
            cpu: smaller(self.cpu, other.cpu),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filesystem {
    Host,
    ReadOnly,
    Overlay,
}

/// Where a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Place {
    /// In the session's own network namespace: commands, tasks, scenarios.
    Session,
    /// In the network namespace of the replica with this index.
    Replica(u16),
    /// The network namespace of the service of the host with this index. No process runs there.
    HostService(u16),
}

/// One process to start. Its standard input, output and error travel beside it as descriptors, then its
/// listeners, and after them the entrances of the control groups that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// The caller's number for it, never used twice in one session.
    pub unit: u64,
    pub place: Place,
    /// It is the replica itself: with it ends everything that is left in its place, before its exit is told.
    pub main: bool,
    pub argv: Vec<String>,
    /// Whole: nothing is inherited. PATH in it is where `argv[0]` is looked up, inside the session.
    pub env: Vec<(String, String)>,
    pub cwd: PathBuf,
    pub hostname: String,
    /// Host directories or files to show at another path. A target that does not exist is made, without a
    /// trace on the host.
    pub binds: Vec<Bind>,
    /// Generated files to show at a path, likewise.
    pub files: Vec<(PathBuf, String)>,
    /// Standard input is a terminal that becomes its controlling terminal.
    pub terminal: bool,
    /// Listening sockets that it gets from descriptor 3 on, each with its name, told as `sd_listen_fds` reads it.
    /// They travel beside it, after standard error.
    pub listeners: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    pub source: PathBuf,
    pub target: PathBuf,
}

/// Which processes a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// The process itself that was started as this unit.
    Unit(u64),
    /// It and what it started in its terminal session (`setsid`); for a command in the session's own place.
    UnitGroup(u64),
    /// Every process in the network namespace of this replica: it, its children, its daemons.
    Replica(u16),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    Code(i32),
    Signal(i32),
}

/// A socket made in a place of the session and handed out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketSpec {
    /// An unconnected non-blocking TCP socket (IPv4).
    Tcp(Place),
    /// A UDP socket bound to this address and port.
    UdpBound(Place, Ipv4Addr, u16),
    /// A listening TCP socket bound to this address and port.
    TcpListening(Place, Ipv4Addr, u16),
    /// A NETLINK_SOCK_DIAG socket that asks about this place from anywhere.
    SockDiag(Place),
    /// A bound unix datagram socket at this path of the session's own file tree; its directory is made.
    UnixDatagram(PathBuf),
}

/// Something to look for, as a running replica sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathCheck {
    Exists(PathBuf),
    /// A unix stream socket that takes connections.
    Connects(PathBuf),
}
