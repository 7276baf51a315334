//! The proof that a slot is as it was when it was made: what a session's traffic leaves is removed, and then
//! everything is compared with the first look.
//!
//! When it begins, every process of the last tenant is dead. What may be left is what the kernel keeps (sockets
//! that are still closing, neighbours, connection tracking), what descriptors keep that were passed out of the
//! session, and what the session's owner had configured. A socket that somebody still holds cannot be taken
//! away, so a slot with one is not clean, whatever state the socket is in.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::poll;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::time::Timespec;
use serde::{Deserialize, Serialize};

use crate::error::{During as _, SandboxError, Step};
use crate::netlink::LOOPBACK;
use crate::slot::{BRIDGE, SETTLE, Slot, enter_network};
use crate::survey::{self, Entries, LEARNED, NEIGHBOURS, TABLES, Talk};

/// What is looked at. Tests leave one out to see that it is missed; nobody else does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u32)]
pub enum ProofStep {
    /// No socket is left, of any family: neither held by anybody nor still closing.
    Sockets,
    /// None waits for the stragglers of its connection.
    TimeWait,
    /// No part of a datagram waits for the others.
    Fragments,
    Tracking,
    Filters,
    Links,
    Addresses,
    /// With what was learned of ways: smaller packets, other gateways.
    Routes,
    Rules,
    Neighbours,
    /// What the bridge has learned.
    Bridge,
    Queues,
    Settings,
}

impl ProofStep {
    pub const ALL: [Self; 13] = [
        Self::Sockets,
        Self::TimeWait,
        Self::Fragments,
        Self::Tracking,
        Self::Filters,
        Self::Links,
        Self::Addresses,
        Self::Routes,
        Self::Rules,
        Self::Neighbours,
        Self::Bridge,
        Self::Queues,
        Self::Settings,
    ];
}

/// The steps of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    steps: u32,
}

impl Proof {
    /// The only one that proves anything.
    pub const WHOLE: Self = Self { steps: u32::MAX };

    #[must_use]
    pub const fn without(self, step: ProofStep) -> Self {
        Self { steps: self.steps & !(1 << step as u32) }
    }

    const fn has(self, step: ProofStep) -> bool {
        self.steps & (1 << step as u32) != 0
    }
}

/// Settings of a namespace that are not told with its interfaces, and that we, or whoever has our power over it,
/// may have changed. Tenants cannot change any.
const SETTINGS: &[&str] = &[
    "/proc/sys/net/ipv4/ip_unprivileged_port_start",
    "/proc/sys/net/ipv4/ip_local_port_range",
    "/proc/sys/net/ipv4/ip_local_reserved_ports",
    "/proc/sys/net/ipv4/ip_default_ttl",
    "/proc/sys/net/ipv4/icmp_echo_ignore_all",
    "/proc/sys/net/ipv4/tcp_no_metrics_save",
    "/proc/sys/net/ipv4/tcp_rto_max_ms",
    "/proc/sys/net/ipv4/tcp_fin_timeout",
    "/proc/sys/net/ipv4/tcp_congestion_control",
    "/proc/sys/net/core/somaxconn",
];
/// Tables of the older packet filters; only their owner's look makes them.
const OLD_FILTERS: &[&str] = &[
    "/proc/thread-self/net/ip_tables_names",
    "/proc/thread-self/net/ip6_tables_names",
    "/proc/thread-self/net/arp_tables_names",
];
/// What is counted, of IPv4 and of IPv6.
const COUNTS: &[&str] = &["/proc/thread-self/net/sockstat", "/proc/thread-self/net/sockstat6"];
const TRACKED: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
/// Whatever is written there has everything forgotten that was learned of routes.
const FORGET_ROUTES: &[&str] = &["/proc/sys/net/ipv4/route/flush", "/proc/sys/net/ipv6/route/flush"];
/// No file of all these says more than this.
const LONGEST: usize = 2048;
/// With more remains of connections than this, making another slot is quicker than removing them.
const MOST_REMAINS: usize = 2000;

