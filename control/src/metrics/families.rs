//! Which metrics there are. docs/grafana-dashboard.json is about these names.

use super::page::{Buckets, Family, Labels, Samples};
use crate::latency::{Counts, Reading};
use crate::machine::Place;
use dataplane::census::{Census, Kind};
use dataplane::types::{Direction, PortId};
use dataplane::verdict::{Cell, Counters, DropReason, Event, PortCounters};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What metrics are made of.
pub(crate) struct Sources<'a> {
    /// Each worker's.
    pub(crate) counters: &'a [Arc<Counters>],
    /// Where each worker is.
    pub(crate) places: &'a [Place],
    /// Cycles a second.
    pub(crate) hz: u64,
    /// When packets were first forwarded.
    pub(crate) started: SystemTime,
    /// Each port: its name, its role.
    pub(crate) ports: Vec<(String, &'static str)>,
    /// What each port's device says, in the same order.
    pub(crate) devices: Vec<(Option<dpdk::PortStats>, Option<dpdk::Link>)>,
    /// Tables and pool.
    pub(crate) usage: Vec<Usage>,
}

/// A table or a pool that can be full.
pub(crate) struct Usage {
    /// Its name in labels.
    pub(crate) table: &'static str,
    /// In use.
    pub(crate) used: u64,
    /// In all.
    pub(crate) room: u64,
}

/// Upper bounds of the time through the box, seconds.
const SECONDS: [f64; 15] = [1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 5e-2, 1e-1];
/// Upper bounds of cycles a packet.
const CYCLES: [f64; 12] = [50., 100., 150., 200., 300., 500., 1000., 2000., 5000., 10_000., 50_000., 1_000_000.];

/// All of them.
pub(super) fn all(s: &Sources<'_>) -> Vec<Family> {
    let mut families = process(s);
    families.extend(ports(s));
    families.extend(verdicts(s));
    families.extend(state(s));
    families.extend(work(s));
    families
}

fn worker(n: usize) -> (&'static str, String) {
    ("worker", n.to_string())
}

fn text(key: &'static str, value: &str) -> (&'static str, String) {
    (key, value.to_owned())
}

fn process(s: &Sources<'_>) -> Vec<Family> {
    let about = vec![text("version", env!("CARGO_PKG_VERSION")), text("dpdk", &dpdk::Eal::version())];
    let since = s.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let place = |(n, p): (usize, &Place)| {
        (vec![worker(n), ("cpu", p.cpu.map_or_else(|| "any".to_owned(), |cpu| cpu.to_string()))], 1.0)
    };
    vec![
        gauges("build_info", "Always 1; its labels say what runs", vec![(about, 1.0)]),
        gauges("start_time_seconds", "When packets were first forwarded, since 1970", vec![(Vec::new(), since)]),
        gauges("worker_info", "Always 1; the CPU of each worker", s.places.iter().enumerate().map(place).collect()),
    ]
}

fn ports(s: &Sources<'_>) -> Vec<Family> {
    let by_port = |of: [fn(&PortCounters) -> &Cell; 2]| {
        let mut list = Vec::new();
        for (w, counters) in s.counters.iter().enumerate() {
            for (port, (name, role)) in (0u8..).map(PortId).zip(&s.ports) {
                let Some(c) = counters.port(port) else { continue };
                for (direction, of) in ["rx", "tx"].into_iter().zip(of) {
                    let labels = vec![text("port", name), text("role", role), worker(w), text("direction", direction)];
                    list.push((labels, of(c).get()));
                }
            }
        }
        Samples::Counters(list)
    };
    let devices = s.ports.iter().zip(&s.devices);
    let mut lost = Vec::new();
    let mut up = Vec::new();
    let mut speed = Vec::new();
    for ((name, _), (stats, link)) in devices {
        if let Some(d) = stats {
            for (cause, n) in [
                ("missed", d.missed),
                ("no_buffer", d.no_buffers),
                ("receive_error", d.receive_errors),
                ("send_error", d.send_errors),
            ] {
                lost.push((vec![text("port", name), text("cause", cause)], n));
            }
        }
        if let Some(link) = link {
            up.push((vec![text("port", name)], f64::from(u8::from(link.up))));
            if let Some(mbps) = link.speed_mbps {
                speed.push((vec![text("port", name)], f64::from(mbps) * 1e6 / 8.0));
            }
        }
    }
    vec![
        family("port_packets", "Packets received and sent", by_port([|c| &c.rx_packets, |c| &c.tx_packets])),
        family("port_bytes", "Bytes received and sent, without checksums", by_port([|c| &c.rx_bytes, |c| &c.tx_bytes])),
        family(
            "port_lost_packets",
            "Packets that the device lost before a worker saw them, or after: missed is workers too slow, no_buffer is \
             runtime.buffers too low",
            Samples::Counters(lost),
        ),
        gauges("port_up", "Whether the link is up", up),
        gauges("port_speed_bytes", "Bytes a second that the link carries", speed),
    ]
}

