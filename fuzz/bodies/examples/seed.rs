//! Writes the fuzzers' seeds: `cargo run -p bodies --example seed -- fuzz/seeds [CAPTURE.pcap…]`.
//!
//! Deterministic. Of captures, a few small frames of each are taken; what fuzzers found is not touched.

use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use std::fs;
use std::path::Path;
use testkit::{ACK, FIN, Frame, RST, SYN, fragments, ike, l2tp, pptp};

/// Most frames of a capture, and of all captures.
const EACH: usize = 2;
const ALL: usize = 60;
const SMALL: usize = 400;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let seeds = args.next().ok_or("where to? seed DIRECTORY [CAPTURE.pcap…]")?;
    let seeds = Path::new(&seeds);
    let mut captured = Vec::new();
    for (name, streams) in pptp_streams() {
        write(seeds, "pptp_stream", name, &conversation(&streams))?;
    }
    for (target, name, message) in unusual() {
        write(seeds, target, name, &message)?;
    }
    for capture in args {
        let name = Path::new(&capture).file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        for (n, frame) in small_frames(&capture)?.into_iter().enumerate() {
            captured.push((format!("{name}-{n}"), frame));
        }
        for (target, n, payload) in captured_control(&capture)? {
            write(seeds, target, &format!("{name}-{n}"), &payload)?;
        }
        let streams = captured_pptp(&capture)?;
        if streams.iter().any(|s| !s.is_empty()) {
            write(seeds, "pptp_stream", &name, &conversation(&streams))?;
        }
    }
    captured.truncate(ALL);
    let made = frames();
    for (name, frame) in made.iter().chain(&captured) {
        write(seeds, "parse", name, frame)?;
        if let Some(message) = frame.get(34..).filter(|_| frame[12..14] == [8, 0] && frame.get(23) == Some(&1)) {
            write(seeds, "icmp_quote", name, message)?;
        }
    }
    for (name, story) in stories(&captured) {
        write(seeds, "burst", name, &story)?;
    }
    Ok(())
}

fn write(seeds: &Path, target: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let dir = seeds.join(target);
    fs::create_dir_all(&dir)?;
    fs::write(dir.join(name), bytes)
}

fn small_frames(capture: &str) -> Result<Vec<Vec<u8>>, Box<dyn std::error::Error>> {
    let mut reader = PcapReader::new(fs::File::open(capture)?)?;
    if reader.header().datalink != DataLink::ETHERNET {
        return Ok(Vec::new());
    }
    let mut frames = Vec::new();
    while let (true, Some(packet)) = (frames.len() < EACH, reader.next_packet()) {
        let data = packet?.data.into_owned();
        if (34..SMALL).contains(&data.len()) {
            frames.push(data);
        }
    }
    Ok(frames)
}

