//! Opening a store that was closed: empty, with many segments, with many idle logs. The empty one is the limit.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use braidlog::{Durability, LogOptions, Store};
use criterion::Criterion;

use support::work::{self, Callers, Until};
use support::{Result, sized};

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    run(&mut criterion).expect("opening failed");
    criterion.final_summary();
}

fn run(criterion: &mut Criterion) -> Result<()> {
    let dir = support::scratch(&support::directory())?;
    let mut group = criterion.benchmark_group("open");
    let mut bench = |name: String, path: &Path| {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                (0..times)
                    .map(|_| {
                        let start = Instant::now();
                        let store = Store::open(path).expect("opening failed");
                        let took = start.elapsed();
                        store.close().expect("closing failed");
                        took
                    })
                    .sum()
            });
        });
    };

    let path = dir.path().join("empty");
    Store::open(&path)?.close()?;
    bench("limit: an empty store".into(), &path);

    let path = dir.path().join("segments");
    let segments = sized(400, 10);
    let store = Store::open(&path)?;
    let options = support::log_options(Durability::Buffered).segment_bytes_max(64 << 10);
    work::fill(&store.create_log("log", options)?, 1024, (segments * 64) << 10)?;
    store.close()?;
    bench(format!("{segments} segments"), &path);

    let path = dir.path().join("logs");
    let logs = sized(10_000, 20);
    let store = Store::open(&path)?;
    let idle = work::create(&store, logs, &LogOptions::new())?;
    work::drive(&idle, Callers::Tickets { threads: 4, held: 64 }, b"a record", Until::appends(logs as u64))?;
    drop(idle);
    store.close()?;
    bench(format!("{logs} idle logs"), &path);
    group.finish();
    Ok(())
}
