//! Bursts of arbitrary frames through one to three workers.
//!
//! The first two bytes choose a policy; then come operations, each a byte whose two highest bits say what it is:
//!
//! | bits | operation | what follows |
//! | --- | --- | --- |
//! | `00pwwcsd` | a frame arrives: outside (p) or at the second inside port (s), at worker w; with its checksums (c) and destination (d) as they are, otherwise set right | length (2), bytes |
//! | `01tttttt` | the workers poll, t² × 50 ms pass, and they poll again | |
//! | `10kkww..` | an emitted frame comes back: turned round, as it is, quoted by an ICMP error, turned into an answer with these TCP flags or for this PPTP call | which (1), flags (1) |
//! | `11..brrr` | these ports refuse; no buffer can be had (b) | |

use crate::frames::{answer, ip_header, mend, own_call};
use crate::parse::promised;
use dataplane::flow::session::{Session, flags};
use dataplane::io::memory::Memory;
use dataplane::packet::{Framing, Parsed, parse};
use dataplane::passthrough::tunnel::TunnelId;
use dataplane::policy::{
    Allow, Filtering, Forward, FragmentLimits, IkePort, Limits, Net, Pairing, Passthrough, Policy, Port, Route, Rules,
    Sizes, Static, StaticNeighbour,
};
use dataplane::types::{Direction, Mac, PortId, Proto, Side, Tick, WorkerId};
use dataplane::verdict::{Account, Counters};
use dataplane::worker::Worker;
use std::net::Ipv4Addr;
use std::sync::Arc;
use testkit::Frame;

const PORTS: usize = 3;
const MACS: [[u8; 6]; PORTS] = [[2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 2, 1], [2, 0, 0, 0, 3, 1]];

const fn a(a: u8, b: u8, c: u8, d: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, d)
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&b, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(b)
    }

    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

struct Router {
    workers: Vec<Worker<Memory>>,
    rules: Arc<Rules>,
    /// Emitted lately: port and frame.
    emitted: Vec<(usize, Vec<u8>)>,
    /// Call IDs that PPTP messages said lately.
    calls: Vec<u16>,
    now: u32,
}

/// See the module. Nothing panics; every packet is accounted for; what is emitted can be parsed and fits its link; each
/// session is found by both of its keys, at the worker that steering leads to; and in the end nothing is left over.
pub fn burst(data: &[u8]) {
    let mut input = Input(data);
    let (Some(shape), Some(switches)) = (input.byte(), input.byte()) else { return };
    let mut b = Router::new(shape, switches);
    // An input's work is bounded, so that none is slow.
    for _ in 0..400 {
        let Some(op) = input.byte() else { break };
        match op >> 6 {
            0 => b.arrive(op, &mut input),
            1 => b.pass(u32::from(op & 63)),
            2 => b.come_back(op, &mut input),
            _ => b.hamper(op),
        }
    }
    b.end();
}

impl Router {
    fn new(shape: u8, switches: u8) -> Self {
        let workers = 1 + shape % 3;
        let ring = if shape & 0x80 != 0 { 2 } else { 256 };
        let rules = Arc::new(Rules::new(policy(shape, switches), workers));
        let workers = (0u8..)
            .zip(Memory::joined(workers, PORTS, ring))
            .map(|(me, io)| Worker::new(io, WorkerId(me), Arc::clone(&rules), Arc::new(Counters::default()), Tick(0)))
            .collect();
        Self { workers, rules, emitted: Vec::new(), calls: Vec::new(), now: 0 }
    }

    fn arrive(&mut self, op: u8, input: &mut Input) {
        let len = usize::from(input.byte().unwrap_or(0)) << 8 | usize::from(input.byte().unwrap_or(60));
        let mut frame = input.bytes(len.min(2048)).to_vec();
        let port = if op & 2 != 0 { 2 } else { usize::from(op >> 5 & 1) };
        if op & 1 == 0
            && let Some(to) = frame.first_chunk_mut::<6>().filter(|to| to[0] & 1 == 0)
        {
            *to = MACS[port];
        }
        if op & 4 == 0 {
            mend(&mut frame);
        }
        self.put(usize::from(op >> 3 & 3), port, &frame);
    }

    fn put(&mut self, worker: usize, port: usize, frame: &[u8]) {
        let n = self.workers.len();
        self.workers[worker % n].io().arrive(PortId(port as u8), frame);
    }

    fn pass(&mut self, t: u32) {
        self.poll();
        self.now = self.now.wrapping_add(t * t * 50);
        self.poll();
    }