/// A slot that can be proved clean: its namespaces, each with the sockets that speak of it, and the first look.
#[derive(Debug)]
pub(crate) struct Provable {
    slot: Slot,
    rooms: Vec<Room>,
}

/// One namespace of a slot. Everything that speaks of it was opened in it and does so from anywhere.
#[derive(Debug)]
struct Room {
    /// They are ours, and the only sockets in it: the kernel counts a netlink socket for a while after its end,
    /// so they are kept for the slot's whole life.
    route: Talk,
    sockets: Talk,
    filters: Talk,
    files: Files,
    first: Look,
}

/// The files that tell of a namespace, and those by which its kernel forgets.
#[derive(Debug)]
struct Files {
    counts: Vec<Teller>,
    tracked: Teller,
    settings: Vec<Teller>,
    old_filters: Vec<Teller>,
    forget_routes: Vec<Teller>,
}

/// A file of the kernel's that was opened in a namespace and speaks of that one.
#[derive(Debug)]
struct Teller {
    path: &'static str,
    /// None where the kernel did not have it or, as with the names of old filters, keeps it for the machine's root
    /// alone.
    file: Option<OwnedFd>,
}

/// As many as a room has.
const OUR_SOCKETS: u64 = 3;

/// Everything of a namespace that is compared.
#[derive(Debug)]
struct Look {
    tables: Vec<Entries>,
    neighbours: Entries,
    learned: Entries,
    settings: Vec<Vec<u8>>,
    old_filters: Vec<Vec<u8>>,
}

impl Provable {
    /// Takes the first look at a slot that nobody has used yet. Comes back to `home`.
    pub(crate) fn new(slot: Slot, home: BorrowedFd<'_>) -> Result<Self, SandboxError> {
        let rooms = slot.places().map(|(_, namespace)| {
            enter_network(namespace)?;
            let (route, sockets, filters) =
                (Talk::open(None)?, Talk::open_sock_diag()?, Talk::open_netfilter()?);
            await_links(&route)?;
            let files = Files::open()?;
            let first = Look::take(&route, &files)?;
            Ok(Room { route, sockets, filters, files, first })
        });
        let rooms = rooms.collect::<Result<Vec<Room>, SandboxError>>();
        enter_network(home)?;
        Ok(Self { rooms: rooms?, slot })
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Removes what the last tenant's traffic has left, and looks whether all is as it was; the step that found
    /// that it is not.
    pub(crate) fn prove(&self, proof: Proof) -> Result<Option<ProofStep>, SandboxError> {
        // A connection has two ends, which still speak to each other: first they are removed everywhere.
        let mut removed = false;
        let mut counts = Vec::new();
        for room in &self.rooms {
            let found = room.files.counts()?;
            let has_remains = (proof.has(ProofStep::Sockets) && found.sockets > OUR_SOCKETS)
                || (proof.has(ProofStep::TimeWait) && found.time_wait > 0);
            if has_remains {
                room.destroy_connections(proof)?;
                removed = true;
            }
            counts.push(found);
        }
        for (room, counted) in self.rooms.iter().zip(counts) {
            let counts = if removed { room.files.counts()? } else { counted };
            if let Some(step) = room.prove(counts, proof)? {
                return Ok(Some(step));
            }
        }
        Ok(None)
    }
}

impl Room {
    /// What is left of connections is ended, whoever may hold a socket of it.
    fn destroy_connections(&self, proof: Proof) -> Result<(), SandboxError> {
        const DESTROY: u16 = 21;
        const TCP: u8 = 6;
        const TIME_WAIT: u8 = 6;
        // The older question, which asks for both families at once.
        const ALL_TCP: u16 = 18;
        // All but listening and merely bound: those are somebody's still, and looking for them goes through the
        // whole machine's.
        const STATES: u32 = 0x1bff;
        let mut question = [0; 60];
        question[52..56].copy_from_slice(&STATES.to_ne_bytes());
        let mut orders = Vec::new();
        self.sockets.dump(ALL_TCP, &question, |_, found| {
            let (Some(&family), Some(&state), Some(id)) = (found.first(), found.get(1), found.get(4..52))
            else {
                return;
            };
            let step = if state == TIME_WAIT { ProofStep::TimeWait } else { ProofStep::Sockets };
            if proof.has(step) {
                let mut body = vec![family, TCP, 0, 0, 0xff, 0xff, 0xff, 0xff];
                body.extend(id);
                orders.push(survey::order(DESTROY, 0, &body));
            }
        })?;
        if orders.len() <= MOST_REMAINS {
            // One that has gone by itself meanwhile is as good; what stays is seen by the counts.
            self.sockets.order(&orders)?;
        }
        Ok(())
    }

