//! How many sessions and mappings of each protocol a worker has.

use crate::types::Proto;
use crate::verdict::Cell;

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
    #[must_use]
    pub const fn of(proto: Proto) -> Self {
        match proto {
            Proto::TCP => Self::Tcp,
            Proto::UDP => Self::Udp,
            Proto::ICMP => Self::Icmp,
            Proto::GRE => Self::Gre,
            Proto::ESP => Self::Esp,
            Proto::L2TP => Self::L2tpv3,
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
