//! Buffers: where they come from, what may be done to them, and that each goes back exactly once.

mod common;

use common::{Burst, eal, numbered, numbers, packet, pool, unique};
use dpdk::{MbufError, Mempool, MempoolError, PoolConfig, RegisteredThread, ThreadError, free_bulk, prefetch};

#[test]
fn a_pool_counts_what_is_out_and_what_came_back() {
    let pool = pool(63);
    assert_eq!((pool.size(), pool.available(), pool.in_use()), (63, 63, 0));
    let held: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!((held.len(), pool.available(), pool.in_use()), (63, 0, 63));
    assert!(pool.alloc().is_none(), "an exhausted pool says so");
    drop(held);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn bulk_allocation_is_all_or_nothing() {
    let pool = pool(63);
    let mut first = Burst::new();
    first.push(packet(&pool, b"stays first"));
    assert_eq!(pool.alloc_bulk(&mut first), 31, "only the spare capacity is filled");
    assert_eq!(first[0].data(), b"stays first");
    let mut second = Burst::new();
    assert_eq!(pool.alloc_bulk(&mut second), 0, "31 are left, 32 were wanted");
    assert!(second.is_empty());
    assert_eq!(pool.in_use(), 32);
    free_bulk(first.drain(4..));
    assert_eq!((pool.in_use(), first.len()), (4, 4));
    free_bulk(first.drain(..));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn bulk_freeing_takes_more_than_one_batch() {
    let pool = pool(255);
    let held: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(held.len(), 255);
    free_bulk(held);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_packet_grows_and_shrinks_at_both_ends() {
    let pool = pool(7);
    let mut mbuf = packet(&pool, b"payload");
    let (headroom, tailroom) = (mbuf.headroom(), mbuf.tailroom());
    assert_eq!((headroom, tailroom), (128, 2048 - 7));

    mbuf.prepend(4).unwrap().copy_from_slice(b"head");
    mbuf.append(4).unwrap().copy_from_slice(b"tail");
    assert_eq!(mbuf.data(), b"headpayloadtail");
    assert_eq!((mbuf.total_len(), mbuf.headroom(), mbuf.tailroom()), (15, headroom - 4, tailroom - 4));

    mbuf.trim_front(4).unwrap();
    mbuf.truncate(7);
    assert_eq!(mbuf.data(), b"payload");
    mbuf.data_mut()[0] = b'P';
    assert_eq!(mbuf.data(), b"Payload");

    assert!(mbuf.prepend(headroom + 1).is_none());
    assert!(mbuf.append(tailroom + 1).is_none());
    assert!(mbuf.trim_front(8).is_none());
    mbuf.truncate(1000);
    assert_eq!(mbuf.data(), b"Payload", "what was refused changed nothing");
    assert_eq!((mbuf.total_len(), mbuf.headroom(), mbuf.tailroom()), (7, headroom, tailroom));

    assert_eq!(mbuf.prepend(headroom).unwrap().len(), 128);
    assert_eq!(mbuf.append(tailroom).unwrap().len(), 2041);
    assert_eq!((mbuf.data().len(), mbuf.headroom(), mbuf.tailroom()), (128 + 2048, 0, 0));
}

/// "0123" + "456" + "789": three segments.
fn chained(pool: &Mempool) -> dpdk::Mbuf {
    let mut mbuf = packet(pool, b"0123");
    mbuf.chain(packet(pool, b"456")).unwrap();
    mbuf.chain(packet(pool, b"789")).unwrap();
    mbuf
}

#[test]
fn a_chain_is_read_by_segment_and_joined_by_linearize() {
    let pool = pool(7);
    let mut mbuf = chained(&pool);
    assert_eq!((mbuf.segment_count(), mbuf.total_len(), pool.in_use()), (3, 10, 3));
    assert_eq!(mbuf.data(), b"0123", "data is the first segment's alone");
    assert_eq!(mbuf.segments().collect::<Vec<_>>(), [&b"0123"[..], b"456", b"789"]);

    mbuf.append(1).unwrap().copy_from_slice(b"!");
    assert_eq!(mbuf.segments().last().unwrap(), b"789!", "a chain grows at its end");

    mbuf.linearize().unwrap();
    assert_eq!((mbuf.data(), mbuf.segment_count(), mbuf.total_len()), (&b"0123456789!"[..], 1, 11));
    assert_eq!(pool.in_use(), 1, "the later segments went back");
}

#[test]
fn a_chain_too_long_for_one_buffer_stays_as_it_was() {
    let pool = pool(7);
    let mut mbuf = packet(&pool, &[1; 1500]);
    mbuf.chain(packet(&pool, &[2; 1500])).unwrap();
    assert_eq!(mbuf.linearize(), Err(MbufError::DoesNotFit { length: 3000, room: 2048 }));
    assert_eq!((mbuf.segment_count(), mbuf.total_len()), (2, 3000));
    assert!(mbuf.segments().flatten().copied().eq([1; 1500].into_iter().chain([2; 1500])));
    drop(mbuf);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn truncating_a_chain_frees_what_falls_off() {
    let pool = pool(7);
    for (length, segments) in [(10, 3), (9, 3), (8, 3), (7, 2), (5, 2), (4, 1), (1, 1), (0, 1)] {
        let mut mbuf = chained(&pool);
        mbuf.truncate(length);
        let bytes: Vec<u8> = mbuf.segments().flatten().copied().collect();
        assert_eq!(bytes, &b"0123456789"[..length as usize]);
        assert_eq!((mbuf.total_len(), mbuf.segment_count(), pool.in_use()), (length, segments, u32::from(segments)));
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_copy_is_another_packet() {
    let pool = pool(7);
    let mut original = chained(&pool);
    original.set_port(3);
    original.set_tag(42);
    let mut copy = original.copy(&pool).unwrap();
    copy.data_mut()[0] = b'X';
    assert_eq!(original.data(), b"0123");
    assert_eq!((copy.data(), copy.port(), copy.tag()), (&b"X123456789"[..], 3, 42));
    let rest: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert!(original.copy(&pool).is_none(), "no buffer, no copy");
    drop((original, copy, rest));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_tag_has_all_64_bits_and_takes_the_place_of_the_hash() {
    let pool = pool(7);
    let mut mbuf = packet(&pool, b"x");
    for tag in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
        mbuf.set_tag(tag);
        assert_eq!((mbuf.tag(), mbuf.rss_hash()), (tag, None));
    }
    assert_eq!((mbuf.data(), mbuf.port(), mbuf.ol_flags()), (&b"x"[..], u16::MAX, 0), "its neighbours are untouched");
    mbuf.set_port(7);
    assert_eq!((mbuf.port(), mbuf.segment_count(), mbuf.tag()), (7, 1, 0x0123_4567_89ab_cdef));
    prefetch(mbuf.header_address());
    prefetch(mbuf.data_address());
}

#[test]
fn a_raw_pointer_carries_ownership() {
    let pool = pool(7);
    let raw = packet(&pool, b"x").into_raw();
    assert_eq!(pool.in_use(), 1, "giving up ownership frees nothing");
    // SAFETY: `into_raw` above gave up the one reference, which this takes.
    #[allow(unsafe_code, reason = "the one unsafe function of the crate")]
    let mbuf = unsafe { dpdk::Mbuf::from_raw(raw) };
    assert_eq!(mbuf.data(), b"x");
    drop(mbuf);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_pool_that_cannot_be_made_says_why() {
    let new = |name: &str, config| Mempool::new(eal(), name, config).map(|pool| pool.size());
    let config = PoolConfig { count: 63, cache: 0, ..PoolConfig::default() };
    let error = new("a name that is far too long", config).unwrap_err();
    assert!(matches!(&error, MempoolError::Name(name) if name == "a name that is far too long"), "{error}");
    let error = new("cache", PoolConfig { cache: 60, ..config }).unwrap_err();
    assert!(matches!(error, MempoolError::Cache { count: 63, cache: 60, limit: 42 }), "{error}");
    let error = new("room", PoolConfig { data_room: 65_500, ..config }).unwrap_err();
    assert!(matches!(error, MempoolError::DataRoom { data_room: 65_500, limit: 65_407 }), "{error}");
    let error = new("memory", PoolConfig { count: 1 << 20, ..config }).unwrap_err();
    assert!(error.to_string().contains("2368 MB") && error.to_string().contains("out of memory"), "{error}");

    let longest = unique(&"n".repeat(22));
    new(&longest, config).unwrap();
    let error = new(&longest, config).unwrap_err();
    assert!(error.to_string().contains("the name is taken"), "{error}");
}

#[test]
fn a_registered_thread_has_a_cache_and_leaves_nothing_in_it() {
    let pool =
        Mempool::new(eal(), &unique("cached"), PoolConfig { count: 255, cache: 32, ..PoolConfig::default() }).unwrap();
    let lcore = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let guard = RegisteredThread::new(eal()).unwrap();
            assert_eq!(RegisteredThread::new(eal()).unwrap_err(), ThreadError::Already(guard.lcore()));
            drop(pool.alloc());
            assert_eq!(pool.in_use(), 0, "what is in a cache is free");
            guard.lcore()
        });
        worker.join().unwrap()
    });
    assert_ne!(lcore, 0, "lcore 0 is EAL's own");
    // This thread has no cache, so it reaches only what the worker gave back in earnest.
    assert_eq!(std::iter::from_fn(|| pool.alloc()).take(256).collect::<Vec<_>>().len(), 255);
}

#[test]
fn a_thread_can_register_again_after_its_guard_is_gone() {
    for _ in 0..500 {
        RegisteredThread::new(eal()).expect("each guard gives its lcore back; DPDK has 128");
    }
}

#[test]
fn many_threads_share_a_pool_and_lose_nothing() {
    let pool =
        Mempool::new(eal(), &unique("shared"), PoolConfig { count: 1023, cache: 64, ..PoolConfig::default() }).unwrap();
    std::thread::scope(|scope| {
        for registered in [true, true, false, false] {
            let pool = pool.clone();
            scope.spawn(move || {
                let _guard = registered.then(|| RegisteredThread::new(eal()).unwrap());
                for round in 0..1_000 {
                    let burst = numbered(&pool, round..round + 16);
                    assert!(numbers(&burst).into_iter().eq(round..round + 16), "nobody else wrote to our packets");
                }
            });
        }
    });
    assert_eq!(pool.in_use(), 0);
}
