//! The link: ARP, tags, padding, options, time to live, and forwarding between inside networks.

use crate::forwards::{B_OUT, one_to_one};
use crate::lab::*;
use dataplane::policy::{Net, Policy};
use dataplane::types::PortId;
use dataplane::verdict::{DropReason, Event};
use testkit::{BROADCAST_MAC, Frame, SYN, Seen, Transport, endpoint, fragments, protocol, reassemble};

/// Nobody is known beforehand. One worker: each learns its neighbours by itself, see `workers`.
fn strangers() -> Lab {
    Lab::single(|p| p.neighbours.clear())
}

fn datagram(n: u8) -> Frame<'static> {
    Frame::udp((A, 5000), (X, 53)).payload(vec![n])
}

/// G says where it is.
fn g_answers(lab: &mut Lab) -> Outcome {
    lab.put(OUTSIDE, Frame::arp_reply(G_MAC, G, OUTSIDE_MAC, P))
}

fn payloads(seen: &[Seen]) -> Vec<u8> {
    seen.iter().map(|s| s.payload[0]).collect()
}

// RFC 826
#[test]
fn the_first_packet_asks_for_its_next_hop_and_goes_when_that_answers() {
    let mut lab = strangers();
    let request = lab.put(INSIDE, datagram(1)).only(OUTSIDE);
    assert_eq!((request.arp().operation, request.path()), (1, format!("{P} -> {G}")));
    assert_eq!((request.arp().sender_mac, request.destination_mac), (OUTSIDE_MAC, BROADCAST_MAC));
    let seen = g_answers(&mut lab).only_of(OUTSIDE);
    assert_eq!((seen.destination_mac, seen.payload), (G_MAC, vec![1]));
    assert_eq!(lab.put(INSIDE, datagram(2)).only(OUTSIDE).destination_mac, G_MAC);
}

