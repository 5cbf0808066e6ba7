//! The calls of PPTP control connections, and their identifiers [RFC 2637 §2.7 to §2.15].
//!
//! Whose an identifier is says what happens to it: the inside host's own ("ours") is translated on its way out and back
//! on its way in; the remote host's ("theirs") is never touched. A call's inward leg opens with its request, so that GRE
//! which overtakes the reply passes [§3.2.4]; its outward leg when the reply says the remote host's identifier.
//!
//! Translated identifiers come from the numbers of ports that this worker owns, so GRE from outside finds it, and are
//! random within them. A message may be cut between an identifier's two bytes, and the first one must go on before the
//! second is seen: so within a connection high bytes are mapped one to one (*pages*), and the low byte is free. Unique
//! for a server and outside address: the inward leg's key says so.
//!
//! A call beyond a limit is refused without stopping its connection, on which others live: TCP would send a request that
//! is dropped again before all else. It goes on under an identifier that no call ever has, and so no GRE: its two ends
//! give it up as any call that does not come about.

use super::stream::{CallBook, Message, Outcome, Way, Why};
use crate::flow::session::{Session, SessionId};
use crate::flow::tcp;
use crate::nat::{Nat, Segment};
use crate::passthrough::notice::{Matter, Notice};
use crate::passthrough::tunnel::{Kind, State, TunnelId};
use crate::types::{Direction, Key, Proto, Tick};
use crate::verdict::{DropReason, Event};
use crate::wire::pptp::{RESULT_CHANNEL_EXISTS, RESULT_OK, kind};
use crate::wire::tcp::flags::{ACK, FIN, RST, SYN};
use std::net::Ipv4Addr;

/// Calls of one control connection at once.
const CALLS: u16 = 64;
/// Most bytes that a SYN carries and its answer may acknowledge [RFC 7413].
const MOST_WITH_SYN: u32 = 1 << 16;
/// Lowest page: identifiers below 1024 are not used, as the ports of these numbers are dealt out more finely.
const FIRST_PAGE: u8 = 4;
/// The page of calls that are refused for want of one.
const NO_PAGE: u8 = 1;
/// The low byte that no call gets, for those that are refused.
const NO_CALL: u8 = u8::MAX;

/// Answers the follower.
struct Book<'a> {
    nat: &'a mut Nat,
    connection: u32,
    ends: (Ipv4Addr, Ipv4Addr, Ipv4Addr),
    now: Tick,
}

impl Nat {
    /// Shows a segment of a PPTP control connection to its follower. `before` is the TCP state before this segment. What
    /// is to be changed is in [`super::Connections::edits`] afterwards.
    ///
    /// # Errors
    /// Why the segment must not pass.
    pub(crate) fn inspect_pptp(
        &mut self,
        session: SessionId,
        by: Direction,
        payload: &[u8],
        segment: &Segment,
        before: tcp::State,
        now: Tick,
    ) -> Result<(), DropReason> {
        self.vpn.connections.edits.clear();
        let Some(s) = self.sessions.get(session).copied() else { return Ok(()) };
        let ends = (s.inside, s.outside, s.remote);
        let syn = segment.flags & SYN != 0;
        // `track` has judged it: a SYN inside a connection is no beginning, and the end host does not read what it
        // carries.
        let begins = syn && s.state.is_beginning();
        if syn && !begins {
            return Ok(());
        }
        let opens = begins && segment.flags & ACK == 0 && by == s.opener();
        let known = self.vpn.connections.find(session);
        let first = known.and_then(|id| self.vpn.connections.get(id)).map(|c| c.first);
        let resent = before.is_beginning() && first == Some(segment.seq);
        let connection = match known {
            Some(id) if opens && !resent => {
                // The same ends begin again: nothing of before holds.
                self.end_calls(id);
                self.vpn.connections.close(id);
                Some(self.vpn.connections.open(session, s.inside, s.opener(), segment.seq)?)
            }
            Some(id) => Some(id),
            None if opens => Some(self.vpn.connections.open(session, s.inside, s.opener(), segment.seq)?),
            // Picked up in the middle: it passes as any connection does, and no call can be made by it.
            None => return Ok(()),
        };
        // What answers another SYN is forged, or of old: its numbers are not the connection's.
        let answers = begins && segment.flags & ACK != 0 && by != s.opener();
        if answers && first.is_some_and(|first| segment.ack.wrapping_sub(first).wrapping_sub(1) > MOST_WITH_SYN) {
            return Ok(());
        }
        let Some(connection) = connection else { return Err(DropReason::TunnelTableFull) };
        // Taken out, as it asks about calls, which are ours.
        let Some(c) = self.vpn.connections.get_mut(connection) else { return Ok(()) };
        let mut follower = std::mem::take(&mut c.follower);
        let mut edits = std::mem::take(&mut self.vpn.connections.edits);
        let mut book = Book { nat: self, connection, ends, now };
        let ack = (segment.flags & ACK != 0).then_some(segment.ack);
        let outcome = follower.segment(by, segment.seq, begins, ack, payload, &mut book, &mut edits);
        self.vpn.connections.edits = edits;
        if let Some(c) = self.vpn.connections.get_mut(connection) {
            c.follower = follower;
        }
        match outcome {
            Outcome::Pass => {}
            Outcome::Malformed => self.counters.count(Event::PptpMalformed, 1),
            Outcome::Drop(Why::OutOfOrder | Why::TooMany | Why::Refused) => return Err(DropReason::PptpOutOfOrder),
            Outcome::Drop(Why::Forgotten) => return Err(DropReason::PptpForgotten),
        }
        if self.sessions.get(session).is_none_or(|s| is_over(s, by, segment)) {
            self.end_calls(connection);
        }
        Ok(())
    }

