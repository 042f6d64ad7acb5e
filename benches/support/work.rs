//! The workloads: who appends how, and who reads how.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use braidlog::{Log, LogOptions, RecordParts, StartAt, Store, Ticket};

use super::Result;
use super::floor;

/// Payloads of noise, in rotation.
pub fn records(bytes: usize) -> Vec<Vec<u8>> {
    let mut noise = 0x9e37_79b9_7f4a_7c15u64;
    let mut byte = || {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        noise as u8
    };
    (0..64).map(|_| (0..bytes).map(|_| byte()).collect()).collect()
}

/// Creates logs by many callers at once, which share syncs.
pub fn create(store: &Store, count: usize, options: &LogOptions) -> Result<Vec<Log>> {
    let next = AtomicU64::new(0);
    let mut logs = std::thread::scope(|scope| {
        let one = || -> Result<Vec<(u64, Log)>> {
            let mut made = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count as u64 {
                    return Ok(made);
                }
                made.push((number, store.create_log(&format!("log-{number:06}"), options.clone())?));
            }
        };
        let threads: Vec<_> = (0..count.clamp(1, 64)).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a creator panicked")?).collect::<Result<Vec<_>>>()
    })?
    .concat();
    logs.sort_by_key(|(number, _)| *number);
    Ok(logs.into_iter().map(|(_, log)| log).collect())
}

/// How many bytes [`stream`] may be ahead of the acknowledgements: half of the memory a store has for appends.
const AHEAD_BYTES: usize = 32 << 20;

/// One thread appends `calls` times `per_call` records, ahead of the acknowledgements by a bounded number of tickets. The
/// time includes the last acknowledgement.
pub fn stream(log: &Log, records: &[Vec<u8>], per_call: usize, calls: u64) -> Result<Duration> {
    let outstanding = (AHEAD_BYTES / (records[0].len() * per_call)).clamp(2, 16 << 10);
    let mut tickets: VecDeque<Ticket> = VecDeque::with_capacity(outstanding);
    let batch: Vec<RecordParts<'_>> = records.iter().cycle().take(per_call).map(RecordParts::from).collect();
    let start = Instant::now();
    for call in 0..calls {
        if tickets.len() == outstanding
            && let Some(oldest) = tickets.pop_front()
        {
            oldest.wait()?;
        }
        tickets.push_back(match per_call {
            1 => log.append_ticket(&records[call as usize % records.len()][..])?,
            _ => log.append_batch_ticket(&batch)?,
        });
    }
    tickets.into_iter().try_for_each(|ticket| ticket.wait().map(drop))?;
    Ok(start.elapsed())
}

/// Fills a log with `bytes` of payload.
pub fn fill(log: &Log, record_bytes: usize, bytes: u64) -> Result<u64> {
    let per_call = (64usize << 10).div_ceil(record_bytes).clamp(1, 100);
    let calls = bytes.div_ceil((per_call * record_bytes) as u64).max(1);
    stream(log, &records(record_bytes), per_call, calls)?;
    Ok(calls * per_call as u64)
}

/// Who calls.
#[derive(Debug, Clone, Copy)]
pub enum Callers {
    /// One thread, which waits for each append.
    One,
    /// So many threads, each of which waits for each of its appends.
    Parked(usize),
    /// `held` tickets in all, by `threads` threads.
    Tickets { threads: usize, held: usize },
}

impl Callers {
    fn shape(self) -> (usize, usize) {
        match self {
            Callers::One => (1, 1),
            Callers::Parked(threads) => (threads, 1),
            Callers::Tickets { threads, held } => (threads, held / threads),
        }
    }
}

impl std::fmt::Display for Callers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Callers::One => f.write_str("one caller"),
            Callers::Parked(threads) => write!(f, "{threads} parked threads"),
            Callers::Tickets { threads, held } => write!(f, "{held} tickets on {threads} threads"),
        }
    }
}

/// When a drive ends: at the first of the two.
#[derive(Debug, Clone, Copy)]
pub struct Until {
    /// So many appends in all.
    pub appends: u64,
    /// So long.
    pub time: Duration,
}

impl Until {
    /// By number only.
    pub fn appends(appends: u64) -> Until {
        Until { appends, time: Duration::MAX }
    }

    /// By time only.
    pub fn time(time: Duration) -> Until {
        Until { appends: u64::MAX, time }
    }
}

/// What a drive came to.
pub struct Driven {
    /// From the start to the last acknowledgement.
    pub took: Duration,
    /// From each call to its acknowledgement, in microseconds.
    pub latencies: Vec<f64>,
}