    fn has_filters(&self) -> Result<bool, SandboxError> {
        let mut any = false;
        self.filters.dump(0xa01, &[0; 4], |_, _| any = true)?;
        Ok(any)
    }

    /// Deletes every table of every family; the three messages are a transaction. Whether there is none now.
    fn forget_filters(&self) -> Result<bool, SandboxError> {
        const SUBSYSTEM: [u8; 4] = [0, 0, 0, 10];
        if !self.has_filters()? {
            return Ok(true);
        }
        let mut message = Vec::new();
        survey::append(&mut message, 16, 1, &SUBSYSTEM);
        message.extend(survey::order(0xa02, 0, &[0; 4]));
        survey::append(&mut message, 17, 1, &SUBSYSTEM);
        self.filters.order(&[message])?;
        Ok(!self.has_filters()?)
    }

    /// Lets go of every connection that is tracked. Whether none is now.
    fn forget_tracked(&self) -> Result<bool, SandboxError> {
        if !self.files.track()? {
            return Ok(true);
        }
        // IPCTNL_MSG_CT_DELETE, of all families.
        self.filters.order(&[survey::order(0x102, 0, &[0; 4])])?;
        Ok(!self.files.track()?)
    }

    /// The step that finds something.
    fn prove(&self, counts: Counts, proof: Proof) -> Result<Option<ProofStep>, SandboxError> {
        let excess = [
            (ProofStep::Sockets, counts.sockets > OUR_SOCKETS),
            (ProofStep::TimeWait, counts.time_wait > 0),
            (ProofStep::Fragments, counts.fragments > 0),
        ];
        if let Some((step, _)) = excess.iter().find(|(step, excess)| *excess && proof.has(*step)) {
            return Ok(Some(*step));
        }
        if proof.has(ProofStep::Filters) && !self.forget_filters()? {
            return Ok(Some(ProofStep::Filters));
        }
        if proof.has(ProofStep::Tracking) && !self.forget_tracked()? {
            return Ok(Some(ProofStep::Tracking));
        }
        if proof.has(ProofStep::Routes) {
            for Teller { path, file } in &self.files.forget_routes {
                if let Some(file) = file {
                    rustix::io::pwrite(file, b"1", 0).during_at(Step::NetworkSetting, *path)?;
                }
            }
        }
        for (table, first) in TABLES.iter().zip(&self.first.tables) {
            if proof.has(table.step) && !self.route.still_has(table, first)? {
                return Ok(Some(table.step));
            }
        }
        if proof.has(ProofStep::Neighbours) && !self.forget_neighbours()? {
            return Ok(Some(ProofStep::Neighbours));
        }
        if proof.has(ProofStep::Bridge) && !self.forget_learned()? {
            return Ok(Some(ProofStep::Bridge));
        }
        if proof.has(ProofStep::Settings) && !same(&self.files.settings, &self.first.settings)? {
            return Ok(Some(ProofStep::Settings));
        }
        if proof.has(ProofStep::Filters) && !same(&self.files.old_filters, &self.first.old_filters)? {
            return Ok(Some(ProofStep::Filters));
        }
        Ok(None)
    }

