//! Builds and reads packets from bytes alone; the independent witness of the dataplane's tests.
//!
//! Nothing here is shared with `dataplane`: a checksum that both would get wrong in the same way would pass every
//! test. [`Frame`] writes frames and fills in what a test does not care about; [`Seen`] reads them and believes
//! nothing, so that `Seen::read(&frame)?` alone asserts every checksum and every length of it.
//!
//! ```
//! use testkit::{Frame, Seen};
//!
//! let query = Frame::udp("192.168.1.2:5000", "198.51.100.7:53").ttl(3).payload(b"who?").build();
//! let seen = Seen::read(&query).unwrap();
//! assert_eq!(seen.path(), "192.168.1.2:5000 -> 198.51.100.7:53");
//! assert_eq!((seen.ttl, seen.payload.as_slice()), (3, &b"who?"[..]));
//!
//! let error = Frame::time_exceeded("192.0.2.1", &query).build();
//! assert_eq!(Seen::read(&error).unwrap().quoted().path(), seen.path());
//! ```
//!
//! Builders panic where a test asks for what cannot be (a sequence number on UDP); damage on purpose has its own
//! setters. The reader never panics on any bytes.
#![forbid(unsafe_code)]

mod checksum;
mod endpoint;
mod flags;
mod fragment;
mod frame;
pub mod ike;
pub mod l2tp;
pub mod pptp;
mod seen;

pub use checksum::{checksum, transport_checksum};
pub use endpoint::{IntoEndpoint, endpoint};
pub use flags::{ACK, CWR, ECE, FIN, Flags, PSH, RST, SYN, URG};
pub use fragment::{fragments, reassemble};
pub use frame::Frame;
pub use seen::{Arp, Checksum, Extension, Gre, Icmp, L2tpv3, Quoted, Seen, Tcp, Transport};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Who sends a frame that says nothing about it.
pub const SOURCE_MAC: Mac = [0x02, 0, 0, 0, 0, 0x01];
/// Who receives a frame that says nothing about it.
pub const DESTINATION_MAC: Mac = [0x02, 0, 0, 0, 0, 0x02];
/// Everybody on the link.
pub const BROADCAST_MAC: Mac = [0xff; 6];

/// IP protocol numbers.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 in IPv4.
    pub const IPV6: u8 = 41;
    /// GRE.
    pub const GRE: u8 = 47;
    /// ESP.
    pub const ESP: u8 = 50;
    /// AH.
    pub const AH: u8 = 51;
    /// L2TPv3 over IP.
    pub const L2TP: u8 = 115;
}
