//! Fragments on their way in: where a datagram's pieces meet, learn whose they are, and go on [4787 REQ-14].
//!
//! All pieces of a datagram meet at one worker, whatever queue they came by ([`crate::policy::Sharding::of_datagram`]).
//! The first fragment carries the ports; pieces that overtook it are held, within bounds a datagram, a source, a side
//! and the worker, until it comes or the time is over. Nothing is reassembled: each piece is translated by itself.
//! A piece that overlaps what passed already is dropped, so no receiver ever sees two versions of a byte.
//! Datagrams from inside get a new identification here, the same for all their pieces [RFC 7857 §10].

use crate::flow::index::{Hasher, Index};
use crate::packet::Meta;
use crate::policy::FragmentLimits;
use crate::types::{PortId, Proto, Side, Tick};
use crate::verdict::DropReason;
use std::net::Ipv4Addr;

/// What the pieces of a datagram have in common (RFC 791 §3.2), and the side they came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Source.
    pub src: Ipv4Addr,
    /// Destination.
    pub dst: Ipv4Addr,
    /// Identification.
    pub id: u16,
    /// Protocol.
    pub proto: Proto,
    /// Side of arrival.
    pub side: Side,
}

/// What the first fragment taught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// `ident` of its key.
    pub ident: u32,
    /// New identification, for datagrams from inside.
    pub id: u16,
}

/// Number of a tracked datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramId(u32);

/// What is to be done with a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It goes on. Pieces held for this datagram may follow it.
    Pass(Learned, DatagramId),
    /// The first one is missing: [`Fragments::hold`] it.
    Wait(DatagramId),
}

/// Separate stretches of a datagram that have passed.
const STRETCHES: usize = 8;
/// Buckets that count unfinished datagrams by source.
const SOURCES: usize = 256;
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Entry {
    datagram: Datagram,
    learned: Option<Learned>,
    /// The new identification, fixed at birth.
    id: u16,
    /// Passed or held: from..to in units of 8 bytes, unordered.
    stretches: [(u16, u16); STRETCHES],
    /// Where the datagram ends, units of 8 bytes rounded up; 0 while unknown.
    end: u16,
    born: Tick,
    /// Held pieces, oldest first.
    held_head: u32,
    held_tail: u32,
    held: u16,
    live: bool,
    /// In the queue by age, or in the free list.
    next: u32,
    prev: u32,
}

struct Held<B> {
    buf: Option<(B, PortId)>,
    next: u32,
}

/// See the module.
pub struct Fragments<B> {
    limits: FragmentLimits,
    timeout: u32,
    hasher: Hasher,
    index: Index,
    entries: Box<[Entry]>,
    free: u32,
    oldest: u32,
    newest: u32,
    /// Datagrams from outside.
    outside: u32,
    /// Datagrams without a first fragment, by source.
    by_source: Box<[u16; SOURCES]>,
    held: Box<[Held<B>]>,
    held_free: u32,
}

const EMPTY: Entry = Entry {
    datagram: Datagram {
        src: Ipv4Addr::UNSPECIFIED,
        dst: Ipv4Addr::UNSPECIFIED,
        id: 0,
        proto: Proto(0),
        side: Side::Inside,
    },
    learned: None,
    id: 0,
    stretches: [(0, 0); STRETCHES],
    end: 0,
    born: Tick(0),
    held_head: NONE,
    held_tail: NONE,
    held: 0,
    live: false,
    next: NONE,
    prev: NONE,
};

impl<B> Fragments<B> {
    /// Room as `limits` says; nothing is allocated later.
    #[must_use]
    pub fn new(limits: FragmentLimits, timeout: u32, seed: u64) -> Self {
        let chain = |i: u32, n: u32| if i + 1 == n { NONE } else { i + 1 };
        let (n, h) = (limits.datagrams.max(1), limits.held.max(1));
        Self {
            limits,
            timeout,
            hasher: Hasher::new(seed ^ 0x4672_6167),
            index: Index::new(n as usize),
            entries: (0..n).map(|i| Entry { next: chain(i, n), ..EMPTY }).collect(),
            free: 0,
            oldest: NONE,
            newest: NONE,
            outside: 0,
            by_source: Box::new([0; SOURCES]),
            held: (0..h).map(|i| Held { buf: None, next: chain(i, h) }).collect(),
            held_free: 0,
        }
    }

