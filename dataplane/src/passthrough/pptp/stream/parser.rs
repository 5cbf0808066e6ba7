//! Reads the messages of one direction, a byte at a time up to their 17th and then in strides.
//!
//! It knows no sequence number but that of its next byte, and gives every byte it reads to the same code however the
//! stream is cut; the cuts cannot matter.

use super::{Message, Way, Why, translated_at};
use crate::wire::pptp::{
    CONTROL, COOKIE, MANAGEMENT, MAX_MESSAGE, MIN_MESSAGE, length, own_id_at, peer_id_at, result_at,
};

/// Bytes of a message that mean something here: up to the result of a reply, at 16.
const HEAD: usize = 17;
/// Bytes after which a message is known to be one, and of which type.
const JUDGED: u8 = 10;

/// Who is asked and told while messages are read. `at` is the byte's place in the payload.
pub(super) trait Reader {
    /// The new high byte of an identifier.
    fn high(&mut self, at: usize, kind: u8, high: u8) -> Result<u8, Why>;
    /// The new low byte of the identifier `original` whose new high byte is `high`.
    fn low(&mut self, at: usize, kind: u8, original: u16, high: u8) -> Result<u8, Why>;
    /// A message's head was read.
    fn heard(&mut self, message: &Message);
}

/// Whether what was read is PPTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Good,
    Malformed,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Parser {
    /// Sequence number of the first byte not read.
    pub(super) next: u32,
    /// How many bytes of the message at hand were read; less than `len` once that is known.
    at: u8,
    /// Its length, from the second byte on.
    len: u8,
    /// Its type, from the tenth byte on; 0 in a management message.
    kind: u8,
    /// Its first bytes as its sender wrote them.
    head: [u8; HEAD],
    /// Its translated identifier as sent on.
    new: [u8; 2],
    /// A part of its body that came early and passed: from, to. Nothing when equal.
    early: (u8, u8),
}

impl Parser {
    pub(super) const fn new(next: u32) -> Self {
        Self { next, at: 0, len: 0, kind: 0, head: [0; HEAD], new: [0; 2], early: (0, 0) }
    }

    /// Reads `payload` from its byte `from` on, which is the byte at `next`.
    pub(super) fn read(
        &mut self,
        way: Way,
        payload: &[u8],
        from: usize,
        reader: &mut impl Reader,
    ) -> Result<Form, Why> {
        let mut offset = from;
        while let Some((&byte, _)) = payload.get(offset..).and_then(<[u8]>::split_first) {
            if usize::from(self.at) < HEAD {
                self.advance(1);
                if self.head(way, byte, offset, reader)? == Form::Malformed {
                    return Ok(Form::Malformed);
                }
                offset += 1;
            } else {
                let left = u8::try_from(payload.len() - offset).unwrap_or(u8::MAX);
                let stride = left.min(self.len.saturating_sub(self.at)).max(1);
                self.advance(stride);
                offset += usize::from(stride);
            }
            self.end_message();
        }
        let (from, to) = self.early;
        if (from..to).contains(&self.at) {
            self.advance(to - self.at);
            self.end_message();
        }
        Ok(Form::Good)
    }

    /// Whether `len` bytes that begin `gap` bytes after `next` may pass before those between: they must lie in the body
    /// of the message at hand, and next to what did so before. Remembers them. A length is enough to know the body, and
    /// there is none before it was read; should the header turn out malformed, nothing would be translated either.
    pub(super) fn pass_early(&mut self, gap: u32, len: usize) -> bool {
        let place = |n: usize| u8::try_from(n).ok().filter(|&n| n <= self.len);
        let start = usize::try_from(gap).unwrap_or(usize::MAX).saturating_add(usize::from(self.at));
        let (Some(start), Some(end)) = (place(start), place(start.saturating_add(len))) else { return false };
        if usize::from(start) < HEAD {
            return false;
        }
        let (from, to) = self.early;
        if from == to {
            self.early = (start, end);
        } else if start <= to && from <= end {
            self.early = (from.min(start), to.max(end));
        } else {
            return false;
        }
        true
    }

    fn advance(&mut self, n: u8) {
        self.at = self.at.saturating_add(n);
        self.next = self.next.wrapping_add(u32::from(n));
    }

    fn end_message(&mut self) {
        if self.at >= MIN_MESSAGE && self.at >= self.len {
            *self = Self::new(self.next);
        }
    }

    fn word(&self, at: usize) -> u16 {
        match self.head.get(at..) {
            Some([high, low, ..]) => u16::from_be_bytes([*high, *low]),
            _ => 0,
        }
    }

    /// Takes the head's byte that `at` has just passed.
    fn head(&mut self, way: Way, byte: u8, offset: usize, reader: &mut impl Reader) -> Result<Form, Why> {
        let place = usize::from(self.at).saturating_sub(1);
        if let Some(slot) = self.head.get_mut(place) {
            *slot = byte;
        }
        let good = match self.at {
            2 => {
                self.len = u8::try_from(self.word(0)).unwrap_or(0);
                (MIN_MESSAGE..=MAX_MESSAGE).contains(&self.len)
            }
            4 => [CONTROL, MANAGEMENT].contains(&self.word(2)),
            8 => u32::from(self.word(4)) << 16 | u32::from(self.word(6)) == COOKIE,
            JUDGED if self.word(2) == MANAGEMENT => true,
            JUDGED => {
                self.kind = u8::try_from(self.word(8)).unwrap_or(0);
                length(self.kind) == Some(self.len)
            }
            _ => true,
        };
        if !good {
            return Ok(Form::Malformed);
        }
        if let Some(id) = translated_at(way, self.kind) {
            let [high, low] = self.new;
            if place == id {
                self.new = [reader.high(offset, self.kind, byte)?, low];
            } else if place == id + 1 {
                let original = u16::from_be_bytes([self.head_byte(id), byte]);
                self.new = [high, reader.low(offset, self.kind, original, high)?];
            }
        }
        if self.kind != 0 && place + 1 == HEAD.min(usize::from(self.len)) {
            reader.heard(&self.message(way));
        }
        Ok(Form::Good)
    }

    fn head_byte(&self, at: usize) -> u8 {
        self.head.get(at).copied().unwrap_or(0)
    }

    fn message(&self, way: Way) -> Message {
        Message {
            kind: self.kind,
            own: own_id_at(self.kind).map(|at| self.word(at)),
            peer: peer_id_at(self.kind).map(|at| self.word(at)),
            translated: translated_at(way, self.kind).map(|_| u16::from_be_bytes(self.new)),
            result: result_at(self.kind).map_or(0, |at| self.head_byte(at)),
        }
    }
}
