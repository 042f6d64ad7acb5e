//! Doors into private rooms for the fuzz targets and the golden files. Outside semver.
//!
//! Every function here holds for any input: it doesn't panic, and takes memory and time in proportion to the input. Where an
//! input is a list of *edits*, they are made to a small valid store; its first byte says whether the checksums are put right
//! again afterwards, so that forged content gets past the first door.

mod checksums;
mod edits;
mod streams;
#[cfg(feature = "server")]
mod wire;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;

use crate::Log;
use crate::env::sim::{Crash, ManualClock, SeededRandom, SimDisk, Tape};
use crate::env::{Access, Disk, Env};
use crate::error::{Error, Result};
use crate::format::batch::{self, BatchBuilder, KIND_RECORDS, RecordParts, Records};
use crate::format::checksum::Salt;
use crate::format::index::{IndexEntry, SegmentIndex};
use crate::format::journal;
use crate::format::manifest::{LogRow, ManifestHeader, Root, SegmentRow, decode_page, encode_page, skim_page};
use crate::format::segment::SegmentHeader;
use crate::format::store::StoreFile;
use crate::id::{SegmentId, StoreId};
use crate::journal::{FramePlace, Verdict, plan, survey};
use crate::log::StartAt;
use crate::manifest::Manifest;
use crate::manual::ManualStore;
use crate::options::{Durability, LogOptions, ReadMode, StoreOptions};
use crate::segment::scan_tail;
use crate::transaction::Transaction;

pub use checksums::fix_checksums;
use checksums::{fix_batch, fix_index};
use edits::{Input, edit};
pub use streams::{
    deaggregate, example_aggregated, sample_agent_rows, sample_lease_rows, sample_rows, stream_rows, stream_tokens,
};
#[cfg(feature = "server")]
pub use wire::{event_stream, sigv4, wire_requests, wire_seeds};

/// The files of a store by path.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// A record as a reader meets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Number.
    pub sequence_number: u64,
    /// Arrival in milliseconds.
    pub arrival_ms: u64,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Attributes.
    pub attributes: Option<Vec<u8>>,
    /// Data.
    pub data: Vec<u8>,
}

/// What one log holds: its name, its id, what could be read, and the error that ended it, if one did.
pub type Contents = BTreeMap<String, (u64, Vec<Content>, Option<Error>)>;

/// Options of the small store.
pub fn small_options() -> StoreOptions {
    StoreOptions::new()
        .journal_file_bytes(64 << 10)
        .journal_files_max(4)
        .memory_bytes(256 << 10)
        .reserve_bytes(0)
        .pack_from(0)
}

fn env(disk: &SimDisk) -> Env {
    Env { disk: Arc::new(disk.clone()), clock: Arc::new(ManualClock::new()), random: Arc::new(SeededRandom::new(7)) }
}

/// Opens a store on a simulated disk, with a clock that stands and seeded randomness.
///
/// # Errors
/// As [`crate::Store::open_in`].
pub fn open(disk: &SimDisk, mode: ReadMode) -> Result<ManualStore> {
    ManualStore::open(env(disk), small_options().read_mode(mode))
}

