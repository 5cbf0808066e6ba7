//! The text of a configuration, its lines, its TOML tree with byte spans, and what has been found wrong so far.
//!
//! The TOML parser recovers from errors, so that all of a file's syntax errors are reported together. The tree behind
//! a syntax error is not looked at further, as its values are guesses; behind a duplicate key it is.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;

use crate::diagnostic::{Diagnostic, Location, Severity};
use crate::value::quoted;

/// More syntax errors than this are the echo of one.
const SYNTAX_ERRORS: usize = 20;

/// Bytes between two counts of characters.
const BLOCK: usize = 256;

/// How many characters begin in `bytes`: one at every byte that does not continue one.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte & 0xc0 != 0x80).count()
}

pub(crate) struct Document<'d> {
    name: &'d str,
    text: &'d str,
    /// The byte offset at which each line begins.
    lines: Vec<usize>,
    /// The characters before every [`BLOCK`]th byte, so that a column in a very long line costs no walk along it.
    characters: Vec<usize>,
    found: RefCell<Vec<Diagnostic>>,
}

impl<'d> Document<'d> {
    pub(crate) fn new(name: &'d str, text: &'d str) -> Self {
        let after_newline = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n').map(|(offset, _)| offset + 1);
        let lines = std::iter::once(0).chain(after_newline).collect();
        let mut before = 0;
        let after_block = text.as_bytes().chunks(BLOCK).map(|block| {
            before += characters(block);
            before
        });
        let characters = std::iter::once(0).chain(after_block).collect();
        Document { name, text, lines, characters, found: RefCell::default() }
    }

    /// The characters before the byte at `offset`.
    fn characters_before(&self, offset: usize) -> usize {
        let block = offset / BLOCK;
        let before = self.characters.get(block).copied().unwrap_or(0);
        before + characters(self.text.as_bytes().get(block * BLOCK..offset).unwrap_or_default())
    }

    pub(crate) fn name(&self) -> &'d str {
        self.name
    }

    /// The place of the byte at `offset`; the end of the text for anything beyond it.
    pub(crate) fn location(&self, key: impl Into<String>, offset: usize) -> Location {
        let offset = offset.min(self.text.len());
        let line = self.lines.partition_point(|&start| start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let column = self.characters_before(offset).saturating_sub(self.characters_before(start)) + 1;
        // A byte order mark takes no column.
        let mark = usize::from(start == 0 && offset > 0 && self.text.starts_with('\u{feff}'));
        Location::new(line, column.saturating_sub(mark).max(1), key.into())
    }

    pub(crate) fn error(&self, at: &Location, message: impl Into<String>, remedy: impl Into<String>) {
        self.found.borrow_mut().push(at.diagnostic(self.name, Severity::Error, message, remedy));
    }

    pub(crate) fn warning(&self, at: &Location, message: impl Into<String>, remedy: impl Into<String>) {
        self.found.borrow_mut().push(at.diagnostic(self.name, Severity::Warning, message, remedy));
    }

    /// Whether an error has been found so far.
    pub(crate) fn has_errors(&self) -> bool {
        self.found.borrow().iter().any(|found| found.severity == Severity::Error)
    }

    /// Everything found, in the order of the file.
    pub(crate) fn into_diagnostics(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|found| (found.line, found.column));
        found.dedup();
        found
    }

    /// The TOML tree, unless the text is not TOML; that is reported then.
    pub(crate) fn parse(&self) -> Option<Spanned<DeTable<'d>>> {
        let (tree, errors) = DeTable::parse_recoverable(self.text);
        let mut sound = true;
        let mut reported = Vec::new();
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            let duplicate = error.message() == "duplicate key";
            sound &= duplicate;
            let line = self.location("", span.start).line();
            // A second error in a line is nearly always the first one's echo.
            if (!duplicate && reported.contains(&line)) || reported.len() >= SYNTAX_ERRORS {
                continue;
            }
            reported.push(line);
            if duplicate {
                self.duplicate(span);
            } else {
                self.syntax(error.message(), span.start);
            }
        }
        sound.then_some(tree)
    }

    fn duplicate(&self, span: Range<usize>) {
        let here = self.location("", span.start);
        let key = quoted(self.text.get(span).unwrap_or_default().trim_matches(['"', '\'']));
        let message = match self.first_of(here.line()) {
            Some(line) => format!("{key} is here a second time (first in line {line})"),
            None => format!("{key} is here a second time"),
        };
        self.error(&here, message, "keep one of the two; a second port is a second [[port]]");
    }

    /// The line that the duplicate in `line` repeats, where it is written in the same way: the same header anywhere
    /// before it, or the same key in the same table.
    fn first_of(&self, line: usize) -> Option<usize> {
        let name = |line: &'d str| {
            let line = line.trim();
            let end = if line.starts_with('[') { ']' } else { '=' };
            line.split_once(end).map(|(name, _)| name.trim())
        };
        let sought = name(self.line(line))?;
        let before = (1..line).rev().map(|number| (number, self.line(number).trim_start()));
        let mut in_reach = before.take_while(|(_, text)| sought.starts_with('[') || !text.starts_with('['));
        in_reach.find(|(_, text)| name(text) == Some(sought)).map(|(number, _)| number)
    }

    /// The text of a line, from 1.
    fn line(&self, number: usize) -> &'d str {
        let start = self.lines.get(number.saturating_sub(1)).copied().unwrap_or(self.text.len());
        let end = self.lines.get(number).copied().unwrap_or(self.text.len());
        self.text.get(start..end).unwrap_or_default()
    }

    fn syntax(&self, message: &str, offset: usize) {
        let here = self.location("", offset);
        let start = self.lines.get(here.line() - 1).copied().unwrap_or(0);
        let line = self.line(here.line()).trim_end();
        let remedy = match line.split_once('=') {
            Some((key, value)) if offset > start + key.len() => bare_value(key.trim(), value),
            _ if line.trim_start().starts_with('[') => "close it: [table], or [[list]] for one of several".to_owned(),
            _ => "write: key = value, text in double quotes, one setting a line".to_owned(),
        };
        self.error(&here, format!("this is not TOML: {message}"), remedy);
    }
}

/// What to write for a value that is no TOML: text without its quotes is by far the most common.
fn bare_value(key: &str, value: &str) -> String {
    let value = value.split('#').next().unwrap_or_default().trim();
    let plain = !value.is_empty() && value.len() <= 64 && !value.contains(['"', '\'', '[', ']', '{', '}', '=', '\\']);
    match value {
        "yes" | "on" | "True" | "TRUE" => format!("write: {key} = true"),
        "no" | "off" | "False" | "FALSE" => format!("write: {key} = false"),
        _ if plain && value.chars().all(|c| c.is_ascii_digit()) => {
            let number = value.trim_start_matches('0');
            format!("write: {key} = {}", if number.is_empty() { "0" } else { number })
        }
        _ if plain && !value.chars().any(char::is_control) => format!("write: {key} = \"{value}\""),
        _ => "write: key = value, text in double quotes, lists in [ ] with commas".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_line_and_column() {
        // Long enough for several blocks, one of which ends with the text, and with characters across their borders.
        let text = "aé\n🦀".repeat(64);
        assert_eq!(text.len() % BLOCK, 0);
        let document = Document::new("u.toml", &text);
        for (offset, _) in text.char_indices().chain([(text.len(), ' ')]) {
            let before = &text[..offset];
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
            let location = document.location("", offset);
            assert_eq!((location.line(), location.column()), (line, column), "at byte {offset}");
        }
        assert_eq!(document.location("", usize::MAX).line(), 65);
    }
}
