//! Everything but the ordinary packet of an established flow: new flows, TCP's beginnings and ends, ICMP errors,
//! fragments, hairpins, what is for the box itself, and what is refused.
//!
//! [`Worker::judge`] decides without changing a byte, then carries the decision out. A packet that must wait for ARP
//! is put aside as it came and judged anew later, so a decision never has effects that a second one would repeat.

use super::Worker;
use super::errors::Tell;
use super::tag::{Tag, Why};
use super::waiting::{self, PER_NEIGHBOUR};
use crate::census::Translated;
use crate::flow::session::{Session, SessionId, flags};
use crate::flow::tcp::State;
use crate::io::{Buf, Io};
use crate::link::neighbour::{HopId, Resolved};
use crate::nat::Segment;
use crate::nat::fragments::{Ident, Learned};
use crate::nat::icmp_error::{self, Quote};
use crate::nat::rewrite::{self, Hop};
use crate::packet::{self, Class, Meta, Parsed};
use crate::passthrough::tunnel::TunnelId;
use crate::passthrough::{Came, service};
use crate::policy::{Local, MssClamp, Reach, Refusal};
use crate::types::{Direction, Key, Mac, Outside, PortId, Proto, Side, WorkerId};
use crate::verdict::{DropReason, Event};
use crate::wire::{icmp, tcp};
use std::net::Ipv4Addr;
use zerocopy::FromBytes;

/// What is to be done with a packet.
pub(super) enum Verdict {
    /// Translate by a session and send to a next hop.
    Translate { session: SessionId, direction: Direction, hop: Hop, egress: PortId, mac: Mac },
    /// Translate the source, then treat it as coming from outside.
    TurnAround { session: SessionId, hop: Hop },
    /// Translate an ICMP error by a session and send it.
    Error { session: Session, quote: Quote, direction: Direction, egress: PortId, mac: Mac },
    /// The same, back towards another inside host.
    ErrorAround { session: Session, quote: Quote },
    /// Forward untranslated.
    Route { egress: PortId, mac: Mac },
    /// Echo request to the box.
    Echo,
    /// Wait for a next hop.
    Await(HopId),
    /// Wait for a moment: whose it is may become clear, or whose turn it is.
    Doubt,
    /// Another worker may know: the so-manieth that is asked.
    Ask(WorkerId, u8),
    /// Another worker's.
    Give(WorkerId),
    /// Data of a tunnel that this worker has no leg for: home's.
    Home(WorkerId),
    /// Data of a borrowed leg that home did not let go yet.
    Hold(SessionId),
    /// Drop.
    Drop(DropReason),
    /// Drop, and tell the sender.
    Refuse(DropReason, Tell),
}

impl From<DropReason> for Verdict {
    fn from(reason: DropReason) -> Self {
        Self::Drop(reason)
    }
}

/// The final verdict early.
type Decision = Result<Verdict, Verdict>;

impl<I: Io> Worker<I> {
    /// Decides about one packet and carries it out.
    #[cold]
    #[inline(never)]
    pub(super) fn judge(&mut self, port: PortId, buf: I::Buf, meta: Meta, why: Why) {
        if matches!(why, Why::Meet) || (meta.is_fragment() && why == Why::Fresh) {
            return self.meet(port, buf, meta, why);
        }
        let verdict = self.decide(port, buf.data(), &meta, why).unwrap_or_else(|early| early);
        self.carry_out(verdict, port, buf, &meta, why);
    }

    /// Decides about a fragment whose ports are known. Says whether it was not refused.
    pub(super) fn judge_learned(&mut self, port: PortId, buf: I::Buf, meta: &Meta, learned: Learned) -> bool {
        let why = Why::Learned(learned);
        let verdict = self.decide(port, buf.data(), meta, why).unwrap_or_else(|early| early);
        let refused = matches!(verdict, Verdict::Drop(_) | Verdict::Refuse(..));
        self.carry_out(verdict, port, buf, meta, why);
        !refused
    }

