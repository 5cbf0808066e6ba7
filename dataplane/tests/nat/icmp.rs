//! ICMP: queries, and errors in both directions [RFC 5508].

use crate::lab::*;
use dataplane::policy::{Filtering, Policy, Refusal};
use dataplane::verdict::{DropReason, Event};
use testkit::{Checksum, Frame, SYN, Seen, endpoint, protocol, reassemble};

/// A router on the way, which no session knows.
const ROUTER: &str = "192.0.2.1";

// Row 32: RFC 5508 REQ-1
#[test]
fn a_query_identifier_is_mapped_whatever_the_destination() {
    let mut lab = Lab::new();
    let id = lab.out(Frame::echo_request(A, X, 7, 1).payload(b"ping")).icmp().id();
    assert_eq!(lab.out(Frame::echo_request(A, Y, 7, 2).payload(b"ping")).icmp().id(), id);
    for host in [X, Y] {
        let seen = lab.back(Frame::echo_reply(host, P, id, 1).payload(b"pong"));
        assert_eq!((seen.path(), seen.icmp().id()), (format!("{host} -> {A}"), 7));
    }
    assert_eq!(lab.mappings(), 1);
}

// Row 32: two hosts, one identifier
#[test]
fn two_hosts_that_ping_with_one_identifier_are_told_apart() {
    let mut lab = Lab::new();
    for id in [0, 1, 7, 1023, 1024, 65_535] {
        let of = [A, B].map(|host| (host, lab.out(Frame::echo_request(host, X, id, 1)).icmp().id()));
        assert_ne!(of[0].1, of[1].1);
        for (host, outside) in of {
            let seen = lab.back(Frame::echo_reply(X, P, outside, 1));
            assert_eq!((seen.destination, seen.icmp().id()), (endpoint(host), id));
        }
    }
}

// Row 32: timestamps are queries, too
#[test]
fn timestamps_pass_as_queries() {
    let mut lab = Lab::new();
    let request = Frame::icmp(A, X, 13, 0, [0, 7, 0, 1]).payload(&[0u8; 12][..]);
    let id = lab.out(request).icmp().id();
    let [hi, lo] = id.to_be_bytes();
    let seen = lab.back(Frame::icmp(X, P, 14, 0, [hi, lo, 0, 1]).payload(&[9u8; 12][..]));
    assert_eq!((seen.destination, seen.icmp().id()), (endpoint(A), 7));
}

// Row 32, 42: RFC 5508 REQ-10: what is neither query nor error does not pass
#[test]
fn types_that_a_nat_does_not_know_do_not_pass() {
    for kind in [1, 2, 4, 5, 6, 7, 9, 10, 15, 16, 17, 18, 30, 40, 255] {
        let mut lab = Lab::new();
        lab.udp((A, 5000), (X, 53));
        lab.put(INSIDE, Frame::icmp(A, X, kind, 0, [0; 4])).dropped(DropReason::IcmpType);
        lab.put(OUTSIDE, Frame::icmp(X, P, kind, 0, [0; 4])).dropped(DropReason::IcmpType);
    }
}

// Row 42: RFC 5508 REQ-10: source quench and redirect, though they quote a flow
#[test]
fn source_quench_and_redirect_do_not_pass() {
    let mut lab = Lab::new();
    let o = lab.put(INSIDE, Frame::udp((A, 5000), (X, 53)));
    for kind in [4, 5] {
        lab.put(OUTSIDE, Frame::icmp_error(X, kind, 0, &o.raw_at(OUTSIDE)[0])).dropped(DropReason::IcmpType);
    }
}

#[test]
fn queries_from_outside_are_not_let_in() {
    for filtering in FILTERINGS {
        let mut lab = Lab::with(|p| p.filtering = filtering);
        let id = lab.out(Frame::echo_request(A, X, 7, 1)).icmp().id();
        lab.put(OUTSIDE, Frame::echo_reply(Y, P, id ^ 1, 1)).dropped(DropReason::Unsolicited);
        lab.put(OUTSIDE, Frame::icmp(X, P, 13, 0, [0, 7, 0, 1])).dropped(DropReason::Unsolicited);
        let reply = lab.put(OUTSIDE, Frame::echo_reply(Y, P, id, 1));
        // An answer nobody asked Y for opens nothing in any mode.
        let expected = match filtering {
            Filtering::EndpointIndependent => DropReason::Unsolicited,
            Filtering::AddressDependent | Filtering::AddressAndPortDependent => DropReason::Filtered,
        };
        reply.dropped(expected);
    }
}