/// A target, a number, and a message.
type Control = (&'static str, usize, Vec<u8>);

/// A few messages of IKE and of L2TP's control, by port or protocol, different in what they are.
fn captured_control(capture: &str) -> Result<Vec<Control>, Box<dyn std::error::Error>> {
    const OF_CAPTURE: usize = 3;
    let mut reader = PcapReader::new(fs::File::open(capture)?)?;
    let ethernet = reader.header().datalink == DataLink::ETHERNET;
    let mut found: Vec<Control> = Vec::new();
    while let (true, Some(packet)) = (ethernet, reader.next_packet()) {
        let data = packet?.data.into_owned();
        if data.len() < 42 || data[12..15] != [8, 0, 0x45] {
            continue;
        }
        let end = (14 + usize::from(u16::from_be_bytes([data[16], data[17]]))).min(data.len());
        let ports = [[data[34], data[35]], [data[36], data[37]]];
        let has = |port: u16| data[23] == 17 && ports.contains(&port.to_be_bytes());
        let (target, payload) = if has(500) {
            ("ike", data.get(42..end))
        } else if has(1701) {
            ("l2tp", data.get(42..end))
        } else if data[23] == 115 && data[34..38] == [0; 4] {
            ("l2tp", data.get(38..end))
        } else {
            continue;
        };
        let Some(payload) = payload.filter(|p| (12..SMALL).contains(&p.len())) else { continue };
        let n = found.iter().filter(|(t, ..)| *t == target).count();
        if n < OF_CAPTURE {
            found.push((target, n, payload.to_vec()));
        }
    }
    Ok(found)
}

/// What a capture has of PPTP's control streams, to the server and from it, each segment once. Read without a look at
/// checksums: captures have unfinished ones.
fn captured_pptp(capture: &str) -> Result<[Vec<u8>; 2], Box<dyn std::error::Error>> {
    const PPTP: [u8; 2] = [6, 0xbb];
    let mut reader = PcapReader::new(fs::File::open(capture)?)?;
    let (ethernet, mut streams, mut seen) = (reader.header().datalink == DataLink::ETHERNET, [vec![], vec![]], vec![]);
    while let (true, Some(packet)) = (ethernet, reader.next_packet()) {
        let data = packet?.data.into_owned();
        if data.len() < 54 || data[12..15] != [8, 0, 0x45] || data[23] != 6 {
            continue;
        }
        let end = 14 + usize::from(u16::from_be_bytes([data[16], data[17]]));
        let payload = data.get(34 + usize::from(data[46] >> 4) * 4..end).unwrap_or_default();
        for (way, ports) in [data[36..38] == PPTP, data[34..36] == PPTP].into_iter().enumerate() {
            let segment = (way, data[38..42].to_vec());
            if ports && !payload.is_empty() && !seen.contains(&segment) {
                streams[way].extend(payload);
                seen.push(segment);
            }
        }
    }
    Ok(streams)
}

/// Streams and a script, as `bodies::pptp_stream` reads them.
fn conversation([out, into]: &[Vec<u8>; 2]) -> Vec<u8> {
    let mut all = vec![0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 9];
    for stream in [out, into] {
        all.extend(u16::try_from(stream.len()).expect("a short stream").to_be_bytes());
    }
    all.extend(out);
    all.extend(into);
    let steps: [u8; 20] = [0, 1, 0x42, 4, 5, 6, 7, 8, 0x32, 0x43, 9, 10, 11, 12, 13, 14, 15, 2, 3, 0x30];
    for n in 0..60u8 {
        all.extend([steps[usize::from(n) % steps.len()], n.wrapping_mul(77), n.wrapping_mul(29)]);
    }
    all
}

/// What captures do not have: all types, many calls at once, a server inside, and what is malformed.
fn pptp_streams() -> [(&'static str, [Vec<u8>; 2]); 4] {
    let all = pptp::one_of_each(0x1111, 0x2222, 1).concat();
    let clears = |n: u16| (0..n).flat_map(|n| pptp::call_clear_request(n * 7)).collect::<Vec<_>>();
    let calls = |n: u16| (0..n).flat_map(|n| pptp::outgoing_call_reply(n, n * 7, 1)).collect::<Vec<_>>();
    let incoming =
        [pptp::incoming_call_request(7), pptp::incoming_call_connected(9), pptp::wan_error_notify(9)].concat();
    let reply = [pptp::management(&[1; 30]), pptp::incoming_call_reply(9, 7, 1)].concat();
    let broken = [clears(3), vec![0, 16, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d, 0, 16, 0, 0], clears(2)].concat();
    [
        ("all", [all.clone(), all]),
        ("many", [clears(150), calls(120)]),
        ("server-inside", [incoming, reply]),
        ("malformed", [broken, vec![0, 15]]),
    ]
}

const HOST: &str = "192.168.1.10:4000";
const REMOTE: &str = "198.51.100.7:53";

fn query() -> Frame<'static> {
    Frame::udp(HOST, REMOTE).payload(b"who is there?")
}

const SERVER: &str = "198.51.100.7";

fn ah() -> Frame<'static> {
    Frame::ip(51, HOST, SERVER).payload(vec![4, 4, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9])
}

/// Data of a session, or a control message where that is 0.
fn l2tpv3(session: u32) -> Frame<'static> {
    let rest: &[u8] = if session == 0 { &[0xc8, 3, 0, 12, 0, 0, 0, 9, 0, 0, 0, 0] } else { &[5; 40] };
    Frame::ip(115, HOST, SERVER).payload([&session.to_be_bytes(), rest].concat())
}

/// The first message of IKE_SA_INIT.
fn ike() -> Frame<'static> {
    let header = [&[0xa5; 8][..], &[0; 8], &[33, 0x20, 34, 0x08, 0, 0, 0, 0, 0, 0, 0, 60], &[7; 32]].concat();
    Frame::udp("192.168.1.10:500", "198.51.100.7:500").payload(header)
}

