//! Subscribers: what each inside address has, and may have [RFC 6888 REQ-4, REQ-5].
//!
//! Which outside address a subscriber gets is a keyed hash of its own, so pairing [4787 REQ-2] needs no memory and
//! survives restarts of the subscriber; the record exists while the subscriber has sessions or mappings. As long as it
//! does, it keeps the address that it was given, whatever a reload makes of the pool.

use crate::flow::index::{Full, Hasher, Index};
use crate::policy::Limits;
use crate::types::{Direction, Proto, Tick};
use crate::verdict::DropReason;
use std::net::Ipv4Addr;

/// Number of a subscriber in its worker's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscriberId(pub u32);

/// One inside address.
#[derive(Clone, Copy, Debug)]
pub struct Subscriber {
    /// Its address.
    pub addr: Ipv4Addr,
    /// Sessions it has.
    pub sessions: u32,
    /// VPN tunnels it has.
    pub tunnels: u32,
    /// Ports it has, by protocol class.
    pub ports: [u32; 3],
    /// The outside address that it was given; unspecified before its first mapping.
    pub paired: Ipv4Addr,
    /// Millisessions that it may open at once.
    tokens: u32,
    /// When tokens were last added.
    filled: Tick,
    /// Next free record, in a free one.
    next: u32,
}

/// See the module.
pub struct Subscribers {
    slab: Box<[Subscriber]>,
    index: Index,
    hasher: Hasher,
    fresh: u32,
    free: u32,
    len: usize,
}

const FREE: Subscriber = Subscriber {
    addr: Ipv4Addr::UNSPECIFIED,
    sessions: 0,
    tunnels: 0,
    ports: [0; 3],
    paired: Ipv4Addr::UNSPECIFIED,
    tokens: 0,
    filled: Tick(0),
    next: u32::MAX,
};

impl Subscribers {
    /// A table for `capacity` subscribers.
    #[must_use]
    pub fn new(capacity: usize, seed: u64) -> Self {
        Self {
            slab: crate::table::table(FREE, capacity),
            index: Index::new(capacity),
            hasher: Hasher::new(seed ^ 0x5375_6273),
            fresh: 0,
            free: u32::MAX,
            len: 0,
        }
    }

    /// Bytes that [`Subscribers::new`] takes.
    #[must_use]
    pub const fn memory(capacity: usize) -> usize {
        capacity * size_of::<Subscriber>() + Index::memory(capacity)
    }

    /// Subscribers known.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The subscriber of an address.
    #[must_use]
    pub fn find(&self, addr: Ipv4Addr) -> Option<SubscriberId> {
        self.index
            .find(self.hasher.addr(addr), |s| self.slab.get(s as usize).is_some_and(|s| s.addr == addr))
            .map(SubscriberId)
    }

    /// Fetches the bucket of an address.
    #[inline]
    pub(super) fn fetch_bucket(&self, addr: Ipv4Addr) {
        self.index.prefetch(self.hasher.addr(addr));
    }

    /// Fetches the record that the bucket leads to.
    #[inline]
    pub(super) fn fetch_record(&self, addr: Ipv4Addr) {
        self.fetch(SubscriberId(self.index.candidate(self.hasher.addr(addr))));
    }

    /// Fetches a record.
    #[inline]
    pub(super) fn fetch(&self, id: SubscriberId) {
        crate::prefetch::read(self.slab.get(id.0 as usize));
    }

    /// The subscriber of an address, made if new; and whether it is.
    ///
    /// # Errors
    /// [`Full`].
    pub fn find_or_open(&mut self, addr: Ipv4Addr, limits: &Limits, now: Tick) -> Result<(SubscriberId, bool), Full> {
        if let Some(id) = self.find(addr) {
            return Ok((id, false));
        }
        let reuse = self.free != u32::MAX;
        let slot = if reuse { self.free } else { self.fresh };
        let Some(place) = self.slab.get_mut(slot as usize) else { return Err(Full) };
        self.index.insert(self.hasher.addr(addr), slot)?;
        if reuse {
            self.free = place.next;
        } else {
            self.fresh += 1;
        }
        *place = Subscriber { addr, tokens: limits.burst.saturating_mul(1000), filled: now, ..FREE };
        self.len += 1;
        Ok((SubscriberId(slot), true))
    }

    /// A subscriber by number.
    #[must_use]
    pub fn get(&self, id: SubscriberId) -> Option<&Subscriber> {
        self.slab.get(id.0 as usize)
    }

