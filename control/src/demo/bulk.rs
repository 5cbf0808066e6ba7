//! Bulk traffic of established flows: as many packets as the router takes, with a bounded number under way, so that
//! nothing overflows and the latency is that of the router, not of a queue in front of it.
//!
//! Each packet under way has a slot: it leaves a host, must arrive at the server, is sent back, must arrive at the host.
//! A packet that comes twice, or changed, or elsewhere, does not fit its slot. Frames are templates in which slot and
//! number are written; all else is compared byte for byte, but for what the router is to change.

use super::chance::text;
use super::world::World;
use dataplane::types::Side;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;
use testkit::{Frame, protocol};

/// Flows.
pub(super) const FLOWS: usize = 64;
/// Packets under way at once.
const SLOTS: usize = 128;
/// A packet that was under way for so long is lost.
const LOST: Duration = Duration::from_secs(3);
/// Frame sizes, a mixture of small, middle and large ones: 64, 590 and 1,500 bytes without checksum, 7 to 4 to 1.
const SIZES: [usize; 12] = [64, 590, 64, 64, 590, 64, 1500, 64, 590, 64, 64, 590];

const MAGIC: [u8; 4] = *b"UPbk";
/// Offsets in the frame: Ethernet 14, IP 20, UDP 8.
const IP: usize = 14;
const UDP: usize = 34;
const DATA: usize = 42;
/// Magic, flow, slot, number.
const HEAD: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// On its way to the server.
    Out,
    /// On its way back.
    Back,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    state: State,
    flow: u16,
    number: u64,
    /// Counts of the time stamp counter, when it was last sent.
    stamp: u64,
    sent: Duration,
}

struct Flow {
    host: SocketAddrV4,
    server: SocketAddrV4,
    outside: Option<SocketAddrV4>,
    /// A packet went there and back.
    open: bool,
    out: Vec<u8>,
    back: Vec<u8>,
    under_way: u32,
    wrong: Option<String>,
    sent: u64,
    lost: u64,
}

/// What became of a bulk frame.
pub(super) enum Bulk {
    /// It is none.
    Other,
    /// It arrived at the server after so many counts, and is now the answer, to be sent on that side.
    Answer(u64),
    /// It arrived back after so many counts.
    Home(u64),
    /// It is wrong; said in the flow's verdict.
    Wrong,
}

/// See the module.
pub(super) struct Traffic {
    flows: Vec<Flow>,
    slots: Vec<Slot>,
    free: Vec<u16>,
    turn: usize,
    /// Flows that have reached their server and come back.
    opened: usize,
    number: u64,
    /// Packets that came back right.
    pub(super) home: u64,
}

impl Traffic {
    pub(super) fn new(world: &mut World) -> Self {
        let flows = (0..FLOWS).map(|n| Flow::new(n, world)).collect();
        let slot = Slot { state: State::Free, flow: 0, number: 0, stamp: 0, sent: Duration::ZERO };
        Self {
            flows,
            slots: vec![slot; SLOTS],
            free: (0..SLOTS as u16).collect(),
            turn: 0,
            opened: 0,
            number: 0,
            home: 0,
        }
    }

    /// The next frame to send inside, if one may be under way.
    pub(super) fn next(&mut self, now: Duration, stamp: u64) -> Option<&[u8]> {
        let slot = *self.free.last()?;
        // A new flow sends one packet, and the rest when that has come back. Flows open one after the other: what waits for
        // the router's ARP is little, as it is in a network that was not switched on this very moment.
        let opening = self.opened < FLOWS && self.flows.iter().any(Flow::is_opening);
        let usable = |f: &Flow| f.wrong.is_none() && (f.open || !opening);
        let which = (self.turn..self.turn + FLOWS).map(|n| n % FLOWS).find(|&n| usable(&self.flows[n]))?;
        self.turn = (which + 1) % FLOWS;
        self.free.pop();
        self.number += 1;
        let flow = &mut self.flows[which];
        flow.under_way += 1;
        flow.sent += 1;
        let number = self.number;
        self.slots[usize::from(slot)] = Slot { state: State::Out, flow: which as u16, number, stamp, sent: now };
        write(&mut flow.out, slot, number);
        Some(&flow.out)
    }

