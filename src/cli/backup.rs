//! `braidlog backup`: a copy that is a store of its own.

use std::path::PathBuf;

use serde_json::json;

use super::{Context, Failure, units};

/// Arguments of `braidlog backup`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An empty folder, or one to be made
    dest: PathBuf,
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    let store = context.own()?;
    let bar = context.progress(None, "copying");
    let report = store.backup(&args.dest);
    bar.finish_and_clear();
    let report = report?;
    context.closed(store.close())?;
    let dest = args.dest.display().to_string();
    let json = json!({
        "dest": dest,
        "frame": report.frame,
        "logs": report.logs,
        "segments": report.segments,
        "bytes": report.bytes,
    });
    let (logs, segments) = (units::counted(report.logs, "log"), units::counted(report.segments, "segment"));
    context.answer(json, &format!("copied {logs} to {dest}: {} in {segments}", units::bytes(report.bytes)))
}
