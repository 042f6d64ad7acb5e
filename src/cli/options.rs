//! How a log is kept, as options of `put`, `create` and `set`.

use std::time::Duration;

use clap::ValueEnum;
use serde_json::json;

use super::units::{self, OrNone, parse_bytes, parse_bytes_or_none, parse_duration_or_none};
use crate::{Durability, LogOptions};

/// When an append is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DurabilityName {
    /// After it is on stable storage: survives a power cut
    Durable,
    /// After the page cache has it: survives a killed process, not a power cut
    Buffered,
}

impl From<DurabilityName> for Durability {
    fn from(name: DurabilityName) -> Self {
        match name {
            DurabilityName::Durable => Durability::Durable,
            DurabilityName::Buffered => Durability::Buffered,
        }
    }
}

impl DurabilityName {
    pub(crate) fn word(self) -> &'static str {
        durability_word(self.into())
    }
}

/// `durable` or `buffered`.
pub(crate) fn durability_word(durability: Durability) -> &'static str {
    match durability {
        Durability::Durable => "durable",
        Durability::Buffered => "buffered",
    }
}

/// What can be changed of a log at any time.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "How the log is kept")]
pub(crate) struct KeepArgs {
    /// Records older than this are not readable; "none" for no such rule
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_or_none)]
    pub(crate) retention: Option<OrNone<Duration>>,
    /// Only the newest batches of together so many stored bytes are readable; "none" for no such rule
    ///
    /// A batch is what was appended together, and counts whole: one that is larger by itself is not readable at all.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes_or_none)]
    pub(crate) retention_bytes: Option<OrNone<u64>>,
    /// A segment file is sealed at this size; retention frees whole segments
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) segment_bytes: Option<u64>,
    /// How much readers may hold back beyond the rules
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) held_bytes: Option<u64>,
}

impl KeepArgs {
    /// `options` with what was given changed.
    pub(crate) fn apply(&self, mut options: LogOptions) -> LogOptions {
        if let Some(OrNone(age)) = self.retention {
            options = options.retention_age(age);
        }
        if let Some(OrNone(bytes)) = self.retention_bytes {
            options = options.retention_bytes(bytes);
        }
        if let Some(bytes) = self.segment_bytes {
            options = options.segment_bytes_max(bytes);
        }
        if let Some(bytes) = self.held_bytes {
            options = options.held_bytes_max(bytes);
        }
        options
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.retention.is_none()
            && self.retention_bytes.is_none()
            && self.segment_bytes.is_none()
            && self.held_bytes.is_none()
    }
}

/// Options as JSON.
pub(crate) fn to_json(options: &LogOptions) -> serde_json::Value {
    json!({
        "durability": durability_word(options.durability),
        "retention_ms": options.retention_age.map(|age| age.as_millis() as u64),
        "retention_bytes": options.retention_bytes,
        "segment_bytes_max": options.segment_bytes_max,
        "held_bytes_max": options.held_bytes_max,
    })
}

/// The retention rules in one cell: `7d, 1.0 GiB`, or `-`.
pub(crate) fn retention_cell(options: &LogOptions) -> String {
    let rules = [options.retention_age.map(units::option), options.retention_bytes.map(units::bytes)];
    let rules: Vec<String> = rules.into_iter().flatten().collect();
    if rules.is_empty() { "-".to_owned() } else { rules.join(", ") }
}
