//! The scene of a test.
//!
//! ```text
//! A 192.168.1.10 ─┐
//! B 192.168.1.20 ─┼─ INSIDE ┐                                ┌─ X 198.51.100.7
//! R 192.168.1.254 ┘         ├─ the box ─ OUTSIDE ─ G 203.0.113.1 ─┴─ Y 198.51.100.99
//! C 10.0.0.30 ─────── SECOND ┘  P 203.0.113.2          N 203.0.113.77 on the link
//! ```
//!
//! R routes to 192.168.50.0/24. Neighbours are static unless a test says otherwise. `P` is the only pool address.

pub(crate) use crate::outcome::Outcome;
use crate::transcript::Transcript;
use dataplane::io::memory::Memory;
use dataplane::policy::{Filtering, FragmentLimits, Net, Policy, Port, Route, Rules, Sizes, StaticNeighbour};
use dataplane::types::{Mac, PortId, Side, Tick, WorkerId};
use dataplane::verdict::{Account, Counters, DropReason, Event};
use dataplane::worker::Worker;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use testkit::{ACK, DESTINATION_MAC, Frame, IntoEndpoint, SOURCE_MAC, SYN, Seen, Transport, endpoint};

pub(crate) const A: &str = "192.168.1.10";
pub(crate) const B: &str = "192.168.1.20";
/// Inside router.
pub(crate) const R: &str = "192.168.1.254";
/// On the second inside network.
pub(crate) const C: &str = "10.0.0.30";
/// Outside gateway.
pub(crate) const G: &str = "203.0.113.1";
/// The box, outside; the pool.
pub(crate) const P: &str = "203.0.113.2";
/// The box, inside.
pub(crate) const BOX: &str = "192.168.1.1";
pub(crate) const X: &str = "198.51.100.7";
pub(crate) const Y: &str = "198.51.100.99";
/// Outside host on the link.
pub(crate) const N: &str = "203.0.113.77";

pub(crate) const INSIDE: PortId = PortId(0);
pub(crate) const OUTSIDE: PortId = PortId(1);
pub(crate) const SECOND: PortId = PortId(2);
pub(crate) const PORTS: [PortId; 3] = [INSIDE, OUTSIDE, SECOND];

pub(crate) const INSIDE_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub(crate) const OUTSIDE_MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];
pub(crate) const SECOND_MAC: [u8; 6] = [2, 0, 0, 0, 3, 1];
pub(crate) const G_MAC: [u8; 6] = [2, 0, 0, 0, 2, 0xee];

/// A whole second.
pub(crate) const S: u32 = 1000;
/// What timers may be late by: the wheel's grain.
pub(crate) const LATE: u32 = 600;

pub(crate) fn addr(a: &str) -> Ipv4Addr {
    a.parse().unwrap()
}

/// The Ethernet address of a host of the scene.
pub(crate) fn mac_of(host: &str) -> [u8; 6] {
    let [_, _, c, d] = addr(host).octets();
    if host == G { G_MAC } else { [2, 0, 0, 1, c, d] }
}

fn port(side: Side, mac: [u8; 6], address: &str, prefix: u8, gateway: Option<&str>) -> Port {
    let address = addr(address);
    Port {
        side,
        mac: Mac(mac),
        vlan: None,
        mtu: 1500,
        addresses: vec![(address, Net::of(address, prefix))],
        gateway: gateway.map(addr),
    }
}

/// The scene's policy.
pub(crate) fn policy() -> Policy {
    let neighbour = |port, host| StaticNeighbour { port, addr: addr(host), mac: Mac(mac_of(host)) };
    Policy {
        ports: vec![
            port(Side::Inside, INSIDE_MAC, BOX, 24, None),
            port(Side::Outside, OUTSIDE_MAC, P, 24, Some(G)),
            port(Side::Inside, SECOND_MAC, "10.0.0.1", 24, None),
        ],
        routes: vec![Route { net: Net::of(addr("192.168.50.0"), 24), via: addr(R) }],
        neighbours: vec![
            neighbour(INSIDE, A),
            neighbour(INSIDE, B),
            neighbour(INSIDE, R),
            neighbour(OUTSIDE, G),
            neighbour(OUTSIDE, N),
            neighbour(SECOND, C),
        ],
        pool: vec![addr(P)..=addr(P)],
        fragments: FragmentLimits { datagrams: 256, held: 128, per_datagram: 64 },
        sizes: Sizes { sessions: 8192, mappings: 8192, subscribers: 512, neighbours: 256 },
        seed: 0x5eed,
        ..Policy::default()
    }
}

