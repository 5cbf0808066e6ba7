//! The state of VPNs as an operator reads it.

use super::loan::message::{Loan, Usage};
use super::tunnel::{Kind, State, Tunnel, TunnelId};
use crate::nat::Nat;
use crate::types::{Direction, Proto, Tick};
use std::collections::HashMap;
use std::fmt;
use std::net::Ipv4Addr;

/// One tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it is.
    pub kind: Kind,
    /// How far it is.
    pub state: State,
    /// Inside host.
    pub inside: Ipv4Addr,
    /// Our address.
    pub outside: Ipv4Addr,
    /// Remote host.
    pub remote: Ipv4Addr,
    /// The inside host's identifier: what packets to it bear, on the inside.
    pub inside_id: Option<u32>,
    /// The same on the outside, where it is translated.
    pub outside_id: Option<u32>,
    /// The remote host's identifier: what packets to it bear.
    pub remote_id: Option<u32>,
    /// Age, milliseconds.
    pub age: u32,
    /// Packets and bytes outward.
    pub out: (u64, u64),
    /// Packets and bytes inward.
    pub inward: (u64, u64),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pptp => f.write_str("pptp"),
            Self::Esp => f.write_str("esp"),
            Self::L2tp => f.write_str("l2tpv3"),
            Self::Ike => f.write_str("ike"),
            Self::Other(proto) => write!(f, "proto {}", proto.0),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Paired => "paired",
            Self::Confirmed => "confirmed",
            Self::Closing => "closing",
        })
    }
}

impl Row {
    /// An identifier as its protocol's tools write it: Call IDs in decimal, SPIs and session identifiers in hexadecimal.
    #[must_use]
    pub fn written(&self, id: Option<u32>) -> String {
        match (self.kind, id) {
            (_, None) => "-".into(),
            (Kind::Pptp, Some(id)) => (id & 0xffff).to_string(),
            (_, Some(id)) => format!("{id:#010x}"),
        }
    }
}

/// The tunnels of all workers, with what those legs carried that are lent. Of workers that have ended, it is exact.
#[must_use]
pub fn rows<'a>(shards: impl Iterator<Item = &'a Nat> + Clone, now: Tick) -> Vec<Row> {
    let mut rows: Vec<Row> = shards.clone().flat_map(|nat| nat.tunnels(now)).collect();
    merge(&mut rows, shards.flat_map(Nat::lent_traffic));
    rows
}

/// Adds what borrowed legs carried to their tunnels' rows.
pub fn merge(rows: &mut [Row], traffic: impl Iterator<Item = Traffic>) {
    let at = |kind, ends| move |r: &Row| r.kind == kind && (r.inside, r.outside, r.remote) == ends;
    let mut places: HashMap<_, usize> = HashMap::new();
    for t in traffic {
        let place = *places
            .entry((t.kind.proto().0, t.ends))
            .or_insert_with(|| rows.iter().position(at(t.kind, t.ends)).unwrap_or(usize::MAX));
        let Some(row) = rows.get_mut(place) else { continue };
        let sum = if t.direction == Direction::Out { &mut row.out } else { &mut row.inward };
        (sum.0, sum.1) = (sum.0 + t.packets, sum.1 + t.bytes);
    }
}

/// What a borrowed leg carried and its tunnel's row does not have yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// What the tunnel is.
    pub kind: Kind,
    /// Its inside host, our address, and the remote host.
    pub ends: (Ipv4Addr, Ipv4Addr, Ipv4Addr),
    /// Which way.
    pub direction: Direction,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Traffic {
    const fn of(loan: &Loan, usage: &Usage) -> Self {
        Self {
            kind: if loan.proto.0 == Proto::L2TP.0 { Kind::L2tp } else { Kind::Esp },
            ends: (loan.inside, loan.outside, loan.remote),
            direction: loan.direction,
            packets: usage.packets,
            bytes: usage.bytes,
        }
    }
}

impl Nat {
    /// What legs carried that this worker borrowed, for [`merge`].
    pub fn lent_traffic(&self) -> impl Iterator<Item = Traffic> + '_ {
        self.unreported().map(|(loan, usage)| Traffic::of(&loan, &usage))
    }

    /// The same of one borrowed leg, by its number.
    pub(crate) fn lent_row(&self, number: u32) -> Option<Traffic> {
        self.copy(number).map(|(loan, usage)| Traffic::of(&loan, &usage))
    }

    /// All tunnels that this worker is home of. What their lent legs carried is not in it: see [`rows`].
    pub fn tunnels(&self, now: Tick) -> impl Iterator<Item = Row> + '_ {
        self.vpn.tunnels.iter().map(move |t| self.row(t, now))
    }

    /// A tunnel by number.
    #[must_use]
    pub fn tunnel_row(&self, id: TunnelId, now: Tick) -> Option<Row> {
        self.vpn.tunnels.get(id).map(|t| self.row(t, now))
    }

    fn row(&self, t: &Tunnel, now: Tick) -> Row {
        let [mut out, mut inward] = t.ended;
        let (mut inside_id, mut outside_id, mut remote_id) = (None, None, None);
        for s in t.legs().filter_map(|id| self.sessions.get(id)) {
            let is_data = s.proto == t.kind.proto();
            let (packets, bytes) = s.traffic();
            let (sum, leg) = match s.leg_direction() {
                Some(Direction::In) => (&mut inward, Direction::In),
                _ => (&mut out, Direction::Out),
            };
            (sum.0, sum.1) = (sum.0 + packets, sum.1 + bytes);
            if !is_data || matches!(t.kind, Kind::Ike | Kind::Other(_)) {
                continue;
            }
            match leg {
                Direction::In => {
                    inside_id = Some(s.left(Direction::In).ident);
                    outside_id = Some(s.key(Direction::In).ident);
                }
                Direction::Out => remote_id = Some(s.left(Direction::Out).ident),
            }
        }
        Row {
            kind: t.kind,
            state: t.state,
            inside: t.inside,
            outside: t.outside,
            remote: t.remote,
            inside_id,
            outside_id,
            remote_id,
            age: now.since(t.opened),
            out,
            inward,
        }
    }
}
