//! A NAT for tests that cannot be wrong: whose a packet is it reads from the marks, as no router could.

use crate::demo::cast::{self, Cast};
use crate::demo::talk::{marked, tcp};
use dataplane::types::Side;
use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use testkit::{Frame, Seen, Transport, protocol};

const ROUTER: [testkit::Mac; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

/// What is known of a PPTP control connection: its streams as they were sent, and the Call ID before and after.
#[derive(Default)]
struct Control {
    streams: [Vec<u8>; 2],
    ours: Option<u16>,
    shown: Option<u16>,
    over: bool,
}

pub(super) struct Perfect {
    cast: Cast,
    next: u16,
    outside: HashMap<(u8, SocketAddrV4), SocketAddrV4>,
    inside: HashMap<(u8, SocketAddrV4), SocketAddrV4>,
    asked: HashSet<(u8, SocketAddrV4, SocketAddrV4)>,
    /// The inside host of each client in a conversation.
    owners: HashMap<(u32, u16), Ipv4Addr>,
    /// By server, and the client's outside endpoint.
    controls: HashMap<(SocketAddrV4, SocketAddrV4), Control>,
    /// By server and outside address and shown Call ID: the client's, and its own.
    calls: HashMap<(Ipv4Addr, Ipv4Addr, u16), (Ipv4Addr, u16)>,
    /// Segments that were shortened so that they do not end in an identifier.
    pub(super) shortened: u32,
    sent: Vec<(Side, Vec<u8>)>,
}

impl Perfect {
    pub(super) fn new(cast: Cast) -> Self {
        Self {
            cast,
            next: 30_000,
            outside: HashMap::new(),
            inside: HashMap::new(),
            asked: HashSet::new(),
            owners: HashMap::new(),
            controls: HashMap::new(),
            calls: HashMap::new(),
            shortened: 0,
            sent: Vec::new(),
        }
    }

    pub(super) fn take_sent(&mut self) -> Vec<(Side, Vec<u8>)> {
        std::mem::take(&mut self.sent)
    }

    fn number(&mut self) -> u16 {
        self.next = self.next.wrapping_add(1).max(1024);
        self.next
    }

    /// Hosts 10, 13, 16… share an address, and so on.
    fn shows(&self, host: Ipv4Addr) -> Ipv4Addr {
        self.cast.pool[usize::from(host.octets()[3]) % self.cast.pool.len()]
    }

    pub(super) fn arrive(&mut self, side: Side, frame: &[u8]) {
        let seen = Seen::read(frame).unwrap();
        match &seen.transport {
            Transport::Arp(arp) => {
                let mac = ROUTER[usize::from(side == Side::Outside)];
                let reply = Frame::arp_reply(mac, *seen.destination.ip(), arp.sender_mac, *seen.source.ip());
                self.sent.push((side, reply.build()));
            }
            Transport::Tcp(_) | Transport::Udp { .. } => self.with_ports(side, &seen),
            _ => self.without_ports(side, &seen),
        }
    }

    fn forward(&mut self, to: Side, seen: &Seen, frame: Frame<'_>) {
        let target = Seen::read(&frame.clone().build()).unwrap().destination;
        let station = self.cast.station(to, *target.ip()).unwrap();
        let macs = (ROUTER[usize::from(to == Side::Outside)], cast::mac(to, station));
        let frame = if seen.df { frame.df() } else { frame };
        self.sent.push((to, frame.ttl(seen.ttl - 1).id(seen.id).macs(macs.0, macs.1).build()));
    }

    fn with_ports(&mut self, side: Side, seen: &Seen) {
        let (from, to) = match side {
            Side::Inside => {
                let key = (seen.protocol, seen.source);
                let known = self.outside.get(&key).copied();
                let shown = known.unwrap_or_else(|| SocketAddrV4::new(self.shows(*seen.source.ip()), self.number()));
                self.outside.insert(key, shown);
                self.inside.insert((seen.protocol, shown), seen.source);
                self.asked.insert((seen.protocol, shown, seen.destination));
                if seen.protocol == protocol::UDP && seen.destination.port() == 1701 {
                    // The answer may come from any port.
                    self.asked.insert((seen.protocol, shown, SocketAddrV4::new(*seen.destination.ip(), 0)));
                }
                (shown, seen.destination)
            }
            Side::Outside => {
                let Some(&inside) = self.inside.get(&(seen.protocol, seen.destination)) else { return };
                let any_port = SocketAddrV4::new(*seen.source.ip(), 0);
                let asked = |from| self.asked.contains(&(seen.protocol, seen.destination, from));
                if !asked(seen.source) && !asked(any_port) {
                    return;
                }
                (seen.source, inside)
            }
        };
        let other = if side == Side::Inside { Side::Outside } else { Side::Inside };
        let Transport::Tcp(t) = &seen.transport else {
            self.forward(other, seen, Frame::udp(from, to).payload(&seen.payload));
            return;
        };
        let payload = self.control(side, [from, to], t.seq, seen);
        let frame = Frame::tcp(from, to).seq(t.seq).ack(t.ack).flags(t.flags).window(t.window).tcp_options(&t.options);
        self.forward(other, seen, frame.payload(payload));
    }

    /// The payload with Call IDs translated, perhaps shortened.
    fn control(&mut self, side: Side, [from, to]: [SocketAddrV4; 2], seq: u32, seen: &Seen) -> Vec<u8> {
        let fresh = self.number();
        let is_out = side == Side::Inside;
        let key = if is_out { (to, from) } else { (from, seen.destination) };
        let control = self.controls.entry(key).or_default();
        let at = (seq & ((1 << (tcp::SPACE_BITS - 2)) - 1)).wrapping_sub(1) as usize;
        let mut payload = seen.payload.clone();
        let stream = &mut control.streams[usize::from(!is_out)];
        if payload.is_empty() || at > stream.len() {
            return payload;
        }
        let keep = at.min(stream.len());
        stream.truncate(keep);
        stream.extend_from_slice(&payload);
        // Messages from the first on; fields of ours in what there is.
        let (mut start, stream) = (0, stream.clone());
        while let Some(head) = stream.get(start..start + 10) {
            let (length, kind) = (usize::from(u16::from_be_bytes([head[0], head[1]])), head[9]);
            let field = match (kind, is_out) {
                (7 | 12, true) => Some(start + 12),
                (8, false) => Some(start + 14),
                (15, false) => Some(start + 12),
                _ => None,
            };
            if let Some(field) = field {
                if is_out && kind == 7 {
                    control.shown.get_or_insert(fresh);
                    control.ours = stream.get(field..field + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
                }
                if !is_out && field + 1 == at + payload.len() {
                    payload.pop();
                    self.shortened += 1;
                }
                let value = if is_out { control.shown } else { control.ours }.unwrap().to_be_bytes();
                for (n, byte) in value.into_iter().enumerate() {
                    if let Some(place) = (field + n).checked_sub(at).and_then(|i| payload.get_mut(i)) {
                        *place = byte;
                    }
                }
            }
            control.over |= kind == 13 && start + length <= stream.len();
            start += length;
        }
        if let (Some(ours), Some(shown)) = (control.ours, control.shown) {
            let (server, client) = key;
            let call = (*server.ip(), *client.ip(), shown);
            let host = *self.inside[&(protocol::TCP, client)].ip();
            if control.over {
                self.calls.remove(&call);
            } else {
                self.calls.insert(call, (host, ours));
            }
        }
        payload
    }

    fn without_ports(&mut self, side: Side, seen: &Seen) {
        let (id, part) = marked(seen).unwrap();
        let (from, to) = match side {
            Side::Inside => {
                self.owners.insert((id, part >> 8), *seen.source.ip());
                (self.shows(*seen.source.ip()), *seen.destination.ip())
            }
            Side::Outside => (*seen.source.ip(), self.owners[&(id, part >> 8)]),
        };
        let other = if side == Side::Inside { Side::Outside } else { Side::Inside };
        let frame = match &seen.transport {
            Transport::Esp { spi, seq } => Frame::esp(from, to, *spi, *seq),
            Transport::Gre(gre) => {
                let mut call = gre.call_id;
                if side == Side::Outside {
                    let Some(&(host, ours)) = self.calls.get(&(from, *seen.destination.ip(), call)) else { return };
                    assert_eq!(host, to, "the call is the marked client's");
                    call = ours;
                }
                let frame = Frame::gre(from, to, call);
                let frame = if let Some(seq) = gre.seq { frame.gre_seq(seq) } else { frame };
                if let Some(ack) = gre.ack { frame.gre_ack(ack) } else { frame }
            }
            _ => Frame::ip(seen.protocol, from, to),
        };
        self.forward(other, seen, frame.payload(&seen.payload));
    }
}
