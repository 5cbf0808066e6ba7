//! PPTP as TCP and IP carry it: control segments cut, joined, resent and reordered; GRE byte by byte and in fragments;
//! the hairpin; what is malformed.

use crate::lab::*;
use crate::pptp::{Control, call, gre, id_at, lab, server_inside};
use dataplane::passthrough::tunnel::State;
use dataplane::verdict::{DropReason, Event};
use std::net::Ipv4Addr;
use testkit::{ACK, Flags, Frame, PSH, SYN, Seen, endpoint, fragments, pptp, reassemble};

const OURS: u16 = 0xa1a2;
const THEIRS: u16 = 0xb1b2;

/// Sends a stream's bytes `from..to`, and returns what arrives.
#[track_caller]
fn piece(lab: &mut Lab, c: &Control, out: bool, stream: &[u8], from: usize, to: usize) -> Vec<u8> {
    let [seq, ack] = if out { c.next } else { [c.next[1], c.next[0]] };
    let (a, b, port, other) =
        if out { (c.inside, c.remote, INSIDE, OUTSIDE) } else { (c.remote, c.outside, OUTSIDE, INSIDE) };
    let frame = Frame::tcp(a, b).seq(seq + from as u32).ack(ack).flags(PSH | ACK).payload(stream[from..to].to_vec());
    lab.put(port, frame).only(other).payload
}

/// `stream` cut at `cut`, then resent as one, from the cut's last byte on, and in threes; the same bytes each time.
#[track_caller]
fn cut_and_resent(lab: &mut Lab, c: &mut Control, out: bool, stream: &[u8], cut: usize) -> Vec<u8> {
    let end = stream.len();
    let mut got = piece(lab, c, out, stream, 0, cut);
    got.extend(piece(lab, c, out, stream, cut, end));
    assert_eq!(piece(lab, c, out, stream, 0, end), got, "joined, cut at {cut}");
    assert_eq!(piece(lab, c, out, stream, cut - 1, end), got[cut - 1..], "from {cut} - 1");
    let from = cut.saturating_sub(2);
    for at in (from..end.min(from + 9)).step_by(3) {
        let to = (at + 3).min(end);
        assert_eq!(piece(lab, c, out, stream, at, to), got[at..to], "three bytes at {at}, cut at {cut}");
    }
    c.next[usize::from(!out)] += end as u32;
    got
}

fn with_id(mut stream: Vec<u8>, places: &[usize], id: u16) -> Vec<u8> {
    for &at in places {
        stream[at..at + 2].copy_from_slice(&id.to_be_bytes());
    }
    stream
}

// Row 66: every cut of both directions, resent with other boundaries
#[test]
fn a_conversation_cut_at_every_byte_makes_the_same_call() {
    let out = [pptp::start_request(), pptp::outgoing_call_request(OURS), pptp::set_link_info(THEIRS)].concat();
    let back =
        |id| [pptp::start_reply(1), pptp::outgoing_call_reply(THEIRS, id, 1), pptp::wan_error_notify(id)].concat();
    let longest = out.len().max(back(0).len());
    let mut lab = lab();
    for cut in 1..longest {
        lab.wait_quietly(10);
        let host = Ipv4Addr::new(192, 168, 50, 2 + (cut % 100) as u8);
        let mut c = Control::open(&mut lab, (host, 2000 + cut as u16), (X, 1723));
        let got = cut_and_resent(&mut lab, &mut c, true, &out, cut.min(out.len() - 1));
        let translated = id_at(&got, 156 + 12);
        assert_eq!(got, with_id(out.clone(), &[156 + 12], translated), "outwards, cut at {cut}");
        let sent = back(translated);
        let got = cut_and_resent(&mut lab, &mut c, false, &sent, cut.min(sent.len() - 1));
        assert_eq!(got, back(OURS), "inwards, cut at {cut}");
        c.carries(&mut lab, OURS, translated, THEIRS);
        c.says(&mut lab, &pptp::stop_request());
        assert!(lab.vpn().is_empty());
    }
}

