//! What an operator types, with the real binary: `check`, `run` on devices of DPDK that need no NIC and no root, and
//! `replay`'s messages. `run` is stopped as an operator stops it, and its account must balance each time.

mod common;

use common::{Account, Frames, PATIENCE, Router, Scratch, UNDERPASS, frames, is_root, pcap, skipped};
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};
use testkit::{Frame, SYN, Seen};

/// The address that DPDK gives its first and second `net_pcap` device.
const PCAP0: [u8; 6] = [0x02, 0x70, 0x63, 0x61, 0x70, 0x00];
const PCAP1: [u8; 6] = [0x02, 0x70, 0x63, 0x61, 0x70, 0x01];

/// A house with one address, on these devices.
fn config(runtime: &str, lan: &str, wan: &str, more: &str) -> String {
    format!(
        r#"[runtime]
idle = "yield"
link_wait = "0s"
{runtime}

[[port]]
name = "lan"
role = "inside"
device = "{lan}"
addresses = ["192.168.1.1/24"]

[[port]]
name = "wan"
role = "outside"
device = "{wan}"
addresses = ["203.0.113.2/24"]
gateway = "203.0.113.1"

[[neighbour]]
port = "wan"
address = "203.0.113.1"
mac = "02:00:00:00:02:01"

[nat]
sessions = 8192
{more}"#
    )
}

/// Hugepages may come and go on a machine; what is not about them does without.
const ORDINARY: &str = "memory = \"ordinary\"\nworkers = 1";

fn underpass(verb: &[&str], config: &Path) -> Output {
    Command::new(UNDERPASS).args(verb).arg("--config").arg(config).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const BAD: &str = r#"[runtime]
workers = 0

[[port]]
name = "lan"
role = "insid"
device = "net_ring0"
addresses = ["192.168.1.1/33"]

[[port]]
name = "wan"
role = "outside"
device = "net_ring1"
addresses = ["203.0.113.2/24"]
gatewy = "203.0.113.1"
"#;

#[test]
fn check_says_that_a_good_file_is_good_and_what_it_costs() {
    let s = Scratch::new("check-good");
    let file = s.file("good.toml", config(ORDINARY, "net_ring0", "net_ring1", ""));
    let o = underpass(&["check"], &file);
    assert!(o.status.success(), "{o:?}");
    assert!(text(&o.stdout).contains("good, 0 warning(s). 1 worker(s); tables "), "{o:?}");
    let o = underpass(&["check", "--json"], &file);
    assert!(o.status.success());
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&o.stdout).unwrap(), serde_json::json!([]));
}

#[test]
fn check_reports_all_problems_at_once_each_with_its_place() {
    let s = Scratch::new("check-bad");
    let file = s.file("bad.toml", BAD);
    let o = underpass(&["check"], &file);
    assert_eq!(o.status.code(), Some(1));
    let said = text(&o.stdout);
    for place in [":2:11: error: runtime.workers", ":6:8: error: port[0].role", ":8:14: error: ", ":15:1: error: "] {
        assert!(said.contains(&format!("bad.toml{place}")), "no {place} in {said}");
    }
    assert!(text(&o.stderr).contains("4 error(s), 0 warning(s)"), "{o:?}");

    let o = underpass(&["check", "--json"], &file);
    assert_eq!(o.status.code(), Some(1));
    let problems: serde_json::Value = serde_json::from_slice(&o.stdout).unwrap();
    let places: Vec<_> =
        problems.as_array().unwrap().iter().map(|p| (p["line"].clone(), p["column"].clone())).collect();
    assert_eq!(places, [(2, 11), (6, 8), (8, 14), (15, 1)].map(|(l, c)| (l.into(), c.into())));
    assert!(problems[3]["remedy"].as_str().unwrap().contains("gateway"));
}

#[test]
fn check_names_devices_that_cannot_be_and_files_that_are_not_there() {
    let s = Scratch::new("check-device");
    let devices = [
        ("net_nonesuch0", "net_nonesuch0 is no virtual device of DPDK"),
        ("0000:ff:1f.7", "there is no PCI device 0000:ff:1f.7"),
        ("net_af_packet0,iface=nonesuch", "there is no network interface nonesuch"),
        ("net_pcap0,rx_pcap=/nonesuch.pcap", "there is no file /nonesuch.pcap"),
    ];
    for (device, message) in devices {
        let o = underpass(&["check"], &s.file("c.toml", config(ORDINARY, "net_ring0", device, "")));
        assert_eq!(o.status.code(), Some(1), "{device}");
        assert!(text(&o.stdout).contains(":16:10: error: port[1].device: "), "{device}: {o:?}");
        assert!(text(&o.stdout).contains(message), "{device}: {o:?}");
    }
    let o = underpass(&["check"], Path::new("/nonesuch.toml"));
    assert_eq!(o.status.code(), Some(1));
    assert!(text(&o.stdout).contains("/nonesuch.toml: error: cannot be read"), "{o:?}");
}

