//! The VPN conversations against a NAT that cannot be wrong, and that same NAT made to do wrong.

use super::perfect::Perfect;
use super::tests::{Mischief, Router, play};
use crate::demo::cast::{self, Cast};
use crate::demo::chance::Chance;
use crate::demo::sim::Sim;
use crate::demo::talk::Kind;
use crate::demo::tally::Tally;
use dataplane::types::Side;
use std::time::Duration;
use testkit::{Seen, Transport};

const VPNS: &[(Kind, usize)] =
    &[(Kind::Pptp, 1), (Kind::Ipsec, 1), (Kind::L2tp, 1), (Kind::L2tpV3, 1), (Kind::OpenVpn, 1), (Kind::WireGuard, 1)];

impl Router for Perfect {
    fn arrive(&mut self, side: Side, frame: &[u8], _: &mut Chance, _: Duration) {
        Perfect::arrive(self, side, frame);
    }

    fn take_sent(&mut self) -> Vec<(Side, Vec<u8>)> {
        Perfect::take_sent(self)
    }
}

fn simulate(kinds: &'static [(Kind, usize)], mischief: Mischief<'_>) -> (Tally, Perfect) {
    let cast = Cast::of(&cast::model().unwrap()).unwrap();
    let mut router = Perfect::new(cast.clone());
    let mut sim = Sim::new(cast, 5, 1_000_000_000);
    sim.weights = kinds;
    let tally = play(&mut sim, 1.0, false, &mut router, mischief);
    (tally, router)
}

#[test]
fn a_router_that_does_all_right_satisfies_every_vpn() {
    let (tally, router) = simulate(VPNS, &mut |_, _, frame| vec![frame]);
    assert!(tally.is_good(), "{:#?}", tally.faults);
    for &(kind, _) in VPNS {
        let count = tally.of(kind);
        assert!(count.verified > 20 && count.verified == count.started, "{kind:?} {count:?}");
    }
    assert_eq!((tally.misled, tally.retold), (0, 0));
    assert!(router.shortened > 0 && tally.resent > 0, "no segment ended in an identifier");
}

/// What one kind finds when one frame in some is spoilt.
fn with(kinds: &'static [(Kind, usize)], mut spoil: impl FnMut(&Seen, Side, &mut Vec<u8>) -> bool) -> Tally {
    let mut spoilt = 0;
    let (tally, _) = simulate(kinds, &mut |_, side, mut frame| {
        let seen = Seen::read(&frame).unwrap();
        if spoilt < 3 && spoil(&seen, side, &mut frame) {
            spoilt += 1;
        }
        vec![frame]
    });
    assert!(spoilt > 0, "nothing was spoilt");
    tally
}

/// A bit of the payload's end is turned, or of the last byte but so many.
fn flip(frame: &mut [u8], from_the_end: usize) -> bool {
    let at = frame.len() - 1 - from_the_end;
    frame[at] ^= 1;
    true
}

#[test]
fn a_changed_byte_in_a_tunnel_is_noticed() {
    for (kinds, protocol) in [(&[(Kind::Pptp, 1)], 47), (&[(Kind::Ipsec, 1)], 50), (&[(Kind::L2tpV3, 1)], 115)] {
        let tally = with(kinds, |seen, _, frame| seen.protocol == protocol && flip(frame, 0));
        assert!(tally.sum().failed > 0, "protocol {protocol}");
    }
}

#[test]
fn a_wrong_call_id_or_spi_is_noticed() {
    // Ethernet 14, IP 20, then the key's low half at 6, or the SPI at 0.
    let tally = with(&[(Kind::Pptp, 1)], |seen, _, frame| {
        matches!(seen.transport, Transport::Gre(_)) && {
            frame[14 + 20 + 7] ^= 1;
            true
        }
    });
    assert!(tally.faults.iter().any(|f| f.contains("was due")), "{:?}", tally.faults);
    let tally = with(&[(Kind::Ipsec, 1)], |seen, _, frame| {
        matches!(seen.transport, Transport::Esp { .. }) && {
            frame[14 + 20] ^= 1;
            true
        }
    });
    assert!(tally.faults.iter().any(|f| f.contains("was due")), "{:?}", tally.faults);
}

