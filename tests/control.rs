//! The control socket of the real binary with traffic flowing: what is shown, who may ask, and what hostile clients do not
//! achieve. Everything goes through the command line or the socket.

mod common;

use common::control::{Loaded, config, flow};
use common::{Router, Scratch, UNDERPASS, until};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn what_runs_is_shown_while_it_runs() {
    let up = Loaded::start("c-show", 2000, "[nat]\nsessions = 8192\npool = [\"203.0.113.2-203.0.113.9\"]", &[]);
    let rows = up.rows(&["show", "sessions"]);
    assert_eq!(rows.len(), 2000);
    let ends: HashSet<&str> = rows.iter().map(|r| r["inside"].as_str().unwrap()).collect();
    assert_eq!(ends.len(), 2000, "each session is told once");
    assert!(rows.iter().all(|r| r["remote"] == "198.51.100.7:443" && r["protocol"] == "udp" && r["by"] == "mapping"));
    let (host, port) = flow(1234);
    let one = up.rows(&["show", "sessions", &format!("client={host}"), &format!("port={port}")]);
    assert_eq!(one.len(), 1);
    assert_eq!(one[0]["inside"], format!("{host}:{port}"));
    let of_host = up.rows(&["show", "mappings", &format!("client={host}/32")]);
    assert_eq!(of_host.len(), 100);
    let outside: HashSet<&str> =
        of_host.iter().map(|r| r["outside"].as_str().unwrap().split_once(':').unwrap().0).collect();
    assert_eq!(outside.len(), 1, "a host keeps one outside address");
    let hosts = up.rows(&["show", "subscribers"]);
    assert_eq!(hosts.len(), 20);
    assert!(hosts.iter().all(|h| h["sessions"] == 100 && h["ports_udp"] == 100));

    let stats = up.stats();
    assert_eq!((&stats["sessions"], &stats["room"]["sessions"]), (&json!(2000), &json!(8192)));
    assert!(stats["received"].as_u64().unwrap() >= 2000);
    let ports = up.rows(&["show", "ports"]);
    assert_eq!(
        (&ports[0]["port"], &ports[0]["role"], &ports[1]["port"]),
        (&json!("lan"), &json!("inside"), &json!("wan"))
    );
    assert!(ports[0]["rx_packets"].as_u64().unwrap() > 0 && ports[1]["tx_packets"].as_u64().unwrap() > 0);
    assert!(ports[0]["device_counts"]["received"].as_u64().unwrap() > 0);
    let workers = up.rows(&["show", "workers"]);
    assert_eq!((workers.len(), &workers[0]["sessions"]), (1, &json!(2000)));
    let settings = up.rows(&["show", "config"]);
    let value =
        |key: &str| settings.iter().find(|s| s["key"] == key).unwrap_or_else(|| panic!("no {key}"))["value"].clone();
    assert_eq!((value("nat.pool"), value("nat.timeouts.udp")), (json!("203.0.113.2-203.0.113.9"), json!("300s")));

    let table = text(&up.say(&["show", "sessions", &format!("client={host}"), &format!("port={port}")]).stdout);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    assert!(lines[0].starts_with("protocol  inside ") && lines[1].starts_with("udp       10.0.1.12:"), "{table}");
    let said = text(&up.say(&["show", "stats"]).stdout);
    assert!(said.contains("2,000 of 8,192"), "{said}");
    up.stop().account();
}

#[test]
fn drops_are_explained_with_what_to_do() {
    let spoofed =
        testkit::Frame::udp("172.31.9.9:1", "198.51.100.7:1").macs([2, 0, 0, 0, 3, 1], [2, 0x70, 0x63, 0x61, 0x70, 0]);
    let up = Loaded::start("c-drops", 10, "", &[spoofed.build()]);
    let rows = up.rows(&["show", "drops"]);
    let row =
        |reason: &str| rows.iter().find(|r| r["reason"] == reason).unwrap_or_else(|| panic!("no {reason}")).clone();
    assert!(row("spoofed_source")["packets"].as_u64().unwrap() > 0);
    assert_eq!(row("session_table_full")["packets"], 0);
    assert!(row("session_table_full")["meaning"].as_str().unwrap().contains("Raise `nat.sessions`"));
    let said = text(&up.say(&["show", "drops"]).stdout);
    assert!(said.starts_with("spoofed_source ") && said.lines().count() >= 2, "{said}");
    assert!(!said.contains("session_table_full"), "what did not occur is not shown: {said}");
    assert!(text(&up.say(&["show", "drops", "--all"]).stdout).contains("session_table_full"));
    up.stop().account();
}