/// All filtering modes, with a name for messages.
pub(crate) const FILTERINGS: [Filtering; 3] =
    [Filtering::EndpointIndependent, Filtering::AddressDependent, Filtering::AddressAndPortDependent];

/// A frame to put on the wire: built or raw.
pub(crate) trait IntoFrame {
    fn into_frame(self) -> Vec<u8>;
}

impl IntoFrame for Frame<'_> {
    fn into_frame(self) -> Vec<u8> {
        self.build()
    }
}
impl IntoFrame for &Frame<'_> {
    fn into_frame(self) -> Vec<u8> {
        self.build()
    }
}
impl IntoFrame for Vec<u8> {
    fn into_frame(self) -> Vec<u8> {
        self
    }
}
impl IntoFrame for &Vec<u8> {
    fn into_frame(self) -> Vec<u8> {
        self.clone()
    }
}

/// The box with its surroundings. When it goes out of scope, every packet must have ended exactly once.
pub(crate) struct Lab {
    workers: Vec<Worker<Memory>>,
    counters: Vec<Arc<Counters>>,
    policy: Policy,
    now: Tick,
    dice: u64,
    transcript: Transcript,
}

/// The longest that an inside host's packet waits for others to set up a tunnel, in milliseconds.
pub(crate) const TURN: u32 = 3_000;

fn assert_left(sent: &Seen, seen: &Seen) {
    assert_eq!(seen.destination, sent.destination, "destination of {seen}");
    assert!(!seen.source.ip().is_private(), "an inside address leaks: {seen}");
    assert_carried(sent, seen);
}

impl Lab {
    /// The plain scene.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// The scene with another policy.
    pub(crate) fn with(change: impl FnOnce(&mut Policy)) -> Self {
        Self::over(crate::workers::count(), change)
    }

    /// The scene with one worker whatever [`crate::workers`] wants: for claims about a share, such as which ports a
    /// worker owns or how many entries its table has.
    pub(crate) fn single(change: impl FnOnce(&mut Policy)) -> Self {
        Self::over(1, change)
    }

    /// The scene over so many workers.
    pub(crate) fn over(workers: u8, change: impl FnOnce(&mut Policy)) -> Self {
        Self::joined(workers, 1 << 16, change)
    }

    /// The same with short rings between the workers.
    pub(crate) fn joined(workers: u8, ring: usize, change: impl FnOnce(&mut Policy)) -> Self {
        let mut policy = policy();
        change(&mut policy);
        let rules = Arc::new(Rules::new(policy.clone(), workers));
        // The clock starts shortly before it wraps, so that every test crosses the wrap.
        let now = Tick(u32::MAX - 7_000);
        let counters: Vec<_> = (0..workers).map(|_| Arc::new(Counters::default())).collect();
        let workers: Vec<_> = Memory::joined(workers, policy.ports.len(), ring)
            .into_iter()
            .zip(0u8..)
            .zip(&counters)
            .map(|((io, n), c)| Worker::new(io, WorkerId(n), Arc::clone(&rules), Arc::clone(c), now))
            .collect();
        let transcript = Transcript::new(Arc::clone(&rules));
        Self { workers, counters, policy, now, dice: 0x9e37_79b9_7f4a_7c15, transcript }
    }

    /// Other numbers of workers may do otherwise here, by chance: where a flood meets a worker's own bounds, or a
    /// port is chosen anew.
    pub(crate) fn off_the_record(mut self) -> Self {
        self.transcript.stop();
        self
    }

