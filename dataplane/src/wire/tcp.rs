//! TCP (RFC 9293): the fixed header, flags, and the two options that a NAT reads.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian::U16, big_endian::U32};

/// The fixed 20 bytes.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Tcp {
    /// Source port.
    pub src: U16,
    /// Destination port.
    pub dst: U16,
    /// Sequence number.
    pub seq: U32,
    /// Acknowledgement number.
    pub ack: U32,
    /// Header length in 32-bit words (high 4 bits).
    pub offset: u8,
    /// See [`flags`].
    pub flags: u8,
    /// Window, unscaled.
    pub window: U16,
    /// Checksum.
    pub checksum: U16,
    /// Urgent pointer.
    pub urgent: U16,
}

/// Length of [`Tcp`] without options.
pub const LEN: usize = 20;
/// Where the checksum lies.
pub const CHECKSUM_AT: usize = 16;

/// Bits of [`Tcp::flags`].
pub mod flags {
    /// No more data.
    pub const FIN: u8 = 0x01;
    /// Synchronise.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// Acknowledgement is significant.
    pub const ACK: u8 = 0x10;
    /// Urgent pointer is significant.
    pub const URG: u8 = 0x20;
}

/// Maximum segment size option: kind, length 4, value.
pub const OPTION_MSS: u8 = 2;
/// Window scale option: kind, length 3, shift (RFC 7323 §2).
pub const OPTION_WINDOW_SCALE: u8 = 3;

impl Tcp {
    /// Length of the header with options, bytes, as claimed.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        ((self.offset >> 4) as usize) * 4
    }
}

/// Finds the value of option `kind` with a total length of `len`, and where it starts in `options`. Options that run
/// past the end are treated as absent: a NAT passes what it need not read.
#[must_use]
pub fn find_option(options: &[u8], kind: u8, len: u8) -> Option<(usize, &[u8])> {
    let mut at = 0;
    loop {
        match *options.get(at)? {
            0 => return None,
            1 => at += 1,
            k => {
                let l = usize::from(*options.get(at + 1)?);
                if l < 2 {
                    return None;
                }
                let whole = options.get(at..at + l)?;
                if k == kind && l == usize::from(len) {
                    return Some((at, whole.get(2..)?));
                }
                at += l;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_behind_padding_and_others() {
        let o = [1, 1, 8, 4, 9, 9, 2, 4, 5, 0xb4, 3, 3, 7, 0];
        assert_eq!(find_option(&o, OPTION_MSS, 4), Some((6, &o[8..10])));
        assert_eq!(find_option(&o, OPTION_WINDOW_SCALE, 3), Some((10, &o[12..13])));
        assert_eq!(find_option(&o, 5, 2), None);
        assert_eq!(find_option(&[2, 4, 5], OPTION_MSS, 4), None);
        assert_eq!(find_option(&[9, 0, 2, 4, 5, 5], OPTION_MSS, 4), None);
        assert_eq!(find_option(&[2, 3, 5], OPTION_MSS, 4), None);
    }
}
