//! An inward identifier that was given to a host while others waited too: whose it is shows by the answers.
//!
//! While it is in doubt, its packets and those of all who may be meant are looked at one by one, and hosts ask in turn
//! ([`super::gate`]): a packet under an identifier in doubt that comes in somebody's turn is its answer. That is a vote.
//! Votes for whom it was given to make it certain; one more against than for, and it moves to the one who asked. Two
//! hosts that have each other's get their own so, one after the other, as soon as each has sent once or twice.
//!
//! A server that speaks unasked gives votes that mean nothing, so more than one decides. Where no host ever asks, or no
//! answer comes within a turn, nothing tells any observer whose an identifier is: two streams that do not answer to
//! anything look the same whoever gets them. Such a doubt ends, unresolved, after [`SEEN`] packets.

use super::pairing::Sure;
use super::tunnel::{Doubt, State, Tunnel, TunnelId};
use crate::flow::session::{Session, SessionId, flags};
use crate::flow::tcp;
use crate::nat::Nat;
use crate::types::{Direction, Proto, Tick};
use crate::verdict::Event;
use arrayvec::ArrayVec;
use std::net::Ipv4Addr;

/// Votes that make it certain.
const CERTAIN: u8 = 3;
/// Packets until a doubt ends.
const SEEN: u8 = 64;
/// Who sent within this, in milliseconds,
const SENDS_MS: u32 = 5_000;
/// and heard nothing within this, is deaf.
const DEAF_MS: u32 = 1_000;
/// They are looked for so often at most,
const WAKE_MS: u32 = 100;
/// among so many.
const LOOKS: usize = 32;

/// Whether a leg is one whose owner is found out rather than known.
pub(super) fn is_found_out(s: &Session) -> bool {
    matches!(s.proto, Proto::ESP | Proto::L2TP) && !s.is(flags::HAIRPIN)
}

impl Nat {
    /// A leg may be another's.
    pub(super) fn doubt(&mut self, id: TunnelId, leg: SessionId, votes: u8, now: Tick) {
        if !self.sessions.get(leg).is_some_and(is_found_out) {
            return;
        }
        let Some(t) = self.vpn.tunnels.get_mut(id) else { return };
        let free = t.doubts.iter().position(|d| *d == Doubt::NONE).unwrap_or(0);
        if let Some(rest) = t.doubts.get_mut(free..) {
            rest.rotate_left(1);
        }
        if let Some(latest) = t.doubts.last_mut() {
            *latest = Doubt { leg, votes, seen: 0, since: now };
        }
        t.watch();
    }

    /// An identifier came that nobody waits for. Those whose inside hosts send, and hear nothing, wait again: what they got
    /// was another's, or forged. Says whether there are any. Bounded in tunnels, and in how often.
    pub(super) fn wake_deaf(
        &mut self,
        proto: Proto,
        (remote, outside): (Ipv4Addr, Ipv4Addr),
        forwarded: bool,
        now: Tick,
    ) -> bool {
        let Some(g) = self.vpn.tunnels.gateway_mut(proto, remote, outside) else { return false };
        // The only one gets it anyway, and what is nobody's goes to a forward's host, if there is one.
        if g.count < 2 || forwarded || g.woke_at.is_some_and(|at| now.since(at) < WAKE_MS) {
            return false;
        }
        g.woke_at = Some(now);
        let is_deaf = |t: &Tunnel| {
            // What is lent is in use, as far as is known here.
            let used = |way, within| {
                t.legs.iter().enumerate().any(|(at, leg)| {
                    let s = self.sessions.get(*leg).filter(|s| is_found_out(s) && s.leg_direction() == Some(way));
                    s.is_some_and(|s| t.lent.is_lent(at) || now.since(s.last_used) < within)
                })
            };
            t.state != State::Closing && used(Direction::Out, SENDS_MS) && !used(Direction::In, DEAF_MS)
        };
        let all = self.vpn.tunnels.of_gateway(proto, remote, outside).take(LOOKS);
        let deaf: ArrayVec<TunnelId, LOOKS> = all.filter(|(_, t)| is_deaf(t)).map(|(id, _)| id).collect();
        for &id in &deaf {
            let Some(t) = self.vpn.tunnels.get_mut(id) else { continue };
            (t.halves, t.half_at, t.ahead) = (1, now, 0);
            t.watch();
            let legs = t.legs;
            self.vpn.tunnels.place(id, true);
            // Their questions are to be seen.
            for leg in legs {
                let outward = |s: &&mut Session| s.leg_direction() == Some(Direction::Out);
                if let Some(s) = self.sessions.get_mut(leg).filter(outward) {
                    s.state = tcp::State::Opening;
                    self.take_back(id, leg);
                }
            }
        }
        !deaf.is_empty()
    }