/// A conversation through the box as a script wants it. Where the streams have the client's identifier, the outside
/// has its translation.
fn scripted(lab: &mut Lab, script: &[u8], client: u16) {
    let out = [pptp::start_request(), pptp::outgoing_call_request(OURS), pptp::echo_request(7), pptp::start_request()];
    let into = [pptp::start_reply(1), pptp::outgoing_call_reply(THEIRS, OURS, 1), pptp::set_link_info(OURS)];
    let (out, into) = (out.concat(), into.concat());
    let places = [vec![156 + 12], vec![156 + 14, 188 + 12]];
    let (inside, remote) = (endpoint((A, client)), endpoint((X, 1723)));
    let starts = [u32::MAX - 200, 0x7fff_ff00];
    let (mut outside, mut translated) = (None, [None; 2]);
    pptp::talk(script, starts, [&out, &into], [&out, &into], |s, payload| {
        let way = usize::from(!s.outwards);
        let first = s.seq.wrapping_sub(starts[way]).wrapping_sub(1);
        let ids = places[way].iter().flat_map(|p| [(p, 0), (p, 1)]).map(|(p, n)| ((*p + n) as u32, n));
        let ours = OURS.to_be_bytes();
        let inside_the_stream = |at: u32| at.wrapping_sub(first) as usize;
        if s.refuse {
            return false;
        }
        let mut bytes = payload.clone();
        let (port, other, from, to) = if s.outwards {
            (INSIDE, OUTSIDE, inside, remote)
        } else {
            for (at, n) in ids.clone() {
                if let Some(byte) = bytes.get_mut(inside_the_stream(at)) {
                    let Some(known) = translated[n] else { return false };
                    *byte = known;
                }
            }
            (OUTSIDE, INSIDE, remote, outside.expect("the client speaks first"))
        };
        let mut frame = Frame::tcp(from, to).seq(s.seq).payload(bytes);
        let flags = if s.syn { SYN } else { PSH };
        frame = match s.ack {
            Some(ack) => frame.flags(flags | ACK).ack(ack),
            None => frame.flags(flags).ack(0),
        };
        let o = lab.put(port, frame);
        let dropped = o.drops.keys().all(|r| matches!(r, DropReason::PptpOutOfOrder | DropReason::PptpForgotten));
        assert!(dropped, "{o}");
        if o.is_silent() {
            return false;
        }
        let seen = o.only(other);
        *payload = seen.payload;
        if s.outwards {
            outside = Some(seen.source);
            for (at, n) in ids {
                if let Some(byte) = payload.get_mut(inside_the_stream(at)) {
                    assert_eq!(*translated[n].get_or_insert(*byte), *byte, "another byte than before");
                    *byte = ours[n];
                }
            }
        }
        true
    });
    let [Some(high), Some(low)] = translated else { panic!("no identifier passed") };
    let (c, translated) =
        (Control { inside, remote, outside: outside.unwrap(), next: [0, 0] }, u16::from_be_bytes([high, low]));
    c.carries(lab, OURS, translated, THEIRS);
    let end = starts[0].wrapping_add(1 + out.len() as u32);
    lab.out(
        Frame::tcp(inside, remote)
            .seq(end)
            .ack(starts[1].wrapping_add(1 + into.len() as u32))
            .flags(PSH | ACK)
            .payload(pptp::stop_request()),
    );
    assert!(lab.vpn().is_empty());
}

// Row 66: joins, losses, gaps, resends, refusals, keepalives, over the wrap of sequence numbers
#[test]
fn a_conversation_lost_resent_and_reordered_makes_the_same_call() {
    let mut lab = lab();
    for n in 0..60u16 {
        let script: Vec<u8> = (0..240).map(|_| lab.roll(256) as u8).collect();
        lab.wait(100);
        scripted(&mut lab, &script, 3000 + n);
    }
}

