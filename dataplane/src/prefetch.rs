//! Asking the CPU to fetch a cache line early.
//!
//! One of the crate's three uses of `unsafe` (with [`crate::simd`] and [`crate::table`]): stable Rust offers the instruction through a raw pointer only. It earns its place:
//! a look-up in a large table misses twice, and with prefetch the misses of a burst overlap (`make bench` shows the
//! difference at 1 Mi sessions).

/// Fetches the line of `target` for reading. Nothing happens for `None`, or on CPUs without the instruction.
#[inline(always)]
#[allow(unsafe_code)]
pub(crate) fn read<T>(target: Option<&T>) {
    #[cfg(target_arch = "x86_64")]
    if let Some(target) = target {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the pointer comes from a live reference; besides, PREFETCHT0 never faults and changes no memory
        // whatever the address (Intel SDM vol. 2, PREFETCHh), and SSE is part of x86_64's baseline.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(target).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = target;
}
