//! Memory for tables: taken and written at start, in huge pages where the kernel has them for the asking.
//!
//! A look-up in a large table otherwise misses the TLB besides the cache, and on a set-up's or an end's ten lines those
//! misses are half of the cost. Transparent huge pages need no reservation: `/sys/kernel/mm/transparent_hugepage/enabled`
//! must say `madvise` (as Debian does) or `always`; otherwise ordinary pages are had.
//!
//! The third and last use of `unsafe` in this crate, besides [`crate::prefetch`] and [`crate::simd`].

use std::mem::MaybeUninit;

/// A table of `len` entries, each a `blank`. All of it is written here, so that no first use waits for the kernel, and
/// the memory lies on the node of the thread that calls.
pub(crate) fn table<T: Copy>(blank: T, len: usize) -> Box<[T]> {
    let mut entries = Vec::with_capacity(len);
    ask_for_huge_pages(entries.spare_capacity_mut());
    entries.resize(len, blank);
    entries.into_boxed_slice()
}

#[cfg(all(target_os = "linux", not(miri)))]
#[allow(unsafe_code)]
fn ask_for_huge_pages<T>(room: &mut [MaybeUninit<T>]) {
    const PAGE: usize = 4096;
    const HUGE: usize = 2 << 20;
    let bytes = size_of_val(room);
    let start = room.as_mut_ptr().cast::<u8>();
    let skip = start.align_offset(PAGE);
    if bytes < HUGE || skip >= bytes {
        return;
    }
    let whole = (bytes - skip) / PAGE * PAGE;
    // SAFETY: the range lies within `room`, which is borrowed mutably and not initialised. MADV_HUGEPAGE changes by what
    // pages the kernel backs the range, never what is in it; that it fails (no such kernel) changes nothing.
    unsafe { libc::madvise(start.wrapping_add(skip).cast(), whole, libc::MADV_HUGEPAGE) };
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn ask_for_huge_pages<T>(_: &mut [MaybeUninit<T>]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_its_entries_whatever_its_size() {
        for len in [0, 1, 1000, 1 << 20] {
            let t = table(7u64, len);
            assert!(t.len() == len && t.iter().all(|&x| x == 7));
        }
    }
}
