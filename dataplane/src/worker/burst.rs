//! Known flows, in stages over a burst, so that the cache misses of many packets overlap.
//!
//! 1. parse, hash the key, fetch the index bucket;
//! 2. guess the session from the bucket's tags, fetch it;
//! 3. confirm, translate, queue for sending.
//!
//! What is not an ordinary packet of an established flow goes to [`super::judge`], in its place in the order, so that
//! packets of a flow never overtake each other within a worker.

use super::Worker;
use super::tag::{Tag, Why};
use crate::census::Translated;
use crate::flow::session::{SessionId, flags};
use crate::flow::tcp;
use crate::io::{BURST, Buf, Burst, Io};
use crate::nat::rewrite::{self, Hop};
use crate::packet::{self, Class, Layer, Meta};
use crate::passthrough::inspect;
use crate::types::{Direction, PortId, Side, WorkerId};
use crate::verdict::DropReason;
use crate::wire::tcp::flags::{FIN, RST, SYN};
use arrayvec::ArrayVec;

/// Packets ahead of the one being parsed whose first line is fetched.
const AHEAD: usize = 6;

/// What stage 1 found out about a packet.
#[derive(Clone, Copy)]
enum Found {
    /// Ordinary: worth a guess. The hash of its key.
    Plain(u64),
    /// IPv4 that [`super::judge`] must look at.
    Odd(Why),
    /// Another worker's.
    Away(WorkerId),
    /// ARP at this offset.
    Arp(u8),
    /// A copy of another worker's ARP.
    ArpCopy(u8),
    /// What another worker says.
    Message,
    /// Dropped.
    Bad(DropReason),
}

struct Staged {
    meta: Meta,
    found: Found,
    port: PortId,
    direction: Direction,
    guess: SessionId,
}

impl Staged {
    const EMPTY: Self = Self {
        meta: Meta::NONE,
        found: Found::Bad(DropReason::NoRoute),
        port: PortId(0),
        direction: Direction::In,
        guess: SessionId::NONE,
    };
}

impl<I: Io> Worker<I> {
    /// Handles a burst from `port`, or one that other workers handed over (its packets' tags say what is known).
    pub(super) fn burst(&mut self, bufs: &mut Burst<I::Buf>, port: Option<PortId>) {
        let mut staged: ArrayVec<Staged, BURST> = ArrayVec::new();
        for buf in bufs.iter().take(2 * AHEAD) {
            buf.prefetch_header();
        }
        for i in 0..bufs.len() {
            if let Some(far) = bufs.get(i + 2 * AHEAD) {
                far.prefetch_header();
            }
            crate::prefetch::read(bufs.get(i + AHEAD).and_then(|b| b.data().first()));
            staged.push(Staged::EMPTY);
            let (Some(buf), Some(s)) = (bufs.get(i), staged.last_mut()) else { break };
            self.stage(buf, port, s);
        }
        let mut new = 0;
        for s in &mut staged {
            if let Found::Plain(hash) = s.found {
                s.guess = self.nat.sessions.prefetch_session(hash);
                new += usize::from(s.guess.is_none() && s.direction == Direction::Out);
            }
        }
        if new > 0 {
            self.fetch_for_new(&staged);
        }
        let mut translated = Translated::default();
        for (buf, s) in bufs.drain(..).zip(&staged) {
            if let Found::Plain(_) = s.found {
                let Some(buf) = self.forward_known(buf, s, &mut translated) else { continue };
                let why = if port.is_some() { Why::Fresh } else { Why::Owned };
                self.judge(s.port, buf, s.meta, why);
            } else if let Found::Away(owner) = s.found {
                self.hand_over(buf, owner, s.port, Why::Owned);
            } else {
                self.end_stages(buf, s);
            }
        }
        translated.write(&self.counters);
    }

    /// What the flows that are not known yet will ask for, so that their misses overlap, too.
    #[cold]
    #[inline(never)]
    fn fetch_for_new(&self, staged: &[Staged]) {
        let new = || {
            staged
                .iter()
                .filter(|s| matches!(s.found, Found::Plain(_)) && s.guess.is_none() && s.direction == Direction::Out)
        };
        for s in new() {
            self.nat.fetch_new(&s.meta.key);
        }
        for s in new() {
            self.nat.fetch_known(&s.meta.key);
        }
    }

    /// Stage 3 for a packet that is no ordinary one.
    #[cold]
    #[inline(never)]
    fn end_stages(&mut self, buf: I::Buf, s: &Staged) {
        match s.found {
            Found::Plain(_) => self.judge(s.port, buf, s.meta, Why::Fresh),
            Found::Odd(why) => self.judge(s.port, buf, s.meta, why),
            Found::Away(owner) => self.hand_over(buf, owner, s.port, Why::Owned),
            Found::Arp(l3) => self.arp(s.port, buf, l3, true),
            Found::ArpCopy(l3) => self.arp(s.port, buf, l3, false),
            Found::Message => self.message(buf),
            Found::Bad(reason) => self.drop(buf, reason),
        }
    }

