//! Time as the store sees it.

use std::time::Instant;

/// Wall and monotonic time.
///
/// The engine stamps records with the larger of its last stamp and the wall clock, and takes a destructive step only
/// when wall and monotonic time agree on how long it has been since the last one.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970-01-01 UTC, as the wall clock has it. May jump in either direction.
    fn wall_ms(&self) -> u64;
    /// Time since an arbitrary start that never goes back, in milliseconds.
    fn monotonic_ms(&self) -> u64;
}

/// The system's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic side starts now.
    pub fn new() -> Self {
        SystemClock { started: Instant::now() }
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
        self.started.elapsed().as_millis() as u64
    }
}

/// The coarse clock moves with the kernel's tick (1 to 4 ms) and costs a fifth of the precise one; a record's arrival time is
/// stated to a millisecond and never promised to be better than the tick.
#[cfg(target_os = "linux")]
fn wall_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    (now.tv_sec.max(0) as u64).saturating_mul(1000).saturating_add(now.tv_nsec as u64 / 1_000_000)
}

#[cfg(not(target_os = "linux"))]
fn wall_ms() -> u64 {
    use std::time::{SystemTime, UNIX_EPOCH};
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
