//! Timers: alive a moment before the end, gone a moment after.

use crate::lab::*;
use dataplane::verdict::DropReason;
use std::net::SocketAddrV4;
use testkit::{ACK, FIN, Frame, RST, SYN};

fn udp_lives(lab: &mut Lab, silence: u32) -> bool {
    let n = lab.udp((A, 5000), (X, 53));
    lab.wait_quietly(silence);
    lab.put(OUTSIDE, Frame::udp((X, 53), n)).drops.is_empty()
}

// Row 7: RFC 4787 REQ-5
#[test]
fn udp_lives_for_five_minutes_by_default() {
    assert!(udp_lives(&mut Lab::new(), 119 * S));
    assert!(udp_lives(&mut Lab::new(), 300 * S - 1));
    assert!(!udp_lives(&mut Lab::new(), 300 * S + LATE));
}

// Row 7: RFC 4787 REQ-5b: configurable
#[test]
fn udp_lives_as_long_as_configured() {
    let set = |ms| move |p: &mut dataplane::policy::Policy| p.timeouts.udp = ms;
    assert!(udp_lives(&mut Lab::with(set(120 * S)), 120 * S - 1));
    assert!(!udp_lives(&mut Lab::with(set(120 * S)), 120 * S + LATE));
}

// Row 8: RFC 4787 REQ-5a: no port has a shorter timer here
#[test]
fn every_destination_port_has_the_same_timer() {
    let mut lab = Lab::new();
    let n = [53, 123, 5000].map(|port| (port, lab.udp((A, 5000 + port), (X, port))));
    lab.wait_quietly(300 * S - 1);
    for (port, n) in n {
        lab.delivers((X, port), n, (A, 5000 + port));
    }
}

// Row 9: RFC 4787 REQ-6
#[test]
fn outbound_traffic_refreshes() {
    let mut lab = Lab::new();
    let n = lab.udp((A, 5000), (X, 53));
    for _ in 0..6 {
        lab.wait_quietly(100 * S);
        assert_eq!(lab.udp((A, 5000), (X, 53)), n);
    }
    lab.wait_quietly(299 * S);
    lab.delivers((X, 53), n, (A, 5000));
}

// Row 9: RFC 4787 REQ-6: to whichever destination
#[test]
fn traffic_to_one_destination_keeps_the_mapping_for_the_next() {
    let mut lab = Lab::new();
    let n = lab.udp((A, 5000), (X, 53));
    for _ in 0..4 {
        lab.wait_quietly(200 * S);
        assert_eq!(lab.udp((A, 5000), (Y, 53)), n);
    }
    lab.refuses((X, 53), n, DropReason::Filtered);
    assert_eq!(lab.udp((A, 5000), (X, 53)), n);
}

/// Brings a connection from A:5000 to X:80 into a phase.
type Phase = fn(&mut Lab) -> SocketAddrV4;

fn opening(lab: &mut Lab) -> SocketAddrV4 {
    lab.out(Frame::tcp((A, 5000), (X, 80)).flags(SYN).seq(1000).ack(0)).source
}
fn answered(lab: &mut Lab) -> SocketAddrV4 {
    let n = opening(lab);
    lab.back(Frame::tcp((X, 80), n).flags(SYN | ACK).seq(5000).ack(1001));
    n
}
fn established(lab: &mut Lab) -> SocketAddrV4 {
    lab.connect((A, 5000), (X, 80))
}
fn half_closed(lab: &mut Lab) -> SocketAddrV4 {
    let n = established(lab);
    lab.out(Frame::tcp((A, 5000), (X, 80)).flags(FIN | ACK).seq(1001).ack(5001));
    n
}
fn closed(lab: &mut Lab) -> SocketAddrV4 {
    let n = half_closed(lab);
    lab.back(Frame::tcp((X, 80), n).flags(FIN | ACK).seq(5001).ack(1002));
    lab.out(Frame::tcp((A, 5000), (X, 80)).seq(1002).ack(5002));
    n
}
fn reset(lab: &mut Lab) -> SocketAddrV4 {
    let n = established(lab);
    lab.back(Frame::tcp((X, 80), n).flags(RST).seq(5001).ack(0));
    n
}

fn tcp_lives(phase: Phase, silence: u32) -> bool {
    let mut lab = Lab::new();
    let n = phase(&mut lab);
    lab.wait_quietly(silence);
    lab.put(OUTSIDE, Frame::tcp((X, 80), n).seq(5001).ack(1001)).drops.is_empty()
}

