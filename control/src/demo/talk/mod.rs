//! Simulated conversations. Each plays all of its parties, inside and outside, and checks at each of them what arrived.
//!
//! A conversation is a small state machine over frames: [`Talk::start`] sends the first, [`Talk::hear`] gets each frame
//! that came through the router and was recognised as this conversation's by what the router does not touch, whoever
//! it was delivered to. So a packet at the wrong host is seen as just that.

mod avp;
mod dgram;
mod echo;
mod fragments;
mod ipsec;
mod l2tp;
mod l2tpv3;
mod openvpn;
mod path;
#[cfg(test)]
mod perfect;
mod pptp;
mod punch;
mod stranger;
mod stream;
mod tcp;
#[cfg(test)]
mod tests;
mod tunnel;
#[cfg(test)]
mod vpn_tests;
mod wireguard;

use super::chance;
use super::world::World;
use dataplane::types::Side;
use std::fmt;
use std::net::SocketAddrV4;
use testkit::{Seen, Transport, protocol};

macro_rules! kinds {
    ($( $(#[doc = $doc:literal])+ $name:ident = $label:literal, $title:literal; )+) => {
        /// What sort of conversation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(in crate::demo) enum Kind { $( $(#[doc = $doc])+ $name, )+ }

        impl Kind {
            /// All, in the order of the table.
            pub(in crate::demo) const ALL: &'static [Self] = &[ $( Self::$name, )+ ];
            /// How many there are.
            pub(in crate::demo) const COUNT: usize = Self::ALL.len();

            /// Name in JSON.
            pub(in crate::demo) const fn label(self) -> &'static str {
                match self { $( Self::$name => $label, )+ }
            }

            /// Name in the table.
            pub(in crate::demo) const fn title(self) -> &'static str {
                match self { $( Self::$name => $title, )+ }
            }
        }
    };
}

kinds! {
    /// A station asks for an address of the router.
    Arp = "arp", "ARP: where is the router";
    /// Questions and answers with two servers from one port.
    Udp = "udp", "UDP: one port, two servers";
    /// A whole connection to a server.
    Tcp = "tcp", "TCP: handshake, data, FIN";
    /// Echo requests and replies.
    Ping = "ping", "ping";
    /// The router's time exceeded, then the server's port unreachable.
    Traceroute = "traceroute", "traceroute: two hops";
    /// Fragmentation needed, then what fits.
    PathMtu = "path_mtu", "path MTU discovery";
    /// A datagram in pieces, out of order, and one back.
    Fragments = "fragments", "fragments, out of order";
    /// A connection from the world to an inside server.
    Forward = "forward", "port forward from outside";
    /// The same from an inside host.
    Hairpin = "hairpin", "hairpin to the forward";
    /// Two inside hosts meet at their outside endpoints.
    Punch = "hole_punch", "hole punching";
    /// Packets that nobody asked for.
    Stranger = "stranger", "strangers kept out";
    /// Calls of several clients to one server, all with the same Call ID.
    Pptp = "pptp", "PPTP: clients, one Call ID";
    /// IKE and ESP of several clients with one gateway, keys changed.
    Ipsec = "ipsec", "IKE, ESP: clients, rekey";
    /// Tunnels of several clients from one port.
    L2tp = "l2tp", "L2TP: clients, port 1701";
    /// Sessions of several clients without ports.
    L2tpV3 = "l2tpv3", "L2TPv3 over IP: clients";
    /// Several clients of one server.
    OpenVpn = "openvpn", "OpenVPN: clients";
    /// Several clients of one server, which moves.
    WireGuard = "wireguard", "WireGuard: clients, roaming";
    /// A flow of many packets.
    Bulk = "bulk", "bulk UDP flows";
}

impl Kind {
    /// Whether it is a VPN's.
    pub(in crate::demo) const fn is_vpn(self) -> bool {
        matches!(self, Self::Pptp | Self::Ipsec | Self::L2tp | Self::L2tpV3 | Self::OpenVpn | Self::WireGuard)
    }
}

/// A frame that came through the router.
pub(in crate::demo) struct Heard<'a> {
    /// The side on which it came out.
    pub(in crate::demo) side: Side,
    /// What it says.
    pub(in crate::demo) seen: &'a Seen,
    /// Its bytes (of the whole datagram where it came in fragments).
    pub(in crate::demo) frame: &'a [u8],
}

/// What ends a conversation badly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::demo) enum Fault {
    /// Something arrived that must not have, or not like this.
    Wrong(String),
    /// Something did not arrive.
    Silence(String),
}

impl From<String> for Fault {
    fn from(what: String) -> Self {
        Self::Wrong(what)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(what) => f.write_str(what),
            Self::Silence(what) => write!(f, "nothing came, waiting for {what}"),
        }
    }
}

/// Whether all was right.
pub(in crate::demo) type Judged = Result<(), Fault>;

