//! Leased networks: whatever the last tenant left, the next one finds none of it.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Command;

use belljar_sandbox::spec::{NetworkSpec, Place, SessionSpec, SocketSpec};
use belljar_sandbox::{Ask, Proof, ProofStep, SandboxError, Zygote};

use super::Case;
use crate::world::{Session, eventually, fixture, process, spec, this};

pub(super) const CASES: &[(&str, Case)] = &[
    ("a leased network is used again, and is like a new one", used_again),
    ("what a tenant or an owner left is gone for the next tenant", soiled),
    ("each step of the proof finds something that no other finds", each_step),
    ("what somebody outside still holds keeps a network from the next tenant", held_outside),
    ("three hundred sessions over two networks see nothing of each other", many),
];

const SESSION: Place = Place::Session;
const FIRST: Place = Place::Replica(0);

/// A shape that no other test uses: each has slots of its own.
fn shape(number: u8) -> SessionSpec {
    let address = |last| Ipv4Addr::new(10, 44, number, last);
    SessionSpec {
        network: NetworkSpec {
            address: address(1),
            prefix: 24,
            replicas: vec![address(2), address(3)],
            host_services: Vec::new(),
        },
        ..spec(0)
    }
}

fn in_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn nest(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | 0x8000, &parts.concat())
}

/// `NLM_F_REQUEST | NLM_F_ACK`.
const DO: u16 = 5;
/// The same with `NLM_F_CREATE`.
const MAKE: u16 = 0x405;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const LIST: u16 = 0x301;

/// Something that the owner of a network can do to it, and how it is seen.
struct Soil {
    step: ProofStep,
    place: Place,
    /// Words for the owner.
    deed: Vec<String>,
    look: Vec<String>,
    /// What the look says of a soiled network.
    soiled: fn(&str) -> bool,
}

fn sent(protocol: &str, message: &[u8]) -> Vec<String> {
    vec!["send".into(), protocol.into(), in_hex(message)]
}

fn seen(protocol: &str, kind: u16, question: &[u8], wanted: &[u8]) -> Vec<String> {
    let question = in_hex(&message(kind, LIST, question));
    vec!["has".into(), protocol.into(), question, in_hex(wanted)]
}

fn read(path: &str) -> Vec<String> {
    vec!["read".into(), path.into()]
}

