//! DPDK's virtual devices, found, configured, driven and closed; and what an operator reads when one cannot be.

mod common;

use std::fs::File;
use std::time::Duration;

use common::{Burst, eal, numbered, numbers, packet, pool, start, unique, until};
use dpdk::{
    Clock, Eal, EalConfig, EalError, Errno, FlowRule, Header, Masked, Memory, Mtu, Port, PortConfig, PortError, Rss,
    RssFunctions, Target, toeplitz, wire,
};
use pcap_file::pcap::{PcapPacket, PcapReader, PcapWriter};

#[test]
fn a_second_eal_is_an_error_from_any_thread() {
    eal();
    let again = || Eal::init(EalConfig::new(Memory::Ordinary { megabytes: 16 }));
    assert!(matches!(again(), Err(EalError::AlreadyStarted)));
    assert!(matches!(std::thread::spawn(again).join().unwrap(), Err(EalError::AlreadyStarted)));
}

#[test]
fn eal_leaves_the_callers_thread_its_cpus() {
    let before = core_affinity_of_this_thread();
    eal();
    assert_eq!(core_affinity_of_this_thread(), before);
    assert!(!eal().has_hugepages());
    assert!(Eal::version().starts_with("DPDK "), "{}", Eal::version());
}

#[test]
fn eal_leaves_no_directory_behind_even_if_killed() {
    eal();
    let ours = format!("dpdk-test-{}", std::process::id());
    let runtime = std::env::var("XDG_RUNTIME_DIR").unwrap_or_else(|_| "/tmp".into());
    for place in ["/var/run", &runtime] {
        let path = std::path::Path::new(place).join("dpdk").join(&ours);
        assert!(!path.exists(), "{} is there", path.display());
    }
}

fn core_affinity_of_this_thread() -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    status.lines().find(|line| line.starts_with("Cpus_allowed:")).unwrap().into()
}

#[test]
fn eals_own_threads_stay_on_the_main_cpu() {
    eal();
    let mut cpus = std::collections::BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let Ok(name) = std::fs::read_to_string(task.path().join("comm")) else { continue };
        if name.starts_with("eal-") {
            let status = std::fs::read_to_string(task.path().join("status")).unwrap();
            let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
            cpus.insert(name.trim().to_string(), list.to_string());
        }
    }
    let main = cpus["eal-main"].clone();
    assert!(main.parse::<u32>().is_ok() && cpus.values().all(|cpu| *cpu == main), "one CPU for all: {cpus:?}");
    assert!(cpus.len() >= 2, "the main thread and the interrupt thread at least: {cpus:?}");
}

#[test]
fn the_clock_runs_at_the_rate_it_says() {
    let clock = Clock::new(eal());
    let start = Clock::tsc();
    std::thread::sleep(Duration::from_millis(100));
    let seconds = (Clock::tsc() - start) as f64 / clock.tsc_hz() as f64;
    assert!((0.099..1.0).contains(&seconds), "100 ms measured as {seconds} s");
}

#[test]
fn a_missing_device_is_named_along_with_those_there_are() {
    let (there, _) = wire(eal(), &unique("a"), &unique("b"), 1, 8).unwrap();
    let error = Port::find(eal(), "0000:99:00.0").unwrap_err();
    let text = error.to_string();
    assert!(text.contains("no device 0000:99:00.0") && text.contains(&there), "{text}");
    let error = Port::attach(eal(), "net_nosuchdriver0").unwrap_err();
    assert!(error.to_string().contains("net_nosuchdriver0"), "{error}");
}

#[test]
fn a_device_has_one_owner_at_a_time() {
    let (name, _) = wire(eal(), &unique("a"), &unique("b"), 1, 8).unwrap();
    let owner = Port::find(eal(), &name).unwrap();
    assert!(matches!(Port::find(eal(), &name), Err(PortError::InUse(taken)) if taken == name));
    let started = owner.start(&PortConfig::new(&pool(63))).unwrap();
    assert!(matches!(Port::find(eal(), &name), Err(PortError::InUse(_))));
    drop(started);
    assert!(matches!(Port::find(eal(), &name), Err(PortError::NotFound { .. })), "closed, it is removed");
}

