//! A hash index from 64-bit hashes to slots of a slab: one cache line a look-up in the usual case.
//!
//! Buckets of 64 bytes hold twelve 8-bit tags and twelve 32-bit slots. An entry whose home bucket is full goes to the
//! next one with room; each bucket counts the entries that passed over it, so that a miss ends at the first bucket
//! that nobody passed, and removal leaves no tombstones. The index knows no keys: the caller's closure confirms.
//! Hashes must be keyed ([`Hasher`]); an attacker who cannot predict them cannot aim at a bucket.
//!
//! Cost: a look-up touches 1 bucket (about 5 % touch 2 at 80 % fill), insertion and removal at most [`MAX_PROBES`].

use crate::types::{Endpoint, Key, Proto};
use std::net::Ipv4Addr;

/// Entries of a bucket.
const WAYS: usize = 12;
/// Where the tag array's spare bytes hold the count of entries that passed over (little endian).
const PASSED: usize = 12;
/// Buckets an entry may lie from home. At 80 % fill, 13 in a
/// million of 20 million random ones lay further than 15, and none further than 29.
const MAX_PROBES: usize = 32;
/// No slot.
pub const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Bucket {
    /// Twelve tags (0 is empty), then [`PASSED`]; sixteen bytes so that one vector compare sees all tags.
    tags: [u8; 16],
    slots: [u32; WAYS],
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    const EMPTY: Self = Self { tags: [0; 16], slots: [0; WAYS] };

    /// Bit i is set where tag i equals `tag`.
    #[inline(always)]
    fn matches(&self, tag: u8) -> u32 {
        crate::simd::equal(self.tags, tag) & ((1 << WAYS) - 1)
    }

    #[inline]
    const fn passed(&self) -> u16 {
        u16::from_le_bytes([self.tags[PASSED], self.tags[PASSED + 1]])
    }

    const fn set_passed(&mut self, n: u16) {
        [self.tags[PASSED], self.tags[PASSED + 1]] = n.to_le_bytes();
    }
}

/// No bucket within reach has room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// See the module.
pub struct Index {
    buckets: Box<[Bucket]>,
    len: usize,
}

impl Index {
    /// An index for `entries` at 80 % fill.
    #[must_use]
    pub fn new(entries: usize) -> Self {
        Self { buckets: crate::table::table(Bucket::EMPTY, Self::bucket_count(entries)), len: 0 }
    }

    /// Bytes that [`Index::new`] takes.
    #[must_use]
    pub const fn memory(entries: usize) -> usize {
        Self::bucket_count(entries) * size_of::<Bucket>()
    }

    const fn bucket_count(entries: usize) -> usize {
        entries * 5 / (WAYS * 4) + 2
    }

