//! The keys and tables of `dataplane::policy::steering` by DPDK's own Toeplitz: what a NIC would do with a packet is what
//! the software owner says.

use dataplane::policy::Sharding;
use dataplane::policy::steering::{
    Grain, Portless, first_port, index_bits, inside_key, inside_table, outside_key, outside_table, spare_worker,
};
use std::net::Ipv4Addr;

const SIZES: [usize; 6] = [64, 128, 256, 512, 1024, 2048];

/// A sequence without a pattern that a linear hash would follow.
fn scattered(n: u32) -> u32 {
    let x = (n ^ n >> 16).wrapping_mul(0x85eb_ca6b);
    (x ^ x >> 13).wrapping_mul(0xc2b2_ae35)
}

#[test]
fn every_outside_port_lands_with_its_owner() {
    for size in SIZES {
        let grain = Grain::for_tables([], [size]);
        let key = outside_key(40, 77, grain, Portless::Entry0);
        let sharding = Sharding::with_grain(5, 77, grain);
        let spare = spare_worker(&sharding, 0);
        let table = outside_table(&sharding, size, spare).unwrap();
        for port in 0..=65_535u16 {
            let n = u32::from(port) ^ size as u32;
            let words = [scattered(n), scattered(n + 70_000), scattered(n) << 16 | u32::from(port)];
            let entry = dpdk::toeplitz(&words, &key).unwrap() as usize % size;
            let first = first_port(entry as u32, index_bits(size).unwrap());
            assert!(port - first < (65_536 / size) as u16, "entry {entry} of {size} begins at {first}, not {port}");
            match entry {
                0 => assert_eq!(table[0], spare),
                _ if port >= 1024 => assert_eq!(table[entry], sharding.of_port(port), "port {port}, {size} entries"),
                _ => {}
            }
        }
        // ESP, GRE, ICMP, fragments: two addresses and nothing else.
        for n in 0..1000 {
            assert_eq!(dpdk::toeplitz(&[scattered(n), scattered(n + 5000)], &key), Some(0));
        }
    }
}

#[test]
fn every_inside_address_lands_with_its_owner_with_ports_and_without() {
    for size in SIZES {
        for seed in 0..8 {
            let grain = Grain::for_tables([size], []);
            let key = inside_key(52, seed, grain);
            let sharding = Sharding::with_grain(7, seed, grain);
            let table = inside_table(&sharding, size).unwrap();
            for n in 0..20_000 {
                let (host, remote, ports) = (scattered(n), scattered(n + 100_000), scattered(n + 200_000));
                let owner = sharding.of_inside(Ipv4Addr::from_bits(host));
                for words in [&[host, remote, ports][..], &[host, remote]] {
                    let entry = dpdk::toeplitz(words, &key).unwrap() as usize % size;
                    assert_eq!(table[entry], owner, "{words:x?}, {size} entries");
                }
            }
        }
    }
}
