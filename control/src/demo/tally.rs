//! What became of the conversations.

use super::talk::Kind;

/// How a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Everything arrived right, and nothing else did.
    Verified,
    /// Something did not.
    Failed,
    /// It fell silent while the dataplane dropped packets for want of capacity, which it may.
    Lost,
}

/// Conversations of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) started: u64,
    pub(super) verified: u64,
    pub(super) failed: u64,
    pub(super) lost: u64,
}

impl Count {
    /// Neither verified nor failed yet.
    pub(super) fn under_way(&self) -> u64 {
        self.started.saturating_sub(self.verified + self.failed + self.lost)
    }
}

/// Faults that are told in full.
const TOLD: usize = 20;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    counts: [Count; Kind::COUNT],
    /// Frames that belong to nobody, or are damaged so that it cannot be told to whom.
    pub(super) strays: u64,
    /// TCP segments sent again.
    pub(super) retransmitted: u64,
    /// Segments of PPTP control connections sent again.
    pub(super) resent: u64,
    /// ESP packets that went to another client first where several waited at once, and what was said again for it.
    pub(super) misled: u64,
    pub(super) retold: u64,
    /// Bulk packets that arrived at both ends, and that did not.
    pub(super) bulk_home: u64,
    pub(super) bulk_lost: u64,
    /// The first faults, in words.
    pub(super) faults: Vec<String>,
}

impl Tally {
    pub(super) fn of(&self, kind: Kind) -> Count {
        self.counts[kind as usize]
    }

    /// Over all kinds.
    pub(super) fn sum(&self) -> Count {
        self.counts.iter().fold(Count::default(), |a, b| Count {
            started: a.started + b.started,
            verified: a.verified + b.verified,
            failed: a.failed + b.failed,
            lost: a.lost + b.lost,
        })
    }

    /// Whether nothing went wrong. What was lost to overload did not arrive either, but did not arrive wrong.
    pub(super) fn is_good(&self) -> bool {
        let sum = self.sum();
        sum.failed == 0 && self.strays == 0 && sum.under_way() == 0 && sum.verified > 0
    }

    pub(super) fn start(&mut self, kind: Kind) {
        self.counts[kind as usize].started += 1;
    }

    pub(super) fn end(&mut self, kind: Kind, outcome: Outcome) {
        let count = &mut self.counts[kind as usize];
        match outcome {
            Outcome::Verified => count.verified += 1,
            Outcome::Failed => count.failed += 1,
            Outcome::Lost => count.lost += 1,
        }
    }

    /// One that was verified turned out wrong after all.
    pub(super) fn retract(&mut self, kind: Kind) {
        let count = &mut self.counts[kind as usize];
        count.verified = count.verified.saturating_sub(1);
    }

    pub(super) fn arp(&mut self, started: u64, verified: u64, failed: u64) {
        self.counts[Kind::Arp as usize] = Count { started, verified, failed, lost: 0 };
    }

    /// The bulk flows, of which `lossy` lost packets and those in `wrong` did worse.
    pub(super) fn bulk(
        &mut self,
        started: u64,
        lost: u64,
        lossy: u64,
        wrong: &[String],
        overloaded: bool,
        ended: bool,
    ) {
        let mut count = Count { started, failed: wrong.len() as u64, ..Count::default() };
        *(if overloaded { &mut count.lost } else { &mut count.failed }) += lossy;
        if ended {
            count.verified = started - count.failed - count.lost;
        }
        self.counts[Kind::Bulk as usize] = count;
        self.bulk_lost = lost;
        for what in wrong {
            self.note(Kind::Bulk.title(), what);
        }
        if lossy > 0 {
            self.note(Kind::Bulk.title(), &format!("{lost} packets of {lossy} flows did not arrive"));
        }
    }

    pub(super) fn stray(&mut self, what: &str) {
        self.strays += 1;
        self.note("stray", what);
    }

    pub(super) fn note(&mut self, whose: &str, what: &str) {
        if self.faults.len() < TOLD {
            self.faults.push(format!("{whose}: {what}"));
        }
    }
}