/// A segment of a PPTP client.
fn control(seq: u32, message: impl Into<std::borrow::Cow<'static, [u8]>>) -> Frame<'static> {
    Frame::tcp(HOST, "198.51.100.7:1723").flags(ACK).seq(seq).ack(1).payload(message)
}

/// What captures have not among their first messages.
fn unusual() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    use ike::{Ike, exchange};
    use l2tp::{Avp, control_v3, data_v3, data_with, message};
    let sessions = [Avp::local_session(0x0a0b_0c0d), Avp::remote_session(0x0102_0304), Avp::private(b"mark").hidden()];
    let many = vec![Avp::private(b""); 70];
    vec![
        ("ike", "natt-marked", Ike::v2(0xa1, 0xb1, exchange::AUTH).message_id(1).marked()),
        ("ike", "natt-keepalive", ike::KEEPALIVE.to_vec()),
        ("ike", "natt-esp", ike::esp_in_udp(0x1234, 1, &[9; 24])),
        ("ike", "quick-mode", Ike::v1(0xa1, 0xb1, exchange::QUICK_MODE).message_id(7).build()),
        ("l2tp", "sccrq", l2tp::sccrq(7)),
        ("l2tp", "data-all-fields", data_with(7, 8, true, Some([1, 2]), Some(3), b"ppp")),
        ("l2tp", "v3-icrp", control_v3(7, 1, 2, message::ICRP, &sessions)),
        ("l2tp", "v3-udp-data", data_v3(7, b"frame")),
        ("l2tp", "v3-many-attributes", control_v3(7, 1, 2, message::ICRQ, &many)),
    ]
}

/// One of each kind.
fn frames() -> Vec<(String, Vec<u8>)> {
    let made = [
        ("udp", query()),
        ("udp-no-checksum", query().udp_checksum_zero()),
        ("udp-tagged", query().vlan(100)),
        ("udp-priority-tagged", query().vlan(0x6000)),
        ("udp-padded", Frame::udp(HOST, REMOTE).pad_to(60)),
        ("udp-options", query().record_route(3)),
        ("udp-source-route", query().source_route(["192.0.2.1"])),
        ("udp-length", query().udp_length(4)),
        ("tcp-syn", Frame::tcp(HOST, REMOTE).flags(SYN).mss(1460).wscale(7).sack_permitted()),
        ("tcp-data", Frame::tcp(HOST, REMOTE).payload(b"data")),
        ("tcp-offset", Frame::tcp(HOST, REMOTE).data_offset(15)),
        ("tcp-christmas", Frame::tcp(HOST, REMOTE).flags(SYN | FIN | RST)),
        ("echo-request", Frame::echo_request(HOST, REMOTE, 7, 1).payload(b"ping")),
        ("echo-reply", Frame::echo_reply(REMOTE, HOST, 7, 1).payload(b"ping")),
        ("timestamp", Frame::icmp(HOST, REMOTE, 13, 0, [0, 7, 0, 1]).payload(vec![0; 12])),
        ("redirect", Frame::icmp(REMOTE, HOST, 5, 1, [192, 168, 1, 1]).payload(vec![0; 28])),
        ("unreachable-udp", Frame::unreachable("192.0.2.1", 3, query().build())),
        ("unreachable-tcp", Frame::unreachable("192.0.2.1", 13, Frame::tcp(HOST, REMOTE).build()).quote(28)),
        ("exceeded-echo", Frame::time_exceeded("192.0.2.1", Frame::echo_request(HOST, REMOTE, 7, 1).build())),
        ("exceeded-extended", Frame::time_exceeded("192.0.2.1", query().build()).extension(1, 1, &[0, 1, 2, 3][..])),
        ("too-big", Frame::fragmentation_needed("192.0.2.1", 1400, query().record_route(9).build())),
        ("about-a-fragment", Frame::time_exceeded("192.0.2.1", query().fragment(800, true).build())),
        ("first-fragment", query().payload(vec![1; 64]).fragment(0, true)),
        ("later-fragment", Frame::ip(17, HOST, REMOTE).payload(vec![1; 64]).fragment(64, false)),
        ("gre", Frame::gre(HOST, REMOTE, 77).gre_seq(1).payload(b"ppp")),
        ("gre0", Frame::gre0(HOST, REMOTE, 0x0800).gre_key(7).payload(b"ip")),
        ("esp", Frame::esp(HOST, REMOTE, 0x1234, 1).payload(vec![9; 40])),
        ("gre-version-0", Frame::ip(47, HOST, REMOTE).payload(vec![0x20, 0, 8, 0, 0, 0, 0, 77, 0x45])),
        ("ah", ah()),
        ("l2tpv3-data", l2tpv3(0x1234)),
        ("l2tpv3-control", l2tpv3(0)),
        ("ike", ike()),
        ("pptp-control", control(1, pptp::outgoing_call_request(9))),
        ("l2tpv3", Frame::l2tpv3(HOST, REMOTE, 0xf00d).payload(b"frame")),
        ("arp-request", Frame::arp_request([2; 6], "192.168.1.10", "192.168.1.1")),
        ("arp-reply", Frame::arp_reply([2; 6], "192.168.1.10", [2; 6], "192.168.1.1")),
        ("ipv6", Frame::ethernet(0x86dd).payload(vec![0x60; 40])),
    ];
    made.into_iter().map(|(name, frame)| (name.to_owned(), frame.build())).collect()
}

