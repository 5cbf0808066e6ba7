//! Hairpinning: inside hosts that call each other by outside addresses [RFC 4787 REQ-9].

use crate::forwards::{B_OUT, one_to_one, range, web};
use crate::lab::*;
use dataplane::policy::{Allow, Filtering, Policy};
use dataplane::types::Proto;
use dataplane::verdict::{DropReason, Event};
use std::net::SocketAddrV4;
use testkit::{ACK, Checksum, FIN, Frame, SYN, Seen, endpoint, fragments, reassemble};

fn open(p: &mut Policy) {
    p.filtering = Filtering::EndpointIndependent;
}

/// A frame from inside that must come back inside, once.
#[track_caller]
fn around(lab: &mut Lab, frame: Frame) -> Seen {
    let sent = Seen::read(&frame.build()).unwrap();
    let seen = lab.put(INSIDE, frame).only(INSIDE);
    assert_eq!((seen.ttl, &seen.payload), (sent.ttl - 1, &sent.payload), "{seen}");
    seen
}

// Row 13: RFC 4787 REQ-9, REQ-9a: external source address and port
#[test]
fn the_called_host_sees_the_callers_outside_endpoint() {
    let mut lab = Lab::with(open);
    let (a, b) = (lab.udp((A, 5000), (X, 53)), lab.udp((B, 6000), (X, 53)));
    let seen = around(&mut lab, Frame::udp((A, 5000), b).payload(b"hello"));
    assert_eq!((seen.source, seen.destination), (a, endpoint((B, 6000))));
    assert_eq!(seen.destination_mac, mac_of(B));
    let seen = around(&mut lab, Frame::udp((B, 6000), a).payload(b"hello yourself"));
    assert_eq!((seen.source, seen.destination), (b, endpoint((A, 5000))));
    assert_eq!(lab.events(Event::Hairpinned), 2);
}

// Row 13: a caller without a mapping gets one
#[test]
fn a_call_by_an_outside_address_makes_a_mapping_like_any_other() {
    let mut lab = Lab::with(open);
    let b = lab.udp((B, 6000), (X, 53));
    let a = around(&mut lab, Frame::udp((A, 5000), b)).source;
    assert_eq!(lab.udp((A, 5000), (X, 53)), a);
}

// Row 13: filtering holds for inside hosts, too
#[test]
fn hairpinned_packets_are_filtered_as_those_from_outside() {
    for filtering in [Filtering::AddressDependent, Filtering::AddressAndPortDependent] {
        let mut lab = Lab::with(|p| p.filtering = filtering);
        let b = lab.udp((B, 6000), (X, 53));
        lab.put(INSIDE, Frame::udp((A, 5000), b)).dropped(DropReason::Filtered);
        // Both send to the other's outside endpoint, as peers behind two NATs would.
        let a = lab.udp((A, 5000), (X, 53));
        around(&mut lab, Frame::udp((B, 6000), a));
        assert_eq!(around(&mut lab, Frame::udp((A, 5000), b)).destination, endpoint((B, 6000)));
    }
}

// Row 13: a host and its own outside endpoint
#[test]
fn a_host_may_call_itself_by_its_outside_endpoint() {
    let mut lab = Lab::with(open);
    let a = lab.udp((A, 5000), (X, 53));
    let seen = around(&mut lab, Frame::udp((A, 5000), a));
    assert_eq!((seen.source, seen.destination), (a, endpoint((A, 5000))));
    let other = around(&mut lab, Frame::udp((A, 5001), a)).source;
    assert_eq!(around(&mut lab, Frame::udp((A, 5000), other)).destination, endpoint((A, 5001)));
}

/// A connects to B's server, which the world knows as `public`.
fn tcp_story(lab: &mut Lab, server: SocketAddrV4, public: SocketAddrV4) {
    let at = (A, 5000);
    let a = around(lab, Frame::tcp(at, public).flags(SYN).seq(1000).ack(0).mss(1400)).source;
    assert!(!a.ip().is_private());
    let seen = around(lab, Frame::tcp(server, a).flags(SYN | ACK).seq(5000).ack(1001).mss(1400));
    assert_eq!((seen.source, seen.destination), (public, endpoint(at)));
    around(lab, Frame::tcp(at, public).seq(1001).ack(5001));
    lab.wait_quietly(7_000 * S);
    around(lab, Frame::tcp(at, public).seq(1001).ack(5001).payload(b"GET /"));
    around(lab, Frame::tcp(server, a).seq(5001).ack(1006).payload(b"200"));
    around(lab, Frame::tcp(server, a).flags(FIN | ACK).seq(5004).ack(1006));
    around(lab, Frame::tcp(at, public).flags(FIN | ACK).seq(1006).ack(5005));
    lab.wait_quietly(240 * S + LATE);
    assert_eq!(lab.sessions(), 0);
}

