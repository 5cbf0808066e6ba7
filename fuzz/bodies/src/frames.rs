//! Making arbitrary bytes worth judging: a fuzzer cannot guess checksums.

use testkit::checksum;

const ICMP: u8 = 1;

/// Where the IPv4 header starts, and how long it says it is.
pub(crate) fn ip_header(frame: &[u8]) -> Option<(usize, usize)> {
    let l3 = match frame.get(12..14)? {
        [8, 0] => 14,
        [0x81, 0] if frame.get(16..18)? == [8, 0] => 18,
        _ => return None,
    };
    let len = usize::from(frame.get(l3)? & 15) * 4;
    (len >= 20 && frame.len() >= l3 + len).then_some((l3, len))
}

/// Sets the IPv4 header's checksum, an ICMP message's, and that of an IPv4 header which an ICMP error quotes.
pub(crate) fn mend(frame: &mut [u8]) {
    let Some((l3, len)) = ip_header(frame) else { return };
    let total = usize::from(u16::from_be_bytes([frame[l3 + 2], frame[l3 + 3]]));
    let whole = frame[l3 + 6] & 0x3f == 0 && frame[l3 + 7] == 0;
    set(&mut frame[l3..l3 + len], 10);
    if frame[l3 + 9] == ICMP && whole {
        let end = (l3 + total).clamp(l3 + len, frame.len());
        mend_icmp(&mut frame[l3 + len..end]);
    }
}

/// The same for an ICMP message by itself.
pub(crate) fn mend_icmp(message: &mut [u8]) {
    if let Some(quoted) = message.get_mut(8..)
        && let Some(len) = quoted.first().map(|b| usize::from(b & 15) * 4)
        && let Some(header) = quoted.get_mut(..len).filter(|h| h.len() >= 20)
    {
        set(header, 10);
    }
    if message.len() >= 4 {
        set(message, 2);
    }
}

/// Writes the Internet checksum of `bytes` at `at` in them.
fn set(bytes: &mut [u8], at: usize) {
    bytes[at..at + 2].fill(0);
    let sum = checksum(bytes);
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}
