//! Data of ESP and L2TPv3 goes by the worker that owns its identifier, whatever that worker's tables, the rings and the
//! messages between workers do. How many workers there are, these claims choose themselves.

use crate::esp::{back, confirmed, esp, out};
use crate::l2tp::STOPCCN;
use crate::l2tpv3::{carries, connect, control, data, session};
use crate::lab::*;
use dataplane::io::Buf;
use dataplane::passthrough::loan::LEASE_MS;
use dataplane::policy::{Net, Policy, Route};
use dataplane::verdict::{DropReason, Event};
use dataplane::worker::tag::{Tag, Why};
use std::net::Ipv4Addr;
use testkit::{Frame, Seen, fragments, protocol, reassemble};

const WORKERS: [u8; 3] = [2, 3, 8];

/// A pair whose identifiers are owned by two workers, neither of which is its server's home, where there are so many.
fn apart(lab: &Lab) -> [u32; 2] {
    let home = lab.home_of(X);
    let elsewhere = || (0x1000..0x2000).filter(|id| lab.owner_of(*id) != home);
    let theirs = elsewhere().next().unwrap();
    let ours = elsewhere().find(|id| lab.owner_of(*id) != lab.owner_of(theirs));
    // With two workers, the other one owns both.
    [theirs, ours.unwrap_or(theirs) + 0x8000]
}

/// A pair whose legs are lent.
#[track_caller]
fn lent(lab: &mut Lab) -> [u32; 2] {
    let [theirs, ours] = apart(lab);
    confirmed(lab, A, X, theirs, ours);
    out(lab, A, X, theirs);
    back(lab, X, ours, A);
    assert_eq!(lab.borrowed().iter().sum::<usize>(), 2, "{:?}", lab.borrowed());
    [theirs, ours]
}

// DESIGN §5
#[test]
fn a_settled_tunnel_needs_nobody_but_the_owners_of_its_identifiers() {
    for workers in WORKERS {
        let mut lab = Lab::over(workers, |_| {});
        let [theirs, ours] = lent(&mut lab);
        let before = (lab.events(Event::HandedOff), lab.events_of_each(Event::TranslatedOut));
        for _ in 0..20 {
            let at = lab.owner_of(theirs);
            lab.put_at(at, INSIDE, esp(A, X, theirs)).only(OUTSIDE);
            let at = lab.owner_of(ours);
            lab.put_at(at, OUTSIDE, esp(X, P, ours)).only(INSIDE);
        }
        assert_eq!(lab.events(Event::HandedOff), before.0, "{workers} workers");
        let by_owner = lab.events_of_each(Event::TranslatedOut)[lab.owner_of(theirs)];
        assert_eq!(by_owner - before.1[lab.owner_of(theirs)], 20);
        let row = &lab.vpn()[0];
        assert_eq!((row.out.0, row.inward.0), (23, 22));
        assert_eq!((row.remote_id, row.inside_id), (Some(theirs), Some(ours)));
        // The same when all has ended.
        lab.finish();
        assert_eq!((lab.vpn()[0].out.0, lab.vpn()[0].inward.0), (23, 22));
    }
}

#[test]
fn l2tpv3_sessions_go_by_their_owners_and_come_home_when_the_connection_ends() {
    for workers in WORKERS {
        let mut lab = Lab::over(workers, |_| {});
        let [theirs, ours] = apart(&lab);
        connect(&mut lab, A, 1, 2);
        session(&mut lab, A, [1, 2], [ours, theirs]);
        for _ in 0..4 {
            carries(&mut lab, A, [ours, theirs]);
        }
        assert_eq!(lab.borrowed().iter().sum::<usize>(), 2);
        let before = lab.events(Event::HandedOff);
        let at = lab.owner_of(theirs);
        lab.put_at(at, INSIDE, data(A, X, theirs)).only(OUTSIDE);
        assert_eq!(lab.events(Event::HandedOff), before);
        lab.out(control(A, X, 2, STOPCCN, &[]));
        assert_eq!(lab.borrowed().iter().sum::<usize>(), 0);
        // What is on its way still passes.
        carries(&mut lab, A, [ours, theirs]);
        let row = &lab.vpn()[0];
        lab.wait(70 * S);
        lab.put(OUTSIDE, data(X, P, ours)).dropped(DropReason::L2tpNoSession);
        assert_eq!((lab.vpn().len(), lab.sessions(), row.inside), (0, 0, addr(A)));
    }
}

