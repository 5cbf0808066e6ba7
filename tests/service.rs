//! The service manager's side: a real datagram socket hears what the real binary tells, and systemd's own tools read the
//! unit. A worker is stopped as a hung one would stand still, by ptrace.

mod common;

use common::{PATIENCE, Router, Scratch, UNDERPASS, is_root, skipped};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/underpass.service");

fn config(s: &Scratch) -> PathBuf {
    s.file(
        "c.toml",
        r#"[runtime]
memory = "ordinary"
workers = 2
idle = "yield"
link_wait = "7s"
[[port]]
name = "lan"
role = "inside"
device = "net_ring0"
addresses = ["192.168.1.1/24"]
[[port]]
name = "wan"
role = "outside"
device = "net_ring1"
addresses = ["203.0.113.2/24"]
[nat]
sessions = 8192
"#,
    )
}

/// A service manager's socket.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// The next datagram.
    fn hears(&self) -> String {
        let mut buffer = [0; 1024];
        let n = self.0.recv(&mut buffer).expect("nothing was told");
        String::from_utf8(buffer[..n].to_vec()).unwrap()
    }

    /// The next datagram that is no feed.
    fn hears_besides_feeds(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let heard = self.hears();
            if heard != "WATCHDOG=1" {
                return heard;
            }
        }
        panic!("nothing but feeds");
    }
}

fn start(s: &Scratch, watchdog: Duration) -> (Manager, Router) {
    let path = s.path().join("notify");
    let manager = Manager::at(&path);
    let mut command = Command::new(UNDERPASS);
    command.args(["run", "--config"]).arg(config(s));
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", watchdog.as_micros().to_string());
    (manager, Router::spawn(&mut command))
}

#[test]
fn the_manager_hears_of_start_life_and_end() {
    let s = Scratch::new("service");
    let (manager, router) = start(&s, Duration::from_millis(200));
    let first = manager.hears();
    assert!(first.starts_with("EXTEND_TIMEOUT_USEC=67000000\n"), "the links' wait and a minute: {first}");
    assert_eq!(manager.hears(), "READY=1\nSTATUS=Forwarding with 2 worker(s)");
    for _ in 0..3 {
        assert_eq!(manager.hears(), "WATCHDOG=1");
    }
    let said = router.stop("TERM");
    assert!(manager.hears_besides_feeds().starts_with("STOPPING=1\n"));
    assert_eq!(said.account().received, 0);
}

/// Stops one thread of a process until it goes.
const STOP_A_THREAD: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
SEIZE, INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000
thread = int(sys.argv[1])
for request in (SEIZE, INTERRUPT):
    if libc.ptrace(request, thread, None, None) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
os.waitpid(thread, WALL)
print("stopped", flush=True)
sys.stdin.readline()
"#;

struct Stopped(Child);

impl Stopped {
    fn thread(id: &str) -> Result<Self, String> {
        let mut command = Command::new("python3");
        command.args(["-c", STOP_A_THREAD, id]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| e.to_string())?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line == "stopped\n" {
            return Ok(Self(child));
        }
        Err(format!("{:?}", child.wait_with_output()))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_worker_that_hangs_starves_the_watchdog_until_it_turns_again() {
    const TEST: &str = "a_worker_that_hangs_starves_the_watchdog_until_it_turns_again";
    let s = Scratch::new("service-stuck");
    let (manager, router) = start(&s, Duration::from_millis(600));
    assert!(manager.hears().starts_with("EXTEND_TIMEOUT"));
    assert!(manager.hears().starts_with("READY=1"));
    assert_eq!(manager.hears(), "WATCHDOG=1");
    let tasks = PathBuf::from(format!("/proc/{}/task", router.id()));
    let named =
        |task: &fs::DirEntry| fs::read_to_string(task.path().join("comm")).is_ok_and(|c| c.trim() == "worker-1");
    let thread = fs::read_dir(tasks).unwrap().flatten().find(named).unwrap().file_name().into_string().unwrap();
    let stopped = match Stopped::thread(&thread) {
        Ok(stopped) => stopped,
        Err(why) if !is_root() => return skipped(TEST, &format!("this user may not stop a thread: {why}")),
        Err(why) => panic!("{why}"),
    };
    assert_eq!(manager.hears_besides_feeds(), "STATUS=Worker 1 hangs");
    // Long enough for several feeds.
    manager.0.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
    let mut buffer = [0; 64];
    assert!(manager.0.recv(&mut buffer).is_err(), "the manager hears no more of it: {buffer:?}");
    manager.0.set_read_timeout(Some(PATIENCE)).unwrap();
    drop(stopped);
    assert_eq!(manager.hears(), "WATCHDOG=1\nSTATUS=Forwarding");
    let said = router.stop("TERM");
    assert!(said.stderr.contains("worker 1 has made no turn for "), "{said:?}");
    said.account();
}

/// The unit with the binary under test in place of the installed one.
fn unit(s: &Scratch) -> PathBuf {
    let text = fs::read_to_string(UNIT).unwrap();
    assert_eq!(text.matches("/usr/bin/underpass ").count(), 2);
    s.file("underpass.service", text.replace("/usr/bin/underpass ", &format!("{UNDERPASS} ")))
}

#[test]
fn systemd_reads_the_unit_and_finds_it_hardened() {
    const TEST: &str = "systemd_reads_the_unit_and_finds_it_hardened";
    let s = Scratch::new("service-unit");
    let unit = unit(&s);
    let Ok(verified) = Command::new("systemd-analyze").arg("verify").arg(&unit).output() else {
        return skipped(TEST, "there is no systemd-analyze here");
    };
    assert!(verified.status.success() && verified.stderr.is_empty(), "{verified:?}");
    let o = Command::new("systemd-analyze").args(["security", "--offline=true"]).arg(&unit).output().unwrap();
    let said = String::from_utf8(o.stdout).unwrap();
    let exposure = said.rsplit_once("underpass.service: ").unwrap().1.split_whitespace().next().unwrap();
    println!("exposure {exposure}");
    assert!(exposure.parse::<f64>().unwrap() < 3.5, "{said}");
}

#[test]
fn the_unit_types_what_the_binary_takes() {
    let text = fs::read_to_string(UNIT).unwrap();
    let s = Scratch::new("service-args");
    let file = config(&s);
    let line = text.lines().find_map(|l| l.strip_prefix("ExecStartPre=/usr/bin/underpass ")).unwrap();
    let arguments = line.replace("/etc/underpass/underpass.toml", file.to_str().unwrap());
    let o = Command::new(UNDERPASS).args(arguments.split(' ')).output().unwrap();
    assert!(o.status.success(), "{o:?}");
    let line = text.lines().find_map(|l| l.strip_prefix("ExecStart=/usr/bin/underpass ")).unwrap();
    let arguments = line.replace("/etc/underpass/underpass.toml", file.to_str().unwrap());
    let mut command = Command::new(UNDERPASS);
    Router::spawn(command.args(arguments.split(' '))).stop("TERM").account();
}

#[test]
fn the_manual_names_every_verb() {
    let help = Command::new(UNDERPASS).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let verbs = help.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| !l.is_empty());
    let verbs: Vec<&str> =
        verbs.filter(|l| !l.starts_with("   ")).filter_map(|l| l.split_whitespace().next()).collect();
    assert!(verbs.len() > 5, "{help}");
    let manual = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/underpass.8")).unwrap();
    for verb in verbs.iter().filter(|v| **v != "help") {
        assert!(manual.contains(&format!("\\fB{verb}\\fR")), "packaging/underpass.8 does not name {verb}");
    }
}
