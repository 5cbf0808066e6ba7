//! IKE on UDP 500: what its 28-byte header shows [RFC 7296 §3.1, RFC 2408 §3.1]; payloads are not read.
//!
//! **Evidence.** IKEv1's Quick Mode, and IKEv2's IKE_AUTH and CREATE_CHILD_SA, make ESP security associations. When such
//! an exchange of an inside host with a gateway has ended, an inbound SPI for it is due ([`super::pairing`]). What is
//! not encrypted counts for nothing, and the rounds of one log-in count once.
//!
//! **Port 500 kept.** For responders that insist on it, every inside host sends from port 500 of its outside address,
//! and answers are told apart by the security association's SPIs (cookies, in IKEv1): the initiator's, else the
//! responder's, else the server has one inside host here, else the one that was active last (counted). What inside hosts
//! send teaches; what comes from outside may only add to what is known, so that a forger cannot push it out.

use super::inspect;
use super::legs::Came;
use super::tunnel::{Exchange, Kind, State, Tunnel, TunnelId};
use crate::flow::session::{Session, SessionId};
use crate::flow::tcp;
use crate::nat::Nat;
use crate::packet::Meta;
use crate::types::{Direction, Endpoint, Inside, Key, Proto, Tick};
use crate::verdict::{DropReason, Event};
use crate::wire::ike::Ike;
use std::net::Ipv4Addr;

/// Inside hosts with one server that are compared.
const LOOKS: usize = 256;

impl Nat {
    /// Shows an IKE message of a known session, before it goes on.
    ///
    /// # Errors
    /// [`DropReason::IpsecWaits`]: another inside host is at it.
    pub(crate) fn inspect_ike(
        &mut self,
        s: &Session,
        by: Direction,
        ike: &Ike,
        came: Came,
        now: Tick,
    ) -> Result<(), DropReason> {
        let Ok(outside) = self.tunnel_address(Proto::ESP, s.inside) else { return Ok(()) };
        let known = self.vpn.tunnels.find(Kind::Esp, s.inside, outside, s.remote);
        if !ike.makes_child() {
            // What follows an exchange, before any data.
            if let Some(id) = known.filter(|_| by == Direction::Out && ike.major == 2)
                && self.vpn.tunnels.get(id).is_some_and(|t| t.evidence > 0 && t.halves == 0)
            {
                self.shorten_gate(id, now);
            }
            return Ok(());
        }
        let message = Exchange { initiator: ike.initiator, message: ike.message_id, kind: ike.exchange, step: 1 };
        let same = |e: &Exchange| e.step > 0 && Exchange { step: 1, ..*e } == message;
        // Who began it: version 2 marks responses; in version 1, whose exchange is known by its identifier, or this is the
        // first message.
        let exchanges = known.and_then(|id| self.vpn.tunnels.get(id)).map_or_else(Default::default, |t| t.exchanges);
        let side = usize::from(by == Direction::In);
        let begun_by = match (ike.major, exchanges.iter().position(same)) {
            (2, _) if ike.is_response() => 1 - side,
            (2, _) | (_, None) => side,
            (_, Some(begun_by)) => begun_by,
        };
        let before = exchanges.get(begun_by).filter(|e| same(e)).map_or(0, |e| e.step);
        let begins = before == 0 && begun_by == side;
        // What the inside host says first in it: a request, or what it says to the gateway's.
        let first_word = by == Direction::Out && (begins || (before == 1 && begun_by != side));
        if first_word {
            self.pass_gate(Proto::ESP, known, (outside, s.remote), came, now)?;
        }
        // No room for the record means no evidence, and no more.
        let Ok(id) = self.tunnel(Kind::Esp, (s.inside, outside, s.remote), by, now) else { return Ok(()) };
        let gate = self.rules.policy.passthrough.gate;
        // What comes from outside keeps nobody waiting: it may be forged.
        if first_word {
            self.take_gate(id, now);
        }
        let Some(t) = self.vpn.tunnels.get_mut(id) else { return Ok(()) };
        // Version 2 has a request and a response; Quick Mode three messages, each by the other side than the one before.
        let last = if ike.major == 2 { 2 } else { 3 };
        let step = match before {
            0 if begins => 1,
            1 if begun_by != side => 2,
            2 if begun_by == side && last == 3 => 3,
            unchanged => unchanged,
        };
        let ended = before < last && step == last;
        let took = (before == 1 && step == 2 && begun_by != side && by == Direction::In).then_some(t.exchange_at);
        if let Some(e) = t.exchanges.get_mut(begun_by).filter(|_| step > 0) {
            // Of several rounds of authentication only the last one makes a child [RFC 7296 §2.16].
            let again = begins && e.step == last && (e.kind, e.initiator) == (message.kind, message.initiator);
            if again && ike.is_auth() {
                t.evidence = t.evidence.saturating_sub(1);
            }
            *e = Exchange { step, ..message };
            t.exchange_at = now;
        }
        if ended {
            // What lapsed counts no more.
            let before = if t.has_evidence(now, gate) { t.evidence } else { 0 };
            t.evidence = before.saturating_add(1).min(8);
            t.evidence_at = now;
            self.vpn.tunnels.place(id, true);
        }
        if ended {
            self.prolong_gate(id, now);
        }
        if let Some(since) = took
            && let Some(g) = self.vpn.tunnels.gateway_of(id)
        {
            g.turn.took(now.since(since));
        }
        Ok(())
    }

