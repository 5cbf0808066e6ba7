//! Fragments on their way in: where a datagram's pieces meet, learn whose they are, and go on [4787 REQ-14].
//!
//! All pieces of a datagram meet at one worker, whatever queue they came by ([`crate::policy::Sharding::of_datagram`]).
//! The first fragment carries the ports; pieces that overtook it are held, within bounds a datagram, a source, a side
//! and the worker, until it comes or the time is over. Nothing is reassembled: each piece is translated by itself.
//! A datagram counts for its source and side until it is whole or its time is over, whichever pieces came; one whose
//! first fragment was refused counts for nobody, and its place is taken when there is no other.
//! A piece that overlaps what passed already is dropped, so no receiver ever sees two versions of a byte.
//! Datagrams from inside get a new identification here, the same for all their pieces [RFC 7857 §10].

use crate::flow::index::{Hasher, Index};
use crate::packet::Meta;
use crate::policy::FragmentLimits;
use crate::types::{Key, PortId, Proto, Side, Tick};
use crate::verdict::DropReason;
use arrayvec::ArrayVec;
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

/// What a key has besides addresses and the protocol on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ident {
    /// [`Key::ident`].
    pub ident: u32,
    /// L2TPv3's control connection rather than its data.
    pub control: bool,
}

impl Ident {
    /// Of a first fragment's key.
    #[must_use]
    pub const fn of(key: &Key) -> Self {
        Self { ident: key.ident, control: key.proto.0 == Proto::L2TP_CONTROL.0 }
    }

    /// The key of a piece that shows addresses and protocol only.
    #[must_use]
    pub const fn key(self, shown: &Key) -> Key {
        let proto = if self.control { Proto::L2TP_CONTROL } else { shown.proto.wire() };
        Key { ident: self.ident, proto, ..*shown }
    }
}

/// What the first fragment taught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// Of its key.
    pub of: Ident,
    /// New identification, for datagrams from inside.
    pub id: u16,
}

impl Learned {
    /// The key of a piece that shows addresses and protocol only.
    #[must_use]
    pub const fn key(&self, shown: &Key) -> Key {
        self.of.key(shown)
    }
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

/// Separate stretches of a datagram that have come, 4 bytes each. In any order at all, `n` pieces make at most half as
/// many: the largest datagram in pieces of 1480 bytes has 45 and makes 23. 40 suffice down to pieces of 830 bytes, and
/// for smaller ones unless their order is contrived. A piece that would make one more is dropped.
const STRETCHES: usize = 40;
/// Buckets that count by source.
const SOURCES: usize = 256;
const NONE: u32 = u32::MAX;

struct Entry {
    datagram: Datagram,
    learned: Option<Learned>,
    /// The new identification, fixed at birth.
    id: u16,
    /// Passed or held: from..to in units of 8 bytes, in order, with gaps between them.
    stretches: ArrayVec<(u16, u16), STRETCHES>,
    /// Where the datagram ends, units of 8 bytes rounded up; 0 while unknown.
    end: u16,
    born: Tick,
    /// Held pieces, oldest first.
    held_head: u32,
    held_tail: u32,
    held: u16,
    live: bool,
    /// Its first piece was dropped.
    refused: bool,
    /// In a queue by age, or in the free list.
    next: u32,
    prev: u32,
}

struct Held<B> {
    buf: Option<(B, PortId)>,
    next: u32,
}

/// Datagrams by age.
struct Queue {
    oldest: u32,
    newest: u32,
}

/// Who has how much of a bounded thing: outsiders leave a quarter to the inside, and a source has a bound of its own
/// (which it shares with 1/256 of its side).
struct Shares {
    outside: u32,
    most_outside: u32,
    by_source: Box<[[u16; SOURCES]; 2]>,
    most_by_source: u16,
}

impl Shares {
    fn new(total: u32, most_by_source: u32) -> Self {
        Self {
            outside: 0,
            most_outside: total - total / 4,
            by_source: Box::new([[0; SOURCES]; 2]),
            most_by_source: u16::try_from(most_by_source).unwrap_or(u16::MAX),
        }
    }

