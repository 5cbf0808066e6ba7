//! Follows one PPTP control connection and says which bytes of a segment to change. No sessions, no calls: those are
//! [`CallBook`]'s.
//!
//! ```text
//! ours out: translate    the sender's own id in what the inside host sends   types 7 8 9 10 12 13
//! ours in: back          the receiver's id in what is sent to it             types 8 10 11 14 15
//! theirs: never touch    all else
//! ```
//!
//! One rule serves clients and servers inside (RFC 2637 §2). Messages keep their lengths, so sequence numbers, options
//! and SACK stay true. They may be cut and joined anywhere: an identifier is translated byte by byte, the high byte
//! before the low one is seen, and nothing is held back. This holds while [`CallBook`] maps the high bytes of a
//! connection one to one.
//!
//! **Invariant**: for each place of the stream, every copy that passes carries the same byte, and this is the byte that
//! a reader of whole messages would write; except for bytes of a gap (none passes that could hold an identifier), and
//! before the first SYN. A segment that is dropped leaves no trace but its acknowledgment, which is true whatever
//! becomes of the segment; the sender resends, and is asked about again.
//!
//! **Dropped**, each to be counted by the caller ([`Why`]): what the book refuses; what leaves a gap, unless it lies in
//! the body of the message at hand, behind its 17th byte; a resend of acknowledged bytes so old that the identifiers
//! in it are forgotten; more identifiers than [`MEMORY`] that the receiver has not acknowledged. A segment of at most
//! 1460 bytes that begins with what the receiver lacks meets none of the last three, so a sender that resends gets
//! through.
//!
//! **Malformed** input (a length that is not the type's, a wrong cookie, no such type) ends the parsing of its
//! direction for good: what follows passes untouched, and what was translated before still is in resends. Management
//! messages of any length from 16 to 220 are passed over: none is defined.
//!
//! Fixed size, no heap, no panic. Cost: two passes over new bytes, a scan of at most [`MEMORY`] entries for a resend.

mod edits;
mod memory;
mod parser;
#[cfg(test)]
mod tests;

pub use crate::types::Direction as Way;
pub use edits::{Edit, Edits, MAX_EDITS};
pub use memory::MEMORY;

use crate::wire::pptp::{own_id_at, peer_id_at};
use memory::{Memory, WINDOW};
use parser::{Form, Parser, Reader};

/// Who knows the calls of a connection. `way` is that of the segment, `kind` the type of the message
/// ([`crate::wire::pptp::kind`]).
///
/// Within a segment all identifiers are asked for first; then its messages are told, in their order.
pub trait CallBook {
    /// The new high byte of an identifier that is to be translated, of which only the high byte is known. `None`
    /// refuses the segment.
    ///
    /// The answer must depend on nothing but way and byte while the connection lives, and two bytes of a way must not
    /// share one; and it must be the same when asked again.
    fn high(&mut self, way: Way, kind: u8, high: u8) -> Option<u8>;

    /// The new low byte of the identifier `original`, whose new high byte is `high`. `None` refuses the segment.
    ///
    /// The place to open a call. Must answer the same when asked again, as it is when the segment is dropped after all.
    fn low(&mut self, way: Way, kind: u8, original: u16, high: u8) -> Option<u8>;

    /// A message went by: told once, when its first 17 bytes (all of them, if it has fewer) have passed.
    fn heard(&mut self, way: Way, message: &Message);
}

/// What a control message says, as far as a NAT cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its type ([`crate::wire::pptp::kind`]).
    pub kind: u8,
    /// The identifier its sender chose, as the sender wrote it.
    pub own: Option<u16>,
    /// The identifier its receiver chose, as the sender wrote it.
    pub peer: Option<u16>,
    /// What was sent on in place of `own` (outwards) or of `peer` (inwards); `None` when nothing is translated.
    pub translated: Option<u16>,
    /// Its result; 0 where the type has none.
    pub result: u8,
}

