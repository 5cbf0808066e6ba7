//! Addresses, networks, ranges of addresses and ports, MAC addresses: the types, and how they are read.
//!
//! IPv4 only: an IPv6 address is recognised and refused as something that this version cannot do.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use crate::value::{Mistake, Node, integer, quoted, text};

/// An IPv4 address and the length of its network's prefix: a port's own address (`192.168.1.1/24`) or a network
/// (`10.64.0.0/10`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ipv4Net {
    address: Ipv4Addr,
    prefix: u8,
}

impl Ipv4Net {
    /// `address/prefix`, unless the prefix is longer than an address.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        (prefix <= 32).then_some(Ipv4Net { address, prefix })
    }

    /// The address as written, host bits included.
    pub fn address(self) -> Ipv4Addr {
        self.address
    }

    /// The length of the prefix, 0 to 32.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }

    /// The network's lowest address.
    pub fn first(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() & self.mask())
    }

    /// The network's highest address.
    pub fn last(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | !self.mask())
    }

    /// The network itself, with the host bits cleared.
    pub fn network(self) -> Ipv4Net {
        Ipv4Net { address: self.first(), prefix: self.prefix }
    }

    /// Every address of the network.
    pub fn range(self) -> AddressRange {
        AddressRange { first: self.first(), last: self.last() }
    }

    /// Whether `address` lies in the network.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        self.range().contains(address)
    }

    /// Whether an address lies in both.
    pub fn overlaps(self, other: Ipv4Net) -> bool {
        self.range().overlaps(other.range())
    }

    /// Whether `address` is no host's: the network's own or its broadcast address. In a /31 [RFC 3021] and a /32 none is.
    pub fn reserves(self, address: Ipv4Addr) -> bool {
        self.prefix < 31 && (address == self.first() || address == self.last())
    }
}

impl fmt::Display for Ipv4Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The IPv4 addresses from `first` to `last`, both included; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressRange {
    first: Ipv4Addr,
    last: Ipv4Addr,
}

impl AddressRange {
    /// The range, unless `last` is below `first`.
    pub fn new(first: Ipv4Addr, last: Ipv4Addr) -> Option<Self> {
        (first <= last).then_some(AddressRange { first, last })
    }

    /// The lowest address.
    pub fn first(self) -> Ipv4Addr {
        self.first
    }

    /// The highest address.
    pub fn last(self) -> Ipv4Addr {
        self.last
    }

