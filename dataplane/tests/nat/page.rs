//! docs/rfc-compliance.md says no more than there is: each row has one answer, and each test that it names exists.

use std::collections::BTreeSet;
use std::process::Command;

const PAGE: &str = include_str!("../../../docs/rfc-compliance.md");

#[test]
fn every_row_has_one_answer() {
    let rows: Vec<u32> =
        PAGE.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()?.trim().parse().ok()).collect();
    assert_eq!(rows, (1..=96).collect::<Vec<_>>());
}

#[test]
fn every_test_that_is_named_exists() {
    let list = Command::new(std::env::current_exe().unwrap()).arg("--list").output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let tests: BTreeSet<&str> = list.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let named: BTreeSet<&str> = PAGE.split('`').skip(1).step_by(2).filter(|name| name.contains("::")).collect();
    assert!(named.len() > 50, "{named:?}");
    let missing: Vec<_> = named.difference(&tests).collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}
