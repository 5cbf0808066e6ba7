//! `underpass replay`: captures through the very same dataplane, on a clock taken from their times.
//!
//! ```text
//! capture (pcap, pcapng → frames with times) ─► links (who is where → Policy) ─► play (Worker<Memory>) ─► pcap
//!                                                                                  └► tally: verdicts
//! ```
//!
//! Deterministic: the seed is fixed and nothing depends on the machine, so the same captures and configuration give the
//! same bytes on every run.

mod capture;
mod links;
mod pcapng;
mod play;
mod tally;

use crate::lower;
use crate::tunnels::Tunnels;
use anyhow::{Context, bail};
use capture::{Capture, Record};
use clap::{ArgGroup, Args};
use config::{Model, Role, Workers};
use dataplane::policy::Policy;
use dataplane::types::{MAX_WORKERS, Mac, PortId};
use links::{Link, Origin};
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, Endianness, TsResolution};
use play::{Player, Sent};
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tally::{Cause, Verdicts};

/// The secret behind hashes and the choice of ports: the same in each replay.
const SEED: u64 = 0x756e_6465_7270_6173;
/// The clock goes on so long after the last packet, so that what waits for a short timer ends as it would.
const LINGER: u64 = 10_000_000_000;

/// What `underpass replay` is told.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("input").args(["inside", "outside"]).required(true).multiple(true)))]
pub(crate) struct Replay {
    /// The configuration. Devices, CPUs and memory in it do not matter.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// What arrives on the first inside port: pcap or pcapng, Ethernet.
    #[arg(long, value_name = "FILE")]
    inside: Option<PathBuf>,
    /// What arrives on the first outside port.
    #[arg(long, value_name = "FILE")]
    outside: Option<PathBuf>,
    /// Write what leaves by the inside port, as pcap.
    #[arg(long, value_name = "FILE")]
    write_inside: Option<PathBuf>,
    /// Write what leaves by the outside port, as pcap.
    #[arg(long, value_name = "FILE")]
    write_outside: Option<PathBuf>,
    /// Workers, which get the packets in turn; by default as many as the configuration has, one for "auto". With
    /// another number other outside ports and IP identifications are chosen, and nothing else changes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=MAX_WORKERS as i64))]
    workers: Option<u8>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// One of both ports in a replay.
struct Side {
    id: PortId,
    name: String,
    capture: Option<Capture>,
}

/// All that is told at the end.
#[derive(Serialize)]
struct Outcome {
    ports: Vec<PortLine>,
    neighbours: Neighbours,
    seconds: f64,
    workers: u8,
    #[serde(flatten)]
    verdicts: Verdicts,
    vpn: Tunnels,
}

#[derive(Serialize)]
struct PortLine {
    name: String,
    role: &'static str,
    mac: String,
    mac_from: &'static str,
    packets: usize,
    snapped: u64,
    backwards: u64,
}

#[derive(Serialize)]
struct Neighbours {
    configured: usize,
    from_captures: usize,
    made_up: usize,
}

/// Replays.
pub(crate) fn replay(args: &Replay) -> anyhow::Result<ExitCode> {
    let checked = match config::load(&args.config) {
        Ok(checked) => checked,
        Err(report) => {
            eprintln!("{report}");
            return Ok(ExitCode::FAILURE);
        }
    };
    for w in &checked.warnings {
        tracing::warn!("{w}");
    }
    let model = checked.model;
    let inside = side(&model, Role::Inside, args.inside.as_deref())?;
    let outside = side(&model, Role::Outside, args.outside.as_deref())?;
    let workers = args.workers.unwrap_or_else(|| workers(&model));

    let (policy, origins, neighbours) = equip(&model, &inside, &outside);
    let macs: Vec<Mac> = policy.ports.iter().map(|p| p.mac).collect();
    let line = |side: &Side, role, origin| port_line(side, role, origin, &macs);
    let ports = match origins.as_slice() {
        [a, b] => vec![line(&inside, "inside", *a), line(&outside, "outside", *b)],
        _ => Vec::new(),
    };

    let names: Vec<String> = model.ports().iter().map(|p| p.name.clone()).collect();
    let played = play(policy, workers, &names, &inside, &outside);
    let fine = [&inside, &outside].iter().any(|s| s.capture.as_ref().is_some_and(Capture::is_fine));
    write(args.write_inside.as_deref(), &played.sent, inside.id, fine)?;
    write(args.write_outside.as_deref(), &played.sent, outside.id, fine)?;

    let vpn = played.verdicts.account.vpn.clone();
    let outcome = Outcome { ports, neighbours, seconds: played.seconds, workers, verdicts: played.verdicts, vpn };
    tell(&outcome, args.json)?;
    if outcome.verdicts.account.unaccounted != 0 {
        bail!("{} packets are not accounted for; please report it", outcome.verdicts.account.unaccounted);
    }
    Ok(ExitCode::SUCCESS)
}

/// The first port of a role and its capture.
fn side(model: &Model, role: Role, path: Option<&Path>) -> anyhow::Result<Side> {
    let mut facing = model.ports_facing(role);
    let (index, port) = facing.next().context("the configuration lacks a port")?;
    let others: Vec<_> = facing.map(|(_, p)| p.name.as_str()).collect();
    if !others.is_empty() {
        tracing::warn!("port {} is replayed; nothing arrives on {}", port.name, others.join(", "));
    }
    let capture = path.map(Capture::load).transpose()?;
    if let (Some(c), Some(path)) = (&capture, path) {
        if c.snapped > 0 {
            tracing::warn!(
                "{}: {} packet(s) were captured in part; they are played as they are, and most will be dropped as \
                 damaged (capture with a snap length of 0)",
                path.display(),
                c.snapped
            );
        }
        if c.backwards > 0 {
            tracing::warn!(
                "{}: {} packet(s) are older than the one before; they are played at its time",
                path.display(),
                c.backwards
            );
        }
    }
    Ok(Side { id: PortId(u8::try_from(index.get())?), name: port.name.clone(), capture })
}

fn workers(model: &Model) -> u8 {
    let count = match &model.runtime().workers.value {
        Workers::Auto => 1,
        Workers::Count(n) => *n,
        Workers::Cpus(cpus) => cpus.len(),
    };
    u8::try_from(count.clamp(1, MAX_WORKERS)).unwrap_or(1)
}

/// The policy with everybody's Ethernet address.
fn equip(model: &Model, inside: &Side, outside: &Side) -> (Policy, Vec<Origin>, Neighbours) {
    let configured: Vec<Mac> =
        model.ports().iter().map(|p| p.mac.as_ref().map_or(Mac::default(), |m| Mac(m.value.octets()))).collect();
    let mut policy = lower::policy(model, &configured, SEED);
    let links = [inside, outside].map(|s| Link { port: s.id, capture: s.capture.as_ref() });
    let origins = links::choose_macs(&mut policy, &links);
    let configured = policy.neighbours.len();
    let (from_captures, made_up) = links::add_neighbours(&mut policy, &links);
    (policy, origins, Neighbours { configured, from_captures, made_up })
}

struct Played {
    sent: Vec<Sent>,
    verdicts: Verdicts,
    seconds: f64,
}

fn play(policy: Policy, workers: u8, names: &[String], inside: &Side, outside: &Side) -> Played {
    let records = |s: &Side| s.capture.iter().flat_map(|c| c.records.iter()).cloned().collect::<Vec<Record>>();
    let (a, b) = (records(inside), records(outside));
    let start = a.first().into_iter().chain(b.first()).map(|r| r.at).min().unwrap_or(0);
    let end = a.last().into_iter().chain(b.last()).map(|r| r.at).max().unwrap_or(0);
    let mut player = Player::new(policy, workers, names, start);
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    loop {
        // By time; inside first where both are the same.
        let from_inside = match (a.peek(), b.peek()) {
            (Some(x), Some(y)) => x.at <= y.at,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => break,
        };
        let (record, port, cause) =
            if from_inside { (a.next(), inside.id, Cause::Inside) } else { (b.next(), outside.id, Cause::Outside) };
        if let Some(record) = record {
            player.wait_until(record.at);
            player.arrive(port, &record.frame, cause);
        }
    }
    player.wait_until(end.saturating_add(LINGER));
    let (sent, verdicts) = player.finish();
    Played { sent, verdicts, seconds: Duration::from_nanos(end - start).as_secs_f64() }
}

fn write(path: Option<&Path>, sent: &[Sent], port: PortId, fine: bool) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let frames: Vec<&Sent> = sent.iter().filter(|s| s.port == port).collect();
    write_pcap(path, &frames, fine).with_context(|| format!("cannot write {}", path.display()))
}

