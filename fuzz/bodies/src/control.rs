use dataplane::wire::ike::{self, Natt};
use dataplane::wire::l2tp;
use testkit::ike::Ike;

/// Reads any bytes as IKE and as what port 4500 carries. What was read, written again by somebody else, is what was
/// there.
pub fn ike(data: &[u8]) {
    if let Some(m) = ike::parse(data, false) {
        // A whole message is one in a first fragment, too; a piece of it without its header is none.
        assert_eq!(ike::parse(data, true), Some(m));
        assert!(data.len() >= ike::LEN && m.initiator != 0 && matches!(m.major, 1 | 2));
        assert!(!m.is_response() || m.major == 2);
        assert!(m.len as usize >= ike::LEN && m.len as usize <= data.len());
        let again = Ike::v2(m.initiator, m.responder, m.exchange).flags(m.flags).message_id(m.message_id).length(m.len);
        let again = again.next(m.next).version(m.major << 4 | data[17] & 0x0f).body(&data[ike::LEN..]).build();
        assert_eq!(again, data);
        assert_eq!(ike::parse(&data[..ike::LEN - 1], true), None);
    }
    match Natt::of(data) {
        Natt::Ike => assert!(data.starts_with(&[0; 4])),
        Natt::Keepalive => assert_eq!(data, [0xff]),
        Natt::Esp => assert!(!data.starts_with(&[0; 4])),
    }
}

/// Reads any bytes as L2TP over UDP and over IP. A header and its attributes lie one behind the other in what is there,
/// and each thing that was read of a control message stands in one of them.
pub fn l2tp(data: &[u8]) {
    let header = l2tp::header(data);
    if let Some(h) = header {
        assert!(h.start <= h.end && h.end <= data.len() && h.control == l2tp::is_control(data), "{h:?}");
        assert!(!h.control || h.start == l2tp::LEN && h.sequence.is_some(), "{h:?}");
        attributes(&data[h.start..h.end]);
    }
    let over_udp = l2tp::udp_control(data);
    assert!(over_udp.is_none() || l2tp::is_control(data));
    let over_ip = [&[0; 4], data].concat();
    assert_eq!(l2tp::ip_control(&over_ip), over_udp);
    assert_eq!(over_udp.is_some(), header.is_some_and(|h| h.control));
    if let (Some(c), Some(h)) = (over_udp, header) {
        assert_eq!((c.version, c.connection), (h.version, h.connection));
        // The RFC's attribute, or Cisco's.
        let last = |rfc, cisco| {
            let named = |avp: &l2tp::Avp| (avp.vendor, avp.kind) == (0, rfc) || Some((avp.vendor, avp.kind)) == cisco;
            let plain = |avp: &l2tp::Avp| !avp.hidden && named(avp);
            l2tp::avps(&data[h.start..h.end]).filter(plain).last().map(|avp| avp.value)
        };
        let long = |rfc, cisco| last(rfc, Some((9, cisco))).and_then(|v| Some(u32::from_be_bytes(*v.first_chunk()?)));
        let short = |rfc| last(rfc, None).and_then(|v| Some(u16::from_be_bytes(*v.first_chunk()?)));
        assert_eq!((c.message_type, c.assigned_tunnel), (short(0), short(9)));
        assert_eq!((c.assigned_connection, c.local_session, c.remote_session), (long(61, 1), long(63, 3), long(64, 4)));
        // What is behind the message is not of it.
        let longer = [data, &[0xaa; 40]].concat();
        let claimed = usize::from(u16::from_be_bytes([data[2], data[3]]));
        if claimed <= data.len() {
            assert_eq!(l2tp::udp_control(&longer), Some(c));
        }
        assert_eq!(l2tp::udp_control(&data[..l2tp::LEN - 1]), None);
    }
}

/// Each attribute starts where the one before ended, and the first that is not read is malformed or one too many.
fn attributes(bytes: &[u8]) {
    let (mut at, mut count) = (0, 0);
    for avp in l2tp::avps(bytes) {
        assert_eq!(bytes[at + 6..at + 6 + avp.value.len()], *avp.value);
        assert_eq!(
            (avp.vendor.to_be_bytes(), avp.kind.to_be_bytes()),
            ([bytes[at + 2], bytes[at + 3]], [bytes[at + 4], bytes[at + 5]])
        );
        at += 6 + avp.value.len();
        count += 1;
    }
    let rest = &bytes[at..];
    let fits = rest.len() >= 6 && (6..=rest.len()).contains(&(usize::from(rest[0] & 3) << 8 | usize::from(rest[1])));
    assert!(count == l2tp::AVPS || count < l2tp::AVPS && !fits, "{count} attributes, then {rest:02x?}");
}
