//! Answers that arrive once durable.
//!
//! A *turn* is what one pass of the driver makes durable together. Every append of a turn shares one [`Turn`], so that
//! resolving a turn costs one wake-up call however many callers wait.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::error::{Error, Fault, Result};
use crate::id::SequenceNumber;
use crate::sync::{Arc, AtomicUsize, Condvar, Event, Mutex, Ordering, fence, step_until};

const UNRESOLVED: u32 = 0;
const SUCCEEDED: u32 = 1;
const FAILED: u32 = 2;

/// Wakes a machine that has nothing to do. Whoever rings has changed what the machine looks at before; the machine looks at it
/// with the bell's lock held before it sleeps. So one of the two sees the other.
#[derive(Default)]
pub(crate) struct Bell {
    /// While the machine sleeps: how much pressure is missing to wake it.
    missing: Mutex<Option<usize>>,
    rung: Condvar,
}

impl Bell {
    /// Wakes the machine if no more than `pressure` is missing.
    pub(crate) fn ring(&self, pressure: usize) {
        let mut missing = self.missing.lock();
        match &mut *missing {
            Some(left) if *left > pressure => *left -= pressure,
            Some(_) => {
                *missing = None;
                drop(missing);
                self.rung.notify_one();
            }
            None => {}
        }
    }

    /// Blocks until rung with the pressure that is missing, or the time is up. Not at all if `missing` says that nothing is.
    pub(crate) fn wait(&self, timeout: Option<Duration>, missing: impl FnOnce() -> Option<usize>) {
        let mut asleep = self.missing.lock();
        *asleep = missing();
        if asleep.is_some() {
            asleep = match timeout {
                None => self.rung.wait(asleep),
                Some(timeout) => self.rung.wait_timeout(asleep, timeout),
            };
            *asleep = None;
        }
    }
}

/// One turn: unresolved, then resolved once and for all.
#[derive(Default)]
pub(crate) struct Turn {
    /// Set after `outcome`, for a look without the lock: [`UNRESOLVED`], [`SUCCEEDED`] or [`FAILED`].
    resolved: Event,
    /// How many wait for it or did, and the bit [`Turn::PRESSING`] if it holds so much that it should go.
    pressure: AtomicUsize,
    /// Of the machine that takes it.
    bell: Option<Arc<Bell>>,
    state: Mutex<TurnState>,
}

#[derive(Default)]
struct TurnState {
    outcome: Option<Result<()>>,
    wakers: Vec<Waker>,
}

impl Turn {
    pub(crate) fn new() -> Arc<Turn> {
        Arc::new(Turn::default())
    }

    /// A turn that is over.
    pub(crate) fn resolved(outcome: Result<()>) -> Arc<Turn> {
        let turn = Turn::new();
        turn.resolve(outcome);
        turn
    }

    /// A turn whose machine `bell` wakes.
    pub(crate) fn of(bell: &Arc<Bell>) -> Arc<Turn> {
        Arc::new(Turn { bell: Some(bell.clone()), ..Turn::default() })
    }

