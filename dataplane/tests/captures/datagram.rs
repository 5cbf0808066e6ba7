//! IPv4 datagrams as the harness has them: whole, with the places where they were cut. Read and written with
//! `etherparse`, checksums too; nothing here is the dataplane's.

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpFragOffset, Ipv4Header};

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const GRE: u8 = 47;

/// One end of a datagram.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Source,
    Destination,
}

impl End {
    const fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }
}

/// A whole datagram, or what an ICMP error quotes of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    pub(crate) head: Ipv4Header,
    pub(crate) body: Vec<u8>,
}

/// A frame's IPv4 packet, without padding; `None` where it holds none, or not all of it.
pub(crate) fn read(ip: &[u8]) -> Option<Datagram> {
    let (head, _) = Ipv4Header::from_slice(ip).ok()?;
    let body = ip.get(head.header_len()..usize::from(head.total_len))?;
    Some(Datagram { body: body.to_vec(), head })
}

impl Datagram {
    pub(crate) fn protocol(&self) -> u8 {
        self.head.protocol.0
    }

    pub(crate) fn address(&self, end: End) -> [u8; 4] {
        match end {
            End::Source => self.head.source,
            End::Destination => self.head.destination,
        }
    }

    pub(crate) fn is_fragment(&self) -> bool {
        self.head.more_fragments || self.head.fragment_offset.value() > 0
    }

    fn at(&self) -> usize {
        usize::from(self.head.fragment_offset.value()) * 8
    }

    /// Where a port of an end lies: TCP's, UDP's, or the identifier of an ICMP query on the asking side.
    fn port_at(&self, end: End) -> Option<usize> {
        match (self.protocol(), end) {
            (TCP | UDP, End::Source) => Some(0),
            (TCP | UDP, End::Destination) => Some(2),
            (ICMP, End::Source) if self.body.first() == Some(&8) => Some(4),
            (ICMP, End::Destination) if self.body.first() == Some(&0) => Some(4),
            _ => None,
        }
    }

