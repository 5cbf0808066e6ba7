//! `underpass run`: the dataplane, until a signal.

use crate::api::{Server, socket};
use crate::engine::{self, Engine, OpenPorts, PortPlan};
use crate::live::Live;
use crate::machine::Place;
use crate::metrics::Http;
use crate::notify::Notify;
use crate::{lower, machine, nodes, signals};
use anyhow::{Context, bail};
use config::{Device, Model};
use dataplane::io::dpdk::Dpdk;
use dataplane::policy::Rules;
use dataplane::worker::Worker;
use dpdk::{Eal, Mempool};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The control thread looks around so often when nobody asks for anything.
const TURN: Duration = Duration::from_millis(50);

/// Runs a configuration until SIGINT or SIGTERM; SIGHUP reads it anew. `log_is_free`: the command line does not say what
/// is logged.
pub(crate) fn run(path: &Path, log_is_free: bool) -> anyhow::Result<ExitCode> {
    let model = match load(path) {
        Ok(model) => model,
        Err(report) => {
            eprint!("{report}");
            return Ok(ExitCode::FAILURE);
        }
    };
    let stop = signals::stop_flag()?;
    let reload = signals::reload_flag()?;
    if log_is_free {
        crate::cli::log_level(model.control().log.as_str());
    }
    // Before anything is started: what cannot be had ends it here.
    let socket = control_socket(model.control())?;
    let mut metrics = model.control().metrics.as_ref().map(|address| Http::bind(address.value)).transpose()?;
    let cpus = machine::cpus();
    let places = machine::places(&model.runtime().workers.value, &cpus)?;
    let plans = plans(&model);
    let (eal, pool) = start_dpdk(&model, &plans, &places, &cpus)?;
    let open = OpenPorts::open(&eal, &plans, places.len(), &pool)?;
    let mut notify = Notify::from_environment();
    // The tables are taken after the links are up; a minute is for them.
    notify.starting(model.runtime().link_wait + Duration::from_secs(60));
    open.wait_for_links(model.runtime().link_wait, &stop);
    let policy = lower::policy(&model, &open.macs(), seed()?);
    let started = Engine::start(&eal, open, policy, &places, &pool, lower::yields(&model))?;
    tracing::info!(
        "{} worker(s) on CPU {}; tables of {} MB",
        places.len(),
        places.iter().map(|p| p.cpu.map_or("any".to_owned(), |c| c.to_string())).collect::<Vec<_>>().join(", "),
        Worker::<Dpdk>::memory(&started.rules) >> 20,
    );
    for port in started.steering.iter().filter(|_| places.len() > 1) {
        tracing::info!("{}", port.to_string().trim_end());
    }
    writeln!(std::io::stdout(), "ready").and_then(|()| std::io::stdout().flush()).context("cannot write to stdout")?;
    notify.ready(&format!("Forwarding with {} worker(s)", places.len()));
    let mut live = Live::new(started, model, places, log_is_free);
    let mut server = socket.map(Server::new);
    while !stop.load(Ordering::Relaxed) && live.is_alive() {
        live.turn();
        if reload.load(Ordering::Relaxed) && live.reload_by_signal() {
            reload.store(false, Ordering::Relaxed);
        }
        notify.beat(live.counters());
        if let Some(metrics) = &mut metrics {
            metrics.serve(&live);
        }
        match &mut server {
            Some(server) => server.turn(&mut live, TURN),
            None => std::thread::sleep(TURN),
        }
    }
    drop(server);
    notify.stopping();
    let report = live.stop()?;
    if let Err(e) = write!(std::io::stdout(), "{report}") {
        // The reader of stdout has gone; the account is worth keeping.
        eprint!("cannot write to stdout ({e}): {report}");
    }
    if report.unaccounted != 0 {
        bail!("{} packets are not accounted for; please report it", report.unaccounted);
    }
    Ok(ExitCode::SUCCESS)
}