    /// IKE from port 500 to port 500 that keeps its port.
    pub(crate) fn ike_out(&mut self, meta: &Meta, hairpin: bool, now: Tick) -> Option<Result<SessionId, DropReason>> {
        let Key { src, dst, ident, proto } = meta.key;
        if self.rules.static_out(proto, Inside(meta.key.from())).is_some() {
            return None;
        }
        let outside = self.paired_address(src)?;
        if !self.rules.keeps_ike_port(Endpoint::new(outside, meta.key.src_port())) {
            return None;
        }
        Some(self.tunnel(Kind::Ike, (src, outside, dst), Direction::Out, now).and_then(|id| {
            let leg = self.add_leg(id, Direction::Out, (proto, ident, ident), hairpin, DropReason::Clash, now);
            if leg.is_err() {
                self.end_tunnel(id);
            }
            leg
        }))
    }

    /// Whose is IKE from a server, where several inside hosts are behind port 500?
    pub(super) fn ike_in(&mut self, key: &Key, ike: &Ike) -> Option<SessionId> {
        let (remote, outside) = (key.src, key.dst);
        let all = || self.vpn.tunnels.of_gateway(Proto::UDP, remote, outside).take(LOOKS);
        let by = |fits: &dyn Fn(&(u64, u64)) -> bool| {
            all().find(|(_, t)| t.spis.iter().any(|s| *s != (0, 0) && fits(s))).map(|(id, _)| id)
        };
        let exact = by(&|s| s.0 == ike.initiator && (s.1 == ike.responder || s.1 == 0 || ike.responder == 0))
            .or_else(|| by(&|s| s.1 != 0 && s.1 == ike.responder))
            // A forged answer may have come first.
            .or_else(|| by(&|s| s.0 == ike.initiator));
        let found = match exact {
            Some(id) => Some(id),
            None => {
                let mut hosts = 0;
                let mut latest: Option<(TunnelId, Tick)> = None;
                for (id, t) in all() {
                    let Some(s) = t.legs().next().and_then(|l| self.sessions.get(l)) else { continue };
                    hosts += 1;
                    if latest.is_none_or(|(_, used)| s.last_used.reached(used)) {
                        latest = Some((id, s.last_used));
                    }
                }
                if hosts > 1 {
                    self.counters.count(Event::IkeAmbiguous, 1);
                }
                latest.map(|(id, _)| id)
            }
        };
        let id = found?;
        let t = self.vpn.tunnels.get_mut(id)?;
        learn_from_outside(t, ike);
        let (leg, pending) = (t.legs().next()?, t.state == State::Pending);
        if exact.is_some() && pending {
            self.vpn.tunnels.set_state(id, State::Paired);
        }
        Some(leg)
    }

    /// The same for a later fragment, which shows no IKE.
    pub(super) fn ike_piece(&self, key: &Key, id: u16, now: Tick) -> Option<SessionId> {
        let piece = self.vpn.pieces.find((key.src, key.dst, id), now, self.rules.policy.timeouts.fragments)?;
        // The session's number may be another's by now.
        let s = self.sessions.get(piece.leg)?;
        let t = self.vpn.tunnels.get(TunnelId(s.owner)).filter(|_| s.is_tunnels())?;
        let same = t.kind == Kind::Ike && (t.inside, t.outside, t.remote) == (piece.inside, key.dst, key.src);
        same.then_some(piece.leg)
    }

