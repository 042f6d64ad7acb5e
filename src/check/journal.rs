//! The journal: where it ends, what lies behind that, and whether everything before is whole.

use std::ops::Range;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::format::batch;
use crate::format::checksum::Salt;
use crate::format::journal::{self, Entry, EntryKind, FRAME_ALIGNMENT};
use crate::format::manifest::Root;
use crate::format::{Damage, first_nonzero};
use crate::id::{FrameNumber, StoreId};
use crate::journal::{FramePlace, Plan, Verdict, hides_a_frame, journal_path, number_of, plan, read_blocks, survey};
use crate::limits::JOURNAL_FILE_BYTES_MAX;
use crate::segment::walk::dirty;
use crate::withheld::{self, ASIDE};

use super::finding::Finding;
use super::inspection::Inspection;

const SALVAGE: &str =
    "Copy what can be read into a new store with `braidlog check --salvage DEST`, or restore a backup.";

/// What the journal holds beyond the manifest.
pub(super) struct Journal {
    /// Files with frames behind the manifest, in memory as opening has them; the number of each and its bytes.
    pub(super) files: Vec<(u64, Bytes)>,
    /// Where each of them is.
    paths: Vec<String>,
    /// What opening would replay; `None` if that can't be told.
    pub(super) plan: Option<Plan>,
    /// Frames that verify but can't be replayed, because of damage before them: for salvage only.
    pub(super) stranded: Vec<FramePlace>,
    /// Frames of journal files that were kept because of what opening withheld of them: for salvage only.
    pub(super) kept: Vec<FramePlace>,
    /// The store was closed, and the journal holds nothing.
    pub(super) clean: bool,
}

impl Journal {
    /// Whether it ends in damage.
    pub(super) fn is_damaged(&self) -> bool {
        self.plan.as_ref().is_none_or(|plan| matches!(plan.verdict, Verdict::Damaged { .. }))
    }

    pub(super) fn bytes_of(&self, place: &FramePlace) -> Bytes {
        let length = place.header.length as usize;
        self.files[place.file].1.slice(place.offset..place.offset + length)
    }

    pub(super) fn path_of(&self, place: &FramePlace) -> String {
        self.paths[place.file].clone()
    }

    /// Takes in the frames up to `frame` of the files in the folder `aside`.
    fn take_kept(&mut self, ins: &mut Inspection<'_>, frame: u64) -> Result<()> {
        for entry in ins.list(ASIDE)?.into_iter().filter(|entry| withheld::is_copy(&entry.name)) {
            let path = format!("{ASIDE}/{}", entry.name);
            let Some((bytes, _)) = read(ins, &path, entry.len) else { continue };
            let frames = survey(&bytes, self.files.len(), ins.origin);
            self.kept.extend(frames.into_iter().filter(|place| place.header.frame <= frame));
            self.files.push((0, bytes));
            self.paths.push(path);
        }
        // Of one file there may be several copies.
        self.kept.sort_by_key(|place| (place.header.frame, place.header.generation, !place.intact));
        self.kept.dedup_by_key(|place| (place.header.frame, place.header.generation));
        Ok(())
    }
}

