//! `underpass check`: everything that is wrong with a configuration, at once.

use crate::{engine, machine, run};
use config::{Passthrough, Profile, Severity, Switch};
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
        write!(out, "{}", passthrough(model.passthrough()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What passes of VPNs, and for whom that is less than a home router lets through.
fn passthrough(p: &Passthrough) -> String {
    let switches = [("pptp", p.pptp), ("l2tp", p.l2tp), ("ipsec", p.ipsec)];
    let named: Vec<_> = switches.iter().map(|(name, switch)| format!("{name} {switch}")).collect();
    let mut said = format!("VPN passthrough, profile {}: {}", p.profile, named.join(", "));
    if !p.other.is_empty() {
        let numbers: Vec<_> = p.other.iter().map(u8::to_string).collect();
        said += &format!("; other IP protocols {}", numbers.join(", "));
    }
    said += &format!("; at most {} tunnels.\n", p.tunnels);
    let plain = switches.iter().filter(|(_, switch)| *switch == Switch::Plain).map(|(name, _)| *name);
    let plain: Vec<_> = plain.collect();
    if p.profile == Profile::Strict && !plain.is_empty() {
        said += &format!(
            "Strict (RFC 4787 REQ-10, RFC 5382 REQ-6): no ALG for {}; TCP and UDP pass as any do, GRE version 1, ESP and \
             L2TPv3 only where their switch is true.\n",
            plain.join(", ")
        );
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lines: &str) -> String {
        let ports = "[[port]]\nname = \"lan\"\nrole = \"inside\"\ndevice = \"net_null0\"\naddresses = [\"192.168.1.1/24\"]\n\
                     [[port]]\nname = \"wan\"\nrole = \"outside\"\ndevice = \"net_null1\"\naddresses = [\"203.0.113.2/24\"]\n";
        passthrough(config::parse("t", &format!("{ports}[passthrough]\n{lines}")).unwrap().model.passthrough())
    }

    #[test]
    fn what_passes_of_vpns_is_told_in_a_line() {
        let expected = "VPN passthrough, profile cpe: pptp on, l2tp off, ipsec on; other IP protocols 47, 41; at most 64 tunnels.\n";
        assert_eq!(said("l2tp = false\nother = [\"gre\", 41]\ntunnels = 64\n"), expected);
        assert!(!said("").contains("RFC"), "the ordinary profile needs no explanation");
    }

    #[test]
    fn the_strict_profile_names_what_it_does_not_carry() {
        let text = said("profile = \"strict\"\nl2tp = true\n");
        assert!(text.contains("profile strict: pptp plain, l2tp on, ipsec plain"), "{text}");
        assert!(text.contains("(RFC 4787 REQ-10, RFC 5382 REQ-6): no ALG for pptp, ipsec;"), "{text}");
        assert!(!said("profile = \"strict\"\npptp = true\nl2tp = true\nipsec = true\n").contains("no ALG"));
    }
}
