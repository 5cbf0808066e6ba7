//! A TCP connection: handshake, data both ways, FIN both ways, retransmission with a bound. Both stacks are played, and
//! each checks every byte that it gets.
//!
//! The initial sequence numbers say whose segment it is: `conversation | from the client | 14 bits`, so that a segment
//! is recognised before it carries any data, and wherever it comes out.

use super::{Fault, HOPS_LEFT, Heard, Judged, Talk};
use crate::demo::chance::text;
use crate::demo::world::World;
use dataplane::types::Side;
use std::net::SocketAddrV4;
use std::time::Duration;
use testkit::{ACK, FIN, Flags, Frame, PSH, RST, SYN, Seen, Tcp, Transport, protocol};

/// Bits of a conversation's number.
pub(super) const ID_BITS: u32 = 17;
/// Bits of what each side of it may send.
pub(super) const SPACE_BITS: u32 = 31 - ID_BITS;
/// The most that each side sends: well below the space, so that no segment looks like another conversation's.
const MOST: usize = 12_000;
/// Segments under way a direction.
const WINDOW: u32 = 6;
const OFFERED_MSS: u16 = 1460;
/// IP and TCP header.
const HEADERS: u16 = 40;
const TIMEOUT: Duration = Duration::from_millis(700);
const TRIES: u32 = 5;

/// Where a sequence number belongs.
pub(super) fn id_of(seq: u32) -> u32 {
    seq >> (SPACE_BITS + 1)
}

/// The initial sequence number of a conversation's side.
pub(super) fn first_seq(id: u32, from_client: bool) -> u32 {
    id << (SPACE_BITS + 1) | u32::from(from_client) << SPACE_BITS
}

/// Which side a sequence number is of.
pub(super) fn is_from_client(seq: u32) -> bool {
    seq >> SPACE_BITS & 1 == 1
}

/// One stack. Sequence numbers are relative: SYN is 0, data follows, FIN comes last.
struct End {
    side: Side,
    local: SocketAddrV4,
    /// As this end sees it; the server learns it from the SYN.
    remote: Option<SocketAddrV4>,
    first: u32,
    part: u16,
    length: u32,
    acked: u32,
    next: u32,
    mss: u32,
    deadline: Option<Duration>,
    tries: u32,
    /// What the other end sends: its first sequence number, its data, where it ended.
    peer_first: u32,
    peer_part: u16,
    got: Vec<bool>,
    expected: u32,
    synced: bool,
    /// The other end's FIN was there, perhaps before its data.
    closed: bool,
    /// The other end has sent something again, so that it may arrive twice.
    repeats: bool,
}

impl End {
    fn new(id: u32, client: bool, side: Side, local: SocketAddrV4, lengths: [usize; 2]) -> Self {
        let (mine, theirs) = if client { (0, 1) } else { (1, 0) };
        Self {
            side,
            local,
            remote: None,
            first: first_seq(id, client),
            part: mine,
            length: lengths[usize::from(mine)] as u32,
            acked: 0,
            next: 0,
            mss: 536,
            deadline: None,
            tries: 0,
            peer_first: first_seq(id, !client),
            peer_part: theirs,
            got: vec![false; lengths[usize::from(theirs)]],
            expected: 0,
            synced: false,
            closed: false,
            repeats: false,
        }
    }

    /// The number after FIN: all is sent and acknowledged when `acked` is there.
    fn end(&self) -> u32 {
        self.length + 2
    }

    fn peer_end(&self) -> u32 {
        self.got.len() as u32 + 2
    }

    fn is_done(&self) -> bool {
        self.acked == self.end() && self.expected == self.peer_end()
    }

    fn send(&self, seq: u32, flags: Flags, data: Vec<u8>, world: &mut World) {
        let Some(remote) = self.remote else { return };
        let mut frame =
            Frame::tcp(self.local, remote).df().flags(flags).seq(self.first.wrapping_add(seq)).payload(data);
        frame = if self.synced { frame.ack(self.peer_first.wrapping_add(self.expected)) } else { frame.ack(0) };
        if flags.contains(SYN) {
            frame = frame.mss(OFFERED_MSS).sack_permitted();
        }
        world.send(self.side, self.local, remote, frame);
    }

