//! Everything that decides about a packet, in pure Rust over bytes and a clock.
//!
//! ```text
//! wire        headers as views over bytes          packet    one bounds-checked pass → Meta
//! flow        index, sessions, timer wheel, TCP    nat       mappings, ports, subscribers, rewrite, fragments
//! policy      what the operator wants, compiled    link      neighbours and ARP
//! passthrough PPTP, IKE and ESP, L2TP: tunnels, their legs and their control traffic
//! worker      the loop and its stages              io        bursts: memory, DPDK
//! verdict     what became of each packet           meter     time and cycles, in buckets
//! types       sides, units, identifiers            census    sessions and mappings by protocol
//! orders      what control asks of a worker that runs: dumps, flushes
//! ```
//!
//! No DPDK unless the feature `dpdk` asks for the adapter; no `unsafe` but for a prefetch, a comparison of sixteen bytes and a hint for huge pages.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::undocumented_unsafe_blocks
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation
    )
)]

pub mod budget;
pub mod census;
pub mod flow;
pub mod io;
pub mod link;
pub mod meter;
pub mod nat;
pub mod orders;
pub mod packet;
pub mod passthrough;
pub mod policy;
mod prefetch;
mod simd;
mod table;
pub mod types;
pub mod verdict;
pub mod wire;
pub mod worker;
