//! ESP, the hostile and the unlucky: those outside who send in a server's name, those inside who want more than their
//! share, and exchanges that cross or come to nothing.

use crate::esp::{back, confirmed, esp, out, serving, strict};
use crate::ike::{AUTH, CHILD, RESPONSE, child, hears, message, says};
use crate::lab::*;
use dataplane::verdict::{DropReason, Event};
use std::net::Ipv4Addr;

#[test]
fn with_strict_pairing_nobody_keeps_the_gate_by_trying_again_and_again() {
    let mut lab = strict();
    out(&mut lab, A, X, 0x1000);
    let mut waited = 0;
    let passed = loop {
        // A's new SPI is always a little earlier.
        lab.put(INSIDE, esp(A, X, 0x1001 + waited));
        if lab.put(INSIDE, esp(B, X, 0x2000)).drops.is_empty() {
            break waited;
        }
        waited += 1;
        assert!(waited < 100, "B starves");
        lab.wait(S);
    };
    assert!(passed <= 32, "after {passed} s");
}

#[test]
fn a_flood_of_made_up_spis_does_not_push_out_a_pair() {
    let mut lab = Lab::new();
    confirmed(&mut lab, A, X, 0x1000, 0x9000);
    for n in 0..300 {
        lab.put(OUTSIDE, esp(X, P, 0x10_0000 + n));
    }
    assert!(lab.sessions() <= dataplane::passthrough::tunnel::LEGS);
    // With a second client, an SPI that was forgotten would be nobody's.
    confirmed(&mut lab, B, X, 0x2000, 0xa000);
    back(&mut lab, X, 0x9000, A);
    for n in 0..300 {
        lab.put(OUTSIDE, esp(X, P, 0x20_0000 + n));
    }
    back(&mut lab, X, 0x9000, A);
    back(&mut lab, X, 0xa000, B);
}

#[test]
fn a_forged_request_does_not_hide_an_exchange() {
    let mut lab = Lab::new();
    out(&mut lab, A, X, 0x1000);
    out(&mut lab, B, X, 0x2000);
    let port = says(&mut lab, B, X, &message((1, 2), CHILD, 8, 5)).source.port();
    hears(&mut lab, B, X, port, &message((6, 7), CHILD, 0, 99));
    hears(&mut lab, B, X, port, &message((1, 2), CHILD, RESPONSE, 5));
    back(&mut lab, X, 0x9000, B);
}

#[test]
fn a_made_up_spi_during_the_set_up_does_not_keep_the_real_one_out() {
    let mut lab = Lab::new();
    confirmed(&mut lab, A, X, 0x1000, 0x9000);
    lab.wait(60 * S);
    out(&mut lab, B, X, 0x2000);
    lab.put(OUTSIDE, esp(X, P, 0x66_6666));
    back(&mut lab, X, 0x9100, B);
    out(&mut lab, B, X, 0x2000);
    back(&mut lab, X, 0x9000, A);
}

#[test]
fn made_up_spis_do_not_keep_a_client_from_waiting_for_its_rekey() {
    let mut lab = Lab::new();
    confirmed(&mut lab, A, X, 0x1000, 0x9000);
    for n in 0..20 {
        lab.put(OUTSIDE, esp(X, P, 0x10_0000 + n));
    }
    lab.wait(31 * S);
    confirmed(&mut lab, B, X, 0x2000, 0xa000);
    out(&mut lab, A, X, 0x1001);
    back(&mut lab, X, 0x9001, A);
}

#[test]
fn with_strict_pairing_forged_exchanges_keep_nobody_waiting() {
    let mut lab = strict();
    let port = says(&mut lab, A, X, &message((1, 2), 34, 8, 0)).source.port();
    hears(&mut lab, A, X, port, &message((1, 2), CHILD, 0, 7));
    out(&mut lab, B, X, 0x2000);
}

