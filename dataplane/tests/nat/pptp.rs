//! PPTP: the control connection is followed, Call IDs are translated, GRE passes for calls and for nothing else.

use crate::lab::*;
use dataplane::passthrough::tunnel::State;
use dataplane::policy::Forward;
use dataplane::types::Proto;
use dataplane::verdict::{DropReason, Event};
use std::net::SocketAddrV4;
use testkit::{ACK, FIN, Flags, Frame, IntoEndpoint, PSH, RST, SYN, Seen, Transport, endpoint, pptp};

/// Call IDs are random, and so is what is compared over several workers.
pub(crate) fn lab() -> Lab {
    Lab::new().off_the_record()
}

/// A control connection as its two ends see it.
pub(crate) struct Control {
    pub(crate) inside: SocketAddrV4,
    pub(crate) remote: SocketAddrV4,
    pub(crate) outside: SocketAddrV4,
    /// Next sequence numbers: inside, remote.
    pub(crate) next: [u32; 2],
}

impl Control {
    /// An inside client connects to a server.
    #[track_caller]
    pub(crate) fn open(lab: &mut Lab, inside: impl IntoEndpoint, remote: impl IntoEndpoint) -> Self {
        let (inside, remote) = (endpoint(inside), endpoint(remote));
        let outside = lab.connect(inside, remote);
        Self { inside, remote, outside, next: [1001, 5001] }
    }

    /// An outside client connects to an inside server.
    #[track_caller]
    pub(crate) fn serve(
        lab: &mut Lab,
        remote: impl IntoEndpoint,
        outside: impl IntoEndpoint,
        inside: impl IntoEndpoint,
    ) -> Self {
        let (inside, remote, outside) = (endpoint(inside), endpoint(remote), endpoint(outside));
        lab.back(Frame::tcp(remote, outside).flags(SYN).seq(5000).ack(0));
        lab.out(Frame::tcp(inside, remote).flags(SYN | ACK).seq(1000).ack(5001));
        lab.back(Frame::tcp(remote, outside).seq(5001).ack(1001));
        Self { inside, remote, outside, next: [1001, 5001] }
    }

    pub(crate) fn frame_out(&self, payload: &[u8]) -> Frame<'static> {
        let [seq, ack] = self.next;
        Frame::tcp(self.inside, self.remote).seq(seq).ack(ack).flags(PSH | ACK).payload(payload.to_vec())
    }

    pub(crate) fn frame_in(&self, payload: &[u8]) -> Frame<'static> {
        let [ack, seq] = self.next;
        Frame::tcp(self.remote, self.outside).seq(seq).ack(ack).flags(PSH | ACK).payload(payload.to_vec())
    }

    /// The inside host sends this; the remote one gets the result.
    #[track_caller]
    pub(crate) fn says(&mut self, lab: &mut Lab, payload: &[u8]) -> Vec<u8> {
        let seen = lab.put(INSIDE, self.frame_out(payload)).only(OUTSIDE);
        assert_eq!((seen.source, seen.destination), (self.outside, self.remote));
        self.next[0] += payload.len() as u32;
        seen.payload
    }

    /// The remote host sends this; the inside one gets the result.
    #[track_caller]
    pub(crate) fn hears(&mut self, lab: &mut Lab, payload: &[u8]) -> Vec<u8> {
        let seen = lab.put(OUTSIDE, self.frame_in(payload)).only(INSIDE);
        assert_eq!((seen.source, seen.destination), (self.remote, self.inside));
        self.next[1] += payload.len() as u32;
        seen.payload
    }

    /// The inside client calls; returns the translated identifier.
    #[track_caller]
    pub(crate) fn call(&mut self, lab: &mut Lab, ours: u16, theirs: u16) -> u16 {
        let request = self.says(lab, &pptp::outgoing_call_request(ours));
        let translated = id_at(&request, 12);
        let reply = self.hears(lab, &pptp::outgoing_call_reply(theirs, translated, 1));
        assert_eq!(reply, pptp::outgoing_call_reply(theirs, ours, 1), "the client gets its own identifier back");
        translated
    }

    /// GRE passes both ways.
    #[track_caller]
    pub(crate) fn carries(&self, lab: &mut Lab, ours: u16, translated: u16, theirs: u16) {
        let seen = lab.put(INSIDE, gre(*self.inside.ip(), *self.remote.ip(), theirs)).only(OUTSIDE);
        assert_eq!((seen.source.ip(), call(&seen)), (self.outside.ip(), theirs));
        let seen = lab.put(OUTSIDE, gre(*self.remote.ip(), *self.outside.ip(), translated)).only(INSIDE);
        assert_eq!((seen.destination.ip(), call(&seen)), (self.inside.ip(), ours));
    }
}

