//! Where the journal ends, and whether that is a torn tail or damage. Pure: bytes in, a plan out.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::format::batch;
use crate::format::checksum::Salt;
use crate::format::journal::{self, Entry, EntryKind, FRAME_ALIGNMENT, FrameHeader};
use crate::format::manifest::Root;
use crate::format::{Damage, first_nonzero};
use crate::id::{FrameNumber, LogId, StoreId};

use super::journal_path;

/// A frame that can be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FramePlace {
    pub(crate) header: FrameHeader,
    /// Index into the files given.
    pub(crate) file: usize,
    pub(crate) offset: usize,
    /// Whether every payload verifies.
    pub(crate) intact: bool,
}

/// How the journal ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// At a torn tail, or at nothing: whatever follows was never acknowledged. With the bytes found there.
    Tail {
        /// Bytes of the broken frame's file that are not zero from the break on, rounded to blocks.
        cut_bytes: u64,
    },
    /// A frame that had been durable can't be read any more, nor is it known which logs it was about.
    Damaged {
        /// The frame.
        frame: FrameNumber,
        /// Its file, if it is known.
        path: String,
        /// Where in it.
        at: u64,
        /// What stands there is what stood there before it was written: the device said that it had written it, and had not.
        never_written: bool,
    },
}

/// What to replay.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The frames after the manifest's, in order. One that is not intact was durable, and damaged since.
    pub(crate) frames: Vec<FramePlace>,
    /// The last frame accepted; the manifest's if there is none.
    pub(crate) end: FrameNumber,
    /// Highest frame that a later accepted frame proves to have been durable.
    pub(crate) proven: FrameNumber,
    pub(crate) verdict: Verdict,
}

/// Whether an entry's payload is what was written.
pub(crate) fn payload_is_whole(entry: &Entry, payload: &[u8], origin: StoreId, generation: u64) -> bool {
    match entry.kind {
        EntryKind::Batch => batch::decode(payload, Salt::batches(origin, entry.log))
            .is_ok_and(|(header, _)| header.checksum == entry.checksum && header.first == entry.first),
        _ => entry.verify(payload, origin, generation).is_ok(),
    }
}

/// The logs that a frame with damaged payloads withholds something of: those the payloads are about, and every log of a transaction
/// that touches one of those.
pub(crate) fn withheld_logs(entries: &[(Entry, &[u8])], origin: StoreId, generation: u64) -> BTreeSet<LogId> {
    let damaged = entries.iter().filter(|(entry, payload)| !payload_is_whole(entry, payload, origin, generation));
    let mut logs: BTreeSet<LogId> = damaged.map(|(entry, _)| entry.log).collect();
    loop {
        let before = logs.len();
        let touching = entries.iter().filter(|(e, _)| e.group != 0 && logs.contains(&e.log)).map(|(e, _)| e.group);
        let groups: BTreeSet<u8> = touching.collect();
        logs.extend(entries.iter().filter(|(e, _)| groups.contains(&e.group)).map(|(e, _)| e.log));
        if logs.len() == before {
            return logs;
        }
    }
}

/// Every frame of the file with this index whose header verifies, whatever its number.
pub(crate) fn survey(bytes: &[u8], file: usize, origin: StoreId) -> Vec<FramePlace> {
    let mut found = Vec::new();
    let mut offset = 0;
    while let Some(rest) = bytes.get(offset..).filter(|rest| rest.len() >= FRAME_ALIGNMENT) {
        let mut step = FRAME_ALIGNMENT;
        if journal::looks_like_frame(rest)
            && let Ok(frame) = journal::decode(rest, origin)
        {
            let generation = frame.header.generation;
            let intact = frame.entries.iter().all(|(e, payload)| payload_is_whole(e, payload, origin, generation));
            found.push(FramePlace { header: frame.header, file, offset, intact });
            // What lies inside a frame is its payload, even if a caller made it look like a frame.
            if intact {
                step = frame.header.length as usize;
            }
        }
        offset += step;
    }
    found
}

/// Whether bytes are what stood in the place of a frame before it was written: zeros, or a frame of an earlier lap.
fn is_older(bytes: &[u8], frame: FrameNumber, origin: StoreId) -> bool {
    let zeros = first_nonzero(bytes).is_none();
    !bytes.is_empty() && (zeros || journal::decode(bytes, origin).is_ok_and(|found| found.header.frame < frame))
}

