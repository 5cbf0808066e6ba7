//! Reload of the real binary with traffic flowing, by the command line and by signal.

mod common;

use common::control::{Loaded, flow};
use common::until;
use std::fs;
use std::process::Command;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Changes the file: each text that is to be replaced must be there.
fn edit(up: &Loaded, from: &str, to: &str) {
    let file = fs::read_to_string(&up.file).unwrap();
    assert!(file.contains(from), "the file has no {from}");
    fs::write(&up.file, file.replace(from, to)).unwrap();
}

fn setting(up: &Loaded, key: &str) -> String {
    let rows = up.rows(&["show", "config"]);
    rows.iter().find(|r| r["key"] == key).unwrap_or_else(|| panic!("no {key}"))["value"].as_str().unwrap().to_owned()
}

#[test]
fn many_reloads_lose_no_packet_of_sessions_whose_rule_stands() {
    let up = Loaded::start(
        "r-many",
        1000,
        "[nat]\nsessions = 8192\nhairpin = true\npool = [\"203.0.113.2-203.0.113.4\"]",
        &[],
    );
    let before = up.rows(&["show", "mappings"]);
    for n in 0..50 {
        let [from, to] =
            if n % 2 == 0 { ["2-203.0.113.4", "2-203.0.113.9"] } else { ["2-203.0.113.9", "2-203.0.113.4"] };
        edit(&up, from, to);
        let o = up.say(&["reload"]);
        assert!(text(&o.stdout).contains("1 setting(s) changed; 0 session(s) and 0 tunnel(s) ended"), "{o:?}");
    }
    let mut after = up.rows(&["show", "mappings"]);
    let key = |r: &serde_json::Value| r["inside"].as_str().unwrap().to_owned();
    let mut was = before;
    was.sort_by_key(key);
    after.sort_by_key(key);
    assert_eq!(was, after, "every mapping is as it was");
    assert_eq!(up.stats()["events"]["sessions_opened"], 1000);
    let account = up.stop().account();
    assert_eq!((account.dropped, account.received), (0, account.sent - account.originated));
}

#[test]
fn what_cannot_change_is_refused_whole_and_by_name() {
    let up = Loaded::start("r-refused", 10, "[nat]\nsessions = 8192\nhairpin = true", &[]);
    edit(&up, "sessions = 8192\nhairpin = true", "sessions = 4096\nhairpin = false");
    let o = up.say(&["reload"]);
    assert_eq!(o.status.code(), Some(1), "{o:?}");
    assert!(text(&o.stderr).contains("nat.sessions: 8192 -> 4096: needs a restart"), "{o:?}");
    assert_eq!(setting(&up, "nat.hairpin"), "true", "not even what could change has");
    edit(&up, "sessions = 4096", "sessions = ");
    let o = up.say(&["reload"]);
    assert!(o.status.code() == Some(1) && text(&o.stderr).contains("nothing was changed"), "{o:?}");
    edit(&up, "sessions = ", "sessions = 8192");
    let o = up.say(&["reload", "--dry-run"]);
    assert_eq!(text(&o.stdout), "nat.hairpin: true -> false\n1 difference(s); nothing was changed\n", "{o:?}");
    assert_eq!(setting(&up, "nat.hairpin"), "true");
    assert!(Command::new("kill").args(["-HUP", &up.id().to_string()]).status().unwrap().success());
    until("the signal has taken effect", || setting(&up, "nat.hairpin") == "false");
    assert_eq!(text(&up.say(&["reload"]).stdout), "nothing differs from what runs\n");
    up.stop().account();
}

#[test]
fn an_address_that_left_the_pool_drains() {
    let up = Loaded::start("r-drain", 2000, "[nat]\nsessions = 8192\npool = [\"203.0.113.2-203.0.113.3\"]", &[]);
    let at = |addr: &str| up.rows(&["show", "mappings", &format!("outside={addr}")]).len();
    let (kept, left) = (at("203.0.113.2"), at("203.0.113.3"));
    assert!(kept > 0 && left > 0 && kept + left == 2000, "{kept} {left}");
    edit(&up, "203.0.113.2-203.0.113.3", "203.0.113.2");
    let o = up.say(&["reload"]);
    assert!(text(&o.stdout).contains("0 session(s) and 0 tunnel(s) ended"), "{o:?}");
    assert_eq!((at("203.0.113.2"), at("203.0.113.3")), (kept, left), "what there was lives on");
    // A host of it whose sessions end begins anew at an address that stays.
    let host = up.rows(&["show", "mappings", "outside=203.0.113.3"])[0]["inside"].as_str().unwrap().to_owned();
    let host = host.split_once(':').unwrap().0.to_owned();
    assert_eq!(up.say(&["flush", &format!("client={host}")]).status.code(), Some(0));
    let of_host = || up.rows(&["show", "mappings", &format!("client={host}"), "outside=203.0.113.2"]).len();
    until("its flows have come again", || of_host() == 100);
    assert_eq!(at("203.0.113.3"), left - 100);
    assert!(flow(0).1 > 0);
    let said = up.stop();
    assert_eq!(said.account().count("ports_exhausted"), 0);
}
