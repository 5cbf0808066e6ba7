use super::*;
use crate::wire::pptp::{RESULT_CHANNEL_EXISTS, kind};
use proptest::prelude::*;
use testkit::pptp::{self, Heard, talk, translate};

/// One to one in the high byte; the low one depends on both.
fn id(original: u16) -> u16 {
    let [high, low] = original.to_be_bytes();
    u16::from_be_bytes([high ^ 0x5a, low.wrapping_mul(3).wrapping_add(high)])
}

/// Translates by [`id`] and writes down what it hears.
#[derive(Default)]
struct Book {
    refuse: bool,
    asked: usize,
    heard: [Vec<Heard>; 2],
}

impl CallBook for Book {
    fn high(&mut self, way: Way, kind: u8, high: u8) -> Option<u8> {
        assert!(translated_at(way, kind).is_some());
        self.asked += 1;
        (!self.refuse).then(|| id(u16::from(high) << 8).to_be_bytes()[0])
    }

    fn low(&mut self, _: Way, _: u8, original: u16, high: u8) -> Option<u8> {
        let [h, low] = id(original).to_be_bytes();
        assert_eq!(h, high);
        self.asked += 1;
        (!self.refuse).then_some(low)
    }

    fn heard(&mut self, way: Way, m: &Message) {
        let heard = Heard { kind: m.kind, own: m.own, peer: m.peer, translated: m.translated, result: m.result };
        self.heard[usize::from(way == Way::In)].push(heard);
    }
}

/// A connection both of whose directions begin at 1000.
struct Case {
    follower: Follower,
    book: Book,
    edits: Edits,
}

const START: u32 = 1000;

impl Case {
    fn unopened() -> Self {
        Self { follower: Follower::new(), book: Book::default(), edits: Edits::new() }
    }

    fn new() -> Self {
        let mut case = Self::unopened();
        for (way, ack) in [(Way::Out, None), (Way::In, Some(START))] {
            assert_eq!(case.raw(way, START - 1, true, ack, &[]).0, Outcome::Pass);
        }
        case
    }

    fn raw(&mut self, way: Way, seq: u32, syn: bool, ack: Option<u32>, payload: &[u8]) -> (Outcome, Vec<u8>) {
        let outcome = self.follower.segment(way, seq, syn, ack, payload, &mut self.book, &mut self.edits);
        let mut payload = payload.to_vec();
        let _ = self.edits.apply(&mut payload);
        (outcome, payload)
    }

    /// The segment whose payload begins `at` bytes behind the start, and acknowledges nothing.
    fn send(&mut self, way: Way, at: usize, payload: &[u8]) -> (Outcome, Vec<u8>) {
        self.raw(way, START + at as u32, false, None, payload)
    }

    fn ack(&mut self, way: Way, upto: usize) {
        let other = if way == Way::Out { Way::In } else { Way::Out };
        assert_eq!(self.raw(other, START, false, Some(START + upto as u32), &[]).0, Outcome::Pass);
    }

    fn kinds(&self, way: Way) -> Vec<u8> {
        self.book.heard[usize::from(way == Way::In)].iter().map(|h| h.kind).collect()
    }
}

fn clears(n: u16) -> Vec<u8> {
    (0..n).flat_map(|n| pptp::call_clear_request(0x0100 + n)).collect()
}

fn whole(way: Way, stream: &[u8]) -> Vec<u8> {
    translate(way == Way::Out, stream, id).bytes
}

#[test]
fn ours_is_translated_and_theirs_is_not_in_every_message_both_ways() {
    let all = pptp::one_of_each(0x1111, 0x2222, 9).concat();
    for way in [Way::Out, Way::In] {
        let mut case = Case::new();
        let reference = translate(way == Way::Out, &all, id);
        assert_eq!(case.send(way, 0, &all), (Outcome::Pass, reference.bytes));
        assert_eq!(case.book.heard[usize::from(way == Way::In)], reference.heard);
    }
}

#[test]
fn every_cut_of_a_reply_gives_the_same_bytes() {
    let reply = pptp::outgoing_call_reply(0xabcd, 0x1234, 1);
    for way in [Way::Out, Way::In] {
        for cut in 1..reply.len() {
            let mut case = Case::new();
            let (first, second) = reply.split_at(cut);
            let ((a, x), (b, y)) = (case.send(way, 0, first), case.send(way, cut, second));
            assert_eq!((a, b, [x, y].concat()), (Outcome::Pass, Outcome::Pass, whole(way, &reply)), "cut at {cut}");
            assert_eq!(case.kinds(way), [kind::OUTGOING_CALL_REPLY]);
        }
    }
}

