//! Ports, their networks, their gateways, and who else is on their links.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::Ipv4Addr;

use crate::diagnostic::{Located, Location};
use crate::document::Document;
use crate::link::{Neighbour, NeighbourDraft, PortIndex, Route, RouteDraft, listed};
use crate::net::Ipv4Net;
use crate::port::{Draft, Role};
use crate::table::{Slot, nearest};
use crate::value::quoted;

/// A network that a port is on.
pub(crate) struct Link {
    /// Without host bits.
    pub(crate) net: Ipv4Net,
    pub(crate) port: usize,
    pub(crate) role: Option<Role>,
    pub(crate) location: Location,
    /// The port, for messages.
    pub(crate) title: String,
}

/// Every port's networks and addresses.
pub(crate) struct Links {
    links: Vec<Link>,
    names: Vec<Option<String>>,
    own: BTreeMap<Ipv4Addr, (Location, Option<Role>)>,
    pub(crate) gateways: Vec<Located<Ipv4Addr>>,
    /// The first address of the first outside port.
    pub(crate) first_outside: Option<Ipv4Addr>,
    /// Whether these are all the networks.
    pub(crate) complete: bool,
    /// Whether these are all the outside networks.
    pub(crate) outside_complete: bool,
}

impl Links {
    pub(crate) fn new(document: &Document<'_>, ports: &[Draft], all: bool) -> Self {
        let known = |port: &Draft| port.role.is_some() && port.addresses.present && port.addresses.complete;
        let mut links = Links {
            links: Vec::new(),
            names: ports.iter().map(|port| port.name.as_ref().map(|name| name.value.clone())).collect(),
            own: BTreeMap::new(),
            gateways: Vec::new(),
            first_outside: None,
            complete: all && ports.iter().all(known),
            outside_complete: all && ports.iter().filter(|port| port.may_face(Role::Outside)).all(known),
        };
        if all {
            for (role, other) in [(Role::Inside, Role::Outside), (Role::Outside, Role::Inside)] {
                if !ports.iter().any(|port| port.may_face(role)) {
                    let remedy = format!("write: a [[port]] with role = \"{role}\" besides the {other} one");
                    document.error(&document.location("port", 0), format!("there is no {role} port"), remedy);
                }
            }
        }
        unique(document, ports);
        for (index, port) in ports.iter().enumerate() {
            links.add(document, index, port);
        }
        links.overlaps(document);
        for port in ports {
            links.gateway(document, port);
        }
        links.default_route(document, ports);
        links
    }

    fn add(&mut self, document: &Document<'_>, index: usize, port: &Draft) {
        let role = port.role.as_ref().map(|role| role.value);
        for address in &port.addresses.items {
            match self.own.entry(address.address()) {
                Entry::Vacant(place) => {
                    place.insert((address.location.clone(), role));
                }
                Entry::Occupied(other) => {
                    let message =
                        format!("{} is already a port's address (line {})", address.address(), other.get().0.line());
                    document.error(&address.location, message, "write: an address that no other port has");
                }
            }
            let net = address.network();
            if !self.links.iter().any(|link| link.port == index && link.net == net) {
                let (location, title) = (address.location.clone(), port.title());
                self.links.push(Link { net, port: index, role, location, title });
            }
            if role == Some(Role::Outside) && self.first_outside.is_none() {
                self.first_outside = Some(address.address());
            }
        }
    }

    /// Two ports on one network: nobody could say which of them leads to an address.
    fn overlaps(&self, document: &Document<'_>) {
        for (index, link) in self.links.iter().enumerate() {
            let earlier = self.links.iter().take(index);
            if let Some(other) = earlier.into_iter().find(|o| o.port != link.port && o.net.overlaps(link.net)) {
                let message = format!(
                    "{} overlaps {} of port {} (line {})",
                    link.net,
                    other.net,
                    other.title,
                    other.location.line()
                );
                document.error(&link.location, message, "write: networks with no address in common, one port each");
            }
        }
    }

