//! The timed loops. Opening and warming up are outside the clock.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::peers::Peer;
use crate::records::{Records, Tally};
use crate::workload::{BATCH, WRITERS, Workload};

/// Calls between two looks at the clock, which would otherwise cost as much as a fast append.
const CALLS_PER_LOOK: usize = 64;
/// Records of one durable group when a log is filled for a scan and can only be filled durably.
const FILL_GROUP: usize = 1000;

/// When a repetition ends, and how long a log the scan reads.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Length of an append workload.
    pub seconds: f64,
    /// Bytes after which an append workload ends early.
    pub bytes_max: u64,
    /// Records in the log that is scanned.
    pub scan_records: u64,
}

/// What one repetition of one workload came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// Records inside the clock.
    pub records: u64,
    /// Time inside the clock.
    pub seconds: f64,
    /// Latency of single calls, where the workload asks for it.
    pub latency: Option<Latency>,
}

/// Latency of single calls.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// Half of the calls took no longer than this.
    pub p50_micros: f64,
    /// 99 of 100 calls took no longer than this.
    pub p99_micros: f64,
}

/// A run of appends: its figures, and how many records each writer had acknowledged in all,
/// warm-up included.
pub struct Appended {
    pub figures: Figures,
    pub by_writer: Vec<u64>,
}

/// Runs an append workload on a freshly opened log.
pub fn append<P: Peer>(peer: &P, workload: Workload, record_bytes: usize, limits: Limits) -> Result<Appended> {
    let one_writer = |call: &mut Call<'_>, per_call| repeat(call, per_call, record_bytes, limits);
    match workload {
        Workload::Append => one_writer(&mut |records| peer.append(records.one()), 1),
        Workload::AppendBatch => one_writer(&mut |records| peer.append_batch(&records.many(BATCH)), BATCH),
        Workload::Sync100 => one_writer(&mut |records| peer.append_then_sync(0, &records.many(100)), 100),
        Workload::Sync1000 => one_writer(&mut |records| peer.append_then_sync(0, &records.many(1000)), 1000),
        Workload::SyncEach => durable_writers(peer, 1, record_bytes, limits),
        Workload::SyncEach64 => durable_writers(peer, WRITERS, record_bytes, limits),
        Workload::Scan => fill(peer, record_bytes, limits),
    }
}

/// One call of a workload with one thread.
type Call<'a> = dyn FnMut(&mut Records) -> Result<()> + 'a;

/// Repeats `call`, which appends `per_call` records, until a limit is reached.
fn repeat(call: &mut Call<'_>, per_call: usize, record_bytes: usize, limits: Limits) -> Result<Appended> {
    let mut records = Records::new(0, record_bytes);
    let calls_per_look = (CALLS_PER_LOOK / per_call).max(1);
    // Warm: the first file is allocated and the code has been touched.
    let warm_calls = calls_per_look as u64;
    for _ in 0..warm_calls {
        call(&mut records)?;
    }

    let calls_max = limits.bytes_max / (per_call * record_bytes) as u64;
    let mut calls = 0;
    let start = Instant::now();
    let mut elapsed = Duration::ZERO;
    while elapsed.as_secs_f64() < limits.seconds && calls < calls_max.max(1) {
        for _ in 0..calls_per_look {
            call(&mut records)?;
        }
        calls += calls_per_look as u64;
        elapsed = start.elapsed();
    }
    Ok(Appended {
        figures: Figures { records: calls * per_call as u64, seconds: elapsed.as_secs_f64(), latency: None },
        by_writer: vec![(warm_calls + calls) * per_call as u64],
    })
}

