//! A packet that outlives EAL's last user. One test, for EAL starts once a process.

use dpdk::{Eal, EalConfig, Memory, Mempool, PoolConfig};

#[test]
fn a_packet_that_outlives_everything_keeps_its_memory() {
    let config = EalConfig::new(Memory::Ordinary { megabytes: 32 }).program("dpdk-stray").log_level("critical");
    let eal = Eal::init(config).unwrap();
    let pool = Mempool::new(&eal, "pool", PoolConfig { count: 63, cache: 0, ..PoolConfig::default() }).unwrap();
    let mut mbuf = pool.alloc().unwrap();
    mbuf.append(5).unwrap().copy_from_slice(b"alive");
    drop((eal, pool));
    // Were the memory unmapped, each of these would be a crash.
    assert_eq!(mbuf.data(), b"alive");
    mbuf.data_mut()[0] = b'A';
    drop(mbuf);
}
