//! Preallocated, zero-filled files in rotation, so that a sync of a frame never touches file-system metadata.
//!
//! - A frame lies in one file. When it doesn't fit behind the last one, the next free file is begun.
//! - A file is free once a checkpoint covers every frame in it.
//! - The file with the highest number is never written by the life that made it: the next life starts in it, so no write of
//!   a killed owner that lands late can hit it.

use std::io;

use crate::env::{Access, BLOCK, DirEntry, Disk, DiskFile, Pace, names};
use crate::error::{Error, Result, is_no_space};
use crate::format::first_nonzero;
use crate::id::FrameNumber;
use crate::sync::{Arc, AtomicU64, Condvar, Mutex, Ordering};

pub(crate) fn journal_path(number: u64) -> String {
    format!("journal/{number:08x}.jnl")
}

/// The number of a file of the journal; `None` for what is none.
pub(crate) fn number_of(entry: &DirEntry) -> Option<u64> {
    names::number_in("journal", entry, ".jnl", journal_path)
}

struct JournalFile {
    number: u64,
    file: Arc<dyn DiskFile>,
    /// Highest frame in it that may still be needed; `None` for a free file.
    highest: Option<FrameNumber>,
}

/// Where a frame goes.
pub(crate) struct Place {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) path: String,
    pub(crate) offset: u64,
}

struct State {
    files: Vec<JournalFile>,
    /// Number of the file being written.
    active: u64,
    position: u64,
    /// The frame that comes next found no room.
    short: bool,
}

impl State {
    /// Whether the file with the highest number, which is the next life's, is being written.
    fn lacks_spare(&self) -> bool {
        self.files.last().is_some_and(|spare| spare.number == self.active)
    }

    /// Whether no file is free behind the one being written, and there may be another.
    fn lacks_next(&self, files_max: usize) -> bool {
        let files = self.files.len().saturating_sub(1);
        let free = self.files[..files].iter().any(|f| f.highest.is_none() && f.number != self.active);
        !free && self.files.len() < files_max
    }
}

/// The journal's files.
pub(crate) struct Ring {
    disk: Arc<dyn Disk>,
    file_bytes: u64,
    files_max: usize,
    state: Mutex<State>,
    freed: Condvar,
    /// How many wait for `freed`.
    awaited: AtomicU64,
}

/// A file found at open: its number and what it holds.
pub(crate) struct Found {
    pub(crate) number: u64,
    pub(crate) file: Arc<dyn DiskFile>,
}

