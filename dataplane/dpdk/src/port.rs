//! Ethernet devices: found, then started, and closed when their last user is gone.
//!
//! [`Port`] is a device that is ours but not configured; [`Port::start`] turns it into an [`ActivePort`] for control and one
//! [`RxQueue`] or [`TxQueue`] a queue for workers. All of these hold the device; when the last is dropped it is stopped
//! and closed. A device that was attached at run time, or made of rings, is then removed too and can be made anew; one from
//! EAL's command line cannot be opened again in this process. A [`Port`] that was never started leaves its device as it was.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dpdk_sys as sys;

use crate::eal::{Devices, EalInner};
use crate::error::{Errno, PortError};
use crate::flow::{FlowRule, with_raw};
use crate::ring::RawRing;
use crate::{Eal, Mempool, Rss, RssFunctions, RxQueue, TxQueue};

/// What a device is and can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortInfo {
    /// The driver's name, such as "net_ice".
    pub driver: String,
    /// How many RX queues there can be.
    pub max_rx_queues: u16,
    /// How many TX queues there can be.
    pub max_tx_queues: u16,
    /// Entries of the RSS redirection table; zero without one.
    pub reta_size: u16,
    /// Bytes of the RSS hash key: DPDK's usual 40 where a driver with a redirection table does not say, zero without one.
    pub hash_key_size: u8,
    /// What the device can hash for RSS.
    pub rss: RssFunctions,
    /// DPDK's `RTE_ETH_RX_OFFLOAD_*` that the device has.
    pub rx_offloads: u64,
    /// DPDK's `RTE_ETH_TX_OFFLOAD_*` that the device has.
    pub tx_offloads: u64,
    /// The smallest MTU.
    pub min_mtu: u16,
    /// The largest MTU.
    pub max_mtu: u16,
    /// The NUMA node that it is attached to, if any.
    pub socket: Option<u32>,
    /// The RX ring size that the driver recommends.
    pub default_rx_descriptors: u16,
    /// The TX ring size that the driver recommends.
    pub default_tx_descriptors: u16,
    /// Its MAC address.
    pub mac: [u8; 6],
}

/// How to start a port. No offloads are asked for, but the RSS hash where RSS is on.
#[derive(Debug, Clone)]
pub struct PortConfig {
    /// How many RX queues.
    pub rx_queues: u16,
    /// How many TX queues.
    pub tx_queues: u16,
    /// RX ring size; the driver's if `None`. It is rounded to what the device takes.
    pub rx_descriptors: Option<u16>,
    /// TX ring size; the driver's if `None`. It is rounded to what the device takes.
    pub tx_descriptors: Option<u16>,
    /// The largest packet, Ethernet header not counted.
    pub mtu: u16,
    /// Receive frames to other MAC addresses as well.
    pub promiscuous: bool,
    /// Set this MAC address. [`Started::mac`] says whether the device took it.
    pub mac: Option<[u8; 6]>,
    /// How to spread packets over RX queues. If `None` and there are several: by IP, TCP and UDP, as far as the device can.
    pub rss: Option<Rss>,
    /// Where received packets are stored.
    pub pool: Mempool,
}

impl PortConfig {
    /// One queue each way, an MTU of 1500, and the device's own values.
    pub fn new(pool: &Mempool) -> PortConfig {
        PortConfig {
            rx_queues: 1,
            tx_queues: 1,
            rx_descriptors: None,
            tx_descriptors: None,
            mtu: 1500,
            promiscuous: false,
            mac: None,
            rss: None,
            pool: pool.clone(),
        }
    }
}

/// What became of the MTU that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mtu {
    /// The device has it.
    Set(u16),
    /// The device kept its own: virtual devices often have no MTU to set.
    Kept {
        /// What the device said to it.
        errno: Errno,
    },
}

/// The state of the link, as the driver last saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Whether there is a link.
    pub up: bool,
    /// Its speed, if known.
    pub speed_mbps: Option<u32>,
    /// Whether both sides may send at once.
    pub full_duplex: bool,
}

