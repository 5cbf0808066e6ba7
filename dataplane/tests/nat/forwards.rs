//! Forwards and one-to-one mappings: what the operator opened, and no more.

use crate::lab::*;
use dataplane::policy::{Allow, Filtering, Forward, Policy, Static};
use dataplane::types::Proto;
use dataplane::verdict::DropReason;
use testkit::{ACK, Frame, SYN, endpoint};

/// The outside address of B in [`one_to_one`].
pub(crate) const B_OUT: &str = "203.0.113.30";

/// P:8443 → A:443.
pub(crate) fn web() -> Vec<Forward> {
    vec![Forward { proto: Proto::TCP, outside: addr(P), ports: 8443..=8443, inside: addr(A), inside_port: 443 }]
}

/// UDP to P:9000 to 9009 → B:7000 to 7009.
pub(crate) fn range() -> Forward {
    Forward { proto: Proto::UDP, outside: addr(P), ports: 9000..=9009, inside: addr(B), inside_port: 7000 }
}

/// B as 203.0.113.30.
pub(crate) fn one_to_one() -> Vec<Static> {
    vec![Static { outside: addr(B_OUT), inside: addr(B) }]
}

fn allow(proto: Proto, ports: std::ops::RangeInclusive<u16>) -> Allow {
    Allow { proto, inside: addr(B), ports }
}

fn static_lab() -> Lab {
    Lab::with(|p| p.statics = one_to_one())
}

// DESIGN §6: port forwards
#[test]
fn a_forward_lets_everybody_in_to_its_port() {
    for filtering in FILTERINGS {
        let mut lab = Lab::with(|p| {
            p.forwards = web();
            p.filtering = filtering;
        });
        for (client, port) in [(X, 1000), (Y, 1000), (N, 65_535)] {
            let seen = lab.back(Frame::tcp((client, port), (P, 8443)).flags(SYN).seq(7).ack(0));
            assert_eq!(seen.destination, endpoint((A, 443)));
            let seen = lab.out(Frame::tcp((A, 443), (client, port)).flags(SYN | ACK).ack(8));
            assert_eq!(seen.source, endpoint((P, 8443)));
            lab.back(Frame::tcp((client, port), (P, 8443)).seq(8).payload(b"GET /"));
        }
        assert_eq!(lab.mappings(), 0, "a forward is no mapping of the pool's");
    }
}

#[test]
fn a_forward_opens_no_other_port_and_no_other_protocol() {
    let mut lab = Lab::with(|p| p.forwards = web());
    for port in [8442, 8444, 443] {
        lab.put(OUTSIDE, Frame::tcp((X, 9), (P, port)).flags(SYN).ack(0)).dropped(DropReason::Unsolicited);
    }
    lab.put(OUTSIDE, Frame::udp((X, 9), (P, 8443))).dropped(DropReason::Unsolicited);
}

#[test]
fn a_range_of_ports_is_forwarded_one_by_one() {
    let mut lab = Lab::with(|p| p.forwards = vec![range()]);
    for n in 0..10 {
        let seen = lab.back(Frame::udp((X, 9), (P, 9000 + n)));
        assert_eq!(seen.destination, endpoint((B, 7000 + n)));
        assert_eq!(lab.udp((B, 7000 + n), (X, 9)), endpoint((P, 9000 + n)));
    }
    for port in [8999, 9010] {
        lab.put(OUTSIDE, Frame::udp((X, 9), (P, port))).dropped(DropReason::Unsolicited);
    }
}

// What the server itself starts leaves by the endpoint that the world knows
#[test]
fn a_forwarded_endpoint_sends_from_its_outside_endpoint() {
    let mut lab = Lab::with(|p| p.forwards = vec![range()]);
    assert_eq!(lab.udp((B, 7003), (X, 53)), endpoint((P, 9003)));
    assert_eq!(lab.udp((B, 7003), (Y, 99)), endpoint((P, 9003)));
    lab.delivers((Y, 99), endpoint((P, 9003)), (B, 7003));
}

// Row 4: a forwarded port is nobody else's
#[test]
fn a_forwarded_port_is_never_given_to_a_mapping() {
    let mut lab = Lab::single(|p| {
        p.forwards = vec![range()];
        p.port_range = 9000..=9011;
    });
    assert_ne!(lab.udp((A, 9003), (X, 53)).port(), 9003);
    assert!(lab.udp((A, 1024), (X, 53)).port() >= 9010);
    lab.put(INSIDE, Frame::udp((A, 1025), (X, 53))).dropped_and_told(DropReason::PortsExhausted);
    // TCP's ports of the same numbers are free.
    assert_eq!(lab.connect((A, 9003), (X, 80)), endpoint((P, 9003)));
}

// An outside client's traffic alone does not keep a forward's session, but the forward is open at all times
#[test]
fn a_forward_is_open_after_any_silence() {
    let mut lab = Lab::with(|p| p.forwards = vec![range()]);
    for _ in 0..3 {
        lab.delivers((X, 9), endpoint((P, 9000)), (B, 7000));
        lab.wait_quietly(301 * S);
        assert_eq!(lab.sessions(), 0);
    }
}

// Two outside endpoints of one inside endpoint: an answer must leave by the one that was called
#[test]
fn an_answer_leaves_by_the_forward_that_was_called() {
    let second = |outside| Forward { ports: outside..=outside, inside_port: 7000, ..range() };
    let mut lab = Lab::with(|p| p.forwards = vec![second(9000), second(9001)]);
    lab.delivers((X, 9), endpoint((P, 9000)), (B, 7000));
    lab.delivers((Y, 9), endpoint((P, 9001)), (B, 7000));
    assert_eq!(lab.udp((B, 7000), (X, 9)), endpoint((P, 9000)));
    assert_eq!(lab.udp((B, 7000), (Y, 9)), endpoint((P, 9001)));
    // The same client by the other one cannot be told apart behind the box, so it is refused.
    lab.put(OUTSIDE, Frame::udp((X, 9), (P, 9001))).dropped(DropReason::Clash);
    assert_eq!(lab.udp((B, 7000), (X, 9)), endpoint((P, 9000)));
}

