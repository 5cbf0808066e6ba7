//! Opening and ending tunnels and their legs: limits, addresses, time-outs.

use super::doubt::is_found_out;
use super::gate::ASKS;
use super::service::Service;
use super::tunnel::{self, Kind, State, Tunnel, TunnelId};
use crate::flow::session::{NewLeg, NewSession, Session, SessionId, flags};
use crate::flow::tcp;
use crate::nat::Nat;
use crate::nat::subscriber::SubscriberId;
use crate::packet::{Class, Meta};
use crate::policy::Switch;
use crate::types::{Direction, Endpoint, Inside, Key, Outside, Proto, Tick};
use crate::verdict::{DropReason, Event};
use std::net::Ipv4Addr;

/// What asked for less than its state is kept for, or asked to be ended, goes after this [RFC 2637 §3.1.4 has 60 s for
/// an answer].
const UNANSWERED_MS: u32 = 60_000;

/// Who has so few tunnels may still open one where others have taken three quarters of the room.
const FEW: u32 = 8;

/// How a tunnel's packet came to be judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Came {
    /// From an inside host, by an outside address of ours.
    pub hairpin: bool,
    /// It must not wait (any more): from outside, for its owner to become clear; from inside, for its turn.
    pub overdue: bool,
}

impl Nat {
    /// Whether packets of a protocol may pass at all, a later fragment's by the number alone.
    ///
    /// # Errors
    /// Why not.
    pub fn carries(&self, meta: &Meta) -> Result<(), DropReason> {
        let p = &self.rules.policy.passthrough;
        let by = |switch, off| match switch {
            Switch::On => Ok(()),
            Switch::Plain => Err(DropReason::AlgOff),
            Switch::Off => Err(off),
        };
        match meta.key.proto {
            Proto::TCP | Proto::UDP | Proto::ICMP => Ok(()),
            Proto::ESP => by(p.ipsec, DropReason::IpsecOff),
            Proto::AH if p.ipsec == Switch::Off => Err(DropReason::IpsecOff),
            Proto::AH => Err(DropReason::Ah),
            Proto::L2TP | Proto::L2TP_CONTROL => by(p.l2tp, DropReason::L2tpOff),
            // A later fragment does not show its version.
            Proto::GRE
                if meta.key.is_pptp() || (meta.class == Class::LaterFragment && !self.rules.names(Proto::GRE)) =>
            {
                by(p.pptp, DropReason::PptpOff)
            }
            proto if self.rules.names(proto) => Ok(()),
            _ => Err(DropReason::Protocol),
        }
    }

    /// The outside address of an inside host's tunnels: its own, its forward's, or the one that its ports are at.
    pub(super) fn tunnel_address(&self, proto: Proto, inside: Ipv4Addr) -> Result<Ipv4Addr, DropReason> {
        if let Some(m) = self.rules.static_out(proto, Inside(Endpoint::new(inside, 0))) {
            return Ok(m.outside.0.addr);
        }
        self.paired_address(inside).ok_or(DropReason::PortsExhausted)
    }

    /// Whether one more tunnel with a server may wait for its answer.
    pub(super) fn may_pend(&self, proto: Proto, outside: Ipv4Addr, remote: Ipv4Addr) -> Result<(), DropReason> {
        let most = self.rules.policy.passthrough.pending_per_server;
        let full = self.vpn.tunnels.gateway(proto, remote, outside).is_some_and(|g| g.pending >= most);
        if full { Err(DropReason::TunnelsPending) } else { Ok(()) }
    }

