//! PPTP's bounds and ends: how many calls, how long, and who may end them or use an identifier anew.

use crate::lab::*;
use crate::pptp::{Control, gre, id_at, lab};
use dataplane::policy::Forward;
use dataplane::types::Proto;
use dataplane::verdict::{DropReason, Event};
use std::collections::HashSet;
use std::net::Ipv4Addr;
use testkit::{ACK, FIN, Flags, Frame, PSH, RST, SYN, endpoint, pptp};

/// The inside client's call is refused: its request and the reply go on, and GRE does not. Returns the identifier that
/// the server saw.
#[track_caller]
fn refused(lab: &mut Lab, c: &mut Control, ours: u16) -> u16 {
    let before = lab.events(Event::PptpCallsRefused);
    let id = id_at(&c.says(lab, &pptp::outgoing_call_request(ours)), 12);
    let reply = c.hears(lab, &pptp::outgoing_call_reply(0x7777, id, 1));
    assert_eq!(reply, pptp::outgoing_call_reply(0x7777, ours, 1), "the client gets its own identifier back");
    lab.put(OUTSIDE, gre(*c.remote.ip(), P, id)).dropped(DropReason::GreNoCall);
    lab.put(INSIDE, gre(*c.inside.ip(), *c.remote.ip(), 0x7777)).dropped(DropReason::GreNoCall);
    assert_eq!(lab.events(Event::PptpCallsRefused), before + 1);
    id
}

// Limits: calls of a connection
#[test]
fn a_connection_has_64_calls_and_gets_another_when_one_ends() {
    let mut lab = Lab::single(|_| {}).off_the_record();
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    let calls: Vec<_> = (0..64u16).map(|n| (n * 1021, c.call(&mut lab, n * 1021, 50 + n), 50 + n)).collect();
    assert_eq!(calls.iter().map(|c| c.1).collect::<HashSet<_>>().len(), 64);
    refused(&mut lab, &mut c, 0xfff0);
    let mut other = Control::open(&mut lab, (B, 1500), (X, 1723));
    let theirs = other.call(&mut lab, 1, 9);
    for &(ours, translated, theirs) in &calls {
        c.carries(&mut lab, ours, translated, theirs);
    }
    other.carries(&mut lab, 1, theirs, 9);
    c.says(&mut lab, &pptp::call_disconnect_notify(calls[0].0, 1));
    let translated = c.call(&mut lab, 0xfff0, 999);
    c.carries(&mut lab, 0xfff0, translated, 999);
}

// Limits: tunnels of an inside host
#[test]
fn a_host_at_its_limit_of_tunnels_disturbs_nobody() {
    let mut lab = Lab::with(|p| p.passthrough.tunnels_per_subscriber = 3).off_the_record();
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    let calls: Vec<_> = (0..3).map(|n| (n, c.call(&mut lab, n, 50 + n), 50 + n)).collect();
    refused(&mut lab, &mut c, 9);
    let mut other = Control::open(&mut lab, (B, 1500), (X, 1723));
    let translated = other.call(&mut lab, 9, 9);
    other.carries(&mut lab, 9, translated, 9);
    for (ours, translated, theirs) in calls {
        c.carries(&mut lab, ours, translated, theirs);
    }
}

// Limits: unanswered calls of a server; they end in 60 s
#[test]
fn unanswered_calls_are_bounded_and_end_in_a_minute() {
    let mut lab = Lab::with(|p| p.passthrough.pending_per_server = 4).off_the_record();
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    let answered = c.call(&mut lab, 100, 100);
    let pending: Vec<_> = (0..4).map(|n| id_at(&c.says(&mut lab, &pptp::outgoing_call_request(n)), 12)).collect();
    refused(&mut lab, &mut c, 9);
    let mut elsewhere = Control::open(&mut lab, (A, 1501), (Y, 1723));
    let translated = elsewhere.call(&mut lab, 9, 9);
    lab.wait_quietly(55 * S);
    assert_eq!(lab.vpn().len(), 6);
    // What comes does not keep them: an answer is due.
    for id in &pending {
        lab.put(OUTSIDE, gre(X, P, *id)).only(INSIDE);
    }
    lab.wait_quietly(5 * S + LATE);
    assert_eq!(lab.vpn().len(), 2);
    for id in &pending {
        lab.put(OUTSIDE, gre(X, P, *id)).dropped(DropReason::GreNoCall);
    }
    let again = c.call(&mut lab, 9, 9);
    c.carries(&mut lab, 9, again, 9);
    c.carries(&mut lab, 100, answered, 100);
    elsewhere.carries(&mut lab, 9, translated, 9);
}

