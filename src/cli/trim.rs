//! `braidlog trim`: gives up a log's oldest records.

use serde_json::json;

use super::time::{self, Moment};
use super::{Context, Failure, units};
use crate::{Error, StartAt};

/// Arguments of `braidlog trim`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("upto").required(true), after_help = "\
Exit code 0 says that the trim is durable, on a full disk as well. Space is given back by whole segments, and with a checkpoint: where
there is no room for that, later, and the program says so.")]
pub(crate) struct Args {
    /// The log
    log: String,
    /// Give up every record below this number
    #[arg(long, value_name = "N", group = "upto")]
    before: Option<u64>,
    /// Give up every record that arrived before this time
    #[arg(long, value_name = "TIME", value_parser = time::parse, group = "upto")]
    before_time: Option<Moment>,
    /// Say what would be given up, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// A trim that was on its way may count all the same: says how to find out, and that the same one does no harm.
fn in_doubt(error: Error, log: &str) -> Failure {
    match error {
        Error::OutcomeUnknown { .. } => Failure::from(error)
            .at(format!("log {log:?} may be trimmed or not: `braidlog info` tells, and the trim can be repeated")),
        error => error.into(),
    }
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    let store = if args.dry_run { context.inspect()? } else { context.own()? };
    let log = store.log(&args.log)?;
    let before = log.horizon()?;
    let upto = match args.before_time {
        Some(moment) => log.read(StartAt::Time(moment.as_system_time()))?.next_sequence_number(),
        None => args.before.unwrap_or(0).min(log.end()),
    };
    let horizon =
        if args.dry_run { upto } else { log.trim(upto).map_err(|error| in_doubt(error, &args.log))? }.max(before);
    drop(log);
    if !args.dry_run {
        context.closed(store.close())?;
    }
    let gone = horizon - before;
    let json = json!({ "log": args.log, "trimmed": gone, "horizon": horizon, "dry_run": args.dry_run });
    let what = if args.dry_run { "would be trimmed from" } else { "trimmed from" };
    let line =
        format!("{} {what} log {:?}; the oldest is now number {horizon}", units::counted(gone, "record"), args.log);
    context.answer(json, &line)
}
