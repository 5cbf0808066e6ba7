//! `underpass top` and `show latency` with the real binary, at a router that traffic flows through.

mod common;

use common::control::Loaded;
use common::{PATIENCE, skipped};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use testkit::Frame;

const MAC: [u8; 6] = [0x02, 0x70, 0x63, 0x61, 0x70, 0x00];

/// With UDP, ESP, and TCP that is refused.
fn router(name: &str) -> Loaded {
    let esp = (0..8u8).map(|n| Frame::esp(format!("10.0.2.{n}").as_str(), "198.51.100.9", 0x1000, 1).payload(&[1; 64]));
    let tcp = Frame::tcp("10.0.2.9:99", "198.51.100.7:80");
    let frames: Vec<_> = esp.chain([tcp]).map(|f| f.macs([2, 0, 0, 0, 3, 1], MAC).build()).collect();
    Loaded::start(name, 1000, "[nat]\nsessions = 8192\npool = [\"203.0.113.2-203.0.113.9\"]", &frames)
}

#[test]
fn show_latency_tells_each_worker_and_all() {
    let up = router("t-latency");
    let rows = up.rows(&["show", "latency"]);
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!((&rows[0]["worker"], &rows[1]["worker"]), (&0.into(), &"all".into()));
    let number = |name: &str| rows[1][name].as_f64().unwrap_or_else(|| panic!("no {name} in {}", rows[1]));
    assert!(number("packets") >= 1000.0);
    assert!(number("p50_us") > 0.0 && number("p50_us") <= number("p99_us") && number("p99_us") <= number("max_us"));
    assert!(number("cycles_p50") > 10.0 && number("busy_us") > 0.0 && number("turns") >= number("busy_turns"));
    let buckets = rows[1]["transit_ns"].as_array().unwrap();
    let counted: u64 = buckets.iter().map(|b| b[1].as_u64().unwrap()).sum();
    // Read while the worker writes.
    assert!((counted as f64 / number("packets") - 1.0).abs() < 0.1, "{counted} of {}", number("packets"));
    let people = String::from_utf8(up.say(&["show", "latency"]).stdout).unwrap();
    assert!(people.contains("p99.9 µs") && people.lines().any(|l| l.starts_with("all ")), "{people}");
    up.stop().account();
}

#[test]
fn one_screen_for_a_pipe_shows_what_moves() {
    let up = router("t-once");
    let o = up.say(&["top", "--once", "--interval", "0.5", "--size", "130x45"]);
    assert!(o.status.success() && o.stderr.is_empty(), "{o:?}");
    let page = String::from_utf8(o.stdout).unwrap();
    println!("{page}");
    let row = |word: &str| -> Vec<String> {
        let line = page.lines().find(|l| l.split_whitespace().next() == Some(word));
        line.unwrap_or_else(|| panic!("no {word} in\n{page}")).split_whitespace().map(str::to_owned).collect()
    };
    assert_ne!(row("lan")[1], "0", "packets are received\n{page}");
    assert_ne!(row("wan")[3], "0", "and sent");
    assert_eq!(row("udp")[2], "1.00k", "sessions");
    assert!(page.contains("tcp_no_session") && page.contains("tunnels (8)"), "{page}");
    assert!(row("esp").contains(&"pending".to_owned()) || page.contains("198.51.100.9"), "{page}");
    assert_eq!(page.lines().count(), 45);
    // Not a terminal: it says what to do instead.
    let o = up.say(&["top"]);
    assert_eq!(o.status.code(), Some(1));
    assert!(String::from_utf8(o.stderr).unwrap().contains("--once"));
    up.stop().account();
}

/// In a real terminal of `script`: it takes the screen, draws, and gives it back when `q` is typed.
#[test]
fn a_real_terminal_is_taken_drawn_on_and_given_back() {
    const TEST: &str = "a_real_terminal_is_taken_drawn_on_and_given_back";
    let up = router("t-pty");
    let line = format!(
        "stty rows 40 columns 130 && exec {} top --interval 0.2 --socket {}",
        common::UNDERPASS,
        up.socket.display()
    );
    let mut command = Command::new("script");
    command.args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"]);
    command.env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return skipped(TEST, "there is no script(1) here") };
    let mut out = child.stdout.take().unwrap();
    let (said, heard) = mpsc::channel();
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(n) = out.read(&mut piece) {
            if n == 0 || said.send(piece[..n].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut screen = String::new();
    let deadline = Instant::now() + PATIENCE;
    while !(screen.contains("tunnels") && screen.contains("clients") && screen.contains("workers")) {
        assert!(Instant::now() < deadline, "{screen:?}");
        if let Ok(piece) = heard.recv_timeout(Duration::from_millis(100)) {
            screen.push_str(&String::from_utf8_lossy(&piece));
        }
    }
    assert!(screen.contains("\x1b[?1049h"), "it takes the other screen: {screen:?}");
    child.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    let status = child.wait().unwrap();
    for piece in heard.try_iter() {
        screen.push_str(&String::from_utf8_lossy(&piece));
    }
    assert!(status.success(), "{status}: {screen:?}");
    assert!(screen.contains("\x1b[?1049l") && screen.contains("\x1b[?25h"), "and gives it back: {screen:?}");
    up.stop().account();
}

#[test]
fn nobody_there_is_told_by_the_exit_code() {
    let o = Command::new(common::UNDERPASS).args(["top", "--once", "--socket", "/nonesuch/s"]).output().unwrap();
    assert_eq!(o.status.code(), Some(3));
    assert!(String::from_utf8(o.stderr).unwrap().contains("no control socket /nonesuch/s"));
}
