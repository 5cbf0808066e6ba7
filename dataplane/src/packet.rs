//! One bounds-checked pass over a frame: offsets, key and class, or the reason why not.
//!
//! Order of checks: bytes present, frame address, tag, version, header length, total length, checksum, options,
//! transport minimum. After [`parse`] succeeded, `l3 + 20 <= l4 <= l3 + total_len <= frame length` holds, and a
//! [`Class::Tcp`], [`Class::Udp`] or [`Class::IcmpQuery`] has its whole fixed transport header in the frame.
//! Ethernet padding is not looked at; who sends the packet on cuts it at `l3 + total_len`.
//!
//! Addresses are not judged here: whether a source may say so depends on policy, and a packet that matches a session
//! was judged when the session was opened.

use crate::types::{Key, Mac, Proto};
use crate::verdict::DropReason;
use crate::wire::{checksum, eth, gre, icmp, ipv4, tcp, udp};
use std::net::Ipv4Addr;
use zerocopy::FromBytes;

/// What a packet is to the dataplane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// TCP, with its header (a first fragment included).
    Tcp,
    /// UDP, with its header (a first fragment included).
    Udp,
    /// ICMP query or its answer.
    IcmpQuery,
    /// ICMP error: owned by what it quotes.
    IcmpError,
    /// A fragment that is not the first: its transport header went before, or is yet to come.
    LaterFragment,
    /// PPTP's GRE, ESP, or L2TPv3 data: `ident` is the Call ID, SPI or session identifier.
    Tunnel,
    /// L2TPv3's control connection over IP: `ident` is the control connection identifier.
    L2tpControl,
    /// Another protocol, known by its addresses alone.
    Other,
}

/// What one pass learns. Small and `Copy`: a burst's worth fits in the first-level cache.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// Addresses, ports or identifier, protocol. Ports are 0 for [`Class::LaterFragment`] and [`Class::IcmpError`].
    pub key: Key,
    /// IP total length, bytes.
    pub total_len: u16,
    /// Flags and offset as in the header, host order.
    pub fragment: u16,
    /// Offset of the IP header in the frame.
    pub l3: u8,
    /// Offset of the transport header in the frame.
    pub l4: u8,
    /// What it is.
    pub class: Class,
    /// Time to live on arrival.
    pub ttl: u8,
    /// TCP flags; 0 for others. For ICMP queries: the type.
    pub tcp_flags: u8,
}

impl Meta {
    /// Not IPv4 at all; stands for packets that ended while they were parsed.
    pub const NONE: Self = Self {
        key: Key { src: Ipv4Addr::UNSPECIFIED, dst: Ipv4Addr::UNSPECIFIED, ident: 0, proto: Proto(0) },
        total_len: 0,
        fragment: 0,
        l3: 0,
        l4: 0,
        class: Class::Other,
        ttl: 0,
        tcp_flags: 0,
    };

    /// What the IPv4 header says; what follows it is yet to be read.
    #[inline(always)]
    fn begin(&mut self, ip: &ipv4::Ipv4, l3: u8, l4: u8) {
        *self = Self {
            key: Key { src: ip.src(), dst: ip.dst(), ident: 0, proto: Proto(ip.proto) },
            total_len: ip.total_len.get(),
            fragment: ip.fragment.get(),
            l3,
            l4,
            class: Class::Other,
            ttl: ip.ttl,
            tcp_flags: 0,
        };
    }

    /// Part of a larger datagram.
    #[inline]
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        self.fragment & (ipv4::MF | ipv4::OFFSET) != 0
    }

    /// More fragments follow.
    #[inline]
    #[must_use]
    pub const fn more_fragments(&self) -> bool {
        self.fragment & ipv4::MF != 0
    }

    /// Where this fragment's payload starts in the datagram's, bytes.
    #[inline]
    #[must_use]
    pub const fn fragment_offset(&self) -> u32 {
        (self.fragment & ipv4::OFFSET) as u32 * 8
    }

    /// "Don't fragment".
    #[inline]
    #[must_use]
    pub const fn dont_fragment(&self) -> bool {
        self.fragment & ipv4::DF != 0
    }

    /// Bytes of the IP payload.
    #[inline]
    #[must_use]
    pub const fn payload_len(&self) -> usize {
        (self.total_len as usize).saturating_sub((self.l4 - self.l3) as usize)
    }

    /// A protocol without ports, that passes by legs of a tunnel.
    #[inline]
    #[must_use]
    pub const fn is_tunnel(&self) -> bool {
        matches!(self.class, Class::Tunnel | Class::L2tpControl | Class::Other)
    }

    /// Where the packet ends in the frame; what follows is padding.
    #[inline]
    #[must_use]
    pub const fn end(&self) -> usize {
        self.l3 as usize + self.total_len as usize
    }
}

