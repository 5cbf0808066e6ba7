//! The one thing that doctor changes.

use super::host::Host;
use anyhow::{Context, bail};
use std::fs;

const PAGES: &str = "proc/sys/vm/nr_hugepages";

/// Sees to it that there are at least `wanted` hugepages of the default size; never takes any away. Says what it did.
///
/// # Errors
/// The kernel has no hugepages, this user may not, or there is not so much memory in one piece.
pub(super) fn hugepages(host: &Host, wanted: u64) -> anyhow::Result<String> {
    let path = host.path(PAGES);
    let now = || -> anyhow::Result<u64> {
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}: this kernel has no hugepages", path.display()))?;
        text.trim().parse().with_context(|| format!("{} holds no number", path.display()))
    };
    let before = now()?;
    if before >= wanted {
        return Ok(format!("There are {before} hugepages already."));
    }
    fs::write(&path, wanted.to_string())
        .with_context(|| format!("cannot write to {}; run it as root", path.display()))?;
    let after = now()?;
    if after < wanted {
        bail!(
            "the kernel found room for {after} of {wanted} hugepages (there were {before}), as memory is in pieces; \
             `echo 1 > /proc/sys/vm/compact_memory` and try again, or reserve them at boot: hugepages={wanted} on the \
             kernel's command line"
        );
    }
    Ok(format!(
        "There are {after} hugepages now ({before} before), until the next boot; to keep them: \
         echo vm.nr_hugepages={after} > /etc/sysctl.d/80-underpass.conf"
    ))
}
