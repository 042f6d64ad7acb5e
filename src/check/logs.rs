//! Every log: its row, every batch of its segments, what the journal adds.

use std::collections::BTreeMap;

use crate::env::DiskFile;
use crate::error::Result;
use crate::format::Damage;
use crate::format::batch::{BatchHeader, HEADER_BYTES, Records};
use crate::format::checksum::Salt;
use crate::format::manifest::{DurabilityByte, LogRow, SegmentRow};
use crate::format::segment::{HEADER_BYTES as SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::id::{LogId, SegmentId, SequenceNumber};
use crate::manifest::Manifest;
use crate::segment::segment_path;
use crate::segment::walk::{Event, dirty, walk};

use super::finding::Finding;
use super::identity::too_new;
use super::index::{self, Rebuilt};
use super::inspection::Inspection;
use super::replay::{Claim, Claims};
use super::salvage::Salvager;
use super::unnamed::{self, Places, Unnamed};

const SALVAGE: &str = "Restore the file from a backup of this store, or copy what can be read into a new store with \
                       `braidlog check --salvage DEST`.";

/// Bytes behind an end are looked at so many at a time.
const BEHIND_BYTES: u64 = 256 << 10;

/// One entry of a batch's directory for so many records.
const DIRECTORY_STEP: u64 = 8;

/// What holds for all logs.
struct Bounds {
    next_log: u64,
    segments_reserved: u64,
    /// No number was given that nothing tells of.
    is_journal_whole: bool,
    /// For a salvage: where what a manifest or the journal would name may be, if that can't be read.
    unnamed: Places,
}

/// Verifies every log that exists.
pub(super) fn inspect(
    ins: &mut Inspection<'_>,
    manifest: &Manifest,
    claims: &mut Claims,
    is_journal_whole: bool,
    mut salvager: Option<&mut Salvager>,
) -> Result<()> {
    let may_be_named = salvager.is_some() && (ins.is_uncertain() || manifest.is_before_the_newest());
    let unnamed = if may_be_named { unnamed::places(ins)? } else { Places::new() };
    let next_log = claims.next_log;
    let bounds = Bounds { next_log, segments_reserved: manifest.root.segments_reserved, is_journal_whole, unnamed };
    let mut names: std::collections::HashMap<String, LogId> = Default::default();
    let mut take_name = |ins: &mut Inspection<'_>, row: &LogRow| {
        if let Some(other) = names.insert(row.name.clone(), row.id) {
            let what = format!("two logs have this name; the other is {other}");
            let advice = "Only one of them can be opened. Please report this: no flipped bit does it.";
            ins.find(Finding::damage("manifest", what).log(row.id, &row.name).advice(advice));
        }
    };
    let mut packs: BTreeMap<SegmentId, u64> = BTreeMap::new();
    for page in &manifest.root.pages {
        // Pages that can't be read were told with the manifests.
        for row in manifest.rows_of(page).unwrap_or_default() {
            for piece in row.segments.iter().filter(|segment| segment.is_piece()) {
                *packs.entry(piece.id).or_default() += piece.stored_bytes();
            }
            if !claims.logs.contains_key(&row.id) && !claims.gone.contains(&row.id) {
                take_name(ins, &row);
                inspect_log(ins, &bounds, &Claim::new(row), &mut claims.named, salvager.as_deref_mut());
            }
        }
    }
    for claim in std::mem::take(&mut claims.logs).values() {
        if !claim.is_stranded {
            take_name(ins, &claim.row);
        }
        inspect_log(ins, &bounds, claim, &mut claims.named, salvager.as_deref_mut());
    }
    inspect_packs(ins, manifest, packs);
    Ok(())
}

