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

fn forever() -> ! {
    loop {
        std::thread::park();
    }
}
