//! Lines for people, or JSON for programs.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use serde_json::json;

use crate::cli::{Context, Failure};

/// So many bytes of a field are shown in hex.
const HEX_BYTES: usize = 8;
/// And so many in JSON.
const JSON_HEX_BYTES: usize = 4096;

/// Whether a checksum matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    Ok,
    Bad,
    /// The salt is not known.
    Unknown,
}

impl Check {
    pub(super) fn of(matches: Option<bool>) -> Check {
        match matches {
            Some(true) => Check::Ok,
            Some(false) => Check::Bad,
            None => Check::Unknown,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Check::Ok => "OK",
            Check::Bad => "BAD",
            Check::Unknown => "unknown",
        }
    }
}

/// Prints fields and what is said of them.
pub(super) struct Printer<'a> {
    context: &'a mut Context,
    path: String,
    max_bytes: u64,
    /// What the fields belong to: `batch 3`.
    part: String,
    bad: u64,
}

impl<'a> Printer<'a> {
    pub(super) fn new(context: &'a mut Context, path: &Path, max_bytes: u64) -> Printer<'a> {
        Printer { context, path: path.display().to_string(), max_bytes, part: String::new(), bad: 0 }
    }

    /// Whether nothing that starts at this position is printed.
    pub(super) fn is_over(&self, at: u64) -> bool {
        at >= self.max_bytes
    }

    pub(super) fn begin(&mut self, what: &str, len: u64) -> Result<(), Failure> {
        let path = self.path.clone();
        if self.context.json {
            let line = json!({ "file": path, "what": what, "length": len });
            writeln!(self.context.out, "{line}")?;
        } else {
            writeln!(self.context.out, "{path}: {what}, {len} bytes")?;
        }
        Ok(())
    }

    pub(super) fn end(&mut self, len: u64) -> Result<(), Failure> {
        if len > self.max_bytes {
            self.max_bytes = u64::MAX;
            self.note(len, "only what starts before --max-bytes was printed")?;
        }
        if self.bad > 0 {
            let bad = self.bad;
            self.note(len, &format!("{bad} checksums are BAD"))?;
        }
        Ok(())
    }

    /// A new structure starts.
    pub(super) fn part(&mut self, at: u64, part: impl Into<String>) -> Result<(), Failure> {
        self.part = part.into();
        if self.is_over(at) || self.context.json {
            return Ok(());
        }
        writeln!(self.context.out, "{at:>10}  -- {}", self.part)?;
        Ok(())
    }

    /// A field. `check` is given for checksums.
    pub(super) fn field(
        &mut self,
        at: u64,
        bytes: &[u8],
        name: &str,
        value: &str,
        check: Option<Check>,
    ) -> Result<(), Failure> {
        if check == Some(Check::Bad) {
            self.bad += 1;
        }
        if self.is_over(at) {
            return Ok(());
        }
        if self.context.json {
            let line = json!({
                "at": at,
                "bytes": bytes.len(),
                "hex": hex(bytes, JSON_HEX_BYTES, ""),
                "part": self.part,
                "field": name,
                "value": value,
                "check": check.map(|check| check.word().to_lowercase()),
            });
            writeln!(self.context.out, "{line}")?;
            return Ok(());
        }
        let hex = hex(bytes, HEX_BYTES, " ");
        write!(self.context.out, "{at:>10}  {hex:<26}  {name:<28}  {value}")?;
        match check {
            Some(check) => writeln!(self.context.out, "  {}", check.word())?,
            None => writeln!(self.context.out)?,
        }
        Ok(())
    }

    /// Something to say about a place.
    pub(super) fn note(&mut self, at: u64, what: &str) -> Result<(), Failure> {
        if self.is_over(at) {
            return Ok(());
        }
        if self.context.json {
            writeln!(self.context.out, "{}", json!({ "at": at, "part": self.part, "note": what }))?;
        } else {
            writeln!(self.context.out, "{at:>10}  ** {what}")?;
        }
        Ok(())
    }

    /// A stretch that is only counted.
    pub(super) fn stretch(&mut self, at: u64, upto: u64, what: &str) -> Result<(), Failure> {
        if upto > at { self.note(at, &format!("{} bytes: {what}", upto - at)) } else { Ok(()) }
    }
}

fn hex(bytes: &[u8], max: usize, separator: &str) -> String {
    let mut text = String::new();
    for (i, byte) in bytes.iter().take(max).enumerate() {
        let separator = if i > 0 { separator } else { "" };
        // Writing to a string does not fail.
        let _ = write!(text, "{separator}{byte:02x}");
    }
    if bytes.len() > max {
        text.push_str(separator);
        text.push_str("..");
    }
    text
}

/// Bytes as text on one line, shortened, without anything that a terminal would obey.
pub(super) fn preview(bytes: &[u8], max: usize) -> String {
    let mut text = String::from("\"");
    for chunk in bytes[..bytes.len().min(max)].utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '"' || c == '\\' { text.extend(c.escape_default()) } else { text.push(c) }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text.push('"');
    if bytes.len() > max {
        let _ = write!(text, " and {} bytes more", bytes.len() - max);
    }
    text
}
