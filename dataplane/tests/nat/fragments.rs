//! Fragments: translated in any order, bounded under attack [RFC 4787 REQ-13, REQ-14].

use crate::lab::*;
use dataplane::policy::FragmentLimits;
use dataplane::verdict::{DropReason, Event};
use std::collections::HashSet;
use testkit::{Frame, IntoEndpoint, SYN, Seen, endpoint, fragments, reassemble};

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 + n / 256) as u8).collect()
}

/// All orders of `n` things.
fn orders(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for shorter in orders(n - 1) {
        for at in 0..n {
            let mut order = shorter.clone();
            order.insert(at, n - 1);
            all.push(order);
        }
    }
    all
}

/// Pieces go in one by one; what comes out is one whole frame again, and nothing was dropped.
#[track_caller]
fn through(lab: &mut Lab, from: dataplane::types::PortId, to: dataplane::types::PortId, pieces: Vec<Vec<u8>>) -> Seen {
    let mut out = Vec::new();
    for piece in pieces {
        let o = lab.put(from, piece);
        assert!(o.drops.is_empty(), "{o}");
        out.extend(o.raw[to.index()].iter().cloned());
    }
    let whole = reassemble(&out).unwrap_or_else(|| panic!("{} pieces do not fit together", out.len()));
    Seen::read(&whole).unwrap()
}

// Row 18: RFC 4787 REQ-14
#[test]
fn fragments_pass_in_any_order_in_both_directions() {
    let mut lab = Lab::new();
    let payload = payload(1900);
    for (id, order) in (1..).zip(orders(4)) {
        let port = 5000 + id;
        let pieces = fragments(&Frame::udp((A, port), (X, 53)).id(id).payload(&payload[..]).build(), 516);
        assert_eq!(pieces.len(), 4);
        let sorted = |pieces: &[Vec<u8>]| order.iter().map(|&i| pieces[i].clone()).collect();
        let out = through(&mut lab, INSIDE, OUTSIDE, sorted(&pieces));
        assert_eq!((out.destination, &out.payload), (endpoint((X, 53)), &payload));
        let pieces = fragments(&Frame::udp((X, 53), out.source).id(id).payload(&payload[..]).build(), 516);
        let back = through(&mut lab, OUTSIDE, INSIDE, sorted(&pieces));
        assert_eq!((back.destination, &back.payload), (endpoint((A, port)), &payload));
    }
}

// Row 18: TCP and queries
#[test]
fn tcp_and_ping_pass_in_fragments_in_both_directions() {
    let mut lab = Lab::new();
    let payload = payload(3000);
    let n = lab.connect((A, 5000), (X, 80));
    let id = lab.out(Frame::echo_request(A, X, 7, 1)).icmp().id();
    let rounds = [
        (Frame::tcp((A, 5000), (X, 80)).seq(1001).ack(5001), Frame::tcp((X, 80), n).seq(5001).ack(1001)),
        (Frame::echo_request(A, X, 7, 2), Frame::echo_reply(X, P, id, 2)),
    ];
    for (out, back) in rounds {
        for reversed in [false, true] {
            let cut = |frame: &Frame| {
                let mut pieces = fragments(&frame.clone().id(u16::from(reversed)).payload(&payload[..]).build(), 1000);
                if reversed {
                    pieces.reverse();
                }
                pieces
            };
            assert_eq!(through(&mut lab, INSIDE, OUTSIDE, cut(&out)).payload, payload);
            assert_eq!(through(&mut lab, OUTSIDE, INSIDE, cut(&back)).payload, payload);
        }
    }
}

// Row 21: RFC 7857 §10
#[test]
fn pieces_of_two_hosts_with_one_identification_do_not_mix() {
    let mut lab = Lab::new();
    let of = |host, fill| fragments(&Frame::udp((host, 5000), (X, 53)).id(7).payload(vec![fill; 2000]).build(), 1500);
    let (a, b) = (of(A, 1), of(B, 2));
    let o = lab.put_all(INSIDE, [&a[0], &b[0], &b[1], &a[1]]);
    let ids: HashSet<_> = o.at(OUTSIDE).iter().map(|s| s.id).collect();
    assert_eq!(ids.len(), 2);
    for id in ids {
        let of_id = |(s, _): &(&Seen, &Vec<u8>)| s.id == id;
        let pieces: Vec<_> =
            o.at(OUTSIDE).iter().zip(o.raw_at(OUTSIDE)).filter(of_id).map(|(_, r)| r.clone()).collect();
        let whole = Seen::read(&reassemble(&pieces).unwrap()).unwrap();
        assert!(whole.payload.iter().all(|b| *b == whole.payload[0]));
    }
}

