//! Reading strictly: the first thing that is wrong ends it, and the message says what was there and what had to be.

use super::{Arp, Checksum, Extension, Gre, Icmp, Quoted, Seen, Tcp, Transport};
use crate::{Flags, Mac, checksum, protocol, transport_checksum};
use std::net::{Ipv4Addr, SocketAddrV4};

type Result<T> = std::result::Result<T, String>;

impl Seen {
    /// Reads a frame, Ethernet header first. An error says which length, version or checksum is wrong, and how.
    ///
    /// Refused: anything cut short; an IP, TCP, UDP or ICMP checksum that does not add up, or that of an IP header or
    /// extension inside an ICMP error; a UDP length other than what IP carries; the reserved IP flag; malformed
    /// options. Not refused: UDP checksum zero, Ethernet padding, unknown protocols; they are reported.
    pub fn read(frame: &[u8]) -> Result<Seen> {
        let header = take(frame, 0, 14, "Ethernet header")?;
        let (destination_mac, source_mac) = (mac(&header[..6]), mac(&header[6..12]));
        let (mut ethertype, mut vlan, mut at) = (be16(&header[12..]), None, 14);
        if ethertype == 0x8100 {
            let tag = take(frame, 14, 4, "802.1Q tag")?;
            (vlan, ethertype, at) = (Some(be16(tag)), be16(&tag[2..]), 18);
        }
        let body = &frame[at..];
        let unspecified = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        let mut seen = Seen {
            source_mac,
            destination_mac,
            vlan,
            ethertype,
            source: unspecified,
            destination: unspecified,
            protocol: 0,
            ttl: 0,
            tos: 0,
            id: 0,
            df: false,
            mf: false,
            offset: 0,
            ip_options: Vec::new(),
            transport: Transport::OtherEthernet,
            payload: Vec::new(),
            padding: 0,
        };
        match ethertype {
            0x0800 => seen.ipv4(body)?,
            0x0806 => seen.arp_message(body)?,
            _ => seen.payload = body.to_vec(),
        }
        Ok(seen)
    }

    fn arp_message(&mut self, body: &[u8]) -> Result<()> {
        let message = take(body, 0, 28, "ARP message")?;
        if message[..6] != [0, 1, 8, 0, 6, 4] {
            return Err(format!("ARP is not for IPv4 on Ethernet: {:02x?}", &message[..6]));
        }
        self.source = SocketAddrV4::new(ip(&message[14..18]), 0);
        self.destination = SocketAddrV4::new(ip(&message[24..28]), 0);
        let (sender_mac, target_mac) = (mac(&message[8..14]), mac(&message[18..24]));
        self.transport = Transport::Arp(Arp { operation: be16(&message[6..]), sender_mac, target_mac });
        self.padding = body.len() - 28;
        Ok(())
    }

    fn ipv4(&mut self, body: &[u8]) -> Result<()> {
        let header = ip_header(body, "IP")?;
        let total = usize::from(be16(&header[2..]));
        if total < header.len() {
            return Err(format!("IP total length {total} is less than its header's {}", header.len()));
        }
        let packet = body
            .get(..total)
            .ok_or_else(|| format!("IP total length is {total}, but only {} bytes are there", body.len()))?;
        self.padding = body.len() - total;
        self.source = SocketAddrV4::new(ip(&header[12..16]), 0);
        self.destination = SocketAddrV4::new(ip(&header[16..20]), 0);
        (self.tos, self.id, self.ttl, self.protocol) = (header[1], be16(&header[4..]), header[8], header[9]);
        (self.df, self.mf, self.offset) = fragment_field(header)?;
        options(&header[20..], "IP", |_, _| Ok(()))?;
        self.ip_options = header[20..].to_vec();
        let segment = &packet[header.len()..];
        if self.mf && !segment.len().is_multiple_of(8) {
            return Err(format!(
                "a fragment that is not the last carries {} bytes, not a multiple of 8",
                segment.len()
            ));
        }
        if usize::from(self.offset) + total > 65535 {
            return Err(format!("a fragment of {total} bytes at {} ends beyond 65535", self.offset));
        }
        if self.mf || self.offset != 0 {
            self.transport = Transport::Fragment;
            self.payload = segment.to_vec();
            return Ok(());
        }
        match self.protocol {
            protocol::UDP => self.udp(segment),
            protocol::TCP => self.tcp_segment(segment),
            protocol::ICMP => self.icmp_message(segment),
            protocol::ESP => self.esp(segment),
            protocol::GRE if segment.get(1).is_some_and(|b| b & 7 == 1) => self.gre_packet(segment),
            _ => {
                self.transport = Transport::OtherIp;
                self.payload = segment.to_vec();
                Ok(())
            }
        }
    }

