//! `underpass bench`: steady-state packets per second of one worker, measured on DPDK's own devices.
//!
//! A capture with one small UDP packet of each flow is read over and over by `net_pcap` (`infinite_rx=1`), translated,
//! and swallowed by `net_null`. The first round opens the sessions; the rate is taken when all are open. Tunnels ([`flows`])
//! are answered once by a second capture, on a device that swallows too.
//!
//! With several workers each has a queue with a capture of its own, of which a given part belongs to the next worker: what
//! handing packets over costs is the difference that this part makes.

mod flows;

pub(crate) use flows::Traffic;

use crate::engine::{Engine, OpenPorts};
use crate::{lower, machine, run, signals};
use anyhow::{Context, bail, ensure};
use dataplane::policy::Sharding;
use dataplane::verdict::{DropReason, Event};
use dpdk::Clock;
use flows::{SERVER, TUNNELS_OUTSIDE};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Where a measurement is taken.
#[derive(Clone, Debug)]
pub(crate) struct Bench {
    /// What flows carry.
    pub(crate) traffic: Traffic,
    /// Sessions or tunnels, and so flows in the capture.
    pub(crate) sessions: u32,
    /// How often each flow is in the capture.
    pub(crate) rounds: u32,
    /// Workers, each with a queue.
    pub(crate) workers: u8,
    /// Percent of the packets that come by another worker's queue.
    pub(crate) handoff: u8,
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
    traffic: Traffic,
    sessions: u64,
    workers: u8,
    handed_off_percent: f64,
    seconds: f64,
    packets: u64,
    million_packets_per_second: f64,
    tsc_cycles_per_packet: f64,
    /// The same by the time that the worker's thread was given a CPU: what else the machine ran does not count, unless
    /// it emptied the caches. Absent where the kernel does not say.
    million_packets_per_cpu_second: Option<f64>,
    hugepages: bool,
    drops: u64,
}

/// The secret of a bench: the capture must know who owns which host.
const SEED: u64 = 0x0bad_5eed;
const OUTSIDE: &str = "198.19.0.2";

