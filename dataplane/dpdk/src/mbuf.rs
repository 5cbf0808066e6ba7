//! One packet, in one buffer or a chain of them, with one owner.
//!
//! **Invariant of [`Mbuf`].** Its pointer is to a live mbuf whose only reference is this value; the same holds for
//! each further segment. No segment is indirect (borrowing another mbuf's bytes). In each, `data_off + data_len` is at
//! most `buf_len`, and `buf_addr` points to that many bytes; `nb_segs` counts the chain and `pkt_len` sums it.
//! So header and bytes are reached through this value alone, and safe Rust may have `&mut` to both. DPDK's pools make
//! such mbufs; a received one that is not like that is copied before it becomes an `Mbuf` (see `queue.rs`).
//!
//! Field accesses are plain loads and stores; only allocation, freeing and the work on chains call into C. The first
//! cache line of the header has all that a worker reads, but for the link to a second segment.

use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::mem;
use std::ptr::{self, NonNull};
use std::slice;

use arrayvec::ArrayVec;
use dpdk_sys::{rte_mbuf, shim_mbuf};

use crate::Mempool;
use crate::error::MbufError;

/// A packet buffer, owned: dropping it gives it back to its pool.
///
/// It has one owner, so it cannot be cloned ([`copy`](Mbuf::copy) makes another packet):
/// ```compile_fail,E0277
/// fn clone<T: Clone>(_: T) {}
/// fn of(mbuf: dpdk::Mbuf) { clone(mbuf) }
/// ```
/// and what has been given away, or freed, cannot be used:
/// ```compile_fail,E0382
/// fn of(mbuf: dpdk::Mbuf) {
///     let raw = mbuf.into_raw();
///     mbuf.data();
/// }
/// ```
/// ```compile_fail,E0382
/// fn of(mbuf: dpdk::Mbuf) {
///     drop(mbuf);
///     mbuf.data();
/// }
/// ```
/// nor can its bytes outlive it:
/// ```compile_fail,E0505
/// fn of(mbuf: dpdk::Mbuf) -> u8 {
///     let data = mbuf.data();
///     drop(mbuf);
///     data[0]
/// }
/// ```
/// It moves between threads, but two threads never look at it at once:
/// ```
/// fn send<T: Send>() {}
/// send::<dpdk::Mbuf>();
/// ```
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<dpdk::Mbuf>();
/// ```
#[repr(transparent)]
#[derive(Debug)]
#[must_use = "dropping an mbuf frees it"]
pub struct Mbuf(NonNull<rte_mbuf>);

// SAFETY: nothing in an mbuf belongs to a thread; freeing it is allowed on any (the pool takes care of itself).
unsafe impl Send for Mbuf {}

// The bursts hand arrays of `Mbuf` to DPDK as arrays of pointers.
const _: () =
    assert!(size_of::<Mbuf>() == size_of::<*mut rte_mbuf>() && size_of::<Option<Mbuf>>() == size_of::<Mbuf>());

impl Mbuf {
    /// Gives up ownership: whoever has the pointer must free it, or the pool loses a buffer.
    #[inline]
    pub fn into_raw(self) -> NonNull<rte_mbuf> {
        let raw = self.0;
        mem::forget(self);
        raw
    }

    /// Takes ownership.
    ///
    /// # Safety
    /// `raw` is a well-formed mbuf of a pool of this process, direct or with an external buffer that it alone uses; the
    /// caller has its only reference, and those of the segments after it, and gives them up here.
    #[inline]
    pub unsafe fn from_raw(raw: NonNull<rte_mbuf>) -> Mbuf {
        Mbuf(raw)
    }

    #[inline]
    fn header(&self) -> &shim_mbuf {
        // SAFETY: a live mbuf that only this value reaches, borrowed as long as this value; `shim_mbuf` has the layout
        // of `rte_mbuf`, which the shim asserts field by field.
        unsafe { self.0.cast().as_ref() }
    }

    #[inline]
    fn header_mut(&mut self) -> &mut shim_mbuf {
        // SAFETY: as in `header`, and `&mut self` makes it the only borrow.
        unsafe { self.0.cast().as_mut() }
    }

