//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624, equation 3).
//!
//! All sums are kept in *native byte order of the stored field*: words are read with `from_be_bytes`, so values here
//! are host-order numbers as a reader of the RFC would write them.

/// One's complement sum of big-endian 16-bit words, folded; an odd last byte is the high half of a word.
#[must_use]
pub fn sum(bytes: &[u8]) -> u16 {
    let mut acc: u64 = 0;
    let (words, rest) = bytes.as_chunks::<4>();
    for w in words {
        acc += u64::from(u32::from_be_bytes(*w));
    }
    let mut tail = [0u8; 4];
    for (t, r) in tail.iter_mut().zip(rest) {
        *t = *r;
    }
    acc += u64::from(u32::from_be_bytes(tail));
    fold(acc)
}

/// The checksum to store over `bytes` whose own checksum field holds zero.
#[must_use]
pub fn of(bytes: &[u8]) -> u16 {
    !sum(bytes)
}

/// Whether `bytes`, checksum field included, sum to all ones.
#[must_use]
pub fn is_valid(bytes: &[u8]) -> bool {
    sum(bytes) == 0xffff
}

/// As [`is_valid`] for an IPv4 header without options. The sum is the same in any byte order [RFC 1071 §2 (B)].
#[inline]
#[must_use]
pub fn is_valid_header(header: &[u8; 20]) -> bool {
    let mut acc: u64 = 0;
    let (words, _) = header.as_chunks::<4>();
    for w in words {
        acc += u64::from(u32::from_ne_bytes(*w));
    }
    // A multiple of 0xffff folds to 0xffff itself, as the sum is not zero: the version is in it.
    let acc = (acc & 0xffff) + ((acc >> 16) & 0xffff) + (acc >> 32);
    (acc & 0xffff) + (acc >> 16) == 0xffff
}

/// Folds carries until 16 bits remain.
#[inline]
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "folded to 16 bits by construction")]
pub const fn fold(acc: u64) -> u16 {
    let acc = (acc & 0xffff_ffff) + (acc >> 32);
    let acc = (acc & 0xffff) + ((acc >> 16) & 0xffff) + (acc >> 32);
    let acc = (acc & 0xffff) + (acc >> 16);
    let acc = (acc & 0xffff) + (acc >> 16);
    acc as u16
}

/// What a checksum must be changed by when fields change: the one's complement sum of `!old + new`.
///
/// Deltas add up ([`Delta::and`]) and turn around ([`Delta::inverse`]), so one stored delta serves both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delta(pub u16);

impl Delta {
    /// Changes nothing.
    pub const NONE: Self = Self(0);

    /// A 16-bit field changes.
    #[inline]
    #[must_use]
    pub const fn word(old: u16, new: u16) -> Self {
        Self(fold(!old as u64 + new as u64))
    }

    /// A 32-bit field, such as an IPv4 address, changes.
    #[inline]
    #[must_use]
    pub const fn dword(old: u32, new: u32) -> Self {
        Self(fold(!old as u64 + new as u64))
    }

    /// Both changes.
    #[inline]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(fold(self.0 as u64 + other.0 as u64))
    }

    /// The change back.
    #[inline]
    #[must_use]
    pub const fn inverse(self) -> Self {
        Self(!self.0)
    }

    /// The checksum field after this change and a few words' more, each `old` to `new`: one fold for all.
    #[inline]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "folded to 16 bits")]
    pub fn apply_with<const N: usize>(self, checksum: u16, words: [(u16, u16); N]) -> u16 {
        let mut acc = u32::from(!checksum) + u32::from(self.0);
        for (old, new) in words {
            acc += u32::from(!old) + u32::from(new);
        }
        let acc = (acc & 0xffff) + (acc >> 16);
        let acc = (acc & 0xffff) + (acc >> 16);
        !(acc as u16)
    }

    /// The checksum field after the change (RFC 1624 eqn. 3: `HC' = ~(~HC + ~m + m')`).
    #[inline]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "folded to 16 bits")]
    pub const fn apply(self, checksum: u16) -> u16 {
        // Two words carry once at most.
        let acc = !checksum as u32 + self.0 as u32;
        !((acc & 0xffff) + (acc >> 16)) as u16
    }

    /// As [`Delta::apply`] for UDP: a zero field means "none" and stays, and a computed zero is sent as all ones
    /// (RFC 768).
    #[inline]
    #[must_use]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            return 0;
        }
        let c = self.apply(checksum);
        if c == 0 { 0xffff } else { c }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_rfc_1071_sums_right() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
        assert_eq!(sum(&[0xab]), 0xab00);
    }

    #[test]
    fn the_example_of_rfc_1624_does_not_give_minus_zero() {
        // Section 4: HC = 0xDD2F, m = 0x5555, m' = 0x3285 gives HC' = 0x0000.
        assert_eq!(Delta::word(0x5555, 0x3285).apply(0xdd2f), 0x0000);
    }

    #[test]
    fn udp_zero_stays_zero_and_is_never_computed() {
        assert_eq!(Delta::word(1, 2).apply_udp(0), 0);
        assert_eq!(Delta::word(0x5555, 0x3285).apply_udp(0xdd2f), 0xffff);
    }

    proptest! {
        #[test]
        fn an_incremental_update_equals_a_full_sum(mut data in prop::collection::vec(any::<u8>(), 12..200), new: [u8; 6]) {
            let even = data.len() & !1;
            data.truncate(even);
            // A checksum in bytes 0..2, an address in 4..8, a port in 8..10.
            data[0] = 0; data[1] = 0;
            let c = of(&data);
            let old_addr = u32::from_be_bytes([data[4], data[5], data[6], data[7]]);
            let old_port = u16::from_be_bytes([data[8], data[9]]);
            let new_addr = u32::from_be_bytes([new[0], new[1], new[2], new[3]]);
            let new_port = u16::from_be_bytes([new[4], new[5]]);
            let d = Delta::dword(old_addr, new_addr).and(Delta::word(old_port, new_port));
            let updated = d.apply(c);
            data[4..8].copy_from_slice(&new[..4]);
            data[8..10].copy_from_slice(&new[4..]);
            data[0..2].copy_from_slice(&updated.to_be_bytes());
            // 0x0000 and 0xffff are the same number in one's complement; a receiver's check accepts both.
            prop_assert!(is_valid(&data) || data.iter().all(|&b| b == 0));
            let back = d.inverse().apply(updated);
            prop_assert!(back == c || (back ^ c) == 0xffff && (c == 0 || c == 0xffff));
        }
    }
}
