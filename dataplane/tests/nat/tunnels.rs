//! ESP, IKE and L2TPv3 in short: whose packets are whose.

use crate::lab::*;
use dataplane::passthrough::show::Row;
use dataplane::passthrough::tunnel::{Kind, State};
use dataplane::policy::{IkePort, Pairing};
use dataplane::verdict::{DropReason, Event};
use testkit::{Frame, IntoEndpoint, Seen, endpoint};

fn esp(from: impl IntoEndpoint, to: impl IntoEndpoint, spi: u32) -> Frame<'static> {
    Frame::esp(from, to, spi, 1).payload(b"ciphertext".to_vec())
}

fn to(seen: &Seen) -> String {
    seen.destination.ip().to_string()
}

/// An IKE message: initiator's and responder's SPI, version, exchange type, flags, message identifier.
fn ike(spis: (u64, u64), version: u8, exchange: u8, flags: u8, message: u32) -> Vec<u8> {
    let mut m = [spis.0.to_be_bytes(), spis.1.to_be_bytes()].concat();
    m.extend([46, version << 4, exchange, flags]);
    m.extend(message.to_be_bytes());
    m.extend(36u32.to_be_bytes());
    m.extend([0; 8]);
    m
}

/// IKEv2's second exchange of a client with X, which ends in ESP.
fn authenticate(lab: &mut Lab, client: &str, spi: u64) {
    let request = Frame::udp((client, 500), (X, 500)).payload(ike((spi, spi + 1), 2, 35, 8, 1));
    let n = lab.out(request).source;
    lab.back(Frame::udp((X, 500), n).payload(ike((spi, spi + 1), 2, 35, 0x20, 1)));
}

// Row 77: RFC 3715 §2.2 j
#[test]
fn esp_passes_both_ways_once_the_inside_has_sent() {
    let mut lab = Lab::new();
    lab.put(OUTSIDE, esp(X, P, 0x2000)).dropped(DropReason::EspUnsolicited);
    lab.out(esp(A, X, 0x1000));
    let seen = lab.back(esp(X, P, 0x2000));
    assert_eq!(to(&seen), A);
    lab.out(esp(A, X, 0x1000));
    let rows = lab.vpn();
    let [Row { kind: Kind::Esp, state: State::Confirmed, inside_id, remote_id, out, inward, .. }] = rows[..] else {
        panic!("{rows:?}")
    };
    assert_eq!((inside_id, remote_id), (Some(0x2000), Some(0x1000)));
    assert_eq!((out.0, inward.0), (2, 1));
    lab.put(OUTSIDE, esp(Y, P, 0x2000)).dropped(DropReason::EspUnsolicited);
}

// Row 78: RFC 3715 §2.1 f
#[test]
fn sixteen_clients_that_start_together_each_get_their_own() {
    for evidence in [false, true] {
        let mut lab = Lab::new();
        let hosts: Vec<_> = (1..=16).map(|n| format!("192.168.50.{n}")).collect();
        for (n, host) in (0u32..).zip(&hosts) {
            if evidence {
                authenticate(&mut lab, host, 1000 * u64::from(n + 1));
            }
            lab.out(esp(host.as_str(), X, 0x1000 + n));
        }
        for (n, _) in (0u32..).zip(&hosts) {
            lab.put(OUTSIDE, esp(X, P, 0x2000 + n));
            lab.wait(5);
        }
        let held = lab.wait(200);
        let got: Vec<_> = held.at(INSIDE).iter().map(to).collect();
        assert!(got.iter().eq(&hosts), "{got:?}");
        for (n, host) in (0u32..).zip(&hosts) {
            assert_eq!(to(&lab.back(esp(X, P, 0x2000 + n))), *host);
            lab.out(esp(host.as_str(), X, 0x1000 + n));
        }
        assert!(lab.vpn().iter().filter(|r| r.kind == Kind::Esp).all(|r| r.state == State::Confirmed));
        // The last one had no rival any more.
        assert_eq!(lab.events(Event::EspAmbiguous), 15);
    }
}

// Row 78: evidence leaves no doubt
#[test]
fn whose_child_exchange_ended_gets_the_spi() {
    let mut lab = Lab::new();
    for host in [A, B] {
        lab.out(esp(host, X, 0x1000));
    }
    authenticate(&mut lab, B, 77);
    assert_eq!(to(&lab.back(esp(X, P, 0x2000))), B);
    assert_eq!(to(&lab.back(esp(X, P, 0x2001))), A);
    assert_eq!(lab.events(Event::EspAmbiguous), 0);
}

