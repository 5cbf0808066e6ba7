//! ESP: directions have unrelated SPIs, and whose an inbound one is must be found out.

use crate::ike::{CHILD, QUICK, RESPONSE, child, hears, message, says};
use crate::lab::*;
use dataplane::passthrough::tunnel::State;
use dataplane::policy::{Allow, Forward, Pairing, Policy, Static};
use dataplane::types::Proto;
use dataplane::verdict::{DropReason, Event};
use std::net::Ipv4Addr;
use testkit::{Frame, IntoEndpoint, Seen, Transport, fragments, protocol, reassemble};

pub(crate) fn esp(from: impl IntoEndpoint, to: impl IntoEndpoint, spi: u32) -> Frame<'static> {
    Frame::esp(from, to, spi, 1).payload(vec![0x5a; 40])
}

/// An inside host's ESP leaves by the pool's address, with its SPI, in its turn.
#[track_caller]
pub(crate) fn out(lab: &mut Lab, host: &str, server: &str, spi: u32) {
    let seen = lab.out_in_turn(esp(host, server, spi));
    assert_eq!((seen.source.ip(), seen.spi()), (&addr(P), spi), "{seen}");
}

/// A server's ESP reaches this host, with its SPI.
#[track_caller]
pub(crate) fn back(lab: &mut Lab, server: &str, spi: u32, host: &str) {
    let seen = lab.put(OUTSIDE, esp(server, P, spi)).only(INSIDE);
    assert_eq!((seen.destination.ip(), seen.spi()), (&addr(host), spi), "to the wrong host: {seen}");
}

/// A pair that is confirmed.
#[track_caller]
pub(crate) fn confirmed(lab: &mut Lab, host: &str, server: &str, theirs: u32, ours: u32) {
    out(lab, host, server, theirs);
    back(lab, server, ours, host);
    out(lab, host, server, theirs);
}

/// Whom packets reached: their SPIs and hosts, in order.
fn reached(seen: &[Seen]) -> Vec<(u32, Ipv4Addr)> {
    seen.iter().map(|s| (s.spi(), *s.destination.ip())).collect()
}

fn host(n: u8) -> String {
    format!("192.168.50.{n}")
}

// Row 77: RFC 3715 §2.2 j; RFC 4303 §2

#[test]
fn one_client_has_esp_both_ways_and_nothing_but_addresses_changes() {
    let mut lab = Lab::new();
    let seen = lab.out(Frame::esp(A, X, 0x1000, 7).ttl(9).tos(0xb8).payload(vec![3; 1401]));
    assert!(matches!(seen.transport, Transport::Esp { spi: 0x1000, seq: 7 }), "{seen}");
    let seen = lab.back(Frame::esp(X, P, 0xffff_ffff, 8).df().id(99).payload(vec![4; 77]));
    assert!(matches!(seen.transport, Transport::Esp { spi: 0xffff_ffff, seq: 8 }), "{seen}");
    assert_eq!(seen.destination.ip(), &addr(A));
    out(&mut lab, A, X, 0x1000);
    let rows = lab.vpn();
    assert_eq!(rows.len(), 1);
    let r = &rows[0];
    assert_eq!((r.state, r.inside, r.outside, r.remote), (State::Confirmed, addr(A), addr(P), addr(X)));
    assert_eq!((r.inside_id, r.remote_id), (Some(0xffff_ffff), Some(0x1000)));
    assert_eq!((r.out.0, r.inward.0, r.inward.1), (2, 1, 20 + 8 + 77));
}

