//! Neighbours of one worker: next hops with their Ethernet addresses, found by ARP, aged, probed, or configured.
//!
//! ```text
//! (new) ──request──► Asking ──answer──► Reachable ──60 s──► Stale ──used: unicast probe──► Probing ──answer──► Reachable
//!                      │ 3 × 1 s                              │ 10 min unused                │ 3 × 1 s
//!                      ▼                                      ▼                              ▼
//!                    Failed ──3 s──► (free)                 (free)                         Failed
//! ```
//!
//! A session remembers its next hops by [`HopId`], which names a generation too: a freed and reused slot is not taken
//! for the old one. Workers learn independently of each other; an inside host is asked for by its owner alone.
//! An answer creates nothing: only a packet to send, or a request to us from an on-link host, does.

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
    addr: Ipv4Addr,
    /// When the state was entered, or the last request sent.
    since: Tick,
    next: u32,
}

const FREE: Hop = Hop {
    mac: Mac([0; 6]),
    port: PortId(0),
    state: State::Free,
    tries: 0,
    used: false,
    generation: 0,
    waiting: 0,
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

    /// The next hop `addr` on `port`, made if new. `None`: the table is full.
    pub fn find_or_add(&mut self, port: PortId, addr: Ipv4Addr, now: Tick) -> Option<HopId> {
        if let Some(slot) = self.find_slot(port, addr) {
            return Some(self.id(slot));
        }
        let reuse = self.free != u32::MAX;
        let slot = if reuse { self.free } else { self.fresh };
        let hash = self.hash(port, addr);
        let place = self.slab.get_mut(slot as usize)?;
        self.index.insert(hash, slot).ok()?;
        if reuse {
            self.free = place.next;
        } else {
            self.fresh += 1;
        }
        // `since` long ago: the first request is due at once.
        let since = Tick(now.0.wrapping_sub(RETRY_MS));
        *place = Hop { port, addr, state: State::Asking, since, generation: place.generation, ..FREE };
        Some(self.id(slot))
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

    /// Whether a request must be sent now; counts it as sent. For a new hop, without waiting for [`Neighbours::look`].
    pub fn ask_now(&mut self, id: HopId, now: Tick) -> Option<(PortId, Ipv4Addr)> {
        let hop = self.get_mut(id)?;
        if hop.state != State::Asking || hop.tries > 0 {
            return None;
        }
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
        let id = self.find_or_add(port, addr, now)?;
        let hop = self.get_mut(id)?;
        hop.state = State::Static;
        hop.mac = mac;
        Some(id)
    }

    /// `addr` on `port` said that it is at `mac`. Returns the hop if that resolved it, so that its packets can go.
    /// With `create`, an unknown neighbour is remembered.
    pub fn learn(&mut self, port: PortId, addr: Ipv4Addr, mac: Mac, now: Tick, create: bool) -> Option<HopId> {
        let slot = match self.find_slot(port, addr) {
            Some(slot) => slot,
            None if create => {
                let id = self.find_or_add(port, addr, now)?;
                u32::try_from(id.slot()).ok()?
            }
            None => return None,
        };
        let id = self.id(slot);
        let hop = self.get_mut(id)?;
        if hop.state == State::Static {
            return None;
        }
        let resolved = matches!(hop.state, State::Asking | State::Failed);
        hop.mac = mac;
        hop.state = State::Reachable;
        hop.since = now;
        hop.tries = 0;
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
        let hop = self.get_mut(id)?;
        let age = now.since(hop.since);
        match hop.state {
            State::Free | State::Static => None,
            State::Asking | State::Probing if age < RETRY_MS => None,
            State::Asking | State::Probing if hop.tries < TRIES => {
                hop.tries += 1;
                hop.since = now;
                Some(Due::Ask(hop.port, hop.addr, (hop.state == State::Probing).then_some(hop.mac)))
            }
            State::Asking | State::Probing => {
                hop.state = State::Failed;
                hop.since = now;
                Some(Due::Failed(id))
            }
            State::Reachable if age >= REACHABLE_MS => {
                hop.state = State::Stale;
                hop.since = now;
                hop.used = false;
                None
            }
            State::Stale if hop.used => {
                hop.state = State::Probing;
                hop.tries = 1;
                hop.since = now;
                Some(Due::Ask(hop.port, hop.addr, Some(hop.mac)))
            }
            State::Stale if age >= UNUSED_MS => {
                self.forget(slot);
                None
            }
            State::Failed if age >= FAILED_MS && hop.waiting == 0 => {
                self.forget(slot);
                None
            }
            State::Reachable | State::Stale | State::Failed => None,
        }
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

    fn due(n: &mut Neighbours, now: u32) -> Vec<Due> {
        (0..n.len()).filter_map(|_| n.look(Tick(now))).collect()
    }

    #[test]
    fn asks_three_times_then_fails_then_forgets() {
        let mut n = Neighbours::new(4, 0);
        let id = n.find_or_add(P, A, Tick(0)).unwrap();
        assert_eq!(n.ask_now(id, Tick(0)), Some((P, A)));
        assert_eq!(n.ask_now(id, Tick(0)), None);
        assert_eq!(due(&mut n, 999), []);
        assert_eq!(due(&mut n, 1000), [Due::Ask(P, A, None)]);
        assert_eq!(due(&mut n, 2000), [Due::Ask(P, A, None)]);
        assert_eq!(due(&mut n, 3000), [Due::Failed(id)]);
        assert_eq!(n.resolve(id), Some(Resolved::Failed));
        assert_eq!(due(&mut n, 6000), []);
        assert_eq!(n.resolve(id), None, "forgotten");
        let again = n.find_or_add(P, A, Tick(0)).unwrap();
        assert_ne!(again, id, "a reused slot has a new generation");
    }

    #[test]
    fn an_answer_resolves_ages_and_is_probed_only_when_used() {
        let mut n = Neighbours::new(4, 0);
        let id = n.find_or_add(P, A, Tick(0)).unwrap();
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
}
