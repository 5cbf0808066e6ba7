//! WireGuard as a router sees it: a handshake of 148 and 92 bytes, then data. Once the server moves to another address:
//! what it sends from there is a stranger's until the client, which has looked it up again, speaks to it there.

use super::tunnel::{Script, Tunnels, Way, Wire};
use crate::demo::world::World;
use std::net::SocketAddrV4;
use std::time::Duration;

const PORT: u16 = 51_820;
/// Message types.
const INITIATION: u32 = 1;
const RESPONSE: u32 = 2;
const DATA: u32 = 4;
/// Whole messages.
const INITIATION_LENGTH: usize = 148;
const RESPONSE_LENGTH: usize = 92;

const CLIENTS: usize = 2;
const APART: Duration = Duration::from_millis(10);

/// Casts clients of one server.
pub(super) fn tunnels(id: u32, world: &mut World) -> Tunnels {
    let first = world.chance.pick(&world.cast.servers);
    let others: Vec<_> = world.cast.servers.iter().copied().filter(|&s| s != first).collect();
    let servers = [first, world.chance.pick(&others)].map(|server| SocketAddrV4::new(server, PORT));
    let hosts = world.neighbours(CLIENTS);
    let scripts = hosts.into_iter().enumerate().map(|(n, host)| {
        let host = world.endpoint(host);
        let wires = servers.map(|server| Wire::Udp { client: host.port(), server });
        script(Script::new(id, n, *host.ip()), wires, world)
    });
    Tunnels::new("WireGuard", scripts.collect(), APART)
}

/// Two handshakes with data after them, the second at the server's new address.
fn script(mut script: Script, [before, after]: [Wire; 2], world: &mut World) -> Script {
    handshake(&mut script, before, world);
    data(&mut script, Way::KeptOut, after, 9, world);
    handshake(&mut script, after, world);
    script
}

fn handshake(script: &mut Script, wire: Wire, world: &mut World) {
    let [sender, receiver] = [world.chance.next() as u32, world.chance.next() as u32];
    let head = |fields: &[u32]| -> Vec<u8> { fields.iter().flat_map(|field| field.to_le_bytes()).collect() };
    let start = head(&[INITIATION, sender]);
    script.say(Way::Out, wire, INITIATION_LENGTH - start.len(), |rest| [start, rest].concat());
    let answer = head(&[RESPONSE, receiver, sender]);
    script.say(Way::In, wire, RESPONSE_LENGTH - answer.len(), |rest| [answer, rest].concat());
    for counter in 0..2 {
        data(script, Way::Out, wire, counter, world);
        data(script, Way::In, wire, counter, world);
    }
}

/// Contents are padded to 16 bytes, and authenticated with 16.
fn data(script: &mut Script, way: Way, wire: Wire, counter: u64, world: &mut World) {
    let receiver = world.chance.next() as u32;
    let length = 16 * (2 + world.chance.below(80));
    let head = [&DATA.to_le_bytes()[..], &receiver.to_le_bytes(), &counter.to_le_bytes()].concat();
    script.say(way, wire, length, |rest| [head, rest].concat());
}
