//! What this machine can do at best: the denominators of the bars, measured the way `limits` measures them.
//!
//! Two things here need what safe code can't say: a map of a file, and handing a ring the address of a buffer.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use braidlog::env::AlignedBuf;

/// A write of the floor into the page cache.
const PAGE_CACHE_WRITE_BYTES: usize = 256 << 10;
/// Bytes under one checksum.
const CHECKSUM_BYTES: usize = 64 << 10;
/// A record's header in the floor.
const HEADER_BYTES: usize = 16;

/// The floor of a buffered append: every record copied behind a header of 16 bytes, a checksum over every 64 KiB, the same
/// bytes written to a new file in pieces of 256 KiB.
pub fn append(dir: &Path, records: &[Vec<u8>], count: u64) -> io::Result<Duration> {
    let path = dir.join("floor.append");
    let file = File::create_new(&path)?;
    let longest = records.iter().map(Vec::len).max().unwrap_or(0);
    let mut ring = vec![0u8; PAGE_CACHE_WRITE_BYTES + HEADER_BYTES + longest];
    let (mut end, mut unchecked, mut offset, mut checksums) = (0, 0, 0, 0);
    let start = Instant::now();
    for number in 0..count {
        let record = &records[number as usize % records.len()];
        let data = end + HEADER_BYTES;
        ring[end..end + 8].copy_from_slice(&(record.len() as u64).to_le_bytes());
        ring[end + 8..data].copy_from_slice(&number.to_le_bytes());
        ring[data..data + record.len()].copy_from_slice(record);
        end = data + record.len();
        let full = end >= PAGE_CACHE_WRITE_BYTES || number + 1 == count;
        if full || end - unchecked >= CHECKSUM_BYTES {
            checksums ^= crc32fast::hash(&ring[unchecked..end]);
            unchecked = end;
        }
        if full {
            file.write_all_at(&ring[..end], offset)?;
            offset += end as u64;
            (end, unchecked) = (0, 0);
        }
    }
    let took = start.elapsed();
    black_box(checksums);
    drop(file);
    std::fs::remove_file(path)?;
    Ok(took)
}

/// A file whose every block was written and synced before, for durable writes past the page cache.
pub struct PreWritten {
    file: File,
    bytes: u64,
    next: u64,
    path: PathBuf,
}

impl PreWritten {
    /// Makes one.
    pub fn new(dir: &Path, bytes: u64) -> io::Result<PreWritten> {
        let path = dir.join("floor.durable");
        let file = File::create(&path)?;
        let piece = vec![0xa5u8; 1 << 20];
        for at in (0..bytes).step_by(piece.len()) {
            let len = (bytes - at).min(piece.len() as u64) as usize;
            file.write_all_at(&piece[..len], at)?;
        }
        file.sync_all()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        #[cfg(target_os = "linux")]
        options.custom_flags((rustix::fs::OFlags::DIRECT | rustix::fs::OFlags::DSYNC).bits() as i32);
        // A file system without direct writes, tmpfs for one, gives the floor of its own page cache.
        let file = options.open(&path).or_else(|_| OpenOptions::new().read(true).write(true).open(&path))?;
        Ok(PreWritten { file, bytes, next: 0, path })
    }

    /// One durable write of the whole buffer at the next place, which starts anew at the end of the file.
    pub fn write(&mut self, block: &AlignedBuf) -> io::Result<()> {
        let at = self.place(block.len() as u64);
        #[cfg(target_os = "linux")]
        {
            let flags = rustix::io::ReadWriteFlags::DSYNC;
            let written = rustix::io::pwritev2(&self.file, &[io::IoSlice::new(block)], at, flags)?;
            assert_eq!(written, block.len(), "a short write");
            Ok(())
        }
        #[cfg(not(target_os = "linux"))]
        {
            self.file.write_all_at(block, at)?;
            self.file.sync_data()
        }
    }

    fn place(&mut self, len: u64) -> u64 {
        if self.next + len > self.bytes {
            self.next = 0;
        }
        self.next += len;
        self.next - len
    }

