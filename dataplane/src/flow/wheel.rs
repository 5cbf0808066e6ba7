//! A timer wheel of intrusive lists over a slab: insert, remove and pop are constant time at any size.
//!
//! It is lazy. Traffic does not move a session in the wheel; a session is looked at when its slot comes up, and goes
//! back in if it was used since. So the wheel costs the fast path nothing, and each session one look a time-out.
//!
//! Two levels: 256 slots of 256 ms, then 256 slots of 65.5 s; what lies further (4.6 h) waits in the last slot and is
//! put again. Entries come up at or after their deadline, at most 256 ms late plus the caller's budget.

use crate::types::Tick;

/// No entry.
const NONE: u32 = u32::MAX;
/// Marks a `prev` that names a slot of the wheel: the entry is the head of that list.
const HEAD: u32 = 1 << 31;
const SLOTS: usize = 256;

/// Place of an entry in its list. Lives inside the slab's entries.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    next: u32,
    prev: u32,
}

impl Link {
    /// In no list.
    pub const DETACHED: Self = Self { next: NONE, prev: NONE };
}

/// A slab entry with a [`Link`].
pub trait Linked {
    /// The link.
    fn link(&mut self) -> &mut Link;
}

/// See the module.
pub struct Wheel {
    heads: Box<[u32; SLOTS * 2]>,
    /// Fine slots up to this one (in units of 256 ms) are empty or being emptied.
    fine: u32,
    /// Likewise in units of 65,536 ms.
    coarse: u32,
}

impl Wheel {
    /// An empty wheel that starts at `now`.
    #[must_use]
    pub fn new(now: Tick) -> Self {
        Self { heads: Box::new([NONE; SLOTS * 2]), fine: now.0 >> 8, coarse: now.0 >> 16 }
    }

    /// The list that something due at `deadline` belongs to.
    fn slot(&self, deadline: Tick) -> usize {
        // Both counters wrap at a power of two that their slots divide: fine at 2^24, coarse at 2^16.
        let fine = (deadline.0 >> 8).wrapping_sub(self.fine) & 0xff_ffff;
        let late = fine > 0x7f_ffff;
        if late || fine < 255 {
            let ahead = if late { 1 } else { fine + 1 };
            return (self.fine.wrapping_add(ahead) & 0xff) as usize;
        }
        let ahead = ((deadline.0 >> 16).wrapping_sub(self.coarse) & 0xffff).clamp(1, 255);
        SLOTS + (self.coarse.wrapping_add(ahead) & 0xff) as usize
    }

    /// Puts detached entry `id` in, to come up at `deadline`.
    pub fn insert<T: Linked>(&mut self, slab: &mut [T], id: u32, deadline: Tick) {
        let slot = self.slot(deadline);
        let Some(head) = self.heads.get_mut(slot) else { return };
        let next = std::mem::replace(head, id);
        #[allow(clippy::cast_possible_truncation, reason = "below 512")]
        if let Some(e) = slab.get_mut(id as usize) {
            *e.link() = Link { next, prev: HEAD | slot as u32 };
        }
        if let Some(e) = slab.get_mut(next as usize) {
            e.link().prev = id;
        }
    }

    /// Takes entry `id` out; nothing happens when it is in no list.
    pub fn remove<T: Linked>(&mut self, slab: &mut [T], id: u32) {
        let Some(e) = slab.get_mut(id as usize) else { return };
        let Link { next, prev } = std::mem::replace(e.link(), Link::DETACHED);
        if prev == NONE {
            return;
        }
        if prev & HEAD != 0 {
            if let Some(head) = self.heads.get_mut((prev & !HEAD) as usize) {
                *head = next;
            }
        } else if let Some(e) = slab.get_mut(prev as usize) {
            e.link().next = next;
        }
        if let Some(e) = slab.get_mut(next as usize) {
            e.link().prev = prev;
        }
    }

    /// Takes out an entry whose time has come, if any. The caller looks whether it is really due, and puts it in
    /// again if not. Steps over at most 512 empty slots, however far the clock jumped.
    pub fn pop<T: Linked>(&mut self, slab: &mut [T], now: Tick) -> Option<u32> {
        // Fine slots first: an entry that moves down from a coarse slot is then placed against the current time.
        if let Some(id) = self.take(slab, (self.fine & 0xff) as usize) {
            return Some(id);
        }
        self.skip_jump(now);
        while self.fine != now.0 >> 8 {
            self.fine = (self.fine + 1) & 0xff_ffff;
            if let Some(id) = self.take(slab, (self.fine & 0xff) as usize) {
                return Some(id);
            }
        }
        if let Some(id) = self.take(slab, SLOTS + (self.coarse & 0xff) as usize) {
            return Some(id);
        }
        while self.coarse != now.0 >> 16 {
            self.coarse = (self.coarse + 1) & 0xffff;
            if let Some(id) = self.take(slab, SLOTS + (self.coarse & 0xff) as usize) {
                return Some(id);
            }
        }
        None
    }

    /// After a jump of more than a turn, one turn visits every slot.
    fn skip_jump(&mut self, now: Tick) {
        let (fine, coarse) = (now.0 >> 8, now.0 >> 16);
        if fine.wrapping_sub(self.fine) & 0xff_ffff > 256 {
            self.fine = fine.wrapping_sub(256) & 0xff_ffff;
        }
        if coarse.wrapping_sub(self.coarse) & 0xffff > 256 {
            self.coarse = coarse.wrapping_sub(256) & 0xffff;
        }
    }

    fn take<T: Linked>(&mut self, slab: &mut [T], slot: usize) -> Option<u32> {
        let &id = self.heads.get(slot)?;
        if id == NONE {
            return None;
        }
        self.remove(slab, id);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Entry(Link);
    impl Linked for Entry {
        fn link(&mut self) -> &mut Link {
            &mut self.0
        }
    }

    proptest! {
        /// Every entry comes up once its deadline is past, none before, whatever the steps of the clock.
        #[test]
        fn entries_come_up_at_their_time(
            start: u32,
            deadlines in prop::collection::vec(0u32..30_000_000, 1..60),
            steps in prop::collection::vec(1u32..3_000_000, 1..60),
            cancelled in prop::collection::vec(any::<bool>(), 60),
        ) {
            let start = Tick(start);
            let mut slab: Vec<_> = deadlines.iter().map(|_| Entry(Link::DETACHED)).collect();
            let mut wheel = Wheel::new(start);
            let mut waiting: Vec<bool> = vec![true; slab.len()];
            for (i, d) in deadlines.iter().enumerate() {
                wheel.insert(&mut slab, i as u32, start.after(*d));
            }
            for i in 0..slab.len() {
                if cancelled[i] {
                    wheel.remove(&mut slab, i as u32);
                    wheel.remove(&mut slab, i as u32);
                    waiting[i] = false;
                }
            }
            let mut now = start;
            for step in steps {
                now = now.after(step);
                let mut pops = 0;
                while let Some(id) = wheel.pop(&mut slab, now) {
                    pops += 1;
                    prop_assert!(pops < 10_000, "the wheel spins");
                    let due = start.after(deadlines[id as usize]);
                    prop_assert!(waiting[id as usize]);
                    if now.reached(due) {
                        waiting[id as usize] = false;
                    } else {
                        wheel.insert(&mut slab, id, due);
                    }
                }
                for (i, d) in deadlines.iter().enumerate() {
                    if waiting[i] {
                        let late = now.since(start.after(*d));
                        prop_assert!(late <= 512, "entry {i} is {late} ms late");
                    }
                }
            }
        }
    }
}