// Row 18: what waits is told apart by source, destination, identification, protocol, side
#[test]
fn later_pieces_wait_for_their_own_first_piece() {
    let mut lab = Lab::new();
    let cut = |from: (&str, u16), id| fragments(&Frame::udp(from, (X, 53)).id(id).payload(payload(2000)).build(), 1500);
    let (wanted, other_id, other_host) = (cut((A, 5000), 7), cut((A, 5000), 8), cut((B, 5000), 7));
    assert!(lab.put(INSIDE, &wanted[1]).is_silent());
    assert_eq!(lab.put(INSIDE, &other_id[0]).at(OUTSIDE).len(), 1);
    assert_eq!(lab.put(INSIDE, &other_host[0]).at(OUTSIDE).len(), 1);
    assert_eq!(lab.put(INSIDE, &wanted[0]).at(OUTSIDE).len(), 2);
    lab.put(INSIDE, &other_id[1]).only(OUTSIDE);
    lab.put(INSIDE, &other_host[1]).only(OUTSIDE);
}

// Row 18: to a forward
#[test]
fn fragments_pass_to_a_forward_and_open_its_session() {
    let mut lab = Lab::with(|p| p.forwards = vec![crate::forwards::range()]);
    for (id, reversed) in [(1, false), (2, true)] {
        let mut pieces = fragments(&Frame::udp((X, 9), (P, 9001)).id(id).payload(payload(4000)).build(), 1500);
        if reversed {
            pieces.reverse();
        }
        let seen = through(&mut lab, OUTSIDE, INSIDE, pieces);
        assert_eq!((seen.destination, seen.payload), (endpoint((B, 7001)), payload(4000)));
    }
}

// Row 18: a fragmented beginning opens the session
#[test]
fn a_fragmented_datagram_opens_a_session() {
    let mut lab = Lab::new();
    let mut pieces = fragments(&Frame::udp((A, 5000), (X, 53)).payload(payload(2000)).build(), 1500);
    pieces.reverse();
    let n = through(&mut lab, INSIDE, OUTSIDE, pieces).source;
    lab.delivers((X, 53), n, (A, 5000));
}

// Row 18, RFC 5722
#[test]
fn overlapping_pieces_are_dropped() {
    let cut = || fragments(&Frame::udp((A, 5000), (X, 53)).id(7).payload(payload(2000)).build(), 1500);
    let overlap = |offset, len, mf| Frame::ip(17, A, X).id(7).fragment(offset, mf).payload(vec![0xee; len]);
    for bad in [overlap(1472, 16, true), overlap(8, 8, true), overlap(1480, 528, true), overlap(0, 1480, true)] {
        let mut lab = Lab::new();
        let pieces = cut();
        lab.put(INSIDE, &pieces[0]).only(OUTSIDE);
        let o = lab.put(INSIDE, bad.clone());
        if o.drops.is_empty() {
            // It came before what it overlaps, so the real one is refused: nobody sees two versions of a byte.
            lab.put(INSIDE, &pieces[1]).dropped(DropReason::FragmentOverlap);
        } else {
            o.dropped(DropReason::FragmentOverlap);
            lab.put(INSIDE, &pieces[1]).only(OUTSIDE);
        }
    }
}

// Row 18
#[test]
fn a_piece_beyond_the_end_is_dropped() {
    let mut lab = Lab::new();
    let pieces = fragments(&Frame::udp((A, 5000), (X, 53)).id(7).payload(payload(3000)).build(), 1500);
    lab.put(INSIDE, &pieces[0]).only(OUTSIDE);
    lab.put(INSIDE, &pieces[2]).only(OUTSIDE);
    let beyond = Frame::ip(17, A, X).id(7).fragment(4000, true).payload(vec![0; 8]);
    lab.put(INSIDE, beyond).dropped(DropReason::FragmentOverlap);
    lab.put(INSIDE, &pieces[1]).only(OUTSIDE);
}

