//! Random stories of all classes, told over 1, 2, 3 and 8 workers, each packet coming to a random worker's queue: every
//! end host sees the same, byte for byte, and every packet has the same verdict.
//!
//! What a worker may choose is not compared: outside ports, translated Call IDs and IP identifications. The hosts answer
//! to what they got, as hosts do; in the transcripts such a choice stands as the order in which it first appeared
//! ([`crate::transcript`]). Left out are limits that are each worker's own (PASSTHROUGH: tunnels of a subscriber, error
//! rates), and IKE from one host's port 500 to two servers, which has a mapping a worker.

use crate::esp::esp;
use crate::ike::{CHILD, RESPONSE, message};
use crate::l2tp::{CCID, ICCN, ICRP, ICRQ, SCCCN, SCCRP, SCCRQ, SESSION, STOPCCN};
use crate::l2tpv3::{control, data};
use crate::lab::*;
use crate::pptp::{Control, gre, id_at};
use dataplane::types::PortId;
use dataplane::verdict::Event;
use std::collections::HashMap;
use std::net::SocketAddrV4;
use testkit::{ACK, FIN, Frame, IntoEndpoint, RST, SYN, endpoint, fragments, pptp};

const HOSTS: [&str; 6] = [A, B, "192.168.50.2", "192.168.50.3", "192.168.50.4", "192.168.50.5"];
const SERVERS: [&str; 4] = [X, Y, "198.51.100.20", "198.51.100.21"];

/// Longer than a story.
const DAY: u32 = 86_400 * S;

/// What decides a story: not how many workers there are, nor what they chose.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((self.0 >> 33) as usize) % n
    }

    fn of<'a>(&mut self, what: &[&'a str]) -> &'a str {
        what[self.below(what.len())]
    }
}

/// What the hosts remember.
#[derive(Default)]
struct World {
    /// Outside endpoints of UDP and TCP flows, by host and server.
    flows: HashMap<(bool, SocketAddrV4, SocketAddrV4), SocketAddrV4>,
    /// Generations of keys of a host with a server.
    keys: HashMap<(usize, usize), u32>,
    /// L2TPv3 connections that are up.
    l2tp: HashMap<(usize, usize), u32>,
    calls: HashMap<usize, (Control, u16)>,
    /// The latest frame that left by each port.
    left: HashMap<usize, Vec<u8>>,
    id: u16,
}

struct Story {
    lab: Lab,
    chance: Chance,
    world: World,
}

/// What a story showed: all that left and all that was dropped, and how many legs were lent.
struct Told {
    transcript: String,
    lent: u64,
}

fn tell(seed: u64, workers: u8, steps: usize) -> Told {
    let mut lab = Lab::over(workers, |p| {
        p.icmp_error_rate = 1_000_000;
        p.timeouts.esp = 300 * S;
        p.passthrough.tunnels = 512;
        // A mapping that ends may come again by the same port or by another one: a choice.
        (p.timeouts.udp, p.timeouts.icmp) = (DAY, DAY);
        (p.timeouts.tcp_transitory, p.timeouts.tcp_established) = (DAY, DAY);
    });
    // Another order of arrival each time.
    for _ in 0..seed * 7 + u64::from(workers) {
        lab.roll(2);
    }
    let mut story = Story { lab, chance: Chance(seed), world: World::default() };
    for _ in 0..steps {
        story.step();
    }
    let lent = story.lab.events(Event::LegsLent);
    story.lab.wait(20 * 60 * S);
    Told { transcript: story.lab.transcript().to_owned(), lent }
}

/// Outward and inward ones of a host with a server.
fn spi(h: usize, s: usize, generation: u32, way: u32) -> u32 {
    let n = ((h * 4 + s) as u32) << 16 | generation << 1 | way;
    n.wrapping_mul(0x9e37_79b1) | 0x100
}

impl Story {
    /// A frame is put; what left last is remembered.
    fn put(&mut self, port: PortId, frame: impl IntoFrame) -> Outcome {
        self.put_all(port, vec![frame.into_frame()])
    }

    fn put_all(&mut self, port: PortId, frames: Vec<Vec<u8>>) -> Outcome {
        let o = self.lab.put_all(port, frames);
        for at in [0, 1] {
            // An error that quotes PPTP's control stream shows a translated Call ID, which is a choice.
            if let (Some(frame), Some(seen)) = (o.raw[at].last(), o.sent[at].last())
                && seen.destination.port() != 1723
            {
                self.world.left.insert(at, frame.clone());
            }
        }
        o
    }

