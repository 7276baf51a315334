//! Tiny programs that run inside a session: this same binary, called with `fixture`.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::ExitCode;
use std::time::Duration;

pub(crate) fn run(words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        // Greets everybody who connects.
        ["serve", port] => {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port.parse().unwrap())).unwrap();
            crate::say("listening");
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let from = stream.peer_addr().unwrap().ip();
                write!(stream, "hello {from}").unwrap();
            }
        }
        ["fetch", address, port] => {
            let address: Ipv4Addr = address.parse().unwrap();
            let to = (address, port.parse().unwrap()).into();
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5)).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            crate::say(&text);
        }
        ["owner", zygote, network, deed @ ..] => crate::owner::run(zygote, network, deed),
        // Takes no connection before something has been sent over it, and so leaves it half made.
        ["defer", port] => {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port.parse().unwrap())).unwrap();
            defer(&listener);
            crate::say("listening");
            forever();
        }
        // Binds a name without a file, and passes the socket on over its standard input.
        ["abstract", name] => {
            use std::os::linux::net::SocketAddrExt as _;
            let name = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
            let listener = UnixListener::bind_addr(&name).unwrap();
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = rustix::net::SendAncillaryBuffer::new(&mut space);
            let fds = [std::os::fd::AsFd::as_fd(&listener)];
            assert!(ancillary.push(rustix::net::SendAncillaryMessage::ScmRights(&fds)));
            let text = [std::io::IoSlice::new(b"x")];
            rustix::net::sendmsg(std::io::stdin(), &text, &mut ancillary, rustix::net::SendFlags::empty())
                .unwrap();
            crate::say("passed");
            forever();
        }
        ["datagram", path] => {
            UnixDatagram::unbound().unwrap().send_to(b"READY=1", path).unwrap();
        }
        ["socket", path] => {
            let _listener = UnixListener::bind(path).unwrap();
            crate::say("listening");
            forever();
        }
        // Several threads that never rest.
        ["spin", threads] => {
            for _ in 0..threads.parse::<u32>().unwrap() {
                std::thread::spawn(|| {
                    loop {
                        std::hint::black_box(0);
                    }
                });
            }
            crate::say("spinning");
            forever();
        }
        // Makes children all the time, one after another.
        ["fork"] => loop {
            std::process::Command::new("/bin/true").status().unwrap();
        },
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

#[expect(unsafe_code, reason = "nobody offers this option safely")]
fn defer(listener: &TcpListener) {
    let (fd, seconds) = (std::os::fd::AsRawFd::as_raw_fd(listener), 20_i32);
    let length = libc::socklen_t::try_from(size_of_val(&seconds)).unwrap();
    // SAFETY: the value is a live integer of the length that is said.
    let result = unsafe {
        libc::setsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast::<libc::c_void>(),
            length,
        )
    };
    assert_eq!(result, 0);
}

fn forever() -> ! {
    loop {
        std::thread::park();
    }
}
