//! ICMP errors on their way through: whose packet they quote, and the quote turned back [RFC 5508 §4.2, 4787 REQ-12].
//!
//! ```text
//! in:   R → N      quoting N:n → X:x      becomes   R → A      quoting A:a → X:x
//! out:  R → X      quoting X:x → A:a      becomes   N → X      quoting X:x → N:n
//! ```
//!
//! The quote is what the receiver of a translated packet saw, so its key is that of the *other* direction's packets,
//! and it is translated back by the same session. The message's checksum and the quoted IP header's are verified
//! first [REQ-3, 3a]; the quoted transport checksum is not, and is kept consistent where it is quoted at all [3c].
//! RFC 4884 extensions lie behind the quote and are not touched. No error refreshes or ends a session [REQ-6].

use crate::flow::session::Session;
use crate::packet::Meta;
use crate::types::{Direction, Key, Proto};
use crate::verdict::DropReason;
use crate::wire::checksum::{self, Delta};
use crate::wire::{gre, icmp, ipv4, tcp, udp};
use zerocopy::{FromBytes, big_endian::U16};

/// What an error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The quoted packet's key, as quoted.
    pub key: Key,
    /// Length of the quoted IP header.
    pub header_len: u8,
}

/// Reads and verifies an error's quote.
///
/// # Errors
/// Why the error is of no use.
pub fn quote(frame: &[u8], meta: &Meta) -> Result<Quote, DropReason> {
    let Some(message) = frame.get(usize::from(meta.l4)..meta.end()) else {
        return Err(DropReason::IcmpErrorTruncated);
    };
    if !checksum::is_valid(message) {
        return Err(DropReason::IcmpChecksum);
    }
    let Some(quoted) = message.get(icmp::LEN..) else { return Err(DropReason::IcmpErrorTruncated) };
    let Ok((ip, _)) = ipv4::Ipv4::ref_from_prefix(quoted) else { return Err(DropReason::IcmpErrorTruncated) };
    if ip.version() != 4 || ip.header_len() < ipv4::LEN {
        return Err(DropReason::IcmpErrorInner);
    }
    let Some(header) = quoted.get(..ip.header_len()) else { return Err(DropReason::IcmpErrorTruncated) };
    if !checksum::is_valid(header) {
        return Err(DropReason::IcmpErrorInner);
    }
    if ip.fragment.get() & ipv4::OFFSET != 0 {
        return Err(DropReason::IcmpErrorFragment);
    }
    let Some(transport) = quoted.get(ip.header_len()..) else { return Err(DropReason::IcmpErrorTruncated) };
    let mut proto = Proto(ip.proto);
    let Some(&[a, b, c, d, e, f, g, h]) = transport.first_chunk::<8>() else {
        return Err(DropReason::IcmpErrorTruncated);
    };
    let ident = match proto {
        Proto::TCP | Proto::UDP => u32::from_be_bytes([a, b, c, d]),
        Proto::ICMP => {
            let id = u16::from_be_bytes([e, f]);
            let view = icmp::Icmp { kind: a, code: b, checksum: U16::new(0), id: U16::new(id), seq: U16::new(0) };
            match view.sort() {
                icmp::Kind::Request => Key::ports(id, 0),
                icmp::Kind::Reply => Key::ports(0, id),
                // An error about an error does not exist [RFC 1122 §3.2.2].
                icmp::Kind::Error | icmp::Kind::Other => return Err(DropReason::IcmpErrorInner),
            }
        }
        Proto::GRE if b & gre::VERSION == 1 => Key::call(u16::from_be_bytes([g, h])),
        Proto::L2TP if [a, b, c, d] == [0; 4] => {
            let Some(id) = transport.get(8..).and_then(|t| t.first_chunk::<4>()) else {
                return Err(DropReason::IcmpErrorTruncated);
            };
            proto = Proto::L2TP_CONTROL;
            u32::from_be_bytes(*id)
        }
        Proto::ESP | Proto::L2TP => u32::from_be_bytes([a, b, c, d]),
        _ => 0,
    };
    #[allow(clippy::cast_possible_truncation, reason = "at most 60")]
    let header_len = ip.header_len() as u8;
    Ok(Quote { key: Key { src: ip.src(), dst: ip.dst(), ident, proto }, header_len })
}

