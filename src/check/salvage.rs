//! Copying what can be read into a new store.
//!
//! Batches are copied as they are, byte for byte, under the log ids and the origin id they were written with, so every
//! record keeps its number and its time of arrival. Where records are missing the copy has a gap, which readers step over. No
//! number is given again: a log goes on above every number that is known to have been used.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::env::{Access, Disk, DiskFile, Env, LockMode, Pace};
use crate::error::{Error, Result};
use crate::format::batch::BatchHeader;
use crate::format::manifest::{LogRow, Root, SegmentRow};
use crate::format::segment::{HEADER_BYTES, SegmentHeader, next_batch};
use crate::format::store::StoreFile;
use crate::id::{LogId, SegmentId, SequenceNumber, StoreId};
use crate::manifest::{Changes, Manifest};
use crate::options::StoreOptions;
use crate::recovery;
use crate::segment::segment_path;

use super::finding::{CheckOptions, CheckReport, Progress};
use super::inspection::{Inspection, take_lock};
use super::journal::Journal;
use super::unnamed::Unnamed;

const BUFFER_BYTES: usize = 1 << 20;
/// Where it isn't known which numbers were given, so many are left out.
const NUMBERS_LEFT_OUT: u64 = 1 << 24;

/// One log of a salvage.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvagedLog {
    /// Its id, which it keeps.
    pub id: LogId,
    /// Its name; made up where no manifest page says it.
    pub name: String,
    /// Records copied.
    pub records: u64,
    /// Their bytes, headers included.
    pub bytes: u64,
    /// Numbers, from the trim horizon on, that the copy has no records for. In a buffered log that may be as it was.
    pub missing: Vec<Range<SequenceNumber>>,
    /// Numbers whose records come from files that nothing readable names: what names them is damaged. They verify, and are of this log.
    pub unnamed: Vec<Range<SequenceNumber>>,
    /// Number of the next record that is appended to the copy.
    pub end: SequenceNumber,
}

/// What a salvage copied, and what it could not.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct SalvageReport {
    /// The logs of the new store.
    pub logs: Vec<SalvagedLog>,
    /// Records copied.
    pub records: u64,
    /// Their bytes, headers included.
    pub bytes: u64,
    /// What was found on the way: the same as [`super::check`] says.
    pub check: CheckReport,
}

