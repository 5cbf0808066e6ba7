//! What is built is read back, by our reader and by `etherparse`; cutting and joining undo each other; and the reader
//! survives any bytes.

use etherparse::{Icmpv4Type, NetSlice, SlicedPacket, TransportSlice};
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::SocketAddrV4;
use testkit::*;

fn endpoints() -> impl Strategy<Value = SocketAddrV4> {
    (any::<[u8; 4]>(), 1..=u16::MAX).prop_map(|(address, port)| SocketAddrV4::new(address.into(), port))
}

#[derive(Clone, Debug)]
struct Ip {
    from: SocketAddrV4,
    to: SocketAddrV4,
    ttl: u8,
    tos: u8,
    id: u16,
    df: bool,
    vlan: Option<u16>,
    hops: Vec<[u8; 4]>,
    payload: Vec<u8>,
    pad_to: usize,
}

impl Ip {
    fn dress<'a>(&'a self, frame: Frame<'a>) -> Frame<'a> {
        let frame = frame.ttl(self.ttl).tos(self.tos).id(self.id).payload(&self.payload).pad_to(self.pad_to);
        let frame = if self.df { frame.df() } else { frame };
        let frame = if self.hops.is_empty() { frame } else { frame.source_route(self.hops.iter().copied()) };
        match self.vlan {
            Some(tag) => frame.vlan(tag),
            None => frame,
        }
    }

    fn assert_read(&self, frame: &[u8]) -> Seen {
        let seen = Seen::read(frame).unwrap();
        assert_eq!(
            (seen.source.ip(), seen.destination.ip(), seen.ttl, seen.tos, seen.id, seen.df, seen.vlan),
            (self.from.ip(), self.to.ip(), self.ttl, self.tos, self.id, self.df, self.vlan)
        );
        assert_eq!(seen.payload, self.payload);
        assert_eq!(frame.len(), frame.len().max(self.pad_to));
        seen
    }
}

prop_compose! {
    fn ips()(
        from in endpoints(), to in endpoints(), ttl: u8, tos: u8, id: u16, df: bool, vlan: Option<u16>,
        hops in vec(any::<[u8; 4]>(), 0..=9), payload in vec(any::<u8>(), 0..200), pad_to in 0..200usize,
    ) -> Ip {
        Ip { from, to, ttl, tos, id, df, vlan, hops, payload, pad_to }
    }
}

/// The IP header, as etherparse sees it, has the checksum that etherparse would give it.
fn witnessed(frame: &[u8]) -> SlicedPacket<'_> {
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    let header = ip_of(&sliced);
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    sliced
}

fn ip_of(sliced: &SlicedPacket<'_>) -> etherparse::Ipv4Header {
    let Some(NetSlice::Ipv4(ip)) = &sliced.net else { panic!("not IPv4: {sliced:?}") };
    ip.header().to_header()
}

