//! An order to all workers that each of them reports on: a flush, new rules, a survey of addresses that drain.

use dataplane::orders::{Line, Order, Report};
use std::fmt;
use std::sync::Arc;

/// The one that goes on.
pub(super) struct Change {
    orders: Vec<Option<Order>>,
    done: Vec<bool>,
    /// What ended.
    pub(super) sessions: u64,
    pub(super) tunnels: u64,
    /// What each address that drains still has, over all workers.
    pub(super) used: Vec<u32>,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change").field("done", &self.done).finish_non_exhaustive()
    }
}

impl Change {
    /// Of an order for each worker.
    pub(super) fn new(orders: impl Iterator<Item = Order>) -> Self {
        let orders: Vec<_> = orders.map(Some).collect();
        Self { done: vec![false; orders.len()], orders, sessions: 0, tunnels: 0, used: Vec::new() }
    }

    /// Gives orders and takes reports; frees what comes back. Says whether all workers are done.
    pub(super) fn turn(&mut self, lines: &[Arc<Line>]) -> bool {
        for ((line, order), done) in lines.iter().zip(&mut self.orders).zip(&mut self.done) {
            if let Some(ready) = order.take()
                && let Err(busy) = line.post(ready)
            {
                *order = Some(busy.0);
            }
            while let Some(report) = line.report() {
                *done = true;
                match report {
                    Report::Flushed { sessions, tunnels } => {
                        self.sessions += sessions;
                        self.tunnels += tunnels;
                    }
                    // The old rules are in it: the last of them to come back frees them, on this thread.
                    Report::Changed(change) => {
                        self.sessions += change.sessions;
                        self.tunnels += change.tunnels;
                    }
                    Report::Surveyed(used) => {
                        self.used.resize(used.len(), 0);
                        self.used.iter_mut().zip(used).for_each(|(sum, n)| *sum = sum.saturating_add(n));
                    }
                }
            }
        }
        self.done.iter().all(|d| *d)
    }
}
