//! The operator's switches, each with what it must stop and what it must not; what statistics count.

use crate::lab::*;
use dataplane::policy::{Forward, Policy, Switch};
use dataplane::types::{PortId, Proto};
use dataplane::verdict::{DropReason, Event};
use testkit::{ACK, Frame, PSH, SYN, fragments, pptp, protocol};

/// What a protocol does when it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Vpn {
    Pptp,
    L2tp,
    Ipsec,
}

const ALL: [Vpn; 3] = [Vpn::Pptp, Vpn::L2tp, Vpn::Ipsec];

impl Vpn {
    fn set(self, p: &mut Policy, to: Switch) {
        let switch = match self {
            Self::Pptp => &mut p.passthrough.pptp,
            Self::L2tp => &mut p.passthrough.l2tp,
            Self::Ipsec => &mut p.passthrough.ipsec,
        };
        *switch = to;
    }

    const fn off(self) -> DropReason {
        match self {
            Self::Pptp => DropReason::PptpOff,
            Self::L2tp => DropReason::L2tpOff,
            Self::Ipsec => DropReason::IpsecOff,
        }
    }

    /// Control packets to a server, and such as seem to come from one.
    fn control(self) -> Vec<(PortId, Frame<'static>)> {
        let udp = |port| {
            [
                (INSIDE, Frame::udp((A, port), (X, port)).payload(vec![7; 40])),
                (INSIDE, Frame::udp((A, 6000), (X, port)).payload(vec![7; 40])),
                (OUTSIDE, Frame::udp((X, port), (P, 6000)).payload(vec![7; 40])),
                (OUTSIDE, Frame::udp((X, 6000), (P, port)).payload(vec![7; 40])),
            ]
        };
        match self {
            Self::Pptp => vec![
                (INSIDE, Frame::tcp((A, 6000), (X, 1723)).flags(SYN).ack(0)),
                (OUTSIDE, Frame::tcp((X, 1723), (P, 6000)).flags(SYN | ACK)),
                (OUTSIDE, Frame::tcp((X, 6000), (P, 1723)).flags(SYN).ack(0)),
            ],
            Self::L2tp => udp(1701).to_vec(),
            Self::Ipsec => [udp(500), udp(4500)].concat(),
        }
    }

    fn tunnel_frames(self, from: &'static str, to: &'static str) -> Vec<Frame<'static>> {
        match self {
            Self::Pptp => vec![Frame::gre(from, to, 7).gre_seq(1).payload(b"ppp".to_vec())],
            Self::L2tp => vec![
                Frame::ip(protocol::L2TP, from, to).payload(vec![0, 0, 0, 9, 1, 2, 3, 4]),
                Frame::ip(protocol::L2TP, from, to).payload([&[0; 4], &[0xc8, 3, 0, 12][..], &[0; 8]].concat()),
            ],
            Self::Ipsec => vec![Frame::esp(from, to, 0x1000, 1).payload(vec![5; 40])],
        }
    }

    /// Tunnel packets, both ways; whole, and in pieces.
    fn tunnels(self) -> Vec<(PortId, Vec<u8>)> {
        let mut all = Vec::new();
        for (port, from, to) in [(INSIDE, A, X), (OUTSIDE, X, P)] {
            for (id, frame) in (1..).zip(self.tunnel_frames(from, to)) {
                all.push((port, frame.build()));
                let long = frame.id(id).payload(vec![5; 3000]).build();
                all.extend(fragments(&long, 1500).into_iter().map(|f| (port, f)));
            }
        }
        all
    }

    /// It works, as if nobody had touched a switch. The other end is another one for each.
    #[track_caller]
    fn works(self, lab: &mut Lab) {
        let back = |lab: &mut Lab, frame: Frame<'static>| {
            assert_eq!(lab.back(frame).destination.ip().to_string(), A, "{self:?}");
        };
        match self {
            Self::Pptp => {
                let n = lab.connect((A, 1500), (X, 1723));
                let says = Frame::tcp((A, 1500), (X, 1723)).seq(1001).ack(5001).flags(PSH | ACK);
                let request = lab.put(INSIDE, says.payload(pptp::outgoing_call_request(3))).only(OUTSIDE).payload;
                let id = u16::from_be_bytes([request[12], request[13]]);
                let reply = pptp::outgoing_call_reply(9, id, 1);
                let hears = Frame::tcp((X, 1723), n).seq(5001).ack(1169).flags(PSH | ACK).payload(reply);
                assert_eq!(lab.put(OUTSIDE, hears).only(INSIDE).payload, pptp::outgoing_call_reply(9, 3, 1));
                lab.put(INSIDE, Frame::gre(A, X, 9)).only(OUTSIDE);
                assert_eq!(lab.put(OUTSIDE, Frame::gre(X, P, id)).only(INSIDE).gre().call_id, 3);
            }
            Self::L2tp => {
                let n = lab.udp((A, 1701), (X, 1701));
                lab.delivers((X, 1701), n, (A, 1701));
                lab.out(Frame::ip(protocol::L2TP, A, X).payload(vec![0, 0, 1, 2, 9]));
                back(lab, Frame::ip(protocol::L2TP, X, P).payload(vec![0, 0, 1, 1, 9]));
            }
            Self::Ipsec => {
                for port in [500, 4500] {
                    let n = lab.udp((A, port), (X, port));
                    lab.delivers((X, port), n, (A, port));
                }
                lab.out(Frame::esp(A, X, 0x1001, 1));
                back(lab, Frame::esp(X, P, 0x2001, 1));
            }
        }
    }
}

