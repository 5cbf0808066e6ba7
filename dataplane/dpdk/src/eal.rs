//! EAL, DPDK's environment: started once a process, cleaned up after everything that came from it.
//!
//! **The caller's thread stays as it was.** `rte_eal_init` pins the thread that calls it and makes it the main lcore.
//! Here that is a thread of its own, `eal-main`, which then sleeps until the end, when it calls `rte_eal_cleanup`.
//! It is pinned to the main CPU before EAL starts, so that EAL's helper threads (interrupts, hotplug), which take
//! what CPUs the starting thread had, stay on the main CPU and off the workers'.
//!
//! **When memory may go.** An [`Mbuf`](crate::Mbuf) holds no reference to EAL. So mempools live until EAL ends, and
//! `EalInner::drop` unmaps nothing unless every pool counts all its buffers back. Could a thread be in the middle of
//! giving one back at that moment? A registered thread could, in its cache; but it holds an `Arc<EalInner>`, so there
//! is none when `drop` runs. Any other thread frees straight into the pool's ring, where a buffer counts only from
//! the store that publishes it, and that is the last access such a thread makes. If a buffer is missing, EAL's memory
//! stays mapped for the rest of the process: a leak, and only at its end.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString, c_char, c_int};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use core_affinity::CoreId;

use crate::error::{EalError, Errno};
use crate::mempool::RawPool;
use crate::ring::RawRing;

/// Where EAL takes memory from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Hugepages, as many as are needed while there are free ones (`--in-memory`: nothing is left in hugetlbfs).
    Hugepages,
    /// Ordinary pages, taken at start; works for anyone, costs TLB misses.
    Ordinary {
        /// How much.
        megabytes: u32,
    },
}

/// How to start EAL.
#[derive(Debug, Clone)]
#[must_use]
pub struct EalConfig {
    memory: Memory,
    program: String,
    main_cpu: Option<usize>,
    log_level: String,
    pci: Vec<String>,
    vdevs: Vec<String>,
    extra: Vec<String>,
}