/// What A sends, and how it is quoted.
fn flows() -> Vec<(Frame<'static>, u8)> {
    vec![
        (Frame::udp((A, 5000), (X, 33_434)).payload(b"some payload"), protocol::UDP),
        (Frame::udp((A, 5001), (X, 33_434)).udp_checksum_zero().payload(b"some"), protocol::UDP),
        (Frame::tcp((A, 5000), (X, 80)).flags(SYN).seq(1000).ack(0).mss(1400), protocol::TCP),
        (Frame::echo_request(A, X, 7, 9).payload(b"ping"), protocol::ICMP),
        (Frame::echo_request(A, X, 0, 9).payload(b"ping"), protocol::ICMP),
        (Frame::udp((A, 5002), (X, 33_434)).ip_options(&[7, 7, 8, 1, 2, 3, 4, 0]).payload(b"x"), protocol::UDP),
    ]
}

/// The quote that the host gets is of what it sent.
#[track_caller]
fn assert_quotes(seen: &Seen, sent: &Seen, protocol: u8) {
    let q = seen.quoted();
    assert_eq!((q.source, q.destination, q.protocol), (sent.source, sent.destination, protocol), "{seen}");
    assert!(q.checksum != Checksum::Wrong, "{seen}");
    assert_eq!(q.ip_options, sent.ip_options);
    if protocol == testkit::protocol::ICMP {
        assert_eq!(q.icmp_id(), sent.icmp().id());
    }
}

// Rows 30, 37, 42: RFC 5508 REQ-4, RFC 5382 REQ-9
#[test]
fn an_inbound_error_reaches_the_host_with_the_header_it_sent() {
    for (kind, code) in [(3, 0), (3, 1), (3, 3), (3, 4), (3, 13), (11, 0), (12, 0)] {
        let mut lab = Lab::new();
        for (frame, protocol) in flows() {
            let sent = Seen::read(&frame.build()).unwrap();
            let o = lab.put(INSIDE, frame);
            for from in [ROUTER, X] {
                let seen = lab.back(Frame::icmp_error(from, kind, code, &o.raw_at(OUTSIDE)[0]));
                assert_eq!(seen.path(), format!("{from} -> {A}"));
                assert_eq!((seen.icmp().kind, seen.icmp().code), (kind, code));
                assert_quotes(&seen, &sent, protocol);
            }
        }
    }
}

// Row 17, 37: RFC 1191
#[test]
fn the_mtu_of_fragmentation_needed_is_kept() {
    let mut lab = Lab::new();
    let o = lab.put(INSIDE, Frame::udp((A, 5000), (X, 53)).df().payload(vec![7; 1400]));
    let seen = lab.back(Frame::fragmentation_needed(ROUTER, 1280, &o.raw_at(OUTSIDE)[0]));
    assert_eq!((seen.icmp().mtu(), seen.quoted().df), (1280, true));
}

// Row 36: RFC 5508 REQ-3c: 8 bytes of transport header are enough
#[test]
fn every_length_of_quote_from_eight_bytes_on_is_translated() {
    for (frame, protocol) in flows() {
        let mut lab = Lab::new();
        let sent = Seen::read(&frame.build()).unwrap();
        let o = lab.put(INSIDE, frame);
        let whole = o.raw_at(OUTSIDE)[0].len() - 14;
        let header = 20 + sent.ip_options.len();
        for quote in header + 8..=whole {
            let seen = lab.back(Frame::time_exceeded(ROUTER, &o.raw_at(OUTSIDE)[0]).quote(quote));
            assert_quotes(&seen, &sent, protocol);
        }
        for quote in 0..header + 8 {
            lab.put(OUTSIDE, Frame::time_exceeded(ROUTER, &o.raw_at(OUTSIDE)[0]).quote(quote))
                .dropped(DropReason::IcmpErrorTruncated);
        }
    }
}

