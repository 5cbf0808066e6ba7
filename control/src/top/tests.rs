//! The view at several sizes of screen, of two samples that are a second apart.

use super::page;
use super::sample::{Device, Drop, Latency, Port, Protocol, Sample, Stats, Subscriber, Tunnel, Worker};
use super::view::View;
use std::time::{Duration, Instant};

fn drop(reason: &str, packets: u64) -> Drop {
    Drop { reason: reason.to_owned(), packets }
}

/// A router after `n` seconds of a steady load.
fn sample(start: Instant, n: u64) -> Sample {
    let port = |name: &str, rate: u64| Port {
        port: name.to_owned(),
        rx_packets: n * rate,
        rx_bytes: n * rate * 125,
        tx_packets: n * rate,
        tx_bytes: n * rate * 125,
        device_counts: Some(Device { missed: 7, no_buffers: 0 }),
    };
    let latency = |rate: u64| Latency {
        packets: n * rate,
        busy_us: n as f64 * 250_000.0,
        transit_ns: vec![(1000, 5), (20_000, n * rate * 98 / 100), (500_000, n * rate * 2 / 100)],
        cycles: vec![(150, n * rate)],
    };
    let worker = |w: u64| Worker {
        worker: w,
        cpu: Some(w + 1),
        dropped: n * 10,
        handed_off: n * 500,
        handed_in: n * 500,
        sessions: 1000 * (w + 1),
    };
    let tunnel = |last: u8, rate: u64| Tunnel {
        protocol: "esp".to_owned(),
        client: format!("192.168.1.{last}"),
        server: "198.51.100.14".to_owned(),
        client_id: "0x966f3100".to_owned(),
        server_id: "0xd2974c15".to_owned(),
        state: "confirmed".to_owned(),
        bytes_out: n * rate,
        bytes_in: 0,
    };
    let client = |last: u8, sessions: u64| Subscriber {
        address: format!("192.168.1.{last}"),
        sessions,
        tunnels: 1,
        ports_tcp: 2,
        ports_udp: sessions,
    };
    Sample {
        at: start + Duration::from_secs(n),
        stats: Stats {
            version: "0.1.0".to_owned(),
            file: "/etc/underpass/underpass.toml".to_owned(),
            uptime_s: n,
            received: n * 2000,
            sent: n * 1980,
            dropped: n * 20,
            sessions: 3000,
            mappings: 1500,
            subscribers: 2,
            tunnels: 2,
            room: [("sessions".to_owned(), 10_000)].into(),
            events: [("sessions_opened".to_owned(), n * 50)].into(),
            protocols: vec![
                Protocol {
                    protocol: "udp".to_owned(),
                    sessions: 2900,
                    opened: n * 40,
                    mappings: 1400,
                    packets: n * 1500,
                },
                Protocol { protocol: "gre".to_owned(), ..Protocol::default() },
            ],
        },
        ports: vec![port("lan", 1000), port("wan", 1000)],
        workers: vec![worker(0), worker(1)],
        latency: vec![latency(900), latency(1100), latency(2000)],
        drops: vec![drop("filtered", 100_000), drop("unsolicited", n * 20), drop("land", 0)],
        tunnels: Some(vec![tunnel(10, 100), tunnel(11, 12_500)]),
        clients: Some(vec![client(10, 5), client(11, 400)]),
    }
}

fn view() -> View {
    let start = Instant::now();
    View::of(&sample(start, 60), &sample(start, 61))
}

/// The cells of the first line that begins with `word`.
fn line<'p>(page: &'p str, word: &str) -> Vec<&'p str> {
    let found = page.lines().find(|l| l.starts_with(word)).unwrap_or_else(|| panic!("no {word} in\n{page}"));
    found.split_whitespace().collect()
}

#[test]
fn rates_are_of_the_last_second_and_totals_of_all() {
    let page = page(&view(), (130, 40)).unwrap();
    assert!(page.starts_with("Underpass 0.1.0, up 61 s, /etc/underpass/underpass.toml\n"), "{page}");
    let head = page.lines().nth(1).unwrap();
    for part in ["in 2.00k/s", "out 1.98k/s", "dropped 20/s", "p50 20.0 p99 500.0 µs"] {
        assert!(head.contains(part), "{part} is not in {head}");
    }
    assert_eq!(line(&page, "lan ")[..8], ["lan", "1.00k", "1.00M", "1.00k", "1.00M", "61.0k", "61.0k", "7"], "{page}");
    let expected = ["1", "2", "25", "%", "1.10k", "150", "20.0", "500.0", "500", "500", "10", "2.00k"];
    assert_eq!(line(&page, "1  "), expected, "{page}");
    assert_eq!(line(&page, "udp")[..5], ["udp", "1.50k", "2.90k", "40", "1.40k"]);
    assert!(!page.contains("gre "), "what never was is not shown");
}

#[test]
fn what_moves_most_stands_first() {
    let v = view();
    assert_eq!(v.drops.rows[0], ["unsolicited", "20", "1.22k"]);
    assert_eq!(v.drops.rows[1], ["filtered", "0", "100k"]);
    assert_eq!(v.drops.rows.len(), 2, "what never was is not shown");
    assert_eq!(v.tunnels.rows[0][1], "192.168.1.11");
    assert_eq!(v.tunnels.rows[0][3..5], ["100k", "0"]);
    assert_eq!(v.clients.rows[0][..3], ["192.168.1.11", "400", "+0"]);
}

#[test]
fn a_small_screen_leaves_out_rows_and_says_so() {
    let text = page(&view(), (80, 24)).unwrap();
    for title in ["ports", "tables", "workers", "protocols", "drops", "tunnels", "clients", "q ends"] {
        assert!(text.contains(title), "{title} is not in\n{text}");
    }
    assert!(text.lines().all(|l| l.chars().count() <= 80));
    let many =
        View { clients: super::view::Table { rows: vec![vec!["x".to_owned(); 6]; 50], ..view().clients }, ..view() };
    let text = page(&many, (80, 24)).unwrap();
    assert!(text.contains("clients (+49)"), "{text}");
    println!("{text}");
    for size in [(40, 16), (41, 17), (400, 200)] {
        page(&view(), size).unwrap();
    }
}

#[test]
fn a_router_that_was_started_anew_or_never_saw_a_packet_is_shown() {
    let start = Instant::now();
    let view = View::of(&sample(start, 60), &sample(start, 0));
    assert!(page(&view, (120, 40)).unwrap().contains("in 0/s"));
    let empty = Sample { tunnels: None, clients: None, ..sample(start, 0) };
    let text = page(&View::of(&empty, &empty), (120, 40)).unwrap();
    assert!(text.contains("too many to follow") && text.contains("p50 - p99 - µs"), "{text}");
}
