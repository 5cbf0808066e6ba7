//! VPN protocols over UDP and TCP that need no more than a good NAT.

use crate::lab::*;
use dataplane::policy::Filtering;
use dataplane::verdict::DropReason;
use testkit::{Frame, endpoint, fragments, reassemble};

/// Two clients that use the same source port to one server: each gets its own answers.
#[track_caller]
fn two_clients(port: u16, server_port: u16) {
    let mut lab = Lab::new();
    let outside = [A, B].map(|host| lab.udp((host, port), (X, server_port)));
    assert_ne!(outside[0], outside[1]);
    for (host, n) in [A, B].into_iter().zip(outside) {
        lab.delivers((X, server_port), n, (host, port));
    }
}

// Row 73: RFC 3715 §2.1 d
#[test]
fn two_ike_clients_of_one_responder_are_told_apart() {
    two_clients(500, 500);
}

// Row 76: RFC 3947 §4
#[test]
fn two_clients_behind_port_4500_have_their_own_mappings() {
    two_clients(4500, 4500);
}

// Row 85: RFC 2661 §8.1
#[test]
fn two_l2tp_clients_of_one_server_are_told_apart() {
    two_clients(1701, 1701);
}

// Row 75: RFC 3948 §2.2, §2.3: zero marker, ESP-in-UDP and keepalive
#[test]
fn what_port_4500_carries_is_not_touched_and_keepalives_refresh() {
    let mut lab = Lab::new();
    let esp = [0x12, 0x34, 0x56, 0x78, 0, 0, 0, 1, 0xde, 0xad];
    let ike = [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let mut n = None;
    for payload in [&esp[..], &ike, &[0xff]] {
        let seen = lab.out(Frame::udp((A, 4500), (X, 4500)).udp_checksum_zero().payload(payload));
        lab.back(Frame::udp((X, 4500), seen.source).payload(payload));
        n = Some(seen.source);
    }
    for _ in 0..30 {
        lab.wait_quietly(20 * S);
        assert_eq!(lab.out(Frame::udp((A, 4500), (X, 4500)).payload(&[0xff][..])).source, n.unwrap());
    }
    lab.delivers((X, 4500), n.unwrap(), (A, 4500));
}

// Row 84: RFC 3715 §2.2 l, m
#[test]
fn a_large_ike_message_passes_in_fragments() {
    let mut lab = Lab::new();
    let whole = Frame::udp((A, 500), (X, 500)).payload(vec![9; 3000]).build();
    let o = lab.put_all(INSIDE, fragments(&whole, 1500).into_iter().rev());
    let seen = testkit::Seen::read(&reassemble(o.raw_at(OUTSIDE)).unwrap()).unwrap();
    assert_eq!((seen.destination, seen.payload.len()), (endpoint((X, 500)), 3000));
}

// Row 86: RFC 2661 §8.1: a responder that answers from another port needs the looser filter
#[test]
fn an_l2tp_server_may_answer_from_another_port_where_filtering_is_by_address() {
    let mut lab = Lab::with(|p| p.filtering = Filtering::AddressDependent);
    let n = lab.udp((A, 1701), (X, 1701));
    lab.delivers((X, 40_000), n, (A, 1701));
    assert_eq!(lab.udp((A, 1701), (X, 40_000)), n);
    let mut strict = Lab::new();
    let n = strict.udp((A, 1701), (X, 1701));
    strict.refuses((X, 40_000), n, DropReason::Filtered);
}

// Row 89: an hour of a tunnel's own keepalives, UDP each 25 s and TCP each 60 s
#[test]
fn tunnels_live_for_an_hour_on_their_keepalives() {
    let mut lab = Lab::new();
    let wireguard = lab.udp((A, 51_820), (X, 51_820));
    let sstp = lab.connect((A, 5000), (X, 443));
    for second in (25..3600).step_by(25) {
        lab.wait_quietly(25 * S);
        assert_eq!(lab.udp((A, 51_820), (X, 51_820)), wireguard);
        lab.delivers((X, 51_820), wireguard, (A, 51_820));
        if second % 60 == 0 {
            lab.out(Frame::tcp((A, 5000), (X, 443)).seq(1001).ack(5001));
            lab.back(Frame::tcp((X, 443), sstp).seq(5001).ack(1001));
        }
    }
    // The server roams [WireGuard whitepaper §2.1]: the inside answers it at its new place.
    assert_eq!(lab.udp((A, 51_820), (Y, 51_820)), wireguard);
    lab.delivers((Y, 51_820), wireguard, (A, 51_820));
}
