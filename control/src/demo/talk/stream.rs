//! One end of a TCP connection whose content is made up as it goes: bytes are written, cut into segments on purpose, sent
//! again when they are not acknowledged, and put in order where they arrive. [`super::tcp`] plays connections whose
//! content is known beforehand.

use super::{HOPS_LEFT, Heard};
use crate::demo::world::World;
use dataplane::types::Side;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;
use testkit::{ACK, FIN, Flags, Frame, PSH, RST, SYN, Seen, Tcp};

/// A router that must not cut an identifier may shorten a segment, so that waiting is part of the game.
const TIMEOUT: Duration = Duration::from_millis(250);
const TRIES: u32 = 6;
const MSS: u16 = 1400;

/// Sequence numbers are relative: SYN is 0, data follows, FIN comes last.
pub(super) struct End {
    side: Side,
    pub(super) local: SocketAddrV4,
    /// As this end sees it; a server learns it from the SYN.
    pub(super) remote: Option<SocketAddrV4>,
    first: u32,
    /// What was written, and where segments end.
    data: Vec<u8>,
    cuts: Vec<usize>,
    closing: bool,
    acked: u32,
    next: u32,
    deadline: Option<Duration>,
    tries: u32,
    peer_first: u32,
    synced: bool,
    /// What arrived, in order, and what came before its turn.
    pub(super) got: Vec<u8>,
    ahead: BTreeMap<usize, Vec<u8>>,
    /// How long the other end's data is, once its FIN was there.
    peer_length: Option<usize>,
    /// The FIN was reached.
    pub(super) closed: bool,
    /// What arrived is not acknowledged yet.
    owes: bool,
    /// Something was sent again, so that it may arrive twice.
    repeats: bool,
}

impl End {
    pub(super) fn new(side: Side, local: SocketAddrV4, first: u32, peer_first: u32) -> Self {
        Self {
            side,
            local,
            remote: None,
            first,
            data: Vec::new(),
            cuts: Vec::new(),
            closing: false,
            acked: 0,
            next: 0,
            deadline: None,
            tries: 0,
            peer_first,
            synced: false,
            got: Vec::new(),
            ahead: BTreeMap::new(),
            peer_length: None,
            closed: false,
            owes: false,
            repeats: false,
        }
    }

    /// The number after all that there is to send.
    fn end(&self) -> u32 {
        self.data.len() as u32 + 1 + u32::from(self.closing)
    }

    /// Everything was written, acknowledged and heard, both ways.
    pub(super) fn is_done(&self) -> bool {
        self.closing && self.closed && self.acked == self.end()
    }

    /// More to say, in segments that end after so many bytes of it.
    pub(super) fn write(&mut self, bytes: &[u8], cuts: &[usize]) {
        self.cuts.extend(cuts.iter().map(|cut| self.data.len() + cut));
        self.data.extend_from_slice(bytes);
        self.cuts.push(self.data.len());
    }

    /// Nothing more to say.
    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    fn acknowledgment(&self) -> u32 {
        self.got.len() as u32 + u32::from(self.synced) + u32::from(self.closed)
    }

    fn send(&mut self, seq: u32, flags: Flags, length: usize, world: &mut World) {
        let Some(remote) = self.remote else { return };
        let from = (seq as usize).saturating_sub(1).min(self.data.len());
        let data = &self.data[from..from + length];
        let ack = if self.synced { self.peer_first.wrapping_add(self.acknowledgment()) } else { 0 };
        let mut frame = Frame::tcp(self.local, remote).df().flags(flags).ack(ack);
        frame = frame.seq(self.first.wrapping_add(seq)).payload(data);
        if flags.contains(SYN) {
            frame = frame.mss(MSS).sack_permitted();
        }
        world.send(self.side, self.local, remote, frame);
        self.owes = false;
    }

    /// Acknowledges what arrived, if nothing that was sent since did.
    pub(super) fn acknowledge(&mut self, world: &mut World) {
        if self.owes {
            self.send(self.next, ACK, 0, world);
        }
    }

    /// Sends all that was not sent yet.
    pub(super) fn pump(&mut self, world: &mut World) {
        let before = self.next;
        if self.next == 0 && self.remote.is_some() {
            self.send(0, if self.synced { SYN | ACK } else { SYN }, 0, world);
            self.next = 1;
        }
        while self.acked > 0 && self.next < 1 + self.data.len() as u32 {
            let from = self.next as usize - 1;
            // What is sent again is cut elsewhere.
            let cut = self.cuts.iter().copied().find(|&cut| cut > from && self.tries == 0);
            let until = cut.unwrap_or(self.data.len()).min(from + usize::from(MSS));
            self.send(self.next, ACK | PSH, until - from, world);
            self.next = until as u32 + 1;
        }
        if self.acked > 0 && self.closing && self.next == 1 + self.data.len() as u32 {
            self.send(self.next, FIN | ACK, 0, world);
            self.next += 1;
        }
        if self.next != before && self.deadline.is_none() {
            self.deadline = Some(world.now + TIMEOUT);
        }
    }

