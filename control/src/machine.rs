//! What the machine offers: CPUs for workers, memory for DPDK, devices for ports.

use anyhow::{Context, bail};
use config::{Device, Model, Port, Severity, Workers};
use dataplane::types::MAX_WORKERS;
use std::path::Path;

/// A worker's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The CPU that it is pinned to; `None` where the system does not tell its CPUs.
    pub(crate) cpu: Option<usize>,
}

/// CPUs that this process may use, in order.
pub(crate) fn cpus() -> Vec<usize> {
    let mut ids: Vec<_> = core_affinity::get_core_ids().unwrap_or_default().iter().map(|c| c.id).collect();
    ids.sort_unstable();
    ids
}

/// One place a worker.
///
/// # Errors
/// A CPU that is not there.
pub(crate) fn places(workers: &Workers, cpus: &[usize]) -> anyhow::Result<Vec<Place>> {
    // The first CPU is the control thread's; workers share it only when they must.
    let mut order: Vec<Option<usize>> = cpus.iter().skip(1).chain(cpus.first()).copied().map(Some).collect();
    if order.is_empty() {
        order.push(None);
    }
    let place = |cpu| Place { cpu };
    match workers {
        Workers::Auto => {
            let n = order.len().saturating_sub(1).clamp(1, MAX_WORKERS);
            Ok(order.into_iter().take(n).map(place).collect())
        }
        Workers::Count(n) => Ok(order.into_iter().cycle().take(*n).map(place).collect()),
        Workers::Cpus(wanted) => {
            if let Some(missing) = wanted.iter().find(|c| !cpus.contains(c)) {
                bail!("runtime.workers names CPU {missing}, and this process may use {cpus:?}; write one of those");
            }
            Ok(wanted.iter().map(|&c| place(Some(c))).collect())
        }
    }
}

/// Memory for DPDK: hugepages or ordinary, and how it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Hugepages.
    Hugepages {
        /// Free now.
        free_megabytes: u64,
    },
    /// Ordinary pages.
    Ordinary {
        /// Taken at start.
        megabytes: u32,
    },
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hugepages { free_megabytes } => write!(f, "hugepages ({free_megabytes} MB of them free)"),
            Self::Ordinary { megabytes } => write!(
                f,
                "ordinary memory ({megabytes} MB); hugepages are about twice as fast: \
                 write a number to /proc/sys/vm/nr_hugepages"
            ),
        }
    }
}

/// Megabytes that DPDK needs besides packet buffers.
const OVERHEAD_MB: u64 = 32;

/// Megabytes of hugepages that `buffers` bytes of packet buffers need.
pub(crate) const fn needed_megabytes(buffers: u64) -> u64 {
    buffers / (1 << 20) + OVERHEAD_MB
}

/// Which memory to use for `buffers` bytes of packet buffers.
///
/// # Errors
/// Hugepages are demanded and there are too few.
pub(crate) fn memory(wanted: config::Memory, buffers: u64) -> anyhow::Result<Memory> {
    let need = needed_megabytes(buffers);
    let free: u64 = dpdk::Eal::hugepages().iter().map(|h| h.free_megabytes()).sum();
    let ordinary = || -> anyhow::Result<Memory> {
        // Without hugepages DPDK lets no buffer cross a page of 4 kB, so one may take almost twice its size.
        let megabytes = u32::try_from(buffers / (1 << 19) + OVERHEAD_MB).context("packet buffers of more than 2 PB")?;
        Ok(Memory::Ordinary { megabytes })
    };
    match wanted {
        config::Memory::Ordinary => ordinary(),
        config::Memory::Hugepages if free < need => bail!(
            "runtime.memory = \"hugepages\" needs {need} MB of hugepages and {free} MB are free; \
             write {} to /proc/sys/vm/nr_hugepages, or set runtime.memory = \"auto\"",
            need.div_ceil(2)
        ),
        config::Memory::Hugepages => Ok(Memory::Hugepages { free_megabytes: free }),
        config::Memory::Auto if free >= need && may_use_hugepages() => Ok(Memory::Hugepages { free_megabytes: free }),
        config::Memory::Auto => ordinary(),
    }
}

/// Without a mount of hugetlbfs of one's own, hugepages are root's.
fn may_use_hugepages() -> bool {
    std::fs::OpenOptions::new().write(true).open("/proc/sys/vm/nr_hugepages").is_ok()
}