/// Reads the journal and works out where it ends.
pub(super) fn inspect(ins: &mut Inspection<'_>, root: Option<&Root>) -> Result<Journal> {
    let after = root.map_or(0, |root| root.frame);
    let newest_generation = root.map_or(0, |root| root.generations.last().map_or(0, |g| g.0));
    let mut clean = root.is_some_and(|root| root.clean);
    let mut files: Vec<(u64, Bytes)> = Vec::new();
    let mut places: Vec<FramePlace> = Vec::new();
    let mut fronts = Vec::new();
    let mut odd = Vec::new();
    let mut unreadable = Vec::new();
    let numbers = numbered(ins)?;
    for &(number, len) in &numbers {
        let path = journal_path(number);
        let Some((bytes, holes)) = read(ins, &path, len) else { continue };
        if ins.journal_file_bytes.is_some_and(|wanted| len != wanted) {
            odd.push(Odd { number, len });
        }
        let frames = survey(&bytes, files.len(), ins.origin);
        // The manifest's own frame says where the next one stands.
        let live = |p: &FramePlace| p.header.frame >= after || p.header.generation > newest_generation;
        // As opening does it: after a clean end no file begins with a later frame.
        let begins_later = journal::looks_like_frame(&bytes)
            && bytes.get(8..16).and_then(|n| n.try_into().ok()).is_some_and(|n| u64::from_le_bytes(n) > after);
        clean &= !begins_later;
        let front = bytes.get(..FRAME_ALIGNMENT).and_then(first_nonzero);
        if front.is_some() && frames.first().is_none_or(|first| first.offset > 0) {
            fronts.push(path);
        }
        if frames.iter().any(live) || begins_later || !holes.is_empty() {
            unreadable.extend(holes.into_iter().map(|hole| (files.len(), hole)));
            places.extend(frames);
            files.push((number, bytes));
        }
    }
    let incomplete = incomplete(ins, root, &numbers, &odd, clean);
    for path in fronts {
        let what = "the bytes at its front are no frame that verifies";
        let finding = if clean { Finding::note(path, what) } else { Finding::warning(path, what) }.at(0);
        ins.find(finding.advice(if clean {
            "The store was closed: nothing in the journal is needed."
        } else {
            "A write that a crash cut short, or damage; what it meant for the records is said with the frames."
        }));
    }
    let paths = files.iter().map(|(number, _)| journal_path(*number)).collect();
    let mut journal = Journal { files, paths, plan: None, stranded: Vec::new(), kept: Vec::new(), clean };
    let Some(root) = root else {
        // Without a manifest all that verifies may be of use.
        journal.take_kept(ins, FrameNumber::MAX)?;
        places.append(&mut journal.kept);
        places.sort_by_key(|p| p.header.frame);
        journal.stranded = places;
        return Ok(journal);
    };
    if clean {
        (journal.files, journal.paths, places) = (Vec::new(), Vec::new(), Vec::new());
        unreadable.clear();
    }
    match plan(&journal.files, &places, ins.origin, root) {
        Ok(mut plan) => {
            let hidden = match &plan.verdict {
                Verdict::Tail { .. } => hides_a_frame(&journal.files, &places, &plan, root, &unreadable),
                Verdict::Damaged { .. } => None,
            };
            if let Some((number, at)) = incomplete.filter(|_| !clean).or(hidden) {
                plan.verdict =
                    Verdict::Damaged { frame: plan.end + 1, path: journal_path(number), at, never_written: false };
            }
            ending(ins, &journal, &plan, root);
            ins.report.frames = plan.frames.len() as u64;
            places.retain(|p| {
                p.header.frame > plan.end && root.generation_of(p.header.frame) == Some(p.header.generation)
            });
            if matches!(plan.verdict, Verdict::Damaged { .. }) {
                places.sort_by_key(|p| p.header.frame);
                journal.stranded = places;
            }
            paddings(ins, &journal, &plan.frames);
            journal.plan = Some(plan);
        }
        Err(Error::Damaged { path, at, what, .. }) => {
            let what =
                format!("a frame of a life that no manifest here knows ({what}): a newer manifest existed and is gone");
            let finding = Finding::damage(path, what).at(at);
            ins.find(finding.advice(format!("The store can't be opened without that manifest. {SALVAGE}")));
            places.retain(|p| p.header.frame > after);
            places.sort_by_key(|p| p.header.frame);
            journal.stranded = places;
        }
        Err(error) => return Err(error),
    }
    journal.take_kept(ins, root.frame)?;
    Ok(journal)
}

/// The journal files by number, with their lengths; only those with exactly the name that we would give them.
fn numbered(ins: &Inspection<'_>) -> Result<Vec<(u64, u64)>> {
    let mut numbered: Vec<(u64, u64)> =
        ins.list("journal")?.iter().filter_map(|entry| Some((number_of(entry)?, entry.len))).collect();
    numbered.sort_unstable();
    Ok(numbered)
}