// Rows 14, 88
#[test]
fn what_is_off_is_dropped_both_ways_with_its_reason_and_the_others_work() {
    for off in ALL {
        let mut lab = Lab::with(|p| {
            off.set(p, Switch::Off);
            // Forwards open nothing that is off.
            let forward = |proto, port: u16| Forward {
                proto,
                outside: addr(P),
                ports: port..=port,
                inside: addr(A),
                inside_port: port,
            };
            p.forwards = vec![
                forward(Proto::TCP, 1723),
                forward(Proto::UDP, 1701),
                forward(Proto::UDP, 500),
                forward(Proto::UDP, 4500),
                forward(Proto::ESP, 0),
                forward(Proto::L2TP, 0),
            ];
        })
        .off_the_record();
        for (port, frame) in off.control() {
            lab.put(port, frame).dropped(off.off());
        }
        for (port, frame) in off.tunnels() {
            lab.put(port, frame).dropped(off.off());
        }
        assert_eq!((lab.sessions(), lab.vpn().len()), (0, 0), "{off:?}");
        for on in ALL.into_iter().filter(|on| *on != off) {
            on.works(&mut lab);
        }
        // A client that happens to use such a port is nobody's server.
        for port in [1701, 500, 4500] {
            lab.put(INSIDE, Frame::udp((B, port), (X, 53))).only(OUTSIDE);
        }
    }
}

// Rows 14, 88: the profile `strict`
#[test]
fn what_is_plain_passes_as_ports_alone_allow_and_its_tunnels_do_not() {
    for plain in ALL {
        let mut lab = Lab::with(|p| plain.set(p, Switch::Plain)).off_the_record();
        for (port, frame) in plain.tunnels() {
            lab.put(port, frame).dropped(DropReason::AlgOff);
        }
        assert_eq!((lab.sessions(), lab.vpn().len()), (0, 0), "{plain:?}");
        match plain {
            Vpn::Pptp => {}
            Vpn::L2tp | Vpn::Ipsec => {
                for port in if plain == Vpn::L2tp { vec![1701] } else { vec![500, 4500] } {
                    let outside = [A, B].map(|host| lab.udp((host, port), (X, port)));
                    for (host, n) in [A, B].into_iter().zip(outside) {
                        lab.delivers((X, port), n, (host, port));
                    }
                }
            }
        }
        for on in ALL.into_iter().filter(|on| *on != plain) {
            on.works(&mut lab);
        }
    }
}

// Row 29: RFC 5382 REQ-6
#[test]
fn the_strict_profile_leaves_every_pptp_message_as_it_is_both_ways() {
    let mut lab = Lab::with(|p| {
        for vpn in ALL {
            vpn.set(p, Switch::Plain);
        }
    });
    let n = lab.connect((A, 1500), (X, 1723));
    let (mut seq, mut ack) = (1001u32, 5001u32);
    for message in pptp::one_of_each(0xa1a2, 0xb1b2, 1) {
        // `out` and `back` compare the payloads.
        lab.out(Frame::tcp((A, 1500), (X, 1723)).seq(seq).ack(ack).flags(PSH | ACK).payload(message.clone()));
        seq += message.len() as u32;
        lab.back(Frame::tcp((X, 1723), n).seq(ack).ack(seq).flags(PSH | ACK).payload(message.clone()));
        ack += message.len() as u32;
    }
    assert_eq!(lab.events(Event::PptpMessages), 0);
    lab.put(INSIDE, Frame::gre(A, X, 0xb1b2)).dropped(DropReason::AlgOff);
    lab.put(OUTSIDE, Frame::gre(X, P, 0xa1a2)).dropped(DropReason::AlgOff);
}

// Row 86 in the strict profile: the filter alone decides
#[test]
fn the_strict_profile_lets_no_l2tp_answer_in_from_another_port() {
    let mut lab = Lab::with(|p| p.passthrough.l2tp = Switch::Plain);
    let request =
        [&[0xc8, 2, 0, 28, 0, 0, 0, 0, 0, 0, 0, 0][..], &[0x80, 8, 0, 0, 0, 0, 0, 1, 0x80, 8, 0, 0, 0, 9, 0, 7]];
    let n = lab.out(Frame::udp((A, 1701), (X, 1701)).payload(request.concat())).source;
    let answer = [&[0xc8, 2, 0, 20, 0, 7, 0, 0, 0, 0, 0, 1][..], &[0x80, 8, 0, 0, 0, 0, 0, 2]].concat();
    lab.put(OUTSIDE, Frame::udp((X, 40_000), n).payload(answer)).dropped(DropReason::Filtered);
}

