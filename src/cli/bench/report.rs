//! One table for all: the engine's row, then the limits of the machine, each with how far the engine is from it.

use std::io::Write;

use serde_json::{Map, Value, json};

use super::Percentiles;
use crate::cli::table::Table;
use crate::cli::{Context, Failure, units};

/// What was measured, of the engine or of the bare machine.
pub(crate) struct Row {
    pub(crate) name: String,
    /// Operations a second: records, seeks, opens.
    pub(crate) rate: f64,
    pub(crate) bytes_per_second: f64,
    pub(crate) latency: Option<Percentiles>,
}

/// A whole run.
pub(crate) struct Report {
    /// What was run, in one line.
    pub(crate) title: String,
    /// What an operation is: `records`.
    pub(crate) unit: &'static str,
    /// The engine.
    pub(crate) engine: Vec<Row>,
    /// The machine; first the limit whose operation is the engine's.
    pub(crate) limits: Vec<Row>,
    /// Facts of the run that no column has.
    pub(crate) facts: Vec<(&'static str, Value)>,
}

impl Report {
    pub(crate) fn tell(&self, context: &mut Context) -> Result<(), Failure> {
        if context.json {
            writeln!(context.out, "{}", self.to_json())?;
            return Ok(());
        }
        writeln!(context.out, "{}", self.title)?;
        let rate = format!("{}/s>", self.unit);
        let mut table = Table::new(&["", &rate, "MB/s>", "p50>", "p90>", "p99>", "p99.9>", "max>", "braidlog is"]);
        for row in &self.engine {
            table.row(cells(row, String::new()));
        }
        for (n, limit) in self.limits.iter().enumerate() {
            let ratio = self.engine.first().map(|engine| ratio_text(ratios(engine, limit, n == 0)));
            table.row(cells(limit, ratio.unwrap_or_default()));
        }
        table.write(&mut context.out)?;
        for (name, value) in &self.facts {
            let value = match value.as_f64().filter(|_| value.is_f64()) {
                Some(float) => format!("{float:.2}"),
                None => value.to_string(),
            };
            writeln!(context.out, "{}: {value}", name.replace('_', " "))?;
        }
        Ok(())
    }

    fn to_json(&self) -> Value {
        let row = |row: &Row| {
            let mut object = Map::new();
            object.insert("name".to_owned(), row.name.as_str().into());
            object.insert(format!("{}_per_second", self.unit), row.rate.into());
            object.insert("bytes_per_second".to_owned(), row.bytes_per_second.into());
            object.insert("latency_ns".to_owned(), row.latency.map_or(Value::Null, Percentiles::to_json));
            object
        };
        let limits = self.limits.iter().enumerate().map(|(n, limit)| {
            let mut object = row(limit);
            if let Some(engine) = self.engine.first() {
                let (rate, p50) = ratios(engine, limit, n == 0);
                object.insert("engine_to_limit".to_owned(), json!({ "rate": rate, "p50": p50 }));
            }
            Value::Object(object)
        });
        let limits: Vec<Value> = limits.collect();
        let engine: Vec<Value> = self.engine.iter().map(|engine| Value::Object(row(engine))).collect();
        let facts: Map<String, Value> =
            self.facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        json!({ "title": self.title, "engine": engine, "limits": limits, "facts": facts })
    }
}

/// How the engine's rate and median stand to a limit's. Only the `first` limit does one operation as the engine does, so only
/// with that one the medians are about the same thing.
fn ratios(engine: &Row, limit: &Row, first: bool) -> (Option<f64>, Option<f64>) {
    let of = |a: f64, b: f64| (a > 0.0 && b > 0.0).then(|| a / b);
    let by_bytes = of(engine.bytes_per_second, limit.bytes_per_second);
    let p50 = engine.latency.zip(limit.latency.filter(|_| first)).and_then(|(e, l)| of(e.p50 as f64, l.p50 as f64));
    (by_bytes.or_else(|| of(engine.rate, limit.rate)), p50)
}

fn ratio_text((rate, p50): (Option<f64>, Option<f64>)) -> String {
    let digits = |x: f64| match x {
        x if x >= 10.0 => format!("{x:.0}"),
        x if x >= 0.095 => format!("{x:.2}"),
        x => format!("{x:.1e}"),
    };
    let parts = [rate.map(|x| format!("{} x its rate", digits(x))), p50.map(|x| format!("{} x its p50", digits(x)))];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn cells(row: &Row, ratio: String) -> Vec<String> {
    let mut cells = vec![row.name.clone(), units::per_second(row.rate)];
    cells.push(if row.bytes_per_second > 0.0 { units::megabytes(row.bytes_per_second) } else { "-".to_owned() });
    match row.latency {
        Some(l) => cells.extend([l.p50, l.p90, l.p99, l.p999, l.max].map(units::nanos)),
        None => cells.extend(std::iter::repeat_n(String::new(), 5)),
    }
    cells.push(ratio);
    cells
}
