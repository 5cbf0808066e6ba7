use dataplane::passthrough::pptp::stream::{CallBook, Edits, Follower, Message, Outcome, Way};
use testkit::pptp::{Heard, talk, translate};

/// Reads the input as two streams, and a script that says how they are cut, lost and sent again:
///
/// ```text
/// first sequence numbers (4 + 4) | lengths of the streams (2 + 2) | stream out | stream in | script (3 bytes a step)
/// ```
///
/// What passes equals, byte for byte, what a reader of whole messages would write; what is heard is what it hears; and
/// in the end all has passed.
pub fn pptp_stream(data: &[u8]) {
    let Some((head, rest)) = data.split_first_chunk::<12>() else { return };
    let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let length = |at: usize| usize::from(u16::from_be_bytes([head[at], head[at + 1]]));
    let (out, rest) = rest.split_at(length(8).min(rest.len()));
    let (into, script) = rest.split_at(length(10).min(rest.len()));
    let whole = [translate(true, out, id), translate(false, into, id)];
    let (mut follower, mut book, mut edits) = (Follower::new(), Book::default(), Edits::new());
    talk(script, [number(0), number(4)], [out, into], [&whole[0].bytes, &whole[1].bytes], |s, payload| {
        book.refuse = s.refuse;
        let way = if s.outwards { Way::Out } else { Way::In };
        let outcome = follower.segment(way, s.seq, s.syn, s.ack, payload, &mut book, &mut edits);
        let _ = edits.apply(payload);
        assert!(edits.is_empty() || !matches!(outcome, Outcome::Drop(_)));
        !matches!(outcome, Outcome::Drop(_))
    });
    for (n, way) in [Way::Out, Way::In].into_iter().enumerate() {
        assert_eq!(book.heard[n], whole[n].heard);
        assert_eq!(follower.follows(way), whole[n].malformed.is_none());
    }
}

/// One to one in the high byte; the low one depends on both.
fn id(original: u16) -> u16 {
    let [high, low] = original.to_be_bytes();
    u16::from_be_bytes([high ^ 0x5a, low.wrapping_mul(3).wrapping_add(high)])
}

/// Translates by [`id`], refuses when told to, and writes down what it hears.
#[derive(Default)]
struct Book {
    refuse: bool,
    heard: [Vec<Heard>; 2],
}

impl CallBook for Book {
    fn high(&mut self, _: Way, _: u8, high: u8) -> Option<u8> {
        (!self.refuse).then(|| id(u16::from(high) << 8).to_be_bytes()[0])
    }

    fn low(&mut self, _: Way, _: u8, original: u16, high: u8) -> Option<u8> {
        let [h, low] = id(original).to_be_bytes();
        assert_eq!(h, high);
        (!self.refuse).then_some(low)
    }

    fn heard(&mut self, way: Way, m: &Message) {
        let heard = Heard { kind: m.kind, own: m.own, peer: m.peer, translated: m.translated, result: m.result };
        self.heard[usize::from(way == Way::In)].push(heard);
    }
}
