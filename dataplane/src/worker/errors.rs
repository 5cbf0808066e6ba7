//! ICMP errors that the box itself sends [RFC 1812 §4.3]: bounded in number, never about errors.

use super::Worker;
use super::output::write_link_header;
use crate::budget::Budget;
use crate::io::{Buf, Io};
use crate::nat::held_syn::HeldSyn;
use crate::packet::{self, Class, Meta, Parsed};
use crate::types::{Direction, Mac, PortId, Side, Tick};
use crate::verdict::{DropReason, Event};
use crate::wire::{checksum, eth, icmp, ipv4};
use zerocopy::{FromBytes, IntoBytes, big_endian::U16};

/// An error message: type, code, and the next link's MTU where it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tell {
    kind: u8,
    code: u8,
    mtu: u16,
}

impl Tell {
    pub(super) const fn unreachable(code: u8) -> Self {
        Self { kind: icmp::UNREACHABLE, code, mtu: 0 }
    }

    pub(super) const fn time_exceeded() -> Self {
        Self { kind: icmp::TIME_EXCEEDED, code: 0, mtu: 0 }
    }

    pub(super) const fn fragmentation_needed(mtu: u16) -> Self {
        Self { kind: icmp::UNREACHABLE, code: icmp::unreachable::FRAGMENTATION_NEEDED, mtu }
    }

    const fn is_fragmentation_needed(&self) -> bool {
        self.kind == icmp::UNREACHABLE && self.code == icmp::unreachable::FRAGMENTATION_NEEDED
    }
}

/// How much of a packet is quoted: the whole message stays within 576 bytes [RFC 1812 §4.3.2.3].
const QUOTE: usize = 576 - ipv4::LEN - icmp::LEN;
/// Time to live of what the box sends.
const TTL: u8 = 64;

/// How many errors may be sent: to each side its own, and of those "fragmentation needed" its own, so that nobody on
/// one side, and nothing but large packets, can use up what path MTU discovery on the other needs.
pub(super) struct Budgets {
    fragmentation_needed: [Budget; 2],
    others: [Budget; 2],
}

impl Budgets {
    /// A second's rate for each, a tenth of it at once (at least 10).
    pub(super) fn new(rate: u32, now: Tick) -> Self {
        let rate = rate.min(1_000_000);
        let each = || [(); 2].map(|()| Budget::new(rate, (rate / 10).max(10), now));
        Self { fragmentation_needed: each(), others: each() }
    }

    fn take(&mut self, to: Side, tell: &Tell, now: Tick) -> bool {
        let [inside, outside] =
            if tell.is_fragmentation_needed() { &mut self.fragmentation_needed } else { &mut self.others };
        match to {
            Side::Inside => inside,
            Side::Outside => outside,
        }
        .take(now)
    }
}

impl<I: Io> Worker<I> {
    /// Tells the sender of a packet (still as it came, in `frame`) what became of it. It goes back to the station that
    /// the packet came from.
    pub(super) fn tell(&mut self, port: PortId, frame: &[u8], meta: &Meta, tell: Tell) {
        let about_error = meta.class == Class::IcmpError;
        // A hairpinned packet bears our own source by now: there is nobody to tell.
        if about_error || meta.fragment_offset() != 0 || self.rules.local(meta.key.src).is_some() {
            return;
        }
        if !self.errors.take(self.rules.side(port), &tell, self.now) {
            self.counters.count(Event::IcmpErrorsSuppressed, 1);
            return;
        }
        let Some(mut buf) = self.io.allocate() else { return };
        if self.write_error(&mut buf, port, frame, meta, tell).is_some() {
            self.counters.count(Event::Originated, 1);
            self.counters.count(Event::IcmpErrorsSent, 1);
            self.send(buf, port);
        }
    }

    fn write_error(&self, buf: &mut I::Buf, port: PortId, frame: &[u8], meta: &Meta, tell: Tell) -> Option<()> {
        let framing = self.rules.framing(port)?;
        let from = self.rules.own_address(port, meta.key.src)?;
        let (ethernet, _) = eth::Ethernet::ref_from_prefix(frame).ok()?;
        let back_to = Mac(ethernet.src);
        if back_to.is_group() {
            return None;
        }
        let original = frame.get(usize::from(meta.l3)..meta.end().min(frame.len()))?;
        let quote = original.get(..original.len().min(QUOTE))?;
        let link = if framing.vlan.is_some() { eth::LEN + eth::TAG_LEN } else { eth::LEN };
        let total = ipv4::LEN + icmp::LEN + quote.len();
        if !buf.append(link + total) {
            return None;
        }
        let out = buf.data_mut();
        if !write_link_header(out, framing.mac, back_to, framing.vlan, eth::TYPE_IPV4) {
            return None;
        }
        let (header, message) = out.get_mut(link..)?.split_at_mut_checked(ipv4::LEN)?;
        let mut ip = ipv4::Ipv4 {
            version_ihl: 0x45,
            // Internetwork control [RFC 1812 §4.3.2.5].
            tos: 0xc0,
            total_len: U16::new(u16::try_from(total).ok()?),
            id: U16::new(0),
            fragment: U16::new(ipv4::DF),
            ttl: TTL,
            proto: 1,
            checksum: U16::new(0),
            src: from.octets(),
            dst: meta.key.src.octets(),
        };
        ip.checksum = U16::new(checksum::of(ip.as_bytes()));
        ip.write_to(header).ok()?;
        let m = icmp::Icmp {
            kind: tell.kind,
            code: tell.code,
            checksum: U16::new(0),
            id: U16::new(0),
            seq: U16::new(tell.mtu),
        };
        m.write_to_prefix(message).ok()?;
        message.get_mut(icmp::LEN..)?.copy_from_slice(quote);
        let sum = checksum::of(message);
        message.get_mut(icmp::CHECKSUM_AT..icmp::CHECKSUM_AT + 2)?.copy_from_slice(&sum.to_be_bytes());
        Some(())
    }

    /// Ends a packet whose next hop does not answer.
    pub(super) fn refuse_unreachable(&mut self, port: PortId, buf: I::Buf) {
        if let Some(framing) = self.rules.framing(port)
            && let Ok(Parsed::Ip(meta)) = packet::parse(buf.data(), framing)
        {
            self.tell(port, buf.data(), &meta, Tell::unreachable(icmp::unreachable::HOST));
        }
        self.drop(buf, DropReason::NeighbourUnresolved);
    }

    /// An unsolicited SYN that nobody came to want [5382 REQ-4].
    pub(super) fn answer_held_syn(&mut self, syn: &HeldSyn) {
        if self.nat.sessions.find(&syn.key, Direction::In).is_some() {
            return;
        }
        let head = syn.frame();
        let l3 = usize::from(syn.l3);
        let Some(Ok((ip, _))) = head.get(l3..).map(ipv4::Ipv4::ref_from_prefix) else { return };
        let l4 = l3 + ip.header_len();
        let (Ok(l4), Ok(total_len)) = (u8::try_from(l4), u16::try_from((l4 + 8).min(head.len()).saturating_sub(l3)))
        else {
            return;
        };
        let meta = Meta { key: syn.key, l3: syn.l3, l4, total_len, class: Class::Tcp, ..Meta::NONE };
        self.tell(syn.port, head, &meta, Tell::unreachable(icmp::unreachable::PORT));
    }
}
