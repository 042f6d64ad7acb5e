//! The manifest: what exists as of one journal frame.
//!
//! A manifest file is written once, synced, and never changed. It holds the pages that changed and a root that names every
//! page, those in older manifest files included, so an unchanged page is not written again.
//!
//! ```text
//!     header                                              page
//!     0 | magic "BLMF"          | version   | zero |      0 | number of rows        |
//!     8 | origin id of the store (16)              |      4 | rows, see LogRow      |
//!    24 | number of this manifest                  |
//!    32 | position of the root                     |      A page holds the logs of a range of buckets (the low 12 bits
//!    40 | bytes of the root     | its checksum     |      of their ids), sorted by id. Its checksum is in the root.
//!    48 | zero                                     |
//!    56 | zero                  | checksum 0..60   |
//!    64 | pages, then the root                     |
//! ```
//!
//! Of pages with the same first bucket only the last is read. The others could not be read when it was begun in their place: it
//! has the rows that were known, and whatever else was in those is not known.
//!
//! The newest manifest that verifies counts. If the newest file is damaged the one before is used, provided that the
//! journal still holds every frame after it; otherwise opening is refused. So that it can be used, what its rows name stays until
//! two manifests do not name it; but on a full disk.

use super::checksum::Salt;
use super::{COUNTER_END, Damage, Decoder, Encoder};
use crate::id::{LogId, SegmentId, SequenceNumber, StoreId};
use crate::limits::{BATCH_BYTES_MAX, LOG_NAME_BYTES_MAX, SEGMENT_BYTES_MAX};

/// Bytes before the pages.
pub const HEADER_BYTES: usize = 64;
const MAGIC: [u8; 4] = *b"BLMF";
const VERSION: u16 = 1;

/// The front of a manifest file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestHeader {
    /// The store the file came from.
    pub origin: StoreId,
    /// Its number.
    pub number: u64,
    /// Where the root starts.
    pub root_position: u64,
    /// Bytes of the root.
    pub root_bytes: u32,
    /// Checksum of the root.
    pub root_checksum: u32,
}

impl ManifestHeader {
    /// The first 64 bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.put_bytes(&MAGIC);
        out.put_u16(VERSION);
        out.put_u16(0);
        out.put_bytes(&self.origin.0);
        out.put_u64(self.number);
        out.put_u64(self.root_position);
        out.put_u32(self.root_bytes);
        out.put_u32(self.root_checksum);
        out.put_u64(0);
        out.put_u32(0);
        out.put_u32(Salt::manifest(self.origin, self.number).checksum(&out));
        out
    }

    /// Reads and verifies them.
    pub fn parse(bytes: &[u8]) -> Result<ManifestHeader, Damage> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(Damage::Short)?;
        let mut d = Decoder::new(bytes);
        if d.array()? != MAGIC {
            return Err(Damage::Magic);
        }
        let version = d.u16()?;
        let zero = d.u16()?;
        let header = ManifestHeader {
            origin: StoreId(d.array()?),
            number: d.counter()?,
            root_position: d.counter()?,
            root_bytes: d.u32()?,
            root_checksum: d.u32()?,
        };
        let zeros = (d.u64()?, d.u32()?);
        if Salt::manifest(header.origin, header.number).checksum(&bytes[..60]) != d.u32()? {
            return Err(Damage::Checksum);
        }
        if version != VERSION {
            return Err(Damage::TooNew(version));
        }
        if zero != 0 || zeros != (0, 0) {
            return Err(Damage::Reserved);
        }
        Ok(header)
    }
}

/// The state of the store as of one frame, apart from the logs themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Root {
    /// Everything up to this frame is in the manifest and in segments; the journal holds what came after.
    pub frame: u64,
    /// Checksum of that frame, which the next one repeats; 0 if the next one starts a generation.
    pub chain: u32,
    /// Counter of log ids: the next log gets at least this one.
    pub next_log: u64,
    /// No segment id at or above this one has ever been used: the next life's segments start here.
    pub segments_reserved: u64,
    /// Ids below the next one that were begun and that no manifest names yet: besides those that come later, these are what a
    /// crash may leave behind.
    pub unnamed: Vec<SegmentId>,
    /// Set when the store was closed: the journal holds nothing after `frame`.
    pub clean: bool,
    /// Highest time stamp given out, in milliseconds since 1970.
    pub stamp_ms: u64,
    /// Bytes of all segments.
    pub stored_bytes: u64,
    /// The generations of the journal that may still be needed, oldest first: (generation, its first frame). The frames of
    /// one end where the next one's begin; the last one is open.
    pub generations: Vec<(u64, u64)>,
    /// Journal files that hold a frame after `frame`, or are about to: one that is missing is damage, not an end.
    pub journal_files: Vec<u64>,
    /// Buffered logs whose last segment may hold more than their row says.
    pub touched: Vec<LogId>,
    /// Segments that are no longer used but may still have a name.
    pub retired: Vec<SegmentId>,
    /// The packs that rows name, by rising id, with the bytes of the pieces they name. One that none names is retired.
    pub packs: Vec<(SegmentId, u64)>,
    /// Where each page is, by rising first bucket; together they cover all buckets that have logs. The last of those with the same
    /// first bucket stands for all of them.
    pub pages: Vec<PageRef>,
}

