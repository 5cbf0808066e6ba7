//! Packets as only some devices deliver them: that somebody else refers to as well, or with a hash.
#![allow(unsafe_code, reason = "to make what safe code cannot")]

mod common;

use std::ptr::NonNull;

use common::{Burst, Single, eal, numbered, packet, pool, start, unique};
use dpdk::{Mbuf, Mempool, Port, Producer, ring, ring_port};
use dpdk_sys::{SHIM_MBUF_RX_RSS_HASH, rte_mbuf, rte_pktmbuf_clone, shim_mbuf, shim_mbuf_free};

/// A port, and where to put what it is to receive.
fn fed(pool: &Mempool) -> (Producer, Single) {
    let (producer, rx) = ring(eal(), &unique("ring"), 64).unwrap();
    let (tx, _) = ring(eal(), &unique("ring"), 64).unwrap();
    let name = ring_port(eal(), &unique("port"), vec![rx], vec![tx]).unwrap();
    (producer, start(Port::find(eal(), &name).unwrap(), pool))
}

/// Another reference to the bytes of `raw`.
fn cloned(raw: NonNull<rte_mbuf>) -> Mbuf {
    // SAFETY: a live packet.
    let pool = unsafe { raw.cast::<shim_mbuf>().as_ref() }.pool;
    // SAFETY: both are alive.
    let clone = NonNull::new(unsafe { rte_pktmbuf_clone(raw.as_ptr(), pool) }).unwrap();
    // SAFETY: not kept to: this is no packet of its own. It goes into a ring unread, as from a device that knows nothing
    // of `Mbuf`.
    unsafe { Mbuf::from_raw(clone) }
}

#[test]
fn shared_packets_arrive_as_copies_that_may_be_written() {
    let pool = pool(63);
    let (mut producer, mut port) = fed(&pool);
    let mut chain = packet(&pool, b"shared ");
    chain.chain(packet(&pool, b"chain")).unwrap();
    let (single, chain) = (packet(&pool, b"shared").into_raw(), chain.into_raw());
    let own = packet(&pool, b"own");
    let own_address = own.header_address();
    let mut burst: Burst = [cloned(single), own, cloned(chain), cloned(single)].into_iter().collect();
    assert_eq!(producer.burst(&mut burst), 4);

    burst.push(packet(&pool, b"earlier"));
    assert_eq!(port.rx.burst(&mut burst), 4);
    let bytes = |mbuf: &Mbuf| mbuf.segments().flatten().copied().collect::<Vec<u8>>();
    let received: Vec<_> = burst.iter().map(bytes).collect();
    assert_eq!(received, [&b"earlier"[..], b"shared", b"own", b"shared chain", b"shared"]);
    assert_eq!(burst[2].header_address(), own_address, "what was not shared was not copied");
    for mbuf in &mut burst {
        mbuf.data_mut().fill(b'X');
    }
    for (raw, expected) in [(single, &b"shared"[..]), (chain, b"shared chain")] {
        // SAFETY: all clones are gone (the port freed them), so `into_raw`'s reference is the only one again.
        let original = unsafe { Mbuf::from_raw(raw) };
        assert_eq!(bytes(&original), expected, "the original's bytes are its own");
    }
    drop(burst);
    assert_eq!((pool.in_use(), port.rx.lost()), (0, 0));
}

#[test]
fn a_shared_packet_without_a_buffer_to_copy_to_is_counted_and_given_back() {
    let pool = pool(31);
    let (mut producer, mut port) = fed(&pool);
    let single = packet(&pool, b"shared").into_raw();
    let mut burst: Burst = [cloned(single), packet(&pool, b"own")].into_iter().collect();
    producer.burst(&mut burst);
    let rest = numbered(&pool, 0..28);
    assert_eq!(pool.available(), 0);

    assert_eq!(port.rx.burst(&mut burst), 1);
    assert_eq!((burst[0].data(), port.rx.lost()), (&b"own"[..], 1));
    drop((burst, rest));
    assert_eq!(pool.in_use(), 1, "only the original is still out");
    // SAFETY: the one reference, from `into_raw`.
    unsafe { shim_mbuf_free(single.as_ptr()) };
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_devices_hash_is_read_until_a_tag_takes_its_place() {
    let pool = pool(7);
    let raw = packet(&pool, b"hashed").into_raw();
    // SAFETY: ours alone, from `into_raw`; as a device would write it.
    let header = unsafe { raw.cast::<shim_mbuf>().as_mut() };
    (header.hash, header.ol_flags) = ([0x1234_5678, 0], SHIM_MBUF_RX_RSS_HASH | 1);
    // SAFETY: the one reference, from `into_raw`.
    let mut mbuf = unsafe { Mbuf::from_raw(raw) };
    assert_eq!(mbuf.rss_hash(), Some(0x1234_5678));
    mbuf.set_tag(9);
    assert_eq!((mbuf.rss_hash(), mbuf.tag(), mbuf.ol_flags()), (None, 9, 1));
}
