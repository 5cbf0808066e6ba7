//! Devices that were told whom packets belong to are not trusted: now and then a packet is looked at as it arrived.
//!
//! A miss costs a handoff and nothing else, since each packet's owner is computed anyway; counting them says whether the
//! keys, tables and rules do what they are for.

use super::Worker;
use crate::io::{Buf, Burst, Io};
use crate::packet::{self, Parsed};
use crate::types::PortId;
use crate::verdict::Event;

/// One packet of this many bursts is looked at.
pub(super) const EVERY: u32 = 64;

impl<I: Io> Worker<I> {
    /// Looks at a packet of a burst as `port` gave it, if this burst is one of those.
    #[inline]
    pub(super) fn sample(&mut self, port: PortId, burst: &Burst<I::Buf>) {
        if !self.samples {
            return;
        }
        self.bursts = self.bursts.wrapping_add(1);
        if self.bursts.is_multiple_of(EVERY) {
            self.look_at_sample(port, burst);
        }
    }

    #[cold]
    fn look_at_sample(&self, port: PortId, burst: &Burst<I::Buf>) {
        // Not always the first: a burst may well begin with the same flow each time.
        let nth = (self.bursts / EVERY) as usize % burst.len().max(1);
        let (Some(buf), Some(framing)) = (burst.get(nth), self.rules.framing(port)) else { return };
        let Ok(Parsed::Ip(meta)) = packet::parse(buf.data(), framing) else { return };
        let Some(steered) = self.rules.policy.steered.get(port.index()) else { return };
        let side = self.rules.side(port);
        let Some(sample) = self.rules.check_sample(steered, side, &meta, self.me, buf.rss_hash()) else { return };
        self.counters.count(Event::SteeringSampled, 1);
        if !sample.arrived {
            self.counters.count(Event::SteeringMissed, 1);
        }
        if !sample.hashed {
            self.counters.count(Event::SteeringHashWrong, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::memory::Memory;
    use crate::io::{Burst, Io};
    use crate::policy::{Level, Policy, Port, Rules, Steered, Traffic};
    use crate::types::{Mac, Side, Tick, WorkerId};
    use crate::verdict::Counters;
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use testkit::Frame;

    #[test]
    fn packets_that_came_by_another_workers_queue_are_counted_and_handed_over_as_ever() {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let port = Port { side: Side::Inside, mac, vlan: None, mtu: 1500, addresses: Vec::new(), gateway: None };
        let mut steered = Steered::over(2);
        steered.set(Traffic::Ports, Level::RssByKey);
        let policy = Policy { ports: vec![port], steered: vec![steered], ..Policy::default() };
        let rules = Arc::new(Rules::new(policy, 2));
        let mut ios = Memory::joined(2, 1, 4096);
        let (io, mut peer) = (ios.remove(0), ios.remove(0));
        let counters = Arc::new(Counters::default());
        let mut worker = Worker::new(io, WorkerId(0), Arc::clone(&rules), Arc::clone(&counters), Tick(0));
        let mut sent = [0u64; 2];
        for n in 0..64 * EVERY {
            let src = Ipv4Addr::from_bits(0x0a00_0000 + n);
            let mut frame = Vec::new();
            Frame::udp((src, 4000), (Ipv4Addr::new(198, 51, 100, 1), 443))
                .destination_mac(mac.0)
                .build_into(&mut frame);
            worker.io().arrive(PortId(0), &frame);
            worker.poll(Tick(n));
            peer.take_handed(&mut Burst::new());
            sent[rules.sharding.of_inside(src).index()] += 1;
        }
        let sampled = counters.events(Event::SteeringSampled);
        let missed = counters.events(Event::SteeringMissed);
        assert_eq!(sampled, 64, "one of {EVERY}");
        assert!((16..48).contains(&missed), "about half: {missed}");
        assert_eq!(counters.events(Event::SteeringHashWrong), 0, "this device tells no hash");
        assert_eq!(counters.events(Event::HandedOff), sent[1]);
    }
}