    /// Stage 1 for one packet.
    #[inline(always)]
    fn stage(&self, buf: &I::Buf, port: Option<PortId>, staged: &mut Staged) {
        let tag = match port {
            Some(port) => Tag { why: Why::Fresh, port },
            None => Tag::unpack(buf.tag()),
        };
        staged.port = tag.port;
        if tag.why == Why::Message {
            staged.found = Found::Message;
            return;
        }
        let Some(link) = self.rules.link(tag.port) else { return };
        staged.direction = match link.side {
            Side::Inside => Direction::Out,
            Side::Outside => Direction::In,
        };
        staged.found = match packet::parse_into(buf.data(), &link.framing, &mut staged.meta) {
            Ok(Layer::Ip) => {
                let meta = &staged.meta;
                let settled = matches!(tag.why, Why::Fresh | Why::Owned);
                match self.elsewhere(tag, meta) {
                    Some(owner) => Found::Away(owner),
                    None if settled && is_plain(meta) => {
                        let hash = self.nat.sessions.hash(&meta.key);
                        self.nat.sessions.prefetch_bucket(hash);
                        Found::Plain(hash)
                    }
                    None => Found::Odd(tag.why),
                }
            }
            Ok(Layer::Arp(l3)) if tag.why == Why::ArpCopy => Found::ArpCopy(l3),
            Ok(Layer::Arp(l3)) => Found::Arp(l3),
            Err(reason) => Found::Bad(reason),
        };
    }

    /// The worker in whose shard a fresh packet's session is, if that is another one and the packet's own key says so.
    #[inline]
    fn elsewhere(&self, tag: Tag, meta: &Meta) -> Option<WorkerId> {
        if tag.why != Why::Fresh || self.rules.sharding.workers() == 1 || meta.is_fragment() {
            return None;
        }
        self.rules.owner(self.rules.side(tag.port), meta).filter(|owner| *owner != self.me)
    }

    /// Stage 3 for a packet of an established flow. Gives the packet back, unchanged, when it is not.
    #[inline(always)]
    fn forward_known(&mut self, mut buf: I::Buf, staged: &Staged, translated: &mut Translated) -> Option<I::Buf> {
        let meta = &staged.meta;
        let direction = staged.direction;
        let Some(s) = self.nat.sessions.confirm(staged.guess, &meta.key, direction) else { return Some(buf) };
        let from_inside = direction == Direction::Out;
        let hop = if from_inside { s.hop_out } else { s.hop_in };
        let settled = s.flags & flags::HAIRPIN == 0
            && (!from_inside
                || (s.flags & (flags::HOLDS_MAPPING | flags::STATIC) != 0 && s.inside_port == staged.port))
            && (matches!(meta.class, Class::Udp | Class::IcmpQuery) || s.state == tcp::State::Established);
        if !settled {
            return Some(buf);
        }
        let Some((egress, mac)) = self.hops.ready(hop) else { return Some(buf) };
        let Some(&link) = self.rules.link(egress).filter(|link| meta.total_len <= link.mtu) else { return Some(buf) };
        // The last of the conditions, as it counts.
        if s.flags & flags::FOLLOWED != 0 && !inspect::glance(&self.counters, s, buf.data(), meta) {
            return Some(buf);
        }
        if meta.class == Class::Tcp {
            note_ack(s, &buf, meta, direction);
            s.last_used = self.now;
        } else if matches!(meta.class, Class::Tunnel | Class::Other) {
            s.count(meta.total_len);
            s.last_used = self.now;
        } else if from_inside {
            // What outsiders send keeps nothing alive [4787 REQ-6].
            s.last_used = self.now;
        }
        let id = (from_inside && !meta.dont_fragment()).then(|| self.ids.next(meta.key.dst));
        if !rewrite::translate(buf.data_mut(), meta, s, direction, Hop { decrement_ttl: true, id }) {
            return Some(buf);
        }
        translated.count(direction, meta.key.proto);
        self.send_framed(buf, meta, egress, &link.framing, mac);
        None
    }
}

/// Whether a packet can be forwarded by its session alone.
#[inline]
fn is_plain(meta: &Meta) -> bool {
    let quiet = match meta.class {
        Class::Udp | Class::IcmpQuery | Class::Tunnel | Class::Other => true,
        Class::Tcp => meta.tcp_flags & (SYN | FIN | RST) == 0,
        Class::IcmpError | Class::LaterFragment | Class::L2tpControl => false,
    };
    quiet && meta.ttl > 1 && !meta.is_fragment()
}

/// Keeps the acknowledgement number, which a later reset is measured against.
#[inline]
fn note_ack<B: Buf>(s: &mut crate::flow::session::Session, buf: &B, meta: &Meta, by: Direction) {
    let at = usize::from(meta.l4) + 8;
    if let Some(bytes) = buf.data().get(at..at + 4)
        && let Ok(ack) = <[u8; 4]>::try_from(bytes)
    {
        let mut track = s.track();
        track.note(by, meta.tcp_flags, 0, u32::from_be_bytes(ack), None);
        s.set_track(track);
    }
}