    /// Where the later fragments of a datagram go whose first one was judged; nowhere if it was refused.
    pub(super) fn note_ike_piece(&mut self, key: &Key, id: u16, leg: Option<SessionId>, now: Tick) {
        let known = leg.and_then(|leg| self.sessions.get(leg).map(|s| (leg, s.inside)));
        self.vpn.pieces.note((key.src, key.dst, id), known, now);
    }

    /// Whether a session is IKE that the inside host took part in and whose ESP is in use: it may be silent for as long
    /// as that lives [RFC 7296 §2.4], and then either end may rekey or ask.
    pub(crate) fn keeps_ike(&self, s: &Session) -> bool {
        if s.state != tcp::State::Established || !inspect::is_ike(s) {
            return false;
        }
        let outside = self.tunnel_address(Proto::ESP, s.inside);
        let esp = outside.ok().and_then(|outside| self.vpn.tunnels.find(Kind::Esp, s.inside, outside, s.remote));
        esp.and_then(|id| self.vpn.tunnels.get(id)).is_some_and(|t| matches!(t.state, State::Paired | State::Confirmed))
    }

    /// What an inside host's IKE teaches, where its port is kept.
    pub(crate) fn learn_ike(&mut self, s: &Session, ike: &Ike) {
        let id = TunnelId(s.owner);
        let Some(state) = self.vpn.tunnels.get(id).filter(|t| t.kind == Kind::Ike).map(|t| t.state) else { return };
        if state == State::Paired {
            self.vpn.tunnels.set_state(id, State::Confirmed);
            self.counters.count(Event::TunnelsConfirmed, 1);
        }
        let Some(t) = self.vpn.tunnels.get_mut(id) else { return };
        let fits = |k: &(u64, u64)| k.0 == ike.initiator && (k.1 == ike.responder || k.1 == 0);
        let [taught @ .., heard] = &mut t.spis;
        if let Some(k) = taught.iter_mut().find(|k| fits(k)) {
            k.1 = ike.responder;
            return;
        }
        if fits(heard) {
            *heard = (0, 0);
        }
        taught.rotate_right(1);
        if let Some(first) = taught.first_mut() {
            *first = (ike.initiator, ike.responder);
        }
    }
}

/// The responder's SPI of a security association that is known; or all of an unknown one, in the last place, which is
/// never one that the inside host taught.
fn learn_from_outside(t: &mut Tunnel, ike: &Ike) {
    if let Some(k) = t.spis.iter_mut().find(|k| k.0 == ike.initiator) {
        if k.1 == 0 {
            k.1 = ike.responder;
        }
    } else if let Some(last) = t.spis.last_mut() {
        *last = (ike.initiator, ike.responder);
    }
}

/// Remote host, our address, identification.
type Datagram = (Ipv4Addr, Ipv4Addr, u16);

/// Where a datagram's first fragment went.
#[derive(Clone, Copy)]
struct Piece {
    datagram: Datagram,
    leg: SessionId,
    inside: Ipv4Addr,
    at: Tick,
}

/// Where the later fragments of inbound IKE go: their first one's way. A ring, as they follow soon.
pub struct Pieces {
    ring: [Option<Piece>; 64],
    next: usize,
}

impl Pieces {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self { ring: [None; 64], next: 0 }
    }

    /// The last word on a datagram holds: senders use an identification again.
    fn note(&mut self, datagram: Datagram, goes: Option<(SessionId, Ipv4Addr)>, now: Tick) {
        let piece = goes.map(|(leg, inside)| Piece { datagram, leg, inside, at: now });
        let same = |p: &&mut Option<Piece>| p.is_some_and(|p| p.datagram == datagram);
        if let Some(place) = self.ring.iter_mut().find(same) {
            *place = piece;
            return;
        }
        if piece.is_some()
            && let Some(place) = self.ring.get_mut(self.next)
        {
            *place = piece;
            self.next = (self.next + 1) % self.ring.len();
        }
    }

    fn find(&self, datagram: Datagram, now: Tick, timeout: u32) -> Option<Piece> {
        self.ring.iter().flatten().find(|p| p.datagram == datagram && now.since(p.at) < timeout).copied()
    }
}

impl Default for Pieces {
    fn default() -> Self {
        Self::new()
    }
}