#[test]
fn a_message_is_heard_with_its_result_and_both_names() {
    let mut case = Case::new();
    let _ = case.send(Way::In, 0, &pptp::start_reply(RESULT_CHANNEL_EXISTS));
    let _ = case.send(Way::In, 156, &pptp::outgoing_call_reply(0x7800, 0x0102, 1));
    let [_, heard] = &case.book.heard;
    assert_eq!(heard[0], Heard { kind: 2, own: None, peer: None, translated: None, result: 3 });
    let translated = Some(id(0x0102));
    assert_eq!(heard[1], Heard { kind: 8, own: Some(0x7800), peer: Some(0x0102), translated, result: 1 });
}

#[test]
fn resends_with_other_boundaries_get_the_same_bytes_and_ask_nobody() {
    let stream = [pptp::outgoing_call_request(0x0a0b), pptp::call_clear_request(0x0a0b)].concat();
    let expected = whole(Way::Out, &stream);
    let mut case = Case::new();
    assert_eq!(case.send(Way::Out, 0, &stream).1, expected);
    case.ack(Way::Out, 150);
    let (asked, heard) = (case.book.asked, case.book.heard.clone());
    case.book.refuse = true;
    for from in 0..stream.len() {
        for to in [from + 1, (from + 13).min(stream.len()), stream.len()] {
            assert_eq!(case.send(Way::Out, from, &stream[from..to]), (Outcome::Pass, expected[from..to].to_vec()));
        }
    }
    assert_eq!((case.book.asked, &case.book.heard), (asked, &heard));
}

#[test]
fn a_resend_that_goes_on_into_new_bytes_is_handled_by_parts() {
    let stream = clears(3);
    let mut case = Case::new();
    let _ = case.send(Way::Out, 0, &stream[..29]);
    assert_eq!(case.send(Way::Out, 10, &stream[10..]), (Outcome::Pass, whole(Way::Out, &stream)[10..].to_vec()));
    assert_eq!(case.kinds(Way::Out), [12, 12, 12]);
}

#[test]
fn a_refused_segment_leaves_no_trace_and_is_asked_about_again() {
    let stream = [pptp::echo_request(1), pptp::outgoing_call_request(5)].concat();
    let mut case = Case::new();
    case.book.refuse = true;
    assert_eq!(case.send(Way::Out, 0, &stream), (Outcome::Drop(Why::Refused), stream.clone()));
    assert_eq!(case.kinds(Way::Out), []);
    case.book.refuse = false;
    assert_eq!(case.send(Way::Out, 0, &stream), (Outcome::Pass, whole(Way::Out, &stream)));
    assert_eq!(case.kinds(Way::Out), [5, 7]);
}

#[test]
fn a_gap_passes_only_within_the_body_of_the_message_at_hand() {
    let stream = [pptp::start_request(), pptp::outgoing_call_request(5)].concat();
    let mut case = Case::new();
    let late = Outcome::Drop(Why::OutOfOrder);
    assert_eq!(case.send(Way::Out, 20, &stream[20..40]).0, late, "no length is known");
    let _ = case.send(Way::Out, 0, &stream[..2]);
    assert_eq!(case.send(Way::Out, 16, &stream[16..40]).0, late, "the head");
    assert_eq!(case.send(Way::Out, 40, &stream[40..100]).0, Outcome::Pass);
    assert_eq!(case.send(Way::Out, 120, &stream[120..130]).0, late, "a second gap");
    assert_eq!(case.send(Way::Out, 90, &stream[90..156]).0, Outcome::Pass, "next to what passed");
    assert_eq!(case.send(Way::Out, 100, &stream[100..157]).0, late, "into the next message");
    assert_eq!(case.send(Way::Out, 2, &stream[2..40]).0, Outcome::Pass, "fills the gap");
    assert_eq!(case.send(Way::Out, 156, &stream[156..]), (Outcome::Pass, whole(Way::Out, &stream)[156..].to_vec()));
    assert_eq!(case.kinds(Way::Out), [1, 7]);
}

