//! `braidlog ls`: one line a log.

use std::io::Write;

use serde_json::json;

use super::table::Table;
use super::{Context, Failure, options, time, units};
use crate::Log;

/// Arguments of `braidlog ls`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names alone, one a line
    #[arg(long, short = '1')]
    names: bool,
    /// Also the logs that are the engine's own: shards of streams, tables
    #[arg(long, short)]
    all: bool,
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    let store = context.inspect()?;
    let names = if args.all { store.all_log_names()? } else { store.log_names()? };
    if args.names && !context.json {
        return names.iter().try_for_each(|name| Ok(writeln!(context.out, "{name}")?));
    }
    let mut table = Table::new(&[
        "LOG",
        "RECORDS>",
        "FROM>",
        "TO>",
        "STORED>",
        "SEGMENTS>",
        "DURABILITY",
        "RETENTION",
        "LAST ARRIVAL",
    ]);
    for name in &names {
        let log = store.internal_log(name)?;
        let summary = Summary::of(&log)?;
        if context.json {
            writeln!(context.out, "{}", summary.to_json(&log))?;
        } else {
            table.row(summary.row(&log));
        }
    }
    if names.is_empty() {
        return context.say("the store has no logs");
    }
    if !context.json {
        table.write(&mut context.out)?;
    }
    Ok(())
}

/// What one line tells.
struct Summary {
    horizon: u64,
    end: u64,
    damaged_from: Option<u64>,
}

impl Summary {
    fn of(log: &Log) -> Result<Summary, Failure> {
        Ok(Summary { horizon: log.horizon()?, end: log.end(), damaged_from: log.info().stopped_at })
    }

    fn row(&self, log: &Log) -> Vec<String> {
        let info = log.info();
        let options = log.options();
        let damage = self.damaged_from.map(|at| format!("damaged from {at} on")).unwrap_or_default();
        vec![
            log.name().to_owned(),
            units::count(self.end - self.horizon),
            if self.end > self.horizon { self.horizon.to_string() } else { "-".to_owned() },
            if self.end > self.horizon { (self.end - 1).to_string() } else { "-".to_owned() },
            units::bytes(info.segment_bytes + info.pending_bytes),
            info.segments.to_string(),
            options::durability_word(options.durability).to_owned(),
            options::retention_cell(&options),
            format!("{} {damage}", info.last_arrival_ms.map_or("-".to_owned(), time::format)),
        ]
    }

    fn to_json(&self, log: &Log) -> serde_json::Value {
        let info = log.info();
        json!({
            "log": log.name(),
            "id": log.id().to_string(),
            "horizon": self.horizon,
            "end": self.end,
            "records": self.end - self.horizon,
            "segments": info.segments,
            "segment_bytes": info.segment_bytes,
            "pending_bytes": info.pending_bytes,
            "first_arrival_ms": info.first_arrival_ms,
            "last_arrival_ms": info.last_arrival_ms,
            "damaged_from": self.damaged_from,
            "options": options::to_json(&log.options()),
        })
    }
}
