//! `SequenceNumberForOrdering`: the number of a record that is put lies above one that is given.
//!
//! A number is made of the birth of its shard, the place of its record, and the second that came in, in this order, and none of
//! these can be chosen. So the record's number is above the given one if that is below all that the shard still has to give. Of a
//! shard of its lineage that is so for every number that was given out: a child is born after all of its parents' records. Of any
//! other shard it is or it isn't. The service answers for the order "for puts from the same client and to the same partition key"
//! (`PutRecord`), and programs hand on the number of their last record whatever key it had; so such a number is accepted, and
//! promises nothing. Refused is what no record can have been given: a malformed number, and one of a second or a place to come.

use crate::error::{Error, Result};

use super::Stream;
use super::sequence_number::SequenceNumber;
use super::shard::{ShardMap, ShardState};

impl Stream {
    /// Whether every number that the shard gives out from now on is above `minimum`.
    pub(super) fn exceeds(&self, shard: &ShardState, minimum: SequenceNumber) -> Result<bool> {
        Ok(minimum < SequenceNumber::lowest_of(shard.birth, self.log(shard)?.end()))
    }

    /// The first shard from a place on, and round, whose numbers are above `minimum`: where any shard will do.
    pub(super) fn first_above(&self, map: &ShardMap, from: usize, minimum: SequenceNumber) -> Option<usize> {
        let count = map.open().len();
        let mut places = (from..from + count).map(|place| place % count);
        places.find(|place| self.exceeds(&map.open()[*place], minimum).unwrap_or(false))
    }

    /// Whether a record may have been given `minimum`, or a shard begun or ended with it.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if none was.
    pub(super) fn check_minimum(&self, minimum: SequenceNumber) -> Result<()> {
        let refuse = |why: &str| {
            let (stream, account) = (self.name(), &self.shared.options.account);
            let why = format!("it was used in PutRecord on stream {stream} under account {account}: {why}");
            Err(Error::invalid("ExclusiveMinimumSequenceNumber", minimum, why))
        };
        let map = self.state.shards();
        let shard = map.all().find(|shard| minimum.is_of(shard.birth));
        // The birth of a shard may lie a little ahead of the clock.
        let latest_s = (self.shared.now_ms() / 1000).max(shard.map_or(0, |shard| shard.birth.birth_s));
        if minimum.arrival_second() > latest_s {
            return refuse("its second has not come yet");
        }
        match shard {
            Some(shard) if minimum.is_ending() && shard.is_open() => refuse("its shard has not ended yet"),
            Some(shard) if !minimum.is_ending() && minimum.after() > self.log(shard)?.end() => {
                refuse("no record with it has been put yet")
            }
            // Of a shard that expired since, or of nobody.
            None if map.open().iter().any(|open| SequenceNumber::starting(open.birth) <= minimum) => {
                refuse("no shard of the stream has given it")
            }
            _ => Ok(()),
        }
    }
}