// Row 18: a last piece that ends before what passed already
#[test]
fn a_last_piece_that_cuts_others_off_is_dropped() {
    let mut lab = Lab::new();
    let pieces = fragments(&Frame::udp((A, 5000), (X, 53)).id(7).payload(payload(6000)).build(), 1500);
    lab.put(INSIDE, &pieces[0]).only(OUTSIDE);
    lab.put(INSIDE, &pieces[2]).only(OUTSIDE);
    let end = Frame::ip(17, A, X).id(7).fragment(1480, false).payload(vec![0; 8]);
    lab.put(INSIDE, end).dropped(DropReason::FragmentOverlap);
    lab.put(INSIDE, &pieces[1]).only(OUTSIDE);
}

// Row 18: bounded in time
#[test]
fn pieces_whose_first_one_never_comes_are_given_up_in_time() {
    let mut lab = Lab::new();
    let pieces = fragments(&Frame::udp((A, 5000), (X, 53)).id(7).payload(payload(3000)).build(), 1500);
    lab.put_all(INSIDE, &pieces[1..]);
    lab.wait_quietly(2 * S - 1);
    let o = lab.wait(1);
    assert!(o.is_silent());
    assert_eq!(o.drops.into_iter().collect::<Vec<_>>(), [(DropReason::FragmentTimeout, 2)]);
    // The first piece is forwarded all the same: a receiver may have the rest by another way.
    lab.put(INSIDE, &pieces[0]).only(OUTSIDE);
}

// Row 18: in time, with a moment to spare
#[test]
fn a_first_piece_just_in_time_releases_the_others() {
    let mut lab = Lab::new();
    let pieces = fragments(&Frame::udp((A, 5000), (X, 53)).id(7).payload(payload(3000)).build(), 1500);
    lab.put_all(INSIDE, &pieces[1..]);
    lab.wait_quietly(2 * S - 1);
    assert_eq!(lab.put(INSIDE, &pieces[0]).at(OUTSIDE).len(), 3);
}

// Row 18: RFC 4787 REQ-14a; row 1 flows are not disturbed
#[test]
fn a_flood_of_fragments_without_first_ones_disturbs_nobody() {
    let mut lab =
        Lab::with(|p| p.fragments = FragmentLimits { datagrams: 64, held: 32, per_datagram: 8 }).off_the_record();
    let n = lab.udp((A, 5000), (X, 53));
    let mut dropped = 0;
    for id in 0..5000u32 {
        let from = std::net::Ipv4Addr::from_bits(0x0800_0000 + id * 7);
        let o = lab.put(OUTSIDE, Frame::ip(17, from, P).id(id as u16).fragment(1480, true).payload(vec![0; 64]));
        assert!(o.is_silent());
        dropped += o.drops.values().sum::<u64>();
        if id % 500 == 0 {
            lab.delivers((X, 53), n, (A, 5000));
            let pieces = fragments(&Frame::udp((A, 5000), (X, 53)).id(id as u16).payload(payload(2000)).build(), 1500);
            assert_eq!(through(&mut lab, INSIDE, OUTSIDE, pieces).payload.len(), 2000);
        }
    }
    assert!(dropped > 4000, "{dropped}");
    lab.wait(2 * S);
    // And then all is as before, for outsiders too.
    let pieces = fragments(&Frame::udp((X, 53), n).id(1).payload(payload(2000)).build(), 1500);
    assert_eq!(through(&mut lab, OUTSIDE, INSIDE, pieces).payload.len(), 2000);
}

// Row 18: one inside host neither
#[test]
fn one_hosts_fragments_leave_room_for_the_others() {
    let mut lab =
        Lab::with(|p| p.fragments = FragmentLimits { datagrams: 64, held: 32, per_datagram: 8 }).off_the_record();
    for id in 0..1000 {
        lab.put(INSIDE, Frame::ip(17, A, X).id(id).fragment(1480, true).payload(vec![0; 64]));
    }
    let mut pieces = fragments(&Frame::udp((B, 5000), (X, 53)).id(7).payload(payload(2000)).build(), 1500);
    pieces.reverse();
    assert_eq!(through(&mut lab, INSIDE, OUTSIDE, pieces).payload.len(), 2000);
    lab.wait(3 * S);
}

/// The first piece of a datagram that the others never follow.
fn first_piece(from: impl IntoEndpoint, to: impl IntoEndpoint, id: u16) -> Vec<u8> {
    fragments(&Frame::udp(from, to).id(id).payload(payload(2000)).build(), 1500).swap_remove(0)
}

/// What X answers reaches A, the last piece first.
#[track_caller]
fn assert_answered(lab: &mut Lab, n: std::net::SocketAddrV4, id: u16) {
    let mut pieces = fragments(&Frame::udp((X, 53), n).id(id).payload(payload(2000)).build(), 1500);
    pieces.reverse();
    assert_eq!(through(lab, OUTSIDE, INSIDE, pieces).payload, payload(2000));
}