/// 16 clients set up within a second, and the server answers them in this order.
#[track_caller]
fn sixteen(evidence: bool, order: impl Fn(u8) -> u8) {
    let mut lab = Lab::new();
    for n in 0..16 {
        says(&mut lab, &host(2 + n), X, &message((1, 0), 34, 8, 0));
    }
    if evidence {
        for n in 0..16 {
            let i = order(n);
            out(&mut lab, &host(2 + i), X, 0x1000 + u32::from(i));
        }
        for n in 0..16 {
            let i = order(15 - n);
            child(&mut lab, &host(2 + i), X, 5);
            back(&mut lab, X, 0x9000 + u32::from(i), &host(2 + i));
            lab.wait(50);
        }
    } else {
        for n in 0..16 {
            out(&mut lab, &host(2 + n), X, 0x1000 + u32::from(n));
            lab.wait(50);
        }
        for n in 0..16 {
            let spi = 0x9000 + u32::from(n);
            let mut o = lab.put(OUTSIDE, esp(X, P, spi));
            if n < 15 {
                assert!(o.is_silent(), "it is not clear yet whose it is: {o}");
                o = lab.wait(150);
            }
            assert_eq!(reached(o.at(INSIDE)), [(spi, addr(&host(2 + n)))]);
        }
        assert_eq!(lab.events(Event::EspAmbiguous), 15);
    }
    // Several waited, so one answer does not confirm yet.
    for _ in 0..3 {
        for n in 0..16 {
            out(&mut lab, &host(2 + n), X, 0x1000 + u32::from(n));
            back(&mut lab, X, 0x9000 + u32::from(n), &host(2 + n));
        }
    }
    assert!(lab.vpn().iter().all(|r| r.state == State::Confirmed));
    let slow = lab.events(Event::EspAmbiguous);
    for n in (0..16).rev() {
        back(&mut lab, X, 0x9000 + u32::from(n), &host(2 + n));
    }
    assert_eq!(lab.events(Event::EspAmbiguous), slow);
}

// Row 78: RFC 3715 §2.1 f

#[test]
fn sixteen_clients_at_once_are_paired_in_the_order_of_their_requests() {
    sixteen(false, |n| n);
}

// Row 78: child exchanges one after the other, in another order than the ESP

#[test]
fn sixteen_clients_at_once_are_paired_by_what_ike_shows() {
    sixteen(true, |n| n);
    sixteen(true, |n| (n * 7 + 3) % 16);
}

// Row 78: RFC 2409 §5.5: Quick Mode's three messages

#[test]
fn quick_mode_is_evidence_as_well_whichever_side_began_it() {
    for from_inside in [true, false] {
        let mut lab = Lab::new();
        let port = says(&mut lab, B, X, &message((1, 2), 2, 0, 0)).source.port();
        out(&mut lab, A, X, 0x1000);
        out(&mut lab, B, X, 0x2000);
        let quick = message((1, 2), QUICK, 0, 77);
        for n in 0..3 {
            if (n % 2 == 0) == from_inside {
                says(&mut lab, B, X, &quick);
            } else {
                hears(&mut lab, B, X, port, &quick);
            }
        }
        back(&mut lab, X, 0x9000, B);
        back(&mut lab, X, 0x9001, A);
    }
}

// PASSTHROUGH 5.4, 3

#[test]
fn evidence_during_the_hold_decides_and_held_packets_stay_in_order() {
    let mut lab = Lab::new();
    let port = says(&mut lab, B, X, &message((1, 0), 34, 8, 0)).source.port();
    out(&mut lab, A, X, 0x1000);
    out(&mut lab, B, X, 0x2000);
    let numbered = |seq| Frame::esp(X, P, 0x9000, seq).payload(b"x");
    assert!(lab.put(OUTSIDE, numbered(1)).is_silent());
    lab.wait_quietly(50);
    says(&mut lab, B, X, &message((1, 2), CHILD, 8, 5));
    hears(&mut lab, B, X, port, &message((1, 2), CHILD, RESPONSE, 5));
    // What comes later does not overtake.
    let mut sent = lab.put(OUTSIDE, numbered(2)).sent[0].clone();
    for seq in 3..6 {
        sent.extend(lab.wait(50).sent[0].clone());
        sent.extend(lab.put(OUTSIDE, numbered(seq)).sent[0].clone());
    }
    sent.extend(lab.wait(200).sent[0].clone());
    let got: Vec<_> = sent.iter().map(|s| (s.transport.clone(), *s.destination.ip())).collect();
    let want: Vec<_> = (1..6).map(|seq| (Transport::Esp { spi: 0x9000, seq }, addr(B))).collect();
    assert_eq!(got, want);
    assert_eq!(lab.events(Event::EspAmbiguous), 0);
}

// PASSTHROUGH 5.4, 3: the hold is short and narrow

#[test]
fn few_packets_of_a_server_may_wait_and_the_others_are_counted() {
    // Which of a burst are first is by chance.
    let mut lab = Lab::new().off_the_record();
    out(&mut lab, A, X, 0x1000);
    out(&mut lab, B, X, 0x2000);
    let o = lab.put_all(OUTSIDE, (0..44).map(|n| esp(X, P, 0x9000 + n % 2)));
    assert!(o.is_silent());
    assert_eq!(o.drops.get(&DropReason::EspWaitFull), Some(&12));
    // Another server is not disturbed.
    confirmed(&mut lab, A, Y, 0x3000, 0xa000);
    assert_eq!(lab.wait(150).at(INSIDE).len(), 32);
}

