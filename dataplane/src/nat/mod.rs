//! NAT44: decisions about flows. What is decided here is carried out by [`crate::worker`].
//!
//! [`Nat`] holds a shard's sessions, mappings, subscribers and ports, and answers two questions: which session does a
//! packet from an inside host use ([`Nat::outbound`]), and which one from outside ([`Nat::inbound`])? Both open one
//! where policy allows, or say why not. Buffers, links and time-outs of packets are not its business.

mod ahead;
mod expiry;
pub mod fragments;
pub mod held_syn;
pub mod icmp_error;
mod inbound;
pub mod mapping;
mod outbound;
pub mod ports;
pub(crate) mod review;
pub mod rewrite;
pub mod subscriber;

use crate::flow::index::Hasher;
use crate::flow::session::{NewSession, Session, SessionId, Sessions, flags};
use crate::flow::tcp;
use crate::passthrough::Vpn;
use crate::passthrough::service::Service;
use crate::policy::{Filtering, Rules};
use crate::types::{Direction, Endpoint, Inside, Key, Outside, Proto, Tick, WorkerId};
use crate::verdict::{Counters, DropReason, Event};
use mapping::{Mapping, MappingId, Mappings};
use ports::Ports;
use std::net::Ipv4Addr;
use std::sync::Arc;
use subscriber::{SubscriberId, Subscribers};

/// One worker's share of the NAT. See the module.
pub struct Nat {
    /// What the operator wants.
    pub rules: Arc<Rules>,
    /// Sessions.
    pub sessions: Sessions,
    /// Mappings.
    pub mappings: Mappings,
    /// Subscribers.
    pub subscribers: Subscribers,
    /// VPN passthrough.
    pub vpn: Vpn,
    pub(crate) me: WorkerId,
    pub(crate) ports: Ports,
    pairing: Hasher,
    pub(crate) counters: Arc<Counters>,
}

