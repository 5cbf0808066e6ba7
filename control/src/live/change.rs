//! An order to all workers that each of them reports on.

use dataplane::orders::{Filter, Line, Order, Report};
use serde_json::{Value, json};
use std::sync::Arc;

/// What somebody asked for.
#[derive(Debug)]
pub(crate) struct Request {
    number: u64,
    filter: Filter,
}

impl Request {
    pub(super) const fn flush(number: u64, filter: Filter) -> Self {
        Self { number, filter }
    }
}

/// The one that goes on.
#[derive(Debug)]
pub(super) struct Change {
    number: u64,
    orders: Vec<Option<Order>>,
    done: Vec<bool>,
    sessions: u64,
    tunnels: u64,
    abandoned: bool,
}

impl Change {
    pub(super) fn begin(request: &Request, workers: usize) -> Self {
        Self {
            number: request.number,
            orders: (0..workers).map(|_| Some(Order::Flush(request.filter))).collect(),
            done: vec![false; workers],
            sessions: 0,
            tunnels: 0,
            abandoned: false,
        }
    }

    pub(super) const fn is_of(&self, request: &Request) -> bool {
        self.number == request.number && !self.abandoned
    }

    /// Nobody waits for it; it is carried out all the same.
    pub(super) const fn abandon(&mut self) {
        self.abandoned = true;
    }

    pub(super) fn is_forgotten(&self) -> bool {
        self.abandoned && self.is_done()
    }

    fn is_done(&self) -> bool {
        self.done.iter().all(|d| *d)
    }

    /// Gives orders and takes reports.
    pub(super) fn turn(&mut self, lines: &[Arc<Line>]) {
        for ((line, order), done) in lines.iter().zip(&mut self.orders).zip(&mut self.done) {
            if let Some(ready) = order.take()
                && let Err(busy) = line.post(ready)
            {
                *order = Some(busy.0);
            }
            while let Some(report) = line.report() {
                let Report::Flushed { sessions, tunnels } = report;
                self.sessions += sessions;
                self.tunnels += tunnels;
                *done = true;
            }
        }
    }

    /// What came of it, once all workers are done.
    pub(super) fn result(&self) -> Option<Value> {
        self.is_done().then(|| json!({ "sessions": self.sessions, "tunnels": self.tunnels }))
    }
}
