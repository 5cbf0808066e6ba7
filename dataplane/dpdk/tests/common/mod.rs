//! One EAL for all tests of a program, in ordinary memory: as `cargo test` runs them, and one a process as nextest does.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dpdk::{
    ActivePort, ArrayVec, Eal, EalConfig, Mbuf, Memory, Mempool, PoolConfig, Port, PortConfig, RxQueue, TxQueue,
};

pub type Burst = ArrayVec<Mbuf, 32>;

pub fn eal() -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| {
        Eal::init(EalConfig::new(Memory::Ordinary { megabytes: 128 }).program("dpdk-test").log_level("critical"))
            .expect("EAL starts in ordinary memory, for anyone")
    })
}

/// A name that no other test of this process has.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Without caches, so that every buffer is within every thread's reach.
pub fn pool(count: u32) -> Mempool {
    Mempool::new(eal(), &unique("pool"), PoolConfig { count, cache: 0, ..PoolConfig::default() }).unwrap()
}

pub fn packet(pool: &Mempool, bytes: &[u8]) -> Mbuf {
    let mut mbuf = pool.alloc().expect("the pool has a buffer");
    mbuf.append(bytes.len() as u16).expect("the buffer has room").copy_from_slice(bytes);
    mbuf
}

/// Packets that carry the numbers of `range`, for telling which is which.
pub fn numbered(pool: &Mempool, range: std::ops::Range<u64>) -> Burst {
    range.map(|number| packet(pool, &number.to_be_bytes())).collect()
}

pub fn numbers(burst: &Burst) -> Vec<u64> {
    burst.iter().map(|mbuf| u64::from_be_bytes(mbuf.data().try_into().unwrap())).collect()
}

/// A port of one queue each way.
pub struct Single {
    pub port: ActivePort,
    pub rx: RxQueue,
    pub tx: TxQueue,
}

pub fn start(port: Port, pool: &Mempool) -> Single {
    let started = port.start(&PortConfig::new(pool)).unwrap();
    let (mut rx, mut tx) = (started.rx, started.tx);
    Single { port: started.port, rx: rx.remove(0), tx: tx.remove(0) }
}

/// Tries until `done`; a test that would wait for ever fails instead.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited too long: {what}");
        std::thread::yield_now();
    }
}
