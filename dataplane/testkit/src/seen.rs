//! The reader: what a frame says, once every length and checksum of it has been found right. `read` does the finding.

mod display;
mod read;

use crate::{Flags, Mac};
use std::net::SocketAddrV4;

/// A frame that was read and found right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Ethernet source.
    pub source_mac: Mac,
    /// Ethernet destination.
    pub destination_mac: Mac,
    /// 802.1Q tag, priority included.
    pub vlan: Option<u16>,
    /// What follows the Ethernet header: 0x0800, 0x0806…
    pub ethertype: u16,
    /// IP source, or an ARP message's sender; port 0 where there are no ports.
    pub source: SocketAddrV4,
    /// IP destination, or an ARP message's target; port 0 where there are no ports.
    pub destination: SocketAddrV4,
    /// IP protocol.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// Type of service.
    pub tos: u8,
    /// IP identification.
    pub id: u16,
    /// Don't fragment.
    pub df: bool,
    /// More fragments.
    pub mf: bool,
    /// Fragment offset in bytes.
    pub offset: u16,
    /// Raw IP options, end-of-list padding included.
    pub ip_options: Vec<u8>,
    /// The transport header.
    pub transport: Transport,
    /// What the innermost header read here carries; for a fragment, all that follows the IP header. An ICMP error
    /// carries nothing: see [`Icmp::quoted`].
    pub payload: Vec<u8>,
    /// Bytes after the end of the packet.
    pub padding: usize,
}

/// What a frame carries above IP, or instead of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP; `checksum` is false where the sender sent zero, which means none.
    Udp {
        /// Whether there was one.
        checksum: bool,
    },
    /// TCP.
    Tcp(Tcp),
    /// ICMP.
    Icmp(Box<Icmp>),
    /// GRE version 1, as PPTP has it.
    Gre(Gre),
    /// ESP; the payload is what follows these.
    Esp {
        /// Security parameters index.
        spi: u32,
        /// Sequence number.
        seq: u32,
    },
    /// A fragment, the first one too: its transport header is part of the payload and no checksum can be verified.
    Fragment,
    /// Another IP protocol.
    OtherIp,
    /// ARP.
    Arp(Arp),
    /// No IPv4 and no ARP.
    OtherEthernet,
}

/// A TCP header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Control bits.
    pub flags: Flags,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Window.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Maximum segment size.
    pub mss: Option<u16>,
    /// Window scale.
    pub wscale: Option<u8>,
    /// Raw options, end-of-list padding included.
    pub options: Vec<u8>,
}

/// An ICMP header and what an error quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The second half of the header.
    pub rest: [u8; 4],
    /// The packet that an error is about.
    pub quoted: Option<Quoted>,
    /// RFC 4884 extension objects.
    pub extensions: Vec<Extension>,
}

impl Icmp {
    /// Identifier of a query or reply.
    pub fn id(&self) -> u16 {
        u16::from_be_bytes([self.rest[0], self.rest[1]])
    }

    /// Sequence number of a query or reply.
    pub fn seq(&self) -> u16 {
        u16::from_be_bytes([self.rest[2], self.rest[3]])
    }

    /// The next hop's MTU in a "fragmentation needed".
    pub fn mtu(&self) -> u16 {
        self.seq()
    }
}

/// One RFC 4884 extension object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Class-Num.
    pub class: u8,
    /// C-Type.
    pub kind: u8,
    /// What follows the object's header.
    pub data: Vec<u8>,
}

/// The packet inside an ICMP error: a whole IP header with a right checksum, and what there is after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Source; port 0 where there are no ports.
    pub source: SocketAddrV4,
    /// Destination; port 0 where there are no ports.
    pub destination: SocketAddrV4,
    /// IP protocol.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// Type of service.
    pub tos: u8,
    /// IP identification.
    pub id: u16,
    /// Don't fragment.
    pub df: bool,
    /// More fragments.
    pub mf: bool,
    /// Fragment offset in bytes.
    pub offset: u16,
    /// The length that the packet had.
    pub total_length: u16,
    /// Raw IP options.
    pub ip_options: Vec<u8>,
    /// What is quoted after the IP header: the transport header, or the start of one.
    pub data: Vec<u8>,
    /// What could be said about the transport checksum.
    pub checksum: Checksum,
}