    /// A control connection's session ends.
    pub(crate) fn control_closed(&mut self, session: SessionId) {
        if let Some(id) = self.vpn.connections.find(session) {
            self.end_calls(id);
            self.vpn.connections.close(id);
        }
    }

    fn end_calls(&mut self, connection: u32) {
        for _ in 0..=CALLS {
            let Some((id, _)) = self.vpn.connections.calls(&self.vpn.tunnels, connection).next() else { break };
            self.end_tunnel(id);
        }
    }
}

/// Whether a control connection is over. What is only somewhere in the window may be forged, and the end hosts go on
/// after it [RFC 5961 §3]; so calls end by a FIN or RST at exactly the number that is due, or by both sides' FINs, or else
/// with the session.
fn is_over(s: &Session, by: Direction, segment: &Segment) -> bool {
    let track = s.track();
    let due = match by {
        Direction::Out => track.acked_by_outside,
        Direction::In => track.acked_by_inside,
    };
    s.state == tcp::State::Closed || (s.state.is_ending() && segment.flags & (FIN | RST) != 0 && segment.seq == due)
}

impl Book<'_> {
    fn call(&self, fits: impl Fn(&crate::passthrough::tunnel::Tunnel) -> bool) -> Option<TunnelId> {
        let vpn = &self.nat.vpn;
        vpn.connections.calls(&vpn.tunnels, self.connection).find(|(_, t)| fits(t)).map(|(id, _)| id)
    }

    /// The key of GRE from outside under a translated identifier.
    const fn inward(&self, translated: u16) -> Key {
        let (_, outside, remote) = self.ends;
        Key { src: remote, dst: outside, ident: Key::call(translated), proto: Proto::GRE }
    }

    /// The page of the inside host's high byte, made if there is none.
    fn page(&mut self, high: u8) -> Option<u8> {
        let known = *self.nat.vpn.connections.get(self.connection)?.pages_out.get(usize::from(high))?;
        if known != 0 {
            return Some(known);
        }
        let mut spare = None;
        let [start, low, ..] = self.nat.random().to_le_bytes();
        for page in (0..=u8::MAX).map(|n| start.wrapping_add(n)) {
            let id = u16::from_be_bytes([page, low]);
            if page < FIRST_PAGE || self.nat.rules.sharding.of_port(id) != self.nat.me {
                continue;
            }
            let taken = *self.nat.vpn.connections.get(self.connection)?.pages_in.get(usize::from(page))?;
            // The page of an inside byte that no live call uses may go to another.
            let idle = |b: u8| self.call(|t| t.ours.to_be_bytes().first() == Some(&b)).is_none();
            let mapped =
                self.nat.vpn.connections.get(self.connection)?.pages_out.get(usize::from(taken)) == Some(&page);
            if !mapped && self.nat.sessions.find(&self.inward(id), Direction::In).is_none() {
                return self.map(high, page);
            }
            if mapped && spare.is_none() && idle(taken) {
                spare = Some((taken, page));
            }
        }
        let (old, page) = spare?;
        *self.nat.vpn.connections.get_mut(self.connection)?.pages_out.get_mut(usize::from(old))? = 0;
        self.map(high, page)
    }

    /// A page is full, and none of this connection's calls is on it: the next try gets another.
    fn leave_page(&mut self, ours: u16) {
        let [high, _] = ours.to_be_bytes();
        if self.call(|t| t.ours.to_be_bytes().first() == Some(&high)).is_none()
            && let Some(c) = self.nat.vpn.connections.get_mut(self.connection)
            && let Some(page) = c.pages_out.get_mut(usize::from(high))
        {
            *page = 0;
        }
    }

    fn map(&mut self, high: u8, page: u8) -> Option<u8> {
        let c = self.nat.vpn.connections.get_mut(self.connection)?;
        *c.pages_out.get_mut(usize::from(high))? = page;
        *c.pages_in.get_mut(usize::from(page))? = high;
        Some(page)
    }

    /// The low byte of a new call's translated identifier; opens the call and its inward leg.
    fn open(&mut self, ours: u16, page: u8) -> Option<u8> {
        let [high, _] = ours.to_be_bytes();
        let nat = &mut *self.nat;
        let c = nat.vpn.connections.get(self.connection)?;
        // Not by a page that was left after the high byte had gone on.
        if c.calls >= CALLS || c.pages_out.get(usize::from(high)) != Some(&page) {
            return None;
        }
        let [start, ..] = nat.random().to_le_bytes();
        let (inside, outside, remote) = self.ends;
        let free = (0..=u8::MAX).map(|n| start.wrapping_add(n)).find(|low| {
            let key = self.inward(u16::from_be_bytes([page, *low]));
            *low != NO_CALL && self.nat.sessions.find(&key, Direction::In).is_none()
        });
        let Some(low) = free else {
            self.leave_page(ours);
            return None;
        };
        let translated = u16::from_be_bytes([page, low]);
        let nat = &mut *self.nat;
        let id = nat.open_tunnel(Kind::Pptp, (inside, outside, remote), Direction::Out, self.now).ok()?;
        let idents = (Proto::GRE, Key::call(translated), Key::call(ours));
        if nat.add_leg(id, Direction::In, idents, false, DropReason::Clash, self.now).is_err() {
            nat.end_tunnel(id);
            return None;
        }
        nat.vpn.connections.add_call(&mut nat.vpn.tunnels, self.connection, id);
        if let Some(t) = nat.vpn.tunnels.get_mut(id) {
            (t.ours, t.translated, t.half_at) = (ours, translated, self.now);
        }
        Some(low)
    }

    /// The call that the inside host numbers so is refused: the low byte to go on with.
    fn refuse(&mut self, ours: u16, page: u8) -> u8 {
        self.nat.counters.count(Event::PptpCallsRefused, 1);
        let id = u16::from_be_bytes([page, NO_CALL]);
        if let Some(c) = self.nat.vpn.connections.get_mut(self.connection) {
            c.refused.retain(|(refused, _)| *refused != id);
            if c.refused.is_full() {
                c.refused.remove(0);
            }
            let _ = c.refused.try_push((id, ours));
        }
        NO_CALL
    }

    /// The inside host's identifier of a refused call, and back.
    fn refused(&self, fits: impl Fn(&(u16, u16)) -> bool) -> Option<(u16, u16)> {
        self.nat.vpn.connections.get(self.connection)?.refused.iter().rev().copied().find(fits)
    }

    /// Both identifiers are known.
    fn connect(&mut self, id: TunnelId, theirs: u16) {
        let (inside, _, remote) = self.ends;
        let nat = &mut *self.nat;
        let key = Key { src: inside, dst: remote, ident: Key::call(theirs), proto: Proto::GRE };
        // The remote host gave the identifier to a new call: the old one is over, whatever we missed.
        if let Some(old) = nat.sessions.find(&key, Direction::Out).and_then(|s| nat.sessions.get(s))
            && old.owner != id.0
        {
            let old = TunnelId(old.owner);
            nat.end_tunnel(old);
        }
        let Some(t) = nat.vpn.tunnels.get_mut(id) else { return };
        let (pending, before) = (t.state == State::Pending, t.theirs.replace(theirs));
        if before.is_some_and(|b| b != theirs) {
            // The reply to a request that was sent twice; the last word holds.
            let old =
                t.legs().find(|l| nat.sessions.get(*l).is_some_and(|s| s.leg_direction() == Some(Direction::Out)));
            if let Some(old) = old {
                nat.drop_leg(id, old);
            }
        }
        let idents = (Proto::GRE, Key::call(theirs), Key::call(theirs));
        if nat.add_leg(id, Direction::Out, idents, false, DropReason::Clash, self.now).is_ok() && pending {
            nat.vpn.tunnels.set_state(id, State::Paired);
        }
    }

    /// A reply: to `id`'s request, or `id`'s own.
    fn replied(&mut self, id: Option<TunnelId>, theirs: Option<u16>, result: u8) {
        match (id, theirs) {
            (Some(id), Some(theirs)) if result == RESULT_OK => self.connect(id, theirs),
            (Some(id), _) => self.nat.end_tunnel(id),
            (None, _) => self.unknown(),
        }
    }

    /// The inside host's reply. It names an identifier of the remote host's, which must have said it: behind an address
    /// that is shared, a call that is none could send into another inside host's.
    fn accepted(&mut self, id: Option<TunnelId>, m: &Message) {
        let asked = self.nat.vpn.connections.get_mut(self.connection).is_some_and(|c| {
            let at = c.asked.iter().position(|a| Some(*a) == m.peer);
            at.map(|at| c.asked.swap_remove(at)).is_some()
        });
        let t = id.and_then(|id| self.nat.vpn.tunnels.get(id));
        let theirs = t.and_then(|t| t.theirs);
        match id {
            Some(id) if asked || m.result != RESULT_OK || theirs.is_some() && theirs == m.peer => {
                self.replied(Some(id), m.peer, m.result);
            }
            Some(id) if theirs.is_none() => {
                self.nat.end_tunnel(id);
                self.unknown();
            }
            _ => self.unknown(),
        }
    }

    fn unknown(&self) {
        self.nat.counters.count(Event::PptpUnknownCalls, 1);
    }
}