/// Inside hosts 172.16.0.0/16 by R, and room for many tunnels.
fn many(p: &mut Policy) {
    p.routes.push(Route { net: Net::of(addr("172.16.0.0"), 16), via: addr(R) });
    p.passthrough.tunnels = 1 << 16;
    p.sizes = dataplane::policy::Sizes { sessions: 1 << 17, mappings: 8192, subscribers: 1 << 15, neighbours: 256 };
}

// Issue: one gateway with thousands of tunnels uses every worker
#[test]
fn one_gateways_tunnels_are_shared_evenly_by_all_workers() {
    const TUNNELS: u32 = 2000;
    for workers in WORKERS {
        let mut lab = Lab::over(workers, many).off_the_record();
        // As strongSwan and others choose them: at random.
        let spi = |n: u32, way: u32| (n * 2 + way).wrapping_mul(0x9e37_79b1) | 0x100;
        let host = |n: u32| Ipv4Addr::new(172, 16, (n / 250) as u8, (n % 250 + 1) as u8);
        for n in 0..TUNNELS {
            for _ in 0..2 {
                lab.put(INSIDE, esp(host(n), X, spi(n, 0))).only(OUTSIDE);
                let seen = lab.put(OUTSIDE, esp(X, P, spi(n, 1))).only(INSIDE);
                assert_eq!(*seen.destination.ip(), host(n));
            }
            lab.wait(1);
        }
        let before: Vec<u64> = work(&lab);
        for n in 0..TUNNELS {
            let at = lab.owner_of(spi(n, 0));
            lab.put_at(at, INSIDE, esp(host(n), X, spi(n, 0))).only(OUTSIDE);
            let at = lab.owner_of(spi(n, 1));
            lab.put_at(at, OUTSIDE, esp(X, P, spi(n, 1))).only(INSIDE);
        }
        let did: Vec<u64> = work(&lab).iter().zip(before).map(|(a, b)| a - b).collect();
        let fair = u64::from(TUNNELS) * 2 / u64::from(workers);
        assert!(did.iter().all(|n| n.abs_diff(fair) * 5 < fair), "{workers} workers, fair {fair}: {did:?}");
    }
}

/// Packets that each worker translated.
fn work(lab: &Lab) -> Vec<u64> {
    let [out, inward] = [Event::TranslatedOut, Event::TranslatedIn].map(|e| lab.events_of_each(e));
    out.iter().zip(inward).map(|(a, b)| a + b).collect()
}

fn sequence(seen: &Seen) -> u32 {
    match seen.transport {
        testkit::Transport::Esp { seq, .. } => seq,
        _ => panic!("{seen}"),
    }
}

/// Whatever workers do when: packets of one direction that came by one queue leave in their order, whichever worker
/// sends them. Loans begin, lapse for want of use, and begin again.
#[test]
fn a_tunnels_packets_keep_their_order_while_its_legs_change_hands() {
    for workers in WORKERS {
        for story in 0..60u32 {
            let mut lab = Lab::over(workers, |_| {}).off_the_record();
            for _ in 0..story {
                lab.roll(7);
            }
            let [theirs, ours] = apart(&lab);
            confirmed(&mut lab, A, X, theirs, ours);
            let n = usize::from(workers);
            let queues = [lab.roll(n), lab.roll(n)];
            let mut sent = [1u32; 2];
            let mut seen = [1u32; 2];
            for _ in 0..400 {
                match lab.roll(24) {
                    0..=5 => {
                        for way in [0, 1] {
                            for _ in 0..lab.roll(12) {
                                let frame = if way == 0 {
                                    Frame::esp(A, X, theirs, sent[0])
                                } else {
                                    Frame::esp(X, P, ours, sent[1])
                                };
                                lab.queue(queues[way], PORTS[way], frame);
                                sent[way] += 1;
                            }
                        }
                    }
                    6 if lab.roll(6) == 0 => lab.pass(LEASE_MS + 1),
                    6 | 7 => lab.pass(1),
                    _ => {
                        let at = lab.roll(n);
                        check(&mut lab, at, &mut seen);
                    }
                }
            }
            for _ in 0..30 {
                for at in 0..n {
                    check(&mut lab, at, &mut seen);
                }
            }
            assert_eq!(seen, sent, "story {story}, {workers} workers: {:?}", lab.drops_so_far());
            assert!(lab.events(Event::LegsLent) > 0, "story {story}, {workers} workers");
        }
    }
}