// Row 26: RFC 5382 REQ-5
#[test]
fn an_established_connection_lives_two_hours_and_four_minutes_idle() {
    assert!(tcp_lives(established, 7_440 * S - 1));
    assert!(!tcp_lives(established, 7_440 * S + LATE));
}

// Row 27: RFC 5382 REQ-5, RFC 7857 §2.1
#[test]
fn a_connection_that_opens_or_closes_lives_four_minutes() {
    for phase in [opening as Phase, answered, half_closed, closed, reset] {
        assert!(tcp_lives(phase, 240 * S - 1));
        assert!(!tcp_lives(phase, 240 * S + LATE));
    }
}

// Row 27: separate settings
#[test]
fn both_tcp_timers_are_configurable() {
    for (phase, at, lives) in [
        (opening as Phase, 299 * S, true),
        (opening, 301 * S, false),
        (established, 899 * S, true),
        (established, 901 * S, false),
    ] {
        let mut lab = Lab::with(|p| {
            p.timeouts.tcp_transitory = 300 * S;
            p.timeouts.tcp_established = 900 * S;
        });
        let n = phase(&mut lab);
        lab.wait_quietly(at);
        assert_eq!(lab.put(OUTSIDE, Frame::tcp((X, 80), n).seq(5001).ack(1001)).drops.is_empty(), lives, "{at}");
    }
}

// Row 26: traffic of either side keeps a connection
#[test]
fn data_in_either_direction_keeps_a_connection() {
    let mut lab = Lab::new();
    let n = established(&mut lab);
    for _ in 0..3 {
        lab.wait_quietly(7_000 * S);
        lab.back(Frame::tcp((X, 80), n).seq(5001).ack(1001).payload(b"keepalive"));
    }
    for _ in 0..3 {
        lab.wait_quietly(7_000 * S);
        lab.out(Frame::tcp((A, 5000), (X, 80)).seq(1001).ack(5001).payload(b"keepalive"));
    }
}

// Row 28: stragglers do not keep a closed connection
#[test]
fn stragglers_do_not_keep_a_closed_connection() {
    for (phase, inside_too) in [(closed as Phase, true), (reset, false)] {
        let mut lab = Lab::new();
        let n = phase(&mut lab);
        for _ in 0..2 {
            lab.wait_quietly(100 * S);
            lab.back(Frame::tcp((X, 80), n).seq(5001).ack(1001));
            if inside_too {
                lab.out(Frame::tcp((A, 5000), (X, 80)).seq(1001).ack(5001));
            }
        }
        lab.wait_quietly(40 * S + LATE);
        lab.put(OUTSIDE, Frame::tcp((X, 80), n).seq(5001).ack(1001)).dropped(DropReason::Unsolicited);
    }
}

// Row 28: RFC 7857 §2.2: a reset that the end hosts did not believe (RFC 5961 §3) ends no connection
#[test]
fn a_connection_that_goes_on_after_a_reset_lives_on() {
    let mut lab = Lab::new();
    let n = reset(&mut lab);
    for _ in 0..10 {
        lab.wait_quietly(30 * S);
        lab.out(Frame::tcp((A, 5000), (X, 80)).seq(1001).ack(5001));
        lab.back(Frame::tcp((X, 80), n).seq(5001).ack(1001));
    }
    lab.wait_quietly(7_000 * S);
    lab.back(Frame::tcp((X, 80), n).seq(5001).ack(1001));
}

// Row 26: a FIN that nobody's window holds shortens no connection's life
#[test]
fn a_guessed_fin_passes_and_changes_nothing() {
    let mut lab = Lab::new();
    let n = established(&mut lab);
    lab.back(Frame::tcp((X, 80), n).flags(FIN | ACK).seq(0x9000_0000).ack(7));
    lab.wait_quietly(7_000 * S);
    lab.out(Frame::tcp((A, 5000), (X, 80)).seq(1001).ack(5001));
}

// Row 26: a host that opens anew from a half-closed connection's port has a whole connection
#[test]
fn a_connection_opened_anew_from_a_half_closed_one_lives_as_long_as_any() {
    let mut lab = Lab::new();
    let n = established(&mut lab);
    lab.out(Frame::tcp((A, 5000), (X, 80)).flags(FIN | ACK).seq(1001).ack(5001));
    lab.wait_quietly(10 * S);
    assert_eq!(established(&mut lab), n);
    lab.wait_quietly(7_000 * S);
    lab.back(Frame::tcp((X, 80), n).seq(5001).ack(1001));
}

