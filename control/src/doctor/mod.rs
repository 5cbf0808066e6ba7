//! `underpass doctor`: what this machine still needs for DPDK, each with the command that mends it.
//!
//! ```text
//! --config ─► Needs ─┐
//! /sys, /proc ─► Host ┴► processors │ memory │ devices (nic, drivers) │ rights ─► report
//! ```
//!
//! It only looks; `--fix-hugepages` is the one thing that it changes. It starts no DPDK, so it can be asked beside a
//! running router. With `--root` it reads a copy of another machine's `/sys` and `/proc`.

mod devices;
mod drivers;
mod fix;
mod host;
mod memory;
mod nic;
mod processors;
mod report;
mod rights;
#[cfg(test)]
mod tests;

use crate::{engine, machine, run};
use config::{Device, Model, Workers};
use host::Host;
use report::{Findings, Level};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// Look at just what this configuration needs.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
    /// First see to it that there are at least N hugepages of the kernel's default size, until the next boot.
    #[arg(long, value_name = "N")]
    fix_hugepages: Option<u64>,
    /// Read /sys, /proc and /dev below this folder: a copy of another machine's.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// What is to run on the machine.
#[derive(Debug)]
struct Needs {
    /// PCI addresses; `None` is whatever the machine has.
    pci: Option<Vec<String>>,
    /// DPDK's virtual devices, with their arguments.
    virtuals: Vec<String>,
    workers: Workers,
    memory: config::Memory,
    /// Of packet buffers, and of DPDK's own.
    buffer_megabytes: u64,
    /// Of tables, which are in ordinary memory.
    table_megabytes: u64,
}

impl Needs {
    /// A router with two ports and default settings.
    fn general(cpus: &[usize]) -> Self {
        let workers = machine::places(&Workers::Auto, cpus).map_or(1, |p| p.len());
        Self {
            pci: None,
            virtuals: Vec::new(),
            workers: Workers::Auto,
            memory: config::Memory::Auto,
            buffer_megabytes: machine::needed_megabytes(engine::ordinary_buffer_bytes(2, workers)),
            table_megabytes: 0,
        }
    }

    fn of(model: &Model, cpus: &[usize]) -> Self {
        let (mut pci, mut virtuals) = (Vec::new(), Vec::new());
        for port in model.ports() {
            match &port.device.value {
                Device::Pci(address) => pci.push(address.clone()),
                Device::Virtual(devargs) => virtuals.push(devargs.clone()),
            }
        }
        let workers = &model.runtime().workers.value;
        // CPUs that are not there are told with the processors.
        let count = machine::places(workers, cpus).map_or(1, |p| p.len());
        let plans = run::plans(model);
        let buffers = run::buffer_count(model, &plans, count);
        Self {
            pci: Some(pci),
            virtuals,
            workers: workers.clone(),
            memory: model.runtime().memory.value,
            buffer_megabytes: machine::needed_megabytes(engine::buffer_bytes(buffers, engine::data_room(&plans))),
            table_megabytes: run::table_bytes(model, count) as u64 >> 20,
        }
    }
}

/// Everything that can be said of `host` for `needs`.
fn examine(host: &Host, needs: &Needs) -> Findings {
    let mut found = Findings::default();
    let drivers = drivers::Drivers::find(host);
    let nics: Vec<nic::Nic> = match &needs.pci {
        None => nic::Nic::all(host),
        Some(addresses) => addresses.iter().filter_map(|address| nic::Nic::at(host, address)).collect(),
    };
    processors::examine(host, needs, &nics, &mut found);
    memory::examine(host, needs, &nics, &mut found);
    devices::examine(host, needs, &nics, &drivers, &mut found);
    rights::examine(host, needs, &nics, &drivers, &mut found);
    found
}

/// Looks, tells, and says by the exit code whether anything is missing.
pub(crate) fn doctor(args: &Doctor) -> anyhow::Result<ExitCode> {
    let host = Host::new(&args.root);
    let mut out = std::io::stdout().lock();
    if let Some(wanted) = args.fix_hugepages {
        // Programs get one JSON object and nothing else.
        let said = fix::hugepages(&host, wanted)?;
        if args.json {
            eprintln!("{said}");
        } else {
            writeln!(out, "{said}")?;
        }
    }
    let cpus = processors::usable(&host);
    let needs = match &args.config {
        None => Needs::general(&cpus),
        Some(path) => match load(path) {
            Ok(model) => Needs::of(&model, &cpus),
            Err(report) => {
                eprint!("{report}");
                return Ok(ExitCode::FAILURE);
            }
        },
    };
    let found = examine(&host, &needs);
    if args.json {
        let told = serde_json::json!({
            "dpdk": dpdk::Eal::version(),
            "missing": found.count(Level::Missing),
            "advice": found.count(Level::Advice),
            "findings": found.findings,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&told)?)?;
    } else {
        write!(out, "{found}")?;
    }
    Ok(if found.count(Level::Missing) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Its form alone: whether its devices and CPUs are there is what doctor tells.
fn load(path: &Path) -> Result<Model, String> {
    config::load(path).map(|checked| checked.model).map_err(|report| format!("{report}\n"))
}
