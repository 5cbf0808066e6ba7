//! How each port's device brings packets to the workers that own them: settled at start by what the device reports, taken
//! back level by level where it refuses, and kept with the reasons as [`PortSteering`].
//!
//! One ownership for all ports ([`plan`]), then each device is programmed ([`arm`]) with keys, tables and [`rules`].
//! Handoff covers whatever is left, so nothing here can fail.

mod arm;
mod plan;
mod report;
mod rules;

pub(crate) use report::PortSteering;

use crate::engine::PortPlan;
use arm::Fresh;
use config::Steering;
use dataplane::policy::{Level, Policy, Rules, Traffic};
use dpdk::{PortInfo, Started};
use plan::{Candidate, Plan};

/// Settles how finely ownership is cut, programs the devices, and notes in the policy what they were told.
pub(crate) fn steer(
    started: &mut [Started],
    plans: &[PortPlan],
    policy: &mut Policy,
    workers: u8,
) -> anyhow::Result<Vec<PortSteering>> {
    let infos = started.iter().map(|s| s.port.info()).collect::<Result<Vec<PortInfo>, _>>()?;
    let candidates: Vec<Candidate<'_>> = plans
        .iter()
        .zip(&infos)
        .zip(started.iter())
        .map(|((plan, info), s)| Candidate {
            side: plan.side,
            steering: plan.steering,
            info,
            queues: u16::try_from(s.rx.len()).unwrap_or(u16::MAX),
        })
        .collect();
    let mut plan = Plan::new(policy.seed, workers, &policy.port_range, &candidates);
    policy.grain = plan.grain();
    let rules = Rules::new(policy.clone(), workers);
    let mut reports = Vec::new();
    for ((s, port), candidate) in started.iter_mut().zip(plans).zip(&candidates) {
        let by_key = plan.by_key(candidate);
        let fresh = Fresh { name: &port.name, vlan: port.vlan, candidate, by_key };
        let report = arm::arm(&mut s.port, &fresh, &plan, &rules);
        warn_of_less(port, &report);
        reports.push(report);
    }
    policy.steered = reports.iter().map(PortSteering::steered).collect();
    Ok(reports)
}

/// Whoever names a level wants it; with "auto" falling back is no news.
fn warn_of_less(plan: &PortPlan, report: &PortSteering) {
    let (named, wanted, kinds) = match plan.steering {
        Steering::Rss => ("rss", Level::RssByKey, &[Traffic::Ports][..]),
        Steering::Flow => ("flow", Level::FlowRules, &[Traffic::Esp, Traffic::L2tpv3][..]),
        Steering::Auto | Steering::Software => return,
    };
    for less in report.settled.iter().filter(|s| kinds.contains(&s.traffic) && s.level < wanted) {
        tracing::warn!(
            "port {}: `steering = \"{named}\"` is not to be had for {}: {}; its packets are handed over in software",
            plan.name,
            less.traffic.name(),
            less.reason
        );
    }
}
