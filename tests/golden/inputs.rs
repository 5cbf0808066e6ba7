//! What arrives in each golden case. The captures that are committed are what this makes, to the byte; a reader of a
//! capture finds here why each packet is in it.

use crate::common::Frames;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use testkit::{ACK, FIN, Frame, PSH, RST, SYN, Seen, Transport, endpoint, fragments};

/// Nanoseconds since 1970 of the first packet: 14 November 2023.
const START: u64 = 1_700_000_000_000_000_000;
const MILLI: u64 = 1_000_000;

/// The router's Ethernet addresses, which `config.toml` does not name: the replay finds them.
const ROUTER_INSIDE: [u8; 6] = [2, 0, 0, 0, 1, 0];
const ROUTER_OUTSIDE: [u8; 6] = [2, 0, 0, 0, 2, 0];
const GATEWAY: [u8; 6] = [2, 0, 0, 0, 2, 1];

/// A house: two hosts, and a server somewhere in the world.
const A: &str = "192.168.1.10";
const B: &str = "192.168.1.20";
const US: &str = "203.0.113.2";
const SERVER: &str = "198.51.100.7";

/// What arrives on both sides.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) inside: Frames,
    pub(crate) outside: Frames,
    now: u64,
}

impl Script {
    /// A packet from an inside host, a millisecond after the one before.
    fn inside(&mut self, frame: &Frame<'_>) -> &mut Self {
        self.inside_bytes(frame.build())
    }

    /// A packet from the world.
    fn outside(&mut self, frame: &Frame<'_>) -> &mut Self {
        self.outside_bytes(frame.build())
    }

    fn inside_bytes(&mut self, mut frame: Vec<u8>) -> &mut Self {
        let host = frame.get(29).copied().unwrap_or(99);
        set_macs(&mut frame, [2, 0, 0, 0, 1, host], ROUTER_INSIDE);
        self.now += MILLI;
        self.inside.push((START + self.now, frame));
        self
    }

    fn outside_bytes(&mut self, mut frame: Vec<u8>) -> &mut Self {
        let near = frame.get(26..29) == Some(&[203, 0, 113]);
        let from = if near { [2, 0, 0, 0, 2, frame[29]] } else { GATEWAY };
        set_macs(&mut frame, from, ROUTER_OUTSIDE);
        self.now += MILLI;
        self.outside.push((START + self.now, frame));
        self
    }

    fn wait(&mut self, seconds: u64) -> &mut Self {
        self.now += seconds * 1000 * MILLI;
        self
    }
}

/// Fills in Ethernet addresses, unless a test chose them.
fn set_macs(frame: &mut [u8], from: [u8; 6], to: [u8; 6]) {
    if let Some(place) = frame.get_mut(6..12).filter(|m| *m == testkit::SOURCE_MAC) {
        place.copy_from_slice(&from);
    }
    if let Some(place) = frame.get_mut(..6).filter(|m| *m == testkit::DESTINATION_MAC) {
        place.copy_from_slice(&to);
    }
}

fn at(host: &str, port: u16) -> SocketAddrV4 {
    endpoint((host, port))
}

type Writer = fn(&mut Script);

/// All cases by name.
pub(crate) fn all() -> BTreeMap<&'static str, Script> {
    let cases: [(_, Writer); 10] = [
        ("udp", udp),
        ("tcp", tcp),
        ("icmp", icmp),
        ("fragments", fragmented),
        ("path-mtu", path_mtu),
        ("forward-and-hairpin", forward_and_hairpin),
        ("one-to-one", one_to_one),
        ("malformed", malformed),
        ("timers", timers),
        ("arp", arp),
    ];
    let run = |(name, write): (&'static str, Writer)| {
        let mut script = Script::default();
        write(&mut script);
        (name, script)
    };
    cases.into_iter().map(run).collect()
}

