//! VPN protocols that address translation alone would break.

pub mod pptp;
