//! Mappings: which outside endpoint an inside endpoint gets.

use crate::lab::*;
use dataplane::policy::{Filtering, Policy};
use dataplane::verdict::{DropReason, Event};
use std::collections::HashSet;
use std::net::Ipv4Addr;
use testkit::{Frame, SYN};

const POOL: [&str; 5] = ["203.0.113.10", "203.0.113.11", "203.0.113.12", "203.0.113.40", "203.0.113.80"];

/// Three ranges, out of order.
fn three_ranges(p: &mut Policy) {
    let range = |a: usize, b: usize| addr(POOL[a])..=addr(POOL[b]);
    p.pool = vec![range(3, 3), range(0, 2), range(4, 4)];
}

fn few_ports(p: &mut Policy, n: u16) {
    p.port_range = 1024..=1024 + n - 1;
}

// Row 1: RFC 4787 REQ-1
#[test]
fn destinations_do_not_matter_to_the_outside_endpoint() {
    let mut lab = Lab::new();
    let n = lab.udp((A, 5000), (X, 1));
    assert_eq!(lab.udp((A, 5000), (X, 2)), n);
    assert_eq!(lab.udp((A, 5000), (Y, 1)), n);
    lab.delivers((X, 1), n, (A, 5000));
    lab.delivers((X, 2), n, (A, 5000));
    lab.delivers((Y, 1), n, (A, 5000));
    assert_eq!((lab.mappings(), lab.sessions()), (1, 3));
}

// Row 1: what is carried stays what it is, in both directions
#[test]
fn nothing_but_addresses_ports_ttl_and_checksums_changes() {
    let mut lab = Lab::new();
    let payload: Vec<u8> = (0..=255).collect();
    for len in [0, 1, 2, 3, 255] {
        let n = lab.out(Frame::udp((A, 5000), (X, 53)).tos(0xb9).df().id(77).payload(&payload[..len])).source;
        lab.back(Frame::udp((X, 53), n).tos(0x03).id(9).ttl(2).payload(&payload[..len]));
    }
}

// Row 2: RFC 4787 REQ-2, RFC 6888 REQ-2
#[test]
fn all_flows_of_a_host_use_one_pool_address() {
    let mut lab = Lab::with(three_ranges);
    for host in [A, B] {
        let mut seen = HashSet::new();
        for n in 0..334u16 {
            seen.insert(*lab.udp((host, 4000 + n), (X, 53)).ip());
            seen.insert(*lab.out(Frame::tcp((host, 4000 + n), (Y, 80)).flags(SYN).ack(0)).source.ip());
            seen.insert(*lab.out(Frame::echo_request(host, X, n, 1)).source.ip());
        }
        assert_eq!(seen.len(), 1, "{host} left from {seen:?}");
    }
}

// Row 44: RFC 6888 REQ-3
#[test]
fn every_address_of_a_pool_of_three_ranges_is_used() {
    let mut lab = Lab::with(three_ranges);
    let mut used = HashSet::new();
    for host in 2..250 {
        used.insert(*lab.udp((Ipv4Addr::new(192, 168, 50, host), 5000), (X, 53)).ip());
    }
    assert_eq!(used, POOL.map(addr).into_iter().collect());
}

// Row 44: answers come back to each of them
#[test]
fn answers_to_every_pool_address_are_delivered() {
    let mut lab = Lab::with(three_ranges);
    for host in 2..50 {
        let a = Ipv4Addr::new(192, 168, 50, host);
        let n = lab.udp((a, 5000), (X, 53));
        lab.delivers((X, 53), n, (a, 5000));
    }
}

// Row 3: RFC 7857 §4
#[test]
fn a_host_whose_address_has_no_port_left_is_refused() {
    let mut lab = Lab::single(|p| {
        three_ranges(p);
        few_ports(p, 4);
    });
    for n in 0..4 {
        lab.udp((A, 5000 + n), (X, 53));
    }
    lab.put(INSIDE, Frame::udp((A, 5004), (X, 53))).dropped_and_told(DropReason::PortsExhausted);
    lab.udp((A, 5000), (Y, 53));
}

// Row 3: RFC 7857 §4, the explicit option
#[test]
fn another_address_is_taken_only_where_the_operator_said_so() {
    let mut lab = Lab::single(|p| {
        three_ranges(p);
        few_ports(p, 4);
        p.other_address = true;
    });
    let used: Vec<_> = (0..8).map(|n| *lab.udp((A, 5000 + n), (X, 53)).ip()).collect();
    assert!(used[..4].iter().all(|a| *a == used[0]), "{used:?}");
    assert!(used[4..].iter().all(|a| *a == used[4] && *a != used[0]), "{used:?}");
}

