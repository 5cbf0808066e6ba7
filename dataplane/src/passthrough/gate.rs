//! Whose turn it is to set up with a server.
//!
//! Whose an unseen inbound identifier is follows from nothing in it ([`super::pairing`]). But a server that is asked by
//! one inside host alone answers that one. So inside hosts take turns: what makes the server choose or use a new
//! identifier (the first message of a child exchange that an inside host says, the first packet under a new outward
//! identifier, a packet of one whose inward identifier is in doubt) is held while another's has no answer, as long as
//! answers of that server take, and for [`crate::worker`]'s patience at most. Then it goes on all the same, and
//! [`super::doubt`] mends what goes wrong.
//!
//! With `esp_pairing = "strict"` a turn is as long as the gate says, and what cannot wait is refused: IKE and ESP's users
//! send again.
//!
//! Bounded: a host asks [`ASKS`] times without an answer, then its packets hold nobody up. Whose turn is over lets those
//! go first that it held up. What comes from outside makes nobody wait, as it may be forged.

use super::legs::Came;
use super::tunnel::TunnelId;
use crate::nat::Nat;
use crate::policy::Pairing;
use crate::types::{Key, Proto, Tick};
use crate::verdict::DropReason;
use std::net::Ipv4Addr;

/// Questions in a row that may hold others up.
pub(super) const ASKS: u8 = 16;

/// How long one whose time is over lets those go first that it kept waiting: they are looked at each millisecond.
const YIELD_MS: u32 = 10;
/// With strict pairing they may have been refused: IKE's and ESP's users try again within that.
const STRICT_YIELD_MS: u32 = 10_000;

/// With strict pairing: whose exchange is followed by another message, and by no data within this time, has renewed IKE
/// itself, which looks the same [RFC 7296 §2.18].
const RENEWAL_MS: u32 = 2_000;

impl Nat {
    pub(super) fn is_strict(&self, proto: Proto) -> bool {
        proto == Proto::ESP && self.rules.policy.passthrough.pairing == Pairing::Strict
    }

    /// Whether it is this tunnel's turn to set up, or nobody's.
    ///
    /// # Errors
    /// [`DropReason::IpsecWaits`]: another's, so it is to be held, or with strict pairing refused.
    pub(super) fn pass_gate(
        &mut self,
        proto: Proto,
        id: Option<TunnelId>,
        (outside, remote): (Ipv4Addr, Ipv4Addr),
        came: Came,
        now: Tick,
    ) -> Result<(), DropReason> {
        let strict = self.is_strict(proto);
        let Some(g) = self.vpn.tunnels.gateway_mut(proto, remote, outside) else { return Ok(()) };
        let Some(holder) = g.turn.holder() else { return Ok(()) };
        let (over, holds) = (g.turn.is_over(now), id == Some(holder));
        let yields = if strict { STRICT_YIELD_MS } else { YIELD_MS };
        let others_first = holds && over && g.turn.others && !now.reached(g.turn.until().after(yields));
        let not_yet = !over && !holds;
        g.turn.others |= not_yet;
        if (others_first || not_yet) && (strict || !came.overdue) { Err(DropReason::IpsecWaits) } else { Ok(()) }
    }

    /// How long a turn is, with strict pairing.
    fn fixed_turn(&self, proto: Proto) -> Option<u32> {
        self.is_strict(proto).then_some(self.rules.policy.passthrough.gate)
    }

    /// A tunnel's inside host says something in a child exchange: others wait until its data has come, or for a time.
    pub(super) fn take_gate(&mut self, id: TunnelId, now: Tick) {
        let fixed = self.fixed_turn(Proto::ESP);
        if let Some(g) = self.vpn.tunnels.gateway_of(id) {
            g.turn.take(id, false, fixed, now);
        }
    }

    /// A tunnel's inside host sends data, and waits for an answer.
    pub(super) fn ask(&mut self, id: TunnelId, now: Tick) {
        let Some(proto) = self.vpn.tunnels.get(id).map(|t| t.kind.proto()) else { return };
        let fixed = self.fixed_turn(proto);
        let begins = self.vpn.tunnels.gateway_of(id).is_some_and(|g| g.turn.take(id, true, fixed, now));
        if let Some(t) = self.vpn.tunnels.get_mut(id).filter(|_| begins) {
            t.asks = t.asks.saturating_add(1);
        }
    }

    /// A tunnel's inside host sends whoever's turn it is; the answer is not to be taken for another's.
    pub(super) fn speak_between(&mut self, id: TunnelId, now: Tick) {
        if let Some(g) = self.vpn.tunnels.gateway_of(id) {
            g.turn.disturb(id, now);
        }
    }

    /// A tunnel whose turn it is came one step further.
    pub(super) fn prolong_gate(&mut self, id: TunnelId, now: Tick) {
        let fixed = self.fixed_turn(Proto::ESP);
        if let Some(g) = self.vpn.tunnels.gateway_of(id).filter(|g| g.turn.holder() == Some(id)) {
            g.turn.prolong(fixed, now);
        }
    }

    /// With strict pairing: its inside host goes on with IKE after a child exchange, and no data has come.
    pub(super) fn shorten_gate(&mut self, id: TunnelId, now: Tick) {
        if let Some(g) = self.vpn.tunnels.gateway_of(id).filter(|g| g.turn.holder() == Some(id)) {
            g.turn.shorten(RENEWAL_MS, now);
        }
    }

    /// What was given to a tunnel may be another's, so for a while what comes may be so as well.
    pub(super) fn gate_unsure(&mut self, id: TunnelId, now: Tick) {
        let until = now.after(self.rules.policy.passthrough.gate);
        if let Some(g) = self.vpn.tunnels.gateway_of(id) {
            g.unsure = Some(until);
        }
    }

    /// An inbound identifier was given to a tunnel.
    pub(super) fn gate_got(&mut self, id: TunnelId, now: Tick) {
        let Some(proto) = self.vpn.tunnels.get(id).map(|t| t.kind.proto()) else { return };
        let strict = self.is_strict(proto);
        let Some(g) = self.vpn.tunnels.gateway_of(id) else { return };
        g.turn.took_since(id, now);
        if strict {
            g.turn.end(id);
        } else {
            g.turn.got(id);
        }
    }

    /// Whether what waits for its turn may go on.
    pub(crate) fn is_turn(&self, key: &Key, now: Tick) -> bool {
        let proto = if key.proto == Proto::L2TP { Proto::L2TP } else { Proto::ESP };
        let Ok(outside) = self.tunnel_address(proto, key.src) else { return true };
        let Some(g) = self.vpn.tunnels.gateway(proto, key.dst, outside) else { return true };
        let its_own = || g.turn.holder().and_then(|id| self.vpn.tunnels.get(id)).is_some_and(|t| t.inside == key.src);
        g.turn.is_over(now) || its_own()
    }
}