    /// The slow path saw a leg's packet from outside: whose question it answers. Returns the leg to use.
    pub(crate) fn leg_received(&mut self, leg: SessionId, now: Tick) -> SessionId {
        let Some(s) = self.sessions.get(leg).filter(|s| !s.is(flags::BORROWED)).copied() else { return leg };
        let id = TunnelId(s.owner);
        if !is_found_out(&s) || s.state == tcp::State::Established {
            return leg;
        }
        let Some(asker) = self.vpn.tunnels.gateway_of(id).map(|g| g.turn.asker(now)) else { return leg };
        if asker == Some(id) {
            self.answered(id, now);
        }
        // Who did not wait when it came cannot be meant: nobody takes another one's by beginning to ask.
        let waited = asker.and_then(|a| self.vpn.tunnels.get(a)).map(|t| (t.half_at, t.evidence_at));
        let Some(t) = self.vpn.tunnels.get_mut(id) else { return leg };
        let Some(doubt) = t.doubts.iter_mut().find(|d| d.leg == leg) else { return leg };
        doubt.seen = doubt.seen.saturating_add(1);
        let since = doubt.since;
        let may = |(half, evidence): (Tick, Tick)| since.reached(half) || since.reached(evidence);
        match asker.filter(|asker| *asker == id || waited.is_some_and(may)) {
            Some(asker) if asker == id => doubt.votes = doubt.votes.saturating_add(1),
            Some(asker) if doubt.votes == 0 => return self.move_leg(leg, id, asker, now),
            Some(asker) => {
                doubt.votes -= 1;
                self.answered(asker, now);
            }
            None => {}
        }
        self.look_at_doubt(id, leg, now);
        leg
    }

    /// Ends a doubt that became certain, or that nothing will resolve.
    fn look_at_doubt(&mut self, id: TunnelId, leg: SessionId, now: Tick) {
        let Some(t) = self.vpn.tunnels.get_mut(id) else { return };
        let over = |d: &&mut Doubt| d.leg == leg && (d.votes >= CERTAIN || d.seen >= SEEN);
        let Some(doubt) = t.doubts.iter_mut().find(over) else { return };
        *doubt = Doubt::NONE;
        let confirmed = t.state == State::Confirmed;
        self.settle_legs(id, confirmed, now);
    }

    /// The server answered a tunnel, in its turn.
    fn answered(&mut self, id: TunnelId, now: Tick) {
        if let Some(g) = self.vpn.tunnels.gateway_of(id) {
            g.turn.took_since(id, now);
            g.turn.answered(id);
        }
        if let Some(t) = self.vpn.tunnels.get_mut(id) {
            t.asks = 0;
        }
    }

    /// A leg is the other one's.
    fn move_leg(&mut self, leg: SessionId, id: TunnelId, to: TunnelId, now: Tick) -> SessionId {
        let Some(s) = self.sessions.get(leg).copied() else { return leg };
        self.drop_leg(id, leg);
        let is_inward = |l| self.sessions.get(l).is_some_and(|s| s.leg_direction() == Some(Direction::In));
        if let Some(t) = self.vpn.tunnels.get_mut(id) {
            // It waits again, if it did before it got this.
            if t.ahead > 0 {
                t.ahead -= 1;
            } else {
                t.halves = t.halves.saturating_add(1).min(8);
            }
            t.watch();
            let pending = t.state != State::Closing && !t.legs().any(is_inward);
            if pending {
                self.vpn.tunnels.set_state(id, State::Pending);
            }
            self.vpn.tunnels.place(id, true);
        }
        self.counters.count(Event::EspRebound, 1);
        self.bind(to, (s.proto, s.key(Direction::In).ident), false, Sure::Voted, now).unwrap_or(leg)
    }
}