    /// Bytes a second of durable writes of `block` bytes, `depth` of them in flight.
    #[cfg(target_os = "linux")]
    pub fn pipeline(&mut self, block: usize, depth: usize, total: u64) -> io::Result<f64> {
        use std::os::fd::AsRawFd;

        let buffer = block_of(block);
        let mut ring = io_uring::IoUring::new(64)?;
        let descriptor = io_uring::types::Fd(self.file.as_raw_fd());
        let (mut submitted, mut done, mut in_flight) = (0, 0, 0);
        let start = Instant::now();
        while done < total {
            while in_flight < depth && submitted < total {
                let at = self.place(block as u64);
                let write = io_uring::opcode::Write::new(descriptor, buffer.as_ptr(), block as u32).offset(at).build();
                // SAFETY: `buffer` is not changed and lives until the function returns, which it does not do with writes
                // in flight except by an error of the ring itself, after which nothing uses the memory but this process's
                // end; it is `block` bytes long. The descriptor lives as long.
                unsafe { ring.submission().push(&write).map_err(io::Error::other)? };
                submitted += block as u64;
                in_flight += 1;
            }
            ring.submit_and_wait(1)?;
            for completion in ring.completion() {
                assert_eq!(completion.result(), block as i32, "a write of the floor failed");
                in_flight -= 1;
                done += block as u64;
            }
        }
        Ok(done as f64 / start.elapsed().as_secs_f64())
    }

    /// Bytes a second of durable writes of `block` bytes.
    #[cfg(not(target_os = "linux"))]
    pub fn pipeline(&mut self, block: usize, _depth: usize, total: u64) -> io::Result<f64> {
        let buffer = block_of(block);
        let start = Instant::now();
        for _ in 0..total.div_ceil(block as u64) {
            self.write(&buffer)?;
        }
        Ok(total as f64 / start.elapsed().as_secs_f64())
    }

    /// The block size and depth at which it is fastest.
    pub fn best_pipeline(&mut self, total: u64) -> io::Result<(usize, usize)> {
        let mut best = (0.0, (64 << 10, 1));
        for block in [64 << 10, 256 << 10, 512 << 10, 1 << 20] {
            for depth in [1, 2, 4, 8, 16] {
                let rate = self.pipeline(block, depth, total)?;
                if rate > best.0 {
                    best = (rate, (block, depth));
                }
            }
        }
        Ok(best.1)
    }
}

impl Drop for PreWritten {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Bytes a second of sequential writes into a new file whose room was reserved and never written, as a log's is that grows: direct
/// writes of 512 KiB, 16 in flight, and a data sync behind every 4 MiB beside the writes that follow. The file system has to
/// note what became data, and a thin device to find room, which [`PreWritten`] has behind it.
#[cfg(target_os = "linux")]
pub fn fresh_room(dir: &Path, total: u64) -> io::Result<f64> {
    use std::os::fd::AsRawFd;

    const BLOCK: usize = 512 << 10;
    const DEPTH: usize = 16;
    const SYNC_EVERY: u64 = 4 << 20;
    const SYNC: u64 = 1;
    let path = dir.join("floor.fresh");
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).custom_flags(rustix::fs::OFlags::DIRECT.bits() as i32);
    let file = options.open(&path).or_else(|_| File::create(&path))?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, total)?;
    file.sync_all()?;
    let buffer = block_of(BLOCK);
    let mut ring = io_uring::IoUring::new(64)?;
    let descriptor = io_uring::types::Fd(file.as_raw_fd());
    let (mut submitted, mut done, mut writes, mut syncs, mut unsynced) = (0, 0, 0, 0, 0);
    let start = Instant::now();
    while done < total || syncs > 0 || unsynced > 0 {
        while writes < DEPTH && submitted < total {
            let write =
                io_uring::opcode::Write::new(descriptor, buffer.as_ptr(), BLOCK as u32).offset(submitted).build();
            // SAFETY: as in `PreWritten::pipeline`.
            unsafe { ring.submission().push(&write).map_err(io::Error::other)? };
            submitted += BLOCK as u64;
            writes += 1;
        }
        if unsynced >= SYNC_EVERY || (done >= total && unsynced > 0) {
            let flags = io_uring::types::FsyncFlags::DATASYNC;
            let sync = io_uring::opcode::Fsync::new(descriptor).flags(flags).build().user_data(SYNC);
            // SAFETY: a sync refers to no memory; the descriptor is open until the function returns.
            unsafe { ring.submission().push(&sync).map_err(io::Error::other)? };
            syncs += 1;
            unsynced = 0;
        }
        ring.submit_and_wait(1)?;
        for completion in ring.completion() {
            if completion.user_data() == SYNC {
                assert_eq!(completion.result(), 0, "a sync of the floor failed");
                syncs -= 1;
                continue;
            }
            assert_eq!(completion.result(), BLOCK as i32, "a write of the floor failed");
            writes -= 1;
            done += BLOCK as u64;
            unsynced += BLOCK as u64;
        }
    }
    let took = start.elapsed();
    drop(file);
    std::fs::remove_file(path)?;
    Ok(done as f64 / took.as_secs_f64())
}