fn write_pcap(path: &Path, frames: &[&Sent], fine: bool) -> anyhow::Result<()> {
    let header = PcapHeader {
        snaplen: 262_144,
        datalink: DataLink::ETHERNET,
        ts_resolution: if fine { TsResolution::NanoSecond } else { TsResolution::MicroSecond },
        endianness: Endianness::Little,
        ..PcapHeader::default()
    };
    let mut writer = PcapWriter::with_header(BufWriter::new(File::create(path)?), header)?;
    for s in frames {
        let length = u32::try_from(s.frame.len())?;
        writer.write_packet(&PcapPacket::new(Duration::from_nanos(s.at), length, &s.frame))?;
    }
    writer.into_writer().flush()?;
    Ok(())
}

fn port_line(side: &Side, role: &'static str, origin: Origin, macs: &[Mac]) -> PortLine {
    let capture = side.capture.as_ref();
    PortLine {
        name: side.name.clone(),
        role,
        mac: format!("{:?}", macs.get(side.id.index()).copied().unwrap_or_default()),
        mac_from: match origin {
            Origin::Capture => "capture",
            Origin::Configuration => "configuration",
            Origin::MadeUp => "made up",
        },
        packets: capture.map_or(0, |c| c.records.len()),
        snapped: capture.map_or(0, |c| c.snapped),
        backwards: capture.map_or(0, |c| c.backwards),
    }
}

fn tell(outcome: &Outcome, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(outcome)?)?;
        return Ok(());
    }
    for p in &outcome.ports {
        let mut notes = String::new();
        for (n, what) in [(p.snapped, "snapped"), (p.backwards, "out of order")] {
            if n > 0 {
                notes.push_str(&format!(", {n} {what}"));
            }
        }
        writeln!(out, "{}: {}, {} packet(s){notes}; {} ({})", p.role, p.name, p.packets, p.mac, p.mac_from)?;
    }
    let n = &outcome.neighbours;
    writeln!(
        out,
        "neighbours: {} configured, {} from the captures, {} made up",
        n.configured, n.from_captures, n.made_up
    )?;
    writeln!(out, "{:.3} s, {} worker(s)\n", outcome.seconds, outcome.workers)?;
    write!(out, "{}", outcome.verdicts)?;
    Ok(())
}
