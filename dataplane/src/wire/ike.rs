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
/// In the flags of version 2: sent by whoever began the IKE security association.
pub const INITIATOR: u8 = 0x08;
/// In the flags of version 2: a response.
pub const RESPONSE: u8 = 0x20;

/// In the flags of version 1: what follows the header is encrypted.
pub const ENCRYPTED: u8 = 0x01;

/// First payloads by which an encrypted message is known.
mod payload {
    /// Version 1: the hash that Quick Mode begins with (RFC 2409 §5.5).
    pub(super) const HASH: u8 = 8;
    /// Version 2: all else is in it (RFC 7296 §3.14).
    pub(super) const SK: u8 = 46;
    /// Version 2: a piece of it (RFC 7383 §2.5).
    pub(super) const SKF: u8 = 53;
}

/// Exchange types.
pub mod exchange {
    /// Version 1, RFC 2409 §5: main mode.
    pub const IDENTITY_PROTECTION: u8 = 2;
    /// Version 1.
    pub const AGGRESSIVE: u8 = 4;
    /// Version 1.
    pub const INFORMATIONAL_V1: u8 = 5;
    /// Version 1, RFC 2409 §5.5: makes and renews ESP security associations.
    pub const QUICK_MODE: u8 = 32;
    /// Version 2: begins.
    pub const IKE_SA_INIT: u8 = 34;
    /// Version 2: makes the first one.
    pub const IKE_AUTH: u8 = 35;
    /// Version 2: makes the others, and renews.
    pub const CREATE_CHILD_SA: u8 = 36;
    /// Version 2: notifies, deletes, asks whether the peer is alive.
    pub const INFORMATIONAL: u8 = 37;
    /// Version 2, RFC 9242: between the first two.
    pub const IKE_INTERMEDIATE: u8 = 43;
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ike {
    /// Initiator's SPI or cookie; not 0.
    pub initiator: u64,
    /// Responder's SPI or cookie; 0 before the first answer.
    pub responder: u64,
    /// Type of the first payload.
    pub next: u8,
    /// Major version: 1 or 2.
    pub major: u8,
    /// See [`exchange`].
    pub exchange: u8,
    /// Flags of its version.
    pub flags: u8,
    /// Message identifier.
    pub message_id: u32,
    /// Length of the whole message, the header included, as claimed; no less than [`LEN`].
    pub len: u32,
}

impl Ike {
    /// Whether it is a message of an exchange that ends in ESP security associations, and encrypted as all of these are:
    /// a refusal in the clear [RFC 7296 §1.5, §2.21.4] is had by anybody for the asking.
    #[must_use]
    pub const fn makes_child(&self) -> bool {
        match (self.major, self.exchange) {
            (1, exchange::QUICK_MODE) => self.flags & ENCRYPTED != 0 && self.next == payload::HASH,
            (2, exchange::IKE_AUTH | exchange::CREATE_CHILD_SA) => matches!(self.next, payload::SK | payload::SKF),
            _ => false,
        }
    }

    /// Whether it is of version 2's authentication, which may take several exchanges [RFC 7296 §2.16].
    #[must_use]
    pub const fn is_auth(&self) -> bool {
        self.major == 2 && self.exchange == exchange::IKE_AUTH
    }

    /// Whether it is marked as a response; version 1 does not mark them.
    #[must_use]
    pub const fn is_response(&self) -> bool {
        self.major == 2 && self.flags & RESPONSE != 0
    }