/// What the device counted since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortStats {
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Packets that the device dropped because no RX descriptor was free: the workers are too slow.
    pub missed: u64,
    /// Packets received damaged.
    pub receive_errors: u64,
    /// Packets that the device failed to send; on some virtual devices also those that TX refused.
    pub send_errors: u64,
    /// Times that the mempool had no buffer for RX: the pool is too small.
    pub no_buffers: u64,
}

/// A device that is open to us alone.
#[derive(Debug)]
pub(crate) struct Device {
    id: u16,
    name: String,
    /// Whether it was configured, so that it must be closed.
    opened: bool,
    /// Whether it ever had a rule, so that its rules must go before it stops.
    ruled: AtomicBool,
    /// If it was made at run time, so that it is removed when closed: the rings that it is made of, if any.
    made: Option<Vec<Arc<RawRing>>>,
    // `made`, this and `eal` drop in this order, after `drop` below has closed the device that uses them.
    _pool: Option<Mempool>,
    eal: Arc<EalInner>,
}

impl Device {
    pub(crate) fn id(&self) -> u16 {
        self.id
    }

    /// Turns a DPDK call's result into an error that says what was tried.
    fn step(&self, action: &'static str, result: c_int) -> Result<c_int, PortError> {
        Errno::check(result).map_err(|errno| PortError::Step { name: self.name.clone(), action, errno })
    }

    fn raw_info(&self) -> Result<sys::rte_eth_dev_info, PortError> {
        let mut info = sys::rte_eth_dev_info::default();
        // SAFETY: fills the structure that it is given.
        self.step("read its description", unsafe { sys::rte_eth_dev_info_get(self.id, &mut info) })?;
        Ok(info)
    }

    fn info(&self) -> Result<PortInfo, PortError> {
        let info = self.raw_info()?;
        let driver = if info.driver_name.is_null() {
            String::new()
        } else {
            // SAFETY: a driver's name is a static C string.
            unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned()
        };
        let mut mac = sys::rte_ether_addr::default();
        // SAFETY: fills the address that it is given.
        self.step("read its MAC address", unsafe { sys::rte_eth_macaddr_get(self.id, &mut mac) })?;
        // SAFETY: reads a number.
        let socket = unsafe { sys::rte_eth_dev_socket_id(self.id) };
        let or_usual = |size: u16| if size == 0 { 512 } else { size }; // DPDK's own fallback.
        Ok(PortInfo {
            driver,
            max_rx_queues: info.max_rx_queues,
            max_tx_queues: info.max_tx_queues,
            reta_size: info.reta_size,
            hash_key_size: if info.hash_key_size == 0 && info.reta_size > 0 { 40 } else { info.hash_key_size },
            rss: RssFunctions(info.flow_type_rss_offloads),
            rx_offloads: info.rx_offload_capa,
            tx_offloads: info.tx_offload_capa,
            min_mtu: info.min_mtu,
            max_mtu: info.max_mtu,
            socket: u32::try_from(socket).ok(),
            default_rx_descriptors: or_usual(info.default_rxportconf.ring_size),
            default_tx_descriptors: or_usual(info.default_txportconf.ring_size),
            mac: mac.addr_bytes,
        })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let mut devices = self.eal.devices();
        devices.claimed.remove(&self.id);
        if !self.opened {
            if let Some(rings) = self.made.take() {
                devices.made.insert(self.id, rings); // To be found again.
            }
            return;
        }
        if *self.ruled.get_mut() {
            // SAFETY: the device is open, and the structure may be absent.
            unsafe { sys::rte_flow_flush(self.id, ptr::null_mut()) };
        }
        // SAFETY: no queue of it is left, so nobody polls it.
        unsafe { sys::rte_eth_dev_stop(self.id) };
        if self.made.is_some() {
            close(self.id);
        } else {
            // SAFETY: stopped above, and nobody else has it.
            unsafe { sys::rte_eth_dev_close(self.id) };
        }
    }
}

/// Closes a port that is stopped and in nobody's use, and removes its device. The caller has the lock on devices, or is the
/// last to have any.
pub(crate) fn close(port: u16) {
    let mut info = sys::rte_eth_dev_info::default();
    // SAFETY: fills the structure that it is given.
    let known = unsafe { sys::rte_eth_dev_info_get(port, &mut info) } == 0;
    // SAFETY: stopped and unused, says the caller.
    unsafe { sys::rte_eth_dev_close(port) };
    if known && !info.device.is_null() {
        // SAFETY: the device exists until this call, which only its one owner makes.
        unsafe { sys::rte_dev_remove(info.device) };
    }
}

