//! L2TPv2 [RFC 2661] over UDP: control connection, call, data. All clients send from port 1701 and choose the same tunnel
//! ID, so that only their outside ports tell them apart. A server may answer from another port than it was asked at
//! (§8.1), and is spoken to there from then on.

use super::avp::{self, Avp};
use super::tunnel::{Script, Tunnels, Way, Wire};
use crate::demo::world::World;
use std::net::SocketAddrV4;
use std::time::Duration;

const PORT: u16 = 1701;
const CLIENTS: usize = 2;
const APART: Duration = Duration::from_millis(10);

/// Casts clients of one server, which in half of the conversations answers from another port.
pub(super) fn tunnels(id: u32, world: &mut World) -> Tunnels {
    let asked = SocketAddrV4::new(world.chance.pick(&world.cast.servers), PORT);
    let answers = if world.chance.below(2) == 0 { asked } else { world.endpoint(*asked.ip()) };
    let (tunnel, session) = (world.number(), world.number());
    let scripts = world.neighbours(CLIENTS).into_iter().enumerate().map(|(n, host)| {
        let theirs = [world.number(), world.number()];
        let talk = Client { script: Script::new(id, n, host), ids: [[tunnel, session], theirs], said: [0; 2] };
        talk.tell([asked, answers], world)
    });
    Tunnels::new("L2TP", scripts.collect(), APART)
}

struct Client {
    script: Script,
    /// Tunnel and session ID of the client and of the server.
    ids: [[u16; 2]; 2],
    /// Control messages that each has sent.
    said: [u16; 2],
}

impl Client {
    fn tell(mut self, [asked, answers]: [SocketAddrV4; 2], world: &mut World) -> Script {
        use avp::message::{ICCN, ICRP, ICRQ, SCCCN, SCCRP, SCCRQ, STOPCCN};
        let [[tunnel, session], [their_tunnel, their_session]] = self.ids;
        let wire = |server| Wire::Udp { client: PORT, server };
        let (first, then) = (wire(asked), wire(answers));
        self.control(Way::Out, first, SCCRQ, [0, 0], &[Avp::assigned_tunnel(tunnel)]);
        self.control(Way::In, then, SCCRP, [tunnel, 0], &[Avp::assigned_tunnel(their_tunnel)]);
        self.control(Way::Out, then, SCCCN, [their_tunnel, 0], &[]);
        // The call of a LAC: the client's.
        self.control(Way::Out, then, ICRQ, [their_tunnel, 0], &[Avp::assigned_session(session)]);
        self.control(Way::In, then, ICRP, [tunnel, session], &[Avp::assigned_session(their_session)]);
        self.control(Way::Out, then, ICCN, [their_tunnel, their_session], &[]);
        for _ in 0..3 {
            for (way, ids) in [(Way::In, [tunnel, session]), (Way::Out, [their_tunnel, their_session])] {
                let length = 20 + world.chance.below(1300);
                self.script.say(way, then, length, |ppp| avp::data(ids, &ppp));
            }
        }
        self.control(Way::Out, then, STOPCCN, [their_tunnel, 0], &[Avp::assigned_tunnel(tunnel)]);
        self.script
    }

    fn control(&mut self, way: Way, wire: Wire, kind: u16, ids: [u16; 2], avps: &[Avp]) {
        let me = usize::from(way != Way::Out);
        let order = [self.said[me], self.said[1 - me]];
        self.said[me] += 1;
        self.script.say(way, wire, 24, |mark| {
            let avps = [&[Avp::private(&mark)], avps].concat();
            avp::control(ids, order, kind, &avps)
        });
    }
}
