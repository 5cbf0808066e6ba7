//! `[runtime]`: workers, memory, and how the process behaves on its machine.

use std::time::Duration;

use crate::diagnostic::Located;
use crate::duration::duration;
use crate::table::Table;
use crate::value::{Mistake, Node, choice, integer, text, words};

/// The most workers: as many as a TX queue count and the handoff rings are laid out for.
const WORKERS: usize = 64;

/// How the process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// The workers and their CPUs.
    pub workers: Located<Workers>,
    /// Where packet memory comes from.
    pub memory: Located<Memory>,
    /// Further arguments for DPDK's EAL, in order.
    pub eal: Vec<Located<String>>,
    /// Packet buffers; `None` leaves it to the ports' descriptors and the workers.
    pub buffers: Option<Located<u32>>,
    /// How long to wait at start for every port's link; zero is not at all.
    pub link_wait: Duration,
    /// What a worker does when no packet is there.
    pub idle: Idle,
}

/// How many workers, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workers {
    /// On all CPUs but the control thread's.
    Auto,
    /// So many, on CPUs that are chosen at start: 1 to 64.
    Count(usize),
    /// One on each of these CPUs: 1 to 64 of them, none twice.
    Cpus(Vec<usize>),
}

/// Where packet memory comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Memory {
    /// Hugepages where there are some, else ordinary memory, which is said at start.
    Auto,
    /// Hugepages, or no start.
    Hugepages,
    /// Ordinary memory.
    Ordinary,
}

words!(Memory { "auto" => Auto, "hugepages" => Hugepages, "ordinary" => Ordinary });

/// What a worker does when no packet is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Idle {
    /// Polls on: the least latency, and a CPU that is always busy.
    Poll,
    /// Gives the CPU away, for a box that shares it.
    Yield,
}

words!(Idle { "poll" => Poll, "yield" => Yield });

pub(crate) fn read(mut table: Table<'_>) -> Runtime {
    let workers = workers(&mut table);
    let memory = table.read("memory", choice).or(Memory::Auto);
    let eal = table.list("eal", "\"--log-level=lib.eal:warning\"", eal_argument).items;
    let waits = Duration::ZERO..=Duration::from_secs(3600);
    let link_wait = table.read("link_wait", duration(waits)).or(Duration::from_secs(10)).value;
    let buffers = table.read("buffers", integer(1024..=67_108_864_u32)).optional();
    let idle = table.read("idle", choice).or(Idle::Poll).value;
    table.finish();
    Runtime { workers, memory, eal, buffers, link_wait, idle }
}

fn eal_argument(node: &Node<'_>) -> Result<String, Mistake> {
    let example = "one argument a string, such as \"--log-level=lib.eal:warning\"";
    let argument = text(node, example)?;
    if argument.is_empty() || argument.contains('\0') {
        return Err(Mistake::write("an argument cannot be empty or hold a zero byte", example));
    }
    Ok(argument)
}

fn workers(table: &mut Table<'_>) -> Located<Workers> {
    let slot = table.read("workers", |node| {
        let example = "\"auto\", a number of workers such as 2, or a list of CPUs such as [1, 2]";
        if node.is_string() {
            return match text(node, example)?.as_str() {
                "auto" => Ok(Workers::Auto),
                _ => Err(Mistake::write(format!("{} is not \"auto\"", node.describe()), example)),
            };
        }
        if node.value.get_ref().is_integer() {
            return integer(1..=WORKERS as i64)(node).map(|n| Workers::Count(usize::try_from(n).unwrap_or(1)));
        }
        let elements = node.elements().ok_or_else(|| {
            Mistake::write(format!("{} is neither a number nor a list nor \"auto\"", node.describe()), example)
        })?;
        if elements.is_empty() {
            return Err(Mistake::write("no CPU is left to work on", example));
        }
        if elements.len() > WORKERS {
            let message = format!("{} CPUs are more than {WORKERS}", elements.len());
            return Err(Mistake::write(message, format!("at most {WORKERS} CPUs")));
        }
        let mut cpus = Vec::with_capacity(elements.len());
        for element in &elements {
            match integer(0..=1023_u16)(element) {
                Ok(cpu) if cpus.contains(&usize::from(cpu)) => {
                    let remedy = "name each CPU once: two workers on one CPU slow each other down";
                    element.report(Mistake::new(format!("CPU {cpu} is already in the list"), remedy));
                }
                Ok(cpu) => cpus.push(usize::from(cpu)),
                Err(mistake) => element.report(mistake),
            }
        }
        Ok(Workers::Cpus(cpus))
    });
    slot.or(Workers::Auto)
}
