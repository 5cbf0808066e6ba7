//! Filtering: who may use a mapping from outside [RFC 4787 §5].

use crate::lab::*;
use dataplane::policy::Filtering::{self, AddressAndPortDependent, AddressDependent, EndpointIndependent};
use dataplane::verdict::DropReason;
use std::net::SocketAddrV4;
use testkit::{ACK, FIN, Frame, RST, SYN, endpoint};

/// A has sent from port 5000 to X:1. Who gets in?
fn udp_admits(filtering: Filtering, stranger: (&str, u16)) -> bool {
    let mut lab = Lab::with(|p| p.filtering = filtering);
    let n = lab.udp((A, 5000), (X, 1));
    let o = lab.put(OUTSIDE, Frame::udp(stranger, n).payload(b"?"));
    if !o.drops.is_empty() {
        o.dropped(DropReason::Filtered);
        return false;
    }
    assert_eq!(o.only(INSIDE).destination, endpoint((A, 5000)));
    true
}

fn tcp_admits(filtering: Filtering, stranger: (&str, u16)) -> bool {
    let mut lab = Lab::with(|p| p.filtering = filtering);
    let n = lab.connect((A, 5000), (X, 1));
    let o = lab.put(OUTSIDE, Frame::tcp(stranger, n).flags(SYN).ack(0));
    if !o.drops.is_empty() {
        o.dropped(DropReason::Filtered);
        return false;
    }
    assert_eq!(o.only(INSIDE).destination, endpoint((A, 5000)));
    true
}

// Row 12: RFC 4787 REQ-8, RFC 6888 REQ-7, RFC 5382 REQ-3
#[test]
fn endpoint_independent_filtering_admits_everybody() {
    for stranger in [(X, 1), (X, 2), (Y, 1), (N, 9)] {
        assert!(udp_admits(EndpointIndependent, stranger), "{stranger:?}");
    }
    for stranger in [(X, 2), (Y, 1), (N, 9)] {
        assert!(tcp_admits(EndpointIndependent, stranger), "{stranger:?}");
    }
}

// Row 12: RFC 4787 REQ-8, RFC 6888 REQ-7, RFC 5382 REQ-3
#[test]
fn address_dependent_filtering_admits_every_port_of_an_address_contacted() {
    for (stranger, admitted) in [((X, 1), true), ((X, 2), true), ((Y, 1), false), ((N, 1), false)] {
        assert_eq!(udp_admits(AddressDependent, stranger), admitted, "{stranger:?}");
    }
    for (stranger, admitted) in [((X, 2), true), ((Y, 1), false), ((N, 1), false)] {
        assert_eq!(tcp_admits(AddressDependent, stranger), admitted, "{stranger:?}");
    }
}

// Row 12: RFC 4787 REQ-8, RFC 6888 REQ-7, RFC 5382 REQ-3; the default
#[test]
fn address_and_port_dependent_filtering_admits_only_endpoints_contacted() {
    for (stranger, admitted) in [((X, 1), true), ((X, 2), false), ((Y, 1), false), ((N, 1), false)] {
        assert_eq!(udp_admits(AddressAndPortDependent, stranger), admitted, "{stranger:?}");
    }
    for stranger in [(X, 2), (Y, 1), (N, 1)] {
        assert!(!tcp_admits(AddressAndPortDependent, stranger), "{stranger:?}");
    }
    assert_eq!(policy().filtering, AddressAndPortDependent);
}

// Row 12: what is filtered is so per mapping, not per host
#[test]
fn contact_from_one_port_opens_no_other_port() {
    for filtering in [AddressDependent, AddressAndPortDependent] {
        let mut lab = Lab::with(|p| p.filtering = filtering);
        let one = lab.udp((A, 5000), (X, 1));
        let other = lab.udp((A, 5001), (Y, 1));
        lab.refuses((X, 1), other, DropReason::Filtered);
        lab.refuses((Y, 1), one, DropReason::Filtered);
    }
}