    /// Sends again what has waited too long. Whether it has; an error once that has happened too often.
    pub(super) fn tick(&mut self, world: &mut World) -> Result<bool, String> {
        if self.deadline.is_none_or(|due| world.now < due) {
            return Ok(false);
        }
        if self.tries >= TRIES {
            return Err(format!("{} acknowledging more than {} of {}", self.local, self.acked, self.end()));
        }
        self.tries += 1;
        self.next = self.acked;
        self.deadline = None;
        world.resent += 1;
        self.pump(world);
        Ok(true)
    }

    /// Either end may now hear things twice: the segment itself, or its acknowledgement.
    pub(super) fn may_repeat(&mut self) {
        self.repeats = true;
    }

    /// A segment arrived here.
    pub(super) fn hear(&mut self, heard: &Heard<'_>, tcp: &Tcp, now: Duration) -> Result<(), String> {
        let seen = heard.seen;
        if heard.side != self.side || seen.destination != self.local {
            let due = (self.local, self.side);
            return Err(format!("{} came out {:?}; {} {:?} was meant", seen.path(), heard.side, due.0, due.1));
        }
        let remote = *self.remote.get_or_insert(seen.source);
        if remote != seen.source {
            return Err(format!("{} came from {}, not {remote}", seen.path(), seen.source));
        }
        if seen.ttl != HOPS_LEFT || !seen.df {
            return Err(format!("{} has TTL {} and DF {}", seen.path(), seen.ttl, seen.df));
        }
        if tcp.flags.contains(RST) {
            return Err(format!("{} is a reset", seen.path()));
        }
        self.owes |= self.on_data(seen, tcp)?;
        self.on_ack(tcp, now)
    }

    fn on_ack(&mut self, tcp: &Tcp, now: Duration) -> Result<(), String> {
        if !tcp.flags.contains(ACK) {
            return Ok(());
        }
        let acked = tcp.ack.wrapping_sub(self.first);
        let sent = if self.repeats { self.end() } else { self.next };
        if acked > sent {
            return Err(format!("{} acknowledges {acked}, but only {sent} was sent", self.local));
        }
        if acked > self.acked {
            self.acked = acked;
            self.next = self.next.max(acked);
            self.tries = 0;
            self.deadline = (self.acked < self.next).then_some(now + TIMEOUT);
        }
        Ok(())
    }

    /// Data and FIN. Whether there were any, so that they are to be acknowledged.
    fn on_data(&mut self, seen: &Seen, tcp: &Tcp) -> Result<bool, String> {
        let at = tcp.seq.wrapping_sub(self.peer_first);
        if tcp.flags.contains(SYN) {
            if at != 0 || (self.synced && !self.repeats) {
                return Err(format!("{} brings a second or wrong SYN", seen.path()));
            }
            self.synced = true;
            return Ok(true);
        }
        let from = at.wrapping_sub(1) as usize;
        let until = from.saturating_add(seen.payload.len());
        if tcp.flags.contains(FIN) {
            self.peer_length = Some(until);
        } else if seen.payload.is_empty() {
            return Ok(false);
        }
        if from > self.got.len() {
            self.ahead.insert(from, seen.payload.clone());
            return Ok(true);
        }
        self.take(from, &seen.payload).map_err(|what| format!("{} brings {what}", seen.path()))?;
        while let Some((&from, _)) = self.ahead.first_key_value().filter(|(from, _)| **from <= self.got.len()) {
            let bytes = self.ahead.remove(&from).unwrap_or_default();
            self.take(from, &bytes).map_err(|what| format!("what {} brought before has {what}", seen.path()))?;
        }
        self.closed |= self.peer_length == Some(self.got.len());
        Ok(true)
    }

    /// What came before must come as it was.
    fn take(&mut self, from: usize, bytes: &[u8]) -> Result<(), String> {
        let known = bytes.len().min(self.got.len() - from);
        if known > 0 && !self.repeats {
            return Err(format!("bytes {from}..{} twice", from + known));
        }
        if self.got[from..from + known] != bytes[..known] {
            return Err(format!("other bytes {from}..{} than the first time", from + known));
        }
        self.got.extend_from_slice(&bytes[known..]);
        Ok(())
    }
}
