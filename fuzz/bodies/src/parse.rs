use dataplane::packet::{Class, Framing, Meta, Parsed, parse as read};
use dataplane::types::{Mac, Proto};

/// Parses a frame for a port without a tag and for one with, and holds the parser to what it promises.
pub fn parse(frame: &[u8]) {
    let to = frame.first_chunk::<6>().copied().unwrap_or_default();
    for mac in [to, testkit::DESTINATION_MAC] {
        for vlan in [None, Some(0), Some(100)] {
            if let Ok(Parsed::Ip(meta)) = read(frame, &Framing { mac: Mac(mac), vlan }) {
                promised(frame, &meta);
            }
        }
    }
}

/// What `dataplane::packet` promises of a frame that it accepts.
pub(crate) fn promised(frame: &[u8], m: &Meta) {
    let (l3, l4) = (usize::from(m.l3), usize::from(m.l4));
    assert!(l3 + 20 <= l4 && l4 <= m.end() && m.end() <= frame.len(), "{m:?}");
    assert_eq!(m.end() - l4, m.payload_len());
    let header = match m.class {
        Class::Udp | Class::IcmpQuery | Class::IcmpError => 8,
        Class::Tcp => 20,
        Class::Tunnel => {
            if m.key.proto == Proto::L2TP {
                4
            } else {
                8
            }
        }
        Class::L2tpControl => 12,
        Class::LaterFragment | Class::Other => 0,
    };
    assert!(m.payload_len() >= header, "{m:?}");
    assert_eq!(m.class == Class::LaterFragment, m.fragment_offset() != 0);
    if matches!(m.class, Class::Udp | Class::Tcp) {
        assert!(m.key.src_port() != 0 && m.key.dst_port() != 0);
    }
}