/// The bytes of a file as opening has them: zeros stand for what the device can't read, and that comes with them.
fn read(ins: &mut Inspection<'_>, path: &str, len: u64) -> Option<(Bytes, Vec<Range<usize>>)> {
    let (file, _) = ins.open(path).map_err(|finding| ins.find(*finding)).ok()?;
    ins.begin_file(path);
    let used = len.min(ins.journal_file_bytes.unwrap_or(len)).min(JOURNAL_FILE_BYTES_MAX) as usize;
    let damage = |what: String| Finding::damage(path, what);
    match ins.read(&*file, 0, used) {
        Ok(bytes) => return Some((Bytes::from(bytes), Vec::new())),
        Err(Damage::Unreadable) => {}
        Err(what) => {
            ins.find(damage(what.to_string()).at(0).advice(format!("The store can't be opened. {SALVAGE}")));
            return None;
        }
    }
    let (mut bytes, mut unreadable) = (vec![0; used], Vec::new());
    match read_blocks(&*file, &mut bytes, 0, &mut unreadable) {
        Ok(n) => bytes.truncate(n),
        Err(error) => {
            let what = format!("it can't be read: {error}");
            ins.find(damage(what).at(0).advice(format!("The store can't be opened. {SALVAGE}")));
            return None;
        }
    }
    let lost: usize = unreadable.iter().map(Range::len).sum();
    ins.verified((bytes.len() - lost) as u64);
    let what = format!("the device can't read {lost} bytes of it");
    let finding = Finding::warning(path, what).at(unreadable.first().map_or(0, |first| first.start as u64));
    ins.find(finding.advice(
        "What they meant for the records, if anything, is said with the frames. Copy the store to another device.",
    ));
    Some((Bytes::from(bytes), unreadable))
}

/// A file of another length than it was made with.
struct Odd {
    number: u64,
    len: u64,
}

/// Says which files are missing or have another length than they should. Answers with the first of them that makes what lies
/// behind it unreadable, and where it ends.
fn incomplete(
    ins: &mut Inspection<'_>,
    root: Option<&Root>,
    numbers: &[(u64, u64)],
    odd: &[Odd],
    clean: bool,
) -> Option<(u64, u64)> {
    let wanted = ins.journal_file_bytes?;
    let needed = root.map(|root| &root.journal_files[..]).unwrap_or_default();
    let mut first = None;
    let missing = |number: &&u64| numbers.iter().all(|(found, _)| found != *number);
    // After a clean end nothing in the journal is needed.
    for number in needed.iter().filter(missing).filter(|_| !clean) {
        let what = "it is missing; it held frames behind the manifest, or was about to";
        ins.find(Finding::damage(journal_path(*number), what).advice(SALVAGE));
        first = first.or(Some((*number, 0)));
    }
    for file in odd {
        let newest = numbers.last().is_some_and(|(number, _)| *number == file.number);
        let path = journal_path(file.number);
        let what = format!("it has {} bytes; a journal file of this store has {wanted}", file.len);
        let (finding, advice) = if file.len > wanted {
            (Finding::warning(path, what), "Nothing reads what is behind that.")
        } else if newest && !needed.contains(&file.number) {
            (Finding::note(path, what), "A crash while it was made leaves that. The next open goes on with it.")
        } else if clean {
            (Finding::warning(path, what), "The store was closed: nothing in the journal is needed.")
        } else {
            first = first.or(Some((file.number, file.len)));
            (Finding::damage(path, what), "It was cut. What it held that matters is said with the frames.")
        };
        ins.find(finding.at(file.len.min(wanted)).advice(advice));
    }
    first
}

