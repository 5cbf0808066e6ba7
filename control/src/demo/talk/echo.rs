//! Ping: the identifier is translated, sequence number and content are not.

use super::{Heard, Judged, Talk, arrived, says};
use crate::demo::chance::payload;
use crate::demo::world::World;
use dataplane::types::Side;
use std::net::SocketAddrV4;
use testkit::{Frame, Icmp, Transport, protocol};

const ROUNDS: u16 = 4;
const LENGTH: usize = 56;

pub(super) struct Ping {
    id: u32,
    /// The host, and the identifier that it uses.
    host: SocketAddrV4,
    server: SocketAddrV4,
    /// Messages that have arrived: requests are even, replies odd.
    arrived: u16,
}

impl Ping {
    pub(super) fn new(id: u32, world: &mut World) -> Self {
        let (host, server) = world.cast.pair(&mut world.chance);
        Self { id, host: world.endpoint(host), server: SocketAddrV4::new(server, 0), arrived: 0 }
    }

    fn ask(&self, world: &mut World) {
        let request = Frame::echo_request(*self.host.ip(), self.server, self.host.port(), self.arrived / 2);
        let request = request.payload(payload(self.id, self.arrived, LENGTH));
        world.send(Side::Inside, self.host, self.server, request);
    }
}

/// Identifier and sequence number.
fn numbers(icmp: &Icmp) -> (u16, u16) {
    let [a, b, c, d] = icmp.rest;
    (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
}

impl Talk for Ping {
    fn start(&mut self, world: &mut World) {
        self.ask(world);
    }

    fn hear(&mut self, heard: &Heard<'_>, world: &mut World) -> Judged {
        let (seen, part) = (heard.seen, self.arrived);
        if self.is_done() {
            return Err(format!("{} came after the end", seen.path()).into());
        }
        let Transport::Icmp(icmp) = &seen.transport else { return Err(format!("{seen} is no ICMP message").into()) };
        let (identifier, sequence) = numbers(icmp);
        says(seen, self.id, part, LENGTH)?;
        if sequence != part / 2 {
            return Err(format!("sequence number {sequence} arrived, not {}", part / 2).into());
        }
        let host = SocketAddrV4::new(*self.host.ip(), 0);
        match (part.is_multiple_of(2), icmp.kind) {
            (true, 8) => {
                arrived(heard, Side::Outside, None, self.server)?;
                world.sees(protocol::ICMP, self.host, SocketAddrV4::new(*seen.source.ip(), identifier))?;
                let reply = Frame::echo_reply(self.server, seen.source, identifier, sequence);
                world.send(Side::Outside, self.server, seen.source, reply.payload(payload(self.id, part + 1, LENGTH)));
            }
            (false, 0) => {
                arrived(heard, Side::Inside, Some(self.server), host)?;
                if identifier != self.host.port() {
                    return Err(format!("identifier {identifier} came back, not {}", self.host.port()).into());
                }
            }
            (_, kind) => return Err(format!("ICMP type {kind} was not due").into()),
        }
        self.arrived += 1;
        if self.arrived.is_multiple_of(2) && !self.is_done() {
            self.ask(world);
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.arrived == 2 * ROUNDS
    }

    fn awaits(&self) -> String {
        let what = if self.arrived.is_multiple_of(2) { "request" } else { "reply" };
        format!("echo {what} {} between {} and {}", self.arrived / 2, self.host.ip(), self.server.ip())
    }
}
