//! A port's queues: one poller each, in bursts.
//!
//! What TX took is gone; what it refused stays with the caller, at the front and in order. What RX gives meets the
//! invariant of [`Mbuf`]: a packet that somebody else has a reference to as well (a bonding or mirroring device could
//! deliver one) is copied first. The check reads the header's first cache line, which the driver has just written.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use arrayvec::ArrayVec;
use dpdk_sys::{rte_mbuf, shim_mbuf};

use crate::mbuf::{copy_raw, forget_front};
use crate::port::Device;
use crate::{Mbuf, Mempool};

/// An RX queue of a started port. The port runs while any of its queues exists.
///
/// One thread polls a queue:
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<dpdk::RxQueue>();
/// ```
#[derive(Debug)]
pub struct RxQueue {
    port: u16,
    queue: u16,
    lost: u64,
    chained: bool,
    _device: Arc<Device>,
    pool: Mempool,
    not_sync: PhantomData<Cell<()>>,
}

impl RxQueue {
    /// `device` is started with more than `queue` RX queues, and this is the only `RxQueue` for it.
    pub(crate) fn new(device: Arc<Device>, queue: u16, pool: Mempool) -> RxQueue {
        RxQueue { port: device.id(), queue, lost: 0, chained: false, _device: device, pool, not_sync: PhantomData }
    }

    /// The port's number, as in [`Mbuf::port`].
    #[inline]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The queue's number.
    #[inline]
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// Shared packets that were lost because the pool had no buffer to copy them to. Zero on all common devices.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether the last burst had packets of several segments.
    #[inline]
    pub fn got_chains(&self) -> bool {
        self.chained
    }

    /// Receives what there is into the spare capacity; returns how many. Never waits.
    ///
    /// Vector drivers give nothing for less room than four, and some want 32.
    #[inline]
    pub fn burst<const N: usize>(&mut self, into: &mut ArrayVec<Mbuf, N>) -> usize {
        let filled = into.len();
        let room = u16::try_from(into.remaining_capacity()).unwrap_or(u16::MAX);
        // SAFETY: the length is at most the capacity, so this stays in (or one past) the array.
        let place = unsafe { into.as_mut_ptr().add(filled) }.cast::<*mut rte_mbuf>();
        // SAFETY: the queue is started and only we poll it (`&mut self`, one `RxQueue` each); `place` has room for
        // `room` pointers.
        let count = usize::from(unsafe { dpdk_sys::shim_rx_burst(self.port, self.queue, place, room) });
        self.chained = false;
        for i in 0..count {
            // SAFETY: DPDK wrote `count` pointers from `place` on.
            let slot = unsafe { place.add(i) };
            // SAFETY: as above, and drivers give no null.
            let raw = unsafe { slot.cast::<NonNull<rte_mbuf>>().read() };
            if !segment_is_exclusive(raw.as_ptr().cast()) || segment_count(raw) != 1 {
                return self.adopt(into, count);
            }
        }
        // SAFETY: `count` pointers from `filled` on are initialised, each a received packet that only we refer to.
        unsafe { into.set_len(filled + count) };
        count
    }

    /// Takes in a burst of which some packets are shared, or in several segments.
    #[cold]
    fn adopt<const N: usize>(&mut self, into: &mut ArrayVec<Mbuf, N>, count: usize) -> usize {
        let filled = into.len();
        let mut received = ArrayVec::<NonNull<rte_mbuf>, N>::new();
        for i in filled..filled + count {
            // SAFETY: `i` is below the capacity: `burst` received `count` packets into the spare part.
            let slot = unsafe { into.as_mut_ptr().add(i) };
            // SAFETY: `burst` received a pointer there, which is not null. It is read once, and its slot, beyond the
            // vector's length, is not looked at again.
            received.push(unsafe { slot.cast::<NonNull<rte_mbuf>>().read() });
        }
        for raw in received {
            self.chained |= segment_count(raw) > 1;
            if is_exclusive(raw) {
                // SAFETY: a received packet that only we refer to.
                into.push(unsafe { Mbuf::from_raw(raw) });
                continue;
            }
            match copy_raw(raw, &self.pool) {
                Some(copy) => into.push(copy),
                None => self.lost += 1,
            }
            // SAFETY: gives up the reference that the driver gave us; the others' stay.
            unsafe { dpdk_sys::shim_mbuf_free(raw.as_ptr()) };
        }
        into.len() - filled
    }
}

/// Whether nobody else has a reference to this packet's segments or their bytes.
#[inline]
fn is_exclusive(raw: NonNull<rte_mbuf>) -> bool {
    let header = raw.as_ptr().cast::<shim_mbuf>();
    if segment_count(raw) == 1 { segment_is_exclusive(header) } else { chain_is_exclusive(header) }
}

#[inline]
fn segment_count(raw: NonNull<rte_mbuf>) -> u16 {
    let header = raw.as_ptr().cast::<shim_mbuf>();
    // SAFETY: a live mbuf, of which we have a reference; nobody writes this field of a packet that is under way.
    unsafe { (*header).nb_segs }
}

#[inline]
fn segment_is_exclusive(segment: *mut shim_mbuf) -> bool {
    // SAFETY: a live mbuf, of which we have a reference; this only makes an address.
    let refcnt = unsafe { &raw mut (*segment).refcnt };
    // SAFETY: aligned, alive, and DPDK changes a shared mbuf's count atomically.
    let refcnt = unsafe { AtomicU16::from_ptr(refcnt) };
    // SAFETY: nobody writes the flags of a packet that is under way.
    let flags = unsafe { (*segment).ol_flags };
    // Acquire: what another owner wrote before it let go comes before what we do.
    refcnt.load(Ordering::Acquire) == 1 && flags & dpdk_sys::SHIM_MBUF_INDIRECT == 0
}

#[cold]
fn chain_is_exclusive(mut segment: *mut shim_mbuf) -> bool {
    while !segment.is_null() {
        if !segment_is_exclusive(segment) {
            return false;
        }
        // SAFETY: a live segment of a chain that we have a reference to, so its successor is alive too.
        segment = unsafe { (*segment).next };
    }
    true
}

/// A TX queue of a started port. The port runs while any of its queues exists.
///
/// One thread sends on a queue:
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<dpdk::TxQueue>();
/// ```
#[derive(Debug)]
pub struct TxQueue {
    port: u16,
    queue: u16,
    _device: Arc<Device>,
    not_sync: PhantomData<Cell<()>>,
}

impl TxQueue {
    /// `device` is started with more than `queue` TX queues, and this is the only `TxQueue` for it.
    pub(crate) fn new(device: Arc<Device>, queue: u16) -> TxQueue {
        TxQueue { port: device.id(), queue, _device: device, not_sync: PhantomData }
    }

    /// The port's number.
    #[inline]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The queue's number.
    #[inline]
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// Sends from the front; returns how many the device took. Those it refused stay, in order, at the front.
    #[inline]
    pub fn burst<const N: usize>(&mut self, from: &mut ArrayVec<Mbuf, N>) -> usize {
        let count = u16::try_from(from.len()).unwrap_or(u16::MAX);
        let mbufs = from.as_mut_ptr().cast();
        // SAFETY: the queue is started and only we send on it; `count` pointers to packets that are ours.
        let sent = usize::from(unsafe { dpdk_sys::shim_tx_burst(self.port, self.queue, mbufs, count) });
        // SAFETY: the device owns the first `sent`.
        unsafe { forget_front(from, sent) };
        sent
    }
}
