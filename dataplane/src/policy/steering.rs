//! RSS by key: keys and redirection tables with which a NIC agrees with [`Sharding`] about who owns a packet.
//!
//! A NIC hashes (source address, destination address, source port, destination port) by Toeplitz and takes the hash's low
//! bits as an index to its redirection table, whose size is a power of two. Input bit i adds the key's bits i to i + 31 to
//! the hash, the first of them at the top: with `n` index bits only the key's bits i + 32 - n to i + 31 count. So a key with
//! few bits set is blind to most of the input. Bits are counted from 0, the top one of the first byte:
//!
//! ```text
//!            input bits          key bits set       index
//! outside    destination port    111                top n bits of the port, the first one lowest
//!            80..96                                 (a block of 512 ports has one entry of 128)
//! inside     source address      0..=63 - n         mixes the address, and nothing else; the last n bits of an
//!            0..32               63 - n always      address reach all 2^n entries
//! IPv6 in    source 102..128     127..=159 - n      mixes the last 26 bits; see below
//! IPv6 out   destination         255..=287 - n      the same pattern 128 bits on
//! ```
//!
//! What has no ports has its two addresses in the same place, so an outside key that is blind to addresses gives it hash 0:
//! entry 0, which serves the lowest ports otherwise, where there is no dynamic mapping. [`spare_worker`] says whose it is.
//! Where a device can leave the addresses of TCP and UDP out by itself, [`Portless::ByAddress`] spreads the rest.
//!
//! IPv6 shares the key, but not without rest: on inside ports the first 32 bits of the source (a constant of the provider)
//! move the index, on outside ports bits 80 to 79 + n of a remote's address do. Such packets are handed off.

use super::Sharding;
use crate::types::WorkerId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Index bits that count at most: a redirection table of 2048. Larger ones repeat it.
pub const FINEST: u32 = 11;
/// Index bits at least: a smaller table is no use.
pub const COARSEST: u32 = 6;
/// Index bits of the 128 blocks of 512 ports.
pub const PORT_BITS: u32 = 7;
/// The one key bit that gives the top bits of the destination port.
const PORT_KEY_BIT: usize = 111;
/// The key's first bit that no IPv4 input reaches.
const IPV6_FIRST: usize = 127;

/// How finely ownership is cut: no finer than the coarsest redirection table that is to follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grain {
    /// Inside addresses are dealt out in 2^this parts; [`COARSEST`] to [`FINEST`].
    pub inside_bits: u32,
    /// Outside ports are dealt out in 2^this blocks; [`COARSEST`] to [`PORT_BITS`].
    pub port_bits: u32,
}

impl Default for Grain {
    fn default() -> Self {
        Self { inside_bits: FINEST, port_bits: PORT_BITS }
    }
}

impl Grain {
    /// What inside and outside tables of these sizes can follow. Sizes that [`index_bits`] refuses are not looked at.
    #[must_use]
    pub fn for_tables(inside: impl IntoIterator<Item = usize>, outside: impl IntoIterator<Item = usize>) -> Self {
        let finest = Self::default();
        let least =
            |sizes: &mut dyn Iterator<Item = usize>, most: u32| sizes.filter_map(index_bits).fold(most, u32::min);
        Self {
            inside_bits: least(&mut inside.into_iter(), finest.inside_bits),
            port_bits: least(&mut outside.into_iter(), finest.port_bits),
        }
    }

    /// Within what this module can do.
    pub(super) fn sane(self) -> Self {
        Self {
            inside_bits: self.inside_bits.clamp(COARSEST, FINEST),
            port_bits: self.port_bits.clamp(COARSEST, PORT_BITS),
        }
    }
}

/// How many hash bits index a redirection table that RSS by key can use; `None` for one that it cannot: its size is no
/// power of two, or below 64.
#[must_use]
pub fn index_bits(table: usize) -> Option<u32> {
    (table.is_power_of_two() && table >= 1 << COARSEST).then(|| table.ilog2())
}

/// What an outside key does with packets that have no ports: ESP, GRE, ICMP, fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portless {
    /// All of them get hash 0. The only way with one key for everything.
    Entry0,
    /// They are mixed by their addresses. The device must leave the addresses of TCP and UDP out by itself.
    ByAddress {
        /// Secret that the mixing bits come from.
        seed: u64,
    },
}

/// The shortest key, bytes: with less, the input would not be covered.
pub const SHORTEST_KEY: usize = 40;

