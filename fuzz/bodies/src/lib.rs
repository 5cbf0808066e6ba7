//! What each fuzz target does with its input. A body returns for any input whatever, or panics: then it is a bug.
//!
//! `fuzz/targets` gives them to libFuzzer; `tests/seeds.rs` runs them over `fuzz/seeds` and mutations of it, so that
//! `make test` needs neither cargo-fuzz nor a sanitizer. What a fuzzer finds becomes a seed.

mod burst;
mod control;
mod frames;
mod icmp_quote;
mod parse;
mod pptp_stream;

pub use burst::burst;
pub use control::{ike, l2tp};
pub use icmp_quote::icmp_quote;
pub use parse::parse;
pub use pptp_stream::pptp_stream;

/// Reads any text as a configuration; what is wrong with it is reported, and each report can be shown.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match config::parse("fuzz.toml", &text) {
        Ok(checked) => drop(format!("{checked:?}")),
        Err(report) => drop(report.to_string()),
    }
}

/// A target's name and body.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 7] = [
    ("parse", parse),
    ("icmp_quote", icmp_quote),
    ("burst", burst),
    ("config", config),
    ("pptp_stream", pptp_stream),
    ("ike", ike),
    ("l2tp", l2tp),
];
