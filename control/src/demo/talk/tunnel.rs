//! Tunnels that several hosts have with one server at once, played from scripts: for each client a list of packets, each
//! sent when the one before it has arrived, and compared with what was sent, byte by byte, where it arrives.
//!
//! Part numbers of the marks are `client | step`, so that a packet that comes to the wrong client is seen as just that.

use super::{Fault, Heard, Judged, Talk, arrived, is_udp, marked};
use crate::demo::chance;
use crate::demo::world::World;
use dataplane::types::Side;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;
use testkit::{Frame, Seen, Transport, protocol};

/// How long a packet that must be kept out gets to arrive wrongly.
const PAUSE: Duration = Duration::from_millis(120);
/// How long a client whose tunnel was contested waits before it speaks again, and how often it does.
const AGAIN: Duration = Duration::from_millis(250);
const TRIES: u32 = 6;
/// No two clients' clocks are the same.
const JITTER: Duration = Duration::from_millis(70);
/// IKE's port.
pub(super) const IKE: u16 = 500;
/// Part numbers of a client.
const STEPS: u16 = 1 << 8;

/// What a packet is on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wire {
    /// UDP between a port of the client and this endpoint.
    Udp { client: u16, server: SocketAddrV4 },
    /// ESP, to or from this address.
    Esp { server: Ipv4Addr, spi: u32, seq: u32 },
    /// L2TPv3 over IP; the payload is all that follows the IP header.
    L2tp { server: Ipv4Addr },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Out,
    In,
    /// Inward, and nobody asked for it: it must not arrive.
    KeptOut,
}

struct Step {
    way: Way,
    wire: Wire,
    payload: Vec<u8>,
    /// From here on the gateway's next SPI is awaited, until it was heard.
    opens: bool,
    settles: bool,
}

/// What one client and the server say to each other.
pub(super) struct Script {
    id: u32,
    host: Ipv4Addr,
    client: u16,
    steps: Vec<Step>,
}

impl Script {
    pub(super) fn new(id: u32, client: usize, host: Ipv4Addr) -> Self {
        Self { id, host, client: client as u16, steps: Vec::new() }
    }

    /// A packet: `around` is given `length` marked bytes and puts its protocol's headers around them.
    pub(super) fn say(&mut self, way: Way, wire: Wire, length: usize, around: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let part = self.client * STEPS + self.steps.len() as u16;
        let payload = around(chance::payload(self.id, part, length));
        self.steps.push(Step { way, wire, payload, opens: false, settles: false });
    }

    /// With that packet the client begins to wait for the gateway's next SPI.
    pub(super) fn opens(&mut self) {
        if let Some(step) = self.steps.last_mut() {
            step.opens = true;
        }
    }

    /// With that packet it has heard it.
    pub(super) fn settles(&mut self) {
        if let Some(step) = self.steps.last_mut() {
            step.settles = true;
        }
    }
}

struct Client {
    script: Script,
    starts: Duration,
    /// Steps that are over.
    over: usize,
    /// When the step after those was sent.
    sent: Option<Duration>,
    /// Where the client's UDP ports show.
    shown: Vec<(u16, SocketAddrV4)>,
    /// The outside address of the client.
    outside: Option<Ipv4Addr>,
    tries: u32,
    /// Steps up to this one were said again, so that they may come again.
    repeated: usize,
}

/// See the module.
pub(super) struct Tunnels {
    what: &'static str,
    clients: Vec<Client>,
    begun: Duration,
}

impl Tunnels {
    /// Clients start so far apart.
    pub(super) fn new(what: &'static str, scripts: Vec<Script>, apart: Duration) -> Self {
        let clients = scripts.into_iter().zip(0..).map(|(script, n)| Client::new(script, apart * n)).collect();
        Self { what, clients, begun: Duration::ZERO }
    }
}

impl Talk for Tunnels {
    fn start(&mut self, world: &mut World) {
        self.begun = world.now;
        self.clients.iter_mut().filter(|c| c.starts.is_zero()).for_each(|c| c.send(world));
    }

    fn hear(&mut self, heard: &Heard<'_>, world: &mut World) -> Judged {
        let part = marked(heard.seen).map_or(0, |(_, part)| part);
        let Some(client) = self.clients.get_mut(usize::from(part / STEPS)) else {
            return Err(format!("{} is of nobody here", heard.seen.path()).into());
        };
        client.hear(usize::from(part % STEPS), heard, world)
    }