/// A device that was found and belongs to whoever has this; not started yet.
#[derive(Debug)]
pub struct Port {
    device: Device,
}

impl Port {
    /// Finds a device by name: a PCI address, or a virtual device's name without arguments.
    pub fn find(eal: &Eal, name: &str) -> Result<Port, PortError> {
        Port::open(eal, &mut eal.inner.devices(), name)
    }

    /// Attaches a device at run time, such as "net_af_packet0,iface=eth1". It is removed when closed.
    pub fn attach(eal: &Eal, device: &str) -> Result<Port, PortError> {
        let arguments = CString::new(device).map_err(|_| PortError::Name(device.into()))?;
        let name = device.split(',').next().unwrap_or(device);
        let failed = |errno| PortError::Attach { device: device.into(), errno };
        let mut devices = eal.inner.devices();
        if find_id(name)?.is_some() {
            return Err(failed(Errno::Exists)); // DPDK would say that all is well.
        }
        // SAFETY: reads a C string and copies what it keeps; nobody else makes or removes devices meanwhile.
        Errno::check(unsafe { sys::rte_dev_probe(arguments.as_ptr()) }).map_err(failed)?;
        if let Some(id) = find_id(name)? {
            devices.made.insert(id, Vec::new());
        }
        Port::open(eal, &mut devices, name)
    }

    fn open(eal: &Eal, devices: &mut Devices, name: &str) -> Result<Port, PortError> {
        let Some(id) = find_id(name)? else {
            return Err(PortError::NotFound { name: name.into(), present: names() });
        };
        if !devices.claimed.insert(id) {
            return Err(PortError::InUse(name.into()));
        }
        let (made, eal) = (devices.made.remove(&id), eal.inner.clone());
        Ok(Port {
            device: Device {
                id,
                name: name.into(),
                opened: false,
                ruled: AtomicBool::new(false),
                made,
                _pool: None,
                eal,
            },
        })
    }

    /// The names of all devices that there are.
    pub fn names(eal: &Eal) -> Vec<String> {
        let _devices = eal.inner.devices();
        names()
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.device.name
    }

    /// The port's number, as in [`Mbuf::port`](crate::Mbuf::port).
    pub fn id(&self) -> u16 {
        self.device.id
    }

    /// What the device is and can do.
    pub fn info(&self) -> Result<PortInfo, PortError> {
        self.device.info()
    }

    /// Configures the device and starts it.
    ///
    /// What the device cannot do is found before anything is changed, and the device can then be found again and tried
    /// otherwise.
    pub fn start(mut self, config: &PortConfig) -> Result<Started, PortError> {
        let info = self.info()?;
        let rss = self.check(config, &info)?;
        let device = &mut self.device;
        device.opened = true;
        device._pool = Some(config.pool.clone());
        let id = device.id;

        let mut conf = sys::rte_eth_conf::default();
        conf.rxmode.mtu = u32::from(config.mtu);
        let mut key = rss.as_ref().and_then(|rss| rss.key.clone());
        if let Some(rss) = &rss {
            conf.rxmode.mq_mode = sys::RTE_ETH_MQ_RX_RSS;
            conf.rxmode.offloads = info.rx_offloads & sys::SHIM_RX_OFFLOAD_RSS_HASH;
            conf.rx_adv_conf.rss_conf.rss_hf = rss.functions.0;
            if let Some(key) = &mut key {
                conf.rx_adv_conf.rss_conf.rss_key = key.as_mut_ptr();
                conf.rx_adv_conf.rss_conf.rss_key_len = info.hash_key_size; // `check` compared it with the key's length.
            }
        }
        // SAFETY: DPDK copies the structure; the key that it points to lives until after the device is started.
        let result = unsafe { sys::rte_eth_dev_configure(id, config.rx_queues, config.tx_queues, &conf) };
        device.step("configure it", result)?;

        let mut rx_descriptors = config.rx_descriptors.unwrap_or(info.default_rx_descriptors);
        let mut tx_descriptors = config.tx_descriptors.unwrap_or(info.default_tx_descriptors);
        // SAFETY: changes the two numbers.
        let result = unsafe { sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, &mut rx_descriptors, &mut tx_descriptors) };
        device.step("choose descriptor counts", result)?;

