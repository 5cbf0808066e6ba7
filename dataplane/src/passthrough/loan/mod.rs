//! Legs lent to other workers: data of ESP and L2TPv3 is its identifier's owner's, what is known of it is home's.
//!
//! The *home* of a tunnel, [`crate::policy::Sharding::of_remote`] of its server, has its record and its legs and decides
//! everything, as if there were no other worker. When a settled leg's packet comes to it that the leg's *owner*,
//! [`crate::policy::Sharding::of_tunnel_id`], had to hand over, it *lends* the leg: the owner makes a copy and forwards by
//! that. Home stays able to forward every packet itself. So whatever becomes of a message, no packet is lost for it: the
//! worst is that packets go by home.
//!
//! ```text
//! home                             owner
//!   ◄──── packets, packets ──────    hands over what it has no copy for
//!   ───── Lend ─────────────────►    makes a copy; holds what comes from now on
//!   ◄──── Ready ────────────────     behind the last packet that it handed over, in the same ring
//!   has sent those packets
//!   ───── Go ───────────────────►    sends what it held, then all that comes: in order
//!   ◄──── Renew ── Keep ────────►    each lease, while packets come
//!   ◄──── Gone ─────────────────     a lease without packets; what it counted
//!   ───── Ask ── Answer ────────►    before a leg is ended for want of use: when did you use yours?
//!   ───── Return ── Gone ───────►    the leg has ended, or is looked at one by one again
//! ```
//!
//! Messages ([`message`]) wait in an outbox until the ring takes them. If that is full, too, they are lost and counted:
//! a leg that home lent and whose packets still come is lent anew; a question is put again, a few times; and a copy whose
//! lease home does not renew ends. So neither side keeps anything for ever.
//!
//! Bounded: so many loans begin in a millisecond; what nobody asked for is not lent before it was used for a while, so
//! that made-up identifiers cost no messages.

mod home;
pub mod message;
mod owner;

use super::tunnel::LEGS;
use crate::flow::session::SessionId;
use crate::types::{Tick, WorkerId};
use arrayvec::ArrayVec;
use message::Message;

/// A copy that was not used for so long goes back; one that was, is asked for again.
pub const LEASE_MS: u32 = 20_000;
/// A renewal that was not answered is asked for again after this, so many times.
const RENEW_MS: u32 = 1_000;
const RENEWALS: u8 = 4;
/// Home puts its question again after this, so many times.
const ASK_MS: u32 = 500;
const QUESTIONS: u8 = 8;
/// A leg whose loan came to nothing, or seems to have been lost, is lent again after this.
const AGAIN_MS: u32 = 250;
/// Loans begun in a millisecond.
const LENDS_PER_TICK: u32 = 64;
/// Packets after which a leg that nobody asked for is lent.
const UNASKED_USES: u64 = 8;
/// Messages that wait for room in a ring.
const OUTBOX: usize = 1024;

/// What a tunnel's record knows of its legs' loans: in the same places as the legs.
#[derive(Clone, Copy, Debug)]
pub struct Lent {
    /// Numbers of the loans; 0 where the leg is not lent.
    serials: [u32; LEGS],
    /// The round in which its borrower answered last.
    heard: [u8; LEGS],
    /// The round of questions.
    round: u8,
    /// How often they were put in vain, plus one; 0 when nothing is asked.
    asked: u8,
    asked_at: Tick,
    /// When one was lent last.
    lent_at: Tick,
    /// None is lent before.
    not_before: Tick,
}

impl Lent {
    /// Nothing lent.
    pub(super) const NONE: Self = Self {
        serials: [0; LEGS],
        heard: [0; LEGS],
        round: 0,
        asked: 0,
        asked_at: Tick(0),
        lent_at: Tick(0),
        not_before: Tick(0),
    };

    /// Nothing lent, from now on.
    pub(super) const fn none(now: Tick) -> Self {
        Self { not_before: now, ..Self::NONE }
    }

    /// A leg was taken out of its place.
    pub(super) fn remove(&mut self, at: usize) {
        if let (Some(serials), Some(heard)) = (self.serials.get_mut(at..), self.heard.get_mut(at..)) {
            serials.rotate_left(1);
            heard.rotate_left(1);
        }
        if let (Some(serial), Some(heard)) = (self.serials.last_mut(), self.heard.last_mut()) {
            (*serial, *heard) = (0, 0);
        }
    }

    /// Whether the leg in a place is lent.
    pub(super) fn is_lent(&self, at: usize) -> bool {
        self.serials.get(at).is_some_and(|s| *s != 0)
    }