// Limits: the table of tunnels, and that of control connections
#[test]
fn full_tables_refuse_what_is_new_and_nothing_else() {
    let mut lab = Lab::single(|p| p.passthrough.tunnels = 8).off_the_record();
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    let mut other = Control::open(&mut lab, (B, 1500), (X, 1723));
    let calls: Vec<_> = (0..8).map(|n| (n, c.call(&mut lab, n, 50 + n), 50 + n)).collect();
    refused(&mut lab, &mut other, 1);
    let third = Frame::tcp((A, 1501), (Y, 1723)).flags(SYN).seq(1000).ack(0);
    lab.put(INSIDE, &third).dropped(DropReason::TunnelTableFull);
    for &(ours, translated, theirs) in &calls {
        c.carries(&mut lab, ours, translated, theirs);
    }
    c.says(&mut lab, &pptp::call_disconnect_notify(0, 1));
    let translated = other.call(&mut lab, 1, 9);
    other.carries(&mut lab, 1, translated, 9);
    // The first connection ends, and makes room.
    lab.put(INSIDE, c.frame_out(b"").flags(RST | ACK)).only(OUTSIDE);
    lab.wait(300 * S);
    lab.put(INSIDE, &third).only(OUTSIDE);
}

// A connection may live for years: identifiers do not run out
#[test]
fn thousands_of_calls_one_after_the_other_never_run_out_of_identifiers() {
    // With 64, two of the workers own a single block of dynamic ports, which is two pages of identifiers instead of four:
    // too few for three first bytes at once.
    for workers in [1, 2, 3, 8, 63] {
        let mut lab = Lab::over(workers, |_| {}).off_the_record();
        let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
        let mut kept: Vec<(u16, u16, u16)> = Vec::new();
        for n in 0..3000u16 {
            if n % 100 == 0 {
                lab.wait(1000);
            }
            let ours = lab.roll(1 << 16) as u16;
            if kept.iter().any(|k| k.0 == ours) {
                continue;
            }
            let translated = c.call(&mut lab, ours, n);
            if n < 2 {
                kept.push((ours, translated, n));
                continue;
            }
            c.says(&mut lab, &pptp::call_disconnect_notify(ours, 1));
        }
        for (ours, translated, theirs) in kept {
            c.carries(&mut lab, ours, translated, theirs);
        }
        assert_eq!(lab.drops_so_far(), [].into(), "{workers} workers");
    }
}

// RFC 2637 §3.2.2: the server's word on its own identifiers
#[test]
fn a_server_that_gives_its_identifier_to_a_new_call_ends_the_old_one() {
    let mut lab = lab();
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    let (first, kept) = (c.call(&mut lab, 1, 70), c.call(&mut lab, 3, 71));
    let second = c.call(&mut lab, 2, 70);
    lab.put(OUTSIDE, gre(X, P, first)).dropped(DropReason::GreNoCall);
    c.carries(&mut lab, 2, second, 70);
    // The same on another connection of the same two.
    let mut d = Control::open(&mut lab, (A, 1501), (X, 1723));
    let third = d.call(&mut lab, 1, 70);
    lab.put(OUTSIDE, gre(X, P, second)).dropped(DropReason::GreNoCall);
    d.carries(&mut lab, 1, third, 70);
    // Another client's call is none of its business.
    let mut e = Control::open(&mut lab, (B, 1501), (X, 1723));
    let fourth = e.call(&mut lab, 1, 70);
    e.carries(&mut lab, 1, fourth, 70);
    d.carries(&mut lab, 1, third, 70);
    c.carries(&mut lab, 3, kept, 71);
}

