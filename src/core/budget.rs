//! Bytes that were appended and that no segment has yet, bounded: where back-pressure comes from.

use std::time::{Duration, Instant};

use crate::sync::{AtomicU64, Condvar, Mutex, Ordering, step_until};

/// What gives room back may take so much more.
const BEYOND_BYTES: u64 = 1 << 20;

/// Bytes that no segment has yet, bounded.
pub(crate) struct Budget {
    pub(super) used: AtomicU64,
    /// The part of it that is framed and waits for a segment: what flushing would free.
    pub(super) framed: AtomicU64,
    /// The part of that whose frames aren't durable yet.
    in_flight: AtomicU64,
    max: u64,
    waiting: AtomicU64,
    /// The most that an append asked for and did not get since the upkeep last saw to that.
    wanted: AtomicU64,
    gate: Mutex<()>,
    room: Condvar,
}

impl Budget {
    pub(super) fn new(max: u64) -> Budget {
        Budget {
            used: AtomicU64::new(0),
            framed: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            max,
            waiting: AtomicU64::new(0),
            wanted: AtomicU64::new(0),
            gate: Mutex::default(),
            room: Condvar::default(),
        }
    }

    pub(super) fn try_reserve(&self, bytes: u64) -> bool {
        // A single append larger than the whole budget may go alone, so that it can go at all.
        let fits = |used: u64| (used == 0 || used + bytes <= self.max).then_some(used + bytes);
        self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits).is_ok()
    }

    /// Lets in what helps to make room, a little beyond what there may be.
    pub(crate) fn reserve_beyond(&self, bytes: u64) -> bool {
        let fits = |used: u64| (used + bytes <= self.max + BEYOND_BYTES).then_some(used + bytes);
        self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits).is_ok()
    }

    /// Notes that an append of so many bytes did not find room: see [`Budget::lacks_room`].
    pub(super) fn want(&self, bytes: u64) {
        self.wanted.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Whether an append waits for room that only flushing makes: nothing else may ever ask for it, for less than what starts a
    /// flush by itself can be in its way. While much is on its way to a frame, that will ask.
    pub(crate) fn lacks_room(&self) -> bool {
        let wanted = self.wanted.load(Ordering::Relaxed);
        let (used, framed) = (self.used(), self.waiting_for_segments());
        let on_its_way = used.saturating_sub(framed);
        wanted > 0 && framed > 0 && used + wanted > self.max && on_its_way <= self.max / 4
    }

    /// What could be done about room was done; who still waits asks again.
    pub(crate) fn saw_to_room(&self) {
        self.wanted.store(0, Ordering::Relaxed);
    }

    /// Waits for room until `deadline`.
    pub(super) fn reserve(&self, bytes: u64, deadline: Option<Instant>, over: impl Fn() -> bool) -> bool {
        if self.try_reserve(bytes) {
            return true;
        }
        let Some(deadline) = deadline else { return step_until(|| self.try_reserve(bytes)) == Some(true) };
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut gate = self.gate.lock();
        let reserved = loop {
            if self.try_reserve(bytes) {
                break true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || over() {
                break false;
            }
            self.want(bytes);
            gate = self.room.wait_timeout(gate, left.min(Duration::from_millis(100)));
        };
        drop(gate);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        reserved
    }

    pub(crate) fn release(&self, bytes: u64) {
        if bytes > 0 {
            self.used.fetch_sub(bytes, Ordering::SeqCst);
            if self.waiting.load(Ordering::SeqCst) > 0 {
                drop(self.gate.lock());
                self.room.notify_all();
            }
        }
    }

    /// What was reserved as `before` turned out to take `after`.
    pub(crate) fn adjust(&self, before: usize, after: usize) {
        if after >= before {
            self.used.fetch_add((after - before) as u64, Ordering::AcqRel);
        } else {
            self.release((before - after) as u64);
        }
    }

    /// Bytes that were admitted are framed now.
    pub(crate) fn framed(&self, bytes: u64) {
        self.in_flight.fetch_add(bytes, Ordering::AcqRel);
        self.framed.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Bytes that were framed are durable now.
    pub(crate) fn acknowledged(&self, bytes: u64) {
        self.in_flight.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Bytes that were admitted and that nobody was told are durable.
    pub(crate) fn lag(&self) -> u64 {
        self.used().saturating_sub(self.waiting_for_segments()) + self.in_flight.load(Ordering::Acquire)
    }

    /// Framed bytes are in a segment now, or needed no more.
    pub(crate) fn flushed(&self, bytes: u64) {
        self.framed.fetch_sub(bytes, Ordering::AcqRel);
        self.release(bytes);
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    /// Bytes there may be.
    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// Bytes that flushing would free.
    pub(crate) fn waiting_for_segments(&self) -> u64 {
        self.framed.load(Ordering::Acquire)
    }

    /// Whether large tails should be written out.
    pub(crate) fn wants_flush(&self) -> bool {
        self.waiting_for_segments() > self.max / 4 || self.lacks_room()
    }

    /// Whether everything should.
    pub(crate) fn wants_checkpoint(&self) -> bool {
        self.waiting_for_segments() > self.max / 2
    }

    /// Whether somebody's bytes are on their way to a frame.
    pub(crate) fn is_awaited(&self) -> bool {
        self.used.load(Ordering::Acquire) > self.waiting_for_segments()
    }

    /// How far it is filled with what waits for a segment, in eighths.
    pub(crate) fn eighths(&self) -> u64 {
        self.waiting_for_segments() / (self.max / 8).max(1)
    }
}
