//! The worker's side of its [`Line`]: the order in hand, and how far it is.

use super::{Change, Filter, Line, Order, Report, Row, SessionRow, Table};
use crate::flow::session::{Session, SessionId, flags};
use crate::link::neighbour::Neighbours;
use crate::nat::Nat;
use crate::nat::mapping::MappingId;
use crate::nat::subscriber::SubscriberId;
use crate::passthrough::tunnel::TunnelId;
use crate::policy::Rules;
use crate::types::Tick;
use std::sync::Arc;

/// Entries of a table that are looked at in a turn.
pub const SLICE: u32 = 64;

/// What a worker is doing for control.
#[derive(Debug)]
pub(crate) struct Desk {
    line: Arc<Line>,
    /// Orders that are done, wrapping.
    finished: u32,
    job: Job,
}

#[derive(Debug)]
enum Job {
    None,
    Dump {
        table: Table,
        filter: Filter,
        at: u32,
    },
    Flush {
        filter: Filter,
        at: u32,
        sessions: u64,
        tunnels: u64,
    },
    Change(Box<Change>),
    Survey {
        used: Box<[u32]>,
        at: u32,
    },
    /// To be told as soon as control takes it.
    Say(Report),
}

impl Desk {
    /// A desk at the worker's end of a line.
    pub(crate) const fn new(line: Arc<Line>) -> Self {
        Self { line, finished: 0, job: Job::None }
    }

    /// Whether there is anything to do.
    #[inline]
    pub(crate) fn is_called(&self) -> bool {
        self.line.calls(self.finished)
    }

    /// Does a bounded piece of it.
    #[cold]
    #[inline(never)]
    pub(crate) fn attend(&mut self, nat: &mut Nat, hops: &mut Neighbours, rules: &mut Arc<Rules>, now: Tick) {
        if matches!(self.job, Job::None) {
            self.job = match self.line.take() {
                None => return,
                Some(Order::Dump(table, filter)) => Job::Dump { table, filter, at: 0 },
                Some(Order::Flush(filter)) => Job::Flush { filter, at: 0, sessions: 0, tunnels: 0 },
                Some(Order::Change(mut change)) => {
                    change.apply(rules, nat);
                    Job::Change(change)
                }
                Some(Order::Survey(used)) => Job::Survey { used, at: 0 },
            };
        }
        let job = std::mem::replace(&mut self.job, Job::None);
        self.job = match job {
            Job::None => return,
            Job::Dump { table, filter, at } => match dump(&self.line, nat, table, &filter, at, now) {
                Some(at) => Job::Dump { table, filter, at },
                None => Job::None,
            },
            Job::Flush { filter, at, sessions, tunnels } => {
                flush(nat, filter, (at, sessions, tunnels), now).unwrap_or_else(|report| self.say(report))
            }
            Job::Change(mut change) => {
                if change.review(nat, hops, now) {
                    self.say(Report::Changed(change))
                } else {
                    Job::Change(change)
                }
            }
            Job::Survey { mut used, at } => match survey(nat, &mut used, at) {
                Some(at) => Job::Survey { used, at },
                None => self.say(Report::Surveyed(used)),
            },
            Job::Say(report) => self.say(report),
        };
        if matches!(self.job, Job::None) {
            self.finished = self.finished.wrapping_add(1);
        }
    }

    fn say(&self, report: Report) -> Job {
        match self.line.say(report) {
            Ok(()) => Job::None,
            Err(report) => Job::Say(report),
        }
    }
}

/// Whether a session is the copy of a leg that another worker has.
const fn is_copy(s: &Session) -> bool {
    s.is_tunnels() && s.is(flags::BORROWED)
}

