//! Neighbours of one worker: next hops with their Ethernet addresses, found by ARP, aged, probed, or configured.
//!
//! ```text
//! (new) ──request──► Asking ──answer──► Reachable ──60 s──► Stale ──used: unicast probe──► Probing ──answer──► Reachable
//!                      │ 3 × 1 s                              │ 10 min unused                │ 3 × 1 s, the last to all
//!                      ▼                                      ▼                              ▼
//!                    Failed ──3 s──► (free)                 (free)                         Failed
//! ```
//!
//! A session remembers its next hops by [`HopId`], which names a generation too: a freed and reused slot is not taken
//! for the old one. Workers learn independently of each other; an inside host is asked for by its owner alone.
//! An answer creates nothing: only a packet to send, or a request to us from an on-link host, does.
//!
//! Anybody can make us ask for whom there is not, and ask us under names that he invents. So those who do not answer
//! take a quarter of the table, and a quarter of that at the instance of any one inside host; those whom nobody has sent
//! to yet take a quarter, and are forgotten after 60 s; and requests have a rate.

use crate::budget::Budget;
use crate::flow::index::{Hasher, Index};
use crate::types::{Mac, PortId, Tick};
use std::net::Ipv4Addr;

/// How long an answer is trusted without looking again.
const REACHABLE_MS: u32 = 60_000;
/// Between two requests.
const RETRY_MS: u32 = 1_000;
/// Requests before giving up.
const TRIES: u8 = 3;
/// How long a failure is remembered, so that its packets are refused at once.
const FAILED_MS: u32 = 3_000;
/// A neighbour that nobody used for so long is forgotten.
const UNUSED_MS: u32 = 600_000;

/// Requests to all, a second and at once; only first ones take the second half of it.
const REQUEST_RATE: u32 = 1_000;
const REQUEST_BURST: u32 = 256;
/// Inside hosts are told apart by this many groups: what a host may have unanswered is counted for its group.
const GROUPS: usize = 64;
/// What a host may have unanswered in however small a table.
const LEAST_SHARE: u32 = 8;

/// A next hop: slot and generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopId(u32);

const SLOT_BITS: u32 = 20;
/// Most neighbours that a worker may have.
pub const MAX_NEIGHBOURS: usize = (1 << SLOT_BITS) - 1;

impl HopId {
    /// Not resolved.
    pub const NONE: Self = Self(u32::MAX);

    const fn slot(self) -> usize {
        (self.0 & ((1 << SLOT_BITS) - 1)) as usize
    }

    const fn generation(self) -> u16 {
        (self.0 >> SLOT_BITS) as u16
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Asking,
    Reachable,
    Stale,
    Probing,
    Failed,
    Static,
}

impl State {
    /// Not known to exist.
    const fn is_unanswered(self) -> bool {
        matches!(self, Self::Asking | Self::Failed)
    }
}

/// A neighbour. 32 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub struct Hop {
    /// Its Ethernet address.
    pub mac: Mac,
    /// On which port.
    pub port: PortId,
    state: State,
    tries: u8,
    /// Somebody sent to it since the last look.
    used: bool,
    generation: u16,
    /// Packets that wait for it.
    waiting: u8,
    /// At whose instance it was made.
    group: u8,
    /// It asked for us, and nobody has sent to it.
    stranger: bool,
    addr: Ipv4Addr,
    /// When the state was entered, or the last request sent.
    since: Tick,
    next: u32,
}

const _: () = assert!(size_of::<Hop>() == 32);

const FREE: Hop = Hop {
    mac: Mac([0; 6]),
    port: PortId(0),
    state: State::Free,
    tries: 0,
    used: false,
    generation: 0,
    waiting: 0,
    group: 0,
    stranger: false,
    addr: Ipv4Addr::UNSPECIFIED,
    since: Tick(0),
    next: u32::MAX,
};

/// What a next hop is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// Send to this address by this port.
    Ready(PortId, Mac),
    /// Ask, and wait.
    Asking,
    /// It did not answer.
    Failed,
}

