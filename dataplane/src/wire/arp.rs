//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian::U16};

/// The 28 bytes of an ARP packet for IPv4 over Ethernet.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Arp {
    /// 1 for Ethernet.
    pub hardware: U16,
    /// 0x0800 for IPv4.
    pub protocol: U16,
    /// 6.
    pub hardware_len: u8,
    /// 4.
    pub protocol_len: u8,
    /// [`REQUEST`] or [`REPLY`].
    pub operation: U16,
    /// Sender's Ethernet address.
    pub sender_mac: [u8; 6],
    /// Sender's IPv4 address; zero in a probe (RFC 5227 §1.1).
    pub sender: [u8; 4],
    /// Target's Ethernet address.
    pub target_mac: [u8; 6],
    /// Target's IPv4 address.
    pub target: [u8; 4],
}

/// Length of [`Arp`].
pub const LEN: usize = 28;
/// Who has?
pub const REQUEST: u16 = 1;
/// I have.
pub const REPLY: u16 = 2;

impl Arp {
    /// Whether it is about IPv4 over Ethernet at all.
    #[must_use]
    pub fn is_ipv4_over_ethernet(&self) -> bool {
        self.hardware.get() == 1 && self.protocol.get() == 0x0800 && self.hardware_len == 6 && self.protocol_len == 4
    }

    /// Sender's address.
    #[must_use]
    pub fn sender(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.sender)
    }

    /// Target's address.
    #[must_use]
    pub fn target(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.target)
    }
}
