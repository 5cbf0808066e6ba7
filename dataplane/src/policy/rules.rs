//! [`Rules`]: a [`Policy`] compiled for asking. Read-only and shared by all workers.
//!
//! Only the slow path asks, once a flow, except for [`Rules::owner`], which steering asks for each packet when there
//! are several workers.

use super::{IkePort, Net, Policy, Sharding, Switch};
use crate::packet::{Class, Framing, Meta};
use crate::types::{Endpoint, Inside, Key, Outside, PortId, Proto, Side, WorkerId};
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// IKE's port.
const IKE: u16 = 500;
/// From IKE's port to IKE's port.
const IKE_BOTH: u32 = Key::ports(IKE, IKE);

/// What an address is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// A port's own address.
    Own(PortId),
    /// An address of the pool, by its number.
    Pool(u32),
    /// The outside address of a one-to-one mapping to this host.
    Static(Ipv4Addr),
}

/// How a destination is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// By this port.
    pub port: PortId,
    /// By this neighbour: the destination itself, or a router.
    pub via: Ipv4Addr,
}

/// A mapping that configuration made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticMapping {
    /// Inside endpoint.
    pub inside: Inside<Endpoint>,
    /// Outside endpoint.
    pub outside: Outside<Endpoint>,
    /// By a forward, so that anyone may come in; otherwise one-to-one, and the firewall says.
    pub open: bool,
}

/// What each packet asks of a port, side by side.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// How it frames.
    pub framing: Framing,
    /// Which side it faces.
    pub side: Side,
    /// Largest IP packet, bytes.
    pub mtu: u16,
}

/// See the module.
pub struct Rules {
    /// What it was compiled from.
    pub policy: Policy,
    /// Who owns what.
    pub sharding: Sharding,
    links: Vec<Link>,
    /// Most specific first.
    routes: Vec<(Net, PortId, Option<Ipv4Addr>)>,
    inside_nets: Vec<Net>,
    broadcasts: Vec<Ipv4Addr>,
    /// Few: looked through in a row.
    own: Vec<(Ipv4Addr, PortId)>,
    /// Sorted by first address: (first, last, number of the first).
    pool: Vec<(u32, u32, u32)>,
    pool_size: u32,
    /// Those that drain included.
    pool_total: u32,
    static_out: HashMap<Ipv4Addr, Ipv4Addr>,
    static_in: HashMap<Ipv4Addr, Ipv4Addr>,
    forwards: HashMap<(Proto, Endpoint), Endpoint>,
    forwards_back: HashMap<(Proto, Endpoint), Endpoint>,
    /// Bit p: some forward has outside port p.
    forward_ports: Box<[u64; 1024]>,
    /// Bit n: IP protocol n is named by the operator, or forwarded.
    named: [u64; 4],
}

impl Rules {
    /// Compiles a policy for a number of workers.
    #[must_use]
    pub fn new(policy: Policy, workers: u8) -> Self {
        let sharding = Sharding::with_grain(workers, policy.seed, policy.grain);
        let mut r = Self {
            sharding,
            links: policy
                .ports
                .iter()
                .map(|p| Link { framing: Framing { mac: p.mac, vlan: p.vlan }, side: p.side, mtu: p.mtu })
                .collect(),
            routes: Vec::new(),
            inside_nets: Vec::new(),
            broadcasts: Vec::new(),
            own: Vec::new(),
            pool: Vec::new(),
            pool_size: 0,
            pool_total: 0,
            static_out: policy.statics.iter().map(|s| (s.inside, s.outside)).collect(),
            static_in: policy.statics.iter().map(|s| (s.outside, s.inside)).collect(),
            forwards: HashMap::new(),
            forwards_back: HashMap::new(),
            forward_ports: Box::new([0; 1024]),
            named: [0; 4],
            policy,
        };
        r.compile_routes();
        r.compile_pool();
        r.compile_forwards();
        r
    }

    fn compile_routes(&mut self) {
        for (p, id) in self.policy.ports.iter().zip((0u8..).map(PortId)) {
            for &(addr, net) in &p.addresses {
                self.routes.push((net, id, None));
                self.own.push((addr, id));
                self.broadcasts.extend(net.broadcast());
                self.broadcasts.extend(net.base());
                if p.side == Side::Inside {
                    self.inside_nets.push(net);
                }
            }
        }
        let connected = self.routes.clone();
        for r in &self.policy.routes {
            let port = connected.iter().find(|(net, _, _)| net.contains(r.via)).map(|&(_, port, _)| port);
            let Some(port) = port else { continue };
            self.routes.push((r.net, port, Some(r.via)));
            if self.side(port) == Side::Inside {
                self.inside_nets.push(r.net);
            }
        }
        for (p, id) in self.policy.ports.iter().zip((0u8..).map(PortId)) {
            if let Some(gateway) = p.gateway {
                self.routes.push((Net::ALL, id, Some(gateway)));
            }
        }
        // Stable: of two default routes the first port's wins.
        self.routes.sort_by_key(|(net, _, _)| std::cmp::Reverse(net.prefix()));
    }

