//! Forwards, one-to-one mappings and firewall exceptions: each leads to an inside host, and no two contradict.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::{AddressSet, Links, Pool, overlapping};
use crate::diagnostic::{Located, Location};
use crate::document::Document;
use crate::firewall::{Allow, AllowDraft, Service};
use crate::forward::{Forward, Protocol, StaticMapping};
use crate::link::Route;
use crate::nat::Draft;
use crate::net::show_ports;
use crate::passthrough::{Passthrough, Switch};
use crate::port::Role;

/// Where inside hosts can be.
pub(crate) struct Subscribers<'l> {
    links: &'l Links,
    /// Networks behind a router on the inside.
    routed: AddressSet,
    complete: bool,
}

impl<'l> Subscribers<'l> {
    /// `routes` and whether these are `all`.
    pub(crate) fn new(links: &'l Links, routes: &[Located<Route>], all: bool) -> Self {
        let inside: Vec<bool> = {
            let ports = links.facing(Role::Inside).map(|link| link.port).max().map_or(0, |most| most + 1);
            (0..ports).map(|port| links.facing(Role::Inside).any(|link| link.port == port)).collect()
        };
        let behind = |route: &&Located<Route>| inside.get(route.port.get()).copied().unwrap_or(false);
        let routed = AddressSet::new(routes.iter().filter(behind).map(|route| route.network.range()));
        Subscribers { links, routed, complete: all && links.complete }
    }

    /// Reports a host that is nowhere on the inside; `what` leads to it.
    fn check(&self, document: &Document<'_>, what: &str, host: &Located<Ipv4Addr>) {
        let address = host.value;
        let remedy = || {
            let nets = self.links.list(Role::Inside);
            format!("write: a host's address in an inside network ({nets}), or add a [[route]] to its network")
        };
        if let Some(own) = self.links.own(address) {
            let message = format!("{address} is our own address (line {})", own.line());
            return document.error(&host.location, message, remedy());
        }
        let message = match self.links.holding(address) {
            Some(link) if link.role == Some(Role::Outside) => {
                format!("{address} is on the outside, on the link of port {}: {what} to nowhere", link.title)
            }
            Some(link) if link.net.reserves(address) => {
                format!("{address} is the network or broadcast address of {}, no host's", link.net)
            }
            None if self.complete && !self.routed.contains(address) => {
                format!("{address} is in no inside port's network and behind no [[route]]: {what} to nowhere")
            }
            Some(_) | None => return,
        };
        document.error(&host.location, message, remedy());
    }
}

/// A forward with the places of its two ends.
struct Candidate {
    forward: Forward,
    location: Location,
    outside: Location,
    inside: Location,
}

/// The forwards that hold.
pub(crate) fn forwards(
    document: &Document<'_>,
    links: &Links,
    pool: &Pool,
    subscribers: &Subscribers<'_>,
    nat: &Draft,
) -> Vec<Located<Forward>> {
    let mut candidates = Vec::new();
    for draft in &nat.forwards {
        if let Some(inside) = &draft.inside {
            subscribers.check(document, "a forward", inside);
        }
        if let Some(outside) = &draft.outside_address {
            let ours = pool.contains(outside.value) || links.own_outside(outside.value);
            if !ours && pool.complete && links.outside_complete {
                let message = format!("{} is neither in nat.pool nor an outside port's address", outside.value);
                let remedy = "write: one of these, leave it out for the pool's first, or add it to nat.pool";
                document.error(&outside.location, message, remedy);
            }
        }
        let default = pool.first().filter(|_| !draft.outside_address_bad);
        let outside_address = draft.outside_address.as_ref().map(|address| address.value).or(default);
        if let (Some(protocol), Some(outside_address), Some(ports), Some(inside), Some(inside_ports)) =
            (&draft.protocol, outside_address, &draft.outside_ports, &draft.inside, &draft.inside_ports)
        {
            let forward = Forward {
                protocol: protocol.value,
                outside_address,
                outside_ports: ports.value.clone(),
                inside_address: inside.value,
                inside_ports: inside_ports.clone(),
            };
            let (outside, inside) = (ports.location.clone(), inside.location.clone());
            candidates.push(Candidate { forward, location: draft.location.clone(), outside, inside });
        }
    }
    contradictions(document, &candidates);
    candidates.into_iter().map(|candidate| Located::new(candidate.forward, candidate.location)).collect()
}