fn append(store: &mut ManualStore, log: &Log, records: &[RecordParts<'_>]) -> Result<()> {
    for _ in 0..4 {
        match log.try_append_batch(records) {
            // A buffered log first has a note written that it is in use.
            Err(Error::Busy { .. }) => store.settle(),
            other => {
                let ticket = other?;
                store.settle();
                return ticket.try_get().unwrap_or(Err(Error::Closed)).map(drop);
            }
        }
    }
    Err(Error::Closed)
}

/// A disk with one small store that has a bit of everything: two lives, durable and buffered logs, a deleted log, a
/// transaction, a trim, closed logs, several segments and manifests, frames that no checkpoint covers. Always the same bytes.
///
/// # Errors
/// None, or this is the finding.
pub fn small_store(clean: bool) -> Result<SimDisk> {
    build(clean, true)
}

/// `forget`: with the trims and the deletion, which change nothing of what stays.
fn build(clean: bool, forget: bool) -> Result<SimDisk> {
    let disk = SimDisk::new(Tape::replay(Vec::new()));
    let clock = Arc::new(ManualClock::new());
    let env = || Env {
        disk: Arc::new(disk.clone()),
        clock: clock.clone(),
        random: Arc::new(SeededRandom::new(clock_seed(&clock))),
    };
    let tick = || clock.advance(std::time::Duration::from_millis(1_500));
    for life in 0..2u8 {
        let mut store = ManualStore::open(env(), small_options())?;
        let log = |store: &mut ManualStore, name: &str, options: LogOptions| -> Result<Log> {
            let mut made = store.create_log(name, options)?;
            store.settle();
            match made.try_get().unwrap_or(Err(Error::Closed)) {
                Err(Error::LogExists { .. }) => store.store().log(name),
                other => other,
            }
        };
        let buffered = LogOptions::new().durability(Durability::Buffered).segment_bytes_max(16 << 10);
        let clicks = log(&mut store, "clicks", LogOptions::new().segment_bytes_max(16 << 10))?;
        let orders = log(&mut store, "orders", LogOptions::new().retention_bytes(Some(1 << 30)))?;
        let metrics = log(&mut store, "metrics", buffered)?;
        for i in 0..6u8 {
            tick();
            let data = vec![b'a' + i; 100 + usize::from(i) * 50];
            let key = [b'k', life, i];
            let record = RecordParts { key: Some(&key), attributes: (i % 2 == 0).then_some(b"color=red"), data: &data };
            append(&mut store, &clicks, &[record, RecordParts { data: &data[..7], ..Default::default() }])?;
            append(&mut store, &metrics, &[RecordParts { data: &[i; 30], ..Default::default() }; 3])?;
            if i == 2 {
                store.checkpoint()?;
            }
        }
        if life == 0 {
            let gone = log(&mut store, "gone", LogOptions::new())?;
            append(&mut store, &gone, &[RecordParts { data: b"soon forgotten", ..Default::default() }])?;
            if forget {
                let deleted = store.delete_log("gone")?;
                store.settle();
                drop(deleted);
            }
            append(&mut store, &clicks, &[RecordParts { data: &[b'x'; 9_000], ..Default::default() }; 2])?;
        }
        // One that a manifest says is closed, and one of which only the journal says so.
        let ended = log(&mut store, ["closed", "ended"][usize::from(life)], LogOptions::new())?;
        append(&mut store, &ended, &[RecordParts { data: b"the only record", ..Default::default() }])?;
        let mut close = Transaction::new();
        close.close_log(&ended)?;
        drop(store.store().commit(close)?);
        store.settle();
        if life == 0 {
            store.checkpoint()?;
        }
        let mut transaction = Transaction::new();
        transaction.append(&clicks, "both")?.append(&orders, "or neither")?;
        transaction.expect_end(&orders, orders.end());
        let committed = store.store().commit(transaction)?;
        store.settle();
        drop(committed);
        if forget {
            drop(store.trim(&clicks, 2 + u64::from(life))?);
            store.settle();
        }
        store.mark();
        append(&mut store, &orders, &[RecordParts { data: b"the last word", ..Default::default() }])?;
        drop((clicks, orders, metrics, ended));
        if clean {
            store.close()?;
        }
    }
    Ok(disk)
}

fn clock_seed(clock: &ManualClock) -> u64 {
    use crate::env::Clock;
    clock.monotonic_ms()
}

/// The files on a disk.
pub fn tree_of(disk: &SimDisk) -> Tree {
    disk.files().into_iter().filter_map(|(path, _)| disk.read_bytes(&path).ok().map(|bytes| (path, bytes))).collect()
}

/// A disk with these files.
pub fn disk_of(tree: &Tree) -> SimDisk {
    let disk = SimDisk::new(Tape::replay(Vec::new()));
    for folder in ["journal", "manifest", "segments"] {
        let _ = disk.create_dir(folder);
    }
    for (path, bytes) in tree {
        let _ = disk.write_bytes(path, bytes);
    }
    disk
}

/// Reads every log of a store from its horizon to its end.
///
/// # Errors
/// The names can't be listed.
pub fn read_all(store: &ManualStore) -> Result<Contents> {
    let mut contents = Contents::new();
    for name in store.store().log_names()? {
        let log = match store.store().log(&name) {
            Ok(log) => log,
            Err(error) => {
                contents.insert(name, (0, Vec::new(), Some(error)));
                continue;
            }
        };
        let mut records = Vec::new();
        let mut ended = None;
        match log.read(StartAt::TrimHorizon) {
            Err(error) => ended = Some(error),
            Ok(reader) => {
                for record in reader {
                    match record {
                        Err(error) => {
                            ended = Some(error);
                            break;
                        }
                        Ok(record) => records.push(Content {
                            sequence_number: record.sequence_number,
                            arrival_ms: record.arrival_ms,
                            key: record.key.map(|key| key.to_vec()),
                            attributes: record.attributes.map(|attributes| attributes.to_vec()),
                            data: record.data.to_vec(),
                        }),
                    }
                }
            }
        }
        contents.insert(name, (log.id().as_u64(), records, ended));
    }
    Ok(contents)
}

/// The small stores, what was ever written to them, and the root of the unclean one.
struct Base {
    trees: [Tree; 2],
    disks: [SimDisk; 2],
    written: BTreeMap<(u64, u64), Content>,
    root: Root,
    origin: StoreId,
}

static BASE: LazyLock<Base> = LazyLock::new(|| {
    let make = |clean| small_store(clean).expect("the small store can be made");
    let disks = [make(false), make(true)];
    let trees = [tree_of(&disks[0]), tree_of(&disks[1])];
    let mut written = BTreeMap::new();
    for clean in [false, true] {
        let disk = build(clean, false).expect("the small store can be made");
        let store = open(&disk, ReadMode::Map).expect("the small store opens");
        for (_, (id, records, error)) in read_all(&store).expect("it can be read") {
            assert_eq!(error, None);
            written.extend(records.into_iter().map(|record| ((id, record.sequence_number), record)));
        }
    }
    let identity = StoreFile::decode(&trees[0]["STORE"]).expect("STORE is whole");
    let (manifest, damage) = Manifest::load(Arc::new(disks[0].fork()), identity.origin).expect("the manifest is whole");
    assert!(damage.is_none());
    Base { trees, disks, written, root: manifest.root.clone(), origin: identity.origin }
});

/// The small store's files: `clean` says whether it had been closed.
pub fn base_tree(clean: bool) -> &'static Tree {
    &BASE.trees[usize::from(clean)]
}

