//! Mempools: where packet buffers come from and go back to.

use std::ffi::{CString, c_int};
use std::ptr::NonNull;
use std::sync::Arc;

use arrayvec::ArrayVec;
use dpdk_sys::rte_mempool;

use crate::eal::EalInner;
use crate::error::{Errno, MempoolError};
use crate::{Eal, Mbuf};

/// A mempool that DPDK made and that lives until EAL ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawPool(NonNull<rte_mempool>);

// SAFETY: DPDK's mempool calls may be made from any thread; per-thread state is found by lcore, and a thread without
// one goes to the pool's multi-producer multi-consumer ring.
unsafe impl Send for RawPool {}
// SAFETY: as above.
unsafe impl Sync for RawPool {}

impl RawPool {
    pub(crate) fn as_ptr(self) -> *mut rte_mempool {
        self.0.as_ptr()
    }

    fn size(self) -> u32 {
        // SAFETY: the pool is alive; its size never changes.
        unsafe { dpdk_sys::shim_mempool_size(self.as_ptr()) }
    }

    fn available(self) -> u32 {
        // SAFETY: the pool is alive; this sums counters, which may change meanwhile.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.as_ptr()) }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.available() >= self.size()
    }

    /// Gives back what the calling thread's cache holds.
    pub(crate) fn flush_cache(self) {
        // SAFETY: the pool is alive; the cache, if the thread has one, is this thread's alone.
        unsafe { dpdk_sys::shim_mempool_flush_cache(self.as_ptr()) }
    }
}

/// How large a [`Mempool`] is.
#[derive(Debug, Clone, Copy)]
pub struct PoolConfig {
    /// How many buffers. A power of two less one wastes the least memory.
    pub count: u32,
    /// How many buffers a registered thread keeps at hand, at most half as many more. Up to 512, and two thirds of `count`.
    pub cache: u32,
    /// Bytes for the packet in each buffer; the headroom (128 bytes) comes on top.
    pub data_room: u16,
    /// The NUMA node for the memory; any if `None`.
    pub socket: Option<u32>,
}

impl Default for PoolConfig {
    fn default() -> PoolConfig {
        PoolConfig { count: 8191, cache: 256, data_room: 2048, socket: None }
    }
}

/// A handle on a pool of packet buffers; clones share the pool. It may be used from any thread.
///
/// The pool itself lives until EAL ends, whatever becomes of its handles: buffers may still be under way. Its name is
/// thus taken for good.
#[derive(Debug, Clone)]
pub struct Mempool {
    raw: RawPool,
    data_room: u16,
    _eal: Arc<EalInner>,
}

impl Mempool {
    /// Makes a pool.
    pub fn new(eal: &Eal, name: &str, config: PoolConfig) -> Result<Mempool, MempoolError> {
        let PoolConfig { count, cache, data_room, socket } = config;
        let c_name =
            CString::new(name).ok().filter(|_| name.len() < MAX_NAME).ok_or_else(|| MempoolError::Name(name.into()))?;
        let limit = dpdk_sys::RTE_MEMPOOL_CACHE_MAX_SIZE.min(count / 3 * 2);
        if cache > limit {
            return Err(MempoolError::Cache { count, cache, limit });
        }
        const HEADROOM: u16 = dpdk_sys::RTE_PKTMBUF_HEADROOM as u16;
        let room =
            data_room.checked_add(HEADROOM).ok_or(MempoolError::DataRoom { data_room, limit: u16::MAX - HEADROOM })?;
        let socket = socket.map_or(Ok(-1), c_int::try_from).unwrap_or(c_int::MAX); // -1 is DPDK's "any"
        // SAFETY: the name is a C string, which DPDK copies; all numbers are checked by DPDK.
        let raw = unsafe { dpdk_sys::rte_pktmbuf_pool_create(c_name.as_ptr(), count, cache, 0, room, socket) };
        let Some(raw) = NonNull::new(raw) else {
            let bytes = u64::from(count) * (u64::from(room) + 128 + 64);
            return Err(MempoolError::Create {
                name: name.into(),
                count,
                megabytes: bytes >> 20,
                errno: Errno::last(),
            });
        };
        let raw = RawPool(raw);
        eal.inner.pools().push(raw);
        Ok(Mempool { raw, data_room, _eal: eal.inner.clone() })
    }

    /// How many buffers the pool has in all.
    pub fn size(&self) -> u32 {
        self.raw.size()
    }

    /// How many buffers are free, threads' caches included. It walks all caches: not for the packet path.
    pub fn available(&self) -> u32 {
        self.raw.available()
    }

    /// How many buffers somebody holds: mbufs, queues, rings.
    pub fn in_use(&self) -> u32 {
        self.size().saturating_sub(self.available())
    }

    /// Bytes for the packet in each buffer, headroom not counted.
    pub fn data_room(&self) -> u16 {
        self.data_room
    }

    /// An empty packet, or `None` when the pool is exhausted.
    #[inline]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool is alive.
        let raw = unsafe { dpdk_sys::shim_mbuf_alloc(self.raw.as_ptr()) };
        // SAFETY: a fresh mbuf: direct, one segment, one reference, and that is ours.
        NonNull::new(raw).map(|raw| unsafe { Mbuf::from_raw(raw) })
    }

    /// Fills the spare capacity with empty packets: all of it, or none when the pool has not that many. Returns how many.
    #[inline]
    pub fn alloc_bulk<const N: usize>(&self, into: &mut ArrayVec<Mbuf, N>) -> usize {
        let (filled, spare) = (into.len(), into.remaining_capacity());
        let Ok(count) = u32::try_from(spare) else { return 0 };
        // SAFETY: `filled` is at most the capacity, so this stays in (or one past) the array.
        let place = unsafe { into.as_mut_ptr().add(filled) };
        // SAFETY: there is room for `spare` pointers from `place` on, and an `Mbuf` is one pointer.
        if unsafe { dpdk_sys::shim_mbuf_alloc_bulk(self.raw.as_ptr(), place.cast(), count) } != 0 {
            return 0;
        }
        // SAFETY: the call above wrote that many pointers to fresh mbufs, each ours.
        unsafe { into.set_len(filled + spare) };
        spare
    }

    pub(crate) fn raw(&self) -> RawPool {
        self.raw
    }
}

/// `RTE_MEMPOOL_NAMESIZE`: a memory zone's 32 bytes, less the prefixes "RG_" and "MP_", NUL included.
const MAX_NAME: usize = 26;
