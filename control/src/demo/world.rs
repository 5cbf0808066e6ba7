//! The simulated network: who has which address, what the router must have done to each packet, and what it did.

use super::cast::{self, Cast, RouterMacs};
use super::chance::Chance;
use super::rivals::{Rivals, Who};
use dataplane::types::Side;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;
use testkit::{Frame, Mac, protocol};

/// A mapping that was not seen for so long may have ended: the shortest time-out, ICMP's.
const MAPPING_LASTS: Duration = Duration::from_secs(55);
/// First and last port that hosts and servers call from. All start at the same, so that hosts compete for outside ports.
const EPHEMERAL: (u16, u16) = (20_000, 60_000);

/// A frame on its way to the router.
pub(super) type Sent = (Side, Vec<u8>);

/// A PPTP call as its server knows it: the outside address, the server, and the client's Call ID as it shows.
pub(super) type Call = (Ipv4Addr, Ipv4Addr, u16);

/// See the module.
pub(super) struct World {
    pub(super) cast: Cast,
    pub(super) chance: Chance,
    /// Since the start.
    pub(super) now: Duration,
    /// Frames to send.
    pub(super) out: Vec<Sent>,
    /// The router's Ethernet addresses, once it has told them.
    pub(super) router: RouterMacs,
    /// TCP segments sent again.
    pub(super) retransmitted: u64,
    /// Segments of PPTP control connections sent again, as the router may shorten or refuse what it cannot translate yet.
    pub(super) resent: u64,
    /// Who waits for a gateway's first ESP packet.
    pub(super) rivals: Rivals,
    /// ESP packets that came to another client than theirs, where nothing told the router whose they are.
    pub(super) misled: u64,
    /// Packets that a client of such a gateway sent again.
    pub(super) retold: u64,
    calls: HashMap<Call, Who>,
    next_port: HashMap<Ipv4Addr, u16>,
    next_ip_id: u16,
    /// By protocol and inside endpoint, and for IKE by server.
    mapped: HashMap<(u8, SocketAddrV4, Option<Ipv4Addr>), (SocketAddrV4, Duration)>,
    owners: HashMap<(u8, SocketAddrV4), (SocketAddrV4, Duration)>,
    paired: HashMap<Ipv4Addr, Ipv4Addr>,
}

impl World {
    pub(super) fn new(cast: Cast, seed: u64) -> Self {
        Self {
            cast,
            chance: Chance::new(seed),
            now: Duration::ZERO,
            out: Vec::new(),
            router: HashMap::new(),
            retransmitted: 0,
            resent: 0,
            rivals: Rivals::default(),
            misled: 0,
            retold: 0,
            calls: HashMap::new(),
            next_port: HashMap::new(),
            next_ip_id: 1,
            mapped: HashMap::new(),
            owners: HashMap::new(),
            paired: HashMap::new(),
        }
    }

    /// A port (or query identifier) that a host has not used for long.
    pub(super) fn endpoint(&mut self, address: Ipv4Addr) -> SocketAddrV4 {
        let next = self.next_port.entry(address).or_insert(EPHEMERAL.0);
        let port = *next;
        *next = if port >= EPHEMERAL.1 { EPHEMERAL.0 } else { port + 1 };
        SocketAddrV4::new(address, port)
    }

    /// An identification for an IP packet that may be fragmented.
    pub(super) fn ip_id(&mut self) -> u16 {
        self.next_ip_id = self.next_ip_id.wrapping_add(1).max(1);
        self.next_ip_id
    }

    /// Ethernet addresses of a frame from somebody to the router; `None` before ARP.
    pub(super) fn macs(&self, side: Side, from: Ipv4Addr, to: Ipv4Addr) -> Option<(Mac, Mac)> {
        let station = self.cast.station(side, from)?;
        let target = if side == Side::Inside { self.cast.router } else { to };
        Some((cast::mac(side, station), *self.router.get(&(side, target))?))
    }

    /// Sends a packet of `from` to the router.
    pub(super) fn send(&mut self, side: Side, from: SocketAddrV4, to: SocketAddrV4, frame: Frame<'_>) {
        if let Some((source, destination)) = self.macs(side, *from.ip(), *to.ip()) {
            self.out.push((side, frame.macs(source, destination).build()));
        }
    }

    /// Sends it in pieces that fit `mtu`, in any order.
    pub(super) fn send_in_pieces(&mut self, side: Side, ends: [SocketAddrV4; 2], frame: Frame<'_>, mtu: usize) {
        let id = self.ip_id();
        if let Some((source, destination)) = self.macs(side, *ends[0].ip(), *ends[1].ip()) {
            let whole = frame.id(id).macs(source, destination).build();
            let mut pieces = testkit::fragments(&whole, mtu);
            self.chance.shuffle(&mut pieces);
            self.out.extend(pieces.into_iter().map(|piece| (side, piece)));
        }
    }

    /// So many hosts, behind one outside address as far as that is known.
    pub(super) fn neighbours(&mut self, count: usize) -> Vec<Ipv4Addr> {
        let mut hosts = self.cast.hosts.clone();
        self.chance.shuffle(&mut hosts);
        let shared = hosts.first().and_then(|first| self.paired.get(first)).copied();
        hosts.sort_by_key(|host| shared.is_some() && self.paired.get(host).copied() != shared);
        hosts.truncate(count);
        hosts
    }

    /// A number that is not 0, of those that peers choose.
    pub(super) fn number(&mut self) -> u16 {
        (self.chance.next() as u16).max(1)
    }

