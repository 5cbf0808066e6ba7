//! `[[port]]`: the devices, their side, and their own addresses.
//!
//! A port is read to a [`Draft`] first, so that a mistake in one of its keys does not hide its addresses from the
//! checks of everything else.

use std::net::Ipv4Addr;

use crate::device::{self, Device, device};
use crate::diagnostic::{Located, Location};
use crate::document::Document;
use crate::net::{Ipv4Net, MacAddr, address, interface, mac};
use crate::table::{List, Slot, Table};
use crate::value::{Mistake, Node, boolean, choice, integer, quoted, text, words};

/// The most ports.
pub(crate) const PORTS: usize = 16;

/// The most addresses of a port.
const ADDRESSES: usize = 256;

/// A device with its side and its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name: 1 to 32 of `a-z 0-9 _ -`, no other port's.
    pub name: String,
    /// The side that it faces.
    pub role: Role,
    /// What drives it, no other port's.
    pub device: Located<Device>,
    /// Its own addresses with their networks, at least one.
    pub addresses: Vec<Located<Ipv4Net>>,
    /// Where an outside port sends what is on no network; on-link here.
    pub gateway: Option<Located<Ipv4Addr>>,
    /// The largest IP packet, 576 to 9000.
    pub mtu: Located<u16>,
    /// The 802.1Q tag, in and out: 1 to 4094.
    pub vlan: Option<Located<u16>>,
    /// The MAC address to use in place of the device's own.
    pub mac: Option<Located<MacAddr>>,
    /// How many receive queues, 1 to 64; as many as there are workers if not given, and never more.
    pub queues: Option<Located<u16>>,
    /// Descriptors of an RX queue, a power of two from 64 to 32768.
    pub rx_descriptors: Located<u16>,
    /// Descriptors of a TX queue, a power of two from 64 to 32768.
    pub tx_descriptors: Located<u16>,
    /// Whether to receive frames for any MAC address.
    pub promiscuous: Located<bool>,
    /// How the device may bring packets to their workers.
    pub steering: Located<Steering>,
}

/// How a device may bring packets to the workers that own them. What it does not bring is handed over in software.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Steering {
    /// As well as it can.
    Auto,
    /// Not at all: it spreads them by its own hash.
    Software,
    /// By its hash with a key of ours, and no flow rules.
    Rss,
    /// By flow rules too; a warning says where the device has none.
    Flow,
}

words!(Steering { "auto" => Auto, "software" => Software, "rss" => Rss, "flow" => Flow });

/// The side that a port faces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The subscribers.
    Inside,
    /// The Internet.
    Outside,
}

words!(Role { "inside" => Inside, "outside" => Outside });

/// A port as far as it could be read.
pub(crate) struct Draft {
    pub(crate) location: Location,
    pub(crate) name: Option<Located<String>>,
    pub(crate) role: Option<Located<Role>>,
    pub(crate) device: Option<Located<Device>>,
    pub(crate) addresses: List<Ipv4Net>,
    pub(crate) gateway: Slot<Ipv4Addr>,
    mtu: Located<u16>,
    vlan: Option<Located<u16>>,
    mac: Option<Located<MacAddr>>,
    queues: Option<Located<u16>>,
    rx_descriptors: Located<u16>,
    tx_descriptors: Located<u16>,
    promiscuous: Located<bool>,
    steering: Located<Steering>,
}

impl Draft {
    /// Whether it faces `role`, or may.
    pub(crate) fn may_face(&self, role: Role) -> bool {
        self.role.as_ref().is_none_or(|known| known.value == role)
    }

    pub(crate) fn faces(&self, role: Role) -> bool {
        self.role.as_ref().is_some_and(|known| known.value == role)
    }

    /// What a message calls it.
    pub(crate) fn title(&self) -> String {
        self.name.as_ref().map_or_else(|| self.location.key().to_owned(), |name| quoted(name))
    }

