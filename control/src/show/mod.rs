//! `underpass show`: what runs, as tables or as JSON lines.

mod columns;
mod table;

use crate::api::client::{Client, DEFAULT, Nobody};
use crate::api::protocol::What;
use anyhow::{Context, bail};
use clap::Args;
use columns::{grouped, plain, time};
use serde_json::{Map, Value, json};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use table::Table;

/// Nobody answers at the socket.
const NOBODY: u8 = 3;
/// The filter met nothing.
const NOTHING: u8 = 4;

/// Where the process that runs is to be found.
#[derive(Debug, Args)]
pub(crate) struct At {
    /// The control socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT)]
    pub(crate) socket: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// What to show.
    #[arg(value_enum)]
    what: What,
    /// Only what meets all of these: client=NET, server=NET, outside=NET, proto=NAME, port=N, spi=N, callid=N.
    #[arg(value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print one JSON object a line, as the API sends them.
    #[arg(long)]
    json: bool,
    /// Show it anew every so many seconds, until Ctrl-C.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..=3600))]
    watch: Option<u16>,
    /// With `drops`: also the reasons that did not occur.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
pub(crate) struct Flush {
    /// What to end: client=NET, server=NET, outside=NET, proto=NAME, port=N, spi=N, callid=N. All must hold.
    #[arg(value_name = "KEY=VALUE", required_unless_present = "all")]
    filter: Vec<String>,
    /// End every session and tunnel.
    #[arg(long, conflicts_with = "filter")]
    all: bool,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
pub(crate) struct Reload {
    /// Only say what would change.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    at: At,
}

/// `underpass reload`.
pub(crate) fn reload(args: &Reload) -> anyhow::Result<ExitCode> {
    exit_code(try_reload(args))
}

/// `underpass show`.
pub(crate) fn show(args: &Show) -> anyhow::Result<ExitCode> {
    exit_code(try_show(args))
}

/// `underpass flush`.
pub(crate) fn flush(args: &Flush) -> anyhow::Result<ExitCode> {
    exit_code(try_flush(args))
}

/// Makes an exit code of what scripts want to tell apart; the message goes to stderr.
pub(crate) fn exit_code(outcome: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    match outcome {
        // Whoever read our output has enough.
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe) => {
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if error.is::<Nobody>() => {
            eprintln!("underpass: {error}");
            Ok(ExitCode::from(NOBODY))
        }
        other => other,
    }
}

/// Conditions as the API takes them.
fn conditions(words: &[String]) -> anyhow::Result<Map<String, Value>> {
    let mut filter = Map::new();
    for word in words {
        let Some((key, value)) = word.split_once('=') else {
            bail!("{word} is no condition; write it as client=192.168.1.10");
        };
        if filter.insert(key.to_owned(), value.into()).is_some() {
            bail!("{key} is given twice");
        }
    }
    Ok(filter)
}

fn request(fields: Value) -> Map<String, Value> {
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn try_show(args: &Show) -> anyhow::Result<ExitCode> {
    let filter = conditions(&args.filter)?;
    let mut fields = request(json!({ "verb": "show", "what": args.what }));
    if !filter.is_empty() {
        fields.insert("filter".into(), filter.into());
    }
    let clear = io::stdout().is_terminal() && !args.json;
    loop {
        let mut client = Client::connect(&args.at.socket)?;
        if let (Some(_), true) = (args.watch, clear) {
            write!(io::stdout(), "\x1b[2J\x1b[H")?;
        }
        let rows = print(args, &mut client, fields.clone())?;
        match args.watch {
            None if rows == 0 && !args.filter.is_empty() => return Ok(ExitCode::from(NOTHING)),
            None => return Ok(ExitCode::SUCCESS),
            Some(seconds) => {
                if !clear && !args.json {
                    writeln!(io::stdout())?;
                }
                std::thread::sleep(Duration::from_secs(seconds.into()));
            }
        }
    }
}

/// Asks and prints; says how many rows there were.
fn print(args: &Show, client: &mut Client, fields: Map<String, Value>) -> anyhow::Result<u64> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut rows = 0;
    if args.json {
        client.ask(fields, |row| {
            rows += 1;
            serde_json::to_writer(&mut out, &row).map_err(io::Error::from)?;
            Ok(writeln!(out)?)
        })?;
    } else if let Some(columns) = columns::of(args.what) {
        let mut table = Table::new(&mut out, columns.iter().map(|c| c.head).collect());
        let mut below = String::new();
        client.ask(fields, |row| {
            rows += 1;
            below += &steering(&row);
            Ok(table.row(columns.iter().map(|c| c.cell(&row)).collect())?)
        })?;
        table.flush()?;
        out.write_all(below.as_bytes())?;
    } else {
        client.ask(fields, |row| {
            rows += 1;
            let written = match args.what {
                What::Stats => stats(&mut out, &row),
                What::Drops => drop_reason(&mut out, &row, args.all),
                _ => writeln!(out, "{} = {}", plain(row.get("key")), plain(row.get("value"))),
            };
            Ok(written?)
        })?;
    }
    out.flush()?;
    Ok(rows)
}

fn stats(out: &mut impl Write, row: &Value) -> io::Result<()> {
    let number = |name: &str| row.get(name).and_then(Value::as_u64).unwrap_or(0);
    writeln!(
        out,
        "underpass {}, {} worker(s), up {}, configuration {}",
        plain(row.get("version")),
        number("workers"),
        time(number("uptime_s") * 1000),
        plain(row.get("file")),
    )?;
    writeln!(out, "packets")?;
    for name in ["received", "originated", "sent", "consumed", "dropped", "held"] {
        writeln!(out, "  {name:<28} {:>16}", grouped(number(name)))?;
    }
    writeln!(out, "tables")?;
    for name in ["sessions", "mappings", "subscribers", "tunnels"] {
        let room = row.get("room").and_then(|r| r.get(name)).and_then(Value::as_u64).unwrap_or(0);
        writeln!(out, "  {name:<28} {:>16} of {}", grouped(number(name)), grouped(room))?;
    }
    writeln!(out, "events")?;
    for (name, n) in row.get("events").and_then(Value::as_object).into_iter().flatten() {
        if let Some(n) = n.as_u64().filter(|n| *n > 0) {
            writeln!(out, "  {name:<28} {:>16}", grouped(n))?;
        }
    }
    Ok(())
}

/// How a port's device brings packets to their workers, those of one level and reason together; nothing for other rows.
fn steering(row: &Value) -> String {
    let mut levels: Vec<(String, Vec<String>)> = Vec::new();
    for s in row.get("steering").and_then(Value::as_array).into_iter().flatten() {
        let reason = plain(s.get("reason"));
        let level = plain(s.get("level")) + &if reason.is_empty() { reason } else { format!(" ({reason})") };
        let traffic = plain(s.get("traffic"));
        match levels.iter_mut().find(|(known, _)| *known == level) {
            Some((_, all)) => all.push(traffic),
            None => levels.push((level, vec![traffic])),
        }
    }
    let port = plain(row.get("port"));
    levels.iter().map(|(level, all)| format!("steering of {port}: {}: {level}\n", all.join("; "))).collect()
}

fn drop_reason(out: &mut impl Write, row: &Value, all: bool) -> io::Result<()> {
    let packets = row.get("packets").and_then(Value::as_u64).unwrap_or(0);
    if packets == 0 && !all {
        return Ok(());
    }
    writeln!(out, "{:<28} {:>16}", plain(row.get("reason")), grouped(packets))?;
    for line in wrapped(&plain(row.get("meaning")), 96) {
        writeln!(out, "    {line}")?;
    }
    Ok(())
}

/// Words in lines of at most `width` characters.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut().filter(|l| l.chars().count() + 1 + word.chars().count() <= width) {
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

fn try_flush(args: &Flush) -> anyhow::Result<ExitCode> {
    let filter = conditions(&args.filter)?;
    let fields = request(json!({ "verb": "flush", "filter": filter, "all": args.all }));
    let end = Client::connect(&args.at.socket)?.ask(fields, |_| Ok(()))?;
    let number = |name: &str| end.get(name).and_then(Value::as_u64).context("an answer without numbers");
    let (sessions, tunnels) = (number("sessions")?, number("tunnels")?);
    writeln!(io::stdout(), "ended {sessions} sessions and {tunnels} tunnels")?;
    Ok(if sessions + tunnels == 0 { ExitCode::from(NOTHING) } else { ExitCode::SUCCESS })
}

fn try_reload(args: &Reload) -> anyhow::Result<ExitCode> {
    let fields = request(json!({ "verb": "reload", "dry_run": args.dry_run }));
    let mut changed = 0;
    let end = Client::connect(&args.at.socket)?.ask(fields, |row| {
        changed += 1;
        let (key, before, after) = (plain(row.get("key")), plain(row.get("before")), plain(row.get("after")));
        Ok(writeln!(io::stdout(), "{key}: {before} -> {after}")?)
    })?;
    let number = |name: &str| end.get(name).and_then(Value::as_u64).context("an answer without numbers");
    let (sessions, tunnels) = (number("sessions")?, number("tunnels")?);
    let said = match (changed, args.dry_run) {
        (0, _) => "nothing differs from what runs".to_owned(),
        (n, true) => format!("{n} difference(s); nothing was changed"),
        (n, false) => {
            format!(
                "{n} setting(s) changed; {sessions} session(s) and {tunnels} tunnel(s) ended with what they hung on"
            )
        }
    };
    writeln!(io::stdout(), "{said}")?;
    Ok(ExitCode::SUCCESS)
}
