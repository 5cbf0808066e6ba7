//! A ring of packets between two threads: one producer, one consumer, in bursts, without a lock.

use std::cell::Cell;
use std::ffi::CString;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use arrayvec::ArrayVec;
use dpdk_sys::{rte_mbuf, rte_ring};

use crate::eal::EalInner;
use crate::error::{Errno, RingError};
use crate::mbuf::forget_front;
use crate::{Eal, Mbuf};

/// `RTE_RING_NAMESIZE`: a memory zone's 32 bytes, less the prefix "RG_", NUL included.
const MAX_NAME: usize = 29;

/// The ring itself. Dropping it frees the packets in it, so EAL must be running then: each holder has an `Arc` of EAL
/// that it drops later than this.
#[derive(Debug)]
pub(crate) struct RawRing(NonNull<rte_ring>);

// SAFETY: an `rte_ring` is made to be shared by two threads. At most one enqueues and one dequeues: `Producer` and
// `Consumer`, or the two ports that took them over, are the only ones, and each does so on `&mut self`.
unsafe impl Send for RawRing {}
// SAFETY: as above.
unsafe impl Sync for RawRing {}

impl RawRing {
    pub(crate) fn as_ptr(&self) -> *mut rte_ring {
        self.0.as_ptr()
    }

    #[inline]
    fn count(&self) -> usize {
        // SAFETY: the ring is alive; this reads two counters.
        unsafe { dpdk_sys::shim_ring_count(self.as_ptr()) as usize }
    }

    fn capacity(&self) -> usize {
        // SAFETY: the ring is alive; its capacity never changes.
        unsafe { dpdk_sys::shim_ring_capacity(self.as_ptr()) as usize }
    }

    /// # Safety
    /// Nobody else dequeues meanwhile.
    #[inline]
    unsafe fn dequeue<const N: usize>(&self, into: &mut ArrayVec<Mbuf, N>) -> usize {
        let filled = into.len();
        let room = u32::try_from(into.remaining_capacity()).unwrap_or(u32::MAX);
        // SAFETY: the length is at most the capacity, so this stays in (or one past) the array.
        let place = unsafe { into.as_mut_ptr().add(filled) }.cast::<*mut rte_mbuf>();
        // SAFETY: the caller is the one consumer; `place` has room for `room` pointers.
        let count = unsafe { dpdk_sys::shim_ring_dequeue_sc(self.as_ptr(), place, room) } as usize;
        // SAFETY: the ring gave `count` packets, which whoever enqueued them no longer owns.
        unsafe { into.set_len(filled + count) };
        count
    }
}

impl Drop for RawRing {
    fn drop(&mut self) {
        let mut left = ArrayVec::<Mbuf, 64>::new();
        // SAFETY: nobody else has the ring any more.
        while unsafe { self.dequeue(&mut left) } > 0 {
            crate::free_bulk(left.drain(..));
        }
        // SAFETY: the last use of the ring; EAL is running, as the type's doc asks of each holder.
        unsafe { dpdk_sys::rte_ring_free(self.as_ptr()) }
    }
}

/// Makes a ring that holds up to `capacity` packets. Packets in it are freed when both ends are dropped.
pub fn ring(eal: &Eal, name: &str, capacity: u32) -> Result<(Producer, Consumer), RingError> {
    let c_name =
        CString::new(name).ok().filter(|_| name.len() < MAX_NAME).ok_or_else(|| RingError::Name(name.into()))?;
    let failed = |errno| RingError::Create { name: name.into(), capacity, errno };
    if capacity == 0 {
        return Err(failed(Errno::Invalid));
    }
    let flags = dpdk_sys::RING_F_SP_ENQ | dpdk_sys::RING_F_SC_DEQ | dpdk_sys::RING_F_EXACT_SZ;
    // SAFETY: the name is a C string, which DPDK copies; it checks the number. -1 is any NUMA node.
    let raw = unsafe { dpdk_sys::rte_ring_create(c_name.as_ptr(), capacity, -1, flags) };
    let raw = NonNull::new(raw).ok_or_else(|| failed(Errno::last()))?;
    let ring = Arc::new(RawRing(raw));
    let producer = Producer { ring: ring.clone(), _eal: eal.inner.clone(), not_sync: PhantomData };
    let consumer = Consumer { ring, _eal: eal.inner.clone(), not_sync: PhantomData };
    Ok((producer, consumer))
}

/// The end of a [`ring()`] that packets go in at.
///
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<dpdk::Producer>();
/// ```
#[derive(Debug)]
pub struct Producer {
    ring: Arc<RawRing>, // Before `_eal`: fields drop in this order.
    _eal: Arc<EalInner>,
    not_sync: PhantomData<Cell<()>>,
}

impl Producer {
    /// Puts packets in, from the front; returns how many fitted. The others stay, in order, at the front.
    #[inline]
    pub fn burst<const N: usize>(&mut self, from: &mut ArrayVec<Mbuf, N>) -> usize {
        let count = u32::try_from(from.len()).unwrap_or(u32::MAX);
        // SAFETY: we are the one producer; `count` pointers to packets that are ours.
        let fitted =
            unsafe { dpdk_sys::shim_ring_enqueue_sp(self.ring.as_ptr(), from.as_mut_ptr().cast(), count) } as usize;
        // SAFETY: the ring owns the first `fitted`.
        unsafe { forget_front(from, fitted) };
        fitted
    }

    /// How many packets are in the ring now.
    #[inline]
    pub fn len(&self) -> usize {
        self.ring.count()
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many the ring can hold.
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    pub(crate) fn into_ring(self) -> Arc<RawRing> {
        self.ring
    }
}

/// The end of a [`ring()`] that packets come out at.
///
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<dpdk::Consumer>();
/// ```
#[derive(Debug)]
pub struct Consumer {
    ring: Arc<RawRing>, // Before `_eal`: fields drop in this order.
    _eal: Arc<EalInner>,
    not_sync: PhantomData<Cell<()>>,
}

impl Consumer {
    /// Takes packets out into the spare capacity, oldest first; returns how many.
    #[inline]
    pub fn burst<const N: usize>(&mut self, into: &mut ArrayVec<Mbuf, N>) -> usize {
        // SAFETY: we are the one consumer.
        unsafe { self.ring.dequeue(into) }
    }

    /// How many packets are in the ring now.
    #[inline]
    pub fn len(&self) -> usize {
        self.ring.count()
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn into_ring(self) -> Arc<RawRing> {
        self.ring
    }
}
