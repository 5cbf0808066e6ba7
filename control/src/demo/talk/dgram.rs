//! Questions and answers over UDP: one inside port, two servers, several rounds with each.

use super::{Heard, Judged, Talk, arrived, is_udp, says};
use crate::demo::chance::payload;
use crate::demo::world::World;
use dataplane::types::Side;
use std::net::SocketAddrV4;
use testkit::{Frame, protocol};

/// Rounds with each server.
const ROUNDS: u16 = 3;

pub(super) struct Datagrams {
    id: u32,
    host: SocketAddrV4,
    servers: [SocketAddrV4; 2],
    /// Messages that have arrived: questions are even, answers odd.
    arrived: u16,
    lengths: [usize; 2],
}

impl Datagrams {
    pub(super) fn new(id: u32, world: &mut World) -> Self {
        let (host, first) = world.cast.pair(&mut world.chance);
        let second = world.chance.pick(&world.cast.servers);
        let host = world.endpoint(host);
        // Two ports, so that two servers on one address are two remote endpoints all the same.
        let servers = [SocketAddrV4::new(first, 53), SocketAddrV4::new(second, 3478)];
        let lengths = [20 + world.chance.below(400), 20 + world.chance.below(1400)];
        Self { id, host, servers, arrived: 0, lengths }
    }

    fn server(&self) -> SocketAddrV4 {
        self.servers[usize::from(self.arrived / (2 * ROUNDS)).min(1)]
    }

    fn ask(&self, world: &mut World) {
        let (host, server) = (self.host, self.server());
        let question = Frame::udp(host, server).payload(payload(self.id, self.arrived, self.lengths[0]));
        world.send(Side::Inside, host, server, question);
    }
}

impl Talk for Datagrams {
    fn start(&mut self, world: &mut World) {
        self.ask(world);
    }

    fn hear(&mut self, heard: &Heard<'_>, world: &mut World) -> Judged {
        let (seen, part, server) = (heard.seen, self.arrived, self.server());
        if self.is_done() {
            return Err(format!("{} came after the end", seen.path()).into());
        }
        is_udp(seen)?;
        says(seen, self.id, part, self.lengths[usize::from(part % 2)])?;
        if part.is_multiple_of(2) {
            arrived(heard, Side::Outside, None, server)?;
            world.sees(protocol::UDP, self.host, seen.source)?;
            let answer = Frame::udp(server, seen.source).payload(payload(self.id, part + 1, self.lengths[1]));
            world.send(Side::Outside, server, seen.source, answer);
            self.arrived += 1;
        } else {
            arrived(heard, Side::Inside, Some(server), self.host)?;
            self.arrived += 1;
            if !self.is_done() {
                self.ask(world);
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.arrived == 4 * ROUNDS
    }

    fn awaits(&self) -> String {
        let what = if self.arrived.is_multiple_of(2) { "question" } else { "answer" };
        format!("UDP {what} {} between {} and {}", self.arrived / 2, self.host, self.server())
    }
}
