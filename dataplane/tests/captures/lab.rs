//! The box between the clients of a capture and all others. Inside hosts live in 100.64.7.0/24, where no capture has an
//! address; whatever is outside is reached by a gateway.

use dataplane::io::memory::Memory;
use dataplane::policy::{Net, Policy, Port, Rules, Sizes, StaticNeighbour};
use dataplane::types::{Mac, PortId, Side, Tick, WorkerId};
use dataplane::verdict::{Account, Counters, DropReason};
use dataplane::worker::Worker;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

pub(crate) const INSIDE: PortId = PortId(0);
pub(crate) const OUTSIDE: PortId = PortId(1);
/// The box, outside.
pub(crate) const POOL: [u8; 4] = [203, 0, 113, 2];
const GATEWAY: [u8; 4] = [203, 0, 113, 1];
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 2, 1]];
const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 2, 0xee];

/// The address that the n-th client has behind the box.
pub(crate) const fn lan(client: u8) -> [u8; 4] {
    [100, 64, 7, 10 + client]
}

/// Its Ethernet address.
pub(crate) const fn lan_mac(client: u8) -> [u8; 6] {
    [2, 0, 0, 1, 7, 10 + client]
}

fn policy(clients: u8) -> Policy {
    let port = |side, mac, [a, b, c, d]: [u8; 4], gateway: Option<[u8; 4]>| {
        let address = Ipv4Addr::new(a, b, c, d);
        let addresses = vec![(address, Net::of(address, 24))];
        Port { side, mac: Mac(mac), vlan: None, mtu: 1500, addresses, gateway: gateway.map(Ipv4Addr::from) }
    };
    let neighbour = |port, addr: [u8; 4], mac| StaticNeighbour { port, addr: addr.into(), mac: Mac(mac) };
    let mut neighbours: Vec<_> = (0..clients).map(|n| neighbour(INSIDE, lan(n), lan_mac(n))).collect();
    neighbours.push(neighbour(OUTSIDE, GATEWAY, GATEWAY_MAC));
    Policy {
        ports: vec![
            port(Side::Inside, MACS[0], [100, 64, 7, 1], None),
            port(Side::Outside, MACS[1], POOL, Some(GATEWAY)),
        ],
        neighbours,
        pool: vec![POOL.into()..=POOL.into()],
        sizes: Sizes { sessions: 4096, mappings: 4096, subscribers: 64, neighbours: 64 },
        seed: 0x5eed,
        ..Policy::default()
    }
}

/// What one step brought: frames sent inside and outside, and what was dropped.
pub(crate) struct Step {
    pub(crate) sent: [Vec<Vec<u8>>; 2],
    pub(crate) drops: BTreeMap<DropReason, u64>,
}

/// See the module.
pub(crate) struct Lab {
    workers: Vec<Worker<Memory>>,
    counters: Vec<Arc<Counters>>,
    now: Tick,
    turn: usize,
}

impl Lab {
    pub(crate) fn new(workers: u8, clients: u8, change: impl FnOnce(&mut Policy)) -> Self {
        let mut policy = policy(clients);
        change(&mut policy);
        let rules = Arc::new(Rules::new(policy, workers));
        // Soon the clock wraps.
        let now = Tick(u32::MAX - 500);
        let counters: Vec<_> = (0..workers).map(|_| Arc::new(Counters::default())).collect();
        let workers = (0u8..).zip(Memory::joined(workers, 2, 1024)).zip(&counters);
        let workers = workers.map(|((n, io), c)| Worker::new(io, WorkerId(n), Arc::clone(&rules), Arc::clone(c), now));
        Self { workers: workers.collect(), counters, now, turn: 0 }
    }

    /// Packets arrive at a port, at one worker after the other, and all is worked off.
    pub(crate) fn put(&mut self, port: PortId, source_mac: Option<[u8; 6]>, packets: &[Vec<u8>]) -> Step {
        let link = [MACS[port.index()], source_mac.unwrap_or(GATEWAY_MAC)].concat();
        let frames: Vec<_> = packets.iter().map(|p| [&link[..], &[8, 0], p].concat()).collect();
        self.put_frames(port, &frames)
    }

    /// Frames arrive as they are, but for the Ethernet destination.
    pub(crate) fn put_frames(&mut self, port: PortId, frames: &[Vec<u8>]) -> Step {
        let before = self.drops();
        for frame in frames {
            let mut frame = frame.clone();
            if let Some(mac) = frame.get_mut(..6) {
                mac.copy_from_slice(&MACS[port.index()]);
            }
            self.turn = (self.turn + 1) % self.workers.len();
            self.workers[self.turn].io().arrive(port, &frame);
        }
        // A whole capture takes seconds, so that no tunnel's time-out is met; captured times jump by years.
        self.now = self.now.after(10);
        while self.workers.iter_mut().map(|w| w.poll(self.now)).sum::<usize>() > 0
            || self.workers.iter_mut().any(|w| w.io().has_work())
        {}
        let mut drops = self.drops();
        for (reason, n) in before {
            drops.entry(reason).and_modify(|now| *now -= n);
        }
        drops.retain(|_, n| *n > 0);
        let sent = [INSIDE, OUTSIDE].map(|port| self.workers.iter_mut().flat_map(|w| w.io().take_sent(port)).collect());
        for (frames, mac) in sent.iter().zip(MACS) {
            let frames: &Vec<Vec<u8>> = frames;
            assert!(frames.iter().all(|f| f[6..12] == mac), "sent under another's name");
        }
        assert!(sent[1].iter().all(|f| f[..6] == GATEWAY_MAC), "sent to another than the gateway");
        Step { sent, drops }
    }

    pub(crate) fn drops(&self) -> BTreeMap<DropReason, u64> {
        let total = |r: DropReason| self.counters.iter().map(|c| c.drops(r)).sum::<u64>();
        DropReason::ALL.iter().map(|&r| (r, total(r))).filter(|(_, n)| *n > 0).collect()
    }

    /// All ends: every packet must have ended once.
    #[track_caller]
    pub(crate) fn finish(mut self, name: &str) {
        for w in &mut self.workers {
            w.finish();
        }
        let account = self.counters.iter().fold(Account::default(), |a, c| a.plus(c.account()));
        assert_eq!(account.unaccounted(), 0, "{name}: {account:?}");
        assert_eq!(account.held, 0, "{name}: {account:?}");
        assert_eq!(account.handed_in, account.handed_off, "{name}: {account:?}");
    }
}