// Row 33: RFC 5508 REQ-2
#[test]
fn a_query_lives_for_a_minute_by_default() {
    for (silence, lives) in [(59 * S, true), (60 * S - 1, true), (60 * S + LATE, false)] {
        let mut lab = Lab::new();
        let id = lab.out(Frame::echo_request(A, X, 7, 1)).icmp().id();
        lab.wait_quietly(silence);
        assert_eq!(lab.put(OUTSIDE, Frame::echo_reply(X, P, id, 1)).drops.is_empty(), lives, "{silence}");
    }
}

// Row 33: RFC 5508 REQ-2: configurable
#[test]
fn a_query_lives_as_long_as_configured() {
    for (silence, lives) in [(200 * S - 1, true), (200 * S + LATE, false)] {
        let mut lab = Lab::with(|p| p.timeouts.icmp = 200 * S);
        let id = lab.out(Frame::echo_request(A, X, 7, 1)).icmp().id();
        lab.wait_quietly(silence);
        assert_eq!(lab.put(OUTSIDE, Frame::echo_reply(X, P, id, 1)).drops.is_empty(), lives, "{silence}");
    }
}

/// One port only, so that whoever comes next needs the port that was freed.
fn one_port(p: &mut dataplane::policy::Policy) {
    p.port_range = 5000..=5000;
}

// Row 48: RFC 6888 REQ-8
#[test]
fn a_freed_udp_port_rests_for_two_minutes() {
    let mut lab = Lab::single(one_port);
    let n = lab.udp((A, 5000), (X, 53));
    lab.wait_quietly(300 * S + LATE);
    assert_eq!(lab.mappings(), 0);
    lab.put(INSIDE, Frame::udp((B, 5000), (X, 53))).dropped_and_told(DropReason::PortsExhausted);
    lab.wait_quietly(119 * S - LATE);
    lab.put(INSIDE, Frame::udp((B, 5000), (X, 53))).dropped_and_told(DropReason::PortsExhausted);
    lab.wait_quietly(S + 2 * LATE);
    assert_eq!(lab.udp((B, 5000), (X, 53)), n);
}

// Row 48: RFC 6888 REQ-8
#[test]
fn a_port_at_rest_is_not_preferred_by_another_host() {
    let mut lab = Lab::single(|_| {});
    let n = lab.udp((A, 5000), (X, 53));
    lab.wait_quietly(300 * S + 60 * S);
    assert_ne!(lab.udp((B, 5000), (X, 53)), n);
}

// Row 48: RFC 6888 REQ-8: the same endpoint may have it
#[test]
fn the_same_endpoint_gets_its_port_back_while_it_rests() {
    let mut lab = Lab::with(|p| p.preserve_port = false);
    let n = lab.udp((A, 5000), (X, 53));
    lab.wait_quietly(300 * S + 60 * S);
    assert_eq!(lab.udp((A, 5000), (Y, 53)), n);
    lab.delivers((Y, 53), n, (A, 5000));
    // And from then on it is alive as any other.
    lab.wait_quietly(290 * S);
    lab.delivers((Y, 53), n, (A, 5000));
    lab.wait_quietly(10 * S + LATE);
    assert_eq!(lab.mappings(), 0);
    lab.wait_quietly(120 * S + LATE);
    assert_ne!(lab.udp((A, 5000), (Y, 53)), n, "kept after the hold-down was over");
}

// Row 48: a port at rest admits nobody
#[test]
fn a_port_at_rest_is_closed() {
    for filtering in FILTERINGS {
        let mut lab = Lab::with(|p| p.filtering = filtering);
        let n = lab.udp((A, 5000), (X, 53));
        lab.wait_quietly(310 * S);
        lab.refuses((X, 53), n, DropReason::Unsolicited);
    }
}

// Row 48: RFC 6888 REQ-8a: TCP is tracked to its end
#[test]
fn a_freed_tcp_port_may_be_used_at_once() {
    let mut lab = Lab::single(one_port);
    let n = closed(&mut lab);
    lab.put(INSIDE, Frame::tcp((B, 5000), (X, 80)).flags(SYN).ack(0)).dropped_and_told(DropReason::PortsExhausted);
    lab.wait_quietly(240 * S + LATE);
    assert_eq!(lab.connect((B, 5000), (X, 80)), n);
}
