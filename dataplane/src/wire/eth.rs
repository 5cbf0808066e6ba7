//! Ethernet II and one 802.1Q tag.

use crate::types::Mac;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian::U16};

/// `dst | src | type`, 14 bytes.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Ethernet {
    /// Destination address.
    pub dst: [u8; 6],
    /// Source address.
    pub src: [u8; 6],
    /// EtherType, or the length of an 802.3 frame when below 1536.
    pub ethertype: U16,
}

/// What follows [`Ethernet`] whose type is [`TYPE_VLAN`].
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct VlanTag {
    /// Priority (3 bits), drop eligible (1), VLAN identifier (12).
    pub tci: U16,
    /// EtherType of what the tag wraps.
    pub ethertype: U16,
}

/// Length of [`Ethernet`].
pub const LEN: usize = 14;
/// Length of [`VlanTag`].
pub const TAG_LEN: usize = 4;
/// IPv4.
pub const TYPE_IPV4: u16 = 0x0800;
/// ARP.
pub const TYPE_ARP: u16 = 0x0806;
/// IPv6.
pub const TYPE_IPV6: u16 = 0x86dd;
/// 802.1Q tag.
pub const TYPE_VLAN: u16 = 0x8100;

impl Ethernet {
    /// Destination address.
    #[inline]
    #[must_use]
    pub const fn to(&self) -> Mac {
        Mac(self.dst)
    }
}

impl VlanTag {
    /// The VLAN identifier; 0 is a priority tag, which names no VLAN (802.1Q §9.6).
    #[inline]
    #[must_use]
    pub fn id(&self) -> u16 {
        self.tci.get() & 0x0fff
    }
}
