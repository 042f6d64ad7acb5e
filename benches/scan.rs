//! Reading a log from end to end, from the page cache: batches and owned records, verified before and for the first time;
//! beside a sum over the same bytes in a bare map.

mod support;

use std::time::Duration;

use braidlog::{Durability, Store};
use criterion::{Criterion, Throughput};

use support::work::{self, Scan};
use support::{Result, floor, sized};

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for size in [100, 1 << 10, 64 << 10] {
        group(&mut criterion, size).expect("a scan failed");
    }
    criterion.final_summary();
}

fn group(criterion: &mut Criterion, size: usize) -> Result<()> {
    let dir = support::scratch(&support::directory())?;
    let store = Store::open(dir.path())?;
    let log = store.create_log("log", support::log_options(Durability::Buffered))?;
    let records = work::fill(&log, size, sized(256 << 20, 256 << 10))?;
    drop(log);
    store.close()?;
    let files = support::segment_files(dir.path(), "seg")?;

    let mut group = criterion.benchmark_group(format!("scan/{size}B"));
    group.throughput(Throughput::Bytes(records * size as u64));
    let store = Store::open(dir.path())?;
    let log = store.log("log")?;
    for how in [Scan::Walk, Scan::Sum, Scan::OwnedSum] {
        group.bench_function(format!("verified before/{how:?}"), |bencher| {
            bencher.iter(|| assert_eq!(work::scan(&log, how).expect("a scan failed").1, records));
        });
    }
    drop(log);
    store.close()?;
    group.bench_function("first, verifying/Sum", |bencher| {
        bencher.iter_custom(|times| {
            let once = || -> Result<Duration> {
                let store = Store::open(dir.path())?;
                let took = work::scan(&store.log("log")?, Scan::Sum)?.0;
                store.close()?;
                Ok(took)
            };
            (0..times).map(|_| once().expect("a scan failed")).sum()
        });
    });
    let map = floor::Mapped::new(&files)?;
    group.bench_function("limit: mapped sum", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| map.sum()).sum());
    });
    group.bench_function("limit: mapped sum, mapped anew", |bencher| {
        bencher
            .iter_custom(|times| (0..times).map(|_| floor::Mapped::new(&files).expect("the floor failed").sum()).sum());
    });
    group.finish();
    Ok(())
}