/// What [`Neighbours::look`] wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Send a request: to all, or to the address that it had.
    Ask(PortId, Ipv4Addr, Option<Mac>),
    /// Refuse the packets that wait for it.
    Failed(HopId),
}

/// See the module.
pub struct Neighbours {
    slab: Box<[Hop]>,
    index: Index,
    hasher: Hasher,
    fresh: u32,
    free: u32,
    cursor: u32,
    /// A quarter of the table: for those who do not answer, and for those who only asked.
    quota: u32,
    unanswered: u32,
    unanswered_of: [u32; GROUPS],
    strangers: u32,
    requests: Budget,
}

impl Neighbours {
    /// A table for `capacity` neighbours, at most [`MAX_NEIGHBOURS`].
    #[must_use]
    pub fn new(capacity: usize, seed: u64) -> Self {
        let capacity = capacity.min(MAX_NEIGHBOURS);
        Self {
            slab: vec![FREE; capacity].into_boxed_slice(),
            index: Index::new(capacity),
            hasher: Hasher::new(seed ^ 0x4172_7021),
            fresh: 0,
            free: u32::MAX,
            cursor: 0,
            quota: u32::try_from(capacity / 4).unwrap_or(u32::MAX).max(1),
            unanswered: 0,
            unanswered_of: [0; GROUPS],
            strangers: 0,
            requests: Budget::new(REQUEST_RATE, REQUEST_BURST, Tick(0)),
        }
    }

    /// Bytes that [`Neighbours::new`] takes.
    #[must_use]
    pub const fn memory(capacity: usize) -> usize {
        capacity * size_of::<Hop>() + Index::memory(capacity)
    }

    fn hash(&self, port: PortId, addr: Ipv4Addr) -> u64 {
        self.hasher.pair(u64::from(addr.to_bits()), u64::from(port.0))
    }

    fn find_slot(&self, port: PortId, addr: Ipv4Addr) -> Option<u32> {
        let fits = |h: &Hop| h.addr == addr && h.port == port && h.state != State::Free;
        self.index.find(self.hash(port, addr), |s| self.slab.get(s as usize).is_some_and(fits))
    }

    fn id(&self, slot: u32) -> HopId {
        let generation = self.slab.get(slot as usize).map_or(0, |h| u32::from(h.generation));
        HopId(generation << SLOT_BITS | slot)
    }

    /// The next hop `addr` on `port` of what inside host `host` sends or gets, made if new. `None`: the table is full, or
    /// too many do not answer.
    pub fn find_or_add(&mut self, port: PortId, addr: Ipv4Addr, host: Ipv4Addr, now: Tick) -> Option<HopId> {
        if let Some(slot) = self.find_slot(port, addr) {
            self.claim(slot);
            return Some(self.id(slot));
        }
        let group = self.group(host);
        let share = (self.quota / 4).max(LEAST_SHARE);
        let of_group = self.unanswered_of.get(usize::from(group)).copied().unwrap_or(0);
        if self.unanswered >= self.quota || of_group >= share {
            return None;
        }
        // `since` long ago: the first request is due at once.
        let since = Tick(now.0.wrapping_sub(RETRY_MS));
        let slot = self.add(Hop { port, addr, group, since, ..FREE })?;
        self.enter(slot, State::Asking);
        Some(self.id(slot))
    }

    #[allow(clippy::cast_possible_truncation, reason = "below GROUPS")]
    const fn group(&self, host: Ipv4Addr) -> u8 {
        (self.hasher.addr(host) % GROUPS as u64) as u8
    }

    /// Takes a slot for a new neighbour, in no state yet.
    fn add(&mut self, hop: Hop) -> Option<u32> {
        let reuse = self.free != u32::MAX;
        let slot = if reuse { self.free } else { self.fresh };
        let hash = self.hash(hop.port, hop.addr);
        let place = self.slab.get_mut(slot as usize)?;
        self.index.insert(hash, slot).ok()?;
        if reuse {
            self.free = place.next;
        } else {
            self.fresh += 1;
        }
        *place = Hop { generation: place.generation, ..hop };
        Some(slot)
    }

