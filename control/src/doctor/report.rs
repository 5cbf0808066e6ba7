//! What was found, for people and for programs.

use serde::Serialize;
use std::fmt;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It works without, but slower, or less safely.
    Advice,
    /// It does not work without.
    Missing,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Advice => "advice",
            Self::Missing => "MISSING",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// How much it matters.
    pub(super) level: Level,
    /// What it is about: `cpu`, `hugepages`, a PCI address, …
    pub(super) topic: String,
    /// What is the case.
    pub(super) message: String,
    /// Commands that mend it, to be run as root one after the other, or what to do where no command can.
    pub(super) remedy: Vec<String>,
}

/// All findings, in the order they were made.
#[derive(Debug, Default, Serialize)]
pub(super) struct Findings {
    pub(super) findings: Vec<Finding>,
}

impl Findings {
    pub(super) fn ok(&mut self, topic: &str, message: impl Into<String>) {
        self.add(Level::Ok, topic, message.into(), Vec::new());
    }

    pub(super) fn advice(&mut self, topic: &str, message: impl Into<String>, remedy: &[&str]) {
        self.add(Level::Advice, topic, message.into(), remedy.iter().map(|&r| r.to_owned()).collect());
    }

    pub(super) fn missing(&mut self, topic: &str, message: impl Into<String>, remedy: &[&str]) {
        self.add(Level::Missing, topic, message.into(), remedy.iter().map(|&r| r.to_owned()).collect());
    }

    fn add(&mut self, level: Level, topic: &str, message: String, remedy: Vec<String>) {
        self.findings.push(Finding { level, topic: topic.to_owned(), message, remedy });
    }

    pub(super) fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|f| f.level == level).count()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.findings.iter().map(|f| f.topic.len()).max().unwrap_or(0);
        for finding in &self.findings {
            writeln!(f, "{:<8} {:<width$}  {}", finding.level.word(), finding.topic, finding.message)?;
            for remedy in &finding.remedy {
                writeln!(f, "{:<8} {:<width$}    {remedy}", "", "")?;
            }
        }
        let (missing, advice) = (self.count(Level::Missing), self.count(Level::Advice));
        match (missing, advice) {
            (0, 0) => writeln!(f, "Nothing is missing."),
            (0, _) => writeln!(f, "Nothing is missing; {advice} thing(s) could be better."),
            _ => writeln!(f, "{missing} thing(s) are missing, {advice} could be better."),
        }
    }
}
