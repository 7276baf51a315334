//! The kernel's network configuration, in batches: one call for many messages, one answer where all is well.

use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage, State,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, SocketType, recv, send};

use crate::error::{During as _, SandboxError, Step};

/// The index of `lo` in every network namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// Enough for the largest answer to one read; a stack of more pages would be touched page by page.
const BUFFER: usize = 8 * 1024;

/// A connection to the configuration of the network namespace that it was opened in.
#[derive(Debug)]
pub(crate) struct Configuration {
    socket: OwnedFd,
}

/// Messages that are carried out in their order, each with the step that it is for.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    messages: Vec<(Step, u16, RouteNetlinkMessage)>,
}

impl Configuration {
    pub(crate) fn open() -> Result<Self, SandboxError> {
        let socket = rustix::net::socket_with(
            rustix::net::AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // NETLINK_ROUTE
            None,
        );
        socket.map(|socket| Self { socket }).during(Step::OpenNetlink)
    }

    /// Carries a batch out. The first message that the kernel refused is the error.
    pub(crate) fn apply(&self, batch: Batch) -> Result<(), SandboxError> {
        // Only the last message is acknowledged: what was refused before it is told before it.
        let Some(last) = batch.messages.len().checked_sub(1) else { return Ok(()) };
        let mut bytes = Vec::new();
        let steps: Vec<Step> = batch.messages.iter().map(|(step, ..)| *step).collect();
        for (index, (_, flags, message)) in batch.messages.into_iter().enumerate() {
            let acknowledge = if index == last { NLM_F_ACK } else { 0 };
            append(&mut bytes, index, NLM_F_REQUEST | flags | acknowledge, message);
        }
        send(&self.socket, &bytes, SendFlags::empty()).during(Step::Netlink)?;
        let mut refused = None;
        loop {
            let mut done = false;
            self.receive(|header, payload| {
                let index = header.sequence_number as usize;
                if let NetlinkPayload::Error(error) = payload {
                    if let Some(code) = error.code {
                        let step = steps.get(index).copied().unwrap_or(Step::Netlink);
                        refused.get_or_insert((step, Errno::from_raw_os_error(-code.get())));
                    }
                    done |= index == last;
                }
            })?;
            if done {
                return refused.map_or(Ok(()), |(step, errno)| Err(errno).during(step));
            }
        }
    }

    /// The operational state of every interface, by index.
    pub(crate) fn states(&self) -> Result<Vec<(u32, State)>, SandboxError> {
        let mut bytes = Vec::new();
        let ask = RouteNetlinkMessage::GetLink(LinkMessage::default());
        append(&mut bytes, 0, NLM_F_REQUEST | NLM_F_DUMP, ask);
        send(&self.socket, &bytes, SendFlags::empty()).during(Step::Netlink)?;
        let mut states = Vec::new();
        let mut done = false;
        while !done {
            self.receive(|_, payload| match payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                    let state = link.attributes.iter().find_map(|attribute| match attribute {
                        LinkAttribute::OperState(state) => Some(*state),
                        _ => None,
                    });
                    states.extend(state.map(|state| (link.header.index, state)));
                }
                NetlinkPayload::InnerMessage(_) => {}
                _ => done = true,
            })?;
        }
        Ok(states)
    }

    fn receive(
        &self,
        mut each: impl FnMut(NetlinkHeader, NetlinkPayload<RouteNetlinkMessage>),
    ) -> Result<(), SandboxError> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let ((answer, _), length) =
            recv(&self.socket, &mut buffer, RecvFlags::TRUNC).during(Step::Netlink)?;
        let mut rest: &[u8] = answer;
        if length > rest.len() {
            return Err(SandboxError::Protocol);
        }
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|_| SandboxError::Protocol)?;
            let length = (message.header.length as usize).next_multiple_of(4);
            let (header, payload) = message.into_parts();
            each(header, payload);
            rest = rest.get(length.max(4)..).unwrap_or_default();
        }
        Ok(())
    }
}

