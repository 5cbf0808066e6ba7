//! L2TP version 3 over IP, by session and control connection identifiers.

use crate::l2tp::*;
use crate::lab::*;
use dataplane::passthrough::tunnel::{Kind, State};
use dataplane::policy::Forward;
use dataplane::types::Proto;
use dataplane::verdict::DropReason;
use testkit::{Frame, IntoEndpoint, Seen, fragments, protocol, reassemble};

/// A control message over IP.
pub(crate) fn control(
    from: impl IntoEndpoint,
    to: impl IntoEndpoint,
    connection: u32,
    kind: u16,
    ids: &[(u16, u32)],
) -> Frame<'static> {
    let avps: Vec<_> = ids.iter().map(|(kind, id)| avp(0x80, *kind, &id.to_be_bytes())).collect();
    let message = message(3, connection.to_be_bytes(), kind, &avps);
    Frame::ip(protocol::L2TP, from, to).payload([&[0; 4], &message[..]].concat())
}

pub(crate) fn data(from: impl IntoEndpoint, to: impl IntoEndpoint, session: u32) -> Frame<'static> {
    Frame::ip(protocol::L2TP, from, to).payload([&session.to_be_bytes(), &b"cookie, frame"[..]].concat())
}

#[track_caller]
pub(crate) fn reaches(seen: &Seen, host: &str) {
    assert_eq!(seen.destination.ip().to_string(), host, "{seen}");
}

/// An inside host sets up a control connection with X: its identifier, and X's.
#[track_caller]
pub(crate) fn connect(lab: &mut Lab, host: &str, ours: u32, theirs: u32) {
    lab.out(control(host, X, 0, SCCRQ, &[(CCID, ours)]));
    reaches(&lab.back(control(X, P, ours, SCCRP, &[(CCID, theirs)])), host);
    lab.out(control(host, X, theirs, SCCCN, &[]));
}

/// And a session within it.
#[track_caller]
pub(crate) fn session(lab: &mut Lab, host: &str, [ours, theirs]: [u32; 2], [our_session, their_session]: [u32; 2]) {
    lab.out(control(host, X, theirs, ICRQ, &[(SESSION, our_session)]));
    reaches(&lab.back(control(X, P, ours, ICRP, &[(SESSION, their_session), (64, our_session)])), host);
    lab.out(control(host, X, theirs, ICCN, &[(SESSION, our_session), (64, their_session)]));
}

/// Data passes both ways.
#[track_caller]
pub(crate) fn carries(lab: &mut Lab, host: &str, [ours, theirs]: [u32; 2]) {
    lab.out(data(host, X, theirs));
    reaches(&lab.back(data(X, P, ours)), host);
}

// Row 87: RFC 3931 §4.1.1
#[test]
fn two_clients_of_one_lcce_are_told_apart_by_what_their_control_messages_assign() {
    let mut lab = Lab::new();
    for (n, host) in [(1, A), (2, B)] {
        connect(&mut lab, host, n, 0x100 + n);
        session(&mut lab, host, [n, 0x100 + n], [0x10 + n, 0x20 + n]);
    }
    for _ in 0..2 {
        for (n, host) in [(1, A), (2, B)] {
            carries(&mut lab, host, [0x10 + n, 0x20 + n]);
            reaches(&lab.back(control(X, P, n, 6, &[])), host);
        }
    }
    lab.put(OUTSIDE, data(X, P, 0x13)).dropped(DropReason::L2tpNoSession);
    lab.put(OUTSIDE, data(Y, P, 0x11)).dropped(DropReason::L2tpNoSession);
    lab.put(OUTSIDE, control(X, P, 3, 6, &[])).dropped(DropReason::L2tpNoSession);
    lab.put(OUTSIDE, control(X, P, 0, SCCRQ, &[(CCID, 9)])).dropped(DropReason::L2tpNoSession);
    let rows = lab.vpn();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|r| (r.kind, r.state) == (Kind::L2tp, State::Confirmed)), "{rows:?}");
}

// Row 87: a server's data may come before the client's first
#[test]
fn the_server_may_send_first_in_a_session_that_was_assigned() {
    let mut lab = Lab::new();
    for (n, host) in [(1, A), (2, B)] {
        connect(&mut lab, host, n, 0x100 + n);
        session(&mut lab, host, [n, 0x100 + n], [0x10 + n, 0x20 + n]);
        reaches(&lab.back(data(X, P, 0x10 + n)), host);
    }
    for (n, host) in [(1, A), (2, B)] {
        carries(&mut lab, host, [0x10 + n, 0x20 + n]);
    }
}