impl Ring {
    /// The journal files of a store, lowest number first.
    pub(crate) fn find(disk: &dyn Disk, access: Access) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        // Whoever only reads needs none that is aside: it holds no frame.
        let entries = if access == Access::Read { disk.list("journal") } else { names::list(disk, "journal") };
        for entry in entries.map_err(Error::io("list", "journal"))? {
            if let Some(number) = number_of(&entry) {
                let path = journal_path(number);
                let file = disk.open(&path, access).map_err(Error::io("open", path))?;
                found.push(Found { number, file });
            }
        }
        found.sort_by_key(|f| f.number);
        Ok(found)
    }

    /// A ring of the files found, of which `in_use` gives the highest frame they hold, beginning in a file that no earlier
    /// life has written: the one with the highest number if `pristine`, otherwise one that is made now.
    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        file_bytes: u64,
        files_max: usize,
        found: Vec<Found>,
        in_use: impl Fn(u64) -> Option<FrameNumber>,
        pristine: bool,
    ) -> Result<Ring> {
        // A crash while it was made: it holds no frame, for one that does and is too short is damage, and perhaps no name that
        // lasts.
        let too_short = |f: &Found| f.file.len().is_ok_and(|len| len < file_bytes) && in_use(f.number).is_none();
        let unfinished = found.last().is_some_and(too_short);
        let mut files: Vec<JournalFile> = found
            .into_iter()
            .map(|f| JournalFile { highest: in_use(f.number), number: f.number, file: f.file })
            .collect();
        let last = files.last().map(|f| f.number);
        let active = match last {
            Some(last) if pristine => {
                // Whoever made it may have died before it, and its name, were on stable storage.
                let sync =
                    || files.last().map_or(Ok(()), |f| f.file.sync_data()).and_then(|()| disk.sync_dir("journal"));
                sync().map_err(Error::io("sync", journal_path(last)))?;
                last
            }
            last => {
                let number = last.map_or(0, |n| if unfinished { n } else { n + 1 });
                files.retain(|f| f.number != number);
                let full = |error: &io::Error| is_no_space(error.kind());
                let free =
                    files.iter().rfind(|f| f.highest.is_none() && f.file.len().is_ok_and(|len| len == file_bytes));
                match (make(&*disk, number, file_bytes, &Pace::none()), free.map(|f| f.number)) {
                    (Ok(file), _) => {
                        files.push(JournalFile { number, file, highest: None });
                        number
                    }
                    // No room for a file that no earlier life has written, but for one that is free: the lock in the ring, the
                    // generation and the frame's number still keep a late write of a killed owner from being taken for ours.
                    (Err(error), Some(free)) if full(&error) => free,
                    (Err(error), _) => return Err(Error::io("make", journal_path(number))(error)),
                }
            }
        };
        let state = Mutex::new(State { files, active, position: 0, short: false });
        Ok(Ring { disk, file_bytes, files_max, state, freed: Condvar::default(), awaited: AtomicU64::new(0) })
    }

    /// A journal that takes nothing, for a store that is only read.
    pub(crate) fn inert(disk: Arc<dyn Disk>, file_bytes: u64) -> Ring {
        let state = Mutex::new(State { files: Vec::new(), active: 0, position: file_bytes, short: false });
        Ring { disk, file_bytes, files_max: 0, state, freed: Condvar::default(), awaited: AtomicU64::new(0) }
    }

    /// Largest frame that fits.
    pub(crate) fn frame_bytes_max(&self) -> usize {
        self.file_bytes as usize
    }

    /// Takes room for a frame; `None` if the journal is full until a checkpoint frees a file.
    pub(crate) fn place(&self, frame: FrameNumber, len: usize) -> Option<Place> {
        let mut state = self.state.lock();
        let spare = state.files.last().map(|f| f.number);
        if state.position + len as u64 > self.file_bytes {
            let active = state.active;
            let next =
                state.files.iter().find(|f| f.highest.is_none() && f.number != active && Some(f.number) != spare);
            let next = next.map(|file| file.number);
            state.short = next.is_none();
            state.active = next?;
            state.position = 0;
        }
        let (active, offset) = (state.active, state.position);
        state.position += len as u64;
        let file = state.files.iter_mut().find(|f| f.number == active)?;
        file.highest = Some(frame);
        Some(Place { file: file.file.clone(), path: journal_path(active), offset })
    }

    /// A checkpoint covers everything up to `frame`: files wholly below are free, superfluous ones go. Those that its manifest names
    /// stay, for opening would miss them.
    pub(crate) fn free_upto(&self, frame: FrameNumber, named: &[u64]) -> io::Result<()> {
        let mut superfluous = Vec::new();
        {
            let mut state = self.state.lock();
            let active = state.active;
            for file in &mut state.files {
                if file.number != active && file.highest.is_some_and(|highest| highest <= frame) {
                    file.highest = None;
                }
            }
            while state.files.len() > self.files_max {
                let last = state.files.len() - 1;
                let goes = |f: &JournalFile| f.highest.is_none() && f.number != active && !named.contains(&f.number);
                let Some(at) = state.files[..last].iter().position(goes) else { break };
                superfluous.push(state.files.remove(at).number);
            }
        }
        self.freed.notify_all();
        superfluous.iter().try_for_each(|number| self.disk.remove(&journal_path(*number)))
    }

    /// Whether frames wait for room that no checkpoint gives: there is no file but the one that is full and the last one, which
    /// is kept.
    pub(crate) fn is_stuck(&self) -> bool {
        let state = self.state.lock();
        let last = state.files.len().saturating_sub(1);
        state.short && state.files.iter().take(last).all(|file| file.number == state.active)
    }

    /// Whether frames wait for room.
    pub(crate) fn is_short(&self) -> bool {
        self.state.lock().short
    }

    /// Whether more than half of the journal waits for a checkpoint.
    pub(crate) fn wants_checkpoint(&self) -> bool {
        self.is_filled(1, 2)
    }

    /// Whether a checkpoint has no time to lose.
    pub(crate) fn presses_checkpoint(&self) -> bool {
        self.is_filled(3, 4)
    }

    /// Whether such a part of it waits for a checkpoint.
    fn is_filled(&self, part: usize, of: usize) -> bool {
        let state = self.state.lock();
        let in_use = state.files.iter().filter(|f| f.highest.is_some() && f.number != state.active).count();
        in_use * of >= (self.files_max.saturating_sub(2) * part).max(1)
    }

    /// Whether a file should be made ahead: the spare for the next life, or one to go on in.
    pub(crate) fn wants_file(&self) -> bool {
        let state = self.state.lock();
        state.lacks_spare() || state.lacks_next(self.files_max)
    }

    /// Makes that file, off the path of any append. Its number does not run over: no name counts that is near the end.
    pub(crate) fn make_file(&self, pace: &Pace) -> io::Result<()> {
        let number = self.state.lock().files.last().map_or(0, |f| f.number + 1);
        let file = make(&*self.disk, number, self.file_bytes, pace)?;
        self.state.lock().files.push(JournalFile { number, file, highest: None });
        self.freed.notify_all();
        Ok(())
    }

    /// Numbers of the files that hold a frame after `frame`, or are about to.
    pub(crate) fn files_after(&self, frame: FrameNumber) -> Vec<u64> {
        let state = self.state.lock();
        let needed = state.files.iter().filter(|f| f.number == state.active || f.highest.is_some_and(|h| h > frame));
        needed.map(|f| f.number).collect()
    }

    /// Whether somebody waits for a file.
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Acquire) > 0
    }

    /// Waits until a file may have become free.
    pub(crate) fn wait_freed(&self, timeout: std::time::Duration) {
        self.awaited.fetch_add(1, Ordering::AcqRel);
        let state = self.state.lock();
        drop(self.freed.wait_timeout(state, timeout));
        self.awaited.fetch_sub(1, Ordering::AcqRel);
    }

    /// Bytes the journal takes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.state.lock().files.len() as u64 * self.file_bytes
    }
}

