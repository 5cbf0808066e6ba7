//! The Internet checksum [RFC 1071], written the slow and obvious way: add 16-bit words, fold, complement.

use std::net::Ipv4Addr;

/// The checksum of `bytes`; an odd last byte counts as the high half of a word. Over bytes that include a right
/// checksum the result is zero.
pub fn checksum(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// The checksum of a TCP or UDP segment with its IPv4 pseudo-header. UDP writes a result of zero as `0xffff`; that is
/// the caller's to do.
pub fn transport_checksum(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, segment: &[u8]) -> u16 {
    let pseudo_header = sum(&source.octets()) + sum(&destination.octets()) + u64::from(protocol) + segment.len() as u64;
    !fold(pseudo_header + sum(segment))
}

fn sum(bytes: &[u8]) -> u64 {
    let mut total = 0;
    for word in bytes.chunks(2) {
        let low = word.get(1).copied().unwrap_or(0);
        total += u64::from(u16::from_be_bytes([word[0], low]));
    }
    total
}

fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_comes_out() {
        // Section 3: the words 0001 f203 f4f5 f6f7 add up to ddf2.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn a_header_with_its_checksum_adds_up_to_zero() {
        let header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8,
            0x00, 0xc7,
        ];
        assert_eq!(checksum(&header), 0);
        let mut without = header;
        without[10..12].fill(0);
        assert_eq!(checksum(&without), 0xb861);
    }

    #[test]
    fn an_odd_byte_is_the_high_half_of_a_word() {
        assert_eq!(checksum(&[0x12]), !0x1200);
        assert_eq!(checksum(&[]), 0xffff);
    }
}
