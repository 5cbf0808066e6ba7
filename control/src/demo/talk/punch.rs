//! Hole punching: two inside hosts learn their outside endpoints from a server, then talk through those. The first
//! packet must not arrive (the other side has not asked for it yet); the ones after it must, from the outside endpoint.

use super::{Heard, Judged, Talk, arrived, is_udp, says};
use crate::demo::chance::{mark, payload};
use crate::demo::world::World;
use dataplane::types::Side;
use std::net::SocketAddrV4;
use std::time::Duration;
use testkit::{Frame, protocol};

/// How long the first punch gets to arrive wrongly. Longer than a worker that has no CPU keeps it: a punch that is still
/// under way when the other host asks is let in, and rightly.
const PAUSE: Duration = Duration::from_millis(200);
const LENGTH: usize = 48;

pub(super) struct Punch {
    id: u32,
    hosts: [SocketAddrV4; 2],
    server: SocketAddrV4,
    outside: [Option<SocketAddrV4>; 2],
    told: [bool; 2],
    punched: Option<Duration>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Both ask the server where they are.
    Ask,
    /// The first has sent to the second, who has not.
    Wait,
    /// The second has sent to the first.
    Second,
    /// The first has answered.
    First,
    Done,
}

/// Message numbers: question and answer of host 0 are 0 and 2, of host 1 1 and 3; then the punches.
const EARLY: u16 = 4;
const SECOND: u16 = 5;
const FIRST: u16 = 6;

impl Punch {
    pub(super) fn new(id: u32, world: &mut World) -> Self {
        let (a, server) = world.cast.pair(&mut world.chance);
        let others: Vec<_> = world.cast.hosts.iter().copied().filter(|&h| h != a).collect();
        let b = world.chance.pick(&others);
        let hosts = [world.endpoint(a), world.endpoint(b)];
        let server = SocketAddrV4::new(server, 3478);
        Self { id, hosts, server, outside: [None; 2], told: [false; 2], punched: None, phase: Phase::Ask }
    }

    fn say(&self, from: usize, to: SocketAddrV4, part: u16, world: &mut World) {
        let frame = Frame::udp(self.hosts[from], to).payload(payload(self.id, part, LENGTH));
        world.send(Side::Inside, self.hosts[from], to, frame);
    }

    fn meeting(&mut self, heard: &Heard<'_>, part: u16, world: &mut World) -> Result<(), String> {
        let (seen, who) = (heard.seen, usize::from(part % 2));
        says(seen, self.id, part, LENGTH)?;
        match part {
            0 | 1 if self.outside[who].is_none() => {
                arrived(heard, Side::Outside, None, self.server)?;
                world.sees(protocol::UDP, self.hosts[who], seen.source)?;
                self.outside[who] = Some(seen.source);
                let answer = Frame::udp(self.server, seen.source).payload(payload(self.id, part + 2, LENGTH));
                world.send(Side::Outside, self.server, seen.source, answer);
            }
            2 | 3 if self.outside[who].is_some() && !self.told[who] => {
                arrived(heard, Side::Inside, Some(self.server), self.hosts[who])?;
                self.told[who] = true;
                if let (true, Some(peer)) = (self.told[1 - who], self.outside[1]) {
                    self.say(0, peer, EARLY, world);
                    self.punched = Some(world.now);
                    self.phase = Phase::Wait;
                }
            }
            _ => return Err(format!("message {part} to {} was not due", seen.destination)),
        }
        Ok(())
    }

    /// A packet through both outside endpoints.
    fn through(&self, heard: &Heard<'_>, from: usize, part: u16) -> Result<(), String> {
        says(heard.seen, self.id, part, LENGTH)?;
        arrived(heard, Side::Inside, self.outside[from], self.hosts[1 - from])
    }
}

impl Talk for Punch {
    fn start(&mut self, world: &mut World) {
        self.say(0, self.server, 0, world);
        self.say(1, self.server, 1, world);
    }

    fn hear(&mut self, heard: &Heard<'_>, world: &mut World) -> Judged {
        is_udp(heard.seen)?;
        let part = mark(&heard.seen.payload).map_or(0, |(_, part)| part);
        match (self.phase, part) {
            (_, EARLY) => {
                let after = self.punched.map_or(Duration::ZERO, |since| world.now.saturating_sub(since));
                return Err(format!(
                    "the first punch arrived, though the other host had not asked for it ({} ms after it was sent; {:?})",
                    after.as_millis(),
                    self.phase
                )
                .into());
            }
            (Phase::Ask, _) => self.meeting(heard, part, world)?,
            (Phase::Second, SECOND) => {
                self.through(heard, 1, SECOND)?;
                self.phase = Phase::First;
                if let Some(peer) = self.outside[1] {
                    self.say(0, peer, FIRST, world);
                }
            }
            (Phase::First, FIRST) => {
                self.through(heard, 0, FIRST)?;
                self.phase = Phase::Done;
            }
            (Phase::Wait | Phase::Second | Phase::First | Phase::Done, _) => {
                return Err(format!("message {part} to {} was not due", heard.seen.destination).into());
            }
        }
        Ok(())
    }

    fn tick(&mut self, world: &mut World) -> Judged {
        if self.phase == Phase::Wait
            && let (Some(since), Some(peer)) = (self.punched, self.outside[0])
            && world.now.saturating_sub(since) >= PAUSE
        {
            self.phase = Phase::Second;
            self.say(1, peer, SECOND, world);
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    fn awaits(&self) -> String {
        match self.phase {
            Phase::Ask => format!("what {} tells {} and {}", self.server, self.hosts[0], self.hosts[1]),
            Phase::Wait | Phase::Second => format!("the punch from {} to {}", self.hosts[1], self.hosts[0]),
            Phase::First | Phase::Done => format!("the answer from {} to {}", self.hosts[0], self.hosts[1]),
        }
    }
}
