//! AH, protocols that the operator named, and ICMP errors about what has no ports.

use crate::lab::*;
use crate::pptp::Control;
use dataplane::passthrough::tunnel::{Kind, State};
use dataplane::policy::{Forward, Policy};
use dataplane::types::Proto;
use dataplane::verdict::{DropReason, Event};
use testkit::{Frame, IntoEndpoint, Seen, fragments, protocol, reassemble};

const SCTP: u8 = 132;
const NAMED: [u8; 3] = [protocol::GRE, protocol::IPV6, SCTP];

fn named() -> Lab {
    Lab::with(name_them)
}

fn name_them(p: &mut Policy) {
    p.passthrough.other = NAMED.to_vec();
}

/// GRE version 0 with checksum, key and sequence number [RFC 2784, 2890]; the others as any bytes.
fn bytes(proto: u8) -> Vec<u8> {
    match proto {
        protocol::GRE => {
            [&[0xb0, 0, 0x08, 0, 0x12, 0x34, 0, 0], &[0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 7][..], b"ip"].concat()
        }
        _ => (0..60).collect(),
    }
}

fn packet(proto: u8, from: impl IntoEndpoint, to: impl IntoEndpoint) -> Frame<'static> {
    Frame::ip(proto, from, to).payload(bytes(proto))
}

/// `out` and `back` compare all that follows the IP header.
#[track_caller]
fn carries(lab: &mut Lab, proto: u8, host: &str, remote: &str) {
    assert_eq!(lab.out(packet(proto, host, remote)).source.ip().to_string(), P);
    assert_eq!(lab.back(packet(proto, remote, P)).destination.ip().to_string(), host);
}

// Row 83: RFC 3715 §2.1 a
#[test]
fn ah_is_dropped_for_its_own_reason_and_each_pair_told_of_once() {
    let mut lab = Lab::with(|p| p.passthrough.other = vec![protocol::AH]);
    let ah = |from, to| Frame::ip(protocol::AH, from, to).payload(vec![4; 40]);
    for (host, remote) in [(A, X), (A, X), (B, X), (A, Y), (A, X), (B, X)] {
        lab.put(INSIDE, ah(host, remote)).dropped(DropReason::Ah);
    }
    let mut told = lab.notices();
    told.sort();
    assert_eq!(told.len(), 3, "{told:?}");
    for (notice, pair) in told.iter().zip([(A, X), (A, Y), (B, X)]) {
        let begins = format!("IPsec AH between {} and {}", pair.0, pair.1);
        assert!(notice.starts_with(&begins) && notice.contains("NAT traversal"), "{notice}");
    }
    assert_eq!((lab.events(Event::AhPairs), lab.sessions()), (3, 0));
}

// Rows 83, 88: with IPsec off it is that switch's to say
#[test]
fn ah_counts_as_ipsec_where_that_is_off() {
    let mut lab = Lab::with(|p| p.passthrough.ipsec = dataplane::policy::Switch::Off);
    for (port, from, to) in [(INSIDE, A, X), (OUTSIDE, X, P)] {
        lab.put(port, Frame::ip(protocol::AH, from, to).payload(vec![4; 40])).dropped(DropReason::IpsecOff);
    }
    assert!(lab.notices().is_empty());
}

// Row 83: no stranger makes the operator read
#[test]
fn a_flood_of_ah_from_outside_tells_nothing() {
    let mut lab = Lab::new();
    for n in 1..=200 {
        let from = std::net::Ipv4Addr::new(198, 51, 100, n);
        lab.put(OUTSIDE, Frame::ip(protocol::AH, from, P).payload(vec![4; 40])).dropped(DropReason::Ah);
    }
    assert!(lab.notices().is_empty());
    assert_eq!(lab.events(Event::AhPairs), 0);
    lab.put(INSIDE, Frame::ip(protocol::AH, A, X).payload(vec![4; 40])).dropped(DropReason::Ah);
    assert_eq!(lab.notices().len(), 1);
}

// Row 69: RFC 2784, 2890: not a byte of GRE version 0 changes; product: nor of others
#[test]
fn named_protocols_pass_both_ways_untouched_for_one_inside_host_a_server() {
    let mut lab = named();
    for proto in NAMED {
        lab.put(OUTSIDE, packet(proto, X, P)).dropped(DropReason::Unsolicited);
        carries(&mut lab, proto, A, X);
        lab.put(INSIDE, packet(proto, B, X)).dropped(DropReason::ProtocolTaken);
        carries(&mut lab, proto, B, Y);
        carries(&mut lab, proto, A, X);
        carries(&mut lab, proto, B, Y);
        lab.put(OUTSIDE, packet(proto, N, P)).dropped(DropReason::Unsolicited);
    }
    assert_eq!(lab.vpn().len(), 2 * NAMED.len());
}