pub(crate) fn gre(from: impl IntoEndpoint, to: impl IntoEndpoint, id: u16) -> Frame<'static> {
    Frame::gre(from, to, id).gre_seq(9).gre_ack(8).payload(b"ppp".to_vec())
}

pub(crate) fn id_at(message: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([message[at], message[at + 1]])
}

/// The Call ID of a GRE packet.
pub(crate) fn call(seen: &Seen) -> u16 {
    match &seen.transport {
        Transport::Gre(g) => g.call_id,
        other => panic!("no GRE: {other:?}"),
    }
}

// Row 60: RFC 2637 §2.7, §3.2.2
#[test]
fn two_clients_that_chose_the_same_call_id_of_one_server_are_told_apart() {
    let mut lab = lab();
    let mut calls = Vec::new();
    for (host, theirs) in [(A, 7), (B, 8)] {
        let mut c = Control::open(&mut lab, (host, 1500), (X, 1723));
        let translated = c.call(&mut lab, 0, theirs);
        calls.push((c, translated, theirs));
    }
    assert_ne!(calls[0].1, calls[1].1);
    for (c, translated, theirs) in &calls {
        c.carries(&mut lab, 0, *translated, *theirs);
    }
    assert_eq!(lab.vpn().len(), 2);
    assert!(lab.vpn().iter().all(|r| r.state == State::Confirmed));
}

// Row 61: RFC 2637 §2.7 to §2.15: every message, both ways, byte for byte
#[test]
fn an_identifier_is_translated_where_it_is_ours_and_nowhere_else() {
    let mut lab = lab();
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    let translated = c.call(&mut lab, 0xa1a2, 0xb1b2);
    let place = |m: &[u8], at: usize, id: u16| {
        let mut m = m.to_vec();
        m[at..at + 2].copy_from_slice(&id.to_be_bytes());
        m
    };
    for (kind, message) in (1u8..).zip(pptp::one_of_each(0xa1a2, 0xb1b2, 1)) {
        // Those that end the call come in tests of their own.
        if matches!(kind, 3 | 4 | 12 | 13) {
            continue;
        }
        let expected = if matches!(kind, 7..=10) { place(&message, 12, translated) } else { message.clone() };
        assert_eq!(c.says(&mut lab, &message), expected, "type {kind} outwards");
    }
    for (kind, message) in (1u8..).zip(pptp::one_of_each(0xb1b2, translated, 1)) {
        if matches!(kind, 3 | 4 | 12 | 13) {
            continue;
        }
        let expected = match kind {
            8 | 10 => place(&message, 14, 0xa1a2),
            11 | 14 | 15 => place(&message, 12, 0xa1a2),
            _ => message.clone(),
        };
        assert_eq!(c.hears(&mut lab, &message), expected, "type {kind} inwards");
    }
    let clear = c.says(&mut lab, &pptp::call_clear_request(0xa1a2));
    assert_eq!(clear, pptp::call_clear_request(translated));
}

