//! `braidlog create`: makes a log, and the store if there is none.

use serde_json::json;

use super::options::{self, DurabilityName, KeepArgs};
use super::{Context, Failure};
use crate::LogOptions;

/// Arguments of `braidlog create`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its name
    log: String,
    /// When an append is acknowledged; this can't be changed later
    #[arg(long, value_enum, value_name = "WHEN", default_value = "durable")]
    durability: DurabilityName,
    #[command(flatten)]
    keep: KeepArgs,
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    let store = context.own_or_create()?;
    let options = args.keep.apply(LogOptions::new().durability(args.durability.into()));
    let log = store.create_log(&args.log, options)?;
    let json = json!({ "log": log.name(), "id": log.id().to_string(), "options": options::to_json(&log.options()) });
    drop(log);
    context.closed(store.close())?;
    context.answer(json, &format!("made log {:?}, {}", args.log, args.durability.word()))
}
