//! Bursts over real ports: one worker's queues of each port, and its rings to the other workers.

use super::{Buf, Burst, Crowding, Io};
use crate::types::{PortId, WorkerId};
use dpdk::{Consumer, Mbuf, Mempool, Producer, RxQueue, TxQueue};

impl Buf for Mbuf {
    #[inline]
    fn data(&self) -> &[u8] {
        Self::data(self)
    }

    #[inline]
    fn data_mut(&mut self) -> &mut [u8] {
        Self::data_mut(self)
    }

    #[inline]
    fn truncate(&mut self, len: usize) {
        if let Ok(len) = u32::try_from(len)
            && len < self.total_len()
        {
            Self::truncate(self, len);
        }
    }

    #[inline]
    fn trim_front(&mut self, n: usize) -> bool {
        u16::try_from(n).is_ok_and(|n| Self::trim_front(self, n).is_some())
    }

    #[inline]
    fn prepend(&mut self, n: usize) -> bool {
        u16::try_from(n).is_ok_and(|n| Self::prepend(self, n).is_some())
    }

    #[inline]
    fn append(&mut self, n: usize) -> bool {
        u16::try_from(n).is_ok_and(|n| Self::append(self, n).is_some())
    }

    #[inline]
    fn tag(&self) -> u64 {
        Self::tag(self)
    }

    #[inline]
    fn set_tag(&mut self, tag: u64) {
        Self::set_tag(self, tag);
    }

    #[inline]
    fn prefetch_header(&self) {
        dpdk::prefetch(self.header_address());
    }

    #[inline]
    fn rss_hash(&self) -> Option<u32> {
        Self::rss_hash(self)
    }
}

/// One worker's share of a port.
pub struct Queues {
    /// Receives; a port may have fewer queues than there are workers.
    pub rx: Option<RxQueue>,
    /// Sends.
    pub tx: TxQueue,
}

/// One worker's ports, peers and buffers.
pub struct Dpdk {
    /// By port.
    queues: Vec<Queues>,
    /// From each other worker.
    handed: Vec<Consumer>,
    /// To each worker; none to itself.
    peers: Vec<Option<Producer>>,
    pool: Mempool,
    /// The peer whose ring is read first, so that none is starved.
    turn: usize,
}

impl Dpdk {
    /// Of queues in the order of the ports, rings in the order of the workers, and the pool for own packets.
    #[must_use]
    pub const fn new(queues: Vec<Queues>, handed: Vec<Consumer>, peers: Vec<Option<Producer>>, pool: Mempool) -> Self {
        Self { queues, handed, peers, pool, turn: 0 }
    }
}

impl Io for Dpdk {
    type Buf = Mbuf;

    #[inline]
    fn receive(&mut self, port: PortId, into: &mut Burst<Mbuf>) -> usize {
        let Some(rx) = self.queues.get_mut(port.index()).and_then(|q| q.rx.as_mut()) else { return 0 };
        if rx.burst(into) > 0 && rx.got_chains() { join_segments(into) } else { 0 }
    }

    #[inline]
    fn send(&mut self, port: PortId, from: &mut Burst<Mbuf>) {
        if let Some(queue) = self.queues.get_mut(port.index()) {
            queue.tx.burst(from);
        }
    }

    #[inline]
    fn take_handed(&mut self, into: &mut Burst<Mbuf>) {
        let n = self.handed.len();
        if n == 0 {
            return;
        }
        self.turn = if self.turn + 1 >= n { 0 } else { self.turn + 1 };
        let (later, first) = self.handed.split_at_mut(self.turn);
        for ring in first.iter_mut().chain(later) {
            if into.is_full() {
                return;
            }
            ring.burst(into);
        }
    }

    #[inline]
    fn hand_over(&mut self, to: WorkerId, from: &mut Burst<Mbuf>) {
        if let Some(Some(ring)) = self.peers.get_mut(to.index()) {
            ring.burst(from);
        }
    }

    #[inline]
    fn cycles(&mut self) -> u64 {
        dpdk::Clock::tsc()
    }

    #[inline]
    fn crowding(&self, to: WorkerId) -> Crowding {
        match self.peers.get(to.index()) {
            Some(Some(ring)) => Crowding::of(ring.len(), ring.capacity()),
            _ => Crowding::Easy,
        }
    }

    #[inline]
    fn allocate(&mut self) -> Option<Mbuf> {
        self.pool.alloc()
    }
}

/// Makes every frame contiguous; gives up those that do not fit one buffer, and says how many.
#[cold]
fn join_segments(burst: &mut Burst<Mbuf>) -> usize {
    let before = burst.len();
    burst.retain(|m| m.linearize().is_ok());
    before - burst.len()
}
