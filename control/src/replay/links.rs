//! Who is where on the links, as the captures show it.
//!
//! In a replay nobody answers ARP, and frames are addressed to the router that was there when they were captured.
//! So the ports take that router's Ethernet addresses, and whoever a capture shows becomes a static neighbour: each
//! sender by the source of its frames and ARP messages, and what lies behind a router by that router. A capture that
//! holds the old router's own frames shows their receivers, too. What the configuration names as `[[neighbour]]` stays.
//!
//! What must be reachable and no capture shows gets an address made up from its IP address, `02:55:a:b:c:d`: gateways,
//! and, on a side without a capture, every host that the other side's packets or the configuration name. Any other
//! host stays unresolved, as if it were down.

use super::capture::Capture;
use dataplane::policy::{Policy, Reach, Rules, StaticNeighbour};
use dataplane::types::{Mac, PortId, Side};
use std::collections::HashSet;
use std::net::Ipv4Addr;

/// Where a port's Ethernet address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The router's in the capture.
    Capture,
    /// The configuration's: no capture shows one.
    Configuration,
    /// Made up: neither says one.
    MadeUp,
}

/// A port in a replay and what was captured there.
pub(super) struct Link<'a> {
    pub(super) port: PortId,
    pub(super) capture: Option<&'a Capture>,
}