#[test]
fn run_refuses_a_bad_file_and_starts_nothing() {
    let s = Scratch::new("run-bad");
    let o = underpass(&["run"], &s.file("bad.toml", BAD));
    assert_eq!(o.status.code(), Some(1));
    assert!(o.stdout.is_empty(), "{o:?}");
    let said = text(&o.stderr);
    assert!(said.contains("bad.toml:2:11: error: ") && said.contains("bad.toml:15:1: error: "), "{said}");
    assert!(!said.contains("memory:") && !said.contains("EAL"), "{said}");

    let missing = config(ORDINARY, "net_ring0", "net_af_packet0,iface=nonesuch", "");
    let o = underpass(&["run"], &s.file("missing.toml", missing));
    assert_eq!(o.status.code(), Some(1));
    assert!(o.stdout.is_empty() && text(&o.stderr).contains("no network interface nonesuch"), "{o:?}");
}

#[test]
fn run_says_which_device_dpdk_refuses() {
    let s = Scratch::new("run-refused");
    let broken = s.file("broken.pcap", "this is no capture");
    let device = format!("net_pcap0,rx_pcap={}", broken.display());
    let o = underpass(&["run"], &s.file("c.toml", config(ORDINARY, "net_ring0", &device, "")));
    assert_eq!(o.status.code(), Some(1), "{o:?}");
    assert!(o.stdout.is_empty(), "{o:?}");
    let said = text(&o.stderr);
    assert!(said.contains("underpass: ") && said.contains("net_pcap0"), "{said}");
}

#[test]
fn run_ends_on_either_signal_with_a_balanced_account() {
    let s = Scratch::new("run-signals");
    let file = s.file("c.toml", config(ORDINARY, "net_ring0", "net_ring1", ""));
    for signal in ["TERM", "INT"] {
        let said = Router::start(&file).stop(signal);
        assert_eq!(said.status.code(), Some(0), "{signal}: {said:?}");
        assert!(said.stdout.starts_with("ready\n"), "{said:?}");
        assert_eq!(said.account().received, 0);
        assert!(!said.stderr.contains('\x1b'), "no colours where nobody sees them: {}", said.stderr);
    }
}

#[test]
fn two_workers_run_and_end() {
    let s = Scratch::new("run-two");
    let runtime = "memory = \"ordinary\"\nworkers = 2";
    let said = Router::start(&s.file("c.toml", config(runtime, "net_ring0", "net_ring1", ""))).stop("TERM");
    assert!(said.stderr.contains("2 worker(s)"), "{said:?}");
    assert_eq!(said.account().received, 0);
}

#[test]
fn hugepages_that_are_demanded_and_not_there_are_an_error_that_says_how_many_to_make() {
    let free: u64 = fs::read_to_string("/proc/meminfo")
        .unwrap_or_default()
        .lines()
        .filter_map(|l| l.strip_prefix("HugePages_Free:"))
        .find_map(|n| n.trim().parse().ok())
        .unwrap_or(0);
    // More than there are, should there be some: a buffer takes at least 2 kB, and a page at most 1 GB.
    let buffers = if free == 0 { 16_384 } else { 67_108_864 };
    let s = Scratch::new("run-huge");
    let runtime = format!("memory = \"hugepages\"\nworkers = 1\nbuffers = {buffers}");
    let o = underpass(&["run"], &s.file("c.toml", config(&runtime, "net_ring0", "net_ring1", "")));
    let said = text(&o.stderr);
    assert_eq!(o.status.code(), Some(1), "{said}");
    assert!(o.stdout.is_empty() && said.contains("needs ") && said.contains("/proc/sys/vm/nr_hugepages"), "{said}");
}