    fn gateway(&mut self, document: &Document<'_>, port: &Draft) {
        let Slot::Good(gateway) = &port.gateway else { return };
        if port.faces(Role::Inside) {
            return;
        }
        let address = gateway.value;
        let mut nets = port.addresses.items.iter().map(|net| net.value);
        let example = nets.clone().next().map_or_else(String::new, |net| format!(" in {}", net.network()));
        let remedy = format!("write: the router's address{example}, which the provider names");
        if let Some((own, _)) = self.own.get(&address) {
            document.error(&gateway.location, format!("{address} is our own address (line {})", own.line()), remedy);
        } else if let Some(net) = nets.find(|net| net.contains(address)) {
            if net.reserves(address) {
                let message = format!("{address} is the network or broadcast address of {}", net.network());
                document.error(&gateway.location, message, remedy);
            }
            self.gateways.push(gateway.clone());
        } else if port.addresses.present && port.addresses.complete && !port.addresses.items.is_empty() {
            let nets: Vec<_> = port.addresses.items.iter().take(8).map(|net| net.network().to_string()).collect();
            let message = format!("{address} is not on the link of port {} ({})", port.title(), nets.join(", "));
            document.error(&gateway.location, message, remedy);
        }
    }

    /// Warns of a configuration without a way out, unless something is wrong: a misspelt gateway is one mistake.
    fn default_route(&self, document: &Document<'_>, ports: &[Draft]) {
        if document.has_errors() {
            return;
        }
        let mut outside = ports.iter().filter(|port| port.may_face(Role::Outside));
        let without = |port: &&Draft| matches!(port.gateway, Slot::Absent(_)) && port.faces(Role::Outside);
        let Some(Slot::Absent(location)) = outside.clone().next().map(|port| &port.gateway) else { return };
        if outside.all(|port| without(&port)) {
            let message =
                "no outside port has a gateway: only on-link destinations (and those of a [[route]]) can be reached";
            document.warning(location, message, "write: gateway = the provider's router, on one outside port");
        }
    }

    /// The network that `address` is on.
    pub(crate) fn holding(&self, address: Ipv4Addr) -> Option<&Link> {
        self.links.iter().find(|link| link.net.contains(address))
    }

    pub(crate) fn own(&self, address: Ipv4Addr) -> Option<&Location> {
        self.own.get(&address).map(|(location, _)| location)
    }

    /// Whether `address` is an outside port's own.
    pub(crate) fn own_outside(&self, address: Ipv4Addr) -> bool {
        self.own.get(&address).is_some_and(|(_, role)| *role != Some(Role::Inside))
    }

    pub(crate) fn facing(&self, role: Role) -> impl Iterator<Item = &Link> {
        self.links.iter().filter(move |link| link.role == Some(role))
    }

    /// The networks of a side, for a message.
    pub(crate) fn list(&self, role: Role) -> String {
        let shown: Vec<_> = self.facing(role).take(8).map(|link| format!("{} of {}", link.net, link.title)).collect();
        if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
    }

    fn overlapping(&self, net: Ipv4Net) -> Option<&Link> {
        self.links.iter().find(|link| link.net.overlaps(net))
    }
}

/// Names and devices, none twice.
fn unique(document: &Document<'_>, ports: &[Draft]) {
    let mut names = BTreeMap::new();
    let mut devices = BTreeMap::new();
    for port in ports {
        if let Some(name) = &port.name
            && let Some(line) = names.insert(name.value.as_str(), name.location.line())
        {
            let message = format!("{} is already a port's name (line {line})", quoted(name));
            document.error(&name.location, message, "write: a name that no other port has");
        }
        if let Some(device) = &port.device
            && let Some(line) = devices.insert(device.name(), device.location.line())
        {
            let message = format!("{} is already a port's device (line {line})", device.name());
            document.error(&device.location, message, "write: a device of its own for each port");
        }
    }
}