/// The control socket, if there is to be one. One that the file does not name is done without where it cannot be had.
fn control_socket(control: &config::Control) -> anyhow::Result<Option<socket::Owned>> {
    let Some(path) = &control.socket else { return Ok(None) };
    match socket::Owned::claim(&path.value, control.mode, control.group.as_ref().map(|g| g.value.as_str())) {
        Ok(owned) => Ok(Some(owned)),
        Err(error) if control.socket_named => Err(error),
        Err(error) => {
            tracing::warn!(
                "{error:#}; going on without a control socket: set control.socket to a path of this process's own, or \"off\""
            );
            Ok(None)
        }
    }
}

/// Starts DPDK with the model's devices and memory, and takes the packet buffers.
pub(crate) fn start_dpdk(
    model: &Model,
    plans: &[PortPlan],
    places: &[Place],
    cpus: &[usize],
) -> anyhow::Result<(Arc<Eal>, Mempool)> {
    let count = buffer_count(model, plans, places.len());
    let memory = machine::memory(model.runtime().memory.value, engine::buffer_bytes(count, engine::data_room(plans)))?;
    tracing::info!("memory: {memory}");
    let (virtuals, pci) = devices(model);
    let extra: Vec<String> = model.runtime().eal.iter().map(|e| e.value.clone()).collect();
    let eal = engine::start_eal(memory, &virtuals, &pci, &extra, cpus.first().copied())?;
    let pool = engine::make_pool(&eal, plans, count, nodes::of_workers(places))?;
    Ok((eal, pool))
}

/// Packet buffers of a model: those it asks for, or those its ports and workers need.
pub(crate) fn buffer_count(model: &Model, plans: &[PortPlan], workers: usize) -> u32 {
    let needed = engine::buffer_count(plans, workers);
    model.runtime().buffers.as_ref().map_or(needed, |b| b.value)
}

/// A model that fits this machine, or all that is wrong with it, as text.
pub(crate) fn load(path: &Path) -> Result<Model, String> {
    let checked = config::load(path).map_err(|report| format!("{report}\n"))?;
    for w in &checked.warnings {
        tracing::warn!("{w}");
    }
    let problems = machine::problems(&checked.model);
    if problems.iter().all(|p| p.severity == config::Severity::Warning) {
        for w in &problems {
            tracing::warn!("{w}");
        }
        return Ok(checked.model);
    }
    Err(problems.iter().map(|p| format!("{p}\n")).collect())
}

/// Ports to open, in the order of the configuration.
pub(crate) fn plans(model: &Model) -> Vec<PortPlan> {
    model
        .ports()
        .iter()
        .map(|p| PortPlan {
            name: p.name.clone(),
            device: p.device.value.name().to_owned(),
            mtu: p.mtu.value,
            queues: p.queues.as_ref().map(|q| q.value),
            rx_descriptors: p.rx_descriptors.value,
            tx_descriptors: p.tx_descriptors.value,
            promiscuous: p.promiscuous.value,
            mac: p.mac.as_ref().map(|m| m.value.octets()),
            side: lower::side(p.role),
            vlan: p.vlan.is_some(),
            steering: p.steering.value,
        })
        .collect()
}

fn devices(model: &Model) -> (Vec<String>, Vec<String>) {
    let (mut virtuals, mut pci) = (Vec::new(), Vec::new());
    for p in model.ports() {
        match &p.device.value {
            Device::Virtual(devargs) => virtuals.push(devargs.clone()),
            Device::Pci(address) => pci.push(address.clone()),
        }
    }
    (virtuals, pci)
}

/// A secret for this start.
pub(crate) fn seed() -> anyhow::Result<u64> {
    getrandom::u64().map_err(|e| anyhow::anyhow!("the system has no random numbers: {e}"))
}

/// Bytes of the tables that a model's dataplane takes with `workers` workers.
pub(crate) fn table_bytes(model: &Model, workers: usize) -> usize {
    let workers = u8::try_from(workers).unwrap_or(u8::MAX);
    Worker::<Dpdk>::memory(&Rules::new(lower::policy(model, &[], 0), workers))
}
