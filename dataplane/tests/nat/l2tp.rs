//! L2TP version 2 over UDP, whose server may answer from another port; and the attributes and messages that both
//! versions have.

use crate::l2tpv3::reaches;
use crate::lab::*;
use dataplane::verdict::{DropReason, Event};
use testkit::{Frame, endpoint};

// Message types [RFC 3931 §3.1]; 1 to 4 are those of RFC 2661 as well.
pub(crate) const SCCRQ: u16 = 1;
pub(crate) const SCCRP: u16 = 2;
pub(crate) const SCCCN: u16 = 3;
pub(crate) const STOPCCN: u16 = 4;
pub(crate) const ICRQ: u16 = 10;
pub(crate) const ICRP: u16 = 11;
pub(crate) const ICCN: u16 = 12;
// Attributes [RFC 2661 §4.4; RFC 3931 §5.4].
pub(crate) const TUNNEL: u16 = 9;
pub(crate) const CCID: u16 = 61;
pub(crate) const SESSION: u16 = 63;

pub(crate) fn avp(bits: u8, kind: u16, value: &[u8]) -> Vec<u8> {
    let [k0, k1] = kind.to_be_bytes();
    [&[bits, 6 + value.len() as u8, 0, 0, k0, k1], value].concat()
}

/// A control message without what comes before it over IP.
pub(crate) fn message(version: u8, connection: [u8; 4], kind: u16, avps: &[Vec<u8>]) -> Vec<u8> {
    let avps = [avp(0x80, 0, &kind.to_be_bytes()), avps.concat()].concat();
    let [l0, l1] = (12 + avps.len() as u16).to_be_bytes();
    [&[0xc8, version, l0, l1], &connection[..], &[0, 1, 0, 1], &avps].concat()
}

fn v2(tunnel: u16, kind: u16, avps: &[Vec<u8>]) -> Vec<u8> {
    let [t0, t1] = tunnel.to_be_bytes();
    message(2, [t0, t1, 0, 0], kind, avps)
}

fn sccrq(tunnel: u16) -> Vec<u8> {
    v2(0, SCCRQ, &[avp(0x80, 2, &[1, 0]), avp(0x80, TUNNEL, &tunnel.to_be_bytes())])
}

fn sccrp(to: u16) -> Vec<u8> {
    v2(to, SCCRP, &[avp(0x80, TUNNEL, &[0x77, 0x77])])
}

// Row 86: RFC 2661 §8.1, with the default filter
#[test]
fn a_server_answers_from_another_port_by_the_tunnel_identifier_and_the_tunnel_works_from_there() {
    let mut lab = Lab::new();
    let n = lab.out(Frame::udp((A, 1701), (X, 1701)).payload(sccrq(7))).source;
    let seen = lab.back(Frame::udp((X, 40_000), n).payload(sccrp(7)));
    assert_eq!(seen.destination, endpoint((A, 1701)));
    for _ in 0..3 {
        assert_eq!(lab.udp((A, 1701), (X, 40_000)), n);
        lab.delivers((X, 40_000), n, (A, 1701));
        lab.delivers((X, 1701), n, (A, 1701));
    }
    // Once.
    lab.put(OUTSIDE, Frame::udp((X, 40_001), n).payload(sccrp(7))).dropped(DropReason::Filtered);
}

// Row 86: several clients that chose the same identifier each get their own
#[test]
fn clients_with_the_same_tunnel_identifier_get_their_own_answers_from_another_port() {
    let mut lab = Lab::new();
    let outside = [A, B].map(|host| lab.out(Frame::udp((host, 1701), (X, 1701)).payload(sccrq(1))).source);
    for (host, n) in [A, B].into_iter().zip(outside) {
        let seen = lab.back(Frame::udp((X, 40_000), n).payload(sccrp(1)));
        assert_eq!(seen.destination, endpoint((host, 1701)));
        lab.udp((host, 1701), (X, 40_000));
        lab.delivers((X, 40_000), n, (host, 1701));
    }
}

// Row 86: nothing but that answer is let in
#[test]
fn nothing_else_comes_in_from_another_port() {
    let mut lab = Lab::new();
    let n = lab.out(Frame::udp((A, 1701), (X, 1701)).payload(sccrq(7))).source;
    let v2_data = vec![0x02, 0x02, 0, 7, 0, 1, b'p'];
    let mut no_length = sccrp(7);
    no_length[0] = 0x80;
    let other = v2(7, SCCCN, &[]);
    for wrong in [sccrp(8), sccrp(0), v2_data, no_length, other, message(3, [0, 0, 0, 7], SCCRP, &[]), vec![]] {
        lab.put(OUTSIDE, Frame::udp((X, 40_000), n).payload(wrong)).dropped(DropReason::Filtered);
    }
    lab.put(OUTSIDE, Frame::udp((Y, 1701), n).payload(sccrp(7))).dropped(DropReason::Filtered);
    lab.wait(60 * S);
    lab.put(OUTSIDE, Frame::udp((X, 40_000), n).payload(sccrp(7))).dropped(DropReason::Filtered);
    assert_eq!(lab.sessions(), 1);
}

// Row 86: a request that is sent again is waited for anew
#[test]
fn a_repeated_request_gives_the_server_another_minute() {
    let mut lab = Lab::new();
    let request = || Frame::udp((A, 1701), (X, 1701)).payload(sccrq(7));
    let n = lab.out(request()).source;
    lab.wait(50 * S);
    lab.out(request());
    lab.wait(50 * S);
    lab.back(Frame::udp((X, 40_000), n).payload(sccrp(7)));
}

// Row 85: L2TP inside IPsec is ESP, or UDP 4500, and nothing more
#[test]
fn l2tp_over_ipsec_passes_as_esp_and_as_nat_t() {
    let mut lab = Lab::new();
    lab.out(Frame::esp(A, X, 0x1001, 1).payload(sccrq(7)));
    reaches(&lab.back(Frame::esp(X, P, 0x2002, 1).payload(sccrp(7))), A);
    let esp = [&[0, 0, 0x10, 1, 0, 0, 0, 1], &sccrq(7)[..]].concat();
    let n = lab.out(Frame::udp((B, 4500), (X, 4500)).payload(esp.clone())).source;
    assert_eq!(lab.back(Frame::udp((X, 4500), n).payload(esp)).destination, endpoint((B, 4500)));
    assert_eq!((lab.events(Event::NatTEsp), lab.events(Event::L2tpPackets)), (2, 0));
}
