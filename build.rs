//! DPDK bindings: pkg-config finds DPDK, bindgen reads its headers, cc compiles the static inline functions.
//!
//! This file is the build script of `dataplane/dpdk-sys` (`build = "../../build.rs"`), whose directory is the
//! working directory here; the root package builds nothing of its own. It lists every DPDK name that Underpass
//! may use, so that a look at this file says what Underpass expects of DPDK, and so that the generated file stays
//! small. DPDK is linked as shared libraries: EAL then finds its drivers by itself in its plugin directory.

use std::path::PathBuf;
use std::process::{Command, exit};
use std::{env, fs};

/// The oldest DPDK that this is built and tested with: Debian 12's.
const OLDEST: &str = "22.11";

/// What is linked. Drivers are not here: EAL loads them at run time, except net_ring, which is also a library.
const LIBRARIES: &[&str] = &["rte_eal", "rte_ethdev", "rte_mbuf", "rte_mempool", "rte_ring", "rte_net_ring"];

const FUNCTIONS: &[&str] = &[
    // Process and threads
    "rte_eal_(init|cleanup|has_hugepages|iova_mode|get_runtime_dir)",
    "rte_thread_(register|unregister)",
    "rte_get_tsc_hz",
    "rte_version",
    // Devices
    "rte_dev_(probe|remove|name)",
    "rte_eth_find_next",
    "rte_eth_from_rings",
    "rte_eth_dev_(get_port_by_name|get_name_by_port|info_get|configure|adjust_nb_rx_tx_desc|socket_id|start|stop|close)",
    "rte_eth_dev_(set_mtu|get_mtu|default_mac_addr_set)",
    "rte_eth_(rx|tx)_queue_setup",
    "rte_eth_promiscuous_(enable|get)",
    "rte_eth_macaddr_get",
    "rte_eth_stats_get",
    "rte_eth_xstats_(get|get_names)",
    // Spreading packets over queues
    "rte_eth_dev_rss_(hash_update|hash_conf_get|reta_update|reta_query)",
    "rte_flow_(validate|create|destroy|flush|isolate)",
    // Packets
    "rte_pktmbuf_(pool_create|free_bulk|copy|clone)",
    "rte_mempool_(free|avail_count)",
    "rte_ring_(create|free)",
    "shim_.*",
];

const TYPES: &[&str] = &[
    "rte_iova_mode",
    "rte_eth_rx_mq_mode",
    "rte_eth_rss_reta_entry64",
    "rte_flow_item_(type|eth|ipv4|ipv6|tcp|udp|esp|ah|gre|l2tpv3oip)",
    "rte_flow_action_(type|queue|rss|mark)",
    "shim_.*",
];

const CONSTANTS: &[&str] = &[
    "RTE_MAX_LCORE",
    "RTE_MAX_ETHPORTS",
    "RTE_ETH_NAME_MAX_LEN",
    "RTE_ETH_RETA_GROUP_SIZE",
    "RTE_ETH_(RX|TX)_DESC_DEFAULT",
    "RTE_ETH_LINK_UP",
    "RTE_ETH_SPEED_NUM_UNKNOWN",
    "RTE_MEMPOOL_CACHE_MAX_SIZE",
    "RTE_MEMPOOL_NAMESIZE",
    "RTE_PKTMBUF_HEADROOM",
    "RTE_MBUF_DEFAULT_BUF_SIZE",
    "RTE_MBUF_PORT_INVALID",
    "RING_F_(SP_ENQ|SC_DEQ|EXACT_SZ)",
    "RTE_RING_NAMESIZE",
    "SHIM_.*",
];

/// Their insides are not used here, and bindgen cannot express some of them (packed and aligned at once).
const OPAQUE: &[&str] = &[
    "rte_mbuf",
    "rte_mempool",
    "rte_ring",
    "rte_device",
    "rte_arp_.*",
    "rte_ether_hdr",
    "rte_l2tpv2_.*",
    "rte_gtp_psc_.*",
];