/// Makes a file of zeros whose every block is on stable storage, and its name too.
fn make(disk: &dyn Disk, number: u64, bytes: u64, pace: &Pace) -> io::Result<Arc<dyn DiskFile>> {
    let path = journal_path(number);
    let file = match disk.open(&path, Access::CreateNew) {
        // A file of this number is left from an attempt that failed half-way; it holds no frame.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.open(&path, Access::Write)?,
        other => other?,
    };
    let zeros = vec![0; (1 << 20).min(bytes as usize)];
    let fill = || {
        let mut at = 0;
        while at < bytes {
            let n = (bytes - at).min(zeros.len() as u64);
            file.write_at(&zeros[..n as usize], at)?;
            pace.write_back(&*file, at..at + n)?;
            at += n;
        }
        file.sync_data()?;
        disk.sync_dir("journal")?;
        disk.open(&path, Access::Direct)
    };
    fill().inspect_err(|_| {
        let _ = disk.remove(&path);
    })
}

/// Whether a journal file was never written: its first block is zeros.
pub(crate) fn is_pristine(file: &dyn DiskFile) -> bool {
    let mut block = crate::env::AlignedBuf::with_capacity(BLOCK);
    block.resize(BLOCK);
    matches!(file.read_at(&mut block, 0), Ok(BLOCK)) && first_nonzero(&block).is_none()
}
