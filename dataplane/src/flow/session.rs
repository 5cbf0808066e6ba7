//! Sessions: one remote endpoint using one mapping, both directions in one cache line.
//!
//! A session is found by the key of its packets in either direction, and holds all that the fast path needs: new
//! addresses and ports (they are the other direction's key), the checksum change, and both next hops.
//!
//! ```text
//! out: inside → remote, ident_out      becomes  outside → remote, ident_in reversed
//! in:  remote → outside, ident_in      becomes  remote → inside, ident_out reversed
//! ```
//!
//! `ident` is 32 bits and each direction has its own, so tunnels (SPI, Call ID, session ID) fit the same shape and
//! table. The two directions of a tunnel have unrelated identifiers and are learned apart, so a tunnel is made of
//! *legs*: sessions with one direction only. `ident` of the leg's direction is what its packets arrive with, the other
//! one what they leave with; a leg is found by either ([`Sessions::find`], [`Sessions::find_left`] for ICMP errors, which
//! quote what left). It counts its traffic where a TCP connection keeps its numbers.
//!
//! ```text
//! leg out: inside → remote, ident_out   becomes   outside → remote, ident_in
//! leg in:  remote → outside, ident_in   becomes   remote → inside, ident_out
//! ```
//!
//! 64 bytes a session, plus about 13 in the index.

use super::index::{Full, Hasher, Index};
use super::tcp;
use super::wheel::{Link, Linked, Wheel};
use crate::link::neighbour::HopId;
use crate::types::{Direction, Endpoint, Inside, Key, Outside, PortId, Proto, Tick};
use crate::wire::checksum::Delta;
use std::net::Ipv4Addr;

/// Number of a session in its worker's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub u32);

impl SessionId {
    /// No session.
    pub const NONE: Self = Self(u32::MAX);

    /// Whether it is none.
    #[inline]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == Self::NONE.0
    }
}

/// Bits of [`Session::flags`].
pub mod flags {
    /// Opened from outside; only what the inside sends makes it hold its mapping.
    pub const FROM_OUTSIDE: u8 = 1;
    /// Of a leg: nobody waited for it when it came, so a forger may have sent it.
    pub const UNASKED: u8 = FROM_OUTSIDE;
    /// Counts as a holder of its mapping: the inside has sent.
    pub const HOLDS_MAPPING: u8 = 2;
    /// By a forward or a one-to-one mapping: [`super::Session::owner`] is the subscriber's number.
    pub const STATIC: u8 = 4;
    /// The remote end is one of our own outside addresses.
    pub const HAIRPIN: u8 = 8;
    /// A TCP connection that a stranger began while the subscriber had many sessions: its handshake must end soon.
    pub const HURRIED: u8 = 16;
    /// Of a leg: another worker has its tunnel and lent it ([`crate::passthrough::loan`]); [`super::Session::owner`] is
    /// the loan's row.
    pub const BORROWED: u8 = HURRIED;
    /// A leg outward: it answers to packets from the inside only.
    pub const ONLY_OUT: u8 = 32;
    /// A leg inward: it answers to packets from outside only.
    pub const ONLY_IN: u8 = 64;
    /// TCP or UDP of a VPN: its packets are shown to [`crate::passthrough`].
    pub const FOLLOWED: u8 = 128;
}

/// The flag of a session that does not answer in a direction.
const fn mute(direction: Direction) -> u8 {
    match direction {
        Direction::Out => flags::ONLY_IN,
        Direction::In => flags::ONLY_OUT,
    }
}

