//! What the API says at a moment, as far as the view needs it.

use crate::api::client::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Instant;

/// More subscribers, or tunnels, than are asked for each time: their rows would keep control busy.
const MANY: u64 = 20_000;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) stats: Stats,
    pub(super) ports: Vec<Port>,
    pub(super) workers: Vec<Worker>,
    /// The workers', then that of all.
    pub(super) latency: Vec<Latency>,
    pub(super) drops: Vec<Drop>,
    /// `None` where there are too many to ask for.
    pub(super) tunnels: Option<Vec<Tunnel>>,
    pub(super) clients: Option<Vec<Subscriber>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Stats {
    pub(super) version: String,
    pub(super) file: String,
    pub(super) uptime_s: u64,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) dropped: u64,
    pub(super) sessions: u64,
    pub(super) mappings: u64,
    pub(super) subscribers: u64,
    pub(super) tunnels: u64,
    pub(super) room: BTreeMap<String, u64>,
    pub(super) events: BTreeMap<String, u64>,
    pub(super) protocols: Vec<Protocol>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Protocol {
    pub(super) protocol: String,
    pub(super) sessions: u64,
    pub(super) opened: u64,
    pub(super) mappings: u64,
    pub(super) packets: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Port {
    pub(super) port: String,
    pub(super) rx_packets: u64,
    pub(super) rx_bytes: u64,
    pub(super) tx_packets: u64,
    pub(super) tx_bytes: u64,
    pub(super) device_counts: Option<Device>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Device {
    pub(super) missed: u64,
    pub(super) no_buffers: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Worker {
    pub(super) worker: u64,
    pub(super) cpu: Option<u64>,
    pub(super) dropped: u64,
    pub(super) handed_off: u64,
    pub(super) handed_in: u64,
    pub(super) sessions: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Latency {
    pub(super) packets: u64,
    pub(super) busy_us: f64,
    /// Nanoseconds through the box: the greatest of a bucket, and how many.
    pub(super) transit_ns: Vec<(u64, u64)>,
    /// Cycles a packet.
    pub(super) cycles: Vec<(u64, u64)>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Drop {
    pub(super) reason: String,
    pub(super) packets: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Tunnel {
    pub(super) protocol: String,
    pub(super) client: String,
    pub(super) server: String,
    pub(super) client_id: String,
    pub(super) server_id: String,
    pub(super) state: String,
    pub(super) bytes_out: u64,
    pub(super) bytes_in: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Subscriber {
    pub(super) address: String,
    pub(super) sessions: u64,
    pub(super) tunnels: u64,
    pub(super) ports_tcp: u64,
    pub(super) ports_udp: u64,
}

fn ask<T: DeserializeOwned>(client: &mut Client, what: &str) -> anyhow::Result<Vec<T>> {
    let mut request = Map::new();
    request.insert("verb".into(), json!("show"));
    request.insert("what".into(), json!(what));
    let mut rows = Vec::new();
    client.ask(request, |row: Value| {
        rows.push(serde_json::from_value(row)?);
        Ok(())
    })?;
    Ok(rows)
}

impl Sample {
    /// Asks for everything.
    pub(super) fn take(client: &mut Client) -> anyhow::Result<Self> {
        let at = Instant::now();
        let stats: Stats = ask(client, "stats")?.into_iter().next().unwrap_or_default();
        Ok(Self {
            at,
            ports: ask(client, "ports")?,
            workers: ask(client, "workers")?,
            latency: ask(client, "latency")?,
            drops: ask(client, "drops")?,
            tunnels: if stats.tunnels <= MANY { Some(ask(client, "vpn")?) } else { None },
            clients: if stats.subscribers <= MANY { Some(ask(client, "subscribers")?) } else { None },
            stats,
        })
    }
}
