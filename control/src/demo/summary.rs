//! The first line and the last words.

use super::cast::Cast;
use super::screen;
use super::table;
use super::view::{self, Moment, Rates};
use crate::account::Report;
use std::time::Duration;

/// What this is.
pub(super) fn headline(cast: &Cast, workers: usize, duration: Duration) -> String {
    let s = if workers == 1 { "" } else { "s" };
    format!(
        "Underpass demo: the real dataplane on DPDK ring devices, {} inside hosts, {} servers, {workers} worker{s}; {}; \
         Ctrl-C ends it",
        cast.hosts.len(),
        cast.servers.len(),
        show(duration),
    )
}

fn show(duration: Duration) -> String {
    match duration.as_millis() {
        ms if ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        ms if ms.is_multiple_of(1000) => format!("{} s", ms / 1000),
        ms => format!("{ms} ms"),
    }
}

/// Tells how it went, and returns whether it went well: every conversation verified, every packet accounted for.
pub(super) fn tell(
    last: &Moment,
    rates: &Rates,
    report: &Report,
    workers: usize,
    as_json: bool,
) -> anyhow::Result<bool> {
    let tally = &last.snapshot.tally;
    let good = tally.is_good() && report.unaccounted == 0 && last.snapshot.connected;
    if as_json {
        let mut object = view::json(last, rates);
        object["type"] = "summary".into();
        object["ok"] = good.into();
        object["workers"] = workers.into();
        object["faults"] = tally.faults.clone().into();
        object["account"] = serde_json::to_value(report)?;
        object["vpn"] = serde_json::to_value(&report.vpn)?;
        println!("{object}");
        return Ok(good);
    }
    let (width, colour) = (if screen::is_there() { screen::size().0 } else { usize::MAX }, screen::colours());
    let blank = || vec![table::Line::default()];
    let parts = [
        blank(),
        table::traffic(last, rates),
        blank(),
        table::conversations(last),
        blank(),
        table::drops(last),
        blank(),
    ];
    for line in parts.iter().flatten() {
        println!("{}", line.render(width, colour));
    }
    println!("{}", account(report));
    for line in report.vpn.lines() {
        println!("{}", line.chars().take(width).collect::<String>());
    }
    if tally.retransmitted > 0 || tally.bulk_lost > 0 {
        println!("{} TCP segments sent again, {} bulk packets lost", tally.retransmitted, tally.bulk_lost);
    }
    if tally.misled > 0 {
        println!("{} ESP packets came first to another client that waited too, and were sent again", tally.misled);
    }
    if tally.strays > 0 {
        println!("{} frames arrived that belong to no conversation", tally.strays);
    }
    for fault in &tally.faults {
        println!("  {fault}");
    }
    println!("\n{}", verdict(last, report, good));
    Ok(good)
}

/// Where every packet went, in one line.
fn account(report: &Report) -> String {
    let n = view::grouped;
    format!(
        "account: received {} + made here {} = sent {} + consumed {} + dropped {}; unaccounted {}",
        n(report.received),
        n(report.originated),
        n(report.sent),
        n(report.consumed),
        n(report.dropped),
        report.unaccounted
    )
}

fn verdict(last: &Moment, report: &Report, good: bool) -> String {
    let sum = last.snapshot.tally.sum();
    let n = view::grouped;
    match (good, sum.lost) {
        (true, 0) => format!(
            "All {} conversations verified end to end: addresses, ports, checksums, every byte. \
             Every packet is accounted for.",
            n(sum.verified)
        ),
        (true, lost) => format!(
            "{} conversations verified. {} fell silent while the machine was too slow for the traffic; \
             none arrived wrong.",
            n(sum.verified),
            n(lost)
        ),
        (false, _) if !last.snapshot.connected => "FAILED: the router did not answer ARP.".to_owned(),
        (false, _) => format!(
            "FAILED: {} of {} conversations failed, {} frames arrived that nobody sent, {} packets unaccounted for.",
            n(sum.failed),
            n(sum.started),
            n(last.snapshot.tally.strays),
            report.unaccounted
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::cast;

    #[test]
    fn the_first_line_says_what_this_is() {
        let cast = Cast::of(&cast::model().unwrap()).unwrap();
        assert_eq!(
            headline(&cast, 1, Duration::from_secs(10)),
            "Underpass demo: the real dataplane on DPDK ring devices, 50 inside hosts, 12 servers, 1 worker; 10 s; \
             Ctrl-C ends it"
        );
        assert!(headline(&cast, 2, Duration::from_millis(500)).contains("2 workers; 500 ms"));
        assert_eq!(show(Duration::from_secs(120)), "2 min");
    }
}
