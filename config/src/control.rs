//! `[control]`: how an operator's tools reach the process that runs.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::diagnostic::Located;
use crate::table::Table;
use crate::value::{Mistake, Node, choice, text, words};

/// Where the control socket is by default.
const SOCKET: &str = "/run/underpass/control.sock";

/// The control socket, and the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// The Unix socket that `underpass show`, `reload` and the like talk to; `None` is none.
    pub socket: Option<Located<PathBuf>>,
    /// Whether the file names it. Where it does not, a socket that cannot be had is no reason not to start.
    pub socket_named: bool,
    /// The permission bits of the socket.
    pub mode: u32,
    /// The group of the socket, by name or number.
    pub group: Option<Located<String>>,
    /// Where metrics are served over HTTP; `None` is nowhere.
    pub metrics: Option<Located<SocketAddr>>,
    /// What is logged, unless the command line says.
    pub log: LogLevel,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogLevel {
    /// What went wrong.
    Error,
    /// And what an operator should look at.
    Warn,
    /// And what was done.
    Info,
    /// And what helps to find a fault.
    Debug,
    /// Everything.
    Trace,
}

words!(LogLevel { "error" => Error, "warn" => Warn, "info" => Info, "debug" => Debug, "trace" => Trace });

pub(crate) fn read(mut table: Table<'_>) -> Control {
    let slot = table.read("socket", socket);
    let socket_named = matches!(slot, crate::table::Slot::Good(_));
    let named = slot.or(Some(PathBuf::from(SOCKET)));
    let socket = named.value.map(|path| Located::new(path, named.location));
    let mode = table.read("mode", mode).or(0o660).value;
    let group = table.read("group", group).optional();
    let metrics = table.read("metrics", metrics).optional();
    let metrics = metrics.and_then(|m| m.value.map(|address| Located::new(address, m.location)));
    let log = table.read("log", choice).or(LogLevel::Info).value;
    table.finish();
    Control { socket, socket_named, mode, group, metrics, log }
}

/// A path, or "off".
fn socket(node: &Node<'_>) -> Result<Option<PathBuf>, Mistake> {
    let example = "an absolute path, such as \"/run/underpass/control.sock\", or \"off\"";
    let path = text(node, example)?;
    if path == "off" {
        return Ok(None);
    }
    if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
        return Err(Mistake::write(format!("{} is not the absolute path of a socket", node.describe()), example));
    }
    // The kernel's limit is 108 bytes with the zero at the end; a name beside it is needed while the socket is made.
    if path.len() > 90 {
        return Err(Mistake::new(
            format!("{} bytes are too long for a socket's path", path.len()),
            "write a path of at most 90 bytes",
        ));
    }
    Ok(Some(PathBuf::from(path)))
}

/// An address and port, or "off".
fn metrics(node: &Node<'_>) -> Result<Option<SocketAddr>, Mistake> {
    let example = "\"127.0.0.1:9464\", \"[::1]:9464\", or \"off\"";
    let written = text(node, example)?;
    if written == "off" {
        return Ok(None);
    }
    let Some(address) = written.parse::<SocketAddr>().ok().filter(|a| a.port() != 0) else {
        return Err(Mistake::write(format!("{} is no address with a port", node.describe()), example));
    };
    if !address.ip().is_loopback() {
        node.warn(
            format!("whoever reaches {address} can read the metrics"),
            "write a loopback address, or let a firewall see to it",
        );
    }
    Ok(Some(address))
}

/// Permission bits in octal, as chmod takes them.
fn mode(node: &Node<'_>) -> Result<u32, Mistake> {
    let example = "\"0600\" (root alone), \"0660\" (and its group) or \"0666\" (everybody on this machine)";
    let written = text(node, example)?;
    match u32::from_str_radix(&written, 8) {
        Ok(mode) if mode <= 0o777 && written.len() <= 4 && mode & 0o600 == 0o600 => Ok(mode),
        _ => Err(Mistake::write(
            format!("{} is not the mode of a socket that its owner can use", node.describe()),
            example,
        )),
    }
}

fn group(node: &Node<'_>) -> Result<String, Mistake> {
    let example = "the name of a group, such as \"netops\", or its number in quotes";
    let name = text(node, example)?;
    let sound = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    if name.is_empty() || name.len() > 32 || !name.bytes().all(sound) {
        return Err(Mistake::write(format!("{} cannot be a group's name", node.describe()), example));
    }
    Ok(name)
}
