//! The way out: link header, transmit buffers, handing over; and the one place where a packet is dropped.

use super::Worker;
use super::tag::{Tag, Why};
use crate::flow::index::Hasher;
use crate::io::{Buf, Burst, Io};
use crate::packet::{Framing, Meta};
use crate::types::{Mac, PortId, WorkerId};
use crate::verdict::{DropReason, Event};
use crate::wire::eth;
use std::net::Ipv4Addr;

/// Attempts to send a burst before the rest is dropped.
const TX_TRIES: usize = 4;

impl<I: Io> Worker<I> {
    /// Ends a packet with a reason.
    pub(super) fn drop(&self, buf: I::Buf, reason: DropReason) {
        drop(buf);
        self.counters.count_drop(reason);
    }

    /// As [`Worker::send_ip`], with the port's framing at hand, for a packet that comes and goes without a tag.
    #[inline(always)]
    pub(super) fn send_framed(&mut self, mut buf: I::Buf, meta: &Meta, egress: PortId, framing: &Framing, to: Mac) {
        if usize::from(meta.l3) != eth::LEN || framing.vlan.is_some() {
            return self.send_ip(buf, meta.l3, meta.total_len, egress, to);
        }
        buf.truncate(meta.end());
        if !write_link_header(buf.data_mut(), framing.mac, to, None, eth::TYPE_IPV4) {
            return self.drop(buf, DropReason::FrameTooShort);
        }
        self.send(buf, egress);
    }

    /// Puts a link header before an IP packet that starts at `l3`, cuts padding, and queues it.
    #[inline(never)]
    pub(super) fn send_ip(&mut self, mut buf: I::Buf, l3: u8, total_len: u16, egress: PortId, to: Mac) {
        let Some(framing) = self.rules.framing(egress).copied() else {
            return self.drop(buf, DropReason::NoRoute);
        };
        let want = if framing.vlan.is_some() { eth::LEN + eth::TAG_LEN } else { eth::LEN };
        let have = usize::from(l3);
        if have != want {
            let fits = if have > want { buf.trim_front(have - want) } else { buf.prepend(want - have) };
            if !fits {
                return self.drop(buf, DropReason::NoBuffer);
            }
        }
        buf.truncate(want + usize::from(total_len));
        if !write_link_header(buf.data_mut(), framing.mac, to, framing.vlan, eth::TYPE_IPV4) {
            return self.drop(buf, DropReason::FrameTooShort);
        }
        self.send(buf, egress);
    }

    /// Queues a complete frame.
    #[inline(always)]
    pub(super) fn send(&mut self, buf: I::Buf, egress: PortId) {
        let Some(queue) = self.tx.get_mut(egress.index()) else {
            return self.drop(buf, DropReason::NoRoute);
        };
        queue.push(buf);
        if queue.is_full() {
            self.flush_port(egress);
        }
    }

    /// Hands a packet to another worker.
    pub(super) fn hand_over(&mut self, mut buf: I::Buf, to: WorkerId, port: PortId, why: Why) {
        buf.set_tag(Tag { why, port }.pack());
        let Some(queue) = self.hand.get_mut(to.index()) else {
            return self.drop(buf, DropReason::HandoffFull);
        };
        queue.push(buf);
        if queue.is_full() {
            self.flush_worker(to);
        }
    }

    /// Sends all that is queued, then what is to be said to other workers: so a message comes after the packets before it.
    pub(super) fn flush(&mut self) {
        self.flush_packets();
        self.send_messages();
    }

    /// Sends all packets that are queued.
    pub(super) fn flush_packets(&mut self) {
        for port in (0u8..).map(PortId).take(self.tx.len()) {
            self.flush_port(port);
        }
        for worker in (0u8..).map(WorkerId).take(self.hand.len()) {
            self.flush_worker(worker);
        }
    }

    #[inline(never)]
    fn flush_port(&mut self, port: PortId) {
        let Some(queue) = self.tx.get_mut(port.index()) else { return };
        if queue.is_empty() {
            return;
        }
        let (packets, bytes) = (queue.len(), bytes(queue));
        for _ in 0..TX_TRIES {
            self.io.send(port, queue);
            if queue.is_empty() {
                break;
            }
        }
        let (left, left_bytes) = (queue.len(), if queue.is_empty() { 0 } else { self::bytes(queue) });
        if let Some(c) = self.counters.port(port) {
            c.tx_packets.add((packets - left) as u64);
            c.tx_bytes.add(bytes - left_bytes);
        }
        if left > 0 {
            self.counters.drop_many(DropReason::TxRefused, left as u64);
            queue.clear();
        }
    }

    fn flush_worker(&mut self, to: WorkerId) {
        let Some(queue) = self.hand.get_mut(to.index()) else { return };
        if queue.is_empty() {
            return;
        }
        let packets = queue.len();
        self.io.hand_over(to, queue);
        self.counters.count(Event::HandedOff, (packets - queue.len()) as u64);
        if !queue.is_empty() {
            self.counters.drop_many(DropReason::HandoffFull, queue.len() as u64);
            queue.clear();
        }
        self.note_crowding(to);
    }
}

