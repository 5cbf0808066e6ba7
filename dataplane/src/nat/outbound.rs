//! From inside: which session, which mapping, which outside endpoint.

use super::Nat;
use super::mapping::MappingId;
use super::ports::Wish;
use super::subscriber::SubscriberId;
use crate::flow::session::{NewSession, Session, SessionId, flags};
use crate::packet::{Class, Meta};
use crate::passthrough::Came;
use crate::passthrough::service::{IKE, Service};
use crate::types::{Direction, Endpoint, Inside, Key, Outside, PortId, Proto, Tick};
use crate::verdict::DropReason;
use crate::wire::icmp;
use crate::wire::tcp::flags::{ACK, RST, SYN};

impl Nat {
    /// The session that a packet from inside host `meta.key.src` uses, opened if there is none. The caller has judged
    /// the addresses and found a route. `came.hairpin`: the destination is an outside address of ours.
    ///
    /// # Errors
    /// Why there is none and none may be.
    pub fn outbound(&mut self, meta: &Meta, ingress: PortId, came: Came, now: Tick) -> Result<SessionId, DropReason> {
        if let Some(id) = self.sessions.find(&meta.key, Direction::Out) {
            if self.sessions.get(id).is_some_and(Session::is_tunnels) {
                return self.leg_sent(id, came, now).map(|()| id);
            }
            // Turning a stranger away is no use of the mapping [RFC 7857 §7.1].
            if meta.class != Class::Tcp || meta.tcp_flags & RST == 0 {
                self.confirm_guest(id);
            }
            return Ok(id);
        }
        self.open_outbound(meta, ingress, came, now)
    }

    #[cold]
    #[inline(never)]
    fn open_outbound(&mut self, meta: &Meta, ingress: PortId, came: Came, now: Tick) -> Result<SessionId, DropReason> {
        may_open(meta)?;
        if meta.is_tunnel() {
            return self.tunnel_out(meta, came, now);
        }
        let proto = meta.key.proto;
        if let Some(off) = Service::refused(&self.rules.policy.passthrough, &meta.key, Direction::Out) {
            return Err(off);
        }
        if proto == Proto::UDP
            && meta.key.ident == Key::ports(IKE, IKE)
            && let Some(kept) = self.ike_out(meta, came.hairpin, now)
        {
            return kept;
        }
        let inside = Inside(meta.key.from());
        let hairpin = if came.hairpin { flags::HAIRPIN } else { 0 };
        let new = NewSession {
            proto,
            inside,
            outside: Outside(inside.0),
            remote: meta.key.to(),
            owner: 0,
            flags: flags::HOLDS_MAPPING | hairpin,
            inside_port: ingress,
        };
        let subscriber = self.admit(inside, Direction::Out, now)?;
        if let Some(s) = self.rules.static_out(proto, inside) {
            let new = NewSession { outside: s.outside, owner: subscriber.0, flags: flags::STATIC | hairpin, ..new };
            let opened = self.open(&new, subscriber, now);
            if opened.is_err() {
                self.leave(subscriber);
            }
            return opened;
        }
        let (mapping, revived) = match self.mapping_for(proto, inside, subscriber) {
            Ok(mapping) => mapping,
            Err(reason) => {
                self.leave(subscriber);
                return Err(reason);
            }
        };
        let Some(outside) = self.mappings.get(mapping).map(|m| m.outside) else {
            return Err(DropReason::MappingTableFull);
        };
        let opened = self.open(&NewSession { outside, owner: mapping.0, ..new }, subscriber, now);
        if opened.is_err() {
            self.undo_mapping(mapping, revived, subscriber, now);
        }
        opened
    }