fn main() {
    println!("cargo::rerun-if-changed=shim");
    for variable in ["PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "PKG_CONFIG_SYSROOT_DIR", "LIBCLANG_PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let version = pkg_config(&["--modversion"]).join(" ");
    if older(&version, OLDEST) {
        stop(&format!("DPDK {version} is too old: Underpass needs {OLDEST} or later"));
    }
    // A change of the DPDK that is installed changes these files, and so the bindings.
    for directory in pkg_config(&["--variable=includedir"]) {
        for header in ["rte_version.h", "rte_build_config.h", "dpdk/rte_version.h", "dpdk/rte_build_config.h"] {
            let path = PathBuf::from(&directory).join(header);
            if path.exists() {
                println!("cargo::rerun-if-changed={}", path.display());
            }
        }
    }
    println!("cargo::metadata=version={version}");
    let flags = pkg_config(&["--cflags"]);
    compile_shim(&flags);
    generate_bindings(&flags);
    link();
}

/// `-march` must be what DPDK was built for and `-include rte_config.h` must come first, so the flags go on as they are.
fn compile_shim(flags: &[String]) {
    let mut build = cc::Build::new();
    build.file("shim/shim.c").opt_level(3).std("gnu11").warnings(true).extra_warnings(true);
    for flag in flags {
        // DPDK's headers are not ours to warn about.
        match flag.strip_prefix("-I") {
            Some(directory) => build.flag("-isystem").flag(directory),
            None => build.flag(flag),
        };
    }
    build.compile("underpass_dpdk_shim");
}

fn generate_bindings(flags: &[String]) {
    let mut builder = bindgen::Builder::default()
        .header("shim/shim.h")
        .clang_args(flags)
        .use_core()
        .derive_default(true)
        .generate_comments(false)
        .prepend_enum_name(false)
        .formatter(bindgen::Formatter::None)
        .rust_edition(bindgen::RustEdition::Edition2024);
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for name in CONSTANTS {
        builder = builder.allowlist_var(name);
    }
    for name in OPAQUE {
        builder = builder.opaque_type(name);
    }
    let Ok(bindings) = builder.generate() else {
        stop("bindgen cannot read DPDK's headers (its messages are above): install libclang-dev and libdpdk-dev")
    };
    let Some(directory) = env::var_os("OUT_DIR") else { stop("OUT_DIR is not set: run this through cargo") };
    let file = PathBuf::from(directory).join("bindings.rs");
    if let Err(error) = fs::write(&file, bindings.to_string()) {
        stop(&format!("cannot write {}: {error}", file.display()));
    }
}

fn link() {
    for flag in pkg_config(&["--libs-only-L"]) {
        if let Some(directory) = flag.strip_prefix("-L") {
            println!("cargo::rustc-link-search=native={directory}");
        }
    }
    for library in LIBRARIES {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
}

/// Asks pkg-config itself: the crate of that name drops `-march` and `-include`.
fn pkg_config(arguments: &[&str]) -> Vec<String> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let output = match Command::new(&program).args(arguments).arg("libdpdk").output() {
        Ok(output) => output,
        Err(error) => {
            stop(&format!("cannot run {program} ({error}): install pkg-config, libdpdk-dev and libclang-dev"))
        }
    };
    if !output.status.success() {
        stop(&format!(
            "pkg-config does not find DPDK: install libdpdk-dev and libclang-dev \
             (Debian: apt-get install pkg-config libdpdk-dev libclang-dev), or set PKG_CONFIG_PATH to the directory \
             of your own build's libdpdk.pc. It said: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    String::from_utf8_lossy(&output.stdout).split_whitespace().map(String::from).collect()
}

/// Compares year and month; what follows (a patch level, "-rc1") does not matter.
fn older(found: &str, oldest: &str) -> bool {
    let release = |text: &str| {
        let mut parts = text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse::<u32>().ok());
        (parts.next(), parts.next())
    };
    release(found) < release(oldest)
}

fn stop(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1)
}
