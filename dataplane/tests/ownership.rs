//! Who owns a packet: the owner of what goes out has the state that what comes back finds at *its* owner. For every class,
//! both directions, and errors about either; with real state, made by the NAT itself.
//!
//! `UNDERPASS_PACKETS=10000000 cargo test --release -p dataplane --test ownership` for the long run.

use dataplane::flow::session::{Session, SessionId};
use dataplane::nat::Nat;
use dataplane::packet::{Class, Meta};
use dataplane::passthrough::Came;
use dataplane::policy::{Forward, Limits, Net, Policy, Port, Rules, Sizes, Static, Timeouts};
use dataplane::types::{Direction, Key, Mac, PortId, Proto, Side, Tick, WorkerId};
use dataplane::verdict::Counters;
use std::net::Ipv4Addr;
use std::sync::Arc;

const INSIDE: PortId = PortId(0);
const SYN: u8 = 2;
const ECHO_REQUEST: u8 = 8;

fn policy() -> Policy {
    let port = |side, addr: [u8; 4], prefix, gateway: Option<[u8; 4]>| Port {
        side,
        mac: Mac([2, 0, 0, 0, 0, 1]),
        vlan: None,
        mtu: 1500,
        addresses: vec![(addr.into(), Net::of(addr.into(), prefix))],
        gateway: gateway.map(Ipv4Addr::from),
    };
    let forward = |n: u8| Forward {
        proto: Proto::UDP,
        outside: [203, 0, 113, 2].into(),
        ports: 9000 + u16::from(n)..=9000 + u16::from(n),
        inside: [10, 0, 1, n].into(),
        inside_port: 53,
    };
    Policy {
        ports: vec![
            port(Side::Inside, [10, 255, 255, 254], 8, None),
            port(Side::Outside, [203, 0, 113, 2], 24, Some([203, 0, 113, 1])),
        ],
        pool: vec![Ipv4Addr::new(203, 0, 113, 2)..=Ipv4Addr::new(203, 0, 113, 60)],
        statics: (1..20)
            .map(|n| Static { outside: [203, 0, 113, 100 + n].into(), inside: [10, 0, 2, n].into() })
            .collect(),
        forwards: (1..20).map(forward).collect(),
        limits: Limits { sessions: u32::MAX, ports: u32::MAX, rate: u32::MAX, burst: u32::MAX, ..Limits::default() },
        timeouts: Timeouts { hold_down: 0, ..Timeouts::default() },
        sizes: Sizes { sessions: 1 << 16, mappings: 1 << 16, subscribers: 1 << 14, neighbours: 16 },
        seed: 0x0511,
        passthrough: dataplane::policy::Passthrough {
            other: vec![41],
            tunnels_per_subscriber: u32::MAX / 2,
            pending_per_server: u32::MAX,
            ..Default::default()
        },
        ..Policy::default()
    }
}

struct Chance(u64);

impl Chance {
    fn word(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 32) as u32
    }

    fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.word()) * u64::from(n)) >> 32) as u32
    }

    /// An inside host: one of many, or one with a forward or an address of its own.
    fn host(&mut self) -> Ipv4Addr {
        match self.below(8) {
            0 => Ipv4Addr::new(10, 0, 1, 1 + self.below(19) as u8),
            1 => Ipv4Addr::new(10, 0, 2, 1 + self.below(19) as u8),
            _ => Ipv4Addr::from_bits(0x0a01_0000 + self.below(2000)),
        }
    }

    /// A remote host: any.
    fn remote(&mut self) -> Ipv4Addr {
        Ipv4Addr::from_bits(0x2000_0000 + self.below(0x6000_0000))
    }

    fn port(&mut self) -> u16 {
        match self.below(6) {
            0 => 500,
            1 => 53,
            2 => 1 + self.below(1023) as u16,
            _ => 1024 + self.below(64_000) as u16,
        }
    }

    /// What an inside host sends.
    fn packet(&mut self) -> Meta {
        let (src, dst) = (self.host(), self.remote());
        let ports = Key::ports(self.port(), self.port());
        let spi = self.word().max(256);
        let (class, proto, ident, tcp_flags) = match self.below(8) {
            0 | 1 => (Class::Udp, Proto::UDP, ports, 0),
            2 => (Class::Tcp, Proto::TCP, ports, SYN),
            3 => (Class::IcmpQuery, Proto::ICMP, Key::ports(self.port(), 0), ECHO_REQUEST),
            4 => (Class::Udp, Proto::UDP, Key::ports(500, 500), 0),
            5 => (Class::Tunnel, Proto::ESP, spi, 0),
            6 => (Class::Tunnel, Proto::L2TP, spi, 0),
            _ => (Class::Other, Proto(41), 0, 0),
        };
        let key = Key { src, dst, ident, proto };
        Meta { key, total_len: 100, l3: 14, l4: 34, class, ttl: 64, tcp_flags, ..Meta::NONE }
    }
}

struct Box {
    rules: Arc<Rules>,
    nats: Vec<Nat>,
}

