//! Rows of the tables that say which streams, shards and consumers there are. They lie in [`super::change`] records.
//!
//! ```text
//! key                                             value
//! 'm'                                             [`EngineRow`]
//! 's' | stream id (8, big-endian)                 [`StreamRow`]
//! 'h' | stream id (8) | shard index (4)           [`ShardRow`]
//! 'c' | stream id (8) | consumer's name           [`ConsumerRow`]
//! 'g' | stream id (8) | group's name              [`GroupRow`]
//! 'l' | stream id (8) | length of the group's name (1) | name | shard index (4)   [`LeaseRow`]
//! 'u' | stream id (8)                             [`ScalingRow`]
//! 'p' | stream id (8)                             [`ReshardRow`]
//! 'i' | stream id (8) | group's name, or nothing  [`IntentRow`]: of the group, or of the stream
//! ```
//!
//! Every value begins with its version (1 byte). Texts have a length of 2 bytes, lists a count of 4. Keys are big-endian so that
//! the rows of one stream lie together, its shards in the order of their index.

use super::{Damage, Decoder, Encoder};

const VERSION: u8 = 1;

/// What the engine itself keeps.
///
/// ```text
/// version (1) | secret of tokens (16) | highest birth second given to a shard (8)
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineRow {
    /// What the key is made from, together with the store's id, under which tokens are authenticated.
    pub secret: [u8; 16],
    /// Seconds since 1970: every stream and every reshard gets a higher one.
    pub last_birth_s: u64,
}

/// One stream.
///
/// ```text
/// version (1) | id (8) | name (2 + n) | created, ms (8) | mode (1) | distribution (1) | metrics (2)
/// retention in hours (4) | largest record in KiB (4) | next shard index (4) | warm throughput in MiB/s (4)
/// encryption key (2 + n, empty for none) | resource policy (2 + n, empty for none) | tags: count (4), then each: key, value
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamRow {
    /// Random, never used again.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: u64,
    /// 0 provisioned, 1 on-demand.
    pub mode: u8,
    /// 0 by the producer's keys, 1 automatic.
    pub distribution: u8,
    /// A bit for each shard-level metric that is switched on.
    pub metrics: u16,
    /// How long records stay, in hours.
    pub retention_hours: u32,
    /// Largest record, in KiB.
    pub max_record_kib: u32,
    /// Index of the next shard.
    pub next_shard: u32,
    /// Warm throughput, in MiB a second; 0 for none.
    pub warm_throughput_mib: u32,
    /// Name of the key it says it is encrypted with; empty for none.
    pub encryption_key: String,
    /// Resource policy; empty for none.
    pub policy: String,
    /// Tags, sorted by key.
    pub tags: Vec<(String, String)>,
}

/// One shard.
///
/// ```text
/// version (1) | first and last hash key (16, 16) | parent, adjacent parent (4, 4; 0xffffffff for none)
/// birth second (8) | opened, ms (8) | closed, ms (8; 0 while open)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardRow {
    /// First hash key it owns.
    pub start: u128,
    /// Last hash key it owns.
    pub end: u128,
    /// Shards it came from.
    pub parent: Option<u32>,
    /// The other one, of a merge.
    pub adjacent_parent: Option<u32>,
    /// The second that its sequence numbers begin with.
    pub birth_s: u64,
    /// When it was opened, in milliseconds since 1970.
    pub opened_ms: u64,
    /// When it was closed.
    pub closed_ms: Option<u64>,
}

/// A registered consumer.
///
/// ```text
/// version (1) | created, ms (8) | resource policy (2 + n) | tags: count (4), then each: key, value
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsumerRow {
    /// When it was registered, in milliseconds since 1970.
    pub created_ms: u64,
    /// Resource policy; empty for none.
    pub policy: String,
    /// Tags, sorted by key.
    pub tags: Vec<(String, String)>,
}

/// A consumer group.
///
/// ```text
/// version (1) | created, ms (8)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupRow {
    /// When it was created, in milliseconds since 1970.
    pub created_ms: u64,
}

/// How far a group is in one shard, and who reads on.
///
/// ```text
/// version (1) | flags (1: the shard is finished) | counter (8) | next record (8) | next user record in it (8) | owner (2 + n)
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaseRow {
    /// Whether every record of the shard is done.
    pub finished: bool,
    /// Goes up with each change of the owner: an owner knows by it that it still is the one.
    pub counter: u64,
    /// Number, in the shard's log, of the next record to read.
    pub next: u64,
    /// Of that record, the next user record, where it is an aggregate.
    pub next_sub: u64,
    /// Who has it; empty for nobody.
    pub owner: String,
}