    fn come_back(&mut self, op: u8, input: &mut Input) {
        let (which, flags) = (usize::from(input.byte().unwrap_or(0)), input.byte().unwrap_or(0x12));
        if self.emitted.is_empty() {
            self.poll();
        }
        let Some((port, frame)) = self.emitted.get(which % self.emitted.len().max(1)).cloned() else { return };
        let mut back = match op >> 4 & 3 {
            2 if ip_header(&frame).is_some() => {
                Frame::icmp_error("198.51.100.1", [3, 11, 12][usize::from(flags % 3)], 4, frame)
                    .macs([2; 6], MACS[port])
                    .build()
            }
            _ => frame,
        };
        match op >> 4 & 3 {
            0 => turn(&mut back),
            3 => {
                turn(&mut back);
                answer(&mut back, flags);
                let call = self.calls.get(usize::from(flags) % self.calls.len().max(1));
                if let (Some(call), Some((l3, len))) = (call, ip_header(&back))
                    && back[l3 + 9] == 47
                    && let Some(id) = back.get_mut(l3 + len + 6..l3 + len + 8)
                {
                    id.copy_from_slice(&call.to_be_bytes());
                }
            }
            _ => {}
        }
        if let Some(to) = back.first_chunk_mut::<6>() {
            *to = MACS[port];
        }
        mend(&mut back);
        self.put(usize::from(op >> 2 & 3), port, &back);
    }

    fn hamper(&mut self, op: u8) {
        self.poll();
        for w in &mut self.workers {
            w.io().refusing = (0..PORTS).map(|p| op >> p & 1 != 0).collect();
            w.io().starved = op & 8 != 0;
        }
    }

    /// Polls until nobody has work, and looks at everything.
    fn poll(&mut self) {
        for round in 0.. {
            assert!(round < 200, "the workers never come to rest");
            let work: usize = self.workers.iter_mut().map(|w| w.poll(Tick(self.now))).sum();
            if work == 0 && !self.workers.iter_mut().any(|w| w.io().has_work()) {
                break;
            }
        }
        for port in 0..PORTS {
            for n in 0..self.workers.len() {
                for frame in self.workers[n].io().take_sent(PortId(port as u8)) {
                    self.check(port, &frame);
                    self.calls.extend(own_call(&frame));
                    self.emitted.push((port, frame));
                }
            }
        }
        let old = self.emitted.len().saturating_sub(256);
        self.emitted.drain(..old);
        let old = self.calls.len().saturating_sub(256);
        self.calls.drain(..old);
        assert_eq!(self.account().unaccounted(), 0, "{:?}", self.account());
        self.check_sessions();
    }

    fn check(&self, port: usize, frame: &[u8]) {
        let to = frame.first_chunk::<6>().copied().unwrap_or_default();
        let vlan = self.rules.framing(PortId(port as u8)).and_then(|f| f.vlan);
        match parse(frame, &Framing { mac: Mac(to), vlan }) {
            Ok(Parsed::Arp(l3)) => {
                let reply = frame.get(usize::from(l3) + 7) == Some(&2);
                assert!(!reply || to[0] & 1 == 0, "an ARP reply to a group");
            }
            Ok(Parsed::Ip(meta)) => {
                promised(frame, &meta);
                assert_eq!(meta.end(), frame.len(), "padding leaves");
                let mtu = self.rules.mtu(PortId(port as u8));
                let ours = self.rules.own_address(PortId(port as u8), meta.key.dst) == Some(meta.key.src);
                assert!(meta.total_len <= mtu || ours, "{} bytes on a link that carries {mtu}", meta.total_len);
            }
            Err(reason) => panic!("emitted on port {port}: {}: {frame:02x?}", reason.label()),
        }
    }

    fn check_sessions(&self) {
        for (n, w) in self.workers.iter().enumerate() {
            for (id, s) in w.sessions().iter() {
                let ways: &[Direction] = match s.leg_direction() {
                    Some(Direction::Out) => &[Direction::Out],
                    Some(Direction::In) => &[Direction::In],
                    None => &[Direction::Out, Direction::In],
                };
                for &direction in ways {
                    assert_eq!(w.sessions().find(&s.key(direction), direction), Some(id), "{s:?}");
                    let side = if direction == Direction::Out { Side::Inside } else { Side::Outside };
                    let key = s.key(direction);
                    let borrowed = s.is_tunnels() && s.is(flags::BORROWED);
                    let owner =
                        if borrowed { self.rules.owner_of_key(side, &key) } else { self.rules.home_of_key(side, &key) };
                    assert_eq!(owner.index(), n, "{s:?}");
                    assert!(!borrowed || self.rules.home_of_key(side, &key).index() != n, "{s:?}");
                }
                if s.is_tunnels() && s.is(flags::BORROWED) {
                    continue;
                }
                if s.is_tunnels() {
                    assert!(
                        w.nat().vpn.tunnels.get(TunnelId(s.owner)).is_some_and(|t| t.legs().any(|l| l == id)),
                        "{s:?}"
                    );
                    continue;
                }
                let (inside, outside) = (s.inside().0, s.outside().0);
                if s.proto != Proto::UDP || (inside.port, s.remote().port) != (500, 500) {
                    assert_eq!(self.rules.sharding.of_inside(inside.addr).index(), n, "{s:?}");
                }
                assert_eq!(self.rules.owner_of_outside(s.proto, outside).index(), n, "{s:?}");
            }
            for t in w.nat().vpn.tunnels.iter() {
                assert!(t.legs().all(|l| w.sessions().get(l).is_some_and(Session::is_tunnels)), "{t:?}");
            }
        }
    }

