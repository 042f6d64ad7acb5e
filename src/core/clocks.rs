//! How far the wall clock is believed.
//!
//! Records expire by the wall clock, and a wrong one must not empty a store. So it is held against the monotonic clock, which
//! nobody sets: after a jump nothing expires until both agree again, or the owner accepts the jump
//! ([`Store::accept_clock`](crate::Store::accept_clock)).
//!
//! The monotonic clock knows nothing of the time while a store was closed. Where the wall clock says that this was long, it may be
//! one that a machine starts with until it has asked for the time: it is believed once nobody has set it for a while.

/// They agree if they drifted apart by no more than this since they last did.
const TOLERANCE_MS: u64 = 60_000;
/// A store that seems to have given out its last stamp longer ago than this has to be shown that the clock is right.
const LONG_MS: u64 = 24 * 60 * 60 * 1000;
/// For so long both clocks have to agree then. A machine that starts with a wrong clock sets it within seconds of having a network.
const PROOF_MS: u64 = 120_000;

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
pub(crate) struct Clocks {
    agreed: Instants,
    /// Otherwise nobody may set the wall clock for a while from there on.
    is_proven: bool,
}

impl Clocks {
    /// From here on: the wall clock is right.
    pub(crate) fn new(now: Instants) -> Clocks {
        Clocks { agreed: now, is_proven: true }
    }

    /// A store is opened that gave out its last stamp then.
    pub(crate) fn opened(now: Instants, last_stamp_ms: u64) -> Clocks {
        Clocks { agreed: now, is_proven: now.wall.saturating_sub(last_stamp_ms) <= LONG_MS }
    }

    /// Whether the wall clock can be believed now.
    pub(crate) fn compare(&mut self, now: Instants) -> bool {
        match (self.agreed.agrees(now), self.is_proven) {
            (false, true) => return false,
            // Set right, as far as anybody can tell.
            (false, false) => *self = Clocks { agreed: now, is_proven: false },
            (true, false) if now.monotonic.saturating_sub(self.agreed.monotonic) < PROOF_MS => {}
            (true, _) => *self = Clocks::new(now),
        }
        self.is_proven
    }

    /// The wall clock if it can be believed, otherwise what the monotonic one makes of the last time it could; while neither is
    /// proven the one by which less has expired.
    pub(crate) fn now_ms(&self, now: Instants) -> u64 {
        let expected = self.agreed.expected_wall(now.monotonic);
        match self.is_proven {
            _ if self.agreed.agrees(now) => now.wall,
            true => expected,
            false => now.wall.min(expected),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000_000;
    const DAY: u64 = 24 * 60 * 60 * 1000;
    const YEAR: u64 = 365 * DAY;

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
    fn a_clock_by_which_a_store_was_closed_for_long_has_to_agree_for_a_while() {
        let mut short = Clocks::opened(at(DAY, 0), START);
        assert!(short.compare(at(DAY, 0)), "a day is nothing to wonder at");
        // A year it seems, and nobody sets the clock: two minutes later that is what it was.
        let mut long = Clocks::opened(at(YEAR, 0), START);
        for (monotonic, believed) in [(0, false), (60_000, false), (119_999, false), (120_000, true), (120_001, true)] {
            assert_eq!(long.compare(at(YEAR + monotonic, monotonic)), believed, "after {monotonic} ms");
        }
        // It is set right after a minute: the time before it counts for nothing, and nobody takes the wrong one for the right one.
        let mut wrong = Clocks::opened(at(YEAR, 0), START);
        assert!(!wrong.compare(at(YEAR + 50_000, 50_000)));
        let right = at(3 * DAY, 60_000);
        assert_eq!(wrong.now_ms(right), right.wall, "less has expired by it");
        assert!(!wrong.compare(right));
        assert_eq!(
            wrong.now_ms(at(YEAR, 70_000)),
            START + 3 * DAY + 10_000,
            "and by that one less than by a jump ahead"
        );
        assert!(!wrong.compare(at(3 * DAY + 119_000, 179_000)));
        assert!(wrong.compare(at(3 * DAY + 120_000, 180_000)));
        // From here on a jump is one.
        assert!(!wrong.compare(at(YEAR, 181_000)));
        assert!(!wrong.compare(at(YEAR + YEAR, 181_000 + YEAR)));
    }

    #[test]
    fn no_time_is_one_too_many() {
        let mut clocks = Clocks::new(Instants { wall: u64::MAX, monotonic: 0 });
        for now in
            [at(0, u64::MAX), Instants { wall: 0, monotonic: 0 }, Instants { wall: u64::MAX, monotonic: u64::MAX }]
        {
            clocks.compare(now);
            clocks.now_ms(now);
            let mut clocks = Clocks::opened(now, 0);
            clocks.compare(Instants { wall: 0, monotonic: 0 });
            clocks.now_ms(now);
        }
    }
}
