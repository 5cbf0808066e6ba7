//! PPTP [RFC 2637]: several inside hosts call one server at the same time and all choose the same Call ID. The server must
//! see different ones behind one outside address, each client must get the GRE of its own call, and none once the call
//! is over. Messages on the control connection are cut anywhere and joined at times, as TCP may do with them.
//!
//! Both ends compare each message with what was sent, but for the client's Call ID: the server learns what it shows as
//! from the request, and from then on it must always be that one outside and the client's own inside.

use super::stream::End;
use super::{Fault, Heard, Judged, Talk, arrived, marked, tcp};
use crate::demo::chance;
use crate::demo::world::World;
use dataplane::types::Side;
use std::net::SocketAddrV4;
use std::time::Duration;
use testkit::{Frame, Transport, pptp, protocol};

const PORT: u16 = 1723;
const CLIENTS: usize = 3;
/// Bits of a client's share of the sequence numbers of a conversation.
const SHARE_BITS: u32 = tcp::SPACE_BITS - 2;
/// Part numbers of a client.
const STEPS: u16 = 1 << 8;
/// How long GRE gets to arrive after the end of its call.
const PAUSE: Duration = Duration::from_millis(120);
/// Clients start so far apart.
const APART: Duration = Duration::from_millis(7);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    StartRequest,
    StartReply,
    CallRequest,
    CallReply,
    /// The server's, as some send it.
    LinkInfoIn,
    LinkInfoOut,
    EchoRequest,
    EchoReply,
    GreOut(u32),
    GreIn(u32),
    ClearRequest,
    DisconnectNotify,
    /// GRE when the call is over: kept out.
    GreLate,
    Closing,
}

/// What happens, in this order. Each waits for the one before it, or is said together with it.
const STEPS_OF_A_CALL: &[(Step, bool)] = &[
    (Step::StartRequest, false),
    (Step::StartReply, false),
    (Step::CallRequest, false),
    (Step::CallReply, false),
    (Step::LinkInfoIn, true),
    (Step::LinkInfoOut, false),
    (Step::GreOut(0), false),
    (Step::GreIn(0), false),
    (Step::GreOut(1), false),
    (Step::GreIn(1), false),
    (Step::LinkInfoOut, false),
    (Step::EchoRequest, true),
    (Step::EchoReply, false),
    (Step::GreIn(2), false),
    (Step::GreOut(2), false),
    (Step::ClearRequest, false),
    (Step::DisconnectNotify, false),
    (Step::GreLate, false),
    (Step::Closing, false),
];

impl Step {
    fn is_outward(self) -> bool {
        match self {
            Self::StartRequest
            | Self::CallRequest
            | Self::LinkInfoOut
            | Self::EchoRequest
            | Self::GreOut(_)
            | Self::ClearRequest
            | Self::Closing => true,
            Self::StartReply
            | Self::CallReply
            | Self::LinkInfoIn
            | Self::EchoReply
            | Self::GreIn(_)
            | Self::DisconnectNotify
            | Self::GreLate => false,
        }
    }

    /// The control message, the client's Call ID being `ours`, the server's `theirs`.
    fn message(self, ours: u16, theirs: u16) -> Option<Vec<u8>> {
        Some(match self {
            Self::StartRequest => pptp::start_request(),
            Self::StartReply => pptp::start_reply(1),
            Self::CallRequest => pptp::outgoing_call_request(ours),
            Self::CallReply => pptp::outgoing_call_reply(theirs, ours, 1),
            Self::LinkInfoIn => pptp::set_link_info(ours),
            Self::LinkInfoOut => pptp::set_link_info(theirs),
            Self::EchoRequest => pptp::echo_request(0x5050_5450),
            Self::EchoReply => pptp::echo_reply(0x5050_5450, 1),
            Self::ClearRequest => pptp::call_clear_request(ours),
            Self::DisconnectNotify => pptp::call_disconnect_notify(theirs, 4),
            Self::GreOut(_) | Self::GreIn(_) | Self::GreLate | Self::Closing => return None,
        })
    }
}

struct Client {
    id: u32,
    number: u16,
    starts: Duration,
    server: SocketAddrV4,
    /// The client's end of the control connection, and the server's.
    ends: [End; 2],
    /// What each end has read of what it got.
    read: [usize; 2],
    /// Call IDs: the client's, what it shows as, the server's.
    ours: u16,
    shown: Option<u16>,
    theirs: u16,
    over: usize,
    /// Steps that were begun.
    begun: usize,
    paused: Option<Duration>,
}

/// See the module.
pub(super) struct Calls {
    clients: Vec<Client>,
    begun: Duration,
}

