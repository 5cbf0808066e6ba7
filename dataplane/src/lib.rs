//! Everything that decides about a packet, in pure Rust over bytes and a clock