    /// Changes a neighbour's state; the only place that does.
    fn enter(&mut self, slot: u32, state: State) {
        let Some(h) = self.slab.get_mut(slot as usize) else { return };
        let (was, is) = (h.state.is_unanswered(), state.is_unanswered());
        h.state = state;
        let Some(of_group) = self.unanswered_of.get_mut(usize::from(h.group)) else { return };
        match (was, is) {
            (false, true) => (self.unanswered, *of_group) = (self.unanswered + 1, *of_group + 1),
            (true, false) => (self.unanswered, *of_group) = (self.unanswered - 1, *of_group - 1),
            (true, true) | (false, false) => {}
        }
    }

    /// Somebody sends to it: it is no stranger any more.
    fn claim(&mut self, slot: u32) {
        if let Some(h) = self.slab.get_mut(slot as usize).filter(|h| h.stranger) {
            h.stranger = false;
            self.strangers -= 1;
        }
    }

    /// Whether `addr` on `port` is in the table.
    #[must_use]
    pub fn knows(&self, port: PortId, addr: Ipv4Addr) -> bool {
        self.find_slot(port, addr).is_some()
    }

    /// The hop of a number, whatever its state.
    #[inline]
    fn get(&self, id: HopId) -> Option<&Hop> {
        self.slab.get(id.slot()).filter(|h| h.generation == id.generation() && h.state != State::Free)
    }

    fn get_mut(&mut self, id: HopId) -> Option<&mut Hop> {
        self.slab.get_mut(id.slot()).filter(|h| h.generation == id.generation() && h.state != State::Free)
    }

    /// The fast path's question: where to send, if it is known.
    #[inline]
    pub fn ready(&mut self, id: HopId) -> Option<(PortId, Mac)> {
        let hop = self.slab.get_mut(id.slot())?;
        let usable = matches!(hop.state, State::Reachable | State::Stale | State::Probing | State::Static);
        if !usable || hop.generation != id.generation() {
            return None;
        }
        if !hop.used {
            hop.used = true;
        }
        Some((hop.port, hop.mac))
    }

    /// The slow path's question. `None`: no such hop any more.
    pub fn resolve(&mut self, id: HopId) -> Option<Resolved> {
        if let Some((port, mac)) = self.ready(id) {
            return Some(Resolved::Ready(port, mac));
        }
        match self.get(id)?.state {
            State::Failed => Some(Resolved::Failed),
            _ => Some(Resolved::Asking),
        }
    }

    /// Whether a request must be sent now; counts it as sent. For a new hop, without waiting for [`Neighbours::look`],
    /// which makes up for it when there are too many requests now.
    pub fn ask_now(&mut self, id: HopId, now: Tick) -> Option<(PortId, Ipv4Addr)> {
        self.get(id).filter(|hop| hop.state == State::Asking && hop.tries == 0)?;
        if !self.requests.take(now) {
            return None;
        }
        let hop = self.get_mut(id)?;
        hop.tries = 1;
        hop.since = now;
        Some((hop.port, hop.addr))
    }

    /// Counts a packet that waits (+1) or no longer does (-1); says how many wait now.
    pub fn count_waiting(&mut self, id: HopId, change: i8) -> u8 {
        self.get_mut(id).map_or(0, |h| {
            h.waiting = h.waiting.saturating_add_signed(change);
            h.waiting
        })
    }

    /// A neighbour that needs no ARP. Never forgotten, never changed by the network.
    pub fn add_static(&mut self, port: PortId, addr: Ipv4Addr, mac: Mac, now: Tick) -> Option<HopId> {
        let hop = Hop { port, addr, mac, since: now, ..FREE };
        let slot = match self.find_slot(port, addr) {
            Some(slot) => slot,
            None => self.add(hop)?,
        };
        self.claim(slot);
        self.enter(slot, State::Static);
        if let Some(known) = self.slab.get_mut(slot as usize) {
            known.mac = mac;
        }
        Some(self.id(slot))
    }

