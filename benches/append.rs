//! Appends: by record size, number of logs, durability, and who calls; beside the machine's floor for the same bytes.
//!
//! Buffered logs are compared with copy, checksum and page-cache writes; durable ones with a bare durable write, and in bulk
//! with the best pipeline of such writes. `cargo bench --bench speed` has the same as one table with the bars.

mod support;

use std::path::Path;
use std::time::Duration;

use braidlog::{Durability, Log, Store};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};

use support::work::{self, Callers, Until};
use support::{Result, floor, sized};

const SIZES: [usize; 3] = [100, 1 << 10, 64 << 10];
const LOGS: [usize; 2] = [1, 256];

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for size in SIZES {
        for durability in [Durability::Buffered, Durability::Durable] {
            group(&mut criterion, size, durability).expect("an append failed");
        }
    }
    criterion.final_summary();
}

fn group(criterion: &mut Criterion, size: usize, durability: Durability) -> Result<()> {
    let within = support::directory();
    let mut group = criterion.benchmark_group(format!("append/{durability:?}/{size}B"));
    group.sampling_mode(SamplingMode::Flat);
    let record = vec![7u8; size];
    let callers =
        [Callers::One, Callers::Parked(sized(64, 4)), Callers::Tickets { threads: sized(4, 2), held: sized(64, 4) }];
    for logs in LOGS.map(|logs| sized(logs, logs.min(4))) {
        for callers in callers {
            // With many callers an iteration is long enough that starting their threads doesn't count.
            let per_iteration = match callers {
                Callers::One => 1,
                _ => (sized(32 << 20, 64 << 10) / size as u64).clamp(16, 4096),
            };
            group.throughput(Throughput::Bytes(size as u64 * per_iteration));
            group.bench_function(BenchmarkId::new(callers.to_string(), format!("{logs} logs")), |bencher| {
                bencher.iter_custom(|times| {
                    fresh(&within, durability, logs, |logs| {
                        Ok(work::drive(logs, callers, &record, Until::appends(times * per_iteration))?.took)
                    })
                    .expect("an append failed")
                });
            });
        }
    }
    group.throughput(Throughput::Bytes(size as u64));
    let records = work::records(size);
    // Records a call.
    let per_call = ((128usize << 10) / size).clamp(1, 100) as u64;
    group.bench_function(BenchmarkId::new(format!("one thread ahead, {per_call} a call"), "1 logs"), |bencher| {
        bencher.iter_custom(|appends| {
            fresh(&within, durability, 1, |logs| {
                let calls = appends.div_ceil(per_call);
                let took = work::stream(&logs[0], &records, per_call as usize, calls)?;
                Ok(took.mul_f64(appends as f64 / (calls * per_call) as f64))
            })
            .expect("an append failed")
        });
    });
    let scratch = support::scratch(&within)?;
    match durability {
        Durability::Buffered => {
            group.bench_function("limit: copy, checksum, page cache", |bencher| {
                bencher.iter_custom(|n| floor::append(scratch.path(), &records, n).expect("the floor failed"));
            });
        }
        Durability::Durable => {
            let mut bare = floor::PreWritten::new(scratch.path(), sized(64 << 20, 1 << 20))?;
            let block = floor::block_of(size.next_multiple_of(4096));
            group.bench_function("limit: bare durable write", |bencher| {
                bencher.iter(|| bare.write(&block).expect("the floor failed"));
            });
            let (piece, depth) = bare.best_pipeline(sized(32 << 20, 1 << 20))?;
            group.bench_function(format!("limit: {} KiB x {depth} in flight", piece >> 10), |bencher| {
                bencher.iter_custom(|n| {
                    let total = (n * size as u64).max(sized(64 << 20, 1 << 20));
                    let rate = bare.pipeline(piece, depth, total).expect("the floor failed");
                    Duration::from_secs_f64((n * size as u64) as f64 / rate)
                });
            });
        }
    }
    group.finish();
    Ok(())
}

/// Runs `measure` on new logs of a new store.
fn fresh(
    within: &Path,
    durability: Durability,
    count: usize,
    measure: impl FnOnce(&[Log]) -> Result<Duration>,
) -> Result<Duration> {
    let dir = support::scratch(within)?;
    let store = Store::open(dir.path())?;
    let logs = work::create(&store, count, &support::log_options(durability))?;
    // The first append of a log opens its files.
    let first: Vec<_> = logs.iter().map(|log| log.append_ticket("first")).collect::<braidlog::Result<_>>()?;
    first.into_iter().try_for_each(|ticket| ticket.wait().map(drop))?;
    support::rest(within)?;
    measure(&logs)
}
