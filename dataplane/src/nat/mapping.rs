//! Mappings: inside endpoint ↔ outside endpoint, whatever the destination [4787 REQ-1, 5382 REQ-1].
//!
//! ```text
//!            first session                 last holder gone             hold-down over, no guest left
//!  (free) ───────────────────► Live ───────────────────────────► Held ─────────────────────────────► (free)
//!                               ▲                                  │
//!                               └── the same inside endpoint again ┘
//! ```
//!
//! A session in which the inside sent *holds* its mapping. One that a stranger opened (filtering permitting) is a
//! *guest* until the inside answers, so that outsiders cannot keep a mapping alive [4787 REQ-6]. A mapping without
//! holders admits nobody new, and its port rests for the hold-down [6888 REQ-8] before it goes to another endpoint;
//! the same inside endpoint gets it back at once.
//!
//! Two live or held mappings never share an outside endpoint [4787 REQ-3]: [`super::ports::Ports`] gave it to one.

use crate::flow::index::{Full, Hasher, Index};
use crate::types::{Endpoint, Inside, Outside, Proto, Tick};

/// Number of a mapping in its worker's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MappingId(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Live,
    Held,
}

/// See the module. 40 bytes, and about 13 in the index.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    /// Inside endpoint.
    pub inside: Inside<Endpoint>,
    /// Outside endpoint.
    pub outside: Outside<Endpoint>,
    /// Protocol.
    pub proto: Proto,
    state: State,
    /// Sessions in which the inside sent.
    pub holders: u32,
    /// Sessions that outsiders opened and that the inside has not answered.
    pub guests: u32,
    /// Whose it is. Valid while live.
    pub subscriber: u32,
    closed: Tick,
    /// In the queue of those at rest, or in the free list.
    next: u32,
    prev: u32,
}

impl Mapping {
    /// Whether it admits sessions.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        matches!(self.state, State::Live)
    }

    /// Whether it is a mapping at all, live or at rest.
    #[must_use]
    pub const fn is_used(&self) -> bool {
        !matches!(self.state, State::Free)
    }
}

const NONE: u32 = u32::MAX;
const _: () = assert!(size_of::<Mapping>() == 40);

const FREE: Mapping = Mapping {
    inside: Inside(Endpoint::new(std::net::Ipv4Addr::UNSPECIFIED, 0)),
    outside: Outside(Endpoint::new(std::net::Ipv4Addr::UNSPECIFIED, 0)),
    proto: Proto(0),
    state: State::Free,
    holders: 0,
    guests: 0,
    subscriber: NONE,
    closed: Tick(0),
    next: NONE,
    prev: NONE,
};

/// All mappings of one worker.
pub struct Mappings {
    slab: Box<[Mapping]>,
    index: Index,
    hasher: Hasher,
    fresh: u32,
    free: u32,
    live: usize,
    /// Mappings at rest, oldest first; those without a hold-down wait behind none that has one.
    resting: [Queue; 2],
    hold_down: u32,
}

/// A list through [`Mapping::next`].
#[derive(Clone, Copy)]
struct Queue {
    head: u32,
    tail: u32,
}

/// The queue of a protocol.
const fn queue_of(proto: Proto) -> usize {
    matches!(proto, Proto::TCP) as usize
}

const INSIDE: u8 = 1;
const OUTSIDE: u8 = 2;

impl Mappings {
    /// A table for `capacity` mappings whose ports rest `hold_down` ms.
    #[must_use]
    pub fn new(capacity: usize, seed: u64, hold_down: u32) -> Self {
        Self {
            slab: crate::table::table(FREE, capacity),
            index: Index::new(capacity * 2),
            hasher: Hasher::new(seed ^ 0x4d61_7070),
            fresh: 0,
            free: NONE,
            live: 0,
            resting: [Queue { head: NONE, tail: NONE }; 2],
            hold_down,
        }
    }

    /// Ports rest so long from now on, those that rest already too.
    pub const fn set_hold_down(&mut self, hold_down: u32) {
        self.hold_down = hold_down;
    }

    /// Frees a mapping at rest at once, unless it has guests.
    pub fn end_rest(&mut self, id: MappingId) -> Option<Mapping> {
        let m = self.slab.get(id.0 as usize).filter(|m| m.state == State::Held && m.guests == 0)?;
        debug_assert_eq!(m.holders, 0);
        self.unqueue(id);
        self.free(id)
    }

    /// Bytes that [`Mappings::new`] takes.
    #[must_use]
    pub const fn memory(capacity: usize) -> usize {
        capacity * size_of::<Mapping>() + Index::memory(capacity * 2)
    }

