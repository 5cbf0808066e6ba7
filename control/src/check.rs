//! `underpass check`: everything that is wrong with a configuration, at once.

use crate::{engine, machine, run};
use config::Severity;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Checks a file against the schema and this machine.
pub(crate) fn check(path: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let (diagnostics, model) = match config::load(path) {
        Err(report) => (report.into_diagnostics(), None),
        Ok(checked) => {
            let mut all = checked.warnings;
            all.extend(machine::problems(&checked.model));
            all.sort_by_key(|d| (d.line, d.column));
            (all, Some(checked.model))
        }
    };
    let mut out = std::io::stdout().lock();
    let errors = diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&diagnostics)?)?;
    } else {
        for d in &diagnostics {
            writeln!(out, "{d}")?;
        }
    }
    if errors > 0 {
        eprintln!("{errors} error(s), {} warning(s): it cannot be run", diagnostics.len() - errors);
        return Ok(ExitCode::FAILURE);
    }
    if let (Some(model), false) = (model, json) {
        let workers = machine::places(&model.runtime().workers.value, &machine::cpus())?.len();
        let plans = run::plans(&model);
        let buffers = engine::buffer_bytes(run::buffer_count(&model, &plans, workers), engine::data_room(&plans));
        writeln!(
            out,
            "{}: good, {} warning(s). {} worker(s); tables {} MB, packet buffers {} MB.",
            path.display(),
            diagnostics.len(),
            workers,
            run::table_bytes(&model, workers) >> 20,
            buffers >> 20,
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