// The targets.

/// The store an input of [`whole_store`] describes, to look into a failure, and the input's flags.
pub fn edited(data: &[u8]) -> (Tree, u8) {
    let mut input = Input(data);
    let flags = input.u8();
    let mut tree = BASE.trees[usize::from(flags >> 1 & 1)].clone();
    edit(&mut tree, &mut input, "");
    if flags & 1 == 1 {
        fix_checksums(&mut tree);
    }
    (tree, flags)
}

/// Edits of a whole store, which is then opened, read, appended to and opened again.
///
/// Without forged checksums no record may differ from what was written, and opening must come to the same end twice.
pub fn whole_store(data: &[u8]) {
    let (tree, flags) = edited(data);
    let (forged, which) = (flags & 1 == 1, usize::from(flags >> 1 & 1));
    let base = &*BASE;
    let store = tree.get("STORE").and_then(|bytes| StoreFile::decode(bytes).ok());
    if store.is_some_and(|store| store.journal_file_bytes > 1 << 20) {
        // Within its bounds, and opening rightly makes files of that size: slow, and nothing is learned.
        return;
    }
    let disk = base.disks[which].fork();
    for path in base.trees[which].keys().filter(|path| !tree.contains_key(*path)) {
        let _ = disk.erase(path);
    }
    for (path, bytes) in &tree {
        if base.trees[which].get(path) != Some(bytes) {
            let _ = disk.write_bytes(path, bytes);
        }
    }
    let mode = if flags & 4 == 0 { ReadMode::Map } else { ReadMode::Copy };
    check_store(&disk, mode, (!forged).then_some(&base.written), flags & 8 == 8);
}

