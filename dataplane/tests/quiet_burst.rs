//! `Worker::poll` allocates nothing and frees nothing, whatever comes: known flows, new ones, drops, answers,
//! fragments, hand-overs, expiry, tables that are full.
//!
//! The allocator counts for each thread, so that the test harness does not disturb. The ports are a pool of buffers
//! made beforehand, as DPDK's are; `io::memory` would allocate.
#![allow(unsafe_code, reason = "a global allocator cannot be had without")]

use dataplane::io::{Buf, Burst, Crowding, Io};
use dataplane::orders::{Change, Filter, Line, Order, Report, Row, Table};
use dataplane::policy::{
    Filtering, Forward, FragmentLimits, Limits, Net, Policy, Port, Rules, Sizes, StaticNeighbour, Timeouts,
};
use dataplane::types::{Mac, PortId, Proto, Side, Tick, WorkerId};
use dataplane::verdict::{Account, Counters, DropReason, Event};
use dataplane::worker::Worker;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use testkit::{ACK, FIN, Frame, PSH, RST, SYN, fragments, pptp};

struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is being torn down has no counter any more, and is none of ours.
    let _ = CALLS.try_with(|c| c.set(c.get() + 1));
}

// SAFETY: every call is passed on to the system's allocator with the very same arguments, so its contract is ours;
// counting touches a thread-local without a destructor and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps GlobalAlloc's contract, which is System's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count();
        // SAFETY: `ptr` came from `alloc` or `realloc` above, so from System, with this layout.
        unsafe { System.dealloc(ptr, layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as for `dealloc`; the caller answers for `size`.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROOM: usize = 4096;
const HEADROOM: usize = 128;
type Store = Rc<RefCell<Vec<Box<[u8; ROOM]>>>>;

/// A buffer that goes back to its pool when it is dropped.
struct Pooled {
    bytes: Option<Box<[u8; ROOM]>>,
    start: usize,
    end: usize,
    tag: u64,
    store: Store,
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if let Some(bytes) = self.bytes.take() {
            self.store.borrow_mut().push(bytes);
        }
    }
}

impl Pooled {
    fn take(store: &Store) -> Option<Self> {
        let bytes = store.borrow_mut().pop()?;
        Some(Self { bytes: Some(bytes), start: HEADROOM, end: HEADROOM, tag: 0, store: Rc::clone(store) })
    }
}

impl Buf for Pooled {
    fn data(&self) -> &[u8] {
        self.bytes.as_ref().map_or(&[], |b| &b[self.start..self.end])
    }
    fn data_mut(&mut self) -> &mut [u8] {
        let (start, end) = (self.start, self.end);
        self.bytes.as_mut().map_or(&mut [], |b| &mut b[start..end])
    }
    fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start + len);
    }
    fn trim_front(&mut self, n: usize) -> bool {
        let fits = self.start + n <= self.end;
        self.start += if fits { n } else { 0 };
        fits
    }
    fn prepend(&mut self, n: usize) -> bool {
        let fits = n <= self.start;
        self.start -= if fits { n } else { 0 };
        fits
    }
    fn append(&mut self, n: usize) -> bool {
        let fits = self.end + n <= ROOM;
        self.end += if fits { n } else { 0 };
        fits
    }
    fn tag(&self) -> u64 {
        self.tag
    }
    fn set_tag(&mut self, tag: u64) {
        self.tag = tag;
    }
}

type Rings = Rc<RefCell<Vec<VecDeque<Pooled>>>>;

/// Ports that send into nothing and receive what was put there.
struct Quiet {
    me: usize,
    store: Store,
    rings: Rings,
    arriving: Vec<VecDeque<Pooled>>,
    sent: usize,
}

fn fill(queue: &mut VecDeque<Pooled>, into: &mut Burst<Pooled>) {
    let n = queue.len().min(into.remaining_capacity());
    into.extend(queue.drain(..n));
}

impl Io for Quiet {
    type Buf = Pooled;
    fn receive(&mut self, port: PortId, into: &mut Burst<Pooled>) -> usize {
        fill(&mut self.arriving[port.index()], into);
        0
    }
    fn send(&mut self, _: PortId, from: &mut Burst<Pooled>) {
        self.sent += from.len();
        from.clear();
    }
    fn take_handed(&mut self, into: &mut Burst<Pooled>) {
        fill(&mut self.rings.borrow_mut()[self.me], into);
    }
    fn crowding(&self, _: WorkerId) -> Crowding {
        Crowding::Easy
    }

