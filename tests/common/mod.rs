//! What the tests of the real binary share: scratch folders, captures, and a running router.
#![allow(dead_code, reason = "each test uses its own part")]

pub(crate) mod control;
pub(crate) mod host;
pub(crate) mod lab;
pub(crate) mod vpn;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The binary under test.
pub(crate) const UNDERPASS: &str = env!("CARGO_BIN_EXE_underpass");

/// Nothing that should happen takes so long, even on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How many times as long a program may take here: more than once in a machine that QEMU translates.
pub(crate) fn slowness() -> u32 {
    std::env::var("UNDERPASS_SLOWNESS").map_or(1, |s| s.parse().expect("UNDERPASS_SLOWNESS is a number"))
}

/// Frames with their times in nanoseconds since 1970.
pub(crate) type Frames = Vec<(u64, Vec<u8>)>;

/// A folder that goes with the value.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// A new one below cargo's own folder for tests.
    pub(crate) fn new(name: &str) -> Self {
        Self::below(Path::new(env!("CARGO_TARGET_TMPDIR")), name)
    }

    /// A new one below some folder.
    pub(crate) fn below(folder: &Path, name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("underpass-{name}-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in it and gives its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A pcap of whole frames with times in microseconds.
pub(crate) fn pcap(frames: &Frames) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
        out.extend(word.to_le_bytes());
    }
    for (at, frame) in frames {
        let length = u32::try_from(frame.len()).unwrap();
        let (seconds, micros) = (at / 1_000_000_000, at % 1_000_000_000 / 1000);
        for word in [u32::try_from(seconds).unwrap(), u32::try_from(micros).unwrap(), length, length] {
            out.extend(word.to_le_bytes());
        }
        out.extend(frame);
    }
    out
}

/// The frames of a little-endian pcap with microseconds, such as [`pcap`], a replay or DPDK writes.
pub(crate) fn frames(pcap: &[u8]) -> Frames {
    let word = |at: usize| u32::from_le_bytes(pcap[at..at + 4].try_into().unwrap());
    let mut found = Vec::new();
    let mut at = 24;
    while at < pcap.len() {
        let length = word(at + 8) as usize;
        let time = u64::from(word(at)) * 1_000_000_000 + u64::from(word(at + 4)) * 1000;
        found.push((time, pcap[at + 16..at + 16 + length].to_vec()));
        at += 16 + length;
    }
    found
}

/// A router that forwards. It is killed when the value goes; [`Router::stop`] ends it as an operator does.
pub(crate) struct Router {
    child: Child,
    said: Option<[thread::JoinHandle<String>; 2]>,
}

/// What a router said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Router {
    /// Starts `underpass run`.
    pub(crate) fn start(config: &Path) -> Self {
        Self::spawn(Command::new(UNDERPASS).args(["run", "--config"]).arg(config))
    }

    /// Starts a command that is a router in the end, and waits until it is ready.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        match Self::try_spawn(command) {
            Ok(router) => router,
            Err(said) => panic!("not ready: {} {}{}", said.status, said.stdout, said.stderr),
        }
    }

    /// The same; what it said, when it ends or is not ready in time.
    pub(crate) fn try_spawn(command: &mut Command) -> Result<Self, Said> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (ready, is_ready) = mpsc::channel();
        let stdout = thread::spawn(move || {
            let mut said = String::new();
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if line == "ready" {
                    let _ = ready.send(());
                }
                said.push_str(&line);
                said.push('\n');
            }
            said
        });
        let stderr = thread::spawn(move || {
            let mut said = Vec::new();
            let _ = err.read_to_end(&mut said);
            String::from_utf8_lossy(&said).into_owned()
        });
        let mut router = Self { child, said: Some([stdout, stderr]) };
        match is_ready.recv_timeout(PATIENCE) {
            Ok(()) => Ok(router),
            Err(_) => Err(router.end()),
        }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn stop(mut self, signal: &str) -> Said {
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        self.end()
    }

    fn end(&mut self) -> Said {
        let _ = self.child.kill();
        let status = self.child.wait().unwrap();
        let [stdout, stderr] = self.said.take().unwrap().map(|t| t.join().unwrap());
        Said { status, stdout, stderr }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Said {
    /// The account at the end of a clean run.
    pub(crate) fn account(&self) -> Account {
        assert!(self.status.success(), "{} {}{}", self.status, self.stdout, self.stderr);
        Account::of(&self.stdout)
    }
}

/// The final account, as the operator reads it.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) received: u64,
    pub(crate) originated: u64,
    pub(crate) sent: u64,
    pub(crate) consumed: u64,
    pub(crate) dropped: u64,
    rows: Vec<(String, u64)>,
}

impl Account {
    /// Reads it, and asserts that it balances.
    pub(crate) fn of(text: &str) -> Self {
        let line = text.lines().find(|l| l.starts_with("account:")).unwrap_or_else(|| panic!("no account in {text}"));
        let number = |word: &str| -> u64 {
            let (_, after) = line.split_once(&format!(" {word} ")).unwrap_or_else(|| panic!("no {word} in {line}"));
            after.split_whitespace().next().unwrap().parse().unwrap()
        };
        let row = |l: &str| -> Option<(String, u64)> {
            let (name, count) = l.trim().rsplit_once(char::is_whitespace)?;
            let name = name.trim();
            Some((name.strip_prefix("dropped ").unwrap_or(name).trim().to_owned(), count.parse().ok()?))
        };
        let found = Self {
            received: number("received"),
            originated: number("originated"),
            sent: number("sent"),
            consumed: number("consumed"),
            dropped: number("dropped"),
            rows: text.lines().skip_while(|l| !l.starts_with("account:")).skip(1).filter_map(row).collect(),
        };
        assert_eq!(found.received + found.originated, found.sent + found.consumed + found.dropped, "{line}");
        assert!(!line.contains("UNACCOUNTED"), "{line}");
        found
    }

    /// The count of a reason or an event.
    pub(crate) fn count(&self, label: &str) -> u64 {
        self.rows.iter().find(|(l, _)| l == label).map_or(0, |(_, n)| *n)
    }
}

/// Says by name that a test is not run here, and why.
pub(crate) fn skipped(test: &str, why: &str) {
    println!("skipped: {test}: {why}");
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).trim() == "0")
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
