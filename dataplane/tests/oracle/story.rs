//! Stories: events in terms of hosts and earlier events, so that they make sense whatever is left of them when they
//! shrink; and the player, which sends them through the dataplane and the model and compares.

use crate::lab::{GATEWAY_MAC, INSIDE, INSIDE_MAC, Lab, Made, OUTSIDE, OUTSIDE_MAC, host_mac, lan, wan};
use crate::model::{End, Fate, Model, Packet, What, Wish};
use dataplane::types::{PortId, Proto};
use dataplane::verdict::DropReason;
use proptest::prelude::*;
use std::net::{Ipv4Addr, SocketAddrV4};
use testkit::{ACK, Checksum, FIN, Flags, Frame, RST, SYN, Seen, fragments, reassemble};

#[derive(Clone, Debug)]
pub enum Event {
    /// An inside host calls a remote one.
    Call { host: u8, port: u8, remote: u8, what: What, by: Way },
    /// An inside host calls an outside end of ours: that of an earlier packet, or a configured one.
    Around { host: u8, port: u8, target: usize, what: What, by: Way },
    /// The receiver of an earlier packet answers: as fits, or whatever.
    Answer { of: usize, what: Option<What>, by: Way },
    /// The sender of an earlier packet sends another.
    Again { of: usize, what: What, by: Way },
    /// After an earlier SYN: SYN-ACK and ACK.
    Shake { of: usize, worker: usize },
    /// A stranger calls an outside end of ours.
    Knock { remote: u8, target: usize, what: What, by: Way },
    /// The receiver of an earlier packet sends an ICMP error about it.
    Error { about: usize, worker: usize },
    /// Whole seconds pass.
    Wait(u32),
}

/// At which worker a packet arrives; in pieces, in this order and at these workers, where there are several.
pub type Way = Vec<usize>;

pub fn event() -> impl Strategy<Value = Event> {
    let tcp = prop_oneof![
        4 => Just(What::Syn), 3 => Just(What::SynAck), 5 => Just(What::Data),
        3 => Just(What::Fin), 1 => Just(What::Reset), 1 => Just(What::Forged),
    ];
    let any = prop_oneof![4 => tcp, 2 => Just(What::Udp), 1 => Just(What::Query), 1 => Just(What::Reply)];
    let opening = prop_oneof![3 => Just(What::Syn), 3 => Just(What::Udp), 1 => Just(What::Query)];
    let first = prop_oneof![9 => opening, 1 => any.clone()];
    let way = prop_oneof![5 => prop::collection::vec(0usize..8, 1), 1 => prop::collection::vec(0usize..8, 2..5)];
    let recent = prop_oneof![4 => 0usize..3, 1 => 0usize..100];
    let (first, any, by, recent) = (first.boxed(), any.boxed(), way.boxed(), recent.boxed());
    prop_oneof![
        4 => (0u8..5, 0u8..5, 0u8..4, first.clone(), by.clone())
            .prop_map(|(host, port, remote, what, by)| Event::Call { host, port, remote, what, by }),
        2 => (0u8..5, 0u8..5, 0usize..20, first.clone(), by.clone())
            .prop_map(|(host, port, target, what, by)| Event::Around { host, port, target, what, by }),
        3 => (recent.clone(), by.clone()).prop_map(|(of, by)| Event::Answer { of, what: None, by }),
        3 => (recent.clone(), any.clone(), by.clone()).prop_map(|(of, w, by)| Event::Answer { of, what: Some(w), by }),
        3 => (recent.clone(), any, by.clone()).prop_map(|(of, what, by)| Event::Again { of, what, by }),
        2 => (recent.clone(), 0usize..8).prop_map(|(of, worker)| Event::Shake { of, worker }),
        2 => (0u8..4, 0usize..20, first, by)
            .prop_map(|(remote, target, what, by)| Event::Knock { remote, target, what, by }),
        1 => (recent, 0usize..8).prop_map(|(about, worker)| Event::Error { about, worker }),
        2 => prop_oneof![5 => 1u32..10, 1 => Just(60), 1 => Just(101)].prop_map(Event::Wait),
    ]
}

