//! Ending what is over, a bounded amount at a time.

use super::Nat;
use crate::flow::session::flags;
use crate::types::Tick;

/// Sessions or mappings looked at in one call of [`Nat::expire`].
const BUDGET: usize = 64;

impl Nat {
    /// Closes sessions whose time-out has passed and frees ports whose hold-down has. Constant work a call; with
    /// more to do than that, it goes on in the next. Returns how much it did.
    pub fn expire(&mut self, now: Tick) -> usize {
        let mut done = 0;
        // What ends may have to be told to other workers.
        while done < BUDGET && self.vpn.loans.has_room() {
            let Some(id) = self.sessions.pop_due(now) else { break };
            done += 1;
            let Some(s) = self.sessions.get(id) else { continue };
            let leg = s.is_tunnels();
            if leg && s.is(flags::BORROWED) {
                self.lease_over(id, now);
                continue;
            }
            let deadline = if leg { self.leg_deadline(s) } else { s.last_used.after(self.timeout(s)) };
            if now.reached(deadline) && self.keeps_ike(s) {
                self.sessions.look_again(id, now.after(self.rules.policy.timeouts.udp));
            } else if now.reached(deadline) && leg {
                if !self.asks_borrowers(id, now) {
                    self.expire_leg(id);
                }
            } else if now.reached(deadline) {
                self.close(id, now);
            } else {
                self.sessions.look_again(id, deadline);
            }
        }
        for _ in 0..BUDGET {
            let Some(m) = self.mappings.release(now, BUDGET) else { break };
            done += 1;
            self.free_port(&m);
        }
        done
    }
}