// Row 69: RFC 2637 §4.1
#[test]
fn of_gre_only_the_address_and_the_call_id_change() {
    let mut lab = lab();
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    let translated = c.call(&mut lab, OURS, THEIRS);
    let shapes = |from: &'static str, to: &'static str, id| {
        let plain = || Frame::gre(from, to, id).df().id(77);
        let all = [
            plain().gre_seq(0xffff_ffff).gre_ack(5).payload(vec![0xa1; 1400]),
            plain().gre_seq(1).payload(b"ppp"),
            plain().gre_ack(0x0102_0304),
            plain().gre_seq(3).gre_ack(4).payload(b"x"),
            plain().payload(b""),
        ];
        all.map(|f| f.build())
    };
    for _ in 0..3 {
        for ((port, other), sent, expected) in [
            ((INSIDE, OUTSIDE), shapes(A, X, THEIRS), shapes(P, X, THEIRS)),
            ((OUTSIDE, INSIDE), shapes(X, P, translated), shapes(X, A, OURS)),
        ] {
            for (sent, expected) in sent.iter().zip(&expected) {
                let o = lab.put(port, sent);
                let raw = &o.raw_at(other)[0];
                let mut expected = expected.clone();
                // TTL and the header's checksum, which `Seen::read` verifies; Ethernet.
                expected[22] -= 1;
                expected[24..26].copy_from_slice(&raw[24..26]);
                assert_eq!(raw[14..], expected[14..]);
            }
        }
    }
}

// Row 69: RFC 2784: a key of version 0 is no Call ID
#[test]
fn gre_of_other_versions_and_shapes_is_no_call() {
    let mut lab = lab();
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    let translated = c.call(&mut lab, OURS, THEIRS);
    let [h, l] = translated.to_be_bytes();
    let odd: [(&[u8], DropReason); 5] = [
        (&[0x20, 0x00, 0x88, 0x0b, 0, 0, h, l], DropReason::Protocol),
        (&[0x20, 0x00, 0x08, 0x00, 0, 0, h, l], DropReason::Protocol),
        (&[0x20, 0x02, 0x88, 0x0b, 0, 0, h, l], DropReason::GreHeader),
        (&[0x20, 0x01, 0x08, 0x00, 0, 0, h, l], DropReason::GreHeader),
        (&[0xa0, 0x01, 0x88, 0x0b, 0, 0, h, l], DropReason::GreHeader),
    ];
    for (header, reason) in odd {
        lab.put(OUTSIDE, Frame::ip(47, X, P).payload(header.to_vec())).dropped(reason);
    }
    c.carries(&mut lab, OURS, translated, THEIRS);
}

// Row 72: RFC 4787 REQ-14 by analogy
#[test]
fn fragmented_gre_is_carried_both_ways_in_any_order() {
    let mut lab = lab();
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    let translated = c.call(&mut lab, OURS, THEIRS);
    type Order = fn(Vec<Vec<u8>>) -> Vec<Vec<u8>>;
    let orders: [Order; 3] = [
        |p| p,
        |p| p.into_iter().rev().collect(),
        |mut p| {
            p.rotate_left(1);
            p
        },
    ];
    for (id, order) in (1..).zip(orders) {
        let whole = |from, to, call| Frame::gre(from, to, call).gre_seq(9).id(id).payload(vec![7; 3000]).build();
        for (port, other, sent, called) in
            [(INSIDE, OUTSIDE, whole(A, X, THEIRS), THEIRS), (OUTSIDE, INSIDE, whole(X, P, translated), OURS)]
        {
            let o = lab.put_all(port, order(fragments(&sent, 1400)));
            assert!(o.drops.is_empty(), "{o}");
            let seen = Seen::read(&reassemble(o.raw_at(other)).expect("all pieces")).unwrap();
            assert_eq!((call(&seen), seen.gre().seq, seen.payload), (called, Some(9), vec![7; 3000]));
        }
    }
    // Pieces of what belongs to no call go with their first one.
    let stray = Frame::gre(X, P, translated ^ 1).id(9).payload(vec![7; 3000]).build();
    let o = lab.put_all(OUTSIDE, fragments(&stray, 1400));
    assert!(o.is_silent(), "{o}");
}