// Row 87: the server would not understand what NAT cannot translate
#[test]
fn an_identifier_that_another_host_has_with_the_server_is_refused() {
    let mut lab = Lab::new();
    connect(&mut lab, A, 1, 0x101);
    session(&mut lab, A, [1, 0x101], [0x11, 0x21]);
    lab.put(INSIDE, control(B, X, 0, SCCRQ, &[(CCID, 1)])).dropped(DropReason::L2tpIdTaken);
    connect(&mut lab, B, 2, 0x102);
    lab.put(INSIDE, control(B, X, 0x102, ICRQ, &[(SESSION, 0x11)])).dropped(DropReason::L2tpIdTaken);
    session(&mut lab, B, [2, 0x102], [0x12, 0x22]);
    carries(&mut lab, A, [0x11, 0x21]);
    carries(&mut lab, B, [0x12, 0x22]);
    // With another server it is free.
    lab.out(control(B, Y, 0, SCCRQ, &[(CCID, 1)]));
}

// Row 87: static sessions, as ESP
#[test]
fn tunnels_without_control_are_paired_by_who_waits() {
    let mut lab = Lab::new();
    lab.put(OUTSIDE, data(X, P, 0x11)).dropped(DropReason::L2tpNoSession);
    for (host, ours, theirs) in [(A, 0x11, 0x21), (B, 0x12, 0x22)] {
        carries(&mut lab, host, [ours, theirs]);
        carries(&mut lab, host, [ours, theirs]);
    }
    carries(&mut lab, A, [0x11, 0x21]);
    lab.put(OUTSIDE, data(X, P, 0x33)).dropped(DropReason::L2tpNoSession);
}

// Row 87: RFC 3931 §4.3: what is hidden says nothing, so it is paired by who waits
#[test]
fn hidden_identifiers_are_paired_by_who_waits() {
    let mut lab = Lab::new();
    connect(&mut lab, A, 1, 0x101);
    session(&mut lab, A, [1, 0x101], [0x11, 0x21]);
    let hidden = |connection: u32, kind, id| {
        let m = message(3, connection.to_be_bytes(), kind, &[avp(0xc0, id, b"encrypted")]);
        Frame::ip(protocol::L2TP, B, X).payload([&[0; 4], &m[..]].concat())
    };
    lab.out(hidden(0, SCCRQ, CCID));
    reaches(&lab.back(control(X, P, 2, SCCRP, &[])), B);
    lab.out(hidden(0x102, SCCCN, 99));
    lab.out(hidden(0x102, ICRQ, SESSION));
    reaches(&lab.back(control(X, P, 2, ICRP, &[])), B);
    carries(&mut lab, B, [0x12, 0x22]);
    carries(&mut lab, A, [0x11, 0x21]);
    lab.put(OUTSIDE, control(X, P, 3, 6, &[])).dropped(DropReason::L2tpNoSession);
}

// Row 87: RFC 3931 §5.5
#[test]
fn stopccn_ends_all_within_a_minute_whoever_sends_it_and_whatever_comes_after() {
    for from_inside in [true, false] {
        let mut lab = Lab::new();
        connect(&mut lab, A, 1, 0x101);
        session(&mut lab, A, [1, 0x101], [0x11, 0x21]);
        carries(&mut lab, A, [0x11, 0x21]);
        if from_inside {
            lab.out(control(A, X, 0x101, STOPCCN, &[(CCID, 1)]));
        } else {
            lab.back(control(X, P, 1, STOPCCN, &[(CCID, 0x101)]));
        }
        assert_eq!(lab.vpn().iter().map(|r| r.state).collect::<Vec<_>>(), [State::Closing]);
        // Acknowledgements still pass.
        lab.wait(30 * S);
        lab.back(control(X, P, 1, 0, &[]));
        carries(&mut lab, A, [0x11, 0x21]);
        lab.wait(30 * S + LATE);
        lab.put(OUTSIDE, data(X, P, 0x11)).dropped(DropReason::L2tpNoSession);
        lab.put(OUTSIDE, control(X, P, 1, 6, &[])).dropped(DropReason::L2tpNoSession);
        assert!(lab.vpn().is_empty(), "{:?}", lab.vpn());
    }
}

// Row 87: and it may begin again at once
#[test]
fn a_new_control_connection_right_after_stopccn_lives() {
    let mut lab = Lab::new();
    connect(&mut lab, A, 1, 0x101);
    lab.out(control(A, X, 0x101, STOPCCN, &[(CCID, 1)]));
    connect(&mut lab, A, 5, 0x105);
    session(&mut lab, A, [5, 0x105], [0x15, 0x25]);
    for _ in 0..3 {
        lab.wait_quietly(60 * S);
        carries(&mut lab, A, [0x15, 0x25]);
    }
}