    fn account(&self) -> Account {
        self.workers.iter().fold(Account::default(), |a, w| a.plus(w.counters().account()))
    }

    /// Every time-out passes; then nothing may be left.
    fn end(mut self) {
        for _ in 0..40 {
            self.poll();
            self.now = self.now.wrapping_add(600_000);
        }
        for w in &mut self.workers {
            let nat = w.nat();
            assert_eq!((nat.sessions.len(), nat.mappings.len(), nat.subscribers.len()), (0, 0, 0), "left over");
            assert!(nat.vpn.tunnels.is_empty(), "tunnels are left over");
            w.finish();
        }
        let account = self.account();
        assert_eq!((account.unaccounted(), account.held), (0, 0), "{account:?}");
    }
}

/// Exchanges source and destination of a frame; an echo request becomes its reply.
fn turn(frame: &mut [u8]) {
    if let Some(addresses) = frame.get_mut(..12) {
        addresses.rotate_left(6);
    }
    let Some((l3, len)) = ip_header(frame) else { return };
    frame[l3 + 12..l3 + 20].rotate_left(4);
    let l4 = l3 + len;
    match frame[l3 + 9] {
        1 if frame.get(l4) == Some(&8) => frame[l4] = 0,
        6 | 17 if frame.len() >= l4 + 4 => frame[l4..l4 + 4].rotate_left(2),
        _ => {}
    }
}

/// Small tables and many switches.
fn policy(shape: u8, switches: u8) -> Policy {
    let on = |bit: u8| switches >> bit & 1 != 0;
    let port = |n: usize, side, addr: Ipv4Addr| Port {
        side,
        mac: Mac(MACS[n]),
        vlan: (n == 1 && shape & 0x08 != 0).then_some(100),
        mtu: if shape & 0x10 != 0 && n == 1 { 200 } else { 1500 },
        addresses: vec![(addr, Net::of(addr, 24))],
        gateway: (n == 1).then_some(a(203, 0, 113, 254)),
    };
    let host = |n: u8, h| StaticNeighbour { port: PortId(0), addr: a(192, 168, 1, h), mac: Mac([2, 0, 0, 0, 9, n]) };
    let gateway = StaticNeighbour { port: PortId(1), addr: a(203, 0, 113, 254), mac: Mac([2, 0, 0, 0, 9, 254]) };
    let known = if on(0) { vec![] } else { (10..20).map(|h| host(h, h)).chain([gateway]).collect() };
    let forward = |proto, ports: std::ops::RangeInclusive<u16>, inside_port| Forward {
        proto,
        outside: a(203, 0, 113, 1),
        ports,
        inside: a(192, 168, 1, 12),
        inside_port,
    };
    let allow = |proto, ports| Allow { proto, inside: a(192, 168, 1, 13), ports };
    Policy {
        ports: vec![
            port(0, Side::Inside, a(192, 168, 1, 1)),
            port(1, Side::Outside, a(203, 0, 113, 1)),
            port(2, Side::Inside, a(192, 168, 2, 1)),
        ],
        routes: vec![Route { net: Net::of(a(10, 0, 0, 0), 8), via: a(192, 168, 1, 19) }],
        neighbours: known,
        pool: vec![a(203, 0, 113, 1)..=a(203, 0, 113, 2)],
        port_range: if on(1) { 5000..=5063 } else { 1024..=65_535 },
        filtering: match switches >> 2 & 3 {
            0 => Filtering::EndpointIndependent,
            1 => Filtering::AddressDependent,
            _ => Filtering::AddressAndPortDependent,
        },
        hairpin: !on(4),
        preserve_port: !on(5),
        parity: !on(5),
        other_address: on(6),
        reject_unsolicited_syn: on(7),
        check_reset: !on(6),
        limits: Limits { sessions: 24, ports: 16, ..Limits::default() },
        fragments: FragmentLimits { datagrams: 16, held: 8, per_datagram: 4 },
        forwards: vec![
            forward(Proto::TCP, 8443..=8443, 443),
            forward(Proto::TCP, 9443..=9443, 443),
            forward(Proto::UDP, 6000..=6007, 6000),
            forward(Proto::TCP, 1723..=1723, 1723),
        ],
        statics: vec![Static { outside: a(203, 0, 113, 4), inside: a(192, 168, 1, 13) }],
        allows: vec![allow(Proto::TCP, 80..=80), allow(Proto::UDP, 0..=65_535), allow(Proto::ICMP, 0..=0)],
        sizes: Sizes { sessions: 60, mappings: 40, subscribers: 12, neighbours: 24 },
        passthrough: Passthrough {
            ike_port: if shape & 0x40 != 0 { IkePort::Preserve } else { IkePort::Translate },
            pairing: if shape & 0x20 != 0 { Pairing::Strict } else { Pairing::Parallel },
            other: vec![41, 47],
            tunnels: 24,
            tunnels_per_subscriber: 6,
            pending_per_server: 4,
            ..Passthrough::default()
        },
        seed: u64::from(shape) << 8 | u64::from(switches),
        ..Policy::default()
    }
}
