//! IP protocols without ports or identifiers, and forwards of whole protocols.

use crate::lab::*;
use dataplane::passthrough::tunnel::Kind;
use dataplane::policy::{Allow, Forward, Static};
use dataplane::types::Proto;
use dataplane::verdict::DropReason;
use testkit::{Frame, IntoEndpoint, Seen, endpoint, fragments, reassemble};

fn named() -> Lab {
    Lab::with(|p| p.passthrough.other = vec![47, 41, 132])
}

/// GRE version 0 with a key [RFC 2890].
fn gre0(from: impl IntoEndpoint, to: impl IntoEndpoint) -> Frame<'static> {
    Frame::ip(47, from, to).payload(vec![0x20, 0, 0x08, 0, 0, 0, 0, 9, 1, 2, 3, 4])
}

fn to(seen: &Seen) -> String {
    seen.destination.ip().to_string()
}

// PASSTHROUGH: one inside host for each outside address, server and protocol. Row 69: GRE version 0 is not touched
#[test]
fn a_named_protocol_passes_for_one_inside_host_a_server() {
    let mut lab = named();
    let make = |number: u8, from: &'static str, to: &'static str| match number {
        47 => gre0(from, to),
        _ => Frame::ip(number, from, to).payload(vec![9; 40]),
    };
    for number in [47, 41, 132] {
        lab.put(OUTSIDE, make(number, X, P)).dropped(DropReason::Unsolicited);
        for _ in 0..2 {
            lab.out(make(number, A, X));
            assert_eq!(to(&lab.back(make(number, X, P))), A);
        }
        lab.put(INSIDE, make(number, B, X)).dropped(DropReason::ProtocolTaken);
        lab.out(make(number, B, Y));
        assert_eq!(to(&lab.back(make(number, Y, P))), B);
    }
    let rows = lab.vpn();
    assert_eq!(rows.len(), 6);
    assert!(rows.iter().filter(|r| r.inside == addr(A)).all(|r| (r.out.0, r.inward.0) == (2, 2)), "{rows:?}");
    lab.wait(600 * S + LATE);
    assert!(lab.vpn().is_empty());
    lab.out(make(41, B, X));
    lab.put(INSIDE, Frame::ip(89, A, X).payload(vec![9; 40])).dropped(DropReason::Protocol);
}

#[test]
fn fragments_of_tunnels_pass_both_ways_in_any_order() {
    let mut lab = named();
    let cases = [
        [Frame::ip(41, A, X), Frame::ip(41, X, P)],
        [Frame::esp(A, X, 0x1000, 1), Frame::esp(X, P, 0x2000, 1)],
        [Frame::ip(115, A, X), Frame::ip(115, X, P)],
    ];
    for (id, [out, back]) in (1..).zip(cases) {
        for (frame, from, at) in [(out, INSIDE, OUTSIDE), (back, OUTSIDE, INSIDE)] {
            let whole = frame.id(id).payload(vec![5; 3000]).build();
            for turned in [false, true] {
                let mut pieces = fragments(&whole, 1500);
                if turned {
                    pieces.reverse();
                }
                let o = lab.put_all(from, pieces);
                let seen = Seen::read(&reassemble(o.raw_at(at)).unwrap()).unwrap();
                assert_eq!(seen.payload.last(), Some(&5));
                lab.wait(3 * S);
            }
        }
    }
}

// Row 82: errors about what has no ports
#[test]
fn errors_about_a_named_protocol_reach_its_host() {
    let mut lab = named();
    let o = lab.put(INSIDE, Frame::ip(41, A, X).payload(vec![9; 40]));
    let seen = lab.put(OUTSIDE, Frame::unreachable("192.0.2.1", 1, &o.raw_at(OUTSIDE)[0])).only(INSIDE);
    assert_eq!((to(&seen), seen.quoted().source.ip().to_string()), (A.to_string(), A.to_string()));
    let o = lab.put(OUTSIDE, Frame::ip(41, X, P).payload(vec![9; 40]));
    let seen = lab.put(INSIDE, Frame::unreachable(A, 2, &o.raw_at(INSIDE)[0])).only(OUTSIDE);
    assert_eq!((to(&seen), seen.quoted().destination.ip().to_string()), (X.to_string(), P.to_string()));
}