// Product: nothing passes that nobody named
#[test]
fn what_is_not_named_does_not_pass() {
    let mut lab = Lab::new();
    for proto in [protocol::GRE, protocol::IPV6, SCTP, 0, 2, 4, 89, 255] {
        for (port, from, to) in [(INSIDE, A, X), (OUTSIDE, X, P)] {
            lab.put(port, packet(proto, from, to)).dropped(DropReason::Protocol);
        }
    }
    // A version of GRE that there is not, though 47 is named.
    let mut lab = named();
    lab.put(INSIDE, Frame::ip(protocol::GRE, A, X).payload(vec![0, 2, 8, 0, 1, 2, 3, 4]))
        .dropped(DropReason::GreHeader);
    assert_eq!(lab.sessions(), 0);
}

// Product: `timeouts.other`
#[test]
fn a_silent_host_gives_a_named_protocol_back() {
    let mut lab = Lab::with(|p| {
        name_them(p);
        p.timeouts.other = 100_000;
    });
    carries(&mut lab, SCTP, A, X);
    for _ in 0..4 {
        lab.wait_quietly(80 * S);
        lab.out(packet(SCTP, A, X));
        lab.back(packet(SCTP, X, P));
    }
    lab.put(INSIDE, packet(SCTP, B, X)).dropped(DropReason::ProtocolTaken);
    lab.wait_quietly(100 * S + LATE);
    assert_eq!((lab.sessions(), lab.vpn().len()), (0, 0));
    carries(&mut lab, SCTP, B, X);
    lab.put(INSIDE, packet(SCTP, A, X)).dropped(DropReason::ProtocolTaken);
}

// Row 18: pieces of what has no ports
#[test]
fn fragments_of_named_protocols_meet() {
    let mut lab = named();
    let mut id = 0;
    for proto in NAMED {
        for reverse in [false, true] {
            for (from, to, into, out_of) in [(A, X, INSIDE, OUTSIDE), (X, P, OUTSIDE, INSIDE)] {
                id += 1;
                let mut payload = bytes(proto);
                payload.resize(4000, 7);
                let whole = Frame::ip(proto, from, to).id(id).payload(payload.clone()).build();
                let mut pieces = fragments(&whole, 1500);
                if reverse {
                    pieces.reverse();
                }
                let o = lab.put_all(into, pieces);
                assert!(o.drops.is_empty(), "{o}");
                let seen = Seen::read(&reassemble(o.raw_at(out_of)).unwrap()).unwrap();
                assert_eq!(seen.path(), if into == INSIDE { format!("{P} -> {X}") } else { format!("{X} -> {A}") });
                assert_eq!(seen.payload, payload);
            }
        }
    }
}

// Product: a GRE endpoint inside, behind a forward; the version of PPTP is not meant
#[test]
fn a_forward_of_gre_leads_to_its_host_and_leaves_pptp_alone() {
    let forward = Forward { proto: Proto::GRE, outside: addr(P), ports: 0..=0, inside: addr(B), inside_port: 0 };
    let mut lab = Lab::with(|p| p.forwards = vec![forward]);
    for client in [X, Y] {
        assert_eq!(lab.back(packet(protocol::GRE, client, P)).destination.ip().to_string(), B);
        carries(&mut lab, protocol::GRE, B, client);
    }
    lab.put(INSIDE, packet(protocol::GRE, A, X)).dropped(DropReason::ProtocolTaken);
    lab.put(OUTSIDE, Frame::gre(X, P, 0)).dropped(DropReason::GreNoCall);
    lab.put(OUTSIDE, packet(SCTP, X, P)).dropped(DropReason::Protocol);
    assert!(lab.vpn().iter().all(|r| (r.kind, r.inside) == (Kind::Other(Proto::GRE), addr(B))));
}

