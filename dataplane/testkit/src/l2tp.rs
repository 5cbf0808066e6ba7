//! L2TP messages, byte by byte: version 2 (RFC 2661 §3.1, §4.1), and version 3 over UDP and IP (RFC 3931 §3.2, §4.1).
//!
//! ```
//! use testkit::l2tp::{self, Avp, message};
//! use testkit::Frame;
//!
//! let request = l2tp::control(0, 0, 0, 0, message::SCCRQ, &[Avp::assigned_tunnel(7)]);
//! let packet = Frame::udp("192.168.1.2:1701", "198.51.100.7:1701").payload(request).build();
//!
//! let request = l2tp::control_v3(0, 0, 0, message::SCCRQ, &[Avp::assigned_connection(7)]);
//! let packet = Frame::l2tpv3_control("192.168.1.2", "198.51.100.7", &request).build();
//! ```

/// Message types (RFC 2661 §3.2, RFC 3931 §3.1).
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

const MANDATORY: u8 = 0x80;
const HIDDEN: u8 = 0x40;

/// An attribute-value pair: flags and length, vendor, type, value. Mandatory unless told otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Avp(Vec<u8>);

impl Avp {
    /// Any attribute that the RFCs define.
    #[track_caller]
    pub fn new(kind: u16, value: &[u8]) -> Self {
        let length = 6 + value.len();
        assert!(length < 1024, "an AVP takes 1023 bytes at most, not {length}");
        let head = u16::from(MANDATORY) << 8 | length as u16;
        Avp([&head.to_be_bytes()[..], &[0, 0], &kind.to_be_bytes(), value].concat())
    }

    /// Attribute 9, the tunnel ID that the sender chose (version 2).
    pub fn assigned_tunnel(id: u16) -> Self {
        Self::new(9, &id.to_be_bytes())
    }

    /// Attribute 14, the session ID that the sender chose (version 2).
    pub fn assigned_session(id: u16) -> Self {
        Self::new(14, &id.to_be_bytes())
    }

    /// Attribute 61, the control connection ID that the sender chose (version 3).
    pub fn assigned_connection(id: u32) -> Self {
        Self::new(61, &id.to_be_bytes())
    }

    /// Attribute 63, the session ID that the sender chose (version 3).
    pub fn local_session(id: u32) -> Self {
        Self::new(63, &id.to_be_bytes())
    }

    /// Attribute 64, the session ID that the receiver chose (version 3).
    pub fn remote_session(id: u32) -> Self {
        Self::new(64, &id.to_be_bytes())
    }

    /// An optional attribute of a vendor that is nobody: 32473 is for documentation (RFC 5612).
    pub fn private(value: &[u8]) -> Self {
        Self::new(1, value).optional().vendor(32473)
    }

    /// May be ignored.
    pub fn optional(mut self) -> Self {
        self.0[0] &= !MANDATORY;
        self
    }

    /// Says that its value is encrypted; the value is what the test gave all the same.
    pub fn hidden(mut self) -> Self {
        self.0[0] |= HIDDEN;
        self
    }

    /// Another vendor's attribute of this type.
    pub fn vendor(mut self, vendor: u16) -> Self {
        self.0[2..4].copy_from_slice(&vendor.to_be_bytes());
        self
    }

    /// This length, true or not, 10 bits.
    pub fn length(mut self, length: u16) -> Self {
        let [high, low] = length.to_be_bytes();
        (self.0[0], self.0[1]) = (self.0[0] & !3 | high & 3, low);
        self
    }
}

/// A version 2 control message. `tunnel` and `session` are the receiver's; 0 while it has said none.
pub fn control(tunnel: u16, session: u16, ns: u16, nr: u16, kind: u16, avps: &[Avp]) -> Vec<u8> {
    framed(2, u32::from(tunnel) << 16 | u32::from(session), ns, nr, &body(kind, avps))
}

/// A version 3 control message as UDP carries it, and IP behind a session ID of 0: see
/// [`Frame::l2tpv3_control`](crate::Frame::l2tpv3_control). `connection` is the receiver's; 0 while it has said none.
pub fn control_v3(connection: u32, ns: u16, nr: u16, kind: u16, avps: &[Avp]) -> Vec<u8> {
    framed(3, connection, ns, nr, &body(kind, avps))
}

/// A version 2 control message without a body, which acknowledges.
pub fn acknowledgement(tunnel: u16, ns: u16, nr: u16) -> Vec<u8> {
    framed(2, u32::from(tunnel) << 16, ns, nr, &[])
}

/// A version 3 control message without a body, which acknowledges.
pub fn acknowledgement_v3(connection: u32, ns: u16, nr: u16) -> Vec<u8> {
    framed(3, connection, ns, nr, &[])
}

/// Version 2's first message, with every attribute that RFC 2661 §6.1 demands.
pub fn sccrq(assigned: u16) -> Vec<u8> {
    control(0, 0, 0, 0, message::SCCRQ, &start(assigned))
}

/// Version 2's answer to it, with every attribute that RFC 2661 §6.2 demands. `tunnel` is what the request assigned.
pub fn sccrp(tunnel: u16, assigned: u16) -> Vec<u8> {
    control(tunnel, 0, 0, 1, message::SCCRP, &start(assigned))
}