    /// Judges a packet that was parsed before, or elsewhere.
    pub(super) fn judge_again(&mut self, port: PortId, buf: I::Buf, why: Why) {
        let Some(framing) = self.rules.framing(port) else { return self.drop(buf, DropReason::NoRoute) };
        match packet::parse(buf.data(), framing) {
            Ok(Parsed::Ip(meta)) => self.judge(port, buf, meta, why),
            Ok(Parsed::Arp(_)) => self.drop(buf, DropReason::ArpInvalid),
            Err(reason) => self.drop(buf, reason),
        }
    }

    fn decide(&mut self, port: PortId, frame: &[u8], meta: &Meta, why: Why) -> Decision {
        let side = self.rules.side(port);
        let mut meta = *meta;
        match (why, side) {
            (Why::Fresh, _) => {
                let owner = self.owner(side, frame, &meta);
                if owner != self.me {
                    return Ok(Verdict::Give(owner));
                }
            }
            (Why::Learned(learned), _) => meta.key = learned.key(&meta.key),
            (Why::Hairpin(of), _) => {
                if let Some(of) = of {
                    meta.key = of.key(&meta.key);
                }
                return self.decide_outside(port, frame, &meta, why, true);
            }
            (Why::Owned | Why::Meet | Why::ArpCopy | Why::Seek(_) | Why::Overdue | Why::Home | Why::Message, _) => {}
        }
        if let Some(verdict) = self.away_from_home(side, &meta) {
            return verdict;
        }
        match side {
            Side::Inside => self.decide_inside(port, frame, &meta, why),
            Side::Outside => self.decide_outside(port, frame, &meta, why, false),
        }
    }

    fn decide_inside(&mut self, port: PortId, frame: &[u8], meta: &Meta, why: Why) -> Decision {
        self.check_inside_addresses(meta)?;
        if self.rules.route(meta.key.src).is_none_or(|r| r.port != port) {
            return Err(DropReason::SpoofedSource.into());
        }
        let local = self.rules.local(meta.key.dst);
        let hairpin = match local {
            Some(Local::Own(own)) if is_echo_request(meta) => {
                let _ = own;
                return Ok(Verdict::Echo);
            }
            Some(Local::Own(own)) if self.rules.side(own) == Side::Inside => {
                return Err(DropReason::LocalService.into());
            }
            Some(Local::Own(_) | Local::Pool(_) | Local::Static(_)) => true,
            None => false,
        };
        let reach = if hairpin {
            None
        } else {
            let no_route = || Verdict::Refuse(DropReason::NoRoute, Tell::unreachable(NETWORK));
            Some(self.rules.route(meta.key.dst).ok_or_else(no_route)?)
        };
        if let Some(reach) = reach
            && self.rules.side(reach.port) == Side::Inside
        {
            return self.route_plain(meta, reach);
        }
        if hairpin && !self.rules.policy.hairpin {
            return Err(DropReason::HairpinOff.into());
        }
        if meta.class == Class::IcmpError {
            return self.error_from_inside(port, frame, meta, reach);
        }
        self.check_protocol(Direction::Out, meta)?;
        check_ttl(meta)?;
        if let Some(reach) = reach {
            self.check_size(meta, reach.port)?;
        }
        let segment = segment(frame, meta)?;
        // What came this far by other ways cannot wait once more.
        let may_wait =
            may_set_up(meta) && matches!(why, Why::Fresh | Why::Owned | Why::Home) && self.turns.has_room(&meta.key);
        if may_wait && meta.is_tunnel() && self.turns.holds(&meta.key) {
            return Ok(Verdict::Doubt);
        }
        let came = Came { hairpin, overdue: !may_wait };
        let id = match self.nat.outbound(meta, port, came, self.now) {
            Ok(id) => id,
            Err(DropReason::IpsecWaits) if may_wait => return Ok(Verdict::Doubt),
            Err(reason) => return Err(self.refusal(reason)),
        };
        let target = match reach {
            Some(reach) => Some(self.next_hop(id, Direction::Out, reach)?),
            None => None,
        };
        match self.follow(id, Direction::Out, frame, meta, segment.as_ref(), came) {
            Ok(()) => {}
            Err(DropReason::IpsecWaits) if may_wait => return Ok(Verdict::Doubt),
            Err(reason) => return Err(reason.into()),
        }
        let new_id = match why {
            Why::Learned(learned) => Some(learned.id),
            _ => (!meta.dont_fragment()).then(|| self.ids.next(meta.key.dst)),
        };
        let hop = Hop { decrement_ttl: true, id: new_id };
        Ok(match target {
            Some((egress, mac)) => Verdict::Translate { session: id, direction: Direction::Out, hop, egress, mac },
            None => Verdict::TurnAround { session: id, hop },
        })
    }

