//! What is seen: numbers taken together at one moment, as a table, as a line, as JSON.

use super::far::Snapshot;
use super::latency::Percentiles;
use super::talk::Kind;
use dataplane::types::{PortId, Side};
use dataplane::verdict::{Counters, DropReason, Event};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Totals of a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Flow {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// Everything at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Moment {
    pub(super) snapshot: Snapshot,
    /// When it was taken.
    pub(super) at: Duration,
    /// Left by the outside port, left by the inside port, as the workers counted it.
    pub(super) flows: [Flow; 2],
    pub(super) opened: u64,
    pub(super) sessions: u64,
    pub(super) mappings: u64,
    pub(super) handed: u64,
    pub(super) drops: Vec<(DropReason, u64)>,
}

/// Drops that the demo provokes: strangers, the first punch, TTL 1, a packet too big; GRE after the end of its call, and
/// PPTP's control segments out of order, as each frame takes a queue by chance.
pub(super) fn is_meant(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::Filtered
            | DropReason::Unsolicited
            | DropReason::TtlExceeded
            | DropReason::TooBig
            | DropReason::GreNoCall
            | DropReason::PptpOutOfOrder
    )
}

/// Drops for want of capacity: what they took may be missing somewhere, and nothing else is wrong.
pub(super) fn is_overload(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::HandoffFull
            | DropReason::TxRefused
            | DropReason::NoBuffer
            | DropReason::NeighbourQueueFull
            | DropReason::FragmentHeldFull
    )
}

impl Moment {
    /// Reads the workers' counters. Ports are inside 0, outside 1, as in the configuration.
    pub(super) fn take(snapshot: Snapshot, at: Duration, counters: &[Arc<Counters>]) -> Self {
        let event = |e| counters.iter().map(|c| c.events(e)).sum::<u64>();
        let sent = |side| {
            let port = PortId(u8::from(side == Side::Outside));
            counters.iter().filter_map(|c| c.port(port)).fold(Flow::default(), |sum, p| Flow {
                packets: sum.packets + p.tx_packets.get(),
                bytes: sum.bytes + p.tx_bytes.get(),
            })
        };
        let drops = DropReason::ALL.iter().map(|&r| (r, counters.iter().map(|c| c.drops(r)).sum()));
        let mut drops: Vec<_> = drops.filter(|(_, n)| *n > 0).collect();
        drops.sort_by_key(|&(reason, n)| (std::cmp::Reverse(n), reason));
        let opened = event(Event::SessionsOpened);
        Self {
            snapshot,
            at,
            flows: [sent(Side::Outside), sent(Side::Inside)],
            opened,
            sessions: opened.saturating_sub(event(Event::SessionsClosed)),
            mappings: event(Event::MappingsOpened).saturating_sub(event(Event::MappingsClosed)),
            handed: event(Event::HandedOff),
            drops,
        }
    }

    /// Packets that were dropped for want of capacity.
    pub(super) fn overload(&self) -> u64 {
        self.drops.iter().filter(|(r, _)| is_overload(*r)).map(|(_, n)| n).sum()
    }

    /// Rates since an earlier moment.
    pub(super) fn since(&self, earlier: &Self) -> Rates {
        let seconds = self.at.saturating_sub(earlier.at).as_secs_f64().max(1e-6);
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        Rates {
            packets: [0, 1].map(|d| rate(self.flows[d].packets, earlier.flows[d].packets)),
            // On the wire, a frame's checksum, preamble and gap come on top; here are only its bytes.
            bits: [0, 1].map(|d| 8.0 * rate(self.flows[d].bytes, earlier.flows[d].bytes)),
            opened: rate(self.opened, earlier.opened),
        }
    }
}

/// A second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    pub(super) packets: [f64; 2],
    pub(super) bits: [f64; 2],
    pub(super) opened: f64,
}