// Row 36: RFC 5508 REQ-3d, RFC 4884
#[test]
fn extensions_are_carried_untouched() {
    let mut lab = Lab::new();
    for (frame, protocol) in flows() {
        let sent = Seen::read(&frame.build()).unwrap();
        let o = lab.put(INSIDE, frame);
        let label = [0x12, 0x34, 0x51, 0xff];
        let seen = lab.back(Frame::time_exceeded(ROUTER, &o.raw_at(OUTSIDE)[0]).extension(1, 1, &label[..]));
        assert_eq!(seen.icmp().extensions[0].data, label);
        assert_quotes(&seen, &sent, protocol);
    }
}

// Row 36: RFC 5508 REQ-3c: the quoted transport checksum is not verified, and stays as wrong as it was
#[test]
fn a_quote_with_a_damaged_transport_checksum_is_translated() {
    let mut lab = Lab::new();
    let mut quoted = lab.put(INSIDE, Frame::udp((A, 5000), (X, 53)).payload(b"data")).raw_at(OUTSIDE)[0].clone();
    quoted[14 + 20 + 6] ^= 0x55;
    let seen = lab.back(Frame::time_exceeded(ROUTER, &quoted));
    assert_eq!((seen.quoted().path(), seen.quoted().checksum), (format!("{A}:5000 -> {X}:53"), Checksum::Wrong));
}

// Row 34: RFC 5508 REQ-3, 3a
#[test]
fn an_error_with_a_wrong_checksum_is_dropped() {
    let mut lab = Lab::new();
    let o = lab.put(INSIDE, Frame::udp((A, 5000), (X, 53)));
    let quoted = &o.raw_at(OUTSIDE)[0];
    lab.put(OUTSIDE, Frame::time_exceeded(ROUTER, quoted).bad_l4_checksum()).dropped(DropReason::IcmpChecksum);
    let mut damaged = quoted.clone();
    damaged[14 + 10] ^= 0x55;
    lab.put(OUTSIDE, Frame::time_exceeded(ROUTER, &damaged)).dropped(DropReason::IcmpErrorInner);
    lab.put(OUTSIDE, Frame::time_exceeded(ROUTER, quoted)).only(INSIDE);
}

// Row 35: RFC 5508 REQ-3b
#[test]
fn options_in_the_quoted_header_are_stepped_over() {
    let mut lab = Lab::new();
    for slots in 1..=9 {
        let o = lab.put(INSIDE, Frame::udp((A, 5000 + u16::from(slots)), (X, 53)).record_route(slots));
        let seen = lab.back(Frame::time_exceeded(ROUTER, &o.raw_at(OUTSIDE)[0]));
        assert_eq!(seen.quoted().path(), format!("{A}:{} -> {X}:53", 5000 + u16::from(slots)));
    }
}

#[test]
fn errors_about_nothing_of_ours_are_dropped() {
    let mut lab = Lab::new();
    let n = lab.udp((A, 5000), (X, 53));
    let never_sent = [
        Frame::udp(n, (X, 54)).build(),
        Frame::udp((P, n.port() ^ 1), (X, 53)).build(),
        Frame::tcp(n, (X, 53)).build(),
        Frame::echo_request(P, X, n.port(), 1).build(),
    ];
    for quoted in &never_sent {
        lab.put(OUTSIDE, Frame::unreachable(X, 3, quoted)).dropped(DropReason::IcmpErrorNoSession);
    }
    // An error to us that quotes what somebody else sent.
    let quoted = Frame::udp((Y, 1), (X, 53)).build();
    lab.put(OUTSIDE, Frame::unreachable(X, 3, &quoted).to(P)).dropped(DropReason::IcmpErrorNoSession);
}

#[test]
fn errors_about_later_fragments_errors_and_unknown_tunnels_are_dropped() {
    let mut lab = Lab::new();
    let n = lab.udp((A, 5000), (X, 53));
    let later = Frame::ip(17, P, X).fragment(1480, false).payload(vec![0; 16]).build();
    lab.put(OUTSIDE, Frame::time_exceeded(X, &later)).dropped(DropReason::IcmpErrorFragment);
    let error = Frame::unreachable(P, 3, Frame::udp((X, 53), n).build()).to(X).build();
    lab.put(OUTSIDE, Frame::time_exceeded(X, &error)).dropped(DropReason::IcmpErrorInner);
    let esp = Frame::esp(P, X, 77, 1).payload(&[0; 16][..]).build();
    lab.put(OUTSIDE, Frame::time_exceeded(X, &esp)).dropped(DropReason::IcmpErrorNoSession);
    let other = Frame::ip(41, P, X).payload(&[0; 40][..]).build();
    lab.put(OUTSIDE, Frame::time_exceeded(X, &other)).dropped(DropReason::IcmpErrorNoSession);
}

