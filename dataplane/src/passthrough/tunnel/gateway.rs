//! What the tunnels with one server share.

use super::{NONE, TunnelId};
use crate::types::{Proto, Tick};
use std::net::Ipv4Addr;

/// How long a question may wait for its answer while others are held back, where nothing is known of the server.
const TURN_MS: u32 = 200;
/// And at most, however slow the server is.
const LONGEST_TURN_MS: u32 = 2_000;
/// One may have so many such times in a row: an exchange, a question, and a little of what follows.
const TIMES: u32 = 3;

/// The tunnels with one server by one outside address.
#[derive(Clone, Copy, Debug)]
pub struct Gateway {
    /// Protocol.
    pub proto: Proto,
    /// The server.
    pub remote: Ipv4Addr,
    /// Our address.
    pub outside: Ipv4Addr,
    /// Tunnels.
    pub count: u32,
    /// Of them, those that are [`super::State::Pending`].
    pub pending: u32,
    /// Whose turn it is, and how the server has answered so far.
    pub(in crate::passthrough) turn: Turn,
    /// When those were looked for last that send and hear nothing.
    pub(in crate::passthrough) woke_at: Option<Tick>,
    /// Until when what comes is not certain, as what came before was not.
    pub(in crate::passthrough) unsure: Option<Tick>,
    pub(super) head: u32,
    pub(super) tail: u32,
    pub(super) next_free: u32,
}

impl Gateway {
    pub(super) const FREE: Self = Self {
        proto: Proto(0),
        remote: Ipv4Addr::UNSPECIFIED,
        outside: Ipv4Addr::UNSPECIFIED,
        count: 0,
        pending: 0,
        turn: Turn::NONE,
        woke_at: None,
        unsure: None,
        head: NONE,
        tail: NONE,
        next_free: NONE,
    };

    /// Whether what comes is not certain, as what came before was not.
    pub(in crate::passthrough) fn is_unsure(&self, now: Tick) -> bool {
        self.unsure.is_some_and(|until| !now.reached(until))
    }
}

/// Whose turn it is to set up with a server: others are held back meanwhile, so that an answer is to that one.
#[derive(Clone, Copy, Debug)]
pub(in crate::passthrough) struct Turn {
    holder: u32,
    since: Tick,
    until: Tick,
    /// It asks by IKE.
    exchange: bool,
    /// Its inside host's packets that had no answer, and when the last one went.
    asked: u8,
    asked_at: Tick,
    /// Others were held back meanwhile.
    pub(in crate::passthrough) others: bool,
    /// Until then, an answer may be to somebody whose turn it is not.
    blurred: Option<Tick>,
    /// How long an answer is waited for, in milliseconds: twice what answers took.
    wait: u32,
    /// Whether that was measured.
    measured: bool,
}

impl Turn {
    const NONE: Self = Self {
        holder: NONE,
        since: Tick(0),
        until: Tick(0),
        exchange: false,
        asked: 0,
        asked_at: Tick(0),
        others: false,
        blurred: None,
        wait: TURN_MS,
        measured: false,
    };

    /// Whose it is, if anybody's.
    pub(in crate::passthrough) fn holder(&self) -> Option<TunnelId> {
        (self.holder != NONE).then_some(TunnelId(self.holder))
    }

    /// When it ends at the latest.
    pub(in crate::passthrough) const fn until(&self) -> Tick {
        self.until
    }

    /// Whether it is nobody's any more.
    pub(in crate::passthrough) const fn is_over(&self, now: Tick) -> bool {
        self.holder == NONE || now.reached(self.until)
    }

    /// Whether an answer's time is known.
    pub(in crate::passthrough) const fn is_measured(&self) -> bool {
        self.measured
    }

    /// Who alone asked, and may get an answer now.
    pub(in crate::passthrough) fn asker(&self, now: Tick) -> Option<TunnelId> {
        let clear = self.blurred.is_none_or(|until| now.reached(until));
        self.holder().filter(|_| self.asked > 0 && clear && !self.is_over(now))
    }

    /// A tunnel's packet goes out: of an exchange, or data that asks for an answer. `fixed`: how long a turn is, where it
    /// does not go by answers. Says whether the tunnel's turn begins.
    pub(in crate::passthrough) fn take(&mut self, id: TunnelId, asks: bool, fixed: Option<u32>, now: Tick) -> bool {
        let begins = self.is_over(now);
        if begins {
            // What the one before said last may still be answered.
            if self.holder != NONE && self.holder != id.0 && self.asked > 0 {
                self.blur(self.asked_at.after(self.wait), now);
            }
            (self.holder, self.since, self.exchange, self.asked, self.others) = (id.0, now, false, 0, false);
        } else if self.holder != id.0 {
            // It could not wait; whatever comes now may be either's answer.
            self.blur(now.after(self.wait), now);
            return false;
        }
        self.exchange |= !asks;
        if asks {
            (self.asked, self.asked_at) = (self.asked.saturating_add(1), now);
        }
        self.prolong(fixed, now);
        begins
    }

    /// Its tunnel came a step further.
    pub(in crate::passthrough) fn prolong(&mut self, fixed: Option<u32>, now: Tick) {
        let (next, last) = (now.after(self.wait), self.since.after(TIMES * self.wait));
        self.until = match fixed {
            Some(ms) => self.since.after(ms),
            None if next.reached(last) => last,
            None => next,
        };
    }

    /// It ends soon.
    pub(in crate::passthrough) fn shorten(&mut self, ms: u32, now: Tick) {
        if !now.after(ms).reached(self.until) && self.asked == 0 {
            self.until = now.after(ms);
        }
    }

    /// A tunnel's packet goes out whoever's turn it is.
    pub(in crate::passthrough) fn disturb(&mut self, id: TunnelId, now: Tick) {
        if self.holder != id.0 || self.is_over(now) {
            self.blur(now.after(self.wait), now);
        }
    }

    fn blur(&mut self, until: Tick, now: Tick) {
        let longer = self.blurred.is_none_or(|b| now.reached(b) || until.reached(b));
        if longer && !now.reached(until) {
            self.blurred = Some(until);
        }
    }

    /// The server's answer to a tunnel, by an identifier that is known.
    pub(in crate::passthrough) fn answered(&mut self, id: TunnelId) {
        if self.holder == id.0 {
            self.asked = self.asked.saturating_sub(1);
            if self.asked == 0 && !self.exchange {
                self.holder = NONE;
            }
        }
    }

    /// A tunnel got what it waited for.
    pub(in crate::passthrough) fn got(&mut self, id: TunnelId) {
        if self.holder == id.0 {
            self.exchange = false;
        }
        self.answered(id);
    }

    /// It is no longer that tunnel's.
    pub(in crate::passthrough) const fn end(&mut self, id: TunnelId) {
        if self.holder == id.0 {
            self.holder = NONE;
        }
    }

    /// An answer of the server took so long. What took longer than anybody waits was none.
    pub(in crate::passthrough) fn took(&mut self, ms: u32) {
        if ms <= LONGEST_TURN_MS {
            let wait = (2 * ms).max(self.wait - self.wait / 8);
            (self.wait, self.measured) = (wait.clamp(TURN_MS, LONGEST_TURN_MS), true);
        }
    }

    /// The same of a tunnel's question, if it asked one and was the last to.
    pub(in crate::passthrough) fn took_since(&mut self, id: TunnelId, now: Tick) {
        if self.holder == id.0 && self.asked == 1 {
            self.took(now.since(self.asked_at));
        }
    }
}
