//! Properties of the parts that touch bytes: what is translated and translated back is what it was, to the last
//! checksum; nothing read from a wire makes the parser panic or break its promises; what is cut can be put together.

use dataplane::flow::session::{NewSession, Session, Sessions};
use dataplane::io::memory::Memory;
use dataplane::nat::icmp_error;
use dataplane::nat::rewrite::{self, Hop};
use dataplane::packet::{Class, Framing, Meta, Parsed, parse};
use dataplane::policy::{Net, Policy, Port, Rules, Sizes, StaticNeighbour};
use dataplane::types::{Direction, Endpoint, Inside, Key, Mac, Outside, PortId, Proto, Side, Tick, WorkerId};
use dataplane::verdict::Counters;
use dataplane::worker::Worker;
use proptest::prelude::*;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use testkit::{ACK, DESTINATION_MAC, Frame, SYN, Seen, fragments, reassemble};

const FRAMING: Framing = Framing { mac: Mac(DESTINATION_MAC), vlan: None };
const TAGGED: Framing = Framing { mac: Mac(DESTINATION_MAC), vlan: Some(100) };
const UNCHANGED: Hop = Hop { decrement_ttl: false, id: None };

fn ip(frame: &[u8]) -> Meta {
    match parse(frame, &FRAMING) {
        Ok(Parsed::Ip(meta)) => meta,
        other => panic!("{other:?}: {frame:02x?}"),
    }
}

fn end() -> impl Strategy<Value = Endpoint> {
    (1u32..0xe000_0000, 1u16..).prop_map(|(a, p)| Endpoint::new(Ipv4Addr::from_bits(a), p))
}

/// A session of TCP, UDP, or a query that the inside asks.
fn session() -> impl Strategy<Value = Session> {
    let proto = prop_oneof![Just(Proto::TCP), Just(Proto::UDP), Just(Proto::ICMP)];
    (proto, end(), end(), end()).prop_map(|(proto, inside, outside, mut remote)| {
        if proto == Proto::ICMP {
            remote.port = 0;
        }
        let (inside, outside) = (Inside(inside), Outside(outside));
        let new = NewSession { proto, inside, outside, remote, owner: 0, flags: 0, inside_port: PortId(0) };
        let mut table = Sessions::new(1, 0, Tick(0), false);
        let id = table.open(&new, Tick(0), 1).expect("there is room for one");
        *table.get(id).expect("it was opened")
    })
}

/// What besides its ends makes a packet.
#[derive(Clone, Debug)]
struct Look {
    payload: Vec<u8>,
    options: u8,
    no_checksum: bool,
    id: u16,
}

fn look(most: usize) -> impl Strategy<Value = Look> {
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..most),
        // Sums near the two zeros of one's complement.
        (0..most).prop_map(|n| vec![0; n]),
        (0..most).prop_map(|n| vec![0xff; n]),
    ];
    (payload, 0u8..9, any::<bool>(), any::<u16>()).prop_map(|(payload, options, no_checksum, id)| Look {
        payload,
        options,
        no_checksum,
        id,
    })
}

/// A packet of a session as it arrives from a side.
fn packet(s: &Session, from: Direction, look: &Look) -> Frame<'static> {
    let key = s.key(from);
    let (src, dst) = (socket(key.from()), socket(key.to()));
    let frame = match (s.proto, from) {
        (Proto::UDP, _) if look.no_checksum => Frame::udp(src, dst).udp_checksum_zero(),
        (Proto::UDP, _) => Frame::udp(src, dst),
        (Proto::TCP, _) => Frame::tcp(src, dst),
        (_, Direction::Out) => Frame::echo_request(src, dst, key.src_port(), look.id),
        (_, Direction::In) => Frame::echo_reply(src, dst, key.dst_port(), look.id),
    };
    let frame = frame.id(look.id).payload(look.payload.clone());
    if look.options > 0 { frame.record_route(look.options) } else { frame }
}

