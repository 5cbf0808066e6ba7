//! The dataplane against a naive model of the NAT: random stories of packets go through both, and after each packet
//! both must agree on what became of it, to the last port; every emitted frame is read by `testkit`'s strict reader.
//!
//! [`model`] is the specification to read. It learns which outside port the dataplane chose and insists on what must
//! hold for any choice: never shared, paired, class and parity kept, owned by the subscriber's worker.

#![allow(unreachable_pub, reason = "modules of one binary")]

#[rustfmt::skip]
mod model;
mod lab;
mod story;

use model::{Filter, What, Wish};
use proptest::prelude::*;
use story::Event::{self, *};

fn wish(filter: Filter, hairpin: bool, sessions: usize, ports: usize) -> Wish {
    use lab::{lan, wan};
    Wish {
        own: wan(1),
        pool: vec![wan(1), wan(2), wan(3)],
        filter,
        hairpin,
        forwards: vec![
            (6, (wan(2), 8443), (lan(20), 443)),
            (17, (wan(2), 8443), (lan(20), 443)),
            (17, (wan(3), 5001), (lan(20), 5001)),
        ],
        one_to_one: vec![(wan(4), lan(30))],
        allow: vec![(6, (lan(30), 80)), (17, (lan(30), 53)), (1, (lan(30), 0))],
        sessions,
        ports,
        // Deadlines fall between whole seconds, which are the steps of the clock: the timer wheel may be half a second
        // late.
        udp: 5_400,
        tcp: 4_400,
        tcp_up: 100_400,
        icmp: 3_400,
        rest: 7_400,
    }
}

fn wishes() -> impl Strategy<Value = Wish> {
    let filter = prop_oneof![Just(Filter::Anyone), Just(Filter::Address), Just(Filter::AddressAndPort)];
    let limits = prop_oneof![3 => Just((1000, 1000)), 1 => Just((4, 1000)), 1 => Just((1000, 3))];
    (filter, prop::bool::weighted(0.8), limits).prop_map(|(f, hairpin, (s, p))| wish(f, hairpin, s, p))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_dataplane_does_what_the_model_says(
        wish in wishes(),
        workers in prop_oneof![Just(1u8), Just(2), Just(3), Just(8)],
        seed: u64,
        events in prop::collection::vec(story::event(), 1..80),
    ) {
        story::play(wish, workers, seed, &events);
    }
}

/// What once went wrong stays told.
fn tell(filter: Filter, events: &[Event]) {
    for workers in [1, 2, 3, 8] {
        story::play(wish(filter, true, 1000, 1000), workers, 7, events);
    }
}

fn here() -> story::Way {
    vec![0]
}

fn call(port: u8, remote: u8, what: What) -> Event {
    Call { host: 0, port, remote, what, by: here() }
}

fn again(of: usize, what: What) -> Event {
    Again { of, what, by: here() }
}

#[test]
fn a_guest_whom_the_inside_answers_wakes_its_mapping() {
    let stranger = |remote| Knock { remote, target: 6, what: What::Udp, by: here() };
    let answer = Answer { of: 0, what: None, by: here() };
    tell(Filter::Anyone, &[call(2, 0, What::Udp), Wait(4), stranger(2), Wait(2), answer, stranger(3)]);
}

#[test]
fn later_fragments_do_not_keep_an_ended_connection() {
    let in_pieces = Again { of: 0, what: What::Data, by: vec![0, 0] };
    let late = Answer { of: 0, what: Some(What::SynAck), by: here() };
    tell(Filter::Anyone, &[call(2, 0, What::Syn), again(0, What::Reset), Wait(2), in_pieces, Wait(3), late]);
}

#[test]
fn a_connection_that_reuses_its_ends_has_a_new_opener() {
    let knock = Knock { remote: 0, target: 1, what: What::Syn, by: here() };
    let open = Answer { of: 0, what: Some(What::Syn), by: here() };
    let data = Answer { of: 0, what: Some(What::Data), by: here() };
    let accept = Answer { of: 0, what: Some(What::SynAck), by: here() };
    tell(Filter::Anyone, &[knock, again(0, What::Reset), open, accept, data, Wait(60), again(0, What::Data)]);
}

#[test]
fn a_tcp_port_is_free_again_while_an_older_udp_port_rests() {
    let other = Call { host: 1, port: 2, remote: 0, what: What::Syn, by: here() };
    let hosts = [0, 1, 2, 3].map(|host| Call { host, port: 2, remote: 0, what: What::Syn, by: here() });
    let mut events = vec![call(2, 0, What::Udp), other, Wait(6)];
    events.extend(hosts);
    tell(Filter::AddressAndPort, &events);
}
