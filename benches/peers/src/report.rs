//! The figures of all cells, as tables for people and as JSON for programs.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::Result;
use crate::cell::Outcome;
use crate::measure::{Figures, Latency};
use crate::peers::Entry;
use crate::workload::{Durability, Workload};

/// All repetitions of one engine under one workload.
pub struct Line {
    pub peer: &'static str,
    pub version: &'static str,
    pub workload: Workload,
    pub cannot: Option<&'static str>,
    pub note: Option<&'static str>,
    pub outcomes: Vec<Outcome>,
}

impl Line {
    /// A line without figures yet.
    pub fn new(peer: &Entry, workload: Workload) -> Self {
        Self {
            peer: peer.name,
            version: peer.version(),
            workload,
            cannot: (peer.cannot)(workload),
            note: (peer.note)(workload),
            outcomes: Vec::new(),
        }
    }

    /// Whether there is something to run.
    pub fn can_run(&self) -> bool {
        self.cannot.is_none()
    }

    fn measured(&self) -> impl Iterator<Item = &Figures> {
        self.outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Measured { figures, .. } => Some(figures),
            Outcome::Failed(_) => None,
        })
    }

    /// The first failure. One is enough to withhold the line's figures.
    fn failure(&self) -> Option<&str> {
        self.outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Failed(why) => Some(why.as_str()),
            Outcome::Measured { .. } => None,
        })
    }

    /// The workload's own measure: records a second, or nanoseconds a record for the scan.
    fn rate(&self) -> Spread {
        Spread::of(self.measured().map(|figures| match self.workload {
            Workload::Scan => figures.seconds * 1e9 / figures.records as f64,
            _ => figures.records as f64 / figures.seconds,
        }))
    }

    fn latency(&self, which: impl Fn(&Latency) -> f64) -> Spread {
        let latencies = self.measured().filter_map(|figures| figures.latency.as_ref());
        Spread::of(latencies.map(which))
    }
}

/// Least, median and most of the repetitions.
#[derive(Clone, Copy, Serialize)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() {
            0 => f64::NAN,
            count if count % 2 == 1 => values[middle],
            _ => f64::midpoint(values[middle - 1], values[middle]),
        };
        Self {
            min: values.first().copied().unwrap_or(f64::NAN),
            median,
            max: values.last().copied().unwrap_or(f64::NAN),
        }
    }
}

/// Everything that was run, and how.
pub struct Report {
    pub place: String,
    pub record_bytes: u32,
    pub seconds: f64,
    pub reps: u32,
    pub scan_records: u64,
    pub lines: Vec<Line>,
}

impl Report {
    /// Whether some cell failed.
    pub fn has_failures(&self) -> bool {
        self.lines.iter().any(|line| line.failure().is_some())
    }

    /// The report as JSON, with the figures of every repetition.
    pub fn to_json(&self) -> Result<String> {
        let lines: Vec<JsonLine<'_>> = self.lines.iter().map(JsonLine::of).collect();
        let report = serde_json::json!({
            "place": self.place,
            "record_bytes": self.record_bytes,
            "seconds": self.seconds,
            "reps": self.reps,
            "scan_records": self.scan_records,
            "results": lines,
        });
        Ok(serde_json::to_string_pretty(&report)?)
    }

    /// The workloads that were run, in the order of their first line.
    fn workloads(&self) -> Vec<Workload> {
        let mut workloads = Vec::new();
        for line in &self.lines {
            if !workloads.contains(&line.workload) {
                workloads.push(line.workload);
            }
        }
        workloads
    }
}

/// One line in the JSON report.
#[derive(Serialize)]
struct JsonLine<'a> {
    peer: &'a str,
    version: &'a str,
    workload: Workload,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_applicable: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records_per_second: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nanos_per_record: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_micros: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_micros: Option<Spread>,
    reps: Vec<&'a Figures>,
}