impl CallBook for Book<'_> {
    fn high(&mut self, way: Way, message: u8, high: u8) -> Option<u8> {
        match way {
            Way::Out if opens(message) => Some(self.page(high).unwrap_or(NO_PAGE)),
            Way::In if high == NO_PAGE => {
                let refused = self.refused(|(id, _)| id.to_be_bytes().first() == Some(&NO_PAGE));
                Some(refused.map_or(high, |(_, ours)| ours.to_be_bytes()[0]))
            }
            // No call has such an identifier where there is no page; nothing needs to be right then.
            Way::Out => {
                let c = self.nat.vpn.connections.get(self.connection)?;
                c.pages_out.get(usize::from(high)).map(|&page| if page == 0 { high } else { page })
            }
            Way::In => {
                let c = self.nat.vpn.connections.get(self.connection)?;
                let ours = *c.pages_in.get(usize::from(high))?;
                let mapped = c.pages_out.get(usize::from(ours)) == Some(&high);
                Some(if mapped { ours } else { high })
            }
        }
    }

    fn low(&mut self, way: Way, message: u8, original: u16, high: u8) -> Option<u8> {
        let [_, low] = original.to_be_bytes();
        match way {
            Way::Out => {
                let known = self.call(|t| t.ours == original && t.state != State::Closing);
                let known = known.or_else(|| self.call(|t| t.ours == original && !opens(message)));
                if let Some(t) = known.and_then(|id| self.nat.vpn.tunnels.get(id)) {
                    let [_, low] = t.translated.to_be_bytes();
                    return Some(low);
                }
                if !opens(message) {
                    let refused = self.refused(|(id, ours)| *ours == original && id.to_be_bytes()[0] == high);
                    return Some(refused.map_or(low, |_| NO_CALL));
                }
                // The identifier of a call that is ending is used again: the old one is over.
                if let Some(old) = self.call(|t| t.ours == original) {
                    self.nat.end_tunnel(old);
                }
                match self.open(original, high) {
                    Some(low) => Some(low),
                    None => Some(self.refuse(original, high)),
                }
            }
            Way::In => {
                let id = self.call(|t| t.translated == original);
                let ours = id.and_then(|id| self.nat.vpn.tunnels.get(id)).map(|t| t.ours);
                let ours = ours.or_else(|| self.refused(|(id, _)| *id == original).map(|(_, ours)| ours));
                Some(ours.map_or(low, |ours| ours.to_be_bytes()[1]))
            }
        }
    }

    fn heard(&mut self, way: Way, m: &Message) {
        self.nat.counters.count(Event::PptpMessages, 1);
        // The receiver's own identifier says most; where there is none, the sender's does [RFC 2637 §2.13].
        let id = match (way, m.own, m.peer) {
            (Way::Out, Some(own), _) => self.call(|t| t.ours == own),
            (Way::Out, None, Some(peer)) => self.call(|t| t.theirs == Some(peer)),
            (Way::In, _, Some(peer)) => self.call(|t| t.translated == peer),
            (Way::In, Some(own), None) => self.call(|t| t.theirs == Some(own)),
            (_, None, None) => None,
        };
        match (way, m.kind) {
            (Way::Out, kind::OUTGOING_CALL_REQUEST | kind::INCOMING_CALL_REQUEST) => {
                // A resend, or the identifier anew: the next reply says which.
                if let Some(t) = id.and_then(|id| self.nat.vpn.tunnels.get_mut(id)) {
                    t.half_at = self.now;
                }
            }
            (Way::In, kind::OUTGOING_CALL_REQUEST | kind::INCOMING_CALL_REQUEST) => {
                if let (Some(c), Some(own)) = (self.nat.vpn.connections.get_mut(self.connection), m.own)
                    && !c.asked.contains(&own)
                {
                    if c.asked.is_full() {
                        c.asked.remove(0);
                    }
                    let _ = c.asked.try_push(own);
                }
            }
            (Way::In, kind::OUTGOING_CALL_REPLY | kind::INCOMING_CALL_REPLY) => self.replied(id, m.own, m.result),
            (Way::Out, kind::OUTGOING_CALL_REPLY | kind::INCOMING_CALL_REPLY) => self.accepted(id, m),
            (_, kind::CALL_CLEAR_REQUEST) => match id {
                Some(id) => self.nat.close_soon(id, self.now),
                None => self.unknown(),
            },
            (_, kind::CALL_DISCONNECT_NOTIFY) => match id {
                Some(id) => self.nat.end_tunnel(id),
                None => self.unknown(),
            },
            (_, kind::INCOMING_CALL_CONNECTED | kind::WAN_ERROR_NOTIFY | kind::SET_LINK_INFO) if id.is_none() => {
                self.unknown();
            }
            (_, kind::STOP_REQUEST | kind::STOP_REPLY) => self.nat.end_calls(self.connection),
            (Way::In, kind::START_REPLY) if m.result == RESULT_CHANNEL_EXISTS => {
                let (inside, _, remote) = self.ends;
                self.nat.counters.count(Event::PptpChannelExists, 1);
                self.nat.counters.notices.tell(Notice { matter: Matter::PptpChannelExists, inside, remote });
            }
            _ => {}
        }
    }
}

/// Whether a message from inside may begin a call: it holds the identifier that the inside host chose for it.
const fn opens(message: u8) -> bool {
    matches!(
        message,
        kind::OUTGOING_CALL_REQUEST
            | kind::OUTGOING_CALL_REPLY
            | kind::INCOMING_CALL_REQUEST
            | kind::INCOMING_CALL_REPLY
    )
}
