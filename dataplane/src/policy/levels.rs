//! What the device of a port does about steering, by kind of traffic: as `control` settled it at start, as `show` prints
//! it, and as workers check it by samples.

use super::Rules;
use super::steering::{PORT_BITS, first_port};
use crate::packet::{Class, Meta};
use crate::types::{Key, Proto, Side, WorkerId};

/// Kinds of traffic that devices tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Traffic {
    /// TCP and UDP.
    Ports,
    /// ICMP queries.
    Icmp,
    /// PPTP's GRE.
    Pptp,
    /// ESP as an IP protocol.
    Esp,
    /// L2TPv3 as an IP protocol, data packets.
    L2tpv3,
    /// Fragments, ICMP errors, other protocols: their owner does not stand where a device looks.
    Rest,
}

impl Traffic {
    /// All kinds.
    pub const ALL: [Self; 6] = [Self::Ports, Self::Icmp, Self::Pptp, Self::Esp, Self::L2tpv3, Self::Rest];

    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ports => "TCP, UDP",
            Self::Icmp => "ICMP queries",
            Self::Pptp => "PPTP GRE",
            Self::Esp => "ESP",
            Self::L2tpv3 => "L2TPv3",
            Self::Rest => "fragments, other",
        }
    }

    /// The kind of a packet.
    #[must_use]
    pub const fn of(meta: &Meta) -> Self {
        match (meta.class, meta.key.proto) {
            _ if meta.is_fragment() => Self::Rest,
            (Class::Tcp | Class::Udp, _) => Self::Ports,
            (Class::IcmpQuery, _) => Self::Icmp,
            (Class::Tunnel, Proto::ESP) => Self::Esp,
            (Class::Tunnel, Proto::L2TP) => Self::L2tpv3,
            (Class::Tunnel, _) if meta.key.is_pptp() => Self::Pptp,
            _ => Self::Rest,
        }
    }
}

/// How packets come to their owner. The first always holds; each of the others saves handoffs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Whoever polled the packet hands it over.
    #[default]
    Software,
    /// By the port's one Toeplitz key and its redirection table.
    RssByKey,
    /// By a hash of the destination port alone, which the driver can do.
    PortHash,
    /// By rules of the device that have Toeplitz keys of their own.
    KeyPerRule,
    /// By rules of the device that name the queue.
    FlowRules,
}

impl Level {
    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::RssByKey => "RSS by key",
            Self::PortHash => "port hash",
            Self::KeyPerRule => "key per rule",
            Self::FlowRules => "flow rules",
        }
    }

    /// Whether the hash that the device reports is the one that `steering` computes.
    const fn tells_hash(self) -> bool {
        matches!(self, Self::RssByKey | Self::PortHash | Self::KeyPerRule)
    }
}

/// The levels of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steered {
    levels: [Level; Traffic::ALL.len()],
    /// Receive queues, the first ones' workers poll them; 0 when the device does nothing.
    pub queues: u8,
}

impl Steered {
    /// Nothing yet, over so many receive queues.
    #[must_use]
    pub fn over(queues: u8) -> Self {
        Self { queues, ..Self::default() }
    }

    /// The level of a kind of traffic.
    #[must_use]
    pub fn level(&self, traffic: Traffic) -> Level {
        self.levels.get(traffic as usize).copied().unwrap_or_default()
    }

    /// Says which level it has.
    pub fn set(&mut self, traffic: Traffic, level: Level) {
        if let Some(place) = self.levels.get_mut(traffic as usize) {
            *place = level;
        }
    }

    /// Whether the device does anything.
    #[must_use]
    pub fn any(&self) -> bool {
        self.queues > 0 && self.levels.iter().any(|level| *level != Level::Software)
    }
}

/// What a sample showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// It came by the queue that it should come by.
    pub arrived: bool,
    /// The device's hash leads to its owner; true where it tells none.
    pub hashed: bool,
}

impl Rules {
    /// Whether the device of a port did as it was told with a packet that came by the queue of worker `by`. `None`: it was
    /// told nothing about such packets, or could not know better: forwards, one-to-one hosts, low ports, IKE.
    #[must_use]
    pub fn check_sample(
        &self,
        steered: &Steered,
        side: Side,
        meta: &Meta,
        by: WorkerId,
        hash: Option<u32>,
    ) -> Option<Sample> {
        let traffic = Traffic::of(meta);
        let level = steered.level(traffic);
        if level == Level::Software || steered.queues == 0 {
            return None;
        }
        let told = self.as_told(side, traffic, &meta.key)?;
        if self.owner(side, meta) != Some(told) {
            return None;
        }
        let hashed = match (hash.filter(|_| level.tells_hash()), side) {
            (None, _) => true,
            (Some(hash), Side::Inside) => self.sharding.of_inside_entry(hash) == told,
            (Some(hash), Side::Outside) => self.sharding.of_port(first_port(hash, PORT_BITS)) == told,
        };
        Some(Sample { arrived: by.0 == told.0 % steered.queues, hashed })
    }

