//! IKE: port 500 translated or kept, and what its header shows.

use crate::lab::*;
use dataplane::policy::{Forward, IkePort};
use dataplane::types::Proto;
use dataplane::verdict::Event;
use std::net::Ipv4Addr;
use testkit::{Frame, Seen, endpoint, fragments};

/// Exchange types.
pub(crate) const MAIN: u8 = 2;
pub(crate) const QUICK: u8 = 32;
pub(crate) const SA_INIT: u8 = 34;
pub(crate) const AUTH: u8 = 35;
pub(crate) const CHILD: u8 = 36;
pub(crate) const RESPONSE: u8 = 0x20;

/// A message: SPIs, exchange type, flags, message identifier. The version follows from the exchange.
pub(crate) fn message((i, r): (u64, u64), exchange: u8, flags: u8, id: u32) -> Vec<u8> {
    let mut m = [i.to_be_bytes(), r.to_be_bytes()].concat();
    m.extend([0x2e, if exchange >= SA_INIT { 0x20 } else { 0x10 }, exchange, flags]);
    m.extend(id.to_be_bytes());
    m.extend(44u32.to_be_bytes());
    m.extend([0xab; 16]);
    m
}

/// An inside host sends a message from port 500.
#[track_caller]
pub(crate) fn says(lab: &mut Lab, host: &str, server: &str, m: &[u8]) -> Seen {
    lab.out(Frame::udp((host, 500), (server, 500)).payload(m))
}

/// A server's message to an outside port reaches this host's port 500.
#[track_caller]
pub(crate) fn hears(lab: &mut Lab, host: &str, server: &str, port: u16, m: &[u8]) {
    let seen = lab.back(Frame::udp((server, 500), (P, port)).payload(m));
    assert_eq!(seen.destination, endpoint((host, 500)), "to the wrong host: {seen}");
}

/// A child exchange that the inside host began, version 2.
#[track_caller]
pub(crate) fn child(lab: &mut Lab, host: &str, server: &str, id: u32) {
    let port = says(lab, host, server, &message((1, 2), CHILD, 0x08, id)).source.port();
    hears(lab, host, server, port, &message((1, 2), CHILD, RESPONSE, id));
}

fn keeping() -> Lab {
    Lab::with(|p| p.passthrough.ike_port = IkePort::Preserve)
}

/// An inside host's IKE SA begins.
#[track_caller]
fn begin(lab: &mut Lab, host: &str, i: u64, r: u64) {
    let seen = says(lab, host, X, &message((i, 0), SA_INIT, 0x08, 0));
    assert_eq!(seen.source, endpoint((P, 500)), "port 500 is kept");
    hears(lab, host, X, 500, &message((i, r), SA_INIT, RESPONSE, 0));
    says(lab, host, X, &message((i, r), AUTH, 0x08, 1));
    hears(lab, host, X, 500, &message((i, r), AUTH, RESPONSE, 1));
}

// Row 74: RFC 3715 §2.3 n
#[test]
fn clients_that_keep_port_500_are_told_apart_by_the_initiators_spi() {
    let mut lab = keeping();
    for (host, i) in [(A, 10), (B, 20)] {
        says(&mut lab, host, X, &message((i, 0), SA_INIT, 0x08, 0));
    }
    for (host, i) in [(B, 20), (A, 10)] {
        hears(&mut lab, host, X, 500, &message((i, i + 1), SA_INIT, RESPONSE, 0));
    }
    assert_eq!(lab.events(Event::IkeAmbiguous), 0);
}

// Row 74: RFC 7296 §1.3, §1.4: the responder begins an exchange within a security association
#[test]
fn an_exchange_that_the_responder_begins_reaches_its_client() {
    let mut lab = keeping();
    begin(&mut lab, A, 10, 11);
    begin(&mut lab, B, 20, 21);
    hears(&mut lab, A, X, 500, &message((10, 11), CHILD, 0, 0));
    hears(&mut lab, B, X, 500, &message((20, 21), 37, 0, 0));
    assert_eq!(lab.events(Event::IkeAmbiguous), 0);
}

// Row 74: RFC 7296 §2.18: the new SA's SPIs are in the encrypted part; the first message that shows them is the client's
#[test]
fn a_rekeyed_ike_sa_is_learned_from_the_client() {
    let mut lab = keeping();
    begin(&mut lab, A, 10, 11);
    begin(&mut lab, B, 20, 21);
    says(&mut lab, A, X, &message((30, 31), 37, 0x08, 0));
    says(&mut lab, B, X, &message((20, 21), 37, 0x08, 2));
    hears(&mut lab, A, X, 500, &message((30, 31), 37, 0, 0));
    hears(&mut lab, A, X, 500, &message((10, 11), 37, 0, 5));
    assert_eq!(lab.events(Event::IkeAmbiguous), 0);
}

