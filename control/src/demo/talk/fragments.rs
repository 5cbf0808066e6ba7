//! A datagram larger than the link, its pieces sent in any order, and one back. Put together, checksum and content are right.

use super::{Heard, Judged, Talk, arrived, is_udp, says};
use crate::demo::chance::payload;
use crate::demo::world::World;
use dataplane::types::Side;
use std::net::SocketAddrV4;
use testkit::{Frame, protocol};

/// The largest piece: fits both links, so that the router has nothing to cut.
const PIECE: usize = 1280;

pub(super) struct Pieces {
    id: u32,
    host: SocketAddrV4,
    server: SocketAddrV4,
    arrived: u16,
    lengths: [usize; 2],
}

impl Pieces {
    pub(super) fn new(id: u32, world: &mut World) -> Self {
        let (host, server) = world.cast.pair(&mut world.chance);
        let lengths = [2000 + world.chance.below(3000), 2000 + world.chance.below(3000)];
        Self { id, host: world.endpoint(host), server: SocketAddrV4::new(server, 2049), arrived: 0, lengths }
    }
}

impl Talk for Pieces {
    fn start(&mut self, world: &mut World) {
        let frame = Frame::udp(self.host, self.server).payload(payload(self.id, 0, self.lengths[0]));
        world.send_in_pieces(Side::Inside, [self.host, self.server], frame, PIECE);
    }

    fn hear(&mut self, heard: &Heard<'_>, world: &mut World) -> Judged {
        let seen = heard.seen;
        is_udp(seen)?;
        match self.arrived {
            0 => {
                says(seen, self.id, 0, self.lengths[0])?;
                arrived(heard, Side::Outside, None, self.server)?;
                world.sees(protocol::UDP, self.host, seen.source)?;
                let frame = Frame::udp(self.server, seen.source).payload(payload(self.id, 1, self.lengths[1]));
                world.send_in_pieces(Side::Outside, [self.server, seen.source], frame, PIECE);
            }
            1 => {
                says(seen, self.id, 1, self.lengths[1])?;
                arrived(heard, Side::Inside, Some(self.server), self.host)?;
            }
            _ => return Err(format!("{} came after the end", seen.path()).into()),
        }
        self.arrived += 1;
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.arrived == 2
    }

    fn awaits(&self) -> String {
        let to = if self.arrived == 0 { self.server } else { self.host };
        format!("all pieces of {} bytes to {to}", self.lengths[usize::from(self.arrived).min(1)])
    }
}
