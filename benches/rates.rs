//! How fast sessions are set up and torn down (RFC 9693's terms), by the whole slow path of one worker: packets come,
//! subscribers, mappings and sessions are made, packets leave; time-outs pass, and all of it goes again.
//!
//! No device takes part: packets are made in place, in an order that no prefetcher follows, and swallowed. The clock is
//! the bench's own, so a time-out of seconds takes as long as its packets do. Rates are by the time that the thread was
//! given a CPU, so that other work on the machine does not count.
//!
//! ```text
//! cargo bench -p dataplane --bench rates -- [--sessions N] [--json]
//! ```

#![allow(missing_docs, reason = "a program")]

use dataplane::io::{Buf, Burst, Crowding, Io};
use dataplane::policy::{Net, Policy, Port, Rules, StaticNeighbour};
use dataplane::types::{Mac, PortId, Side, Tick, WorkerId};
use dataplane::verdict::{Counters, Event};
use dataplane::worker::Worker;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

const BOX_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 1);
const FLOWS_PER_HOST: u32 = 64;
const HEADROOM: usize = 64;
/// Time-outs of the churn: several turns of the timer wheel's finest slots.
const TIMEOUT_MS: u32 = 2000;
const HOLD_DOWN_MS: u32 = 500;

/// A packet buffer as small as its packet.
struct Packet(Box<Bytes>);

struct Bytes {
    room: [u8; 192],
    start: usize,
    end: usize,
}

impl Buf for Packet {
    fn data(&self) -> &[u8] {
        &self.0.room[self.0.start..self.0.end]
    }
    fn data_mut(&mut self) -> &mut [u8] {
        let b = &mut *self.0;
        &mut b.room[b.start..b.end]
    }
    fn truncate(&mut self, len: usize) {
        self.0.end = self.0.end.min(self.0.start + len);
    }
    fn trim_front(&mut self, n: usize) -> bool {
        self.0.start += n;
        self.0.start <= self.0.end
    }
    fn prepend(&mut self, n: usize) -> bool {
        self.0.start -= n;
        true
    }
    fn append(&mut self, n: usize) -> bool {
        self.0.end += n;
        self.0.end <= self.0.room.len()
    }
    fn tag(&self) -> u64 {
        0
    }
    fn set_tag(&mut self, _: u64) {}
}

/// Makes each flow's packet when it is asked for, and swallows what is sent.
struct Flows {
    template: Vec<u8>,
    idle: Vec<Packet>,
    /// The next flow, and how many may still come.
    next: u32,
    left: u32,
    /// Flows are the numbers below it, a power of two, in an order of their own.
    space: u32,
}

impl Flows {
    fn new(space: u32) -> Self {
        let template = testkit::Frame::udp((Ipv4Addr::UNSPECIFIED, 0), (SERVER, 4000))
            .destination_mac(BOX_MAC.0)
            .df()
            .payload(&[0u8; 18])
            .build();
        let blank = || Packet(Box::new(Bytes { room: [0; 192], start: 0, end: 0 }));
        let idle = std::iter::repeat_with(blank).take(4096).collect();
        Self { template, idle, next: 0, left: 0, space: space.next_power_of_two() }
    }

    fn make(&mut self) -> Option<Packet> {
        let mut packet = self.idle.pop()?;
        let flow = self.next.wrapping_mul(0x9e37_79b1) & (self.space - 1);
        self.next = self.next.wrapping_add(1);
        let len = self.template.len();
        (packet.0.start, packet.0.end) = (HEADROOM, HEADROOM + len);
        let frame = packet.data_mut();
        frame.copy_from_slice(&self.template);
        let host = (0x0a00_0100 + flow / FLOWS_PER_HOST).to_be_bytes();
        let port = port(flow).to_be_bytes();
        frame[26..30].copy_from_slice(&host);
        frame[34..36].copy_from_slice(&port);
        // The template's source was 0, and no UDP checksum is none to put right.
        let words =
            u32::from(u16::from_be_bytes([host[0], host[1]])) + u32::from(u16::from_be_bytes([host[2], host[3]]));
        let sum = u32::from(!u16::from_be_bytes([frame[24], frame[25]])) + words;
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        frame[40..42].fill(0);
        Some(packet)
    }
}

/// A host's ports lie all over the range, and another's elsewhere.
fn port(flow: u32) -> u16 {
    let (host, n) = (flow / FLOWS_PER_HOST, flow % FLOWS_PER_HOST);
    1024 + ((host.wrapping_mul(7919) % 60_000 + n * 937) % 60_000) as u16
}

impl Io for Flows {
    type Buf = Packet;
    fn receive(&mut self, port: PortId, into: &mut Burst<Packet>) -> usize {
        while port == PortId(0) && self.left > 0 && !into.is_full() {
            let Some(packet) = self.make() else { break };
            into.push(packet);
            self.left -= 1;
        }
        0
    }
    fn send(&mut self, _: PortId, from: &mut Burst<Packet>) {
        self.idle.extend(from.drain(..));
    }
    fn take_handed(&mut self, _: &mut Burst<Packet>) {}
    fn hand_over(&mut self, _: WorkerId, _: &mut Burst<Packet>) {}
    fn cycles(&mut self) -> u64 {
        0
    }
    fn crowding(&self, _: WorkerId) -> Crowding {
        Crowding::Easy
    }
    fn allocate(&mut self) -> Option<Packet> {
        None
    }
}

/// One worker and its clock.
struct Rig {
    worker: Worker<Flows>,
    now: Tick,
}

