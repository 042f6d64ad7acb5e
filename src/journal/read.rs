//! Reading the journal back: every byte of every file, several files at a time.
//!
//! A file is read in pieces into memory that is used again and again, and only pieces that hold something are copied to
//! where the file's bytes stay: the zeros of files that were made ahead, a third of a journal and more, then take no memory.
//! Fresh memory costs as much time as a fast device does, if its pages come one by one: so they come a piece at a time.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use crate::env::real::is_unreadable;
use crate::env::{Access, Disk, DiskFile, DiskKind, SparseBuf};
use crate::error::{Error, Result};
use crate::format::first_nonzero;
use crate::format::journal::{self, FRAME_ALIGNMENT};
use crate::format::manifest::Root;
use crate::id::StoreId;
use crate::sync::{AtomicUsize, Mutex, Ordering};

use super::replay::{FramePlace, survey};
use super::ring::{Found, Ring, journal_path};

/// Bytes of one read: few calls, and it stays in the processor's cache until it was looked at.
const PIECE_BYTES: usize = 256 << 10;
/// Files read at a time. One reader waits for the device half of the time; more than this gained nothing.
const READERS: usize = 4;

/// What the journal holds.
#[derive(Default)]
pub(crate) struct Contents {
    /// The files, lowest number first; the number of each and its bytes.
    pub(crate) files: Vec<(u64, Bytes)>,
    /// Every frame in them that can be read.
    pub(crate) places: Vec<FramePlace>,
    /// The first file that is missing or too short, with its length.
    pub(crate) incomplete: Option<(u64, u64)>,
    /// What the device can't read, by the index of the file; zeros stand for it.
    pub(crate) unreadable: Vec<(usize, Range<usize>)>,
}

/// Reads the journal if it may hold anything after the manifest's frame.
pub(crate) fn read(disk: &dyn Disk, origin: StoreId, root: &Root, file_bytes: u64) -> Result<Contents> {
    let found = Ring::find(disk, Access::Read)?;
    if root.clean && !found.iter().any(|f| begins_after(&*f.file, root.frame)) {
        return Ok(Contents::default());
    }
    let missing = root.journal_files.iter().find(|number| found.iter().all(|f| f.number != **number));
    let mut contents = Contents { incomplete: missing.map(|number| (*number, 0)), ..Contents::default() };
    // A simulated disk takes its calls in one order.
    let readers = if disk.kind() == DiskKind::Simulated { 1 } else { READERS };
    for (f, (bytes, places, unreadable)) in found.iter().zip(read_files(&found, origin, file_bytes, readers)?) {
        let index = contents.files.len();
        contents.unreadable.extend(unreadable.into_iter().map(|range| (index, range)));
        // A file is whole and synced before a frame goes into it, so a shorter one lost something, unless it is the newest
        // and was not about to be used: then its owner died while making it, and there may be anything in it.
        let unfinished =
            found.last().is_some_and(|last| last.number == f.number) && !root.journal_files.contains(&f.number);
        if (bytes.len() as u64) < file_bytes && !unfinished {
            contents.incomplete = contents.incomplete.or(Some((f.number, bytes.len() as u64)));
        }
        contents.files.push((f.number, bytes));
        contents.places.extend(places);
    }
    Ok(contents)
}

/// Whether a file begins with a frame later than `frame`: after a clean end none does. Frames with many entries don't decode
/// from one block alone, so only the header's fields are looked at.
fn begins_after(file: &dyn DiskFile, frame: u64) -> bool {
    let mut block = [0; FRAME_ALIGNMENT];
    matches!(file.read_at(&mut block, 0), Ok(n) if n == block.len())
        && journal::looks_like_frame(&block)
        && block[8..16].try_into().is_ok_and(|n| u64::from_le_bytes(n) > frame)
}

type Read = (Bytes, Vec<FramePlace>, Vec<Range<usize>>);

