//! Real VPN traffic through the box: captures of others' sessions, replayed both ways, as claims about every packet.
//!
//! The captures are not part of this repository. They are looked for in `../shared/captures` beside it, or where
//! `UNDERPASS_CAPTURES` says; without them each test says so and passes.
//!
//! [`story`] says of each capture who is inside and what may be dropped; [`replay`] keeps its own book of translated
//! ports and Call IDs; [`datagram`] has checksums from `etherparse`. None of it shares code with the dataplane.

mod datagram;
mod lab;
mod replay;
mod story;
mod tshark;

use dataplane::policy::{IkePort, Pairing, Policy};
use lab::{INSIDE, Lab, OUTSIDE, POOL, lan, lan_mac};
use replay::{Tally, frames, replay};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use story::{MALFORMED, OTHERS, Story, TUNNELS};

/// How a capture is replayed.
struct Way {
    name: &'static str,
    workers: u8,
    policy: fn(&mut Policy),
}

/// Ports are kept or not, so that the book has something to translate; IKE's hard cases are settled either way.
const WAYS: [Way; 6] = [
    Way { name: "1 worker", workers: 1, policy: |_| {} },
    Way { name: "3 workers", workers: 3, policy: |_| {} },
    Way { name: "1 worker, ports not kept", workers: 1, policy: |p| p.preserve_port = false },
    Way { name: "3 workers, ports not kept", workers: 3, policy: |p| p.preserve_port = false },
    Way { name: "1 worker, careful IPsec", workers: 1, policy: careful },
    Way { name: "3 workers, careful IPsec", workers: 3, policy: careful },
];

fn careful(p: &mut Policy) {
    (p.passthrough.ike_port, p.passthrough.pairing) = (IkePort::Preserve, Pairing::Strict);
}

/// Where the captures are, if anywhere.
fn captures() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    let dir = std::env::var_os("UNDERPASS_CAPTURES").map_or_else(beside, PathBuf::from);
    if dir.is_dir() {
        return Some(dir);
    }
    println!("skipped: no captures");
    None
}

fn tell(story: &Story, way: &Way, tally: &Tally) {
    let Tally { put, delivered, renamed, drops, strays, .. } = tally;
    let (file, way) = (story.file, way.name);
    println!(
        "{file}, {way}: put {put:?}, delivered {delivered:?}, renamed {renamed}, drops {drops:?}, strays {strays:?}"
    );
}

#[test]
fn what_belongs_to_a_tunnel_reaches_the_host_that_it_is_for_unchanged() {
    let Some(dir) = captures() else { return };
    let mut wrong = Vec::new();
    let mut renamed = 0;
    for story in TUNNELS {
        for way in &WAYS {
            let tally = replay(story, &dir, way);
            tell(story, way, &tally);
            renamed += tally.renamed;
            if tally.drops != BTreeMap::from_iter(story.drops.iter().copied()) {
                wrong.push(format!("{}, {}: {:?}", story.file, way.name, tally.drops));
            }
        }
    }
    assert!(wrong.is_empty(), "dropped otherwise than the table says:\n{}", wrong.join("\n"));
    assert!(renamed > 0, "no port and no Call ID was translated");
}

#[test]
fn what_is_no_tunnel_is_translated_rightly_or_dropped_with_a_reason() {
    let Some(dir) = captures() else { return };
    for story in OTHERS {
        for way in &WAYS {
            tell(story, way, &replay(story, &dir, way));
        }
    }
}

#[test]
fn damaged_packets_end_with_a_reason_whichever_way_they_come() {
    let Some(dir) = captures() else { return };
    for file in MALFORMED {
        for Way { name, workers, policy } in &WAYS {
            let mut lab = Lab::new(*workers, 1, policy);
            let mut sent = 0;
            for frame in frames(&dir.join(file)) {
                // As it is; and with addresses that the box has to do with, and a right checksum of the header.
                let mut steps = vec![lab.put_frames(INSIDE, std::slice::from_ref(&frame))];
                steps.push(lab.put_frames(OUTSIDE, std::slice::from_ref(&frame)));
                if let Some(ip) = frame.get(14..).filter(|ip| ip.len() >= 20) {
                    steps.push(lab.put(INSIDE, Some(lan_mac(0)), &[addressed(ip, 12, lan(0))]));
                    steps.push(lab.put(OUTSIDE, None, &[addressed(ip, 16, POOL)]));
                }
                for frame in steps.iter().flat_map(|s| s.sent.iter().flatten()) {
                    let seen = datagram::read(&frame[14..]).unwrap_or_else(|| panic!("{file}: sent {frame:02x?}"));
                    assert_eq!(seen.head.header_checksum, seen.head.calc_header_checksum(), "{file}: {frame:02x?}");
                    sent += 1;
                }
            }
            println!("{file}, {name}: sent {sent}, drops {:?}", lab.drops());
            lab.finish(file);
        }
    }
}

/// A packet with another address at this place; the header's checksum is made right where it has one.
fn addressed(ip: &[u8], at: usize, address: [u8; 4]) -> Vec<u8> {
    let mut ip = ip.to_vec();
    ip[at..at + 4].copy_from_slice(&address);
    if let Ok((head, _)) = etherparse::Ipv4Header::from_slice(&ip) {
        ip[10..12].copy_from_slice(&head.calc_header_checksum().to_be_bytes());
    }
    ip
}

#[test]
fn every_capture_has_its_row() {
    let Some(dir) = captures() else { return };
    let rows = TUNNELS.iter().chain(OTHERS).map(|s| s.file).chain(MALFORMED.iter().copied());
    let rows: BTreeSet<_> = rows.map(String::from).collect();
    let files = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<_> = files.filter(|f| f.ends_with(".pcap")).collect();
    assert_eq!(rows, files);
}

#[test]
fn tshark_finds_no_wrong_checksum_in_what_was_translated() {
    let Some(dir) = captures() else { return };
    if !tshark::is_there() {
        println!("skipped: no tshark");
        return;
    }
    let mut checked = 0;
    // Ports kept, and not.
    for way in &WAYS[1..3] {
        let mut frames: Vec<_> = TUNNELS.iter().chain(OTHERS).flat_map(|s| replay(s, &dir, way).frames).collect();
        let wrong = tshark::wrong(&frames);
        assert!(wrong.is_empty(), "{}: {wrong:#?}", way.name);
        checked += frames.len();
        // It would have said so: a frame with one other bit.
        let tcp = frames.iter_mut().find(|f| f[23] == datagram::TCP).unwrap();
        *tcp.last_mut().unwrap() ^= 1;
        assert_eq!(tshark::wrong(&frames).len(), 1);
    }
    println!("tshark checked {checked} packets");
}