/// Tells matching rows from entry `at` on; where to go on, or `None` once all is told.
fn dump(line: &Line, nat: &Nat, table: Table, filter: &Filter, at: u32, now: Tick) -> Option<u32> {
    let end = match table {
        Table::Sessions => nat.sessions.end(),
        Table::Mappings => nat.mappings.end(),
        // What their lent legs carried is told behind them.
        Table::Tunnels => nat.vpn.tunnels.end().saturating_add(nat.vpn.loans.end()),
        Table::Subscribers => nat.subscribers.end(),
    };
    for slot in at..end.min(at.saturating_add(SLICE)) {
        if !line.has_room() {
            return Some(slot);
        }
        if let Some(row) = row(nat, table, filter, slot, now) {
            line.tell(row);
        }
    }
    let at = at.saturating_add(SLICE);
    if at < end || !line.has_room() {
        return Some(at.min(end));
    }
    line.tell(Row::End);
    None
}

fn row(nat: &Nat, table: Table, filter: &Filter, slot: u32, now: Tick) -> Option<Row> {
    Some(match table {
        Table::Sessions => {
            // Copies of legs that other workers have are told there.
            let s = nat.sessions.get(SessionId(slot)).filter(|s| !is_copy(s) && filter.session(s))?;
            let deadline = if s.is_tunnels() { nat.leg_deadline(s) } else { s.last_used.after(nat.timeout(s)) };
            Row::Session(SessionRow::of(s, deadline, now))
        }
        Table::Mappings => {
            let m = nat.mappings.get(MappingId(slot)).filter(|m| m.is_used() && filter.mapping(m))?;
            Row::Mapping(m.into())
        }
        Table::Tunnels => match slot.checked_sub(nat.vpn.tunnels.end()) {
            None => Row::Tunnel(nat.tunnel_row(TunnelId(slot), now).filter(|t| filter.tunnel(t))?),
            Some(number) => Row::Lent(nat.lent_row(number)?),
        },
        Table::Subscribers => {
            let s = nat.subscribers.get(SubscriberId(slot));
            let s = s.filter(|s| !s.addr.is_unspecified() && filter.subscriber(s))?;
            Row::Subscriber(s.into())
        }
    })
}

/// Ends matching sessions; `Err` with the report once all were looked at.
fn flush(nat: &mut Nat, filter: Filter, so_far: (u32, u64, u64), now: Tick) -> Result<Job, Report> {
    let (at, mut sessions, mut tunnels) = so_far;
    let end = nat.sessions.end();
    for slot in at..end.min(at.saturating_add(SLICE)) {
        let id = SessionId(slot);
        if !nat.vpn.loans.has_room() {
            // What ends may have to be told to other workers; it goes on when they took that.
            return Ok(Job::Flush { filter, at: slot, sessions, tunnels });
        }
        let Some(s) = nat.sessions.get(id).copied().filter(|s| !is_copy(s) && filter.session(s)) else { continue };
        if s.is_tunnels() {
            // A tunnel goes with all its legs; those that come later in the table are gone then.
            nat.end_tunnel(TunnelId(s.owner));
            tunnels += 1;
        } else if nat.close(id, now).is_some() {
            sessions += 1;
        }
    }
    let at = at.saturating_add(SLICE);
    if at < end { Ok(Job::Flush { filter, at, sessions, tunnels }) } else { Err(Report::Flushed { sessions, tunnels }) }
}

/// Counts what uses addresses that drain, mappings first; where to go on, or `None` once all is counted.
fn survey(nat: &Nat, used: &mut [u32], at: u32) -> Option<u32> {
    let (mappings, tunnels) = (nat.mappings.end(), nat.vpn.tunnels.end());
    let end = mappings.saturating_add(tunnels);
    for slot in at..end.min(at.saturating_add(SLICE)) {
        let address = if slot < mappings {
            let m = nat.mappings.get(MappingId(slot)).filter(|m| m.is_live() || m.guests > 0);
            m.map(|m| m.outside.0.addr)
        } else {
            nat.vpn.tunnels.get(TunnelId(slot - mappings)).map(|t| t.outside)
        };
        let number = address.and_then(|a| nat.rules.pool_number(a));
        let place = number.and_then(|n| n.checked_sub(nat.rules.pool_size()));
        if let Some(count) = place.and_then(|p| used.get_mut(p as usize)) {
            *count = count.saturating_add(1);
        }
    }
    let at = at.saturating_add(SLICE);
    (at < end).then_some(at)
}