    /// Bytes that [`Fragments::new`] takes.
    #[must_use]
    pub const fn memory(limits: &FragmentLimits) -> usize {
        limits.datagrams as usize * size_of::<Entry>()
            + Index::memory(limits.datagrams as usize)
            + limits.held as usize * size_of::<Held<B>>()
    }

    fn hash(&self, d: &Datagram) -> u64 {
        let addrs = u64::from(d.src.to_bits()) << 32 | u64::from(d.dst.to_bits());
        self.hasher.pair(addrs, u64::from(d.id) << 16 | u64::from(d.proto.0) << 1 | u64::from(d.side == Side::Inside))
    }

    #[allow(clippy::cast_possible_truncation, reason = "one byte is meant")]
    fn source(&mut self, d: &Datagram) -> Option<&mut u16> {
        let bucket = self.hasher.addr(d.src) as u8;
        self.by_source.get_mut(usize::from(bucket))
    }

    /// Judges a fragment. `id` is the new identification should the datagram be new.
    ///
    /// # Errors
    /// Why to drop it.
    pub fn admit(&mut self, datagram: Datagram, meta: &Meta, id: u16, now: Tick) -> Result<Admitted, DropReason> {
        let hash = self.hash(&datagram);
        let fits = |e: &Entry| e.live && e.datagram == datagram;
        let known = self.index.find(hash, |s| self.entries.get(s as usize).is_some_and(fits));
        let slot = match known {
            Some(slot) => slot,
            None => self.track(datagram, hash, id, now)?,
        };
        let first = meta.fragment_offset() == 0;
        let Some(e) = self.entries.get_mut(slot as usize) else { return Err(DropReason::FragmentTableFull) };
        if !first && e.learned.is_none() && e.held >= self.limits.per_datagram {
            return Err(DropReason::FragmentHeldFull);
        }
        e.note(meta)?;
        if first {
            e.learned = Some(Learned { ident: meta.key.ident, id: e.id });
            self.count_waiting(&datagram, -1);
        }
        let Some(e) = self.entries.get(slot as usize) else { return Err(DropReason::FragmentTableFull) };
        match e.learned {
            Some(learned) => Ok(Admitted::Pass(learned, DatagramId(slot))),
            None if self.held_free == NONE => {
                // Its stretch stays noted: the sender's repetition has another identification anyway.
                Err(DropReason::FragmentHeldFull)
            }
            None => Ok(Admitted::Wait(DatagramId(slot))),
        }
    }

    fn count_waiting(&mut self, d: &Datagram, change: i16) {
        if let Some(n) = self.source(d) {
            *n = n.saturating_add_signed(change);
        }
    }

    fn track(&mut self, datagram: Datagram, hash: u64, id: u16, now: Tick) -> Result<u32, DropReason> {
        let total = self.limits.datagrams;
        let share = u16::try_from((total / 16).max(4)).unwrap_or(u16::MAX);
        // Outsiders leave a quarter to the inside, and one source (or 1/256 of all) gets a sixteenth.
        let full = (datagram.side == Side::Outside && self.outside >= total - total / 4)
            || self.source(&datagram).is_some_and(|n| *n >= share);
        let slot = self.free;
        if full || slot == NONE || self.index.insert(hash, slot).is_err() {
            return Err(DropReason::FragmentTableFull);
        }
        let newest = self.newest;
        if let Some(e) = self.entries.get_mut(slot as usize) {
            self.free = e.next;
            *e = Entry { datagram, id, born: now, live: true, prev: newest, ..EMPTY };
        }
        match self.entries.get_mut(newest as usize) {
            Some(n) => n.next = slot,
            None => self.oldest = slot,
        }
        self.newest = slot;
        self.outside += u32::from(datagram.side == Side::Outside);
        self.count_waiting(&datagram, 1);
        Ok(slot)
    }

    /// Keeps a fragment that [`Fragments::admit`] told to wait. Gives it back when there is no room after all.
    pub fn hold(&mut self, id: DatagramId, buf: B, port: PortId) -> Option<B> {
        let slot = self.held_free;
        let Some(place) = self.held.get_mut(slot as usize) else { return Some(buf) };
        let Some(e) = self.entries.get_mut(id.0 as usize) else { return Some(buf) };
        self.held_free = place.next;
        *place = Held { buf: Some((buf, port)), next: NONE };
        let tail = std::mem::replace(&mut e.held_tail, slot);
        e.held += 1;
        if tail == NONE {
            e.held_head = slot;
        } else if let Some(t) = self.held.get_mut(tail as usize) {
            t.next = slot;
        }
        None
    }

