//! What the box did in one test, written so that runs over different numbers of workers can be compared: what workers
//! may choose (outside ports, IP identifications) is replaced by the order in which it first appeared.

use crate::lab::{Outcome, PORTS};
use dataplane::policy::Rules;
use dataplane::types::{Endpoint, Outside, Proto};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;
use std::net::SocketAddrV4;
use std::sync::Arc;
use testkit::{Seen, Transport, protocol};

pub(crate) struct Transcript {
    rules: Arc<Rules>,
    names: HashMap<(u8, SocketAddrV4), usize>,
    text: String,
    stopped: bool,
}

thread_local! {
    /// Transcripts of the test that this thread runs, so far.
    static SO_FAR: RefCell<String> = const { RefCell::new(String::new()) };
}

impl Transcript {
    pub(crate) fn new(rules: Arc<Rules>) -> Self {
        Self { rules, names: HashMap::new(), text: String::new(), stopped: false }
    }

    /// Notes nothing from here on.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    /// What was noted so far.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Notes one step.
    pub(crate) fn note(&mut self, outcome: &Outcome) {
        if self.stopped || (outcome.is_silent() && outcome.drops.is_empty()) {
            return;
        }
        for port in PORTS {
            // The order between frames of different workers is no promise.
            let mut frames: Vec<_> = outcome.at(port).iter().map(|seen| (masked(seen), seen)).collect();
            frames.sort_by(|a, b| a.0.cmp(&b.0));
            for (masked, seen) in frames {
                let (from, to) = (self.name(seen.protocol, seen.source), self.name(seen.protocol, seen.destination));
                let _ = writeln!(self.text, "{port:?} {from} > {to} {masked}");
            }
        }
        let _ = writeln!(self.text, "drops {:?}", outcome.drops);
    }

    fn name(&mut self, proto: u8, e: SocketAddrV4) -> String {
        let ours = self.rules.local(*e.ip()).is_some();
        let forced = self.rules.static_in(Proto(proto), Outside(Endpoint::new(*e.ip(), e.port()))).is_some();
        if !ours || forced || e.port() == 0 {
            return e.to_string();
        }
        let next = self.names.len();
        format!("{}:#{}", e.ip(), self.names.entry((proto, e)).or_insert(next))
    }

    /// The scene is over. [`crate::workers`] says where transcripts go, if anywhere.
    pub(crate) fn end(&mut self) {
        let Some(dir) = crate::workers::transcripts() else { return };
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("main").replace("::", ".");
        SO_FAR.with_borrow_mut(|all| {
            all.push_str(&self.text);
            all.push_str("---\n");
            std::fs::write(dir.join(test), all.as_bytes()).unwrap();
        });
    }
}

/// The port of PPTP, and the message in which a server learns a translated Call ID [RFC 2637 §2.7].
const PPTP: u16 = 1723;
const OUTGOING_CALL_REQUEST: [u8; 2] = [0, 7];

/// A frame without what workers may choose.
fn masked(seen: &Seen) -> String {
    let mut s = seen.clone();
    s.id = 0;
    let none = SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0);
    if s.destination.port() == PPTP
        && s.payload.get(8..10) == Some(&OUTGOING_CALL_REQUEST[..])
        && let Some(call) = s.payload.get_mut(12..14)
    {
        call.fill(0);
    }
    (s.source, s.destination) = (none, none);
    let head = match s.protocol {
        protocol::UDP => 8,
        _ => 20,
    };
    match &mut s.transport {
        // The first fragment holds ports and checksum; the quote of an error, too.
        Transport::Fragment if s.offset == 0 => s.payload = s.payload.split_off(head.min(s.payload.len())),
        Transport::Icmp(icmp) => {
            if let Some(q) = &mut icmp.quoted {
                q.id = 0;
                (q.source, q.destination) = (none, none);
                q.data = q.data.split_off(20.min(q.data.len()));
            } else {
                (icmp.rest[0], icmp.rest[1]) = (0, 0);
            }
        }
        _ => {}
    }
    format!("{s:?}")
}