    /// Whether any leg is lent.
    fn any(&self) -> bool {
        self.serials.iter().any(|s| *s != 0)
    }

    /// Whether all borrowers answered in this round.
    fn all_answered(&self) -> bool {
        self.serials.iter().zip(&self.heard).all(|(serial, heard)| *serial == 0 || *heard == self.round)
    }

    /// The place of a loan.
    fn place(&self, serial: u32) -> Option<usize> {
        self.serials.iter().position(|s| *s == serial && serial != 0)
    }
}

/// A leg that another worker lent to this one.
#[derive(Clone, Copy, Debug)]
struct Borrowed {
    session: SessionId,
    /// The tunnel's number at home.
    tunnel: u32,
    /// 0 in a free row.
    serial: u32,
    /// Renewals that home did not answer.
    unanswered: u8,
    next_free: u32,
}

/// Both parts of one worker: what it lends and what it borrows.
pub struct Loans {
    rows: Box<[Borrowed]>,
    free: u32,
    len: usize,
    /// The latest loan's number.
    serial: u32,
    /// Loans that may still begin in this millisecond.
    budget: u32,
    /// Copies that home did not let go in time.
    pub(crate) unsettled: ArrayVec<SessionId, 64>,
    /// Messages that are to be sent, oldest first.
    pub(crate) outbox: Vec<(WorkerId, Message)>,
}

const NONE: u32 = u32::MAX;

impl Loans {
    /// Room for so many borrowed legs; with one worker there are none.
    #[must_use]
    pub fn new(capacity: usize, workers: u8) -> Self {
        let (capacity, outbox) = if workers > 1 { (capacity, OUTBOX) } else { (0, 0) };
        let n = u32::try_from(capacity).unwrap_or(NONE - 1);
        let next = |i: u32| if i + 1 == n { NONE } else { i + 1 };
        let row = |i| Borrowed { session: SessionId(NONE), tunnel: 0, serial: 0, unanswered: 0, next_free: next(i) };
        Self {
            rows: (0..n).map(row).collect(),
            free: if n == 0 { NONE } else { 0 },
            len: 0,
            serial: 0,
            budget: LENDS_PER_TICK,
            unsettled: ArrayVec::new(),
            outbox: Vec::with_capacity(outbox),
        }
    }

    /// Bytes that [`Loans::new`] takes.
    #[must_use]
    pub const fn memory(capacity: usize) -> usize {
        capacity * size_of::<Borrowed>()
    }

    /// Legs borrowed from other workers. Each is one of [`crate::flow::session::Sessions`].
    #[must_use]
    pub const fn borrowed(&self) -> usize {
        self.len
    }

    /// Puts a message into the outbox; whether there was room.
    fn say(&mut self, to: WorkerId, message: Message) -> bool {
        let room = self.outbox.len() < self.outbox.capacity();
        if room {
            self.outbox.push((to, message));
        }
        room
    }

    /// How many copies there may be; their numbers are below it.
    pub(crate) fn end(&self) -> u32 {
        u32::try_from(self.rows.len()).unwrap_or(u32::MAX)
    }

    /// Whether all that the end of one more tunnel calls for can be said.
    pub(crate) const fn has_room(&self) -> bool {
        self.outbox.capacity() == 0 || self.outbox.len() + 2 * LEGS <= self.outbox.capacity()
    }

    /// Another millisecond.
    pub(crate) const fn tick(&mut self) {
        self.budget = LENDS_PER_TICK;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loan_keeps_its_legs_place_when_another_leg_goes() {
        let mut lent = Lent::NONE;
        lent.serials[..4].copy_from_slice(&[1, 0, 3, 4]);
        lent.heard[..4].copy_from_slice(&[9, 0, 9, 8]);
        lent.round = 9;
        assert!(!lent.all_answered());
        lent.remove(1);
        assert_eq!((lent.serials[..4].to_vec(), lent.place(3), lent.place(0)), (vec![1, 3, 4, 0], Some(1), None));
        lent.remove(2);
        assert!(lent.all_answered() && lent.any());
        lent.serials[LEGS - 1] = 7;
        lent.remove(0);
        assert_eq!((lent.place(7), lent.place(1)), (Some(LEGS - 2), None));
    }

    #[test]
    fn one_worker_lends_and_borrows_nothing() {
        let loans = Loans::new(1000, 1);
        assert_eq!((loans.rows.len(), loans.outbox.capacity()), (0, 0));
        assert!(loans.has_room());
    }
}
