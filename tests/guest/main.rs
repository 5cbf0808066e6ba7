//! Real VPN programs through `underpass run` that want a kernel with PPP, L2TP and WireGuard. `make test-guest`
//! runs them in a virtual machine with Debian's; elsewhere they are ignored.
//!
//! Two clients inside and one server outside, which sees one address for both. Each story is told line by line as it
//! comes true. The machine is thrown away afterwards, so stories may write to its `/etc` and load what modules they like.

#[path = "../common/mod.rs"]
mod common;

mod l2tp;
mod pptp;
mod wireguard;

use common::lab::{Claim, told};
use std::process::Command;

/// Loads the kernel's part of a story.
fn modules(names: &[&str]) -> Claim {
    let o = Command::new("modprobe").arg("--all").args(names).output().map_err(|e| e.to_string())?;
    if o.status.success() { Ok(()) } else { Err(told(&o)) }
}
