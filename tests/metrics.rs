//! Metrics as a scraper gets them: from the real binary with traffic flowing, judged by promtool, taken in by a real
//! Prometheus, and named by the dashboard.

mod common;

use common::{PATIENCE, Router, Scratch, UNDERPASS, pcap, skipped};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use testkit::Frame;

/// The address that DPDK gives its first `net_pcap` device.
const PCAP0: [u8; 6] = [0x02, 0x70, 0x63, 0x61, 0x70, 0x00];
const DASHBOARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/grafana-dashboard.json");

/// A port that nobody has.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A router with two workers, to each of which a capture is fed for ever: UDP, TCP that has no session, ICMP.
fn router(s: &Scratch) -> (Router, String) {
    let flows = (0..64u16).map(|n| {
        let host = format!("192.168.1.{}", 10 + n % 50);
        let frame = match n % 8 {
            7 => Frame::tcp((host.as_str(), 2000 + n), "198.51.100.7:80"),
            6 => Frame::echo_request(host.as_str(), "198.51.100.7", n, 1),
            _ => Frame::udp((host.as_str(), 2000 + n), "198.51.100.7:53"),
        };
        (0, frame.destination_mac(PCAP0).payload(&[7; 100]).build())
    });
    let capture = s.file("flows.pcap", pcap(&flows.collect()));
    let address = format!("127.0.0.1:{}", free_port());
    let file = s.file(
        "c.toml",
        format!(
            r#"[runtime]
memory = "ordinary"
workers = 2
idle = "yield"
link_wait = "0s"
[[port]]
name = "lan"
role = "inside"
device = "net_pcap0,infinite_rx=1,rx_pcap={capture},rx_pcap={capture}"
addresses = ["192.168.1.1/24"]
[[port]]
name = "wan"
role = "outside"
device = "net_null0,no-rx=1"
addresses = ["203.0.113.2/24"]
gateway = "203.0.113.1"
[[neighbour]]
port = "wan"
address = "203.0.113.1"
mac = "02:00:00:00:02:01"
[nat]
sessions = 8192
[control]
socket = "off"
metrics = "{address}"
"#,
            capture = capture.display()
        ),
    );
    (Router::start(&file), address)
}

fn fetch(address: &str, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    let (head, body) = said.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{said}"));
    (head.to_owned(), body.to_owned())
}