// Row 10: where caller and called have one outside address, nothing tells their packets apart; with two they meet
#[test]
fn a_forward_of_gre_is_reached_from_inside_by_an_address_of_another_host() {
    let second = "203.0.113.3";
    let forward =
        |outside| Forward { proto: Proto::GRE, outside: addr(outside), ports: 0..=0, inside: addr(B), inside_port: 0 };
    let mut lab = Lab::with(|p| p.forwards = vec![forward(P)]);
    lab.put(INSIDE, packet(protocol::GRE, A, P)).dropped(DropReason::ProtocolTaken);
    assert_eq!(lab.vpn().len(), 0);
    let mut lab = Lab::with(|p| {
        p.ports[OUTSIDE.index()].addresses.push((addr(second), dataplane::policy::Net::of(addr(second), 24)));
        p.forwards = vec![forward(second)];
    });
    for _ in 0..3 {
        for (from, by, to) in [(A, second, B), (B, P, A)] {
            let seen = lab.put(INSIDE, packet(protocol::GRE, from, by)).only(INSIDE);
            assert_eq!(seen.destination.ip().to_string(), to, "{seen}");
            assert_eq!(seen.payload, bytes(protocol::GRE));
        }
    }
}

// Row 82: RFC 5508 REQ-4; the path MTU of 6in4 is found by such
#[test]
fn errors_about_named_protocols_reach_the_host_and_the_server() {
    let mut lab = named();
    for proto in NAMED {
        carries(&mut lab, proto, A, X);
        carries(&mut lab, proto, B, Y);
        for (host, remote) in [(A, X), (B, Y)] {
            let seen =
                lab.put(OUTSIDE, Frame::fragmentation_needed(N, 1280, packet(proto, P, remote).build())).only(INSIDE);
            assert_eq!(seen.destination.ip().to_string(), host);
            assert_eq!((seen.quoted().path(), seen.icmp().mtu()), (format!("{host} -> {remote}"), 1280));
            assert_eq!(seen.quoted().data, bytes(proto));
            let seen = lab.put(INSIDE, Frame::unreachable(host, 2, packet(proto, remote, host).build())).only(OUTSIDE);
            assert_eq!((seen.path(), seen.quoted().path()), (format!("{P} -> {remote}"), format!("{remote} -> {P}")));
        }
        lab.put(OUTSIDE, Frame::unreachable(N, 1, packet(proto, P, N).build())).dropped(DropReason::IcmpErrorNoSession);
    }
}

/// Calls of A and B with X, several each so that several workers' are among them: host, its identifier, its
/// translation, the server's.
fn calls(lab: &mut Lab) -> Vec<(&'static str, u16, u16, u16)> {
    let mut all = Vec::new();
    for (n, host) in [(0, A), (1, B), (2, "192.168.50.2"), (3, "192.168.50.3"), (4, "192.168.50.4")] {
        let mut c = Control::open(lab, (host, 1500), (X, 1723));
        for call in 0..2 {
            let (ours, theirs) = (call, 100 + n * 10 + call);
            let translated = c.call(lab, ours, theirs);
            all.push((host, ours, translated, theirs));
        }
    }
    all
}

// Rows 82, 60: the quote bears the server's identifier alone; workers are asked in turn
#[test]
fn errors_about_pptp_gre_reach_the_call_whose_packet_it_was() {
    let mut lab = Lab::new().off_the_record();
    let calls = calls(&mut lab);
    for &(host, ours, translated, theirs) in &calls {
        let left = Frame::gre(P, X, theirs).gre_seq(4).payload(vec![1; 600]).build();
        for error in [
            Frame::fragmentation_needed(N, 1400, &left),
            Frame::time_exceeded(N, &left),
            Frame::unreachable(X, 2, &left).quote(28),
        ] {
            let seen = lab.put(OUTSIDE, error.build()).only(INSIDE);
            assert_eq!(seen.destination.ip().to_string(), host);
            assert_eq!(seen.quoted().path(), format!("{host} -> {X}"));
            assert_eq!(seen.quoted().data[6..8], theirs.to_be_bytes(), "the server's identifier is nobody's to change");
        }
        let came = Frame::gre(X, host, ours).gre_seq(4).payload(vec![1; 600]).build();
        let seen = lab.put(INSIDE, Frame::unreachable(host, 2, came)).only(OUTSIDE);
        assert_eq!((seen.path(), seen.quoted().path()), (format!("{P} -> {X}"), format!("{X} -> {P}")));
        assert_eq!(seen.quoted().data[6..8], translated.to_be_bytes());
    }
    // Nobody's call, and nobody's server: asked about once by each worker, then dropped.
    for (remote, id) in [(X, 999), (Y, 100)] {
        let error = Frame::unreachable(N, 1, Frame::gre(P, remote, id).build());
        lab.put(OUTSIDE, error).dropped(DropReason::IcmpErrorNoSession);
    }
    // A host cannot end another one's call with an error in its name.
    let (_, _, _, theirs) = calls[0];
    lab.put(INSIDE, Frame::unreachable(B, 2, Frame::gre(X, B, theirs).build())).dropped(DropReason::IcmpErrorNoSession);
}

