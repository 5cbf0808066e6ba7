//! L2TP's control messages: version 2 [RFC 2661 §3.1, §4.1], and version 3 over IP and UDP [RFC 3931 §3.2.1, §4.1].
//!
//! ```text
//! version 2, over UDP                       version 3; over IP, four zero bytes come before
//! |T|L|x|x|S|x|O|P|x|x|x|x|Ver=2|  Length | |T|L|x|x|S|x|x|x|x|x|x|x|Ver=3|  Length |
//! |   Tunnel ID   |  Session ID           | |     Control connection identifier     |
//! |      Ns       |      Nr               | |        Ns           |        Nr       |
//! ```
//!
//! Then attribute-value pairs, each `|M|H|rsvd|length: 10|` `vendor: 16` `type: 16` and its value. Hidden ones are passed
//! over: what they say is encrypted. So are those of vendors, but for Cisco's identifiers. A control message has length
//! and sequence numbers [RFC 2661 §3.1], so its header is 12 bytes long in both versions. Data has of these fields what
//! its bits say, and an offset; version 3's over UDP has a session identifier of 32 bits in their place
//! [RFC 3931 §4.1.2.1].
//!
//! Reading is total: any bytes give a header within them or none, and a bounded number of attributes up to the first
//! malformed one.

/// In the first byte: a control message.
const CONTROL: u8 = 0x80;
/// In the first byte: the length is present.
const LENGTH: u8 = 0x40;
/// In the first byte: sequence numbers are present.
const SEQUENCE: u8 = 0x08;
/// In the first byte of data: an offset is present.
const OFFSET: u8 = 0x02;
/// What the first byte of a control message has set.
const CONTROL_BITS: u8 = CONTROL | LENGTH | SEQUENCE;
/// Length of a control message's header.
pub const LEN: usize = 12;
/// Attributes that are read of one message.
pub const AVPS: usize = 64;
/// Length of an attribute without its value.
const AVP_LEN: usize = 6;
/// In the first byte of an attribute: who does not know it must give up.
const MANDATORY: u8 = 0x80;
/// In the first byte of an attribute: its value is encrypted.
const HIDDEN: u8 = 0x40;

/// Message types [RFC 2661 §3.2; RFC 3931 §3.1].
pub mod message {
    /// Start-Control-Connection-Request.
    pub const SCCRQ: u16 = 1;
    /// Start-Control-Connection-Reply.
    pub const SCCRP: u16 = 2;
    /// Start-Control-Connection-Connected.
    pub const SCCCN: u16 = 3;
    /// Stop-Control-Connection-Notification.
    pub const STOPCCN: u16 = 4;
    /// Hello.
    pub const HELLO: u16 = 6;
    /// Outgoing-Call-Request.
    pub const OCRQ: u16 = 7;
    /// Outgoing-Call-Reply.
    pub const OCRP: u16 = 8;
    /// Outgoing-Call-Connected.
    pub const OCCN: u16 = 9;
    /// Incoming-Call-Request.
    pub const ICRQ: u16 = 10;
    /// Incoming-Call-Reply.
    pub const ICRP: u16 = 11;
    /// Incoming-Call-Connected.
    pub const ICCN: u16 = 12;
    /// Call-Disconnect-Notify.
    pub const CDN: u16 = 14;
}

/// Attribute types.
mod attribute {
    pub(super) const MESSAGE_TYPE: u16 = 0;
    pub(super) const ASSIGNED_TUNNEL: u16 = 9;
    pub(super) const ASSIGNED_CONNECTION: u16 = 61;
    pub(super) const LOCAL_SESSION: u16 = 63;
    pub(super) const REMOTE_SESSION: u16 = 64;
}

/// Cisco's routers name their identifiers in attributes of their own, from before RFC 3931, and not in the RFC's.
mod cisco {
    pub(super) const VENDOR: u16 = 9;
    pub(super) const ASSIGNED_CONNECTION: u16 = 1;
    pub(super) const LOCAL_SESSION: u16 = 3;
    pub(super) const REMOTE_SESSION: u16 = 4;
}

/// A header over UDP, or of a control message over IP behind its four zero bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// 2 or 3.
    pub version: u8,
    /// Whether it is of a control message.
    pub control: bool,
    /// Its receiver's tunnel identifier (version 2), or control connection identifier (version 3, control); else 0.
    pub connection: u32,
    /// Its receiver's session identifier (version 2; version 3, data); else 0.
    pub session: u32,
    /// Ns and Nr.
    pub sequence: Option<[u16; 2]>,
    /// Where attributes or data start.
    pub start: usize,
    /// Where they end: not before they start, and not behind the bytes that are there.
    pub end: usize,
}