// RFC 2637 §2.7: a client's identifier anew: after its end, while it ends, and without one
#[test]
fn a_client_may_use_its_identifier_again() {
    let mut lab = lab();
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    let first = c.call(&mut lab, 1, 70);
    c.carries(&mut lab, 1, first, 70);
    c.says(&mut lab, &pptp::call_clear_request(1));
    let second = c.call(&mut lab, 1, 71);
    c.carries(&mut lab, 1, second, 71);
    assert_eq!(lab.vpn().len(), 1);
    let third = c.call(&mut lab, 1, 72);
    c.carries(&mut lab, 1, third, 72);
    lab.put(INSIDE, gre(A, X, 71)).dropped(DropReason::GreNoCall);
    assert_eq!(lab.vpn().len(), 1);
    c.hears(&mut lab, &pptp::call_disconnect_notify(72, 1));
    let fourth = c.call(&mut lab, 1, 72);
    c.carries(&mut lab, 1, fourth, 72);
}

/// Ends a connection in some way and opens it again between the same ports, with other sequence numbers.
#[track_caller]
fn reopened(how: impl FnOnce(&mut Lab, &Control)) {
    let mut lab = lab();
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    let old = c.call(&mut lab, 1, 70);
    how(&mut lab, &c);
    let syn = lab.out(Frame::tcp(c.inside, c.remote).flags(SYN).seq(900_000).ack(0));
    assert_eq!(syn.source, c.outside);
    lab.put(OUTSIDE, gre(X, P, old)).dropped(DropReason::GreNoCall);
    lab.back(Frame::tcp(c.remote, c.outside).flags(SYN | ACK).seq(700_000).ack(900_001));
    lab.out(Frame::tcp(c.inside, c.remote).seq(900_001).ack(700_001));
    c.next = [900_001, 700_001];
    let new = c.call(&mut lab, 1, 70);
    c.carries(&mut lab, 1, new, 70);
    assert_eq!(lab.vpn().len(), 1);
}

// RFC 5382 REQ-2: the client starts anew from the same port
#[test]
fn a_connection_opened_again_between_the_same_ports_begins_from_nothing() {
    reopened(|l, c| drop(l.put(INSIDE, c.frame_out(b"").flags(RST | ACK)).only(OUTSIDE)));
    reopened(|l, c| drop(l.put(INSIDE, c.frame_out(b"").flags(FIN | ACK)).only(OUTSIDE)));
    reopened(|l, c| drop(l.put(OUTSIDE, c.frame_in(b"").flags(FIN | ACK)).only(INSIDE)));
    reopened(|l, c| {
        l.put(INSIDE, c.frame_out(b"").flags(FIN | ACK)).only(OUTSIDE);
        l.put(OUTSIDE, c.frame_in(b"").flags(FIN | ACK)).only(INSIDE);
    });
}

// RFC 9293 §3.8.1: a SYN resent is the same connection's, even behind its answer
#[test]
fn a_syn_that_comes_twice_does_not_forget_the_answer() {
    let mut lab = lab();
    let (a, x) = (endpoint((A, 1500)), endpoint((X, 1723)));
    let syn = Frame::tcp(a, x).flags(SYN).seq(1000).ack(0);
    let outside = lab.out(&syn).source;
    lab.out(&syn);
    lab.back(Frame::tcp(x, outside).flags(SYN | ACK).seq(5000).ack(1001));
    lab.out(&syn);
    lab.out(Frame::tcp(a, x).seq(1001).ack(5001));
    let mut c = Control { inside: a, remote: x, outside, next: [1001, 5001] };
    let translated = c.call(&mut lab, 1, 70);
    c.carries(&mut lab, 1, translated, 70);
}

// An off-path stranger who guesses ports but no sequence number
#[test]
fn a_forged_answer_to_the_syn_does_not_spoil_the_connection() {
    let mut lab = lab();
    let (a, x) = (endpoint((A, 1500)), endpoint((X, 1723)));
    let outside = lab.out(Frame::tcp(a, x).flags(SYN).seq(1000).ack(0)).source;
    lab.put(OUTSIDE, Frame::tcp(x, outside).flags(SYN | ACK).seq(77).ack(0x4000_0000));
    lab.back(Frame::tcp(x, outside).flags(SYN | ACK).seq(5000).ack(1001));
    lab.out(Frame::tcp(a, x).seq(1001).ack(5001));
    let mut c = Control { inside: a, remote: x, outside, next: [1001, 5001] };
    let translated = c.call(&mut lab, 1, 70);
    c.carries(&mut lab, 1, translated, 70);
}