// Rows 30, 38: RFC 5508 REQ-5: the host itself, and a router before it
#[test]
fn an_outbound_error_bears_the_outside_address_and_the_header_that_the_world_sent() {
    let mut lab = Lab::new();
    let n = lab.udp((A, 5000), (X, 53));
    let raw = lab.put(OUTSIDE, Frame::udp((X, 53), n).payload(b"answer")).raw_at(INSIDE)[0].clone();
    for from in [A, R] {
        for (kind, code) in [(3, 3), (3, 1), (11, 0), (12, 0)] {
            let seen = lab.put(INSIDE, Frame::icmp_error(from, kind, code, &raw)).only(OUTSIDE);
            assert_eq!(seen.path(), format!("{P} -> {X}"));
            assert_eq!((seen.icmp().kind, seen.icmp().code), (kind, code));
            assert_eq!(seen.quoted().source, endpoint((X, 53)));
            assert_eq!(seen.quoted().destination, n);
            assert_eq!(seen.quoted().checksum, Checksum::Right);
        }
    }
}

// Row 38: TCP and queries
#[test]
fn outbound_errors_about_tcp_and_queries_are_translated() {
    let mut lab = Lab::new();
    let n = lab.connect((A, 5000), (X, 80));
    let raw = lab.put(OUTSIDE, Frame::tcp((X, 80), n).seq(5001).ack(1001)).raw_at(INSIDE)[0].clone();
    let seen = lab.put(INSIDE, Frame::time_exceeded(R, &raw)).only(OUTSIDE);
    assert_eq!((seen.quoted().source, seen.quoted().destination), (endpoint((X, 80)), n));
    let id = lab.out(Frame::echo_request(A, X, 7, 1)).icmp().id();
    let raw = lab.put(OUTSIDE, Frame::echo_reply(X, P, id, 1)).raw_at(INSIDE)[0].clone();
    let seen = lab.put(INSIDE, Frame::time_exceeded(R, &raw)).only(OUTSIDE);
    assert_eq!((seen.quoted().path(), seen.quoted().icmp_id()), (format!("{X} -> {P}"), id));
}

// Row 38: an inside host cannot speak for another's flow
#[test]
fn an_outbound_error_that_was_never_called_for_is_dropped() {
    let mut lab = Lab::new();
    lab.udp((A, 5000), (X, 53));
    let quoted = Frame::udp((X, 53), (B, 5000)).build();
    lab.put(INSIDE, Frame::unreachable(B, 3, &quoted)).dropped(DropReason::IcmpErrorNoSession);
    let quoted = Frame::udp((X, 53), (A, 5000)).build();
    lab.put(INSIDE, Frame::unreachable(A, 3, &quoted).to(Y)).dropped(DropReason::IcmpErrorNoSession);
}

// Rows 16, 39: RFC 4787 REQ-12, RFC 5508 REQ-6
#[test]
fn no_icmp_message_ends_or_refreshes_a_mapping() {
    let mut lab = Lab::new();
    let n = lab.udp((A, 5000), (X, 53));
    let quoted = Frame::udp(n, (X, 53)).build();
    // But for an echo request, which the box answers.
    for kind in (0..=255).filter(|kind| *kind != 8) {
        for code in [0, 1, 3, 4, 13] {
            lab.put(OUTSIDE, Frame::icmp_error(X, kind, code, &quoted));
        }
    }
    lab.delivers((X, 53), n, (A, 5000));
    for _ in 0..5 {
        lab.wait_quietly(59 * S);
        lab.put(OUTSIDE, Frame::unreachable(X, 3, &quoted)).only(INSIDE);
    }
    lab.wait_quietly(5 * S + LATE);
    lab.refuses((X, 53), n, DropReason::Unsolicited);
}