    /// The next fragment that was held for a datagram.
    pub fn next_held(&mut self, id: DatagramId) -> Option<(B, PortId)> {
        let e = self.entries.get_mut(id.0 as usize)?;
        let slot = e.held_head;
        let place = self.held.get_mut(slot as usize)?;
        e.held_head = place.next;
        if e.held_head == NONE {
            e.held_tail = NONE;
        }
        e.held = e.held.saturating_sub(1);
        place.next = self.held_free;
        self.held_free = slot;
        place.buf.take()
    }

    /// To be called when a datagram's fragment went on: forgets the datagram if that was the last.
    pub fn finish(&mut self, id: DatagramId) {
        if self.entries.get(id.0 as usize).is_some_and(|e| e.live && e.is_complete()) {
            self.forget(id);
        }
    }

    /// The oldest datagram whose time is over. Take what it holds with [`Fragments::next_held`], then
    /// [`Fragments::forget`] it.
    #[must_use]
    pub fn overdue(&self, now: Tick) -> Option<DatagramId> {
        let e = self.entries.get(self.oldest as usize)?;
        now.reached(e.born.after(self.timeout)).then_some(DatagramId(self.oldest))
    }

    /// The oldest datagram, whatever its age: for the end.
    #[must_use]
    pub fn any(&self) -> Option<DatagramId> {
        (self.oldest != NONE).then_some(DatagramId(self.oldest))
    }

    /// Stops tracking a datagram that holds nothing.
    pub fn forget(&mut self, id: DatagramId) {
        let Some(e) = self.entries.get_mut(id.0 as usize) else { return };
        if !e.live || e.held_head != NONE {
            return;
        }
        let was = *e;
        *e = Entry { next: self.free, ..EMPTY };
        self.free = id.0;
        match self.entries.get_mut(was.prev as usize) {
            Some(p) => p.next = was.next,
            None => self.oldest = was.next,
        }
        match self.entries.get_mut(was.next as usize) {
            Some(n) => n.prev = was.prev,
            None => self.newest = was.prev,
        }
        self.outside -= u32::from(was.datagram.side == Side::Outside);
        if was.learned.is_none() {
            self.count_waiting(&was.datagram, -1);
        }
        self.index.remove(self.hash(&was.datagram), id.0);
    }
}