// DESIGN §6: one to one
#[test]
fn a_one_to_one_host_keeps_its_ports_and_identifiers() {
    let mut lab = static_lab();
    for port in [1, 500, 5000, 65_535] {
        assert_eq!(lab.udp((B, port), (X, 53)), endpoint((B_OUT, port)));
        assert_eq!(lab.connect((B, port), (X, 80)), endpoint((B_OUT, port)));
        lab.delivers((X, 53), endpoint((B_OUT, port)), (B, port));
    }
    let seen = lab.out(Frame::echo_request(B, X, 7, 1));
    assert_eq!((seen.source, seen.icmp().id()), (endpoint(B_OUT), 7));
    let seen = lab.back(Frame::echo_reply(X, B_OUT, 7, 1));
    assert_eq!((seen.destination, seen.icmp().id()), (endpoint(B), 7));
    assert_eq!(lab.mappings(), 0);
}

#[test]
fn others_do_not_leave_by_a_one_to_one_address() {
    let mut lab = static_lab();
    assert_eq!(*lab.udp((A, 5000), (X, 53)).ip(), addr(P));
}

// DESIGN §8: default deny
#[test]
fn nothing_comes_in_to_a_one_to_one_host_unasked() {
    for filtering in FILTERINGS {
        let mut lab = Lab::with(|p| {
            p.statics = one_to_one();
            p.filtering = filtering;
        });
        lab.udp((B, 5000), (X, 53));
        for frame in [
            Frame::udp((Y, 9), (B_OUT, 5000)),
            Frame::udp((X, 54), (B_OUT, 5000)),
            Frame::tcp((X, 9), (B_OUT, 80)).flags(SYN).ack(0),
            Frame::echo_request(X, B_OUT, 7, 1),
        ] {
            lab.put(OUTSIDE, frame).dropped(DropReason::FirewallDenied);
        }
    }
}

#[test]
fn what_the_firewall_allows_comes_in_to_a_one_to_one_host() {
    let mut lab = Lab::with(|p: &mut Policy| {
        p.statics = one_to_one();
        p.allows = vec![allow(Proto::TCP, 80..=81), allow(Proto::ICMP, 0..=0)];
    });
    for port in [80, 81] {
        let seen = lab.back(Frame::tcp((X, 9), (B_OUT, port)).flags(SYN).seq(7).ack(0));
        assert_eq!(seen.destination, endpoint((B, port)));
        let seen = lab.out(Frame::tcp((B, port), (X, 9)).flags(SYN | ACK).ack(8));
        assert_eq!(seen.source, endpoint((B_OUT, port)));
    }
    let seen = lab.back(Frame::echo_request(X, B_OUT, 7, 1));
    assert_eq!((seen.destination, seen.icmp().id()), (endpoint(B), 7));
    let seen = lab.out(Frame::echo_reply(B, X, 7, 1));
    assert_eq!((seen.source, seen.icmp().id()), (endpoint(B_OUT), 7));
    for (proto, port) in [(Proto::TCP, 79), (Proto::TCP, 82), (Proto::UDP, 80)] {
        let frame = match proto {
            Proto::TCP => Frame::tcp((X, 9), (B_OUT, port)).flags(SYN).ack(0),
            _ => Frame::udp((X, 9), (B_OUT, port)),
        };
        lab.put(OUTSIDE, frame).dropped(DropReason::FirewallDenied);
    }
}

// Two outside clients that ping with one identifier
#[test]
fn pings_from_two_outside_hosts_are_told_apart() {
    let mut lab = Lab::with(|p: &mut Policy| {
        p.statics = one_to_one();
        p.allows = vec![allow(Proto::ICMP, 0..=0)];
    });
    for host in [X, Y, N] {
        lab.back(Frame::echo_request(host, B_OUT, 7, 1));
        lab.put(INSIDE, Frame::echo_reply(B, host, 7, 1)).only(OUTSIDE);
    }
}

// A forward on a one-to-one address goes where the forward says
#[test]
fn a_forward_on_a_one_to_one_address_is_stronger() {
    let mut lab = Lab::with(|p: &mut Policy| {
        p.statics = one_to_one();
        p.forwards = vec![Forward { outside: addr(B_OUT), ..web().remove(0) }];
    });
    let seen = lab.back(Frame::tcp((X, 9), (B_OUT, 8443)).flags(SYN).ack(0));
    assert_eq!(seen.destination, endpoint((A, 443)));
    // B may not speak from a port that leads to A, to whomever.
    for client in [X, Y] {
        let seen = lab.out(Frame::tcp((B, 8443), (client, 9)).flags(SYN).ack(0));
        assert_eq!(*seen.source.ip(), addr(P));
    }
}

#[test]
fn one_to_one_works_in_every_filtering_mode_for_what_was_asked_for() {
    for filtering in [Filtering::EndpointIndependent, Filtering::AddressDependent, Filtering::AddressAndPortDependent] {
        let mut lab = Lab::with(|p| {
            p.statics = one_to_one();
            p.filtering = filtering;
        });
        let n = lab.udp((B, 5000), (X, 53));
        lab.delivers((X, 53), n, (B, 5000));
    }
}
