//! TCP: connections as a NAT must let them be [RFC 5382, RFC 7857 §2].

use crate::lab::*;
use dataplane::policy::MssClamp;
use dataplane::verdict::{DropReason, Event};
use std::net::SocketAddrV4;
use testkit::{ACK, FIN, Frame, IntoEndpoint, PSH, RST, SYN, URG, endpoint};

const AT: (&str, u16) = (A, 5000);
const TO: (&str, u16) = (X, 80);

/// A segment of A's.
fn a() -> Frame<'static> {
    Frame::tcp(AT, TO).seq(1001).ack(5001)
}

/// A segment of X's.
fn x(to: SocketAddrV4) -> Frame<'static> {
    Frame::tcp(TO, to).seq(5001).ack(1001)
}

fn syn(from: impl IntoEndpoint, to: impl IntoEndpoint) -> Frame<'static> {
    Frame::tcp(from, to).flags(SYN).seq(1000).ack(0)
}

// Row 23: RFC 5382 REQ-1
#[test]
fn connections_of_one_endpoint_share_one_outside_endpoint() {
    let mut lab = Lab::new();
    let n = lab.connect(AT, (X, 80));
    assert_eq!(lab.connect(AT, (X, 81)), n);
    assert_eq!(lab.connect(AT, (Y, 80)), n);
    assert_eq!(lab.mappings(), 1);
}

// Row 24: RFC 5382 REQ-2
#[test]
fn a_connection_lives_from_handshake_to_both_fins() {
    let mut lab = Lab::new();
    let n = lab.connect(AT, TO);
    lab.out(a().flags(ACK | PSH).payload(b"GET /"));
    lab.back(x(n).ack(1006).payload(b"200"));
    lab.out(a().flags(ACK | URG).seq(1006).ack(5004).urgent(1).payload(b"!"));
    lab.back(x(n).flags(FIN | ACK).seq(5004).ack(1007));
    lab.out(a().seq(1007).ack(5005).payload(b"still sending"));
    lab.out(a().flags(FIN | ACK).seq(1020).ack(5005));
    lab.back(x(n).seq(5005).ack(1021));
}

// Row 24: RFC 5382 REQ-2, RFC 9293 §3.5 figure 7
#[test]
fn a_simultaneous_open_succeeds() {
    let mut lab = Lab::new();
    let n = lab.out(syn(AT, TO)).source;
    assert_eq!(lab.back(Frame::tcp(TO, n).flags(SYN).seq(5000).ack(0)).destination, endpoint(AT));
    lab.out(a().flags(SYN | ACK).seq(1000));
    lab.back(x(n).flags(SYN | ACK).seq(5000));
    lab.wait_quietly(1_000 * S);
    lab.out(a().payload(b"data"));
    lab.back(x(n).payload(b"data"));
}

// Row 24: RFC 5382 REQ-2: SYNs that cross before either is seen behind the box
#[test]
fn a_simultaneous_open_succeeds_when_the_outside_was_first() {
    let mut lab = Lab::single(|_| {});
    lab.put(OUTSIDE, Frame::tcp(TO, (P, 5000)).flags(SYN).seq(5000).ack(0)).dropped(DropReason::Unsolicited);
    let n = lab.out(syn(AT, TO)).source;
    assert_eq!(n, endpoint((P, 5000)));
    // X repeats its SYN, as it must.
    lab.back(Frame::tcp(TO, n).flags(SYN).seq(5000).ack(0));
    lab.out(a().flags(SYN | ACK).seq(1000));
    lab.back(x(n).flags(SYN | ACK).seq(5000));
}