// Row 82: from outside, the quote bears the server's Call ID alone, and any worker may have the call
#[test]
fn errors_about_pptps_gre_reach_its_host() {
    let mut lab = Lab::new().off_the_record();
    let mut calls = Vec::new();
    for host in [A, B, "192.168.50.7"] {
        let mut c = crate::pptp::Control::open(&mut lab, (host, 1500), (X, 1723));
        let theirs = 100 + calls.len() as u16;
        let translated = c.call(&mut lab, 3, theirs);
        calls.push((host, theirs, translated));
    }
    for (host, theirs, translated) in calls {
        let o = lab.put(INSIDE, Frame::gre(host, X, theirs).gre_seq(1).payload(vec![1; 30]));
        let seen = lab.put(OUTSIDE, Frame::fragmentation_needed("192.0.2.1", 1400, &o.raw_at(OUTSIDE)[0])).only(INSIDE);
        assert_eq!(to(&seen), host);
        let o = lab.put(OUTSIDE, Frame::gre(X, P, translated).gre_seq(1).payload(vec![1; 30]));
        let raw = o.raw_at(INSIDE)[0].clone();
        let o = lab.put(INSIDE, Frame::unreachable(host, 2, &raw));
        let error = o.raw_at(OUTSIDE)[0].clone();
        // Ethernet, IP, ICMP, quoted IP, and six bytes of quoted GRE.
        assert_eq!(error[14 + 20 + 8 + 20 + 6..][..2], translated.to_be_bytes());
    }
}

/// All of ESP, GRE version 0 and L2TPv3 at P → B.
fn servers() -> Vec<Forward> {
    let forward = |proto| Forward { proto, outside: addr(P), ports: 0..=0, inside: addr(B), inside_port: 0 };
    [Proto::ESP, Proto::GRE, Proto::L2TP].map(forward).to_vec()
}

// PASSTHROUGH: VPN servers inside, while inside clients use other servers
#[test]
fn a_server_inside_gets_a_whole_protocol_and_clients_keep_theirs() {
    let mut lab = Lab::with(|p| p.forwards = servers());
    let l2tp = |from: &'static str, to: &'static str, id: u32| {
        Frame::ip(115, from, to).payload([&id.to_be_bytes()[..], b"data"].concat())
    };
    // An inside client of another server, first.
    lab.out(Frame::esp(A, Y, 0x1000, 1));
    assert_eq!(to(&lab.back(Frame::esp(Y, P, 0x2000, 1))), A);
    for (n, client) in (1u32..).zip([X, N]) {
        assert_eq!(to(&lab.back(Frame::esp(client, P, 0x5000 + n, 1))), B);
        assert_eq!(lab.out(Frame::esp(B, client, 0x6000 + n, 1)).source, endpoint(P));
        assert_eq!(to(&lab.back(gre0(client, P))), B);
        assert_eq!(lab.out(gre0(B, client)).source, endpoint(P));
        assert_eq!(to(&lab.back(l2tp(client, P, 0x77 + n))), B);
        assert_eq!(lab.out(l2tp(B, client, 0x88)).source, endpoint(P));
    }
    assert_eq!(to(&lab.back(Frame::esp(Y, P, 0x2000, 2))), A, "the client keeps its own");
    assert_eq!(lab.vpn().iter().filter(|r| r.kind == Kind::Esp).count(), 3);
}

// A one-to-one host has all of its address's tunnels; strangers need the firewall's leave
#[test]
fn a_one_to_one_host_has_its_own_tunnels() {
    let out = "203.0.113.30";
    let allow = Allow { proto: Proto::ESP, inside: addr(B), ports: 0..=65_535 };
    for allowed in [false, true] {
        let mut lab = Lab::with(|p| {
            p.statics = vec![Static { outside: addr(out), inside: addr(B) }];
            p.allows = if allowed { vec![allow.clone()] } else { Vec::new() };
        });
        if allowed {
            assert_eq!(to(&lab.back(Frame::esp(X, out, 0x2000, 1))), B);
        } else {
            lab.put(OUTSIDE, Frame::esp(X, out, 0x2000, 1)).dropped(DropReason::FirewallDenied);
        }
        assert_eq!(lab.out(Frame::esp(B, X, 0x1000, 1)).source, endpoint(out));
        assert_eq!(to(&lab.back(Frame::esp(X, out, 0x2000, 2))), B);
    }
}