    /// The mapping of an inside endpoint: the live one, the one at rest (then `true`), or a new one.
    fn mapping_for(
        &mut self,
        proto: Proto,
        inside: Inside<Endpoint>,
        subscriber: SubscriberId,
    ) -> Result<(MappingId, bool), DropReason> {
        let mut known = self.mappings.find_inside(proto, inside);
        if let Some(id) = known
            && let Some(m) = self.mappings.get(id)
        {
            if m.is_live() {
                return Ok((id, false));
            }
            // One at rest on an address that is no longer in the pool ends here: its address is to drain.
            if !self.rules.in_pool(m.outside.0.addr)
                && let Some(ended) = self.mappings.end_rest(id)
            {
                self.free_port(&ended);
                known = None;
            }
        }
        let limits = &self.rules.policy.limits;
        self.subscribers
            .get(subscriber)
            .map_or(Err(DropReason::SubscriberTableFull), |s| s.admit_port(limits, proto))?;
        let id = match known {
            Some(id) => {
                self.mappings.revive(id, subscriber.0);
                id
            }
            None => {
                let outside = self.outside_for(proto, inside)?;
                let id = self.mappings.open(proto, inside, outside, subscriber.0).map_err(|_| {
                    if let Some(number) = self.rules.pool_number(outside.0.addr) {
                        self.ports.give_back(number, proto, outside.0.port);
                    }
                    DropReason::MappingTableFull
                })?;
                self.pair(subscriber, outside.0.addr);
                id
            }
        };
        if let Some(s) = self.subscribers.get_mut(subscriber) {
            s.count_port(proto, 1);
        }
        self.counters.mapping_begins(proto);
        Ok((id, known.is_some()))
    }

    /// A free outside endpoint at the subscriber's address.
    fn outside_for(&mut self, proto: Proto, inside: Inside<Endpoint>) -> Result<Outside<Endpoint>, DropReason> {
        let size = self.rules.pool_size();
        let first = self.paired_address(inside.0.addr).and_then(|addr| self.rules.pool_number(addr));
        let first = first.ok_or(DropReason::PortsExhausted)?;
        let policy = &self.rules.policy;
        let wish =
            Wish { port: inside.0.port, preserve: policy.preserve_port, parity: policy.parity && proto == Proto::UDP };
        // Where another address may be taken, a few are tried and no more.
        const OTHERS: u32 = 8;
        let tries = if policy.other_address { size.min(OTHERS) } else { 1 };
        for n in 0..tries {
            let number = (first + n) % size;
            if let Some(port) = self.ports.choose(number, proto, wish)
                && let Some(addr) = self.rules.pool_address(number)
            {
                return Ok(Outside(Endpoint::new(addr, port)));
            }
        }
        Err(DropReason::PortsExhausted)
    }

    /// A session could not be opened: a mapping that was made or revived for it alone goes back to where it was.
    fn undo_mapping(&mut self, id: MappingId, revived: bool, subscriber: SubscriberId, now: Tick) {
        if let Some(m) = self.mappings.get(id).filter(|m| m.is_live() && m.holders == 0).copied() {
            if revived || self.mappings.discard(id).is_none() {
                self.mappings.hold(id, now);
            } else {
                self.free_port(&m);
            }
            self.counters.mapping_ends(m.proto);
            if let Some(s) = self.subscribers.get_mut(subscriber) {
                s.count_port(m.proto, -1);
            }
        }
        self.leave(subscriber);
    }
}

/// Whether a packet may begin a session at all.
pub(super) fn may_open(meta: &Meta) -> Result<(), DropReason> {
    match meta.class {
        _ if meta.fragment_offset() > 0 => Err(DropReason::FragmentOfDropped),
        Class::LaterFragment => Err(DropReason::FragmentOfDropped),
        Class::Tcp if meta.tcp_flags & (SYN | ACK | RST) == SYN => Ok(()),
        Class::Tcp => Err(DropReason::TcpNoSession),
        // An answer to a query that nobody asked.
        Class::IcmpQuery if matches!(meta.tcp_flags, icmp::ECHO_REPLY | icmp::TIMESTAMP_REPLY) => {
            Err(DropReason::Unsolicited)
        }
        Class::Udp | Class::IcmpQuery | Class::Tunnel | Class::L2tpControl | Class::Other => Ok(()),
        Class::IcmpError => Err(DropReason::Protocol),
    }
}