/// A packet that was forwarded.
struct Passed {
    /// As its sender sent it.
    sent: Packet,
    /// As its receiver got it.
    got: Packet,
    from_inside: bool,
    went_out: bool,
    frame: Vec<u8>,
}

struct Player {
    lab: Lab,
    model: Model,
    wish: Wish,
    passed: Vec<Passed>,
    number: u16,
}

pub fn play(wish: Wish, workers: u8, seed: u64, events: &[Event]) {
    let lab = Lab::new(&wish, workers, seed);
    let sharding = lab.rules.sharding.clone();
    let owns = Box::new(move |e: End| sharding.of_port(e.1) == sharding.of_inside(e.0));
    let mut p = Player { lab, model: Model::new(wish.clone(), owns), wish, passed: Vec::new(), number: 0 };
    for event in events {
        p.number += 1;
        p.play(event);
        assert_eq!(p.lab.account().unaccounted(), 0, "{:?}", p.lab.account());
        p.check_steering();
    }
    for w in &mut p.lab.workers {
        w.finish();
    }
    let account = p.lab.account();
    assert_eq!((account.unaccounted(), account.held), (0, 0), "{account:?}");
}

impl Player {
    fn play(&mut self, event: &Event) {
        match event {
            Event::Call { host, port, remote, what, by } => {
                let Some(p) = packet(*what, inside_end(*host, *port), remote_end(*remote)) else { return };
                self.inside_sends(p, by);
            }
            Event::Around { host, port, target, what, by } => {
                let Some(p) = packet(*what, inside_end(*host, *port), self.target(*target)) else { return };
                self.inside_sends(p, by);
            }
            Event::Knock { remote, target, what, by } => {
                let Some(p) = packet(*what, remote_end(*remote), self.target(*target)) else { return };
                self.outside_sends(p, by);
            }
            Event::Answer { of, what, by } => self.answer(*of, *what, by),
            Event::Again { of, what, by } => {
                let Some(Passed { sent, from_inside, .. }) = pick(&self.passed, *of) else { return };
                let what = if sent.proto == 6 && proto_of(*what) == 6 { *what } else { sent.what };
                let (p, inside) = (Packet { what, ..*sent }, *from_inside);
                if inside { self.inside_sends(p, by) } else { self.outside_sends(p, by) }
            }
            Event::Shake { of, worker } => {
                if pick(&self.passed, *of).is_some_and(|p| p.got.what == What::Syn) {
                    let before = self.passed.len();
                    self.answer(*of, Some(What::SynAck), &vec![*worker]);
                    if self.passed.len() > before {
                        self.answer(0, Some(What::Data), &vec![*worker]);
                    }
                }
            }
            Event::Error { about, worker } => self.error(*about, *worker),
            Event::Wait(seconds) => {
                self.lab.wait(seconds * 1000);
                self.model.expire(self.lab.now);
            }
        }
    }

    fn answer(&mut self, of: usize, what: Option<What>, by: &Way) {
        let Some(passed) = pick(&self.passed, of) else { return };
        let (got, out) = (passed.got, passed.went_out);
        let what = what.filter(|w| got.proto == 6 && proto_of(*w) == 6).unwrap_or(answer_to(got.what));
        let p = Packet { what, src: got.dst, dst: got.src, ..got };
        if out { self.outside_sends(p, by) } else { self.inside_sends(p, by) }
    }

    /// An outside end that is worth calling.
    fn target(&self, n: usize) -> End {
        let mut ends = vec![(wan(1), 5000), (wan(2), 8443), (wan(3), 5001), (wan(4), 80), (wan(4), 53), (wan(4), 0)];
        ends.extend(self.passed.iter().rev().take(14).map(|p| if p.went_out { p.got.src } else { p.sent.dst }));
        ends[n.min(ends.len() - 1)]
    }

