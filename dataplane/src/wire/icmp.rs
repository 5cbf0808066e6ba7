//! ICMP (RFC 792), as far as a NAT reads it (RFC 5508).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian::U16};

/// The 8 bytes that every type used here has.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum over the whole message.
    pub checksum: U16,
    /// Query identifier; unused in errors.
    pub id: U16,
    /// Query sequence; the next-hop MTU in "fragmentation needed" (RFC 1191 §4).
    pub seq: U16,
}

/// Length of [`Icmp`].
pub const LEN: usize = 8;
/// Where the checksum lies.
pub const CHECKSUM_AT: usize = 2;
/// Where a query's identifier lies.
pub const ID_AT: usize = 4;

/// Echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// Echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;
/// Timestamp request.
pub const TIMESTAMP_REQUEST: u8 = 13;
/// Timestamp reply.
pub const TIMESTAMP_REPLY: u8 = 14;

/// Codes of [`UNREACHABLE`].
pub mod unreachable {
    /// Host unreachable.
    pub const HOST: u8 = 1;
    /// Port unreachable.
    pub const PORT: u8 = 3;
    /// Fragmentation needed and DF set.
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// Communication administratively prohibited (RFC 1812 §5.2.7.1).
    pub const PROHIBITED: u8 = 13;
}

/// What a NAT makes of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A query whose identifier is the asking side's.
    Request,
    /// The answer to a query.
    Reply,
    /// An error that quotes a packet.
    Error,
    /// Anything else: source quench, redirect, router discovery, … (RFC 5508 REQ-10).
    Other,
}

impl Icmp {
    /// Sorts the type.
    #[inline]
    #[must_use]
    pub const fn sort(&self) -> Kind {
        match self.kind {
            ECHO_REQUEST | TIMESTAMP_REQUEST => Kind::Request,
            ECHO_REPLY | TIMESTAMP_REPLY => Kind::Reply,
            UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM => Kind::Error,
            _ => Kind::Other,
        }
    }
}