    fn decide_outside(&mut self, port: PortId, frame: &[u8], meta: &Meta, why: Why, hairpin: bool) -> Decision {
        if !hairpin {
            self.check_outside_source(meta)?;
        }
        match self.rules.local(meta.key.dst) {
            Some(Local::Own(own)) if is_echo_request(meta) && own == port => return Ok(Verdict::Echo),
            Some(Local::Own(_) | Local::Pool(_) | Local::Static(_)) => {}
            None => return Err(self.not_for_us(meta.key.dst).into()),
        }
        if meta.class == Class::IcmpError {
            return self.error_from_outside(frame, meta, why, hairpin);
        }
        self.check_protocol(Direction::In, meta)?;
        let segment = segment(frame, meta)?;
        if !hairpin && meta.ttl <= 1 {
            return Err(self.out_of_time(meta));
        }
        // What came this far by other ways cannot wait once more.
        let overdue = hairpin || !matches!(why, Why::Fresh | Why::Owned | Why::Home);
        if !overdue && meta.is_tunnel() && self.doubtful.holds(&meta.key) {
            let room = self.doubtful.has_room(&meta.key);
            return if room { Ok(Verdict::Doubt) } else { Err(DropReason::EspWaitFull.into()) };
        }
        let came = Came { hairpin, overdue };
        let id = match self.nat.inbound(meta, frame, came, self.now) {
            Ok(id) => id,
            Err(DropReason::EspWaitFull) if self.doubtful.has_room(&meta.key) => {
                return Ok(Verdict::Doubt);
            }
            Err(reason) => {
                self.note_unsolicited(port, frame, meta, reason, hairpin);
                return Err(reason.into());
            }
        };
        let Some(inside) = self.nat.sessions.get(id).map(|s| s.inside) else {
            return Err(DropReason::Unsolicited.into());
        };
        let Some(reach) = self.rules.route(inside) else { return Err(DropReason::NoRoute.into()) };
        self.check_size(meta, reach.port)?;
        let (egress, mac) = self.next_hop(id, Direction::In, reach)?;
        self.follow(id, Direction::In, frame, meta, segment.as_ref(), came)?;
        let hop = Hop { decrement_ttl: !hairpin, id: None };
        Ok(Verdict::Translate { session: id, direction: Direction::In, hop, egress, mac })
    }

    /// A packet from outside whose time runs out here: its sender is told where it would have gone on, and it opens
    /// nothing.
    fn out_of_time(&self, meta: &Meta) -> Verdict {
        let known = self.nat.sessions.find(&meta.key, Direction::In).is_some();
        let forward = || self.rules.static_in(meta.key.proto, Outside(meta.key.to())).is_some_and(|m| m.open);
        if known || forward() {
            Verdict::Refuse(DropReason::TtlExceeded, Tell::time_exceeded())
        } else {
            Verdict::Drop(DropReason::Unsolicited)
        }
    }

    /// TCP's state, or the time-out's new start; and what a VPN's control traffic says.
    fn follow(
        &mut self,
        id: SessionId,
        by: Direction,
        frame: &[u8],
        meta: &Meta,
        segment: Option<&Segment>,
        came: Came,
    ) -> Result<(), DropReason> {
        let before = self.nat.sessions.get(id).map_or(State::Opening, |s| s.state);
        match segment {
            Some(segment) => self.nat.track(id, by, segment, self.now)?,
            // The later pieces of a TCP segment say nothing of the connection's state: the first one counted.
            None => {
                // What outsiders send keeps nothing alive [4787 REQ-6], save an answered tunnel, whose identifiers they
                // know.
                let keeps = by == Direction::Out || self.nat.is_answered(id);
                if let Some(s) = self.nat.sessions.get_mut(id).filter(|s| s.proto != Proto::TCP)
                    && keeps
                {
                    s.last_used = self.now;
                }
            }
        }
        self.nat.inspect(id, by, frame, meta, segment.map(|s| (s, before)), came, self.now)
    }

