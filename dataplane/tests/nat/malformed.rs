//! What is refused, and by which name: every [`DropReason`] that a frame, a policy or a full device can provoke.

use crate::forwards::{B_OUT, one_to_one, range};
use crate::lab::*;
use dataplane::policy::{FragmentLimits, Policy};
use dataplane::types::PortId;
use dataplane::verdict::DropReason;
use std::collections::BTreeSet;
use testkit::{ACK, BROADCAST_MAC, ECE, FIN, Flags, Frame, PSH, RST, SYN, URG, protocol};

fn to_x() -> Frame<'static> {
    Frame::udp((A, 5000), (X, 53)).payload(b"data")
}

fn to_p() -> Frame<'static> {
    Frame::udp((X, 53), (P, 5000)).payload(b"data")
}

fn tcp_to_x(flags: Flags) -> Frame<'static> {
    Frame::tcp((A, 5000), (X, 80)).flags(flags)
}

/// Bytes after an Ethernet header that says IPv4.
fn ipv4_bytes(bytes: &[u8]) -> Vec<u8> {
    Frame::ethernet(0x0800).payload(bytes.to_vec()).build()
}

/// Frames that are refused wherever they come in: reason, port, frame.
fn malformed() -> Vec<(DropReason, PortId, Vec<u8>)> {
    use DropReason as D;
    let udp_bytes = to_x().build();
    let cases: Vec<(D, PortId, Frame)> = vec![
        (D::NotOurMac, INSIDE, to_x().destination_mac([2, 9, 9, 9, 9, 9])),
        (D::NotOurMac, OUTSIDE, Frame::arp_request(G_MAC, G, P).destination_mac([2, 9, 9, 9, 9, 9])),
        (D::VlanMismatch, INSIDE, to_x().vlan(5)),
        (D::EtherType, INSIDE, Frame::ethernet(0x88cc)),
        (D::EtherType, INSIDE, Frame::ethernet(100)),
        (D::EtherType, OUTSIDE, Frame::ethernet(0x88cc).destination_mac([1, 0x80, 0xc2, 0, 0, 0])),
        (D::Ipv6, INSIDE, Frame::ethernet(0x86dd).payload(&[0x60; 40][..])),
        (D::Ipv6, INSIDE, Frame::ethernet(0x86dd).destination_mac([0x33, 0x33, 0, 0, 0, 1])),
        // RFC 1122 §3.3.6
        (D::L2BroadcastIp, INSIDE, to_x().destination_mac(BROADCAST_MAC)),
        (D::L2BroadcastIp, OUTSIDE, to_p().destination_mac([1, 0, 0x5e, 0, 0, 1])),
        (D::IpVersion, INSIDE, to_x().ip_version(6)),
        (D::IpVersion, INSIDE, to_x().ip_version(0)),
        (D::IpHeaderLength, INSIDE, to_x().ihl(4)),
        (D::IpHeaderLength, INSIDE, to_x().ihl(0)),
        (D::IpHeaderLength, INSIDE, to_x().ihl(15)),
        (D::IpTotalLength, INSIDE, to_x().total_length(19)),
        (D::IpTotalLength, INSIDE, to_x().total_length(0)),
        (D::IpTotalLength, INSIDE, to_x().total_length(33)),
        (D::IpTotalLength, INSIDE, to_x().total_length(65_535)),
        (D::IpTotalLength, INSIDE, to_x().pad_to(60).total_length(47)),
        (D::IpTotalLength, OUTSIDE, to_p().truncate(45)),
        (D::IpChecksum, INSIDE, to_x().bad_ip_checksum()),
        (D::IpChecksum, OUTSIDE, to_p().bad_ip_checksum()),
        (D::IpOptions, INSIDE, to_x().ip_options(&[7, 1, 0, 0])),
        (D::IpOptions, INSIDE, to_x().ip_options(&[7, 5, 0, 0])),
        (D::IpOptions, INSIDE, to_x().ip_options(&[1, 1, 1, 7])),
        (D::IpOptions, INSIDE, to_x().ip_options(&[7, 0, 0, 0])),
        // RFC 7126 §4.3, §4.4
        (D::SourceRoute, INSIDE, to_x().source_route([Y])),
        (D::SourceRoute, INSIDE, to_x().strict_source_route([Y])),
        (D::SourceRoute, OUTSIDE, to_p().source_route([A])),
        (D::SourceRoute, OUTSIDE, to_p().ip_options(&[1]).strict_source_route([A])),
        (D::TransportTooShort, INSIDE, Frame::ip(protocol::UDP, A, X).payload(&[0, 1, 0, 2, 0, 7, 0][..])),
        (D::TransportTooShort, INSIDE, Frame::ip(protocol::UDP, A, X)),
        (D::TransportTooShort, INSIDE, Frame::ip(protocol::TCP, A, X).payload(&[1; 19][..])),
        (D::TransportTooShort, INSIDE, Frame::ip(protocol::ICMP, A, X).payload(&[8; 7][..])),
        (D::TcpHeaderLength, INSIDE, tcp_to_x(ACK).data_offset(4)),
        (D::TcpHeaderLength, INSIDE, tcp_to_x(ACK).data_offset(0)),
        (D::TcpHeaderLength, INSIDE, tcp_to_x(ACK).data_offset(6)),
        (D::UdpLength, INSIDE, to_x().udp_length(7)),
        (D::UdpLength, INSIDE, to_x().udp_length(13)),
        // Scans: null, Christmas tree, and what no sender uses
        (D::TcpFlags, INSIDE, tcp_to_x(Flags(0))),
        (D::TcpFlags, INSIDE, tcp_to_x(PSH | URG)),
        (D::TcpFlags, INSIDE, tcp_to_x(ECE)),
        (D::TcpFlags, INSIDE, tcp_to_x(FIN)),
        (D::TcpFlags, INSIDE, tcp_to_x(FIN | PSH | URG)),
        (D::TcpFlags, INSIDE, tcp_to_x(SYN | FIN)),
        (D::TcpFlags, INSIDE, tcp_to_x(SYN | FIN | ACK)),
        (D::TcpFlags, INSIDE, tcp_to_x(SYN | RST)),
        (D::TcpFlags, INSIDE, tcp_to_x(RST | FIN)),
        (D::TcpFlags, OUTSIDE, Frame::tcp((X, 80), (P, 5000)).flags(Flags(0xff))),
        (D::PortZero, INSIDE, Frame::udp((A, 0), (X, 53))),
        (D::PortZero, INSIDE, Frame::udp((A, 5000), (X, 0))),
        (D::PortZero, INSIDE, Frame::tcp((A, 0), (X, 80)).flags(SYN)),
        (D::PortZero, OUTSIDE, Frame::tcp((X, 80), (P, 0)).flags(SYN)),
        // RFC 1858
        (D::TinyFragment, INSIDE, Frame::ip(protocol::TCP, A, X).fragment(0, true).payload(&[0; 8][..])),
        (D::TinyFragment, INSIDE, Frame::ip(protocol::TCP, A, X).fragment(0, true).payload(&[0; 16][..])),
        (D::TinyFragment, INSIDE, Frame::ip(protocol::TCP, A, X).fragment(8, true).payload(&[0; 16][..])),
        (D::TinyFragment, INSIDE, tcp_to_x(SYN).data_offset(15).fragment(0, true).payload(&[0; 4][..])),
        (D::FragmentRange, INSIDE, Frame::ip(protocol::UDP, A, X).fragment(8, true).payload(&[0; 9][..])),
        (D::FragmentRange, INSIDE, Frame::ip(protocol::UDP, A, X).fragment(65_512, false).payload(&[0; 9][..])),
        (D::FragmentRange, INSIDE, Frame::ip(protocol::UDP, A, X).fragment(65_528, false).payload(&[0; 100][..])),
        (D::FragmentRange, OUTSIDE, Frame::ip(protocol::UDP, X, P).fragment(1480, true)),
        (D::MartianSource, INSIDE, Frame::udp(("0.0.0.0", 5), (X, 53))),
        (D::MartianSource, INSIDE, Frame::udp(("127.0.0.1", 5), (X, 53))),
        (D::MartianSource, INSIDE, Frame::udp(("224.0.0.5", 5), (X, 53))),
        (D::MartianSource, INSIDE, Frame::udp(("240.0.0.1", 5), (X, 53))),
        (D::MartianSource, INSIDE, Frame::udp(("255.255.255.255", 5), (X, 53))),
        (D::MartianSource, OUTSIDE, Frame::udp(("0.1.2.3", 5), (P, 53))),
        (D::MartianSource, OUTSIDE, Frame::udp(("127.0.0.1", 5), (P, 53))),
        (D::MartianSource, OUTSIDE, Frame::udp(("239.1.1.1", 5), (P, 53))),
        (D::MartianSource, OUTSIDE, Frame::udp(("203.0.113.255", 5), (P, 53))),
        (D::MartianSource, OUTSIDE, Frame::udp(("203.0.113.0", 5), (P, 53))),
        (
            D::MartianSource,
            OUTSIDE,
            Frame::ip(protocol::UDP, "127.0.0.1", P).fragment(1480, false).payload(&[0; 9][..]),
        ),
        (D::MartianDestination, INSIDE, to_x().to(("0.0.0.0", 53))),
        (D::MartianDestination, INSIDE, to_x().to(("127.0.0.1", 53))),
        (D::MartianDestination, INSIDE, to_x().to(("240.0.0.1", 53))),
        (D::MartianDestination, OUTSIDE, to_p().to(("127.0.0.1", 53))),
        (D::MartianDestination, OUTSIDE, to_p().to(("250.0.0.1", 53))),
        (D::Land, INSIDE, to_x().to((A, 5000))),
        (D::Land, INSIDE, tcp_to_x(SYN).to((A, 80))),
        (D::Land, OUTSIDE, to_p().from((P, 53))),
        (D::SpoofedSource, INSIDE, to_x().from((Y, 1))),
        (D::SpoofedSource, INSIDE, to_x().from(("192.168.2.10", 1))),
        (D::SpoofedSource, INSIDE, to_x().from((C, 1))),
        (D::SpoofedSource, INSIDE, to_x().from((BOX, 1))),
        (D::SpoofedSource, INSIDE, to_x().from((P, 1))),
        (D::SpoofedSource, INSIDE, to_x().from(("192.168.1.255", 1))),
        (D::SpoofedSource, INSIDE, to_x().from(("192.168.1.0", 1))),
        (D::SpoofedSource, SECOND, to_x()),
        (D::SpoofedSource, OUTSIDE, to_p().from((A, 1))),
        (D::SpoofedSource, OUTSIDE, to_p().from(("192.168.50.3", 1))),
        (D::SpoofedSource, OUTSIDE, to_p().from((BOX, 1))),
        (D::Multicast, INSIDE, to_x().to(("224.0.0.251", 53)).destination_mac([1, 0, 0x5e, 0, 0, 0xfb])),
        (D::Multicast, INSIDE, to_x().to(("239.1.1.1", 53))),
        (D::Multicast, OUTSIDE, to_p().to(("224.0.0.1", 53))),
        (D::Broadcast, INSIDE, to_x().to(("255.255.255.255", 67)).destination_mac(BROADCAST_MAC)),
        (D::Broadcast, INSIDE, to_x().to(("255.255.255.255", 67))),
        // RFC 2644
        (D::Broadcast, INSIDE, to_x().to(("192.168.1.255", 9))),
        (D::Broadcast, INSIDE, to_x().to(("10.0.0.255", 9))),
        (D::Broadcast, INSIDE, to_x().to(("203.0.113.255", 9))),
        (D::Broadcast, INSIDE, to_x().to(("203.0.113.0", 9))),
        (D::Broadcast, OUTSIDE, to_p().to(("192.168.1.255", 9))),
        (D::Broadcast, OUTSIDE, to_p().to(("203.0.113.255", 9))),
        (D::NotForUs, OUTSIDE, to_p().to((A, 53))),
        (D::NotForUs, OUTSIDE, to_p().to((Y, 53))),
        (D::NotForUs, OUTSIDE, to_p().to(("203.0.113.3", 53))),
        (D::NotForUs, OUTSIDE, Frame::esp(X, A, 1000, 1)),
        (D::LocalService, INSIDE, to_x().to((BOX, 53))),
        (D::LocalService, INSIDE, tcp_to_x(SYN).to((BOX, 80))),
        (D::LocalService, INSIDE, tcp_to_x(SYN).to(("10.0.0.1", 80))),
        (D::LocalService, INSIDE, Frame::gre(A, BOX, 1)),
        (D::Unsolicited, OUTSIDE, to_p()),
        (D::Unsolicited, OUTSIDE, to_p().to((BOX, 53))),
        (D::Unsolicited, INSIDE, Frame::echo_reply(A, X, 1, 1)),
        (D::TcpNoSession, INSIDE, tcp_to_x(ACK)),
        (D::Protocol, INSIDE, Frame::ip(41, A, X)),
        (D::Protocol, OUTSIDE, Frame::ip(132, X, P)),
        (D::Protocol, INSIDE, Frame::ip(255, A, X)),
        (D::Ah, INSIDE, Frame::ip(51, A, X).payload(&[0; 24][..])),
        (D::Ah, OUTSIDE, Frame::ip(51, X, P).payload(&[0; 24][..])),
        (D::GreNoCall, INSIDE, Frame::gre(A, X, 1)),
        (D::GreNoCall, OUTSIDE, Frame::gre(X, P, 1)),
        (D::GreHeader, INSIDE, Frame::ip(47, A, X).payload(&[0x30, 1, 0x08, 0x00, 0, 0, 0, 7][..])),
        (D::GreHeader, INSIDE, Frame::ip(47, A, X).payload(&[0xb0, 1, 0x88, 0x0b, 0, 0, 0, 7][..])),
        (D::GreHeader, INSIDE, Frame::ip(47, A, X).payload(&[0x20, 1, 0x88, 0x0b, 0, 1, 0, 7][..])),
        (D::GreHeader, OUTSIDE, Frame::ip(47, X, P).payload(&[0, 2, 0, 0, 0, 0, 0, 7][..])),
        (D::TransportTooShort, INSIDE, Frame::ip(47, A, X).payload(&[0x20, 1, 0x88][..])),
        (D::TransportTooShort, INSIDE, Frame::ip(47, A, X).payload(&[0x20, 1, 0x88, 0x0b, 0, 0, 0][..])),
        (D::EspReservedSpi, INSIDE, Frame::esp(A, X, 255, 1)),
        (D::EspReservedSpi, OUTSIDE, Frame::esp(X, P, 0, 1)),
        (D::EspUnsolicited, OUTSIDE, Frame::esp(X, P, 1000, 1)),
        (D::TransportTooShort, OUTSIDE, Frame::ip(50, X, P).payload(&[9; 7][..])),
        (D::L2tpNoSession, OUTSIDE, Frame::ip(115, X, P).payload(&[9; 8][..])),
        (
            D::L2tpNoSession,
            OUTSIDE,
            Frame::ip(115, X, P).payload(&[0, 0, 0, 0, 0xc8, 3, 0, 12, 0, 0, 0, 7, 0, 0, 0, 0][..]),
        ),
        (D::TransportTooShort, OUTSIDE, Frame::ip(115, X, P).payload(&[0; 11][..])),
        (D::TransportTooShort, INSIDE, Frame::ip(115, A, X).payload(&[9; 3][..])),
        (D::IcmpType, INSIDE, Frame::icmp(A, X, 4, 0, [0; 4])),
        (D::IcmpErrorFragment, INSIDE, Frame::icmp(A, X, 3, 3, [0; 4]).fragment(0, true)),
        (D::IcmpErrorTruncated, OUTSIDE, Frame::icmp(X, P, 3, 3, [0; 4])),
        (D::IcmpErrorTruncated, OUTSIDE, Frame::icmp(X, P, 11, 0, [0; 4]).payload(&[0x45; 19][..])),
        (D::IcmpErrorInner, OUTSIDE, Frame::icmp(X, P, 3, 3, [0; 4]).payload(&[0x65; 40][..])),
        (D::IcmpErrorInner, OUTSIDE, Frame::icmp(X, P, 3, 3, [0; 4]).payload(&[0x41; 40][..])),
        (D::IcmpErrorInner, OUTSIDE, Frame::icmp(X, P, 3, 3, [0; 4]).payload(&[0x45; 40][..])),
        (D::IcmpErrorNoSession, OUTSIDE, Frame::unreachable(X, 3, Frame::udp((P, 9), (X, 53)).build())),
        (D::IcmpChecksum, OUTSIDE, Frame::unreachable(X, 3, Frame::udp((P, 9), (X, 53)).build()).bad_l4_checksum()),
        (D::ArpInvalid, OUTSIDE, Frame::gratuitous_arp([2; 6], P)),
        (D::ArpInvalid, OUTSIDE, Frame::arp_request([3; 6], N, P)),
        (D::ArpInvalid, INSIDE, Frame::arp_request(mac_of(A), A, BOX).truncate(41)),
    ];
    let mut all: Vec<_> = cases.into_iter().map(|(r, port, frame)| (r, port, frame.build())).collect();
    for len in 0..14 {
        all.push((D::FrameTooShort, INSIDE, udp_bytes[..len].to_vec()));
    }
    all.push((D::FrameTooShort, INSIDE, ipv4_bytes(&[])));
    all.push((D::FrameTooShort, INSIDE, ipv4_bytes(&[0x45; 19])));
    all.push((D::FrameTooShort, INSIDE, to_x().vlan(0).truncate(17).build()));
    let mut arp = Frame::arp_request(mac_of(A), A, BOX).build();
    arp[14 + 5] = 6;
    all.push((D::ArpInvalid, INSIDE, arp));
    all
}

