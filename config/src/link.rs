//! `[[neighbour]]` and `[[route]]`: who is on a port's link, and what lies behind them.

use std::net::Ipv4Addr;

use crate::diagnostic::Located;
use crate::net::{Ipv4Net, MacAddr, address, mac, network};
use crate::table::{Table, Tables};
use crate::value::{quoted, text};

/// A port by its place in [`Model::ports`](crate::Model::ports).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortIndex(pub(crate) usize);

impl PortIndex {
    /// The place, from 0.
    pub fn get(self) -> usize {
        self.0
    }
}

/// A static ARP entry, for devices with nobody to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// The port on whose link it is.
    pub port: PortIndex,
    /// Its address, on-link there and given once.
    pub address: Ipv4Addr,
    /// Its MAC address.
    pub mac: MacAddr,
}

/// A network behind a router on a port's link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The network; no port's own overlaps it.
    pub network: Ipv4Net,
    /// The router, on-link on the port.
    pub via: Ipv4Addr,
    /// The port on whose link the router is; its role is the network's side.
    pub port: PortIndex,
}

/// A neighbour as far as it could be read.
pub(crate) struct NeighbourDraft {
    pub(crate) port: Option<Located<String>>,
    pub(crate) address: Option<Located<Ipv4Addr>>,
    pub(crate) mac: Option<Located<MacAddr>>,
    pub(crate) location: crate::Location,
}

/// A route as far as it could be read.
pub(crate) struct RouteDraft {
    pub(crate) network: Option<Located<Ipv4Net>>,
    pub(crate) via: Option<Located<Ipv4Addr>>,
    pub(crate) location: crate::Location,
}

pub(crate) fn read_neighbours(root: &mut Table<'_>) -> Vec<NeighbourDraft> {
    let read = |mut table: Table<'_>| {
        let draft = NeighbourDraft {
            port: table.require("port", "the name of a [[port]]", |node| text(node, "\"wan\"")),
            address: table.require("address", "\"203.0.113.1\"", address),
            mac: table.require("mac", "\"02:00:00:00:00:01\"", mac),
            location: table.location().clone(),
        };
        table.finish();
        draft
    };
    root.tables("neighbour").items.into_iter().map(read).collect()
}

/// The routes, and whether these are all.
pub(crate) fn read_routes(root: &mut Table<'_>) -> (Vec<RouteDraft>, bool) {
    let Tables { items, mut complete } = root.tables("route");
    let read = |mut table: Table<'_>| {
        let draft = RouteDraft {
            network: table.require("network", "\"10.64.0.0/10\"", network),
            via: table.require("via", "\"192.168.1.254\"", address),
            location: table.location().clone(),
        };
        table.finish();
        complete &= draft.network.is_some() && draft.via.is_some();
        draft
    };
    let routes = items.into_iter().map(read).collect();
    (routes, complete)
}

/// The names in `names`, for a message.
pub(crate) fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.map(quoted).collect::<Vec<_>>().join(" or ")
}
