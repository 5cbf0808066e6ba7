//! What two workers say to each other about a leg, as bytes: it travels in a buffer by the ring that packets travel by.
//!
//! One fixed layout for all, little-endian, never on any wire. [`Message::decode`] is total.

use crate::flow::session::Session;
use crate::types::{Direction, Key, Proto, Tick};
use std::net::Ipv4Addr;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a message.
pub const LEN: usize = size_of::<Bytes>();

/// A leg that is lent: which, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loan {
    /// [`Proto::ESP`] or [`Proto::L2TP`].
    pub proto: Proto,
    /// Which way its packets go.
    pub direction: Direction,
    /// Inside host.
    pub inside: Ipv4Addr,
    /// Our address towards the remote host.
    pub outside: Ipv4Addr,
    /// Remote host; its worker by [`crate::policy::Sharding::of_remote`] is the lender.
    pub remote: Ipv4Addr,
    /// SPI or session identifier.
    pub ident: u32,
    /// The tunnel's number at home.
    pub tunnel: u32,
    /// Tells this loan from others of the same leg; never 0.
    pub serial: u32,
}

impl Loan {
    /// The key that the leg's packets arrive with.
    #[must_use]
    pub const fn key(&self) -> Key {
        let (src, dst) = match self.direction {
            Direction::Out => (self.inside, self.remote),
            Direction::In => (self.remote, self.outside),
        };
        Key { src, dst, ident: self.ident, proto: self.proto }
    }

    /// Of a leg; `None` for a session that is none.
    #[must_use]
    pub fn of(s: &Session, tunnel: u32, serial: u32) -> Option<Self> {
        let (direction, key) = (s.leg_direction()?, s.key_of_leg()?);
        Some(Self {
            proto: s.proto,
            direction,
            inside: s.inside,
            outside: s.outside,
            remote: s.remote,
            ident: key.ident,
            tunnel,
            serial,
        })
    }
}

/// What a borrower saw of a leg since it told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Usage {
    /// When it was used last.
    pub last_used: Tick,
    /// Packets.
    pub packets: u64,
    /// Bytes, IP headers included.
    pub bytes: u64,
}

/// Why a borrower has a leg no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Gone {
    /// It was taken back.
    Asked,
    /// It was not used for a while.
    Idle,
    /// Home did not answer.
    Lapsed,
    /// There is another loan of it.
    Replaced,
    /// The borrower does not know it.
    Unknown,
    /// It did not begin: the table was full, the next hop unknown, or home too slow.
    Refused,
}

/// What is said. The first five by home, the others by the borrower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// Have this leg.
    Lend,
    /// All that you handed over before you were ready has left: go on yourself.
    Go,
    /// Keep it for another lease.
    Keep,
    /// When was it used? In this round.
    Ask(u8),
    /// Give it back.
    Return,
    /// I have it, and hand over no more of its packets.
    Ready,
    /// May I keep it?
    Renew(Usage),
    /// The answer of this round.
    Answer(u8, Usage),
    /// I have it no more.
    Gone(Gone, Usage),
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// About what.
    pub loan: Loan,
    /// What.
    pub say: Say,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct Bytes {
    kind: u8,
    /// A round, or a [`Gone`].
    more: u8,
    proto: u8,
    direction: u8,
    inside: [u8; 4],
    outside: [u8; 4],
    remote: [u8; 4],
    ident: U32,
    tunnel: U32,
    serial: U32,
    last_used: U32,
    packets: U64,
    bytes: U64,
}

