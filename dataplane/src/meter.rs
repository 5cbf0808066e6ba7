//! Time and work of a worker, in cycles of its clock ([`Io::cycles`](crate::io::Io::cycles)): how long bursts take through
//! the box, and what a packet costs.
//!
//! Recording costs a clock read a burst, and three numbers written a burst that came: no lock, no allocation. The
//! [`Buckets`] are those of HDR histograms: linear within a power of two, so that a value is known to a 32nd of itself
//! from one cycle to an hour, in a fixed 9 kB of which a steady load touches a few lines. Like all counters they have one
//! writer and are never reset; a reader that wants the last second subtracts.

use crate::types::MAX_PORTS;
use crate::verdict::Cell;
use arrayvec::ArrayVec;

/// Buckets of a power of two, as a power of two.
const BITS: u32 = 5;
/// Buckets of a power of two, and the values below which each has its own.
const LINEAR: usize = 1 << BITS;
/// The highest power of two whose values are told apart: an hour at 4 GHz.
const TOP: u32 = 43;

/// Counts by value. See the module.
#[derive(Debug)]
pub struct Buckets {
    counts: [Cell; Self::COUNT],
    sum: Cell,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| Cell::default()), sum: Cell::default() }
    }
}

impl Buckets {
    /// How many there are.
    pub const COUNT: usize = (TOP - BITS + 2) as usize * LINEAR;

    /// The bucket of a value; what is beyond the last one belongs to it.
    #[inline]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "the shifted value is below 64")]
    pub const fn index(value: u64) -> usize {
        if value < LINEAR as u64 {
            return value as usize;
        }
        let power = value.ilog2();
        if power > TOP {
            return Self::COUNT - 1;
        }
        let shift = power - BITS;
        shift as usize * LINEAR + (value >> shift) as usize
    }

    /// The greatest value that belongs to a bucket.
    #[must_use]
    pub const fn highest(index: usize) -> u64 {
        if index < LINEAR {
            return index as u64;
        }
        let shift = index / LINEAR - 1;
        (((index - shift * LINEAR + 1) as u64) << shift) - 1
    }

    /// Counts `value` so many times; only the owning worker may call it.
    #[inline]
    pub fn record(&self, value: u64, times: u64) {
        if let Some(cell) = self.counts.get(Self::index(value)) {
            cell.add(times);
        }
        self.sum.add(value.wrapping_mul(times));
    }

    /// The sum of all values, each as often as it was counted.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }

    /// How often each bucket was counted, in order. Read while the worker writes, so a count may be a burst ahead of
    /// another.
    pub fn counts(&self) -> impl Iterator<Item = u64> + '_ {
        self.counts.iter().map(Cell::get)
    }
}

/// What a worker does with its time.
#[derive(Debug, Default)]
pub struct Meter {
    /// Turns of the loop. A worker whose number stands still is stuck.
    pub turns: Cell,
    /// Turns in which packets came.
    pub busy_turns: Cell,
    /// Cycles of those turns.
    pub busy_cycles: Cell,
    /// Packets that came, from ports and from other workers.
    pub packets: Cell,
    /// Cycles from when a burst was taken until the end of the turn, by when it was sent, handed over, dropped or put
    /// aside: for each packet. What waits in a queue of the NIC or of another worker is not in it.
    pub transit: Buckets,
    /// Cycles of a busy turn divided by its packets: for each packet.
    pub effort: Buckets,
}

/// The bursts of one turn: when each was taken, and its packets.
pub(crate) struct Turn {
    began: u64,
    bursts: ArrayVec<(u64, u64), { MAX_PORTS + 1 }>,
}

impl Turn {
    #[inline]
    pub(crate) const fn begin(now: u64) -> Self {
        Self { began: now, bursts: ArrayVec::new_const() }
    }

    /// So many packets were taken at `now`.
    #[inline]
    pub(crate) fn took(&mut self, packets: usize, now: u64) {
        let _ = self.bursts.try_push((now, packets as u64));
    }

    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.bursts.is_empty()
    }

    /// Records a turn in which packets came, and that ends at `now`.
    #[inline]
    pub(crate) fn end(self, now: u64, meter: &Meter) {
        let mut packets = 0;
        for (taken, n) in self.bursts {
            meter.transit.record(now.wrapping_sub(taken), n);
            packets += n;
        }
        let cycles = now.wrapping_sub(self.began);
        meter.busy_turns.add(1);
        meter.busy_cycles.add(cycles);
        meter.packets.add(packets);
        if let Some(each) = cycles.checked_div(packets) {
            meter.effort.record(each, packets);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_in_its_bucket_and_no_bucket_is_wider_than_a_32nd() {
        let mut last = None;
        for index in 0..Buckets::COUNT {
            let lowest = last.map_or(0, |h: u64| h + 1);
            let highest = Buckets::highest(index);
            assert_eq!(Buckets::index(lowest), index, "{lowest}");
            assert_eq!(Buckets::index(highest), index, "{highest}");
            assert!((highest - lowest) * LINEAR as u64 <= lowest, "{lowest} to {highest}");
            last = Some(highest);
        }
        assert_eq!(last, Some((1 << (TOP + 1)) - 1));
        assert_eq!(Buckets::index(u64::MAX), Buckets::COUNT - 1);
    }

    #[test]
    fn a_turn_counts_each_packet_with_its_bursts_time() {
        let meter = Meter::default();
        let mut turn = Turn::begin(1000);
        turn.took(2, 1000);
        turn.took(30, 1010);
        turn.end(1032, &meter);
        let counts: Vec<_> = meter.transit.counts().enumerate().filter(|(_, n)| *n > 0).collect();
        assert_eq!(counts, [(22, 30), (32, 2)]);
        assert_eq!(meter.transit.sum(), 2 * 32 + 30 * 22);
        assert_eq!(meter.effort.counts().enumerate().find(|(_, n)| *n > 0), Some((1, 32)));
        assert_eq!([meter.busy_turns.get(), meter.busy_cycles.get(), meter.packets.get()], [1, 32, 32]);
    }
}
