//! Packets that wait for a moment ([`crate::passthrough`]): from outside, ESP whose inside host is not clear yet, as
//! evidence may come; from inside, what sets up a tunnel while another host does so with the same server.

use crate::types::{Key, PortId, Side, Tick};
use arrayvec::ArrayVec;

/// From outside: longer than an IKE message is behind the packets that it announces, shorter than anybody's patience.
const WAIT_MS: u32 = 100;
/// From inside: a slow server's answer, and another one's.
const TURN_MS: u32 = 3_000;
/// Packets that wait, a worker and side.
const CAPACITY: usize = 128;
/// Of one server at one outside address.
const PER_GATEWAY: usize = 32;
/// Of one inside host.
const PER_HOST: usize = 8;

struct Doubt<B> {
    due: Tick,
    key: Key,
    port: PortId,
    buf: B,
}

/// See the module. Oldest first.
pub(super) struct Doubtful<B> {
    from: Side,
    waiting: ArrayVec<Doubt<B>, CAPACITY>,
}

impl<B> Doubtful<B> {
    /// None, from that side.
    pub(super) const fn new(from: Side) -> Self {
        Self { from, waiting: ArrayVec::new_const() }
    }

    /// Whether one more packet of these hosts may wait.
    pub(super) fn has_room(&self, key: &Key) -> bool {
        let (share, same): (_, fn(&Key, &Key) -> bool) = match self.from {
            Side::Outside => (PER_GATEWAY, |a, b| (a.src, a.dst) == (b.src, b.dst)),
            Side::Inside => (PER_HOST, |a, b| a.src == b.src),
        };
        !self.waiting.is_full() && self.waiting.iter().filter(|d| same(&d.key, key)).count() < share
    }

    /// Whether one of the same tunnel waits, which the others must not overtake.
    pub(super) fn holds(&self, key: &Key) -> bool {
        self.waiting.iter().any(|d| d.key == *key)
    }

    /// Puts a packet aside; there must be room.
    pub(super) fn put(&mut self, key: Key, port: PortId, buf: B, now: Tick) {
        // The caller asked whether there is room; without it the packet would be lost uncounted.
        debug_assert!(!self.waiting.is_full());
        let wait = if self.from == Side::Inside { TURN_MS } else { WAIT_MS };
        let _ = self.waiting.try_push(Doubt { due: now.after(wait), key, port, buf });
    }

    /// Takes out the oldest packet whose time is over.
    pub(super) fn take_due(&mut self, now: Tick) -> Option<(Key, PortId, B)> {
        if !now.reached(self.waiting.first()?.due) {
            return None;
        }
        let d = self.waiting.remove(0);
        Some((d.key, d.port, d.buf))
    }

    /// Takes out the packet at this place if its time is over or `may_go`; `None` also where there is none.
    pub(super) fn take_at(&mut self, at: usize, now: Tick, may_go: impl Fn(&Key) -> bool) -> Option<(PortId, B)> {
        let d = self.waiting.get(at)?;
        if !now.reached(d.due) && !may_go(&d.key) {
            return None;
        }
        let d = self.waiting.remove(at);
        Some((d.port, d.buf))
    }

    /// Packets that wait.
    pub(super) const fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes out the oldest of a tunnel, due or not: the one before it went.
    pub(super) fn take_next(&mut self, key: &Key) -> Option<(PortId, B)> {
        let at = self.waiting.iter().position(|d| d.key == *key)?;
        let d = self.waiting.remove(at);
        Some((d.port, d.buf))
    }

    /// Takes out the oldest packet.
    pub(super) fn take_any(&mut self) -> Option<(PortId, B)> {
        if self.waiting.is_empty() {
            return None;
        }
        let d = self.waiting.remove(0);
        Some((d.port, d.buf))
    }
}
