//! A lab of `scripts/lab.sh` for tests: real endpoints in network namespaces with `underpass run` between them.
//!
//! Where namespaces are not permitted, or a program is missing, a test says so by name and passes.

use super::{Account, PATIENCE, Scratch, UNDERPASS, is_root, skipped, slowness};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Attempts before a claim counts as wrong: a busy machine loses packets of its own.
const TRIES: usize = 3;

/// Whether something holds, or what was seen instead.
pub(crate) type Claim = Result<(), String>;
/// What tries a claim in a lab.
pub(crate) type Try = fn(&Lab) -> Claim;

/// Labs that this process has made.
static LABS: AtomicU32 = AtomicU32::new(0);

/// A lab of `scripts/lab.sh`, taken down with the value.
pub(crate) struct Lab {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) scratch: Scratch,
    servers: Vec<Child>,
}

impl Lab {
    /// Makes one with this configuration; `None`, said by name, where that is not permitted.
    pub(crate) fn up(test: &str, config: &str) -> Option<Self> {
        if let Err(why) = permitted() {
            skipped(test, &why);
            return None;
        }
        let scratch = Scratch::new(test);
        let name = format!("up-{}-{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(format!("underpass-lab-{name}"));
        let file = scratch.file("lab.toml", config);
        let lab = Self { name, folder, scratch, servers: Vec::new() };
        let made = lab.script(&["up", "--binary", UNDERPASS, "--config", file.to_str().unwrap()]);
        assert!(made.status.success(), "no lab: {}", told(&made));
        Some(lab)
    }

    fn script(&self, args: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/lab.sh");
        Command::new(script).args(args).env("UNDERPASS_LAB", &self.name).stdin(Stdio::null()).output().unwrap()
    }

    /// A command in the namespace `in`, `box` or `out`, for 30 seconds at most, or longer where all is slower.
    pub(crate) fn command(&self, place: &str, args: &[&str]) -> Command {
        let mut c = Command::new("ip");
        let (place, limit) = (format!("{}-{place}", self.name), (30 * slowness()).to_string());
        c.args(["netns", "exec", &place, "timeout", &limit]).args(args).stdin(Stdio::null());
        c
    }

    pub(crate) fn run(&self, place: &str, args: &[&str]) -> Output {
        self.command(place, args).output().unwrap()
    }

    /// What a command says that must succeed.
    pub(crate) fn say(&self, place: &str, args: &[&str]) -> Result<String, String> {
        let o = self.run(place, args);
        if o.status.success() { Ok(text(&o.stdout)) } else { Err(format!("{args:?}: {}", told(&o))) }
    }

    pub(crate) fn inside(&self, args: &[&str]) -> Result<String, String> {
        self.say("in", args)
    }

    pub(crate) fn outside(&self, args: &[&str]) -> Result<String, String> {
        self.say("out", args)
    }

    /// Starts a Python program that says a line once it serves.
    pub(crate) fn serve(&mut self, place: &str, program: &str) {
        let place = format!("{}-{place}", self.name);
        let mut child = Command::new("ip");
        child.args(["netns", "exec", &place, "python3", "-c", program]);
        let mut child = child.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        assert!(!line.is_empty(), "a server did not start");
        self.servers.push(child);
    }

    /// Tries each claim, all of them even if some are wrong, then stops the router and looks at its account.
    pub(crate) fn claims(mut self, claims: &[(&str, Try)]) -> Account {
        let mut wrong = String::new();
        for (name, claim) in claims {
            let started = Instant::now();
            let mut outcome = claim(&self);
            for _ in 1..TRIES {
                if outcome.is_ok() {
                    break;
                }
                sleep(Duration::from_millis(500));
                outcome = claim(&self);
            }
            let verdict = if outcome.is_ok() { "ok" } else { "WRONG" };
            println!("  {name}: {verdict} ({:.1} s)", started.elapsed().as_secs_f32());
            if let Err(why) = outcome {
                writeln!(wrong, "{name}: {why}").unwrap();
            }
        }
        let said = self.stop_router();
        assert!(wrong.is_empty(), "{wrong}\n{said}");
        Account::of(&said)
    }

    /// Ends the router as an operator does; what it said.
    pub(crate) fn stop_router(&mut self) -> String {
        let pid = fs::read_to_string(self.folder.join("pid")).unwrap();
        assert!(Command::new("kill").args(["-TERM", pid.trim()]).status().unwrap().success());
        let deadline = Instant::now() + PATIENCE;
        let said = || fs::read_to_string(self.folder.join("underpass.stdout")).unwrap();
        // The account's last line is an event; the process is gone when all is written.
        while Path::new("/proc").join(pid.trim()).join("exe").exists() && Instant::now() < deadline {
            sleep(Duration::from_millis(50));
        }
        said() + &fs::read_to_string(self.folder.join("underpass.stderr")).unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
        let down = self.script(&["down"]);
        if !down.status.success() {
            eprintln!("the lab {} stays: {}", self.name, told(&down));
        }
    }
}

/// Whether a lab can be made here, or why not. Asked once, for all tests.
fn permitted() -> Result<(), String> {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    ANSWER.get_or_init(try_permitted).clone()
}

fn try_permitted() -> Result<(), String> {
    if !is_root() {
        return Err("network namespaces need root".into());
    }
    installed(&["ip", "ethtool", "pgrep", "flock", "ping", "curl", "python3", "iperf3", "traceroute"])?;
    let probe = format!("up-{}-probe", std::process::id());
    let made = Command::new("ip").args(["netns", "add", &probe]).output().map_err(|e| e.to_string())?;
    let _ = Command::new("ip").args(["netns", "del", &probe]).output();
    if made.status.success() { Ok(()) } else { Err(format!("no network namespaces: {}", told(&made).trim())) }
}

/// Whether these programs are there, or which one is not.
pub(crate) fn installed(programs: &[&str]) -> Claim {
    for program in programs {
        let look = format!("PATH=$PATH:/usr/sbin:/sbin command -v {program}");
        let found = Command::new("sh").args(["-c", &look]).output();
        if !found.is_ok_and(|o| o.status.success()) {
            return Err(format!("{program} is not there; scripts/setup.sh test installs it"));
        }
    }
    Ok(())
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn told(o: &Output) -> String {
    format!("{}: {}{}", o.status, text(&o.stdout), text(&o.stderr))
}

pub(crate) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Claim {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// The lab's own configuration, changed: each text that is to be replaced must be there.
pub(crate) fn config(changes: &[(&str, &str)]) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/lab.toml");
    changes.iter().fold(fs::read_to_string(file).unwrap(), |text, (from, to)| {
        assert!(text.contains(from), "scripts/lab.toml has no {from}");
        text.replace(from, to)
    })
}