/// Where a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRef {
    /// The first bucket it covers; it reaches up to the next page's first.
    pub first_bucket: u16,
    /// The manifest file that holds it.
    pub manifest: u64,
    /// Its position there.
    pub position: u64,
    /// Its length in bytes.
    pub bytes: u32,
    /// Its checksum, under that manifest's salt.
    pub checksum: u32,
    /// How many logs it has.
    pub logs: u32,
}

impl Root {
    /// The bytes of the root.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.pages.len() * 30);
        out.put_u64(self.frame);
        out.put_u32(self.chain);
        out.put_u64(self.next_log);
        out.put_u64(self.segments_reserved);
        out.put_u8(u8::from(self.clean));
        out.put_u64(self.stamp_ms);
        out.put_u64(self.stored_bytes);
        out.put_u32(self.generations.len() as u32);
        for (generation, first_frame) in &self.generations {
            out.put_u64(*generation);
            out.put_u64(*first_frame);
        }
        out.put_u32(self.unnamed.len() as u32);
        self.unnamed.iter().for_each(|segment| out.put_u64(segment.0));
        out.put_u32(self.journal_files.len() as u32);
        self.journal_files.iter().for_each(|number| out.put_u64(*number));
        out.put_u32(self.touched.len() as u32);
        self.touched.iter().for_each(|log| out.put_u64(log.0));
        out.put_u32(self.retired.len() as u32);
        self.retired.iter().for_each(|segment| out.put_u64(segment.0));
        out.put_u32(self.packs.len() as u32);
        for (pack, bytes) in &self.packs {
            out.put_u64(pack.0);
            out.put_u64(*bytes);
        }
        out.put_u32(self.pages.len() as u32);
        for page in &self.pages {
            out.put_u16(page.first_bucket);
            out.put_u64(page.manifest);
            out.put_u64(page.position);
            out.put_u32(page.bytes);
            out.put_u32(page.checksum);
            out.put_u32(page.logs);
        }
        out
    }

    /// Reads a root whose checksum was found right.
    pub fn decode(bytes: &[u8]) -> Result<Root, Damage> {
        let mut d = Decoder::new(bytes);
        let mut root = Root {
            frame: d.counter()?,
            chain: d.u32()?,
            next_log: d.counter()?,
            segments_reserved: d.counter()?,
            clean: match d.u8()? {
                0 => false,
                1 => true,
                _ => return Err(Damage::Bounds),
            },
            stamp_ms: d.u64()?,
            stored_bytes: d.counter()?,
            ..Root::default()
        };
        for _ in 0..d.count(16)? {
            root.generations.push((d.counter()?, d.counter()?));
        }
        for _ in 0..d.count(8)? {
            root.unnamed.push(SegmentId(d.counter()?));
        }
        for _ in 0..d.count(8)? {
            root.journal_files.push(d.counter()?);
        }
        for _ in 0..d.count(8)? {
            root.touched.push(LogId(d.counter()?));
        }
        for _ in 0..d.count(8)? {
            root.retired.push(SegmentId(d.counter()?));
        }
        for _ in 0..d.count(16)? {
            root.packs.push((SegmentId(d.counter()?), d.counter()?));
        }
        for _ in 0..d.count(30)? {
            root.pages.push(PageRef {
                first_bucket: d.u16()?,
                manifest: d.counter()?,
                position: d.counter()?,
                bytes: d.u32()?,
                checksum: d.u32()?,
                logs: d.u32()?,
            });
        }
        d.end()?;
        let rising = root.pages.windows(2).all(|w| w[0].first_bucket <= w[1].first_bucket)
            && root.packs.windows(2).all(|w| w[0].0 < w[1].0);
        let generations = root.generations.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1);
        let ids_left = root.next_log < COUNTER_END >> LogId::BUCKET_BITS;
        if !rising || !generations || !ids_left || root.generations.is_empty() {
            return Err(Damage::Bounds);
        }
        Ok(root)
    }

    /// The generation that frame `frame` must belong to.
    pub fn generation_of(&self, frame: u64) -> Option<u64> {
        self.generations.iter().rev().find(|(_, first)| *first <= frame).map(|(generation, _)| *generation)
    }
}

