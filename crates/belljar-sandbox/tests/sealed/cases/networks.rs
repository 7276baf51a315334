//! The network of a session.

use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::Duration;

use belljar_sandbox::spec::{ExitStatus, Place, SocketSpec, Target};
use belljar_sandbox::{Answer, Ask, SandboxError, Zygote, is_listening};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::Case;
use crate::world::{Session, address, eventually, fixture, process, spec};

pub(super) const CASES: &[(&str, Case)] = &[
    ("replicas reach each other at once, also on low ports", reach),
    ("a network has nothing in it but its own", own_network),
    ("sessions do not see each other", apart),
    ("a listener is seen when it listens, and not before", listening),
    ("a replica comes to a session that runs, and names follow", joins),
    ("a session without replicas gets some", first_joins),
    ("sockets are made where they are asked for", sockets),
    ("a service of the host has a network with nothing else in it", host_services),
    ("a datagram socket takes what a replica sends", datagrams),
];

fn reach(zygote: &Zygote) {
    // The first packets after a launch are the ones that an interface that is not up yet would lose; TCP would
    // send them again after a second.
    for _ in 0..5 {
        let session = Session::new(zygote, &spec(3));
        let mut server = session.replica(0, &fixture(&["serve", "80"]));
        assert_eq!(server.line(), "listening");
        let started = std::time::Instant::now();
        for (place, from) in [
            (Place::Replica(1), "10.9.0.3"),
            (Place::Replica(2), "10.9.0.4"),
            (Place::Session, "10.9.0.1"),
            (Place::Replica(0), "10.9.0.2"),
        ] {
            let (greeting, status) = session.run(process(place, &fixture(&["fetch", "10.9.0.2", "80"])));
            assert_eq!((greeting, status), (format!("hello {from}"), ExitStatus::Code(0)));
        }
        assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
        let (greeting, _) = session.run(process(Place::Replica(0), &fixture(&["fetch", "127.0.0.1", "80"])));
        assert_eq!(greeting, "hello 127.0.0.1");
        let (_, status) = session.run(process(Place::Replica(1), &fixture(&["fetch", "127.0.0.1", "80"])));
        assert_ne!(status, ExitStatus::Code(0));
    }
}

fn joins(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(1));
    let mut server = session.replica(0, &fixture(&["serve", "80"]));
    assert_eq!(server.line(), "listening");
    let hardware = || session.sh_in(Place::Session, "cat /sys/class/net/belljar/address");
    let before = hardware();
    join(zygote, &session, 1);
    let mut late = session.replica(1, &fixture(&["serve", "80"]));
    assert_eq!(late.line(), "listening");
    for (place, to, from) in [
        (Place::Replica(1), "10.9.0.2", "10.9.0.3"),
        (Place::Replica(0), "10.9.0.3", "10.9.0.2"),
        (Place::Session, "10.9.0.3", "10.9.0.1"),
    ] {
        let (greeting, status) = session.run(process(place, &fixture(&["fetch", to, "80"])));
        assert_eq!((greeting, status), (format!("hello {from}"), ExitStatus::Code(0)));
    }
    // Else what the others remember of it would lead nowhere; a few more make it likely that one is lower.
    (2..10).for_each(|replica| join(zygote, &session, replica));
    assert_eq!(hardware(), before);
    let rewrite = |path: &str, text: &str| session.ask(Ask::Rewrite { path: path.into(), text: text.into() });
    for text in ["10.9.0.2 db\n10.9.0.3 db-2\n", "10.9.0.2 db\n"] {
        assert_eq!(rewrite("/etc/hosts", text), Ok(Answer::Done));
        for place in [Place::Session, Place::Replica(0), Place::Replica(1)] {
            assert_eq!(session.sh_in(place, "cat /etc/hosts"), text.trim_end());
        }
    }
    assert_eq!(rewrite("/etc/passwd", ""), Err(SandboxError::Protocol), "only what was generated");
    // What is killed in a new place is what runs there.
    assert_eq!(session.ask(Ask::KillAll(Target::Replica(1))), Ok(Answer::Done));
    let (_, status) = session.run(process(Place::Session, &fixture(&["fetch", "10.9.0.3", "80"])));
    assert_ne!(status, ExitStatus::Code(0));
    let (greeting, _) = session.run(process(Place::Session, &fixture(&["fetch", "10.9.0.2", "80"])));
    assert_eq!(greeting, "hello 10.9.0.1");
}

