//! `underpass demo`: the real dataplane between simulated hosts and servers, on devices whose wires are memory.
//!
//! ```text
//! sim (talk/*, bulk, stations) ─ far ══ wire ══ lan │ router │ wan ══ wire ══ far ─ sim (the same thread)
//!                                                 └ its counters ─► view ─► table, line or JSON ◄─ snapshot of sim
//! ```
//!
//! The router is the same engine and the same worker as in `underpass run`; only its devices are `dpdk::wire`s. Every
//! simulated conversation is checked at each of its ends, and the exit code says whether all were right.

mod bulk;
mod cast;
mod chance;
mod far;
mod latency;
mod rivals;
mod screen;
mod sim;
mod stations;
mod summary;
mod table;
mod talk;
mod tally;
mod view;
mod world;

use crate::engine::{self, Engine, OpenPorts};
use crate::{lower, machine, run, signals};
use anyhow::{Context, anyhow};
use cast::Cast;
use config::Workers;
use dpdk::wire;
use far::{Far, Shared};
use screen::Screen;
use sim::Sim;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};
use view::Moment;

/// What `underpass demo` may be told.
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// How long conversations start: 10s, 500ms, 2m; a number alone is seconds. What has begun by then is finished.
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = duration)]
    duration: Duration,
    /// Workers [default: 2, or 1 where there are fewer than 3 CPUs].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=8))]
    workers: Option<u8>,
    /// Print one JSON object a second, {"type": "progress", …}, and one at the end, {"type": "summary", …}.
    ///
    /// Both have: `seconds`; `out` and `in`, each with `packets`, `bytes`, `packets_per_second`, `bits_per_second` and
    /// `latency_us` (`p50`, `p99`, `p99_9`, `max`); `sessions`, `sessions_opened_per_second`, `mappings`; `handed_over`
    /// (packets from worker to worker); `drops` by reason; `strays` (frames that belong to no conversation);
    /// `tcp_retransmitted`; `pptp_retransmitted`; `esp_misled` (ESP packets that first came to another client of the same
    /// gateway that waited too); `conversations` by kind, each with `started`, `verified`, `failed` and `lost` (fell silent
    /// while the dataplane dropped packets for want of capacity).
    ///
    /// In the summary, rates and latencies are those of the whole run, and there are also `ok`, `workers`, `faults` (in
    /// words) and `account` (`received`, `originated`, `sent`, `consumed`, `dropped`, `unaccounted`, …), and
    /// `vpn`: each tunnel that there was at the end.
    #[arg(long)]
    json: bool,
}