/// When an append to a log is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum DurabilityByte {
    /// After the sync.
    #[default]
    Durable = 0,
    /// After the page cache has it.
    Buffered = 1,
}

/// One log as the manifest knows it.
///
/// ```text
/// id (8) | name (1 + n) | created, ms (8) | durability (1) | flags (1)
///     flags: 1 damaged from `stopped at` on, 2 closed
/// stopped at (8)
/// retention: age in ms (8), bytes (8), held bytes (8)    0 is none
/// largest segment in bytes (8)
/// trim horizon (8) | next sequence number (8) | numbers reserved up to (8) | last arrival, ms (8)
/// number of segments and pieces (4), then each:
///     id (8) | start, see below (8) | first number (8) | number after the last (8) | end in bytes (8) |
///     first and last arrival, ms (16)
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogRow {
    /// Its id.
    pub id: LogId,
    /// Its name.
    pub name: String,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: u64,
    /// When its appends are acknowledged.
    pub durability: DurabilityByte,
    /// Set when a part of the log was found damaged at recovery and later parts had to be withheld: the sequence number
    /// from which on they were.
    pub stopped_at: Option<SequenceNumber>,
    /// It takes no more records.
    pub closed: bool,
    /// Records older than this are not readable; 0 for no such rule.
    pub retention_ms: u64,
    /// Older batches than the last so many bytes are not readable; 0 for no such rule.
    pub retention_bytes: u64,
    /// How many bytes a reader's floor may hold back beyond the rules.
    pub held_bytes_max: u64,
    /// A segment is sealed when it has this many bytes.
    pub segment_bytes_max: u64,
    /// Everything below was trimmed.
    pub horizon: SequenceNumber,
    /// Number of the next record.
    pub end: SequenceNumber,
    /// For a buffered log: after an unclean end numbers go on from here.
    pub reserved: SequenceNumber,
    /// Arrival of the last record, in milliseconds since 1970.
    pub last_arrival_ms: u64,
    /// Its segments, oldest first.
    pub segments: Vec<SegmentRow>,
}

/// One segment, or one piece of a pack, as the manifest knows it; see [`super::segment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentRow {
    /// Id of the file.
    pub id: SegmentId,
    /// Where its header is: 0 for a segment, more for a piece of a pack.
    pub start: u64,
    /// Number of its first record.
    pub base: SequenceNumber,
    /// Number after its last record.
    pub end: SequenceNumber,
    /// Where it ends in the file: bytes behind that are not its own.
    pub bytes: u64,
    /// Arrival of its first record.
    pub first_arrival_ms: u64,
    /// Arrival of its last record.
    pub last_arrival_ms: u64,
}

/// What a segment takes in a row.
pub const SEGMENT_ROW_BYTES: usize = 56;
const SEGMENT_HEADER_BYTES: u64 = super::segment::HEADER_BYTES as u64;
/// A row with a name of one byte and no segment.
const ROW_BYTES_MIN: usize = 8 + (1 + 1) + 8 + 1 + 1 + 8 * 9 + 4;
const _: () = assert!(ROW_BYTES_MIN == 96);
const FLAG_STOPPED: u8 = 1;
const FLAG_CLOSED: u8 = 2;

impl SegmentRow {
    /// Whether it is a piece of a pack.
    pub fn is_piece(&self) -> bool {
        self.start >= SEGMENT_HEADER_BYTES
    }

    /// Bytes it takes, header included.
    pub fn stored_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.start)
    }
}

impl LogRow {
    /// What the row of a log of this name takes without its segments.
    pub fn len_without_segments(name: &str) -> usize {
        ROW_BYTES_MIN - 1 + name.len()
    }

