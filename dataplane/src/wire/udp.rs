//! UDP (RFC 768).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian::U16};

/// The 8 bytes of the header.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Udp {
    /// Source port.
    pub src: U16,
    /// Destination port.
    pub dst: U16,
    /// Header and payload together.
    pub len: U16,
    /// Checksum; zero means none.
    pub checksum: U16,
}

/// Length of [`Udp`].
pub const LEN: usize = 8;
/// Where the checksum lies.
pub const CHECKSUM_AT: usize = 6;
