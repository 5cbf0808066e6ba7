use dataplane::wire::ike::{self, Natt};
use dataplane::wire::l2tp;

/// Reads any bytes as IKE and as what port 4500 carries.
pub fn ike(data: &[u8]) {
    if let Some(m) = ike::parse(data, false) {
        // A whole message is one in a first fragment, too; a piece of it without its header is none.
        assert_eq!(ike::parse(data, true), Some(m));
        assert!(data.len() >= ike::LEN && m.initiator != 0 && matches!(m.major, 1 | 2));
        assert!(!m.is_response() || m.major == 2);
        assert_eq!(m.initiator.to_be_bytes(), data[..8]);
        assert_eq!(ike::parse(&data[..ike::LEN - 1], true), None);
    }
    match Natt::of(data) {
        Natt::Ike => assert!(data.starts_with(&[0; 4])),
        Natt::Keepalive => assert_eq!(data, [0xff]),
        Natt::Esp => assert!(!data.starts_with(&[0; 4])),
    }
}

/// Reads any bytes as L2TP over UDP and over IP.
pub fn l2tp(data: &[u8]) {
    let over_udp = l2tp::udp_control(data);
    assert!(over_udp.is_none() || l2tp::is_control(data));
    let over_ip = [&[0; 4], data].concat();
    assert_eq!(l2tp::ip_control(&over_ip), over_udp);
    if let Some(c) = over_udp {
        // What is behind the message is not of it.
        let longer = [data, &[0xaa; 40]].concat();
        let claimed = usize::from(u16::from_be_bytes([data[2], data[3]]));
        if claimed <= data.len() {
            assert_eq!(l2tp::udp_control(&longer), Some(c));
        }
        assert_eq!(l2tp::udp_control(&data[..l2tp::LEN - 1]), None);
    }
}
