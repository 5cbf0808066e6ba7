//! Two hosts that send each other a stream through something that may change or drop segments: cuts, joins, loss before
//! and behind it, resends with other boundaries, gaps, keepalives; all as a script of bytes says, and then to the end.

/// What a segment is but for its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Sent by the first host.
    pub outwards: bool,
    /// Sequence number.
    pub seq: u32,
    /// Whether it begins its direction.
    pub syn: bool,
    /// Acknowledgment number.
    pub ack: Option<u32>,
    /// The script wants it refused.
    pub refuse: bool,
}

/// What one host sends, and how far the other has it.
struct Lane<'a> {
    start: u32,
    sends: &'a [u8],
    expected: &'a [u8],
    /// How far it was sent at all.
    sent: usize,
    /// How far its sender knows that it arrived.
    acked: usize,
    /// What arrived.
    arrived: Vec<bool>,
}

impl Lane<'_> {
    fn received(&self) -> usize {
        self.arrived.iter().take_while(|&&a| a).count()
    }

    fn place(&self, n: usize) -> u32 {
        self.start.wrapping_add(n as u32)
    }
}

struct Talk<'a, F> {
    lanes: [Lane<'a>; 2],
    through: F,
}

/// Plays `script` with the streams `sends`, outwards and inwards, that begin behind the numbers `starts`. `through`
/// gets each segment and its payload to change, and says whether it passes.
///
/// Panics when a byte passes that is not the one of `expected`; and when, after the script, a segment of at most 1460
/// bytes that begins with what the receiver lacks does not pass.
pub fn talk(
    script: &[u8],
    starts: [u32; 2],
    sends: [&[u8]; 2],
    expected: [&[u8]; 2],
    through: impl FnMut(Segment, &mut Vec<u8>) -> bool,
) {
    let lane = |n: usize| {
        assert_eq!(sends[n].len(), expected[n].len());
        let start = starts[n].wrapping_add(1);
        Lane { start, sends: sends[n], expected: expected[n], sent: 0, acked: 0, arrived: vec![false; sends[n].len()] }
    };
    let mut talk = Talk { lanes: [lane(0), lane(1)], through };
    let syn = Segment { outwards: true, seq: starts[0], syn: true, ack: None, refuse: false };
    let answer = Segment { outwards: false, seq: starts[1], ack: Some(starts[0].wrapping_add(1)), ..syn };
    assert!((talk.through)(syn, &mut Vec::new()) && (talk.through)(answer, &mut Vec::new()));
    for step in script.chunks_exact(3) {
        talk.step(step[0], usize::from(step[1]), usize::from(step[2]));
    }
    talk.finish();
}

impl<F: FnMut(Segment, &mut Vec<u8>) -> bool> Talk<'_, F> {
    fn step(&mut self, op: u8, a: usize, b: usize) {
        let way = usize::from(op & 1);
        let (lost, refuse) = (op & 0x40 != 0, op & 0x30 == 0x30);
        let lane = &self.lanes[way];
        let (sent, acked) = (lane.sent, lane.acked);
        let (from, len) = match op >> 1 & 7 {
            0 => (sent, 1 + a % 8),
            1 => (sent, a + b),
            2 => (sent, 8 * a),
            3 => (acked + (sent - acked) * a / 256, 1 + b % 32),
            4 => (acked, a * 8 + b),
            5 => (sent * a / 256, 1 + b),
            6 => (lane.received() + 1 + a % 60, 1 + b % 60),
            _ => {
                // A keepalive: one byte of garbage before what the receiver waits for.
                let ack = self.ack(way);
                let seq = self.lanes[way].place(acked).wrapping_sub(1);
                (self.through)(Segment { outwards: way == 0, seq, syn: false, ack, refuse }, &mut vec![a as u8]);
                return;
            }
        };
        self.send(way, from, len, lost, refuse);
    }

    fn ack(&self, way: usize) -> Option<u32> {
        let other = &self.lanes[1 - way];
        Some(other.place(other.received()))
    }

    /// Whether it passed.
    fn send(&mut self, way: usize, from: usize, len: usize, lost: bool, refuse: bool) -> bool {
        let ack = self.ack(way);
        let lane = &mut self.lanes[way];
        let end = (from + len).min(lane.sends.len());
        let from = from.min(end);
        let mut payload = lane.sends[from..end].to_vec();
        lane.sent = lane.sent.max(end);
        let segment = Segment { outwards: way == 0, seq: lane.place(from), syn: false, ack, refuse };
        if !(self.through)(segment, &mut payload) {
            return false;
        }
        let expected = &lane.expected[from..end];
        assert_eq!(payload, expected, "{segment:?}: bytes {from}..{end} of {:02x?}", lane.sends);
        if !lost {
            lane.arrived[from..end].fill(true);
            let other = &mut self.lanes[1 - way];
            other.acked = other.received();
        }
        true
    }

    fn finish(&mut self) {
        for way in [0, 1] {
            while let received = self.lanes[way].received()
                && received < self.lanes[way].sends.len()
            {
                self.send(1 - way, usize::MAX / 2, 0, false, false);
                assert!(self.send(way, received, 1460, false, false), "stuck at {received} of way {way}");
            }
        }
    }
}