#[test]
fn exchanges_of_both_sides_at_once_are_both_evidence() {
    let mut lab = Lab::new();
    out(&mut lab, A, X, 0x1000);
    let port = says(&mut lab, B, X, &message((1, 2), CHILD, 8, 2)).source.port();
    hears(&mut lab, B, X, port, &message((1, 2), CHILD, 0, 2));
    says(&mut lab, B, X, &message((1, 2), CHILD, 8 | RESPONSE, 2));
    hears(&mut lab, B, X, port, &message((1, 2), CHILD, RESPONSE, 2));
    for spi in [0x9000, 0x9001] {
        back(&mut lab, X, spi, B);
    }
    back(&mut lab, X, 0x9002, A);
}

#[test]
fn a_flood_from_outside_leaves_no_state_and_disturbs_no_set_up() {
    // Which of a burst are first is by chance.
    let mut lab = Lab::new().off_the_record();
    for n in 0..500 {
        lab.put(OUTSIDE, esp(Y, P, 0x1000 + n)).dropped(DropReason::EspUnsolicited);
    }
    assert_eq!((lab.sessions(), lab.vpn().len()), (0, 0));
    out(&mut lab, A, X, 0x1000);
    out(&mut lab, B, X, 0x2000);
    let o = lab.put_all(OUTSIDE, (0..200).map(|n| esp(X, P, 0x9000 + n)));
    assert!(o.is_silent());
    // What waits is bounded, and a client of another server does not notice.
    confirmed(&mut lab, A, Y, 0x3000, 0xa000);
    lab.wait(200);
    assert!(lab.sessions() <= 2 * dataplane::passthrough::tunnel::LEGS, "{}", lab.sessions());
}

#[test]
fn a_flood_by_a_forward_pushes_out_no_pair_of_its_host() {
    let mut lab = Lab::with(|p| p.forwards = serving());
    back(&mut lab, X, 0x9100, B);
    out(&mut lab, B, X, 0x2000);
    confirmed(&mut lab, A, X, 0x1000, 0x9000);
    hears(&mut lab, B, X, 500, &message((1, 2), CHILD, 8, 9));
    says(&mut lab, B, X, &message((1, 2), CHILD, RESPONSE, 9));
    back(&mut lab, X, 0x9300, B);
    out(&mut lab, B, X, 0x2000);
    for n in 0..300 {
        let o = lab.put(OUTSIDE, esp(X, P, 0x10_0000 + n));
        assert_eq!(o.at(INSIDE)[0].destination.ip(), &addr(B), "a stranger's is the forward's");
    }
    for (spi, host) in [(0x9300, B), (0x9000, A)] {
        let before = lab.events(Event::SessionsOpened);
        back(&mut lab, X, spi, host);
        assert_eq!(lab.events(Event::SessionsOpened), before, "it was still known");
    }
}

#[test]
fn a_rekey_that_came_to_nothing_does_not_wait_beside_the_next_one() {
    let mut lab = Lab::new();
    confirmed(&mut lab, A, X, 0x1000, 0x9000);
    confirmed(&mut lab, B, X, 0x2000, 0xa000);
    child(&mut lab, A, X, 1);
    out(&mut lab, A, X, 0x1001);
    lab.wait(40 * S);
    child(&mut lab, A, X, 2);
    out(&mut lab, A, X, 0x1002);
    back(&mut lab, X, 0x9002, A);
    out(&mut lab, B, X, 0x2001);
    back(&mut lab, X, 0xa001, B);
}

// A record without ESP yet has no timer of its own: it stays while its exchange may go on
#[test]
fn a_slow_exchange_is_evidence_as_well() {
    let mut lab = Lab::with(|p| p.passthrough.tunnels = 64);
    let port = says(&mut lab, A, X, &message((1, 2), CHILD, 8, 5)).source.port();
    for _ in 0..50 {
        lab.wait_quietly(100);
    }
    hears(&mut lab, A, X, port, &message((1, 2), CHILD, RESPONSE, 5));
    out(&mut lab, B, X, 0x2000);
    out(&mut lab, A, X, 0x1000);
    back(&mut lab, X, 0x9000, A);
    assert_eq!(lab.events(Event::EspAmbiguous), 0);
}

/// Whom an unseen SPI reaches, at once or after it was held.
fn given_to(lab: &mut Lab, spi: u32) -> Vec<Ipv4Addr> {
    let mut o = lab.put(OUTSIDE, esp(X, P, spi));
    if o.is_silent() {
        o = lab.wait(200);
    }
    o.at(INSIDE).iter().map(|s| *s.destination.ip()).collect()
}