    /// Entries held.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is held.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "high half of the hash; the product's high half is below len")]
    fn home(&self, hash: u64) -> usize {
        (((hash >> 32) * self.buckets.len() as u64) >> 32) as usize
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "low byte of the hash")]
    const fn tag(hash: u64) -> u8 {
        let t = hash as u8;
        if t == 0 { 1 } else { t }
    }

    #[inline]
    const fn next(&self, at: usize) -> usize {
        if at + 1 == self.buckets.len() { 0 } else { at + 1 }
    }

    /// Brings the home bucket of `hash` towards the CPU.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        crate::prefetch::read(self.buckets.get(self.home(hash)));
    }

    /// The first slot in the home bucket whose tag fits, or [`NONE`]: what to prefetch next. Not confirmed.
    #[inline]
    #[must_use]
    pub fn candidate(&self, hash: u64) -> u32 {
        let Some(bucket) = self.buckets.get(self.home(hash)) else { return NONE };
        let mask = bucket.matches(Self::tag(hash));
        if mask == 0 {
            return NONE;
        }
        bucket.slots.get(mask.trailing_zeros() as usize).copied().unwrap_or(NONE)
    }

    /// The slot under `hash` that `confirm` accepts.
    #[inline]
    #[must_use]
    pub fn find(&self, hash: u64, mut confirm: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut at = self.home(hash);
        for _ in 0..MAX_PROBES {
            let bucket = self.buckets.get(at)?;
            let mut mask = bucket.matches(Self::tag(hash));
            while mask != 0 {
                let &slot = bucket.slots.get(mask.trailing_zeros() as usize)?;
                if confirm(slot) {
                    return Some(slot);
                }
                mask &= mask - 1;
            }
            if bucket.passed() == 0 {
                return None;
            }
            at = self.next(at);
        }
        None
    }

    /// Adds an entry; the same slot may stand under several hashes, and several slots under one.
    ///
    /// # Errors
    /// [`Full`]; the index is unchanged.
    pub fn insert(&mut self, hash: u64, slot: u32) -> Result<(), Full> {
        let home = self.home(hash);
        let mut at = home;
        for distance in 0..MAX_PROBES.min(self.buckets.len()) {
            let Some(bucket) = self.buckets.get_mut(at) else { return Err(Full) };
            let free = bucket.matches(0);
            if free != 0 {
                let way = free.trailing_zeros() as usize;
                if let (Some(t), Some(s)) = (bucket.tags.get_mut(way), bucket.slots.get_mut(way)) {
                    *t = Self::tag(hash);
                    *s = slot;
                }
                self.pass(home, distance, u16::saturating_add);
                self.len += 1;
                return Ok(());
            }
            at = self.next(at);
        }
        Err(Full)
    }

    /// Removes the entry of `slot` under `hash`; says whether there was one.
    pub fn remove(&mut self, hash: u64, slot: u32) -> bool {
        let home = self.home(hash);
        let mut at = home;
        for distance in 0..MAX_PROBES {
            let Some(bucket) = self.buckets.get_mut(at) else { return false };
            let mut mask = bucket.matches(Self::tag(hash));
            while mask != 0 {
                let way = mask.trailing_zeros() as usize;
                if bucket.slots.get(way) == Some(&slot) {
                    if let Some(t) = bucket.tags.get_mut(way) {
                        *t = 0;
                    }
                    self.pass(home, distance, u16::saturating_sub);
                    self.len -= 1;
                    return true;
                }
                mask &= mask - 1;
            }
            if bucket.passed() == 0 {
                return false;
            }
            at = self.next(at);
        }
        false
    }

    /// Changes the count of entries that passed over each of the first `distance` buckets from `home`.
    fn pass(&mut self, home: usize, distance: usize, change: impl Fn(u16, u16) -> u16) {
        let mut at = home;
        for _ in 0..distance {
            if let Some(b) = self.buckets.get_mut(at) {
                b.set_passed(change(b.passed(), 1));
            }
            at = self.next(at);
        }
    }
}

/// Keyed hashing of flow keys and endpoints: one 64×64→128-bit multiplication.
///
/// Not a cryptographic function, but its seeds are secret and an attacker never sees a hash, only (at best) timing.
#[derive(Clone, Copy)]
pub struct Hasher {
    a: u64,
    b: u64,
}