// Row 39: RFC 5508 REQ-6
#[test]
fn errors_neither_end_nor_refresh_a_query() {
    let mut lab = Lab::new();
    let o = lab.put(INSIDE, Frame::echo_request(A, X, 7, 1));
    let id = o.at(OUTSIDE)[0].icmp().id();
    for _ in 0..11 {
        lab.wait_quietly(5 * S);
        lab.put(OUTSIDE, Frame::time_exceeded(ROUTER, &o.raw_at(OUTSIDE)[0])).only(INSIDE);
    }
    lab.back(Frame::echo_reply(X, P, id, 1));
    lab.wait_quietly(5 * S + LATE);
    lab.put(OUTSIDE, Frame::echo_reply(X, P, id, 1)).dropped(DropReason::Unsolicited);
}

// Row 43: RFC 1812 §5.3.1: TTL 1 ends here, TTL 2 reaches the next hop
#[test]
fn traceroute_from_inside_shows_the_box_once() {
    for (probe, quoted) in [
        (Frame::udp((A, 5000), (X, 33_434)), format!("{A}:5000 -> {X}:33434")),
        (Frame::tcp((A, 5000), (X, 80)).flags(SYN).ack(0), format!("{A}:5000 -> {X}:80")),
        (Frame::echo_request(A, X, 7, 1), format!("{A} -> {X}")),
    ] {
        let mut lab = Lab::new();
        for ttl in [0, 1] {
            let o = lab.put(INSIDE, probe.clone().ttl(ttl));
            o.dropped_and_told(DropReason::TtlExceeded);
            let seen = &o.at(INSIDE)[0];
            assert_eq!((seen.path(), seen.icmp().kind, seen.icmp().code), (format!("{BOX} -> {A}"), 11, 0));
            assert_eq!((seen.quoted().path(), seen.quoted().ttl), (quoted.clone(), ttl), "as A sent it");
            assert_eq!(seen.destination_mac, mac_of(A));
            assert_eq!(lab.sessions(), 0, "a packet that does not leave opens nothing");
        }
        let o = lab.put(INSIDE, probe.clone().ttl(2));
        assert_eq!(o.at(OUTSIDE)[0].ttl, 1);
        let seen = lab.back(Frame::time_exceeded(G, &o.raw_at(OUTSIDE)[0]));
        assert_eq!((seen.path(), seen.quoted().path()), (format!("{G} -> {A}"), quoted));
    }
}

// Row 43: from outside, along an existing flow or a forward
#[test]
fn traceroute_from_outside_shows_the_box_once() {
    let mut lab = Lab::with(|p| p.forwards = crate::forwards::web());
    let n = lab.udp((A, 5000), (X, 53));
    let to_forward = Frame::tcp((X, 9), (P, 8443)).flags(SYN).ack(0);
    for (probe, quoted) in
        [(Frame::udp((X, 53), n), format!("{X}:53 -> {n}")), (to_forward, format!("{X}:9 -> {P}:8443"))]
    {
        let o = lab.put(OUTSIDE, probe.clone().ttl(1));
        o.dropped_and_told(DropReason::TtlExceeded);
        let seen = &o.at(OUTSIDE)[0];
        assert_eq!((seen.path(), seen.icmp().kind), (format!("{P} -> {X}"), 11));
        assert_eq!(seen.quoted().path(), quoted, "as X sent it");
        assert_eq!(seen.destination_mac, G_MAC);
        assert_eq!(lab.put(OUTSIDE, probe.ttl(2)).only(INSIDE).ttl, 1);
    }
}

// Row 43: an outsider learns nothing about what is not let in
#[test]
fn expired_packets_that_would_not_be_let_in_are_not_answered() {
    let mut lab = Lab::new();
    lab.put(OUTSIDE, Frame::udp((X, 53), (P, 5000)).ttl(1)).dropped(DropReason::Unsolicited);
}

// RFC 1122 §3.2.2
#[test]
fn no_error_is_sent_about_an_error() {
    let mut lab = Lab::new();
    let o = lab.put(INSIDE, Frame::udp((A, 5000), (X, 53)));
    lab.put(OUTSIDE, Frame::time_exceeded(ROUTER, &o.raw_at(OUTSIDE)[0]).ttl(1)).dropped(DropReason::TtlExceeded);
    let raw = lab.put(OUTSIDE, Frame::udp((X, 53), o.at(OUTSIDE)[0].source)).raw_at(INSIDE)[0].clone();
    lab.put(INSIDE, Frame::unreachable(A, 3, &raw).ttl(1)).dropped(DropReason::TtlExceeded);
}

