//! What the bare machine does with the same bytes. Each is the least work that any log with the same promise must do, written
//! as plainly as it can be; all of it runs in the same place, right before or after the engine.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use super::report::Row;
use super::{Latency, pattern, random};
use crate::cli::Failure;
use crate::env::{Access, AlignedBuf, BLOCK, Disk, DiskFile, DiskOp, LockMode, RealDisk, Wait};

/// Bytes in one write to the page cache.
const CACHED_CHUNK: usize = 256 << 10;
/// A cached file is not grown beyond this: the kernel would begin to write it back and measure the disk.
const CACHED_FILE_BYTES: u64 = 256 << 20;
/// Size of the file that direct writes go to, over and over.
const DIRECT_FILE_BYTES: u64 = 64 << 20;
/// What a record has before its data in any log: at least a length and a checksum.
const HEADER: usize = 8;

/// A folder for the limits' own files.
pub(crate) struct Bare {
    disk: RealDisk,
}

impl Bare {
    pub(crate) fn new(place: &Path) -> Result<Bare, Failure> {
        let disk = RealDisk::open(&place.join("limit")).map_err(Failure::io("make a folder for the limits"))?;
        Ok(Bare { disk })
    }

    fn file(&self, name: &str) -> Result<std::sync::Arc<dyn DiskFile>, Failure> {
        self.disk.open(name, Access::CreateNew).map_err(Failure::io(format!("make {name}")))
    }

    fn remove(&self, name: &str) -> Result<(), Failure> {
        self.disk.remove(name).map_err(Failure::io(format!("remove {name}")))
    }

    /// Positioned writes of a growing file, never synced.
    pub(crate) fn cached_write(&self, record_bytes: usize, time: Duration) -> Result<Row, Failure> {
        let chunk = pattern(CACHED_CHUNK);
        let (mut bytes, mut spent) = (0u64, Duration::ZERO);
        while spent < time {
            let file = self.file("cached")?;
            let started = Instant::now();
            let mut at = 0;
            while at < CACHED_FILE_BYTES && spent + started.elapsed() < time {
                file.write_at(&chunk, at).map_err(Failure::io("write the limit's file"))?;
                at += chunk.len() as u64;
            }
            spent += started.elapsed();
            bytes += at;
            drop(file);
            self.remove("cached")?;
        }
        let rate = bytes as f64 / spent.as_secs_f64();
        Ok(Row {
            name: "limit: write to the page cache".to_owned(),
            rate: rate / record_bytes.max(1) as f64,
            bytes_per_second: rate,
            latency: None,
        })
    }

    /// Direct writes, each durable when it is done, into a file whose blocks were all written before; `depth` of them on
    /// their way. Each carries `carried` bytes of data, rounded up to whole blocks.
    pub(crate) fn durable_write(
        &self,
        carried: usize,
        per_write: f64,
        depth: usize,
        time: Duration,
    ) -> Result<Row, Failure> {
        let len = carried.next_multiple_of(BLOCK).max(BLOCK);
        let file_bytes = DIRECT_FILE_BYTES.max(4 * len as u64).next_multiple_of(len as u64);
        let name = "direct";
        let file = self.file(name)?;
        let chunk = pattern(1 << 20);
        let mut at = 0;
        while at < file_bytes {
            file.write_at(&chunk, at).map_err(Failure::io("write the limit's file"))?;
            at += chunk.len() as u64;
        }
        file.sync_data().map_err(Failure::io("sync the limit's file"))?;
        self.disk.sync_dir("").map_err(Failure::io("sync the limit's folder"))?;
        drop(file);
        let file = self.disk.open(name, Access::Direct).map_err(Failure::io("open the limit's file"))?;
        let lock =
            self.disk.lock("LOCK", LockMode::Exclusive, "bench").map_err(Failure::io("lock the limit's folder"))?;
        let mut queue = self.disk.write_queue(&*lock, depth).map_err(Failure::io("make a queue"))?;
        let mut spare: Vec<AlignedBuf> = Vec::new();
        for _ in 0..depth {
            let mut data = AlignedBuf::with_capacity(len);
            data.extend_from_slice(&pattern(len));
            spare.push(data);
        }
        let mut latency = Latency::new()?;
        let mut submitted = vec![Instant::now(); depth];
        let mut slots: Vec<usize> = (0..depth).collect();
        let (mut offset, mut writes, mut done) = (0u64, 0u64, Vec::new());
        let started = Instant::now();
        loop {
            let over = started.elapsed() >= time;
            while !over && let Some(data) = spare.pop() {
                let Some(slot) = slots.pop() else { break };
                if offset + len as u64 > file_bytes {
                    offset = 0;
                }
                submitted[slot] = Instant::now();
                queue.submit(slot as u64, DiskOp::Write { file: file.clone(), offset, data, durable: true });
                offset += len as u64;
            }
            if queue.in_flight() == 0 {
                break;
            }
            queue.reap(Wait::Completion, &mut done);
            for completion in done.drain(..) {
                completion.result.map_err(Failure::io("write the limit's file"))?;
                let slot = completion.token as usize;
                latency.record(submitted[slot].elapsed().as_nanos() as u64);
                slots.push(slot);
                if let DiskOp::Write { data, .. } = completion.op {
                    spare.push(data);
                }
                writes += 1;
            }
        }
        let spent = started.elapsed().as_secs_f64();
        drop((queue, lock, file));
        self.remove(name)?;
        let rate = writes as f64 / spent;
        let at_once = if depth == 1 { String::new() } else { format!(", {depth} at once") };
        Ok(Row {
            name: format!("limit: durable write of {}{at_once}", crate::cli::units::bytes(len as u64)),
            rate: rate * per_write,
            bytes_per_second: rate * carried as f64,
            latency: Some(latency.percentiles()),
        })
    }

