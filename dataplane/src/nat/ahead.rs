//! What set-up and expiry will touch, fetched ahead: a new session reads and writes some ten cache lines all over the
//! tables, and so does an ending one. One by one each would be waited for; asked for together, a burst's overlap.
//!
//! Nothing here decides or changes anything, and a wrong guess costs a line fetched in vain.

use super::Nat;
use super::ports::class_of;
use crate::types::{Endpoint, Inside, Key, Outside};

impl Nat {
    /// First: the buckets of a new flow's subscriber, of its mapping, and, supposing that it keeps its port, those of
    /// its outside endpoint and of the answers.
    pub(crate) fn fetch_new(&self, key: &Key) {
        if class_of(key.proto).is_none() {
            return;
        }
        let inside = key.from();
        self.subscribers.fetch_bucket(inside.addr);
        self.mappings.fetch_inside(key.proto, Inside(inside));
        let Some(number) = self.paired_number(inside.addr) else { return };
        self.ports.fetch(number, key.proto, inside.port);
        let Some(addr) = self.rules.pool_address(number) else { return };
        let outside = Endpoint::new(addr, inside.port);
        self.mappings.fetch_outside(key.proto, Outside(outside));
        self.sessions.prefetch_bucket(self.sessions.hash(&Key::new(key.proto, key.to(), outside)));
    }

    /// Second, when the buckets are here: the records that they lead to.
    pub(crate) fn fetch_known(&self, key: &Key) {
        if class_of(key.proto).is_some() {
            self.subscribers.fetch_record(key.src);
            self.mappings.fetch_record(key.proto, Inside(key.from()));
        }
    }
}
