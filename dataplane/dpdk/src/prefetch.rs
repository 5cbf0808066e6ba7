//! Asking for a cache line ahead of its use.

/// Starts to bring the cache line of `place` into the first-level cache; returns at once.
///
/// It reads nothing that the program could see: a pointer that dangles costs time, not correctness.
#[inline]
pub fn prefetch<T: ?Sized>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: PREFETCHT0 is part of SSE, which every x86-64 CPU has; it never faults, whatever the address.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: a prefetch instruction never faults, whatever the address.
    unsafe {
        dpdk_sys::shim_prefetch(place.cast());
    }
}