/// Mappings keep their port where it is free, are independent of the remote endpoint, and are no door for others.
fn udp(s: &mut Script) {
    let dns = at(SERVER, 53);
    s.inside(&Frame::udp(at(A, 5000), dns).payload(b"who is it?"));
    s.outside(&Frame::udp(dns, at(US, 5000)).ttl(55).payload(b"it is me"));
    // Another remote endpoint, the same mapping.
    s.inside(&Frame::udp(at(A, 5000), "198.51.100.8:123").payload(b"what time?"));
    s.outside(&Frame::udp("198.51.100.8:123", at(US, 5000)).payload(b"half past"));
    // A second host with the same port gets another, of the same parity.
    s.inside(&Frame::udp(at(B, 5000), dns).payload(b"and who am I?"));
    // No checksum stays no checksum, both ways.
    s.inside(&Frame::udp(at(A, 5001), dns).udp_checksum_zero().payload(b"no sum"));
    s.outside(&Frame::udp(dns, at(US, 5001)).udp_checksum_zero().payload(b"none here"));
    // Ethernet padding is cut, type of service is kept, a privileged port stays one.
    s.inside(&Frame::udp(at(A, 500), at(SERVER, 500)).tos(0xb8).payload(b"x").pad_to(60));
    // The right host with a wrong port, a stranger, and a port that nobody uses.
    s.outside(&Frame::udp(at(SERVER, 54), at(US, 5000)).payload(b"let me in"));
    s.outside(&Frame::udp("192.0.2.66:53", at(US, 5000)).payload(b"me too"));
    s.outside(&Frame::udp("192.0.2.66:53", at(US, 6000)).payload(b"anybody?"));
    // An established flow goes on.
    s.inside(&Frame::udp(at(A, 5000), dns).payload(b"again"));
    s.outside(&Frame::udp(dns, at(US, 5000)).payload(b"still me"));
}

/// A connection from SYN to both FINs, one that is reset, and segments that belong to none.
fn tcp(s: &mut Script) {
    let (web, me, us) = (at(SERVER, 80), at(A, 40000), at(US, 40000));
    let out = || Frame::tcp(me, web);
    let back = || Frame::tcp(web, us).ttl(52);
    s.inside(&out().flags(SYN).seq(1000).ack(0).mss(1460).sack_permitted().wscale(7));
    s.outside(&back().flags(SYN | ACK).seq(9000).ack(1001).mss(1460).wscale(7));
    s.inside(&out().seq(1001).ack(9001));
    s.inside(&out().flags(PSH | ACK).seq(1001).ack(9001).payload(b"GET / HTTP/1.0\r\n\r\n"));
    s.outside(&back().seq(9001).ack(1019).payload(b"HTTP/1.0 200 OK\r\n\r\nhello\n"));
    s.outside(&back().flags(FIN | ACK).seq(9026).ack(1019));
    s.inside(&out().seq(1019).ack(9027));
    s.inside(&out().flags(FIN | ACK).seq(1019).ack(9027));
    s.outside(&back().seq(9027).ack(1020));
    // The connection is over: outside cannot open it anew, inside can.
    s.outside(&back().flags(SYN).seq(50_000).ack(0));
    s.inside(&out().flags(SYN).seq(70_000).ack(0).mss(536));

    let (me, us) = (at(B, 40001), at(US, 40001));
    let out = || Frame::tcp(me, web);
    let back = || Frame::tcp(web, us);
    s.inside(&out().flags(SYN).seq(1).ack(0).window(1000));
    s.outside(&back().flags(SYN | ACK).seq(100).ack(2).window(1000));
    s.inside(&out().seq(2).ack(101).window(1000));
    // Forged: far outside of the window that the inside host announced. Then one within.
    s.outside(&back().flags(RST).seq(3_000_000_000).ack(0));
    s.inside(&out().flags(PSH | ACK).seq(2).ack(101).window(1000).payload(b"still here"));
    s.outside(&back().flags(RST | ACK).seq(101).ack(12));

    // Of no connection: out of the blue from both sides; and a SYN that nobody asked for.
    s.inside(&Frame::tcp(at(A, 41000), web).seq(5).ack(5).payload(b"?"));
    s.outside(&Frame::tcp(web, at(US, 41000)).seq(5).ack(5).payload(b"?"));
    s.outside(&Frame::tcp("192.0.2.66:6000", at(US, 22)).flags(SYN).seq(5).ack(0));
}

