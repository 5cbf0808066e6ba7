//! Outside ports of one worker's share: which are taken, and the choice of a free one.
//!
//! A bitmap for each pool address and protocol class, over the blocks of 512 ports that the worker owns. Ports that it
//! does not own, that the configuration excludes or that a forward takes are marked taken once and for all, so a free
//! bit is a port that may be given. A choice looks at 8 words in each block at most, whatever the fill, and is random
//! among the free ports [RFC 6056; RFC 7857 §9; RFC 6888 REQ-15]. Query identifiers are handled as ports are.
//!
//! Costs 24 KiB an address, divided among the workers. Each address has its own piece, so that a reload moves those of
//! addresses that stay, whatever their new numbers, and makes new ones on control's thread ([`Ports::successor`]).

use crate::policy::Rules;
use crate::types::{Proto, WorkerId};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

const WORDS: usize = 8;
const CLASSES: usize = 3;
/// Blocks 0 and 1: ports below 1024, of which each worker owns some.
const LOW_BLOCKS: usize = 2;

/// The bitmap of a protocol: ports of different protocols are different things.
#[must_use]
pub const fn class_of(proto: Proto) -> Option<usize> {
    match proto {
        Proto::TCP => Some(0),
        Proto::UDP => Some(1),
        Proto::ICMP => Some(2),
        _ => None,
    }
}

#[derive(Clone)]
struct Block {
    words: [u64; WORDS],
    free: u16,
}

impl Block {
    fn counted(words: [u64; WORDS]) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "at most 512")]
        let free = words.iter().map(|w| w.count_zeros() as u16).sum();
        Self { words, free }
    }
}

/// What is wanted of a port.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// The inside port: taken as it is where that is possible and wanted; below 1024 or not is kept in any case
    /// [4787 REQ-3a].
    pub port: u16,
    /// Try `port` itself first.
    pub preserve: bool,
    /// Even stays even and odd stays odd [4787 REQ-4].
    pub parity: bool,
}

/// The blocks of an address: `[class][block]`, flattened.
type Address = Box<[Block]>;

/// See the module.
pub struct Ports {
    /// By the address's number in the pool, those that drain behind it.
    addresses: Box<[Address]>,
    /// Block numbers that this worker owns, 0 and 1 first.
    owned: Box<[u8]>,
    /// Block number → place in `owned`.
    place: [Option<u8>; 128],
    rng: ChaCha8Rng,
}

impl Ports {
    /// All owned ports of the pool, free but for those of forwards.
    #[must_use]
    pub fn new(rules: &Rules, worker: WorkerId) -> Self {
        let mut owned: Vec<u8> = vec![0, 1];
        owned.extend((2u8..128).filter(|b| rules.sharding.of_port(u16::from(*b) * 512) == worker));
        let mut place = [None; 128];
        for (i, b) in (0u8..).zip(&owned) {
            if let Some(p) = place.get_mut(usize::from(*b)) {
                *p = Some(i);
            }
        }
        let template: Vec<Block> = owned.iter().map(|&b| Self::template(rules, worker, b)).collect();
        let address: Address = std::iter::repeat_n(template, CLASSES).flatten().collect();
        let addresses = std::iter::repeat_n(address, rules.pool_total() as usize).collect();
        let mut seed = [0u8; 32];
        for (s, b) in seed.iter_mut().zip(rules.policy.seed.to_le_bytes().into_iter().chain([worker.0])) {
            *s = b;
        }
        let mut ports = Self { addresses, owned: owned.into_boxed_slice(), place, rng: ChaCha8Rng::from_seed(seed) };
        for (proto, outside) in rules.forwarded() {
            if let Some(number) = rules.pool_number(outside.addr) {
                ports.take(number, proto, outside.port);
            }
        }
        ports
    }

    fn template(rules: &Rules, worker: WorkerId, block: u8) -> Block {
        let first = u16::from(block) * 512;
        let mut words = [u64::MAX; WORDS];
        for (w, base) in words.iter_mut().zip((first..).step_by(64)) {
            for bit in 0..64 {
                let port = base + bit;
                let in_range = port != 0 && (port < 1024 || rules.policy.port_range.contains(&port));
                if in_range && rules.sharding.of_port(port) == worker {
                    *w &= !(1 << bit);
                }
            }
        }
        Block::counted(words)
    }

    /// Bytes for a pool of `addresses`, over all workers.
    #[must_use]
    pub const fn memory(addresses: usize, workers: usize) -> usize {
        addresses * CLASSES * (126 + LOW_BLOCKS * workers) * size_of::<Block>()
    }

    fn block_mut(&mut self, address: u32, class: usize, port: u16) -> Option<&mut Block> {
        let place = (*self.place.get(usize::from(port / 512))?)?;
        let at = class * self.owned.len() + usize::from(place);
        self.addresses.get_mut(address as usize)?.get_mut(at)
    }