    fn tick(&mut self, world: &mut World) -> Judged {
        let since = world.now.saturating_sub(self.begun);
        self.clients.iter_mut().filter(|c| c.starts <= since).try_for_each(|c| c.tick(world))
    }

    fn is_done(&self) -> bool {
        self.clients.iter().all(Client::is_done)
    }

    fn awaits(&self) -> String {
        self.clients
            .iter()
            .find(|c| !c.is_done())
            .map_or_else(|| format!("nothing of {}", self.what), |c| format!("{} {}", self.what, c.awaits()))
    }
}

impl Client {
    fn new(script: Script, starts: Duration) -> Self {
        let (shown, outside) = (Vec::new(), None);
        Self { script, starts, over: 0, sent: None, shown, outside, tries: 0, repeated: 0 }
    }

    fn is_done(&self) -> bool {
        self.over == self.script.steps.len()
    }

    fn awaits(&self) -> String {
        let Some(step) = self.script.steps.get(self.over) else { return "the end".to_owned() };
        format!("{} {:?} of {}: {:?}", self.over, step.way, self.script.host, step.wire)
    }

    /// Where the wait for a gateway's SPI happens.
    fn place(&self, step: usize) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let server = match self.script.steps.get(step)?.wire {
            Wire::Udp { server, .. } => *server.ip(),
            Wire::Esp { server, .. } | Wire::L2tp { server } => server,
        };
        Some((server, self.outside?))
    }

    fn who(&self) -> (u32, u16) {
        (self.script.id, self.script.client)
    }

    fn is_contested(&self, world: &World) -> bool {
        self.place(self.over).is_some_and(|place| world.rivals.is_contested(place, self.who()))
    }

    /// Sends the next step.
    fn send(&mut self, world: &mut World) {
        let Some(step) = self.script.steps.get(self.over) else { return };
        if step.opens
            && let Some(place) = self.place(self.over)
        {
            world.rivals.enter(place, self.who(), world.now);
        }
        self.sent = Some(world.now);
        self.say(self.over, world);
    }

    fn say(&self, which: usize, world: &mut World) {
        let Some(step) = self.script.steps.get(which) else { return };
        let payload = step.payload.as_slice();
        let ends = |server: Ipv4Addr| -> Option<(SocketAddrV4, SocketAddrV4)> {
            let server = SocketAddrV4::new(server, 0);
            match step.way {
                Way::Out => Some((SocketAddrV4::new(self.script.host, 0), server)),
                Way::In | Way::KeptOut => Some((server, SocketAddrV4::new(self.outside?, 0))),
            }
        };
        let side = if step.way == Way::Out { Side::Inside } else { Side::Outside };
        let (from, to, frame) = match step.wire {
            Wire::Udp { client, server } => {
                let (from, to) = if step.way == Way::Out {
                    (SocketAddrV4::new(self.script.host, client), server)
                } else {
                    let Some(&(_, shown)) = self.shown.iter().find(|(port, _)| *port == client) else { return };
                    (server, shown)
                };
                (from, to, Frame::udp(from, to))
            }
            Wire::Esp { server, spi, seq } => {
                let Some((from, to)) = ends(server) else { return };
                (from, to, Frame::esp(from, to, spi, seq + self.tries))
            }
            Wire::L2tp { server } => {
                let Some((from, to)) = ends(server) else { return };
                (from, to, Frame::ip(protocol::L2TP, from, to))
            }
        };
        world.send(side, from, to, frame.payload(payload));
    }

    fn hear(&mut self, which: usize, heard: &Heard<'_>, world: &mut World) -> Judged {
        let seen = heard.seen;
        let Some(step) = self.script.steps.get(which) else { return Err(format!("{seen} was never sent").into()) };
        if step.way == Way::KeptOut {
            return Err(format!("a stranger was let in: {seen}").into());
        }
        if seen.payload != step.payload {
            return Err(format!("{} carries {} bytes other than those sent", seen.path(), seen.payload.len()).into());
        }
        let contested = self.is_contested(world) || which < self.repeated;
        // The wrong host does not know this SPI and drops the packet.
        if contested && step.way == Way::In && heard.side == Side::Inside && *seen.destination.ip() != self.script.host
        {
            world.misled += 1;
            return Ok(());
        }
        if which != self.over || self.sent.is_none() {
            if which < self.repeated {
                return self.hear_again(which, heard, world);
            }
            return Err(format!("{} is message {which}; {} was due", seen.path(), self.over).into());
        }
        let settled = step.settles;
        self.check(which, heard, world)?;
        if settled && let Some(place) = self.place(which) {
            world.rivals.leave(place, self.who());
        }
        (self.over, self.sent, self.tries) = (which + 1, None, 0);
        self.send(world);
        Ok(())
    }

    /// It came where it was sent to, from whom it was sent, and is what it was.
    fn check(&mut self, which: usize, heard: &Heard<'_>, world: &mut World) -> Result<(), String> {
        let Some(step) = self.script.steps.get(which) else { return Ok(()) };
        let (seen, host) = (heard.seen, self.script.host);
        let (inside, server) = match step.wire {
            Wire::Udp { client, server } => {
                is_udp(seen)?;
                (SocketAddrV4::new(host, client), server)
            }
            Wire::Esp { server, spi, seq } => {
                is_esp(seen, spi, seq..=seq + self.tries)?;
                (SocketAddrV4::new(host, 0), SocketAddrV4::new(server, 0))
            }
            Wire::L2tp { server } => {
                if seen.protocol != protocol::L2TP {
                    return Err(format!("{seen} is not L2TP"));
                }
                (SocketAddrV4::new(host, 0), SocketAddrV4::new(server, 0))
            }
        };
        if step.way != Way::Out {
            return arrived(heard, Side::Inside, Some(server), inside);
        }
        arrived(heard, Side::Outside, None, server)?;
        match step.wire {
            Wire::Udp { client, server } => {
                if (client, server.port()) == (IKE, IKE) {
                    world.sees_ike(inside, *server.ip(), seen.source)?;
                } else {
                    world.sees(protocol::UDP, inside, seen.source)?;
                }
                self.shown.retain(|(port, _)| *port != client);
                self.shown.push((client, seen.source));
            }
            Wire::Esp { .. } | Wire::L2tp { .. } => world.shows(inside, seen.source)?,
        }
        self.outside = Some(*seen.source.ip());
        Ok(())
    }

    fn tick(&mut self, world: &mut World) -> Judged {
        let Some(step) = self.script.steps.get(self.over) else { return Ok(()) };
        let Some(sent) = self.sent else {
            self.send(world);
            return Ok(());
        };
        let waited = world.now.saturating_sub(sent);
        if step.way == Way::KeptOut {
            if waited >= PAUSE {
                (self.over, self.sent) = (self.over + 1, None);
                self.send(world);
            }
        } else if waited >= AGAIN + JITTER * u32::from(self.script.client)
            && matches!(step.wire, Wire::Esp { .. })
            && self.is_contested(world)
        {
            if self.tries >= TRIES {
                return Err(Fault::Silence(format!("what {} said {TRIES} times: {}", self.script.host, self.awaits())));
            }
            self.again(world);
        }
        Ok(())
    }

    /// The question, if it is the answer that did not come; otherwise what did not arrive itself.
    fn again(&mut self, world: &mut World) {
        self.tries += 1;
        self.sent = Some(world.now);
        self.repeated = self.over + 1;
        world.retold += 1;
        self.say(self.question().unwrap_or(self.over), world);
    }

    /// The client's ESP packet that the step under way answers.
    fn question(&self) -> Option<usize> {
        let before = self.over.checked_sub(1)?;
        let [asked, answer] = self.script.steps.get(before..=self.over)? else { return None };
        let is_esp = matches!(asked.wire, Wire::Esp { .. });
        (is_esp && asked.way == Way::Out && answer.way == Way::In).then_some(before)
    }

    fn hear_again(&self, which: usize, heard: &Heard<'_>, world: &mut World) -> Judged {
        let (side, seen) = (heard.side, heard.seen);
        let meant = self.script.steps.get(which).is_some_and(|s| (s.way == Way::Out) == (side == Side::Outside));
        if !meant {
            return Err(format!("{} came out {side:?}", seen.path()).into());
        }
        if self.question() == Some(which) {
            self.say(self.over, world);
        }
        Ok(())
    }
}

fn is_esp(seen: &Seen, due: u32, numbers: std::ops::RangeInclusive<u32>) -> Result<(), String> {
    match seen.transport {
        Transport::Esp { spi, seq } if spi == due && numbers.contains(&seq) => Ok(()),
        _ => Err(format!("{seen} came; ESP of SPI {due:#010x} was due")),
    }
}
