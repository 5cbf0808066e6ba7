//! VPN tunnels as the final account tells them: who with whom, by which identifiers, how much.
//!
//! Taken when no worker runs any more, so the rows of all workers are of one moment.

use dataplane::io::Io;
use dataplane::passthrough::show::{self, Row};
use dataplane::types::Tick;
use dataplane::worker::Worker;
use serde::Serialize;
use std::fmt;
use std::net::Ipv4Addr;

/// Rows that are printed.
const SHOWN: usize = 10;

/// One tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Tunnel {
    /// `pptp`, `esp`, `l2tpv3`, `ike`, or `proto` and its number.
    pub(crate) protocol: String,
    /// The inside host.
    pub(crate) client: Ipv4Addr,
    /// Our address towards the server.
    pub(crate) outside: Ipv4Addr,
    /// The remote host.
    pub(crate) server: Ipv4Addr,
    /// The client's Call ID, SPI or session ID, and what the server sees of it; then the server's. `-` is none yet.
    pub(crate) client_id: String,
    pub(crate) outside_id: String,
    pub(crate) server_id: String,
    /// `pending`, `paired`, `confirmed` or `closing`.
    pub(crate) state: String,
    /// Milliseconds since it began.
    pub(crate) age_ms: u32,
    pub(crate) packets_out: u64,
    pub(crate) bytes_out: u64,
    pub(crate) packets_in: u64,
    pub(crate) bytes_in: u64,
}

impl From<Row> for Tunnel {
    fn from(row: Row) -> Self {
        Self {
            protocol: row.kind.to_string(),
            client: row.inside,
            outside: row.outside,
            server: row.remote,
            client_id: row.written(row.inside_id),
            outside_id: row.written(row.outside_id),
            server_id: row.written(row.remote_id),
            state: row.state.to_string(),
            age_ms: row.age,
            packets_out: row.out.0,
            bytes_out: row.out.1,
            packets_in: row.inward.0,
            bytes_in: row.inward.1,
        }
    }
}

/// All tunnels, by protocol, client and server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Tunnels(pub(crate) Vec<Tunnel>);

impl Tunnels {
    /// Those of workers that have ended.
    pub(crate) fn of<I: Io>(workers: &[Worker<I>], now: Tick) -> Self {
        Self::sorted(show::rows(workers.iter().map(Worker::nat), now).into_iter().map(Tunnel::from).collect())
    }

    /// These, by protocol, client and server.
    pub(crate) fn sorted(mut rows: Vec<Tunnel>) -> Self {
        rows.sort_by(|a, b| {
            let key = |t: &'_ Tunnel| (t.client, t.server, t.client_id.clone());
            a.protocol.cmp(&b.protocol).then_with(|| key(a).cmp(&key(b)))
        });
        Self(rows)
    }

    /// How many there are of each protocol.
    pub(crate) fn counts(&self) -> Vec<(&str, usize)> {
        self.0.chunk_by(|a, b| a.protocol == b.protocol).map(|c| (c[0].protocol.as_str(), c.len())).collect()
    }

    /// Those that are printed: of each protocol as many, as far as they go.
    fn shown(&self) -> Vec<&Tunnel> {
        let mut places: Vec<(usize, &Tunnel)> =
            self.0.chunk_by(|a, b| a.protocol == b.protocol).flat_map(|c| c.iter().enumerate()).collect();
        places.sort_by_key(|(place, _)| *place);
        places.truncate(SHOWN);
        places.sort_by(|(i, a), (j, b)| a.protocol.cmp(&b.protocol).then(i.cmp(j)));
        places.into_iter().map(|(_, tunnel)| tunnel).collect()
    }

    /// The table, each line without its end: nothing where there is no tunnel. The columns come in the order of what is
    /// wanted most, so that a narrow terminal may cut the last ones.
    pub(crate) fn lines(&self) -> Vec<String> {
        if self.0.is_empty() {
            return Vec::new();
        }
        const HEAD: [&str; 9] = ["", "client", "server", "client's", "outside", "server's", "state", "age", "out / in"];
        let cells = |t: &&Tunnel| {
            [
                t.protocol.clone(),
                t.client.to_string(),
                t.server.to_string(),
                t.client_id.clone(),
                // Only PPTP's is translated.
                if t.outside_id == t.client_id { "same".to_owned() } else { t.outside_id.clone() },
                t.server_id.clone(),
                t.state.clone(),
                age(t.age_ms),
                format!("{} ({}) / {} ({})", t.packets_out, size(t.bytes_out), t.packets_in, size(t.bytes_in)),
            ]
        };
        let shown = self.shown();
        let rows: Vec<[String; 9]> = std::iter::once(HEAD.map(str::to_owned)).chain(shown.iter().map(cells)).collect();
        let widths = [0, 1, 2, 3, 4, 5, 6, 7, 8].map(|n| rows.iter().map(|r| r[n].len()).max().unwrap_or(0));
        let counts: Vec<_> = self.counts().into_iter().map(|(what, n)| format!("{n} {what}")).collect();
        let mut lines = vec![format!("VPN tunnels: {}", counts.join(", "))];
        lines.extend(rows.iter().map(|row| {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
            format!("  {}", cells.collect::<Vec<_>>().join(" ")).trim_end().to_owned()
        }));
        let more = self.0.len() - shown.len();
        if more > 0 {
            lines.push(format!("  … {more} more"));
        }
        lines
    }
}

impl fmt::Display for Tunnels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn age(ms: u32) -> String {
    match ms / 1000 {
        s @ 0..=119 => format!("{s} s"),
        s @ 120..=7199 => format!("{} min", s / 60),
        s => format!("{} h", s / 3600),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::passthrough::tunnel::{Kind, State};

    fn row(kind: Kind, host: u8) -> Tunnel {
        let (inside, outside, remote) = ([192, 168, 1, host].into(), [203, 0, 113, 2].into(), [198, 51, 100, 7].into());
        let (inside_id, remote_id) = (Some(0x1234), Some(0xabcd_0001));
        let outside_id = if kind == Kind::Pptp { Some(0x4321) } else { inside_id };
        let state = State::Confirmed;
        let (out, inward) = ((3, 1200), (4, 56_000));
        Row { kind, state, inside, outside, remote, inside_id, outside_id, remote_id, age: 65_000, out, inward }.into()
    }

    #[test]
    fn the_table_is_bounded_and_shows_every_protocol() {
        let rows = (0..40).map(|n| row(Kind::Esp, n)).chain((0..2).map(|n| row(Kind::Pptp, n)));
        let lines = Tunnels(rows.collect()).lines();
        assert_eq!(lines[0], "VPN tunnels: 40 esp, 2 pptp");
        assert_eq!((lines.len(), lines.last().unwrap().as_str()), (1 + 1 + SHOWN + 1, "  … 32 more"));
        assert_eq!(lines.iter().filter(|l| l.starts_with("  pptp")).count(), 2);
        assert!(lines[2].contains("0x00001234 same"), "{}", lines[2]);
        assert!(lines[11].contains("4660") && lines[11].contains("17185"), "{}", lines[11]);
        assert!(lines[11].ends_with("confirmed 65 s 3 (1200 B) / 4 (56 kB)"), "{}", lines[11]);
    }

    #[test]
    fn without_a_tunnel_nothing_is_said() {
        assert_eq!(Tunnels::default().to_string(), "");
    }
}
