//! Tunnels and gateways: what a worker knows of each VPN that passes, and who shares a server.
//!
//! A [`Tunnel`] is one call (PPTP), or all that one inside host has with one server (ESP, L2TPv3, IKE with its port
//! kept, another protocol). Its packets are found by its legs, which are sessions; this is its record. A [`Gateway`] is
//! what the tunnels with one server by one outside address have in common: which of them wait for something whose owner
//! the packet itself does not show. Both are in one table ([`Tunnels`]).

mod gateway;
mod table;

pub use gateway::Gateway;
pub use table::{Full, Tunnels};

use super::loan::Lent;
use crate::flow::session::SessionId;
use crate::types::{Direction, Proto, Tick};
use std::net::Ipv4Addr;

/// Legs of a tunnel, both directions. A rekey adds one each way; when there is no room one goes that nobody asked for,
/// or else the one that was not used for the longest time.
pub const LEGS: usize = 16;
/// Packets that an inside host may send without an answer before it is no longer looked at one by one.
const WATCHED: u16 = 256;
const NONE: u32 = u32::MAX;

/// Number of a tunnel in its worker's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelId(pub u32);

/// What a tunnel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A PPTP call and its GRE.
    Pptp,
    /// All ESP between two hosts.
    Esp,
    /// L2TPv3 over IP between two hosts, its control connection included.
    L2tp,
    /// IKE between two hosts that keeps its source port.
    Ike,
    /// Another protocol between two hosts.
    Other(Proto),
}

impl Kind {
    /// The protocol that its gateway is known by.
    #[must_use]
    pub const fn proto(self) -> Proto {
        match self {
            Self::Pptp => Proto::GRE,
            Self::Esp => Proto::ESP,
            Self::L2tp => Proto::L2TP,
            Self::Ike => Proto::UDP,
            Self::Other(proto) => proto,
        }
    }
}

/// How far a tunnel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// One side has sent, and nothing of the other is known to belong to it.
    Pending,
    /// Both directions have their leg; by evidence, order or assignment.
    Paired,
    /// And its inside host has sent since.
    Confirmed,
    /// Its end was asked for.
    Closing,
}

/// A message of a child exchange that makes ESP security associations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Exchange {
    /// Its IKE security association: the initiator's SPI or cookie.
    pub initiator: u64,
    /// Its message identifier.
    pub message: u32,
    /// Exchange type.
    pub kind: u8,
    /// Messages of it seen that answered one another; 0 where there is no exchange.
    pub step: u8,
}

/// An inward leg that was given to its tunnel while others waited as well ([`super::doubt`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The leg.
    pub leg: SessionId,
    /// Answers that spoke for its owner, more than spoke against it.
    pub votes: u8,
    /// Its packets since.
    pub seen: u8,
    /// When it came.
    pub since: Tick,
}

impl Doubt {
    pub(super) const NONE: Self = Self { leg: SessionId(NONE), votes: 0, seen: 0, since: Tick(0) };
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Tunnel {
    /// What it is.
    pub kind: Kind,
    /// How far it is.
    pub state: State,
    /// Inside host.
    pub inside: Ipv4Addr,
    /// Our address towards the remote host.
    pub outside: Ipv4Addr,
    /// Remote host.
    pub remote: Ipv4Addr,
    /// When it began.
    pub opened: Tick,
    /// Packets and bytes of legs that ended, outward and inward.
    pub ended: [(u64, u64); 2],
    /// Its legs, oldest first.
    pub legs: [SessionId; LEGS],
    /// Whose it is.
    pub subscriber: u32,
    /// PPTP: its control connection.
    pub connection: u32,
    /// PPTP: the Call ID that the inside host chose.
    pub ours: u16,
    /// PPTP: its translation.
    pub translated: u16,
    /// PPTP: the Call ID that the remote host chose.
    pub theirs: Option<u16>,
    /// Outward legs that no inward one came for yet.
    pub halves: u8,
    /// Inward legs that came before their outward one.
    pub ahead: u8,
    /// When the last of them came.
    pub ahead_at: Tick,
    /// When the last of the halves began.
    pub half_at: Tick,
    /// Child exchanges that ended and whose inbound SPI did not come yet.
    pub evidence: u8,
    /// When the last of them ended.
    pub evidence_at: Tick,
    /// When an inward leg was given to it last.
    pub bound_at: Tick,
    /// An inward leg was given to it for which it waited.
    pub served: bool,
    /// Its inward legs that may be another's, the latest last.
    pub doubts: [Doubt; 3],
    /// Questions that it asked in a row without an answer ([`super::gate`]).
    pub asks: u8,
    /// Packets that its inside host sent since it began to wait, or to be in doubt.
    pub watched: u16,
    /// The latest child exchanges: begun by the inside host, and by the remote one.
    pub exchanges: [Exchange; 2],
    /// When one of them went on last.
    pub exchange_at: Tick,
    /// SPIs of its IKE security associations: initiator's, responder's. What the inside host taught, the latest first;
    /// the last one is what came from outside.
    pub spis: [(u64, u64); 4],
    /// Which legs are lent to other workers; in the places of `legs`.
    pub lent: Lent,
    gateway: u32,
    /// In the gateway's list; `next` also in the free list.
    next: u32,
    prev: u32,
    /// In its control connection's list.
    pub next_call: u32,
    live: bool,
}

impl Tunnel {
    const FREE: Self = Self {
        kind: Kind::Esp,
        state: State::Pending,
        inside: Ipv4Addr::UNSPECIFIED,
        outside: Ipv4Addr::UNSPECIFIED,
        remote: Ipv4Addr::UNSPECIFIED,
        opened: Tick(0),
        ended: [(0, 0); 2],
        legs: [SessionId(NONE); LEGS],
        subscriber: NONE,
        connection: NONE,
        ours: 0,
        translated: 0,
        theirs: None,
        halves: 0,
        ahead: 0,
        ahead_at: Tick(0),
        half_at: Tick(0),
        evidence: 0,
        evidence_at: Tick(0),
        bound_at: Tick(0),
        served: false,
        doubts: [Doubt::NONE; 3],
        asks: 0,
        watched: 0,
        exchanges: [Exchange { initiator: 0, message: 0, kind: 0, step: 0 }; 2],
        exchange_at: Tick(0),
        spis: [(0, 0); 4],
        lent: Lent::NONE,
        gateway: NONE,
        next: NONE,
        prev: NONE,
        next_call: NONE,
        live: false,
    };

