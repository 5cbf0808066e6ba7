//! Parts of the packet path by themselves, in nanoseconds: what a stage costs when its data is in the cache.
//!
//! The whole process on DPDK devices is measured by `make bench`.

#![allow(missing_docs, reason = "criterion's macro makes a function")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dataplane::flow::index::{Hasher, Index};
use dataplane::flow::session::{NewSession, Sessions};
use dataplane::io::memory::Memory;
use dataplane::nat::rewrite::{self, Hop};
use dataplane::packet::{self, Framing, Meta, Parsed};
use dataplane::policy::{Net, Policy, Port, Rules, StaticNeighbour};
use dataplane::types::{Direction, Endpoint, Inside, Mac, Outside, PortId, Proto, Side, Tick, WorkerId};
use dataplane::worker::Worker;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;

const BOX_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

fn frame(host: u32, port: u16) -> Vec<u8> {
    let host = Ipv4Addr::from_bits(0x0a00_0100 + host);
    testkit::Frame::udp((host, port), (SERVER, 53)).destination_mac(BOX_MAC.0).df().payload(&[0u8; 18]).build()
}

fn policy(sessions: usize) -> Policy {
    let port = |side, addr: Ipv4Addr, prefix| Port {
        side,
        mac: BOX_MAC,
        vlan: None,
        mtu: 1500,
        addresses: vec![(addr, Net::of(addr, prefix))],
        gateway: None,
    };
    let (inside, outside) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(198, 51, 100, 1));
    let mut p = Policy {
        ports: vec![port(Side::Inside, inside, 8), port(Side::Outside, outside, 24)],
        neighbours: vec![StaticNeighbour { port: PortId(1), addr: SERVER, mac: Mac([2, 0, 0, 0, 0, 9]) }],
        pool: vec![Ipv4Addr::new(198, 51, 100, 32)..=Ipv4Addr::new(198, 51, 100, 63)],
        ..Policy::default()
    };
    (p.sizes.sessions, p.sizes.mappings) = (sessions, sessions);
    (p.limits.rate, p.limits.burst) = (1_000_000, 2_000_000);
    p
}

fn parse(c: &mut Criterion) {
    let framing = Framing { mac: BOX_MAC, vlan: None };
    let frame = frame(1, 5000);
    let mut meta = Meta::NONE;
    c.bench_function("parse a UDP frame", |b| b.iter(|| packet::parse_into(black_box(&frame), &framing, &mut meta)));
}

fn translate(c: &mut Criterion) {
    let framing = Framing { mac: BOX_MAC, vlan: None };
    let mut frame = frame(1, 5000);
    let Ok(Parsed::Ip(meta)) = packet::parse(&frame, &framing) else { panic!("a good frame") };
    let mut sessions = Sessions::new(16, 1, Tick(0), false);
    let new = NewSession {
        proto: Proto::UDP,
        inside: Inside(meta.key.from()),
        outside: Outside(Endpoint::new(Ipv4Addr::new(198, 51, 100, 32), 5000)),
        remote: meta.key.to(),
        owner: 0,
        flags: 0,
        inside_port: PortId(0),
    };
    let id = sessions.open(&new, Tick(0), 1000).expect("room");
    let session = *sessions.get(id).expect("open");
    let hop = Hop { decrement_ttl: false, id: None };
    c.bench_function("translate a UDP frame", |b| {
        b.iter(|| rewrite::translate(black_box(&mut frame), &meta, &session, Direction::Out, hop));
    });
}

fn look_up(c: &mut Criterion) {
    const N: u32 = 65_536;
    let hasher = Hasher::new(1);
    let mut index = Index::new(N as usize);
    for n in 0..N {
        index.insert(hasher.pair(u64::from(n), 0), n).expect("room");
    }
    let mut n = 0u32;
    c.bench_function("find one of 64 Ki in the index", |b| {
        b.iter(|| {
            n = (n.wrapping_add(40_503)) % N;
            index.find(hasher.pair(u64::from(n), 0), |slot| slot == n)
        });
    });
}