    /// Whether a packet's protocol passes.
    fn check_protocol(&self, by: Direction, meta: &Meta) -> Result<(), DropReason> {
        let carried = self.nat.carries(meta);
        if by == Direction::Out && carried == Err(DropReason::Ah) {
            self.nat.note_ah(meta.key.src, meta.key.dst);
        }
        carried
    }

    /// The next hop of a session in a direction: the one it remembers, or the one that the route says.
    fn next_hop(&mut self, id: SessionId, direction: Direction, reach: Reach) -> Result<(PortId, Mac), Verdict> {
        let known = self.nat.sessions.get(id).map(|s| if direction == Direction::Out { s.hop_out } else { s.hop_in });
        if let Some(ready) = known.and_then(|hop| self.hops.ready(hop)) {
            return Ok(ready);
        }
        let host = self.nat.sessions.get(id).map_or(reach.via, |s| s.inside);
        let (hop, ready) = self.resolve(reach, host)?;
        if let Some(s) = self.nat.sessions.get_mut(id) {
            *(if direction == Direction::Out { &mut s.hop_out } else { &mut s.hop_in }) = hop;
        }
        Ok(ready)
    }

    /// The next hop of what an inside host sends or gets.
    fn resolve(&mut self, reach: Reach, host: Ipv4Addr) -> Result<(HopId, (PortId, Mac)), Verdict> {
        let Some(hop) = self.hops.find_or_add(reach.port, reach.via, host, self.now) else {
            return Err(DropReason::NeighbourTableFull.into());
        };
        match self.hops.resolve(hop) {
            Some(Resolved::Ready(port, mac)) => Ok((hop, (port, mac))),
            Some(Resolved::Asking) => Err(Verdict::Await(hop)),
            Some(Resolved::Failed) | None => {
                Err(Verdict::Refuse(DropReason::NeighbourUnresolved, Tell::unreachable(icmp::unreachable::HOST)))
            }
        }
    }

    /// Between two inside networks: forwarded as it is.
    fn route_plain(&mut self, meta: &Meta, reach: Reach) -> Decision {
        check_ttl(meta)?;
        self.check_size(meta, reach.port)?;
        let (_, (egress, mac)) = self.resolve(reach, meta.key.src)?;
        Ok(Verdict::Route { egress, mac })
    }

    fn error_from_inside(&mut self, port: PortId, frame: &[u8], meta: &Meta, reach: Option<Reach>) -> Decision {
        let (quote, session) = self.quoted_session(frame, meta, Direction::Out)?;
        // Any router on the way to the host may have sent it, but that way is by the host's port.
        if session.inside_port != port {
            return Err(DropReason::IcmpErrorNoSession.into());
        }
        if session.is(flags::HAIRPIN) {
            return Ok(Verdict::ErrorAround { session, quote });
        }
        let Some(reach) = reach else { return Err(DropReason::IcmpErrorNoSession.into()) };
        let (_, (egress, mac)) = self.resolve(reach, session.inside)?;
        Ok(Verdict::Error { session, quote, direction: Direction::Out, egress, mac })
    }

    fn error_from_outside(&mut self, frame: &[u8], meta: &Meta, why: Why, hairpin: bool) -> Decision {
        let (quote, session) = match self.quoted_session(frame, meta, Direction::In) {
            Ok(found) => found,
            Err(otherwise) => return self.seek(frame, meta, why, hairpin).ok_or(otherwise),
        };
        if !hairpin && session.is(flags::HAIRPIN) {
            return Err(DropReason::IcmpErrorNoSession.into());
        }
        let Some(reach) = self.rules.route(session.inside) else { return Err(DropReason::NoRoute.into()) };
        let (_, (egress, mac)) = self.resolve(reach, session.inside)?;
        Ok(Verdict::Error { session, quote, direction: Direction::In, egress, mac })
    }

