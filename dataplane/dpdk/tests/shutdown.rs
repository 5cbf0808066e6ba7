//! EAL's end. One test, for EAL starts once a process.

use dpdk::{
    ArrayVec, Eal, EalConfig, EalError, Mbuf, Memory, Mempool, PoolConfig, Port, PortConfig, RegisteredThread, ring,
    wire,
};

/// Whether EAL's helper threads are there; they end with it.
fn eal_runs() -> bool {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .flatten()
        .any(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "eal-main"))
}

#[test]
fn eal_ends_after_everything_that_came_from_it_in_whichever_order_that_goes() {
    // What is wrong before EAL starts does not use up the one start.
    let config = EalConfig::new(Memory::Ordinary { megabytes: 32 }).program("dpdk-shutdown").log_level("critical");
    assert!(matches!(Eal::init(config.clone().argument("a\0b")), Err(EalError::Argument(_))));
    let error = Eal::init(config.clone().main_cpu(9999)).unwrap_err();
    assert!(error.to_string().starts_with("CPU 9999 is not available to this process"), "{error}");
    if Eal::hugepages().iter().all(|size| size.free_megabytes() == 0) {
        let error = Eal::init(EalConfig::new(Memory::Hugepages)).unwrap_err();
        assert!(error.to_string().contains("no free hugepages"), "{error}");
    }

    let eal = Eal::init(config.vdev("net_null0").vdev("net_null1")).unwrap();
    assert_eq!(Port::names(&eal), ["net_null0", "net_null1"]);
    let pool = Mempool::new(&eal, "pool", PoolConfig { count: 255, cache: 0, ..PoolConfig::default() }).unwrap();
    let (mut producer, consumer) = ring(&eal, "ring", 8).unwrap();
    let _unused_wire = wire(&eal, "a", "b", 2, 8).unwrap();
    let guard = RegisteredThread::new(&eal).unwrap();
    let mut null = Port::find(&eal, "net_null0").unwrap().start(&PortConfig::new(&pool)).unwrap();
    let unstarted = Port::find(&eal, "net_null1").unwrap();

    drop(eal);
    assert!(eal_runs(), "others still use it");
    let mut burst = ArrayVec::<Mbuf, 8>::new();
    assert_eq!(null.rx[0].burst(&mut burst), 8);
    producer.burst(&mut burst);
    assert_eq!(pool.in_use(), 8);
    let rx = null.rx.pop().unwrap();
    drop((null, unstarted, pool, consumer, guard));
    assert!(eal_runs(), "a queue and an end of a ring still use it");
    drop(producer);
    assert!(eal_runs(), "a queue still uses it");
    drop(rx);
    assert!(!eal_runs(), "the last one ended it");

    let again = Eal::init(EalConfig::new(Memory::Ordinary { megabytes: 16 }));
    assert!(matches!(again, Err(EalError::AlreadyStarted)));
}
