//! The worker's part in lending legs ([`crate::passthrough::loan`]): messages in and out, packets that wait until home has
//! let a leg go, and what goes home.
//!
//! A message is no packet, but travels in a buffer of the pool and by the packets' rings, so that it keeps its place among
//! them. In the account it is originated and handed off once the ring took it, handed in and consumed at the other end.

use super::Worker;
use super::tag::{Tag, Why};
use crate::flow::session::{SessionId, flags};
use crate::flow::tcp::State;
use crate::io::{Buf, Burst, Io};
use crate::link::neighbour::Resolved;
use crate::packet::{Class, Meta};
use crate::passthrough::loan::message::{self, Gone, Loan, Message, Say};
use crate::types::{Direction, PortId, Proto, Side, Tick, WorkerId};
use crate::verdict::{DropReason, Event};

use super::judge::Verdict;

/// How long packets wait for home's word; then they go there.
const WAIT_MS: u32 = 50;
/// Packets that wait, a worker: what comes for a few legs while a ring is emptied.
const CAPACITY: usize = 256;
/// Packets from outside of no known leg that go home in a millisecond.
const STRANGERS_PER_TICK: u32 = 1024;
/// Messages sent in a turn.
const MESSAGES_PER_TURN: usize = 128;

struct Held<B> {
    leg: SessionId,
    due: Tick,
    port: PortId,
    why: Why,
    buf: B,
}

/// See the module.
pub(super) struct Lending<B> {
    /// Oldest first.
    held: Vec<Held<B>>,
    /// Packets from outside that may still go home in this millisecond.
    strangers: u32,
}

impl<B> Lending<B> {
    /// Nothing waits.
    pub(super) fn new(workers: u8) -> Self {
        Self { held: Vec::with_capacity(if workers > 1 { CAPACITY } else { 0 }), strangers: STRANGERS_PER_TICK }
    }

    /// Takes out the oldest packet of a leg.
    fn take(&mut self, leg: SessionId) -> Option<Held<B>> {
        let at = self.held.iter().position(|h| h.leg == leg)?;
        Some(self.held.remove(at))
    }
}

impl<I: Io> Worker<I> {
    /// Data of a tunnel whose home is another worker: a leg that it lent goes on here, anything else there.
    pub(super) fn away_from_home(&mut self, side: Side, meta: &Meta) -> Option<Result<Verdict, Verdict>> {
        let data = matches!(meta.key.proto, Proto::ESP | Proto::L2TP) && meta.class != Class::IcmpError;
        if !data || self.rules.sharding.workers() == 1 {
            return None;
        }
        let home = self.rules.home_of_key(side, &meta.key);
        if home == self.me || self.stays_inside(side, meta) {
            return None;
        }
        let direction = if side == Side::Inside { Direction::Out } else { Direction::In };
        if let Some(leg) = self.nat.find_borrowed_key(&meta.key, direction) {
            let settled = self.nat.sessions.get(leg).is_some_and(|s| s.state == State::Established);
            return if settled { None } else { Some(Ok(Verdict::Hold(leg))) };
        }
        if side == Side::Outside {
            let Some(left) = self.lending.strangers.checked_sub(1) else {
                return Some(Err(DropReason::TunnelStrangers.into()));
            };
            self.lending.strangers = left;
        }
        Some(Ok(Verdict::Home(home)))
    }

    /// Whether a packet is from one inside network to another: nothing is translated there.
    fn stays_inside(&self, side: Side, meta: &Meta) -> bool {
        side == Side::Inside
            && self.rules.local(meta.key.dst).is_none()
            && self.rules.route(meta.key.dst).is_some_and(|r| self.rules.side(r.port) == Side::Inside)
    }

    /// Hands a tunnel's packet to its home, with what is known of it.
    pub(super) fn hand_home(&mut self, buf: I::Buf, home: WorkerId, port: PortId, why: Why) {
        let why = if matches!(why, Why::Learned(_)) { why } else { Why::Home };
        self.hand_over(buf, home, port, why);
    }

    /// Puts a packet aside until home has let its leg go. Without room the loan comes to nothing.
    pub(super) fn hold(&mut self, leg: SessionId, buf: I::Buf, port: PortId, meta: &Meta, why: Why) {
        if self.lending.held.len() >= self.lending.held.capacity() {
            let home = self.rules.home_of_key(self.rules.side(port), &key(meta, why));
            self.give_up(leg, Gone::Refused);
            return self.hand_home(buf, home, port, why);
        }
        self.counters.count(Event::Held, 1);
        self.lending.held.push(Held { leg, due: self.now.after(WAIT_MS), port, why, buf });
    }

    /// A borrowed leg ends here; what waited for it goes home, in order.
    fn give_up(&mut self, leg: SessionId, why: Gone) {
        let Some(remote) = self.nat.sessions.get(leg).map(|s| s.remote) else { return };
        // What this worker sent of the leg must leave before what home will send.
        self.flush_packets();
        if why == Gone::Refused {
            self.counters.count(Event::LegsDeclined, 1);
        }
        self.nat.give_back(leg, why);
        let home = self.rules.sharding.of_remote(remote);
        while let Some(h) = self.lending.take(leg) {
            self.counters.count(Event::Released, 1);
            self.hand_home(h.buf, home, h.port, h.why);
        }
    }

