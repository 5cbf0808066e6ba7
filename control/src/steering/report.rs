//! What became of steering on a port, for people.

use dataplane::policy::{Level, Steered, Traffic};
use std::fmt;

/// The level of one kind of traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Which.
    pub(crate) traffic: Traffic,
    /// Its level.
    pub(crate) level: Level,
    /// Why not a higher one; empty where there is none.
    pub(crate) reason: String,
}

/// A port's levels, and why they are not higher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortSteering {
    /// The port's name.
    pub(crate) port: String,
    /// The driver's.
    pub(crate) driver: String,
    /// Receive queues.
    pub(crate) queues: u16,
    /// Entries of the redirection table; 0 without one.
    pub(crate) table: u16,
    /// The worker that gets what has no ports on an outside port, where that is one.
    pub(crate) entry0: Option<u8>,
    /// By kind of traffic.
    pub(crate) settled: Vec<Settled>,
}

impl PortSteering {
    /// All in software, for one reason.
    pub(crate) fn software(port: &str, driver: &str, queues: u16, table: u16, reason: &str) -> Self {
        let settled = |traffic| Settled { traffic, level: Level::Software, reason: reason.to_owned() };
        Self {
            port: port.to_owned(),
            driver: driver.to_owned(),
            queues,
            table,
            entry0: None,
            settled: Traffic::ALL.map(settled).into(),
        }
    }

    /// Says what a kind of traffic got.
    pub(crate) fn set(&mut self, traffic: Traffic, level: Level, reason: impl Into<String>) {
        if let Some(place) = self.settled.iter_mut().find(|s| s.traffic == traffic) {
            *place = Settled { traffic, level, reason: reason.into() };
        }
    }

    /// For workers, which check it.
    pub(crate) fn steered(&self) -> Steered {
        let mut steered = Steered::over(u8::try_from(self.queues).unwrap_or(u8::MAX));
        for s in &self.settled {
            steered.set(s.traffic, s.level);
        }
        steered
    }
}

impl fmt::Display for PortSteering {
    /// One line a level, the kinds that share it and their reason together.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "steering of {} ({}, {} queue(s)", self.port, self.driver, self.queues)?;
        if self.table > 0 {
            write!(f, ", {} entries", self.table)?;
        }
        if let Some(worker) = self.entry0 {
            write!(f, ", what has no ports to worker {worker}")?;
        }
        writeln!(f, ")")?;
        let mut left: Vec<&Settled> = self.settled.iter().collect();
        while let Some(first) = left.first().copied() {
            let (same, others): (Vec<_>, Vec<_>) =
                left.into_iter().partition(|s| (s.level, &s.reason) == (first.level, &first.reason));
            let names: Vec<_> = same.iter().map(|s| s.traffic.name()).collect();
            write!(f, "  {:<12} {}", first.level.name(), names.join("; "))?;
            if !first.reason.is_empty() {
                write!(f, " ({})", first.reason)?;
            }
            writeln!(f)?;
            left = others;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_with_one_level_and_reason_share_a_line() {
        let mut s = PortSteering::software("wan", "net_virtio", 2, 128, "no flow rules");
        s.set(Traffic::Ports, Level::RssByKey, "");
        s.entry0 = Some(1);
        assert_eq!(
            s.to_string(),
            "steering of wan (net_virtio, 2 queue(s), 128 entries, what has no ports to worker 1)\n\
             \x20 RSS by key   TCP, UDP\n\
             \x20 software     ICMP queries; PPTP GRE; ESP; L2TPv3; fragments, other (no flow rules)\n"
        );
        assert_eq!(
            (s.steered().level(Traffic::Ports), s.steered().level(Traffic::Esp)),
            (Level::RssByKey, Level::Software)
        );
    }
}
