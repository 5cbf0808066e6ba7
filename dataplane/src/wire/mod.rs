//! Headers as they lie on the wire, one file a protocol, each in the same order: layout, constants, getters, tests.
//!
//! Layouts are views over borrowed bytes (network order in the types), never copies. A view exists only where enough
//! bytes do, so its getters cannot fail. Nothing here judges; [`crate::packet`] does.

pub mod arp;
pub mod checksum;
pub mod eth;
pub mod gre;
pub mod icmp;
pub mod ike;
pub mod ipv4;
pub mod l2tp;
pub mod pptp;
pub mod tcp;
pub mod udp;