    /// What takes the place of a worker's ports when `old` rules give way to `new` ones with another pool: blocks for
    /// addresses that are new, and nothing yet for those that stay, which [`Ports::succeed`] brings.
    #[must_use]
    pub fn successor(old: &Rules, new: &Rules, worker: WorkerId) -> Successor {
        let mut ports = Self::new(new, worker);
        let mut moves = Vec::new();
        for (number, blocks) in (0u32..).zip(&mut ports.addresses) {
            if let Some(before) = new.pool_address(number).and_then(|addr| old.pool_number(addr)) {
                moves.push((before, number));
                *blocks = Box::default();
            }
        }
        Successor { ports, moves: moves.into_boxed_slice() }
    }

    /// Becomes the successor, which becomes what is left over. Moves pointers, one an address; allocates and frees nothing.
    pub fn succeed(&mut self, successor: &mut Successor) {
        for &(before, after) in &successor.moves {
            if let (Some(a), Some(b)) =
                (self.addresses.get_mut(before as usize), successor.ports.addresses.get_mut(after as usize))
            {
                std::mem::swap(a, b);
            }
        }
        std::mem::swap(&mut self.addresses, &mut successor.ports.addresses);
    }

    /// Fetches what knows whether a port is free.
    #[inline]
    pub(super) fn fetch(&self, address: u32, proto: Proto, port: u16) {
        let Some(class) = class_of(proto) else { return };
        let Some(&Some(place)) = self.place.get(usize::from(port / 512)) else { return };
        let at = class * self.owned.len() + usize::from(place);
        crate::prefetch::read(self.addresses.get(address as usize).and_then(|a| a.get(at)));
    }

    /// Takes a given port if it is free and ours.
    pub fn take(&mut self, address: u32, proto: Proto, port: u16) -> bool {
        let Some(class) = class_of(proto) else { return false };
        let Some(block) = self.block_mut(address, class, port) else { return false };
        let Some(word) = block.words.get_mut(usize::from(port % 512 / 64)) else { return false };
        let bit = 1u64 << (port % 64);
        if *word & bit != 0 {
            return false;
        }
        *word |= bit;
        block.free -= 1;
        true
    }

    /// Gives a port back.
    pub fn give_back(&mut self, address: u32, proto: Proto, port: u16) {
        let Some(class) = class_of(proto) else { return };
        let Some(block) = self.block_mut(address, class, port) else { return };
        let Some(word) = block.words.get_mut(usize::from(port % 512 / 64)) else { return };
        let bit = 1u64 << (port % 64);
        if *word & bit != 0 {
            *word &= !bit;
            block.free += 1;
        }
    }

    /// Takes a port as wished, or as near to it as there is.
    pub fn choose(&mut self, address: u32, proto: Proto, wish: Wish) -> Option<u16> {
        let class = class_of(proto)?;
        if wish.preserve && wish.port != 0 && self.take(address, proto, wish.port) {
            return Some(wish.port);
        }
        const EVEN: u64 = 0x5555_5555_5555_5555;
        let mask = match (wish.parity, wish.port & 1) {
            (false, _) => u64::MAX,
            (true, 0) => EVEN,
            (true, _) => !EVEN,
        };
        let high = LOW_BLOCKS..self.owned.len();
        if wish.port < 1024 && wish.port != 0 {
            if let Some(p) = self.random(address, class, 0..LOW_BLOCKS, mask) {
                return Some(p);
            }
            if let Some(p) = self.random(address, class, 0..LOW_BLOCKS, u64::MAX) {
                return Some(p);
            }
        }
        self.random(address, class, high.clone(), mask).or_else(|| self.random(address, class, high, u64::MAX))
    }

    /// A free port in a range of our blocks, under a mask of bits.
    fn random(&mut self, address: u32, class: usize, blocks: std::ops::Range<usize>, mask: u64) -> Option<u16> {
        let n = blocks.len();
        if n == 0 {
            return None;
        }
        let r = self.rng.next_u64();
        #[allow(clippy::cast_possible_truncation, reason = "bits of a random number")]
        let (first_block, first_word, turn) = ((r >> 32) as usize % n, (r >> 8) as usize % WORDS, r as u32 % 64);
        let base = class * self.owned.len();
        let of_address = self.addresses.get_mut(address as usize)?;
        for i in 0..n {
            let place = blocks.start + (first_block + i) % n;
            let number = *self.owned.get(place)?;
            let block = of_address.get_mut(base + place)?;
            if block.free == 0 {
                continue;
            }
            for j in 0..WORDS {
                let w = (first_word + j) % WORDS;
                let word = block.words.get_mut(w)?;
                let free = !*word & mask;
                if free == 0 {
                    continue;
                }
                let bit = (free.rotate_right(turn).trailing_zeros() + turn) % 64;
                *word |= 1 << bit;
                block.free -= 1;
                #[allow(clippy::cast_possible_truncation, reason = "below 512")]
                return Some(u16::from(number) * 512 + (w * 64) as u16 + bit as u16);
            }
        }
        None
    }