    /// Resolves the turn and wakes everyone who waits. A second call changes nothing.
    pub(crate) fn resolve(&self, outcome: Result<()>) {
        let mut state = self.state.lock();
        if state.outcome.is_some() {
            return;
        }
        let resolved = if outcome.is_ok() { SUCCEEDED } else { FAILED };
        state.outcome = Some(outcome);
        self.resolved.set(resolved);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        // Whoever goes to sleep presses before.
        fence(Ordering::SeqCst);
        if self.pressure() > 0 {
            self.resolved.wake_all();
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// More than there are ever callers: a bit of its own.
    pub(crate) const PRESSING: usize = 1 << (usize::BITS - 2);
    /// A turn with so much need not be awaited to go as soon as it can: it is worth a write of its own.
    pub(crate) const LARGE_BYTES: usize = 128 << 10;

    /// How many wait for it or did; [`Turn::PRESSING`] and more if it is large.
    pub(crate) fn pressure(&self) -> usize {
        self.pressure.load(Ordering::Acquire)
    }

    /// One more waits for it.
    fn press(&self) {
        self.pressure.fetch_add(1, Ordering::AcqRel);
        self.bell.iter().for_each(|bell| bell.ring(1));
    }

    /// It has [`Turn::LARGE_BYTES`]. Said by each log that has so much in it, and of all of them together.
    pub(crate) fn grow_large(&self) {
        self.pressure.fetch_or(Turn::PRESSING, Ordering::AcqRel);
        self.bell.iter().for_each(|bell| bell.ring(Turn::PRESSING));
    }

    pub(crate) fn is_resolved(&self) -> bool {
        self.resolved.get() != UNRESOLVED
    }

    pub(crate) fn outcome(&self) -> Option<Result<()>> {
        match self.resolved.get() {
            UNRESOLVED => None,
            SUCCEEDED => Some(Ok(())),
            _ => self.state.lock().outcome.clone(),
        }
    }

    pub(crate) fn wait(&self) -> Result<()> {
        if let Some(outcome) = self.outcome() {
            return outcome;
        }
        let stepped = step_until(|| self.is_resolved());
        assert!(stepped != Some(false), "nothing is left to do that could resolve this turn");
        loop {
            if let Some(outcome) = self.sleep_until(None) {
                return outcome;
            }
        }
    }

    pub(crate) fn wait_for(&self, timeout: Duration) -> Option<Result<()>> {
        if let Some(outcome) = self.outcome() {
            return Some(outcome);
        }
        if step_until(|| self.is_resolved()).is_some() {
            return self.outcome();
        }
        self.sleep_until(Instant::now().checked_add(timeout))
    }

    /// Sleeps until it is resolved; `None` when the deadline, if there is one, comes first.
    fn sleep_until(&self, deadline: Option<Instant>) -> Option<Result<()>> {
        self.press();
        fence(Ordering::SeqCst);
        loop {
            if let Some(outcome) = self.outcome() {
                return Some(outcome);
            }
            let left = match deadline {
                Some(deadline) => Some(deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?),
                None => None,
            };
            self.resolved.sleep(left);
        }
    }

    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some(outcome) = self.outcome() {
            return Poll::Ready(outcome);
        }
        let mut state = self.state.lock();
        if let Some(outcome) = &state.outcome {
            return Poll::Ready(outcome.clone());
        }
        if !state.wakers.iter().any(|w| w.will_wake(context.waker())) {
            state.wakers.push(context.waker().clone());
            drop(state);
            self.press();
        }
        Poll::Pending
    }
}

/// Where appended records went.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = braidlog::Store::open(dir.path())?;
/// let log = store.create_log("clicks", Default::default())?;
/// let appended = log.append_batch(["a", "b", "c"])?;
/// assert_eq!((appended.first, appended.last), (0, 2));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Number of the first record.
    pub first: SequenceNumber,
    /// Number of the last record.
    pub last: SequenceNumber,
    /// When they arrived, in milliseconds since 1970.
    pub arrival_ms: u64,
}

/// An append that is on its way to the disk: wait for it, poll it, or `.await` it in any runtime.
///
/// The numbers are provisional until it resolves. Dropping a ticket cancels nothing.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let store = braidlog::Store::open(dir.path())?;
/// let log = store.create_log("clicks", Default::default())?;
/// let tickets: Vec<_> = (0..10).map(|i| log.append_ticket(&format!("click {i}"))).collect::<Result<_, _>>()?;
/// for ticket in tickets {
///     ticket.wait()?;
/// }
/// assert_eq!(log.end(), 10);
/// # Ok(())
/// # }
/// ```
#[must_use = "an append is acknowledged only when its ticket resolves"]
pub struct Ticket {
    turn: Arc<Turn>,
    appended: Appended,
}

impl Ticket {
    pub(crate) fn new(turn: Arc<Turn>, appended: Appended) -> Ticket {
        Ticket { turn, appended }
    }

    pub(crate) fn turn(&self) -> &Arc<Turn> {
        &self.turn
    }

    /// The numbers the records will have if the append succeeds.
    pub fn provisional(&self) -> Appended {
        self.appended
    }

    /// Blocks until the append is acknowledged as its log's durability says.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] when the store stopped while it was on its way.
    pub fn wait(self) -> Result<Appended> {
        self.turn.wait().map(|()| self.appended)
    }

    /// As [`Ticket::wait`], but gives up waiting, not the append, after `timeout`: `None` then, and the ticket is still good.
    pub fn wait_for(&self, timeout: Duration) -> Option<Result<Appended>> {
        self.turn.wait_for(timeout).map(|r| r.map(|()| self.appended))
    }

    /// The outcome, if there is one yet. Never blocks.
    pub fn try_get(&self) -> Option<Result<Appended>> {
        self.turn.outcome().map(|r| r.map(|()| self.appended))
    }

