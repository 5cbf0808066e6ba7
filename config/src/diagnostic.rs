//! What is wrong, where, and what to do: the form of every message about a configuration.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// Whether a [`Diagnostic`] stops the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but it does something that the operator may not want.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// One problem, with its place and its remedy.
///
/// Displayed as `underpass.toml:12:10: error: nat.pool[1]: "203.0.113.300" is not an IPv4 address`, and the remedy
/// indented on a line of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Whether it stops the start.
    pub severity: Severity,
    /// The file's name, as the caller gave it.
    pub file: String,
    /// The line, from 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// The column in characters, from 1; 0 where the file as a whole is meant.
    pub column: usize,
    /// The path of the key, for example `nat.pool[1]` (elements count from 0); empty where no key is concerned.
    pub key: String,
    /// What was found and why it is wrong.
    pub message: String,
    /// What to write instead, a sentence that begins with a verb.
    pub remedy: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}: ", self.severity)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}\n    {}", self.message, self.remedy)
    }
}

/// Everything that is wrong with a configuration, in the order of the file. Holds at least one error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    pub(crate) fn new(diagnostics: Vec<Diagnostic>) -> Self {
        Report { diagnostics }
    }

    /// A report on a file as a whole.
    pub(crate) fn of_file(file: &str, message: String, remedy: &str) -> Self {
        Report::new(vec![Diagnostic {
            severity: Severity::Error,
            file: file.to_owned(),
            line: 0,
            column: 0,
            key: String::new(),
            message,
            remedy: remedy.to_owned(),
        }])
    }

    /// The errors and warnings, in the order of the file.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Those that stop the start.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().filter(|found| found.severity == Severity::Error)
    }

    /// The errors and warnings, in the order of the file.
    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, found) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{found}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

/// Where a value stands in its file: opaque, for [`Model::diagnostic`](crate::Model::diagnostic).
///
/// A value that the file leaves out has the place of the table that it would stand in.
#[derive(Debug, Clone)]
pub struct Location(Arc<Place>);

#[derive(Debug)]
struct Place {
    line: usize,
    column: usize,
    key: String,
}

impl Location {
    pub(crate) fn new(line: usize, column: usize, key: String) -> Self {
        Location(Arc::new(Place { line, column, key }))
    }

    /// The same place, under another key: for a value that is left out.
    pub(crate) fn with_key(&self, key: String) -> Self {
        Location::new(self.0.line, self.0.column, key)
    }

    /// The line, from 1.
    pub fn line(&self) -> usize {
        self.0.line
    }

    /// The column in characters, from 1.
    pub fn column(&self) -> usize {
        self.0.column
    }

    /// The path of the key, for example `port[1].device`.
    pub fn key(&self) -> &str {
        &self.0.key
    }

    pub(crate) fn diagnostic(
        &self,
        file: &str,
        severity: Severity,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic {
            severity,
            file: file.to_owned(),
            line: self.0.line,
            column: self.0.column,
            key: self.0.key.clone(),
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

/// A value and the place in the file that it was read from. Dereferences to the value.
///
/// Two of them are equal when their values are, wherever they stand: moving a line changes nothing.
#[derive(Debug, Clone)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub location: Location,
}

impl<T> Located<T> {
    pub(crate) fn new(value: T, location: Location) -> Self {
        Located { value, location }
    }
}

impl<T> std::ops::Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Located<T> {}