fn first_joins(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(0));
    for replica in 0..2 {
        join(zygote, &session, replica);
    }
    let mut server = session.replica(0, &fixture(&["serve", "80"]));
    assert_eq!(server.line(), "listening");
    let (greeting, _) = session.run(process(Place::Replica(1), &fixture(&["fetch", "10.9.0.2", "80"])));
    assert_eq!(greeting, "hello 10.9.0.3");
    let (greeting, _) = session.run(process(Place::Session, &fixture(&["fetch", "10.9.0.2", "80"])));
    assert_eq!(greeting, "hello 10.9.0.1");
}

fn join(zygote: &Zygote, session: &Session, replica: u8) {
    let network = zygote.network().unwrap();
    let ask = Ask::AddReplica { address: address(replica), prefix: 24 };
    let asked = session.send(ask, &[network.as_fd()]);
    assert_eq!(session.answer(asked).unwrap().0, Answer::Done);
}

fn own_network(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(2));
    let devices = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | sort | tr '\\n' ' '";
    assert_eq!(session.sh_in(Place::Replica(0), devices), "eth0 lo");
    assert_eq!(session.sh_in(Place::Session, devices), "belljar lo r0 r1");
    assert_eq!(session.sh_in(Place::Replica(0), "ls /sys/class/net | tr '\\n' ' '"), "eth0 lo");
    for place in [Place::Replica(0), Place::Session] {
        let default = "cut -f2 /proc/net/route | grep -c ^00000000$; true";
        assert_eq!(session.sh_in(place, default), "0");
        let ipv6 =
            session.sh_in(place, "test ! -e /proc/net/if_inet6 || grep -v ' lo$' /proc/net/if_inet6; true");
        assert_eq!(ipv6, "");
    }
}

fn apart(zygote: &Zygote) {
    let (one, other) = (Session::new(zygote, &spec(1)), Session::new(zygote, &spec(2)));
    let mut server = one.replica(0, &fixture(&["serve", "80"]));
    assert_eq!(server.line(), "listening");
    let (_, status) = other.run(process(Place::Replica(1), &fixture(&["fetch", "10.9.0.2", "80"])));
    assert_ne!(status, ExitStatus::Code(0));
}

fn listening(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(2));
    let places = [Place::Replica(0), Place::Replica(1), Place::Session];
    let [first, second, own] = places.map(|place| session.socket(SocketSpec::SockDiag(place)));
    let ask = |socket: &std::os::fd::OwnedFd, address: Ipv4Addr, port: u16| {
        is_listening(socket.as_fd(), address, port).unwrap()
    };
    assert!(!ask(&first, address(0), 80));
    let mut server = session.replica(0, &fixture(&["serve", "80"]));
    assert_eq!(server.line(), "listening");
    assert!(ask(&first, address(0), 80) && ask(&first, Ipv4Addr::LOCALHOST, 80));
    assert!(!ask(&first, address(0), 81) && !ask(&second, address(1), 80));
    session.signal(belljar_sandbox::spec::Target::Unit(server.unit), libc::SIGKILL);
    session.exit(server.unit);
    assert!(!ask(&first, address(0), 80));
    let listener = session.socket(SocketSpec::TcpListening(Place::Session, Ipv4Addr::new(10, 9, 0, 1), 8000));
    assert!(ask(&own, Ipv4Addr::new(10, 9, 0, 1), 8000) && !ask(&own, Ipv4Addr::LOCALHOST, 8000));
    drop(listener);
    // The init closes its own copy at about the same time.
    eventually("nobody listens", || !ask(&own, Ipv4Addr::new(10, 9, 0, 1), 8000));
}