/// Key of an outside port, of `len` bytes (at least [`SHORTEST_KEY`]).
#[must_use]
pub fn outside_key(len: usize, seed: u64, grain: Grain, portless: Portless) -> Vec<u8> {
    let grain = grain.sane();
    let mut key = vec![0; len];
    set(&mut key, PORT_KEY_BIT);
    for at in ipv6_bits(seed, grain.inside_bits) {
        set(&mut key, at + 128);
    }
    if let Portless::ByAddress { seed } = portless {
        // Up to what the destination port's first bit reaches with the finest table.
        for at in random_bits(seed ^ 0x006f_7574, 80 + 32 - FINEST as usize) {
            set(&mut key, at);
        }
    }
    key
}

/// Key of an inside port, of `len` bytes (at least [`SHORTEST_KEY`]): mixes the source address alone, as
/// [`Sharding::of_inside`] does with the same seed and grain.
#[must_use]
pub fn inside_key(len: usize, seed: u64, grain: Grain) -> Vec<u8> {
    let grain = grain.sane();
    let mut key = vec![0; len];
    // A destination's first bit would begin at bit 64 - n of the key.
    let last = 63 - grain.inside_bits as usize;
    set(&mut key, last);
    for at in random_bits(seed, last).into_iter().chain(ipv6_bits(seed, grain.inside_bits)) {
        set(&mut key, at);
    }
    key
}

/// Bits that mix the last 26 of an IPv6 source address with `n` index bits.
fn ipv6_bits(seed: u64, n: u32) -> Vec<usize> {
    let last = 159 - n as usize;
    let random = random_bits(seed ^ 0x0069_7036, last - IPV6_FIRST);
    random.into_iter().map(|at| at + IPV6_FIRST).chain([last]).collect()
}

/// About half of the numbers below `below`, as the secret wants them.
fn random_bits(seed: u64, below: usize) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x746f_6570_6c69_747a);
    (0..below).filter(|_| rng.next_u32() & 1 == 1).collect()
}

fn set(key: &mut [u8], bit: usize) {
    if let Some(byte) = key.get_mut(bit / 8) {
        *byte |= 0x80 >> (bit % 8);
    }
}

/// The Toeplitz hash of bytes. A key that is too short counts as zeros beyond its end.
#[must_use]
pub fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
    let bit = |bytes: &[u8], at: usize| bytes.get(at / 8).is_some_and(|b| b << (at % 8) & 0x80 != 0);
    let window = |from: usize| (from..from + 32).fold(0u32, |w, at| w << 1 | u32::from(bit(key, at)));
    (0..input.len() * 8).filter(|&i| bit(input, i)).fold(0, |hash, i| hash ^ window(i))
}

/// The worker of each entry of an inside port's redirection table of that size; `None` where [`index_bits`] says so.
#[must_use]
pub fn inside_table(sharding: &Sharding, size: usize) -> Option<Vec<WorkerId>> {
    index_bits(size)?;
    Some((0u32..).take(size).map(|entry| sharding.of_inside_entry(entry)).collect())
}

/// The same for an outside port. Entry 0, where all that has no ports ends up, is `spare`'s.
#[must_use]
pub fn outside_table(sharding: &Sharding, size: usize, spare: WorkerId) -> Option<Vec<WorkerId>> {
    let bits = index_bits(size)?;
    let of = |entry: u32| if entry == 0 { spare } else { sharding.of_port(first_port(entry, bits)) };
    Some((0u32..).take(size).map(of).collect())
}

/// The first of the destination ports that an outside key brings to an entry of a table with so many index bits.
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "the low half is meant: 16 bits of the hash are the port's")]
pub const fn first_port(entry: u32, bits: u32) -> u16 {
    let low = if bits >= 16 { entry as u16 } else { entry as u16 & ((1 << bits) - 1) };
    low.reverse_bits()
}

/// Whom entry 0 of an outside port is given: who has the fewest ports, and so capacity to spare; the next one for the
/// next outside port, so that they do not all load the same.
#[must_use]
pub fn spare_worker(sharding: &Sharding, nth_outside_port: usize) -> WorkerId {
    let mut workers: Vec<_> = (0..sharding.workers()).map(WorkerId).collect();
    // Stable, so of equals the last comes first: the first worker often shares its CPU with the control thread.
    workers.reverse();
    workers.sort_by_key(|&w| sharding.blocks().filter(|&owner| owner == w).count());
    workers.get(nth_outside_port % workers.len().max(1)).copied().unwrap_or(WorkerId(0))
}

/// The inside hash as software computes it, byte by byte: the index bits of each address byte, the first one lowest, as
/// [`first_port`] counts them.
#[derive(Clone, Debug)]
pub(super) struct AddressHash {
    tables: Box<[[u16; 256]; 4]>,
}