    /// Sends what may be sent: SYN, then data within the window, then FIN once `may_close`.
    fn pump(&mut self, id: u32, may_close: bool, world: &mut World) -> bool {
        let before = self.next;
        if self.next == 0 && self.remote.is_some() {
            self.send(0, if self.synced { SYN | ACK } else { SYN }, Vec::new(), world);
            self.next = 1;
        }
        while self.acked > 0 && self.next <= self.length && self.next - self.acked < WINDOW * self.mss {
            let from = self.next - 1;
            let length = self.mss.min(self.length - from);
            let data = text(id, self.part, from as usize, length as usize).collect();
            let flags = if from + length == self.length { ACK | PSH } else { ACK };
            self.send(self.next, flags, data, world);
            self.next += length;
        }
        if self.acked > 0 && self.next == self.length + 1 && may_close {
            self.send(self.next, FIN | ACK, Vec::new(), world);
            self.next += 1;
        }
        if self.next != before && self.deadline.is_none() {
            self.deadline = Some(world.now + TIMEOUT);
        }
        self.next != before
    }

    fn on_ack(&mut self, tcp: &Tcp, now: Duration) -> Result<(), String> {
        if !tcp.flags.contains(ACK) {
            return Ok(());
        }
        let acked = tcp.ack.wrapping_sub(self.first);
        // After a time-out `next` went back, so what was sent before may be acknowledged beyond it.
        let sent = if self.tries > 0 { self.end() } else { self.next };
        if acked > sent {
            return Err(format!("{} acknowledges {acked}, but only {sent} was sent", self.local));
        }
        if acked > self.acked {
            self.acked = acked;
            self.next = self.next.max(acked);
            self.tries = 0;
            self.deadline = (self.acked < self.next).then_some(now + TIMEOUT);
        }
        Ok(())
    }

    /// Data and FIN. Whether the segment takes sequence numbers, so that it is to be acknowledged.
    fn on_data(&mut self, id: u32, seen: &Seen, tcp: &Tcp) -> Result<bool, String> {
        let at = tcp.seq.wrapping_sub(self.peer_first);
        let takes = seen.payload.len() as u32 + u32::from(tcp.flags.contains(SYN)) + u32::from(tcp.flags.contains(FIN));
        if takes == 0 {
            return Ok(false);
        }
        if tcp.flags.contains(SYN) {
            if at != 0 || (self.synced && !self.repeats) {
                return Err(format!("{} brings a second or wrong SYN", seen.path()));
            }
            self.synced = true;
            self.expected = self.expected.max(1);
            self.mss = u32::from(tcp.mss.unwrap_or(536));
            return Ok(true);
        }
        let from = at.wrapping_sub(1) as usize;
        let until = from.saturating_add(seen.payload.len());
        let Some(got) = self.got.get_mut(from..until) else {
            return Err(format!("{} brings bytes {from}..{until} of {}", seen.path(), self.got.len()));
        };
        if !text(id, self.peer_part, from, seen.payload.len()).eq(seen.payload.iter().copied()) {
            return Err(format!("{} brings other bytes than were sent", seen.path()));
        }
        if !got.is_empty() && got.iter().all(|&g| g) && !self.repeats {
            return Err(format!("{} brings bytes {from}..{until} twice", seen.path()));
        }
        got.fill(true);
        if tcp.flags.contains(FIN) && until != self.got.len() {
            return Err(format!("{} ends at byte {until} of {}", seen.path(), self.got.len()));
        }
        self.closed |= tcp.flags.contains(FIN);
        while self.expected > 0 && self.got.get(self.expected as usize - 1).copied() == Some(true) {
            self.expected += 1;
        }
        if self.closed && self.expected == self.got.len() as u32 + 1 {
            self.expected += 1;
        }
        Ok(true)
    }
}

/// See the module.
pub(super) struct Connection {
    id: u32,
    /// Client and server.
    ends: [End; 2],
    /// The client's source is translated on the way.
    translated: bool,
    /// What the client dialled.
    dialled: SocketAddrV4,
    mss_limit: u16,
}

impl Connection {
    fn new(
        id: u32,
        world: &mut World,
        client: (Side, SocketAddrV4),
        server: (Side, SocketAddrV4),
        dialled: SocketAddrV4,
    ) -> Self {
        let lengths = [100 + world.chance.below(3000), 100 + world.chance.below(MOST - 100)];
        let mut ends =
            [End::new(id, true, client.0, client.1, lengths), End::new(id, false, server.0, server.1, lengths)];
        ends[0].remote = Some(dialled);
        let translated = client.0 == Side::Inside;
        // Between two inside hosts only the inside link's size counts.
        let smaller = if server.0 == client.0 { OFFERED_MSS + HEADERS } else { world.cast.outside_mtu };
        Self { id, ends, translated, dialled, mss_limit: smaller - HEADERS }
    }

