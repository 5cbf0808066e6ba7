//! IKE's header [RFC 7296 §3.1; RFC 2408 §3.1], and what UDP port 4500 carries [RFC 3948 §2].
//!
//! ```text
//! |              initiator's SPI (version 1: cookie)              |  8 bytes
//! |              responder's SPI (version 1: cookie)              |  8 bytes
//! |  Next payload | Major | Minor | Exchange type |     Flags     |
//! |                          Message ID                           |
//! |                            Length                             |
//! ```
//!
//! Payloads are not read: from the first authenticated message on they are encrypted.

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned, big_endian::U32, big_endian::U64};

/// The header as it lies on the wire.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct Header {
    initiator: U64,
    responder: U64,
    next: u8,
    version: u8,
    exchange: u8,
    flags: u8,
    message_id: U32,
    len: U32,
}

/// Length of the header.
pub const LEN: usize = 28;
/// In the flags of version 2: a response.
pub const RESPONSE: u8 = 0x20;

/// Exchange types.
pub mod exchange {
    /// Version 1, RFC 2409 §5.5: makes and renews ESP security associations.
    pub const QUICK_MODE: u8 = 32;
    /// Version 2: makes the first one.
    pub const IKE_AUTH: u8 = 35;
    /// Version 2: makes the others, and renews.
    pub const CREATE_CHILD_SA: u8 = 36;
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ike {
    /// Initiator's SPI or cookie; not 0.
    pub initiator: u64,
    /// Responder's SPI or cookie; 0 before the first answer.
    pub responder: u64,
    /// Major version: 1 or 2.
    pub major: u8,
    /// See [`exchange`].
    pub exchange: u8,
    /// Flags of its version.
    pub flags: u8,
    /// Message identifier.
    pub message_id: u32,
}

impl Ike {
    /// Whether the exchange ends in ESP security associations.
    #[must_use]
    pub const fn makes_child(&self) -> bool {
        matches!(
            (self.major, self.exchange),
            (1, exchange::QUICK_MODE) | (2, exchange::IKE_AUTH | exchange::CREATE_CHILD_SA)
        )
    }

    /// Whether it is marked as a response; version 1 does not mark them.
    #[must_use]
    pub const fn is_response(&self) -> bool {
        self.major == 2 && self.flags & RESPONSE != 0
    }
}

/// Reads the payload of a datagram on port 500; of a first fragment, as much of it as came.
#[must_use]
pub fn parse(payload: &[u8], fragment: bool) -> Option<Ike> {
    let (h, _) = Header::ref_from_prefix(payload).ok()?;
    let (major, len) = (h.version >> 4, h.len.get() as usize);
    let fits = len >= LEN && (fragment || len <= payload.len());
    if !matches!(major, 1 | 2) || !fits || h.initiator.get() == 0 {
        return None;
    }
    Some(Ike {
        initiator: h.initiator.get(),
        responder: h.responder.get(),
        major,
        exchange: h.exchange,
        flags: h.flags,
        message_id: h.message_id.get(),
    })
}

/// What a datagram on port 4500 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Natt {
    /// IKE behind four zero bytes.
    Ike,
    /// One byte of 0xff.
    Keepalive,
    /// ESP, whose SPI is not 0.
    Esp,
}

impl Natt {
    /// By its payload.
    #[inline]
    #[must_use]
    pub const fn of(payload: &[u8]) -> Self {
        match payload {
            [0, 0, 0, 0, ..] => Self::Ike,
            [0xff] => Self::Keepalive,
            _ => Self::Esp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u8, kind: u8, flags: u8, len: u8) -> Vec<u8> {
        let mut h = vec![1; 8];
        h.extend([2; 8]);
        h.extend([33, version, kind, flags, 0, 0, 0, 9, 0, 0, 0, len]);
        h
    }

    #[test]
    fn the_header_lies_as_the_rfc_draws_it() {
        let ike = parse(&header(0x20, 36, 0x20, 28), false).unwrap();
        assert_eq!((ike.initiator, ike.responder), (0x0101_0101_0101_0101, 0x0202_0202_0202_0202));
        assert_eq!((ike.major, ike.exchange, ike.message_id), (2, 36, 9));
        assert!(ike.makes_child() && ike.is_response());
        assert!(!parse(&header(0x20, 34, 0x08, 28), false).unwrap().makes_child());
        assert!(!parse(&header(0x10, 36, 0x20, 28), false).unwrap().is_response());
    }

    #[test]
    fn what_is_cut_or_no_ike_is_not_believed() {
        let good = header(0x20, 34, 0, 28);
        for n in 0..LEN {
            assert_eq!(parse(&good[..n], true), None);
        }
        assert_eq!(parse(&header(0x20, 34, 0, 29), false), None);
        assert!(parse(&header(0x20, 34, 0, 29), true).is_some());
        assert_eq!(parse(&header(0x20, 34, 0, 27), true), None);
        assert_eq!(parse(&header(0x30, 34, 0, 28), false), None);
        assert_eq!(parse(&[0; 28], false), None);
    }

    #[test]
    fn port_4500_carries_three_things() {
        assert_eq!(Natt::of(&[0, 0, 0, 0, 1]), Natt::Ike);
        assert_eq!(Natt::of(&[0xff]), Natt::Keepalive);
        assert_eq!(Natt::of(&[0xff, 0xff]), Natt::Esp);
        assert_eq!(Natt::of(&[]), Natt::Esp);
    }
}