    /// A tunnel's record, if one more is admitted.
    pub(super) fn open_tunnel(
        &mut self,
        kind: Kind,
        (inside, outside, remote): (Ipv4Addr, Ipv4Addr, Ipv4Addr),
        by: Direction,
        now: Tick,
    ) -> Result<TunnelId, DropReason> {
        self.may_pend(kind.proto(), outside, remote)?;
        let most = self.rules.policy.passthrough.tunnels_per_subscriber;
        let subscriber = self.admit(Inside(Endpoint::new(inside, 0)), by, now)?;
        // What strangers open leaves a quarter to the host itself.
        let most = if by == Direction::In { most - most / 4 } else { most };
        let has = self.subscribers.get(subscriber).map_or(0, |s| s.tunnels);
        let opened = if has >= most {
            Err(DropReason::TunnelLimit)
        } else if has >= FEW
            && let Some(crowded) = self.crowded(kind, outside, remote)
        {
            Err(crowded)
        } else {
            let ends = (inside, outside, remote);
            self.vpn.tunnels.open(kind, ends, subscriber.0, now).map_err(|_| DropReason::TunnelTableFull)
        };
        match opened {
            Ok(_) => {
                if let Some(s) = self.subscribers.get_mut(subscriber) {
                    s.tunnels += 1;
                }
                self.pair(subscriber, outside);
                self.counters.count(Event::TunnelsOpened, 1);
            }
            Err(_) => self.leave(subscriber),
        }
        opened
    }

    /// Where only a quarter of the room is left, which is for those who have few tunnels.
    fn crowded(&self, kind: Kind, outside: Ipv4Addr, remote: Ipv4Addr) -> Option<DropReason> {
        let most = self.rules.policy.passthrough.pending_per_server;
        let pending = self.vpn.tunnels.gateway(kind.proto(), remote, outside).map_or(0, |g| g.pending);
        let (room, len) = (self.vpn.tunnels.capacity(), self.vpn.tunnels.len());
        if pending >= most - most / 4 {
            Some(DropReason::TunnelsPending)
        } else if len >= room - room / 4 {
            Some(DropReason::TunnelTableFull)
        } else {
            None
        }
    }

    /// Ends a tunnel with its legs.
    pub(crate) fn end_tunnel(&mut self, id: TunnelId) {
        let Some(t) = self.vpn.tunnels.get(id).copied() else { return };
        for leg in t.legs() {
            self.take_back(id, leg);
            if let Some(s) = self.sessions.close(leg) {
                self.counters.session_ends(s.proto);
            }
        }
        if t.kind == Kind::Pptp {
            self.vpn.connections.forget_call(&mut self.vpn.tunnels, t.connection, id);
        }
        self.vpn.tunnels.close(id);
        self.counters.count(Event::TunnelsClosed, 1);
        let subscriber = SubscriberId(t.subscriber);
        if let Some(s) = self.subscribers.get_mut(subscriber) {
            s.tunnels = s.tunnels.saturating_sub(1);
        }
        self.leave(subscriber);
    }

    /// Adds a leg to a tunnel. When there is no room, one of its protocol and direction goes: that nobody asked for before
    /// others, and of equals the one that was not used for the longest time; so a forger's push out each other. `Err`
    /// where the key is another tunnel's (`taken`), or the table is full.
    pub(super) fn add_leg(
        &mut self,
        id: TunnelId,
        direction: Direction,
        (proto, arrives, leaves): (Proto, u32, u32),
        hairpin: bool,
        taken: DropReason,
        now: Tick,
    ) -> Result<SessionId, DropReason> {
        let Some(&t) = self.vpn.tunnels.get(id) else { return Err(DropReason::TunnelTableFull) };
        let Some(reach) = self.rules.route(t.inside) else { return Err(DropReason::NoRoute) };
        let hairpin = if hairpin || self.rules.local(t.remote).is_some() { flags::HAIRPIN } else { 0 };
        // Of what has legs, only IKE is UDP.
        let followed = if proto == Proto::UDP { flags::FOLLOWED } else { 0 };
        let new = NewLeg {
            proto,
            direction,
            inside: t.inside,
            outside: t.outside,
            remote: t.remote,
            arrives,
            leaves,
            tunnel: id.0,
            flags: hairpin | followed,
            inside_port: reach.port,
        };
        let key = match direction {
            Direction::Out => Key { src: t.inside, dst: t.remote, ident: arrives, proto },
            Direction::In => Key { src: t.remote, dst: t.outside, ident: arrives, proto },
        };
        if let Some(known) = self.sessions.find(&key, direction) {
            let same = self.sessions.get(known).is_some_and(|s| s.owner == id.0);
            return if same { Ok(known) } else { Err(taken) };
        }
        let mut same_way = 0;
        let mut victim: Option<(SessionId, (bool, u32))> = None;
        for leg in t.legs() {
            let Some(s) = self.sessions.get(leg).filter(|s| s.leg_direction() == Some(direction)) else { continue };
            same_way += 1;
            let worth = (!s.is(flags::UNASKED), u32::MAX - now.since(s.last_used));
            // Data, which a peer may begin at will, never displaces a control connection.
            if s.proto == proto && victim.is_none_or(|(_, least)| worth < least) {
                victim = Some((leg, worth));
            }
        }
        if same_way >= tunnel::LEGS / 2
            && let Some((victim, _)) = victim
        {
            self.drop_leg(id, victim);
        }
        let timeout = self.tunnel_timeout(&t);
        let leg = self.sessions.open_leg(&new, now, timeout).map_err(|_| DropReason::SessionTableFull)?;
        self.counters.session_begins(proto);
        if let Some(t) = self.vpn.tunnels.get_mut(id) {
            t.add_leg(leg);
        }
        Ok(leg)
    }

