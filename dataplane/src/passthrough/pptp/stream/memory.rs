//! What was written into the stream, so that a resend with any boundaries gets the same bytes.
//!
//! A ring of the last [`MEMORY`] identifiers, oldest first. One leaves only for a new one, and only when the receiver
//! has acknowledged it; so a resend of what the receiver lacks is always known. `floor` says from where on memory is
//! complete: at or above it, a byte that is not in the ring passed as it was.

use super::edits::Edits;
use super::{Why, before};

/// Identifiers remembered in each direction. A segment of 1460 bytes touches at most 92.
pub const MEMORY: usize = 96;

/// The widest window that TCP can have (RFC 7323 §2.3). What lies further back is no resend, and is forgotten before
/// sequence numbers come round.
pub(super) const WINDOW: u32 = 1 << 30;

#[derive(Clone, Debug)]
pub(super) struct Memory {
    /// Sequence number of each identifier's high byte.
    places: [u32; MEMORY],
    /// Its bytes as sent on; the low one means nothing while the parser has not come to it.
    bytes: [[u8; 2]; MEMORY],
    first: u8,
    count: u8,
    floor: u32,
}

impl Memory {
    /// Nothing written before `start`.
    pub(super) const fn new(start: u32) -> Self {
        let floor = start.wrapping_sub(WINDOW);
        Self { places: [0; MEMORY], bytes: [[0; 2]; MEMORY], first: 0, count: 0, floor }
    }

    fn slot(&self, n: u8) -> usize {
        (usize::from(self.first) + usize::from(n)) % MEMORY
    }

    fn place(&self, n: u8) -> Option<u32> {
        self.places.get(self.slot(n)).copied().filter(|_| n < self.count)
    }

    /// Notes what must change in the first `len` bytes of `payload`, which are sent again from `seq` on.
    pub(super) fn recall(&self, seq: u32, payload: &[u8], len: usize, edits: &mut Edits) -> Result<(), Why> {
        if len == 0 {
            return Ok(());
        }
        if before(seq, self.floor) {
            return Err(Why::Forgotten);
        }
        for n in 0..self.count {
            let slot = self.slot(n);
            let (Some(&place), Some(bytes)) = (self.places.get(slot), self.bytes.get(slot)) else { continue };
            for (at, new) in [place, place.wrapping_add(1)].into_iter().zip(bytes) {
                let at = at.wrapping_sub(seq) as usize;
                if let Some(&old) = payload.get(..len).and_then(|p| p.get(at)) {
                    edits.note(at, old, *new)?;
                }
            }
        }
        Ok(())
    }

    /// How many identifiers find room when the receiver has everything before `acked`.
    pub(super) fn room(&self, acked: u32) -> usize {
        let free = MEMORY.saturating_sub(usize::from(self.count));
        let done = |n: &u8| self.place(*n).is_some_and(|p| !before(acked, p.wrapping_add(2)));
        free + (0..self.count).take_while(done).count()
    }

    /// Remembers an identifier's high byte; the oldest leaves when there is no room ([`Memory::room`] was asked).
    pub(super) fn push(&mut self, place: u32, high: u8) {
        if usize::from(self.count) == MEMORY {
            self.pop();
        }
        let slot = self.slot(self.count);
        if let (Some(p), Some(b)) = (self.places.get_mut(slot), self.bytes.get_mut(slot)) {
            (*p, *b) = (place, [high, 0]);
            self.count += 1;
        }
    }

    /// Remembers the low byte of the last one.
    pub(super) fn complete(&mut self, low: u8) {
        let slot = self.slot(self.count.saturating_sub(1));
        if let Some([_, l]) = self.bytes.get_mut(slot) {
            *l = low;
        }
    }

    /// Forgets what lies more than a window before `next`.
    pub(super) fn forget_before(&mut self, next: u32) {
        let oldest = next.wrapping_sub(WINDOW);
        if before(self.floor, oldest) {
            self.floor = oldest;
            while self.place(0).is_some_and(|p| before(p, oldest)) {
                self.pop();
            }
        }
    }

    fn pop(&mut self) {
        if let Some(place) = self.place(0) {
            let end = place.wrapping_add(2);
            if before(self.floor, end) {
                self.floor = end;
            }
            self.first = u8::try_from(self.slot(1)).unwrap_or(0);
            self.count -= 1;
        }
    }
}
