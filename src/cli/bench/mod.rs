//! `braidlog bench`: what the engine does here, and beside it, in the same run, what this machine could do at best for the same
//! bytes. A figure without its limit says more about the machine than about the engine.

mod append;
mod fill;
mod floor;
mod latency;
mod read;
mod recover;
mod report;
mod seek;

use std::path::PathBuf;
use std::time::Duration;

pub(crate) use latency::{Latency, Percentiles};

use super::interrupt::before_the_end;
use super::scratch::Scratch;
use super::units::{parse_bytes, parse_duration};
use super::{Context, Failure};
use crate::env::{Disk, RealDisk};

/// Arguments of `braidlog bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Append records: throughput, and latency from the call to the acknowledgement
    Append(append::Args),
    /// Read a log from front to back
    Read(read::Args),
    /// Find records by number or by time
    Seek(seek::Args),
    /// Open a store that was not closed
    Recover(recover::Args),
}

/// What all of them take.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// A folder on the disk to measure; a folder braidlog-bench-... is made in it and removed again, with those that killed runs left
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Bytes of data in a record
    #[arg(long, value_name = "SIZE", default_value = "100", value_parser = parse_bytes)]
    record_bytes: u64,
    /// How long to measure
    #[arg(long, value_name = "N", default_value = "5", value_parser = parse_seconds)]
    seconds: Duration,
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let duration = match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => Duration::from_secs_f64(seconds.min(1e6)),
        _ => parse_duration(text)?,
    };
    if duration < Duration::from_millis(1) { Err("it is too short".to_owned()) } else { Ok(duration) }
}

impl Common {
    fn check(&self) -> Result<(), Failure> {
        let max = crate::limits::RECORD_DATA_BYTES_MAX as u64;
        if self.record_bytes > max {
            return Err(Failure::Usage(format!("--record-bytes is at most {max}")));
        }
        Ok(())
    }

    fn record(&self) -> Vec<u8> {
        pattern(self.record_bytes as usize)
    }
}

/// Bytes without an order that a disk or file system could make use of.
fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&random(&mut state).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// xorshift64*: quick, and good enough to pick places.
fn random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// A place to measure in, with room for `bytes`.
fn place(common: &Common, bytes: u64) -> Result<Scratch, Failure> {
    common.check()?;
    let scratch = Scratch::new(&common.dir, "bench")?;
    let dir = common.dir.display().to_string();
    let disk = RealDisk::open(scratch.path()).map_err(Failure::io(format!("open {dir}")))?;
    let space = disk.space().map_err(Failure::io(format!("ask for the room in {dir}")))?;
    // Journal, checkpoint and the limit's own file come on top.
    let wanted = bytes.saturating_add(bytes / 4).saturating_add(512 << 20);
    if space.available < wanted {
        let (wanted, there) = (super::units::bytes(wanted), super::units::bytes(space.available));
        return Err(Failure::Usage(format!(
            "{dir} has {there} left and this takes up to {wanted}; see --bytes and --dir"
        )));
    }
    let path = scratch.path().to_owned();
    before_the_end(move || {
        // Whoever is measured may make a file meanwhile.
        let _ = (0..100).find(|_| std::fs::remove_dir_all(&path).is_ok() || !path.exists());
    })?;
    Ok(scratch)
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    match args.what {
        What::Append(args) => append::run(context, args),
        What::Read(args) => read::run(context, args),
        What::Seek(args) => seek::run(context, args),
        What::Recover(args) => recover::run(context, args),
    }
}