fn verdicts(s: &Sources<'_>) -> Vec<Family> {
    let mut verdicts = Vec::new();
    let mut held = Vec::new();
    for (w, c) in s.counters.iter().enumerate() {
        let a = c.account();
        for (verdict, n) in
            [("sent", a.sent), ("consumed", a.consumed), ("dropped", a.dropped), ("handed_off", a.handed_off)]
        {
            verdicts.push((vec![worker(w), text("verdict", verdict)], n));
        }
        held.push((vec![worker(w)], a.held.cast_signed().max(0) as f64));
    }
    let drops = by_worker(s, |c| DropReason::ALL.iter().map(|&r| (r.label(), c.drops(r))).collect(), "reason");
    let events = by_worker(s, |c| Event::ALL.iter().map(|&e| (e.label(), c.events(e))).collect(), "event");
    let handoff = by_worker(
        s,
        |c| {
            let lost = c.drops(DropReason::HandoffFull);
            vec![("out", c.events(Event::HandedOff)), ("in", c.events(Event::HandedIn)), ("lost", lost)]
        },
        "direction",
    );
    let lost = by_worker(s, |c| vec![("notice", c.notices.lost())], "kind");
    vec![
        family("verdicts", "Packets by what became of them", Samples::Counters(verdicts)),
        family("drops", "Packets dropped, by reason", drops),
        family("events", "What else is counted; docs/counters.md explains each", events),
        family("handoff_packets", "Packets from worker to worker; lost is a full ring of the owner's", handoff),
        family("lost_events", "What workers had to tell and found no room for", lost),
        gauges("held_packets", "Packets that wait for ARP, a first fragment or an SPI's owner", held),
    ]
}

fn state(s: &Sources<'_>) -> Vec<Family> {
    let by_kind = |of: fn(&Census, Kind) -> u64| {
        let sum = |k: Kind| s.counters.iter().map(|c| of(&c.census, k)).sum::<u64>();
        Kind::ALL.iter().map(|&k| (vec![text("protocol", k.label())], sum(k) as f64)).collect()
    };
    let translated = |(n, direction): (&'static str, Direction)| {
        Kind::ALL.iter().map(move |&k| {
            let sum = s.counters.iter().map(|c| c.census.translated(direction, k)).sum();
            (vec![text("protocol", k.label()), text("direction", n)], sum)
        })
    };
    let translated = [("out", Direction::Out), ("in", Direction::In)].into_iter().flat_map(translated).collect();
    let usage = |of: fn(&Usage) -> u64| s.usage.iter().map(|u| (vec![text("table", u.table)], of(u) as f64)).collect();
    vec![
        family("translated_packets", "Packets translated, by protocol", Samples::Counters(translated)),
        gauges("sessions", "Sessions by protocol, the legs of tunnels among them", by_kind(Census::sessions)),
        gauges("mappings", "Mappings by protocol", by_kind(Census::mappings)),
        gauges("table_entries", "Entries in use: of tables, and of the pool's ports by protocol", usage(|u| u.used)),
        gauges("table_room", "Entries that there are in all", usage(|u| u.room)),
    ]
}

fn work(s: &Sources<'_>) -> Vec<Family> {
    let readings: Vec<Reading> = s.counters.iter().map(|c| Reading::of(&c.meter)).collect();
    let each = |of: fn(&Reading) -> u64| {
        Samples::Counters(readings.iter().enumerate().map(|(w, r)| (vec![worker(w)], of(r))).collect())
    };
    let hz = s.hz.max(1) as f64;
    let busy = readings.iter().enumerate().map(|(w, r)| (vec![worker(w)], r.busy_cycles as f64 / hz)).collect();
    let histogram = |of: fn(&Reading) -> &Counts, bounds: &[f64], unit: f64| {
        let list = readings.iter().enumerate();
        Samples::Histograms(list.map(|(w, r)| buckets(vec![worker(w)], of(r), bounds, unit)).collect())
    };
    vec![
        family("worker_turns", "Turns of a worker's loop", each(|r| r.turns)),
        family("worker_busy_turns", "Turns in which packets came", each(|r| r.busy_turns)),
        family("worker_busy_seconds", "Time of turns in which packets came", Samples::Sums(busy)),
        family("worker_packets", "Packets that came, from ports and from other workers", each(|r| r.packets)),
        family(
            "transit_seconds",
            "Time of packets from reception to the end of the turn that sent them",
            histogram(|r| &r.transit, &SECONDS, hz),
        ),
        family("packet_cycles", "Cycles of the time-stamp counter a packet", histogram(|r| &r.effort, &CYCLES, 1.0)),
    ]
}

/// Counts below each bound, of values that `unit` of make one.
fn buckets(labels: Labels, counts: &Counts, bounds: &[f64], unit: f64) -> (Labels, f64, Buckets) {
    let mut below = 0;
    let mut list = Vec::with_capacity(bounds.len() + 1);
    for &bound in bounds {
        let now = counts.at_most((bound * unit) as u64).max(below);
        list.push((bound, now - below));
        below = now;
    }
    list.push((f64::INFINITY, counts.total().saturating_sub(below)));
    (labels, counts.sum as f64 / unit, list)
}

fn by_worker(s: &Sources<'_>, of: impl Fn(&Counters) -> Vec<(&'static str, u64)>, label: &'static str) -> Samples {
    let workers = s.counters.iter().enumerate();
    let list =
        workers.flat_map(|(w, c)| of(c).into_iter().map(move |(value, n)| (vec![worker(w), text(label, value)], n)));
    Samples::Counters(list.collect())
}

const fn family(name: &'static str, help: &'static str, samples: Samples) -> Family {
    Family { name, help, samples }
}

const fn gauges(name: &'static str, help: &'static str, list: Vec<(Labels, f64)>) -> Family {
    family(name, help, Samples::Gauges(list))
}
