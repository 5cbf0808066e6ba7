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
//! `ident` is 32 bits and each direction has its own, so sessions of tunnels (SPI, Call ID, session ID) fit the same
//! shape and table. 64 bytes a session, plus about 13 in the index.

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

/// Bits of [`Session::flags`].
pub mod flags {
    /// Opened from outside; only what the inside sends makes it hold its mapping.
    pub const FROM_OUTSIDE: u8 = 1;
    /// Counts as a holder of its mapping: the inside has sent.
    pub const HOLDS_MAPPING: u8 = 2;
    /// By a forward or a one-to-one mapping: [`super::Session::owner`] is the subscriber's number.
    pub const STATIC: u8 = 4;
    /// The remote end is one of our own outside addresses.
    pub const HAIRPIN: u8 = 8;
    /// A TCP connection that a stranger began while the subscriber had many sessions: its handshake must end soon.
    pub const HURRIED: u8 = 16;
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
    /// The mapping's number, or the subscriber's where [`flags::STATIC`] is set.
    pub owner: u32,
    /// Where packets to the inside host go.
    pub hop_in: HopId,
    /// Where packets to the remote end go.
    pub hop_out: HopId,
    /// TCP numbers.
    pub track: tcp::Track,
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
        track: tcp::Track { acked_by_inside: 0, acked_by_outside: 0, window_of_inside: 0, window_of_outside: 0 },
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
            slab: vec![Session::FREE; capacity].into_boxed_slice(),
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
        self.slab.get_mut(guess.0 as usize).filter(|s| s.key(direction) == *key)
    }

    /// Looks a key up at once.
    #[inline]
    #[must_use]
    pub fn find(&self, key: &Key, direction: Direction) -> Option<SessionId> {
        self.index
            .find(self.hasher.key(key), |slot| self.slab.get(slot as usize).is_some_and(|s| s.key(direction) == *key))
            .map(SessionId)
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
        let session = Session::new(new, now);
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
        self.index_address(&session, slot);
        if self.free == u32::MAX {
            self.fresh += 1;
        } else {
            self.free = next_free;
        }
        if let Some(place) = self.slab.get_mut(slot as usize) {
            *place = session;
        }
        self.len += 1;
        self.wheel.insert(&mut self.slab, slot, now.after(timeout));
        Ok(SessionId(slot))
    }

    /// Ends a session and returns what it was.
    pub fn close(&mut self, id: SessionId) -> Option<Session> {
        let session = *self.get(id)?;
        self.wheel.remove(&mut self.slab, id.0);
        for hash in self.hashes(&session) {
            self.index.remove(hash, id.0);
        }
        if self.by_address {
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
        if !self.by_address || !s.is(flags::HOLDS_MAPPING) {
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
        [self.hasher.key(&s.key(Direction::Out)), self.hasher.key(&s.key(Direction::In))]
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
