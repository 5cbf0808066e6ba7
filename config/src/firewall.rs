//! `[firewall]`: what may come in unasked to a host that has an outside address of its own.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use crate::diagnostic::{Located, Location};
use crate::net::{address, ports};
use crate::table::{Slot, Table};
use crate::value::{Mistake, Node, choice, quoted, text};

/// What may come in from outside unasked; the rest may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firewall {
    /// The exceptions to "deny".
    pub allow: Vec<Located<Allow>>,
}

/// Something that may come in unasked to an inside host. A port forward needs none: it lets its own ports in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    /// The inside host, which has a static mapping or a forward.
    pub inside: Ipv4Addr,
    /// What may reach it.
    pub service: Service,
}

/// What may reach a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Service {
    /// TCP to these ports of the host.
    Tcp(RangeInclusive<u16>),
    /// UDP to these ports of the host.
    Udp(RangeInclusive<u16>),
    /// ICMP queries.
    Icmp,
    /// IPsec's encapsulating security payload.
    Esp,
    /// GRE version 0.
    Gre,
    /// L2TPv3 over IP.
    L2tpv3,
}

#[derive(Debug, Clone, Copy)]
enum Word {
    Tcp,
    Udp,
    Icmp,
    Esp,
    Gre,
    L2tpv3,
}

impl crate::value::Choice for Word {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("tcp", Word::Tcp),
        ("udp", Word::Udp),
        ("icmp", Word::Icmp),
        ("esp", Word::Esp),
        ("gre", Word::Gre),
        ("l2tpv3", Word::L2tpv3),
    ];
}

impl Word {
    /// Its name, if it has no ports.
    fn portless(self) -> Option<&'static str> {
        match self {
            Word::Tcp | Word::Udp => None,
            Word::Icmp => Some("icmp"),
            Word::Esp => Some("esp"),
            Word::Gre => Some("gre"),
            Word::L2tpv3 => Some("l2tpv3"),
        }
    }
}

/// An exception as far as it could be read.
pub(crate) struct AllowDraft {
    pub(crate) location: Location,
    pub(crate) inside: Option<Located<Ipv4Addr>>,
    pub(crate) service: Option<Service>,
}

pub(crate) fn read(mut table: Table<'_>) -> Vec<AllowDraft> {
    let _ = table.read("default", deny);
    table.refuse("ipv6", "an IPv6 firewall");
    let allow = table.tables("allow").items.into_iter().map(read_allow).collect();
    table.finish();
    allow
}

fn deny(node: &Node<'_>) -> Result<(), Mistake> {
    match text(node, "\"deny\"")?.as_str() {
        "deny" => Ok(()),
        "allow" => Err(Mistake::new(
            "\"allow\" would let the Internet in to every host that has an outside address; there is no such mode",
            "write: \"deny\", and a [[firewall.allow]] for each service that may be reached",
        )),
        other => Err(Mistake::write(format!("{} is not a policy", quoted(other)), "\"deny\", the only one")),
    }
}

fn read_allow(mut table: Table<'_>) -> AllowDraft {
    let protocol = table.require("protocol", "\"tcp\", \"udp\" or \"icmp\"", choice::<Word>);
    let inside = table.require("inside", "\"192.168.1.30\"", address);
    let portless = protocol.as_deref().copied().and_then(Word::portless);
    let port = table.read("port", |node| match portless {
        Some(name) => Err(Mistake::new(format!("{name} has no ports"), "remove it")),
        None => ports(node),
    });
    if protocol.is_some() && portless.is_none() && matches!(port, Slot::Absent(_)) {
        table.note_missing("port", "443, or \"1-65535\" for every port");
    }
    let port = port.optional().map(|ports| ports.value);
    let service = match (protocol.map(|word| word.value), port) {
        (Some(Word::Tcp), Some(ports)) => Some(Service::Tcp(ports)),
        (Some(Word::Udp), Some(ports)) => Some(Service::Udp(ports)),
        (Some(Word::Icmp), _) => Some(Service::Icmp),
        (Some(Word::Esp), _) => Some(Service::Esp),
        (Some(Word::Gre), _) => Some(Service::Gre),
        (Some(Word::L2tpv3), _) => Some(Service::L2tpv3),
        (Some(Word::Tcp | Word::Udp) | None, _) => None,
    };
    let location = table.location().clone();
    table.finish();
    AllowDraft { location, inside, service }
}