// Row 87: `timeouts.l2tpv3`; what is not answered goes after `timeouts.esp_pending`
#[test]
fn an_idle_tunnel_ends_after_its_time_and_one_in_use_does_not() {
    let mut lab = Lab::with(|p| p.timeouts.l2tpv3 = 120_000);
    connect(&mut lab, A, 1, 0x101);
    session(&mut lab, A, [1, 0x101], [0x11, 0x21]);
    lab.out(control(B, X, 0, SCCRQ, &[(CCID, 2)]));
    // Data alone keeps the control connection's identifiers, too.
    for _ in 0..5 {
        lab.wait_quietly(100 * S);
        carries(&mut lab, A, [0x11, 0x21]);
    }
    assert_eq!(lab.vpn().len(), 1);
    reaches(&lab.back(control(X, P, 1, 6, &[])), A);
    lab.wait_quietly(120 * S + LATE);
    lab.put(OUTSIDE, data(X, P, 0x11)).dropped(DropReason::L2tpNoSession);
    assert!(lab.vpn().is_empty());
}

// Rows 18, 87: data and control in pieces, in any order
#[test]
fn fragments_of_data_and_control_go_where_their_first_one_goes() {
    let mut lab = Lab::new();
    connect(&mut lab, A, 1, 0x101);
    session(&mut lab, A, [1, 0x101], [0x11, 0x21]);
    // Its later pieces look like control messages that end everything.
    let stop = [&[0; 4], &message(3, [0, 0, 0, 1], STOPCCN, &[avp(0x80, CCID, &[0, 0, 0, 1])])[..]].concat();
    let long = |head: Vec<u8>| {
        let mut p = head;
        p.resize(1480, 0);
        while p.len() < 4000 {
            p.extend(&stop);
            p.resize(p.len().next_multiple_of(1480), 0);
        }
        p
    };
    let hello = || {
        let mut p = [&[0; 4], &message(3, [0, 0, 1, 1], 6, &[])[..]].concat();
        p.resize(1480, 0);
        p
    };
    let mut id = 0;
    for reverse in [false, true] {
        for payload in [long(vec![0, 0, 0, 0x21]), long(hello())] {
            id += 1;
            let whole = Frame::ip(protocol::L2TP, A, X).id(id).payload(payload.clone()).build();
            let mut pieces = fragments(&whole, 1500);
            if reverse {
                pieces.reverse();
            }
            let o = lab.put_all(INSIDE, pieces);
            assert!(o.drops.is_empty(), "{o}");
            let seen = Seen::read(&reassemble(o.raw_at(OUTSIDE)).unwrap()).unwrap();
            assert_eq!((seen.source.ip().to_string(), seen.payload), (P.to_string(), payload));
        }
        for head in [vec![0, 0, 0, 0x11], [&[0; 8], &[0u8, 0, 0, 1][..]].concat()] {
            id += 1;
            let payload = long(head);
            let mut pieces = fragments(&Frame::ip(protocol::L2TP, X, P).id(id).payload(payload.clone()).build(), 1500);
            if reverse {
                pieces.reverse();
            }
            let o = lab.put_all(OUTSIDE, pieces);
            assert!(o.drops.is_empty(), "{o}");
            let seen = Seen::read(&reassemble(o.raw_at(INSIDE)).unwrap()).unwrap();
            assert_eq!((seen.destination.ip().to_string(), seen.payload), (A.to_string(), payload));
        }
    }
    assert_eq!(lab.vpn().iter().map(|r| r.state).collect::<Vec<_>>(), [State::Confirmed]);
}

// Row 87: an LCCE inside, behind a forward
#[test]
fn an_lcce_inside_serves_clients_outside_behind_a_forward() {
    let forward = Forward { proto: Proto::L2TP, outside: addr(P), ports: 0..=0, inside: addr(B), inside_port: 0 };
    let mut lab = Lab::with(|p| p.forwards = vec![forward]);
    for (client, n) in [(X, 1), (Y, 2)] {
        reaches(&lab.back(control(client, P, 0, SCCRQ, &[(CCID, n)])), B);
        lab.out(control(B, client, n, SCCRP, &[(CCID, 0x100 + n)]));
        reaches(&lab.back(control(client, P, 0x100 + n, SCCCN, &[])), B);
        reaches(&lab.back(control(client, P, 0x100 + n, ICRQ, &[(SESSION, 0x10 + n)])), B);
        lab.out(control(B, client, n, ICRP, &[(SESSION, 0x20 + n)]));
        reaches(&lab.back(data(client, P, 0x20 + n)), B);
        lab.out(data(B, client, 0x10 + n));
    }
    for (client, n) in [(X, 1), (Y, 2)] {
        reaches(&lab.back(data(client, P, 0x20 + n)), B);
        lab.out(data(B, client, 0x10 + n));
    }
    assert!(lab.vpn().iter().all(|r| r.state == State::Confirmed), "{:?}", lab.vpn());
    // Another host may have a tunnel of its own with a server that is no client of B's.
    connect(&mut Lab::new(), A, 1, 2);
}

