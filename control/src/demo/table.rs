//! The live table and the summary. Lines are built first and cut to the terminal's width last, so that a redraw always
//! covers what was there; a narrow terminal loses the right-hand columns and nothing wraps.

use super::latency::Percentiles;
use super::talk::Kind;
use super::tally::Count;
use super::view::{Moment, Rates, grouped, is_meant, is_overload, short};
use std::fmt::Write as _;
use std::time::Duration;

/// A piece of text and how it is set off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Dim,
    Bold,
    Good,
    Bad,
    Odd,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Dim => "\x1b[2m",
            Self::Bold => "\x1b[1m",
            Self::Good => "\x1b[32m",
            Self::Bad => "\x1b[1;31m",
            Self::Odd => "\x1b[33m",
        }
    }
}

/// A line in pieces.
#[derive(Clone, Debug, Default)]
pub(super) struct Line(Vec<(Style, String)>);

impl Line {
    fn new(style: Style, text: impl Into<String>) -> Self {
        Self(vec![(style, text.into())])
    }

    fn and(mut self, style: Style, text: impl Into<String>) -> Self {
        self.0.push((style, text.into()));
        self
    }

    /// At most `width` characters, with colours if there are any.
    pub(super) fn render(&self, width: usize, colour: bool) -> String {
        let (mut out, mut left) = (String::new(), width);
        for (style, text) in &self.0 {
            let cut: String = text.chars().take(left).collect();
            left -= cut.chars().count();
            match style.code() {
                code if colour && !code.is_empty() => {
                    let _ = write!(out, "{code}{cut}\x1b[0m");
                }
                _ => out.push_str(&cut),
            }
        }
        out
    }
}

/// The bar and the whole table while it runs, for a terminal of this width and height: a low one has no
/// blank lines, two VPNs in one, and the drops in one.
pub(super) fn live(
    moment: &Moment,
    rates: &Rates,
    duration: Duration,
    workers: usize,
    (width, height): (usize, usize),
) -> Vec<Line> {
    let mut lines = vec![progress(moment, duration, width), Line::default()];
    lines.extend(traffic(moment, rates));
    lines.push(Line::default());
    let mut state = format!(
        "sessions {}   mappings {}   opened {}/s",
        grouped(moment.sessions),
        grouped(moment.mappings),
        short(rates.opened).trim()
    );
    if workers > 1 {
        let _ = write!(state, "   handed between workers {}", grouped(moment.handed));
    }
    lines.push(Line::new(Style::Plain, state));
    let (all, kinds) = (drops(moment), conversations(moment));
    if lines.len() + kinds.len() + all.len() + 2 < height {
        for part in [kinds, all] {
            lines.push(Line::default());
            lines.extend(part);
        }
        return lines;
    }
    lines.retain(|line| !line.0.is_empty());
    lines.extend(folded(moment));
    let drops = moment.drops.iter().map(|(reason, n)| format!("{} {}", reason.label(), grouped(*n)));
    lines.push(Line::new(Style::Plain, format!("drops: {}", drops.collect::<Vec<_>>().join(", "))));
    lines
}

fn progress(moment: &Moment, duration: Duration, width: usize) -> Line {
    let (elapsed, whole) = (moment.snapshot.elapsed.as_secs_f64(), duration.as_secs_f64().max(0.001));
    let done = (elapsed / whole).min(1.0);
    let cells = width.saturating_sub(34).clamp(10, 50);
    let full = (done * cells as f64).round() as usize;
    let what = match (moment.snapshot.connected, moment.snapshot.finishing) {
        (false, _) => "looking for the router".to_owned(),
        (true, true) => "finishing what has begun".to_owned(),
        (true, false) => format!("{elapsed:.1} of {whole:.0} s"),
    };
    Line::new(Style::Good, "━".repeat(full))
        .and(Style::Dim, "━".repeat(cells - full))
        .and(Style::Plain, format!(" {:3.0} %  {what}", done * 100.0))
}