    /// A server learns the Call ID of a client: never 0, and of no other call that it has from that address.
    pub(super) fn claim_call(&mut self, call: Call, who: Who) -> Result<(), String> {
        let (outside, server, id) = call;
        if id == 0 {
            return Err(format!("{server} is called from {outside} with Call ID 0"));
        }
        match self.calls.insert(call, who) {
            Some(other) if other != who => Err(format!("{server} has two calls with Call ID {id} from {outside}")),
            _ => Ok(()),
        }
    }

    /// That call is over.
    pub(super) fn release_call(&mut self, call: Call) {
        self.calls.remove(&call);
    }

    /// A host shows outside as an address, where there are no ports: one of the pool, and always the same.
    pub(super) fn shows(&mut self, inside: SocketAddrV4, outside: SocketAddrV4) -> Result<(), String> {
        if !self.cast.pool.contains(outside.ip()) {
            return Err(format!("{inside} shows as {outside}, which is not in the pool"));
        }
        let paired = *self.paired.entry(*inside.ip()).or_insert(*outside.ip());
        if paired != *outside.ip() {
            return Err(format!("{inside} shows as {outside}, but its host showed as {paired} before"));
        }
        Ok(())
    }

    /// An inside endpoint shows outside as `outside`. Whether that is what a NAT owes it: an address of the pool, the same
    /// for all of the host's traffic [RFC 4787 REQ-2], the same endpoint whomever it talks to [REQ-1], and nobody else's.
    pub(super) fn sees(&mut self, protocol: u8, inside: SocketAddrV4, outside: SocketAddrV4) -> Result<(), String> {
        self.maps((protocol, inside, None), outside)
    }

    /// The same for IKE between ports 500, which belongs to the worker that has the server's ESP: the host's endpoint is
    /// the same whenever it talks to that server, and one for each worker altogether. Nobody else's, as always.
    pub(super) fn sees_ike(
        &mut self,
        inside: SocketAddrV4,
        server: Ipv4Addr,
        outside: SocketAddrV4,
    ) -> Result<(), String> {
        self.maps((protocol::UDP, inside, Some(server)), outside)
    }

    fn maps(&mut self, key: (u8, SocketAddrV4, Option<Ipv4Addr>), outside: SocketAddrV4) -> Result<(), String> {
        let (protocol, inside, _) = key;
        self.shows(inside, outside)?;
        let now = self.now;
        let fresh = |seen: &(SocketAddrV4, Duration)| now.saturating_sub(seen.1) < MAPPING_LASTS;
        if let Some((before, _)) = self.mapped.get(&key).filter(|s| fresh(s) && s.0 != outside) {
            return Err(format!("{inside} shows as {outside}, and as {before} before"));
        }
        if let Some((owner, _)) = self.owners.get(&(protocol, outside)).filter(|s| fresh(s) && s.0 != inside) {
            return Err(format!("{inside} shows as {outside}, which is {owner}'s"));
        }
        if self.mapped.len() > 100_000 {
            self.mapped.retain(|_, seen| fresh(seen));
            self.owners.retain(|_, seen| fresh(seen));
        }
        self.mapped.insert(key, (outside, now));
        self.owners.insert((protocol, outside), (inside, now));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> SocketAddrV4 {
        text.parse().unwrap()
    }

    fn world() -> World {
        World::new(Cast::of(&cast::model().unwrap()).unwrap(), 1)
    }

    #[test]
    fn a_mapping_is_judged_by_what_was_seen_before() {
        let mut w = world();
        let (a, b) = (end("192.168.1.10:5000"), end("192.168.1.11:5000"));
        assert!(w.sees(17, a, end("198.51.100.1:5000")).unwrap_err().contains("not in the pool"));
        w.sees(17, a, end("203.0.113.3:5000")).unwrap();
        w.sees(17, a, end("203.0.113.3:5000")).unwrap();
        assert!(w.sees(17, a, end("203.0.113.3:5002")).unwrap_err().contains("before"), "endpoint-independent");
        assert!(w.sees(17, b, end("203.0.113.3:5000")).unwrap_err().contains("10:5000's"), "no overloading");
        assert!(w.sees(6, a, end("203.0.113.2:5000")).unwrap_err().contains("its host"), "paired");
        let (ike, one, two) = (end("192.168.1.10:500"), [198, 51, 100, 10].into(), [198, 51, 100, 11].into());
        w.sees_ike(ike, one, end("203.0.113.3:600")).unwrap();
        w.sees_ike(ike, two, end("203.0.113.3:700")).unwrap();
        assert!(w.sees_ike(ike, one, end("203.0.113.3:700")).unwrap_err().contains("before"), "one for a server");
        let other = end("192.168.1.12:500");
        assert!(w.sees_ike(other, one, end("203.0.113.3:600")).unwrap_err().contains("10:500's"), "no overloading");
        w.now = Duration::from_secs(60);
        w.sees(17, a, end("203.0.113.3:5002")).unwrap();
    }

    #[test]
    fn nothing_is_sent_to_a_router_that_has_not_said_where_it_is() {
        let mut w = world();
        let (host, server) = (end("192.168.1.10:5000"), end("198.51.100.10:53"));
        w.send(Side::Inside, host, server, Frame::udp(host, server));
        assert!(w.out.is_empty());
        w.router.insert((Side::Inside, w.cast.router), [2, 0, 0, 0, 0, 9]);
        w.send(Side::Inside, host, server, Frame::udp(host, server));
        assert_eq!(w.out.len(), 1);
        w.out.clear();
        w.send_in_pieces(Side::Inside, [host, server], Frame::udp(host, server).payload(vec![1; 3000]), 1200);
        assert_eq!(w.out.len(), 3);
    }
}