// Row 4: RFC 4787 REQ-3, RFC 5382 REQ-7
#[test]
fn two_inside_endpoints_never_share_an_outside_endpoint() {
    let mut lab = Lab::new();
    let (a, b) = (lab.udp((A, 5000), (X, 53)), lab.udp((B, 5000), (X, 53)));
    assert_ne!(a, b);
    lab.delivers((X, 53), a, (A, 5000));
    lab.delivers((X, 53), b, (B, 5000));
    let (a, b) = (lab.connect((A, 5000), (X, 80)), lab.connect((B, 5000), (X, 80)));
    assert_ne!(a, b);
}

// Row 4: RFC 4787 REQ-3, down to the last port
#[test]
fn a_thousand_flows_over_a_thousand_ports_share_none() {
    let mut lab = Lab::single(|p| few_ports(p, 1000));
    let mut seen = HashSet::new();
    for n in 0..500 {
        assert!(seen.insert(lab.udp((A, 5000 + n), (X, 53))));
        assert!(seen.insert(lab.udp((B, 5000 + n), (X, 53))));
    }
    lab.put(INSIDE, Frame::udp((B, 9000), (X, 53))).dropped_and_told(DropReason::PortsExhausted);
}

// Row 5: RFC 4787 REQ-3a
#[test]
fn low_ports_stay_low_and_high_ports_stay_high() {
    let mut lab = Lab::new();
    for host in [A, B, R] {
        for port in [1, 2, 500, 501, 1023] {
            assert!(lab.udp((host, port), (X, 53)).port() < 1024, "{host}:{port}");
        }
        for port in [1024, 1025, 5000, 65_535] {
            assert!(lab.udp((host, port), (X, 53)).port() >= 1024, "{host}:{port}");
        }
    }
}

// Row 5: port preservation (RFC 4787 §4.2.1) where there is no clash
#[test]
fn a_free_port_is_kept_low_or_high() {
    let mut lab = Lab::single(|_| {});
    for port in [1, 500, 1023, 1024, 5000, 65_535] {
        assert_eq!(lab.udp((A, port), (X, 53)).port(), port);
        assert_eq!(lab.connect((A, port), (X, 80)).port(), port);
        assert_ne!(lab.udp((B, port), (X, 53)).port(), port);
    }
}

#[test]
fn ports_are_not_kept_when_the_operator_does_not_want_it() {
    let mut lab = Lab::with(|p| p.preserve_port = false);
    let kept = (0..100).filter(|n| lab.udp((A, 5000 + n), (X, 53)).port() == 5000 + n).count();
    assert!(kept < 3, "{kept} of 100 were kept");
}

// Row 6: RFC 4787 REQ-4, RFC 7857 §8
#[test]
fn udp_parity_is_kept() {
    let mut lab = Lab::with(|p| p.preserve_port = false);
    for port in [500, 501, 5000, 5001, 65_534, 65_535] {
        for host in [A, B, R] {
            assert_eq!(lab.udp((host, port), (X, 53)).port() % 2, port % 2, "{host}:{port}");
        }
    }
}

// Row 6: RFC 7857 §8, switched off
#[test]
fn udp_parity_is_not_kept_when_switched_off() {
    let mut lab = Lab::with(|p| {
        p.preserve_port = false;
        p.parity = false;
    });
    let odd = (0..100).filter(|n| lab.udp((A, 5000 + n * 2), (X, 53)).port() % 2 == 1).count();
    assert!((20..80).contains(&odd), "{odd} of 100");
}

// Row 6: RFC 4787 REQ-4 is about UDP; a host is not refused for parity's sake
#[test]
fn the_other_parity_is_taken_when_one_is_used_up() {
    let mut lab = Lab::single(|p| few_ports(p, 4));
    let ports: HashSet<_> = (0..4).map(|n| lab.udp((A, 5000 + 2 * n), (X, 53)).port()).collect();
    assert_eq!(ports.len(), 4);
}

// Row 15: RFC 4787 REQ-11
#[test]
fn mapping_and_filtering_are_the_same_at_95_percent_load() {
    for filtering in FILTERINGS {
        let mut lab = Lab::single(|p| {
            few_ports(p, 100);
            p.filtering = filtering;
        });
        for n in 0..94 {
            lab.udp((B, 5000 + n), (X, 53));
        }
        let n = lab.udp((A, 5000), (X, 1));
        assert_eq!(lab.udp((A, 5000), (Y, 2)), n);
        lab.delivers((X, 1), n, (A, 5000));
        let other_port = lab.put(OUTSIDE, Frame::udp((X, 2), n)).drops.is_empty();
        let stranger = lab.put(OUTSIDE, Frame::udp((N, 2), n)).drops.is_empty();
        let expected = match filtering {
            Filtering::EndpointIndependent => (true, true),
            Filtering::AddressDependent => (true, false),
            Filtering::AddressAndPortDependent => (false, false),
        };
        assert_eq!((other_port, stranger), expected, "{filtering:?}");
    }
}