#[test]
fn a_wrong_choice_is_mended_once_the_other_one_sends_again() {
    let mut lab = Lab::new();
    for host in [A, B] {
        lab.out(esp(host, X, 0x1000));
        lab.wait(10);
    }
    // It is B's, and goes to A, who sent first.
    lab.put(OUTSIDE, esp(X, P, 0x2000));
    assert_eq!(to(&lab.wait(150).only(INSIDE)), A);
    lab.wait(500);
    lab.out(esp(B, X, 0x1000));
    assert_eq!(to(&lab.back(esp(X, P, 0x2000))), B);
    lab.out(esp(B, X, 0x1000));
    assert_eq!(to(&lab.back(esp(X, P, 0x2001))), A);
    assert_eq!(lab.events(Event::EspRebound), 1);
}

// Row 80: RFC 4303 §2.1, RFC 7296 §2.8
#[test]
fn rekeys_each_second_lose_nothing() {
    let mut lab = Lab::new();
    for host in [A, B] {
        authenticate(&mut lab, host, 5);
        lab.out(esp(host, X, 0x1000));
        assert_eq!(to(&lab.back(esp(X, P, if host == A { 0x2000 } else { 0x3000 }))), host);
        lab.out(esp(host, X, 0x1000));
    }
    for n in 1..60 {
        lab.wait(1000);
        for (host, base) in [(A, 0x2000), (B, 0x3000)] {
            let request = ike((5, 6), 2, 36, 0, n);
            let m = lab.out(Frame::udp((host, 500), (X, 500)).payload(request)).source;
            lab.back(Frame::udp((X, 500), m).payload(ike((5, 6), 2, 36, 0x20, n)));
            assert_eq!(to(&lab.back(esp(X, P, base + n))), host, "rekey {n}");
            lab.out(esp(host, X, 0x1000 + n));
            assert_eq!(to(&lab.back(esp(X, P, base + n - 1))), host, "the old one still passes");
        }
    }
}

// Row 82
#[test]
fn errors_about_esp_reach_the_host_that_sent_it() {
    let mut lab = Lab::new();
    let sent = lab.put(INSIDE, esp(A, X, 0x1000).df());
    let raw = sent.raw_at(OUTSIDE)[0].clone();
    lab.out(esp(B, X, 0x1001));
    let seen = lab.put(OUTSIDE, Frame::fragmentation_needed("192.0.2.1", 1400, &raw)).only(INSIDE);
    assert_eq!(to(&seen), A);
    assert_eq!(seen.quoted().source.ip().to_string(), A);
}

// Row 74: RFC 3715 §2.3 n, o
#[test]
fn clients_that_keep_port_500_are_told_apart_by_their_spis() {
    let mut lab = Lab::with(|p| p.passthrough.ike_port = IkePort::Preserve);
    for (host, spi) in [(A, 10), (B, 20)] {
        let seen = lab.out(Frame::udp((host, 500), (X, 500)).payload(ike((spi, 0), 2, 34, 8, 0)));
        assert_eq!(seen.source, endpoint((P, 500)));
    }
    for (host, spi) in [(B, 20), (A, 10)] {
        let seen = lab.back(Frame::udp((X, 500), (P, 500)).payload(ike((spi, spi + 1), 2, 34, 0x20, 0)));
        assert_eq!(seen.destination, endpoint((host, 500)));
        lab.out(Frame::udp((host, 500), (X, 500)).payload(ike((spi, spi + 1), 2, 35, 8, 1)));
    }
    // The responder's own exchange bears both SPIs, and a new security association of its own bears none.
    let seen = lab.back(Frame::udp((X, 500), (P, 500)).payload(ike((20, 21), 2, 36, 0, 0)));
    assert_eq!(seen.destination, endpoint((B, 500)));
    assert_eq!(lab.events(Event::IkeAmbiguous), 0);
    lab.back(Frame::udp((X, 500), (P, 500)).payload(ike((99, 0), 1, 2, 0, 0)));
    assert_eq!(lab.events(Event::IkeAmbiguous), 1);
}

/// L2TPv3's control message over IP, with the identifiers that its sender assigns.
fn l2tp_control(to: u32, message: u8, connection: Option<u32>, session: Option<u32>) -> Vec<u8> {
    let mut avps = vec![0x80, 8, 0, 0, 0, 0, 0, message];
    for (kind, id) in [(61, connection), (63, session)] {
        if let Some(id) = id {
            avps.extend([0x80, 10, 0, 0, 0, kind]);
            avps.extend(id.to_be_bytes());
        }
    }
    let mut m = vec![0, 0, 0, 0, 0xc8, 3, 0, 12 + avps.len() as u8];
    m.extend(to.to_be_bytes());
    m.extend([0; 4]);
    m.extend(avps);
    m
}

