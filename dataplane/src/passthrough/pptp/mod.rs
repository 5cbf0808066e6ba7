//! PPTP [RFC 2637]: the control connection is followed, Call IDs are translated, and GRE passes for the calls that it
//! makes.
//!
//! [`stream`] reads messages however TCP cuts them and says which bytes change; [`calls`] knows the calls, and answers
//! it. A [`Connection`] is what both remember of one control connection.

pub mod calls;
pub mod stream;

use super::tunnel::{Tunnel, TunnelId, Tunnels};
use crate::flow::index::{Hasher, Index};
use crate::flow::session::SessionId;
use crate::types::Direction;
use crate::verdict::DropReason;
use arrayvec::ArrayVec;
use std::net::Ipv4Addr;
use stream::{Edits, Follower};

const NONE: u32 = u32::MAX;
/// Requests of a remote host that may wait for their answer.
const ASKED: usize = 64;
/// Refused calls of a connection that are remembered.
const REFUSED: usize = 8;
/// Counters of connections by inside host; two hosts may share one.
const CROWDS: usize = 1024;

/// One control connection.
pub struct Connection {
    /// What was read of it.
    pub follower: Follower,
    /// Its TCP session.
    pub session: SessionId,
    /// High byte of Call IDs: the inside host's → its translation; 0 for none.
    pub pages_out: [u8; 256],
    /// And back.
    pub pages_in: [u8; 256],
    /// Its calls.
    pub calls: u16,
    /// Call IDs of the remote host's requests that the inside host did not answer yet.
    pub asked: ArrayVec<u16, ASKED>,
    /// Calls that were refused: the identifier that the request went on with, and the inside host's.
    pub refused: ArrayVec<(u16, u16), REFUSED>,
    crowd: u16,
    /// Sequence number of the SYN that opened it.
    pub first: u32,
    head: u32,
    next_free: u32,
}

impl Connection {
    const fn new(session: SessionId, first: u32) -> Self {
        Self {
            follower: Follower::new(),
            session,
            pages_out: [0; 256],
            pages_in: [0; 256],
            calls: 0,
            asked: ArrayVec::new_const(),
            refused: ArrayVec::new_const(),
            crowd: 0,
            first,
            head: NONE,
            next_free: NONE,
        }
    }
}

/// All control connections of one worker.
pub struct Connections {
    rows: Box<[Connection]>,
    index: Index,
    hasher: Hasher,
    free: u32,
    len: usize,
    /// Connections of each [`CROWDS`]th of the inside hosts.
    crowds: Box<[u32]>,
    /// What is to be changed in the segment being judged.
    pub edits: Edits,
}

impl Connections {
    /// A table for so many.
    #[must_use]
    pub fn new(capacity: usize, seed: u64) -> Self {
        let n = u32::try_from(capacity).unwrap_or(u32::MAX - 1);
        let row = |i: u32| Connection {
            next_free: if i + 1 == n { NONE } else { i + 1 },
            ..Connection::new(SessionId(NONE), 0)
        };
        Self {
            rows: (0..n).map(row).collect(),
            index: Index::new(capacity),
            hasher: Hasher::new(seed ^ 0x5050_5450),
            free: if n == 0 { NONE } else { 0 },
            len: 0,
            crowds: vec![0; CROWDS].into(),
            edits: Edits::default(),
        }
    }

    /// Bytes that [`Connections::new`] takes.
    #[must_use]
    pub const fn memory(capacity: usize) -> usize {
        capacity * size_of::<Connection>() + CROWDS * size_of::<u32>() + Index::memory(capacity)
    }

    const fn hash(&self, session: SessionId) -> u64 {
        self.hasher.pair(session.0 as u64, 3)
    }

    /// The connection of a session.
    #[must_use]
    pub fn find(&self, session: SessionId) -> Option<u32> {
        self.index.find(self.hash(session), |s| self.rows.get(s as usize).is_some_and(|c| c.session == session))
    }

