//! Time as the store sees it.

use std::time::Duration;

/// Wall and monotonic time.
///
/// The engine stamps records with the larger of its last stamp and the wall clock, and takes a destructive step only
/// when wall and monotonic time agree on how long it has been since the last one.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970-01-01 UTC, as the wall clock has it. May jump in either direction.
    fn wall_ms(&self) -> u64;
    /// Time since an arbitrary start that never goes back, in milliseconds. It goes on while the machine sleeps: otherwise the
    /// wall clock would seem to have jumped.
    fn monotonic_ms(&self) -> u64;
}

/// The system's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    /// On the clock of [`since_boot`].
    started: Duration,
}

impl SystemClock {
    /// A clock whose monotonic side starts now.
    pub fn new() -> Self {
        SystemClock { started: since_boot() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall_ms(&self) -> u64 {
        wall_ms()
    }

    fn monotonic_ms(&self) -> u64 {
        since_boot().saturating_sub(self.started).as_millis() as u64
    }
}

/// The coarse clock moves with the kernel's tick (1 to 4 ms) and costs a fifth of the precise one; a record's arrival time is
/// stated to a millisecond and never promised to be better than the tick.
#[cfg(target_os = "linux")]
fn wall_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    (now.tv_sec.max(0) as u64).saturating_mul(1000).saturating_add(now.tv_nsec as u64 / 1_000_000)
}

/// A clock that nobody sets and that goes on while the machine sleeps. [`std::time::Instant`] stands still then.
#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.max(0) as u64, now.tv_nsec as u32)
}

/// A clock that nobody sets. On Apple's systems it stands still while the machine sleeps.
#[cfg(not(target_os = "linux"))]
fn since_boot() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

#[cfg(not(target_os = "linux"))]
fn wall_ms() -> u64 {
    use std::time::{SystemTime, UNIX_EPOCH};
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn time_asleep_counts() {
        // What tells the two apart is how long this machine has slept since it started: nothing can make it sleep here.
        let boot = || rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec as u64;
        let before = boot();
        let now = since_boot().as_secs();
        assert!((before..=boot()).contains(&now));
    }
}
