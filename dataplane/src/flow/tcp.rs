//! TCP as a NAT sees it: states by RFC 5382 §5 and RFC 7857 §2, and which resets are believed.
//!
//! ```text
//! Opening ──SYN-ACK──► Answered ──ACK──► Established ──FIN──► HalfClosed ──FIN──► Closed
//!    └──SYN from the other side (simultaneous open)──► Crossed ──ACK──► Established
//! any state ──valid RST──► Closed           Closed ──SYN from the opener──► Opening
//! ```
//!
//! [`step`] is an exhaustive match over (state, who sent it, what it is): an event that changes nothing is written down
//! as such. A reset ends the session only after the transitory time-out, and only when it lies within the window that
//! the other side announced (RFC 7857 §2.2), so that a forged one ends nothing.

use crate::types::Direction;

/// State of a connection. All but [`State::Established`] and [`State::HalfClosed`] live for the transitory time-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// One side sent SYN: the opener.
    Opening = 0,
    /// Both sides sent SYN and neither an ACK (RFC 9293 §3.5, figure 7).
    Crossed = 1,
    /// The other side answered SYN-ACK.
    Answered = 2,
    /// Data flows.
    Established = 3,
    /// The inside sent FIN; the outside may go on sending.
    FinByInside = 4,
    /// The outside sent FIN; the inside may go on sending.
    FinByOutside = 5,
    /// Both sent FIN, or one sent a valid RST.
    Closed = 6,
}

impl State {
    /// All states.
    pub const ALL: [Self; 7] = [
        Self::Opening,
        Self::Crossed,
        Self::Answered,
        Self::Established,
        Self::FinByInside,
        Self::FinByOutside,
        Self::Closed,
    ];

    /// Whether the long ("established") time-out applies (RFC 5382 REQ-5: half-closed counts as established there,
    /// as either side may still send for long; RFC 7857 §2.1 allows the transitory one, which we take).
    #[must_use]
    pub const fn is_established(self) -> bool {
        matches!(self, Self::Established)
    }
}

/// What a segment is to the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// SYN without ACK.
    Syn,
    /// SYN with ACK.
    SynAck,
    /// FIN, not RST.
    Fin,
    /// A reset that passed [`Track::believes_reset`].
    Reset,
    /// Anything else: data, pure ACK, window update.
    Data,
}

impl Event {
    /// From header flags that [`crate::packet::parse`] accepted.
    #[must_use]
    pub const fn of(flags: u8) -> Self {
        use crate::wire::tcp::flags::{ACK, FIN, RST, SYN};
        if flags & RST != 0 {
            Self::Reset
        } else if flags & SYN != 0 {
            if flags & ACK != 0 { Self::SynAck } else { Self::Syn }
        } else if flags & FIN != 0 {
            Self::Fin
        } else {
            Self::Data
        }
    }
}

/// What [`step`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Pass the segment; the session is now in this state.
    To(State),
    /// Drop the segment: an outsider tries to reopen a connection that the inside opened.
    RefuseSyn,
}

/// The state machine. `opener` is who sent the first SYN, `by` who sent this segment.
#[must_use]
pub const fn step(state: State, opener: Direction, by: Direction, event: Event) -> Step {
    use State::{Answered, Closed, Crossed, Established, FinByInside, FinByOutside, Opening};
    let from_opener = matches!((opener, by), (Direction::Out, Direction::Out) | (Direction::In, Direction::In));
    let fin_state = match by {
        Direction::Out => FinByInside,
        Direction::In => FinByOutside,
    };
    Step::To(match (state, event) {
        (_, Event::Reset) => Closed,
        (Opening, Event::Syn) => {
            if from_opener {
                Opening
            } else {
                Crossed
            }
        }
        (Opening, Event::SynAck) => {
            if from_opener {
                Opening
            } else {
                Answered
            }
        }
        // Data before the answer: TCP fast open by the opener; the other side cannot mean it. Nothing changes.
        (Opening, Event::Data) => Opening,
        (Opening | Answered | Crossed | Established, Event::Fin) => fin_state,
        (Crossed, Event::Syn) => Crossed,
        // In a simultaneous open each side answers the other's SYN with SYN-ACK, then data may flow.
        (Crossed, Event::SynAck | Event::Data) => Established,
        (Answered, Event::Syn | Event::SynAck) => Answered,
        (Answered, Event::Data) => {
            if from_opener {
                Established
            } else {
                Answered
            }
        }
        // A SYN inside a connection: a challenge (RFC 5961 §4) for the end host to judge, not for us.
        (Established, Event::Syn | Event::SynAck | Event::Data) => Established,
        (FinByInside, Event::Fin) => {
            if matches!(by, Direction::Out) {
                FinByInside
            } else {
                Closed
            }
        }
        (FinByInside, Event::Syn | Event::SynAck | Event::Data) => FinByInside,
        (FinByOutside, Event::Fin) => {
            if matches!(by, Direction::In) {
                FinByOutside
            } else {
                Closed
            }
        }
        (FinByOutside, Event::Syn | Event::SynAck | Event::Data) => FinByOutside,
        (Closed, Event::Syn) => match (opener, by) {
            (Direction::Out, Direction::In) => return Step::RefuseSyn,
            (_, _) => Opening,
        },
        (Closed, Event::SynAck | Event::Fin | Event::Data) => Closed,
    })
}