    fn inside_sends(&mut self, p: Packet, by: &Way) {
        let made = self.send(INSIDE, p, host_mac(p.src.0), INSIDE_MAC, by);
        let lab = &self.lab;
        let fate = self.model.inside_sends(p, &|proto, inside| lab.outside_of(proto, inside));
        self.compare(p, fate, INSIDE, &made, by.len());
    }

    fn outside_sends(&mut self, p: Packet, by: &Way) {
        let made = self.send(OUTSIDE, p, GATEWAY_MAC, OUTSIDE_MAC, by);
        let fate = self.model.outside_sends(p);
        self.compare(p, fate, OUTSIDE, &made, by.len());
    }

    fn send(&mut self, port: PortId, p: Packet, from: [u8; 6], to: [u8; 6], by: &Way) -> Made {
        let frame = self.build(p).macs(from, to).build();
        let mut frames: Vec<_> = if in_pieces(p, by) {
            fragments(&frame, 20 + 104).into_iter().zip(by.iter().copied().cycle()).collect()
        } else {
            vec![(frame, by[0])]
        };
        let n = frames.len();
        for (i, &turn) in by.iter().enumerate() {
            frames.swap(i % n, turn % n);
        }
        self.lab.run(port, &frames)
    }

    fn payload(&self) -> Vec<u8> {
        (0..400u16).map(|i| (i ^ self.number) as u8).collect()
    }

