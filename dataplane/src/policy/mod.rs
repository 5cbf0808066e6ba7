//! What the operator wants ([`Policy`], a plain literal), and what the packet path asks ([`Rules`], compiled from it).
//!
//! A `Policy` has no dependency on the configuration's syntax: tests write one, `control` lowers a `Model` to one.
//! [`Rules::new`] trusts it to be sane (networks do not overlap, pool addresses lie in outside networks); `config` has
//! checked that. Whatever it holds, nothing here panics.

mod levels;
mod net;
mod passthrough;
mod rules;
mod sharding;
pub mod steering;

pub use levels::{Level, Sample, Steered, Traffic};
pub use net::Net;
pub use passthrough::{IkePort, Pairing, Passthrough, Switch};
pub use rules::{Link, Local, Reach, Rules, StaticMapping};
pub use sharding::Sharding;

use crate::types::{Mac, PortId, Proto, Side};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

/// A port.
#[derive(Clone, Debug)]
pub struct Port {
    /// Inside or outside.
    pub side: Side,
    /// Its own Ethernet address.
    pub mac: Mac,
    /// 802.1Q tag in and out.
    pub vlan: Option<u16>,
    /// Largest IP packet, bytes.
    pub mtu: u16,
    /// Own addresses and the networks they are in.
    pub addresses: Vec<(Ipv4Addr, Net)>,
    /// Default route (outside ports).
    pub gateway: Option<Ipv4Addr>,
}

/// A network behind a router.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Where to.
    pub net: Net,
    /// By whom.
    pub via: Ipv4Addr,
}

/// A neighbour that is not asked for by ARP.
#[derive(Clone, Copy, Debug)]
pub struct StaticNeighbour {
    /// On which port.
    pub port: PortId,
    /// Its address.
    pub addr: Ipv4Addr,
    /// Its Ethernet address.
    pub mac: Mac,
}

/// Who may use a mapping from outside (RFC 4787 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filtering {
    /// Anyone.
    EndpointIndependent,
    /// Addresses that the inside endpoint has sent to.
    AddressDependent,
    /// Endpoints that the inside endpoint has sent to.
    AddressAndPortDependent,
}

/// What is done to the MSS option of TCP SYNs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MssClamp {
    /// Nothing.
    Off,
    /// Lowered to what the smaller of both links carries.
    Auto,
    /// Lowered to this value.
    To(u16),
}

/// What a subscriber's new flow gets when no resource is left (RFC 5508 REQ-8, RFC 6888 REQ-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// ICMP host unreachable: soft for TCP.
    HostUnreachable,
    /// ICMP communication administratively prohibited.
    Prohibited,
    /// Nothing.
    Silent,
}

/// A forward: an outside endpoint, or a range of them, that leads to an inside one; or a protocol without ports.
#[derive(Clone, Debug)]
pub struct Forward {
    /// TCP or UDP; or ESP, GRE (version 0) or L2TPv3, whose ports are not looked at.
    pub proto: Proto,
    /// Address that the world calls.
    pub outside: Ipv4Addr,
    /// Ports that the world calls.
    pub ports: RangeInclusive<u16>,
    /// Inside host.
    pub inside: Ipv4Addr,
    /// First inside port; the range goes on from there.
    pub inside_port: u16,
}

/// A one-to-one mapping.
#[derive(Clone, Copy, Debug)]
pub struct Static {
    /// Address that the world sees.
    pub outside: Ipv4Addr,
    /// Inside host.
    pub inside: Ipv4Addr,
}

/// What may come in unasked to a one-to-one host.
#[derive(Clone, Debug)]
pub struct Allow {
    /// TCP, UDP or ICMP; or ESP, GRE (version 0) or L2TPv3.
    pub proto: Proto,
    /// Inside host.
    pub inside: Ipv4Addr,
    /// Inside ports; all for what has none.
    pub ports: RangeInclusive<u16>,
}

/// Time-outs, milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// UDP (RFC 4787 REQ-5).
    pub udp: u32,
    /// TCP established (RFC 5382 REQ-5).
    pub tcp_established: u32,
    /// TCP opening and closing (RFC 5382 REQ-5).
    pub tcp_transitory: u32,
    /// ICMP queries (RFC 5508 REQ-2).
    pub icmp: u32,
    /// A freed port rests this long (RFC 6888 REQ-8).
    pub hold_down: u32,
    /// Out-of-order fragments wait this long.
    pub fragments: u32,
    /// A PPTP call whose GRE and control connection are both silent.
    pub gre: u32,
    /// ESP that has been answered.
    pub esp: u32,
    /// ESP that waits for its first answer, and L2TPv3 likewise.
    pub esp_pending: u32,
    /// L2TPv3 over IP.
    pub l2tpv3: u32,
    /// Other IP protocols.
    pub other: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            udp: 300_000,
            tcp_established: 7_440_000,
            tcp_transitory: 240_000,
            icmp: 60_000,
            hold_down: 120_000,
            fragments: 2_000,
            gre: 7_440_000,
            esp: 3_600_000,
            esp_pending: 30_000,
            l2tpv3: 3_600_000,
            other: 600_000,
        }
    }
}