/// Where the frame after the last one accepted may stand hidden, for the device can't read it: `unreadable` are such places, by
/// the index of the file. Answers with the number of the file and the position.
pub(crate) fn hides_a_frame(
    files: &[(u64, Bytes)],
    places: &[FramePlace],
    plan: &Plan,
    root: &Root,
    unreadable: &[(usize, Range<usize>)],
) -> Option<(u64, u64)> {
    // One that was cut may have the number of the manifest's, which was written after it, elsewhere.
    let covered = |place: &&FramePlace| place.header.frame == plan.end && place.header.checksum == root.chain;
    let last = plan.frames.last().or(places.iter().find(covered));
    if last.is_none() && plan.end > 0 {
        // Then so may this one.
        return unreadable.first().map(|(file, range)| (files[*file].0, range.start as u64));
    }
    let behind_the_last = last.map(|last| (last.file, last.offset + last.header.length as usize));
    // It begins right there, or a file, but none with a frame that counts: that one is not written from its front before a
    // checkpoint covers all of it.
    let counts: BTreeSet<usize> = plan.frames.iter().map(|frame| frame.file).collect();
    let hidden = |(file, at): (usize, usize)| {
        let block = files[file].1.get(at..at + FRAME_ALIGNMENT)?;
        let next = FrameHeader::parse(block).ok().map(|(header, ..)| header);
        let length = next.filter(|header| header.frame == plan.end + 1).map_or(0, |header| header.length as usize);
        let frame = at..at + length.max(FRAME_ALIGNMENT);
        let overlaps = |(other, range): &&(usize, Range<usize>)| {
            *other == file && range.start < frame.end && frame.start < range.end
        };
        let (_, range) = unreadable.iter().find(overlaps)?;
        Some((files[file].0, range.start as u64))
    };
    let fronts = (0..files.len()).filter(|file| !counts.contains(file)).map(|file| (file, 0));
    fronts.chain(behind_the_last).find_map(hidden)
}

