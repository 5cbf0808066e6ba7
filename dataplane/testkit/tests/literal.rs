//! Frames whose every byte is written down here.

use testkit::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

const ETHERNET: &str = "020000000002 020000000001 0800";

#[test]
fn udp_is_written_and_read_byte_for_byte() {
    let bytes = hex(&format!("{ETHERNET} 4500001f 00074000 40114ee2 c0a80102 c6336407 1388 0035 000b 3bd3 616263"));
    let frame = Frame::udp("192.168.1.2:5000", "198.51.100.7:53").id(7).df().payload(b"abc");
    assert_eq!(frame.build(), bytes);
    let seen = Seen::read(&bytes).unwrap();
    assert_eq!(seen.to_string(), "udp 192.168.1.2:5000 -> 198.51.100.7:53 ttl 64 id 7 df, 3 bytes");
    assert_eq!((seen.source_mac, seen.destination_mac), (SOURCE_MAC, DESTINATION_MAC));
}

#[test]
fn a_syn_with_options_is_written_and_read_byte_for_byte() {
    let bytes = hex(&format!(
        "{ETHERNET} 45000030 00000000 40068ee3 c0a80102 c6336407
         9c40 0050 000003e8 00000000 7002 ffff f7ba 0000 020405b4 01030307"
    ));
    let syn = Frame::tcp("192.168.1.2:40000", "198.51.100.7:80").flags(SYN).seq(1000).ack(0).mss(1460).wscale(7);
    let built = syn.build();
    let seen = Seen::read(&built).unwrap();
    assert_eq!(
        seen.to_string(),
        "tcp 192.168.1.2:40000 -> 198.51.100.7:80 ttl 64 id 0 [SYN] seq 1000 ack 0 win 65535 mss 1460 wscale 7, 0 bytes"
    );
    assert_eq!(built, bytes);
    assert_eq!((seen.tcp().mss, seen.tcp().wscale, seen.tcp().flags), (Some(1460), Some(7), SYN));
}

#[test]
fn an_echo_request_is_written_and_read_byte_for_byte() {
    let bytes = hex(&format!("{ETHERNET} 4500001e 00000000 40018efa c0a80102 c6336407 0800 9598 0102 0003 6162"));
    let request = Frame::echo_request("192.168.1.2", "198.51.100.7", 0x102, 3).payload(b"ab");
    assert_eq!(request.build(), bytes);
    let seen = Seen::read(&bytes).unwrap();
    assert_eq!((seen.icmp().id(), seen.icmp().seq(), seen.payload.as_slice()), (0x102, 3, &b"ab"[..]));
}

#[test]
fn arp_is_written_and_read_byte_for_byte() {
    let bytes = hex("ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 c0a80102 000000000000 c0a80101");
    assert_eq!(Frame::arp_request(SOURCE_MAC, "192.168.1.2", "192.168.1.1").build(), bytes);
    let seen = Seen::read(&bytes).unwrap();
    assert_eq!(seen.to_string(), "arp who has 192.168.1.1? tell 192.168.1.2 at 02:00:00:00:00:01");
    assert_eq!(seen.arp().operation, 1);

    let reply = Frame::arp_reply(DESTINATION_MAC, "192.168.1.1", SOURCE_MAC, "192.168.1.2").pad_to(60).build();
    let seen = Seen::read(&reply).unwrap();
    assert_eq!((seen.path().as_str(), seen.padding), ("192.168.1.1 -> 192.168.1.2", 18));
    assert_eq!((seen.destination_mac, seen.arp().target_mac), (SOURCE_MAC, SOURCE_MAC));

    let seen = Seen::read(&Frame::gratuitous_arp(SOURCE_MAC, "192.168.1.2").build()).unwrap();
    assert_eq!((seen.path().as_str(), seen.destination_mac), ("192.168.1.2 -> 192.168.1.2", BROADCAST_MAC));
}

#[test]
fn pptp_gre_is_written_and_read_byte_for_byte() {
    let bytes = hex(&format!(
        "{ETHERNET} 45000026 00000000 402f8ec4 c0a80102 c6336407 3081 880b 0002 0063 00000005 00000004 ff03"
    ));
    let gre = Frame::gre("192.168.1.2", "198.51.100.7", 99).gre_seq(5).gre_ack(4).payload(&[0xff, 3]);
    assert_eq!(gre.build(), bytes);
    let seen = Seen::read(&bytes).unwrap();
    assert_eq!(seen.gre(), &Gre { call_id: 99, seq: Some(5), ack: Some(4) });
    assert_eq!(seen.payload, [0xff, 3]);
}