// RFC 7296 §1.5, §2.21.4: a responder refuses what it knows nothing of in the clear, so anybody gets that
#[test]
fn refusals_of_made_up_exchanges_are_no_evidence() {
    let mut lab = Lab::new();
    for id in 0..8 {
        let port = says(&mut lab, B, X, &message((0x66, 0x66), CHILD, 8, id)).source.port();
        let mut refusal = message((0x66, 0x66), CHILD, RESPONSE, id);
        refusal[16] = 41;
        hears(&mut lab, B, X, port, &refusal);
    }
    child(&mut lab, A, X, 5);
    out(&mut lab, A, X, 0x1000);
    assert_eq!(given_to(&mut lab, 0x9000), [addr(A)]);
    lab.put(INSIDE, esp(B, X, 0x2000));
    for _ in 0..60 {
        lab.put(INSIDE, esp(A, X, 0x1000));
        back(&mut lab, X, 0x9000, A);
        lab.wait(S);
    }
}

// RFC 7296 §2.16: several rounds, one child
#[test]
fn the_rounds_of_one_eap_log_in_are_one_claim() {
    let mut lab = Lab::new();
    for id in 1..=5 {
        let port = says(&mut lab, A, X, &message((1, 2), AUTH, 8, id)).source.port();
        hears(&mut lab, A, X, port, &message((1, 2), AUTH, RESPONSE, id));
    }
    confirmed(&mut lab, A, X, 0x1000, 0x9000);
    lab.wait(500);
    let port = says(&mut lab, B, X, &message((3, 4), AUTH, 8, 1)).source.port();
    hears(&mut lab, B, X, port, &message((3, 4), AUTH, RESPONSE, 1));
    out(&mut lab, B, X, 0x2000);
    assert_eq!(given_to(&mut lab, 0xa000), [addr(B)]);
    assert_eq!(lab.events(Event::EspAmbiguous), 0);
}
/// Two clients send each second, and the server answers; what reached whom.
fn later(lab: &mut Lab, seconds: u32) -> Vec<(u32, std::net::Ipv4Addr)> {
    let mut reached = Vec::new();
    for _ in 0..seconds {
        for (host, theirs, ours) in [(A, 0x1000, 0x9000), (B, 0x2000, 0xa000)] {
            lab.out_in_turn(esp(host, X, theirs));
            let mut inward = lab.put(OUTSIDE, esp(X, P, ours)).sent[0].clone();
            inward.extend(lab.wait(500).sent[0].clone());
            reached.extend(inward.iter().map(|s| (s.spi(), *s.destination.ip())));
        }
    }
    reached
}

// Two identifiers that are nobody's: forged, or left over from before a restart
#[test]
fn two_made_up_spis_do_not_end_two_set_ups() {
    for evidence in [false, true] {
        let mut lab = Lab::new();
        for (host, spi) in [(A, 0x1000), (B, 0x2000)] {
            if evidence {
                child(&mut lab, host, X, 5);
            }
            out(&mut lab, host, X, spi);
        }
        for spi in [0x66_0001, 0x66_0002] {
            lab.put(OUTSIDE, esp(X, P, spi));
            lab.wait(150);
        }
        later(&mut lab, 10);
        let reached = later(&mut lab, 10);
        assert_eq!(reached.len(), 20, "{evidence}: {reached:x?} {:?}", lab.drops_so_far());
        assert!(reached.iter().all(|r| *r == (0x9000, addr(A)) || *r == (0xa000, addr(B))), "{reached:x?}");
    }
}

// The box began anew while a client's gateway used two identifiers, of which it saw one
#[test]
fn a_second_identifier_of_a_client_that_hears_nothing_is_delivered_as_well() {
    let mut lab = Lab::new();
    confirmed(&mut lab, B, X, 0x2000, 0xa000);
    lab.wait(40 * S);
    confirmed(&mut lab, A, X, 0x1000, 0x9000);
    lab.wait(40 * S);
    for _ in 0..3 {
        out(&mut lab, A, X, 0x1000);
        back(&mut lab, X, 0x9001, A);
        lab.wait(S);
    }
}
