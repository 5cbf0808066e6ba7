//! The borrower's part. The rules of lending stand in [`super`].

use super::message::{Gone, Loan, Message, Say, Usage};
use super::{Borrowed, LEASE_MS, Loans, NONE, RENEW_MS, RENEWALS};
use crate::flow::session::{NewLeg, Session, SessionId, flags};
use crate::flow::tcp;
use crate::link::neighbour::HopId;
use crate::nat::Nat;
use crate::types::{Direction, Key, PortId, Tick};
use crate::verdict::Event;

impl Loans {
    fn open(&mut self, tunnel: u32, serial: u32) -> Option<u32> {
        let at = self.free;
        let row = self.rows.get_mut(at as usize)?;
        self.free = row.next_free;
        *row = Borrowed { session: SessionId(NONE), tunnel, serial, unanswered: 0, next_free: NONE };
        self.len += 1;
        Some(at)
    }

    fn close(&mut self, at: u32) {
        let next_free = self.free;
        if let Some(row) = self.rows.get_mut(at as usize).filter(|r| r.serial != 0) {
            (row.serial, row.next_free) = (0, next_free);
            self.free = at;
            self.len -= 1;
        }
    }

    fn row(&mut self, at: u32) -> Option<&mut Borrowed> {
        self.rows.get_mut(at as usize).filter(|r| r.serial != 0)
    }
}

impl Nat {
    /// The leg that a loan is about, if this worker has it.
    pub(crate) fn find_borrowed(&mut self, loan: &Loan) -> Option<SessionId> {
        let id = self.find_borrowed_key(&loan.key(), loan.direction)?;
        let owner = self.sessions.get(id)?.owner;
        self.vpn.loans.row(owner).filter(|r| (r.tunnel, r.serial) == (loan.tunnel, loan.serial)).map(|_| id)
    }

    /// The borrowed leg whose packets arrive with a key.
    pub(crate) fn find_borrowed_key(&self, key: &Key, direction: Direction) -> Option<SessionId> {
        self.sessions.find(key, direction).filter(|id| self.sessions.get(*id).is_some_and(|s| s.is(flags::BORROWED)))
    }

    /// Makes the copy of a leg that is lent; it is not settled before home says so. Whether there was room.
    pub(crate) fn borrow(&mut self, loan: &Loan, hop: HopId, inside_port: PortId, now: Tick) -> Option<SessionId> {
        let row = self.vpn.loans.open(loan.tunnel, loan.serial)?;
        let new = NewLeg {
            proto: loan.proto,
            direction: loan.direction,
            inside: loan.inside,
            outside: loan.outside,
            remote: loan.remote,
            arrives: loan.ident,
            leaves: loan.ident,
            tunnel: row,
            flags: flags::BORROWED,
            inside_port,
        };
        let Ok(id) = self.sessions.open_leg(&new, now, RENEW_MS) else {
            self.vpn.loans.close(row);
            return None;
        };
        if let Some(s) = self.sessions.get_mut(id) {
            *(if loan.direction == Direction::Out { &mut s.hop_out } else { &mut s.hop_in }) = hop;
        }
        if let Some(row) = self.vpn.loans.row(row) {
            row.session = id;
        }
        Some(id)
    }

    /// Home says: go on yourself. Whether there is something to go on with.
    pub(crate) fn settle_borrowed(&mut self, id: SessionId, now: Tick) {
        if let Some(s) = self.sessions.get_mut(id) {
            s.state = tcp::State::Established;
            self.sessions.look_again(id, now.after(LEASE_MS));
        }
    }

    /// Ends a copy, and tells home what it did.
    pub(crate) fn give_back(&mut self, id: SessionId, why: Gone) {
        let Some(s) = self.sessions.get(id).filter(|s| s.is(flags::BORROWED)).copied() else { return };
        self.sessions.close(id);
        let row = self.vpn.loans.row(s.owner).copied();
        self.vpn.loans.close(s.owner);
        if let Some(loan) = row.and_then(|r| Loan::of(&s, r.tunnel, r.serial)) {
            self.tell_home(&loan, Say::Gone(why, usage(&s)));
        }
    }