/// Forwards that share an outside endpoint, or an inside one.
fn contradictions(document: &Document<'_>, candidates: &[Candidate]) {
    type Groups = BTreeMap<(Ipv4Addr, Protocol), Vec<(u32, u32, usize)>>;
    let (mut outside, mut inside) = (Groups::new(), Groups::new());
    for (index, Candidate { forward, .. }) in candidates.iter().enumerate() {
        let span = |ports: &std::ops::RangeInclusive<u16>| (u32::from(*ports.start()), u32::from(*ports.end()), index);
        let key = (forward.outside_address, forward.protocol);
        outside.entry(key).or_default().push(span(&forward.outside_ports));
        let key = (forward.inside_address, forward.protocol);
        inside.entry(key).or_default().push(span(&forward.inside_ports));
    }
    let mut reported = std::collections::BTreeSet::new();
    for (earlier, later) in outside.into_values().flat_map(overlapping) {
        let (Some(one), Some(two)) = (candidates.get(earlier), candidates.get(later)) else { continue };
        reported.insert(later);
        let end = end(two.forward.protocol, two.forward.outside_address, &two.forward.outside_ports);
        let message = format!("{end} is already forwarded (line {})", one.outside.line());
        let remedy = match two.forward.protocol.has_ports() {
            true => "write: outside ports that no other forward of the protocol takes",
            false => "write: an outside_address that no other forward of the protocol takes, or keep one of the two",
        };
        document.error(&two.outside, message, remedy);
    }
    for (earlier, later) in inside.into_values().flat_map(overlapping) {
        let (Some(one), Some(two)) = (candidates.get(earlier), candidates.get(later)) else { continue };
        if reported.contains(&later) {
            continue;
        }
        let end = end(two.forward.protocol, two.forward.inside_address, &two.forward.inside_ports);
        let line = one.inside.line();
        let message =
            format!("{end} already has a forward (line {line}), and an inside endpoint has one outside endpoint only");
        let remedy = match two.forward.protocol.has_ports() {
            true => "keep one of the two, or let the host listen on a second port",
            false => "keep one of the two",
        };
        document.error(&two.inside, message, remedy);
    }
}

/// An end of a forward, for a message.
fn end(protocol: Protocol, address: Ipv4Addr, ports: &std::ops::RangeInclusive<u16>) -> String {
    match protocol.has_ports() {
        true => format!("{protocol} {address}:{}", show_ports(ports)),
        false => format!("{protocol} {address}"),
    }
}

/// The one-to-one mappings that hold.
pub(crate) fn statics(
    document: &Document<'_>,
    links: &Links,
    pool: &Pool,
    subscribers: &Subscribers<'_>,
    nat: &Draft,
) -> Vec<Located<StaticMapping>> {
    let (mut outsides, mut insides) = (BTreeMap::new(), BTreeMap::new());
    let mut statics = Vec::new();
    for draft in &nat.statics {
        if let Some(outside) = &draft.outside {
            pool.spare(document, links, outside);
        }
        if let Some(inside) = &draft.inside {
            subscribers.check(document, "a mapping", inside);
        }
        for (end, seen) in [(&draft.outside, &mut outsides), (&draft.inside, &mut insides)] {
            let Some(end) = end else { continue };
            if let Some(line) = seen.insert(end.value, end.location.line()) {
                let message = format!("{} already has a static mapping (line {line})", end.value);
                document.error(&end.location, message, "write: another address; a mapping is one to one");
            }
        }
        if let (Some(outside), Some(inside)) = (&draft.outside, &draft.inside) {
            let mapping = StaticMapping { outside: outside.value, inside: inside.value };
            statics.push(Located::new(mapping, draft.location.clone()));
        }
    }
    statics
}

/// A host with a one-to-one mapping has one outside address, so it can have no forwards from another.
pub(crate) fn one_or_the_other(
    document: &Document<'_>,
    forwards: &[Located<Forward>],
    statics: &[Located<StaticMapping>],
) {
    let hosts: BTreeMap<_, _> = statics.iter().map(|mapping| (mapping.inside, mapping.location.line())).collect();
    for forward in forwards {
        if let Some(line) = hosts.get(&forward.inside_address) {
            let message =
                format!("{} has a static mapping (line {line}), so it takes no forward", forward.inside_address);
            let remedy = "remove the forward, and write a [[firewall.allow]] for the ports that may be reached";
            document.error(&forward.location, message, remedy);
        }
    }
}

