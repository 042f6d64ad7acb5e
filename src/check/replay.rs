//! What exists: the manifest in force, and on top of it what the journal says happened since.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::format::batch::{self, BatchHeader};
use crate::format::checksum::Salt;
use crate::format::journal::{self, Entry, EntryKind};
use crate::format::manifest::{DurabilityByte, LogRow};
use crate::id::{FrameNumber, LogId, SegmentId, SequenceNumber};
use crate::journal::{FramePlace, payload_is_whole, withheld_logs};
use crate::manifest::Manifest;

use super::finding::Finding;
use super::hidden;
use super::inspection::Inspection;
use super::journal::{Journal, what_of};

/// A batch that only the journal has.
pub(super) struct InJournal {
    pub(super) header: BatchHeader,
    /// The whole batch, header and padding included.
    pub(super) bytes: Bytes,
}

/// One log as it exists.
pub(super) struct Claim {
    /// Its row; the segments are those that opening would serve.
    pub(super) row: LogRow,
    /// Number of the next record.
    pub(super) next: SequenceNumber,
    /// Batches behind the segments.
    pub(super) pending: Vec<InJournal>,
    /// Batches that verify but can't be served, because of damage before them.
    pub(super) stranded: Vec<InJournal>,
    /// Frames with a row of a large share that can't be read.
    pub(super) hidden_frames: BTreeSet<FrameNumber>,
    /// A later row that can't be served either, with the segments it names.
    pub(super) stranded_row: Option<LogRow>,
    /// The log can't be appended to, from this number on.
    pub(super) stopped_at: Option<SequenceNumber>,
    /// A number that no record of the log that is known of has reached.
    pub(super) beyond: SequenceNumber,
    /// What to say of it, unless it turns out to be deleted.
    pub(super) findings: Vec<Finding>,
    /// It exists only in frames that can't be replayed.
    pub(super) is_stranded: bool,
}

impl Claim {
    pub(super) fn new(row: LogRow) -> Claim {
        Claim {
            next: row.end,
            stopped_at: row.stopped_at,
            beyond: row.end,
            row,
            pending: Vec::new(),
            stranded: Vec::new(),
            hidden_frames: BTreeSet::new(),
            stranded_row: None,
            findings: Vec::new(),
            is_stranded: false,
        }
    }
}

impl Claim {
    /// An entry about it can't be read.
    fn lacks(&mut self, entry: &Entry, frame: FrameNumber) {
        self.beyond = self.beyond.max(entry.first.saturating_add(u64::from(entry.count)));
        if entry.kind == EntryKind::Settle {
            self.hidden_frames.insert(frame);
        }
    }

    /// Nothing of it counts from here on.
    pub(super) fn stop(&mut self) {
        self.stopped_at = Some(self.stopped_at.map_or(self.next, |at| at.min(self.next)));
    }
}

/// The logs that the journal says something about, and what is known of the rest.
#[derive(Default)]
pub(super) struct Claims {
    pub(super) logs: BTreeMap<LogId, Claim>,
    /// Deleted since the manifest.
    pub(super) gone: BTreeSet<LogId>,
    /// Buffered logs whose tails count.
    pub(super) touched: BTreeSet<LogId>,
    /// Buffered logs whose tails would count, if frames that can't be replayed did.
    pub(super) stranded_touched: BTreeSet<LogId>,
    /// Every segment that something names.
    pub(super) named: HashSet<SegmentId>,
    /// Segments that the manifest names and that were given up since: later segments have their records too.
    pub(super) replaced: HashSet<SegmentId>,
    /// No log has this counter or a higher one.
    pub(super) next_log: u64,
}

