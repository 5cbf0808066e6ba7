//! `[[nat.forward]]` and `[[nat.static]]`: what is reachable from outside without having asked.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use crate::diagnostic::{Located, Location};
use crate::net::{address, count_ports, endpoint, ports, show_ports};
use crate::table::{Slot, Table};
use crate::value::{Mistake, Node, choice, text, words};

/// Ports of an outside address that lead to ports of an inside host; or a protocol without ports that leads there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The protocol.
    pub protocol: Protocol,
    /// The outside address: the pool's, or an outside port's own.
    pub outside_address: Ipv4Addr,
    /// The outside ports: 0 alone for a protocol without ports.
    pub outside_ports: RangeInclusive<u16>,
    /// The inside host.
    pub inside_address: Ipv4Addr,
    /// Its ports: as many as outside, in the same order.
    pub inside_ports: RangeInclusive<u16>,
}

/// A protocol that can be forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// IPsec's encapsulating security payload, IP protocol 50.
    Esp,
    /// GRE version 0, IP protocol 47. Version 1 is PPTP's, and follows its control connection.
    Gre,
    /// L2TPv3 over IP, IP protocol 115.
    L2tpv3,
}

words!(Protocol { "tcp" => Tcp, "udp" => Udp, "esp" => Esp, "gre" => Gre, "l2tpv3" => L2tpv3 });

impl Protocol {
    /// Whether it has ports, which a forward must name then.
    pub fn has_ports(self) -> bool {
        match self {
            Protocol::Tcp | Protocol::Udp => true,
            Protocol::Esp | Protocol::Gre | Protocol::L2tpv3 => false,
        }
    }
}

/// Stands for the ports of a protocol that has none.
const NO_PORTS: RangeInclusive<u16> = 0..=0;

/// An outside address that is one inside host's alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticMapping {
    /// The outside address.
    pub outside: Ipv4Addr,
    /// The inside host.
    pub inside: Ipv4Addr,
}

/// A forward that could be read, but for the places of its parts and the default of its address.
pub(crate) struct ForwardDraft {
    pub(crate) location: Location,
    pub(crate) protocol: Option<Located<Protocol>>,
    pub(crate) outside_address: Option<Located<Ipv4Addr>>,
    /// Whether an address was written that could not be read.
    pub(crate) outside_address_bad: bool,
    pub(crate) outside_ports: Option<Located<RangeInclusive<u16>>>,
    pub(crate) inside: Option<Located<Ipv4Addr>>,
    /// None where the two sides do not fit together.
    pub(crate) inside_ports: Option<RangeInclusive<u16>>,
}

pub(crate) struct StaticDraft {
    pub(crate) location: Location,
    pub(crate) outside: Option<Located<Ipv4Addr>>,
    pub(crate) inside: Option<Located<Ipv4Addr>>,
}

/// A [`Protocol`]; what else people forward is refused by name.
fn protocol(node: &Node<'_>) -> Result<Protocol, Mistake> {
    let found = text(node, "\"tcp\" or \"udp\"")?;
    match found.as_str() {
        "ah" => Err(Mistake::new(
            "AH authenticates the addresses that NAT changes, so it can never pass (RFC 3715 §2.1)",
            "remove this [[nat.forward]], and let both ends use NAT traversal: forward udp 500 and 4500",
        )),
        "l2tp" => Err(Mistake::write("\"l2tp\" runs over UDP", "\"udp\" with outside_port = 1701, or \"l2tpv3\"")),
        "pptp" => Err(Mistake::write(
            "\"pptp\" is a TCP service whose GRE follows by itself",
            "\"tcp\" with outside_port = 1723",
        )),
        "6in4" | "icmp" | "sctp" | "dccp" => {
            let Mistake { message, .. } = Mistake::unsupported(&format!("a forward of protocol \"{found}\""));
            Err(Mistake::new(message, "remove this [[nat.forward]]"))
        }
        _ => choice(node),
    }
}

