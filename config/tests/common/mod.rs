//! Claims about one problem: the configuration carries the mark `‸` where the problem must be reported.
#![allow(dead_code, reason = "each test file uses its part")]

use config::{Diagnostic, Model, Severity};

/// An inside port on 192.168.1.1/24.
pub(crate) const LAN: &str = r#"
[[port]]
name = "lan"
role = "inside"
device = "net_null0"
addresses = ["192.168.1.1/24"]
"#;

/// An outside port on 203.0.113.2/24, with a gateway at .1.
pub(crate) const WAN: &str = r#"
[[port]]
name = "wan"
role = "outside"
device = "net_null1"
addresses = ["203.0.113.2/24"]
gateway = "203.0.113.1"
"#;

/// `text` without its mark, and the line and column of the mark.
fn unmark(marked: &str) -> (String, usize, usize) {
    let at = marked.find('‸').expect("the text carries a mark");
    let before = &marked[..at];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    (marked.replacen('‸', "", 1), line, column)
}

fn found(text: &str) -> Vec<Diagnostic> {
    match config::parse("u.toml", text) {
        Ok(checked) => checked.warnings,
        Err(report) => report.into_diagnostics(),
    }
}

fn only(severity: Severity, marked: &str, key: &str, message: &str, remedy: &str) {
    let (text, line, column) = unmark(marked);
    let found = found(&text);
    let [one] = found.as_slice() else {
        panic!("not exactly one problem in\n{text}\n{found:#?}");
    };
    let place = (one.severity, one.line, one.column, one.key.as_str());
    assert_eq!(place, (severity, line, column, key), "{one}");
    assert!(one.message.contains(message), "message of\n{one}\nlacks: {message}");
    assert!(one.remedy.contains(remedy), "remedy of\n{one}\nlacks: {remedy}");
}

/// `marked` is wrong at its mark, and nowhere else.
#[track_caller]
pub(crate) fn wrong(marked: &str, key: &str, message: &str, remedy: &str) {
    only(Severity::Error, marked, key, message, remedy);
}

/// As [`wrong`], between the two ordinary ports.
#[track_caller]
pub(crate) fn wrong_beside_ports(marked: &str, key: &str, message: &str, remedy: &str) {
    wrong(&format!("{LAN}{WAN}{marked}"), key, message, remedy);
}

/// `marked` after the two ordinary ports can be used, with one warning at its mark.
#[track_caller]
pub(crate) fn doubtful(marked: &str, key: &str, message: &str, remedy: &str) {
    only(Severity::Warning, &format!("{LAN}{WAN}{marked}"), key, message, remedy);
}

/// The model of the two ordinary ports and `more`, without any warning.
#[track_caller]
pub(crate) fn model(more: &str) -> Model {
    let checked = config::parse("u.toml", &format!("{LAN}{WAN}{more}")).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(checked.warnings, []);
    checked.model
}
