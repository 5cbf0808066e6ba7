//! Who owns what: the one pure function behind steering, port allocation, RSS keys and flow rules.
//!
//! Two rules, and what has ports follows from them:
//!
//! - what an inside host sends is its subscriber's: [`Sharding::of_inside`] of the source address;
//! - what comes from outside is the destination port's: [`Sharding::of_port`], and a worker allocates only ports that
//!   it owns. The space is cut into 128 blocks of 512 ports, the grain that a NIC's redirection table can follow.
//!   Ports below 1024 are cut finer, so that every worker has some for hosts that use privileged ports.
//!
//! What has no ports goes by what it has: a tunnel's data by its identifier ([`Sharding::of_tunnel_id`]), everything about
//! a server's tunnels by the server's address ([`Sharding::of_remote`]).
//!
//! Forwards and one-to-one addresses lead to an inside host, so they are that host's subscriber's.

use super::steering::{AddressHash, FINEST, Grain, PORT_BITS, reversed};
use crate::types::WorkerId;
use std::net::Ipv4Addr;

/// Ports in a block.
const BLOCK: u16 = 512;
/// Ports below this are dealt out in runs of [`LOW_RUN`].
const LOW: u16 = 1024;
const LOW_RUN: u16 = 8;

/// See the module.
#[derive(Clone, Debug)]
pub struct Sharding {
    workers: u8,
    seed: u64,
    grain: Grain,
    /// Owner of each block of 512 ports.
    blocks: [WorkerId; 128],
    /// Of an inside address: a place in the next. A NIC computes it likewise.
    hash: AddressHash,
    /// Owner of each part of the inside addresses.
    parts: Box<[WorkerId; 1 << FINEST]>,
}

impl Sharding {
    /// The bits of a tunnel's identifier that say whose it is: as many as there are blocks.
    pub const TUNNEL_ID_MASK: u32 = 0x7f;

    /// Even shares for `workers` (at least one; at most [`crate::types::MAX_WORKERS`] are used).
    #[must_use]
    pub fn new(workers: u8, seed: u64) -> Self {
        Self::with_grain(workers, seed, Grain::default())
    }

    /// The same, cut so coarsely that redirection tables can follow.
    #[must_use]
    pub fn with_grain(workers: u8, seed: u64, grain: Grain) -> Self {
        let workers = workers.clamp(1, 64);
        let grain = grain.sane();
        let mut blocks = [WorkerId(0); 128];
        for (b, n) in blocks.iter_mut().zip(0u8..) {
            *b = WorkerId((n >> (PORT_BITS - grain.port_bits)) % workers);
        }
        let mut parts = Box::new([WorkerId(0); 1 << FINEST]);
        for (p, worker) in parts.iter_mut().zip((0..workers).cycle()) {
            *p = WorkerId(worker);
        }
        Self { workers, seed, grain, blocks, hash: AddressHash::new(seed, grain), parts }
    }

    /// How finely it is cut.
    #[must_use]
    pub const fn grain(&self) -> Grain {
        self.grain
    }