/// The fronts of packs, and whether the root counts rightly what rows name of each: one that counts too little is removed while
/// it is needed.
fn inspect_packs(ins: &mut Inspection<'_>, manifest: &Manifest, mut named: BTreeMap<SegmentId, u64>) {
    let told: BTreeMap<SegmentId, u64> = manifest.root.packs.iter().copied().collect();
    for pack in told.keys() {
        named.entry(*pack).or_default();
    }
    for (pack, bytes) in named {
        let path = segment_path(pack);
        let counted = told.get(&pack).copied().unwrap_or(0);
        if counted != bytes && !ins.is_uncertain() {
            let what = format!("rows name {bytes} bytes of this pack, the manifest's root says {counted}");
            ins.find(Finding::warning(&path, what).advice("Please report this: no flipped bit does it."));
        }
        // A pack that is missing was told with the logs that have pieces in it.
        let Ok((file, _)) = ins.open(&path) else { continue };
        let front = ins.read(&*file, 0, SEGMENT_HEADER_BYTES);
        ins.verified(SEGMENT_HEADER_BYTES as u64);
        match front.and_then(|bytes| SegmentHeader::parse(&bytes)) {
            Ok(header) if header == SegmentHeader::of_pack(ins.origin, pack) => {}
            Err(Damage::TooNew(version)) => ins.find(too_new(&path, version)),
            other => {
                let what = format!("the pack's header: {}", other.err().unwrap_or(Damage::Misplaced));
                ins.find(Finding::damage(&path, what).at(0).advice(
                    "Reads go without it, so no record is lost by this alone; it would be missed if the manifests were lost \
                     too. `braidlog check --salvage DEST` makes a copy without it.",
                ));
            }
        }
    }
}

fn inspect_log(
    ins: &mut Inspection<'_>,
    bounds: &Bounds,
    claim: &Claim,
    named: &mut std::collections::HashSet<SegmentId>,
    mut salvager: Option<&mut Salvager>,
) {
    let row = &claim.row;
    let about = |finding: Finding| finding.log(row.id, &row.name);
    ins.report.logs += u64::from(!claim.is_stranded);
    if row.id.0 >> LogId::BUCKET_BITS >= bounds.next_log {
        let what = format!("its id is at or above the next one to be given ({})", bounds.next_log);
        ins.find(
            about(Finding::warning("manifest", what)).advice("A later log could get the same id. Please report this."),
        );
    }
    if let Some(at) = row.stopped_at {
        let what = format!("an earlier recovery found it damaged from number {at} on, and stopped it");
        ins.find(about(Finding::damage("manifest", what)).records(at..row.end).advice(
            "It can be read up to there and not be appended to. Copy it into a new store with `braidlog check --salvage \
             DEST`, or go on in a log with another name.",
        ));
    }
    let salvaged = claim.stranded_row.as_ref().filter(|later| salvager.is_some() && later.end > row.end);
    if let Some(salvager) = salvager.as_deref_mut() {
        salvager.begin_log(row, claim.beyond, ins.origin);
    }
    let segments = &salvaged.unwrap_or(row).segments;
    if let (Some(salvager), Some(places)) = (salvager.as_deref_mut(), bounds.unnamed.get(&row.id)) {
        salvager.take_unnamed(Unnamed::new(ins, places.clone(), segments, !bounds.is_journal_whole));
    }
    named.extend(claim.stranded_row.iter().flat_map(|later| &later.segments).map(|segment| segment.id));
    let mut state = LogState { next: row.horizon, arrival_ms: 0 };
    for segment in segments {
        // A pack is named once for each piece.
        let fresh = named.insert(segment.id) || claim.stranded_row.is_some() || segment.is_piece();
        if !fresh || segment.id.0 >= bounds.segments_reserved {
            let what = if fresh { "its id is above all that were given" } else { "two logs, or two rows, name it" };
            let finding = Finding::damage(segment_path(segment.id), what);
            ins.find(about(finding).advice("Please report this: no flipped bit does it."));
        }
        if segment.base > state.next {
            gap(ins, row, state.next..segment.base);
        }
        inspect_segment(ins, row, segment, &mut state, salvager.as_deref_mut());
        state.next = state.next.max(segment.end);
    }
    for batch in &claim.pending {
        if let Some(salvager) = salvager.as_deref_mut() {
            salvager.batch(&batch.header, &batch.bytes[..batch.header.len()]);
        }
        if batch.header.first > state.next {
            gap(ins, row, state.next..batch.header.first);
        }
        state.next = state.next.max(batch.header.end());
    }
    if state.next < claim.next && row.stopped_at.is_none() {
        gap(ins, row, state.next..claim.next);
    }
    if let Some(salvager) = salvager {
        for batch in &claim.stranded {
            salvager.batch(&batch.header, &batch.bytes[..batch.header.len()]);
        }
        salvager.end_log();
        for taken in salvager.taken() {
            let what = "nothing that can be read names it; the salvage took records from it that are missing elsewhere";
            ins.find(about(Finding::note(segment_path(taken.segment), what).records(taken.numbers)));
            ins.verified(taken.bytes);
            named.insert(taken.segment);
        }
    }
}