/// Gives the ports of `links` the addresses that frames are sent to, and says where they come from.
pub(super) fn choose_macs(policy: &mut Policy, links: &[Link<'_>]) -> Vec<Origin> {
    let rules = Rules::new(policy.clone(), 1);
    let origins = links.iter().map(|link| {
        let Some(place) = policy.ports.get_mut(link.port.index()) else { return Origin::Configuration };
        let configured = place.mac;
        let found = link.capture.and_then(|c| router(&rules, link.port, c));
        let (mac, origin) = match found {
            Some(mac) => (mac, Origin::Capture),
            None if configured != Mac::default() => (configured, Origin::Configuration),
            None => (Mac([2, 0x55, 0, 0, 0, link.port.0]), Origin::MadeUp),
        };
        place.mac = mac;
        origin
    });
    origins.collect()
}

/// The Ethernet address that most of what the router must handle is sent to; failing that, most of all frames.
fn router(rules: &Rules, port: PortId, capture: &Capture) -> Option<Mac> {
    let (mut wanted, mut any) = (Votes::default(), Votes::default());
    for frame in capture.records.iter().filter_map(|r| Sight::of(&r.frame)) {
        if frame.to.is_group() {
            continue;
        }
        any.cast(frame.to);
        if let What::Ip { src, dst } = frame.what
            && is_for_router(rules, port, src, dst)
        {
            wanted.cast(frame.to);
        }
    }
    wanted.winner().or(any.winner())
}

/// Whether a packet that is seen on `port` goes to the router rather than comes from it or passes it by.
fn is_for_router(rules: &Rules, port: PortId, src: Ipv4Addr, dst: Ipv4Addr) -> bool {
    match rules.side(port) {
        Side::Inside => rules.is_inside(src) && (!rules.connected(port, dst) || rules.local(dst).is_some()),
        Side::Outside => rules.local(dst).is_some() && rules.local(src).is_none(),
    }
}

/// Adds neighbours to a policy whose ports have their addresses; returns how many were shown and how many made up.
pub(super) fn add_neighbours(policy: &mut Policy, links: &[Link<'_>]) -> (usize, usize) {
    let rules = Rules::new(policy.clone(), 1);
    let mut known: HashSet<(PortId, Ipv4Addr)> = policy.neighbours.iter().map(|n| (n.port, n.addr)).collect();
    let mut add = |neighbours: &mut Vec<StaticNeighbour>, reach: Reach, mac: Mac| {
        let fits = !mac.is_group() && rules.local(reach.via).is_none() && !rules.is_broadcast(reach.via);
        if fits && known.insert((reach.port, reach.via)) {
            neighbours.push(StaticNeighbour { port: reach.port, addr: reach.via, mac });
        }
    };
    let configured = policy.neighbours.len();
    // What speaks for itself first; then routers, which are only inferred from what they pass on.
    for inferred in [false, true] {
        for link in links {
            for (addr, mac) in shown(policy, link) {
                if let Some(reach) = rules.route(addr).filter(|r| r.port == link.port && (r.via != addr) == inferred) {
                    add(&mut policy.neighbours, reach, mac);
                }
            }
        }
    }
    let shown = policy.neighbours.len() - configured;
    for addr in unseen(policy, &rules, links) {
        if let Some(reach) = rules.route(addr) {
            add(&mut policy.neighbours, reach, made_up(reach.via));
        }
    }
    (shown, policy.neighbours.len() - configured - shown)
}

/// Addresses on a link with the Ethernet addresses that stand for them.
fn shown(policy: &Policy, link: &Link<'_>) -> Vec<(Ipv4Addr, Mac)> {
    let own = policy.ports.get(link.port.index()).map(|p| p.mac);
    let sights = link.capture.iter().flat_map(|c| &c.records).filter_map(|r| Sight::of(&r.frame));
    let pair = |s: Sight| match s.what {
        What::Ip { dst, .. } if Some(s.from) == own => Some((dst, s.to)),
        What::Ip { src, .. } => Some((src, s.from)),
        What::Arp { sender, mac } => (Some(mac) != own && !sender.is_unspecified()).then_some((sender, mac)),
        What::Other => None,
    };
    sights.filter_map(pair).collect()
}

/// Addresses that must be reachable though no capture needs to show them.
fn unseen(policy: &Policy, rules: &Rules, links: &[Link<'_>]) -> Vec<Ipv4Addr> {
    let mut wanted: Vec<Ipv4Addr> = policy.ports.iter().filter_map(|p| p.gateway).collect();
    let blind: Vec<PortId> = links.iter().filter(|l| l.capture.is_none()).map(|l| l.port).collect();
    let mut named: Vec<Ipv4Addr> = policy.forwards.iter().map(|f| f.inside).collect();
    named.extend(policy.statics.iter().map(|s| s.inside));
    for record in links.iter().filter_map(|l| l.capture).flat_map(|c| &c.records) {
        if let Some(Sight { what: What::Ip { dst, .. }, .. }) = Sight::of(&record.frame) {
            named.push(dst);
        }
    }
    wanted.extend(named.into_iter().filter(|&a| rules.route(a).is_some_and(|r| blind.contains(&r.port))));
    wanted
}

fn made_up(addr: Ipv4Addr) -> Mac {
    let [a, b, c, d] = addr.octets();
    Mac([2, 0x55, a, b, c, d])
}

/// What a frame shows of who is where.
#[derive(Clone, Copy)]
struct Sight {
    from: Mac,
    to: Mac,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Ip { src: Ipv4Addr, dst: Ipv4Addr },
    Arp { sender: Ipv4Addr, mac: Mac },
    Other,
}

impl Sight {
    fn of(frame: &[u8]) -> Option<Self> {
        let (&to, rest) = frame.split_first_chunk::<6>()?;
        let (&from, rest) = rest.split_first_chunk::<6>()?;
        let (mut ethertype, mut body) = rest.split_first_chunk::<2>()?;
        if *ethertype == [0x81, 0x00] {
            (ethertype, body) = body.get(2..)?.split_first_chunk::<2>()?;
        }
        let address = |at: usize| body.get(at..at + 4).and_then(|b| <[u8; 4]>::try_from(b).ok()).map(Ipv4Addr::from);
        let what = match ethertype {
            [0x08, 0x00] => match (address(12), address(16)) {
                (Some(src), Some(dst)) => What::Ip { src, dst },
                _ => What::Other,
            },
            [0x08, 0x06] => match (address(14), body.get(8..14).and_then(|b| <[u8; 6]>::try_from(b).ok())) {
                (Some(sender), Some(mac)) => What::Arp { sender, mac: Mac(mac) },
                _ => What::Other,
            },
            _ => What::Other,
        };
        Some(Self { from: Mac(from), to: Mac(to), what })
    }
}

/// Counts in the order of first sight, so that a tie has one outcome.
#[derive(Default)]
struct Votes {
    counts: Vec<(Mac, u64)>,
}

impl Votes {
    fn cast(&mut self, mac: Mac) {
        match self.counts.iter_mut().find(|(m, _)| *m == mac) {
            Some((_, n)) => *n += 1,
            None => self.counts.push((mac, 1)),
        }
    }

    fn winner(&self) -> Option<Mac> {
        self.counts.iter().rev().max_by_key(|(_, n)| *n).map(|(m, _)| *m)
    }
}

#[cfg(test)]
mod tests {
    use super::super::capture::Record;
    use super::*;
    use dataplane::policy::{Net, Port};
    use testkit::Frame;

    const INSIDE: PortId = PortId(0);
    const OUTSIDE: PortId = PortId(1);
    const ROUTER: [u8; 6] = [2, 0, 0, 0, 9, 1];
    const HOST: [u8; 6] = [2, 0, 0, 0, 0, 7];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 8];

    fn policy() -> Policy {
        let port = |side, own: &str, gateway: Option<&str>| {
            let own = own.parse().unwrap();
            Port {
                side,
                mac: Mac::default(),
                vlan: None,
                mtu: 1500,
                addresses: vec![(own, Net::of(own, 24))],
                gateway: gateway.map(|g| g.parse().unwrap()),
            }
        };
        let ports =
            vec![port(Side::Inside, "192.168.1.1", None), port(Side::Outside, "203.0.113.2", Some("203.0.113.1"))];
        let pool = vec!["203.0.113.2".parse().unwrap()..="203.0.113.2".parse().unwrap()];
        Policy { ports, pool, ..Policy::default() }
    }

    fn capture(frames: &[Vec<u8>]) -> Capture {
        Capture { records: frames.iter().map(|f| Record { at: 0, frame: f.clone() }).collect(), ..Capture::default() }
    }

    fn neighbours(policy: &Policy) -> Vec<(u8, String, [u8; 6])> {
        policy.neighbours.iter().map(|n| (n.port.0, n.addr.to_string(), n.mac.0)).collect()
    }

    #[test]
    fn the_router_is_whom_packets_across_it_are_sent_to_even_if_more_frames_go_to_a_host() {
        let up = Frame::udp("192.168.1.7:1", "198.51.100.1:2").macs(HOST, ROUTER).build();
        let down = Frame::udp("198.51.100.1:2", "192.168.1.7:1").macs(ROUTER, HOST).build();
        let aside = Frame::udp("192.168.1.8:1", "192.168.1.7:2").macs(OTHER, HOST).build();
        let c = capture(&[down.clone(), down.clone(), up, aside.clone(), down]);
        let mut p = policy();
        let links = [Link { port: INSIDE, capture: Some(&c) }, Link { port: OUTSIDE, capture: None }];
        assert_eq!(choose_macs(&mut p, &links), [Origin::Capture, Origin::MadeUp]);
        assert_eq!(p.ports[0].mac, Mac(ROUTER));

        let c = capture(&[aside]);
        let mut p = policy();
        choose_macs(&mut p, &[Link { port: INSIDE, capture: Some(&c) }]);
        assert_eq!(p.ports[0].mac, Mac(HOST), "nothing for the router: the address of most frames");
    }

    #[test]
    fn hosts_speak_for_themselves_and_gateways_for_what_they_pass_on() {
        let inside = capture(&[Frame::udp("192.168.1.7:1", "198.51.100.1:2").macs(HOST, ROUTER).build()]);
        let outside = capture(&[
            Frame::udp("198.51.100.1:2", "203.0.113.2:1").macs(OTHER, ROUTER).build(),
            Frame::arp_request([2, 0, 0, 0, 0, 9], "203.0.113.9", "203.0.113.2").build(),
        ]);
        let mut p = policy();
        let links = [Link { port: INSIDE, capture: Some(&inside) }, Link { port: OUTSIDE, capture: Some(&outside) }];
        choose_macs(&mut p, &links);
        assert_eq!(add_neighbours(&mut p, &links), (3, 0));
        let expected = [
            (0, "192.168.1.7".to_owned(), HOST),
            (1, "203.0.113.9".to_owned(), [2, 0, 0, 0, 0, 9]),
            (1, "203.0.113.1".to_owned(), OTHER),
        ];
        assert_eq!(neighbours(&p), expected);
    }

    #[test]
    fn receivers_of_the_old_routers_own_frames_are_shown_too() {
        let outside = capture(&[
            Frame::udp("203.0.113.2:1", "203.0.113.9:2").macs(ROUTER, OTHER).build(),
            Frame::udp("203.0.113.9:2", "203.0.113.2:1").macs(OTHER, ROUTER).build(),
        ]);
        let mut p = policy();
        let links = [Link { port: OUTSIDE, capture: Some(&outside) }];
        choose_macs(&mut p, &links);
        assert_eq!(p.ports[1].mac, Mac(ROUTER));
        add_neighbours(&mut p, &links);
        assert_eq!(neighbours(&p)[0], (1, "203.0.113.9".to_owned(), OTHER));
    }

    #[test]
    fn what_nobody_shows_is_made_up_only_where_it_must_be() {
        let inside = capture(&[
            Frame::udp("192.168.1.7:1", "203.0.113.50:2").macs(HOST, ROUTER).build(),
            Frame::udp("192.168.1.7:1", "192.168.1.99:2").macs(HOST, ROUTER).build(),
        ]);
        let mut p = policy();
        let links = [Link { port: INSIDE, capture: Some(&inside) }, Link { port: OUTSIDE, capture: None }];
        choose_macs(&mut p, &links);
        assert_eq!(
            add_neighbours(&mut p, &links),
            (1, 2),
            "the gateway and the outside host, not the silent inside one"
        );
        assert!(neighbours(&p).contains(&(1, "203.0.113.50".to_owned(), [2, 0x55, 203, 0, 113, 50])));
    }

    #[test]
    fn what_the_configuration_says_stays() {
        let inside = capture(&[Frame::udp("192.168.1.7:1", "198.51.100.1:2").macs(HOST, ROUTER).build()]);
        let mut p = policy();
        p.neighbours.push(StaticNeighbour { port: INSIDE, addr: "192.168.1.7".parse().unwrap(), mac: Mac(OTHER) });
        let links = [Link { port: INSIDE, capture: Some(&inside) }];
        add_neighbours(&mut p, &links);
        assert_eq!(neighbours(&p)[0], (0, "192.168.1.7".to_owned(), OTHER));
        assert_eq!(p.neighbours.iter().filter(|n| n.port == INSIDE).count(), 1);
    }
}