// Row 87: RFC 3931 §4.1.1
#[test]
fn two_clients_of_one_lcce_are_told_apart_by_their_sessions() {
    let mut lab = Lab::new();
    let data = |id: u32| [&id.to_be_bytes()[..], b"frame"].concat();
    for (host, n) in [(A, 100), (B, 200)] {
        lab.out(Frame::ip(115, host, X).payload(l2tp_control(0, 1, Some(n), None)));
        let seen = lab.back(Frame::ip(115, X, P).payload(l2tp_control(n, 2, Some(n + 50), None)));
        assert_eq!(to(&seen), host);
        lab.out(Frame::ip(115, host, X).payload(l2tp_control(n + 50, 10, None, Some(n + 1))));
    }
    for (host, n) in [(B, 200), (A, 100)] {
        assert_eq!(to(&lab.back(Frame::ip(115, X, P).payload(data(n + 1)))), host);
        lab.out(Frame::ip(115, host, X).payload(data(n + 51)));
    }
    lab.put(OUTSIDE, Frame::ip(115, X, P).payload(data(77))).dropped(DropReason::L2tpNoSession);
}

// Row 79: RFC 3715 §2.1 f: an SPI cannot be in two places
#[test]
fn an_spi_that_two_clients_chose_stays_with_the_first() {
    let mut lab = Lab::new();
    lab.out(esp(A, X, 0x1000));
    assert_eq!(to(&lab.back(esp(X, P, 0x2000))), A);
    lab.out(esp(A, X, 0x1000));
    for n in 0..5 {
        lab.out(esp(B, X, 0x1001));
        assert_eq!(to(&lab.back(esp(X, P, 0x2000))), A, "{n}");
    }
    // Another one of the second client's still finds it.
    assert_eq!(to(&lab.back(esp(X, P, 0x2001))), B);
}

// PASSTHROUGH §5.4 step 9: pending 30 s, settled an hour
#[test]
fn esp_is_kept_for_half_a_minute_and_once_answered_for_an_hour() {
    let mut lab = Lab::new();
    lab.out(esp(A, X, 0x1000));
    lab.wait(30 * S + LATE);
    assert!(lab.vpn().is_empty());
    lab.put(OUTSIDE, esp(X, P, 0x2000)).dropped(DropReason::EspUnsolicited);
    lab.out(esp(A, X, 0x1000));
    lab.back(esp(X, P, 0x2000));
    lab.out(esp(A, X, 0x1000));
    lab.wait(3500 * S);
    assert_eq!(to(&lab.back(esp(X, P, 0x2000))), A);
    lab.wait(3500 * S);
    lab.out(esp(A, X, 0x1000));
    lab.wait(3600 * S + LATE);
    lab.put(OUTSIDE, esp(X, P, 0x2000)).dropped(DropReason::EspUnsolicited);
}

// PASSTHROUGH §5.4 step 5
#[test]
fn with_strict_pairing_one_client_at_a_time_sets_up() {
    let mut lab = Lab::with(|p| p.passthrough.pairing = Pairing::Strict);
    let auth =
        |client: &'static str, spi| Frame::udp((client, 500), (X, 500)).payload(ike((spi, spi + 1), 2, 35, 8, 1));
    let n = lab.out(auth(A, 10)).source;
    lab.udp((B, 500), (X, 500));
    lab.put(INSIDE, auth(B, 20)).dropped(DropReason::IpsecWaits);
    lab.put(INSIDE, esp(B, X, 0x1001)).dropped(DropReason::IpsecWaits);
    lab.back(Frame::udp((X, 500), n).payload(ike((10, 11), 2, 35, 0x20, 1)));
    lab.out(esp(A, X, 0x1000));
    assert_eq!(to(&lab.back(esp(X, P, 0x2000))), A);
    // The next one, as soon as the first has its own.
    lab.out(auth(B, 20));
    lab.out(esp(B, X, 0x1001));
    assert_eq!(to(&lab.back(esp(X, P, 0x2001))), B);
    assert_eq!(lab.events(Event::EspAmbiguous), 0);
    // Who begins and does not go on is waited for no longer than the gate.
    lab.out(Frame::udp((A, 500), (X, 500)).payload(ike((10, 11), 2, 36, 8, 2)));
    lab.put(INSIDE, esp(B, X, 0x1002)).dropped(DropReason::IpsecWaits);
    lab.wait(30 * S);
    lab.out(esp(B, X, 0x1002));
}