fn socket(e: Endpoint) -> SocketAddrV4 {
    SocketAddrV4::new(e.addr, e.port)
}

/// The same packet going back: ends exchanged, which no checksum notices.
fn turned(frame: &[u8]) -> Vec<u8> {
    let meta = ip(frame);
    let mut out = frame.to_vec();
    let l3 = usize::from(meta.l3);
    out[l3 + 12..l3 + 20].rotate_left(4);
    if meta.key.proto != Proto::ICMP {
        let l4 = usize::from(meta.l4);
        out[l4..l4 + 4].rotate_left(2);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn translating_out_and_back_is_the_identity(s in session(), look in look(200)) {
        let original = packet(&s, Direction::Out, &look).build();
        let mut frame = original.clone();
        prop_assert!(rewrite::translate(&mut frame, &ip(&original), &s, Direction::Out, UNCHANGED));
        let seen = Seen::read(&frame).map_err(TestCaseError::fail)?;
        prop_assert_eq!(*seen.source.ip(), s.outside().0.addr);
        prop_assert_eq!(ip(&frame).key, s.key(Direction::In).reversed());
        let mut back = turned(&frame);
        let meta = ip(&back);
        prop_assert!(rewrite::translate(&mut back, &meta, &s, Direction::In, UNCHANGED));
        prop_assert_eq!(turned(&back), original);
    }

    #[test]
    fn what_leaves_has_right_checksums_whatever_hop_it_takes(s in session(), look in look(200), id: Option<u16>) {
        for direction in [Direction::Out, Direction::In] {
            let mut frame = packet(&s, direction, &look).ttl(9).build();
            let meta = ip(&frame);
            let hop = Hop { decrement_ttl: true, id };
            prop_assert!(rewrite::translate(&mut frame, &meta, &s, direction, hop));
            let seen = Seen::read(&frame).map_err(TestCaseError::fail)?;
            prop_assert_eq!((seen.ttl, seen.id), (8, id.unwrap_or(look.id)));
            prop_assert_eq!(&seen.payload, &look.payload);
        }
    }

    #[test]
    fn a_clamped_mss_has_a_right_checksum_wherever_it_stands(s in session(), mss: u16, limit: u16, before in 0usize..20) {
        let key = s.key(Direction::Out);
        let syn = Frame::tcp(socket(key.from()), (key.dst, 80)).flags(SYN).tcp_options(&vec![1; before]).mss(mss);
        let mut frame = syn.wscale(7).build();
        let meta = ip(&frame);
        prop_assert_eq!(rewrite::clamp_mss(&mut frame, &meta, limit), mss > limit);
        let seen = Seen::read(&frame).map_err(TestCaseError::fail)?;
        prop_assert_eq!((seen.tcp().mss, seen.tcp().wscale), (Some(mss.min(limit)), Some(7)));
    }

    /// The router of the world sends an error about what left us; the inside host gets the very error that it would
    /// have got without a NAT.
    #[test]
    fn an_error_from_outside_is_what_it_would_have_been(
        s in session(), look in look(900), router in end(), kind in error(), quote in quote_len(), extended: bool,
    ) {
        let original = packet(&s, Direction::Out, &look).build();
        let mut left = original.clone();
        prop_assert!(rewrite::translate(&mut left, &ip(&original), &s, Direction::Out, UNCHANGED));
        let about = |frame: Vec<u8>| told(router.addr, kind, frame, quote, extended);
        let mut error = about(left);
        let meta = ip(&error);
        prop_assert_eq!(meta.class, Class::IcmpError);
        let quote = icmp_error::quote(&error, &meta).map_err(|r| TestCaseError::fail(r.label()))?;
        prop_assert_eq!(quote.key, s.key(Direction::In).reversed());
        prop_assert!(icmp_error::translate(&mut error, &meta, &quote, &s, Direction::In));
        Seen::read(&error).map_err(TestCaseError::fail)?;
        prop_assert_eq!(error, about(original));
    }

    /// And the other way: the world gets the error that the outside address would have sent.
    #[test]
    fn an_error_from_inside_is_what_the_outside_address_would_have_sent(
        s in session(), look in look(900), kind in error(), quote in quote_len(), extended: bool,
    ) {
        let original = packet(&s, Direction::In, &look).build();
        let mut came = original.clone();
        prop_assert!(rewrite::translate(&mut came, &ip(&original), &s, Direction::In, UNCHANGED));
        let mut error = told(s.inside().0.addr, kind, came, quote, extended);
        let meta = ip(&error);
        let read = icmp_error::quote(&error, &meta).map_err(|r| TestCaseError::fail(r.label()))?;
        prop_assert_eq!(read.key, s.key(Direction::Out).reversed());
        prop_assert!(icmp_error::translate(&mut error, &meta, &read, &s, Direction::Out));
        prop_assert_eq!(error, told(s.outside().0.addr, kind, original, quote, extended));
    }

    #[test]
    fn the_parser_keeps_its_promises_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        promises(&bytes);
    }

    #[test]
    fn the_parser_keeps_its_promises_on_damaged_packets(
        s in session(), look in look(60), vlan in prop::option::of(prop_oneof![Just(100u16), Just(0), any::<u16>()]),
        damage in prop::collection::vec((0usize..80, any::<u8>()), 0..4), cut in prop::option::of(0usize..120),
        mend: bool, fragment in prop::option::of((0u16..8192, any::<bool>())),
    ) {
        let mut frame = packet(&s, Direction::Out, &look);
        if let Some(tag) = vlan {
            frame = frame.vlan(tag);
        }
        if let Some((at, mf)) = fragment {
            frame = frame.fragment(at * 8, mf);
        }
        let mut frame = frame.build();
        for (at, byte) in damage {
            if let Some(b) = frame.get_mut(at) {
                *b = byte;
            }
        }
        frame.truncate(cut.unwrap_or(usize::MAX));
        if mend {
            mend_ip_checksum(&mut frame, if vlan.is_some() { 18 } else { 14 });
        }
        promises(&frame);
    }

    #[test]
    fn what_is_cut_can_be_put_together_again(
        look in look(4000), mtu in 68u16..1500, first_cut in prop::option::of(100usize..3000), tcp: bool,
    ) {
        let ends = ((Ipv4Addr::new(192, 168, 1, 9), 4000), (Ipv4Addr::new(198, 51, 100, 7), 80));
        let frame = if tcp { Frame::tcp(ends.0, ends.1).flags(ACK) } else { Frame::udp(ends.0, ends.1) };
        let mut whole = frame.id(look.id).payload(look.payload.clone());
        if look.options > 0 && usize::from(mtu) >= 20 + 40 + 8 {
            whole = whole.ip_options(&[0x94, 4, 0, 0]).record_route(look.options.min(8));
        }
        let whole = whole.macs([2; 6], DESTINATION_MAC).build();
        let syn = Frame::tcp(ends.0, ends.1).flags(SYN).macs([2; 6], DESTINATION_MAC).build();
        let pieces = first_cut.map_or_else(|| vec![whole.clone()], |n| fragments(&whole, n));
        let through = |mtu| {
            let mut w = router(mtu);
            w.io().arrive(PortId(0), &syn);
            w.poll(Tick(1));
            w.io().take_sent(PortId(1));
            for piece in &pieces {
                w.io().arrive(PortId(0), piece);
            }
            while w.io().has_work() {
                w.poll(Tick(2));
            }
            assert_eq!(w.counters().account().unaccounted(), 0);
            w.io().take_sent(PortId(1))
        };
        let (large, small) = (through(u16::MAX), through(mtu));
        for piece in &small {
            Seen::read(piece).map_err(TestCaseError::fail)?;
            prop_assert!(piece.len() <= 14 + usize::from(mtu));
        }
        let due = reassemble(&large);
        prop_assert!(due.is_some());
        prop_assert_eq!(reassemble(&small), due);
    }
}