/// Works out what to replay on top of `root` from the content of the journal files (number, bytes) and what [`survey`] found
/// in all of them.
///
/// # Errors
/// [`Error::Damaged`] when the journal was written under a newer manifest than `root`'s.
pub(crate) fn plan(files: &[(u64, Bytes)], places: &[FramePlace], origin: StoreId, root: &Root) -> Result<Plan> {
    let newest_generation = root.generations.last().map_or(0, |g| g.0);
    let mut by_number: BTreeMap<FrameNumber, FramePlace> = BTreeMap::new();
    for &place in places {
        let header = place.header;
        if header.generation > newest_generation {
            let at = place.offset as u64;
            // Frames of a generation that the manifest doesn't name: a newer manifest existed and is gone.
            return Err(Error::damaged(journal_path(files[place.file].0), at)(Damage::Misplaced));
        }
        let known =
            crate::seeded_bug!(PreviousLapAccepted) || root.generation_of(header.frame) == Some(header.generation);
        if header.frame > root.frame && known {
            let better = by_number.get(&header.frame).is_none_or(|have| !have.intact && place.intact);
            if better {
                by_number.insert(header.frame, place);
            }
        }
    }
    let mut frames: Vec<FramePlace> = Vec::new();
    let mut chain = root.chain;
    let mut end = root.frame;
    let proves = |number: FrameNumber| by_number.range(number + 1..).any(|(_, later)| later.header.durable >= number);
    let mut damaged_at = None;
    loop {
        let number = end + 1;
        let starts_generation = root.generations.iter().any(|(_, first)| *first == number);
        let next = by_number.get(&number).copied().filter(|place| {
            let previous = place.header.previous;
            crate::seeded_bug!(NoRecordChain) || previous == chain || (starts_generation && previous == 0)
        });
        match next {
            Some(place) if place.intact || proves(number) => {
                chain = place.header.checksum;
                end = number;
                frames.push(place);
            }
            _ if proves(number) && !crate::seeded_bug!(MidLogDamageTruncated) => {
                damaged_at = Some(number);
                break;
            }
            _ => break,
        }
    }
    let proven = frames.iter().map(|f| f.header.durable).max().unwrap_or(root.frame).max(root.frame).min(end);
    let break_at = frames.last().map(|last| (last.file, last.offset + last.header.length as usize));
    // Where the next frame would stand, a newer version is no end. Nowhere else: there it could be a caller's payload.
    for (file, at) in (0..files.len()).map(|file| (file, 0)).chain(break_at) {
        let bytes = files[file].1.get(at..).unwrap_or_default();
        if journal::looks_like_frame(bytes)
            && let Err(Damage::TooNew(version)) = journal::decode(bytes, origin)
        {
            return Err(Error::TooNew { path: journal_path(files[file].0), version });
        }
    }
    let verdict = match damaged_at {
        Some(frame) => {
            let (file, at) = break_at.unwrap_or((0, 0));
            let path = files.get(file).map_or("journal".to_owned(), |(number, _)| journal_path(*number));
            // Where the frame after it follows in the same file, it is between the two and nowhere else.
            let after = by_number.range(frame + 1..).next().map(|(_, place)| (place.file, place.offset));
            let gap = after.filter(|(in_file, _)| *in_file == file).and_then(|(_, upto)| files[file].1.get(at..upto));
            let never_written = gap.is_some_and(|gap| is_older(gap, frame, origin));
            Verdict::Damaged { frame, path, at: at as u64, never_written }
        }
        None => {
            // Only the frame right behind the end is looked at: older laps follow it and mean nothing.
            let torn = by_number.range(end + 1..).next().map_or(0, |(_, place)| u64::from(place.header.length));
            let partial = break_at.is_some_and(|(file, at)| {
                let bytes = &files[file].1;
                bytes.get(at..at + FRAME_ALIGNMENT).is_some_and(journal::looks_like_frame)
                    && journal::decode(&bytes[at..], origin).is_err()
            });
            Verdict::Tail { cut_bytes: torn.max(if partial { FRAME_ALIGNMENT as u64 } else { 0 }) }
        }
    };
    Ok(Plan { frames, end, proven, verdict })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: StoreId = StoreId([1; 16]);
    const FRAMES: FrameNumber = 4;
    const FRAME: usize = FRAME_ALIGNMENT;

    /// Frames 1 to 4 of generation 1, one block each, each of which says that all before it are durable; then zeros. As the manifest
    /// before them has it.
    fn journal() -> (Vec<u8>, Root) {
        let mut bytes = Vec::new();
        let mut chain = 0;
        for frame in 1..=FRAMES {
            let header = FrameHeader {
                checksum: 0,
                frame,
                generation: 1,
                durable: frame - 1,
                previous: chain,
                length: 0,
                entries: 0,
                stamp_ms: frame,
            };
            let (front, checksum) = journal::encode_front(&header, &[], ORIGIN);
            chain = checksum;
            bytes.extend_from_slice(&front);
            bytes.resize(frame as usize * FRAME, 0);
        }
        bytes.resize((FRAMES as usize + 1) * FRAME, 0);
        (bytes, Root { generations: vec![(1, 1)], ..Root::default() })
    }

    fn planned(bytes: &[u8], root: &Root) -> Result<Plan> {
        plan(&[(7, Bytes::copy_from_slice(bytes))], &survey(bytes, 0, ORIGIN), ORIGIN, root)
    }

    fn damaged(frame: FrameNumber, never_written: bool) -> Verdict {
        Verdict::Damaged { frame, path: journal_path(7), at: (frame - 1) * FRAME as u64, never_written }
    }

    /// What is done to the frames, up to where they are accepted then, and how that is called.
    #[test]
    fn the_journal_ends_where_nothing_later_says_that_it_goes_on() {
        type Change = fn(&mut [u8]);
        let torn = Verdict::Tail { cut_bytes: FRAME as u64 };
        let cases: [(&str, Change, FrameNumber, Verdict); 6] = [
            ("nothing", |_| (), 4, Verdict::Tail { cut_bytes: 0 }),
            ("the last is torn", |bytes| bytes[3 * FRAME + 40] ^= 1, 3, torn),
            ("the last never came", |bytes| bytes[3 * FRAME..].fill(0), 3, Verdict::Tail { cut_bytes: 0 }),
            ("the second is damaged", |bytes| bytes[FRAME + 40] ^= 1, 1, damaged(2, false)),
            ("the second was never written", |bytes| bytes[FRAME..2 * FRAME].fill(0), 1, damaged(2, true)),
            (
                "all but the last are damaged",
                |bytes| (0..3).for_each(|n| bytes[n * FRAME + 40] ^= 1),
                0,
                damaged(1, false),
            ),
        ];
        for (what, change, end, verdict) in cases {
            let (mut bytes, root) = journal();
            change(&mut bytes);
            let plan = planned(&bytes, &root).unwrap();
            assert_eq!((plan.end, plan.frames.len() as u64), (end, end), "{what}");
            assert_eq!(plan.verdict, verdict, "{what}");
            assert!(plan.proven <= end && plan.proven + 1 >= end, "{what}: up to {} is proven", plan.proven);
        }
        // The last two are torn, and the one before does not say that they had been durable.
        let (mut bytes, root) = journal();
        (2..4).for_each(|n| bytes[n * FRAME + 40] ^= 1);
        assert_eq!(planned(&bytes, &root).unwrap().end, 2);
    }

    #[test]
    fn what_the_manifest_does_not_know_is_no_end() {
        let (bytes, root) = journal();
        // A frame of a life that only a newer manifest names.
        let older = Root { generations: vec![(0, 1)], ..root.clone() };
        assert!(matches!(planned(&bytes, &older), Err(Error::Damaged { .. })));
        // What a checkpoint covers is not replayed, and what follows must follow upon that.
        let second = survey(&bytes, 0, ORIGIN)[1].header;
        let covered = Root { frame: 2, chain: second.checksum, ..root.clone() };
        let plan = planned(&bytes, &covered).unwrap();
        assert_eq!(plan.frames.iter().map(|place| place.header.frame).collect::<Vec<_>>(), [3, 4]);
        let other = Root { frame: 2, chain: second.checksum ^ 1, ..root };
        assert!(matches!(planned(&bytes, &other).unwrap().verdict, Verdict::Damaged { frame: 3, .. }));
    }
}