// DESIGN §8, STYLE row 5: every packet ends once, with a name
#[test]
fn each_malformed_frame_is_dropped_by_its_own_name() {
    for (reason, port, frame) in malformed() {
        let mut lab = Lab::new();
        // A frame too short for an address goes to nobody; the harness leaves it as it is.
        let o = lab.put(port, frame.clone());
        assert!(o.is_silent() && o.drops.keys().eq([&reason]), "{reason:?} expected of {frame:02x?}: {o}");
        assert_eq!((lab.sessions(), lab.mappings(), lab.subscribers()), (0, 0, 0), "{reason:?} left something");
    }
}

// The same while flows exist, which must not notice
#[test]
fn malformed_frames_do_not_disturb_flows() {
    let mut lab = Lab::new();
    let n = lab.udp((A, 4000), (X, 53));
    for (_, port, frame) in malformed() {
        assert!(!lab.put(port, frame).drops.is_empty());
    }
    lab.delivers((X, 53), n, (A, 4000));
    assert_eq!(lab.sessions(), 1);
}

// A flow belongs to the network that its host is on
#[test]
fn a_flow_cannot_be_joined_from_another_inside_network() {
    let mut lab = Lab::new();
    let n = lab.udp((A, 5000), (X, 53));
    lab.delivers((X, 53), n, (A, 5000));
    for _ in 0..2 {
        lab.out(to_x());
        lab.put(SECOND, to_x()).dropped(DropReason::SpoofedSource);
        lab.put(OUTSIDE, to_x()).dropped(DropReason::SpoofedSource);
    }
}

