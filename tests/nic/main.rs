//! A NIC that deals packets out to queues: QEMU's virtio-net with RSS, driven by DPDK's net_virtio, on both sides of
//! `underpass run`. `make test-nic` runs this in a virtual machine; elsewhere it is ignored.
//!
//! Each of the two NICs has an ordinary one at the other end of its wire, which the machine's kernel drives: hosts inside
//! and a server outside, as in a lab. What the device does is seen by the router itself: where it was told to bring each
//! packet to its owner, none comes to another worker; where not, about every second one does.

#[path = "../common/mod.rs"]
mod common;

use common::lab::{Claim, ensure, text, told};
use common::{Account, Router, Scratch, slowness};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What `scripts/guest.sh` gives the four NICs as last byte of their addresses.
const LAN: u8 = 1;
const WAN: u8 = 2;
const INSIDE: u8 = 3;
const OUTSIDE: u8 = 4;

/// Inside hosts; each has as many sockets as [`CLIENT`] says.
const HOSTS: u8 = 32;

/// Gives back what it gets, and says that it is ready.
const SERVER: &str = r#"
import socket, threading
def tcp(c):
    with c:
        while data := c.recv(65536):
            c.sendall(data)
t = socket.create_server(("203.0.113.1", 7000), backlog=256)
def accept():
    while True:
        threading.Thread(target=tcp, args=t.accept()[:1], daemon=True).start()
threading.Thread(target=accept, daemon=True).start()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(("203.0.113.1", 7000))
print("ready", flush=True)
while True:
    data, peer = u.recvfrom(2048)
    u.sendto(data, peer)
"#;

/// Sends from many addresses and ports, and wants all back, within some attempts for UDP.
const CLIENT: &str = r#"
import os, socket, sys
hosts, slow = int(sys.argv[1]), int(sys.argv[2])
server = ("203.0.113.1", 7000)
def opened(kind, host):
    s = socket.socket(socket.AF_INET, kind)
    s.settimeout(5 * slow)
    s.bind((f"192.168.1.{10 + host}", 0))
    s.connect(server)
    return s
def asked(s, data):
    for _ in range(5):
        s.send(data)
        try:
            if s.recv(2048) == data:
                return
        except TimeoutError:
            pass
    raise SystemExit("no answer to " + str(s.getsockname()))
udp = [opened(socket.SOCK_DGRAM, n % hosts) for n in range(4 * hosts)]
for _ in range(24):
    for s in udp:
        asked(s, os.urandom(64))
for n in range(hosts):
    with opened(socket.SOCK_STREAM, n) as s:
        data, back = os.urandom(20000), b""
        s.sendall(data)
        while len(back) < len(data):
            more = s.recv(65536)
            if not more:
                raise SystemExit("closed early")
            back += more
        if back != data:
            raise SystemExit("other bytes")
"#;

fn say(program: &str, args: &[&str]) -> Result<String, String> {
    let o = Command::new(program).args(args).stdin(Stdio::null()).output().map_err(|e| format!("{program}: {e}"))?;
    if o.status.success() { Ok(text(&o.stdout)) } else { Err(format!("{program} {args:?}: {}", told(&o))) }
}

/// The kernel's name of the NIC with that last byte.
fn interface(last: u8) -> Result<String, String> {
    let wanted = format!("52:54:00:00:00:{last:02x}");
    let mut all = fs::read_dir("/sys/class/net").map_err(|e| e.to_string())?.filter_map(Result::ok);
    let found = all.find(|i| fs::read_to_string(i.path().join("address")).is_ok_and(|a| a.trim() == wanted));
    found.map(|i| i.file_name().to_string_lossy().into_owned()).ok_or(format!("there is no NIC {wanted}"))
}

/// Takes a NIC from the kernel, for DPDK; its PCI address.
fn taken(last: u8) -> Result<String, String> {
    let device = Path::new("/sys/class/net").join(interface(last)?).join("device");
    let pci: PathBuf = fs::canonicalize(device).map_err(|e| e.to_string())?.parent().unwrap().into();
    let address = pci.file_name().unwrap().to_string_lossy().into_owned();
    let write = |file: &Path, what: &str| fs::write(file, what).map_err(|e| format!("{}: {e}", file.display()));
    write(&pci.join("driver/unbind"), &address)?;
    write(&pci.join("driver_override"), "uio_pci_generic")?;
    write(Path::new("/sys/bus/pci/drivers_probe"), &address)?;
    Ok(address)
}

/// Puts a NIC into a network namespace, with an address.
fn host(name: &str, last: u8, addresses: &[String]) -> Claim {
    let interface = interface(last)?;
    say("ip", &["netns", "add", name])?;
    say("ip", &["link", "set", &interface, "netns", name])?;
    for address in addresses {
        say("ip", &["-n", name, "address", "add", address, "dev", &interface])?;
    }
    say("ip", &["-n", name, "link", "set", "lo", "up"])?;
    say("ip", &["-n", name, "link", "set", &interface, "up"])?;
    Ok(())
}