#[test]
fn an_ordinary_user_runs_it_on_virtual_devices() {
    const TEST: &str = "an_ordinary_user_runs_it_on_virtual_devices";
    if !is_root() {
        // Every other test here is this test then.
        return skipped(TEST, "this user is an ordinary one already");
    }
    // Where everybody may enter: a folder for tests is often its owner's alone.
    let s = Scratch::below(&std::env::temp_dir(), "nobody");
    let binary = s.path().join("underpass");
    fs::copy(UNDERPASS, &binary).unwrap();
    for path in [s.path(), &binary] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let file = s.file("c.toml", config("memory = \"auto\"\nworkers = 1", "net_ring0", "net_ring1", ""));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let nobody = |c: &mut Command| {
        c.current_dir("/").env_remove("XDG_RUNTIME_DIR").uid(65_534).gid(65_534);
    };
    let mut probe = Command::new(&binary);
    nobody(probe.arg("--version"));
    match probe.output() {
        Ok(o) if o.status.success() => {}
        other => return skipped(TEST, &format!("nobody cannot start a program here: {other:?}")),
    }
    let mut command = Command::new(&binary);
    nobody(command.args(["run", "--config"]).arg(&file));
    let said = Router::spawn(&mut command).stop("TERM");
    assert_eq!(said.account().received, 0);
}

/// A captured packet goes in by one file and comes out by another, translated: through DPDK's mbufs and queues.
#[test]
fn packets_of_a_capture_are_translated_into_another() {
    let s = Scratch::new("run-pcap");
    let inside: Frames = (0..100u16)
        .map(|n| {
            let from = (format!("192.168.1.{}", 10 + n % 50), 2000 + n);
            let from = (from.0.as_str(), from.1);
            let payload = vec![0x2a; usize::from(n) * 14];
            let frame = match n % 3 {
                0 => Frame::tcp(from, "198.51.100.7:80").flags(SYN).seq(7).ack(0),
                1 => Frame::udp(from, "198.51.100.7:53"),
                _ => Frame::echo_request(from.0, "198.51.100.7", from.1, 1),
            };
            (0, frame.macs([2, 0, 0, 0, 1, 9], PCAP0).payload(&payload).build())
        })
        .collect();
    let outside: Frames = (0..10u16)
        .map(|n| {
            let frame = Frame::tcp(("192.0.2.66", 6000 + n), "203.0.113.2:8080").flags(SYN).seq(1).ack(0);
            (0, frame.macs([2, 0, 0, 0, 2, 1], PCAP1).build())
        })
        .collect();
    let file = |name: &str| s.path().join(name).display().to_string();
    let lan = format!("net_pcap0,rx_pcap={},tx_pcap={}", file("a.pcap"), file("b.pcap"));
    let wan = format!("net_pcap1,rx_pcap={},tx_pcap={}", file("c.pcap"), file("d.pcap"));
    s.file("a.pcap", pcap(&inside));
    s.file("c.pcap", pcap(&outside));
    let more = r#"
[[nat.forward]]
protocol = "tcp"
outside_port = 8080
inside = "192.168.1.10:80"

[[neighbour]]
port = "lan"
address = "192.168.1.10"
mac = "02:00:00:00:01:0a"
"#;
    let router = Router::start(&s.file("c.toml", config(ORDINARY, &lan, &wan, more)));
    sleep(Duration::from_millis(500));
    let said = router.stop("TERM");
    let account = said.account();
    assert_eq!((account.received, account.sent, account.dropped), (110, 110, 0), "{said:?}");
    assert_eq!((account.count("translated_out"), account.count("translated_in")), (100, 10));

    let left = frames(&fs::read(s.path().join("d.pcap")).unwrap());
    assert_eq!(left.len(), inside.len());
    for ((_, came), (_, went)) in inside.iter().zip(&left) {
        let (came, went) = (Seen::read(came).unwrap(), Seen::read(went).unwrap());
        assert_eq!(*went.source.ip(), std::net::Ipv4Addr::new(203, 0, 113, 2));
        assert_eq!((went.destination, went.protocol, went.ttl), (came.destination, came.protocol, 63));
        assert_eq!(went.payload, came.payload);
        assert_eq!((went.source_mac, went.destination_mac), (PCAP1, [2, 0, 0, 0, 2, 1]));
    }
    let left = frames(&fs::read(s.path().join("b.pcap")).unwrap());
    assert_eq!(left.len(), outside.len());
    for (_, frame) in &left {
        let seen = Seen::read(frame).unwrap();
        assert_eq!(seen.destination, testkit::endpoint("192.168.1.10:80"));
        assert_eq!((seen.source_mac, seen.destination_mac), (PCAP0, [2, 0, 0, 0, 1, 10]));
    }
}