impl Calls {
    pub(super) fn new(id: u32, world: &mut World) -> Self {
        let server = SocketAddrV4::new(world.chance.pick(&world.cast.servers), PORT);
        let ours = world.number();
        let hosts = world.neighbours(CLIENTS);
        let clients = hosts.into_iter().zip(0..).map(|(host, number)| {
            let host = world.endpoint(host);
            let share = u32::from(number) << SHARE_BITS;
            let [mine, its] = [true, false].map(|client| tcp::first_seq(id, client) + share);
            let mut caller = End::new(Side::Inside, host, mine, its);
            caller.remote = Some(server);
            let ends = [caller, End::new(Side::Outside, server, its, mine)];
            let (shown, theirs) = (None, world.number());
            let starts = APART * u32::from(number);
            Client {
                id,
                number,
                starts,
                server,
                ends,
                read: [0; 2],
                ours,
                shown,
                theirs,
                over: 0,
                begun: 0,
                paused: None,
            }
        });
        Self { clients: clients.collect(), begun: Duration::ZERO }
    }
}

impl Talk for Calls {
    fn start(&mut self, world: &mut World) {
        self.begun = world.now;
        self.clients.iter_mut().filter(|c| c.starts.is_zero()).for_each(|c| c.go_on(world));
    }

    fn hear(&mut self, heard: &Heard<'_>, world: &mut World) -> Judged {
        let seen = heard.seen;
        let number = match &seen.transport {
            Transport::Tcp(tcp) => tcp.seq >> SHARE_BITS & 3,
            _ => marked(seen).map_or(u32::MAX, |(_, part)| u32::from(part / STEPS)),
        };
        let Some(client) = self.clients.get_mut(number as usize) else {
            return Err(format!("{} is of no client here", seen.path()).into());
        };
        match &seen.transport {
            Transport::Tcp(_) => client.hear_control(heard, world),
            _ => client.hear_gre(heard, world),
        }
    }

    fn tick(&mut self, world: &mut World) -> Judged {
        let since = world.now.saturating_sub(self.begun);
        self.clients.iter_mut().filter(|c| c.starts <= since).try_for_each(|c| c.tick(world))
    }

    fn is_done(&self) -> bool {
        self.clients.iter().all(Client::is_done)
    }

    fn awaits(&self) -> String {
        self.clients.iter().find(|c| !c.is_done()).map_or_else(|| "nothing".to_owned(), Client::awaits)
    }
}

impl Client {
    fn is_done(&self) -> bool {
        self.over == STEPS_OF_A_CALL.len() && self.ends.iter().all(End::is_done)
    }

    fn awaits(&self) -> String {
        let step = self.step().map_or("the end".to_owned(), |step| format!("{step:?}"));
        format!("PPTP of {} and {}, call {} ({:?}): {step}", self.ends[0].local, self.server, self.ours, self.shown)
    }

    fn step(&self) -> Option<Step> {
        STEPS_OF_A_CALL.get(self.over).map(|(step, _)| *step)
    }

    /// Begins what is due, with all that is said together with it.
    fn go_on(&mut self, world: &mut World) {
        let Some(step) = self.step().filter(|_| self.begun == self.over) else { return };
        let mut said = Vec::new();
        while let Some(&(next, joined)) = STEPS_OF_A_CALL.get(self.begun) {
            if self.begun > self.over && !joined {
                break;
            }
            let ours = if next.is_outward() { self.ours } else { self.shown.unwrap_or(0) };
            said.extend(next.message(ours, self.theirs).unwrap_or_default());
            self.begun += 1;
        }
        let from = usize::from(!step.is_outward());
        match step {
            Step::GreOut(_) | Step::GreIn(_) | Step::GreLate => self.say_gre(step, world),
            Step::Closing => {
                self.ends[0].close();
                self.over += 1;
            }
            _ => {
                let mut cuts: Vec<_> =
                    (0..world.chance.below(4)).map(|_| 1 + world.chance.below(said.len() - 1)).collect();
                cuts.sort_unstable();
                self.ends[from].write(&said, &cuts);
            }
        }
        self.paused = (step == Step::GreLate).then_some(world.now);
        self.ends[from].pump(world);
    }

    fn gre_payload(&self, over: usize) -> Vec<u8> {
        let length = 20 + (over * 97 + usize::from(self.ours)) % 1200;
        chance::payload(self.id, self.number * STEPS + over as u16, length)
    }

    fn say_gre(&self, step: Step, world: &mut World) {
        let outside = self.ends[1].remote.map_or(self.server, |shown| SocketAddrV4::new(*shown.ip(), 0));
        let (host, server) = (SocketAddrV4::new(*self.ends[0].local.ip(), 0), SocketAddrV4::new(*self.server.ip(), 0));
        let (side, from, to, call) = if step.is_outward() {
            (Side::Inside, host, server, self.theirs)
        } else {
            (Side::Outside, server, outside, self.shown.unwrap_or(0))
        };
        let (seq, ack) = gre_numbers(step);
        let mut frame = Frame::gre(from, to, call).gre_seq(seq).payload(self.gre_payload(self.over));
        if let Some(ack) = ack {
            frame = frame.gre_ack(ack);
        }
        world.send(side, from, to, frame);
    }

