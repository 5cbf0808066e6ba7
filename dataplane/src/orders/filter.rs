//! Which entries of the tables are meant: every condition that is there must hold.

use crate::flow::session::Session;
use crate::nat::mapping::Mapping;
use crate::nat::subscriber::Subscriber;
use crate::passthrough::show;
use crate::passthrough::tunnel::Kind;
use crate::policy::Net;
use crate::types::{Direction, Proto};
use std::net::Ipv4Addr;

/// See the module. Without a condition it means all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The inside host lies in this network.
    pub client: Option<Net>,
    /// The remote host does. Mappings and subscribers have none, so none of them is meant.
    pub server: Option<Net>,
    /// Our address does.
    pub outside: Option<Net>,
    /// IP protocol.
    pub proto: Option<Proto>,
    /// One of the ports, or the ICMP query identifier.
    pub port: Option<u16>,
    /// One of the SPIs, or of L2TPv3's session identifiers.
    pub spi: Option<u32>,
    /// One of PPTP's Call IDs.
    pub call_id: Option<u16>,
}

fn lies(addr: Ipv4Addr, net: Option<Net>) -> bool {
    net.is_none_or(|n| n.contains(addr))
}

impl Filter {
    /// Whether it has a condition.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    const fn names_tunnel(&self) -> bool {
        self.spi.is_some() || self.call_id.is_some()
    }

    /// Whether it means a session.
    #[must_use]
    pub fn session(&self, s: &Session) -> bool {
        let idents = [Direction::Out, Direction::In].map(|d| (s.key(d), s.left(d)));
        let any = |of: &dyn Fn(u32) -> bool| idents.iter().any(|(a, l)| of(a.ident) || of(l.ident));
        let ports = matches!(s.proto, Proto::TCP | Proto::UDP | Proto::ICMP);
        lies(s.inside, self.client)
            && lies(s.remote, self.server)
            && lies(s.outside, self.outside)
            && self.proto.is_none_or(|p| p == s.proto.wire())
            && self.port.is_none_or(|p| ports && [s.inside().0.port, s.outside().0.port, s.remote().port].contains(&p))
            && self.spi.is_none_or(|spi| matches!(s.proto, Proto::ESP | Proto::L2TP) && any(&|i| i == spi))
            && self.call_id.is_none_or(|id| {
                s.proto == Proto::GRE && s.key(Direction::Out).is_pptp() && any(&|i| i & 0xffff == u32::from(id))
            })
    }

    /// Whether it means a mapping.
    #[must_use]
    pub fn mapping(&self, m: &Mapping) -> bool {
        self.server.is_none()
            && !self.names_tunnel()
            && lies(m.inside.0.addr, self.client)
            && lies(m.outside.0.addr, self.outside)
            && self.proto.is_none_or(|p| p == m.proto)
            && self.port.is_none_or(|p| m.inside.0.port == p || m.outside.0.port == p)
    }

    /// Whether it means a tunnel.
    #[must_use]
    pub fn tunnel(&self, t: &show::Row) -> bool {
        let ids = [t.inside_id, t.outside_id, t.remote_id];
        let bears = |id: u32| ids.contains(&Some(id));
        lies(t.inside, self.client)
            && lies(t.remote, self.server)
            && lies(t.outside, self.outside)
            && self.proto.is_none_or(|p| p == t.kind.proto())
            && self.port.is_none_or(|p| t.kind == Kind::Ike && p == crate::passthrough::service::IKE)
            && self.spi.is_none_or(|spi| matches!(t.kind, Kind::Esp | Kind::L2tp) && bears(spi))
            && self.call_id.is_none_or(|id| {
                t.kind == Kind::Pptp && ids.iter().any(|i| i.is_some_and(|i| i & 0xffff == u32::from(id)))
            })
    }

    /// Whether it means a subscriber.
    #[must_use]
    pub fn subscriber(&self, s: &Subscriber) -> bool {
        let other = self.server.is_some() || self.outside.is_some() || self.proto.is_some() || self.port.is_some();
        lies(s.addr, self.client) && !other && !self.names_tunnel()
    }
}