/// Ping, both kinds of traceroute, and errors by others, translated to the packet inside.
fn icmp(s: &mut Script) {
    s.inside(&Frame::echo_request(A, SERVER, 77, 1).payload(b"abcdefgh"));
    s.outside(&Frame::echo_reply(SERVER, US, 77, 1).payload(b"abcdefgh").ttl(50));
    // The box itself, from both sides; and not the other side's address from outside.
    s.inside(&Frame::echo_request(A, "192.168.1.1", 78, 1).payload(b"are you there?"));
    s.outside(&Frame::echo_request("203.0.113.9", US, 79, 1).payload(b"and you?"));
    s.outside(&Frame::echo_request("203.0.113.9", "192.168.1.1", 79, 2));
    // traceroute: the first hop is the box, the second answers from outside, the last says that nobody listens.
    s.inside(&Frame::udp(at(A, 33000), at(SERVER, 33434)).ttl(1).payload(b"hop 1"));
    s.inside(&Frame::udp(at(A, 33000), at(SERVER, 33435)).ttl(2).payload(b"hop 2"));
    let hop2 = Frame::udp(at(US, 33000), at(SERVER, 33435)).ttl(1).payload(b"hop 2").build();
    s.outside(&Frame::time_exceeded("203.0.113.1", &hop2).ttl(255));
    s.inside(&Frame::udp(at(A, 33000), at(SERVER, 33436)).ttl(3).payload(b"hop 3"));
    let hop3 = Frame::udp(at(US, 33000), at(SERVER, 33436)).ttl(1).payload(b"hop 3").build();
    s.outside(&Frame::unreachable(SERVER, 3, &hop3).ttl(62));
    // The same with echo requests, quoted as shortly as RFC 792 allows.
    s.inside(&Frame::echo_request(A, SERVER, 80, 1).ttl(2));
    let hop2 = Frame::echo_request(US, SERVER, 80, 1).ttl(1).build();
    s.outside(&Frame::time_exceeded("203.0.113.1", &hop2).quote(28).ttl(255));
    // An error by an inside host about what came in.
    let late = Frame::udp(at(SERVER, 33435), at(A, 33000)).ttl(61).payload(b"late").build();
    s.outside(&Frame::udp(at(SERVER, 33435), at(US, 33000)).ttl(62).payload(b"late"));
    s.inside(&Frame::unreachable(A, 3, &late));
    // Errors about nothing of ours, with a damaged quote, of a type that does not pass.
    let never = Frame::udp(at(US, 9), at(SERVER, 9)).build();
    s.outside(&Frame::unreachable(SERVER, 3, &never));
    s.outside(&Frame::unreachable(SERVER, 3, &hop3).quote(20));
    s.outside(&Frame::unreachable(SERVER, 3, &hop3).bad_l4_checksum());
    s.outside(&Frame::icmp_error("203.0.113.1", 5, 1, &hop3));
    // An answer that nobody asked for.
    s.outside(&Frame::echo_reply(SERVER, US, 81, 1));
}