#[test]
fn esp_and_other_protocols_carry_their_payload() {
    let seen = Seen::read(&Frame::esp("10.0.0.1", "10.0.0.2", 0xc0ffee00, 9).payload(b"secret").build()).unwrap();
    assert_eq!((seen.spi(), seen.payload.as_slice()), (0xc0ffee00, &b"secret"[..]));
    let seen = Seen::read(&Frame::ip(protocol::AH, "10.0.0.1", "10.0.0.2").payload(b"auth").build()).unwrap();
    assert_eq!((seen.protocol, seen.payload.as_slice()), (51, &b"auth"[..]));
    let seen = Seen::read(&Frame::ethernet(0x86dd).payload(b"six").build()).unwrap();
    assert_eq!((seen.ethertype, seen.payload.as_slice()), (0x86dd, &b"six"[..]));
}

#[test]
fn other_gre_has_a_key_only_when_asked() {
    let gre = |frame: Frame<'_>| Seen::read(&frame.build()).unwrap().payload;
    let plain = || Frame::gre0("10.0.0.1", "10.0.0.2", 0x0800).payload(&[0x45]);
    assert_eq!(gre(plain()), hex("0000 0800 45"));
    assert_eq!(gre(plain().gre_key(7).gre_seq(8)), hex("3000 0800 00000007 00000008 45"));
}

#[test]
fn ah_is_written_byte_for_byte() {
    let ah = Frame::ah("10.0.0.1", "10.0.0.2", 0xc0ffee00, 9).payload(&[0x45]);
    let seen = Seen::read(&ah.build()).unwrap();
    assert_eq!(seen.payload, hex("04040000 c0ffee00 00000009 a5a5a5a5a5a5a5a5a5a5a5a5 45"));
    assert_eq!(seen.to_string(), "ah 10.0.0.1 -> 10.0.0.2 ttl 64 id 0, 25 bytes");
}

#[test]
fn l2tpv3_over_ip_says_whom_it_is_for() {
    let data = Frame::l2tpv3("10.0.0.1", "10.0.0.2", 0xf00d).payload(b"frame");
    let seen = Seen::read(&data.build()).unwrap();
    assert_eq!((seen.l2tpv3(), &seen.payload[4..]), (Some(L2tpv3::Session(0xf00d)), &b"frame"[..]));
    assert_eq!(seen.to_string(), "l2tp 10.0.0.1 -> 10.0.0.2 ttl 64 id 0 session 0x0000f00d, 9 bytes");

    let hello = l2tp::control_v3(0xafa1_0e53, 1, 2, l2tp::message::HELLO, &[]);
    let seen = Seen::read(&Frame::l2tpv3_control("10.0.0.1", "10.0.0.2", &hello).build()).unwrap();
    assert_eq!((seen.l2tpv3(), &seen.payload[4..]), (Some(L2tpv3::Control(0xafa1_0e53)), &hello[..]));
    assert_eq!(seen.to_string(), "l2tp 10.0.0.1 -> 10.0.0.2 ttl 64 id 0 control 0xafa10e53, 24 bytes");

    let short = Frame::l2tpv3_control("10.0.0.1", "10.0.0.2", &hello[..7]).build();
    assert_eq!(Seen::read(&short).unwrap().l2tpv3(), None);
    let first = Frame::l2tpv3("10.0.0.1", "10.0.0.2", 7).payload(b"frag").fragment(0, true).build();
    assert_eq!(Seen::read(&first).unwrap().l2tpv3(), None);
}

#[test]
fn an_error_quotes_the_packet_without_ethernet_tag_or_padding() {
    let query = Frame::udp("192.168.1.2:5000", "198.51.100.7:53").vlan(100).payload(b"abc").pad_to(60).build();
    let seen = Seen::read(&Frame::fragmentation_needed("192.0.2.1", 1400, &query).build()).unwrap();
    assert_eq!(seen.path(), "192.0.2.1 -> 192.168.1.2");
    assert_eq!((seen.icmp().kind, seen.icmp().code, seen.icmp().mtu()), (3, 4, 1400));
    assert_eq!(seen.quoted().path(), "192.168.1.2:5000 -> 198.51.100.7:53");
    assert_eq!((seen.quoted().data.len(), seen.quoted().checksum), (11, Checksum::Right));
    assert_eq!(
        seen.to_string(),
        "icmp 192.0.2.1 -> 192.168.1.2 ttl 64 id 0 type 3 code 4 rest [00, 00, 05, 78] about (udp 192.168.1.2:5000 -> \
         198.51.100.7:53 ttl 64 id 0, 11 bytes quoted of 31, checksum right), 0 bytes"
    );
}

