//! A log of a given size, to be read.

use std::path::Path;

use crate::cli::pump::{Pump, Target};
use crate::cli::{Context, Failure, context};
use crate::{Durability, LogOptions, Store};

/// Records in one call: what makes a batch of the engine's own size.
const CALL_BYTES: usize = 32 << 10;

/// Makes a store with one log, `log`, of records like `record` with together `bytes` of data; closes and opens it again, so
/// that everything is in segments. Returns it with the number of records.
pub(super) fn log(
    context: &Context,
    root: &Path,
    record: &[u8],
    bytes: u64,
    segment_bytes: u64,
) -> Result<(Store, u64), Failure> {
    let records = (bytes / record.len().max(1) as u64).max(1);
    let bar = context.progress(Some(records * record.len() as u64), "filling");
    let store = context::open_as_owner(root)?;
    let options = LogOptions::new().durability(Durability::Buffered).segment_bytes_max(segment_bytes);
    let log = store.create_log("log", options)?;
    let mut pump = Pump::new(Target::Log(&log), (CALL_BYTES / record.len().max(1)).max(1));
    for _ in 0..records {
        let (data, start) = pump.begin();
        data.extend_from_slice(record);
        pump.push(start, |_, _| false)?;
        bar.inc(record.len() as u64);
    }
    pump.settle()?;
    drop(pump);
    drop(log);
    store.close()?;
    bar.finish_and_clear();
    Ok((context::open_as_owner(root)?, records))
}
