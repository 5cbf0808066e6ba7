//! IKE: port 500 translated or kept, and what its header shows.

use crate::esp::{back, confirmed, out, serving};
use crate::lab::*;
use dataplane::passthrough::tunnel::State;
use dataplane::policy::{Forward, IkePort};
use dataplane::types::Proto;
use dataplane::verdict::{DropReason, Event};
use std::net::Ipv4Addr;
use testkit::{Frame, Seen, endpoint, fragments};

/// Exchange types.
pub(crate) const MAIN: u8 = 2;
pub(crate) const QUICK: u8 = 32;
pub(crate) const SA_INIT: u8 = 34;
pub(crate) const AUTH: u8 = 35;
pub(crate) const CHILD: u8 = 36;
pub(crate) const RESPONSE: u8 = 0x20;

/// A message: SPIs, exchange type, flags, message identifier. The version and whether it is encrypted follow from the
/// exchange.
pub(crate) fn message((i, r): (u64, u64), exchange: u8, flags: u8, id: u32) -> Vec<u8> {
    let mut m = [i.to_be_bytes(), r.to_be_bytes()].concat();
    let (next, version, flags) = match exchange {
        QUICK => (8, 0x10, flags | 1),
        0..QUICK => (1, 0x10, flags),
        SA_INIT => (33, 0x20, flags),
        _ => (46, 0x20, flags),
    };
    m.extend([next, version, exchange, flags]);
    m.extend(id.to_be_bytes());
    m.extend(44u32.to_be_bytes());
    m.extend([0xab; 16]);
    m
}

/// An inside host sends a message from port 500, in its turn.
#[track_caller]
pub(crate) fn says(lab: &mut Lab, host: &str, server: &str, m: &[u8]) -> Seen {
    lab.out_in_turn(Frame::udp((host, 500), (server, 500)).payload(m))
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

// Row 80: RFC 7296 §2.4: IKE may be silent for as long as ESP flows, and either end may rekey then
#[test]
fn a_gateway_may_rekey_a_tunnel_in_use_whose_ike_was_silent_for_long() {
    for (ike_port, minutes) in [(IkePort::Translate, 6), (IkePort::Translate, 90), (IkePort::Preserve, 120)] {
        let mut lab = Lab::with(|p| p.passthrough.ike_port = ike_port).off_the_record();
        let port = says(&mut lab, A, X, &message((1, 2), AUTH, 8, 1)).source.port();
        hears(&mut lab, A, X, port, &message((1, 2), AUTH, RESPONSE, 1));
        confirmed(&mut lab, A, X, 0x1000, 0x9000);
        for _ in 0..minutes {
            lab.wait(60 * S);
            out(&mut lab, A, X, 0x1000);
            back(&mut lab, X, 0x9000, A);
        }
        hears(&mut lab, A, X, port, &message((1, 2), CHILD, 0, 0));
        // What holds it is its ESP, and that ends.
        lab.wait_quietly(3600 * S + 300 * S + 2 * LATE);
        assert_eq!((lab.sessions(), lab.vpn().len()), (0, 0));
    }
}

// RFC 4787 REQ-6: a stranger's IKE by a forward that nobody answered is not held by it
#[test]
fn ike_that_the_inside_server_did_not_answer_ends_though_there_is_esp() {
    let mut lab = Lab::with(|p| p.forwards = serving());
    for n in 0..20 {
        lab.back(Frame::udp((X, 1000 + n), (P, 500)).payload(message((7, 0), SA_INIT, 8, 0)));
    }
    confirmed(&mut lab, B, X, 0x2000, 0xa000);
    let before = lab.sessions();
    for _ in 0..6 {
        lab.wait(60 * S);
        out(&mut lab, B, X, 0x2000);
    }
    assert_eq!(lab.sessions(), before - 20);
}

// Row 74: what was answered waits for nothing
#[test]
fn clients_that_were_answered_leave_the_others_room() {
    let mut lab = Lab::with(|p| {
        p.passthrough.ike_port = IkePort::Preserve;
        p.passthrough.pending_per_server = 4;
    });
    let host = |n: u64| Ipv4Addr::new(192, 168, 50, n as u8).to_string();
    for n in 2..40 {
        begin(&mut lab, &host(n), n, 100 + n);
    }
    assert_eq!(lab.vpn().iter().filter(|r| r.state == State::Confirmed).count(), 38);
    for n in 40..44 {
        says(&mut lab, &host(n), X, &message((n, 0), SA_INIT, 8, 0));
    }
    let more = Frame::udp((&*host(44), 500), (X, 500)).payload(message((44, 0), SA_INIT, 8, 0));
    lab.put(INSIDE, &more).dropped(DropReason::TunnelsPending);
    // What is never answered gives its place back.
    lab.wait_quietly(30 * S + LATE);
    lab.out(&more);
}

// RFC 4787 REQ-6: whose it is is guessed, so it must keep nothing
#[test]
fn what_strangers_send_keeps_no_ike_alive() {
    let mut lab = keeping();
    begin(&mut lab, A, 10, 11);
    for n in 0..4 {
        lab.wait_quietly(1000 * S);
        lab.put(OUTSIDE, Frame::udp((X, 500), (P, 500)).payload(message((n + 99, 1), 37, 0, 0)));
    }
    assert_eq!(lab.sessions(), 0, "A has been silent for longer than an hour");
}

/// The two fragments of a message of 1444 bytes, of which all but the header are 1.
fn pieces(mut m: Vec<u8>) -> Vec<Vec<u8>> {
    if m.len() > 28 {
        m[24..28].copy_from_slice(&1444u32.to_be_bytes());
    }
    m.resize(1444, 1);
    fragments(&Frame::udp((X, 500), (P, 500)).id(77).payload(m).build(), 1000)
}

// Row 84: numbers of sessions, and identifications, are used again
#[test]
fn a_later_fragment_follows_neither_a_leg_that_is_gone_nor_an_older_datagram() {
    let mut lab = Lab::single(|p| {
        p.passthrough.ike_port = IkePort::Preserve;
        p.sizes.sessions = 64;
    });
    says(&mut lab, A, X, &message((10, 0), SA_INIT, 8, 0));
    assert_eq!(lab.put_all(OUTSIDE, pieces(message((10, 11), SA_INIT, RESPONSE, 0))).at(INSIDE).len(), 2);
    // The same identification again: what is refused has no later fragments, whichever comes first.
    lab.wait(S);
    let no_ike = || pieces(vec![0; 28]);
    let o = lab.put_all(OUTSIDE, no_ike());
    assert!(o.is_silent(), "{o}");
    lab.wait(2 * 3600 * S);
    assert_eq!(lab.sessions(), 0);
    // Another host takes the session's place.
    lab.udp((B, 4000), (Y, 53));
    let o = lab.put_all(OUTSIDE, no_ike().into_iter().rev());
    assert!(o.is_silent(), "let in to B: {o}");
}