// Row 74: RFC 2408 §3.1: version 1's cookies, and a new phase 1 of the client
#[test]
fn cookies_of_version_1_tell_clients_apart_as_well() {
    let mut lab = keeping();
    for (host, i) in [(A, 10), (B, 20)] {
        says(&mut lab, host, X, &message((i, 0), MAIN, 0, 0));
    }
    for (host, i) in [(B, 20), (A, 10)] {
        hears(&mut lab, host, X, 500, &message((i, i + 1), MAIN, 0, 0));
        hears(&mut lab, host, X, 500, &message((i, i + 1), QUICK, 0, 77));
    }
    says(&mut lab, A, X, &message((30, 0), MAIN, 0, 0));
    says(&mut lab, B, X, &message((20, 21), QUICK, 0, 78));
    hears(&mut lab, A, X, 500, &message((30, 33), MAIN, 0, 0));
    assert_eq!(lab.events(Event::IkeAmbiguous), 0);
}

// Row 74: RFC 3715 §2.3 o: a responder's own phase 1 cannot be told; a lone client's can
#[test]
fn an_unknown_sa_goes_to_the_only_client_or_by_a_counted_guess() {
    let mut lab = keeping();
    begin(&mut lab, A, 10, 11);
    hears(&mut lab, A, X, 500, &message((90, 0), MAIN, 0, 0));
    assert_eq!(lab.events(Event::IkeAmbiguous), 0);
    lab.wait(S);
    begin(&mut lab, B, 20, 21);
    hears(&mut lab, B, X, 500, &message((91, 0), MAIN, 0, 0));
    assert_eq!(lab.events(Event::IkeAmbiguous), 1);
    assert_eq!(lab.notices().len(), 0);
}

// Row 74: RFC 6056's worry: what forgers send may add, and never pushes out what clients taught
#[test]
fn forged_spis_do_not_push_out_what_clients_taught() {
    let mut lab = keeping();
    begin(&mut lab, A, 10, 11);
    begin(&mut lab, B, 20, 21);
    // The client has rekeyed twice, and begins once more.
    says(&mut lab, A, X, &message((12, 13), 37, 8, 0));
    says(&mut lab, B, X, &message((22, 0), SA_INIT, 8, 0));
    for n in 0..100 {
        lab.put(OUTSIDE, Frame::udp((X, 500), (P, 500)).payload(message((22, 7000 + n), SA_INIT, RESPONSE, 0)));
        lab.put(OUTSIDE, Frame::udp((X, 500), (P, 500)).payload(message((1000 + n, n), SA_INIT, 0, 0)));
        // The responder's SPI of one host with the initiator's of the other.
        lab.put(OUTSIDE, Frame::udp((X, 500), (P, 500)).payload(message((10, 5000 + n), SA_INIT, 0, 0)));
    }
    hears(&mut lab, A, X, 500, &message((10, 11), CHILD, 0, 0));
    hears(&mut lab, B, X, 500, &message((20, 21), CHILD, 0, 0));
    hears(&mut lab, A, X, 500, &message((12, 13), CHILD, 0, 0));
    hears(&mut lab, B, X, 500, &message((22, 23), SA_INIT, RESPONSE, 0));
}

// Row 84: fragments of inbound IKE where the port is kept; the later ones show no SPI
#[test]
fn fragments_of_kept_ike_follow_their_first_one() {
    let mut lab = keeping();
    begin(&mut lab, A, 10, 11);
    begin(&mut lab, B, 20, 21);
    for (host, i, id) in [(A, 10, 1), (B, 20, 2), (A, 10, 3)] {
        let mut m = message((i, i + 1), AUTH, RESPONSE, 1);
        m[24..28].copy_from_slice(&3028u32.to_be_bytes());
        m.resize(3028, 7);
        let pieces = fragments(&Frame::udp((X, 500), (P, 500)).id(id).payload(m).build(), 1500);
        let o = lab.put_all(OUTSIDE, pieces);
        assert!(o.drops.is_empty(), "{o}");
        assert!(o.at(INSIDE).iter().all(|s| s.destination.ip() == &addr(host)), "{o}");
        assert_eq!(o.at(INSIDE).len(), 3, "{o}");
    }
}

// Row 73, REQUIREMENTS row 74: many of them
#[test]
fn fifty_clients_of_one_responder_keep_port_500() {
    let mut lab = keeping();
    let host = |n: u64| Ipv4Addr::new(192, 168, 50, n as u8).to_string();
    for n in 2..52 {
        begin(&mut lab, &host(n), n, 100 + n);
    }
    for n in (2..52).rev() {
        hears(&mut lab, &host(n), X, 500, &message((n, 100 + n), CHILD, 0, 0));
    }
}

// Row 73: a forward of port 500 is not taken away by hosts that keep theirs
#[test]
fn a_forwarded_port_500_is_its_hosts() {
    let mut lab = Lab::with(|p| {
        p.passthrough.ike_port = IkePort::Preserve;
        p.forwards =
            vec![Forward { proto: Proto::UDP, outside: addr(P), ports: 500..=500, inside: addr(B), inside_port: 500 }];
    });
    let seen = says(&mut lab, A, X, &message((10, 0), SA_INIT, 0x08, 0));
    assert_ne!(seen.source.port(), 500);
    hears(&mut lab, B, Y, 500, &message((1, 0), SA_INIT, 0x08, 0));
    hears(&mut lab, B, X, 500, &message((2, 0), SA_INIT, 0x08, 0));
    assert_eq!(says(&mut lab, B, X, &message((2, 3), SA_INIT, RESPONSE, 0)).source, endpoint((P, 500)));
    hears(&mut lab, A, X, seen.source.port(), &message((10, 11), SA_INIT, RESPONSE, 0));
}
