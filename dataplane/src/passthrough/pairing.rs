//! Whose is an inbound SPI that nobody saw before? ESP, and L2TPv3 sessions that no control message named.
//!
//! Both directions' identifiers are chosen by their receivers, so what an inside host sends says nothing of what it will
//! get [RFC 3715 §2.1 f]. What is known: who began to send to the server and was not answered yet (a *half*), and whose
//! child exchange with it ended lately (*evidence*, [`super::ike`]). Those *wait*, and an unseen identifier belongs to
//! one of them:
//!
//! 1. one waits, or nobody does and the server has one inside host here, or one that got what it waited for within the
//!    gate (which a forger may have sent), or some that send and hear nothing: its;
//! 2. several wait, and it came in the turn of one that asked ([`super::gate`]), or one has evidence: its;
//! 3. otherwise the packet is held for a moment, as evidence may come; then, by order: those with evidence, whose exchange
//!    ended or who sent first; older evidence without a half, the latest first; rekeys; the others, oldest first. Counted,
//!    and told.
//!
//! In all cases of 2 and 3 it is in doubt, and moves to another that waited then if answers say so ([`super::doubt`]).
//! When the host has sent after it got something, the tunnel is confirmed, and what is not in doubt takes the fast path.
//!
//! Bounded: a search looks at [`LOOKS`] tunnels; a tunnel has [`super::tunnel::LEGS`] legs. Only what inside hosts sent
//! makes anybody wait, so outsiders open nothing but legs of a tunnel that exists.

use super::legs::Came;
use super::notice::{Matter, Notice};
use super::tunnel::{Kind, State, Tunnel, TunnelId};
use crate::flow::session::SessionId;
use crate::nat::Nat;
use crate::packet::Meta;
use crate::types::{Direction, Endpoint, Key, Outside, Proto, Tick};
use crate::verdict::{DropReason, Event};
use std::net::Ipv4Addr;

/// Tunnels that a search looks at.
const LOOKS: usize = 256;

/// A gateway uses new keys within this, if it is to be the first to use them.
const STALE_MS: u32 = 2_000;

/// How sure it is whose an identifier is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sure {
    /// Its host waited, and nobody else.
    Waited,
    /// Others waited with less reason.
    Likely,
    /// Only its host waited any more, but others may have got wrong ones.
    Left,
    /// It asked, and this seems to be the answer.
    Asked,
    /// It was another's, and then came as the answer to this one.
    Voted,
    /// Nobody waited.
    Unasked,
    /// Several waited.
    Guess,
}

/// Who may be meant.
#[derive(Clone, Copy, Default)]
struct Candidates {
    count: usize,
    with_evidence: usize,
    with_half: usize,
    /// By rank, then by the order within.
    best: Option<(TunnelId, u8, u32)>,
    /// The one with evidence, if it is one.
    evident: Option<TunnelId>,
}

const fn kind_of(proto: Proto) -> Kind {
    match proto {
        Proto::L2TP => Kind::L2tp,
        _ => Kind::Esp,
    }
}

const fn unsolicited(proto: Proto) -> DropReason {
    match proto {
        Proto::L2TP => DropReason::L2tpNoSession,
        _ => DropReason::EspUnsolicited,
    }
}

impl Nat {
    /// An outbound identifier that is new: a half.
    pub(super) fn half_out(&mut self, meta: &Meta, came: Came, now: Tick) -> Result<SessionId, DropReason> {
        let Key { src, dst, ident, proto } = meta.key;
        let kind = kind_of(proto);
        let outside = self.tunnel_address(proto, src)?;
        let known = self.vpn.tunnels.find(kind, src, outside, dst);
        let gate = self.rules.policy.passthrough.gate;
        // Its inward one came before it, so it waits for nothing. One that came long ago and that nothing answered was
        // nobody's; it must not stand for what is still to come.
        let is_matched = |t: &Tunnel| t.ahead > 0 && now.since(t.ahead_at) < gate;
        // And where it is not sure what came to whom, that is no reason not to ask.
        let unsure = self.vpn.tunnels.gateway(proto, dst, outside).is_some_and(|g| g.is_unsure(now));
        let matched = !unsure && known.and_then(|id| self.vpn.tunnels.get(id)).is_some_and(is_matched);
        // Between two inside hosts, both ends' tunnels have the same gateway.
        let takes_turns = !matched && !came.hairpin;
        if known.is_none() {
            self.may_pend(proto, outside, dst)?;
        }
        if takes_turns {
            self.pass_gate(proto, known, (outside, dst), came, now)?;
        }
        let id = self.tunnel(kind, (src, outside, dst), Direction::Out, now)?;
        let leg = match self.add_leg(id, Direction::Out, (proto, ident, ident), came.hairpin, DropReason::Clash, now) {
            Ok(leg) => leg,
            Err(reason) => {
                if known.is_none() {
                    self.end_tunnel(id);
                }
                return Err(reason);
            }
        };
        let Some(t) = self.vpn.tunnels.get_mut(id) else { return Ok(leg) };
        let confirmed = t.state == State::Confirmed;
        if matched {
            t.ahead -= 1;
        } else {
            // What lapsed counts no more.
            let before = if t.has_half(now, gate) { t.halves } else { 0 };
            t.ahead = 0;
            t.halves = before.saturating_add(1).min(8);
            t.half_at = now;
            t.watch();
            self.vpn.tunnels.place(id, true);
        }
        if takes_turns {
            self.ask(id, now);
        }
        if confirmed {
            self.settle_legs(id, true, now);
        }
        Ok(leg)
    }