// Row 18: a datagram counts until it is whole or its time is over, not until its first piece came
#[test]
fn one_hosts_first_pieces_leave_room_for_the_others() {
    let mut lab =
        Lab::with(|p| p.fragments = FragmentLimits { datagrams: 64, held: 32, per_datagram: 8 }).off_the_record();
    for id in 0..1000 {
        lab.put(INSIDE, first_piece((A, 5000), (X, 53), id));
    }
    let mut pieces = fragments(&Frame::udp((B, 5000), (X, 53)).id(7).payload(payload(2000)).build(), 1500);
    pieces.reverse();
    assert_eq!(through(&mut lab, INSIDE, OUTSIDE, pieces).payload.len(), 2000);
    // And when the time is over, A's own pass again.
    lab.wait(3 * S);
    let pieces = fragments(&Frame::udp((A, 5000), (X, 53)).id(7).payload(payload(2000)).build(), 1500);
    assert_eq!(through(&mut lab, INSIDE, OUTSIDE, pieces).payload.len(), 2000);
}

// Row 18: nor do a stranger's first pieces, to where nobody is, keep out the answers that the inside waits for
#[test]
fn one_strangers_first_pieces_leave_room_for_the_answers() {
    let mut lab =
        Lab::with(|p| p.fragments = FragmentLimits { datagrams: 64, held: 32, per_datagram: 8 }).off_the_record();
    let n = lab.udp((A, 5000), (X, 53));
    for id in 0..1000 {
        lab.put(OUTSIDE, first_piece((Y, 9), (P, 9), id));
    }
    assert_answered(&mut lab, n, 7);
}

// Row 18: a datagram whose first piece was refused gives up its place when another wants it
#[test]
fn refused_first_pieces_of_many_strangers_leave_room_for_the_answers() {
    let mut lab = Lab::single(|p| p.fragments = FragmentLimits { datagrams: 64, held: 32, per_datagram: 8 });
    let n = lab.udp((A, 5000), (X, 53));
    for id in 0..1000u16 {
        let stranger = std::net::Ipv4Addr::from_bits(0x0800_0000 + u32::from(id) * 7);
        lab.put(OUTSIDE, first_piece((stranger, 9), (P, 9), id)).dropped(DropReason::Unsolicited);
    }
    assert_answered(&mut lab, n, 7);
}

// Row 18: what waits is bounded for each source
#[test]
fn one_strangers_held_pieces_leave_room_for_the_answers() {
    let mut lab = Lab::with(|_| {}).off_the_record();
    let n = lab.udp((A, 5000), (X, 53));
    for id in 0..16 {
        for piece in 1..65 {
            let frame = Frame::ip(17, Y, P).id(id).fragment(piece * 8, true).payload(vec![0; 8]);
            assert!(lab.put(OUTSIDE, frame).is_silent());
        }
    }
    assert_answered(&mut lab, n, 7);
    lab.wait(3 * S);
}

// Row 18: and for the outside
#[test]
fn many_strangers_held_pieces_leave_room_for_the_inside() {
    let mut lab = Lab::with(|_| {}).off_the_record();
    for id in 0..1000u16 {
        let stranger = std::net::Ipv4Addr::from_bits(0x0800_0000 + u32::from(id) * 7);
        let frame = Frame::ip(17, stranger, P).id(id).fragment(1480, true).payload(vec![0; 8]);
        assert!(lab.put(OUTSIDE, frame).is_silent());
    }
    let mut pieces = fragments(&Frame::udp((A, 5000), (X, 53)).id(7).payload(payload(4000)).build(), 1500);
    pieces.reverse();
    assert_eq!(through(&mut lab, INSIDE, OUTSIDE, pieces).payload.len(), 4000);
    lab.wait(3 * S);
}

// Row 18: the largest datagram, in whatever order
#[test]
fn every_second_piece_of_a_large_datagram_may_come_first() {
    let mut lab = Lab::new();
    let mut id = 0;
    for len in [30_000, 65_000] {
        let cut = |id| fragments(&Frame::udp((A, 5000), (X, 53)).id(id).payload(payload(len)).build(), 1500);
        let count = cut(0).len();
        let evens_first = (0..count).step_by(2).chain((1..count).step_by(2));
        let odds_first = (1..count).step_by(2).chain((0..count).step_by(2));
        for order in [evens_first.collect::<Vec<_>>(), odds_first.collect(), (0..count).rev().collect()] {
            id += 1;
            let pieces = cut(id);
            let sorted = order.iter().map(|&i| pieces[i].clone()).collect();
            assert_eq!(through(&mut lab, INSIDE, OUTSIDE, sorted).payload, payload(len));
        }
    }
}

