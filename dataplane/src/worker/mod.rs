//! The worker: one thread's loop over its queues, run to completion.
//!
//! ```text
//! take handed ─┐
//! receive ─────┴► parse ► steer ► look up ► translate ► send          burst.rs: known flows, in stages over a burst
//!                   │       │        └ miss, flags, fragments ► judge  judge.rs: everything else, one by one
//!                   │       └ hand over to its owner                   steer.rs
//!                   └ ARP, errors, echo                                answer.rs, link
//! ```
//!
//! A worker owns its shard outright. It allocates nothing, locks nothing and makes no system call in [`Worker::poll`];
//! every loop in it is bounded. Time comes in as an argument.

mod answer;
mod burst;
mod doubtful;
mod errors;
mod fragmenting;
mod judge;
mod lending;
mod output;
mod pressure;
mod sampling;
mod steer;
pub mod tag;
mod waiting;

use crate::flow::session::Sessions;
use crate::io::{Buf, Burst, Io};
use crate::link::neighbour::{Due, HopId, Neighbours, Resolved};
use crate::meter::Turn;
use crate::nat::Nat;
use crate::nat::fragments::Fragments;
use crate::nat::held_syn::HeldSyns;
use crate::orders::Line;
use crate::orders::desk::Desk;
use crate::policy::Rules;
use crate::types::{Side, Tick, WorkerId};
use crate::verdict::{Counters, DropReason, Event};
use doubtful::Doubtful;
use lending::Lending;
use std::sync::Arc;
use tag::{Tag, Why};
use waiting::Waiting;

/// Neighbours looked at in a millisecond.
const NEIGHBOURS_PER_TICK: usize = 64;
/// Waiting packets whose next hop is looked at in a millisecond.
const WAITERS_PER_TICK: usize = 8;
/// Overdue fragments and their datagrams given up in a millisecond.
const FRAGMENTS_PER_TICK: usize = 64;
/// Packets whose owner did not become clear, judged in a millisecond.
const DOUBTS_PER_TICK: usize = 128;
/// Held SYNs answered in a millisecond.
const SYNS_PER_TICK: usize = 64;

/// See the module.
pub struct Worker<I: Io> {
    io: I,
    me: WorkerId,
    rules: Arc<Rules>,
    nat: Nat,
    hops: Neighbours,
    waiting: Waiting<I::Buf>,
    /// From outside.
    doubtful: Doubtful<I::Buf>,
    /// From inside.
    turns: Doubtful<I::Buf>,
    lending: Lending<I::Buf>,
    fragments: Fragments<I::Buf>,
    syns: HeldSyns,
    ids: output::IpIds,
    errors: errors::Budgets,
    /// Copies of ARP packets that other workers may get in this millisecond.
    arp_copies: u32,
    counters: Arc<Counters>,
    tx: Vec<Burst<I::Buf>>,
    hand: Vec<Burst<I::Buf>>,
    pressure: pressure::Pressure,
    /// Ports that gave something in the last turn.
    busy_ports: usize,
    /// Whether any port's device is to be looked at by samples.
    samples: bool,
    /// Bursts received from ports, wrapping.
    bursts: u32,
    desk: Desk,
    now: Tick,
    swept: Tick,
}

