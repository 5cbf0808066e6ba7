//! Safe wrappers of what Underpass uses of DPDK; knows nothing of NAT.
//!
//! [`Eal`] starts DPDK, once a process. From it come packet buffers ([`Mempool`], [`Mbuf`]), devices ([`Port`], its
//! [`RxQueue`]s and [`TxQueue`]s) and rings between threads ([`ring()`]). A thread that handles packets pins itself and
//! then takes a [`RegisteredThread`], which gives it mempool caches of its own.
//!
//! # Why unsafe at all, and who upholds what
//!
//! DPDK is C: it hands out raw pointers, frees what it is told to free, and trusts that one thread polls a queue.
//! This crate turns those rules into types, so that nothing above it needs `unsafe`:
//!
//! * **An mbuf has one owner.** [`Mbuf`] is not `Clone` and not `Sync`; giving it to a queue or a ring moves it. Its
//!   header and bytes are reached by nobody else (see the invariant in `mbuf.rs`), so `&mut` to them is honest.
//! * **A queue and each end of a ring have one user.** They are handed out once, are `Send`, and work on `&mut self`.
//! * **Nothing outlives EAL.** Ports, queues, pools, rings and registered threads hold an `Arc` of it. A lone `Mbuf`
//!   does not, to stay one pointer wide; instead EAL is not cleaned up while any pool misses a buffer (see `eal.rs`).
//! * **Error numbers stop here.** Each becomes an [`Errno`] in an error that names the object and what to do.
//!
//! What the type system cannot see is trusted to DPDK and its drivers: that a pointer they return is what their
//! documentation says, and that a chain of segments is well formed.
#![allow(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clock;
mod eal;
mod error;
mod flow;
mod mbuf;
mod mempool;
mod port;
mod prefetch;
mod queue;
mod ring;
mod ring_port;
mod rss;
mod thread;

pub use arrayvec::ArrayVec;
pub use clock::Clock;
pub use eal::{Eal, EalConfig, Hugepages, Memory};
pub use error::{EalError, Errno, MbufError, MempoolError, PortError, RingError, ThreadError};
pub use flow::{FlowRule, Header, Masked, Target};
pub use mbuf::{Mbuf, Segments, free_bulk};
pub use mempool::{Mempool, PoolConfig};
pub use port::{ActivePort, Link, Mtu, Port, PortConfig, PortInfo, PortStats, Started};
pub use prefetch::prefetch;
pub use queue::{RxQueue, TxQueue};
pub use ring::{Consumer, Producer, ring};
pub use ring_port::{ring_port, wire};
pub use rss::{Rss, RssFunctions, toeplitz};
pub use thread::RegisteredThread;