/// The firewall's exceptions that hold.
pub(crate) fn allow(
    document: &Document<'_>,
    nat: &Draft,
    forwards: &[Located<Forward>],
    statics: &[Located<StaticMapping>],
    drafts: Vec<AllowDraft>,
) -> Vec<Located<Allow>> {
    let complete = nat.forwards_complete && nat.statics_complete;
    let hosts: std::collections::BTreeSet<_> = statics.iter().map(|mapping| mapping.inside).collect();
    let mut forwarded: BTreeMap<Ipv4Addr, Vec<&Forward>> = BTreeMap::new();
    for forward in forwards {
        forwarded.entry(forward.inside_address).or_default().push(forward);
    }
    let mut allow = Vec::new();
    for AllowDraft { location, inside, service } in drafts {
        let Some(inside) = inside else { continue };
        if complete && !hosts.contains(&inside.value) {
            match forwarded.get(&inside.value) {
                None => {
                    let message = format!("no [[nat.static]] and no [[nat.forward]] leads to {}", inside.value);
                    document.error(&inside.location, message, "write: the inside of one, or add a [[nat.static]]");
                }
                Some(forwards) => {
                    let led = |service| forwards.iter().any(|forward| leads(forward, service));
                    if service.as_ref().is_some_and(|service| !led(service)) {
                        let message = format!("no forward to {} leads to this service", inside.value);
                        let remedy = "remove it; a [[nat.forward]] lets its own ports in, and needs no exception";
                        document.warning(&location, message, remedy);
                    }
                }
            }
        }
        if let Some(service) = service {
            allow.push(Located::new(Allow { inside: inside.value, service }, location));
        }
    }
    allow
}

/// Whether some of `service` is reached through `forward`.
fn leads(forward: &Forward, service: &Service) -> bool {
    let (protocol, ports) = match service {
        Service::Tcp(ports) => (Protocol::Tcp, ports),
        Service::Udp(ports) => (Protocol::Udp, ports),
        Service::Icmp => return false,
        Service::Esp => return forward.protocol == Protocol::Esp,
        Service::Gre => return forward.protocol == Protocol::Gre,
        Service::L2tpv3 => return forward.protocol == Protocol::L2tpv3,
    };
    let theirs = &forward.inside_ports;
    forward.protocol == protocol && theirs.start() <= ports.end() && ports.start() <= theirs.end()
}

/// Warns of ways in for a tunnel whose protocol is not carried, so that nothing would ever come.
pub(crate) fn carried(document: &Document<'_>, passthrough: &Passthrough, nat: &Draft, allow: &[Located<Allow>]) {
    let report = |location: &Location, what: &str, key: &str, switch: Switch| {
        let why = match switch {
            Switch::On => return,
            Switch::Plain => "passthrough.profile is \"strict\"",
            Switch::Off => "it is switched off in [passthrough]",
        };
        let remedy = format!("write: {key} = true in [passthrough], or remove this");
        document.warning(location, format!("no {what} passes, as {why}"), remedy);
    };
    for protocol in nat.forwards.iter().filter_map(|forward| forward.protocol.as_ref()) {
        match protocol.value {
            Protocol::Esp => report(&protocol.location, "ESP", "ipsec", passthrough.ipsec),
            Protocol::L2tpv3 => report(&protocol.location, "L2TPv3", "l2tp", passthrough.l2tp),
            // GRE version 0 has no switch. A port of control traffic is not looked for: a range may hold it by the way.
            Protocol::Gre | Protocol::Tcp | Protocol::Udp => {}
        }
    }
    for allow in allow {
        match allow.service {
            Service::Esp => report(&allow.location, "ESP", "ipsec", passthrough.ipsec),
            Service::L2tpv3 => report(&allow.location, "L2TPv3", "l2tp", passthrough.l2tp),
            Service::Gre | Service::Tcp(_) | Service::Udp(_) | Service::Icmp => {}
        }
    }
}
