//! What a test may say about a frame. Setters of one protocol panic on another.

use super::{Frame, Kind};
use crate::{Flags, IntoEndpoint, Mac};
use std::borrow::Cow;

/// What every frame has.
impl<'a> Frame<'a> {
    /// What the headers carry.
    pub fn payload(mut self, bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        self.payload = bytes.into();
        self
    }

    /// Both Ethernet addresses, source first.
    pub fn macs(mut self, source: Mac, destination: Mac) -> Self {
        (self.source_mac, self.destination_mac) = (source, destination);
        self
    }

    /// The Ethernet source; the sender of an ARP message too.
    pub fn source_mac(mut self, mac: Mac) -> Self {
        self.source_mac = mac;
        self
    }

    /// The Ethernet destination.
    pub fn destination_mac(mut self, mac: Mac) -> Self {
        self.destination_mac = mac;
        self
    }

    /// An 802.1Q tag: the VLAN in the low 12 bits, priority in the high ones.
    pub fn vlan(mut self, tag: u16) -> Self {
        self.vlan = Some(tag);
        self
    }

    /// Another source.
    #[track_caller]
    pub fn from(mut self, source: impl IntoEndpoint) -> Self {
        self.source = source.into_endpoint();
        self
    }

    /// Another destination.
    #[track_caller]
    pub fn to(mut self, destination: impl IntoEndpoint) -> Self {
        self.destination = destination.into_endpoint();
        self
    }

    /// Time to live.
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// The whole type-of-service byte: DSCP and ECN.
    pub fn tos(mut self, tos: u8) -> Self {
        self.tos = tos;
        self
    }

    /// IP identification.
    pub fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    /// Don't fragment.
    pub fn df(mut self) -> Self {
        self.df = true;
        self
    }

    /// Writes these into the IP header, `offset` in bytes. The transport header is written as ever, so a fragment
    /// after the first is best made with [`Frame::ip`]; [`fragments`](crate::fragments) cuts a whole frame.
    #[track_caller]
    pub fn fragment(mut self, offset: u16, mf: bool) -> Self {
        assert!(offset.is_multiple_of(8), "a fragment starts at a multiple of 8, not at {offset}");
        (self.offset, self.mf) = (offset, mf);
        self
    }

    /// Appends raw IP options; they are padded to a multiple of 4 with end-of-list.
    #[track_caller]
    pub fn ip_options(mut self, bytes: &[u8]) -> Self {
        self.ip_options.push(bytes);
        self
    }

    /// Appends a Record Route option with room for `slots` addresses.
    #[track_caller]
    pub fn record_route(mut self, slots: u8) -> Self {
        self.ip_options.push(&[7, 3 + 4 * slots, 4]);
        self.ip_options.push(&[0; 40][..4 * usize::from(slots)]);
        self
    }

    /// Appends a Loose Source Route option through `hops`.
    #[track_caller]
    pub fn source_route<E: IntoEndpoint>(self, hops: impl IntoIterator<Item = E>) -> Self {
        self.route(131, hops)
    }

    /// Appends a Strict Source Route option through `hops`.
    #[track_caller]
    pub fn strict_source_route<E: IntoEndpoint>(self, hops: impl IntoIterator<Item = E>) -> Self {
        self.route(137, hops)
    }

    #[track_caller]
    fn route<E: IntoEndpoint>(mut self, option: u8, hops: impl IntoIterator<Item = E>) -> Self {
        let at = self.ip_options.len;
        self.ip_options.push(&[option, 3, 4]);
        for hop in hops {
            self.ip_options.push(&hop.into_endpoint().ip().octets());
            self.ip_options.bytes[at + 1] += 4;
        }
        self
    }
}

/// What only some protocols have; on another they panic, for the test is wrong then.
impl<'a> Frame<'a> {
    /// UDP without a checksum.
    #[track_caller]
    pub fn udp_checksum_zero(mut self) -> Self {
        match &mut self.kind {
            Kind::Udp { checksum } => *checksum = false,
            _ => self.wrong_protocol("udp_checksum_zero", "UDP"),
        }
        self
    }

    /// TCP's control bits, in place of those before.
    #[track_caller]
    pub fn flags(mut self, wanted: Flags) -> Self {
        match &mut self.kind {
            Kind::Tcp { flags, .. } => *flags = wanted,
            _ => self.wrong_protocol("flags", "TCP"),
        }
        self
    }

    /// TCP's sequence number.
    #[track_caller]
    pub fn seq(mut self, number: u32) -> Self {
        match &mut self.kind {
            Kind::Tcp { seq, .. } => *seq = number,
            _ => self.wrong_protocol("seq", "TCP"),
        }
        self
    }

    /// TCP's acknowledgment number; the ACK bit is [`flags`](Frame::flags)' to set.
    #[track_caller]
    pub fn ack(mut self, number: u32) -> Self {
        match &mut self.kind {
            Kind::Tcp { ack, .. } => *ack = number,
            _ => self.wrong_protocol("ack", "TCP"),
        }
        self
    }

    /// TCP's window.
    #[track_caller]
    pub fn window(mut self, size: u16) -> Self {
        match &mut self.kind {
            Kind::Tcp { window, .. } => *window = size,
            _ => self.wrong_protocol("window", "TCP"),
        }
        self
    }

