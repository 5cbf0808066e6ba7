//! What the worker needs of the world: buffers, ports, other workers. Bursts in, bursts out.
//!
//! [`memory`] implements it over vectors, for tests, replay and fuzzing; [`dpdk`] over real ports. The worker cannot
//! tell them apart, and a packet takes the very same path through both.

#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod memory;

use crate::types::{PortId, WorkerId};
use arrayvec::ArrayVec;

/// Packets handled together.
pub const BURST: usize = 64;

/// Up to [`BURST`] packets.
pub type Burst<B> = ArrayVec<B, BURST>;

/// Packets that may wait in a ring before whoever fills it pauses.
pub const WAITING: usize = 8 * BURST;

/// How full a ring between workers is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowding {
    /// So few that their owner still finds them in a cache; a ring of less than [`WAITING`] is always that.
    Easy,
    /// More.
    Half,
    /// At least [`WAITING`]: more would only wait longer, and be found in no cache.
    Full,
}

impl Crowding {
    /// Of a ring with so many packets in it and so many places.
    #[inline]
    #[must_use]
    pub const fn of(len: usize, capacity: usize) -> Self {
        if len <= WAITING / 2 || capacity < WAITING {
            Self::Easy
        } else if len >= WAITING {
            Self::Full
        } else {
            Self::Half
        }
    }
}

/// A packet buffer. It has one owner; dropping it gives its memory back.
pub trait Buf: Sized {
    /// The frame. Contiguous: what arrives in several pieces is joined before.
    fn data(&self) -> &[u8];
    /// The frame, to write to.
    fn data_mut(&mut self) -> &mut [u8];
    /// Cuts the frame to `len` bytes; nothing happens when it is shorter.
    fn truncate(&mut self, len: usize);
    /// Removes `n` bytes at the front.
    fn trim_front(&mut self, n: usize) -> bool;
    /// Makes room for `n` bytes at the front; their content is undefined.
    fn prepend(&mut self, n: usize) -> bool;
    /// Makes room for `n` bytes at the end; their content is undefined.
    fn append(&mut self, n: usize) -> bool;
    /// Eight bytes that travel with the buffer between workers. Zero on a frame from a port is not promised.
    fn tag(&self) -> u64;
    /// Sets them.
    fn set_tag(&mut self, tag: u64);
    /// Starts to fetch what stands beside the frame: where it lies, its length, its tag.
    fn prefetch_header(&self) {}
    /// The hash by which the device chose the queue, where it says so.
    fn rss_hash(&self) -> Option<u32> {
        None
    }
}

/// The ports and peers of one worker.
pub trait Io {
    /// Its buffers.
    type Buf: Buf;
    /// Takes what arrived on a port, as much as fits. Returns how many frames had to be given up because they are in
    /// more pieces than one buffer holds.
    fn receive(&mut self, port: PortId, into: &mut Burst<Self::Buf>) -> usize;
    /// Sends from the front; what is refused stays, in order.
    fn send(&mut self, port: PortId, from: &mut Burst<Self::Buf>);
    /// Takes what other workers handed over, as much as fits.
    fn take_handed(&mut self, into: &mut Burst<Self::Buf>);
    /// Hands over to another worker from the front; what its ring refuses stays.
    fn hand_over(&mut self, to: WorkerId, from: &mut Burst<Self::Buf>);
    /// A count of cycles at a constant rate, for measuring: only differences mean anything, and nothing is decided by it.
    fn cycles(&mut self) -> u64;
    /// How full another worker's ring is.
    fn crowding(&self, to: WorkerId) -> Crowding;
    /// An empty buffer.
    fn allocate(&mut self) -> Option<Self::Buf>;
}
