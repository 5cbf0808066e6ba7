//! Making arbitrary bytes worth judging: a fuzzer cannot guess checksums.

use testkit::{checksum, pptp};

const ICMP: u8 = 1;
const TCP: u8 = 6;
/// The Call ID that a server answers with.
pub(crate) const SERVERS_CALL: u16 = 7;

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

/// Where a whole frame's TCP header, its payload and its end are.
fn tcp(frame: &[u8]) -> Option<(usize, usize, usize)> {
    let (l3, len) = ip_header(frame)?;
    let whole = frame[l3 + 6] & 0x3f == 0 && frame[l3 + 7] == 0;
    let (l4, end) = (l3 + len, l3 + usize::from(u16::from_be_bytes([frame[l3 + 2], frame[l3 + 3]])));
    let payload = l4 + usize::from(frame.get(l4 + 12)? >> 4) * 4;
    let fits = l4 + 20 <= payload && payload <= end && end <= frame.len();
    (frame[l3 + 9] == TCP && whole && fits).then_some((l4, payload, end))
}

/// The Call ID that a frame's first PPTP message says its sender chose.
pub(crate) fn own_call(frame: &[u8]) -> Option<u16> {
    let (_, payload, end) = tcp(frame)?;
    match frame.get(payload..end)? {
        [0, _, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d, 0, 7..=10, _, _, high, low, ..] => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

/// Makes a segment, whose addresses and ports are exchanged already, its receiver's answer: its numbers acknowledge
/// the segment, and a PPTP call is accepted.
pub(crate) fn answer(frame: &mut Vec<u8>, flags: u8) {
    let Some((l4, payload, end)) = tcp(frame) else { return };
    let number = |at: usize| u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
    let (seq, ack) = (number(l4 + 4), number(l4 + 8));
    let len = (end - payload) as u32 + u32::from(frame[l4 + 13] & 1) + u32::from(frame[l4 + 13] >> 1 & 1);
    let call = own_call(frame);
    frame[l4 + 4..l4 + 8].copy_from_slice(&ack.to_be_bytes());
    frame[l4 + 8..l4 + 12].copy_from_slice(&seq.wrapping_add(len).to_be_bytes());
    frame[l4 + 13] = flags;
    if let (Some(call), Some((l3, _))) = (call, ip_header(frame)) {
        frame.truncate(payload);
        frame.extend(pptp::outgoing_call_reply(SERVERS_CALL, call, 1));
        let total = (frame.len() - l3) as u16;
        frame[l3 + 2..l3 + 4].copy_from_slice(&total.to_be_bytes());
    }
}
