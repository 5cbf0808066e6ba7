//! From a [`Frame`] to its bytes: append in order, then go back for lengths and checksums.

use super::{Frame, Kind};
use crate::{checksum, transport_checksum};

impl Frame<'_> {
    /// The bytes of the frame.
    #[track_caller]
    pub fn build(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(14 + 4 + 60 + 60 + self.payload.len());
        self.build_into(&mut out);
        out
    }

    /// The bytes of the frame, in place of what `out` held. Allocates only where `out` is too small.
    #[track_caller]
    pub fn build_into(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.destination_mac);
        out.extend_from_slice(&self.source_mac);
        if let Some(tag) = self.vlan {
            out.extend_from_slice(&[0x81, 0x00]);
            put16(out, tag);
        }
        match &self.kind {
            Kind::Arp { operation, target_mac } => {
                put16(out, 0x0806);
                out.extend_from_slice(&[0, 1, 8, 0, 6, 4]);
                put16(out, *operation);
                out.extend_from_slice(&self.source_mac);
                out.extend_from_slice(&self.source.ip().octets());
                out.extend_from_slice(target_mac);
                out.extend_from_slice(&self.destination.ip().octets());
            }
            Kind::Ethernet { ethertype } => {
                put16(out, *ethertype);
                out.extend_from_slice(&self.payload);
            }
            _ => {
                put16(out, 0x0800);
                self.put_ip(out);
            }
        }
        if let Some(length) = self.damage.truncate {
            out.truncate(length);
        }
        if out.len() < self.damage.pad_to {
            out.resize(self.damage.pad_to, 0);
        }
    }

    #[track_caller]
    fn put_ip(&self, out: &mut Vec<u8>) {
        let at = out.len();
        let ihl = 5 + self.ip_options.padded().len() as u8 / 4;
        out.push(self.damage.version.unwrap_or(4) << 4 | self.damage.ihl.unwrap_or(ihl));
        out.push(self.tos);
        put16(out, 0);
        put16(out, self.id);
        put16(out, u16::from(self.df) << 14 | u16::from(self.mf) << 13 | (self.offset / 8));
        out.extend_from_slice(&[self.ttl, self.kind.protocol(), 0, 0]);
        out.extend_from_slice(&self.source.ip().octets());
        out.extend_from_slice(&self.destination.ip().octets());
        out.extend_from_slice(self.ip_options.padded());

        let transport_at = out.len();
        self.put_transport(out);
        self.finish_transport(out, transport_at);

        let length = out.len() - at;
        let Ok(length) = u16::try_from(length) else { panic!("an IPv4 packet holds 65535 bytes, not {length}") };
        set16(out, at + 2, self.damage.total_length.unwrap_or(length));
        let sum = checksum(&out[at..transport_at]);
        set16(out, at + 10, if self.damage.ip_checksum { wrong(sum) } else { sum });
    }

    /// The transport header with a zero checksum, and the payload.
    fn put_transport(&self, out: &mut Vec<u8>) {
        match &self.kind {
            Kind::Udp { .. } => {
                put16(out, self.source.port());
                put16(out, self.destination.port());
                put16(out, self.damage.udp_length.unwrap_or(8 + self.payload.len() as u16));
                put16(out, 0);
                out.extend_from_slice(&self.payload);
            }
            Kind::Tcp { seq, ack, flags, window, urgent, options } => {
                let words = 5 + options.padded().len() as u8 / 4;
                put16(out, self.source.port());
                put16(out, self.destination.port());
                put32(out, *seq);
                put32(out, *ack);
                out.extend_from_slice(&[self.damage.data_offset.unwrap_or(words) << 4, flags.0]);
                put16(out, *window);
                put16(out, 0);
                put16(out, *urgent);
                out.extend_from_slice(options.padded());
                out.extend_from_slice(&self.payload);
            }
            Kind::Icmp { kind, code, rest } => {
                out.extend_from_slice(&[*kind, *code, 0, 0]);
                out.extend_from_slice(rest);
                out.extend_from_slice(&self.payload);
            }
            Kind::IcmpError { kind, code, rest, quote, extensions } => {
                out.extend_from_slice(&[*kind, *code, 0, 0]);
                out.extend_from_slice(rest);
                // RFC 4884: an extended error quotes whole words, 128 bytes at least, zero-padded only where the packet
                // ends; the length stands in the second byte of the header's second half.
                let quote = if extensions.is_empty() { *quote } else { (*quote).max(128) / 4 * 4 };
                let at = out.len();
                out.extend_from_slice(&self.payload[..self.payload.len().min(quote)]);
                if extensions.is_empty() {
                    return;
                }
                let padded = (out.len() - at).max(128).next_multiple_of(4);
                out.resize(at + padded, 0);
                out[at - 3] = (padded / 4) as u8;
                let at = out.len();
                out.extend_from_slice(&[0x20, 0, 0, 0]);
                for (class, kind, data) in extensions {
                    put16(out, 4 + data.len() as u16);
                    out.extend_from_slice(&[*class, *kind]);
                    out.extend_from_slice(data);
                }
                let sum = checksum(&out[at..]);
                set16(out, at + 2, sum);
            }
            Kind::Gre { call_id, seq, ack } => {
                out.push(0x20 | u8::from(seq.is_some()) << 4);
                out.push(0x01 | u8::from(ack.is_some()) << 7);
                put16(out, 0x880b);
                put16(out, self.payload.len() as u16);
                put16(out, *call_id);
                for number in [seq, ack].into_iter().flatten() {
                    put32(out, *number);
                }
                out.extend_from_slice(&self.payload);
            }
            Kind::Gre0 { ethertype, key, seq } => {
                out.extend_from_slice(&[u8::from(key.is_some()) << 5 | u8::from(seq.is_some()) << 4, 0]);
                put16(out, *ethertype);
                for field in [key, seq].into_iter().flatten() {
                    put32(out, *field);
                }
                out.extend_from_slice(&self.payload);
            }
            Kind::Esp { spi, seq } => {
                put32(out, *spi);
                put32(out, *seq);
                out.extend_from_slice(&self.payload);
            }
            Kind::Ah { spi, seq } => {
                // The length is in 4-byte words, less two.
                out.extend_from_slice(&[4, 4, 0, 0]);
                put32(out, *spi);
                put32(out, *seq);
                out.extend_from_slice(&[0xa5; 12]);
                out.extend_from_slice(&self.payload);
            }
            Kind::L2tpv3 { session_id } => {
                put32(out, *session_id);
                out.extend_from_slice(&self.payload);
            }
            Kind::Ip { .. } => out.extend_from_slice(&self.payload),
            Kind::Arp { .. } | Kind::Ethernet { .. } => unreachable!("not an IP packet"),
        }
    }

    fn finish_transport(&self, out: &mut [u8], at: usize) {
        let pseudo_header =
            |segment| transport_checksum(*self.source.ip(), *self.destination.ip(), self.kind.protocol(), segment);
        let (field, sum) = match self.kind {
            Kind::Udp { checksum: false } => return,
            Kind::Udp { checksum: true } => match pseudo_header(&out[at..]) {
                0 => (at + 6, 0xffff),
                sum => (at + 6, sum),
            },
            Kind::Tcp { .. } => (at + 16, pseudo_header(&out[at..])),
            Kind::Icmp { .. } | Kind::IcmpError { .. } => (at + 2, checksum(&out[at..])),
            _ => return,
        };
        set16(out, field, if self.damage.l4_checksum { wrong(sum) } else { sum });
    }
}

/// Another checksum, and not UDP's zero.
fn wrong(sum: u16) -> u16 {
    if sum == 0x5555 { 0xaaaa } else { sum ^ 0x5555 }
}

/// The IP packet in a frame: Ethernet header, tag and padding taken off. Bytes that are no IP packet stay as they are.
pub(super) fn ip_packet(frame: &[u8]) -> &[u8] {
    let at = crate::fragment::ip_at(frame).unwrap_or(14.min(frame.len()));
    let packet = &frame[at..];
    let length = packet.get(2..4).map_or(0, |b| usize::from(u16::from_be_bytes([b[0], b[1]])));
    if (20..packet.len()).contains(&length) { &packet[..length] } else { packet }
}

fn put16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn set16(out: &mut [u8], at: usize, value: u16) {
    out[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
