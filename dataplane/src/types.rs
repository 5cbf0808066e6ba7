//! Sides, units and identifiers as types, so that they cannot be swapped.
//!
//! Addresses are [`Ipv4Addr`] and ports are host-order `u16` everywhere; network order lives in [`crate::wire`] only.

use std::fmt;
use std::net::Ipv4Addr;

/// A moment of the worker's clock: milliseconds, wrapping after 49 days. Compared by wrapping difference, so only
/// moments less than 24 days apart may be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick(pub u32);

impl Tick {
    /// The moment `millis` later.
    #[inline]
    #[must_use]
    pub const fn after(self, millis: u32) -> Self {
        Self(self.0.wrapping_add(millis))
    }

    /// Milliseconds passed since `earlier`; 0 when `earlier` is in fact later.
    #[inline]
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        let d = self.0.wrapping_sub(earlier.0);
        if d > u32::MAX / 2 { 0 } else { d }
    }

    /// Whether this moment is `deadline` or later.
    #[inline]
    #[must_use]
    pub const fn reached(self, deadline: Self) -> bool {
        self.0.wrapping_sub(deadline.0) <= u32::MAX / 2
    }
}

/// Which side of the NAT a port faces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Subscribers.
    Inside,
    /// The world.
    Outside,
}

/// Which way a packet crosses the NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From an inside host towards the world.
    Out,
    /// From the world towards an inside host.
    In,
}

/// A port of the dataplane, counted from 0 in the order of the configuration. Not DPDK's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u8);

impl PortId {
    /// As an index into a table of ports.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A worker, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u8);

impl WorkerId {
    /// As an index into a table of workers.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Most workers that a dataplane may have.
pub const MAX_WORKERS: usize = 64;
/// Most ports that a dataplane may have.
pub const MAX_PORTS: usize = 16;

/// An IPv4 protocol number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Proto(pub u8);

impl Proto {
    /// ICMP, protocol 1.
    pub const ICMP: Self = Self(1);
    /// TCP, protocol 6.
    pub const TCP: Self = Self(6);
    /// UDP, protocol 17.
    pub const UDP: Self = Self(17);
    /// GRE, protocol 47.
    pub const GRE: Self = Self(47);
    /// IPsec's encapsulating security payload, protocol 50.
    pub const ESP: Self = Self(50);
    /// IPsec's authentication header, protocol 51.
    pub const AH: Self = Self(51);
    /// L2TPv3 over IP, protocol 115: its data packets, by session identifier.
    pub const L2TP: Self = Self(115);
    /// L2TPv3's control connection in a [`Key`], by control connection identifier. On the wire it is [`Proto::L2TP`];
    /// 255 is reserved there and never accepted.
    pub const L2TP_CONTROL: Self = Self(255);

    /// The number on the wire.
    #[must_use]
    pub const fn wire(self) -> Self {
        if self.0 == Self::L2TP_CONTROL.0 { Self::L2TP } else { self }
    }
}

impl fmt::Debug for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ICMP => f.write_str("icmp"),
            Self::TCP => f.write_str("tcp"),
            Self::UDP => f.write_str("udp"),
            Self::GRE => f.write_str("gre"),
            Self::ESP => f.write_str("esp"),
            Self::AH => f.write_str("ah"),
            Self::L2TP => f.write_str("l2tp"),
            Self::L2TP_CONTROL => f.write_str("l2tp control"),
            Self(n) => write!(f, "protocol {n}"),
        }
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The group bit: multicast or broadcast.
    #[inline]
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An address and a port, or an ICMP query identifier in the place of the port (RFC 5508 §3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// IPv4 address.
    pub addr: Ipv4Addr,
    /// Port or identifier, host order.
    pub port: u16,
}

impl Endpoint {
    /// Both in one.
    #[inline]
    #[must_use]
    pub const fn new(addr: Ipv4Addr, port: u16) -> Self {
        Self { addr, port }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.addr, self.port)
    }
}

/// Something as inside hosts see it. Cannot be given where [`Outside`] is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Inside<T>(pub T);