    fn hear_gre(&mut self, heard: &Heard<'_>, world: &mut World) -> Judged {
        let seen = heard.seen;
        let Some(step @ (Step::GreOut(_) | Step::GreIn(_))) = self.step() else {
            return Err(format!("{seen} came, to call {} of {}; it was not due", self.ours, self.ends[0].local).into());
        };
        let host = SocketAddrV4::new(*self.ends[0].local.ip(), 0);
        let server = SocketAddrV4::new(*self.server.ip(), 0);
        let call = if step.is_outward() {
            arrived(heard, Side::Outside, None, server)?;
            world.shows(host, seen.source)?;
            self.theirs
        } else {
            arrived(heard, Side::Inside, Some(server), host)?;
            self.ours
        };
        let Transport::Gre(gre) = &seen.transport else { return Err(format!("{seen} is not GRE").into()) };
        if (gre.call_id, (gre.seq, gre.ack)) != (call, (Some(gre_numbers(step).0), gre_numbers(step).1)) {
            return Err(format!("{seen} came; {step:?} of call {call} was due").into());
        }
        if seen.payload != self.gre_payload(self.over) {
            return Err(format!("{seen} carries other bytes than were sent").into());
        }
        self.over += 1;
        self.go_on(world);
        Ok(())
    }

    fn hear_control(&mut self, heard: &Heard<'_>, world: &mut World) -> Judged {
        let seen = heard.seen;
        let Transport::Tcp(tcp) = &seen.transport else { return Ok(()) };
        let to = usize::from(tcp::is_from_client(tcp.seq));
        self.ends[to].hear(heard, tcp, world.now)?;
        if to == 1 {
            world.sees(protocol::TCP, self.ends[0].local, seen.source)?;
        }
        self.read(to, world)?;
        if to == 1 && self.ends[1].closed {
            self.ends[1].close();
        }
        self.ends[to].pump(world);
        self.ends[to].acknowledge(world);
        Ok(())
    }

    /// Whole messages that one end has.
    fn read(&mut self, to: usize, world: &mut World) -> Result<(), String> {
        while let Some(step) = self.step().filter(|s| s.is_outward() == (to == 1) && self.over < self.begun) {
            let unread = self.ends[to].got.get(self.read[to]..).unwrap_or_default();
            let Some(length) = step.message(0, 0).map(|m| m.len()).filter(|&length| length <= unread.len()) else {
                break;
            };
            let message = unread[..length].to_vec();
            if (step, to) == (Step::CallRequest, 1) {
                let shown = u16::from_be_bytes([message[12], message[13]]);
                self.shown = Some(shown);
                if let Some(outside) = self.ends[1].remote {
                    world.claim_call((*outside.ip(), *self.server.ip(), shown), (self.id, self.number))?;
                }
            }
            let ours = if to == 1 { self.shown.unwrap_or(0) } else { self.ours };
            if step.message(ours, self.theirs) != Some(message) {
                let unread = &self.ends[to].got[self.read[to]..][..length];
                return Err(format!("{step:?} of call {ours} arrived as {unread:02x?}"));
            }
            self.read[to] += length;
            self.over += 1;
            self.go_on(world);
        }
        let unread = self.ends[to].got.len() - self.read[to];
        let is_due = |s: &Step| s.is_outward() == (to == 1) && s.message(0, 0).is_some() && self.over < self.begun;
        if unread > 0 && !self.step().as_ref().is_some_and(is_due) {
            return Err(format!("{unread} bytes came to {} and were not due", self.ends[to].local));
        }
        Ok(())
    }

    fn tick(&mut self, world: &mut World) -> Judged {
        if self.begun == 0 {
            self.go_on(world);
        }
        for which in 0..2 {
            if self.ends[which].tick(world).map_err(Fault::Silence)? {
                self.ends.iter_mut().for_each(End::may_repeat);
            }
        }
        if self.paused.is_some_and(|since| world.now.saturating_sub(since) >= PAUSE) {
            self.paused = None;
            self.over += 1;
            if let (Some(outside), Some(shown)) = (self.ends[1].remote, self.shown) {
                world.release_call((*outside.ip(), *self.server.ip(), shown));
            }
            self.go_on(world);
        }
        Ok(())
    }
}

/// Sequence number, and what it acknowledges: some packets acknowledge what came before, some nothing.
fn gre_numbers(step: Step) -> (u32, Option<u32>) {
    match step {
        Step::GreOut(seq) => (seq, seq.checked_sub(1)),
        Step::GreIn(seq) => (seq, (seq < 2).then_some(seq)),
        _ => (99, None),
    }
}