/// When the shard count of a stream was updated: the service allows so many updates a day. No row where it never was.
///
/// ```text
/// version (1) | count (4), then each: when, ms (8)
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScalingRow {
    /// In milliseconds since 1970, oldest first; those that are too old to count may be left out.
    pub scaled_ms: Vec<u64>,
}

/// A change of a stream's shards that was asked for and is not done yet. No row where there is none.
///
/// ```text
/// version (1) | asked for, ms (8) | kind (1), then of
///   1, a split: the shard (4) | first hash key of the upper child (16)
///   2, a merge: the shards (4, 4)
///   3, a number of shards: how many (4)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReshardRow {
    /// When it was asked for, in milliseconds since 1970.
    pub asked_ms: u64,
    /// What is to be done.
    pub what: Reshard,
}

/// See [`ReshardRow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reshard {
    /// One shard becomes two.
    Split {
        /// The shard.
        shard: u32,
        /// First hash key of the upper child.
        at: u128,
    },
    /// Two shards become one.
    Merge {
        /// One of them.
        shard: u32,
        /// The other.
        adjacent: u32,
    },
    /// So many equal shards.
    Scale {
        /// How many.
        target: u32,
    },
}

/// What is decided and takes more than one frame: the row comes with the first of them and goes with the last, so whoever finds
/// it has to carry on. No row where one frame is enough.
///
/// ```text
/// version (1) | kind (1), then of
///   1, a deletion: nothing
///   2, a retention: the first shard whose log does not have it yet (4)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntentRow {
    /// What is to be done.
    pub what: Intent,
}

/// See [`IntentRow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// The stream or the group is gone: its row is not there any more. What else is kept for it goes, too.
    Delete,
    /// The logs of shards keep records for as long as the stream's row says.
    Retain {
        /// Index of the first shard that is left.
        from: u32,
    },
}

/// Key of the [`EngineRow`].
pub const ENGINE_KEY: &[u8] = b"m";
/// Keys of [`StreamRow`]s begin so.
pub const STREAM_PREFIX: &[u8] = b"s";
/// Keys of [`ShardRow`]s begin so.
pub const SHARD_PREFIX: &[u8] = b"h";
/// Keys of [`ConsumerRow`]s begin so.
pub const CONSUMER_PREFIX: &[u8] = b"c";

/// Keys of [`GroupRow`]s begin so.
pub const GROUP_PREFIX: &[u8] = b"g";
/// Keys of [`LeaseRow`]s begin so.
pub const LEASE_PREFIX: &[u8] = b"l";

/// Keys of [`ScalingRow`]s begin so.
pub const SCALING_PREFIX: &[u8] = b"u";

/// Keys of [`ReshardRow`]s begin so.
pub const RESHARD_PREFIX: &[u8] = b"p";

/// Keys of [`IntentRow`]s begin so.
pub const INTENT_PREFIX: &[u8] = b"i";

/// Key of a [`StreamRow`].
pub fn stream_key(stream: u64) -> Vec<u8> {
    [STREAM_PREFIX, &stream.to_be_bytes()].concat()
}

/// Key of a [`ShardRow`].
pub fn shard_key(stream: u64, shard: u32) -> Vec<u8> {
    [SHARD_PREFIX, &stream.to_be_bytes(), &shard.to_be_bytes()].concat()
}

/// Key of a [`ConsumerRow`].
pub fn consumer_key(stream: u64, name: &str) -> Vec<u8> {
    [CONSUMER_PREFIX, &stream.to_be_bytes(), name.as_bytes()].concat()
}

/// Key of a [`GroupRow`].
pub fn group_key(stream: u64, group: &str) -> Vec<u8> {
    [GROUP_PREFIX, &stream.to_be_bytes(), group.as_bytes()].concat()
}

/// Keys of the [`LeaseRow`]s of a group begin so. A group's name has at most 128 bytes.
pub fn lease_prefix(stream: u64, group: &str) -> Vec<u8> {
    [LEASE_PREFIX, &stream.to_be_bytes(), &[group.len() as u8], group.as_bytes()].concat()
}

