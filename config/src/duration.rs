//! Durations as people write them: `300s`, `2h4m`, `1500ms`. A number without a unit is refused, not guessed.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::value::{Mistake, Node, quoted, text};

/// Seven days: the most that any timeout may be.
pub(crate) const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// A duration in `range`.
pub(crate) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Node<'_>) -> Result<Duration, Mistake> {
    move |node| {
        if node.value.get_ref().is_integer() {
            let number = node.describe();
            return Err(Mistake::write(format!("{number} has no unit"), format!("\"{number}s\"")));
        }
        let written = text(node, "\"300s\"")?;
        let value = parse(&written).ok_or_else(|| match written.parse::<u32>() {
            Ok(number) => Mistake::write(format!("{} has no unit", quoted(&written)), format!("\"{number}s\"")),
            Err(_) => Mistake::write(
                format!("{} is not a duration", quoted(&written)),
                "a number and ms, s, m, h or d, such as \"300s\", \"2h\" or \"2h4m\"",
            ),
        })?;
        if range.contains(&value) {
            return Ok(value);
        }
        let (low, high) = (show(*range.start()), show(*range.end()));
        Err(Mistake::write(
            format!("{} is not between {low} and {high}", quoted(&written)),
            format!("a duration from \"{low}\" to \"{high}\""),
        ))
    }
}

/// As [`duration`] up to a week, with a warning below `advised`, which is what `clause` asks for.
pub(crate) fn advised(advised: Duration, clause: &'static str) -> impl Fn(&Node<'_>) -> Result<Duration, Mistake> {
    advised_from(Duration::from_secs(1), advised, clause)
}

/// As [`advised`], from `least` on.
pub(crate) fn advised_from(
    least: Duration,
    advised: Duration,
    clause: &'static str,
) -> impl Fn(&Node<'_>) -> Result<Duration, Mistake> {
    move |node| {
        let value = duration(least..=WEEK)(node)?;
        if value < advised {
            let (found, floor) = (show(value), show(advised));
            node.warn(
                format!("{found} is shorter than the {floor} of {clause}"),
                format!("write: \"{floor}\" or more"),
            );
        }
        Ok(value)
    }
}

/// The duration that `text` says: numbers with units, largest unit first.
fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut last = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
        let (unit, tail) = tail.split_at_checked(letters)?;
        let milliseconds: u64 = match unit {
            "d" => 86_400_000,
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1000,
            "ms" => 1,
            _ => return None,
        };
        if milliseconds >= last {
            return None;
        }
        last = milliseconds;
        let part = number.parse::<u64>().ok()?.checked_mul(milliseconds)?;
        total = total.checked_add(Duration::from_millis(part))?;
        rest = tail;
    }
    (last != u64::MAX).then_some(total)
}

/// As it would be written.
pub(crate) fn show(duration: Duration) -> String {
    match (duration.as_secs(), duration.subsec_millis()) {
        (0, 0) => "0s".to_owned(),
        (seconds, 0) if seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        (seconds, 0) => format!("{seconds}s"),
        _ => format!("{}ms", duration.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units_largest_first() {
        for (text, milliseconds) in [
            ("300s", 300_000),
            ("2h", 7_200_000),
            ("5m", 300_000),
            ("124m", 7_440_000),
            ("1500ms", 1500),
            ("2h4m", 7_440_000),
            ("1d1ms", 86_400_001),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        for text in ["", "300", "s", "4m2h", "2h2h", "5 m", "-5s", "5S", "1.5s", "5w", "99999999999999999999s", "5sä"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("18446744073709551615d"), None);
    }

    #[test]
    fn durations_are_shown_as_they_could_be_written() {
        for text in ["0s", "90s", "7d", "1500ms"] {
            assert_eq!(parse(text).map(show).as_deref(), Some(text));
        }
    }
}
