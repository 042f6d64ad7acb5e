//! Who waits for a log to grow, woken once per turn and not at all when nobody waits.

use std::task::Waker;
use std::time::{Duration, Instant};

use crate::sync::{AtomicUsize, Condvar, Mutex, Ordering, fence, step_until};

/// Waiters of one log.
#[derive(Default)]
pub(crate) struct Watch {
    waiting: AtomicUsize,
    wakers: Mutex<Vec<Waker>>,
    changed: Condvar,
}

impl Watch {
    /// Wakes everyone who waits. The caller has stored what they wait for before. The fence here orders that store before the
    /// look at who waits, and the waiter's fence orders its registration before its last look at the mark: one of the two
    /// sees the other, whatever order the marks themselves are stored with.
    pub(crate) fn wake(&self) {
        fence(Ordering::SeqCst);
        if crate::seeded_bug!(LostWakeUp) || self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let wakers = std::mem::take(&mut *self.wakers.lock());
        self.waiting.fetch_sub(wakers.len(), Ordering::SeqCst);
        self.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
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
        let mut guard = self.wakers.lock();
        let reached = loop {
            if ready() {
                break true;
            }
            guard = match deadline {
                None => self.changed.wait(guard),
                Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                    Some(left) if !left.is_zero() => self.changed.wait_timeout(guard, left),
                    _ => break false,
                },
            };
        };
        drop(guard);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        reached
    }

    /// Has `waker` woken at the next change, unless `ready` holds already.
    pub(crate) fn register(&self, waker: &Waker, ready: impl Fn() -> bool) -> bool {
        let mut wakers = self.wakers.lock();
        if !wakers.iter().any(|w| w.will_wake(waker)) {
            wakers.push(waker.clone());
            self.waiting.fetch_add(1, Ordering::SeqCst);
        }
        drop(wakers);
        fence(Ordering::SeqCst);
        ready()
    }
}
