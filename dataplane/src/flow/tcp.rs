//! TCP as a NAT sees it: states by RFC 5382 §5 and RFC 7857 §2, and which resets are believed.
//!
//! ```text
//! Opening ──SYN-ACK──► Answered ──ACK──► Established ──FIN──► HalfClosed ──FIN──► Closed
//!    └──SYN from the other side (simultaneous open)──► Crossed ──ACK──► Established
//! any state ──valid RST──► Reset ──data by the inside──► Questioned ──data by the outside──► Established
//! Closed, Reset, half closed ──SYN from the opener──► Opening
//! ```
//!
//! [`step`] is an exhaustive match over (state, who sent it, what it is): an event that changes nothing is written down
//! as such. A reset ends the session only after the transitory time-out, and only when it lies within the window that
//! the other side announced (RFC 7857 §2.2), and both ends do not go on after it. A FIN must lie there too to count.

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
    /// Both sent FIN.
    Closed = 6,
    /// One sent a RST that we believe.
    Reset = 7,
    /// After that the inside went on sending: did the reset count at the end hosts?
    Questioned = 8,
}

impl State {
    /// All states.
    pub const ALL: [Self; 9] = [
        Self::Opening,
        Self::Crossed,
        Self::Answered,
        Self::Established,
        Self::FinByInside,
        Self::FinByOutside,
        Self::Closed,
        Self::Reset,
        Self::Questioned,
    ];

    /// Whether the handshake is still under way.
    #[must_use]
    pub const fn is_beginning(self) -> bool {
        matches!(self, Self::Opening | Self::Crossed | Self::Answered)
    }