impl Hasher {
    /// From a secret.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        // Odd constants without structure (fractions of the square roots of 2 and 3) keep a zero seed usable.
        Self {
            a: mix(seed ^ 0x6a09_e667_f3bc_c909, 0x9e37_79b9_7f4a_7c15),
            b: mix(seed ^ 0xbb67_ae85_84ca_a73b, 0xbf58_476d_1ce4_e5b9),
        }
    }

    /// Of a flow's key.
    #[inline]
    #[must_use]
    pub fn key(&self, k: &Key) -> u64 {
        let addrs = u64::from(k.src.to_bits()) << 32 | u64::from(k.dst.to_bits());
        let rest = u64::from(k.ident) << 8 | u64::from(k.proto.0);
        mix(addrs ^ self.a, rest ^ self.b)
    }

    /// Of an endpoint of a protocol. `space` keeps kinds of endpoint apart.
    #[inline]
    #[must_use]
    pub fn endpoint(&self, space: u8, proto: Proto, e: Endpoint) -> u64 {
        let x = u64::from(e.addr.to_bits()) << 16 | u64::from(e.port);
        mix(x ^ self.a, (u64::from(space) << 8 | u64::from(proto.0)) ^ self.b)
    }

    /// Of two numbers.
    #[inline]
    #[must_use]
    pub const fn pair(&self, x: u64, y: u64) -> u64 {
        mix(x ^ self.a, y.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.b)
    }

    /// Of an address.
    #[inline]
    #[must_use]
    pub const fn addr(&self, a: Ipv4Addr) -> u64 {
        self.pair(a.to_bits() as u64, 0x51)
    }
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "both halves are used")]
const fn mix(x: u64, y: u64) -> u64 {
    let p = x as u128 * y as u128;
    let h = (p as u64) ^ (p >> 64) as u64;
    // One more round for the low bits, which make the tag.
    let q = h as u128 * 0xd6e8_feb8_6659_fd93u128;
    (q as u64) ^ (q >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn eighty_percent_fill_is_reached_and_every_entry_found() {
        let n = 100_000u32;
        let mut index = Index::new(n as usize);
        let h = Hasher::new(7);
        for i in 0..n {
            index.insert(h.pair(u64::from(i), 1), i).unwrap();
        }
        let mut home = 0;
        for i in 0..n {
            let hash = h.pair(u64::from(i), 1);
            assert_eq!(index.find(hash, |s| s == i), Some(i));
            home += usize::from(index.candidate(hash) == i);
        }
        assert!(home > 90_000, "{home} of {n} are the first candidate of their home bucket");
        for i in 0..n {
            assert!(index.remove(h.pair(u64::from(i), 1), i));
        }
        assert!(index.is_empty());
        assert!(index.buckets.iter().all(|b| b.tags == [0; 16]), "no trace is left");
    }

    /// The flows of real networks are far from random: neighbouring hosts and ports, few servers.
    #[test]
    fn keys_in_rows_spread_as_random_ones_do() {
        const N: u32 = 1 << 16;
        let at = |addr, port: u32| Endpoint::new(Ipv4Addr::from_bits(addr), port as u16);
        let rows: [&dyn Fn(u32) -> [Endpoint; 2]; 6] = [
            &|n| [at(0x0a00_0100 + n / 64, 10_000 + n % 64 * 7), at(0xc612_ff01, 4000)],
            &|n| [at(0x0a00_0100 + n, 5000), at(0xc612_ff01, 53)],
            &|n| [at(0xc0a8_0105, n), at(0xc612_ff01, 443)],
            &|n| [at(0xc0a8_0105, 5000), at(0x0800_0000 + n, 443)],
            &|n| [at(0xc612_ff01, 443), at(0xcb00_7100 + n / 60_000, 1024 + n % 60_000)],
            &|n| [at(0x0a00_0000 + (n << 8), 1024), at(0x0b00_0000 + (n << 8), 80)],
        ];
        for row in rows {
            for seed in 0..20 {
                let hasher = Hasher::new(seed);
                let mut index = Index::new(N as usize);
                let key = |n| {
                    let [src, dst] = row(n);
                    Key::new(Proto::UDP, src, dst)
                };
                for n in 0..N {
                    index.insert(hasher.key(&key(n)), n).unwrap();
                }
                let first = (0..N).filter(|&n| index.candidate(hasher.key(&key(n))) == n).count();
                assert!(first > N as usize * 89 / 100, "{first} of {N} are their bucket's first candidate");
            }
        }
    }

    #[test]
    fn overfilling_is_refused_and_changes_nothing() {
        let mut index = Index::new(1);
        let stored = (0..10_000).take_while(|&i| index.insert(u64::from(i) << 50 | 5, i).is_ok()).count();
        assert!(stored >= 24, "{stored}");
        assert_eq!(index.len(), stored);
        assert_eq!(index.insert(5, 1), Err(Full));
        assert_eq!(index.len(), stored);
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(ops in prop::collection::vec((0u8..40, any::<bool>()), 1..300)) {
            // Hashes that collide on purpose: few homes, few tags.
            let hash = |k: u8| u64::from(k % 3) << 61 | u64::from(k % 5);
            let mut index = Index::new(48);
            let mut model = HashMap::new();
            for (k, add) in ops {
                if add && !model.contains_key(&k) {
                    if index.insert(hash(k), u32::from(k)).is_ok() { model.insert(k, ()); }
                } else if !add {
                    prop_assert_eq!(index.remove(hash(k), u32::from(k)), model.remove(&k).is_some());
                }
                for k in 0..40u8 {
                    prop_assert_eq!(index.find(hash(k), |s| s == u32::from(k)).is_some(), model.contains_key(&k));
                }
            }
            prop_assert_eq!(index.len(), model.len());
        }
    }
}
