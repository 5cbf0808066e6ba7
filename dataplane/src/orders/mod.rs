//! What control asks of a worker that runs, and how the worker answers without ever waiting.
//!
//! ```text
//! line    the shared ends: orders one way, rows and reports the other; a number says that there is something
//! filter  which sessions, mappings, tunnels, subscribers are meant
//! row     what the answers consist of: Copy values
//! desk    the worker's side: a bounded piece of the order in hand a turn
//! change  new rules, published, acknowledged, freed
//! ```
//!
//! A turn without orders costs the worker one load. With one, it looks at [`desk::SLICE`] entries of a table a turn and
//! goes on with packets; where control does not take the rows, it goes on with them another turn. It allocates and frees
//! nothing: rows are copied into room that was taken at the start, and what must be freed goes back to control.

pub mod change;
pub mod desk;
pub mod filter;
pub mod line;
pub mod row;

pub use change::Change;
pub use filter::Filter;
pub use line::{Busy, Line};
pub use row::{MappingRow, Row, SessionRow, SubscriberRow};

/// A table of a worker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Sessions, tunnels' legs among them.
    Sessions,
    /// Mappings, those at rest too.
    Mappings,
    /// VPN tunnels.
    Tunnels,
    /// Subscribers.
    Subscribers,
}

/// What control asks for. One is worked on at a time, in their order.
#[derive(Debug)]
pub enum Order {
    /// Tell what matches in a table, row by row, then [`Row::End`].
    Dump(Table, Filter),
    /// End the sessions and tunnels that match, then [`Report::Flushed`].
    Flush(Filter),
    /// Go over to new rules, then [`Report::Changed`].
    Change(Box<Change>),
    /// Count what still uses each address that drains, into as many places, then [`Report::Surveyed`].
    Survey(Box<[u32]>),
}

/// That an order is done.
#[derive(Debug)]
pub enum Report {
    /// So many sessions and tunnels were ended.
    Flushed {
        /// Sessions of TCP, UDP and ICMP.
        sessions: u64,
        /// Tunnels, with their legs.
        tunnels: u64,
    },
    /// The new rules are in force and what hung on others has ended. Holds the old ones.
    Changed(Box<Change>),
    /// How many mappings and tunnels each address that drains still has.
    Surveyed(Box<[u32]>),
}