/// Datagrams in pieces, in and out of order, both ways, with a piece that overlaps and one whose beginning never comes.
fn fragmented(s: &mut Script) {
    let big: Vec<u8> = (0..2800u32).map(|n| (n % 251) as u8).collect();
    let out = fragments(&Frame::udp(at(A, 5000), at(SERVER, 7)).id(1).payload(&big).build(), 1500);
    let back = fragments(&Frame::udp(at(SERVER, 7), at(US, 5000)).id(2).payload(&big).build(), 1000);
    for piece in &out {
        s.inside_bytes(piece.clone());
    }
    for piece in &back {
        s.outside_bytes(piece.clone());
    }
    // Backwards: nothing can go before the first piece, which comes last.
    let out = fragments(&Frame::udp(at(A, 5000), at(SERVER, 7)).id(3).payload(&big).build(), 1000);
    let back = fragments(&Frame::udp(at(SERVER, 7), at(US, 5000)).id(4).payload(&big).build(), 1500);
    for piece in out.iter().rev() {
        s.inside_bytes(piece.clone());
    }
    for piece in back.iter().rev() {
        s.outside_bytes(piece.clone());
    }
    // A piece twice: the second is dropped, and the rest goes.
    let twice = fragments(&Frame::udp(at(A, 5000), at(SERVER, 7)).id(5).payload(&big).build(), 1500);
    s.inside_bytes(twice[0].clone());
    s.inside_bytes(twice[0].clone());
    s.inside_bytes(twice[1].clone());
    // A piece that would overwrite a part of the one before is dropped; the others go.
    let whole = fragments(&Frame::udp(at(A, 5000), at(SERVER, 7)).id(14).payload(&big).build(), 1500);
    s.inside_bytes(whole[0].clone());
    s.inside(&Frame::ip(17, A, SERVER).id(14).fragment(1472, true).payload(&[0xee; 16][..]));
    s.inside_bytes(whole[1].clone());
    // In pieces, and nobody asked for it.
    for piece in fragments(&Frame::udp("192.0.2.66:7", at(US, 5000)).id(6).payload(&big).build(), 1500) {
        s.outside_bytes(piece);
    }
    // A piece whose beginning never comes, and pieces that no sender makes.
    s.inside_bytes(fragments(&Frame::udp(at(A, 5000), at(SERVER, 7)).id(7).payload(&big).build(), 1500)[1].clone());
    s.inside(&Frame::ip(6, A, SERVER).id(8).fragment(0, true).payload(&[0; 8][..]));
    s.inside(&Frame::ip(6, A, SERVER).id(9).fragment(8, false).payload(&[0; 64][..]));
    s.inside(&Frame::ip(17, A, SERVER).id(10).fragment(16, true).payload(&[0; 13][..]));
    s.inside(&Frame::ip(17, A, SERVER).id(11).fragment(65_528, false).payload(&[0; 64][..]));
    // An echo request of several pieces and its answer.
    for piece in fragments(&Frame::echo_request(B, SERVER, 80, 1).id(12).payload(&big).build(), 1500) {
        s.inside_bytes(piece);
    }
    for piece in fragments(&Frame::echo_reply(SERVER, US, 80, 1).id(13).payload(&big).build(), 1500).iter().rev() {
        s.outside_bytes(piece.clone());
    }
}

/// The outside link carries 1400 bytes, and a link further on 1300.
fn path_mtu(s: &mut Script) {
    let payload = [0x55; 1472];
    // Too big and not to be fragmented: the box says what fits.
    s.inside(&Frame::udp(at(A, 5000), at(SERVER, 7)).id(1).df().payload(&payload[..]));
    s.inside(&Frame::udp(at(A, 5000), at(SERVER, 7)).id(2).df().payload(&payload[..1372]));
    // A router further on says so; the host is told, with the packet that it sent.
    let ours = Frame::udp(at(US, 5000), at(SERVER, 7)).id(2).df().ttl(62).payload(&payload[..1372]).build();
    s.outside(&Frame::fragmentation_needed("192.0.2.1", 1300, &ours).ttl(250));
    s.inside(&Frame::udp(at(A, 5000), at(SERVER, 7)).id(3).df().payload(&payload[..1272]));
    // Without DF the box cuts it; what is in pieces already is cut again.
    s.inside(&Frame::udp(at(A, 5000), at(SERVER, 7)).id(4).payload(&payload[..]));
    for piece in fragments(&Frame::udp(at(A, 5000), at(SERVER, 7)).id(5).payload([0x66; 2000].as_slice()).build(), 1500)
    {
        s.inside_bytes(piece);
    }
    // TCP learns from the MSS that is lowered in both directions.
    s.inside(&Frame::tcp(at(A, 5001), at(SERVER, 80)).flags(SYN).seq(1).ack(0).df().mss(1460));
    s.outside(&Frame::tcp(at(SERVER, 80), at(US, 5001)).flags(SYN | ACK).seq(1).ack(2).df().mss(1460));
    s.inside(&Frame::tcp(at(A, 5002), at(SERVER, 80)).flags(SYN).seq(1).ack(0).df().mss(1200));
}

