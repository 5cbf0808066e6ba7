//! Who has set up ESP with a gateway and has no answer yet. Nothing in an unseen inbound SPI tells whose it is, so while two
//! wait behind one outside address the router may pair it wrongly at first, and must mend that; while one does, it may not.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Whoever is here for so long has fallen silent.
const FORGOTTEN: Duration = Duration::from_secs(6);

/// A gateway, and the outside address that it sees.
pub(super) type Place = (Ipv4Addr, Ipv4Addr);
/// A conversation, and the client in it.
pub(super) type Who = (u32, u16);

struct Rival {
    who: Who,
    since: Duration,
    contested: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Rivals {
    open: HashMap<Place, Vec<Rival>>,
}

impl Rivals {
    /// One begins to wait. Whoever else does is its rival, and it theirs.
    pub(super) fn enter(&mut self, place: Place, who: Who, now: Duration) {
        let rivals = self.open.entry(place).or_default();
        rivals.retain(|r| now.saturating_sub(r.since) < FORGOTTEN && r.who != who);
        rivals.push(Rival { who, since: now, contested: false });
        if rivals.len() > 1 {
            rivals.iter_mut().for_each(|r| r.contested = true);
        }
    }

    /// Whether there was another while this one waited.
    pub(super) fn is_contested(&self, place: Place, who: Who) -> bool {
        self.open.get(&place).is_some_and(|rivals| rivals.iter().any(|r| r.who == who && r.contested))
    }

    /// One waits no longer.
    pub(super) fn leave(&mut self, place: Place, who: Who) {
        if let Some(rivals) = self.open.get_mut(&place) {
            rivals.retain(|r| r.who != who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_together_with_another_is_contested_until_answered() {
        let (mut rivals, now) = (Rivals::default(), Duration::from_secs(1));
        let here = (Ipv4Addr::new(198, 51, 100, 10), Ipv4Addr::new(203, 0, 113, 2));
        let there = (here.0, Ipv4Addr::new(203, 0, 113, 3));
        rivals.enter(here, (1, 0), now);
        rivals.enter(there, (2, 0), now);
        assert!(!rivals.is_contested(here, (1, 0)));
        rivals.enter(here, (1, 1), now);
        rivals.leave(here, (1, 1));
        assert!(rivals.is_contested(here, (1, 0)) && !rivals.is_contested(there, (2, 0)));
        rivals.leave(here, (1, 0));
        assert!(!rivals.is_contested(here, (1, 0)));
        rivals.enter(there, (3, 0), now + FORGOTTEN);
        assert!(!rivals.is_contested(there, (3, 0)), "who fell silent is nobody's rival");
    }
}