/// The slow path: a subscriber's first packets, each a new mapping and session.
fn open_sessions(c: &mut Criterion) {
    const N: u32 = 4096;
    let rules = Arc::new(Rules::new(policy(1 << 16), 1));
    let frames: Vec<_> = (0..N).map(|n| frame(n / 64, 10_000 + (n % 64) as u16)).collect();
    let mut group = c.benchmark_group("cold");
    group.throughput(Throughput::Elements(u64::from(N)));
    group.sample_size(20);
    group.bench_function("open 4 Ki sessions and mappings", |b| {
        b.iter_batched(
            || {
                let io = Memory::joined(1, 2, 64).remove(0);
                let mut worker = Worker::new(io, WorkerId(0), Arc::clone(&rules), Arc::default(), Tick(0));
                for f in &frames {
                    worker.io().arrive(PortId(0), f);
                }
                worker
            },
            |mut worker| {
                while worker.poll(Tick(1)) > 0 {}
                assert_eq!(worker.sessions().len(), N as usize);
                worker
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

const HOSTS: u32 = 1024;
const CALLS: u16 = 32;
const POOL: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 32);

fn host(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0100 + n)
}

/// A worker at rest whose inside hosts' Ethernet addresses are known.
fn settled(rules: &Arc<Rules>) -> Worker<Memory> {
    Worker::new(Memory::joined(1, 2, 64).remove(0), WorkerId(0), Arc::clone(rules), Arc::default(), Tick(0))
}

/// Frames by port, each followed by a turn, as an answer needs what it answers.
fn play(worker: &mut Worker<Memory>, frames: &[(PortId, Vec<u8>)]) {
    for (port, frame) in frames {
        worker.io().arrive(*port, frame);
        worker.poll(Tick(1));
    }
}

/// The slow path of tunnels: an ESP pair until it is settled, a PPTP call from its request to its reply.
fn open_tunnels(c: &mut Criterion) {
    let mut p = policy(1 << 14);
    p.pool = vec![POOL..=POOL];
    p.neighbours.extend((0..HOSTS).map(|n| StaticNeighbour {
        port: PortId(0),
        addr: host(n),
        mac: Mac([2, 0, 0, 0, 0, 8]),
    }));
    let rules = Arc::new(Rules::new(p, 1));
    let to = |frame: testkit::Frame<'_>| frame.destination_mac(BOX_MAC.0).df().build();
    let esp: Vec<_> = (0..HOSTS)
        .flat_map(|n| {
            let out = to(testkit::Frame::esp(host(n), SERVER, 0x1000 + n, 1));
            let back = to(testkit::Frame::esp(SERVER, POOL, 0x9000 + n, 1));
            [(PortId(0), out.clone()), (PortId(1), back), (PortId(0), out)]
        })
        .collect();
    let mut pptp = Vec::new();
    for n in 0..HOSTS / u32::from(CALLS) {
        let (inside, outside) = ((host(n), 20_000 + n as u16), (POOL, 20_000 + n as u16));
        let out = testkit::Frame::tcp(inside, (SERVER, 1723));
        let back = testkit::Frame::tcp((SERVER, 1723), outside);
        use testkit::{ACK, SYN};
        pptp.push((PortId(0), to(out.clone().flags(SYN).seq(1000).ack(0))));
        pptp.push((PortId(1), to(back.clone().flags(SYN | ACK).seq(5000).ack(1001))));
        let (mut seq, mut ack) = (1001, 5001);
        for call in 0..CALLS {
            let request = testkit::pptp::incoming_call_request(100 + call);
            let reply = testkit::pptp::incoming_call_reply(call, 100 + call, 1);
            let lengths = (request.len() as u32, reply.len() as u32);
            pptp.push((PortId(1), to(back.clone().seq(ack).ack(seq).payload(request))));
            ack += lengths.0;
            pptp.push((PortId(0), to(out.clone().seq(seq).ack(ack).payload(reply))));
            seq += lengths.1;
        }
    }
    let mut group = c.benchmark_group("cold");
    group.throughput(Throughput::Elements(u64::from(HOSTS)));
    group.sample_size(20);
    for (name, frames) in [("pair 1 Ki ESP tunnels", esp), ("make 1 Ki PPTP calls", pptp)] {
        group.bench_function(name, |b| {
            b.iter_batched(
                || settled(&rules),
                |mut worker| {
                    play(&mut worker, &frames);
                    assert_eq!(worker.nat().tunnels(Tick(1)).count(), HOSTS as usize);
                    worker
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(parts, parse, translate, look_up, open_sessions, open_tunnels);
criterion_main!(parts);