#[test]
fn flush_ends_what_it_names_and_nothing_else() {
    let up = Loaded::start("c-flush", 1000, "[nat]\nsessions = 4096", &[]);
    let opened = || up.stats()["events"]["sessions_opened"].as_u64().unwrap();
    let (before, host) = (opened(), flow(500).0);
    let o = up.say(&["flush", &format!("client={host}")]);
    assert_eq!(text(&o.stdout), "ended 100 sessions and 0 tunnels\n", "{o:?}");
    until("its flows have come again", || opened() >= before + 100);
    assert_eq!(opened(), before + 100);
    assert_eq!(up.say(&["flush", "client=10.9.9.9"]).status.code(), Some(4));
    assert_eq!(up.say(&["flush"]).status.code(), Some(2), "nothing is not everything");
    assert_eq!(text(&up.say(&["flush", "--all"]).stdout), "ended 1000 sessions and 0 tunnels\n");
    let said = up.stop();
    assert!(said.stderr.contains("flush of"), "who changed something is logged: {}", said.stderr);
    said.account();
}

#[test]
fn exit_codes_tell_scripts_what_was_wrong() {
    let s = Scratch::new("c-codes");
    let nobody = Command::new(UNDERPASS).args(["show", "stats", "--socket"]).arg(s.path().join("s")).output().unwrap();
    assert_eq!(nobody.status.code(), Some(3), "{nobody:?}");
    assert!(text(&nobody.stderr).contains("there is no control socket"), "{nobody:?}");
    let up = Loaded::start("c-codes-up", 1, "", &[]);
    for (words, code, message) in [
        (&["show", "sessions", "client=10.9.9.9"][..], 4, ""),
        (&["show", "sessions", "client=ten"], 1, "client=ten: not an IPv4 address"),
        (&["show", "sessions", "clint=10.0.0.1"], 1, "unknown field `clint`"),
        (&["show", "sessions", "10.0.0.1"], 1, "is no condition"),
        (&["show", "stats", "client=10.0.0.1"], 1, "take a filter"),
        (&["show", "nothing"], 2, "possible values"),
    ] {
        let o = up.say(words);
        assert_eq!(o.status.code(), Some(code), "{words:?}: {o:?}");
        assert!(text(&o.stderr).contains(message), "{words:?}: {o:?}");
    }
    up.stop().account();
}

/// Sends bytes, and reads the lines that come back until the other end is done or says nothing for a while.
fn exchange(socket: &Path, bytes: &[u8], end: bool) -> Vec<Value> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // It may close while we write.
    let _ = stream.write_all(bytes);
    if end {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    let mut lines = Vec::new();
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { break };
        let value: Value = serde_json::from_str(&line).unwrap();
        let last = value.get("row").is_none();
        lines.push(value);
        if last && !end {
            break;
        }
    }
    lines
}

