//! The same claims over several workers.

use std::path::PathBuf;

const WORKERS: &str = "UNDERPASS_TEST_WORKERS";
const TRANSCRIPTS: &str = "UNDERPASS_TEST_TRANSCRIPTS";

/// How many workers a [`crate::lab::Lab`] has.
pub(crate) fn count() -> u8 {
    std::env::var(WORKERS).ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// Where transcripts are wanted, if they are.
pub(crate) fn transcripts() -> Option<PathBuf> {
    std::env::var_os(TRANSCRIPTS).map(PathBuf::from)
}
