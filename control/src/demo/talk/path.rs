//! ICMP errors: what traceroute and path MTU discovery live on. The quoted packet must be the one that the host sent.

use super::{HOPS_LEFT, Heard, Judged, Talk, arrived, is_udp, says};
use crate::demo::chance::{mark, payload};
use crate::demo::world::World;
use dataplane::types::Side;
use std::net::{Ipv4Addr, SocketAddrV4};
use testkit::{Checksum, Frame, Icmp, Quoted, Transport, protocol};

/// An ICMP error at the host about its own packet: from whom, which type and code.
fn error<'a>(
    heard: &'a Heard<'_>,
    from: Ipv4Addr,
    to: Ipv4Addr,
    kind: u8,
    code: u8,
) -> Result<(&'a Icmp, &'a Quoted), String> {
    let seen = heard.seen;
    let Transport::Icmp(icmp) = &seen.transport else { return Err(format!("{seen} is no ICMP error")) };
    let Some(quoted) = &icmp.quoted else { return Err(format!("{seen} is no ICMP error")) };
    let found = (heard.side, *seen.source.ip(), *seen.destination.ip(), icmp.kind, icmp.code);
    if found != (Side::Inside, from, to, kind, code) {
        return Err(format!("{seen} came; type {kind} code {code} from {from} to {to} was due"));
    }
    Ok((icmp, quoted))
}

/// The quote is of part `part`, as the host sent it.
fn quotes(quoted: &Quoted, ends: [SocketAddrV4; 2], id: u32, part: u16, ttl: u8) -> Result<(), String> {
    if [quoted.source, quoted.destination] != ends || quoted.ttl != ttl {
        return Err(format!(
            "the quote is {} with TTL {}; sent was {} -> {}",
            quoted.path(),
            quoted.ttl,
            ends[0],
            ends[1]
        ));
    }
    if quoted.data.get(8..).and_then(mark) != Some((id, part)) {
        return Err(format!("the quote of {} has another content", quoted.path()));
    }
    Ok(())
}

/// A probe that ends at the router, and one that ends at the server.
pub(super) struct Traceroute {
    id: u32,
    host: SocketAddrV4,
    server: Ipv4Addr,
    arrived: u16,
}

/// Traceroute's first port.
const PROBE: u16 = 33_434;
const LENGTH: usize = 32;

impl Traceroute {
    pub(super) fn new(id: u32, world: &mut World) -> Self {
        let (host, server) = world.cast.pair(&mut world.chance);
        Self { id, host: world.endpoint(host), server, arrived: 0 }
    }

    fn target(&self, hop: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.server, PROBE + hop - 1)
    }

    fn probe(&self, hop: u16, world: &mut World) {
        let target = self.target(hop);
        let probe = Frame::udp(self.host, target).ttl(hop as u8).payload(payload(self.id, hop, LENGTH));
        world.send(Side::Inside, self.host, target, probe);
    }
}

impl Talk for Traceroute {
    fn start(&mut self, world: &mut World) {
        self.probe(1, world);
    }

    fn hear(&mut self, heard: &Heard<'_>, world: &mut World) -> Judged {
        let (seen, host) = (heard.seen, *self.host.ip());
        match self.arrived {
            0 => {
                let (_, quoted) = error(heard, world.cast.router, host, 11, 0)?;
                quotes(quoted, [self.host, self.target(1)], self.id, 1, 1)?;
                if quoted.checksum != Checksum::Right {
                    return Err(format!("the quote's UDP checksum is {:?}", quoted.checksum).into());
                }
                self.probe(2, world);
            }
            1 => {
                is_udp(seen)?;
                says(seen, self.id, 2, LENGTH)?;
                if (heard.side, seen.destination, seen.ttl) != (Side::Outside, self.target(2), 1) {
                    return Err(format!("{} came out {:?} with TTL {}", seen.path(), heard.side, seen.ttl).into());
                }
                world.sees(protocol::UDP, self.host, seen.source)?;
                let server = self.target(2);
                world.send(Side::Outside, server, seen.source, Frame::unreachable(self.server, 3, heard.frame));
            }
            2 => {
                let (_, quoted) = error(heard, self.server, host, 3, 3)?;
                quotes(quoted, [self.host, self.target(2)], self.id, 2, 1)?;
                if quoted.checksum != Checksum::Right {
                    return Err(format!("the translated quote's UDP checksum is {:?}", quoted.checksum).into());
                }
                if seen.ttl != HOPS_LEFT {
                    return Err(format!("{} has TTL {}", seen.path(), seen.ttl).into());
                }
            }
            _ => return Err(format!("{} came after the end", seen.path()).into()),
        }
        self.arrived += 1;
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.arrived == 3
    }

