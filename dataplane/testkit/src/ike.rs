//! IKE messages (RFC 7296 §3.1, RFC 2408 §3.1) and what else UDP port 4500 carries (RFC 3948 §2), byte by byte.
//!
//! ```
//! use testkit::ike::{Ike, exchange, flag};
//! use testkit::Frame;
//!
//! let request = Ike::v2(0xa1, 0, exchange::SA_INIT).flags(flag::INITIATOR).build();
//! let packet = Frame::udp("192.168.1.2:500", "198.51.100.7:500").payload(request).build();
//! # assert_eq!(packet.len(), 14 + 20 + 8 + 28 + 8);
//! ```

/// Exchange types.
pub mod exchange {
    /// Version 1: main mode.
    pub const IDENTITY_PROTECTION: u8 = 2;
    /// Version 1.
    pub const AGGRESSIVE: u8 = 4;
    /// Version 1.
    pub const INFORMATIONAL_V1: u8 = 5;
    /// Version 1: makes ESP security associations.
    pub const QUICK_MODE: u8 = 32;
    /// Version 2.
    pub const SA_INIT: u8 = 34;
    /// Version 2: makes the first ESP security associations.
    pub const AUTH: u8 = 35;
    /// Version 2: makes the others, and renews.
    pub const CREATE_CHILD_SA: u8 = 36;
    /// Version 2.
    pub const INFORMATIONAL: u8 = 37;
    /// Version 2, RFC 9242.
    pub const INTERMEDIATE: u8 = 43;
}

/// Flags.
pub mod flag {
    /// Version 1: what follows the header is encrypted.
    pub const ENCRYPTED: u8 = 0x01;
    /// Version 2: sent by whoever began the IKE security association.
    pub const INITIATOR: u8 = 0x08;
    /// Version 2: an answer.
    pub const RESPONSE: u8 = 0x20;
}

/// A NAT keepalive.
pub const KEEPALIVE: [u8; 1] = [0xff];

/// A message to be built. What is not said: flags 0, the first payload of the exchange, message ID 0, one small
/// payload, the true length.
#[derive(Clone, Debug)]
pub struct Ike {
    initiator: u64,
    responder: u64,
    version: u8,
    exchange: u8,
    flags: u8,
    next: u8,
    message_id: u32,
    length: Option<u32>,
    body: Vec<u8>,
}

impl Ike {
    fn new(version: u8, initiator: u64, responder: u64, exchange: u8) -> Self {
        let body = vec![0, 0, 0, 8, 0xb1, 0xb2, 0xb3, 0xb4];
        // A security association in the clear, which the versions number differently; or what is encrypted.
        let next = match (version >> 4, exchange) {
            (1, exchange::QUICK_MODE | exchange::INFORMATIONAL_V1) => 8,
            (1, _) => 1,
            (_, exchange::SA_INIT) => 33,
            _ => 46,
        };
        Ike { initiator, responder, version, exchange, flags: 0, next, message_id: 0, length: None, body }
    }

    /// Version 1; its SPIs are called cookies. See [`exchange`].
    pub fn v1(initiator: u64, responder: u64, exchange: u8) -> Self {
        Self::new(0x10, initiator, responder, exchange)
    }

    /// Version 2. See [`exchange`].
    pub fn v2(initiator: u64, responder: u64, exchange: u8) -> Self {
        Self::new(0x20, initiator, responder, exchange)
    }

    /// See [`flag`].
    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    /// Type of the first payload.
    pub fn next(mut self, next: u8) -> Self {
        self.next = next;
        self
    }

    /// Message ID.
    pub fn message_id(mut self, id: u32) -> Self {
        self.message_id = id;
        self
    }

    /// All that follows the header.
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = bytes.into();
        self
    }

    /// This version byte: major version in the high half, minor in the low.
    pub fn version(mut self, byte: u8) -> Self {
        self.version = byte;
        self
    }

    /// This length, true or not.
    pub fn length(mut self, length: u32) -> Self {
        self.length = Some(length);
        self
    }

    /// The message as port 500 carries it.
    pub fn build(&self) -> Vec<u8> {
        let length = self.length.unwrap_or(28 + self.body.len() as u32);
        let mut out = Vec::with_capacity(28 + self.body.len());
        out.extend(self.initiator.to_be_bytes());
        out.extend(self.responder.to_be_bytes());
        out.extend([self.next, self.version, self.exchange, self.flags]);
        out.extend(self.message_id.to_be_bytes());
        out.extend(length.to_be_bytes());
        out.extend(&self.body);
        out
    }

    /// The message as port 4500 carries it: behind four zero bytes.
    pub fn marked(&self) -> Vec<u8> {
        [&[0; 4], self.build().as_slice()].concat()
    }
}

/// ESP as port 4500 carries it.
pub fn esp_in_udp(spi: u32, seq: u32, payload: &[u8]) -> Vec<u8> {
    [&spi.to_be_bytes(), &seq.to_be_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_as_captured() {
        // A gateway's IKE_SA_INIT request; its payloads are left out.
        let captured = [
            0x81, 0x21, 0x8f, 0x80, 0x6f, 0xd3, 0xe4, 0x6a, 0, 0, 0, 0, 0, 0, 0, 0, 33, 0x20, 34, 0x08, 0, 0, 0, 0, 0,
            0, 1, 0x4d,
        ];
        let ike = Ike::v2(0x8121_8f80_6fd3_e46a, 0, exchange::SA_INIT).flags(flag::INITIATOR);
        assert_eq!(ike.clone().body([]).length(333).build(), captured);
        assert_eq!(ike.marked()[..6], [0, 0, 0, 0, 0x81, 0x21]);
        assert_eq!(ike.message_id(5).build()[20..28], [0, 0, 0, 5, 0, 0, 0, 36]);
    }

    #[test]
    fn esp_and_keepalives_are_no_ike() {
        assert_eq!(esp_in_udp(0xc0ff_ee00, 9, b"x"), [0xc0, 0xff, 0xee, 0, 0, 0, 0, 9, b'x']);
        assert_eq!(KEEPALIVE, [0xff]);
    }

    #[test]
    fn version_1_and_wrong_lengths_can_be_had() {
        let ike = Ike::v1(1, 2, exchange::QUICK_MODE).flags(flag::ENCRYPTED).length(27).build();
        assert_eq!(ike[15..28], [2, 8, 0x10, 32, 1, 0, 0, 0, 0, 0, 0, 0, 27]);
    }
}