        // -1 ("any node") as DPDK passes it where the parameter is unsigned.
        let socket = info.socket.unwrap_or(u32::MAX);
        let pool = config.pool.raw().as_ptr();
        for queue in 0..config.rx_queues {
            // SAFETY: the queue is below the configured count; null asks for the driver's defaults; the device keeps the
            // pool alive.
            let result = unsafe { sys::rte_eth_rx_queue_setup(id, queue, rx_descriptors, socket, ptr::null(), pool) };
            device.step("set up an RX queue", result)?;
        }
        for queue in 0..config.tx_queues {
            // SAFETY: the queue is below the configured count; null asks for the driver's defaults.
            let result = unsafe { sys::rte_eth_tx_queue_setup(id, queue, tx_descriptors, socket, ptr::null()) };
            device.step("set up a TX queue", result)?;
        }
        if let Some(addr_bytes) = config.mac {
            let mut mac = sys::rte_ether_addr { addr_bytes };
            // SAFETY: DPDK copies the address.
            let result = unsafe { sys::rte_eth_dev_default_mac_addr_set(id, &mut mac) };
            match Errno::check(result) {
                Err(Errno::NotSupported) => {} // `Started::mac` says so.
                _ => drop(device.step("set its MAC address", result)?),
            }
        }
        // SAFETY: sets a number of a stopped device.
        let mtu = match Errno::check(unsafe { sys::rte_eth_dev_set_mtu(id, config.mtu) }) {
            Ok(_) => Mtu::Set(config.mtu),
            Err(errno) => Mtu::Kept { errno },
        };
        // SAFETY: configured, and all queues set up.
        device.step("start it", unsafe { sys::rte_eth_dev_start(id) })?;
        drop(key);
        if config.promiscuous {
            // SAFETY: sets a flag of a started device. One that cannot filter by address refuses, and gets everything anyway.
            unsafe { sys::rte_eth_promiscuous_enable(id) };
        }
        // SAFETY: reads a flag.
        let promiscuous = unsafe { sys::rte_eth_promiscuous_get(id) } == 1;

        let mac = device.info()?.mac;
        let device = Arc::new(self.device);
        Ok(Started {
            rx: (0..config.rx_queues).map(|q| RxQueue::new(device.clone(), q, config.pool.clone())).collect(),
            tx: (0..config.tx_queues).map(|q| TxQueue::new(device.clone(), q)).collect(),
            port: ActivePort { device, rx_queues: config.rx_queues, not_sync: PhantomData },
            mtu,
            mac,
            promiscuous,
            rx_descriptors,
            tx_descriptors,
        })
    }

    /// Finds what the device cannot do, and settles how it spreads packets.
    fn check(&self, config: &PortConfig, info: &PortInfo) -> Result<Option<Rss>, PortError> {
        let name = || self.device.name.clone();
        for (direction, asked, limit) in
            [("RX", config.rx_queues, info.max_rx_queues), ("TX", config.tx_queues, info.max_tx_queues)]
        {
            if asked == 0 || asked > limit {
                return Err(PortError::Queues { name: name(), direction, asked, limit });
            }
        }
        let (min, max) = (info.min_mtu, info.max_mtu);
        if !(min..=max).contains(&config.mtu) {
            return Err(PortError::MtuRange { name: name(), asked: config.mtu, min, max });
        }
        let Some(rss) = &config.rss else {
            let functions = info.rss.and(RssFunctions::IP | RssFunctions::TCP | RssFunctions::UDP);
            let spread = config.rx_queues > 1 && !functions.is_empty();
            return Ok(spread.then_some(Rss { functions, key: None }));
        };
        if rss.functions.is_empty() || !info.rss.contains(rss.functions) {
            return Err(PortError::Rss { name: name(), asked: rss.functions.0, supported: info.rss.0 });
        }
        check_key(&self.device.name, info, rss)?;
        Ok(Some(rss.clone()))
    }
}

