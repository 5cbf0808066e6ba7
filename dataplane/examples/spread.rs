//! How evenly subscribers and tunnels spread over workers: `cargo run -p dataplane --example spread`.
//!
//! Prints two tables. The first is about owners, which are the same at every level: the busiest worker's share against an
//! even one, 1.00 being perfect. The second is about arrival: of packets from both sides, how many come in at their owner
//! and need no handoff, by what the device can do.

use dataplane::packet::{Class, Meta};
use dataplane::policy::steering::{
    Grain, Portless, inside_key, inside_table, outside_key, outside_table, spare_worker, toeplitz,
};
use dataplane::policy::{Policy, Rules};
use dataplane::types::{Endpoint, Key, Proto, Side, WorkerId};
use std::net::Ipv4Addr;

const WORKERS: [u8; 8] = [2, 3, 4, 8, 12, 16, 32, 64];
const COUNTS: [u32; 3] = [10, 1000, 100_000];
/// Secrets to take the median of.
const STARTS: u64 = 9;
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// The commonest size of a redirection table.
const TABLE: usize = 128;
const PACKETS: u32 = 10_000;

/// What is spread.
#[derive(Clone, Copy)]
enum Load {
    /// Subscribers with neighbouring addresses, as a DHCP server gives them.
    Neighbours,
    /// Subscribers with scattered addresses.
    Scattered,
    /// ESP tunnels of any hosts to one gateway, by what comes from it.
    Esp,
    /// PPTP calls of subscribers with neighbouring addresses.
    Pptp,
    /// L2TPv3 sessions to one server, numbered from 1.
    L2tpv3,
}

const LOADS: [(&str, Load); 5] = [
    ("subscribers, neighbours", Load::Neighbours),
    ("subscribers, scattered", Load::Scattered),
    ("ESP to one gateway", Load::Esp),
    ("PPTP to one server", Load::Pptp),
    ("L2TPv3 to one server", Load::L2tpv3),
];

