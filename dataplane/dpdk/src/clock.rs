//! The time-stamp counter: the cheapest clock there is, some twenty cycles a read, without a system call.

use crate::Eal;

/// Reads the counter and knows its rate, which EAL measured when it started.
///
/// The counter runs at a constant rate and is the same on all CPUs of the machines that DPDK supports.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    hz: u64,
}

impl Clock {
    /// The clock of this machine.
    pub fn new(_: &Eal) -> Clock {
        // SAFETY: reads a number that EAL set when it started; the `Eal` shows that it has.
        Clock { hz: unsafe { dpdk_sys::rte_get_tsc_hz() } }
    }

    /// The counter now. Only differences mean anything.
    #[inline]
    pub fn tsc() -> u64 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: RDTSC is an instruction of every x86-64 CPU, and Linux lets user mode use it.
        return unsafe { core::arch::x86_64::_rdtsc() };
        #[cfg(not(target_arch = "x86_64"))]
        // SAFETY: reads this architecture's counter register, which needs no state.
        return unsafe { dpdk_sys::shim_rdtsc() };
    }

    /// Counts a second.
    #[inline]
    pub fn tsc_hz(self) -> u64 {
        self.hz
    }
}
