//! Every way a call can fail, with what the operator can do about it.
//!
//! DPDK reports in three ways: `rte_errno`, a negative return value, or just -1. The first two become [`Errno`] at
//! the call; nothing above sees a number.

use std::ffi::c_int;
use std::fmt;

use thiserror::Error;

macro_rules! errno {
    ($($variant:ident = $number:literal, $text:literal;)*) => {
        /// Why DPDK refused. The numbers are Linux's, the same on every architecture that DPDK supports.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Errno {
            $(#[doc = $text] $variant,)*
            /// A number without a name here.
            Other(i32),
        }

        impl Errno {
            fn new(number: c_int) -> Errno {
                match number.wrapping_abs() {
                    $($number => Errno::$variant,)*
                    other => Errno::Other(other),
                }
            }
        }

        impl fmt::Display for Errno {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Errno::$variant => f.write_str($text),)*
                    Errno::Other(number) => write!(f, "error {number}"),
                }
            }
        }
    };
}

errno! {
    NotPermitted = 1, "not permitted";
    NotFound = 2, "not found";
    Io = 5, "input/output error";
    TryAgain = 11, "try again";
    OutOfMemory = 12, "out of memory";
    AccessDenied = 13, "access denied";
    Busy = 16, "busy";
    Exists = 17, "the name is taken";
    NoDevice = 19, "no such device";
    Invalid = 22, "invalid argument";
    NoSpace = 28, "no room left";
    NameTooLong = 36, "the name is too long";
    NotImplemented = 38, "not implemented";
    NotSupported = 95, "not supported";
    AlreadyDone = 114, "already done";
}

impl Errno {
    /// The calling thread's `rte_errno`: for calls that return NULL or -1.
    pub(crate) fn last() -> Errno {
        // SAFETY: reads a thread-local integer; any thread may, at any time.
        Errno::new(unsafe { dpdk_sys::shim_errno() })
    }

    /// For calls that return zero or more for success, and a negative error number.
    pub(crate) fn check(result: c_int) -> Result<c_int, Errno> {
        if result < 0 { Err(Errno::new(result)) } else { Ok(result) }
    }
}

/// Why [`Eal::init`](crate::Eal::init) failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EalError {
    /// DPDK keeps global state and cannot start twice.
    #[error("DPDK was already started in this process; it starts once, even after a failure: restart the process")]
    AlreadyStarted,
    /// An argument with a NUL byte inside.
    #[error("EAL argument {0:?} has a NUL byte in it: remove it")]
    Argument(String),
    /// The CPU for EAL's own threads is not one that this process may use.
    #[error("CPU {cpu} is not available to this process (it may use {allowed:?}): choose one of these")]
    Cpu {
        /// The CPU that was asked for.
        cpu: usize,
        /// The CPUs that the process may use.
        allowed: Vec<usize>,
    },
    /// Hugepages were asked for and none is free.
    #[error(
        "no free hugepages on this machine: reserve some (`echo 512 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages`) \
         or choose ordinary memory, which is slower"
    )]
    NoHugepages,
    /// The thread that runs EAL could not be started.
    #[error("cannot start the thread that runs EAL: {0}")]
    Thread(std::io::Error),
    /// `rte_eal_init` refused.
    #[error("DPDK did not start: {errno} (arguments: {arguments}). {advice}")]
    Init {
        /// What EAL reported.
        errno: Errno,
        /// All of EAL's arguments, to try with a DPDK tool.
        arguments: String,
        /// What is most likely wrong.
        advice: String,
    },
}

/// Why [`Mempool::new`](crate::Mempool::new) failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MempoolError {
    /// The name has a NUL byte or is longer than DPDK takes.
    #[error("mempool name {0:?} does not fit: use at most 25 characters, none of them NUL")]
    Name(String),
    /// The per-thread cache is larger than DPDK takes.
    #[error("a mempool of {count} buffers cannot have caches of {cache}: at most {limit}")]
    Cache {
        /// How many buffers the pool was to have.
        count: u32,
        /// The cache size that was asked for.
        cache: u32,
        /// The largest for this pool.
        limit: u32,
    },
    /// The buffers are too large.
    #[error("data room of {data_room} bytes is too large: at most {limit}")]
    DataRoom {
        /// What was asked for.
        data_room: u16,
        /// The largest that fits with the headroom.
        limit: u16,
    },
    /// DPDK did not create the pool.
    #[error(
        "mempool {name}: no {megabytes} MB for {count} buffers: {errno}; for \"out of memory\" reserve more hugepages, \
         give ordinary memory more megabytes, or ask for fewer buffers"
    )]
    Create {
        /// The pool's name.
        name: String,
        /// How many buffers it was to have.
        count: u32,
        /// About how much memory that is.
        megabytes: u64,
        /// What DPDK reported.
        errno: Errno,
    },
}