impl Message {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let none = Usage::default();
        let (kind, more, usage) = match self.say {
            Say::Lend => (0, 0, none),
            Say::Go => (1, 0, none),
            Say::Keep => (2, 0, none),
            Say::Ask(round) => (3, round, none),
            Say::Return => (4, 0, none),
            Say::Ready => (5, 0, none),
            Say::Renew(usage) => (6, 0, usage),
            Say::Answer(round, usage) => (7, round, usage),
            Say::Gone(gone, usage) => (8, gone as u8, usage),
        };
        let loan = &self.loan;
        zerocopy::transmute!(Bytes {
            kind,
            more,
            proto: loan.proto.0,
            direction: u8::from(loan.direction == Direction::In),
            inside: loan.inside.octets(),
            outside: loan.outside.octets(),
            remote: loan.remote.octets(),
            ident: loan.ident.into(),
            tunnel: loan.tunnel.into(),
            serial: loan.serial.into(),
            last_used: usage.last_used.0.into(),
            packets: usage.packets.into(),
            bytes: usage.bytes.into(),
        })
    }

    /// The inverse of [`Message::encode`]; `None` for anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let b = Bytes::read_from_bytes(bytes).ok()?;
        let usage = Usage { last_used: Tick(b.last_used.get()), packets: b.packets.get(), bytes: b.bytes.get() };
        let gone = || {
            [Gone::Asked, Gone::Idle, Gone::Lapsed, Gone::Replaced, Gone::Unknown, Gone::Refused]
                .into_iter()
                .find(|g| *g as u8 == b.more)
        };
        let say = match b.kind {
            0 => Say::Lend,
            1 => Say::Go,
            2 => Say::Keep,
            3 => Say::Ask(b.more),
            4 => Say::Return,
            5 => Say::Ready,
            6 => Say::Renew(usage),
            7 => Say::Answer(b.more, usage),
            8 => Say::Gone(gone()?, usage),
            _ => return None,
        };
        let direction = match b.direction {
            0 => Direction::Out,
            1 => Direction::In,
            _ => return None,
        };
        let proto = Proto(b.proto);
        if !matches!(proto, Proto::ESP | Proto::L2TP) {
            return None;
        }
        let loan = Loan {
            proto,
            direction,
            inside: b.inside.into(),
            outside: b.outside.into(),
            remote: b.remote.into(),
            ident: b.ident.get(),
            tunnel: b.tunnel.get(),
            serial: b.serial.get(),
        };
        Some(Self { loan, say })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usage() -> impl Strategy<Value = Usage> {
        (any::<u32>(), any::<u64>(), any::<u64>()).prop_map(|(at, packets, bytes)| Usage {
            last_used: Tick(at),
            packets,
            bytes,
        })
    }

    fn say() -> impl Strategy<Value = Say> {
        let gone = prop::sample::select(vec![
            Gone::Asked,
            Gone::Idle,
            Gone::Lapsed,
            Gone::Replaced,
            Gone::Unknown,
            Gone::Refused,
        ]);
        prop_oneof![
            prop::sample::select(vec![Say::Lend, Say::Go, Say::Keep, Say::Return, Say::Ready]),
            any::<u8>().prop_map(Say::Ask),
            usage().prop_map(Say::Renew),
            (any::<u8>(), usage()).prop_map(|(round, u)| Say::Answer(round, u)),
            (gone, usage()).prop_map(|(g, u)| Say::Gone(g, u)),
        ]
    }

    fn loan() -> impl Strategy<Value = Loan> {
        let ends = (any::<u32>(), any::<u32>(), any::<u32>());
        (ends, any::<bool>(), any::<bool>(), any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
            |((inside, outside, remote), esp, out, ident, tunnel, serial)| Loan {
                proto: if esp { Proto::ESP } else { Proto::L2TP },
                direction: if out { Direction::Out } else { Direction::In },
                inside: inside.into(),
                outside: outside.into(),
                remote: remote.into(),
                ident,
                tunnel,
                serial,
            },
        )
    }

    proptest! {
        #[test]
        fn decode_is_the_inverse_of_encode(loan in loan(), say in say()) {
            let m = Message { loan, say };
            prop_assert_eq!(Message::decode(&m.encode()), Some(m));
        }

        #[test]
        fn any_bytes_are_a_message_or_none(mut bytes in prop::collection::vec(any::<u8>(), 0..2 * LEN), kind in 0u8..12, fit: bool) {
            if fit {
                bytes.resize(LEN, 7);
                (bytes[0], bytes[1], bytes[2], bytes[3]) = (kind, bytes[1] % 8, 50, bytes[3] % 3);
            }
            if let Some(m) = Message::decode(&bytes) {
                prop_assert_eq!(bytes.len(), LEN);
                prop_assert_eq!(Message::decode(&m.encode()), Some(m));
            }
        }
    }
}