    /// An error about a PPTP call names the server's identifier, which says nothing of the call's owner: the next
    /// worker is asked, each once.
    fn seek(&self, frame: &[u8], meta: &Meta, why: Why, hairpin: bool) -> Option<Verdict> {
        let asked = match why {
            Why::Seek(n) => n,
            Why::Fresh | Why::Owned => 0,
            _ => return None,
        };
        let workers = self.rules.sharding.workers();
        if hairpin || asked + 1 >= workers || !icmp_error::quote(frame, meta).is_ok_and(|q| q.key.is_pptp()) {
            return None;
        }
        let next = if self.me.0 + 1 < workers { self.me.0 + 1 } else { 0 };
        Some(Verdict::Ask(WorkerId(next), asked + 1))
    }

    fn quoted_session(&self, frame: &[u8], meta: &Meta, direction: Direction) -> Result<(Quote, Session), Verdict> {
        // Nobody is told of an error that ran out of time: no error about an error (RFC 1122 §3.2.2).
        if meta.ttl <= 1 {
            return Err(DropReason::TtlExceeded.into());
        }
        let quote = icmp_error::quote(frame, meta)?;
        // The quoted packet's sender is whom the error is for.
        if quote.key.src != meta.key.dst {
            return Err(DropReason::IcmpErrorNoSession.into());
        }
        let sessions = &self.nat.sessions;
        let has_ports = matches!(quote.key.proto, Proto::TCP | Proto::UDP | Proto::ICMP);
        let found = has_ports.then(|| sessions.find(&quote.key.reversed(), direction)).flatten().or_else(|| {
            // A leg is one direction: the one that the quoted packet went.
            let went = if direction == Direction::In { Direction::Out } else { Direction::In };
            sessions.find_left(&quote.key, went)
        });
        found.and_then(|id| sessions.get(id)).map(|s| (quote, *s)).ok_or_else(|| DropReason::IcmpErrorNoSession.into())
    }

    /// Source and destination of a packet from an inside port.
    pub(super) fn check_inside_addresses(&self, meta: &Meta) -> Result<(), DropReason> {
        let Key { src, dst, .. } = meta.key;
        if is_martian(src) {
            return Err(DropReason::MartianSource);
        }
        if src == dst {
            return Err(DropReason::Land);
        }
        if !self.rules.is_inside(src) || self.rules.is_broadcast(src) || self.rules.local(src).is_some() {
            return Err(DropReason::SpoofedSource);
        }
        if dst.is_multicast() {
            return Err(DropReason::Multicast);
        }
        if self.rules.is_broadcast(dst) {
            return Err(DropReason::Broadcast);
        }
        if is_martian(dst) { Err(DropReason::MartianDestination) } else { Ok(()) }
    }

    /// Source of a packet from an outside port.
    pub(super) fn check_outside_source(&self, meta: &Meta) -> Result<(), DropReason> {
        let src = meta.key.src;
        if src == meta.key.dst {
            return Err(DropReason::Land);
        }
        if is_martian(src) || self.rules.is_broadcast(src) {
            return Err(DropReason::MartianSource);
        }
        if self.rules.is_inside(src) || self.rules.local(src).is_some() {
            return Err(DropReason::SpoofedSource);
        }
        Ok(())
    }

    /// Why a destination outside is not ours.
    pub(super) fn not_for_us(&self, dst: Ipv4Addr) -> DropReason {
        if dst.is_multicast() {
            DropReason::Multicast
        } else if self.rules.is_broadcast(dst) {
            DropReason::Broadcast
        } else if is_martian(dst) {
            DropReason::MartianDestination
        } else {
            DropReason::NotForUs
        }
    }

    fn check_size(&self, meta: &Meta, egress: PortId) -> Result<(), Verdict> {
        let mtu = self.rules.mtu(egress);
        if meta.total_len > mtu && meta.dont_fragment() {
            return Err(Verdict::Refuse(DropReason::TooBig, Tell::fragmentation_needed(mtu)));
        }
        Ok(())
    }