// Row 41: RFC 5508 REQ-8, RFC 6888 REQ-11b: the code is the operator's choice
#[test]
fn a_refused_flow_is_answered_as_configured() {
    for (refusal, code) in
        [(Refusal::HostUnreachable, Some(1)), (Refusal::Prohibited, Some(13)), (Refusal::Silent, None)]
    {
        let mut lab = Lab::with(|p| {
            p.refusal = refusal;
            p.limits.sessions = 1;
        });
        lab.udp((A, 5000), (X, 53));
        for frame in [
            Frame::udp((A, 5001), (X, 53)),
            Frame::tcp((A, 5001), (X, 80)).flags(SYN).ack(0),
            Frame::echo_request(A, X, 7, 1),
        ] {
            let o = lab.put(INSIDE, frame);
            o.dropped_and_told(DropReason::SubscriberSessions);
            let told: Vec<_> = o.at(INSIDE).iter().map(|s| (s.path(), s.icmp().kind, s.icmp().code)).collect();
            let expected: Vec<_> = code.iter().map(|&c| (format!("{BOX} -> {A}"), 3, c)).collect();
            assert_eq!(told, expected);
        }
    }
}

// Row 41: RFC 5508 REQ-8: rate-limited
#[test]
fn errors_of_our_own_are_rate_limited() {
    let mut lab = Lab::single(|p| p.icmp_error_rate = 20);
    let mut told = 0;
    for n in 0..100 {
        told += lab.put(INSIDE, Frame::udp((A, 5000 + n), (X, 53)).ttl(1)).at(INSIDE).len();
    }
    assert_eq!(told, 10);
    assert_eq!(lab.events(Event::IcmpErrorsSuppressed), 90);
    lab.wait_quietly(100);
    let again = (0..10).map(|_| lab.put(INSIDE, Frame::udp((A, 5000), (X, 53)).ttl(1)).at(INSIDE).len());
    assert_eq!(again.sum::<usize>(), 2);
}

// RFC 1812 §4.3.2: what our errors look like
#[test]
fn errors_of_our_own_quote_no_more_than_576_bytes_and_are_of_low_delay() {
    let mut lab = Lab::new();
    let o = lab.put(INSIDE, Frame::udp((A, 5000), (X, 53)).ttl(1).payload(vec![1; 1400]));
    assert_eq!(o.raw_at(INSIDE)[0].len(), 14 + 576);
    assert_eq!((o.at(INSIDE)[0].tos, o.at(INSIDE)[0].ttl), (0xc0, 64));
}

// A host that pings the box: RFC 1122 §3.2.2.6
#[test]
fn the_box_answers_echo_to_its_own_addresses() {
    let payload: Vec<u8> = (0..100).collect();
    let mut lab = Lab::new();
    let ask = |from, to| Frame::echo_request(from, to, 7, 9).payload(payload.clone()).ttl(1);
    for (port, from, to) in
        [(INSIDE, A, BOX), (INSIDE, A, P), (INSIDE, A, "10.0.0.1"), (OUTSIDE, X, P), (OUTSIDE, N, P), (SECOND, C, BOX)]
    {
        let seen = lab.put(port, ask(from, to)).only(port);
        assert_eq!((seen.path(), seen.icmp().kind), (format!("{to} -> {from}"), 0));
        assert_eq!((seen.icmp().id(), seen.icmp().seq(), &seen.payload), (7, 9, &payload));
        assert_eq!(seen.ttl, 64);
    }
    assert_eq!(lab.sessions(), 0);
    assert_eq!(lab.events(Event::EchoAnswered), 6);
}

#[test]
fn the_box_does_not_answer_echo_for_an_inside_address_outside() {
    let mut lab = Lab::new();
    lab.put(OUTSIDE, Frame::echo_request(X, BOX, 7, 9)).dropped(DropReason::Unsolicited);
}

#[test]
fn a_reply_that_the_box_never_asked_for_is_dropped() {
    let mut lab = Lab::new();
    lab.put(OUTSIDE, Frame::echo_reply(X, P, 7, 9)).dropped(DropReason::Unsolicited);
    lab.put(INSIDE, Frame::echo_reply(A, BOX, 7, 9)).dropped(DropReason::LocalService);
}

