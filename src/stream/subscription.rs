//! Enhanced fan-out: a registered consumer subscribes to a shard and gets records as they become durable.
//!
//! Every subscription has a reader of its own, so a slow one holds nobody up; those that stand in one place share what the first
//! of them read, see [`FanOut`]. A consumer has one subscription to a shard at a time: within five seconds of a successful call
//! another one is refused, later it takes over and the one before ends.

use std::collections::HashMap;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::format::stream::ConsumerRow;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};

use super::Stream;
use super::consumer::{Consumer, ConsumerStatus};
use super::fan_out::{FanOut, Portion, Records};
use super::iterator::StartingPosition;
use super::read::ShardReader;
use super::sequence_number::SequenceNumber;
use super::shard::{ChildShard, ShardId};

/// For so long after a successful call another one is refused (`SubscribeToShard`).
const TAKE_OVER_AFTER_MS: u64 = 5_000;

/// How a subscription goes about it.
///
/// ```
/// use std::time::Duration;
/// use braidlog::stream::SubscriptionOptions;
/// let like_the_service = SubscriptionOptions::new().lifetime(Some(Duration::from_secs(300)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionOptions {
    /// When it ends by itself. Default `None`: not. The service's last five minutes.
    pub lifetime: Option<Duration>,
    /// Most records in one event, at least one. Default 1,000.
    pub records_max: usize,
    /// Most bytes of data and keys in one event, at least one; a record that is longer comes alone. Default 1 MiB.
    pub bytes_max: usize,
}

impl Default for SubscriptionOptions {
    fn default() -> Self {
        SubscriptionOptions { lifetime: None, records_max: 1_000, bytes_max: 1 << 20 }
    }
}

impl SubscriptionOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`lifetime`](Self#structfield.lifetime).
    #[must_use]
    pub fn lifetime(mut self, lifetime: Option<Duration>) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Sets [`records_max`](Self#structfield.records_max).
    #[must_use]
    pub fn records_max(mut self, records: usize) -> Self {
        self.records_max = records;
        self
    }

    /// Sets [`bytes_max`](Self#structfield.bytes_max).
    #[must_use]
    pub fn bytes_max(mut self, bytes: usize) -> Self {
        self.bytes_max = bytes;
        self
    }

    fn check(&self) -> Result<()> {
        for (what, value) in [("records_max", self.records_max), ("bytes_max", self.bytes_max)] {
            if value == 0 {
                return Err(Error::invalid(what, value, "an event has at least one record"));
            }
        }
        Ok(())
    }
}

/// What a subscription pushes.
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
/// let event = subscription.next_event(None)?.expect("an event");
/// assert_eq!(event.records[0].data, "page=/home");
/// assert_eq!(event.continuation_sequence_number, put.sequence_number);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionEvent {
    /// The records, in their order; none when it only says that all is well.
    pub records: Records,
    /// Where another subscription goes on, with [`StartingPosition::AfterSequenceNumber`].
    pub continuation_sequence_number: SequenceNumber,
    /// How long ago the last of `records` arrived, in milliseconds, if there is more after it; 0 if there is not.
    pub millis_behind_latest: u64,
    /// In the last event, at the end of a closed shard: what came of it.
    pub child_shards: Vec<ChildShard>,
}

/// One subscription, as those who end it see it.
struct Seat {
    /// By the monotonic clock.
    started_ms: u64,
    /// When the consumer was registered: a namesake registered later is another one.
    consumer_ms: u64,
    ended: AtomicBool,
    /// The handle still lives.
    held: AtomicBool,
    /// Only the service's limited ones keep their seat when they are dropped.
    limited: bool,
}

/// Who subscribes to which shard of a stream.
#[derive(Default)]
pub(crate) struct Seats(Mutex<HashMap<(String, ShardId), Arc<Seat>>>);

impl Seats {
    fn take(&self, stream: &Stream, consumer: &str, shard: ShardId, seat: &Arc<Seat>) -> Result<()> {
        let mut seats = self.0.lock();
        // Who removes a consumer ends its subscriptions behind that, under this lock.
        if stream.active_consumer(consumer)?.created_ms != seat.consumer_ms {
            return Err(stream.no_consumer(consumer));
        }
        let before = seats.get(&(consumer.to_owned(), shard)).cloned();
        if let Some(before) = before.filter(|before| before.consumer_ms == seat.consumer_ms) {
            let taken = before.held.load(Ordering::Acquire) || before.limited;
            if taken && seat.started_ms.saturating_sub(before.started_ms) < TAKE_OVER_AFTER_MS {
                let what = format!("subscription of consumer {consumer} to {shard}");
                let why = "it began less than five seconds ago".to_owned();
                return Err(Error::ResourceInUse { what, why });
            }
            end(stream, shard, &before);
        }
        seats.insert((consumer.to_owned(), shard), seat.clone());
        Ok(())
    }