#[test]
fn hostile_clients_get_an_error_and_disturb_nobody() {
    let up = Loaded::start("c-hostile", 3000, "[nat]\nsessions = 8192", &[]);
    let code = |bytes: &[u8], end| exchange(&up.socket, bytes, end)[0]["error"]["code"].clone();
    assert_eq!(code(b"what runs?\n", false), "bad_json");
    assert_eq!(code(b"\xff\xfe\n", false), "bad_json");
    assert_eq!(code(b"{\"verb\":\"show\",\"what\":\"stats\"}\n", false), "bad_version");
    assert_eq!(code(b"{\"api\":1,\"verb\":\"sing\"}\n", false), "bad_request");
    assert_eq!(code(b"{\"api\":1,\"verb\":\"flush\"}\n", false), "bad_request");
    assert_eq!(code(b"{\"api\":1,\"verb\":", true), "incomplete");
    assert_eq!(code(&vec![b'['; 200_000], false), "too_long");
    assert_eq!(code(&[vec![b' '; 70_000], b"\n".to_vec()].concat(), false), "too_long");
    // Two requests in one piece are answered one after the other.
    let twice = b"{\"api\":1,\"verb\":\"show\",\"what\":\"vpn\"}\n{\"api\":1,\"verb\":\"show\",\"what\":\"workers\"}\n";
    let lines = exchange(&up.socket, twice, true);
    assert_eq!(lines.iter().filter(|l| l.get("end").is_some()).count(), 2, "{lines:?}");

    // Clients that ask for everything and read nothing, and a thousand that say nothing.
    let mut asleep: Vec<UnixStream> = (0..8).map(|_| UnixStream::connect(&up.socket).unwrap()).collect();
    for s in &mut asleep {
        s.write_all(b"{\"api\":1,\"verb\":\"show\",\"what\":\"sessions\"}\n").unwrap();
    }
    let crowd: Vec<UnixStream> = (0..1000).filter_map(|_| UnixStream::connect(&up.socket).ok()).collect();
    let refused = crowd.iter().filter(|s| {
        s.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut first = [0; 64];
        matches!((&mut &**s).read(&mut first), Ok(n) if text(&first[..n]).contains("\"busy\""))
    });
    assert!(refused.count() > 900);
    drop(crowd);
    drop(asleep);
    until("it answers as before", || {
        up.say(&["show", "sessions", "--json"]).stdout.iter().filter(|b| **b == b'\n').count() == 3000
    });
    up.stop().account();
}

#[test]
fn a_client_that_reads_nothing_holds_nobody_up_for_long() {
    let up = Loaded::start("c-asleep", 30_000, "[nat]\nsessions = 65536\npool = [\"203.0.113.2-203.0.113.9\"]", &[]);
    let mut asleep = UnixStream::connect(&up.socket).unwrap();
    asleep.write_all(b"{\"api\":1,\"verb\":\"show\",\"what\":\"sessions\"}\n").unwrap();
    // What the control thread knows by itself is told meanwhile, and packets go on.
    let before = up.stats()["sent"].as_u64().unwrap();
    until("packets go on", || up.stats()["sent"].as_u64().unwrap() > before + 30_000);
    // A second dump waits for its turn, which comes when the first client has been cut.
    assert_eq!(up.rows(&["show", "sessions"]).len(), 30_000);
    up.stop().account();
}

/// Requests and whole answers, against docs/api.schema.json, by somebody else's validator.
#[test]
fn what_is_said_is_what_the_schema_says() {
    let probe = Command::new("python3").args(["-c", "import jsonschema"]).output();
    if !probe.is_ok_and(|o| o.status.success()) {
        return common::skipped(
            "what_is_said_is_what_the_schema_says",
            "python3-jsonschema is not there; scripts/setup.sh test installs it",
        );
    }
    let host = common::control::flow(0).0;
    let esp = testkit::Frame::esp(host, common::control::SERVER.0, 0xc0ff_ee00, 1).payload(vec![9; 64]);
    let esp = esp.macs([2, 0, 0, 0, 3, 1], [2, 0x70, 0x63, 0x61, 0x70, 0]).build();
    let up = Loaded::start("c-schema", 3, "", &[esp]);
    until("there is a tunnel", || up.rows(&["show", "vpn", "spi=0xc0ffee00"]).len() == 1);
    let mut said = String::new();
    for what in
        ["stats", "sessions", "mappings", "subscribers", "vpn", "drops", "ports", "workers", "config", "nonesuch"]
    {
        let request = json!({ "api": 1, "verb": "show", "what": what }).to_string();
        for line in exchange(&up.socket, format!("{request}\n").as_bytes(), true) {
            said += &format!("{line}\n");
        }
        if what != "nonesuch" {
            said += &format!("{request}\n");
        }
    }
    said += "{\"api\":1,\"verb\":\"flush\",\"filter\":{\"client\":\"10.0.0.0/8\",\"port\":80}}\n";
    let file = up.scratch.file("said.jsonl", &said);
    let program = "import json, jsonschema, sys
check = jsonschema.Draft7Validator(json.load(open(sys.argv[1])))
n = 0
for line in open(sys.argv[2]):
    try:
        check.validate(json.loads(line))
    except jsonschema.ValidationError as e:
        sys.exit(f'{line}: {e.message}')
    n += 1
print(n)
assert not check.is_valid({'api': 2, 'verb': 'show', 'what': 'stats'}) and not check.is_valid({'row': {'reason': 'x'}})";
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.schema.json");
    let o = Command::new("python3").args(["-c", program]).arg(schema).arg(file).output().unwrap();
    assert!(o.status.success(), "{o:?}");
    assert_eq!(text(&o.stdout).trim(), said.lines().count().to_string());
    up.stop().account();
}