// Row 12: a later contact admits
#[test]
fn a_stranger_is_admitted_once_the_inside_has_sent_to_him() {
    for filtering in [AddressDependent, AddressAndPortDependent] {
        let mut lab = Lab::with(|p| p.filtering = filtering);
        let n = lab.udp((A, 5000), (X, 1));
        lab.refuses((Y, 2), n, DropReason::Filtered);
        lab.udp((A, 5000), (Y, 2));
        lab.delivers((Y, 2), n, (A, 5000));
    }
}

// Row 12: a stranger's access is no witness for his next one
#[test]
fn access_by_address_ends_with_the_insides_own_session() {
    let mut lab = Lab::with(|p| p.filtering = AddressDependent);
    let n = lab.udp((A, 5000), (X, 1));
    for port in 2..=4 {
        lab.wait_quietly(90_000);
        lab.udp((A, 5000), (Y, 9));
        lab.delivers((X, port), n, (A, 5000));
    }
    lab.wait_quietly(90_000);
    lab.udp((A, 5000), (Y, 9));
    lab.refuses((X, 5), n, DropReason::Filtered);
}

// Row 12: many ports of one address, and the address stays known while any session with it lives
#[test]
fn an_address_contacted_on_many_ports_is_known() {
    let mut lab = Lab::with(|p| p.filtering = AddressDependent);
    let mut n = None;
    for port in 1..=40 {
        n = Some(lab.udp((A, 5000), (X, port)));
    }
    lab.delivers((X, 999), n.unwrap(), (A, 5000));
}

// Row 12: the address stays known when the first session with it ends
#[test]
fn an_address_is_known_while_any_session_with_it_lives() {
    let mut lab = Lab::with(|p| p.filtering = AddressDependent);
    let n = lab.udp((A, 5000), (X, 1));
    lab.wait_quietly(200 * S);
    lab.udp((A, 5000), (X, 2));
    lab.wait_quietly(150 * S);
    assert_eq!(lab.sessions(), 1);
    lab.delivers((X, 999), n, (A, 5000));
    lab.wait_quietly(150 * S + LATE);
    lab.refuses((X, 998), n, DropReason::Unsolicited);
}

#[test]
fn ports_that_nobody_uses_are_closed_in_every_mode() {
    for filtering in FILTERINGS {
        let mut lab = Lab::with(|p| p.filtering = filtering);
        let n = lab.udp((A, 5000), (X, 1));
        let other = SocketAddrV4::new(*n.ip(), n.port() ^ 1);
        lab.refuses((X, 1), other, DropReason::Unsolicited);
        lab.put(OUTSIDE, Frame::tcp((X, 1), n).flags(SYN).ack(0)).dropped(DropReason::Unsolicited);
        lab.put(OUTSIDE, Frame::echo_reply(X, P, n.port(), 1)).dropped(DropReason::Unsolicited);
    }
}

#[test]
fn only_a_syn_opens_tcp_from_outside() {
    for flags in [ACK, SYN | ACK, FIN | ACK, RST, RST | ACK] {
        let mut lab = Lab::with(|p| p.filtering = EndpointIndependent);
        let n = lab.connect((A, 5000), (X, 1));
        lab.put(OUTSIDE, Frame::tcp((Y, 1), n).flags(flags)).dropped(DropReason::TcpNoSession);
    }
}

// Row 10: RFC 7857 §7
#[test]
fn filtered_traffic_keeps_nothing_alive() {
    let mut lab = Lab::new();
    let n = lab.udp((A, 5000), (X, 53));
    for _ in 0..6 {
        lab.wait_quietly(49 * S);
        lab.refuses((Y, 1), n, DropReason::Filtered);
    }
    lab.wait_quietly(6 * S + LATE);
    lab.refuses((X, 53), n, DropReason::Unsolicited);
    assert_eq!(lab.mappings(), 0);
}