/// The files in their order, each looked through by who read it while others still wait for the device.
fn read_files(found: &[Found], origin: StoreId, file_bytes: u64, readers: usize) -> Result<Vec<Read>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Result<Read>)>> = Mutex::default();
    let reader = || {
        let mut piece = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(f) = found.get(index) else { return };
            let read = read_file(f, file_bytes, &mut piece).map(|(bytes, unreadable)| {
                let places = survey(&bytes, index, origin);
                (bytes, places, unreadable)
            });
            done.lock().push((index, read));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..readers.min(found.len()) {
            // Without another thread this one reads it all.
            let _ = std::thread::Builder::new().name("braidlog-open".to_owned()).spawn_scoped(scope, reader);
        }
        reader();
    });
    let mut done = std::mem::take(&mut *done.lock());
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, read)| read).collect()
}

/// The bytes of a file, and what of it the device can't read: there may be nothing in it that anybody needs. `piece` is memory to
/// read into, made where it is wanted.
fn read_file(found: &Found, max: u64, piece: &mut Vec<u8>) -> Result<(Bytes, Vec<Range<usize>>)> {
    let path = || journal_path(found.number);
    let len = found.file.len().map_err(|error| Error::io("measure", path())(error))?.min(max) as usize;
    let mut unreadable = Vec::new();
    let mut read = |buf: &mut [u8], at: usize| {
        let read = match found.file.read_at(buf, at as u64) {
            Err(error) if is_unreadable(&error) => read_blocks(&*found.file, buf, at, &mut unreadable),
            read => read,
        };
        read.map_err(Error::io("read", path()))
    };
    if len <= PIECE_BYTES {
        // A mapping costs more than what is zero in so little.
        let mut bytes = vec![0; len];
        let n = read(&mut bytes, 0)?;
        return Ok((Bytes::from(bytes).slice(..n), unreadable));
    }
    piece.resize(PIECE_BYTES, 0);
    let mut bytes = SparseBuf::zeroed(len).map_err(Error::io("find memory for", path()))?;
    let mut at = 0;
    while at < bytes.len() {
        let want = piece.len().min(bytes.len() - at);
        let n = read(&mut piece[..want], at)?;
        if first_nonzero(&piece[..n]).is_some() {
            bytes.put(at, &piece[..n]);
        }
        at += n;
        if n < want {
            break;
        }
    }
    Ok((Bytes::from_owner(bytes).slice(..at), unreadable))
}

/// Reads a piece of a file block by block, with zeros for those that can't be read.
pub(crate) fn read_blocks(
    file: &dyn DiskFile,
    piece: &mut [u8],
    position: usize,
    unreadable: &mut Vec<Range<usize>>,
) -> io::Result<usize> {
    let mut at = 0;
    for block in piece.chunks_mut(FRAME_ALIGNMENT) {
        let start = position + at;
        match file.read_at(block, start as u64) {
            Err(error) if is_unreadable(&error) => {
                block.fill(0);
                unreadable.push(start..start + block.len());
                at += block.len();
            }
            read => {
                let n = read?;
                at += n;
                if n < block.len() {
                    break;
                }
            }
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::sim::{SimDisk, Tape};

    #[test]
    fn what_is_read_is_what_is_there_wherever_the_pieces_lie() {
        let disk = SimDisk::new(Tape::replay(Vec::new()));
        disk.create_dir("journal").unwrap();
        let len = 3 * PIECE_BYTES + 100;
        let mut wanted = vec![0; len];
        wanted[3_333] = 1;
        wanted[PIECE_BYTES] = 2;
        wanted[len - 1] = 3;
        disk.open(&journal_path(7), Access::CreateNew).unwrap().write_at(&wanted, 0).unwrap();
        let found = Ring::find(&disk, Access::Read).unwrap();
        let mut piece = vec![0xff; PIECE_BYTES];
        for max in [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, len, 2 * len] {
            let (bytes, unreadable) = read_file(&found[0], max as u64, &mut piece).unwrap();
            assert!(unreadable.is_empty());
            assert!(bytes == wanted[..len.min(max)], "at most {max}");
        }
    }
}