impl<I: Io> Worker<I> {
    /// A worker with empty tables. All of its memory is taken here.
    #[must_use]
    pub fn new(io: I, me: WorkerId, rules: Arc<Rules>, counters: Arc<Counters>, now: Tick) -> Self {
        let p = &rules.policy;
        let mut nat = Nat::new(Arc::clone(&rules), me, Arc::clone(&counters), now);
        let mut hops = Neighbours::new(p.sizes.neighbours, p.seed);
        for n in &p.neighbours {
            hops.add_static(n.port, n.addr, n.mac, now);
        }
        let ids = output::IpIds::new(me, rules.sharding.workers(), p.seed, nat.random());
        Self {
            io,
            me,
            nat,
            hops,
            waiting: Waiting::new(),
            doubtful: Doubtful::new(Side::Outside),
            turns: Doubtful::new(Side::Inside),
            lending: Lending::new(rules.sharding.workers()),
            fragments: Fragments::new(p.fragments, p.timeouts.fragments, p.seed),
            syns: HeldSyns::new(),
            ids,
            errors: errors::Budgets::new(p.icmp_error_rate, now),
            arp_copies: answer::ARP_COPIES_PER_TICK,
            tx: p.ports.iter().map(|_| Burst::new()).collect(),
            hand: (0..rules.sharding.workers()).map(|_| Burst::new()).collect(),
            pressure: pressure::Pressure::default(),
            busy_ports: 0,
            samples: rules.sharding.workers() > 1 && p.steered.iter().any(crate::policy::Steered::any),
            bursts: 0,
            desk: Desk::new(Arc::default()),
            counters,
            rules,
            now,
            swept: now,
        }
    }

    /// The same, at the end of a line by which control gives it orders.
    #[must_use]
    pub fn on(mut self, line: Arc<Line>) -> Self {
        self.desk = Desk::new(line);
        self
    }

    /// Bytes that the tables of all workers take together.
    #[must_use]
    pub fn memory(rules: &Rules) -> usize {
        let p = &rules.policy;
        let workers = usize::from(rules.sharding.workers());
        Nat::memory(rules)
            + workers * (Neighbours::memory(p.sizes.neighbours) + Fragments::<I::Buf>::memory(&p.fragments))
    }

    /// Its counters.
    #[must_use]
    pub const fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Its shard.
    #[must_use]
    pub const fn nat(&self) -> &Nat {
        &self.nat
    }

    /// Its sessions.
    #[must_use]
    pub const fn sessions(&self) -> &Sessions {
        &self.nat.sessions
    }

    /// Its ports.
    pub const fn io(&mut self) -> &mut I {
        &mut self.io
    }

    /// One turn: whatever has come, through all stages. Returns how many packets that were.
    pub fn poll(&mut self, now: Tick) -> usize {
        self.now = now;
        let mut work = 0;
        let mut burst = Burst::new();
        let mut turn = Turn::begin(self.io.cycles());
        // As much from peers as from ports: with less, rings would fill up; with more, this worker would receive less than its
        // peers, get still more from them, and leave them without work.
        for _ in 0..self.busy_ports.max(1) {
            self.io.take_handed(&mut burst);
            let taken = burst.len();
            if taken == 0 {
                break;
            }
            work += taken;
            turn.took(taken, self.io.cycles());
            self.counters.count(Event::HandedIn, taken as u64);
            self.burst(&mut burst, None);
            if taken < burst.capacity() {
                break;
            }
        }
        self.busy_ports = 0;
        let ports = if self.may_receive() { self.rules.policy.ports.len() } else { 0 };
        for port in (0u8..).map(crate::types::PortId).take(ports) {
            let too_long = self.io.receive(port, &mut burst);
            if burst.is_empty() && too_long == 0 {
                continue;
            }
            self.busy_ports += 1;
            work += burst.len() + too_long;
            turn.took(burst.len() + too_long, self.io.cycles());
            self.count_received(port, &burst, too_long);
            self.sample(port, &burst);
            self.burst(&mut burst, Some(port));
        }
        if now != self.swept {
            self.swept = now;
            self.sweep();
        }
        self.nat.expire(now);
        self.end_unsettled();
        if self.desk.is_called() {
            self.desk.attend(&mut self.nat, &mut self.hops, &mut self.rules, now);
        }
        self.flush();
        let meter = &self.counters.meter;
        meter.turns.add(1);
        if !turn.is_idle() {
            turn.end(self.io.cycles(), meter);
        }
        work
    }