    /// Nobody waited for a leg when it came.
    pub(super) fn mark_unasked(&mut self, leg: SessionId) {
        if let Some(s) = self.sessions.get_mut(leg) {
            s.flags |= flags::UNASKED;
        }
    }

    /// Ends one leg, and keeps its traffic.
    pub(super) fn drop_leg(&mut self, id: TunnelId, leg: SessionId) {
        self.take_back(id, leg);
        let Some(s) = self.sessions.close(leg) else { return };
        self.counters.session_ends(s.proto);
        let Some(t) = self.vpn.tunnels.get_mut(id) else { return };
        t.remove_leg(leg);
        if let Some(direction) = s.leg_direction()
            && let Some((packets, bytes)) = t.ended.get_mut(tunnel::of(direction))
        {
            let (p, b) = s.traffic();
            (*packets, *bytes) = (packets.saturating_add(p), bytes.saturating_add(b));
        }
    }

    /// A tunnel's end was asked for: what is on its way has a minute.
    pub(super) fn close_soon(&mut self, id: TunnelId, now: Tick) {
        let Some(t) = self.vpn.tunnels.get_mut(id) else { return };
        t.half_at = now;
        let legs = t.legs;
        self.vpn.tunnels.set_state(id, State::Closing);
        for leg in legs {
            if self.sessions.get(leg).is_some() {
                self.sessions.look_again(leg, now.after(UNANSWERED_MS));
            }
        }
    }

    /// Whether legs of a tunnel take the fast path. One in doubt does not yet, nor an outward one whose answers will tell;
    /// what took it already goes on to.
    pub(super) fn settle_legs(&mut self, id: TunnelId, settled: bool, now: Tick) {
        let gate = self.rules.policy.passthrough.gate;
        let Some(&t) = self.vpn.tunnels.get(id) else { return };
        let watched = t.is_watched(now, gate);
        for leg in t.legs() {
            if !settled {
                self.take_back(id, leg);
            }
            let Some(s) = self.sessions.get_mut(leg) else { continue };
            let outward = s.leg_direction() == Some(Direction::Out);
            let open = (watched && outward) || t.doubts.iter().any(|d| d.leg == leg);
            if !settled {
                s.state = tcp::State::Opening;
            } else if !open || !is_found_out(s) {
                s.state = tcp::State::Established;
            }
        }
    }

    /// Both ends of a tunnel have sent.
    pub(super) fn confirm_tunnel(&mut self, id: TunnelId, now: Tick) {
        if self.vpn.tunnels.get(id).is_some_and(|t| t.state != State::Confirmed) {
            self.vpn.tunnels.set_state(id, State::Confirmed);
            self.counters.count(Event::TunnelsConfirmed, 1);
        }
        self.settle_legs(id, true, now);
    }

