//! Going over to new rules while packets flow.
//!
//! Control makes a [`Change`] for each worker, with everything that has to be allocated. The worker swaps what is in it
//! for what it had, within a turn: from then on new packets are judged by the new rules. Then it looks at what there is
//! ([`crate::nat::review`]), a slice a turn, and hands the change back, so that control frees the old rules. No worker ever
//! runs a destructor: of the two references that it held, one goes into the change, and the other is dropped while that
//! one is there.

use super::desk::SLICE;
use crate::flow::session::SessionId;
use crate::link::neighbour::Neighbours;
use crate::nat::Nat;
use crate::nat::ports::{Ports, Successor};
use crate::nat::review::Reviewed;
use crate::policy::{Policy, Rules};
use crate::types::{Endpoint, Outside, PortId, Proto, Tick, WorkerId};
use std::collections::HashSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// See the module.
pub struct Change {
    /// The new rules on the way to the worker, the old ones on the way back.
    rules: Arc<Rules>,
    ports: Option<Successor>,
    /// Of forwards that are gone and that are new.
    free: Box<[(Proto, Endpoint)]>,
    take: Box<[(Proto, Endpoint)]>,
    /// Neighbours that are no longer configured.
    forget: Box<[(PortId, Ipv4Addr)]>,
    /// How far the review is, in the order of the above and then the sessions.
    at: usize,
    /// Sessions that ended with their rule.
    pub sessions: u64,
    /// Tunnels that did.
    pub tunnels: u64,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change").field("at", &self.at).field("ports", &self.ports).finish_non_exhaustive()
    }
}

impl Change {
    /// What makes a worker go over from `old` rules to `new` ones. Both must be for the same number of workers, the same
    /// ports, sizes and secret, and the same range of ports.
    #[must_use]
    pub fn new(old: &Rules, new: Arc<Rules>, worker: WorkerId) -> Self {
        let same_pool = old.policy.pool == new.policy.pool && old.policy.draining == new.policy.draining;
        let ports = (!same_pool).then(|| Ports::successor(old, &new, worker));
        let owned = |rules: &Rules| -> HashSet<(Proto, Endpoint)> {
            rules.forwarded().filter(|(_, e)| rules.sharding.of_port(e.port) == worker).collect()
        };
        let (before, after) = (owned(old), owned(&new));
        let neighbours =
            |p: &Policy| -> HashSet<(PortId, Ipv4Addr)> { p.neighbours.iter().map(|n| (n.port, n.addr)).collect() };
        let forget = &neighbours(&old.policy) - &neighbours(&new.policy);
        Self {
            ports,
            free: before.difference(&after).copied().collect(),
            take: after.difference(&before).copied().collect(),
            forget: forget.into_iter().collect(),
            rules: new,
            at: 0,
            sessions: 0,
            tunnels: 0,
        }
    }

    /// Makes the new rules those of a worker.
    pub(crate) fn apply(&mut self, rules: &mut Arc<Rules>, nat: &mut Nat) {
        std::mem::swap(&mut self.rules, rules);
        // The old ones are kept in `self`, so this only counts down.
        nat.rules = Arc::clone(rules);
        nat.mappings.set_hold_down(rules.policy.timeouts.hold_down);
        if let Some(successor) = &mut self.ports {
            nat.ports.succeed(successor);
        }
    }

    /// Looks at the next slice of what there is. Says whether all was looked at.
    pub(crate) fn review(&mut self, nat: &mut Nat, hops: &mut Neighbours, now: Tick) -> bool {
        for _ in 0..SLICE {
            if !nat.vpn.loans.has_room() {
                // What ends may have to be told to other workers; it goes on when they took that.
                return false;
            }
            if !self.step(nat, hops, now) {
                return true;
            }
            self.at += 1;
        }
        false
    }

    fn step(&mut self, nat: &mut Nat, hops: &mut Neighbours, now: Tick) -> bool {
        let mut at = self.at;
        if let Some(&(port, addr)) = self.forget.get(at) {
            hops.remove_static(port, addr);
            return true;
        }
        at -= self.forget.len();
        if let Some(&n) = nat.rules.policy.neighbours.get(at) {
            hops.add_static(n.port, n.addr, n.mac, now);
            return true;
        }
        at -= nat.rules.policy.neighbours.len();
        if let Some(&(proto, outside)) = self.free.get(at) {
            let mapped = nat.mappings.find_outside(proto, Outside(outside)).is_some();
            if let (false, Some(number)) = (mapped, nat.rules.pool_number(outside.addr)) {
                nat.ports.give_back(number, proto, outside.port);
            }
            return true;
        }
        at -= self.free.len();
        if let Some(&(proto, outside)) = self.take.get(at) {
            if let Some(number) = nat.rules.pool_number(outside.addr) {
                nat.ports.take(number, proto, outside.port);
            }
            return true;
        }
        at -= self.take.len();
        match u32::try_from(at) {
            Ok(slot) if slot < nat.sessions.end() => {
                match nat.review(SessionId(slot), &self.rules, hops, now) {
                    Reviewed::Stands => {}
                    Reviewed::Ended => self.sessions += 1,
                    Reviewed::TunnelEnded => self.tunnels += 1,
                }
                true
            }
            Ok(_) | Err(_) => false,
        }
    }
}
