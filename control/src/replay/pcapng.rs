//! Packets out of a pcapng file [draft-ietf-opsawg-pcapng].
//!
//! Not the library's reader: it takes every time for nanoseconds, whatever the interface's resolution, and refuses
//! option lists without an end mark, which the draft allows. Nothing here panics, whatever the bytes.

use anyhow::{anyhow, bail};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

const OPTION_RESOLUTION: u16 = 9;
const OPTION_OFFSET: u16 = 14;

/// A packet with what its interface says.
#[derive(Debug)]
pub(super) struct Packet<'a> {
    /// Nanoseconds since 1970.
    pub(super) at: u64,
    /// Bytes that it had.
    pub(super) on_wire: u32,
    /// Bytes that were captured.
    pub(super) frame: &'a [u8],
    /// Link type.
    pub(super) link: u16,
}

#[derive(Clone, Copy)]
struct Interface {
    link: u16,
    /// `if_tsresol`: a negative power of ten, or of two with the high bit.
    resolution: u8,
    /// Seconds to add.
    offset: i64,
}

/// The blocks of a file.
pub(super) struct Blocks<'a> {
    rest: Fields<'a>,
    interfaces: Vec<Interface>,
}

impl<'a> Blocks<'a> {
    /// Of a file's bytes, which begin with a section header.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: Fields { bytes, big: false }, interfaces: Vec::new() }
    }

    /// The next packet; `None` at the end of the file.
    pub(super) fn next_packet(&mut self) -> anyhow::Result<Option<Packet<'a>>> {
        while !self.rest.bytes.is_empty() {
            let (kind, mut body) = self.next_block()?;
            match kind {
                SECTION => self.interfaces.clear(),
                INTERFACE => self.interfaces.push(interface(&mut body).ok_or_else(|| damaged("an interface"))?),
                ENHANCED_PACKET => {
                    let fields = enhanced(&mut body).ok_or_else(|| damaged("a packet"))?;
                    return self.locate(fields).map(Some);
                }
                SIMPLE_PACKET | OBSOLETE_PACKET => {
                    bail!("a simple or obsolete packet block; convert the file with `editcap -F pcap`")
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn next_block(&mut self) -> anyhow::Result<(u32, Fields<'a>)> {
        let cut_off = || anyhow!("it is cut off: the file ends within it");
        let at_start = self.rest;
        let kind = self.rest.u32().ok_or_else(cut_off)?;
        if kind == SECTION {
            // Its length comes before what tells the byte order.
            let magic = at_start.bytes.get(8..12).ok_or_else(cut_off)?;
            self.rest.big = match magic {
                [0x1a, 0x2b, 0x3c, 0x4d] => true,
                [0x4d, 0x3c, 0x2b, 0x1a] => false,
                _ => bail!("a section header without its magic number; the file is damaged"),
            };
        }
        let length = self.rest.u32().ok_or_else(cut_off)?;
        let body_length = usize::try_from(length)?
            .checked_sub(12)
            .filter(|n| n % 4 == 0)
            .ok_or_else(|| anyhow!("a block of {length} bytes, which cannot be; the file is damaged"))?;
        let body = self.rest.take(body_length).ok_or_else(cut_off)?;
        if self.rest.u32().ok_or_else(cut_off)? != length {
            bail!("a block with two different lengths; the file is damaged");
        }
        Ok((kind, body))
    }

    fn locate(&self, (index, units, on_wire, frame): Enhanced<'a>) -> anyhow::Result<Packet<'a>> {
        let interface = usize::try_from(index).ok().and_then(|i| self.interfaces.get(i));
        let interface = interface.ok_or_else(|| anyhow!("there is no interface {index}"))?;
        let at = interface.nanoseconds(units).ok_or_else(|| anyhow!("its time is before 1970 or after 2554"))?;
        Ok(Packet { at, on_wire, frame, link: interface.link })
    }
}

fn damaged(what: &str) -> anyhow::Error {
    anyhow!("{what} block that is too short for its content; the file is damaged")
}

fn interface(body: &mut Fields<'_>) -> Option<Interface> {
    let mut found = Interface { link: body.u16()?, resolution: 6, offset: 0 };
    body.take(6)?;
    while let (Some(code), Some(length)) = (body.u16(), body.u16()) {
        let mut value = body.take(usize::from(length))?;
        body.take(usize::from(length).next_multiple_of(4) - usize::from(length))?;
        match (code, value.bytes) {
            (0, _) => break,
            (OPTION_RESOLUTION, &[resolution]) => found.resolution = resolution,
            (OPTION_OFFSET, &[_, _, _, _, _, _, _, _]) => {
                let (first, second) = (value.u32()?, value.u32()?);
                let (high, low) = if value.big { (first, second) } else { (second, first) };
                found.offset = (u64::from(high) << 32 | u64::from(low)).cast_signed();
            }
            _ => {}
        }
    }
    Some(found)
}

/// Interface, time in its units, bytes on the wire, frame.
type Enhanced<'a> = (u32, u64, u32, &'a [u8]);

fn enhanced<'a>(body: &mut Fields<'a>) -> Option<Enhanced<'a>> {
    let index = body.u32()?;
    let units = u64::from(body.u32()?) << 32 | u64::from(body.u32()?);
    let (captured, on_wire) = (body.u32()?, body.u32()?);
    Some((index, units, on_wire, body.take(usize::try_from(captured).ok()?)?.bytes))
}

impl Interface {
    fn nanoseconds(self, units: u64) -> Option<u64> {
        let exponent = u32::from(self.resolution & 0x7f);
        let units = u128::from(units);
        let nanos = if self.resolution & 0x80 != 0 {
            (units * 1_000_000_000).checked_shr(exponent).unwrap_or(0)
        } else if exponent <= 9 {
            units * 10u128.pow(9 - exponent)
        } else {
            units / 10u128.checked_pow(exponent - 9).unwrap_or(u128::MAX)
        };
        u64::try_from(i128::try_from(nanos).ok()? + i128::from(self.offset) * 1_000_000_000).ok()
    }
}

/// Numbers at the front of some bytes, in one of both orders.
#[derive(Clone, Copy)]
struct Fields<'a> {
    bytes: &'a [u8],
    big: bool,
}

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Option<Self> {
        let (taken, rest) = self.bytes.split_at_checked(n)?;
        self.bytes = rest;
        Some(Self { bytes: taken, big: self.big })
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = <[u8; 2]>::try_from(self.take(2)?.bytes).ok()?;
        Some(if self.big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn u32(&mut self) -> Option<u32> {
        let bytes = <[u8; 4]>::try_from(self.take(4)?.bytes).ok()?;
        Some(if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }
}