    /// Whether a session is the leg of a tunnel that is no mere stranger's: its inside host has taken part.
    pub(crate) fn is_answered(&self, leg: SessionId) -> bool {
        let Some(s) = self.sessions.get(leg).filter(|s| s.is_tunnels()) else { return false };
        if s.is(flags::BORROWED) {
            return true;
        }
        let Some(t) = self.vpn.tunnels.get(TunnelId(s.owner)) else { return false };
        // Several hosts share IKE's kept port, and anybody may send there: what is genuine, its host answers.
        t.kind != Kind::Ike && (t.state != State::Pending || t.kind == Kind::Pptp)
    }

    /// How long a tunnel may go unused.
    fn tunnel_timeout(&self, t: &Tunnel) -> u32 {
        let timeouts = &self.rules.policy.timeouts;
        match (t.kind, t.state) {
            (Kind::Pptp, State::Pending | State::Closing) | (Kind::L2tp, State::Closing) => UNANSWERED_MS,
            (Kind::Pptp, _) => timeouts.gre,
            (Kind::Ike, State::Pending) => timeouts.esp_pending,
            (Kind::Esp, State::Confirmed) | (Kind::Ike, _) => timeouts.esp,
            (Kind::L2tp, State::Paired | State::Confirmed) => timeouts.l2tpv3,
            // What an inside host sends makes another protocol's tunnel paired at once: this is a stranger's.
            (Kind::Esp, _) | (Kind::L2tp | Kind::Other(_), State::Pending) => timeouts.esp_pending,
            (Kind::Other(_), _) => timeouts.other,
        }
    }

    /// When a leg's time is over, as far as is known now.
    pub(crate) fn leg_deadline(&self, leg: &Session) -> Tick {
        let Some(t) = self.vpn.tunnels.get(TunnelId(leg.owner)) else { return leg.last_used };
        let timeout = self.tunnel_timeout(t);
        if t.state == State::Closing || (t.kind == Kind::Pptp && t.state == State::Pending) {
            // Not kept by its own traffic: an answer is due, or the end was asked for.
            return t.half_at.after(timeout);
        }
        if matches!(t.kind, Kind::Other(_)) {
            // Nothing in what comes says that its sender is no stranger [4787 REQ-6]: only the inside host keeps it.
            let mut legs = t.legs().filter_map(|id| self.sessions.get(id));
            let outward = legs.find(|s| s.leg_direction() == Some(Direction::Out));
            return outward.unwrap_or(leg).last_used.after(timeout);
        }
        let mut last = leg.last_used;
        // The newest leg of each direction lives while the tunnel does; older ones by their own traffic. One that nobody
        // asked for does not take that from one that somebody did.
        let same_way = |s: &&Session| s.leg_direction() == leg.leg_direction();
        let asked = |s: &&Session| !s.is(flags::UNASKED);
        let all = || t.legs().rev().filter_map(|id| self.sessions.get(id)).filter(same_way);
        let newest = all().find(asked).or_else(|| all().next());
        // L2TPv3's live as long as any: who has an identifier was said once, and a silent session is no ended one.
        if t.kind == Kind::L2tp || newest.is_some_and(|s| s.key_of_leg() == leg.key_of_leg()) {
            let others = t.legs().filter_map(|id| self.sessions.get(id)).map(|s| s.last_used);
            let control = self.vpn.connections.session(t.connection).filter(|_| t.kind == Kind::Pptp);
            let control = control.and_then(|id| self.sessions.get(id)).map(|s| s.last_used);
            for used in others.chain(control) {
                if used.reached(last) {
                    last = used;
                }
            }
        }
        last.after(timeout)
    }

    /// A leg's time is over.
    pub(crate) fn expire_leg(&mut self, leg: SessionId) {
        let Some(owner) = self.sessions.get(leg).map(|s| TunnelId(s.owner)) else { return };
        let Some(t) = self.vpn.tunnels.get(owner) else {
            self.sessions.close(leg);
            return;
        };
        if matches!(t.kind, Kind::Pptp | Kind::Other(_)) || t.legs().count() <= 1 {
            self.end_tunnel(owner);
        } else {
            self.drop_leg(owner, leg);
        }
    }