    /// The packet's bytes in its first segment: all of them unless [`segment_count`](Mbuf::segment_count) is above one.
    #[inline]
    pub fn data(&self) -> &[u8] {
        bytes(self.header())
    }

    /// As [`data`](Mbuf::data), to write.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let header = self.header_mut();
        let (offset, length) = (usize::from(header.data_off), usize::from(header.data_len));
        // SAFETY: by the invariant the offset is within the buffer.
        let start = unsafe { header.buf_addr.add(offset) };
        // SAFETY: by the invariant these bytes are in the buffer and ours alone; pool memory is never uninitialised
        // (the kernel gave it zeroed), and the borrow is this value's.
        unsafe { slice::from_raw_parts_mut(start, length) }
    }

    /// Each segment's bytes, in order.
    #[inline]
    pub fn segments(&self) -> Segments<'_> {
        Segments { next: self.0.as_ptr().cast(), mbuf: PhantomData }
    }

    /// How many segments the packet has: one, unless the device cut it up.
    #[inline]
    pub fn segment_count(&self) -> u16 {
        self.header().nb_segs
    }

    /// The packet's length over all segments.
    #[inline]
    pub fn total_len(&self) -> u32 {
        self.header().pkt_len
    }

    /// Spare bytes before the packet.
    #[inline]
    pub fn headroom(&self) -> u16 {
        self.header().data_off
    }

    /// Spare bytes after the first segment's data.
    #[inline]
    pub fn tailroom(&self) -> u16 {
        tailroom(self.header())
    }

    /// Makes the packet longer at its front; the new bytes have whatever was there. `None`: no headroom, no change.
    #[inline]
    pub fn prepend(&mut self, length: u16) -> Option<&mut [u8]> {
        let header = self.header_mut();
        let data_off = header.data_off.checked_sub(length)?;
        // Cannot overflow: the data then starts at `data_off` and still ends within `buf_len`.
        header.data_len = header.data_len.checked_add(length)?;
        header.data_off = data_off;
        header.pkt_len += u32::from(length);
        Some(&mut self.data_mut()[..usize::from(length)])
    }

    /// Makes the packet longer at its end; the new bytes have whatever was there. `None`: no tailroom, no change.
    #[inline]
    pub fn append(&mut self, length: u16) -> Option<&mut [u8]> {
        let last = self.last();
        // SAFETY: `last` is this packet's last segment, live and ours alone; the reference ends with this function's
        // last use of it, and `header_mut` below comes after.
        let segment = unsafe { &mut *last };
        if length > tailroom(segment) {
            return None;
        }
        let end = usize::from(segment.data_off) + usize::from(segment.data_len);
        segment.data_len += length;
        // SAFETY: the tailroom is within the buffer, and `end` is where it starts.
        let start = unsafe { segment.buf_addr.add(end) };
        self.header_mut().pkt_len += u32::from(length);
        // SAFETY: `length` bytes fit there, and they are this packet's alone.
        Some(unsafe { slice::from_raw_parts_mut(start, usize::from(length)) })
    }

    fn last(&mut self) -> *mut shim_mbuf {
        let mut segment = self.0.as_ptr().cast::<shim_mbuf>();
        loop {
            // SAFETY: `segment` is in this packet's chain, so live and ours alone.
            let next = unsafe { (*segment).next };
            if next.is_null() {
                return segment;
            }
            segment = next;
        }
    }

    /// Cuts bytes off the front. `None`: the first segment has not that many, no change.
    #[inline]
    pub fn trim_front(&mut self, length: u16) -> Option<()> {
        let header = self.header_mut();
        header.data_len = header.data_len.checked_sub(length)?;
        header.data_off += length;
        header.pkt_len -= u32::from(length);
        Some(())
    }

    /// Cuts the packet to `length` bytes if it is longer; segments that are left without any are freed.
    #[inline]
    pub fn truncate(&mut self, length: u32) {
        let header = self.header_mut();
        if length >= header.pkt_len {
            return;
        }
        if header.nb_segs > 1 {
            return self.truncate_chain(length);
        }
        header.pkt_len = length;
        header.data_len = length as u16; // One segment, so `pkt_len` was its `data_len`.
    }

    #[cold]
    fn truncate_chain(&mut self, length: u32) {
        let mut segment = self.0.as_ptr().cast::<shim_mbuf>();
        let (mut left, mut kept) = (length, 1);
        loop {
            // SAFETY: in this packet's chain, so live and ours alone; the reference is gone before the next one is made.
            let this = unsafe { &mut *segment };
            if left <= u32::from(this.data_len) || this.next.is_null() {
                this.data_len = this.data_len.min(left as u16);
                let rest = mem::replace(&mut this.next, ptr::null_mut());
                if !rest.is_null() {
                    // SAFETY: the rest of the chain was ours alone and is linked from nowhere any more.
                    unsafe { dpdk_sys::shim_mbuf_free(rest.cast()) };
                }
                break;
            }
            left -= u32::from(this.data_len);
            kept += 1;
            segment = this.next;
        }
        let header = self.header_mut();
        header.nb_segs = kept;
        header.pkt_len = length;
    }

    /// Brings the whole packet into its first segment, so that [`data`](Mbuf::data) is all of it. Cheap when it is so already.
    #[inline]
    pub fn linearize(&mut self) -> Result<(), MbufError> {
        if self.segment_count() == 1 { Ok(()) } else { self.linearize_chain() }
    }

    #[cold]
    fn linearize_chain(&mut self) -> Result<(), MbufError> {
        // SAFETY: a live chain that is ours alone; on failure DPDK changes nothing.
        if unsafe { dpdk_sys::shim_mbuf_linearize(self.0.as_ptr()) } == 0 {
            return Ok(());
        }
        let room = u32::from(self.tailroom()) + u32::from(self.header().data_len);
        Err(MbufError::DoesNotFit { length: self.total_len(), room })
    }

    /// Links another packet's segments behind this one's, without copying. `Err` gives it back: too many segments.
    pub fn chain(&mut self, tail: Mbuf) -> Result<(), Mbuf> {
        // SAFETY: two live chains, each ours alone and so distinct.
        match unsafe { dpdk_sys::shim_mbuf_chain(self.0.as_ptr(), tail.0.as_ptr()) } {
            0 => {
                mem::forget(tail); // This packet owns it now.
                Ok(())
            }
            _ => Err(tail),
        }
    }

    /// The port that received it. A ring between two ports does not change it.
    #[inline]
    pub fn port(&self) -> u16 {
        self.header().port
    }

    /// Says which port received it.
    #[inline]
    pub fn set_port(&mut self, port: u16) {
        self.header_mut().port = port;
    }

    /// DPDK's `RTE_MBUF_F_*` flags.
    #[inline]
    pub fn ol_flags(&self) -> u64 {
        self.header().ol_flags
    }

    /// The hash by which the device chose the queue, where it says so.
    #[inline]
    pub fn rss_hash(&self) -> Option<u32> {
        let header = self.header();
        (header.ol_flags & dpdk_sys::SHIM_MBUF_RX_RSS_HASH != 0).then_some(header.hash[0])
    }

    /// What [`set_tag`](Mbuf::set_tag) stored. Before that, whatever the device left there.
    #[inline]
    pub fn tag(&self) -> u64 {
        let [low, high] = self.header().hash;
        u64::from(low) | u64::from(high) << 32
    }

    /// Stores eight bytes of the caller's in the header, which travel with the packet through rings.
    ///
    /// They take the place of the RSS hash, so [`rss_hash`](Mbuf::rss_hash) is `None` from then on.
    #[inline]
    pub fn set_tag(&mut self, tag: u64) {
        let header = self.header_mut();
        header.hash = [tag as u32, (tag >> 32) as u32];
        header.ol_flags &= !dpdk_sys::SHIM_MBUF_RX_RSS_HASH;
    }

    /// Another packet with the same bytes and header fields, from `pool`; `None` when that is exhausted.
    pub fn copy(&self, pool: &Mempool) -> Option<Mbuf> {
        copy_raw(self.0, pool)
    }

    /// Where the header is, for [`prefetch`](crate::prefetch()).
    #[inline]
    pub fn header_address(&self) -> *const u8 {
        self.0.as_ptr().cast_const().cast()
    }

    /// Where the packet's bytes are, for [`prefetch`](crate::prefetch()); reads the header.
    #[inline]
    pub fn data_address(&self) -> *const u8 {
        self.data().as_ptr()
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the only reference to the packet, which ends here; its pool is alive, for EAL's memory is not given
        // back while a buffer is missing from a pool.
        unsafe { dpdk_sys::shim_mbuf_free(self.0.as_ptr()) }
    }
}

