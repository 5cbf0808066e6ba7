//! Hosts beside those of a lab, each with a network, a `/run` and processes of its own: VPN daemons want one of them to
//! a machine, since they bind fixed ports on all addresses and keep a socket or a process number in `/run`.
//!
//! A host is a PID namespace whose first process ends when the test does, however that ends, and with it the kernel
//! ends all else there; its network has no name and goes with the last process. Nothing is left to clean up.

use super::lab::{Claim, Lab, text, told};
use super::slowness;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// For what takes a moment: a handshake, a start. Far more than it takes.
const MOMENT: Duration = Duration::from_secs(20);

/// One host.
pub(crate) struct Host {
    name: String,
    /// Its first process waits for the end of its input, which this program holds.
    world: Child,
    /// That process's number out here.
    first: String,
    daemons: Vec<Child>,
    logs: PathBuf,
}

impl Host {
    /// A host on the lab's inside network, next to the two that are there.
    pub(crate) fn inside(lab: &Lab, name: &str, address: &str) -> Result<Self, String> {
        let host = Self::begin(lab, name, &["unshare", "--net"])?;
        let place = format!("{}-in", lab.name);
        let link = ["link", "add", "link", "in0", "name", "eth0", "netns", &host.first, "type", "macvlan"];
        let made = Command::new("ip").args(["-n", &place]).args(link).args(["mode", "bridge"]).output().unwrap();
        if !made.status.success() {
            return Err(format!("no link for {name}: {}", told(&made)));
        }
        for settings in [
            &["link", "set", "lo", "up"][..],
            &["address", "add", &format!("{address}/24"), "dev", "eth0"],
            &["link", "set", "eth0", "up"],
            &["route", "add", "default", "via", "192.168.1.1"],
        ] {
            host.say(&[&["ip"], settings].concat())?;
        }
        Ok(host)
    }

    /// The lab's outside host, 203.0.113.1, with processes of its own.
    pub(crate) fn outside(lab: &Lab, name: &str) -> Result<Self, String> {
        Self::begin(lab, name, &["ip", "netns", "exec", &format!("{}-out", lab.name), "unshare"])
    }

    fn begin(lab: &Lab, name: &str, unshare: &[&str]) -> Result<Self, String> {
        let first = "mount -t tmpfs none /run && echo ready && exec cat";
        let mut world = Command::new(unshare[0])
            .args(&unshare[1..])
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", first])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        let mut line = String::new();
        let _ = BufReader::new(world.stdout.take().unwrap()).read_line(&mut line);
        let found = Command::new("pgrep").args(["-o", "-P", &world.id().to_string()]).output().unwrap();
        let first = text(&found.stdout).trim().to_owned();
        let host =
            Self { name: name.to_owned(), world, first, daemons: Vec::new(), logs: lab.scratch.path().to_owned() };
        if line == "ready\n" && !host.first.is_empty() { Ok(host) } else { Err(format!("no host {name}: {line}")) }
    }

    /// A command on this host, for 30 seconds at most, or longer where all is slower.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut c = self.enter();
        c.args(["timeout", &(30 * slowness()).to_string()]).args(args);
        c
    }

    fn enter(&self) -> Command {
        let mut c = Command::new("nsenter");
        c.args(["--target", &self.first, "--net", "--mount", "--pid", "--"]).stdin(Stdio::null());
        c
    }

    /// What a command says that must succeed.
    pub(crate) fn say(&self, args: &[&str]) -> Result<String, String> {
        let o = self.command(args).output().map_err(|e| e.to_string())?;
        if o.status.success() {
            Ok(text(&o.stdout))
        } else {
            Err(format!("{} on {}: {}", args[0], self.name, told(&o)))
        }
    }

    /// Starts a program that stays. What it says goes to the log of that name, after what is there.
    pub(crate) fn start(&mut self, name: &str, args: &[&str]) {
        let log = File::options().create(true).append(true).open(self.log_file(name)).unwrap();
        let mut c = self.enter();
        c.args(args).stdout(log.try_clone().unwrap()).stderr(log);
        self.daemons.push(c.spawn().unwrap());
    }

    /// Ends a program as an operator does, and waits until it is gone.
    pub(crate) fn stop(&self, program: &str) -> Claim {
        self.say(&["pkill", "-TERM", "-x", program])?;
        until(&format!("{program} on {} ends", self.name), || self.say(&["pgrep", "-x", program]).is_err())
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{}-{name}.log", self.name))
    }

    /// How often a text is in a log.
    pub(crate) fn logged(&self, name: &str, what: &str) -> usize {
        fs::read_to_string(self.log_file(name)).map_or(0, |log| log.matches(what).count())
    }

    /// Waits until a text is so many times in a log.
    pub(crate) fn logs(&self, name: &str, what: &str, times: usize) -> Claim {
        until(&format!("{name} on {} logs {what:?} {times} times", self.name), || self.logged(name, what) >= times)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.world.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.world.try_wait(), Ok(None)) && Instant::now() < deadline {
            sleep(Duration::from_millis(10));
        }
        let _ = self.world.kill();
        let _ = self.world.wait();
        for daemon in &mut self.daemons {
            // What entered for it may have been stopped with it.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// Waits for something that takes a moment.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) -> Claim {
    let moment = MOMENT * slowness();
    let deadline = Instant::now() + moment;
    while !holds() {
        if Instant::now() > deadline {
            return Err(format!("within {} s not seen: {what}", moment.as_secs()));
        }
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The last lines of each log in a folder.
pub(crate) fn last_words(folder: &Path, lines: usize) -> String {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "log"));
    files.sort();
    let tail = |f: &PathBuf| {
        let log = text(&fs::read(f).unwrap_or_default());
        let all: Vec<_> = log.lines().collect();
        format!("--- {}\n{}\n", f.file_name().unwrap().display(), all[all.len().saturating_sub(lines)..].join("\n"))
    };
    files.iter().map(tail).collect()
}
