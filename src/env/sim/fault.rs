//! Errors on demand, the count of calls and boundaries, and the matrix of what was visited.

use std::collections::BTreeMap;
use std::{fmt, io};

use super::image::Ino;
use super::queue::LockState;
use super::tape::Tape;

/// Labels of all calls through the seam, as [`SimDisk::visited`](super::SimDisk::visited) counts them.
pub const SITES: &[&str] = &[
    "create_dir",
    "list",
    "open",
    "create",
    "rename",
    "remove",
    "sync_dir",
    "sync_all",
    "space",
    "lock",
    "write_queue",
    "sibling",
    "len",
    "read_at",
    "write_at",
    "allocate",
    "shrink",
    "write_back",
    "sync_data",
    "map",
    "window",
    "put",
    "submit",
    "complete_write",
    "complete_durable",
    "complete_sync",
];

macro_rules! errnos {
    ($($(#[doc = $doc:literal])+ $name:ident = $unix:expr, $kind:ident;)+) => {
        /// An error the system may report.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Errno {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Errno {
            /// All of them.
            pub const ALL: &'static [Errno] = &[$(Errno::$name,)+];

            /// The error as the system would hand it out.
            pub fn error(self) -> io::Error {
                match self {
                    $(
                        #[cfg(unix)]
                        Errno::$name => io::Error::from($unix),
                        #[cfg(not(unix))]
                        Errno::$name => io::Error::from(io::ErrorKind::$kind),
                    )+
                }
            }
        }
    };
}

errnos! {
    /// The device failed.
    Io = rustix::io::Errno::IO, Other;
    /// The file system is full.
    NoSpace = rustix::io::Errno::NOSPC, StorageFull;
    /// The user's share of it is.
    Quota = rustix::io::Errno::DQUOT, QuotaExceeded;
    /// The file would be too large.
    FileTooBig = rustix::io::Errno::FBIG, FileTooLarge;
    /// The file system turned read-only.
    ReadOnly = rustix::io::Errno::ROFS, ReadOnlyFilesystem;
    /// The process has too many open files.
    TooManyFiles = rustix::io::Errno::MFILE, Other;
    /// The kernel has no memory.
    NoMemory = rustix::io::Errno::NOMEM, OutOfMemory;
    /// Not permitted.
    Access = rustix::io::Errno::ACCESS, PermissionDenied;
    /// No such file.
    NotFound = rustix::io::Errno::NOENT, NotFound;
    /// There is one already.
    Exists = rustix::io::Errno::EXIST, AlreadyExists;
    /// A folder was expected.
    NotADirectory = rustix::io::Errno::NOTDIR, NotADirectory;
    /// A file was expected.
    IsADirectory = rustix::io::Errno::ISDIR, IsADirectory;
    /// A signal came between.
    Interrupted = rustix::io::Errno::INTR, Interrupted;
    /// Not now.
    Again = rustix::io::Errno::AGAIN, WouldBlock;
    /// An argument the call doesn't take, such as an unaligned direct write.
    Invalid = rustix::io::Errno::INVAL, InvalidInput;
    /// The file isn't open for this.
    BadFile = rustix::io::Errno::BADF, PermissionDenied;
}

/// Whether a fault goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// One call fails.
    Once,
    /// That call and all after it fail.
    Forever,
}

/// What a failed sync, or a failed queued write, leaves behind. The error is reported once in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFailedSync {
    /// The cache holds the new content and calls it clean: a later sync succeeds, and nothing is on disk.
    NewAndClean,
    /// The cache went back to the old content.
    OldAndClean,
    /// As if it hadn't been tried.
    StillDirty,
    /// It reached the disk, only the answer is an error.
    Durable,
    /// One of the above, from the tape.
    Tape,
}

/// How a device deals wrongly with one write while reporting success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteFault {
    /// It never reaches the disk. A cached write stays visible until power fails, a direct one never shows.
    Lost,
    /// It lands this many bytes further on, or back, instead; never before the start of the file.
    Misdirected(i64),
    /// It lands in its place and, once more, this many bytes further on or back.
    Duplicated(i64),
}

/// The error of every call once the simulated crash has happened.
#[derive(Debug)]
struct Crashed;

impl fmt::Display for Crashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated machine has crashed")
    }
}

impl std::error::Error for Crashed {}

pub(super) fn crash_error() -> io::Error {
    io::Error::other(Crashed)
}

pub(super) fn is_crash_error(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Crashed>())
}

#[derive(Debug, Clone)]
pub(super) struct FaultPlan {
    pub(super) left: u64,
    pub(super) kind: FaultKind,
    pub(super) error: Errno,
    pub(super) site: Option<String>,
    pub(super) path: Option<String>,
}

/// How a call goes on after it was counted.
pub(super) enum Entered {
    Clear,
    /// The crash comes in the middle of it.
    Torn,
    Fault(io::Error),
}

/// Bits that read wrong a number of times though they are right on disk.
#[derive(Debug, Clone)]
pub(super) struct ReadFlip {
    pub(super) ino: Ino,
    pub(super) bit: u64,
    pub(super) times: u64,
}

