//! Rings between threads, and devices made of rings: nothing lost, nothing twice, nothing out of order.

mod common;

use common::{Burst, eal, numbered, numbers, pool, start, unique, until};
use dpdk::{Mempool, PoolConfig, Port, RegisteredThread, RingError, free_bulk, ring, ring_port, wire};

#[test]
fn a_full_ring_keeps_the_rest_with_the_caller_in_order() {
    let pool = pool(63);
    let (mut producer, mut consumer) = ring(eal(), &unique("ring"), 10).unwrap();
    assert_eq!((producer.capacity(), producer.is_empty(), consumer.is_empty()), (10, true, true));
    let mut burst = numbered(&pool, 0..16);
    assert_eq!(producer.burst(&mut burst), 10);
    assert_eq!(numbers(&burst), [10, 11, 12, 13, 14, 15]);
    assert_eq!(producer.burst(&mut burst), 0);
    assert_eq!((burst.len(), producer.len(), consumer.len()), (6, 10, 10));

    let mut out = numbered(&pool, 100..125);
    assert_eq!(consumer.burst(&mut out), 7, "only the spare capacity is filled");
    assert_eq!(numbers(&out)[25..], [0, 1, 2, 3, 4, 5, 6]);
    out.clear();
    assert_eq!(producer.burst(&mut burst), 6);
    assert_eq!(consumer.burst(&mut out), 9);
    assert_eq!(numbers(&out), [7, 8, 9, 10, 11, 12, 13, 14, 15]);
    assert_eq!(consumer.burst(&mut Burst::new()), 0);
    drop(out);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn dropping_both_ends_frees_what_is_in_the_ring_and_its_name() {
    let pool = pool(127);
    let name = unique("ring");
    for first in ["producer", "consumer"] {
        let (mut producer, consumer) = ring(eal(), &name, 127).unwrap();
        for _ in 0..3 {
            producer.burst(&mut numbered(&pool, 0..32));
        }
        assert_eq!(pool.in_use(), 96);
        if first == "producer" {
            drop(producer);
            assert_eq!((pool.in_use(), consumer.len()), (96, 96), "the other end can still take them out");
        } else {
            drop(consumer);
            assert_eq!((pool.in_use(), producer.len()), (96, 96));
        }
        // The second end goes at the end of the round.
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_ring_that_cannot_be_made_says_why() {
    let _holder = ring(eal(), "taken", 8).unwrap();
    let error = ring(eal(), "taken", 8).unwrap_err();
    assert!(error.to_string().contains("ring taken for 8 packets: the name is taken"), "{error}");
    assert!(matches!(ring(eal(), "empty", 0), Err(RingError::Create { .. })));
    assert!(matches!(ring(eal(), &"n".repeat(29), 8), Err(RingError::Name(_))));
    assert!(ring(eal(), &"n".repeat(28), 8).is_ok());
}

#[test]
fn a_million_packets_pass_between_two_threads() {
    const COUNT: u64 = 1_000_000;
    let pool =
        Mempool::new(eal(), &unique("ring"), PoolConfig { count: 2047, cache: 128, ..PoolConfig::default() }).unwrap();
    let (mut producer, mut consumer) = ring(eal(), &unique("ring"), 512).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _guard = RegisteredThread::new(eal()).unwrap();
            let (mut next, mut burst) = (0, Burst::new());
            until("the ring takes all", || {
                while !burst.is_full() && next < COUNT {
                    let Some(mut mbuf) = pool.alloc() else { break };
                    mbuf.set_tag(next);
                    burst.push(mbuf);
                    next += 1;
                }
                if producer.burst(&mut burst) == 0 {
                    std::thread::yield_now();
                }
                next == COUNT && burst.is_empty()
            });
        });
        let _guard = RegisteredThread::new(eal()).unwrap();
        let (mut next, mut burst) = (0, Burst::new());
        until("the ring gives all", || {
            consumer.burst(&mut burst);
            for mbuf in &burst {
                assert_eq!(mbuf.tag(), next, "in order, each once");
                next += 1;
            }
            free_bulk(burst.drain(..));
            next == COUNT
        });
    });
    assert!(consumer.is_empty());
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_million_packets_cross_a_wire_and_come_back() {
    const COUNT: u64 = 1_000_000;
    let pool = pool(1023);
    let (a, b) = wire(eal(), &unique("a"), &unique("b"), 1, 256).unwrap();
    let mut a = start(Port::find(eal(), &a).unwrap(), &pool);
    let mut b = start(Port::find(eal(), &b).unwrap(), &pool);
    assert!(a.port.link().unwrap().up);

    let (mut sent, mut back) = (0, 0);
    let (mut out, mut echo, mut home) = (Burst::new(), Burst::new(), Burst::new());
    until("all come back", || {
        while !out.is_full() && sent < COUNT {
            let Some(mut mbuf) = pool.alloc() else { break };
            mbuf.append(8).unwrap().copy_from_slice(&sent.to_be_bytes());
            out.push(mbuf);
            sent += 1;
        }
        a.tx.burst(&mut out);
        b.rx.burst(&mut echo);
        b.tx.burst(&mut echo);
        a.rx.burst(&mut home);
        for number in numbers(&home) {
            assert_eq!(number, back, "in order, each once");
            back += 1;
        }
        free_bulk(home.drain(..));
        back == COUNT
    });
    let (at_a, at_b) = (a.port.stats().unwrap(), b.port.stats().unwrap());
    assert_eq!((at_a.sent, at_a.received, at_b.sent, at_b.received), (COUNT, COUNT, COUNT, COUNT));
    assert!(a.port.xstats().unwrap().contains(&("rx_good_packets".into(), COUNT)));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn queue_i_of_a_wire_leads_to_queue_i() {
    let pool = pool(127);
    let (a, b) = wire(eal(), &unique("a"), &unique("b"), 3, 64).unwrap();
    let mut config = dpdk::PortConfig::new(&pool);
    (config.rx_queues, config.tx_queues) = (3, 3);
    let mut a = Port::find(eal(), &a).unwrap().start(&config).unwrap();
    let mut b = Port::find(eal(), &b).unwrap().start(&config).unwrap();
    for queue in 0..3 {
        a.tx[queue].burst(&mut numbered(&pool, queue as u64..queue as u64 + 1));
    }
    for queue in 0..3 {
        let mut burst = Burst::new();
        b.rx[queue].burst(&mut burst);
        assert_eq!(numbers(&burst), [queue as u64]);
        assert_eq!((b.rx[queue].queue(), b.rx[queue].port()), (queue as u16, b.port.id()));
    }
}

#[test]
fn what_a_full_device_refuses_is_still_ours_and_goes_back_when_dropped() {
    let pool = pool(127);
    let (a, _nobody_reads) = wire(eal(), &unique("a"), &unique("b"), 1, 20).unwrap();
    let mut a = start(Port::find(eal(), &a).unwrap(), &pool);
    let mut burst = numbered(&pool, 0..32);
    assert_eq!(a.tx.burst(&mut burst), 20);
    assert_eq!(numbers(&burst), (20..32).collect::<Vec<_>>(), "refused, in order, at the front");
    assert_eq!(a.tx.burst(&mut burst), 0);
    assert_eq!((burst.len(), pool.in_use()), (12, 32));
    drop(burst);
    assert_eq!(pool.in_use(), 20, "what is on the wire is not ours");
}

#[test]
fn closing_both_ends_of_a_wire_frees_what_was_on_it_and_the_names() {
    let pool = pool(127);
    let (name_a, name_b) = (unique("a"), unique("b"));
    for _ in 0..3 {
        let (a, b) = wire(eal(), &name_a, &name_b, 1, 64).unwrap();
        let mut a = start(Port::find(eal(), &a).unwrap(), &pool);
        let b = start(Port::find(eal(), &b).unwrap(), &pool);
        a.tx.burst(&mut numbered(&pool, 0..32));
        drop(a);
        assert_eq!(pool.in_use(), 32, "one end still has the wire");
        drop(b);
        assert_eq!(pool.in_use(), 0);
        assert!(!Port::names(eal()).contains(&format!("net_ring_{name_a}")));
    }
}

#[test]
fn a_port_over_rings_talks_to_whoever_has_the_other_ends() {
    let pool = pool(127);
    let (mut to_port, port_rx) = ring(eal(), &unique("ring"), 64).unwrap();
    let (port_tx, mut from_port) = ring(eal(), &unique("ring"), 64).unwrap();
    let name = ring_port(eal(), &unique("port"), vec![port_rx], vec![port_tx]).unwrap();
    let mut port = start(Port::find(eal(), &name).unwrap(), &pool);

    let mut burst = Burst::new();
    to_port.burst(&mut numbered(&pool, 0..5));
    assert_eq!(port.rx.burst(&mut burst), 5);
    assert_eq!(port.tx.burst(&mut burst), 5);
    assert_eq!(from_port.burst(&mut burst), 5);
    assert_eq!(numbers(&burst), [0, 1, 2, 3, 4]);
    drop(burst);

    to_port.burst(&mut numbered(&pool, 0..7));
    drop(port);
    assert_eq!(to_port.len(), 7, "the ring outlives the port while we have our end");
    drop(to_port);
    assert_eq!(pool.in_use(), 0);
}