// RFC 7857 §2.2, RFC 5961: what lies outside the window ends nothing; a SYN within it is for the end host to challenge,
// and what it carries is not read
#[test]
fn forged_segments_outside_the_window_end_no_call() {
    let stop = pptp::stop_request();
    for port in [OUTSIDE, INSIDE] {
        let mut lab = lab();
        let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
        let translated = c.call(&mut lab, 1, 70);
        let [ours, theirs] = c.next;
        let (from, to, seq, ack) =
            if port == OUTSIDE { (c.remote, c.outside, theirs, ours) } else { (c.inside, c.remote, ours, theirs) };
        let forged = |lab: &mut Lab, flags: Flags, distance: u32, payload: &[u8]| {
            let (seq, ack) = (seq.wrapping_add(distance), ack.wrapping_add(distance));
            lab.put(port, Frame::tcp(from, to).seq(seq).ack(ack).flags(flags).payload(payload.to_vec()));
            c.carries(lab, 1, translated, 70);
        };
        for payload in [&b""[..], &stop] {
            for distance in [0x7000_0000, 0x9000_0000] {
                for flags in [RST, RST | ACK, FIN | ACK, SYN, SYN | ACK, PSH | ACK] {
                    forged(&mut lab, flags, distance, payload);
                }
            }
            for flags in [SYN, SYN | ACK] {
                forged(&mut lab, flags, 0, payload);
            }
        }
        // And strangers cannot speak for the server at all.
        lab.put(OUTSIDE, Frame::tcp((Y, 1723), c.outside).flags(RST | ACK).seq(theirs));
        c.hears(&mut lab, &pptp::echo_request(1));
        let more = c.call(&mut lab, 2, 71);
        c.carries(&mut lab, 2, more, 71);
        c.carries(&mut lab, 1, translated, 70);
    }
}

// RFC 5382 REQ-1: what began before the box did
#[test]
fn a_control_connection_picked_up_in_the_middle_passes_and_makes_no_call() {
    let mut lab = lab();
    let c = Control {
        inside: endpoint((A, 1500)),
        remote: endpoint((X, 1723)),
        outside: endpoint((P, 1500)),
        next: [1001, 5001],
    };
    let o = lab.put(INSIDE, c.frame_out(&pptp::outgoing_call_request(4)));
    if let [seen] = o.at(OUTSIDE) {
        assert_eq!(seen.payload, pptp::outgoing_call_request(4));
    }
    assert!(lab.vpn().is_empty());
    lab.put(OUTSIDE, gre(X, P, 4)).dropped(DropReason::GreNoCall);
    lab.put(INSIDE, gre(A, X, 4)).dropped(DropReason::GreNoCall);
}

// Row 68: a call is idle when its GRE and its control connection both are
#[test]
fn a_call_lives_while_its_gre_or_its_control_connection_does() {
    let open = || {
        let mut lab = Lab::with(|p| p.timeouts.gre = 600 * S).off_the_record();
        let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
        let translated = c.call(&mut lab, 1, 70);
        c.carries(&mut lab, 1, translated, 70);
        (lab, c, translated)
    };
    let (mut lab, mut c, translated) = open();
    for n in 0..10 {
        lab.wait_quietly(500 * S);
        c.says(&mut lab, &pptp::echo_request(n));
    }
    c.carries(&mut lab, 1, translated, 70);
    let (mut lab, c, translated) = open();
    for _ in 0..10 {
        lab.wait_quietly(500 * S);
        lab.put(INSIDE, gre(A, X, 70)).only(OUTSIDE);
    }
    c.carries(&mut lab, 1, translated, 70);
    lab.wait_quietly(600 * S + LATE + 5 * S);
    assert!(lab.vpn().is_empty());
}

