//! How long packets take from wire to wire, a direction: of the whole run, and of the last second.

use dataplane::types::Side;
use hdrhistogram::Histogram;
use serde::Serialize;

/// In microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p99_9: f64,
    pub(super) max: f64,
}

/// Nanoseconds that are told apart: up to a minute, to three digits.
const HIGHEST: u64 = 60_000_000_000;

/// See the module.
pub(super) struct Latency {
    ticks_per_second: u64,
    /// Towards the outside, towards the inside.
    all: [Option<Histogram<u64>>; 2],
    recent: [Option<Histogram<u64>>; 2],
}

fn index(side: Side) -> usize {
    match side {
        Side::Outside => 0,
        Side::Inside => 1,
    }
}

fn percentiles(histogram: &Option<Histogram<u64>>) -> Percentiles {
    let Some(h) = histogram.as_ref().filter(|h| !h.is_empty()) else { return Percentiles::default() };
    // A bucket's highest value may lie above the greatest that was recorded.
    let max = h.max();
    let micros = |nanos: u64| (nanos.min(max) as f64 / 100.0).round() / 10.0;
    let at = |q| micros(h.value_at_quantile(q));
    Percentiles { p50: at(0.5), p99: at(0.99), p99_9: at(0.999), max: micros(max) }
}

impl Latency {
    pub(super) fn new(ticks_per_second: u64) -> Self {
        let fresh = || [(), ()].map(|()| Histogram::new_with_bounds(1, HIGHEST, 3).ok());
        Self { ticks_per_second: ticks_per_second.max(1), all: fresh(), recent: fresh() }
    }

    /// A packet that came out on `side` was under way for so many counts.
    pub(super) fn record(&mut self, side: Side, ticks: u64) {
        let nanos = (u128::from(ticks) * 1_000_000_000 / u128::from(self.ticks_per_second)) as u64;
        for h in [&mut self.all[index(side)], &mut self.recent[index(side)]].into_iter().flatten() {
            h.saturating_record(nanos.max(1));
        }
    }

    /// Of the whole run: towards the outside, towards the inside.
    pub(super) fn all(&self) -> [Percentiles; 2] {
        [percentiles(&self.all[0]), percentiles(&self.all[1])]
    }

    /// Since it was last asked.
    pub(super) fn take_recent(&mut self) -> [Percentiles; 2] {
        let taken = [percentiles(&self.recent[0]), percentiles(&self.recent[1])];
        self.recent.iter_mut().flatten().for_each(Histogram::reset);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_microseconds_and_never_above_the_greatest() {
        let mut latency = Latency::new(1_000_000_000);
        (1..=1000).for_each(|n| latency.record(Side::Outside, n * 1000));
        let [out, inward] = latency.all();
        assert!((499.0..=502.0).contains(&out.p50) && (990.0..=992.0).contains(&out.p99), "{out:?}");
        assert!(out.p99_9 <= out.max && (1000.0..1001.0).contains(&out.max), "{out:?}");
        assert_eq!(inward, Percentiles::default());
        assert_eq!(latency.take_recent()[0], out);
        assert_eq!(latency.take_recent()[0], Percentiles::default());
    }
}