    pub(crate) fn port(&self, end: End) -> Option<u16> {
        let at = self.port_at(end)?;
        self.body.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    /// Where the checksum lies that covers the body; `None` where there is none, or a UDP sender made none.
    fn sum_at(&self) -> Option<usize> {
        let at = match self.protocol() {
            ICMP => 2,
            TCP => 16,
            UDP => 6,
            _ => return None,
        };
        let field = self.body.get(at..at + 2)?;
        (self.protocol() != UDP || field != [0, 0]).then_some(at)
    }

    /// Puts another address and port at an end. In a quote the checksum is adjusted [RFC 1624], as it covers more than
    /// was quoted; otherwise [`Datagram::seal`] makes it anew.
    fn put(&mut self, end: End, address: [u8; 4], port: Option<u16>, quoted: bool) {
        let old = (self.address(end), self.port(end).unwrap_or(0));
        match end {
            End::Source => self.head.source = address,
            End::Destination => self.head.destination = address,
        }
        if let (Some(at), Some(port)) = (self.port_at(end).filter(|at| at + 2 <= self.body.len()), port) {
            self.body[at..at + 2].copy_from_slice(&port.to_be_bytes());
        }
        if let Some(at) = self.sum_at().filter(|_| quoted) {
            let new = self.port(end).unwrap_or(0);
            let not = |b: [u8; 2]| [!b[0], !b[1]];
            let mut sum = Sum16BitWords::new().add_2bytes(not([self.body[at], self.body[at + 1]]));
            sum = sum.add_2bytes(not(old.1.to_be_bytes())).add_2bytes(new.to_be_bytes());
            if self.protocol() != ICMP {
                sum = sum.add_4bytes(old.0.map(|b| !b)).add_4bytes(address);
            }
            self.body[at..at + 2].copy_from_slice(&sum.ones_complement().to_be().to_be_bytes());
        }
        if quoted {
            self.head.header_checksum = self.head.calc_header_checksum();
        }
    }

    /// What an ICMP error quotes.
    pub(crate) fn quote(&self) -> Option<Self> {
        let error = self.protocol() == ICMP && matches!(self.body.first(), Some(3 | 11 | 12));
        let (head, rest) = Ipv4Header::from_slice(self.body.get(8..)?).ok().filter(|_| error)?;
        Some(Self { body: rest.to_vec(), head })
    }

    /// Puts another address, and what `port` makes of the port, at an end; in what is quoted, at the other.
    pub(crate) fn relabel(&mut self, end: End, address: [u8; 4], port: impl Fn(u8, u16) -> u16) {
        if let Some(mut quote) = self.quote() {
            let (protocol, there) = (quote.protocol(), end.other());
            // A quoted error's sender may be any router; the quoted packet is the flow's.
            let new = quote.port(there).map(|p| port(protocol, p));
            quote.put(there, address, new, true);
            self.body.truncate(8);
            self.body.extend_from_slice(&quote.head.to_bytes());
            self.body.extend_from_slice(&quote.body);
        }
        let new = self.port(end).map(|p| port(self.protocol(), p));
        self.put(end, address, new, false);
        self.seal();
    }

    /// Makes all checksums right. A UDP checksum that is none stays none [RFC 768].
    pub(crate) fn seal(&mut self) {
        if let Some(at) = self.sum_at() {
            self.body[at..at + 2].fill(0);
            let sum = match self.sum() {
                0 if self.protocol() == UDP => 0xffff,
                sum => sum,
            };
            self.body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        self.head.header_checksum = self.head.calc_header_checksum();
    }

    /// The checksum of the body as it is: 0 where the one within is right.
    fn sum(&self) -> u16 {
        let mut sum = Sum16BitWords::new().add_slice(&self.body);
        if self.protocol() != ICMP {
            let len = u16::try_from(self.body.len()).unwrap();
            sum = sum.add_4bytes(self.head.source).add_4bytes(self.head.destination);
            sum = sum.add_2bytes([0, self.protocol()]).add_2bytes(len.to_be_bytes());
        }
        sum.ones_complement().to_be()
    }

    /// Whether all checksums are right.
    pub(crate) fn is_sealed(&self) -> bool {
        self.head.header_checksum == self.head.calc_header_checksum() && (self.sum_at().is_none() || self.sum() == 0)
    }

    /// The same without checksums and lengths, which are checked by themselves.
    pub(crate) fn bare(&self) -> Self {
        let mut bare = self.clone();
        if let Some(at) = self.sum_at() {
            bare.body[at..at + 2].fill(0);
        }
        (bare.head.header_checksum, bare.head.total_len) = (0, 0);
        bare
    }

    /// The packets that it is sent in, cut at these places.
    pub(crate) fn pieces(&self, cuts: &[(usize, usize)]) -> Vec<Vec<u8>> {
        let packet = |&(from, len): &(usize, usize)| {
            let mut head = self.head.clone();
            head.total_len = u16::try_from(head.header_len() + len).unwrap();
            head.fragment_offset = IpFragOffset::try_new(u16::try_from(from / 8).unwrap()).unwrap();
            head.more_fragments = from + len < self.body.len();
            head.header_checksum = head.calc_header_checksum();
            [head.to_bytes().as_slice(), &self.body[from..from + len]].concat()
        };
        cuts.iter().map(packet).collect()
    }
}

/// Puts datagrams together again, from pieces in any order.
#[derive(Default)]
pub(crate) struct Joiner {
    parts: Vec<(usize, Datagram)>,
}

/// A whole datagram, and its pieces in the order in which they came: where each begins, and how long it is.
pub(crate) struct Joined {
    pub(crate) datagram: Datagram,
    pub(crate) cuts: Vec<(usize, usize)>,
}

impl Joiner {
    /// A packet comes; a datagram may be whole now.
    pub(crate) fn add(&mut self, packet: Datagram) -> Option<Joined> {
        if !packet.is_fragment() {
            let cuts = vec![(0, packet.body.len())];
            return Some(Joined { datagram: packet, cuts });
        }
        let name = |d: &Datagram| (d.head.source, d.head.destination, d.head.identification, d.protocol());
        let ours = name(&packet);
        self.parts.push((packet.at(), packet));
        let of = self.parts.iter().filter(|(_, d)| name(d) == ours);
        let cuts: Vec<_> = of.clone().map(|(at, d)| (*at, d.body.len())).collect();
        let end = of.clone().find(|(_, d)| !d.head.more_fragments).map(|(at, d)| at + d.body.len());
        if end != Some(cuts.iter().map(|(_, len)| len).sum()) {
            return None;
        }
        let mut body = vec![0; end?];
        for (at, d) in of.clone() {
            body.get_mut(*at..at + d.body.len())?.copy_from_slice(&d.body);
        }
        let mut head = of.clone().find(|(at, _)| *at == 0)?.1.head.clone();
        head.more_fragments = false;
        head.total_len = u16::try_from(head.header_len() + body.len()).ok()?;
        head.header_checksum = head.calc_header_checksum();
        self.parts.retain(|(_, d)| name(d) != ours);
        Some(Joined { datagram: Datagram { head, body }, cuts })
    }

    /// Pieces whose datagrams never became whole.
    pub(crate) fn left(&self) -> usize {
        self.parts.len()
    }
}
