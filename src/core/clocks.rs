//! How far the wall clock is believed.
//!
//! Records expire by the wall clock, and a wrong one must not empty a store. So it is held against the monotonic clock, which
//! nobody sets: after a jump nothing expires until both agree again, or the owner accepts the jump
//! ([`Store::accept_clock`](crate::Store::accept_clock)).

/// They agree if they drifted apart by no more than this since they last did.
const TOLERANCE_MS: u64 = 60_000;

/// Both clocks at one instant, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instants {
    pub(crate) wall: u64,
    pub(crate) monotonic: u64,
}

impl Instants {
    /// What the wall clock should say by now.
    fn expected_wall(self, monotonic: u64) -> u64 {
        self.wall.saturating_add(monotonic.saturating_sub(self.monotonic))
    }

    fn agrees(self, now: Instants) -> bool {
        now.wall.abs_diff(self.expected_wall(now.monotonic)) <= TOLERANCE_MS
    }
}

/// When they last agreed.
#[derive(Debug)]
pub(crate) struct Clocks(Instants);

impl Clocks {
    /// From here on: at the start there is nothing to compare the wall clock with.
    pub(crate) fn new(now: Instants) -> Clocks {
        Clocks(now)
    }

    /// Whether the wall clock can be believed now.
    pub(crate) fn compare(&mut self, now: Instants) -> bool {
        let agrees = self.0.agrees(now);
        if agrees {
            self.0 = now;
        }
        agrees
    }

    /// The wall clock if it can be believed, otherwise what the monotonic one makes of the last time it could.
    pub(crate) fn now_ms(&self, now: Instants) -> u64 {
        if self.0.agrees(now) { now.wall } else { self.0.expected_wall(now.monotonic) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000_000;
    const YEAR: u64 = 365 * 24 * 60 * 60 * 1000;

    fn at(wall: u64, monotonic: u64) -> Instants {
        Instants { wall: START + wall, monotonic }
    }

    #[test]
    fn small_differences_never_add_up_to_a_jump() {
        let mut clocks = Clocks::new(at(0, 0));
        // A wall clock that is a tenth too fast, looked at every five minutes for a day.
        for n in 1..288 {
            let now = at(n * 330_000, n * 300_000);
            assert!(clocks.compare(now));
            assert_eq!(clocks.now_ms(now), now.wall);
        }
    }

    #[test]
    fn a_jump_is_not_believed_however_long_it_lasts_and_one_taken_back_is_forgotten() {
        for jump in [YEAR as i64, -(YEAR as i64), 61_000, -61_000] {
            let mut clocks = Clocks::new(at(0, 0));
            for hour in 1..=1000 {
                let monotonic = hour * 3_600_000;
                let now = Instants { wall: (START + monotonic).saturating_add_signed(jump), monotonic };
                assert!(!clocks.compare(now), "{jump} ms, hour {hour}");
                assert_eq!(clocks.now_ms(now), START + monotonic, "time goes on as before");
            }
            let now = at(1001 * 3_600_000, 1001 * 3_600_000);
            assert!(clocks.compare(now));
            assert_eq!(clocks.now_ms(now), now.wall);
        }
    }

    #[test]
    fn no_time_is_one_too_many() {
        let mut clocks = Clocks::new(Instants { wall: u64::MAX, monotonic: 0 });
        for now in
            [at(0, u64::MAX), Instants { wall: 0, monotonic: 0 }, Instants { wall: u64::MAX, monotonic: u64::MAX }]
        {
            clocks.compare(now);
            clocks.now_ms(now);
        }
    }
}