    /// Ends the subscriptions of a consumer that was removed.
    pub(crate) fn end_all(&self, stream: &Stream, consumer: &str) {
        self.0.lock().retain(|(name, shard), seat| {
            if name == consumer {
                end(stream, *shard, seat);
            }
            name != consumer
        });
    }

    fn leave(&self, consumer: &str, shard: ShardId, seat: &Arc<Seat>) {
        let mut seats = self.0.lock();
        let key = (consumer.to_owned(), shard);
        if !seat.limited && seats.get(&key).is_some_and(|held| Arc::ptr_eq(held, seat)) {
            seats.remove(&key);
        }
    }
}

fn end(stream: &Stream, shard: ShardId, seat: &Seat) {
    seat.ended.store(true, Ordering::SeqCst);
    if let Ok(log) = stream.shard(shard).and_then(|shard| Ok(shard.log(&stream.shared.store)?.clone())) {
        log.wake_readers();
    }
}

impl Stream {
    /// Subscribes a registered consumer to a shard.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`] for shard or consumer; [`Error::InvalidArgument`] for the options, and for the position, as
    /// [`Stream::shard_iterator`]; [`Error::ResourceInUse`] within five seconds of a call for the same two that succeeded and
    /// still holds, and while the consumer is not active.
    pub fn subscribe(
        &self,
        consumer_name: &str,
        shard_id: ShardId,
        position: StartingPosition,
        options: SubscriptionOptions,
    ) -> Result<Subscription> {
        options.check()?;
        let consumer = self.active_consumer(consumer_name)?;
        let reader = self.read(shard_id, position)?;
        let seat = Arc::new(Seat {
            started_ms: self.shared.monotonic_ms(),
            consumer_ms: consumer.created_ms,
            ended: AtomicBool::new(false),
            held: AtomicBool::new(true),
            limited: options.lifetime.is_some(),
        });
        self.state.seats.take(self, consumer_name, shard_id, &seat)?;
        let place = reader.next_number();
        reader.log().kept_by(reader.shard().fan_out.clone());
        reader.shard().fan_out.enter(place);
        Ok(Subscription {
            consumer: consumer_name.to_owned(),
            reader,
            place,
            options,
            seat,
            over: false,
            served: AtomicBool::new(false),
        })
    }

    /// The consumer of this name, which may subscribe.
    pub(crate) fn active_consumer(&self, name: &str) -> Result<Consumer> {
        let consumer = self.consumer(name)?;
        if consumer.consumer_status != ConsumerStatus::Active {
            let what = format!("consumer {name} of stream {}", self.name());
            let why = format!("it is {}, and has to be ACTIVE", consumer.consumer_status.name());
            return Err(Error::ResourceInUse { what, why });
        }
        Ok(consumer)
    }
}

/// A subscription of a registered consumer to a shard. See [`SubscriptionEvent`] for an example.
pub struct Subscription {
    consumer: String,
    reader: ShardReader,
    /// Where it stands among those of its shard.
    place: u64,
    options: SubscriptionOptions,
    seat: Arc<Seat>,
    over: bool,
    /// It had records, and no other task of its thread was let go first since.
    served: AtomicBool,
}

impl Subscription {
    /// The shard.
    pub fn shard_id(&self) -> ShardId {
        self.reader.shard_id()
    }

    fn check(&self) -> Result<()> {
        // Who removed the consumer may have given up before it was, and has ended nothing then.
        let is_its = |row: &ConsumerRow| row.created_ms == self.seat.consumer_ms;
        let consumers = self.reader.stream().state.consumers();
        if !self.seat.ended.load(Ordering::SeqCst) && consumers.get(&self.consumer).is_some_and(is_its) {
            return Ok(());
        }
        let what = format!("subscription of consumer {} to {}", self.consumer, self.shard_id());
        Err(Error::ResourceInUse { what, why: "another one took over, or the consumer was removed".to_owned() })
    }