    /// A neighbour needs ARP from now on. Whoever sends to it asks anew.
    pub fn remove_static(&mut self, port: PortId, addr: Ipv4Addr) {
        if let Some(slot) = self.find_slot(port, addr)
            && self.slab.get(slot as usize).is_some_and(|h| h.state == State::Static)
        {
            self.forget(slot);
        }
    }

    /// Whether a hop is this neighbour.
    #[must_use]
    pub fn is_at(&self, id: HopId, port: PortId, addr: Ipv4Addr) -> bool {
        self.get(id).is_some_and(|h| h.port == port && h.addr == addr)
    }

    /// `addr` on `port` said that it is at `mac`. Returns the hop if that resolved it, so that its packets can go.
    /// With `create`, an unknown neighbour is remembered, if there is room for strangers.
    pub fn learn(&mut self, port: PortId, addr: Ipv4Addr, mac: Mac, now: Tick, create: bool) -> Option<HopId> {
        let slot = match self.find_slot(port, addr) {
            Some(slot) => slot,
            None if create && self.strangers < self.quota => {
                let group = self.group(addr);
                let slot = self.add(Hop { port, addr, group, stranger: true, ..FREE })?;
                self.strangers += 1;
                slot
            }
            None => return None,
        };
        let id = self.id(slot);
        let hop = self.slab.get_mut(slot as usize)?;
        if hop.state == State::Static {
            return None;
        }
        let resolved = hop.state.is_unanswered();
        hop.mac = mac;
        hop.since = now;
        hop.tries = 0;
        self.enter(slot, State::Reachable);
        resolved.then_some(id)
    }

    /// Looks at the next neighbour in turn. `None`: nothing to do for it; call it a bounded number of times.
    pub fn look(&mut self, now: Tick) -> Option<Due> {
        if self.fresh == 0 {
            return None;
        }
        self.cursor = if self.cursor + 1 >= self.fresh { 0 } else { self.cursor + 1 };
        let slot = self.cursor;
        let id = self.id(slot);
        let hop = *self.get(id)?;
        let age = now.since(hop.since);
        match hop.state {
            State::Free | State::Static => None,
            State::Asking | State::Probing if age < RETRY_MS => None,
            State::Asking if hop.tries < TRIES => {
                // Who has not been asked for yet comes first.
                let reserve = if hop.tries == 0 { 0 } else { REQUEST_BURST / 2 };
                self.requests.take_beyond(reserve, now).then(|| self.ask(slot, None, now))
            }
            State::Probing if hop.tries < TRIES => {
                // It may have another Ethernet address now: the last try asks everybody.
                let to = (hop.tries + 1 < TRIES).then_some(hop.mac);
                Some(self.ask(slot, to, now))
            }
            State::Asking | State::Probing => {
                self.enter_at(slot, State::Failed, now);
                Some(Due::Failed(id))
            }
            // Nobody has wanted it.
            State::Reachable if age >= REACHABLE_MS && hop.stranger => {
                self.forget(slot);
                None
            }
            State::Reachable if age >= REACHABLE_MS => {
                self.enter_at(slot, State::Stale, now);
                None
            }
            State::Stale if hop.used => {
                self.enter_at(slot, State::Probing, now);
                Some(self.ask(slot, Some(hop.mac), now))
            }
            State::Stale if age >= UNUSED_MS => {
                self.forget(slot);
                None
            }
            State::Failed if (age >= FAILED_MS || self.is_crowded()) && hop.waiting == 0 => {
                self.forget(slot);
                None
            }
            State::Reachable | State::Stale | State::Failed => None,
        }
    }

    /// Whether so many do not answer that failures must not be remembered.
    const fn is_crowded(&self) -> bool {
        self.unanswered >= self.quota - self.quota / 4
    }

    /// Enters a state from now on, with nothing tried and nobody having used it.
    fn enter_at(&mut self, slot: u32, state: State, now: Tick) {
        self.enter(slot, state);
        if let Some(h) = self.slab.get_mut(slot as usize) {
            (h.since, h.tries, h.used) = (now, 0, false);
        }
    }