    /// Does more of what is due by the clock; a turn does a bounded amount of it. Returns how much there was, so that a
    /// caller whose clock jumps (a replay, a test) can go on until it is nothing.
    pub fn expire(&mut self, now: Tick) -> usize {
        self.now = now;
        self.nat.expire(now)
    }

    fn count_received(&self, port: crate::types::PortId, burst: &Burst<I::Buf>, too_long: usize) {
        if let Some(c) = self.counters.port(port) {
            c.rx_packets.add((burst.len() + too_long) as u64);
            c.rx_bytes.add(burst.iter().map(|b| b.data().len() as u64).sum());
        }
        if too_long > 0 {
            self.counters.drop_many(DropReason::FrameTooLong, too_long as u64);
        }
    }

    /// What is due by the clock rather than by a packet; once a millisecond, bounded.
    fn sweep(&mut self) {
        self.arp_copies = answer::ARP_COPIES_PER_TICK;
        for _ in 0..NEIGHBOURS_PER_TICK.min(self.hops.len()) {
            match self.hops.look(self.now) {
                None => {}
                Some(Due::Ask(port, addr, to)) => self.send_arp_request(port, addr, to),
                Some(Due::Failed(hop)) => self.refuse_waiting(hop),
            }
        }
        for _ in 0..WAITERS_PER_TICK {
            self.look_at_waiter();
        }
        for _ in 0..FRAGMENTS_PER_TICK {
            let Some(id) = self.fragments.overdue(self.now) else { break };
            match self.fragments.next_held(id) {
                Some((buf, _)) => {
                    self.counters.count(Event::Released, 1);
                    self.drop(buf, DropReason::FragmentTimeout);
                }
                None => self.fragments.forget(id),
            }
        }
        for _ in 0..DOUBTS_PER_TICK {
            let Some((key, port, buf)) = self.doubtful.take_due(self.now) else { break };
            self.counters.count(Event::Released, 1);
            self.judge_again(port, buf, Why::Overdue);
            // Nothing that comes from now on waits, so what does wait goes first.
            while let Some((port, buf)) = self.doubtful.take_next(&key) {
                self.counters.count(Event::Released, 1);
                self.judge_again(port, buf, Why::Overdue);
            }
        }
        self.take_turns();
        self.nat.sweep_tunnels(self.now);
        self.sweep_loans();
        for _ in 0..SYNS_PER_TICK {
            let Some(syn) = self.syns.pop_due(self.now) else { break };
            self.answer_held_syn(&syn);
        }
    }

    /// What waits for its turn to set up goes on when it is, and when it waited long enough; each is looked at once.
    fn take_turns(&mut self) {
        let mut kept = 0;
        for _ in 0..self.turns.len() {
            let (nat, now) = (&self.nat, self.now);
            match self.turns.take_at(kept, now, |key| nat.is_turn(key, now)) {
                None => kept += 1,
                Some((port, buf)) => {
                    self.counters.count(Event::Released, 1);
                    self.judge_again(port, buf, Why::Overdue);
                }
            }
        }
    }

    /// Nothing waits for a next hop that is known, or failed, or is none any more: whatever led there, it ends here.
    fn look_at_waiter(&mut self) {
        let Some(hop) = self.waiting.look() else { return };
        match self.hops.resolve(hop) {
            Some(Resolved::Asking) => {}
            Some(Resolved::Ready(..)) => self.release_waiting(hop),
            Some(Resolved::Failed) | None => self.refuse_waiting(hop),
        }
    }

    fn refuse_waiting(&mut self, hop: HopId) {
        while let Some((port, _, buf)) = self.waiting.take(hop) {
            self.hops.count_waiting(hop, -1);
            self.counters.count(Event::Released, 1);
            self.refuse_unreachable(port, buf);
        }
    }

