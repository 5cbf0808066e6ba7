//! PPTP (RFC 2637).

pub mod stream;
