//! `underpass doctor` on the machine that runs the tests, whatever that is.

mod common;

use common::{Scratch, UNDERPASS};
use serde_json::Value;
use std::fs;
use std::process::{Command, Output};

fn doctor(more: &[&str]) -> Output {
    Command::new(UNDERPASS).arg("doctor").args(more).output().unwrap()
}

/// The exit code agrees with what is told, and machines and people are told the same.
fn told(more: &[&str]) -> Value {
    let output = doctor(&[more, &["--json"]].concat());
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    let missing = told["missing"].as_u64().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(missing > 0)), "{told}");
    let people = doctor(more);
    let text = String::from_utf8(people.stdout).unwrap();
    assert_eq!(people.status.code(), output.status.code());
    assert_eq!(text.lines().filter(|l| l.starts_with("MISSING ")).count() as u64, missing, "{text}");
    told
}

fn findings(told: &Value) -> Vec<(String, String)> {
    let list = told["findings"].as_array().unwrap();
    list.iter().map(|f| (f["topic"].as_str().unwrap().to_owned(), f["level"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn this_machine_is_looked_at_and_every_complaint_has_a_remedy() {
    let told = told(&[]);
    assert!(told["dpdk"].as_str().unwrap().starts_with("DPDK 2"), "{told}");
    for f in told["findings"].as_array().unwrap() {
        let has_remedy = f["remedy"].as_array().is_some_and(|r| !r.is_empty());
        assert!(f["level"] == "ok" || has_remedy, "{f}");
    }
    // Every network device that the kernel lists is there.
    let mut expected = 0;
    for device in fs::read_dir("/sys/bus/pci/devices").into_iter().flatten().flatten() {
        let class = fs::read_to_string(device.path().join("class")).unwrap_or_default();
        if class.starts_with("0x02") {
            expected += 1;
            let address = device.file_name().into_string().unwrap();
            assert!(findings(&told).iter().any(|(topic, _)| *topic == address), "{address} in {told}");
        }
    }
    println!("{expected} network devices on PCI; findings: {:?}", findings(&told));
}

#[test]
fn a_configuration_for_virtual_devices_misses_nothing_here() {
    let s = Scratch::new("doctor");
    let file = s.file(
        "c.toml",
        r#"[runtime]
memory = "ordinary"
workers = 1
[[port]]
name = "lan"
role = "inside"
device = "net_ring0"
addresses = ["192.168.1.1/24"]
[[port]]
name = "wan"
role = "outside"
device = "net_null0"
addresses = ["203.0.113.2/24"]
[nat]
sessions = 8192
"#,
    );
    let told = told(&["--config", file.to_str().unwrap()]);
    assert_eq!(told["missing"], 0, "{told}");
    let found = findings(&told);
    for device in ["net_ring0", "net_null0"] {
        assert!(found.contains(&(device.to_owned(), "ok".to_owned())), "{found:?}");
    }
    assert!(!found.iter().any(|(topic, _)| topic == "iommu"), "no NIC is asked for: {found:?}");
}

#[test]
fn a_bad_configuration_is_told_and_nothing_is_examined() {
    let s = Scratch::new("doctor-bad");
    let output = doctor(&["--config", s.file("c.toml", "[runtime]\nworkers = 0\n").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("c.toml:2:11: error: runtime.workers"));
}

#[test]
fn hugepages_that_are_there_already_are_left_alone() {
    let Ok(before) = fs::read_to_string("/proc/sys/vm/nr_hugepages") else {
        return println!("this kernel has no hugepages");
    };
    let output = doctor(&["--fix-hugepages", "0", "--json"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("hugepages already"));
    assert!(serde_json::from_slice::<Value>(&output.stdout).is_ok(), "one JSON object alone");
    let after = fs::read_to_string("/proc/sys/vm/nr_hugepages").unwrap();
    // Another test may make some meanwhile; none goes.
    assert!(after.trim().parse::<u64>().unwrap() >= before.trim().parse().unwrap());
}
