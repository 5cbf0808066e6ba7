//! PPTP's control messages (RFC 2637 §1.4 and §2), as far as a NAT reads them.
//!
//! Every type has one length, and what names a call lies in the first 16 bytes. An identifier is the sender's own or
//! the receiver's ("Peer's Call ID"); which one a field holds depends on the type alone. The functions answer `None`
//! for a number that is no type.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian::U16, big_endian::U32};

/// The 12 bytes that every control message begins with.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Pptp {
    /// Length of the message, these bytes included.
    pub len: U16,
    /// [`CONTROL`] or [`MANAGEMENT`].
    pub message: U16,
    /// [`COOKIE`].
    pub cookie: U32,
    /// Type of a control message, one of [`kind`].
    pub kind: U16,
    /// Zero.
    pub reserved: U16,
}

/// Length of [`Pptp`].
pub const LEN: usize = 12;
/// TCP port of a server.
pub const PORT: u16 = 1723;
/// What the third word of every message is, to notice lost framing (RFC 2637 §1.4).
pub const COOKIE: u32 = 0x1a2b_3c4d;
/// A control message.
pub const CONTROL: u16 = 1;
/// A management message; none is defined (RFC 2637 §1.4).
pub const MANAGEMENT: u16 = 2;
/// Length of the shortest message.
pub const MIN_MESSAGE: u8 = 16;
/// Length of the longest message.
pub const MAX_MESSAGE: u8 = 220;
/// Start-Control-Connection-Reply's result "a channel between the two exists already" (RFC 2637 §2.2).
pub const RESULT_CHANNEL_EXISTS: u8 = 3;
/// The result "done" of every reply (RFC 2637 §2.2, §2.4, §2.6, §2.8, §2.10).
pub const RESULT_OK: u8 = 1;

/// Types of control messages (RFC 2637 §2.1 to §2.15). PNS is the network server, a client as a rule; PAC is the
/// access concentrator.
pub mod kind {
    /// Start-Control-Connection-Request.
    pub const START_REQUEST: u8 = 1;
    /// Start-Control-Connection-Reply.
    pub const START_REPLY: u8 = 2;
    /// Stop-Control-Connection-Request.
    pub const STOP_REQUEST: u8 = 3;
    /// Stop-Control-Connection-Reply.
    pub const STOP_REPLY: u8 = 4;
    /// Echo-Request.
    pub const ECHO_REQUEST: u8 = 5;
    /// Echo-Reply.
    pub const ECHO_REPLY: u8 = 6;
    /// Outgoing-Call-Request, by the PNS.
    pub const OUTGOING_CALL_REQUEST: u8 = 7;
    /// Outgoing-Call-Reply, by the PAC.
    pub const OUTGOING_CALL_REPLY: u8 = 8;
    /// Incoming-Call-Request, by the PAC.
    pub const INCOMING_CALL_REQUEST: u8 = 9;
    /// Incoming-Call-Reply, by the PNS.
    pub const INCOMING_CALL_REPLY: u8 = 10;
    /// Incoming-Call-Connected, by the PAC.
    pub const INCOMING_CALL_CONNECTED: u8 = 11;
    /// Call-Clear-Request, by the PNS.
    pub const CALL_CLEAR_REQUEST: u8 = 12;
    /// Call-Disconnect-Notify, by the PAC.
    pub const CALL_DISCONNECT_NOTIFY: u8 = 13;
    /// WAN-Error-Notify, by the PAC.
    pub const WAN_ERROR_NOTIFY: u8 = 14;
    /// Set-Link-Info, by the PNS; some PACs send it too.
    pub const SET_LINK_INFO: u8 = 15;
}

/// Length of the messages of a type.
#[inline]
#[must_use]
pub const fn length(kind: u8) -> Option<u8> {
    Some(match kind {
        1 | 2 => 156,
        3..=5 | 12 => 16,
        6 => 20,
        7 => 168,
        8 => 32,
        9 => 220,
        10 | 15 => 24,
        11 => 28,
        13 => 148,
        14 => 40,
        _ => return None,
    })
}

/// Where a message holds the identifier that its sender chose.
#[inline]
#[must_use]
pub const fn own_id_at(kind: u8) -> Option<usize> {
    match kind {
        7..=10 | 12 | 13 => Some(12),
        _ => None,
    }
}

/// Where a message holds the identifier that its receiver chose.
#[inline]
#[must_use]
pub const fn peer_id_at(kind: u8) -> Option<usize> {
    match kind {
        8 | 10 => Some(14),
        11 | 14 | 15 => Some(12),
        _ => None,
    }
}

/// Where a message holds its result.
#[inline]
#[must_use]
pub const fn result_at(kind: u8) -> Option<usize> {
    match kind {
        2 | 13 => Some(14),
        4 => Some(12),
        6 | 8 | 10 => Some(16),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_lies_as_the_rfc_draws_it() {
        let bytes = [0, 168, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d, 0, 7, 0, 0];
        let header = Pptp::ref_from_bytes(&bytes).unwrap();
        assert_eq!((header.len.get(), header.message.get(), header.cookie.get()), (168, CONTROL, COOKIE));
        assert_eq!((header.kind.get(), header.reserved.get(), size_of::<Pptp>()), (7, 0, LEN));
    }

    #[test]
    fn lengths_and_fields_are_those_of_the_independent_builders() {
        let (own, peer, result) = (0xa1a2, 0xb1b2, 0xc3);
        for (kind, message) in (1..).zip(testkit::pptp::one_of_each(own, peer, result)) {
            assert_eq!(length(kind).map(usize::from), Some(message.len()), "type {kind}");
            let header = Pptp::ref_from_prefix(&message).unwrap().0;
            assert_eq!((usize::from(header.len.get()), header.kind.get()), (message.len(), u16::from(kind)));
            let find = |id: u16| message.windows(2).position(|w| w == id.to_be_bytes());
            assert_eq!(own_id_at(kind), find(own), "type {kind}");
            assert_eq!(peer_id_at(kind), find(peer), "type {kind}");
            assert_eq!(result_at(kind), message.iter().position(|&b| b == result), "type {kind}");
        }
    }

    #[test]
    fn no_other_number_is_a_type() {
        assert!((0..=255).filter(|&k| length(k).is_some()).eq(1..=15));
        assert!((1..=15).filter_map(length).all(|l| (MIN_MESSAGE..=MAX_MESSAGE).contains(&l)));
    }
}