/// Why a segment is to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The book refused an identifier.
    Refused,
    /// More identifiers than can be remembered until they are acknowledged.
    TooMany,
    /// It leaves a gap that could hold an identifier or end a message.
    OutOfOrder,
    /// It resends acknowledged bytes from before what is remembered.
    Forgotten,
}

/// What to do with a segment.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Apply the edits and send it on.
    Pass,
    /// The same; and it holds what is not PPTP, where the parsing of its direction ends. Said once for each.
    Malformed,
    /// Drop it. There are no edits.
    Drop(Why),
}

/// The state of one control connection, both ways.
///
/// A new connection between the same ports needs a new one: only the first SYN of each way counts.
#[derive(Clone, Debug)]
pub struct Follower {
    out: Lane,
    into: Lane,
}

const _: () = assert!(size_of::<Follower>() <= 1248);

impl Default for Follower {
    fn default() -> Self {
        Self::new()
    }
}

impl Follower {
    /// A connection of which nothing was seen.
    #[must_use]
    pub const fn new() -> Self {
        Self { out: Lane::idle(), into: Lane::idle() }
    }

    /// Judges one segment. `ack` is its acknowledgment number if it has one. `edits` then holds what to change in
    /// `payload`, and nothing else.
    ///
    /// A direction whose SYN was not seen passes untouched.
    #[allow(clippy::too_many_arguments, reason = "the segment's fields and the two who are told")]
    pub fn segment(
        &mut self,
        way: Way,
        seq: u32,
        syn: bool,
        ack: Option<u32>,
        payload: &[u8],
        book: &mut impl CallBook,
        edits: &mut Edits,
    ) -> Outcome {
        edits.clear();
        let (lane, other) = match way {
            Way::Out => (&mut self.out, &mut self.into),
            Way::In => (&mut self.into, &mut self.out),
        };
        if let Some(ack) = ack {
            other.acknowledge(ack);
        }
        let seq = if syn { seq.wrapping_add(1) } else { seq };
        let begins = syn && lane.phase == Phase::Idle;
        if begins {
            *lane = Lane::following(seq);
        }
        if payload.is_empty() || lane.phase == Phase::Idle {
            return Outcome::Pass;
        }
        match lane.judge(way, seq, payload, book, edits) {
            Ok(Form::Good) => Outcome::Pass,
            Ok(Form::Malformed) => Outcome::Malformed,
            Err(why) => {
                edits.clear();
                if begins {
                    *lane = Lane::idle();
                }
                Outcome::Drop(why)
            }
        }
    }

    /// Whether the messages of a direction are being read: its SYN was seen, and nothing malformed since.
    #[must_use]
    pub fn follows(&self, way: Way) -> bool {
        let lane = match way {
            Way::Out => &self.out,
            Way::In => &self.into,
        };
        lane.phase == Phase::Following
    }
}

/// Where the identifier to be translated lies in a message of type `kind` that goes `way`.
#[inline]
#[must_use]
pub const fn translated_at(way: Way, kind: u8) -> Option<usize> {
    match way {
        Way::Out => own_id_at(kind),
        Way::In => peer_id_at(kind),
    }
}

/// Whether sequence number `a` comes before `b`.
const fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No SYN seen.
    Idle,
    Following,
    /// Something malformed was seen.
    Stopped,
}

/// One direction.
#[derive(Clone, Debug)]
struct Lane {
    phase: Phase,
    /// The receiver has everything before.
    acked: u32,
    parser: Parser,
    memory: Memory,
}

impl Lane {
    const fn idle() -> Self {
        Self { phase: Phase::Idle, ..Self::following(0) }
    }

    const fn following(start: u32) -> Self {
        Self { phase: Phase::Following, acked: start, parser: Parser::new(start), memory: Memory::new(start) }
    }

    fn acknowledge(&mut self, ack: u32) {
        if self.phase != Phase::Idle && before(self.acked, ack) && !before(self.parser.next, ack) {
            self.acked = ack;
        }
    }