/// See the module. Laid out for one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Session {
    /// The inside host.
    pub inside: Ipv4Addr,
    /// Our address towards the remote end.
    pub outside: Ipv4Addr,
    /// The remote end.
    pub remote: Ipv4Addr,
    /// `ident` of packets from the inside, as they arrive: ports (inside, remote).
    pub ident_out: u32,
    /// `ident` of packets from outside, as they arrive: ports (remote, outside).
    pub ident_in: u32,
    /// When it was used last in a way that counts for its time-out.
    pub last_used: Tick,
    link: Link,
    /// The mapping's number, or the subscriber's where [`flags::STATIC`] is set, or the tunnel's ([`Session::is_tunnels`]).
    pub owner: u32,
    /// Where packets to the inside host go.
    pub hop_in: HopId,
    /// Where packets to the remote end go.
    pub hop_out: HopId,
    /// TCP numbers ([`Session::track`]), or a leg's traffic ([`Session::traffic`]).
    notes: [u32; 3],
    /// Checksum change of the IP header, outward.
    pub l3_delta: Delta,
    /// Checksum change of the transport header, outward, pseudo-header included.
    pub l4_delta: Delta,
    /// Protocol; 0 in a free entry.
    pub proto: Proto,
    /// TCP state; [`tcp::State::Established`] for others once both sides have sent.
    pub state: tcp::State,
    /// See [`flags`].
    pub flags: u8,
    /// The inside port that the inside host is behind.
    pub inside_port: PortId,
}

const _: () = assert!(size_of::<Session>() == 64);

impl Linked for Session {
    fn link(&mut self) -> &mut Link {
        &mut self.link
    }
}

/// What a new session is made of.
#[derive(Clone, Copy, Debug)]
pub struct NewSession {
    /// Protocol.
    pub proto: Proto,
    /// Inside endpoint.
    pub inside: Inside<Endpoint>,
    /// Its translation.
    pub outside: Outside<Endpoint>,
    /// Remote endpoint.
    pub remote: Endpoint,
    /// See [`Session::owner`].
    pub owner: u32,
    /// See [`flags`].
    pub flags: u8,
    /// See [`Session::inside_port`].
    pub inside_port: PortId,
}

impl Session {
    const FREE: Self = Self {
        inside: Ipv4Addr::UNSPECIFIED,
        outside: Ipv4Addr::UNSPECIFIED,
        remote: Ipv4Addr::UNSPECIFIED,
        ident_out: 0,
        ident_in: 0,
        last_used: Tick(0),
        link: Link::DETACHED,
        owner: 0,
        hop_in: HopId::NONE,
        hop_out: HopId::NONE,
        notes: [0; 3],
        l3_delta: Delta::NONE,
        l4_delta: Delta::NONE,
        proto: Proto(0),
        state: tcp::State::Opening,
        flags: 0,
        inside_port: PortId(0),
    };

    fn new(n: &NewSession, now: Tick) -> Self {
        let (Inside(inside), Outside(outside)) = (n.inside, n.outside);
        let l3_delta = Delta::dword(inside.addr.to_bits(), outside.addr.to_bits());
        let ports = Delta::word(inside.port, outside.port);
        // ICMP's checksum covers no addresses.
        let l4_delta = if n.proto == Proto::ICMP { ports } else { l3_delta.and(ports) };
        Self {
            inside: inside.addr,
            outside: outside.addr,
            remote: n.remote.addr,
            ident_out: Key::ports(inside.port, n.remote.port),
            ident_in: Key::ports(n.remote.port, outside.port),
            last_used: now,
            owner: n.owner,
            l3_delta,
            l4_delta,
            proto: n.proto,
            flags: n.flags,
            inside_port: n.inside_port,
            ..Self::FREE
        }
    }

    fn leg(n: &NewLeg, now: Tick) -> Self {
        let (flag, ident_out, ident_in) = match n.direction {
            Direction::Out => (flags::ONLY_OUT, n.arrives, n.leaves),
            Direction::In => (flags::ONLY_IN, n.leaves, n.arrives),
        };
        let l3_delta = Delta::dword(n.inside.to_bits(), n.outside.to_bits());
        Self {
            inside: n.inside,
            outside: n.outside,
            remote: n.remote,
            ident_out,
            ident_in,
            last_used: now,
            owner: n.tunnel,
            l3_delta,
            // Of what has legs, only UDP covers the addresses; its ports stay.
            l4_delta: if n.proto == Proto::UDP { l3_delta } else { Delta::NONE },
            proto: n.proto,
            flags: flag | flags::HOLDS_MAPPING | n.flags,
            inside_port: n.inside_port,
            ..Self::FREE
        }
    }

