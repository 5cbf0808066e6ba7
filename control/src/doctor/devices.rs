//! Devices: DPDK's driver for each, the kernel driver that holds it, the IOMMU that keeps its DMA in bounds.

use super::Needs;
use super::drivers::{Driver, Drivers, kind};
use super::host::{Host, field};
use super::nic::{Nic, group_mates};
use super::report::Findings;

const VFIO: &str = "sys/bus/pci/drivers/vfio-pci";

pub(super) fn examine(host: &Host, needs: &Needs, nics: &[Nic], drivers: &Drivers, found: &mut Findings) {
    let version = dpdk::Eal::version();
    match &drivers.folder {
        Some(folder) => {
            let message =
                format!("{version}; {} drivers of network devices in {}", drivers.libraries(), folder.display());
            found.ok("dpdk", message);
        }
        None => found.missing(
            "dpdk",
            format!("{version}, but no folder with its drivers"),
            &["apt-get install librte-meta-net"],
        ),
    }
    for device in &needs.virtuals {
        virtual_device(host, device, drivers, found);
    }
    for address in needs.pci.iter().flatten() {
        if !nics.iter().any(|nic| nic.address == *address) {
            found.missing(address, "there is no PCI device at this address", &["write one that `lspci -D` shows"]);
        }
    }
    if needs.pci.is_none() && nics.is_empty() {
        found.ok("pci", "no network device on PCI; DPDK's virtual devices work without");
    }
    let vfio = nics.iter().filter(|nic| driver(nic, drivers).is_none_or(Driver::wants_vfio)).count();
    if vfio > 0 {
        iommu(host, found);
    }
    for nic in nics {
        pci_device(host, needs, nic, drivers, found);
    }
}

/// DPDK's driver of a NIC.
pub(super) fn driver<'d>(nic: &Nic, drivers: &'d Drivers) -> Option<&'d Driver> {
    drivers.of(nic.vendor, nic.device)
}

/// Where the package of a driver can be had.
fn package(library: &str) -> String {
    format!("apt-get install \"^{}-?[0-9]+$\"", library.replace('_', "-"))
}

fn virtual_device(host: &Host, devargs: &str, drivers: &Drivers, found: &mut Findings) {
    let name = devargs.split(',').next().unwrap_or_default();
    let argument =
        |key: &str| devargs.split(',').find_map(|a| a.split_once('=').filter(|(k, _)| *k == key)).map(|a| a.1);
    if drivers.folder.is_some() && drivers.of_virtual(name).is_none() {
        let library = format!("librte_{}", kind(name));
        return found.missing(
            name,
            format!("no installed driver of DPDK is called {}", kind(name)),
            &[&package(&library)],
        );
    }
    let of_kernel = matches!(kind(name).as_str(), "net_af_packet" | "net_af_xdp");
    match argument("iface").filter(|_| of_kernel) {
        Some(interface) if !host.exists(format!("sys/class/net/{interface}")) => {
            let remedy = ["name one that `ip link` shows, or create it first"];
            found.missing(name, format!("there is no network interface {interface}"), &remedy);
        }
        Some(interface) => {
            let flags = host.hex(format!("sys/class/net/{interface}/flags")).unwrap_or(0);
            // IFF_UP, which an administrator sets.
            if flags & 1 == 0 {
                found.missing(name, format!("{interface} is down"), &[&format!("ip link set {interface} up")]);
            } else {
                found.ok(name, format!("{interface} is there and up"));
            }
        }
        None if kind(name) == "net_tap" && !host.exists("dev/net/tun") => {
            found.missing(name, "there is no /dev/net/tun", &["modprobe tun"]);
        }
        None => found.ok(name, "its driver is installed"),
    }
}

