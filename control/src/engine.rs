//! The running dataplane: DPDK started, ports open, a worker thread a place.
//!
//! Everything that can fail fails in [`Engine::start`], before the first packet; what was started by then is taken
//! down again. [`Engine::stop`] ends all workers, then lets each finish what it still held, so that the account closes.

use crate::account::{self, Report};
use crate::latency::Reading;
use crate::machine::{Memory, Place};
use crate::nodes;
use crate::steering::{self, PortSteering};
use crate::tunnels::Tunnels;
use anyhow::{Context, anyhow, bail};
use config::Steering;
use crossbeam::channel::{self, Sender};
use dataplane::io::dpdk::{Dpdk, Queues};
use dataplane::orders::Line;
use dataplane::policy::{Policy, Rules};
use dataplane::types::{Mac, Side, Tick, WorkerId};
use dataplane::verdict::Counters;
use dataplane::worker::Worker;
use dpdk::{
    ActivePort, Clock, Consumer, Eal, EalConfig, Mempool, Mtu, PoolConfig, Port, PortConfig, Producer, Started,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Packets that a handoff ring holds.
const RING: u32 = 4096;
/// Buffers that a worker holds in hand: its queues, waiting packets and fragments.
const BUFFERS_PER_WORKER: u32 = 4096;
/// Ethernet header, a tag, and the frame check sequence where a device leaves it.
const LINK_OVERHEAD: u16 = 14 + 4 + 4;

/// A port to open.
#[derive(Clone, Debug)]
pub(crate) struct PortPlan {
    /// Name in messages.
    pub(crate) name: String,
    /// DPDK's name of the device.
    pub(crate) device: String,
    /// MTU.
    pub(crate) mtu: u16,
    /// Receive queues; by default one a worker.
    pub(crate) queues: Option<u16>,
    /// Receive descriptors a queue.
    pub(crate) rx_descriptors: u16,
    /// Transmit descriptors a queue.
    pub(crate) tx_descriptors: u16,
    /// Receive frames for others too.
    pub(crate) promiscuous: bool,
    /// Ethernet address to set.
    pub(crate) mac: Option<[u8; 6]>,
    /// Side that it faces.
    pub(crate) side: Side,
    /// Whether frames have an 802.1Q tag.
    pub(crate) vlan: bool,
    /// How the device may bring packets to their workers.
    pub(crate) steering: Steering,
}

/// Packet buffers that ports with these settings need.
pub(crate) fn buffer_count(ports: &[PortPlan], workers: usize) -> u32 {
    let workers = u32::try_from(workers).unwrap_or(64);
    let queues: u32 = ports.iter().map(|p| u32::from(p.rx_descriptors) + u32::from(p.tx_descriptors)).sum();
    // Rings between workers are sized for bursts; half of them full at once is already overload.
    let rings = workers * workers.saturating_sub(1) * RING / 2;
    queues * workers + workers * BUFFERS_PER_WORKER + rings + 2048
}

/// Bytes of a packet buffer for these ports, without headroom.
pub(crate) fn data_room(ports: &[PortPlan]) -> u16 {
    let mtu = ports.iter().map(|p| p.mtu).max().unwrap_or(1500);
    (mtu + LINK_OVERHEAD).max(2048).next_multiple_of(64)
}

/// Bytes that `count` packet buffers take: header, headroom, data.
pub(crate) fn buffer_bytes(count: u32, data_room: u16) -> u64 {
    u64::from(count) * (u64::from(data_room) + 128 + 128 + 64)
}

/// Bytes of packet buffers for so many ports with default settings.
pub(crate) fn ordinary_buffer_bytes(ports: usize, workers: usize) -> u64 {
    let port = PortPlan {
        name: String::new(),
        device: String::new(),
        mtu: 1500,
        queues: None,
        rx_descriptors: 1024,
        tx_descriptors: 1024,
        promiscuous: true,
        mac: None,
        side: Side::Inside,
        vlan: false,
        steering: Steering::Auto,
    };
    let ports = vec![port; ports];
    buffer_bytes(buffer_count(&ports, workers), data_room(&ports))
}

/// Starts DPDK with virtual devices and PCI addresses.
pub(crate) fn start_eal(
    memory: Memory,
    virtuals: &[String],
    pci: &[String],
    extra: &[String],
    control_cpu: Option<usize>,
) -> anyhow::Result<Arc<Eal>> {
    let memory = match memory {
        Memory::Hugepages { .. } => dpdk::Memory::Hugepages,
        Memory::Ordinary { megabytes } => dpdk::Memory::Ordinary { megabytes },
    };
    let mut eal = EalConfig::new(memory).program("underpass");
    if let Some(cpu) = control_cpu {
        eal = eal.main_cpu(cpu);
    }
    for v in virtuals {
        eal = eal.vdev(v);
    }
    for p in pci {
        eal = eal.allow_pci(p);
    }
    for e in extra {
        eal = eal.argument(e);
    }
    Eal::init(eal).map(Arc::new).context("cannot start DPDK")
}

/// One pool for all ports.
pub(crate) fn make_pool(eal: &Eal, ports: &[PortPlan], count: u32, node: Option<u32>) -> anyhow::Result<Mempool> {
    let config = PoolConfig { count, data_room: data_room(ports), socket: node, ..PoolConfig::default() };
    let pool = match Mempool::new(eal, "underpass", config) {
        Err(error) if node.is_some() => {
            tracing::warn!("packet buffers are not on the workers' memory node: {error}");
            Mempool::new(eal, "underpass", PoolConfig { socket: None, ..config })
        }
        made => made,
    };
    pool.with_context(|| {
        format!(
            "cannot take memory for {count} packet buffers; lower `runtime.buffers` or the ports' descriptors, \
             or give more memory"
        )
    })
}

/// See the module.
pub(crate) struct Engine {
    workers: Vec<JoinHandle<Worker<Dpdk>>>,
    stop: Arc<AtomicBool>,
    /// Each worker's counters.
    pub(crate) counters: Vec<Arc<Counters>>,
    /// By which each worker gets orders.
    pub(crate) lines: Vec<Arc<Line>>,
    /// Each port; they run as long as they are kept.
    ports: Vec<ActivePort>,
    /// How each port's device brings packets to their workers.
    pub(crate) steering: Vec<PortSteering>,
    clock: Milliseconds,
    /// What the workers go by.
    pub(crate) rules: Arc<Rules>,
}

/// Ports that run, and their queues, before any worker does.
pub(crate) struct OpenPorts {
    started: Vec<Started>,
    plans: Vec<PortPlan>,
}

impl OpenPorts {
    /// Opens and starts every port with a queue each way for each worker.
    pub(crate) fn open(eal: &Eal, plans: &[PortPlan], workers: usize, pool: &Mempool) -> anyhow::Result<Self> {
        let mut started = Vec::new();
        for plan in plans {
            let port = open_port(eal, plan, workers, pool).with_context(|| format!("port {}", plan.name))?;
            started.push(port);
        }
        Ok(Self { started, plans: plans.to_vec() })
    }

    /// The ports' names and memory nodes.
    fn nodes(&self) -> Vec<(String, Option<u32>)> {
        let node = |s: &Started| s.port.info().ok().and_then(|info| info.socket);
        self.plans.iter().zip(&self.started).map(|(plan, s)| (plan.name.clone(), node(s))).collect()
    }

    /// The ports' Ethernet addresses.
    pub(crate) fn macs(&self) -> Vec<Mac> {
        self.started.iter().map(|s| Mac(s.mac)).collect()
    }

    /// Waits until every link is up, or says which is not. A device that cannot tell counts as up.
    pub(crate) fn wait_for_links(&self, limit: Duration, stop: &AtomicBool) {
        let deadline = Instant::now() + limit;
        let down = |s: &Started| s.port.link().is_ok_and(|l| !l.up);
        loop {
            let missing: Vec<_> =
                self.started.iter().zip(&self.plans).filter(|(s, _)| down(s)).map(|(_, p)| p.name.as_str()).collect();
            if missing.is_empty() || stop.load(Ordering::Relaxed) {
                return;
            }
            if Instant::now() >= deadline {
                tracing::warn!(
                    "no link on {}; going on, packets for there are lost until it is up",
                    missing.join(", ")
                );
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn open_port(eal: &Eal, plan: &PortPlan, workers: usize, pool: &Mempool) -> anyhow::Result<Started> {
    let port = Port::find(eal, &plan.device).with_context(|| {
        if plan.device.starts_with("net_") || plan.device.starts_with("eth_") {
            format!(
                "DPDK could not make {}; its own message stands above. net_af_packet and net_tap need root; \
                 see that the arguments in `device` are right",
                plan.device
            )
        } else {
            format!("{} is not bound to a driver that DPDK uses", plan.device)
        }
    })?;
    let info = port.info()?;
    let wanted = u16::try_from(workers)?;
    if info.max_tx_queues < wanted {
        bail!(
            "{} has {} transmit queue(s) and each of the {wanted} workers needs one; \
             set runtime.workers = {}, or give the device more (net_af_packet: add `,qpairs={wanted}` to `device`)",
            plan.device,
            info.max_tx_queues,
            info.max_tx_queues.max(1),
        );
    }
    let rx_queues = plan.queues.unwrap_or(wanted).min(wanted).min(info.max_rx_queues).max(1);
    if rx_queues < wanted {
        tracing::info!(
            "port {}: {rx_queues} receive queue(s) for {wanted} workers; the others get their packets by handoff",
            plan.name
        );
    }
    let config = PortConfig {
        rx_queues,
        tx_queues: wanted,
        rx_descriptors: Some(plan.rx_descriptors),
        tx_descriptors: Some(plan.tx_descriptors),
        mtu: plan.mtu,
        promiscuous: plan.promiscuous,
        mac: plan.mac,
        ..PortConfig::new(pool)
    };
    let started = port.start(&config)?;
    if plan.mac.is_some_and(|mac| mac != started.mac) {
        tracing::warn!(
            "port {}: the device keeps its own address {:?}, not the one of `mac`",
            plan.name,
            Mac(started.mac)
        );
    }
    if let Mtu::Kept { errno } = started.mtu {
        tracing::debug!("port {}: the device keeps its own MTU ({errno}); Underpass goes by {}", plan.name, plan.mtu);
    }
    tracing::info!(
        "port {}: {} ({}), {:?}, {} rx / {} tx queues of {} / {}",
        plan.name,
        plan.device,
        info.driver,
        Mac(started.mac),
        rx_queues,
        wanted,
        started.rx_descriptors,
        started.tx_descriptors,
    );
    Ok(started)
}

impl Engine {
    /// Starts a worker at each place over open ports. Returns when all of them poll.
    pub(crate) fn start(
        eal: &Arc<Eal>,
        mut open: OpenPorts,
        mut policy: Policy,
        places: &[Place],
        pool: &Mempool,
        yields: bool,
    ) -> anyhow::Result<Self> {
        let count = u8::try_from(places.len()).context("too many workers")?;
        for far in nodes::distances(&open.nodes(), places) {
            tracing::warn!("{far}");
        }
        let steering = steering::steer(&mut open.started, &open.plans, &mut policy, count)?;
        let rules = Arc::new(Rules::new(policy, count));
        let (ports, queues) = deal_queues(open.started, places.len())?;
        let rings = join_workers(eal, places.len())?;
        let stop = Arc::new(AtomicBool::new(false));
        let counters: Vec<Arc<Counters>> = places.iter().map(|_| Arc::default()).collect();
        let lines: Vec<Arc<Line>> = places.iter().map(|_| Arc::default()).collect();
        let (ready, is_ready) = channel::bounded(places.len());
        let clock = Milliseconds::new(Clock::new(eal));
        let mut workers = Vec::new();
        for (((place, queues), (handed, peers)), ((id, counters), line)) in
            places.iter().zip(queues).zip(rings).zip((0..count).map(WorkerId).zip(&counters).zip(&lines))
        {
            let io = Dpdk::new(queues, handed, peers, pool.clone());
            let thread = WorkerThread {
                id,
                place: *place,
                clock,
                rules: Arc::clone(&rules),
                counters: Arc::clone(counters),
                line: Arc::clone(line),
                stop: Arc::clone(&stop),
                yields,
            };
            let (ready, eal) = (ready.clone(), Arc::clone(eal));
            let handle = thread::Builder::new()
                .name(format!("worker-{}", id.0))
                .spawn(move || thread.run(io, &eal, &ready))
                .context("cannot start a worker thread")?;
            workers.push(handle);
        }
        drop(ready);
        let engine = Self { workers, stop, counters, lines, ports, steering, clock, rules };
        for _ in 0..count {
            is_ready.recv().map_err(|_| anyhow!("a worker ended while it started"))?;
        }
        Ok(engine)
    }

    /// The ports, in the order of the configuration.
    pub(crate) fn ports(&self) -> &[ActivePort] {
        &self.ports
    }

    /// Cycles a second of the clock that meters count.
    pub(crate) const fn hz(&self) -> u64 {
        self.clock.per_milli * 1000
    }

    /// Whether every worker still runs.
    pub(crate) fn is_alive(&self) -> bool {
        self.workers.iter().all(|w| !w.is_finished())
    }

    /// Ends all workers and adds up.
    pub(crate) fn stop(mut self) -> anyhow::Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        let mut workers = Vec::new();
        for handle in self.workers.drain(..) {
            workers.push(handle.join().map_err(|_| anyhow!("a worker panicked; please report it"))?);
        }
        // Twice: what one worker still hands over, another must still take.
        for _ in 0..2 {
            for w in &mut workers {
                w.finish();
            }
        }
        for port in &self.ports {
            warn_of_losses(port);
        }
        account::log_notices(&self.counters);
        log_times(&self.counters, self.clock);
        let vpn = Tunnels::of(&workers, self.clock.now());
        let steering = if workers.len() > 1 { std::mem::take(&mut self.steering) } else { Vec::new() };
        Ok(Report { steering, ..Report::of(&self.counters, vpn) })
    }
}

/// What a device lost before its packets reached a queue of ours, or after they left one: the account cannot know.
fn warn_of_losses(port: &ActivePort) {
    let Ok(s) = port.stats() else { return };
    if s.missed + s.no_buffers + s.receive_errors + s.send_errors > 0 {
        tracing::warn!(
            "{}: the device itself lost packets: {} missed (workers too slow), {} without a buffer (raise \
             runtime.buffers), {} receive errors, {} send errors",
            port.name(),
            s.missed,
            s.no_buffers,
            s.receive_errors,
            s.send_errors
        );
    }
}

/// How long packets took through the box, and what they cost.
fn log_times(counters: &[Arc<Counters>], clock: Milliseconds) {
    let mut readings = counters.iter().map(|c| Reading::of(&c.meter));
    let Some(mut all) = readings.next() else { return };
    readings.for_each(|r| all.merge(&r));
    if all.packets == 0 {
        return;
    }
    let (time, cycles) = (all.microseconds(clock.per_milli * 1000), all.cycles());
    tracing::info!(
        "through the box: p50 {:.1}, p99 {:.1}, p99.9 {:.1}, at most {:.1} µs; cycles a packet: p50 {:.0}, p99 {:.0}",
        time.p50,
        time.p99,
        time.p99_9,
        time.max,
        cycles.p50,
        cycles.p99
    );
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for handle in self.workers.drain(..) {
            let _ = handle.join();
        }
    }
}

/// Ports, and for each worker its queues of every port.
fn deal_queues(started: Vec<Started>, workers: usize) -> anyhow::Result<(Vec<ActivePort>, Vec<Vec<Queues>>)> {
    let mut ports = Vec::new();
    let mut dealt: Vec<Vec<Queues>> = (0..workers).map(|_| Vec::new()).collect();
    for s in started {
        let mut rx = s.rx.into_iter();
        let mut tx = s.tx.into_iter();
        for worker in &mut dealt {
            let tx = tx.next().ok_or_else(|| anyhow!("{} gave too few queues", s.port.name()))?;
            worker.push(Queues { rx: rx.next(), tx });
        }
        ports.push(s.port);
    }
    Ok((ports, dealt))
}

type Rings = (Vec<Consumer>, Vec<Option<Producer>>);

/// A ring for each ordered pair of workers.
fn join_workers(eal: &Eal, workers: usize) -> anyhow::Result<Vec<Rings>> {
    let mut rings: Vec<Rings> = (0..workers).map(|_| (Vec::new(), Vec::new())).collect();
    for from in 0..workers {
        for to in 0..workers {
            let mut producer = None;
            if from != to {
                let (p, consumer) = dpdk::ring(eal, &format!("handoff-{from}-{to}"), RING)?;
                producer = Some(p);
                if let Some((handed, _)) = rings.get_mut(to) {
                    handed.push(consumer);
                }
            }
            if let Some((_, peers)) = rings.get_mut(from) {
                peers.push(producer);
            }
        }
    }
    Ok(rings)
}

/// DPDK's time stamp counter as a wrapping count of milliseconds.
#[derive(Clone, Copy)]
struct Milliseconds {
    start: u64,
    per_milli: u64,
}

impl Milliseconds {
    fn new(clock: Clock) -> Self {
        Self { start: Clock::tsc(), per_milli: (clock.tsc_hz() / 1000).max(1) }
    }

    #[inline]
    fn now(self) -> Tick {
        #[allow(clippy::cast_possible_truncation, reason = "ticks wrap")]
        Tick((Clock::tsc().wrapping_sub(self.start) / self.per_milli) as u32)
    }
}

/// Turns without a packet before a yielding worker gives its CPU away, and before it sleeps.
const IDLE_YIELD: u32 = 64;
const IDLE_SLEEP: u32 = 4096;

struct WorkerThread {
    id: WorkerId,
    place: Place,
    clock: Milliseconds,
    rules: Arc<Rules>,
    counters: Arc<Counters>,
    line: Arc<Line>,
    stop: Arc<AtomicBool>,
    yields: bool,
}

impl WorkerThread {
    fn run(self, io: Dpdk, eal: &Eal, ready: &Sender<()>) -> Worker<Dpdk> {
        if let Some(cpu) = self.place.cpu
            && !core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
        {
            tracing::warn!("worker {}: cannot be pinned to CPU {cpu}", self.id.0);
        }
        // Without it, every buffer that the worker takes or frees bypasses the pool's cache.
        let registered = dpdk::RegisteredThread::new(eal);
        if let Err(e) = &registered {
            tracing::warn!("worker {}: {e}", self.id.0);
        }
        // Its tables are first written here, so they lie on the node of this CPU.
        let mut worker = Worker::new(io, self.id, self.rules, self.counters, self.clock.now()).on(self.line);
        let _ = ready.send(());
        let mut idle = 0u32;
        while !self.stop.load(Ordering::Relaxed) {
            if worker.poll(self.clock.now()) > 0 {
                idle = 0;
                continue;
            }
            if self.yields {
                idle = idle.saturating_add(1);
                if idle > IDLE_SLEEP {
                    thread::sleep(Duration::from_micros(50));
                } else if idle > IDLE_YIELD {
                    thread::yield_now();
                }
            }
        }
        worker
    }
}