fn check_key(name: &str, info: &PortInfo, rss: &Rss) -> Result<(), PortError> {
    let expected = usize::from(info.hash_key_size);
    match &rss.key {
        Some(key) if key.len() != expected => Err(PortError::RssKey { name: name.into(), expected, found: key.len() }),
        _ => Ok(()),
    }
}

/// A port that runs, as [`Port::start`] gives it.
#[derive(Debug)]
pub struct Started {
    /// For control.
    pub port: ActivePort,
    /// One a queue, for workers.
    pub rx: Vec<RxQueue>,
    /// One a queue, for workers.
    pub tx: Vec<TxQueue>,
    /// What became of the MTU.
    pub mtu: Mtu,
    /// The device's MAC address: its own, if it cannot take another. Frames to another then come in only if it is
    /// promiscuous or, as ring devices, does not look.
    pub mac: [u8; 6],
    /// Whether the device says that it receives frames to other addresses.
    pub promiscuous: bool,
    /// The RX ring size.
    pub rx_descriptors: u16,
    /// The TX ring size.
    pub tx_descriptors: u16,
}

/// The control side of a port that runs. DPDK wants one thread at a time here, so it is not `Sync`:
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<dpdk::ActivePort>();
/// ```
#[derive(Debug)]
pub struct ActivePort {
    device: Arc<Device>,
    rx_queues: u16,
    not_sync: PhantomData<Cell<()>>,
}

impl ActivePort {
    /// The device's name.
    pub fn name(&self) -> &str {
        &self.device.name
    }

    /// The port's number, as in [`Mbuf::port`](crate::Mbuf::port).
    pub fn id(&self) -> u16 {
        self.device.id
    }

    /// What the device is and can do.
    pub fn info(&self) -> Result<PortInfo, PortError> {
        self.device.info()
    }

    /// The state of the link; does not wait for it.
    pub fn link(&self) -> Result<Link, PortError> {
        let mut link = sys::shim_link::default();
        // SAFETY: fills the structure that it is given.
        self.device.step("read its link state", unsafe { sys::shim_link_get(self.device.id, &mut link) })?;
        let speed_mbps = Some(link.speed_mbps).filter(|&speed| speed != 0 && speed != sys::RTE_ETH_SPEED_NUM_UNKNOWN);
        Ok(Link { up: link.up, speed_mbps, full_duplex: link.full_duplex })
    }

    /// What the device counted.
    pub fn stats(&self) -> Result<PortStats, PortError> {
        let mut stats = sys::rte_eth_stats::default();
        // SAFETY: fills the structure that it is given.
        self.device.step("read its counters", unsafe { sys::rte_eth_stats_get(self.device.id, &mut stats) })?;
        Ok(PortStats {
            received: stats.ipackets,
            sent: stats.opackets,
            received_bytes: stats.ibytes,
            sent_bytes: stats.obytes,
            missed: stats.imissed,
            receive_errors: stats.ierrors,
            send_errors: stats.oerrors,
            no_buffers: stats.rx_nombuf,
        })
    }

    /// All of the driver's counters by name.
    pub fn xstats(&self) -> Result<Vec<(String, u64)>, PortError> {
        const ACTION: &str = "read its extended counters";
        let id = self.device.id;
        // SAFETY: without an array, only says how many there are.
        let count = self.device.step(ACTION, unsafe { sys::rte_eth_xstats_get_names(id, ptr::null_mut(), 0) })?;
        let length = count.unsigned_abs();
        let mut names = vec![sys::rte_eth_xstat_name::default(); length as usize];
        let mut values = vec![sys::rte_eth_xstat::default(); length as usize];
        // SAFETY: the array has `length` entries.
        let named = unsafe { sys::rte_eth_xstats_get_names(id, names.as_mut_ptr(), length) };
        let named = self.device.step(ACTION, named)?.unsigned_abs();
        // SAFETY: the array has `length` entries.
        let counted = unsafe { sys::rte_eth_xstats_get(id, values.as_mut_ptr(), length) };
        let counted = self.device.step(ACTION, counted)?.unsigned_abs();
        names.truncate(named as usize);
        values.truncate(counted as usize);
        let name = |index: u64| {
            let entry = names.get(usize::try_from(index).ok()?)?;
            let bytes = entry.name.map(|c| c as u8);
            Some(CStr::from_bytes_until_nul(&bytes).ok()?.to_string_lossy().into_owned())
        };
        Ok(values.iter().filter_map(|value| Some((name(value.id)?, value.value))).collect())
    }