    /// Removes the neighbours that were not there at first. Whether all is as it was then.
    fn forget_neighbours(&self) -> Result<bool, SandboxError> {
        const DELETE: u16 = 29;
        const DESTINATION: u16 = 1;
        let first = &self.first.neighbours;
        if self.route.still_has(&NEIGHBOURS, first)? {
            return Ok(true);
        }
        let now = self.route.table(&NEIGHBOURS)?;
        let orders: Vec<Vec<u8>> = now
            .beyond(first)
            .filter_map(|message| {
                let (fixed, rest) = message.split_at_checked(12)?;
                let (_, destination) = survey::attributes(rest).find(|(kind, _)| *kind == DESTINATION)?;
                let mut body = fixed.to_vec();
                survey::append_attribute(&mut body, DESTINATION, destination);
                Some(survey::order(DELETE, 0, &body))
            })
            .collect();
        self.route.order(&orders)?;
        self.route.still_has(&NEIGHBOURS, first)
    }

    /// Lets the bridge forget which address is behind which port. Whether all is as it was at first.
    fn forget_learned(&self) -> Result<bool, SandboxError> {
        const CHANGE_LINK: u16 = 16;
        const LINK_INFO: u16 = 18;
        const KIND: u16 = 1;
        const DATA: u16 = 2;
        const FLUSH: u16 = 21;
        let first = &self.first.learned;
        if self.route.still_has(&LEARNED, first)? {
            return Ok(true);
        }
        let (mut data, mut info) = (Vec::new(), Vec::new());
        survey::append_attribute(&mut data, FLUSH, &[]);
        survey::append_attribute(&mut info, KIND, b"bridge\0");
        survey::append_attribute(&mut info, DATA, &data);
        let mut body = vec![0; 16];
        body[4..8].copy_from_slice(&BRIDGE.to_ne_bytes());
        survey::append_attribute(&mut body, LINK_INFO, &info);
        self.route.order(&[survey::order(CHANGE_LINK, 0, &body)])?;
        self.route.still_has(&LEARNED, first)
    }
}

impl Look {
    fn take(route: &Talk, files: &Files) -> Result<Self, SandboxError> {
        Ok(Self {
            tables: TABLES.iter().map(|table| route.table(table)).collect::<Result<_, _>>()?,
            neighbours: route.table(&NEIGHBOURS)?,
            learned: route.table(&LEARNED)?,
            settings: read_all(&files.settings)?,
            old_filters: read_all(&files.old_filters)?,
        })
    }
}

/// Waits until the kernel has seen that every link is up, lest what it notes of that be taken for a tenant's doing.
/// A worker of the kernel's looks once a second; asking for a single link makes it look at once.
fn await_links(route: &Talk) -> Result<(), SandboxError> {
    const ASK_LINK: u16 = 18;
    const STATE: u16 = 16;
    const UP: u8 = 6;
    let deadline = Instant::now() + SETTLE;
    loop {
        let mut questions = Vec::new();
        route.dump(ASK_LINK, &[0; 16], |_, link| {
            let Some((fixed, attributes)) = link.split_at_checked(16) else { return };
            let state = survey::attributes(attributes).find(|(kind, _)| *kind == STATE);
            if fixed[4..8] != LOOPBACK.to_ne_bytes() && state.is_none_or(|(_, state)| state != [UP]) {
                let mut question = [0; 16];
                question[4..8].copy_from_slice(&fixed[4..8]);
                questions.push(survey::order(ASK_LINK, 0, &question));
            }
        })?;
        if questions.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Errno::TIMEDOUT).during(Step::Settle);
        }
        route.order(&questions)?;
        poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 50_000 })).during(Step::Settle)?;
    }
}

