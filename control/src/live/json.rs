//! Rows of workers' tables as they are sent.

use dataplane::flow::session::flags;
use dataplane::orders::{MappingRow, SessionRow, SubscriberRow};
use dataplane::types::{Direction, Endpoint, Proto};
use serde::Serialize;
use std::net::{Ipv4Addr, SocketAddrV4};

/// A protocol as people call it.
fn name(proto: Proto) -> String {
    match proto {
        Proto::L2TP | Proto::L2TP_CONTROL => "l2tpv3".to_owned(),
        Proto::TCP | Proto::UDP | Proto::ICMP | Proto::GRE | Proto::ESP | Proto::AH => format!("{proto:?}"),
        Proto(n) => n.to_string(),
    }
}

/// An endpoint, without its port where there is none.
fn end(e: Endpoint, has_port: bool) -> String {
    if has_port { SocketAddrV4::new(e.addr, e.port).to_string() } else { e.addr.to_string() }
}

#[derive(Serialize)]
pub(super) struct Session {
    protocol: String,
    /// `connecting`, `established`, … of TCP; `new` or `answered` of others; `out` or `in` of a tunnel's leg.
    state: String,
    inside: String,
    outside: String,
    remote: String,
    /// Of a leg: its identifier as packets arrive, and as they leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_after: Option<String>,
    /// `inside` or `outside`.
    opened_by: &'static str,
    /// `mapping`, `static` (a forward or a one-to-one mapping) or `tunnel`.
    by: &'static str,
    hairpin: bool,
    idle_ms: u32,
    ends_in_ms: u32,
    /// Of a leg.
    #[serde(skip_serializing_if = "Option::is_none")]
    packets: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

impl From<SessionRow> for Session {
    fn from(s: SessionRow) -> Self {
        let has_port = matches!(s.proto, Proto::TCP | Proto::UDP | Proto::ICMP);
        let id = |id: u32| match s.proto {
            Proto::GRE if s.is_pptp() => Some((id & 0xffff).to_string()),
            Proto::ESP | Proto::L2TP | Proto::L2TP_CONTROL => Some(format!("{id:#010x}")),
            _ => None,
        };
        let state = match (s.leg, s.proto) {
            (Some((Direction::Out, ..)), _) => "out".to_owned(),
            (Some((Direction::In, ..)), _) => "in".to_owned(),
            (None, Proto::TCP) => format!("{:?}", s.state).to_lowercase(),
            (None, _) if s.is(flags::HOLDS_MAPPING) || !s.is_from_outside() => "open".to_owned(),
            (None, _) => "unanswered".to_owned(),
        };
        let by = match s.leg {
            Some(_) => "tunnel",
            None if s.is(flags::STATIC) => "static",
            None => "mapping",
        };
        Self {
            protocol: name(s.proto),
            state,
            inside: end(s.inside, has_port),
            outside: end(s.outside, has_port),
            remote: end(s.remote, has_port),
            id: s.leg.and_then(|(_, arrives, _)| id(arrives)),
            id_after: s.leg.and_then(|(_, _, leaves)| id(leaves)),
            opened_by: if s.is_from_outside() { "outside" } else { "inside" },
            by,
            hairpin: s.is(flags::HAIRPIN),
            idle_ms: s.idle,
            ends_in_ms: s.left,
            packets: s.leg.map(|_| s.traffic.0),
            bytes: s.leg.map(|_| s.traffic.1),
        }
    }
}

#[derive(Serialize)]
pub(super) struct Mapping {
    protocol: String,
    inside: String,
    outside: String,
    /// `live`, or `resting`: its port waits before it goes to another endpoint.
    state: &'static str,
    sessions: u32,
    /// Sessions that outsiders opened and nobody answered.
    unanswered: u32,
}

impl From<MappingRow> for Mapping {
    fn from(m: MappingRow) -> Self {
        Self {
            protocol: name(m.proto),
            inside: end(m.inside, true),
            outside: end(m.outside, true),
            state: if m.live { "live" } else { "resting" },
            sessions: m.holders + m.guests,
            unanswered: m.guests,
        }
    }
}

#[derive(Serialize)]
pub(super) struct Subscriber {
    address: Ipv4Addr,
    sessions: u32,
    tunnels: u32,
    ports_tcp: u32,
    ports_udp: u32,
    ports_icmp: u32,
}

impl From<SubscriberRow> for Subscriber {
    fn from(s: SubscriberRow) -> Self {
        let [ports_tcp, ports_udp, ports_icmp] = s.ports;
        Self { address: s.addr, sessions: s.sessions, tunnels: s.tunnels, ports_tcp, ports_udp, ports_icmp }
    }
}
