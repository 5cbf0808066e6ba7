//! What a worker tells of its tables.

use crate::flow::session::{Session, flags};
use crate::flow::tcp;
use crate::nat::mapping::Mapping;
use crate::nat::subscriber::Subscriber;
use crate::passthrough::show;
use crate::types::{Direction, Endpoint, Key, Proto, Tick};
use std::net::Ipv4Addr;

/// A row, or the end of a dump.
#[derive(Clone, Copy, Debug)]
pub enum Row {
    /// A session or a tunnel's leg.
    Session(SessionRow),
    /// A mapping.
    Mapping(MappingRow),
    /// A tunnel.
    Tunnel(show::Row),
    /// What a lent leg carried, for its tunnel's row: [`show::merge`].
    Lent(show::Traffic),
    /// A subscriber.
    Subscriber(SubscriberRow),
    /// All of the dump was told.
    End,
}

/// A session, or a tunnel's leg.
#[derive(Clone, Copy, Debug)]
pub struct SessionRow {
    /// Protocol.
    pub proto: Proto,
    /// TCP's state.
    pub state: tcp::State,
    /// See [`flags`].
    pub flags: u8,
    /// The inside end; port 0 where the protocol has none.
    pub inside: Endpoint,
    /// Our end.
    pub outside: Endpoint,
    /// The remote end.
    pub remote: Endpoint,
    /// Of a leg: its direction, and its key's identifier as packets arrive and as they leave.
    pub leg: Option<(Direction, u32, u32)>,
    /// Packets and bytes of a leg; others are not counted each.
    pub traffic: (u64, u64),
    /// Milliseconds since it was used in a way that keeps it.
    pub idle: u32,
    /// Milliseconds until it ends unless it is used.
    pub left: u32,
}

impl SessionRow {
    /// Of a session that ends at `deadline` unless it is used.
    pub(crate) fn of(s: &Session, deadline: Tick, now: Tick) -> Self {
        let without = |e: Endpoint| Endpoint::new(e.addr, 0);
        let (inside, outside, remote) = (s.inside().0, s.outside().0, s.remote());
        let ports = matches!(s.proto, Proto::TCP | Proto::UDP | Proto::ICMP);
        let leg = s.leg_direction().map(|d| (d, s.key(d).ident, s.left(d).ident));
        Self {
            proto: s.proto,
            state: s.state,
            flags: s.flags,
            inside: if ports { inside } else { without(inside) },
            outside: if ports { outside } else { without(outside) },
            remote: if ports { remote } else { without(remote) },
            traffic: if leg.is_some() { s.traffic() } else { (0, 0) },
            leg,
            idle: now.since(s.last_used),
            left: deadline.since(now),
        }
    }

    /// Whether a flag is set.
    #[must_use]
    pub const fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether an outsider opened it.
    #[must_use]
    pub const fn is_from_outside(&self) -> bool {
        self.is(flags::FROM_OUTSIDE)
    }

    /// Whether it is GRE of a PPTP call.
    #[must_use]
    pub fn is_pptp(&self) -> bool {
        self.leg.is_some_and(|(_, ident, _)| {
            Key { src: self.inside.addr, dst: self.remote.addr, ident, proto: self.proto }.is_pptp()
        })
    }
}

/// A mapping.
#[derive(Clone, Copy, Debug)]
pub struct MappingRow {
    /// Protocol.
    pub proto: Proto,
    /// Inside endpoint.
    pub inside: Endpoint,
    /// Outside endpoint.
    pub outside: Endpoint,
    /// Sessions in which the inside sent.
    pub holders: u32,
    /// Sessions that outsiders opened and nobody answered.
    pub guests: u32,
    /// Whether it admits sessions; otherwise its port rests.
    pub live: bool,
}

impl From<&Mapping> for MappingRow {
    fn from(m: &Mapping) -> Self {
        Self {
            proto: m.proto,
            inside: m.inside.0,
            outside: m.outside.0,
            holders: m.holders,
            guests: m.guests,
            live: m.is_live(),
        }
    }
}

/// A subscriber.
#[derive(Clone, Copy, Debug)]
pub struct SubscriberRow {
    /// Its address.
    pub addr: Ipv4Addr,
    /// Sessions.
    pub sessions: u32,
    /// Tunnels.
    pub tunnels: u32,
    /// Ports for TCP, UDP and ICMP.
    pub ports: [u32; 3],
}

impl From<&Subscriber> for SubscriberRow {
    fn from(s: &Subscriber) -> Self {
        Self { addr: s.addr, sessions: s.sessions, tunnels: s.tunnels, ports: s.ports }
    }
}