/// A transport checksum inside an ICMP error. It is reported, not insisted on: routers quote too little to verify it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Verified.
    Right,
    /// Verified, and it does not add up.
    Wrong,
    /// UDP's zero: there is none.
    None,
    /// A fragment, cut short, or a protocol without one.
    Unknown,
}

/// An ARP message for IPv4 on Ethernet; its addresses are the frame's source and destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arp {
    /// 1 request, 2 reply.
    pub operation: u16,
    /// Sender's hardware address.
    pub sender_mac: Mac,
    /// Target's hardware address.
    pub target_mac: Mac,
}

/// A GRE version 1 header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gre {
    /// The low half of the key.
    pub call_id: u16,
    /// Sequence number.
    pub seq: Option<u32>,
    /// Acknowledgment number.
    pub ack: Option<u32>,
}

/// Which of L2TPv3's two number spaces a packet over IP is of, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L2tpv3 {
    /// Data: the receiver's session ID, never 0.
    Session(u32),
    /// Control: the receiver's control connection ID; 0 while the sender knows none.
    Control(u32),
}

impl Seen {
    /// `"192.168.1.2:5000 -> 198.51.100.7:53"`; ports only where they are not zero.
    pub fn path(&self) -> String {
        path(self.source, self.destination)
    }

    /// The TCP header. Panics where there is none.
    #[track_caller]
    pub fn tcp(&self) -> &Tcp {
        match &self.transport {
            Transport::Tcp(tcp) => tcp,
            _ => panic!("not TCP: {self}"),
        }
    }

    /// The ICMP header. Panics where there is none.
    #[track_caller]
    pub fn icmp(&self) -> &Icmp {
        match &self.transport {
            Transport::Icmp(icmp) => icmp,
            _ => panic!("not ICMP: {self}"),
        }
    }

    /// The packet that an ICMP error is about. Panics where there is none.
    #[track_caller]
    pub fn quoted(&self) -> &Quoted {
        match &self.icmp().quoted {
            Some(quoted) => quoted,
            None => panic!("not an ICMP error: {self}"),
        }
    }

    /// The ARP message. Panics where there is none.
    #[track_caller]
    pub fn arp(&self) -> &Arp {
        match &self.transport {
            Transport::Arp(arp) => arp,
            _ => panic!("not ARP: {self}"),
        }
    }

    /// The GRE version 1 header. Panics where there is none.
    #[track_caller]
    pub fn gre(&self) -> &Gre {
        match &self.transport {
            Transport::Gre(gre) => gre,
            _ => panic!("not GRE version 1: {self}"),
        }
    }

    /// ESP's SPI. Panics where there is none.
    #[track_caller]
    pub fn spi(&self) -> u32 {
        match self.transport {
            Transport::Esp { spi, .. } => spi,
            _ => panic!("not ESP: {self}"),
        }
    }

    /// Whom L2TPv3 over IP is for; `None` for any other packet, a fragment, and what is cut short. The payload is the
    /// whole packet, these bytes included.
    pub fn l2tpv3(&self) -> Option<L2tpv3> {
        if self.protocol != crate::protocol::L2TP || self.transport != Transport::OtherIp {
            return None;
        }
        let number = |at: usize| self.payload.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        match number(0)? {
            0 => number(8).map(L2tpv3::Control),
            session => Some(L2tpv3::Session(session)),
        }
    }
}

impl Quoted {
    /// As [`Seen::path`].
    pub fn path(&self) -> String {
        path(self.source, self.destination)
    }

    /// The identifier of a quoted ICMP query.
    #[track_caller]
    pub fn icmp_id(&self) -> u16 {
        match (self.protocol, self.data.get(4..6)) {
            (crate::protocol::ICMP, Some(id)) => u16::from_be_bytes([id[0], id[1]]),
            _ => panic!("no ICMP identifier is quoted: {self}"),
        }
    }
}

fn path(source: SocketAddrV4, destination: SocketAddrV4) -> String {
    let end = |e: SocketAddrV4| if e.port() == 0 { e.ip().to_string() } else { e.to_string() };
    format!("{} -> {}", end(source), end(destination))
}
