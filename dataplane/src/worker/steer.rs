//! Who handles a packet: this worker, or its owner; and where fragments meet.

use super::Worker;
use super::tag::Why;
use crate::io::{Buf, Io};
use crate::nat::fragments::Ident;
use crate::nat::fragments::{Admitted, Datagram, Learned};
use crate::nat::icmp_error;
use crate::packet::{self, Class, Meta, Parsed};
use crate::policy::Local;
use crate::types::{PortId, Side, WorkerId};
use crate::verdict::{DropReason, Event};
use crate::wire::ipv4::Ipv4;
use zerocopy::FromBytes;

impl<I: Io> Worker<I> {
    /// The owner of a fresh packet that is no fragment.
    pub(super) fn owner(&self, side: Side, frame: &[u8], meta: &Meta) -> WorkerId {
        if self.rules.sharding.workers() == 1 {
            return self.me;
        }
        if meta.class == Class::IcmpError {
            // What quotes nothing of use is anybody's to refuse, or to route between inside networks.
            let Ok(quote) = icmp_error::quote(frame, meta) else { return self.me };
            // A Call ID of the server's says nothing of whose call it is: the workers are asked in turn.
            if side == Side::Outside && quote.key.is_pptp() {
                return self.me;
            }
            // About a tunnel's data: to whom the leg is lent does not matter, home has it as well.
            return self.rules.home_of_key(side, &quote.key.back());
        }
        self.rules.owner(side, meta).unwrap_or(self.me)
    }

    /// A fragment, at whichever worker: to where its datagram's pieces meet.
    pub(super) fn meet(&mut self, port: PortId, buf: I::Buf, meta: Meta, why: Why) {
        let side = self.rules.side(port);
        if let Err(reason) = self.may_track(side, &meta) {
            return self.drop(buf, reason);
        }
        if side == Side::Inside
            && self.rules.local(meta.key.dst).is_none()
            && let Some(reach) = self.rules.route(meta.key.dst)
            && self.rules.side(reach.port) == Side::Inside
        {
            // Between inside networks nothing is translated, so a fragment needs nobody's knowledge.
            return self.judge(port, buf, meta, Why::Owned);
        }
        let Some(Ok((ip, _))) = buf.data().get(usize::from(meta.l3)..).map(Ipv4::ref_from_prefix) else {
            return self.drop(buf, DropReason::FrameTooShort);
        };
        let id = ip.id.get();
        let proto = meta.key.proto.wire();
        let home = self.rules.sharding.of_datagram(meta.key.src, meta.key.dst, id, proto.0);
        if home != self.me && why == Why::Fresh {
            return self.hand_over(buf, home, port, Why::Meet);
        }
        let datagram = Datagram { src: meta.key.src, dst: meta.key.dst, id, proto, side };
        let new_id = self.ids.next(meta.key.dst);
        match self.fragments.admit(datagram, &meta, new_id, self.now) {
            Err(reason) => self.drop(buf, reason),
            Ok(Admitted::Wait(id)) => match self.fragments.hold(id, buf, port) {
                None => self.counters.count(Event::Held, 1),
                Some(buf) => self.drop(buf, DropReason::FragmentHeldFull),
            },
            Ok(Admitted::Pass(learned, id)) => {
                let refused = !self.pass_fragment(port, buf, meta, learned) && meta.fragment_offset() == 0;
                while let Some((buf, port)) = self.fragments.next_held(id) {
                    self.counters.count(Event::Released, 1);
                    self.pass_held(port, buf, learned);
                }
                if refused {
                    self.fragments.refuse(id);
                }
                self.fragments.finish(id);
            }
        }
    }

    /// What may take room in the table of datagrams: only what could be forwarded at all.
    fn may_track(&self, side: Side, meta: &Meta) -> Result<(), DropReason> {
        self.nat.carries(meta)?;
        match side {
            Side::Inside => self.check_inside_addresses(meta),
            Side::Outside => {
                self.check_outside_source(meta)?;
                match self.rules.local(meta.key.dst) {
                    Some(Local::Own(_) | Local::Pool(_) | Local::Static(_)) => Ok(()),
                    None => Err(self.not_for_us(meta.key.dst)),
                }
            }
        }
    }

    fn pass_held(&mut self, port: PortId, buf: I::Buf, learned: Learned) {
        let Some(framing) = self.rules.framing(port) else { return self.drop(buf, DropReason::NoRoute) };
        match packet::parse(buf.data(), framing) {
            Ok(Parsed::Ip(meta)) => {
                self.pass_fragment(port, buf, meta, learned);
            }
            Ok(Parsed::Arp(_)) | Err(_) => self.drop(buf, DropReason::FrameTooShort),
        }
    }

    /// A fragment whose ports are known: to its session's owner. Says whether it went on, as far as can be told here:
    /// another worker's verdict is not waited for.
    fn pass_fragment(&mut self, port: PortId, buf: I::Buf, meta: Meta, learned: Learned) -> bool {
        let owner = self.rules.owner_of_key(self.rules.side(port), &learned.key(&meta.key));
        if owner == self.me {
            self.judge_learned(port, buf, &meta, learned)
        } else {
            self.hand_over(buf, owner, port, Why::Learned(learned));
            true
        }
    }

    /// The second half of hairpinning: a packet that bears its outside source now goes to its destination's owner.
    /// `ident` is given for a fragment.
    pub(super) fn turn_around(&mut self, port: PortId, buf: I::Buf, owner: WorkerId, ident: Option<Ident>) {
        self.counters.count(Event::Hairpinned, 1);
        if owner == self.me {
            self.judge_again(port, buf, Why::Hairpin(ident));
        } else {
            self.hand_over(buf, owner, port, Why::Hairpin(ident));
        }
    }
}
