//! No text makes `parse` panic, and what it finds is always inside the text.

use proptest::prelude::*;

const EXAMPLE: &str = include_str!("../example.toml");

/// Values that are near the edge of something.
const VALUES: &[&str] = &[
    "0",
    "-1",
    "1",
    "65535",
    "65536",
    "99999999999999999999999999",
    "0x7fffffffffffffff",
    "1.5",
    "nan",
    "true",
    "[]",
    "{}",
    "[[]]",
    "[1, 2]",
    "[1, 1]",
    "\"\"",
    "\"auto\"",
    "\"0.0.0.0/0\"",
    "\"0.0.0.0\"",
    "\"255.255.255.255\"",
    "\"0.0.0.0-255.255.255.255\"",
    "[\"0.0.0.0/0\"]",
    "[\"1.0.0.0-223.255.255.255\"]",
    "[\"255.255.255.254/31\", \"255.255.255.255/32\"]",
    "[\"10.0.0.1/1\", \"192.168.1.1/32\"]",
    "\"192.168.1.10:65535\"",
    "\"192.168.1.10:0\"",
    "\"192.168.1.255\"",
    "\"203.0.113.1\"",
    "\"10.64.0.1\"",
    "\"1-65535\"",
    "\"65535-1\"",
    "\"18446744073709551615ms\"",
    "\"7d\"",
    "\"inside\"",
    "\"outside\"",
    "\"lan\"",
    "\"udp\"",
    "\"esp\"",
    "\"l2tpv3\"",
    "\"strict\"",
    "[47, \"gre\", 51, 256]",
    "\"net_null0\"",
    "\"0000:03:00.1\"",
    "\"\\u001b[31m\"",
    "\"\u{1f980}\"",
    "1979-05-27T07:32:00Z",
    "\"\"\"\nx\"\"\"",
    "[\"203.0.113.0/24\"]",
    "\"::\"",
    "\"ff:ff:ff:ff:ff:ff\"",
];

/// Pieces of TOML.
const PIECES: &[&str] = &[
    "\"",
    "'",
    "\"\"\"",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    "\n",
    "\r\n",
    ",",
    ".",
    "#",
    "\0",
    "é",
    "\u{feff}",
    "[nat]\n",
    "[[port]]\n",
    "port = 1\n",
];

#[derive(Debug, Clone)]
enum Edit {
    /// Replaces the value of a line.
    Value(prop::sample::Index, &'static str),
    /// Writes a line a second time, elsewhere.
    Copy(prop::sample::Index, prop::sample::Index),
    Remove(prop::sample::Index),
    /// Puts a piece in the middle of a line.
    Insert(prop::sample::Index, prop::sample::Index, &'static str),
    /// Cuts the end off a line.
    Cut(prop::sample::Index, prop::sample::Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        6 => (index(), prop::sample::select(VALUES)).prop_map(|(line, value)| Edit::Value(line, value)),
        2 => (index(), index()).prop_map(|(from, to)| Edit::Copy(from, to)),
        2 => index().prop_map(Edit::Remove),
        1 => (index(), index(), prop::sample::select(PIECES)).prop_map(|(line, at, piece)| Edit::Insert(line, at, piece)),
        1 => (index(), index()).prop_map(|(line, at)| Edit::Cut(line, at)),
    ]
}

fn apply(edits: Vec<Edit>) -> String {
    let mut lines: Vec<String> = EXAMPLE.lines().map(str::to_owned).collect();
    for edit in edits {
        match edit {
            Edit::Value(line, value) => {
                // Only lines with a value, or most edits would do nothing.
                let mut with: Vec<_> = lines.iter_mut().filter(|line| line.contains(" = ")).collect();
                if !with.is_empty() {
                    let at = line.index(with.len());
                    let (key, _) = with[at].split_once(" = ").unwrap();
                    *with[at] = format!("{key} = {value}");
                }
            }
            Edit::Copy(from, to) => {
                let line = lines[from.index(lines.len())].clone();
                lines.insert(to.index(lines.len()), line);
            }
            Edit::Remove(line) => {
                lines.remove(line.index(lines.len()));
            }
            Edit::Insert(line, at, piece) => {
                let line = line.get_mut(&mut lines);
                let places: Vec<_> = line.char_indices().map(|(at, _)| at).chain([line.len()]).collect();
                line.insert_str(*at.get(&places), piece);
            }
            Edit::Cut(line, at) => {
                let line = line.get_mut(&mut lines);
                let places: Vec<_> = line.char_indices().map(|(at, _)| at).chain([line.len()]).collect();
                line.truncate(*at.get(&places));
            }
        }
    }
    lines.join("\n")
}

/// Parses `text`, and holds what is found to what is promised of it.
fn check(text: &str) {
    let (found, refused) = match config::parse("u.toml", text) {
        Ok(checked) => (checked.warnings, false),
        Err(report) => {
            assert!(report.errors().next().is_some(), "refused without an error");
            assert!(!report.to_string().contains('\u{1b}'), "an escape for the terminal came through");
            (report.into_diagnostics(), true)
        }
    };
    let lines: Vec<_> = text.split('\n').collect();
    for one in &found {
        assert!(refused || one.severity == config::Severity::Warning);
        assert!((1..=lines.len()).contains(&one.line), "{one}");
        assert!((1..=lines[one.line - 1].chars().count() + 1).contains(&one.column), "{one}");
        assert!(!one.message.is_empty() && !one.remedy.is_empty(), "{one}");
    }
    assert!(found.is_sorted_by_key(|one| (one.line, one.column)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_mutation_of_the_example_makes_it_panic(edits in prop::collection::vec(edit(), 1..12)) {
        check(&apply(edits));
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        check(&text);
    }

    #[test]
    fn no_arrangement_of_pieces_makes_it_panic(
        pieces in prop::collection::vec(prop::sample::select([PIECES, VALUES, &["nat", "pool", "a", " = "]].concat()), 0..40),
    ) {
        check(&pieces.concat());
    }
}

#[test]
fn deep_nesting_is_refused() {
    check(&format!("a = {}", "[".repeat(100_000)));
    check(&"a.".repeat(50_000));
    check(&format!("[{}a]", "a.".repeat(50_000)));
}