/// Runs `writers` threads, each of which waits for every record of its own to be durable.
fn durable_writers<P: Peer>(peer: &P, writers: usize, record_bytes: usize, limits: Limits) -> Result<Appended> {
    let ready = Barrier::new(writers);
    let calls_max = limits.bytes_max / (writers * record_bytes) as u64;
    let write = |writer: usize| -> Result<(Instant, Instant, Vec<Duration>)> {
        let mut records = Records::new(writer as u16, record_bytes);
        let warm = peer.append_then_sync(writer, &[records.one()]);
        // Past the barrier also after a failure: the others wait for all.
        ready.wait();
        warm?;
        let mut took = Vec::new();
        let start = Instant::now();
        let mut now = start;
        while (now - start).as_secs_f64() < limits.seconds && (took.len() as u64) < calls_max.max(1) {
            peer.append_then_sync(writer, &[records.one()])?;
            let end = Instant::now();
            took.push(end - now);
            now = end;
        }
        Ok((start, now, took))
    };
    let by_writer = std::thread::scope(|scope| {
        let write = &write;
        let threads: Vec<_> = (0..writers).map(|writer| scope.spawn(move || write(writer))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a writer panicked")?).collect::<Result<Vec<_>>>()
    })?;

    let first = by_writer.iter().map(|(start, ..)| *start).min();
    let last = by_writer.iter().map(|(_, end, _)| *end).max();
    let elapsed = first.zip(last).map_or(Duration::ZERO, |(first, last)| last - first);
    let counts: Vec<u64> = by_writer.iter().map(|(.., took)| took.len() as u64).collect();
    let took = by_writer.into_iter().flat_map(|(.., took)| took).collect();
    Ok(Appended {
        figures: Figures {
            records: counts.iter().sum(),
            seconds: elapsed.as_secs_f64(),
            latency: Some(Latency::of(took)),
        },
        by_writer: counts.into_iter().map(|count| count + 1).collect(),
    })
}

/// Writes the log that a scan will read, in batches where the engine has unsynced ones.
fn fill<P: Peer>(peer: &P, record_bytes: usize, limits: Limits) -> Result<Appended> {
    let mut records = Records::new(0, record_bytes);
    let start = Instant::now();
    let mut left = limits.scan_records;
    while left > 0 {
        let take = |at_most: usize| usize::try_from(left).map_or(at_most, |left| left.min(at_most));
        let taken = if P::cannot(Workload::AppendBatch).is_none() {
            let batch = records.many(take(BATCH));
            peer.append_batch(&batch)?;
            batch.len()
        } else {
            let group = records.many(take(FILL_GROUP));
            peer.append_then_sync(0, &group)?;
            group.len()
        };
        left -= taken as u64;
    }
    Ok(Appended {
        figures: Figures { records: limits.scan_records, seconds: start.elapsed().as_secs_f64(), latency: None },
        by_writer: vec![limits.scan_records],
    })
}

/// A reading of a whole log, with the clock in the hands of the engine's file: what it takes to
/// open a log is not part of a scan.
#[derive(Default)]
pub struct Scan {
    tally: Tally,
    took: Duration,
}

impl Scan {
    /// Times `read`, which is to add every record to the tally.
    pub fn time(&mut self, read: impl FnOnce(&mut Tally) -> Result<()>) -> Result<()> {
        let start = Instant::now();
        read(&mut self.tally)?;
        self.took = start.elapsed();
        Ok(())
    }

    /// What was read.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// How fast it was read.
    pub fn figures(&self) -> Figures {
        Figures { records: self.tally.records(), seconds: self.took.as_secs_f64(), latency: None }
    }
}

impl Latency {
    fn of(mut took: Vec<Duration>) -> Self {
        took.sort_unstable();
        // The smallest latency that `share` of the calls did not exceed.
        let at = |share: f64| {
            let rank = (took.len() as f64 * share).ceil() as usize;
            took.get(rank.saturating_sub(1)).map_or(0.0, |took| took.as_secs_f64() * 1e6)
        };
        Self { p50_micros: at(0.50), p99_micros: at(0.99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks_of_what_was_measured() {
        let latency = Latency::of((1..=200).rev().map(Duration::from_micros).collect());
        assert!((latency.p50_micros - 100.0).abs() < 1e-6);
        assert!((latency.p99_micros - 198.0).abs() < 1e-6);
    }
}
