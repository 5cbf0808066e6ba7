//! IPv4 (RFC 791): the fixed header and a walk over options.

use std::net::Ipv4Addr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian::U16};

/// The fixed 20 bytes.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Ipv4 {
    /// Version (4 bits) and header length in 32-bit words (4 bits).
    pub version_ihl: u8,
    /// Type of service.
    pub tos: u8,
    /// Header and payload together.
    pub total_len: U16,
    /// Identification.
    pub id: U16,
    /// Flags (3 bits) and fragment offset in units of 8 bytes (13 bits).
    pub fragment: U16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol.
    pub proto: u8,
    /// Header checksum.
    pub checksum: U16,
    /// Source address.
    pub src: [u8; 4],
    /// Destination address.
    pub dst: [u8; 4],
}

/// Length of [`Ipv4`] without options.
pub const LEN: usize = 20;
/// "Don't fragment" in [`Ipv4::fragment`].
pub const DF: u16 = 0x4000;
/// "More fragments" in [`Ipv4::fragment`].
pub const MF: u16 = 0x2000;
/// The offset's bits in [`Ipv4::fragment`].
pub const OFFSET: u16 = 0x1fff;
/// The reserved ("evil") bit in [`Ipv4::fragment`].
pub const RESERVED: u16 = 0x8000;

/// End of options.
pub const OPTION_END: u8 = 0;
/// No operation.
pub const OPTION_NOP: u8 = 1;
/// Loose source and record route.
pub const OPTION_LSRR: u8 = 131;
/// Strict source and record route.
pub const OPTION_SSRR: u8 = 137;

impl Ipv4 {
    /// The version field.
    #[inline]
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.version_ihl >> 4
    }

    /// Length of the header with options, bytes, as claimed.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        ((self.version_ihl & 0x0f) as usize) * 4
    }

    /// Source address.
    #[inline]
    #[must_use]
    pub const fn src(&self) -> Ipv4Addr {
        let [a, b, c, d] = self.src;
        Ipv4Addr::new(a, b, c, d)
    }

    /// Destination address.
    #[inline]
    #[must_use]
    pub const fn dst(&self) -> Ipv4Addr {
        let [a, b, c, d] = self.dst;
        Ipv4Addr::new(a, b, c, d)
    }
}

/// One option of a header: its type and all its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionView<'a> {
    /// Copied flag, class and number.
    pub kind: u8,
    /// The whole option, type and length included.
    pub bytes: &'a [u8],
}

/// Options run past their end or have a length below 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedOptions;

/// Walks the options of a header, `END` excluded. Stops after the first malformed one.
pub fn options(mut bytes: &[u8]) -> impl Iterator<Item = Result<OptionView<'_>, MalformedOptions>> {
    std::iter::from_fn(move || {
        let &kind = bytes.first()?;
        let len = match kind {
            OPTION_END => return None,
            OPTION_NOP => 1,
            _ => bytes.get(1).map_or(0, |&l| usize::from(l)),
        };
        if len == 0 || (len < 2 && kind != OPTION_NOP) {
            bytes = &[];
            return Some(Err(MalformedOptions));
        }
        let Some((option, rest)) = bytes.split_at_checked(len) else {
            bytes = &[];
            return Some(Err(MalformedOptions));
        };
        bytes = rest;
        Some(Ok(OptionView { kind, bytes: option }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_walked_and_lengths_believed_only_when_they_fit() {
        let kinds: Vec<_> = options(&[1, 7, 3, 0, 0, 9]).map(|o| o.map(|o| o.kind)).collect();
        assert_eq!(kinds, [Ok(1), Ok(7)]);
        assert_eq!(options(&[7, 1]).collect::<Vec<_>>(), [Err(MalformedOptions)]);
        assert_eq!(options(&[7, 9, 0]).collect::<Vec<_>>(), [Err(MalformedOptions)]);
        assert_eq!(options(&[7]).collect::<Vec<_>>(), [Err(MalformedOptions)]);
        assert_eq!(options(&[7, 0, 0]).collect::<Vec<_>>(), [Err(MalformedOptions)]);
    }

    #[test]
    fn the_header_is_twenty_bytes() {
        assert_eq!(size_of::<Ipv4>(), LEN);
    }
}