// Row 13: RFC 5382 REQ-8; DESIGN §6: hairpin to forwards
#[test]
fn a_connection_to_a_forward_on_the_same_network_works() {
    let mut lab = Lab::with(|p| {
        p.forwards = web();
        p.forwards[0].inside = addr(B);
    });
    tcp_story(&mut lab, endpoint((B, 443)), endpoint((P, 8443)));
}

// Row 13: the client is the server itself
#[test]
fn a_server_may_call_its_own_forward() {
    let mut lab = Lab::with(|p| p.forwards = web());
    tcp_story(&mut lab, endpoint((A, 443)), endpoint((P, 8443)));
}

// Row 13: to one-to-one, where the firewall allows it
#[test]
fn a_connection_to_a_one_to_one_host_works_where_it_is_allowed() {
    let mut lab = Lab::with(|p| {
        p.statics = one_to_one();
        p.allows = vec![Allow { proto: Proto::TCP, inside: addr(B), ports: 443..=443 }];
    });
    lab.put(INSIDE, Frame::tcp((A, 5000), (B_OUT, 80)).flags(SYN).ack(0)).dropped(DropReason::FirewallDenied);
    tcp_story(&mut lab, endpoint((B, 443)), endpoint((B_OUT, 443)));
}

// Row 13: and from one
#[test]
fn a_one_to_one_host_calls_by_its_own_address() {
    let mut lab = Lab::with(|p| {
        p.statics = one_to_one();
        p.forwards = web();
    });
    let seen = around(&mut lab, Frame::tcp((B, 5000), (P, 8443)).flags(SYN).ack(0));
    assert_eq!((seen.source, seen.destination), (endpoint((B_OUT, 5000)), endpoint((A, 443))));
}

// Row 13: a query
#[test]
fn a_ping_to_a_one_to_one_host_comes_back() {
    let mut lab = Lab::with(|p| {
        p.statics = one_to_one();
        p.allows = vec![Allow { proto: Proto::ICMP, inside: addr(B), ports: 0..=0 }];
    });
    let seen = around(&mut lab, Frame::echo_request(A, B_OUT, 7, 1).payload(b"ping"));
    assert_eq!(seen.path(), format!("{P} -> {B}"));
    let seen = around(&mut lab, Frame::echo_reply(B, P, seen.icmp().id(), 1).payload(b"pong"));
    assert_eq!((seen.path(), seen.icmp().id()), (format!("{B_OUT} -> {A}"), 7));
}

// Row 13: another inside network
#[test]
fn hairpinning_reaches_other_inside_networks() {
    let mut lab = Lab::with(|p| {
        p.forwards = web();
        p.forwards[0].inside = addr(C);
    });
    let seen = lab.put(INSIDE, Frame::tcp((A, 5000), (P, 8443)).flags(SYN).ack(0)).only(SECOND);
    assert_eq!((*seen.source.ip(), seen.destination), (addr(P), endpoint((C, 443))));
    let answer = Frame::tcp((C, 443), seen.source).flags(SYN | ACK);
    let seen = lab.put(SECOND, answer).only(INSIDE);
    assert_eq!(seen.path(), format!("{P}:8443 -> {A}:5000"));
}

#[test]
fn calls_by_outside_addresses_are_dropped_where_hairpinning_is_off() {
    let mut lab = Lab::with(|p| {
        open(p);
        p.hairpin = false;
        p.forwards = web();
    });
    let b = lab.udp((B, 6000), (X, 53));
    lab.put(INSIDE, Frame::udp((A, 5000), b)).dropped(DropReason::HairpinOff);
    lab.put(INSIDE, Frame::tcp((A, 5000), (P, 8443)).flags(SYN).ack(0)).dropped(DropReason::HairpinOff);
    assert_eq!(lab.put(INSIDE, Frame::echo_request(A, P, 1, 1)).only(INSIDE).icmp().kind, 0);
}