/// A worker polls. What it sends is what is due next in its direction.
#[track_caller]
fn check(lab: &mut Lab, worker: usize, seen: &mut [u32; 2]) {
    let [inward, out, _] = lab.step(worker);
    for (way, s) in out.iter().map(|s| (0, s)).chain(inward.iter().map(|s| (1, s))) {
        assert_eq!(sequence(s), seen[way], "by {worker}: {s}");
        seen[way] += 1;
    }
}

// A direction may be silent for as long as it likes while the other one is in use
#[test]
fn a_silent_direction_lives_while_the_other_one_is_used() {
    for workers in [1, 2, 3, 8] {
        for used in [0, 1] {
            let mut lab = Lab::over(workers, |p| p.timeouts.esp = 100 * S);
            let [theirs, ours] = if workers == 1 { [0x1000, 0x9000] } else { apart(&lab) };
            confirmed(&mut lab, A, X, theirs, ours);
            // A second pair with the same server: an inward SPI that is forgotten would be nobody's.
            confirmed(&mut lab, B, X, theirs + 0x100, ours + 0x100);
            for _ in 0..25 {
                if used == 0 {
                    out(&mut lab, A, X, theirs);
                    out(&mut lab, B, X, theirs + 0x100);
                } else {
                    back(&mut lab, X, ours, A);
                    back(&mut lab, X, ours + 0x100, B);
                }
                lab.wait_quietly(40 * S);
            }
            let opened = lab.events(Event::SessionsOpened);
            back(&mut lab, X, ours, A);
            back(&mut lab, X, ours + 0x100, B);
            out(&mut lab, A, X, theirs);
            assert_eq!(lab.events(Event::SessionsOpened), opened, "{workers} workers");
            lab.wait(99 * S);
            assert_eq!(lab.vpn().len(), 2, "{workers} workers");
            lab.wait(S + 2 * LATE);
            assert_eq!((lab.vpn().len(), lab.sessions(), lab.borrowed().iter().sum()), (0, 0, 0), "{workers} workers");
        }
    }
}

/// Makes messages that wait in rings unreadable, as if they had been lost: each with a chance of one in `one_in`.
fn lose(lab: &mut Lab, one_in: usize) {
    let dice: Vec<bool> = (0..256).map(|_| lab.roll(one_in) == 0).collect();
    let mut n = 0;
    lab.io(|io| {
        io.change_handed(|frame| {
            if Tag::unpack(frame.tag()).why == Why::Message {
                n += 1;
                if dice[n % 256] {
                    frame.data_mut()[0] = 0xff;
                }
            }
        });
    });
}

/// Polls step by step, and loses messages between. How many packets left.
fn stumble(lab: &mut Lab, one_in: usize) -> usize {
    let mut sent = 0;
    for _ in 0..6 {
        for at in 0..lab.workers() {
            sent += lab.step(at).iter().map(Vec::len).sum::<usize>();
            lose(lab, one_in);
        }
    }
    sent
}

#[test]
fn lost_messages_lose_no_packet_and_leave_nothing_behind() {
    for workers in WORKERS {
        for one_in in [1, 2, 5] {
            let mut lab = Lab::over(workers, |p| p.timeouts.esp = 60 * S).off_the_record();
            let [theirs, ours] = apart(&lab);
            confirmed(&mut lab, A, X, theirs, ours);
            let (mut put, mut got) = (0, 0);
            for _ in 0..400 {
                let n = lab.workers();
                for (port, frame) in [(INSIDE, esp(A, X, theirs)), (OUTSIDE, esp(X, P, ours))] {
                    let at = lab.roll(n);
                    lab.queue(at, port, frame);
                    put += 1;
                }
                let step = [1, 10, 300, 3000][lab.roll(4)];
                lab.pass(step);
                got += stumble(&mut lab, one_in);
            }
            lab.pass(100);
            got += stumble(&mut lab, one_in);
            assert_eq!(got, put, "{workers} workers, one in {one_in}: {:?}", lab.drops_so_far());
            assert_eq!(lab.drops_so_far().len(), 0);
            // All goes, though messages go on to be lost.
            for _ in 0..200 {
                lab.pass(600);
                stumble(&mut lab, one_in);
            }
            let left = (lab.vpn().len(), lab.sessions(), lab.borrowed().iter().sum::<usize>());
            assert_eq!(left, (0, 0, 0), "{workers} workers, one in {one_in}");
        }
    }
}

