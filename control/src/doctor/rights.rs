//! What this user may: capabilities, locked memory, vfio's files.

use super::Needs;
use super::devices::driver;
use super::drivers::{Driver, Drivers, kind};
use super::host::Host;
use super::nic::Nic;
use super::report::Findings;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

/// Capabilities by their number in `<linux/capability.h>`.
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_IPC_LOCK: u32 = 14;
const CAP_DAC_OVERRIDE: u32 = 1;

/// Who runs this.
struct User {
    id: u32,
    groups: BTreeSet<u32>,
    capabilities: u64,
}

impl User {
    fn of(host: &Host) -> Option<Self> {
        // The second of the four is the effective one.
        let effective = |key: &str| host.status(key)?.split_whitespace().nth(1)?.parse().ok();
        let mut groups: BTreeSet<u32> =
            host.status("Groups").unwrap_or_default().split_whitespace().filter_map(|g| g.parse().ok()).collect();
        groups.extend(effective("Gid"));
        let capabilities = u64::from_str_radix(&host.status("CapEff")?, 16).ok()?;
        Some(Self { id: effective("Uid")?, groups, capabilities })
    }

    const fn can(&self, capability: u32) -> bool {
        self.capabilities >> capability & 1 == 1
    }

    fn may_use(&self, file: &std::fs::Metadata) -> bool {
        let bits = match file.mode() {
            mode if file.uid() == self.id => mode >> 6,
            mode if self.groups.contains(&file.gid()) => mode >> 3,
            mode => mode,
        };
        self.can(CAP_DAC_OVERRIDE) || bits & 6 == 6
    }
}

pub(super) fn examine(host: &Host, needs: &Needs, nics: &[Nic], drivers: &Drivers, found: &mut Findings) {
    let Some(user) = User::of(host) else { return };
    let before = found.findings.len();
    let kinds: BTreeSet<String> = needs.virtuals.iter().map(|v| kind(v)).collect();
    let needed = [
        ("net_af_packet", CAP_NET_RAW, "CAP_NET_RAW"),
        ("net_af_packet", CAP_NET_ADMIN, "CAP_NET_ADMIN"),
        ("net_af_xdp", CAP_NET_ADMIN, "CAP_NET_ADMIN"),
        ("net_tap", CAP_NET_ADMIN, "CAP_NET_ADMIN"),
    ];
    for (kind, capability, name) in needed {
        if kinds.contains(kind) && !user.can(capability) {
            found.missing("rights", format!("{kind} needs {name}"), &["run it as root, or by the systemd unit"]);
        }
    }
    // Without a configuration it is not known which of the machine's NICs are meant: those that are bound already.
    let bound = nics.iter().filter(|nic| needs.pci.is_some() || nic.driver.as_deref() == Some("vfio-pci"));
    let through_vfio: Vec<&Nic> = bound.filter(|nic| driver(nic, drivers).is_none_or(Driver::wants_vfio)).collect();
    if !through_vfio.is_empty() {
        locked_memory(host, needs, &user, found);
    }
    for nic in through_vfio {
        let Some(group) = &nic.group else { continue };
        let path = format!("dev/vfio/{group}");
        // Not there before the device is bound, which is told with the device.
        if let Ok(file) = host.path(&path).metadata()
            && !user.may_use(&file)
        {
            let message = format!("/{path}, the group of {}, is not this user's", nic.address);
            found.missing("rights", message, &[&format!("chown $(id -u) /{path}")]);
        }
    }
    if found.findings.len() == before {
        found.ok("rights", if user.id == 0 { "root" } else { "this user may do what is needed" });
    }
}

/// What a NIC may write to is locked, and counted against the limit.
fn locked_memory(host: &Host, needs: &Needs, user: &User, found: &mut Findings) {
    if user.can(CAP_IPC_LOCK) {
        return;
    }
    let Some(limits) = host.text("proc/self/limits") else { return };
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
    let Some(soft) = line.and_then(|l| l.split_whitespace().next()) else { return };
    let Ok(bytes) = soft.parse::<u64>() else { return };
    if bytes >> 20 < needs.buffer_megabytes {
        let message = format!("{} MB may be locked, and vfio locks {} MB", bytes >> 20, needs.buffer_megabytes);
        found.missing("memlock", message, &["ulimit -l unlimited", "in a systemd unit: LimitMEMLOCK=infinity"]);
    }
}