/// Numbers that no segment holds and nobody says were lost.
fn gap(ins: &mut Inspection<'_>, row: &LogRow, numbers: std::ops::Range<SequenceNumber>) {
    let finding = match row.durability {
        DurabilityByte::Buffered => Finding::note("manifest", "numbers that no record has")
            .advice("A buffered log goes on above the numbers it had reserved after a store was not closed."),
        DurabilityByte::Durable => Finding::note("manifest", "numbers that no record has")
            .advice("A salvaged log has gaps where records were lost. In any other log this is not as it should be."),
    };
    ins.find(finding.log(row.id, &row.name).records(numbers));
}

/// What one segment hands to the next.
struct LogState {
    next: SequenceNumber,
    arrival_ms: u64,
}

/// What a walk over one segment adds up.
#[derive(Default)]
struct Sum {
    rebuilt: Rebuilt,
    damaged: bool,
    first_arrival_ms: Option<u64>,
    last_arrival_ms: u64,
    findings: Vec<Finding>,
}

fn inspect_segment(
    ins: &mut Inspection<'_>,
    log: &LogRow,
    row: &SegmentRow,
    state: &mut LogState,
    mut salvager: Option<&mut Salvager>,
) {
    let path = segment_path(row.id);
    ins.report.segments += 1;
    let trimmed = row.end <= log.horizon;
    let (file, len) = match ins.open(&path) {
        // It is shortened before its space is given back, and a power cut may bring its name back.
        Ok((_, len)) if trimmed && !row.is_piece() && len < row.bytes => {
            let what = "it is cut short, and below the trim horizon: it was about to be freed";
            return ins.find(Finding::note(path, what).log(log.id, &log.name));
        }
        Ok(opened) => opened,
        Err(_) if trimmed => {
            let what =
                "it is missing, and below the trim horizon: it was freed, and an older entry of the journal names it";
            return ins.find(Finding::note(path, what).log(log.id, &log.name));
        }
        Err(finding) => {
            ins.find(finding.log(log.id, &log.name).records(row.base..row.end).advice(SALVAGE));
            if !row.is_piece() {
                index::inspect(ins, row, (log.id, &log.name), None);
            }
            return;
        }
    };
    ins.begin_file(&path);
    header(ins, &path, &*file, log, row);
    let salt = Salt::batches(ins.origin, log.id);
    let mut sum = Sum { last_arrival_ms: state.arrival_ms, ..Sum::default() };
    walk(&*file, len, salt, row, false, &mut |event| match event {
        Event::Batch { position, header, bytes } => {
            sum.batch(&path, row, position, &header, bytes);
            ins.report.batches += 1;
            ins.report.records += u64::from(header.count);
            if let Some(salvager) = salvager.as_deref_mut() {
                salvager.batch(&header, bytes);
            }
        }
        Event::Damaged { position, upto, what, lost } => {
            sum.damaged = true;
            let finding = match what {
                Damage::TooNew(version) => too_new(&path, version).at(position),
                what => {
                    let text = format!("{what}; the damage reaches up to byte {upto}");
                    if !lost.is_empty() && lost.end <= log.horizon {
                        let advice = "Its records lie below the trim horizon: nobody can read them any more.";
                        Finding::warning(&path, text).at(position).advice(advice)
                    } else if what == Damage::Short {
                        let advice =
                            format!("Reads of the whole segment may fail; a salvage gets what is there. {SALVAGE}");
                        Finding::damage(&path, text).at(position).advice(advice)
                    } else {
                        Finding::damage(&path, text).at(position).advice(SALVAGE)
                    }
                }
            };
            sum.findings.push(finding.records(lost));
        }
        Event::Dirt { position } => sum.findings.push(
            Finding::warning(&path, "padding that is not zero")
                .at(position)
                .advice("Harmless: nothing reads it. Watch the device it lies on."),
        ),
        Event::Read(bytes) => ins.verified(bytes),
        Event::At(_) => {}
        Event::Searched { .. } => ins.verified(0),
    });
    state.arrival_ms = sum.last_arrival_ms;
    let arrival = (sum.first_arrival_ms.unwrap_or(row.first_arrival_ms), sum.last_arrival_ms);
    if !sum.damaged && arrival != (row.first_arrival_ms, row.last_arrival_ms) {
        let told = (row.first_arrival_ms, row.last_arrival_ms);
        let what = format!("its records arrived from {arrival:?} ms, its row says {told:?}");
        sum.findings.push(Finding::warning(&path, what).advice("Reads by time may miss. Please report this."));
    }
    for finding in std::mem::take(&mut sum.findings) {
        ins.find(finding.log(log.id, &log.name));
    }
    if row.is_piece() {
        return;
    }
    if len > row.bytes {
        behind(ins, &path, &*file, (row.bytes, len), log);
    }
    index::inspect(ins, row, (log.id, &log.name), (!sum.damaged).then_some(&sum.rebuilt));
}