/// What is remembered of both sides' numbers, to tell a genuine reset from a forged one. 10 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Track {
    /// What the inside acknowledged last: where the outside's next byte is expected.
    pub acked_by_inside: u32,
    /// What the outside acknowledged last.
    pub acked_by_outside: u32,
    /// Largest window of the inside as a power of two; 0 before it is known.
    pub window_of_inside: u8,
    /// Largest window of the outside as a power of two; 0 before it is known.
    pub window_of_outside: u8,
}

/// log2 of the window that a side is credited with at least: its initial window may be announced later.
const MIN_WINDOW: u8 = 16;

impl Track {
    /// Remembers a segment sent by `by`. `scale` is the shift of a window scale option where the segment is a SYN.
    #[inline]
    pub const fn note(&mut self, by: Direction, flags: u8, seq: u32, ack: u32, scale: Option<u8>) {
        use crate::wire::tcp::flags::{ACK, SYN};
        if flags & SYN != 0 {
            self.note_syn(by, flags, seq, scale);
        }
        if flags & ACK != 0 {
            match by {
                Direction::Out => self.acked_by_inside = ack,
                Direction::In => self.acked_by_outside = ack,
            }
        }
    }

    /// A SYN says where its sender starts: until the other side acknowledges, that is where a reset must lie.
    #[cold]
    const fn note_syn(&mut self, by: Direction, flags: u8, seq: u32, scale: Option<u8>) {
        use crate::wire::tcp::flags::ACK;
        // 65,535 << 14 is the most (RFC 7323 §2.3).
        let shift = match scale {
            Some(s) if s < 14 => s,
            Some(_) => 14,
            None => 0,
        };
        let window = MIN_WINDOW + shift;
        let first = flags & ACK == 0;
        match by {
            Direction::Out => {
                self.window_of_inside = window;
                if first {
                    self.acked_by_outside = seq.wrapping_add(1);
                }
            }
            Direction::In => {
                self.window_of_outside = window;
                if first {
                    self.acked_by_inside = seq.wrapping_add(1);
                }
            }
        }
    }

    /// Whether a reset by `by` lies where the other side would accept it: within its window (RFC 9293 §3.5.3), or, in
    /// answer to a SYN, acknowledging exactly that SYN.
    #[must_use]
    pub const fn believes_reset(
        &self,
        state: State,
        opener: Direction,
        by: Direction,
        flags: u8,
        seq: u32,
        ack: u32,
    ) -> bool {
        use crate::wire::tcp::flags::ACK;
        let (expected, window, own_start) = match by {
            Direction::Out => (self.acked_by_inside_expected(by), self.window_of_outside, self.acked_by_inside),
            Direction::In => (self.acked_by_inside_expected(by), self.window_of_inside, self.acked_by_outside),
        };
        if matches!(state, State::Opening) {
            let from_opener = matches!((opener, by), (Direction::Out, Direction::Out) | (Direction::In, Direction::In));
            return if from_opener {
                within(seq, expected, MIN_WINDOW)
            } else {
                // A refusal: RST-ACK of the SYN. What the opener's SYN set for this side is the SYN's number plus one.
                flags & ACK != 0 && ack == own_start
            };
        }
        within(seq, expected, if window == 0 { MIN_WINDOW } else { window })
    }

