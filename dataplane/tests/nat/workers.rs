//! The same claims over several workers: whichever worker's queue a frame comes to, the same comes out.
//!
//! [`the_number_of_workers_does_not_show`] runs this very test binary again, with 2, 3 and 8 workers, frames arriving
//! at random ones. Every claim must hold there too, and what the box did in each test must be the same but for the
//! outside ports and IP identifications that a worker chose.

use crate::forwards::{one_to_one, range, web};
use crate::lab::*;
use dataplane::policy::{Allow, Policy};
use dataplane::types::Proto;
use dataplane::verdict::{DropReason, Event};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::{ACK, Frame, SYN, fragments};

const WORKERS: &str = "UNDERPASS_TEST_WORKERS";
const TRANSCRIPTS: &str = "UNDERPASS_TEST_TRANSCRIPTS";

/// How many workers a [`Lab`] has.
pub(crate) fn count() -> u8 {
    std::env::var(WORKERS).ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// Where transcripts are wanted, if they are.
pub(crate) fn transcripts() -> Option<PathBuf> {
    std::env::var_os(TRANSCRIPTS).map(PathBuf::from)
}

/// Runs all other claims over so many workers; each test's transcript by its name.
fn run_all(workers: u8, dir: &Path) -> BTreeMap<String, String> {
    std::fs::create_dir_all(dir).unwrap();
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--skip", "workers::", "--skip", "lending::", "--skip", "model::", "--skip", "page::"])
        .env(WORKERS, workers.to_string())
        .env(TRANSCRIPTS, dir)
        .output()
        .unwrap();
    assert!(run.status.success(), "with {workers} workers:\n{}", String::from_utf8_lossy(&run.stdout));
    let file =
        |f: std::fs::DirEntry| (f.file_name().into_string().unwrap(), std::fs::read_to_string(f.path()).unwrap());
    std::fs::read_dir(dir).unwrap().map(|f| file(f.unwrap())).collect()
}

// Rows 1 to 50, DESIGN §5
#[test]
fn the_number_of_workers_does_not_show() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("transcripts-{}", std::process::id()));
    let alone = run_all(1, &dir.join("1"));
    assert!(alone.len() > 100, "{} tests left a transcript", alone.len());
    for workers in [2, 3, 8] {
        let together = run_all(workers, &dir.join(workers.to_string()));
        assert!(alone.keys().eq(together.keys()), "other tests were run with {workers} workers");
        let differing = alone.iter().filter(|(test, expected)| together[*test] != **expected);
        let first_lines = differing.map(|(test, expected)| {
            let first = expected.lines().zip(together[test].lines()).find(|(a, b)| a != b);
            format!("{test}: {first:#?}\n")
        });
        let differences: String = first_lines.collect();
        assert!(differences.is_empty(), "with {workers} workers otherwise than with one:\n{differences}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Where nothing is left to choose, each byte is the same: a one-to-one host and forwards, datagrams with DF.
#[test]
fn forced_translations_are_the_same_to_the_byte_over_any_number_of_workers() {
    let run = |workers| {
        let mut lab = Lab::over(workers, |p: &mut Policy| {
            p.statics = one_to_one();
            p.forwards = web();
            p.forwards.push(range());
            p.allows = vec![Allow { proto: Proto::TCP, inside: addr(B), ports: 80..=80 }];
        });
        let mut frames = Vec::new();
        for client in [X, Y, N] {
            for port in 1..20 {
                frames.push((OUTSIDE, Frame::tcp((client, port), (P, 8443)).df().flags(SYN).ack(0)));
                frames.push((INSIDE, Frame::tcp((A, 443), (client, port)).df().flags(SYN | ACK)));
                frames.push((OUTSIDE, Frame::udp((client, port), (P, 9000 + port % 10)).df().payload(b"in")));
                frames.push((INSIDE, Frame::udp((B, 5000 + port), (client, 53)).df().payload(b"out")));
                frames.push((OUTSIDE, Frame::udp((client, 53), ("203.0.113.30", 5000 + port)).df().payload(b"back")));
                frames.push((OUTSIDE, Frame::tcp((client, port), ("203.0.113.30", 80)).df().flags(SYN).ack(0)));
                frames.push((INSIDE, Frame::echo_request(B, client, port, 1).df()));
                frames.push((OUTSIDE, Frame::echo_request(client, P, port, 1).df()));
            }
        }
        let mut all = Vec::new();
        for (port, frame) in frames {
            let o = lab.put(port, frame);
            assert!(o.drops.is_empty(), "{workers} workers: {o}");
            all.extend(o.raw);
        }
        all
    };
    let alone = run(1);
    for workers in [2, 3, 8] {
        assert!(alone == run(workers), "{workers} workers");
    }
}

// Every queue is as good as every other
#[test]
fn a_frame_may_arrive_at_any_worker() {
    for workers in [2, 3, 8] {
        let mut lab = Lab::over(workers, |_| {});
        for at in 0..usize::from(workers) {
            for host in 2..30 {
                let a = std::net::Ipv4Addr::new(192, 168, 50, host);
                let n = lab.put_at(at, INSIDE, Frame::udp((a, 5000), (X, 53))).only(OUTSIDE).source;
                for back in 0..usize::from(workers) {
                    let seen = lab.put_at(back, OUTSIDE, Frame::udp((X, 53), n)).only(INSIDE);
                    assert_eq!(*seen.destination.ip(), a);
                }
            }
        }
        assert_eq!(lab.sessions(), 28);
        assert!(lab.events(Event::HandedOff) > 0);
        assert_eq!(lab.drops_so_far(), BTreeMap::new());
    }
}

// Many flows at once in full bursts: nothing is lost between workers, and a flow keeps its order
#[test]
fn bursts_are_handed_over_without_loss_and_in_order() {
    for workers in [2, 3, 8] {
        let mut lab = Lab::over(workers, |_| {});
        let host = |n: u8| std::net::Ipv4Addr::new(192, 168, 50, 2 + n);
        for at in 0..usize::from(workers) {
            for seq in 0..10u8 {
                for n in 0..60 {
                    let frame = Frame::udp((host(n), 5000), (X, 53)).payload(vec![at as u8, seq]);
                    lab.queue(at, INSIDE, frame);
                }
            }
        }
        let o = lab.settle();
        assert_eq!((o.at(OUTSIDE).len(), o.drops.len()), (600 * usize::from(workers), 0));
        let mut last: BTreeMap<_, u8> = BTreeMap::new();
        for seen in o.at(OUTSIDE) {
            let key = (seen.source, seen.payload[0]);
            let next = last.insert(key, seen.payload[1]).map_or(0, |n| n + 1);
            assert_eq!(seen.payload[1], next, "{key:?} with {workers} workers");
        }
        assert_eq!(lab.mappings(), 60);
    }
}

// Row 18: pieces of one datagram at different workers
#[test]
fn fragments_meet_whichever_worker_they_come_to() {
    for workers in [2, 3, 8] {
        let mut lab = Lab::over(workers, |_| {});
        for id in 0..100u16 {
            let mut pieces = fragments(&Frame::udp((A, 5000), (X, 53)).id(id).payload(vec![7; 4000]).build(), 1500);
            if id % 2 == 0 {
                pieces.reverse();
            }
            for (n, piece) in pieces.iter().enumerate() {
                lab.queue((usize::from(id) + n) % usize::from(workers), INSIDE, piece);
            }
            let o = lab.settle();
            assert!(o.drops.is_empty(), "{o}");
            assert!(testkit::reassemble(o.raw_at(OUTSIDE)).is_some(), "{o}");
        }
    }
}

// RFC 826 over workers: an answer reaches all who wait
#[test]
fn an_arp_answer_at_one_worker_helps_all() {
    for workers in [2, 3, 8] {
        for at in 0..usize::from(workers) {
            let mut lab = Lab::over(workers, |p| p.neighbours.retain(|n| n.addr != addr(G)));
            let hosts = (2..10).map(|n| std::net::Ipv4Addr::new(192, 168, 50, n));
            for host in hosts.clone() {
                let o = lab.put(INSIDE, Frame::udp((host, 5000), (X, 53)));
                assert!(o.at(OUTSIDE).iter().all(|s| s.arp().operation == 1), "{o}");
            }
            let out = lab.put_at(at, OUTSIDE, Frame::arp_reply(G_MAC, G, OUTSIDE_MAC, P));
            assert_eq!((out.at(OUTSIDE).len(), out.drops.len()), (8, 0), "{workers} workers");
            for host in hosts {
                assert_eq!(lab.put(INSIDE, Frame::udp((host, 5000), (X, 53))).only(OUTSIDE).destination_mac, G_MAC);
            }
        }
    }
}

// A question is answered once, not by every worker
#[test]
fn one_worker_answers_arp_for_all() {
    let mut lab = Lab::over(8, |p| p.neighbours.clear());
    lab.put(OUTSIDE, Frame::arp_request(mac_of(N), N, P)).only(OUTSIDE);
    assert_eq!(lab.events(Event::ArpAnswered), 1);
}

// Row 4: shares of ports do not overlap, on any address
#[test]
fn workers_never_give_out_the_same_endpoint() {
    for workers in [2, 3, 8, 64] {
        let mut lab = Lab::over(workers, |p| p.preserve_port = false);
        let mut seen = std::collections::HashSet::new();
        for host in 2..100 {
            let a = std::net::Ipv4Addr::new(192, 168, 50, host);
            for port in [500, 5000, 5001] {
                assert!(seen.insert(lab.udp((a, port), (X, 53))), "{workers} workers");
            }
        }
    }
}

// A short ring is an overload with a name
#[test]
fn a_full_ring_drops_with_its_own_reason() {
    let mut lab = Lab::joined(2, 4, |_| {});
    for n in 0..60 {
        lab.queue(0, INSIDE, Frame::udp((std::net::Ipv4Addr::new(192, 168, 50, 2 + n), 5000), (X, 53)));
    }
    let o = lab.settle();
    assert_eq!(o.drops.keys().collect::<Vec<_>>(), [&DropReason::HandoffFull]);
    assert_eq!(o.at(OUTSIDE).len() as u64 + o.drops[&DropReason::HandoffFull], 60);
}