// RFC 1122 §2.3.2.2
#[test]
fn eight_packets_wait_for_a_next_hop_and_keep_their_order() {
    let mut lab = strangers();
    for n in 1..=8 {
        assert!(lab.put(INSIDE, datagram(n)).drops.is_empty());
    }
    lab.put(INSIDE, datagram(9)).dropped(DropReason::NeighbourQueueFull);
    assert_eq!(lab.events(Event::ArpRequests), 1);
    let o = g_answers(&mut lab);
    assert_eq!(payloads(o.at(OUTSIDE)), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(lab.sessions(), 1);
}

// What is refused for want of room leaves no trace in what a neighbour may keep waiting
#[test]
fn what_waits_when_there_is_no_room_for_more_goes_when_its_next_hop_answers() {
    let mut lab = Lab::single(|p| {
        p.neighbours.retain(|n| n.addr == addr(A));
        p.sizes.neighbours = 4096;
    });
    let host = |n: u8| std::net::Ipv4Addr::new(203, 0, 113, 100 + n);
    // How many of ten datagrams to a host wait.
    let wait = |lab: &mut Lab, n: u8| {
        let refused = |mark| {
            let drops = lab.put(INSIDE, Frame::udp((A, 5000), (host(n), 53)).payload(vec![mark])).drops;
            assert!(drops.keys().all(|r| *r == DropReason::NeighbourQueueFull), "{drops:?}");
            !drops.is_empty()
        };
        10 - (1..=10).map(refused).filter(|refused| *refused).count()
    };
    let each = wait(&mut lab, 0);
    let full = (1..100).find(|&n| wait(&mut lab, n) < each).unwrap();
    for n in [0, full, 0, full] {
        assert_eq!(wait(&mut lab, n), 0, "there is no room");
    }
    let answer = |lab: &mut Lab, n: u8| {
        let o = lab.put(OUTSIDE, Frame::arp_reply([2, 0, 0, 0, 9, n], host(n), OUTSIDE_MAC, P));
        payloads(o.at(OUTSIDE)).len()
    };
    assert_eq!(answer(&mut lab, 1), each);
    assert_eq!(wait(&mut lab, 0), 0, "its share is still full");
    for n in [0].into_iter().chain(2..full) {
        assert_eq!(answer(&mut lab, n), each, "host {n}");
    }
    lab.wait(4 * S);
    assert!(lab.finish().is_empty());
}

// RFC 1122 §2.3.2.1: once a second; then the senders are told
#[test]
fn three_requests_without_an_answer_fail_what_waits() {
    let mut lab = strangers();
    for n in 1..=4 {
        lab.put(INSIDE, datagram(n));
    }
    assert_eq!(lab.wait(950).at(OUTSIDE).len(), 0);
    assert_eq!(lab.wait(100).at(OUTSIDE).len(), 1);
    assert_eq!(lab.wait(S).at(OUTSIDE).len(), 1);
    let o = lab.wait(S);
    assert_eq!(o.drops.into_iter().collect::<Vec<_>>(), [(DropReason::NeighbourUnresolved, 4)]);
    assert_eq!(o.sent[0].len(), 4, "each sender is told");
    for seen in &o.sent[0] {
        assert_eq!((seen.path(), seen.icmp().kind, seen.icmp().code), (format!("{BOX} -> {A}"), 3, 1));
        assert_eq!(seen.quoted().path(), format!("{A}:5000 -> {X}:53"));
    }
}

#[test]
fn a_failure_is_remembered_for_three_seconds_and_then_tried_again() {
    let mut lab = strangers();
    lab.put(INSIDE, datagram(1));
    lab.wait(3_100);
    for n in 2..4 {
        let o = lab.put(INSIDE, datagram(n));
        o.dropped_and_told(DropReason::NeighbourUnresolved);
        assert_eq!((o.at(INSIDE).len(), o.at(OUTSIDE).len()), (1, 0));
    }
    lab.wait_quietly(3 * S);
    assert_eq!(lab.put(INSIDE, datagram(9)).only(OUTSIDE).arp().operation, 1);
    assert_eq!(payloads(g_answers(&mut lab).at(OUTSIDE)), [9]);
}

#[test]
fn a_late_answer_helps_at_once() {
    let mut lab = strangers();
    lab.put(INSIDE, datagram(1));
    lab.wait(3_500);
    assert!(g_answers(&mut lab).is_silent());
    assert_eq!(payloads(&[lab.put(INSIDE, datagram(2)).only(OUTSIDE)]), [2]);
}

/// G is known by ARP.
fn acquainted() -> Lab {
    let mut lab = strangers();
    lab.put(INSIDE, datagram(1));
    g_answers(&mut lab);
    lab
}

// RFC 1122 §2.3.2.1 (2): unicast poll
#[test]
fn an_old_neighbour_that_is_used_is_asked_by_unicast_and_goes_on_being_used() {
    let mut lab = acquainted();
    lab.wait_quietly(61 * S);
    lab.put(INSIDE, datagram(2)).only(OUTSIDE);
    let probe = lab.wait(50).only(OUTSIDE);
    assert_eq!((probe.arp().operation, probe.destination_mac, probe.path()), (1, G_MAC, format!("{P} -> {G}")));
    lab.put(INSIDE, datagram(3)).only(OUTSIDE);
    assert!(g_answers(&mut lab).is_silent());
    lab.wait_quietly(50 * S);
}

// RFC 1122 §2.3.2.1
#[test]
fn an_old_neighbour_that_does_not_answer_is_given_up() {
    let mut lab = acquainted();
    lab.wait_quietly(61 * S);
    lab.put(INSIDE, datagram(2)).only(OUTSIDE);
    assert_eq!(lab.wait(3_500).at(OUTSIDE).len(), 3, "three probes");
    let o = lab.put(INSIDE, datagram(3));
    o.dropped_and_told(DropReason::NeighbourUnresolved);
    lab.wait_quietly(3 * S);
    assert_eq!(lab.put(INSIDE, datagram(4)).only(OUTSIDE).destination_mac, BROADCAST_MAC);
}

#[test]
fn a_neighbour_that_nobody_uses_is_not_asked() {
    let mut lab = acquainted();
    lab.wait_quietly(900 * S);
    assert_eq!(lab.put(INSIDE, datagram(2)).only(OUTSIDE).arp().operation, 1, "forgotten");
}

#[test]
fn a_static_neighbour_is_never_asked_and_never_changed() {
    let mut lab = Lab::new().off_the_record();
    lab.put(OUTSIDE, Frame::arp_reply([2; 6], G, OUTSIDE_MAC, P));
    lab.put(OUTSIDE, Frame::gratuitous_arp([2; 6], G));
    assert_eq!(lab.out(datagram(1)).destination_mac, G_MAC);
    lab.wait_quietly(7_000 * S);
    assert_eq!(lab.out(datagram(2)).destination_mac, G_MAC);
}

// RFC 826, RFC 5944 §4.6: a neighbour that moved
#[test]
fn a_gratuitous_arp_moves_a_neighbour_that_is_known_and_creates_none() {
    let mut lab = acquainted();
    let moved = [2, 9, 9, 9, 9, 9];
    lab.put(OUTSIDE, Frame::gratuitous_arp(moved, G));
    assert_eq!(lab.put(INSIDE, datagram(2)).only(OUTSIDE).destination_mac, moved);
    lab.put(OUTSIDE, Frame::gratuitous_arp(moved, N));
    assert_eq!(lab.put(INSIDE, Frame::udp((A, 5000), (N, 53))).only(OUTSIDE).arp().operation, 1);
}

// RFC 826: who asks for us will be answered soon
#[test]
fn who_asks_for_us_is_known_thereby() {
    let mut lab = strangers();
    let answer = lab.put(OUTSIDE, Frame::arp_request(mac_of(N), N, P)).only(OUTSIDE);
    assert_eq!((answer.arp().operation, answer.path()), (2, format!("{P} -> {N}")));
    assert_eq!((answer.arp().sender_mac, answer.arp().target_mac), (OUTSIDE_MAC, mac_of(N)));
    assert_eq!(answer.destination_mac, mac_of(N));
    assert_eq!(lab.put(INSIDE, Frame::udp((A, 5000), (N, 53))).only(OUTSIDE).destination_mac, mac_of(N));
}

// Both next hops are found by ARP, in turn
#[test]
fn an_answer_from_outside_asks_for_the_inside_host() {
    let mut lab = acquainted();
    let n = lab.put(INSIDE, datagram(2)).only(OUTSIDE).source;
    let request = lab.put(OUTSIDE, Frame::udp((X, 53), n).payload(b"back")).only(INSIDE);
    assert_eq!((request.arp().operation, request.path()), (1, format!("{BOX} -> {A}")));
    let seen = lab.put(INSIDE, Frame::arp_reply(mac_of(A), A, INSIDE_MAC, BOX)).only_of(INSIDE);
    assert_eq!((seen.destination_mac, seen.payload), (mac_of(A), b"back".to_vec()));
}

/// Whether the box answers for an address.
fn answers(lab: &mut Lab, port: PortId, asker: &str, target: &str) -> bool {
    let o = lab.put(port, Frame::arp_request(mac_of(asker), asker, target));
    let mac = [INSIDE_MAC, OUTSIDE_MAC, SECOND_MAC][port.index()];
    match o.at(port) {
        [] => false,
        [seen] => {
            assert_eq!((seen.path(), seen.arp().sender_mac), (format!("{target} -> {asker}"), mac));
            true
        }
        more => panic!("{more:?}"),
    }
}

// RFC 1027 for what we translate to
#[test]
fn the_box_answers_for_its_own_and_its_outside_addresses_and_for_no_other() {
    let mut lab = Lab::with(|p| {
        p.pool = vec![addr("203.0.113.10")..=addr("203.0.113.12"), addr("192.0.2.9")..=addr("192.0.2.9")];
        p.statics = one_to_one();
    });
    for (port, asker, target, expected) in [
        (INSIDE, A, BOX, true),
        (OUTSIDE, G, P, true),
        (SECOND, C, "10.0.0.1", true),
        (OUTSIDE, G, "203.0.113.10", true),
        (OUTSIDE, G, "203.0.113.12", true),
        (OUTSIDE, G, B_OUT, true),
        (OUTSIDE, G, "203.0.113.13", false),
        (OUTSIDE, G, "192.0.2.9", false),
        (OUTSIDE, G, N, false),
        (OUTSIDE, G, BOX, false),
        (OUTSIDE, G, A, false),
        (INSIDE, A, P, false),
        (INSIDE, A, "203.0.113.10", false),
        (INSIDE, A, B, false),
        (INSIDE, A, "10.0.0.1", false),
    ] {
        assert_eq!(answers(&mut lab, port, asker, target), expected, "{target} asked for by {asker}");
    }
}

// RFC 5227 §2.5: a probe for our address is answered; it teaches nothing
#[test]
fn a_probe_is_answered_and_teaches_nothing() {
    let mut lab = Lab::new();
    let seen = lab.put(OUTSIDE, Frame::arp_request(mac_of(N), "0.0.0.0", P)).only(OUTSIDE);
    assert_eq!((seen.arp().operation, *seen.source.ip()), (2, addr(P)));
}

// RFC 5227 §2.4
#[test]
fn somebody_with_our_address_is_not_believed() {
    let mut lab = Lab::with(|p| p.pool = vec![addr("203.0.113.10")..=addr("203.0.113.12")]);
    for ours in [P, "203.0.113.10"] {
        for frame in [
            Frame::gratuitous_arp([2; 6], ours),
            Frame::arp_reply([2; 6], ours, OUTSIDE_MAC, P),
            Frame::arp_request([2; 6], ours, G),
        ] {
            lab.put(OUTSIDE, frame).dropped(DropReason::ArpInvalid);
        }
    }
}

#[test]
fn senders_that_are_not_on_the_link_are_not_believed() {
    let mut lab = strangers();
    lab.put(OUTSIDE, Frame::arp_request([2; 6], X, P));
    lab.put(OUTSIDE, Frame::arp_request([2; 6], "203.0.113.255", P));
    assert_eq!(lab.put(INSIDE, datagram(1)).only(OUTSIDE).arp().operation, 1);
}

/// The scene with these tags inside and outside.
fn tagged(inside: Option<u16>, outside: Option<u16>) -> impl Fn(&mut Policy) {
    move |p| {
        p.ports[0].vlan = inside;
        p.ports[1].vlan = outside;
    }
}

fn tag(frame: Frame<'_>, vlan: Option<u16>) -> Frame<'_> {
    match vlan {
        Some(id) => frame.vlan(id),
        None => frame,
    }
}

const TAGS: [(Option<u16>, Option<u16>); 4] = [(None, None), (Some(100), None), (None, Some(7)), (Some(100), Some(7))];

// DESIGN §9: `vlan`
#[test]
fn tags_are_put_on_and_taken_off_in_every_combination() {
    for (i, o) in TAGS {
        let mut lab = Lab::with(tagged(i, o));
        for _ in 0..2 {
            let seen = lab.put(INSIDE, tag(datagram(1), i)).only(OUTSIDE);
            let back = tag(Frame::udp((X, 53), seen.source).payload(b"back"), o);
            assert_eq!(lab.put(OUTSIDE, back).only(INSIDE).payload, b"back");
        }
        // Errors, echo, ARP and fragments of the box's own bear the tag, too: the harness looks.
        lab.put(INSIDE, tag(datagram(1).ttl(1), i)).dropped_and_told(DropReason::TtlExceeded);
        lab.put(INSIDE, tag(Frame::echo_request(A, BOX, 1, 1), i)).only(INSIDE);
        lab.put(OUTSIDE, tag(Frame::arp_request(mac_of(N), N, P), o)).only(OUTSIDE);
    }
}

#[test]
fn fragments_made_here_and_arp_requests_bear_the_tag() {
    for (i, o) in TAGS {
        let mut lab = Lab::single(|p| {
            tagged(i, o)(p);
            p.ports[1].mtu = 600;
            p.neighbours.retain(|n| n.addr != addr(G));
        });
        let big: Vec<u8> = vec![3; 1400];
        lab.put(INSIDE, tag(Frame::udp((A, 5000), (X, 53)).payload(&big[..]), i)).only(OUTSIDE);
        let o = lab.put(OUTSIDE, tag(Frame::arp_reply(G_MAC, G, OUTSIDE_MAC, P), o));
        assert_eq!(Seen::read(&reassemble(o.raw_at(OUTSIDE)).unwrap()).unwrap().payload, big);
        let pieces = fragments(&tag(Frame::udp((A, 5000), (X, 53)).id(5).payload(&big[..]), i).build(), 600);
        let o = lab.put_all(INSIDE, pieces.into_iter().rev());
        assert_eq!(Seen::read(&reassemble(o.raw_at(OUTSIDE)).unwrap()).unwrap().payload, big);
    }
}

#[test]
fn frames_of_another_vlan_are_not_ours() {
    let mut lab = Lab::with(tagged(Some(100), None));
    for frame in [datagram(1), datagram(1).vlan(101), datagram(1).vlan(0)] {
        lab.put(INSIDE, frame).dropped(DropReason::VlanMismatch);
    }
    lab.put(INSIDE, datagram(1).vlan(0xe000 | 100)).only(OUTSIDE);
    lab.put(OUTSIDE, Frame::udp((X, 53), (P, 1)).vlan(7)).dropped(DropReason::VlanMismatch);
}

// 802.1Q §9.6: a priority tag names no VLAN
#[test]
fn a_priority_tag_belongs_to_an_untagged_port() {
    let mut lab = Lab::new();
    let seen = lab.put(INSIDE, datagram(1).vlan(0xa000)).only(OUTSIDE);
    assert_eq!((seen.vlan, seen.payload), (None, vec![1]));
}

// Ethernet padding is not the packet's
#[test]
fn padding_is_cut() {
    let mut lab = Lab::new();
    let o = lab.put(INSIDE, Frame::udp((A, 5000), (X, 53)).payload(b"x").pad_to(60));
    assert_eq!(o.raw_at(OUTSIDE)[0].len(), 14 + 20 + 8 + 1);
    let n = o.at(OUTSIDE)[0].source;
    for frame in [Frame::udp((X, 53), n).payload(b"x").pad_to(60), Frame::udp((X, 53), n).payload(b"x").pad_to(1514)] {
        let o = lab.put(OUTSIDE, frame);
        assert_eq!(o.raw_at(INSIDE)[0].len(), 14 + 20 + 8 + 1);
    }
    for frame in [
        Frame::echo_request(A, BOX, 1, 1).pad_to(60),
        Frame::arp_request(mac_of(A), A, BOX).pad_to(60),
        Frame::udp((A, 5000), (C, 53)).pad_to(60),
        Frame::udp((A, 5000), (X, 53)).ttl(1).pad_to(60),
    ] {
        assert!(!lab.put(INSIDE, frame).is_silent());
    }
}

// RFC 791 §3.1, RFC 7126
#[test]
fn options_are_kept_in_both_directions() {
    let mut lab = Lab::new();
    for options in [&[148, 4, 0, 0][..], &[7, 7, 4, 0, 0, 0, 0], &[1, 1, 1, 0], &[68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
    {
        let n = lab.out(datagram(1).ip_options(options)).source;
        lab.back(Frame::udp((X, 53), n).ip_options(options).payload(b"x"));
    }
}

// RFC 768
#[test]
fn a_zero_udp_checksum_stays_zero() {
    let mut lab = Lab::new();
    for _ in 0..2 {
        let n = lab.out(datagram(1).udp_checksum_zero()).source;
        lab.back(Frame::udp((X, 53), n).udp_checksum_zero().payload(b"x"));
    }
}

// RFC 768: a computed zero is sent as ones, whatever the translation makes of it
#[test]
fn no_translation_makes_a_udp_checksum_zero() {
    let mut lab = Lab::single(|_| {});
    let n = lab.udp((A, 5000), (X, 53));
    let checksum = |raw: &[u8]| u16::from_be_bytes([raw[40], raw[41]]);
    // The checksum of a payload of zeros is the payload that makes the checksum zero.
    let out = |word: u16| Frame::udp((A, 5000), (X, 53)).payload(word.to_be_bytes().to_vec());
    let zero = checksum(&lab.put(INSIDE, out(0)).raw_at(OUTSIDE)[0]);
    assert_eq!(checksum(&lab.put(INSIDE, out(zero)).raw_at(OUTSIDE)[0]), 0xffff);
    let back = |word: u16| Frame::udp((X, 53), n).payload(word.to_be_bytes().to_vec());
    let zero = checksum(&lab.put(OUTSIDE, back(0)).raw_at(INSIDE)[0]);
    assert_eq!(checksum(&lab.put(OUTSIDE, back(zero)).raw_at(INSIDE)[0]), 0xffff);
    for word in (0..=u16::MAX).step_by(97) {
        lab.out(out(word));
        lab.back(back(word));
    }
}

// Row 1: damage on the way is not repaired
#[test]
fn a_wrong_transport_checksum_stays_wrong() {
    let mut lab = Lab::single(|_| {});
    lab.udp((A, 5000), (X, 53));
    let wrong = Frame::udp((A, 5000), (X, 53)).payload(b"data").bad_l4_checksum();
    let why = lab.put_damaged(INSIDE, OUTSIDE, wrong);
    assert!(why.contains("UDP checksum"), "{why}");
}

// DESIGN §6: between inside networks nothing is translated
#[test]
fn inside_networks_talk_untranslated() {
    let mut lab = Lab::new();
    for frame in [
        Frame::udp((A, 5000), (C, 53)).id(7).payload(b"x"),
        Frame::tcp((A, 5000), (C, 80)).flags(SYN).ack(0).mss(1460),
        Frame::tcp((A, 5000), (C, 80)),
        Frame::echo_request(A, C, 7, 1),
        Frame::esp(A, C, 777, 1).payload(&[0; 16][..]),
        Frame::gre(A, C, 7),
        Frame::unreachable(A, 3, Frame::udp((C, 53), (A, 5000)).build()),
        Frame::unreachable(A, 3, Frame::esp(C, A, 777, 1).payload(&[0; 16][..]).build()),
    ] {
        let sent = Seen::read(&frame.build()).unwrap();
        let seen = lab.put(INSIDE, frame).only(SECOND);
        let expected = Seen { source_mac: SECOND_MAC, destination_mac: mac_of(C), ttl: sent.ttl - 1, ..sent };
        assert_eq!(seen, expected);
    }
    assert_eq!((lab.sessions(), lab.events(Event::Routed)), (0, 8));
}

#[test]
fn networks_behind_an_inside_router_are_reached_by_it() {
    let mut lab = Lab::new();
    let far = "192.168.50.9";
    let seen = lab.put(SECOND, Frame::udp((C, 1), (far, 2))).only(INSIDE);
    assert_eq!((seen.destination_mac, seen.path()), (mac_of(R), format!("{C}:1 -> {far}:2")));
    let n = lab.udp((far, 5000), (X, 53));
    let seen = lab.back(Frame::udp((X, 53), n));
    assert_eq!((seen.destination_mac, seen.destination), (mac_of(R), endpoint((far, 5000))));
}

#[test]
fn between_inside_networks_size_and_time_to_live_count_as_anywhere() {
    let mut lab = Lab::with(|p| p.ports[2].mtu = 1000);
    let big = |f: Frame<'static>| f.payload(vec![1; 1200]);
    let o = lab.put(INSIDE, big(Frame::udp((A, 1), (C, 2)).df()));
    o.dropped_and_told(DropReason::TooBig);
    assert_eq!((o.at(INSIDE)[0].path(), o.at(INSIDE)[0].icmp().mtu()), (format!("{BOX} -> {A}"), 1000));
    let o = lab.put(INSIDE, big(Frame::udp((A, 1), (C, 2)).id(7)));
    assert_eq!(Seen::read(&reassemble(o.raw_at(SECOND)).unwrap()).unwrap().payload.len(), 1200);
    let o = lab.put(INSIDE, Frame::udp((A, 1), (C, 2)).ttl(1));
    o.dropped_and_told(DropReason::TtlExceeded);
    assert_eq!(o.at(INSIDE)[0].path(), format!("{BOX} -> {A}"));
}

#[test]
fn hosts_on_the_outside_link_are_reached_directly() {
    let mut lab = Lab::new();
    let seen = lab.out(Frame::udp((A, 5000), (N, 53)));
    assert_eq!(seen.destination_mac, mac_of(N));
    lab.delivers((N, 53), seen.source, (A, 5000));
}

// PASSTHROUGH: other protocols are the operator's to name; never translated by guess
#[test]
fn protocols_that_nobody_named_do_not_pass_the_nat() {
    let mut lab = Lab::new();
    for number in [2, 41, protocol::IPV6, protocol::GRE, 89, 132, 255] {
        lab.put(INSIDE, Frame::ip(number, A, X).payload(&[0; 40][..])).dropped(DropReason::Protocol);
        lab.put(OUTSIDE, Frame::ip(number, X, P).payload(&[0; 40][..])).dropped(DropReason::Protocol);
    }
}

/// The outside and the second inside network are large, and so is what may be asked for.
fn wide(neighbours: usize) -> Lab {
    Lab::single(|p| {
        p.neighbours.clear();
        p.sizes.neighbours = neighbours;
        p.ports[0].addresses = vec![(addr(BOX), Net::of(addr(BOX), 16))];
        p.ports[1].addresses = vec![(addr(P), Net::of(addr(P), 16))];
        p.ports[2].addresses = vec![(addr("10.0.0.1"), Net::of(addr("10.0.0.1"), 16))];
        p.routes.clear();
    })
}

/// A's datagrams to 1100 hosts of 203.0.0.0/16 or 10.0.0.0/16 that nobody is.
fn sweep(first: u8, second: u8) -> impl Iterator<Item = Frame<'static>> {
    let hosts = (0..1100u16).map(move |n| [first, second, 20 + (n / 200) as u8, 1 + (n % 200) as u8]);
    hosts.map(|h| Frame::udp((A, 5000), (std::net::Ipv4Addr::from(h), 53)))
}

fn requests(seen: &[Seen]) -> Vec<std::net::Ipv4Addr> {
    let asked = seen.iter().filter(|s| matches!(s.transport, Transport::Arp(_)));
    asked.map(|s| *s.destination.ip()).collect()
}

// RFC 1122 §2.3.2.1: a host that sends to everybody takes a part of the table, and the others go on
#[test]
fn a_host_that_sweeps_a_network_leaves_the_others_room() {
    for (first, second, port, other) in [(203, 0, OUTSIDE, N), (10, 0, SECOND, C)] {
        let mut lab = wide(1024);
        let o = lab.put_all(INSIDE, sweep(first, second));
        assert_eq!(requests(o.at(port)).len(), 1024 / 16);
        assert_eq!(o.drops.into_iter().collect::<Vec<_>>(), [(DropReason::NeighbourTableFull, 1100 - 64)]);
        let request = lab.put(INSIDE, Frame::udp((B, 5000), (other, 53)).payload(b"x")).only(port);
        assert_eq!(request.arp().operation, 1);
        let ours = *request.source.ip();
        let mac = [INSIDE_MAC, OUTSIDE_MAC, SECOND_MAC][port.index()];
        assert_eq!(lab.put(port, Frame::arp_reply(mac_of(other), other, mac, ours)).only(port).payload, b"x");
    }
}

// A host that nobody asks for floods no link: 256 at once, then 1000 a second
#[test]
fn requests_for_many_neighbours_are_spread_over_time() {
    let mut lab = wide(65_536);
    let mut asked: std::collections::HashSet<_> =
        requests(lab.put_all(INSIDE, sweep(203, 0)).at(OUTSIDE)).into_iter().collect();
    assert_eq!(asked.len(), 256);
    let second = requests(lab.wait(S).at(OUTSIDE));
    assert!((500..=1000).contains(&second.len()), "{}", second.len());
    asked.extend(second);
    asked.extend(requests(lab.wait(7 * S).at(OUTSIDE)));
    assert_eq!(asked.len(), 1100, "each is asked for in the end");
}

// Whoever invents senders fills a quarter of the table
#[test]
fn requests_to_us_from_invented_senders_leave_room() {
    let mut lab = wide(1024);
    let senders = (0..1100u16).map(|n| [192, 168, 20 + (n / 200) as u8, 1 + (n % 200) as u8]);
    let o =
        lab.put_all(INSIDE, senders.map(|s| Frame::arp_request([2, 7, 7, 7, 7, 7], std::net::Ipv4Addr::from(s), BOX)));
    assert_eq!(o.at(INSIDE).len(), 1100, "each is answered");
    assert_eq!(lab.put(INSIDE, datagram(1)).only(OUTSIDE).arp().operation, 1);
    assert_eq!(payloads(g_answers(&mut lab).at(OUTSIDE)), [1]);
    let many = lab.put_all(INSIDE, sweep(203, 0).take(64));
    assert_eq!((requests(many.at(OUTSIDE)).len(), many.drops.len()), (64, 0));
}

// RFC 1122 §2.3.2.1: a neighbour whose Ethernet address changed without a word
#[test]
fn the_last_probe_of_an_old_neighbour_asks_everybody() {
    let mut lab = acquainted();
    lab.wait_quietly(61 * S);
    lab.put(INSIDE, datagram(2)).only(OUTSIDE);
    let probes: Vec<_> = lab.wait(2_500).at(OUTSIDE).iter().map(|s| s.destination_mac).collect();
    assert_eq!(probes, [G_MAC, G_MAC, BROADCAST_MAC]);
    let moved = [2, 9, 9, 9, 9, 9];
    lab.put(OUTSIDE, Frame::arp_reply(moved, G, OUTSIDE_MAC, P));
    assert_eq!(lab.put(INSIDE, datagram(3)).only(OUTSIDE).destination_mac, moved);
    lab.wait_quietly(50 * S);
}

// What other workers cannot use is not copied to them
#[test]
fn only_arp_that_matters_is_shown_to_the_other_workers() {
    let mut lab = Lab::over(8, |p| p.neighbours.clear());
    for _ in 0..100 {
        lab.put_at(0, INSIDE, Frame::arp_request(mac_of(A), A, B));
        lab.put_at(0, INSIDE, Frame::arp_reply(mac_of(A), A, mac_of(B), B));
    }
    assert_eq!(lab.events(Event::HandedOff), 0);
    lab.put_at(0, INSIDE, Frame::arp_request(mac_of(A), A, BOX));
    assert_eq!(lab.events(Event::HandedOff), 7, "it asks for us");
    lab.put_at(0, OUTSIDE, Frame::arp_reply(G_MAC, G, OUTSIDE_MAC, P));
    assert_eq!(lab.events(Event::HandedOff), 14, "it answers us");
    lab.put_at(0, INSIDE, Frame::gratuitous_arp(mac_of(A), A));
    assert_eq!(lab.events(Event::HandedOff), 21, "somebody known moved");
}

// A flood of ARP at one worker is no flood at the others
#[test]
fn copies_for_other_workers_are_bounded_in_a_millisecond() {
    let mut lab = Lab::over(8, |p| p.neighbours.clear());
    for n in 1..=3 {
        for _ in 0..300 {
            lab.queue(0, OUTSIDE, Frame::gratuitous_arp(mac_of(N), N));
        }
        lab.settle();
        let announced = lab.events(Event::HandedOff);
        assert!(announced <= n * 70 - 30, "strangers' announcements leave room: {announced}");
        for _ in 0..300 {
            lab.queue(0, OUTSIDE, Frame::arp_reply(G_MAC, G, OUTSIDE_MAC, P));
        }
        lab.settle();
        let all = lab.events(Event::HandedOff);
        assert!(all > announced && all <= n * 70, "{all}");
        lab.wait(1);
    }
}
