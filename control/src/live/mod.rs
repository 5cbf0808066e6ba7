//! The running dataplane as the control thread holds it, and what it answers to requests.
//!
//! ```text
//! snapshot  what counters, devices and the model tell at once     dump    what only workers can tell, row by row
//! json      the rows as they are sent                             change  orders to all workers that end with a report
//! reload    another configuration while packets flow
//! ```

mod change;
mod dump;
mod json;
mod reload;
mod snapshot;

use crate::account::Report;
use crate::api::protocol::{Code, Line, Problem, Request, Written};
use crate::api::socket::Peer;
use crate::engine::Engine;
use crate::machine::Place;
use change::Change;
use config::Model;
use dataplane::orders::{Filter, Order};
use dump::Dump;
use serde_json::{Value, json};
use std::time::{Instant, SystemTime};

/// The number of a task that nobody waits for.
const NOBODY: u64 = 0;

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
    /// The change that workers carry out now, one at a time, and the task that it is for.
    change: Option<(u64, Change)>,
    /// A change that is done and that a task is to hear of.
    changed: Option<(u64, Value)>,
    /// Addresses that drain: the survey that goes on, the change that lets go of them, and when that was last.
    survey: Option<Change>,
    drained: Option<Change>,
    surveyed: Instant,
    /// Whether sessions are indexed by their remote addresses.
    indexed: bool,
    /// Whether the configuration says what is logged.
    log_is_free: bool,
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
    Flush(u64, Filter),
    /// The file anew; only what it would change, where the flag is set.
    Reload(u64, bool),
}

impl Live {
    pub(crate) fn new(engine: Engine, model: Model, places: Vec<Place>, log_is_free: bool) -> Self {
        let now = Instant::now();
        Self {
            indexed: reload::is_indexed(&engine.rules.policy),
            engine,
            model,
            places,
            started: now,
            since: SystemTime::now(),
            dump: None,
            change: None,
            changed: None,
            survey: None,
            drained: None,
            surveyed: now,
            log_is_free,
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
        if let Some((number, change)) = &mut self.change {
            if change.turn(&self.engine.lines) {
                let end = json!({ "sessions": change.sessions, "tunnels": change.tunnels });
                if *number == NOBODY {
                    tracing::info!("a change that nobody waits for is in force: {end}");
                } else {
                    self.changed = Some((*number, end));
                }
                self.change = None;
            }
        } else {
            self.watch_drains();
        }
    }

    /// Whether a change may begin.
    fn is_quiet(&self) -> bool {
        self.change.is_none() && self.survey.is_none() && self.drained.is_none()
    }

    /// Reads the configuration anew, as a signal asks. What came of it is logged.
    pub(crate) fn reload_by_signal(&mut self) -> bool {
        if !self.is_quiet() {
            return false;
        }
        match self.plan_reload() {
            Ok(plan) if plan.differences.is_empty() => {
                tracing::info!("reload: the configuration says what runs already")
            }
            Ok(plan) => {
                tracing::info!("reload: {} difference(s)", plan.differences.len());
                let change = self.enforce(plan);
                self.change = Some((NOBODY, change));
            }
            Err(problem) => tracing::error!("reload: {}", problem.message),
        }
        true
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
                        let end = json!({ "rows": rows.len() });
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
                Ok(Answer::Later(Task::Flush(self.number(), filter)))
            }
            Request::Reload { dry_run } => {
                if !dry_run {
                    tracing::warn!("reload, asked for by user {} (process {})", peer.uid, peer.pid);
                }
                Ok(Answer::Later(Task::Reload(self.number(), *dry_run)))
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
                Line::End(json!({ "rows": rows })).write(output);
                true
            }
            Task::Flush(number, filter) => {
                let (number, filter) = (*number, *filter);
                self.go_on_change(number, output, |live| {
                    Ok((Vec::new(), Some(Change::new(live.engine.lines.iter().map(|_| Order::Flush(filter))))))
                })
            }
            Task::Reload(number, dry_run) => {
                let (number, dry_run) = (*number, *dry_run);
                self.go_on_change(number, output, |live| {
                    let plan = live.plan_reload()?;
                    let rows = plan.differences.iter().map(|d| json!(d)).collect();
                    let nothing = dry_run || plan.differences.is_empty();
                    Ok((rows, (!nothing).then(|| live.enforce(plan))))
                })
            }
        }
    }

    /// Begins a change when its turn has come, or looks what has become of it. Says whether the answer is complete.
    fn go_on_change(
        &mut self,
        number: u64,
        output: &mut Vec<u8>,
        begin: impl FnOnce(&mut Self) -> Result<(Vec<Value>, Option<Change>), Problem>,
    ) -> bool {
        if let Some((_, end)) = self.changed.take_if(|(of, _)| *of == number) {
            Line::End(end).write(output);
            return true;
        }
        if !self.is_quiet() || self.changed.is_some() {
            return false;
        }
        match begin(self) {
            Ok((rows, change)) => {
                for row in rows {
                    Line::Row(row).write(output);
                }
                match change {
                    Some(change) => {
                        self.change = Some((number, change));
                        false
                    }
                    None => {
                        Line::End(json!({ "sessions": 0, "tunnels": 0 })).write(output);
                        true
                    }
                }
            }
            Err(problem) => {
                Line::<Value>::Error(problem).write(output);
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
            // What has begun is carried out all the same.
            Task::Flush(number, _) | Task::Reload(number, _) => {
                if let Some((of, _)) = self.change.as_mut().filter(|(of, _)| *of == number) {
                    *of = NOBODY;
                }
                self.changed.take_if(|(of, _)| *of == number);
            }
        }
    }
}