// Hostile insider: one host cannot take a protocol's whole table
#[test]
fn one_host_has_so_many_tunnels_of_named_protocols_and_no_more() {
    let mut lab = Lab::single(|p| {
        name_them(p);
        p.passthrough.tunnels_per_subscriber = 16;
    });
    let server = |n: u8| std::net::Ipv4Addr::new(198, 51, 101, n);
    for n in 1..=16 {
        lab.put(INSIDE, packet(SCTP, A, server(n))).only(OUTSIDE);
    }
    for n in 17..=40 {
        lab.put(INSIDE, packet(SCTP, A, server(n))).dropped(DropReason::TunnelLimit);
    }
    carries(&mut lab, SCTP, B, X);
    assert_eq!(lab.vpn().len(), 17);
    lab.wait(600 * S + LATE);
    assert_eq!((lab.vpn().len(), lab.subscribers()), (0, 0));
}

// Hostile outsider: strangers that a forward lets in leave the host's own tunnels room
#[test]
fn strangers_behind_a_forward_leave_a_quarter_to_the_host_itself() {
    let forward = Forward { proto: Proto::GRE, outside: addr(P), ports: 0..=0, inside: addr(B), inside_port: 0 };
    let mut lab = Lab::single(|p| {
        p.forwards = vec![forward];
        p.passthrough.tunnels_per_subscriber = 16;
    });
    for n in 1..=40 {
        let stranger = std::net::Ipv4Addr::new(198, 51, 101, n);
        let o = lab.put(OUTSIDE, packet(protocol::GRE, stranger, P));
        if n > 12 {
            o.dropped(DropReason::TunnelLimit);
        }
    }
    carries(&mut lab, protocol::GRE, B, X);
    // Nobody answered: their tunnels go, however often they send; the host's own stays.
    for _ in 0..4 {
        lab.wait(9 * S);
        lab.put(OUTSIDE, packet(protocol::GRE, "198.51.101.1", P));
    }
    lab.wait(2 * S);
    assert!(lab.vpn().iter().all(|r| r.remote == addr(X) || r.age < 30 * S), "{:?}", lab.vpn());
    carries(&mut lab, protocol::GRE, B, X);
}

// Nothing from outside opens anything, whatever the protocol
#[test]
fn no_tunnel_packet_from_a_stranger_leaves_a_trace() {
    let mut lab = named();
    for n in 1..=100u8 {
        let from = std::net::Ipv4Addr::new(198, 51, 101, n);
        for proto in [protocol::GRE, protocol::IPV6, SCTP, protocol::AH, protocol::ESP, protocol::L2TP] {
            lab.put(OUTSIDE, Frame::ip(proto, from, P).payload([&[0, 0, n, 0][..], &[0; 40]].concat()));
        }
        lab.put(
            OUTSIDE,
            Frame::ip(protocol::L2TP, from, P).payload([&[0; 4], &[0xc8, 3, 0, 12, 0, 0, 0, n][..], &[0; 4]].concat()),
        );
        lab.put(OUTSIDE, Frame::gre(from, P, u16::from(n)));
    }
    assert_eq!((lab.sessions(), lab.vpn().len(), lab.subscribers()), (0, 0, 0));
}

