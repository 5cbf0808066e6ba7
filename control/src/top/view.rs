//! What is shown: two samples, and what was between them. Only numbers become text here; nothing knows of a terminal.

use super::sample::{Latency, Sample};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

/// A table of the view. Columns come in the order of what is wanted most, so that a narrow screen may leave out the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) title: String,
    pub(super) heads: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
    /// The columns that are numbers.
    pub(super) numbers: Range<usize>,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// What runs.
    pub(super) head: String,
    /// What it does, all in all.
    pub(super) sum: String,
    pub(super) ports: Table,
    pub(super) workers: Table,
    pub(super) tables: Table,
    pub(super) protocols: Table,
    pub(super) drops: Table,
    pub(super) tunnels: Table,
    pub(super) clients: Table,
}

/// A number in at most five characters: `950`, `14.9k`, `1.35M`.
pub(super) fn short(n: f64) -> String {
    let (value, unit) = match n {
        n if n < 1000.0 => return if n.fract() == 0.0 || n >= 10.0 { format!("{n:.0}") } else { format!("{n:.1}") },
        n if n < 1e6 => (n / 1e3, "k"),
        n if n < 1e9 => (n / 1e6, "M"),
        n if n < 1e12 => (n / 1e9, "G"),
        n => (n / 1e12, "T"),
    };
    match value {
        v if v < 10.0 => format!("{v:.2}{unit}"),
        v if v < 100.0 => format!("{v:.1}{unit}"),
        v => format!("{v:.0}{unit}"),
    }
}

fn duration(seconds: u64) -> String {
    match seconds {
        s @ 0..=119 => format!("{s} s"),
        s @ 120..=7199 => format!("{} min", s / 60),
        s @ 7200..=172_799 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}

/// The value below which a share of the counts is, of what came between two readings of buckets.
fn quantile(now: &[(u64, u64)], then: &[(u64, u64)], share: f64) -> Option<u64> {
    let before: HashMap<u64, u64> = then.iter().copied().collect();
    let new: Vec<(u64, u64)> =
        now.iter().map(|(value, n)| (*value, n.saturating_sub(before.get(value).copied().unwrap_or(0)))).collect();
    let total: u64 = new.iter().map(|(_, n)| n).sum();
    let wanted = (total as f64 * share).ceil().max(1.0) as u64;
    let mut seen = 0;
    new.iter()
        .find(|(_, n)| {
            seen += n;
            seen >= wanted
        })
        .filter(|_| total > 0)
        .map(|(value, _)| *value)
}

fn micros(ns: Option<u64>) -> String {
    ns.map_or_else(|| "-".to_owned(), |ns| format!("{:.1}", ns as f64 / 1000.0))
}

/// What is between two moments, a second.
struct Between<'a> {
    then: &'a Sample,
    now: &'a Sample,
    seconds: f64,
}

