//! Memory: hugepages for packet buffers by size and node, ordinary memory for tables.

use super::Needs;
use super::host::Host;
use super::nic::Nic;
use super::report::Findings;
use config::Memory;

/// Hugepages of one size on one node, or on all.
struct Pages {
    kilobytes: u64,
    total: u64,
    free: u64,
}

impl Pages {
    fn below(host: &Host, folder: &str) -> Vec<Self> {
        let number = |path: String| host.number(path).and_then(|n| u64::try_from(n).ok());
        let sizes = host.names(folder).into_iter().filter_map(|name| {
            let kilobytes = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let total = number(format!("{folder}/{name}/nr_hugepages"))?;
            let free = number(format!("{folder}/{name}/free_hugepages"))?;
            Some(Self { kilobytes, total, free })
        });
        let mut sizes: Vec<_> = sizes.collect();
        sizes.sort_by_key(|s| s.kilobytes);
        sizes
    }

    fn free_megabytes(sizes: &[Self]) -> u64 {
        sizes.iter().map(|s| s.kilobytes * s.free / 1024).sum()
    }

    /// `512 of 2 MB (500 free)`; sizes without any are left out.
    fn told(sizes: &[Self]) -> String {
        let told = sizes.iter().filter(|s| s.total > 0);
        let told: Vec<_> =
            told.map(|s| format!("{} of {} MB ({} free)", s.total, s.kilobytes / 1024, s.free)).collect();
        if told.is_empty() { "none".to_owned() } else { told.join(", ") }
    }
}

pub(super) fn examine(host: &Host, needs: &Needs, nics: &[Nic], found: &mut Findings) {
    let hugepages = hugepages(host, needs, found);
    if hugepages {
        nodes(host, needs, nics, found);
    }
    ordinary(host, needs, hugepages, found);
}

/// Whether there are enough.
fn hugepages(host: &Host, needs: &Needs, found: &mut Findings) -> bool {
    if needs.memory == Memory::Ordinary {
        found.ok("hugepages", "not asked for: runtime.memory = \"ordinary\"");
        return false;
    }
    let sizes = Pages::below(host, "sys/kernel/mm/hugepages");
    let need = needs.buffer_megabytes;
    let told = Pages::told(&sizes);
    if Pages::free_megabytes(&sizes) >= need {
        found.ok("hugepages", format!("{told}; {need} MB are needed"));
        return true;
    }
    let message = format!("{told}; {need} MB are needed free");
    // The kernel's default size is the one that /proc/sys/vm/nr_hugepages counts.
    let kilobytes = host.memory_kilobytes("Hugepagesize").unwrap_or(2048).max(1);
    let default = sizes.iter().find(|s| s.kilobytes == kilobytes);
    let used = default.map_or(0, |s| s.total - s.free.min(s.total));
    let command = format!("underpass doctor --fix-hugepages {}", used + (need * 1024).div_ceil(kilobytes));
    let remedies: Vec<&str> = if sizes.is_empty() {
        vec!["use a kernel with CONFIG_HUGETLBFS, or set runtime.memory = \"ordinary\""]
    } else {
        vec![&command]
    };
    if needs.memory == Memory::Hugepages {
        found.missing("hugepages", message, &remedies);
    } else {
        found.advice("hugepages", format!("{message}; ordinary memory works, about half as fast"), &remedies);
    }
    false
}

/// A NIC's packets should lie on its own node.
fn nodes(host: &Host, needs: &Needs, nics: &[Nic], found: &mut Findings) {
    let nodes = host.list("sys/devices/system/node/online");
    if nodes.len() < 2 {
        return;
    }
    let mut wanted: Vec<usize> = nics.iter().filter_map(|nic| nic.node).collect();
    wanted.sort_unstable();
    wanted.dedup();
    for node in wanted {
        let folder = format!("sys/devices/system/node/node{node}/hugepages");
        let sizes = Pages::below(host, &folder);
        let topic = format!("node {node}");
        if Pages::free_megabytes(&sizes) >= needs.buffer_megabytes {
            found.ok(&topic, format!("hugepages: {}", Pages::told(&sizes)));
            continue;
        }
        let kilobytes = sizes.first().map_or(2048, |s| s.kilobytes);
        let used = sizes.first().map_or(0, |s| s.total - s.free.min(s.total));
        let pages = used + (needs.buffer_megabytes * 1024).div_ceil(kilobytes);
        found.advice(
            &topic,
            format!("hugepages: {}; the NIC's packets will lie on another node", Pages::told(&sizes)),
            &[&format!("echo {pages} > /{folder}/hugepages-{kilobytes}kB/nr_hugepages")],
        );
    }
}

fn ordinary(host: &Host, needs: &Needs, hugepages: bool, found: &mut Findings) {
    let Some(available) = host.memory_kilobytes("MemAvailable").map(|kilobytes| kilobytes / 1024) else { return };
    // Without hugepages a buffer may take almost twice its size.
    let need = needs.table_megabytes + if hugepages { 0 } else { 2 * needs.buffer_megabytes };
    if available >= need {
        found.ok("memory", format!("{available} MB available; {need} MB are needed besides hugepages"));
    } else {
        found.missing(
            "memory",
            format!("{available} MB available; {need} MB are needed besides hugepages"),
            &["lower nat.sessions, nat.mappings or runtime.buffers in the configuration"],
        );
    }
}