/// Without an IOMMU a NIC may write to any memory, and vfio says so by its mode without one.
fn iommu(host: &Host, found: &mut Findings) {
    let loaded = host.exists(VFIO);
    if !loaded {
        let keep = "echo vfio-pci > /etc/modules-load.d/vfio-pci.conf";
        found.missing("vfio", "the module vfio-pci is not loaded", &["modprobe vfio-pci", keep]);
    }
    if !host.names("sys/kernel/iommu_groups").is_empty() {
        if loaded {
            found.ok("iommu", "on, and vfio-pci is loaded");
        } else {
            found.ok("iommu", "on");
        }
        return;
    }
    let unsafe_mode = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
    if loaded && host.text(unsafe_mode).is_some_and(|text| matches!(text.as_str(), "Y" | "1")) {
        let message = "off, and vfio works without: a NIC may write to any memory, and DPDK needs root";
        return found.advice("iommu", message, &[switch_on(host)]);
    }
    found.missing(
        "iommu",
        "off, so vfio-pci takes no device",
        &[
            switch_on(host),
            "or, where there is none (a virtual machine): modprobe vfio enable_unsafe_noiommu_mode=1 && \
         echo 1 > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
        ],
    );
}

fn switch_on(host: &Host) -> &'static str {
    let intel =
        host.text("proc/cpuinfo").and_then(|info| field(&info, "vendor_id")).is_some_and(|v| v == "GenuineIntel");
    if intel {
        "switch VT-d on in the firmware; add to GRUB_CMDLINE_LINUX in /etc/default/grub: intel_iommu=on iommu=pt \
         then: update-grub && reboot"
    } else {
        "switch the IOMMU (AMD-Vi) on in the firmware; add to GRUB_CMDLINE_LINUX in /etc/default/grub: iommu=pt \
         then: update-grub && reboot"
    }
}

fn pci_device(host: &Host, needs: &Needs, nic: &Nic, drivers: &Drivers, found: &mut Findings) {
    let topic = nic.address.as_str();
    let held = nic.driver.as_deref().unwrap_or("no driver");
    let interfaces = if nic.interfaces.is_empty() { String::new() } else { format!(", {}", nic.interfaces.join(", ")) };
    let named = needs.pci.is_some();
    // Which of a machine's NICs are for DPDK only a configuration says; without one, what could be done is advice.
    let lacking = |found: &mut Findings, message: String, remedy: &[&str]| {
        if named { found.missing(topic, message, remedy) } else { found.advice(topic, message, remedy) }
    };
    let what = format!("{}{interfaces}", nic.identity());
    let Some(driver) = driver(nic, drivers) else {
        if drivers.folder.is_some() {
            let message = format!("{what}: no installed driver of DPDK knows this device");
            lacking(found, message, &["apt-get install librte-meta-net"]);
        }
        return;
    };
    if !driver.wants_vfio() {
        let absent = driver.modules().into_iter().filter(|m| !host.exists(format!("sys/module/{m}")));
        let absent: Vec<_> = absent.collect();
        if absent.is_empty() {
            let message = format!("{what}: {}, which works beside the kernel's driver {held}", driver.name);
            return found.ok(topic, message);
        }
        let message = format!("{what}: {} works through kernel modules that are not loaded", driver.name);
        return lacking(found, message, &[&format!("modprobe -a {}", absent.join(" "))]);
    }
    if matches!(held, "vfio-pci" | "uio_pci_generic" | "igb_uio") {
        let mates = group_mates(host, nic);
        if !mates.is_empty() {
            let remedies: Vec<_> =
                mates.iter().map(|(address, _)| format!("dpdk-devbind.py -b vfio-pci {address}")).collect();
            let mates: Vec<_> = mates.iter().map(|(address, driver)| format!("{address} ({driver})")).collect();
            let message = format!("{what}: its IOMMU group has devices that the kernel uses: {}", mates.join(", "));
            return lacking(found, message, &remedies.iter().map(String::as_str).collect::<Vec<_>>());
        }
        return found.ok(topic, format!("{what}: bound to {held}, for {}", driver.name));
    }
    let bind = format!("dpdk-devbind.py -b vfio-pci {topic}");
    if let Some(interface) = &nic.used_by {
        let message = format!("{what}: {held} has it, and this machine's own traffic goes by {interface}");
        let remedy = "leave it and use another, or see that you have another way to this machine, then: ";
        let down = format!("{remedy}ip link set {interface} down && {bind}");
        return lacking(found, message, &[&down]);
    }
    let down = nic.interfaces.iter().map(|i| format!("ip link set {i} down && ")).collect::<String>();
    lacking(found, format!("{what}: {held} has it, {} needs vfio-pci", driver.name), &[&format!("{down}{bind}")]);
}
