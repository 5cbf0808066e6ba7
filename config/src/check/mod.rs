//! What concerns several sections: addresses that meet, overlap, or lead nowhere. Both places are named.
//!
//! A check that needs what could not be read is left out, as its answer would be the echo of a mistake already
//! reported; it is made as soon as that is mended. Each check sorts or merges, so that none is quadratic in the lists
//! that can be long.

mod links;
mod pool;
mod services;

pub(crate) use links::{Links, neighbours, routes};
pub(crate) use pool::Pool;
pub(crate) use services::{Subscribers, allow, carried, forwards, one_or_the_other, statics};

use std::net::Ipv4Addr;

use crate::net::AddressRange;

/// A set of addresses as disjoint ranges in rising order.
pub(crate) struct AddressSet(Vec<(u32, u32)>);

impl AddressSet {
    pub(crate) fn new(ranges: impl Iterator<Item = AddressRange>) -> Self {
        let mut ranges: Vec<_> = ranges.map(|range| (range.first().to_bits(), range.last().to_bits())).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        AddressSet(merged)
    }

    /// The last address of the unbroken run from `address` on, if it is in the set.
    fn run(&self, address: Ipv4Addr) -> Option<u32> {
        let bits = address.to_bits();
        let at = self.0.partition_point(|&(_, last)| last < bits);
        self.0.get(at).filter(|(first, _)| *first <= bits).map(|&(_, last)| last)
    }

    pub(crate) fn contains(&self, address: Ipv4Addr) -> bool {
        self.run(address).is_some()
    }

    /// The first address of `range` that is not in the set.
    pub(crate) fn first_outside(&self, range: AddressRange) -> Option<Ipv4Addr> {
        match self.run(range.first()) {
            None => Some(range.first()),
            Some(last) if last >= range.last().to_bits() => None,
            Some(last) => Some(Ipv4Addr::from_bits(last.saturating_add(1))),
        }
    }
}

/// Pairs of neighbours that overlap, out of `spans` as (first, last, what): each is compared with the one before it that
/// reaches furthest. Returns (earlier in the file, later in the file), in the order of the later.
pub(crate) fn overlapping(mut spans: Vec<(u32, u32, usize)>) -> Vec<(usize, usize)> {
    spans.sort_unstable();
    let mut found = Vec::new();
    let mut furthest: Option<(u32, usize)> = None;
    for (first, last, what) in spans {
        match furthest {
            Some((end, other)) if first <= end => {
                found.push((what.min(other), what.max(other)));
                if last > end {
                    furthest = Some((last, what));
                }
            }
            _ => furthest = Some((last, what)),
        }
    }
    found.sort_unstable_by_key(|&(_, later)| later);
    found
}