    fn hand_over(&mut self, to: WorkerId, from: &mut Burst<Pooled>) {
        let ring = &mut self.rings.borrow_mut()[to.index()];
        let n = from.len().min(ring.capacity() - ring.len());
        ring.extend(from.drain(..n));
    }
    fn cycles(&mut self) -> u64 {
        0
    }

    fn allocate(&mut self) -> Option<Pooled> {
        Pooled::take(&self.store)
    }
}

const INSIDE: PortId = PortId(0);
const OUTSIDE: PortId = PortId(1);
const INSIDE_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
const OUTSIDE_MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];
const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 3, 1];
const GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);
const QUEUE: usize = 2048;

struct Router {
    workers: Vec<Worker<Quiet>>,
    lines: Vec<Arc<Line>>,
    store: Store,
    now: u32,
}

fn policy() -> Policy {
    let port = |side, mac, addr, gateway, mtu| Port {
        side,
        mac: Mac(mac),
        vlan: None,
        mtu,
        addresses: vec![(addr, Net::of(addr, 24))],
        gateway,
    };
    let own = Ipv4Addr::new(203, 0, 113, 1);
    let hosts = (10..100u8).map(|h| StaticNeighbour { port: INSIDE, addr: lan(h), mac: Mac(HOST_MAC) });
    let gateway = StaticNeighbour { port: OUTSIDE, addr: GATEWAY, mac: Mac(HOST_MAC) };
    let forward = Forward { proto: Proto::TCP, outside: own, ports: 8443..=8443, inside: lan(20), inside_port: 443 };
    Policy {
        ports: vec![
            port(Side::Inside, INSIDE_MAC, lan(1), None, 1500),
            port(Side::Outside, OUTSIDE_MAC, own, Some(GATEWAY), 1400),
        ],
        neighbours: hosts.chain([gateway]).collect(),
        pool: vec![own..=Ipv4Addr::new(203, 0, 113, 4)],
        filtering: Filtering::AddressDependent,
        reject_unsolicited_syn: true,
        limits: Limits { sessions: 400, ports: 300, rate: 1_000_000, burst: 1_000_000, ..Limits::default() },
        timeouts: Timeouts { udp: 5_000, tcp_transitory: 4_000, hold_down: 3_000, ..Timeouts::default() },
        fragments: FragmentLimits { datagrams: 64, held: 64, per_datagram: 8 },
        forwards: vec![forward],
        sizes: Sizes { sessions: 1024, mappings: 1024, subscribers: 64, neighbours: 128 },
        ..Policy::default()
    }
}

const fn lan(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 1, host)
}

impl Router {
    fn new(workers: u8) -> Self {
        let rules = Arc::new(Rules::new(policy(), workers));
        let store: Store = Rc::new(RefCell::new((0..8192).map(|_| Box::new([0; ROOM])).collect()));
        let rings: Rings = Rc::new(RefCell::new((0..workers).map(|_| VecDeque::with_capacity(QUEUE)).collect()));
        let io = |me: u8| Quiet {
            me: usize::from(me),
            store: Rc::clone(&store),
            rings: Rc::clone(&rings),
            arriving: (0..2).map(|_| VecDeque::with_capacity(QUEUE)).collect(),
            sent: 0,
        };
        let lines: Vec<Arc<Line>> = (0..workers).map(|_| Arc::default()).collect();
        let worker = |me: u8| {
            let worker = Worker::new(io(me), WorkerId(me), Arc::clone(&rules), Arc::new(Counters::default()), Tick(0));
            worker.on(Arc::clone(&lines[usize::from(me)]))
        };
        Self { workers: (0..workers).map(worker).collect(), store, lines, now: 0 }
    }

    fn arrive(&mut self, port: PortId, n: usize, frame: &[u8]) {
        let mut buf = Pooled::take(&self.store).expect("the pool is large");
        assert!(buf.append(frame.len()));
        buf.data_mut().copy_from_slice(frame);
        let workers = self.workers.len();
        self.workers[n % workers].io().arriving[port.index()].push_back(buf);
    }

