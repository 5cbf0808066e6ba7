//! The API on a Unix socket, as docs/api.md describes it: JSON lines, one request at a time a connection.
//!
//! ```text
//! protocol    requests, filters, and the lines of an answer        socket   who owns the path, who may connect
//! connection  one client: bounded input, output and patience       server   all of them, polled by the control thread
//! client      the other end: what the verbs of the command line use
//! ```
//!
//! What comes from the socket is hostile: a request has a size and a time, a client that does not read is cut, and so
//! many connections there are and no more. The dataplane notices none of it.

pub(crate) mod client;
mod connection;
pub(crate) mod protocol;
mod server;
pub(crate) mod socket;

pub(crate) use server::Server;
