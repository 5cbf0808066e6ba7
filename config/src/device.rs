//! What a port is driven through: a PCI function, or one of DPDK's virtual devices. Only the form is checked here.

use std::fmt;

use crate::value::{Mistake, Node, quoted, text};

/// A DPDK device by its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Device {
    /// A PCI address, normalised to `0000:03:00.0`.
    Pci(String),
    /// A virtual device with its arguments, as `--vdev` takes it: `net_af_packet0,iface=eth1`.
    Virtual(String),
}

impl Device {
    /// The name that DPDK knows the device by: without a virtual device's arguments.
    pub fn name(&self) -> &str {
        match self {
            Device::Pci(address) => address,
            Device::Virtual(argument) => argument.split(',').next().unwrap_or(argument),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Pci(text) | Device::Virtual(text) => f.write_str(text),
        }
    }
}

pub(crate) const EXAMPLE: &str = "a PCI address such as \"0000:03:00.0\", or \"net_af_packet0,iface=eth1\"";

/// A device.
pub(crate) fn device(node: &Node<'_>) -> Result<Device, Mistake> {
    let written = text(node, EXAMPLE)?;
    if let Some(address) = pci(&written) {
        return Ok(Device::Pci(address));
    }
    let (name, arguments) = match written.split_once(',') {
        Some((name, arguments)) => (name, Some(arguments)),
        None => (written.as_str(), None),
    };
    if let (Some(address), Some(_)) = (pci(name), arguments) {
        let message = "arguments after a PCI address are not supported";
        return Err(Mistake::write(message, format!("\"{address}\" alone")));
    }
    let driver = name.strip_prefix("net_").or_else(|| name.strip_prefix("eth_"));
    let word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    if !driver.is_some_and(word) {
        let message = format!("{} is neither a PCI address nor a DPDK virtual device", quoted(&written));
        let remedy = if is_interface(name) {
            format!("write: \"net_af_packet0,iface={name}\", if {name} is a kernel interface")
        } else {
            format!("write: {EXAMPLE}")
        };
        return Err(Mistake::new(message, remedy));
    }
    if arguments.is_some_and(|text| text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace())) {
        let message = format!("{} has empty arguments, or a blank in them", quoted(&written));
        return Err(Mistake::write(message, "name=value pairs with commas only: \"net_af_packet0,iface=eth1\""));
    }
    Ok(Device::Virtual(written))
}

/// Whether `name` looks like a kernel interface, the most likely thing to be written instead.
fn is_interface(name: &str) -> bool {
    (1..16).contains(&name.len())
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// `[domain:]bus:device.function`, normalised.
fn pci(written: &str) -> Option<String> {
    let hex = |text: &str, length: usize| {
        let digits = text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u32::from_str_radix(text, 16).ok()).flatten()
    };
    let (front, function) = written.split_once('.')?;
    let mut parts = front.rsplit(':');
    let device = hex(parts.next()?, 2).filter(|&device| device < 32)?;
    let bus = hex(parts.next()?, 2)?;
    let domain = parts.next().map_or(Some(0), |text| hex(text, 4))?;
    let function = hex(function, 1).filter(|&function| function < 8)?;
    parts.next().is_none().then(|| format!("{domain:04x}:{bus:02x}:{device:02x}.{function}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pci_address_is_normalised() {
        assert_eq!(pci("03:00.0").as_deref(), Some("0000:03:00.0"));
        assert_eq!(pci("0001:AF:1F.7").as_deref(), Some("0001:af:1f.7"));
        for text in ["03:00", "03:20.0", "03:00.8", "0:03:00.0", "1:0000:03:00.0", "zz:00.0", "03:00.0.0"] {
            assert_eq!(pci(text), None, "{text}");
        }
    }

    #[test]
    fn a_virtual_device_is_named_without_its_arguments() {
        assert_eq!(Device::Virtual("net_null0,size=64".to_owned()).name(), "net_null0");
    }
}
