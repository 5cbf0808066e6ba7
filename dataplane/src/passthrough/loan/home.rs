//! The lender's part. The rules of lending stand in [`super`].

use super::message::{Gone, Loan, Message, Say, Usage};
use super::{AGAIN_MS, ASK_MS, LEGS, QUESTIONS, UNASKED_USES};
use crate::flow::session::{SessionId, flags};
use crate::flow::tcp;
use crate::nat::Nat;
use crate::passthrough::tunnel::{self, State, Tunnel, TunnelId};
use crate::types::{Direction, Proto, Tick, WorkerId};
use crate::verdict::Event;

impl Nat {
    /// A leg's packet went by home. If the leg is settled and another worker owns its identifier, that one gets it.
    pub(crate) fn lend(&mut self, leg: SessionId, now: Tick) {
        if self.vpn.loans.budget == 0 || self.rules.sharding.workers() == 1 {
            return;
        }
        let Some(s) = self.sessions.get(leg).copied() else { return };
        let settled = matches!(s.proto, Proto::ESP | Proto::L2TP) && s.state == tcp::State::Established;
        if !settled || s.is(flags::HAIRPIN | flags::BORROWED) {
            return;
        }
        let Some(key) = s.key_of_leg() else { return };
        let owner = self.rules.sharding.of_tunnel_id(key.ident);
        if owner == self.me || (s.is(flags::UNASKED) && s.traffic().0 < UNASKED_USES) {
            return;
        }
        let number = self.vpn.loans.serial.wrapping_add(1).max(1);
        let Some(t) = self.vpn.tunnels.get_mut(TunnelId(s.owner)).filter(|t| t.state == State::Confirmed) else {
            return;
        };
        let Some(place) = t.legs.iter().position(|l| *l == leg) else { return };
        let Some(serial) = t.lent.serials.get_mut(place) else { return };
        // On its way, or lost.
        let lately = *serial != 0 && now.since(t.lent.lent_at) < AGAIN_MS;
        if lately || !now.reached(t.lent.not_before) {
            return;
        }
        let Some(loan) = Loan::of(&s, s.owner, number) else { return };
        if !self.vpn.loans.say(owner, Message { loan, say: Say::Lend }) {
            return;
        }
        *serial = number;
        t.lent.lent_at = now;
        self.vpn.loans.serial = number;
        self.vpn.loans.budget -= 1;
        self.counters.count(Event::LegsLent, 1);
    }

    /// Takes a leg back, if it is lent: it ends, or is to be looked at one by one. Its traffic will follow.
    pub(in crate::passthrough) fn take_back(&mut self, id: TunnelId, leg: SessionId) {
        let Some(s) = self.sessions.get(leg).copied() else { return };
        let Some(t) = self.vpn.tunnels.get_mut(id) else { return };
        let place = t.legs.iter().position(|l| *l == leg);
        let Some(serial) = place.and_then(|at| t.lent.serials.get_mut(at)).map(std::mem::take) else { return };
        if serial != 0
            && let Some(loan) = Loan::of(&s, id.0, serial)
        {
            self.say(self.rules.sharding.of_tunnel_id(loan.ident), Message { loan, say: Say::Return });
        }
    }

    /// A leg's time is over as far as home knows. Whether that is not certain yet: others of its tunnel are lent, and
    /// their borrowers are asked; the leg comes up again.
    pub(crate) fn asks_borrowers(&mut self, leg: SessionId, now: Tick) -> bool {
        let Some(id) = self.sessions.get(leg).map(|s| TunnelId(s.owner)) else { return false };
        let Some(t) = self.vpn.tunnels.get_mut(id).filter(|t| t.lent.any()) else { return false };
        let waits = t.lent.asked > 0 && now.since(t.lent.asked_at) < ASK_MS;
        if !waits {
            if t.lent.asked >= QUESTIONS {
                // What is known must do.
                t.lent.asked = 0;
                return false;
            }
            t.lent.asked += 1;
            t.lent.asked_at = now;
            t.lent.round = t.lent.round.wrapping_add(1);
            let (legs, lent) = (t.legs, t.lent);
            for (leg, serial) in legs.into_iter().zip(lent.serials).filter(|(_, serial)| *serial != 0) {
                let loan = self.sessions.get(leg).and_then(|s| Loan::of(s, id.0, serial));
                if let Some(loan) = loan {
                    let owner = self.rules.sharding.of_tunnel_id(loan.ident);
                    self.say(owner, Message { loan, say: Say::Ask(lent.round) });
                }
            }
        }
        self.sessions.look_again(leg, now.after(ASK_MS));
        true
    }