/// Replays the journal on the manifest, in memory.
pub(super) fn replay(ins: &mut Inspection<'_>, manifest: &Manifest, journal: &Journal) -> Result<Claims> {
    let mut claims = Claims { next_log: manifest.root.next_log, ..Claims::default() };
    if !journal.clean {
        claims.touched.extend(manifest.root.touched.iter().copied());
    }
    let mut replay = Replay { manifest, claims, unknown: BTreeSet::new() };
    for place in journal.plan.iter().flat_map(|plan| &plan.frames) {
        replay.frame(ins, journal, place, false);
    }
    for place in &journal.stranded {
        replay.frame(ins, journal, place, true);
    }
    for place in &journal.kept {
        replay.kept_frame(ins, journal, place);
    }
    hidden::find(ins, &mut replay.claims)?;
    replay.tell(ins);
    Ok(replay.claims)
}

struct Replay<'a> {
    manifest: &'a Manifest,
    claims: Claims,
    /// Logs whose page can't be read.
    unknown: BTreeSet<LogId>,
}

impl Replay<'_> {
    fn claim(&mut self, ins: &mut Inspection<'_>, id: LogId) -> Option<&mut Claim> {
        if !self.claims.logs.contains_key(&id) && !self.claims.gone.contains(&id) {
            match self.manifest.row_by_id(id) {
                Ok(Some(row)) => {
                    self.claims.logs.insert(id, Claim::new(row));
                }
                Ok(None) => {}
                Err(error) => {
                    if self.unknown.insert(id) {
                        let path =
                            if let Error::Damaged { path, .. } = &error { path.clone() } else { "manifest".into() };
                        let what = "the journal has changes of a log whose manifest page can't be read";
                        let advice = "The store opens read-only. See the finding on that page.";
                        ins.find(Finding::damage(path, what).log(id, "?").advice(advice));
                    }
                }
            }
        }
        self.claims.logs.get_mut(&id)
    }

    fn frame(&mut self, ins: &mut Inspection<'_>, journal: &Journal, place: &FramePlace, stranded: bool) {
        let bytes = journal.bytes_of(place);
        let path = journal.path_of(place);
        let Ok(frame) = journal::decode(&bytes, ins.origin) else { return };
        let withheld = match place.intact || stranded {
            true => BTreeSet::new(),
            false => self.withhold(ins, &path, place, &bytes, &frame.entries),
        };
        for (entry, payload) in &frame.entries {
            let generation = place.header.generation;
            if entry.kind == EntryKind::CreateLog {
                // Whether or not its row can be read.
                self.claims.next_log = self.claims.next_log.max((entry.log.0 >> LogId::BUCKET_BITS) + 1);
            }
            if !place.intact && !payload_is_whole(entry, payload, ins.origin, generation) {
                if let Some(claim) = self.claim(ins, entry.log) {
                    claim.lacks(entry, place.header.frame);
                }
                continue;
            }
            if !stranded && entry.kind == EntryKind::Batch {
                ins.report.batches += 1;
                ins.report.records += u64::from(entry.count);
            }
            let outcome = self.entry(ins, entry, payload, &bytes, stranded);
            if entry.kind == EntryKind::CreateLog && withheld.contains(&entry.log) {
                // The log itself is known, what was appended to it is not.
                if let Some(claim) = self.claim(ins, entry.log) {
                    claim.stop();
                }
            }
            if let Err(what) = outcome {
                let finding = Finding::damage(&path, format!("frame {}: {what}", place.header.frame));
                let finding = finding.at(place.offset as u64).records(entry.records());
                match self.claims.logs.get_mut(&entry.log) {
                    Some(claim) => claim.findings.push(finding.log(entry.log, &claim.row.name)),
                    None => ins.find(finding.log(entry.log, "?")),
                }
            }
        }
    }

    /// A frame that a checkpoint covers, in a file that was kept: what it has of logs that stopped is in no segment.
    fn kept_frame(&mut self, ins: &mut Inspection<'_>, journal: &Journal, place: &FramePlace) {
        let bytes = journal.bytes_of(place);
        let Ok(frame) = journal::decode(&bytes, ins.origin) else { return };
        for (entry, payload) in &frame.entries {
            let is_stopped = self.claim(ins, entry.log).is_some_and(|claim| claim.stopped_at.is_some());
            if !is_stopped || !matches!(entry.kind, EntryKind::Batch | EntryKind::Settle) {
                continue;
            }
            if let Some(claim) = self.claim(ins, entry.log) {
                claim.beyond = claim.beyond.max(entry.first.saturating_add(u64::from(entry.count)));
            }
            if payload_is_whole(entry, payload, ins.origin, place.header.generation) {
                // One that is not of this log's life is no batch of it.
                let _ = self.entry(ins, entry, payload, &bytes, true);
            } else if let Some(claim) = self.claim(ins, entry.log) {
                claim.lacks(entry, place.header.frame);
            }
        }
    }

    /// A frame that had been durable has payloads that don't verify: their logs stop, and so does every log of a transaction
    /// that touches one of those. Answers with all of them.
    fn withhold(
        &mut self,
        ins: &mut Inspection<'_>,
        path: &str,
        place: &FramePlace,
        bytes: &[u8],
        entries: &[(Entry, &[u8])],
    ) -> BTreeSet<LogId> {
        for (entry, payload) in entries {
            if payload_is_whole(entry, payload, ins.origin, place.header.generation) {
                continue;
            }
            let name = self.claim(ins, entry.log).map_or("?".to_owned(), |claim| claim.row.name.clone());
            let what = what_of(entry, payload, ins.origin);
            let offset = payload.as_ptr() as usize - bytes.as_ptr() as usize;
            let what = format!("the payload of a {:?} entry of frame {}: {what}", entry.kind, place.header.frame);
            let finding = Finding::damage(path, what).at((place.offset + offset) as u64);
            ins.find(finding.log(entry.log, &name).records(entry.records()).advice(
                "The log is read-only from here on; others are not affected. Copy what can be read into a new store with \
                 `braidlog check --salvage DEST`, or restore a backup.",
            ));
        }
        let logs = withheld_logs(entries, ins.origin, place.header.generation);
        for id in &logs {
            if let Some(claim) = self.claim(ins, *id) {
                claim.stop();
            }
        }
        logs
    }

    fn entry(
        &mut self,
        ins: &mut Inspection<'_>,
        entry: &Entry,
        payload: &[u8],
        frame: &Bytes,
        stranded: bool,
    ) -> Result<(), String> {
        let row = || LogRow::decode_only(payload).map_err(|what| format!("the row of a log: {what}"));
        let buffered = |row: &LogRow| row.durability == DurabilityByte::Buffered;
        match entry.kind {
            EntryKind::Mark => return Ok(()),
            EntryKind::CreateLog => {
                let row = row()?;
                if self.claim(ins, row.id).is_none() && !self.claims.gone.contains(&row.id) {
                    if buffered(&row) {
                        let touched = &mut self.claims;
                        if stranded { &mut touched.stranded_touched } else { &mut touched.touched }.insert(row.id);
                    }
                    self.claims.logs.insert(row.id, Claim { is_stranded: stranded, ..Claim::new(row) });
                }
                return Ok(());
            }
            _ => {}
        }
        let origin = ins.origin;
        let mut given_up_by_settle = Vec::new();
        let Some(claim) = self.claim(ins, entry.log) else { return Ok(()) };
        let skipped = stranded || claim.stopped_at.is_some();
        match entry.kind {
            EntryKind::Batch => {
                let salt = Salt::batches(origin, entry.log);
                let (header, _) = batch::decode(payload, salt).map_err(|what| what.to_string())?;
                claim.beyond = claim.beyond.max(header.end());
                let batch = InJournal { header, bytes: frame.slice_ref(payload) };
                if skipped {
                    claim.stranded.push(batch);
                } else if header.end() <= claim.next {
                } else if header.first != claim.next {
                    claim.stopped_at = Some(claim.next);
                    let expected = claim.next;
                    claim.stranded.push(batch);
                    return Err(format!("a batch starts with number {}, expected was {expected}", header.first));
                } else {
                    claim.next = header.end();
                    claim.pending.push(batch);
                }
            }
            EntryKind::Settle => {
                let row = row()?;
                claim.beyond = claim.beyond.max(row.end);
                if skipped {
                    claim.stranded_row = Some(row);
                } else if row.end > claim.row.segments.last().map_or(0, |segment| segment.end) {
                    let given_up = claim.row.segments.iter().map(|segment| segment.id);
                    given_up_by_settle.extend(given_up.filter(|id| row.segments.iter().all(|kept| kept.id != *id)));
                    claim.pending.retain(|batch| batch.header.end() > row.end);
                    claim.next = claim.next.max(row.end);
                    claim.row = LogRow {
                        segments: row.segments,
                        end: row.end,
                        horizon: claim.row.horizon.max(row.horizon),
                        last_arrival_ms: row.last_arrival_ms,
                        ..claim.row.clone()
                    };
                }
            }
            // What can't be replayed deletes nothing but what it made.
            EntryKind::DeleteLog if !stranded || claim.is_stranded => {
                self.claims.logs.remove(&entry.log);
                self.claims.touched.remove(&entry.log);
                self.claims.gone.insert(entry.log);
            }
            EntryKind::DeleteLog => {
                let finding = Finding::warning("journal", "a frame that can't be replayed deletes this log");
                let finding = finding.log(entry.log, &claim.row.name);
                claim.findings.push(finding.advice("A salvage copies it: delete it in the copy if it is not wanted."));
            }
            EntryKind::CloseLog if !skipped => claim.row.closed = true,
            EntryKind::Trim if skipped && entry.first > claim.row.horizon => {
                let what = format!("an entry that can't be replayed trims this log up to number {}", entry.first);
                let finding = Finding::warning("journal", what).log(entry.log, &claim.row.name);
                claim.findings.push(finding.advice("A salvage copies what is below that: trim the copy."));
            }
            EntryKind::Trim if !skipped => claim.row.horizon = claim.row.horizon.max(entry.first),
            EntryKind::Touch if !skipped => {
                claim.row.reserved = claim.row.reserved.max(row()?.reserved);
                self.claims.touched.insert(entry.log);
            }
            EntryKind::Touch => drop(self.claims.stranded_touched.insert(entry.log)),
            EntryKind::SetOptions if !skipped => {
                let row = row()?;
                claim.row.retention_ms = row.retention_ms;
                claim.row.retention_bytes = row.retention_bytes;
                claim.row.held_bytes_max = row.held_bytes_max;
                claim.row.segment_bytes_max = row.segment_bytes_max;
            }
            _ => {}
        }
        self.claims.replaced.extend(given_up_by_settle);
        Ok(())
    }

    /// What is withheld of each log.
    fn tell(&self, ins: &mut Inspection<'_>) {
        for (id, claim) in &self.claims.logs {
            claim.findings.iter().for_each(|finding| ins.find(finding.clone()));
            let from = claim.stopped_at.unwrap_or(claim.next);
            if claim.beyond > from && (claim.stopped_at.is_some() || !claim.stranded.is_empty() || claim.is_stranded) {
                let whole: u64 = claim.stranded.iter().map(|batch| u64::from(batch.header.count)).sum();
                let what = format!("records behind damage are withheld; {whole} of them verify and can be salvaged");
                let finding = Finding::damage("journal", what).log(*id, &claim.row.name);
                ins.find(
                    finding
                        .records(from..claim.beyond)
                        .advice("Copy what can be read into a new store with `braidlog check --salvage DEST`."),
                );
            }
        }
    }
}

impl Entry {
    /// The numbers of the records it carries.
    fn records(&self) -> std::ops::Range<SequenceNumber> {
        self.first..self.first.saturating_add(u64::from(self.count))
    }
}