// ARCHITECTURE: periodic work has a budget a turn
#[test]
fn pieces_are_given_up_a_bounded_number_at_a_time() {
    let mut lab = Lab::single(|p| p.fragments = FragmentLimits { datagrams: 4096, held: 1024, per_datagram: 64 });
    for n in 0..200u16 {
        let host = std::net::Ipv4Addr::new(192, 168, 50, 2 + (n % 4) as u8);
        lab.put(INSIDE, Frame::ip(17, host, X).id(n).fragment(1480, true).payload(vec![0; 8]));
    }
    lab.wait_quietly(2 * S - 1);
    let mut dropped = 0;
    for _ in 0..10 {
        let now: u64 = lab.wait(1).drops.values().sum();
        assert!(now <= 64, "{now} at once");
        dropped += now;
    }
    assert_eq!(dropped, 200);
}

#[test]
fn later_pieces_of_a_refused_datagram_are_refused() {
    let mut lab = Lab::with(|p| p.limits.sessions = 0);
    let pieces = fragments(&Frame::udp((A, 5000), (X, 53)).payload(payload(2000)).build(), 1500);
    lab.put(INSIDE, &pieces[0]).dropped_and_told(DropReason::SubscriberSessions);
    lab.put(INSIDE, &pieces[1]).dropped(DropReason::FragmentOfDropped);
    let pieces = fragments(&Frame::udp((X, 53), (P, 5000)).payload(payload(2000)).build(), 1500);
    lab.put(OUTSIDE, &pieces[0]).dropped(DropReason::Unsolicited);
    lab.put(OUTSIDE, &pieces[1]).dropped(DropReason::Unsolicited);
}

// Row 17: RFC 4787 REQ-13: DF clear
#[test]
fn packets_without_df_are_cut_to_the_next_link() {
    for (inside, outside) in [(1500, 1400), (1400, 1500), (1500, 576), (576, 1500), (1500, 68), (68, 1500)] {
        let mut lab = Lab::with(|p| {
            p.ports[0].mtu = inside;
            p.ports[1].mtu = outside;
        });
        let n = lab.udp((A, 5000), (X, 53));
        for len in [1, 20, 40, 41, 48, 540, 548, 549, 1300, 1372, 1373, 1472] {
            let out =
                through(&mut lab, INSIDE, OUTSIDE, vec![Frame::udp((A, 5000), (X, 53)).payload(payload(len)).build()]);
            assert_eq!((out.source, out.payload), (n, payload(len)));
            let back =
                through(&mut lab, OUTSIDE, INSIDE, vec![Frame::udp((X, 53), n).id(9).payload(payload(len)).build()]);
            assert_eq!((back.destination, back.id, back.payload), (endpoint((A, 5000)), 9, payload(len)));
        }
    }
}

// Row 17: what came in pieces is cut again
#[test]
fn fragments_are_cut_again_where_the_next_link_is_smaller() {
    let mut lab = Lab::with(|p| p.ports[1].mtu = 600);
    for (id, reversed) in [(1, false), (2, true)] {
        let mut pieces = fragments(&Frame::udp((A, 5000), (X, 53)).id(id).payload(payload(4000)).build(), 1500);
        if reversed {
            pieces.reverse();
        }
        let seen = through(&mut lab, INSIDE, OUTSIDE, pieces);
        assert_eq!(seen.payload, payload(4000));
    }
    assert_eq!(lab.events(Event::Fragmented), 6);
}

// Row 17: RFC 791 §3.1: options are copied into later fragments as their copy bit says
#[test]
fn options_go_into_the_fragments_that_they_belong_to() {
    let mut lab = Lab::with(|p| p.ports[1].mtu = 576);
    // Router alert has the copy bit, record route has not.
    let options = [148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0];
    let o = lab.put(INSIDE, Frame::udp((A, 5000), (X, 53)).ip_options(&options).payload(payload(1000)));
    let seen: Vec<_> = o.at(OUTSIDE).iter().map(|s| s.ip_options.clone()).collect();
    assert_eq!(seen, [options.to_vec(), vec![148, 4, 0, 0]]);
    assert_eq!(Seen::read(&reassemble(o.raw_at(OUTSIDE)).unwrap()).unwrap().payload, payload(1000));
}