/// What came out of [`parse`].
#[derive(Clone, Copy, Debug)]
pub enum Parsed {
    /// IPv4.
    Ip(Meta),
    /// ARP, starting at this offset.
    Arp(u8),
}

/// How a port frames its packets.
#[derive(Clone, Copy, Debug)]
pub struct Framing {
    /// The port's own address.
    pub mac: Mac,
    /// 802.1Q tag, if it has one.
    pub vlan: Option<u16>,
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// IPv4, as the [`Meta`] says.
    Ip,
    /// ARP, starting at this offset.
    Arp(u8),
}

/// Reads a frame that arrived on a port.
///
/// # Errors
/// The reason to drop it.
pub fn parse(frame: &[u8], framing: &Framing) -> Result<Parsed, DropReason> {
    let mut meta = Meta::NONE;
    Ok(match parse_into(frame, framing, &mut meta)? {
        Layer::Ip => Parsed::Ip(meta),
        Layer::Arp(at) => Parsed::Arp(at),
    })
}

/// As [`parse`], with the result written where it is to stay: a copy right after would wait for each small store.
/// On an error, or for ARP, `meta` holds anything.
///
/// # Errors
/// The reason to drop the frame.
#[inline(always)]
pub fn parse_into(frame: &[u8], framing: &Framing, meta: &mut Meta) -> Result<Layer, DropReason> {
    let Some((ip, payload)) = plain(frame, framing) else { return parse_any(frame, framing, meta) };
    meta.begin(ip, 14, 14 + 20);
    parse_transport(payload, meta)?;
    Ok(Layer::Ip)
}

/// Header and payload of an IPv4 packet to us without tag, options or fragmentation, in which nothing is wrong: what
/// nearly all packets are. It is a part of what [`parse_any`] accepts, by fewer questions.
#[inline(always)]
fn plain<'a>(frame: &'a [u8], framing: &Framing) -> Option<(&'a ipv4::Ipv4, &'a [u8])> {
    let (ethernet, rest) = eth::Ethernet::ref_from_prefix(frame).ok()?;
    let (ip, after) = ipv4::Ipv4::ref_from_prefix(rest).ok()?;
    let ours = ethernet.to() == framing.mac && ethernet.ethertype.get() == eth::TYPE_IPV4 && framing.vlan.is_none();
    let whole = ip.version_ihl == 0x45 && ip.fragment.get() & (ipv4::MF | ipv4::OFFSET) == 0;
    if !(ours && whole && checksum::is_valid_header(zerocopy::transmute_ref!(ip))) {
        return None;
    }
    let payload = after.get(..usize::from(ip.total_len.get()).checked_sub(ipv4::LEN)?)?;
    Some((ip, payload))
}

#[inline(never)]
fn parse_any(frame: &[u8], framing: &Framing, meta: &mut Meta) -> Result<Layer, DropReason> {
    let Ok((ethernet, rest)) = eth::Ethernet::ref_from_prefix(frame) else {
        return Err(DropReason::FrameTooShort);
    };
    let mut ethertype = ethernet.ethertype.get();
    let (mut l3, mut body) = (14u8, rest);
    if ethertype == eth::TYPE_VLAN || framing.vlan.is_some() {
        (ethertype, l3, body) = untag(ethertype, rest, framing)?;
    }
    if ethernet.to() != framing.mac {
        if !ethernet.to().is_group() {
            return Err(DropReason::NotOurMac);
        }
        if ethertype == eth::TYPE_IPV4 {
            return Err(group_reason(body));
        }
    }
    match ethertype {
        eth::TYPE_IPV4 => parse_ipv4(body, l3, meta).map(|()| Layer::Ip),
        eth::TYPE_ARP => Ok(Layer::Arp(l3)),
        eth::TYPE_IPV6 => Err(DropReason::Ipv6),
        _ => Err(DropReason::EtherType),
    }
}

#[cold]
fn untag<'a>(ethertype: u16, rest: &'a [u8], framing: &Framing) -> Result<(u16, u8, &'a [u8]), DropReason> {
    if ethertype != eth::TYPE_VLAN {
        return Err(DropReason::VlanMismatch);
    }
    let Ok((tag, inner)) = eth::VlanTag::ref_from_prefix(rest) else {
        return Err(DropReason::FrameTooShort);
    };
    // A priority tag (identifier 0) names no VLAN, so it belongs to an untagged port.
    if tag.id() == framing.vlan.unwrap_or(0) {
        Ok((tag.ethertype.get(), 18, inner))
    } else {
        Err(DropReason::VlanMismatch)
    }
}

/// A frame to all: tells IP multicast and broadcast from a unicast packet that has no business there.
#[cold]
fn group_reason(ip: &[u8]) -> DropReason {
    match ipv4::Ipv4::ref_from_prefix(ip) {
        Ok((ip, _)) if ip.dst().is_multicast() => DropReason::Multicast,
        Ok((ip, _)) if ip.dst().is_broadcast() => DropReason::Broadcast,
        Ok(_) => DropReason::L2BroadcastIp,
        Err(_) => DropReason::FrameTooShort,
    }
}