    /// Counts a request, and says which.
    fn ask(&mut self, slot: u32, to: Option<Mac>, now: Tick) -> Due {
        let Some(h) = self.slab.get_mut(slot as usize) else { return Due::Failed(HopId::NONE) };
        (h.since, h.tries) = (now, h.tries + 1);
        Due::Ask(h.port, h.addr, to)
    }

    /// How many there are to look at.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.fresh as usize
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.fresh == 0
    }

    fn forget(&mut self, slot: u32) {
        self.claim(slot);
        self.enter(slot, State::Free);
        let Some(h) = self.slab.get_mut(slot as usize) else { return };
        let (port, addr) = (h.port, h.addr);
        *h = Hop { generation: (h.generation + 1) & 0x7ff, next: self.free, ..FREE };
        self.free = slot;
        self.index.remove(self.hash(port, addr), slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: PortId = PortId(1);
    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
    const M: Mac = Mac([2, 0, 0, 0, 0, 9]);
    const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 9);

    fn due(n: &mut Neighbours, now: u32) -> Vec<Due> {
        (0..n.len()).filter_map(|_| n.look(Tick(now))).collect()
    }

    #[test]
    fn asks_three_times_then_fails_then_forgets() {
        let mut n = Neighbours::new(4, 0);
        let id = n.find_or_add(P, A, HOST, Tick(0)).unwrap();
        assert_eq!(n.ask_now(id, Tick(0)), Some((P, A)));
        assert_eq!(n.ask_now(id, Tick(0)), None);
        assert_eq!(due(&mut n, 999), []);
        assert_eq!(due(&mut n, 1000), [Due::Ask(P, A, None)]);
        assert_eq!(due(&mut n, 2000), [Due::Ask(P, A, None)]);
        assert_eq!(due(&mut n, 3000), [Due::Failed(id)]);
        assert_eq!(n.resolve(id), Some(Resolved::Failed));
        assert_eq!(due(&mut n, 6000), []);
        assert_eq!(n.resolve(id), None, "forgotten");
        let again = n.find_or_add(P, A, HOST, Tick(0)).unwrap();
        assert_ne!(again, id, "a reused slot has a new generation");
    }

    #[test]
    fn an_answer_resolves_ages_and_is_probed_only_when_used() {
        let mut n = Neighbours::new(4, 0);
        let id = n.find_or_add(P, A, HOST, Tick(0)).unwrap();
        assert_eq!(n.learn(P, A, M, Tick(5), false), Some(id));
        assert_eq!(n.ready(id), Some((P, M)));
        assert_eq!(due(&mut n, 60_005), []);
        assert_eq!(due(&mut n, 60_006), [], "stale, and nobody sends");
        n.ready(id);
        assert_eq!(due(&mut n, 60_007), [Due::Ask(P, A, Some(M))]);
        assert_eq!(n.ready(id), Some((P, M)), "goes on while probed");
        assert_eq!(n.learn(P, A, M, Tick(60_010), false), None);
    }

    #[test]
    fn strangers_answers_create_nothing_and_static_entries_stay() {
        let mut n = Neighbours::new(4, 0);
        assert_eq!(n.learn(P, A, M, Tick(0), false), None);
        assert!(n.is_empty());
        let id = n.add_static(P, A, M, Tick(0)).unwrap();
        n.learn(P, A, Mac([2; 6]), Tick(0), true);
        assert_eq!(n.ready(id), Some((P, M)));
    }
    fn host(n: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(0x0a01_0000 + n)
    }

    /// Adds neighbours for a host until there is no room.
    fn add_all(n: &mut Neighbours, of: Ipv4Addr, first: u32, now: u32) -> u32 {
        let added = (0..1000).take_while(|i| n.find_or_add(P, host(first + i), of, Tick(now)).is_some());
        u32::try_from(added.count()).unwrap()
    }

    #[test]
    fn who_does_not_answer_takes_a_quarter_and_of_it_one_host_takes_a_quarter() {
        let mut n = Neighbours::new(1024, 0);
        let all: Vec<_> =
            (0..40).map(|h| add_all(&mut n, Ipv4Addr::new(192, 168, 1, h), u32::from(h) * 1000, 0)).collect();
        assert_eq!((all[0], all.iter().max(), all.iter().sum::<u32>()), (64, Some(&64), 256));
        // An answer makes room, and so does a failure, at once while there are many.
        n.learn(P, host(0), M, Tick(0), false).unwrap();
        assert_eq!(add_all(&mut n, HOST, 100_000, 0), 1);
        for ms in 0..20_000 {
            n.look(Tick(ms));
        }
        assert_eq!((n.unanswered, n.unanswered_of), (0, [0; GROUPS]));
        assert_eq!(add_all(&mut n, HOST, 200_000, 20_000), 64);
    }

    #[test]
    fn failures_are_forgotten_early_where_there_are_many() {
        for (asked, left) in [(3, 3), (8, 5)] {
            let mut n = Neighbours::new(32, 0);
            let ids: Vec<_> = (0..asked).map(|i| n.find_or_add(P, host(i), HOST, Tick(0)).unwrap()).collect();
            for second in 0..4 {
                due(&mut n, second * RETRY_MS);
            }
            due(&mut n, 3 * RETRY_MS);
            assert_eq!(ids.iter().filter(|&&id| n.resolve(id) == Some(Resolved::Failed)).count(), left);
        }
    }

    #[test]
    fn who_only_asked_takes_a_quarter_for_a_minute() {
        let mut n = Neighbours::new(1024, 0);
        for i in 0..1000 {
            n.learn(P, host(i), M, Tick(0), true);
        }
        assert_eq!((0..1000).filter(|&i| n.knows(P, host(i))).count(), 256);
        let used = n.find_or_add(P, host(7), HOST, Tick(0)).unwrap();
        assert_eq!(n.ready(used), Some((P, M)));
        n.learn(P, host(999), M, Tick(0), true);
        assert!(n.knows(P, host(999)), "one who is sent to makes room");
        assert_eq!((due(&mut n, REACHABLE_MS).len(), n.strangers), (0, 0));
        assert!(n.knows(P, host(7)) && !n.knows(P, host(8)));
    }

    #[test]
    fn requests_have_a_rate_and_first_ones_come_first() {
        let mut n = Neighbours::new(65_536, 0);
        let ids: Vec<_> = (0..200).map(|i| n.find_or_add(P, host(i), HOST, Tick(0)).unwrap()).collect();
        assert_eq!(ids.iter().filter(|&&id| n.ask_now(id, Tick(0)).is_some()).count(), 200);
        // All are due again, and only half of a burst is there for them.
        assert_eq!(due(&mut n, RETRY_MS).len(), 128);
        let ids: Vec<_> = (500..700).map(|i| n.find_or_add(P, host(i), HOST, Tick(RETRY_MS)).unwrap()).collect();
        assert_eq!(ids.iter().filter(|&&id| n.ask_now(id, Tick(RETRY_MS)).is_some()).count(), 128);
        assert_eq!(due(&mut n, RETRY_MS), [], "not now");
        assert_eq!(due(&mut n, RETRY_MS + 100).len(), 72, "the first requests that were put off");
    }

    #[test]
    fn the_last_probe_is_a_broadcast() {
        let mut n = Neighbours::new(4, 0);
        let id = n.find_or_add(P, A, HOST, Tick(0)).unwrap();
        n.learn(P, A, M, Tick(0), false);
        due(&mut n, 60_000);
        n.ready(id);
        let asked: Vec<_> = (60..63).flat_map(|s| due(&mut n, s * 1000 + 1)).collect();
        assert_eq!(asked, [Due::Ask(P, A, Some(M)), Due::Ask(P, A, Some(M)), Due::Ask(P, A, None)]);
        assert_eq!(due(&mut n, 63_001), [Due::Failed(id)]);
    }
}