    /// Live mappings.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.live
    }

    /// Whether none is live.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The mapping of an inside endpoint, live or held.
    #[must_use]
    pub fn find_inside(&self, proto: Proto, inside: Inside<Endpoint>) -> Option<MappingId> {
        let fits = |m: &Mapping| m.proto == proto && m.inside == inside && m.state != State::Free;
        self.index
            .find(self.hasher.endpoint(INSIDE, proto, inside.0), |s| self.slab.get(s as usize).is_some_and(fits))
            .map(MappingId)
    }

    /// The mapping of an outside endpoint, live or held.
    #[must_use]
    pub fn find_outside(&self, proto: Proto, outside: Outside<Endpoint>) -> Option<MappingId> {
        let fits = |m: &Mapping| m.proto == proto && m.outside == outside && m.state != State::Free;
        self.index
            .find(self.hasher.endpoint(OUTSIDE, proto, outside.0), |s| self.slab.get(s as usize).is_some_and(fits))
            .map(MappingId)
    }

    /// Fetches the bucket of an inside endpoint.
    #[inline]
    pub(super) fn fetch_inside(&self, proto: Proto, inside: Inside<Endpoint>) {
        self.index.prefetch(self.hasher.endpoint(INSIDE, proto, inside.0));
    }

    /// Fetches the bucket of an outside endpoint.
    #[inline]
    pub(super) fn fetch_outside(&self, proto: Proto, outside: Outside<Endpoint>) {
        self.index.prefetch(self.hasher.endpoint(OUTSIDE, proto, outside.0));
    }

    /// Fetches the mapping that the bucket of an inside endpoint leads to.
    #[inline]
    pub(super) fn fetch_record(&self, proto: Proto, inside: Inside<Endpoint>) {
        self.fetch(MappingId(self.index.candidate(self.hasher.endpoint(INSIDE, proto, inside.0))));
    }

    /// Fetches a mapping.
    #[inline]
    pub(super) fn fetch(&self, id: MappingId) {
        crate::prefetch::read(self.slab.get(id.0 as usize));
    }

    /// Mappings at rest whose time is over, oldest first, `N` of each queue at most: their buckets are fetched, and what
    /// they hold is shown to `see`.
    pub(super) fn fetch_due(&self, now: Tick, most: usize, mut see: impl FnMut(&Mapping)) {
        for (queue, wait) in [(queue_of(Proto::TCP), 0), (queue_of(Proto::UDP), self.hold_down)] {
            let mut at = self.resting.get(queue).map_or(NONE, |q| q.head);
            for _ in 0..most {
                let Some(m) = self.slab.get(at as usize) else { break };
                if !now.reached(m.closed.after(wait)) {
                    break;
                }
                crate::prefetch::read(self.slab.get(m.next as usize));
                self.fetch_inside(m.proto, m.inside);
                self.fetch_outside(m.proto, m.outside);
                see(m);
                at = m.next;
            }
        }
    }

    /// A mapping by number.
    #[must_use]
    pub fn get(&self, id: MappingId) -> Option<&Mapping> {
        self.slab.get(id.0 as usize)
    }

    /// A mapping by number.
    pub fn get_mut(&mut self, id: MappingId) -> Option<&mut Mapping> {
        self.slab.get_mut(id.0 as usize)
    }

    /// The number from which on none was ever used.
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.fresh
    }

    /// Live mappings.
    pub fn iter(&self) -> impl Iterator<Item = &Mapping> {
        self.slab.iter().take(self.fresh as usize).filter(|m| m.is_live())
    }

    /// Makes a live mapping without sessions yet.
    ///
    /// # Errors
    /// [`Full`]; nothing has changed.
    pub fn open(
        &mut self,
        proto: Proto,
        inside: Inside<Endpoint>,
        outside: Outside<Endpoint>,
        subscriber: u32,
    ) -> Result<MappingId, Full> {
        let reuse = self.free != NONE;
        let slot = if reuse { self.free } else { self.fresh };
        let Some(place) = self.slab.get_mut(slot as usize) else { return Err(Full) };
        let (a, b) = (self.hasher.endpoint(INSIDE, proto, inside.0), self.hasher.endpoint(OUTSIDE, proto, outside.0));
        self.index.insert(a, slot)?;
        if self.index.insert(b, slot).is_err() {
            self.index.remove(a, slot);
            return Err(Full);
        }
        if reuse {
            self.free = place.next;
        } else {
            self.fresh += 1;
        }
        *place = Mapping { inside, outside, proto, state: State::Live, subscriber, ..FREE };
        self.live += 1;
        Ok(MappingId(slot))
    }

    /// Brings a held mapping back to life for a subscriber.
    pub fn revive(&mut self, id: MappingId, subscriber: u32) {
        self.unqueue(id);
        if let Some(m) = self.slab.get_mut(id.0 as usize)
            && m.state == State::Held
        {
            m.state = State::Live;
            m.subscriber = subscriber;
            self.live += 1;
        }
    }

    /// To be called when a live mapping lost its last holder: its hold-down begins. TCP, whose connections are
    /// tracked to their end, needs none [6888 REQ-8]; it only waits for guests to leave.
    pub fn hold(&mut self, id: MappingId, now: Tick) {
        let Some(m) = self.slab.get_mut(id.0 as usize) else { return };
        if m.state != State::Live {
            return;
        }
        m.state = State::Held;
        m.closed = now;
        self.live -= 1;
        self.enqueue(id);
    }

    fn enqueue(&mut self, id: MappingId) {
        let Some(m) = self.slab.get_mut(id.0 as usize) else { return };
        let Some(queue) = self.resting.get_mut(queue_of(m.proto)) else { return };
        let last = std::mem::replace(&mut queue.tail, id.0);
        (m.prev, m.next) = (last, NONE);
        match self.slab.get_mut(last as usize) {
            Some(last) => last.next = id.0,
            None => queue.head = id.0,
        }
    }

    /// Takes a held mapping out of its queue.
    fn unqueue(&mut self, id: MappingId) {
        let Some(&Mapping { state: State::Held, proto, next, prev, .. }) = self.slab.get(id.0 as usize) else { return };
        let Some(queue) = self.resting.get_mut(queue_of(proto)) else { return };
        match self.slab.get_mut(prev as usize) {
            Some(p) => p.next = next,
            None => queue.head = next,
        }
        match self.slab.get_mut(next as usize) {
            Some(n) => n.prev = prev,
            None => queue.tail = prev,
        }
    }

    /// Frees the oldest held mapping whose time is over, and returns it so that its port can be given back.
    /// Looks at `budget` of each queue at most; call until `None`.
    pub fn release(&mut self, now: Tick, budget: usize) -> Option<Mapping> {
        self.release_from(queue_of(Proto::TCP), 0, now, budget)
            .or_else(|| self.release_from(queue_of(Proto::UDP), self.hold_down, now, budget))
    }

    fn release_from(&mut self, queue: usize, wait: u32, now: Tick, budget: usize) -> Option<Mapping> {
        for _ in 0..budget {
            let id = MappingId(self.resting.get(queue)?.head);
            let &Mapping { closed, guests, .. } = self.slab.get(id.0 as usize)?;
            if !now.reached(closed.after(wait)) {
                return None;
            }
            self.unqueue(id);
            if guests == 0 {
                return self.free(id);
            }
            self.enqueue(id);
        }
        None
    }

    /// Frees a mapping at once, whatever its state: for one whose first session could not be opened.
    pub fn discard(&mut self, id: MappingId) -> Option<Mapping> {
        let m = self.slab.get_mut(id.0 as usize)?;
        if m.holders + m.guests > 0 || m.state != State::Live {
            return None;
        }
        self.live -= 1;
        self.free(id)
    }

    fn free(&mut self, id: MappingId) -> Option<Mapping> {
        let place = self.slab.get_mut(id.0 as usize)?;
        let m = std::mem::replace(place, Mapping { next: self.free, ..FREE });
        self.free = id.0;
        self.index.remove(self.hasher.endpoint(INSIDE, m.proto, m.inside.0), id.0);
        self.index.remove(self.hasher.endpoint(OUTSIDE, m.proto, m.outside.0), id.0);
        Some(m)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn ends(n: u16) -> (Inside<Endpoint>, Outside<Endpoint>) {
        (Inside(Endpoint::new(Ipv4Addr::new(10, 0, 0, 1), n)), Outside(Endpoint::new(Ipv4Addr::new(203, 0, 113, 2), n)))
    }

    #[test]
    fn a_freed_port_rests_and_its_old_owner_gets_it_back() {
        let mut t = Mappings::new(4, 0, 120_000);
        let (i, o) = ends(5000);
        let id = t.open(Proto::UDP, i, o, 0).unwrap();
        t.hold(id, Tick(1000));
        assert_eq!(t.len(), 0);
        assert!(t.release(Tick(120_999), 8).is_none());
        assert_eq!(t.find_inside(Proto::UDP, i), Some(id));
        t.revive(id, 0);
        assert!(t.get(id).unwrap().is_live());
        assert!(t.release(Tick(500_000), 8).is_none(), "a live mapping is not released");
        t.hold(id, Tick(600_000));
        assert!(t.release(Tick(700_000), 8).is_none());
        assert_eq!(t.release(Tick(720_000), 8).unwrap().outside, o);
        assert_eq!(t.find_outside(Proto::UDP, o), None);
    }

    #[test]
    fn a_tcp_port_does_not_wait_behind_one_in_hold_down() {
        let mut t = Mappings::new(4, 0, 120_000);
        let udp = t.open(Proto::UDP, ends(5000).0, ends(5000).1, 0).unwrap();
        let tcp = t.open(Proto::TCP, ends(5000).0, ends(5000).1, 0).unwrap();
        t.hold(udp, Tick(0));
        t.hold(tcp, Tick(1));
        assert_eq!(t.release(Tick(1), 8).map(|m| m.proto), Some(Proto::TCP));
        assert!(t.release(Tick(1), 8).is_none());
        assert_eq!(t.release(Tick(120_000), 8).map(|m| m.proto), Some(Proto::UDP));
        assert!(t.release(Tick(120_000), 8).is_none());
    }

    #[test]
    fn a_port_with_a_guest_is_not_given_away() {
        let mut t = Mappings::new(4, 0, 120_000);
        let (i, o) = ends(5000);
        let id = t.open(Proto::TCP, i, o, 0).unwrap();
        t.get_mut(id).unwrap().guests = 1;
        t.hold(id, Tick(0));
        assert!(t.release(Tick(1), 8).is_none());
        t.get_mut(id).unwrap().guests = 0;
        assert!(t.release(Tick(2), 8).is_some());
    }
}