    /// The outside endpoint of what left, if something did.
    fn source(o: &Outcome) -> Option<SocketAddrV4> {
        o.at(OUTSIDE).first().map(|s| s.source)
    }

    /// Out by UDP or TCP, and the outside endpoint remembered.
    fn flow_out(&mut self, tcp: bool, from: impl IntoEndpoint, to: impl IntoEndpoint, frame: Frame) {
        let (from, to) = (endpoint(from), endpoint(to));
        let o = self.put(INSIDE, frame);
        if let Some(n) = Self::source(&o) {
            self.world.flows.insert((tcp, from, to), n);
        }
    }

    fn flow(&self, tcp: bool, from: impl IntoEndpoint, to: impl IntoEndpoint) -> SocketAddrV4 {
        let key = (tcp, endpoint(from), endpoint(to));
        self.world.flows.get(&key).copied().unwrap_or_else(|| endpoint((P, 9)))
    }

    fn step(&mut self) {
        let h = self.chance.below(HOSTS.len());
        let s = self.chance.below(SERVERS.len());
        let (host, server) = (HOSTS[h], SERVERS[s]);
        match self.chance.below(40) {
            0..=3 => self.udp(host, server),
            4 | 5 => self.tcp(host, server),
            6 => self.ping(host, server),
            7..=16 => self.ipsec(h, s),
            17..=20 => self.l2tp(h, s),
            21..=24 => self.pptp(h, host, X),
            25 | 26 => self.fragments(h, s),
            27..=29 => self.error(),
            30 => self.strangers(server),
            31 => self.hairpin(host),
            32 => self.odd(h, s),
            _ => {
                let ms = [1, 50, 150, 1_000, 5_000, 25_000, 40_000, 100_000][self.chance.below(8)];
                self.lab.wait(ms);
                // Records without a leg are looked for some a millisecond, and a single worker has all of them.
                for _ in 0..512 / 16 {
                    self.lab.wait(1);
                }
            }
        }
    }

    fn udp(&mut self, host: &str, server: &str) {
        let (from, to) = ((host, 5000 + self.chance.below(3) as u16), (server, [53, 4500][self.chance.below(2)]));
        match self.chance.below(3) {
            0 | 1 => self.flow_out(false, from, to, Frame::udp(from, to).payload(b"out")),
            _ => drop(self.put(OUTSIDE, Frame::udp(to, self.flow(false, from, to)).payload(b"back"))),
        }
    }

    fn tcp(&mut self, host: &str, server: &str) {
        let (from, to) = ((host, 6000 + self.chance.below(2) as u16), (server, 80));
        let n = self.flow(true, from, to);
        match self.chance.below(6) {
            0 => self.flow_out(true, from, to, Frame::tcp(from, to).flags(SYN).seq(1000).ack(0).mss(1460)),
            1 => drop(self.put(OUTSIDE, Frame::tcp(to, n).flags(SYN | ACK).seq(5000).ack(1001))),
            2 => drop(self.put(INSIDE, Frame::tcp(from, to).seq(1001).ack(5001).payload(b"request"))),
            3 => drop(self.put(OUTSIDE, Frame::tcp(to, n).seq(5001).ack(1008).payload(b"answer"))),
            4 => drop(self.put(INSIDE, Frame::tcp(from, to).flags(FIN | ACK).seq(1008).ack(5007))),
            _ => drop(self.put(OUTSIDE, Frame::tcp(to, n).flags(RST | ACK).seq(5007).ack(1008))),
        }
    }

    fn ping(&mut self, host: &str, server: &str) {
        let id = 40 + self.chance.below(2) as u16;
        let o = self.put(INSIDE, Frame::echo_request(host, server, id, 1));
        if let Some(seen) = o.at(OUTSIDE).first() {
            let id = seen.icmp().id();
            self.put(OUTSIDE, Frame::echo_reply(server, P, id, 1));
        }
    }

    /// Both SPIs of a host with a server.
    fn spis(&mut self, h: usize, s: usize) -> [u32; 2] {
        let generation = *self.world.keys.entry((h, s)).or_default();
        [0, 1].map(|way| spi(h, s, generation, way))
    }

