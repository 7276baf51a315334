//! What this machine can do for sealed sessions: every step is tried for real, in a short-lived child.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send};
use rustix::process::WaitOptions;
use serde::{Deserialize, Serialize};

use crate::cgroup;
use crate::channel;
use crate::error::{During as _, SandboxError, Step};
use crate::identity::identity;
use crate::machine;
use crate::mount;
use crate::proof::{Proof, Provable};
use crate::slot::{self, Slot};
use crate::spec::NetworkSpec;
use crate::sys;
use crate::zygote::{own_user_namespace, tie_to_parent};

/// One thing that sealed sessions use of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    pub name: &'static str,
    pub works: bool,
    /// Why it does not work.
    pub why: Option<String>,
    /// What its lack costs a user.
    pub cost: &'static str,
}

/// Tries everything. Takes some milliseconds, and leaves nothing behind.
pub fn probe() -> Vec<Capability> {
    let found = try_in_child(Depth::Everything);
    let why = |trial: Trial| match &found {
        Ok(found) => match found.get(&trial) {
            Some(Ok(())) => None,
            Some(Err(error)) => Some(because(trial, error)),
            None => Some("it could not be tried: what it stands on does not work".to_owned()),
        },
        Err(error) => Some(error.to_string()),
    };
    let tried = TRIALS.iter().map(|&(trial, name, cost)| {
        let why = why(trial);
        Capability { name, works: why.is_none(), why, cost }
    });
    tried.chain(limits()).collect()
}

/// Why sessions cannot be sealed on this machine, if that is so. Tries less than [`probe`]: nothing that others on
/// the machine could notice.
pub fn why_not_sealed() -> Option<String> {
    let needed = TRIALS.iter().filter(|(.., cost)| *cost == NO_SEAL);
    match try_in_child(Depth::Namespaces) {
        Ok(found) => needed.into_iter().find_map(|(trial, name, _)| match found.get(trial) {
            Some(Ok(())) => None,
            Some(Err(error)) => Some(because(*trial, error)),
            None => Some(format!("there are no {name}")),
        }),
        Err(error) => Some(error.to_string()),
    }
}

/// The kernel's word, and the settings of the machine that may be behind it.
fn because(trial: Trial, error: &SandboxError) -> String {
    let settings = if trial == Trial::Users { machine::userns_settings() } else { Vec::new() };
    std::iter::once(error.to_string()).chain(settings).collect::<Vec<_>>().join("; ")
}

