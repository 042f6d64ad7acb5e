//! One file that is followed: what was read of it, and whether it is still there.

use std::io;
use std::path::{Path, PathBuf};

use super::cut::{Cut, CutRule};
use super::files::{FileId, Files, Stat};
use crate::format::agent::{Digest, FileRow};

/// How many bytes at the front of a file, and before a position, are held against what was read.
pub(super) const WINDOW: usize = 1024;
const CHUNK: usize = 64 << 10;

/// How files are followed.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) cut: CutRule,
    /// An unfinished record is handed out when nothing came after it for so long: the last line of a file that was renamed
    /// or deleted, the last record of many lines.
    pub(super) idle_ms: u64,
    /// Files that are there at the first look of all are read from their end on.
    pub(super) from_end: bool,
    /// Nobody comes back soon: an unfinished line of any file counts as whole once nothing came after it for as long.
    pub(super) once: bool,
    /// So many files stay open: those that were written to last.
    pub(super) open_max: usize,
    /// So many rows are kept with one batch.
    pub(super) rows_max: usize,
}

/// What the next batch has room for.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

impl Room {
    /// Takes room for a record, which may be larger than what is left of it.
    fn take(&mut self, bytes: usize) -> bool {
        let has = self.records > 0 && self.bytes > 0;
        if has {
            self.records -= 1;
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        has
    }
}

/// The bytes at the front of a file, and those before a position.
type Windows = (Vec<u8>, Vec<u8>);

/// A file and how far it was read.
pub(super) struct Followed<H> {
    pub(super) path: PathBuf,
    pub(super) stat: Stat,
    pub(super) file: Option<H>,
    /// Everything before it was handed out.
    pub(super) position: u64,
    /// The first bytes of the file, as far as they were read.
    pub(super) front: Vec<u8>,
    /// The bytes right before the position.
    pub(super) back: Vec<u8>,
    /// What was read after it.
    pub(super) pending: Vec<u8>,
    /// Its position was kept from before, and its content was not compared yet.
    pub(super) kept: Option<FileRow>,
    /// It has another name than it had, or none, or none that matches.
    pub(super) moved: bool,
    /// It has a name that matches.
    pub(super) matches: bool,
    /// It was written to since its content was compared.
    pub(super) touched: bool,
    /// Its content is not what was read.
    pub(super) changed: bool,
    /// It has no name any more, and was read to its end.
    pub(super) done: bool,
}

impl<H> Followed<H> {
    pub(super) fn new(path: PathBuf, stat: Stat) -> Followed<H> {
        Followed {
            path,
            stat,
            file: None,
            position: 0,
            front: Vec::new(),
            back: Vec::new(),
            pending: Vec::new(),
            kept: None,
            moved: false,
            matches: true,
            touched: true,
            changed: false,
            done: false,
        }
    }

    pub(super) fn row(&self, now_ms: u64) -> FileRow {
        use std::os::unix::ffi::OsStrExt;
        let path = self.path.as_os_str().as_bytes().to_vec();
        if let Some(kept) = &self.kept {
            return FileRow { path, seen_ms: now_ms, ..kept.clone() };
        }
        let front = Digest::of(&self.front[..self.front.len().min(self.position as usize)]);
        FileRow { offset: self.position, front, back: Digest::of(&self.back), seen_ms: now_ms, path }
    }

    pub(super) fn read_to(&self) -> u64 {
        self.position + self.pending.len() as u64
    }

    pub(super) fn see(&mut self, stat: Stat) {
        if stat != self.stat {
            (self.touched, self.done) = (true, false);
        }
        self.stat = stat;
    }

    /// Whether these bytes are what was read from `at` on, as far as that is still in memory: up to a window before the position.
    pub(super) fn held(&self, at: u64, bytes: &[u8]) -> bool {
        let back_at = self.position - self.back.len() as u64;
        let start = at.checked_sub(back_at).map(|start| start as usize);
        start.is_some_and(|start| self.back.get(start..start + bytes.len()) == Some(bytes))
    }

    /// So many bytes of what is pending were handed out.
    fn advance(&mut self, used: usize) {
        self.position += used as u64;
        self.back.extend_from_slice(&self.pending[..used]);
        self.back.drain(..self.back.len().saturating_sub(WINDOW));
        self.pending.drain(..used);
    }

