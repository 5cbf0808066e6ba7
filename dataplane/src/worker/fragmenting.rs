//! Cutting a packet that the next link cannot carry whole [RFC 791 §3.2; 4787 REQ-13].

use super::Worker;
use crate::io::{Buf, Io};
use crate::packet::Meta;
use crate::types::{Mac, PortId};
use crate::verdict::{DropReason, Event};
use crate::wire::{checksum, eth, ipv4};
use arrayvec::ArrayVec;
use zerocopy::{FromBytes, big_endian::U16};

/// The longest IPv4 header.
const MAX_HEADER: usize = 60;
/// In an option's type: it goes into every fragment [RFC 791 §3.1].
const COPIED: u8 = 0x80;

impl<I: Io> Worker<I> {
    /// Sends an IP packet, in pieces where it must be. DF has been honoured before.
    pub(super) fn send_ip_in_pieces(&mut self, buf: I::Buf, meta: &Meta, egress: PortId, mac: Mac) {
        let mtu = self.rules.mtu(egress);
        if meta.total_len <= mtu {
            return self.send_ip(buf, meta.l3, meta.total_len, egress, mac);
        }
        match self.cut(&buf, meta, mtu, egress, mac) {
            Some(()) => {
                drop(buf);
                self.counters.count(Event::Fragmented, 1);
                self.counters.count(Event::Consumed, 1);
            }
            None => self.drop(buf, DropReason::NoBuffer),
        }
    }

    fn cut(&mut self, buf: &I::Buf, meta: &Meta, mtu: u16, egress: PortId, mac: Mac) -> Option<()> {
        let packet = buf.data().get(usize::from(meta.l3)..meta.end())?;
        let header_len = usize::from(meta.l4 - meta.l3);
        let (first_header, mut payload) = packet.split_at_checked(header_len)?;
        let later_header = later_header(first_header)?;
        let mut header = first_header;
        let mut offset = meta.fragment & ipv4::OFFSET;
        while !payload.is_empty() {
            let room = usize::from(mtu).checked_sub(header.len())? & !7;
            if room == 0 {
                return None;
            }
            let (piece, rest) = payload.split_at_checked(room).unwrap_or((payload, &[]));
            let more = !rest.is_empty() || meta.more_fragments();
            let field = offset | if more { ipv4::MF } else { 0 };
            self.send_piece(header, piece, field, egress, mac)?;
            offset = offset.checked_add(u16::try_from(room / 8).ok()?)?;
            payload = rest;
            header = &later_header;
        }
        Some(())
    }

    fn send_piece(&mut self, header: &[u8], piece: &[u8], field: u16, egress: PortId, mac: Mac) -> Option<()> {
        let total = u16::try_from(header.len() + piece.len()).ok()?;
        let mut buf = self.io.allocate()?;
        if !buf.append(eth::LEN + usize::from(total)) {
            return None;
        }
        let (h, p) = buf.data_mut().get_mut(eth::LEN..)?.split_at_mut_checked(header.len())?;
        h.copy_from_slice(header);
        p.copy_from_slice(piece);
        let (ip, _) = ipv4::Ipv4::mut_from_prefix(h).ok()?;
        ip.total_len = U16::new(total);
        ip.fragment = U16::new(field);
        ip.checksum = U16::new(0);
        let sum = checksum::of(h);
        let (ip, _) = ipv4::Ipv4::mut_from_prefix(h).ok()?;
        ip.checksum = U16::new(sum);
        self.counters.count(Event::Originated, 1);
        #[allow(clippy::cast_possible_truncation, reason = "14")]
        self.send_ip(buf, eth::LEN as u8, total, egress, mac);
        Some(())
    }
}

/// The header of fragments after the first: only options that are to be copied, padded to 32-bit words.
fn later_header(first: &[u8]) -> Option<ArrayVec<u8, MAX_HEADER>> {
    let (fixed, options) = first.split_at_checked(ipv4::LEN)?;
    let mut header = ArrayVec::new();
    header.try_extend_from_slice(fixed).ok()?;
    for option in ipv4::options(options).flatten().filter(|o| o.kind & COPIED != 0) {
        header.try_extend_from_slice(option.bytes).ok()?;
    }
    while !header.len().is_multiple_of(4) {
        header.try_push(ipv4::OPTION_END).ok()?;
    }
    let words = u8::try_from(header.len() / 4).ok()?;
    *header.first_mut()? = 0x40 | words;
    Some(header)
}
