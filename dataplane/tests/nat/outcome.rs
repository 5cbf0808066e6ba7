//! What one step of a test brought.

use crate::lab::PORTS;
use dataplane::types::PortId;
use dataplane::verdict::DropReason;
use std::collections::BTreeMap;
use testkit::{Seen, Transport};

/// What came out of the box, and what was dropped, in one step.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What each port sent.
    pub(crate) sent: [Vec<Seen>; 3],
    /// The same as bytes.
    pub(crate) raw: [Vec<Vec<u8>>; 3],
    pub(crate) drops: BTreeMap<DropReason, u64>,
}

impl Outcome {
    pub(crate) fn at(&self, port: PortId) -> &[Seen] {
        &self.sent[port.index()]
    }

    pub(crate) fn raw_at(&self, port: PortId) -> &[Vec<u8>] {
        &self.raw[port.index()]
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.sent.iter().all(Vec::is_empty)
    }

    /// The one frame sent, by this port, and nothing dropped.
    #[track_caller]
    pub(crate) fn only(mut self, port: PortId) -> Seen {
        let total: usize = self.sent.iter().map(Vec::len).sum();
        assert!(total == 1 && self.at(port).len() == 1 && self.drops.is_empty(), "not one frame by {port:?}: {self}");
        self.sent[port.index()].remove(0)
    }

    /// The one frame sent, by this port, that is not ARP.
    #[track_caller]
    pub(crate) fn only_of(mut self, port: PortId) -> Seen {
        self.sent[port.index()].retain(|s| !matches!(s.transport, Transport::Arp(_)));
        self.only(port)
    }

    /// Nothing sent, and one packet dropped for this reason.
    #[track_caller]
    pub(crate) fn dropped(&self, reason: DropReason) {
        assert!(self.is_silent(), "something was sent: {self}");
        self.dropped_and_told(reason);
    }

    /// One packet dropped for this reason; something may have been sent.
    #[track_caller]
    pub(crate) fn dropped_and_told(&self, reason: DropReason) {
        assert_eq!(self.drops, BTreeMap::from([(reason, 1)]), "{self}");
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for port in PORTS {
            for seen in self.at(port) {
                write!(f, "\n  {port:?} sent {seen}")?;
            }
        }
        write!(f, "\n  drops {:?}", self.drops)
    }
}