/// What is wrong with a port's device on this machine, if anything can be seen without starting DPDK.
pub(crate) fn device_problem(port: &Port) -> Option<(String, String)> {
    match &port.device.value {
        Device::Pci(address) => {
            let path = format!("/sys/bus/pci/devices/{address}");
            if Path::new(&path).exists() {
                return None;
            }
            Some((
                format!("there is no PCI device {address} on this machine"),
                "write an address that `lspci -D` shows".to_owned(),
            ))
        }
        Device::Virtual(devargs) => virtual_problem(devargs),
    }
}

/// Drivers of DPDK's virtual devices.
const VIRTUAL_DRIVERS: &[&str] = &[
    "net_af_packet",
    "net_af_xdp",
    "net_bonding",
    "net_failsafe",
    "net_memif",
    "net_null",
    "net_pcap",
    "net_ring",
    "net_softnic",
    "net_tap",
    "net_tun",
    "net_vdev_netvsc",
    "net_vhost",
    "net_virtio_user",
    "eth_af_packet",
    "eth_null",
    "eth_pcap",
    "eth_ring",
    "eth_tap",
    "eth_vhost",
    "eth_bond",
];

fn virtual_problem(devargs: &str) -> Option<(String, String)> {
    let mut parts = devargs.split(',');
    let name = parts.next().unwrap_or_default();
    if !VIRTUAL_DRIVERS.iter().any(|d| name.starts_with(d)) {
        return Some((
            format!("{name} is no virtual device of DPDK"),
            "write one of net_af_packet0, net_tap0, net_memif0, net_pcap0, net_ring0, net_null0, net_af_xdp0"
                .to_owned(),
        ));
    }
    let needs_existing = ["net_af_packet", "eth_af_packet", "net_af_xdp"].iter().any(|d| name.starts_with(d));
    for part in parts {
        if let Some((key, value)) = part.split_once('=') {
            if key == "iface" && needs_existing && !Path::new("/sys/class/net").join(value).exists() {
                return Some((
                    format!("there is no network interface {value} here"),
                    "write one that `ip link` shows, or create it first".to_owned(),
                ));
            }
            if key == "rx_pcap" && !Path::new(value).exists() {
                return Some((format!("there is no file {value}"), "write the path of a capture".to_owned()));
            }
        }
    }
    if needs_existing && !devargs.contains("iface=") {
        return Some((format!("{name} does not say which interface"), format!("write: {name},iface=eth1")));
    }
    None
}

/// Problems of a model on this machine, as errors with their place.
pub(crate) fn problems(model: &Model) -> Vec<config::Diagnostic> {
    let mut found = Vec::new();
    for port in model.ports() {
        if let Some((message, remedy)) = device_problem(port) {
            found.push(model.diagnostic(&port.device.location, Severity::Error, message, remedy));
        }
    }
    found.extend(shared_interfaces(model));
    found.extend(too_few(model));
    if let Workers::Cpus(wanted) = &model.runtime().workers.value {
        let cpus = cpus();
        for missing in wanted.iter().filter(|c| !cpus.contains(c)) {
            found.push(model.diagnostic(
                &model.runtime().workers.location,
                Severity::Error,
                format!("there is no CPU {missing} for this process"),
                format!("write some of {cpus:?}"),
            ));
        }
    }
    found
}

/// Two ports on one interface of the kernel would each see the other's packets.
fn shared_interfaces(model: &Model) -> Vec<config::Diagnostic> {
    let mut seen: Vec<(String, &str)> = Vec::new();
    let mut found = Vec::new();
    for port in model.ports() {
        let Device::Virtual(devargs) = &port.device.value else { continue };
        let Some(iface) = devargs.split(',').find_map(|part| part.strip_prefix("iface=")) else { continue };
        if let Some((_, other)) = seen.iter().find(|(name, _)| name == iface) {
            let message = format!("{iface} is port {other}'s interface already");
            found.push(model.diagnostic(&port.device.location, Severity::Error, message, "name another interface"));
        }
        seen.push((iface.to_owned(), &port.name));
    }
    found
}