    /// Appends the row's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.id.0);
        out.put_text(&self.name);
        out.put_u64(self.created_ms);
        out.put_u8(self.durability as u8);
        let stopped = if self.stopped_at.is_some() { FLAG_STOPPED } else { 0 };
        out.put_u8(stopped | if self.closed { FLAG_CLOSED } else { 0 });
        out.put_u64(self.stopped_at.unwrap_or(0));
        out.put_u64(self.retention_ms);
        out.put_u64(self.retention_bytes);
        out.put_u64(self.held_bytes_max);
        out.put_u64(self.segment_bytes_max);
        out.put_u64(self.horizon);
        out.put_u64(self.end);
        out.put_u64(self.reserved);
        out.put_u64(self.last_arrival_ms);
        out.put_u32(self.segments.len() as u32);
        for segment in &self.segments {
            out.put_u64(segment.id.0);
            out.put_u64(segment.start);
            out.put_u64(segment.base);
            out.put_u64(segment.end);
            out.put_u64(segment.bytes);
            out.put_u64(segment.first_arrival_ms);
            out.put_u64(segment.last_arrival_ms);
        }
    }

    /// Reads one row.
    pub fn decode(d: &mut Decoder<'_>) -> Result<LogRow, Damage> {
        let id = LogId(d.counter()?);
        let name = d.text()?.to_owned();
        if name.is_empty() || name.len() > LOG_NAME_BYTES_MAX || LogId::bucket_of(&name) != id.bucket() {
            return Err(Damage::Bounds);
        }
        let created_ms = d.u64()?;
        let durability = match d.u8()? {
            0 => DurabilityByte::Durable,
            1 => DurabilityByte::Buffered,
            _ => return Err(Damage::Bounds),
        };
        let flags = d.u8()?;
        let stopped_at = d.counter()?;
        if flags & !(FLAG_STOPPED | FLAG_CLOSED) != 0 {
            return Err(Damage::Reserved);
        }
        let mut row = LogRow {
            id,
            name,
            created_ms,
            durability,
            stopped_at: (flags & FLAG_STOPPED != 0).then_some(stopped_at),
            closed: flags & FLAG_CLOSED != 0,
            retention_ms: d.u64()?,
            retention_bytes: d.u64()?,
            held_bytes_max: d.u64()?,
            segment_bytes_max: d.u64()?,
            horizon: d.counter()?,
            end: d.counter()?,
            reserved: d.counter()?,
            last_arrival_ms: d.u64()?,
            segments: Vec::new(),
        };
        // Segments are mapped, and what stands for them in memory made, at this length.
        if row.segment_bytes_max > SEGMENT_BYTES_MAX {
            return Err(Damage::Bounds);
        }
        let count = d.count(SEGMENT_ROW_BYTES)?;
        row.segments.reserve(count);
        for _ in 0..count {
            let segment = SegmentRow {
                id: SegmentId(d.counter()?),
                start: d.counter()?,
                base: d.counter()?,
                end: d.counter()?,
                bytes: d.counter()?,
                first_arrival_ms: d.u64()?,
                last_arrival_ms: d.u64()?,
            };
            let after_last = row.segments.last().is_none_or(|last| last.end <= segment.base);
            // What stands for the segment in memory grows with its bytes.
            let too_long = segment.bytes > SEGMENT_BYTES_MAX + BATCH_BYTES_MAX as u64;
            let places =
                segment.start == 0 || segment.is_piece() && segment.start + SEGMENT_HEADER_BYTES <= segment.bytes;
            if segment.base > segment.end || !after_last || segment.end > row.end || too_long || !places {
                return Err(Damage::Bounds);
            }
            row.segments.push(segment);
        }
        Ok(row)
    }

    /// Reads a payload that is one row and nothing else.
    pub fn decode_only(bytes: &[u8]) -> Result<LogRow, Damage> {
        let mut d = Decoder::new(bytes);
        let row = LogRow::decode(&mut d)?;
        d.end()?;
        Ok(row)
    }
}

/// What a page of so many rows begins with.
pub fn page_begin(rows: u32) -> [u8; 4] {
    rows.to_le_bytes()
}

/// The bytes of a page.
pub fn encode_page(rows: &[LogRow]) -> Vec<u8> {
    let mut out = page_begin(rows.len() as u32).to_vec();
    rows.iter().for_each(|row| row.encode(&mut out));
    out
}

/// A row as it lies in a page: what a manifest that changes others needs of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowBytes<'a> {
    /// The log's id.
    pub id: LogId,
    /// The whole row.
    pub bytes: &'a [u8],
    /// Its segments and pieces.
    segments: &'a [u8],
}