    /// From a host to a server.
    pub(super) fn outward(id: u32, world: &mut World) -> Self {
        let (host, server) = world.cast.pair(&mut world.chance);
        let (host, server) = (world.endpoint(host), SocketAddrV4::new(server, 443));
        Self::new(id, world, (Side::Inside, host), (Side::Outside, server), server)
    }

    /// From the world to the forward.
    pub(super) fn inward(id: u32, world: &mut World) -> Self {
        let caller = world.chance.pick(&world.cast.servers);
        let (caller, (dialled, inside)) = (world.endpoint(caller), world.cast.forward);
        Self::new(id, world, (Side::Outside, caller), (Side::Inside, inside), dialled)
    }

    /// From a host to the forward.
    pub(super) fn hairpin(id: u32, world: &mut World) -> Self {
        let (dialled, inside) = world.cast.forward;
        let others: Vec<_> = world.cast.hosts.iter().copied().filter(|h| h != inside.ip()).collect();
        let caller = world.chance.pick(&others);
        let caller = world.endpoint(caller);
        Self::new(id, world, (Side::Inside, caller), (Side::Inside, inside), dialled)
    }

    /// The addresses are those that end `to` must see.
    fn check(&self, to: usize, heard: &Heard<'_>, tcp: &Tcp, world: &mut World) -> Result<(), String> {
        let (seen, end) = (heard.seen, &self.ends[to]);
        if heard.side != end.side || seen.destination != end.local {
            return Err(format!("{} came out {:?}; {} {:?} was meant", seen.path(), heard.side, end.local, end.side));
        }
        match (end.remote, to) {
            (Some(remote), _) if remote != seen.source => {
                return Err(format!("{} came from {}, not {remote}", seen.path(), seen.source));
            }
            (None, 1) if self.translated => world.sees(protocol::TCP, self.ends[0].local, seen.source)?,
            (None, 1) if seen.source != self.ends[0].local => {
                return Err(format!("the caller {} shows as {}", self.ends[0].local, seen.source));
            }
            _ => {}
        }
        if seen.ttl != HOPS_LEFT || !seen.df {
            return Err(format!("{} has TTL {} and DF {}", seen.path(), seen.ttl, seen.df));
        }
        if let Some(mss) = tcp.mss.filter(|&mss| mss > self.mss_limit) {
            return Err(format!("{} offers an MSS of {mss}; {} is what the path carries", seen.path(), self.mss_limit));
        }
        if tcp.flags.contains(RST) {
            return Err(format!("{} is a reset", seen.path()));
        }
        Ok(())
    }

    /// Sends what can be sent now. The server closes after the client.
    fn pump(&mut self, which: usize, world: &mut World) -> bool {
        let may_close = which == 0 || self.ends[1].expected == self.ends[1].peer_end();
        self.ends[which].pump(self.id, may_close, world)
    }
}

impl Talk for Connection {
    fn start(&mut self, world: &mut World) {
        self.pump(0, world);
    }

    fn hear(&mut self, heard: &Heard<'_>, world: &mut World) -> Judged {
        let seen = heard.seen;
        let Transport::Tcp(tcp) = &seen.transport else { return Err(format!("{seen} is no TCP segment").into()) };
        let to = usize::from(is_from_client(tcp.seq));
        self.check(to, heard, tcp, world)?;
        let (id, now) = (self.id, world.now);
        let end = &mut self.ends[to];
        end.remote.get_or_insert(seen.source);
        let takes = end.on_data(id, seen, tcp)?;
        end.on_ack(tcp, now)?;
        if !self.pump(to, world) && takes {
            let end = &self.ends[to];
            end.send(end.next, ACK, Vec::new(), world);
        }
        Ok(())
    }

    fn tick(&mut self, world: &mut World) -> Judged {
        for which in 0..2 {
            let end = &mut self.ends[which];
            if end.deadline.is_none_or(|due| world.now < due) {
                continue;
            }
            if end.tries >= TRIES {
                return Err(Fault::Silence(self.awaits()));
            }
            end.tries += 1;
            end.next = end.acked;
            end.deadline = None;
            // Either end may now hear things twice: the segment itself, or its acknowledgement.
            self.ends.iter_mut().for_each(|e| e.repeats = true);
            world.retransmitted += 1;
            self.pump(which, world);
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.ends.iter().all(End::is_done)
    }

    fn awaits(&self) -> String {
        let [client, server] = &self.ends;
        format!(
            "{} calling {}: {} of {} acknowledged of what it sent, {} of {} of what {} sent",
            client.local,
            self.dialled,
            client.acked,
            client.end(),
            server.acked,
            server.end(),
            server.local
        )
    }
}