    /// A file of `bytes` in the page cache, for the limits of reading.
    pub(crate) fn cached_file(&self, bytes: u64) -> Result<CachedFile, Failure> {
        let file = self.file("read")?;
        let chunk = pattern(1 << 20);
        let mut at = 0;
        while at < bytes {
            let n = chunk.len().min((bytes - at) as usize);
            file.write_at(&chunk[..n], at).map_err(Failure::io("write the limit's file"))?;
            at += n as u64;
        }
        Ok(CachedFile { file, bytes })
    }
}

/// Copying each record behind a header into a buffer and summing the buffer: what it takes in memory before a byte is written.
pub(crate) fn copy_and_checksum(record: &[u8], batch: usize, time: Duration) -> Row {
    let frame = (record.len() + HEADER) * batch;
    let mut buffer: Vec<u8> = Vec::with_capacity(frame);
    let mut batches = 0u64;
    let started = Instant::now();
    while started.elapsed() < time {
        for _ in 0..1 + (64 << 10) / frame.max(1) {
            buffer.clear();
            for _ in 0..batch {
                buffer.extend_from_slice(&(record.len() as u64).to_le_bytes());
                buffer.extend_from_slice(black_box(record));
            }
            black_box(crc32fast::hash(&buffer));
            batches += 1;
        }
    }
    let rate = (batches * batch as u64) as f64 / started.elapsed().as_secs_f64();
    Row {
        name: "limit: copy and checksum in memory".to_owned(),
        rate,
        bytes_per_second: rate * record.len() as f64,
        latency: None,
    }
}

/// One after the other: the time per byte of both added up.
pub(crate) fn both(name: &str, a: &Row, b: &Row) -> Row {
    let joined = |a: f64, b: f64| if a > 0.0 && b > 0.0 { 1.0 / (1.0 / a + 1.0 / b) } else { a.max(b) };
    Row {
        name: name.to_owned(),
        rate: joined(a.rate, b.rate),
        bytes_per_second: joined(a.bytes_per_second, b.bytes_per_second),
        latency: None,
    }
}

/// A file to read from.
pub(crate) struct CachedFile {
    file: std::sync::Arc<dyn DiskFile>,
    bytes: u64,
}

impl CachedFile {
    /// Adds up all of the mapped bytes, again and again; with `checksum` their CRC instead.
    pub(crate) fn mapped(&self, record_bytes: usize, checksum: bool, time: Duration) -> Result<Row, Failure> {
        let map = self.file.map(self.bytes).map_err(Failure::io("map the limit's file"))?;
        let all = map.bytes(0, self.bytes as usize);
        let all = all.ok_or_else(|| Failure::Other("the limit's file could not be mapped whole".to_owned()))?;
        // The first touch of each page costs a fault; what is compared has had its first touch as well.
        black_box(sum(&all));
        let (started, mut rounds) = (Instant::now(), 0u64);
        while rounds == 0 || started.elapsed() < time {
            black_box(if checksum { u64::from(crc32fast::hash(&all)) } else { sum(&all) });
            rounds += 1;
        }
        let rate = (rounds * self.bytes) as f64 / started.elapsed().as_secs_f64();
        let what = if checksum { "checksum" } else { "sum" };
        Ok(Row {
            name: format!("limit: {what} of the mapped bytes"),
            rate: rate / record_bytes.max(1) as f64,
            bytes_per_second: rate,
            latency: None,
        })
    }

    /// Reads all of it in pieces of 1 MiB and sums those.
    pub(crate) fn read_and_checksum(&self, time: Duration) -> Result<Row, Failure> {
        let mut buffer = vec![0; 1 << 20];
        let (started, mut bytes) = (Instant::now(), 0u64);
        while bytes == 0 || started.elapsed() < time {
            let mut at = 0;
            while at < self.bytes {
                let n = self.file.read_at(&mut buffer, at).map_err(Failure::io("read the limit's file"))?;
                if n == 0 {
                    break;
                }
                black_box(crc32fast::hash(&buffer[..n]));
                at += n as u64;
            }
            bytes += at.max(1);
        }
        let rate = bytes as f64 / started.elapsed().as_secs_f64();
        let name = "limit: read and checksum the same bytes".to_owned();
        Ok(Row { name, rate: rate / self.bytes.max(1) as f64, bytes_per_second: rate, latency: None })
    }

    /// One positioned read of `len` bytes at a place nobody could foresee.
    pub(crate) fn random_reads(&self, len: usize, time: Duration) -> Result<Row, Failure> {
        let mut buffer = vec![0; len.max(1)];
        let mut latency = Latency::new()?;
        let mut state = 7;
        let last = self.bytes.saturating_sub(len as u64).max(1);
        let (started, mut reads) = (Instant::now(), 0u64);
        while started.elapsed() < time {
            let at = random(&mut state) % last;
            let began = Instant::now();
            self.file.read_at(&mut buffer, at).map_err(Failure::io("read the limit's file"))?;
            latency.record(began.elapsed().as_nanos() as u64);
            black_box(buffer.first());
            reads += 1;
        }
        let rate = reads as f64 / started.elapsed().as_secs_f64();
        let name = format!("limit: positioned read of {len} B, known place");
        Ok(Row { name, rate, bytes_per_second: 0.0, latency: Some(latency.percentiles()) })
    }
}

/// Adds bytes up eight at a time: every byte is touched, and nothing else is done.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(words, |sum, byte| sum.wrapping_add(u64::from(*byte)))
}