/// Protocol version 1.0, both framings, a name.
fn start(assigned: u16) -> [Avp; 4] {
    [Avp::new(2, &[1, 0]), Avp::new(3, &[0, 0, 0, 3]), Avp::new(7, b"host"), Avp::assigned_tunnel(assigned)]
}

/// Version 2 data without any of the optional fields.
pub fn data(tunnel: u16, session: u16, payload: &[u8]) -> Vec<u8> {
    data_with(tunnel, session, false, None, None, payload)
}

/// Version 2 data with a length, with Ns and Nr, with so many bytes of offset padding.
pub fn data_with(
    tunnel: u16,
    session: u16,
    length: bool,
    sequence: Option<[u16; 2]>,
    offset: Option<u16>,
    payload: &[u8],
) -> Vec<u8> {
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    let bits = bit(length, 0x40) | bit(sequence.is_some(), 0x08) | bit(offset.is_some(), 0x02);
    let mut out = vec![bits, 2];
    if length {
        out.extend([0, 0]);
    }
    out.extend(tunnel.to_be_bytes());
    out.extend(session.to_be_bytes());
    out.extend(sequence.into_iter().flatten().flat_map(u16::to_be_bytes));
    if let Some(padding) = offset {
        out.extend(padding.to_be_bytes());
        out.extend(vec![0x0f; usize::from(padding)]);
    }
    out.extend(payload);
    if length {
        let length = out.len() as u16;
        out[2..4].copy_from_slice(&length.to_be_bytes());
    }
    out
}

/// Version 3 data as UDP carries it; over IP it is [`Frame::l2tpv3`](crate::Frame::l2tpv3).
pub fn data_v3(session: u32, payload: &[u8]) -> Vec<u8> {
    [&[0, 3, 0, 0], &session.to_be_bytes(), payload].concat()
}

fn body(kind: u16, avps: &[Avp]) -> Vec<u8> {
    let mut body = Avp::new(0, &kind.to_be_bytes()).0;
    avps.iter().for_each(|avp| body.extend(&avp.0));
    body
}

/// Type, length and sequence bits; version; length; whom it is for; Ns and Nr.
fn framed(version: u8, receiver: u32, ns: u16, nr: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(12 + body.len()).expect("a control message is short");
    let head = [&[0xc8, version][..], &length.to_be_bytes(), &receiver.to_be_bytes()].concat();
    [&head, &ns.to_be_bytes()[..], &nr.to_be_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_2_message_is_written_byte_for_byte() {
        let icrq = control(0x0cb9, 0, 2, 1, message::ICRQ, &[Avp::assigned_session(25)]);
        let header = [0xc8, 2, 0, 28, 0x0c, 0xb9, 0, 0, 0, 2, 0, 1];
        assert_eq!(icrq[..12], header);
        assert_eq!(icrq[12..], [0x80, 8, 0, 0, 0, 0, 0, 10, 0x80, 8, 0, 0, 0, 14, 0, 25]);
        assert_eq!(acknowledgement(0x0cb9, 2, 1), [0xc8, 2, 0, 12, 0x0c, 0xb9, 0, 0, 0, 2, 0, 1]);
    }

    #[test]
    fn the_first_messages_say_whom_to_answer() {
        let (request, reply) = (sccrq(0xa1a2), sccrp(0xa1a2, 0xb1b2));
        assert_eq!((&request[4..8], &reply[4..8]), (&[0; 4][..], &[0xa1, 0xa2, 0, 0][..]));
        assert_eq!((&request[12..20], &reply[18..20]), (&[0x80, 8, 0, 0, 0, 0, 0, 1][..], &[0, 2][..]));
        assert!(request.ends_with(&[0x80, 8, 0, 0, 0, 9, 0xa1, 0xa2]) && reply.ends_with(&[0xb1, 0xb2]));
    }

    #[test]
    fn a_version_3_message_is_written_byte_for_byte() {
        let icrp = control_v3(0xafa1_0e53, 3, 4, message::ICRP, &[Avp::local_session(5), Avp::remote_session(6)]);
        assert_eq!(icrp[..12], [0xc8, 3, 0, 40, 0xaf, 0xa1, 0x0e, 0x53, 0, 3, 0, 4]);
        assert_eq!(icrp[20..], [0x80, 10, 0, 0, 0, 63, 0, 0, 0, 5, 0x80, 10, 0, 0, 0, 64, 0, 0, 0, 6]);
        assert_eq!(data_v3(9, &[1]), [0, 3, 0, 0, 0, 0, 0, 9, 1]);
    }

    #[test]
    fn attributes_can_be_hidden_foreign_optional_and_of_a_wrong_length() {
        assert_eq!(Avp::assigned_tunnel(7).hidden().0, [0xc0, 8, 0, 0, 0, 9, 0, 7]);
        assert_eq!(Avp::private(&[7]).0, [0, 7, 0x7e, 0xd9, 0, 1, 7]);
        assert_eq!(Avp::assigned_tunnel(7).length(0x3ff).0[..2], [0x83, 0xff]);
    }

    #[test]
    fn data_has_the_optional_fields_that_are_asked_for() {
        assert_eq!(data(1, 2, &[0xff, 3]), [0, 2, 0, 1, 0, 2, 0xff, 3]);
        let all = data_with(1, 2, true, Some([3, 4]), Some(1), &[0xff]);
        assert_eq!(all, [0x4a, 2, 0, 16, 0, 1, 0, 2, 0, 3, 0, 4, 0, 1, 0x0f, 0xff]);
    }
}
