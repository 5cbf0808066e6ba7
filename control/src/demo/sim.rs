//! The simulated network as a whole, without devices: frames in, frames out, time as an argument.
//!
//! Conversations start at a steady rate while it lasts, bulk traffic runs beside them, then all are brought to their
//! ends. What arrives and belongs to no conversation is a fault too: nothing may come that was not sent.

use super::bulk::{Bulk, Traffic};
use super::cast::{self, Cast};
use super::latency::Latency;
use super::stations::Stations;
use super::talk::{self, Fault, Heard, IDS, Kind, Talk};
use super::tally::{Outcome, Tally};
use super::world::World;
use dataplane::types::Side;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;
use testkit::{Seen, Transport};

/// Conversations that start a second.
const RATE: u64 = 300;
/// How often each kind is, of the sum.
const WEIGHTS: &[(Kind, usize)] = &[
    (Kind::Udp, 8),
    (Kind::Tcp, 8),
    (Kind::Ping, 4),
    (Kind::Traceroute, 2),
    (Kind::PathMtu, 2),
    (Kind::Fragments, 3),
    (Kind::Forward, 3),
    (Kind::Hairpin, 2),
    (Kind::Punch, 2),
    (Kind::Stranger, 2),
    (Kind::Pptp, 1),
    (Kind::Ipsec, 1),
    (Kind::L2tp, 1),
    (Kind::L2tpV3, 1),
    (Kind::OpenVpn, 1),
    (Kind::WireGuard, 1),
    (Kind::Arp, 1),
];
/// A conversation in which nothing happened for so long has failed.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a conversation is remembered after its end, so that what comes late or twice is seen as its own.
const LINGER: Duration = Duration::from_millis(800);
/// Time between two looks at the clocks of all conversations.
const TICK: Duration = Duration::from_millis(5);
/// Fragments of a datagram that is never complete are forgotten after so long.
const REASSEMBLY: Duration = Duration::from_secs(5);

struct Live {
    kind: Kind,
    talk: Box<dyn Talk>,
    /// When something last happened.
    moved: Duration,
    /// When it ended, and whether it was found wrong.
    ended: Option<Duration>,
    outcome: Outcome,
}

type Datagram = (Side, Ipv4Addr, Ipv4Addr, u16, u8);

/// See the module.
pub(super) struct Sim {
    pub(super) world: World,
    pub(super) traffic: Traffic,
    pub(super) tally: Tally,
    pub(super) latency: Latency,
    /// The dataplane has dropped packets for want of capacity, so that silence proves nothing.
    pub(super) overloaded: bool,
    /// How often each kind is.
    pub(super) weights: &'static [(Kind, usize)],
    stations: Stations,
    live: HashMap<u32, Live>,
    pieces: HashMap<Datagram, (Duration, Vec<Vec<u8>>)>,
    next_id: u32,
    due: u64,
    ticked: Duration,
    started: Option<Duration>,
}

impl Sim {
    /// `ticks_per_second` is the rate of the stamps that come with frames.
    pub(super) fn new(cast: Cast, seed: u64, ticks_per_second: u64) -> Self {
        let mut world = World::new(cast, seed);
        Self {
            traffic: Traffic::new(&mut world),
            world,
            tally: Tally::default(),
            latency: Latency::new(ticks_per_second),
            overloaded: false,
            weights: WEIGHTS,
            stations: Stations::default(),
            live: HashMap::new(),
            pieces: HashMap::new(),
            next_id: 0,
            due: 0,
            ticked: Duration::ZERO,
            started: None,
        }
    }

    /// Everybody looks for the router.
    pub(super) fn begin(&mut self) {
        self.stations.ask_all(&mut self.world);
    }

    /// Whether the router has answered everybody (or is not going to).
    pub(super) fn is_connected(&self) -> bool {
        self.started.is_some()
    }

    /// Whether everything that was started has ended.
    pub(super) fn is_over(&self) -> bool {
        self.stations.is_quiet()
            && self.live.values().all(|l| l.ended.is_some())
            && self.traffic.under_way() == 0
            && self.world.out.is_empty()
    }

    /// Time passes. New conversations start if `starting`.
    pub(super) fn act(&mut self, now: Duration, starting: bool) {
        self.world.now = now;
        if now.saturating_sub(self.ticked) >= TICK {
            self.ticked = now;
            self.tick();
        }
        let Some(since) = self.started else { return };
        let due = now.saturating_sub(since).as_millis() as u64 * RATE / 1000;
        if starting {
            // After a pause of the whole machine, not all at once.
            for _ in 0..(due - self.due.min(due)).min(8) {
                self.start();
            }
        }
        self.due = due;
    }

    fn start(&mut self) {
        let mut left = self.world.chance.below(self.weights.iter().map(|(_, w)| w).sum());
        let kind = self.weights.iter().find(|(_, w)| {
            let here = left < *w;
            left = left.saturating_sub(*w);
            here
        });
        let Some(&(kind, _)) = kind else { return };
        while self.live.contains_key(&self.next_id) {
            self.next_id = (self.next_id + 1) % IDS;
        }
        match talk::cast(kind, self.next_id, &mut self.world) {
            None => self.stations.ask_one(&mut self.world),
            Some(mut talk) => {
                talk.start(&mut self.world);
                self.tally.start(kind);
                let live = Live { kind, talk, moved: self.world.now, ended: None, outcome: Outcome::Verified };
                self.live.insert(self.next_id, live);
                self.next_id = (self.next_id + 1) % IDS;
            }
        }
    }