    /// What is left of its lifetime.
    fn left(&self) -> Option<Duration> {
        let lifetime = self.options.lifetime?;
        let age = self.reader.stream().shared.monotonic_ms().saturating_sub(self.seat.started_ms);
        Some(lifetime.saturating_sub(Duration::from_millis(age)))
    }

    fn fan_out(&self) -> &FanOut {
        &self.reader.shard().fan_out
    }

    /// What comes next, read by whichever of those that stand here was the first.
    fn read(&mut self) -> Result<Records> {
        let SubscriptionOptions { records_max, bytes_max, .. } = self.options;
        let portion = Portion { records_max, bytes_max };
        if let Some(records) = self.fan_out().follow(self.place, portion) {
            self.place = records.behind().unwrap_or(self.place);
            if self.reader.pass(&records)? {
                return Ok(records);
            }
            self.pass();
        }
        let records = Records::new(self.reader.read_uncounted(records_max, bytes_max)?);
        if let Some(first) = records.first() {
            self.fan_out().keep(self.place, portion, &records, || self.reader.log().has(first.number()));
        }
        Ok(records)
    }

    /// Tells the others where it stands by now.
    fn pass(&mut self) {
        let place = self.reader.next_number();
        if place != self.place {
            self.fan_out().pass(self.place, place);
            self.place = place;
        }
    }

    /// The next event. Blocks until there are records, at most for `timeout`: an event without records then. `None` once it is
    /// over: after the last event of a closed shard, or at the end of its lifetime.
    ///
    /// # Errors
    /// [`Error::ResourceInUse`] once another subscription took over or the consumer was removed;
    /// [`Error::ResourceNotFound`] when the stream was deleted; [`Error::Closed`]; [`Error::Damaged`] with the place.
    pub fn next_event(&mut self, timeout: Option<Duration>) -> Result<Option<SubscriptionEvent>> {
        self.check()?;
        let left = self.left();
        if self.over || left.is_some_and(|left| left.is_zero()) {
            self.over = true;
            return Ok(None);
        }
        let patience = timeout.into_iter().chain(left).min();
        let seat = &self.seat;
        self.reader.wait_unless(patience, || seat.ended.load(Ordering::SeqCst))?;
        self.check()?;
        let records = self.read();
        self.pass();
        let records = records?;
        let child_shards = self.reader.shard_end()?;
        self.over = child_shards.is_some();
        if records.is_empty() && !self.over && self.left().is_some_and(|left| left.is_zero()) {
            self.over = true;
            return Ok(None);
        }
        let millis_behind_latest = match records.last() {
            Some(last) if !self.reader.is_at_end() => {
                self.reader.stream().shared.now_ms().saturating_sub(last.arrival_ms)
            }
            _ => 0,
        };
        *self.served.get_mut() = !records.is_empty();
        let (count, bytes) = (records.len() as u64, records.bytes() as u64);
        self.reader.shard().traffic.got(super::ThroughputLimits::Off, count, bytes);
        Ok(Some(SubscriptionEvent {
            records,
            continuation_sequence_number: self.reader.position(),
            millis_behind_latest,
            child_shards: child_shards.unwrap_or_default(),
        }))
    }

    /// After [`Error::Damaged`]: the next event begins with the next record that can be read. Returns how many were skipped.
    ///
    /// # Errors
    /// As [`Subscription::next_event`].
    pub fn skip_damaged(&mut self) -> Result<u64> {
        let skipped = self.reader.skip_damaged();
        self.pass();
        skipped
    }

    /// Waits, in any async runtime, until [`Subscription::next_event`] with a timeout of zero has something to say. The end of
    /// its lifetime is the caller's to watch.
    ///
    /// After an event, the other tasks of its thread go first even if there is more already: subscribers that go on side by
    /// side share what they read.
    pub async fn ready(&self) {
        let mut yields = self.served.swap(false, Ordering::Relaxed);
        std::future::poll_fn(|context| {
            let ready = self.over
                || self.left().is_some_and(|left| left.is_zero())
                || self.reader.register(context.waker(), || self.seat.ended.load(Ordering::SeqCst));
            if ready && !yields {
                return std::task::Poll::Ready(());
            }
            yields = false;
            if ready {
                context.waker().wake_by_ref();
            }
            std::task::Poll::Pending
        })
        .await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.fan_out().leave(self.place);
        self.seat.held.store(false, Ordering::Release);
        self.reader.stream().state.seats.leave(&self.consumer, self.reader.shard_id(), &self.seat);
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("consumer", &self.consumer).field("reader", &self.reader).finish()
    }
}
