//! What one subscriber may have, and what happens when the box has no more [RFC 6888 REQ-4, REQ-5, REQ-11].

use crate::lab::*;
use dataplane::policy::{Filtering, Limits};
use dataplane::verdict::DropReason;
use testkit::{ACK, FIN, Frame, SYN};

fn limited(limits: Limits) -> Lab {
    Lab::with(|p| p.limits = limits)
}

// Row 45: RFC 6888 REQ-4
#[test]
fn a_subscriber_gets_as_many_ports_as_the_limit_says() {
    let mut lab = limited(Limits { ports: 100, ..Limits::default() });
    for n in 0..40 {
        lab.udp((A, 5000 + n), (X, 53));
        lab.out(Frame::tcp((A, 5000 + n), (X, 80)).flags(SYN).ack(0));
    }
    for n in 0..20 {
        lab.out(Frame::echo_request(A, X, n, 1));
    }
    for frame in [
        Frame::udp((A, 6000), (X, 53)),
        Frame::tcp((A, 6000), (X, 80)).flags(SYN).ack(0),
        Frame::echo_request(A, X, 99, 1),
    ] {
        lab.put(INSIDE, frame).dropped_and_told(DropReason::SubscriberPorts);
    }
    // Ports that A has can be used for more, and B is not A.
    lab.udp((A, 5000), (Y, 53));
    lab.udp((B, 5000), (X, 53));
}

// Row 45: RFC 6888 REQ-4b: per protocol
#[test]
fn ports_are_limited_by_protocol_where_wanted() {
    let mut lab = limited(Limits { ports_by_protocol: [3, 2, 1], ..Limits::default() });
    for n in 0..3 {
        lab.out(Frame::tcp((A, 5000 + n), (X, 80)).flags(SYN).ack(0));
    }
    lab.put(INSIDE, Frame::tcp((A, 5003), (X, 80)).flags(SYN).ack(0)).dropped_and_told(DropReason::SubscriberPorts);
    for n in 0..2 {
        lab.udp((A, 5000 + n), (X, 53));
    }
    lab.put(INSIDE, Frame::udp((A, 5002), (X, 53))).dropped_and_told(DropReason::SubscriberPorts);
    lab.out(Frame::echo_request(A, X, 1, 1));
    lab.put(INSIDE, Frame::echo_request(A, X, 2, 1)).dropped_and_told(DropReason::SubscriberPorts);
}

// Row 45: a port that ended can be had again
#[test]
fn a_port_that_ended_counts_no_more() {
    let mut lab = limited(Limits { ports: 1, ..Limits::default() });
    lab.udp((A, 5000), (X, 53));
    lab.put(INSIDE, Frame::udp((A, 5001), (X, 53))).dropped_and_told(DropReason::SubscriberPorts);
    lab.wait_quietly(300 * S + LATE);
    lab.udp((A, 5001), (X, 53));
    lab.put(INSIDE, Frame::udp((A, 5000), (X, 53))).dropped_and_told(DropReason::SubscriberPorts);
}

// Row 46: RFC 6888 REQ-4c
#[test]
fn a_subscriber_gets_as_many_sessions_as_the_limit_says() {
    let mut lab = limited(Limits { sessions: 10, ..Limits::default() });
    for n in 0..10 {
        lab.udp((A, 5000), (X, 1 + n));
    }
    lab.put(INSIDE, Frame::udp((A, 5000), (Y, 1))).dropped_and_told(DropReason::SubscriberSessions);
    lab.udp((A, 5000), (X, 1));
    lab.udp((B, 5000), (X, 1));
    lab.wait_quietly(300 * S + LATE);
    lab.udp((A, 5000), (Y, 1));
}

// Row 46: RFC 6888 REQ-5
#[test]
fn a_flood_of_syns_from_one_subscriber_hurts_no_other() {
    let mut lab = limited(Limits { rate: 100, burst: 50, ..Limits::default() });
    let flood = |port| Frame::tcp((A, 5000), (X, port)).flags(SYN).ack(0);
    let n = lab.out(flood(1)).source;
    let passed = (2..=1000).filter(|&port| lab.put(INSIDE, flood(port)).drops.is_empty()).count();
    assert_eq!(passed, 49);
    lab.connect((B, 5000), (X, 80));
    // What A has goes on; what it starts comes at the rate.
    lab.back(Frame::tcp((X, 1), n).flags(SYN | ACK));
    lab.wait_quietly(100);
    let passed = (1001..=1100).filter(|&port| lab.put(INSIDE, flood(port)).drops.is_empty()).count();
    assert_eq!(passed, 10);
}

// Row 46: a flood from outside, where everybody is let in
#[test]
fn strangers_leave_a_quarter_to_the_subscriber() {
    for limits in [Limits { sessions: 40, ..Limits::default() }, Limits { rate: 0, burst: 40, ..Limits::default() }] {
        let mut lab = Lab::with(|p| {
            p.limits = limits;
            p.filtering = Filtering::EndpointIndependent;
        });
        let n = lab.udp((A, 5000), (X, 53));
        let passed = (1..=1000).filter(|&port| lab.put(OUTSIDE, Frame::udp((Y, port), n)).drops.is_empty()).count();
        assert_eq!(passed, 29);
        for port in 1..=10 {
            lab.udp((A, 5000), (X, 1000 + port));
        }
        assert!(!lab.put(INSIDE, Frame::udp((A, 5000), (X, 2000))).drops.is_empty());
        lab.delivers((X, 53), n, (A, 5000));
    }
}

