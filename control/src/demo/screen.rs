//! A terminal that is redrawn in place, and left as it was.

use super::table::Line;
use std::io::{IsTerminal, Write, stdout};

/// Redraws lines over those of before. The cursor is hidden meanwhile, and comes back when this is dropped.
pub(super) struct Screen {
    drawn: usize,
    colour: bool,
}

/// Columns and rows of the terminal.
pub(super) fn size() -> (usize, usize) {
    terminal_size::terminal_size().map_or((80, 24), |(w, h)| (usize::from(w.0), usize::from(h.0)))
}

/// Whether stdout is a terminal that understands escape codes.
pub(super) fn is_there() -> bool {
    stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Whether colours are wanted [no-color.org].
pub(super) fn colours() -> bool {
    is_there() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

impl Screen {
    pub(super) fn new() -> Self {
        print!("\x1b[?25l");
        Self { drawn: 0, colour: colours() }
    }

    /// The cursor is seen again: somebody may be about to end the process the hard way.
    pub(super) fn show_cursor(&self) {
        print!("\x1b[?25h");
    }

    /// Draws over what was drawn before. What does not fit the height is left out.
    pub(super) fn draw(&mut self, lines: &[Line]) {
        let (width, height) = size();
        let shown = &lines[..lines.len().min(height.saturating_sub(1).max(1))];
        let mut out = self.up();
        for line in shown {
            out.push_str(&line.render(width, self.colour));
            out.push_str("\x1b[K\n");
        }
        out.push_str("\x1b[J");
        self.drawn = shown.len();
        print!("{out}");
        let _ = stdout().flush();
    }

    /// Takes the table away.
    pub(super) fn clear(&mut self) {
        print!("{}\x1b[J", self.up());
        self.drawn = 0;
        let _ = stdout().flush();
    }

    fn up(&self) -> String {
        if self.drawn > 0 { format!("\x1b[{}F", self.drawn) } else { String::new() }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.show_cursor();
        let _ = stdout().flush();
    }
}
