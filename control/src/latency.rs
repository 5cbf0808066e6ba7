//! Time through the box and cycles a packet, out of what workers record: merged, as percentiles, as a share of a CPU.
//!
//! A worker's [`Meter`] is only ever added to. [`Reading`] copies it at a moment; two of them give what was between
//! ([`Reading::since`]), and those of several workers add up ([`Reading::merge`]).

use dataplane::meter::{Buckets, Meter};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// What a meter said at a moment, or between two, of one worker or of several together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Turns of the loop.
    pub(crate) turns: u64,
    /// Turns in which packets came.
    pub(crate) busy_turns: u64,
    /// Cycles of those.
    pub(crate) busy_cycles: u64,
    /// Packets that came.
    pub(crate) packets: u64,
    /// Cycles through the box, by [`Buckets`].
    pub(crate) transit: Counts,
    /// Cycles a packet, by [`Buckets`].
    pub(crate) effort: Counts,
}

/// A copy of [`Buckets`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// By bucket.
    pub(crate) counts: Vec<u64>,
    /// Of all values.
    pub(crate) sum: u64,
}

impl Counts {
    fn of(buckets: &Buckets) -> Self {
        Self { counts: buckets.counts().collect(), sum: buckets.sum() }
    }

    #[cfg(test)]
    fn since(&self, earlier: &Self) -> Self {
        let counts = self.counts.iter().zip(&earlier.counts).map(|(now, then)| now.wrapping_sub(*then)).collect();
        Self { counts, sum: self.sum.wrapping_sub(earlier.sum) }
    }

    fn merge(&mut self, other: &Self) {
        for (sum, n) in self.counts.iter_mut().zip(&other.counts) {
            *sum += n;
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// How many values there are.
    #[must_use]
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many values are at most `limit`; a bucket that `limit` lies in counts when all of it is below.
    #[must_use]
    pub(crate) fn at_most(&self, limit: u64) -> u64 {
        self.counts.iter().enumerate().take_while(|(i, _)| Buckets::highest(*i) <= limit).map(|(_, n)| n).sum()
    }

    /// As a histogram of `scale` times the values; its own rounding is finer than the buckets'.
    ///
    /// # Errors
    /// Never, unless the scale leads out of 64 bits.
    pub(crate) fn histogram(&self, scale: f64) -> Result<Histogram<u64>, hdrhistogram::CreationError> {
        let mut histogram = Histogram::new(3)?;
        for (index, &n) in self.counts.iter().enumerate().filter(|(_, n)| **n > 0) {
            let lowest = index.checked_sub(1).map_or(0, |below| Buckets::highest(below) + 1);
            let middle = lowest.midpoint(Buckets::highest(index));
            // Infallible: such a histogram grows.
            let _ = histogram.record_n((middle as f64 * scale) as u64, n);
        }
        Ok(histogram)
    }
}

/// Percentiles of something.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Percentiles {
    /// The middle.
    pub(crate) p50: f64,
    /// Nine of ten are below.
    pub(crate) p90: f64,
    /// 99 of 100 are below.
    pub(crate) p99: f64,
    /// 999 of 1000 are below.
    pub(crate) p99_9: f64,
    /// The greatest, to a 32nd of itself.
    pub(crate) max: f64,
    /// The mean.
    pub(crate) mean: f64,
}

impl Percentiles {
    /// Of counts whose values, times `scale`, are in the unit wanted; to a thousandth of it.
    #[must_use]
    pub(crate) fn of(counts: &Counts, scale: f64) -> Self {
        let total = counts.total();
        if total == 0 {
            return Self::default();
        }
        let Ok(histogram) = counts.histogram(scale * 1000.0) else { return Self::default() };
        let max = histogram.max();
        let at = |quantile| histogram.value_at_quantile(quantile).min(max) as f64 / 1000.0;
        let mean = (counts.sum as f64 / total as f64 * scale * 1000.0).round() / 1000.0;
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p99_9: at(0.999), max: max as f64 / 1000.0, mean }
    }
}

impl Reading {
    /// Of a worker's meter, now.
    #[must_use]
    pub(crate) fn of(meter: &Meter) -> Self {
        Self {
            turns: meter.turns.get(),
            busy_turns: meter.busy_turns.get(),
            busy_cycles: meter.busy_cycles.get(),
            packets: meter.packets.get(),
            transit: Counts::of(&meter.transit),
            effort: Counts::of(&meter.effort),
        }
    }

