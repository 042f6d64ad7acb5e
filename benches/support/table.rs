//! The table that benches print: each figure beside its limit, taken in the same rounds.

use std::time::Instant;

use super::{median, percentile};

/// In percent of one processor: with the machine's others above it, nothing is said of a bar.
const OTHERS_MAX: f64 = 50.0;

/// What a figure must be.
#[derive(Debug, Clone, Copy)]
pub enum Bar {
    /// At most so many times the limit.
    Within(f64),
    /// At least so many times the limit.
    Reach(f64),
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// Nothing is asked of it.
    Told,
}

/// One line of the table.
pub struct Row {
    pub what: String,
    pub unit: &'static str,
    pub bar: Bar,
    pub limit_is: &'static str,
    pub measured: Vec<f64>,
    pub limit: Vec<f64>,
}

impl Row {
    /// A row without figures yet.
    pub fn new(what: impl Into<String>, unit: &'static str, bar: Bar, limit_is: &'static str) -> Row {
        Row { what: what.into(), unit, bar, limit_is, measured: Vec::new(), limit: Vec::new() }
    }

    /// One round.
    pub fn push(&mut self, measured: f64, limit: f64) {
        self.measured.push(measured);
        self.limit.push(limit);
    }

    /// Prints it, and how busy the machine was with others.
    pub fn print(&self, others: f64) {
        let (measured, limit) = (median(&self.measured), median(&self.limit));
        let ratio = measured / limit;
        let (bar, met) = match self.bar {
            Bar::Within(times) => (format!("<= {times} x"), Some(ratio <= times)),
            Bar::Reach(times) => (format!(">= {times} x"), Some(ratio >= times)),
            Bar::AtMost(most) => (format!("<= {} {}", figure(most), self.unit), Some(measured <= most)),
            Bar::AtLeast(least) => (format!(">= {} {}", figure(least), self.unit), Some(measured >= least)),
            Bar::Told => ("-".into(), None),
        };
        let met = match met {
            None => "-",
            // Half a processor gone to others: no figure to judge by, to either side.
            Some(_) if others > OTHERS_MAX => "noisy",
            Some(true) => "met",
            Some(false) => "NOT MET",
        };
        let spread =
            format!("{}..{}", figure(percentile(&self.measured, 0.0)), figure(percentile(&self.measured, 1.0)));
        let measured = format!("{} {}", figure(measured), self.unit);
        let (limit, ratio) = if self.limit_is.is_empty() {
            ("-".to_owned(), "-".to_owned())
        } else {
            (format!("{} ({})", figure(limit), self.limit_is), figure(ratio))
        };
        println!(
            "| {:<66} | {measured:>15} | {spread:>16} | {limit:<46} | {ratio:>6} | {bar:<14} | {met:<7} | {others:>4.0} % |",
            self.what
        );
    }
}

/// A figure to four digits or so.
pub fn figure(x: f64) -> String {
    match x.abs() {
        a if a >= 1000.0 => format!("{x:.0}"),
        a if a >= 100.0 => format!("{x:.1}"),
        a if a >= 1.0 => format!("{x:.2}"),
        _ => format!("{x:.4}"),
    }
}

/// How busy the machine was with other things meanwhile: figures taken beside a build say little.
pub struct Neighbours {
    busy: f64,
    own: f64,
    since: Instant,
}

impl Neighbours {
    /// As of now.
    pub fn look() -> Neighbours {
        let fields = |path: &str| -> Vec<f64> {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().next().unwrap_or_default().to_owned();
            line.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect()
        };
        let (all, own) = (fields("/proc/stat"), fields("/proc/self/stat"));
        let at = |fields: &[f64], at: usize| fields.get(at).copied().unwrap_or(0.0);
        let busy = [1, 2, 3, 6, 7].iter().map(|i| at(&all, *i)).sum();
        // Its own, and that of the processes it started and saw end.
        let own = [13, 14, 15, 16].iter().map(|i| at(&own, *i)).sum();
        Neighbours { busy, own, since: Instant::now() }
    }

    /// In percent of one processor. Both clocks tick a hundred times a second.
    pub fn share(&self) -> f64 {
        let now = Neighbours::look();
        let others = (now.busy - self.busy) - (now.own - self.own);
        (others / self.since.elapsed().as_secs_f64()).max(0.0)
    }
}

/// Prints the head of the table.
pub fn header() {
    println!(
        "| {:<66} | {:>15} | {:>16} | {:<46} | {:>6} | {:<14} | {:<7} | others |",
        "what", "measured", "least..most", "limit", "ratio", "bar", "met"
    );
    println!(
        "|{}|",
        [
            "-".repeat(68),
            "-".repeat(17),
            "-".repeat(18),
            "-".repeat(48),
            "-".repeat(8),
            "-".repeat(16),
            "-".repeat(9),
            "-".repeat(8)
        ]
        .join("|")
    );
}