#[test]
fn a_copy_whose_home_is_silent_ends_with_its_lease() {
    let mut lab = Lab::over(2, |_| {});
    let [theirs, _] = lent(&mut lab);
    let at = lab.owner_of(theirs);
    for second in 0..(LEASE_MS / S + 10) {
        // In use all the time, and home hears nothing of it.
        lab.queue(at, INSIDE, esp(A, X, theirs));
        lab.pass(S);
        for _ in 0..4 {
            for worker in 0..2 {
                lab.step(worker);
                lose(&mut lab, 1);
            }
        }
        assert!(second > LEASE_MS / S || lab.borrowed()[at] > 0, "lent for {second} s");
    }
    assert_eq!(lab.borrowed()[at], 0);
    // And packets go by home.
    lab.put_at(at, INSIDE, esp(A, X, theirs)).only(OUTSIDE);
}

#[test]
fn without_buffers_or_room_in_rings_messages_wait_and_packets_pass() {
    let mut lab = Lab::over(2, |_| {});
    let [theirs, ours] = apart(&lab);
    lab.io(|io| io.starved = true);
    confirmed(&mut lab, A, X, theirs, ours);
    for _ in 0..20 {
        out(&mut lab, A, X, theirs);
        back(&mut lab, X, ours, A);
        lab.wait(10);
    }
    assert_eq!(lab.borrowed(), [0, 0]);
    lab.io(|io| io.starved = false);
    out(&mut lab, A, X, theirs);
    back(&mut lab, X, ours, A);
    assert_eq!(lab.borrowed().iter().sum::<usize>(), 2);
}

#[test]
fn an_owner_without_room_leaves_the_packets_to_home() {
    // Room for one tunnel at each worker is room for four borrowed legs.
    let mut lab = Lab::over(2, |p| {
        p.sizes.sessions = 24;
        p.passthrough.tunnels = 64;
    });
    let home = lab.home_of(X);
    let spis: Vec<u32> = (0x1000..).filter(|id| lab.owner_of(*id) != home).take(10).collect();
    for (n, host) in (2..7).map(|n| format!("192.168.50.{n}")).enumerate() {
        confirmed(&mut lab, &host, X, spis[n], spis[n + 5]);
    }
    // The owner's table is full of its own.
    for n in 0..40u16 {
        lab.put(INSIDE, Frame::udp((Ipv4Addr::new(192, 168, 50, 100 + n as u8), 5000), (Y, 53)));
    }
    for _ in 0..4 {
        for (n, host) in (2..7).map(|n| format!("192.168.50.{n}")).enumerate() {
            out(&mut lab, &host, X, spis[n]);
            back(&mut lab, X, spis[n + 5], &host);
        }
        lab.wait(300);
    }
    assert!(lab.events(Event::LegsDeclined) > 0);
}