impl Entry {
    /// Notes a piece's stretch, joining neighbours.
    fn note(&mut self, meta: &Meta) -> Result<(), DropReason> {
        let from = meta.fragment & crate::wire::ipv4::OFFSET;
        let units = u16::try_from(meta.payload_len().div_ceil(8)).unwrap_or(u16::MAX);
        let (mut from, mut to) = (from, from.saturating_add(units));
        let last = !meta.more_fragments();
        let beyond = self.end != 0 && (to > self.end || last);
        let overlaps = |&(a, b): &(u16, u16)| a < to && from < b;
        let cuts_off = last && self.stretches.iter().any(|&(_, b)| b > to);
        if beyond || cuts_off || self.stretches.iter().any(overlaps) {
            return Err(DropReason::FragmentOverlap);
        }
        let end = if last { to } else { self.end };
        for s in &mut self.stretches {
            if s.0 != s.1 && (s.1 == from || s.0 == to) {
                (from, to) = (from.min(s.0), to.max(s.1));
                *s = (0, 0);
            }
        }
        let Some(place) = self.stretches.iter_mut().find(|s| s.0 == s.1) else {
            return Err(DropReason::FragmentHeldFull);
        };
        *place = (from, to);
        self.end = end;
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.end != 0 && self.stretches.contains(&(0, self.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Class;

    fn datagram(src: u8, side: Side) -> Datagram {
        Datagram { src: Ipv4Addr::new(10, 0, 0, src), dst: Ipv4Addr::new(9, 9, 9, 9), id: 7, proto: Proto::UDP, side }
    }

    fn piece(offset: u16, len: u16, more: bool) -> Meta {
        let fragment = (offset / 8) | if more { crate::wire::ipv4::MF } else { 0 };
        let class = if offset == 0 { Class::Udp } else { Class::LaterFragment };
        let mut m = Meta { fragment, total_len: 20 + len, l3: 14, l4: 34, class, ..Meta::NONE };
        m.key.ident = if offset == 0 { 77 } else { 0 };
        m
    }

    fn table(datagrams: u32, held: u32) -> Fragments<u32> {
        Fragments::new(FragmentLimits { datagrams, held, per_datagram: 4 }, 2000, 0)
    }

    #[test]
    fn a_late_first_fragment_releases_those_that_overtook_it_in_order() {
        let mut t = table(8, 8);
        let d = datagram(1, Side::Inside);
        let Ok(Admitted::Wait(id)) = t.admit(d, &piece(1480, 1480, true), 5, Tick(0)) else { panic!() };
        assert!(t.hold(id, 100, PortId(0)).is_none());
        let Ok(Admitted::Wait(id)) = t.admit(d, &piece(2960, 100, false), 6, Tick(0)) else { panic!() };
        assert!(t.hold(id, 101, PortId(0)).is_none());
        let passed = t.admit(d, &piece(0, 1480, true), 7, Tick(1));
        assert_eq!(passed, Ok(Admitted::Pass(Learned { ident: 77, id: 5 }, id)));
        assert_eq!(
            [t.next_held(id), t.next_held(id), t.next_held(id)].map(|h| h.map(|h| h.0)),
            [Some(100), Some(101), None]
        );
        t.finish(id);
        assert!(t.any().is_none(), "a complete datagram is forgotten");
    }

    #[test]
    fn overlaps_and_duplicates_are_dropped() {
        let mut t = table(8, 8);
        let d = datagram(1, Side::Inside);
        t.admit(d, &piece(0, 80, true), 0, Tick(0)).unwrap();
        for overlapping in [piece(0, 80, true), piece(72, 80, true), piece(40, 8, true), piece(8, 8, false)] {
            assert_eq!(t.admit(d, &overlapping, 0, Tick(0)), Err(DropReason::FragmentOverlap));
        }
        assert!(t.admit(d, &piece(80, 80, false), 0, Tick(0)).is_ok());
        assert_eq!(t.admit(d, &piece(160, 8, true), 0, Tick(0)), Err(DropReason::FragmentOverlap), "beyond the end");
    }

    #[test]
    fn a_flood_without_first_fragments_leaves_room_for_the_inside() {
        let mut t = table(64, 16);
        let mut refused = 0;
        for n in 0..10_000u32 {
            let d = Datagram { src: Ipv4Addr::from_bits(n), id: n as u16, ..datagram(1, Side::Outside) };
            match t.admit(d, &piece(1480, 8, true), 0, Tick(0)) {
                Ok(Admitted::Wait(id)) => assert!(t.hold(id, n, PortId(0)).is_none()),
                Ok(other) => panic!("{other:?}"),
                Err(_) => refused += 1,
            }
        }
        assert!(refused >= 10_000 - 64);
        assert!(t.admit(datagram(1, Side::Inside), &piece(0, 1480, true), 0, Tick(0)).is_ok());
        let mut given_up = 0;
        while let Some(id) = t.overdue(Tick(2000)) {
            while t.next_held(id).is_some() {
                given_up += 1;
            }
            t.forget(id);
        }
        assert_eq!(given_up, 16);
        assert!(t.any().is_none());
    }

    #[test]
    fn a_flood_of_first_fragments_that_nothing_follows_leaves_room_for_the_inside_too() {
        let mut t = table(64, 16);
        for n in 0..10_000u32 {
            let d = Datagram { src: Ipv4Addr::from_bits(n), id: n as u16, ..datagram(1, Side::Outside) };
            if let Ok(Admitted::Wait(_)) = t.admit(d, &piece(0, 1480, true), 0, Tick(0)) {
                panic!("a first fragment waits");
            }
        }
        assert!(t.admit(datagram(1, Side::Inside), &piece(0, 1480, true), 0, Tick(0)).is_ok());
        while let Some(id) = t.overdue(Tick(2000)) {
            t.forget(id);
        }
        assert_eq!((t.outside, t.any()), (0, None));
    }

    #[test]
    fn one_source_cannot_take_the_table() {
        let mut t = table(64, 64);
        let tracked = (0..64u16).filter(|&id| {
            t.admit(Datagram { id, ..datagram(1, Side::Inside) }, &piece(1480, 8, true), 0, Tick(0)).is_ok()
        });
        assert_eq!(tracked.count(), 4);
    }
}