impl Between<'_> {
    fn rate(&self, now: u64, then: u64) -> f64 {
        // A router that was started anew counts from zero.
        now.saturating_sub(then) as f64 / self.seconds
    }

    fn ports(&self) -> Table {
        let mut rows = Vec::new();
        let before: HashMap<&str, _> = self.then.ports.iter().map(|p| (p.port.as_str(), p)).collect();
        for p in &self.now.ports {
            let q = before.get(p.port.as_str()).copied().unwrap_or(p);
            let lost = p.device_counts.as_ref().map_or(0, |d| d.missed + d.no_buffers);
            rows.push(vec![
                p.port.clone(),
                short(self.rate(p.rx_packets, q.rx_packets)),
                short(self.rate(p.rx_bytes, q.rx_bytes) * 8.0),
                short(self.rate(p.tx_packets, q.tx_packets)),
                short(self.rate(p.tx_bytes, q.tx_bytes) * 8.0),
                short(p.rx_packets as f64),
                short(p.tx_packets as f64),
                short(lost as f64),
            ]);
        }
        let heads = vec!["port", "rx p/s", "rx bit/s", "tx p/s", "tx bit/s", "rx", "tx", "lost"];
        Table { title: "ports".to_owned(), heads, rows, numbers: 1..99 }
    }

    fn workers(&self) -> Table {
        let nothing = Latency::default();
        let mut rows = Vec::new();
        for (n, w) in self.now.workers.iter().enumerate() {
            let q = self.then.workers.get(n).unwrap_or(w);
            let l = self.now.latency.get(n).unwrap_or(&nothing);
            let m = self.then.latency.get(n).unwrap_or(&nothing);
            let busy = (l.busy_us - m.busy_us).max(0.0) / 1e4 / self.seconds;
            let at = |share| micros(quantile(&l.transit_ns, &m.transit_ns, share));
            let cycles = quantile(&l.cycles, &m.cycles, 0.5);
            rows.push(vec![
                w.worker.to_string(),
                w.cpu.map_or_else(|| "any".to_owned(), |cpu| cpu.to_string()),
                format!("{:.0} %", busy.min(100.0)),
                short(self.rate(l.packets, m.packets)),
                cycles.map_or_else(|| "-".to_owned(), |c| short(c as f64)),
                at(0.5),
                at(0.99),
                short(self.rate(w.handed_off, q.handed_off)),
                short(self.rate(w.handed_in, q.handed_in)),
                short(self.rate(w.dropped, q.dropped)),
                short(w.sessions as f64),
            ]);
        }
        let heads = vec![
            "worker", "cpu", "busy", "p/s", "cycles/p", "p50 µs", "p99 µs", "out/s", "in/s", "drops/s", "sessions",
        ];
        Table { title: "workers".to_owned(), heads, rows, numbers: 1..99 }
    }

    fn tables(&self) -> Table {
        let s = &self.now.stats;
        let t = &self.then.stats;
        let opened = |event: &str| {
            let of = |s: &super::sample::Stats| s.events.get(event).copied().unwrap_or(0);
            short(self.rate(of(s), of(t)))
        };
        let row = |name: &str, used: u64, event: &str| {
            let room = s.room.get(name).copied().unwrap_or(0);
            let fill = if room == 0 { "-".to_owned() } else { format!("{:.1} %", used as f64 * 100.0 / room as f64) };
            vec![name.to_owned(), short(used as f64), fill, opened(event)]
        };
        let rows = vec![
            row("sessions", s.sessions, "sessions_opened"),
            row("mappings", s.mappings, "mappings_opened"),
            row("subscribers", s.subscribers, "subscribers_opened"),
            row("tunnels", s.tunnels, "tunnels_opened"),
        ];
        Table { title: "tables".to_owned(), heads: vec!["table", "in use", "full", "new/s"], rows, numbers: 1..99 }
    }

    fn protocols(&self) -> Table {
        let mut rows = Vec::new();
        let before: HashMap<&str, _> = self.then.stats.protocols.iter().map(|p| (p.protocol.as_str(), p)).collect();
        for p in self.now.stats.protocols.iter().filter(|p| p.opened > 0) {
            let q = before.get(p.protocol.as_str()).copied().unwrap_or(p);
            rows.push(vec![
                p.protocol.clone(),
                short(self.rate(p.packets, q.packets)),
                short(p.sessions as f64),
                short(self.rate(p.opened, q.opened)),
                short(p.mappings as f64),
            ]);
        }
        let heads = vec!["protocol", "p/s", "sessions", "new/s", "mappings"];
        Table { title: "protocols".to_owned(), heads, rows, numbers: 1..99 }
    }

    /// Those that move now first, then those that moved most.
    fn drops(&self) -> Table {
        let before: HashMap<&str, u64> = self.then.drops.iter().map(|d| (d.reason.as_str(), d.packets)).collect();
        let mut list: Vec<_> = self.now.drops.iter().filter(|d| d.packets > 0).collect();
        let moved = |d: &super::sample::Drop| {
            d.packets.saturating_sub(before.get(d.reason.as_str()).copied().unwrap_or(d.packets))
        };
        list.sort_by_key(|d| (Reverse(moved(d)), Reverse(d.packets), d.reason.clone()));
        let rows =
            list.iter().map(|d| vec![d.reason.clone(), short(moved(d) as f64 / self.seconds), short(d.packets as f64)]);
        Table { title: "drops".to_owned(), heads: vec!["reason", "p/s", "total"], rows: rows.collect(), numbers: 1..99 }
    }

    /// Those that carry most now first.
    fn tunnels(&self) -> Table {
        let heads = vec!["vpn", "client", "server", "out bit/s", "in bit/s", "state", "client's id", "server's id"];
        let Some(list) = &self.now.tunnels else {
            return Table {
                title: format!("tunnels ({}: too many to follow)", short(self.now.stats.tunnels as f64)),
                heads,
                rows: Vec::new(),
                numbers: 3..5,
            };
        };
        let name = |t: &super::sample::Tunnel| {
            [&t.protocol, &t.client, &t.server, &t.client_id, &t.server_id].map(String::clone)
        };
        let before: HashMap<_, _> =
            self.then.tunnels.iter().flatten().map(|t| (name(t), (t.bytes_out, t.bytes_in))).collect();
        let mut rows: Vec<_> = list
            .iter()
            .map(|t| {
                // One that is new since then has sent all that it has sent.
                let (out, inward) = before.get(&name(t)).copied().unwrap_or_default();
                (self.rate(t.bytes_out, out) * 8.0, self.rate(t.bytes_in, inward) * 8.0, t)
            })
            .collect();
        rows.sort_by(|a, b| (b.0 + b.1).total_cmp(&(a.0 + a.1)).then_with(|| name(a.2).cmp(&name(b.2))));
        let rows = rows.into_iter().map(|(out, inward, t)| {
            let [protocol, client, server, client_id, server_id] = name(t);
            vec![protocol, client, server, short(out), short(inward), t.state.clone(), client_id, server_id]
        });
        Table { title: format!("tunnels ({})", list.len()), heads, rows: rows.collect(), numbers: 3..5 }
    }

    /// Those with most sessions first.
    fn clients(&self) -> Table {
        let heads = vec!["client", "sessions", "±/s", "tcp", "udp", "vpn"];
        let Some(list) = &self.now.clients else {
            return Table {
                title: format!("clients ({}: too many to follow)", short(self.now.stats.subscribers as f64)),
                heads,
                rows: Vec::new(),
                numbers: 1..99,
            };
        };
        let before: HashMap<&str, u64> =
            self.then.clients.iter().flatten().map(|c| (c.address.as_str(), c.sessions)).collect();
        let mut list: Vec<_> = list.iter().collect();
        list.sort_by_key(|c| (Reverse(c.sessions + c.tunnels), c.address.clone()));
        let rows = list.iter().map(|c| {
            let change = c.sessions as f64 - before.get(c.address.as_str()).copied().unwrap_or(0) as f64;
            let change = format!("{:+.0}", change / self.seconds);
            let ports = [c.ports_tcp, c.ports_udp, c.tunnels].map(|n| short(n as f64));
            let [tcp, udp, vpn] = ports;
            vec![c.address.clone(), short(c.sessions as f64), change, tcp, udp, vpn]
        });
        Table { title: "clients".to_owned(), heads, rows: rows.collect(), numbers: 1..99 }
    }
}

