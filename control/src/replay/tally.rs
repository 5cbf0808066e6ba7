//! What became of the packets of a replay, by what caused it: a packet from inside, one from outside, or the clock.

use crate::account::Report;
use crate::tunnels::Tunnels;
use dataplane::types::PortId;
use dataplane::verdict::{Counters, DropReason, Event};
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// What made counters move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A packet on the inside port.
    Inside,
    /// A packet on the outside port.
    Outside,
    /// A timer.
    Clock,
}

/// All counters at one moment, summed over workers, in the order of [`names`].
type Snapshot = Vec<u64>;

/// Counters that moved, and why.
pub(super) struct Tally {
    names: Vec<String>,
    last: Snapshot,
    moved: [Snapshot; 3],
}

/// A counter that moved.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// The counter: a word of its own, an event's label, or `dropped` and a reason's label.
    pub(super) what: String,
    /// Moved by packets from inside.
    pub(super) from_inside: u64,
    /// Moved by packets from outside.
    pub(super) from_outside: u64,
    /// Moved by a timer.
    pub(super) by_clock: u64,
}

/// The account as rows, then as one.
#[derive(Debug, Serialize)]
pub(super) struct Verdicts {
    /// In a fixed order; only what moved.
    pub(super) rows: Vec<Row>,
    /// All together.
    pub(super) account: Report,
}

impl Tally {
    /// Nothing moved yet; `ports` are the names of all ports.
    pub(super) fn new(ports: &[String]) -> Self {
        let mut names = vec!["received".to_owned()];
        names.extend(Event::ALL.iter().map(|e| e.label().to_owned()));
        names.extend(DropReason::ALL.iter().map(|r| format!("dropped {}", r.label())));
        names.extend(ports.iter().map(|p| format!("sent by {p}")));
        let zero = vec![0; names.len()];
        Self { last: zero.clone(), moved: [zero.clone(), zero.clone(), zero], names }
    }

    /// Ascribes what moved since the last call to a cause.
    pub(super) fn note(&mut self, counters: &[Arc<Counters>], cause: Cause) {
        let ports = self.names.len() - 1 - Event::COUNT - DropReason::COUNT;
        let now = snapshot(counters, ports);
        let Some(moved) = self.moved.get_mut(cause as usize) else { return };
        for ((moved, last), now) in moved.iter_mut().zip(&self.last).zip(&now) {
            *moved += now - last;
        }
        self.last = now;
    }

    /// The rows and the account of counters that move no more.
    pub(super) fn verdicts(&self, counters: &[Arc<Counters>], vpn: Tunnels) -> Verdicts {
        let [inside, outside, clock] = &self.moved;
        let rows = self.names.iter().zip(inside).zip(outside).zip(clock);
        let rows = rows.map(|(((what, &from_inside), &from_outside), &by_clock)| Row {
            what: what.clone(),
            from_inside,
            from_outside,
            by_clock,
        });
        Verdicts {
            rows: rows.filter(|r| r.from_inside + r.from_outside + r.by_clock > 0).collect(),
            account: Report::of(counters, vpn),
        }
    }
}

fn snapshot(counters: &[Arc<Counters>], ports: usize) -> Snapshot {
    let sum = |count: &dyn Fn(&Counters) -> u64| counters.iter().map(|c| count(c)).sum::<u64>();
    let ids = || (0u8..).map(PortId).take(ports);
    let received = sum(&|c| ids().filter_map(|p| c.port(p)).map(|p| p.rx_packets.get()).sum());
    let mut all = vec![received];
    all.extend(Event::ALL.iter().map(|&e| sum(&|c| c.events(e))));
    all.extend(DropReason::ALL.iter().map(|&r| sum(&|c| c.drops(r))));
    all.extend(ids().map(|id| sum(&|c| c.port(id).map_or(0, |p| p.tx_packets.get()))));
    all
}

impl fmt::Display for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|r| r.what.len()).max().unwrap_or(0);
        writeln!(f, "{:width$} {:>12} {:>12} {:>12}", "", "from inside", "from outside", "by clock")?;
        let cell = |n: u64| if n == 0 { "-".to_owned() } else { n.to_string() };
        for r in &self.rows {
            let (inside, outside, clock) = (cell(r.from_inside), cell(r.from_outside), cell(r.by_clock));
            writeln!(f, "{:width$} {inside:>12} {outside:>12} {clock:>12}", r.what)?;
        }
        writeln!(f, "{}", self.account.equation())?;
        write!(f, "{}", self.account.vpn)
    }
}