pub(crate) fn read_forwards(nat: &mut Table<'_>) -> (Vec<ForwardDraft>, bool) {
    let tables = nat.tables("forward");
    let mut complete = tables.complete;
    let read = |table: Table<'_>| {
        let draft = read_forward(table);
        complete &= draft.inside.is_some() && draft.inside_ports.is_some() && draft.protocol.is_some();
        draft
    };
    let forwards = tables.items.into_iter().map(read).collect();
    (forwards, complete)
}

fn read_forward(mut table: Table<'_>) -> ForwardDraft {
    let protocol = table.read("protocol", protocol);
    let outside_address = table.read("outside_address", address);
    let outside_address_bad = outside_address.is_bad();
    let portless = match &protocol {
        Slot::Good(protocol) if !protocol.has_ports() => Some(protocol.clone()),
        Slot::Good(_) | Slot::Absent(_) | Slot::Bad(_) => None,
    };
    let outside_ports = table.read("outside_port", |node| match &portless {
        Some(protocol) => Err(Mistake::new(format!("{} has no ports", protocol.value), "remove it")),
        None => forwarded_ports(node),
    });
    if matches!(protocol, Slot::Absent(_)) {
        table.note_missing("protocol", "\"tcp\" or \"udp\"");
    }
    // A protocol that is refused may be one without ports.
    if portless.is_none() && matches!((&protocol, &outside_ports), (Slot::Good(_), Slot::Absent(_))) {
        table.note_missing("outside_port", "8443");
    }
    let outside_ports = match &portless {
        Some(protocol) => Some(Located::new(NO_PORTS, protocol.location.clone())),
        None => outside_ports.optional(),
    };
    let mut inside_ports = None;
    let example = if portless.is_some() { "\"192.168.1.10\"" } else { "\"192.168.1.10:443\"" };
    let inside = table.require("inside", example, |node| {
        let (address, first) = endpoint(node)?;
        if let (Some(protocol), Some(_)) = (&portless, first) {
            return Err(Mistake::write(format!("{} has no ports", protocol.value), format!("\"{address}\"")));
        }
        let Some(outside) = &outside_ports else { return Ok(address) };
        let Some(first) = first else {
            inside_ports = Some(outside.value.clone());
            return Ok(address);
        };
        let more = outside.end().saturating_sub(*outside.start());
        let Some(last) = first.checked_add(more) else {
            let message = format!(
                "{} ports from {first} on run past 65535 (outside_port is {})",
                count_ports(outside),
                show_ports(outside)
            );
            return Err(Mistake::write(
                message,
                format!("\"{address}\" alone for the same ports, or a lower first port"),
            ));
        };
        inside_ports = Some(first..=last);
        Ok(address)
    });
    let location = table.location().clone();
    table.finish();
    let outside_address = outside_address.optional();
    let protocol = protocol.optional();
    ForwardDraft { location, protocol, outside_address, outside_address_bad, outside_ports, inside, inside_ports }
}

fn forwarded_ports(node: &Node<'_>) -> Result<RangeInclusive<u16>, Mistake> {
    let ports = ports(node)?;
    let count = count_ports(&ports);
    if count > 1000 {
        let remedy =
            "write: only the ports that the host serves; for a whole host, [[nat.static]] and [[firewall.allow]]";
        node.warn(format!("{count} ports of an inside host are open to the Internet"), remedy);
    }
    Ok(ports)
}

pub(crate) fn read_statics(nat: &mut Table<'_>) -> (Vec<StaticDraft>, bool) {
    let tables = nat.tables("static");
    let mut complete = tables.complete;
    let read = |mut table: Table<'_>| {
        let draft = StaticDraft {
            outside: table.require("outside", "\"203.0.113.4\"", address),
            inside: table.require("inside", "\"192.168.1.30\"", address),
            location: table.location().clone(),
        };
        table.finish();
        complete &= draft.outside.is_some() && draft.inside.is_some();
        draft
    };
    let statics = tables.items.into_iter().map(read).collect();
    (statics, complete)
}
