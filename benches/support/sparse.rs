//! A disk that leaves holes where a segment would have blocks of zeros: a directory of 100 GiB in a tenth of the room.
//!
//! Every byte goes through the engine's public interface, so segments, indexes and manifest are real ones, and what was
//! written reads back the same from any other disk.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;

use braidlog::env::{
    Access, DirEntry, Disk, DiskFile, DiskKind, DiskLock, Env, LockMode, Mapping, RealDisk, Space, WriteQueue,
};

const BLOCK: u64 = 4096;
static ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];

/// The real parts below `root`, with segments that skip zeros.
pub fn env(root: &Path) -> io::Result<Env> {
    let mut env = Env::system(root)?;
    env.disk = Arc::new(SparseDisk(RealDisk::open(root)?));
    Ok(env)
}

struct SparseDisk(RealDisk);

impl Disk for SparseDisk {
    fn kind(&self) -> DiskKind {
        self.0.kind()
    }
    fn root(&self) -> String {
        self.0.root()
    }
    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.0.create_dir(dir)
    }
    fn list(&self, dir: &str) -> io::Result<Vec<DirEntry>> {
        self.0.list(dir)
    }
    fn open(&self, path: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.0.open(path, access)?;
        Ok(if path.ends_with(".seg") && access == Access::CreateNew { Arc::new(SparseFile(file)) } else { file })
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.0.remove(path)
    }
    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.0.sync_dir(dir)
    }
    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
    fn space(&self) -> io::Result<Space> {
        self.0.space()
    }
    fn lock(&self, path: &str, mode: LockMode, holder: &str) -> io::Result<Box<dyn DiskLock>> {
        self.0.lock(path, mode, holder)
    }
    fn write_queue(&self, lock: &dyn DiskLock, depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        self.0.write_queue(lock, depth)
    }
    fn sibling(&self, root: &str) -> io::Result<Arc<dyn Disk>> {
        self.0.sibling(root)
    }
}

/// A segment being written. It only grows, so a block that was skipped is a hole.
struct SparseFile(Arc<dyn DiskFile>);

impl DiskFile for SparseFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut rest = data;
        let mut at = offset;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min((BLOCK - at % BLOCK) as usize));
            // The last piece is written whatever it is: the file must be as long as it would be.
            if after.is_empty() || piece != &ZEROS[..piece.len()] {
                self.0.write_at(piece, at)?;
            }
            at += piece.len() as u64;
            rest = after;
        }
        Ok(())
    }
    fn allocate(&self, _end: u64) -> io::Result<()> {
        Ok(())
    }
    fn shrink(&self, len: u64) -> io::Result<()> {
        self.0.shrink(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn map(&self, len: u64) -> io::Result<Arc<dyn Mapping>> {
        self.0.map(len)
    }
    fn as_any(&self) -> &dyn Any {
        self.0.as_any()
    }
}
