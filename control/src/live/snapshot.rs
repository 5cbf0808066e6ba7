//! What is told without asking a worker: counters, devices, the model.

use super::Live;
use crate::api::protocol::What;
use crate::latency::Reading;
use crate::metrics::{Sources, Usage};
use dataplane::census::{Census, Kind};
use dataplane::types::{Direction, PortId};
use dataplane::verdict::{Account, Counters, DropReason, Event};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// How many of something there are, by how many began and ended.
fn alive(counters: &[Arc<Counters>], opened: Event, closed: Event) -> u64 {
    let sum = |e: Event| counters.iter().map(|c| c.events(e)).sum::<u64>();
    // Read while workers count: what ended is read first, so that it never exceeds what began.
    let closed = sum(closed);
    sum(opened).saturating_sub(closed)
}

fn gauges(counters: &[Arc<Counters>]) -> [(&'static str, u64); 4] {
    [
        ("sessions", alive(counters, Event::SessionsOpened, Event::SessionsClosed)),
        ("mappings", alive(counters, Event::MappingsOpened, Event::MappingsClosed)),
        ("subscribers", alive(counters, Event::SubscribersOpened, Event::SubscribersClosed)),
        ("tunnels", alive(counters, Event::TunnelsOpened, Event::TunnelsClosed)),
    ]
}

impl Live {
    /// The rows of something.
    pub(super) fn snapshot(&self, what: What) -> Vec<Value> {
        match what {
            What::Stats => vec![self.stats()],
            What::Drops => self.drops(),
            What::Ports => self.ports(),
            What::Workers => self.workers(),
            What::Latency => self.latency(),
            What::Config => self.model.settings().into_iter().map(|s| json!(s)).collect(),
            What::Sessions | What::Mappings | What::Subscribers | What::Vpn => Vec::new(),
        }
    }

    fn stats(&self) -> Value {
        let counters = &self.engine.counters;
        let account = counters.iter().fold(Account::default(), |sum, c| sum.plus(c.account()));
        let events = Event::ALL.iter().map(|&e| (e.label(), counters.iter().map(|c| c.events(e)).sum::<u64>()));
        let sizes = &self.engine.rules.policy.sizes;
        let mut row = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "file": self.model.file(),
            "uptime_s": self.started.elapsed().as_secs(),
            "workers": counters.len(),
            "received": account.received,
            "originated": account.originated,
            "sent": account.sent,
            "consumed": account.consumed,
            "dropped": account.dropped,
            "held": account.held.cast_signed().max(0),
            "room": {
                "sessions": sizes.sessions,
                "mappings": sizes.mappings,
                "subscribers": sizes.subscribers,
                "tunnels": self.engine.rules.policy.passthrough.tunnels,
            },
            "protocols": Kind::ALL.iter().map(|&kind| self.protocol(kind)).collect::<Vec<_>>(),
            "events": events.map(|(label, n)| (label.to_owned(), n.into())).collect::<Map<_, Value>>(),
        });
        if let Some(row) = row.as_object_mut() {
            row.extend(gauges(counters).map(|(name, n)| (name.to_owned(), n.into())));
        }
        row
    }

    fn protocol(&self, kind: Kind) -> Value {
        let sum = |of: &dyn Fn(&Census) -> u64| self.engine.counters.iter().map(|c| of(&c.census)).sum::<u64>();
        json!({
            "protocol": kind.label(),
            "sessions": sum(&|c| c.sessions(kind)),
            "opened": sum(&|c| c.sessions_begun(kind)),
            "mappings": sum(&|c| c.mappings(kind)),
            "packets": sum(&|c| c.translated(Direction::Out, kind) + c.translated(Direction::In, kind)),
        })
    }

    /// Each worker, then all together.
    fn latency(&self) -> Vec<Value> {
        let readings: Vec<Reading> = self.engine.counters.iter().map(|c| Reading::of(&c.meter)).collect();
        let hz = self.engine.hz();
        let mut rows: Vec<Value> = readings.iter().enumerate().map(|(n, r)| r.row(&json!(n), hz)).collect();
        if let Some((first, others)) = readings.split_first() {
            let mut all = first.clone();
            others.iter().for_each(|r| all.merge(r));
            rows.push(all.row(&json!("all"), hz));
        }
        rows
    }

    /// What metrics are made of.
    pub(crate) fn sources(&self) -> Sources<'_> {
        let counters = &self.engine.counters;
        let policy = &self.engine.rules.policy;
        let sizes = &policy.sizes;
        let room = |name| match name {
            "sessions" => sizes.sessions,
            "mappings" => sizes.mappings,
            "subscribers" => sizes.subscribers,
            _ => policy.passthrough.tunnels,
        };
        let mut usage: Vec<Usage> =
            gauges(counters).into_iter().map(|(table, used)| Usage { table, used, room: room(table) as u64 }).collect();
        // Each mapping has a port of the pool, but for those that are forwards.
        let range = u64::from(policy.port_range.end() - policy.port_range.start()) + 1;
        for (table, kind) in [("ports_tcp", Kind::Tcp), ("ports_udp", Kind::Udp), ("ports_icmp", Kind::Icmp)] {
            let used = counters.iter().map(|c| c.census.mappings(kind)).sum();
            usage.push(Usage { table, used, room: u64::from(self.engine.rules.pool_size()) * range });
        }
        Sources {
            counters,
            places: &self.places,
            hz: self.engine.hz(),
            started: self.since,
            ports: self.model.ports().iter().map(|p| (p.name.clone(), p.role.as_str())).collect(),
            devices: self.engine.ports().iter().map(|p| (p.stats().ok(), p.link().ok())).collect(),
            usage,
        }
    }

    fn drops(&self) -> Vec<Value> {
        let row = |&r: &DropReason| {
            let packets: u64 = self.engine.counters.iter().map(|c| c.drops(r)).sum();
            let meaning: Vec<&str> = r.explanation().lines().map(str::trim).collect();
            json!({ "reason": r.label(), "packets": packets, "meaning": meaning.join(" ").trim() })
        };
        DropReason::ALL.iter().map(row).collect()
    }

    fn ports(&self) -> Vec<Value> {
        let row = |((n, model), port): ((u8, &config::Located<config::Port>), &dpdk::ActivePort)| {
            let sum = |of: &dyn Fn(&dataplane::verdict::PortCounters) -> u64| -> u64 {
                self.engine.counters.iter().filter_map(|c| c.port(PortId(n)).map(of)).sum()
            };
            let link = port.link().ok();
            let stats = port.stats().ok();
            json!({
                "port": model.name,
                "role": model.role.as_str(),
                "device": model.device.value.to_string(),
                "addresses": model.addresses.iter().map(|a| a.value.to_string()).collect::<Vec<_>>(),
                "mtu": model.mtu.value,
                "link": link.map(|l| json!({ "up": l.up, "mbps": l.speed_mbps, "full_duplex": l.full_duplex })),
                "rx_packets": sum(&|p| p.rx_packets.get()),
                "rx_bytes": sum(&|p| p.rx_bytes.get()),
                "tx_packets": sum(&|p| p.tx_packets.get()),
                "tx_bytes": sum(&|p| p.tx_bytes.get()),
                "device_counts": stats.map(|s| json!({
                    "received": s.received,
                    "sent": s.sent,
                    "received_bytes": s.received_bytes,
                    "sent_bytes": s.sent_bytes,
                    "missed": s.missed,
                    "no_buffers": s.no_buffers,
                    "receive_errors": s.receive_errors,
                    "send_errors": s.send_errors,
                })),
            })
        };
        let mut rows: Vec<Value> = (0u8..).zip(self.model.ports()).zip(self.engine.ports()).map(row).collect();
        for (row, steering) in rows.iter_mut().zip(&self.engine.steering) {
            let settled = steering.settled.iter();
            let levels: Vec<_> = settled
                .map(|s| json!({ "traffic": s.traffic.name(), "level": s.level.name(), "reason": s.reason }))
                .collect();
            row["driver"] = json!(steering.driver);
            row["queues"] = json!(steering.queues);
            row["steering"] = json!(levels);
        }
        rows
    }

    fn workers(&self) -> Vec<Value> {
        let row = |((n, counters), place): ((usize, &Arc<Counters>), &crate::machine::Place)| {
            let a = counters.account();
            let mut row = json!({
                "worker": n,
                "cpu": place.cpu,
                "received": a.received,
                "sent": a.sent,
                "dropped": a.dropped,
                "handed_off": a.handed_off,
                "handed_in": a.handed_in,
                "held": a.held.cast_signed().max(0),
            });
            if let Some(row) = row.as_object_mut() {
                row.extend(gauges(std::slice::from_ref(counters)).map(|(name, n)| (name.to_owned(), n.into())));
            }
            row
        };
        self.engine.counters.iter().enumerate().zip(&self.places).map(row).collect()
    }
}