/// A web server inside is reached from outside, and by its neighbours under its outside address.
fn forward_and_hairpin(s: &mut Script) {
    let (client, server) = ("192.0.2.66:6000", at(A, 80));
    s.outside(&Frame::tcp(client, at(US, 8080)).flags(SYN).seq(1).ack(0).mss(1460));
    s.inside(&Frame::tcp(server, client).flags(SYN | ACK).seq(100).ack(2).mss(1460));
    s.outside(&Frame::tcp(client, at(US, 8080)).flags(PSH | ACK).seq(2).ack(101).payload(b"GET /"));
    s.inside(&Frame::tcp(server, client).flags(PSH | ACK).seq(101).ack(7).payload(b"hello"));
    // The port that is not forwarded, and the server's own port on our address.
    s.outside(&Frame::tcp(client, at(US, 8081)).flags(SYN).seq(1).ack(0));
    s.outside(&Frame::tcp(client, at(US, 80)).flags(SYN).seq(1).ack(0));
    // A neighbour by the outside address: the server sees our outside address, so that its answer comes back to us.
    s.inside(&Frame::tcp(at(B, 7000), at(US, 8080)).flags(SYN).seq(5).ack(0).mss(1460));
    s.inside(&Frame::tcp(server, at(US, 7000)).flags(SYN | ACK).seq(900).ack(6).mss(1460));
    s.inside(&Frame::tcp(at(B, 7000), at(US, 8080)).seq(6).ack(901).payload(b"GET /"));
    s.inside(&Frame::tcp(server, at(US, 7000)).seq(901).ack(11).payload(b"hello"));
    // Two hosts that met at a server outside talk directly: each must first have sent to the other.
    s.inside(&Frame::udp(at(A, 4000), at(SERVER, 3478)).payload(b"where am I?"));
    s.inside(&Frame::udp(at(B, 4001), at(SERVER, 3478)).payload(b"where am I?"));
    s.inside(&Frame::udp(at(A, 4000), at(US, 4001)).payload(b"punch"));
    s.inside(&Frame::udp(at(B, 4001), at(US, 4000)).payload(b"hello neighbour"));
    s.inside(&Frame::udp(at(A, 4000), at(US, 4001)).payload(b"hello yourself"));
    // To one's own outside endpoint.
    s.inside(&Frame::udp(at(A, 4000), at(US, 4000)).payload(b"me?"));
    // The forward for a range of UDP ports, and an error about a packet that came by it.
    s.outside(&Frame::udp("192.0.2.66:9", at(US, 9005)).payload(b"range"));
    let inner = Frame::udp("192.0.2.66:9", at(A, 8005)).ttl(63).payload(b"range").build();
    s.inside(&Frame::unreachable(A, 3, &inner));
}