    /// What a borrower says.
    pub(crate) fn hear_borrower(&mut self, m: &Message, now: Tick) {
        let (loan, id) = (&m.loan, TunnelId(m.loan.tunnel));
        let ours = |t: &&mut Tunnel| {
            t.kind.proto() == loan.proto && (t.inside, t.outside, t.remote) == (loan.inside, loan.outside, loan.remote)
        };
        let known = self.vpn.tunnels.get_mut(id).filter(ours);
        let place = known.as_ref().and_then(|t| t.lent.place(loan.serial));
        if let Say::Renew(usage) | Say::Answer(_, usage) | Say::Gone(_, usage) = m.say
            && let Some(t) = known
        {
            add(t, loan.direction, usage);
            if let Some(leg) = place.and_then(|at| t.legs.get(at).copied())
                && let Some(s) = self.sessions.get_mut(leg)
                && usage.last_used.reached(s.last_used)
            {
                s.last_used = usage.last_used;
            }
        }
        let owner = self.rules.sharding.of_tunnel_id(loan.ident);
        match (m.say, place) {
            (Say::Ready, Some(_)) => self.say(owner, Message { loan: *loan, say: Say::Go }),
            (Say::Renew(_), Some(_)) => self.say(owner, Message { loan: *loan, say: Say::Keep }),
            (Say::Ready | Say::Renew(_) | Say::Answer(..), None) => {
                self.say(owner, Message { loan: *loan, say: Say::Return });
            }
            (Say::Answer(round, _), Some(at)) => {
                if let Some(t) = self.vpn.tunnels.get_mut(id)
                    && let Some(heard) = t.lent.heard.get_mut(at)
                {
                    *heard = round;
                }
                self.weigh(id, now);
            }
            (Say::Gone(why, _), Some(at)) => {
                if let Some(t) = self.vpn.tunnels.get_mut(id) {
                    if let Some(serial) = t.lent.serials.get_mut(at) {
                        *serial = 0;
                    }
                    if matches!(why, Gone::Refused | Gone::Lapsed) {
                        t.lent.not_before = now.after(AGAIN_MS);
                    }
                }
                self.weigh(id, now);
            }
            (Say::Gone(..), None) => {}
            // The borrower's to hear.
            (Say::Lend | Say::Go | Say::Keep | Say::Ask(_) | Say::Return, _) => {}
        }
    }

    /// All borrowers have answered: which legs are over?
    fn weigh(&mut self, id: TunnelId, now: Tick) {
        let Some(t) = self.vpn.tunnels.get_mut(id).filter(|t| t.lent.asked > 0 && t.lent.all_answered()) else {
            return;
        };
        t.lent.asked = 0;
        let legs: [SessionId; LEGS] = t.legs;
        for leg in legs {
            let Some(s) = self.sessions.get(leg).filter(|s| s.is_tunnels() && s.owner == id.0) else { continue };
            let deadline = self.leg_deadline(s);
            if now.reached(deadline) {
                self.expire_leg(leg);
            } else {
                self.sessions.look_again(leg, deadline);
            }
        }
    }

    /// Puts a message into the outbox, or counts it as lost.
    pub(super) fn say(&mut self, to: WorkerId, message: Message) {
        if !self.vpn.loans.say(to, message) {
            self.counters.count(Event::MessagesLost, 1);
        }
    }
}

fn add(t: &mut Tunnel, direction: Direction, usage: Usage) {
    if let Some((packets, bytes)) = t.ended.get_mut(tunnel::of(direction)) {
        (*packets, *bytes) = (packets.saturating_add(usage.packets), bytes.saturating_add(usage.bytes));
    }
}
