//! Unsolicited SYNs whose answer waits [5382 REQ-4].
//!
//! An inside host may be about to open the same connection from its side (simultaneous open). So an unsolicited SYN is
//! dropped silently, and its head is remembered for six seconds; if by then no session fits, the sender is told
//! "port unreachable". A ring of fixed size, of which a source gets a sixteenth; the newest are refused when it is full.
//! Nothing is kept when policy is silence.

use crate::types::{Key, PortId, Tick};

/// Nothing is answered before [5382 REQ-4].
const WAIT_MS: u32 = 6_000;
const CAPACITY: usize = 256;
/// Of them, from one source address.
const PER_SOURCE: usize = 16;
/// Ethernet with a tag, IPv4 with all options, and the 8 bytes that an ICMP error must quote.
pub const HEAD: usize = 18 + 60 + 8;

/// The head of a SYN.
#[derive(Clone, Copy)]
pub struct HeldSyn {
    /// Its key, as it arrived.
    pub key: Key,
    /// Where it arrived.
    pub port: PortId,
    /// Start of its IP header in the frame.
    pub l3: u8,
    due: Tick,
    len: u8,
    head: [u8; HEAD],
}

impl HeldSyn {
    /// The frame's head.
    #[must_use]
    pub fn frame(&self) -> &[u8] {
        self.head.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// See the module.
#[derive(Default)]
pub struct HeldSyns {
    ring: std::collections::VecDeque<HeldSyn>,
}

impl HeldSyns {
    /// Room for 256.
    #[must_use]
    pub fn new() -> Self {
        Self { ring: std::collections::VecDeque::with_capacity(CAPACITY) }
    }

    /// Remembers a SYN that was dropped; not when the ring or its source's share is full, nor a repetition.
    pub fn note(&mut self, key: Key, port: PortId, l3: u8, frame: &[u8], now: Tick) {
        if self.ring.len() >= CAPACITY {
            return;
        }
        let mut of_source = 0;
        for held in self.ring.iter().filter(|s| s.key.src == key.src) {
            of_source += 1;
            if held.key == key || of_source >= PER_SOURCE {
                return;
            }
        }
        let mut head = [0; HEAD];
        let mut len = 0u8;
        for (h, f) in head.iter_mut().zip(frame) {
            *h = *f;
            len += 1;
        }
        self.ring.push_back(HeldSyn { key, port, l3, due: now.after(WAIT_MS), len, head });
    }

    /// A SYN whose time has come.
    pub fn pop_due(&mut self, now: Tick) -> Option<HeldSyn> {
        let due = self.ring.front().is_some_and(|s| now.reached(s.due));
        if due { self.ring.pop_front() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Endpoint, Proto};
    use std::net::Ipv4Addr;

    #[test]
    fn a_syn_is_answered_after_six_seconds_and_once() {
        let e = |p| Endpoint::new(Ipv4Addr::new(9, 9, 9, 9), p);
        let mut t = HeldSyns::new();
        t.note(Key::new(Proto::TCP, e(1), e(2)), PortId(1), 14, &[7; 200], Tick(0));
        t.note(Key::new(Proto::TCP, e(1), e(2)), PortId(1), 14, &[7; 200], Tick(1000));
        assert!(t.pop_due(Tick(5999)).is_none());
        assert_eq!(t.pop_due(Tick(6000)).unwrap().frame(), [7; HEAD]);
        assert!(t.pop_due(Tick(9000)).is_none());
    }

    #[test]
    fn the_ring_is_bounded_for_all_and_for_each_source() {
        let e = |host, port| Endpoint::new(Ipv4Addr::new(9, 9, 9, host), port);
        let mut t = HeldSyns::new();
        for port in 0..1000 {
            t.note(Key::new(Proto::TCP, e(1, port), e(0, 2)), PortId(1), 14, &[], Tick(0));
        }
        assert_eq!(t.ring.len(), PER_SOURCE);
        for host in 2..200 {
            for port in 0..3 {
                t.note(Key::new(Proto::TCP, e(host, port), e(0, 2)), PortId(1), 14, &[], Tick(0));
            }
        }
        assert_eq!(t.ring.len(), CAPACITY);
        while t.pop_due(Tick(6000)).is_some() {}
        t.note(Key::new(Proto::TCP, e(1, 1), e(0, 2)), PortId(1), 14, &[], Tick(6000));
        assert_eq!(t.ring.len(), 1, "a share is free again");
    }
}
