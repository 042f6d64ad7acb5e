//! The engine that is served: of a folder, or of memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Args;
use crate::cli::context::patiently;
use crate::cli::scratch::Scratch;
use crate::cli::units::OrNone;
use crate::cli::{Context, Failure};
use crate::env::{Env, TestClock};
use crate::{Engine, EngineOptions, ReadMode, StoreOptions};

/// Where Linux keeps files in memory.
const MEMORY: &str = "/dev/shm";
/// Containers often get 64 MiB there, which a test fills before it ends; a folder for temporary files has more.
const MEMORY_BYTES_MIN: u64 = 256 << 20;
/// The smallest journal file that takes the largest record, 10 MiB with its key.
const SMALL_JOURNAL_FILE_BYTES: u64 = 12 << 20;
const SMALL_JOURNAL_FILES: u32 = 4;
const SMALL_RESERVE_BYTES: u64 = 1 << 20;

/// An engine, what it was made with, and the folder that goes when it does.
pub(super) struct Opened {
    pub(super) engine: Engine,
    pub(super) clock: Option<Arc<TestClock>>,
    /// After the engine: fields are dropped in order.
    _folder: Option<Scratch>,
}

pub(super) fn open(context: &Context, args: &Args) -> Result<Opened, Failure> {
    // A page that can't be read back answers an error; mapped, it would end the process.
    let mut store = StoreOptions::new().read_mode(ReadMode::Copy);
    let mut folder = None;
    if args.in_memory {
        if context.store_named {
            return Err(Failure::Usage("--in-memory and --store exclude each other".to_owned()));
        }
        store = store.journal_file_bytes(SMALL_JOURNAL_FILE_BYTES).journal_files_max(SMALL_JOURNAL_FILES);
        store = store.reserve_bytes(SMALL_RESERVE_BYTES).scrub_period(None);
        folder = Some(Scratch::new(&memory(), "serve")?);
    }
    if let Some(OrNone(period)) = args.scrub_period {
        store = store.scrub_period(period);
    }
    let root = folder.as_ref().map_or(context.store.as_path(), Scratch::path);
    let mut env = Env::system(root).map_err(Failure::io(format!("open {}", root.display())))?;
    let clock = args.test_clock.then(|| Arc::new(TestClock::new()));
    if let Some(clock) = &clock {
        env.clock = clock.clone();
    }
    let options = EngineOptions::new()
        .store(store)
        .account(args.account.as_str())
        .region(args.region.as_str())
        .throughput_limits(args.throughput_limits.into())
        .transition_time(args.transition_time.unwrap_or_default());
    let engine = patiently(|| Engine::open_in(env.clone(), options.clone()))?;
    context.warn_of(engine.store());
    Ok(Opened { engine, clock, _folder: folder })
}

/// A folder whose files are in memory if there is one with room, otherwise that for temporary files.
fn memory() -> PathBuf {
    let free = rustix::fs::statvfs(MEMORY).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    let path = Path::new(MEMORY);
    if free >= MEMORY_BYTES_MIN && rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok() {
        path.to_owned()
    } else {
        std::env::temp_dir()
    }
}
