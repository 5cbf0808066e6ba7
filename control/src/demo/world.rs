//! The simulated network: who has which address, what the router must have done to each packet, and what it did.

use super::cast::{self, Cast, RouterMacs};
use super::chance::Chance;
use dataplane::types::Side;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;
use testkit::{Frame, Mac};

/// A mapping that was not seen for so long may have ended: the shortest time-out, ICMP's.
const MAPPING_LASTS: Duration = Duration::from_secs(55);
/// First and last port that hosts and servers call from. All start at the same, so that hosts compete for outside ports.
const EPHEMERAL: (u16, u16) = (20_000, 60_000);

/// A frame on its way to the router.
pub(super) type Sent = (Side, Vec<u8>);

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
    next_port: HashMap<Ipv4Addr, u16>,
    next_ip_id: u16,
    mapped: HashMap<(u8, SocketAddrV4), (SocketAddrV4, Duration)>,
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

    /// An inside endpoint shows outside as `outside`. Whether that is what a NAT owes it: an address of the pool, the same
    /// for all of the host's traffic [RFC 4787 REQ-2], the same endpoint whomever it talks to [REQ-1], and nobody else's.
    pub(super) fn sees(&mut self, protocol: u8, inside: SocketAddrV4, outside: SocketAddrV4) -> Result<(), String> {
        if !self.cast.pool.contains(outside.ip()) {
            return Err(format!("{inside} shows as {outside}, which is not in the pool"));
        }
        let paired = *self.paired.entry(*inside.ip()).or_insert(*outside.ip());
        if paired != *outside.ip() {
            return Err(format!("{inside} shows as {outside}, but its host showed as {paired} before"));
        }
        let now = self.now;
        let fresh = |seen: &(SocketAddrV4, Duration)| now.saturating_sub(seen.1) < MAPPING_LASTS;
        if let Some((before, _)) = self.mapped.get(&(protocol, inside)).filter(|s| fresh(s) && s.0 != outside) {
            return Err(format!("{inside} shows as {outside}, and as {before} before"));
        }
        if let Some((owner, _)) = self.owners.get(&(protocol, outside)).filter(|s| fresh(s) && s.0 != inside) {
            return Err(format!("{inside} shows as {outside}, which is {owner}'s"));
        }
        if self.mapped.len() > 100_000 {
            self.mapped.retain(|_, seen| fresh(seen));
            self.owners.retain(|_, seen| fresh(seen));
        }
        self.mapped.insert((protocol, inside), (outside, now));
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