/// Even: half a checksum can be neither checked nor changed.
fn quote_len() -> impl Strategy<Value = usize> {
    (34usize..500).prop_map(|n| n * 2)
}

fn error() -> impl Strategy<Value = (u8, u8, [u8; 4])> {
    prop_oneof![
        (0u8..16).prop_map(|code| (3, code, [0; 4])),
        any::<u16>().prop_map(|mtu| (3, 4, [0, 0, (mtu >> 8) as u8, mtu as u8])),
        (0u8..2).prop_map(|code| (11, code, [0; 4])),
        Just((12, 0, [9, 0, 0, 0])),
    ]
}

fn told(by: Ipv4Addr, (kind, code, rest): (u8, u8, [u8; 4]), about: Vec<u8>, quote: usize, extended: bool) -> Vec<u8> {
    let error = Frame::icmp_error(by, kind, code, about).rest(rest).quote(quote);
    if extended { error.extension(1, 1, vec![0, 1, 2, 3]).build() } else { error.build() }
}

fn mend_ip_checksum(frame: &mut [u8], l3: usize) {
    let Some(words) = frame.get(l3) else { return };
    let header_len = usize::from(words & 15) * 4;
    let Some(header) = frame.get_mut(l3..l3 + header_len).filter(|h| h.len() >= 20) else { return };
    header[10..12].fill(0);
    let sum = testkit::checksum(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// What [`dataplane::packet`] promises of a frame that it accepts.
fn promises(frame: &[u8]) {
    for framing in [FRAMING, TAGGED] {
        let Ok(Parsed::Ip(m)) = parse(frame, &framing) else { continue };
        let (l3, l4) = (usize::from(m.l3), usize::from(m.l4));
        assert!(l3 + 20 <= l4 && l4 <= m.end() && m.end() <= frame.len(), "{m:?}");
        assert_eq!(m.end() - l4, m.payload_len());
        let header = match m.class {
            Class::Udp | Class::IcmpQuery | Class::IcmpError => 8,
            Class::Tunnel => {
                if m.key.proto == Proto::L2TP {
                    4
                } else {
                    8
                }
            }
            Class::L2tpControl => 12,
            Class::Tcp => 20,
            Class::LaterFragment | Class::Other => 0,
        };
        assert!(m.payload_len() >= header, "{m:?}");
        assert_eq!(m.class == Class::LaterFragment, m.fragment_offset() != 0);
        if matches!(m.class, Class::Udp | Class::Tcp) {
            assert!(m.key.src_port() != 0 && m.key.dst_port() != 0);
        }
        let _: Option<Key> = icmp_error::quote(frame, &m).ok().map(|q| q.key);
    }
}

/// One worker; from inside it forwards to a link with this MTU.
fn router(mtu: u16) -> Worker<Memory> {
    let (lan, wan) = (Ipv4Addr::new(192, 168, 1, 1), Ipv4Addr::new(203, 0, 113, 1));
    let gateway = Ipv4Addr::new(203, 0, 113, 254);
    let port = |side, addr, gateway, mtu| Port {
        side,
        mac: Mac(DESTINATION_MAC),
        vlan: None,
        mtu,
        addresses: vec![(addr, Net::of(addr, 24))],
        gateway,
    };
    let policy = Policy {
        ports: vec![port(Side::Inside, lan, None, u16::MAX), port(Side::Outside, wan, Some(gateway), mtu)],
        neighbours: vec![StaticNeighbour { port: PortId(1), addr: gateway, mac: Mac([2; 6]) }],
        pool: vec![wan..=wan],
        sizes: Sizes { sessions: 16, mappings: 16, subscribers: 16, neighbours: 16 },
        ..Policy::default()
    };
    let rules = Arc::new(Rules::new(policy, 1));
    let io = Memory::joined(1, 2, 16).pop().expect("one was asked for");
    Worker::new(io, WorkerId(0), rules, Arc::new(Counters::default()), Tick(0))
}
