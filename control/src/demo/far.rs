//! The far ends of the router's wires: the simulated network's thread.
//!
//! Each frame is sent on a queue chosen by chance, so that with several workers most packets first reach one that does
//! not own them, and must be handed over. Nothing is lost here: what a ring refuses waits.

use super::latency::Percentiles;
use super::sim::Sim;
use super::tally::Tally;
use dataplane::types::Side;
use dpdk::{ArrayVec, Clock, Eal, Mbuf, Mempool, Port, PortConfig, RegisteredThread, RxQueue, Started, TxQueue};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const BURST: usize = 32;
/// Turns without a frame before this thread sleeps.
const IDLE_SLEEP: u32 = 500;
/// How often the sum of what happened is put where the display finds it.
const PUBLISH: Duration = Duration::from_millis(100);
/// How long conversations may take to end when no new ones start.
const GRACE: Duration = Duration::from_secs(15);
/// How long the line must be quiet at the end, so that what comes twice has come.
const QUIET: Duration = Duration::from_millis(200);
/// How long the router may take to answer the first ARP requests.
const CONNECT: Duration = Duration::from_secs(10);

/// What the display may know.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// The router has answered everybody's ARP: conversations run.
    pub(super) connected: bool,
    /// Since then.
    pub(super) elapsed: Duration,
    /// No new conversations start any more.
    pub(super) finishing: bool,
    /// Everything has ended.
    pub(super) over: bool,
    pub(super) tally: Tally,
    /// Of about the last second: towards the outside, towards the inside. At the end, of the whole run.
    pub(super) latency: [Percentiles; 2],
}

/// What the simulation and its observer share.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) snapshot: Mutex<Snapshot>,
    /// Set by the observer: no new conversations.
    pub(super) stop: AtomicBool,
    /// Set by the observer: the dataplane has dropped packets for want of capacity.
    pub(super) overloaded: AtomicBool,
}

/// One far end: its queues, and for each what did not fit yet.
struct Line {
    side: Side,
    rx: Vec<RxQueue>,
    tx: Vec<(TxQueue, ArrayVec<Mbuf, BURST>, VecDeque<Mbuf>)>,
}

/// Both far ends.
pub(super) struct Far {
    lines: [Line; 2],
    pool: Mempool,
    clock: Clock,
}

/// Starts a far end's port.
fn start(eal: &Eal, device: &str, queues: u16, pool: &Mempool) -> anyhow::Result<Started> {
    let config = PortConfig { rx_queues: queues, tx_queues: queues, ..PortConfig::new(pool) };
    Ok(Port::find(eal, device)?.start(&config)?)
}

impl Far {
    /// The far ends of the inside and the outside wire.
    pub(super) fn open(eal: &Eal, devices: [&str; 2], queues: u16, pool: &Mempool) -> anyhow::Result<Self> {
        let line = |side, device| -> anyhow::Result<Line> {
            let started = start(eal, device, queues, pool)?;
            let tx = started.tx.into_iter().map(|q| (q, ArrayVec::new(), VecDeque::new())).collect();
            Ok(Line { side, rx: started.rx, tx })
        };
        let lines = [line(Side::Inside, devices[0])?, line(Side::Outside, devices[1])?];
        Ok(Self { lines, pool: pool.clone(), clock: Clock::new(eal) })
    }

    /// The rate of the stamps.
    pub(super) fn ticks_per_second(&self) -> u64 {
        self.clock.tsc_hz()
    }