    fn tick(&mut self) {
        let now = self.world.now;
        for what in self.stations.tick(&mut self.world) {
            self.tally.note(Kind::Arp.title(), &what);
        }
        self.traffic.tick(now);
        if self.started.is_none() && self.stations.is_quiet() {
            self.started = Some(now);
            self.traffic.address(&self.world);
        }
        let mut over = Vec::new();
        for (&id, live) in &mut self.live {
            if let Some(ended) = live.ended {
                if now.saturating_sub(ended) > LINGER {
                    over.push(id);
                }
                continue;
            }
            let mut judged = live.talk.tick(&mut self.world);
            if judged.is_ok() && now.saturating_sub(live.moved) > PATIENCE {
                judged = Err(Fault::Silence(live.talk.awaits()));
            }
            if let Err(fault) = judged {
                live.end(&fault, id, self.overloaded, now, &mut self.tally);
            }
        }
        for id in over {
            self.live.remove(&id);
        }
        self.pieces.retain(|_, (since, _)| now.saturating_sub(*since) < REASSEMBLY);
        self.tally.arp(self.stations.asked, self.stations.answered, self.stations.failed);
    }

    /// A frame came out of the router, `stamp` being the time. Whether it, rewritten, is to be sent back on that side.
    pub(super) fn hear(&mut self, side: Side, frame: &mut [u8], stamp: u64) -> bool {
        match self.traffic.hear(side, frame, stamp, &mut self.world) {
            Bulk::Other => {}
            Bulk::Answer(took) => {
                self.latency.record(side, took);
                return true;
            }
            Bulk::Home(took) => {
                self.latency.record(side, took);
                return false;
            }
            Bulk::Wrong => return false,
        }
        if let Err(what) = self.hear_one(side, frame) {
            self.tally.stray(&what);
        }
        false
    }

    /// Anything but bulk traffic. An error is a frame that belongs to nobody.
    fn hear_one(&mut self, side: Side, frame: &[u8]) -> Result<(), String> {
        let seen = Seen::read(frame).map_err(|what| format!("a damaged frame came {side:?}: {what}"))?;
        if let Transport::Arp(arp) = &seen.transport {
            return self.stations.hear(side, &seen, arp, &mut self.world);
        }
        let to = self.world.cast.station(side, *seen.destination.ip()).map(|station| cast::mac(side, station));
        if to != Some(seen.destination_mac) {
            return Err(format!("{seen} came {side:?} for the wrong station, {:02x?}", seen.destination_mac));
        }
        if seen.transport != Transport::Fragment {
            return self.deliver(side, &seen, frame);
        }
        let key = (side, *seen.source.ip(), *seen.destination.ip(), seen.id, seen.protocol);
        let (_, pieces) = self.pieces.entry(key).or_insert_with(|| (self.world.now, Vec::new()));
        pieces.push(frame.to_vec());
        let Some(whole) = testkit::reassemble(pieces) else { return Ok(()) };
        self.pieces.remove(&key);
        let seen = Seen::read(&whole).map_err(|what| format!("a datagram put together {side:?}: {what}"))?;
        self.deliver(side, &seen, &whole)
    }

    fn deliver(&mut self, side: Side, seen: &Seen, frame: &[u8]) -> Result<(), String> {
        let nobody = || format!("{seen} came {side:?} and belongs to no conversation");
        let id = talk::whose(seen).ok_or_else(nobody)?;
        let live = self.live.get_mut(&id).ok_or_else(nobody)?;
        let now = self.world.now;
        live.moved = now;
        match live.talk.hear(&Heard { side, seen, frame }, &mut self.world) {
            Err(fault) => live.end(&fault, id, false, now, &mut self.tally),
            Ok(()) if live.ended.is_none() && live.talk.is_done() => {
                live.ended = Some(now);
                self.tally.end(live.kind, Outcome::Verified);
            }
            Ok(()) => {}
        }
        Ok(())
    }

    /// The tally with bulk flows in it; at the end, those that did not fail are verified.
    pub(super) fn tally(&self, at_the_end: bool) -> Tally {
        let mut tally = self.tally.clone();
        let (started, lost_packets, wrong) = self.traffic.verdict();
        tally.bulk(started, lost_packets, self.traffic.lossy(), &wrong, self.overloaded, at_the_end);
        tally.retransmitted = self.world.retransmitted;
        tally.resent = self.world.resent;
        (tally.misled, tally.retold) = (self.world.misled, self.world.retold);
        tally.bulk_home = self.traffic.home;
        if at_the_end {
            for (id, live) in self.live.iter().filter(|(_, l)| l.ended.is_none()) {
                tally.end(live.kind, Outcome::Failed);
                tally.note(live.kind.title(), &format!("#{id}: not finished in time; {}", live.talk.awaits()));
            }
        }
        tally
    }
}

impl Live {
    /// It went wrong, perhaps after it had been verified.
    fn end(&mut self, fault: &Fault, id: u32, overloaded: bool, now: Duration, tally: &mut Tally) {
        let outcome = match fault {
            Fault::Silence(_) if overloaded => Outcome::Lost,
            Fault::Silence(_) | Fault::Wrong(_) => Outcome::Failed,
        };
        if self.ended.is_some() {
            if self.outcome == Outcome::Verified {
                tally.retract(self.kind);
            } else {
                return;
            }
        }
        (self.ended, self.outcome) = (Some(now), outcome);
        tally.end(self.kind, outcome);
        tally.note(self.kind.title(), &format!("#{id}: {fault}"));
    }
}