    /// Whether it belongs to a tunnel's record rather than to a mapping or a subscriber.
    #[inline]
    #[must_use]
    pub const fn is_tunnels(&self) -> bool {
        self.flags & (flags::ONLY_OUT | flags::ONLY_IN) != 0
            || !matches!(self.proto, Proto::TCP | Proto::UDP | Proto::ICMP)
    }

    /// The direction of a leg.
    #[must_use]
    pub const fn leg_direction(&self) -> Option<Direction> {
        match self.flags & (flags::ONLY_OUT | flags::ONLY_IN) {
            flags::ONLY_OUT => Some(Direction::Out),
            flags::ONLY_IN => Some(Direction::In),
            _ => None,
        }
    }

    /// The key that a leg is found by.
    #[must_use]
    pub const fn key_of_leg(&self) -> Option<Key> {
        match self.leg_direction() {
            Some(direction) => Some(self.key(direction)),
            None => None,
        }
    }

    /// TCP numbers.
    #[inline]
    #[must_use]
    pub const fn track(&self) -> tcp::Track {
        let [acked_by_inside, acked_by_outside, windows] = self.notes;
        let [window_of_inside, window_of_outside, _, _] = windows.to_le_bytes();
        tcp::Track { acked_by_inside, acked_by_outside, window_of_inside, window_of_outside }
    }

    /// Sets TCP numbers.
    #[inline]
    pub const fn set_track(&mut self, t: tcp::Track) {
        let windows = u32::from_le_bytes([t.window_of_inside, t.window_of_outside, 0, 0]);
        self.notes = [t.acked_by_inside, t.acked_by_outside, windows];
    }

    /// Counts a packet of a leg, with its IP length.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "a 96-bit number is cut into its words")]
    pub const fn count(&mut self, bytes: u16) {
        let [packets, low, high] = self.notes;
        // 40 bits of packets, 56 of bytes: more than any link carries between two looks of the timer wheel.
        let packets = (packets as u64 | (high as u64 & 0xff) << 32).wrapping_add(1);
        let bytes = (low as u64 | (high as u64 >> 8) << 32).wrapping_add(bytes as u64);
        self.notes = [packets as u32, bytes as u32, (packets >> 32) as u32 & 0xff | ((bytes >> 32) as u32) << 8];
    }

    /// Packets and bytes that a leg counted.
    #[must_use]
    pub const fn traffic(&self) -> (u64, u64) {
        let [packets, low, high] = self.notes;
        (packets as u64 | (high as u64 & 0xff) << 32, low as u64 | (high as u64 >> 8) << 32)
    }

    /// The same, and counts anew.
    pub const fn take_traffic(&mut self) -> (u64, u64) {
        let t = self.traffic();
        self.notes = [0; 3];
        t
    }

    /// The key of packets in a direction as they leave.
    #[must_use]
    pub const fn left(&self, direction: Direction) -> Key {
        let is_leg = self.flags & (flags::ONLY_OUT | flags::ONLY_IN) != 0;
        match direction {
            Direction::Out if is_leg => {
                Key { src: self.outside, dst: self.remote, ident: self.ident_in, proto: self.proto }
            }
            Direction::In if is_leg => {
                Key { src: self.remote, dst: self.inside, ident: self.ident_out, proto: self.proto }
            }
            Direction::Out => self.key(Direction::In).reversed(),
            Direction::In => self.key(Direction::Out).reversed(),
        }
    }

    /// The key of packets in a direction, as they arrive.
    #[inline]
    #[must_use]
    pub const fn key(&self, direction: Direction) -> Key {
        match direction {
            Direction::Out => Key { src: self.inside, dst: self.remote, ident: self.ident_out, proto: self.proto },
            Direction::In => Key { src: self.remote, dst: self.outside, ident: self.ident_in, proto: self.proto },
        }
    }

    /// The inside endpoint.
    #[inline]
    #[must_use]
    pub const fn inside(&self) -> Inside<Endpoint> {
        Inside(self.key(Direction::Out).from())
    }

    /// The outside endpoint.
    #[inline]
    #[must_use]
    pub const fn outside(&self) -> Outside<Endpoint> {
        Outside(self.key(Direction::In).to())
    }

