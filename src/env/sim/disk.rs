//! The simulated disk behind the contract: names, locks, space.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::{Access, DirEntry, Disk, DiskFile, DiskKind, DiskLock, LockMode, Space, WriteQueue};
use super::bugs::{SeededBug, is_active};
use super::durability::Promise;
use super::fault::{Entered, Errno, Run, crash_error};
use super::file::SimFile;
use super::image::{Image, Ino};
use super::profile::Profile;
use super::queue::{LockState, SimLock, SimQueue};
use super::tape::Tape;

/// What a disk without a capacity says its size is.
const UNLIMITED: u64 = 1 << 40;

pub(super) struct World {
    pub(super) image: Image,
    pub(super) run: Run,
}

impl World {
    pub(super) fn sweep_if_grown(&mut self) {
        let (opens, locks) = (&self.run.opens, &self.run.locks);
        self.image.sweep_if_grown(opens.keys().chain(locks.keys()).copied());
    }
}

pub(super) type SharedWorld = Arc<Mutex<World>>;

pub(super) fn lock(world: &SharedWorld) -> MutexGuard<'_, World> {
    // A broken contract panics with the world locked; whoever looks at the ruins afterwards may.
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A disk in memory. Clones are handles on the same disk; [`fork`](SimDisk::fork) and [`crash`](SimDisk::crash) give
/// disks of their own.
#[derive(Clone)]
pub struct SimDisk {
    pub(super) world: SharedWorld,
    pub(super) root: Ino,
    pub(super) root_path: String,
}

impl SimDisk {
    /// An empty disk whose choices come from `tape`, with the weakest [`Profile`].
    pub fn new(tape: Tape) -> Self {
        let mut image = Image::new(Profile::STRICT_POSIX);
        let root_path = "/sim".to_string();
        let root = image.make_root(&root_path).expect("a new image has room for its root");
        SimDisk { world: Arc::new(Mutex::new(World { image, run: Run::new(tape) })), root, root_path }
    }

    pub(super) fn lock_world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    /// Counts the call, then acts on the world, unless a fault or the crash comes first.
    fn call<T>(
        &self,
        site: &'static str,
        path: &str,
        mutating: bool,
        act: impl FnOnce(&mut World) -> io::Result<T>,
    ) -> io::Result<T> {
        call(&self.world, site, path, mutating, format_args!(""), act)
    }
}

/// See [`SimDisk::call`].
pub(super) fn call<T>(
    world: &SharedWorld,
    site: &'static str,
    path: &str,
    mutating: bool,
    detail: fmt::Arguments<'_>,
    act: impl FnOnce(&mut World) -> io::Result<T>,
) -> io::Result<T> {
    let mut guard = lock(world);
    let torn = match guard.run.enter(site, path, mutating, detail)? {
        Entered::Clear => false,
        Entered::Fault(error) => return Err(error),
        Entered::Torn if !guard.run.torn_took_effect() => return Err(crash_error()),
        Entered::Torn => true,
    };
    let result = act(&mut guard);
    // Before the result goes: dropping a file locks the world again.
    drop(guard);
    if torn { Err(crash_error()) } else { result }
}

impl Disk for SimDisk {
    fn kind(&self) -> DiskKind {
        DiskKind::Simulated
    }

    fn root(&self) -> String {
        self.root_path.clone()
    }

    fn network_file_system(&self) -> Option<&'static str> {
        self.profile().network
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.call("create_dir", dir, true, |w| w.image.create_dir(self.root, dir))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<DirEntry>> {
        self.call("list", dir, false, |w| w.image.list(self.root, dir))
    }

