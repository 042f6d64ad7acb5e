//! What the crash tests share: an oracle that knows nothing of the engine's inside, and a runner that drives a store by hand
//! and tells the oracle what was answered.

// Each test binary uses its own part; helpers of tests are tests, too.
#![allow(dead_code, clippy::unwrap_used)]

pub mod crashes;
pub mod exhaustive;
pub mod hunts;
pub mod nth;
pub mod oracle;
pub mod over;
pub mod plan;
pub mod rot;
pub mod runner;

use std::sync::Arc;
use std::time::{Duration, Instant};

use braidlog::env::Env;
use braidlog::env::sim::{ManualClock, SeededRandom, SimDisk};
use braidlog::{Durability, LogOptions, ReadMode, StoreOptions};

/// A violation of the contract, in words.
pub type Verdict<T = ()> = Result<T, String>;

/// Answers with a violation.
#[macro_export]
macro_rules! ensure {
    ($holds:expr, $($what:tt)*) => {
        if !$holds {
            return Err(format!($($what)*));
        }
    };
}

/// Does the same on two threads, which are told apart by a number.
pub fn two_lanes<T: Send>(lane: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let lane = &lane;
    std::thread::scope(|scope| {
        let lanes = [0, 1].map(|n| scope.spawn(move || lane(n)));
        lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
    })
}

/// A clock that starts where another one is.
pub fn same_time(clock: &ManualClock) -> Arc<ManualClock> {
    use braidlog::env::Clock;
    Arc::new(ManualClock::at(clock.wall_ms()))
}

pub fn env_of(disk: &SimDisk, clock: &Arc<ManualClock>) -> Env {
    Env { disk: Arc::new(disk.clone()), clock: clock.clone(), random: Arc::new(SeededRandom::new(7)) }
}

/// Everything as small as it may be, so that short histories reach every corner.
pub fn small(mode: ReadMode) -> StoreOptions {
    StoreOptions::new()
        .journal_file_bytes(64 << 10)
        .journal_files_max(4)
        .bulk_bytes(4096)
        .memory_bytes(128 << 10)
        .open_files_max(16)
        .retention_interval(Duration::from_secs(1))
        .read_mode(mode)
}

/// The same, with a checkpoint that puts logs together into packs however few they are.
pub fn packing(mode: ReadMode) -> StoreOptions {
    small(mode).pack_from(0)
}

/// The logs of every history: two durable ones, one that forgets after a minute, and a buffered one.
pub const NAMES: [&str; 4] = ["alpha", "bravo", "aging", "buffered"];
pub const AGE_MS: u64 = 60_000;

pub fn log_options(name: &str) -> LogOptions {
    let options = LogOptions::new().segment_bytes_max(16 << 10);
    match name {
        "aging" => options.retention_age(Some(Duration::from_millis(AGE_MS))),
        "buffered" => options.durability(Durability::Buffered),
        _ => options,
    }
}

/// The seconds that `BRAIDLOG_CRASH_SECONDS` gives the crash run: `tests/crash.rs` and `tests/sim.rs` together.
pub fn crash_seconds() -> Option<f64> {
    std::env::var("BRAIDLOG_CRASH_SECONDS").ok()?.parse().ok()
}

/// When a share of them is over; of 60 s unless they are given.
pub fn budget(share: f64) -> Instant {
    Instant::now() + Duration::from_secs_f64(crash_seconds().unwrap_or(60.0) * share)
}

/// The words of a record's bytes: they tell which record it is, and no two records share one.
fn next_word(word: u64, tag: u64) -> u64 {
    word.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(tag | 1)
}

pub fn payload(tag: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let mut word = tag;
    for chunk in out.chunks_mut(8) {
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        word = next_word(word, tag);
    }
    out
}

/// Whether these are the bytes of [`payload`]. Word by word: half of a crash run's time went here as a comparison of slices.
pub fn is_payload(bytes: &[u8], tag: u64, len: usize) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut word = tag;
    let mut differs = 0;
    for found in words {
        differs |= u64::from_le_bytes(*found) ^ word;
        word = next_word(word, tag);
    }
    bytes.len() == len && differs == 0 && rest == &word.to_le_bytes()[..rest.len()]
}

pub fn key(tag: u64) -> Option<Vec<u8>> {
    tag.is_multiple_of(3).then(|| format!("key {tag}").into_bytes())
}

pub fn attributes(tag: u64) -> Option<Vec<u8>> {
    tag.is_multiple_of(5).then(|| vec![tag as u8; 9])
}