    /// Polls until nothing is left, and some milliseconds of the clock more; says how often memory was asked for.
    fn poll(&mut self, ms: u32) -> u64 {
        let before = CALLS.get();
        for _ in 0..40 + ms / 50 {
            for w in &mut self.workers {
                w.poll(Tick(self.now));
            }
            if ms > 0 {
                self.now += 50;
            }
        }
        CALLS.get() - before
    }

    fn events(&self, e: Event) -> u64 {
        self.workers.iter().map(|w| w.counters().events(e)).sum()
    }

    fn drops(&self, r: DropReason) -> u64 {
        self.workers.iter().map(|w| w.counters().drops(r)).sum()
    }
}

fn inside(frame: Frame) -> Vec<u8> {
    frame.macs(HOST_MAC, INSIDE_MAC).build()
}

fn outside(frame: Frame) -> Vec<u8> {
    frame.macs(HOST_MAC, OUTSIDE_MAC).build()
}

const REMOTE: (Ipv4Addr, u16) = (Ipv4Addr::new(198, 51, 100, 7), 80);

/// Sends the frames round the workers; nothing may be allocated.
#[track_caller]
fn silent(r: &mut Router, what: &str, port: PortId, frames: &[Vec<u8>]) {
    for (n, frame) in frames.iter().enumerate() {
        r.arrive(port, n, frame);
    }
    assert_eq!(r.poll(0), 0, "{what}");
}

