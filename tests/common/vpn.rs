//! Two VPN clients in a lab and a server for both, with bytes that go through their tunnels.
//!
//! What is said through a tunnel is checked by hash both ways, and by the address that the far end sees: the tunnel's.

use super::host::{Host, last_words};
use super::lab::{Claim, Lab, config, ensure, text, told};
use super::{Account, skipped, slowness};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Bytes of a talk's short rounds, each way.
const SHORT: usize = 128_000;

/// And of its long ones.
const LONG: usize = 2_000_000;

/// Names the caller; then answers each round of bytes with their hash, and with as many of its own and their hash.
const SERVER: &str = r#"
import hashlib, os, socket, sys, threading
slow = int(os.environ.get("UNDERPASS_SLOWNESS", "1"))
def whole(c, n):
    data = bytearray()
    while len(data) < n:
        more = c.recv(n - len(data))
        if not more:
            return None
        data += more
    return bytes(data)
def talk(c, peer):
    with c:
        c.settimeout(20 * slow)
        c.sendall(socket.inet_aton(peer[0]))
        while head := whole(c, 4):
            data = whole(c, int.from_bytes(head, "big"))
            back = os.urandom(len(data))
            c.sendall(hashlib.sha256(data).digest() + hashlib.sha256(back).digest() + back)
s = socket.create_server(("0.0.0.0", 7000), backlog=16)
while True:
    threading.Thread(target=talk, args=s.accept(), daemon=True).start()
"#;

/// Rounds of so many bytes over one connection: two, or, where the input does not end, until it does and two more.
const CLIENT: &str = r#"
import hashlib, os, select, socket, sys
slow = int(os.environ.get("UNDERPASS_SLOWNESS", "1"))
server, network, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
c = socket.create_connection((server, 7000), 15 * slow)
c.settimeout(15 * slow)
def whole(n):
    data = bytearray()
    while len(data) < n:
        more = c.recv(n - len(data))
        assert more, "closed early"
        data += more
    return bytes(data)
def round():
    data = os.urandom(size)
    c.sendall(size.to_bytes(4, "big") + data)
    assert whole(32) == hashlib.sha256(data).digest(), "other bytes arrived there"
    digest = whole(32)
    assert hashlib.sha256(whole(size)).digest() == digest, "other bytes arrived here"
seen = socket.inet_ntoa(whole(4))
assert seen == c.getsockname()[0] and seen.startswith(network), f"not through the tunnel: seen as {seen}"
print("talking", flush=True)
while not select.select([sys.stdin], [], [], 0.02)[0]:
    round()
round()
round()
"#;

/// A lab with two clients and a server. Dropped in the order of its fields.
pub(crate) struct Vpn {
    pub(crate) server: Host,
    pub(crate) clients: [Host; 2],
    pub(crate) lab: Lab,
    /// Where the tunnels begin, as `10.8.0.`: the server is `.1` there.
    pub(crate) network: &'static str,
    last: Instant,
}

impl Vpn {
    /// `None`, said by name, where that is not possible. One outside address, and what else is to change in the lab's
    /// configuration.
    pub(crate) fn up(test: &str, possible: Claim, network: &'static str, changes: &[(&str, &str)]) -> Option<Self> {
        if let Err(why) = possible {
            skipped(test, &why);
            return None;
        }
        let changes = [&[("203.0.113.2-203.0.113.3", "203.0.113.2")], changes].concat();
        let lab = Lab::up(test, &config(&changes))?;
        let mut server = Host::outside(&lab, "server").unwrap();
        server.start("talk", &["python3", "-c", SERVER]);
        let client = |n| Host::inside(&lab, &format!("client{n}"), &format!("192.168.1.1{n}")).unwrap();
        let clients = [client(1), client(2)];
        Some(Self { server, clients, lab, network, last: Instant::now() })
    }

    /// Tries it, ends the router and looks at its account.
    pub(crate) fn prove(mut self, proof: fn(&mut Self) -> Claim) {
        let outcome = proof(&mut self);
        let said = self.lab.stop_router();
        if let Err(why) = outcome {
            println!("  FAIL after {} s", self.last.elapsed().as_secs());
            panic!("{why}\n{}{said}", last_words(self.lab.scratch.path(), 25));
        }
        let account = Account::of(&said);
        let enough = 1000 / u64::from(slowness());
        assert!(account.count("translated_out") > enough && account.count("translated_in") > enough, "{account:?}");
        assert_eq!(account.count("ip_checksum"), 0, "{account:?}");
    }

    /// Says what has been seen so far.
    pub(crate) fn seen(&mut self, what: &str) -> Claim {
        println!("  PASS {what} ({:.1} s)", self.last.elapsed().as_secs_f32());
        self.last = Instant::now();
        Ok(())
    }

    pub(crate) fn secret(&self, name: &str, content: &str) -> String {
        self.lab.scratch.file(name, content).to_str().unwrap().to_owned()
    }

    /// Begins to exchange bytes through a client's tunnel, and goes on as long as `input` does.
    pub(crate) fn talk(&self, client: usize, size: usize, input: Stdio) -> Child {
        let server = format!("{}1", self.network);
        let mut c = self.clients[client].command(&["python3", "-c", CLIENT, &server, self.network, &size.to_string()]);
        c.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Some MB through both tunnels at once, both ways; less where all is slower.
    pub(crate) fn both_talk(&self) -> Claim {
        let size = LONG / slowness() as usize;
        all([0, 1].map(|n| self.talk(n, size, Stdio::null())).map(done))
    }

    /// Something happens while these clients talk, each over one connection, which must last through it.
    pub(crate) fn while_talking(&mut self, clients: &[usize], happens: impl FnOnce(&mut Self) -> Claim) -> Claim {
        let mut talks: Vec<_> = clients.iter().map(|n| self.talk(*n, SHORT, Stdio::piped())).collect();
        for talk in &mut talks {
            // "talking": before that, an event would only delay the beginning.
            let _ = talk.stdout.as_mut().unwrap().read(&mut [0; 8]);
        }
        let happened = happens(self);
        for talk in &mut talks {
            drop(talk.stdin.take());
        }
        all(talks.into_iter().map(done).chain([happened]))
    }
}

/// All claims, with all that is wrong.
pub(crate) fn all(claims: impl IntoIterator<Item = Claim>) -> Claim {
    let wrong: Vec<_> = claims.into_iter().filter_map(Result::err).collect();
    ensure(wrong.is_empty(), || wrong.join("\n"))
}

pub(crate) fn done(talk: Child) -> Claim {
    let o = talk.wait_with_output().unwrap();
    ensure(o.status.success(), || format!("a tunnel does not carry: {}", told(&o)))
}

/// What a command on this machine says that must succeed.
pub(crate) fn say(command: &mut Command) -> Result<String, String> {
    let o = command.stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
    if o.status.success() { Ok(text(&o.stdout).trim().to_owned()) } else { Err(told(&o)) }
}
