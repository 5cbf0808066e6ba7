//! The builder: a frame as a test thinks of it. `emit` turns it into bytes.

mod emit;
mod set;

use crate::{ACK, BROADCAST_MAC, DESTINATION_MAC, Flags, IntoEndpoint, Mac, SOURCE_MAC, protocol};
use std::borrow::Cow;
use std::net::SocketAddrV4;

/// A frame to be built. What is not said is filled in so that the frame is right: TTL 64, Ethernet addresses
/// [`SOURCE_MAC`] and [`DESTINATION_MAC`], IP ID 0, DF clear, true lengths and checksums.
///
/// The payload is borrowed where possible, and [`build_into`](Frame::build_into) reuses its buffer, so that a
/// simulated host that keeps one buffer allocates nothing a packet.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    source_mac: Mac,
    destination_mac: Mac,
    vlan: Option<u16>,
    source: SocketAddrV4,
    destination: SocketAddrV4,
    ttl: u8,
    tos: u8,
    id: u16,
    df: bool,
    mf: bool,
    offset: u16,
    ip_options: Options,
    kind: Kind<'a>,
    payload: Cow<'a, [u8]>,
    damage: Damage,
}

#[derive(Clone, Debug)]
enum Kind<'a> {
    Udp {
        checksum: bool,
    },
    Tcp {
        seq: u32,
        ack: u32,
        flags: Flags,
        window: u16,
        urgent: u16,
        options: Options,
    },
    Icmp {
        kind: u8,
        code: u8,
        rest: [u8; 4],
    },
    /// The payload is the quoted packet, before it is cut to `quote` bytes.
    IcmpError {
        kind: u8,
        code: u8,
        rest: [u8; 4],
        quote: usize,
        extensions: Vec<(u8, u8, Cow<'a, [u8]>)>,
    },
    Gre {
        call_id: u16,
        seq: Option<u32>,
        ack: Option<u32>,
    },
    Gre0 {
        ethertype: u16,
        key: Option<u32>,
        seq: Option<u32>,
    },
    Esp {
        spi: u32,
        seq: u32,
    },
    Ah {
        spi: u32,
        seq: u32,
    },
    L2tpv3 {
        session_id: u32,
    },
    Ip {
        protocol: u8,
    },
    Arp {
        operation: u16,
        target_mac: Mac,
    },
    Ethernet {
        ethertype: u16,
    },
}

/// Up to 40 bytes of IP or TCP options, inline.
#[derive(Clone, Copy, Debug)]
struct Options {
    bytes: [u8; 40],
    len: usize,
}

/// What is to be wrong.
#[derive(Clone, Debug, Default)]
struct Damage {
    ip_checksum: bool,
    l4_checksum: bool,
    version: Option<u8>,
    ihl: Option<u8>,
    total_length: Option<u16>,
    udp_length: Option<u16>,
    data_offset: Option<u8>,
    truncate: Option<usize>,
    pad_to: usize,
}

/// RFC 1812: as much of the offending packet as fits a 576-byte error.
const QUOTE_DEFAULT: usize = 576 - 20 - 8;

impl<'a> Frame<'a> {
    fn new(from: impl IntoEndpoint, to: impl IntoEndpoint, kind: Kind<'a>) -> Self {
        Frame {
            source_mac: SOURCE_MAC,
            destination_mac: DESTINATION_MAC,
            vlan: None,
            source: from.into_endpoint(),
            destination: to.into_endpoint(),
            ttl: 64,
            tos: 0,
            id: 0,
            df: false,
            mf: false,
            offset: 0,
            ip_options: Options::NONE,
            kind,
            payload: Cow::Borrowed(&[]),
            damage: Damage::default(),
        }
    }

    /// A UDP datagram.
    #[track_caller]
    pub fn udp(from: impl IntoEndpoint, to: impl IntoEndpoint) -> Self {
        Self::new(from, to, Kind::Udp { checksum: true })
    }