    /// The owner of each of the 128 blocks of 512 ports.
    pub fn blocks(&self) -> impl Iterator<Item = WorkerId> + '_ {
        self.blocks.iter().copied()
    }

    /// How many workers share.
    #[inline]
    #[must_use]
    pub const fn workers(&self) -> u8 {
        self.workers
    }

    /// Owner of a subscriber.
    #[inline]
    #[must_use]
    pub fn of_inside(&self, addr: Ipv4Addr) -> WorkerId {
        self.part(self.hash.index(addr.to_bits()))
    }

    /// Owner of the subscribers that a NIC's inside key brings to this entry of its redirection table.
    #[must_use]
    pub fn of_inside_entry(&self, entry: u32) -> WorkerId {
        self.part(usize::from(reversed(entry, self.grain.inside_bits)))
    }

    #[inline]
    fn part(&self, index: usize) -> WorkerId {
        self.parts.get(index).copied().unwrap_or(WorkerId(0))
    }

    /// Owner of an outside port or query identifier, on any outside address.
    #[inline]
    #[must_use]
    pub fn of_port(&self, port: u16) -> WorkerId {
        if port < LOW {
            #[allow(clippy::cast_possible_truncation, reason = "below 128")]
            return WorkerId((port / LOW_RUN) as u8 % self.workers);
        }
        self.blocks.get(usize::from(port / BLOCK)).copied().unwrap_or(WorkerId(0))
    }

    /// Owner of a tunnel's data, in either direction, by the identifier that its packets bear: the SPI of ESP, the session
    /// identifier of L2TPv3 over IP. Its low bits ([`Sharding::TUNNEL_ID_MASK`]) choose the block, so that a NIC's rules
    /// need a mask and 128 values at most, the same for all servers and both sides.
    #[inline]
    #[must_use]
    pub fn of_tunnel_id(&self, id: u32) -> WorkerId {
        self.blocks.get((id & Self::TUNNEL_ID_MASK) as usize).copied().unwrap_or(WorkerId(0))
    }

    /// Home of what has no port of ours in it, in both directions: tunnels of ESP and L2TPv3 over IP (the slow path, and
    /// L2TPv3's control connection), IKE, other protocols. All inside hosts' tunnels with one server meet at one worker,
    /// which can tell them apart.
    #[inline]
    #[must_use]
    pub const fn of_remote(&self, addr: Ipv4Addr) -> WorkerId {
        self.spread((addr.to_bits() as u64) << 8 | 0x52)
    }

    /// Where the fragments of a datagram meet.
    #[inline]
    #[must_use]
    pub const fn of_datagram(&self, src: Ipv4Addr, dst: Ipv4Addr, id: u16, proto: u8) -> WorkerId {
        let addrs = (src.to_bits() as u64) << 32 | dst.to_bits() as u64;
        self.spread(addrs ^ ((id as u64) << 8 | proto as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// A keyed hash onto the workers.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the product's high half is below the number of workers")]
    const fn spread(&self, x: u64) -> WorkerId {
        let p = (x ^ self.seed) as u128 * 0xd6e8_feb8_6659_fd93_u128;
        let h = (p as u64) ^ (p >> 64) as u64;
        WorkerId((((h >> 32) * self.workers as u64) >> 32) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_owns_its_share_of_ports_high_and_low() {
        for workers in [1u8, 2, 3, 8, 64] {
            let s = Sharding::new(workers, 1);
            for range in [1..1024u16, 1024..65_535] {
                let mut owned = vec![0usize; usize::from(workers)];
                for p in range.clone() {
                    owned[s.of_port(p).index()] += 1;
                }
                let fair = range.len() / usize::from(workers);
                assert!(owned.iter().all(|&n| n * 2 >= fair && n <= fair * 2 + 16), "{workers} workers: {owned:?}");
            }
        }
    }

    #[test]
    fn identifiers_of_tunnels_spread_evenly_whether_counted_up_or_chosen_by_chance() {
        for workers in [1u8, 2, 3, 8, 64] {
            let s = Sharding::new(workers, 1);
            let counted = 1..=12_800u32;
            let by_chance = (0..12_800u32).map(|n| n.wrapping_mul(0x9e37_79b1) ^ n.rotate_left(13));
            for ids in [counted.collect::<Vec<_>>(), by_chance.collect()] {
                let mut owned = vec![0usize; usize::from(workers)];
                for id in ids {
                    owned[s.of_tunnel_id(id).index()] += 1;
                }
                let fair = 12_800 / usize::from(workers);
                assert!(owned.iter().all(|&n| n * 5 >= fair * 4 && n * 4 <= fair * 5), "{workers} workers: {owned:?}");
            }
        }
    }

    #[test]
    fn subscribers_and_datagrams_spread_evenly() {
        let s = Sharding::new(8, 99);
        let mut subscribers = [0; 8];
        let mut datagrams = [0; 8];
        for n in 0..8000u32 {
            let a = Ipv4Addr::from_bits(0x0a00_0000 + n);
            subscribers[s.of_inside(a).index()] += 1;
            datagrams[s.of_datagram(a, Ipv4Addr::new(1, 1, 1, 1), (n % 7) as u16, 17).index()] += 1;
        }
        assert!(subscribers.iter().chain(&datagrams).all(|n| (700..1300).contains(n)), "{subscribers:?} {datagrams:?}");
    }
}
