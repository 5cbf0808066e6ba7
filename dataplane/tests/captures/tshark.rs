//! `tshark` as one more witness of checksums.

use pcap_file::pcap::{PcapPacket, PcapWriter};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

const FIELDS: [&str; 6] =
    ["ip.proto", "ip.checksum.status", "tcp.checksum.status", "udp.checksum.status", "icmp.checksum.status", "ip.src"];

/// Whether it is installed.
pub(crate) fn is_there() -> bool {
    Command::new("tshark").arg("--version").output().is_ok_and(|o| o.status.success())
}

/// What it says about frames with a wrong checksum. Of each layer the first counts: what a tunnel carries, or an error
/// quotes, is as it was captured.
pub(crate) fn wrong(frames: &[Vec<u8>]) -> Vec<String> {
    let mut file = Vec::new();
    let mut writer = PcapWriter::new(&mut file).unwrap();
    for frame in frames {
        let len = u32::try_from(frame.len()).unwrap();
        writer.write_packet(&PcapPacket::new(Duration::ZERO, len, frame)).unwrap();
    }
    let mut command = Command::new("tshark");
    command.args([
        "-n",
        "-r",
        "-",
        "-T",
        "fields",
        "-E",
        "occurrence=f",
        "-E",
        "separator=|",
        "-o",
        "ip.defragment:TRUE",
    ]);
    for protocol in ["ip", "tcp", "udp"] {
        command.args(["-o", &format!("{protocol}.check_checksum:TRUE")]);
    }
    for field in FIELDS {
        command.args(["-e", field]);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let feed = std::thread::spawn(move || input.write_all(&file));
    let output = child.wait_with_output().unwrap();
    feed.join().unwrap().unwrap();
    let lines: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(String::from).collect();
    assert!(output.status.success() && lines.len() == frames.len(), "{} of {} read", lines.len(), frames.len());
    lines.into_iter().zip(1..).filter(|(line, _)| is_wrong(line)).map(|(line, n)| format!("{n}: {line}")).collect()
}

/// Status 0 is "bad", in words in later versions.
fn is_wrong(line: &str) -> bool {
    let fields: Vec<_> = line.split('|').collect();
    let bad = |n: usize| fields.get(n).is_some_and(|s| matches!(*s, "0" | "Bad"));
    let transport = match fields.first().copied() {
        Some("6") => bad(2),
        Some("17") => bad(3),
        Some("1") => bad(4),
        _ => false,
    };
    bad(1) || transport
}