/// Something as the world sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Outside<T>(pub T);

/// What identifies a flow in one direction, exactly as its packets carry it.
///
/// `ident` is what the protocol offers beyond addresses: source and destination port for TCP and UDP
/// ([`Key::ports`]), the query identifier for ICMP in the place of the asking side's port, and, in 32 bits, the SPI,
/// Call ID or session ID of a tunnel. One shape serves them all, so one table and one hash do too.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Source address in the packet.
    pub src: Ipv4Addr,
    /// Destination address in the packet.
    pub dst: Ipv4Addr,
    /// Ports or tunnel identifier; see the type.
    pub ident: u32,
    /// IPv4 protocol.
    pub proto: Proto,
}

impl Key {
    /// What stands before a PPTP Call ID in an `ident`, so that it differs from GRE version 0, which has 0.
    pub const PPTP: u32 = 0x880b_0000;

    /// The `ident` of GRE version 1 [RFC 2637 §4.1].
    #[inline]
    #[must_use]
    pub const fn call(id: u16) -> u32 {
        Self::PPTP | id as u32
    }

    /// Whether this is a packet of a PPTP call.
    #[inline]
    #[must_use]
    pub const fn is_pptp(&self) -> bool {
        self.proto.0 == Proto::GRE.0 && self.ident & 0xffff_0000 == Self::PPTP
    }

    /// The `ident` of a protocol with ports.
    #[inline]
    #[must_use]
    pub const fn ports(src: u16, dst: u16) -> u32 {
        (src as u32) << 16 | dst as u32
    }

    /// Key of a packet from `src` to `dst`.
    #[inline]
    #[must_use]
    pub const fn new(proto: Proto, src: Endpoint, dst: Endpoint) -> Self {
        Self { src: src.addr, dst: dst.addr, ident: Self::ports(src.port, dst.port), proto }
    }

    /// Source port of a protocol with ports.
    #[inline]
    #[must_use]
    pub const fn src_port(&self) -> u16 {
        (self.ident >> 16) as u16
    }

    /// Destination port of a protocol with ports.
    #[inline]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "the low half is meant")]
    pub const fn dst_port(&self) -> u16 {
        self.ident as u16
    }

    /// Source address and port.
    #[inline]
    #[must_use]
    pub const fn from(&self) -> Endpoint {
        Endpoint::new(self.src, self.src_port())
    }

    /// Destination address and port.
    #[inline]
    #[must_use]
    pub const fn to(&self) -> Endpoint {
        Endpoint::new(self.dst, self.dst_port())
    }

    /// The key of a packet going back, for a protocol with ports.
    #[inline]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self { src: self.dst, dst: self.src, ident: self.ident.rotate_left(16), proto: self.proto }
    }

    /// The key that a packet going back would be steered by: as [`Key::reversed`]; what has no ports keeps its `ident`,
    /// as the other direction's is not known from this one's.
    #[must_use]
    pub const fn back(&self) -> Self {
        match self.proto {
            Proto::TCP | Proto::UDP | Proto::ICMP => self.reversed(),
            _ => Self { src: self.dst, dst: self.src, ident: self.ident, proto: self.proto },
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} → {:?}", self.proto, self.from(), self.to())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_compare_across_the_wrap() {
        let before = Tick(u32::MAX - 5);
        let after = before.after(10);
        assert_eq!(after.0, 4);
        assert_eq!(after.since(before), 10);
        assert_eq!(before.since(after), 0);
        assert!(after.reached(before) && !before.reached(after) && after.reached(after));
    }

    #[test]
    fn a_key_reversed_twice_is_itself() {
        let k = Key::new(
            Proto::UDP,
            Endpoint::new(Ipv4Addr::new(10, 0, 0, 1), 1000),
            Endpoint::new(Ipv4Addr::new(9, 9, 9, 9), 53),
        );
        assert_eq!(k.reversed().from(), k.to());
        assert_eq!(k.reversed().reversed(), k);
    }
}