    fn compile_pool(&mut self) {
        let mut number = 0u32;
        let mut ranges = Vec::new();
        let pool = self.policy.pool.len();
        for (n, range) in self.policy.pool.iter().chain(&self.policy.draining).enumerate() {
            if n == pool {
                self.pool_size = number;
            }
            let (first, last) = (range.start().to_bits(), range.end().to_bits());
            if first <= last {
                ranges.push((first, last, number));
                number = number.saturating_add(last - first + 1);
            }
        }
        ranges.sort_unstable();
        self.pool = ranges;
        self.pool_total = number;
        if self.policy.draining.is_empty() {
            self.pool_size = number;
        }
    }

    fn compile_forwards(&mut self) {
        let forwarded = self.policy.forwards.iter().map(|f| f.proto.0);
        for n in self.policy.passthrough.other.iter().copied().chain(forwarded) {
            if let Some(word) = self.named.get_mut(usize::from(n / 64)) {
                *word |= 1 << (n % 64);
            }
        }
        for f in &self.policy.forwards {
            for (n, port) in (0u16..).zip(f.ports.clone()) {
                let outside = Endpoint::new(f.outside, port);
                let inside = Endpoint::new(f.inside, f.inside_port.saturating_add(n));
                self.forwards.insert((f.proto, outside), inside);
                self.forwards_back.entry((f.proto, inside)).or_insert(outside);
                if let Some(word) = self.forward_ports.get_mut(usize::from(port / 64)) {
                    *word |= 1 << (port % 64);
                }
            }
        }
    }

    /// Whether an IP protocol without identifiers passes: the operator named it, or forwards it.
    #[must_use]
    pub fn names(&self, proto: Proto) -> bool {
        self.named.get(usize::from(proto.0 / 64)).is_some_and(|word| word >> (proto.0 % 64) & 1 != 0)
    }