/// Key of a [`LeaseRow`].
pub fn lease_key(stream: u64, group: &str, shard: u32) -> Vec<u8> {
    [&lease_prefix(stream, group)[..], &shard.to_be_bytes()].concat()
}

/// Key of a [`ScalingRow`].
pub fn scaling_key(stream: u64) -> Vec<u8> {
    [SCALING_PREFIX, &stream.to_be_bytes()].concat()
}

/// Key of a [`ReshardRow`].
pub fn reshard_key(stream: u64) -> Vec<u8> {
    [RESHARD_PREFIX, &stream.to_be_bytes()].concat()
}

/// Key of an [`IntentRow`]: of a group, or of the stream where there is none.
pub fn intent_key(stream: u64, group: Option<&str>) -> Vec<u8> {
    [INTENT_PREFIX, &stream.to_be_bytes(), group.unwrap_or_default().as_bytes()].concat()
}

/// The keys of one kind that are about a stream begin so.
pub fn keys_of(prefix: &[u8], stream: u64) -> Vec<u8> {
    [prefix, &stream.to_be_bytes()].concat()
}

/// Which stream a key of a shard or consumer is about, and what of it.
///
/// # Errors
/// [`Damage::Short`].
pub fn parse_key(key: &[u8]) -> Result<(u64, &[u8]), Damage> {
    let rest = key.get(1..).ok_or(Damage::Short)?;
    let (stream, rest) = rest.split_first_chunk().ok_or(Damage::Short)?;
    Ok((u64::from_be_bytes(*stream), rest))
}

/// Stream, group and shard of the key of a [`LeaseRow`].
///
/// # Errors
/// [`Damage::Short`], [`Damage::Bounds`].
pub fn parse_lease_key(key: &[u8]) -> Result<(u64, &[u8], u32), Damage> {
    let rest = key.strip_prefix(LEASE_PREFIX).ok_or(Damage::Bounds)?;
    let (stream, rest) = rest.split_first_chunk().ok_or(Damage::Short)?;
    let (length, rest) = rest.split_first().ok_or(Damage::Short)?;
    let (group, shard) = rest.split_at_checked(usize::from(*length)).ok_or(Damage::Short)?;
    let shard = shard.try_into().map_err(|_| Damage::Bounds)?;
    Ok((u64::from_be_bytes(*stream), group, u32::from_be_bytes(shard)))
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() <= usize::from(u16::MAX));
    out.put_u16(text.len() as u16);
    out.put_bytes(text.as_bytes());
}

fn string(d: &mut Decoder<'_>) -> Result<String, Damage> {
    let length = d.u16()?;
    let bytes = d.bytes(length.into())?;
    Ok(std::str::from_utf8(bytes).map_err(|_| Damage::Bounds)?.to_owned())
}

fn put_tags(out: &mut Vec<u8>, tags: &[(String, String)]) {
    out.put_u32(tags.len() as u32);
    for (key, value) in tags {
        put_string(out, key);
        put_string(out, value);
    }
}

fn tags(d: &mut Decoder<'_>) -> Result<Vec<(String, String)>, Damage> {
    let count = d.count(4)?;
    (0..count).map(|_| Ok((string(d)?, string(d)?))).collect()
}

fn version(d: &mut Decoder<'_>) -> Result<(), Damage> {
    match d.u8()? {
        VERSION => Ok(()),
        0 => Err(Damage::Bounds),
        version => Err(Damage::TooNew(version.into())),
    }
}

impl EngineRow {
    /// The row's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.put_bytes(&self.secret);
        out.put_u64(self.last_birth_s);
        out
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn decode(bytes: &[u8]) -> Result<EngineRow, Damage> {
        let mut d = Decoder::new(bytes);
        version(&mut d)?;
        let row = EngineRow { secret: d.array()?, last_birth_s: d.u64()? };
        d.end()?;
        Ok(row)
    }
}