// Row 24: repetitions change nothing
#[test]
fn every_segment_of_a_connection_may_come_twice() {
    let mut lab = Lab::new();
    let mut n = endpoint(P);
    for _ in 0..2 {
        n = lab.out(syn(AT, TO)).source;
    }
    for _ in 0..2 {
        lab.back(x(n).flags(SYN | ACK).seq(5000));
    }
    for frame in [a(), a().payload(b"x"), a().flags(FIN | ACK).seq(1002)] {
        lab.out(&frame);
        lab.out(&frame);
    }
    for frame in [x(n).ack(1003), x(n).flags(FIN | ACK).ack(1003)] {
        lab.back(&frame);
        lab.back(&frame);
    }
    assert_eq!(lab.sessions(), 1);
}

/// An unsolicited SYN from X:80 to where A:5000 would be.
fn knock(lab: &mut Lab) {
    lab.put(OUTSIDE, Frame::tcp(TO, (P, 5000)).flags(SYN).seq(5000).ack(0)).dropped(DropReason::Unsolicited);
}

// Row 25: RFC 5382 REQ-4a: the default is silence
#[test]
fn an_unsolicited_syn_is_never_answered_by_default() {
    let mut lab = Lab::new();
    knock(&mut lab);
    lab.wait_quietly(20 * S);
}

// Row 25: RFC 5382 REQ-4
#[test]
fn an_unsolicited_syn_is_answered_after_six_seconds_where_policy_is_reject() {
    let mut lab = Lab::with(|p| p.reject_unsolicited_syn = true);
    knock(&mut lab);
    lab.wait_quietly(3 * S);
    knock(&mut lab);
    lab.wait_quietly(3 * S - 1);
    let answer = lab.wait(1).only(OUTSIDE);
    assert_eq!(answer.path(), format!("{P} -> {X}"));
    assert_eq!((answer.icmp().kind, answer.icmp().code), (3, 3));
    assert_eq!(answer.quoted().path(), format!("{X}:80 -> {P}:5000"));
    lab.wait_quietly(20 * S);
}

// Row 25: RFC 5382 REQ-4: the same port from inside; X's SYN is forgotten
#[test]
fn an_unsolicited_syn_is_forgotten_when_the_inside_opens_the_same_connection() {
    let mut lab = Lab::single(|p| p.reject_unsolicited_syn = true);
    knock(&mut lab);
    lab.wait_quietly(3 * S);
    assert_eq!(lab.out(syn(AT, TO)).source, endpoint((P, 5000)));
    lab.wait_quietly(20 * S);
}

// Row 25: a filtered SYN, and many of them
#[test]
fn each_refused_connection_is_answered_once() {
    let mut lab = Lab::with(|p| p.reject_unsolicited_syn = true);
    let n = lab.connect(AT, TO);
    for port in 1..=5 {
        lab.put(OUTSIDE, Frame::tcp((Y, port), n).flags(SYN).ack(0)).dropped(DropReason::Filtered);
        lab.put(OUTSIDE, Frame::tcp((Y, port), n).flags(SYN).ack(0)).dropped(DropReason::Filtered);
    }
    assert_eq!(lab.wait(7 * S).at(OUTSIDE).len(), 5);
    lab.wait_quietly(10 * S);
}

// Row 25: one stranger's SYNs leave room for another's
#[test]
fn one_strangers_syns_leave_room_for_the_answers_to_others() {
    let mut lab = Lab::with(|p| p.reject_unsolicited_syn = true).off_the_record();
    for port in 1..=1000 {
        lab.put(OUTSIDE, Frame::tcp((Y, port), (P, 5000)).flags(SYN).ack(0)).dropped(DropReason::Unsolicited);
    }
    knock(&mut lab);
    let o = lab.wait(7 * S);
    assert_eq!(o.at(OUTSIDE).iter().filter(|s| s.destination.ip() == &addr(X)).count(), 1, "{o}");
}