fn page(address: &str) -> String {
    let (head, body) = fetch(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    body
}

/// Each sample with its labels, and its value.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|l| !l.starts_with('#'));
    lines.map(|l| l.rsplit_once(' ').unwrap()).map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

/// The sum of all samples of a name whose labels hold a text.
fn sum(samples: &BTreeMap<String, f64>, name: &str, label: &str) -> f64 {
    let named = samples.iter().filter(|(k, _)| k.split('{').next() == Some(name) && k.contains(label));
    named.map(|(_, v)| v).sum()
}

/// The page once packets flow.
fn busy_page(address: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let page = page(address);
        if sum(&samples(&page), "underpass_verdicts_total", "verdict=\"sent\"") > 1000.0 {
            return page;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("no packets flow");
}

#[test]
fn the_page_tells_where_packets_went_and_agrees_with_itself() {
    let s = Scratch::new("metrics");
    let (router, address) = router(&s);
    let first = samples(&busy_page(&address));
    let then = samples(&page(&address));
    for (name, value) in &first {
        let counter = name.split('{').next().unwrap().ends_with("_total") || name.contains("_bucket{");
        assert!(!counter || then[name] >= *value, "{name} went from {value} to {}", then[name]);
    }
    for (name, label) in [
        ("underpass_port_packets_total", "port=\"lan\",role=\"inside\",worker=\"0\",direction=\"rx\""),
        ("underpass_port_packets_total", "port=\"wan\",role=\"outside\",worker=\"1\",direction=\"tx\""),
        ("underpass_drops_total", "reason=\"tcp_no_session\""),
        ("underpass_events_total", "event=\"translated_out\""),
        ("underpass_handoff_packets_total", "direction=\"out\""),
        ("underpass_worker_turns_total", "worker=\"1\""),
        ("underpass_worker_busy_seconds_total", "worker=\"0\""),
        ("underpass_transit_seconds_sum", "worker=\"0\""),
        ("underpass_packet_cycles_count", "worker=\"0\""),
        ("underpass_table_room", "table=\"sessions\""),
        ("underpass_translated_packets_total", "protocol=\"udp\",direction=\"out\""),
    ] {
        assert!(sum(&then, name, label) > 0.0, "{name} {label}: {then:#?}");
    }
    // 48 UDP flows and 8 of ICMP; TCP without a session is dropped.
    for (name, label, wanted) in [
        ("underpass_sessions", "protocol=\"udp\"", 48.0),
        ("underpass_sessions", "protocol=\"icmp\"", 8.0),
        ("underpass_sessions", "protocol=\"tcp\"", 0.0),
        ("underpass_mappings", "protocol=\"udp\"", 48.0),
        ("underpass_table_entries", "table=\"sessions\"", 56.0),
        ("underpass_table_entries", "table=\"ports_udp\"", 48.0),
        ("underpass_build_info", "version=", 1.0),
    ] {
        assert_eq!(sum(&then, name, label), wanted, "{name} {label}");
    }
    let packets = sum(&then, "underpass_worker_packets_total", "");
    assert!(sum(&then, "underpass_transit_seconds_count", "") <= packets * 1.01 + 1000.0);
    let said = router.stop("TERM");
    said.account();
}

#[test]
fn nothing_but_reading_is_possible_and_a_bad_client_disturbs_nobody() {
    let s = Scratch::new("metrics-hostile");
    let (router, address) = router(&s);
    busy_page(&address);
    // Clients that say nothing, and one that says half of something: more than there are places.
    let mut silent: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let _ = silent[0].write_all(b"GET /met");
    let status = |request: &str| {
        let deadline = Instant::now() + PATIENCE;
        // Places become free when the silent ones' time is up.
        loop {
            let (head, _) = fetch(&address, request);
            let status = head.split(' ').nth(1).unwrap().to_owned();
            if status != "503" || Instant::now() > deadline {
                return status;
            }
            sleep(Duration::from_millis(100));
        }
    };
    assert_eq!(status("POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n"), "405");
    assert_eq!(status("PUT / HTTP/1.1\r\n\r\n"), "405");
    assert_eq!(status("GET /../../etc/passwd HTTP/1.1\r\n\r\n"), "404");
    assert_eq!(status("\r\n\r\n"), "405");
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(20_000))), "431");
    assert_eq!(status("GET /metrics HTTP/1.1\r\n\r\n"), "200");
    drop(silent);
    let before = sum(&samples(&page(&address)), "underpass_verdicts_total", "sent");
    let after = sum(&samples(&page(&address)), "underpass_verdicts_total", "sent");
    assert!(after > before, "it forwards all the while");
    router.stop("TERM").account();
}

#[test]
fn promtool_finds_nothing_to_complain_of() {
    const TEST: &str = "promtool_finds_nothing_to_complain_of";
    let s = Scratch::new("metrics-promtool");
    let (router, address) = router(&s);
    let text = busy_page(&address);
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = spawned else { return skipped(TEST, "there is no promtool here") };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let o = promtool.wait_with_output().unwrap();
    assert!(o.status.success() && o.stdout.is_empty() && o.stderr.is_empty(), "{o:?}");
    router.stop("TERM").account();
}

