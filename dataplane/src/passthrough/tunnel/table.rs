//! Where the records are: rows found by a keyed hash, in lists by gateway.
//!
//! A gateway's list has those that wait first, so a search ends at the first one that does not. Nothing is allocated
//! after the start.

use super::{Gateway, Kind, NONE, State, Tunnel, TunnelId, of};
use crate::flow::index::{Hasher, Index};
use crate::types::{Direction, Proto, Tick};
use std::net::Ipv4Addr;

/// All tunnels of one worker.
pub struct Tunnels {
    rows: Box<[Tunnel]>,
    index: Index,
    gateways: Box<[Gateway]>,
    gateway_index: Index,
    hasher: Hasher,
    free: u32,
    free_gateway: u32,
    len: usize,
    looked_at: u32,
}

/// No room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Tunnels {
    /// A table for so many.
    #[must_use]
    pub fn new(capacity: usize, seed: u64) -> Self {
        let n = u32::try_from(capacity).unwrap_or(u32::MAX - 1);
        let next = |i: u32| if i + 1 == n { NONE } else { i + 1 };
        Self {
            rows: (0..n).map(|i| Tunnel { next: next(i), ..Tunnel::FREE }).collect(),
            index: Index::new(capacity),
            gateways: (0..n).map(|i| Gateway { next_free: next(i), ..Gateway::FREE }).collect(),
            gateway_index: Index::new(capacity),
            hasher: Hasher::new(seed ^ 0x5475_6e6e),
            free: if n == 0 { NONE } else { 0 },
            free_gateway: if n == 0 { NONE } else { 0 },
            len: 0,
            looked_at: 0,
        }
    }

    /// Bytes that [`Tunnels::new`] takes.
    #[must_use]
    pub const fn memory(capacity: usize) -> usize {
        capacity * (size_of::<Tunnel>() + size_of::<Gateway>()) + 2 * Index::memory(capacity)
    }

    /// Tunnels that there is room for.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.rows.len()
    }

    /// Tunnels alive.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none is alive.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A tunnel by number.
    #[must_use]
    pub fn get(&self, id: TunnelId) -> Option<&Tunnel> {
        self.rows.get(id.0 as usize).filter(|t| t.live)
    }

    /// A tunnel by number.
    pub fn get_mut(&mut self, id: TunnelId) -> Option<&mut Tunnel> {
        self.rows.get_mut(id.0 as usize).filter(|t| t.live)
    }

    /// How many there may be; numbers are below it.
    #[must_use]
    pub fn end(&self) -> u32 {
        u32::try_from(self.rows.len()).unwrap_or(u32::MAX)
    }

    /// Live tunnels.
    pub fn iter(&self) -> impl Iterator<Item = &Tunnel> {
        self.rows.iter().filter(|t| t.live)
    }

    fn hash(&self, kind: Kind, inside: Ipv4Addr, remote: Ipv4Addr) -> u64 {
        self.hasher
            .pair(u64::from(inside.to_bits()) << 32 | u64::from(remote.to_bits()), u64::from(kind.proto().0) << 8 | 1)
    }

    fn gateway_hash(&self, proto: Proto, remote: Ipv4Addr, outside: Ipv4Addr) -> u64 {
        self.hasher.pair(u64::from(remote.to_bits()) << 32 | u64::from(outside.to_bits()), u64::from(proto.0) << 8 | 2)
    }

    /// The tunnel of two hosts; not for PPTP, which may have several.
    #[must_use]
    pub fn find(&self, kind: Kind, inside: Ipv4Addr, outside: Ipv4Addr, remote: Ipv4Addr) -> Option<TunnelId> {
        let fits =
            |t: &Tunnel| t.live && t.kind == kind && t.inside == inside && t.remote == remote && t.outside == outside;
        self.index.find(self.hash(kind, inside, remote), |s| self.rows.get(s as usize).is_some_and(fits)).map(TunnelId)
    }

    /// What the tunnels with a server share.
    #[must_use]
    pub fn gateway(&self, proto: Proto, remote: Ipv4Addr, outside: Ipv4Addr) -> Option<&Gateway> {
        self.find_gateway(proto, remote, outside).and_then(|g| self.gateways.get(g as usize))
    }

    /// The same.
    pub fn gateway_mut(&mut self, proto: Proto, remote: Ipv4Addr, outside: Ipv4Addr) -> Option<&mut Gateway> {
        let gateway = self.find_gateway(proto, remote, outside)?;
        self.gateways.get_mut(gateway as usize)
    }

    /// The same for a tunnel.
    pub fn gateway_of(&mut self, id: TunnelId) -> Option<&mut Gateway> {
        let gateway = self.get(id)?.gateway;
        self.gateways.get_mut(gateway as usize)
    }

    fn find_gateway(&self, proto: Proto, remote: Ipv4Addr, outside: Ipv4Addr) -> Option<u32> {
        let fits = |g: &Gateway| g.count > 0 && g.proto == proto && g.remote == remote && g.outside == outside;
        self.gateway_index
            .find(self.gateway_hash(proto, remote, outside), |s| self.gateways.get(s as usize).is_some_and(fits))
    }

    /// Adds a tunnel without legs, [`State::Pending`].
    ///
    /// # Errors
    /// [`Full`]; nothing has changed.
    pub fn open(
        &mut self,
        kind: Kind,
        (inside, outside, remote): (Ipv4Addr, Ipv4Addr, Ipv4Addr),
        subscriber: u32,
        now: Tick,
    ) -> Result<TunnelId, Full> {
        let slot = self.free;
        let Some(&Tunnel { next, .. }) = self.rows.get(slot as usize) else { return Err(Full) };
        let known = self.find_gateway(kind.proto(), remote, outside);
        let gateway = known.unwrap_or(self.free_gateway);
        let next_gateway = self.gateways.get(gateway as usize).map_or(NONE, |g| g.next_free);
        if gateway == NONE {
            return Err(Full);
        }
        let hash = self.hash(kind, inside, remote);
        if kind != Kind::Pptp {
            self.index.insert(hash, slot).map_err(|_| Full)?;
        }
        if known.is_none() {
            if self.gateway_index.insert(self.gateway_hash(kind.proto(), remote, outside), gateway).is_err() {
                if kind != Kind::Pptp {
                    self.index.remove(hash, slot);
                }
                return Err(Full);
            }
            self.free_gateway = next_gateway;
        }
        self.free = next;
        if let Some(t) = self.rows.get_mut(slot as usize) {
            let (opened, half_at, evidence_at) = (now, now, now);
            let lent = crate::passthrough::loan::Lent::none(now);
            let ends = Tunnel { kind, inside, outside, remote, lent, ..Tunnel::FREE };
            *t = Tunnel { opened, half_at, evidence_at, subscriber, gateway, live: true, ..ends };
        }
        if let Some(g) = self.gateways.get_mut(gateway as usize) {
            if known.is_none() {
                *g = Gateway { proto: kind.proto(), remote, outside, ..Gateway::FREE };
            }
            g.count += 1;
            g.pending += 1;
        }
        self.link(slot, false);
        self.len += 1;
        Ok(TunnelId(slot))
    }

    /// Takes a tunnel out; its legs must be gone.
    pub fn close(&mut self, id: TunnelId) -> Option<Tunnel> {
        let t = *self.get(id)?;
        self.unlink(id.0);
        if t.kind != Kind::Pptp {
            self.index.remove(self.hash(t.kind, t.inside, t.remote), id.0);
        }
        let hash = self.gateway_hash(t.kind.proto(), t.remote, t.outside);
        if let Some(g) = self.gateways.get_mut(t.gateway as usize) {
            g.count -= 1;
            g.pending -= u32::from(t.state == State::Pending);
            g.turn.end(id);
            if g.count == 0 {
                g.next_free = self.free_gateway;
                self.free_gateway = t.gateway;
                self.gateway_index.remove(hash, t.gateway);
            }
        }
        if let Some(place) = self.rows.get_mut(id.0 as usize) {
            *place = Tunnel { next: self.free, ..Tunnel::FREE };
        }
        self.free = id.0;
        self.len -= 1;
        Some(t)
    }

    /// Sets how far a tunnel is.
    pub fn set_state(&mut self, id: TunnelId, state: State) {
        let Some(t) = self.get_mut(id) else { return };
        let (was, gateway) = (std::mem::replace(&mut t.state, state), t.gateway);
        if let Some(g) = self.gateways.get_mut(gateway as usize) {
            g.pending -= u32::from(was == State::Pending);
            g.pending += u32::from(state == State::Pending);
        }
    }

    /// Counts a packet that no leg counts.
    pub fn count(&mut self, id: TunnelId, direction: Direction, bytes: u16) {
        if let Some((p, b)) = self.get_mut(id).and_then(|t| t.ended.get_mut(of(direction))) {
            (*p, *b) = (p.wrapping_add(1), b.wrapping_add(u64::from(bytes)));
        }
    }

    /// Puts a tunnel before the others of its gateway, or behind them.
    pub fn place(&mut self, id: TunnelId, first: bool) {
        if self.get(id).is_some() {
            self.unlink(id.0);
            self.link(id.0, first);
        }
    }

    fn link(&mut self, slot: u32, first: bool) {
        let Some(&Tunnel { gateway, .. }) = self.rows.get(slot as usize) else { return };
        let Some(g) = self.gateways.get_mut(gateway as usize) else { return };
        let neighbour = if first { std::mem::replace(&mut g.head, slot) } else { std::mem::replace(&mut g.tail, slot) };
        if neighbour == NONE {
            (g.head, g.tail) = (slot, slot);
        }
        if let Some(n) = self.rows.get_mut(neighbour as usize) {
            *(if first { &mut n.prev } else { &mut n.next }) = slot;
        }
        if let Some(t) = self.rows.get_mut(slot as usize) {
            (t.prev, t.next) = if first { (NONE, neighbour) } else { (neighbour, NONE) };
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Some(&Tunnel { gateway, next, prev, .. }) = self.rows.get(slot as usize) else { return };
        let Some(g) = self.gateways.get_mut(gateway as usize) else { return };
        if prev == NONE {
            g.head = next;
        }
        if next == NONE {
            g.tail = prev;
        }
        if let Some(p) = self.rows.get_mut(prev as usize) {
            p.next = next;
        }
        if let Some(n) = self.rows.get_mut(next as usize) {
            n.prev = prev;
        }
    }

    /// The tunnels with a server, those that wait first.
    pub fn of_gateway(
        &self,
        proto: Proto,
        remote: Ipv4Addr,
        outside: Ipv4Addr,
    ) -> impl Iterator<Item = (TunnelId, &Tunnel)> {
        let mut at = self.gateway(proto, remote, outside).map_or(NONE, |g| g.head);
        std::iter::from_fn(move || {
            let t = self.rows.get(at as usize)?;
            let id = TunnelId(std::mem::replace(&mut at, t.next));
            Some((id, t))
        })
    }

    /// The next few tunnels in turn, so that each is looked at now and then.
    pub fn look(&mut self) -> Option<TunnelId> {
        let n = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.looked_at = if self.looked_at + 1 < n { self.looked_at + 1 } else { 0 };
        let id = TunnelId(self.looked_at);
        self.get(id).map(|_| id)
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, n)
    }

    #[test]
    fn a_gateway_lists_its_tunnels_until_they_end_and_is_forgotten_with_the_last() {
        let mut t = Tunnels::new(4, 1);
        let (n, x) = (Ipv4Addr::new(203, 0, 113, 2), Ipv4Addr::new(198, 51, 100, 7));
        let ids: Vec<_> = (1..=4).map(|i| t.open(Kind::Esp, (host(i), n, x), 0, Tick(0)).unwrap()).collect();
        assert_eq!(t.open(Kind::Esp, (host(5), n, x), 0, Tick(0)), Err(Full));
        t.place(ids[2], true);
        let order = |t: &Tunnels| t.of_gateway(Proto::ESP, x, n).map(|(i, _)| i.0).collect::<Vec<_>>();
        assert_eq!(order(&t), [2, 0, 1, 3]);
        t.place(ids[2], false);
        assert_eq!(order(&t), [0, 1, 3, 2]);
        assert_eq!(t.find(Kind::Esp, host(2), n, x), Some(ids[1]));
        t.set_state(ids[1], State::Paired);
        assert_eq!(t.gateway(Proto::ESP, x, n).map(|g| (g.count, g.pending)), Some((4, 3)));
        for id in &ids {
            t.close(*id);
        }
        assert!(t.gateway(Proto::ESP, x, n).is_none());
        assert!(t.is_empty());
        for i in 1..=4 {
            let other = Ipv4Addr::new(198, 51, 100, i);
            t.open(Kind::Esp, (host(i), n, other), 0, Tick(0)).unwrap();
        }
    }
}