#[test]
fn one_process_owns_the_socket_and_a_stale_one_is_replaced() {
    let s = Scratch::new("c-own");
    let socket = s.path().join("s");
    let file = s.file("a.toml", config("net_null1,no-rx=1", &socket, "mode = \"0600\""));
    let first = Router::start(&file);
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let refused = Command::new(UNDERPASS).args(["run", "--config"]).arg(&file).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("another underpass owns the control socket"), "{refused:?}");
    // Killed, it leaves its socket behind.
    assert!(Command::new("kill").args(["-KILL", &first.id().to_string()]).status().unwrap().success());
    drop(first);
    assert!(socket.exists());
    let second = Router::start(&file);
    let o = Command::new(UNDERPASS).args(["show", "stats", "--socket"]).arg(&socket).output().unwrap();
    assert!(o.status.success(), "{o:?}");
    second.stop("TERM").account();
    assert!(!socket.exists(), "it is removed at the end");

    fs::write(&socket, "not a socket").unwrap();
    let refused = Command::new(UNDERPASS).args(["run", "--config"]).arg(&file).output().unwrap();
    assert!(text(&refused.stderr).contains("is no socket; remove it"), "{refused:?}");
    assert_eq!(fs::read_to_string(&socket).unwrap(), "not a socket");
    fs::remove_file(&socket).unwrap();
    let other = UnixListener::bind(&socket).unwrap();
    let refused = Command::new(UNDERPASS).args(["run", "--config"]).arg(&file).output().unwrap();
    assert!(text(&refused.stderr).contains("another program listens at"), "{refused:?}");
    drop(other);
}

#[test]
fn nobody_without_the_socket_s_permission_gets_in() {
    if !common::is_root() {
        return common::skipped("nobody_without_the_socket_s_permission_gets_in", "users are changed by root alone");
    }
    // Below a folder that others may enter.
    let s = Scratch::below(&std::env::temp_dir(), "c-perm");
    fs::set_permissions(s.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let socket = s.path().join("s");
    let as_nobody = |groups: &str| {
        let args = ["--reuid", "65534", "--regid", "65534", groups];
        let program = s.path().join("underpass");
        fs::copy(UNDERPASS, &program).unwrap();
        let mut c = Command::new("setpriv");
        c.args(args).arg(&program).args(["show", "stats", "--socket"]).arg(&socket).output().unwrap()
    };
    let file = s.file("a.toml", config("net_null1,no-rx=1", &socket, "mode = \"0660\"\ngroup = \"4242\""));
    let up = Router::start(&file);
    assert_eq!(fs::metadata(&socket).unwrap().gid(), 4242);
    let o = as_nobody("--clear-groups");
    assert_eq!(o.status.code(), Some(3), "{o:?}");
    assert!(text(&o.stderr).contains("you may not use"), "{o:?}");
    up.stop("TERM").account();
    let file = s.file("b.toml", config("net_null1,no-rx=1", &socket, "mode = \"0660\"\ngroup = \"65534\""));
    let up = Router::start(&file);
    let o = as_nobody("--clear-groups");
    assert!(o.status.success(), "{o:?}");
    up.stop("TERM").account();
}