fn sockets(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(2));
    let mut server = session.replica(0, &fixture(&["serve", "8080"]));
    assert_eq!(server.line(), "listening");
    for (place, from) in [(Place::Session, "10.9.0.1"), (Place::Replica(1), "10.9.0.3")] {
        let socket = session.socket(SocketSpec::Tcp(place));
        let to = std::net::SocketAddrV4::new(address(0), 8080);
        assert_eq!(rustix::net::connect(&socket, &to), Err(Errno::INPROGRESS));
        let mut greeting = Vec::new();
        eventually("the greeting is complete", || {
            let mut buffer = [0; 64];
            match recv(&socket, &mut buffer, RecvFlags::empty()) {
                Ok((_, 0)) => true,
                Ok((_, received)) => {
                    greeting.extend_from_slice(&buffer[..received]);
                    false
                }
                Err(Errno::AGAIN | Errno::NOTCONN) => false,
                Err(errno) => panic!("{errno}"),
            }
        });
        assert_eq!(greeting, format!("hello {from}").into_bytes());
    }
    let udp = session.socket(SocketSpec::UdpBound(Place::Session, Ipv4Addr::new(10, 9, 0, 1), 53));
    session.sh_in(
        Place::Replica(0),
        "command -v bash > /dev/null || exit 0; exec bash -c 'echo asked > /dev/udp/10.9.0.1/53'",
    );
    let mut buffer = [0; 64];
    eventually("the datagram comes", || recv(&udp, &mut buffer, RecvFlags::empty()).is_ok());
    assert!(buffer.starts_with(b"asked"));
    let taken =
        session.ask(Ask::Socket(SocketSpec::UdpBound(Place::Session, Ipv4Addr::new(10, 9, 0, 1), 53)));
    assert!(matches!(taken, Err(SandboxError::Os { errno: libc::EADDRINUSE, .. })), "{taken:?}");
}

fn host_services(zygote: &Zygote) {
    // Without a replica too.
    for replicas in [0, 1] {
        let mut spec = spec(replicas);
        spec.network.host_services = vec![Ipv4Addr::new(10, 9, 0, 200), Ipv4Addr::new(10, 9, 0, 201)];
        let session = Session::new(zygote, &spec);
        let second = spec.network.host_services[1];
        let _listener = session.socket(SocketSpec::TcpListening(Place::HostService(1), second, 5000));
        let from = [Place::Session, Place::Replica(0)];
        for place in &from[..=usize::from(replicas)] {
            let connect = |address: Ipv4Addr, port: u16| {
                let socket = session.socket(SocketSpec::Tcp(*place));
                let to = std::net::SocketAddrV4::new(address, port);
                assert_eq!(rustix::net::connect(&socket, &to), Err(Errno::INPROGRESS));
                socket
            };
            let there = connect(second, 5000);
            eventually("it is connected", || rustix::net::getpeername(&there).is_ok());
            for (address, port) in [(second, 5001), (spec.network.host_services[0], 5000)] {
                let nobody = connect(address, port);
                eventually("it is refused", || {
                    recv(&nobody, &mut [0; 1], RecvFlags::empty()) == Err(Errno::CONNREFUSED)
                });
            }
        }
        let beyond = SocketSpec::Tcp(Place::HostService(2));
        assert_eq!(session.ask(Ask::Socket(beyond)).err(), Some(SandboxError::Protocol));
    }
}

fn datagrams(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(1));
    let path = PathBuf::from(format!("/run/belljar/{}/notify.sock", "long/".repeat(10)));
    for _ in 0..2 {
        // The second takes the name over.
        let socket = session.socket(SocketSpec::UnixDatagram(path.clone()));
        let argv = fixture(&["datagram", path.to_str().unwrap()]);
        assert_eq!(session.run(process(Place::Replica(0), &argv)).1, ExitStatus::Code(0));
        let mut buffer = [0; 64];
        let (_, received) = recv(&socket, &mut buffer, RecvFlags::empty()).unwrap();
        assert_eq!(&buffer[..received], b"READY=1");
    }
    let far = PathBuf::from(format!("/run/{}/notify.sock", "very-long/".repeat(30)));
    session.socket(SocketSpec::UnixDatagram(far));
}