    /// The worker that keys, tables and rules lead a packet to.
    fn as_told(&self, side: Side, traffic: Traffic, key: &Key) -> Option<WorkerId> {
        let s = &self.sharding;
        match (side, traffic) {
            (Side::Inside, Traffic::Ports | Traffic::Icmp | Traffic::Pptp) => Some(s.of_inside(key.src)),
            (Side::Outside, Traffic::Ports) if key.dst_port() >= 1024 => Some(s.of_port(key.dst_port())),
            (Side::Outside, Traffic::Pptp) => Some(s.of_port(key.dst_port())),
            (_, Traffic::Esp | Traffic::L2tpv3) => Some(self.owner_of_key(side, key)),
            (Side::Outside, Traffic::Ports | Traffic::Icmp) | (_, Traffic::Rest) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Policy;
    use super::super::steering::{Grain, Portless, inside_key, outside_key, toeplitz};
    use super::*;
    use crate::types::Endpoint;
    use std::net::Ipv4Addr;

    const HOST: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);
    const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

    fn udp(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16)) -> Meta {
        let mut meta = Meta::NONE;
        meta.class = Class::Udp;
        meta.key = Key::new(Proto::UDP, Endpoint::new(src.0, src.1), Endpoint::new(dst.0, dst.1));
        meta
    }

    fn hash(key: &[u8], meta: &Meta) -> Option<u32> {
        let k = &meta.key;
        Some(toeplitz(key, &[&k.src.octets()[..], &k.dst.octets(), &k.ident.to_be_bytes()].concat()))
    }

    fn by_key() -> Steered {
        let mut steered = Steered::over(3);
        steered.set(Traffic::Ports, Level::RssByKey);
        steered
    }

    #[test]
    fn a_sample_tells_a_wrong_queue_from_a_wrong_hash() {
        let rules = Rules::new(Policy { seed: 4, ..Policy::default() }, 3);
        let (key_in, key_out) =
            (inside_key(40, 4, Grain::default()), outside_key(40, 4, Grain::default(), Portless::Entry0));
        for n in 1024..5000u16 {
            for (side, meta, key) in [
                (Side::Inside, udp((Ipv4Addr::from_bits(HOST.to_bits() + u32::from(n)), n), (REMOTE, 443)), &key_in),
                (Side::Outside, udp((REMOTE, 443), (HOST, (n * 13) | 1024)), &key_out),
            ] {
                let owner = rules.owner(side, &meta).unwrap();
                let check = |by, hash| rules.check_sample(&by_key(), side, &meta, by, hash);
                assert_eq!(check(owner, hash(key, &meta)), Some(Sample { arrived: true, hashed: true }));
                assert_eq!(check(owner, None), Some(Sample { arrived: true, hashed: true }));
                let other = WorkerId((owner.0 + 1) % 3);
                assert_eq!(check(other, hash(key, &meta)), Some(Sample { arrived: false, hashed: true }));
            }
        }
        // A device with another key agrees by chance only.
        let wrong: Vec<u8> = (0..40u8).map(|n| n.wrapping_mul(37) ^ 0x5a).collect();
        let disagree = (1024..2048u16).filter(|&n| {
            let meta = udp((REMOTE, 443), (HOST, (n * 29) | 1024));
            let owner = rules.owner(Side::Outside, &meta).unwrap();
            let sample = rules.check_sample(&by_key(), Side::Outside, &meta, owner, hash(&wrong, &meta));
            sample.is_some_and(|sample| !sample.hashed)
        });
        assert!(disagree.count() > 500);
    }

    #[test]
    fn what_the_device_was_not_told_is_no_miss() {
        let rules = Rules::new(Policy { seed: 4, ..Policy::default() }, 3);
        let low = udp((REMOTE, 443), (HOST, 500));
        assert_eq!(rules.check_sample(&by_key(), Side::Outside, &low, WorkerId(0), None), None);
        let ordinary = udp((REMOTE, 443), (HOST, 5000));
        assert_eq!(rules.check_sample(&Steered::default(), Side::Outside, &ordinary, WorkerId(0), None), None);
        let mut fragment = ordinary;
        fragment.fragment = 0x2000;
        assert_eq!(rules.check_sample(&by_key(), Side::Outside, &fragment, WorkerId(0), None), None);
    }

    #[test]
    fn fewer_queues_than_workers_are_shared() {
        let rules = Rules::new(Policy { seed: 4, ..Policy::default() }, 3);
        let steered = Steered { queues: 2, ..by_key() };
        for n in 1024..3000u16 {
            let meta = udp((REMOTE, 443), (HOST, n));
            let owner = rules.owner(Side::Outside, &meta).unwrap();
            let by = WorkerId(owner.0 % 2);
            assert!(rules.check_sample(&steered, Side::Outside, &meta, by, None).unwrap().arrived);
        }
    }
}
