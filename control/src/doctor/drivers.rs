//! DPDK's drivers, as they say of themselves: each plugin carries a JSON text (`PMD_INFO_STRING`) that names its devices
//! and the kernel modules it works through. So what is said here holds for the very files that EAL will load.

use super::host::Host;
use serde::Deserialize;
use std::fs;
use std::path::PathBuf;

/// What a driver's text begins with.
const MARK: &[u8] = b"PMD_INFO_STRING= ";
/// A subsystem identifier that stands for any, and a vendor or device that does.
const ANY: u16 = 0xffff;

/// A driver.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Driver {
    /// Name, such as `net_ixgbe`.
    pub(super) name: String,
    /// Kernel modules: `*` for any device, `|` between alternatives, `&` between modules that all are needed.
    #[serde(default)]
    kmod: String,
    /// Vendor, device, and both of the subsystem.
    #[serde(default)]
    pci_ids: Vec<[u16; 4]>,
    /// The plugin that it is in, without `.so`.
    #[serde(skip)]
    pub(super) library: String,
}

impl Driver {
    /// Whether the device has to be taken from its kernel driver and given to vfio-pci. Otherwise (mlx4, mlx5, mana) it
    /// stays with its kernel driver, and DPDK works through that.
    pub(super) fn wants_vfio(&self) -> bool {
        self.kmod.contains("vfio")
    }

    /// Kernel modules that all have to be there, for a driver that works through the kernel's.
    pub(super) fn modules(&self) -> Vec<&str> {
        self.kmod.split([' ', '&', '*', '|']).filter(|word| !word.is_empty()).collect()
    }

    fn drives(&self, vendor: u32, device: u32) -> bool {
        let is = |id: u16, wanted: u32| id == ANY || u32::from(id) == wanted;
        self.pci_ids.iter().any(|&[v, d, _, _]| is(v, vendor) && is(d, device))
    }
}

/// All drivers that are installed.
#[derive(Debug, Default)]
pub(super) struct Drivers {
    /// Where they are; `None` when no such folder is known.
    pub(super) folder: Option<PathBuf>,
    /// By library and name.
    all: Vec<Driver>,
}

impl Drivers {
    /// Looks where Debian, other distributions and DPDK's own installation put plugins.
    pub(super) fn find(host: &Host) -> Self {
        let mut places: Vec<PathBuf> = Vec::new();
        for lib in ["usr/local/lib", "usr/lib", "usr/local/lib64", "usr/lib64"] {
            let architectures = host.names(lib).into_iter().filter(|name| name.contains("-linux-gnu"));
            for folder in architectures.map(|a| format!("{lib}/{a}/dpdk")).chain([format!("{lib}/dpdk")]) {
                let versions = host.names(&folder).into_iter().filter(|name| name.starts_with("pmds-"));
                places.extend(versions.map(|v| host.path(format!("{folder}/{v}"))));
            }
        }
        let Some(folder) = places.into_iter().next() else { return Self::default() };
        let mut all = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some((library, _)) = name.split_once(".so") else { continue };
            // `librte_net_ixgbe.so`, `.so.23` and `.so.23.0` are one file; others have no devices of ours.
            if !library.starts_with("librte_net_") || !seen.insert(library.to_owned()) {
                continue;
            }
            let texts = fs::read(entry.path()).map(|bytes| texts(&bytes)).unwrap_or_default();
            all.extend(texts.into_iter().map(|driver| Driver { library: library.to_owned(), ..driver }));
        }
        all.sort_by(|a, b| (&a.library, &a.name).cmp(&(&b.library, &b.name)));
        Self { folder: Some(folder), all }
    }

    /// How many plugins of network devices there are.
    pub(super) fn libraries(&self) -> usize {
        let mut names: Vec<_> = self.all.iter().map(|d| &d.library).collect();
        names.dedup();
        names.len()
    }

    /// The driver of a PCI device.
    pub(super) fn of(&self, vendor: u32, device: u32) -> Option<&Driver> {
        self.all.iter().find(|d| d.drives(vendor, device))
    }

    /// The driver of a virtual device such as `net_af_packet0`; old names begin with `eth_`.
    pub(super) fn of_virtual(&self, device: &str) -> Option<&Driver> {
        let name = kind(device);
        self.all.iter().find(|d| d.name == name)
    }
}

/// `net_af_packet` of `net_af_packet0,iface=eth1` and of `eth_af_packet0`.
pub(super) fn kind(device: &str) -> String {
    let name = device.split(',').next().unwrap_or_default().trim_end_matches(|c: char| c.is_ascii_digit());
    name.strip_prefix("eth_").map_or_else(|| name.to_owned(), |rest| format!("net_{rest}"))
}

/// The drivers that a plugin says it has.
fn texts(file: &[u8]) -> Vec<Driver> {
    let found = memchr::memmem::find_iter(file, MARK).filter_map(|at| {
        let text = file.get(at + MARK.len()..)?;
        let end = memchr::memchr(0, text).unwrap_or(text.len());
        serde_json::from_slice(text.get(..end)?).ok()
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_tells_its_devices_and_modules() {
        let file = b"\x7fELF..\0PMD_INFO_STRING= {\"name\": \"net_ixgbe\", \"kmod\": \"* igb_uio | uio_pci_generic | vfio-pci\", \
                     \"pci_ids\": [[32902, 4347, 65535, 65535]]}\0..\0PMD_INFO_STRING= {\"name\": \"mlx5_eth\", \"kmod\": \
                     \"* ib_uverbs & mlx5_core & mlx5_ib\", \"pci_ids\": [[5555, 4117, 65535, 65535]]}\0PMD_INFO_STRING= cut";
        let [ixgbe, mlx5] = &texts(file)[..] else { panic!("{:?}", texts(file)) };
        assert!(ixgbe.wants_vfio() && ixgbe.drives(0x8086, 0x10fb) && !ixgbe.drives(0x8086, 0x1572));
        assert!(!mlx5.wants_vfio() && mlx5.drives(0x15b3, 0x1015));
        assert_eq!(mlx5.modules(), ["ib_uverbs", "mlx5_core", "mlx5_ib"]);
    }

    #[test]
    fn a_virtual_device_is_of_the_kind_that_its_name_begins_with() {
        assert_eq!(kind("net_af_packet0,iface=eth1"), "net_af_packet");
        assert_eq!(kind("eth_ring12"), "net_ring");
    }
}