/// Opens what is on a disk, reads, crashes, opens and reads again, and appends if it is to `go_on`. `written`: all that may be
/// found in it.
fn check_store(disk: &SimDisk, mode: ReadMode, written: Option<&BTreeMap<(u64, u64), Content>>, go_on: bool) {
    let Ok(store) = open(disk, mode) else { return };
    let Ok(first) = read_all(&store) else { return };
    if let Some(written) = written {
        for (name, (id, records, _)) in &first {
            for record in records {
                let was = written.get(&(*id, record.sequence_number));
                assert_eq!(was, Some(record), "wrong bytes in log {name:?}");
            }
        }
    }
    let again = disk.crash(Crash::Kill, &Tape::replay(Vec::new()));
    drop(store);
    let Ok(mut store) = open(&again, mode) else {
        assert!(written.is_none(), "what opened once does not open twice");
        return;
    };
    let Ok(second) = read_all(&store) else { return };
    if written.is_some() {
        for (name, (id, records, _)) in &first {
            let now = second.get(name).map(|(id, records, _)| (id, records));
            assert_eq!(now, Some((id, records)), "log {name:?} read differently the second time");
        }
    }
    if !go_on {
        return;
    }
    for name in second.keys() {
        if let Ok(log) = store.store().log(name) {
            let _ = append(&mut store, &log, &[RecordParts { data: b"after", ..Default::default() }]);
        }
    }
    store.upkeep_step();
    let _ = store.checkpoint();
    let _ = read_all(&store);
    let _ = store.close();
}

/// The journal's plan, over arbitrary bytes (even first byte) or edited frames (odd; 3: forged).
pub fn journal_replay(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.u8();
    let base = &*BASE;
    let mut files: Vec<(u64, Bytes)> = Vec::new();
    if flags & 1 == 0 {
        for (number, chunk) in input.0.chunks(2 * journal::FRAME_ALIGNMENT).take(4).enumerate() {
            let mut bytes = chunk.to_vec();
            bytes.resize(bytes.len().next_multiple_of(journal::FRAME_ALIGNMENT), 0);
            files.push((number as u64, bytes.into()));
        }
    } else {
        let mut tree = base.trees[usize::from(flags >> 2 & 1)].clone();
        edit(&mut tree, &mut input, ".jnl");
        if flags & 2 == 2 {
            fix_checksums(&mut tree);
        }
        let journal = tree.into_iter().filter(|(path, _)| path.ends_with(".jnl"));
        files.extend(journal.enumerate().map(|(number, (_, bytes))| (number as u64, bytes.into())));
    }
    let survey = |(file, (_, bytes)): (usize, &(u64, Bytes))| survey(bytes, file, base.origin);
    let places: Vec<FramePlace> = files.iter().enumerate().flat_map(survey).collect();
    let Ok(plan) = plan(&files, &places, base.origin, &base.root) else { return };
    let mut next = base.root.frame + 1;
    for place in &plan.frames {
        assert_eq!(place.header.frame, next, "frames follow one another");
        assert!(place.offset + place.header.length as usize <= files[place.file].1.len(), "a frame lies in its file");
        next += 1;
    }
    assert_eq!(plan.end + 1, next);
    assert!(plan.proven <= plan.end);
    if let Verdict::Damaged { frame, .. } = plan.verdict {
        assert_eq!(frame, next);
    }
}

/// The tail of a buffered log's segment.
pub fn segment_scan(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.u8();
    let base = &*BASE;
    let mut tree = base.trees[0].clone();
    let metrics = |bytes: &[u8]| SegmentHeader::parse(bytes).is_ok_and(|h| h.base == 0 && !h.is_pack());
    let Some((path, _)) = tree.iter().find(|(path, bytes)| path.ends_with(".seg") && metrics(bytes)) else { return };
    let path = path.clone();
    let Some(header) = tree.get(&path).and_then(|bytes| SegmentHeader::parse(bytes).ok()) else { return };
    if flags & 1 == 0 {
        tree.insert(path.clone(), input.0.to_vec());
    } else {
        edit(&mut tree, &mut input, &path);
        if flags & 2 == 2 {
            fix_checksums(&mut tree);
        }
    }
    let Some(bytes) = tree.get(&path) else { return };
    let disk = disk_of(&Tree::from([(path.clone(), bytes.clone())]));
    let Ok(file) = disk.open(&path, Access::Read) else { return };
    let mut row = SegmentRow {
        id: header.segment,
        start: 0,
        base: 0,
        end: 0,
        bytes: 64,
        first_arrival_ms: 0,
        last_arrival_ms: 0,
    };
    let _ = scan_tail(&*file, Salt::batches(header.origin, header.log), &mut row);
    assert!(row.bytes <= (bytes.len() as u64 + 7).max(64), "{row:?} ends beyond the {} bytes there are", bytes.len());
    let again = row;
    let _ = scan_tail(&*file, Salt::batches(header.origin, header.log), &mut row);
    assert_eq!(row, again, "the end of the tail is the end");
}

