//! From outside, or from an inside host by an outside address: which session, and who is let in.

use super::Nat;
use super::outbound::may_open;
use crate::flow::session::{NewSession, Session, SessionId, flags};
use crate::packet::Meta;
use crate::passthrough::Came;
use crate::passthrough::service::{IKE, Service};
use crate::policy::{Filtering, StaticMapping};
use crate::types::{Direction, Inside, Key, Outside, PortId, Proto, Tick};
use crate::verdict::DropReason;

impl Nat {
    /// The session that a packet to an outside address of ours uses, opened where a forward, the firewall or the
    /// filtering mode lets it in.
    ///
    /// # Errors
    /// Why there is none and none may be.
    pub fn inbound(&mut self, meta: &Meta, frame: &[u8], came: Came, now: Tick) -> Result<SessionId, DropReason> {
        if let Some(id) = self.sessions.find(&meta.key, Direction::In) {
            let leg = self.sessions.get(id).is_some_and(Session::is_tunnels);
            return Ok(if leg { self.leg_received(id, now) } else { id });
        }
        if meta.is_tunnel() {
            may_open(meta)?;
            return self.tunnel_in(meta, came, now);
        }
        if meta.key.proto == Proto::UDP
            && meta.key.ident == Key::ports(IKE, IKE)
            && self.rules.keeps_ike_port(meta.key.to())
            && let Some(leg) = self.kept_ike(meta, frame, now)
        {
            return Ok(leg);
        }
        self.open_inbound(meta, frame, came.hairpin, now)
    }

    #[cold]
    #[inline(never)]
    fn open_inbound(&mut self, meta: &Meta, frame: &[u8], hairpin: bool, now: Tick) -> Result<SessionId, DropReason> {
        let proto = meta.key.proto;
        if let Some(off) = Service::refused(&self.rules.policy.passthrough, &meta.key, Direction::In) {
            return Err(off);
        }
        let outside = Outside(meta.key.to());
        let hairpin = if hairpin { flags::HAIRPIN } else { 0 };
        if let Some(s) = self.rules.static_in(proto, outside) {
            return self.open_static(meta, s, hairpin, now);
        }
        let Some(id) = self.mappings.find_outside(proto, outside) else { return Err(DropReason::Unsolicited) };
        let Some(m) = self.mappings.get(id).filter(|m| m.is_live()).copied() else {
            return Err(DropReason::Unsolicited);
        };
        let admitted = match self.rules.policy.filtering {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => self.sessions.knows_address(proto, outside, meta.key.src),
            Filtering::AddressAndPortDependent => false,
        };
        if !admitted && !self.answers_from_elsewhere(meta, frame, now) {
            return Err(DropReason::Filtered);
        }
        may_open(meta)?;
        let subscriber = self.admit(m.inside, Direction::In, now)?;
        let Some(inside_port) = self.inside_port(m.inside) else {
            self.leave(subscriber);
            return Err(DropReason::NoRoute);
        };
        let new = NewSession {
            proto,
            inside: m.inside,
            outside,
            remote: meta.key.from(),
            owner: id.0,
            flags: flags::FROM_OUTSIDE | hairpin,
            inside_port,
        };
        let opened = self.open(&new, subscriber, now);
        if opened.is_err() {
            self.leave(subscriber);
        }
        opened
    }

    fn open_static(
        &mut self,
        meta: &Meta,
        mapping: StaticMapping,
        hairpin: u8,
        now: Tick,
    ) -> Result<SessionId, DropReason> {
        if !mapping.open && !self.rules.allows(meta.key.proto, mapping.inside) {
            return Err(DropReason::FirewallDenied);
        }
        may_open(meta)?;
        let subscriber = self.admit(mapping.inside, Direction::In, now)?;
        let Some(inside_port) = self.inside_port(mapping.inside) else {
            self.leave(subscriber);
            return Err(DropReason::NoRoute);
        };
        let new = NewSession {
            proto: meta.key.proto,
            inside: mapping.inside,
            outside: mapping.outside,
            remote: meta.key.from(),
            owner: subscriber.0,
            flags: flags::FROM_OUTSIDE | flags::STATIC | hairpin,
            inside_port,
        };
        let opened = self.open(&new, subscriber, now);
        if opened.is_err() {
            self.leave(subscriber);
        }
        opened
    }

    /// The port that an inside host is behind.
    fn inside_port(&self, Inside(e): Inside<crate::types::Endpoint>) -> Option<PortId> {
        self.rules.route(e.addr).map(|r| r.port)
    }
}