fn soils(network: &NetworkSpec) -> Vec<Soil> {
    let (eth0, first_port) = (2_u32.to_ne_bytes(), 100_u32.to_ne_bytes());
    let own = network.replicas[0].octets();
    let yes: fn(&str) -> bool = |said| said == "true";
    let route = |step, place, deed: Vec<u8>, look| {
        let deed = sent("route", &deed);
        Soil { step, place, deed, look, soiled: yes }
    };
    let tagged = {
        // The same address, with a mark: another one would be among the routes as well.
        let body =
            [&[2, 24, 0, 0], &eth0[..], &attribute(2, &own), &attribute(1, &own), &attribute(11, &[77])];
        message(20, 0x105, &body.concat())
    };
    let far = [10, 55, 0, 0];
    let way = [&[2, 16, 0, 0, 254, 3, 253, 1, 0, 0, 0, 0][..], &attribute(1, &far), &attribute(4, &eth0)];
    let rule = [&[2, 0, 0, 0, 77, 0, 0, 1, 0, 0, 0, 0][..], &attribute(6, &999_u32.to_ne_bytes())];
    let smaller = [&[0, 0, 0, 0], &eth0[..], &[0; 8], &attribute(4, &1400_u32.to_ne_bytes())];
    let clsact = [
        &[0, 0, 0, 0],
        &eth0[..],
        &0xffff_0000_u32.to_ne_bytes(),
        &0xffff_fff1_u32.to_ne_bytes(),
        &[0; 4],
        &attribute(1, b"clsact\0"),
    ];
    let mac = [2, 0, 0, 0, 0, 77];
    let neighbour = {
        let far = [own[0], own[1], own[2], 99];
        [&[2, 0, 0, 0], &eth0[..], &[0x80, 0, 0, 0], &attribute(1, &far), &attribute(2, &mac)].concat()
    };
    let forwarding = [&[7, 0, 0, 0], &first_port[..], &[0x80, 0, 4, 0], &attribute(2, &mac)].concat();
    let filters = {
        let subsystem = [0, 0, 0, 10];
        let table = [&[7, 0, 0, 10][..], &attribute(1, b"soil\0")].concat();
        [message(16, 1, &subsystem), message(0xa00, MAKE, &table), message(17, 1, &subsystem)].concat()
    };
    let tracked = {
        let addresses = |a: u8, b: u8| nest(1, &[attribute(1, &[10, 1, 1, a]), attribute(2, &[10, 1, 1, b])]);
        let ports = nest(2, &[attribute(1, &[17]), attribute(2, &[1, 1]), attribute(3, &[2, 2])]);
        let back = nest(2, &[attribute(1, &[17]), attribute(2, &[2, 2]), attribute(3, &[1, 1])]);
        let body = [
            vec![2, 0, 0, 0],
            nest(1, &[addresses(1, 2), ports]),
            nest(2, &[addresses(2, 1), back]),
            attribute(7, &600_u32.to_be_bytes()),
        ];
        message(0x100, MAKE | 0x200, &body.concat())
    };
    vec![
        route(ProofStep::Addresses, FIRST, tagged, seen("route", 22, &[0; 8], &attribute(11, &[77])[..5])),
        route(
            ProofStep::Routes,
            FIRST,
            message(24, MAKE, &way.concat()),
            seen("route", 26, &[0; 12], &attribute(1, &far)),
        ),
        route(
            ProofStep::Rules,
            SESSION,
            message(32, MAKE, &rule.concat()),
            seen("route", 34, &[0; 12], &999_u32.to_ne_bytes()),
        ),
        route(
            ProofStep::Links,
            FIRST,
            message(16, DO, &smaller.concat()),
            seen("route", 18, &[0; 16], &attribute(4, &1400_u32.to_ne_bytes())),
        ),
        route(
            ProofStep::Queues,
            FIRST,
            message(36, MAKE, &clsact.concat()),
            seen("route", 38, &[0; 20], b"clsact\0"),
        ),
        route(ProofStep::Neighbours, FIRST, message(28, MAKE, &neighbour), seen("route", 30, &[0; 12], &mac)),
        route(
            ProofStep::Bridge,
            SESSION,
            message(28, MAKE, &forwarding),
            seen("route", 30, &[7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &mac),
        ),
        Soil {
            step: ProofStep::Filters,
            place: SESSION,
            deed: sent("netfilter", &filters),
            look: seen("netfilter", 0xa01, &[0; 4], b"soil\0"),
            soiled: yes,
        },
        Soil {
            step: ProofStep::Tracking,
            place: FIRST,
            deed: sent("netfilter", &tracked),
            look: read("/proc/sys/net/netfilter/nf_conntrack_count"),
            soiled: |said| said != "0",
        },
        Soil {
            step: ProofStep::Settings,
            place: FIRST,
            deed: vec!["write".into(), "/proc/sys/net/ipv4/ip_unprivileged_port_start".into(), "1024".into()],
            look: read("/proc/sys/net/ipv4/ip_unprivileged_port_start"),
            soiled: |said| said == "1024",
        },
        Soil {
            step: ProofStep::Fragments,
            place: SESSION,
            // The first part of a datagram to the first replica; it is seen there.
            deed: vec!["packet".into(), network.replicas[0].to_string(), in_hex(&fragment(network))],
            look: read("/proc/thread-self/net/sockstat"),
            soiled: |said| said.contains("FRAG: inuse 1"),
        },
    ]
}

/// What a gateway says of a packet from the first replica that was too large: it may be 1000 bytes at most. The
/// kernel believes that of a connection which it has.
fn too_large(network: &NetworkSpec, from_port: u16) -> Vec<u8> {
    let (session, replica) = (network.address.octets(), network.replicas[0].octets());
    let quoted = [
        &[0x45, 0, 5, 220, 0, 1, 0x40, 0, 64, 17, 0, 0][..],
        &replica,
        &session,
        &from_port.to_be_bytes(),
        &[0, 53, 5, 200, 0, 0],
    ]
    .concat();
    let mut icmp = [&[3, 4, 0, 0, 0, 0, 0x03, 0xe8][..], &quoted].concat();
    let sum: u32 = icmp.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    icmp[2..4].copy_from_slice(&(!u16::try_from(folded).unwrap()).to_be_bytes());
    let length = u16::try_from(20 + icmp.len()).unwrap().to_be_bytes();
    [&[0x45, 0][..], &length, &[0, 9, 0, 0, 64, 1, 0, 0], &session, &replica, &icmp].concat()
}

/// The first replica has learned that packets to the session must be small; whether it still knows then.
fn learned_way(zygote: &Zygote, spec: &SessionSpec) -> bool {
    let network = &spec.network;
    let (here, there) = (network.replicas[0], network.address);
    // The way to the session, as it was asked for: `RTA_METRICS` with `RTAX_MTU` of 1000.
    let question = [&[2, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &attribute(1, &there.octets())].concat();
    let question = in_hex(&message(26, 1, &question));
    let mtu = attribute(2, &1000_u32.to_ne_bytes());
    let look = ["one".to_owned(), "route".to_owned(), question, in_hex(&mtu)];
    let session = Session::new(zygote, spec);
    assert_eq!(as_owner(zygote, &session, FIRST, &look), "false");
    let socket = session.socket(SocketSpec::UdpBound(FIRST, here, 5353));
    rustix::net::connect(&socket, &SocketAddrV4::new(there, 53)).unwrap();
    let packet = in_hex(&too_large(network, 5353));
    as_owner(zygote, &session, SESSION, &["packet".to_owned(), here.to_string(), packet]);
    assert_eq!(as_owner(zygote, &session, FIRST, &look), "true");
    session.end();
    drop(socket);
    let next = Session::new(zygote, spec);
    as_owner(zygote, &next, FIRST, &look) == "true"
}

/// The first part of a datagram, of which no second one comes.
fn fragment(network: &NetworkSpec) -> Vec<u8> {
    let (from, to) = (network.address.octets(), network.replicas[0].octets());
    let header = [0x45, 0, 0, 36, 0x77, 0x77, 0x20, 0, 64, 17, 0, 0];
    [&header[..], &from, &to, &[0, 9, 0, 9, 0, 99, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]].concat()
}

/// Does something as the owner of a place's network, and gives what was said of it.
fn as_owner(zygote: &Zygote, session: &Session, place: Place, deed: &[String]) -> String {
    let network = session.sh_in(place, "readlink /proc/self/ns/net");
    let output = Command::new(this())
        .args(["fixture", "owner", &zygote.pid().to_string(), &network])
        .args(deed)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{deed:?}: {}", String::from_utf8_lossy(&output.stderr));
    said.trim_end().to_owned()
}

impl Soil {
    fn look(&self, zygote: &Zygote, session: &Session) -> bool {
        // A fragment is seen where it was sent to.
        let place = if self.step == ProofStep::Fragments { FIRST } else { self.place };
        (self.soiled)(&as_owner(zygote, session, place, &self.look))
    }

    fn put(&self, zygote: &Zygote, session: &Session) {
        assert!(!self.look(zygote, session), "{:?}: it is soiled already", self.step);
        let said = as_owner(zygote, session, self.place, &self.deed);
        assert!(matches!(said.as_str(), "" | "0"), "{:?}: {said}", self.step);
        assert!(self.look(zygote, session), "{:?}: the look does not see it", self.step);
    }
}

/// A session in a network that is used again.
fn inode(session: &Session) -> String {
    session.sh("readlink /proc/self/ns/net")
}

fn used_again(zygote: &Zygote) {
    let spec = shape(1);
    zygote.prepare(&spec.network, 1).unwrap();
    let first = Session::new(zygote, &spec);
    let network = inode(&first);
    traffic(&first, &spec);
    first.end();
    for _ in 0..3 {
        let next = Session::new(zygote, &spec);
        assert_eq!(inode(&next), network);
        assert_eq!(untouched(&next), "");
        traffic(&next, &spec);
        next.end();
    }
    // One more than are kept makes its own, and one of another shape as well.
    let one = Session::new(zygote, &spec);
    let other = Session::new(zygote, &spec);
    assert_ne!(inode(&one), inode(&other));
}

/// Requests between all places: they leave TIME_WAIT, neighbours, and what the bridge has learned.
fn traffic(session: &Session, spec: &SessionSpec) {
    let to = spec.network.replicas[0].to_string();
    let mut server = session.replica(0, &fixture(&["serve", "80"]));
    assert_eq!(server.line(), "listening");
    for place in [Place::Replica(1), SESSION, FIRST] {
        let (said, _) = session.run(process(place, &fixture(&["fetch", &to, "80"])));
        assert!(said.starts_with("hello"), "{said}");
    }
    assert_ne!(session.sh_in(FIRST, "grep -o 'tw [0-9]*' /proc/net/sockstat"), "tw 0");
}

/// What can be seen of earlier tenants from inside; nothing.
fn untouched(session: &Session) -> String {
    [SESSION, FIRST, Place::Replica(1)].map(|place| session.sh_in(place, TRACES)).concat()
}

// Neighbours that the network came with are no traces: they are told for ever, by addresses of ours.
const TRACES: &str = "tail -n +2 /proc/net/arp | grep -v '0x6  *02:00:0a:2c:'; \
    tail -n +2 /proc/net/tcp; tail -n +2 /proc/net/udp; \
    tail -n +2 /proc/net/unix; grep -o 'tw [1-9][0-9]*' /proc/net/sockstat; \
    grep 'FRAG: inuse [1-9]' /proc/net/sockstat; true";

fn soiled(zygote: &Zygote) {
    let spec = shape(2);
    zygote.prepare(&spec.network, 1).unwrap();
    for soil in soils(&spec.network) {
        let session = Session::new(zygote, &spec);
        soil.put(zygote, &session);
        session.end();
        let next = Session::new(zygote, &spec);
        assert!(!soil.look(zygote, &next), "{:?} was left", soil.step);
        assert_eq!(untouched(&next), "");
        next.end();
    }
    assert!(!learned_way(zygote, &spec));
    for half_open in [true, false] {
        let session = Session::new(zygote, &spec);
        let connection = unfinished(&session, &spec, half_open);
        session.end();
        drop(connection);
        let next = Session::new(zygote, &spec);
        assert_eq!(untouched(&next), "");
        next.end();
    }
}

/// A connection from outside that its server does not end in good order: half made, or half closed.
fn unfinished(session: &Session, spec: &SessionSpec, half_open: bool) -> OwnedFd {
    let role = if half_open { "defer" } else { "serve" };
    let mut server = session.replica(0, &fixture(&[role, "80"]));
    assert_eq!(server.line(), "listening");
    let client = session.socket(SocketSpec::Tcp(SESSION));
    let _ = rustix::net::connect(&client, &SocketAddrV4::new(spec.network.replicas[0], 80));
    // SYN_RECV; or FIN_WAIT_2, as the server has closed and we have not.
    let state = if half_open { " 03 " } else { " 05 " };
    eventually("the connection is half made or half closed", || {
        let table = session.sh_in(FIRST, "cat /proc/net/tcp");
        let waits = session.sh_in(FIRST, "grep -o 'tw [0-9]*' /proc/net/sockstat");
        table.contains(state) || (!half_open && waits != "tw 0")
    });
    client
}

fn each_step(zygote: &Zygote) {
    let tried = |step| soils(&shape(0).network).iter().any(|soil| soil.step == step);
    let others = [ProofStep::Sockets, ProofStep::TimeWait];
    assert!(ProofStep::ALL.into_iter().all(|step| tried(step) || others.contains(&step)));
    for (number, soil) in (10..).zip(soils(&shape(0).network)) {
        let spec = shape(number);
        let soil = soils(&spec.network).into_iter().find(|other| other.step == soil.step).unwrap();
        let proof = Proof::WHOLE.without(soil.step);
        zygote.prepare_with(&spec.network, 1, proof).unwrap();
        let session = Session::new(zygote, &spec);
        soil.put(zygote, &session);
        session.end();
        let next = Session::new(zygote, &spec);
        assert!(soil.look(zygote, &next), "{:?}: another step finds it too", soil.step);
    }
    // Sockets: somebody outside holds one.
    let spec = shape(30);
    zygote.prepare_with(&spec.network, 1, Proof::WHOLE.without(ProofStep::Sockets)).unwrap();
    let session = Session::new(zygote, &spec);
    let _held = session.socket(SocketSpec::UdpBound(FIRST, spec.network.replicas[0], 53));
    session.end();
    let next = Session::new(zygote, &spec);
    let taken = next.ask(Ask::Socket(SocketSpec::UdpBound(FIRST, spec.network.replicas[0], 53)));
    assert!(matches!(taken, Err(SandboxError::Os { errno: libc::EADDRINUSE, .. })), "{taken:?}");
    // What was learned of a way.
    let spec = shape(32);
    zygote.prepare_with(&spec.network, 1, Proof::WHOLE.without(ProofStep::Routes)).unwrap();
    assert!(learned_way(zygote, &spec));
    // Connections that wait for stragglers.
    let spec = shape(31);
    zygote.prepare_with(&spec.network, 1, Proof::WHOLE.without(ProofStep::TimeWait)).unwrap();
    let session = Session::new(zygote, &spec);
    traffic(&session, &spec);
    session.end();
    let next = Session::new(zygote, &spec);
    assert_ne!(next.sh_in(FIRST, "grep -o 'tw [0-9]*' /proc/net/sockstat"), "tw 0");
}

fn held_outside(zygote: &Zygote) {
    let spec = shape(3);
    zygote.prepare(&spec.network, 1).unwrap();
    let address = spec.network.replicas[0];
    for held in [
        SocketSpec::TcpListening(FIRST, address, 80),
        SocketSpec::UdpBound(FIRST, address, 80),
        SocketSpec::Tcp(FIRST),
        SocketSpec::SockDiag(SESSION),
    ] {
        let session = Session::new(zygote, &spec);
        let before = inode(&session);
        let socket = session.socket(held.clone());
        session.end();
        let next = Session::new(zygote, &spec);
        assert_ne!(inode(&next), before, "{held:?}");
        assert_eq!(untouched(&next), "");
        // Were it the same network, the name would be taken.
        drop(next.socket(held));
        drop(socket);
        next.end();
    }
    // A name that exists in no file system, in a socket that a tenant has passed on.
    let session = Session::new(zygote, &spec);
    let before = inode(&session);
    let (ours, theirs) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let mut tenant = session.spawn_with(process(FIRST, &fixture(&["abstract", "soil"])), theirs.as_fd());
    assert_eq!(tenant.line(), "passed");
    session.end();
    drop(theirs);
    let next = Session::new(zygote, &spec);
    assert_ne!(inode(&next), before);
    assert_eq!(untouched(&next), "");
    drop(ours);
}

fn many(zygote: &Zygote) {
    let spec = shape(4);
    zygote.prepare(&spec.network, 2).unwrap();
    let soils = soils(&spec.network);
    // Any numbers will do, as long as they are the same each time.
    let mut random = 0x9e37_79b9_u32;
    for _ in 0..300 {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        let session = Session::new(zygote, &spec);
        assert_eq!(untouched(&session), "");
        match random % 24 {
            0..8 => traffic(&session, &spec),
            8 => drop(unfinished(&session, &spec, true)),
            9 => drop(unfinished(&session, &spec, false)),
            10..14 => {
                let soil = &soils[random as usize / 24 % soils.len()];
                soil.put(zygote, &session);
            }
            14 => drop(session.socket(SocketSpec::TcpListening(FIRST, spec.network.replicas[0], 99))),
            _ => {}
        }
        session.end();
    }
}