    /// Where the receiver of `by`'s segments expects the next byte.
    const fn acked_by_inside_expected(&self, by: Direction) -> u32 {
        match by {
            Direction::Out => self.acked_by_outside,
            Direction::In => self.acked_by_inside,
        }
    }
}

/// `expected - 2^16 <= seq <= expected + 2^window`: a little behind too, as our memory may be ahead of the sender's.
const fn within(seq: u32, expected: u32, window: u8) -> bool {
    let ahead = seq.wrapping_sub(expected);
    let limit = if window > 30 { 1 << 30 } else { 1u32 << window };
    ahead <= limit || expected.wrapping_sub(seq) <= 1 << MIN_WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tcp::flags::{ACK, RST, SYN};
    use Direction::{In, Out};

    fn run(opener: Direction, story: &[(Direction, Event)]) -> State {
        story.iter().fold(State::Opening, |s, &(by, e)| match step(s, opener, by, e) {
            Step::To(next) => next,
            Step::RefuseSyn => panic!("refused"),
        })
    }

    #[test]
    fn a_handshake_by_either_side_establishes() {
        for (a, b) in [(Out, In), (In, Out)] {
            let story = [(a, Event::Syn), (b, Event::SynAck), (a, Event::Data)];
            assert_eq!(run(a, &story), State::Established);
        }
    }

    #[test]
    fn a_simultaneous_open_establishes() {
        let story = [(Out, Event::Syn), (In, Event::Syn), (Out, Event::SynAck), (In, Event::SynAck)];
        assert_eq!(run(Out, &story), State::Established);
    }

    #[test]
    fn a_connection_closes_after_both_fins_and_not_after_one_repeated() {
        let up = [(Out, Event::Syn), (In, Event::SynAck), (Out, Event::Data)];
        let mut s = up.to_vec();
        s.extend([(Out, Event::Fin), (Out, Event::Fin), (In, Event::Data)]);
        assert_eq!(run(Out, &s), State::FinByInside);
        s.push((In, Event::Fin));
        assert_eq!(run(Out, &s), State::Closed);
    }

    #[test]
    fn only_the_opener_may_reopen() {
        assert_eq!(step(State::Closed, Out, In, Event::Syn), Step::RefuseSyn);
        assert_eq!(step(State::Closed, Out, Out, Event::Syn), Step::To(State::Opening));
        assert_eq!(step(State::Closed, In, In, Event::Syn), Step::To(State::Opening));
    }

    #[test]
    fn a_reset_closes_every_state_from_both_sides() {
        for s in State::ALL {
            for by in [In, Out] {
                assert_eq!(step(s, Out, by, Event::Reset), Step::To(State::Closed));
            }
        }
    }

    #[test]
    fn an_answerer_alone_never_establishes() {
        let story = [(Out, Event::Syn), (In, Event::Data), (In, Event::Data)];
        assert_eq!(run(Out, &story), State::Opening);
        let story = [(Out, Event::Syn), (In, Event::SynAck), (In, Event::Data)];
        assert_eq!(run(Out, &story), State::Answered);
    }

    #[test]
    fn a_refusal_must_acknowledge_the_syn() {
        let mut t = Track::default();
        t.note(Out, SYN, 1000, 0, Some(7));
        assert!(t.believes_reset(State::Opening, Out, In, RST | ACK, 0, 1001));
        assert!(!t.believes_reset(State::Opening, Out, In, RST | ACK, 0, 1002));
        assert!(!t.believes_reset(State::Opening, Out, In, RST, 1001, 0));
    }

    #[test]
    fn a_reset_in_the_window_is_believed_and_a_guessed_one_is_not() {
        let mut t = Track::default();
        t.note(Out, SYN, 1000, 0, None);
        t.note(In, SYN | ACK, 5000, 1001, None);
        t.note(Out, ACK, 1001, 5001, None);
        assert!(t.believes_reset(State::Established, Out, In, RST, 5001, 0));
        assert!(t.believes_reset(State::Established, Out, In, RST, 5001 + 60_000, 0));
        assert!(!t.believes_reset(State::Established, Out, In, RST, 5001 + 70_000, 0));
        assert!(!t.believes_reset(State::Established, Out, In, RST, 5001u32.wrapping_sub(70_000), 0));
        assert!(t.believes_reset(State::Established, Out, Out, RST, 1001, 0));
        assert!(!t.believes_reset(State::Established, Out, Out, RST, 0x8000_0000, 0));
    }
}
