//! Another configuration while packets flow: read, checked, compared; then all of what differs is put into force, or
//! nothing.

use super::Live;
use super::change::Change;
use crate::api::protocol::{Code, Problem};
use crate::lower;
use config::{Difference, Model};
use dataplane::orders::{self, Order};
use dataplane::policy::{Filtering, Policy, Rules};
use dataplane::types::WorkerId;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Addresses that drain are looked at so often.
const SURVEY: Duration = Duration::from_secs(1);

/// What is to be put into force.
pub(crate) struct Plan {
    /// What differs.
    pub(crate) differences: Vec<Difference>,
    model: Model,
}

impl Live {
    /// Reads the file anew and compares it with what runs.
    pub(crate) fn plan_reload(&self) -> Result<Plan, Problem> {
        let file = self.model.file().to_owned();
        let checked = config::load(Path::new(&file))
            .map_err(|report| Problem::new(Code::Refused, format!("nothing was changed:\n{report}")))?;
        for w in &checked.warnings {
            tracing::warn!("{w}");
        }
        self.plan(checked.model)
    }

    /// Compares a model with what runs.
    pub(crate) fn plan(&self, model: Model) -> Result<Plan, Problem> {
        let differences = self.model.differences(&model);
        let fixed: Vec<String> = differences
            .iter()
            .filter(|d| !d.live || self.needs_index(d))
            .map(|d| format!("  {d}: needs a restart"))
            .collect();
        if fixed.is_empty() {
            return Ok(Plan { differences, model });
        }
        let message = format!("nothing was changed, as this cannot change while it runs:\n{}", fixed.join("\n"));
        Err(Problem::new(Code::Refused, message))
    }

    /// Sessions are indexed by their remote addresses only where they were from the start.
    fn needs_index(&self, d: &Difference) -> bool {
        d.key == "nat.filtering" && d.after.as_deref() == Some("address-dependent") && !self.indexed
    }

    /// Puts a plan into force; what came of it is told when all workers have gone over to it.
    pub(super) fn enforce(&mut self, plan: Plan) -> Change {
        let old = Arc::clone(&self.engine.rules);
        let macs: Vec<_> = old.policy.ports.iter().map(|p| p.mac).collect();
        let mut policy = lower::policy(&plan.model, &macs, old.policy.seed);
        policy.steered.clone_from(&old.policy.steered);
        policy.draining = drained(&old.policy, &policy);
        for d in &plan.differences {
            tracing::info!("{d}");
        }
        if let Some(level) = self.log_is_free.then(|| plan.model.control().log.as_str()) {
            crate::cli::log_level(level);
        }
        self.model = plan.model;
        self.publish(policy)
    }

    fn publish(&mut self, policy: Policy) -> Change {
        let old = Arc::clone(&self.engine.rules);
        let workers = old.sharding.workers();
        let new = Arc::new(Rules::new(policy, workers));
        self.engine.rules = Arc::clone(&new);
        let order = |id| Order::Change(Box::new(orders::Change::new(&old, Arc::clone(&new), WorkerId(id))));
        Change::new((0..workers).map(order))
    }

    /// Looks now and then whether addresses that drain are still in use, and lets go of those that are not.
    pub(super) fn watch_drains(&mut self) {
        let rules = Arc::clone(&self.engine.rules);
        if let Some(survey) = &mut self.survey {
            if !survey.turn(&self.engine.lines) {
                return;
            }
            let used = std::mem::take(&mut survey.used);
            self.survey = None;
            let numbers = rules.pool_size()..rules.pool_total();
            let idle: Vec<Ipv4Addr> = numbers
                .zip(&used)
                .filter(|(_, n)| **n == 0)
                .filter_map(|(number, _)| rules.pool_address(number))
                .collect();
            if !idle.is_empty() {
                for addr in &idle {
                    tracing::info!("{addr} has drained: nothing uses it any more");
                }
                let mut policy = rules.policy.clone();
                policy.draining.retain(|r| !idle.contains(r.start()));
                self.drained = Some(self.publish(policy));
            }
            return;
        }
        if let Some(change) = &mut self.drained {
            if change.turn(&self.engine.lines) {
                self.drained = None;
            }
            return;
        }
        if !rules.policy.draining.is_empty() && self.change.is_none() && self.surveyed.elapsed() >= SURVEY {
            self.surveyed = Instant::now();
            let places = (rules.pool_total() - rules.pool_size()) as usize;
            let order = |_| Order::Survey(vec![0; places].into_boxed_slice());
            self.survey = Some(Change::new((0..self.engine.lines.len()).map(order)));
        }
    }
}

/// Whether sessions are indexed by their remote addresses.
pub(super) fn is_indexed(policy: &Policy) -> bool {
    policy.filtering == Filtering::AddressDependent
}

/// The addresses that were ours and are not in the new pool, one a range; not those that have another use now.
fn drained(old: &Policy, new: &Policy) -> Vec<RangeInclusive<Ipv4Addr>> {
    let all = |ranges: &[RangeInclusive<Ipv4Addr>]| -> BTreeSet<u32> {
        ranges.iter().flat_map(|r| r.start().to_bits()..=r.end().to_bits()).collect()
    };
    let was = &all(&old.pool) | &all(&old.draining);
    let given = |a: &Ipv4Addr| new.statics.iter().any(|s| s.outside == *a);
    let gone = (&was - &all(&new.pool)).into_iter().map(Ipv4Addr::from_bits);
    gone.filter(|a| !given(a)).map(|a| a..=a).collect()
}
