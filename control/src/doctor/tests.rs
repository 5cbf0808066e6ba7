//! Machines laid out as trees of files, the way the kernels of real ones show themselves.

use super::host::Host;
use super::report::{Findings, Level};
use super::{Needs, examine, fix, processors};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A machine that is gone with the value.
struct Machine(PathBuf);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const XEON: &str = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Silver 4314 CPU @ 2.40GHz\n\
                    flags\t\t: fpu tsc sse2 ssse3 sse4_1 sse4_2 avx avx2 constant_tsc nonstop_tsc pdpe1gb";
/// The card of the Xeon: two ports of an Intel X520.
const PORTS: [&str; 2] = ["0000:03:00.0", "0000:03:00.1"];

impl Machine {
    fn empty() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("underpass-doctor-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let root = std::env::temp_dir().join(name);
        fs::create_dir_all(&root).unwrap();
        Self(root)
    }

    /// A server as it comes: two nodes of four CPUs, an X520 that the kernel has, nothing prepared.
    fn xeon() -> Self {
        let m = Self::empty();
        m.file("proc/cpuinfo", XEON);
        m.file("proc/meminfo", "MemTotal: 65536000 kB\nMemAvailable:   60000000 kB\nHugepagesize:       2048 kB");
        m.user(0, 0x1ff_ffff_ffff, "");
        m.file("proc/net/route", "Iface\tDestination\tGateway\neno1\t00000000\t0102000A");
        m.file("proc/sys/vm/nr_hugepages", "0\n");
        m.file("sys/devices/system/cpu/online", "0-7");
        m.file("sys/devices/system/cpu/isolated", "\n");
        m.file("sys/devices/system/node/online", "0-1");
        for node in 0..2 {
            m.file(&format!("sys/devices/system/node/node{node}/cpulist"), if node == 0 { "0-3" } else { "4-7" });
        }
        m.hugepages(0, 0);
        for cpu in 0..8 {
            let folder = format!("sys/devices/system/cpu/cpu{cpu}");
            m.file(&format!("{folder}/topology/thread_siblings_list"), &cpu.to_string());
            m.file(&format!("{folder}/cpufreq/scaling_governor"), "performance");
        }
        for (n, address) in PORTS.iter().enumerate() {
            m.nic(address, 0x8086, 0x10fb, "ixgbe", 0);
            fs::create_dir_all(m.0.join(format!("sys/bus/pci/devices/{address}/net/enp3s0f{n}"))).unwrap();
        }
        m.driver("librte_net_ixgbe.so.23", r#"{"name": "net_ixgbe", "kmod": "* igb_uio | uio_pci_generic | vfio-pci", "pci_ids": [[32902, 4347, 65535, 65535]]}"#);
        m.driver(
            "librte_net_af_packet.so.23",
            r#"{"name": "net_af_packet", "params": "iface=<string>", "pci_ids": []}"#,
        );
        m
    }

    /// The same with everything done.
    fn prepared() -> Self {
        let m = Self::xeon();
        m.hugepages(1024, 1024);
        m.file("sys/devices/system/cpu/isolated", "1-3");
        m.vfio();
        for (n, address) in PORTS.iter().enumerate() {
            m.bind(address, "vfio-pci");
            m.group(address, &(30 + n).to_string());
            let _ = fs::remove_dir_all(m.0.join(format!("sys/bus/pci/devices/{address}/net")));
        }
        m
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, path: &str, to: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        symlink(to, path).unwrap();
    }

    fn user(&self, id: u32, capabilities: u64, more: &str) {
        let ids = format!("{id}\t{id}\t{id}\t{id}");
        let status = format!(
            "Uid:\t{ids}\nGid:\t{ids}\nGroups:\t\nCpus_allowed_list:\t0-15\nCapEff:\t{capabilities:016x}\n{more}"
        );
        self.file("proc/self/status", &status);
        self.file("proc/self/limits", "Max locked memory         8388608              8388608              bytes");
    }

    fn hugepages(&self, node0: u64, node1: u64) {
        let pages = |folder: &str, n: u64| {
            for size in ["hugepages-2048kB", "hugepages-1048576kB"] {
                let n = if size.contains("2048") { n } else { 0 };
                self.file(&format!("{folder}/{size}/nr_hugepages"), &format!("{n}\n"));
                self.file(&format!("{folder}/{size}/free_hugepages"), &format!("{n}\n"));
            }
        };
        pages("sys/kernel/mm/hugepages", node0 + node1);
        pages("sys/devices/system/node/node0/hugepages", node0);
        pages("sys/devices/system/node/node1/hugepages", node1);
    }

    fn nic(&self, address: &str, vendor: u16, device: u16, driver: &str, node: i32) {
        let folder = format!("sys/bus/pci/devices/{address}");
        self.file(&format!("{folder}/class"), "0x020000\n");
        self.file(&format!("{folder}/vendor"), &format!("{vendor:#06x}\n"));
        self.file(&format!("{folder}/device"), &format!("{device:#06x}\n"));
        self.file(&format!("{folder}/numa_node"), &format!("{node}\n"));
        self.bind(address, driver);
    }

    fn bind(&self, address: &str, driver: &str) {
        let link = format!("sys/bus/pci/devices/{address}/driver");
        self.link(&link, &format!("../../../bus/pci/drivers/{driver}"));
    }

    fn group(&self, address: &str, group: &str) {
        self.link(
            &format!("sys/bus/pci/devices/{address}/iommu_group"),
            &format!("../../../kernel/iommu_groups/{group}"),
        );
        fs::create_dir_all(self.0.join(format!("sys/kernel/iommu_groups/{group}/devices/{address}"))).unwrap();
    }

    fn vfio(&self) {
        fs::create_dir_all(self.0.join("sys/bus/pci/drivers/vfio-pci")).unwrap();
    }

    fn driver(&self, file: &str, text: &str) {
        self.file(
            &format!("usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/{file}"),
            &format!("\u{7f}ELF\0PMD_INFO_STRING= {text}\0"),
        );
    }

    fn host(&self) -> Host {
        Host::new(&self.0)
    }

    fn examined(&self) -> Findings {
        let host = self.host();
        examine(&host, &Needs::general(&processors::usable(&host)))
    }

    fn examined_for(&self, runtime: &str, lan: &str, wan: &str) -> Findings {
        let text = format!(
            "[runtime]\n{runtime}\n[[port]]\nname = \"lan\"\nrole = \"inside\"\ndevice = \"{lan}\"\n\
             addresses = [\"192.168.1.1/24\"]\n[[port]]\nname = \"wan\"\nrole = \"outside\"\ndevice = \"{wan}\"\n\
             addresses = [\"203.0.113.2/24\"]\n[nat]\nsessions = 65536\n"
        );
        let model = config::parse("t", &text).unwrap().model;
        let host = self.host();
        examine(&host, &Needs::of(&model, &processors::usable(&host)))
    }
}

/// What a topic is told to be, with its remedies.
fn told(found: &Findings, topic: &str) -> (Level, String) {
    let f = found.findings.iter().find(|f| f.topic == topic).unwrap_or_else(|| panic!("no {topic} in\n{found}"));
    (f.level, format!("{}\n{}", f.message, f.remedy.join("\n")))
}

fn topics(found: &Findings, level: Level) -> Vec<&str> {
    found.findings.iter().filter(|f| f.level == level).map(|f| f.topic.as_str()).collect()
}

#[track_caller]
fn expect(found: &Findings, topic: &str, level: Level, parts: &[&str]) {
    let (is, text) = told(found, topic);
    assert_eq!(is, level, "{topic}: {text}");
    for part in parts {
        assert!(text.contains(part), "{topic}: {part:?} is not in: {text}");
    }
}

#[test]
fn a_server_as_it_comes_is_told_each_step() {
    let found = Machine::xeon().examined_for("workers = [1, 2]\nmemory = \"hugepages\"", PORTS[0], PORTS[1]);
    assert_eq!(topics(&found, Level::Missing), ["hugepages", "vfio", "iommu", PORTS[0], PORTS[1]], "{found}");
    expect(&found, "vfio", Level::Missing, &["modprobe vfio-pci", "/etc/modules-load.d"]);
    expect(&found, "iommu", Level::Missing, &["intel_iommu=on iommu=pt", "VT-d"]);
    let bind = "ip link set enp3s0f0 down && dpdk-devbind.py -b vfio-pci 0000:03:00.0";
    expect(&found, PORTS[0], Level::Missing, &["8086:10fb", "ixgbe has it", bind]);
    expect(&found, "isolation", Level::Advice, &["isolcpus=1-2 nohz_full=1-2 rcu_nocbs=1-2"]);
    expect(&found, "cpu", Level::Ok, &["Xeon", "avx2"]);
    let (_, text) = told(&found, "hugepages");
    let pages: u64 = text.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(text.contains("underpass doctor --fix-hugepages ") && (20..500).contains(&pages), "{text}");
}

#[test]
fn a_server_with_everything_done_misses_nothing() {
    let m = Machine::prepared();
    for found in [m.examined_for("workers = [1, 2]", PORTS[0], PORTS[1]), m.examined()] {
        assert_eq!(topics(&found, Level::Missing), [""; 0], "{found}");
    }
    let found = m.examined_for("workers = [1, 2]", PORTS[0], PORTS[1]);
    assert_eq!(topics(&found, Level::Advice), [""; 0], "{found}");
    expect(&found, PORTS[1], Level::Ok, &["bound to vfio-pci, for net_ixgbe"]);
    assert!(found.to_string().ends_with("Nothing is missing.\n"));
}

#[test]
fn the_commands_that_doctor_gives_end_what_it_found() {
    let m = Machine::xeon();
    let before = m.examined_for("workers = 1\nmemory = \"hugepages\"", PORTS[0], PORTS[1]);
    let (_, text) = told(&before, "hugepages");
    let pages = text.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(fix::hugepages(&m.host(), pages).unwrap().contains(&format!("There are {pages} hugepages now")));
    // As the kernel would deal them.
    m.hugepages(pages / 2 + pages % 2, pages / 2);
    let after = m.examined_for("workers = 1\nmemory = \"hugepages\"", PORTS[0], PORTS[1]);
    expect(&after, "hugepages", Level::Ok, &[]);
    // Half of them are on the node without a NIC.
    expect(
        &after,
        "node 0",
        Level::Advice,
        &["/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages"],
    );
}

#[test]
fn hugepages_are_made_and_never_taken_away() {
    let m = Machine::xeon();
    m.file("proc/sys/vm/nr_hugepages", "700\n");
    assert_eq!(fix::hugepages(&m.host(), 512).unwrap(), "There are 700 hugepages already.");
    assert_eq!(m.host().number("proc/sys/vm/nr_hugepages"), Some(700));
    fix::hugepages(&m.host(), 1024).unwrap();
    assert_eq!(m.host().number("proc/sys/vm/nr_hugepages"), Some(1024));
    let error = fix::hugepages(&Host::new(Path::new("/nonesuch")), 1).unwrap_err();
    assert!(error.to_string().contains("no hugepages"), "{error:#}");
}

#[test]
fn with_a_configuration_just_what_it_needs_is_looked_at() {
    let m = Machine::xeon();
    m.file("sys/class/net/enp3s0f0/flags", "0x1003");
    m.file("sys/class/net/enp3s0f1/flags", "0x1002");
    let (up, down) = ("net_af_packet0,iface=enp3s0f0", "net_af_packet1,iface=enp3s0f1");
    let found = m.examined_for("workers = 1\nmemory = \"ordinary\"", up, down);
    for topic in ["vfio", "iommu", PORTS[0], PORTS[1], "numa"] {
        assert!(found.findings.iter().all(|f| f.topic != topic), "{found}");
    }
    expect(&found, "net_af_packet0", Level::Ok, &["enp3s0f0 is there and up"]);
    expect(&found, "net_af_packet1", Level::Missing, &["ip link set enp3s0f1 up"]);
    expect(&found, "hugepages", Level::Ok, &["not asked for"]);
    m.user(1000, 0, "");
    let found = m.examined_for("workers = 1", up, "net_memif0");
    expect(&found, "rights", Level::Missing, &["net_af_packet needs CAP_NET_"]);
    expect(&found, "net_memif0", Level::Missing, &["net_memif", "apt-get install \"^librte-net-memif-?[0-9]+$\""]);
}

#[test]
fn the_interface_that_carries_the_operators_own_session_is_not_taken_lightly() {
    let m = Machine::prepared();
    m.nic("0000:04:00.0", 0x8086, 0x10fb, "ixgbe", 0);
    fs::create_dir_all(m.0.join("sys/bus/pci/devices/0000:04:00.0/net/eno1")).unwrap();
    expect(&m.examined(), "0000:04:00.0", Level::Advice, &["own traffic goes by eno1", "another way to this machine"]);
    let found = m.examined_for("workers = [1]", PORTS[0], "0000:04:00.0");
    expect(&found, "0000:04:00.0", Level::Missing, &["own traffic goes by eno1"]);
}

#[test]
fn a_virtio_interface_is_found_one_level_below() {
    let m = Machine::xeon();
    m.nic("0000:00:03.0", 0x1af4, 0x1041, "virtio-pci", -1);
    fs::create_dir_all(m.0.join("sys/bus/pci/devices/0000:00:03.0/virtio2/net/eno1")).unwrap();
    m.driver(
        "librte_net_virtio.so.23",
        r#"{"name": "net_virtio", "kmod": "* igb_uio | uio_pci_generic | vfio-pci", "pci_ids": [[6900, 4161, 65535, 65535]]}"#,
    );
    expect(&m.examined(), "0000:00:03.0", Level::Advice, &["1af4:1041, eno1", "virtio-pci has it"]);
}

#[test]
fn mellanox_stays_with_its_kernel_driver() {
    let m = Machine::xeon();
    for address in PORTS {
        m.nic(address, 0x15b3, 0x1015, "mlx5_core", 0);
    }
    let text =
        r#"{"name": "mlx5_eth", "kmod": "* ib_uverbs & mlx5_core & mlx5_ib", "pci_ids": [[5555, 4117, 65535, 65535]]}"#;
    let found = m.examined_for("workers = [1]", PORTS[0], PORTS[1]);
    expect(&found, PORTS[0], Level::Missing, &["no installed driver of DPDK knows", "apt-get install librte-meta-net"]);
    m.driver("librte_net_mlx5.so.23", text);
    let found = m.examined_for("workers = [1]", PORTS[0], PORTS[1]);
    expect(&found, PORTS[0], Level::Missing, &["modprobe -a ib_uverbs mlx5_core mlx5_ib"]);
    for module in ["ib_uverbs", "mlx5_core", "mlx5_ib"] {
        fs::create_dir_all(m.0.join("sys/module").join(module)).unwrap();
    }
    let found = m.examined_for("workers = [1]", PORTS[0], PORTS[1]);
    expect(&found, PORTS[0], Level::Ok, &["works beside the kernel's driver mlx5_core"]);
    assert!(found.findings.iter().all(|f| f.topic != "vfio"), "no vfio for it: {found}");
}

#[test]
fn a_group_is_free_only_when_all_of_it_is() {
    let m = Machine::prepared();
    m.nic("0000:03:00.2", 0x8086, 0x10fb, "ixgbe", 0);
    m.group("0000:03:00.2", "30");
    m.nic("0000:00:01.0", 0x8086, 0x6f02, "pcieport", 0);
    m.group("0000:00:01.0", "30");
    let found = m.examined_for("workers = [1]", PORTS[0], PORTS[1]);
    expect(&found, PORTS[0], Level::Missing, &["0000:03:00.2 (ixgbe)", "dpdk-devbind.py -b vfio-pci 0000:03:00.2"]);
    assert!(!told(&found, PORTS[0]).1.contains("0000:00:01.0"), "a bridge is no obstacle");
    expect(&found, PORTS[1], Level::Ok, &[]);
}

#[test]
fn without_an_iommu_vfio_works_in_its_own_mode_for_that() {
    let m = Machine::prepared();
    fs::remove_dir_all(m.0.join("sys/kernel/iommu_groups")).unwrap();
    expect(&m.examined(), "iommu", Level::Missing, &["enable_unsafe_noiommu_mode"]);
    m.file("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
    expect(&m.examined(), "iommu", Level::Advice, &["may write to any memory"]);
    m.file("proc/cpuinfo", &XEON.replace("GenuineIntel", "AuthenticAMD"));
    expect(&m.examined(), "iommu", Level::Advice, &["AMD-Vi"]);
}

#[test]
fn an_ordinary_user_needs_the_groups_file_and_a_limit() {
    let m = Machine::prepared();
    m.user(1000, 0, "");
    m.file("dev/vfio/30", "");
    m.file("dev/vfio/31", "");
    fs::set_permissions(m.0.join("dev/vfio/30"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(m.0.join("dev/vfio/31"), fs::Permissions::from_mode(0o666)).unwrap();
    let found = m.examined_for("workers = [1]", PORTS[0], PORTS[1]);
    expect(&found, "memlock", Level::Missing, &["8 MB may be locked", "LimitMEMLOCK=infinity"]);
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(m.0.join("dev/vfio/30")).unwrap());
    if owner != 1000 {
        expect(&found, "rights", Level::Missing, &["/dev/vfio/30, the group of 0000:03:00.0"]);
    }
    assert!(!found.to_string().contains("/dev/vfio/31"), "{found}");
    m.user(owner, 1 << 14, "");
    let found = m.examined_for("workers = [1]", PORTS[0], PORTS[1]);
    assert_eq!(topics(&found, Level::Missing), [""; 0], "{found}");
}

#[test]
fn cpus_that_disturb_workers_are_told() {
    let m = Machine::prepared();
    m.file("sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "1,3");
    m.file("sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "1,3");
    m.file("sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave");
    let found = m.examined_for("workers = [1, 3, 5]", PORTS[0], PORTS[1]);
    expect(&found, "cores", Level::Advice, &["CPUs 1,3 are hardware threads of one core"]);
    expect(&found, "frequency", Level::Advice, &["CPU(s) 3 ", "cpupower"]);
    expect(&found, "isolation", Level::Advice, &["CPU(s) 5", "isolcpus=1,3,5"]);
    expect(&found, "numa", Level::Advice, &["is on node 0, the workers' CPU(s) 5 are not", "0-3"]);
    let found = m.examined_for("workers = [1, 99]", PORTS[0], PORTS[1]);
    expect(&found, "workers", Level::Missing, &["CPU 99"]);
    let found = m.examined_for("workers = 12", PORTS[0], PORTS[1]);
    expect(&found, "workers", Level::Advice, &["12 workers share 8 CPUs"]);
}

#[test]
fn an_old_cpu_and_a_full_memory_are_told() {
    let m = Machine::prepared();
    m.file("proc/cpuinfo", &XEON.replace("sse4_2", ""));
    m.file("proc/meminfo", "MemAvailable: 1024 kB\nHugepagesize: 2048 kB");
    let found = m.examined_for("workers = [1]", PORTS[0], PORTS[1]);
    expect(&found, "cpu", Level::Missing, &["SSE4.2"]);
    expect(&found, "memory", Level::Missing, &["1 MB available", "nat.sessions"]);
    m.file("proc/cpuinfo", &XEON.replace("nonstop_tsc", ""));
    expect(&m.examined(), "cpu", Level::Advice, &["not invariant"]);
}

#[test]
fn an_address_without_a_device_and_a_machine_without_anything_are_told() {
    let found = Machine::prepared().examined_for("workers = [1]", PORTS[0], "0000:ff:00.0");
    expect(&found, "0000:ff:00.0", Level::Missing, &["no PCI device", "lspci -D"]);
    let found = Machine::empty().examined();
    assert_eq!(topics(&found, Level::Missing), ["dpdk"], "{found}");
    expect(&found, "pci", Level::Ok, &[]);
}