    /// A die with `sides` sides.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 33) as usize % sides
    }

    /// Frames arrive at a port, each at a random worker's queue, and all workers poll until nothing is left to do.
    #[track_caller]
    pub(crate) fn put_all<F: IntoFrame>(&mut self, port: PortId, frames: impl IntoIterator<Item = F>) -> Outcome {
        for frame in frames {
            let worker = self.roll(self.workers.len());
            self.queue(worker, port, frame);
        }
        self.settle()
    }

    /// One frame arrives.
    #[track_caller]
    pub(crate) fn put(&mut self, port: PortId, frame: impl IntoFrame) -> Outcome {
        self.put_all(port, [frame])
    }

    /// A frame arrives at a certain worker.
    #[track_caller]
    pub(crate) fn put_at(&mut self, worker: usize, port: PortId, frame: impl IntoFrame) -> Outcome {
        self.queue(worker, port, frame);
        self.settle()
    }

    /// A frame arrives at a certain worker, which does not look yet.
    pub(crate) fn queue(&mut self, worker: usize, port: PortId, frame: impl IntoFrame) {
        let bytes = self.addressed(port, frame.into_frame());
        self.workers[worker].io().arrive(port, &bytes);
    }

    /// Fills in the Ethernet addresses that a test did not choose.
    fn addressed(&self, port: PortId, mut frame: Vec<u8>) -> Vec<u8> {
        let l3 = if frame.get(12..14) == Some(&[0x81, 0x00]) { 18 } else { 14 };
        let source = frame.get(l3 + 12..l3 + 16).map(|s| Ipv4Addr::new(s[0], s[1], s[2], s[3]).to_string());
        if let Some(mac) = frame.get_mut(..6).filter(|m| **m == DESTINATION_MAC) {
            mac.copy_from_slice(&self.policy.ports[port.index()].mac.0);
        }
        if let Some(mac) = frame.get_mut(6..12).filter(|m| **m == SOURCE_MAC) {
            mac.copy_from_slice(&match source {
                Some(host) if port != OUTSIDE => mac_of(&host),
                _ => G_MAC,
            });
        }
        frame
    }

    fn drops(&self) -> BTreeMap<DropReason, u64> {
        let total = |r: DropReason| self.counters.iter().map(|c| c.drops(r)).sum::<u64>();
        DropReason::ALL.iter().map(|&r| (r, total(r))).filter(|(_, n)| *n > 0).collect()
    }

    /// Polls until nothing is left to do, and reads what came out.
    #[track_caller]
    pub(crate) fn settle(&mut self) -> Outcome {
        let before = self.drops();
        self.poll();
        self.collect(&before)
    }

    /// One worker polls once; what it sent by each port.
    pub(crate) fn step(&mut self, worker: usize) -> [Vec<Seen>; 3] {
        self.workers[worker].poll(self.now);
        PORTS.map(|port| {
            let sent = self.workers[worker].io().take_sent(port);
            sent.iter().map(|frame| self.check_sent(port, frame)).collect()
        })
    }

    /// The clock goes on, and nobody looks.
    pub(crate) fn pass(&mut self, millis: u32) {
        self.now = self.now.after(millis);
    }

    fn poll(&mut self) {
        let n = self.workers.len();
        loop {
            let first = self.roll(n);
            let work: usize = (0..n).map(|i| self.workers[(first + i) % n].poll(self.now)).sum();
            if work == 0 && !self.workers.iter_mut().any(|w| w.io().has_work()) {
                return;
            }
        }
    }

    #[track_caller]
    fn collect(&mut self, before: &BTreeMap<DropReason, u64>) -> Outcome {
        let mut outcome = Outcome::default();
        for port in PORTS.into_iter().take(self.policy.ports.len()) {
            for w in &mut self.workers {
                outcome.raw[port.index()].extend(w.io().take_sent(port));
            }
            outcome.sent[port.index()] =
                outcome.raw[port.index()].iter().map(|frame| self.check_sent(port, frame)).collect();
        }
        for (reason, n) in self.drops() {
            let new = n - before.get(&reason).copied().unwrap_or(0);
            if new > 0 {
                outcome.drops.insert(reason, new);
            }
        }
        self.transcript.note(&outcome);
        outcome
    }

    /// What holds of every frame that the box sends.
    #[track_caller]
    fn check_sent(&self, port: PortId, frame: &[u8]) -> Seen {
        let configured = &self.policy.ports[port.index()];
        let seen =
            Seen::read(frame).unwrap_or_else(|wrong| panic!("{port:?} sent a wrong frame: {wrong}: {frame:02x?}"));
        assert_eq!(seen.source_mac, configured.mac.0, "source of {seen}");
        assert_eq!(seen.vlan.map(|tag| tag & 0xfff), configured.vlan, "tag of {seen}");
        assert_eq!(seen.padding, 0, "padding of {seen}");
        let link = if configured.vlan.is_some() { 18 } else { 14 };
        assert!(frame.len() <= link + usize::from(configured.mtu), "larger than the MTU: {seen}");
        if !matches!(seen.transport, Transport::Arp(_)) {
            assert!(seen.ttl > 0, "TTL of {seen}");
        }
        seen
    }

    /// A damaged frame goes through; what the reader says about it when it comes out.
    #[track_caller]
    pub(crate) fn put_damaged(&mut self, from: PortId, to: PortId, frame: impl IntoFrame) -> String {
        self.queue(0, from, frame);
        self.poll();
        let sent: Vec<_> = self.workers.iter_mut().flat_map(|w| w.io().take_sent(to)).collect();
        assert_eq!(sent.len(), 1, "the damaged frame did not pass");
        Seen::read(&sent[0]).expect_err("the damage was repaired")
    }

    /// Time passes; workers go on polling. Coarse steps where much time passes.
    #[track_caller]
    pub(crate) fn wait(&mut self, millis: u32) -> Outcome {
        let before = self.drops();
        let mut left = millis;
        while left > 0 {
            let step = left.min(match left {
                0..=8_000 => 50,
                8_001..=70_000 => 500,
                _ => 5_000,
            });
            left -= step;
            self.now = self.now.after(step);
            self.poll();
        }
        self.collect(&before)
    }

    /// Like [`Lab::wait`], and nothing is sent or dropped meanwhile.
    #[track_caller]
    pub(crate) fn wait_quietly(&mut self, millis: u32) {
        let o = self.wait(millis);
        assert!(o.is_silent() && o.drops.is_empty(), "not quiet: {o}");
    }

    /// An inside host sends; exactly one frame must leave, the same but for its source, TTL and checksums.
    #[track_caller]
    pub(crate) fn out(&mut self, frame: impl IntoFrame) -> Seen {
        let frame = frame.into_frame();
        let sent = Seen::read(&frame).expect("a test sends a right frame");
        let seen = self.put(INSIDE, frame).only(OUTSIDE);
        assert_left(&sent, &seen);
        seen
    }

    /// The same; it may wait while others set up a tunnel with the same server.
    #[track_caller]
    pub(crate) fn out_in_turn(&mut self, frame: impl IntoFrame) -> Seen {
        let frame = frame.into_frame();
        let sent = Seen::read(&frame).expect("a test sends a right frame");
        let mut o = self.put(INSIDE, frame);
        for _ in 0..=TURN / 50 {
            if !o.is_silent() || !o.drops.is_empty() {
                break;
            }
            o = self.wait(50);
        }
        let seen = o.only(OUTSIDE);
        assert_left(&sent, &seen);
        seen
    }

    /// An outside host sends; exactly one frame must reach the inside, the same but for its destination.
    #[track_caller]
    pub(crate) fn back(&mut self, frame: impl IntoFrame) -> Seen {
        let frame = frame.into_frame();
        let sent = Seen::read(&frame).expect("a test sends a right frame");
        let seen = self.put(OUTSIDE, frame).only(INSIDE);
        assert_eq!(seen.source, sent.source, "source of {seen}");
        assert_carried(&sent, &seen);
        seen
    }

    /// The outside endpoint of an inside host's UDP datagram.
    #[track_caller]
    pub(crate) fn udp(&mut self, from: impl IntoEndpoint, to: impl IntoEndpoint) -> SocketAddrV4 {
        self.out(Frame::udp(from, to).payload(b"out")).source
    }

    /// An outside host's datagram to an outside endpoint reaches this inside endpoint.
    #[track_caller]
    pub(crate) fn delivers(&mut self, from: impl IntoEndpoint, to: SocketAddrV4, inside: impl IntoEndpoint) {
        let seen = self.back(Frame::udp(from, to).payload(b"back"));
        assert_eq!(seen.destination, endpoint(inside), "delivered to the wrong host: {seen}");
    }

    /// An outside host's datagram to an outside endpoint is dropped without a word.
    #[track_caller]
    pub(crate) fn refuses(&mut self, from: impl IntoEndpoint, to: SocketAddrV4, reason: DropReason) {
        self.put(OUTSIDE, Frame::udp(from, to)).dropped(reason);
    }

    /// An inside host connects by TCP; the handshake is completed. Its first byte is 1001, the other side's 5001.
    #[track_caller]
    pub(crate) fn connect(&mut self, from: impl IntoEndpoint, to: impl IntoEndpoint) -> SocketAddrV4 {
        let (from, to) = (endpoint(from), endpoint(to));
        let outside = self.out(Frame::tcp(from, to).flags(SYN).seq(1000).ack(0).mss(1400)).source;
        self.back(Frame::tcp(to, outside).flags(SYN | ACK).seq(5000).ack(1001).mss(1400));
        self.out(Frame::tcp(from, to).seq(1001).ack(5001));
        outside
    }

    /// An event's count over all workers.
    pub(crate) fn events(&self, event: Event) -> u64 {
        self.counters.iter().map(|c| c.events(event)).sum()
    }

    /// Live sessions over all workers; a leg that is lent counts once.
    pub(crate) fn sessions(&self) -> usize {
        self.workers.iter().map(|w| w.sessions().len() - w.nat().vpn.loans.borrowed()).sum()
    }

    /// Legs that each worker has borrowed.
    pub(crate) fn borrowed(&self) -> Vec<usize> {
        self.workers.iter().map(|w| w.nat().vpn.loans.borrowed()).collect()
    }

    /// Live mappings over all workers.
    pub(crate) fn mappings(&self) -> usize {
        self.workers.iter().map(|w| w.nat().mappings.len()).sum()
    }

    /// Known subscribers over all workers.
    pub(crate) fn subscribers(&self) -> usize {
        self.workers.iter().map(|w| w.nat().subscribers.len()).sum()
    }

    /// All that left and all that was dropped, as [`crate::transcript`] writes it.
    pub(crate) fn transcript(&self) -> &str {
        self.transcript.text()
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// An event's count at each worker.
    pub(crate) fn events_of_each(&self, event: Event) -> Vec<u64> {
        self.counters.iter().map(|c| c.events(event)).collect()
    }

    /// The worker that owns a tunnel's identifier.
    pub(crate) fn owner_of(&self, id: u32) -> usize {
        self.workers[0].nat().rules.sharding.of_tunnel_id(id).index()
    }

    /// The home worker of a server's tunnels.
    pub(crate) fn home_of(&self, server: &str) -> usize {
        self.workers[0].nat().rules.sharding.of_remote(addr(server)).index()
    }

    /// Devices of every worker.
    pub(crate) fn io(&mut self, mut change: impl FnMut(&mut Memory)) {
        for w in &mut self.workers {
            change(w.io());
        }
    }

    /// All drops of the scene.
    pub(crate) fn drops_so_far(&self) -> BTreeMap<DropReason, u64> {
        self.drops()
    }

    fn account(&self) -> Account {
        self.counters.iter().fold(Account::default(), |a, c| a.plus(c.account()))
    }

    /// All ends: every packet must be accounted for. Returns what was still waiting.
    pub(crate) fn finish(&mut self) -> BTreeMap<DropReason, u64> {
        let before = self.drops();
        for w in &mut self.workers {
            w.finish();
        }
        let after = self.collect(&before);
        assert!(after.is_silent(), "sent at the end: {after}");
        let account = self.account();
        assert_eq!(account.unaccounted(), 0, "{account:?}");
        assert_eq!(account.held, 0, "{account:?}");
        assert_eq!(account.handed_in, account.handed_off, "{account:?}");
        after.drops
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let account = self.account();
        assert_eq!(account.unaccounted(), 0, "packets without an end: {account:?}");
        self.finish();
        self.transcript.end();
    }
}

