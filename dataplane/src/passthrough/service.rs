//! VPN protocols by their well-known ports, for the switches and for statistics.

use crate::policy::{Passthrough, Switch};
use crate::types::{Direction, Key, Proto};
use crate::verdict::DropReason;

/// PPTP's control connection [RFC 2637 §3].
pub const PPTP: u16 = 1723;
/// L2TP over UDP [RFC 2661 §8.1].
pub const L2TP: u16 = 1701;
/// IKE [RFC 7296 §2].
pub const IKE: u16 = 500;
/// IKE and ESP in UDP [RFC 3948 §2].
pub const NAT_T: u16 = 4500;
/// OpenVPN's registered port.
pub const OPENVPN: u16 = 1194;
/// The port of WireGuard's examples.
pub const WIREGUARD: u16 = 51_820;
/// HTTPS, which SSTP uses.
pub const HTTPS: u16 = 443;

/// What a session carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// PPTP's control connection.
    Pptp,
    /// L2TP over UDP.
    L2tp,
    /// IKE on its own port.
    Ike,
    /// IKE and ESP in UDP.
    NatT,
    /// OpenVPN over UDP.
    OpenVpn,
    /// WireGuard.
    WireGuard,
}

impl Service {
    /// The service that a port is for.
    #[inline]
    #[must_use]
    pub const fn of_port(proto: Proto, port: u16) -> Option<Self> {
        match (proto, port) {
            (Proto::TCP, PPTP) => Some(Self::Pptp),
            (Proto::UDP, L2TP) => Some(Self::L2tp),
            (Proto::UDP, IKE) => Some(Self::Ike),
            (Proto::UDP, NAT_T) => Some(Self::NatT),
            (Proto::UDP, OPENVPN) => Some(Self::OpenVpn),
            (Proto::UDP, WIREGUARD) => Some(Self::WireGuard),
            _ => None,
        }
    }

    /// Whether a TCP connection to a port is of OpenVPN, or may be of SSTP: nothing else tells it from other TLS.
    #[must_use]
    pub const fn may_be_tls(port: u16) -> bool {
        matches!(port, OPENVPN | HTTPS)
    }

    /// The service whose server a new session's opener calls.
    #[must_use]
    pub const fn called(key: &Key) -> Option<Self> {
        Self::of_port(key.proto, key.dst_port())
    }

    /// The operator's switch, and the reason that goes with "off".
    const fn switch(self, p: &Passthrough) -> Option<(Switch, DropReason)> {
        match self {
            Self::Pptp => Some((p.pptp, DropReason::PptpOff)),
            Self::L2tp => Some((p.l2tp, DropReason::L2tpOff)),
            Self::Ike | Self::NatT => Some((p.ipsec, DropReason::IpsecOff)),
            Self::OpenVpn | Self::WireGuard => None,
        }
    }

    /// Whether its sessions are looked into.
    #[must_use]
    pub fn is_followed(self, p: &Passthrough) -> bool {
        self.switch(p).is_none_or(|(switch, _)| switch == Switch::On)
    }

    /// The reason to refuse a packet that no session is known for, where its service is switched off: what goes to
    /// a server, and what seems to come from one.
    #[must_use]
    pub fn refused(p: &Passthrough, key: &Key, by: Direction) -> Option<DropReason> {
        let from = match by {
            Direction::Out => None,
            Direction::In => Self::of_port(key.proto, key.src_port()),
        };
        [Self::called(key), from].into_iter().flatten().find_map(|s| match s.switch(p) {
            Some((Switch::Off, reason)) => Some(reason),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_switch_refuses_calls_to_servers_and_what_comes_from_them() {
        let p = Passthrough { ipsec: Switch::Off, l2tp: Switch::Plain, ..Passthrough::default() };
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(198, 51, 100, 1));
        let key = |from, to| Key { src: a, dst: b, ident: Key::ports(from, to), proto: Proto::UDP };
        assert_eq!(Service::refused(&p, &key(4000, 500), Direction::Out), Some(DropReason::IpsecOff));
        assert_eq!(Service::refused(&p, &key(4500, 4000), Direction::In), Some(DropReason::IpsecOff));
        // A client that happens to use such a port is not calling a server.
        assert_eq!(Service::refused(&p, &key(500, 53), Direction::Out), None);
        assert_eq!(Service::refused(&p, &key(4000, 1701), Direction::Out), None);
        assert!(!Service::L2tp.is_followed(&p) && Service::WireGuard.is_followed(&p));
    }
}