/// The frame, but to another inside host, all checksums right.
fn mislead(seen: &Seen, frame: &mut [u8]) {
    let other = if seen.destination.ip().octets()[3] == 20 { 21 } else { 20 };
    let to = std::net::Ipv4Addr::new(192, 168, 1, other);
    frame[..6].copy_from_slice(&cast::mac(Side::Inside, to));
    frame[30..34].copy_from_slice(&to.octets());
    frame[24..26].fill(0);
    let sum = testkit::checksum(&frame[14..34]).to_be_bytes();
    frame[24..26].copy_from_slice(&sum);
}

#[test]
fn a_tunnel_packet_at_the_wrong_host_is_noticed() {
    for (kinds, protocol) in [(&[(Kind::Pptp, 1)], 47), (&[(Kind::L2tpV3, 1)], 115)] {
        let tally = with(kinds, |seen, side, frame| {
            side == Side::Inside && seen.protocol == protocol && {
                mislead(seen, frame);
                true
            }
        });
        assert!(tally.sum().failed > 0 && tally.faults[0].contains("was meant"), "{:?}", tally.faults);
    }
}

#[test]
fn only_a_contested_esp_packet_may_go_astray_and_is_said_again() {
    // The first inbound packets of each SPI go astray: that ends who waited alone, and not who waited with others.
    let mut known = std::collections::HashSet::new();
    let (tally, _) = simulate(&[(Kind::Ipsec, 1)], &mut |_, side, mut frame| {
        let seen = Seen::read(&frame).unwrap();
        if let Transport::Esp { spi, .. } = seen.transport
            && side == Side::Inside
            && known.insert(spi)
        {
            mislead(&seen, &mut frame);
        }
        vec![frame]
    });
    let count = tally.of(Kind::Ipsec);
    assert!(count.failed > 0 && tally.misled > 0 && tally.retold > 0, "{count:?} {}", tally.misled);
    assert!(tally.faults.iter().all(|f| f.contains("was meant")), "{:#?}", tally.faults);
    // A tunnel that has settled is nobody else's.
    let mut settled = std::collections::HashMap::new();
    let tally = with(&[(Kind::Ipsec, 1)], |seen, side, frame| {
        let Transport::Esp { spi, .. } = seen.transport else { return false };
        let times = settled.entry(spi).or_insert(0);
        *times += 1;
        side == Side::Inside && *times == 2 && {
            mislead(seen, frame);
            true
        }
    });
    assert!(tally.of(Kind::Ipsec).failed > 0 && tally.misled == 0, "{:?}", tally.faults);
}

#[test]
fn gre_after_the_call_and_a_roaming_server_that_gets_in_are_noticed() {
    let mut last: Option<Vec<u8>> = None;
    let (tally, _) = simulate(&[(Kind::Pptp, 1)], &mut |_, side, frame| {
        let seen = Seen::read(&frame).unwrap();
        if side == Side::Inside && seen.protocol == 47 {
            last = Some(frame.clone());
        }
        // The end of a call, and a frame of an earlier one comes once more.
        let ends = side == Side::Inside && seen.protocol == 6 && seen.payload.get(9) == Some(&13);
        if ends && let Some(again) = last.take() {
            return vec![frame, again];
        }
        vec![frame]
    });
    assert!(tally.of(Kind::Pptp).failed > 0 && tally.faults.iter().any(|f| f.contains("was not due")));
}

#[test]
fn one_call_id_for_two_clients_is_noticed() {
    let mut world = crate::demo::world::World::new(Cast::of(&cast::model().unwrap()).unwrap(), 1);
    let call = (world.cast.pool[0], world.cast.servers[0], 7);
    world.claim_call(call, (1, 0)).unwrap();
    world.claim_call(call, (1, 0)).unwrap();
    world.claim_call((world.cast.pool[1], call.1, 7), (1, 1)).unwrap();
    assert!(world.claim_call(call, (1, 1)).unwrap_err().contains("two calls"));
    world.release_call(call);
    world.claim_call(call, (2, 0)).unwrap();
    assert!(world.claim_call((call.0, call.1, 0), (2, 1)).unwrap_err().contains("Call ID 0"));
}