impl EalConfig {
    /// Memory from there, no devices, errors logged, the first CPU that the calling thread may use.
    pub fn new(memory: Memory) -> EalConfig {
        EalConfig {
            memory,
            program: "underpass".into(),
            main_cpu: None,
            log_level: "error".into(),
            pci: Vec::new(),
            vdevs: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// The name that DPDK logs under, and from which the name of its runtime directory comes.
    pub fn program(mut self, name: impl Into<String>) -> EalConfig {
        self.program = name.into();
        self
    }

    /// The CPU for EAL's own threads: one that no worker polls on.
    pub fn main_cpu(mut self, cpu: usize) -> EalConfig {
        self.main_cpu = Some(cpu);
        self
    }

    /// What DPDK logs to stderr: a level ("debug", "notice", "error"), or "pattern:level".
    pub fn log_level(mut self, level: impl Into<String>) -> EalConfig {
        self.log_level = level.into();
        self
    }

    /// Lets EAL use this PCI device. Without any, EAL does not look at PCI at all.
    pub fn allow_pci(mut self, address: impl Into<String>) -> EalConfig {
        self.pci.push(address.into());
        self
    }

    /// Makes a virtual device, such as "net_af_packet0,iface=eth1".
    pub fn vdev(mut self, device: impl Into<String>) -> EalConfig {
        self.vdevs.push(device.into());
        self
    }

    /// One more argument, as on a DPDK program's command line; it comes last and so wins over ours.
    pub fn argument(mut self, argument: impl Into<String>) -> EalConfig {
        self.extra.push(argument.into());
        self
    }

    /// EAL's command line. lcore 0 is the main one and has `cpu`; registered threads get those from 1 on.
    fn arguments(&self, cpu: usize) -> Vec<String> {
        let mut list = vec![self.program.clone(), format!("--lcores=0@{cpu}")];
        list.push(format!("--log-level={}", self.log_level));
        list.push(format!("--file-prefix={}-{}", self.program.replace('/', "-"), std::process::id()));
        list.push("--no-telemetry".into());
        match self.memory {
            Memory::Hugepages => list.push("--in-memory".into()),
            Memory::Ordinary { megabytes } => list.extend([
                "--no-huge".into(),
                "--no-shconf".into(),
                "-m".into(),
                megabytes.to_string(),
                "--iova-mode=va".into(), // An ordinary page's physical address is not ours to know.
            ]),
        }
        if self.pci.is_empty() {
            list.push("--no-pci".into());
        }
        for address in &self.pci {
            list.extend(["-a".into(), address.clone()]);
        }
        list.extend(self.vdevs.iter().map(|device| format!("--vdev={device}")));
        list.extend(self.extra.iter().cloned());
        list
    }
}

/// The machine's hugepages of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hugepages {
    /// The size of one.
    pub page_kilobytes: u64,
    /// How many are reserved.
    pub total: u64,
    /// How many of those nobody uses.
    pub free: u64,
}

impl Hugepages {
    /// How much memory the free ones are.
    pub fn free_megabytes(&self) -> u64 {
        self.page_kilobytes * self.free / 1024
    }
}

static STARTED: AtomicBool = AtomicBool::new(false);

/// The running EAL. Everything else is made from it and keeps it running.
#[derive(Debug)]
pub struct Eal {
    pub(crate) inner: Arc<EalInner>,
}

impl Eal {
    /// Starts EAL. Once a process: a second call is an error, from whichever thread, even after a failure.
    ///
    /// The calling thread keeps its CPU affinity and is not registered with DPDK.
    pub fn init(config: EalConfig) -> Result<Eal, EalError> {
        let allowed: Vec<usize> =
            core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
        let cpu = match (config.main_cpu, allowed.first()) {
            (Some(cpu), _) if !allowed.contains(&cpu) => return Err(EalError::Cpu { cpu, allowed }),
            (Some(cpu), _) | (None, Some(&cpu)) => cpu,
            (None, None) => 0,
        };
        if config.memory == Memory::Hugepages && Eal::hugepages().iter().all(|size| size.free == 0) {
            return Err(EalError::NoHugepages);
        }
        let arguments = config.arguments(cpu);
        let mut argv = Vec::with_capacity(arguments.len());
        for argument in &arguments {
            argv.push(CString::new(argument.as_str()).map_err(|_| EalError::Argument(argument.clone()))?);
        }
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(EalError::AlreadyStarted);
        }
        let (started, outcome) = channel();
        let (end, ended) = channel();
        let thread = std::thread::Builder::new()
            .name("eal-main".into())
            .spawn(move || {
                // Failing to pin only lets EAL's helper threads roam.
                core_affinity::set_for_current(CoreId { id: cpu });
                let result = start(argv);
                let running = result.is_ok();
                let heard = started.send(result).is_ok();
                if running && heard && ended.recv().is_ok() {
                    stop();
                }
            })
            .map_err(EalError::Thread)?;
        match outcome.recv() {
            Ok(Ok(())) => Ok(Eal { inner: Arc::new(EalInner::new(thread, end)) }),
            Ok(Err(errno)) => Err(init_error(&config, errno, &arguments)),
            Err(_) => Err(EalError::Thread(std::io::Error::other("it ended before EAL was up"))),
        }
    }

    /// The machine's hugepages, one entry a page size; empty where the kernel has none.
    ///
    /// To be asked before [`Eal::init`], to choose the memory and to tell the operator which it is.
    pub fn hugepages() -> Vec<Hugepages> {
        let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse().ok();
        let mut sizes: Vec<Hugepages> = fs::read_dir("/sys/kernel/mm/hugepages")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let page_kilobytes = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
                let total = number(entry.path().join("nr_hugepages"))?;
                let free = number(entry.path().join("free_hugepages"))?;
                Some(Hugepages { page_kilobytes, total, free })
            })
            .collect();
        sizes.sort_by_key(|size| size.page_kilobytes);
        sizes
    }

    /// Whether EAL's memory is hugepages.
    pub fn has_hugepages(&self) -> bool {
        // SAFETY: reads a setting of the running EAL.
        unsafe { dpdk_sys::rte_eal_has_hugepages() != 0 }
    }

    /// DPDK's version, such as "DPDK 22.11.11".
    pub fn version() -> String {
        // SAFETY: returns a static string, EAL or no EAL.
        let text = unsafe { dpdk_sys::rte_version() };
        // SAFETY: DPDK keeps it NUL-terminated and unchanged for the life of the process.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }
}

