//! CPUs: instructions, clock, and whether workers have CPUs of their own.

use super::Needs;
use super::host::{Host, field, ranges};
use super::nic::Nic;
use super::report::Findings;
use crate::machine;
use std::collections::BTreeSet;

const CPUS: &str = "sys/devices/system/cpu";

/// CPUs that a process of ours may use.
pub(super) fn usable(host: &Host) -> Vec<usize> {
    let allowed = host.allowed_cpus();
    let online = host.list(format!("{CPUS}/online"));
    // A copy of another machine's files may lack one or the other. What is allowed may name CPUs that are not there.
    match (allowed.is_empty(), online.is_empty()) {
        (true, _) => online,
        (false, true) => allowed,
        (false, false) => allowed.into_iter().filter(|c| online.contains(c)).collect(),
    }
}

pub(super) fn examine(host: &Host, needs: &Needs, nics: &[Nic], found: &mut Findings) {
    instructions(host, found);
    let cpus = usable(host);
    let workers: Vec<usize> = match machine::places(&needs.workers, &cpus) {
        Ok(places) => places.iter().filter_map(|p| p.cpu).collect(),
        Err(e) => return found.missing("workers", e.to_string(), &["change runtime.workers in the configuration"]),
    };
    let distinct: BTreeSet<usize> = workers.iter().copied().collect();
    if distinct.len() < workers.len() {
        let message = format!("{} workers share {} CPUs", workers.len(), distinct.len());
        found.advice(
            "workers",
            message,
            &["lower runtime.workers in the configuration, or give the machine more CPUs"],
        );
    }
    let distinct: Vec<usize> = distinct.into_iter().collect();
    isolation(host, &distinct, &cpus, found);
    siblings(host, &distinct, found);
    governor(host, &distinct, found);
    nodes(host, &distinct, nics, found);
}

/// DPDK for x86 is compiled for SSE4.2, and its clock is the time-stamp counter.
fn instructions(host: &Host, found: &mut Findings) {
    let Some(info) = host.text("proc/cpuinfo") else {
        return found.advice("cpu", "/proc/cpuinfo cannot be read, so the CPU's instructions are not known", &[]);
    };
    let Some(flags) = field(&info, "flags") else {
        return found.advice("cpu", "this is no x86 CPU; Underpass is made for and tested on x86-64", &[]);
    };
    let flags: BTreeSet<&str> = flags.split_whitespace().collect();
    let model = field(&info, "model name").unwrap_or_else(|| "CPU".to_owned());
    if !flags.contains("sse4_2") {
        found.missing(
            "cpu",
            format!("{model} has no SSE4.2, which DPDK is compiled for"),
            &["on a virtual machine, give the guest the host's CPU model (libvirt: <cpu mode='host-passthrough'/>)"],
        );
    } else if !(flags.contains("constant_tsc") && flags.contains("nonstop_tsc")) {
        found.advice(
            "cpu",
            format!("{model}: the time-stamp counter is not invariant, so timers and figures may drift"),
            &["on a virtual machine, let the guest have it (libvirt: <feature policy='require' name='invtsc'/>)"],
        );
    } else {
        let widest = ["avx512f", "avx2", "avx", "sse4_2"].into_iter().find(|f| flags.contains(f)).unwrap_or("sse4_2");
        let cpus = usable(host);
        found.ok("cpu", format!("{model}; {widest}, invariant time-stamp counter, CPUs {}", ranges(&cpus)));
    }
}

/// Whatever else the kernel runs on a worker's CPU makes packets wait.
fn isolation(host: &Host, workers: &[usize], cpus: &[usize], found: &mut Findings) {
    if cpus.len() < 2 {
        return found.advice(
            "isolation",
            "there is one CPU: the worker shares it with everything else",
            &["set runtime.idle = \"yield\", or give the machine more CPUs"],
        );
    }
    let isolated: BTreeSet<usize> = host.list(format!("{CPUS}/isolated")).into_iter().collect();
    let shared: Vec<usize> = workers.iter().copied().filter(|c| !isolated.contains(c)).collect();
    if shared.is_empty() {
        return found.ok("isolation", format!("the workers' CPUs {} are isolated", ranges(workers)));
    }
    let all = ranges(workers);
    let line = format!(
        "add to GRUB_CMDLINE_LINUX in /etc/default/grub: isolcpus={all} nohz_full={all} rcu_nocbs={all} \
         then: update-grub && reboot"
    );
    let message = format!("the scheduler may put other work on the workers' CPU(s) {}", ranges(&shared));
    found.advice("isolation", message, &[&line]);
}

/// Two hardware threads of one core take turns.
fn siblings(host: &Host, workers: &[usize], found: &mut Findings) {
    let mut told = BTreeSet::new();
    for &cpu in workers {
        let threads = host.list(format!("{CPUS}/cpu{cpu}/topology/thread_siblings_list"));
        let both: Vec<usize> = threads.into_iter().filter(|t| workers.contains(t)).collect();
        if both.len() > 1 && told.insert(both.clone()) {
            let message = format!("the workers' CPUs {} are hardware threads of one core", ranges(&both));
            found.advice("cores", message, &["name one CPU a core in runtime.workers"]);
        }
    }
}

fn governor(host: &Host, workers: &[usize], found: &mut Findings) {
    let slow = workers.iter().copied().filter(|cpu| {
        let text = host.text(format!("{CPUS}/cpu{cpu}/cpufreq/scaling_governor"));
        text.is_some_and(|governor| governor != "performance")
    });
    let slow: Vec<usize> = slow.collect();
    if !slow.is_empty() {
        let message = format!("CPU(s) {} change their frequency", ranges(&slow));
        found.advice("frequency", message, &["cpupower frequency-set --governor performance"]);
    }
}

/// A worker on one node with a NIC on another reads every packet across.
fn nodes(host: &Host, workers: &[usize], nics: &[Nic], found: &mut Findings) {
    let nodes: Vec<usize> = host.list("sys/devices/system/node/online");
    if nodes.len() < 2 {
        return;
    }
    for nic in nics {
        let Some(node) = nic.node else { continue };
        let near = host.list(format!("sys/devices/system/node/node{node}/cpulist"));
        let far: Vec<usize> = workers.iter().copied().filter(|cpu| !near.contains(cpu)).collect();
        if far.is_empty() {
            found.ok("numa", format!("{} and the workers are on node {node}", nic.address));
        } else {
            let message = format!("{} is on node {node}, the workers' CPU(s) {} are not", nic.address, ranges(&far));
            found.advice("numa", message, &[&format!("name some of the CPUs {} in runtime.workers", ranges(&near))]);
        }
    }
}