    /// Changes what is hashed and with which key.
    pub fn set_rss(&mut self, rss: &Rss) -> Result<(), PortError> {
        let info = self.info()?;
        check_key(&self.device.name, &info, rss)?;
        let mut key = rss.key.clone();
        let mut conf = sys::rte_eth_rss_conf { rss_hf: rss.functions.0, ..Default::default() };
        if let Some(key) = &mut key {
            conf.rss_key = key.as_mut_ptr();
            conf.rss_key_len = info.hash_key_size;
        }
        // SAFETY: DPDK copies the structure and the key, which is as long as the device's is.
        let result = unsafe { sys::rte_eth_dev_rss_hash_update(self.device.id, &mut conf) };
        self.device.step("change its RSS key", result)?;
        Ok(())
    }

    /// What is hashed and with which key, as the driver says.
    pub fn rss(&self) -> Result<Rss, PortError> {
        let size = self.info()?.hash_key_size;
        // More room than any driver's key takes: some copy all of theirs whatever length they are told.
        let mut key = vec![0; 256];
        let mut conf = sys::rte_eth_rss_conf { rss_key: key.as_mut_ptr(), rss_key_len: size, ..Default::default() };
        // SAFETY: the driver fills the structure, and the key, whose length is a byte and so below the room that there is.
        let result = unsafe { sys::rte_eth_dev_rss_hash_conf_get(self.device.id, &mut conf) };
        self.device.step("read its RSS key", result)?;
        key.truncate(usize::from(size));
        Ok(Rss { functions: RssFunctions(conf.rss_hf), key: (size > 0).then_some(key) })
    }

    /// Sets the redirection table: entry i is the RX queue of packets whose hash has i in its low bits.
    pub fn set_reta(&mut self, queues: &[u16]) -> Result<(), PortError> {
        let size = self.info()?.reta_size;
        if size == 0 || queues.len() != usize::from(size) || queues.iter().any(|&queue| queue >= self.rx_queues) {
            return Err(PortError::Reta { name: self.device.name.clone(), size, queues: self.rx_queues });
        }
        let mut groups = reta_groups(size);
        for (group, queues) in groups.iter_mut().zip(queues.chunks(GROUP)) {
            group.reta[..queues.len()].copy_from_slice(queues);
        }
        // SAFETY: the groups cover `size` entries; DPDK copies them.
        let result = unsafe { sys::rte_eth_dev_rss_reta_update(self.device.id, groups.as_mut_ptr(), size) };
        self.device.step("change its RSS redirection table", result)?;
        Ok(())
    }

    /// The redirection table; empty if the device has none.
    pub fn reta(&self) -> Result<Vec<u16>, PortError> {
        let size = self.info()?.reta_size;
        if size == 0 {
            return Ok(Vec::new());
        }
        let mut groups = reta_groups(size);
        // SAFETY: the groups cover `size` entries, which DPDK fills.
        let result = unsafe { sys::rte_eth_dev_rss_reta_query(self.device.id, groups.as_mut_ptr(), size) };
        self.device.step("read its RSS redirection table", result)?;
        Ok(groups.iter().flat_map(|group| group.reta).take(usize::from(size)).collect())
    }

    /// Whether the device would take a rule. Changes nothing.
    pub fn validate(&self, rule: &FlowRule) -> Result<(), PortError> {
        let mut error = sys::rte_flow_error::default();
        let result = with_raw(rule, |attr, items, actions| {
            // SAFETY: all of these are as DPDK wants them during this call (see `with_raw`); the driver fills `error`.
            unsafe { sys::rte_flow_validate(self.device.id, attr, items, actions, &mut error) }
        });
        Errno::check(result).map(drop).map_err(|errno| self.rule_error(rule, errno, &error))
    }

