//! What a shard gives in a second, in lives of the engine that enforce it.

use std::time::Duration;

use braidlog::env::Clock;
use braidlog::stream::{GetRecords, ThroughputLimits};

use super::Run;

/// What is read of a shard.
#[derive(Debug, Clone, Copy)]
pub(super) enum Out {
    Read,
    Iterator,
}

/// Room for a second's worth of something, that fills as time passes. One that is not empty lets anything in.
#[derive(Debug)]
struct Room {
    per_second: i64,
    /// In thousandths, which a millisecond fills one by one.
    left: i64,
    at_ms: u64,
}

impl Room {
    fn new(per_second: i64) -> Room {
        Room { per_second, left: per_second * 1000, at_ms: 0 }
    }

    fn is_open(&mut self, now_ms: u64) -> bool {
        let passed_ms = (now_ms - self.at_ms).min(3_600_000) as i64;
        self.left = (self.left + passed_ms * self.per_second).min(self.per_second * 1000);
        self.at_ms = now_ms;
        self.left > 0
    }

    fn take(&mut self, n: i64) {
        self.left -= n * 1000;
    }
}

/// The service's limits of what a shard gives in a second: 5 reads of 2 MiB together, and 5 iterators.
#[derive(Debug)]
pub(super) struct Rooms {
    reads: Room,
    bytes: Room,
    iterators: Room,
}

impl Default for Rooms {
    fn default() -> Rooms {
        Rooms { reads: Room::new(5), bytes: Room::new(2 << 20), iterators: Room::new(5) }
    }
}

impl Run {
    /// Now and then the limits of shards are reported, or enforced.
    pub(super) fn limits_of_a_life(&self) -> ThroughputLimits {
        match self.is_random().then(|| self.tape.choose("limits", 4)) {
            Some(2) => ThroughputLimits::Report,
            Some(3) => ThroughputLimits::Enforce,
            _ => ThroughputLimits::Off,
        }
    }

    /// What a history puts at once is less than a shard takes in a second: where one has passed, nothing of it is refused.
    pub(super) fn rest(&self) {
        if self.limits == ThroughputLimits::Enforce {
            self.clock.advance(Duration::from_secs(1));
        }
    }

    /// Whether a shard gives one more of these now.
    pub(super) fn admits(&mut self, life: u64, shard: u32, what: Out) -> bool {
        if self.limits != ThroughputLimits::Enforce {
            return true;
        }
        let now_ms = self.clock.monotonic_ms();
        let rooms = self.rooms.entry((life, shard)).or_default();
        let (room, bytes_left) = match what {
            Out::Read => (&mut rooms.reads, rooms.bytes.is_open(now_ms)),
            Out::Iterator => (&mut rooms.iterators, true),
        };
        let admitted = room.is_open(now_ms) && bytes_left;
        if admitted {
            room.take(1);
        }
        admitted
    }

    /// A shard gave this.
    pub(super) fn gave(&mut self, life: u64, shard: u32, answer: &GetRecords) {
        let bytes = answer.records.iter().map(|record| record.data.len() + record.partition_key().map_or(0, str::len));
        self.rooms.entry((life, shard)).or_default().bytes.take(bytes.sum::<usize>() as i64);
    }
}
