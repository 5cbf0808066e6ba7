//! A router under load that is talked to by its control socket: inside hosts' flows are read from a capture over and over,
//! and what is translated goes into nothing.

use super::{Frames, Router, Said, Scratch, UNDERPASS, pcap};
use serde_json::Value;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Output};
use testkit::Frame;

/// The address that DPDK gives its first `net_pcap` device.
const PCAP0: [u8; 6] = [0x02, 0x70, 0x63, 0x61, 0x70, 0x00];
const HOST: [u8; 6] = [2, 0, 0, 0, 3, 1];
/// The server that all flows go to.
pub(crate) const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(198, 51, 100, 7), 443);

/// See the module.
pub(crate) struct Loaded {
    pub(crate) scratch: Scratch,
    pub(crate) socket: PathBuf,
    pub(crate) file: PathBuf,
    router: Option<Router>,
}

/// The inside host and port of a flow.
pub(crate) fn flow(n: u32) -> (Ipv4Addr, u16) {
    (Ipv4Addr::from_bits(0x0a00_0100 + n / 100), 10_000 + (n % 100) as u16)
}

impl Loaded {
    /// A router with so many UDP flows, and these lines at the end of its configuration; further frames are read with them.
    pub(crate) fn start(name: &str, flows: u32, more: &str, frames: &[Vec<u8>]) -> Self {
        let scratch = Scratch::new(name);
        let flow = |n| Frame::udp(flow(n), SERVER).macs(HOST, PCAP0).payload(vec![7; 22]).build();
        let all: Frames = (0..flows).map(flow).chain(frames.iter().cloned()).map(|f| (0, f)).collect();
        let capture = scratch.file("flows.pcap", pcap(&all));
        let socket = scratch.path().join("s");
        let config = config(&format!("net_pcap0,rx_pcap={},infinite_rx=1", capture.display()), &socket, more);
        // The device keeps the whole capture in buffers.
        let config = config.replace("[runtime]", &format!("[runtime]\nbuffers = {}", flows + 16_384));
        let file = scratch.file("underpass.toml", config);
        let router = Router::start(&file);
        let loaded = Self { scratch, socket, file, router: Some(router) };
        let opened = || loaded.stats()["events"]["sessions_opened"].as_u64().unwrap() >= u64::from(flows);
        super::until("all sessions are open", opened);
        loaded
    }

    /// `underpass VERB … --socket …`.
    pub(crate) fn say(&self, words: &[&str]) -> Output {
        Command::new(UNDERPASS).args(words).arg("--socket").arg(&self.socket).output().unwrap()
    }

    /// The rows that a verb tells as JSON.
    #[track_caller]
    pub(crate) fn rows(&self, words: &[&str]) -> Vec<Value> {
        let o = self.say(&[words, &["--json"]].concat());
        assert!(o.status.success() || o.status.code() == Some(4), "{words:?}: {o:?}");
        let lines = String::from_utf8(o.stdout).unwrap();
        lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    pub(crate) fn stats(&self) -> Value {
        self.rows(&["show", "stats"]).remove(0)
    }

    pub(crate) fn id(&self) -> u32 {
        self.router.as_ref().unwrap().id()
    }

    /// Ends it as an operator does.
    pub(crate) fn stop(mut self) -> Said {
        self.router.take().unwrap().stop("TERM")
    }
}

/// A configuration with this inside device and this socket.
pub(crate) fn config(lan: &str, socket: &std::path::Path, more: &str) -> String {
    let mut text = format!(
        r#"[runtime]
memory = "ordinary"
workers = 1
idle = "yield"
link_wait = "0s"

[[port]]
name = "lan"
role = "inside"
device = "{lan}"
addresses = ["10.0.0.1/16"]

[[port]]
name = "wan"
role = "outside"
device = "net_null0,no-rx=1"
addresses = ["203.0.113.2/24"]
gateway = "203.0.113.1"

[[neighbour]]
port = "wan"
address = "203.0.113.1"
mac = "02:00:00:00:02:01"

[control]
socket = "{}"
"#,
        socket.display()
    );
    writeln!(text, "{more}").unwrap();
    text
}
