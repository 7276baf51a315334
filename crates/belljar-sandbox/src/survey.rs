//! What there is in a network namespace, as the kernel tells it: raw netlink messages without what changes by
//! itself (counters, ages, timers), so that two looks at an untouched namespace are equal.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use crate::error::{During as _, SandboxError, Step};
use crate::proof::ProofStep;

const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// The length of a message's own header.
const HEADER: usize = 16;
/// Enough for the largest answer to one read: the kernel cuts a dump into pieces that fit.
const BUFFER: usize = 16 * 1024;

/// One kind of things that a namespace has, and how to ask for them.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) step: ProofStep,
    request: u16,
    question: &'static [u8],
    /// The length of what comes before the attributes in an answer.
    fixed: usize,
    /// Paths of attributes that change by themselves.
    volatile: &'static [&'static [u16]],
}

/// Links without their statistics: `IFLA_EXT_MASK` with `RTEXT_FILTER_SKIP_STATS`.
const LINKS: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 29, 0, 8, 0, 0, 0];
/// `struct ndmsg` with `NTF_PROXY`.
const PROXIES: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0];
/// `struct ndmsg` of `AF_BRIDGE`.
const FORWARDING: &[u8] = &[7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// What is the same in an untouched namespace, and was not made by a session's traffic.
pub(crate) const TABLES: &[Table] = &[
    Table {
        step: ProofStep::Links,
        request: 18,
        question: LINKS,
        fixed: 16,
        volatile: &[
            // Statistics, and how often there was a carrier.
            &[7],
            &[23],
            &[35],
            &[47],
            &[48],
            // Of the link's kind: statistics, and the timers and learned addresses of a bridge and its ports.
            &[18, 3],
            &[18, 2, 16],
            &[18, 2, 17],
            &[18, 2, 18],
            &[18, 2, 19],
            &[18, 2, 48],
            &[18, 5, 21],
            &[18, 5, 22],
            &[18, 5, 23],
            // Of IPv6: statistics, and a time that the kernel draws anew now and then.
            &[26, 10, 3],
            &[26, 10, 5],
            &[26, 10, 6],
        ],
    },
    Table { step: ProofStep::Addresses, request: 22, question: &[0; 8], fixed: 8, volatile: &[&[6]] },
    Table { step: ProofStep::Routes, request: 26, question: &[0; 12], fixed: 12, volatile: &[&[12]] },
    Table { step: ProofStep::Rules, request: 34, question: &[0; 12], fixed: 12, volatile: &[] },
    Table { step: ProofStep::Queues, request: 38, question: &[0; 20], fixed: 20, volatile: &[&[3], &[7]] },
    Table { step: ProofStep::Neighbours, request: 30, question: PROXIES, fixed: 12, volatile: &[&[3]] },
    // Forwarding, filters of sources and the like, of each interface and of those to come.
    Table { step: ProofStep::Settings, request: 82, question: &[2, 0, 0, 0], fixed: 4, volatile: &[] },
    Table { step: ProofStep::Settings, request: 82, question: &[10, 0, 0, 0], fixed: 4, volatile: &[] },
];

/// What a session's traffic makes: it is removed, and looked for again.
pub(crate) const NEIGHBOURS: Table = Table {
    step: ProofStep::Neighbours,
    request: 30,
    question: &[0; 12],
    fixed: 12,
    volatile: &[&[3], &[4]],
};
pub(crate) const LEARNED: Table =
    Table { step: ProofStep::Bridge, request: 30, question: FORWARDING, fixed: 12, volatile: &[&[3]] };

/// The entries of a table.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// What lasts of each, and the whole message.
    by_key: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What lasts of each, as the kernel told them.
    in_order: Vec<Vec<u8>>,
}

impl Entries {
    /// The messages that tell of entries which another look did not find.
    pub(crate) fn beyond<'a>(&'a self, first: &'a Self) -> impl Iterator<Item = &'a [u8]> {
        let new = self.by_key.iter().filter(|(entry, _)| !first.by_key.contains_key(*entry));
        new.map(|(_, message)| message.as_slice())
    }
}

impl Table {
    /// What lasts of an entry.
    fn keep(&self, kind: u16, body: &[u8], entry: &mut Vec<u8>) {
        entry.extend(kind.to_ne_bytes());
        let (fixed, attributes) = body.split_at(self.fixed.min(body.len()));
        entry.extend(fixed);
        keep_lasting(entry, attributes, &mut Vec::new(), self.volatile);
    }
}

/// A netlink socket that speaks of the namespace that it was opened in, from anywhere.
#[derive(Debug)]
pub(crate) struct Talk {
    socket: OwnedFd,
}