    fn ports(&mut self, segment: &[u8]) {
        self.source.set_port(be16(segment));
        self.destination.set_port(be16(&segment[2..]));
    }

    fn pseudo_checksum(&self, segment: &[u8], field: usize, name: &str) -> Result<()> {
        let mut zeroed = segment.to_vec();
        zeroed[field..field + 2].fill(0);
        let due = match transport_checksum(*self.source.ip(), *self.destination.ip(), self.protocol, &zeroed) {
            0 if self.protocol == protocol::UDP => 0xffff,
            due => due,
        };
        compare(be16(&segment[field..]), due, name)
    }

    fn udp(&mut self, segment: &[u8]) -> Result<()> {
        let header = take(segment, 0, 8, "UDP header")?;
        self.ports(header);
        let length = usize::from(be16(&header[4..]));
        if length != segment.len() {
            return Err(format!("UDP length is {length}, but IP carries {}", segment.len()));
        }
        let checksum = be16(&header[6..]) != 0;
        if checksum {
            self.pseudo_checksum(segment, 6, "UDP")?;
        }
        self.transport = Transport::Udp { checksum };
        self.payload = segment[8..].to_vec();
        Ok(())
    }

    fn tcp_segment(&mut self, segment: &[u8]) -> Result<()> {
        let fixed = take(segment, 0, 20, "TCP header")?;
        self.ports(fixed);
        let length = usize::from(fixed[12] >> 4) * 4;
        if length < 20 {
            return Err(format!("TCP data offset is {length} bytes, less than 20"));
        }
        let header = take(segment, 0, length, "TCP header with options")?;
        self.pseudo_checksum(segment, 16, "TCP")?;
        let (mut mss, mut wscale) = (None, None);
        options(&header[20..], "TCP", |kind, data| {
            match (kind, data) {
                (2, [high, low]) => mss = Some(u16::from_be_bytes([*high, *low])),
                (3, [shift]) => wscale = Some(*shift),
                (2 | 3, _) => return Err(format!("TCP option {kind} carries {} bytes", data.len())),
                _ => {}
            }
            Ok(())
        })?;
        self.transport = Transport::Tcp(Tcp {
            flags: Flags(fixed[13]),
            seq: be32(&fixed[4..]),
            ack: be32(&fixed[8..]),
            window: be16(&fixed[14..]),
            urgent: be16(&fixed[18..]),
            mss,
            wscale,
            options: header[20..].to_vec(),
        });
        self.payload = segment[length..].to_vec();
        Ok(())
    }

