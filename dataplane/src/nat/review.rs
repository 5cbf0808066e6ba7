//! Whether what there is still stands under new rules: a session lives on while the rule that let it in is there, and
//! ends with it.
//!
//! | session | stands while |
//! |---|---|
//! | by a mapping | its outside address is ours, in the pool or draining |
//! | by a forward, or one to one | that leads to the same inside endpoint; opened from outside one to one, the firewall allows it |
//! | opened from outside and unanswered | the filtering mode would let it in |
//! | hairpinned | hairpinning is on |
//! | of a VPN's control port, a tunnel | its switch is on, or its protocol named; a forward that it came by is there |
//!
//! What stands may have another way to go: a next hop that no route leads to any more is forgotten, and found anew with
//! the next packet. And its time-out may be another.

use super::Nat;
use crate::flow::session::{Session, SessionId, flags};
use crate::link::neighbour::{HopId, Neighbours};
use crate::passthrough::service::Service;
use crate::passthrough::tunnel::{Kind, Tunnel, TunnelId};
use crate::policy::{Filtering, IkePort, Rules, Switch};
use crate::types::{Direction, Endpoint, Inside, Outside, Tick};

/// What became of a session that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reviewed {
    /// It stands, or there is none.
    Stands,
    /// It ended.
    Ended,
    /// Its tunnel ended.
    TunnelEnded,
}

impl Nat {
    /// Looks at a session after `old` rules gave way to those that are in force.
    pub(crate) fn review(&mut self, id: SessionId, old: &Rules, hops: &Neighbours, now: Tick) -> Reviewed {
        let Some(s) = self.sessions.get(id).copied() else { return Reviewed::Stands };
        if s.is_tunnels() && s.is(flags::BORROWED) {
            // Home ends it with its tunnel.
            self.review_hops(id, &s, hops);
            return Reviewed::Stands;
        }
        if s.is_tunnels() {
            let tunnel = TunnelId(s.owner);
            if self.vpn.tunnels.get(tunnel).is_some_and(|t| !self.tunnel_stands(t, old)) {
                self.end_tunnel(tunnel);
                return Reviewed::TunnelEnded;
            }
        } else {
            if !self.session_stands(&s) {
                self.close(id, now);
                return Reviewed::Ended;
            }
            self.review_following(id, &s);
        }
        self.review_hops(id, &s, hops);
        if let Some(s) = self.sessions.get(id) {
            let deadline = if s.is_tunnels() { self.leg_deadline(s) } else { s.last_used.after(self.timeout(s)) };
            self.sessions.look_again(id, deadline);
        }
        Reviewed::Stands
    }

    fn session_stands(&self, s: &Session) -> bool {
        let policy = &self.rules.policy;
        let from_outside = s.is(flags::FROM_OUTSIDE);
        let (key, by) =
            if from_outside { (s.key(Direction::In), Direction::In) } else { (s.key(Direction::Out), Direction::Out) };
        if Service::refused(&policy.passthrough, &key, by).is_some() || (s.is(flags::HAIRPIN) && !policy.hairpin) {
            return false;
        }
        if s.is(flags::STATIC) {
            let Some(m) = self.rules.static_in(s.proto, s.outside()) else { return false };
            return m.inside == s.inside() && (m.open || !from_outside || self.rules.allows(s.proto, m.inside));
        }
        let unanswered = from_outside && !s.is(flags::HOLDS_MAPPING);
        let filtered = match policy.filtering {
            Filtering::EndpointIndependent => false,
            Filtering::AddressDependent => !self.sessions.knows_address(s.proto, s.outside(), s.remote),
            Filtering::AddressAndPortDependent => true,
        };
        self.rules.local(s.outside).is_some() && !(unanswered && filtered)
    }

    fn tunnel_stands(&self, t: &Tunnel, old: &Rules) -> bool {
        let p = &self.rules.policy.passthrough;
        let carried = match t.kind {
            Kind::Pptp => p.pptp == Switch::On,
            Kind::Esp => p.ipsec == Switch::On,
            Kind::L2tp => p.l2tp == Switch::On,
            Kind::Ike => p.ipsec == Switch::On && p.ike_port == IkePort::Preserve,
            Kind::Other(proto) => self.rules.names(proto),
        };
        let by = |rules: &Rules| {
            let outside = Outside(Endpoint::new(t.outside, 0));
            rules.static_in(t.kind.proto(), outside).filter(|m| m.inside == Inside(Endpoint::new(t.inside, 0)))
        };
        carried && self.rules.local(t.outside).is_some() && (by(old).is_none() || by(&self.rules).is_some())
    }

    /// Follows a VPN's control traffic from now on, or no longer. A PPTP control connection that began unseen stays so.
    fn review_following(&mut self, id: SessionId, s: &Session) {
        let called = if s.is(flags::FROM_OUTSIDE) { s.inside().0.port } else { s.remote().port };
        let Some(service) = Service::of_port(s.proto, called) else { return };
        let follows = service.is_followed(&self.rules.policy.passthrough);
        if s.is(flags::FOLLOWED) && !follows {
            self.control_closed(id);
        }
        if let Some(s) = self.sessions.get_mut(id) {
            if !follows {
                s.flags &= !flags::FOLLOWED;
            } else if service != Service::Pptp {
                s.flags |= flags::FOLLOWED;
            }
        }
    }

    fn review_hops(&mut self, id: SessionId, s: &Session, hops: &Neighbours) {
        let leads = |hop, to| self.rules.route(to).is_some_and(|reach| hops.is_at(hop, reach.port, reach.via));
        let (outward, inward) = (s.is(flags::HAIRPIN) || leads(s.hop_out, s.remote), leads(s.hop_in, s.inside));
        if let Some(s) = self.sessions.get_mut(id) {
            if !outward {
                s.hop_out = HopId::NONE;
            }
            if !inward {
                s.hop_in = HopId::NONE;
            }
        }
    }
}