/// Iterates over a packet's segments: [`Mbuf::segments`].
#[derive(Debug, Clone)]
pub struct Segments<'a> {
    next: *const shim_mbuf,
    mbuf: PhantomData<&'a Mbuf>,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        // SAFETY: null, or a segment of the borrowed packet, which stays as it is while it is borrowed.
        let segment: &'a shim_mbuf = unsafe { self.next.as_ref() }?;
        self.next = segment.next;
        Some(bytes(segment))
    }
}

impl FusedIterator for Segments<'_> {}

#[inline]
fn bytes(segment: &shim_mbuf) -> &[u8] {
    // SAFETY: by the invariant of `Mbuf` the offset is within the buffer.
    let start = unsafe { segment.buf_addr.add(usize::from(segment.data_off)) };
    // SAFETY: by the same invariant these bytes are in the buffer, and only the owner of the borrowed segment writes them;
    // pool memory is never uninitialised (the kernel gave it zeroed).
    unsafe { slice::from_raw_parts(start, usize::from(segment.data_len)) }
}

#[inline]
fn tailroom(segment: &shim_mbuf) -> u16 {
    segment.buf_len.saturating_sub(segment.data_off).saturating_sub(segment.data_len)
}

/// Copies a packet that may be shared with others.
pub(crate) fn copy_raw(raw: NonNull<rte_mbuf>, pool: &Mempool) -> Option<Mbuf> {
    // SAFETY: both are alive; DPDK reads the packet and fills fresh mbufs from the pool.
    let copy = unsafe { dpdk_sys::rte_pktmbuf_copy(raw.as_ptr(), pool.raw().as_ptr(), 0, u32::MAX) };
    // SAFETY: a fresh chain of direct mbufs, all ours.
    NonNull::new(copy).map(|copy| unsafe { Mbuf::from_raw(copy) })
}