// Many clients of one server, more than a page of identifiers has
#[test]
fn hundreds_of_clients_of_one_server_have_calls_of_their_own() {
    let mut lab = Lab::with(|p| p.passthrough.pending_per_server = 4).off_the_record();
    let mut seen = HashSet::new();
    for n in 0..600u16 {
        let host = Ipv4Addr::new(192, 168, 50, 2 + (n % 250) as u8);
        let mut c = Control::open(&mut lab, (host, 1500 + n), (X, 1723));
        assert!(seen.insert(c.call(&mut lab, 0, n)));
    }
    assert_eq!((lab.vpn().len(), lab.events(Event::TunnelsOpened)), (600, 600));
}

// A host that is itself a NAT for many, whose clients all count from 0
#[test]
fn one_host_may_use_an_identifier_in_as_many_connections_as_it_has_calls() {
    let mut lab = lab();
    let calls: Vec<_> = (0..100u16)
        .map(|n| {
            let mut c = Control::open(&mut lab, (A, 1500 + n), (X, 1723));
            let translated = c.call(&mut lab, 0, 50 + n);
            (c, translated, 50 + n)
        })
        .collect();
    for (c, translated, theirs) in calls {
        c.carries(&mut lab, 0, translated, theirs);
    }
}

// Limits: one host's control connections
#[test]
fn one_host_does_not_take_all_room_for_control_connections() {
    let mut lab = Lab::single(|p| p.passthrough.tunnels = 128).off_the_record();
    for n in 0..16 {
        Control::open(&mut lab, (A, 1500 + n), (X, 1723));
    }
    lab.put(INSIDE, Frame::tcp((A, 1600), (X, 1723)).flags(SYN).ack(0)).dropped(DropReason::TunnelLimit);
    let mut c = Control::open(&mut lab, (B, 1500), (X, 1723));
    let translated = c.call(&mut lab, 1, 70);
    c.carries(&mut lab, 1, translated, 70);
}

// Many share an address: none may send into another's call by claiming that the server called it
#[test]
fn a_reply_that_nobody_asked_for_opens_nothing() {
    let mut lab = lab();
    let mut victim = Control::open(&mut lab, (B, 1500), (X, 1723));
    let translated = victim.call(&mut lab, 1, 70);
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    let own = c.call(&mut lab, 1, 71);
    for reply in [pptp::outgoing_call_reply, pptp::incoming_call_reply] {
        for ours in [1, 2] {
            c.says(&mut lab, &reply(ours, 70, 1));
            lab.put(INSIDE, gre(A, X, 70)).dropped(DropReason::GreNoCall);
        }
    }
    assert_eq!((lab.vpn().len(), lab.events(Event::PptpUnknownCalls)), (2, 4));
    c.carries(&mut lab, 1, own, 71);
    victim.carries(&mut lab, 1, translated, 70);
    // What the server asked for may be answered, once.
    c.hears(&mut lab, &pptp::incoming_call_request(72));
    c.says(&mut lab, &pptp::incoming_call_reply(3, 72, 1));
    lab.put(INSIDE, gre(A, X, 72)).only(OUTSIDE);
}

// RFC 2637 §3.1.4: the connection of a refused call goes on, or the server ends all its calls in a minute
#[test]
fn refused_calls_do_not_stop_their_connection() {
    let mut lab = Lab::with(|p| p.passthrough.tunnels_per_subscriber = 2).off_the_record();
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    let calls: Vec<_> = (0..2).map(|n| (n, c.call(&mut lab, n, 50 + n), 50 + n)).collect();
    for n in 0..100 {
        let id = refused(&mut lab, &mut c, 7 + n * 257);
        // Its end is known at the other side by the same identifier.
        assert_eq!(id_at(&c.says(&mut lab, &pptp::call_clear_request(7 + n * 257)), 12), id);
        c.hears(&mut lab, &pptp::echo_request(n.into()));
        c.says(&mut lab, &pptp::echo_reply(n.into(), 1));
    }
    // However the request is cut, and with more behind it.
    let rest = [pptp::outgoing_call_request(2), pptp::echo_reply(9, 1)].concat();
    for cut in [9, 12, 13, 14, 168] {
        c.says(&mut lab, &rest[..cut]);
        c.says(&mut lab, &rest[cut..]);
    }
    for &(ours, translated, theirs) in &calls {
        c.carries(&mut lab, ours, translated, theirs);
    }
    c.says(&mut lab, &pptp::call_disconnect_notify(0, 1));
    let translated = c.call(&mut lab, 2, 99);
    c.carries(&mut lab, 2, translated, 99);
}