    fn ipsec(&mut self, h: usize, s: usize) {
        let (host, server) = (HOSTS[h], SERVERS[s]);
        let [theirs, ours] = self.spis(h, s);
        match self.chance.below(12) {
            0 => {
                // A rekey, which IKE shows for one server of each host.
                *self.world.keys.entry((h, s)).or_default() += 1;
                if s == h % SERVERS.len() {
                    let (from, to) = ((host, 500), (server, 500));
                    let id = self.chance.below(1 << 20) as u32;
                    let m = message((h as u64 + 1, 2), CHILD, 0x08, id);
                    self.flow_out(false, from, to, Frame::udp(from, to).payload(m));
                    let m = message((h as u64 + 1, 2), CHILD, RESPONSE, id);
                    self.put(OUTSIDE, Frame::udp(to, self.flow(false, from, to)).payload(m));
                }
            }
            1..=5 => {
                let n = 1 + self.chance.below(4);
                let frames = (0..n).map(|_| esp(host, server, theirs).build()).collect();
                self.put_all(INSIDE, frames);
            }
            6..=10 => {
                let n = 1 + self.chance.below(4);
                let frames = (0..n).map(|_| esp(server, P, ours).build()).collect();
                self.put_all(OUTSIDE, frames);
            }
            _ => {
                // What was used before the latest rekey.
                let before = self.world.keys.get(&(h, s)).map_or(0, |n| n.saturating_sub(1));
                self.put(OUTSIDE, esp(server, P, spi(h, s, before, 1)));
            }
        }
    }

    fn l2tp(&mut self, h: usize, s: usize) {
        let (host, server) = (HOSTS[h], SERVERS[s]);
        let ids = |n: u32| [n, 0x100 + n, 0x1000 + n, 0x2000 + n];
        match self.world.l2tp.get(&(h, s)).copied() {
            None => {
                self.world.id += 1;
                let n = u32::from(self.world.id);
                let [ours, theirs, our_session, their_session] = ids(n);
                self.put(INSIDE, control(host, server, 0, SCCRQ, &[(CCID, ours)]));
                self.put(OUTSIDE, control(server, P, ours, SCCRP, &[(CCID, theirs)]));
                self.put(INSIDE, control(host, server, theirs, SCCCN, &[]));
                self.put(INSIDE, control(host, server, theirs, ICRQ, &[(SESSION, our_session)]));
                self.put(OUTSIDE, control(server, P, ours, ICRP, &[(SESSION, their_session), (64, our_session)]));
                self.put(INSIDE, control(host, server, theirs, ICCN, &[(SESSION, our_session)]));
                self.world.l2tp.insert((h, s), n);
            }
            Some(n) => {
                let [ours, theirs, our_session, their_session] = ids(n);
                match self.chance.below(12) {
                    0 => {
                        self.put(INSIDE, control(host, server, theirs, STOPCCN, &[]));
                        self.world.l2tp.remove(&(h, s));
                    }
                    1 => drop(self.put(OUTSIDE, control(server, P, ours, 6, &[]))),
                    2..=6 => drop(self.put(INSIDE, data(host, server, their_session))),
                    _ => drop(self.put(OUTSIDE, data(server, P, our_session))),
                }
            }
        }
    }

    fn pptp(&mut self, h: usize, host: &str, server: &str) {
        let theirs = 700 + h as u16;
        match self.world.calls.remove(&h) {
            None => {
                let from = (host, 1500 + self.chance.below(2) as u16);
                let o = self.put(INSIDE, Frame::tcp(from, (server, 1723)).flags(SYN).seq(1000).ack(0).mss(1400));
                let Some(outside) = Self::source(&o) else { return };
                self.put(OUTSIDE, Frame::tcp((server, 1723), outside).flags(SYN | ACK).seq(5000).ack(1001).mss(1400));
                self.put(INSIDE, Frame::tcp(from, (server, 1723)).seq(1001).ack(5001));
                let mut c =
                    Control { inside: endpoint(from), remote: endpoint((server, 1723)), outside, next: [1001, 5001] };
                let request = pptp::outgoing_call_request(7);
                let o = self.put(INSIDE, c.frame_out(&request));
                let Some(translated) = o.at(OUTSIDE).first().filter(|s| s.payload.len() >= 14) else { return };
                let translated = id_at(&translated.payload, 12);
                c.next[0] += request.len() as u32;
                let reply = pptp::outgoing_call_reply(theirs, translated, 1);
                self.put(OUTSIDE, c.frame_in(&reply));
                c.next[1] += reply.len() as u32;
                self.world.calls.insert(h, (c, translated));
            }
            Some((c, translated)) => match self.chance.below(8) {
                0 => drop(self.put(INSIDE, c.frame_out(&[]).flags(FIN | ACK))),
                way => {
                    let server = *c.remote.ip();
                    if way < 4 {
                        self.put(INSIDE, gre(*c.inside.ip(), server, theirs));
                    } else {
                        self.put(OUTSIDE, gre(server, *c.outside.ip(), translated));
                    }
                    self.world.calls.insert(h, (c, translated));
                }
            },
        }
    }

