//! TOML itself, keys, and the form of diagnostics.

mod common;

use common::{LAN, WAN, model, wrong, wrong_beside_ports};

#[test]
fn a_diagnostic_is_shown_with_place_key_and_remedy() {
    let report =
        config::parse("underpass.toml", &format!("[nat]\npool = [\"203.0.113.2\", \"203.0.113.300\"]\n{LAN}{WAN}"));
    assert_eq!(
        report.unwrap_err().to_string(),
        "underpass.toml:2:24: error: nat.pool[1]: \"203.0.113.300\" is not an IPv4 address\n    \
         write: four numbers from 0 to 255, such as \"203.0.113.2\""
    );
}

#[test]
fn everything_wrong_is_reported_at_once_in_the_order_of_the_file() {
    let text = r#"[runtime]
workers = [1, 1]
idel = "poll"
[[port]]
name = "LAN"
role = "insid"
device = "eth0"
addresses = ["192.168.1.0/24", "2001:db8::1/64"]
[[port]]
name = "wan"
role = "outside"
device = "net_null0"
addresses = ["203.0.113.2/24"]
gateway = "203.0.114.1"
[nat.timeouts]
udp = 300
icmp = "30s"
[control]
mode = "0066"
"#;
    let report = config::parse("u.toml", text).unwrap_err();
    let places: Vec<_> =
        report.diagnostics().iter().map(|d| (d.line, d.column, d.severity.to_string(), d.key.as_str())).collect();
    let error = || "error".to_owned();
    assert_eq!(
        places,
        [
            (2, 15, error(), "runtime.workers[1]"),
            (3, 1, error(), "runtime.idel"),
            (5, 8, error(), "port[0].name"),
            (6, 8, error(), "port[0].role"),
            (7, 10, error(), "port[0].device"),
            (8, 14, error(), "port[0].addresses[0]"),
            (8, 32, error(), "port[0].addresses[1]"),
            (14, 11, error(), "port[1].gateway"),
            (16, 7, error(), "nat.timeouts.udp"),
            (17, 8, "warning".to_owned(), "nat.timeouts.icmp"),
            (19, 8, error(), "control.mode"),
        ]
    );
    assert_eq!(report.errors().count(), 10);
}

#[test]
fn an_unknown_key_names_the_nearest_one() {
    let port = WAN.replace("gateway", "‸gatway");
    wrong(&format!("{LAN}{port}"), "port[1].gatway", "unknown key in [[port]]", "did you mean `gateway`?");
    wrong_beside_ports("[natt]\n".replace("natt", "‸natt").as_str(), "natt", "unknown key in the file", "`nat`?");
    wrong_beside_ports("[nat]\n‸harpin = true", "nat.harpin", "unknown key in [nat]", "`hairpin`?");
    wrong_beside_ports("[nat.timeouts]\n‸utp = \"5m\"", "nat.timeouts.utp", "[nat.timeouts]", "`udp`?");
}

#[test]
fn an_unknown_key_near_to_none_lists_the_accepted_ones() {
    wrong_beside_ports(
        "[nat.timeouts]\n‸quarantine = 1",
        "nat.timeouts.quarantine",
        "unknown key",
        "[nat.timeouts] takes: udp, tcp_established, tcp_transitory, icmp",
    );
    wrong_beside_ports("[runtime]\n‸\"a b\\u001b\" = 1", "runtime.\"a b\\u{1b}\"", "unknown key", "remove it");
}

#[test]
fn a_misspelt_required_key_is_one_mistake() {
    let port = WAN.replace("device", "‸devcie");
    wrong(&format!("{LAN}{port}"), "port[1].devcie", "unknown key", "did you mean `device`?");
}

#[test]
fn text_that_is_not_toml_is_located_and_mended() {
    for (text, message, remedy) in [
        ("a = ‸foo # comment\n", "not TOML", "write: a = \"foo\""),
        ("a = ‸5m\n", "quoted", "write: a = \"5m\""),
        ("a = 192.168‸.1.1/24\n", "float", "write: a = \"192.168.1.1/24\""),
        ("a = true\r\nb = ‸yes\r\n", "quoted", "write: b = true"),
        ("a = ‸007\n", "leading zero", "write: a = 7"),
        ("# ä\nä‸ = 1\n", "", ""),
        ("[[port‸\n", "unclosed", "close it: [table]"),
        ("a ‸1\n", "expected `=`", "write: key = value"),
        ("x = \"ü\" ‸y\n", "expected newline", "write: key = value"),
        ("a = \"foo‸\n", "invalid basic string", "text in double quotes"),
    ] {
        if message.is_empty() {
            assert!(config::parse("u.toml", &text.replace('‸', "")).is_err());
        } else {
            wrong(text, "", message, remedy);
        }
    }
}

