//! Who plays: inside hosts, servers, the provider's gateway. Taken from the demo's configuration, so that the two agree.

use super::chance::Chance;
use config::{Model, Role};
use dataplane::types::Side;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use testkit::Mac;

/// Inside hosts: 192.168.1.10 and on.
const HOSTS: u32 = 50;
/// Servers that the gateway leads to: 198.51.100.10 and on.
const FAR_SERVERS: u8 = 10;
/// Servers on the outside link itself: 203.0.113.20 and on.
const NEAR_SERVERS: u32 = 2;

/// Everybody but the router, and what they know of it.
#[derive(Clone, Debug)]
pub(super) struct Cast {
    /// Inside hosts.
    pub(super) hosts: Vec<Ipv4Addr>,
    /// Servers, behind the gateway and on the link.
    pub(super) servers: Vec<Ipv4Addr>,
    /// The provider's gateway.
    pub(super) gateway: Ipv4Addr,
    /// The router's inside address.
    pub(super) router: Ipv4Addr,
    /// Outside addresses that hosts are translated to.
    pub(super) pool: Vec<Ipv4Addr>,
    /// What the world dials, and the inside host that it leads to.
    pub(super) forward: (SocketAddrV4, SocketAddrV4),
    /// The largest packet of the outside link.
    pub(super) outside_mtu: u16,
    near: Vec<Ipv4Addr>,
}

impl Cast {
    /// Of a model with a port on each side, a gateway and a forward; `None` where one is missing.
    pub(super) fn of(model: &Model) -> Option<Self> {
        let inside = &model.ports_facing(Role::Inside).next()?.1.value;
        let outside = &model.ports_facing(Role::Outside).next()?.1.value;
        let base = |port: &config::Port| Some(port.addresses.first()?.first().to_bits());
        let (lan, wan) = (base(inside)?, base(outside)?);
        let near: Vec<_> = (20..20 + NEAR_SERVERS).map(|n| Ipv4Addr::from_bits(wan + n)).collect();
        let far = (0..FAR_SERVERS).map(|n| Ipv4Addr::new(198, 51, 100, 10 + n));
        let forward = model.nat().forwards.first()?;
        Some(Self {
            hosts: (10..10 + HOSTS).map(|n| Ipv4Addr::from_bits(lan + n)).collect(),
            servers: far.chain(near.iter().copied()).collect(),
            gateway: outside.gateway.as_ref()?.value,
            router: inside.addresses.first()?.address(),
            pool: model
                .nat()
                .pool
                .iter()
                .flat_map(|r| (r.first().to_bits()..=r.last().to_bits()).map(Ipv4Addr::from_bits))
                .collect(),
            forward: (
                SocketAddrV4::new(forward.outside_address, *forward.outside_ports.start()),
                SocketAddrV4::new(forward.inside_address, *forward.inside_ports.start()),
            ),
            outside_mtu: outside.mtu.value,
            near,
        })
    }

    /// The station on the link that speaks for an address: itself, or the gateway.
    pub(super) fn station(&self, side: Side, address: Ipv4Addr) -> Option<Ipv4Addr> {
        match side {
            Side::Inside => self.hosts.contains(&address).then_some(address),
            Side::Outside if self.near.contains(&address) || address == self.gateway => Some(address),
            Side::Outside => self.servers.contains(&address).then_some(self.gateway),
        }
    }

    /// The stations on a side.
    pub(super) fn stations(&self, side: Side) -> Vec<Ipv4Addr> {
        match side {
            Side::Inside => self.hosts.clone(),
            Side::Outside => std::iter::once(self.gateway).chain(self.near.iter().copied()).collect(),
        }
    }

    /// Addresses that the router has on a side.
    pub(super) fn router_addresses(&self, side: Side) -> Vec<Ipv4Addr> {
        match side {
            Side::Inside => vec![self.router],
            Side::Outside => self.pool.clone(),
        }
    }

    /// A host and a server.
    pub(super) fn pair(&self, chance: &mut Chance) -> (Ipv4Addr, Ipv4Addr) {
        (chance.pick(&self.hosts), chance.pick(&self.servers))
    }
}

/// A station's Ethernet address.
pub(super) fn mac(side: Side, station: Ipv4Addr) -> Mac {
    let [a, b, c, d] = station.octets();
    [if side == Side::Inside { 0x02 } else { 0x06 }, 0xde, a, b, c, d]
}

/// What is known of the router's Ethernet addresses, by its IP addresses on a side.
pub(super) type RouterMacs = HashMap<(Side, Ipv4Addr), Mac>;

/// The demo's model.
///
/// # Errors
/// The embedded configuration is wrong, which a test rules out.
pub(super) fn model() -> anyhow::Result<Model> {
    config::parse("demo.toml", include_str!("demo.toml")).map(|c| c.model).map_err(|report| anyhow::anyhow!("{report}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_and_the_cast_agree() {
        let checked = config::parse("demo.toml", include_str!("demo.toml")).unwrap();
        assert!(checked.warnings.is_empty(), "{:?}", checked.warnings);
        let cast = Cast::of(&checked.model).unwrap();
        assert_eq!((cast.hosts.len(), cast.servers.len(), cast.pool.len()), (50, 12, 3));
        assert!(cast.hosts.contains(cast.forward.1.ip()) && cast.pool.contains(cast.forward.0.ip()));
        assert_eq!(cast.station(Side::Outside, cast.servers[0]), Some(cast.gateway));
        assert_eq!(cast.station(Side::Outside, cast.servers[11]), Some(cast.servers[11]));
        assert_eq!(cast.station(Side::Inside, cast.servers[0]), None);
        assert!(!cast.hosts.contains(&cast.router) && !cast.pool.contains(&cast.gateway));
    }
}