    /// A connection by number.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&Connection> {
        self.rows.get(id as usize).filter(|c| c.session.0 != NONE)
    }

    /// A connection by number.
    pub fn get_mut(&mut self, id: u32) -> Option<&mut Connection> {
        self.rows.get_mut(id as usize).filter(|c| c.session.0 != NONE)
    }

    /// The session of a connection.
    #[must_use]
    pub fn session(&self, id: u32) -> Option<SessionId> {
        self.get(id).map(|c| c.session)
    }

    /// A new connection of `inside`, whose SYN by `opener` has the number `first`. One host leaves three quarters to
    /// others; and what strangers open a quarter of the whole to inside hosts, and a quarter of a host's share to itself.
    ///
    /// # Errors
    /// What there is no room in.
    pub fn open(
        &mut self,
        session: SessionId,
        inside: Ipv4Addr,
        opener: Direction,
        first: u32,
    ) -> Result<u32, DropReason> {
        let all = self.rows.len();
        let most = if opener == Direction::In { all - all / 4 } else { all };
        #[allow(clippy::cast_possible_truncation, reason = "a remainder by CROWDS")]
        let crowd = (self.hasher.addr(inside) % CROWDS as u64) as u16;
        let host = self.crowds.get(usize::from(crowd)).copied().unwrap_or(0) as usize;
        let share = (all / 4).max(16);
        let share = if opener == Direction::In { share - share / 4 } else { share };
        if host >= share {
            return Err(DropReason::TunnelLimit);
        }
        let slot = self.free;
        let next = self.rows.get(slot as usize).filter(|_| self.len < most).map(|c| c.next_free);
        let next = next.ok_or(DropReason::TunnelTableFull)?;
        self.index.insert(self.hash(session), slot).map_err(|_| DropReason::TunnelTableFull)?;
        self.free = next;
        self.len += 1;
        if let Some(n) = self.crowds.get_mut(usize::from(crowd)) {
            *n += 1;
        }
        if let Some(row) = self.rows.get_mut(slot as usize) {
            *row = Connection { crowd, ..Connection::new(session, first) };
        }
        Ok(slot)
    }

    /// Takes a connection out; its calls must have ended.
    pub fn close(&mut self, id: u32) {
        let Some(session) = self.session(id) else { return };
        self.index.remove(self.hash(session), id);
        self.len = self.len.saturating_sub(1);
        if let Some(c) = self.rows.get_mut(id as usize) {
            c.session = SessionId(NONE);
            if let Some(n) = self.crowds.get_mut(usize::from(c.crowd)) {
                *n = n.saturating_sub(1);
            }
            c.next_free = std::mem::replace(&mut self.free, id);
        }
    }

    /// The calls of a connection.
    pub fn calls<'a>(&self, tunnels: &'a Tunnels, id: u32) -> impl Iterator<Item = (TunnelId, &'a Tunnel)> + use<'a> {
        let mut at = self.get(id).map_or(NONE, |c| c.head);
        std::iter::from_fn(move || {
            let id = TunnelId(at);
            let t = tunnels.get(id)?;
            at = t.next_call;
            Some((id, t))
        })
    }

    /// Adds a call.
    pub fn add_call(&mut self, tunnels: &mut Tunnels, id: u32, call: TunnelId) {
        let Some(c) = self.get_mut(id) else { return };
        c.calls += 1;
        let head = std::mem::replace(&mut c.head, call.0);
        if let Some(t) = tunnels.get_mut(call) {
            (t.connection, t.next_call) = (id, head);
        }
    }

    /// Takes a call out of its connection's list.
    pub fn forget_call(&mut self, tunnels: &mut Tunnels, id: u32, call: TunnelId) {
        let Some(after) = tunnels.get(call).map(|t| t.next_call) else { return };
        let before = self.calls(tunnels, id).find(|(_, t)| t.next_call == call.0).map(|(before, _)| before);
        let Some(c) = self.get_mut(id) else { return };
        if c.head == call.0 {
            c.head = after;
        } else if let Some(before) = before
            && let Some(t) = tunnels.get_mut(before)
        {
            t.next_call = after;
        } else {
            return;
        }
        c.calls = c.calls.saturating_sub(1);
    }
}
