//! Sockets that are made in a place of the session and handed out, and looks at paths as a process sees them.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, ipproto, listen, netlink,
    socket_with, sockopt,
};

use crate::error::{During as _, SandboxError, Step};
use crate::mount;
use crate::slot::{Slot, enter_network};
use crate::spec::{PathCheck, Place, SocketSpec};

/// As many connections as the kernel lets wait.
const BACKLOG: i32 = 4096;

pub(crate) fn make(spec: &SocketSpec, slot: &Slot) -> Result<OwnedFd, SandboxError> {
    match spec {
        SocketSpec::Tcp(place)
        | SocketSpec::UdpBound(place, ..)
        | SocketSpec::TcpListening(place, ..)
        | SocketSpec::SockDiag(place) => within(slot, *place, || make_here(spec)),
        SocketSpec::UnixDatagram(_) => make_here(spec),
    }
}

/// Makes it in the network that we are in, whatever place it is meant for.
pub(crate) fn make_here(spec: &SocketSpec) -> Result<OwnedFd, SandboxError> {
    match spec {
        SocketSpec::Tcp(_) => tcp(),
        SocketSpec::UdpBound(_, address, port) => {
            let socket = socket(AddressFamily::INET, SocketType::DGRAM, Some(ipproto::UDP))?;
            bind_to(socket, *address, *port)
        }
        SocketSpec::TcpListening(_, address, port) => {
            let socket = tcp()?;
            sockopt::set_socket_reuseaddr(&socket, true).during(Step::MakeSocket)?;
            let socket = bind_to(socket, *address, *port)?;
            listen(&socket, BACKLOG).during(Step::BindSocket)?;
            Ok(socket)
        }
        SocketSpec::SockDiag(_) => socket(AddressFamily::NETLINK, SocketType::RAW, Some(netlink::SOCK_DIAG)),
        SocketSpec::UnixDatagram(path) => unix_datagram(path),
    }
}

/// Does something in the network of a place. The init itself stays in the session's own.
fn within<T>(
    slot: &Slot,
    place: Place,
    make: impl FnOnce() -> Result<T, SandboxError>,
) -> Result<T, SandboxError> {
    if place == Place::Session {
        return make();
    }
    enter_network(slot.namespace(place)?)?;
    let made = make();
    enter_network(slot.namespace(Place::Session)?)?;
    made
}

fn socket(
    family: AddressFamily,
    kind: SocketType,
    protocol: Option<rustix::net::Protocol>,
) -> Result<OwnedFd, SandboxError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family, kind, flags, protocol).during(Step::MakeSocket)
}

fn tcp() -> Result<OwnedFd, SandboxError> {
    socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::TCP))
}

fn bind_to(socket: OwnedFd, address: Ipv4Addr, port: u16) -> Result<OwnedFd, SandboxError> {
    bind(&socket, &SocketAddrV4::new(address, port)).during(Step::BindSocket)?;
    Ok(socket)
}

fn unix_datagram(path: &Path) -> Result<OwnedFd, SandboxError> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::INVAL).during_at(Step::BindSocket, path);
    };
    mount::make_directories(directory)?;
    // What an earlier socket has left behind would keep this one from its name.
    if let Ok(found) = rustix::fs::lstat(path)
        && FileType::from_raw_mode(found.st_mode) == FileType::Socket
    {
        rustix::fs::unlink(path).during_at(Step::BindSocket, path)?;
    }
    let socket = socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
    // The directory by its descriptor: an address has room for 107 bytes only.
    let directory = mount::open_path(directory).during_at(Step::BindSocket, path)?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    let address = SocketAddrUnix::new(short).during_at(Step::BindSocket, path)?;
    bind(&socket, &address).during_at(Step::BindSocket, path)?;
    Ok(socket)
}

/// Whether something holds as a process sees the file tree.
pub(crate) fn check(pid: i32, check: &PathCheck) -> Result<bool, SandboxError> {
    let Ok(root) = mount::open_path(Path::new(&format!("/proc/{pid}/root"))) else { return Ok(false) };
    check_below(&root, check)
}

/// The same where everybody sees one file tree.
pub(crate) fn check_here(check: &PathCheck) -> Result<bool, SandboxError> {
    let root = mount::open_path(Path::new("/")).during_at(Step::CheckPath, "/")?;
    check_below(&root, check)
}

fn check_below(root: &OwnedFd, check: &PathCheck) -> Result<bool, SandboxError> {
    let (PathCheck::Exists(path) | PathCheck::Connects(path)) = check;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = match openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        Ok(found) => found,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP) => return Ok(false),
        Err(errno) => return Err(errno).during_at(Step::CheckPath, path),
    };
    match check {
        PathCheck::Exists(_) => Ok(true),
        PathCheck::Connects(_) => {
            let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
            let short = format!("/proc/self/fd/{}", found.as_fd().as_raw_fd());
            let address = SocketAddrUnix::new(short).during_at(Step::CheckPath, path)?;
            // A full queue of connections is one of a socket that takes them.
            Ok(matches!(connect(&socket, &address), Ok(()) | Err(Errno::AGAIN)))
        }
    }
}