    fn fragments(&mut self, h: usize, s: usize) {
        let (host, server) = (HOSTS[h], SERVERS[s]);
        let [theirs, ours] = self.spis(h, s);
        self.world.id += 1;
        let (id, from, to) = (self.world.id, (host, 5000), (server, 53));
        let payload = vec![6; 2000 + self.chance.below(2000)];
        let (port, whole) = match self.chance.below(4) {
            0 => (INSIDE, Frame::udp(from, to).payload(payload).id(id).build()),
            1 => (OUTSIDE, Frame::udp(to, self.flow(false, from, to)).payload(payload).id(id).build()),
            2 => (INSIDE, Frame::esp(host, server, theirs, 1).payload(payload).id(id).build()),
            _ => (OUTSIDE, Frame::esp(server, P, ours, 1).payload(payload).id(id).build()),
        };
        let mut pieces = fragments(&whole, 1500);
        let turn = self.chance.below(pieces.len());
        pieces.rotate_left(turn);
        // One by one: which of two comes first at the worker where they meet is by chance otherwise.
        for piece in pieces {
            self.put(port, piece);
        }
    }

    fn error(&mut self) {
        let at = self.chance.below(2);
        let Some(left) = self.world.left.get(&at).cloned() else { return };
        let from = if at == 1 { G } else { A };
        let frame = match self.chance.below(3) {
            0 => Frame::fragmentation_needed(from, 1300, left).build(),
            1 => Frame::time_exceeded(from, left).build(),
            _ => Frame::unreachable(from, 3, left).build(),
        };
        self.put(PORTS[at], frame);
    }

    fn strangers(&mut self, server: &str) {
        for n in 0..4 {
            let spi = 0x5000_0000 + self.chance.below(1000) as u32;
            self.put(OUTSIDE, esp(server, P, spi));
            self.put(OUTSIDE, data(server, P, 0x6000_0000 + n));
            self.put(OUTSIDE, gre(server, P, n as u16));
        }
    }

    fn hairpin(&mut self, host: &str) {
        let other = self.chance.of(&HOSTS);
        let n = self.flow(false, (other, 5000), (X, 53));
        self.put(INSIDE, Frame::udp((host, 5001), n).payload(b"by the outside"));
        self.put(INSIDE, esp(host, P, 0x7000_0000));
    }

    fn odd(&mut self, h: usize, s: usize) {
        let (host, server) = (HOSTS[h], SERVERS[s]);
        let [theirs, ours] = self.spis(h, s);
        match self.chance.below(4) {
            0 => drop(self.put(INSIDE, esp(host, server, theirs).ttl(1))),
            1 => drop(self.put(OUTSIDE, esp(server, P, ours).ttl(1))),
            2 => drop(self.put(INSIDE, Frame::esp(host, server, theirs, 1).payload(vec![0; 1600]))),
            _ => drop(self.put(INSIDE, Frame::esp(host, server, theirs, 1).payload(vec![0; 1600]).df())),
        }
    }
}

// DESIGN §5; the model test
#[test]
fn end_hosts_cannot_tell_how_many_workers_there_are() {
    let stories: u64 = std::env::var("UNDERPASS_STORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    for seed in 1..=stories {
        let alone = tell(seed, 1, 400);
        assert!(alone.transcript.lines().count() > 500);
        for workers in [2, 3, 8] {
            let together = tell(seed, workers, 400);
            let differing =
                alone.transcript.lines().zip(together.transcript.lines()).enumerate().find(|(_, (a, b))| a != b);
            assert!(
                alone.transcript == together.transcript,
                "story {seed} over {workers} workers is another: {differing:#?}"
            );
            assert!(together.lent > 0, "story {seed}");
        }
    }
}