    fn open(&self, path: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let create = access == Access::CreateNew;
        let site = if create { "create" } else { "open" };
        self.call(site, path, create, |w| {
            let ino = if create { w.image.create_file(self.root, path)? } else { w.image.lookup(self.root, path)? };
            refuse_dir(w, ino, path)?;
            Ok(Arc::new(SimFile::new(w, &self.world, ino, path, access)) as Arc<dyn DiskFile>)
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.call("rename", from, true, |w| w.image.rename(self.root, from, to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.call("remove", path, true, |w| {
            let ino = w.image.unlink(self.root, path)?;
            if !w.run.opens.contains_key(&ino) {
                w.image.release(ino);
            }
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let w = &mut *self.lock_world();
        match w.run.enter("sync_dir", dir, true, format_args!(""))? {
            Entered::Clear => {
                sync_dir(w, self.root, dir)?;
                w.sweep_if_grown();
                Ok(())
            }
            Entered::Torn => {
                if w.run.torn_took_effect() {
                    sync_dir(w, self.root, dir)?;
                }
                Err(crash_error())
            }
            Entered::Fault(error) => {
                if let Ok(ino) = w.image.lookup(self.root, dir) {
                    let left = w.run.left_by_failed_sync(w.image.profile.after_failed_sync);
                    w.image.fail_sync_dir(ino, left);
                }
                Err(error)
            }
        }
    }

    fn sync_all(&self) -> io::Result<()> {
        let w = &mut *self.lock_world();
        let upto = w.image.seq;
        match w.run.enter("sync_all", "", true, format_args!(""))? {
            Entered::Clear => {
                w.image.promise(Promise::All { upto });
                w.sweep_if_grown();
                Ok(())
            }
            Entered::Torn => {
                if w.run.torn_took_effect() {
                    w.image.promise(Promise::All { upto });
                }
                Err(crash_error())
            }
            Entered::Fault(error) => {
                for ino in w.image.dirty_files() {
                    let left = w.run.left_by_failed_sync(w.image.profile.after_failed_sync);
                    w.image.fail_sync(ino, upto, left);
                }
                Err(error)
            }
        }
    }

    fn space(&self) -> io::Result<Space> {
        self.call("space", "", false, |w| {
            let total = w.image.capacity.unwrap_or(UNLIMITED);
            Ok(Space { available: total.saturating_sub(w.image.used_bytes()), total })
        })
    }

    fn lock(&self, path: &str, mode: LockMode, holder: &str) -> io::Result<Box<dyn DiskLock>> {
        // An exclusive owner may create the file and writes into it.
        self.call("lock", path, mode == LockMode::Exclusive, |w| {
            let ino = match w.image.lookup(self.root, path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && mode == LockMode::Exclusive => {
                    w.image.create_file(self.root, path)?
                }
                found => found?,
            };
            refuse_dir(w, ino, path)?;
            match w.run.locks.get_mut(&ino) {
                Some(held) if held.mode == LockMode::Shared && mode == LockMode::Shared => held.count += 1,
                Some(held) => return Err(io::Error::new(io::ErrorKind::WouldBlock, held.holder.clone())),
                None => {
                    let mut state = LockState { mode, count: 1, holder: String::new() };
                    if mode == LockMode::Exclusive {
                        state.holder = holder.to_string();
                        // Durable at once: whether a power cut keeps a mere message isn't worth exploring. Nor does a full
                        // disk keep an owner out.
                        w.image.overwrite(ino, |content| drop(content.truncate(0)));
                        if w.image.write(ino, 0, holder.as_bytes(), None).is_ok() {
                            w.image.file_mut(ino).sync(u64::MAX);
                        }
                    }
                    w.run.locks.insert(ino, state);
                }
            }
            Ok(Box::new(SimLock::new(&self.world, ino)) as Box<dyn DiskLock>)
        })
    }

    fn write_queue(&self, lock: &dyn DiskLock, depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        self.call("write_queue", "", false, |w| {
            let ours =
                lock.as_any().downcast_ref::<SimLock>().filter(|lock| Arc::ptr_eq(&lock.held.world, &self.world));
            let Some(lock) = ours.filter(|_| depth > 0) else { return Err(Errno::Invalid.error()) };
            let in_ring = w.run.lock_in_ring && !is_active(SeededBug::LockNotInRing);
            Ok(Box::new(SimQueue::new(lock, in_ring)) as Box<dyn WriteQueue>)
        })
    }

    fn sibling(&self, root: &str) -> io::Result<Arc<dyn Disk>> {
        self.call("sibling", root, true, |w| {
            let root_path = root.to_string();
            let root = w.image.make_root(root)?;
            Ok(Arc::new(SimDisk { world: self.world.clone(), root, root_path }) as Arc<dyn Disk>)
        })
    }
}

fn refuse_dir(w: &World, ino: Ino, path: &str) -> io::Result<()> {
    if w.image.is_dir(ino) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{path} is refused: it is not a regular file"),
        ));
    }
    Ok(())
}

fn sync_dir(w: &mut World, root: Ino, dir: &str) -> io::Result<()> {
    let ino = w.image.lookup(root, dir)?;
    if !w.image.is_dir(ino) {
        return Err(Errno::NotADirectory.error());
    }
    let upto = w.image.seq;
    w.image.promise(Promise::Dir { ino, upto });
    Ok(())
}