fn parse_ipv4(packet: &[u8], l3: u8, meta: &mut Meta) -> Result<(), DropReason> {
    let Ok((ip, after)) = ipv4::Ipv4::ref_from_prefix(packet) else {
        return Err(DropReason::FrameTooShort);
    };
    let total_len = ip.total_len.get();
    let header_len = ip.header_len();
    if ip.version_ihl != 0x45 {
        check_header(ip, after)?;
    }
    if usize::from(total_len) < header_len || usize::from(total_len) > packet.len() {
        return Err(DropReason::IpTotalLength);
    }
    let Some(header) = packet.get(..header_len) else {
        return Err(DropReason::IpHeaderLength);
    };
    if !checksum::is_valid(header) {
        return Err(DropReason::IpChecksum);
    }
    let Some(payload) = packet.get(header_len..usize::from(total_len)) else {
        return Err(DropReason::IpTotalLength);
    };
    #[allow(clippy::cast_possible_truncation, reason = "an IPv4 header has at most 60 bytes, l3 is at most 18")]
    let l4 = l3 + header_len as u8;
    meta.begin(ip, l3, l4);
    if meta.is_fragment() {
        check_fragment(meta)?;
        if meta.fragment_offset() != 0 {
            meta.class = Class::LaterFragment;
            return Ok(());
        }
    }
    parse_transport(payload, meta)
}

#[inline(always)]
fn parse_transport(payload: &[u8], meta: &mut Meta) -> Result<(), DropReason> {
    match meta.key.proto {
        Proto::UDP => parse_udp(payload, meta)?,
        Proto::TCP => parse_tcp(payload, meta)?,
        Proto::ICMP => parse_icmp(payload, meta)?,
        Proto::ESP => parse_esp(payload, meta)?,
        Proto::GRE => parse_gre(payload, meta)?,
        Proto::L2TP => parse_l2tp(payload, meta)?,
        Proto::L2TP_CONTROL => return Err(DropReason::Protocol),
        _ => {}
    }
    Ok(())
}

/// Anything but version 4 with a plain header.
#[cold]
fn check_header(ip: &ipv4::Ipv4, after: &[u8]) -> Result<(), DropReason> {
    if ip.version() != 4 {
        return Err(DropReason::IpVersion);
    }
    let Some(options_len) = ip.header_len().checked_sub(ipv4::LEN) else {
        return Err(DropReason::IpHeaderLength);
    };
    let Some(options) = after.get(..options_len) else {
        return Err(DropReason::IpHeaderLength);
    };
    for option in ipv4::options(options) {
        match option {
            Ok(o) if o.kind == ipv4::OPTION_LSRR || o.kind == ipv4::OPTION_SSRR => return Err(DropReason::SourceRoute),
            Ok(_) => {}
            Err(ipv4::MalformedOptions) => return Err(DropReason::IpOptions),
        }
    }
    Ok(())
}

#[cold]
fn check_fragment(meta: &Meta) -> Result<(), DropReason> {
    let len = meta.payload_len();
    if meta.fragment_offset() as usize + len > 65_535 - ipv4::LEN
        || (meta.more_fragments() && !len.is_multiple_of(8))
        || len == 0
    {
        return Err(DropReason::FragmentRange);
    }
    // RFC 1858 §4.2 and RFC 3128: an offset of 8 could write over TCP's flags. No header that we read reaches 16.
    if meta.fragment_offset() == 8 && meta.key.proto == Proto::TCP {
        return Err(DropReason::TinyFragment);
    }
    Ok(())
}

/// A transport header that is not there: an attack when the packet says that more fragments follow.
#[cold]
fn too_short(meta: &Meta) -> DropReason {
    if meta.is_fragment() { DropReason::TinyFragment } else { DropReason::TransportTooShort }
}

#[inline(always)]
fn parse_udp(payload: &[u8], meta: &mut Meta) -> Result<(), DropReason> {
    let Ok((udp, _)) = udp::Udp::ref_from_prefix(payload) else {
        return Err(too_short(meta));
    };
    let len = usize::from(udp.len.get());
    if len < udp::LEN || (len > payload.len() && !meta.is_fragment()) {
        return Err(DropReason::UdpLength);
    }
    meta.class = Class::Udp;
    ports(udp.src.get(), udp.dst.get(), meta)
}