// Row 46: a flood of SYNs to a forward leaves room for real clients soon, whether the server answers or not
#[test]
fn half_open_connections_of_strangers_make_room_when_there_are_many() {
    for answered in [false, true] {
        let mut lab = Lab::with(|p| {
            p.forwards = crate::forwards::web();
            p.limits = Limits { sessions: 40, ..Limits::default() };
        });
        for port in 1..=60 {
            let syn = lab.put(OUTSIDE, Frame::tcp((Y, port), (P, 8443)).flags(SYN).seq(7).ack(0));
            if answered && syn.drops.is_empty() {
                lab.out(Frame::tcp((A, 443), (Y, port)).flags(SYN | ACK).ack(8));
            }
        }
        lab.put(OUTSIDE, Frame::tcp((X, 9), (P, 8443)).flags(SYN).ack(0)).dropped(DropReason::SubscriberSessions);
        lab.wait_quietly(10_000 + 600);
        assert_eq!(lab.sessions(), 21, "the first half has its four minutes");
        lab.back(Frame::tcp((X, 9), (P, 8443)).flags(SYN).seq(7).ack(0));
    }
}

// Row 46: what expires here opens nothing
#[test]
fn a_syn_whose_time_runs_out_here_opens_no_session() {
    let mut lab = Lab::with(|p| p.forwards = crate::forwards::web());
    lab.put(OUTSIDE, Frame::tcp((X, 9), (P, 8443)).flags(SYN).ack(0).ttl(1)).dropped_and_told(DropReason::TtlExceeded);
    assert_eq!(lab.sessions(), 0);
}

// Row 27: a stranger cannot keep his half-open connection
#[test]
fn a_stranger_cannot_keep_a_connection_that_the_inside_does_not_answer() {
    let mut lab = Lab::with(|p| p.forwards = crate::forwards::web());
    lab.back(Frame::tcp((X, 9), (P, 8443)).flags(SYN).seq(7).ack(0));
    for _ in 0..2 {
        lab.wait_quietly(110_000);
        lab.put(OUTSIDE, Frame::tcp((X, 9), (P, 8443)).seq(8));
    }
    lab.wait_quietly(20_000 + 600);
    assert_eq!(lab.sessions(), 0);
}

// Row 50: RFC 6888 REQ-11
#[test]
fn a_full_session_table_refuses_the_new_and_keeps_the_old() {
    let mut lab = Lab::single(|p| p.sizes.sessions = 20);
    let flows: Vec<_> = (0..20).map(|n| lab.udp((A, 5000 + n), (X, 53))).collect();
    for frame in [Frame::udp((A, 6000), (X, 53)), Frame::udp((B, 6000), (X, 53)), Frame::udp((A, 5000), (Y, 53))] {
        let o = lab.put(INSIDE, frame);
        o.dropped_and_told(DropReason::SessionTableFull);
        assert_eq!((o.at(INSIDE)[0].icmp().kind, o.at(INSIDE)[0].icmp().code), (3, 1));
    }
    for (port, n) in (5000..).zip(flows) {
        lab.delivers((X, 53), n, (A, port));
    }
    assert_eq!((lab.sessions(), lab.mappings(), lab.subscribers()), (20, 20, 1), "a refused flow leaves nothing");
}

// Row 50: RFC 6888 REQ-11: for each table
#[test]
fn a_full_mapping_table_refuses_the_new_and_keeps_the_old() {
    let mut lab = Lab::single(|p| p.sizes.mappings = 5);
    let flows: Vec<_> = (0..5).map(|n| lab.udp((A, 5000 + n), (X, 53))).collect();
    for _ in 0..3 {
        lab.put(INSIDE, Frame::udp((B, 6000), (X, 53))).dropped_and_told(DropReason::MappingTableFull);
    }
    for (port, n) in (5000..).zip(flows) {
        lab.delivers((X, 53), n, (A, port));
        lab.udp((A, port), (Y, 53));
    }
    assert_eq!((lab.sessions(), lab.mappings(), lab.subscribers()), (10, 5, 1));
    // The port that the refused flow would have had is free again when there is room.
    lab.wait_quietly(430 * S);
    assert_eq!(lab.udp((B, 6000), (X, 53)).port(), 6000);
}

// Row 50
#[test]
fn a_full_subscriber_table_refuses_the_new_and_keeps_the_old() {
    let mut lab = Lab::single(|p| p.sizes.subscribers = 1);
    let n = lab.udp((A, 5000), (X, 53));
    lab.put(INSIDE, Frame::udp((B, 5000), (X, 53))).dropped_and_told(DropReason::SubscriberTableFull);
    lab.delivers((X, 53), n, (A, 5000));
    lab.wait_quietly(300 * S + LATE);
    lab.udp((B, 5000), (X, 53));
}

// Row 50: what ended makes room
#[test]
fn closed_connections_make_room() {
    let mut lab = Lab::single(|p| p.sizes.sessions = 1);
    let n = lab.connect((A, 5000), (X, 80));
    lab.put(INSIDE, Frame::udp((B, 5000), (X, 53))).dropped_and_told(DropReason::SessionTableFull);
    lab.out(Frame::tcp((A, 5000), (X, 80)).flags(FIN | ACK).seq(1001).ack(5001));
    lab.back(Frame::tcp((X, 80), n).flags(FIN | ACK).seq(5001).ack(1002));
    lab.wait_quietly(240 * S + LATE);
    lab.udp((B, 5000), (X, 53));
}

// Row 41, 50: a stranger who cannot be let in for want of room is not told
#[test]
fn outsiders_are_not_told_of_full_tables() {
    let mut lab = Lab::single(|p| {
        p.sizes.sessions = 1;
        p.filtering = Filtering::EndpointIndependent;
    });
    let n = lab.udp((A, 5000), (X, 53));
    lab.refuses((Y, 1), n, DropReason::SessionTableFull);
    lab.delivers((X, 53), n, (A, 5000));
}
