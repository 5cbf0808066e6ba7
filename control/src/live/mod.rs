//! The running dataplane as the control thread holds it, and what it answers to requests.
//!
//! ```text
//! snapshot  what counters, devices and the model tell at once     dump    what only workers can tell, row by row
//! json      the rows as they are sent                             change  orders to all workers that end with a report
//! ```

mod change;
mod dump;
mod json;
mod snapshot;

use crate::account::Report;
use crate::api::protocol::{Code, Line, Problem, Request, Written};
use crate::api::socket::Peer;
use crate::engine::Engine;
use crate::machine::Place;
use change::Change;
use config::Model;
use dump::Dump;
use serde_json::Value;
use std::time::{Instant, SystemTime};

/// See the module.
pub(crate) struct Live {
    pub(super) engine: Engine,
    pub(super) model: Model,
    pub(super) places: Vec<Place>,
    pub(super) started: Instant,
    /// The same by the calendar.
    since: SystemTime,
    /// The dump whose rows come now, one at a time.
    dump: Option<Dump>,
    /// The change that workers carry out now, one at a time.
    change: Option<Change>,
    /// The number of the latest task.
    last: u64,
}

/// An answer: at once, or as it goes on.
pub(crate) enum Answer {
    /// Rows and the end.
    Now(Vec<Value>, Value),
    /// To be asked for by [`Live::go_on`].
    Later(Task),
}

/// What is being answered.
#[derive(Debug)]
pub(crate) enum Task {
    /// A dump.
    Dump(dump::Request),
    /// A flush.
    Flush(change::Request),
}

impl Live {
    pub(crate) fn new(engine: Engine, model: Model, places: Vec<Place>) -> Self {
        Self {
            engine,
            model,
            places,
            started: Instant::now(),
            since: SystemTime::now(),
            dump: None,
            change: None,
            last: 0,
        }
    }

    /// Each worker's counters.
    pub(crate) fn counters(&self) -> &[std::sync::Arc<dataplane::verdict::Counters>] {
        &self.engine.counters
    }

    /// Whether every worker runs.
    pub(crate) fn is_alive(&self) -> bool {
        self.engine.is_alive()
    }

    /// What goes on whoever waits for it.
    pub(crate) fn turn(&mut self) {
        crate::account::log_notices(&self.engine.counters);
        if let Some(dump) = &mut self.dump {
            dump.turn(&self.engine.lines);
            if dump.is_drained() {
                self.dump = None;
            }
        }
        if let Some(change) = &mut self.change {
            change.turn(&self.engine.lines);
            if change.is_forgotten() {
                self.change = None;
            }
        }
    }

    /// Ends it.
    pub(crate) fn stop(self) -> anyhow::Result<Report> {
        self.engine.stop()
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Begins to answer.
    pub(crate) fn begin(&mut self, request: &Request, peer: &Peer) -> Result<Answer, Problem> {
        match request {
            Request::Show { what, filter } => {
                let read = filter.filter()?;
                match what.table() {
                    Some(table) => Ok(Answer::Later(Task::Dump(dump::Request::new(self.number(), table, read)))),
                    None if *filter != Written::default() => {
                        let tables = "sessions, mappings, subscribers and vpn";
                        Err(Problem::new(Code::BadFilter, format!("only {tables} take a filter")))
                    }
                    None => {
                        let rows = self.snapshot(*what);
                        let end = serde_json::json!({ "rows": rows.len() });
                        Ok(Answer::Now(rows, end))
                    }
                }
            }
            Request::Flush { filter, all } => {
                let filter = filter.filter()?;
                if filter.is_empty() != *all {
                    let message = "give a filter, or \"all\": true to end every session and tunnel; not both";
                    return Err(Problem::new(Code::BadRequest, message));
                }
                tracing::warn!("flush of {filter:?}, asked for by user {} (process {})", peer.uid, peer.pid);
                Ok(Answer::Later(Task::Flush(change::Request::flush(self.number(), filter))))
            }
        }
    }

    /// Goes on with an answer until `output` holds `full` bytes. Says whether it is complete.
    pub(crate) fn go_on(&mut self, task: &mut Task, output: &mut Vec<u8>, full: usize) -> bool {
        match task {
            Task::Dump(request) => {
                let dump = self.dump.get_or_insert_with(|| Dump::begin(request, self.engine.lines.len()));
                if !dump.is_of(request) {
                    return false;
                }
                let Some(rows) = dump.go_on(request, &self.engine.lines, output, full) else { return false };
                self.dump = None;
                Line::End(serde_json::json!({ "rows": rows })).write(output);
                true
            }
            Task::Flush(request) => {
                let change = self.change.get_or_insert_with(|| Change::begin(request, self.engine.lines.len()));
                if !change.is_of(request) {
                    return false;
                }
                change.turn(&self.engine.lines);
                let Some(end) = change.result() else { return false };
                self.change = None;
                Line::End(end).write(output);
                true
            }
        }
    }

    /// Nobody waits for the answer any more.
    pub(crate) fn abandon(&mut self, task: Task) {
        match task {
            Task::Dump(request) => {
                if let Some(dump) = self.dump.as_mut().filter(|d| d.is_of(&request)) {
                    dump.abandon();
                }
            }
            Task::Flush(request) => {
                if let Some(change) = self.change.as_mut().filter(|c| c.is_of(&request)) {
                    change.abandon();
                }
            }
        }
    }
}