#[inline(always)]
fn parse_tcp(payload: &[u8], meta: &mut Meta) -> Result<(), DropReason> {
    use tcp::flags::{ACK, FIN, RST, SYN};
    let Ok((tcp, _)) = tcp::Tcp::ref_from_prefix(payload) else {
        return Err(too_short(meta));
    };
    if tcp.header_len() < tcp::LEN || tcp.header_len() > payload.len() {
        return Err(if meta.is_fragment() { DropReason::TinyFragment } else { DropReason::TcpHeaderLength });
    }
    meta.class = Class::Tcp;
    meta.tcp_flags = tcp.flags;
    let f = tcp.flags & (SYN | FIN | RST | ACK);
    let sane = match f & (SYN | FIN | RST) {
        0 | FIN => f & ACK != 0,
        SYN | RST => true,
        _ => false,
    };
    if !sane {
        return Err(DropReason::TcpFlags);
    }
    ports(tcp.src.get(), tcp.dst.get(), meta)
}

#[inline(always)]
fn ports(src: u16, dst: u16, meta: &mut Meta) -> Result<(), DropReason> {
    if src == 0 || dst == 0 {
        return Err(DropReason::PortZero);
    }
    meta.key.ident = Key::ports(src, dst);
    Ok(())
}

/// The identifier stands where the asking side's port would, and 0 for the side that answers; so a query and its
/// answer have keys that are each other's reverse.
#[inline]
fn parse_icmp(payload: &[u8], meta: &mut Meta) -> Result<(), DropReason> {
    let Ok((m, _)) = icmp::Icmp::ref_from_prefix(payload) else {
        return Err(too_short(meta));
    };
    meta.tcp_flags = m.kind;
    (meta.class, meta.key.ident) = match m.sort() {
        icmp::Kind::Request => (Class::IcmpQuery, Key::ports(m.id.get(), 0)),
        icmp::Kind::Reply => (Class::IcmpQuery, Key::ports(0, m.id.get())),
        icmp::Kind::Error if meta.is_fragment() => return Err(DropReason::IcmpErrorFragment),
        icmp::Kind::Error => (Class::IcmpError, 0),
        icmp::Kind::Other => return Err(DropReason::IcmpType),
    };
    Ok(())
}

/// ESP [RFC 4303 §2]: the SPI. 1 to 255 are reserved and 0 is for local use; neither is on the wire [§2.1].
#[inline]
fn parse_esp(payload: &[u8], meta: &mut Meta) -> Result<(), DropReason> {
    let Some([a, b, c, d, _, _, _, _]) = payload.first_chunk::<8>() else { return Err(too_short(meta)) };
    meta.class = Class::Tunnel;
    meta.key.ident = u32::from_be_bytes([*a, *b, *c, *d]);
    if meta.key.ident < 256 { Err(DropReason::EspReservedSpi) } else { Ok(()) }
}

/// GRE: version 1 is PPTP's [RFC 2637 §4.1]; version 0 [RFC 2784] has no identifier that both ends must have.
#[inline]
fn parse_gre(payload: &[u8], meta: &mut Meta) -> Result<(), DropReason> {
    let Some(&[bits, version, _, _]) = payload.first_chunk::<4>() else { return Err(too_short(meta)) };
    match version & gre::VERSION {
        0 => Ok(()),
        1 => {
            let Some(&[_, _, p0, p1, l0, l1, c0, c1]) = payload.first_chunk::<8>() else { return Err(too_short(meta)) };
            // Key present, checksum and routing not, as the RFC demands; then the header's length follows.
            let fields =
                4 * (usize::from(bits & gre::SEQUENCE != 0) + usize::from(version & gre::ACKNOWLEDGEMENT != 0));
            let claimed = 8 + fields + usize::from(u16::from_be_bytes([l0, l1]));
            if bits & (gre::CHECKSUM | gre::ROUTING | gre::KEY) != gre::KEY
                || u16::from_be_bytes([p0, p1]) != gre::PPP
                || (claimed > payload.len() && !meta.is_fragment())
            {
                return Err(DropReason::GreHeader);
            }
            meta.class = Class::Tunnel;
            meta.key.ident = Key::call(u16::from_be_bytes([c0, c1]));
            Ok(())
        }
        _ => Err(DropReason::GreHeader),
    }
}

/// L2TPv3 over IP [RFC 3931 §4.1.1]: the session identifier, or, where it is 0, the control connection's.
#[inline]
fn parse_l2tp(payload: &[u8], meta: &mut Meta) -> Result<(), DropReason> {
    let Some(session) = payload.first_chunk::<4>() else { return Err(too_short(meta)) };
    meta.class = Class::Tunnel;
    meta.key.ident = u32::from_be_bytes(*session);
    if meta.key.ident == 0 {
        let Some(id) = payload.get(8..).and_then(|p| p.first_chunk::<4>()) else { return Err(too_short(meta)) };
        meta.class = Class::L2tpControl;
        meta.key = Key { ident: u32::from_be_bytes(*id), proto: Proto::L2TP_CONTROL, ..meta.key };
    }
    Ok(())
}