    /// TCP's urgent pointer; the URG bit is [`flags`](Frame::flags)' to set.
    #[track_caller]
    pub fn urgent(mut self, pointer: u16) -> Self {
        match &mut self.kind {
            Kind::Tcp { urgent, .. } => *urgent = pointer,
            _ => self.wrong_protocol("urgent", "TCP"),
        }
        self
    }

    /// Appends raw TCP options; they are padded to a multiple of 4 with end-of-list.
    #[track_caller]
    pub fn tcp_options(mut self, bytes: &[u8]) -> Self {
        match &mut self.kind {
            Kind::Tcp { options, .. } => options.push(bytes),
            _ => self.wrong_protocol("tcp_options", "TCP"),
        }
        self
    }

    /// Appends TCP's maximum segment size.
    #[track_caller]
    pub fn mss(self, size: u16) -> Self {
        let [high, low] = size.to_be_bytes();
        self.tcp_options(&[2, 4, high, low])
    }

    /// Appends TCP's window scale, with the no-op that aligns it.
    #[track_caller]
    pub fn wscale(self, shift: u8) -> Self {
        self.tcp_options(&[1, 3, 3, shift])
    }

    /// Appends TCP's SACK permitted, with the no-ops that align it.
    #[track_caller]
    pub fn sack_permitted(self) -> Self {
        self.tcp_options(&[1, 1, 4, 2])
    }

    /// The second half of an ICMP header: MTU, pointer, gateway, identifier.
    #[track_caller]
    pub fn rest(mut self, bytes: [u8; 4]) -> Self {
        match &mut self.kind {
            Kind::Icmp { rest, .. } | Kind::IcmpError { rest, .. } => *rest = bytes,
            _ => self.wrong_protocol("rest", "ICMP"),
        }
        self
    }

    /// How many bytes of the offending packet, its IP header included, an ICMP error quotes at most.
    /// Not less than 128 with an [`extension`](Frame::extension).
    #[track_caller]
    pub fn quote(mut self, bytes: usize) -> Self {
        match &mut self.kind {
            Kind::IcmpError { quote, .. } => *quote = bytes,
            _ => self.wrong_protocol("quote", "an ICMP error"),
        }
        self
    }

    /// Appends an RFC 4884 extension object; the quote is padded to 128 bytes and its length is written.
    #[track_caller]
    pub fn extension(mut self, class: u8, kind: u8, data: impl Into<Cow<'a, [u8]>>) -> Self {
        match &mut self.kind {
            Kind::IcmpError { extensions, .. } => extensions.push((class, kind, data.into())),
            _ => self.wrong_protocol("extension", "an ICMP error"),
        }
        self
    }

    /// GRE's sequence number.
    #[track_caller]
    pub fn gre_seq(mut self, number: u32) -> Self {
        match &mut self.kind {
            Kind::Gre { seq, .. } | Kind::Gre0 { seq, .. } => *seq = Some(number),
            _ => self.wrong_protocol("gre_seq", "GRE"),
        }
        self
    }

    /// GRE version 0's key. Version 1 has a call ID in its place.
    #[track_caller]
    pub fn gre_key(mut self, wanted: u32) -> Self {
        match &mut self.kind {
            Kind::Gre0 { key, .. } => *key = Some(wanted),
            _ => self.wrong_protocol("gre_key", "GRE version 0"),
        }
        self
    }

    /// GRE version 1's acknowledgment number.
    #[track_caller]
    pub fn gre_ack(mut self, number: u32) -> Self {
        match &mut self.kind {
            Kind::Gre { ack, .. } => *ack = Some(number),
            _ => self.wrong_protocol("gre_ack", "GRE version 1"),
        }
        self
    }

    #[track_caller]
    fn wrong_protocol(&self, setter: &str, owner: &str) -> ! {
        panic!("`{setter}` belongs to {owner}, but this frame is {:?}", self.kind)
    }
}

/// Deliberate damage. All else stays right: the IP checksum covers a wrong length, and so on.
impl Frame<'_> {
    /// A wrong IP header checksum.
    pub fn bad_ip_checksum(mut self) -> Self {
        self.damage.ip_checksum = true;
        self
    }

    /// A wrong TCP, UDP or ICMP checksum.
    pub fn bad_l4_checksum(mut self) -> Self {
        self.damage.l4_checksum = true;
        self
    }

    /// This IP version, 4 bits.
    pub fn ip_version(mut self, version: u8) -> Self {
        self.damage.version = Some(version & 0xf);
        self
    }

    /// This IP header length, in 4-byte words, 4 bits.
    pub fn ihl(mut self, words: u8) -> Self {
        self.damage.ihl = Some(words & 0xf);
        self
    }

    /// This IP total length.
    pub fn total_length(mut self, length: u16) -> Self {
        self.damage.total_length = Some(length);
        self
    }

    /// This UDP length.
    pub fn udp_length(mut self, length: u16) -> Self {
        self.damage.udp_length = Some(length);
        self
    }

    /// This TCP data offset, in 4-byte words, 4 bits.
    pub fn data_offset(mut self, words: u8) -> Self {
        self.damage.data_offset = Some(words & 0xf);
        self
    }

    /// Cuts the built frame to `length` bytes, whatever its headers say.
    pub fn truncate(mut self, length: usize) -> Self {
        self.damage.truncate = Some(length);
        self
    }

    /// Ethernet padding with zeros up to `length` bytes; 60 is what a wire asks for.
    pub fn pad_to(mut self, length: usize) -> Self {
        self.damage.pad_to = length;
        self
    }
}