/// What a translation must not touch.
#[track_caller]
fn assert_carried(sent: &Seen, seen: &Seen) {
    assert_eq!(seen.ttl, sent.ttl - 1, "TTL of {seen}");
    assert_eq!((seen.tos, seen.df, seen.mf, seen.offset), (sent.tos, sent.df, sent.mf, sent.offset), "{seen}");
    assert_eq!(seen.ip_options, sent.ip_options, "IP options of {seen}");
    if sent.df {
        assert_eq!(seen.id, sent.id, "IP ID of {seen}");
    }
    match (&sent.transport, &seen.transport) {
        (Transport::Tcp(a), Transport::Tcp(b)) => {
            let numbers = |t: &testkit::Tcp| (t.flags, t.seq, t.ack, t.window, t.urgent);
            assert_eq!(numbers(a), numbers(b), "{seen}");
        }
        (Transport::Udp { checksum: a }, Transport::Udp { checksum: b }) => assert_eq!(a, b, "{seen}"),
        (Transport::Icmp(a), Transport::Icmp(b)) => {
            assert_eq!((a.kind, a.code, a.seq(), &a.extensions), (b.kind, b.code, b.seq(), &b.extensions), "{seen}");
        }
        (a, b) => assert_eq!(std::mem::discriminant(a), std::mem::discriminant(b), "{seen}"),
    }
    if !matches!(seen.transport, Transport::Fragment) || seen.offset > 0 {
        assert_eq!(seen.payload, sent.payload, "payload of {seen}");
    }
}

impl Lab {
    /// Tunnels over all workers.
    pub(crate) fn vpn(&self) -> Vec<dataplane::passthrough::show::Row> {
        dataplane::passthrough::show::rows(self.workers.iter().map(Worker::nat), self.now)
    }

    /// What the operator was told since the last time.
    pub(crate) fn notices(&self) -> Vec<String> {
        self.counters.iter().flat_map(|c| std::iter::from_fn(|| c.notices.take())).map(|n| n.to_string()).collect()
    }
}
