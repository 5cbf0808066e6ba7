//! What all ports share: how finely ownership is cut, and the keys and tables that follow from it.

use config::Steering;
use dataplane::policy::Sharding;
use dataplane::policy::steering::{
    Grain, Portless, SHORTEST_KEY, index_bits, inside_key, inside_table, outside_key, outside_table, spare_worker,
};
use dataplane::types::{Side, WorkerId};
use dpdk::{PortInfo, Rss, RssFunctions};
use std::ops::RangeInclusive;

/// What a port is to steering.
#[derive(Clone, Debug)]
pub(crate) struct Candidate<'a> {
    /// Its side.
    pub(crate) side: Side,
    /// What the operator allows.
    pub(crate) steering: Steering,
    /// What the device says of itself.
    pub(crate) info: &'a PortInfo,
    /// Receive queues that it will have.
    pub(crate) queues: u16,
}

impl Candidate<'_> {
    /// Whether its hash can be made to follow ownership, or why not.
    fn follows(&self) -> Result<(), String> {
        let info = self.info;
        if self.steering == Steering::Software {
            return Err("`steering` says so".into());
        }
        if self.queues < 2 {
            return Err("one receive queue".into());
        }
        if info.reta_size == 0 {
            return Err("the device has no redirection table".into());
        }
        if index_bits(info.reta_size.into()).is_none() {
            return Err(format!("a redirection table of {} entries cannot be used", info.reta_size));
        }
        if usize::from(info.hash_key_size) < SHORTEST_KEY {
            return Err(match info.hash_key_size {
                0 => "the driver takes no hash key".into(),
                size => format!("a hash key of {size} bytes is too short"),
            });
        }
        if !info.rss.contains(RssFunctions::IPV4_TCP | RssFunctions::IPV4_UDP) {
            return Err("the device does not hash TCP and UDP".into());
        }
        Ok(())
    }
}

/// What a port is to get.
#[derive(Clone, Debug)]
pub(crate) struct ByKey {
    /// Key and functions.
    pub(crate) rss: Rss,
    /// The queue of each entry of the redirection table.
    pub(crate) table: Vec<u16>,
    /// Whose entry 0 is, on an outside port.
    pub(crate) entry0: Option<WorkerId>,
}

/// See the module.
pub(crate) struct Plan {
    /// Who owns what, as the workers will have it with the same seed and grain.
    pub(crate) sharding: Sharding,
    seed: u64,
    outside_ports: usize,
}

impl Plan {
    /// For ports and a number of workers; `nat_ports` is the range of dynamic mappings.
    pub(crate) fn new(seed: u64, workers: u8, nat_ports: &RangeInclusive<u16>, ports: &[Candidate<'_>]) -> Self {
        let following = |side| {
            ports.iter().filter(move |c| c.side == side && c.follows().is_ok()).map(|c| usize::from(c.info.reta_size))
        };
        let fine = Grain::default();
        let mut grain = Grain::for_tables(following(Side::Inside), following(Side::Outside));
        if grain != fine {
            // A coarser cut must not leave a worker without ports or subscribers.
            let coarse = Sharding::with_grain(workers, seed, grain);
            let has_ports = |s: &Sharding, w| (*nat_ports).clone().any(|p| p >= 1024 && s.of_port(p) == WorkerId(w));
            let finer = Sharding::new(workers, seed);
            if (0..workers).any(|w| has_ports(&finer, w) && !has_ports(&coarse, w)) {
                grain.port_bits = fine.port_bits;
            }
        }
        Self { sharding: Sharding::with_grain(workers, seed, grain), seed, outside_ports: 0 }
    }

    /// How finely ownership is cut.
    pub(crate) fn grain(&self) -> Grain {
        self.sharding.grain()
    }

    /// The key that spreads what has no ports by addresses, for a device that leaves the addresses of the rest out.
    pub(crate) fn outside_key_by_address(&self, len: usize) -> Vec<u8> {
        outside_key(len, self.seed, self.grain(), Portless::ByAddress { seed: self.seed })
    }

    /// The key that is blind to addresses.
    pub(crate) fn outside_key(&self, len: usize) -> Vec<u8> {
        outside_key(len, self.seed, self.grain(), Portless::Entry0)
    }

    /// What the next port gets, or why its hash is left as it is.
    pub(crate) fn by_key(&mut self, port: &Candidate<'_>) -> Result<ByKey, String> {
        port.follows()?;
        if self.sharding.workers() == 1 {
            return Err("one worker".into());
        }
        let (len, size) = (usize::from(port.info.hash_key_size), usize::from(port.info.reta_size));
        let functions = port.info.rss.and(RssFunctions::IP | RssFunctions::TCP | RssFunctions::UDP);
        let bits = index_bits(size).unwrap_or(0);
        let (key, owners, entry0) = match port.side {
            Side::Inside => (inside_key(len, self.seed, self.grain()), inside_table(&self.sharding, size), None),
            Side::Outside => {
                if bits < self.grain().port_bits {
                    return Err(format!("nat.ports is too narrow to be cut for a table of {size} entries"));
                }
                let spare = spare_worker(&self.sharding, self.outside_ports);
                self.outside_ports += 1;
                (self.outside_key(len), outside_table(&self.sharding, size, spare), Some(spare))
            }
        };
        let owners = owners.ok_or("the redirection table cannot be used")?;
        let table = owners.into_iter().map(|owner| queue_of(owner, port.queues)).collect();
        Ok(ByKey { rss: Rss { functions, key: Some(key) }, table, entry0 })
    }
}

/// The queue that a worker's packets are brought to: its own, or one that others share when there are too few.
pub(crate) fn queue_of(owner: WorkerId, queues: u16) -> u16 {
    u16::from(owner.0) % queues.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn info(reta_size: u16, hash_key_size: u8) -> PortInfo {
        PortInfo {
            driver: "net_test".into(),
            max_rx_queues: 16,
            max_tx_queues: 16,
            reta_size,
            hash_key_size,
            rss: RssFunctions::IP | RssFunctions::TCP | RssFunctions::UDP,
            rx_offloads: 0,
            tx_offloads: 0,
            min_mtu: 68,
            max_mtu: 9000,
            socket: None,
            default_rx_descriptors: 512,
            default_tx_descriptors: 512,
            mac: [0; 6],
        }
    }

    fn candidate(side: Side, info: &PortInfo) -> Candidate<'_> {
        Candidate { side, steering: Steering::Auto, info, queues: 4 }
    }