/// What one subscriber may have (RFC 6888 REQ-4, REQ-5).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sessions at once.
    pub sessions: u32,
    /// Outside ports at once, all protocols.
    pub ports: u32,
    /// Of these for TCP, UDP and ICMP.
    pub ports_by_protocol: [u32; 3],
    /// New sessions a second, sustained.
    pub rate: u32,
    /// New sessions at once.
    pub burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { sessions: 4096, ports: 2048, ports_by_protocol: [u32::MAX; 3], rate: 1000, burst: 2000 }
    }
}

/// Bounds on the work and memory for fragments, a worker.
#[derive(Clone, Copy, Debug)]
pub struct FragmentLimits {
    /// Datagrams tracked at once.
    pub datagrams: u32,
    /// Fragments held at once.
    pub held: u32,
    /// Fragments held for one datagram.
    pub per_datagram: u16,
}

impl Default for FragmentLimits {
    fn default() -> Self {
        Self { datagrams: 4096, held: 1024, per_datagram: 64 }
    }
}

/// How many entries the tables of the whole dataplane have; each worker takes its share.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Sessions.
    pub sessions: usize,
    /// Mappings, those in hold-down included.
    pub mappings: usize,
    /// Subscribers.
    pub subscribers: usize,
    /// Neighbours.
    pub neighbours: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { sessions: 262_144, mappings: 262_144, subscribers: 65_536, neighbours: 65_536 }
    }
}

/// Everything the operator decides about packets.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent switches of the operator's")]
pub struct Policy {
    /// Ports; their [`PortId`] is their place here.
    pub ports: Vec<Port>,
    /// Networks behind routers.
    pub routes: Vec<Route>,
    /// Neighbours that are known beforehand.
    pub neighbours: Vec<StaticNeighbour>,
    /// Outside addresses for dynamic mappings.
    pub pool: Vec<RangeInclusive<Ipv4Addr>>,
    /// Outside addresses that were taken out of the pool: they get no new mappings, and those that there are live on.
    pub draining: Vec<RangeInclusive<Ipv4Addr>>,
    /// Outside ports for dynamic mappings of inside ports from 1024 on; lower ones get ports below 1024.
    pub port_range: RangeInclusive<u16>,
    /// Who may use a mapping.
    pub filtering: Filtering,
    /// Inside hosts may call outside addresses of ours.
    pub hairpin: bool,
    /// MSS option of SYNs.
    pub mss_clamp: MssClamp,
    /// Keep UDP port parity (RFC 4787 REQ-4).
    pub parity: bool,
    /// Keep the port where it is free and owned.
    pub preserve_port: bool,
    /// When a subscriber's outside address has no port left, take another one.
    pub other_address: bool,
    /// Answer an unsolicited SYN with port unreachable after 6 s (RFC 5382 REQ-4).
    pub reject_unsolicited_syn: bool,
    /// Answer to a refused flow.
    pub refusal: Refusal,
    /// Believe only resets inside the window.
    pub check_reset: bool,
    /// ICMP errors that the box sends, a second and worker: so many "fragmentation needed" and so many others to the
    /// inside, and the same to the outside; four times this in all. A tenth of it at once, at least 10.
    pub icmp_error_rate: u32,
    /// Time-outs.
    pub timeouts: Timeouts,
    /// Limits a subscriber.
    pub limits: Limits,
    /// Bounds for fragments.
    pub fragments: FragmentLimits,
    /// Forwards.
    pub forwards: Vec<Forward>,
    /// One-to-one mappings.
    pub statics: Vec<Static>,
    /// What may come in to one-to-one hosts.
    pub allows: Vec<Allow>,
    /// VPN passthrough.
    pub passthrough: Passthrough,
    /// Sizes of tables.
    pub sizes: Sizes,
    /// What each port's device does about steering; nothing for those that are not here.
    pub steered: Vec<Steered>,
    /// How finely ownership is cut, for NICs to follow.
    pub grain: steering::Grain,
    /// Secret behind hashes and the choice of ports. Random for each start; fixed for a replay.
    pub seed: u64,
}

impl Default for Policy {
    /// No ports, and RFC defaults for the rest.
    fn default() -> Self {
        Self {
            ports: Vec::new(),
            routes: Vec::new(),
            neighbours: Vec::new(),
            pool: Vec::new(),
            draining: Vec::new(),
            port_range: 1024..=65_535,
            filtering: Filtering::AddressAndPortDependent,
            hairpin: true,
            mss_clamp: MssClamp::Auto,
            parity: true,
            preserve_port: true,
            other_address: false,
            reject_unsolicited_syn: false,
            refusal: Refusal::HostUnreachable,
            check_reset: true,
            icmp_error_rate: 1000,
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            fragments: FragmentLimits::default(),
            forwards: Vec::new(),
            statics: Vec::new(),
            allows: Vec::new(),
            passthrough: Passthrough::default(),
            sizes: Sizes::default(),
            steered: Vec::new(),
            grain: steering::Grain::default(),
            seed: 0,
        }
    }
}