    /// The remote endpoint.
    #[inline]
    #[must_use]
    pub const fn remote(&self) -> Endpoint {
        self.key(Direction::Out).to()
    }

    /// Who opened it.
    #[inline]
    #[must_use]
    pub const fn opener(&self) -> Direction {
        if self.flags & flags::FROM_OUTSIDE != 0 { Direction::In } else { Direction::Out }
    }

    /// Whether a flag is set.
    #[inline]
    #[must_use]
    pub const fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// What a new leg is made of.
#[derive(Clone, Copy, Debug)]
pub struct NewLeg {
    /// Protocol, as in its [`Key`].
    pub proto: Proto,
    /// Which way its packets go.
    pub direction: Direction,
    /// Inside host.
    pub inside: Ipv4Addr,
    /// Our address towards the remote end.
    pub outside: Ipv4Addr,
    /// The remote end.
    pub remote: Ipv4Addr,
    /// `ident` of its packets as they arrive.
    pub arrives: u32,
    /// And as they leave.
    pub leaves: u32,
    /// The tunnel's number; a borrowed leg's row.
    pub tunnel: u32,
    /// [`flags::HAIRPIN`], [`flags::FOLLOWED`], [`flags::BORROWED`], or nothing.
    pub flags: u8,
    /// See [`Session::inside_port`].
    pub inside_port: PortId,
}

/// All sessions of one worker.
pub struct Sessions {
    slab: Box<[Session]>,
    index: Index,
    wheel: Wheel,
    hasher: Hasher,
    /// Slots from here on were never used.
    fresh: u32,
    /// Freed slots, linked by `owner`.
    free: u32,
    len: usize,
    /// Filtering by remote address needs a third entry a session.
    by_address: bool,
}

impl Sessions {
    /// A table for `capacity` sessions. With `by_address`, [`Sessions::knows_address`] can be asked.
    #[must_use]
    pub fn new(capacity: usize, seed: u64, now: Tick, by_address: bool) -> Self {
        Self {
            slab: crate::table::table(Session::FREE, capacity),
            index: Index::new(capacity * Self::entries(by_address)),
            wheel: Wheel::new(now),
            hasher: Hasher::new(seed),
            fresh: 0,
            free: u32::MAX,
            len: 0,
            by_address,
        }
    }

    const fn entries(by_address: bool) -> usize {
        if by_address { 3 } else { 2 }
    }

    /// Bytes that [`Sessions::new`] takes.
    #[must_use]
    pub const fn memory(capacity: usize, by_address: bool) -> usize {
        capacity * size_of::<Session>() + Index::memory(capacity * Self::entries(by_address))
    }

    /// Sessions alive.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none is alive.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number from which on none was ever used.
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.fresh
    }