#[test]
fn more_queues_than_there_are_is_a_clear_error_and_leaves_the_device_usable() {
    let pool = pool(63);
    let (name, _) = wire(eal(), &unique("a"), &unique("b"), 2, 8).unwrap();
    let config = |rx_queues, tx_queues| PortConfig { rx_queues, tx_queues, ..PortConfig::new(&pool) };
    for (rx, tx, text) in
        [(3, 1, "has 2 RX queues; 3 were"), (1, 5, "has 2 TX queues; 5 were"), (0, 1, "RX queues; 0 were")]
    {
        let error = Port::find(eal(), &name).unwrap().start(&config(rx, tx)).unwrap_err();
        assert!(error.to_string().contains(text) && error.to_string().contains(&name), "{error}");
    }
    let started = Port::find(eal(), &name).unwrap().start(&config(2, 1)).unwrap();
    assert_eq!((started.rx.len(), started.tx.len()), (2, 1));
}

#[test]
fn an_attached_device_is_removed_when_closed_and_can_be_attached_again() {
    let pool = pool(63);
    let device = unique("net_null");
    for _ in 0..3 {
        drop(Port::attach(eal(), &device).unwrap());
        let port = Port::find(eal(), &device).expect("what was not started stays");
        assert!(matches!(Port::attach(eal(), &device), Err(PortError::Attach { errno: Errno::Exists, .. })));
        drop(port.start(&PortConfig::new(&pool)).unwrap());
        assert!(matches!(Port::find(eal(), &device), Err(PortError::NotFound { .. })));
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn an_mtu_out_of_range_is_refused_and_one_without_support_is_reported() {
    let pool = pool(63);
    let (a, _) = wire(eal(), &unique("a"), &unique("b"), 1, 8).unwrap();
    let port = Port::find(eal(), &a).unwrap();
    let info = port.info().unwrap();
    let started = port.start(&PortConfig { mtu: info.max_mtu.min(9000), ..PortConfig::new(&pool) }).unwrap();
    assert!(matches!(started.mtu, Mtu::Kept { errno: Errno::NotSupported }), "{:?}", started.mtu);

    let device = unique("net_null");
    let port = Port::attach(eal(), &device).unwrap();
    let min = port.info().unwrap().min_mtu;
    let error = port.start(&PortConfig { mtu: min - 1, ..PortConfig::new(&pool) }).unwrap_err();
    assert!(error.to_string().contains(&format!("{} was asked for", min - 1)), "{error}");
}

#[test]
fn the_null_device_feeds_and_swallows() {
    let pool = pool(255);
    let mut null = start(Port::attach(eal(), &format!("{},size=100", unique("net_null"))).unwrap(), &pool);
    let info = null.port.info().unwrap();
    assert_eq!(info.driver, "net_null");
    let mut burst = Burst::new();
    for _ in 0..1000 {
        assert_eq!(null.rx.burst(&mut burst), 32);
        assert!(burst.iter().all(|mbuf| mbuf.data().len() == 100 && mbuf.port() == null.port.id()));
        assert_eq!(pool.in_use(), 32);
        assert_eq!(null.tx.burst(&mut burst), 32);
        assert!(burst.is_empty());
    }
    let stats = null.port.stats().unwrap();
    assert_eq!((stats.received, stats.sent), (32_000, 32_000));
    assert_eq!(pool.in_use(), 0);
    assert_eq!(null.rx.lost(), 0);
}

#[test]
fn an_exhausted_pool_stops_reception_and_nothing_is_lost() {
    let pool = pool(63);
    let mut null = start(Port::attach(eal(), &unique("net_null")).unwrap(), &pool);
    let mut held: Vec<Burst> = Vec::new();
    loop {
        let mut burst = Burst::new();
        if null.rx.burst(&mut burst) == 0 {
            break;
        }
        held.push(burst);
        assert!(held.len() < 10, "a pool of 63 cannot fill ten bursts of 32");
    }
    assert_eq!(pool.in_use() as usize, held.iter().map(|burst| burst.len()).sum::<usize>());
    drop(held);
    assert_eq!(pool.in_use(), 0);
    assert_eq!(null.rx.burst(&mut Burst::new()), 32, "and it goes on");
    drop(null);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn the_pcap_device_reads_a_file_and_writes_what_was_sent() {
    let directory = std::env::temp_dir().join(format!("dpdk-pcap-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (input, output) = (directory.join("in.pcap"), directory.join("out.pcap"));
    // Short, long, and larger than a buffer, which the device then cuts in segments.
    let frames: Vec<Vec<u8>> =
        [60usize, 1514, 9000].into_iter().map(|n| (0..n).map(|i| (i * 7 + n) as u8).collect()).collect();
    let mut writer = PcapWriter::new(File::create(&input).unwrap()).unwrap();
    for frame in &frames {
        writer.write_packet(&PcapPacket::new(Duration::ZERO, frame.len() as u32, frame)).unwrap();
    }
    drop(writer);

    let pool = pool(127);
    let device = format!("{},rx_pcap={},tx_pcap={}", unique("net_pcap"), input.display(), output.display());
    let mut pcap = start(Port::attach(eal(), &device).unwrap(), &pool);
    let mut burst = Burst::new();
    until("all frames of the file", || {
        pcap.rx.burst(&mut burst);
        burst.len() == frames.len()
    });
    for (mbuf, frame) in burst.iter().zip(&frames) {
        assert!(mbuf.segments().flatten().eq(frame), "a frame of {} bytes arrives unchanged", frame.len());
        assert_eq!(mbuf.total_len() as usize, frame.len());
    }
    assert_eq!(burst.iter().map(|mbuf| mbuf.segment_count()).collect::<Vec<_>>(), [1, 1, 5]);
    assert!(burst[2].linearize().is_err(), "9000 bytes do not fit one buffer");
    burst[0].data_mut()[0] = 0xee;
    assert_eq!(pcap.tx.burst(&mut burst), 3);
    drop(pcap);
    assert_eq!(pool.in_use(), 0);

    let mut reader = PcapReader::new(File::open(&output).unwrap()).unwrap();
    let mut sent = frames;
    sent[0][0] = 0xee;
    for frame in &sent {
        assert_eq!(reader.next_packet().unwrap().unwrap().data, frame.as_slice());
    }
    assert!(reader.next_packet().is_none());
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_queue_keeps_its_port_running() {
    let pool = pool(127);
    let (a, b) = wire(eal(), &unique("a"), &unique("b"), 1, 64).unwrap();
    let mut a = start(Port::find(eal(), &a).unwrap(), &pool);
    let b = start(Port::find(eal(), &b).unwrap(), &pool);
    drop((b.port, b.tx));
    let mut rx = b.rx;
    a.tx.burst(&mut numbered(&pool, 0..3));
    let mut burst = Burst::new();
    std::thread::scope(|scope| scope.spawn(|| rx.burst(&mut burst)).join().unwrap());
    assert_eq!(numbers(&burst), [0, 1, 2]);
}

#[test]
fn a_mac_address_is_set_where_the_device_takes_one() {
    let pool = pool(63);
    let with = |mac| PortConfig { mac: Some(mac), promiscuous: true, ..PortConfig::new(&pool) };
    let null = Port::attach(eal(), &unique("net_null")).unwrap();
    let started = null.start(&with([2, 0, 0, 0, 0, 7])).unwrap();
    assert_eq!(started.mac, [2, 0, 0, 0, 0, 7]);
    assert!(started.rx_descriptors > 0 && started.tx_descriptors > 0);

    let null = Port::attach(eal(), &unique("net_null")).unwrap();
    let error = null.start(&with([1, 0, 0, 0, 0, 7])).expect_err("a group's address is no device's");
    assert!(error.to_string().contains("cannot set its MAC address: invalid argument"), "{error}");

    let (a, _) = wire(eal(), &unique("a"), &unique("b"), 1, 8).unwrap();
    let ring = Port::find(eal(), &a).unwrap();
    let own = ring.info().unwrap().mac;
    let started = ring.start(&with([2, 0, 0, 0, 0, 7])).unwrap();
    assert!(started.mac == own || started.mac == [2, 0, 0, 0, 0, 7], "it says which it is");
    assert!(started.promiscuous);
}

#[test]
fn rss_takes_a_key_and_a_table_and_refuses_what_the_device_lacks() {
    let pool = pool(255);
    let device = unique("net_null");
    let port = Port::attach(eal(), &device).unwrap();
    let info = port.info().unwrap();
    let (size, queues) = (info.reta_size, 2);
    assert!(size > 0 && info.rss.contains(RssFunctions::TCP), "net_null can do RSS: {info:?}");
    let key: Vec<u8> = (0..40).collect();
    let rss = Rss { functions: RssFunctions::IP | RssFunctions::TCP, key: None };
    let config = PortConfig { rx_queues: queues, rss: Some(rss), ..PortConfig::new(&pool) };
    let mut started = port.start(&config).unwrap();
    let table: Vec<u16> = (0..size).map(|i| i / 3 % queues).collect();
    started.port.set_reta(&table).unwrap();
    assert_eq!(started.port.reta().unwrap(), table);
    assert!(matches!(started.port.set_reta(&table[1..]), Err(PortError::Reta { .. })));
    assert!(matches!(started.port.set_reta(&vec![queues; size.into()]), Err(PortError::Reta { queues: 2, .. })));
    let own = Rss { functions: RssFunctions::TCP | RssFunctions::UDP, key: Some(key.clone()) };
    started.port.set_rss(&own).unwrap();
    assert_eq!(started.port.rss().unwrap().key, own.key, "it says which key it has");
    let wrong = Rss { functions: RssFunctions::IP, key: Some(key[..7].to_vec()) };
    assert!(matches!(started.port.set_rss(&wrong), Err(PortError::RssKey { found: 7, .. })));

    let (a, _) = wire(eal(), &unique("a"), &unique("b"), 1, 8).unwrap();
    let rss = Rss { functions: RssFunctions::UDP, key: None };
    let error =
        Port::find(eal(), &a).unwrap().start(&PortConfig { rss: Some(rss), ..PortConfig::new(&pool) }).unwrap_err();
    assert!(matches!(error, PortError::Rss { supported: 0, .. }), "{error}");
}

#[test]
fn rules_that_a_device_cannot_do_are_refused_with_the_rule_and_the_reason() {
    let pool = pool(255);
    let mut started = Port::attach(eal(), &unique("net_null")).unwrap().start(&PortConfig::new(&pool)).unwrap();
    let spi = Masked { value: 3, mask: 0x7f };
    let rule = FlowRule {
        priority: 0,
        headers: vec![Header::Ethernet, Header::Ipv4, Header::Esp { spi }],
        target: Target::Queue(0),
    };
    assert_eq!(rule.to_string(), "eth / ipv4 / esp spi 0x3/0x7f -> queue 0");
    for error in [started.port.validate(&rule).unwrap_err(), started.port.add_rules(&[rule]).unwrap_err()] {
        let text = error.to_string();
        assert!(
            text.contains("eth / ipv4 / esp spi 0x3/0x7f -> queue 0") && text.contains("not implemented"),
            "{text}"
        );
    }
}

/// The verification suite that Microsoft publishes with its definition of RSS.
#[test]
fn the_software_hash_gives_the_published_values() {
    let key = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca,
        0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b,
        0xbe, 0xac, 0x01, 0xfa,
    ];
    let (source, destination) = (u32::from_be_bytes([66, 9, 149, 187]), u32::from_be_bytes([161, 142, 100, 80]));
    assert_eq!(toeplitz(&[source, destination], &key), Some(0x323e_8fc2));
    assert_eq!(toeplitz(&[source, destination, 2794 << 16 | 1766], &key), Some(0x51cc_c178));
    assert_eq!(toeplitz(&[0; 10], &key), None, "ten words need eleven of key");
}

#[test]
fn a_packet_may_outlive_its_device_and_its_pools_handles() {
    let pool = pool(63);
    let (a, b) = wire(eal(), &unique("a"), &unique("b"), 1, 8).unwrap();
    let mut a = start(Port::find(eal(), &a).unwrap(), &pool);
    let mut b = start(Port::find(eal(), &b).unwrap(), &pool);
    let mut burst: Burst = std::iter::once(packet(&pool, b"still here")).collect();
    a.tx.burst(&mut burst);
    b.rx.burst(&mut burst);
    drop((a, b, pool));
    assert_eq!(burst[0].data(), b"still here");
}