fn inside(program: &str) -> Result<String, String> {
    let (hosts, slow) = (HOSTS.to_string(), slowness().to_string());
    say("ip", &["netns", "exec", "in", "python3", "-c", program, &hosts, &slow])
}

/// The router's file, for two workers with a queue each.
fn config(lan: &str, wan: &str, steering: &str) -> String {
    format!(
        "[runtime]\nworkers = 2\nidle = \"yield\"\nmemory = \"hugepages\"\n\n\
         [[port]]\nname = \"lan\"\nrole = \"inside\"\ndevice = \"{lan}\"\naddresses = [\"192.168.1.1/24\"]\n\
         steering = \"{steering}\"\n\n\
         [[port]]\nname = \"wan\"\nrole = \"outside\"\ndevice = \"{wan}\"\naddresses = [\"203.0.113.2/24\"]\n\
         gateway = \"203.0.113.1\"\nsteering = \"{steering}\"\n\n[nat]\npool = [\"203.0.113.2\"]\nsessions = 65_536\n"
    )
}

/// What the router says after everybody has talked through it.
fn run(scratch: &Scratch, lan: &str, wan: &str, steering: &str) -> Result<(String, Account), String> {
    let file = scratch.file(&format!("{steering}.toml"), config(lan, wan, steering));
    let router = Router::start(&file);
    let talked = inside(CLIENT);
    let said = router.stop("TERM");
    talked.map_err(|why| format!("{why}\n{}{}", said.stdout, said.stderr))?;
    let account = said.account();
    Ok((said.stdout, account))
}

/// Kills a server with the value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve() -> Server {
    let mut c = Command::new("ip");
    c.args(["netns", "exec", "out", "python3", "-c", SERVER]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = c.spawn().unwrap();
    let mut line = String::new();
    let out = child.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
    assert_eq!(line, "ready\n");
    Server(child)
}

fn prepared() -> Result<(String, String), String> {
    say("modprobe", &["--all", "virtio_net", "uio_pci_generic"])?;
    fs::create_dir_all("/dev/hugepages").map_err(|e| e.to_string())?;
    say("mount", &["-t", "hugetlbfs", "none", "/dev/hugepages"])?;
    fs::write("/proc/sys/vm/nr_hugepages", "320").map_err(|e| e.to_string())?;
    let (lan, wan) = (taken(LAN)?, taken(WAN)?);
    host("in", INSIDE, &(10..10 + HOSTS).map(|n| format!("192.168.1.{n}/24")).collect::<Vec<_>>())?;
    say("ip", &["-n", "in", "route", "add", "default", "via", "192.168.1.1"])?;
    host("out", OUTSIDE, &["203.0.113.1/24".into()])?;
    Ok((lan, wan))
}

fn told_once(what: &str) {
    println!("  PASS {what}");
}

#[test]
#[ignore = "make test-nic runs it"]
fn each_packet_comes_in_at_its_owner() {
    let (lan, wan) = prepared().unwrap();
    let _server = serve();
    let scratch = Scratch::new("nic");
    let share = |a: &Account| a.count("handed_off") as f64 / a.received as f64;

    let (said, account) = run(&scratch, &lan, &wan, "auto").unwrap();
    let steering: Vec<_> = said.lines().skip_while(|l| !l.starts_with("steering of")).collect();
    let steering: Vec<_> =
        steering.into_iter().take_while(|l| l.starts_with("steering of") || l.starts_with("  ")).collect();
    println!("{}", steering.join("\n"));
    for port in ["lan", "wan"] {
        let begin = format!("steering of {port} (net_virtio, 2 queue(s)");
        let mut level =
            steering.iter().skip_while(|l| !l.starts_with(&begin)).skip(1).take_while(|l| l.starts_with(' '));
        let by_key = level.any(|l| l.trim_start().starts_with("RSS by key") && l.contains("TCP, UDP"));
        assert!(by_key, "{port} does not take TCP and UDP by key: {said}");
        told_once(&format!("{port}: the device takes the key and the table; TCP and UDP by RSS"));
    }
    let (sampled, missed) = (account.count("steering_sampled"), account.count("steering_missed"));
    ensure(sampled >= 50 && missed == 0, || format!("{missed} of {sampled} at another worker: {said}")).unwrap();
    told_once(&format!("of {sampled} packets looked at, none came to another worker than its owner"));
    assert!(share(&account) < 0.02, "handed over: {said}");
    told_once(&format!("handed over: {} of {}", account.count("handed_off"), account.received));

    // That this can fail: the device's own hash knows nothing of owners.
    let (said, account) = run(&scratch, &lan, &wan, "software").unwrap();
    assert!((0.3..0.7).contains(&share(&account)), "handed over: {said}");
    told_once(&format!("by the device's own hash instead: {} of {}", account.count("handed_off"), account.received));
}