    /// How many addresses these are: at least one.
    #[allow(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(self) -> u64 {
        u64::from(self.last.to_bits()) - u64::from(self.first.to_bits()) + 1
    }

    /// Whether `address` is one of them.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        self.first <= address && address <= self.last
    }

    /// Whether the two have an address in common.
    pub fn overlaps(self, other: AddressRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The addresses, from the lowest on.
    pub fn iter(self) -> impl Iterator<Item = Ipv4Addr> {
        (self.first.to_bits()..=self.last.to_bits()).map(Ipv4Addr::from_bits)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// A unicast Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// The six bytes in the order of the wire.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An IPv4 address in `written`.
pub(crate) fn parse_address(written: &str) -> Result<Ipv4Addr, Mistake> {
    written.parse().map_err(|_| {
        let without_prefix = written.split('/').next().unwrap_or_default();
        if without_prefix.parse::<Ipv6Addr>().is_ok() {
            return Mistake::unsupported(&format!("the IPv6 address {}", quoted(written)));
        }
        Mistake::write(
            format!("{} is not an IPv4 address", quoted(written)),
            "four numbers from 0 to 255, such as \"203.0.113.2\"",
        )
    })
}

/// An address that a host can have: not 0.0.0.0/8, loopback, multicast or reserved.
fn parse_unicast(written: &str) -> Result<Ipv4Addr, Mistake> {
    let address = parse_address(written)?;
    let [first, ..] = address.octets();
    let kind = match first {
        0 => "an address of \"this network\" (0.0.0.0/8)",
        127 => "a loopback address",
        224..=239 => "a multicast address",
        240..=255 => "a reserved address",
        _ => return Ok(address),
    };
    Err(Mistake::write(format!("{address} is {kind}, no host's"), "a unicast address, such as \"203.0.113.2\""))
}

/// A host's address.
pub(crate) fn address(node: &Node<'_>) -> Result<Ipv4Addr, Mistake> {
    parse_unicast(&text(node, "\"203.0.113.2\"")?)
}

/// `address/prefix` as its two parts.
fn parse_parts(written: &str, example: &str) -> Result<(Ipv4Addr, u8), Mistake> {
    let Some((address, prefix)) = written.split_once('/') else {
        let address = parse_address(written)?;
        return Err(Mistake::write(format!("{address} has no prefix length"), format!("\"{address}/24\"")));
    };
    let address = match parse_address(address) {
        Ok(address) => address,
        // Name what was written in full, so that an IPv6 network is recognised with its prefix.
        Err(_) => return Err(parse_address(written).err().unwrap_or_else(|| Mistake::write("", example))),
    };
    let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
    match prefix.parse::<u8>() {
        Ok(length) if digits && length <= 32 => Ok((address, length)),
        _ => Err(Mistake::write(
            format!("{} is not a prefix length", quoted(prefix)),
            format!("a number from 1 to 32 after the slash, such as {example}"),
        )),
    }
}

/// A port's own address with its prefix.
pub(crate) fn interface(node: &Node<'_>) -> Result<Ipv4Net, Mistake> {
    let example = "\"192.168.1.1/24\"";
    let (address, prefix) = parse_parts(&text(node, example)?, example)?;
    parse_unicast(&address.to_string())?;
    let net = Ipv4Net { address, prefix };
    if prefix == 0 {
        let message = format!("{net} puts the whole Internet on the link");
        return Err(Mistake::write(message, format!("the network's real prefix length, such as \"{address}/24\"")));
    }
    if net.reserves(address) {
        let kind = if address == net.first() { "the network's own" } else { "the broadcast" };
        let free = Ipv4Addr::from_bits(net.first().to_bits().saturating_add(1));
        return Err(Mistake::write(
            format!("{address} is {kind} address of {}, no host's", net.network()),
            format!("a host's address, such as \"{free}/{prefix}\""),
        ));
    }
    Ok(net)
}

/// A network, without host bits.
pub(crate) fn network(node: &Node<'_>) -> Result<Ipv4Net, Mistake> {
    let example = "\"10.64.0.0/10\"";
    parse_network(&text(node, example)?, example)
}

fn parse_network(written: &str, example: &str) -> Result<Ipv4Net, Mistake> {
    let (address, prefix) = parse_parts(written, example)?;
    let net = Ipv4Net { address, prefix };
    if net.network() != net {
        let network = net.network();
        return Err(Mistake::write(format!("{net} has host bits set"), format!("\"{network}\"")));
    }
    Ok(net)
}

/// One address, a range `first-last`, or a network.
pub(crate) fn address_range(node: &Node<'_>) -> Result<AddressRange, Mistake> {
    let written = text(node, "\"203.0.113.2\"")?;
    if written.contains('/') {
        return Ok(parse_network(&written, "\"198.51.100.0/28\"")?.range());
    }
    let Some((first, last)) = written.split_once('-') else {
        let address = parse_unicast(&written)?;
        return Ok(AddressRange { first: address, last: address });
    };
    let (first, last) = (parse_unicast(first.trim())?, parse_unicast(last.trim())?);
    AddressRange::new(first, last)
        .ok_or_else(|| Mistake::write(format!("{first}-{last} ends before it begins"), format!("\"{last}-{first}\"")))
}

/// The ports in `written`: `8443`, or `8000-8009`.
fn parse_ports(written: &str) -> Option<RangeInclusive<u16>> {
    let number = |text: &str| {
        let text = text.trim();
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|&port| digits && port > 0)
    };
    let (first, last) = written.split_once('-').unwrap_or((written, written));
    Some(number(first)?..=number(last)?)
}

/// A port as an integer, or a range of them as a string.
pub(crate) fn ports(node: &Node<'_>) -> Result<RangeInclusive<u16>, Mistake> {
    if node.value.get_ref().is_integer() {
        let port = integer(1..=u16::MAX)(node)?;
        return Ok(port..=port);
    }
    let example = "a port such as 8443, or a range such as \"8000-8009\", from 1 to 65535";
    let written = text(node, example)?;
    let range = parse_ports(&written)
        .ok_or_else(|| Mistake::write(format!("{} is not a port or a range of ports", quoted(&written)), example))?;
    if range.is_empty() {
        let (first, last) = (range.start(), range.end());
        return Err(Mistake::write(format!("{first}-{last} ends before it begins"), format!("\"{last}-{first}\"")));
    }
    Ok(range)
}

/// `8443`, or `8000-8009`.
pub(crate) fn show_ports(ports: &RangeInclusive<u16>) -> String {
    match (ports.start(), ports.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    }
}

/// How many ports these are.
pub(crate) fn count_ports(ports: &RangeInclusive<u16>) -> u32 {
    u32::from(*ports.end()).saturating_sub(u32::from(*ports.start())) + 1
}

/// An address with or without a port: `192.168.1.10:443`, `192.168.1.10`.
pub(crate) fn endpoint(node: &Node<'_>) -> Result<(Ipv4Addr, Option<u16>), Mistake> {
    let example = "an address and a port, such as \"192.168.1.10:443\"";
    let written = text(node, example)?;
    if written.starts_with('[') || written.parse::<Ipv6Addr>().is_ok() {
        return Err(Mistake::unsupported(&format!("the IPv6 address {}", quoted(&written))));
    }
    let Some((address, port)) = written.split_once(':') else { return Ok((parse_unicast(&written)?, None)) };
    let address = parse_unicast(address)?;
    match parse_ports(port) {
        Some(ports) if ports.start() == ports.end() => Ok((address, Some(*ports.start()))),
        Some(ports) => {
            let first = *ports.start();
            let message = format!("{} is a range; its length follows from outside_port", quoted(port));
            Err(Mistake::write(message, format!("only the first port: \"{address}:{first}\"")))
        }
        None => Err(Mistake::write(format!("{} is not a port from 1 to 65535", quoted(port)), example)),
    }
}

/// A unicast MAC address, its bytes divided by colons or hyphens.
pub(crate) fn mac(node: &Node<'_>) -> Result<MacAddr, Mistake> {
    let example = "six bytes in hexadecimal, such as \"02:00:00:00:00:01\"";
    let written = text(node, example)?;
    let octets = parse_octets(&written)
        .ok_or_else(|| Mistake::write(format!("{} is not a MAC address", quoted(&written)), example))?;
    let [first, ..] = octets;
    if octets == [0; 6] {
        return Err(Mistake::write("00:00:00:00:00:00 is nobody's address", example));
    }
    if first & 1 == 1 {
        let message = format!("{} is a group address, as its first byte is odd", quoted(&written));
        return Err(Mistake::write(message, "the device's own unicast address, such as \"02:00:00:00:00:01\""));
    }
    Ok(MacAddr(octets))
}

fn parse_octets(written: &str) -> Option<[u8; 6]> {
    let divider = if written.contains('-') { '-' } else { ':' };
    let mut parts = written.split(divider);
    let mut octets = [0; 6];
    for octet in &mut octets {
        let part = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *octet = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(address: [u8; 4], prefix: u8) -> Ipv4Net {
        Ipv4Net::new(address.into(), prefix).unwrap()
    }

    #[test]
    fn a_network_knows_its_bounds() {
        for (prefix, first, last) in [
            (0, [0, 0, 0, 0], [255, 255, 255, 255]),
            (10, [10, 64, 0, 0], [10, 127, 255, 255]),
            (31, [10, 65, 2, 2], [10, 65, 2, 3]),
            (32, [10, 65, 2, 3], [10, 65, 2, 3]),
        ] {
            let net = net([10, 65, 2, 3], prefix);
            assert_eq!((net.first(), net.last()), (first.into(), last.into()), "{net}");
            assert!(net.contains(net.first()) && net.contains(net.last()));
        }
        assert_eq!(Ipv4Net::new([10, 0, 0, 1].into(), 33), None);
    }

    #[test]
    fn only_networks_longer_than_two_addresses_reserve_their_ends() {
        assert!(net([10, 0, 0, 1], 30).reserves([10, 0, 0, 0].into()));
        assert!(net([10, 0, 0, 1], 30).reserves([10, 0, 0, 3].into()));
        assert!(!net([10, 0, 0, 1], 30).reserves([10, 0, 0, 2].into()));
        assert!(!net([10, 0, 0, 0], 31).reserves([10, 0, 0, 0].into()));
        assert!(!net([10, 0, 0, 0], 32).reserves([10, 0, 0, 0].into()));
    }

    #[test]
    fn networks_overlap_when_one_holds_the_other() {
        assert!(net([10, 0, 0, 0], 8).overlaps(net([10, 1, 0, 0], 16)));
        assert!(net([10, 1, 0, 0], 16).overlaps(net([10, 0, 0, 0], 8)));
        assert!(!net([10, 1, 0, 0], 16).overlaps(net([10, 2, 0, 0], 16)));
    }

    #[test]
    fn a_range_counts_its_addresses() {
        let all = net([0, 0, 0, 0], 0).range();
        assert_eq!(all.len(), 1 << 32);
        assert_eq!(net([10, 0, 0, 4], 30).range().iter().last(), Some([10, 0, 0, 7].into()));
        assert_eq!(AddressRange::new([10, 0, 0, 2].into(), [10, 0, 0, 1].into()), None);
    }

    #[test]
    fn ports_and_macs_are_read_strictly() {
        assert_eq!(parse_ports("8000-8009"), Some(8000..=8009));
        for text in ["0", "65536", "+1", "1-", "-1", "", "1-2-3"] {
            assert_eq!(parse_ports(text), None, "{text}");
        }
        assert_eq!(parse_octets("02-00-00-00-00-ff"), Some([2, 0, 0, 0, 0, 255]));
        for text in ["02:00:00:00:00", "02:00:00:00:00:01:02", "2:0:0:0:0:1", "+2:00:00:00:00:01", "02-00:00:00:00:01"]
        {
            assert_eq!(parse_octets(text), None, "{text}");
        }
    }
}
