//! The dataplane under test: workers over memory, one inside and one outside port, every neighbour known.

use crate::model::{End, Filter, Wish};
use dataplane::io::memory::Memory;
use dataplane::policy::{Allow, Filtering, Forward, FragmentLimits, Limits, Net, Policy, Port, Rules, Sizes, Static};
use dataplane::policy::{StaticNeighbour, Timeouts};
use dataplane::types::{Endpoint, Inside, Mac, PortId, Proto, Side, Tick, WorkerId};
use dataplane::verdict::{Account, Counters, DropReason};
use dataplane::worker::Worker;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

pub const INSIDE: PortId = PortId(0);
pub const OUTSIDE: PortId = PortId(1);
pub const INSIDE_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub const OUTSIDE_MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];
pub const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 2, 254];
const GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);

pub const fn lan(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 1, host)
}

pub const fn wan(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, host)
}

pub const fn host_mac(addr: Ipv4Addr) -> [u8; 6] {
    [2, 0, 0, 0, 3, addr.octets()[3]]
}

pub struct Lab {
    pub workers: Vec<Worker<Memory>>,
    pub rules: Arc<Rules>,
    pub now: u32,
}

/// What one event made.
#[derive(Debug, Default)]
pub struct Made {
    pub inside: Vec<Vec<u8>>,
    pub outside: Vec<Vec<u8>>,
    pub drops: BTreeMap<DropReason, u64>,
}

impl Lab {
    pub fn new(wish: &Wish, workers: u8, seed: u64) -> Self {
        let rules = Arc::new(Rules::new(policy(wish, seed), workers));
        let workers = (0u8..)
            .zip(Memory::joined(workers, 2, 1024))
            .map(|(me, io)| Worker::new(io, WorkerId(me), Arc::clone(&rules), Arc::new(Counters::default()), Tick(0)))
            .collect();
        Self { workers, rules, now: 0 }
    }

    /// Lets frames arrive at workers, then runs until nobody has work.
    pub fn run(&mut self, port: PortId, frames: &[(Vec<u8>, usize)]) -> Made {
        let before = self.drops();
        for (frame, worker) in frames {
            let n = self.workers.len();
            self.workers[worker % n].io().arrive(port, frame);
        }
        self.settle();
        let mut made = Made { drops: self.drops(), ..Made::default() };
        for (reason, count) in before {
            let now = made.drops.entry(reason).or_default();
            *now -= count;
        }
        made.drops.retain(|_, n| *n > 0);
        for w in &mut self.workers {
            made.inside.append(&mut w.io().take_sent(INSIDE));
            made.outside.append(&mut w.io().take_sent(OUTSIDE));
        }
        made
    }

    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 100, "the workers never come to rest");
            let mut work = 0;
            for w in &mut self.workers {
                work += w.poll(Tick(self.now));
            }
            if work == 0 && !self.workers.iter_mut().any(|w| w.io().has_work()) {
                return;
            }
        }
    }

    pub fn wait(&mut self, ms: u32) {
        self.now += ms;
        self.settle();
    }

    fn drops(&self) -> BTreeMap<DropReason, u64> {
        let mut sum = BTreeMap::new();
        for w in &self.workers {
            for &reason in DropReason::ALL {
                *sum.entry(reason).or_default() += w.counters().drops(reason);
            }
        }
        sum
    }

    pub fn account(&self) -> Account {
        self.workers.iter().fold(Account::default(), |a, w| a.plus(w.counters().account()))
    }

    pub fn outside_of(&self, proto: u8, inside: End) -> Option<End> {
        let mappings = |w: &Worker<Memory>| {
            let table = &w.nat().mappings;
            let m = table.get(table.find_inside(Proto(proto), Inside(Endpoint::new(inside.0, inside.1)))?)?;
            Some((m.outside.0.addr, m.outside.0.port))
        };
        self.workers.iter().find_map(mappings)
    }
}

fn policy(wish: &Wish, seed: u64) -> Policy {
    let port = |side, mac, addr, gateway| Port {
        side,
        mac: Mac(mac),
        vlan: None,
        mtu: 1500,
        addresses: vec![(addr, Net::of(addr, 24))],
        gateway,
    };
    let hosts = (10u8..40).map(|h| StaticNeighbour { port: INSIDE, addr: lan(h), mac: Mac(host_mac(lan(h))) });
    let gateway = StaticNeighbour { port: OUTSIDE, addr: GATEWAY, mac: Mac(GATEWAY_MAC) };
    let forward = |&(proto, outside, inside): &(u8, End, End)| Forward {
        proto: Proto(proto),
        outside: outside.0,
        ports: outside.1..=outside.1,
        inside: inside.0,
        inside_port: inside.1,
    };
    let allow =
        |&(proto, inside): &(u8, End)| Allow { proto: Proto(proto), inside: inside.0, ports: inside.1..=inside.1 };
    Policy {
        ports: vec![
            port(Side::Inside, INSIDE_MAC, lan(1), None),
            port(Side::Outside, OUTSIDE_MAC, wish.own, Some(GATEWAY)),
        ],
        neighbours: hosts.chain([gateway]).collect(),
        pool: wish.pool.iter().map(|&a| a..=a).collect(),
        filtering: match wish.filter {
            Filter::Anyone => Filtering::EndpointIndependent,
            Filter::Address => Filtering::AddressDependent,
            Filter::AddressAndPort => Filtering::AddressAndPortDependent,
        },
        hairpin: wish.hairpin,
        icmp_error_rate: 1_000_000,
        timeouts: Timeouts {
            udp: wish.udp,
            tcp_established: wish.tcp_up,
            tcp_transitory: wish.tcp,
            icmp: wish.icmp,
            hold_down: wish.rest,
            ..Timeouts::default()
        },
        limits: Limits {
            sessions: u32::try_from(wish.sessions).unwrap(),
            ports: u32::try_from(wish.ports).unwrap(),
            rate: 1_000_000,
            burst: 1_000_000,
            ..Limits::default()
        },
        fragments: FragmentLimits { datagrams: 64, held: 64, per_datagram: 16 },
        forwards: wish.forwards.iter().map(forward).collect(),
        statics: wish.one_to_one.iter().map(|&(outside, inside)| Static { outside, inside }).collect(),
        allows: wish.allow.iter().map(allow).collect(),
        sizes: Sizes { sessions: 4096, mappings: 4096, subscribers: 512, neighbours: 64 },
        seed,
        ..Policy::default()
    }
}