// Limits: what one host leaves unanswered at a server
#[test]
fn unanswered_calls_of_one_client_do_not_keep_the_others_from_a_server() {
    let mut lab = Lab::single(|_| {}).off_the_record();
    for n in 0..4 {
        let mut c = Control::open(&mut lab, (A, 1500 + n), (X, 1723));
        for id in 0..64 {
            c.says(&mut lab, &pptp::outgoing_call_request(id));
        }
    }
    let mut c = Control::open(&mut lab, (B, 1500), (X, 1723));
    for n in 0..8 {
        let translated = c.call(&mut lab, n, 70 + n);
        c.carries(&mut lab, n, translated, 70 + n);
    }
}

// Limits: one who forges many senders leaves the last quarter of the table
#[test]
fn hosts_with_many_tunnels_leave_room_for_those_with_few() {
    let mut lab = Lab::single(|p| p.passthrough.tunnels = 1024).off_the_record();
    for h in 0..4u8 {
        for n in 0..256u32 {
            let host = Ipv4Addr::new(192, 168, 50, 50 + h);
            // A server each, so that nobody waits for another's turn.
            lab.put(INSIDE, Frame::esp(host, Ipv4Addr::from(0xc612_0000 + (u32::from(h) << 8) + n), 0x1000 + n, 1));
        }
    }
    // Three quarters, and the last one's few.
    assert_eq!(lab.vpn().len(), 768 + 8);
    lab.put(INSIDE, Frame::esp(A, X, 0x1000, 1)).only(OUTSIDE);
}

// Limits: strangers leave a host a part of its own share
#[test]
fn strangers_connections_to_a_server_inside_leave_it_its_own() {
    let forward =
        Forward { proto: Proto::TCP, outside: addr(P), ports: 1723..=1723, inside: addr(B), inside_port: 1723 };
    let mut lab = Lab::single(|p| {
        p.forwards = vec![forward];
        p.passthrough.tunnels = 128;
    })
    .off_the_record();
    for n in 0..16 {
        lab.put(OUTSIDE, Frame::tcp((X, 2000 + n), (P, 1723)).flags(SYN).seq(1).ack(0));
    }
    let mut c = Control::open(&mut lab, (B, 1600), (Y, 1723));
    let translated = c.call(&mut lab, 1, 70);
    c.carries(&mut lab, 1, translated, 70);
}

// RFC 5961 §3: an end host answers what is in the window but not exact by a challenge, and goes on
#[test]
fn a_forged_end_somewhere_in_the_window_ends_no_call() {
    for (port, flags) in [(OUTSIDE, RST), (OUTSIDE, FIN | ACK), (INSIDE, RST), (INSIDE, FIN | ACK)] {
        let mut lab = lab();
        let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
        let translated = c.call(&mut lab, 1, 70);
        c.carries(&mut lab, 1, translated, 70);
        let [ours, theirs] = c.next;
        let (from, to, seq, ack) =
            if port == OUTSIDE { (c.remote, c.outside, theirs, ours) } else { (c.inside, c.remote, ours, theirs) };
        lab.put(port, Frame::tcp(from, to).seq(seq + 30_000).ack(ack).flags(flags));
        for n in 0..10 {
            lab.wait_quietly(60 * S);
            c.says(&mut lab, &pptp::echo_request(n));
            c.hears(&mut lab, &pptp::echo_reply(n, 1));
            c.carries(&mut lab, 1, translated, 70);
        }
        let more = c.call(&mut lab, 2, 71);
        c.carries(&mut lab, 2, more, 71);
        // One that its end believes is followed by silence.
        lab.put(port, Frame::tcp(from, to).seq(c.next[usize::from(port == OUTSIDE)] + 30_000).flags(RST));
        lab.wait_quietly(240 * S + LATE);
        assert!(lab.vpn().is_empty());
    }
}
