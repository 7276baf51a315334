//! What a session's init and its host process say to each other, as packets of a socket.

use std::fmt::Debug;
use std::fs::File;
use std::io::{IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};

use belljar_sandbox::spec::SessionSpec;
use belljar_sandbox::{Message, Request, SandboxError, fuzzing};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
    socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::input::Input;

/// One packet, with any payload in it or beside it and with any descriptors: a message that is written as it
/// was read, or an error; and the connection is still of use.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 3 {
        0 => check::<Request>(input),
        1 => check::<Message>(input),
        _ => check::<SessionSpec>(input),
    }
}

fn check<T: Debug + PartialEq + Serialize + DeserializeOwned>(mut input: Input<'_>) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .expect("two descriptors are to be had");
    let form = input.byte();
    let descriptors = usize::from(input.byte() % 5);
    let (packet, beside) = match form % 8 {
        // As it is sent: here, or in a file beside the packet.
        0..=4 => ([&[0], input.rest()].concat(), None),
        5 | 6 => (vec![1], Some(file_of(input.rest()))),
        // Any packet at all; an empty one is the end of the connection.
        _ => (input.rest().to_vec(), None),
    };
    let null = File::open("/dev/null").expect("it is always there");
    let mut all = Vec::from_iter(beside.as_ref().map(OwnedFd::as_fd));
    all.extend(std::iter::repeat_n(null.as_fd(), descriptors));
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(all.is_empty() || ancillary.push(SendAncillaryMessage::ScmRights(&all)));
    if sendmsg(&ours, &[IoSlice::new(&packet)], &mut ancillary, SendFlags::NOSIGNAL).is_err() {
        return;
    }
    match fuzzing::try_receive::<T>(theirs.as_fd()) {
        Ok(Some((message, fds))) => {
            assert_eq!(fds.len(), descriptors, "descriptors of another message");
            fuzzing::send(ours.as_fd(), &message, &[]).expect("it was read");
            let again = fuzzing::try_receive::<T>(theirs.as_fd()).expect("it was sent");
            assert_eq!(again.map(|(again, _)| again), Some(message));
        }
        Ok(None) => panic!("a packet that was sent was not there"),
        Err(error) => {
            assert!(
                matches!(error, SandboxError::Protocol) || (packet.is_empty() && error == SandboxError::Gone),
                "{error:?}"
            );
            assert!(
                matches!(fuzzing::try_receive::<T>(theirs.as_fd()), Ok(None)),
                "something of it was left"
            );
        }
    }
}

fn file_of(bytes: &[u8]) -> OwnedFd {
    let mut file = File::from(memfd_create("fuzzed", MemfdFlags::CLOEXEC).expect("memory is to be had"));
    file.write_all(bytes).expect("memory is to be had");
    file.into()
}

pub const WORDS: &[&str] = &[
    r#"{"id":1,"ask":"#,
    r#""Processes""#,
    r#"{"Spawn":"#,
    r#"{"Signal":{"target":{"Unit":1},"signal":9}}"#,
    r#"{"KillAll":{"Replica":0}}"#,
    r#"{"Freeze":{"UnitGroup":3}}"#,
    r#"{"Thaw":{"Replica":65535}}"#,
    r#"{"Socket":{"Tcp":"Session"}}"#,
    r#"{"UdpBound":[{"Replica":1},"10.77.0.1",53]}"#,
    r#"{"SockDiag":{"Replica":0}}"#,
    r#"{"UnixDatagram":"/run/x"}"#,
    r#"{"Check":{"unit":1,"check":{"Exists":"/x"}}}"#,
    r#"{"Connects":"/x"}"#,
    r#"{"Reply":{"id":1,"result":{"Ok":"Done"}}}"#,
    r#"{"Reply":{"id":1,"result":{"Err":"Gone"}}}"#,
    r#"{"Exited":{"unit":1,"status":{"Code":0}}}"#,
    r#"{"Spawned":{"pid":17}}"#,
    r#"{"Holds":true}"#,
    r#"{"Signalled":{"processes":1}}"#,
    r#"{"Processes":[]}"#,
    "\"ReadOnly\"",
    "\"Overlay\"",
    "null",
    "[",
    "{",
    "\\u0000",
    "\\ud800",
    "-1",
    "18446744073709551616",
];
