//! Going to random places of a log, by number and by time, until the record is in hand; beside a look-up in a sorted array
//! of as many entries as the index has.

mod support;

use std::time::Duration;

use braidlog::{Durability, StartAt, Store};
use criterion::Criterion;

use support::{Result, floor, sized, work};

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for size in [100, 1 << 10] {
        group(&mut criterion, size).expect("a seek failed");
    }
    criterion.final_summary();
}

fn group(criterion: &mut Criterion, size: usize) -> Result<()> {
    let bytes = sized(512 << 20, 512 << 10);
    let dir = support::scratch(&support::directory())?;
    let store = Store::open(dir.path())?;
    let log = store.create_log("log", support::log_options(Durability::Buffered))?;
    work::fill(&log, size, bytes)?;

    let mut group = criterion.benchmark_group(format!("seek/{size}B"));
    let places = work::places(&log, sized(2000, 20))?;
    let by_number: Vec<StartAt> = places.iter().map(|place| StartAt::Sequence(place.0)).collect();
    let by_time: Vec<StartAt> = places.iter().map(|place| StartAt::Time(place.1)).collect();
    for (name, starts) in [("by number", by_number), ("by time", by_time)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|seeks| {
                let starts: Vec<StartAt> = starts.iter().cycle().take(seeks as usize).copied().collect();
                let nanos = work::seek(&log, &starts).expect("a seek failed");
                Duration::from_secs_f64(nanos * seeks as f64 / 1e9)
            });
        });
    }
    let entries = (bytes / (32 << 10)) as usize;
    group.bench_function("limit: look-up in a sorted array", |bencher| {
        bencher
            .iter_custom(|looks| Duration::from_secs_f64(floor::look_up(entries, looks as usize) * looks as f64 / 1e9));
    });
    group.finish();
    Ok(())
}
