//! Golden cases: a configuration and two captures in, two captures and a table of verdicts out, to the byte.
//!
//! Each folder of `tests/golden` is a case. `inputs.rs` there makes what arrives; the expected files were made by
//! `UPDATE_GOLDEN=1 cargo test -p underpass --test golden` and read by a person before they were committed. A difference is either a
//! bug or a decision: in the second case update, read the difference, and say why in the commit.

mod common;
#[path = "golden/inputs.rs"]
mod inputs;

use common::{Frames, Scratch, UNDERPASS, frames, pcap};
use inputs::Script;
use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::Seen;

fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case)
}

fn updating() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

/// What a replay wrote and said.
struct Outcome {
    inside: Vec<u8>,
    outside: Vec<u8>,
    table: String,
}

fn replay(case: &Path, scratch: &Path, extra: &[&str]) -> Outcome {
    let (inside, outside) = (scratch.join("inside.pcap"), scratch.join("outside.pcap"));
    let run = Command::new(UNDERPASS)
        .args(["replay", "--log", "error", "--config"])
        .arg(case.join("config.toml"))
        .arg("--inside")
        .arg(case.join("inside.pcap"))
        .arg("--outside")
        .arg(case.join("outside.pcap"))
        .arg("--write-inside")
        .arg(&inside)
        .arg("--write-outside")
        .arg(&outside)
        .args(extra)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && said.is_empty(), "{}: {} {said}", case.display(), run.status);
    Outcome {
        inside: fs::read(inside).unwrap(),
        outside: fs::read(outside).unwrap(),
        table: String::from_utf8(run.stdout).unwrap(),
    }
}

/// A frame as a person reads it.
fn told((at, frame): &(u64, Vec<u8>)) -> String {
    let what = Seen::read(frame).map_or_else(|e| format!("unreadable: {e:?}"), |s| s.to_string());
    let milli = at / 1_000_000;
    format!("{}.{:03} {what}", milli / 1000, milli % 1000)
}

/// Both captures as text, so that a difference can be read, then their bytes.
fn assert_same(case: &str, side: &str, expected: &[u8], found: &[u8]) {
    let lines = |pcap: &[u8]| frames(pcap).iter().map(told).collect::<Vec<_>>();
    let (expected_lines, found_lines) = (lines(expected), lines(found));
    for (n, (e, f)) in expected_lines.iter().zip(&found_lines).enumerate() {
        assert_eq!(e, f, "{case}: packet {} that leaves {side}", n + 1);
    }
    assert_eq!(expected_lines.len(), found_lines.len(), "{case}: number of packets that leave {side}");
    assert!(expected == found, "{case}: what leaves {side} reads the same but its bytes differ");
}

fn check(name: &str, script: &Script) {
    let case = folder(name);
    for (side, frames) in [("inside", &script.inside), ("outside", &script.outside)] {
        let (file, made) = (case.join(format!("{side}.pcap")), pcap(frames));
        if updating() {
            fs::write(file, made).unwrap();
        } else {
            assert!(fs::read(file).unwrap() == made, "{name}/{side}.pcap is not what inputs.rs makes");
        }
    }
    let scratch = Scratch::new(name);
    let found = replay(&case, scratch.path(), &[]);
    if updating() {
        fs::write(case.join("expected-inside.pcap"), &found.inside).unwrap();
        fs::write(case.join("expected-outside.pcap"), &found.outside).unwrap();
        fs::write(case.join("counters.txt"), &found.table).unwrap();
        return;
    }
    let expected = |file: &str| fs::read(case.join(file)).unwrap();
    assert_same(name, "by the inside port", &expected("expected-inside.pcap"), &found.inside);
    assert_same(name, "by the outside port", &expected("expected-outside.pcap"), &found.outside);
    assert_eq!(String::from_utf8(expected("counters.txt")).unwrap(), found.table, "{name}: verdicts");
}

