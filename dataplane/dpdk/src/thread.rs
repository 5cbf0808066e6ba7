//! Threads that DPDK did not start.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::Eal;
use crate::eal::EalInner;
use crate::error::{Errno, ThreadError};

/// Registers the calling thread with DPDK for as long as this lives: it gets a cache of its own in every mempool, without
/// which each buffer is taken and given back one at a time from a ring that all threads share.
///
/// Pin the thread first: DPDK notes its CPU and NUMA node. The guard stays on its thread:
/// ```compile_fail,E0277
/// fn send<T: Send>() {}
/// send::<dpdk::RegisteredThread>();
/// ```
#[derive(Debug)]
pub struct RegisteredThread {
    lcore: u32,
    eal: Arc<EalInner>,
    this_thread: PhantomData<*mut ()>,
}

impl RegisteredThread {
    /// Registers the calling thread.
    pub fn new(eal: &Eal) -> Result<RegisteredThread, ThreadError> {
        let lcore = current();
        if lcore != dpdk_sys::SHIM_LCORE_ID_ANY {
            return Err(ThreadError::Already(lcore)); // DPDK would give a second lcore and lose the first.
        }
        // SAFETY: EAL is running, and this thread has no lcore.
        if unsafe { dpdk_sys::rte_thread_register() } < 0 {
            return Err(ThreadError::Refused { errno: Errno::last(), limit: dpdk_sys::RTE_MAX_LCORE - 1 });
        }
        Ok(RegisteredThread { lcore: current(), eal: eal.inner.clone(), this_thread: PhantomData })
    }

    /// The thread's number with DPDK.
    pub fn lcore(&self) -> u32 {
        self.lcore
    }
}

fn current() -> u32 {
    // SAFETY: reads a thread-local integer.
    unsafe { dpdk_sys::shim_lcore_id() }
}

impl Drop for RegisteredThread {
    fn drop(&mut self) {
        // What the caches hold would be out of everyone's reach until another thread gets this lcore.
        for pool in self.eal.pools().iter() {
            pool.flush_cache();
        }
        // SAFETY: on the thread that was registered (the guard is not `Send`), while EAL is running.
        unsafe { dpdk_sys::rte_thread_unregister() }
    }
}