    fn judge(
        &mut self,
        way: Way,
        seq: u32,
        payload: &[u8],
        book: &mut impl CallBook,
        edits: &mut Edits,
    ) -> Result<Form, Why> {
        let next = self.parser.next;
        if before(next, seq) {
            let passes = self.phase == Phase::Stopped || self.parser.pass_early(seq.wrapping_sub(next), payload.len());
            self.skip_to_end(seq, payload);
            return if passes { Ok(Form::Good) } else { Err(Why::OutOfOrder) };
        }
        // Below `next` it is a resend, from there on it is new.
        let old = payload.len().min(next.wrapping_sub(seq) as usize);
        self.memory.recall(seq, payload, old, edits)?;
        if self.phase == Phase::Stopped {
            self.skip_to_end(seq, payload);
            return Ok(Form::Good);
        }
        let mut ask = Ask { way, book, edits, room: self.memory.room(self.acked) };
        let form = { self.parser }.read(way, payload, old, &mut ask)?;
        // It passes: the same again, to remember and to tell.
        let mut tell = Tell { way, seq, book, edits, memory: &mut self.memory };
        let _ = self.parser.read(way, payload, old, &mut tell)?;
        if form == Form::Malformed {
            self.phase = Phase::Stopped;
            self.skip_to_end(seq, payload);
        }
        self.age();
        Ok(form)
    }

    /// Behind what is malformed only the place matters, so that resends are told from what is new.
    fn skip_to_end(&mut self, seq: u32, payload: &[u8]) {
        let end = u32::try_from(payload.len()).map_or(seq, |len| seq.wrapping_add(len));
        let step = end.wrapping_sub(self.parser.next);
        if self.phase == Phase::Stopped && step < WINDOW {
            self.parser.next = end;
            self.age();
        }
    }

    fn age(&mut self) {
        self.memory.forget_before(self.parser.next);
        let oldest = self.parser.next.wrapping_sub(WINDOW);
        if before(self.acked, oldest) {
            self.acked = oldest;
        }
    }
}

/// The first pass: asks the book, notes edits. Ends with the first identifier for which there is no room, so that a
/// segment which is refused for that costs little, however often it is sent.
struct Ask<'a, B> {
    way: Way,
    book: &'a mut B,
    edits: &'a mut Edits,
    room: usize,
}

impl<B: CallBook> Reader for Ask<'_, B> {
    fn high(&mut self, at: usize, kind: u8, high: u8) -> Result<u8, Why> {
        self.room = self.room.checked_sub(1).ok_or(Why::TooMany)?;
        let new = self.book.high(self.way, kind, high).ok_or(Why::Refused)?;
        self.edits.note(at, high, new)?;
        Ok(new)
    }

    fn low(&mut self, at: usize, kind: u8, original: u16, high: u8) -> Result<u8, Why> {
        let new = self.book.low(self.way, kind, original, high).ok_or(Why::Refused)?;
        let [_, low] = original.to_be_bytes();
        self.edits.note(at, low, new)?;
        Ok(new)
    }

    fn heard(&mut self, _: &Message) {}
}

/// The second pass: remembers what was noted, tells the book. Refuses nothing.
struct Tell<'a, B> {
    way: Way,
    seq: u32,
    book: &'a mut B,
    edits: &'a Edits,
    memory: &'a mut Memory,
}

impl<B: CallBook> Reader for Tell<'_, B> {
    fn high(&mut self, at: usize, _: u8, high: u8) -> Result<u8, Why> {
        let new = self.edits.new_at(at, high);
        let offset = u32::try_from(at).map_err(|_| Why::TooMany)?;
        self.memory.push(self.seq.wrapping_add(offset), new);
        Ok(new)
    }

    fn low(&mut self, at: usize, _: u8, original: u16, _: u8) -> Result<u8, Why> {
        let [_, low] = original.to_be_bytes();
        let new = self.edits.new_at(at, low);
        self.memory.complete(new);
        Ok(new)
    }

    fn heard(&mut self, message: &Message) {
        self.book.heard(self.way, message);
    }
}
