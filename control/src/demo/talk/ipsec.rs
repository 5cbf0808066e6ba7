//! IKEv2 without NAT traversal, and ESP of its own: first exchanges, tunnel, rekey, tunnel, delete. The SPIs of the two
//! directions have nothing to do with each other, and no packet may be lost when they change.
//!
//! Clients of one gateway set up and rekey in the same moment, or one after the other, as chance has it; nobody waits for
//! anybody. In the gateway's SPI nothing tells the router whose it is [RFC 3715 §2.1 f]. Where others waited too, a packet
//! may come to the wrong client, which drops it, and the tunnel must come up in the end ([`crate::demo::rivals`]).

use super::tunnel::{IKE, Script, Tunnels, Way, Wire};
use crate::demo::world::World;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// Exchange types.
const SA_INIT: u8 = 34;
const AUTH: u8 = 35;
const CREATE_CHILD_SA: u8 = 36;
const INFORMATIONAL: u8 = 37;
/// Flags.
const INITIATOR: u8 = 0x08;
const RESPONSE: u8 = 0x20;
/// Next payload: SA, and encrypted.
const SA: u8 = 33;
const ENCRYPTED: u8 = 46;

const CLIENTS: usize = 3;
const APART: Duration = Duration::from_millis(40);
/// In one conversation of so many all begin in the same moment.
const AT_ONCE: usize = 2;

/// Casts clients of one gateway.
pub(super) fn tunnels(id: u32, world: &mut World) -> Tunnels {
    let gateway = world.chance.pick(&world.cast.servers);
    let hosts = world.neighbours(CLIENTS);
    let scripts = hosts.into_iter().enumerate().map(|(n, host)| {
        let mut client = Client::new(Script::new(id, n, host), gateway, world);
        client.tell(world);
        client.script
    });
    let scripts = scripts.collect();
    let apart = if world.chance.below(AT_ONCE) == 0 { Duration::ZERO } else { APART };
    Tunnels::new("IPsec", scripts, apart)
}

struct Client {
    script: Script,
    gateway: Ipv4Addr,
    /// SPIs of the IKE SA, the initiator's first.
    ike: [u64; 2],
    /// SPIs of ESP, outward and inward, and packets sent with each.
    esp: [(u32, u32); 2],
}

/// Numbers below are reserved [RFC 4303 §2.1].
fn spi(world: &mut World) -> u32 {
    (world.chance.next() as u32).max(256)
}

impl Client {
    fn new(script: Script, gateway: Ipv4Addr, world: &mut World) -> Self {
        let ike = [world.chance.next().max(1), world.chance.next().max(1)];
        Self { script, gateway, ike, esp: [(spi(world), 0), (spi(world), 0)] }
    }

    fn tell(&mut self, world: &mut World) {
        let length = 150 + world.chance.below(250);
        self.ike(Way::Out, SA_INIT, INITIATOR, 0, length);
        self.ike(Way::In, SA_INIT, RESPONSE, 0, length);
        self.ike(Way::Out, AUTH, INITIATOR, 1, length);
        self.script.opens();
        self.ike(Way::In, AUTH, RESPONSE, 1, length);
        self.esp(Way::Out, world);
        self.esp(Way::In, world);
        self.script.settles();
        self.esp(Way::Out, world);
        self.esp(Way::In, world);
        // Either end may want new keys, and either may be the first to use them.
        if world.chance.below(2) == 0 {
            self.ike(Way::Out, CREATE_CHILD_SA, INITIATOR, 2, length);
            self.script.opens();
            self.ike(Way::In, CREATE_CHILD_SA, RESPONSE, 2, length);
        } else {
            self.ike(Way::In, CREATE_CHILD_SA, 0, 0, length);
            self.script.opens();
            self.ike(Way::Out, CREATE_CHILD_SA, INITIATOR | RESPONSE, 0, length);
        }
        let old = std::mem::replace(&mut self.esp, [(spi(world), 0), (spi(world), 0)]);
        if world.chance.below(2) == 0 {
            self.esp(Way::Out, world);
        }
        self.esp(Way::In, world);
        self.script.settles();
        // What was under way with the old ones.
        let new = std::mem::replace(&mut self.esp, old);
        self.esp(Way::In, world);
        self.esp(Way::Out, world);
        self.esp = new;
        for _ in 0..2 {
            self.esp(Way::Out, world);
            self.esp(Way::In, world);
        }
        self.ike(Way::Out, INFORMATIONAL, INITIATOR, 3, 60);
        self.ike(Way::In, INFORMATIONAL, RESPONSE, 3, 60);
    }

    fn ike(&mut self, way: Way, exchange: u8, flags: u8, message: u32, length: usize) {
        let [initiator, mut responder] = self.ike;
        if exchange == SA_INIT && way == Way::Out {
            responder = 0;
        }
        let next = if exchange == SA_INIT { SA } else { ENCRYPTED };
        let wire = Wire::Udp { client: IKE, server: SocketAddrV4::new(self.gateway, IKE) };
        self.script.say(way, wire, length, |body| {
            let length = (28 + body.len()) as u32;
            let kind = [next, 0x20, exchange, flags];
            [
                &initiator.to_be_bytes()[..],
                &responder.to_be_bytes(),
                &kind,
                &message.to_be_bytes(),
                &length.to_be_bytes(),
                &body,
            ]
            .concat()
        });
    }

    fn esp(&mut self, way: Way, world: &mut World) {
        let length = 40 + 4 * world.chance.below(300);
        let (spi, seq) = &mut self.esp[usize::from(way != Way::Out)];
        // Room for what may have to be said again.
        *seq += 10;
        let wire = Wire::Esp { server: self.gateway, spi: *spi, seq: *seq };
        self.script.say(way, wire, length, |packet| packet);
    }
}