/// A capture with one packet of each of 1024 flows, and as many that are dropped for one reason or another.
fn mixed_flows() -> Vec<u8> {
    let flows = (0..1024u16).map(|n| {
        let (a, b) = ("192.168.1.10", "198.51.100.7:53");
        let good = Frame::udp((a, 2000 + n), b);
        let frame = match n % 8 {
            0 => good.bad_ip_checksum(),
            1 => Frame::tcp((a, 2000 + n), b),
            2 => good.ttl(1),
            3 => good.destination_mac([2; 6]),
            _ => good,
        };
        let aimed = if n % 8 == 3 { frame } else { frame.destination_mac(PCAP0) };
        (0, aimed.build())
    });
    pcap(&flows.collect())
}

#[test]
fn a_million_packets_are_all_accounted_for() {
    let s = Scratch::new("run-million");
    let capture = s.file("flows.pcap", mixed_flows());
    let lan = format!("net_pcap0,rx_pcap={},infinite_rx=1", capture.display());
    let file = s.file("c.toml", config(ORDINARY, &lan, "net_null0,no-rx=1", ""));
    let started = Instant::now();
    let mut seconds = 1;
    loop {
        let router = Router::start(&file);
        sleep(Duration::from_secs(seconds));
        let account = router.stop("TERM").account();
        if account.received < 1_000_000 && started.elapsed() < PATIENCE {
            // A busy machine.
            seconds *= 2;
            continue;
        }
        println!("{} packets in {seconds} s: {account:?}", account.received);
        assert!(account.received >= 1_000_000, "{account:?}");
        for label in ["ip_checksum", "tcp_no_session", "ttl_exceeded", "not_our_mac", "translated_out"] {
            assert!(account.count(label) > 0, "{label}: {account:?}");
        }
        return;
    }
}

/// The second worker sends into a ring of which only the first queue is read: it fills, and what it refuses is dropped,
/// counted and given back.
#[test]
fn what_a_full_transmit_queue_refuses_is_counted() {
    let s = Scratch::new("run-refusing");
    let flows: Frames = (0..250u16)
        .map(|n| {
            let host = format!("192.168.1.{}", 2 + n);
            (0, Frame::udp((host.as_str(), 5000), "198.51.100.7:53").destination_mac(PCAP0).build())
        })
        .collect();
    let mut lan = "net_pcap0,infinite_rx=1".to_owned();
    for n in 0..2 {
        let capture = s.file(&format!("{n}.pcap"), pcap(&flows));
        write!(lan, ",rx_pcap={}", capture.display()).unwrap();
    }
    let mut text = config("memory = \"ordinary\"\nworkers = 2", &lan, "net_ring0", "");
    text = text.replace("gateway =", "queues = 1\ngateway =");
    let router = Router::start(&s.file("c.toml", text));
    sleep(Duration::from_secs(1));
    let said = router.stop("TERM");
    let account = said.account();
    assert!(account.count("tx_refused") > 0, "{said:?}");
    assert!(account.sent >= 1000, "what fits is sent: {said:?}");
}

fn replay(extra: &[&str], config: &Path, inside: &Path) -> Output {
    let mut c = Command::new(UNDERPASS);
    c.args(["replay", "--config"]).arg(config).arg("--inside").arg(inside).args(extra);
    c.output().unwrap()
}

