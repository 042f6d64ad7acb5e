//! A clock one winds, and a generator with a seed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::super::{Clock, Random};
use super::tape::SplitMix64;

/// Time that passes only when told to. Wall and monotonic time move together or apart.
#[derive(Debug)]
pub struct ManualClock {
    wall: AtomicU64,
    monotonic: AtomicU64,
}

impl ManualClock {
    /// Where a new clock's wall time starts: 2025-01-01 UTC, in milliseconds.
    pub const START_MS: u64 = 1_735_689_600_000;

    /// A clock at [`START_MS`](ManualClock::START_MS), with monotonic time 0.
    pub fn new() -> Self {
        ManualClock::at(Self::START_MS)
    }

    /// A clock at the given wall time, with monotonic time 0.
    pub fn at(wall_ms: u64) -> Self {
        ManualClock { wall: AtomicU64::new(wall_ms), monotonic: AtomicU64::new(0) }
    }

    /// Lets time pass: both sides move.
    pub fn advance(&self, by: Duration) {
        self.advance_wall(by);
        self.advance_monotonic(by);
    }

    /// Moves the wall clock alone, forward.
    pub fn advance_wall(&self, by: Duration) {
        self.wall.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }

    /// Moves the monotonic clock alone.
    pub fn advance_monotonic(&self, by: Duration) {
        self.monotonic.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }

    /// Sets the wall clock, also backwards.
    pub fn set_wall_ms(&self, ms: u64) {
        self.wall.store(ms, Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> u64 {
        self.wall.load(Ordering::SeqCst)
    }

    fn monotonic_ms(&self) -> u64 {
        self.monotonic.load(Ordering::SeqCst)
    }
}

/// Random numbers that repeat with their seed.
#[derive(Debug)]
pub struct SeededRandom {
    state: Mutex<SplitMix64>,
}

impl SeededRandom {
    /// A generator; every seed is good.
    pub fn new(seed: u64) -> Self {
        SeededRandom { state: Mutex::new(SplitMix64(seed)) }
    }
}

impl Random for SeededRandom {
    fn next_u64(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_only_when_told_to() {
        let clock = ManualClock::at(1000);
        clock.advance(Duration::from_secs(2));
        assert_eq!((clock.wall_ms(), clock.monotonic_ms()), (3000, 2000));
        clock.set_wall_ms(5);
        clock.advance_monotonic(Duration::from_millis(1));
        clock.advance_wall(Duration::from_millis(7));
        assert_eq!((clock.wall_ms(), clock.monotonic_ms()), (12, 2001));
    }

    #[test]
    fn one_seed_is_one_sequence() {
        let draw = |seed| {
            let random = SeededRandom::new(seed);
            [random.next_u64(), random.next_u64()]
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_ne!(draw(1)[0], draw(1)[1]);
    }
}
