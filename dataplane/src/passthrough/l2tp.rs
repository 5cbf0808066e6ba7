//! L2TP: version 2 over UDP 1701 [RFC 2661], version 3 over IP [RFC 3931].
//!
//! Version 2 needs only NAT, save for one thing: a server may answer from another port than 1701 [RFC 2661 §8.1]. Its
//! first answer names the tunnel identifier that the client assigned, so it is let in by that, once, from the same
//! address and within a minute of the request.
//!
//! Version 3 over IP has no ports: data goes by the session identifier, control by the control connection's, each chosen
//! by its receiver. The inside host's are read from its control messages and open inward legs; where a pair of hosts has
//! no control connection, [`super::pairing`] does it. Another host's identifier with the same server is refused.

use super::legs::Came;
use super::tunnel::{Kind, State, Tunnel, TunnelId};
use crate::flow::session::{Session, SessionId};
use crate::flow::tcp;
use crate::nat::Nat;
use crate::packet::Meta;
use crate::types::{Direction, Endpoint, Key, Proto, Tick};
use crate::verdict::DropReason;
use crate::wire::l2tp::{self, Control, message};
use std::net::Ipv4Addr;

/// Requests remembered.
const REQUESTS: usize = 256;
/// Of one client.
const OF_CLIENT: usize = 8;
/// A server answers within this [RFC 2661 §5.8: eight sends, doubling from 1 s, make about a minute].
const ANSWER_MS: u32 = 60_000;
/// Tunnels that a search looks at.
const LOOKS: usize = 64;

#[derive(Clone, Copy)]
struct Request {
    server: Ipv4Addr,
    inside: Ipv4Addr,
    outside: Endpoint,
    tunnel: u16,
    at: Tick,
}

/// Clients' requests whose answer may come from another port. A ring.
pub struct Answers {
    ring: [Option<Request>; REQUESTS],
    next: usize,
}

impl Default for Answers {
    fn default() -> Self {
        Self::new()
    }
}

impl Answers {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self { ring: [None; REQUESTS], next: 0 }
    }

    fn note(&mut self, r: Request) {
        let same = |o: &Request| o.server == r.server && o.outside == r.outside && o.tunnel == r.tunnel;
        if let Some(known) = self.ring.iter_mut().flatten().find(|o| same(o)) {
            known.at = r.at;
            return;
        }
        // A client that asks without end takes its own places.
        let fresh = |o: &&mut Option<Request>| o.is_some_and(|o| o.inside == r.inside && r.at.since(o.at) < ANSWER_MS);
        if self.ring.iter_mut().filter(fresh).count() >= OF_CLIENT {
            if let Some(own) = self.ring.iter_mut().find(fresh) {
                *own = Some(r);
            }
            return;
        }
        if let Some(place) = self.ring.get_mut(self.next) {
            *place = Some(r);
        }
        self.next = (self.next + 1) % REQUESTS;
    }

    fn take(&mut self, server: Ipv4Addr, outside: Endpoint, tunnel: u16, now: Tick) -> bool {
        let fits = |r: &Request| {
            r.server == server && r.outside == outside && r.tunnel == tunnel && now.since(r.at) < ANSWER_MS
        };
        let found = self.ring.iter_mut().find(|r| r.as_ref().is_some_and(fits));
        found.is_some_and(|r| r.take().is_some())
    }
}

impl Nat {
    /// Shows L2TP over UDP of a known session.
    pub(crate) fn inspect_l2tp(&mut self, s: &Session, by: Direction, payload: &[u8], now: Tick) {
        if by == Direction::In {
            return;
        }
        let Some(c) = l2tp::udp_control(payload) else { return };
        if c.version == 2
            && c.message_type == Some(message::SCCRQ)
            && let Some(tunnel) = c.assigned_tunnel
        {
            let outside = s.outside().0;
            self.vpn.answers.note(Request { server: s.remote, inside: s.inside, outside, tunnel, at: now });
        }
    }

    /// Whether a packet from outside is a server's first answer to a client's request, by another port.
    pub(crate) fn answers_l2tp(&mut self, key: &Key, payload: &[u8], now: Tick) -> bool {
        let Some(c) = l2tp::udp_control(payload) else { return false };
        c.version == 2
            && c.message_type == Some(message::SCCRP)
            && u16::try_from(c.connection).is_ok_and(|tunnel| self.vpn.answers.take(key.src, key.to(), tunnel, now))
    }

    /// A control packet from inside under an identifier that is new.
    pub(super) fn control_out(&mut self, meta: &Meta, hairpin: bool, now: Tick) -> Result<SessionId, DropReason> {
        let Key { src, dst, ident, proto } = meta.key;
        let outside = self.tunnel_address(Proto::L2TP, src)?;
        let known = self.vpn.tunnels.find(Kind::L2tp, src, outside, dst);
        let id = self.tunnel(Kind::L2tp, (src, outside, dst), Direction::Out, now)?;
        let leg = self.add_leg(id, Direction::Out, (proto, ident, ident), hairpin, DropReason::Clash, now);
        if leg.is_err() && known.is_none() {
            self.end_tunnel(id);
        }
        leg
    }