    /// Blocks for at most what is `left` of the time that a blocking append of `place` may take in all.
    pub(crate) fn wait_within(self, left: Duration, of: Duration, place: impl FnOnce() -> String) -> Result<Appended> {
        self.wait_for(left).unwrap_or_else(|| Err(late("append", of, place())))
    }
}

impl Future for Ticket {
    type Output = Result<Appended>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.turn.poll(context).map(|r| r.map(|()| self.appended))
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("appended", &self.appended).field("resolved", &self.turn.is_resolved()).finish()
    }
}

/// What a caller is told who does not wait any longer.
fn late(what: &'static str, of: Duration, place: String) -> Error {
    let late = std::io::Error::new(std::io::ErrorKind::TimedOut, format!("not acknowledged within {of:?}"));
    Error::OutcomeUnknown { cause: Fault::new(what, place, &late) }
}

/// A place for the answer to a request, filled before its turn resolves.
pub(crate) struct Slot<T>(Mutex<Option<Result<T>>>);

impl<T> Slot<T> {
    pub(crate) fn new() -> Arc<Slot<T>> {
        Arc::new(Slot(Mutex::new(None)))
    }

    pub(crate) fn fill(&self, answer: Result<T>) {
        *self.0.lock() = Some(answer);
    }
}

/// A request that the driver answers at its serial point, once everything the answer depends on is durable.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use braidlog::{Store, Transaction};
/// let store = Store::open(dir.path())?;
/// let log = store.create_log("clicks", Default::default())?;
/// let mut transaction = Transaction::new();
/// transaction.append(&log, "hello")?;
/// let pending = store.commit(transaction)?; // .await it, poll it, or wait
/// assert_eq!(pending.wait()?.appended.len(), 1);
/// # Ok(())
/// # }
/// ```
#[must_use = "a request is answered only when it resolves"]
pub struct Pending<T> {
    turn: Arc<Turn>,
    slot: Arc<Slot<T>>,
}

impl<T> Pending<T> {
    pub(crate) fn new(turn: Arc<Turn>, slot: Arc<Slot<T>>) -> Self {
        Pending { turn, slot }
    }

    fn answer(&self, outcome: Result<()>) -> Result<T> {
        // A refusal is an answer even when the turn as a whole failed afterwards: nothing of the request was done.
        match (self.slot.0.lock().take(), outcome) {
            (Some(Err(refused)), _) => Err(refused),
            (Some(Ok(answer)), Ok(())) => Ok(answer),
            (_, Err(error)) => Err(error),
            (None, Ok(())) => Err(Error::Closed),
        }
    }

    /// Blocks until there is an answer.
    ///
    /// # Errors
    /// What the request was refused with; [`Error::OutcomeUnknown`] when the store stopped while it was on its way.
    pub fn wait(self) -> Result<T> {
        let outcome = self.turn.wait();
        self.answer(outcome)
    }

    /// As [`Pending::wait`], but gives up waiting, not the request, after `timeout`: `None` then, and there may still be an answer.
    pub fn wait_for(&mut self, timeout: Duration) -> Option<Result<T>> {
        self.turn.wait_for(timeout).map(|outcome| self.answer(outcome))
    }

    /// As [`Pending::wait`], but not for longer than a caller may have to.
    pub(crate) fn wait_within(&self, patience: Duration, what: &'static str, place: &str) -> Result<T> {
        match self.turn.wait_for(patience) {
            Some(outcome) => self.answer(outcome),
            None => Err(late(what, patience, place.to_owned())),
        }
    }

    /// What it resolves with: also for who has given up waiting for the answer.
    pub(crate) fn turn(&self) -> &Arc<Turn> {
        &self.turn
    }

    /// Whether there is an answer.
    pub(crate) fn is_resolved(&self) -> bool {
        self.turn.is_resolved()
    }

    /// The answer, if there is one yet; it is given once. Never blocks.
    pub fn try_get(&mut self) -> Option<Result<T>> {
        let outcome = self.turn.outcome()?;
        Some(self.answer(outcome))
    }
}

impl<T> std::fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("resolved", &self.turn.is_resolved()).finish()
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.turn.poll(context).map(|outcome| self.answer(outcome))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Were each of them added up, four large logs and four callers would come to nothing, and nobody would be woken.
    #[test]
    fn however_many_logs_of_a_turn_are_large_it_presses_and_knows_who_waits() {
        let turn = Turn::new();
        for waiting in 0..16 {
            turn.grow_large();
            assert_eq!(turn.pressure(), Turn::PRESSING + waiting);
            turn.press();
        }
    }
}