fn story(workers: u8) {
    let mut r = Router::new(workers);
    let udp: Vec<_> = (0..200u16)
        .map(|n| inside(Frame::udp((lan(10 + (n % 9) as u8), 3000 + n), REMOTE).payload(vec![7; 300])))
        .collect();
    silent(&mut r, "new UDP flows", INSIDE, &udp);
    assert_eq!(r.events(Event::SessionsOpened), 200);
    silent(&mut r, "known UDP flows", INSIDE, &udp);
    assert_eq!(r.events(Event::TranslatedOut), 400);

    let tcp = |flags, seq, ack| {
        let segment = move |n: u16| Frame::tcp((lan(30), 4000 + n), REMOTE).flags(flags).seq(seq).ack(ack);
        (0..50u16).map(move |n| inside(segment(n))).collect::<Vec<_>>()
    };
    let back = |r: &Router, flags, seq, ack| {
        let sessions = r.workers.iter().flat_map(|w| w.sessions().iter().map(|(_, s)| *s)).collect::<Vec<_>>();
        let ends = sessions.iter().filter(|s| s.proto == Proto::TCP).map(|s| s.outside().0);
        ends.map(|e| outside(Frame::tcp(REMOTE, (e.addr, e.port)).flags(flags).seq(seq).ack(ack))).collect::<Vec<_>>()
    };
    silent(&mut r, "SYN", INSIDE, &tcp(SYN, 0, 0));
    let answers = back(&r, SYN | ACK, 0, 1);
    assert_eq!(answers.len(), 50);
    silent(&mut r, "SYN-ACK", OUTSIDE, &answers);
    silent(&mut r, "ACK", INSIDE, &tcp(ACK, 1, 1));
    silent(&mut r, "data", INSIDE, &tcp(ACK, 1, 1));
    let data = back(&r, ACK, 1, 1);
    silent(&mut r, "data from outside", OUTSIDE, &data);
    assert_eq!(r.events(Event::TranslatedIn), 100);
    let resets = back(&r, RST, 0x7000_0000, 0);
    silent(&mut r, "forged resets", OUTSIDE, &resets);
    assert_eq!(r.drops(DropReason::TcpBadReset), 50);
    silent(&mut r, "FIN", INSIDE, &tcp(FIN | ACK, 1, 1));
    let fins = back(&r, FIN | ACK, 1, 2);
    silent(&mut r, "FIN from outside", OUTSIDE, &fins);

    let (public, stranger) = (Ipv4Addr::new(203, 0, 113, 2), Ipv4Addr::new(198, 51, 100, 99));
    let knocks: Vec<_> = (0..300u16)
        .map(|n| outside(Frame::tcp((stranger, 9), (public, 1024 + n)).flags(SYN).seq(0)))
        .chain((0..100u16).map(|n| outside(Frame::udp((stranger, 9), (public, 3000 + n)))))
        .collect();
    silent(&mut r, "strangers", OUTSIDE, &knocks);
    assert_eq!(r.drops(DropReason::Unsolicited) + r.drops(DropReason::Filtered), 400);
    let forwarded: Vec<_> = (0..50u16)
        .map(|n| outside(Frame::tcp((stranger, 2000 + n), (Ipv4Addr::new(203, 0, 113, 1), 8443)).flags(SYN).seq(0)))
        .collect();
    silent(&mut r, "a forward", OUTSIDE, &forwarded);
    let around: Vec<_> = (0..20u16)
        .map(|n| inside(Frame::tcp((lan(40), 2000 + n), (Ipv4Addr::new(203, 0, 113, 1), 8443)).flags(SYN).seq(0)))
        .collect();
    silent(&mut r, "hairpin", INSIDE, &around);
    assert_eq!(r.events(Event::Hairpinned), 20);

    let malformed: Vec<_> = (0..60).map(|n| udp[0][..n].to_vec()).chain([vec![0xff; 60], vec![]]).collect();
    silent(&mut r, "malformed frames", INSIDE, &malformed);
    let odd = [
        inside(Frame::udp((lan(10), 3000), REMOTE).ttl(1)),
        inside(Frame::udp((lan(10), 3000), REMOTE).df().payload(vec![0; 1450])),
        inside(Frame::udp((lan(10), 3000), REMOTE).payload(vec![0; 1450])),
        inside(Frame::udp((lan(10), 3000), REMOTE).record_route(9).payload(vec![0; 1400])),
        inside(Frame::udp((lan(10), 3000), "192.168.7.7:1")),
        inside(Frame::udp((lan(10), 3000), "192.168.1.200:1")),
        inside(Frame::udp("10.9.9.9:1", REMOTE)),
        inside(Frame::echo_request((lan(10), 0), "192.168.1.1", 1, 1)),
        inside(Frame::echo_request((lan(10), 0), REMOTE, 1, 1)),
        inside(Frame::time_exceeded(lan(10), outside(Frame::udp(REMOTE, (lan(10), 3000))))),
        Frame::arp_request(HOST_MAC, lan(200), lan(1)).build(),
        Frame::arp_reply(HOST_MAC, lan(200), INSIDE_MAC, lan(1)).build(),
    ];
    for _ in 0..8 {
        silent(&mut r, "odd packets", INSIDE, &odd);
    }
    let happened = [
        Event::Fragmented,
        Event::IcmpErrorsSent,
        Event::IcmpErrorsTranslated,
        Event::EchoAnswered,
        Event::ArpAnswered,
    ];
    for e in happened {
        assert!(r.events(e) > 0, "{e:?} did not happen");
    }
    let unresolved: Vec<_> = (0..100u8)
        .map(|n| outside(Frame::udp((stranger, 7), (Ipv4Addr::new(203, 0, 113, 1), 9000 + u16::from(n)))))
        .chain((0..100u8).map(|n| outside(Frame::udp(Ipv4Addr::new(203, 0, 113, 100 + n), (public, 9)))))
        .collect();
    silent(&mut r, "ports of nobody", OUTSIDE, &unresolved);
    let unresolved: Vec<_> =
        (0..100u8).map(|n| inside(Frame::udp((lan(10), 7), (Ipv4Addr::new(203, 0, 113, 100 + n), 7)))).collect();
    silent(&mut r, "neighbours that nobody is", INSIDE, &unresolved);

    let whole = inside(Frame::udp((lan(11), 3333), REMOTE).payload(vec![1; 2000]).id(77));
    let mut pieces = fragments(&whole, 600);
    silent(&mut r, "fragments", INSIDE, &pieces);
    pieces = fragments(&inside(Frame::udp((lan(11), 3333), REMOTE).payload(vec![1; 2000]).id(78)), 600);
    pieces.reverse();
    silent(&mut r, "fragments in reverse", INSIDE, &pieces);
    let lone: Vec<_> = (0..200u16)
        .map(|id| inside(Frame::ip(17, (lan(12), 0), REMOTE).id(id).fragment(800, true).payload(vec![0; 80])))
        .collect();
    silent(&mut r, "fragments without a first", INSIDE, &lone);
    assert!(r.events(Event::Released) > 0 && r.drops(DropReason::FragmentTableFull) > 0);

    let many: Vec<_> =
        (0..2000u16).map(|n| inside(Frame::udp((lan(50 + (n % 40) as u8), 10_000 + n), REMOTE))).collect();
    silent(&mut r, "tables that are full", INSIDE, &many);
    assert!(r.drops(DropReason::SessionTableFull) > 0);
    let one: Vec<_> = (0..600u16).map(|n| inside(Frame::udp((lan(90), 20_000 + n), REMOTE))).collect();
    silent(&mut r, "one subscriber's limit", INSIDE, &one);

    assert_eq!(r.poll(20_000), 0, "expiry");
    assert!(r.events(Event::SessionsClosed) > 500 && r.events(Event::MappingsClosed) > 500);
    assert!(r.drops(DropReason::FragmentTimeout) > 0 && r.drops(DropReason::NeighbourUnresolved) > 0);
    silent(&mut r, "new flows on used tables", INSIDE, &many);
    let account = r.workers.iter().fold(Account::default(), |a, w| a.plus(w.counters().account()));
    assert_eq!(account.unaccounted(), 0, "{account:?}");
}

