//! Packets that wait for their next hop's Ethernet address, untouched: when it is known they are judged anew.

use crate::link::neighbour::HopId;
use crate::types::PortId;

/// Packets that one neighbour may keep waiting (RFC 1122 §2.3.2.2 asks for at least one): the first burst of a flow.
pub(super) const PER_NEIGHBOUR: u8 = 8;
/// Packets that wait at all, a worker.
pub(super) const CAPACITY: usize = 256;

struct Waiter<B> {
    hop: HopId,
    tag: u64,
    port: PortId,
    buf: B,
}

/// See the module.
pub(super) struct Waiting<B> {
    waiters: Vec<Waiter<B>>,
    looked_at: usize,
}

impl<B> Waiting<B> {
    /// Room for 256.
    #[must_use]
    pub(super) fn new() -> Self {
        Self { waiters: Vec::with_capacity(CAPACITY), looked_at: 0 }
    }

    /// Whether there is room.
    #[must_use]
    pub(super) const fn has_room(&self) -> bool {
        self.waiters.len() < CAPACITY
    }

    /// Puts a packet aside. Its tag is kept, as the buffer's may be overwritten.
    pub(super) fn put(&mut self, hop: HopId, port: PortId, tag: u64, buf: B) {
        self.waiters.push(Waiter { hop, tag, port, buf });
    }

    /// Takes the oldest packet that waits for a hop.
    pub(super) fn take(&mut self, hop: HopId) -> Option<(PortId, u64, B)> {
        let at = self.waiters.iter().position(|w| w.hop == hop)?;
        let w = self.waiters.remove(at);
        Some((w.port, w.tag, w.buf))
    }

    /// The next hop of one of the packets that wait, each in turn.
    pub(super) fn look(&mut self) -> Option<HopId> {
        self.looked_at = if self.looked_at + 1 < self.waiters.len() { self.looked_at + 1 } else { 0 };
        self.waiters.get(self.looked_at).map(|w| w.hop)
    }

    /// Takes any packet: for the end.
    pub(super) fn take_any(&mut self) -> Option<B> {
        self.waiters.pop().map(|w| w.buf)
    }
}
