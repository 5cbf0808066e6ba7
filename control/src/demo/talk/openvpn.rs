//! OpenVPN over UDP as a router sees it: hard resets, a few control packets, then data. It needs no more than a good NAT;
//! several clients use one server, each from a port of its own.

use super::tunnel::{Script, Tunnels, Way, Wire};
use crate::demo::world::World;
use std::net::SocketAddrV4;
use std::time::Duration;

const PORT: u16 = 1194;
/// Opcodes, in the upper five bits of the first byte.
const CONTROL: u8 = 4 << 3;
const HARD_RESET_CLIENT: u8 = 7 << 3;
const HARD_RESET_SERVER: u8 = 8 << 3;
const DATA: u8 = 9 << 3;

const CLIENTS: usize = 2;
const APART: Duration = Duration::from_millis(10);

/// Casts clients of one server.
pub(super) fn tunnels(id: u32, world: &mut World) -> Tunnels {
    let server = SocketAddrV4::new(world.chance.pick(&world.cast.servers), PORT);
    let hosts = world.neighbours(CLIENTS);
    let scripts = hosts.into_iter().enumerate().map(|(n, host)| {
        let host = world.endpoint(host);
        script(Script::new(id, n, *host.ip()), Wire::Udp { client: host.port(), server }, world)
    });
    Tunnels::new("OpenVPN", scripts.collect(), APART)
}

fn script(mut script: Script, wire: Wire, world: &mut World) -> Script {
    let sessions = [world.chance.next(), world.chance.next()];
    let control = |opcode: u8, way: Way| {
        let session = sessions[usize::from(way != Way::Out)].to_be_bytes();
        move |rest: Vec<u8>| [&[opcode][..], &session, &rest].concat()
    };
    script.say(Way::Out, wire, 45, control(HARD_RESET_CLIENT, Way::Out));
    script.say(Way::In, wire, 57, control(HARD_RESET_SERVER, Way::In));
    for _ in 0..2 {
        let lengths = [100 + world.chance.below(200), 200 + world.chance.below(1000)];
        script.say(Way::Out, wire, lengths[0], control(CONTROL, Way::Out));
        script.say(Way::In, wire, lengths[1], control(CONTROL, Way::In));
    }
    let peer = world.chance.below(1 << 24) as u32;
    let head = (u32::from(DATA) << 24 | peer).to_be_bytes();
    for number in 1..=3u32 {
        for way in [Way::Out, Way::In] {
            let length = 40 + world.chance.below(1300);
            script.say(way, wire, length, |rest| [&head[..], &number.to_be_bytes(), &rest].concat());
        }
    }
    script
}