impl Talk {
    /// Opens one in the namespace that we are in.
    pub(crate) fn open(protocol: Option<Protocol>) -> Result<Self, SandboxError> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol);
        socket.map(|socket| Self { socket }).during(Step::OpenNetlink)
    }

    pub(crate) fn open_netfilter() -> Result<Self, SandboxError> {
        Self::open(Some(netlink::NETFILTER))
    }

    pub(crate) fn open_sock_diag() -> Result<Self, SandboxError> {
        Self::open(Some(netlink::SOCK_DIAG))
    }

    /// Every entry of a table.
    pub(crate) fn table(&self, table: &Table) -> Result<Entries, SandboxError> {
        let mut entries = Entries::default();
        self.dump(table.request, table.question, |kind, body| {
            let mut entry = Vec::new();
            table.keep(kind, body, &mut entry);
            entries.in_order.push(entry.clone());
            entries.by_key.insert(entry, body.to_vec());
        })?;
        Ok(entries)
    }

    /// Whether a table has exactly the entries that it had at first.
    pub(crate) fn still_has(&self, table: &Table, first: &Entries) -> Result<bool, SandboxError> {
        // Mostly they come in the order in which they came then, and nothing has to be kept of them.
        let mut expected = first.in_order.iter();
        let mut same = true;
        let mut entry = Vec::new();
        self.dump(table.request, table.question, |kind, body| {
            if same {
                entry.clear();
                table.keep(kind, body, &mut entry);
                same = expected.next() == Some(&entry);
            }
        })?;
        if same && expected.next().is_none() {
            return Ok(true);
        }
        Ok(self.table(table)?.by_key.keys().eq(first.by_key.keys()))
    }

    /// Asks for everything of a kind. A kind that this kernel does not have is empty.
    pub(crate) fn dump(
        &self,
        request: u16,
        question: &[u8],
        mut each: impl FnMut(u16, &[u8]),
    ) -> Result<(), SandboxError> {
        let mut message = Vec::new();
        append(&mut message, request, REQUEST | DUMP, question);
        self.send(&message)?;
        loop {
            let mut done = None;
            self.receive(|kind, body| match kind {
                DONE | ERROR => done = Some(code(body)),
                kind => each(kind, body),
            })?;
            match done {
                None => {}
                Some(Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOENT | Errno::INVAL)) => return Ok(()),
                Some(Err(errno)) => return Err(errno).during(Step::Netlink),
            }
        }
    }

    /// Carries out orders that were put together with [`append`], each acknowledged. How many were refused.
    pub(crate) fn order(&self, orders: &[Vec<u8>]) -> Result<usize, SandboxError> {
        let mut refused = 0;
        for chunk in orders.chunks(64) {
            self.send(&chunk.concat())?;
            let mut answers = 0;
            while answers < chunk.len() {
                self.receive(|kind, body| {
                    if kind == ERROR {
                        answers += 1;
                        refused += usize::from(code(body).is_err());
                    }
                })?;
            }
        }
        Ok(refused)
    }

    fn send(&self, message: &[u8]) -> Result<(), SandboxError> {
        send(&self.socket, message, SendFlags::empty()).map(drop).during(Step::Netlink)
    }

    fn receive(&self, mut each: impl FnMut(u16, &[u8])) -> Result<(), SandboxError> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let ((answer, _), length) =
            recv(&self.socket, &mut buffer, RecvFlags::TRUNC).during(Step::Netlink)?;
        let mut rest: &[u8] = answer;
        if length > rest.len() {
            return Err(SandboxError::Protocol);
        }
        while rest.len() >= HEADER {
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            let body = rest.get(HEADER..length).ok_or(SandboxError::Protocol)?;
            each(kind, body);
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }
}

/// An order that wants an answer.
pub(crate) fn order(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    append(&mut message, kind, REQUEST | ACKNOWLEDGE | flags, body);
    message
}

/// Appends a message.
pub(crate) fn append(bytes: &mut Vec<u8>, kind: u16, flags: u16, body: &[u8]) {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Appends an attribute of a message.
pub(crate) fn append_attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The number that an answer begins with, as a result.
fn code(body: &[u8]) -> Result<(), Errno> {
    let code = body.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
    if code == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(-code)) }
}

/// The attributes of a message, each with its kind.
pub(crate) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes([*rest.first()?, *rest.get(1)?]));
        let kind = u16::from_ne_bytes([*rest.get(2)?, *rest.get(3)?]) & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn keep_lasting(entry: &mut Vec<u8>, bytes: &[u8], path: &mut Vec<u16>, volatile: &[&[u16]]) {
    for (kind, value) in attributes(bytes) {
        path.push(kind);
        if volatile.iter().any(|one| one.len() > path.len() && one.starts_with(path)) {
            entry.extend(kind.to_ne_bytes());
            keep_lasting(entry, value, path, volatile);
        } else if !volatile.contains(&path.as_slice()) {
            entry.extend(kind.to_ne_bytes());
            entry.extend(value);
        }
        path.pop();
    }
}