/// Between two redraws of the table, and between two plain lines.
const REDRAW: Duration = Duration::from_millis(250);
const SECOND: Duration = Duration::from_secs(1);
/// Packets that a wire holds, a queue: more than the simulation ever has under way.
const WIRE: u32 = 2048;
/// Buffers for the far ends: under way, and in the simulation's cache.
const FAR_BUFFERS: u32 = 4096;
/// Longest demo.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Runs the demo.
pub(crate) fn demo(args: &Demo) -> anyhow::Result<ExitCode> {
    let model = cast::model()?;
    let cast = Cast::of(&model).ok_or_else(|| anyhow!("demo.toml lacks a port, a gateway or a forward"))?;
    let cpus = machine::cpus();
    let workers = args.workers.map_or_else(|| cpus.len().saturating_sub(1).clamp(1, 2), usize::from);
    let places = machine::places(&Workers::Count(workers), &cpus)?;
    let stop = signals::stop_flag()?;
    if !args.json {
        println!("{}", summary::headline(&cast, workers, args.duration));
    }

    let plans = run::plans(&model);
    let queues = u16::try_from(workers)?;
    let buffers = engine::buffer_count(&plans, workers) + FAR_BUFFERS;
    let rings = u64::from(queues) * 4 * u64::from(WIRE) * 8;
    let bytes = engine::buffer_bytes(buffers, engine::data_room(&plans)) + rings;
    let memory = machine::memory(config::Memory::Ordinary, bytes)?;
    let eal = engine::start_eal(memory, &[], &[], &[], cpus.first().copied())?;
    let (_, far_inside) = wire(&eal, "lan", "lan_far", queues, WIRE).context("cannot make the inside wire")?;
    let (_, far_outside) = wire(&eal, "wan", "wan_far", queues, WIRE).context("cannot make the outside wire")?;
    let pool = engine::make_pool(&eal, &plans, buffers, None)?;
    let open = OpenPorts::open(&eal, &plans, workers, &pool)?;
    let far = Far::open(&eal, [&far_inside, &far_outside], queues, &pool)?;
    let policy = lower::policy(&model, &open.macs(), run::seed()?);
    let engine = Engine::start(&eal, open, policy, &places, &pool, lower::yields(&model))?;

    let shared = Arc::new(Shared::default());
    let sim = Sim::new(cast, run::seed()?, far.ticks_per_second());
    let simulation = {
        let (eal, shared, duration) = (Arc::clone(&eal), Arc::clone(&shared), args.duration);
        let run = move || far.run(&eal, sim, duration, &shared);
        thread::Builder::new().name("network".into()).spawn(run).context("cannot start the simulation")?
    };
    let first = Moment::take(far::Snapshot::default(), Duration::ZERO, &engine.counters);
    let start = Instant::now();
    // The first and the last moment at which conversations were starting.
    let mut busy: Option<(Moment, Moment)> = None;
    let mut observer = Observer::new(args, workers, first);
    while !simulation.is_finished() && engine.is_alive() {
        thread::sleep(Duration::from_millis(20));
        if stop.load(Ordering::Relaxed) {
            shared.stop.store(true, Ordering::Relaxed);
        }
        let snapshot = shared.snapshot.lock().map(|s| s.clone()).unwrap_or_default();
        let moment = Moment::take(snapshot, start.elapsed(), &engine.counters);
        if moment.overload() > 0 {
            shared.overloaded.store(true, Ordering::Relaxed);
        }
        observer.show(&moment);
        if moment.snapshot.connected && !moment.snapshot.finishing {
            match &mut busy {
                Some((_, last)) => *last = moment,
                None => busy = Some((moment.clone(), moment)),
            }
        }
    }
    drop(observer);
    shared.stop.store(true, Ordering::Relaxed);
    let far = simulation.join().map_err(|_| anyhow!("the simulation panicked; please report it"))?;
    let snapshot = shared.snapshot.lock().map(|s| s.clone()).unwrap_or_default();
    let last = Moment::take(snapshot, start.elapsed(), &engine.counters);
    let report = engine.stop()?;
    drop(far);
    let rates = busy.map(|(first, last)| last.since(&first)).unwrap_or_default();
    let good = summary::tell(&last, &rates, &report, workers, args.json)?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Shows each moment as it is wanted: a table, lines, or JSON.
struct Observer<'a> {
    args: &'a Demo,
    workers: usize,
    screen: Option<Screen>,
    shown: Duration,
    /// The moment that rates are measured from: about a second ago.
    base: Moment,
    next_base: Moment,
}

impl<'a> Observer<'a> {
    fn new(args: &'a Demo, workers: usize, first: Moment) -> Self {
        let screen = (!args.json && screen::is_there()).then(Screen::new);
        Self { args, workers, screen, shown: Duration::ZERO, next_base: first.clone(), base: first }
    }

    fn show(&mut self, moment: &Moment) {
        let due = if self.screen.is_some() { REDRAW } else { SECOND };
        if moment.at.saturating_sub(self.shown) < due || moment.snapshot.over {
            return;
        }
        self.shown = moment.at;
        let rates = moment.since(&self.base);
        match &mut self.screen {
            Some(screen) => {
                if moment.snapshot.finishing {
                    screen.show_cursor();
                }
                screen.draw(&table::live(moment, &rates, self.args.duration, self.workers, screen::size()));
            }
            None if self.args.json => {
                let mut object = view::json(moment, &rates);
                object["type"] = "progress".into();
                println!("{object}");
            }
            None => println!("{}", view::line(moment, &rates, self.workers)),
        }
        let _ = std::io::stdout().flush();
        if moment.at.saturating_sub(self.next_base.at) >= SECOND.mul_f64(0.9) {
            self.base = std::mem::replace(&mut self.next_base, moment.clone());
        }
        if self.screen.is_none() {
            self.base = moment.clone();
        }
    }
}

impl Drop for Observer<'_> {
    fn drop(&mut self) {
        if let Some(screen) = &mut self.screen {
            screen.clear();
        }
    }
}

/// `10s`, `500ms`, `2m`, `1h`, or seconds alone.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a time such as 10s, 500ms or 2m".to_owned();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => 1,
        "s" | "" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let duration = number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)?;
    if (Duration::from_millis(500)..=LONGEST).contains(&duration) {
        Ok(duration)
    } else {
        Err("write a time from 500ms to 24h".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_or_are_seconds() {
        for (text, millis) in [("10", 10_000), ("10s", 10_000), ("500ms", 500), ("2m", 120_000), ("24h", 86_400_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "s", "0", "10x", "-1s", "1.5s", "10 s", "25h", "499ms", "99999999999999999999", "99999999999999999h"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