fn main() {
    println!("Busiest worker's share against an even one (median of {STARTS} starts)\n");
    print!("{:<24} {:>7}", "", "number");
    for workers in WORKERS {
        print!(" {:>6}", format!("{workers}w"));
    }
    println!();
    for (name, load) in LOADS {
        for count in COUNTS {
            print!("{name:<24} {count:>7}");
            for workers in WORKERS {
                print!(" {:>6.2}", median((1..=STARTS).map(|seed| imbalance(load, count, workers, seed))));
            }
            println!();
        }
    }
    println!("\nPackets that arrive at their owner, percent ({PACKETS} packets of as many flows)\n");
    print!("{:<36}", "");
    for workers in WORKERS {
        print!(" {:>5}", format!("{workers}w"));
    }
    println!();
    for (name, way, side, proto) in [
        ("any device, any packet", Way::Ordinary, Side::Outside, Proto::UDP),
        ("RSS by key, inside, TCP and UDP", Way::ByKey, Side::Inside, Proto::UDP),
        ("RSS by key, inside, PPTP and ICMP", Way::ByKey, Side::Inside, Proto::GRE),
        ("RSS by key, inside, ESP and L2TPv3", Way::ByKey, Side::Inside, Proto::ESP),
        ("RSS by key, outside, TCP and UDP", Way::ByKey, Side::Outside, Proto::UDP),
        ("RSS by key, outside, without ports", Way::ByKey, Side::Outside, Proto::ESP),
        ("flow rule, ESP and L2TPv3", Way::Rule, Side::Outside, Proto::ESP),
    ] {
        print!("{name:<36}");
        for workers in WORKERS {
            print!(" {:>5.1}", arriving(way, side, proto, workers) * 100.0);
        }
        println!();
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn imbalance(load: Load, count: u32, workers: u8, seed: u64) -> f64 {
    let rules = Rules::new(Policy { seed, ..Policy::default() }, workers);
    let mut owned = vec![0u32; usize::from(workers)];
    let random = |n: u32| scattered(n.wrapping_add((seed as u32).wrapping_mul(0x1000_0001)));
    for n in 0..count {
        let neighbour = Ipv4Addr::from_bits(0x0a00_0002 + n);
        let owner = match load {
            Load::Neighbours => owner(&rules, Side::Inside, Proto::UDP, neighbour, SERVER, 0),
            Load::Scattered => owner(&rules, Side::Inside, Proto::UDP, Ipv4Addr::from_bits(random(n)), SERVER, 0),
            Load::Esp => owner(&rules, Side::Outside, Proto::ESP, SERVER, OUTSIDE, random(n)),
            Load::Pptp => owner(&rules, Side::Inside, Proto::GRE, neighbour, SERVER, Key::call(1)),
            Load::L2tpv3 => owner(&rules, Side::Outside, Proto::L2TP, SERVER, OUTSIDE, n + 1),
        };
        owned[owner.index()] += 1;
    }
    let most = owned.iter().copied().max().unwrap_or(0);
    f64::from(most) * f64::from(workers) / f64::from(count)
}

fn owner(rules: &Rules, side: Side, proto: Proto, src: Ipv4Addr, dst: Ipv4Addr, ident: u32) -> WorkerId {
    let mut meta = Meta::NONE;
    meta.class = Class::Tunnel;
    meta.key = Key::new(proto, Endpoint::new(src, 0), Endpoint::new(dst, 0));
    meta.key.ident = if proto == Proto::UDP { Key::ports(40_000, 443) } else { ident };
    rules.owner(side, &meta).unwrap_or(WorkerId(0))
}

/// How a device chooses the queue.
#[derive(Clone, Copy)]
enum Way {
    /// By its own key over all fields.
    Ordinary,
    /// By ours.
    ByKey,
    /// By a rule that follows the owner.
    Rule,
}

/// The part of many flows' packets whose queue is their owner's.
fn arriving(way: Way, side: Side, proto: Proto, workers: u8) -> f64 {
    let grain = Grain::for_tables([TABLE], [TABLE]);
    let rules = Rules::new(Policy { grain, ..Policy::default() }, workers);
    let s = &rules.sharding;
    let (key, table) = match (way, side) {
        (Way::Ordinary, _) => ((0..40u8).map(|n| scattered(n.into()) as u8).collect(), inside_table(s, TABLE)),
        (_, Side::Inside) => (inside_key(40, 0, grain), inside_table(s, TABLE)),
        (_, Side::Outside) => {
            (outside_key(40, 0, grain, Portless::Entry0), outside_table(s, TABLE, spare_worker(s, 0)))
        }
    };
    let table = table.unwrap_or_default();
    let right = (0..PACKETS).filter(|&n| {
        let [src, dst] = [n, n + PACKETS].map(|n| Ipv4Addr::from_bits(scattered(n)));
        // Dynamic mappings have ports from 1024 on.
        let ident = if proto == Proto::UDP { scattered(n + 2 * PACKETS) | 0x8000 } else { scattered(n) | 0x8000 };
        let mut key_of = Key::new(proto, Endpoint::new(src, 0), Endpoint::new(dst, 0));
        key_of.ident = if proto == Proto::GRE { Key::call(ident as u16) } else { ident };
        let owner = rules.owner_of_key(side, &key_of);
        if matches!(way, Way::Rule) {
            return true;
        }
        let mut input = [src.octets(), dst.octets()].concat();
        if proto == Proto::UDP {
            input.extend(ident.to_be_bytes());
        }
        table.get(toeplitz(&key, &input) as usize % TABLE) == Some(&owner)
    });
    right.count() as f64 / f64::from(PACKETS)
}

/// Numbers without a pattern.
fn scattered(n: u32) -> u32 {
    let x = (n ^ n >> 16).wrapping_mul(0x85eb_ca6b);
    let x = (x ^ x >> 13).wrapping_mul(0xc2b2_ae35);
    x ^ x >> 16
}