/// What was done, and how long it took.
struct Rate {
    name: &'static str,
    sessions: u64,
    took: Duration,
    longest_turn: Duration,
}

impl Rig {
    fn new(sessions: u32) -> Self {
        let port = |side, addr: Ipv4Addr, prefix| Port {
            side,
            mac: BOX_MAC,
            vlan: None,
            mtu: 1500,
            addresses: vec![(addr, Net::of(addr, prefix))],
            gateway: None,
        };
        let mut p = Policy {
            ports: vec![
                port(Side::Inside, Ipv4Addr::new(10, 0, 0, 1), 8),
                port(Side::Outside, Ipv4Addr::new(198, 19, 0, 2), 16),
            ],
            neighbours: vec![StaticNeighbour { port: PortId(1), addr: SERVER, mac: Mac([2, 0, 0, 0, 0, 9]) }],
            pool: vec![Ipv4Addr::new(198, 19, 1, 0)..=Ipv4Addr::from_bits(0xc613_0100 + sessions / 8192)],
            ..Policy::default()
        };
        let n = sessions as usize;
        // Those in hold-down keep a mapping, too.
        (p.sizes.sessions, p.sizes.mappings, p.sizes.subscribers) = (n, n * 2, n / 4);
        (p.limits.rate, p.limits.burst) = (1_000_000, 2_000_000);
        (p.timeouts.udp, p.timeouts.hold_down) = (TIMEOUT_MS, HOLD_DOWN_MS);
        let counters = Arc::new(Counters::default());
        let flows = Flows::new(sessions * 4);
        let worker = Worker::new(flows, WorkerId(0), Arc::new(Rules::new(p, 1)), counters, Tick(0));
        Self { worker, now: Tick(1) }
    }

    /// Lets `flows` packets come, so many a millisecond (0: no time passes), and measures.
    fn play(&mut self, name: &'static str, flows: u32, a_millisecond: u32) -> Rate {
        let opened = self.opened();
        let start = on_cpu();
        let (mut left, mut longest) = (flows, Duration::ZERO);
        while left > 0 {
            let now = if a_millisecond == 0 { left } else { a_millisecond.min(left) };
            self.worker.io().left = now;
            left -= now;
            while self.worker.io().left > 0 {
                let turn = Instant::now();
                self.worker.poll(self.now);
                longest = longest.max(turn.elapsed());
            }
            self.now = self.now.after(u32::from(a_millisecond > 0));
        }
        let took = on_cpu() - start;
        Rate { name, sessions: self.opened() - opened, took, longest_turn: longest }
    }

    /// Lets all time-outs pass at once.
    fn tear_down(&mut self) -> Rate {
        let sessions = self.worker.sessions().len() as u64;
        self.now = self.now.after(TIMEOUT_MS * 2);
        let (start, mut longest) = (on_cpu(), Duration::ZERO);
        while !self.worker.sessions().is_empty() {
            let turn = Instant::now();
            self.worker.expire(self.now);
            longest = longest.max(turn.elapsed());
        }
        Rate { name: "tear-down", sessions, took: on_cpu() - start, longest_turn: longest }
    }

    fn opened(&self) -> u64 {
        self.worker.counters().events(Event::SessionsOpened)
    }
}

/// How long this thread has had a CPU.
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a kernel that says how long threads ran"))
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let json = arguments.iter().any(|a| a == "--json");
    let given = arguments.iter().position(|a| a == "--sessions").and_then(|at| arguments.get(at + 1));
    let n: u32 = given.map_or(1 << 20, |n| n.parse().expect("--sessions takes a number"));
    let mut rates = Vec::new();
    let mut rig = Rig::new(n);
    rates.push(rig.play("set-up, empty table", n / 2, 0));
    rig.play("", n / 100 * 30, 0);
    rates.push(rig.play("set-up, 80 % full", n / 100 * 5, 0));
    rates.push(rig.tear_down());
    // Such a rate that the sessions of one time-out fill four fifths.
    let a_millisecond = n / 5 * 4 / (TIMEOUT_MS + 256);
    rig.play("", n * 2, a_millisecond);
    rates.push(rig.play("churn at 80 % fill", n * 2, a_millisecond));
    let fill = rig.worker.sessions().len() as f64 / f64::from(n);
    let lost = rig.worker.counters().account().dropped;
    assert_eq!(lost, 0, "packets were dropped");
    if json {
        let lines: Vec<String> = rates.iter().map(|r| r.json(n)).collect();
        println!("[{}]", lines.join(",\n"));
        return;
    }
    println!("{:<24}{:>12}{:>12}{:>16}   a table for {n} sessions", "", "million/s", "ns each", "longest turn");
    for r in &rates {
        let seconds = r.took.as_secs_f64();
        let rate = r.sessions as f64 / seconds;
        println!(
            "{:<24}{:>12.2}{:>12.0}{:>13.0} µs",
            r.name,
            rate / 1e6,
            1e9 / rate,
            r.longest_turn.as_secs_f64() * 1e6
        );
    }
    println!("the churn ended at {:.0} % fill", fill * 100.0);
}

impl Rate {
    fn json(&self, table: u32) -> String {
        let rate = self.sessions as f64 / self.took.as_secs_f64();
        format!(
            "{{\"what\":\"{}\",\"table\":{table},\"sessions\":{},\"sessions_per_second\":{rate:.0},\"longest_turn_us\":{:.1}}}",
            self.name,
            self.sessions,
            self.longest_turn.as_secs_f64() * 1e6
        )
    }
}