    fn build(&self, p: Packet) -> Frame<'static> {
        let (src, dst) = (socket(p.src), socket(p.dst));
        let tcp = |flags: Flags, seq: u32, ack: u32| Frame::tcp(src, dst).flags(flags).seq(seq).ack(ack);
        let frame = match p.what {
            What::Udp => Frame::udp(src, dst),
            What::Query => Frame::echo_request(src, dst, p.src.1, self.number),
            What::Reply => Frame::echo_reply(src, dst, p.dst.1, self.number),
            What::Syn => tcp(SYN, 0, 0),
            What::SynAck => tcp(SYN | ACK, 0, 1),
            What::Data => tcp(ACK, 1, 1),
            What::Fin => tcp(FIN | ACK, 1, 1),
            What::Reset => tcp(RST | ACK, 1, 1),
            What::Forged => tcp(RST | ACK, 0x4000_0000, 0x4000_0000),
        };
        frame.id(self.number).payload(self.payload())
    }

    fn compare(&mut self, p: Packet, fate: Fate, port: PortId, made: &Made, pieces: usize) {
        let context = || format!("{p:?} on {port:?}: the model says {fate:?}, the dataplane made {}", show(made));
        let (same, other) = if port == INSIDE { (&made.inside, &made.outside) } else { (&made.outside, &made.inside) };
        let several = in_pieces(p, &vec![0; pieces]);
        match fate {
            Fate::Outward(q) | Fate::Inward(q) => {
                let out = matches!(fate, Fate::Outward(_));
                let (sent, silent) = if out { (&made.outside, &made.inside) } else { (&made.inside, &made.outside) };
                assert!(made.drops.is_empty() && silent.is_empty(), "{}", context());
                assert_eq!(sent.len() > 1, several, "{}", context());
                let frame = if several { reassemble(sent) } else { sent.first().cloned() };
                let Some(frame) = frame else { panic!("{}", context()) };
                self.check(&frame, q, out, &context());
                self.passed.push(Passed { sent: p, got: q, from_inside: port == INSIDE, went_out: out, frame });
            }
            Fate::Echo => {
                assert!(made.drops.is_empty() && other.is_empty(), "{}", context());
                let frame = if several { reassemble(same) } else { same.first().cloned() };
                let Some(Ok(seen)) = frame.map(|f| Seen::read(&f)) else { panic!("{}", context()) };
                assert_eq!((seen.icmp().kind, seen.icmp().id(), seen.ttl), (0, p.src.1, 64), "{}", context());
                assert_eq!(*seen.destination.ip(), p.src.0, "{}", context());
                assert_eq!(seen.payload, self.payload());
            }
            Fate::Drop(reason) | Fate::Refuse(reason) => {
                let told = usize::from(matches!(fate, Fate::Refuse(_)));
                assert_eq!((same.len(), other.len()), (told, 0), "{}", context());
                if several {
                    assert!(made.drops.get(&reason).is_some_and(|n| *n > 0), "{}", context());
                    let known = |r: &DropReason| *r == reason || *r == DropReason::FragmentOfDropped;
                    assert!(made.drops.keys().all(known), "{}", context());
                } else {
                    assert_eq!(made.drops, [(reason, 1)].into(), "{}", context());
                }
                for frame in same {
                    let seen = Seen::read(frame).unwrap_or_else(|e| panic!("{e}: {}", context()));
                    assert_eq!((seen.icmp().kind, seen.icmp().code), (3, 1), "{}", context());
                    assert_eq!(ends(p.proto, p.what, &seen.quoted().data, seen.quoted()), (p.src, p.dst));
                }
            }
        }
    }

    /// A translated packet, as strictly as can be.
    fn check(&self, frame: &[u8], q: Packet, out: bool, context: &str) {
        let seen = Seen::read(frame).unwrap_or_else(|e| panic!("{e}: {context}"));
        let macs = if out { (OUTSIDE_MAC, GATEWAY_MAC) } else { (INSIDE_MAC, host_mac(q.dst.0)) };
        assert_eq!((seen.source_mac, seen.destination_mac), macs, "{context}");
        assert_eq!((seen.ttl, seen.padding), (63, 0), "{context}");
        let expected = self.build(q).build();
        let due = Seen::read(&expected).expect("the test's own frame");
        assert_eq!((seen.source, seen.destination), (due.source, due.destination), "{context}");
        assert_eq!((&seen.transport, &seen.payload), (&due.transport, &due.payload), "{context}");
    }

    fn error(&mut self, about: usize, worker: usize) {
        let Some(passed) = pick(&self.passed, about) else { return };
        let (got, out) = (passed.got, passed.went_out);
        let (port, from, to) =
            if out { (OUTSIDE, GATEWAY_MAC, OUTSIDE_MAC) } else { (INSIDE, host_mac(got.dst.0), INSIDE_MAC) };
        let frame = Frame::unreachable(got.dst.0, 3, passed.frame.clone()).macs(from, to).build();
        let around = !out && (self.wish.pool.contains(&got.src.0) || got.src.0 == wan(4));
        let made = self.lab.run(port, &[(frame, worker)]);
        let due = self.model.error_about(got, out);
        let context = || format!("an error about {got:?}: the model says {due:?}, the dataplane made {}", show(&made));
        let (sent, silent) = if out || around { (&made.inside, &made.outside) } else { (&made.outside, &made.inside) };
        assert!(silent.is_empty(), "{}", context());
        let Some((from, to, quoted)) = due else {
            assert!(sent.is_empty(), "{}", context());
            assert_eq!(made.drops, [(DropReason::IcmpErrorNoSession, 1)].into(), "{}", context());
            return;
        };
        let [frame] = sent.as_slice() else { panic!("{}", context()) };
        let seen = Seen::read(frame).unwrap_or_else(|e| panic!("{e}: {}", context()));
        let from = if out { from } else { self.outside_address(got).unwrap_or(from) };
        assert_eq!((*seen.source.ip(), *seen.destination.ip()), (from, to), "{}", context());
        assert_eq!((seen.ttl, seen.icmp().kind, seen.icmp().code), (63, 3, 3), "{}", context());
        let q = seen.quoted();
        assert_eq!(ends(quoted.proto, quoted.what, &q.data, q), (quoted.src, quoted.dst), "{}", context());
        assert_eq!(q.checksum, Checksum::Right, "{}", context());
    }

    /// What the world calls the receiver of a packet that came in.
    fn outside_address(&self, got: Packet) -> Option<Ipv4Addr> {
        let same = |p: &&Passed| !p.went_out && p.got == got;
        self.passed.iter().find(same).map(|p| p.sent.dst.0)
    }

    /// Each session and mapping is in the shard that steering leads its packets to.
    fn check_steering(&self) {
        let sharding = &self.lab.rules.sharding;
        for (n, w) in self.lab.workers.iter().enumerate() {
            for (_, s) in w.sessions().iter() {
                let (inside, outside) = (s.inside().0, s.outside().0);
                assert_eq!(sharding.of_inside(inside.addr).index(), n, "{s:?}");
                assert_eq!(self.lab.rules.owner_of_outside(s.proto, outside).index(), n, "{s:?}");
            }
            for m in w.nat().mappings.iter() {
                assert_eq!(sharding.of_port(m.outside.0.port).index(), n, "{m:?}");
                assert!(matches!(m.proto, Proto::TCP | Proto::UDP | Proto::ICMP));
            }
        }
    }
}