    /// A random number for other choices of the slow path.
    pub fn random_u32(&mut self) -> u32 {
        self.rng.next_u32()
    }
}

/// Made by [`Ports::successor`], for [`Ports::succeed`].
pub struct Successor {
    ports: Ports,
    /// From number to number.
    moves: Box<[(u32, u32)]>,
}

impl std::fmt::Debug for Successor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Successor").field("moves", &self.moves.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use std::collections::HashSet;
    use std::net::Ipv4Addr;

    fn ports(workers: u8, worker: u8) -> (Rules, Ports) {
        let a = Ipv4Addr::new(203, 0, 113, 2);
        let rules = Rules::new(Policy { pool: vec![a..=a], seed: 5, ..Policy::default() }, workers);
        let p = Ports::new(&rules, WorkerId(worker));
        (rules, p)
    }

    const ANY: Wish = Wish { port: 40_000, preserve: false, parity: false };

    #[test]
    fn every_owned_port_is_given_once_and_then_none() {
        for (workers, worker) in [(1, 0), (3, 2)] {
            let (rules, mut p) = ports(workers, worker);
            let mut seen = HashSet::new();
            while let Some(port) = p.choose(0, Proto::UDP, ANY) {
                assert!(seen.insert(port), "{port} given twice");
                assert!(port >= 1024 && rules.sharding.of_port(port) == WorkerId(worker));
            }
            let owned = (1024..=65_535u16).filter(|&q| rules.sharding.of_port(q) == WorkerId(worker)).count();
            assert_eq!(seen.len(), owned);
            p.give_back(0, Proto::UDP, *seen.iter().next().unwrap());
            assert_eq!(p.choose(0, Proto::UDP, ANY), seen.iter().next().copied());
        }
    }

    #[test]
    fn addresses_that_stay_keep_what_is_taken_under_their_new_numbers() {
        let range = |first: u8, last: u8| Ipv4Addr::new(203, 0, 113, first)..=Ipv4Addr::new(203, 0, 113, last);
        let rules =
            |pool: Vec<_>, draining: Vec<_>| Rules::new(Policy { pool, draining, seed: 5, ..Policy::default() }, 1);
        let old = rules(vec![range(2, 4)], vec![]);
        let new = rules(vec![range(9, 9), range(3, 4)], vec![range(2, 2)]);
        let mut p = Ports::new(&old, WorkerId(0));
        for (number, port) in [(0, 2000), (1, 3000), (2, 4000)] {
            assert!(p.take(number, Proto::UDP, port));
        }
        p.succeed(&mut Ports::successor(&old, &new, WorkerId(0)));
        let number = |host| new.pool_number(Ipv4Addr::new(203, 0, 113, host)).unwrap();
        assert_eq!([9, 3, 4, 2].map(number), [0, 1, 2, 3]);
        for (host, port) in [(2, 2000), (3, 3000), (4, 4000)] {
            assert!(!p.take(number(host), Proto::UDP, port), "{host} has forgotten {port}");
            assert!(p.take(number(host), Proto::UDP, port + 1));
        }
        assert!(p.take(number(9), Proto::UDP, 2000));
    }

    #[test]
    fn parity_and_range_class_are_kept() {
        let (_, mut p) = ports(1, 0);
        for want in [500u16, 501, 5000, 5001] {
            for _ in 0..100 {
                let got = p.choose(0, Proto::UDP, Wish { port: want, preserve: false, parity: true }).unwrap();
                assert_eq!(got % 2, want % 2);
                assert_eq!(got < 1024, want < 1024);
            }
        }
    }

    #[test]
    fn a_free_port_is_preserved_and_a_taken_one_replaced() {
        let (_, mut p) = ports(1, 0);
        let wish = Wish { port: 5000, preserve: true, parity: true };
        assert_eq!(p.choose(0, Proto::UDP, wish), Some(5000));
        assert_ne!(p.choose(0, Proto::UDP, wish), Some(5000));
        assert_eq!(p.choose(0, Proto::TCP, wish), Some(5000), "protocols do not share ports");
    }

    #[test]
    fn the_choice_shows_no_sequence() {
        let (_, mut p) = ports(1, 0);
        let got: Vec<i32> = (0..10_000).map(|_| i32::from(p.choose(0, Proto::UDP, ANY).unwrap())).collect();
        let near = got.windows(2).filter(|w| (w[1] - w[0]).abs() <= 4).count();
        assert!(near < 20, "{near} of 10,000 follow their predecessor closely");
        let ascending = got.windows(2).filter(|w| w[1] > w[0]).count();
        assert!((4700..5300).contains(&ascending), "{ascending}");
    }
}
