//! From a TOML file to a validated [`Model`], with every problem located.
//!
//! Parse, do not check: a [`Model`] has private fields and one way in ([`parse`], or [`load`] for a file), so whoever holds one
//! holds a configuration in which every value is in its range and every address belongs somewhere. What is wrong
//! is reported all at once, each [`Diagnostic`] with file, line, column and key, what was found, and what to write
//! instead. No input makes this crate panic. A text is refused beyond 4 MiB,
//! so that the worst one costs seconds.
//!
//! It knows nothing of the machine: whether a device exists is found out later, by somebody who holds the model and turns
//! the [`Location`] of a value into a diagnostic of the same form with [`Model::diagnostic`].
//!
//! The way through: text → [`document`] (TOML with spans) → [`table`] and [`value`] (typed leaves, unknown keys) →
//! one file a section ([`runtime`], [`port`], [`link`], [`nat`], [`forward`], [`passthrough`], [`firewall`], [`control`]) → [`check`] (what
//! concerns several sections) → [`Model`].
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::cast_possible_truncation
    )
)]
// The module list above is for readers of the source; what is public is re-exported below.
#![allow(rustdoc::private_intra_doc_links)]

mod check;
mod control;
mod device;
mod diagnostic;
mod document;
mod duration;
mod firewall;
mod forward;
mod link;
mod model;
mod nat;
mod net;
mod passthrough;
mod port;
mod runtime;
mod settings;
mod table;
mod value;

pub use control::{Control, LogLevel};
pub use device::Device;
pub use diagnostic::{Diagnostic, Located, Location, Report, Severity};
pub use firewall::{Allow, Firewall, Service};
pub use forward::{Forward, Protocol, StaticMapping};
pub use link::{Neighbour, PortIndex, Route};
pub use model::{Checked, Model};
pub use nat::{Filtering, Fragments, Limits, MssClamp, Nat, PoolExhausted, Refusal, Timeouts, UnsolicitedSyn};
pub use net::{AddressRange, Ipv4Net, MacAddr};
pub use passthrough::{EspPairing, IkePort, Passthrough, Profile, Switch};
pub use port::{Port, Role, Steering};
pub use runtime::{Idle, Memory, Runtime, Workers};
pub use settings::{Difference, Setting};

use std::io::Read;
use std::path::Path;

/// The version whose schema this is, as messages name it.
pub(crate) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));

/// The most a configuration may hold: some fifty thousand forwards. Bounds the work that any input can cause.
const LARGEST: u64 = 4 << 20;

/// Reads and checks the configuration file at `path`.
///
/// # Errors
///
/// Everything that is wrong with the file, at once; a file that cannot be read is one such report.
pub fn load(path: &Path) -> Result<Checked, Report> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    if let Err(error) = std::fs::File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes)) {
        let remedy = match error.kind() {
            std::io::ErrorKind::NotFound => "name a file that exists: --config FILE",
            std::io::ErrorKind::PermissionDenied => "let the user who runs underpass read it",
            _ => "name a regular TOML file: --config FILE",
        };
        return Err(Report::of_file(&name, format!("cannot be read: {error}"), remedy));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => parse(&name, text),
        Err(error) => {
            let sound = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let text = String::from_utf8_lossy(sound);
            let document = document::Document::new(&name, &text);
            let here = document.location("", text.len());
            document.error(&here, "this is not UTF-8 text", "save the file as UTF-8 (plain ASCII is enough)");
            Err(Report::new(document.into_diagnostics()))
        }
    }
}

/// Checks the configuration `text`; `name` is what diagnostics call it, usually its path.
///
/// # Errors
///
/// Everything that is wrong with the text, at once, warnings included.
pub fn parse(name: &str, text: &str) -> Result<Checked, Report> {
    if text.len() as u64 > LARGEST {
        let remedy = "name the right file; use ranges and networks for long lists";
        return Err(Report::of_file(name, format!("is larger than {} MiB", LARGEST >> 20), remedy));
    }
    let document = document::Document::new(name, text);
    let model = document.parse().and_then(|root| model::read(&document, &root));
    let diagnostics = document.into_diagnostics();
    match model {
        Some(model) if diagnostics.iter().all(|found| found.severity == Severity::Warning) => {
            Ok(Checked { model, warnings: diagnostics })
        }
        _ => Err(Report::new(diagnostics)),
    }
}