    /// What a subscriber hears when its flow is refused for want of something [RFC 5508 REQ-8, RFC 6888 REQ-11].
    fn refusal(&self, reason: DropReason) -> Verdict {
        let wanting = matches!(
            reason,
            DropReason::SubscriberSessions
                | DropReason::SubscriberPorts
                | DropReason::SubscriberRate
                | DropReason::SubscriberTableFull
                | DropReason::SessionTableFull
                | DropReason::MappingTableFull
                | DropReason::PortsExhausted
        );
        match self.rules.policy.refusal {
            Refusal::HostUnreachable if wanting => Verdict::Refuse(reason, Tell::unreachable(icmp::unreachable::HOST)),
            Refusal::Prohibited if wanting => Verdict::Refuse(reason, Tell::unreachable(icmp::unreachable::PROHIBITED)),
            Refusal::HostUnreachable | Refusal::Prohibited | Refusal::Silent => Verdict::Drop(reason),
        }
    }

    /// An unsolicited SYN whose sender may have to be told, in time.
    fn note_unsolicited(&mut self, port: PortId, frame: &[u8], meta: &Meta, reason: DropReason, hairpin: bool) {
        let syn = meta.class == Class::Tcp && meta.tcp_flags & (tcp::flags::SYN | tcp::flags::ACK) == tcp::flags::SYN;
        let refused = matches!(reason, DropReason::Unsolicited | DropReason::Filtered | DropReason::FirewallDenied);
        if syn && refused && !hairpin && self.rules.policy.reject_unsolicited_syn {
            self.syns.note(meta.key, port, meta.l3, frame, self.now);
        }
    }

    fn carry_out(&mut self, verdict: Verdict, port: PortId, buf: I::Buf, meta: &Meta, why: Why) {
        match verdict {
            Verdict::Translate { session, direction, hop, egress, mac } => {
                self.translate(buf, meta, session, direction, hop, (port, egress, mac));
                if meta.class == Class::Tunnel || meta.class == Class::LaterFragment {
                    self.nat.lend(session, self.now);
                }
            }
            Verdict::TurnAround { session, hop } => self.turn(port, buf, meta, session, hop),
            Verdict::Error { session, quote, direction, egress, mac } => {
                self.translate_error(buf, meta, &quote, &session, direction, (egress, mac));
            }
            Verdict::ErrorAround { session, quote } => {
                let mut buf = buf;
                if !icmp_error::translate(buf.data_mut(), meta, &quote, &session, Direction::Out) {
                    return self.drop(buf, DropReason::IcmpErrorTruncated);
                }
                // Its new quote is of a packet that the other end's host sent, as it was seen outside.
                let sent = if session.is_tunnels() {
                    Key { src: session.outside, dst: session.remote, ident: quote.key.ident, proto: session.proto }
                } else {
                    session.key(Direction::In).reversed()
                };
                let owner = self.rules.home_of_key(Side::Outside, &sent);
                self.turn_around(port, buf, owner, None);
            }
            Verdict::Route { egress, mac } => self.route(buf, meta, egress, mac),
            Verdict::Echo => self.echo(port, buf, meta),
            Verdict::Await(hop) => self.wait(hop, port, buf, why),
            Verdict::Doubt => self.doubt(port, buf, meta),
            Verdict::Ask(worker, asked) => self.hand_over(buf, worker, port, Why::Seek(asked)),
            Verdict::Give(owner) => self.hand_over(buf, owner, port, Why::Owned),
            Verdict::Home(home) => self.hand_home(buf, home, port, why),
            Verdict::Hold(leg) => self.hold(leg, buf, port, meta, why),
            Verdict::Drop(reason) => self.drop(buf, reason),
            Verdict::Refuse(reason, tell) => {
                self.tell(port, buf.data(), meta, tell);
                self.drop(buf, reason);
            }
        }
    }

    fn translate(
        &mut self,
        mut buf: I::Buf,
        meta: &Meta,
        id: SessionId,
        direction: Direction,
        hop: Hop,
        (ingress, egress, mac): (PortId, PortId, Mac),
    ) {
        let Some(session) = self.nat.sessions.get(id).copied() else {
            return self.drop(buf, DropReason::TcpNoSession);
        };
        if meta.class == Class::Tcp && meta.tcp_flags & tcp::flags::SYN != 0 {
            self.clamp(buf.data_mut(), meta, ingress, egress);
        }
        self.edit(buf.data_mut(), meta, &session);
        if !rewrite::translate(buf.data_mut(), meta, &session, direction, hop) {
            return self.drop(buf, DropReason::TransportTooShort);
        }
        self.count_tunnel(id, direction, meta);
        let mut translated = Translated::default();
        translated.count(direction, meta.key.proto);
        translated.write(&self.counters);
        self.send_ip_in_pieces(buf, meta, egress, mac);
    }

