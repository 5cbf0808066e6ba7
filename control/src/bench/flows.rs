//! What a bench feeds: captures of established flows, and of what the other side answers once.
//!
//! The capture goes round and round, so what sets a flow up comes again each round and must change nothing then. Tunnels
//! are settled when both sides have sent: `answers` is read once, in step with the first round.

use anyhow::{Context, ensure};
use clap::ValueEnum;
use dataplane::policy::Sharding;
use dataplane::types::WorkerId;
use pcap_file::pcap::{PcapPacket, PcapWriter};
use serde::Serialize;
use std::fs::File;
use std::io::BufWriter;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::{ACK, Frame, PSH, SYN, pptp};

/// The outside address of tunnels.
pub(super) const TUNNELS_OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 19, 1, 0);
/// Where UDP flows go.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 1);
/// The first and the second `net_pcap` device's addresses.
const PCAP_MACS: [[u8; 6]; 2] = [[0x02, 0x70, 0x63, 0x61, 0x70, 0x00], [0x02, 0x70, 0x63, 0x61, 0x70, 0x01]];
const FLOWS_PER_HOST: u32 = 64;
/// Calls of one PPTP control connection.
const CALLS: u32 = 32;
/// Frames between the beginnings of connections and their calls: two bursts.
const FILLING: u16 = 64;
/// Incoming-Call-Reply's result [RFC 2637 §2.10].
const CONNECTED: u8 = 1;

/// The capture of a worker's queue: the first is the one that was named.
pub(super) fn of_queue(capture: &Path, queue: u8) -> PathBuf {
    if queue == 0 { capture.to_owned() } else { capture.with_extension(format!("{queue}.pcap")) }
}

/// Writes a capture of UDP flows for each worker's queue, of which `handoff` percent belong to the next worker.
pub(super) fn write_shared(
    path: &Path,
    sharding: &Sharding,
    flows: u32,
    rounds: u32,
    handoff: u8,
) -> anyhow::Result<()> {
    ensure!(packets(flows, rounds).is_some(), "{flows} flows {rounds} times are more packets than a capture may have");
    let workers = sharding.workers();
    let each = flows / u32::from(workers);
    ensure!(each > 0, "{flows} flows are too few for {workers} workers");
    // Flows by whom they belong to; the hosts of each worker are found as they come.
    let mut hosts: Vec<_> = (0..workers)
        .map(|w| {
            (0u32..).map(|n| n * FLOWS_PER_HOST).filter(move |&flow| sharding.of_inside(host(flow)) == WorkerId(w))
        })
        .map(|hosts| hosts.flat_map(|first| first..first + FLOWS_PER_HOST))
        .collect();
    for queue in 0..workers {
        let away = each * u32::from(handoff) / 100;
        let mut take = |owner: u8, n: u32| -> Vec<u32> {
            hosts.get_mut(usize::from(owner)).map(|flows| flows.take(n as usize).collect()).unwrap_or_default()
        };
        let mut mine: Vec<u32> = take(queue, each - away);
        mine.extend(take((queue + 1) % workers, away));
        let mut out = Writer::new(&of_queue(path, queue))?;
        let count = u32::try_from(mine.len())?;
        for flow in (0..rounds).flat_map(|_| shuffled(count)).filter_map(|n| mine.get(n as usize)) {
            out.put(0, udp(*flow)?)?;
        }
    }
    Ok(())
}

fn udp(flow: u32) -> anyhow::Result<Frame<'static>> {
    let port = 10_000 + u16::try_from(flow % FLOWS_PER_HOST)? * 7;
    Ok(Frame::udp((host(flow), port), (SERVER, 4000)).payload(&[0u8; 18]))
}

/// What flows carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Traffic {
    /// UDP, outward.
    Udp,
    /// PPTP's GRE, outward.
    Pptp,
    /// ESP, outward.
    Esp,
    /// L2TPv3 over IP without a control connection, outward.
    L2tpv3,
}

/// Where the second capture of a traffic lies.
pub(super) fn answers(capture: &Path) -> PathBuf {
    capture.with_extension("answers.pcap")
}

struct Writer(PcapWriter<BufWriter<File>>, Vec<u8>);

impl Writer {
    fn new(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self(PcapWriter::new(BufWriter::new(file))?, Vec::new()))
    }

    fn put(&mut self, port: usize, frame: Frame<'_>) -> anyhow::Result<()> {
        frame.destination_mac(PCAP_MACS[port]).df().build_into(&mut self.1);
        self.0.write_packet(&PcapPacket::new(Duration::ZERO, u32::try_from(self.1.len())?, &self.1))?;
        Ok(())
    }
}

fn host(flow: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0100 + flow / FLOWS_PER_HOST)
}

/// Each tunnel has a server of its own.
fn server(flow: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0b00_0001 + flow)
}

/// The numbers of all flows, in an order that no prefetcher follows: an odd multiplier permutes the numbers below a power
/// of two; those too large are skipped.
fn shuffled(flows: u32) -> impl Iterator<Item = u32> {
    let mask = flows.next_power_of_two() - 1;
    (0..=mask).map(move |n| n.wrapping_mul(0x9e37_79b1) & mask).filter(move |flow| *flow < flows)
}