impl<'a> RowBytes<'a> {
    fn skim(d: &mut Decoder<'a>) -> Result<RowBytes<'a>, Damage> {
        let mut at = d.clone();
        let before = d.remaining();
        let id = LogId(d.counter()?);
        let name = d.u8()? as usize;
        // Up to the number of segments.
        d.bytes(name + ROW_BYTES_MIN - (8 + (1 + 1) + 4))?;
        let count = d.count(SEGMENT_ROW_BYTES)?;
        let segments = d.bytes(count * SEGMENT_ROW_BYTES)?;
        Ok(RowBytes { id, bytes: at.bytes(before - d.remaining())?, segments })
    }

    /// The packs it has pieces in, with their bytes.
    pub fn pieces(&self) -> impl Iterator<Item = (SegmentId, u64)> + 'a {
        let field = |row: &[u8], at: usize| {
            row.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let pieces = self.segments.chunks_exact(SEGMENT_ROW_BYTES).filter(move |row| field(row, 8) > 0);
        pieces.map(move |row| (SegmentId(field(row, 0)), field(row, 32).saturating_sub(field(row, 8))))
    }
}

/// The rows of a page whose checksum was found right, not taken apart.
pub fn skim_page(bytes: &[u8]) -> Result<Vec<RowBytes<'_>>, Damage> {
    let mut d = Decoder::new(bytes);
    let count = d.count(ROW_BYTES_MIN)?;
    let rows = (0..count).map(|_| RowBytes::skim(&mut d)).collect::<Result<Vec<_>, _>>()?;
    d.end()?;
    Ok(rows)
}

/// Reads a page whose checksum was found right.
pub fn decode_page(bytes: &[u8]) -> Result<Vec<LogRow>, Damage> {
    let mut d = Decoder::new(bytes);
    let count = d.count(ROW_BYTES_MIN)?;
    let rows = (0..count).map(|_| LogRow::decode(&mut d)).collect::<Result<Vec<_>, _>>()?;
    d.end()?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_roots_come_back_and_every_truncation_is_an_error() {
        let row = LogRow {
            id: LogId::new(5, "clicks"),
            name: "clicks".into(),
            end: 40,
            horizon: 3,
            stopped_at: Some(30),
            closed: true,
            segments: vec![
                SegmentRow {
                    id: SegmentId(8),
                    start: 0,
                    base: 0,
                    end: 30,
                    bytes: 900,
                    first_arrival_ms: 1,
                    last_arrival_ms: 2,
                },
                SegmentRow {
                    id: SegmentId(9),
                    start: 640,
                    base: 30,
                    end: 40,
                    bytes: 900,
                    first_arrival_ms: 2,
                    last_arrival_ms: 3,
                },
            ],
            ..LogRow::default()
        };
        let page = encode_page(&[row.clone(), row.clone()]);
        assert_eq!(decode_page(&page).unwrap(), [row.clone(), row.clone()]);
        let skimmed = skim_page(&page).unwrap();
        assert_eq!(skimmed.iter().map(|row| row.id).collect::<Vec<_>>(), [row.id, row.id]);
        assert_eq!(LogRow::decode_only(skimmed[1].bytes), Ok(row));
        assert_eq!(skimmed[0].pieces().collect::<Vec<_>>(), [(SegmentId(9), 260)]);
        let root = Root {
            frame: 9,
            generations: vec![(1, 0), (2, 7)],
            unnamed: vec![SegmentId(7)],
            journal_files: vec![0, 2],
            touched: vec![LogId(3)],
            retired: vec![SegmentId(1)],
            packs: vec![(SegmentId(9), 260)],
            pages: vec![PageRef { first_bucket: 0, manifest: 4, position: 64, bytes: 10, checksum: 1, logs: 2 }],
            ..Root::default()
        };
        let bytes = root.encode();
        assert_eq!(Root::decode(&bytes).unwrap(), root);
        assert_eq!((root.generation_of(6), root.generation_of(7)), (Some(1), Some(2)));
        for len in 0..bytes.len() {
            assert!(Root::decode(&bytes[..len]).is_err());
        }
        for len in 0..page.len() {
            assert!(decode_page(&page[..len]).is_err());
            assert!(skim_page(&page[..len]).is_err());
        }
        // Found by `whole_store_open`: a table for such a segment took all the memory there was.
        let forged = LogRow {
            segment_bytes_max: u64::MAX,
            ..LogRow { id: LogId::new(5, "a"), name: "a".into(), ..LogRow::default() }
        };
        assert_eq!(decode_page(&encode_page(&[forged])), Err(Damage::Bounds));
        // A piece that starts within its pack's header, or ends before its own does.
        for start in [8, 63, 837, 900, 1 << 40] {
            let mut forged = decode_page(&page).unwrap();
            forged[0].segments[1].start = start;
            assert_eq!(decode_page(&encode_page(&forged)), Err(Damage::Bounds), "{start}");
        }
        // Found by `whole_store_open`: the frame after the last one there can be.
        for forged in [Root { frame: u64::MAX, ..root.clone() }, Root { next_log: 1 << 52, ..root }] {
            assert_eq!(Root::decode(&forged.encode()), Err(Damage::Bounds));
        }
    }
}