    /// Looks at a few tunnels that have no leg, and so no timer. Bounded; once a millisecond.
    pub fn sweep_tunnels(&mut self, now: Tick) {
        const LOOKS: usize = 16;
        for _ in 0..LOOKS.min(self.vpn.tunnels.len()) {
            let Some(id) = self.vpn.tunnels.look() else { continue };
            let gate = self.rules.policy.passthrough.gate;
            if self.vpn.tunnels.get(id).is_some_and(|t| t.legs().next().is_none() && !t.is_wanted(now, gate)) {
                self.end_tunnel(id);
            }
        }
    }

    /// A tunnel packet from inside that no leg is known for.
    ///
    /// # Errors
    /// Why it may not begin one; [`DropReason::IpsecWaits`] where it is to wait for its turn, if it may.
    pub(crate) fn tunnel_out(&mut self, meta: &Meta, came: Came, now: Tick) -> Result<SessionId, DropReason> {
        self.carries(meta)?;
        match meta.key.proto {
            Proto::ESP | Proto::L2TP => self.half_out(meta, came, now),
            Proto::L2TP_CONTROL => self.control_out(meta, came.hairpin, now),
            _ if meta.key.is_pptp() => Err(DropReason::GreNoCall),
            _ => self.other_out(meta, came.hairpin, now),
        }
    }

    /// A tunnel packet from outside that no leg is known for.
    ///
    /// # Errors
    /// Why there is none and none may be; [`DropReason::EspWaitFull`] where waiting may help.
    pub(crate) fn tunnel_in(&mut self, meta: &Meta, came: Came, now: Tick) -> Result<SessionId, DropReason> {
        self.carries(meta)?;
        match meta.key.proto {
            Proto::ESP | Proto::L2TP => self.half_in(meta, came, now),
            Proto::L2TP_CONTROL => self.control_in(meta, came, now),
            _ if meta.key.is_pptp() => Err(DropReason::GreNoCall),
            proto => self.stranger_in(meta, Kind::Other(proto), DropReason::Unsolicited, came, now),
        }
    }

    /// One inside host uses a protocol with a server; nothing else tells answers apart.
    fn other_out(&mut self, meta: &Meta, hairpin: bool, now: Tick) -> Result<SessionId, DropReason> {
        let Key { src, dst, ident, proto } = meta.key;
        let outside = self.tunnel_address(proto, src)?;
        // By its own outside address the packet would come back to its sender.
        if dst == outside {
            return Err(DropReason::ProtocolTaken);
        }
        // A stranger whom a forward let in, and who may have forged the address, does not keep an inside host out.
        let answers = Key { src: dst, dst: outside, ident, proto };
        let holder = self.sessions.find(&answers, Direction::In).and_then(|leg| self.sessions.get(leg));
        let holder = holder.map(|s| TunnelId(s.owner));
        if let Some(id) = holder
            && self.vpn.tunnels.get(id).is_some_and(|t| t.inside != src && t.state == State::Pending)
        {
            self.end_tunnel(id);
        }
        let ends = (src, outside, dst);
        let id = self.tunnel(Kind::Other(proto), ends, Direction::Out, now)?;
        let inward = self.add_leg(id, Direction::In, (proto, ident, ident), hairpin, DropReason::ProtocolTaken, now);
        let leg = inward.and_then(|_| {
            self.add_leg(id, Direction::Out, (proto, ident, ident), hairpin, DropReason::ProtocolTaken, now)
        });
        if leg.is_err() {
            self.end_tunnel(id);
        } else if self.vpn.tunnels.get(id).is_some_and(|t| t.state == State::Pending) {
            self.vpn.tunnels.set_state(id, State::Paired);
            self.settle_legs(id, true, now);
        }
        leg
    }