// Rows 65, 72 and DESIGN §5: an inside client of an inside server, by the outside address
#[test]
fn an_inside_client_calls_an_inside_server_by_its_forward() {
    for workers in [1, 2, 3, 8] {
        let mut lab = server_inside(workers);
        let (client, server, forward) = (endpoint((A, 1500)), endpoint((B, 1723)), endpoint((P, 1723)));
        let at_server = lab.put(INSIDE, Frame::tcp(client, forward).flags(SYN).seq(1000).ack(0)).only(INSIDE);
        let (seen_as, a_is) = (at_server.source, at_server.destination);
        assert_eq!((a_is, seen_as.ip().to_string()), (server, P.to_string()));
        let to_server = |lab: &mut Lab, seq, ack, payload: Vec<u8>| {
            let seen = lab.put(INSIDE, Frame::tcp(client, forward).seq(seq).ack(ack).payload(payload)).only(INSIDE);
            assert_eq!((seen.source, seen.destination), (seen_as, server));
            seen.payload
        };
        let to_client = |lab: &mut Lab, flags: Flags, seq, ack, payload: Vec<u8>| {
            let frame = Frame::tcp(server, seen_as).flags(flags).seq(seq).ack(ack).payload(payload);
            let seen = lab.put(INSIDE, frame).only(INSIDE);
            assert_eq!((seen.source, seen.destination), (forward, client));
            seen.payload
        };
        to_client(&mut lab, SYN | ACK, 5000, 1001, vec![]);
        to_server(&mut lab, 1001, 5001, vec![]);
        let request = to_server(&mut lab, 1001, 5001, pptp::outgoing_call_request(OURS));
        let a = id_at(&request, 12);
        let reply = to_client(&mut lab, PSH | ACK, 5001, 1169, pptp::outgoing_call_reply(THEIRS, a, 1));
        let b = id_at(&reply, 12);
        assert_eq!(reply, pptp::outgoing_call_reply(b, OURS, 1));
        assert_ne!(a, b, "both are Call IDs of P for the host P");
        // GRE both ways, each identifier translated where it is its host's own.
        let gre_around = |lab: &mut Lab, from: &'static str, id, to: &str, arrives| {
            for _ in 0..3 {
                let seen = lab.put(INSIDE, gre(from, P, id)).only(INSIDE);
                assert_eq!((seen.source.ip().to_string(), call(&seen)), (P.to_string(), arrives));
                assert_eq!(seen.destination.ip().to_string(), to);
            }
        };
        gre_around(&mut lab, A, b, B, THEIRS);
        gre_around(&mut lab, B, a, A, OURS);
        // Meanwhile an outside client uses the server, and the client another server.
        let mut outsider = Control::serve(&mut lab, (X, 4000), forward, server);
        outsider.hears(&mut lab, &pptp::outgoing_call_request(OURS));
        let reply = outsider.says(&mut lab, &pptp::outgoing_call_reply(THEIRS + 1, OURS, 1));
        outsider.carries(&mut lab, THEIRS + 1, id_at(&reply, 12), OURS);
        let mut elsewhere = Control::open(&mut lab, (A, 1501), (Y, 1723));
        let translated = elsewhere.call(&mut lab, OURS, THEIRS);
        elsewhere.carries(&mut lab, OURS, translated, THEIRS);
        gre_around(&mut lab, A, b, B, THEIRS);
        gre_around(&mut lab, B, a, A, OURS);
        assert_eq!(lab.vpn().iter().filter(|r| r.state == State::Confirmed).count(), 4, "{workers} workers");
        // The client hangs up.
        let notify = to_server(&mut lab, 1169, 5033, pptp::call_disconnect_notify(OURS, 1));
        assert_eq!(notify, pptp::call_disconnect_notify(a, 1));
        lab.put(INSIDE, gre(A, P, b)).dropped(DropReason::GreNoCall);
        lab.put(INSIDE, gre(B, P, a)).dropped(DropReason::GreNoCall);
        outsider.carries(&mut lab, THEIRS + 1, id_at(&reply, 12), OURS);
        elsewhere.carries(&mut lab, OURS, translated, THEIRS);
    }
}

