//! Ending what is over, a bounded amount at a time.

use super::Nat;
use super::mapping::MappingId;
use super::subscriber::SubscriberId;
use crate::flow::session::{SessionId, flags};
use crate::types::Tick;
use arrayvec::ArrayVec;

/// Sessions or mappings looked at in one call of [`Nat::expire`].
const BUDGET: usize = 64;
/// Sessions taken out of the wheel together, so that their misses overlap.
const TOGETHER: usize = 32;

impl Nat {
    /// Closes sessions whose time-out has passed and frees ports whose hold-down has. Constant work a call; with
    /// more to do than that, it goes on in the next. Returns how much it did.
    pub fn expire(&mut self, now: Tick) -> usize {
        let mut done = 0;
        while done < BUDGET && self.vpn.loans.has_room() {
            let mut due = ArrayVec::<SessionId, TOGETHER>::new();
            while !due.is_full()
                && let Some(id) = self.sessions.pop_due(now)
            {
                due.push(id);
            }
            done += due.len();
            self.fetch_ending(&due);
            for &id in &due {
                // What ends may have to be told to other workers.
                if self.vpn.loans.has_room() {
                    self.look_at(id, now);
                } else {
                    self.sessions.look_again(id, now);
                }
            }
            if !due.is_full() {
                break;
            }
        }
        self.mappings.fetch_due(now, BUDGET, |m| {
            if let Some(number) = self.rules.pool_number(m.outside.0.addr) {
                self.ports.fetch(number, m.proto, m.outside.0.port);
            }
        });
        for _ in 0..BUDGET {
            let Some(m) = self.mappings.release(now, BUDGET) else { break };
            done += 1;
            self.free_port(&m);
        }
        done
    }

    /// Ends a session that came out of the wheel, if it is over.
    fn look_at(&mut self, id: SessionId, now: Tick) {
        let Some(s) = self.sessions.get(id) else { return };
        let leg = s.is_tunnels();
        if leg && s.is(flags::BORROWED) {
            return self.lease_over(id, now);
        }
        let deadline = if leg { self.leg_deadline(s) } else { s.last_used.after(self.timeout(s)) };
        if !now.reached(deadline) {
            self.sessions.look_again(id, deadline);
        } else if self.keeps_ike(s) {
            self.sessions.look_again(id, now.after(self.rules.policy.timeouts.udp));
        } else if !leg {
            self.close(id, now);
        } else if !self.asks_borrowers(id, now) {
            self.expire_leg(id);
        }
    }

    /// Fetches what ending these sessions will touch.
    fn fetch_ending(&self, due: &[SessionId]) {
        let mapping =
            |id| self.sessions.get(id).filter(|s| !s.is_tunnels() && !s.is(flags::STATIC)).map(|s| MappingId(s.owner));
        for &id in due {
            self.sessions.fetch_buckets(id);
            if let Some(mapping) = mapping(id) {
                self.mappings.fetch(mapping);
            }
        }
        for m in due.iter().filter_map(|&id| mapping(id)).filter_map(|m| self.mappings.get(m)) {
            self.subscribers.fetch(SubscriberId(m.subscriber));
        }
    }
}