/// The same without a ring.
#[cfg(not(target_os = "linux"))]
pub fn fresh_room(dir: &Path, total: u64) -> io::Result<f64> {
    let path = dir.join("floor.fresh");
    let file = File::create(&path)?;
    let piece = vec![0x5au8; 4 << 20];
    let start = Instant::now();
    for at in (0..total).step_by(piece.len()) {
        file.write_all_at(&piece, at)?;
        file.sync_data()?;
    }
    let took = start.elapsed();
    std::fs::remove_file(path)?;
    Ok(total as f64 / took.as_secs_f64())
}

/// A buffer for direct writes.
pub fn block_of(bytes: usize) -> AlignedBuf {
    let mut block = AlignedBuf::with_capacity(bytes);
    block.extend_from_slice(&vec![0x5a; bytes]);
    block
}

/// Files mapped as they are, to be summed.
pub struct Mapped(Vec<memmap2::Mmap>);

impl Mapped {
    /// Maps them; no page has been touched.
    pub fn new(files: &[PathBuf]) -> io::Result<Mapped> {
        let map = |path: &PathBuf| {
            let file = File::open(path)?;
            // SAFETY: the files are a store's sealed or idle segments in a directory of this bench alone, and the bench
            // writes and shortens none of them while it holds this map.
            unsafe { memmap2::Mmap::map(&file) }
        };
        Ok(Mapped(files.iter().map(map).collect::<io::Result<_>>()?))
    }

    /// Reads every byte; answers with the time.
    pub fn sum(&self) -> Duration {
        let start = Instant::now();
        let total = self.0.iter().fold(0u64, |total, map| total.wrapping_add(sum(map)));
        black_box(total);
        start.elapsed()
    }

    /// Bytes in all.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|map| map.len() as u64).sum()
    }
}

/// The sum of all words, and of the bytes left over.
#[inline]
pub fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let total = words.iter().fold(0u64, |total, word| total.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(total, |total, byte| total.wrapping_add(u64::from(*byte)))
}

/// Reads files in order by calls of 1 MiB with a checksum over all of it: the floor of a replay.
pub fn read_and_check(files: &[PathBuf]) -> io::Result<(Duration, u64)> {
    let mut piece = vec![0; 1 << 20];
    let mut hasher = crc32fast::Hasher::new();
    let mut total = 0;
    let start = Instant::now();
    for path in files {
        let file = File::open(path)?;
        let mut at = 0;
        loop {
            let n = file.read_at(&mut piece, at)?;
            if n == 0 {
                break;
            }
            hasher.update(&piece[..n]);
            at += n as u64;
        }
        total += at;
    }
    black_box(hasher.finalize());
    Ok((start.elapsed(), total))
}

/// Drops files from the page cache, so that whoever reads them next reads the disk.
pub fn forget(files: &[PathBuf]) -> io::Result<()> {
    for path in files {
        let file = File::open(path)?;
        file.sync_data()?;
        #[cfg(target_os = "linux")]
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

/// Nanoseconds of one look-up in a plain sorted array of so many entries: the floor of a seek.
pub fn look_up(entries: usize, looks: usize) -> f64 {
    let entries = entries.max(1);
    let keys: Vec<u64> = (0..entries as u64).map(|i| i * 150).collect();
    let mut noise = 0x9e37_79b9_7f4a_7c15u64;
    let mut found = 0;
    let start = Instant::now();
    for _ in 0..looks {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        let wanted = noise % (entries as u64 * 150);
        found ^= keys.partition_point(|key| *key <= wanted);
    }
    black_box(found);
    start.elapsed().as_nanos() as f64 / looks as f64
}