// Every cut of good frames: nothing is read beyond the end
#[test]
fn every_prefix_of_a_good_frame_is_judged_without_harm() {
    let mut lab = Lab::new();
    let n = lab.udp((A, 5000), (X, 53));
    let error = Frame::unreachable(X, 3, Frame::udp(n, (X, 53)).build()).build();
    let frames = [
        (INSIDE, to_x().record_route(3).build()),
        (INSIDE, tcp_to_x(SYN).mss(1460).wscale(7).build()),
        (INSIDE, Frame::echo_request(A, X, 7, 1).vlan(0).build()),
        (OUTSIDE, error),
        (OUTSIDE, Frame::arp_request(G_MAC, G, P).build()),
    ];
    for (port, frame) in frames {
        for len in 0..frame.len() {
            let o = lab.put(port, frame[..len].to_vec());
            assert!(o.is_silent() && o.drops.len() == 1, "{len} bytes of {frame:02x?}: {o}");
        }
    }
}

/// Reasons that need a policy or a history: how to provoke each.
fn provoked() -> Vec<(DropReason, fn() -> Lab)> {
    use DropReason as D;
    fn lab(change: impl FnOnce(&mut Policy), story: impl FnOnce(&mut Lab)) -> Lab {
        let mut lab = Lab::single(change);
        story(&mut lab);
        lab
    }
    fn flow(lab: &mut Lab) {
        lab.put(INSIDE, to_x());
    }
    fn later(id: u16) -> Frame<'static> {
        Frame::ip(protocol::UDP, A, X).id(id).fragment(1480, true).payload(vec![0; 8])
    }
    vec![
        (D::NoRoute, || lab(|p| p.ports[1].gateway = None, flow)),
        (D::TtlExceeded, || lab(|_| {}, |l| drop(l.put(INSIDE, to_x().ttl(1))))),
        (D::TooBig, || lab(|p| p.ports[1].mtu = 100, |l| drop(l.put(INSIDE, to_x().df().payload(vec![0; 200]))))),
        (D::NeighbourUnresolved, || {
            lab(
                |p| p.neighbours.clear(),
                |l| {
                    flow(l);
                    l.wait(4 * S);
                },
            )
        }),
        (D::NeighbourQueueFull, || lab(|p| p.neighbours.clear(), |l| (0..9).for_each(|_| flow(l)))),
        (D::NeighbourTableFull, || {
            lab(
                |p| {
                    p.neighbours.clear();
                    p.sizes.neighbours = 1;
                },
                |l| {
                    flow(l);
                    l.put(INSIDE, to_x().to((N, 53)));
                },
            )
        }),
        (D::Filtered, || {
            lab(
                |_| {},
                |l| {
                    flow(l);
                    l.put(OUTSIDE, to_p().from((Y, 1)));
                },
            )
        }),
        (D::FirewallDenied, || lab(|p| p.statics = one_to_one(), |l| drop(l.put(OUTSIDE, to_p().to((B_OUT, 1)))))),
        (D::TcpSynOnClosed, || {
            lab(
                |_| {},
                |l| {
                    let n = l.connect((A, 5000), (X, 80));
                    l.put(OUTSIDE, Frame::tcp((X, 80), n).flags(RST).seq(5001).ack(0));
                    l.put(OUTSIDE, Frame::tcp((X, 80), n).flags(SYN).ack(0));
                },
            )
        }),
        (D::TcpBadReset, || {
            lab(
                |_| {},
                |l| {
                    let n = l.connect((A, 5000), (X, 80));
                    l.put(OUTSIDE, Frame::tcp((X, 80), n).flags(RST).seq(0x8000_0000).ack(0));
                },
            )
        }),
        (D::Clash, || {
            lab(
                |p| p.forwards = [9000, 9001].map(|n| dataplane::policy::Forward { ports: n..=n, ..range() }).to_vec(),
                |l| {
                    l.put(OUTSIDE, to_p().to((P, 9000)));
                    l.put(OUTSIDE, to_p().to((P, 9001)));
                },
            )
        }),
        (D::HairpinOff, || lab(|p| p.hairpin = false, |l| drop(l.put(INSIDE, to_x().to((P, 1)))))),
        (D::SubscriberSessions, || lab(|p| p.limits.sessions = 0, flow)),
        (D::SubscriberPorts, || lab(|p| p.limits.ports = 0, flow)),
        (D::SubscriberRate, || lab(|p| p.limits.burst = 0, flow)),
        (D::SubscriberTableFull, || lab(|p| p.sizes.subscribers = 0, flow)),
        (D::SessionTableFull, || lab(|p| p.sizes.sessions = 0, flow)),
        (D::MappingTableFull, || lab(|p| p.sizes.mappings = 0, flow)),
        (D::PortsExhausted, || lab(|p| p.pool.clear(), flow)),
        (D::FragmentTableFull, || {
            lab(
                |p| p.fragments = FragmentLimits { datagrams: 4, held: 8, per_datagram: 8 },
                |l| drop(l.put_all(INSIDE, (0..5).map(later))),
            )
        }),
        (D::FragmentHeldFull, || {
            lab(
                |p| p.fragments = FragmentLimits { datagrams: 4, held: 1, per_datagram: 8 },
                |l| drop(l.put_all(INSIDE, (0..2).map(later))),
            )
        }),
        (D::FragmentOverlap, || lab(|_| {}, |l| drop(l.put_all(INSIDE, [later(1), later(1)])))),
        (D::FragmentTimeout, || {
            lab(
                |_| {},
                |l| {
                    l.put(INSIDE, later(1));
                    l.wait(3 * S);
                },
            )
        }),
        (D::FragmentOfDropped, || {
            lab(
                |p| p.limits.sessions = 0,
                |l| {
                    l.put(INSIDE, to_x().id(1).fragment(0, true).payload(vec![0; 1472]));
                    l.put(INSIDE, later(1));
                },
            )
        }),
        (D::TxRefused, || {
            lab(
                |_| {},
                |l| {
                    l.io(|io| io.refusing[1] = true);
                    flow(l);
                },
            )
        }),
        (D::NoBuffer, || {
            lab(
                |p| p.ports[1].mtu = 100,
                |l| {
                    l.io(|io| io.starved = true);
                    l.put(INSIDE, to_x().payload(vec![0; 200]));
                },
            )
        }),
        (D::HandoffFull, || {
            let mut lab = Lab::joined(2, 0, |_| {});
            for host in 2..50 {
                lab.put_at(0, INSIDE, to_x().from((std::net::Ipv4Addr::new(192, 168, 50, host), 5000)));
            }
            lab
        }),
        (D::Shutdown, || {
            let mut lab = Lab::single(|p| p.neighbours.clear());
            flow(&mut lab);
            lab.put(INSIDE, later(1));
            lab.finish();
            lab
        }),
    ]
}