// Errors, sizes and fragments of a tunnel that other workers carry
#[test]
fn a_lent_leg_answers_for_errors_sizes_and_fragments_as_any() {
    for workers in WORKERS {
        let mut lab = Lab::over(workers, |p| p.ports[1].mtu = 1400);
        let [theirs, ours] = lent(&mut lab);
        for (port, from, to, spi, out_port, seen_by) in
            [(INSIDE, A, X, theirs, OUTSIDE, X), (OUTSIDE, X, P, ours, INSIDE, A)]
        {
            let left = lab.put(port, esp(from, to, spi)).raw[out_port.index()][0].clone();
            let router = if port == INSIDE { G } else { A };
            let seen = lab.put(out_port, Frame::fragmentation_needed(router, 1300, left)).only(port);
            assert_eq!(seen.quoted().data[..4], spi.to_be_bytes(), "{seen}");
            for id in 0..20u16 {
                let whole = Frame::esp(from, to, spi, 2).id(id).payload(vec![6; 4000]).build();
                let mut pieces = fragments(&whole, 1400);
                if id % 2 == 1 {
                    pieces.reverse();
                }
                let o = lab.put_all(port, pieces);
                assert!(o.drops.is_empty(), "{o}");
                let seen = Seen::read(&reassemble(o.raw_at(out_port)).unwrap()).unwrap();
                assert_eq!((seen.spi(), seen.destination.ip()), (spi, &addr(seen_by)));
            }
            let o = lab.put(port, esp(from, to, spi).ttl(1));
            o.dropped_and_told(DropReason::TtlExceeded);
        }
        let o = lab.put(INSIDE, Frame::esp(A, X, theirs, 1).df().payload(vec![0; 1400]));
        o.dropped_and_told(DropReason::TooBig);
        assert_eq!(o.at(INSIDE)[0].icmp().mtu(), 1400);
        let o = lab.put(INSIDE, Frame::esp(A, X, theirs, 1).payload(vec![0; 1400]));
        assert_eq!((o.at(OUTSIDE).len(), o.at(OUTSIDE)[0].protocol), (2, protocol::ESP), "{o}");
        let row = &lab.vpn()[0];
        assert_eq!((row.out.0 > 60, row.inward.0 > 60), (true, true), "{row:?}");
    }
}

#[test]
fn an_owner_asks_for_the_next_hop_before_it_takes_over() {
    for workers in WORKERS {
        let mut lab = Lab::over(workers, |p| p.neighbours.retain(|n| n.addr != addr(G)));
        let [theirs, ours] = apart(&lab);
        let answer = |lab: &mut Lab| lab.put(OUTSIDE, Frame::arp_reply(G_MAC, G, OUTSIDE_MAC, P));
        lab.put(INSIDE, esp(A, X, theirs));
        assert_eq!(answer(&mut lab).only_of(OUTSIDE).spi(), theirs);
        back(&mut lab, X, ours, A);
        for _ in 0..10 {
            // Nothing is lost, whoever knows the gateway.
            let o = lab.put(INSIDE, esp(A, X, theirs));
            assert!(o.drops.is_empty(), "{o}");
            assert_eq!(o.only_of(OUTSIDE).spi(), theirs);
            let o = answer(&mut lab);
            assert!(o.drops.is_empty(), "{o}");
            lab.wait(300);
        }
        assert!(lab.borrowed()[lab.owner_of(theirs)] > 0, "{workers} workers");
    }
}

// What outsiders make up costs home little more than before, and a worker's known tunnels nothing
#[test]
fn a_flood_of_made_up_identifiers_is_bounded_and_disturbs_no_known_tunnel() {
    for workers in WORKERS {
        let mut lab = Lab::over(workers, |_| {}).off_the_record();
        let [theirs, ours] = lent(&mut lab);
        let (handed, messages) = (lab.events(Event::HandedOff), lab.events(Event::Messages));
        let n = lab.workers();
        for id in 0..20_000u32 {
            let at = lab.roll(n);
            lab.queue(at, OUTSIDE, esp(Y, P, 0x10_0000 + id));
        }
        let o = lab.settle();
        assert!(
            o.is_silent()
                && o.drops.keys().all(|r| matches!(r, DropReason::EspUnsolicited | DropReason::TunnelStrangers)),
            "{o}"
        );
        // Once to the owner, and so many home.
        let handed = lab.events(Event::HandedOff) - handed;
        assert!(handed <= 20_000 + 1024 * n as u64, "{handed}");
        assert_eq!(lab.events(Event::Messages), messages);
        back(&mut lab, X, ours, A);
        out(&mut lab, A, X, theirs);
        // In the server's own name: few messages for many packets.
        for id in 0..2000u32 {
            lab.put(OUTSIDE, esp(X, P, 0x20_0000 + id));
            lab.wait(1);
        }
        assert!(lab.events(Event::Messages) - messages < 100, "{}", lab.events(Event::Messages) - messages);
        back(&mut lab, X, ours, A);
        lab.put(OUTSIDE, Frame::esp(Y, P, 5, 1));
    }
}
