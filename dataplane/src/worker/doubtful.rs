//! ESP whose inside host is not clear yet, for a moment: evidence may come ([`crate::passthrough`]).

use crate::types::{Key, PortId, Tick};
use arrayvec::ArrayVec;
use std::net::Ipv4Addr;

/// Longer than an IKE message is behind the packets that it announces, shorter than anybody's patience.
const WAIT_MS: u32 = 100;
/// Packets that wait, a worker.
const CAPACITY: usize = 128;
/// Of one server at one outside address.
const PER_GATEWAY: usize = 32;

struct Doubt<B> {
    due: Tick,
    key: Key,
    port: PortId,
    buf: B,
}

/// See the module. Oldest first.
pub(super) struct Doubtful<B>(ArrayVec<Doubt<B>, CAPACITY>);

impl<B> Doubtful<B> {
    /// None.
    pub(super) const fn new() -> Self {
        Self(ArrayVec::new_const())
    }

    /// Whether one more packet of these hosts may wait.
    pub(super) fn has_room(&self, src: Ipv4Addr, dst: Ipv4Addr) -> bool {
        !self.0.is_full() && self.0.iter().filter(|d| (d.key.src, d.key.dst) == (src, dst)).count() < PER_GATEWAY
    }

    /// Whether one of the same tunnel waits, which the others must not overtake.
    pub(super) fn holds(&self, key: &Key) -> bool {
        self.0.iter().any(|d| d.key == *key)
    }

    /// Puts a packet aside; there must be room.
    pub(super) fn put(&mut self, key: Key, port: PortId, buf: B, now: Tick) {
        // The caller asked whether there is room; without it the packet would be lost uncounted.
        debug_assert!(!self.0.is_full());
        let _ = self.0.try_push(Doubt { due: now.after(WAIT_MS), key, port, buf });
    }

    /// Takes out the oldest packet whose time is over.
    pub(super) fn take_due(&mut self, now: Tick) -> Option<(Key, PortId, B)> {
        if !now.reached(self.0.first()?.due) {
            return None;
        }
        let d = self.0.remove(0);
        Some((d.key, d.port, d.buf))
    }

    /// Takes out the oldest of a tunnel, due or not: the one before it went.
    pub(super) fn take_next(&mut self, key: &Key) -> Option<(PortId, B)> {
        let at = self.0.iter().position(|d| d.key == *key)?;
        let d = self.0.remove(at);
        Some((d.port, d.buf))
    }

    /// Takes out the oldest packet.
    pub(super) fn take_any(&mut self) -> Option<(PortId, B)> {
        if self.0.is_empty() {
            return None;
        }
        let d = self.0.remove(0);
        Some((d.port, d.buf))
    }
}