/// An attribute-value pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avp<'a> {
    /// Who does not know it must give up.
    pub mandatory: bool,
    /// The value is encrypted.
    pub hidden: bool,
    /// 0 where an RFC defines it.
    pub vendor: u16,
    /// Attribute type, of that vendor.
    pub kind: u16,
    /// Its value.
    pub value: &'a [u8],
}

/// What a control message says, as far as a NAT cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// 2 or 3.
    pub version: u8,
    /// Its receiver's tunnel identifier (version 2), or control connection identifier; 0 while that is not known.
    pub connection: u32,
    /// See [`message`]. `None` for an acknowledgement, or where it is hidden.
    pub message_type: Option<u16>,
    /// The tunnel identifier that its sender chose (version 2).
    pub assigned_tunnel: Option<u16>,
    /// The control connection identifier that its sender chose (version 3).
    pub assigned_connection: Option<u32>,
    /// The session identifier that its sender chose (version 3).
    pub local_session: Option<u32>,
    /// The session identifier that its receiver chose (version 3); 0 while its sender does not know it.
    pub remote_session: Option<u32>,
}

/// Whether a datagram of port 1701 is a control message rather than data.
#[inline]
#[must_use]
pub const fn is_control(payload: &[u8]) -> bool {
    matches!(payload, [first, ..] if *first & CONTROL != 0)
}

/// Reads a control message in UDP, of either version.
#[must_use]
pub fn udp_control(payload: &[u8]) -> Option<Control> {
    read(payload)
}

/// Reads an IP packet of protocol 115 if it is a control message: session identifier 0.
#[must_use]
pub fn ip_control(payload: &[u8]) -> Option<Control> {
    read(payload.strip_prefix(&[0; 4])?)
}

/// Reads the header of either version. What comes behind the message that it describes is not of it; a first fragment
/// holds less.
#[must_use]
pub fn header(message: &[u8]) -> Option<Header> {
    let &[bits, version] = message.first_chunk()?;
    let (control, version) = (bits & CONTROL != 0, version & 0x0f);
    if control && bits & CONTROL_BITS != CONTROL_BITS {
        return None;
    }
    let mut start = 2;
    let mut next = || {
        let field = message.get(start..)?.first_chunk()?;
        start += 2;
        Some(u16::from_be_bytes(*field))
    };
    let (mut len, mut sequence, mut padding) = (None, None, 0);
    let (connection, session) = if version == 3 && !control {
        let _reserved = next()?;
        (0, u32::from(next()?) << 16 | u32::from(next()?))
    } else {
        if bits & LENGTH != 0 {
            len = Some(next()?);
        }
        let (high, low) = (u32::from(next()?), u32::from(next()?));
        if bits & SEQUENCE != 0 {
            sequence = Some([next()?, next()?]);
        }
        if bits & OFFSET != 0 && !control {
            padding = next()?;
        }
        match version {
            2 => (high, low),
            3 => (high << 16 | low, 0),
            _ => return None,
        }
    };
    start += usize::from(padding);
    let end = len.map_or(message.len(), |len| usize::from(len).min(message.len()));
    (start <= end).then_some(Header { version, control, connection, session, sequence, start, end })
}

/// Walks the attributes of a control message, [`AVPS`] at most, up to the first malformed one.
pub fn avps(mut bytes: &[u8]) -> impl Iterator<Item = Avp<'_>> {
    std::iter::from_fn(move || {
        let &[b0, b1, v0, v1, k0, k1] = bytes.first_chunk::<AVP_LEN>()?;
        let (avp, rest) = bytes.split_at_checked(usize::from(u16::from_be_bytes([b0 & 3, b1])))?;
        let value = avp.get(AVP_LEN..)?;
        bytes = rest;
        let (vendor, kind) = (u16::from_be_bytes([v0, v1]), u16::from_be_bytes([k0, k1]));
        Some(Avp { mandatory: b0 & MANDATORY != 0, hidden: b0 & HIDDEN != 0, vendor, kind, value })
    })
    .take(AVPS)
}