/// See the module.
pub(in crate::demo) trait Talk: Send {
    /// Sends the first frame.
    fn start(&mut self, world: &mut World);
    /// A frame of this conversation arrived somewhere.
    fn hear(&mut self, heard: &Heard<'_>, world: &mut World) -> Judged;
    /// Time has passed.
    fn tick(&mut self, _: &mut World) -> Judged {
        Ok(())
    }
    /// Whether everything that must arrive has.
    fn is_done(&self) -> bool;
    /// What has to arrive next, for whoever reads that it did not.
    fn awaits(&self) -> String;
}

/// Casts a conversation. Its number is in each of its packets.
pub(in crate::demo) fn cast(kind: Kind, id: u32, world: &mut World) -> Option<Box<dyn Talk>> {
    Some(match kind {
        Kind::Arp | Kind::Bulk => return None,
        Kind::Udp => Box::new(dgram::Datagrams::new(id, world)),
        Kind::Tcp => Box::new(tcp::Connection::outward(id, world)),
        Kind::Forward => Box::new(tcp::Connection::inward(id, world)),
        Kind::Hairpin => Box::new(tcp::Connection::hairpin(id, world)),
        Kind::Ping => Box::new(echo::Ping::new(id, world)),
        Kind::Traceroute => Box::new(path::Traceroute::new(id, world)),
        Kind::PathMtu => Box::new(path::PathMtu::new(id, world)),
        Kind::Fragments => Box::new(fragments::Pieces::new(id, world)),
        Kind::Punch => Box::new(punch::Punch::new(id, world)),
        Kind::Stranger => Box::new(stranger::Stranger::new(id, world)),
        Kind::Pptp => Box::new(pptp::Calls::new(id, world)),
        Kind::Ipsec => Box::new(ipsec::tunnels(id, world)),
        Kind::L2tp => Box::new(l2tp::tunnels(id, world)),
        Kind::L2tpV3 => Box::new(l2tpv3::tunnels(id, world)),
        Kind::OpenVpn => Box::new(openvpn::tunnels(id, world)),
        Kind::WireGuard => Box::new(wireguard::tunnels(id, world)),
    })
}

/// Conversations that can be told apart at once.
pub(in crate::demo) const IDS: u32 = 1 << tcp::ID_BITS;

/// The conversation that a packet belongs to, from what the router leaves alone: payload, or TCP's sequence number.
pub(in crate::demo) fn whose(seen: &Seen) -> Option<u32> {
    match &seen.transport {
        Transport::Udp { .. } | Transport::Gre(_) | Transport::Esp { .. } | Transport::OtherIp => {
            marked(seen).map(|(id, _)| id)
        }
        Transport::Tcp(tcp) => Some(tcp::id_of(tcp.seq)),
        Transport::Icmp(icmp) => match &icmp.quoted {
            None => chance::mark(&seen.payload).map(|(id, _)| id),
            Some(quoted) => match quoted.protocol {
                protocol::TCP => {
                    let seq = quoted.data.get(4..8)?;
                    Some(tcp::id_of(u32::from_be_bytes([seq[0], seq[1], seq[2], seq[3]])))
                }
                _ => chance::mark(quoted.data.get(8..)?).map(|(id, _)| id),
            },
        },
        _ => None,
    }
}

/// Headers of tunnels that come before the mark of what they carry are no longer.
const BEFORE_A_MARK: usize = 48;

/// The conversation and the part that a packet says it is, perhaps behind the headers of a tunnel.
fn marked(seen: &Seen) -> Option<(u32, u16)> {
    (0..=BEFORE_A_MARK).find_map(|at| chance::mark(seen.payload.get(at..)?))
}

/// What every forwarded packet must be: on this side, from there, to there, one hop on.
fn arrived(heard: &Heard<'_>, side: Side, from: Option<SocketAddrV4>, to: SocketAddrV4) -> Result<(), String> {
    let seen = heard.seen;
    if heard.side != side || seen.destination != to {
        return Err(format!("{} came out {:?}; {to} {side:?} was meant", seen.path(), heard.side));
    }
    if let Some(from) = from.filter(|&from| from != seen.source) {
        return Err(format!("{} came from {}, not {from}", seen.path(), seen.source));
    }
    if seen.ttl != HOPS_LEFT {
        return Err(format!("{} has TTL {}, not {HOPS_LEFT}", seen.path(), seen.ttl));
    }
    Ok(())
}

/// The TTL of a packet that was sent with 64 and crossed one router.
const HOPS_LEFT: u8 = 63;

/// The payload is exactly part `part`.
fn says(seen: &Seen, id: u32, part: u16, length: usize) -> Result<(), String> {
    if seen.payload == chance::payload(id, part, length) {
        return Ok(());
    }
    match chance::mark(&seen.payload) {
        Some((_, found)) if found != part => Err(format!("{} is message {found}; {part} was due", seen.path())),
        _ => Err(format!("{} carries {} bytes other than the {length} sent", seen.path(), seen.payload.len())),
    }
}

/// Of this protocol.
fn is_udp(seen: &Seen) -> Result<(), String> {
    match seen.transport {
        Transport::Udp { checksum: true } => Ok(()),
        Transport::Udp { checksum: false } => Err(format!("{} lost its UDP checksum", seen.path())),
        _ => Err(format!("{seen} is no UDP datagram")),
    }
}