#[test]
fn an_error_may_quote_little_and_says_so() {
    let query = Frame::udp("192.168.1.2:5000", "198.51.100.7:53").payload(b"abcdefgh").build();
    let seen = Seen::read(&Frame::unreachable("198.51.100.7", 3, &query).quote(28).build()).unwrap();
    assert_eq!((seen.quoted().data.len(), seen.quoted().checksum), (8, Checksum::Unknown));
    let seen = Seen::read(&Frame::unreachable("198.51.100.7", 3, &query).quote(20).build()).unwrap();
    assert_eq!((seen.quoted().path().as_str(), seen.quoted().data.len()), ("192.168.1.2 -> 198.51.100.7", 0));
    assert!(Seen::read(&Frame::unreachable("198.51.100.7", 3, &query).quote(19).build()).is_err());
}

#[test]
fn an_extended_error_has_its_quote_padded_and_its_objects_found() {
    let query = Frame::udp("192.168.1.2:5000", "198.51.100.7:53").payload(b"abc").build();
    let error = Frame::time_exceeded("192.0.2.1", &query).extension(1, 1, &[0, 0, 0x11, 0x40]).build();
    assert_eq!(error.len(), 14 + 20 + 8 + 128 + 4 + 8);
    assert_eq!(error[14 + 20 + 5], 32);
    let seen = Seen::read(&error).unwrap();
    assert_eq!(seen.icmp().extensions, [Extension { class: 1, kind: 1, data: vec![0, 0, 0x11, 0x40] }]);
    assert_eq!((seen.quoted().data.len(), seen.quoted().checksum), (11, Checksum::Right));
}

#[test]
fn a_quoted_transport_checksum_that_is_wrong_is_reported_and_a_wrong_header_refused() {
    let query = Frame::udp("192.168.1.2:5000", "198.51.100.7:53").payload(b"abc");
    let damaged = query.clone().bad_l4_checksum().build();
    let seen = Seen::read(&Frame::time_exceeded("192.0.2.1", &damaged).build()).unwrap();
    assert_eq!(seen.quoted().checksum, Checksum::Wrong);
    let damaged = query.clone().bad_ip_checksum().build();
    let error = Seen::read(&Frame::time_exceeded("192.0.2.1", &damaged).build()).unwrap_err();
    assert!(error.starts_with("quoted IP header checksum is "), "{error}");
    let unsigned = query.udp_checksum_zero().build();
    let seen = Seen::read(&Frame::time_exceeded("192.0.2.1", &unsigned).build()).unwrap();
    assert_eq!(seen.quoted().checksum, Checksum::None);
}

#[test]
fn udp_without_a_checksum_is_reported() {
    let seen = Seen::read(&Frame::udp("10.0.0.1:1", "10.0.0.2:2").udp_checksum_zero().build()).unwrap();
    assert_eq!(seen.transport, Transport::Udp { checksum: false });
}

#[test]
fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
    let frame = |low: u16| Frame::udp("10.0.0.1:1", "10.0.0.2:2").payload(low.to_be_bytes().to_vec()).build();
    let sum = u16::from_be_bytes([frame(0)[40], frame(0)[41]]);
    let built = frame(sum);
    assert_eq!(built[40..42], [0xff, 0xff]);
    assert_eq!(Seen::read(&built).unwrap().transport, Transport::Udp { checksum: true });
}

#[test]
fn minus_zero_is_refused_where_zero_is_due() {
    let frame = |id: u16| Frame::ip(99, "10.0.0.1", "10.0.0.2").id(id).build();
    let mut built = frame(u16::from_be_bytes([frame(0)[24], frame(0)[25]]));
    assert_eq!(built[24..26], [0, 0]);
    Seen::read(&built).unwrap();
    built[24..26].fill(0xff);
    assert_eq!(Seen::read(&built).unwrap_err(), "IP header checksum is 0xffff, not 0x0000");
}