/// Frees many packets at once, which costs less than dropping each.
///
/// Meant for what `ArrayVec::drain` takes out: `free_bulk(burst.drain(..))`.
pub fn free_bulk(mbufs: impl IntoIterator<Item = Mbuf>) {
    let mut batch = ArrayVec::<Mbuf, 64>::new();
    for mbuf in mbufs {
        batch.push(mbuf); // Never full: see the next line.
        if batch.is_full() {
            free_batch(&mut batch);
        }
    }
    free_batch(&mut batch);
}

fn free_batch(batch: &mut ArrayVec<Mbuf, 64>) {
    // SAFETY: that many pointers to packets, each the only reference; `forget_front` below gives up ours.
    unsafe { dpdk_sys::rte_pktmbuf_free_bulk(batch.as_mut_ptr().cast(), batch.len() as u32) };
    let all = batch.len();
    // SAFETY: all of them are DPDK's now.
    unsafe { forget_front(batch, all) };
}

/// Takes the first `count` packets out without dropping them; the others move to the front, in order.
///
/// # Safety
/// Somebody else owns those packets by now.
#[inline]
pub(crate) unsafe fn forget_front<const N: usize>(mbufs: &mut ArrayVec<Mbuf, N>, count: usize) {
    let length = mbufs.len();
    let count = count.min(length);
    let left = length - count;
    // SAFETY: shorter than before; what is beyond is treated next.
    unsafe { mbufs.set_len(left) };
    if left > 0 {
        let start = mbufs.as_mut_ptr();
        // SAFETY: `count` is below the old length, so within the array.
        let refused = unsafe { start.add(count) };
        // SAFETY: `left` initialised packets from `refused` on; they overwrite the first ones, which are not ours, and
        // the originals are beyond the length.
        unsafe { ptr::copy(refused, start, left) };
    }
}
