//! Packets of a VPN's ordinary TCP or UDP sessions, looked into before they go on; and those that no session is known
//! for, but that the payload explains.

use super::legs::Came;
use super::service::Service;
use crate::flow::session::{Session, SessionId, flags};
use crate::flow::tcp;
use crate::nat::{Nat, Segment};
use crate::packet::{Class, Meta};
use crate::types::{Direction, Proto, Tick};
use crate::verdict::{Counters, DropReason, Event};
use crate::wire::ike::{self, Natt};
use crate::wire::ipv4::Ipv4;
use crate::wire::{l2tp, tcp as tcp_header, udp};
use std::net::Ipv4Addr;
use zerocopy::FromBytes;

impl Nat {
    /// Looks into a packet of a session that is followed, or of an IKE or L2TPv3 leg. `before` is the TCP state before
    /// this segment.
    ///
    /// # Errors
    /// Why it must not pass, or not yet ([`DropReason::IpsecWaits`]).
    #[allow(clippy::too_many_arguments, reason = "what is known of a packet")]
    pub(crate) fn inspect(
        &mut self,
        id: SessionId,
        by: Direction,
        frame: &[u8],
        meta: &Meta,
        segment: Option<(&Segment, tcp::State)>,
        came: Came,
        now: Tick,
    ) -> Result<(), DropReason> {
        let Some(s) = self.sessions.get(id).copied() else { return Ok(()) };
        if s.proto == Proto::L2TP_CONTROL {
            // A later fragment is no message, whatever it looks like.
            let shown = (meta.class == Class::L2tpControl).then(|| payload(frame, meta, 0)).flatten();
            let control = shown.and_then(l2tp::ip_control);
            return self.inspect_l2tpv3(id, by, control.as_ref(), now);
        }
        if !s.is(flags::FOLLOWED) {
            return Ok(());
        }
        let Some(service) = service(&s) else { return Ok(()) };
        if service == Service::Pptp {
            if meta.is_fragment() {
                return Err(DropReason::PptpFragment);
            }
            let Some((segment, before)) = segment else { return Ok(()) };
            let payload = tcp_payload(frame, meta).ok_or(DropReason::TransportTooShort)?;
            return self.inspect_pptp(id, by, payload, segment, before, now);
        }
        let Some(payload) = payload(frame, meta, udp::LEN).filter(|_| meta.class == Class::Udp) else { return Ok(()) };
        match service {
            Service::Ike => {
                if let Some(ike) = ike::parse(payload, meta.is_fragment()) {
                    self.inspect_ike(&s, by, &ike, came, now)?;
                    if by == Direction::Out && s.is_tunnels() {
                        self.learn_ike(&s, &ike);
                    }
                }
                if by == Direction::Out
                    && let Some(s) = self.sessions.get_mut(id)
                {
                    // UDP has no states; of IKE it is remembered that the inside host took part.
                    s.state = tcp::State::Established;
                }
            }
            Service::L2tp => self.inspect_l2tp(&s, by, payload, now),
            Service::Pptp | Service::NatT | Service::OpenVpn | Service::WireGuard => {}
        }
        // What waits counts when it goes on.
        note(&self.counters, service, payload);
        Ok(())
    }

    /// Whose IKE is it that came for a port that several inside hosts have?
    pub(crate) fn kept_ike(&mut self, meta: &Meta, frame: &[u8], now: Tick) -> Option<SessionId> {
        let (ip, _) = Ipv4::ref_from_prefix(frame.get(usize::from(meta.l3)..)?).ok()?;
        let id = ip.id.get();
        if meta.class != Class::Udp {
            return self.ike_piece(&meta.key, id, now);
        }
        let ike = payload(frame, meta, udp::LEN).and_then(|p| ike::parse(p, meta.is_fragment()));
        let leg = ike.and_then(|ike| self.ike_in(&meta.key, &ike));
        if meta.is_fragment() {
            self.note_ike_piece(&meta.key, id, leg, now);
        }
        leg
    }

    /// Whether a packet that the filter would refuse is a server's answer by another port.
    pub(crate) fn answers_from_elsewhere(&mut self, meta: &Meta, frame: &[u8], now: Tick) -> bool {
        self.rules.policy.passthrough.l2tp == crate::policy::Switch::On
            && meta.class == Class::Udp
            && payload(frame, meta, udp::LEN).is_some_and(|p| self.answers_l2tp(&meta.key, p, now))
    }

    /// An inside host tries AH. What strangers send is counted as dropped, and not told: they could send no end of it.
    pub(crate) fn note_ah(&self, inside: Ipv4Addr, remote: Ipv4Addr) {
        use super::notice::{Matter, Notice};
        if self.counters.notices.tell(Notice { matter: Matter::Ah, inside, remote }) {
            self.counters.count(Event::AhPairs, 1);
        }
    }
}

/// What a session that is followed carries: its opener called the port.
#[inline]
fn service(s: &Session) -> Option<Service> {
    let called = if s.is(flags::FROM_OUTSIDE) { s.inside().0.port } else { s.remote().port };
    Service::of_port(s.proto, called)
}

/// Whether a session is IKE's, and followed.
pub(super) fn is_ike(s: &Session) -> bool {
    s.is(flags::FOLLOWED) && service(s) == Some(Service::Ike)
}

/// Counts a packet of a followed session that is known. Says whether its session alone can forward it.
#[inline]
pub(crate) fn glance(counters: &Counters, s: &Session, frame: &[u8], meta: &Meta) -> bool {
    let Some(service) = service(s) else { return true };
    match service {
        Service::Pptp | Service::Ike => return false,
        Service::NatT | Service::OpenVpn | Service::WireGuard | Service::L2tp => {}
    }
    let Some(payload) = payload(frame, meta, udp::LEN) else { return false };
    if service == Service::L2tp && l2tp::is_control(payload) {
        return false;
    }
    note(counters, service, payload);
    true
}

#[inline]
fn note(counters: &Counters, service: Service, payload: &[u8]) {
    let event = match service {
        Service::Ike => Event::IkePackets,
        Service::NatT => match Natt::of(payload) {
            Natt::Ike => Event::NatTIke,
            Natt::Keepalive => Event::NatTKeepalives,
            Natt::Esp => Event::NatTEsp,
        },
        Service::L2tp => Event::L2tpPackets,
        Service::OpenVpn => Event::OpenvpnPackets,
        Service::WireGuard => Event::WireguardPackets,
        Service::Pptp => return,
    };
    counters.count(event, 1);
}

/// What follows `skip` bytes of the transport header.
#[inline]
fn payload<'a>(frame: &'a [u8], meta: &Meta, skip: usize) -> Option<&'a [u8]> {
    frame.get(usize::from(meta.l4) + skip..meta.end())
}

/// What a TCP segment carries.
pub(crate) fn tcp_payload<'a>(frame: &'a [u8], meta: &Meta) -> Option<&'a [u8]> {
    let segment = payload(frame, meta, 0)?;
    let (h, _) = tcp_header::Tcp::ref_from_prefix(segment).ok()?;
    segment.get(h.header_len()..)
}
