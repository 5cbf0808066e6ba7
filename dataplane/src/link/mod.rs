//! The link below: neighbours and their Ethernet addresses (RFC 826, RFC 1122 §2.3.2).

pub mod arp;
pub mod neighbour;