// ARCHITECTURE: periodic work has a budget a turn
#[test]
fn refused_connections_are_answered_a_bounded_number_at_a_time() {
    let mut lab = Lab::single(|p| {
        p.reject_unsolicited_syn = true;
        p.icmp_error_rate = 1_000_000;
    });
    for n in 0..200u16 {
        let stranger = std::net::Ipv4Addr::new(198, 51, 100, 100 + (n / 10) as u8);
        lab.put(OUTSIDE, Frame::tcp((stranger, 1 + n), (P, 5000)).flags(SYN).ack(0)).dropped(DropReason::Unsolicited);
    }
    lab.wait_quietly(6 * S - 1);
    let mut answered = 0;
    for _ in 0..10 {
        let now = lab.wait(1).at(OUTSIDE).len();
        assert!(now <= 64, "{now} at once");
        answered += now;
    }
    assert_eq!(answered, 200);
}

// Row 25: only SYNs are answered
#[test]
fn other_unsolicited_segments_are_never_answered() {
    let mut lab = Lab::with(|p| p.reject_unsolicited_syn = true);
    for flags in [ACK, SYN | ACK, RST, FIN | ACK] {
        assert!(lab.put(OUTSIDE, Frame::tcp(TO, (P, 5000)).flags(flags)).is_silent());
    }
    lab.put(OUTSIDE, Frame::udp(TO, (P, 5000))).dropped(DropReason::Unsolicited);
    lab.wait_quietly(20 * S);
}

// Row 28: RFC 7857 §2.2
#[test]
fn a_reset_is_translated_and_the_session_stays_for_what_follows() {
    for by_x in [true, false] {
        let mut lab = Lab::new();
        let n = lab.connect(AT, TO);
        if by_x {
            assert_eq!(lab.back(x(n).flags(RST).ack(0)).destination, endpoint(AT));
        } else {
            assert_eq!(lab.out(a().flags(RST | ACK)).source, n);
        }
        lab.wait_quietly(239 * S);
        lab.back(x(n));
        lab.out(a());
    }
}

// Row 28: RFC 7857 §2.2: an off-window reset neither passes nor ends anything
#[test]
fn a_reset_outside_of_the_window_is_dropped_and_ends_nothing() {
    let mut lab = Lab::new();
    let n = lab.connect(AT, TO);
    for seq in [5001 + 200_000, 5001u32.wrapping_sub(200_000), 0x8000_0000] {
        lab.put(OUTSIDE, x(n).flags(RST).seq(seq).ack(0)).dropped(DropReason::TcpBadReset);
        lab.put(INSIDE, a().flags(RST).seq(seq).ack(0)).dropped(DropReason::TcpBadReset);
    }
    assert_eq!(lab.events(Event::BadResets), 6);
    lab.wait_quietly(7_000 * S);
    lab.back(x(n));
    lab.out(a());
}

// Row 28: the window moves with what is acknowledged, in the fast path too
#[test]
fn the_window_of_resets_moves_with_the_data() {
    let mut lab = Lab::new();
    let n = lab.connect(AT, TO);
    let far = 5001 + 1_000_000;
    lab.out(a().ack(far));
    lab.put(OUTSIDE, x(n).flags(RST).seq(5001).ack(0)).dropped(DropReason::TcpBadReset);
    lab.back(x(n).flags(RST).seq(far).ack(0));
}

// Row 28: RFC 7323: a scaled window
#[test]
fn the_window_of_resets_is_as_wide_as_the_scale_says() {
    let mut lab = Lab::new();
    let n = lab.out(syn(AT, TO).wscale(7)).source;
    lab.back(x(n).flags(SYN | ACK).seq(5000).wscale(2));
    lab.out(a());
    lab.put(OUTSIDE, x(n).flags(RST).seq(5001 + (1 << 24)).ack(0)).dropped(DropReason::TcpBadReset);
    lab.back(x(n).flags(RST).seq(5001 + (1 << 22)).ack(0));
}

