//! An IPv4 network.

use std::fmt;
use std::net::Ipv4Addr;

/// An address prefix. The host bits are zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Net {
    base: u32,
    prefix: u8,
}

impl Net {
    /// Everything.
    pub const ALL: Self = Self { base: 0, prefix: 0 };

    /// The network of `addr`; a prefix above 32 counts as 32.
    #[must_use]
    pub const fn of(addr: Ipv4Addr, prefix: u8) -> Self {
        let prefix = if prefix > 32 { 32 } else { prefix };
        Self { base: addr.to_bits() & mask(prefix), prefix }
    }

    /// Length of the prefix.
    #[must_use]
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether `addr` lies in it.
    #[inline]
    #[must_use]
    pub const fn contains(self, addr: Ipv4Addr) -> bool {
        addr.to_bits() & mask(self.prefix) == self.base
    }

    /// The directed broadcast address, where the network is large enough to have one (RFC 3021 for /31).
    #[must_use]
    pub const fn broadcast(self) -> Option<Ipv4Addr> {
        if self.prefix >= 31 { None } else { Some(Ipv4Addr::from_bits(self.base | !mask(self.prefix))) }
    }

    /// The address of the network itself, once used as broadcast (RFC 1812 §4.2.3.1), where it is no host's.
    #[must_use]
    pub const fn base(self) -> Option<Ipv4Addr> {
        if self.prefix >= 31 { None } else { Some(Ipv4Addr::from_bits(self.base)) }
    }
}

const fn mask(prefix: u8) -> u32 {
    if prefix == 0 { 0 } else { u32::MAX << (32 - prefix as u32) }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.base), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_every_length_contain_their_ends() {
        let a = Ipv4Addr::new(203, 0, 113, 77);
        for prefix in 0..=32 {
            let n = Net::of(a, prefix);
            assert!(n.contains(a));
            assert!(n.broadcast().is_none_or(|b| n.contains(b)));
        }
        assert!(!Net::of(a, 24).contains(Ipv4Addr::new(203, 0, 114, 77)));
        assert_eq!(Net::of(a, 24).broadcast(), Some(Ipv4Addr::new(203, 0, 113, 255)));
        assert_eq!(Net::of(a, 31).broadcast(), None);
    }
}
