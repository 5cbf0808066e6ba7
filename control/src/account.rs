//! The final account: where every packet went.

use crate::steering::PortSteering;
use crate::tunnels::Tunnels;
use dataplane::verdict::{Account, Counters, DropReason, Event};
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// Sums over all workers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// From ports.
    pub(crate) received: u64,
    /// Made by the box: ARP, ICMP errors, fragments, copies between workers.
    pub(crate) originated: u64,
    /// To ports.
    pub(crate) sent: u64,
    /// Ended in the box as they should.
    pub(crate) consumed: u64,
    /// Dropped, by reason.
    pub(crate) dropped: u64,
    /// Came in and are not accounted for; anything but 0 is a bug.
    pub(crate) unaccounted: i64,
    /// Each reason with its count, the most frequent first.
    pub(crate) drops: Vec<(&'static str, u64)>,
    /// Each event with its count.
    pub(crate) events: Vec<(&'static str, u64)>,
    /// VPN tunnels that there were at the end. In JSON they stand beside the account.
    #[serde(skip)]
    pub(crate) vpn: Tunnels,
    /// How packets came to their workers; empty with one worker.
    #[serde(skip)]
    pub(crate) steering: Vec<PortSteering>,
}

/// Logs what workers have to tell of VPNs that cannot work as they are: each pair of hosts once.
pub(crate) fn log_notices(counters: &[Arc<Counters>]) {
    for notice in counters.iter().flat_map(|c| std::iter::from_fn(|| c.notices.take())) {
        tracing::warn!("{notice}");
    }
}

impl Report {
    /// Adds up.
    pub(crate) fn of(counters: &[Arc<Counters>], vpn: Tunnels) -> Self {
        let total = counters.iter().fold(Account::default(), |sum, c| sum.plus(c.account()));
        let mut drops: Vec<_> = DropReason::ALL
            .iter()
            .map(|&r| (r.label(), counters.iter().map(|c| c.drops(r)).sum::<u64>()))
            .filter(|(_, n)| *n > 0)
            .collect();
        drops.sort_by_key(|(label, n)| (std::cmp::Reverse(*n), *label));
        let events = Event::ALL
            .iter()
            .map(|&e| (e.label(), counters.iter().map(|c| c.events(e)).sum::<u64>()))
            .filter(|(_, n)| *n > 0)
            .collect();
        Self {
            received: total.received,
            originated: total.originated,
            sent: total.sent,
            consumed: total.consumed,
            dropped: total.dropped,
            unaccounted: total.unaccounted(),
            drops,
            events,
            vpn,
            steering: Vec::new(),
        }
    }

    /// Where all packets went, in one line.
    pub(crate) fn equation(&self) -> String {
        let missing =
            if self.unaccounted == 0 { String::new() } else { format!(" + UNACCOUNTED {}", self.unaccounted) };
        format!(
            "account: received {} + originated {} = sent {} + consumed {} + dropped {}{missing}",
            self.received, self.originated, self.sent, self.consumed, self.dropped,
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.equation())?;
        for (label, n) in &self.drops {
            writeln!(f, "  dropped {label:<24} {n:>12}")?;
        }
        for (label, n) in &self.events {
            writeln!(f, "  {label:<32} {n:>12}")?;
        }
        write!(f, "{}", self.vpn)?;
        self.steering.iter().try_for_each(|port| write!(f, "{port}"))
    }
}