    fn has_room(&self, side: Side, bucket: u8) -> bool {
        let [inside, outside] = self.by_source.as_ref();
        let (of_side, room) = match side {
            Side::Inside => (inside, true),
            Side::Outside => (outside, self.outside < self.most_outside),
        };
        room && of_side.get(usize::from(bucket)).is_some_and(|n| *n < self.most_by_source)
    }

    fn count(&mut self, side: Side, bucket: u8, change: i16) {
        let [inside, outside] = self.by_source.as_mut();
        let of_side = match side {
            Side::Inside => inside,
            Side::Outside => {
                self.outside = self.outside.saturating_add_signed(i32::from(change));
                outside
            }
        };
        if let Some(n) = of_side.get_mut(usize::from(bucket)) {
            *n = n.saturating_add_signed(change);
        }
    }
}

/// See the module.
pub struct Fragments<B> {
    limits: FragmentLimits,
    timeout: u32,
    hasher: Hasher,
    index: Index,
    entries: Box<[Entry]>,
    free: u32,
    tracked: Queue,
    /// Those whose first fragment was dropped: kept so that the others are judged like it, for as long as nobody else
    /// wants the place.
    refused: Queue,
    /// Of the entries, but for the refused ones.
    shares: Shares,
    held: Box<[Held<B>]>,
    held_free: u32,
    /// Of the held fragments.
    held_shares: Shares,
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
    stretches: ArrayVec::new_const(),
    end: 0,
    born: Tick(0),
    held_head: NONE,
    held_tail: NONE,
    held: 0,
    live: false,
    refused: false,
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
            tracked: Queue { oldest: NONE, newest: NONE },
            refused: Queue { oldest: NONE, newest: NONE },
            shares: Shares::new(n, (n / 16).max(4)),
            held: (0..h).map(|i| Held { buf: None, next: chain(i, h) }).collect(),
            held_free: 0,
            held_shares: Shares::new(h, (h / 16).max(u32::from(limits.per_datagram))),
        }
    }

    /// Bytes that [`Fragments::new`] takes.
    #[must_use]
    pub const fn memory(limits: &FragmentLimits) -> usize {
        limits.datagrams as usize * size_of::<Entry>()
            + Index::memory(limits.datagrams as usize)
            + limits.held as usize * size_of::<Held<B>>()
            + 2 * size_of::<[[u16; SOURCES]; 2]>()
    }

    fn hash(&self, d: &Datagram) -> u64 {
        let addrs = u64::from(d.src.to_bits()) << 32 | u64::from(d.dst.to_bits());
        self.hasher.pair(addrs, u64::from(d.id) << 16 | u64::from(d.proto.0) << 1 | u64::from(d.side == Side::Inside))
    }

    #[allow(clippy::cast_possible_truncation, reason = "one byte is meant")]
    const fn bucket(&self, d: &Datagram) -> u8 {
        self.hasher.addr(d.src) as u8
    }

    /// Judges a fragment. `id` is the new identification should the datagram be new.
    ///
    /// # Errors
    /// Why to drop it.
    pub fn admit(&mut self, datagram: Datagram, meta: &Meta, id: u16, now: Tick) -> Result<Admitted, DropReason> {
        let hash = self.hash(&datagram);
        let fits = |e: &Entry| e.live && e.datagram == datagram;
        let known = self.index.find(hash, |s| self.entries.get(s as usize).is_some_and(fits));
        let first = meta.fragment_offset() == 0;
        let entry = known.and_then(|s| self.entries.get(s as usize));
        let waits = !first && entry.is_none_or(|e| e.learned.is_none());
        // Before it is noted: what is dropped here may come again.
        if waits && !self.may_hold(&datagram, entry.map_or(0, |e| e.held)) {
            return Err(DropReason::FragmentHeldFull);
        }
        let slot = match known {
            Some(slot) => slot,
            None => self.track(datagram, hash, id, now)?,
        };
        let Some(e) = self.entries.get_mut(slot as usize) else { return Err(DropReason::FragmentTableFull) };
        e.note(meta)?;
        if first {
            e.learned = Some(Learned { of: Ident::of(&meta.key), id: e.id });
        }
        Ok(e.learned.map_or(Admitted::Wait(DatagramId(slot)), |learned| Admitted::Pass(learned, DatagramId(slot))))
    }

    /// Whether one more piece may be held for a datagram that holds so many.
    fn may_hold(&self, d: &Datagram, held: u16) -> bool {
        self.held_free != NONE && held < self.limits.per_datagram && self.held_shares.has_room(d.side, self.bucket(d))
    }

    fn track(&mut self, datagram: Datagram, hash: u64, id: u16, now: Tick) -> Result<u32, DropReason> {
        let (side, bucket) = (datagram.side, self.bucket(&datagram));
        if !self.shares.has_room(side, bucket) {
            return Err(DropReason::FragmentTableFull);
        }
        if self.free == NONE && self.refused.oldest != NONE {
            self.forget(DatagramId(self.refused.oldest));
        }
        let slot = self.free;
        if slot == NONE || self.index.insert(hash, slot).is_err() {
            return Err(DropReason::FragmentTableFull);
        }
        if let Some(e) = self.entries.get_mut(slot as usize) {
            self.free = e.next;
            *e = Entry { datagram, id, born: now, live: true, ..EMPTY };
        }
        self.enqueue(slot, false);
        self.shares.count(side, bucket, 1);
        Ok(slot)
    }

    const fn queue(&mut self, refused: bool) -> &mut Queue {
        if refused { &mut self.refused } else { &mut self.tracked }
    }

    fn enqueue(&mut self, slot: u32, refused: bool) {
        let queue = self.queue(refused);
        let newest = std::mem::replace(&mut queue.newest, slot);
        if newest == NONE {
            queue.oldest = slot;
        }
        if let Some(n) = self.entries.get_mut(newest as usize) {
            n.next = slot;
        }
        if let Some(e) = self.entries.get_mut(slot as usize) {
            (e.refused, e.prev, e.next) = (refused, newest, NONE);
        }
    }

    fn unqueue(&mut self, slot: u32) {
        let Some(&Entry { refused, prev, next, .. }) = self.entries.get(slot as usize) else { return };
        match self.entries.get_mut(prev as usize) {
            Some(p) => p.next = next,
            None => self.queue(refused).oldest = next,
        }
        match self.entries.get_mut(next as usize) {
            Some(n) => n.prev = prev,
            None => self.queue(refused).newest = prev,
        }
    }

    /// Keeps a fragment that [`Fragments::admit`] told to wait. Gives it back when there is no room after all.
    pub fn hold(&mut self, id: DatagramId, buf: B, port: PortId) -> Option<B> {
        let slot = self.held_free;
        let Some(place) = self.held.get_mut(slot as usize) else { return Some(buf) };
        let Some(e) = self.entries.get_mut(id.0 as usize) else { return Some(buf) };
        self.held_free = place.next;
        *place = Held { buf: Some((buf, port)), next: NONE };
        let tail = std::mem::replace(&mut e.held_tail, slot);
        e.held = e.held.saturating_add(1);
        let datagram = e.datagram;
        if tail == NONE {
            e.held_head = slot;
        } else if let Some(t) = self.held.get_mut(tail as usize) {
            t.next = slot;
        }
        self.held_shares.count(datagram.side, self.bucket(&datagram), 1);
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
        let datagram = e.datagram;
        place.next = self.held_free;
        self.held_free = slot;
        let taken = place.buf.take();
        self.held_shares.count(datagram.side, self.bucket(&datagram), -1);
        taken
    }

    /// To be called when a datagram's first fragment was dropped, and nothing is held for it any more.
    pub fn refuse(&mut self, id: DatagramId) {
        let Some(e) = self.entries.get(id.0 as usize) else { return };
        if !e.live || e.refused || e.held_head != NONE {
            return;
        }
        let datagram = e.datagram;
        self.unqueue(id.0);
        self.enqueue(id.0, true);
        self.shares.count(datagram.side, self.bucket(&datagram), -1);
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
        [self.tracked.oldest, self.refused.oldest].into_iter().find_map(|slot| {
            let e = self.entries.get(slot as usize)?;
            now.reached(e.born.after(self.timeout)).then_some(DatagramId(slot))
        })
    }

    /// Some datagram, whatever its age: for the end.
    #[must_use]
    pub fn any(&self) -> Option<DatagramId> {
        [self.tracked.oldest, self.refused.oldest].into_iter().find(|&slot| slot != NONE).map(DatagramId)
    }

    /// Stops tracking a datagram that holds nothing.
    pub fn forget(&mut self, id: DatagramId) {
        let Some(e) = self.entries.get(id.0 as usize) else { return };
        if !e.live || e.held_head != NONE {
            return;
        }
        let (datagram, refused) = (e.datagram, e.refused);
        self.unqueue(id.0);
        if let Some(e) = self.entries.get_mut(id.0 as usize) {
            *e = Entry { next: self.free, ..EMPTY };
            self.free = id.0;
        }
        if !refused {
            self.shares.count(datagram.side, self.bucket(&datagram), -1);
        }
        self.index.remove(self.hash(&datagram), id.0);
    }
}

