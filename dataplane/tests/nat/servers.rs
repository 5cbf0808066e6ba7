//! VPN servers inside, whose whole protocols are forwarded, and hosts that have an outside address of their own.

use crate::lab::*;
use dataplane::passthrough::tunnel::Kind;
use dataplane::policy::{Allow, Forward, Static};
use dataplane::types::Proto;
use dataplane::verdict::DropReason;
use testkit::{Frame, IntoEndpoint, Seen, endpoint};

/// GRE version 0 with a key [RFC 2890].
fn gre0(from: impl IntoEndpoint, to: impl IntoEndpoint) -> Frame<'static> {
    Frame::ip(47, from, to).payload(vec![0x20, 0, 0x08, 0, 0, 0, 0, 9, 1, 2, 3, 4])
}

fn to(seen: &Seen) -> String {
    seen.destination.ip().to_string()
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