/// What control asks for while packets go on: dumps of every table, taken row by row or not at all for a while, and a
/// flush.
fn orders(workers: u8) {
    let mut r = Router::new(workers);
    let udp: Vec<_> = (0..600u16).map(|n| inside(Frame::udp((lan(10 + (n % 9) as u8), 3000 + n), REMOTE))).collect();
    silent(&mut r, "flows", INSIDE, &udp);
    let esp: Vec<_> =
        (0..9u8).map(|n| inside(Frame::esp(lan(11 + n), REMOTE.0, 0x1000, 1).payload(vec![9; 99]))).collect();
    silent(&mut r, "tunnels", INSIDE, &esp);
    let all: [(Table, u64); 4] = [
        (Table::Sessions, r.events(Event::SessionsOpened)),
        (Table::Mappings, r.events(Event::MappingsOpened)),
        (Table::Tunnels, r.events(Event::TunnelsOpened)),
        (Table::Subscribers, r.events(Event::SubscribersOpened)),
    ];
    for (table, expected) in all {
        for line in &r.lines {
            for _ in 0..3 {
                line.post(Order::Dump(table, Filter::default())).unwrap();
            }
        }
        let (mut rows, mut ends) = (0, 0);
        for turn in 0..60 {
            silent(&mut r, "flows while a dump goes on", INSIDE, &udp[..200]);
            // A reader that is away for a while: the worker goes on without it.
            for line in r.lines.iter().filter(|_| turn % 3 == 2) {
                while let Some(row) = line.row() {
                    match row {
                        Row::End => ends += 1,
                        _ => rows += 1,
                    }
                }
            }
        }
        assert_eq!((rows, ends), (3 * expected, 3 * u64::from(workers)), "{table:?}");
    }
    let flush = Filter { proto: Some(Proto::UDP), ..Filter::default() };
    r.lines.iter().for_each(|line| line.post(Order::Flush(flush)).unwrap());
    assert_eq!(r.poll(0), 0, "a flush");
    let told = r.lines.iter().filter_map(|line| line.report());
    let flushed: u64 = told
        .map(|report| match report {
            Report::Flushed { sessions, .. } => sessions,
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!(flushed, 600);

    // New rules, with another pool and a forward less: what is freed is freed by control.
    silent(&mut r, "flows again", INSIDE, &udp);
    let old = Arc::clone(&r.workers[0].nat().rules);
    let pool = vec![Ipv4Addr::new(203, 0, 113, 2)..=Ipv4Addr::new(203, 0, 113, 9)];
    let own = Ipv4Addr::new(203, 0, 113, 1);
    let policy = Policy { pool, draining: vec![own..=own], forwards: vec![], ..old.policy.clone() };
    let new = Arc::new(Rules::new(policy, workers));
    for (line, id) in r.lines.iter().zip(0..) {
        line.post(Order::Change(Box::new(Change::new(&old, Arc::clone(&new), WorkerId(id))))).unwrap();
        line.post(Order::Survey(vec![0; 1].into_boxed_slice())).unwrap();
    }
    // The survey looks at the table of tunnels, too, a slice a turn.
    for _ in 0..10 {
        assert_eq!(r.poll(0), 0, "new rules");
    }
    silent(&mut r, "flows under new rules", INSIDE, &udp);
    assert_eq!(r.events(Event::SessionsClosed), 600, "only what was flushed");
    let (mut changed, mut used) = (0, 0);
    for report in r.lines.iter().flat_map(|line| std::iter::from_fn(|| line.report())) {
        match report {
            Report::Changed(_) => changed += 1,
            Report::Surveyed(places) => used += places[0],
            Report::Flushed { .. } => panic!("flushed again"),
        }
    }
    assert_eq!(changed, u32::from(workers));
    assert!(used > 0, "somebody has the address that drains");
    assert_eq!(Arc::strong_count(&old), 1, "no worker keeps the old rules");
}

/// PPTP, ESP and L2TPv3 from their first packet to their end.
fn tunnels(workers: u8) {
    const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
    const OWN: [Ipv4Addr; 4] = [
        Ipv4Addr::new(203, 0, 113, 1),
        Ipv4Addr::new(203, 0, 113, 2),
        Ipv4Addr::new(203, 0, 113, 3),
        Ipv4Addr::new(203, 0, 113, 4),
    ];
    let mut r = Router::new(workers);
    let client = (lan(10), 5000);
    let segment = |seq, ack, payload: Vec<u8>| {
        inside(Frame::tcp(client, (SERVER, 1723)).flags(PSH | ACK).seq(seq).ack(ack).payload(payload))
    };
    silent(&mut r, "SYN", INSIDE, &[inside(Frame::tcp(client, (SERVER, 1723)).flags(SYN).seq(0).ack(0))]);
    let session = r.workers.iter().find_map(|w| w.sessions().iter().map(|(_, s)| *s).next()).unwrap();
    let own = session.outside().0;
    let answer = |flags, seq, ack, payload: Vec<u8>| {
        let frame = Frame::tcp((SERVER, 1723), (own.addr, own.port)).flags(flags).seq(seq).ack(ack);
        outside(frame.payload(payload))
    };
    silent(&mut r, "SYN-ACK", OUTSIDE, &[answer(SYN | ACK, 0, 1, vec![])]);
    silent(&mut r, "a call's request", INSIDE, &[segment(1, 1, pptp::outgoing_call_request(9))]);
    let rows = |r: &Router| {
        let now = Tick(r.now);
        r.workers.iter().flat_map(|w| w.nat().tunnels(now).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let translated = rows(&r)[0].outside_id.unwrap() as u16;
    let gre_in = vec![outside(Frame::gre(SERVER, own.addr, translated).gre_seq(1).payload(vec![7; 300])); 40];
    let gre_out = vec![inside(Frame::gre(lan(10), SERVER, 70).gre_seq(1).gre_ack(1).payload(vec![7; 300])); 40];
    silent(&mut r, "GRE before the reply", OUTSIDE, &gre_in);
    let reply = pptp::outgoing_call_reply(70, translated, 1);
    silent(
        &mut r,
        "a call's reply, cut",
        OUTSIDE,
        &[
            answer(PSH | ACK, 1, 169, reply[..13].to_vec()),
            answer(PSH | ACK, 1, 169, reply.clone()),
            answer(PSH | ACK, 1, 169, reply),
        ],
    );
    for _ in 0..2 {
        silent(&mut r, "GRE", INSIDE, &gre_out);
        silent(&mut r, "GRE from outside", OUTSIDE, &gre_in);
    }
    assert_eq!((r.events(Event::TunnelsConfirmed), r.events(Event::TranslatedIn)), (1, 4 + 120));
    let large = inside(Frame::gre(lan(10), SERVER, 70).id(5).payload(vec![1; 3000]));
    let mut pieces = fragments(&large, 1400);
    pieces.reverse();
    silent(&mut r, "fragments of GRE", INSIDE, &pieces);
    let strays: Vec<_> = (0..200).map(|n| outside(Frame::gre(SERVER, own.addr, n))).collect();
    silent(&mut r, "GRE of no call", OUTSIDE, &strays);
    let calls: Vec<_> =
        (0..70).map(|n| segment(169 + u32::from(n) * 168, 33, pptp::outgoing_call_request(n * 900))).collect();
    for call in &calls {
        silent(&mut r, "more calls than there may be", INSIDE, std::slice::from_ref(call));
    }
    assert!(r.events(Event::PptpCallsRefused) > 0);
    silent(&mut r, "what is malformed", OUTSIDE, &[answer(PSH | ACK, 33, 1, vec![0xff; 200])]);

    let esp = |spi: u32| Frame::esp(lan(11), SERVER, spi, 1).payload(vec![9; 200]);
    let l2tp = |from: Ipv4Addr, to: Ipv4Addr, head: [u8; 12]| {
        Frame::ip(115, from, to).payload([head.to_vec(), vec![9; 100]].concat())
    };
    let data = [0, 0, 1, 1, 5, 5, 5, 5, 5, 5, 5, 5];
    let control = [0, 0, 0, 0, 0xc8, 3, 0, 112, 0, 0, 0, 9];
    let first: Vec<_> = (0..20)
        .flat_map(|n| {
            [inside(esp(0x1000 + n)), inside(l2tp(lan(12), SERVER, data)), inside(l2tp(lan(12), SERVER, control))]
        })
        .collect();
    for _ in 0..2 {
        silent(&mut r, "ESP and L2TPv3", INSIDE, &first);
        let back: Vec<_> = OWN
            .into_iter()
            .flat_map(|own| {
                [
                    outside(Frame::esp(SERVER, own, 0x9000, 1).payload(vec![9; 200])),
                    outside(l2tp(SERVER, own, data)),
                    outside(l2tp(SERVER, own, control)),
                ]
            })
            .collect();
        silent(&mut r, "ESP and L2TPv3 from outside", OUTSIDE, &back);
    }
    let ike = inside(Frame::udp((lan(11), 500), (SERVER, 500)).payload(vec![1; 28]));
    silent(&mut r, "IKE", INSIDE, &[ike]);
    let pairs = 0..8u32;
    let out: Vec<_> = pairs.clone().map(|n| inside(Frame::esp(lan(20 + n as u8), SERVER, 0x2000 + n, 1))).collect();
    let back: Vec<_> = OWN.iter().flat_map(|own| pairs.clone().map(|n| (*own, 0xa000 + n))).collect();
    let back: Vec<_> = back.into_iter().map(|(own, spi)| outside(Frame::esp(SERVER, own, spi, 1))).collect();
    for _ in 0..4 {
        for _ in 0..3 {
            silent(&mut r, "pairs that settle", INSIDE, &out);
            silent(&mut r, "and their answers", OUTSIDE, &back);
        }
        assert_eq!(r.poll(11_000), 0, "leases");
    }
    assert_eq!(r.events(Event::LegsLent) > 0, workers > 1, "legs are lent");
    silent(&mut r, "FIN", INSIDE, &[inside(Frame::tcp(client, (SERVER, 1723)).flags(FIN | ACK).seq(169).ack(33))]);
    assert_eq!(r.poll(100_000), 0, "expiry");
    assert!(r.events(Event::TunnelsOpened) > 60 && r.events(Event::TunnelsClosed) > 60);
    let account = r.workers.iter().fold(Account::default(), |a, w| a.plus(w.counters().account()));
    assert_eq!(account.unaccounted(), 0, "{account:?}");
}

#[test]
fn tunnels_ask_for_no_memory() {
    for workers in [1, 3] {
        tunnels(workers);
    }
}

#[test]
fn orders_ask_for_no_memory() {
    for workers in [1, 3] {
        orders(workers);
    }
}

#[test]
fn one_worker_asks_for_no_memory() {
    story(1);
}

#[test]
fn three_workers_ask_for_no_memory() {
    story(3);
}

#[test]
fn the_counter_counts() {
    let before = CALLS.get();
    drop(std::hint::black_box(vec![1u8; 100]));
    assert_eq!(CALLS.get() - before, 2);
}