// Row 28: a forged SYN must not prepare the ground for a forged reset
#[test]
fn a_syn_inside_a_connection_moves_no_window() {
    for by_x in [true, false] {
        let mut lab = Lab::new();
        let n = lab.connect(AT, TO);
        if by_x {
            lab.put(OUTSIDE, x(n).flags(SYN).seq(0x7000_0000).ack(0));
            lab.put(OUTSIDE, x(n).flags(RST).seq(0x7000_0001).ack(0)).dropped(DropReason::TcpBadReset);
        } else {
            lab.put(INSIDE, a().flags(SYN).seq(0x7000_0000).ack(0));
            lab.put(INSIDE, a().flags(RST).seq(0x7000_0001).ack(0)).dropped(DropReason::TcpBadReset);
        }
        lab.wait_quietly(7_000 * S);
        lab.back(x(n));
    }
}

// Row 28: RFC 9293 §3.10.7.3: a refusal acknowledges the SYN
#[test]
fn a_refusal_must_acknowledge_the_syn() {
    let mut lab = Lab::new();
    let n = lab.out(syn(AT, TO)).source;
    lab.put(OUTSIDE, x(n).flags(RST | ACK).seq(0).ack(77)).dropped(DropReason::TcpBadReset);
    lab.put(OUTSIDE, x(n).flags(RST).seq(0).ack(0)).dropped(DropReason::TcpBadReset);
    lab.back(x(n).flags(RST | ACK).seq(0).ack(1001));
    // The host tries again from the same port.
    assert_eq!(lab.connect(AT, TO), n);
}

// Row 28: where the operator does not want the check
#[test]
fn every_reset_is_believed_where_the_check_is_off() {
    let mut lab = Lab::with(|p| p.check_reset = false);
    let n = lab.connect(AT, TO);
    lab.back(x(n).flags(RST).seq(0x8000_0000).ack(0));
    lab.wait_quietly(240 * S + LATE);
    assert_eq!(lab.sessions(), 0);
}

/// Opens and closes a connection.
fn close(lab: &mut Lab) -> SocketAddrV4 {
    let n = lab.connect(AT, TO);
    lab.out(a().flags(FIN | ACK));
    lab.back(x(n).flags(FIN | ACK).ack(1002));
    lab.out(a().seq(1002).ack(5002));
    n
}

// Row 24: a port used again at once
#[test]
fn the_opener_may_open_a_closed_connection_again() {
    let mut lab = Lab::new();
    let n = close(&mut lab);
    assert_eq!(lab.connect(AT, TO), n);
    lab.wait_quietly(7_000 * S);
    lab.back(x(n));
}

#[test]
fn an_outsider_cannot_open_a_closed_connection_again() {
    let mut lab = Lab::new();
    let n = close(&mut lab);
    lab.put(OUTSIDE, x(n).flags(SYN).seq(9000).ack(0)).dropped(DropReason::TcpSynOnClosed);
}

// A connection that outside opened (by a forward) may be opened again by outside
#[test]
fn an_outside_client_may_open_its_connection_again() {
    let mut lab = Lab::with(|p| {
        p.forwards = crate::forwards::web();
    });
    let public = endpoint((P, 8443));
    for _ in 0..2 {
        lab.back(Frame::tcp(TO, public).flags(SYN).seq(5000).ack(0));
        lab.out(Frame::tcp((A, 443), TO).flags(SYN | ACK).seq(1000).ack(5001));
        lab.back(x(public));
        lab.back(x(public).flags(FIN | ACK));
        lab.out(Frame::tcp((A, 443), TO).flags(FIN | ACK).seq(1001).ack(5002));
    }
    assert_eq!(lab.sessions(), 1);
}

// RFC 6888, RFC 7857: TCP without a connection
#[test]
fn segments_without_a_connection_are_dropped() {
    for flags in [ACK, SYN | ACK, RST | ACK, RST, FIN | ACK, PSH | ACK] {
        let mut lab = Lab::new();
        lab.put(INSIDE, a().flags(flags)).dropped(DropReason::TcpNoSession);
        assert_eq!((lab.sessions(), lab.mappings(), lab.subscribers()), (0, 0, 0));
    }
}

