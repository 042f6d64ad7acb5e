//! The locks and atomics the engine is built of: the standard library's, or `loom`'s when its models run, or `shuttle`'s where whole
//! stores are tried in random interleavings.
//!
//! A panic with a lock held does not poison it here: broken invariants stop the store through its health, and a lock that
//! nobody can take any more would only add a hang to that.

#[cfg(loom)]
use loom::sync as imp;
#[cfg(shuttle)]
use shuttle::sync as imp;
#[cfg(not(any(loom, shuttle)))]
use std::sync as imp;

use std::time::Duration;

pub(crate) use imp::Arc;
pub(crate) use imp::MutexGuard;
pub(crate) use imp::RwLock;
pub(crate) use imp::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

#[derive(Default, Debug)]
pub(crate) struct Mutex<T>(imp::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Mutex(imp::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// `None` while somebody else has it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
}

#[derive(Default, Debug)]
pub(crate) struct Condvar(imp::Condvar);

impl Condvar {
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn wait_timeout<'a, T>(&self, guard: MutexGuard<'a, T>, timeout: Duration) -> MutexGuard<'a, T> {
        self.0.wait_timeout(guard, timeout).unwrap_or_else(|poisoned| poisoned.into_inner()).0
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// A word that is zero until it is set, once, and threads that sleep until then.
///
/// Who is woken needs no lock to go on, as it would behind a condition variable: those who wake together would wake once more
/// for each other's.
///
/// A thread that is about to sleep says so where [`Event::set`]'s caller looks, then makes a fence; that caller sets the word,
/// makes a fence, and looks whom to wake. So one of the two sees the other.
#[derive(Default)]
pub(crate) struct Event {
    word: AtomicU32,
    sleepers: Sleepers,
}

impl Event {
    pub(crate) fn get(&self) -> u32 {
        self.word.load(Ordering::Acquire)
    }

    /// Sets the word, which is zero; what was written before is seen by whoever sees it set.
    pub(crate) fn set(&self, word: u32) {
        self.word.store(word, Ordering::Release);
    }

    /// Wakes all who sleep, after the word was set.
    pub(crate) fn wake_all(&self) {
        self.sleepers.wake_all(&self.word);
    }

    /// Sleeps while the word is zero, but not longer than `timeout`; now and then not as long.
    pub(crate) fn sleep(&self, timeout: Option<Duration>) {
        self.sleepers.sleep(&self.word, timeout);
    }
}

/// The kernel keeps them, by the word's address.
#[cfg(all(target_os = "linux", not(any(loom, shuttle))))]
#[derive(Default)]
struct Sleepers;

#[cfg(all(target_os = "linux", not(any(loom, shuttle))))]
impl Sleepers {
    fn wake_all(&self, word: &AtomicU32) {
        // It fails for an address that is none.
        let _ = rustix::thread::futex::wake(word, rustix::thread::futex::Flags::PRIVATE, i32::MAX as u32);
    }

    fn sleep(&self, word: &AtomicU32, timeout: Option<Duration>) {
        // A time too long for the kernel's clock is as good as none.
        let timeout = timeout.and_then(|timeout| timeout.try_into().ok());
        // It fails when the word is set already, the time is up, or a signal came: in each case the caller looks again.
        let _ = rustix::thread::futex::wait(word, rustix::thread::futex::Flags::PRIVATE, 0, timeout.as_ref());
    }
}

#[cfg(any(not(target_os = "linux"), loom, shuttle))]
#[derive(Default)]
struct Sleepers {
    gate: Mutex<()>,
    changed: Condvar,
}

#[cfg(any(not(target_os = "linux"), loom, shuttle))]
impl Sleepers {
    fn wake_all(&self, _: &AtomicU32) {
        drop(self.gate.lock());
        self.changed.notify_all();
    }

    fn sleep(&self, word: &AtomicU32, timeout: Option<Duration>) {
        let gate = self.gate.lock();
        if word.load(Ordering::Acquire) == 0 {
            let _ = match timeout {
                None => self.changed.wait(gate),
                Some(timeout) => self.changed.wait_timeout(gate, timeout),
            };
        }
    }
}

/// In a test that steps the machines of its store itself, waiting is stepping: see [`crate::manual::ManualEngine`]. Whether
/// `ready` holds now; `None` where threads of their own make it hold, and the caller really waits.
#[cfg(all(any(test, feature = "sim"), not(loom)))]
pub(crate) fn step_until(ready: impl Fn() -> bool) -> Option<bool> {
    crate::manual::step_until(ready)
}

/// There are only threads.
#[cfg(any(loom, not(any(test, feature = "sim"))))]
pub(crate) fn step_until(_: impl Fn() -> bool) -> Option<bool> {
    None
}

/// For every step of work that can be about every log there is: lets others have the processor now and then. A thread that
/// computes without a pause is made to stop at the next tick only, and that is milliseconds for whoever it keeps from an append.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn give_way(step: usize) {
    const STEPS: usize = 32;
    if step % STEPS == STEPS - 1 {
        std::thread::yield_now();
    }
}

/// No model computes for long.
#[cfg(any(loom, shuttle))]
pub(crate) fn give_way(_: usize) {}
