//! When peers have more to do than they can, a worker receives less instead of handing over what will be dropped.
//!
//! Reading, parsing and handing over a packet that finds its owner's ring full is work for nothing, and the worker that is
//! ahead does more and more of it. So while much waits in a peer's ring, ports are left alone (what was handed over to this
//! worker is still taken, or two of them would wait for each other), and a NIC drops what it has no room for at no cost. This
//! never blocks: when a ring does not ease in [`PATIENCE`] its worker is stuck, or has lost its CPU, and for the ten times as
//! long [`BLIND`] nobody is waited for. So a peer that is stuck for good costs a tenth, and one that comes back is seen.

use super::Worker;
use crate::io::{Crowding, Io};
use crate::types::{Tick, WorkerId};
use crate::verdict::Event;

/// Milliseconds. A ring of thousands eases within some hundred microseconds if anybody takes from it.
const PATIENCE: u32 = 2;
/// Milliseconds.
const BLIND: u32 = 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    /// Peers waited for, by bit.
    crowded: u64,
    /// When the first of them became so.
    since: Tick,
    /// Nobody is waited for until then, if it is set.
    blind: Option<Tick>,
}

impl<I: Io> Worker<I> {
    /// After packets were put in a peer's ring.
    #[inline]
    pub(super) fn note_crowding(&mut self, to: WorkerId) {
        if self.io.crowding(to) == Crowding::Full {
            self.wait_for(to);
        }
    }

    #[cold]
    fn wait_for(&mut self, to: WorkerId) {
        let pressure = &mut self.pressure;
        if pressure.blind.is_some_and(|until| !self.now.reached(until)) {
            return;
        }
        pressure.blind = None;
        if pressure.crowded == 0 {
            pressure.since = self.now;
        }
        pressure.crowded |= 1u64 << (to.0 % 64);
    }

    /// Whether this turn may take packets from ports.
    #[inline]
    pub(super) fn may_receive(&mut self) -> bool {
        self.pressure.crowded == 0 || self.has_eased()
    }

    #[cold]
    fn has_eased(&mut self) -> bool {
        for to in (0..self.rules.sharding.workers()).map(WorkerId) {
            let bit = 1u64 << (to.0 % 64);
            if self.pressure.crowded & bit != 0 && self.io.crowding(to) == Crowding::Easy {
                self.pressure.crowded &= !bit;
            }
        }
        if self.pressure.crowded != 0 && self.now.since(self.pressure.since) >= PATIENCE {
            self.pressure.crowded = 0;
            self.pressure.blind = Some(self.now.after(BLIND));
        }
        let eased = self.pressure.crowded == 0;
        if !eased {
            self.counters.count(Event::HeldBack, 1);
        }
        eased
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::memory::{Frame, Memory};
    use crate::policy::{Policy, Port, Rules};
    use crate::types::{Mac, Side};
    use crate::verdict::{Counters, DropReason};
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const RING: usize = 1024;

    /// Two workers, the first of which has plenty of the second's packets to receive.
    fn pair() -> Vec<Worker<Memory>> {
        let port = Port { side: Side::Inside, mac: MAC, vlan: None, mtu: 1500, addresses: Vec::new(), gateway: None };
        let rules = Arc::new(Rules::new(Policy { ports: vec![port], ..Policy::default() }, 2));
        let host =
            (0x0a00_0001..).map(Ipv4Addr::from_bits).find(|&a| rules.sharding.of_inside(a) == WorkerId(1)).unwrap();
        let mut frame = Vec::new();
        let udp = testkit::Frame::udp((host, 4000), (Ipv4Addr::new(198, 51, 100, 1), 443));
        udp.destination_mac(MAC.0).build_into(&mut frame);
        let mut ios = Memory::joined(2, 1, RING);
        ios[0].arriving[0].extend((0..100_000).map(|_| Frame::new(&frame)));
        let worker = |(n, io)| Worker::new(io, WorkerId(n), Arc::clone(&rules), Arc::new(Counters::default()), Tick(0));
        (0u8..).zip(ios).map(worker).collect()
    }

    #[test]
    fn what_a_busy_peer_cannot_take_is_left_in_the_device_and_none_is_dropped() {
        let mut workers = pair();
        // The peer has one turn for ten of this one's.
        for n in 0..20_000u32 {
            workers[usize::from(n % 11 == 10)].poll(Tick(0));
        }
        let counters = Arc::clone(workers[0].counters());
        assert_eq!(counters.drops(DropReason::HandoffFull), 0);
        assert!(counters.events(Event::HandedOff) == 100_000, "{}", counters.events(Event::HandedOff));
        assert!(counters.events(Event::HeldBack) > 1000);
    }

    #[test]
    fn a_peer_that_is_stuck_holds_nobody_up() {
        let mut workers = pair();
        for n in 0..5000 {
            workers[0].poll(Tick(n / 100));
        }
        assert!(workers[0].io().arriving[0].is_empty(), "all were received, and what did not fit was dropped");
        let counters = Arc::clone(workers[0].counters());
        assert_eq!(counters.events(Event::HandedOff) + counters.drops(DropReason::HandoffFull), 100_000);
        let waited = counters.events(Event::HeldBack);
        assert!((100..1000).contains(&waited), "two of 22 ms: {waited} turns of 5000");
    }

    #[test]
    fn a_peer_that_comes_back_is_waited_for_again() {
        let mut workers = pair();
        for n in 0..1000 {
            workers[0].poll(Tick(n / 100));
        }
        let counters = Arc::clone(workers[0].counters());
        let before = counters.drops(DropReason::HandoffFull);
        assert!(before > 10_000, "{before}");
        // From 50 ms on it is there, and slow.
        for n in 0..20_000u32 {
            workers[usize::from(n % 11 == 10)].poll(Tick(50 + n / 1000));
        }
        let dropped = counters.drops(DropReason::HandoffFull);
        assert!(dropped <= before + 64, "a burst finds the ring full, and no other: {}", dropped - before);
        assert_eq!(counters.events(Event::HandedOff) + dropped, 100_000);
    }
}
