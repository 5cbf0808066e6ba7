//! ARP as real stations speak it: they answer the router's questions, and ask for the router's addresses.

use super::cast::mac;
use super::world::World;
use dataplane::types::Side;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;
use testkit::{Arp, Frame, Seen};

/// A question is asked again after so long, and so many times.
const PATIENCE: Duration = Duration::from_millis(500);
const TRIES: u32 = 8;

type Question = (Side, Ipv4Addr, Ipv4Addr);

/// Open questions.
#[derive(Default)]
pub(super) struct Stations {
    open: HashMap<Question, (Duration, u32)>,
    /// Questions asked, answered right, and given up or answered wrong.
    pub(super) asked: u64,
    pub(super) answered: u64,
    pub(super) failed: u64,
}

impl Stations {
    /// Everybody asks for every address of the router that it will need.
    pub(super) fn ask_all(&mut self, world: &mut World) {
        for side in [Side::Inside, Side::Outside] {
            for station in world.cast.stations(side) {
                for target in world.cast.router_addresses(side) {
                    self.ask(side, station, target, world);
                }
            }
        }
    }

    /// Somebody asks again, as caches expire.
    pub(super) fn ask_one(&mut self, world: &mut World) {
        let side = world.chance.pick(&[Side::Inside, Side::Outside]);
        let (stations, targets) = (world.cast.stations(side), world.cast.router_addresses(side));
        let (station, target) = (world.chance.pick(&stations), world.chance.pick(&targets));
        self.ask(side, station, target, world);
    }

    fn ask(&mut self, side: Side, station: Ipv4Addr, target: Ipv4Addr, world: &mut World) {
        if self.open.insert((side, station, target), (world.now, 1)).is_none() {
            self.asked += 1;
            world.out.push((side, Frame::arp_request(mac(side, station), station, target).build()));
        }
    }

    /// Whether nothing is open.
    pub(super) fn is_quiet(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn hear(&mut self, side: Side, seen: &Seen, arp: &Arp, world: &mut World) -> Result<(), String> {
        let (from, to) = (*seen.source.ip(), *seen.destination.ip());
        if !world.cast.router_addresses(side).contains(&from) {
            return Err(format!("an ARP message from {from}, which is not the router's on that side"));
        }
        if seen.source_mac != arp.sender_mac || arp.sender_mac[0] & 1 != 0 {
            return Err(format!("an ARP message in which {from} is at {:02x?}", arp.sender_mac));
        }
        // The router has one Ethernet address a port, whatever IP address is asked for.
        if let Some((_, known)) = world.router.iter().find(|((s, _), known)| *s == side && **known != arp.sender_mac) {
            return Err(format!("{from} is at {:02x?}, and the router at {known:02x?}", arp.sender_mac));
        }
        if arp.operation == 1 {
            if world.cast.stations(side).contains(&to) {
                let reply = Frame::arp_reply(mac(side, to), to, arp.sender_mac, from);
                world.out.push((side, reply.build()));
            }
            return Ok(());
        }
        if self.open.remove(&(side, to, from)).is_none() {
            return Err(format!("an ARP reply to {to}, who did not ask for {from}"));
        }
        if arp.target_mac != mac(side, to) || seen.destination_mac != mac(side, to) {
            self.failed += 1;
            return Err(format!("the ARP reply to {to} went to {:02x?}", seen.destination_mac));
        }
        world.router.insert((side, from), arp.sender_mac);
        self.answered += 1;
        Ok(())
    }

    /// Asks again what was not answered. What has been asked too often is told.
    pub(super) fn tick(&mut self, world: &mut World) -> Vec<String> {
        let now = world.now;
        let mut given_up = Vec::new();
        self.open.retain(|&(side, station, target), (asked, tries)| {
            if now.saturating_sub(*asked) < PATIENCE {
                return true;
            }
            if *tries >= TRIES {
                given_up.push(format!("{target} does not answer {station}'s ARP"));
                return false;
            }
            (*asked, *tries) = (now, *tries + 1);
            world.out.push((side, Frame::arp_request(mac(side, station), station, target).build()));
            true
        });
        self.failed += given_up.len() as u64;
        given_up
    }
}
