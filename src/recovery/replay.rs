//! The journal's frames, applied in memory to the manifest's logs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::format::Damage;
use crate::format::batch::{BatchHeader, HEADER_BYTES};
use crate::format::journal::{Entry, EntryKind, decode};
use crate::format::manifest::LogRow;
use crate::id::{FrameNumber, LogId, SegmentId, StoreId};
use crate::journal::{FramePlace, withheld_logs};
use crate::log::{Ended, LogState, PendingBatch, options_of};
use crate::manifest::{Known, Manifest};
use crate::options::Durability;
use crate::segment::Segment;
use crate::sync::{Arc, Ordering};

use super::OpenReport;

/// What is known of the logs that the journal is about.
pub(super) struct Replay<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) origin: StoreId,
    /// Pages that were read, by their first bucket: a journal can be about every log there is, and each page is read once.
    pub(super) pages: HashMap<u16, Known>,
    /// Logs that the journal is about and whose page can't be read.
    pub(super) unknown: BTreeSet<LogId>,
    pub(super) logs: HashMap<LogId, Arc<LogState>>,
    pub(super) gone: Vec<(LogId, Option<Arc<LogState>>)>,
    pub(super) touched: BTreeSet<LogId>,
    pub(super) next_log: u64,
    pub(super) stamp_ms: u64,
    pub(super) pending_bytes: u64,
    /// Segments that the manifest names and that a frame after it had others take the place of: they go with the next checkpoint.
    pub(super) retired: Vec<Arc<Segment>>,
    /// Bytes that the manifest counts for logs looked at.
    pub(super) counted: HashMap<LogId, u64>,
    /// Logs that the journal stops.
    pub(super) stopped: HashSet<LogId>,
    /// Files, by their place, with frames that have something of one of these; each with the first of those frames.
    pub(super) withheld: BTreeMap<usize, FrameNumber>,
    pub(super) report: OpenReport,
}

