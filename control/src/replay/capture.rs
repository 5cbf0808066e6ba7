//! Captures in: pcap and pcapng, Ethernet only, each frame with its time.
//!
//! A file is read whole and every record checked before the first packet is played: a damaged capture is refused
//! with the number of the packet, and nothing is written. The library's records are taken raw: it would refuse packets
//! that a snap length cut.

use super::pcapng::Blocks;
use anyhow::{Context, anyhow, bail};
use pcap_file::pcap::PcapParser;
use pcap_file::{DataLink, PcapError, TsResolution};
use std::path::Path;

const NANOS: u64 = 1_000_000_000;

/// A frame and when it was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Nanoseconds since 1970; never earlier than the record before.
    pub(super) at: u64,
    /// The frame, as much of it as was captured.
    pub(super) frame: Vec<u8>,
}

/// A capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Capture {
    /// In the order of the file.
    pub(super) records: Vec<Record>,
    /// Packets of which less was captured than was on the wire.
    pub(super) snapped: u64,
    /// Packets older than the one before; they were given its time.
    pub(super) backwards: u64,
}

impl Capture {
    /// Reads a file.
    pub(super) fn load(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&bytes).with_context(|| path.display().to_string())
    }

    /// Whether some time needs more than microseconds.
    pub(super) fn is_fine(&self) -> bool {
        self.records.iter().any(|r| r.at % 1000 != 0)
    }

    fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        match bytes {
            [0x0a, 0x0d, 0x0d, 0x0a, ..] => Self::parse_pcapng(bytes),
            _ => Self::parse_pcap(bytes),
        }
    }

    fn parse_pcap(bytes: &[u8]) -> anyhow::Result<Self> {
        let (mut rest, parser) = PcapParser::new(bytes).map_err(|_| anyhow!("neither pcap nor pcapng"))?;
        let header = parser.header();
        check_link(header.datalink)?;
        let unit = match header.ts_resolution {
            TsResolution::MicroSecond => 1000,
            TsResolution::NanoSecond => 1,
        };
        let mut capture = Self::default();
        while !rest.is_empty() {
            let number = capture.records.len() + 1;
            let (after, packet) = parser.next_raw_packet(rest).map_err(|e| broken(number, &e))?;
            rest = after;
            let fraction = u64::from(packet.ts_frac) * unit;
            if fraction >= NANOS {
                bail!("packet {number}: its time has a fraction of more than a second");
            }
            capture.push(u64::from(packet.ts_sec) * NANOS + fraction, packet.orig_len, &packet.data)?;
        }
        Ok(capture)
    }

    fn parse_pcapng(bytes: &[u8]) -> anyhow::Result<Self> {
        let mut capture = Self::default();
        let mut blocks = Blocks::new(bytes);
        loop {
            let number = capture.records.len() + 1;
            match blocks.next_packet().with_context(|| format!("packet {number}"))? {
                None => return Ok(capture),
                Some(p) => {
                    check_link(DataLink::from(u32::from(p.link))).with_context(|| format!("packet {number}"))?;
                    capture.push(p.at, p.on_wire, p.frame)?;
                }
            }
        }
    }

    fn push(&mut self, at: u64, on_wire: u32, frame: &[u8]) -> anyhow::Result<()> {
        let captured = u64::try_from(frame.len())?;
        if captured > u64::from(on_wire) {
            bail!(
                "packet {}: {captured} bytes were captured of a packet of {on_wire} bytes; the file is damaged",
                self.records.len() + 1
            );
        }
        self.snapped += u64::from(captured < u64::from(on_wire));
        let last = self.records.last().map_or(0, |r| r.at);
        self.backwards += u64::from(at < last);
        self.records.push(Record { at: at.max(last), frame: frame.to_vec() });
        Ok(())
    }
}

fn check_link(link: DataLink) -> anyhow::Result<()> {
    if link == DataLink::ETHERNET {
        return Ok(());
    }
    bail!("its link type is {link:?} ({}) and only Ethernet (1) can be replayed", u32::from(link))
}