proptest! {
    #[test]
    fn udp_is_read_back(ip in ips(), checksum: bool) {
        let frame = ip.dress(Frame::udp(ip.from, ip.to));
        let built = if checksum { frame.build() } else { frame.udp_checksum_zero().build() };
        let seen = ip.assert_read(&built);
        prop_assert_eq!((seen.source, seen.destination), (ip.from, ip.to));
        prop_assert_eq!(seen.transport, Transport::Udp { checksum });

        let sliced = witnessed(&built);
        let Some(TransportSlice::Udp(udp)) = &sliced.transport else { panic!("{sliced:?}") };
        let header = udp.to_header();
        prop_assert_eq!((header.source_port, header.destination_port), (ip.from.port(), ip.to.port()));
        prop_assert_eq!(udp.payload(), &ip.payload);
        if checksum {
            prop_assert_eq!(header.checksum, header.calc_checksum_ipv4(&ip_of(&sliced), udp.payload()).unwrap());
        }
    }

    #[test]
    fn tcp_is_read_back(ip in ips(), seq: u32, ack: u32, flags: u8, window: u16, mss: Option<u16>, wscale: Option<u8>) {
        let mut frame = ip.dress(Frame::tcp(ip.from, ip.to)).seq(seq).ack(ack).flags(Flags(flags)).window(window);
        if let Some(mss) = mss {
            frame = frame.mss(mss);
        }
        if let Some(wscale) = wscale {
            frame = frame.wscale(wscale);
        }
        let built = frame.sack_permitted().build();
        let seen = ip.assert_read(&built);
        prop_assert_eq!((seen.source, seen.destination), (ip.from, ip.to));
        let tcp = seen.tcp();
        prop_assert_eq!((tcp.seq, tcp.ack, tcp.flags, tcp.window), (seq, ack, Flags(flags), window));
        prop_assert_eq!((tcp.mss, tcp.wscale), (mss, wscale));

        let sliced = witnessed(&built);
        let Some(TransportSlice::Tcp(witness)) = &sliced.transport else { panic!("{sliced:?}") };
        let header = witness.to_header();
        prop_assert_eq!((header.sequence_number, header.syn, header.fin), (seq, flags & 2 != 0, flags & 1 != 0));
        prop_assert_eq!(header.checksum, header.calc_checksum_ipv4(&ip_of(&sliced), witness.payload()).unwrap());
        prop_assert_eq!(header.options.as_slice(), &tcp.options);
    }

    #[test]
    fn echo_is_read_back(ip in ips(), id: u16, seq: u16, reply: bool) {
        let frame = if reply { Frame::echo_reply } else { Frame::echo_request };
        let built = ip.dress(frame(ip.from, ip.to, id, seq)).build();
        let seen = ip.assert_read(&built);
        let icmp = seen.icmp();
        prop_assert_eq!((icmp.id(), icmp.seq(), icmp.kind), (id, seq, if reply { 0 } else { 8 }));
        assert_icmp_witnessed(&witnessed(&built));
    }

    #[test]
    fn errors_quote_what_they_are_about(ip in ips(), from in endpoints(), quote in 60..300usize, extended: bool) {
        let offending = ip.dress(Frame::udp(ip.from, ip.to)).build();
        let mut error = Frame::time_exceeded(from, &offending).quote(quote);
        if extended {
            error = error.extension(1, 1, &[1, 2, 3, 4]).extension(2, 3, &[]);
        }
        let built = error.build();
        let seen = Seen::read(&built).unwrap();
        let quoted = seen.quoted();
        prop_assert_eq!((quoted.ttl, quoted.tos, quoted.id, quoted.df), (ip.ttl, ip.tos, ip.id, ip.df));
        prop_assert_eq!(seen.icmp().extensions.len(), if extended { 2 } else { 0 });
        if quoted.data.len() >= 4 {
            prop_assert_eq!((quoted.source, quoted.destination), (ip.from, ip.to));
        }
        let whole = quoted.data.len() == 8 + ip.payload.len();
        prop_assert_eq!(quoted.checksum, if whole { Checksum::Right } else { Checksum::Unknown });
        assert_icmp_witnessed(&witnessed(&built));
    }

    #[test]
    fn tunnels_are_read_back(ip in ips(), spi: u32, call: u16, seq: Option<u32>, ack: Option<u32>) {
        let built = ip.dress(Frame::esp(ip.from, ip.to, spi, 1)).build();
        prop_assert_eq!(ip.assert_read(&built).spi(), spi);
        witnessed(&built);

        let mut gre = ip.dress(Frame::gre(ip.from, ip.to, call));
        if let Some(seq) = seq {
            gre = gre.gre_seq(seq);
        }
        if let Some(ack) = ack {
            gre = gre.gre_ack(ack);
        }
        let built = gre.build();
        prop_assert_eq!(ip.assert_read(&built).gre().clone(), Gre { call_id: call, seq, ack });
        witnessed(&built);
    }

    #[test]
    fn reassembly_undoes_fragmentation(ip in ips(), mtu in 68..240usize, again in 68..240usize, turn: usize) {
        let whole = ip.dress(Frame::udp(ip.from, ip.to)).pad_to(0).build();
        let mut cut: Vec<_> = fragments(&whole, mtu).iter().flat_map(|f| fragments(f, again)).collect();
        let ethernet = if ip.vlan.is_some() { 18 } else { 14 };
        for fragment in &cut {
            prop_assert!(fragment.len() - ethernet <= mtu.min(again));
            Seen::read(fragment).unwrap();
            witnessed(fragment);
        }
        let middle = turn % cut.len();
        cut.rotate_left(middle);
        prop_assert_eq!(reassemble(&cut), Some(whole));
    }

    #[test]
    fn a_flipped_bit_is_noticed_where_a_checksum_covers_it(ip in ips(), bit: usize) {
        let frame = ip.dress(Frame::udp(ip.from, ip.to)).pad_to(0);
        let mut built = frame.build();
        let first = 8 * if ip.vlan.is_some() { 18 } else { 14 };
        let bit = first + bit % (built.len() * 8 - first);
        built[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Seen::read(&built).is_err() || udp_checksum_became_zero(&built));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..120), ip in ips(), cut: usize, at: usize) {
        let _ = Seen::read(&bytes);
        let _ = reassemble(std::slice::from_ref(&bytes));
        let mut built = ip.dress(Frame::tcp(ip.from, ip.to).mss(1)).build();
        let at = at % built.len();
        for (old, new) in built[at..].iter_mut().zip(&bytes) {
            *old = *new;
        }
        built.truncate(cut % (built.len() + 1));
        let _ = Seen::read(&built).map(|seen| seen.to_string());
        let _ = Frame::time_exceeded("192.0.2.1", &built).build();
    }

    #[test]
    fn a_buffer_is_reused(ip in ips(), other in ips()) {
        let mut buffer = Vec::with_capacity(2048);
        other.dress(Frame::udp(other.from, other.to)).build_into(&mut buffer);
        let place = buffer.as_ptr();
        let frame = ip.dress(Frame::tcp(ip.from, ip.to));
        frame.build_into(&mut buffer);
        prop_assert_eq!(buffer.as_ptr(), place);
        prop_assert_eq!(buffer, frame.build());
    }
}

fn assert_icmp_witnessed(sliced: &SlicedPacket<'_>) {
    let Some(TransportSlice::Icmpv4(icmp)) = &sliced.transport else { panic!("{sliced:?}") };
    // Its typed form of an error forgets the RFC 4884 length, so the header's bytes are given as they are.
    let raw = Icmpv4Type::Unknown { type_u8: icmp.type_u8(), code_u8: icmp.code_u8(), bytes5to8: icmp.bytes5to8() };
    assert_eq!(icmp.checksum(), raw.calc_checksum(icmp.payload()));
}

/// One bit away from a checksum with a single bit set is none at all.
fn udp_checksum_became_zero(frame: &[u8]) -> bool {
    matches!(Seen::read(frame), Ok(Seen { transport: Transport::Udp { checksum: false }, .. }))
}
