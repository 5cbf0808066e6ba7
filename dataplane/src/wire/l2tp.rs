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
//! over: what they say is encrypted. So are those of vendors, but for Cisco's identifiers. A control message has length and sequence numbers [RFC 2661 §3.1], so its header is
//! 12 bytes long in both versions.

/// In the first byte: a control message.
const CONTROL: u8 = 0x80;
/// What the first byte of a control message has set: type, length, sequence.
const CONTROL_BITS: u8 = 0xc8;
/// Length of a control message's header.
pub const LEN: usize = 12;
/// Attributes that are read of one message.
const AVPS: usize = 64;
/// In the first byte of an attribute: its value is encrypted.
const HIDDEN: u8 = 0x40;

/// Message types [RFC 2661 §4.4.1; RFC 3931 §5.4.1].
pub mod message {
    /// Start-Control-Connection-Request.
    pub const SCCRQ: u16 = 1;
    /// Start-Control-Connection-Reply.
    pub const SCCRP: u16 = 2;
    /// Stop-Control-Connection-Notification.
    pub const STOPCCN: u16 = 4;
}

/// Attribute types.
mod attribute {
    pub(super) const MESSAGE_TYPE: u16 = 0;
    pub(super) const ASSIGNED_TUNNEL: u16 = 9;
    pub(super) const ASSIGNED_CONNECTION: u16 = 61;
    pub(super) const LOCAL_SESSION: u16 = 63;
}

/// Cisco's routers name their identifiers in attributes of their own, from before RFC 3931, and not in the RFC's.
mod cisco {
    pub(super) const VENDOR: u16 = 9;
    pub(super) const ASSIGNED_CONNECTION: u16 = 1;
    pub(super) const LOCAL_SESSION: u16 = 3;
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

fn read(message: &[u8]) -> Option<Control> {
    let &[bits, version, l0, l1, c0, c1, c2, c3, ..] = message.first_chunk::<LEN>()?;
    if bits & CONTROL_BITS != CONTROL_BITS {
        return None;
    }
    let version = version & 0x0f;
    let connection = match version {
        2 => u32::from(u16::from_be_bytes([c0, c1])),
        3 => u32::from_be_bytes([c0, c1, c2, c3]),
        _ => return None,
    };
    // What comes behind the message is not of it; a first fragment holds less.
    let len = usize::from(u16::from_be_bytes([l0, l1])).min(message.len());
    let mut avps = message.get(LEN..len)?;
    let mut c = Control {
        version,
        connection,
        message_type: None,
        assigned_tunnel: None,
        assigned_connection: None,
        local_session: None,
    };
    for _ in 0..AVPS {
        let Some(&[b0, b1, v0, v1, t0, t1]) = avps.first_chunk::<6>() else { break };
        let avp_len = usize::from(u16::from_be_bytes([b0 & 3, b1]));
        let (Some(value), Some(rest)) = (avps.get(6..avp_len), avps.get(avp_len..)) else { break };
        avps = rest;
        if b0 & HIDDEN != 0 {
            continue;
        }
        let (short, long) = (value.first_chunk::<2>(), value.first_chunk::<4>());
        let (short, long) = (short.map(|v| u16::from_be_bytes(*v)), long.map(|v| u32::from_be_bytes(*v)));
        match (u16::from_be_bytes([v0, v1]), u16::from_be_bytes([t0, t1])) {
            (0, attribute::MESSAGE_TYPE) => c.message_type = short,
            (0, attribute::ASSIGNED_TUNNEL) => c.assigned_tunnel = short,
            (0, attribute::ASSIGNED_CONNECTION) | (cisco::VENDOR, cisco::ASSIGNED_CONNECTION) => {
                c.assigned_connection = long;
            }
            (0, attribute::LOCAL_SESSION) | (cisco::VENDOR, cisco::LOCAL_SESSION) => c.local_session = long,
            _ => {}
        }
    }
    Some(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn avp(bits: u8, kind: u16, value: &[u8]) -> Vec<u8> {
        let [k0, k1] = kind.to_be_bytes();
        [&[bits, 6 + value.len() as u8, 0, 0, k0, k1], value].concat()
    }

    fn message(version: u8, connection: [u8; 4], avps: &[Vec<u8>]) -> Vec<u8> {
        let avps = avps.concat();
        let mut m = vec![0xc8, version, 0, (LEN + avps.len()) as u8];
        m.extend(connection);
        m.extend([0; 4]);
        m.extend(avps);
        m
    }

    #[test]
    fn both_versions_are_read() {
        let v2 = message(2, [0, 7, 0, 0], &[avp(0x80, 0, &[0, 2]), avp(0x80, 7, b"name"), avp(0x80, 9, &[1, 2])]);
        let c = udp_control(&v2).unwrap();
        assert_eq!((c.version, c.connection, c.message_type, c.assigned_tunnel), (2, 7, Some(2), Some(0x0102)));
        let v3 = message(3, [0, 0, 0, 9], &[avp(0x80, 0, &[0, 10]), avp(0x80, 63, &[0, 0, 0, 5])]);
        let c = ip_control(&[&[0; 4], &v3[..]].concat()).unwrap();
        assert_eq!((c.version, c.connection, c.message_type, c.local_session), (3, 9, Some(10), Some(5)));
        assert_eq!(ip_control(&v3), None);
    }

    #[test]
    fn hidden_attributes_and_other_vendors_say_nothing() {
        let mut foreign = avp(0x80, 61, &[0, 0, 0, 5]);
        foreign[3] = 9;
        let m = message(3, [0; 4], &[avp(0xc0, 61, &[0, 0, 0, 5]), foreign]);
        assert_eq!(udp_control(&m).unwrap().assigned_connection, None);
    }

    #[test]
    fn ciscos_own_attributes_name_identifiers() {
        let of_cisco = |kind, value: &[u8]| {
            let mut avp = avp(0x80, kind, value);
            avp[3] = 9;
            avp
        };
        let m = message(3, [0; 4], &[avp(0x80, 0, &[0, 1]), of_cisco(1, &[0xa9, 0x1b, 0x13, 0xde])]);
        let c = udp_control(&m).unwrap();
        assert_eq!((c.message_type, c.assigned_connection, c.local_session), (Some(1), Some(0xa91b_13de), None));
        // Its message types are none of ours.
        let m = message(3, [0; 4], &[of_cisco(0, &[0, 4]), of_cisco(3, &[0, 0, 0, 5])]);
        let c = udp_control(&m).unwrap();
        assert_eq!((c.message_type, c.assigned_connection, c.local_session), (None, None, Some(5)));
    }

    #[test]
    fn data_is_no_control() {
        assert!(!is_control(&[0x02, 0x02]) && is_control(&[0xc8]) && !is_control(&[]));
        assert_eq!(udp_control(&message(2, [0; 4], &[])[1..]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes: Vec<u8>, version in 2u8..4, len: u8) {
            let _ = (udp_control(&bytes), ip_control(&bytes));
            let mut m = message(version, [0; 4], &[bytes]);
            m[3] = len;
            let _ = udp_control(&m);
        }
    }
}