// STYLE row 5
#[test]
fn each_refusal_has_its_own_name() {
    for (reason, story) in provoked().into_iter().chain(crate::refusals::all()) {
        let lab = story();
        assert!(lab.drops_so_far().contains_key(&reason), "{reason:?} expected: {:?}", lab.drops_so_far());
    }
}

// STYLE row 5: no reason is only on paper
#[test]
fn every_reason_can_be_provoked() {
    let shown: BTreeSet<_> =
        malformed().into_iter().map(|(r, ..)| r).chain(provoked().into_iter().map(|(r, _)| r)).collect();
    let shown: BTreeSet<_> = shown.into_iter().chain(crate::refusals::all().into_iter().map(|(r, _)| r)).collect();
    let missing: Vec<_> = DropReason::ALL.iter().filter(|r| !shown.contains(r)).collect();
    // A frame of several buffers exists only on devices: see the tests of the adapter.
    assert_eq!(missing, [&DropReason::FrameTooLong]);
}

// STYLE row 3: a dropped packet is what came in
#[test]
fn what_is_quoted_of_a_refused_packet_is_what_came_in() {
    let frame = to_x().id(77).tos(0xb8).ttl(1).record_route(2);
    let mut lab = Lab::new();
    let o = lab.put(INSIDE, &frame);
    let original = frame.build();
    assert_eq!(o.raw_at(INSIDE)[0][14 + 28..], original[14..]);
    let mut lab = Lab::with(|p| p.limits.sessions = 0);
    let o = lab.put(INSIDE, frame.clone().ttl(9));
    assert_eq!(o.raw_at(INSIDE)[0][14 + 28..], frame.ttl(9).build()[14..]);
}

// A transmit queue that is full, and one that is free again
#[test]
fn a_full_transmit_queue_costs_packets_and_no_state() {
    let mut lab = Lab::single(|_| {});
    lab.io(|io| io.refusing[1] = true);
    lab.put(INSIDE, to_x()).dropped(DropReason::TxRefused);
    lab.io(|io| io.refusing[1] = false);
    lab.put(INSIDE, to_x()).only(OUTSIDE);
    assert_eq!(lab.sessions(), 1);
}

// No buffer for what the box would say itself
#[test]
fn without_buffers_the_box_forwards_and_is_silent_itself() {
    let mut lab = Lab::single(|_| {});
    lab.io(|io| io.starved = true);
    lab.out(to_x());
    lab.put(INSIDE, to_x().ttl(1)).dropped(DropReason::TtlExceeded);
    lab.put(INSIDE, Frame::echo_request(A, BOX, 1, 1)).only(INSIDE);
}