// PASSTHROUGH 5.4, 4

#[test]
fn a_wrong_pairing_is_mended_when_the_other_client_sends_again() {
    let mut lab = Lab::new();
    out(&mut lab, A, X, 0x1000);
    lab.wait(50);
    out(&mut lab, B, X, 0x2000);
    lab.put(OUTSIDE, esp(X, P, 0x9000));
    assert_eq!(reached(lab.wait(150).at(INSIDE)), [(0x9000, addr(A))]);
    // It was B's: A stays silent, B sends again.
    lab.wait(S);
    out(&mut lab, B, X, 0x2000);
    back(&mut lab, X, 0x9000, B);
    assert_eq!(lab.events(Event::EspRebound), 1);
    out(&mut lab, B, X, 0x2000);
    back(&mut lab, X, 0x9001, A);
    out(&mut lab, A, X, 0x1000);
    back(&mut lab, X, 0x9000, B);
    back(&mut lab, X, 0x9001, A);
    assert_eq!(lab.events(Event::EspRebound), 1);
}

// Row 79: RFC 3715 §2.1 f

#[test]
fn an_inbound_spi_that_two_clients_chose_stays_with_the_first() {
    let mut lab = Lab::new();
    confirmed(&mut lab, A, X, 0x1000, 0x9000);
    out(&mut lab, B, X, 0x2000);
    for _ in 0..10 {
        back(&mut lab, X, 0x9000, A);
        out(&mut lab, B, X, 0x2000);
        out(&mut lab, A, X, 0x1000);
        lab.wait(S);
    }
    // The second one's next SPI is its own.
    back(&mut lab, X, 0x9001, B);
    assert_eq!(lab.events(Event::EspRebound), 0);
}

// Row 80: RFC 4303 §2.1, RFC 7296 §2.8

#[test]
fn both_ends_may_rekey_each_second_without_a_loss() {
    let mut lab = Lab::new();
    confirmed(&mut lab, A, X, 0x1000, 0x9000);
    confirmed(&mut lab, B, X, 0x2000, 0xa000);
    for n in 1..=60 {
        // Old and new SPIs at once; sometimes the server is first.
        child(&mut lab, A, X, n);
        if n % 2 == 0 {
            out(&mut lab, A, X, 0x1000 + n);
            back(&mut lab, X, 0x9000 + n, A);
        } else {
            back(&mut lab, X, 0x9000 + n, A);
            out(&mut lab, A, X, 0x1000 + n);
        }
        for old in n.saturating_sub(3)..n {
            out(&mut lab, A, X, 0x1000 + old);
            back(&mut lab, X, 0x9000 + old, A);
        }
        back(&mut lab, X, 0xa000, B);
        lab.wait_quietly(S);
    }
    assert_eq!(lab.events(Event::EspAmbiguous), 0);
    assert!(lab.vpn().iter().all(|r| r.state == State::Confirmed));
    assert!(lab.drops_so_far().is_empty());
    let most = 2 * dataplane::passthrough::tunnel::LEGS + 2;
    assert!(lab.sessions() <= most, "{} sessions", lab.sessions());
    let r = *lab.vpn().iter().find(|r| r.inside == addr(A)).unwrap();
    assert_eq!((r.out.0, r.inward.0), (2 + 60 + 177, 1 + 60 + 177), "traffic of legs that ended counts");
}

// Row 81: RFC 4303 §2.1

#[test]
fn what_nobody_asked_for_and_reserved_spis_are_dropped_and_leave_nothing() {
    let mut lab = Lab::new();
    for spi in [256, 0x1234, u32::MAX] {
        lab.put(OUTSIDE, esp(X, P, spi)).dropped(DropReason::EspUnsolicited);
    }
    for spi in [0, 1, 255] {
        lab.put(OUTSIDE, esp(X, P, spi)).dropped(DropReason::EspReservedSpi);
        lab.put(INSIDE, esp(A, X, spi)).dropped(DropReason::EspReservedSpi);
    }
    assert_eq!((lab.sessions(), lab.vpn().len(), lab.subscribers()), (0, 0, 0));
    out(&mut lab, A, X, 0x1000);
    lab.put(OUTSIDE, esp(Y, P, 0x9000)).dropped(DropReason::EspUnsolicited);
}