// Rows 9, 10: RFC 4787 REQ-6: inbound traffic does not refresh
#[test]
fn what_the_peer_sends_keeps_nothing_alive() {
    let mut lab = Lab::new();
    let n = lab.udp((A, 5000), (X, 53));
    for _ in 0..5 {
        lab.wait_quietly(59 * S);
        lab.delivers((X, 53), n, (A, 5000));
    }
    lab.wait_quietly(5 * S + LATE);
    lab.refuses((X, 53), n, DropReason::Unsolicited);
}

// Row 10: RFC 7857 §7: guests let in by endpoint-independent filtering
#[test]
fn strangers_keep_no_mapping_alive() {
    let mut lab = Lab::with(|p| p.filtering = EndpointIndependent);
    let n = lab.udp((A, 5000), (X, 53));
    for second in 0..6u16 {
        lab.wait_quietly(49 * S);
        lab.delivers((Y, 1), n, (A, 5000));
        lab.delivers((Y, 100 + second), n, (A, 5000));
    }
    lab.wait_quietly(6 * S + LATE);
    assert_eq!(lab.mappings(), 0);
    lab.refuses((Y, 999), n, DropReason::Unsolicited);
    lab.refuses((X, 53), n, DropReason::Unsolicited);
}

// Row 10: a TCP stranger's repeated SYNs neither
#[test]
fn a_strangers_syns_keep_no_port_busy() {
    let mut lab = Lab::with(|p| p.filtering = EndpointIndependent);
    let n = lab.out(Frame::tcp((A, 5000), (X, 1)).flags(SYN).ack(0)).source;
    let knock = || Frame::tcp((Y, 1), n).flags(SYN).seq(7).ack(0);
    for _ in 0..3 {
        lab.back(knock());
        lab.wait_quietly(80 * S);
    }
    lab.wait_quietly(LATE);
    assert_eq!((lab.mappings(), lab.sessions()), (0, 0));
    lab.put(OUTSIDE, knock()).dropped(DropReason::Unsolicited);
}

// Row 11: RFC 7857 §7.1
#[test]
fn a_reset_in_answer_to_a_stranger_keeps_nothing_alive() {
    let mut lab = Lab::with(|p| p.filtering = EndpointIndependent);
    let n = lab.out(Frame::tcp((A, 5000), (X, 1)).flags(SYN).ack(0)).source;
    for knock in 0..4u16 {
        lab.wait_quietly(59 * S);
        lab.back(Frame::tcp((Y, knock + 1), n).flags(SYN).seq(7).ack(0));
        lab.out(Frame::tcp((A, 5000), (Y, knock + 1)).flags(RST | ACK).seq(0).ack(8));
    }
    lab.wait_quietly(4 * S + LATE);
    assert_eq!(lab.mappings(), 0, "resets kept the mapping");
    lab.put(OUTSIDE, Frame::tcp((Y, 77), n).flags(SYN).ack(0)).dropped(DropReason::Unsolicited);
}

// Row 11: RFC 7857 §7.1
#[test]
fn an_icmp_error_in_answer_keeps_nothing_alive() {
    let mut lab = Lab::new();
    let n = lab.udp((A, 5000), (X, 53));
    for _ in 0..5 {
        lab.wait_quietly(59 * S);
        let raw = lab.put(OUTSIDE, Frame::udp((X, 53), n)).raw_at(INSIDE).to_vec();
        lab.put(INSIDE, Frame::unreachable(A, 3, &raw[0])).only(OUTSIDE);
    }
    lab.wait_quietly(5 * S + LATE);
    lab.refuses((X, 53), n, DropReason::Unsolicited);
}

// A guest that the inside answers is a peer like any other
#[test]
fn a_stranger_who_is_answered_keeps_the_mapping_by_being_answered() {
    let mut lab = Lab::with(|p| p.filtering = EndpointIndependent);
    let n = lab.udp((A, 5000), (X, 53));
    for _ in 0..8 {
        lab.wait_quietly(100 * S);
        lab.delivers((Y, 1), n, (A, 5000));
        assert_eq!(lab.udp((A, 5000), (Y, 1)), n);
    }
    assert_eq!((lab.mappings(), lab.sessions()), (1, 1));
}