#[test]
fn replay_names_the_file_and_the_packet_that_it_cannot_read_and_writes_nothing() {
    let s = Scratch::new("replay-damaged");
    let file = s.file("c.toml", config("", "net_ring0", "net_ring1", ""));
    let frame = Frame::udp("192.168.1.10:5", "198.51.100.7:53").payload(b"0123456789").build();
    let whole = pcap(&vec![(1_000_000_000, frame.clone()), (2_000_000_000, frame)]);
    let out = s.path().join("out.pcap");
    let cut = s.file("cut.pcap", &whole[..whole.len() - 1]);
    let o = replay(&["--write-outside", out.to_str().unwrap()], &file, &cut);
    assert_eq!(o.status.code(), Some(1));
    let said = text(&o.stderr);
    assert!(said.contains("cut.pcap: packet 2: it is cut off"), "{said}");
    assert!(o.stdout.is_empty() && !out.exists());

    let mut other = whole.clone();
    other[20] = 113;
    let o = replay(&[], &file, &s.file("cooked.pcap", other));
    assert!(text(&o.stderr).contains("cooked.pcap: its link type is LINUX_SLL (113)"), "{o:?}");
    assert_eq!(o.status.code(), Some(1));
    let o = replay(&[], &file, &s.path().join("nonesuch.pcap"));
    assert!(text(&o.stderr).contains("cannot read") && o.status.code() == Some(1), "{o:?}");

    // Captured in part: played and told, not refused.
    let mut snapped = whole;
    snapped[36..40].copy_from_slice(&1500u32.to_le_bytes());
    let o = replay(&[], &file, &s.file("snapped.pcap", snapped));
    assert!(o.status.success(), "{o:?}");
    assert!(text(&o.stderr).contains("snapped.pcap: 1 packet(s) were captured in part"), "{o:?}");
    assert!(text(&o.stdout).contains("2 packet(s), 1 snapped"), "{o:?}");
}

#[test]
fn replay_needs_one_capture_at_least_and_tells_machines_the_same_as_people() {
    let s = Scratch::new("replay-json");
    let file = s.file("c.toml", config("", "net_ring0", "net_ring1", ""));
    let o = Command::new(UNDERPASS).args(["replay", "--config"]).arg(&file).output().unwrap();
    assert_eq!(o.status.code(), Some(2));
    assert!(text(&o.stderr).contains("--inside <FILE>|--outside <FILE>"), "{o:?}");

    let capture = s.file("in.pcap", pcap(&vec![(0, Frame::udp("192.168.1.10:5", "198.51.100.7:53").build())]));
    let o = replay(&["--json"], &file, &capture);
    let told: serde_json::Value = serde_json::from_slice(&o.stdout).unwrap();
    assert_eq!(told["account"]["received"], 1);
    assert_eq!(told["account"]["sent"], 1);
    assert_eq!(told["account"]["unaccounted"], 0);
    assert_eq!(told["ports"][0]["name"], "lan");
    let rows = told["rows"].as_array().unwrap();
    let row = rows.iter().find(|r| r["what"] == "translated_out").unwrap();
    assert_eq!((&row["from_inside"], &row["from_outside"], &row["by_clock"]), (&1.into(), &0.into(), &0.into()));
    let people = text(&replay(&[], &file, &capture).stdout);
    assert_eq!(Account::of(&people).sent, 1);
    for row in rows {
        assert!(people.contains(row["what"].as_str().unwrap()), "{people}");
    }
}

// docs/sharding.md: net_null keeps a key and a table as a NIC does, and has no rules
#[test]
fn run_says_how_packets_come_to_their_workers_and_why_not_better() {
    let s = Scratch::new("run-steering");
    let runtime = "memory = \"ordinary\"\nworkers = 2";
    let no_rx = |n| format!("net_null{n},no-rx=1");
    let said = Router::start(&s.file("c.toml", config(runtime, &no_rx(0), &no_rx(1), ""))).stop("TERM");
    let account = said.stdout.split_once("steering of lan").map(|(_, rest)| rest).unwrap_or_default();
    for line in [
        " (net_null, 2 queue(s), 128 entries)",
        "  RSS by key   TCP, UDP; ICMP queries; PPTP GRE\n",
        "steering of wan (net_null, 2 queue(s), 128 entries, what has no ports to worker 1)",
        "  RSS by key   TCP, UDP (net_null cannot hash the destination port alone)\n",
        "has no ports, so the key that is blind to addresses brings all of it to entry 0",
    ] {
        assert!(account.contains(line), "{line}\n{}", said.stdout);
    }
    assert!(said.stderr.contains("steering of wan"), "{}", said.stderr);

    let limited =
        config(runtime, &no_rx(0), &no_rx(1), "").replacen("addresses", "steering = \"software\"\naddresses", 1);
    let said = Router::start(&s.file("limited.toml", limited)).stop("TERM");
    assert!(said.stdout.contains("(`steering` says so)") && said.stdout.contains("RSS by key"), "{}", said.stdout);

    let wanted =
        config(runtime, "net_ring0", "net_ring1", "").replacen("addresses", "steering = \"rss\"\naddresses", 1);
    let said = Router::start(&s.file("wanted.toml", wanted)).stop("TERM");
    assert!(said.stderr.contains("`steering = \"rss\"` is not to be had for TCP, UDP: "), "{}", said.stderr);
}