/// What lies behind a segment's end means nothing; zeros, of room that was reserved, are not worth a word.
fn behind(ins: &mut Inspection<'_>, path: &str, file: &dyn DiskFile, (mut at, len): (u64, u64), log: &LogRow) {
    let end = at;
    while at < len {
        let n = (len - at).min(BEHIND_BYTES) as usize;
        match ins.read(file, at, n) {
            Ok(bytes) => {
                if let Some(dirt) = dirty(&bytes, 0, n) {
                    ins.passed(len - at - n as u64);
                    let what = format!("{} bytes behind its end mean nothing", len - end);
                    return ins.find(Finding::note(path, what).at(at + dirt as u64).log(log.id, &log.name));
                }
            }
            // Nothing reads them, so it doesn't matter that nobody can.
            Err(_) => return ins.passed(len - at),
        }
        at += n as u64;
    }
}

fn header(ins: &mut Inspection<'_>, path: &str, file: &dyn DiskFile, log: &LogRow, row: &SegmentRow) {
    let bytes = if row.is_piece() { row.stored_bytes() } else { 0 };
    let expected = SegmentHeader { origin: ins.origin, log: log.id, segment: row.id, base: row.base, bytes };
    let parsed = ins.read(file, row.start, SEGMENT_HEADER_BYTES).and_then(|bytes| SegmentHeader::parse(&bytes));
    let what = match parsed {
        Ok(header) if header == expected => return,
        Ok(_) => Damage::Misplaced,
        Err(Damage::TooNew(version)) => return ins.find(too_new(path, version).log(log.id, &log.name)),
        Err(what) => what,
    };
    let finding = Finding::damage(path, format!("the segment's header: {what}")).at(row.start).log(log.id, &log.name);
    ins.find(finding.advice(
        "Reads go without it, so no record is lost by this alone; it would be missed if the manifests were lost too. \
         `braidlog check --salvage DEST` makes a copy with new headers.",
    ));
}

impl Sum {
    fn batch(&mut self, path: &str, row: &SegmentRow, position: u64, header: &BatchHeader, bytes: &[u8]) {
        self.rebuilt.note(row.base, position, header);
        self.first_arrival_ms.get_or_insert(header.first_arrival_ms);
        let mut at = header.first;
        let mut arrival_ms = header.first_arrival_ms;
        let mut wrong = (header.first_arrival_ms < self.last_arrival_ms).then_some("arrival goes back");
        let records = &bytes[HEADER_BYTES..];
        let mut walk = Records::new(header, records);
        // The directory behind the records says where each eighth one starts.
        let mut directory = records[walk.remaining()..].chunks_exact(4);
        let mut offset = 0;
        while let Some(record) = walk.next() {
            let index = at - header.first;
            if index > 0 && index.is_multiple_of(DIRECTORY_STEP) {
                let entry = directory.next().and_then(|entry| entry.first_chunk());
                if entry.map(|entry| u32::from_le_bytes(*entry) as usize) != Some(offset) {
                    wrong = wrong.or(Some("its directory is not the directory of its records, under a right checksum"));
                }
            }
            match record {
                Ok(record) if record.arrival_ms < arrival_ms => wrong = wrong.or(Some("arrival goes back within it")),
                Ok(record) => arrival_ms = record.arrival_ms,
                Err(_) => {
                    wrong = Some("its records don't add up, under a right checksum");
                    break;
                }
            }
            at += 1;
            offset = walk.offset();
        }
        if arrival_ms != header.last_arrival_ms {
            wrong = wrong.or(Some("its last record did not arrive when its header says"));
        }
        self.last_arrival_ms = self.last_arrival_ms.max(header.last_arrival_ms);
        if let Some(wrong) = wrong {
            let finding = if at < header.end() { Finding::damage(path, wrong) } else { Finding::warning(path, wrong) };
            let finding = finding.at(position).records(at.min(header.first)..header.end());
            self.findings.push(finding.advice("Please report this: no flipped bit does it."));
        }
    }
}
