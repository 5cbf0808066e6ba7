//! Which fields of a row are shown, and how they are written for people.

use super::table::Cell;
use crate::api::protocol::What;
use serde_json::Value;

/// A column: its head, the field's path, and how it is written.
pub(super) struct Column {
    pub(super) head: &'static str,
    path: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// As it is; `-` where it is not.
    Text,
    /// A number with its thousands apart.
    Number,
    /// A number with a digit after its point.
    Fraction,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Time,
    /// PPTP's Call ID on the outside: most identifiers are not translated.
    Same,
    /// A link.
    Link,
}

const fn column(head: &'static str, path: &'static str, kind: Kind) -> Column {
    Column { head, path, kind }
}

use Kind::{Bytes, Fraction, Link, Number, Same, Text, Time};

const SESSIONS: &[Column] = &[
    column("protocol", "protocol", Text),
    column("inside", "inside", Text),
    column("outside", "outside", Text),
    column("remote", "remote", Text),
    column("state", "state", Text),
    column("opened by", "opened_by", Text),
    column("by", "by", Text),
    column("id", "id", Text),
    column("idle", "idle_ms", Time),
    column("ends in", "ends_in_ms", Time),
];

const MAPPINGS: &[Column] = &[
    column("protocol", "protocol", Text),
    column("inside", "inside", Text),
    column("outside", "outside", Text),
    column("state", "state", Text),
    column("sessions", "sessions", Number),
    column("unanswered", "unanswered", Number),
];

const SUBSCRIBERS: &[Column] = &[
    column("address", "address", Text),
    column("sessions", "sessions", Number),
    column("tunnels", "tunnels", Number),
    column("TCP ports", "ports_tcp", Number),
    column("UDP ports", "ports_udp", Number),
    column("ICMP ids", "ports_icmp", Number),
];

const VPN: &[Column] = &[
    column("protocol", "protocol", Text),
    column("client", "client", Text),
    column("server", "server", Text),
    column("address", "outside", Text),
    column("client's id", "client_id", Text),
    column("outside", "outside_id", Same),
    column("server's id", "server_id", Text),
    column("state", "state", Text),
    column("age", "age_ms", Time),
    column("packets out", "packets_out", Number),
    column("bytes out", "bytes_out", Bytes),
    column("packets in", "packets_in", Number),
    column("bytes in", "bytes_in", Bytes),
];

const PORTS: &[Column] = &[
    column("port", "port", Text),
    column("role", "role", Text),
    column("device", "device", Text),
    column("link", "link", Link),
    column("mtu", "mtu", Number),
    column("rx packets", "rx_packets", Number),
    column("rx bytes", "rx_bytes", Bytes),
    column("tx packets", "tx_packets", Number),
    column("tx bytes", "tx_bytes", Bytes),
    column("missed", "device_counts.missed", Number),
    column("no buffers", "device_counts.no_buffers", Number),
    column("rx errors", "device_counts.receive_errors", Number),
    column("tx errors", "device_counts.send_errors", Number),
];

const WORKERS: &[Column] = &[
    column("worker", "worker", Number),
    column("cpu", "cpu", Number),
    column("received", "received", Number),
    column("sent", "sent", Number),
    column("dropped", "dropped", Number),
    column("handed off", "handed_off", Number),
    column("handed in", "handed_in", Number),
    column("held", "held", Number),
    column("sessions", "sessions", Number),
    column("mappings", "mappings", Number),
    column("subscribers", "subscribers", Number),
    column("tunnels", "tunnels", Number),
];

const LATENCY: &[Column] = &[
    column("worker", "worker", Text),
    column("packets", "packets", Number),
    column("p50 µs", "p50_us", Fraction),
    column("p90 µs", "p90_us", Fraction),
    column("p99 µs", "p99_us", Fraction),
    column("p99.9 µs", "p99_9_us", Fraction),
    column("max µs", "max_us", Fraction),
    column("mean µs", "mean_us", Fraction),
    column("cycles p50", "cycles_p50", Fraction),
    column("p99", "cycles_p99", Fraction),
    column("mean", "cycles_mean", Fraction),
];

/// The columns of what is shown as a table.
pub(super) const fn of(what: What) -> Option<&'static [Column]> {
    match what {
        What::Sessions => Some(SESSIONS),
        What::Mappings => Some(MAPPINGS),
        What::Subscribers => Some(SUBSCRIBERS),
        What::Vpn => Some(VPN),
        What::Ports => Some(PORTS),
        What::Workers => Some(WORKERS),
        What::Latency => Some(LATENCY),
        What::Stats | What::Drops | What::Config => None,
    }
}

impl Column {
    /// Its cell of a row.
    pub(super) fn cell(&self, row: &Value) -> Cell {
        let value = self.path.split('.').try_fold(row, |at, name| at.get(name));
        let number = value.and_then(Value::as_u64);
        match self.kind {
            Text => Cell::Left(plain(value)),
            Number => Cell::Right(number.map_or_else(|| "-".to_owned(), grouped)),
            Fraction => {
                Cell::Right(value.and_then(Value::as_f64).map_or_else(|| "-".to_owned(), |n| format!("{n:.1}")))
            }
            Bytes => Cell::Right(number.map_or_else(|| "-".to_owned(), size)),
            Time => Cell::Right(number.map_or_else(|| "-".to_owned(), time)),
            Same => {
                let same = value.is_some() && value == row.get("client_id");
                Cell::Left(if same { "same".to_owned() } else { plain(value) })
            }
            Link => Cell::Left(link(value)),
        }
    }
}

/// A value as text.
pub(super) fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn link(value: Option<&Value>) -> String {
    match value.and_then(|l| l.get("up")).and_then(Value::as_bool) {
        None => "-".to_owned(),
        Some(false) => "down".to_owned(),
        Some(true) => match value.and_then(|l| l.get("mbps")).and_then(Value::as_u64) {
            Some(mbps) if mbps >= 1000 => format!("up {} Gb/s", mbps / 1000),
            Some(mbps) => format!("up {mbps} Mb/s"),
            None => "up".to_owned(),
        },
    }
}

/// A number with its thousands apart.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1000),
        10_000_000..=9_999_999_999 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}

pub(super) fn time(ms: u64) -> String {
    match ms / 1000 {
        s @ 0..=119 => format!("{s} s"),
        s @ 120..=7199 => format!("{} min", s / 60),
        s @ 7200..=172_799 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}
