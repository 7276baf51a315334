//! A program with the power of a session's owner over its networks: it soils slots, and looks into them.
//!
//! `fixture owner ZYGOTE NETWORK DEED…`; bytes are written in hexadecimal.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Enters the network (`net:[4026532000]`) that the zygote holds, and does something there.
pub(crate) fn run(zygote: &str, network: &str, deed: &[&str]) {
    let user = open(&PathBuf::from(format!("/proc/{zygote}/ns/user")));
    let network = held(zygote, network);
    enter(&user, LinkNameSpaceType::User);
    enter(&network, LinkNameSpaceType::Network);
    match deed {
        // Says how the kernel answered: 0, or an error.
        ["send", protocol, messages] => {
            let messages = bytes(messages);
            let socket = talk(protocol);
            send(&socket, &messages, SendFlags::empty()).unwrap();
            let answer = receive(&socket);
            crate::say(&i32::from_ne_bytes(answer[16..20].try_into().unwrap()).to_string());
        }
        // Says whether an answer contains these bytes.
        ["has", protocol, question, wanted] => {
            let (socket, wanted) = (talk(protocol), bytes(wanted));
            send(&socket, &bytes(question), SendFlags::empty()).unwrap();
            let mut found = false;
            let mut done = false;
            while !done {
                let answer = receive(&socket);
                let mut rest = answer.as_slice();
                while rest.len() >= 16 {
                    let length = u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize;
                    // The end, or an error.
                    if matches!(rest[4], 2 | 3) && rest[5] == 0 {
                        done = true;
                    } else {
                        found |= rest[16..length].windows(wanted.len()).any(|part| part == wanted);
                    }
                    rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
                }
            }
            crate::say(&found.to_string());
        }
        // The same of a question that has one answer.
        ["one", protocol, question, wanted] => {
            let (socket, wanted) = (talk(protocol), bytes(wanted));
            send(&socket, &bytes(question), SendFlags::empty()).unwrap();
            let found = receive(&socket).windows(wanted.len()).any(|part| part == wanted);
            crate::say(&found.to_string());
        }
        ["write", path, value] => std::fs::write(path, value).unwrap(),
        ["read", path] => {
            let mut text = String::new();
            std::fs::File::open(path).unwrap().read_to_string(&mut text).unwrap();
            crate::say(text.trim_end());
        }
        // Sends a whole packet.
        ["packet", to, packet] => {
            let raw = rustix::net::ipproto::RAW;
            let socket =
                socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(raw)).unwrap();
            let to = std::net::SocketAddrV4::new(to.parse().unwrap(), 0);
            rustix::net::sendto(&socket, &bytes(packet), SendFlags::empty(), &to).unwrap();
        }
        other => panic!("{other:?}"),
    }
}

fn open(path: &std::path::Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn held(zygote: &str, network: &str) -> OwnedFd {
    let entries = std::fs::read_dir(format!("/proc/{zygote}/fd")).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let path = paths.find(|path| std::fs::read_link(path).is_ok_and(|to| to.to_str() == Some(network)));
    open(&path.unwrap())
}

fn enter(namespace: &OwnedFd, kind: LinkNameSpaceType) {
    move_into_link_name_space(std::os::fd::AsFd::as_fd(namespace), Some(kind)).unwrap();
}

fn talk(protocol: &str) -> OwnedFd {
    let protocol = match protocol {
        "route" => None,
        "netfilter" => Some(rustix::net::netlink::NETFILTER),
        other => panic!("{other}"),
    };
    socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol).unwrap()
}

fn receive(socket: &OwnedFd) -> Vec<u8> {
    let mut buffer = vec![0; 64 * 1024];
    let (_, received) = recv(socket, buffer.as_mut_slice(), RecvFlags::empty()).unwrap();
    buffer.truncate(received);
    buffer
}

fn bytes(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