    /// Runs the simulation for `duration`, then until everything has ended. Returns itself, so that the wires stay.
    pub(super) fn run(mut self, eal: &Eal, mut sim: Sim, duration: Duration, shared: &Shared) -> Self {
        let registered = RegisteredThread::new(eal);
        if let Err(e) = &registered {
            tracing::warn!("simulation: {e}");
        }
        let start = Instant::now();
        let mut connected = None;
        let mut finishing: Option<Duration> = None;
        let mut quiet: Option<Duration> = None;
        let (mut published, mut recent_since) = (Duration::ZERO, Duration::ZERO);
        let mut recent = Default::default();
        let mut idle = 0u32;
        sim.begin();
        loop {
            let mut work = self.receive(&mut sim);
            let now = start.elapsed();
            if connected.is_none() && sim.is_connected() {
                connected = Some(now);
            }
            let running = connected.is_some_and(|since| now.saturating_sub(since) < duration);
            if finishing.is_none() && (shared.stop.load(Ordering::Relaxed) || (connected.is_some() && !running)) {
                finishing = Some(now);
            }
            sim.overloaded = shared.overloaded.load(Ordering::Relaxed);
            sim.act(now, finishing.is_none());
            work += self.send(&mut sim, now, finishing.is_none() && connected.is_some());
            if now.saturating_sub(recent_since) >= Duration::from_secs(1) {
                (recent, recent_since) = (sim.latency.take_recent(), now);
            }
            if !sim.is_over() {
                quiet = None;
            } else if finishing.is_some() && quiet.is_none() {
                quiet = Some(now);
            }
            let late = finishing.is_some_and(|since| now.saturating_sub(since) > GRACE)
                || (connected.is_none() && now > CONNECT);
            let over = late || quiet.is_some_and(|since| now.saturating_sub(since) > QUIET);
            if over || now.saturating_sub(published) >= PUBLISH {
                published = now;
                let latency = if over || recent_since.is_zero() { sim.latency.all() } else { recent };
                let snapshot = Snapshot {
                    connected: connected.is_some(),
                    elapsed: connected.map_or(Duration::ZERO, |since| now.saturating_sub(since)),
                    finishing: finishing.is_some(),
                    over,
                    tally: sim.tally(over),
                    latency,
                };
                if let Ok(mut place) = shared.snapshot.lock() {
                    *place = snapshot;
                }
            }
            if over {
                return self;
            }
            // The workers may have this CPU. A sleep would be the greater part of every latency, so it comes late.
            idle = if work > 0 { 0 } else { idle + 1 };
            match idle {
                0 => {}
                1..IDLE_SLEEP => thread::yield_now(),
                _ => thread::sleep(Duration::from_micros(20)),
            }
        }
    }

    /// Takes what came, and answers it. How many frames that were.
    fn receive(&mut self, sim: &mut Sim) -> usize {
        let mut work = 0;
        let mut burst = ArrayVec::<Mbuf, BURST>::new();
        for line in &mut self.lines {
            for queue in 0..line.rx.len() {
                line.rx[queue].burst(&mut burst);
                let stamp = Clock::tsc();
                work += burst.len();
                for mut mbuf in burst.drain(..) {
                    if sim.hear(line.side, mbuf.data_mut(), stamp) {
                        let queue = sim.world.chance.below(line.tx.len());
                        line.push(queue, mbuf);
                    }
                }
                line.flush();
            }
        }
        work
    }

    /// Sends what conversations have to say, and as much bulk traffic as may be under way.
    fn send(&mut self, sim: &mut Sim, now: Duration, bulk: bool) -> usize {
        let mut work = 0;
        let Self { lines: [inside, outside], pool, .. } = self;
        let mut said = std::mem::take(&mut sim.world.out).into_iter();
        for (side, frame) in said.by_ref() {
            let Some(mbuf) = fill(pool, &frame) else {
                // No buffer now: later.
                sim.world.out.push((side, frame));
                break;
            };
            let line = if side == Side::Inside { &mut *inside } else { &mut *outside };
            let queue = sim.world.chance.below(line.tx.len());
            line.push(queue, mbuf);
            work += 1;
        }
        sim.world.out.extend(said);
        let stamp = Clock::tsc();
        while bulk && let Some(frame) = sim.traffic.next(now, stamp) {
            // Without a buffer the packet is lost before it was sent, and will be found missing.
            let Some(mbuf) = fill(pool, frame) else { break };
            let queue = sim.world.chance.below(inside.tx.len());
            inside.push(queue, mbuf);
            work += 1;
        }
        inside.flush();
        outside.flush();
        work
    }
}

fn fill(pool: &Mempool, frame: &[u8]) -> Option<Mbuf> {
    let mut mbuf = pool.alloc()?;
    mbuf.append(u16::try_from(frame.len()).ok()?)?.copy_from_slice(frame);
    Some(mbuf)
}

impl Line {
    fn push(&mut self, queue: usize, mbuf: Mbuf) {
        if let Some((_, burst, _)) = self.tx.get(queue)
            && burst.is_full()
        {
            self.flush();
        }
        if let Some((_, burst, waiting)) = self.tx.get_mut(queue) {
            if waiting.is_empty() && !burst.is_full() { burst.push(mbuf) } else { waiting.push_back(mbuf) }
        }
    }

    fn flush(&mut self) {
        for (queue, burst, waiting) in &mut self.tx {
            loop {
                let room = burst.remaining_capacity().min(waiting.len());
                burst.extend(waiting.drain(..room));
                if burst.is_empty() || queue.burst(burst) == 0 {
                    break;
                }
            }
        }
    }
}