impl<'a> JsonLine<'a> {
    fn of(line: &'a Line) -> Self {
        let has_figures = line.can_run() && line.failure().is_none();
        let is_scan = line.workload == Workload::Scan;
        let has_latency = has_figures && line.workload.has_latency();
        Self {
            peer: line.peer,
            version: line.version,
            workload: line.workload,
            not_applicable: line.cannot,
            failed: line.failure(),
            note: line.note,
            records_per_second: (has_figures && !is_scan).then(|| line.rate()),
            nanos_per_record: (has_figures && is_scan).then(|| line.rate()),
            p50_micros: has_latency.then(|| line.latency(|latency| latency.p50_micros)),
            p99_micros: has_latency.then(|| line.latency(|latency| latency.p99_micros)),
            reps: line.measured().collect(),
        }
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} B records, {} s a repetition, {} repetitions, {}",
            grouped(f64::from(self.record_bytes)),
            self.seconds,
            self.reps,
            self.place
        )?;
        for workload in self.workloads() {
            writeln!(out)?;
            self.table(workload, out)?;
        }
        if self.workloads().len() > 1 {
            writeln!(out)?;
            self.matrix(out)?;
        }
        Ok(())
    }
}

impl Report {
    /// One workload, one row an engine.
    fn table(&self, workload: Workload, out: &mut Formatter<'_>) -> fmt::Result {
        let unit = match workload {
            Workload::Scan => format!("{} records, ns a record", grouped(self.scan_records as f64)),
            _ => "records a second".to_owned(),
        };
        let title = workload.title();
        let promise = match workload {
            Workload::Scan => "",
            _ => match workload.durability() {
                Durability::Unsynced => "; an acknowledged record outlives the process",
                _ => "; an acknowledged record outlives the loss of power",
            },
        };
        writeln!(out, "{title} ({unit}{promise})")?;
        write!(out, "  {:<24}{:>12}{:>12}{:>12}", "", "min", "median", "max")?;
        if workload.has_latency() {
            write!(out, "{:>12}{:>12}", "p50 us", "p99 us")?;
        }
        writeln!(out)?;

        let mut notes = Vec::new();
        for line in self.lines.iter().filter(|line| line.workload == workload) {
            let name = format!("{} {}", line.peer, line.version);
            write!(out, "  {name:<24}")?;
            if let Some(why) = line.cannot {
                writeln!(out, "  n/a: {why}")?;
                continue;
            }
            if let Some(why) = line.failure() {
                writeln!(out, "  failed: {why}")?;
                continue;
            }
            let rate = line.rate();
            for value in [rate.min, rate.median, rate.max] {
                write!(out, "{:>12}", grouped(value))?;
            }
            if workload.has_latency() {
                let p50 = line.latency(|latency| latency.p50_micros).median;
                let p99 = line.latency(|latency| latency.p99_micros).median;
                write!(out, "{:>12}{:>12}", grouped(p50), grouped(p99))?;
            }
            if let Some(note) = line.note {
                notes.push(note);
                write!(out, "  [{}]", notes.len())?;
            }
            writeln!(out)?;
        }
        for (number, note) in (1..).zip(notes) {
            writeln!(out, "  [{number}] {note}")?;
        }
        Ok(())
    }

    /// The medians of everything on one screen.
    fn matrix(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let workloads = self.workloads();
        writeln!(out, "medians (records a second; scan: ns a record)")?;
        write!(out, "  {:<16}", "")?;
        for workload in &workloads {
            write!(out, "{:>14}", workload.name())?;
        }
        writeln!(out)?;
        let peers = self.lines.iter().filter(|line| line.workload == workloads[0]);
        for peer in peers.map(|line| line.peer) {
            write!(out, "  {peer:<16}")?;
            for line in self.lines.iter().filter(|line| line.peer == peer) {
                let shown = match (line.cannot, line.failure()) {
                    (Some(_), _) => "n/a".to_owned(),
                    (None, Some(_)) => "failed".to_owned(),
                    (None, None) => grouped(line.rate().median),
                };
                write!(out, "{shown:>14}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// A number as people read it: whole with thousands apart, or one decimal where that says more.
fn grouped(value: f64) -> String {
    if value < 100.0 && value.fract() != 0.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0].into_iter());
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.5, 4.0));
    }

    #[test]
    fn thousands_stand_apart_and_small_numbers_keep_a_decimal() {
        assert_eq!(grouped(1_234_567.8), "1,234,568");
        assert_eq!(grouped(123_456.0), "123,456");
        assert_eq!(grouped(100.0), "100");
        assert_eq!(grouped(31.66), "31.7");
    }
}