impl Entry {
    /// Notes a piece's stretch, joining neighbours.
    fn note(&mut self, meta: &Meta) -> Result<(), DropReason> {
        let from = meta.fragment & crate::wire::ipv4::OFFSET;
        let units = u16::try_from(meta.payload_len().div_ceil(8)).unwrap_or(u16::MAX);
        let to = from.saturating_add(units);
        let last = !meta.more_fragments();
        let beyond = self.end != 0 && (to > self.end || last);
        let cuts_off = last && self.stretches.last().is_some_and(|s| s.1 > to);
        // Where it belongs: behind those that end before it, or where it begins.
        let at = self.stretches.partition_point(|s| s.1 <= from);
        let overlaps = self.stretches.get(at).is_some_and(|s| s.0 < to);
        if beyond || cuts_off || overlaps {
            return Err(DropReason::FragmentOverlap);
        }
        let continues = at.checked_sub(1).filter(|&i| self.stretches.get(i).is_some_and(|s| s.1 == from));
        let precedes = self.stretches.get(at).copied().filter(|s| s.0 == to);
        match (continues, precedes) {
            (Some(before), after) => {
                if let Some(s) = self.stretches.get_mut(before) {
                    s.1 = after.map_or(to, |s| s.1);
                }
                if after.is_some() {
                    self.stretches.pop_at(at);
                }
            }
            (None, Some(_)) => {
                if let Some(s) = self.stretches.get_mut(at) {
                    s.0 = from;
                }
            }
            (None, None) => {
                self.stretches.try_insert(at, (from, to)).map_err(|_| DropReason::FragmentHeldFull)?;
            }
        }
        if last {
            self.end = to;
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.end != 0 && self.stretches.first() == Some(&(0, self.end))
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
        assert_eq!(passed, Ok(Admitted::Pass(Learned { of: Ident { ident: 77, control: false }, id: 5 }, id)));
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
        assert_eq!(given_up, 12, "a quarter of the held places is not for outsiders");
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
        assert_eq!((t.shares.outside, t.any()), (0, None));
    }

    #[test]
    fn one_source_cannot_take_the_table() {
        let mut t = table(64, 64);
        let tracked = (0..64u16).filter(|&id| {
            t.admit(Datagram { id, ..datagram(1, Side::Inside) }, &piece(1480, 8, true), 0, Tick(0)).is_ok()
        });
        assert_eq!(tracked.count(), 4);
    }

    #[test]
    fn one_source_cannot_take_the_table_by_first_fragments_either() {
        let mut t = table(64, 64);
        let mut first = |id| {
            t.admit(Datagram { id, ..datagram(1, Side::Outside) }, &piece(0, 1480, true), 0, Tick(0)).map(|a| match a {
                Admitted::Pass(_, id) => id,
                Admitted::Wait(_) => panic!("a first fragment waits"),
            })
        };
        let tracked: Vec<_> = (0..64u16).filter_map(|id| first(id).ok()).collect();
        assert_eq!(tracked.len(), 4);
        // The other side's sources are counted apart, even the same address.
        assert!(t.admit(datagram(1, Side::Inside), &piece(0, 1480, true), 0, Tick(0)).is_ok());
        t.forget(tracked[0]);
        assert!(t.admit(Datagram { id: 99, ..datagram(1, Side::Outside) }, &piece(0, 80, true), 0, Tick(0)).is_ok());
    }

    #[test]
    fn a_refused_datagram_is_remembered_until_its_place_is_wanted() {
        let mut t = table(4, 4);
        let refuse = |t: &mut Fragments<u32>, id| {
            let Ok(Admitted::Pass(_, n)) =
                t.admit(Datagram { id, ..datagram(1, Side::Outside) }, &piece(0, 80, true), 0, Tick(0))
            else {
                panic!()
            };
            t.refuse(n);
            t.refuse(n);
        };
        for id in 0..4 {
            refuse(&mut t, id);
        }
        assert_eq!((t.shares.outside, t.free), (0, NONE));
        let later = |t: &mut Fragments<u32>, id| {
            t.admit(Datagram { id, ..datagram(1, Side::Outside) }, &piece(80, 80, true), 0, Tick(0))
        };
        assert!(matches!(later(&mut t, 0), Ok(Admitted::Pass(..))), "its other pieces are judged like the first");
        refuse(&mut t, 9);
        assert!(matches!(later(&mut t, 1), Ok(Admitted::Pass(..))), "only the oldest made room");
        assert!(matches!(later(&mut t, 0), Ok(Admitted::Wait(_))), "forgotten");
        let mut left = 0;
        while let Some(id) = t.overdue(Tick(2000)) {
            t.forget(id);
            left += 1;
        }
        assert_eq!((left, t.any(), t.shares.outside), (4, None, 0));
        assert!(t.shares.by_source.iter().flatten().all(|n| *n == 0));
    }

    #[test]
    fn held_places_are_shared_by_side_and_source() {
        let mut t = table(4096, 64);
        let hold = |t: &mut Fragments<u32>, src: u8, side, id| match t.admit(
            Datagram { id, ..datagram(src, side) },
            &piece(80, 80, true),
            0,
            Tick(0),
        ) {
            Ok(Admitted::Wait(n)) => t.hold(n, 0, PortId(0)).is_none(),
            Err(DropReason::FragmentHeldFull) => false,
            other => panic!("{other:?}"),
        };
        let held = |t: &mut Fragments<u32>, src, side| (0..64).filter(|&id| hold(t, src, side, id)).count();
        assert_eq!(held(&mut t, 1, Side::Outside), 4);
        assert_eq!(held(&mut t, 1, Side::Inside), 4);
        let outside: usize = (2..250).map(|src| held(&mut t, src, Side::Outside)).sum();
        assert_eq!(4 + outside, 48);
        let inside: usize = (2..250).map(|src| held(&mut t, src, Side::Inside)).sum();
        assert_eq!(4 + inside, 16);
        while let Some(id) = t.any() {
            while t.next_held(id).is_some() {}
            t.forget(id);
        }
        assert_eq!(t.held_shares.outside, 0);
        assert!(t.held_shares.by_source.iter().flatten().all(|n| *n == 0));
        assert_eq!(held(&mut t, 1, Side::Outside), 4);
    }

    /// 45 pieces in many orders: each is taken, a repetition of each is refused, and the last one makes it whole.
    #[test]
    fn the_largest_datagram_may_come_in_any_order() {
        let mut dice = 1u64;
        for round in 0..200 {
            let mut order: Vec<u16> = (0..45).collect();
            match round {
                0 => order.sort_by_key(|n| (n % 2, *n)),
                1 => order.sort_by_key(|n| (1 - n % 2, *n)),
                2 => order.reverse(),
                _ => order.sort_by_cached_key(|_| {
                    dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    dice >> 33
                }),
            }
            let mut e = EMPTY;
            for (n, &i) in order.iter().enumerate() {
                let piece = piece(i * 1480, if i == 44 { 100 } else { 1480 }, i != 44);
                assert!(!e.is_complete());
                assert_eq!(e.note(&piece), Ok(()), "piece {i}, number {n} of {order:?}");
                assert_eq!(e.note(&piece), Err(DropReason::FragmentOverlap));
            }
            assert!(e.is_complete());
        }
    }

    #[test]
    fn stretches_are_bounded() {
        let mut e = EMPTY;
        for i in 0..STRETCHES as u16 {
            assert_eq!(e.note(&piece(i * 16, 8, true)), Ok(()));
        }
        assert_eq!(e.note(&piece(60_000, 8, true)), Err(DropReason::FragmentHeldFull));
        assert_eq!(e.note(&piece(8, 8, true)), Ok(()), "what closes a gap needs no room");
        assert_eq!(e.note(&piece(60_000, 8, true)), Ok(()));
    }
}
