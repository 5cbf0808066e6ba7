//! The flow rules that follow ownership.

use super::plan::queue_of;
use dataplane::policy::steering::PORT_BITS;
use dataplane::policy::{Rules as Compiled, Sharding, Traffic};
use dataplane::types::{Endpoint, Key, Proto, Side, WorkerId};
use dpdk::{FlowRule, Header, Masked, RssFunctions, Target};
use std::net::Ipv4Addr;

/// The EtherType that PPTP's GRE carries [RFC 2637 §4.1].
const PPP: u16 = 0x880b;
/// Low bits of an identifier that say who owns it.
const ID_BITS: u32 = 7;

/// What stands before the headers of a rule: Ethernet, the port's tag, IPv4.
fn over_ipv4(vlan: bool, rest: &[Header]) -> Vec<Header> {
    let tag = vlan.then_some(Header::Vlan);
    [Header::Ethernet].into_iter().chain(tag).chain([Header::Ipv4]).chain(rest.iter().copied()).collect()
}

/// The owner of each value of `bits` bits, cut down to as few bits as tell owners apart from the bottom.
fn period(owners: &[WorkerId]) -> usize {
    let mut length = owners.len();
    while length > 1 && owners.chunks(length / 2).all(|part| part == &owners[..length / 2]) {
        length /= 2;
    }
    length
}

/// Owners of tunnels by the low bits of their identifier, if that is what says who owns them.
fn tunnel_owners(rules: &Compiled, side: Side, proto: Proto) -> Option<Vec<WorkerId>> {
    let owner = |ident, n: u8| {
        let (inside, remote) = (Ipv4Addr::new(10, 0, 0, n), Ipv4Addr::new(198, 51, 100, n ^ 0x55));
        let (src, dst) = if side == Side::Inside { (inside, remote) } else { (remote, inside) };
        let mut key = Key::new(proto, Endpoint::new(src, 0), Endpoint::new(dst, 0));
        key.ident = ident;
        rules.owner_of_key(side, &key)
    };
    let owners: Vec<_> = (0..1 << ID_BITS).map(|low| owner(0x1000_0000 | low, 1)).collect();
    // Asked with other addresses and other high bits: a device that looks at the low bits must be right.
    let same = (0u32..).zip(&owners).all(|(low, &o)| {
        (1..=8u8).all(|n| owner(low | u32::from(n) << 7 | u32::from(n) << 20, n.wrapping_mul(29)) == o)
    });
    same.then_some(owners)
}

/// Rules that bring a kind of traffic to its owners' queues; `None` where no rule could tell its owner.
pub(super) fn queue_rules(
    rules: &Compiled,
    side: Side,
    traffic: Traffic,
    queues: u16,
    vlan: bool,
) -> Option<Vec<FlowRule>> {
    let rule = |headers: &[Header], owner| FlowRule {
        priority: 0,
        headers: over_ipv4(vlan, headers),
        target: Target::Queue(queue_of(owner, queues)),
    };
    match (side, traffic) {
        (_, Traffic::Esp | Traffic::L2tpv3) => {
            let proto = if traffic == Traffic::Esp { Proto::ESP } else { Proto::L2TP };
            let owners = tunnel_owners(rules, side, proto)?;
            let count = period(&owners);
            let mask = u32::try_from(count - 1).unwrap_or(0);
            let rules = (0u32..)
                .zip(owners.into_iter().take(count))
                .map(|(value, owner)| {
                    let id = Masked { value, mask };
                    let header =
                        if traffic == Traffic::Esp { Header::Esp { spi: id } } else { Header::L2tpv3 { session: id } };
                    rule(&[header], owner)
                })
                .collect();
            Some(rules)
        }
        // Our Call IDs are numbers of ports.
        (Side::Outside, Traffic::Pptp) => {
            let call = |(to, owner): (Masked<u16>, _)| {
                let key = Masked { value: to.value.into(), mask: to.mask.into() };
                rule(&[Header::Gre { protocol: PPP }, Header::GreKey(key)], owner)
            };
            Some(blocks(&rules.sharding).map(call).collect())
        }
        (Side::Outside, Traffic::Ports) => {
            let both = |(to, owner)| [rule(&[Header::Udp { to }], owner), rule(&[Header::Tcp { to }], owner)];
            Some(blocks(&rules.sharding).flat_map(both).collect())
        }
        _ => None,
    }
}

