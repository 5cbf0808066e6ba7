//! What nobody asked for stays out: to a live mapping from another address, or from another port of the right one, and
//! a connection to a port that nothing is behind. The right server's answer to that same mapping gets in.

use super::{Heard, Judged, Talk, arrived, is_udp, says, tcp};
use crate::demo::chance::{mark, payload};
use crate::demo::world::World;
use dataplane::types::Side;
use std::net::SocketAddrV4;
use std::time::Duration;
use testkit::{Frame, SYN, protocol};

/// How long the strangers' packets get to arrive wrongly.
const PAUSE: Duration = Duration::from_millis(150);
const LENGTH: usize = 64;

const QUESTION: u16 = 0;
const ANSWER: u16 = 1;
const FROM_OTHER_ADDRESS: u16 = 2;
const FROM_OTHER_PORT: u16 = 3;

pub(super) struct Stranger {
    id: u32,
    host: SocketAddrV4,
    server: SocketAddrV4,
    stranger: SocketAddrV4,
    outside: Option<SocketAddrV4>,
    tried: Option<Duration>,
    answered: bool,
    done: bool,
}

impl Stranger {
    pub(super) fn new(id: u32, world: &mut World) -> Self {
        let (host, server) = world.cast.pair(&mut world.chance);
        let others: Vec<_> = world.cast.servers.iter().copied().filter(|&s| s != server).collect();
        let stranger = SocketAddrV4::new(world.chance.pick(&others), 53);
        let (host, server) = (world.endpoint(host), SocketAddrV4::new(server, 53));
        Self { id, host, server, stranger, outside: None, tried: None, answered: false, done: false }
    }

    fn intrude(&self, outside: SocketAddrV4, world: &mut World) {
        let other_port = SocketAddrV4::new(*self.server.ip(), 5353);
        for (from, part) in [(self.stranger, FROM_OTHER_ADDRESS), (other_port, FROM_OTHER_PORT)] {
            let frame = Frame::udp(from, outside).payload(payload(self.id, part, LENGTH));
            world.send(Side::Outside, from, outside, frame);
        }
        let closed = SocketAddrV4::new(*outside.ip(), 1024 + world.chance.below(4000) as u16);
        let from = world.endpoint(*self.stranger.ip());
        let knock = Frame::tcp(from, closed).flags(SYN).seq(tcp::first_seq(self.id, true)).ack(0);
        world.send(Side::Outside, from, closed, knock);
    }
}

impl Talk for Stranger {
    fn start(&mut self, world: &mut World) {
        let question = Frame::udp(self.host, self.server).payload(payload(self.id, QUESTION, LENGTH));
        world.send(Side::Inside, self.host, self.server, question);
    }

    fn hear(&mut self, heard: &Heard<'_>, world: &mut World) -> Judged {
        let seen = heard.seen;
        let part = mark(&seen.payload).map(|(_, part)| part);
        match part {
            Some(QUESTION) if self.outside.is_none() => {
                is_udp(seen)?;
                says(seen, self.id, QUESTION, LENGTH)?;
                arrived(heard, Side::Outside, None, self.server)?;
                world.sees(protocol::UDP, self.host, seen.source)?;
                self.outside = Some(seen.source);
                self.tried = Some(world.now);
                self.intrude(seen.source, world);
                Ok(())
            }
            Some(ANSWER) if self.answered && !self.done => {
                is_udp(seen)?;
                says(seen, self.id, ANSWER, LENGTH)?;
                arrived(heard, Side::Inside, Some(self.server), self.host)?;
                self.done = true;
                Ok(())
            }
            Some(QUESTION | ANSWER) => Err(format!("{} came twice", seen.path()).into()),
            _ => Err(format!("a stranger was let in: {seen}").into()),
        }
    }

    fn tick(&mut self, world: &mut World) -> Judged {
        if let (Some(since), Some(outside), false) = (self.tried, self.outside, self.answered)
            && world.now.saturating_sub(since) >= PAUSE
        {
            self.answered = true;
            let answer = Frame::udp(self.server, outside).payload(payload(self.id, ANSWER, LENGTH));
            world.send(Side::Outside, self.server, outside, answer);
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn awaits(&self) -> String {
        let what = if self.outside.is_none() { "question" } else { "answer" };
        format!("the {what} between {} and {}", self.host, self.server)
    }
}