/// Writes 64-byte frames (60 without their check sequence) of each flow, and the answers where there are any.
pub(super) fn write(path: &Path, traffic: Traffic, flows: u32, rounds: u32) -> anyhow::Result<()> {
    ensure!(packets(flows, rounds).is_some(), "{flows} flows {rounds} times are more packets than a capture may have");
    ensure!((1..=16 << 20).contains(&flows), "between 1 and 16,777,216 sessions can be measured, not {flows}");
    let mut out = Writer::new(path)?;
    if traffic == Traffic::Udp {
        for flow in (0..rounds).flat_map(|_| shuffled(flows)) {
            out.put(0, udp(flow)?)?;
        }
        return Ok(());
    }
    let mut back = Writer::new(&answers(path))?;
    if traffic == Traffic::Pptp {
        return write_pptp(&mut out, &mut back, flows, rounds);
    }
    for (n, flow) in (0..rounds).flat_map(|n| shuffled(flows).map(move |flow| (n, flow))) {
        let (a, x, id) = (host(flow), server(flow), 0x1000 + flow);
        let data = [&id.to_be_bytes()[..], &[0; 22]].concat();
        if traffic == Traffic::Esp {
            out.put(0, Frame::esp(a, x, id, 1).payload(&[0u8; 18]))?;
        } else {
            out.put(0, Frame::ip(115, a, x).payload(data.clone()))?;
        }
        if n > 0 {
            continue;
        }
        if traffic == Traffic::Esp {
            back.put(1, Frame::esp(x, TUNNELS_OUTSIDE, id, 1).payload(&[0u8; 18]))?;
        } else {
            back.put(1, Frame::ip(115, x, TUNNELS_OUTSIDE).payload(data))?;
        }
    }
    Ok(())
}

/// The inside answers calls that its server began, so each call is made by what the inside sends.
fn write_pptp(out: &mut Writer, back: &mut Writer, calls: u32, rounds: u32) -> anyhow::Result<()> {
    let connections = calls.div_ceil(CALLS);
    ensure!(connections < 40_000, "at most {} PPTP calls can be measured", 40_000 * CALLS);
    // Ports stay as they are, as no two connections share one.
    let ends = |n: u32| Ok::<_, anyhow::Error>((host(n * FLOWS_PER_HOST), server(n), 20_000 + u16::try_from(n)?));
    // All beginnings first: the answers are read as fast as these.
    for n in 0..connections {
        let (a, x, port) = ends(n)?;
        out.put(0, Frame::tcp((a, port), (x, 1723)).flags(SYN).seq(1000).ack(0))?;
        back.put(1, Frame::tcp((x, 1723), (TUNNELS_OUTSIDE, port)).flags(SYN | ACK).seq(5000).ack(1001))?;
    }
    // The server's requests must be there before their replies, whatever of both a burst holds.
    for n in 0..FILLING {
        out.put(0, Frame::udp((host(0), 60_000 + n), (SERVER, 4000)))?;
    }
    for n in 0..connections {
        let (a, x, port) = ends(n)?;
        let (mut seq, mut remote_seq) = (1001, 5001);
        for call in 0..CALLS.min(calls - n * CALLS) {
            let call = u16::try_from(call)?;
            let request = pptp::incoming_call_request(100 + call);
            let reply = pptp::incoming_call_reply(call, 100 + call, CONNECTED);
            let (request_len, len) = (u32::try_from(request.len())?, u32::try_from(reply.len())?);
            let from_server = Frame::tcp((x, 1723), (TUNNELS_OUTSIDE, port)).flags(PSH | ACK);
            back.put(1, from_server.seq(remote_seq).ack(1001).payload(request))?;
            out.put(0, Frame::tcp((a, port), (x, 1723)).flags(PSH | ACK).seq(seq).ack(5001).payload(reply))?;
            (seq, remote_seq) = (seq + len, remote_seq + request_len);
        }
    }
    for _ in 0..rounds {
        for call in shuffled(calls) {
            let (n, id) = (call / CALLS, 100 + u16::try_from(call % CALLS)?);
            out.put(0, Frame::gre(host(n * FLOWS_PER_HOST), server(n), id).gre_seq(1).payload(&[0u8; 14]))?;
        }
    }
    Ok(())
}

/// The inside hosts that must get their answers before their flows are settled.
pub(super) fn answered(traffic: Traffic, calls: u32) -> impl Iterator<Item = Ipv4Addr> {
    let connections = if traffic == Traffic::Pptp { calls.div_ceil(CALLS) } else { 0 };
    (0..connections).map(|n| host(n * FLOWS_PER_HOST))
}

/// Packets in the capture at most, which the device reads into buffers of its own.
pub(super) fn packets(flows: u32, rounds: u32) -> Option<u32> {
    rounds.checked_add(2)?.checked_mul(flows).filter(|n| *n <= 1 << 25)
}