const SALT: Salt = Salt(0x1234_5678);

/// The batch of the worked example in [`crate::format`].
pub fn example_batch() -> Vec<u8> {
    let mut builder = BatchBuilder::new(7, 0);
    builder.push(&RecordParts { key: Some(b"k"), attributes: None, data: b"hi" }, 1_000);
    builder.finish(3, KIND_RECORDS, SALT).1
}

/// Batches: arbitrary bytes (even first byte) or an edited batch (odd; 3: forged).
pub fn batch_decode(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.u8();
    let mut bytes = input.0.to_vec();
    if flags & 1 == 1 {
        let mut builder = BatchBuilder::new(1_000, 0);
        for i in 0..5u8 {
            let key = [i; 3];
            let attributes = (i > 2).then_some(&b"a=b"[..]);
            builder.push(&RecordParts { key: (i > 1).then_some(&key), attributes, data: &key }, 5_000 + u64::from(i));
        }
        let mut tree = Tree::from([("batch".to_owned(), builder.finish(3, KIND_RECORDS, SALT).1)]);
        edit(&mut tree, &mut input, "batch");
        bytes = tree.remove("batch").unwrap_or_default();
    }
    if flags & 2 == 2 {
        fix_batch(&mut bytes, SALT);
    }
    let Ok((header, records)) = batch::decode(&bytes, SALT) else { return };
    assert!(header.len() <= bytes.len() && header.padded_len() >= header.len());
    assert!(header.first < header.end() && header.first_arrival_ms <= header.last_arrival_ms);
    let mut walk = Records::new(&header, records);
    let mut expected = header.first;
    let mut left = walk.remaining();
    while let Some(record) = walk.next() {
        let Ok(record) = record else { break };
        assert_eq!(record.sequence_number, expected);
        let parts = RecordParts { key: record.key, attributes: record.attributes, data: record.data };
        assert_eq!(left - walk.remaining(), parts.encoded_len());
        (expected, left) = (expected + 1, walk.remaining());
    }
    assert!(expected <= header.end());
}

/// Manifest files, roots, pages and rows.
pub fn manifest(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.u8();
    if flags & 1 == 0 {
        let _ = ManifestHeader::parse(input.0).map(|header| assert_eq!(header.encode(), input.0[..64]));
        let _ = Root::decode(input.0).map(|root| assert_eq!(root.encode(), input.0));
        let skimmed = skim_page(input.0);
        let _ = decode_page(input.0).map(|rows| {
            assert!(decode_page(&encode_page(&rows)).is_ok_and(|again| again == rows));
            // What is looked at without being taken apart is the same.
            let skimmed = skimmed.as_ref().expect("a page that decodes can be skimmed");
            assert!(skimmed.iter().map(|row| row.id).eq(rows.iter().map(|row| row.id)));
            let of_row = |row: &LogRow| {
                let pieces = row.segments.iter().filter(|segment| segment.is_piece());
                pieces.map(|piece| (piece.id, piece.stored_bytes())).collect::<Vec<_>>()
            };
            assert!(skimmed.iter().flat_map(|row| row.pieces()).eq(rows.iter().flat_map(of_row)));
        });
        let _ = LogRow::decode_only(input.0);
        return;
    }
    let base = &*BASE;
    let mut tree = base.trees[usize::from(flags >> 2 & 1)].clone();
    edit(&mut tree, &mut input, ".man");
    if flags & 2 == 2 {
        fix_checksums(&mut tree);
    }
    tree.retain(|path, _| path.ends_with(".man"));
    let Ok((manifest, _)) = Manifest::load(Arc::new(disk_of(&tree)), base.origin) else { return };
    for row in manifest.rows().flatten().flatten() {
        let found = manifest.row_by_id(row.id);
        assert!(flags & 2 == 2 || found.is_ok_and(|found| found.is_some_and(|found| found.name == row.name)));
    }
}

/// An index file as the format has it.
pub fn sample_index() -> (Vec<u8>, [u8; 16]) {
    let origin = StoreId([3; 16]);
    let entry = |i: u32| IndexEntry { number: i * 10, position: 64 + i * 16_384, arrival: u64::from(i) };
    let entries = (0..4).map(entry).collect();
    let index = SegmentIndex { segment: SegmentId(4), base: 100, base_arrival_ms: 9_000, covered: 70_000, entries };
    (index.encode(origin), origin.0)
}

