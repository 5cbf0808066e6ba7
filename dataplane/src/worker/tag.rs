//! What travels with a packet between workers, in its buffer's eight bytes.

use crate::nat::fragments::{Ident, Learned};
use crate::types::PortId;

/// Why a packet was handed over, and so what is known of it already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was read from a port.
    Fresh,
    /// You own its session.
    Owned,
    /// A fragment: its datagram's pieces meet at you.
    Meet,
    /// A fragment of a datagram whose first piece taught this; you own its session.
    Learned(Learned),
    /// An inside host sent it to an outside address of ours, it bears its outside source now, and you own the
    /// destination. For a fragment, this is what its key would be.
    Hairpin(Option<Ident>),
    /// An ICMP error about a PPTP call, which so many workers did not know.
    Seek(u8),
    /// It waited for its owner to become clear, and must not wait again.
    Overdue,
    /// A copy of an ARP packet that another worker received.
    ArpCopy,
    /// Data of a tunnel whose identifier's owner has no leg for it; you are its home.
    Home,
    /// No packet: a message about a loan ([`crate::passthrough::loan::message`]).
    Message,
}

/// Added to a kind: [`Ident::control`].
const CONTROL: u64 = 0x80;

/// [`Why`], and the port that the packet came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Why.
    pub why: Why,
    /// Port of arrival.
    pub port: PortId,
}

impl Tag {
    /// Packed: kind (8 bits), port (8), identification (16), ident (32).
    #[must_use]
    pub fn pack(self) -> u64 {
        let (kind, id, ident) = match self.why {
            Why::Fresh => (0u64, 0, 0),
            Why::Owned => (1, 0, 0),
            Why::Meet => (2, 0, 0),
            Why::Learned(l) => (3 + CONTROL * u64::from(l.of.control), l.id, l.of.ident),
            Why::Hairpin(None) => (4, 0, 0),
            Why::Hairpin(Some(of)) => (5 + CONTROL * u64::from(of.control), 0, of.ident),
            Why::ArpCopy => (6, 0, 0),
            Why::Seek(n) => (7, u16::from(n), 0),
            Why::Overdue => (8, 0, 0),
            Why::Home => (9, 0, 0),
            Why::Message => (10, 0, 0),
        };
        kind << 56 | u64::from(self.port.0) << 48 | u64::from(id) << 32 | u64::from(ident)
    }

    /// The inverse of [`Tag::pack`].
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "fields are cut out of a word")]
    pub const fn unpack(word: u64) -> Self {
        let (id, ident) = ((word >> 32) as u16, word as u32);
        let kind = word >> 56;
        let of = Ident { ident, control: kind & CONTROL != 0 };
        let why = match kind & !CONTROL {
            1 => Why::Owned,
            2 => Why::Meet,
            3 => Why::Learned(Learned { of, id }),
            4 => Why::Hairpin(None),
            5 => Why::Hairpin(Some(of)),
            6 => Why::ArpCopy,
            7 => Why::Seek(id as u8),
            8 => Why::Overdue,
            9 => Why::Home,
            10 => Why::Message,
            _ => Why::Fresh,
        };
        Self { why, port: PortId((word >> 48) as u8) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn unpack_is_the_inverse_of_pack(port: u8, id: u16, ident: u32, control: bool) {
            let of = Ident { ident, control };
            for why in [Why::Fresh, Why::Owned, Why::Meet, Why::Learned(Learned { of, id }), Why::Hairpin(None), Why::Hairpin(Some(of)), Why::ArpCopy, Why::Seek(port), Why::Overdue, Why::Home, Why::Message] {
                let tag = Tag { why, port: PortId(port) };
                prop_assert_eq!(Tag::unpack(tag.pack()), tag);
            }
        }
    }
}