/// Operations as `bodies::burst` reads them.
struct Story(Vec<u8>);

const POLL: u32 = 0;

impl Story {
    fn new(shape: u8, switches: u8) -> Self {
        Self(vec![shape, switches])
    }

    fn arrive(mut self, outside: bool, frame: &[u8]) -> Self {
        let worker = (self.0.len() % 4) as u8;
        let len = u16::try_from(frame.len()).expect("a frame is short").to_be_bytes();
        self.0.extend([u8::from(outside) << 5 | worker << 3, len[0], len[1]]);
        self.0.extend(frame);
        self
    }

    fn inside(self, frame: &Frame) -> Self {
        self.arrive(false, &frame.build())
    }

    fn outside(self, frame: &Frame) -> Self {
        self.arrive(true, &frame.build())
    }

    /// The workers poll, then t² × 50 ms pass.
    fn wait(mut self, t: u32) -> Self {
        self.0.push(0x40 | t as u8);
        self
    }

    /// An emitted frame comes back: 0 turned, 1 as it is, 2 quoted by an error, 3 turned with TCP flags.
    fn back(mut self, how: u8, which: u8, flags: u8) -> Self {
        self.0.extend([0x80 | how << 4, which, flags]);
        self
    }

    fn hamper(mut self, how: u8) -> Self {
        self.0.push(0xc0 | how);
        self
    }
}

/// The sender is one station, the frame's source is not.
fn arp_in_a_group_frame() -> Vec<u8> {
    let mut frame = Frame::arp_request([2, 0, 0, 0, 9, 10], "192.168.1.10", "192.168.1.1").build();
    frame[6..12].fill(3);
    frame
}

