//! Network devices on PCI, and what the kernel does with them now.

use super::host::Host;

/// A PCI device of class "network controller", or one that a configuration names.
#[derive(Debug, Clone)]
pub(super) struct Nic {
    /// `0000:03:00.0`.
    pub(super) address: String,
    /// PCI vendor.
    pub(super) vendor: u32,
    /// PCI device.
    pub(super) device: u32,
    /// The kernel driver that has it.
    pub(super) driver: Option<String>,
    /// Its NUMA node, where the machine has several.
    pub(super) node: Option<usize>,
    /// The kernel's interfaces on it.
    pub(super) interfaces: Vec<String>,
    /// Its IOMMU group.
    pub(super) group: Option<String>,
    /// An interface of it that has the machine's own traffic: routes lead there.
    pub(super) used_by: Option<String>,
}

const DEVICES: &str = "sys/bus/pci/devices";
/// The PCI base class of network controllers.
const NETWORK: u32 = 0x02;

impl Nic {
    /// All of the machine.
    pub(super) fn all(host: &Host) -> Vec<Self> {
        let network = |address: &String| {
            host.hex(format!("{DEVICES}/{address}/class")).is_some_and(|class| class >> 16 == NETWORK)
        };
        let addresses = host.names(DEVICES).into_iter().filter(network);
        addresses.filter_map(|address| Self::at(host, &address)).collect()
    }

    /// The one at an address, whatever its class.
    pub(super) fn at(host: &Host, address: &str) -> Option<Self> {
        let place = format!("{DEVICES}/{address}");
        let mut interfaces = host.names(format!("{place}/net"));
        // virtio's interface hangs on a device of its own below the PCI function.
        for child in host.names(&place).iter().filter(|name| name.starts_with("virtio")) {
            interfaces.extend(host.names(format!("{place}/{child}/net")));
        }
        let used_by = interfaces.iter().find(|i| has_route(host, i)).cloned();
        Some(Self {
            address: address.to_owned(),
            vendor: host.hex(format!("{place}/vendor"))?,
            device: host.hex(format!("{place}/device"))?,
            driver: host.link(format!("{place}/driver")),
            node: host.number(format!("{place}/numa_node")).and_then(|n| usize::try_from(n).ok()),
            interfaces,
            group: host.link(format!("{place}/iommu_group")),
            used_by,
        })
    }

    /// `8086:10fb`.
    pub(super) fn identity(&self) -> String {
        format!("{:04x}:{:04x}", self.vendor, self.device)
    }
}

/// Whether a route of the kernel leads out of an interface.
fn has_route(host: &Host, interface: &str) -> bool {
    host.text("proc/net/route")
        .is_some_and(|routes| routes.lines().skip(1).any(|line| line.split_whitespace().next() == Some(interface)))
}

/// Other devices of an IOMMU group that a kernel driver still has: vfio gives the group to nobody until they are let go
/// of. Bridges do not count.
pub(super) fn group_mates(host: &Host, nic: &Nic) -> Vec<(String, String)> {
    let Some(group) = &nic.group else { return Vec::new() };
    let mates = host.names(format!("sys/kernel/iommu_groups/{group}/devices")).into_iter();
    let held = mates.filter(|address| *address != nic.address).filter_map(|address| {
        let driver = host.link(format!("{DEVICES}/{address}/driver"))?;
        let free = matches!(driver.as_str(), "vfio-pci" | "pcieport" | "pci-stub");
        (!free).then_some((address, driver))
    });
    held.collect()
}