    /// Ends what is still here, so that the account closes. Call it when no worker polls any more, for each worker.
    pub fn finish(&mut self) {
        self.flush_packets();
        let mut burst = Burst::new();
        loop {
            self.io.take_handed(&mut burst);
            if burst.is_empty() {
                break;
            }
            self.counters.count(Event::HandedIn, burst.len() as u64);
            for buf in burst.drain(..) {
                // What another worker counted is still to be known.
                if Tag::unpack(buf.tag()).why == Why::Message {
                    self.last_message(buf);
                } else {
                    self.drop(buf, DropReason::Shutdown);
                }
            }
        }
        self.drop_lending();
        while let Some(buf) = self.waiting.take_any() {
            self.counters.count(Event::Released, 1);
            self.drop(buf, DropReason::Shutdown);
        }
        while let Some((_, buf)) = self.doubtful.take_any().or_else(|| self.turns.take_any()) {
            self.counters.count(Event::Released, 1);
            self.drop(buf, DropReason::Shutdown);
        }
        while let Some(id) = self.fragments.any() {
            while let Some((buf, _)) = self.fragments.next_held(id) {
                self.counters.count(Event::Released, 1);
                self.drop(buf, DropReason::Shutdown);
            }
            self.fragments.forget(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::memory::{Frame, Memory};
    use crate::policy::Policy;
    use crate::types::{Mac, PortId};
    use std::net::Ipv4Addr;

    #[test]
    fn what_waits_for_a_next_hop_that_is_gone_or_known_does_not_stay() {
        let rules = Arc::new(Rules::new(Policy::default(), 1));
        let io = Memory::joined(1, 0, 16).remove(0);
        let mut w = Worker::new(io, WorkerId(0), rules, Arc::new(Counters::default()), Tick(0));
        let known = w.hops.add_static(PortId(0), Ipv4Addr::new(10, 0, 0, 1), Mac([2; 6]), Tick(0)).unwrap();
        for _ in 0..20 {
            for hop in [known, HopId::NONE] {
                w.counters.count(Event::Held, 1);
                w.waiting.put(hop, PortId(0), 0, Frame::new(&[]));
            }
        }
        for now in 1..10 {
            w.poll(Tick(now));
        }
        assert!(w.waiting.take_any().is_none());
        // What is judged anew came by a port that there is not.
        assert_eq!([DropReason::NeighbourUnresolved, DropReason::NoRoute].map(|r| w.counters.drops(r)), [20, 20]);
        assert_eq!(w.counters.events(Event::Released), 40);
    }

    #[test]
    fn a_turn_is_timed_from_each_burst_to_its_end() {
        let port = crate::policy::Port {
            side: crate::types::Side::Inside,
            mac: Mac([2; 6]),
            vlan: None,
            mtu: 1500,
            addresses: Vec::new(),
            gateway: None,
        };
        let policy = Policy { ports: vec![port; 2], ..Policy::default() };
        let rules = Arc::new(Rules::new(policy, 1));
        let mut io = Memory::joined(1, 2, 16).remove(0);
        // Each look at the clock takes ten cycles.
        io.clock = (0, 10);
        for (port, packets) in [(0, 3), (1, 5)] {
            for _ in 0..packets {
                io.arrive(PortId(port), &[0; 60]);
            }
        }
        let mut w = Worker::new(io, WorkerId(0), rules, Arc::new(Counters::default()), Tick(0));
        assert_eq!([w.poll(Tick(0)), w.poll(Tick(0))], [8, 0]);
        let meter = &w.counters.meter;
        let [turns, busy, cycles, packets] =
            [&meter.turns, &meter.busy_turns, &meter.busy_cycles, &meter.packets].map(crate::verdict::Cell::get);
        assert_eq!([turns, busy, cycles, packets], [2, 1, 30, 8]);
        let seen: Vec<_> = meter.transit.counts().enumerate().filter(|(_, n)| *n > 0).collect();
        assert_eq!(seen, [(10, 5), (20, 3)]);
        assert_eq!(meter.effort.sum(), 8 * 3);
    }
}
