//! Families of samples, and their text by prometheus-client's encoder.

use super::http::Format;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::collections::HashSet;
use std::fmt;

/// What all names begin with.
const PREFIX: &str = "underpass";

/// Labels of a sample.
pub(super) type Labels = Vec<(&'static str, String)>;

/// How many values are in each bucket, by its upper bound.
pub(super) type Buckets = Vec<(f64, u64)>;

/// The samples of a family: one kind, each with its labels.
#[derive(Debug)]
pub(super) enum Samples {
    /// Only ever grow; their names end in `_total`.
    Counters(Vec<(Labels, u64)>),
    /// The same in fractions.
    Sums(Vec<(Labels, f64)>),
    /// Go up and down.
    Gauges(Vec<(Labels, f64)>),
    /// The sum of all values, and the buckets.
    Histograms(Vec<(Labels, f64, Buckets)>),
}

/// All samples of one name.
#[derive(Debug)]
pub(super) struct Family {
    /// Without prefix and `_total`; with its unit.
    pub(super) name: &'static str,
    /// A sentence without its full stop.
    pub(super) help: &'static str,
    pub(super) samples: Samples,
}

impl Family {
    const fn kind(&self) -> MetricType {
        match self.samples {
            Samples::Counters(_) | Samples::Sums(_) => MetricType::Counter,
            Samples::Gauges(_) => MetricType::Gauge,
            Samples::Histograms(_) => MetricType::Histogram,
        }
    }
}

/// What the encoder is given.
#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.0 {
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, family.kind())?;
            match &family.samples {
                Samples::Counters(list) => each_counter(&mut metric, list)?,
                Samples::Sums(list) => each_counter(&mut metric, list)?,
                Samples::Gauges(list) => {
                    for (labels, value) in list {
                        gauge(&mut metric, labels, value)?;
                    }
                }
                Samples::Histograms(list) => {
                    for (labels, sum, buckets) in list {
                        let count = buckets.iter().map(|(_, n)| n).sum();
                        metric.encode_family(labels)?.encode_histogram::<Labels>(*sum, count, buckets, None)?;
                    }
                }
            }
        }
        Ok(())
    }
}

type Metric<'a> = prometheus_client::encoding::MetricEncoder<'a>;

fn each_counter<V: EncodeCounterValue>(metric: &mut Metric<'_>, list: &[(Labels, V)]) -> fmt::Result {
    for (labels, value) in list {
        metric.encode_family(labels)?.encode_counter::<Labels, V, u64>(value, None)?;
    }
    Ok(())
}

fn gauge<V: EncodeGaugeValue>(metric: &mut Metric<'_>, labels: &Labels, value: &V) -> fmt::Result {
    metric.encode_family(labels)?.encode_gauge(value)
}

/// The page in a format.
pub(super) fn page(families: Vec<Family>, format: Format) -> String {
    let counters: HashSet<String> = families
        .iter()
        .filter(|f| f.kind().as_str() == MetricType::Counter.as_str())
        .map(|f| format!("{PREFIX}_{}", f.name))
        .collect();
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Families(families)));
    let mut open = String::new();
    // Into memory: nothing can fail.
    let _ = text::encode(&mut open, &registry);
    match format {
        Format::OpenMetrics => open,
        Format::Text => plain(&open, &counters),
    }
}

/// Prometheus' older format: a counter is called there as its samples are, and there is no end mark.
fn plain(open: &str, counters: &HashSet<String>) -> String {
    let mut out = String::with_capacity(open.len() + 1024);
    for line in open.lines().filter(|line| *line != "# EOF") {
        let described = line.strip_prefix("# ").and_then(|rest| {
            let mut words = rest.splitn(3, ' ');
            Some((words.next()?, words.next()?, words.next()?))
        });
        match described {
            Some((what, name, rest)) if counters.contains(name) => {
                out.extend(["# ", what, " ", name, "_total ", rest]);
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn families() -> Vec<Family> {
        let labels = |worker: &str| vec![("worker", worker.to_owned())];
        vec![
            Family {
                name: "drops",
                help: "Packets dropped",
                samples: Samples::Counters(vec![(labels("0"), u64::MAX)]),
            },
            Family { name: "busy_seconds", help: "Time", samples: Samples::Sums(vec![(labels("0"), 1.5)]) },
            Family { name: "sessions", help: "Sessions", samples: Samples::Gauges(vec![(labels("a\"b\\\n"), 3.0)]) },
            Family {
                name: "transit_seconds",
                help: "Time",
                samples: Samples::Histograms(vec![(labels("1"), 0.5, vec![(0.1, 2), (f64::INFINITY, 1)])]),
            },
        ]
    }

    #[test]
    fn open_metrics_end_with_their_mark_and_count_buckets_up() {
        let text = page(families(), Format::OpenMetrics);
        for line in [
            "# TYPE underpass_drops counter",
            "underpass_drops_total{worker=\"0\"} 18446744073709551615",
            "underpass_busy_seconds_total{worker=\"0\"} 1.5",
            "underpass_sessions{worker=\"a\\\"b\\\\\\n\"} 3.0",
            "underpass_transit_seconds_bucket{le=\"0.1\",worker=\"1\"} 2",
            "underpass_transit_seconds_bucket{le=\"+Inf\",worker=\"1\"} 3",
            "underpass_transit_seconds_sum{worker=\"1\"} 0.5",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_older_format_calls_counters_by_their_full_name() {
        let text = page(families(), Format::Text);
        assert!(
            text.contains("# HELP underpass_drops_total Packets dropped\n# TYPE underpass_drops_total counter\n"),
            "{text}"
        );
        assert!(text.contains("# TYPE underpass_sessions gauge\n") && !text.contains("EOF"), "{text}");
    }
}