    /// Installs rules, all of them or none. They stay until [`remove_rules`](ActivePort::remove_rules) or until the port
    /// is closed.
    pub fn add_rules(&mut self, rules: &[FlowRule]) -> Result<(), PortError> {
        for rule in rules {
            self.validate(rule)?;
        }
        let mut made = Vec::with_capacity(rules.len());
        for rule in rules {
            let mut error = sys::rte_flow_error::default();
            self.device.ruled.store(true, Ordering::Relaxed);
            let id = self.device.id;
            let flow = with_raw(rule, |attr, items, actions| {
                // SAFETY: all of these are as DPDK wants them during this call (see `with_raw`), and it copies what it
                // keeps; the driver fills `error`.
                unsafe { sys::rte_flow_create(id, attr, items, actions, &mut error) }
            });
            match NonNull::new(flow) {
                Some(flow) => made.push(flow),
                None => {
                    let errno = Errno::last();
                    for flow in made {
                        // SAFETY: a rule of this port that was made above and is not destroyed yet.
                        unsafe { sys::rte_flow_destroy(id, flow.as_ptr(), ptr::null_mut()) };
                    }
                    return Err(self.rule_error(rule, errno, &error));
                }
            }
        }
        Ok(())
    }

    /// Removes all rules.
    pub fn remove_rules(&mut self) -> Result<(), PortError> {
        // SAFETY: the port is open, and the structure may be absent.
        let result = unsafe { sys::rte_flow_flush(self.device.id, ptr::null_mut()) };
        self.device.step("remove its flow rules", result).map(drop)
    }

    fn rule_error(&self, rule: &FlowRule, errno: Errno, error: &sys::rte_flow_error) -> PortError {
        let said = if error.message.is_null() {
            String::new()
        } else {
            // SAFETY: a driver's message is a static C string.
            format!(" ({})", unsafe { CStr::from_ptr(error.message) }.to_string_lossy())
        };
        PortError::Rule { name: self.device.name.clone(), rule: rule.to_string(), errno, said }
    }
}

const NAME_SIZE: usize = sys::RTE_ETH_NAME_MAX_LEN as usize;
const GROUP: usize = sys::RTE_ETH_RETA_GROUP_SIZE as usize;

/// Room for `size` entries of a redirection table, all marked as meant.
fn reta_groups(size: u16) -> Vec<sys::rte_eth_rss_reta_entry64> {
    let last = usize::from(size) % GROUP;
    let mut groups =
        vec![sys::rte_eth_rss_reta_entry64 { mask: u64::MAX, ..Default::default() }; usize::from(size).div_ceil(GROUP)];
    if let (Some(group), 1..) = (groups.last_mut(), last) {
        group.mask = (1 << last) - 1;
    }
    groups
}

/// All devices' names. The caller has the lock on devices.
fn names() -> Vec<String> {
    let mut names = Vec::new();
    let mut next = 0;
    loop {
        // SAFETY: looks at a table of the running EAL.
        let found = unsafe { sys::rte_eth_find_next(next) };
        if u64::from(found) >= u64::from(sys::RTE_MAX_ETHPORTS) {
            return names;
        }
        let id = found as u16; // Below the number of ports, and a port's number is 16 bits.
        let mut name: [c_char; NAME_SIZE] = [0; NAME_SIZE];
        // SAFETY: the array is as long as DPDK asks.
        if unsafe { sys::rte_eth_dev_get_name_by_port(id, name.as_mut_ptr()) } == 0 {
            // SAFETY: DPDK put a C string there.
            names.push(unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned());
        }
        next = id + 1;
    }
}

/// The number of the port with that name. The caller has the lock on devices.
pub(crate) fn find_id(name: &str) -> Result<Option<u16>, PortError> {
    let c_name = CString::new(name).map_err(|_| PortError::Name(name.into()))?;
    let mut id = 0;
    // SAFETY: reads a C string and writes a number.
    let result = unsafe { sys::rte_eth_dev_get_port_by_name(c_name.as_ptr(), &mut id) };
    Ok((result == 0).then_some(id))
}