/// The blocks of ports, with who owns them.
fn blocks(sharding: &Sharding) -> impl Iterator<Item = (Masked<u16>, WorkerId)> + '_ {
    let shift = 16 - PORT_BITS;
    (0u16..)
        .zip(sharding.blocks())
        .map(move |(n, owner)| (Masked { value: n << shift, mask: u16::MAX << shift }, owner))
}

/// Rules that make a device hash TCP and UDP by the destination port, by the means that its driver has.
pub(super) fn port_hash_rules(vlan: bool, key: Option<&[u8]>, table: &[u16]) -> Vec<FlowRule> {
    let any = Masked { value: 0, mask: 0 };
    [(Header::Udp { to: any }, RssFunctions::UDP), (Header::Tcp { to: any }, RssFunctions::TCP)]
        .map(|(header, functions)| {
            let functions = functions.and(RssFunctions::IPV4_UDP | RssFunctions::IPV4_TCP);
            let target = match key {
                // Its own key, and its own table in place of the port's.
                Some(key) => Target::Rss { functions, key: Some(key.to_vec()), queues: table.to_vec() },
                // The port's key and table over one field.
                None => Target::Rss { functions: functions | RssFunctions::L4_DST_ONLY, key: None, queues: Vec::new() },
            };
            FlowRule { priority: 0, headers: over_ipv4(vlan, &[header]), target }
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::policy::Policy;

    fn compiled(workers: u8) -> Compiled {
        Compiled::new(Policy { seed: 3, ..Policy::default() }, workers)
    }

    /// The queue that the first matching rule gives a number of `bits` low bits.
    fn queue(rules: &[FlowRule], number: u32) -> Option<u16> {
        rules.iter().find_map(|rule| {
            let hit = match rule.headers.last()? {
                Header::Esp { spi: id } | Header::L2tpv3 { session: id } | Header::GreKey(id) => {
                    number & id.mask == id.value
                }
                Header::Udp { to } | Header::Tcp { to } => number & u32::from(to.mask) == u32::from(to.value),
                _ => false,
            };
            let Target::Queue(queue) = rule.target else { panic!("{rule}") };
            hit.then_some(queue)
        })
    }

    #[test]
    fn every_port_and_call_has_a_rule_that_leads_to_its_owner() {
        for workers in [2, 3, 8] {
            let c = compiled(workers);
            for traffic in [Traffic::Ports, Traffic::Pptp] {
                let rules = queue_rules(&c, Side::Outside, traffic, workers.into(), false).unwrap();
                for port in 1024..=65_535u16 {
                    let owner = c.sharding.of_port(port);
                    assert_eq!(queue(&rules, port.into()), Some(owner.0.into()), "{traffic:?} {port}");
                }
            }
        }
    }

    #[test]
    fn rules_are_as_few_as_tell_owners_apart() {
        let owners = |workers: u8| -> Vec<_> { (0..128u8).map(|n| WorkerId(n % workers)).collect() };
        assert_eq!([1, 2, 4, 64, 3].map(|w| period(&owners(w))), [1, 2, 4, 64, 128]);
    }

    #[test]
    fn tunnels_get_rules_when_and_only_when_their_identifier_says_who_owns_them() {
        for workers in [2, 3, 8] {
            let c = compiled(workers);
            for (traffic, proto) in [(Traffic::Esp, Proto::ESP), (Traffic::L2tpv3, Proto::L2TP)] {
                for side in [Side::Inside, Side::Outside] {
                    let Some(rules) = queue_rules(&c, side, traffic, workers.into(), true) else { continue };
                    assert_eq!(rules[0].headers[1], Header::Vlan);
                    for n in 0..1000u32 {
                        let id = n.wrapping_mul(0x9e37_79b1) | 0x100;
                        let mut key = Key::new(
                            proto,
                            Endpoint::new(Ipv4Addr::from_bits(id), 0),
                            Endpoint::new(Ipv4Addr::from_bits(!id), 0),
                        );
                        key.ident = id;
                        assert_eq!(queue(&rules, id), Some(c.owner_of_key(side, &key).0.into()), "{proto:?} {id:#x}");
                    }
                }
            }
        }
    }
}