/// A Prometheus of its own.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a query gives: a value.
fn query(prometheus: &str, query: &str) -> Option<f64> {
    let encoded: String = query.bytes().map(|b| format!("%{b:02X}")).collect();
    let mut stream = TcpStream::connect(prometheus).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET /api/v1/query?query={encoded} HTTP/1.0\r\nHost: x\r\n\r\n").ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    let told: serde_json::Value = serde_json::from_str(said.split_once("\r\n\r\n")?.1).ok()?;
    assert_eq!(told["status"], "success", "{query}: {told}");
    told["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

fn wait_for(prometheus: &str, asked: &str, wanted: impl Fn(f64) -> bool) -> f64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let value = query(prometheus, asked);
        if let Some(value) = value.filter(|v| wanted(*v)) {
            return value;
        }
        assert!(Instant::now() < deadline, "{asked} is {value:?}");
        sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_real_prometheus_scrapes_it_and_the_dashboards_queries_have_answers() {
    const TEST: &str = "a_real_prometheus_scrapes_it_and_the_dashboards_queries_have_answers";
    let s = Scratch::new("metrics-prometheus");
    let (router, address) = router(&s);
    busy_page(&address);
    let config = s.file(
        "prometheus.yml",
        format!(
            "global:\n  scrape_interval: 500ms\nscrape_configs:\n  - job_name: underpass\n    static_configs:\n      \
             - targets: [\"{address}\"]\n"
        ),
    );
    let prometheus = format!("127.0.0.1:{}", free_port());
    let spawned = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", s.path().join("tsdb").display()))
        .arg(format!("--web.listen-address={prometheus}"))
        .stdout(Stdio::null())
        .stderr(fs::File::create(s.path().join("log")).unwrap())
        .spawn();
    let Ok(child) = spawned else { return skipped(TEST, "there is no prometheus here") };
    let _prometheus = Prometheus(child);
    wait_for(&prometheus, "up{job=\"underpass\"}", |v| v == 1.0);
    let rate = "sum(rate(underpass_port_packets_total{direction=\"rx\"}[10s]))";
    println!("{:.0} packets a second", wait_for(&prometheus, rate, |v| v > 100.0));
    let sent = wait_for(&prometheus, "sum(underpass_verdicts_total{verdict=\"sent\"})", |v| v > 0.0);
    let page_says = sum(&samples(&page(&address)), "underpass_verdicts_total", "verdict=\"sent\"");
    assert!(page_says >= sent, "{page_says} is told later than {sent}");
    // Each query of the dashboard is one that Prometheus understands; those of what flows here have a value.
    let mut answered = 0;
    for asked in queries() {
        let asked = asked.replace("$__rate_interval", "10s").replace("$instance", ".*");
        answered += usize::from(query(&prometheus, &asked).is_some());
    }
    assert!(answered > 20, "{answered}");
    router.stop("TERM").account();
}

/// The dashboard's queries.
fn queries() -> Vec<String> {
    let dashboard: serde_json::Value = serde_json::from_str(&fs::read_to_string(DASHBOARD).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|p| p["targets"].as_array().unwrap());
    targets.map(|t| t["expr"].as_str().unwrap().to_owned()).collect()
}

fn names(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !word(c)).filter(|w| w.starts_with("underpass_")).map(str::to_owned).collect()
}

#[test]
fn the_dashboard_names_metrics_that_there_are() {
    let s = Scratch::new("metrics-dashboard");
    let (router, address) = router(&s);
    let there = names(&busy_page(&address));
    let asked: BTreeSet<String> = queries().iter().flat_map(|q| names(q)).collect();
    assert!(asked.len() > 15, "{asked:?}");
    let missing: Vec<_> = asked.difference(&there).collect();
    assert!(missing.is_empty(), "{missing:?} are not in {there:?}");
    router.stop("TERM").account();
}

#[test]
fn an_address_that_is_taken_is_told_before_anything_starts() {
    let s = Scratch::new("metrics-taken");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!(
        "[[port]]\nname = \"lan\"\nrole = \"inside\"\ndevice = \"net_ring0\"\naddresses = [\"192.168.1.1/24\"]\n\
         [[port]]\nname = \"wan\"\nrole = \"outside\"\ndevice = \"net_ring1\"\naddresses = [\"203.0.113.2/24\"]\n\
         [control]\nsocket = \"off\"\nmetrics = \"{}\"\n",
        taken.local_addr().unwrap()
    );
    let file: PathBuf = s.file("c.toml", text);
    let o = Command::new(UNDERPASS).args(["run", "--config"]).arg::<&Path>(&file).output().unwrap();
    assert_eq!(o.status.code(), Some(1));
    let said = String::from_utf8(o.stderr).unwrap();
    assert!(said.contains("cannot listen for metrics at 127.0.0.1:") && said.contains("control.metrics"), "{said}");
    assert!(o.stdout.is_empty());
}
