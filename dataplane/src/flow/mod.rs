//! Flows and where they are kept: index, sessions, timer wheel, TCP state.
//!
//! ```text
//! hash(key) ──► Index bucket (64 B: 12 tags, 12 slots) ──► Session (64 B: both keys, rewrite, next hops, state)
//!                                                              │ doubly linked
//!                                                          Wheel slot (look at it again at …)
//! ```

pub mod index;
pub mod session;
pub mod tcp;
pub mod wheel;