impl Box {
    fn new(workers: u8) -> Self {
        let rules = Arc::new(Rules::new(policy(), workers));
        let nat = |n| Nat::new(Arc::clone(&rules), WorkerId(n), Arc::new(Counters::default()), Tick(0));
        Self { nats: (0..workers).map(nat).collect(), rules }
    }

    fn at(&mut self, worker: WorkerId) -> &mut Nat {
        &mut self.nats[worker.index()]
    }

    /// The state at a worker answers for what a key's packet would find there.
    #[track_caller]
    fn agrees(&mut self, side: Side, key: &Key, holder: WorkerId, id: SessionId) {
        let direction = if side == Side::Inside { Direction::Out } else { Direction::In };
        assert_eq!(self.rules.home_of_key(side, key), holder, "{side:?} {key:?}");
        assert_eq!(self.at(holder).sessions.find(key, direction), Some(id), "{side:?} {key:?}");
    }

    /// An error about what went a way is steered to the worker that holds its session.
    #[track_caller]
    fn errors_agree(&self, s: &Session, went: Direction, holder: WorkerId) {
        let side = if went == Direction::Out { Side::Outside } else { Side::Inside };
        assert_eq!(self.rules.home_of_key(side, &s.left(went).back()), holder, "error about {s:?}");
    }

    /// One packet out, and what comes back.
    fn judge(&mut self, meta: &Meta, chance: &mut Chance, now: Tick) -> bool {
        let home = self.rules.home_of_key(Side::Inside, &meta.key);
        let Ok(id) = self.at(home).outbound(meta, INSIDE, Came { hairpin: false, overdue: true }, now) else {
            return false;
        };
        self.agrees(Side::Inside, &meta.key, home, id);
        let s = *self.at(home).sessions.get(id).unwrap();
        self.errors_agree(&s, Direction::Out, home);
        match s.leg_direction() {
            None => {
                self.agrees(Side::Outside, &s.key(Direction::In), home, id);
                self.errors_agree(&s, Direction::In, home);
                // What has ports is decided about where it is forwarded.
                assert_eq!(self.rules.owner_of_key(Side::Outside, &s.key(Direction::In)), home);
            }
            Some(_) => {
                // The server answers under an identifier of the inside host's choice.
                let ident = if meta.class == Class::Tunnel { chance.word().max(256) } else { 0 };
                let key = Key { src: s.remote, dst: s.outside, ident, proto: s.proto };
                let back = Meta { key, ..*meta };
                assert_eq!(self.rules.home_of_key(Side::Outside, &key), home, "{key:?}");
                let came = Came { hairpin: false, overdue: true };
                let Ok(inward) = self.at(home).inbound(&back, &[], came, now) else { return false };
                self.agrees(Side::Outside, &key, home, inward);
                let r = *self.at(home).sessions.get(inward).unwrap();
                assert_eq!((r.inside, r.owner), (s.inside, s.owner), "the same tunnel's");
                self.errors_agree(&r, Direction::In, home);
                // Each direction's data is its identifier's owner's, whichever side it comes from.
                if meta.class == Class::Tunnel {
                    for (side, key) in [(Side::Inside, &meta.key), (Side::Outside, &key)] {
                        let owner = self.rules.sharding.of_tunnel_id(key.ident);
                        assert_eq!(self.rules.owner_of_key(side, key), owner);
                    }
                }
            }
        }
        true
    }
}

// The issue: ownership disagreements, zero
#[test]
fn what_comes_back_finds_the_worker_that_has_its_state() {
    let packets: u32 = std::env::var("UNDERPASS_PACKETS").ok().and_then(|n| n.parse().ok()).unwrap_or(200_000);
    for workers in [2, 3, 8, 64] {
        let mut b = Box::new(workers);
        let mut chance = Chance(u64::from(workers));
        let (mut now, mut opened) = (Tick(0), 0);
        for n in 0..packets / 4 {
            opened += u32::from(b.judge(&chance.packet(), &mut chance, now));
            if n % 2000 == 1999 {
                // All that is there ends.
                for _ in 0..3 {
                    now = now.after(3 * 3600 * 1000);
                    b.nats.iter_mut().for_each(|nat| while nat.expire(now) > 0 {});
                }
            }
        }
        // Most of what is asked for comes about: the claim is about what there is.
        assert!(opened > packets / 4 * 9 / 10, "{opened} of {} over {workers} workers", packets / 4);
    }
}

// A translated Call ID is a number that its worker owns, so it says whose it is
#[test]
fn a_call_identifier_leads_to_the_worker_that_allocated_it() {
    for workers in [2, 3, 8, 64] {
        let rules = Rules::new(policy(), workers);
        let (server, outside) = (Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::new(203, 0, 113, 2));
        for id in 1..=u16::MAX {
            let key = Key { src: server, dst: outside, ident: Key::call(id), proto: Proto::GRE };
            assert_eq!(rules.owner_of_key(Side::Outside, &key), rules.sharding.of_port(id));
            assert_eq!(rules.home_of_key(Side::Outside, &key), rules.sharding.of_port(id));
        }
    }
}