#[test]
fn several_syntax_errors_are_reported_together() {
    let report = config::parse("u.toml", "a = foo\nb = 1\nc = bar\n").unwrap_err();
    let lines: Vec<_> = report.diagnostics().iter().map(|found| found.line).collect();
    assert_eq!(lines, [1, 3]);
}

#[test]
fn a_byte_order_mark_takes_no_column() {
    let report = config::parse("u.toml", "\u{feff}a = foo\n").unwrap_err();
    assert_eq!((report.diagnostics()[0].line, report.diagnostics()[0].column), (1, 5));
}

#[test]
fn a_duplicate_key_names_the_first_line_and_hides_nothing_else() {
    wrong_beside_ports("[nat]\nhairpin = true\n‸hairpin = false", "", "second time (first in line 15)", "keep one");
    wrong_beside_ports("[nat]\n[runtime]\n[‸nat]", "", "second time (first in line 14)", "keep one of the two");
    let report =
        config::parse("u.toml", &format!("{LAN}{WAN}[nat]\nparity = true\nparity = 1\nhairpin = 1\n")).unwrap_err();
    let lines: Vec<_> = report.diagnostics().iter().map(|found| found.line).collect();
    assert_eq!(lines, [16, 17]);
}

#[test]
fn a_table_of_the_wrong_kind_says_how_to_write_it() {
    wrong_beside_ports("‸[[nat]]\n", "nat", "a list is not a table", "write: [nat]");
    wrong_beside_ports("[nat]\nlimits = ‸3\n", "nat.limits", "3 is not a table", "write: [nat.limits]");
    wrong_beside_ports("‸[route]\n", "route", "a table is not a list of tables", "write: [[route]]");
    wrong_beside_ports("[nat]\nforward = [‸1]\n", "nat.forward[0]", "1 is not a table", "write: [[nat.forward]]");
    wrong("‸[port]\nname = \"lan\"\n", "port", "a table is not a list of tables", "write: [[port]]");
}

#[test]
fn what_is_not_built_yet_is_refused() {
    for (text, key) in [
        ("‸[firewall.ipv6]\nunsolicited_ipsec = true\n", "firewall.ipv6"),
        ("[nat]\npool = [‸\"2001:db8::1\"]\n", "nat.pool[0]"),
        ("[[route]]\nvia = \"192.168.1.2\"\nnetwork = ‸\"2001:db8::/32\"\n", "route[0].network"),
    ] {
        wrong_beside_ports(text, key, "not supported by this version (0.1)", "remove it");
    }
    let port = WAN.to_owned() + "gateway6 = ‸\"fe80::1\"\n";
    wrong(&format!("{LAN}{port}"), "port[1].gateway6", "not supported by this version (0.1)", "remove it");
}

#[test]
fn a_file_that_cannot_be_read_says_what_to_do() {
    let report = config::load(std::path::Path::new("no/such/file.toml")).unwrap_err();
    let shown = report.to_string();
    assert!(shown.starts_with("no/such/file.toml: error: cannot be read: "), "{shown}");
    assert!(shown.ends_with("name a file that exists: --config FILE"), "{shown}");
}

#[test]
fn a_file_that_is_not_utf8_is_located() {
    let path = std::env::temp_dir().join(format!("underpass-config-{}.toml", std::process::id()));
    std::fs::write(&path, b"[nat]\n# \xc3\xa4 \xff").unwrap();
    let report = config::load(&path).unwrap_err();
    std::fs::remove_file(&path).unwrap();
    assert_eq!((report.diagnostics()[0].line, report.diagnostics()[0].column), (2, 5));
}

#[test]
fn a_text_beyond_the_limit_is_refused() {
    let report = config::parse("u.toml", &"#".repeat((4 << 20) + 1)).unwrap_err();
    assert!(report.to_string().contains("larger than 4 MiB"));
}

#[test]
fn the_example_is_complete_and_without_warnings() {
    let example = include_str!("../example.toml");
    let checked = config::parse("example.toml", example).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(checked.warnings, []);
    assert_eq!(checked.model.nat().forwards.len(), 3);
}

#[test]
fn a_later_phase_reports_in_the_same_form() {
    let model = model("");
    let device = &model.ports()[1].device;
    let found = model.diagnostic(&device.location, config::Severity::Error, "no such device", "name one that exists");
    assert_eq!(found.to_string(), "u.toml:11:10: error: port[1].device: no such device\n    name one that exists");
    // What is left out has the place of its table.
    let workers = &model.runtime().workers.location;
    assert_eq!((workers.line(), workers.key()), (1, "runtime.workers"));
}

#[test]
fn moving_a_line_changes_nothing() {
    assert_eq!(model(""), model("\n# a comment\n[nat]\npool = [\"203.0.113.2\"]\n"));
    assert_ne!(model(""), model("[nat]\nhairpin = false\n"));
}
