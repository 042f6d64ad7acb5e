//! A shard's user records.

use std::time::Duration;

use super::super::group::RecordBatch;
use super::super::hash_key::HashKeyRange;
use super::super::read::ShardReader;
use super::super::shard::ChildShard;
use super::deaggregate::{UserRecord, UserRecords, deaggregate};
use crate::error::Result;

/// Reads the user records of a shard in their order: aggregated records are taken apart on the way, see [`deaggregate`].
///
/// As an iterator it yields what is durable and then ends; more may come, see [`UserRecordReader::wait`]. A user record's
/// `sequence_number` and `sub_sequence_number` are its position.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::{ProducerOptions, StartingPosition};
/// let clicks = engine.create_stream("clicks", Default::default())?;
/// let producer = clicks.producer(ProducerOptions::new())?;
/// let tickets: Vec<_> = (0..10).map(|i| producer.put("user-42", None, vec![i])).collect::<Result<_, _>>()?;
/// producer.flush();
/// let reader = clicks.read(clicks.shards()[0].shard_id, StartingPosition::TrimHorizon)?;
/// let range = reader.hash_key_range();
/// let users = reader.user_records(Some(range)).collect::<braidlog::Result<Vec<_>>>()?;
/// assert_eq!(users.len(), 10);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct UserRecordReader {
    reader: ShardReader,
    range: Option<HashKeyRange>,
    current: Option<UserRecords>,
}

impl ShardReader {
    /// The user records of the shard from here on. With a range, usually [`ShardReader::hash_key_range`], records that hold a
    /// user record outside are left out: see [`deaggregate`].
    pub fn user_records(self, range: Option<HashKeyRange>) -> UserRecordReader {
        UserRecordReader { reader: self, range, current: None }
    }
}

impl RecordBatch<'_> {
    /// The user records of the batch that are not done yet, see [`deaggregate`] for them and the range: that of the batch's
    /// shard is in [`crate::stream::Shard::hash_key_range`]. Checkpoint within a record by [`RecordBatch::checkpoint_at`].
    ///
    /// ```
    /// use braidlog::stream::{ProcessError, RecordBatch};
    /// fn process(batch: &mut RecordBatch<'_>) -> Result<(), ProcessError> {
    ///     for user in batch.user_records(None) {
    ///         println!("{:?}: {:?}", user.partition_key(), user.data);
    ///         batch.checkpoint_at(user.sequence_number, Some(user.sub_sequence_number))?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn user_records(&self, range: Option<HashKeyRange>) -> impl Iterator<Item = UserRecord> + use<> {
        let mut done = self.sub_sequence_number();
        let records = self.records().to_vec().into_iter();
        records.flat_map(move |record| {
            let done = std::mem::take(&mut done);
            deaggregate(record, range).skip_while(move |user| user.sub_sequence_number < done)
        })
    }
}

impl UserRecordReader {
    /// The reader of the records that hold them: its position is after the record that the last user record came in.
    pub fn records(&self) -> &ShardReader {
        &self.reader
    }

    fn has_current(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.left() > 0)
    }

    /// Blocks until there is a record to read, the shard ends, or the time is up: see [`ShardReader::wait`].
    ///
    /// # Errors
    /// As [`ShardReader::wait`].
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool> {
        if self.has_current() { Ok(true) } else { self.reader.wait(timeout) }
    }

    /// As [`UserRecordReader::wait`] without a timeout, for any async runtime.
    ///
    /// # Errors
    /// As [`ShardReader::wait`].
    pub async fn ready(&self) -> Result<bool> {
        if self.has_current() { Ok(true) } else { self.reader.ready().await }
    }

    /// At the end of a closed shard, once all was read: the shards to go on with.
    ///
    /// # Errors
    /// As [`ShardReader::shard_end`].
    pub fn shard_end(&self) -> Result<Option<Vec<ChildShard>>> {
        if self.has_current() { Ok(None) } else { self.reader.shard_end() }
    }
}

impl Iterator for UserRecordReader {
    type Item = Result<UserRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(user) = self.current.as_mut().and_then(Iterator::next) {
                return Some(Ok(user));
            }
            self.current = None;
            match self.reader.next()? {
                Ok(record) => self.current = Some(deaggregate(record, self.range)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