    fn icmp_message(&mut self, segment: &[u8]) -> Result<()> {
        let header = take(segment, 0, 8, "ICMP header")?;
        checksum_is_right(segment, 2, "ICMP")?;
        let (kind, code) = (header[0], header[1]);
        let rest = [header[4], header[5], header[6], header[7]];
        let mut icmp = Icmp { kind, code, rest, quoted: None, extensions: Vec::new() };
        let body = &segment[8..];
        if matches!(kind, 3 | 4 | 5 | 11 | 12) {
            let words = usize::from(rest[1]);
            let extensible = matches!(kind, 3 | 11 | 12) && words != 0;
            let quote = if extensible { take(body, 0, words * 4, "RFC 4884 quote")? } else { body };
            icmp.quoted = Some(quoted(quote)?);
            if extensible && quote.len() < body.len() {
                if quote.len() < 128 {
                    return Err(format!("an extended ICMP error quotes {} bytes, less than 128", quote.len()));
                }
                icmp.extensions = extensions(&body[quote.len()..])?;
            }
        } else {
            self.payload = body.to_vec();
        }
        self.transport = Transport::Icmp(Box::new(icmp));
        Ok(())
    }

    fn esp(&mut self, segment: &[u8]) -> Result<()> {
        let header = take(segment, 0, 8, "ESP header")?;
        self.transport = Transport::Esp { spi: be32(header), seq: be32(&header[4..]) };
        self.payload = segment[8..].to_vec();
        Ok(())
    }

    fn gre_packet(&mut self, segment: &[u8]) -> Result<()> {
        let header = take(segment, 0, 8, "GRE header")?;
        if header[0] & 0xef != 0x20 || header[1] & 0x78 != 0 || header[2..4] != [0x88, 0x0b] {
            return Err(format!("GRE version 1 starts with {:02x?}, not as RFC 2637 has it", &header[..4]));
        }
        let mut at = 8;
        let mut number = |present: bool, name| -> Result<Option<u32>> {
            if !present {
                return Ok(None);
            }
            let value = be32(take(segment, at, 4, name)?);
            at += 4;
            Ok(Some(value))
        };
        let seq = number(header[0] & 0x10 != 0, "GRE sequence number")?;
        let ack = number(header[1] & 0x80 != 0, "GRE acknowledgment number")?;
        let payload = &segment[at..];
        if usize::from(be16(&header[4..])) != payload.len() {
            return Err(format!("GRE payload length is {}, but IP carries {}", be16(&header[4..]), payload.len()));
        }
        self.transport = Transport::Gre(Gre { call_id: be16(&header[6..]), seq, ack });
        self.payload = payload.to_vec();
        Ok(())
    }
}

/// The packet inside an ICMP error. Its header must be whole and right; what follows may be cut or zero-padded.
fn quoted(bytes: &[u8]) -> Result<Quoted> {
    let header = ip_header(bytes, "quoted IP")?;
    let total_length = be16(&header[2..]);
    if usize::from(total_length) < header.len() {
        return Err(format!("quoted IP total length {total_length} is less than its header's {}", header.len()));
    }
    let data = &bytes[header.len()..bytes.len().min(usize::from(total_length))];
    let (df, mf, offset) = fragment_field(header)?;
    let protocol = header[9];
    let mut source = SocketAddrV4::new(ip(&header[12..16]), 0);
    let mut destination = SocketAddrV4::new(ip(&header[16..20]), 0);
    if offset == 0 && matches!(protocol, protocol::TCP | protocol::UDP) && data.len() >= 4 {
        source.set_port(be16(data));
        destination.set_port(be16(&data[2..]));
    }
    let whole = header.len() + data.len() == usize::from(total_length) && !mf && offset == 0;
    let verified = |sum| if sum == 0 { Checksum::Right } else { Checksum::Wrong };
    let checksum = match protocol {
        _ if !whole => Checksum::Unknown,
        protocol::UDP if data.len() < 8 => Checksum::Unknown,
        protocol::UDP if data[6..8] == [0, 0] => Checksum::None,
        protocol::UDP | protocol::TCP => verified(transport_checksum(*source.ip(), *destination.ip(), protocol, data)),
        protocol::ICMP => verified(checksum(data)),
        _ => Checksum::Unknown,
    };
    Ok(Quoted {
        source,
        destination,
        protocol,
        ttl: header[8],
        tos: header[1],
        id: be16(&header[4..]),
        df,
        mf,
        offset,
        total_length,
        ip_options: header[20..].to_vec(),
        data: data.to_vec(),
        checksum,
    })
}