    /// A frame arrived. A bulk frame that goes back is rewritten in place.
    pub(super) fn hear(&mut self, side: Side, frame: &mut [u8], stamp: u64, world: &mut World) -> Bulk {
        let Some((which, slot, number)) = read(frame) else { return Bulk::Other };
        let Some(flow) = self.flows.get_mut(usize::from(which)) else { return Bulk::Other };
        let Some(place) = self.slots.get_mut(usize::from(slot)) else { return Bulk::Other };
        let due = match place.state {
            State::Free => None,
            State::Out => Some(Side::Outside),
            State::Back => Some(Side::Inside),
        };
        if due != Some(side) || place.flow != which || place.number != number {
            flow.blame(format!("packet {number} of {} came {side:?} and was not due there: twice, or late", flow.host));
            return Bulk::Wrong;
        }
        if let Err(what) = flow.check(side, frame, world) {
            flow.blame(what);
            return Bulk::Wrong;
        }
        let took = stamp.saturating_sub(place.stamp);
        if side == Side::Inside {
            place.state = State::Free;
            self.free.push(slot);
            flow.under_way -= 1;
            self.opened += usize::from(!flow.open);
            flow.open = true;
            self.home += 1;
            return Bulk::Home(took);
        }
        (place.state, place.stamp, place.sent) = (State::Back, stamp, world.now);
        write(&mut flow.back, slot, number);
        frame.copy_from_slice(&flow.back);
        Bulk::Answer(took)
    }

    /// Gives up what was under way for too long.
    pub(super) fn tick(&mut self, now: Duration) {
        for (n, slot) in self.slots.iter_mut().enumerate() {
            if slot.state != State::Free && now.saturating_sub(slot.sent) > LOST {
                slot.state = State::Free;
                self.free.push(n as u16);
                let flow = &mut self.flows[usize::from(slot.flow)];
                flow.lost += 1;
                flow.under_way -= 1;
            }
        }
    }

    /// Packets under way.
    pub(super) fn under_way(&self) -> usize {
        self.slots.iter().filter(|s| s.state != State::Free).count()
    }

    /// Flows that have sent something, packets lost, and of each flow that went wrong what did.
    pub(super) fn verdict(&self) -> (u64, u64, Vec<String>) {
        let started = self.flows.iter().filter(|f| f.sent > 0).count() as u64;
        (started, self.flows.iter().map(|f| f.lost).sum(), self.flows.iter().filter_map(|f| f.wrong.clone()).collect())
    }

    /// Flows that lost packets and did nothing else wrong.
    pub(super) fn lossy(&self) -> u64 {
        self.flows.iter().filter(|f| f.wrong.is_none() && f.lost > 0).count() as u64
    }
}

impl Flow {
    fn new(number: usize, world: &mut World) -> Self {
        let (host, server) = world.cast.pair(&mut world.chance);
        let (host, server) = (world.endpoint(host), SocketAddrV4::new(server, 9000 + number as u16));
        let length = SIZES[number % SIZES.len()] - DATA;
        let mut data = MAGIC.to_vec();
        data.extend_from_slice(&(number as u16).to_be_bytes());
        data.resize(HEAD, 0);
        data.extend(text(number as u32, 0xbbbb, 0, length - HEAD));
        let out = Frame::udp(host, server).df().payload(data).build();
        Self {
            host,
            server,
            outside: None,
            open: false,
            back: out.clone(),
            out,
            under_way: 0,
            wrong: None,
            sent: 0,
            lost: 0,
        }
    }

    /// Its first packet is on its way to the server or back.
    fn is_opening(&self) -> bool {
        !self.open && self.wrong.is_none() && self.under_way > 0
    }