// `show vpn`: every kind
#[test]
fn each_kind_of_tunnel_shows_identifiers_state_and_traffic() {
    let mut lab = Lab::with(|p| {
        name_them(p);
        p.passthrough.ike_port = dataplane::policy::IkePort::Preserve;
    })
    .off_the_record();
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    let translated = c.call(&mut lab, 5, 77);
    lab.out(Frame::esp(A, X, 0x1001, 1).payload(vec![1; 72]));
    lab.back(Frame::esp(X, P, 0x2002, 1).payload(vec![1; 72]));
    lab.out(packet(SCTP, A, X));
    let ike = |n: u8| [&[1, 2, 3, 4, 5, 6, 7, 8], &[0; 8][..], &[33, 0x20, 34, n, 0, 0, 0, 0, 0, 0, 0, 28]].concat();
    lab.out(Frame::udp((A, 500), (X, 500)).payload(ike(8)));
    lab.back(Frame::udp((X, 500), (P, 500)).payload(ike(0x20)));
    lab.wait(3 * S);
    lab.put(INSIDE, Frame::gre(A, X, 77).gre_seq(1).payload(vec![0; 8])).only(OUTSIDE);
    lab.put(OUTSIDE, Frame::gre(X, P, translated).payload(vec![0; 8])).only(INSIDE);
    for _ in 0..2 {
        lab.out(Frame::esp(A, X, 0x1001, 2).payload(vec![1; 72]));
        lab.back(Frame::esp(X, P, 0x2002, 2).payload(vec![1; 72]));
    }
    let rows = lab.vpn();
    assert_eq!(rows.len(), 4, "{rows:?}");
    for r in rows {
        assert_eq!((r.inside, r.outside, r.remote, r.age), (addr(A), addr(P), addr(X), 3 * S));
        let ids = [r.inside_id, r.outside_id, r.remote_id].map(|id| r.written(id)).join(" ");
        let seen = (r.state, r.out, r.inward, ids.as_str());
        match r.kind {
            Kind::Pptp => {
                assert_eq!(seen, (State::Confirmed, (1, 40), (1, 36), format!("5 {translated} 77").as_str()));
            }
            Kind::Esp => {
                assert_eq!(seen, (State::Confirmed, (3, 300), (3, 300), "0x00002002 0x00002002 0x00001001"));
            }
            Kind::Other(proto) => assert_eq!((proto.0, seen), (SCTP, (State::Paired, (1, 80), (0, 0), "- - -"))),
            Kind::Ike => assert_eq!((r.out, r.inward, ids.as_str()), ((1, 56), (1, 56), "- - -")),
            Kind::L2tp => panic!("{r:?}"),
        }
    }
}

// RFC 4787 REQ-6: what comes from outside keeps nothing: the holder may be gone
#[test]
fn a_server_that_goes_on_sending_does_not_hold_a_protocol_for_a_host_that_went() {
    let mut lab = Lab::with(|p| p.passthrough.other = vec![protocol::IPV6]);
    lab.out(packet(protocol::IPV6, A, X));
    for _ in 0..120 {
        lab.wait(60 * S);
        lab.put(OUTSIDE, packet(protocol::IPV6, X, P));
    }
    lab.out(packet(protocol::IPV6, B, X));
}

// A forged sender: an inside host's own word counts more
#[test]
fn a_stranger_whom_a_forward_lets_in_keeps_no_inside_host_from_the_server() {
    let forward =
        Forward { proto: Proto(protocol::IPV6), outside: addr(P), ports: 0..=0, inside: addr(B), inside_port: 0 };
    let mut lab = Lab::with(|p| p.forwards = vec![forward]);
    lab.put(OUTSIDE, packet(protocol::IPV6, X, P)).only(INSIDE);
    lab.out(packet(protocol::IPV6, A, X));
    let seen = lab.back(packet(protocol::IPV6, X, P));
    assert_eq!(seen.destination.ip(), &addr(A));
    // One whom its host has answered is no stranger.
    lab.put(OUTSIDE, packet(protocol::IPV6, Y, P)).only(INSIDE);
    lab.out(packet(protocol::IPV6, B, Y));
    lab.put(INSIDE, packet(protocol::IPV6, A, Y)).dropped(DropReason::ProtocolTaken);
}

// GRE of version 0 has no identifier, version 1 has; they do not meet
#[test]
fn a_call_keeps_no_other_host_from_gre_of_version_0_with_its_server() {
    let mut lab = Lab::with(|p| p.passthrough.other = vec![protocol::GRE]).off_the_record();
    let mut c = Control::open(&mut lab, (B, 1500), (X, 1723));
    let translated = c.call(&mut lab, 1, 70);
    c.carries(&mut lab, 1, translated, 70);
    let v0 = |from, to| Frame::ip(protocol::GRE, from, to).payload(vec![0, 0, 8, 0, 0x45, 0, 0, 0]);
    lab.out(v0(A, X));
    assert_eq!(lab.back(v0(X, P)).destination.ip(), &addr(A));
    c.carries(&mut lab, 1, translated, 70);
}
