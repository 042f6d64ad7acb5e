//! What the subscribers of a shard share: records that one of them decoded, for all who stand in the same place.
//!
//! Decoding is most of what a subscriber costs, and those that keep up stand together, at the end of the shard. So the first
//! of them that reads leaves its records there for the others, until the last has passed. Three rules keep that harmless:
//!
//! - Where one stands alone nothing is kept, and what is kept has a bound: whoever finds nothing reads for itself.
//! - Whether a record may still be read is asked whenever one is handed over, not when it was decoded.
//! - What is kept pins memory or a mapped segment as every record does, so the log has it dropped once it is trimmed or
//!   deleted.

use std::ops::Deref;

use crate::log::KeepsRecords;
use crate::sync::{Arc, Mutex};

use super::read::Record;

/// For the subscribers of one shard so much is kept, in bytes of data, keys and what a [`Record`] itself takes.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// The records of an event. A clone is the same records: subscribers that stand in one place share them.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::{StartingPosition, SubscriptionOptions};
/// let clicks = engine.create_stream("clicks", Default::default())?;
/// clicks.register_consumer("billing", [("team", "web")])?;
/// let put = clicks.put_record("user-42", b"page=/home")?;
/// let mut subscription =
///     clicks.subscribe("billing", put.shard_id, StartingPosition::TrimHorizon, SubscriptionOptions::new())?;
/// let records = subscription.next_event(None)?.expect("an event").records;
/// let keys: Vec<_> = records.iter().map(|record| record.partition_key()).collect();
/// assert_eq!(keys, [Some("user-42")]);
/// assert_eq!(records.bytes(), "user-42".len() + "page=/home".len());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Records(Arc<Decoded>);

#[derive(Debug, PartialEq, Eq, Default)]
struct Decoded {
    records: Vec<Record>,
    bytes: usize,
}

impl Records {
    pub(crate) fn new(records: Vec<Record>) -> Records {
        let bytes = records.iter().map(Record::bytes).sum();
        Records(Arc::new(Decoded { records, bytes }))
    }

    /// Bytes of data and keys together. Counted once, however many share them.
    pub fn bytes(&self) -> usize {
        self.0.bytes
    }

    /// Number of what comes next, in the log.
    pub(crate) fn behind(&self) -> Option<u64> {
        self.last().map(|record| record.number() + 1)
    }

    fn memory_bytes(&self) -> usize {
        self.bytes() + size_of_val::<[Record]>(self)
    }
}

impl Deref for Records {
    type Target = [Record];

    fn deref(&self) -> &[Record] {
        &self.0.records
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = &'a Record;
    type IntoIter = std::slice::Iter<'a, Record>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// How much a subscriber takes at a time: only those that agree on it share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Portion {
    pub(crate) records_max: usize,
    pub(crate) bytes_max: usize,
}

/// Where the subscribers of a shard stand, and what is kept for them there.
#[derive(Default)]
pub(crate) struct FanOut(Mutex<Places>);

#[derive(Default)]
struct Places {
    /// In no order: there are few of them, for most subscribers stand in one.
    places: Vec<Place>,
    /// Of all that is kept.
    bytes: usize,
}

struct Place {
    /// Number of the next record, in the log.
    next: u64,
    standing: usize,
    kept: Option<(Portion, Records)>,
}

impl FanOut {
    /// One more stands at `next`.
    pub(crate) fn enter(&self, next: u64) {
        self.0.lock().enter(next);
    }

    /// One that stood at `next` is gone.
    pub(crate) fn leave(&self, next: u64) {
        self.0.lock().leave(next);
    }

    /// What is kept at `next`, of whoever takes as much at a time: one that stood there stands behind it now.
    pub(crate) fn follow(&self, next: u64, portion: Portion) -> Option<Records> {
        let mut places = self.0.lock();
        let (kept, records) = places.places.iter().find(|place| place.next == next)?.kept.as_ref()?;
        let records = (*kept == portion).then(|| records.clone())?;
        let behind = records.behind()?;
        places.leave(next);
        places.enter(behind);
        Some(records)
    }

    /// One went from `from` to `to`.
    pub(crate) fn pass(&self, from: u64, to: u64) {
        let mut places = self.0.lock();
        places.leave(from);
        places.enter(to);
    }

    /// Keeps what was read at `next` for the others that stand there. `may` says whether the log still has it, and is asked
    /// where [`KeepsRecords::let_go`] can't come between.
    pub(crate) fn keep(&self, next: u64, portion: Portion, records: &Records, may: impl FnOnce() -> bool) {
        let mut places = self.0.lock();
        if places.others_at(next) && may() {
            places.keep(next, portion, records);
        }
    }
}

impl KeepsRecords for FanOut {
    fn let_go(&self) {
        let mut places = self.0.lock();
        places.bytes = 0;
        places.places.iter_mut().for_each(|place| place.kept = None);
    }
}

impl Places {
    fn find(&self, next: u64) -> Option<usize> {
        self.places.iter().position(|place| place.next == next)
    }