    /// The port, unless something that it needs is missing, which has been reported.
    pub(crate) fn finish(self) -> Option<Located<Port>> {
        let port = Port {
            name: self.name?.value,
            role: self.role?.value,
            device: self.device?,
            addresses: self.addresses.items,
            gateway: self.gateway.optional(),
            mtu: self.mtu,
            vlan: self.vlan,
            mac: self.mac,
            queues: self.queues,
            rx_descriptors: self.rx_descriptors,
            tx_descriptors: self.tx_descriptors,
            promiscuous: self.promiscuous,
            steering: self.steering,
        };
        Some(Located::new(port, self.location))
    }
}

/// The ports, and whether these are all.
pub(crate) fn read_all(document: &Document<'_>, root: &mut Table<'_>) -> (Vec<Draft>, bool) {
    let tables = root.tables("port");
    for table in tables.items.iter().skip(PORTS).take(1) {
        let message = format!("there are more than {PORTS} ports");
        document.error(table.location(), message, format!("remove all but {PORTS} of the [[port]] tables"));
    }
    let complete = tables.complete && tables.items.len() <= PORTS;
    (tables.items.into_iter().take(PORTS).map(|table| read(document, table)).collect(), complete)
}

fn read(document: &Document<'_>, mut table: Table<'_>) -> Draft {
    let location = table.location().clone();
    let mut draft = Draft {
        name: table.require("name", "\"lan\"", name),
        role: table.require("role", "\"inside\" or \"outside\"", choice),
        device: table.require("device", device::EXAMPLE, device),
        addresses: table.list("addresses", "\"192.168.1.1/24\"", interface),
        gateway: table.read("gateway", address),
        mtu: table.read("mtu", integer(576..=9000)).or(1500),
        vlan: table.read("vlan", integer(1..=4094)).optional(),
        mac: table.read("mac", mac).optional(),
        queues: table.read("queues", integer(1..=64)).optional(),
        rx_descriptors: table.read("rx_descriptors", descriptors).or(1024),
        tx_descriptors: table.read("tx_descriptors", descriptors).or(1024),
        promiscuous: table.read("promiscuous", boolean).or(true),
        steering: table.read("steering", choice).or(Steering::Auto),
        location,
    };
    table.refuse("gateway6", "an IPv6 gateway");
    let addresses = &mut draft.addresses;
    if !addresses.present {
        table.note_missing("addresses", "[\"192.168.1.1/24\"]");
    } else if addresses.complete && addresses.items.is_empty() {
        document.error(&addresses.location, "the port has no address", "write: addresses = [\"192.168.1.1/24\"]");
    } else if addresses.items.len() > ADDRESSES {
        let message = format!("{} addresses are more than {ADDRESSES}", addresses.items.len());
        document.error(&addresses.location, message, "write one address; nat.pool takes ranges and networks");
        addresses.items.truncate(ADDRESSES);
        addresses.complete = false;
    }
    if let (Slot::Good(gateway), true) = (&draft.gateway, draft.faces(Role::Inside)) {
        let remedy = "remove it; for networks behind a router on the inside, write a [[route]] via that router";
        document.error(&gateway.location, "an inside port has no gateway", remedy);
    }
    table.finish();
    draft
}

fn name(node: &Node<'_>) -> Result<String, Mistake> {
    let name = text(node, "\"lan\"")?;
    let sound = (1..=32).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte));
    if sound {
        return Ok(name);
    }
    let message = format!("{} is not a port's name", quoted(&name));
    Err(Mistake::write(message, "1 to 32 of a-z, 0-9, _ and -, such as \"lan\""))
}

fn descriptors(node: &Node<'_>) -> Result<u16, Mistake> {
    let count: u16 = integer(64..=32768)(node)?;
    if count.is_power_of_two() {
        return Ok(count);
    }
    let next = count.next_power_of_two();
    Err(Mistake::write(format!("{count} is not a power of two"), format!("{} or {next}", next / 2)))
}
