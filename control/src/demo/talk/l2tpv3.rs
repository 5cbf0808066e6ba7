//! L2TPv3 over IP [RFC 3931 §4.1.1]: control messages under session ID 0, told apart by control connection ID, then data
//! by the receiver's session ID. Both are only in the payload, and there are no ports: several clients to one server.

use super::avp::{self, Avp};
use super::tunnel::{Script, Tunnels, Way, Wire};
use crate::demo::world::World;
use std::net::Ipv4Addr;
use std::time::Duration;

const CLIENTS: usize = 2;
const APART: Duration = Duration::from_millis(10);

/// Casts clients of one server.
pub(super) fn tunnels(id: u32, world: &mut World) -> Tunnels {
    let server = world.chance.pick(&world.cast.servers);
    let scripts = world.neighbours(CLIENTS).into_iter().enumerate().map(|(n, host)| {
        let ids = [(); 4].map(|()| (world.chance.next() as u32).max(1));
        let client = Client { script: Script::new(id, n, host), server, ids, said: [0; 2] };
        client.tell(world)
    });
    Tunnels::new("L2TPv3", scripts.collect(), APART)
}

struct Client {
    script: Script,
    server: Ipv4Addr,
    /// Control connection and session ID of the client, then of the server.
    ids: [u32; 4],
    /// Control messages that each has sent.
    said: [u16; 2],
}

impl Client {
    fn tell(mut self, world: &mut World) -> Script {
        use avp::message::{ICCN, ICRP, ICRQ, SCCCN, SCCRP, SCCRQ};
        let [mine, session, theirs, their_session] = self.ids;
        self.control(Way::Out, SCCRQ, 0, &[Avp::assigned_connection(mine)]);
        self.control(Way::In, SCCRP, mine, &[Avp::assigned_connection(theirs)]);
        self.control(Way::Out, SCCCN, theirs, &[]);
        let sessions = |local, remote| [Avp::local_session(local), Avp::remote_session(remote)];
        self.control(Way::Out, ICRQ, theirs, &sessions(session, 0));
        self.control(Way::In, ICRP, mine, &sessions(their_session, session));
        self.control(Way::Out, ICCN, theirs, &sessions(session, their_session));
        let wire = Wire::L2tp { server: self.server };
        for _ in 0..3 {
            for (way, id) in [(Way::In, session), (Way::Out, their_session)] {
                let length = 20 + world.chance.below(1300);
                self.script.say(way, wire, length, |data| [&id.to_be_bytes()[..], &data].concat());
            }
        }
        self.script
    }

    fn control(&mut self, way: Way, kind: u16, connection: u32, avps: &[Avp]) {
        let me = usize::from(way != Way::Out);
        let order = [self.said[me], self.said[1 - me]];
        self.said[me] += 1;
        let wire = Wire::L2tp { server: self.server };
        self.script.say(way, wire, 24, |mark| {
            let avps = [&[Avp::private(&mark)], avps].concat();
            [&[0; 4][..], &avp::control_v3(connection, order, kind, &avps)].concat()
        });
    }
}