/// The static ARP entries that hold.
pub(crate) fn neighbours(
    document: &Document<'_>,
    links: &Links,
    drafts: Vec<NeighbourDraft>,
) -> Vec<Located<Neighbour>> {
    let mut seen: BTreeMap<Ipv4Addr, usize> = BTreeMap::new();
    let mut neighbours = Vec::new();
    for NeighbourDraft { port: name, address, mac, location } in drafts {
        if let Some(at) = &address
            && let Some(line) = seen.insert(at.value, at.location.line())
        {
            let message = format!("{} is already a neighbour (line {line})", at.value);
            document.error(&at.location, message, "keep one of the two");
        }
        let Some(name) = name else { continue };
        let Some(port) = links.names.iter().position(|known| known.as_deref() == Some(name.value.as_str())) else {
            let names = || links.names.iter().flatten().map(String::as_str);
            if links.names.iter().all(Option::is_some) && !links.names.is_empty() {
                let remedy = match nearest(&name, names()) {
                    Some(known) => format!("did you mean \"{known}\"?"),
                    None => format!("write: {}", listed(names())),
                };
                document.error(&name.location, format!("there is no port {}", quoted(&name)), remedy);
            }
            continue;
        };
        let Some(address) = address else { continue };
        let on_port = || links.links.iter().filter(|link| link.port == port);
        let nets: Vec<_> = on_port().take(8).map(|link| link.net.to_string()).collect();
        let remedy = format!("write: a neighbour's address in {}", nets.join(" or "));
        if let Some(own) = links.own(address.value) {
            let message = format!("{} is our own address (line {})", address.value, own.line());
            document.error(&address.location, message, remedy);
        } else if let Some(link) = on_port().find(|link| link.net.contains(address.value)) {
            if link.net.reserves(address.value) {
                let message = format!("{} is the network or broadcast address of {}", address.value, link.net);
                document.error(&address.location, message, remedy);
            }
        } else if links.complete {
            let message = format!("{} is not on the link of port {}", address.value, quoted(&name));
            document.error(&address.location, message, remedy);
        }
        if let Some(mac) = mac {
            let neighbour = Neighbour { port: PortIndex(port), address: address.value, mac: mac.value };
            neighbours.push(Located::new(neighbour, location));
        }
    }
    neighbours
}

/// The routes that hold.
pub(crate) fn routes(document: &Document<'_>, links: &Links, drafts: Vec<RouteDraft>) -> Vec<Located<Route>> {
    let mut seen: BTreeMap<(Ipv4Addr, u8), usize> = BTreeMap::new();
    let mut routes = Vec::new();
    for RouteDraft { network, via, location } in drafts {
        if let Some(network) = &network {
            let net = network.value;
            if net.prefix() == 0 {
                let message = "the default route goes through an outside port's gateway only";
                document.error(
                    &network.location,
                    message,
                    "remove this [[route]], and write gateway in the outside [[port]]",
                );
            } else if let Some(line) = seen.insert((net.address(), net.prefix()), network.location.line()) {
                let message = format!("{net} has a route already (line {line})");
                document.error(&network.location, message, "keep one of the two");
            } else if let Some(link) = links.overlapping(net) {
                let message = format!(
                    "{net} overlaps {} on the link of port {} (line {})",
                    link.net,
                    link.title,
                    link.location.line()
                );
                document.error(
                    &network.location,
                    message,
                    "write: a network that lies behind a router, on no port's link",
                );
            }
        }
        let Some(via) = via else { continue };
        let Some(link) = links.holding(via.value) else {
            if links.complete {
                let message = format!("{} is on no port's link", via.value);
                let nets: Vec<_> = links.links.iter().take(8).map(|link| link.net.to_string()).collect();
                document.error(&via.location, message, format!("write: a router's address in {}", nets.join(" or ")));
            }
            continue;
        };
        let remedy = format!("write: the router's address in {}", link.net);
        if let Some(own) = links.own(via.value) {
            document.error(&via.location, format!("{} is our own address (line {})", via.value, own.line()), remedy);
        } else if link.net.reserves(via.value) {
            let message = format!("{} is the network or broadcast address of {}", via.value, link.net);
            document.error(&via.location, message, remedy);
        }
        if let Some(network) = network {
            let route = Route { network: network.value, via: via.value, port: PortIndex(link.port) };
            routes.push(Located::new(route, location));
        }
    }
    routes
}