fn stories(captured: &[(String, Vec<u8>)]) -> Vec<(&'static str, Vec<u8>)> {
    let tcp = |flags, seq| Frame::tcp(HOST, "198.51.100.7:80").flags(flags).seq(seq);
    let connection = |shape, switches| {
        let opened = Story::new(shape, switches).inside(&tcp(SYN, 0).mss(1460)).wait(POLL).back(3, 0, 0x12).wait(POLL);
        opened.inside(&tcp(ACK, 1)).inside(&tcp(ACK, 1).payload(b"GET /")).wait(POLL).back(3, 3, 0x10)
    };
    let forwarded = |port: u16| Frame::tcp("198.51.100.9:999", ("203.0.113.1", port)).flags(SYN).seq(0);
    let around = Frame::tcp("192.168.1.11:5555", "203.0.113.1:8443").flags(SYN).seq(0);
    let large = query().payload(vec![5; 1400]).id(9).build();
    let pieces = |s: Story, turned: bool| {
        let mut cut = fragments(&large, 400);
        if turned {
            cut.reverse();
        }
        cut.iter().fold(s, |s, piece| s.arrive(false, piece)).wait(POLL)
    };
    let many = |s: Story| {
        (0..40u16)
            .fold(s, |s, n| s.inside(&Frame::udp((["192.168.1.10", "192.168.1.11"][n as usize % 2], 3000 + n), REMOTE)))
    };
    let arp = |s: Story| {
        let from = |a: &'static str, port: &'static str| Frame::arp_reply([2, 0, 0, 0, 9, 9], a, [2; 6], port);
        let asked = s.inside(&query()).wait(POLL);
        asked
            .outside(&from("203.0.113.254", "203.0.113.1"))
            .wait(POLL)
            .back(0, 0, 0)
            .wait(POLL)
            .back(0, 1, 0)
            .inside(&from("192.168.1.10", "192.168.1.1"))
            .wait(40)
            .wait(40)
    };
    let mut capture = Story::new(1, 1);
    for (n, (_, frame)) in captured.iter().enumerate() {
        capture = capture.arrive(n % 2 == 1, frame);
    }
    let dialled = |shape: u8| {
        let syn = Frame::tcp(HOST, "198.51.100.7:1723").flags(SYN).seq(0).ack(0);
        Story::new(shape, 0).inside(&syn).wait(POLL).back(3, 0, 0x12).wait(POLL)
    };
    let gre = || Frame::gre(HOST, SERVER, 7).gre_seq(1).payload(b"ppp");
    let called = |shape| {
        let request = dialled(shape).inside(&control(1, pptp::outgoing_call_request(9))).wait(POLL);
        request.back(3, 2, 0x18).wait(POLL).inside(&gre()).wait(POLL).back(3, 4, 0).wait(POLL).inside(&gre()).wait(POLL)
    };
    let request = pptp::outgoing_call_request(0x1234);
    let cut = (0..20u32).fold(dialled(2), |s, n| {
        let piece = if n < 19 { n as usize..n as usize + 1 } else { 19..168 };
        s.inside(&control(1 + n, request[piece].to_vec())).wait(POLL)
    });
    let pieces_of_gre = fragments(&gre().payload(vec![5; 1400]).id(3).build(), 400);
    let back_and_forth = |shape, frame: &Frame| {
        let s = Story::new(shape, 0).inside(frame).inside(frame).wait(POLL).back(0, 0, 0).wait(POLL).inside(frame);
        s.wait(POLL).back(0, 3, 0).wait(POLL).back(2, 0, 0).wait(63)
    };
    let made = [
        ("pptp", called(0).inside(&control(169, pptp::call_disconnect_notify(9, 1))).inside(&gre()).wait(20)),
        ("pptp-workers", called(2).inside(&control(169, pptp::stop_request())).inside(&gre()).wait(63)),
        ("pptp-error", called(1).back(2, 4, 0).wait(POLL).back(2, 5, 1).wait(63)),
        ("pptp-malformed", called(0).inside(&control(169, vec![0xff; 40])).wait(POLL).inside(&gre()).wait(63)),
        ("pptp-cut", cut.back(0, 3, 0).wait(40)),
        (
            "pptp-pieces",
            pieces_of_gre
                .iter()
                .rev()
                .fold(called(1), |s, piece| s.arrive(false, piece))
                .wait(POLL)
                .back(0, 6, 0)
                .wait(9),
        ),
        (
            "pptp-many",
            (0..20)
                .fold(dialled(0), |s, n| s.inside(&control(1 + 168 * n, pptp::outgoing_call_request(n as u16 * 301))))
                .wait(36),
        ),
        (
            "pptp-forward",
            Story::new(1, 0)
                .outside(&forwarded(1723).ack(0))
                .wait(POLL)
                .back(3, 0, 0x12)
                .wait(POLL)
                .outside(
                    &Frame::tcp("198.51.100.9:999", "203.0.113.1:1723")
                        .seq(1)
                        .ack(1)
                        .payload(pptp::outgoing_call_request(3)),
                )
                .wait(POLL)
                .back(3, 2, 0x18)
                .wait(POLL)
                .inside(&Frame::gre("192.168.1.12", "198.51.100.9", 3).payload(b"ppp"))
                .wait(POLL)
                .back(3, 4, 1)
                .wait(40),
        ),
        ("esp", back_and_forth(0, &Frame::esp(HOST, SERVER, 0x1234, 1).payload(vec![9; 40]))),
        ("esp-strict", back_and_forth(0x21, &Frame::esp(HOST, SERVER, 0x1234, 1).payload(vec![9; 40]))),
        ("l2tpv3", back_and_forth(1, &l2tpv3(0x1234))),
        ("l2tpv3-control", back_and_forth(2, &l2tpv3(0))),
        ("ike", back_and_forth(1, &ike())),
        ("ike-kept", back_and_forth(0x42, &ike())),
        ("ah", back_and_forth(0, &ah())),
        ("other-protocol", back_and_forth(0, &Frame::ip(41, HOST, SERVER).payload(vec![0x60; 60]))),
        ("udp", Story::new(0, 0).inside(&query()).wait(POLL).back(0, 0, 0).wait(60)),
        ("tcp", connection(1, 0).inside(&tcp(FIN | ACK, 6)).back(3, 0, 0x11).inside(&tcp(SYN, 9)).wait(63)),
        ("tcp-reset", connection(2, 4).back(3, 0, 0x14).back(3, 0, 0x02).wait(63).back(0, 0, 0)),
        (
            "ping",
            Story::new(0, 0)
                .inside(&Frame::echo_request(HOST, REMOTE, 7, 1))
                .wait(POLL)
                .back(0, 0, 0)
                .wait(POLL)
                .outside(&Frame::echo_request(REMOTE, "203.0.113.1", 3, 1))
                .inside(&Frame::echo_request(HOST, "192.168.1.1", 0, 1)),
        ),
        (
            "errors",
            Story::new(1, 0)
                .inside(&query())
                .wait(POLL)
                .back(2, 0, 0)
                .wait(POLL)
                .back(0, 0, 0)
                .wait(POLL)
                .back(2, 2, 1)
                .inside(&query().ttl(1))
                .inside(&query().df().payload(vec![0; 300])),
        ),
        ("fragments", pieces(Story::new(0x12, 0), false)),
        ("fragments-turned", pieces(Story::new(0x0a, 0), true).arrive(false, &fragments(&large, 400)[1]).wait(10)),
        (
            "forwards",
            Story::new(1, 0)
                .outside(&forwarded(8443))
                .wait(POLL)
                .back(3, 0, 0x12)
                .outside(&forwarded(9443))
                .wait(POLL)
                .inside(&around)
                .wait(POLL)
                .back(3, 2, 0x12),
        ),
        (
            "hairpin",
            Story::new(2, 0)
                .inside(&query())
                .wait(POLL)
                .inside(&Frame::udp("192.168.1.11:5000", "203.0.113.1:4000"))
                .inside(&Frame::udp("192.168.1.11:5000", "203.0.113.2:4000"))
                .wait(POLL)
                .back(0, 1, 0)
                .back(2, 1, 0),
        ),
        (
            "one-to-one",
            Story::new(0, 0)
                .outside(&Frame::udp(REMOTE, "203.0.113.4:7"))
                .outside(&Frame::echo_request(REMOTE, "203.0.113.4", 9, 1))
                .wait(POLL)
                .back(0, 0, 0)
                .back(0, 1, 0)
                .inside(&Frame::tcp("192.168.1.13:22", REMOTE).flags(SYN)),
        ),
        (
            "between-insides",
            Story::new(1, 0)
                .inside(&Frame::udp(HOST, "192.168.2.9:1"))
                .arrive(false, &Frame::udp(HOST, "10.1.1.1:1").build())
                .wait(POLL)
                .back(2, 0, 0),
        ),
        (
            "strangers",
            Story::new(0, 0x80)
                .inside(&tcp(SYN, 0))
                .wait(POLL)
                .outside(&Frame::tcp("198.51.100.9:5", "203.0.113.1:5000").flags(SYN))
                .outside(&Frame::tcp("198.51.100.9:5", "203.0.113.2:4000").flags(SYN))
                .wait(11),
        ),
        (
            "group-source",
            Story::new(0, 0)
                .inside(&Frame::echo_request(HOST, "192.168.1.1", 1, 1).source_mac([3; 6]))
                .wait(POLL)
                .outside(&Frame::echo_request(REMOTE, "203.0.113.1", 1, 1).source_mac([0xff; 6]))
                .inside(&query().source_mac([3; 6]).ttl(1))
                .inside(&Frame::arp_request([3; 6], "192.168.1.10", "192.168.1.1"))
                .arrive(false, &arp_in_a_group_frame()),
        ),
        ("arp", arp(Story::new(2, 1))),
        ("arp-tagged", arp(Story::new(0x08, 1))),
        ("limits", many(Story::new(1, 2)).wait(63).wait(63)),
        ("limits-small-rings", many(Story::new(0x82, 0x62)).wait(63)),
        ("hampered", many(Story::new(1, 0).hamper(2)).hamper(8).inside(&query().ttl(1)).hamper(0).wait(1)),
        ("captures", capture.wait(POLL)),
    ];
    made.into_iter().map(|(name, story)| (name, story.0)).collect()
}