fn extensions(bytes: &[u8]) -> Result<Vec<Extension>> {
    let header = take(bytes, 0, 4, "ICMP extension header")?;
    if header[0] != 0x20 {
        return Err(format!("ICMP extension version byte is {:#04x}, not 0x20", header[0]));
    }
    if header[2..4] != [0, 0] {
        checksum_is_right(bytes, 2, "ICMP extension")?;
    }
    let mut objects = Vec::new();
    let mut rest = &bytes[4..];
    while !rest.is_empty() {
        let header = take(rest, 0, 4, "ICMP extension object")?;
        let length = usize::from(be16(header));
        if length < 4 {
            return Err(format!("ICMP extension object of {length} bytes"));
        }
        let data = take(rest, 0, length, "ICMP extension object")?[4..].to_vec();
        objects.push(Extension { class: header[2], kind: header[3], data });
        rest = &rest[length..];
    }
    Ok(objects)
}

/// A whole IPv4 header with a right version, length and checksum.
fn ip_header<'a>(bytes: &'a [u8], name: &str) -> Result<&'a [u8]> {
    let first = *bytes.first().ok_or_else(|| format!("{name} header is missing"))?;
    if first >> 4 != 4 {
        return Err(format!("{name} version is {}, not 4", first >> 4));
    }
    let length = usize::from(first & 0xf) * 4;
    if length < 20 {
        return Err(format!("{name} header length is {length}, less than 20"));
    }
    let header = take(bytes, 0, length, &format!("{name} header"))?;
    checksum_is_right(header, 10, &format!("{name} header"))?;
    Ok(header)
}

fn fragment_field(header: &[u8]) -> Result<(bool, bool, u16)> {
    let field = be16(&header[6..]);
    if field & 0x8000 != 0 {
        return Err("the reserved IP flag is set".to_owned());
    }
    Ok((field & 0x4000 != 0, field & 0x2000 != 0, (field & 0x1fff) * 8))
}

/// Walks IP or TCP options: kind, and the bytes after its length.
fn options(mut bytes: &[u8], name: &str, mut each: impl FnMut(u8, &[u8]) -> Result<()>) -> Result<()> {
    while let [kind, rest @ ..] = bytes {
        bytes = match (kind, rest) {
            (0, _) => return Ok(()),
            (1, _) => rest,
            (_, [length, ..]) if (2..=bytes.len()).contains(&usize::from(*length)) => {
                let (option, later) = bytes.split_at(usize::from(*length));
                each(*kind, &option[2..])?;
                later
            }
            _ => return Err(format!("{name} option {kind} has a wrong length: {bytes:02x?}")),
        };
    }
    Ok(())
}

/// The checksum in `bytes` at `field` is what a sender would compute from the rest.
fn checksum_is_right(bytes: &[u8], field: usize, name: &str) -> Result<()> {
    let mut zeroed = bytes.to_vec();
    zeroed[field..field + 2].fill(0);
    compare(be16(&bytes[field..]), checksum(&zeroed), name)
}

/// Zero and `0xffff` are the same number to a receiver, but a sender computes only one of them.
fn compare(there: u16, due: u16, name: &str) -> Result<()> {
    if there == due { Ok(()) } else { Err(format!("{name} checksum is {there:#06x}, not {due:#06x}")) }
}

fn take<'a>(bytes: &'a [u8], at: usize, length: usize, name: &str) -> Result<&'a [u8]> {
    let there = bytes.len().saturating_sub(at);
    bytes.get(at..at + length).ok_or_else(|| format!("{name} takes {length} bytes, but only {there} are there"))
}

fn be16(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn ip(bytes: &[u8]) -> Ipv4Addr {
    Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])
}

fn mac(bytes: &[u8]) -> Mac {
    [bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]]
}