    fn enter(&mut self, next: u64) {
        match self.find(next) {
            Some(at) => self.places[at].standing += 1,
            None => self.places.push(Place { next, standing: 1, kept: None }),
        }
    }

    fn leave(&mut self, next: u64) {
        let Some(at) = self.find(next) else { return };
        self.places[at].standing -= 1;
        if self.places[at].standing == 0 {
            self.drop_kept(at);
            self.places.swap_remove(at);
        }
    }

    fn others_at(&self, next: u64) -> bool {
        self.find(next).is_some_and(|at| self.places[at].standing > 1)
    }

    fn drop_kept(&mut self, at: usize) {
        if let Some((_, records)) = self.places[at].kept.take() {
            self.bytes -= records.memory_bytes();
        }
    }

    /// The newest is what most will ask for, so it is the oldest that has to make room.
    fn keep(&mut self, next: u64, portion: Portion, records: &Records) {
        let bytes = records.memory_bytes();
        let Some(at) = self.find(next).filter(|_| bytes <= KEPT_BYTES_MAX) else { return };
        self.drop_kept(at);
        while self.bytes + bytes > KEPT_BYTES_MAX {
            let kept = self.places.iter().enumerate().filter(|(_, place)| place.kept.is_some());
            let Some((oldest, _)) = kept.min_by_key(|(_, place)| place.next) else { break };
            self.drop_kept(oldest);
        }
        self.bytes += bytes;
        self.places[at].kept = Some((portion, records.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTION: Portion = Portion { records_max: 10, bytes_max: 1 << 20 };

    fn records(bytes: usize) -> Records {
        Records::new(vec![Record::of_nowhere(vec![0; bytes].into())])
    }

    fn standing(places: &[(u64, usize)]) -> FanOut {
        let fan_out = FanOut::default();
        places.iter().for_each(|(next, count)| (0..*count).for_each(|_| fan_out.enter(*next)));
        fan_out
    }

    fn keep(fan_out: &FanOut, next: u64, records: &Records) {
        fan_out.keep(next, PORTION, records, || true);
    }

    #[test]
    fn what_one_read_is_the_others_until_the_last_has_passed() {
        // The record's own number is 7.
        let (fan_out, read) = (standing(&[(5, 3)]), records(10));
        keep(&fan_out, 5, &read);
        fan_out.pass(5, 8);
        for _ in 0..2 {
            assert!(Arc::ptr_eq(&fan_out.follow(5, PORTION).unwrap().0, &read.0));
        }
        assert_eq!(fan_out.follow(5, PORTION), None);
        assert_eq!(Arc::strong_count(&read.0), 1);
        // Nor does it stay for one that leaves instead.
        keep(&fan_out, 8, &read);
        (0..3).for_each(|_| fan_out.leave(8));
        assert_eq!(Arc::strong_count(&read.0), 1);
        assert!(fan_out.0.lock().places.is_empty());
    }

    #[test]
    fn nothing_is_kept_for_one_alone_or_of_another_portion_or_against_the_log() {
        let (fan_out, read) = (standing(&[(5, 1), (7, 3)]), records(10));
        keep(&fan_out, 5, &read);
        assert_eq!(fan_out.follow(5, PORTION), None);
        fan_out.keep(7, PORTION, &read, || false);
        assert_eq!(fan_out.follow(7, PORTION), None);
        keep(&fan_out, 7, &read);
        assert_eq!(fan_out.follow(7, Portion { records_max: 9, ..PORTION }), None);
        assert_eq!(fan_out.follow(7, PORTION), Some(read.clone()));
        fan_out.let_go();
        assert_eq!(fan_out.follow(7, PORTION), None);
        assert_eq!(Arc::strong_count(&read.0), 1);
    }

    #[test]
    fn what_is_kept_has_a_bound_and_the_oldest_makes_room() {
        let fan_out = standing(&[(1, 2), (2, 2), (3, 2), (4, 2)]);
        let third = records(KEPT_BYTES_MAX / 3);
        for next in [2, 1, 3] {
            keep(&fan_out, next, &third);
        }
        let kept = |fan_out: &FanOut| {
            let places = fan_out.0.lock();
            (1..=4)
                .filter(|next| places.find(*next).is_some_and(|at| places.places[at].kept.is_some()))
                .collect::<Vec<_>>()
        };
        assert_eq!(kept(&fan_out), [2, 3]);
        keep(&fan_out, 4, &records(KEPT_BYTES_MAX));
        assert_eq!(kept(&fan_out), [2, 3], "more than the bound is not kept at all");
        keep(&fan_out, 4, &records(KEPT_BYTES_MAX / 2));
        assert_eq!(kept(&fan_out), [3, 4]);
        (1..=4).for_each(|next| (0..2).for_each(|_| fan_out.leave(next)));
        assert_eq!(fan_out.0.lock().bytes, 0);
    }
}
