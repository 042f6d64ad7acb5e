//! `braidlog set`: changes how a log is kept.

use serde_json::json;

use super::options::{self, KeepArgs};
use super::{Context, Failure, units};

/// Arguments of `braidlog set`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The log
    log: String,
    #[command(flatten)]
    keep: KeepArgs,
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    if args.keep.is_empty() {
        return Err(Failure::Usage("nothing to change: see `braidlog set --help`".to_owned()));
    }
    let store = context.own()?;
    let log = store.log(&args.log)?;
    log.set_options(args.keep.apply(log.options()))?;
    let kept = log.options();
    drop(log);
    context.closed(store.close())?;
    let line = format!(
        "log {:?}: retention {}, segments of {}",
        args.log,
        options::retention_cell(&kept),
        units::bytes(kept.segment_bytes_max)
    );
    context.answer(json!({ "log": args.log, "options": options::to_json(&kept) }), &line)
}