// Row 82: RFC 5508 REQ-3, REQ-4: an error quotes what left

#[test]
fn errors_about_esp_reach_the_host_that_sent_it_and_quote_what_it_sent() {
    let mut lab = Lab::new();
    for (h, theirs, ours) in [(A, 0x1000, 0x9000), (B, 0x2000, 0x9100)] {
        confirmed(&mut lab, h, X, theirs, ours);
    }
    for (h, spi) in [(A, 0x1000u32), (B, 0x2000)] {
        let left = lab.put(INSIDE, esp(h, X, spi)).raw[1][0].clone();
        let seen = lab.put(OUTSIDE, Frame::fragmentation_needed(G, 1400, left)).only(INSIDE);
        assert_eq!((seen.destination.ip(), seen.icmp().mtu()), (&addr(h), 1400), "{seen}");
        let q = seen.quoted();
        assert_eq!((q.source.ip(), q.protocol), (&addr(h), protocol::ESP));
        assert_eq!(q.data[..4], spi.to_be_bytes());
    }
    for (h, spi) in [(A, 0x9000u32), (B, 0x9100)] {
        let left = lab.put(OUTSIDE, esp(X, P, spi)).raw[0][0].clone();
        let seen = lab.put(INSIDE, Frame::fragmentation_needed(h, 1300, left)).only(OUTSIDE);
        assert_eq!((seen.source.ip(), seen.destination.ip(), seen.icmp().mtu()), (&addr(P), &addr(X), 1300));
        assert_eq!((seen.quoted().destination.ip(), &seen.quoted().data[..4]), (&addr(P), &spi.to_be_bytes()[..]));
    }
}

// Row 84: fragments of ESP

#[test]
fn esp_passes_in_fragments_both_ways_in_any_order() {
    let mut lab = Lab::new();
    confirmed(&mut lab, A, X, 0x1000, 0x9000);
    for (id, reverse) in [(1, false), (2, true)] {
        for (from, to, port, at, spi) in [(A, X, INSIDE, OUTSIDE, 0x1000), (X, P, OUTSIDE, INSIDE, 0x9000)] {
            let mut pieces = fragments(&Frame::esp(from, to, spi, 2).id(id).payload(vec![6; 4000]).build(), 1500);
            if reverse {
                pieces.reverse();
            }
            let o = lab.put_all(port, pieces);
            let seen = Seen::read(&reassemble(o.raw_at(at)).unwrap()).unwrap();
            assert_eq!((seen.spi(), seen.payload.len()), (spi, 4000));
        }
    }
}

// PASSTHROUGH 5.4, 9

#[test]
fn what_is_not_answered_lives_30_s_and_what_is_settled_an_hour_unless_told_otherwise() {
    for (pending, settled) in [(30, 3600), (5, 100)] {
        let mut lab = Lab::with(|p: &mut Policy| {
            (p.timeouts.esp_pending, p.timeouts.esp) = (pending * S, settled * S);
        });
        out(&mut lab, A, X, 0x1000);
        lab.wait((pending - 1) * S);
        assert_eq!(lab.vpn().len(), 1);
        lab.wait(S + 4 * LATE);
        assert!(lab.vpn().is_empty());
        lab.put(OUTSIDE, esp(X, P, 0x9000)).dropped(DropReason::EspUnsolicited);
        confirmed(&mut lab, A, X, 0x1000, 0x9000);
        lab.wait((settled - 5) * S);
        back(&mut lab, X, 0x9000, A);
        lab.wait((settled - 5) * S);
        out(&mut lab, A, X, 0x1000);
        lab.wait((settled + 10) * S);
        assert_eq!((lab.vpn().len(), lab.sessions(), lab.subscribers()), (0, 0, 0));
    }
}

#[test]
fn limits_refuse_one_more_and_disturb_nobody_else() {
    let mut lab = Lab::single(|p| {
        (p.passthrough.tunnels, p.passthrough.tunnels_per_subscriber, p.passthrough.pending_per_server) = (6, 2, 3);
    });
    confirmed(&mut lab, A, X, 0x1000, 0x9000);
    out(&mut lab, A, Y, 0x1000);
    lab.put(INSIDE, esp(A, N, 0x1000)).dropped(DropReason::TunnelLimit);
    for n in 2..5 {
        out(&mut lab, &host(n), X, 0x1000);
    }
    lab.put(INSIDE, esp(&*host(5), X, 0x1000)).dropped(DropReason::TunnelsPending);
    out(&mut lab, &host(5), N, 0x1000);
    lab.put(INSIDE, esp(&*host(6), N, 0x1000));
    lab.wait(250).dropped(DropReason::TunnelTableFull);
    back(&mut lab, X, 0x9000, A);
    out(&mut lab, A, X, 0x1000);
    lab.wait(32 * S);
    assert_eq!(lab.vpn().len(), 1);
    confirmed(&mut lab, A, N, 0x1000, 0x9000);
}