/// TCP's beginnings and ends are never sent in pieces: their later pieces say nothing of them.
fn in_pieces(p: Packet, by: &Way) -> bool {
    by.len() > 1 && matches!(p.what, What::Udp | What::Query | What::Reply | What::Data)
}

fn inside_end(host: u8, port: u8) -> End {
    let host = [lan(11), lan(12), lan(13), lan(20), lan(30)][usize::from(host)];
    (host, [443, 501, 5000, 5001, 40_000][usize::from(port)])
}

fn remote_end(n: u8) -> End {
    let end = |a, port| (Ipv4Addr::new(198, 51, 100, a), port);
    [end(7, 53), end(7, 80), end(8, 53), end(8, 4000)][usize::from(n)]
}

/// A packet as a host would send it; `None` where these ends make none.
fn packet(what: What, src: End, dst: End) -> Option<Packet> {
    let proto = proto_of(what);
    let (src, dst) = match what {
        What::Query => (src, (dst.0, 0)),
        What::Reply => ((src.0, 0), dst),
        _ => (src, dst),
    };
    (proto == 1 || dst.1 != 0).then_some(Packet { proto, src, dst, what })
}

fn proto_of(what: What) -> u8 {
    match what {
        What::Udp => 17,
        What::Query | What::Reply => 1,
        _ => 6,
    }
}

fn answer_to(what: What) -> What {
    match what {
        What::Udp => What::Udp,
        What::Query => What::Reply,
        What::Reply => What::Query,
        What::Syn => What::SynAck,
        _ => What::Data,
    }
}

fn pick(passed: &[Passed], n: usize) -> Option<&Passed> {
    // Late packets first, for these have sessions.
    passed.len().checked_sub(1).and_then(|last| passed.get(last - n.min(last)))
}

fn socket(e: End) -> SocketAddrV4 {
    SocketAddrV4::new(e.0, e.1)
}

/// Ends of a quoted packet, as the model writes them.
fn ends(proto: u8, what: What, data: &[u8], q: &testkit::Quoted) -> (End, End) {
    let (s, d) = ((*q.source.ip(), q.source.port()), (*q.destination.ip(), q.destination.port()));
    let id = u16::from_be_bytes([data[4], data[5]]);
    match (proto, what) {
        (1, What::Reply) => (s, (d.0, id)),
        (1, _) => ((s.0, id), d),
        _ => (s, d),
    }
}

fn show(made: &Made) -> String {
    let read = |frames: &[Vec<u8>]| -> Vec<String> {
        frames.iter().map(|f| Seen::read(f).map_or_else(|e| e, |s| s.to_string())).collect()
    };
    format!("inside {:?}, outside {:?}, drops {:?}", read(&made.inside), read(&made.outside), made.drops)
}
