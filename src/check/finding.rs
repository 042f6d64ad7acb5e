//! What a check says.

use std::fmt;
use std::ops::Range;

use crate::id::{LogId, SequenceNumber};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// As it should be, or as a crash leaves it; said so that nobody wonders.
    Note,
    /// Not as it should be, but no record is affected.
    Warning,
    /// Bytes that matter are not what was written: records are lost or withheld, or the store can't be opened as it was.
    Damage,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Damage => "damage",
        })
    }
}

/// What [`super::repair`] may do about a finding.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Removes an index file: a cache that is rebuilt when it is missing.
    RemoveIndex {
        /// The file.
        path: String,
    },
    /// Moves a file that is not a part of the store into the folder `aside`.
    MoveAside {
        /// The file.
        path: String,
    },
}

impl Action {
    /// The file it is about, relative to the store.
    pub fn path(&self) -> &str {
        match self {
            Action::RemoveIndex { path } | Action::MoveAside { path } => path,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::RemoveIndex { path } => write!(f, "remove the index {path}; it is rebuilt when it is needed"),
            Action::MoveAside { path } => write!(f, "move {path} to {}", super::repair::aside_path(path)),
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file or folder, relative to the store.
    pub path: String,
    /// Where in the file.
    pub at: Option<u64>,
    /// The log it is about: its id, and its name as far as it is known.
    pub log: Option<(LogId, String)>,
    /// The records it is about: for damage, those that can't be read.
    pub records: Option<Range<SequenceNumber>>,
    /// What was found.
    pub what: String,
    /// What to do.
    pub advice: String,
    /// What [`super::repair`] would do about it.
    pub action: Option<Action>,
}

impl Finding {
    pub(super) fn new(severity: Severity, path: impl Into<String>, what: impl Into<String>) -> Finding {
        Finding {
            severity,
            path: path.into(),
            at: None,
            log: None,
            records: None,
            what: what.into(),
            advice: String::new(),
            action: None,
        }
    }

    pub(super) fn note(path: impl Into<String>, what: impl Into<String>) -> Finding {
        Finding::new(Severity::Note, path, what)
    }

    pub(super) fn warning(path: impl Into<String>, what: impl Into<String>) -> Finding {
        Finding::new(Severity::Warning, path, what)
    }

    pub(super) fn damage(path: impl Into<String>, what: impl Into<String>) -> Finding {
        Finding::new(Severity::Damage, path, what)
    }

    pub(super) fn at(mut self, at: u64) -> Finding {
        self.at = Some(at);
        self
    }

    pub(super) fn log(mut self, id: LogId, name: &str) -> Finding {
        self.log = Some((id, name.to_owned()));
        self
    }

    pub(super) fn records(mut self, records: Range<SequenceNumber>) -> Finding {
        if !records.is_empty() {
            self.records = Some(records);
        }
        self
    }

    pub(super) fn advice(mut self, advice: impl Into<String>) -> Finding {
        self.advice = advice.into();
        self
    }

    pub(super) fn action(mut self, action: Action) -> Finding {
        self.action = Some(action);
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity, self.path)?;
        if let Some(at) = self.at {
            write!(f, " at byte {at}")?;
        }
        write!(f, ": {}", self.what)?;
        if let Some((id, name)) = &self.log {
            write!(f, "; log {name:?} ({id})")?;
        }
        if let Some(records) = &self.records {
            write!(f, ", records {} to {}", records.start, records.end.saturating_sub(1))?;
        }
        if !self.advice.is_empty() {
            write!(f, ". {}", self.advice)?;
        }
        Ok(())
    }
}

/// How a check is done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckOptions {
    /// How many findings are kept; more are only counted. Default 10,000. Each takes a few hundred bytes.
    pub findings_max: usize,
}

impl Default for CheckOptions {
    fn default() -> Self {
        CheckOptions { findings_max: 10_000 }
    }
}

impl CheckOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`findings_max`](Self#structfield.findings_max).
    #[must_use]
    pub fn findings_max(mut self, value: usize) -> Self {
        self.findings_max = value;
        self
    }
}

/// How far a check has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of the files looked at so far.
    pub bytes_done: u64,
    /// Bytes of all files.
    pub bytes_total: u64,
    /// The file that is being read.
    pub path: String,
}

/// What a check found, and how much it read.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct CheckReport {
    /// The findings, in the order in which the files were read.
    pub findings: Vec<Finding>,
    /// How many more there were than are listed.
    pub findings_left_out: u64,
    /// How many of each severity there were: notes, warnings, damage.
    pub counts: [u64; 3],
    /// Files looked at.
    pub files: u64,
    /// Bytes read and verified.
    pub bytes: u64,
    /// Logs.
    pub logs: u64,
    /// Segments named by the manifest or the journal.
    pub segments: u64,
    /// Journal frames behind the manifest: what an open would replay.
    pub frames: u64,
    /// Batches that verified.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// How long it took.
    pub seconds: f64,
    /// Number of the newest manifest file: [`super::repair`] refuses when it has changed since.
    pub manifest: Option<u64>,
}

impl CheckReport {
    /// Whether no damage was found.
    pub fn is_sound(&self) -> bool {
        self.counts[Severity::Damage as usize] == 0
    }

    /// How many findings of a severity there were.
    pub fn count(&self, severity: Severity) -> u64 {
        self.counts[severity as usize]
    }

    /// The findings of one severity.
    pub fn of(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |f| f.severity == severity)
    }

    /// What [`super::repair`] would do, in order, each once.
    pub fn actions(&self) -> Vec<Action> {
        let mut seen = std::collections::HashSet::new();
        self.findings.iter().filter_map(|f| f.action.clone()).filter(|action| seen.insert(action.clone())).collect()
    }

    /// Megabytes (10^6 bytes) verified a second.
    pub fn megabytes_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.bytes as f64 / 1e6 / self.seconds } else { 0.0 }
    }
}