    fn awaits(&self) -> String {
        let what = ["the router's time exceeded", "the second probe", "the server's port unreachable"];
        format!("{} for {}", what[usize::from(self.arrived).min(2)], self.host)
    }
}

/// A full-size packet that may not be cut, larger than the outside link; then one that fits, and its answer.
pub(super) struct PathMtu {
    id: u32,
    host: SocketAddrV4,
    server: SocketAddrV4,
    arrived: u16,
    mtu: u16,
}

/// IP and UDP header.
const HEADERS: u16 = 28;
const INSIDE_MTU: u16 = 1500;

impl PathMtu {
    pub(super) fn new(id: u32, world: &mut World) -> Self {
        let (host, server) = world.cast.pair(&mut world.chance);
        let (host, server) = (world.endpoint(host), SocketAddrV4::new(server, 4433));
        Self { id, host, server, arrived: 0, mtu: world.cast.outside_mtu }
    }

    fn message(&self, part: u16) -> Vec<u8> {
        let mtu = if part == 0 { INSIDE_MTU } else { self.mtu };
        payload(self.id, part, usize::from(mtu - HEADERS))
    }
}

impl Talk for PathMtu {
    fn start(&mut self, world: &mut World) {
        let frame = Frame::udp(self.host, self.server).df().payload(self.message(0));
        world.send(Side::Inside, self.host, self.server, frame);
    }

    fn hear(&mut self, heard: &Heard<'_>, world: &mut World) -> Judged {
        let (seen, fits) = (heard.seen, usize::from(self.mtu - HEADERS));
        match self.arrived {
            0 => {
                let (icmp, quoted) = error(heard, world.cast.router, *self.host.ip(), 3, 4)?;
                quotes(quoted, [self.host, self.server], self.id, 0, 64)?;
                let mtu = u16::from_be_bytes([icmp.rest[2], icmp.rest[3]]);
                if mtu != self.mtu {
                    return Err(format!("the router told an MTU of {mtu}, not {}", self.mtu).into());
                }
                let frame = Frame::udp(self.host, self.server).df().payload(self.message(1));
                world.send(Side::Inside, self.host, self.server, frame);
            }
            1 => {
                is_udp(seen)?;
                says(seen, self.id, 1, fits)?;
                arrived(heard, Side::Outside, None, self.server)?;
                world.sees(protocol::UDP, self.host, seen.source)?;
                let answer = Frame::udp(self.server, seen.source).df().payload(self.message(2));
                world.send(Side::Outside, self.server, seen.source, answer);
            }
            2 => {
                is_udp(seen)?;
                says(seen, self.id, 2, fits)?;
                arrived(heard, Side::Inside, Some(self.server), self.host)?;
            }
            _ => return Err(format!("{} came after the end", seen.path()).into()),
        }
        if self.arrived > 0 && !seen.df {
            return Err(format!("{} lost its DF flag", seen.path()).into());
        }
        self.arrived += 1;
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.arrived == 3
    }

    fn awaits(&self) -> String {
        let what = ["the router's fragmentation needed", "what fits", "the answer"];
        format!("{} for {}", what[usize::from(self.arrived).min(2)], self.host)
    }
}