impl Nat {
    /// An empty shard for `worker`.
    #[must_use]
    pub fn new(rules: Arc<Rules>, worker: WorkerId, counters: Arc<Counters>, now: Tick) -> Self {
        let p = &rules.policy;
        let share = |total: usize| total.div_ceil(usize::from(rules.sharding.workers()));
        // Each worker hashes differently: a bucket that collides in one shard does not in the others.
        let seed = p.seed.wrapping_add(u64::from(worker.0).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let by_address = p.filtering == Filtering::AddressDependent;
        Self {
            sessions: Sessions::new(share(p.sizes.sessions), seed, now, by_address),
            mappings: Mappings::new(share(p.sizes.mappings), seed, p.timeouts.hold_down),
            subscribers: Subscribers::new(share(p.sizes.subscribers), seed),
            ports: Ports::new(&rules, worker),
            pairing: Hasher::new(p.seed ^ 0x5061_6972),
            vpn: Vpn::new(p, rules.sharding.workers(), seed),
            me: worker,
            rules,
            counters,
        }
    }

    /// Bytes that all workers' tables take together.
    #[must_use]
    pub fn memory(rules: &Rules) -> usize {
        let p = &rules.policy;
        let workers = usize::from(rules.sharding.workers());
        Sessions::memory(p.sizes.sessions, p.filtering == Filtering::AddressDependent)
            + Mappings::memory(p.sizes.mappings)
            + Subscribers::memory(p.sizes.subscribers)
            + Ports::memory(rules.pool_total() as usize, workers)
            + Vpn::memory(p.passthrough.tunnels, rules.sharding.workers())
    }

    /// How long a session may go unused.
    #[must_use]
    pub fn timeout(&self, s: &Session) -> u32 {
        let t = &self.rules.policy.timeouts;
        match s.proto {
            Proto::TCP if s.state.is_established() => t.tcp_established,
            Proto::TCP if s.is(flags::HURRIED) && s.state.is_beginning() => t.tcp_transitory.min(HURRIED_MS),
            Proto::TCP => t.tcp_transitory,
            Proto::ICMP => t.icmp,
            _ => t.udp,
        }
    }

    /// Puts a session into the table and counts it for its mapping and subscriber, which must have been admitted.
    fn open(&mut self, new: &NewSession, subscriber: SubscriberId, now: Tick) -> Result<SessionId, DropReason> {
        let t = &self.rules.policy.timeouts;
        let mut new = *new;
        let crowd = self.subscribers.get(subscriber).map_or(0, |s| s.sessions);
        if new.proto == Proto::TCP
            && new.flags & flags::FROM_OUTSIDE != 0
            && crowd > self.rules.policy.limits.sessions / 2
        {
            new.flags |= flags::HURRIED;
        }
        if self.follows(&new) {
            new.flags |= flags::FOLLOWED;
        }
        let timeout = match new.proto {
            Proto::TCP if new.flags & flags::HURRIED != 0 => t.tcp_transitory.min(HURRIED_MS),
            Proto::TCP => t.tcp_transitory,
            Proto::ICMP => t.icmp,
            _ => t.udp,
        };
        // The caller looked the packet's own key up; the answers' key must be new as well.
        let ((Inside(inside), Outside(outside)), remote) = ((new.inside, new.outside), new.remote);
        let answered_by = if new.flags & flags::FROM_OUTSIDE != 0 {
            self.sessions.find(&Key::new(new.proto, inside, remote), Direction::Out)
        } else {
            self.sessions.find(&Key::new(new.proto, remote, outside), Direction::In)
        };
        if answered_by.is_some() {
            return Err(DropReason::Clash);
        }
        let id = self.sessions.open(&new, now, timeout).map_err(|_| DropReason::SessionTableFull)?;
        if let Some(s) = self.subscribers.get_mut(subscriber) {
            s.sessions += 1;
        }
        if new.flags & flags::STATIC == 0
            && let Some(m) = self.mappings.get_mut(MappingId(new.owner))
        {
            if new.flags & flags::HOLDS_MAPPING != 0 {
                m.holders += 1;
            } else {
                m.guests += 1;
            }
        }
        self.counters.session_begins(new.proto);
        let called = if new.flags & flags::FROM_OUTSIDE != 0 { inside.port } else { remote.port };
        if new.proto == Proto::TCP && Service::may_be_tls(called) {
            self.counters.count(Event::TlsVpnConnections, 1);
        }
        Ok(id)
    }

    /// The subscriber behind an inside address; `Err` when one more session is not admitted.
    pub(crate) fn admit(
        &mut self,
        inside: Inside<Endpoint>,
        by: Direction,
        now: Tick,
    ) -> Result<SubscriberId, DropReason> {
        let limits = &self.rules.policy.limits;
        let (id, new) =
            self.subscribers.find_or_open(inside.0.addr, limits, now).map_err(|_| DropReason::SubscriberTableFull)?;
        if new {
            self.counters.count(Event::SubscribersOpened, 1);
        }
        let admitted = match self.subscribers.get_mut(id) {
            Some(s) => s.admit_session(limits, by, now),
            None => Err(DropReason::SubscriberTableFull),
        };
        if let Err(reason) = admitted {
            self.leave(id);
            return Err(reason);
        }
        Ok(id)
    }

    /// Forgets a subscriber that has nothing (any more).
    pub(crate) fn leave(&mut self, id: SubscriberId) {
        if self.subscribers.close_if_idle(id) {
            self.counters.count(Event::SubscribersClosed, 1);
        }
    }

    /// Ends a session with all that hangs on it.
    pub fn close(&mut self, id: SessionId, now: Tick) -> Option<Session> {
        if self.sessions.get(id)?.is(flags::FOLLOWED) {
            self.control_closed(id);
        }
        let s = self.sessions.close(id)?;
        self.counters.session_ends(s.proto);
        let subscriber = if s.is(flags::STATIC) {
            SubscriberId(s.owner)
        } else {
            let mapping = MappingId(s.owner);
            let Some(m) = self.mappings.get_mut(mapping) else { return Some(s) };
            let subscriber = SubscriberId(m.subscriber);
            if s.is(flags::HOLDS_MAPPING) {
                m.holders = m.holders.saturating_sub(1);
            } else {
                m.guests = m.guests.saturating_sub(1);
            }
            if m.holders == 0 && m.is_live() {
                let proto = m.proto;
                self.mappings.hold(mapping, now);
                self.counters.mapping_ends(proto);
                if let Some(sub) = self.subscribers.get_mut(subscriber) {
                    sub.count_port(proto, -1);
                }
            }
            subscriber
        };
        // A guest may outlive its mapping's subscription; its session was counted where `owner` of the record says.
        if let Some(sub) = self.subscribers.get_mut(subscriber)
            && sub.addr == s.inside
        {
            sub.sessions = sub.sessions.saturating_sub(1);
        }
        self.leave(subscriber);
        Some(s)
    }

    /// The inside sent in a session that an outsider had opened: it holds its mapping from now on, and wakes it where
    /// the last holder had left it at rest.
    pub fn confirm_guest(&mut self, id: SessionId) {
        let Some(s) = self.sessions.get_mut(id) else { return };
        if s.flags & (flags::STATIC | flags::HOLDS_MAPPING) != 0 {
            return;
        }
        let mapping = MappingId(s.owner);
        self.sessions.hold_mapping(id);
        let Some(m) = self.mappings.get_mut(mapping) else { return };
        m.guests = m.guests.saturating_sub(1);
        m.holders += 1;
        if !m.is_live() {
            // The guest's session has kept the subscriber's record, so its number still holds.
            let (subscriber, proto) = (SubscriberId(m.subscriber), m.proto);
            self.mappings.revive(mapping, subscriber.0);
            if let Some(sub) = self.subscribers.get_mut(subscriber) {
                sub.count_port(proto, 1);
            }
            self.counters.mapping_begins(proto);
        }
    }

    /// The pool address of an inside host, where it has no configured one [4787 REQ-2].
    pub(crate) fn paired_address(&self, inside: Ipv4Addr) -> Option<Ipv4Addr> {
        let known = self.subscribers.find(inside).and_then(|id| self.subscribers.get(id)).map(|s| s.paired);
        if let Some(addr) = known.filter(|a| self.rules.in_pool(*a)) {
            return Some(addr);
        }
        self.rules.pool_address(self.paired_number(inside)?)
    }

    /// Remembers the pool address that a subscriber was given.
    pub(crate) fn pair(&mut self, id: SubscriberId, outside: Ipv4Addr) {
        if !self.rules.in_pool(outside) {
            return;
        }
        if let Some(s) = self.subscribers.get_mut(id)
            && !self.rules.in_pool(s.paired)
        {
            s.paired = outside;
        }
    }

    /// A dynamic mapping's port is free again, unless the configuration has it by now.
    pub(crate) fn free_port(&mut self, m: &Mapping) {
        if let Some(number) = self.rules.pool_number(m.outside.0.addr)
            && !self.rules.forwards_port(m.proto, m.outside.0)
        {
            self.ports.give_back(number, m.proto, m.outside.0.port);
        }
    }

    /// Its number in the pool; `None` for an empty pool.
    #[allow(clippy::cast_possible_truncation, reason = "a remainder by a u32")]
    fn paired_number(&self, inside: Ipv4Addr) -> Option<u32> {
        let size = self.rules.pool_size();
        (size > 0).then(|| (self.pairing.addr(inside) % u64::from(size.max(1))) as u32)
    }

    /// Random bits for choices of the slow path.
    pub fn random(&mut self) -> u32 {
        self.ports.random_u32()
    }
}

/// A stranger's connection that has not come about must, at a subscriber with many sessions, within this time: what a
/// flood of SYNs takes, it gives back soon [RFC 7857 §2.1 lets partially open sessions go early].
const HURRIED_MS: u32 = 10_000;

/// What TCP told, for [`Nat::track`].
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Flags.
    pub flags: u8,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Window scale of a SYN.
    pub scale: Option<u8>,
}

