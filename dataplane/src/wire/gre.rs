//! GRE as PPTP uses it, version 1 [RFC 2637 §4.1]; version 0 [RFC 2784, 2890] is known by its version alone.
//!
//! ```text
//!  0                   1                   2                   3
//! |C|R|K|S|s|Recur|A| Flags | Ver |         Protocol type         |
//! |   Key: payload length         |   Key: call identifier        |
//! |   Sequence number (S)  …      |   Acknowledgement number (A)  …
//! ```

/// In the first byte: a checksum is present. Never with PPTP.
pub const CHECKSUM: u8 = 0x80;
/// In the first byte: routing is present. Never with PPTP.
pub const ROUTING: u8 = 0x40;
/// In the first byte: the key is present. Always with PPTP.
pub const KEY: u8 = 0x20;
/// In the first byte: a sequence number is present.
pub const SEQUENCE: u8 = 0x10;
/// In the second byte: an acknowledgement number is present.
pub const ACKNOWLEDGEMENT: u8 = 0x80;
/// In the second byte: the version.
pub const VERSION: u8 = 7;
/// Protocol type of PPTP's payload.
pub const PPP: u16 = 0x880b;
/// Offset of the call identifier, which is the receiver's.
pub const CALL_ID_AT: usize = 6;