impl Driven {
    /// Appends a second.
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }
}

/// Appends `record` again and again, each caller to the logs that are its share, in turn.
pub fn drive(logs: &[Log], callers: Callers, record: &[u8], until: Until) -> Result<Driven> {
    let (threads, held) = callers.shape();
    let ready = Barrier::new(threads);
    let one = |thread: usize| -> Result<(Instant, Instant, Vec<f64>)> {
        let appends = until.appends / threads as u64 + u64::from((thread as u64) < until.appends % threads as u64);
        let mut latencies = Vec::with_capacity(appends.min(1 << 20) as usize);
        let mut tickets: VecDeque<(Instant, Ticket)> = VecDeque::with_capacity(held);
        let mut at = thread;
        ready.wait();
        let start = Instant::now();
        let mut now = start;
        let mut made = 0;
        loop {
            let more = made < appends && now - start < until.time;
            if more {
                let log = &logs[at % logs.len()];
                at += threads;
                made += 1;
                tickets.push_back((now, log.append_ticket(record)?));
            }
            if (tickets.len() == held || !more)
                && let Some((called, oldest)) = tickets.pop_front()
            {
                oldest.wait()?;
                let end = Instant::now();
                latencies.push((end - called).as_secs_f64() * 1e6);
                now = end;
            } else if more {
                now = Instant::now();
            } else {
                return Ok((start, now, latencies));
            }
        }
    };
    let parts = if threads == 1 {
        vec![one(0)?]
    } else {
        std::thread::scope(|scope| {
            let one = &one;
            let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || one(thread))).collect();
            threads.into_iter().map(|thread| thread.join().map_err(|_| "a caller panicked")?).collect::<Result<_>>()
        })?
    };
    let start = parts.iter().map(|part: &(Instant, Instant, Vec<f64>)| part.0).min();
    let end = parts.iter().map(|part| part.1).max();
    let took = start.zip(end).map_or(Duration::ZERO, |(start, end)| end - start);
    Ok(Driven { took, latencies: parts.into_iter().flat_map(|part| part.2).collect() })
}

/// How a log is read.
#[derive(Debug, Clone, Copy)]
pub enum Scan {
    /// Batch by batch, every record looked at, its bytes left alone.
    Walk,
    /// Batch by batch, every byte of every record summed.
    Sum,
    /// Records of their own, each of which pins its memory; every byte summed.
    OwnedSum,
}

/// Reads a log from end to end; answers with the time and the number of records.
pub fn scan(log: &Log, how: Scan) -> Result<(Duration, u64)> {
    let start = Instant::now();
    let mut reader = log.read(StartAt::TrimHorizon)?;
    let (mut records, mut total) = (0u64, 0u64);
    match how {
        Scan::Walk => {
            while let Some(batch) = reader.next_batch()? {
                for record in batch.iter() {
                    records += 1;
                    total = total.wrapping_add(record.data.len() as u64);
                }
            }
        }
        Scan::Sum => {
            while let Some(batch) = reader.next_batch()? {
                for record in batch.iter() {
                    records += 1;
                    total = total.wrapping_add(floor::sum(record.data));
                }
            }
        }
        Scan::OwnedSum => {
            for record in reader {
                records += 1;
                total = total.wrapping_add(floor::sum(&record?.data));
            }
        }
    }
    black_box(total);
    Ok((start.elapsed(), records))
}

/// Random numbers of a log, each with the time its record arrived.
pub fn places(log: &Log, count: usize) -> Result<Vec<(u64, std::time::SystemTime)>> {
    let (horizon, end) = (log.horizon()?, log.end());
    let mut noise = 0x2545_f491_4f6c_dd1du64;
    let mut reader = log.read(StartAt::TrimHorizon)?;
    let mut places = Vec::with_capacity(count);
    for _ in 0..count {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        let number = horizon + noise % (end - horizon);
        reader.seek(StartAt::Sequence(number))?;
        let record = reader.next().ok_or("a record within the log is not there")??;
        places.push((number, record.arrival()));
    }
    Ok(places)
}

/// Goes to each place and takes the record there; nanoseconds a seek.
pub fn seek(log: &Log, starts: &[StartAt]) -> Result<f64> {
    let mut reader = log.read(StartAt::TrimHorizon)?;
    let mut total = 0u64;
    let start = Instant::now();
    for &place in starts {
        reader.seek(place)?;
        let record = reader.next().ok_or("a record within the log is not there")??;
        total = total.wrapping_add(record.sequence_number);
    }
    let took = start.elapsed();
    black_box(total);
    Ok(took.as_nanos() as f64 / starts.len() as f64)
}
