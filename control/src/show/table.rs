//! Aligned tables, written as their rows come.

use std::io::{self, Write};

/// Rows that are kept to find how wide the columns are.
const CHUNK: usize = 2000;

/// See the module. Numbers stand at the right, and two spaces between columns.
pub(super) struct Table<W> {
    out: W,
    heads: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    widths: Vec<usize>,
    headed: bool,
}

/// A piece of text and its side.
pub(super) enum Cell {
    Left(String),
    Right(String),
}

impl Cell {
    fn text(&self) -> &str {
        match self {
            Self::Left(t) | Self::Right(t) => t,
        }
    }
}

impl<W: Write> Table<W> {
    pub(super) fn new(out: W, heads: Vec<&'static str>) -> Self {
        let widths = heads.iter().map(|h| h.chars().count()).collect();
        Self { out, heads, rows: Vec::new(), widths, headed: false }
    }

    pub(super) fn row(&mut self, row: Vec<Cell>) -> io::Result<()> {
        for (width, cell) in self.widths.iter_mut().zip(&row) {
            *width = (*width).max(cell.text().chars().count());
        }
        self.rows.push(row);
        if self.rows.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    /// Writes what is kept. A table without rows has no head either.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let rows = std::mem::take(&mut self.rows);
        if let (Some(first), false) = (rows.first(), self.headed) {
            self.headed = true;
            let heads = self.heads.iter().zip(first).map(|(head, cell)| match cell {
                Cell::Left(_) => Cell::Left((*head).to_owned()),
                Cell::Right(_) => Cell::Right((*head).to_owned()),
            });
            let heads: Vec<Cell> = heads.collect();
            self.line(&heads)?;
        }
        for row in &rows {
            self.line(row)?;
        }
        self.out.flush()
    }

    fn line(&mut self, row: &[Cell]) -> io::Result<()> {
        let cells: Vec<String> = row
            .iter()
            .zip(&self.widths)
            .map(|(cell, width)| match cell {
                Cell::Left(text) => format!("{text:<width$}"),
                Cell::Right(text) => format!("{text:>width$}"),
            })
            .collect();
        writeln!(self.out, "{}", cells.join("  ").trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut out = Vec::new();
        let mut table = Table::new(&mut out, vec!["name", "n"]);
        for (name, n) in [("a", "1"), ("longer", "1000")] {
            table.row(vec![Cell::Left(name.into()), Cell::Right(n.into())]).unwrap();
        }
        table.flush().unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "name       n\na          1\nlonger  1000\n");
    }
}