    fn is_quiet(&self, now_ms: u64, idle_ms: u64) -> bool {
        now_ms.saturating_sub(self.stat.modified_ms()) >= idle_ms
    }

    fn open<F: Files<File = H>>(&mut self, files: &F) -> io::Result<()> {
        if self.file.is_none() {
            self.file = open(files, &self.path, self.stat.id)?;
        }
        Ok(())
    }

    /// Whether the file, `len` bytes long, still begins with everything that was read from it.
    pub(super) fn is_unchanged<F: Files<File = H>>(&self, files: &F, file: &H, len: u64) -> io::Result<bool> {
        if len < self.read_to() || read(files, file, 0, self.front.len())? != self.front {
            return Ok(false);
        }
        let known = [&self.back[..], &self.pending[self.pending.len().saturating_sub(WINDOW)..]].concat();
        let known = &known[known.len().saturating_sub(WINDOW)..];
        Ok(read(files, file, self.read_to() - known.len() as u64, known.len())? == known)
    }

    /// The bytes at the front and before the position, if another file holds everything that was read of this one.
    pub(super) fn content_in<F: Files<File = H>>(&self, files: &F, other: &H, len: u64) -> io::Result<Option<Windows>> {
        match &self.kept {
            Some(row) if is_unseen(row) => Ok(None),
            Some(row) => windows(files, other, row, len),
            None if self.read_to() > 0 && self.is_unchanged(files, other, len)? => {
                windows_at(files, other, self.position).map(Some)
            }
            None => Ok(None),
        }
    }

    /// Compares the content with what was read, after the file was written to.
    pub(super) fn compare<F: Files<File = H>>(&mut self, files: &F) -> io::Result<()> {
        self.open(files)?;
        let Some(file) = &self.file else { return Ok(()) };
        if let Some(row) = &self.kept {
            let (offset, found) = (row.offset, windows(files, file, row, self.stat.len)?);
            match found {
                None => self.changed = true,
                Some(found) => {
                    let seen = if is_unseen(row) { windows_at(files, file, offset)? } else { found };
                    (self.position, self.front, self.back, self.kept) = (offset, seen.0, seen.1, None);
                }
            }
        } else if !self.is_unchanged(files, file, self.stat.len)? {
            let row = self.row(0);
            let is_there = self.position > 0 && windows(files, file, &row, self.stat.len)?.is_some();
            if is_there {
                // Only an unfinished line was taken back.
                self.pending.clear();
                self.front.truncate(self.position as usize);
            }
            self.changed = !is_there;
        }
        // Not before: what could not be read is compared at the next look.
        self.touched = false;
        Ok(())
    }

    /// The records of a content that is over: nothing will come behind what was read of it. Whether there was room for all.
    pub(super) fn drain(&mut self, rules: &Rules, room: &mut Room, out: &mut Vec<Vec<u8>>) -> bool {
        self.hand_out(rules, true, room, out)
    }

    /// Hands out the records in what is pending. Whether there was room for all.
    fn hand_out(&mut self, rules: &Rules, is_all: bool, room: &mut Room, out: &mut Vec<Vec<u8>>) -> bool {
        let mut used = 0;
        while let Some(Cut { len, used: more }) = rules.cut.next(&self.pending[used..], is_all) {
            if !room.take(len) {
                self.advance(used);
                return false;
            }
            out.push(self.pending[used..used + len].to_vec());
            used += more;
        }
        self.advance(used);
        true
    }

    /// Leaves the file to the path, unless it has none any more and could not be opened again.
    pub(super) fn close(&mut self) {
        if self.stat.linked {
            self.file = None;
        }
    }

