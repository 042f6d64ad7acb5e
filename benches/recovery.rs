//! Opening a store that was not closed, with everything in the journal; beside reading the same files from the disk under
//! one checksum.

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use braidlog::{LogOptions, Store, StoreOptions};
use criterion::{Criterion, Throughput};

use support::{Result, floor, sized, work};

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    for size in [100, 1 << 10] {
        group(&mut criterion, size).expect("recovery failed");
    }
    criterion.final_summary();
}

/// A journal long enough that no checkpoint comes before the end.
fn options() -> StoreOptions {
    StoreOptions::new()
        .journal_file_bytes(sized(64 << 20, 1 << 20))
        .journal_files_max(64)
        .memory_bytes(2 << 30)
        .bulk_bytes(1 << 30)
}

fn leave_open(path: &Path, size: usize, bytes: u64) -> Result<()> {
    let store = Store::open_with(path, options())?;
    let log = store.create_log("log", LogOptions::new())?;
    work::fill(&log, size, bytes)?;
    Ok(())
}

fn journal(path: &Path) -> Result<Vec<PathBuf>> {
    std::fs::read_dir(path.join("journal"))?.map(|entry| Ok(entry?.path())).collect()
}

fn group(criterion: &mut Criterion, size: usize) -> Result<()> {
    let within = support::directory();
    let bytes = sized(64u64 << 20, 256 << 10);
    let mut group = criterion.benchmark_group(format!("recovery/{size}B"));
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("replay", |bencher| {
        bencher.iter_custom(|times| {
            let once = || -> Result<Duration> {
                let dir = support::scratch(&within)?;
                leave_open(dir.path(), size, bytes)?;
                floor::forget(&journal(dir.path())?)?;
                let start = Instant::now();
                let store = Store::open_with(dir.path(), options())?;
                let took = start.elapsed();
                assert!(store.open_report().bytes_replayed >= bytes, "{:?}", store.open_report());
                Ok(took)
            };
            (0..times).map(|_| once().expect("recovery failed")).sum()
        });
    });
    let dir = support::scratch(&within)?;
    leave_open(dir.path(), size, bytes)?;
    let files = journal(dir.path())?;
    group.bench_function("limit: read and checksum", |bencher| {
        bencher.iter_custom(|times| {
            let once = || -> Result<Duration> {
                floor::forget(&files)?;
                let (took, read) = floor::read_and_check(&files)?;
                // The files are longer than what lies in them.
                Ok(took.mul_f64(bytes as f64 / read as f64))
            };
            (0..times).map(|_| once().expect("the floor failed")).sum()
        });
    });
    group.finish();
    Ok(())
}