impl AddressHash {
    pub(super) fn new(seed: u64, grain: Grain) -> Self {
        let key = inside_key(SHORTEST_KEY, seed, grain);
        let mut tables = Box::new([[0; 256]; 4]);
        for (place, table) in tables.iter_mut().enumerate() {
            for (value, index) in (0u8..=255).zip(table.iter_mut()) {
                let mut input = [0; 4];
                if let Some(byte) = input.get_mut(place) {
                    *byte = value;
                }
                *index = reversed(toeplitz(&key, &input), grain.sane().inside_bits);
            }
        }
        Self { tables }
    }

    /// Below 2^[`Grain::inside_bits`].
    #[inline]
    pub(super) fn index(&self, addr: u32) -> usize {
        let [t0, t1, t2, t3] = &*self.tables;
        let [a, b, c, d] = addr.to_be_bytes();
        let of = |table: &[u16; 256], byte: u8| table.get(usize::from(byte)).copied().unwrap_or(0);
        usize::from(of(t0, a) ^ of(t1, b) ^ of(t2, c) ^ of(t3, d))
    }
}

/// The low `bits` of a hash, the lowest on top: neighbouring addresses differ in the top bits of a NIC's index, and so in
/// the low ones of this.
#[allow(clippy::cast_possible_truncation, reason = "at most 16 bits are left")]
pub(super) const fn reversed(hash: u32, bits: u32) -> u16 {
    (hash.reverse_bits() >> (32 - bits)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    const SIZES: [usize; 6] = [64, 128, 256, 512, 1024, 2048];

    fn input4(src: Ipv4Addr, dst: Ipv4Addr, ports: Option<(u16, u16)>) -> Vec<u8> {
        let mut input = [src.octets(), dst.octets()].concat();
        if let Some((from, to)) = ports {
            input.extend([from.to_be_bytes(), to.to_be_bytes()].concat());
        }
        input
    }

    fn entry(key: &[u8], input: &[u8], size: usize) -> usize {
        toeplitz(key, input) as usize % size
    }

    // The verification suite that Microsoft publishes with its definition of RSS.
    #[test]
    fn the_hash_is_the_one_that_nics_compute() {
        let key: Vec<u8> = [
            0x6d5a_56da_255b_0ec2_u64,
            0x4167_253d_43a3_8fb0,
            0xd0ca_2bcb_ae7b_30b4,
            0x77cb_2da3_8030_f20c,
            0x6a42_b73b_beac_01fa,
        ]
        .map(u64::to_be_bytes)
        .concat();
        let (src, dst) = (Ipv4Addr::new(66, 9, 149, 187), Ipv4Addr::new(161, 142, 100, 80));
        assert_eq!(toeplitz(&key, &input4(src, dst, None)), 0x323e_8fc2);
        assert_eq!(toeplitz(&key, &input4(src, dst, Some((2794, 1766)))), 0x51cc_c178);
    }

    #[test]
    fn every_port_arrives_at_its_owner_whatever_the_addresses_and_the_table() {
        for size in SIZES {
            let grain = Grain::for_tables([], [size]);
            let key = outside_key(40, 5, grain, Portless::Entry0);
            let ways = [1u8, 2, 3, 7, 8, 48, 64].map(|workers| {
                let sharding = Sharding::with_grain(workers, 5, grain);
                let table = outside_table(&sharding, size, WorkerId(0)).unwrap();
                (sharding, table)
            });
            // The low ports are dealt finer than a table can follow.
            for port in 1024..=65_535u16 {
                let n = u32::from(port).wrapping_mul(0x9e37_79b1);
                let (src, dst) = (Ipv4Addr::from_bits(n), Ipv4Addr::from_bits(n.rotate_left(9) ^ 0x5555));
                let at = entry(&key, &input4(src, dst, Some((n as u16, port))), size);
                for (sharding, table) in &ways {
                    assert_eq!(table[at], sharding.of_port(port), "{size} entries, {sharding:?}, port {port}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_inside_address_arrives_at_its_owner_whatever_else(
            src: u32, dst: u32, ports: Option<(u16, u16)>, seed: u64, workers in 1u8..=64, len in 40usize..=52,
            size in (6u32..=13).prop_map(|bits| 1usize << bits), coarser in (6u32..=11).prop_map(|bits| 1usize << bits),
        ) {
            // Another port's table may be coarser.
            let grain = Grain::for_tables([size, coarser], []);
            let sharding = Sharding::with_grain(workers, seed, grain);
            let key = inside_key(len, seed, grain);
            let table = inside_table(&sharding, size).unwrap();
            let (src, dst) = (Ipv4Addr::from_bits(src), Ipv4Addr::from_bits(dst));
            prop_assert_eq!(table[entry(&key, &input4(src, dst, ports), size)], sharding.of_inside(src));
        }

        #[test]
        fn what_has_no_ports_gets_entry_0_or_is_spread_and_ports_stay_where_they_are(
            src: u32, dst: u32, port in 1024u16.., seed: u64, size in (6u32..=11).prop_map(|bits| 1usize << bits),
        ) {
            let grain = Grain::for_tables([], [size]);
            let (src, dst) = (Ipv4Addr::from_bits(src), Ipv4Addr::from_bits(dst));
            let blind = outside_key(40, seed, grain, Portless::Entry0);
            prop_assert_eq!(toeplitz(&blind, &input4(src, dst, None)), 0);
            // A device that leaves the addresses and the source port out has zeros in their place.
            let none = Ipv4Addr::UNSPECIFIED;
            let spread = outside_key(52, seed, grain, Portless::ByAddress { seed });
            let masked = input4(none, none, Some((0, port)));
            prop_assert_eq!(entry(&spread, &masked, size), entry(&blind, &masked, size));
        }
    }

    #[test]
    fn a_block_of_neighbouring_addresses_reaches_every_entry_once() {
        for size in SIZES {
            for seed in 0..50u64 {
                let grain = Grain::for_tables([size], []);
                let key = inside_key(40, seed, grain);
                let mut seen = vec![0; size];
                for host in 0..size as u32 {
                    let src = Ipv4Addr::from_bits(0x0a14_0000 + host);
                    seen[entry(&key, &input4(src, Ipv4Addr::BROADCAST, None), size)] += 1;
                }
                assert!(seen.iter().all(|&n| n == 1), "{size} entries, seed {seed}");
            }
        }
    }

    #[test]
    fn portless_packets_are_spread_where_the_device_can() {
        let key = outside_key(52, 3, Grain::default(), Portless::ByAddress { seed: 3 });
        let entries: std::collections::HashSet<_> = (0..1000u32)
            .map(|n| {
                entry(&key, &input4(Ipv4Addr::from_bits(0xc633_0000 + n), Ipv4Addr::new(203, 0, 113, 2), None), 128)
            })
            .collect();
        assert!(entries.len() > 100, "{}", entries.len());
    }

    fn input6(src: u128, dst: u128, ports: (u16, u16)) -> Vec<u8> {
        [&src.to_be_bytes()[..], &dst.to_be_bytes(), &ports.0.to_be_bytes(), &ports.1.to_be_bytes()].concat()
    }

    #[test]
    fn an_ipv6_host_has_one_entry_both_ways_but_for_what_the_module_says() {
        let prefix_bits = u128::MAX << 96;
        let mut rng = 1u128;
        let mut next = || {
            rng = rng.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(1);
            rng ^ rng.rotate_left(64)
        };
        for size in SIZES {
            let grain = Grain::for_tables([size], [size]);
            // Index bits that both keys agree on; a coarser grain inside is the outside's too.
            let n = grain.inside_bits;
            let (inside, outside) = (inside_key(40, 9, grain), outside_key(40, 9, grain, Portless::Entry0));
            let mut hit = std::collections::HashSet::new();
            for _ in 0..2000 {
                let host = next() & !prefix_bits;
                let remote = next() & !(((1u128 << n) - 1) << (128 - 80 - n));
                let (a, b) = (next() as u16, next() as u16);
                let there = entry(&inside, &input6(host, next(), (a, b)), size);
                let back = entry(&outside, &input6(remote, host, (b, a)), size);
                assert_eq!(there, back, "{size} entries");
                hit.insert(there);
            }
            assert!(hit.len() * 10 > size * 5, "{size} entries: {}", hit.len());
        }
    }

    #[test]
    fn entry_0_goes_to_who_has_the_fewest_ports_and_the_next_port_to_the_next() {
        let s = Sharding::new(3, 1); // 43, 43 and 42 blocks.
        assert_eq!([0, 1, 2, 3].map(|port| spare_worker(&s, port).0), [2, 1, 0, 2]);
        let table = outside_table(&s, 128, WorkerId(1)).unwrap();
        assert_eq!(table[0], WorkerId(1));
        assert_eq!(table[1], s.of_port(64 * 512), "the index's lowest bit is the port's first");
    }

    #[test]
    fn tables_that_cannot_be_used_are_refused() {
        let s = Sharding::new(2, 1);
        for size in [0, 1, 32, 100, 127, 129] {
            assert_eq!((inside_table(&s, size), outside_table(&s, size, WorkerId(0))), (None, None), "{size}");
        }
        assert_eq!(Grain::for_tables([0, 512, 100], [4096]), Grain { inside_bits: 9, port_bits: 7 });
        assert_eq!(Grain::for_tables([], [64]), Grain { inside_bits: 11, port_bits: 6 });
    }
}