// Row 31: RFC 4459; DESIGN §6
#[test]
fn mss_is_clamped_to_what_the_smaller_link_carries() {
    for (inside, outside, expected) in [(1500, 1500, 1460), (1500, 1400, 1360), (1300, 1500, 1260)] {
        let mut lab = Lab::with(|p| {
            p.ports[0].mtu = inside;
            p.ports[1].mtu = outside;
        });
        let seen = lab.put(INSIDE, syn(AT, TO).mss(1460).sack_permitted().wscale(7)).only(OUTSIDE);
        assert_eq!(seen.tcp().mss, Some(expected));
        let back = x(seen.source).flags(SYN | ACK).mss(8960).wscale(7);
        assert_eq!(lab.put(OUTSIDE, back).only(INSIDE).tcp().mss, Some(expected));
    }
}

// Row 31: configured
#[test]
fn mss_is_clamped_as_configured_and_never_raised() {
    for (clamp, sent, expected) in [
        (MssClamp::Off, 1460, 1460),
        (MssClamp::To(1200), 1460, 1200),
        (MssClamp::To(1200), 1200, 1200),
        (MssClamp::To(1200), 536, 536),
        (MssClamp::Auto, 536, 536),
    ] {
        let mut lab = Lab::with(|p| {
            p.mss_clamp = clamp;
            p.ports[1].mtu = 1400;
        });
        assert_eq!(lab.put(INSIDE, syn(AT, TO).mss(sent)).only(OUTSIDE).tcp().mss, Some(expected), "{clamp:?}");
    }
}

// Row 31: the checksum is right wherever the option stands
#[test]
fn mss_is_clamped_at_odd_offsets_too() {
    let mut lab = Lab::with(|p| p.mss_clamp = MssClamp::To(1111));
    for (port, nops) in [(1, 0), (2, 1), (3, 2), (4, 3)] {
        let options: Vec<u8> = [vec![1; nops], vec![2, 4, 0x05, 0xb4]].concat();
        let seen = lab.put(INSIDE, syn((A, 5000 + port), TO).tcp_options(&options)).only(OUTSIDE);
        assert_eq!(seen.tcp().mss, Some(1111));
    }
}

// Row 31: only SYNs have an MSS; others pass as they are
#[test]
fn segments_without_the_option_are_left_alone() {
    let mut lab = Lab::with(|p| p.mss_clamp = MssClamp::To(500));
    let seen = lab.out(syn(AT, TO).wscale(3));
    assert_eq!(seen.tcp().mss, None);
    lab.back(x(seen.source).flags(SYN | ACK));
    assert_eq!(lab.out(a().tcp_options(&[2, 4, 5, 0xb4])).tcp().mss, Some(1460));
}

// Row 30: RFC 5382 REQ-9: see also icmp.rs
#[test]
fn a_port_unreachable_about_tcp_reaches_the_host_with_its_own_header() {
    let mut lab = Lab::new();
    let o = lab.put(INSIDE, syn(AT, TO));
    let seen = lab.put(OUTSIDE, Frame::unreachable(X, 3, &o.raw_at(OUTSIDE)[0])).only(INSIDE);
    assert_eq!(seen.path(), format!("{X} -> {A}"));
    assert_eq!(seen.quoted().path(), format!("{A}:5000 -> {X}:80"));
}

// RFC 5382 REQ-10: no ICMP error ends a connection
#[test]
fn a_connection_survives_every_icmp_error() {
    let mut lab = Lab::new();
    let n = lab.connect(AT, TO);
    let o = lab.put(INSIDE, a().payload(b"data"));
    for (kind, codes) in [(3, 0..=15), (11, 0..=1), (12, 0..=2)] {
        for code in codes {
            lab.put(OUTSIDE, Frame::icmp_error(X, kind, code, &o.raw_at(OUTSIDE)[0])).only(INSIDE);
        }
    }
    lab.wait_quietly(7_000 * S);
    lab.back(x(n));
}