/// A host with an outside address of its own, behind a firewall; and SYNs that are answered after six seconds.
fn one_to_one(s: &mut Script) {
    let (host, own) = ("192.168.1.30", "203.0.113.4");
    s.outside(&Frame::tcp("192.0.2.66:6000", at(own, 443)).flags(SYN).seq(1).ack(0));
    s.inside(&Frame::tcp(at(host, 443), "192.0.2.66:6000").flags(SYN | ACK).seq(1).ack(2));
    s.outside(&Frame::tcp("192.0.2.66:6001", at(own, 22)).flags(SYN).seq(1).ack(0));
    s.outside(&Frame::udp("192.0.2.66:6001", at(own, 5001)).payload(b"allowed from 5000 to 5009"));
    s.outside(&Frame::udp("192.0.2.66:6001", at(own, 5010)).payload(b"not this one"));
    s.outside(&Frame::echo_request("192.0.2.66", own, 1, 1));
    s.inside(&Frame::echo_reply(host, "192.0.2.66", 1, 1));
    // Out it goes with its own address and its own ports, low ones too, and answers come back.
    s.inside(&Frame::udp(at(host, 123), at(SERVER, 123)).payload(b"what time?"));
    s.outside(&Frame::udp(at(SERVER, 123), at(own, 123)).payload(b"half past"));
    s.inside(&Frame::udp(at(A, 123), at(SERVER, 123)).payload(b"others share an address"));
    // A neighbour by the outside address: the firewall holds for it, too.
    s.inside(&Frame::tcp(at(A, 7000), at(own, 443)).flags(SYN).seq(1).ack(0));
    s.inside(&Frame::tcp(at(A, 7001), at(own, 22)).flags(SYN).seq(1).ack(0));
    // An unsolicited SYN to the pool: held for six seconds, then refused, unless the inside host calls meanwhile.
    s.wait(1);
    s.outside(&Frame::tcp("192.0.2.66:6002", at(US, 9000)).flags(SYN).seq(1).ack(0));
    s.outside(&Frame::tcp("192.0.2.66:6003", at(US, 9001)).flags(SYN).seq(1).ack(0));
    s.wait(2);
    s.inside(&Frame::tcp(at(A, 9001), "192.0.2.66:6003").flags(SYN).seq(1).ack(0));
    s.wait(10);
    s.inside(&Frame::udp(at(A, 5000), at(SERVER, 53)).payload(b"the end"));
}