// Row 19: RFC 7857 §5, §6
#[test]
fn protocols_have_their_own_mappings() {
    let mut lab = Lab::single(|p| p.filtering = Filtering::EndpointIndependent);
    let n = lab.udp((A, 5000), (X, 53));
    lab.put(OUTSIDE, Frame::tcp((X, 53), n).flags(SYN).ack(0)).dropped(DropReason::Unsolicited);
    // The same number serves another host's TCP.
    let t = lab.connect((B, 5000), (X, 80));
    assert_eq!(t.port(), n.port());
    lab.put(OUTSIDE, Frame::udp((X, 80), t)).only(INSIDE);
    lab.refuses((X, 80), "203.0.113.2:5001".parse().unwrap(), DropReason::Unsolicited);
}

// Row 20: RFC 7857 §9, RFC 6888 REQ-15
#[test]
fn changed_ports_show_no_sequence() {
    let mut lab = Lab::with(|p| p.preserve_port = false);
    let mut ports = Vec::new();
    for host in 2..7 {
        for n in 0..400 {
            ports.push(i32::from(lab.udp((Ipv4Addr::new(192, 168, 50, host), 5000 + n), (X, 53)).port()));
        }
    }
    let close = ports.windows(2).filter(|w| (w[1] - w[0]).abs() <= 8).count();
    assert!(close < 12, "{close} of 2000 follow their predecessor closely");
    let ascending = ports.windows(2).filter(|w| w[1] > w[0]).count();
    assert!((880..1120).contains(&ascending), "{ascending} of 2000 ascend");
}

// Row 21: RFC 7857 §10, RFC 6864 §5.2
#[test]
fn datagrams_that_may_be_fragmented_leave_with_distinct_identifications() {
    let mut lab = Lab::new();
    let mut ids = HashSet::new();
    for n in 0..500 {
        let (a, b) = (Frame::udp((A, 5000), (X, 53)).id(n), Frame::udp((B, 5000), (X, 53)).id(n));
        assert!(ids.insert(lab.out(a).id) && ids.insert(lab.out(b).id), "repeated after {n}");
    }
}

// The account of tables: each thing opened is closed
#[test]
fn all_that_was_opened_is_closed_when_it_is_over() {
    let mut lab = Lab::new();
    for n in 0..50 {
        lab.udp((A, 5000 + n), (X, 53));
        lab.out(Frame::echo_request(B, X, n, 1));
        lab.connect((B, 5000 + n), (X, 80));
    }
    assert_eq!((lab.sessions(), lab.mappings(), lab.subscribers()), (150, 150, 2));
    lab.wait(7_440 * S + 300 * S);
    assert_eq!((lab.sessions(), lab.mappings(), lab.subscribers()), (0, 0, 0));
    for (opened, closed) in [
        (Event::SessionsOpened, Event::SessionsClosed),
        (Event::MappingsOpened, Event::MappingsClosed),
        (Event::SubscribersOpened, Event::SubscribersClosed),
    ] {
        assert_eq!(lab.events(opened), lab.events(closed), "{opened:?}");
    }
}

// A table that could not take a session must not keep the mapping that was revived for it
#[test]
fn a_mapping_revived_in_vain_goes_back_to_rest() {
    let mut lab = Lab::single(|p| {
        p.sizes.sessions = 1;
        p.filtering = Filtering::EndpointIndependent;
    });
    let n = lab.udp((A, 5000), (X, 53));
    lab.wait_quietly(300 * S + LATE);
    lab.udp((B, 6000), (X, 53));
    lab.put(INSIDE, Frame::udp((A, 5000), (X, 53))).dropped_and_told(DropReason::SessionTableFull);
    assert_eq!((lab.mappings(), lab.subscribers()), (1, 1));
    lab.refuses((Y, 1), n, DropReason::Unsolicited);
    lab.wait_quietly(300 * S + LATE);
    assert_eq!((lab.mappings(), lab.subscribers()), (0, 0));
}

// Row 48: and its port goes on resting
#[test]
fn a_mapping_revived_in_vain_does_not_free_its_port() {
    let mut lab = Lab::single(|p| {
        p.sizes.sessions = 1;
        few_ports(p, 2);
    });
    let n = lab.udp((A, 1024), (X, 53));
    lab.wait_quietly(300 * S + LATE);
    lab.udp((B, 1025), (X, 53));
    lab.put(INSIDE, Frame::udp((A, 1024), (X, 53))).dropped_and_told(DropReason::SessionTableFull);
    lab.put(INSIDE, Frame::udp((B, 1024), (X, 53))).dropped_and_told(DropReason::PortsExhausted);
    assert_eq!(n.port(), 1024);
}
