//! SIGINT and SIGTERM as a flag, and SIGHUP as another.

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A flag that SIGINT or SIGTERM sets. A second signal changes nothing: some senders signal a process and its group,
/// and the account must not be lost for that.
pub(crate) fn stop_flag() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag)).context("cannot listen for signals")?;
    }
    Ok(flag)
}

/// A flag that SIGHUP sets: read the configuration anew.
pub(crate) fn reload_flag() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGHUP, Arc::clone(&flag)).context("cannot listen for signals")?;
    Ok(flag)
}