#[test]
fn each_damage_is_named() {
    let udp = || Frame::udp("10.0.0.1:1", "10.0.0.2:2").payload(b"abcdefgh");
    let tcp = || Frame::tcp("10.0.0.1:1", "10.0.0.2:2");
    let says = |frame: Frame<'_>, start: &str| {
        let error = Seen::read(&frame.build()).unwrap_err();
        assert!(error.starts_with(start), "`{error}` does not start with `{start}`");
    };
    says(udp().bad_ip_checksum(), "IP header checksum is ");
    says(udp().bad_l4_checksum(), "UDP checksum is ");
    says(tcp().bad_l4_checksum(), "TCP checksum is ");
    says(Frame::echo_reply("10.0.0.1", "10.0.0.2", 1, 1).bad_l4_checksum(), "ICMP checksum is ");
    says(udp().ip_version(6), "IP version is 6, not 4");
    says(udp().ihl(4), "IP header length is 16, less than 20");
    says(udp().ihl(15), "IP header takes 60 bytes, but only 36 are there");
    says(udp().total_length(19), "IP total length 19 is less than its header's 20");
    says(udp().total_length(37), "IP total length is 37, but only 36 bytes are there");
    says(udp().total_length(35), "UDP length is 16, but IP carries 15");
    says(udp().udp_length(7), "UDP length is 7, but IP carries 16");
    says(tcp().data_offset(4), "TCP data offset is 16 bytes, less than 20");
    says(tcp().data_offset(6), "TCP header with options takes 24 bytes, but only 20 are there");
    says(tcp().tcp_options(&[2, 0, 0, 0]), "TCP option 2 has a wrong length");
    says(udp().truncate(33), "IP header takes 20 bytes, but only 19 are there");
    says(udp().truncate(10), "Ethernet header takes 14 bytes, but only 10 are there");
    says(udp().fragment(65528, false), "a fragment of 36 bytes at 65528 ends beyond 65535");
}

#[test]
fn options_are_written_where_routers_look_for_them() {
    let built = Frame::udp("10.0.0.1:1", "10.0.0.2:2").source_route(["10.0.0.3", "10.0.0.4"]).build();
    assert_eq!((built[14], &built[34..46]), (0x48, &[131, 11, 4, 10, 0, 0, 3, 10, 0, 0, 4, 0][..]));
    Seen::read(&built).unwrap();
    let built = Frame::udp("10.0.0.1:1", "10.0.0.2:2").record_route(9).build();
    assert_eq!((built[14], &built[34..38]), (0x4f, &[7, 39, 4, 0][..]));
    assert_eq!(Seen::read(&built).unwrap().ip_options.len(), 40);
}

#[test]
fn a_vlan_tag_is_seen_through() {
    let seen = Seen::read(&Frame::udp("10.0.0.1:1", "10.0.0.2:2").vlan(0x6064).build()).unwrap();
    assert_eq!((seen.vlan, seen.path().as_str()), (Some(0x6064), "10.0.0.1:1 -> 10.0.0.2:2"));
    assert!(seen.to_string().starts_with("vlan 100 udp "), "{seen}");
}

#[test]
fn a_later_fragment_has_no_copy_of_a_record_route_but_of_a_source_route() {
    let frame = Frame::udp("10.0.0.1:1", "10.0.0.2:2").record_route(1).source_route(["10.0.0.3"]).payload(vec![7; 40]);
    let cut = fragments(&frame.build(), 60);
    let seen: Vec<_> = cut.iter().map(|f| Seen::read(f).unwrap()).collect();
    let shape: Vec<_> = seen.iter().map(|s| (s.offset, s.mf, s.ip_options.len(), s.payload.len())).collect();
    assert_eq!(shape, [(0, true, 16, 24), (24, false, 8, 24)]);
    assert_eq!(seen[1].ip_options, [131, 7, 4, 10, 0, 0, 3, 0]);
    assert_eq!(reassemble(&cut), Some(frame.build()));
}

#[test]
fn a_missing_overlapping_or_foreign_fragment_is_not_reassembled() {
    let cut = fragments(&Frame::udp("10.0.0.1:1", "10.0.0.2:2").id(1).payload(vec![7; 100]).build(), 60);
    assert_eq!(cut.len(), 3);
    for missing in 0..3 {
        let mut rest = cut.clone();
        rest.remove(missing);
        assert_eq!(reassemble(&rest), None);
    }
    let mut twice = cut.clone();
    twice.push(cut[1].clone());
    assert_eq!(reassemble(&twice), None);
    let mut foreign = cut.clone();
    foreign[1] = fragments(&Frame::udp("10.0.0.1:1", "10.0.0.2:2").id(2).payload(vec![7; 100]).build(), 60)[1].clone();
    assert_eq!(reassemble(&foreign), None);
    assert_eq!(reassemble(&[]), None);
}

#[test]
#[should_panic(expected = "`seq` belongs to TCP")]
fn a_setter_of_another_protocol_is_refused() {
    let _ = Frame::udp("10.0.0.1:1", "10.0.0.2:2").seq(1);
}