pub(crate) fn strict() -> Lab {
    Lab::with(|p| p.passthrough.pairing = Pairing::Strict)
}

/// An inside host's packet waits for its turn, which does not come.
#[track_caller]
fn refused(lab: &mut Lab, frame: Frame<'_>) {
    assert!(lab.put(INSIDE, frame).drops.is_empty());
    lab.wait_quietly(TURN - 50);
    lab.wait(100).dropped(DropReason::IpsecWaits);
}

// PASSTHROUGH 5.4, 5

#[test]
fn with_strict_pairing_others_wait_until_the_first_is_paired_or_the_gate_is_over() {
    let mut lab = strict();
    let quick = message((1, 2), QUICK, 0, 77);
    says(&mut lab, A, X, &quick);
    refused(&mut lab, esp(B, X, 0x2000));
    refused(&mut lab, Frame::udp((B, 500), (X, 500)).payload(quick.clone()));
    out(&mut lab, B, Y, 0x2000);
    // Phase 1 may go on meanwhile.
    says(&mut lab, B, X, &message((3, 0), 2, 0, 0));
    out(&mut lab, A, X, 0x1000);
    back(&mut lab, X, 0x9000, A);
    out(&mut lab, B, X, 0x2000);
    refused(&mut lab, esp(C_INSIDE, X, 0x3000));
    // B never gets an answer.
    lab.wait(33 * S);
    out(&mut lab, C_INSIDE, X, 0x3000);
    back(&mut lab, X, 0x9003, C_INSIDE);
    assert_eq!(lab.events(Event::EspAmbiguous), 0);
}

const C_INSIDE: &str = "192.168.50.30";

// A gateway may be the first to use the new keys: what its client answers is no beginning
#[test]
fn with_strict_pairing_a_client_whose_gateway_spoke_first_keeps_nobody_waiting() {
    let mut lab = strict();
    for (n, host) in (0u32..).zip([A, B, A, B]) {
        child(&mut lab, host, X, 5 + n);
        back(&mut lab, X, 0x9000 + n, host);
        out(&mut lab, host, X, 0x1000 + n);
    }
    assert_eq!(lab.events(Event::EspAmbiguous), 0);
}

// RFC 7296 §2.18: an exchange that renews IKE itself looks the same, and no data follows
#[test]
fn with_strict_pairing_a_renewed_ike_keeps_nobody_waiting_for_the_whole_gate() {
    let mut lab = strict();
    confirmed(&mut lab, A, X, 0x1000, 0x9000);
    child(&mut lab, A, X, 7);
    // The old one is deleted, by the new keys or the old.
    says(&mut lab, A, X, &message((1, 2), 37, 8, 8));
    lab.put(INSIDE, esp(B, X, 0x2000));
    let seen = lab.wait(2_100).only(OUTSIDE);
    assert_eq!(seen.spi(), 0x2000);
}

// RFC 7296 §2.16: an EAP log-in is several exchanges and one pair of SPIs
#[test]
fn the_exchanges_of_one_eap_log_in_are_one_claim() {
    let mut lab = Lab::new();
    for id in 1..=5 {
        let port = says(&mut lab, A, X, &message((1, 2), 35, 8, id)).source.port();
        hears(&mut lab, A, X, port, &message((1, 2), 35, RESPONSE, id));
    }
    confirmed(&mut lab, A, X, 0x1000, 0x9000);
    lab.wait(500);
    let port = says(&mut lab, B, X, &message((3, 4), 35, 8, 1)).source.port();
    hears(&mut lab, B, X, port, &message((3, 4), 35, RESPONSE, 1));
    confirmed(&mut lab, B, X, 0x2000, 0xa000);
    assert_eq!(lab.events(Event::EspAmbiguous), 0);
}

/// An IPsec server inside, at B.
pub(crate) fn serving() -> Vec<Forward> {
    let forward =
        |proto, port| Forward { proto, outside: addr(P), ports: port..=port, inside: addr(B), inside_port: port };
    vec![forward(Proto::ESP, 0), forward(Proto::UDP, 500), forward(Proto::UDP, 4500)]
}