impl StreamRow {
    /// The row's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.put_u64(self.id);
        put_string(&mut out, &self.name);
        out.put_u64(self.created_ms);
        out.put_u8(self.mode);
        out.put_u8(self.distribution);
        out.put_u16(self.metrics);
        out.put_u32(self.retention_hours);
        out.put_u32(self.max_record_kib);
        out.put_u32(self.next_shard);
        out.put_u32(self.warm_throughput_mib);
        put_string(&mut out, &self.encryption_key);
        put_string(&mut out, &self.policy);
        put_tags(&mut out, &self.tags);
        out
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn decode(bytes: &[u8]) -> Result<StreamRow, Damage> {
        let mut d = Decoder::new(bytes);
        version(&mut d)?;
        let row = StreamRow {
            id: d.u64()?,
            name: string(&mut d)?,
            created_ms: d.u64()?,
            mode: d.u8()?,
            distribution: d.u8()?,
            metrics: d.u16()?,
            retention_hours: d.u32()?,
            max_record_kib: d.u32()?,
            next_shard: d.u32()?,
            warm_throughput_mib: d.u32()?,
            encryption_key: string(&mut d)?,
            policy: string(&mut d)?,
            tags: tags(&mut d)?,
        };
        if row.mode > 1 || row.distribution > 1 {
            return Err(Damage::Bounds);
        }
        d.end()?;
        Ok(row)
    }
}

const NO_SHARD: u32 = u32::MAX;

impl ShardRow {
    /// The row's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.put_bytes(&self.start.to_le_bytes());
        out.put_bytes(&self.end.to_le_bytes());
        out.put_u32(self.parent.unwrap_or(NO_SHARD));
        out.put_u32(self.adjacent_parent.unwrap_or(NO_SHARD));
        out.put_u64(self.birth_s);
        out.put_u64(self.opened_ms);
        out.put_u64(self.closed_ms.unwrap_or(0));
        out
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn decode(bytes: &[u8]) -> Result<ShardRow, Damage> {
        let mut d = Decoder::new(bytes);
        version(&mut d)?;
        let shard = |n: u32| (n != NO_SHARD).then_some(n);
        let row = ShardRow {
            start: u128::from_le_bytes(d.array()?),
            end: u128::from_le_bytes(d.array()?),
            parent: shard(d.u32()?),
            adjacent_parent: shard(d.u32()?),
            birth_s: d.u64()?,
            opened_ms: d.u64()?,
            closed_ms: Some(d.u64()?).filter(|ms| *ms != 0),
        };
        if row.start > row.end {
            return Err(Damage::Bounds);
        }
        d.end()?;
        Ok(row)
    }
}

impl ConsumerRow {
    /// The row's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.put_u64(self.created_ms);
        put_string(&mut out, &self.policy);
        put_tags(&mut out, &self.tags);
        out
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn decode(bytes: &[u8]) -> Result<ConsumerRow, Damage> {
        let mut d = Decoder::new(bytes);
        version(&mut d)?;
        let row = ConsumerRow { created_ms: d.u64()?, policy: string(&mut d)?, tags: tags(&mut d)? };
        d.end()?;
        Ok(row)
    }
}

impl GroupRow {
    /// The row's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.put_u64(self.created_ms);
        out
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn decode(bytes: &[u8]) -> Result<GroupRow, Damage> {
        let mut d = Decoder::new(bytes);
        version(&mut d)?;
        let row = GroupRow { created_ms: d.u64()? };
        d.end()?;
        Ok(row)
    }
}

impl LeaseRow {
    /// The row's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, u8::from(self.finished)];
        out.put_u64(self.counter);
        out.put_u64(self.next);
        out.put_u64(self.next_sub);
        put_string(&mut out, &self.owner);
        out
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn decode(bytes: &[u8]) -> Result<LeaseRow, Damage> {
        let mut d = Decoder::new(bytes);
        version(&mut d)?;
        let finished = match d.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Damage::Reserved),
        };
        let row = LeaseRow { finished, counter: d.u64()?, next: d.u64()?, next_sub: d.u64()?, owner: string(&mut d)? };
        d.end()?;
        Ok(row)
    }
}

impl ScalingRow {
    /// The row's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.put_u32(self.scaled_ms.len() as u32);
        self.scaled_ms.iter().for_each(|ms| out.put_u64(*ms));
        out
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn decode(bytes: &[u8]) -> Result<ScalingRow, Damage> {
        let mut d = Decoder::new(bytes);
        version(&mut d)?;
        let count = d.count(8)?;
        let row = ScalingRow { scaled_ms: (0..count).map(|_| d.u64()).collect::<Result<_, _>>()? };
        d.end()?;
        Ok(row)
    }
}