    /// Reads on. Returns how much.
    fn fill<F: Files<File = H>>(&mut self, files: &F) -> io::Result<usize> {
        self.open(files)?;
        let Some(file) = &self.file else { return Ok(0) };
        let mut chunk = vec![0; CHUNK];
        let n = files.read_at(file, self.read_to(), &mut chunk)?;
        let len = files.stat(file)?.len;
        if !self.is_unchanged(files, file, len)? {
            self.changed = true;
            return Ok(0);
        }
        let missing = WINDOW.saturating_sub(self.front.len()).min(n);
        self.front.extend_from_slice(&chunk[..missing]);
        self.pending.extend_from_slice(&chunk[..n]);
        Ok(n)
    }
}

/// Opens the file, if the path still leads to it.
pub(super) fn open<F: Files>(files: &F, path: &Path, id: FileId) -> io::Result<Option<F::File>> {
    match files.open(path) {
        Ok(file) if files.stat(&file)?.id == id => Ok(Some(file)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// `len` bytes from `at`, or as many as there are.
pub(super) fn read<F: Files>(files: &F, file: &F::File, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut done = 0;
    while done < len {
        match files.read_at(file, at + done as u64, &mut bytes[done..])? {
            0 => break,
            n => done += n,
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

/// The bytes that a row has digests of, if they are in the file.
pub(super) fn windows<F: Files>(files: &F, file: &F::File, row: &FileRow, len: u64) -> io::Result<Option<Windows>> {
    if len < row.offset {
        return Ok(None);
    }
    let front = read(files, file, 0, row.front.len.into())?;
    let back = read(files, file, row.offset - u64::from(row.back.len), row.back.len.into())?;
    Ok((Digest::of(&front) == row.front && Digest::of(&back) == row.back).then_some((front, back)))
}

/// Whether a file has the first `len` bytes of another. Up to `from` that was seen before, so there only the bytes at the front and
/// right before it are held against each other. `None` if it was told to stop.
pub(super) fn is_prefix<F: Files>(
    files: &F,
    original: &F::File,
    copy: &F::File,
    (from, len): (u64, u64),
    stop: &mut dyn FnMut() -> bool,
) -> io::Result<Option<bool>> {
    let front = len.min(WINDOW as u64) as usize;
    if read(files, original, 0, front)? != read(files, copy, 0, front)? {
        return Ok(Some(false));
    }
    let mut at = from.saturating_sub(WINDOW as u64);
    while at < len {
        if stop() {
            return Ok(None);
        }
        let chunk = (len - at).min(CHUNK as u64) as usize;
        let bytes = read(files, copy, at, chunk)?;
        if bytes.len() < chunk || read(files, original, at, chunk)? != bytes {
            return Ok(Some(false));
        }
        at += chunk as u64;
    }
    Ok(Some(true))
}

pub(super) fn read_one<F: Files>(
    files: &F,
    rules: &Rules,
    file: &mut Followed<F::File>,
    now_ms: u64,
    room: &mut Room,
    out: &mut Vec<Vec<u8>>,
) -> io::Result<bool> {
    loop {
        if file.kept.is_some() || file.changed {
            // The next look compares or sorts it out.
            return Ok(true);
        }
        let at_end = file.read_to() >= file.stat.len;
        let quiet = at_end && file.is_quiet(now_ms, rules.idle_ms);
        let many_lines = rules.cut.first_line.is_some() && file.pending.ends_with(b"\n");
        if !file.hand_out(rules, quiet && (file.moved || many_lines || rules.once), room, out) {
            return Ok(false);
        }
        if at_end && file.read_to() >= file.stat.len {
            file.done = !file.stat.linked && quiet && file.pending.is_empty();
            return Ok(true);
        }
        if file.fill(files)? == 0 {
            return Ok(true);
        }
    }
}

/// The row of a file that could not be looked into: it goes on at `offset`, whatever is before that.
pub(super) fn unseen(path: &Path, offset: u64, now_ms: u64) -> FileRow {
    use std::os::unix::ffi::OsStrExt;
    let nothing = Digest::of(b"");
    FileRow { offset, front: nothing, back: nothing, seen_ms: now_ms, path: path.as_os_str().as_bytes().to_vec() }
}

/// Whether it is a row that [`unseen`] made.
pub(super) fn is_unseen(row: &FileRow) -> bool {
    row.offset > 0 && row.front.len == 0
}

/// Windows of the file at a position that is known to be right.
pub(super) fn windows_at<F: Files>(files: &F, file: &F::File, at: u64) -> io::Result<Windows> {
    let len = at.min(WINDOW as u64);
    Ok((read(files, file, 0, len as usize)?, read(files, file, at - len, len as usize)?))
}

pub(super) fn path_of(row: &FileRow) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(&row.path))
}

/// A file that is there again, with the position kept of it.
pub(super) fn known_before<H>(path: PathBuf, stat: Stat, row: FileRow) -> Followed<H> {
    let moved = path != path_of(&row);
    Followed { moved, kept: Some(row), ..Followed::new(path, stat) }
}