fn limits() -> impl Iterator<Item = Capability> {
    cgroup::probe().into_iter().map(|(limit, name, why)| Capability {
        name,
        works: why.is_none(),
        why,
        cost: match limit {
            "pids" => "no `limits.pids`, but for a whole session of an ordinary user",
            "memory" => "no `limits.memory`",
            _ => "no `limits.cpu`",
        },
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Trial {
    Users,
    Pids,
    Mounts,
    Ipc,
    HostNames,
    Networks,
    Links,
    Slots,
    Proc,
    Sys,
    Overlay,
    Tun,
    Filter,
}

/// How much is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    Namespaces,
    Everything,
}

const NO_SEAL: &str = "no sealed sessions: isolation is shared, on the host's network and files";
const TRIALS: &[(Trial, &str, &str)] = &[
    (Trial::Users, "user namespaces", NO_SEAL),
    (Trial::Pids, "pid namespaces", NO_SEAL),
    (Trial::Mounts, "mount namespaces", NO_SEAL),
    (Trial::Ipc, "ipc namespaces", NO_SEAL),
    (Trial::HostNames, "uts namespaces", NO_SEAL),
    (Trial::Networks, "network namespaces", NO_SEAL),
    (Trial::Links, "veth links and bridges", "no sealed sessions of a stack that has services"),
    (
        Trial::Slots,
        "networks used again",
        "every session of a run makes a network of its own, which takes longer",
    ),
    (Trial::Proc, "private /proc", NO_SEAL),
    (Trial::Sys, "private /sys", "replicas see the host's network interfaces in /sys, read-only"),
    (Trial::Overlay, "overlays in a user namespace", "no `filesystem = \"overlay\"`; snapshots are copied"),
    (Trial::Tun, "/dev/net/tun", "delays and losses on a link go through the slower packet queue"),
    (Trial::Filter, "nf_tables", "no partitions between replicas"),
];

type Found = HashMap<Trial, Result<(), SandboxError>>;

fn try_in_child(depth: Depth) -> Result<Found, SandboxError> {
    let (ours, theirs) = channel::pair()?;
    let pid = sys::fork_beside_threads(|| {
        let found = tie_to_parent()
            .and_then(|()| sys::close_all_but(&[theirs.as_fd()]).during(Step::CloseDescriptors))
            .map(|()| try_all(depth));
        i32::from(found.and_then(|found| channel::send(theirs.as_fd(), &pairs(found), &[])).is_err())
    })
    .during(Step::Fork)?;
    drop(theirs);
    let received = receive(ours.as_fd());
    // Whoever else reaps children may have been faster.
    let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
    received
}

/// As it travels: a map's keys would have to be strings.
type Pairs = Vec<(Trial, Result<(), SandboxError>)>;

fn pairs(found: Found) -> Pairs {
    found.into_iter().collect()
}

fn receive(socket: std::os::fd::BorrowedFd<'_>) -> Result<Found, SandboxError> {
    channel::receive::<Pairs>(socket).map(|(pairs, _)| pairs.into_iter().collect())
}

/// In the child: what the zygote does, and what it and inits do in it.
fn try_all(depth: Depth) -> Found {
    let mut found = Found::new();
    let tun = rustix::fs::open("/dev/net/tun", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    found.insert(Trial::Tun, tun.map(drop).during_at(Step::OpenTun, "/dev/net/tun"));
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let users = own_user_namespace(identity(), uid, gid);
    let has_users = users.is_ok();
    found.insert(Trial::Users, users);
    if !has_users {
        return found;
    }
    for (trial, flag) in [
        (Trial::Pids, libc::CLONE_NEWPID),
        (Trial::Mounts, libc::CLONE_NEWNS),
        (Trial::Ipc, libc::CLONE_NEWIPC),
        (Trial::HostNames, libc::CLONE_NEWUTS),
    ] {
        found.insert(trial, sys::spawn(flag, || 0).map(drop).during(Step::CloneInit));
    }
    let network = slot::home();
    if let (Ok(home), Depth::Everything) = (&network, depth) {
        let spec = NetworkSpec {
            address: Ipv4Addr::new(10, 0, 0, 1),
            prefix: 24,
            replicas: vec![Ipv4Addr::new(10, 0, 0, 2)],
            host_services: Vec::new(),
        };
        match Slot::build(&spec, home.as_fd()) {
            Ok(slot) => {
                found.insert(Trial::Links, Ok(()));
                found.insert(Trial::Slots, try_proof(slot, home.as_fd()));
            }
            Err(error) => drop(found.insert(Trial::Links, Err(error))),
        }
        found.insert(Trial::Filter, make_filter());
    }
    found.insert(Trial::Networks, network.map(drop));
    // An error means that these have not been tried.
    if let Ok(mounted) = try_mounts() {
        found.extend(mounted);
    }
    found
}

/// Whether a network that nobody has used can be proved to be clean.
fn try_proof(slot: Slot, home: BorrowedFd<'_>) -> Result<(), SandboxError> {
    match Provable::new(slot, home)?.prove(Proof::WHOLE)? {
        None => Ok(()),
        // There is nothing that could have changed it: this kernel tells something else each time.
        Some(_) => Err(SandboxError::Protocol),
    }
}

/// In a child of its own: mounts need a mount namespace, and /proc a pid namespace.
fn try_mounts() -> Result<Found, SandboxError> {
    let (ours, theirs) = channel::pair()?;
    let namespaces = libc::CLONE_NEWPID | libc::CLONE_NEWNS;
    sys::spawn(namespaces, || {
        let mut found = Found::new();
        if mount::make_private().is_ok() {
            let proc = mount::kernel(Path::new("/proc"), "proc", MountFlags::empty());
            found.insert(Trial::Proc, proc.during_at(Step::MountProc, "/proc"));
            let sys = mount::kernel(Path::new("/sys"), "sysfs", MountFlags::RDONLY);
            found.insert(Trial::Sys, sys.during_at(Step::MountSys, "/sys"));
            found.insert(Trial::Overlay, try_overlay());
        }
        i32::from(channel::send(theirs.as_fd(), &pairs(found), &[]).is_err())
    })
    .during(Step::CloneInit)?;
    drop(theirs);
    receive(ours.as_fd())
}

fn try_overlay() -> Result<(), SandboxError> {
    let place = Path::new("/dev");
    mount::tmpfs(place, 0o755, identity()).during_at(Step::StagePrivate, place)?;
    let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(|name| place.join(name));
    for path in [&lower, &upper, &work, &merged] {
        mount::make_directories(path)?;
    }
    mount::overlay(&merged, &lower, &upper, &work).during(Step::Overlay)
}

/// Makes a table of the bridge's packets, as a partition does. The three messages are a transaction.
fn make_filter() -> Result<(), SandboxError> {
    const BEGIN: u16 = 16;
    const END: u16 = 17;
    const NEW_TABLE: u16 = 0xa00;
    const BRIDGE: u8 = 7;
    const SUBSYSTEM: [u8; 2] = 10_u16.to_be_bytes();
    const REQUEST: u16 = 1;
    const CREATE_AND_ACKNOWLEDGE: u16 = 0x400 | 4 | REQUEST;
    let mut bytes = Vec::new();
    let mut append = |kind: u16, flags: u16, family: u8, resource: [u8; 2], attributes: &[u8]| {
        let length = u32::try_from(20 + attributes.len()).unwrap_or(u32::MAX);
        bytes.extend(length.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend([family, 0]);
        bytes.extend(resource);
        bytes.extend(attributes);
    };
    let mut name = Vec::new();
    name.extend(12_u16.to_ne_bytes());
    name.extend(1_u16.to_ne_bytes());
    name.extend(b"belljar\0");
    append(BEGIN, REQUEST, 0, SUBSYSTEM, &[]);
    append(NEW_TABLE, CREATE_AND_ACKNOWLEDGE, BRIDGE, [0; 2], &name);
    append(END, REQUEST, 0, SUBSYSTEM, &[]);
    let flags = SocketFlags::CLOEXEC;
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::NETFILTER));
    let socket = socket.during(Step::MakeFilter)?;
    send(&socket, &bytes, SendFlags::empty()).during(Step::MakeFilter)?;
    let mut answer = [0; 512];
    let (_, received) = recv(&socket, &mut answer, RecvFlags::empty()).during(Step::MakeFilter)?;
    // An acknowledgement is an error of number 0, right after the header.
    let code = answer[..received.min(answer.len())].get(16..20).and_then(|code| code.try_into().ok());
    match code.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) => Err(Errno::from_raw_os_error(-code)).during(Step::MakeFilter),
        None => Err(SandboxError::Protocol),
    }
}