// Row 62: RFC 2637 §2.13
#[test]
fn a_disconnect_from_the_server_is_not_touched_and_ends_the_right_call() {
    let mut lab = lab();
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    // The second call's translation is also the first one's server's identifier: only ownership tells them apart.
    let first = c.call(&mut lab, 1, 700);
    let second = c.call(&mut lab, 2, first);
    let notify = pptp::call_disconnect_notify(first, 1);
    assert_eq!(c.hears(&mut lab, &notify), notify);
    c.carries(&mut lab, 1, first, 700);
    lab.put(OUTSIDE, gre(X, P, second)).dropped(DropReason::GreNoCall);
}

// Row 63: RFC 2637 §3.2
#[test]
fn one_control_connection_carries_several_calls() {
    let mut lab = lab();
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    let calls: Vec<_> = (0..8u16).map(|n| (n * 300, c.call(&mut lab, n * 300, 50 + n), 50 + n)).collect();
    for (ours, translated, theirs) in calls {
        c.carries(&mut lab, ours, translated, theirs);
    }
}

// Row 64: RFC 2637 §2.9 to §2.11
#[test]
fn a_server_may_call_its_client() {
    let mut lab = lab();
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    assert_eq!(c.hears(&mut lab, &pptp::incoming_call_request(77)), pptp::incoming_call_request(77));
    let reply = c.says(&mut lab, &pptp::incoming_call_reply(5, 77, 1));
    let translated = id_at(&reply, 12);
    assert_eq!(reply, pptp::incoming_call_reply(translated, 77, 1));
    let connected = c.hears(&mut lab, &pptp::incoming_call_connected(translated));
    assert_eq!(connected, pptp::incoming_call_connected(5));
    c.carries(&mut lab, 5, translated, 77);
}

/// P:1723 → B:1723.
pub(crate) fn server_inside(workers: u8) -> Lab {
    let forward =
        Forward { proto: Proto::TCP, outside: addr(P), ports: 1723..=1723, inside: addr(B), inside_port: 1723 };
    Lab::over(workers, |p| p.forwards = vec![forward]).off_the_record()
}

// Row 65: RFC 2637: the same rule by ownership, the other way round
#[test]
fn a_server_inside_serves_clients_outside_behind_a_forward() {
    let mut lab = server_inside(crate::workers::count());
    for (client, theirs) in [(X, 3), (Y, 3)] {
        let mut c = Control::serve(&mut lab, (client, 4000), (P, 1723), (B, 1723));
        assert_eq!(c.hears(&mut lab, &pptp::outgoing_call_request(theirs)), pptp::outgoing_call_request(theirs));
        let reply = c.says(&mut lab, &pptp::outgoing_call_reply(9, theirs, 1));
        let translated = id_at(&reply, 12);
        assert_eq!(reply, pptp::outgoing_call_reply(translated, theirs, 1));
        c.carries(&mut lab, 9, translated, theirs);
        let info = c.hears(&mut lab, &pptp::set_link_info(translated));
        assert_eq!(info, pptp::set_link_info(9));
    }
}

// Row 67: RFC 2637 §3.2.4
#[test]
fn gre_may_overtake_the_reply_but_not_the_request() {
    let mut lab = lab();
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    for id in [0, 1500, 1723, 40_000] {
        lab.put(OUTSIDE, gre(X, P, id)).dropped(DropReason::GreNoCall);
        lab.put(INSIDE, gre(A, X, id)).dropped(DropReason::GreNoCall);
    }
    let translated = id_at(&c.says(&mut lab, &pptp::outgoing_call_request(4)), 12);
    let seen = lab.put(OUTSIDE, gre(X, P, translated)).only(INSIDE);
    assert_eq!((seen.destination.ip().to_string(), call(&seen)), (A.to_string(), 4));
    lab.put(OUTSIDE, gre(Y, P, translated)).dropped(DropReason::GreNoCall);
}