    /// Ports that forwards take on an address, so that no dynamic mapping gets them.
    pub fn forwarded(&self) -> impl Iterator<Item = (Proto, Endpoint)> + '_ {
        self.forwards.keys().copied()
    }

    /// Whether a forward takes an outside endpoint.
    #[must_use]
    pub fn forwards_port(&self, proto: Proto, outside: Endpoint) -> bool {
        self.forwards.contains_key(&(proto, outside))
    }

    /// Side of a port.
    #[inline]
    #[must_use]
    pub fn side(&self, port: PortId) -> Side {
        self.links.get(port.index()).map_or(Side::Outside, |l| l.side)
    }

    /// MTU of a port.
    #[inline]
    #[must_use]
    pub fn mtu(&self, port: PortId) -> u16 {
        self.links.get(port.index()).map_or(1500, |l| l.mtu)
    }

    /// How a port frames.
    #[inline]
    #[must_use]
    pub fn framing(&self, port: PortId) -> Option<&Framing> {
        self.links.get(port.index()).map(|l| &l.framing)
    }

    /// What the packet path asks of a port.
    #[inline]
    #[must_use]
    pub fn link(&self, port: PortId) -> Option<&Link> {
        self.links.get(port.index())
    }

    /// Ports in order.
    pub fn ports(&self) -> impl Iterator<Item = PortId> {
        (0u8..).map(PortId).take(self.policy.ports.len())
    }

    /// How many addresses the pool has. Numbers from here on are of addresses that drain.
    #[must_use]
    pub const fn pool_size(&self) -> u32 {
        self.pool_size
    }

    /// How many it has with those that drain.
    #[must_use]
    pub const fn pool_total(&self) -> u32 {
        self.pool_total
    }

    /// Whether an outside address may get new mappings.
    #[must_use]
    pub fn in_pool(&self, addr: Ipv4Addr) -> bool {
        self.pool_number(addr).is_some_and(|n| n < self.pool_size)
    }

    /// The address with a number in the pool.
    #[must_use]
    pub fn pool_address(&self, number: u32) -> Option<Ipv4Addr> {
        self.pool
            .iter()
            .find(|(first, last, start)| number >= *start && number - start <= last - first)
            .map(|(first, _, start)| Ipv4Addr::from_bits(first + (number - start)))
    }

    /// What an address is to us, if anything. A port's own address may be in the pool too; then it is
    /// [`Local::Own`], and [`Rules::pool_number`] tells the number.
    #[must_use]
    pub fn local(&self, addr: Ipv4Addr) -> Option<Local> {
        if let Some(&(_, port)) = self.own.iter().find(|(own, _)| *own == addr) {
            return Some(Local::Own(port));
        }
        if let Some(&inside) = self.static_in.get(&addr) {
            return Some(Local::Static(inside));
        }
        self.pool_number(addr).map(Local::Pool)
    }

    /// Number of a pool address, or of one that drains.
    #[must_use]
    pub fn pool_number(&self, addr: Ipv4Addr) -> Option<u32> {
        let a = addr.to_bits();
        let at = self.pool.partition_point(|(first, _, _)| *first <= a);
        let (first, last, start) = *self.pool.get(at.checked_sub(1)?)?;
        (a <= last).then(|| start + (a - first))
    }

    /// Whether we answer ARP for `addr` on `port`: our own addresses there, and, outside, those that we translate to.
    #[must_use]
    pub fn answers_arp(&self, port: PortId, addr: Ipv4Addr) -> bool {
        match self.local(addr) {
            Some(Local::Own(p)) => p == port,
            Some(Local::Pool(_) | Local::Static(_)) => self.side(port) == Side::Outside && self.connected(port, addr),
            None => false,
        }
    }

    /// Whether `addr` is on the link of `port`.
    #[must_use]
    pub fn connected(&self, port: PortId, addr: Ipv4Addr) -> bool {
        self.policy.ports.get(port.index()).is_some_and(|p| p.addresses.iter().any(|(_, net)| net.contains(addr)))
    }

    /// The port's own address in the network of `neighbour`, or its first one.
    #[must_use]
    pub fn own_address(&self, port: PortId, neighbour: Ipv4Addr) -> Option<Ipv4Addr> {
        let addresses = &self.policy.ports.get(port.index())?.addresses;
        addresses.iter().find(|(_, net)| net.contains(neighbour)).or(addresses.first()).map(|(addr, _)| *addr)
    }

    /// How `dst` is reached.
    #[must_use]
    pub fn route(&self, dst: Ipv4Addr) -> Option<Reach> {
        self.routes
            .iter()
            .find(|(net, _, _)| net.contains(dst))
            .map(|&(_, port, via)| Reach { port, via: via.unwrap_or(dst) })
    }

    /// Whether an address belongs to an inside network.
    #[must_use]
    pub fn is_inside(&self, addr: Ipv4Addr) -> bool {
        self.inside_nets.iter().any(|n| n.contains(addr))
    }

    /// Whether an address is the directed broadcast (or the base) of one of our networks.
    #[must_use]
    pub fn is_broadcast(&self, addr: Ipv4Addr) -> bool {
        addr.is_broadcast() || self.broadcasts.contains(&addr)
    }

    /// The configured mapping that a packet from outside would use.
    #[must_use]
    pub fn static_in(&self, proto: Proto, outside: Outside<Endpoint>) -> Option<StaticMapping> {
        let Outside(e) = outside;
        if let Some(&inside) = self.forwards.get(&(proto, e)) {
            return Some(StaticMapping { inside: Inside(inside), outside, open: true });
        }
        let &inside = self.static_in.get(&e.addr)?;
        Some(StaticMapping { inside: Inside(Endpoint::new(inside, e.port)), outside, open: false })
    }

    /// The configured mapping that a packet from an inside endpoint must use.
    #[must_use]
    pub fn static_out(&self, proto: Proto, inside: Inside<Endpoint>) -> Option<StaticMapping> {
        let Inside(e) = inside;
        if let Some(&outside) = self.forwards_back.get(&(proto, e)) {
            return Some(StaticMapping { inside, outside: Outside(outside), open: true });
        }
        let &outside = self.static_out.get(&e.addr)?;
        let outside = Endpoint::new(outside, e.port);
        // Answers to an endpoint that a forward gave to another host would go there.
        if self.forwards.contains_key(&(proto, outside)) {
            return None;
        }
        Some(StaticMapping { inside, outside: Outside(outside), open: false })
    }

    /// Whether the firewall lets a stranger in to an inside endpoint of a one-to-one host.
    #[must_use]
    pub fn allows(&self, proto: Proto, Inside(e): Inside<Endpoint>) -> bool {
        self.policy
            .allows
            .iter()
            .any(|a| a.proto == proto && a.inside == e.addr && (proto == Proto::ICMP || a.ports.contains(&e.port)))
    }

    /// The worker whose shard holds a packet's session: the one answer to "who owns this packet", for both directions.
    ///
    /// `None`: its key does not say it (ICMP errors, later fragments).
    #[inline]
    #[must_use]
    pub fn owner(&self, side: Side, meta: &Meta) -> Option<WorkerId> {
        match meta.class {
            Class::LaterFragment | Class::IcmpError => None,
            _ => Some(self.owner_of_key(side, &meta.key)),
        }
    }

    /// The same by the key that packets arrive with: for ICMP errors that of the packet quoted, for fragments what the
    /// first one taught.
    #[inline]
    #[must_use]
    pub fn owner_of_key(&self, side: Side, key: &Key) -> WorkerId {
        match (side, key.proto) {
            (Side::Inside, Proto::UDP) if key.ident == IKE_BOTH => self.owner_of_ike(key),
            (Side::Inside, Proto::TCP | Proto::UDP | Proto::ICMP) => self.sharding.of_inside(key.src),
            (Side::Outside, Proto::UDP) if key.ident == IKE_BOTH && self.owns_ike_by_server(key.to()) => {
                self.sharding.of_remote(key.src)
            }
            (Side::Outside, Proto::TCP | Proto::UDP | Proto::ICMP) => self.owner_of_outside(key.proto, key.to()),
            (Side::Inside, _) if key.is_pptp() => self.sharding.of_inside(key.src),
            // Call IDs of ours come from our own ports' numbers.
            (Side::Outside, _) if key.is_pptp() => self.sharding.of_port(key.dst_port()),
            (_, Proto::ESP | Proto::L2TP) => self.sharding.of_tunnel_id(key.ident),
            (Side::Inside, _) => self.sharding.of_remote(key.dst),
            (Side::Outside, _) => self.sharding.of_remote(key.src),
        }
    }

    /// The worker that decides about a packet's flow: its owner, save for data of ESP and L2TPv3. There it is the server's
    /// home, which lends legs to their owners ([`crate::passthrough::loan`]).
    #[inline]
    #[must_use]
    pub fn home_of_key(&self, side: Side, key: &Key) -> WorkerId {
        match (key.proto, side) {
            (Proto::ESP | Proto::L2TP, Side::Inside) => self.sharding.of_remote(key.dst),
            (Proto::ESP | Proto::L2TP, Side::Outside) => self.sharding.of_remote(key.src),
            _ => self.owner_of_key(side, key),
        }
    }

    /// IKE between the ports of that name goes where the server's ESP goes, so that what it shows need not be told to
    /// another worker. Its mapping is made there, so answers come there by their port; with several workers an inside
    /// port 500 has one mapping each, the one exception to [4787 REQ-1]. A configured mapping to another port leads to its
    /// host's worker.
    #[cold]
    fn owner_of_ike(&self, key: &Key) -> WorkerId {
        let configured = self.static_out(Proto::UDP, Inside(key.from()));
        if configured.is_some_and(|m| m.outside.0.port != IKE) {
            self.sharding.of_inside(key.src)
        } else {
            self.sharding.of_remote(key.dst)
        }
    }

    /// Whether IKE from a server's port 500 to an outside endpoint goes where the server's ESP goes.
    fn owns_ike_by_server(&self, outside: Endpoint) -> bool {
        match self.static_in(Proto::UDP, Outside(outside)) {
            Some(m) => m.inside.0.port == IKE,
            None => self.keeps_ike_port(outside),
        }
    }

    /// Whether IKE keeps its source port 500 on an outside endpoint: it is asked for, and no forward or one-to-one host
    /// has it.
    #[inline]
    #[must_use]
    pub fn keeps_ike_port(&self, outside: Endpoint) -> bool {
        self.policy.passthrough.ike_port == IkePort::Preserve
            && self.policy.passthrough.ipsec == Switch::On
            && self.static_in(Proto::UDP, Outside(outside)).is_none()
    }

    /// Owner of an outside endpoint.
    #[inline]
    #[must_use]
    pub fn owner_of_outside(&self, proto: Proto, e: Endpoint) -> WorkerId {
        if !self.static_in.is_empty()
            && let Some(&inside) = self.static_in.get(&e.addr)
        {
            return self.sharding.of_inside(inside);
        }
        let word = self.forward_ports.get(usize::from(e.port / 64)).copied().unwrap_or(0);
        if word >> (e.port % 64) & 1 != 0
            && let Some(inside) = self.forwards.get(&(proto, e))
        {
            return self.sharding.of_inside(inside.addr);
        }
        self.sharding.of_port(e.port)
    }
}
