//! A producer: user records in, few large records out.
//!
//! | file | what |
//! |---|---|
//! | `options` | what may be set |
//! | `gate` | where callers hand over, and wait for room |
//! | `machine` | lanes, packing, retries: a state machine that is told the time |

mod gate;
mod machine;
mod options;

use std::thread::JoinHandle;

use bytes::Bytes;

use crate::env::Clock;
use crate::error::{Error, Result};
use crate::sync::Arc;
use crate::ticket::Pending;

use super::Stream;
use super::hash_key::HashKey;
use super::put::PutRecordsEntry;
use super::sequence_number::SequenceNumber;
use super::shard::ShardId;

use gate::Gate;
use machine::Machine;
pub use options::ProducerOptions;

/// Where a user record went.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::ProducerOptions;
/// let clicks = engine.create_stream("clicks", Default::default())?;
/// let producer = clicks.producer(ProducerOptions::new())?;
/// let (first, second) = (producer.put("user-1", None, "a")?, producer.put("user-2", None, "b")?);
/// producer.flush();
/// let (first, second) = (first.wait()?, second.wait()?);
/// assert_eq!(first.sequence_number, second.sequence_number);      // both in one record
/// assert_eq!((first.sub_sequence_number, second.sub_sequence_number), (0, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutUserRecord {
    /// Its shard.
    pub shard_id: ShardId,
    /// Number of the record it is in.
    pub sequence_number: SequenceNumber,
    /// Its place in that record, from 0.
    pub sub_sequence_number: u64,
    /// When that record arrived, in milliseconds since 1970.
    pub arrival_ms: u64,
}

/// A user record that is being gathered or on its way to the disk: wait for it, poll it, or `.await` it in any runtime. It
/// resolves once the record is durable, with its place, or once it will never be put, with the reason. Dropping it cancels
/// nothing.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::{ProducerOptions, UserRecordTicket};
/// let clicks = engine.create_stream("clicks", Default::default())?;
/// let producer = clicks.producer(ProducerOptions::new())?;
/// let ticket: UserRecordTicket = producer.put("user-42", None, "page=/home")?;
/// assert_eq!(ticket.wait()?.shard_id.index(), 0);        // after 100 ms: nobody else put anything
/// # Ok(())
/// # }
/// ```
pub type UserRecordTicket = Pending<PutUserRecord>;

/// Gathers user records and puts them in aggregated records and large calls: the job of the Kinesis Producer Library.
///
/// Worth its while where records are small and many and the caller does not wait for each; a single [`Stream::put_record`] is
/// acknowledged sooner. User records that belong to one shard share aggregated records; one that is alone, or large, goes as
/// it is. Readers take them apart with [`crate::stream::ShardReader::user_records`] or [`crate::stream::deaggregate`].
///
/// On a stream with [`crate::stream::Distribution::ByKey`] and for every partition key the order of putting is the order of reading, also across splits and merges and when a shard
/// refuses a call for a while. A call that is refused with an error that says so ([`Error::is_retryable`]) is tried again
/// until the time to live of its user records ends. None is ever put twice.
///
/// Has a thread of its own. Dropping it has what is there sent, without waiting for it: what the store was closed before is
/// answered with [`Error::Closed`].
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::ProducerOptions;
/// let clicks = engine.create_stream("clicks", Default::default())?;
/// let producer = clicks.producer(ProducerOptions::new())?;
/// let mut tickets = Vec::new();
/// for i in 0..1_000 {
///     tickets.push(producer.put(&format!("user-{i}"), None, format!("click {i}"))?);
/// }
/// producer.flush();
/// for ticket in tickets {
///     ticket.wait()?;
/// }
/// assert!(clicks.shard_traffic(clicks.shards()[0].shard_id)?.records_in < 10);
/// # Ok(())
/// # }
/// ```
pub struct Producer {
    stream: Stream,
    gate: Arc<Gate>,
    thread: Option<JoinHandle<()>>,
}

impl Stream {
    /// Starts a producer of this stream.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]; [`Error::ResourceNotFound`] when the stream was deleted; [`Error::Io`] if no thread can be
    /// started.
    pub fn producer(&self, options: ProducerOptions) -> Result<Producer> {
        let (mut producer, mut machine) = Producer::assemble(self, options)?;
        let (gate, clock) = (producer.gate.clone(), self.shared.store.core().env.clock.clone());
        let run = move || {
            while let Some(next) = machine.step(clock.monotonic_ms()) {
                gate.wait(next.at_ms, &*clock);
            }
        };
        let thread = std::thread::Builder::new().name("braidlog-producer".to_owned()).spawn(run);
        producer.thread = Some(thread.map_err(Error::io("start thread", "braidlog-producer"))?);
        Ok(producer)
    }
}

impl Producer {
    /// A producer whose machine the caller steps.
    fn assemble(stream: &Stream, options: ProducerOptions) -> Result<(Producer, Machine)> {
        options.check()?;
        stream.state.check_alive()?;
        let gate = Arc::new(Gate::new(&options));
        let machine = Machine::new(stream.clone(), options, gate.clone());
        Ok((Producer { stream: stream.clone(), gate, thread: None }, machine))
    }

    /// Hands over a user record; where it belongs is as with [`Stream::put`]. Copies nothing but the key. Blocks while
    /// [`ProducerOptions::buffered_bytes_max`] bytes wait, not for the disk.
    ///
    /// # Errors
    /// As [`Producer::try_put`], but not [`Error::Busy`]. What happens later is the answer of the ticket: what
    /// [`Stream::put_record`] answers, after retries where they make sense, or [`Error::Busy`] when the time to live ended
    /// before it was its turn.
    pub fn put(
        &self,
        partition_key: &str,
        explicit_hash_key: Option<HashKey>,
        data: impl Into<Bytes>,
    ) -> Result<UserRecordTicket> {
        self.hand_over(partition_key, explicit_hash_key, data.into(), true)
    }

    /// As [`Producer::put`], but never blocks.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many bytes wait; [`Error::InvalidArgument`] for what the stream would never take;
    /// [`Error::ResourceNotFound`] when it was deleted.
    pub fn try_put(
        &self,
        partition_key: &str,
        explicit_hash_key: Option<HashKey>,
        data: impl Into<Bytes>,
    ) -> Result<UserRecordTicket> {
        self.hand_over(partition_key, explicit_hash_key, data.into(), false)
    }

    fn hand_over(&self, key: &str, hash_key: Option<HashKey>, data: Bytes, wait: bool) -> Result<UserRecordTicket> {
        let entry = PutRecordsEntry { partition_key: Some(key), explicit_hash_key: hash_key, data: &data };
        self.stream.state.check_alive()?;
        self.stream.check_entry(entry)?;
        self.gate.put(key, hash_key, data, self.clock(), wait)
    }

    fn clock(&self) -> &dyn Clock {
        &*self.stream.shared.store.core().env.clock
    }

    /// Sends everything put before this call without letting it gather any longer, and blocks until each has its answer. At
    /// most for the time to live and a write to the disk.
    pub fn flush(&self) {
        self.gate.flush();
    }

    /// As [`Producer::flush`], and ends the thread.
    pub fn close(mut self) {
        self.gate.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.gate.close();
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("stream", &self.stream.name()).finish()
    }
}