/// All of a disk that isn't on it: who has what open, what is to go wrong, what was counted.
pub(super) struct Run {
    pub(super) tape: Tape,
    pub(super) opens: BTreeMap<Ino, u32>,
    pub(super) maps: BTreeMap<Ino, u32>,
    /// How often a mapped file was to be shortened.
    pub(super) mapped_shrinks: u64,
    pub(super) locks: BTreeMap<Ino, LockState>,
    pub(super) calls: u64,
    pub(super) operations: u64,
    /// The boundary, and whether its operation may be half done.
    pub(super) crash_at: Option<(u64, bool)>,
    pub(super) dead: bool,
    pub(super) plan: Option<FaultPlan>,
    pub(super) fired: u64,
    pub(super) visited: BTreeMap<(&'static str, Option<Errno>), u64>,
    pub(super) trace: Option<Vec<String>>,
    pub(super) in_order: bool,
    pub(super) after_failed_sync: Option<AfterFailedSync>,
    pub(super) lock_in_ring: bool,
    pub(super) write_fault: Option<(u64, WriteFault)>,
    pub(super) read_flips: Vec<ReadFlip>,
}

impl Run {
    pub(super) fn new(tape: Tape) -> Self {
        Run {
            tape,
            opens: BTreeMap::new(),
            maps: BTreeMap::new(),
            mapped_shrinks: 0,
            locks: BTreeMap::new(),
            calls: 0,
            operations: 0,
            crash_at: None,
            dead: false,
            plan: None,
            fired: 0,
            visited: BTreeMap::new(),
            trace: None,
            in_order: true,
            after_failed_sync: None,
            lock_in_ring: true,
            write_fault: None,
            read_flips: Vec::new(),
        }
    }

    /// A new run on the same settings; what was counted, opened and planned stays with the old one.
    pub(super) fn renewed(&self, tape: Tape) -> Self {
        Run {
            trace: self.trace.as_ref().map(|_| Vec::new()),
            in_order: self.in_order,
            after_failed_sync: self.after_failed_sync,
            lock_in_ring: self.lock_in_ring,
            ..Run::new(tape)
        }
    }

    /// Counts a call and says how it goes on. A mutating call is a boundary at which the machine may crash.
    pub(super) fn enter(
        &mut self,
        site: &'static str,
        path: &str,
        mutating: bool,
        detail: fmt::Arguments<'_>,
    ) -> io::Result<Entered> {
        debug_assert!(SITES.contains(&site), "{site} is not among the sites");
        if self.dead {
            return Err(crash_error());
        }
        let mut torn = false;
        if mutating {
            if let Some((at, may_tear)) = self.crash_at
                && self.operations >= at
            {
                self.dead = true;
                if !may_tear {
                    return Err(crash_error());
                }
                torn = true;
            }
            self.operations += 1;
        }
        self.calls += 1;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{site} {path} {detail}").trim_end().to_string());
        }
        if torn {
            return Ok(Entered::Torn);
        }
        let fault = self.planned_fault(site, path);
        *self.visited.entry((site, fault)).or_insert(0) += 1;
        Ok(fault.map_or(Entered::Clear, |errno| {
            if let Some(line) = self.trace.as_mut().and_then(|trace| trace.last_mut()) {
                line.push_str(&format!(" -> {errno:?}"));
            }
            Entered::Fault(errno.error())
        }))
    }

    fn planned_fault(&mut self, site: &str, path: &str) -> Option<Errno> {
        let plan = self.plan.as_mut()?;
        if plan.site.as_ref().is_some_and(|wanted| wanted != site)
            || plan.path.as_ref().is_some_and(|wanted| !path.contains(wanted.as_str()))
        {
            return None;
        }
        if plan.left > 1 {
            plan.left -= 1;
            return None;
        }
        self.fired += 1;
        let error = plan.error;
        if plan.kind == FaultKind::Once {
            self.plan = None;
        }
        Some(error)
    }

    /// Whether a torn operation took effect before the crash.
    pub(super) fn torn_took_effect(&self) -> bool {
        self.tape.chance("torn_op", 1, 2)
    }

    pub(super) fn left_by_failed_sync(&self, profile_default: AfterFailedSync) -> AfterFailedSync {
        match self.after_failed_sync.unwrap_or(profile_default) {
            AfterFailedSync::Tape => [
                AfterFailedSync::NewAndClean,
                AfterFailedSync::OldAndClean,
                AfterFailedSync::StillDirty,
                AfterFailedSync::Durable,
            ][self.tape.choose("after_failed_sync", 4) as usize],
            fixed => fixed,
        }
    }

    /// The fault armed for this write, if its turn has come.
    pub(super) fn take_write_fault(&mut self) -> Option<WriteFault> {
        let (left, fault) = self.write_fault?;
        if left > 1 {
            self.write_fault = Some((left - 1, fault));
            return None;
        }
        self.write_fault = None;
        Some(fault)
    }
}
