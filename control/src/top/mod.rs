//! `underpass top`: a live view of a router that runs, over its control socket.
//!
//! ```text
//! client ─► sample (what the API says) ─► view (what was between two of them) ─► draw (ratatui)
//! ```

mod draw;
mod sample;
#[cfg(test)]
mod tests;
mod view;

use crate::api::client::Client;
use crate::show::{At, exit_code};
use anyhow::{Context, bail};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use sample::Sample;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use view::View;

/// What is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Top {
    /// Look so often, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = interval)]
    interval: f64,
    /// Print one screen and end; for a pipe, or a page.
    #[arg(long)]
    once: bool,
    /// How wide and high that screen is.
    #[arg(long, value_name = "COLUMNSxROWS", default_value = "120x40", value_parser = size, requires = "once")]
    size: (u16, u16),
    #[command(flatten)]
    at: At,
}

fn interval(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|s| (0.1..=60.0).contains(s)).ok_or_else(|| "write a number from 0.1 to 60".to_owned())
}

fn size(text: &str) -> Result<(u16, u16), String> {
    let read = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    read.filter(|(w, h)| (40..=400).contains(w) && (16..=200).contains(h))
        .ok_or_else(|| "write a size such as 120x40: 40 to 400 columns, 16 to 200 rows".to_owned())
}

/// Shows it until it is told to end.
pub(crate) fn top(args: &Top) -> anyhow::Result<ExitCode> {
    exit_code(try_top(args))
}

fn try_top(args: &Top) -> anyhow::Result<ExitCode> {
    let every = Duration::from_secs_f64(args.interval);
    let mut client = Client::connect(&args.at.socket)?;
    let first = Sample::take(&mut client)?;
    if args.once {
        std::thread::sleep(every);
        let now = Sample::take(&mut client)?;
        write!(std::io::stdout(), "{}", page(&View::of(&first, &now), args.size)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !std::io::stdout().is_terminal() {
        bail!("this is no terminal; `underpass top --once` prints one screen");
    }
    let mut terminal = ratatui::try_init().context("cannot use this terminal")?;
    let outcome = live(&mut terminal, &mut client, first, every);
    ratatui::restore();
    outcome.map(|()| ExitCode::SUCCESS)
}

/// One screen as text, without the blanks at the ends of lines.
fn page(view: &View, (width, height): (u16, u16)) -> anyhow::Result<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height))?;
    terminal.draw(|frame| draw::draw(frame, view, false))?;
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for row in buffer.content().chunks(usize::from(width)) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    Ok(text)
}

fn live(
    terminal: &mut ratatui::DefaultTerminal,
    client: &mut Client,
    first: Sample,
    every: Duration,
) -> anyhow::Result<()> {
    let mut then = first;
    let mut view = View::of(&then, &then);
    let (mut paused, mut due) = (false, Instant::now() + every);
    loop {
        terminal.draw(|frame| draw::draw(frame, &view, paused))?;
        let patience = due.saturating_duration_since(Instant::now());
        let patience = if paused { Duration::from_secs(3600) } else { patience };
        let event = if event::poll(patience)? { Some(event::read()?) } else { None };
        if let Some(Event::Key(key)) = event {
            if ends(key) {
                return Ok(());
            }
            if key.kind == KeyEventKind::Press && key.code == KeyCode::Char(' ') {
                paused = !paused;
            }
        }
        // A new size is drawn at once, and keys do not put off what is due.
        if paused || Instant::now() < due {
            continue;
        }
        let now = Sample::take(client)?;
        view = View::of(&then, &now);
        then = now;
        due = Instant::now() + every;
    }
}

fn ends(key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press
        && match key.code {
            KeyCode::Char('q') | KeyCode::Esc => true,
            KeyCode::Char('c') => control,
            _ => false,
        }
}