    /// A TCP segment: ACK alone, sequence and acknowledgment number 1, window 65535, until told otherwise.
    #[track_caller]
    pub fn tcp(from: impl IntoEndpoint, to: impl IntoEndpoint) -> Self {
        let options = Options::NONE;
        Self::new(from, to, Kind::Tcp { seq: 1, ack: 1, flags: ACK, window: 65535, urgent: 0, options })
    }

    /// An ICMP message with these type and code, `rest` the second half of its header.
    #[track_caller]
    pub fn icmp(from: impl IntoEndpoint, to: impl IntoEndpoint, kind: u8, code: u8, rest: [u8; 4]) -> Self {
        Self::new(from, to, Kind::Icmp { kind, code, rest })
    }

    /// An ICMP echo request.
    #[track_caller]
    pub fn echo_request(from: impl IntoEndpoint, to: impl IntoEndpoint, id: u16, seq: u16) -> Self {
        Self::icmp(from, to, 8, 0, halves(id, seq))
    }

    /// An ICMP echo reply.
    #[track_caller]
    pub fn echo_reply(from: impl IntoEndpoint, to: impl IntoEndpoint, id: u16, seq: u16) -> Self {
        Self::icmp(from, to, 0, 0, halves(id, seq))
    }

    /// An ICMP error about `offending`, a frame with its Ethernet header, addressed to who sent it. It quotes as much
    /// as fits a 576-byte error; see [`quote`](Frame::quote).
    #[track_caller]
    pub fn icmp_error(from: impl IntoEndpoint, kind: u8, code: u8, offending: impl Into<Cow<'a, [u8]>>) -> Self {
        let packet = match offending.into() {
            Cow::Borrowed(frame) => Cow::Borrowed(emit::ip_packet(frame)),
            Cow::Owned(frame) => Cow::Owned(emit::ip_packet(&frame).to_vec()),
        };
        let sender = packet.get(12..16).map_or([0; 4], |s| [s[0], s[1], s[2], s[3]]);
        let kind = Kind::IcmpError { kind, code, rest: [0; 4], quote: QUOTE_DEFAULT, extensions: Vec::new() };
        Self::new(from, sender, kind).payload(packet)
    }

    /// ICMP destination unreachable; code 0 network, 1 host, 3 port, 13 administratively prohibited.
    #[track_caller]
    pub fn unreachable(from: impl IntoEndpoint, code: u8, offending: impl Into<Cow<'a, [u8]>>) -> Self {
        Self::icmp_error(from, 3, code, offending)
    }

    /// ICMP fragmentation needed, with the next hop's MTU.
    #[track_caller]
    pub fn fragmentation_needed(from: impl IntoEndpoint, mtu: u16, offending: impl Into<Cow<'a, [u8]>>) -> Self {
        Self::icmp_error(from, 3, 4, offending).rest(halves(0, mtu))
    }

    /// ICMP time exceeded in transit.
    #[track_caller]
    pub fn time_exceeded(from: impl IntoEndpoint, offending: impl Into<Cow<'a, [u8]>>) -> Self {
        Self::icmp_error(from, 11, 0, offending)
    }

    /// GRE version 1 as PPTP has it; [`gre_seq`](Frame::gre_seq) and [`gre_ack`](Frame::gre_ack) add those fields.
    #[track_caller]
    pub fn gre(from: impl IntoEndpoint, to: impl IntoEndpoint, call_id: u16) -> Self {
        Self::new(from, to, Kind::Gre { call_id, seq: None, ack: None })
    }

    /// GRE version 0 (RFC 2784) around what `ethertype` says; [`gre_key`](Frame::gre_key) and
    /// [`gre_seq`](Frame::gre_seq) add those fields of RFC 2890.
    #[track_caller]
    pub fn gre0(from: impl IntoEndpoint, to: impl IntoEndpoint, ethertype: u16) -> Self {
        Self::new(from, to, Kind::Gre0 { ethertype, key: None, seq: None })
    }

    /// An ESP packet; the payload is what follows SPI and sequence number.
    #[track_caller]
    pub fn esp(from: impl IntoEndpoint, to: impl IntoEndpoint, spi: u32, seq: u32) -> Self {
        Self::new(from, to, Kind::Esp { spi, seq })
    }