#[test]
fn a_call_to_an_outside_endpoint_that_nobody_has_is_dropped() {
    let mut lab = Lab::with(open);
    lab.put(INSIDE, Frame::udp((A, 5000), (P, 6000))).dropped(DropReason::Unsolicited);
}

/// A has sent to B's outside endpoint; the frame as B got it.
fn called(lab: &mut Lab, frame: Frame) -> Vec<u8> {
    let o = lab.put(INSIDE, frame);
    assert_eq!(o.at(INSIDE).len(), 1, "{o}");
    o.raw_at(INSIDE)[0].clone()
}

// Row 40: RFC 5508 REQ-7, RFC 7857 §12: from the host itself and from a router before it
#[test]
fn an_error_about_a_hairpinned_packet_finds_its_sender() {
    let mut lab = Lab::with(|p| {
        open(p);
        p.forwards = vec![range()];
    });
    let b = lab.udp((B, 6000), (X, 53));
    for public in [b, endpoint((P, 9000))] {
        let got = called(&mut lab, Frame::udp((A, 5000), public).payload(b"hello"));
        for from in [B, R] {
            for (kind, code) in [(3, 3), (11, 0)] {
                let seen = lab.put(INSIDE, Frame::icmp_error(from, kind, code, &got)).only(INSIDE);
                assert_eq!(seen.path(), format!("{} -> {A}", public.ip()));
                assert_eq!(seen.quoted().path(), format!("{A}:5000 -> {public}"));
                assert_eq!(seen.quoted().checksum, Checksum::Right);
                assert_eq!((seen.ttl, seen.destination_mac), (63, mac_of(A)));
            }
        }
    }
}

// Row 13: nor may an outsider speak as one of them, though their sessions exist
#[test]
fn an_outsider_cannot_join_a_hairpinned_flow() {
    let mut lab = Lab::with(|p| p.forwards = vec![range()]);
    let public = endpoint((P, 9000));
    let a = around(&mut lab, Frame::udp((A, 5000), public)).source;
    around(&mut lab, Frame::udp((B, 7000), a));
    lab.put(OUTSIDE, Frame::udp(a, public)).dropped(DropReason::Land);
    let mut lab = Lab::with(|p| {
        p.statics = one_to_one();
        p.forwards = vec![range()];
        p.forwards[0].inside = addr(A);
    });
    let b = around(&mut lab, Frame::udp((B, 5000), public)).source;
    around(&mut lab, Frame::udp((A, 7000), b));
    lab.put(OUTSIDE, Frame::udp(b, public)).dropped(DropReason::SpoofedSource);
    lab.put(OUTSIDE, Frame::udp(public, b)).dropped(DropReason::SpoofedSource);
}

// Row 40: what two inside hosts say to each other is no outsider's business
#[test]
fn an_outsiders_error_about_a_hairpinned_packet_is_dropped() {
    let mut lab = Lab::with(|p| p.forwards = vec![range()]);
    let a = around(&mut lab, Frame::udp((A, 5000), (P, 9000))).source;
    let forged = Frame::udp(a, (P, 9000)).build();
    lab.put(OUTSIDE, Frame::unreachable(X, 3, &forged)).dropped(DropReason::IcmpErrorNoSession);
}

// Row 40: TCP, and in the other direction
#[test]
fn an_error_about_a_hairpinned_answer_finds_the_server() {
    let mut lab = Lab::with(|p| {
        p.forwards = web();
        p.forwards[0].inside = addr(B);
    });
    let public = endpoint((P, 8443));
    let a = around(&mut lab, Frame::tcp((A, 5000), public).flags(SYN).seq(1000).ack(0)).source;
    let got = called(&mut lab, Frame::tcp((B, 443), a).flags(SYN | ACK).seq(5000).ack(1001));
    let seen = lab.put(INSIDE, Frame::unreachable(A, 1, &got)).only(INSIDE);
    assert_eq!(seen.path(), format!("{P} -> {B}"));
    assert_eq!(seen.quoted().path(), format!("{B}:443 -> {a}"));
}