/// Packets both ways of one session, and how many of them were counted as `event`.
#[track_caller]
fn counts(port: u16, payload: &[u8], event: Event) {
    let mut lab = Lab::new();
    let mut n = None;
    for _ in 0..5 {
        let seen = lab.out(Frame::udp((A, 5000), (X, port)).payload(payload.to_vec()));
        lab.back(Frame::udp((X, port), seen.source).payload(payload.to_vec()));
        n = Some(seen.source);
    }
    assert_eq!(n.map(|n| *n.ip()), Some(addr(P)));
    let all = [
        Event::IkePackets,
        Event::NatTIke,
        Event::NatTKeepalives,
        Event::NatTEsp,
        Event::L2tpPackets,
        Event::OpenvpnPackets,
        Event::WireguardPackets,
    ];
    for e in all {
        assert_eq!(lab.events(e), if e == event { 10 } else { 0 }, "{e:?} on port {port}");
    }
    // Too long for the way out: it is cut, and still one packet.
    let before = lab.events(event);
    let mut long = payload.to_vec();
    if long.len() > 1 {
        long.resize(1472, 0);
        lab.put(INSIDE, Frame::udp((A, 5000), (X, port)).payload(long)).only(OUTSIDE);
        assert_eq!(lab.events(event), before + 1);
    }
}

// Row 75: RFC 3948 §2.2, §2.3
#[test]
fn ike_keepalives_and_esp_on_port_4500_are_counted_apart() {
    counts(4500, &[0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8], Event::NatTIke);
    counts(4500, &[0xff], Event::NatTKeepalives);
    counts(4500, &[0, 0, 0x10, 1, 0, 0, 0, 1, 9, 9], Event::NatTEsp);
}

// Row 89, product: each packet once, in the fast path as in the slow one
#[test]
fn packets_of_vpns_with_ports_are_counted_once_each() {
    counts(500, &[1; 40], Event::IkePackets);
    counts(1701, &[0x02, 2, 0, 7, 0, 1, 9, 9], Event::L2tpPackets);
    counts(1701, &[0xc8, 2, 0, 12, 0, 7, 0, 0, 0, 0, 0, 0], Event::L2tpPackets);
    counts(1194, &[0x38, 1, 2, 3], Event::OpenvpnPackets);
    counts(51_820, &[4, 0, 0, 0, 1, 1, 1, 1], Event::WireguardPackets);
}

// Product: a packet that is cut on its way out is one packet
#[test]
fn a_packet_that_the_slow_path_must_cut_is_counted_once() {
    let mut lab = Lab::with(|p| p.ports[OUTSIDE.index()].mtu = 1000);
    for _ in 0..3 {
        lab.put(INSIDE, Frame::udp((A, 5000), (X, 1194)).payload(vec![0x38; 40])).only(OUTSIDE);
    }
    let o = lab.put(INSIDE, Frame::udp((A, 5000), (X, 1194)).payload(vec![0x38; 1200]));
    assert_eq!(o.at(OUTSIDE).len(), 2);
    assert_eq!(lab.events(Event::OpenvpnPackets), 4);
}

// Product: OpenVPN over TCP and SSTP, once a connection, whoever calls
#[test]
fn connections_of_tls_vpns_are_counted_when_they_open() {
    let forward = Forward { proto: Proto::TCP, outside: addr(P), ports: 443..=443, inside: addr(B), inside_port: 443 };
    let mut lab = Lab::with(|p| p.forwards = vec![forward]);
    for (port, sum) in [(443, 1), (1194, 2), (80, 2), (1723, 2)] {
        let n = lab.connect((A, 5000 + port), (X, port));
        for _ in 0..3 {
            lab.back(Frame::tcp((X, port), n).seq(5001).ack(1001).payload(b"tls"));
            lab.out(Frame::tcp((A, 5000 + port), (X, port)).seq(1001).ack(5004).payload(b"tls"));
        }
        assert_eq!(lab.events(Event::TlsVpnConnections), sum, "port {port}");
    }
    lab.back(Frame::tcp((Y, 6000), (P, 443)).flags(SYN).ack(0));
    assert_eq!(lab.events(Event::TlsVpnConnections), 3);
    // A client's port says nothing; QUIC is no TLS over TCP.
    lab.connect((A, 443), (X, 8080));
    lab.put(INSIDE, Frame::udp((A, 7000), (X, 443))).only(OUTSIDE);
    assert_eq!(lab.events(Event::TlsVpnConnections), 3);
}