// Row 82: RFC 5508 REQ-4
#[test]
fn errors_about_data_reach_the_host_whose_packet_it_was() {
    let mut lab = Lab::new();
    // B's inward identifier is A's outward one with its halves swapped.
    for (host, ours, theirs) in [(A, 0x11, 0x0001_0002), (B, 0x0002_0001, 0x22)] {
        carries(&mut lab, host, [ours, theirs]);
        carries(&mut lab, host, [ours, theirs]);
    }
    for (host, theirs) in [(A, 0x0001_0002), (B, 0x22)] {
        let error = Frame::fragmentation_needed(N, 1400, data(P, X, theirs).build()).build();
        let seen = lab.put(OUTSIDE, error).only(INSIDE);
        reaches(&seen, host);
        assert_eq!(seen.quoted().path(), format!("{host} -> {X}"));
    }
    for (host, ours) in [(A, 0x11), (B, 0x0002_0001)] {
        let seen = lab.put(INSIDE, Frame::unreachable(host, 2, data(X, host, ours).build())).only(OUTSIDE);
        assert_eq!((seen.path(), seen.quoted().path()), (format!("{P} -> {X}"), format!("{X} -> {P}")));
    }
    lab.put(OUTSIDE, Frame::fragmentation_needed(N, 1400, data(P, X, 0x99).build()))
        .dropped(DropReason::IcmpErrorNoSession);
}

// `show vpn`
#[test]
fn a_tunnel_shows_its_identifiers_state_age_and_traffic() {
    let mut lab = Lab::new();
    lab.out(control(A, X, 0, SCCRQ, &[(CCID, 1)]));
    let row = lab.vpn()[0];
    assert_eq!((row.kind, row.state, row.inside_id, row.remote_id), (Kind::L2tp, State::Pending, None, None));
    reaches(&lab.back(control(X, P, 1, SCCRP, &[(CCID, 0x101)])), A);
    assert_eq!(lab.vpn()[0].state, State::Paired);
    lab.out(control(A, X, 0x101, SCCCN, &[]));
    session(&mut lab, A, [1, 0x101], [0x11, 0x21]);
    let before = lab.vpn()[0];
    lab.wait_quietly(5 * S);
    for _ in 0..3 {
        carries(&mut lab, A, [0x11, 0x21]);
    }
    let row = lab.vpn()[0];
    assert_eq!((row.inside, row.outside, row.remote), (addr(A), addr(P), addr(X)));
    assert_eq!((row.inside_id, row.outside_id, row.remote_id), (Some(0x11), Some(0x11), Some(0x21)));
    assert_eq!((row.state, row.age), (State::Confirmed, 5 * S));
    let len = 20 + 4 + 13;
    let more = |a: (u64, u64), b: (u64, u64)| (a.0 - b.0, a.1 - b.1);
    assert_eq!((more(row.out, before.out), more(row.inward, before.inward)), ((3, 3 * len), (3, 3 * len)));
    assert_eq!((before.out.0, before.inward.0), (4, 2));
}

// Rows 10, 87: an inside client of an LCCE inside, by the outside address
#[test]
fn a_client_inside_reaches_the_lcce_inside_by_its_outside_address() {
    let forward = Forward { proto: Proto::L2TP, outside: addr(P), ports: 0..=0, inside: addr(B), inside_port: 0 };
    let mut lab = Lab::with(|p| p.forwards = vec![forward]);
    let to = |lab: &mut Lab, host: &str, frame: Frame<'static>| {
        let seen = lab.put(INSIDE, frame).only(INSIDE);
        assert_eq!(seen.path(), format!("{P} -> {host}"));
    };
    to(&mut lab, B, control(A, P, 0, SCCRQ, &[(CCID, 1)]));
    to(&mut lab, A, control(B, P, 1, SCCRP, &[(CCID, 2)]));
    to(&mut lab, B, control(A, P, 2, SCCCN, &[]));
    to(&mut lab, B, control(A, P, 2, ICRQ, &[(SESSION, 0x11)]));
    to(&mut lab, A, control(B, P, 1, ICRP, &[(SESSION, 0x21)]));
    for _ in 0..3 {
        to(&mut lab, B, data(A, P, 0x21));
        to(&mut lab, A, data(B, P, 0x11));
    }
}