// Row 40: a query
#[test]
fn an_error_about_a_hairpinned_ping_finds_its_sender() {
    let mut lab = Lab::with(|p| {
        p.statics = one_to_one();
        p.allows = vec![Allow { proto: Proto::ICMP, inside: addr(B), ports: 0..=0 }];
    });
    let got = called(&mut lab, Frame::echo_request(A, B_OUT, 7, 1));
    let seen = lab.put(INSIDE, Frame::unreachable(B, 13, &got)).only(INSIDE);
    assert_eq!((seen.path(), seen.quoted().path()), (format!("{B_OUT} -> {A}"), format!("{A} -> {B_OUT}")));
    assert_eq!(seen.quoted().icmp_id(), 7);
}

// Rows 13, 18: fragments, in order and not
#[test]
fn hairpinned_datagrams_may_come_in_fragments_in_any_order() {
    let mut lab = Lab::with(|p| {
        open(p);
        p.forwards = vec![range()];
    });
    let payload: Vec<u8> = (0..3000u32).map(|n| n as u8).collect();
    let (a, b) = (lab.udp((A, 5000), (X, 53)), lab.udp((B, 6000), (X, 53)));
    for (n, (public, inside)) in [(b, (B, 6000)), (endpoint((P, 9000)), (B, 7000))].into_iter().enumerate() {
        for (m, order) in [[0, 1, 2], [2, 1, 0], [1, 2, 0]].into_iter().enumerate() {
            let whole = Frame::udp((A, 5000), public).id((n * 10 + m) as u16).payload(&payload[..]).build();
            let pieces = fragments(&whole, 1500);
            let o = lab.put_all(INSIDE, order.map(|i| pieces[i].clone()));
            assert!(o.drops.is_empty(), "{o}");
            let seen = Seen::read(&reassemble(o.raw_at(INSIDE)).expect("all pieces")).unwrap();
            assert_eq!((seen.source, seen.destination), (a, endpoint(inside)));
            assert_eq!(seen.payload, payload);
        }
    }
}

// Row 43: a hairpinned packet passes the box once
#[test]
fn the_time_to_live_of_a_hairpinned_packet_falls_by_one() {
    let mut lab = Lab::with(|p| p.forwards = vec![range()]);
    assert_eq!(around(&mut lab, Frame::udp((A, 5000), (P, 9000)).ttl(2)).ttl, 1);
    let o = lab.put(INSIDE, Frame::udp((A, 5000), (P, 9000)).ttl(1));
    o.dropped_and_told(DropReason::TtlExceeded);
    assert_eq!(o.at(INSIDE)[0].quoted().path(), format!("{A}:5000 -> {P}:9000"));
}

// Nobody is told by an outside address of ours
#[test]
fn a_hairpinned_packet_to_a_silent_host_is_dropped_without_a_word() {
    let mut lab = Lab::with(|p| {
        p.forwards = vec![range()];
        p.neighbours.retain(|n| n.addr != addr(B));
    });
    let call = || Frame::udp((A, 5000), (P, 9000));
    assert_eq!(lab.put(INSIDE, call()).only(INSIDE).arp().operation, 1);
    let o = lab.wait(3_500);
    assert!(o.at(INSIDE).iter().all(|s| s.ethertype == 0x0806), "{o}");
    o.dropped_and_told(DropReason::NeighbourUnresolved);
    // Refused at once, while the failure is remembered.
    lab.put(INSIDE, call()).dropped(DropReason::NeighbourUnresolved);
}

// ARP in the middle of a hairpin
#[test]
fn a_hairpinned_packet_waits_for_arp_like_any_other() {
    let mut lab = Lab::single(|p| {
        p.forwards = vec![range()];
        p.neighbours.retain(|n| n.addr != addr(B));
    });
    lab.put(INSIDE, Frame::udp((A, 5000), (P, 9000)).payload(b"hello")).only(INSIDE);
    let seen = lab.put(INSIDE, Frame::arp_reply(mac_of(B), B, INSIDE_MAC, BOX)).sent[0].pop().unwrap();
    assert_eq!((seen.source, seen.destination), (endpoint((P, 5000)), endpoint((B, 7000))));
}
