//! `braidlog delete`: deletes a log.

use serde_json::json;

use super::{Context, Failure, units};

/// Arguments of `braidlog delete`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The log
    log: String,
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    let store = context.own()?;
    let log = store.log(&args.log)?;
    let records = log.end().saturating_sub(log.horizon()?);
    drop(log);
    store.delete_log(&args.log)?;
    context.closed(store.close())?;
    let line = format!("deleted log {:?} with {}", args.log, units::counted(records, "record"));
    context.answer(json!({ "deleted": args.log, "records": records }), &line)
}