/// What is too little for the number of workers: CPUs, outside ports, packet buffers.
fn too_few(model: &Model) -> Vec<config::Diagnostic> {
    let cpus = cpus();
    let workers = &model.runtime().workers;
    // A CPU that is not there is told elsewhere.
    let Ok(places) = places(&workers.value, &cpus) else { return Vec::new() };
    let mut found = Vec::new();
    if places.len() > cpus.len() && !cpus.is_empty() {
        let message = format!("{} workers share {} CPUs and slow each other down", places.len(), cpus.len());
        let remedy = format!("write at most {}", cpus.len());
        found.push(model.diagnostic(&workers.location, Severity::Warning, message, remedy));
    }
    let range = &model.nat().ports;
    let count = u8::try_from(places.len()).unwrap_or(u8::MAX);
    let sharding = dataplane::policy::Sharding::new(count, 0);
    let owners: std::collections::HashSet<_> =
        (*range.start().max(&1024)..=*range.end()).map(|port| sharding.of_port(port)).collect();
    if owners.len() < places.len() {
        let message = format!(
            "nat.ports {}-{} leaves {} of {} workers without a port, as ports are dealt in blocks of 512 from 1024 on",
            range.start(),
            range.end(),
            places.len() - owners.len(),
            places.len()
        );
        let remedy = format!("fewer workers, or nat.ports = \"1024-{}\" or more", 1023 + 512 * places.len());
        found.push(model.diagnostic(&workers.location, Severity::Error, message, remedy));
    }
    if let Some(buffers) = &model.runtime().buffers {
        let descriptors: u32 =
            model.ports().iter().map(|p| u32::from(p.rx_descriptors.value) + u32::from(p.tx_descriptors.value)).sum();
        let least = descriptors * u32::from(count) + 2048;
        if buffers.value < least {
            let message = format!("{} buffers do not fill the ports' descriptors", buffers.value);
            let remedy = format!("write: {least} or more, or leave it out, or lower rx_descriptors and tx_descriptors");
            found.push(model.diagnostic(&buffers.location, Severity::Error, message, remedy));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_get_cpus_of_their_own_as_long_as_there_are_some() {
        let cpu = |c| Place { cpu: Some(c) };
        assert_eq!(places(&Workers::Auto, &[0, 1, 2]).unwrap(), [cpu(1), cpu(2)]);
        assert_eq!(places(&Workers::Auto, &[3]).unwrap(), [cpu(3)]);
        assert_eq!(places(&Workers::Count(3), &[0, 1]).unwrap(), [cpu(1), cpu(0), cpu(1)]);
        assert_eq!(places(&Workers::Cpus(vec![2]), &[0, 2]).unwrap(), [cpu(2)]);
        assert!(places(&Workers::Cpus(vec![7]), &[0, 2]).is_err());
        assert_eq!(places(&Workers::Count(2), &[]).unwrap(), [Place { cpu: None }; 2]);
    }

    fn findings(runtime: &str, nat: &str) -> Vec<String> {
        let text = format!(
            "[runtime]\n{runtime}\n[[port]]\nname = \"a\"\nrole = \"inside\"\ndevice = \"net_ring0\"\n\
             addresses = [\"192.168.1.1/24\"]\n[[port]]\nname = \"b\"\nrole = \"outside\"\ndevice = \"net_ring1\"\n\
             addresses = [\"203.0.113.2/24\"]\ngateway = \"203.0.113.1\"\n[nat]\n{nat}\n"
        );
        let model = config::parse("t", &text).unwrap().model;
        problems(&model).iter().filter(|p| p.severity == Severity::Error).map(|p| p.message.clone()).collect()
    }

    #[test]
    fn a_worker_that_would_have_no_port_is_told_beforehand() {
        assert_eq!(findings("workers = 4", "ports = \"1024-65535\""), Vec::<String>::new());
        assert_eq!(findings("workers = 4", "ports = \"1024-3071\""), Vec::<String>::new());
        let [message] = &findings("workers = 4", "ports = \"1024-2047\"")[..] else { panic!() };
        assert!(message.contains("leaves 2 of 4 workers without a port"), "{message}");
    }

    #[test]
    fn buffers_that_do_not_fill_the_descriptors_are_told_beforehand() {
        let [message] = &findings("workers = 1\nbuffers = 1024", "")[..] else { panic!() };
        assert!(message.contains("1024 buffers do not fill"), "{message}");
        assert_eq!(findings("workers = 1\nbuffers = 8192", ""), Vec::<String>::new());
    }

    #[test]
    fn a_virtual_device_that_cannot_be_is_told_from_one_that_can() {
        assert!(virtual_problem("net_ring0").is_none());
        assert!(virtual_problem("net_null0,no-rx=1").is_none());
        assert!(virtual_problem("net_afpacket0,iface=lo").is_some());
        assert!(virtual_problem("net_af_packet0,iface=lo").is_none());
        assert!(virtual_problem("net_af_packet0,iface=nonesuch").is_some());
        assert!(virtual_problem("net_af_packet0").is_some());
        assert!(virtual_problem("net_pcap0,rx_pcap=/nonesuch.pcap").is_some());
    }
}
