//! A token bucket: how much of something may be done at once, and how much in a second.

use crate::types::Tick;

/// See the module.
pub struct Budget {
    /// A second.
    rate: u32,
    /// At once, in thousandths.
    most: u32,
    /// In thousandths.
    tokens: u32,
    filled: Tick,
}

impl Budget {
    /// Full: `burst` at once, then `rate` a second. With a rate of 0 there is none at all.
    #[must_use]
    pub fn new(rate: u32, burst: u32, now: Tick) -> Self {
        let most = if rate == 0 { 0 } else { burst.saturating_mul(1000) };
        Self { rate, most, tokens: most, filled: now }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Tick) -> bool {
        self.take_beyond(0, now)
    }

    /// Takes one, if so many are left afterwards.
    pub fn take_beyond(&mut self, reserve: u32, now: Tick) -> bool {
        let gained = now.since(self.filled).saturating_mul(self.rate);
        self.tokens = self.tokens.saturating_add(gained).min(self.most);
        self.filled = now;
        match self.tokens.checked_sub(1000) {
            Some(left) if left >= reserve.saturating_mul(1000) => {
                self.tokens = left;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_gives_a_burst_and_then_its_rate() {
        let mut b = Budget::new(100, 10, Tick(0));
        assert_eq!((0..50).filter(|_| b.take(Tick(0))).count(), 10);
        assert!(b.take(Tick(10)) && !b.take(Tick(10)));
        let mut none = Budget::new(0, 10, Tick(0));
        assert!(!none.take(Tick(1_000_000)));
    }

    #[test]
    fn a_reserve_is_left_to_those_who_need_none() {
        let mut b = Budget::new(100, 10, Tick(0));
        assert_eq!((0..50).filter(|_| b.take_beyond(4, Tick(0))).count(), 6);
        assert_eq!((0..50).filter(|_| b.take(Tick(0))).count(), 4);
    }
}
