//! What the dataplane does on the wire, as claims. The worker is a black box: frames go in by its ports, the clock is
//! moved by hand, frames come out. Frames are written and read by `testkit`, which shares no code with the dataplane.
//!
//! [`lab`] sets the scene and checks after every test that each packet ended exactly once. `workers` runs all the
//! other claims again over several workers, with frames arriving at random ones.
//!
//! Rows are those of docs/rfc-compliance.md.

mod esp;
mod esp_hostile;
mod esp_together;
mod filtering;
mod forwards;
mod fragments;
mod hairpin;
mod icmp;
mod ike;
mod l2tp;
mod l2tpv3;
mod l2tpv3_hostile;
mod lab;
mod lending;
mod limits;
mod link;
mod malformed;
mod mapping;
mod model;
mod outcome;
mod page;
mod pptp;
mod pptp_limits;
mod pptp_stream;
mod protocols;
mod refusals;
mod switches;
mod tcp;
mod timers;
mod transcript;
mod vpn;
mod workers;
