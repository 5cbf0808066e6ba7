//! A device that has started is given its table, keys and rules; what it refuses is taken back, and the reason kept.

use super::PortSteering;
use super::plan::{ByKey, Candidate, Plan};
use super::rules::{port_hash_rules, queue_rules};
use config::Steering;
use dataplane::policy::{Level, Rules, Traffic};
use dataplane::types::Side;
use dpdk::{ActivePort, Errno, FlowRule, PortError, Rss, RssFunctions};

/// A port that has started, and what it is to get.
pub(super) struct Fresh<'a> {
    /// Its name in messages.
    pub(super) name: &'a str,
    /// Whether frames have an 802.1Q tag.
    pub(super) vlan: bool,
    /// What it is.
    pub(super) candidate: &'a Candidate<'a>,
    /// Its key and table, or why it gets none.
    pub(super) by_key: Result<ByKey, String>,
}

const NOT_WHERE_IT_LOOKS: &str = "its owner stands where no device looks";
const ENTRY_0: &str = "has no ports, so the key that is blind to addresses brings all of it to entry 0";

/// Programs the device. The level of each kind of traffic is what held in the end.
pub(super) fn arm(port: &mut ActivePort, fresh: &Fresh<'_>, plan: &Plan, rules: &Rules) -> PortSteering {
    let &Candidate { side, steering, info, queues } = fresh.candidate;
    let software = |reason: &str| PortSteering::software(fresh.name, &info.driver, queues, info.reta_size, reason);
    if rules.sharding.workers() == 1 {
        return software("one worker");
    }
    if steering == Steering::Software {
        return software("`steering` says so");
    }
    if queues < 2 {
        return software("one receive queue");
    }
    let mut report = software(NOT_WHERE_IT_LOOKS);
    match &fresh.by_key {
        Ok(by_key) => match load(port, by_key) {
            Ok(()) => keyed(&mut report, side, by_key),
            Err(reason) => unkeyed(&mut report, &reason),
        },
        Err(reason) => unkeyed(&mut report, reason),
    }
    if steering == Steering::Rss {
        for traffic in [Traffic::Esp, Traffic::L2tpv3] {
            report.set(traffic, Level::Software, "`steering = \"rss\"` uses no flow rules");
        }
        return report;
    }
    port_hash(&mut report, port, fresh, plan);
    for traffic in [Traffic::Ports, Traffic::Pptp, Traffic::Esp, Traffic::L2tpv3] {
        let level = report.steered().level(traffic);
        if level != Level::Software {
            continue;
        }
        let Some(wanted) = queue_rules(rules, side, traffic, queues, fresh.vlan) else { continue };
        match (port.add_rules(&wanted).map_err(|error| refusal(&error)), traffic, &fresh.by_key) {
            (Ok(()), ..) => report.set(traffic, Level::FlowRules, ""),
            // That there is no key is the nearer reason.
            (Err(reason), Traffic::Ports, Err(no_key)) => {
                report.set(traffic, Level::Software, format!("{no_key}; {reason}"));
            }
            (Err(reason), ..) => report.set(traffic, Level::Software, reason),
        }
    }
    report
}

/// Why a device does not take a rule, shortly where it takes none at all.
fn refusal(error: &PortError) -> String {
    match error {
        PortError::Rule { errno: Errno::NotImplemented | Errno::NotSupported, said, .. }
            if said.is_empty() || said.contains("not implemented") =>
        {
            "the driver has no flow rules".into()
        }
        other => other.to_string(),
    }
}

/// Gives the device its key and table, and reads back what it has then.
fn load(port: &mut ActivePort, by_key: &ByKey) -> Result<(), String> {
    let before = port.rss().ok();
    let loaded = port.set_rss(&by_key.rss).and_then(|()| port.set_reta(&by_key.table)).map_err(|e| e.to_string());
    let checked = loaded.and_then(|()| match (port.rss(), port.reta()) {
        (Ok(rss), _) if rss.key != by_key.rss.key => Err("the driver took a hash key and has another one now".into()),
        (_, Ok(table)) if table != by_key.table => {
            Err("the driver took a redirection table and has another one now".into())
        }
        // A driver that cannot be asked is watched by samples, as all are.
        _ => Ok(()),
    });
    if let (Err(_), Some(before)) = (&checked, before) {
        // Its own key spreads better than one that stays without its table.
        let _ = port.set_rss(&before);
    }
    checked
}

fn keyed(report: &mut PortSteering, side: Side, by_key: &ByKey) {
    match side {
        Side::Inside => {
            let others = by_key.rss.functions.and(RssFunctions::IPV4 | RssFunctions::IPV4_OTHER);
            for traffic in [Traffic::Ports, Traffic::Icmp, Traffic::Pptp] {
                let addresses = !others.is_empty();
                if traffic == Traffic::Ports || addresses {
                    report.set(traffic, Level::RssByKey, "");
                } else {
                    report.set(traffic, Level::Software, "the device hashes no other protocols than TCP and UDP");
                }
            }
        }
        Side::Outside => {
            report.set(Traffic::Ports, Level::RssByKey, "");
            report.set(Traffic::Icmp, Level::Software, ENTRY_0);
            report.entry0 = by_key.entry0.map(|worker| worker.0);
        }
    }
}

fn unkeyed(report: &mut PortSteering, reason: &str) {
    for traffic in [Traffic::Ports, Traffic::Icmp, Traffic::Pptp] {
        report.set(traffic, Level::Software, reason);
    }
}

/// Tries to leave the addresses of TCP and UDP out of an outside port's hash by the driver's own means, so that its key
/// may mix the addresses of what has no ports. A key of its own works everywhere that rules with keys do; "the destination
/// port alone" means so only to some drivers.
fn port_hash(report: &mut PortSteering, port: &mut ActivePort, fresh: &Fresh<'_>, plan: &Plan) {
    let Ok(by_key) = &fresh.by_key else { return };
    let info = fresh.candidate.info;
    if fresh.candidate.side == Side::Inside || report.steered().level(Traffic::Ports) != Level::RssByKey {
        return;
    }
    let len = usize::from(info.hash_key_size);
    let (level, rules): (_, Vec<FlowRule>) = match info.driver.as_str() {
        "mlx5_pci" | "net_mlx5" | "mlx5_auxiliary" => {
            (Level::KeyPerRule, port_hash_rules(fresh.vlan, Some(&plan.outside_key(len)), &by_key.table))
        }
        "net_i40e" | "net_ice" | "net_iavf" => (Level::PortHash, port_hash_rules(fresh.vlan, None, &[])),
        driver => {
            report.set(Traffic::Ports, Level::RssByKey, format!("{driver} cannot hash the destination port alone"));
            return;
        }
    };
    let keep = |report: &mut PortSteering, reason: String| report.set(Traffic::Ports, Level::RssByKey, reason);
    if let Err(error) = port.add_rules(&rules) {
        return keep(report, refusal(&error));
    }
    // Only now, as without the rules this key would mix the addresses of TCP and UDP too.
    let mixing = Rss { functions: by_key.rss.functions, key: Some(plan.outside_key_by_address(len)) };
    if let Err(error) = port.set_rss(&mixing) {
        let _ = port.remove_rules();
        let _ = port.set_rss(&by_key.rss);
        return keep(report, error.to_string());
    }
    report.set(Traffic::Ports, level, "");
    report.entry0 = None;
    report.set(Traffic::Icmp, Level::Software, "spread by address; its owner stands where no device looks");
}