#[test]
fn every_case_gives_what_it_gave_before_to_the_byte() {
    let cases = inputs::all();
    for (name, script) in &cases {
        check(name, script);
    }
    for entry in fs::read_dir(folder("")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(!entry.path().is_dir() || cases.contains_key(name.as_str()), "nothing makes the case {name}");
    }
}

/// Every checksum and every length of what leaves is right, whatever came in.
#[test]
fn an_independent_reader_finds_everything_that_leaves_right() {
    for name in inputs::all().keys() {
        for side in ["inside", "outside"] {
            let pcap = fs::read(folder(name).join(format!("expected-{side}.pcap"))).unwrap();
            for (n, (_, frame)) in frames(&pcap).iter().enumerate() {
                if let Err(e) = Seen::read(frame) {
                    panic!("{name}: packet {} that leaves {side}: {e:?}", n + 1);
                }
            }
        }
    }
}

/// Whichever workers packets come to, each answer reaches who asked; only ports and IP identifications differ.
#[test]
fn several_workers_give_the_same_verdicts() {
    let scratch = Scratch::new("workers");
    let case = scratch.path();
    fs::copy(folder("udp").join("config.toml"), case.join("config.toml")).unwrap();
    let asked = inputs::crowd().inside;
    fs::write(case.join("inside.pcap"), pcap(&asked)).unwrap();
    let results = ["1", "2", "3", "8"].map(|workers| {
        fs::write(case.join("outside.pcap"), pcap(&Frames::new())).unwrap();
        let alone = replay(case, &results_of(case), &["--workers", workers]);
        let answers = inputs::answers(&frames(&alone.outside));
        fs::write(case.join("outside.pcap"), pcap(&answers)).unwrap();
        let both = replay(case, &results_of(case), &["--workers", workers]);
        // Ethernet addresses differ: only answers show where the server is.
        let packets = |o: &Outcome| frames(&o.outside).into_iter().map(|(_, f)| f[12..].to_vec()).collect::<Vec<_>>();
        assert!(packets(&alone) == packets(&both), "answers change nothing of what is sent, {workers} workers");
        assert_eq!(frames(&both.outside).len(), asked.len(), "{workers} workers");
        let path = |(from, to): (SocketAddrV4, SocketAddrV4)| format!("{from} -> {to}");
        let mut due: Vec<_> = asked.iter().map(|(_, f)| path(ends(f, true))).collect();
        let mut came: Vec<_> = frames(&both.inside).iter().map(|(_, f)| path(ends(f, false))).collect();
        due.sort_unstable();
        came.sort_unstable();
        assert_eq!(due, came, "{workers} workers");
        (ways(&both), rows(&both))
    });
    for (n, result) in results.iter().enumerate() {
        assert_eq!(result.0.len(), results[0].0.len());
        for (one, several) in results[0].0.iter().zip(&result.0) {
            assert_eq!(one, several, "run {n}");
        }
        assert_eq!(result.1, results[0].1, "run {n}");
    }
}

/// Source and destination of a frame, or the other way round.
fn ends(frame: &[u8], swapped: bool) -> (SocketAddrV4, SocketAddrV4) {
    let s = Seen::read(frame).unwrap();
    if swapped { (s.destination, s.source) } else { (s.source, s.destination) }
}

fn results_of(case: &Path) -> PathBuf {
    let path = case.join("results");
    fs::create_dir_all(&path).unwrap();
    path
}

/// Who got what inside, ports and all.
fn ways(o: &Outcome) -> Vec<String> {
    let way = |(_, frame): (u64, Vec<u8>)| {
        let s = Seen::read(&frame).unwrap();
        let icmp = if let testkit::Transport::Icmp(icmp) = &s.transport { Some(icmp.id()) } else { None };
        format!("{} {} icmp {icmp:?} offset {} ttl {} {} bytes", s.protocol, s.path(), s.offset, s.ttl, frame.len())
    };
    frames(&o.inside).into_iter().map(way).collect()
}

/// The table without what only several workers count.
fn rows(o: &Outcome) -> Vec<String> {
    let kept = |l: &&str| !l.starts_with("handed_") && !l.contains("worker(s)");
    o.table.lines().filter(kept).map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}