/// Index files.
pub fn index(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.u8();
    let (sample, origin) = sample_index();
    let mut tree = Tree::from([("a.idx".to_owned(), sample)]);
    if flags & 1 == 0 {
        tree.insert("a.idx".to_owned(), input.0.to_vec());
    } else {
        edit(&mut tree, &mut input, "a.idx");
    }
    let mut bytes = tree.remove("a.idx").unwrap_or_default();
    if flags & 2 == 2 {
        fix_index(&mut bytes, StoreId(origin));
    }
    if let Ok(index) = SegmentIndex::decode(&bytes, StoreId(origin)) {
        assert_eq!(index.encode(StoreId(origin)), bytes);
    }
}

/// What the sample index reads as.
///
/// # Errors
/// Its damage.
pub fn decode_index(bytes: &[u8], origin: [u8; 16]) -> std::result::Result<SegmentIndex, crate::format::Damage> {
    SegmentIndex::decode(bytes, StoreId(origin))
}

/// `STORE` files and segment headers.
pub fn headers(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.u8();
    let mut tree = BASE.trees[0].clone();
    tree.retain(|path, _| path == "STORE" || path.ends_with(".seg"));
    if flags & 1 == 0 {
        tree.values_mut().for_each(|bytes| *bytes = input.0.to_vec());
    } else {
        tree.values_mut().for_each(|bytes| bytes.truncate(128));
        edit(&mut tree, &mut input, "");
    }
    if flags & 2 == 2 {
        fix_checksums(&mut tree);
    }
    for bytes in tree.values() {
        let _ = StoreFile::decode(bytes).map(|file| assert_eq!(file.encode(), *bytes));
        let _ = SegmentHeader::parse(bytes).map(|header| assert_eq!(header.encode(), bytes[..64]));
    }
}

/// A named fuzz target.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, by name.
pub const TARGETS: &[Target] = &[
    ("segment_scan", segment_scan),
    ("batch_decode", batch_decode),
    ("journal_replay", journal_replay),
    ("manifest", manifest),
    ("index", index),
    ("headers", headers),
    ("deaggregate", deaggregate),
    ("stream_rows", stream_rows),
    ("stream_tokens", stream_tokens),
    ("whole_store_open", whole_store),
    #[cfg(feature = "server")]
    ("event_stream", event_stream),
    #[cfg(feature = "server")]
    ("sigv4", sigv4),
    #[cfg(feature = "server")]
    ("wire_requests", wire_requests),
];

#[cfg(test)]
mod tests {
    use super::checksums::{put_u32, u64_at};
    use super::*;
    use crate::id::LogId;
    use proptest::prelude::*;

    #[test]
    fn the_small_store_is_always_the_same_and_putting_its_checksums_right_changes_nothing() {
        for clean in [false, true] {
            let tree = tree_of(&small_store(clean).unwrap());
            assert!(tree == tree_of(&small_store(clean).unwrap()));
            let mut fixed = tree.clone();
            fix_checksums(&mut fixed);
            for (path, bytes) in &tree {
                assert!(*bytes == fixed[path], "{path}");
            }
            let store = open(&disk_of(&tree), ReadMode::Map).unwrap();
            let contents = read_all(&store).unwrap();
            assert_eq!(contents.keys().collect::<Vec<_>>(), ["clicks", "closed", "ended", "metrics", "orders"]);
            assert!(contents.values().all(|(_, records, error)| !records.is_empty() && error.is_none()));
        }
    }

    #[test]
    fn a_forged_root_reaches_the_journal() {
        let mut tree = base_tree(false).clone();
        let path = tree.keys().rfind(|path| path.ends_with(".man")).unwrap().clone();
        let bytes = tree.get_mut(&path).unwrap();
        let root = u64_at(bytes, 32).unwrap() as usize;
        bytes[root] ^= 1;
        // And in the first row of the first page: when the log was created.
        let name = 64 + 4 + 8;
        let after_name = name + 1 + usize::from(bytes[name]);
        bytes[after_name] ^= 1;
        fix_checksums(&mut tree);
        let (manifest, damage) = Manifest::load(Arc::new(disk_of(&tree)), BASE.origin).unwrap();
        assert_eq!(damage, None);
        manifest.rows().for_each(|rows| drop(rows.unwrap()));
    }