#[test]
fn what_is_not_pptp_passes_untouched_from_there_on_and_resends_stay_true() {
    let good = pptp::call_clear_request(0x0304);
    let mut short = pptp::call_clear_request(1);
    short[1] = 15;
    let mut long = pptp::call_clear_request(1);
    long[1] = 17;
    let mut cookie = good.clone();
    cookie[5] ^= 1;
    let mut kind = good.clone();
    kind[9] = 16;
    let mut high_kind = good.clone();
    high_kind[8] = 1;
    let mut third_type = good.clone();
    third_type[3] = 3;
    for bad in [short, long, cookie, kind, high_kind, third_type] {
        let mut case = Case::new();
        let stream = [good.clone(), bad, good.clone()].concat();
        let expected = whole(Way::Out, &stream);
        assert_eq!(expected[16..], stream[16..]);
        assert_eq!(case.send(Way::Out, 0, &stream), (Outcome::Malformed, expected.clone()));
        assert!(!case.follower.follows(Way::Out) && case.follower.follows(Way::In));
        assert_eq!(case.send(Way::Out, 4, &stream[4..30]), (Outcome::Pass, expected[4..30].to_vec()));
        assert_eq!(case.send(Way::Out, 500, &good), (Outcome::Pass, good.clone()), "a gap");
        assert_eq!(case.send(Way::Out, 48, &good), (Outcome::Pass, good.clone()), "the gap filled");
        assert_eq!(case.send(Way::In, 0, &pptp::set_link_info(7)).1, whole(Way::In, &pptp::set_link_info(7)));
    }
}

#[test]
fn behind_what_is_not_pptp_an_old_place_does_not_come_round() {
    let clear = pptp::call_clear_request(9);
    let stream = [clear.clone(), vec![0xff; 16]].concat();
    let mut case = Case::new();
    assert_eq!(case.send(Way::Out, 0, &stream).0, Outcome::Malformed);
    for step in 1..=8 {
        assert_eq!(case.send(Way::Out, step << 29, &[1; 8]).0, Outcome::Pass);
    }
    assert_eq!(case.send(Way::Out, 0, &stream), (Outcome::Pass, stream));
}

#[test]
fn management_messages_are_passed_over() {
    let stream = [pptp::management(&[7; 30]), pptp::call_clear_request(9)].concat();
    let mut case = Case::new();
    assert_eq!(case.send(Way::Out, 0, &stream), (Outcome::Pass, whole(Way::Out, &stream)));
    assert_eq!(case.kinds(Way::Out), [12]);
}

#[test]
fn a_direction_whose_syn_was_not_seen_passes_untouched() {
    let clear = pptp::call_clear_request(9);
    let mut case = Case::unopened();
    assert_eq!(case.send(Way::Out, 0, &clear), (Outcome::Pass, clear));
    assert!(!case.follower.follows(Way::Out));
}

#[test]
fn data_on_the_syn_is_read_and_only_the_first_syn_counts() {
    let clear = pptp::call_clear_request(9);
    let mut case = Case::unopened();
    case.book.refuse = true;
    assert_eq!(case.raw(Way::Out, START - 1, true, None, &clear).0, Outcome::Drop(Why::Refused));
    case.book.refuse = false;
    assert_eq!(case.raw(Way::Out, START - 1, true, None, &clear), (Outcome::Pass, whole(Way::Out, &clear)));
    let _ = case.raw(Way::Out, 77, true, None, &[]);
    assert_eq!(case.send(Way::Out, 16, &clear), (Outcome::Pass, whole(Way::Out, &clear)));
}

#[test]
fn a_keepalive_before_the_first_byte_passes() {
    let mut case = Case::new();
    assert_eq!(case.raw(Way::Out, START - 1, false, None, &[0]).0, Outcome::Pass);
}

#[test]
fn what_is_not_acknowledged_is_never_forgotten() {
    let limit = MEMORY * 16;
    let stream = clears(MEMORY as u16 + 91);
    let expected = whole(Way::Out, &stream);
    let mut case = Case::new();
    for at in (0..limit).step_by(16) {
        assert_eq!(case.send(Way::Out, at, &stream[at..at + 16]).0, Outcome::Pass);
    }
    assert_eq!(case.send(Way::Out, limit, &stream[limit..]).0, Outcome::Drop(Why::TooMany));
    case.ack(Way::Out, 13);
    assert_eq!(case.send(Way::Out, limit, &stream[limit..limit + 28]).0, Outcome::Drop(Why::TooMany), "half of one");
    case.ack(Way::Out, 14);
    assert_eq!(case.send(Way::Out, limit, &stream[limit..limit + 29]).0, Outcome::Drop(Why::TooMany));
    assert_eq!(case.send(Way::Out, limit, &stream[limit..limit + 28]).0, Outcome::Pass, "one has left for one");
    assert_eq!(case.send(Way::Out, 0, &stream[..16]).0, Outcome::Drop(Why::Forgotten));
    assert_eq!(case.send(Way::Out, 14, &stream[14..100]), (Outcome::Pass, expected[14..100].to_vec()));
    case.ack(Way::Out, limit);
    assert_eq!(case.send(Way::Out, limit, &stream[limit..]), (Outcome::Pass, expected[limit..].to_vec()));
}