    /// An inbound identifier that is new.
    pub(super) fn half_in(&mut self, meta: &Meta, came: Came, now: Tick) -> Result<SessionId, DropReason> {
        let Key { src, dst, ident, proto } = meta.key;
        // Between two inside hosts both ends' tunnels may be at the same addresses: what one sends is not for itself.
        let left = came.hairpin.then(|| self.sessions.find_left(&meta.key, Direction::Out)).flatten();
        let sender = left.and_then(|leg| self.sessions.get(leg)).copied();
        let forward = self.rules.static_in(proto, Outside(Endpoint::new(dst, 0)));
        if sender.is_some_and(|s| forward.is_some_and(|m| m.inside.0.addr != s.inside)) {
            return self.stranger_in(meta, kind_of(proto), unsolicited(proto), came, now);
        }
        let sender = sender.map(|s| TunnelId(s.owner));
        let mut candidates = self.candidates(proto, (src, dst), sender, now);
        if candidates.count == 0 && self.wake_deaf(proto, (src, dst), forward.is_some(), now) {
            candidates = self.candidates(proto, (src, dst), sender, now);
        }
        let gateway = self.vpn.tunnels.gateway(proto, src, dst);
        // In the turn of one alone, that one is answered.
        let gate = self.rules.policy.passthrough.gate;
        let lacks = |id: &TunnelId| self.vpn.tunnels.get(*id).is_some_and(|t| t.has_half(now, gate));
        let asker = gateway.filter(|g| g.turn.is_measured() || candidates.with_half == 1);
        let asker = asker.and_then(|g| g.turn.asker(now)).filter(lacks);
        let unsure = gateway.is_some_and(|g| g.is_unsure(now));
        let (id, sure) = match candidates {
            _ if candidates.count + usize::from(unsure) > 1
                && let Some(asker) = asker =>
            {
                (asker, Sure::Asked)
            }
            Candidates { count: 0, .. } => match self.unasked(proto, (src, dst), sender, now) {
                Some(id) => (id, Sure::Unasked),
                None if sender.is_some() => return Err(unsolicited(proto)),
                None => return self.stranger_in(meta, kind_of(proto), unsolicited(proto), came, now),
            },
            Candidates { count: 1, best: Some((id, ..)), .. } if unsure => (id, Sure::Left),
            Candidates { count: 1, best: Some((id, ..)), .. } => (id, Sure::Waited),
            Candidates { with_evidence: 1, evident: Some(id), .. } => (id, Sure::Likely),
            Candidates { best: Some((id, ..)), .. } if came.overdue => (id, Sure::Guess),
            Candidates { .. } => return Err(DropReason::EspWaitFull),
        };
        self.bind(id, (proto, ident), came.hairpin, sure, now)
    }

    /// Whose may it be, when nobody waits: of the server's only inside host, or of the only one that got lately what it
    /// waited for.
    fn unasked(
        &self,
        proto: Proto,
        (remote, outside): (Ipv4Addr, Ipv4Addr),
        sender: Option<TunnelId>,
        now: Tick,
    ) -> Option<TunnelId> {
        let gate = self.rules.policy.passthrough.gate;
        let may = |(id, t): &(TunnelId, &Tunnel)| t.state != State::Closing && Some(*id) != sender;
        let all = || self.vpn.tunnels.of_gateway(proto, remote, outside).filter(may);
        let only = |some: &mut dyn Iterator<Item = (TunnelId, &Tunnel)>| {
            let first = some.next()?.0;
            some.next().is_none().then_some(first)
        };
        let lately = |t: &Tunnel| t.served && now.since(t.bound_at) < gate;
        let lately = || only(&mut all().take(LOOKS).filter(|(_, t)| lately(t)));
        // What is nobody's goes to a forward's host, if there is one.
        let forward = || self.rules.static_in(proto, Outside(Endpoint::new(outside, 0))).is_some();
        only(&mut all().take(2)).or_else(|| if forward() { None } else { lately() })
    }

