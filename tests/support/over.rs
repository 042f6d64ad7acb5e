//! A disk over the simulated one that does something of its own at a call or two.

use std::io;
use std::sync::Arc;

use braidlog::env::sim::SimDisk;
use braidlog::env::{Access, DirEntry, Disk, DiskFile, DiskKind, DiskLock, LockMode, Space, WriteQueue};

type OnOpen = dyn Fn(&str, Access) + Send + Sync;
type OnFile = dyn Fn(&str, Arc<dyn DiskFile>) -> Arc<dyn DiskFile> + Send + Sync;
type OnQueue = dyn Fn(Box<dyn WriteQueue>) -> Box<dyn WriteQueue> + Send + Sync;

/// Everything else is the disk's below.
pub struct Over {
    disk: SimDisk,
    on_open: Box<OnOpen>,
    on_file: Box<OnFile>,
    on_queue: Box<OnQueue>,
}

impl Over {
    pub fn new(disk: SimDisk) -> Over {
        Over {
            disk,
            on_open: Box::new(|_, _| ()),
            on_file: Box::new(|_, file| file),
            on_queue: Box::new(|queue| queue),
        }
    }

    /// Has this called before a file is opened.
    pub fn on_open(self, on_open: impl Fn(&str, Access) + Send + Sync + 'static) -> Over {
        Over { on_open: Box::new(on_open), ..self }
    }

    /// Has this called with each file that is opened, for the one to use in its place.
    pub fn on_file(
        self,
        on_file: impl Fn(&str, Arc<dyn DiskFile>) -> Arc<dyn DiskFile> + Send + Sync + 'static,
    ) -> Over {
        Over { on_file: Box::new(on_file), ..self }
    }

    /// Has writes go through the queue that this makes of the one below.
    pub fn on_queue(
        self,
        on_queue: impl Fn(Box<dyn WriteQueue>) -> Box<dyn WriteQueue> + Send + Sync + 'static,
    ) -> Over {
        Over { on_queue: Box::new(on_queue), ..self }
    }
}

impl Disk for Over {
    fn kind(&self) -> DiskKind {
        self.disk.kind()
    }

    fn root(&self) -> String {
        self.disk.root()
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<DirEntry>> {
        self.disk.list(dir)
    }

    fn open(&self, path: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        (self.on_open)(path, access);
        Ok((self.on_file)(path, self.disk.open(path, access)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.disk.sync_all()
    }

    fn space(&self) -> io::Result<Space> {
        self.disk.space()
    }

    fn lock(&self, path: &str, mode: LockMode, holder: &str) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path, mode, holder)
    }

    fn write_queue(&self, lock: &dyn DiskLock, depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        Ok((self.on_queue)(self.disk.write_queue(lock, depth)?))
    }

    fn sibling(&self, root: &str) -> io::Result<Arc<dyn Disk>> {
        self.disk.sibling(root)
    }
}