    /// The hash to look a key up with.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &Key) -> u64 {
        self.hasher.key(key)
    }

    /// First step of a batched look-up: fetch the bucket.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// Second step: guess the session and fetch it.
    #[inline]
    #[must_use]
    pub fn prefetch_session(&self, hash: u64) -> SessionId {
        let slot = self.index.candidate(hash);
        crate::prefetch::read(self.slab.get(slot as usize));
        SessionId(slot)
    }

    /// Third step: the guessed session, if its key fits.
    #[inline]
    pub fn confirm(&mut self, guess: SessionId, key: &Key, direction: Direction) -> Option<&mut Session> {
        self.slab.get_mut(guess.0 as usize).filter(|s| s.flags & mute(direction) == 0 && s.key(direction) == *key)
    }

    /// Looks a key up at once.
    #[inline]
    #[must_use]
    pub fn find(&self, key: &Key, direction: Direction) -> Option<SessionId> {
        let fits = |s: &Session| s.flags & mute(direction) == 0 && s.key(direction) == *key;
        self.index.find(self.hasher.key(key), |slot| self.slab.get(slot as usize).is_some_and(fits)).map(SessionId)
    }

    /// The leg whose packets leave with this key; `None` where several do, as nothing tells them apart.
    #[must_use]
    pub fn find_left(&self, key: &Key, direction: Direction) -> Option<SessionId> {
        let fits = |s: &Session| s.leg_direction() == Some(direction) && s.left(direction) == *key;
        let mut found = None;
        let second = self.index.find(self.hasher.key(key), |slot| {
            // Both of a leg's own entries fit where their hashes look alike: that is no second leg.
            let id = SessionId(slot);
            self.slab.get(slot as usize).is_some_and(fits) && found.replace(id).is_some_and(|first| first != id)
        });
        if second.is_some() { None } else { found }
    }

    /// A session by number.
    #[inline]
    #[must_use]
    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.slab.get(id.0 as usize).filter(|s| s.proto != Proto(0))
    }

    /// A session by number.
    #[inline]
    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.slab.get_mut(id.0 as usize).filter(|s| s.proto != Proto(0))
    }

    /// Live sessions with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        (0u32..).map(SessionId).zip(self.slab.iter().take(self.fresh as usize)).filter(|(_, s)| s.proto != Proto(0))
    }

    /// Opens a session; its keys must be new. It is looked at again `timeout` ms from now.
    ///
    /// # Errors
    /// [`Full`]; nothing has changed.
    pub fn open(&mut self, new: &NewSession, now: Tick, timeout: u32) -> Result<SessionId, Full> {
        let id = self.place(Session::new(new, now), now.after(timeout))?;
        if let Some(&s) = self.get(id) {
            self.index_address(&s, id.0);
        }
        Ok(id)
    }

    /// Opens a leg; the key that its packets arrive with must be new.
    ///
    /// # Errors
    /// [`Full`]; nothing has changed.
    pub fn open_leg(&mut self, new: &NewLeg, now: Tick, timeout: u32) -> Result<SessionId, Full> {
        self.place(Session::leg(new, now), now.after(timeout))
    }

    fn place(&mut self, session: Session, due: Tick) -> Result<SessionId, Full> {
        let slot = if self.free != u32::MAX { self.free } else { self.fresh };
        let Some(place) = self.slab.get_mut(slot as usize) else { return Err(Full) };
        let next_free = place.owner;
        let hashes = self.hashes(&session);
        let [out, back] = hashes;
        self.index.insert(out, slot)?;
        if self.index.insert(back, slot).is_err() {
            self.index.remove(out, slot);
            return Err(Full);
        }
        if self.free == u32::MAX {
            self.fresh += 1;
        } else {
            self.free = next_free;
        }
        if let Some(place) = self.slab.get_mut(slot as usize) {
            *place = session;
        }
        self.len += 1;
        self.wheel.insert(&mut self.slab, slot, due);
        Ok(SessionId(slot))
    }

    /// Ends a session and returns what it was.
    pub fn close(&mut self, id: SessionId) -> Option<Session> {
        let session = *self.get(id)?;
        self.wheel.remove(&mut self.slab, id.0);
        for hash in self.hashes(&session) {
            self.index.remove(hash, id.0);
        }
        if self.by_address && !session.is_tunnels() {
            self.index.remove(self.address_hash(session.proto, session.outside(), session.remote), id.0);
        }
        if let Some(place) = self.slab.get_mut(id.0 as usize) {
            *place = Session { owner: self.free, ..Session::FREE };
        }
        self.free = id.0;
        self.len -= 1;
        Some(session)
    }

    /// A guest's session holds its mapping from now on, and witnesses its address.
    pub fn hold_mapping(&mut self, id: SessionId) {
        let Some(s) = self.get_mut(id) else { return };
        if s.flags & flags::HOLDS_MAPPING == 0 {
            s.flags |= flags::HOLDS_MAPPING;
            let s = *s;
            self.index_address(&s, id.0);
        }
    }

    /// A session that may be due, taken out of the wheel: close it or [`Sessions::look_again`].
    pub fn pop_due(&mut self, now: Tick) -> Option<SessionId> {
        self.wheel.pop(&mut self.slab, now).map(SessionId)
    }

    /// Fetches what ending a session touches: its buckets. The session itself is here, as it came out of the wheel.
    #[inline]
    pub fn fetch_buckets(&self, id: SessionId) {
        if let Some(s) = self.get(id) {
            for hash in self.hashes(s) {
                self.index.prefetch(hash);
            }
        }
    }

    /// Have the session come up at `deadline`, wherever it was in the wheel.
    pub fn look_again(&mut self, id: SessionId, deadline: Tick) {
        self.wheel.remove(&mut self.slab, id.0);
        self.wheel.insert(&mut self.slab, id.0, deadline);
    }

    /// Whether `outside` has a session with any port of `remote` (address-dependent filtering, RFC 4787 §5).
    #[must_use]
    pub fn knows_address(&self, proto: Proto, outside: Outside<Endpoint>, remote: Ipv4Addr) -> bool {
        let fits = |s: &Session| s.proto == proto && s.outside() == outside && s.remote == remote;
        self.index
            .find(self.address_hash(proto, outside, remote), |slot| self.slab.get(slot as usize).is_some_and(fits))
            .is_some()
    }

    fn address_hash(&self, proto: Proto, Outside(e): Outside<Endpoint>, remote: Ipv4Addr) -> u64 {
        self.hasher.pair(
            u64::from(e.addr.to_bits()) << 32 | u64::from(e.port) << 8 | u64::from(proto.0),
            0x5_0000_0000 | u64::from(remote.to_bits()),
        )
    }

    /// Adds the third entry. One inside endpoint may have any number of sessions with one remote address, all under
    /// the same hash; 32 entries witness it, so that no bucket fills with one host's port scan.
    fn index_address(&mut self, s: &Session, slot: u32) {
        const WITNESSES: usize = 32;
        // A guest is no witness: access would witness itself for ever.
        if !self.by_address || !s.is(flags::HOLDS_MAPPING) || s.is_tunnels() {
            return;
        }
        let hash = self.address_hash(s.proto, s.outside(), s.remote);
        let mut seen = 0;
        let enough = self.index.find(hash, |_| {
            seen += 1;
            seen >= WITNESSES
        });
        if enough.is_none() {
            // Without room the address is merely unknown: the filter errs on the closed side.
            let _ = self.index.insert(hash, slot);
        }
    }

    fn hashes(&self, s: &Session) -> [u64; 2] {
        let keys = match s.leg_direction() {
            None => [s.key(Direction::Out), s.key(Direction::In)],
            Some(direction) => [s.key(direction), s.left(direction)],
        };
        keys.map(|key| self.hasher.key(&key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(n: u16) -> NewSession {
        NewSession {
            proto: Proto::UDP,
            inside: Inside(Endpoint::new(Ipv4Addr::new(10, 0, 0, 2), n)),
            outside: Outside(Endpoint::new(Ipv4Addr::new(203, 0, 113, 2), n)),
            remote: Endpoint::new(Ipv4Addr::new(198, 51, 100, 7), 53),
            owner: 0,
            flags: flags::HOLDS_MAPPING,
            inside_port: PortId(0),
        }
    }

    #[test]
    fn a_session_is_found_by_both_keys_until_it_is_closed() {
        let mut t = Sessions::new(4, 1, Tick(0), true);
        let id = t.open(&new(1000), Tick(0), 100).unwrap();
        let s = *t.get(id).unwrap();
        assert_eq!(t.find(&s.key(Direction::Out), Direction::Out), Some(id));
        assert_eq!(t.find(&s.key(Direction::In), Direction::In), Some(id));
        assert_eq!(t.find(&s.key(Direction::In), Direction::Out), None);
        assert!(t.knows_address(Proto::UDP, s.outside(), s.remote));
        assert!(!t.knows_address(Proto::TCP, s.outside(), s.remote));
        let guest = NewSession { flags: flags::FROM_OUTSIDE, ..new(1001) };
        let guest = t.open(&guest, Tick(0), 100).unwrap();
        let g = *t.get(guest).unwrap();
        assert!(!t.knows_address(Proto::UDP, g.outside(), g.remote), "a guest is no witness for itself");
        t.hold_mapping(guest);
        assert!(t.knows_address(Proto::UDP, g.outside(), g.remote));
        t.close(guest).unwrap();
        t.close(id).unwrap();
        assert_eq!(t.find(&s.key(Direction::Out), Direction::Out), None);
        assert!(!t.knows_address(Proto::UDP, s.outside(), s.remote));
        assert!(t.close(id).is_none() && t.is_empty());
    }

    #[test]
    fn a_full_table_refuses_and_a_freed_slot_is_used_again() {
        let mut t = Sessions::new(3, 1, Tick(0), false);
        let ids: Vec<_> = (1..4).map(|n| t.open(&new(n), Tick(0), 100).unwrap()).collect();
        assert_eq!(t.open(&new(9), Tick(0), 100), Err(Full));
        t.close(ids[1]).unwrap();
        assert_eq!(t.open(&new(9), Tick(0), 100), Ok(ids[1]));
        assert_eq!(t.iter().count(), 3);
    }

    fn leg(direction: Direction, arrives: u32, leaves: u32) -> NewLeg {
        NewLeg {
            proto: Proto::GRE,
            direction,
            inside: Ipv4Addr::new(10, 0, 0, 2),
            outside: Ipv4Addr::new(203, 0, 113, 2),
            remote: Ipv4Addr::new(198, 51, 100, 7),
            arrives,
            leaves,
            tunnel: 9,
            flags: 0,
            inside_port: PortId(0),
        }
    }

    #[test]
    fn a_leg_answers_in_its_direction_only_and_is_found_by_what_left_it() {
        let mut t = Sessions::new(8, 1, Tick(0), true);
        for direction in [Direction::Out, Direction::In] {
            let other = if direction == Direction::Out { Direction::In } else { Direction::Out };
            let id = t.open_leg(&leg(direction, 7, 8), Tick(0), 100).unwrap();
            let s = *t.get(id).unwrap();
            assert!(s.is_tunnels());
            assert_eq!((s.key(direction).ident, s.left(direction).ident), (7, 8));
            assert_eq!(t.find(&s.key(direction), direction), Some(id));
            assert_eq!(t.find(&s.key(other), other), None, "a leg has one direction");
            assert!(t.confirm(id, &s.key(other), other).is_none());
            assert_eq!(t.find_left(&s.left(direction), direction), Some(id));
            let twin = t.open_leg(&leg(direction, 70, 8), Tick(0), 100).unwrap();
            assert_eq!(t.find_left(&s.left(direction), direction), None, "two left with the same key");
            t.close(twin).unwrap();
            assert_eq!(t.find_left(&s.left(direction), direction), Some(id));
            t.close(id).unwrap();
            assert_eq!(t.find_left(&s.left(direction), direction), None);
        }
        assert!(t.is_empty());
    }

    #[test]
    fn a_leg_is_found_by_what_left_it_even_where_its_two_hashes_look_alike() {
        // In so small a table one leg in some hundreds has both entries in one bucket under one tag.
        for seed in 0..2000 {
            let mut t = Sessions::new(1, seed, Tick(0), false);
            let id = t.open_leg(&leg(Direction::Out, 7, 8), Tick(0), 100).unwrap();
            let left = t.get(id).unwrap().left(Direction::Out);
            assert_eq!(t.find_left(&left, Direction::Out), Some(id), "seed {seed}");
        }
    }

    #[test]
    fn a_leg_counts_beyond_32_bits() {
        let mut s = Session::leg(&leg(Direction::Out, 1, 1), Tick(0));
        s.notes = [u32::MAX, u32::MAX - 10, 0];
        s.count(1500);
        assert_eq!(s.traffic(), (1 << 32, u64::from(u32::MAX - 10) + 1500));
        assert_eq!(s.take_traffic().0, 1 << 32);
        assert_eq!(s.traffic(), (0, 0));
    }

    #[test]
    fn an_unused_session_comes_up_and_can_be_put_back() {
        let mut t = Sessions::new(3, 1, Tick(0), false);
        let id = t.open(&new(1), Tick(0), 1000).unwrap();
        assert_eq!(t.pop_due(Tick(900)), None);
        assert_eq!(t.pop_due(Tick(1600)), Some(id));
        t.look_again(id, Tick(5000));
        assert_eq!(t.pop_due(Tick(4900)), None);
        assert_eq!(t.pop_due(Tick(5600)), Some(id));
    }
}
