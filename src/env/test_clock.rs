//! A clock that a test of somebody else's program reads, sets and advances while the engine runs.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Clock, SystemClock};

/// The system's clocks, moved or stopped on purpose: for tests of programs that use the server.
///
/// Time goes on by itself from wherever it was moved to, until it is frozen. Wall and monotonic time move forward together, so
/// that retention believes the clock; set back, the wall clock goes alone, and [`crate::Store::accept_clock`] makes retention
/// take it. Stamps of records never go back, whatever the clock does.
///
/// ```
/// use std::time::Duration;
/// use braidlog::env::{Clock, TestClock};
/// let clock = TestClock::new();
/// clock.freeze();
/// clock.set_wall_ms(1_800_000_000_000);
/// clock.advance(Duration::from_secs(86_400));
/// assert_eq!(clock.wall_ms(), 1_800_086_400_000);
/// ```
#[derive(Debug)]
pub struct TestClock {
    system: SystemClock,
    moved: Mutex<Moved>,
}

/// How far this clock is from the system's.
#[derive(Debug, Clone, Copy, Default)]
struct Moved {
    wall_ms: i64,
    monotonic_ms: u64,
    /// Wall and monotonic time at which it stands.
    frozen: Option<(u64, u64)>,
}

impl TestClock {
    /// A clock that agrees with the system's until it is moved.
    pub fn new() -> TestClock {
        TestClock { system: SystemClock::new(), moved: Mutex::default() }
    }

    /// Lets this much time pass at once.
    pub fn advance(&self, by: Duration) {
        let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.change(|now| now.saturating_add_signed(by_ms));
    }

    /// Sets the wall clock, in milliseconds since 1970-01-01 UTC. Forward, that is [`advance`](TestClock::advance).
    pub fn set_wall_ms(&self, ms: u64) {
        self.change(|_| ms);
    }

    /// Stops time: from now on it passes only when told to.
    pub fn freeze(&self) {
        let mut moved = self.moved();
        let now = self.now(&moved);
        moved.frozen = Some(now);
    }

    /// Time goes on from where it stands.
    pub fn thaw(&self) {
        let mut moved = self.moved();
        let Some((wall, monotonic)) = moved.frozen.take() else { return };
        moved.wall_ms = difference(wall, self.system.wall_ms());
        moved.monotonic_ms = monotonic.saturating_sub(self.system.monotonic_ms());
    }

    /// Whether it stands.
    pub fn is_frozen(&self) -> bool {
        self.moved().frozen.is_some()
    }

    fn change(&self, to: impl FnOnce(u64) -> u64) {
        let mut moved = self.moved();
        let (wall, monotonic) = self.now(&moved);
        // Milliseconds up to the year 292 million; beyond, sums with it would overflow elsewhere.
        let wanted = to(wall).min(i64::MAX as u64 / 4);
        let forward = wanted.saturating_sub(wall);
        match &mut moved.frozen {
            Some(stands) => *stands = (wanted, monotonic.saturating_add(forward)),
            None => {
                moved.wall_ms = moved.wall_ms.saturating_add(difference(wanted, wall));
                moved.monotonic_ms = moved.monotonic_ms.saturating_add(forward);
            }
        }
    }

    fn now(&self, moved: &Moved) -> (u64, u64) {
        moved.frozen.unwrap_or_else(|| {
            let wall = self.system.wall_ms().saturating_add_signed(moved.wall_ms);
            (wall, self.system.monotonic_ms().saturating_add(moved.monotonic_ms))
        })
    }

    fn moved(&self) -> std::sync::MutexGuard<'_, Moved> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn difference(a: u64, b: u64) -> i64 {
    i64::try_from(i128::from(a) - i128::from(b)).unwrap_or(i64::MAX)
}

impl Default for TestClock {
    fn default() -> Self {
        TestClock::new()
    }
}

impl Clock for TestClock {
    fn wall_ms(&self) -> u64 {
        self.now(&self.moved()).0
    }

    fn monotonic_ms(&self) -> u64 {
        self.now(&self.moved()).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frozen_time_passes_only_when_told_to() {
        let clock = TestClock::new();
        clock.freeze();
        let (wall, monotonic) = (clock.wall_ms(), clock.monotonic_ms());
        clock.advance(Duration::from_secs(60));
        assert_eq!((clock.wall_ms(), clock.monotonic_ms()), (wall + 60_000, monotonic + 60_000));
    }

    #[test]
    fn monotonic_time_goes_forward_with_the_wall_clock_and_never_back() {
        let clock = TestClock::new();
        clock.freeze();
        let (wall, monotonic) = (clock.wall_ms(), clock.monotonic_ms());
        clock.set_wall_ms(wall + 5);
        assert_eq!(clock.monotonic_ms(), monotonic + 5);
        clock.set_wall_ms(7);
        assert_eq!((clock.wall_ms(), clock.monotonic_ms()), (7, monotonic + 5));
    }

    #[test]
    fn thawed_time_goes_on_from_where_it_stood() {
        let clock = TestClock::new();
        clock.freeze();
        clock.set_wall_ms(4_000_000_000_000);
        let monotonic = clock.monotonic_ms();
        clock.thaw();
        assert!(!clock.is_frozen());
        assert!(clock.wall_ms() >= 4_000_000_000_000 && clock.monotonic_ms() >= monotonic);
    }

    #[test]
    fn the_farthest_future_is_no_overflow() {
        let clock = TestClock::new();
        clock.set_wall_ms(u64::MAX);
        clock.advance(Duration::MAX);
        assert!(clock.wall_ms() >= i64::MAX as u64 / 4 && clock.wall_ms() < u64::MAX / 2);
    }
}