    /// An AH packet (RFC 4302) with a 96-bit check value; the payload is what it protects, which is IP in IP.
    #[track_caller]
    pub fn ah(from: impl IntoEndpoint, to: impl IntoEndpoint, spi: u32, seq: u32) -> Self {
        Self::new(from, to, Kind::Ah { spi, seq })
    }

    /// L2TPv3 data over IP (RFC 3931 §4.1.1); the payload is what follows the session ID, a cookie included.
    #[track_caller]
    pub fn l2tpv3(from: impl IntoEndpoint, to: impl IntoEndpoint, session_id: u32) -> Self {
        Self::new(from, to, Kind::L2tpv3 { session_id })
    }

    /// An L2TPv3 control message over IP, as [`l2tp::control_v3`](crate::l2tp::control_v3) writes it: session ID 0 comes
    /// before.
    #[track_caller]
    pub fn l2tpv3_control(from: impl IntoEndpoint, to: impl IntoEndpoint, message: impl Into<Cow<'a, [u8]>>) -> Self {
        Self::l2tpv3(from, to, 0).payload(message)
    }

    /// Any IP protocol; the payload is all that follows the IP header.
    #[track_caller]
    pub fn ip(protocol: u8, from: impl IntoEndpoint, to: impl IntoEndpoint) -> Self {
        Self::new(from, to, Kind::Ip { protocol })
    }

    /// Who has `target`? Asked by `sender`.
    #[track_caller]
    pub fn arp_request(sender_mac: Mac, sender: impl IntoEndpoint, target: impl IntoEndpoint) -> Self {
        Self::new(sender, target, Kind::Arp { operation: 1, target_mac: [0; 6] }).macs(sender_mac, BROADCAST_MAC)
    }

    /// `sender` is at `sender_mac`, said to `target`.
    #[track_caller]
    pub fn arp_reply(sender_mac: Mac, sender: impl IntoEndpoint, target_mac: Mac, target: impl IntoEndpoint) -> Self {
        Self::new(sender, target, Kind::Arp { operation: 2, target_mac }).macs(sender_mac, target_mac)
    }

    /// `owner` is at `mac`, said to everybody: an ARP request for itself.
    #[track_caller]
    pub fn gratuitous_arp(mac: Mac, owner: impl IntoEndpoint) -> Self {
        let owner = owner.into_endpoint();
        Self::arp_request(mac, owner, owner)
    }

    /// A frame of any other kind; the payload is all that follows the Ethernet header.
    pub fn ethernet(ethertype: u16) -> Self {
        Self::new([0; 4], [0; 4], Kind::Ethernet { ethertype })
    }
}

impl Options {
    const NONE: Options = Options { bytes: [0; 40], len: 0 };

    #[track_caller]
    fn push(&mut self, more: &[u8]) {
        let end = self.len + more.len();
        assert!(end <= self.bytes.len(), "options take 40 bytes at most, not {end}");
        self.bytes[self.len..end].copy_from_slice(more);
        self.len = end;
    }

    /// The bytes, padded to a multiple of 4.
    fn padded(&self) -> &[u8] {
        &self.bytes[..self.len.next_multiple_of(4)]
    }
}

fn halves(high: u16, low: u16) -> [u8; 4] {
    (u32::from(high) << 16 | u32::from(low)).to_be_bytes()
}

impl Kind<'_> {
    fn protocol(&self) -> u8 {
        match self {
            Kind::Udp { .. } => protocol::UDP,
            Kind::Tcp { .. } => protocol::TCP,
            Kind::Icmp { .. } | Kind::IcmpError { .. } => protocol::ICMP,
            Kind::Gre { .. } | Kind::Gre0 { .. } => protocol::GRE,
            Kind::Esp { .. } => protocol::ESP,
            Kind::Ah { .. } => protocol::AH,
            Kind::L2tpv3 { .. } => protocol::L2TP,
            Kind::Ip { protocol } => *protocol,
            Kind::Arp { .. } | Kind::Ethernet { .. } => unreachable!("not an IP packet"),
        }
    }
}