// Row 17: RFC 1191
#[test]
fn packets_with_df_that_do_not_fit_are_answered_with_the_mtu() {
    for (inside, outside) in [(1500, 1400), (1400, 1500)] {
        let mut lab = Lab::with(|p| {
            p.ports[0].mtu = inside;
            p.ports[1].mtu = outside;
        });
        let n = lab.udp((A, 5000), (X, 53));
        let (from, frame, path, quoted) = if outside < inside {
            let quoted = format!("{A}:5000 -> {X}:53");
            (INSIDE, Frame::udp((A, 5000), (X, 53)), format!("{BOX} -> {A}"), quoted)
        } else {
            (OUTSIDE, Frame::udp((X, 53), n), format!("{P} -> {X}"), format!("{X}:53 -> {n}"))
        };
        let o = lab.put(from, frame.clone().df().payload(payload(1472)));
        o.dropped_and_told(DropReason::TooBig);
        let seen = &o.at(from)[0];
        assert_eq!((seen.path(), seen.quoted().path()), (path, quoted));
        assert_eq!((seen.icmp().kind, seen.icmp().code, seen.icmp().mtu()), (3, 4, 1400));
        assert!(lab.put(from, frame.df().payload(payload(1372))).drops.is_empty());
    }
}

// Row 17: a packet that is told of opens nothing
#[test]
fn a_first_packet_that_is_too_big_opens_nothing() {
    let mut lab = Lab::with(|p| p.ports[1].mtu = 1400);
    lab.put(INSIDE, Frame::udp((A, 5000), (X, 53)).df().payload(payload(1472))).dropped_and_told(DropReason::TooBig);
    assert_eq!((lab.sessions(), lab.mappings()), (0, 0));
}

// RFC 1122 §3.2.2.6: a long ping to the box, in any order
#[test]
fn the_box_answers_fragmented_echo() {
    for (port, from, to) in [(INSIDE, A, BOX), (INSIDE, A, P), (OUTSIDE, X, P)] {
        for order in orders(3) {
            let mut lab = Lab::new();
            let pieces = fragments(&Frame::echo_request(from, to, 7, 9).id(3).payload(payload(4000)).build(), 1500);
            let seen = through(&mut lab, port, port, order.iter().map(|&i| pieces[i].clone()).collect());
            assert_eq!((seen.path(), seen.icmp().kind, seen.icmp().seq()), (format!("{to} -> {from}"), 0, 9));
            assert_eq!(seen.payload, payload(4000));
        }
    }
}

// Between inside networks pieces are not held back
#[test]
fn fragments_between_inside_networks_pass_in_the_order_that_they_come() {
    let mut lab = Lab::new();
    let pieces = fragments(&Frame::udp((A, 5000), (C, 53)).id(7).payload(payload(4000)).build(), 1500);
    for piece in pieces.iter().rev() {
        let seen = lab.put(INSIDE, piece).only(SECOND);
        assert_eq!((seen.id, seen.ttl, *seen.source.ip()), (7, 63, addr(A)));
    }
}

// A SYN in pieces that leave its header whole
#[test]
fn a_syn_may_be_fragmented_behind_its_header() {
    let mut lab = Lab::new();
    let pieces = fragments(&Frame::tcp((A, 5000), (X, 80)).flags(SYN).ack(0).payload(payload(600)).build(), 576);
    let seen = through(&mut lab, INSIDE, OUTSIDE, pieces);
    assert_eq!(seen.tcp().flags, SYN);
}

// Fragments, too, wait for ARP
#[test]
fn fragments_wait_for_arp() {
    let mut lab = Lab::single(|p| p.neighbours.retain(|n| n.addr != addr(G)));
    let mut pieces = fragments(&Frame::udp((A, 5000), (X, 53)).payload(payload(4000)).build(), 1500);
    pieces.reverse();
    assert_eq!(lab.put_all(INSIDE, pieces).at(OUTSIDE).len(), 1, "an ARP request");
    let o = lab.put(OUTSIDE, Frame::arp_reply(G_MAC, G, OUTSIDE_MAC, P));
    let seen = Seen::read(&reassemble(o.raw_at(OUTSIDE)).unwrap()).unwrap();
    assert_eq!(seen.payload, payload(4000));
}