// Row 71: RFC 2637 §1.4
#[test]
fn what_is_malformed_passes_opens_nothing_and_ends_no_call() {
    let good = pptp::outgoing_call_request(3);
    let broken = |at: usize, byte: u8| {
        let mut m = good.clone();
        m[at] = byte;
        m
    };
    let streams = [
        broken(0, 1),
        broken(1, 15),
        broken(1, 221),
        broken(1, 40),
        broken(3, 3),
        broken(4, 0),
        broken(7, 0x4e),
        broken(8, 1),
        broken(9, 0),
        broken(9, 16),
        broken(9, 0xff),
        vec![0xff; 1200],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ];
    let mut lab = lab();
    for (n, stream) in (0..).zip(streams) {
        for out in [true, false] {
            let mut c = Control::open(&mut lab, (A, 1500 + 2 * n + u16::from(out)), (X, 1723));
            let translated = c.call(&mut lab, OURS, THEIRS);
            let before = lab.events(Event::PptpMalformed);
            let stream = [stream.clone(), good.clone()].concat();
            let got = if out { c.says(&mut lab, &stream) } else { c.hears(&mut lab, &stream) };
            assert_eq!(got, stream, "passes as it is");
            assert_eq!(lab.events(Event::PptpMalformed) - before, 1);
            let more = pptp::outgoing_call_reply(7, translated, 1);
            assert_eq!(if out { c.says(&mut lab, &more) } else { c.hears(&mut lab, &more) }, more);
            assert_eq!(lab.vpn().len(), 1);
            c.carries(&mut lab, OURS, translated, THEIRS);
            let fin = c.frame_out(b"").flags(testkit::FIN | ACK);
            lab.put(INSIDE, fin).only(OUTSIDE);
            lab.put(OUTSIDE, c.frame_in(b"").flags(testkit::FIN | ACK)).only(INSIDE);
            assert!(lab.vpn().is_empty());
        }
    }
}

// PASSTHROUGH §4.2: messages about unknown calls
#[test]
fn messages_about_no_call_pass_untouched_and_are_counted() {
    let mut lab = lab();
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    let out = [pptp::call_clear_request(OURS), pptp::call_disconnect_notify(OURS, 1)];
    let back = [
        pptp::outgoing_call_reply(THEIRS, OURS, 1),
        pptp::incoming_call_reply(THEIRS, OURS, 1),
        pptp::incoming_call_connected(OURS),
        pptp::call_clear_request(THEIRS),
        pptp::call_disconnect_notify(THEIRS, 1),
        pptp::wan_error_notify(OURS),
        pptp::set_link_info(OURS),
    ];
    for (n, m) in (1..).zip(&out) {
        assert_eq!(c.says(&mut lab, m), *m);
        assert_eq!(lab.events(Event::PptpUnknownCalls), n, "{m:02x?}");
    }
    for (n, m) in (3..).zip(&back) {
        assert_eq!(c.hears(&mut lab, m), *m);
        assert_eq!(lab.events(Event::PptpUnknownCalls), n, "{m:02x?}");
    }
    assert!(lab.vpn().is_empty());
    let translated = c.call(&mut lab, OURS, THEIRS);
    c.carries(&mut lab, OURS, translated, THEIRS);
}
