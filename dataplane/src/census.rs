//! How many sessions and mappings of each protocol a worker has, and how many packets it translated.

use crate::types::{Direction, Proto};
use crate::verdict::{Cell, Counters, Event};

macro_rules! kinds {
    ($( $(#[doc = $doc:literal])+ $name:ident = $label:literal, )+) => {
        /// A protocol that is counted by itself.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Kind { $( $(#[doc = $doc])+ $name, )+ }

        impl Kind {
            /// All, in the order of their numbers.
            pub const ALL: &'static [Self] = &[ $( Self::$name, )+ ];

            /// Name in metrics and tables.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $( Self::$name => $label, )+ }
            }
        }
    };
}

kinds! {
    /// TCP.
    Tcp = "tcp",
    /// UDP.
    Udp = "udp",
    /// ICMP queries.
    Icmp = "icmp",
    /// GRE: of PPTP calls, and version 0.
    Gre = "gre",
    /// ESP.
    Esp = "esp",
    /// L2TPv3 over IP.
    L2tpv3 = "l2tpv3",
    /// Any other protocol, by address.
    Other = "other",
}

impl Kind {
    /// Of a protocol.
    #[inline]
    #[must_use]
    pub const fn of(proto: Proto) -> Self {
        match proto {
            Proto::TCP => Self::Tcp,
            Proto::UDP => Self::Udp,
            Proto::ICMP => Self::Icmp,
            Proto::GRE => Self::Gre,
            Proto::ESP => Self::Esp,
            Proto::L2TP | Proto::L2TP_CONTROL => Self::L2tpv3,
            _ => Self::Other,
        }
    }
}

/// Begun, and ended.
#[derive(Debug, Default)]
struct Life {
    begun: Cell,
    ended: Cell,
}

impl Life {
    fn alive(&self) -> u64 {
        // Read while the worker counts: what ended first, so that it never exceeds what began.
        let ended = self.ended.get();
        self.begun.get().saturating_sub(ended)
    }
}

const KINDS: usize = Kind::ALL.len();

/// See the module. One writer, as with all counters.
#[derive(Debug, Default)]
pub struct Census {
    sessions: [Life; KINDS],
    mappings: [Life; KINDS],
    /// Towards the outside, towards the inside.
    translated: [[Cell; KINDS]; 2],
}

const fn index(direction: Direction) -> usize {
    match direction {
        Direction::Out => 0,
        Direction::In => 1,
    }
}

/// What a burst's known flows add to the counters: written once for all its packets.
#[derive(Default)]
pub(crate) struct Translated([[u64; KINDS]; 2]);

impl Translated {
    /// A packet was translated.
    #[inline]
    pub(crate) fn count(&mut self, direction: Direction, proto: Proto) {
        if let Some(n) = self.0.get_mut(index(direction)).and_then(|kinds| kinds.get_mut(Kind::of(proto) as usize)) {
            *n += 1;
        }
    }

    /// Writes them.
    #[inline]
    pub(crate) fn write(self, counters: &Counters) {
        let [out, inward] = &counters.census.translated;
        for ((kinds, cells), event) in self.0.iter().zip([out, inward]).zip([Event::TranslatedOut, Event::TranslatedIn])
        {
            let mut sum = 0;
            for (n, cell) in kinds.iter().zip(cells).filter(|(n, _)| **n > 0) {
                cell.add(*n);
                sum += n;
            }
            if sum > 0 {
                counters.count(event, sum);
            }
        }
    }
}

impl Census {
    /// A session begins.
    pub fn session_begins(&self, proto: Proto) {
        if let Some(life) = self.sessions.get(Kind::of(proto) as usize) {
            life.begun.add(1);
        }
    }

    /// A session ends.
    pub fn session_ends(&self, proto: Proto) {
        if let Some(life) = self.sessions.get(Kind::of(proto) as usize) {
            life.ended.add(1);
        }
    }

    /// A mapping begins.
    pub fn mapping_begins(&self, proto: Proto) {
        if let Some(life) = self.mappings.get(Kind::of(proto) as usize) {
            life.begun.add(1);
        }
    }

    /// A mapping ends.
    pub fn mapping_ends(&self, proto: Proto) {
        if let Some(life) = self.mappings.get(Kind::of(proto) as usize) {
            life.ended.add(1);
        }
    }

    /// Sessions of a kind that began.
    #[must_use]
    pub fn sessions_begun(&self, kind: Kind) -> u64 {
        self.sessions.get(kind as usize).map_or(0, |life| life.begun.get())
    }

    /// Packets of a kind that were translated.
    #[must_use]
    pub fn translated(&self, direction: Direction, kind: Kind) -> u64 {
        self.translated.get(index(direction)).and_then(|kinds| kinds.get(kind as usize)).map_or(0, Cell::get)
    }

    /// Sessions of a kind that there are.
    #[must_use]
    pub fn sessions(&self, kind: Kind) -> u64 {
        self.sessions.get(kind as usize).map_or(0, Life::alive)
    }

    /// Mappings of a kind that there are.
    #[must_use]
    pub fn mappings(&self, kind: Kind) -> u64 {
        self.mappings.get(kind as usize).map_or(0, Life::alive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_and_did_not_end_is_there_by_protocol() {
        let c = Counters::default();
        for proto in [Proto::TCP, Proto::UDP, Proto::UDP, Proto(47), Proto(41)] {
            c.session_begins(proto);
        }
        c.session_ends(Proto::UDP);
        c.mapping_begins(Proto::ICMP);
        let sessions: Vec<_> = Kind::ALL.iter().map(|&k| c.census.sessions(k)).collect();
        assert_eq!(sessions, [1, 1, 0, 1, 0, 0, 1]);
        assert_eq!((c.census.mappings(Kind::Icmp), c.census.sessions_begun(Kind::Udp)), (1, 2));
        assert_eq!((c.events(Event::SessionsOpened), c.events(Event::SessionsClosed)), (5, 1));
    }

    #[test]
    fn a_bursts_packets_are_counted_by_direction_and_protocol_and_in_sum() {
        let c = Counters::default();
        let mut t = Translated::default();
        for (direction, proto) in
            [(Direction::Out, Proto::UDP), (Direction::Out, Proto::ESP), (Direction::In, Proto::L2TP_CONTROL)]
        {
            t.count(direction, proto);
        }
        t.write(&c);
        let of = |direction, kind| c.census.translated(direction, kind);
        assert_eq!(
            [of(Direction::Out, Kind::Udp), of(Direction::Out, Kind::Esp), of(Direction::In, Kind::L2tpv3)],
            [1; 3]
        );
        assert_eq!((c.events(Event::TranslatedOut), c.events(Event::TranslatedIn)), (2, 1));
    }
}
