//! `underpass bench`: steady-state packets per second of one worker, measured on DPDK's own devices.
//!
//! A capture with one small UDP packet of each flow is read over and over by `net_pcap` (`infinite_rx=1`), translated,
//! and swallowed by `net_null`. The first round opens the sessions; the rate is taken when all are open.

use crate::engine::{Engine, OpenPorts};
use crate::{lower, machine, run, signals};
use anyhow::{Context, bail, ensure};
use dataplane::verdict::{DropReason, Event};
use dpdk::Clock;
use pcap_file::pcap::{PcapPacket, PcapWriter};
use serde::Serialize;
use std::fs::File;
use std::io::BufWriter;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Where a measurement is taken.
#[derive(Clone, Debug)]
pub(crate) struct Bench {
    /// Sessions, and so flows in the capture.
    pub(crate) sessions: u32,
    /// How long to measure.
    pub(crate) seconds: f64,
    /// The capture; written if it is not there.
    pub(crate) capture: Option<PathBuf>,
    /// Only write the capture.
    pub(crate) only_capture: bool,
    /// JSON instead of a line of text.
    pub(crate) json: bool,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Measured {
    sessions: u64,
    seconds: f64,
    packets: u64,
    million_packets_per_second: f64,
    tsc_cycles_per_packet: f64,
    hugepages: bool,
    drops: u64,
}

const OUTSIDE: &str = "198.19.0.2";
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 1);
/// The first `net_pcap` device's address.
const PCAP_MAC: [u8; 6] = [0x02, 0x70, 0x63, 0x61, 0x70, 0x00];
const FLOWS_PER_HOST: u32 = 64;

/// Measures, and prints the result.
pub(crate) fn bench(plan: &Bench) -> anyhow::Result<ExitCode> {
    let scratch;
    let capture = if let Some(path) = &plan.capture {
        path.clone()
    } else {
        scratch = Scratch::new()?;
        scratch.0.join("flows.pcap")
    };
    if !capture.exists() {
        write_flows(&capture, plan.sessions)?;
    }
    if plan.only_capture {
        return Ok(ExitCode::SUCCESS);
    }
    let text = configuration(plan.sessions, &capture)?;
    let checked = config::parse("bench", &text).map_err(|report| anyhow::anyhow!("{report}"))?;
    let model = checked.model;
    let stop = signals::stop_flag()?;
    let cpus = machine::cpus();
    let places = machine::places(&model.runtime().workers.value, &cpus)?;
    let plans = run::plans(&model);
    let (eal, pool) = run::start_dpdk(&model, &plans, places.len(), &cpus)?;
    let hugepages = eal.has_hugepages();
    let open = OpenPorts::open(&eal, &plans, places.len(), &pool)?;
    let policy = lower::policy(&model, &open.macs(), run::seed()?);
    let engine = Engine::start(&eal, open, policy, &places, &pool, false)?;
    let measured = measure(&engine, plan, hugepages, &stop);
    let report = engine.stop()?;
    let measured = measured?;
    ensure!(report.unaccounted == 0, "{} packets are not accounted for", report.unaccounted);
    if plan.json {
        println!("{}", serde_json::to_string(&measured)?);
    } else {
        println!(
            "{} sessions: {:.2} million packets a second, {:.0} TSC cycles a packet ({} memory, {} drops)",
            measured.sessions,
            measured.million_packets_per_second,
            measured.tsc_cycles_per_packet,
            if hugepages { "hugepage" } else { "ordinary" },
            measured.drops,
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(
    engine: &Engine,
    plan: &Bench,
    hugepages: bool,
    stop: &std::sync::atomic::AtomicBool,
) -> anyhow::Result<Measured> {
    let opened = || engine.counters.iter().map(|c| c.events(Event::SessionsOpened)).sum::<u64>();
    let sent = || engine.counters.iter().map(|c| c.account().sent).sum::<u64>();
    let drops =
        || DropReason::ALL.iter().map(|&r| engine.counters.iter().map(|c| c.drops(r)).sum::<u64>()).sum::<u64>();
    let deadline = Instant::now() + Duration::from_secs(60);
    while opened() < u64::from(plan.sessions) {
        if stop.load(Ordering::Relaxed) || Instant::now() > deadline {
            bail!("only {} of {} sessions opened in a minute", opened(), plan.sessions);
        }
        sleep(Duration::from_millis(5));
    }
    // A round or more with every session open, so that caches and branch predictors are as they will be.
    sleep(Duration::from_millis(500));
    let (from, tsc, dropped, started) = (sent(), Clock::tsc(), drops(), Instant::now());
    sleep(Duration::from_secs_f64(plan.seconds));
    let (to, cycles, seconds) = (sent(), Clock::tsc() - tsc, started.elapsed().as_secs_f64());
    let packets = to - from;
    ensure!(packets > 0, "no packet went through");
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    Ok(Measured {
        sessions: opened(),
        seconds,
        packets,
        million_packets_per_second: packets as f64 / seconds / 1e6,
        tsc_cycles_per_packet: cycles as f64 / packets as f64,
        hugepages,
        drops: drops() - dropped,
    })
}

fn configuration(sessions: u32, capture: &Path) -> anyhow::Result<String> {
    let capture = capture.to_str().context("the capture's path is not UTF-8")?;
    // The device reads the whole capture into buffers of its own.
    let buffers = sessions + 16_384;
    let table = (sessions + sessions / 8).max(4096);
    Ok(format!(
        r#"
[runtime]
workers = 1
buffers = {buffers}
link_wait = "0s"
[[port]]
name = "inside"
role = "inside"
device = "net_pcap0,rx_pcap={capture},infinite_rx=1"
addresses = ["10.0.0.1/8"]
[[port]]
name = "outside"
role = "outside"
device = "net_null0,no-rx=1"
addresses = ["{OUTSIDE}/16"]
gateway = "198.19.0.1"
[[neighbour]]
port = "outside"
address = "{SERVER}"
mac = "02:00:00:00:00:02"
[nat]
pool = ["198.19.1.0-198.19.1.255"]
sessions = {table}
[nat.limits]
sessions_per_subscriber = 1_000_000
ports_per_subscriber = 65_000
new_sessions_per_second = 1_000_000
new_sessions_burst = 2_000_000
"#
    ))
}

/// One 64-byte frame (60 without its check sequence) of each flow, in an order that no prefetcher follows.
fn write_flows(path: &Path, flows: u32) -> anyhow::Result<()> {
    ensure!((1..=16 << 20).contains(&flows), "between 1 and 16,777,216 sessions can be measured, not {flows}");
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut writer = PcapWriter::new(BufWriter::new(file))?;
    // An odd multiplier permutes the numbers below a power of two; those too large are skipped.
    let mask = flows.next_power_of_two() - 1;
    let mut frame = Vec::new();
    for n in 0..=mask {
        let flow = n.wrapping_mul(0x9e37_79b1) & mask;
        if flow >= flows {
            continue;
        }
        let host = Ipv4Addr::from_bits(0x0a00_0100 + flow / FLOWS_PER_HOST);
        let port = 10_000 + u16::try_from(flow % FLOWS_PER_HOST)? * 7;
        testkit::Frame::udp((host, port), (SERVER, 4000))
            .destination_mac(PCAP_MAC)
            .df()
            .payload(&[0u8; 18])
            .build_into(&mut frame);
        writer.write_packet(&PcapPacket::new(Duration::ZERO, u32::try_from(frame.len())?, &frame))?;
    }
    Ok(())
}

/// A directory that goes with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("underpass-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
