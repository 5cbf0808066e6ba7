//! The control thread: lowers the configuration, starts and watches the workers; the verbs of the command line.
//!
//! ```text
//! cli ─► run │ check │ demo │ replay │ bench │ doctor
//!          └► lower (Model → Policy) ─► machine (CPUs, memory, devices) ─► engine (ports, workers, rings) ─► account
//! ```

mod account;
mod api;
mod bench;
mod check;
mod cli;
mod demo;
mod doctor;
mod engine;
mod latency;
mod live;
mod lower;
mod machine;
mod metrics;
mod nodes;
mod notify;
mod replay;
mod run;
mod show;
mod signals;
mod steering;
mod top;
mod tunnels;

pub use cli::main;