    /// An inward leg came before its outward one; so many count at most.
    pub(super) fn came_ahead(&mut self, now: Tick, most: u8) {
        (self.ahead, self.ahead_at) = (self.ahead.saturating_add(1).min(most.max(self.ahead)), now);
    }

    /// Its legs, oldest first.
    pub fn legs(&self) -> impl DoubleEndedIterator<Item = SessionId> + '_ {
        self.legs.iter().copied().filter(|l| l.0 != NONE)
    }

    /// Adds a leg as the newest; there must be room.
    pub fn add_leg(&mut self, id: SessionId) {
        if let Some(place) = self.legs.iter_mut().find(|l| l.0 == NONE) {
            *place = id;
        }
    }

    /// Takes a leg out, and keeps the order of the others.
    pub fn remove_leg(&mut self, id: SessionId) {
        self.doubts.iter_mut().filter(|d| d.leg == id).for_each(|d| *d = Doubt::NONE);
        if let Some(at) = self.legs.iter().position(|l| *l == id) {
            self.lent.remove(at);
            if let Some(rest) = self.legs.get_mut(at..) {
                rest.rotate_left(1);
            }
            if let Some(last) = self.legs.last_mut() {
                *last = SessionId(NONE);
            }
        }
    }

    /// Whether it has room for one more leg.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.legs.iter().any(|l| l.0 == NONE)
    }

    /// Whether it is wanted though it has no leg: something is due, or a child exchange goes on.
    #[must_use]
    pub const fn is_wanted(&self, now: Tick, gate: u32) -> bool {
        let [a, b] = &self.exchanges;
        let goes_on = (a.step > 0 || b.step > 0) && now.since(self.exchange_at) < gate;
        goes_on || self.waits(now, gate)
    }

    /// Whether what its inside host sends is a question that others are to wait for: an identifier is due, or one may be
    /// another's who waited as well.
    #[must_use]
    pub fn takes_turns(&self, now: Tick, gate: u32) -> bool {
        self.has_half(now, gate) || self.doubts.iter().any(|d| d.leg.0 != NONE)
    }

    /// Whether what its inside host sends is to be seen, as the answer may tell whose an identifier is.
    #[must_use]
    pub fn is_watched(&self, now: Tick, gate: u32) -> bool {
        self.watched < WATCHED && self.takes_turns(now, gate)
    }

    /// It begins to wait, or to be in doubt.
    pub(super) const fn watch(&mut self) {
        (self.watched, self.asks) = (0, 0);
    }

    /// Whether an inward leg may be about to come.
    #[must_use]
    pub const fn waits(&self, now: Tick, gate: u32) -> bool {
        self.has_half(now, gate) || self.has_evidence(now, gate)
    }

    /// Whether the inside host began lately to send by an identifier that has no counterpart yet.
    #[must_use]
    pub const fn has_half(&self, now: Tick, gate: u32) -> bool {
        self.halves > 0 && (matches!(self.state, State::Pending) || now.since(self.half_at) < gate)
    }

    /// Whether a child exchange ended lately whose SPI did not come yet.
    #[must_use]
    pub const fn has_evidence(&self, now: Tick, gate: u32) -> bool {
        self.evidence > 0 && now.since(self.evidence_at) < gate
    }
}

/// The index of a direction in [`Tunnel::ended`], and of who began in [`Tunnel::exchanges`].
#[must_use]
pub const fn of(direction: Direction) -> usize {
    match direction {
        Direction::Out => 0,
        Direction::In => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legs_keep_their_order() {
        let mut t = Tunnel::FREE;
        for n in 0..5 {
            t.add_leg(SessionId(n));
        }
        t.remove_leg(SessionId(1));
        t.add_leg(SessionId(9));
        assert_eq!(t.legs().map(|l| l.0).collect::<Vec<_>>(), [0, 2, 3, 4, 9]);
    }
}