/// Translates an error that travels in `direction` and quotes a packet of `session`; all but the outer IP header's
/// time to live.
pub fn translate(frame: &mut [u8], meta: &Meta, quote: &Quote, session: &Session, direction: Direction) -> bool {
    let Some((head, rest)) = frame.split_at_mut_checked(usize::from(meta.l4)) else { return false };
    let Some(Ok((ip, _))) = head.get_mut(usize::from(meta.l3)..).map(ipv4::Ipv4::mut_from_prefix) else { return false };
    let Some(message) = rest.get_mut(..meta.payload_len()) else { return false };
    if !translate_quote(message, quote, session, direction) {
        return false;
    }
    let delta = match direction {
        Direction::In => {
            let d = Delta::dword(ip.dst().to_bits(), session.inside.to_bits());
            ip.dst = session.inside.octets();
            d
        }
        // Whichever inside router sent it: outside it comes from the address of the flow that it is about.
        Direction::Out => {
            let d = Delta::dword(ip.src().to_bits(), session.outside.to_bits());
            ip.src = session.outside.octets();
            d
        }
    };
    ip.checksum = U16::new(delta.apply(ip.checksum.get()));
    let Ok((m, _)) = icmp::Icmp::mut_from_prefix(message) else { return false };
    m.checksum = U16::new(0);
    let sum = checksum::of(message);
    let Ok((m, _)) = icmp::Icmp::mut_from_prefix(message) else { return false };
    m.checksum = U16::new(sum);
    true
}

fn translate_quote(message: &mut [u8], quote: &Quote, session: &Session, direction: Direction) -> bool {
    let Some(quoted) = message.get_mut(icmp::LEN..) else { return false };
    let Some((header, transport)) = quoted.split_at_mut_checked(usize::from(quote.header_len)) else { return false };
    let Ok((ip, _)) = ipv4::Ipv4::mut_from_prefix(header) else { return false };
    let (inside, outside) = (session.inside().0, session.outside().0);
    let (l3, port, at_source) = match direction {
        // Quotes what left us: its source is put back.
        Direction::In => {
            ip.src = inside.addr.octets();
            (session.l3_delta.inverse(), inside.port, true)
        }
        // Quotes what came in: its destination is what the world called.
        Direction::Out => {
            ip.dst = outside.addr.octets();
            (session.l3_delta, outside.port, false)
        }
    };
    ip.checksum = U16::new(l3.apply(ip.checksum.get()));
    let l4 = if direction == Direction::In { session.l4_delta.inverse() } else { session.l4_delta };
    match quote.key.proto {
        Proto::TCP | Proto::UDP => {
            let Some(ports) = transport.first_chunk_mut::<4>() else { return false };
            let [a, b, c, d] = ports;
            let [hi, lo] = port.to_be_bytes();
            if at_source {
                (*a, *b) = (hi, lo);
            } else {
                (*c, *d) = (hi, lo);
            }
            let (at, udp) = match quote.key.proto {
                Proto::UDP => (udp::CHECKSUM_AT, true),
                _ => (tcp::CHECKSUM_AT, false),
            };
            adjust(transport, at, l4, udp);
        }
        Proto::GRE if quote.key.is_pptp() => {
            let Some(id) = transport.get_mut(gre::CALL_ID_AT..gre::CALL_ID_AT + 2) else { return false };
            // As it came to us: what left here came with the identifier that the leg is found by.
            let came = if at_source { session.key(Direction::Out) } else { session.key(Direction::In) };
            id.copy_from_slice(&came.dst_port().to_be_bytes());
        }
        Proto::ICMP if inside.port != 0 || outside.port != 0 => {
            let Some(id) = transport.get_mut(icmp::ID_AT..icmp::ID_AT + 2) else { return false };
            id.copy_from_slice(&port.to_be_bytes());
            adjust(transport, icmp::CHECKSUM_AT, l4, false);
        }
        _ => {}
    }
    true
}

/// Adjusts a quoted checksum where it was quoted.
fn adjust(transport: &mut [u8], at: usize, delta: Delta, udp: bool) {
    if let Some(field) = transport.get_mut(at..at + 2)
        && let Ok(old) = <[u8; 2]>::try_from(&*field)
    {
        let old = u16::from_be_bytes(old);
        let new = if udp { delta.apply_udp(old) } else { delta.apply(old) };
        field.copy_from_slice(&new.to_be_bytes());
    }
}
