//! Where things stand on the screen.
//!
//! ```text
//! head
//! ports            │ tables
//! workers
//! protocols        │ drops
//! tunnels          │ clients
//! keys
//! ```
//!
//! What does not fit is left out from the bottom of each table, and said.

use super::view::{Table, View};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Row, Table as Grid};

/// Rows of a table with its frame and its heads.
fn height(table: &Table) -> u16 {
    u16::try_from(table.rows.len()).unwrap_or(u16::MAX).saturating_add(2)
}

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View, paused: bool) {
    let area = frame.area();
    let moving = height(&view.protocols).max(height(&view.drops)).clamp(4, (area.height / 4).max(4));
    let [head, sum, ports, workers, moving, lists, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(height(&view.ports).max(height(&view.tables)).min((area.height / 4).max(6))),
        Constraint::Length(height(&view.workers).min((area.height / 3).max(4))),
        Constraint::Length(moving),
        Constraint::Min(4),
        Constraint::Length(1),
    ])
    .areas(area);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Line::from(view.head.as_str()), head);
    frame.render_widget(Line::from(view.sum.as_str()).style(bold), sum);
    let beside = |area, right: &Table| {
        let right = widths(right).iter().map(|w| w + 1).sum();
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(right)]).spacing(2).areas(area)
    };
    let [left, right] = beside(ports, &view.tables);
    table(frame, left, &view.ports);
    table(frame, right, &view.tables);
    table(frame, workers, &view.workers);
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2).areas(moving);
    table(frame, left, &view.protocols);
    table(frame, right, &view.drops);
    let [left, right] = if area.width >= 120 {
        beside(lists, &view.clients)
    } else {
        Layout::vertical([Constraint::Fill(3), Constraint::Fill(2)]).areas(lists)
    };
    table(frame, left, &view.tunnels);
    table(frame, right, &view.clients);
    let line = if paused { "paused: space goes on, q ends" } else { "space pauses, q ends" };
    frame.render_widget(Line::from(line).style(Style::new().add_modifier(Modifier::DIM)), keys);
}

/// How wide each column is.
fn widths(table: &Table) -> Vec<u16> {
    let width = |n: usize| {
        let cells = table.rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count());
        let head = table.heads.get(n).map_or(0, |head| head.chars().count());
        u16::try_from(cells.chain([head]).max().unwrap_or(0)).unwrap_or(u16::MAX)
    };
    (0..table.heads.len()).map(width).collect()
}

fn table(frame: &mut Frame<'_>, area: Rect, table: &Table) {
    let room = usize::from(area.height.saturating_sub(2));
    let hidden = table.rows.len().saturating_sub(room);
    let title = if hidden > 0 { format!("{} (+{hidden})", table.title) } else { table.title.clone() };
    let mut widths = widths(table);
    // Half a number is worse than none.
    while widths.len() > 1 && widths.iter().map(|w| w + 1).sum::<u16>() > area.width + 1 {
        widths.pop();
    }
    let line = |cells: &[&str]| {
        let cells = cells.iter().zip(&widths).enumerate().map(|(n, (text, width))| {
            let w = usize::from(*width);
            if table.numbers.contains(&n) { format!("{text:>w$}") } else { format!("{text:<w$}") }
        });
        Row::new(cells.collect::<Vec<_>>())
    };
    let heads = line(&table.heads).style(Style::new().add_modifier(Modifier::DIM));
    let rows = table.rows.iter().take(room).map(|row| line(&row.iter().map(String::as_str).collect::<Vec<_>>()));
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let block = Block::new().borders(Borders::TOP).title(Line::from(format!("{title} ")).style(bold));
    let columns = widths.iter().map(|w| Constraint::Length(*w));
    frame.render_widget(Grid::new(rows, columns).header(heads).column_spacing(1).block(block), area);
}