    fn clamp(&self, frame: &mut [u8], meta: &Meta, ingress: PortId, egress: PortId) {
        let limit = match self.rules.policy.mss_clamp {
            MssClamp::Off => return,
            MssClamp::Auto => rewrite::mss_for(self.rules.mtu(ingress).min(self.rules.mtu(egress))),
            MssClamp::To(mss) => mss,
        };
        if rewrite::clamp_mss(frame, meta, limit) {
            self.counters.count(Event::MssClamped, 1);
        }
    }

    /// The first half of hairpinning.
    fn turn(&mut self, port: PortId, mut buf: I::Buf, meta: &Meta, id: SessionId, hop: Hop) {
        let Some(session) = self.nat.sessions.get(id).copied() else {
            return self.drop(buf, DropReason::TcpNoSession);
        };
        self.edit(buf.data_mut(), meta, &session);
        if !rewrite::translate(buf.data_mut(), meta, &session, Direction::Out, hop) {
            return self.drop(buf, DropReason::TransportTooShort);
        }
        self.count_tunnel(id, Direction::Out, meta);
        let arrives = session.left(Direction::Out);
        let owner = self.rules.home_of_key(Side::Outside, &arrives);
        self.turn_around(port, buf, owner, meta.is_fragment().then_some(Ident::of(&arrives)));
    }

    /// Changes what the follower of a PPTP control connection said.
    fn edit(&mut self, frame: &mut [u8], meta: &Meta, session: &Session) {
        let edits = &mut self.nat.vpn.connections.edits;
        if meta.class != Class::Tcp || !session.is(flags::FOLLOWED) || edits.is_empty() {
            return;
        }
        if let Some(segment) = frame.get_mut(usize::from(meta.l4)..meta.end())
            && let Ok((h, _)) = tcp::Tcp::ref_from_prefix(segment)
            && let Some(payload) = segment.get_mut(h.header_len()..)
        {
            let delta = edits.apply(payload);
            if let Ok((h, _)) = tcp::Tcp::mut_from_prefix(segment) {
                h.checksum = delta.apply(h.checksum.get()).into();
            }
        }
        edits.clear();
    }

    /// Counts a packet for its tunnel.
    fn count_tunnel(&mut self, id: SessionId, direction: Direction, meta: &Meta) {
        if let Some(s) = self.nat.sessions.get_mut(id).filter(|s| s.is_tunnels()) {
            if s.leg_direction() == Some(direction) {
                s.count(meta.total_len);
            } else {
                // IKE that keeps its port has one leg for both ways.
                let tunnel = TunnelId(s.owner);
                self.nat.vpn.tunnels.count(tunnel, direction, meta.total_len);
            }
        }
    }

    fn translate_error(
        &mut self,
        mut buf: I::Buf,
        meta: &Meta,
        quote: &Quote,
        session: &Session,
        direction: Direction,
        (egress, mac): (PortId, Mac),
    ) {
        let translated =
            icmp_error::translate(buf.data_mut(), meta, quote, session, direction) && pass_on(buf.data_mut(), meta);
        if !translated {
            return self.drop(buf, DropReason::IcmpErrorTruncated);
        }
        self.counters.count(Event::IcmpErrorsTranslated, 1);
        self.send_ip_in_pieces(buf, meta, egress, mac);
    }

    fn route(&mut self, mut buf: I::Buf, meta: &Meta, egress: PortId, mac: Mac) {
        if !pass_on(buf.data_mut(), meta) {
            return self.drop(buf, DropReason::FrameTooShort);
        }
        self.counters.count(Event::Routed, 1);
        self.send_ip_in_pieces(buf, meta, egress, mac);
    }