/// One plain line.
pub(super) fn line(moment: &Moment, rates: &Rates, workers: usize) -> String {
    let sum = moment.snapshot.tally.sum();
    let [out, inward] = rates.packets.map(short);
    let [bits_out, bits_in] = rates.bits.map(short);
    let Percentiles { p50, p99, .. } = moment.snapshot.latency[0];
    let drops: u64 = moment.drops.iter().map(|(_, n)| n).sum();
    let handed = if workers > 1 { format!(" | handed over {}", short(moment.handed as f64)) } else { String::new() };
    format!(
        "{:5.1} s | out {out}pkt/s {bits_out}bit/s | in {inward}pkt/s {bits_in}bit/s | p50 {p50:.0} us p99 {p99:.0} us \
         | sessions {} | conversations {} verified, {} under way, {} failed | drops {drops}{handed}",
        moment.snapshot.elapsed.as_secs_f64(),
        moment.sessions,
        sum.verified,
        sum.under_way(),
        sum.failed,
    )
}

/// `1.23 M`: three digits and a unit's prefix, of a fixed width.
pub(super) fn short(number: f64) -> String {
    let (mut n, mut prefix) = (number, "");
    for p in ["k", "M", "G", "T"] {
        if n < 999.5 {
            break;
        }
        (n, prefix) = (n / 1000.0, p);
    }
    let digits = match n {
        _ if prefix.is_empty() || n >= 99.95 => 0,
        n if n >= 9.995 => 1,
        _ => 2,
    };
    format!("{n:.digits$} {prefix}")
}

/// `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What both JSON objects have: see `underpass demo --help`.
pub(super) fn json(moment: &Moment, rates: &Rates) -> Value {
    let snapshot = &moment.snapshot;
    let direction = |d: usize| {
        json!({
            "packets": moment.flows[d].packets,
            "bytes": moment.flows[d].bytes,
            "packets_per_second": rates.packets[d].round(),
            "bits_per_second": rates.bits[d].round(),
            "latency_us": snapshot.latency[d],
        })
    };
    let conversations: serde_json::Map<_, _> = Kind::ALL
        .iter()
        .map(|&kind| {
            let c = snapshot.tally.of(kind);
            let counts = json!({"started": c.started, "verified": c.verified, "failed": c.failed, "lost": c.lost});
            (kind.label().to_owned(), counts)
        })
        .collect();
    let drops: serde_json::Map<_, _> = moment.drops.iter().map(|&(r, n)| (r.label().to_owned(), json!(n))).collect();
    json!({
        "seconds": (snapshot.elapsed.as_secs_f64() * 1000.0).round() / 1000.0,
        "out": direction(0),
        "in": direction(1),
        "sessions": moment.sessions,
        "sessions_opened_per_second": rates.opened.round(),
        "mappings": moment.mappings,
        "handed_over": moment.handed,
        "drops": drops,
        "strays": snapshot.tally.strays,
        "tcp_retransmitted": snapshot.tally.retransmitted,
        "pptp_retransmitted": snapshot.tally.resent,
        "esp_misled": snapshot.tally.misled,
        "conversations": conversations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_grouped() {
        for (n, text) in [(0.0, "0 "), (999.0, "999 "), (999.6, "1.00 k"), (12_345.0, "12.3 k"), (999_600.0, "1.00 M")]
        {
            assert_eq!(short(n), text);
        }
        assert_eq!((short(1.5e9), short(2.5e13)), ("1.50 G".into(), "25.0 T".into()));
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(n), text);
        }
    }

    #[test]
    fn counters_become_rates() {
        let counters = [Arc::new(Counters::default()), Arc::new(Counters::default())];
        let before = Moment::take(Snapshot::default(), Duration::from_secs(1), &counters);
        for c in &counters {
            c.port(PortId(1)).unwrap().tx_packets.add(100);
            c.port(PortId(1)).unwrap().tx_bytes.add(10_000);
            c.count_drop(DropReason::Filtered);
            c.count(Event::SessionsOpened, 3);
        }
        let now = Moment::take(Snapshot::default(), Duration::from_secs(3), &counters);
        let rates = now.since(&before);
        assert_eq!((rates.packets, rates.bits, rates.opened), ([100.0, 0.0], [80_000.0, 0.0], 3.0));
        assert_eq!((now.sessions, now.drops.clone(), now.overload()), (6, vec![(DropReason::Filtered, 2)], 0));
        let shown = json(&now, &rates);
        assert_eq!(shown["out"]["packets_per_second"], 100.0);
        assert_eq!(shown["drops"]["filtered"], 2);
        assert_eq!(shown["conversations"]["udp"]["started"], 0);
        assert!(line(&now, &rates, 2).contains("out 100 pkt/s 80.0 kbit/s"), "{}", line(&now, &rates, 2));
    }
}