    /// Those who wait for something from a server, save who sent it.
    fn candidates(
        &mut self,
        proto: Proto,
        (remote, outside): (Ipv4Addr, Ipv4Addr),
        sender: Option<TunnelId>,
        now: Tick,
    ) -> Candidates {
        let gate = self.rules.policy.passthrough.gate;
        let mut c = Candidates::default();
        let mut lapsed: Option<TunnelId> = None;
        for (id, t) in self.vpn.tunnels.of_gateway(proto, remote, outside).take(LOOKS) {
            if t.halves == 0 && t.evidence == 0 {
                break;
            }
            if !t.waits(now, gate) {
                lapsed = Some(id);
                continue;
            }
            if Some(id) == sender {
                continue;
            }
            c.count += 1;
            let evident = t.has_evidence(now, gate);
            if evident {
                c.with_evidence += 1;
                c.evident = Some(id);
            }
            if t.has_half(now, gate) {
                c.with_half += 1;
            }
            let (rank, order) = rank(t, evident, now);
            // The list has the latest first, so among equals the last one is the oldest.
            if c.best.is_none_or(|(_, r, o)| (rank, order) < (r, o) || ((rank, order) == (r, o) && rank != 1)) {
                c.best = Some((id, rank, order));
            }
        }
        // One a search: whoever waits no more goes behind, so the list's head stays short.
        if let Some(id) = lapsed {
            if let Some(t) = self.vpn.tunnels.get_mut(id) {
                (t.halves, t.evidence, t.ahead) = (0, 0, 0);
            }
            self.vpn.tunnels.place(id, false);
        }
        c
    }

    /// Gives an inbound identifier to a tunnel.
    pub(super) fn bind(
        &mut self,
        id: TunnelId,
        (proto, ident): (Proto, u32),
        hairpin: bool,
        sure: Sure,
        now: Tick,
    ) -> Result<SessionId, DropReason> {
        let leg = self.add_leg(id, Direction::In, (proto, ident, ident), hairpin, unsolicited(proto), now)?;
        if sure == Sure::Unasked {
            self.mark_unasked(leg);
        }
        let Some(t) = self.vpn.tunnels.get_mut(id) else { return Ok(leg) };
        if t.halves == 0 {
            // A forger's many count as one: the host's next outward one would else never wait.
            let most = if sure == Sure::Unasked { 1 } else { 8 };
            t.came_ahead(now, most);
        }
        t.asks = 0;
        t.served |= sure != Sure::Unasked;
        t.halves = t.halves.saturating_sub(1);
        t.evidence = t.evidence.saturating_sub(1);
        if sure != Sure::Unasked || !t.served {
            t.bound_at = now;
        }
        let (inside, remote, state, legs) = (t.inside, t.remote, t.state, t.legs);
        let waits = t.halves > 0 || t.evidence > 0;
        self.vpn.tunnels.place(id, waits);
        // A stranger whom nobody answered stays one, whatever it sends.
        let is_outward = |l| self.sessions.get(l).is_some_and(|s| s.leg_direction() == Some(Direction::Out));
        if state == State::Pending && (sure != Sure::Unasked || legs.into_iter().any(is_outward)) {
            self.vpn.tunnels.set_state(id, State::Paired);
        }
        // Until it is certain, both directions are looked at one by one.
        match sure {
            Sure::Waited | Sure::Unasked => {}
            Sure::Asked | Sure::Voted | Sure::Likely | Sure::Left | Sure::Guess => {
                self.doubt(id, leg, u8::from(!matches!(sure, Sure::Guess | Sure::Left)), now);
                self.gate_unsure(id, now);
            }
        }
        self.settle_legs(id, state == State::Confirmed, now);
        self.gate_got(id, now);
        if sure == Sure::Guess {
            self.counters.count(Event::EspAmbiguous, 1);
            self.counters.notices.tell(Notice { matter: Matter::EspAmbiguous, inside, remote });
        }
        Ok(leg)
    }
}

/// The order in which an unseen identifier is given: rank, and within it what is smaller goes first.
const fn rank(t: &Tunnel, evident: bool, now: Tick) -> (u8, u32) {
    let (half, evidence) = (now.since(t.half_at), now.since(t.evidence_at));
    match (evident, t.halves > 0) {
        // Whose set-up ended first, or who sent first, is served first.
        (true, true) if evidence < STALE_MS && evidence > half => (0, u32::MAX - evidence),
        (true, true) => (0, u32::MAX - half),
        (true, false) if evidence < STALE_MS => (0, u32::MAX - evidence),
        // An exchange that made no ESP looks the same [RFC 7296 §2.18], so what is older is believed less.
        (true, false) => (1, evidence),
        (false, _) if matches!(t.state, State::Confirmed) => (2, u32::MAX - half),
        (false, _) => (3, u32::MAX - half),
    }
}
