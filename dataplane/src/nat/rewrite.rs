//! The one function that changes a packet on its way, and nothing else does.
//!
//! Address, port or identifier, time to live, IP identification; checksums incrementally [RFC 1624], so that damage
//! on the way is still seen by the receiver. The caller has decided that the packet goes; `meta` is that of
//! [`crate::packet::parse`] over the same bytes.

use crate::flow::session::Session;
use crate::packet::{Class, Meta};
use crate::types::Direction;
use crate::wire::checksum::Delta;
use crate::wire::{gre, icmp, ipv4, tcp, udp};
use zerocopy::{FromBytes, big_endian::U16};

/// What else changes besides addresses and ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Take one from the time to live.
    pub decrement_ttl: bool,
    /// A new IP identification [RFC 7857 §10, RFC 6864 §5.2].
    pub id: Option<u16>,
}

/// Translates a packet of `session` in `direction`. Says whether everything was where `meta` said.
#[inline(always)]
pub fn translate(frame: &mut [u8], meta: &Meta, session: &Session, direction: Direction, hop: Hop) -> bool {
    let Some((head, transport)) = frame.split_at_mut_checked(usize::from(meta.l4)) else { return false };
    let Some(Ok((ip, _))) = head.get_mut(usize::from(meta.l3)..).map(ipv4::Ipv4::mut_from_prefix) else { return false };
    let (l3_delta, l4_delta) = match direction {
        Direction::Out => (session.l3_delta, session.l4_delta),
        Direction::In => (session.l3_delta.inverse(), session.l4_delta.inverse()),
    };
    match direction {
        Direction::Out => ip.src = session.outside.octets(),
        Direction::In => ip.dst = session.inside.octets(),
    }
    forward_header(ip, l3_delta, hop);
    match meta.class {
        Class::Udp => {
            let Ok((h, _)) = udp::Udp::mut_from_prefix(transport) else { return false };
            match direction {
                Direction::Out => h.src = U16::new(session.outside().0.port),
                Direction::In => h.dst = U16::new(session.inside().0.port),
            }
            h.checksum = U16::new(l4_delta.apply_udp(h.checksum.get()));
        }
        Class::Tcp => {
            let Ok((h, _)) = tcp::Tcp::mut_from_prefix(transport) else { return false };
            match direction {
                Direction::Out => h.src = U16::new(session.outside().0.port),
                Direction::In => h.dst = U16::new(session.inside().0.port),
            }
            h.checksum = U16::new(l4_delta.apply(h.checksum.get()));
        }
        // The identifier is the asking side's: ours when the inside asks (its "port" is not 0), theirs otherwise, and
        // theirs is not touched.
        Class::IcmpQuery if session.inside().0.port != 0 || session.outside().0.port != 0 => {
            let Ok((h, _)) = icmp::Icmp::mut_from_prefix(transport) else { return false };
            h.id = U16::new(match direction {
                Direction::Out => session.outside().0.port,
                Direction::In => session.inside().0.port,
            });
            h.checksum = U16::new(l4_delta.apply(h.checksum.get()));
        }
        // A later fragment carries no transport header.
        Class::IcmpQuery | Class::LaterFragment => {}
        // Nothing but PPTP's Call ID may change in a tunnel; it has no checksum over it [RFC 2637 §4.1].
        Class::Tunnel if meta.key.is_pptp() => {
            let Some(field) = transport.get_mut(gre::CALL_ID_AT..gre::CALL_ID_AT + 2) else { return false };
            field.copy_from_slice(&session.left(direction).dst_port().to_be_bytes());
        }
        Class::Tunnel | Class::L2tpControl | Class::Other => {}
        Class::IcmpError => return false,
    }
    true
}

/// Puts the changes of [`Hop`] and a checksum delta into a header.
#[inline]
pub fn forward_header(ip: &mut ipv4::Ipv4, delta: Delta, hop: Hop) {
    // The time to live is the high byte of its word.
    let ttl = (u16::from(hop.decrement_ttl) << 8, 0);
    ip.ttl = ip.ttl.saturating_sub(u8::from(hop.decrement_ttl));
    let old = ip.id.get();
    let new = hop.id.unwrap_or(old);
    ip.id = U16::new(new);
    ip.checksum = U16::new(delta.apply_with(ip.checksum.get(), [ttl, (old, new)]));
}

/// Lowers the MSS option of a SYN to `limit`; says whether it did [RFC 4459 §3.2; TCP MSS, RFC 6691].
pub fn clamp_mss(frame: &mut [u8], meta: &Meta, limit: u16) -> bool {
    let Some(segment) = frame.get_mut(usize::from(meta.l4)..meta.end()) else { return false };
    let Ok((h, after)) = tcp::Tcp::mut_from_prefix(segment) else { return false };
    let Some(options) = h.header_len().checked_sub(tcp::LEN).and_then(|n| after.get_mut(..n)) else { return false };
    let Some((at, value)) = tcp::find_option(options, tcp::OPTION_MSS, 4) else { return false };
    let Ok(old) = <[u8; 2]>::try_from(value) else { return false };
    let old = u16::from_be_bytes(old);
    if old <= limit {
        return false;
    }
    let Some(place) = options.get_mut(at + 2..at + 4) else { return false };
    place.copy_from_slice(&limit.to_be_bytes());
    let mut delta = Delta::word(old, limit);
    if at % 2 == 1 {
        // The value straddles two words of the sum: its bytes count swapped (RFC 1071 §2 (B)).
        delta = Delta(delta.0.swap_bytes());
    }
    h.checksum = U16::new(delta.apply(h.checksum.get()));
    true
}

/// The largest MSS for IPv4 over a link.
#[must_use]
pub const fn mss_for(mtu: u16) -> u16 {
    mtu.saturating_sub(40)
}