impl ReshardRow {
    /// The row's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.put_u64(self.asked_ms);
        match self.what {
            Reshard::Split { shard, at } => {
                out.put_u8(1);
                out.put_u32(shard);
                out.put_bytes(&at.to_le_bytes());
            }
            Reshard::Merge { shard, adjacent } => {
                out.put_u8(2);
                out.put_u32(shard);
                out.put_u32(adjacent);
            }
            Reshard::Scale { target } => {
                out.put_u8(3);
                out.put_u32(target);
            }
        }
        out
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn decode(bytes: &[u8]) -> Result<ReshardRow, Damage> {
        let mut d = Decoder::new(bytes);
        version(&mut d)?;
        let asked_ms = d.u64()?;
        let what = match d.u8()? {
            1 => Reshard::Split { shard: d.u32()?, at: u128::from_le_bytes(d.array()?) },
            2 => Reshard::Merge { shard: d.u32()?, adjacent: d.u32()? },
            3 => Reshard::Scale { target: d.u32()? },
            _ => return Err(Damage::Bounds),
        };
        d.end()?;
        Ok(ReshardRow { asked_ms, what })
    }
}

impl IntentRow {
    /// The row's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        match self.what {
            Intent::Delete => out.put_u8(1),
            Intent::Retain { from } => {
                out.put_u8(2);
                out.put_u32(from);
            }
        }
        out
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn decode(bytes: &[u8]) -> Result<IntentRow, Damage> {
        let mut d = Decoder::new(bytes);
        version(&mut d)?;
        let what = match d.u8()? {
            1 => Intent::Delete,
            2 => Intent::Retain { from: d.u32()? },
            _ => return Err(Damage::Bounds),
        };
        d.end()?;
        Ok(IntentRow { what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row comes back, every truncation is an error, and a newer version reads as too new.
    fn holds<T: PartialEq + std::fmt::Debug>(row: &T, bytes: &[u8], decode: fn(&[u8]) -> Result<T, Damage>) {
        assert_eq!(&decode(bytes).unwrap(), row);
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "cut to {len}");
        }
        assert!(decode(&[bytes, &[0]].concat()).is_err());
        let mut newer = bytes.to_vec();
        newer[0] = 2;
        assert_eq!(decode(&newer), Err(Damage::TooNew(2)));
    }

    #[test]
    fn rows_come_back_and_every_truncation_is_an_error() {
        let tags = vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())];
        let row = EngineRow { secret: [7; 16], last_birth_s: 9 };
        holds(&row, &row.encode(), EngineRow::decode);
        let row = StreamRow { id: 1, name: "clicks".into(), mode: 1, tags: tags.clone(), ..StreamRow::default() };
        holds(&row, &row.encode(), StreamRow::decode);
        let row = GroupRow { created_ms: 4 };
        holds(&row, &row.encode(), GroupRow::decode);
        let row = LeaseRow { finished: true, counter: 1, next: 2, next_sub: 3, owner: "worker".into() };
        holds(&row, &row.encode(), LeaseRow::decode);
        let row = ScalingRow { scaled_ms: vec![6, 7] };
        holds(&row, &row.encode(), ScalingRow::decode);
        for what in [
            Reshard::Split { shard: 1, at: 1 << 127 },
            Reshard::Merge { shard: 1, adjacent: 2 },
            Reshard::Scale { target: 8 },
        ] {
            let row = ReshardRow { asked_ms: 8, what };
            holds(&row, &row.encode(), ReshardRow::decode);
        }
        for what in [Intent::Delete, Intent::Retain { from: 9 }] {
            let row = IntentRow { what };
            holds(&row, &row.encode(), IntentRow::decode);
        }
        assert_eq!(IntentRow { what: Intent::Delete }.encode(), [1, 1]);
        assert_eq!(IntentRow { what: Intent::Retain { from: 9 } }.encode(), [1, 2, 9, 0, 0, 0]);
        assert_eq!(IntentRow::decode(&[1, 3]), Err(Damage::Bounds));
        let row = ConsumerRow { created_ms: 5, policy: "{}".into(), tags };
        holds(&row, &row.encode(), ConsumerRow::decode);
        let row = ShardRow {
            start: 1,
            end: u128::MAX,
            parent: Some(3),
            adjacent_parent: None,
            birth_s: 4,
            opened_ms: 5,
            closed_ms: Some(6),
        };
        holds(&row, &row.encode(), ShardRow::decode);
    }
}
