//! Captured frames through the workers, on the captures' clock.
//!
//! One frame at a time, in the order of time, each until no worker has anything left to do: so the outcome depends on
//! the captures alone. Between two frames the clock goes on in steps, fine at first and coarser the longer nothing
//! comes, so that whatever is due by then is done, as on a router that polls all the time.

use super::tally::{Cause, Tally};
use crate::account;
use crate::tunnels::Tunnels;
use dataplane::io::memory::Memory;
use dataplane::policy::{Policy, Rules};
use dataplane::types::{PortId, Tick, WorkerId};
use dataplane::verdict::Counters;
use dataplane::worker::Worker;
use std::sync::Arc;

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLI;
/// Frames that a handoff ring holds. One frame at a time never needs more than its fragments.
const RING: usize = 65_536;
/// Turns that one frame may take. Each turn moves it on, and no frame has that far to go.
const MAX_TURNS: usize = 10_000;

/// A frame that left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// Nanoseconds since 1970.
    pub(super) at: u64,
    /// By which port.
    pub(super) port: PortId,
    /// The frame.
    pub(super) frame: Vec<u8>,
}

/// See the module.
pub(super) struct Player {
    workers: Vec<Worker<Memory>>,
    counters: Vec<Arc<Counters>>,
    ports: usize,
    tally: Tally,
    sent: Vec<Sent>,
    /// Nanoseconds since 1970 at tick 0, and now.
    start: u64,
    now: u64,
    /// The worker that gets the next frame.
    next: usize,
}

impl Player {
    /// Workers with empty tables; their clock starts at `start`, nanoseconds since 1970.
    pub(super) fn new(policy: Policy, workers: u8, names: &[String], start: u64) -> Self {
        let ports = policy.ports.len();
        let rules = Arc::new(Rules::new(policy, workers));
        let counters: Vec<Arc<Counters>> = (0..workers).map(|_| Arc::default()).collect();
        let workers = Memory::joined(workers, ports, RING)
            .into_iter()
            .zip((0u8..).map(WorkerId))
            .zip(&counters)
            .map(|((io, id), c)| Worker::new(io, id, Arc::clone(&rules), Arc::clone(c), Tick(0)))
            .collect();
        Self { workers, counters, ports, tally: Tally::new(names), sent: Vec::new(), start, now: start, next: 0 }
    }

    /// Lets time pass until `to`, nanoseconds since 1970.
    pub(super) fn wait_until(&mut self, to: u64) {
        let from = self.now;
        while self.now < to {
            self.now = (self.now + step(self.now - from)).min(to);
            self.turn();
            self.settle();
        }
        self.tally.note(&self.counters, Cause::Clock);
    }

    /// A frame arrives, now.
    pub(super) fn arrive(&mut self, port: PortId, frame: &[u8], cause: Cause) {
        let at = self.next % self.workers.len();
        self.next += 1;
        if let Some(worker) = self.workers.get_mut(at) {
            worker.io().arrive(port, frame);
        }
        let mut turns = 0;
        while turns < MAX_TURNS && self.workers.iter_mut().any(|w| w.io().has_work()) {
            self.turn();
            turns += 1;
        }
        self.tally.note(&self.counters, cause);
    }

    /// Ends everything; what was sent, and what became of all packets.
    pub(super) fn finish(mut self) -> (Vec<Sent>, super::tally::Verdicts) {
        // Twice: what one worker still hands over, another must still take.
        for _ in 0..2 {
            for w in &mut self.workers {
                w.finish();
            }
        }
        self.collect();
        self.tally.note(&self.counters, Cause::Clock);
        account::log_notices(&self.counters);
        let vpn = Tunnels::of(&self.workers, self.tick());
        let verdicts = self.tally.verdicts(&self.counters, vpn);
        (self.sent, verdicts)
    }

    fn tick(&self) -> Tick {
        #[allow(clippy::cast_possible_truncation, reason = "ticks wrap")]
        Tick(((self.now - self.start) / MILLI) as u32)
    }

    /// Each worker in turn.
    fn turn(&mut self) {
        let tick = self.tick();
        for w in &mut self.workers {
            w.poll(tick);
        }
        self.collect();
    }

    /// More turns, until all that is due by the clock is done: one turn does a bounded amount of it.
    fn settle(&mut self) {
        let tick = self.tick();
        for w in &mut self.workers {
            while w.expire(tick) > 0 {}
        }
        while self.workers.iter_mut().any(|w| w.io().has_work()) {
            self.turn();
        }
    }

    fn collect(&mut self) {
        for w in &mut self.workers {
            for port in (0u8..).map(PortId).take(self.ports) {
                let frames = w.io().take_sent(port);
                self.sent.extend(frames.into_iter().map(|frame| Sent { at: self.now, port, frame }));
            }
        }
    }
}

/// How far the clock may go at once after nothing has come for `idle` nanoseconds: what has short time-outs (ARP,
/// fragments, held SYNs) is over in seconds, sessions take minutes to hours, and never so far that ticks wrap.
fn step(idle: u64) -> u64 {
    const DAY: u64 = 86_400 * SECOND;
    if idle < 10 * SECOND {
        10 * MILLI
    } else if idle < DAY {
        SECOND
    } else {
        (idle / 64).min(DAY / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_of_any_length_takes_a_bounded_number_of_steps() {
        const YEAR: u64 = 365 * 86_400 * SECOND;
        let (mut now, mut steps) = (0, 0);
        while now < 100 * YEAR {
            assert!(step(now) < u64::from(u32::MAX / 4) * MILLI);
            now += step(now);
            steps += 1;
        }
        assert!(steps < 300_000, "{steps}");
    }
}