impl Nat {
    /// Whether a stranger's packet to the inside end of a session would be let in.
    fn admits_strangers(&self, s: &Session) -> bool {
        if let Some(m) = self.rules.static_in(s.proto, s.outside()) {
            return m.open || self.rules.allows(s.proto, m.inside);
        }
        let live = self.mappings.find_outside(s.proto, s.outside()).and_then(|id| self.mappings.get(id));
        live.is_some_and(Mapping::is_live)
            && match self.rules.policy.filtering {
                Filtering::EndpointIndependent => true,
                Filtering::AddressDependent => self.sessions.knows_address(s.proto, s.outside(), s.remote),
                Filtering::AddressAndPortDependent => false,
            }
    }

    /// Follows a TCP connection by one segment.
    ///
    /// # Errors
    /// Why the segment must not pass; the session is unchanged then.
    pub fn track(&mut self, id: SessionId, by: Direction, segment: &Segment, now: Tick) -> Result<(), DropReason> {
        let check = self.rules.policy.check_reset;
        let Some(s) = self.sessions.get_mut(id) else { return Err(DropReason::TcpNoSession) };
        let mut event = tcp::Event::of(segment.flags);
        let opener = s.opener();
        if event == tcp::Event::Fin && check && !s.track().believes_fin(by, segment.seq) {
            // It goes on, for the end host to judge; to us it is a segment like others.
            event = tcp::Event::Data;
        }
        if event == tcp::Event::Reset
            && check
            && !s.track().believes_reset(s.state, opener, by, segment.flags, segment.seq, segment.ack)
        {
            self.counters.count(Event::BadResets, 1);
            return Err(DropReason::TcpBadReset);
        }
        let before = s.state;
        // Asked for a SYN alone: whether it would open a session, were there none.
        let admitted = event == tcp::Event::Syn && by == Direction::In && {
            let s = *s;
            self.admits_strangers(&s)
        };
        let Some(s) = self.sessions.get_mut(id) else { return Err(DropReason::TcpNoSession) };
        match tcp::step(before, opener, by, event, admitted) {
            tcp::Step::RefuseSyn => return Err(DropReason::TcpSynOnClosed),
            tcp::Step::To(state) => s.state = state,
        }
        if s.state == tcp::State::Opening && before != tcp::State::Opening {
            // A new connection on the same ends: whose it is, is said by this SYN and not by the old one's.
            s.set_track(tcp::Track::default());
            s.flags = match by {
                Direction::Out => s.flags & !flags::FROM_OUTSIDE,
                Direction::In => s.flags | flags::FROM_OUTSIDE,
            };
        }
        // A SYN inside a connection is the end host's to challenge [RFC 5961 §4]; a forged one must not move the window
        // for the forged reset that follows it.
        let begins = matches!(before, tcp::State::Opening | tcp::State::Crossed | tcp::State::Answered)
            || s.state == tcp::State::Opening;
        if begins || !matches!(event, tcp::Event::Syn | tcp::Event::SynAck) {
            let mut track = s.track();
            track.note(by, segment.flags, segment.seq, segment.ack, segment.scale);
            s.set_track(track);
        }
        // A connection that is over is not kept alive by stragglers, nor a stranger's by the stranger [4787 REQ-6]: not
        // while it is a guest, and not before the inside has taken part in it.
        let over = before == s.state && matches!(before, tcp::State::Closed | tcp::State::Reset);
        let theirs = s.flags & (flags::HOLDS_MAPPING | flags::STATIC) == 0
            || (s.flags & flags::FROM_OUTSIDE != 0 && s.state.is_beginning());
        if !over && (by == Direction::Out || !theirs) {
            s.last_used = now;
        }
        if s.state != before {
            let s = *s;
            let timeout = self.timeout(&s);
            self.sessions.look_again(id, s.last_used.after(timeout));
        }
        Ok(())
    }
}

/// Where a session leads, once found.
pub type Translation = (Inside<Endpoint>, Outside<Endpoint>);