    fn blame(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    /// Everything about a frame but its place in the order.
    fn check(&mut self, side: Side, frame: &[u8], world: &mut World) -> Result<(), String> {
        let (source, destination) = (end(frame, IP + 12, UDP), end(frame, IP + 16, UDP + 2));
        let path = || format!("{source} -> {destination}");
        let sent = if side == Side::Outside { &self.out } else { &self.back };
        if frame.len() != sent.len() || frame[DATA + HEAD..] != sent[DATA + HEAD..] {
            return Err(format!("{} carries other bytes than were sent", path()));
        }
        if frame[IP..IP + 8] != sent[IP..IP + 8] || frame[IP + 8] + 1 != sent[IP + 8] || frame[IP + 9] != sent[IP + 9] {
            return Err(format!("{} has another IP header than was sent", path()));
        }
        if fold(sum(&frame[IP..UDP])) != 0xffff {
            return Err(format!("{} has a wrong IP checksum", path()));
        }
        let total = sum(&frame[IP + 12..UDP]) + sum(&frame[UDP..]) + pseudo_header(frame.len() - UDP);
        if frame[UDP + 6..DATA] == [0, 0] || fold(total) != 0xffff {
            return Err(format!("{} has a wrong UDP checksum", path()));
        }
        if side == Side::Inside {
            let right = source == self.server && destination == self.host;
            return if right { Ok(()) } else { Err(format!("{} came to the inside; {} was meant", path(), self.host)) };
        }
        if destination != self.server {
            return Err(format!("{} came to the outside; {} was meant", path(), self.server));
        }
        match self.outside {
            Some(outside) if outside == source => Ok(()),
            Some(outside) => Err(format!("{} shows as {source}, and as {outside} before", self.host)),
            None => {
                world.sees(protocol::UDP, self.host, source)?;
                self.outside = Some(source);
                self.address(source, world)
            }
        }
    }

    /// Makes the answer's template, now that its destination is known.
    fn address(&mut self, outside: SocketAddrV4, world: &World) -> Result<(), String> {
        let macs = world.macs(Side::Outside, *self.server.ip(), *outside.ip());
        let (source, destination) = macs.ok_or_else(|| format!("nobody said where {outside} is"))?;
        let mut data = self.out[DATA..].to_vec();
        data[6..HEAD].fill(0);
        self.back = Frame::udp(self.server, outside).df().macs(source, destination).payload(data).build();
        Ok(())
    }
}

impl Traffic {
    /// Writes the Ethernet addresses, once the router has said its own.
    pub(super) fn address(&mut self, world: &World) {
        for flow in &mut self.flows {
            if let Some((source, destination)) = world.macs(Side::Inside, *flow.host.ip(), *flow.server.ip()) {
                flow.out[..6].copy_from_slice(&destination);
                flow.out[6..12].copy_from_slice(&source);
            }
        }
    }
}

fn end(frame: &[u8], address: usize, port: usize) -> SocketAddrV4 {
    let address = Ipv4Addr::new(frame[address], frame[address + 1], frame[address + 2], frame[address + 3]);
    SocketAddrV4::new(address, u16::from_be_bytes([frame[port], frame[port + 1]]))
}

/// Flow, slot and number of a bulk frame.
fn read(frame: &[u8]) -> Option<(u16, u16, u64)> {
    let plain = frame.get(12..15)? == [0x08, 0x00, 0x45] && frame.get(IP + 9)? == &protocol::UDP;
    let (magic, rest) = frame.get(DATA..DATA + HEAD)?.split_at(4);
    if !plain || magic != MAGIC {
        return None;
    }
    let (ids, number) = rest.split_at(4);
    let number = number.try_into().map(u64::from_be_bytes).ok()?;
    Some((u16::from_be_bytes([ids[0], ids[1]]), u16::from_be_bytes([ids[2], ids[3]]), number))
}

/// Writes slot and number, and keeps the UDP checksum right.
fn write(frame: &mut [u8], slot: u16, number: u64) {
    let place = DATA + 6..DATA + HEAD;
    let before = sum(&frame[place.clone()]);
    frame[DATA + 6..DATA + 8].copy_from_slice(&slot.to_be_bytes());
    frame[DATA + 8..DATA + HEAD].copy_from_slice(&number.to_be_bytes());
    let after = sum(&frame[place]);
    // RFC 1624: ~(~old + ~m + m'), in the machine's own byte order, which the sum does not care about.
    let old = u16::from_ne_bytes([frame[UDP + 6], frame[UDP + 7]]);
    let new = !fold(u64::from(!old) + u64::from(!fold(before)) + u64::from(fold(after)));
    let new = if new == 0 { 0xffff } else { new };
    frame[UDP + 6..UDP + 8].copy_from_slice(&new.to_ne_bytes());
}

/// Protocol and length of the pseudo-header, as [`sum`] would add them.
fn pseudo_header(length: usize) -> u64 {
    u64::from((length as u16).to_be()) + u64::from(u16::from(protocol::UDP).to_be())
}

/// The ones' complement sum in the machine's byte order, four bytes at a time.
fn sum(bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(4);
    let mut total = 0u64;
    for c in &mut chunks {
        total += u64::from(u32::from_ne_bytes([c[0], c[1], c[2], c[3]]));
    }
    let mut last = [0; 4];
    let rest = chunks.remainder();
    last[..rest.len()].copy_from_slice(rest);
    total + u64::from(u32::from_ne_bytes(last))
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
    use testkit::Seen;

    #[test]
    fn the_quick_sum_is_the_checksum_of_the_testkit() {
        for length in [0, 1, 2, 3, 4, 7, 20, 1001] {
            let bytes: Vec<u8> = text(length as u32, 0, 0, length).collect();
            assert_eq!((!fold(sum(&bytes))).to_be(), testkit::checksum(&bytes), "{length}");
        }
    }

    #[test]
    fn a_numbered_frame_reads_right() {
        let mut frame = Frame::udp("192.168.1.2:5000", "198.51.100.1:53")
            .payload([MAGIC.as_slice(), &[0; HEAD - 4 + 3]].concat())
            .build();
        for (slot, number) in [(0, 0), (5, 1), (127, u64::MAX), (1, 0xffff_0000_ffff)] {
            write(&mut frame, slot, number);
            Seen::read(&frame).unwrap();
            assert_eq!(read(&frame), Some((0, slot, number)));
        }
        assert_eq!(read(&frame[..50]), None);
    }
}