/// A call, ended in some way; GRE stops both ways, at once or when it was announced.
#[track_caller]
fn ends(how: impl FnOnce(&mut Lab, &mut Control, u16), after: u32) {
    let mut lab = lab();
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    let translated = c.call(&mut lab, 4, 9);
    c.carries(&mut lab, 4, translated, 9);
    how(&mut lab, &mut c, translated);
    lab.wait(after);
    lab.put(OUTSIDE, gre(X, P, translated)).dropped(DropReason::GreNoCall);
    lab.put(INSIDE, gre(A, X, 9)).dropped(DropReason::GreNoCall);
    assert!(lab.vpn().is_empty());
}

// Row 68: RFC 2637 §2.3, §2.12, §2.13
#[test]
fn gre_ends_with_its_call_and_with_the_control_connection() {
    let flagged = |c: &Control, flags: Flags| c.frame_out(b"").flags(flags);
    ends(|l, c, _| drop(c.says(l, &pptp::call_disconnect_notify(4, 1))), 0);
    ends(|l, c, _| drop(c.hears(l, &pptp::call_disconnect_notify(9, 1))), 0);
    ends(|l, c, _| drop(c.says(l, &pptp::call_clear_request(4))), 60 * S + LATE);
    ends(|l, c, _| drop(c.says(l, &pptp::stop_request())), 0);
    ends(|l, c, _| drop(c.hears(l, &pptp::stop_request())), 0);
    ends(|l, c, _| drop(l.put(INSIDE, flagged(c, RST | ACK)).only(OUTSIDE)), 0);
    ends(|l, c, _| drop(l.put(INSIDE, flagged(c, FIN | ACK)).only(OUTSIDE)), 0);
    let acknowledge = |l: &mut Lab, c: &Control| drop(l.put(INSIDE, flagged(c, ACK)).only(OUTSIDE));
    ends(
        |l, c, _| {
            acknowledge(l, c);
            l.put(OUTSIDE, c.frame_in(b"").flags(FIN | ACK)).only(INSIDE);
        },
        0,
    );
    // Before that was acknowledged which is in front of it: with the other side's.
    ends(
        |l, c, _| {
            l.put(OUTSIDE, c.frame_in(b"").flags(FIN | ACK)).only(INSIDE);
            l.put(INSIDE, flagged(c, FIN | ACK)).only(OUTSIDE);
        },
        0,
    );
    ends(|_, _, _| {}, 7_440 * S + LATE);
}

// Row 68: a reply that refuses makes no call
#[test]
fn a_refused_call_carries_nothing() {
    let mut lab = lab();
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    let translated = id_at(&c.says(&mut lab, &pptp::outgoing_call_request(4)), 12);
    c.hears(&mut lab, &pptp::outgoing_call_reply(0, translated, 4));
    lab.put(OUTSIDE, gre(X, P, translated)).dropped(DropReason::GreNoCall);
    assert!(lab.vpn().is_empty());
}

// Row 70: RFC 2637 §3.1.4: an echo each 60 s
#[test]
fn echoes_keep_the_control_connection_and_its_calls_for_hours() {
    let mut lab = lab();
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    let translated = c.call(&mut lab, 4, 9);
    for n in 0..180 {
        lab.wait_quietly(60 * S);
        c.says(&mut lab, &pptp::echo_request(n));
        c.hears(&mut lab, &pptp::echo_reply(n, 1));
    }
    c.carries(&mut lab, 4, translated, 9);
}

// RFC 2637 §2.2: what NAT cannot cure is reported
#[test]
fn a_server_that_allows_one_channel_an_address_is_reported() {
    let mut lab = lab();
    let mut c = Control::open(&mut lab, (A, 1500), (X, 1723));
    c.says(&mut lab, &pptp::start_request());
    c.hears(&mut lab, &pptp::start_reply(3));
    assert_eq!(lab.events(Event::PptpChannelExists), 1);
    assert!(lab.notices().iter().any(|n| n.contains("PPTP server 198.51.100.7 refuses 192.168.1.10")));
}