#[test]
fn an_acknowledgment_of_what_was_not_sent_counts_for_nothing() {
    let stream = clears(MEMORY as u16 + 1);
    let (first, last) = stream.split_at(MEMORY * 16);
    let mut case = Case::new();
    let _ = case.send(Way::Out, 0, &first[..800]);
    case.ack(Way::Out, 4000);
    let _ = case.send(Way::Out, 800, &first[800..]);
    assert_eq!(case.send(Way::Out, first.len(), last).0, Outcome::Drop(Why::TooMany));
}

#[test]
fn a_segment_denser_than_any_on_ethernet_is_dropped_and_leaves_no_trace() {
    let stream = clears(MEMORY as u16 + 1);
    let mut case = Case::new();
    assert_eq!(case.send(Way::Out, 0, &stream), (Outcome::Drop(Why::TooMany), stream.clone()));
    assert_eq!(case.send(Way::Out, 0, &stream[..1460]), (Outcome::Pass, whole(Way::Out, &stream)[..1460].to_vec()));
}

#[test]
fn old_places_are_forgotten_before_sequence_numbers_come_round() {
    let clear = pptp::call_clear_request(9);
    let mut case = Case::new();
    let _ = case.send(Way::Out, 0, &clear);
    // As if four times 2^30 bytes of messages without identifiers went by, in segments that each are shorter.
    for _ in 0..8 {
        let lane = &mut case.follower.out;
        lane.parser.next = lane.parser.next.wrapping_add(1 << 29);
        lane.age();
    }
    assert_eq!(case.send(Way::Out, 0, &clear[..14]), (Outcome::Pass, clear[..14].to_vec()), "not the old one");
    assert_eq!(case.send(Way::Out, 16, &clear), (Outcome::Pass, whole(Way::Out, &clear)));
    assert_eq!(case.raw(Way::Out, START.wrapping_sub(WINDOW), false, None, &[0]).0, Outcome::Drop(Why::Forgotten));
}

/// Any message; the kinds that name calls more often than the rest.
fn message() -> impl Strategy<Value = Vec<u8>> {
    (0usize..15, 0usize..30, any::<[u16; 2]>(), any::<u8>()).prop_map(|(a, b, [own, peer], result)| {
        pptp::one_of_each(own, peer, result)[if b < 12 { 11 } else { a }].clone()
    })
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let junk = prop_oneof![9 => Just(Vec::new()), 1 => prop::collection::vec(any::<u8>(), 1..40)];
    let messages = || prop::collection::vec(message(), 0..60);
    (messages(), junk, messages(), 0..20usize).prop_map(|(a, junk, b, cut)| {
        let mut all = [a.concat(), junk, b.concat()].concat();
        all.truncate(all.len().saturating_sub(cut));
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn however_a_conversation_is_cut_lost_and_resent_the_bytes_are_those_of_whole_messages(
        streams in [stream(), stream()],
        first: u32,
        wraps in 0u32..3000,
        script in prop::collection::vec(any::<u8>(), 0..450),
    ) {
        let mut case = Case::unopened();
        let whole = [translate(true, &streams[0], id), translate(false, &streams[1], id)];
        let expected = [&whole[0].bytes[..], &whole[1].bytes];
        talk(&script, [first, wraps.wrapping_neg()], [&streams[0], &streams[1]], expected, |s, payload| {
            case.book.refuse = s.refuse;
            let way = if s.outwards { Way::Out } else { Way::In };
            let (outcome, changed) = case.raw(way, s.seq, s.syn, s.ack, payload);
            *payload = changed;
            !matches!(outcome, Outcome::Drop(_))
        });
        for (n, way) in [Way::Out, Way::In].into_iter().enumerate() {
            prop_assert_eq!(&case.book.heard[n], &whole[n].heard);
            prop_assert_eq!(case.follower.follows(way), whole[n].malformed.is_none());
        }
    }

    #[test]
    fn any_segments_whatever_are_bounded(segments in prop::collection::vec(
        (any::<bool>(), prop_oneof![0u32..600, any::<u32>()], any::<bool>(), any::<Option<u32>>(), stream()), 0..20)
    ) {
        let mut case = Case::unopened();
        for (out, seq, syn, ack, payload) in segments {
            let (outcome, changed) = case.raw(if out { Way::Out } else { Way::In }, seq, syn, ack, &payload);
            prop_assert_eq!(changed.len(), payload.len());
            prop_assert!(case.edits.is_empty() || !matches!(outcome, Outcome::Drop(_)));
        }
    }
}