fn broken(number: usize, error: &PcapError) -> anyhow::Error {
    match error {
        PcapError::IncompleteBuffer => anyhow!("packet {number}: it is cut off: the file ends within it"),
        other => anyhow!("packet {number}: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A little-endian pcap with the given magic and link type.
    fn pcap(magic: u32, link: u32, packets: &[(u32, u32, u32, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(magic.to_le_bytes());
        out.extend([2, 0, 4, 0]);
        for word in [0, 0, 96, link] {
            out.extend(u32::to_le_bytes(word));
        }
        for (seconds, fraction, on_wire, bytes) in packets {
            let captured = u32::try_from(bytes.len()).unwrap();
            for word in [*seconds, *fraction, captured, *on_wire] {
                out.extend(word.to_le_bytes());
            }
            out.extend(*bytes);
        }
        out
    }

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 12).unwrap().to_le_bytes();
        [&kind.to_le_bytes()[..], &length, body, &length].concat()
    }

    fn pcapng(options: &[u8], times: &[u64]) -> Vec<u8> {
        let section = block(0x0a0d_0d0a, &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
        let interface = block(1, &[&[1, 0, 0, 0, 0, 0, 4, 0][..], options].concat());
        let mut out = [section, interface].concat();
        for t in times {
            let [a, b, c, d, e, f, g, h] = t.to_le_bytes();
            let body = [&[0, 0, 0, 0, e, f, g, h, a, b, c, d][..], &[4, 0, 0, 0, 4, 0, 0, 0, 9, 9, 9, 9]].concat();
            out.extend(block(6, &body));
        }
        out
    }

    fn message(bytes: &[u8]) -> String {
        format!("{:#}", Capture::parse(bytes).unwrap_err())
    }

    fn times(c: &Capture) -> Vec<u64> {
        c.records.iter().map(|r| r.at).collect()
    }

    #[test]
    fn both_resolutions_of_pcap_are_read() {
        let micro = Capture::parse(&pcap(0xa1b2_c3d4, 1, &[(1, 5, 2, &[7, 8])])).unwrap();
        assert_eq!(micro.records, [Record { at: 1_000_005_000, frame: vec![7, 8] }]);
        assert!(!micro.is_fine());
        let nano = Capture::parse(&pcap(0xa1b2_3c4d, 1, &[(1, 5, 2, &[7, 8])])).unwrap();
        assert_eq!(times(&nano), [1_000_000_005]);
        assert!(nano.is_fine());
    }

    #[test]
    fn pcapng_times_are_in_the_interfaces_units() {
        let read = |options: &[u8], t| times(&Capture::parse(&pcapng(options, &[t])).unwrap());
        assert_eq!(read(&[], 1_000_005), [1_000_005_000], "microseconds unless told otherwise");
        assert_eq!(read(&[9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0], 7), [7]);
        assert_eq!(read(&[9, 0, 1, 0, 12, 0, 0, 0, 0, 0, 0, 0], 7000), [7]);
        assert_eq!(read(&[9, 0, 1, 0, 0x81, 0, 0, 0, 0, 0, 0, 0], 3), [1_500_000_000], "halves of a second");
        let two_seconds = [14, 0, 8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(read(&two_seconds, 1), [2_000_001_000]);
    }

    #[test]
    fn a_file_that_ends_within_a_packet_is_refused_with_the_packets_number() {
        let whole = pcap(0xa1b2_c3d4, 1, &[(1, 0, 2, &[7, 8]), (2, 0, 2, &[7, 8])]);
        assert_eq!(message(&whole[..whole.len() - 1]), "packet 2: it is cut off: the file ends within it");
        assert_eq!(message(&whole[..whole.len() - 10]), "packet 2: it is cut off: the file ends within it");
        let whole = pcapng(&[], &[1, 2, 3]);
        assert_eq!(message(&whole[..whole.len() - 3]), "packet 3: it is cut off: the file ends within it");
    }

    #[test]
    fn what_is_no_ethernet_capture_is_refused() {
        assert!(message(&pcap(0xa1b2_c3d4, 101, &[])).contains("only Ethernet (1)"));
        assert!(message(b"hello").contains("neither pcap nor pcapng"));
        assert!(message(b"").contains("neither pcap nor pcapng"));
        assert!(message(&pcap(0xa1b2_c3d4, 1, &[(1, 1_000_000, 2, &[7, 8])])).contains("packet 1: its time"));
        assert!(message(&pcap(0xa1b2_c3d4, 1, &[(1, 0, 1, &[7, 8])])).contains("packet 1: 2 bytes were captured"));
    }

    #[test]
    fn snapped_packets_are_taken_and_counted_also_beyond_the_snap_length() {
        let c = Capture::parse(&pcap(0xa1b2_c3d4, 1, &[(1, 0, 1500, &[7, 8]), (1, 1, 2, &[7, 8])])).unwrap();
        assert_eq!((c.snapped, c.records.len()), (1, 2));
    }

    #[test]
    fn no_damage_makes_it_panic() {
        let two_seconds = [14, 0, 8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for whole in [pcapng(&two_seconds, &[1, 2]), pcap(0xa1b2_c3d4, 1, &[(1, 0, 2, &[7, 8]), (2, 0, 2, &[7, 8])])] {
            for at in 0..whole.len() {
                let _ = Capture::parse(&whole[..at]);
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut damaged = whole.clone();
                    damaged[at] = value;
                    let _ = Capture::parse(&damaged);
                }
            }
        }
    }

    #[test]
    fn time_never_goes_back() {
        let packets: &[(u32, u32, u32, &[u8])] = &[(5, 0, 1, &[1]), (3, 0, 1, &[2]), (5, 1, 1, &[3])];
        let c = Capture::parse(&pcap(0xa1b2_c3d4, 1, packets)).unwrap();
        assert_eq!(times(&c), [5_000_000_000, 5_000_000_000, 5_000_001_000]);
        assert_eq!(c.backwards, 1);
    }
}
