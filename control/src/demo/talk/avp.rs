//! L2TP's messages, written field by field: version 2 [RFC 2661 §3.1, §4.1] and version 3 over IP [RFC 3931 §3.2, §5.1].

/// Message types.
pub(super) mod message {
    pub(in super::super) const SCCRQ: u16 = 1;
    pub(in super::super) const SCCRP: u16 = 2;
    pub(in super::super) const SCCCN: u16 = 3;
    pub(in super::super) const STOPCCN: u16 = 4;
    pub(in super::super) const ICRQ: u16 = 10;
    pub(in super::super) const ICRP: u16 = 11;
    pub(in super::super) const ICCN: u16 = 12;
}

/// Mandatory; the rest of the first field is the length.
const MANDATORY: u16 = 0x8000;
/// A vendor of examples [RFC 5612], whose attributes nobody has to know.
const EXAMPLE: u16 = 32_473;

/// An attribute and its value.
#[derive(Clone, Debug)]
pub(super) struct Avp(Vec<u8>);

impl Avp {
    fn new(flags: u16, vendor: u16, kind: u16, value: &[u8]) -> Self {
        let head = flags | (6 + value.len()) as u16;
        Self([&head.to_be_bytes()[..], &vendor.to_be_bytes(), &kind.to_be_bytes(), value].concat())
    }

    pub(super) fn assigned_tunnel(id: u16) -> Self {
        Self::new(MANDATORY, 0, 9, &id.to_be_bytes())
    }

    pub(super) fn assigned_session(id: u16) -> Self {
        Self::new(MANDATORY, 0, 14, &id.to_be_bytes())
    }

    /// Assigned control connection ID.
    pub(super) fn assigned_connection(id: u32) -> Self {
        Self::new(MANDATORY, 0, 61, &id.to_be_bytes())
    }

    pub(super) fn local_session(id: u32) -> Self {
        Self::new(MANDATORY, 0, 63, &id.to_be_bytes())
    }

    pub(super) fn remote_session(id: u32) -> Self {
        Self::new(MANDATORY, 0, 64, &id.to_be_bytes())
    }

    /// What a router has no business with.
    pub(super) fn private(value: &[u8]) -> Self {
        Self::new(0, EXAMPLE, 1, value)
    }
}

fn body(kind: u16, avps: &[Avp]) -> Vec<u8> {
    let mut body = Avp::new(MANDATORY, 0, 0, &kind.to_be_bytes()).0;
    avps.iter().for_each(|avp| body.extend_from_slice(&avp.0));
    body
}

/// A control message of version 2.
pub(super) fn control([tunnel, session]: [u16; 2], [ns, nr]: [u16; 2], kind: u16, avps: &[Avp]) -> Vec<u8> {
    let body = body(kind, avps);
    let head = [0xc802, 12 + body.len() as u16, tunnel, session, ns, nr];
    [head.map(u16::to_be_bytes).concat(), body].concat()
}

/// A control message of version 3, the session ID 0 before it not included.
pub(super) fn control_v3(connection: u32, [ns, nr]: [u16; 2], kind: u16, avps: &[Avp]) -> Vec<u8> {
    let body = body(kind, avps);
    let (head, order) = ([0xc803, 12 + body.len() as u16], [ns, nr]);
    let [head, order] = [head, order].map(|fields| fields.map(u16::to_be_bytes).concat());
    [head, connection.to_be_bytes().to_vec(), order, body].concat()
}

/// A data message of version 2, without the optional fields.
pub(super) fn data([tunnel, session]: [u16; 2], payload: &[u8]) -> Vec<u8> {
    [&[2, tunnel, session].map(u16::to_be_bytes).concat(), payload].concat()
}