    /// The tunnel of two hosts, made if there is none.
    pub(super) fn tunnel(
        &mut self,
        kind: Kind,
        ends: (Ipv4Addr, Ipv4Addr, Ipv4Addr),
        by: Direction,
        now: Tick,
    ) -> Result<TunnelId, DropReason> {
        let (inside, outside, remote) = ends;
        match self.vpn.tunnels.find(kind, inside, outside, remote) {
            Some(id) => Ok(id),
            None => self.open_tunnel(kind, ends, by, now),
        }
    }

    /// From a stranger: let in where a forward, or the firewall of a one-to-one host, says so.
    pub(super) fn stranger_in(
        &mut self,
        meta: &Meta,
        kind: Kind,
        otherwise: DropReason,
        came: Came,
        now: Tick,
    ) -> Result<SessionId, DropReason> {
        let Key { src, dst, ident, proto } = meta.key;
        let at = Outside(Endpoint::new(dst, 0));
        let Some(m) = self.rules.static_in(proto.wire(), at) else { return Err(otherwise) };
        if !m.open && !self.rules.allows(proto.wire(), m.inside) {
            return Err(DropReason::FirewallDenied);
        }
        let id = self.tunnel(kind, (m.inside.0.addr, dst, src), Direction::In, now)?;
        let leg = self.add_leg(id, Direction::In, (proto, ident, ident), came.hairpin, otherwise, now);
        match (&leg, kind) {
            (Ok(_), Kind::Other(_)) => {
                let _ = self.add_leg(id, Direction::Out, (proto, ident, ident), came.hairpin, otherwise, now);
            }
            (Ok(leg), _) if proto != Proto::L2TP_CONTROL => {
                self.mark_unasked(*leg);
                if let Some(t) = self.vpn.tunnels.get_mut(id) {
                    t.came_ahead(now, 1);
                }
            }
            (Ok(_), _) => {}
            (Err(_), _) => {
                if self.vpn.tunnels.get(id).is_some_and(|t| t.legs().next().is_none()) {
                    self.end_tunnel(id);
                }
            }
        }
        leg
    }

    /// The slow path saw a leg's packet from inside.
    ///
    /// # Errors
    /// [`DropReason::IpsecWaits`] where it is to wait for its turn, if it may.
    pub(crate) fn leg_sent(&mut self, leg: SessionId, came: Came, now: Tick) -> Result<(), DropReason> {
        let gate = self.rules.policy.passthrough.gate;
        let own = self.sessions.get(leg).filter(|s| !s.is(flags::BORROWED)).copied();
        let Some(s) = own else { return Ok(()) };
        let id = TunnelId(s.owner);
        let Some(t) = self.vpn.tunnels.get(id).copied() else { return Ok(()) };
        let watched = is_found_out(&s) && s.state != tcp::State::Established && t.is_watched(now, gate);
        if watched && t.asks < ASKS {
            self.pass_gate(s.proto, Some(id), (t.outside, t.remote), came, now)?;
            self.ask(id, now);
        } else if watched {
            // It goes out whoever's turn it is; the answer is not to be taken for another's.
            self.speak_between(id, now);
        }
        if watched && let Some(t) = self.vpn.tunnels.get_mut(id) {
            t.watched += 1;
        }
        let is_inward = |l| self.sessions.get(l).is_some_and(|s| s.leg_direction() == Some(Direction::In));
        let answered = match (t.kind, t.state) {
            (Kind::Ike, _) | (_, State::Closing) => false,
            // A call is as far as its control connection says; both identifiers are known then.
            (Kind::Pptp, state) => state == State::Paired,
            _ => t.legs().any(is_inward),
        };
        if answered && s.state != tcp::State::Established {
            self.confirm_tunnel(id, now);
        }
        Ok(())
    }

    /// Whether a session that is being opened is a VPN's and to be followed: by the port that its opener calls.
    pub(crate) fn follows(&self, new: &NewSession) -> bool {
        let called = if new.flags & flags::FROM_OUTSIDE != 0 { new.inside.0.port } else { new.remote.port };
        Service::of_port(new.proto, called).is_some_and(|s| s.is_followed(&self.rules.policy.passthrough))
    }
}