    /// Whether an end was heard of: a FIN, or a reset.
    #[must_use]
    pub const fn is_ending(self) -> bool {
        matches!(self, Self::FinByInside | Self::FinByOutside | Self::Closed | Self::Reset)
    }

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

/// The state machine. `opener` is who sent the first SYN, `by` who sent this segment; `admitted` whether a stranger's SYN
/// to this inside endpoint would be let in.
#[must_use]
pub const fn step(state: State, opener: Direction, by: Direction, event: Event, admitted: bool) -> Step {
    use State::{Answered, Closed, Crossed, Established, FinByInside, FinByOutside, Opening, Questioned, Reset};
    let from_opener = matches!((opener, by), (Direction::Out, Direction::Out) | (Direction::In, Direction::In));
    let inside = matches!(by, Direction::Out);
    let reopen = if inside || from_opener || admitted { Step::To(Opening) } else { Step::RefuseSyn };
    Step::To(match (state, event) {
        (Closed, Event::Reset) => Closed,
        (_, Event::Reset) => Reset,
        (Opening, Event::Syn) if from_opener => Opening,
        (Opening, Event::Syn) => Crossed,
        (Opening, Event::SynAck) if from_opener => Opening,
        (Opening, Event::SynAck) => Answered,
        // Data before the answer: TCP fast open by the opener; the other side cannot mean it. Nothing changes.
        (Opening, Event::Data | Event::Fin) => Opening,
        (Answered | Crossed | Established, Event::Fin) if inside => FinByInside,
        (Answered | Crossed | Established, Event::Fin) => FinByOutside,
        (Crossed, Event::Syn) => Crossed,
        // In a simultaneous open each side answers the other's SYN with SYN-ACK, then data may flow. The outside alone
        // establishes nothing.
        (Crossed, Event::SynAck | Event::Data) if inside => Established,
        (Crossed, Event::SynAck | Event::Data) => Crossed,
        (Answered, Event::Syn | Event::SynAck) => Answered,
        (Answered, Event::Data) if from_opener => Established,
        (Answered, Event::Data) => Answered,
        // A SYN inside a connection: a challenge (RFC 5961 §4) for the end host to judge, not for us.
        (Established, Event::Syn | Event::SynAck | Event::Data) => Established,
        // Whoever opened it and has nothing to lose starts anew from the same port.
        (FinByInside | FinByOutside | Questioned, Event::Syn) if from_opener => Opening,
        (FinByInside, Event::Fin) if inside => FinByInside,
        (FinByInside, Event::Fin) => Closed,
        (FinByInside, Event::Syn | Event::SynAck | Event::Data) => FinByInside,
        (FinByOutside, Event::Fin) if inside => Closed,
        (FinByOutside, Event::Fin) => FinByOutside,
        (FinByOutside, Event::Syn | Event::SynAck | Event::Data) => FinByOutside,
        // A reset that both ends survived was none: an end host believes less than we do (RFC 5961 §3), and the
        // session must outlive it (RFC 7857 §2.2). The inside speaks first, so that a stranger cannot say it was none.
        (Reset, Event::SynAck | Event::Data | Event::Fin) if inside => Questioned,
        (Reset, Event::SynAck | Event::Data | Event::Fin) => Reset,
        (Questioned, Event::SynAck | Event::Data | Event::Fin) if inside => Questioned,
        (Questioned, Event::SynAck | Event::Data | Event::Fin) => Established,
        (Questioned, Event::Syn) => Questioned,
        (Closed | Reset, Event::Syn) => return reopen,
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
            self.note_syn(by, seq, scale);
        }
        if flags & ACK != 0 {
            match by {
                Direction::Out => self.acked_by_inside = ack,
                Direction::In => self.acked_by_outside = ack,
            }
        }
    }

    /// A SYN, answering or not, says where its sender starts: until the other side acknowledges more, that is where a
    /// reset must lie.
    #[cold]
    const fn note_syn(&mut self, by: Direction, seq: u32, scale: Option<u8>) {
        // 65,535 << 14 is the most (RFC 7323 §2.3).
        let shift = match scale {
            Some(s) if s < 14 => s,
            Some(_) => 14,
            None => 0,
        };
        let window = MIN_WINDOW + shift;
        match by {
            Direction::Out => {
                self.window_of_inside = window;
                self.acked_by_outside = seq.wrapping_add(1);
            }
            Direction::In => {
                self.window_of_outside = window;
                self.acked_by_inside = seq.wrapping_add(1);
            }
        }
    }

    /// Whether a FIN by `by` lies where the other side would accept it.
    #[must_use]
    pub const fn believes_fin(&self, by: Direction, seq: u32) -> bool {
        let (expected, window) = self.expects(by);
        within(seq, expected, window)
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
        let (expected, window) = self.expects(by);
        if matches!(state, State::Opening) {
            let from_opener = matches!((opener, by), (Direction::Out, Direction::Out) | (Direction::In, Direction::In));
            // Where the opener's SYN says that its data start.
            let first = match by {
                Direction::Out => self.acked_by_inside,
                Direction::In => self.acked_by_outside,
            };
            return if from_opener {
                within(seq, expected, MIN_WINDOW)
            } else {
                // A refusal: RST-ACK of the SYN, and of data that came with it (RFC 7413 §4.2.1).
                flags & ACK != 0 && ack.wrapping_sub(first) <= MOST_WITH_SYN
            };
        }
        within(seq, expected, window)
    }

    /// Where the receiver of `by`'s segments expects the next byte, and its window as a power of two.
    const fn expects(&self, by: Direction) -> (u32, u8) {
        let (expected, window) = match by {
            Direction::Out => (self.acked_by_outside, self.window_of_outside),
            Direction::In => (self.acked_by_inside, self.window_of_inside),
        };
        (expected, if window == 0 { MIN_WINDOW } else { window })
    }
}

/// Most bytes of data in a SYN: what one segment carries.
const MOST_WITH_SYN: u32 = 1 << 16;

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
        story.iter().fold(State::Opening, |s, &(by, e)| match step(s, opener, by, e, false) {
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
        for over in [State::Closed, State::Reset] {
            assert_eq!(step(over, Out, In, Event::Syn, false), Step::RefuseSyn);
            assert_eq!(step(over, Out, In, Event::Syn, true), Step::To(State::Opening), "where a stranger is let in");
            assert_eq!(step(over, Out, Out, Event::Syn, false), Step::To(State::Opening));
            assert_eq!(step(over, In, In, Event::Syn, false), Step::To(State::Opening));
        }
    }

    #[test]
    fn a_reset_ends_every_state_from_both_sides() {
        for s in State::ALL {
            for by in [In, Out] {
                let ended = if s == State::Closed { State::Closed } else { State::Reset };
                assert_eq!(step(s, Out, by, Event::Reset, false), Step::To(ended));
            }
        }
    }

    #[test]
    fn a_connection_that_goes_on_after_a_reset_lives_and_a_stranger_cannot_say_so() {
        let up = [(Out, Event::Syn), (In, Event::SynAck), (Out, Event::Data), (In, Event::Reset)];
        let after = |more: &[(Direction, Event)]| run(Out, &[&up[..], more].concat());
        assert_eq!(after(&[(In, Event::Data), (In, Event::Data)]), State::Reset);
        assert_eq!(after(&[(Out, Event::Data)]), State::Questioned);
        assert_eq!(after(&[(Out, Event::Data), (In, Event::Data)]), State::Established);
        assert_eq!(after(&[(Out, Event::Data), (In, Event::Reset)]), State::Reset);
    }

    #[test]
    fn the_outside_alone_establishes_nothing() {
        let story = [(Out, Event::Syn), (In, Event::Syn), (In, Event::Data), (In, Event::SynAck)];
        assert_eq!(run(Out, &story), State::Crossed);
    }

    #[test]
    fn the_opener_starts_anew_from_a_half_closed_connection() {
        let story = [(Out, Event::Syn), (In, Event::SynAck), (Out, Event::Data), (Out, Event::Fin), (Out, Event::Syn)];
        assert_eq!(run(Out, &story), State::Opening);
    }

    #[test]
    fn the_answering_side_may_reset_before_its_answer_was_acknowledged() {
        let mut t = Track::default();
        t.note(Out, SYN, 1000, 0, None);
        t.note(In, SYN | ACK, 5_000_000, 1001, None);
        assert!(t.believes_reset(State::Answered, Out, In, RST, 5_000_001, 0));
        assert!(!t.believes_reset(State::Answered, Out, In, RST, 1, 0));
    }

    #[test]
    fn a_refusal_may_acknowledge_what_came_with_the_syn() {
        let mut t = Track::default();
        t.note(Out, SYN, 1000, 0, None);
        assert!(t.believes_reset(State::Opening, Out, In, RST | ACK, 0, 1001 + 500));
    }

    #[test]
    fn a_guessed_fin_does_not_count() {
        let mut t = Track::default();
        t.note(Out, SYN, 1000, 0, None);
        t.note(In, SYN | ACK, 5000, 1001, None);
        t.note(Out, ACK, 1001, 5001, None);
        assert!(t.believes_fin(In, 5001 + 1000) && !t.believes_fin(In, 0x9000_0000));
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
        assert!(!t.believes_reset(State::Opening, Out, In, RST | ACK, 0, 1000));
        assert!(!t.believes_reset(State::Opening, Out, In, RST | ACK, 0, 1001 + 70_000));
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