#[test]
fn an_ipsec_server_inside_serves_the_outside_while_inside_clients_use_others() {
    let mut lab = Lab::with(|p| p.forwards = serving());
    confirmed(&mut lab, A, Y, 0x1000, 0x9000);
    hears(&mut lab, B, X, 500, &message((1, 0), 34, 8, 0));
    back(&mut lab, X, 0x9100, B);
    out(&mut lab, B, X, 0x2000);
    back(&mut lab, X, 0x9100, B);
    back(&mut lab, Y, 0x9000, A);
    // And with the same remote host: what IKE shows tells whose the next SPI is.
    confirmed(&mut lab, A, X, 0x3000, 0x9200);
    hears(&mut lab, B, X, 500, &message((1, 2), CHILD, 8, 9));
    says(&mut lab, B, X, &message((1, 2), CHILD, RESPONSE, 9));
    back(&mut lab, X, 0x9300, B);
    out(&mut lab, A, X, 0x3000);
    back(&mut lab, X, 0x9200, A);
}

// A remote host that one inside host uses as a server is a client of the inside server

#[test]
fn evidence_by_a_forward_counts_before_the_first_esp() {
    let mut lab = Lab::with(|p| p.forwards = serving());
    confirmed(&mut lab, A, X, 0x1000, 0x9000);
    hears(&mut lab, B, X, 500, &message((1, 2), CHILD, 8, 9));
    says(&mut lab, B, X, &message((1, 2), CHILD, RESPONSE, 9));
    back(&mut lab, X, 0x9300, B);
    back(&mut lab, X, 0x9000, A);
}

#[test]
fn two_inside_hosts_speak_esp_by_the_forward() {
    let mut lab = Lab::with(|p| p.forwards = serving());
    let o = lab.put(INSIDE, esp(A, P, 0x1000));
    assert_eq!(reached(o.at(INSIDE)), [(0x1000, addr(B))], "{o}");
    assert_eq!(o.at(INSIDE)[0].source.ip(), &addr(P));
    for _ in 0..2 {
        let o = lab.put(INSIDE, esp(B, P, 0x2000));
        assert_eq!(reached(o.at(INSIDE)), [(0x2000, addr(A))], "{o}");
    }
    // Both rekey, and a third one calls.
    for (from, spi, to) in [(A, 0x1001, B), (B, 0x2001, A), (B, 0x2002, A), (A, 0x1002, B), (C_INSIDE, 0x3000, B)] {
        let o = lab.put(INSIDE, esp(from, P, spi));
        assert_eq!(reached(o.at(INSIDE)), [(spi, addr(to))], "{o}");
    }
    let o = lab.put(INSIDE, esp(B, P, 0x2003));
    assert_eq!(reached(o.at(INSIDE)), [(0x2003, addr(C_INSIDE))], "{o}");
}

#[test]
fn a_one_to_one_host_gets_esp_where_its_firewall_allows_it() {
    let own = "203.0.113.30";
    let open = |allow: bool| {
        Lab::with(move |p| {
            p.statics = vec![Static { outside: addr(own), inside: addr(B) }];
            p.allows = if allow { vec![Allow { proto: Proto::ESP, inside: addr(B), ports: 0..=0 }] } else { vec![] };
        })
    };
    open(false).put(OUTSIDE, esp(X, own, 0x9000)).dropped(DropReason::FirewallDenied);
    let mut lab = open(true);
    assert_eq!(lab.put(OUTSIDE, esp(X, own, 0x9000)).only(INSIDE).destination.ip(), &addr(B));
    let seen = lab.put(INSIDE, esp(B, X, 0x2000)).only(OUTSIDE);
    assert_eq!((seen.source.ip(), seen.spi()), (&addr(own), 0x2000));
}

// A spoofer who knows the server's address

// A spoofer's requests must not hide the client's own exchange

// A made-up SPI that came first must not leave the client without an answer

// A spoofer's identifiers do not stand for the host's own rekeys

// From outside nobody closes the gate to inside hosts

// RFC 7296 §2.8.1: both ends rekey at the same time, with the same message identifier

// Row 81: nobody outside makes the box keep anything, and the pending of one server are not another's

// A forward's host is called by anybody; what a spoofer makes up in a client's name does not push out the client

// What lapsed makes nobody wait again
