//! What an operator is told about VPNs that cannot work as they are, once for each pair of hosts.
//!
//! Workers put notices into a queue of fixed size and never wait; whoever holds the other end logs them. When the queue
//! is full, or a pair was told of lately, nothing is put: the counters have it all.

use crate::verdict::Cell;
use crossbeam::queue::ArrayQueue;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Notices that wait to be read.
const QUEUE: usize = 64;
/// Pairs remembered, so that each is told of once.
const PAIRS: usize = 256;

/// What is the matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matter {
    /// AH was tried.
    Ah,
    /// A PPTP server said that a channel between the pair exists already.
    PptpChannelExists,
    /// An inbound SPI was given by order.
    EspAmbiguous,
}

/// What is the matter, between whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What.
    pub matter: Matter,
    /// Inside host, or whoever sent.
    pub inside: Ipv4Addr,
    /// Remote host.
    pub remote: Ipv4Addr,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { matter, inside, remote } = self;
        match matter {
            Matter::Ah => write!(
                f,
                "IPsec AH between {inside} and {remote} cannot pass: it signs the addresses that NAT changes \
                 (RFC 3715 §2.1). Configure ESP on both ends, best with NAT traversal (UDP 4500)"
            ),
            Matter::PptpChannelExists => write!(
                f,
                "the PPTP server {remote} refuses {inside}: it allows one control connection an address, and another \
                 client shares the outside address (RFC 2637 §2.2). Give the client an address of its own in nat.pool, or \
                 change the server's setting"
            ),
            Matter::EspAmbiguous => write!(
                f,
                "ESP from {remote}: several inside hosts waited for it, and it went to {inside} by order. NAT traversal \
                 (UDP 4500) or esp_pairing = \"strict\" leaves no doubt"
            ),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Notices {
    queue: ArrayQueue<Notice>,
    told: [AtomicU64; PAIRS],
    lost: Cell,
}

impl Default for Notices {
    fn default() -> Self {
        Self { queue: ArrayQueue::new(QUEUE), told: std::array::from_fn(|_| AtomicU64::new(0)), lost: Cell::default() }
    }
}

impl Notices {
    /// Puts a notice unless its pair was told of. Says whether it is new. A pair that another one displaced from the
    /// memory of 256 is told of again.
    #[allow(clippy::cast_possible_truncation, reason = "a few bits of a hash")]
    pub fn tell(&self, notice: Notice) -> bool {
        let pair = u64::from(notice.inside.to_bits()) << 32 | u64::from(notice.remote.to_bits());
        let mark = (pair ^ (notice.matter as u64 + 1) << 61).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let Some(place) = self.told.get((mark >> 40) as usize % PAIRS) else { return false };
        if place.swap(mark, Relaxed) == mark {
            return false;
        }
        // A full queue loses the notice; the counter keeps it.
        if self.queue.push(notice).is_err() {
            self.lost.add(1);
        }
        true
    }

    /// How many notices found the queue full.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.get()
    }

    /// The oldest notice that was not read.
    #[must_use]
    pub fn take(&self) -> Option<Notice> {
        self.queue.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_told_of_once_and_the_queue_is_bounded() {
        let n = Notices::default();
        let notice = |last| Notice {
            matter: Matter::Ah,
            inside: Ipv4Addr::new(10, 0, 0, last),
            remote: Ipv4Addr::new(198, 51, 100, 7),
        };
        assert!(n.tell(notice(1)));
        assert!(!n.tell(notice(1)));
        assert!(n.tell(Notice { matter: Matter::EspAmbiguous, ..notice(1) }));
        for i in 2..=255 {
            n.tell(notice(i));
        }
        assert_eq!(std::iter::from_fn(|| n.take()).count(), QUEUE);
        assert_eq!(n.lost(), 256 - QUEUE as u64, "every one was put or is counted");
        assert!(notice(1).to_string().contains("NAT traversal"));
    }
}
