//! Metrics for Prometheus, over HTTP. Off unless `control.metrics` is set; nothing here changes anything.
//!
//! ```text
//! counters, meters, devices ─► families (what, with which labels) ─► page (OpenMetrics, or the older text) ─► http
//! ```
//!
//! The page is made when it is asked for, out of what workers count anyway: a scrape costs them nothing.

mod families;
mod http;
mod page;

use crate::live::Live;

pub(crate) use families::{Sources, Usage};
pub(crate) use http::Http;

impl Http {
    /// Answers whoever asks now.
    pub(crate) fn serve(&mut self, live: &Live) {
        self.turn(|format| page::page(families::all(&live.sources()), format));
    }
}
