//! Who waits for a log to grow, woken once per turn and not at all when nobody waits.
//!
//! Waking a thread takes longer than moving a mark, so the writer wakes one, and each that was woken wakes the next few.

use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::sync::{AtomicUsize, Condvar, Mutex, Ordering, fence, step_until};

/// How many a thread that was woken wakes in turn: two reach all of a hundred in seven steps.
const RELAYED: usize = 2;

/// Where the waker of somebody was registered the last time, so that it is there once, however many others are.
#[derive(Default)]
pub(crate) struct Registration {
    place: Mutex<Option<Place>>,
    /// Nobody needs the waker any more once this is dropped.
    needed: Arc<()>,
}

/// A place among the wakers. They all go at once, so it holds until the next time that is so.
#[derive(Clone, Copy)]
struct Place {
    wakes: u64,
    at: usize,
}

/// Waiters of one log.
#[derive(Default)]
pub(crate) struct Watch {
    /// Threads in [`Watch::wait`] and registered wakers.
    waiting: AtomicUsize,
    waiters: Mutex<Waiters>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiters {
    /// Each with what tells whether somebody needs it.
    wakers: Vec<(Waker, Weak<()>)>,
    /// Places of those that nobody needed when they were looked through.
    free: Vec<usize>,
    /// Threads that sleep.
    asleep: usize,
    /// How often they were to be woken, threads and wakers.
    wakes: u64,
    /// Those asleep that have not looked since the last time.
    unaware: usize,
    /// How many of these, at least, are being woken; whoever wakes up sees to the rest. It is never more than really are, for
    /// every wake-up but a false one was counted. So while somebody is unaware, somebody comes.
    called: usize,
}

impl Waiters {
    /// Adds a waker, in the place of one that nobody needs any more if there is such: where nothing is ever appended they would pile
    /// up. All are looked through before there are twice as many, so that each costs a few looks.
    fn add(&mut self, waker: &Waker, needed: &Arc<()>) -> (usize, bool) {
        if self.free.is_empty() && self.wakers.len() == self.wakers.capacity() {
            let unneeded = |(_, (_, needed)): &(usize, &(Waker, Weak<()>))| needed.strong_count() == 0;
            self.free.extend(self.wakers.iter().enumerate().filter(unneeded).map(|(at, _)| at));
        }
        let waker = (waker.clone(), Arc::downgrade(needed));
        match self.free.pop() {
            Some(at) => {
                self.wakers[at] = waker;
                (at, false)
            }
            None => {
                self.wakers.push(waker);
                (self.wakers.len() - 1, true)
            }
        }
    }

    /// Counts some more as being woken, and says how many to wake.
    fn call(&mut self, most: usize) -> usize {
        let more = (self.unaware - self.called).min(most);
        self.called += more;
        more
    }

    /// A thread woke up that went to sleep after so many `wakes`. How many it is to wake.
    fn woke(&mut self, wakes: u64) -> usize {
        self.asleep -= 1;
        self.unaware -= usize::from(self.wakes != wakes);
        // Also one that nobody called, for which another comes too many then.
        self.called = self.called.saturating_sub(1).min(self.unaware);
        self.call(RELAYED)
    }
}

impl Watch {
    /// Wakes everyone who waits. The caller has stored what they wait for before. The fence here orders that store before the
    /// look at who waits, and the waiter's fence orders its registration before its last look at the mark: one of the two
    /// sees the other, whatever order the marks themselves are stored with.
    pub(crate) fn wake(&self) {
        fence(Ordering::SeqCst);
        self.wake_behind_fence();
    }

    /// As [`Watch::wake`], of a caller that made a fence after it stored what all it wakes wait for.
    pub(crate) fn wake_behind_fence(&self) {
        if crate::seeded_bug!(LostWakeUp) || self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut waiters = self.waiters.lock();
        let wakers = std::mem::take(&mut waiters.wakers);
        waiters.free.clear();
        self.waiting.fetch_sub(wakers.len(), Ordering::SeqCst);
        waiters.wakes += 1;
        waiters.unaware = waiters.asleep;
        let first = if waiters.called == 0 { waiters.call(1) } else { 0 };
        drop(waiters);
        self.notify(first);
        wakers.into_iter().for_each(|(waker, _)| waker.wake());
    }

    fn notify(&self, threads: usize) {
        (0..threads).for_each(|_| self.changed.notify_one());
    }

    /// Blocks until `ready` holds or the time is up; whether it holds.
    pub(crate) fn wait(&self, timeout: Option<Duration>, ready: impl Fn() -> bool) -> bool {
        if ready() {
            return true;
        }
        if let Some(reached) = step_until(&ready) {
            return reached;
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.waiting.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let mut waiters = self.waiters.lock();
        // How many others to wake, without the lock, which they need first of all.
        let mut relayed = 0;
        let reached = loop {
            if ready() {
                break true;
            }
            self.notify(std::mem::take(&mut relayed));
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                break false;
            }
            waiters.asleep += 1;
            let wakes = waiters.wakes;
            waiters = match left {
                None => self.changed.wait(waiters),
                Some(left) => self.changed.wait_timeout(waiters, left),
            };
            relayed = waiters.woke(wakes);
        };
        drop(waiters);
        self.notify(relayed);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        reached
    }

    /// Has `waker` woken at the next change, instead of the one before from the same place, unless `ready` holds already.
    pub(crate) fn register(&self, registration: &Registration, waker: &Waker, ready: impl Fn() -> bool) -> bool {
        let mut place = registration.place.lock();
        let mut waiters = self.waiters.lock();
        match *place {
            Some(Place { wakes, at }) if wakes == waiters.wakes => waiters.wakers[at].0.clone_from(waker),
            _ => {
                let (at, is_one_more) = waiters.add(waker, &registration.needed);
                *place = Some(Place { wakes: waiters.wakes, at });
                self.waiting.fetch_add(usize::from(is_one_more), Ordering::SeqCst);
            }
        }
        drop((waiters, place));
        fence(Ordering::SeqCst);
        ready()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn wakers_of_readers_that_are_gone_do_not_pile_up() {
        let watch = Watch::default();
        let stays: Vec<Registration> = (0..10).map(|_| Registration::default()).collect();
        for n in 0..100_000 {
            stays
                .iter()
                .filter(|_| n % 1000 == 0)
                .for_each(|stays| assert!(!watch.register(stays, Waker::noop(), || false)));
            assert!(!watch.register(&Registration::default(), Waker::noop(), || false));
        }
        let (most, waiting) = (watch.waiters.lock().wakers.len(), watch.waiting.load(Ordering::SeqCst));
        assert!(most <= 64 && waiting == most, "{most}, {waiting} waiting");
        watch.wake();
        assert_eq!(watch.waiting.load(Ordering::SeqCst), 0);
    }
}