    /// Shows a control packet of L2TPv3 over IP: the inside host's identifiers open inward legs.
    ///
    /// # Errors
    /// An identifier is another host's already: the server would not be understood.
    pub(crate) fn inspect_l2tpv3(
        &mut self,
        leg: SessionId,
        by: Direction,
        control: Option<&Control>,
        now: Tick,
    ) -> Result<(), DropReason> {
        let Some(s) = self.sessions.get(leg).copied() else { return Ok(()) };
        let id = TunnelId(s.owner);
        let Some(c) = control else { return Ok(()) };
        if by == Direction::Out {
            let connection = c.assigned_connection.map(|ccid| (Proto::L2TP_CONTROL, ccid));
            let session = c.local_session.map(|session| (Proto::L2TP, session));
            for (proto, ident) in [connection, session].into_iter().flatten().filter(|(_, ident)| *ident != 0) {
                let hairpin = s.is(crate::flow::session::flags::HAIRPIN);
                let before = self.vpn.tunnels.get(id).map_or(0, |t| t.legs().count());
                let inward =
                    self.add_leg(id, Direction::In, (proto, ident, ident), hairpin, DropReason::L2tpIdTaken, now)?;
                let Some(t) = self.vpn.tunnels.get_mut(id) else { continue };
                // Whose it is, was said.
                if t.state == State::Confirmed
                    && let Some(s) = self.sessions.get_mut(inward)
                {
                    s.state = tcp::State::Established;
                }
                if proto == Proto::L2TP && t.legs().count() > before {
                    t.came_ahead(now, 8);
                }
            }
        }
        let closing = self.vpn.tunnels.get(id).is_some_and(|t| t.state == State::Closing);
        match c.message_type {
            Some(message::STOPCCN) if !closing => {
                self.close_soon(id, now);
                self.settle_legs(id, false, now);
            }
            Some(message::SCCRQ) if closing => self.vpn.tunnels.set_state(id, State::Pending),
            // It goes on: that end was another connection's, or forged.
            Some(message::HELLO | message::SCCCN | message::ICRQ) if closing && by == Direction::Out => {
                self.vpn.tunnels.set_state(id, State::Paired);
            }
            _ => {}
        }
        // A stranger whom nobody answered stays one, however often it asks.
        let is_outward = |l| self.sessions.get(l).is_some_and(|s| s.leg_direction() == Some(Direction::Out));
        let asked = |t: &Tunnel| t.state == State::Pending && t.legs().any(is_outward);
        if by == Direction::In && self.vpn.tunnels.get(id).is_some_and(asked) {
            self.vpn.tunnels.set_state(id, State::Paired);
        }
        Ok(())
    }
}

impl Nat {
    /// A control packet from outside under an identifier that is new: for the one inside host that set up a control
    /// connection without showing its identifier [RFC 3931 §4.3 lets it be hidden], else a stranger's.
    pub(super) fn control_in(&mut self, meta: &Meta, came: Came, now: Tick) -> Result<SessionId, DropReason> {
        let Key { src, dst, ident, proto } = meta.key;
        let is_control = |leg, way| {
            let s = self.sessions.get(leg);
            s.is_some_and(|s| s.proto == Proto::L2TP_CONTROL && s.leg_direction() == Some(way))
        };
        let asks = |t: &Tunnel| {
            t.state == State::Pending
                && t.legs().any(|l| is_control(l, Direction::Out))
                && !t.legs().any(|l| is_control(l, Direction::In))
        };
        let pending = self.vpn.tunnels.gateway(Proto::L2TP, src, dst).map_or(0, |g| g.pending);
        let mut only = None;
        if ident != 0 && pending > 0 {
            let mut all = self.vpn.tunnels.of_gateway(Proto::L2TP, src, dst).take(LOOKS).filter(|(_, t)| asks(t));
            only = all.next().map(|(id, _)| id).filter(|_| all.next().is_none());
        }
        match only {
            Some(id) => {
                let idents = (proto, ident, ident);
                self.add_leg(id, Direction::In, idents, came.hairpin, DropReason::L2tpNoSession, now)
            }
            None => self.stranger_in(meta, Kind::L2tp, DropReason::L2tpNoSession, came, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(client: u8, tunnel: u16, at: u32) -> Request {
        Request {
            server: Ipv4Addr::new(198, 51, 100, 7),
            inside: Ipv4Addr::new(10, 0, 0, client),
            outside: Endpoint::new(Ipv4Addr::new(203, 0, 113, 2), 1701),
            tunnel,
            at: Tick(at),
        }
    }

    #[test]
    fn an_answer_is_let_in_once_and_in_time() {
        let mut a = Answers::new();
        let r = request(1, 7, 0);
        a.note(r);
        assert!(!a.take(r.server, r.outside, 8, Tick(1)));
        assert!(!a.take(r.server, r.outside, 7, Tick(ANSWER_MS)));
        assert!(a.take(r.server, r.outside, 7, Tick(1)));
        assert!(!a.take(r.server, r.outside, 7, Tick(1)));
    }

    #[test]
    fn a_client_that_asks_without_end_displaces_nobody_else() {
        let mut a = Answers::new();
        let other = request(2, 7, 0);
        a.note(other);
        for tunnel in 0..2000 {
            a.note(request(1, tunnel, 1));
        }
        assert!(a.take(other.server, other.outside, 7, Tick(2)));
    }
}
