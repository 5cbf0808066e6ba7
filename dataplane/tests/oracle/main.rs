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

use model::{Filter, Wish};
use proptest::prelude::*;

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
    #![proptest_config(ProptestConfig { cases: 256, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

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