/// Both directions.
pub(super) fn traffic(moment: &Moment, rates: &Rates) -> Vec<Line> {
    // 80 columns exactly.
    let head = format!(
        "{:<16}{:>10}{:>8}{:>8}{:>8}{:>7}{:>7}{:>9}{:>7}",
        "", "packets/s", "bits/s", "packets", "bytes", "p50 µs", "p99 µs", "p99.9 µs", "max µs"
    );
    let mut lines = vec![Line::new(Style::Dim, head)];
    for (d, name) in ["inside → outside", "outside → inside"].into_iter().enumerate() {
        let Percentiles { p50, p99, p99_9, max } = moment.snapshot.latency[d];
        let flow = moment.flows[d];
        let [packets, bits, all, bytes] = [rates.packets[d], rates.bits[d], flow.packets as f64, flow.bytes as f64]
            .map(|n| short(n).trim_end().to_owned());
        lines.push(Line::new(Style::Bold, name).and(
            Style::Plain,
            format!("{packets:>10}{bits:>8}{all:>8}{bytes:>8}{p50:>7.0}{p99:>7.0}{p99_9:>9.0}{max:>7.0}"),
        ));
    }
    lines
}

/// Each kind with its counts.
pub(super) fn conversations(moment: &Moment) -> Vec<Line> {
    let head = format!("{:<28}{:>9}{:>10}{:>11}{:>8}", "conversations", "started", "verified", "under way", "failed");
    let tally = &moment.snapshot.tally;
    let mut lines = vec![Line::new(Style::Dim, head)];
    for &kind in Kind::ALL {
        lines.push(row(kind.title(), tally.of(kind), Style::Plain));
    }
    lines.push(row("all", tally.sum(), Style::Bold));
    lines
}

/// The same, with VPNs two in a line: verified of started.
fn folded(moment: &Moment) -> Vec<Line> {
    let tally = &moment.snapshot.tally;
    let cells: Vec<_> = Kind::ALL.iter().filter(|kind| kind.is_vpn()).map(|&kind| (kind, tally.of(kind))).collect();
    let mut lines = conversations(moment);
    let all = lines.pop();
    let mut kinds = Kind::ALL.iter();
    // The head stays, and each row whose kind is not folded.
    let mut head = true;
    lines.retain(|_| std::mem::take(&mut head) || kinds.next().is_some_and(|kind| !kind.is_vpn()));
    lines.extend(cells.chunks(2).map(|pair| {
        pair.iter().fold(Line::default(), |line, &(kind, count)| {
            let style = match count {
                c if c.failed > 0 => Style::Bad,
                c if c.started > 0 && c.verified == c.started => Style::Good,
                _ => Style::Plain,
            };
            let of = format!("{} of {}", grouped(count.verified), grouped(count.started));
            line.and(Style::Plain, format!("{:<28}", kind.title())).and(style, format!("{of:<12}"))
        })
    }));
    lines.extend(all);
    lines
}

fn row(name: &str, c: Count, style: Style) -> Line {
    let good = if c.started > 0 && c.verified == c.started { Style::Good } else { Style::Plain };
    let line = Line::new(style, format!("{name:<28}{:>9}", grouped(c.started)))
        .and(good, format!("{:>10}", grouped(c.verified)))
        .and(Style::Plain, format!("{:>11}", grouped(c.under_way())))
        .and(if c.failed > 0 { Style::Bad } else { Style::Plain }, format!("{:>8}", grouped(c.failed)));
    if c.lost > 0 { line.and(Style::Odd, format!("  {} lost to overload", grouped(c.lost))) } else { line }
}