fn bytes<B: Buf>(queue: &Burst<B>) -> u64 {
    queue.iter().map(|b| b.data().len() as u64).sum()
}

/// Writes an Ethernet header, tagged or not, to the front of a frame.
#[inline(always)]
pub(super) fn write_link_header(frame: &mut [u8], from: Mac, to: Mac, vlan: Option<u16>, ethertype: u16) -> bool {
    let [t0, t1] = ethertype.to_be_bytes();
    let Some((addresses, rest)) = frame.split_first_chunk_mut::<12>() else { return false };
    let (dst, src) = addresses.split_at_mut(6);
    dst.copy_from_slice(&to.0);
    src.copy_from_slice(&from.0);
    match vlan {
        None => {
            let Some(t) = rest.first_chunk_mut::<2>() else { return false };
            *t = [t0, t1];
        }
        Some(id) => {
            let [p0, p1] = eth::TYPE_VLAN.to_be_bytes();
            let [v0, v1] = id.to_be_bytes();
            let Some(t) = rest.first_chunk_mut::<6>() else { return false };
            *t = [p0, p1, v0, v1, t0, t1];
        }
    }
    true
}

/// IP identifications for datagrams that leave with our address and may be fragmented [RFC 6864 §5.2]: a counter for
/// each of 256 groups of destinations, and for each destination another place to count from. Both are chosen by a
/// keyed hash, so that who sees the identifications that he gets cannot tell those that others get [RFC 7739 §5.4].
/// Workers draw from disjoint numbers.
pub(super) struct IpIds {
    /// Below `share`.
    next: [u16; 256],
    /// How many numbers a worker has: the turn of one never meets another's.
    share: u16,
    me: u16,
    workers: u16,
    key: [u64; 2],
}

impl IpIds {
    pub(super) fn new(me: WorkerId, workers: u8, secret: u64, start: u32) -> Self {
        let workers = u16::from(workers).max(1);
        let share = u16::MAX / workers;
        let mut next = [0u16; 256];
        let mut x = start;
        for n in &mut next {
            x = x.wrapping_mul(0x9e37_79b1).wrapping_add(0x7f4a_7c15);
            #[allow(clippy::cast_possible_truncation, reason = "the high half is meant")]
            {
                *n = (x >> 16) as u16 % share;
            }
        }
        let hasher = Hasher::new(secret ^ 0x4970_4964);
        let key = [hasher.pair(u64::from(start), 1), hasher.pair(u64::from(start), 2) | 1];
        Self { next, share, me: u16::from(me.0), workers, key }
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "parts of a hash; the product's high half is below `share`")]
    pub(super) fn next(&mut self, dst: Ipv4Addr) -> u16 {
        let [a, b] = self.key;
        let product = u128::from(u64::from(dst.to_bits()) ^ a) * u128::from(b);
        let hash = product as u64 ^ (product >> 64) as u64;
        let Some(n) = self.next.get_mut(usize::from(hash as u8)) else { return 0 };
        *n = if *n + 1 < self.share { *n + 1 } else { 0 };
        let from = ((hash >> 32) * u64::from(self.share)) >> 32;
        let at = u32::from(*n) + from as u32;
        let at = if at < u32::from(self.share) { at } else { at - u32::from(self.share) };
        (at as u16).wrapping_mul(self.workers).wrapping_add(self.me)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const DST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

    #[test]
    fn no_identification_comes_twice_before_all_have_come_and_none_is_another_workers() {
        for workers in [1u8, 3, 8, 64] {
            let mut seen = HashSet::new();
            for me in 0..workers {
                let mut ids = IpIds::new(WorkerId(me), workers, 7, 1000 + u32::from(me));
                for _ in 0..u16::MAX / u16::from(workers) {
                    assert!(seen.insert(ids.next(DST)), "{me} of {workers}");
                }
                let first = ids.next(DST);
                assert_eq!((0..u16::MAX / u16::from(workers)).map(|_| ids.next(DST)).last(), Some(first), "a turn");
            }
        }
    }

    /// What two destinations get of one secret, apart: constant for those who share a counter and a place.
    fn apart(secret: u64, x: Ipv4Addr, y: Ipv4Addr) -> u16 {
        let mut ids = IpIds::new(WorkerId(0), 1, secret, 5);
        ids.next(y).wrapping_sub(ids.next(x))
    }

    // RFC 7739 §3: an observer's own identifications say nothing of others'
    #[test]
    fn what_one_destination_gets_does_not_tell_what_another_gets() {
        // These two shared a counter whatever the secret was.
        let (x, y) = (DST, Ipv4Addr::new(203, 0, 7, 100));
        let differences: HashSet<_> = (0..1000).map(|secret| apart(secret, x, y)).collect();
        assert!(differences.len() > 900, "{}", differences.len());
        let near: HashSet<_> = (0..250).map(|d| apart(1, x, Ipv4Addr::new(198, 51, 101, d))).collect();
        assert!(near.len() > 200, "{}", near.len());
    }
}