fn append(bytes: &mut Vec<u8>, sequence: usize, flags: u16, message: RouteNetlinkMessage) {
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(message));
    message.header.flags = flags;
    message.header.sequence_number = u32::try_from(sequence).unwrap_or(u32::MAX);
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut bytes[start..]);
}

impl Batch {
    pub(crate) fn raise(&mut self, step: Step, index: u32) {
        let mut link = link(index);
        set_up(&mut link);
        self.messages.push((step, 0, RouteNetlinkMessage::SetLink(link)));
    }

    /// A bridge that forwards at once and does nothing of its own accord. Its hardware address is given: else it
    /// were that of one of its ports, and another one when ports come, and what others then still send to the old
    /// one would be lost for as long as they remember it.
    pub(crate) fn make_bridge(&mut self, index: u32, name: &str, address: Ipv4Addr) {
        let mut link = link(index);
        link.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Address(hardware(address)),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                LinkInfo::Data(InfoData::Bridge(vec![
                    InfoBridge::StpState(BridgeStpState::Disabled),
                    InfoBridge::ForwardDelay(0),
                    InfoBridge::MulticastSnooping(false),
                ])),
            ]),
        ];
        self.make(Step::MakeBridge, link);
    }

    /// A pair of interfaces: a port of the bridge here, raised, and another one in another namespace, which will
    /// have this address.
    pub(crate) fn make_link(
        &mut self,
        port: (u32, &str),
        bridge: u32,
        peer: (u32, &str, BorrowedFd<'_>),
        address: Ipv4Addr,
    ) {
        let (peer_index, peer_name, namespace) = peer;
        let mut far = link(peer_index);
        far.attributes = vec![
            LinkAttribute::IfName(peer_name.to_owned()),
            LinkAttribute::Address(hardware(address)),
            LinkAttribute::NetNsFd(namespace.as_raw_fd()),
        ];
        let mut near = link(port.0);
        set_up(&mut near);
        near.attributes = vec![
            LinkAttribute::IfName(port.1.to_owned()),
            LinkAttribute::Controller(bridge),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
            ]),
        ];
        self.make(Step::MakeLink, near);
    }

    pub(crate) fn address(&mut self, index: u32, address: Ipv4Addr, prefix: u8) {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.index = index;
        message.header.prefix_len = prefix;
        message.attributes = vec![
            AddressAttribute::Local(IpAddr::V4(address)),
            AddressAttribute::Address(IpAddr::V4(address)),
        ];
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.messages.push((Step::Address, flags, RouteNetlinkMessage::NewAddress(message)));
    }

    /// Says where a neighbour is, for ever. The kernel keeps those that it has to find in one table for all
    /// namespaces of the machine, of 1024 entries (`gc_thresh3`): with some eighty sessions it is full, and whoever
    /// then looks for somebody waits for seconds. What is said for ever does not count.
    pub(crate) fn neighbour(&mut self, index: u32, address: Ipv4Addr) {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = index;
        message.header.state = NeighbourState::Permanent;
        message.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)),
            NeighbourAttribute::LinkLayerAddress(hardware(address)),
        ];
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        self.messages.push((Step::Address, flags, RouteNetlinkMessage::NewNeighbour(message)));
    }

    fn make(&mut self, step: Step, link: LinkMessage) {
        self.messages.push((step, NLM_F_CREATE | NLM_F_EXCL, RouteNetlinkMessage::NewLink(link)));
    }
}

/// The hardware address of whoever has this address; one that nobody makes in a factory.
fn hardware(address: Ipv4Addr) -> Vec<u8> {
    let [a, b, c, d] = address.octets();
    vec![0x02, 0, a, b, c, d]
}

fn link(index: u32) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link
}

fn set_up(link: &mut LinkMessage) {
    link.header.flags |= LinkFlags::Up;
    link.header.change_mask |= LinkFlags::Up;
}