/// Measures, and prints the result.
pub(crate) fn bench(plan: &Bench) -> anyhow::Result<ExitCode> {
    let scratch;
    let capture = if let Some(path) = &plan.capture {
        path.clone()
    } else {
        scratch = Scratch::new()?;
        scratch.0.join("flows.pcap")
    };
    ensure!(plan.workers > 1 || plan.handoff == 0, "one worker has nobody to hand packets to: add --workers 2");
    ensure!(
        plan.workers == 1 || plan.traffic == Traffic::Udp,
        "several workers are measured with UDP: leave --traffic out, or --workers and --handoff"
    );
    if !capture.exists() {
        if plan.workers == 1 {
            flows::write(&capture, plan.traffic, plan.sessions, plan.rounds)?;
        } else {
            let sharding = Sharding::new(plan.workers, SEED);
            flows::write_shared(&capture, &sharding, plan.sessions, plan.rounds, plan.handoff)?;
        }
    }
    if plan.only_capture {
        return Ok(ExitCode::SUCCESS);
    }
    let text = configuration(plan, &capture)?;
    let checked = config::parse("bench", &text).map_err(|report| anyhow::anyhow!("{report}"))?;
    let model = checked.model;
    let stop = signals::stop_flag()?;
    let cpus = machine::cpus();
    let places = machine::places(&model.runtime().workers.value, &cpus)?;
    let plans = run::plans(&model);
    let (eal, pool) = run::start_dpdk(&model, &plans, &places, &cpus)?;
    let hugepages = eal.has_hugepages();
    let open = OpenPorts::open(&eal, &plans, places.len(), &pool)?;
    let policy = lower::policy(&model, &open.macs(), SEED);
    let engine = Engine::start(&eal, open, policy, &places, &pool, false)?;
    let measured = measure(&engine, plan, hugepages, &stop);
    let report = engine.stop()?;
    tracing::debug!("{report}");
    let measured = measured?;
    ensure!(report.unaccounted == 0, "{} packets are not accounted for", report.unaccounted);
    if plan.json {
        println!("{}", serde_json::to_string(&measured)?);
    } else {
        println!(
            "{} sessions of {:?}, {} worker(s), {:.0} % handed off: {:.2} million packets a second, {:.0} TSC cycles a \
             packet ({} memory, {} drops)",
            measured.sessions,
            measured.traffic,
            measured.workers,
            measured.handed_off_percent,
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
    let settled = if plan.traffic == Traffic::Udp { Event::SessionsOpened } else { Event::TunnelsConfirmed };
    let opened = || engine.counters.iter().map(|c| c.events(settled)).sum::<u64>();
    let handed = || engine.counters.iter().map(|c| c.events(Event::HandedOff)).sum::<u64>();
    let sent = || engine.counters.iter().map(|c| c.account().sent).sum::<u64>();
    let drops =
        || DropReason::ALL.iter().map(|&r| engine.counters.iter().map(|c| c.drops(r)).sum::<u64>()).sum::<u64>();
    let deadline = Instant::now() + Duration::from_secs(60);
    // Each worker's share is whole.
    let wanted = u64::from(plan.sessions / u32::from(plan.workers) * u32::from(plan.workers));
    while opened() < wanted {
        if stop.load(Ordering::Relaxed) || Instant::now() > deadline {
            bail!("only {} of {} sessions opened in a minute", opened(), plan.sessions);
        }
        sleep(Duration::from_millis(5));
    }
    // A round or more with every session open, so that caches and branch predictors are as they will be.
    sleep(Duration::from_millis(500));
    let (from, tsc, dropped, away, started) = (sent(), Clock::tsc(), drops(), handed(), Instant::now());
    let ran = time_on_cpu();
    sleep(Duration::from_secs_f64(plan.seconds));
    let (to, cycles, seconds) = (sent(), Clock::tsc() - tsc, started.elapsed().as_secs_f64());
    let ran = time_on_cpu().zip(ran).map(|(now, then)| (now - then).as_secs_f64()).filter(|s| *s > 0.0);
    let (packets, away) = (to - from, handed() - away);
    ensure!(packets > 0, "no packet went through");
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    Ok(Measured {
        traffic: plan.traffic,
        sessions: wanted,
        workers: plan.workers,
        handed_off_percent: away as f64 / packets as f64 * 100.0,
        seconds,
        packets,
        million_packets_per_second: packets as f64 / seconds / 1e6,
        tsc_cycles_per_packet: cycles as f64 * f64::from(plan.workers) / packets as f64,
        million_packets_per_cpu_second: ran.map(|ran| packets as f64 / ran / 1e6),
        hugepages,
        drops: drops() - dropped,
    })
}

/// How long the workers' threads have had a CPU.
fn time_on_cpu() -> Option<Duration> {
    let mut sum = Duration::ZERO;
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten().map(|t| t.path()) {
        let is_worker = std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("worker-"));
        if is_worker {
            let text = std::fs::read_to_string(task.join("schedstat")).ok()?;
            sum += Duration::from_nanos(text.split(' ').next()?.parse().ok()?);
        }
    }
    Some(sum)
}

fn configuration(plan: &Bench, capture: &Path) -> anyhow::Result<String> {
    let sessions = plan.sessions;
    let answers = flows::answers(capture);
    let answers = answers.to_str().context("the capture's path is not UTF-8")?;
    let captures: Vec<_> = (0..plan.workers).map(|queue| flows::of_queue(capture, queue)).collect();
    let captures = captures.iter().map(|c| c.to_str()).collect::<Option<Vec<_>>>();
    let captures = captures.context("the capture's path is not UTF-8")?.join(",rx_pcap=");
    let workers = plan.workers;
    let buffers = flows::packets(sessions, plan.rounds).context("too many packets")? + 16_384 * u32::from(plan.workers);
    // A tunnel has two legs; PPTP's control connections come on top.
    let table = (sessions * 3).max(4096);
    let (outside, pool) = match plan.traffic {
        Traffic::Udp => ("net_null0,no-rx=1".to_owned(), "198.19.1.0-198.19.1.255".to_owned()),
        _ => (format!("net_pcap1,rx_pcap={answers}"), TUNNELS_OUTSIDE.to_string()),
    };
    let table = if plan.traffic == Traffic::Udp { (sessions + sessions / 8).max(4096) } else { table };
    // The last quarter of the table is for hosts with few tunnels, and these have many.
    let tunnels = sessions.max(64).saturating_mul(2);
    // Who is answered must be known, as nobody is there to be asked.
    let hosts: String = flows::answered(plan.traffic, sessions)
        .map(|host| format!("[[neighbour]]\nport = \"inside\"\naddress = \"{host}\"\nmac = \"02:00:00:00:00:04\"\n"))
        .collect();
    Ok(format!(
        r#"
[runtime]
workers = {workers}
buffers = {buffers}
link_wait = "0s"
[[port]]
name = "inside"
role = "inside"
device = "net_pcap0,rx_pcap={captures},infinite_rx=1"
addresses = ["10.0.0.1/8"]
[[port]]
name = "outside"
role = "outside"
device = "{outside}"
addresses = ["{OUTSIDE}/16"]
gateway = "198.19.0.1"
[[neighbour]]
port = "outside"
address = "{SERVER}"
mac = "02:00:00:00:00:02"
[[neighbour]]
port = "outside"
address = "198.19.0.1"
mac = "02:00:00:00:00:03"
{hosts}
[passthrough]
tunnels = {tunnels}
tunnels_per_subscriber = 64
[nat]
pool = ["{pool}"]
sessions = {table}
[nat.limits]
sessions_per_subscriber = 1_000_000
ports_per_subscriber = 65_000
new_sessions_per_second = 1_000_000
new_sessions_burst = 2_000_000
"#
    ))
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