/// Each way in which a packet can be wrong; all of them end here, with their reason.
fn malformed(s: &mut Script) {
    let good = || Frame::udp(at(A, 5000), at(SERVER, 53)).payload(b"fine");
    // One that is right, and opens a session that the wrong ones might use.
    s.inside(&good());
    s.inside(&good().truncate(13));
    s.inside(&good().truncate(20));
    s.inside(&good().ip_version(6));
    s.inside(&good().ihl(4));
    s.inside(&good().ihl(15));
    s.inside(&good().total_length(19));
    s.inside(&good().total_length(1000));
    s.inside(&good().bad_ip_checksum());
    s.inside(&good().ip_options(&[7, 1, 0, 0]));
    s.inside(&good().ip_options(&[7, 40, 4, 0]));
    s.inside(&good().source_route(["192.0.2.1"]));
    s.inside(&good().strict_source_route(["192.0.2.1"]));
    s.inside(&Frame::ip(17, A, SERVER).payload(&[0; 7][..]));
    s.inside(&Frame::ip(6, A, SERVER).payload(&[0; 19][..]));
    s.inside(&Frame::ip(1, A, SERVER).payload(&[8, 0, 0, 0][..]));
    s.inside(&good().udp_length(7));
    s.inside(&good().udp_length(1000));
    s.inside(&Frame::tcp(at(A, 1), at(SERVER, 2)).data_offset(4));
    s.inside(&Frame::tcp(at(A, 1), at(SERVER, 2)).data_offset(15));
    for flags in [SYN | FIN, SYN | RST, FIN, PSH, testkit::Flags(0)] {
        s.inside(&Frame::tcp(at(A, 1), at(SERVER, 2)).flags(flags));
    }
    s.inside(&Frame::udp(at(A, 0), at(SERVER, 53)));
    s.inside(&Frame::tcp(at(A, 1), at(SERVER, 0)).flags(SYN));
    // Addresses that nobody has, or not there.
    for (from, to) in [
        ("127.0.0.1:5", "198.51.100.7:53"),
        ("0.0.0.0:68", "255.255.255.255:67"),
        ("192.168.1.10:5", "127.0.0.1:53"),
        ("192.168.1.10:5", "240.0.0.1:53"),
        ("192.168.1.10:5", "224.0.0.251:5353"),
        ("192.168.1.10:5", "192.168.1.255:53"),
        ("192.168.1.10:5", "192.168.1.10:5"),
        ("10.9.9.9:5", "198.51.100.7:53"),
        ("203.0.113.2:5", "198.51.100.7:53"),
        ("192.168.1.10:5", "192.168.1.1:53"),
    ] {
        s.inside(&Frame::udp(from, to));
    }
    for (from, to) in [
        ("192.168.1.20:5", "203.0.113.2:5000"),
        ("203.0.113.2:5", "203.0.113.2:5000"),
        ("224.0.0.1:5", "203.0.113.2:5000"),
        ("198.51.100.7:53", "192.168.1.10:5000"),
        ("198.51.100.7:53", "203.0.113.77:5000"),
        ("198.51.100.7:53", "203.0.113.255:5000"),
        ("198.51.100.7:53", "224.0.0.1:5000"),
    ] {
        s.outside(&Frame::udp(from, to));
    }
    // Protocols that this version does not translate, and frames that carry none.
    s.inside(&Frame::ip(132, A, SERVER).payload(&[0; 12][..]));
    s.inside(&Frame::ethernet(0x86dd).payload(&[0x60; 40][..]));
    s.inside(&Frame::ethernet(0x88cc).payload(&[0; 46][..]));
    s.inside(&good().destination_mac([2, 9, 9, 9, 9, 9]));
    s.inside(&good().destination_mac(testkit::BROADCAST_MAC));
    s.inside(&good().vlan(100));
    // One that is right again.
    s.inside(&good());
}

/// Mappings live as long as they should, to the second, and no longer; a day without a packet changes nothing else.
fn timers(s: &mut Script) {
    let dns = at(SERVER, 53);
    let ask = |port| Frame::udp(at(A, port), dns).payload(b"?").build();
    let answer = |port| Frame::udp(dns, at(US, port)).payload(b"!").build();
    // UDP: 300 s from the last packet out; what comes in keeps nothing alive.
    s.inside_bytes(ask(5000)).wait(299).outside_bytes(answer(5000));
    s.wait(2).outside_bytes(answer(5000));
    // The port rests for 120 s: its own host may have it, no other.
    s.inside(&Frame::udp(at(B, 5000), dns).payload(b"mine?"));
    // ICMP: 60 s.
    s.inside(&Frame::echo_request(A, SERVER, 9, 1)).wait(59).outside(&Frame::echo_reply(SERVER, US, 9, 1));
    s.wait(2).outside(&Frame::echo_reply(SERVER, US, 9, 1));
    // TCP: 4 minutes to open, 2 hours 4 minutes once it is.
    let out = |port: u16| Frame::tcp(at(A, port), at(SERVER, 80));
    let back = |port: u16| Frame::tcp(at(SERVER, 80), at(US, port));
    s.inside(&out(6000).flags(SYN).seq(1).ack(0)).wait(241);
    s.outside(&back(6000).flags(SYN | ACK).seq(1).ack(2));
    s.inside(&out(6001).flags(SYN).seq(1).ack(0)).outside(&back(6001).flags(SYN | ACK).seq(1).ack(2));
    s.inside(&out(6001).seq(2).ack(2)).wait(7439).outside(&back(6001).seq(2).ack(2).payload(b"keepalive"));
    s.wait(7441).outside(&back(6001).seq(11).ack(2).payload(b"too late"));
    // A day, and fifty: longer than the clock's milliseconds count.
    s.wait(86_400).inside_bytes(ask(5000)).outside_bytes(answer(5000));
    s.wait(50 * 86_400).outside_bytes(answer(5000)).inside_bytes(ask(5000)).outside_bytes(answer(5000));
}