/// What the kernel counts in a namespace.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    /// Of every family; those that are closing without anybody's descriptor too, and those that a connection
    /// waits on which is only half made.
    sockets: u64,
    time_wait: u64,
    fragments: u64,
}

impl Counts {
    /// More than there may be.
    const UNKNOWN: Self = Self { sockets: u64::MAX, time_wait: u64::MAX, fragments: u64::MAX };
}

impl Files {
    /// Opens them in the namespace that we are in.
    fn open() -> Result<Self, SandboxError> {
        let all = |paths: &[&'static str], flags| -> Result<Vec<Teller>, SandboxError> {
            paths.iter().map(|path| Teller::open(path, flags)).collect()
        };
        Ok(Self {
            counts: all(COUNTS, OFlags::RDONLY)?,
            tracked: Teller::open(TRACKED, OFlags::RDONLY)?,
            settings: all(SETTINGS, OFlags::RDONLY)?,
            old_filters: all(OLD_FILTERS, OFlags::RDONLY)?,
            forget_routes: all(FORGET_ROUTES, OFlags::WRONLY)?,
        })
    }

    fn counts(&self) -> Result<Counts, SandboxError> {
        let mut counts = Counts::default();
        let mut text = [0; LONGEST];
        for file in &self.counts {
            let Some(text) = file.read(&mut text)? else { return Ok(Counts::UNKNOWN) };
            for line in String::from_utf8_lossy(text).lines() {
                let count = |name: &str| -> u64 {
                    let mut words = line.split_ascii_whitespace().skip_while(|word| *word != name);
                    words.nth(1).and_then(|count| count.parse().ok()).unwrap_or(0)
                };
                match line.split_ascii_whitespace().next() {
                    Some("sockets:") => counts.sockets += count("used"),
                    Some("TCP:") => counts.time_wait += count("tw"),
                    Some("FRAG:" | "FRAG6:") => counts.fragments += count("inuse"),
                    _ => {}
                }
            }
        }
        Ok(counts)
    }

    /// Whether a connection is tracked. A kernel that cannot tracks none.
    fn track(&self) -> Result<bool, SandboxError> {
        let mut text = [0; LONGEST];
        let text = self.tracked.read(&mut text)?;
        Ok(text.is_none_or(|text| !matches!(text.trim_ascii(), b"" | b"0")))
    }
}

impl Teller {
    fn open(path: &'static str, flags: OFlags) -> Result<Self, SandboxError> {
        match rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => Ok(Self { path, file: Some(file) }),
            Err(Errno::NOENT | Errno::ACCESS) => Ok(Self { path, file: None }),
            Err(errno) => Err(errno).during_at(Step::NetworkSetting, path),
        }
    }

    /// What it says now, in one piece; nothing where it is not there. None where there is one by now: a part of the
    /// kernel has been loaded that was not looked at in the beginning.
    fn read<'a>(&self, text: &'a mut [u8; LONGEST]) -> Result<Option<&'a [u8]>, SandboxError> {
        let Some(file) = &self.file else {
            let again = Self::open(self.path, OFlags::RDONLY)?;
            return Ok(again.file.is_none().then_some(&[]));
        };
        let length = rustix::io::pread(file, text.as_mut_slice(), 0);
        Ok(Some(&text[..length.during_at(Step::NetworkSetting, self.path)?]))
    }
}

fn read_all(files: &[Teller]) -> Result<Vec<Vec<u8>>, SandboxError> {
    let mut text = [0; LONGEST];
    let mut read = |file: &Teller| Ok(file.read(&mut text)?.unwrap_or_default().to_vec());
    files.iter().map(&mut read).collect()
}

/// Whether the files say what they said at first.
fn same(files: &[Teller], first: &[Vec<u8>]) -> Result<bool, SandboxError> {
    let mut text = [0; LONGEST];
    for (file, first) in files.iter().zip(first) {
        if file.read(&mut text)? != Some(first) {
            return Ok(false);
        }
    }
    Ok(true)
}