fn read(message: &[u8]) -> Option<Control> {
    let h = header(message).filter(|h| h.control)?;
    let mut c = Control {
        version: h.version,
        connection: h.connection,
        message_type: None,
        assigned_tunnel: None,
        assigned_connection: None,
        local_session: None,
        remote_session: None,
    };
    for avp in avps(message.get(h.start..h.end)?).filter(|avp| !avp.hidden) {
        let (short, long) = (avp.value.first_chunk::<2>(), avp.value.first_chunk::<4>());
        let (short, long) = (short.map(|v| u16::from_be_bytes(*v)), long.map(|v| u32::from_be_bytes(*v)));
        match (avp.vendor, avp.kind) {
            (0, attribute::MESSAGE_TYPE) => c.message_type = short,
            (0, attribute::ASSIGNED_TUNNEL) => c.assigned_tunnel = short,
            (0, attribute::ASSIGNED_CONNECTION) | (cisco::VENDOR, cisco::ASSIGNED_CONNECTION) => {
                c.assigned_connection = long;
            }
            (0, attribute::LOCAL_SESSION) | (cisco::VENDOR, cisco::LOCAL_SESSION) => c.local_session = long,
            (0, attribute::REMOTE_SESSION) | (cisco::VENDOR, cisco::REMOTE_SESSION) => c.remote_session = long,
            _ => {}
        }
    }
    Some(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use testkit::l2tp::{self as witness, Avp as Built};

    #[test]
    fn version_2_is_read() {
        let c = udp_control(&witness::sccrp(7, 0x0102)).unwrap();
        assert_eq!((c.version, c.connection, c.message_type, c.assigned_tunnel), (2, 7, Some(2), Some(0x0102)));
        let h = header(&witness::control(7, 8, 9, 10, message::CDN, &[])).unwrap();
        assert_eq!((h.connection, h.session, h.sequence, h.start, h.end), (7, 8, Some([9, 10]), LEN, LEN + 8));
    }

    #[test]
    fn version_3_is_read_over_udp_and_over_ip() {
        let sessions = [Built::local_session(5), Built::remote_session(6)];
        let icrp = witness::control_v3(0x0009_0008, 0, 0, message::ICRP, &sessions);
        let c = ip_control(&[&[0; 4], &icrp[..]].concat()).unwrap();
        assert_eq!((c.version, c.connection, c.message_type), (3, 0x0009_0008, Some(11)));
        assert_eq!((c.local_session, c.remote_session), (Some(5), Some(6)));
        assert_eq!(udp_control(&icrp), Some(c));
        assert_eq!(ip_control(&icrp), None);
    }

    #[test]
    fn an_acknowledgement_has_no_type() {
        for message in [witness::acknowledgement(7, 1, 2), witness::acknowledgement_v3(7, 1, 2)] {
            let c = udp_control(&message).unwrap();
            assert_eq!((c.connection, c.message_type), (7, None));
        }
    }

    #[test]
    fn hidden_attributes_and_other_vendors_say_nothing() {
        let hidden = Built::assigned_connection(5).hidden();
        let m =
            witness::control_v3(0, 0, 0, 1, &[hidden, Built::assigned_connection(5).vendor(9), Built::private(b"x")]);
        assert_eq!(udp_control(&m).unwrap().assigned_connection, None);
        let all: Vec<_> = avps(&m[LEN..]).map(|a| (a.mandatory, a.hidden, a.vendor, a.kind, a.value.len())).collect();
        assert_eq!(
            all,
            [(true, false, 0, 0, 2), (true, true, 0, 61, 4), (true, false, 9, 61, 4), (false, false, 32473, 1, 1)]
        );
    }

    #[test]
    fn ciscos_own_attributes_name_identifiers() {
        let of_cisco = |kind, value: &[u8]| Built::new(kind, value).vendor(9);
        let m = witness::control_v3(0, 0, 0, message::SCCRQ, &[of_cisco(1, &[0xa9, 0x1b, 0x13, 0xde])]);
        let c = udp_control(&m).unwrap();
        assert_eq!((c.message_type, c.assigned_connection, c.local_session), (Some(1), Some(0xa91b_13de), None));
        // Its message types are none of ours.
        let sessions = [of_cisco(0, &[0, 4]), of_cisco(3, &[0, 0, 0, 5]), of_cisco(4, &[0, 0, 0, 6])];
        let c = udp_control(&witness::control_v3(0, 0, 0, message::ICRP, &sessions)).unwrap();
        assert_eq!((c.message_type, c.assigned_connection), (Some(11), None));
        assert_eq!((c.local_session, c.remote_session), (Some(5), Some(6)));
    }

    #[test]
    fn nothing_is_read_from_a_malformed_attribute_on_nor_from_short_values() {
        for length in [0, 5, 11, 0x3ff] {
            let m = witness::control_v3(0, 0, 0, 1, &[Built::private(b"cut").length(length), Built::local_session(5)]);
            let c = udp_control(&m).unwrap();
            // 11 bytes instead of 9 end within the next one.
            assert_eq!((c.message_type, c.local_session), (Some(1), None), "{length}");
        }
        let m = witness::control_v3(0, 0, 0, 1, &[Built::new(63, &[0, 0, 5]), Built::local_session(5).length(6)]);
        assert_eq!(udp_control(&m).unwrap().local_session, None);
    }

    #[test]
    fn an_attribute_may_be_long() {
        let long = [Built::new(7, &[b'n'; 1017]), Built::assigned_tunnel(7)];
        assert_eq!(udp_control(&witness::control(0, 0, 0, 0, 1, &long)).unwrap().assigned_tunnel, Some(7));
    }

    #[test]
    fn attributes_are_read_to_a_bound() {
        let many = |n| vec![Built::private(b""); n];
        let with =
            |n| udp_control(&witness::control(0, 0, 0, 0, 1, &[many(n), vec![Built::assigned_tunnel(7)]].concat()));
        assert_eq!(with(AVPS - 2).unwrap().assigned_tunnel, Some(7));
        assert_eq!(with(AVPS - 1).unwrap().assigned_tunnel, None);
    }

    #[test]
    fn a_message_ends_where_it_says_or_where_its_first_fragment_does() {
        let m = witness::control(0, 0, 0, 0, 1, &[Built::assigned_tunnel(7)]);
        assert_eq!(udp_control(&[&m[..], b"padding"].concat()), udp_control(&m));
        let c = udp_control(&m[..m.len() - 1]).unwrap();
        assert_eq!((c.message_type, c.assigned_tunnel), (Some(1), None));
        for len in 0..LEN {
            assert_eq!(udp_control(&m[..len]), None);
            let mut short = m.clone();
            short[3] = len as u8;
            assert_eq!(udp_control(&short), None);
        }
    }

    #[test]
    fn data_is_no_control() {
        for data in [witness::data(1, 2, b"ppp"), witness::data_v3(1, b"frame")] {
            assert!(!is_control(&data) && udp_control(&data).is_none());
        }
        assert!(is_control(&[0xc8]) && !is_control(&[]));
        let mut m = witness::sccrq(7);
        for missing in [LENGTH, SEQUENCE] {
            m[0] = CONTROL_BITS & !missing;
            assert_eq!(udp_control(&m), None);
        }
        m[..2].copy_from_slice(&[CONTROL_BITS, 1]);
        assert_eq!(header(&m), None);
    }

    proptest! {
        #[test]
        fn a_control_message_of_an_independent_builder_is_read(
            v2: bool, to: u32, ns: u16, nr: u16, kind: u16, tunnel: Option<u16>, ids: [Option<u32>; 3], noise: Vec<u8>,
        ) {
            let long = [Built::assigned_connection, Built::local_session, Built::remote_session];
            let long = long.into_iter().zip(ids).filter_map(|(avp, id)| id.map(avp));
            let avps: Vec<_> = tunnel.map(Built::assigned_tunnel).into_iter().chain(long).collect();
            let avps = [vec![Built::private(&noise)], avps].concat();
            let built = if v2 {
                witness::control((to >> 16) as u16, to as u16, ns, nr, kind, &avps)
            } else {
                witness::control_v3(to, ns, nr, kind, &avps)
            };
            let (version, connection, session) = if v2 { (2, to >> 16, to & 0xffff) } else { (3, to, 0) };
            let [assigned_connection, local_session, remote_session] = ids;
            prop_assert_eq!(udp_control(&built), Some(Control {
                version, connection, message_type: Some(kind), assigned_tunnel: tunnel, assigned_connection,
                local_session, remote_session,
            }));
            let (sequence, end) = (Some([ns, nr]), built.len());
            let h = Header { version, control: true, connection, session, sequence, start: LEN, end };
            prop_assert_eq!(header(&built), Some(h));
        }

        #[test]
        fn data_of_an_independent_builder_is_read(
            tunnel: u16, session: u16, length: bool, sequence: Option<[u16; 2]>, offset in proptest::option::of(0u16..40),
            payload: Vec<u8>, wide: u32,
        ) {
            let built = witness::data_with(tunnel, session, length, sequence, offset, &payload);
            let h = header(&built).unwrap();
            prop_assert_eq!((h.version, h.control, h.sequence), (2, false, sequence));
            prop_assert_eq!((h.connection, h.session), (u32::from(tunnel), u32::from(session)));
            prop_assert_eq!(&built[h.start..h.end], &payload);

            let built = witness::data_v3(wide, &payload);
            let h = header(&built).unwrap();
            prop_assert_eq!((h.version, h.control, h.connection, h.session), (3, false, 0, wide));
            prop_assert_eq!(&built[h.start..h.end], &payload);
        }

        #[test]
        fn any_bytes_are_read_to_an_end(bytes: Vec<u8>, version in 2u8..4, len: u8) {
            let _ = (udp_control(&bytes), ip_control(&bytes), header(&bytes));
            let mut m = [&[CONTROL_BITS, version, 0, len, 0, 0, 0, 0, 0, 0, 0, 0], &bytes[..]].concat();
            let _ = udp_control(&m);
            prop_assert!(avps(&bytes).map(|avp| AVP_LEN + avp.value.len()).sum::<usize>() <= bytes.len());
            m[0] = len;
            prop_assert!(header(&m).is_none_or(|h| h.start <= h.end && h.end <= m.len()));
        }
    }
}