    /// A subscriber by number.
    pub fn get_mut(&mut self, id: SubscriberId) -> Option<&mut Subscriber> {
        self.slab.get_mut(id.0 as usize)
    }

    /// Forgets a subscriber that has nothing left; says whether it did.
    pub fn close_if_idle(&mut self, id: SubscriberId) -> bool {
        let Some(s) = self.slab.get_mut(id.0 as usize) else { return false };
        if s.sessions != 0 || s.tunnels != 0 || s.ports != [0; 3] || s.addr.is_unspecified() {
            return false;
        }
        self.index.remove(self.hasher.addr(s.addr), id.0);
        *s = Subscriber { next: self.free, ..FREE };
        self.free = id.0;
        self.len -= 1;
        true
    }

    /// The number from which on none was ever used.
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.fresh
    }

    /// Known subscribers.
    pub fn iter(&self) -> impl Iterator<Item = &Subscriber> {
        self.slab.iter().take(self.fresh as usize).filter(|s| !s.addr.is_unspecified())
    }
}

impl Subscriber {
    /// Whether one more session may be opened now, by that side; takes a token if so. What outsiders open is the
    /// subscriber's, too, but they leave a quarter to it, so that they cannot shut it in.
    ///
    /// # Errors
    /// The limit that says no.
    pub fn admit_session(&mut self, limits: &Limits, by: Direction, now: Tick) -> Result<(), DropReason> {
        let kept = |most: u32| if by == Direction::In { most / 4 } else { 0 };
        if self.sessions >= limits.sessions - kept(limits.sessions) {
            return Err(DropReason::SubscriberSessions);
        }
        let gained = now.since(self.filled).saturating_mul(limits.rate);
        self.tokens = self.tokens.saturating_add(gained).min(limits.burst.saturating_mul(1000));
        self.filled = now;
        let left = self.tokens.checked_sub(1000).filter(|left| *left >= kept(limits.burst).saturating_mul(1000));
        self.tokens = left.ok_or(DropReason::SubscriberRate)?;
        Ok(())
    }

    /// Whether one more port may be had.
    ///
    /// # Errors
    /// The limit that says no.
    pub fn admit_port(&self, limits: &Limits, proto: Proto) -> Result<(), DropReason> {
        let class = super::ports::class_of(proto).unwrap_or(0);
        let (have, may) = (self.ports.get(class).copied(), limits.ports_by_protocol.get(class).copied());
        if self.ports.iter().sum::<u32>() >= limits.ports || have >= may {
            return Err(DropReason::SubscriberPorts);
        }
        Ok(())
    }

    /// Counts a port taken (+1) or given back (-1).
    pub fn count_port(&mut self, proto: Proto, change: i32) {
        if let Some(n) = super::ports::class_of(proto).and_then(|c| self.ports.get_mut(c)) {
            *n = n.saturating_add_signed(change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_limit_lets_the_burst_through_and_then_the_rate() {
        let limits = Limits { rate: 10, burst: 5, ..Limits::default() };
        let mut t = Subscribers::new(4, 0);
        let (id, new) = t.find_or_open(Ipv4Addr::new(10, 0, 0, 1), &limits, Tick(0)).unwrap();
        assert!(new);
        let s = t.get_mut(id).unwrap();
        let admitted = (0..20).filter(|_| s.admit_session(&limits, Direction::Out, Tick(0)).is_ok()).count();
        assert_eq!(admitted, 5);
        assert_eq!(s.admit_session(&limits, Direction::Out, Tick(99)), Err(DropReason::SubscriberRate));
        assert_eq!(s.admit_session(&limits, Direction::Out, Tick(199)), Ok(()));
    }

    #[test]
    fn a_subscriber_with_nothing_left_is_forgotten_and_its_record_used_again() {
        let l = Limits::default();
        let mut t = Subscribers::new(1, 0);
        let (a, _) = t.find_or_open(Ipv4Addr::new(10, 0, 0, 1), &l, Tick(0)).unwrap();
        assert_eq!(t.find_or_open(Ipv4Addr::new(10, 0, 0, 2), &l, Tick(0)), Err(Full));
        t.get_mut(a).unwrap().sessions = 1;
        assert!(!t.close_if_idle(a));
        t.get_mut(a).unwrap().sessions = 0;
        assert!(t.close_if_idle(a) && !t.close_if_idle(a) && t.is_empty());
        assert!(t.find_or_open(Ipv4Addr::new(10, 0, 0, 2), &l, Tick(0)).is_ok());
    }
}