/// Drops by reason, and which of them are meant to be.
pub(super) fn drops(moment: &Moment) -> Vec<Line> {
    if moment.drops.is_empty() {
        return vec![Line::new(Style::Dim, "drops: none")];
    }
    let mut lines = vec![Line::new(Style::Dim, format!("{:<28}{:>9}", "drops by reason", "packets"))];
    for &(reason, count) in &moment.drops {
        let (style, why) = match reason {
            r if is_meant(r) => (Style::Dim, "  provoked by the demo"),
            r if is_overload(r) => (Style::Odd, "  the machine is too slow for this"),
            _ => (Style::Odd, "  not expected"),
        };
        lines.push(Line::new(Style::Plain, format!("{:<28}{:>9}", reason.label(), grouped(count))).and(style, why));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::far::Snapshot;
    use crate::demo::tally::{Outcome, Tally};
    use dataplane::verdict::DropReason;

    fn moment() -> Moment {
        let mut tally = Tally::default();
        for outcome in [Outcome::Verified, Outcome::Failed, Outcome::Lost] {
            tally.start(Kind::Udp);
            tally.end(Kind::Udp, outcome);
        }
        tally.start(Kind::Ping);
        let snapshot = Snapshot { connected: true, elapsed: Duration::from_secs(4), tally, ..Snapshot::default() };
        Moment {
            snapshot,
            sessions: 1234,
            drops: vec![(DropReason::Filtered, 7), (DropReason::HandoffFull, 2), (DropReason::Land, 1)],
            ..Moment::default()
        }
    }

    fn text(width: usize) -> Vec<String> {
        let rates = Rates { packets: [1_234_567.0, 10.0], ..Rates::default() };
        let lines = live(&moment(), &rates, Duration::from_secs(10), 2, (width, 50));
        lines.iter().map(|l| l.render(width, false)).collect()
    }

    #[test]
    fn the_table_says_what_happened() {
        let all = text(120).join("\n");
        assert!(all.contains(" 40 %  4.0 of 10 s"), "{all}");
        assert!(all.contains("1.23 M") && all.contains("sessions 1,234"), "{all}");
        let udp = all.lines().find(|l| l.starts_with(Kind::Udp.title())).unwrap();
        assert_eq!(udp.split_whitespace().rev().take(8).collect::<Vec<_>>().join(" "), "overload to lost 1 1 0 1 3");
        for reason in [
            "filtered                            7  provoked",
            "handoff_full",
            "land                                1  not expected",
        ] {
            assert!(all.contains(reason), "{reason}: {all}");
        }
        assert!(!all.contains('\x1b'));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [0, 1, 20, 40, 80, 200] {
            assert!(text(width).iter().all(|l| l.chars().count() <= width), "{width}");
        }
        // Escape codes take no room, and are closed even where the text is cut.
        let cut = Line::new(Style::Bad, "failed").and(Style::Plain, " more").render(4, true);
        assert_eq!(cut, "\x1b[1;31mfail\x1b[0m");
    }

    #[test]
    fn a_terminal_of_24_lines_shows_everything() {
        let mut moment = moment();
        moment.drops.push((DropReason::TooBig, 1));
        let size = (80, 24);
        let lines = live(&moment, &Rates::default(), Duration::from_secs(10), 2, size);
        assert!(lines.len() < size.1, "{}", lines.len());
        let shown: Vec<_> = lines.iter().map(|l| l.render(200, false)).collect();
        for &kind in Kind::ALL {
            let cell = format!("{:<28}", kind.title());
            assert_eq!(shown.iter().filter(|l| l.contains(&cell)).count(), 1, "{}", kind.title());
        }
        assert!(shown.iter().all(|l| l.chars().count() <= 90), "{shown:#?}");
        assert_eq!(lines.last().unwrap().render(80, false), "drops: filtered 7, handoff_full 2, land 1, too_big 1");
        assert!(traffic(&moment, &Rates::default()).iter().all(|l| l.render(200, false).chars().count() == 80));
    }

    #[test]
    fn the_columns_of_80_characters_hold_the_conversations() {
        assert!(conversations(&moment()).iter().all(|l| l.render(200, false).chars().count() <= 90));
    }
}
