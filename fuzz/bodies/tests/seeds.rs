//! Every seed and some ten thousand mutations of them through the fuzz bodies, the same ones each time.

use bodies::TARGETS;
use std::path::{Path, PathBuf};

/// SplitMix64: small, fixed, and of no consequence.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds").join(target);
    let mut paths: Vec<_> =
        std::fs::read_dir(&dir).expect("seeds are there").map(|e| e.expect("readable").path()).collect();
    paths.sort();
    paths.into_iter().map(|p| (p.clone(), std::fs::read(p).expect("readable"))).collect()
}

/// A few changes of the kinds that libFuzzer makes.
fn mutate(bytes: &mut Vec<u8>, others: &[(PathBuf, Vec<u8>)], r: &mut Random) {
    for _ in 0..=r.below(4) {
        let at = r.below(bytes.len() + 1);
        match r.below(8) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << r.below(8),
            2 if at < bytes.len() => bytes[at] = r.next() as u8,
            3 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, 20, 0x45][r.below(7)],
            4 => bytes.insert(at, r.next() as u8),
            5 => drop(bytes.drain(at..(at + r.below(8)).min(bytes.len()))),
            6 => {
                let other = &others[r.below(others.len())].1;
                let from = r.below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            7 => {
                let end = (at + r.below(40)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {}
        }
    }
    bytes.truncate(8192);
}

fn run(target: &str, mutations: usize) {
    let (_, body) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target of this name");
    let seeds = seeds(target);
    for (path, seed) in &seeds {
        eprintln!("{}", path.display());
        body(seed);
    }
    let mut r = Random(1);
    for n in 0..mutations {
        let mut bytes = seeds[n % seeds.len()].1.clone();
        mutate(&mut bytes, &seeds, &mut r);
        let shown = Shown(target, &bytes);
        body(&bytes);
        std::mem::forget(shown);
    }
}

/// Writes the input down when a body panics, so that it can become a seed.
struct Shown<'a>(&'a str, &'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        let hex: String = self.1.iter().map(|b| format!("{b:02x}")).collect();
        eprintln!("`{}` fails on: {hex}", self.0);
    }
}

#[test]
fn parse() {
    run("parse", 20_000);
}

#[test]
fn icmp_quote() {
    run("icmp_quote", 20_000);
}

#[test]
fn burst() {
    run("burst", 3_000);
}

#[test]
fn config() {
    run("config", 1_000);
}

#[test]
fn pptp_stream() {
    run("pptp_stream", 20_000);
}

#[test]
fn ike() {
    run("ike", 20_000);
}

#[test]
fn l2tp() {
    run("l2tp", 20_000);
}