    /// A loan comes to nothing here.
    pub(crate) fn decline(&mut self, loan: &Loan, why: Gone) {
        self.tell_home(loan, Say::Gone(why, Usage::default()));
    }

    /// Says something to the lender.
    pub(crate) fn tell_home(&mut self, loan: &Loan, say: Say) {
        self.say(self.rules.sharding.of_remote(loan.remote), Message { loan: *loan, say });
    }

    /// A copy's time has come: it goes back if it was not used, or home is asked for another lease.
    pub(crate) fn lease_over(&mut self, id: SessionId, now: Tick) {
        let Some(s) = self.sessions.get(id).copied() else { return };
        let Some(row) = self.vpn.loans.row(s.owner).map(|r| *r) else { return };
        if s.state != tcp::State::Established {
            // Packets may wait for it: the worker ends it.
            if self.vpn.loans.unsettled.try_push(id).is_err() {
                self.sessions.look_again(id, now.after(RENEW_MS));
            }
        } else if row.unanswered >= RENEWALS {
            self.give_back(id, Gone::Lapsed);
        } else if now.since(s.last_used) >= LEASE_MS {
            self.give_back(id, Gone::Idle);
        } else {
            self.report(id, Say::Renew);
            if let Some(row) = self.vpn.loans.row(s.owner) {
                row.unanswered += 1;
            }
            self.sessions.look_again(id, now.after(RENEW_MS));
        }
    }

    /// What home says of a copy that is known, save what [`crate::worker`] does itself.
    pub(crate) fn hear_lender(&mut self, id: SessionId, say: Say, now: Tick) {
        match say {
            Say::Ask(round) => self.report(id, |usage| Say::Answer(round, usage)),
            Say::Keep => {
                let owner = self.sessions.get(id).map_or(NONE, |s| s.owner);
                if let Some(row) = self.vpn.loans.row(owner) {
                    row.unanswered = 0;
                    self.sessions.look_again(id, now.after(LEASE_MS));
                }
            }
            _ => {}
        }
    }

    /// Tells home what a copy did, and counts anew once that is on its way.
    fn report(&mut self, id: SessionId, say: impl FnOnce(Usage) -> Say) {
        let Some(s) = self.sessions.get(id).copied() else { return };
        let Some(row) = self.vpn.loans.row(s.owner).map(|r| *r) else { return };
        let Some(loan) = Loan::of(&s, row.tunnel, row.serial) else { return };
        let message = Message { loan, say: say(usage(&s)) };
        if !self.vpn.loans.say(self.rules.sharding.of_remote(loan.remote), message) {
            self.counters.count(Event::MessagesLost, 1);
        } else if let Some(s) = self.sessions.get_mut(id) {
            s.take_traffic();
        }
    }

    /// A copy by its number, with what it did and home does not know yet.
    pub(in crate::passthrough) fn copy(&self, number: u32) -> Option<(Loan, Usage)> {
        let row = self.vpn.loans.rows.get(number as usize).filter(|r| r.serial != 0)?;
        let s = self.sessions.get(row.session)?;
        Some((Loan::of(s, row.tunnel, row.serial)?, usage(s)))
    }

    /// Copies of legs that other workers have, with what they did and home does not know yet.
    pub(in crate::passthrough) fn unreported(&self) -> impl Iterator<Item = (Loan, Usage)> + '_ {
        let copies = (0..self.vpn.loans.end()).filter_map(|n| self.copy(n));
        let unsent = self.vpn.loans.outbox.iter().filter_map(|(_, m)| match m.say {
            Say::Renew(usage) | Say::Answer(_, usage) | Say::Gone(_, usage) => Some((m.loan, usage)),
            Say::Lend | Say::Go | Say::Keep | Say::Ask(_) | Say::Return | Say::Ready => None,
        });
        copies.chain(unsent)
    }
}

const fn usage(s: &Session) -> Usage {
    let (packets, bytes) = s.traffic();
    Usage { last_used: s.last_used, packets, bytes }
}
