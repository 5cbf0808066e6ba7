//! VPN passthrough: what NAT alone cannot carry, because a protocol has no ports, or says addresses' companions in its
//! payload.
//!
//! ```text
//! service   which protocol a port means; the switches            notice   what the operator is told, once
//! tunnel    records of tunnels, and of the servers they share    show     the same, to be read
//! legs      sessions of one direction that belong to a tunnel    pairing  whose is an unseen inbound SPI or session
//! gate      whose turn it is to set up with a server             doubt    what was paired wrongly, mended by answers
//! ike       evidence for pairing, and source port 500 kept       l2tp     answers from another port; L2TPv3's control
//! pptp      the control stream followed, Call IDs translated     loan     legs at the worker that owns their identifier
//! ```
//!
//! It decides about flows, as [`crate::nat`] does, of which it is a part: all of it works on a [`crate::nat::Nat`]. Known
//! legs take the fast path without it.

mod doubt;
mod gate;
pub mod ike;
pub(crate) mod inspect;
pub mod l2tp;
mod legs;
pub mod loan;
pub mod notice;
mod pairing;
pub mod pptp;
pub mod service;
pub mod show;
pub mod tunnel;

use crate::policy::Policy;
use tunnel::Tunnels;

pub use legs::Came;

/// One worker's share of passthrough.
pub struct Vpn {
    /// Tunnels.
    pub tunnels: Tunnels,
    /// PPTP control connections.
    pub connections: pptp::Connections,
    /// L2TPv2 servers that may answer from another port.
    pub answers: l2tp::Answers,
    /// Fragments of inbound IKE whose port is kept.
    pub pieces: ike::Pieces,
    /// Legs lent to other workers, and borrowed from them.
    pub loans: loan::Loans,
}

/// Legs that a worker may borrow for each tunnel of its share: a pair and its rekey.
const LEGS_BORROWED: usize = 4;

impl Vpn {
    /// Empty tables, this worker's share of what `policy` says.
    #[must_use]
    pub fn new(policy: &Policy, workers: u8, seed: u64) -> Self {
        let share = policy.passthrough.tunnels.div_ceil(usize::from(workers.max(1)));
        Self {
            tunnels: Tunnels::new(share, seed),
            connections: pptp::Connections::new(share.div_ceil(4), seed),
            answers: l2tp::Answers::new(),
            pieces: ike::Pieces::new(),
            loans: loan::Loans::new(share * LEGS_BORROWED, workers),
        }
    }

    /// Bytes that all workers' tables take together.
    #[must_use]
    pub const fn memory(tunnels: usize, workers: u8) -> usize {
        let borrowed = if workers > 1 { loan::Loans::memory(tunnels * LEGS_BORROWED) } else { 0 };
        Tunnels::memory(tunnels) + pptp::Connections::memory(tunnels.div_ceil(4)) + borrowed
    }
}