// Row 81: what strangers send opens nothing, whatever they know
#[test]
fn a_flood_of_forged_spis_takes_nothing_from_a_tunnel_that_is_up() {
    let mut lab = Lab::new();
    for (host, spi) in [(A, 0x2000), (B, 0x3000)] {
        lab.out(esp(host, X, 0x1000));
        lab.back(esp(X, P, spi));
        lab.out(esp(host, X, 0x1000));
    }
    for spi in 0x8000..0x9000 {
        lab.put(OUTSIDE, esp(X, P, spi)).dropped(DropReason::EspUnsolicited);
    }
    assert_eq!(lab.sessions(), 4);
    assert_eq!((to(&lab.back(esp(X, P, 0x2000))), to(&lab.back(esp(X, P, 0x3000)))), (A.into(), B.into()));
}

// The same against the only client of a server, to which whatever comes from there belongs
#[test]
fn forged_spis_to_a_sole_client_do_not_push_out_its_own() {
    let mut lab = Lab::new();
    lab.out(esp(A, X, 0x1000));
    lab.back(esp(X, P, 0x2000));
    lab.out(esp(A, X, 0x1000));
    for spi in 0x8000..0x9000 {
        lab.back(esp(X, P, spi));
    }
    assert!(lab.sessions() <= 16);
    // A second client comes, so that nothing unknown is anybody's any more: the first one's own is known still.
    lab.out(esp(B, X, 0x1001));
    lab.back(esp(X, P, 0x3000));
    lab.out(esp(B, X, 0x1001));
    assert_eq!(to(&lab.back(esp(X, P, 0x2000))), A);
}

/// L2TPv2's control message with the tunnel identifier that its sender assigns.
fn l2tp2_control(to: u16, message: u8, assigned: u16) -> Vec<u8> {
    let mut m = vec![0xc8, 2, 0, 28];
    m.extend(to.to_be_bytes());
    m.extend([0; 6]);
    m.extend([0x80, 8, 0, 0, 0, 0, 0, message, 0x80, 8, 0, 0, 0, 9]);
    m.extend(assigned.to_be_bytes());
    m
}

// Row 86: RFC 2661 §8.1
#[test]
fn an_l2tp_servers_first_answer_may_come_from_another_port() {
    let mut lab = Lab::new();
    let request = |host: &'static str, id| Frame::udp((host, 1701), (X, 1701)).payload(l2tp2_control(0, 1, id));
    let answer = |from: &'static str, n, id| Frame::udp((from, 40_000), n).payload(l2tp2_control(id, 2, 9));
    let n = lab.out(request(A, 7)).source;
    let m = lab.out(request(B, 8)).source;
    for wrong in
        [answer(Y, n, 7), answer(X, n, 8), answer(X, m, 7), Frame::udp((X, 40_000), n).payload(vec![2, 2, 0, 7])]
    {
        lab.put(OUTSIDE, wrong).dropped(DropReason::Filtered);
    }
    assert_eq!(lab.back(answer(X, n, 7)).destination, endpoint((A, 1701)));
    assert_eq!(lab.back(answer(X, m, 8)).destination, endpoint((B, 1701)));
    assert_eq!(lab.udp((A, 1701), (X, 40_000)), n);
    lab.delivers((X, 40_000), n, (A, 1701));
    // Once, and in time.
    let late = lab.out(request(A, 9)).source;
    lab.wait(60 * S + LATE);
    lab.put(OUTSIDE, Frame::udp((X, 41_000), late).payload(l2tp2_control(9, 2, 9))).dropped(DropReason::Filtered);
}

// PASSTHROUGH: the end of a control connection ends its sessions; idle ones end by themselves
#[test]
fn l2tpv3_ends_a_minute_after_its_control_connection() {
    let mut lab = Lab::new();
    let data = [&101u32.to_be_bytes()[..], b"frame"].concat();
    lab.out(Frame::ip(115, A, X).payload(l2tp_control(0, 1, Some(100), None)));
    lab.back(Frame::ip(115, X, P).payload(l2tp_control(100, 2, Some(150), None)));
    lab.out(Frame::ip(115, A, X).payload(l2tp_control(150, 10, None, Some(101))));
    lab.back(Frame::ip(115, X, P).payload(data.clone()));
    lab.out(Frame::ip(115, A, X).payload(l2tp_control(150, 4, Some(100), None)));
    assert!(lab.vpn().iter().all(|r| r.state == State::Closing));
    lab.wait(61 * S + LATE);
    lab.put(OUTSIDE, Frame::ip(115, X, P).payload(data)).dropped(DropReason::L2tpNoSession);
    assert!(lab.vpn().is_empty());
}