/// Runs `rte_eal_init` on the calling thread, which becomes the main lcore.
fn start(arguments: Vec<CString>) -> Result<(), Errno> {
    // EAL keeps pointers into its arguments and permutes the array: both are given to it for good.
    let argv: Vec<*mut c_char> = arguments.into_iter().map(CString::into_raw).chain([std::ptr::null_mut()]).collect();
    let argc = c_int::try_from(argv.len() - 1).unwrap_or(c_int::MAX);
    let argv = Vec::leak(argv);
    // SAFETY: argv has argc strings and a final NULL, all leaked and so writable for ever; `STARTED` lets one thread
    // come here, once.
    let result = unsafe { dpdk_sys::rte_eal_init(argc, argv.as_mut_ptr()) };
    let result = if result < 0 { Err(Errno::last()) } else { Ok(()) };
    // EAL makes a directory for each file prefix, and ours is new with each start. Nothing is ever put in it without
    // shared configuration, so it goes at once, for a process that is killed removes nothing. If it is not empty, it stays.
    if let Some(directory) = runtime_directory() {
        let _ = fs::remove_dir(directory);
    }
    result
}

/// Runs `rte_eal_cleanup` on the thread that ran `start`.
fn stop() {
    // SAFETY: `EalInner::drop` asks for this when nothing from EAL is left; its doc says why.
    unsafe { dpdk_sys::rte_eal_cleanup() };
}

fn runtime_directory() -> Option<PathBuf> {
    // SAFETY: returns EAL's own static buffer.
    let text = unsafe { dpdk_sys::rte_eal_get_runtime_dir() };
    if text.is_null() {
        return None;
    }
    // SAFETY: not null, so the buffer's NUL-terminated string, which nothing changes after EAL's start.
    let text = unsafe { CStr::from_ptr(text) }.to_str().ok()?;
    (!text.is_empty()).then(|| Path::new(text).to_path_buf())
}

fn init_error(config: &EalConfig, errno: Errno, arguments: &[String]) -> EalError {
    let advice = match (config.memory, errno) {
        (_, Errno::AccessDenied | Errno::NotPermitted) => {
            "Run as root, or set XDG_RUNTIME_DIR to a directory that you can write to; PCI devices also need access to \
             /dev/vfio."
        }
        (Memory::Hugepages, Errno::OutOfMemory | Errno::NoDevice | Errno::Other(_)) => {
            "Check that hugepages are free on the main CPU's NUMA node, that the locked-memory limit (ulimit -l) allows \
             them, or choose ordinary memory."
        }
        (Memory::Ordinary { .. }, Errno::OutOfMemory | Errno::NoDevice) => "Ask for less memory.",
        _ => {
            "EAL's own messages are on stderr; set its log level to \"debug\" for more. A virtual device's arguments are \
             the usual cause."
        }
    };
    EalError::Init { errno, arguments: arguments.join(" "), advice: advice.into() }
}

/// Who has which device. DPDK wants devices made, found and removed by one thread at a time: by whoever has the lock on this.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    /// Ports that somebody owns.
    pub(crate) claimed: HashSet<u16>,
    /// Ports that were made at run time and that nobody owns now, with the rings they are made of, if they are.
    pub(crate) made: HashMap<u16, Vec<Arc<RawRing>>>,
}

/// What every object holds an `Arc` of.
#[derive(Debug)]
pub(crate) struct EalInner {
    /// Every pool that was made, alive until EAL ends.
    pools: Mutex<Vec<RawPool>>,
    devices: Mutex<Devices>,
    thread: Option<JoinHandle<()>>,
    end: Sender<()>,
}

impl EalInner {
    fn new(thread: JoinHandle<()>, end: Sender<()>) -> EalInner {
        EalInner { pools: Mutex::default(), devices: Mutex::default(), thread: Some(thread), end }
    }

    /// All pools so far.
    pub(crate) fn pools(&self) -> MutexGuard<'_, Vec<RawPool>> {
        lock(&self.pools)
    }

    /// Who has which device.
    pub(crate) fn devices(&self) -> MutexGuard<'_, Devices> {
        lock(&self.devices)
    }
}

/// No invariant spans a lock here, so a panic while one was held broke nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for EalInner {
    /// Runs when no port, queue, pool handle, ring or registered thread is left. The module's header argues the rest.
    fn drop(&mut self) {
        let unused = std::mem::take(&mut self.devices().made);
        for &port in unused.keys() {
            crate::port::close(port);
        }
        drop(unused);
        if self.pools().iter().all(RawPool::is_full)
            && self.end.send(()).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}