/// A host that nobody shows is asked for by ARP and does not answer; one that does answers for itself.
fn arp(s: &mut Script) {
    let mut ask = Frame::arp_request([2, 0, 0, 0, 1, 10], A, "192.168.1.1").build();
    s.inside_bytes(ask.clone());
    // For an address that is not ours; and a claim to one that is.
    ask = Frame::arp_request([2, 0, 0, 0, 1, 10], A, "192.168.1.77").build();
    s.inside_bytes(ask);
    s.inside_bytes(Frame::gratuitous_arp([2, 0, 0, 0, 1, 66], "192.168.1.1").build());
    // Outside: our address and the pool's are answered for, others are not.
    for target in ["203.0.113.2", "203.0.113.3", "203.0.113.4"] {
        s.outside_bytes(Frame::arp_request(GATEWAY, "203.0.113.1", target).build());
    }
    // To a silent neighbour: asked three times, then the sender is told.
    s.inside(&Frame::udp(at(A, 5000), "203.0.113.200:53").payload(b"anybody there?"));
    s.inside(&Frame::udp(at(A, 5000), at(SERVER, 53)).payload(b"others are not held up"));
    s.wait(5);
    s.outside(&Frame::udp(at(SERVER, 53), at(US, 5000)).payload(b"the end"));
}

/// What many hosts send at once, for any number of workers; which ports it leaves by depends on their number.
pub(crate) fn crowd() -> Script {
    let mut s = Script::default();
    for host in 10..50u16 {
        let me = format!("192.168.1.{host}");
        s.inside(&Frame::udp(at(&me, 5000 + host), at(SERVER, 53)).payload(b"ask"));
        s.inside(&Frame::tcp(at(&me, 5000 + host), at(SERVER, 80)).flags(SYN).seq(1).ack(0));
        s.inside(&Frame::echo_request(me.as_str(), SERVER, host, 1));
        let big = [0x77; 2000];
        for piece in
            fragments(&Frame::udp(at(&me, 6000), at(SERVER, 7)).id(host).payload(&big[..]).build(), 1500).iter().rev()
        {
            s.inside_bytes(piece.clone());
        }
    }
    s
}

/// What the server answers to each packet that left, pieces in reverse order.
pub(crate) fn answers(left: &Frames) -> Frames {
    let mut s = Script::default();
    let whole = |f: &Seen| f.offset == 0;
    for seen in left.iter().map(|(_, frame)| Seen::read(frame).unwrap()).filter(whole) {
        s.now += MILLI;
        let (from, to) = (seen.destination, seen.source);
        match &seen.transport {
            Transport::Udp { .. } => s.outside(&Frame::udp(from, to).payload(b"answer")),
            Transport::Tcp(_) => s.outside(&Frame::tcp(from, to).flags(SYN | ACK).seq(1).ack(2)),
            Transport::Icmp(icmp) => s.outside(&Frame::echo_reply(from, to, icmp.id(), icmp.seq())),
            Transport::Fragment => {
                let [p, q] = [seen.payload[0], seen.payload[1]];
                let to = endpoint((*to.ip(), u16::from_be_bytes([p, q])));
                let pieces = fragments(
                    &Frame::udp(at(SERVER, 7), to).id(seen.id).payload([0x88; 2000].as_slice()).build(),
                    1500,
                );
                pieces.iter().rev().fold(&mut s, |s, piece| s.outside_bytes(piece.clone()))
            }
            other => panic!("{other:?}"),
        };
    }
    s.wait(1);
    // After everything that was asked.
    s.outside.iter().map(|(time, frame)| (time + 1000 * MILLI, frame.clone())).collect()
}