impl Replay<'_> {
    pub(super) fn log(&mut self, id: LogId) -> Result<Option<Arc<LogState>>> {
        if let Some(log) = self.logs.get(&id) {
            return Ok(Some(log.clone()));
        }
        if self.gone.iter().any(|(gone, _)| *gone == id) {
            return Ok(None);
        }
        let page = self.manifest.page_around(id);
        let known = match self.pages.entry(page) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(place) => place.insert(self.manifest.known_from(page)?),
        };
        let Some(row) = known.rows.iter().find(|row| row.id == id) else {
            if let Some(damage) = known.damage.as_ref().filter(|_| self.unknown.insert(id)) {
                self.report.page_damage.get_or_insert(damage.to_string());
                self.report.stopped_logs.push((format!("(log {})", id.0), 0));
            }
            return Ok(None);
        };
        let log = Arc::new(LogState::from_row(row, self.origin, false));
        self.counted.insert(id, log.stored_bytes());
        self.logs.insert(id, log.clone());
        Ok(Some(log))
    }

    /// By their ids, so that a history runs alike each time.
    pub(super) fn logs_in_order(&self) -> Vec<Arc<LogState>> {
        let mut logs: Vec<_> = self.logs.values().cloned().collect();
        logs.sort_unstable_by_key(|log| log.id);
        logs
    }

    /// The segments that logs have, of those that are asked about.
    pub(super) fn segments_in_use(&self, is_asked_about: impl Fn(&SegmentId) -> bool) -> HashSet<SegmentId> {
        let mut used = HashSet::new();
        for log in self.logs.values() {
            let view = log.view.read().unwrap_or_else(|p| p.into_inner());
            used.extend(view.segments.iter().map(|segment| segment.id).filter(&is_asked_about));
        }
        used
    }

    /// What a manifest that counts `stored` bytes of segments would count with these logs as they are now.
    pub(super) fn stored_with<'l>(&self, stored: u64, logs: impl Iterator<Item = &'l Arc<LogState>>) -> u64 {
        let (mut before, mut now) = (0, 0);
        for log in logs {
            before += self.counted.get(&log.id).unwrap_or(&0);
            now += log.stored_bytes();
        }
        (stored + now).saturating_sub(before)
    }

    /// Bytes of all segments there are, but for those that are left over.
    pub(super) fn stored_bytes(&self, stored: u64) -> u64 {
        let gone = self.gone.iter().filter_map(|(_, log)| log.as_ref());
        let retired: u64 = self.retired.iter().map(|segment| segment.bytes()).sum();
        self.stored_with(stored, self.logs.values().chain(gone)) + retired
    }

    pub(super) fn frame(&mut self, place: &FramePlace, file: &Bytes) -> Result<()> {
        let bytes = file.slice(place.offset..place.offset + place.header.length as usize);
        let frame = decode(&bytes, self.origin).map_err(Error::damaged("journal", place.offset as u64))?;
        self.report.frames_replayed += 1;
        self.report.bytes_replayed += u64::from(place.header.length);
        self.stamp_ms = self.stamp_ms.max(place.header.stamp_ms);
        let withheld = if place.intact { BTreeSet::new() } else { self.withhold(&frame.entries, place)? };
        for (entry, payload) in &frame.entries {
            if entry.kind == EntryKind::CreateLog {
                // Whether or not its row can be read: what is withheld of it must not become another log's.
                self.next_log = self.next_log.max((entry.log.0 >> LogId::BUCKET_BITS) + 1);
            }
            if entry.kind != EntryKind::CreateLog || !withheld.contains(&entry.log) {
                self.entry(entry, payload, &bytes, place.header.frame)?;
            } else if entry.verify(payload, self.origin, place.header.generation).is_ok() {
                // The log itself is known, what was appended to it is not.
                self.entry(entry, payload, &bytes, place.header.frame)?;
                self.stop(entry.log)?;
            } else {
                self.stopped.insert(entry.log);
                self.report.stopped_logs.push((format!("(log {})", entry.log.0), 0));
            }
        }
        if frame.entries.iter().any(|(entry, _)| self.stopped.contains(&entry.log)) {
            let first = self.withheld.entry(place.file).or_insert(place.header.frame);
            *first = place.header.frame.min(*first);
        }
        Ok(())
    }

    /// Nothing of the log from here on.
    fn stop(&mut self, id: LogId) -> Result<()> {
        if let Some(log) = self.log(id)? {
            log.stop_at(log.high());
            self.stopped.insert(id);
            self.report.stopped_logs.push((log.name.to_string(), log.high()));
        }
        Ok(())
    }

    /// A frame that had been durable and has damaged payloads: the logs they are about stop, and so does every log of a
    /// transaction that touches one of those. Answers with all of them.
    fn withhold(&mut self, entries: &[(Entry, &[u8])], place: &FramePlace) -> Result<BTreeSet<LogId>> {
        let logs = withheld_logs(entries, self.origin, place.header.generation);
        logs.iter().try_for_each(|id| self.stop(*id))?;
        Ok(logs)
    }

    fn entry(&mut self, entry: &Entry, payload: &[u8], frame: &Bytes, number: u64) -> Result<()> {
        let misplaced = || Error::damaged("journal", 0)(Damage::Misplaced);
        let row = || LogRow::decode_only(payload).map_err(Error::damaged("journal", 0));
        if entry.kind == EntryKind::Mark {
            return Ok(());
        }
        if entry.kind == EntryKind::CreateLog {
            let row = row()?;
            let is_new = self.log(row.id)?.is_none() && !self.unknown.contains(&row.id);
            if is_new && !self.gone.iter().any(|(gone, _)| *gone == row.id) {
                let buffered = options_of(&row).durability == Durability::Buffered;
                let log = LogState::from_row(&row, self.origin, buffered);
                log.created_in.store(number, Ordering::Release);
                if buffered {
                    self.touched.insert(row.id);
                }
                self.logs.insert(row.id, Arc::new(log));
            }
            return Ok(());
        }
        let Some(log) = self.log(entry.log)? else {
            // Deleted by a later frame that a checkpoint covers already, or unknown.
            return Ok(());
        };
        let ahead_is_fine = crate::seeded_bug!(JournalAheadAccepted);
        if log.stopped_at().is_some() && entry.kind != EntryKind::DeleteLog && !ahead_is_fine {
            return Ok(());
        }
        match entry.kind {
            EntryKind::Batch => {
                let header: &[u8; HEADER_BYTES] = payload.first_chunk().ok_or_else(misplaced)?;
                let header = BatchHeader::parse(header, log.salt).map_err(Error::damaged("journal", 0))?;
                let next = log.high();
                if header.end() <= next {
                    return Ok(());
                }
                if header.first != next && !ahead_is_fine {
                    log.stop_at(next);
                    self.stopped.insert(log.id);
                    self.report.stopped_logs.push((log.name.to_string(), next));
                    return Ok(());
                }
                self.pending_bytes += payload.len() as u64;
                self.report.records_recovered += u64::from(header.count);
                log.push_pending([PendingBatch { header, bytes: frame.slice_ref(payload) }]);
                log.set_high(header.end());
                let mut appender = log.appender.lock();
                appender.set_next(header.end());
                self.stamp_ms = self.stamp_ms.max(appender.note_arrival(header.last_arrival_ms));
            }
            EntryKind::DeleteLog => {
                log.deleted_in.store(number, Ordering::Release);
                log.appender.lock().end(Ended::Deleted);
                log.set_deleted();
                self.logs.remove(&log.id);
                self.touched.remove(&log.id);
                self.gone.push((log.id, Some(log)));
            }
            EntryKind::Trim => log.trim(entry.first),
            EntryKind::CloseLog => {
                log.appender.lock().end(Ended::Closed);
                log.set_closed();
            }
            EntryKind::Settle => {
                let row = row()?;
                // The manifest's row was taken when its flushes were done, and may have more than the frame it names: then it is the
                // newer one, and what it has of later frames is not taken from them again.
                if row.end > log.segments_end() || crate::seeded_bug!(OlderRowReplayed) {
                    let (freed, replaced) = log.replace_segments(&row);
                    self.pending_bytes -= freed;
                    self.retired.extend(replaced.into_iter().filter(|segment| !segment.is_piece()));
                }
            }
            EntryKind::Touch => {
                let row = row()?;
                self.touched.insert(log.id);
                log.appender.lock().touch(row.reserved);
            }
            EntryKind::SetOptions => {
                log.set_options(options_of(&row()?));
            }
            EntryKind::CreateLog | EntryKind::Mark => {}
        }
        Ok(())
    }
}
