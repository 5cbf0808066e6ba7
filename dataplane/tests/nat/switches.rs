//! Each protocol's switch: off is off both ways, plain is NAT alone, and the others do not notice.

use crate::lab::*;
use crate::pptp::Control;
use dataplane::policy::{Passthrough, Switch};
use dataplane::verdict::{DropReason, Event};
use testkit::{ACK, Frame, IntoEndpoint, SYN, pptp};

fn l2tp(from: impl IntoEndpoint, to: impl IntoEndpoint) -> Frame<'static> {
    Frame::ip(115, from, to).payload(b"\0\0\x10\0data".to_vec())
}

/// Control and tunnel packets of a protocol, from inside and from outside.
fn packets(protocol: &str) -> [Vec<Frame<'static>>; 2] {
    match protocol {
        "pptp" => [
            vec![Frame::tcp((A, 1500), (X, 1723)).flags(SYN).ack(0), Frame::gre(A, X, 7)],
            vec![
                Frame::tcp((X, 1723), (P, 1500)).flags(SYN | ACK),
                Frame::tcp((X, 1500), (P, 1723)).flags(SYN).ack(0),
                Frame::gre(X, P, 7),
            ],
        ],
        "l2tp" => [
            vec![Frame::udp((A, 1701), (X, 1701)), l2tp(A, X)],
            vec![Frame::udp((X, 1701), (P, 1701)), Frame::udp((X, 9), (P, 1701)), l2tp(X, P)],
        ],
        _ => [
            vec![
                Frame::udp((A, 500), (X, 500)),
                Frame::udp((A, 4500), (X, 4500)),
                Frame::esp(A, X, 1000, 1),
                Frame::ip(51, A, X).payload(vec![0; 24]),
            ],
            vec![
                Frame::udp((X, 500), (P, 500)),
                Frame::udp((X, 4500), (P, 1024)),
                Frame::esp(X, P, 1000, 1),
                Frame::ip(51, X, P).payload(vec![0; 24]),
            ],
        ],
    }
}

fn switch<'a>(p: &'a mut Passthrough, protocol: &str) -> &'a mut Switch {
    match protocol {
        "pptp" => &mut p.pptp,
        "l2tp" => &mut p.l2tp,
        _ => &mut p.ipsec,
    }
}

const SWITCHES: [(&str, DropReason); 3] =
    [("pptp", DropReason::PptpOff), ("l2tp", DropReason::L2tpOff), ("ipsec", DropReason::IpsecOff)];

// Row 88, and row 14 for what runs over UDP
#[test]
fn a_protocol_that_is_off_is_dropped_both_ways_and_the_others_do_not_notice() {
    for (off, reason) in SWITCHES {
        let mut lab = Lab::with(|p| *switch(&mut p.passthrough, off) = Switch::Off);
        let [out, back] = packets(off);
        for frame in &out {
            lab.put(INSIDE, frame).dropped(reason);
        }
        for frame in &back {
            lab.put(OUTSIDE, frame).dropped(reason);
        }
        assert_eq!((lab.sessions(), lab.vpn().len()), (0, 0));
        for (other, _) in SWITCHES.iter().filter(|(other, _)| *other != off) {
            let [out, _] = packets(other);
            // GRE has no call here, and AH never passes.
            for frame in out.iter().map(Frame::build).filter(|f| !matches!(f[23], 47 | 51)) {
                lab.out(frame);
            }
        }
    }
}

// Row 29: RFC 4787 REQ-10, RFC 5382 REQ-6: no ALG touches or reads anything
#[test]
fn without_algs_control_traffic_passes_untouched_and_tunnels_do_not() {
    let mut lab = Lab::with(|p| {
        for (protocol, _) in SWITCHES {
            *switch(&mut p.passthrough, protocol) = Switch::Plain;
        }
    });
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    for message in pptp::one_of_each(3, 4, 1) {
        assert_eq!(c.says(&mut lab, &message), message);
        assert_eq!(c.hears(&mut lab, &message), message);
    }
    for port in [500, 1701, 4500] {
        let n = lab.udp((A, port), (X, port));
        lab.delivers((X, port), n, (A, port));
    }
    for (out, back) in [
        (Frame::gre(A, X, 4), Frame::gre(X, P, 3)),
        (Frame::esp(A, X, 1000, 1), Frame::esp(X, P, 1000, 1)),
        (l2tp(A, X), l2tp(X, P)),
    ] {
        lab.put(INSIDE, out).dropped(DropReason::AlgOff);
        lab.put(OUTSIDE, back).dropped(DropReason::AlgOff);
    }
    assert_eq!((lab.events(Event::PptpMessages), lab.events(Event::IkePackets), lab.vpn().len()), (0, 0, 0));
}

// Row 83: RFC 3715 §2.1 a
#[test]
fn ah_is_dropped_by_its_own_name_and_reported_once_a_pair() {
    let mut lab = Lab::new();
    let ah = |from: &'static str, to: &'static str| Frame::ip(51, from, to).payload(vec![0; 24]);
    for _ in 0..3 {
        for (host, server) in [(A, X), (B, X), (A, Y)] {
            lab.put(INSIDE, ah(host, server)).dropped(DropReason::Ah);
        }
    }
    let told = lab.notices();
    assert!(told.len() == 3 && told.iter().all(|n| n.contains("NAT traversal")), "{told:?}");
    assert!(told.iter().any(|n| n.contains("192.168.1.10 and 198.51.100.7")), "{told:?}");
    assert_eq!(lab.events(Event::AhPairs), 3);
    // What strangers send is nobody's configuration to change.
    lab.put(OUTSIDE, ah(X, P)).dropped(DropReason::Ah);
    lab.put(OUTSIDE, ah(N, P)).dropped(DropReason::Ah);
    assert!(lab.notices().is_empty());
}

// Row 75, PASSTHROUGH §5.5: what runs over UDP is told apart by its ports and first bytes
#[test]
fn vpns_over_udp_are_counted_by_what_they_are() {
    let mut lab = Lab::new();
    let mut send = |port: u16, payload: &'static [u8]| {
        // Twice: the first one opens the session, the second one takes the fast path; and once back.
        let n = lab.out(Frame::udp((A, port), (X, port)).payload(payload)).source;
        lab.out(Frame::udp((A, port), (X, port)).payload(payload));
        lab.back(Frame::udp((X, port), n).payload(payload));
    };
    send(4500, &[0, 0, 0, 0, 1, 2, 3, 4]);
    send(4500, &[0xff]);
    send(4500, &[1, 2, 3, 4, 0, 0, 0, 1]);
    send(500, b"no IKE");
    send(1701, &[2, 2, 0, 7, 0, 7]);
    send(1194, b"openvpn");
    send(51_820, &[1, 0, 0, 0]);
    for event in [
        Event::NatTIke,
        Event::NatTKeepalives,
        Event::NatTEsp,
        Event::IkePackets,
        Event::L2tpPackets,
        Event::OpenvpnPackets,
        Event::WireguardPackets,
    ] {
        assert_eq!(lab.events(event), 3, "{event:?}");
    }
    lab.connect((A, 5000), (X, 443));
    lab.connect((A, 5001), (X, 1194));
    lab.connect((A, 5002), (X, 80));
    assert_eq!(lab.events(Event::TlsVpnConnections), 2);
}