    /// Whether its sender began the IKE security association; version 1 does not say.
    #[must_use]
    pub const fn is_initiators(&self) -> bool {
        self.major == 2 && self.flags & INITIATOR != 0
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
        next: h.next,
        major,
        exchange: h.exchange,
        flags: h.flags,
        message_id: h.message_id.get(),
        len: h.len.get(),
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
    use proptest::prelude::*;
    use testkit::ike::{self as witness, Ike as Built};

    #[test]
    fn the_header_lies_as_the_rfc_draws_it() {
        let built = Built::v2(0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 36).flags(0x20).message_id(9).build();
        let ike = parse(&built, false).unwrap();
        assert_eq!((ike.initiator, ike.responder), (0x0101_0101_0101_0101, 0x0202_0202_0202_0202));
        assert_eq!((ike.major, ike.exchange, ike.message_id, ike.len), (2, 36, 9, 36));
        assert!(ike.makes_child() && ike.is_response() && !ike.is_initiators());
    }

    #[test]
    fn three_exchanges_make_esp_security_associations_each_in_its_version_and_encrypted() {
        use witness::exchange::{AUTH, CREATE_CHILD_SA, QUICK_MODE};
        for (exchange, next) in (0..=255).flat_map(|exchange| (0..=255).map(move |next| (exchange, next))) {
            let [v1, v2] = [Built::v1(1, 2, exchange), Built::v2(1, 2, exchange)]
                .map(|b| parse(&b.flags(0xff).next(next).build(), false).unwrap());
            assert_eq!(v1.makes_child(), exchange == QUICK_MODE && next == 8);
            assert_eq!(v2.makes_child(), matches!(exchange, AUTH | CREATE_CHILD_SA) && matches!(next, 46 | 53));
            let clear = Built::v1(1, 2, exchange).flags(!1).next(next).build();
            assert!(!parse(&clear, false).unwrap().makes_child());
            // Version 1 has other flags.
            assert!(!v1.is_response() && !v1.is_initiators() && v2.is_response() && v2.is_initiators());
        }
    }

    #[test]
    fn what_is_cut_or_no_ike_is_not_believed() {
        let request = || Built::v2(1, 0, exchange::IKE_SA_INIT).body([]);
        let good = request().build();
        for n in 0..LEN {
            assert_eq!(parse(&good[..n], true), None);
        }
        assert_eq!(parse(&request().length(29).build(), false), None);
        assert!(parse(&request().length(29).build(), true).is_some());
        assert_eq!(parse(&request().length(27).build(), true), None);
        assert_eq!(parse(&request().version(0x30).build(), false), None);
        assert!(parse(&request().version(0x2f).build(), false).is_some());
        assert_eq!(parse(&Built::v2(0, 1, 34).build(), false), None);
    }

    #[test]
    fn port_4500_carries_three_things() {
        assert_eq!(Natt::of(&Built::v2(1, 2, 34).marked()), Natt::Ike);
        assert_eq!(Natt::of(&witness::KEEPALIVE), Natt::Keepalive);
        assert_eq!(Natt::of(&witness::esp_in_udp(0xff00_0000, 1, b"x")), Natt::Esp);
        assert_eq!(Natt::of(&[0xff, 0xff]), Natt::Esp);
        assert_eq!(Natt::of(&[0; 3]), Natt::Esp);
        assert_eq!(Natt::of(&[]), Natt::Esp);
    }

    proptest! {
        #[test]
        fn what_an_independent_builder_wrote_is_read(
            initiator in 1u64.., responder: u64, first: bool, exchange: u8, flags: u8, next: u8, message_id: u32,
            body: Vec<u8>,
        ) {
            let built = if first { Built::v1 } else { Built::v2 }(initiator, responder, exchange);
            let built = built.flags(flags).next(next).message_id(message_id).body(body).build();
            let (major, len) = (if first { 1 } else { 2 }, built.len() as u32);
            let ike = Ike { initiator, responder, next, major, exchange, flags, message_id, len };
            prop_assert_eq!(parse(&built, false), Some(ike));
            prop_assert_eq!(parse(&built[..LEN], true), Some(ike));
        }

        #[test]
        fn any_bytes_are_read_to_an_end(bytes: Vec<u8>, fragment: bool) {
            let _ = (parse(&bytes, fragment), Natt::of(&bytes));
        }
    }
}