    /// What was between `earlier` and this.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            turns: self.turns.wrapping_sub(earlier.turns),
            busy_turns: self.busy_turns.wrapping_sub(earlier.busy_turns),
            busy_cycles: self.busy_cycles.wrapping_sub(earlier.busy_cycles),
            packets: self.packets.wrapping_sub(earlier.packets),
            transit: self.transit.since(&earlier.transit),
            effort: self.effort.since(&earlier.effort),
        }
    }

    /// Adds another worker's.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.turns += other.turns;
        self.busy_turns += other.busy_turns;
        self.busy_cycles += other.busy_cycles;
        self.packets += other.packets;
        self.transit.merge(&other.transit);
        self.effort.merge(&other.effort);
    }

    /// Microseconds through the box, at a clock of `hz`.
    #[must_use]
    pub(crate) fn microseconds(&self, hz: u64) -> Percentiles {
        Percentiles::of(&self.transit, 1e6 / hz.max(1) as f64)
    }

    /// As the API tells it. The buckets are for who wants what was between two of them: the greatest value of each that
    /// was counted, and how often it was.
    pub(crate) fn row(&self, worker: &Value, hz: u64) -> Value {
        let (time, cycles) = (self.microseconds(hz), self.cycles());
        let nanos = 1e9 / hz.max(1) as f64;
        let buckets = |counts: &Counts, scale: f64| -> Vec<(u64, u64)> {
            let counted = counts.counts.iter().enumerate().filter(|(_, n)| **n > 0);
            counted.map(|(index, n)| ((Buckets::highest(index) as f64 * scale) as u64, *n)).collect()
        };
        json!({
            "worker": worker,
            "packets": self.packets,
            "turns": self.turns,
            "busy_turns": self.busy_turns,
            "busy_us": (self.busy_cycles as f64 * nanos / 1000.0).round(),
            "p50_us": time.p50,
            "p90_us": time.p90,
            "p99_us": time.p99,
            "p99_9_us": time.p99_9,
            "max_us": time.max,
            "mean_us": time.mean,
            "cycles_p50": cycles.p50,
            "cycles_p99": cycles.p99,
            "cycles_mean": cycles.mean,
            "transit_ns": buckets(&self.transit, nanos),
            "cycles": buckets(&self.effort, 1.0),
        })
    }

    /// Cycles a packet.
    #[must_use]
    pub(crate) fn cycles(&self) -> Percentiles {
        Percentiles::of(&self.effort, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(values: impl IntoIterator<Item = (u64, u64)>) -> Meter {
        let meter = Meter::default();
        for (value, times) in values {
            meter.transit.record(value, times);
            meter.packets.add(times);
        }
        meter
    }

    #[test]
    fn percentiles_are_those_of_the_values_to_a_32nd() {
        // 1 to 1000 µs at 2 GHz, each once.
        let m = meter((1..=1000).map(|micros| (micros * 2000, 1)));
        let p = Reading::of(&m).microseconds(2_000_000_000);
        for (is, wanted) in [(p.p50, 500.0), (p.p90, 900.0), (p.p99, 990.0), (p.p99_9, 999.0), (p.max, 1000.0)] {
            assert!((is / wanted - 1.0).abs() < 1.0 / 32.0, "{is} for {wanted}");
        }
        assert_eq!(p.mean, 500.5);
    }

    #[test]
    fn what_was_between_two_readings_is_without_what_was_before() {
        let m = meter([(100, 1_000_000)]);
        let before = Reading::of(&m);
        m.transit.record(5000, 3);
        let between = Reading::of(&m).since(&before);
        assert_eq!((between.transit.total(), between.transit.sum), (3, 15_000));
        assert_eq!(between.transit.at_most(4000), 0);
        assert_eq!(between.transit.at_most(6000), 3);
    }

    #[test]
    fn workers_add_up_and_nothing_is_nothing() {
        let mut all = Reading::of(&meter([(10, 1)]));
        all.merge(&Reading::of(&meter([(30, 3)])));
        assert_eq!((all.transit.total(), all.packets), (4, 4));
        let p99 = all.microseconds(1_000_000).p99;
        assert!((29.9..30.1).contains(&p99), "{p99}");
        assert_eq!(Reading::of(&Meter::default()).microseconds(1_000_000_000), Percentiles::default());
    }
}
