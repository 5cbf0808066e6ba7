//! Comparing sixteen bytes at once.
//!
//! Besides [`crate::prefetch`] and [`crate::table`], the crate's use of `unsafe`: the compiler does not find these instructions by
//! itself, and each look-up asks for them (the portable loop below becomes about a hundred instructions).

/// Bit i is set where byte i of `bytes` equals `byte`.
#[inline(always)]
pub(crate) fn equal(bytes: [u8; 16], byte: u8) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: `sse2` needs SSE2 and nothing else, and that is part of x86-64's baseline.
        #[allow(unsafe_code)]
        unsafe {
            sse2(bytes, byte)
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    portable(bytes, byte)
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
#[allow(clippy::cast_sign_loss, reason = "a mask of 16 bits")]
fn sse2(bytes: [u8; 16], byte: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    let [low, high]: [i64; 2] = zerocopy::transmute!(bytes);
    _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_set_epi64x(high, low), _mm_set1_epi8(byte.cast_signed()))) as u32
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn portable(bytes: [u8; 16], byte: u8) -> u32 {
    (0u32..).zip(bytes).map(|(i, b)| u32::from(b == byte) << i).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_vector_and_the_loop_agree(bytes: [u8; 16], byte: u8, at in 0usize..16) {
            let mut bytes = bytes;
            bytes[at] = byte;
            prop_assert_eq!(equal(bytes, byte), portable(bytes, byte));
        }
    }
}