    /// Hears another worker.
    #[cold]
    #[inline(never)]
    pub(super) fn message(&mut self, buf: I::Buf) {
        let heard = Message::decode(buf.data());
        drop(buf);
        self.counters.count(Event::Consumed, 1);
        let Some(m) = heard else { return };
        let known = self.nat.find_borrowed(&m.loan);
        match (m.say, known) {
            (Say::Lend, _) => self.borrow(&m.loan),
            (Say::Go, Some(leg)) => self.go_on(leg),
            (Say::Return, Some(leg)) => self.give_up(leg, Gone::Asked),
            (Say::Keep | Say::Ask(_), Some(leg)) => self.nat.hear_lender(leg, m.say, self.now),
            (Say::Go | Say::Keep | Say::Ask(_), None) => self.nat.decline(&m.loan, Gone::Unknown),
            (Say::Return, None) => {}
            (Say::Ready | Say::Renew(_) | Say::Answer(..) | Say::Gone(..), _) => {
                self.nat.hear_borrower(&m, self.now);
            }
        }
    }

    /// Hears what another worker said before the end, as far as it is for the account.
    pub(super) fn last_message(&mut self, buf: I::Buf) {
        let heard = Message::decode(buf.data());
        drop(buf);
        self.counters.count(Event::Consumed, 1);
        if let Some(m) = heard.filter(|m| matches!(m.say, Say::Renew(_) | Say::Answer(..) | Say::Gone(..))) {
            self.nat.hear_borrower(&m, self.now);
        }
    }

    /// Home lends a leg: a copy is made if its packets could leave from here, and home hears when none goes there.
    fn borrow(&mut self, loan: &Loan) {
        if let Some(other) = self.nat.find_borrowed_key(&loan.key(), loan.direction) {
            self.give_up(other, Gone::Replaced);
        }
        let to = if loan.direction == Direction::Out { loan.remote } else { loan.inside };
        let reach = self.rules.route(to);
        let inside_port = self.rules.route(loan.inside).map(|r| r.port);
        let hop = reach.and_then(|r| self.hops.find_or_add(r.port, r.via, loan.inside, self.now));
        let ready = hop.is_some_and(|hop| matches!(self.hops.resolve(hop), Some(Resolved::Ready(..))));
        if let Some(hop) = hop
            && !ready
            && let Some((port, addr)) = self.hops.ask_now(hop, self.now)
        {
            self.send_arp_request(port, addr, None);
        }
        let borrowed = match (hop, inside_port) {
            (Some(hop), Some(port)) if ready => self.nat.borrow(loan, hop, port, self.now),
            _ => None,
        };
        if borrowed.is_some() {
            self.nat.tell_home(loan, Say::Ready);
        } else {
            self.counters.count(Event::LegsDeclined, 1);
            self.nat.decline(loan, Gone::Refused);
        }
    }

    /// Home has sent all that this worker had handed over of a leg.
    fn go_on(&mut self, leg: SessionId) {
        self.nat.settle_borrowed(leg, self.now);
        while let Some(h) = self.lending.take(leg) {
            self.counters.count(Event::Released, 1);
            self.judge_again(h.port, h.buf, h.why);
        }
    }

    /// Once a millisecond.
    pub(super) fn sweep_loans(&mut self) {
        self.lending.strangers = STRANGERS_PER_TICK;
        self.nat.vpn.loans.tick();
        while let Some(leg) = self.lending.held.first().filter(|h| self.now.reached(h.due)).map(|h| h.leg) {
            self.give_up(leg, Gone::Refused);
        }
    }

    /// Ends copies that home did not let go in time.
    pub(super) fn end_unsettled(&mut self) {
        while let Some(leg) = self.nat.vpn.loans.unsettled.pop() {
            let s = self.nat.sessions.get(leg);
            if s.is_some_and(|s| s.is_tunnels() && s.is(flags::BORROWED) && s.state != State::Established) {
                self.give_up(leg, Gone::Refused);
            }
        }
    }

    /// Sends what is to be said, as far as the rings take it.
    pub(super) fn send_messages(&mut self) {
        if self.nat.vpn.loans.outbox.is_empty() {
            return;
        }
        let mut outbox = std::mem::take(&mut self.nat.vpn.loans.outbox);
        let (mut refused, mut sent) = (0u64, 0);
        outbox.retain(|(to, m)| {
            let bit = 1u64.checked_shl(u32::from(to.0)).unwrap_or(0);
            // What comes later to the same worker must not overtake.
            let goes = refused & bit == 0 && sent < MESSAGES_PER_TURN && self.send_message(*to, m);
            sent += usize::from(goes);
            refused |= if goes { 0 } else { bit };
            !goes
        });
        self.nat.vpn.loans.outbox = outbox;
    }

    fn send_message(&mut self, to: WorkerId, m: &Message) -> bool {
        let Some(mut buf) = self.io.allocate() else { return false };
        if !buf.append(message::LEN) {
            return false;
        }
        buf.data_mut().copy_from_slice(&m.encode());
        buf.set_tag(Tag { why: Why::Message, port: PortId(0) }.pack());
        let mut one = Burst::new();
        one.push(buf);
        self.io.hand_over(to, &mut one);
        if one.is_empty() {
            for event in [Event::Originated, Event::HandedOff, Event::Messages] {
                self.counters.count(event, 1);
            }
        }
        one.is_empty()
    }

    /// At the end: what still waits.
    pub(super) fn drop_lending(&mut self) {
        while let Some(h) = self.lending.held.pop() {
            self.counters.count(Event::Released, 1);
            self.drop(h.buf, DropReason::Shutdown);
        }
    }
}

/// The key that a packet was steered by.
const fn key(meta: &Meta, why: Why) -> crate::types::Key {
    match why {
        Why::Learned(learned) => learned.key(&meta.key),
        _ => meta.key,
    }
}