impl View {
    /// What was between two samples.
    pub(super) fn of(then: &Sample, now: &Sample) -> Self {
        let seconds = now.at.duration_since(then.at).as_secs_f64().max(0.001);
        let b = Between { then, now, seconds };
        let (s, t) = (&now.stats, &then.stats);
        let all = (now.latency.last(), then.latency.last());
        let at = |share| match all {
            (Some(l), Some(m)) => micros(quantile(&l.transit_ns, &m.transit_ns, share)),
            _ => "-".to_owned(),
        };
        let head = format!("Underpass {}, up {}, {}", s.version, duration(s.uptime_s), s.file);
        let sum = format!(
            "in {}/s  out {}/s  dropped {}/s  through the box p50 {} p99 {} µs",
            short(b.rate(s.received, t.received)),
            short(b.rate(s.sent, t.sent)),
            short(b.rate(s.dropped, t.dropped)),
            at(0.5),
            at(0.99),
        );
        Self {
            head,
            sum,
            ports: b.ports(),
            workers: b.workers(),
            tables: b.tables(),
            protocols: b.protocols(),
            drops: b.drops(),
            tunnels: b.tunnels(),
            clients: b.clients(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_true() {
        let cases = [
            (0.0, "0"),
            (0.4, "0.4"),
            (7.0, "7"),
            (9.94, "9.9"),
            (950.0, "950"),
            (1350.0, "1.35k"),
            (14_880_000.0, "14.9M"),
            (3.78e9, "3.78G"),
            (123e9, "123G"),
        ];
        for (n, text) in cases {
            assert_eq!(short(n), text);
        }
    }

    #[test]
    fn a_quantile_is_of_what_came_between() {
        let then = [(10, 1000), (20, 5)];
        let now = [(10, 1000), (20, 5), (30, 98), (40, 2)];
        assert_eq!(quantile(&now, &then, 0.5), Some(30));
        assert_eq!(quantile(&now, &then, 0.99), Some(40));
        assert_eq!(quantile(&now, &now, 0.5), None);
    }
}