    /// Puts a packet aside until its next hop is known.
    fn wait(&mut self, hop: HopId, port: PortId, buf: I::Buf, why: Why) {
        if let Some((port, addr)) = self.hops.ask_now(hop, self.now) {
            self.send_arp_request(port, addr, None);
        }
        if !self.waiting.has_room() {
            return self.drop(buf, DropReason::NeighbourQueueFull);
        }
        if self.hops.count_waiting(hop, 1) > PER_NEIGHBOUR {
            self.hops.count_waiting(hop, -1);
            return self.drop(buf, DropReason::NeighbourQueueFull);
        }
        let why = if why == Why::Fresh { Why::Owned } else { why };
        self.counters.count(Event::Held, 1);
        self.waiting.put(hop, port, Tag { why, port }.pack(), buf);
    }

    /// Puts a packet aside until its owner becomes clear, or its turn comes.
    fn doubt(&mut self, port: PortId, buf: I::Buf, meta: &Meta) {
        self.counters.count(Event::Held, 1);
        let waiting = if self.rules.side(port) == Side::Inside { &mut self.turns } else { &mut self.doubtful };
        waiting.put(meta.key, port, buf, self.now);
    }

    /// A next hop is known now: what waited for it is judged anew.
    pub(super) fn release_waiting(&mut self, hop: HopId) {
        // No more than may wait, even if one waits again.
        for _ in 0..waiting::CAPACITY {
            let Some((port, tag, buf)) = self.waiting.take(hop) else { return };
            self.hops.count_waiting(hop, -1);
            self.counters.count(Event::Released, 1);
            self.judge_again(port, buf, Tag::unpack(tag).why);
        }
    }
}

/// "Network unreachable".
const NETWORK: u8 = 0;

/// Takes one from the time to live of a packet that is forwarded as it is.
fn pass_on(frame: &mut [u8], meta: &Meta) -> bool {
    use crate::wire::{checksum::Delta, ipv4::Ipv4};
    let Some(Ok((ip, _))) = frame.get_mut(usize::from(meta.l3)..).map(Ipv4::mut_from_prefix) else { return false };
    rewrite::forward_header(ip, Delta::NONE, Hop { decrement_ttl: true, id: None });
    true
}

fn check_ttl(meta: &Meta) -> Result<(), Verdict> {
    if meta.ttl <= 1 { Err(Verdict::Refuse(DropReason::TtlExceeded, Tell::time_exceeded())) } else { Ok(()) }
}

/// An address that no packet may come from, or go to: 0/8, 127/8, and 224/3 but for what the caller tells apart.
fn is_martian(addr: Ipv4Addr) -> bool {
    let [first, ..] = addr.octets();
    first == 0 || first == 127 || first >= 224
}

/// Whether a packet may be one that sets up a tunnel.
fn may_set_up(meta: &Meta) -> bool {
    meta.is_tunnel() || (meta.class == Class::Udp && meta.key.dst_port() == service::IKE)
}

/// An echo request, or a later fragment of one (a query's identifier stands on the asking side).
fn is_echo_request(meta: &Meta) -> bool {
    match meta.class {
        Class::IcmpQuery => meta.tcp_flags == icmp::ECHO_REQUEST,
        Class::LaterFragment => meta.key.proto == Proto::ICMP && meta.key.dst_port() == 0,
        _ => false,
    }
}

/// What TCP tracking needs of a segment; nothing for other packets.
fn segment(frame: &[u8], meta: &Meta) -> Result<Option<Segment>, Verdict> {
    if meta.class != Class::Tcp {
        return Ok(None);
    }
    let short = || Verdict::Drop(DropReason::TransportTooShort);
    let bytes = frame.get(usize::from(meta.l4)..meta.end()).ok_or_else(short)?;
    let Ok((h, after)) = tcp::Tcp::ref_from_prefix(bytes) else { return Err(short()) };
    let scale = if h.flags & tcp::flags::SYN != 0 {
        let options = h.header_len().checked_sub(tcp::LEN).and_then(|n| after.get(..n)).unwrap_or_default();
        tcp::find_option(options, tcp::OPTION_WINDOW_SCALE, 3).and_then(|(_, v)| v.first().copied())
    } else {
        None
    };
    Ok(Some(Segment { flags: h.flags, seq: h.seq.get(), ack: h.ack.get(), scale }))
}
