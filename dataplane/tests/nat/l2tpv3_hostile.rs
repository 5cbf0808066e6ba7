//! L2TP version 3, the hostile: those who name identifiers that are not theirs, or more of them than there is room for.

use crate::l2tp::*;
use crate::l2tpv3::*;
use crate::lab::*;
use dataplane::passthrough::tunnel::State;
use dataplane::policy::Forward;
use dataplane::types::Proto;
use dataplane::verdict::DropReason;

// Hostile outsider: what the server's address sends displaces no control connection
#[test]
fn unknown_sessions_from_the_server_do_not_displace_the_control_connection_or_what_is_used() {
    let mut lab = Lab::new();
    connect(&mut lab, A, 1, 0x101);
    session(&mut lab, A, [1, 0x101], [0x11, 0x21]);
    for n in 0..40 {
        carries(&mut lab, A, [0x11, 0x21]);
        lab.wait(50);
        lab.put(OUTSIDE, data(X, P, 0x1000 + n));
        carries(&mut lab, A, [0x11, 0x21]);
    }
    reaches(&lab.back(control(X, P, 1, 6, &[])), A);
    assert!(lab.sessions() <= 16, "{}", lab.sessions());
}

// Row 87: more sessions than a record has room for: the control connection outlives them
#[test]
fn many_sessions_do_not_displace_their_own_control_connection() {
    let mut lab = Lab::new();
    connect(&mut lab, A, 1, 0x101);
    for n in 0..20 {
        session(&mut lab, A, [1, 0x101], [0x1000 + n, 0x2000 + n]);
    }
    reaches(&lab.back(control(X, P, 1, 6, &[])), A);
    for n in 0..20 {
        carries(&mut lab, A, [0x1000 + n, 0x2000 + n]);
    }
}

// Hostile insider: another host's tunnel is not to be had by naming its identifiers, nor ended
#[test]
fn an_inside_host_cannot_take_over_another_ones_identifiers_or_end_its_tunnel() {
    let mut lab = Lab::new();
    connect(&mut lab, A, 1, 0x101);
    session(&mut lab, A, [1, 0x101], [0x11, 0x21]);
    carries(&mut lab, A, [0x11, 0x21]);
    lab.put(INSIDE, control(B, X, 0x101, ICRQ, &[(SESSION, 0x11)])).dropped(DropReason::L2tpIdTaken);
    lab.out(control(B, X, 0x101, STOPCCN, &[]));
    lab.out(data(B, X, 0x21));
    carries(&mut lab, A, [0x11, 0x21]);
    lab.wait_quietly(100 * S);
    carries(&mut lab, A, [0x11, 0x21]);
    reaches(&lab.back(control(X, P, 1, 6, &[])), A);
}

// Hostile outsider: identifiers that nobody asked for do not stop a host from waiting for its own, later
#[test]
fn unknown_sessions_do_not_make_a_host_deaf_to_its_next_one() {
    let mut lab = Lab::new();
    carries(&mut lab, A, [0x11, 0x21]);
    carries(&mut lab, A, [0x11, 0x21]);
    for n in 0..20 {
        lab.put(OUTSIDE, data(X, P, 0x1000 + n)).only(INSIDE);
    }
    lab.wait(40 * S);
    carries(&mut lab, B, [0x12, 0x22]);
    carries(&mut lab, B, [0x12, 0x22]);
    carries(&mut lab, A, [0x31, 0x41]);
}

// Hostile outsiders: what a forward lets in and nobody answers goes soon, however often it is sent
#[test]
fn strangers_that_the_lcce_inside_does_not_answer_do_not_stay() {
    let forward = Forward { proto: Proto::L2TP, outside: addr(P), ports: 0..=0, inside: addr(B), inside_port: 0 };
    let mut lab = Lab::with(|p| p.forwards = vec![forward]);
    let stranger = |n: u8| std::net::Ipv4Addr::new(198, 51, 101, n);
    for _ in 0..4 {
        for n in 1..=20 {
            lab.back(control(stranger(n), P, 0, SCCRQ, &[(CCID, 1)]));
            lab.back(data(stranger(n), P, 5));
        }
        lab.wait_quietly(9 * S);
    }
    lab.back(control(X, P, 0, SCCRQ, &[(CCID, 1)]));
    lab.out(control(B, X, 1, SCCRP, &[(CCID, 2)]));
    lab.back(control(X, P, 2, SCCCN, &[]));
    lab.wait_quietly(30 * S + LATE);
    assert_eq!(lab.vpn().iter().map(|r| r.remote).collect::<Vec<_>>(), [addr(X)]);
    lab.back(control(X, P, 2, 6, &[]));
}

// Row 87: a forged end, or an earlier connection's that was sent again, is mended by the next Hello
#[test]
fn a_tunnel_whose_inside_host_goes_on_is_not_ended_by_a_stray_stopccn() {
    let mut lab = Lab::new();
    connect(&mut lab, A, 1, 0x101);
    session(&mut lab, A, [1, 0x101], [0x11, 0x21]);
    carries(&mut lab, A, [0x11, 0x21]);
    lab.back(control(X, P, 1, STOPCCN, &[]));
    lab.wait_quietly(40 * S);
    lab.out(control(A, X, 0x101, 6, &[]));
    lab.wait_quietly(100 * S);
    carries(&mut lab, A, [0x11, 0x21]);
    carries(&mut lab, A, [0x11, 0x21]);
    assert_eq!(lab.vpn()[0].state, State::Confirmed);
}