    #[test]
    fn ownership_is_cut_for_the_coarsest_table_of_each_side() {
        let (fine, coarse, none) = (info(512, 52), info(64, 40), info(0, 0));
        let ports = [
            candidate(Side::Inside, &fine),
            candidate(Side::Inside, &none),
            candidate(Side::Outside, &coarse),
            candidate(Side::Outside, &fine),
        ];
        let mut plan = Plan::new(1, 4, &(1024..=65_535), &ports);
        assert_eq!(plan.grain(), Grain { inside_bits: 9, port_bits: 6 });
        assert_eq!(plan.by_key(&ports[0]).unwrap().table.len(), 512);
        assert_eq!(plan.by_key(&ports[1]).unwrap_err(), "the device has no redirection table");
        let [a, b] = [2, 3].map(|n| plan.by_key(&ports[n]).unwrap());
        assert_eq!((a.table.len(), b.table.len(), b.rss.key.unwrap().len()), (64, 512, 52));
        assert_ne!(a.entry0, b.entry0, "two outside ports do not load the same worker");
    }

    #[test]
    fn a_range_of_ports_that_a_coarse_cut_would_take_from_a_worker_stays_fine() {
        let coarse = info(64, 40);
        let ports = [candidate(Side::Outside, &coarse)];
        let mut plan = Plan::new(1, 2, &(1024..=2047), &ports);
        assert_eq!(plan.grain().port_bits, 7);
        assert!(plan.by_key(&ports[0]).unwrap_err().contains("nat.ports is too narrow"));
    }

    #[test]
    fn what_cannot_follow_says_why() {
        let (good, short, odd) = (info(128, 40), info(128, 16), info(100, 40));
        let why = |c: Candidate<'_>| c.follows().unwrap_err();
        assert_eq!(why(Candidate { queues: 1, ..candidate(Side::Inside, &good) }), "one receive queue");
        assert_eq!(
            why(Candidate { steering: Steering::Software, ..candidate(Side::Inside, &good) }),
            "`steering` says so"
        );
        assert!(why(candidate(Side::Inside, &short)).contains("16 bytes is too short"));
        assert!(why(candidate(Side::Inside, &odd)).contains("100 entries"));
        let deaf = PortInfo { rss: RssFunctions::ESP, ..good.clone() };
        assert!(why(candidate(Side::Outside, &deaf)).contains("does not hash"));
        let mut plan = Plan::new(1, 1, &(1024..=65_535), &[candidate(Side::Outside, &good)]);
        assert_eq!(plan.by_key(&candidate(Side::Outside, &good)).unwrap_err(), "one worker");
    }
}
