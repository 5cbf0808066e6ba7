//! `underpass demo` as a stranger runs it: the binary, no root, no hugepages, no NIC.

use serde_json::Value;
use std::process::{Command, Output};

fn demo(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_underpass")).arg("demo").args(args).output().expect("the binary starts")
}

fn objects(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn every_conversation_is_verified(workers: &str) {
    let output = demo(&["--duration", "2s", "--json", "--workers", workers]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let objects = objects(&output);
    let (summary, progress) = objects.split_last().expect("a summary");
    assert_eq!(summary["type"], "summary", "{said}");
    assert!(!progress.is_empty() && progress.iter().all(|o| o["type"] == "progress"));
    assert!(output.status.success(), "{}\n{summary:#}\n{said}", output.status);
    assert_eq!((&summary["ok"], &summary["account"]["unaccounted"]), (&true.into(), &0.into()), "{summary:#}");
    assert_eq!((&summary["strays"], &summary["faults"]), (&0.into(), &Value::Array(Vec::new())), "{summary:#}");

    let kinds = summary["conversations"].as_object().expect("conversations");
    assert_eq!(kinds.len(), 18);
    for vpn in ["pptp", "ipsec", "l2tp", "l2tpv3", "openvpn", "wireguard"] {
        assert!(kinds[vpn]["verified"].as_u64() > Some(0), "{vpn}: {summary:#}");
    }
    tunnels_are_told(summary);
    for (kind, count) in kinds {
        let count = |name: &str| count[name].as_u64().unwrap_or(u64::MAX);
        assert!(count("verified") > 0 && count("failed") == 0, "{kind}: {summary:#}");
        assert_eq!(count("started"), count("verified") + count("lost"), "{kind}: {summary:#}");
    }
    for direction in ["out", "in"] {
        let flow = &summary[direction];
        assert!(flow["packets"].as_u64() > Some(1000), "{summary:#}");
        let at = |q: &str| flow["latency_us"][q].as_f64().unwrap_or(0.0);
        assert!(0.0 < at("p50") && at("p50") <= at("p99") && at("p99") <= at("max"), "{summary:#}");
    }
    all_is_accounted_for(summary, workers);
    let handed = summary["handed_over"].as_u64();
    assert_eq!(
        handed > Some(0),
        workers != "1",
        "frames come to a random queue, so workers must hand over: {handed:?}"
    );
}

/// What is handed off, messages between workers included, arrives; what was held went on.
fn all_is_accounted_for(summary: &Value, workers: &str) {
    let event = |name: &str| {
        let events = summary["account"]["events"].as_array().expect("events");
        events.iter().find(|e| e[0] == name).and_then(|e| e[1].as_u64()).unwrap_or(0)
    };
    assert_eq!((&summary["account"]["unaccounted"], &summary["strays"]), (&0.into(), &0.into()), "{summary:#}");
    assert_eq!((event("handed_off"), event("held")), (event("handed_in"), event("released")), "{summary:#}");
    assert_eq!(event("legs_lent") > 0, workers != "1", "tunnels are their identifiers' owners': {summary:#}");
}

/// The final account has what is left of VPNs: several inside hosts at a server, with traffic both ways.
fn tunnels_are_told(summary: &Value) {
    let tunnels = summary["vpn"].as_array().expect("a list of tunnels");
    for protocol in ["esp", "l2tpv3"] {
        let of: Vec<_> = tunnels.iter().filter(|t| t["protocol"] == protocol).collect();
        assert!(of.len() > 2, "{protocol}: {tunnels:#?}");
        for t in &of {
            assert!(t["packets_out"].as_u64() > Some(0) && t["packets_in"].as_u64() > Some(0), "{t:#}");
            assert!(t["bytes_out"].as_u64() > Some(0) && t["age_ms"].as_u64() < Some(60_000), "{t:#}");
            assert!(t["client_id"] != "-" && t["server_id"] != "-" && t["client_id"] == t["outside_id"], "{t:#}");
        }
        let shared = of.iter().any(|a| of.iter().any(|b| a["server"] == b["server"] && a["client"] != b["client"]));
        assert!(shared, "no server has two clients: {of:#?}");
    }
}

#[test]
fn one_worker_serves_every_conversation() {
    every_conversation_is_verified("1");
}

#[test]
fn two_workers_serve_every_conversation_and_hand_over() {
    every_conversation_is_verified("2");
}

/// As long as `UNDERPASS_SOAK` says (`make soak`). Whether every conversation comes about is not claimed here: after two
/// minutes the host behind the demo's forward has as many sessions as one may have.
#[test]
fn a_soak_of_two_workers_loses_sight_of_no_packet() {
    let duration = std::env::var("UNDERPASS_SOAK").unwrap_or_else(|_| "2s".to_owned());
    let output = demo(&["--duration", &duration, "--json", "--workers", "2"]);
    let objects = objects(&output);
    all_is_accounted_for(objects.last().expect("a summary"), "2");
}

#[test]
fn plain_lines_come_where_there_is_no_terminal() {
    let output = demo(&["--duration", "1500ms", "--workers", "1"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.starts_with("Underpass demo: the real dataplane on DPDK ring devices"), "{text}");
    assert!(text.contains(" pkt/s") || text.contains("kpkt/s") || text.contains("Mpkt/s"), "{text}");
    assert!(text.contains("unaccounted 0") && text.contains("verified end to end"), "{text}");
    assert!(text.contains("PPTP: clients, one Call ID") && text.contains("IKE, ESP: clients, rekey"), "{text}");
    let tunnels = text.split("VPN tunnels: ").nth(1).expect("a table of tunnels");
    assert!(tunnels.contains(" esp") && tunnels.contains(" l2tpv3") && tunnels.contains("confirmed"), "{tunnels}");
    assert!(!text.contains('\x1b'), "no escape codes: {text}");
}

#[test]
fn ctrl_c_ends_it_early_with_a_summary() {
    let child = Command::new(env!("CARGO_BIN_EXE_underpass"))
        .args(["demo", "--duration", "10m", "--json", "--workers", "1"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the binary starts");
    std::thread::sleep(std::time::Duration::from_millis(2500));
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(killed.success());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", output.status);
    assert_eq!(
        objects(&output).last().map(|o| (o["type"].clone(), o["ok"].clone())),
        Some(("summary".into(), true.into()))
    );
}

#[test]
fn wrong_arguments_are_refused_with_what_to_write() {
    for (args, wanted) in [
        (["--duration", "fast"], "10s"),
        (["--duration", "0s"], "from 500ms to 24h"),
        (["--workers", "0"], "1..=8"),
        (["--workers", "many"], "invalid"),
    ] {
        let output = demo(&args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(wanted), "{args:?}: {said}");
        assert!(output.stdout.is_empty());
    }
}