    /// Found by `whole_store_open`: the mapping was read beyond the file's end, which is a SIGBUS.
    #[test]
    fn a_segment_file_cut_short_is_damage_and_nothing_beyond_it_is_touched() {
        let base = base_tree(false);
        for path in base.keys().filter(|path| path.ends_with(".seg")) {
            for len in [0, 63, 64, 65, 111, 112, 120, base[path].len() - 1] {
                let mut tree = base.clone();
                tree.get_mut(path).unwrap().truncate(len);
                check_store(&disk_of(&tree), ReadMode::Map, Some(&BASE.written), true);
                check_store(&disk_of(&tree), ReadMode::Copy, Some(&BASE.written), true);
            }
        }
    }

    /// Found by `whole_store_open`: acknowledged frames were cut off as if they were a torn tail.
    #[test]
    fn a_journal_file_cut_short_is_no_torn_tail() {
        let base = base_tree(false);
        let path = base.keys().rfind(|p| p.ends_with(".jnl") && base[*p].iter().any(|byte| *byte != 0)).unwrap();
        for len in [0, 1, 4096, 8192, (64 << 10) - 4096] {
            let mut tree = base.clone();
            tree.get_mut(path).unwrap().truncate(len);
            match open(&disk_of(&tree), ReadMode::Map) {
                Err(error) => assert!(matches!(error, Error::Damaged { .. }), "{error}"),
                Ok(store) => {
                    let report = store.store().open_report().clone();
                    let all = report.records_recovered == 10;
                    assert!(all || report.journal_damage.is_some(), "cut to {len}: {report:?}");
                }
            }
        }
    }

    /// Found by `whole_store_open`: a row whose segment claims a petabyte had a table made for it, of 16 GiB.
    #[test]
    fn a_segment_that_claims_more_bytes_than_any_may_have_is_damage() {
        let id = SegmentId(9);
        let segment =
            SegmentRow { id, start: 0, base: 0, end: 2, bytes: 1 << 50, first_arrival_ms: 0, last_arrival_ms: 0 };
        let id = LogId::new(1, "clicks");
        let row = LogRow { id, name: "clicks".into(), end: 2, segments: vec![segment], ..Default::default() };
        let mut page = encode_page(std::slice::from_ref(&row));
        assert_eq!(decode_page(&page), Err(crate::format::Damage::Bounds));
        let sane = LogRow { segments: vec![SegmentRow { bytes: 64, ..segment }], ..row };
        page = encode_page(std::slice::from_ref(&sane));
        assert_eq!(decode_page(&page), Ok(vec![sane]));
    }

    /// Found by `whole_store_open`: one flipped bit in an old frame's version refused the store as written by a newer Braidlog.
    #[test]
    fn a_frame_of_an_odd_version_that_does_not_verify_is_no_newer_frame() {
        for clean in [false, true] {
            let base = base_tree(clean);
            for path in base.keys().filter(|path| path.ends_with(".jnl")) {
                for at in (0..64 << 10).step_by(4096).filter(|at| journal::looks_like_frame(&base[path][*at..])) {
                    let mut tree = base.clone();
                    tree.get_mut(path).unwrap()[at + 36] ^= 2;
                    for _ in 0..2 {
                        let opened = open(&disk_of(&tree), ReadMode::Map).map(drop);
                        assert!(!matches!(opened, Err(Error::TooNew { .. })), "{path} at {at}: {opened:?}");
                    }
                    check_store(&disk_of(&tree), ReadMode::Map, Some(&BASE.written), false);
                }
            }
        }
    }

    /// Found by `manifest`: 4 GiB were allocated for a file of some hundred bytes.
    #[test]
    fn the_lengths_in_a_forged_manifest_are_held_against_its_file() {
        let mut tree = base_tree(false).clone();
        let path = tree.keys().rfind(|path| path.ends_with(".man")).unwrap().clone();
        put_u32(tree.get_mut(&path).unwrap(), 40, u32::MAX);
        fix_checksums(&mut tree);
        let (_, damage) = Manifest::load(Arc::new(disk_of(&tree)), BASE.origin).unwrap();
        assert!(matches!(damage, Some(Error::Damaged { .. })), "{damage:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_input_breaks_a_target(data in proptest::collection::vec(any::<u8>(), 0..60)) {
            for (_, run) in TARGETS {
                run(&data);
            }
        }
    }
}
