//! What the box answers itself: ARP, and echo requests to its own addresses.

use super::Worker;
use super::output::write_link_header;
use super::tag::Why;
use crate::io::{Buf, Io};
use crate::link::arp;
use crate::packet::{Class, Meta};
use crate::types::{Mac, PortId, WorkerId};
use crate::verdict::{DropReason, Event};
use crate::wire::checksum::Delta;
use crate::wire::{eth, icmp, ipv4};
use std::net::Ipv4Addr;
use zerocopy::{FromBytes, big_endian::U16};

/// Copies of ARP packets for other workers in a millisecond; the last packet's may be more.
pub(super) const ARP_COPIES_PER_TICK: u32 = 64;
/// Time to live of answers.
const TTL: u8 = 64;

impl<I: Io> Worker<I> {
    /// An ARP packet whose body begins at `l3`. One that is `first_hand` is answered and shown to the other workers.
    #[cold]
    pub(super) fn arp(&mut self, port: PortId, mut buf: I::Buf, l3: u8, first_hand: bool) {
        let at = usize::from(l3);
        let heard = match buf.data().get(at..).map(|body| arp::hear(body, port, &self.rules)) {
            Some(Ok(heard)) => heard,
            Some(Err(arp::Invalid)) | None => return self.drop(buf, DropReason::ArpInvalid),
        };
        if let Some((addr, mac, create)) = heard.learn {
            let matters = first_hand && self.matters_to_others(port, addr, &heard);
            if let Some(hop) = self.hops.learn(port, addr, mac, self.now, create && first_hand) {
                self.release_waiting(hop);
            }
            if matters {
                self.show_others(port, &buf);
            }
        }
        match (heard.answer, self.rules.framing(port).map(|f| f.mac)) {
            (Some(ours), Some(mac)) if first_hand => {
                if !arp::answer(buf.data_mut(), at, ours, mac) {
                    return self.drop(buf, DropReason::ArpInvalid);
                }
                buf.truncate(at + crate::wire::arp::LEN);
                self.counters.count(Event::ArpAnswered, 1);
                self.send(buf, port);
            }
            _ => {
                drop(buf);
                self.counters.count(Event::Consumed, 1);
            }
        }
    }

    /// Whether other workers could learn something that they need, and there is time to tell them. Strangers'
    /// announcements leave half of it to what is known to matter.
    fn matters_to_others(&self, port: PortId, sender: Ipv4Addr, heard: &arp::Heard) -> bool {
        let reserve = if heard.to_us || (heard.announcement && self.hops.knows(port, sender)) {
            0
        } else if heard.announcement {
            ARP_COPIES_PER_TICK / 2
        } else {
            return false;
        };
        self.arp_copies > reserve
    }

    /// Other workers may be waiting for what came to this one's queue.
    fn show_others(&mut self, port: PortId, buf: &I::Buf) {
        let (me, workers) = (self.me, self.rules.sharding.workers());
        self.arp_copies = self.arp_copies.saturating_sub(u32::from(workers) - 1);
        for worker in (0..workers).map(WorkerId).filter(|&w| w != me) {
            let Some(mut copy) = self.io.allocate() else { return };
            let data = buf.data();
            if !copy.append(data.len()) {
                return;
            }
            copy.data_mut().copy_from_slice(data);
            self.counters.count(Event::Originated, 1);
            self.hand_over(copy, worker, port, Why::ArpCopy);
        }
    }

    /// Asks where `addr` is: everybody, or the station that it was at.
    pub(super) fn send_arp_request(&mut self, port: PortId, addr: Ipv4Addr, to: Option<Mac>) {
        let (Some(framing), Some(own)) = (self.rules.framing(port).copied(), self.rules.own_address(port, addr)) else {
            return;
        };
        let Some(mut buf) = self.io.allocate() else { return };
        let frame = arp::request(own, framing.mac, addr, to);
        let tag = if framing.vlan.is_some() { eth::TAG_LEN } else { 0 };
        if !buf.append(frame.len() + tag) {
            return;
        }
        let out = buf.data_mut();
        let (Some(body), Some(place)) = (frame.get(eth::LEN..), out.get_mut(eth::LEN + tag..)) else { return };
        place.copy_from_slice(body);
        write_link_header(out, framing.mac, to.unwrap_or(Mac::BROADCAST), framing.vlan, eth::TYPE_ARP);
        self.counters.count(Event::Originated, 1);
        self.counters.count(Event::ArpRequests, 1);
        self.send(buf, port);
    }

    /// Turns an echo request to us, or a fragment of one, into its answer [RFC 1122 §3.2.2.6]. It goes back to the
    /// station that the request came from.
    pub(super) fn echo(&mut self, port: PortId, mut buf: I::Buf, meta: &Meta) {
        let Some(Ok(back_to)) = buf.data().get(6..12).map(<[u8; 6]>::try_from) else {
            return self.drop(buf, DropReason::FrameTooShort);
        };
        // An answer to a group would go to a whole link.
        if Mac(back_to).is_group() {
            return self.drop(buf, DropReason::MartianSource);
        }
        // What is not cut already may be cut now, and "do not fragment" is the asker's word, not ours; the pieces need an
        // identification then [RFC 6864 §4.1].
        let id = (meta.total_len > self.rules.mtu(port) && !meta.is_fragment()).then(|| self.ids.next(meta.key.src));
        if !answer_echo(buf.data_mut(), meta, id) {
            return self.drop(buf, DropReason::TransportTooShort);
        }
        self.counters.count(Event::EchoAnswered, 1);
        self.send_ip_in_pieces(buf, meta, port, Mac(back_to));
    }
}

fn answer_echo(frame: &mut [u8], meta: &Meta, id: Option<u16>) -> bool {
    let Some((head, transport)) = frame.split_at_mut_checked(usize::from(meta.l4)) else { return false };
    if meta.class == Class::IcmpQuery {
        let Ok((m, _)) = icmp::Icmp::mut_from_prefix(transport) else { return false };
        m.kind = icmp::ECHO_REPLY;
        m.checksum = U16::new(Delta::word(u16::from(icmp::ECHO_REQUEST) << 8, 0).apply(m.checksum.get()));
    }
    let Some(Ok((ip, _))) = head.get_mut(usize::from(meta.l3)..).map(ipv4::Ipv4::mut_from_prefix) else { return false };
    std::mem::swap(&mut ip.src, &mut ip.dst);
    let mut delta = Delta::word(u16::from(ip.ttl) << 8, u16::from(TTL) << 8);
    ip.ttl = TTL;
    if let Some(id) = id {
        delta = delta.and(Delta::word(ip.id.get(), id));
        ip.id = U16::new(id);
    }
    ip.checksum = U16::new(delta.apply(ip.checksum.get()));
    true
}