/// Says how the journal ends.
fn ending(ins: &mut Inspection<'_>, journal: &Journal, plan: &Plan, root: &Root) {
    match &plan.verdict {
        Verdict::Tail { cut_bytes: 0 } => behind_the_end(ins, journal, plan),
        Verdict::Tail { cut_bytes } => {
            let (path, at) = match plan.frames.last() {
                Some(last) => (journal.path_of(last), last.offset as u64 + u64::from(last.header.length)),
                None => ("journal".to_owned(), 0),
            };
            let what = format!("a torn frame of {cut_bytes} bytes behind frame {}, the end of the journal", plan.end);
            ins.find(Finding::warning(path, what).at(at).advice(
                "A crash in the middle of a write leaves exactly this, and then nobody was told that it was done. \
                 Damage to the very last frame looks the same. Opening cuts it.",
            ));
        }
        Verdict::Damaged { frame, path, at, .. } => {
            let what = format!("frame {frame} can't be read, but it had been durable, or that can't be told any more");
            ins.find(Finding::damage(path, what).at(*at).advice(format!(
                "Opening gives a read-only store as of frame {}, without what came later. {SALVAGE} The salvage also \
                 takes records of later frames.",
                plan.end
            )));
        }
    }
    if !plan.frames.is_empty() {
        let bytes: u64 = plan.frames.iter().map(|f| u64::from(f.header.length)).sum();
        let what = format!(
            "the store was not closed: opening replays {} frames ({bytes} bytes), {} to {}",
            plan.frames.len(),
            root.frame + 1,
            plan.end
        );
        ins.find(Finding::note("journal", what));
    }
}

/// Behind the last frame there are zeros or frames of an earlier use of the file. Anything else is worth a word.
fn behind_the_end(ins: &mut Inspection<'_>, journal: &Journal, plan: &Plan) {
    let Some(last) = plan.frames.last() else { return };
    let bytes = &journal.files[last.file].1;
    let at = last.offset + last.header.length as usize;
    let Some(at) = dirty(bytes, at, (at + FRAME_ALIGNMENT).min(bytes.len())) else { return };
    let earlier = |p: &FramePlace| p.offset > last.offset;
    if !survey(bytes, last.file, ins.origin).iter().any(earlier) {
        let what = "the bytes behind the end of the journal are not zero, and no frame";
        ins.find(Finding::warning(journal.path_of(last), what).at(at as u64).advice(
            "A write that a crash cut short, or damage to the last frame: the two look the same. Opening ignores them.",
        ));
    }
}

/// Between the payloads of a frame, and behind them, there are only zeros.
fn paddings(ins: &mut Inspection<'_>, journal: &Journal, frames: &[FramePlace]) {
    for place in frames {
        let bytes = journal.bytes_of(place);
        let Ok(frame) = journal::decode(&bytes, ins.origin) else { continue };
        let mut at = journal::HEADER_BYTES + frame.entries.len() * journal::ENTRY_BYTES;
        let mut dirt = None;
        for (entry, payload) in &frame.entries {
            let end = at + payload.len();
            at += payload.len().next_multiple_of(8);
            // A batch's own padding is a part of its payload.
            let inner = match entry.kind {
                EntryKind::Batch => batch::decode(payload, Salt::batches(ins.origin, entry.log))
                    .map_or(0, |(header, _)| payload.len() - header.len()),
                _ => 0,
            };
            dirt = dirt.or_else(|| dirty(&bytes, end - inner, at));
        }
        if let Some(at) = dirt.or_else(|| dirty(&bytes, at, bytes.len())) {
            let what = format!("padding in frame {} is not zero", place.header.frame);
            let finding = Finding::warning(journal.path_of(place), what).at((place.offset + at) as u64);
            ins.find(finding.advice("Harmless: nothing reads it. Watch the device it lies on."));
        }
    }
}

/// What is wrong with one payload.
pub(super) fn what_of(entry: &Entry, payload: &[u8], origin: StoreId) -> Damage {
    match entry.kind {
        EntryKind::Batch => batch::decode(payload, Salt::batches(origin, entry.log)).err().unwrap_or(Damage::Misplaced),
        _ => Damage::Checksum,
    }
}
