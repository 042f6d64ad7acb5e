//! What the benches share: where they write, the machine's floors, the workloads, and the figures made of them.
#![allow(dead_code, reason = "each bench uses a part of it")]

pub mod floor;
pub mod load;
pub mod sparse;
pub mod table;
pub mod tasks;
pub mod work;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use braidlog::{Durability, LogOptions};

/// What a bench may end with.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// Whether this is `cargo bench`, not `cargo test`: there inputs are tiny and figures mean nothing.
pub fn measuring() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// The size to measure with, or the tiny one.
pub fn sized<T>(measured: T, tiny: T) -> T {
    if measuring() { measured } else { tiny }
}

/// The directory to measure in: `BRAIDLOG_BENCH_DIR`, or the target folder's own for such files.
pub fn directory() -> PathBuf {
    std::env::var_os("BRAIDLOG_BENCH_DIR").map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from)
}

/// A fresh directory in `braidlog-benches`, removed in the end; what a killed run left there, in the beginning. Nothing written before
/// is still on its way to the disk.
pub fn scratch(within: &Path) -> Result<tempfile::TempDir> {
    let all = within.join("braidlog-benches");
    std::fs::create_dir_all(&all)?;
    remove_left(&all)?;
    settle(within)?;
    Ok(tempfile::Builder::new().prefix("bench-").tempdir_in(&all)?)
}

/// Removes what is in there, unless another run is at work in it.
fn remove_left(all: &Path) -> Result<()> {
    /// Held to the end of the process: shared by all that are at work.
    static AT_WORK: std::sync::OnceLock<std::fs::File> = std::sync::OnceLock::new();
    if AT_WORK.get().is_some() {
        return Ok(());
    }
    let folder = std::fs::File::open(all)?;
    if folder.try_lock().is_ok() {
        for left in std::fs::read_dir(all)? {
            std::fs::remove_dir_all(left?.path())?;
        }
    }
    folder.lock_shared()?;
    let _ = AT_WORK.set(folder);
    Ok(())
}

/// Waits until the file system has nothing left to write, so that no figure pays for the one before.
pub fn settle(within: &Path) -> Result<()> {
    let folder = std::fs::File::open(within)?;
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(&folder)?;
    #[cfg(not(target_os = "linux"))]
    drop(folder);
    Ok(())
}

/// Lets a store that was just made write its journal ahead, which it does beside the first appends.
pub fn rest(within: &Path) -> Result<()> {
    std::thread::sleep(sized(Duration::from_millis(300), Duration::ZERO));
    settle(within)
}

/// Has so much memory written to once, or half of what there is, and lets go of it. Memory that a virtual machine did not use for
/// some seconds may have been given back to its host: touching it again then costs a trip there for every page, ten times
/// what copying to it does, and would fall on whoever is measured first.
pub fn warm_memory(bytes: u64) {
    const PIECE: u64 = 64 << 20;
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
    let pieces = bytes.min(kib.unwrap_or(0) * 1024 / 2) / PIECE;
    let held: Vec<Vec<u8>> = (0..pieces).map(|_| vec![1; PIECE as usize]).collect();
    std::hint::black_box(held);
}

/// The options of a log of this durability.
pub fn log_options(durability: Durability) -> LogOptions {
    LogOptions::new().durability(durability)
}

/// How long `work` takes, and what it answers.
pub fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(Duration, T)> {
    let start = Instant::now();
    let answer = work()?;
    Ok((start.elapsed(), answer))
}

/// The median; 0 of nothing.
pub fn median(figures: &[f64]) -> f64 {
    percentile(figures, 0.5)
}

/// The smallest figure that `share` of them do not exceed; 0 of nothing.
pub fn percentile(figures: &[f64], share: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// The files of a store's segments with this extension, oldest first.
pub fn segment_files(store: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in std::fs::read_dir(store.join("segments"))? {
        for file in std::fs::read_dir(folder?.path())? {
            let path = file?.path();
            if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
    }
    files.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    Ok(files)
}

/// Bytes of these files.
pub fn bytes_of(files: &[PathBuf]) -> Result<u64> {
    files.iter().map(|file| Ok(std::fs::metadata(file)?.len())).sum()
}