/// Why an operation on an [`Mbuf`](crate::Mbuf) failed; the mbuf is as it was.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MbufError {
    /// The first segment's buffer cannot take the whole packet.
    #[error("a packet of {length} bytes does not fit in a buffer with room for {room}: use a larger data room")]
    DoesNotFit {
        /// The whole packet's length.
        length: u32,
        /// What the first segment can hold.
        room: u32,
    },
}

/// Why a ring was not created.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RingError {
    /// The name has a NUL byte or is longer than DPDK takes.
    #[error("ring name {0:?} does not fit: use at most 28 characters, none of them NUL")]
    Name(String),
    /// DPDK did not create the ring.
    #[error("ring {name} for {capacity} packets: {errno}; use 1 to 2147483647 packets, an unused name, or more memory")]
    Create {
        /// The ring's name.
        name: String,
        /// How many packets it was to hold.
        capacity: u32,
        /// What DPDK reported.
        errno: Errno,
    },
    /// The device over rings was not created.
    #[error("ring device {name} was not created: {errno}; the name may be taken, or there are more than 16 queues")]
    Device {
        /// The device's name.
        name: String,
        /// What DPDK reported.
        errno: Errno,
    },
}

/// Why a device could not be used as asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PortError {
    /// No device of that name.
    #[error(
        "no device {name}: DPDK has {}; for a PCI device, bind it to vfio-pci and allow it when EAL starts",
        list(.present)
    )]
    NotFound {
        /// The name that was looked for.
        name: String,
        /// The devices that there are.
        present: Vec<String>,
    },
    /// DPDK could not attach the device.
    #[error("cannot attach device {device}: {errno}; its driver may be missing, or an argument of the device wrong")]
    Attach {
        /// The device and its arguments.
        device: String,
        /// What DPDK reported.
        errno: Errno,
    },
    /// The name has a NUL byte in it.
    #[error("device name {0:?} has a NUL byte in it: remove it")]
    Name(String),
    /// Another `Port` of this device is alive.
    #[error("device {0} is already in use: give each port its own device")]
    InUse(String),
    /// More queues than the device has, or none.
    #[error("device {name} has {limit} {direction} queues; {asked} were asked for: use between 1 and {limit} workers")]
    Queues {
        /// The device.
        name: String,
        /// "RX" or "TX".
        direction: &'static str,
        /// How many were asked for.
        asked: u16,
        /// How many there are.
        limit: u16,
    },
    /// The MTU is outside what the device takes.
    #[error("device {name} takes an MTU of {min} to {max}; {asked} was asked for")]
    MtuRange {
        /// The device.
        name: String,
        /// What was asked for.
        asked: u16,
        /// The smallest.
        min: u16,
        /// The largest.
        max: u16,
    },
    /// The device does not hash what was asked for.
    #[error("device {name} cannot spread packets by {asked:#x} (it can by {supported:#x}): ask for less, or for none")]
    Rss {
        /// The device.
        name: String,
        /// The functions that were asked for.
        asked: u64,
        /// Those that there are.
        supported: u64,
    },
    /// The hash key has the wrong length.
    #[error("device {name} takes a hash key of {expected} bytes, not {found}")]
    RssKey {
        /// The device.
        name: String,
        /// How long its key is.
        expected: usize,
        /// How long the key given is.
        found: usize,
    },
    /// The redirection table has the wrong length or names a queue that is not there.
    #[error("device {name} takes a redirection table of {size} entries, each below {queues}")]
    Reta {
        /// The device.
        name: String,
        /// How many entries it has.
        size: u16,
        /// How many RX queues were started.
        queues: u16,
    },
    /// The device does not take a rule.
    #[error("device {name} does not take the rule \"{rule}\": {errno}{said}")]
    Rule {
        /// The device.
        name: String,
        /// The rule.
        rule: String,
        /// What DPDK reported.
        errno: Errno,
        /// The driver's own words, if any, with what goes before them.
        said: String,
    },
    /// Any other step that DPDK refused.
    #[error("device {name}: cannot {action}: {errno}")]
    Step {
        /// The device.
        name: String,
        /// What was tried.
        action: &'static str,
        /// What DPDK reported.
        errno: Errno,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "no devices at all".into() } else { names.join(", ") }
}

/// Why a thread was not registered.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ThreadError {
    /// It is registered already.
    #[error("this thread is already registered with DPDK, as lcore {0}")]
    Already(u32),
    /// DPDK has no lcore left for it.
    #[error("DPDK did not register this thread: {errno}; it can serve {limit} threads: use fewer workers")]
    Refused {
        /// What DPDK reported.
        errno: Errno,
        /// How many threads DPDK was built for.
        limit: u32,
    },
}