/// Copies every record that can be read from the store in `path` to a new store in the folder `dest`, which must be empty
/// or not exist. The old store is only read.
///
/// # Errors
/// As [`super::check`]; [`Error::NotAStore`] when `dest` is not empty; [`Error::Damaged`] when nothing says which store it is;
/// [`Error::Io`] when the copy can't be written. Without a `STORE` file in it, half a copy is no store.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use braidlog::Store;
/// use braidlog::check::salvage;
/// let (damaged, copy) = (dir.path().join("damaged"), dir.path().join("copy"));
/// Store::open(&damaged)?.create_log("clicks", Default::default())?.append("hello")?;
/// let report = salvage(&damaged, &copy, &mut |_| {})?;
/// assert_eq!(report.records, 1);
/// assert_eq!(Store::open(&copy)?.log("clicks")?.end(), 1);
/// # Ok(())
/// # }
/// ```
pub fn salvage(
    path: impl AsRef<Path>,
    dest: impl AsRef<Path>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<SalvageReport> {
    salvage_in(&super::existing(path.as_ref())?, &dest.as_ref().display().to_string(), progress)
}

/// As [`salvage`], on given parts; `dest` is a root for the same kind of disk.
///
/// # Errors
/// As [`salvage`].
pub fn salvage_in(env: &Env, dest: &str, progress: &mut dyn FnMut(&Progress)) -> Result<SalvageReport> {
    let _lock = take_lock(&*env.disk, LockMode::Shared)?;
    let target = env.disk.sibling(dest).map_err(Error::io("open", dest))?;
    if let Some(found) = target.list("").map_err(Error::io("list", dest))?.first() {
        return Err(Error::NotAStore { root: dest.to_owned(), found: found.name.clone() });
    }
    // Nobody opens the copy before it is whole; and it then has the lock file that inspectors look for.
    let _target_lock = take_lock(&*target, LockMode::Exclusive)?;
    recovery::make_folders(&*target)?;
    let mut salvager = Salvager::new(target);
    let mut inspection = Inspection::new(env, &CheckOptions::new(), progress);
    inspection.run(Some(&mut salvager))?;
    let (origin, file_bytes) = (inspection.origin, inspection.journal_file_bytes);
    let check = inspection.finish();
    if origin == StoreId([0; 16]) {
        return Err(Error::damaged("STORE", 0)(crate::format::Damage::Missing));
    }
    let identity = StoreFile {
        id: StoreId(env.random_bytes()),
        origin,
        created_ms: env.clock.wall_ms(),
        journal_file_bytes: file_bytes.unwrap_or(StoreOptions::default().journal_file_bytes),
    };
    salvager.finish(&identity, check)
}

/// Takes batches and writes them to the new store.
pub(super) struct Salvager {
    target: Arc<dyn Disk>,
    rows: Changes,
    folders: BTreeSet<String>,
    next_segment: u64,
    frame: u64,
    generation: u64,
    stamp_ms: u64,
    next_log: u64,
    /// The journal ends in damage: numbers may have been given that nothing tells of.
    unknown_end: bool,
    current: Option<Current>,
    /// Of the log that was begun last.
    taken: Vec<Taken>,
    /// The first thing that went wrong; nothing is written after it.
    failed: Option<Error>,
    report: SalvageReport,
}

struct Current {
    row: LogRow,
    log: SalvagedLog,
    next: SequenceNumber,
    origin: StoreId,
    active: Option<Active>,
    /// Where records that are missing may be.
    unnamed: Option<Unnamed>,
}

/// What was taken of a file that nothing readable names.
pub(super) struct Taken {
    pub(super) segment: SegmentId,
    pub(super) numbers: Range<SequenceNumber>,
    pub(super) batches: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

struct Active {
    file: Arc<dyn DiskFile>,
    row: SegmentRow,
    /// Where `buffer` goes.
    position: u64,
    buffer: Vec<u8>,
}

impl Salvager {
    fn new(target: Arc<dyn Disk>) -> Salvager {
        Salvager {
            target,
            rows: Changes::default(),
            folders: BTreeSet::new(),
            next_segment: 1,
            frame: 0,
            generation: 0,
            stamp_ms: 0,
            next_log: 1,
            unknown_end: false,
            current: None,
            taken: Vec::new(),
            failed: None,
            report: SalvageReport::default(),
        }
    }

    /// What the manifest and the journal say of the store as a whole.
    pub(super) fn begin(&mut self, root: &Root, journal: &Journal, next_log: u64) {
        let newest = journal.stranded.iter().map(|p| p.header.frame).max();
        self.frame = newest.max(journal.plan.as_ref().map(|plan| plan.end)).unwrap_or(root.frame).max(root.frame);
        self.generation = root.generations.last().map_or(0, |g| g.0) + 1;
        self.stamp_ms = root.stamp_ms;
        self.next_log = next_log;
        self.unknown_end = journal.is_damaged();
    }

    /// There is no manifest: what frames there are bound what may have been used.
    pub(super) fn begin_without(&mut self, journal: &Journal) {
        self.frame = journal.stranded.iter().map(|p| p.header.frame).max().unwrap_or(0);
        self.generation = journal.stranded.iter().map(|p| p.header.generation).max().unwrap_or(0) + 1;
        self.unknown_end = true;
    }

    /// Whether a log is in the copy already.
    pub(super) fn has(&self, id: LogId) -> bool {
        self.rows.row(id).is_some()
    }

    /// Starts a log. `beyond` is a number that none of its records that are known of has reached.
    pub(super) fn begin_log(&mut self, row: &LogRow, beyond: SequenceNumber, origin: StoreId) {
        self.end_log();
        self.next_log = self.next_log.max((row.id.0 >> LogId::BUCKET_BITS) + 1);
        let end = row.end.max(beyond);
        let (missing, unnamed) = Default::default();
        let log = SalvagedLog { id: row.id, name: row.name.clone(), records: 0, bytes: 0, missing, unnamed, end };
        let row = LogRow { segments: Vec::new(), stopped_at: None, end, ..row.clone() };
        self.current = Some(Current { next: 0, row, log, origin, active: None, unnamed: None });
        self.taken.clear();
    }

    /// Where to look for records that the log begun last turns out to lack.
    pub(super) fn take_unnamed(&mut self, unnamed: Unnamed) {
        if let Some(current) = &mut self.current {
            current.unnamed = Some(unnamed);
        }
    }

    /// What was taken from there, of the log that was ended last.
    pub(super) fn taken(&mut self) -> Vec<Taken> {
        std::mem::take(&mut self.taken)
    }

    /// Takes a batch that verifies, without its padding. One whose records are there already is left out. Where it is not the next
    /// one, what nothing names comes before it, as far as there is any.
    pub(super) fn batch(&mut self, header: &BatchHeader, bytes: &[u8]) {
        self.fill_up_to(header.first);
        self.put(header, bytes);
    }

    fn fill_up_to(&mut self, end: SequenceNumber) {
        let Some(current) = &mut self.current else { return };
        let from = current.next.max(current.row.horizon);
        if from >= end || self.failed.is_some() {
            return;
        }
        let Some(mut unnamed) = current.unnamed.take() else { return };
        unnamed.each(current.next, from..end, &mut |segment, header, bytes| {
            self.put(header, bytes);
            let (numbers, len) = (header.first..header.end(), bytes.len() as u64);
            match self.taken.last_mut().filter(|last| last.segment == segment && last.numbers.end == numbers.start) {
                Some(last) => {
                    last.numbers.end = numbers.end;
                    last.batches += 1;
                    last.records += u64::from(header.count);
                    last.bytes += len;
                }
                None => {
                    let records = u64::from(header.count);
                    self.taken.push(Taken { segment, numbers, batches: 1, records, bytes: len });
                }
            }
        });
        if let Some(current) = &mut self.current {
            current.unnamed = Some(unnamed);
        }
    }

    fn put(&mut self, header: &BatchHeader, bytes: &[u8]) {
        if self.failed.is_none()
            && let Err(error) = self.try_put(header, bytes)
        {
            self.failed = Some(error);
        }
    }

    fn try_put(&mut self, header: &BatchHeader, bytes: &[u8]) -> Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        if header.first < current.next {
            return Ok(());
        }
        let full = |active: &Active| {
            active.position + (active.buffer.len() + bytes.len()) as u64 > current.row.segment_bytes_max
        };
        if header.first > current.next || current.active.as_ref().is_none_or(full) {
            current.seal()?;
            let id = SegmentId(self.next_segment);
            self.next_segment += 1;
            let path = segment_path(id);
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
            if self.folders.insert(folder.clone()) {
                self.target.create_dir(&folder).map_err(Error::io("make folder", folder))?;
            }
            let file = self.target.open(&path, Access::CreateNew).map_err(Error::io("create", path))?;
            let front = SegmentHeader {
                origin: current.origin,
                log: current.row.id,
                segment: id,
                base: header.first,
                bytes: 0,
            }
            .encode();
            let row = SegmentRow {
                id,
                start: 0,
                base: header.first,
                end: header.first,
                bytes: HEADER_BYTES as u64,
                first_arrival_ms: header.first_arrival_ms,
                last_arrival_ms: header.last_arrival_ms,
            };
            current.active = Some(Active { file, row, position: 0, buffer: front.to_vec() });
        }
        let from = current.next.max(current.row.horizon);
        if header.first > from {
            current.log.missing.push(from..header.first);
        }
        if let Some(active) = &mut current.active {
            let at = active.position + active.buffer.len() as u64;
            active.buffer.extend_from_slice(bytes);
            let next = next_batch(at, header);
            active.buffer.resize((next - active.position) as usize, 0);
            active.row.end = header.end();
            active.row.bytes = next;
            active.row.last_arrival_ms = header.last_arrival_ms;
            if active.buffer.len() >= BUFFER_BYTES {
                active.write()?;
            }
        }
        current.next = header.end();
        current.row.last_arrival_ms = current.row.last_arrival_ms.max(header.last_arrival_ms);
        current.log.records += u64::from(header.count);
        current.log.bytes += bytes.len() as u64;
        self.stamp_ms = self.stamp_ms.max(header.last_arrival_ms);
        self.frame = self.frame.max(header.frame);
        Ok(())
    }

    /// Ends the log begun last.
    pub(super) fn end_log(&mut self) {
        self.fill_up_to(SequenceNumber::MAX);
        let Some(mut current) = self.current.take() else { return };
        if self.failed.is_none()
            && let Err(error) = current.seal()
        {
            self.failed = Some(error);
        }
        let from = current.next.max(current.row.horizon);
        if from < current.row.end {
            current.log.missing.push(from..current.row.end);
        }
        let margin = if self.unknown_end { NUMBERS_LEFT_OUT } else { 0 };
        let end = current.row.end.max(current.next).saturating_add(margin);
        current.row.end = end;
        current.row.reserved = current.row.reserved.max(end);
        current.log.end = end;
        for numbers in self.taken.iter().map(|taken| taken.numbers.clone()) {
            match current.log.unnamed.last_mut().filter(|last| last.end == numbers.start) {
                Some(last) => last.end = numbers.end,
                None => current.log.unnamed.push(numbers),
            }
        }
        self.report.records += current.log.records;
        self.report.bytes += current.log.bytes;
        self.report.logs.push(current.log);
        self.rows.put(current.row);
    }

    fn stored_bytes(&self) -> u64 {
        self.rows.rows().flat_map(|row| &row.segments).map(|segment| segment.stored_bytes()).sum()
    }

    /// Makes a store of it: folders, then the manifest, and `STORE` last.
    fn finish(mut self, identity: &StoreFile, check: CheckReport) -> Result<SalvageReport> {
        self.end_log();
        if let Some(error) = self.failed {
            return Err(error);
        }
        for folder in self.folders.iter().map(String::as_str).chain(["segments"]) {
            self.target.sync_dir(folder).map_err(Error::io("sync folder", folder))?;
        }
        let root = Root {
            frame: self.frame,
            next_log: self.next_log,
            segments_reserved: self.next_segment,
            clean: true,
            stamp_ms: self.stamp_ms,
            stored_bytes: self.stored_bytes(),
            generations: vec![(self.generation, self.frame + 1)],
            ..Root::default()
        };
        let mut manifest = Manifest::create(self.target.clone(), identity.origin, root.clone())?;
        manifest.write(root, &self.rows, &Pace::none())?;
        recovery::write_identity(&*self.target, identity)?;
        self.report.check = check;
        Ok(self.report)
    }
}

impl Current {
    /// Finishes the segment being written.
    fn seal(&mut self) -> Result<()> {
        let Some(mut active) = self.active.take() else { return Ok(()) };
        active.write()?;
        active.file.sync_data().map_err(Error::io("sync", segment_path(active.row.id)))?;
        self.row.segments.push(active.row);
        Ok(())
    }
}

impl Active {
    fn write(&mut self) -> Result<()> {
        let written = self.file.write_at(&self.buffer, self.position);
        written.map_err(Error::io("write", segment_path(self.row.id)))?;
        self.position += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