// Row 37: to a forward's host, and to a one-to-one host
#[test]
fn errors_reach_hosts_behind_forwards_and_one_to_one() {
    let mut lab = Lab::with(|p: &mut Policy| {
        p.forwards = crate::forwards::web();
        p.statics = crate::forwards::one_to_one();
    });
    lab.put(OUTSIDE, Frame::tcp((X, 9), (P, 8443)).flags(SYN).ack(0)).only(INSIDE);
    let o = lab.put(INSIDE, Frame::tcp((A, 443), (X, 9)).flags(SYN | testkit::ACK));
    let seen = lab.back(Frame::time_exceeded(ROUTER, &o.raw_at(OUTSIDE)[0]));
    assert_eq!(seen.quoted().path(), format!("{A}:443 -> {X}:9"));
    let o = lab.put(INSIDE, Frame::echo_request(B, X, 7, 1));
    let seen = lab.back(Frame::time_exceeded(ROUTER, &o.raw_at(OUTSIDE)[0]));
    assert_eq!(
        (seen.path(), seen.quoted().path(), seen.quoted().icmp_id()),
        (format!("{ROUTER} -> {B}"), format!("{B} -> {X}"), 7)
    );
}

// RFC 1191, RFC 5508 REQ-8: strangers and other hosts cannot silence what path MTU discovery needs
#[test]
fn expired_packets_do_not_keep_fragmentation_needed_from_being_told() {
    let mut lab = Lab::single(|p| {
        p.icmp_error_rate = 20;
        p.ports[1].mtu = 1000;
    });
    let n = lab.udp((A, 5000), (X, 53));
    let told = |o: Vec<Outcome>, port: dataplane::types::PortId| o.iter().map(|o| o.at(port).len()).sum::<usize>();
    let outside = (0..50).map(|_| lab.put(OUTSIDE, Frame::udp((X, 53), n).ttl(1))).collect();
    assert_eq!(told(outside, OUTSIDE), 10);
    let inside = (0..50).map(|_| lab.put(INSIDE, Frame::udp((B, 5000), (X, 53)).ttl(1))).collect();
    assert_eq!(told(inside, INSIDE), 10, "insiders have their own");
    let big = || Frame::udp((A, 5000), (X, 53)).df().payload(vec![7; 1200]);
    let too_big: Vec<_> = (0..50).map(|_| lab.put(INSIDE, big())).collect();
    assert_eq!(too_big[0].at(INSIDE)[0].icmp().mtu(), 1000);
    assert_eq!(told(too_big, INSIDE), 10, "and it is bounded, too");
}

// Row 38: a host of another inside network is no router on the way
#[test]
fn an_outbound_error_that_came_by_another_port_is_dropped() {
    let mut lab = Lab::new();
    let n = lab.udp((A, 5000), (X, 53));
    let raw = lab.put(OUTSIDE, Frame::udp((X, 53), n)).raw_at(INSIDE)[0].clone();
    lab.put(SECOND, Frame::unreachable(C, 3, &raw)).dropped(DropReason::IcmpErrorNoSession);
    lab.put(INSIDE, Frame::unreachable(R, 3, &raw)).only(OUTSIDE);
}

// RFC 1122 §3.2.2.6, §3.3.3: the answer is as long as the question, whatever the link carries
#[test]
fn an_answer_to_a_long_echo_request_is_cut_for_the_link() {
    let mut lab = Lab::with(|p| {
        p.ports[0].mtu = 600;
        p.ports[1].vlan = Some(7);
        p.ports[1].mtu = 600;
    });
    let payload: Vec<u8> = (0..=255).cycle().take(1400).collect();
    for df in [false, true] {
        let ask = |from, to| {
            let request = Frame::echo_request(from, to, 7, 9).payload(payload.clone()).id(77);
            if df { request.df() } else { request }
        };
        for (port, from, to, request) in [(INSIDE, A, BOX, ask(A, BOX)), (OUTSIDE, N, P, ask(N, P).vlan(7))] {
            let o = lab.put(port, request);
            assert_eq!(o.at(port).len(), 3, "{o}");
            let seen = Seen::read(&reassemble(o.raw_at(port)).unwrap()).unwrap();
            assert_eq!((seen.path(), seen.icmp().kind), (format!("{to} -> {from}"), 0));
            assert_eq!((seen.icmp().id(), seen.icmp().seq(), &seen.payload), (7, 9, &payload));
        }
    }
}
